#include "conformance/probes/rig.hpp"

#include <algorithm>

#include <wayfarer/random.hpp>

namespace wayfarer::host::conformance {

hook_set stage::every_hook() const {
  std::vector<std::string> names;
  for (auto const& h : over->info().hooks) names.push_back(h.name);
  return hook_set(names);
}

transform filled(double value) {
  return [value](std::string const&, tensor const& t) {
    tensor out(t.type(), t.shape());
    if (t.type() == dtype::f64)
      for (auto& v : out.values<double>()) v = value;
    else
      for (auto& v : out.values<float>()) v = static_cast<float>(value);
    return out;
  };
}

transform whole_numbers(std::uint64_t seed) {
  return [seed](std::string const& hook, tensor const& t) {
    tensor out(dtype::f32, t.shape());
    random_stream draw(seed, hook, t.count());
    for (auto& v : out.values<float>()) v = static_cast<float>(draw.below(8));
    return out;
  };
}

rig::rig(stage s, probe const& what, std::uint64_t seed) : stage_(std::move(s)), seed_(seed) {
  if (stage_.over) hooks_ = what.needs(stage_.over->info());
  items_ = {0, stage_.data ? stage_.data->info().items : 0};
  if (stage_.over && stage_.data) {
    batch const all = stage_.over->encode(stage_.data->read(items_), {});
    for (std::size_t i = 0; i < all.tokens.size(); ++i) longest_ = std::max(longest_, all.tokens[i].size());
    for (std::size_t i = 0; i < all.decoder_tokens.size(); ++i)
      longest_decoder_ = std::max(longest_decoder_, all.decoder_tokens[i].size());
  }
}

probe_context rig::context(std::size_t step) const {
  return {stage_.over.get(), stage_.data.get(), items_, step, longest_, longest_decoder_, stage_.inputs.get()};
}

block_data rig::block(item_range r, transform const& change, hook_set const* capture) const {
  block_data b;
  b.items = stage_.data->read(r);
  if (!stage_.over) return b;
  b.tokens = stage_.over->encode(b.items, {});
  run_request request;
  request.capture = capture ? *capture : hooks_;
  if (request.capture.empty()) return b;
  b.captured = stage_.over->run(b.tokens, request);
  if (change) {
    activations other;
    for (auto const& name : request.capture.names()) {
      std::vector<tensor> per_item;
      for (std::size_t i = 0; i < b.items.count; ++i) per_item.push_back(change(name, b.captured.at(name, i)));
      other.put(name, std::move(per_item));
    }
    b.captured = std::move(other);
  }
  return b;
}

std::vector<item_range> rig::cut(std::size_t blocks) const {
  std::vector<item_range> out;
  std::size_t first = items_.first;
  for (std::size_t b = 0; b < blocks; ++b) {
    std::size_t const n = items_.size() / blocks + (b < items_.size() % blocks);
    out.push_back({first, first + n});
    first += n;
  }
  return out;
}

std::vector<block_data> rig::blocks(std::size_t count, transform const& change) const {
  std::vector<block_data> out;
  for (auto const& r : cut(count)) out.push_back(block(r, change));
  return out;
}

accumulator rig::nothing(probe const& what, std::size_t step) const {
  accumulator none(0);
  what.shape(none, context(step));
  return none;
}

bool rig::observes(probe const& what) const {
  return stage_.data && !nothing(what).fields().empty();
}

accumulator rig::observe(probe const& what, block_data const& b, shared_values* of_block, shared_values* of_sweep) const {
  accumulator sums(b.items.count);
  probe_context const at = context();
  what.shape(sums, at);
  what.observe(sums, sample(b.items, b.tokens, b.captured, seed_, nullptr, of_block, of_sweep), at);
  return sums;
}

std::vector<accumulator> rig::observe_all(probe const& what, std::vector<block_data> const& blocks) const {
  std::vector<accumulator> out;
  for (auto const& b : blocks) out.push_back(observe(what, b));
  return out;
}

accumulator rig::fold(probe const& what, std::vector<accumulator> parts) {
  accumulator whole = std::move(parts.front());
  for (std::size_t i = 1; i < parts.size(); ++i) what.merge(whole, parts[i]);
  return whole;
}

accumulator rig::sums(probe const& what, std::vector<block_data> const& blocks) const {
  return fold(what, observe_all(what, blocks));
}

results rig::finish(probe const& what, accumulator const& sums, std::size_t step) const {
  results r;
  what.finish(sums, r, context(step));
  return r;
}

results rig::measure(probe const& what, std::size_t count, transform const& change, std::size_t step) const {
  return finish(what, observes(what) ? sums(what, blocks(count, change)) : nothing(what, step), step);
}

}  // namespace wayfarer::host::conformance
