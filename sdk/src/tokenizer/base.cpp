#include "base.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer::tokenizing {

added_tokens::added_tokens(std::vector<added_token> all, refusal const& refuse) : all_(std::move(all)) {
  std::vector<std::pair<std::string_view, std::int32_t>> texts;
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < all_.size(); ++i) {
    auto const& t = all_[i];
    if (t.text.empty()) refuse("an added token is empty");
    if (t.text.size() > longest_token)
      refuse("the added token " + in_quotes(t.text) + " is longer than " + std::to_string(longest_token) + " bytes");
    if (!seen.insert(t.text).second) refuse("the added token " + in_quotes(t.text) + " comes twice");
    if (!by_id_.try_emplace(t.id, i).second) refuse("two added tokens have the id " + std::to_string(t.id));
    auto const first = static_cast<unsigned char>(t.text[0]);
    only_begin_ = only_begin_ == -1 || only_begin_ == first ? first : -2;
    begins_[first] = true;
    texts.emplace_back(t.text, static_cast<std::int32_t>(i));
  }
  trie_ = byte_trie(std::move(texts));
}

added_token const* added_tokens::find(std::int32_t id) const {
  auto const at = by_id_.find(id);
  return at == by_id_.end() ? nullptr : &all_[at->second];
}

added_tokens::match added_tokens::next(std::string_view text, std::size_t from, bool special) const {
  std::size_t at = from;
  if (all_.empty()) return {};
  while (at < text.size()) {
    if (only_begin_ >= 0) {
      auto const* const hit = static_cast<char const*>(std::memchr(text.data() + at, only_begin_, text.size() - at));
      if (!hit) return {};
      at = static_cast<std::size_t>(hit - text.data());
    } else if (!begins_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    added_token const* found = nullptr;
    auto node = byte_trie::root();
    for (std::size_t i = at; i < text.size(); ++i) {
      node = trie_.step(node, static_cast<unsigned char>(text[i]));
      if (node == byte_trie::none) break;
      if (trie_.token(node) < 0) continue;
      auto const& t = all_[static_cast<std::size_t>(trie_.token(node))];
      if (special || !t.special) found = &t;
    }
    if (!found) {
      ++at;
      continue;
    }
    match m{found, at, at + found->text.size()};
    while (found->strips_right && m.end < text.size()) {
      character const c = read_character(text, m.end);
      if (class_of(c) != char_class::space) break;
      m.end += c.length;
    }
    while (found->strips_left && m.begin > from) {
      std::size_t back = m.begin - 1;
      while (back > from && m.begin - back < 4 && (static_cast<unsigned char>(text[back]) & 0xc0) == 0x80) --back;
      character const c = read_character(text, back);
      if (class_of(c) != char_class::space || back + c.length != m.begin) break;
      m.begin = back;
    }
    return m;
  }
  return {};
}

namespace {

bool is_letter(char c) noexcept {
  return static_cast<unsigned char>(c) < 0x80 && ascii_classes[static_cast<unsigned char>(c)] == char_class::letter;
}

/// The first space between two ASCII letters at or after `at`; `end` if there is none.
std::size_t space_between_letters(std::string_view text, std::size_t at, std::size_t end) noexcept {
  for (std::size_t i = std::max<std::size_t>(at, 1); i + 1 < end; ++i)
    if (text[i] == ' ' && is_letter(text[i - 1]) && is_letter(text[i + 1])) return i;
  return end;
}

/// Tokens of a part before it is given away.
constexpr std::size_t part_tokens = 1 << 14;

}  // namespace

void base::encode_in_parts(std::string_view text, tokenize_options const& options, std::size_t part_bytes,
                           std::function<void(encoding const&)> const& part) const {
  if (text.size() >= 0xffffffff) throw usage_error("can't tokenize 4 GiB of text at once; split it, say by document");
  bool const parts = part_bytes < text.size() && parts_at_spaces();
  encoding out;
  auto const give_from = [&](std::size_t enough) {
    if (out.ids.size() < enough) return;
    part(out);
    out.ids.clear(), out.spans.clear();
  };
  std::function<void()> const give = [&] { give_from(part_tokens); };
  if (options.ends)
    for (std::int32_t const id : set_.before) out.ids.push_back(id), out.spans.push_back({0, 0});
  for (std::size_t at = 0; at < text.size();) {
    auto const special = set_.added.next(text, at, options.special);
    std::size_t const end = special.token ? special.begin : text.size();
    double score = 0;
    for (std::size_t from = at; from < end;) {
      std::size_t const to = parts ? space_between_letters(text, from + part_bytes, end) : end;
      cut({text, from, to, from != at, &score, &give}, out);
      give();
      from = to;
    }
    if (!special.token) break;
    out.ids.push_back(special.token->id);
    out.spans.push_back({special.begin, special.end});
    at = special.end;
  }
  if (options.ends)
    for (std::int32_t const id : set_.after) out.ids.push_back(id), out.spans.push_back({text.size(), text.size()});
  give_from(1);
}

encoding base::encode(std::string_view text, tokenize_options const& options) const {
  if (text.size() >= 0xffffffff) throw usage_error("can't tokenize 4 GiB of text at once; split it, say by document");
  encoding out;
  if (options.ends)
    for (std::int32_t const id : set_.before) out.ids.push_back(id), out.spans.push_back({0, 0});
  for (std::size_t at = 0; at < text.size();) {
    auto const special = set_.added.next(text, at, options.special);
    std::size_t const end = special.token ? special.begin : text.size();
    if (end > at) cut({text, at, end}, out);
    if (!special.token) break;
    out.ids.push_back(special.token->id);
    out.spans.push_back({special.begin, special.end});
    at = special.end;
  }
  if (options.ends)
    for (std::int32_t const id : set_.after) out.ids.push_back(id), out.spans.push_back({text.size(), text.size()});
  return out;
}

std::string base::token_bytes(std::int32_t id) const {
  check(id);
  return std::string(set_.tokens.bytes(id));
}

void base::check(std::int32_t id) const {
  if (!set_.tokens.has(id))
    throw usage_error("no token has the id " + std::to_string(id) + "; the vocabulary of " +
                      (set_.files.empty() ? std::string("this tokenizer") : set_.files.front()) + " has ids below " +
                      std::to_string(set_.tokens.size()));
}

}  // namespace wayfarer::tokenizing

namespace wayfarer {

void encode_in_parts(tokenizer const& t, std::string_view text, tokenize_options const& options,
                     std::function<void(encoding const&)> const& part) {
  // Enough for what a part costs beside its length.
  constexpr std::size_t part_bytes = std::size_t{1} << 18;
  if (auto const* const known = dynamic_cast<tokenizing::base const*>(&t))
    known->encode_in_parts(text, options, part_bytes, part);
  else
    part(t.encode(text, options));
}

}  // namespace wayfarer
