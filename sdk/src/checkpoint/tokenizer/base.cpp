#include "base.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/pretrained.hpp>

namespace wayfarer::tokenizing {

namespace {

/// Where the character that ends at `end` begins; at least `from`, which is below `end`.
std::size_t begin_of_last(std::string_view text, std::size_t from, std::size_t end) noexcept {
  std::size_t back = end - 1;
  while (back > from && end - back < 4 && (static_cast<unsigned char>(text[back]) & 0xc0) == 0x80) --back;
  return back + read_character(text, back).length == end ? back : end - 1;
}

}  // namespace

added_tokens::added_tokens(std::vector<added_token> all, std::vector<normalizer> const& steps, refusal const& refuse)
    : all_(std::move(all)) {
  // Of several with the same normalised text the first wins, and special ones come first.
  std::stable_sort(all_.begin(), all_.end(), [](auto const& a, auto const& b) { return a.special && !b.special; });
  std::vector<std::pair<std::string_view, std::int32_t>> raw, normal;
  std::set<std::string_view> seen;
  std::set<std::string> seen_normal;
  for (std::size_t i = 0; i < all_.size(); ++i) {
    auto const& t = all_[i];
    if (t.text.empty()) refuse("an added token is empty");
    if (t.text.size() > longest_token)
      refuse("the added token " + in_quotes(t.text) + " is longer than " + std::to_string(longest_token) + " bytes");
    if (!seen.insert(t.text).second) refuse("the added token " + in_quotes(t.text) + " comes twice");
    if (!by_id_.try_emplace(t.id, i).second) refuse("two added tokens have the id " + std::to_string(t.id));
    if (!t.normalized) {
      raw.emplace_back(t.text, static_cast<std::int32_t>(i));
      continue;
    }
    std::string text = steps.empty() ? t.text : tokenizing::normalized(align(t.text, 0, t.text.size()), steps).text;
    if (text.empty() || text.size() > longest_token) continue;
    if (auto const [at, fresh] = seen_normal.insert(std::move(text)); fresh)
      normal.emplace_back(*at, static_cast<std::int32_t>(i));
  }
  raw_.fill(std::move(raw));
  normal_.fill(std::move(normal));
}

void added_tokens::finder::fill(std::vector<std::pair<std::string_view, std::int32_t>> texts) {
  any = !texts.empty();
  for (auto const& [text, index] : texts) {
    auto const first = static_cast<unsigned char>(text[0]);
    only_begin = only_begin == -1 || only_begin == first ? first : -2;
    begins[first] = true;
  }
  trie = byte_trie(std::move(texts));
}

added_token const* added_tokens::find(std::int32_t id) const {
  auto const at = by_id_.find(id);
  return at == by_id_.end() ? nullptr : &all_[at->second];
}

added_tokens::match added_tokens::next(finder const& of, std::string_view text, std::size_t from, bool special) const {
  std::size_t at = from;
  if (!of.any) return {};
  while (at < text.size()) {
    if (of.only_begin >= 0) {
      auto const* const hit = static_cast<char const*>(std::memchr(text.data() + at, of.only_begin, text.size() - at));
      if (!hit) return {};
      at = static_cast<std::size_t>(hit - text.data());
    } else if (!of.begins[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    added_token const* found = nullptr;
    std::size_t end = at;
    auto node = byte_trie::root();
    for (std::size_t i = at; i < text.size(); ++i) {
      node = of.trie.step(node, static_cast<unsigned char>(text[i]));
      if (node == byte_trie::none) break;
      if (of.trie.token(node) < 0) continue;
      found = &all_[static_cast<std::size_t>(of.trie.token(node))];
      end = i + 1;
    }
    if (!found) {
      ++at;
      continue;
    }
    bool const apart = !found->whole_word || ((at == 0 || !in_word(read_character(text, begin_of_last(text, 0, at)))) &&
                                              (end == text.size() || !in_word(read_character(text, end))));
    // What is found and does not count is passed over as a whole, as Hugging Face's library does.
    if (!apart || (found->special && !special)) {
      at = end;
      continue;
    }
    match m{found, at, end};
    while (found->strips_right && m.end < text.size()) {
      character const c = read_character(text, m.end);
      if (class_of(c) != char_class::space) break;
      m.end += c.length;
    }
    while (found->strips_left && m.begin > from) {
      std::size_t const back = begin_of_last(text, from, m.begin);
      if (class_of(read_character(text, back)) != char_class::space) break;
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
  bool const whole = set_.added.any_normalized();  // such a token may lie on both sides of a cut
  bool const parts = part_bytes < text.size() && parts_at_spaces() && !whole;
  bool const special = options.special && !set_.special_as_text;
  encoding out;
  std::int32_t last = -1;
  auto const give_from = [&](std::size_t enough) {
    if (out.ids.size() < enough) return;
    last = out.ids.back();
    part(out);
    out.ids.clear(), out.spans.clear();
  };
  std::function<void()> const give = [&] { give_from(part_tokens); };
  if (options.ends)
    for (std::int32_t const id : set_.around.before) out.ids.push_back(id), out.spans.push_back({0, 0});
  for (std::size_t at = 0; at < text.size();) {
    auto const m = set_.added.next_raw(text, at, special);
    std::size_t const end = m.token ? m.begin : text.size();
    double score = 0;
    for (std::size_t from = at; from < end;) {
      std::size_t const to = parts ? space_between_letters(text, from + part_bytes, end) : end;
      if (whole)
        rest(text, from, to, special, &give, out);
      else
        cut({text, from, to, from != at, &score, &give}, out);
      give();
      from = to;
    }
    if (!m.token) break;
    out.ids.push_back(m.token->id);
    out.spans.push_back({m.begin, m.end});
    at = m.end;
  }
  if (!out.ids.empty()) last = out.ids.back();
  bool const ended = set_.around.after_once && !set_.around.after.empty() && last == set_.around.after.back();
  if (options.ends && !ended)
    for (std::int32_t const id : set_.around.after) out.ids.push_back(id), out.spans.push_back({text.size(), text.size()});
  give_from(1);
}

void base::rest(std::string_view text, std::size_t begin, std::size_t end, bool special, std::function<void()> const* give,
                encoding& out) const {
  if (begin == end) return;
  if (!set_.added.any_normalized()) return cut({text, begin, end, false, nullptr, give}, out);
  auto const walk = [&](std::string_view in, auto&& gap, auto&& token) {
    for (std::size_t at = 0; at < in.size();) {
      auto const m = set_.added.next_normalized(in, at, special);
      std::size_t const to = m.token ? m.begin : in.size();
      if (to > at) gap(at, to);
      if (!m.token) return;
      token(*m.token, m.begin, m.end);
      at = m.end;
    }
  };
  if (untouched(text.substr(begin, end - begin), set_.steps)) {
    walk(
        text.substr(begin, end - begin),
        [&](std::size_t from, std::size_t to) {
          cut({text, begin + from, begin + to, false, nullptr, give}, out);
        },
        [&](added_token const& t, std::size_t from, std::size_t to) {
          out.ids.push_back(t.id);
          out.spans.push_back({begin + from, begin + to});
        });
    return;
  }
  aligned_text const all = normalized(align(text, begin, end, broken()), set_.steps);
  walk(
      all.text, [&](std::size_t from, std::size_t to) { cut_normalized(all, from, to, give, out); },
      [&](added_token const& t, std::size_t from, std::size_t to) {
        out.ids.push_back(t.id);
        out.spans.push_back({all.from[from].begin, all.from[to - 1].end});
      });
}

void base::cut_normalized(aligned_text const&, std::size_t, std::size_t, std::function<void()> const*, encoding&) const {}

encoding base::inside(std::string_view text, bool special) const {
  if (text.size() >= 0xffffffff) throw usage_error("can't tokenize 4 GiB of text at once; split it, say by document");
  special = special && !set_.special_as_text;
  encoding out;
  for (std::size_t at = 0; at < text.size();) {
    auto const m = set_.added.next_raw(text, at, special);
    rest(text, at, m.token ? m.begin : text.size(), special, nullptr, out);
    if (!m.token) break;
    out.ids.push_back(m.token->id);
    out.spans.push_back({m.begin, m.end});
    at = m.end;
  }
  return out;
}

encoding base::encode_prompt(std::string_view text) const {
  encoding out = inside(text, true);
  auto const& before = set_.around.before;
  out.ids.insert(out.ids.begin(), before.begin(), before.end());
  out.spans.insert(out.spans.begin(), before.size(), token_span{0, 0});
  return out;
}

encoding base::encode(std::string_view text, tokenize_options const& options) const {
  encoding out = inside(text, options.special);
  if (!options.ends) return out;
  auto const& around = set_.around;
  out.ids.insert(out.ids.begin(), around.before.begin(), around.before.end());
  out.spans.insert(out.spans.begin(), around.before.size(), token_span{0, 0});
  if (around.after_once && !around.after.empty() && !out.ids.empty() && out.ids.back() == around.after.back()) return out;
  out.ids.insert(out.ids.end(), around.after.begin(), around.after.end());
  out.spans.insert(out.spans.end(), around.after.size(), token_span{text.size(), text.size()});
  return out;
}

pair_encoding base::encode_pair(std::string_view first, std::string_view second, std::size_t most,
                                tokenize_options const& options) const {
  if (!set_.around.both)
    throw usage_error("the tokenizer of " + (set_.files.empty() ? std::string("this model") : set_.files.front()) +
                      " has no rule for pairs of texts; give single texts");
  ends::pair none;
  none.type_second = set_.around.both->type_second;
  auto const& rule = options.ends ? *set_.around.both : none;
  encoding a = inside(first, options.special), b = inside(second, options.special);
  std::size_t const fixed = rule.before.size() + rule.between.size() + rule.after.size();
  pair_encoding out;
  out.uncut = a.ids.size() + b.ids.size() + fixed;
  if (most != 0) {
    std::size_t const room = most > fixed ? most - fixed : 0;
    std::size_t na = a.ids.size(), nb = b.ids.size();
    if (na + nb > room) {
      // One token at a time off the longer, off the second if they are as long.
      std::size_t const half = room / 2, shorter = std::min(na, nb);
      if (shorter <= half)
        (na <= nb ? nb : na) = room - shorter;
      else
        na = room - half, nb = half;
    }
    a.ids.resize(na), a.spans.resize(na), b.ids.resize(nb), b.spans.resize(nb);
  }
  auto const put = [&](std::vector<std::int32_t> const& ids, std::int32_t type, bool of_second, std::size_t at) {
    for (std::int32_t const id : ids) {
      out.ids.push_back(id), out.spans.push_back({at, at}), out.types.push_back(type), out.second.push_back(of_second);
    }
  };
  auto const put_text = [&](encoding const& e, std::int32_t type, bool of_second) {
    put(e.ids, type, of_second, 0);
    std::copy(e.spans.begin(), e.spans.end(), out.spans.end() - static_cast<std::ptrdiff_t>(e.spans.size()));
  };
  put(rule.before, rule.type_before, false, 0);
  put_text(a, rule.type_first, false);
  put(rule.between, rule.type_between, false, first.size());
  put_text(b, rule.type_second, true);
  put(rule.after, rule.type_after, true, second.size());
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

encoding encode_prompt(tokenizer const& t, std::string_view text) {
  auto const* const known = dynamic_cast<tokenizing::base const*>(&t);
  return known ? known->encode_prompt(text) : t.encode(text, {.ends = false});
}

bool has_token(tokenizer const& t, std::int32_t id) noexcept {
  if (auto const* const known = dynamic_cast<tokenizing::base const*>(&t)) return known->has(id);
  return id >= 0 && static_cast<std::size_t>(id) < t.vocabulary();
}

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
