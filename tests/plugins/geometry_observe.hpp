// Probes of activations over listed token sequences, and those activations as plain numbers, for the tests of the geometry
// probes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "geometry_fixtures.hpp"

namespace wayfarer::test {

struct listed final : source {
  explicit listed(std::vector<std::vector<std::int32_t>> tokens, std::vector<std::vector<std::int32_t>> decoder = {})
      : tokens_(std::move(tokens)), decoder_(std::move(decoder)) {
    info_.items = tokens_.size(), info_.has_tokens = true;
  }
  source_info const& info() const override { return info_; }
  item_block read(item_range r) const override {
    item_block b;
    b.first = r.first, b.count = r.size();
    for (std::size_t i = r.first; i < r.last; ++i) {
      b.tokens.push_back(tokens_[i]);
      if (!decoder_.empty()) b.decoder_tokens.push_back(decoder_[i]);
    }
    return b;
  }
  std::vector<std::vector<std::int32_t>> tokens_, decoder_;
  source_info info_;
};

/// As the host would: blocks of `block` items, in order.
inline results observe(std::string const& id, model const& m, source const& s, values given = {}, std::size_t block = 1) {
  auto const p = make_probe(id, std::move(given));
  std::size_t const items = s.info().items;
  auto const everything = m.encode(s.read({0, items}), {});
  std::size_t longest = 0, decoder = 0;
  for (std::size_t i = 0; i < items; ++i) {
    longest = std::max(longest, everything.tokens[i].size());
    if (!everything.decoder_tokens.empty()) decoder = std::max(decoder, everything.decoder_tokens[i].size());
  }
  probe_context const context(&m, &s, {0, items}, 0, longest, decoder);
  std::unique_ptr<accumulator> whole;
  for (std::size_t first = 0; first < items; first += block) {
    auto const some = s.read({first, std::min(items, first + block)});
    auto const tokens = m.encode(some, {});
    run_request request;
    request.capture = p->needs(m.info());
    activations captured;
    if (!request.capture.empty()) captured = m.run(tokens, request);
    auto part = std::make_unique<accumulator>(some.count);
    p->shape(*part, context);
    p->observe(*part, sample(some, tokens, captured, 7), context);
    if (whole)
      p->merge(*whole, *part);
    else
      whole = std::move(part);
  }
  results out;
  p->finish(*whole, out, context);
  return out;
}

/// An activation of one item, [pos][everything else].
inline std::vector<std::vector<double>> rows_of(model const& m, source const& s, std::size_t item, std::string const& hook) {
  run_request request;
  request.capture = m.info().hooks_for(hook);
  auto const t = m.run(m.encode(s.read({item, item + 1}), {}), request).at(hook, 0).to(dtype::f64);
  std::size_t const width = t.count() / t.size(0);
  std::vector<std::vector<double>> out;
  auto const all = t.values<double const>();
  for (std::size_t p = 0; p < t.size(0); ++p) {
    auto const at = all.begin() + static_cast<std::ptrdiff_t>(p * width);
    out.emplace_back(at, at + static_cast<std::ptrdiff_t>(width));
  }
  return out;
}

}  // namespace wayfarer::test
