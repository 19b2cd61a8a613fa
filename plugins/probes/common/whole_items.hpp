// An item's tokens before the model's limit cut them, for probes that read texts of any length.
//
// Plain functions, any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <wayfarer/probe.hpp>

namespace wayfarer::language {

/// Whether `cut` is the beginning of `all` that fits a model which reads at most `longest` tokens.
inline bool cut_at_limit(std::span<std::int32_t const> cut, std::span<std::int32_t const> all, std::size_t longest) {
  return cut.size() == longest && all.size() > cut.size() && std::equal(cut.begin(), cut.end(), all.begin());
}

/// All tokens of item `i`. A cut that the pipeline asked for (`max_tokens`) stays.
inline std::vector<std::int32_t> whole_tokens(sample const& block, std::size_t i, model const& m) {
  auto const cut = block[i].tokens();
  std::size_t const longest = m.info().longest;
  auto const& given = block.items();
  if (longest != 0 && cut.size() == longest) {
    if (!given.tokens.empty()) {
      if (auto const all = given.tokens[i]; cut_at_limit(cut, all, longest)) return {all.begin(), all.end()};
    } else if (auto const* tokenizer = m.text_tokenizer(); tokenizer != nullptr && !given.texts.empty()) {
      if (auto all = tokenizer->encode(given.texts[i]).ids; cut_at_limit(cut, all, longest)) return all;
    }
  }
  return {cut.begin(), cut.end()};
}

}  // namespace wayfarer::language
