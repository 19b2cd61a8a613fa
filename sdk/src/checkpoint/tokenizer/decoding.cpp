#include "decoding.hpp"

#include <algorithm>

#include "text.hpp"

namespace wayfarer::tokenizing {

namespace {

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  std::string out;
  std::size_t at = 0;
  for (std::size_t next = text.find(what); next != text.npos; next = text.find(what, at)) {
    out.append(text, at, next - at).append(with);
    at = next + what.size();
  }
  if (at == 0) return;
  out.append(text, at);
  text = std::move(out);
}

void replace_all(std::string& text, pattern const& what, std::string_view with) {
  std::string out;
  std::size_t done = 0;
  if (first_broken(text, 0) < text.size()) return;
  pattern_search search(what);
  std::size_t last = std::string::npos;
  for (std::size_t at = 0; at <= text.size() && search.next(text, at);) {
    std::size_t const from = search.begin(), to = search.end();
    if (from == to && to == last) {
      at = to < text.size() ? to + read_character(text, to).length : to + 1;
      continue;
    }
    out.append(text, done, from - done).append(with);
    done = at = last = to;
  }
  text = out.append(text, done);
}

/// Text of byte letters as bytes; other texts stay as they are.
void read_letters(std::string& token) {
  if (auto bytes = bytes_of_byte_letters(token)) token = std::move(*bytes);
}

void join(std::vector<std::string>& all) {
  std::string out;
  for (auto const& t : all) out += t;
  all.assign(1, std::move(out));
}

struct stage {
  std::vector<std::string>& all;

  void operator()(decode_letters const&) const {
    for (auto& t : all) read_letters(t);
    join(all);
  }
  void operator()(decode_marks const& m) const {
    for (std::size_t i = 0; i < all.size(); ++i) replace_all(all[i], m.mark, i == 0 && m.drop_first ? "" : " ");
  }
  void operator()(decode_wordpiece const& w) const {
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i > 0) {
        if (all[i].starts_with(w.prefix))
          all[i].erase(0, w.prefix.size());
        else
          all[i].insert(0, " ");
      }
      if (!w.tidy) continue;
      for (auto const& [what, with] :
           {std::pair(" .", "."), std::pair(" ?", "?"), std::pair(" !", "!"), std::pair(" ,", ","), std::pair(" ' ", "'"),
            std::pair(" n't", "n't"), std::pair(" 'm", "'m"), std::pair(" do not", " don't"), std::pair(" 's", "'s"),
            std::pair(" 've", "'ve"), std::pair(" 're", "'re")})
        replace_all(all[i], what, with);
    }
  }
  void operator()(decode_suffix const& s) const {
    for (std::size_t i = 0; i < all.size(); ++i) replace_all(all[i], s.suffix, i + 1 == all.size() ? "" : " ");
  }
  void operator()(decode_replace const& r) const {
    for (auto& t : all) {
      if (r.matches)
        replace_all(t, *r.matches, r.with);
      else
        replace_all(t, r.what, r.with);
    }
  }
  void operator()(decode_bytes const&) const {
    for (auto& t : all)
      if (int const byte = byte_of_token(t); byte >= 0) t.assign(1, static_cast<char>(byte));
  }
  void operator()(decode_fuse const&) const { join(all); }
  void operator()(decode_strip const& s) const {
    for (auto& t : all) {
      for (std::size_t n = 0; n < s.start && t.starts_with(s.character); ++n) t.erase(0, s.character.size());
      for (std::size_t n = 0; n < s.stop && t.ends_with(s.character); ++n) t.resize(t.size() - s.character.size());
    }
  }
};

}  // namespace

int byte_of_token(std::string_view text) noexcept {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (char const c : text.substr(3, 2)) {
    int const digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

std::string decoding::text(std::vector<std::string> tokens) const {
  std::string out;
  if (tokens.empty()) return out;
  for (auto const& step : steps_) std::visit(stage{tokens}, step);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && steps_.empty()) out += ' ';
    out += tokens[i];
  }
  return out;
}

std::string decoding::alone(std::string_view token) const {
  std::vector<std::string> one{std::string(token)};
  for (auto const& step : steps_) {
    if (auto const* m = std::get_if<decode_marks>(&step))
      stage{one}(decode_marks{m->mark, false});
    else if (auto const* w = std::get_if<decode_wordpiece>(&step))
      one[0].erase(0, one[0].starts_with(w->prefix) ? w->prefix.size() : 0);
    else if (!std::holds_alternative<decode_strip>(step) && !std::holds_alternative<decode_fuse>(step))
      std::visit(stage{one}, step);
  }
  return std::move(one[0]);
}

}  // namespace wayfarer::tokenizing
