#include "sentencepiece_text.hpp"

#include <algorithm>

#include "text.hpp"

namespace wayfarer::tokenizing {

namespace {

/// Bytes of a text that are passed on together.
constexpr std::size_t bytes_at_once = 1 << 14;

}  // namespace

std::string with_spaces(std::string_view piece) {
  std::string out;
  for (std::size_t i = 0; i < piece.size();) {
    if (piece.substr(i).starts_with(space_mark)) {
      out += ' ';
      i += space_mark.size();
    } else {
      out += piece[i++];
    }
  }
  return out;
}

sentencepiece_text::sentencepiece_text(sentencepiece_rules r) : rules_(std::move(r)) {
  for (unsigned b = 0; b < 256; ++b)
    any_symbols_ = any_symbols_ || rules_.defined.step(byte_trie::root(), static_cast<unsigned char>(b)) != byte_trie::none;
  for (unsigned b = 0; b < 0x80; ++b) {
    auto const byte = static_cast<unsigned char>(b);
    plain_[b] = b != ' ' && rules_.defined.step(byte_trie::root(), byte) == byte_trie::none && !rules_.map->begins(byte);
  }
}

std::pair<std::size_t, std::int32_t> sentencepiece_text::symbol_at_begin_of(std::string_view text) const noexcept {
  auto at = byte_trie::root();
  std::pair<std::size_t, std::int32_t> longest{0, -1};
  for (std::size_t i = 0; i < text.size(); ++i) {
    at = rules_.defined.step(at, static_cast<unsigned char>(text[i]));
    if (at == byte_trie::none) break;
    if (rules_.defined.token(at) >= 0) longest = {i + 1, rules_.defined.token(at)};
  }
  return longest;
}

sentencepiece_text::prefix sentencepiece_text::next(std::string_view text) const {
  if (auto const [length, id] = symbol_at_begin_of(text); length > 0) return {text.substr(0, length), length};
  if (auto const with = rules_.map->longest(text); with.length > 0) return {with.text, with.length};
  character const c = read_character(text, 0);
  if (c.valid || rules_.broken == broken_bytes::kept) return {text.substr(0, c.length), c.length};
  return {"\xef\xbf\xbd", 1};
}

namespace {

origin bytes(std::size_t first, std::size_t last) {
  return {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last)};
}

/// Puts what stands for the bytes `from`, without its first spaces if one came before; the mark stands for each space. Returns
/// whether it ends with a space; as before if nothing is put.
bool put_replacement(std::string_view with, origin from, bool after_space, std::string_view mark, aligned_text& out) {
  while (after_space && with.starts_with(' ')) with.remove_prefix(1);
  if (!with.empty()) after_space = with.ends_with(' ');
  while (!with.empty()) {
    std::size_t const word = std::min(with.find(' '), with.size());
    out.put(with.substr(0, word), from);
    if (word < with.size()) out.put(mark, from);
    with.remove_prefix(std::min(word + 1, with.size()));
  }
  return after_space;
}

}  // namespace

void sentencepiece_text::normalise(std::string_view whole, std::size_t begin, std::size_t end, bool goes_on,
                                   std::function<void(std::string_view, origins const&)> const& put) const {
  aligned_text out;
  std::string_view const text = whole.substr(0, end);
  std::size_t at = begin;
  std::string_view const space = rules_.escape_spaces ? space_mark : " ";
  std::size_t enough = bytes_at_once;
  // Spaces at the end wait for what follows, and go if nothing does.
  auto const pass_on = [&](bool last) {
    std::size_t n = out.text.size();
    if (rules_.squeeze_spaces)
      while (std::string_view(out.text).substr(0, n).ends_with(space)) n -= space.size();
    put(std::string_view(out.text).substr(0, n), out.from);
    if (last) return;
    out.text.erase(0, n);
    out.from.drop_front(n);
  };
  if (rules_.squeeze_spaces && !goes_on)
    while (at < end) {
      prefix const p = next(text.substr(at));
      if (p.text != " ") break;
      at += p.length;
    }
  if (at == end) return;
  // Behind an added token T5's later rule keeps a space that is there, and puts none.
  bool const put_prefix =
      rules_.prefix_once && begin != 0 ? text[begin] == ' ' || text.substr(begin).starts_with(space_mark) : rules_.dummy_prefix;
  if (put_prefix && !goes_on) out.put(space, bytes(at, at));
  bool after_space = rules_.squeeze_spaces && !goes_on;
  while (at < end) {
    std::size_t run = at;
    std::size_t const most = std::min(end, at + bytes_at_once);
    while (run < most && plain_[static_cast<unsigned char>(text[run])]) ++run;
    if (run > at) {
      out.text.append(text, at, run - at);
      out.from.add_themselves(run - at, at);
      at = run;
      after_space = false;
    } else {
      prefix const p = next(text.substr(at));
      after_space = put_replacement(p.text, bytes(at, at + p.length), after_space, space, out) && rules_.squeeze_spaces;
      at += p.length;
    }
    if (out.text.size() < enough) continue;
    pass_on(false);
    enough = bytes_at_once + 2 * out.text.size();
  }
  pass_on(true);
}

}  // namespace wayfarer::tokenizing
