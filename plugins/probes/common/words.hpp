// Words, the tokens that stand for them, and the tables that hold a vector for each token.
//
// Plain functions, any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/tensor.hpp>
#include <wayfarer/tokenizer.hpp>

namespace wayfarer::words {

/// A to Z as a to z.
inline std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  return out;
}

/// A token's text without the space before it.
inline std::string spelling_of(tokenizer const& t, std::int32_t id) {
  std::string const text = t.token_text(id);
  return text.substr(std::min(text.find_first_not_of(' '), text.size()));
}

/// Whether a token with this spelling is a word or begins one: not the inside of a word, nor special ("[SEP]", "</s>").
inline bool begins_word(tokenizer const& t, std::int32_t id, std::string_view spelling) {
  return t.begins_word(id) && !spelling.empty() && spelling.front() != '[' && spelling.front() != '<';
}

/// Whether a spelling begins with a letter: an ASCII one, or any character beyond ASCII.
inline bool begins_with_letter(std::string_view spelling) noexcept {
  auto const first = spelling.empty() ? 0 : static_cast<unsigned char>(spelling.front());
  return (first >= 0x80) || ((first | 0x20) >= 'a' && (first | 0x20) <= 'z');
}

/// The tokens of a word within a text, behind another word: what it is in most of what a model reads. None if the tokenizer does
/// not know it.
inline std::vector<std::int32_t> tokens_of_word(tokenizer const& t, std::string_view word) {
  constexpr std::string_view before = "the";
  tokenize_options plain;
  plain.special = plain.ends = false;
  encoding const all = t.encode(std::string(before) + " " + std::string(word), plain);
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < all.ids.size(); ++i) {
    if (all.spans[i].begin < before.size() || all.spans[i].begin == all.spans[i].end) continue;
    if (t.special().unk && all.ids[i] == *t.special().unk) return {};
    tokens.push_back(all.ids[i]);
  }
  return tokens;
}

/// A weight with a row for each token, [token, feature]; unembed.W_U is turned. Throws usage_error for another weight.
inline tensor token_table(model const& m, std::string const& name) {
  tensor table = m.weight(name);
  if (table.rank() == 2 && table.shape()[1].name == "token") table = table.transposed();
  if (table.rank() != 2 || table.shape()[0].name != "token")
    throw usage_error(name + " is " + describe(table.shape()) + ", not one row for each token; choose embed.W_E or unembed.W_U");
  return table;
}

}  // namespace wayfarer::words
