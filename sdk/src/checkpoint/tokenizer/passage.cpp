#include "passage.hpp"

#include <algorithm>

#include "text.hpp"

namespace wayfarer::tokenizing {

namespace {

/// Turns matches and the gaps between them into pieces, as Hugging Face's library does for each behaviour.
class cutter {
 public:
  using sink = std::function<void(passage const&)>;
  cutter(passage const& of, delimiter what, sink const& out) : of_(of), what_(what), out_(out) {}

  void add(std::size_t begin, std::size_t end, bool match) {
    switch (what_) {
      case delimiter::isolated:
        give(begin, end);
        break;
      case delimiter::removed:
        if (!match) give(begin, end);
        break;
      case delimiter::contiguous:
        hold(begin, end, any_ && match == before_);
        break;
      case delimiter::merged_with_previous:
        hold(begin, end, any_ && match && !before_);
        break;
      case delimiter::merged_with_next:
        hold(begin, end, any_ && !match && before_);
        break;
    }
    before_ = match, any_ = true;
  }
  void finish() {
    if (held_) give(begin_, end_);
    held_ = false;
  }

 private:
  void give(std::size_t begin, std::size_t end) const {
    if (end > begin) out_(of_.part(begin, end));
  }
  void hold(std::size_t begin, std::size_t end, bool joins) {
    if (joins && held_) {
      end_ = end;
      return;
    }
    finish();
    begin_ = begin, end_ = end, held_ = true;
  }

  passage const& of_;
  delimiter what_;
  sink const& out_;
  bool any_ = false, before_ = false, held_ = false;
  std::size_t begin_ = 0, end_ = 0;
};

bool is_of(split_step const& s, character const& c) noexcept {
  switch (s.of) {
    case split_step::kind::number:
      return is_number(c);
    case split_step::kind::punctuation:
      return c.valid && is_punctuation(c.value);
    case split_step::kind::space:
      return class_of(c) == char_class::space;
    case split_step::kind::character:
      return c.valid && c.value == s.character;
  }
  return false;
}

/// Calls `event(begin, end, match)` for all of the text, gaps included.
template <class Event>
void find_characters(split_step const& s, std::string_view text, Event&& event) {
  std::size_t gap = 0;
  for (std::size_t i = 0; i < text.size();) {
    character const c = read_character(text, i);
    if (is_of(s, c)) {
      if (i > gap) event(gap, i, false);
      event(i, i + c.length, true);
      gap = i + c.length;
    }
    i += c.length;
  }
  if (gap < text.size()) event(gap, text.size(), false);
}

/// \w+|[^\w\s]+
template <class Event>
void find_words(std::string_view text, Event&& event) {
  auto const kind = [](character const& c) { return in_word(c) ? 1 : class_of(c) == char_class::space ? 0 : 2; };
  for (std::size_t i = 0; i < text.size();) {
    character c = read_character(text, i);
    int const first = kind(c);
    std::size_t end = i + c.length;
    while (end < text.size()) {
      c = read_character(text, end);
      if (kind(c) != first) break;
      end += c.length;
    }
    event(i, end, first != 0);
    i = end;
  }
}

template <class Event>
void find_text(std::string const& what, std::string_view text, Event&& event) {
  std::size_t gap = 0;
  for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, gap)) {
    if (at > gap) event(gap, at, false);
    event(at, at + what.size(), true);
    gap = at + what.size();
  }
  if (gap < text.size()) event(gap, text.size(), false);
}

/// The pattern sees runs of UTF-8; bytes that are none match nothing.
template <class Event>
void find_pattern(pattern_search& search, std::string_view whole, Event&& event) {
  std::size_t gap = 0;
  for (std::size_t begin = 0; begin < whole.size();) {
    std::size_t end = whole.size();
    if (std::size_t const bad = first_broken(whole, begin); bad < end) end = bad;
    std::string_view const text = whole.substr(begin, end - begin);
    std::size_t last = std::string_view::npos;
    for (std::size_t at = 0; at <= text.size() && !text.empty();) {
      if (!search.next(text, at)) break;
      std::size_t const from = search.begin(), to = search.end();
      // An empty match right behind a match is none.
      if (from == to && to == last) {
        at = to < text.size() ? to + read_character(text, to).length : to + 1;
        continue;
      }
      if (begin + from > gap) event(gap, begin + from, false);
      event(begin + from, begin + to, true);
      gap = begin + to, at = to, last = to;
    }
    begin = end < whole.size() ? end + 1 : end;
  }
  if (gap < whole.size()) event(gap, whole.size(), false);
}

}  // namespace

class pre_tokenization::runner {
 public:
  runner(pre_tokenization const& of, std::function<void(passage const&)> const& word)
      : steps_(of.steps_), quiet_(of.quiet_), word_(word), searches_(steps_.size()), next_(steps_.size()) {
    for (std::size_t k = 0; k < steps_.size(); ++k) next_[k] = [this, k](passage const& p) { apply(k + 1, p); };
  }

  void apply(std::size_t k, passage const& p) {
    if (k == steps_.size()) {
      if (letters_)
        give_bytes(p);
      else
        word_(p);
      return;
    }
    std::visit([&](auto const& step) { this->step(step, k, p); }, steps_[k]);
  }

