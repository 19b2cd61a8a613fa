// What the tests of topic_transformer share: documents made inline, and the model made through its descriptor.
#pragma once

#include <charconv>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/descriptor.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/random.hpp>

#include "documents.hpp"
#include "spec.hpp"

extern "C" wayfarer::plugin_descriptor const* wayfarer_plugin();

namespace wayfarer::topic_transformer::test {

using word_lists = std::vector<std::vector<std::int32_t>>;

/// `tau` topics a document, evenly, if tau > 0; else topic weights from a symmetric Dirichlet(0.1).
inline word_lists make_documents(spec const& s, std::size_t count, std::size_t shortest, std::size_t longest, std::size_t tau,
                                 std::uint64_t seed) {
  word_lists out(count);
  auto const T = static_cast<std::uint32_t>(s.topics), v = static_cast<std::uint32_t>(s.words_per_topic);
  for (std::size_t i = 0; i < count; ++i) {
    random_stream draw(seed, "documents", i);
    std::vector<double> share(T, 0);
    if (tau > 0) {
      std::vector<std::uint32_t> order(T);
      for (std::uint32_t t = 0; t < T; ++t) order[t] = t;
      draw.shuffle(T, [&](std::uint32_t a, std::uint32_t b) { std::swap(order[a], order[b]); });
      for (std::size_t t = 0; t < tau; ++t) share[order[t]] = 1.0 / static_cast<double>(tau);
    } else {
      double most = -1e300, sum = 0;
      for (auto& x : share) x = draw.log_gamma_draw(0.1), most = std::max(most, x);
      for (auto& x : share) x = std::exp(x - most), sum += x;
      for (auto& x : share) x /= sum;
    }
    std::size_t const n = shortest + draw.below(static_cast<std::uint32_t>(longest - shortest + 1));
    for (std::size_t k = 0; k < n; ++k) {
      double u = draw.uniform();
      std::uint32_t t = 0;
      while (t + 1 < T && u >= share[t]) u -= share[t++];
      out[i].push_back(static_cast<std::int32_t>(t * v + draw.below(v)));
    }
  }
  return out;
}

inline read_words reader_of(word_lists const& documents) {
  return [&documents](std::size_t first, std::span<std::vector<std::int32_t>> out) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = documents.at(first + i);
  };
}

/// Documents as a source, for the plugin's own `train`.
struct word_source final : source {
  word_source(spec const& s, word_lists documents) : documents_(std::move(documents)) {
    info_.items = documents_.size();
    info_.vocabulary = s.words();
    info_.has_words = true;
  }
  source_info const& info() const override { return info_; }
  item_block read(item_range range) const override {
    item_block block;
    block.first = range.first, block.count = range.size();
    for (std::size_t i = range.first; i < range.last; ++i) block.words.push_back(documents_.at(i));
    return block;
  }

 private:
  word_lists documents_;
  source_info info_;
};

struct silent final : progress {
  void at(std::size_t, std::size_t, std::string_view) override {}
  void warn(std::string_view text) override { warnings.emplace_back(text); }
  std::vector<std::string> warnings;
};

using values = std::map<std::string, param_value::storage>;

/// The plugin with these parameters and its defaults for the rest.
inline std::unique_ptr<trainable_model> make_model(values given = {}, std::uint64_t seed = 0) {
  auto const* const d = wayfarer_plugin();
  config c;
  c.set_seed(seed);
  for (std::uint32_t i = 0; i < d->param_count; ++i) {
    auto const& p = d->params[i];
    param_value::storage value;
    switch (p.type) {
      case param_type::boolean:
        value = p.default_number != 0;
        break;
      case param_type::integer:
        value = static_cast<std::int64_t>(p.default_number);
        break;
      case param_type::real:
        value = p.default_number;
        break;
      case param_type::integer_list:
        value = std::vector<std::int64_t>{};
        break;
      default:
        value = std::string(p.default_text);
        break;
    }
    if (auto own = given.extract(p.name); !own.empty()) value = own.mapped();
    c.set(p.name, param_value(std::move(value)));
  }
  if (!given.empty()) throw std::logic_error("topic_transformer has no parameter " + given.begin()->first);
  return std::unique_ptr<trainable_model>(dynamic_cast<trainable_model*>(d->create(c)));
}

}  // namespace wayfarer::topic_transformer::test
