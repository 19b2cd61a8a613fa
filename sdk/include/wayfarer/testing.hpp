// For unit tests of plugins, without the host: makes the plugin that the test is linked to, and shows a probe some items.
//
// Link the test to ID_internal, as wayfarer_add_plugin(... TESTS ...) does; no other code should include this. One thread; what a
// function is given must outlive what it returns.
#pragma once

#include <algorithm>
#include <charconv>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/descriptor.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/source.hpp>

extern "C" wayfarer::plugin_descriptor const* wayfarer_plugin();

namespace wayfarer::testing {

/// The parameters that the plugin declares, each with its default; required ones are missing.
inline config defaults() {
  plugin_descriptor const& d = *wayfarer_plugin();
  config all;
  for (std::size_t i = 0; i < d.param_count; ++i) {
    param_descriptor const& p = d.params[i];
    if (p.required) continue;
    bool const texts = p.type == param_type::text_list;
    std::vector<std::string> parts;
    for (std::string_view rest = p.default_text; !rest.empty();) {
      std::size_t const end = std::min(rest.find_first_of(texts ? "\x1f" : " ,"), rest.size());
      if (texts || end > 0) parts.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    std::vector<double> numbers;
    if (p.type == param_type::integer_list || p.type == param_type::real_list)
      for (auto const& part : parts) {
        double value = 0;
        std::from_chars(part.data(), part.data() + part.size(), value);
        numbers.push_back(value);
      }
    switch (p.type) {
      case param_type::boolean:
        all.set(p.name, param_value(p.default_number != 0));
        break;
      case param_type::integer:
        all.set(p.name, param_value(static_cast<std::int64_t>(p.default_number)));
        break;
      case param_type::real:
        all.set(p.name, param_value(p.default_number));
        break;
      case param_type::text:
      case param_type::path:
        all.set(p.name, param_value(std::string(p.default_text)));
        break;
      case param_type::text_list:
        all.set(p.name, param_value(parts));
        break;
      case param_type::integer_list:
        all.set(p.name, param_value(std::vector<std::int64_t>(numbers.begin(), numbers.end())));
        break;
      case param_type::real_list:
        all.set(p.name, param_value(numbers));
        break;
    }
  }
  return all;
}

/// The plugin, with its defaults but for `changes`: make_plugin<wf::probe>({{"pairs", std::int64_t{10}}}).
template <class Interface>
std::unique_ptr<Interface> make_plugin(std::initializer_list<std::pair<char const*, param_value::storage>> changes = {},
                                       std::uint64_t seed = 0) {
  config c = defaults();
  for (auto const& [name, value] : changes) c.set(name, param_value(value));
  c.set_seed(seed);
  return std::unique_ptr<Interface>(static_cast<Interface*>(wayfarer_plugin()->create(c)));
}

/// A source of these token sequences.
class fixed_source final : public source {
 public:
  explicit fixed_source(std::vector<std::vector<std::int32_t>> items) : items_(std::move(items)) {
    info_.items = items_.size();
    info_.has_tokens = true;
    for (auto const& i : items_) info_.longest = std::max(info_.longest, i.size());
  }
  source_info const& info() const override { return info_; }
  item_block read(item_range r) const override {
    item_block block;
    block.first = r.first, block.count = r.size();
    for (std::size_t i = r.first; i < r.last; ++i) block.tokens.push_back(items_.at(i));
    return block;
  }

 private:
  std::vector<std::vector<std::int32_t>> items_;
  source_info info_;
};

/// A model without weights, whose activations at each of its hooks a function says: (hook, the item's tokens) -> the tensor that
/// a real model would capture.
class fixed_model final : public model {
 public:
  using answer = std::function<tensor(std::string_view hook, std::span<std::int32_t const> tokens)>;
  fixed_model(model_info info, answer what) : info_(std::move(info)), what_(std::move(what)) {}
  model_info const& info() const override { return info_; }
  batch encode(item_block const& items, encode_options const&) const override {
    batch b;
    b.tokens = items.tokens;
    return b;
  }
  std::string token_text(std::int32_t token) const override { return std::to_string(token); }
  activations run(batch const& b, run_request const& request) const override {
    activations out;
    for (auto const& hook : request.capture.names()) {
      std::vector<tensor> items;
      for (std::size_t i = 0; i < b.items(); ++i) items.push_back(what_(hook, b.tokens[i]));
      out.put(hook, std::move(items));
    }
    return out;
  }
  tensor weight(std::string_view name) const override { throw usage_error("fixed_model has no weight " + std::string(name)); }

 private:
  model_info info_;
  answer what_;
};

/// What a probe reports of all items, observed in blocks of `block` items as the host would do it. `over` may be null for a probe
/// without a model.
inline results measure(probe const& what, model const* over, source const& data, std::size_t block, std::uint64_t seed = 0) {
  std::size_t const items = data.info().items;
  probe_context const at(over, &data, {0, items}, 0, data.info().longest);
  accumulator sums(0);
  what.shape(sums, at);
  for (std::size_t first = 0; first < items; first += block) {
    item_block const some = data.read({first, std::min(items, first + block)});
    batch tokens;
    activations captured;
    if (over) {
      run_request request;
      request.capture = what.needs(over->info());
      tokens = over->encode(some, {});
      captured = over->run(tokens, request);
    }
    accumulator here(some.count);
    what.shape(here, at);
    what.observe(here, sample(some, tokens, captured, seed), at);
    if (first == 0)
      sums = std::move(here);
    else
      what.merge(sums, here);
  }
  results out;
  what.finish(sums, out, at);
  return out;
}

}  // namespace wayfarer::testing
