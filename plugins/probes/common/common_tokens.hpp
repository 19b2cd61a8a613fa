// What a corpus is made of for probes that count: its tokens, and which of them are the commonest.
//
// Plain functions and one cache; any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/whole_items.hpp"

namespace wayfarer::language {

/// All tokens of item `i`: the model's, or, where the probe has no model, the source's own tokens, its words, or the bytes of its
/// texts.
inline std::vector<std::int32_t> symbols_of(sample const& block, std::size_t i, probe_context const& at) {
  if (at.has_model()) return whole_tokens(block, i, at.model());
  auto const copy = [](auto const& all) { return std::vector<std::int32_t>(all.begin(), all.end()); };
  auto const& given = block.items();
  if (!given.tokens.empty()) return copy(given.tokens[i]);
  if (!given.words.empty()) return copy(given.words[i]);
  std::vector<std::int32_t> bytes;
  for (char const c : block[i].text()) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

/// Calls use(symbols) for each of the first `most` items that the probe reads, in order.
template <class Use>
void each_of_first(probe_context const& at, std::size_t most, Use const& use) {
  constexpr std::size_t items_at_once = 64;
  std::size_t const end = at.items().first + std::min(at.items().size(), most);
  for (std::size_t first = at.items().first; first < end; first += items_at_once) {
    auto const items = at.data().read({first, std::min(first + items_at_once, end)});
    auto const tokens = at.has_model() ? at.model().encode(items, {}) : batch();
    activations const none;
    sample const block(items, tokens, none, 0);
    for (std::size_t i = 0; i < block.size(); ++i) use(symbols_of(block, i, at));
  }
}

/// The tokens that have a row, commonest first; the lower id first among equals.
struct chosen_tokens {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> row;  ///< [token]; -1: none
  std::vector<double> counts;     ///< [row]: how often each comes in those items
  std::size_t vocabulary = 0;     ///< of the model that they were chosen for, 0: of no model

  std::int32_t row_of(std::int32_t token) const noexcept {
    auto const t = static_cast<std::size_t>(token);
    return token >= 0 && t < row.size() ? row[t] : -1;
  }
};

/// The commonest tokens of the first items, and the same for all blocks: counted at the first request. A member of a probe.
class token_choice {
 public:
  /// `most` tokens at most, of the first `from` items. What the tokenizer puts around each item says nothing of it, and is left
  /// out. The reference lives as long as this object.
  chosen_tokens const& of(probe_context const& at, std::size_t most, std::size_t from) const {
    std::scoped_lock const lock(mutex_);
    std::size_t const vocabulary = at.has_model() ? at.model().info().vocabulary : 0;
    auto& made = chosen_[{at.has_model() ? &at.model() : nullptr, &at.data(), at.items().first, at.items().last}];
    if (made.row.empty() || made.vocabulary != vocabulary) made = choose(at, most, from, vocabulary);
    return made;
  }

 private:
  static chosen_tokens choose(probe_context const& at, std::size_t most, std::size_t from, std::size_t vocabulary) {
    std::vector<std::size_t> count(std::max<std::size_t>(vocabulary, 1));
    each_of_first(at, from, [&](std::vector<std::int32_t> const& symbols) {
      for (auto const t : symbols) {
        if (t < 0 || (vocabulary != 0 && static_cast<std::size_t>(t) >= vocabulary)) continue;
        if (vocabulary == 0 && static_cast<std::size_t>(t) >= most_symbols)
          throw usage_error("the source has token " + std::to_string(t) + ", and without a model tokens are counted up to " +
                            std::to_string(most_symbols - 1) + "; name the model that they belong to");
        if (static_cast<std::size_t>(t) >= count.size()) count.resize(static_cast<std::size_t>(t) + 1);
        ++count[static_cast<std::size_t>(t)];
      }
    });
    if (auto const* tokenizer = at.has_model() ? at.model().text_tokenizer() : nullptr)
      for (auto const& id : {tokenizer->special().bos, tokenizer->special().eos, tokenizer->special().cls,
                             tokenizer->special().sep, tokenizer->special().pad})
        if (id && *id >= 0 && static_cast<std::size_t>(*id) < count.size()) count[static_cast<std::size_t>(*id)] = 0;
    chosen_tokens made;
    for (std::size_t t = 0; t < count.size(); ++t)
      if (count[t] != 0) made.ids.push_back(static_cast<std::int32_t>(t));
    std::stable_sort(made.ids.begin(), made.ids.end(), [&](std::int32_t a, std::int32_t b) {
      return count[static_cast<std::size_t>(a)] > count[static_cast<std::size_t>(b)];
    });
    made.ids.resize(std::min(made.ids.size(), most));
    made.row.assign(count.size(), -1);
    made.vocabulary = vocabulary;
    for (std::size_t r = 0; r < made.ids.size(); ++r) {
      made.row[static_cast<std::size_t>(made.ids[r])] = static_cast<std::int32_t>(r);
      made.counts.push_back(static_cast<double>(count[static_cast<std::size_t>(made.ids[r])]));
    }
    return made;
  }

  static constexpr std::size_t most_symbols = std::size_t{1} << 20;
  mutable std::mutex mutex_;
  mutable std::map<std::tuple<model const*, source const*, std::size_t, std::size_t>, chosen_tokens> chosen_;
};

}  // namespace wayfarer::language
