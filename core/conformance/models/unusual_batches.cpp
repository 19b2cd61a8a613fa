// The rules empty_input, one_and_longest and odd_numbers.
#include <limits>

#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {

void check_no_items(model_case const& c, reporter&) {
  auto const& m = c.m();
  activations const none = m.run(batch{}, asking(c.every));
  for (auto const& name : c.every.names())
    if (!none.has(name)) throw violation("empty_input", "'" + name + "' is missing when there are no items");
  batch with_empty = items_of(c.tokens(), {0});
  with_empty.tokens.push_back({});
  if (!c.tokens().decoder_tokens.empty()) with_empty.decoder_tokens.push_back({});
  refusal_of([&] {
    activations const all = m.run(with_empty, asking(c.every));
    activations const alone = m.run(items_of(c.tokens(), {0}), asking(c.every));
    for (auto const& name : c.every.names())
      if (relative_distance(all.at(name, 0), alone.at(name, 0)) > model_rounding)
        throw violation("batch_composition", "an empty item in the batch changes '" + name + "' of another");
  });
}

void check_one_and_longest(model_case const& c, reporter&) {
  auto const& m = c.m();
  std::size_t const most = m.info().longest != 0 ? m.info().longest : 150;
  for (std::size_t const n : {std::size_t{1}, most}) {
    model_input const some = feed(m, n, n, 2, c.seed());
    activations const all = m.run(some.tokens, asking(c.every));
    for (auto const& h : m.info().hooks)
      if (all.at(h.name, 0).shape() != declared_shape(m.info(), h, some.tokens, 0))
        throw violation("hooks_fire", "'" + h.name + "' is " + describe(all.at(h.name, 0).shape()) + " for an item of " +
                                          std::to_string(n) + " tokens");
  }
  if (m.info().longest == 0) return;
  batch longer;
  std::vector<std::int32_t> const tokens(most + 1, 0);
  longer.tokens.push_back(tokens);
  if (!c.tokens().decoder_tokens.empty()) longer.decoder_tokens.push_back(std::span<std::int32_t const>(tokens).first(1));
  if (refusal_of([&] { m.run(longer, asking(hook_set({c.last}))); }).empty())
    throw violation("one_and_longest",
                    "an item of " + std::to_string(most + 1) + " tokens is run, and info() says at most " + std::to_string(most));
}

void check_odd_numbers(model_case const& c, reporter&) {
  auto const& m = c.m();
  for (std::int32_t const t : {-1, static_cast<std::int32_t>(m.info().vocabulary), std::numeric_limits<std::int32_t>::max()}) {
    batch wild = items_of(c.tokens(), {0});
    wild.tokens.values.back() = t;
    if (refusal_of([&] { m.run(wild, asking(hook_set({c.last}))); }).empty())
      throw violation("odd_numbers", "the token " + std::to_string(t) + ", which is outside the vocabulary, is run");
    refusal_of([&] { m.token_text(t); });
  }
  for (float const v : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 3e38f, 1e-45f}) {
    batch odd = c.tokens();
    odd.embeddings = tensor(dtype::f32, {{"token", c.tokens().tokens.values.size()}, {"d_model", embedded_width(m.info())}});
    for (auto& x : odd.embeddings.values<float>()) x = v;
    refusal_of([&] { m.run(odd, asking(hooks_behind_embedding(m))); });
  }
}

}  // namespace wayfarer::host::conformance
