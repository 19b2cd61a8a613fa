// The rules start_states, logits and precision: the ends of a forward pass, and its float64 twin.
#include <algorithm>
#include <cstring>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/vocabulary.hpp>

#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {

void check_start_states(model_case const& c, reporter& out) {
  auto const& m = c.m();
  batch const& b = c.tokens();
  if (!m.info().find_hook("hook_embed")) throw unmet_need("there is no hook 'hook_embed'");
  activations const all = m.run(b, asking(c.every));
  std::size_t const width = embedded_width(m.info());
  batch from = b;
  from.embeddings = tensor(dtype::f32, {{"token", b.tokens.values.size()}, {"d_model", width}});
  std::size_t row = 0;
  for (std::size_t i = 0; i < b.items(); ++i) {
    auto const rows = all.at("hook_embed", i).to(dtype::f32);
    auto const values = rows.values<float const>();
    std::copy(values.begin(), values.end(), from.embeddings.values<float>().begin() + static_cast<std::ptrdiff_t>(row * width));
    row += rows.size(0);
  }
  // The numbers of the tokens are not read then.
  std::fill(from.tokens.values.begin(), from.tokens.values.end(), 0);
  hook_set const behind = hooks_behind_embedding(m);
  activations const again = m.run(from, asking(behind));
  comparison same("start_states", "starting from embeddings", out);
  for (auto const& name : behind.names())
    for (std::size_t i = 0; i < b.items(); ++i) same("'" + name + "'", all.at(name, i), again.at(name, i));
}

namespace {

/// Where a model makes the logits of some tokens alone, they have the bytes that they have among all.
void check_parts(model const& m, tensor const& states, tensor const& whole) {
  auto const* const parts = dynamic_cast<unembeds_tokens const*>(&m);
  if (!parts) return;
  ragged<std::int32_t> tokens;
  tokens.push_back(std::vector<std::int32_t>(states.size(0)));
  rows const x = rows_from(states, row_packing::of(tokens), states.size(1), states.type(), "states");
  std::size_t const n = whole.size(1), zero = 0;
  for (auto const& [first, last] : {std::pair{zero, n / 2}, std::pair{n / 2, n}, std::pair{n - 1, n}}) {
    rows const z = parts->unembed_tokens(x, first, last);
    tensor const part = whole.slice(1, first, last).clone();
    if (z.count() != part.size(0) || z.width() != part.size(1) || z.type() != part.type() ||
        (part.bytes() != 0 && std::memcmp(z.item(0, {{"token", last - first}}).raw(), part.raw(), part.bytes()) != 0))
      throw violation("logits", "unembed_tokens(x, " + std::to_string(first) + ", " + std::to_string(last) +
                                    ") has other bytes than unembed(x) there");
  }
}

}  // namespace

void check_logits(model_case const& c, reporter& out) {
  auto const& m = c.m();
  auto const& info = m.info();
  if (!info.find_hook("logits")) throw unmet_need("there is no hook 'logits'");
  activations const all = m.run(c.tokens(), asking(c.every));
  run_request r = asking(hook_set({"logits"}));
  r.last_logits_only = true;
  activations const ends = m.run(c.tokens(), r);
  comparison same("logits", "asked for at the last position alone", out);
  for (std::size_t i = 0; i < c.tokens().items(); ++i) {
    tensor const& whole = all.at("logits", i);
    if (whole.size(0) != 0) same("'logits'", whole.slice(0, whole.size(0) - 1, whole.size(0)), ends.at("logits", i));
  }
  std::string const name = c.decodes() ? "decoder." + std::to_string(info.decoder_layers - 1) + ".hook_resid_post"
                                       : "blocks." + std::to_string(info.layers - 1) + ".hook_resid_post";
  // What an encoder's head reads is the architecture's own business: a norm may stand after its last residual state.
  if (info.family == model_family::encoder || !all.has(name)) return;
  tensor given;
  try {
    tensor const states = m.final_norm(all.at(name, 0));
    given = m.unembed(states);
    check_parts(m, states, given);
  } catch (usage_error const&) {
    return;
  }
  if (relative_distance(given, all.at("logits", 0)) > model_rounding)
    throw violation("logits", "unembed(final_norm(x)) of '" + name + "' is not 'logits'");
}

void check_precision(model_case const& c, reporter&) {
  run_request r = asking(c.every);
  activations const single = c.m().run(c.tokens(), r);
  r.precision = dtype::f64;
  activations const twice = c.m().run(c.tokens(), r);
  for (auto const& name : c.every.names())
    for (std::size_t i = 0; i < c.tokens().items(); ++i) {
      if (twice.at(name, i).type() != dtype::f64)
        throw violation("precision", "'" + name + "' is captured as " + std::string(wayfarer::name_of(twice.at(name, i).type())) +
                                         " where float64 was asked for");
      if (relative_distance(single.at(name, i), twice.at(name, i)) > 1e-3)
        throw violation("precision", "'" + name + "' in float32 and in float64 are more than 0.1 % apart");
    }
}

}  // namespace wayfarer::host::conformance