 private:
  void step(split_step const& s, std::size_t k, passage const& p) {
    cutter out(p, s.what, next_[k]);
    auto const event = [&](std::size_t begin, std::size_t end, bool match) { out.add(begin, end, match != s.inverted); };
    switch (s.how) {
      case split_step::looked_for::by_pattern: {
        if (std::none_of(p.text.begin(), p.text.end(),
                         [&](char c) { return !s.matches->never_begins(static_cast<unsigned char>(c)); })) {
          event(0, p.text.size(), false);
          break;
        }
        auto& search = searches_[k];
        if (!search) search.emplace(*s.matches);
        find_pattern(*search, p.text, event);
        break;
      }
      case split_step::looked_for::by_text:
        find_text(s.text, p.text, event);
        break;
      case split_step::looked_for::by_kind:
        find_characters(s, p.text, event);
        break;
      case split_step::looked_for::by_words:
        find_words(p.text, event);
        break;
    }
    out.finish();
  }

  void step(gpt2_step const&, std::size_t k, passage const& p) {
    for (std::size_t at = 0; at < p.text.size();) {
      std::size_t const end = end_of_piece(p.text, at);
      apply(k + 1, p.part(at, end));
      at = end;
    }
  }

  void step(prefix_step const&, std::size_t k, passage const& p) {
    if (p.text.starts_with(' ')) return apply(k + 1, p);
    aligned_text with;
    put(with, " ", p.place(), p.place());
    put(with, p);
    apply(k + 1, passage(with));
  }

  void step(letters_step const& l, std::size_t k, passage const& p) {
    if (!l.back) return apply_letters(k, p);
    if (std::all_of(p.text.begin(), p.text.end(), [&](char c) { return quiet_[static_cast<unsigned char>(c)]; })) return word_(p);
    letters_ = true;
    apply_letters(k, p);
    letters_ = false;
  }

  void apply_letters(std::size_t k, passage const& p) {
    aligned_text letters;
    letters.text.reserve(p.text.size() * 2);
    for (std::size_t i = 0; i < p.text.size(); ++i) {
      auto const span = p.span(i, i + 1);
      put(letters, letter_of_byte(static_cast<unsigned char>(p.text[i])), span.begin, span.end);
    }
    apply(k + 1, passage(letters));
  }

  void step(mark_step const& m, std::size_t k, passage const& p) {
    aligned_text marked;
    marked.text.reserve(p.text.size() + p.text.size() / 4 + m.mark.size());
    bool const prepend = m.prepend == mark_step::prefix::always || (m.prepend == mark_step::prefix::first && p.place() == 0);
    if (prepend && !p.text.starts_with(' ') && !p.text.starts_with(m.mark)) put(marked, m.mark, p.place(), p.place());
    for (std::size_t i = 0; i < p.text.size();) {
      std::size_t const space = std::min(p.text.find(' ', i), p.text.size());
      put(marked, p.part(i, space));
      if (space == p.text.size()) break;
      auto const span = p.span(space, space + 1);
      put(marked, m.mark, span.begin, span.end);
      i = space + 1;
    }
    passage const all(marked);
    if (!m.split) return apply(k + 1, all);
    for (std::size_t i = 0; i < all.text.size();) {
      std::size_t const end =
          std::min(all.text.find(m.mark, i + (all.text.substr(i).starts_with(m.mark) ? m.mark.size() : 0)), all.text.size());
      apply(k + 1, all.part(i, end));
      i = end;
    }
  }

  /// A piece of letters as the bytes that they stand for.
  void give_bytes(passage const& p) {
    aligned_text bytes;
    for (std::size_t i = 0; i < p.text.size();) {
      character const c = read_character(p.text, i);
      auto const span = p.span(i, i + c.length);
      char const byte = static_cast<char>(byte_of_letter(c.value));
      put(bytes, {&byte, 1}, span.begin, span.end);
      i += c.length;
    }
    word_(passage(bytes));
  }

  static void put(aligned_text& to, std::string_view text, std::size_t begin, std::size_t end) {
    to.put(text, {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
  }
  static void put(aligned_text& to, passage const& p) {
    to.text.append(p.text);
    if (p.from)
      to.from.add(*p.from, p.begin, p.text.size());
    else
      to.from.add_themselves(p.text.size(), p.begin);
  }

  std::vector<pre_tokenizer> const& steps_;
  std::array<bool, 256> const& quiet_;
  std::function<void(passage const&)> const& word_;
  std::vector<std::optional<pattern_search>> searches_;
  std::vector<std::function<void(passage const&)>> next_;
  bool letters_ = false;
};

pre_tokenization::pre_tokenization(std::vector<pre_tokenizer> steps) : steps_(std::move(steps)) {
  auto const letters =
      std::find_if(steps_.begin(), steps_.end(), [](auto const& s) { return std::holds_alternative<letters_step>(s); });
  if (letters == steps_.end()) return;
  for (unsigned b = 0; b < 256; ++b) {
    std::string_view const letter = letter_of_byte(static_cast<unsigned char>(b));
    quiet_[b] = std::all_of(letters + 1, steps_.end(), [&](pre_tokenizer const& step) {
      auto const* const s = std::get_if<split_step>(&step);
      if (!s || s->inverted) return false;
      switch (s->how) {
        case split_step::looked_for::by_pattern:
          return s->matches->never_begins(static_cast<unsigned char>(letter[0]));
        case split_step::looked_for::by_text:
          return letter[0] != s->text[0];
        case split_step::looked_for::by_kind:
          return !is_of(*s, read_character(letter, 0));
        case split_step::looked_for::by_words:
          break;
      }
      return false;
    });
  }
}

void pre_tokenization::run(passage const& whole, std::function<void(passage const&)> const& word) const {
  if (!whole.text.empty()) runner(*this, word).apply(0, whole);
}

}  // namespace wayfarer::tokenizing
