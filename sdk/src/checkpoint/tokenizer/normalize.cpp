#include "normalize.hpp"

#include <algorithm>
#include <cstring>

#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include <unicode/utext.h>

#include <wayfarer/error.hpp>

#include "text.hpp"

namespace wayfarer::tokenizing {

namespace {

/// Unicode's own longest is 36 bytes.
constexpr std::size_t longest_replacement = 256;
constexpr std::string_view replacement_character = "\xef\xbf\xbd";

/// Ends [begin of the first, end of the last) of the bytes [at, at + n).
origin span_of(aligned_text const& t, std::size_t at, std::size_t n) {
  return {t.from[at].begin, t.from[at + n - 1].end};
}

void check(UErrorCode code, char const* what) {
  if (U_FAILURE(code))
    throw resource_error(std::string("ICU can't ") + what + ": " + u_errorName(code) + "; is its data installed?");
}

/// Calls `each(character, begin)` for the characters of a text.
template <class Each>
void for_characters(std::string_view text, Each&& each) {
  for (std::size_t i = 0; i < text.size();) {
    character const c = read_character(text, i);
    each(c, i);
    i += c.length;
  }
}

normalizer local(normalizer step) {
  step.local = true;
  return step;
}

/// What stays a character of its own whatever plain one is beside it.
bool is_plain(character const& c) {
  if (c.value < 0x80) return c.value > ' ' && c.value < 0x7f;
  if (!c.valid) return false;
  auto const u = static_cast<UChar32>(c.value);
  if ((U_GET_GC_MASK(u) & U_GC_L_MASK) == 0 || u_getIntPropertyValue(u, UCHAR_NFKC_QUICK_CHECK) != UNORM_YES) return false;
  auto const cluster = u_getIntPropertyValue(u, UCHAR_GRAPHEME_CLUSTER_BREAK);
  return cluster == U_GCB_OTHER || cluster == U_GCB_LV || cluster == U_GCB_LVT;
}

/// A step that maps each character to text of its own; `map` returns false to leave it as it is.
template <class Map>
normalizer by_character(Map map) {
  return local([map](aligned_text const& in, aligned_text& out) {
    std::string with;
    for_characters(in.text, [&](character const& c, std::size_t at) {
      with.clear();
      if (c.valid && map(c.value, with))
        out.put(with, span_of(in, at, c.length));
      else
        out.put(in, at, c.length);
    });
  });
}

/// Clusters of characters that people take for one.
class clusters {
 public:
  ~clusters() {
    if (iterator_) ubrk_close(iterator_);
    if (text_) utext_close(text_);
  }
  clusters() = default;
  clusters(clusters const&) = delete;
  clusters& operator=(clusters const&) = delete;

  /// Calls `each(begin, end)` for the clusters of a text.
  template <class Each>
  void of(std::string_view text, Each&& each) {
    UErrorCode code = U_ZERO_ERROR;
    if (!iterator_) iterator_ = ubrk_open(UBRK_CHARACTER, "", nullptr, 0, &code);
    text_ = utext_openUTF8(text_, text.data(), static_cast<std::int64_t>(text.size()), &code);
    ubrk_setUText(iterator_, text_, &code);
    check(code, "find the characters of a text");
    std::int32_t from = ubrk_first(iterator_);
    for (std::int32_t to = ubrk_next(iterator_); to != UBRK_DONE; from = to, to = ubrk_next(iterator_))
      each(static_cast<std::size_t>(from), static_cast<std::size_t>(to));
  }

 private:
  UBreakIterator* iterator_ = nullptr;
  UText* text_ = nullptr;
};

bool is_ascii(char c) noexcept {
  return static_cast<unsigned char>(c) < 0x80;
}

bool is_chinese(char32_t c) noexcept {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
         (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

}  // namespace

aligned_text align(std::string_view text, std::size_t begin, std::size_t end, broken_bytes broken) {
  aligned_text out;
  out.text.reserve(end - begin);
  std::string_view const part = text.substr(0, end);
  for (std::size_t i = begin; i < end;) {
    auto const at = static_cast<std::uint32_t>(i);
    if (is_ascii(part[i])) {
      std::size_t run = i + 1;
      while (run < end && is_ascii(part[run])) ++run;
      out.text.append(part, i, run - i);
      out.from.add_themselves(run - i, i);
      i = run;
      continue;
    }
    character const c = read_character(part, i);
    out.put(c.valid || broken == broken_bytes::kept ? part.substr(i, c.length) : replacement_character, {at, at + c.length});
    i += c.length;
  }
  return out;
}

bool untouched(std::string_view text, std::vector<normalizer> const& steps) {
  return std::all_of(steps.begin(), steps.end(), [&](normalizer const& step) { return step.leaves(text); });
}

aligned_text normalized(aligned_text text, std::vector<normalizer> const& steps) {
  aligned_text next;
  for (auto const& step : steps) {
    next.clear();
    next.text.reserve(text.text.size());
    step(text, next);
    std::swap(text, next);
  }
  return text;
}

character_map::character_map(std::string blob, refusal const& refuse) {
  if (blob.empty()) return;
  std::uint32_t size = 0;
  if (blob.size() < sizeof size) refuse("the character map is only " + std::to_string(blob.size()) + " bytes long");
  std::memcpy(&size, blob.data(), sizeof size);
  if (size == 0 || size % 4 != 0 || size > blob.size() - sizeof size)
    refuse("the character map says that its index is " + std::to_string(size) + " bytes long, of " +
           std::to_string(blob.size() - sizeof size));
  units_.resize(size / 4);
  std::memcpy(units_.data(), blob.data() + sizeof size, size);
  texts_ = blob.substr(sizeof size + size);
  if (texts_.empty() || texts_.back() != '\0') refuse("the texts of the character map don't end with a NUL byte");
  for (std::size_t i = 0, text = 0; i < texts_.size();) {
    character const c = read_character(texts_, i);
    if (c.value == 0) text = i + 1;
    if (i >= text + longest_replacement)
      refuse("a text of the character map is longer than " + std::to_string(longest_replacement) + " bytes");
    if (!c.valid) refuse("byte " + std::to_string(i) + " of the character map's texts is not UTF-8");
    i += c.length;
  }
}

character_map::replacement character_map::search(std::string_view text, bool first) const noexcept {
  replacement found;
  if (units_.empty()) return found;
  std::size_t at = offset(units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto const byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (at >= units_.size()) break;
    std::uint32_t const unit = units_[at];
    if ((unit & (1u << 31 | 0xffu)) != byte) break;
    at ^= offset(unit);
    if ((unit >> 8 & 1) == 0) continue;
    if (at >= units_.size()) break;
    std::size_t const value = units_[at] & 0x7fffffffu;
    if (value >= texts_.size() || (static_cast<unsigned char>(texts_[value]) & 0xc0) == 0x80) break;
    // The texts end with NUL, so this does, too.
    found = {std::string_view(texts_.data() + value), i + 1};
    if (first) break;
  }
  return found;
}

bool all_local(std::vector<normalizer> const& steps) noexcept {
  return std::all_of(steps.begin(), steps.end(), [](normalizer const& n) { return n.local; });
}

std::size_t end_of_slice(std::string_view text, std::size_t begin, std::size_t end, std::size_t enough) {
  if (end - begin <= enough) return end;
  bool after_plain = false;
  for (std::size_t at = begin + enough; at < end;) {
    character const c = read_character(text.substr(0, end), at);
    bool const plain = is_plain(c);
    if (plain && after_plain) return at;
    after_plain = plain;
    at += c.length;
  }
  return end;
}

normalizer by_character_map(std::shared_ptr<character_map const> map) {
  return local([map](aligned_text const& in, aligned_text& out) {
    // A text longer than that is no prefix of the map, by Hugging Face's rule.
    constexpr std::size_t longest_cluster = 5;
    std::string_view const text = in.text;
    auto const one = [&](std::size_t at, std::size_t n) {
      auto const with = map->shortest(text.substr(at, n));
      if (with.length == 0) return false;
      out.put(with.text, span_of(in, at, n));
      return true;
    };
    auto const cluster = [&](std::size_t begin, std::size_t end) {
      if (end - begin <= longest_cluster && one(begin, end - begin)) return;
      for (std::size_t i = begin; i < end;) {
        std::size_t const n = read_character(text, i).length;
        if (!one(i, n)) out.put(text.substr(i, n), span_of(in, i, n));
        i += n;
      }
    };
    clusters find;
    for (std::size_t i = 0; i < text.size();) {
      // Between two ASCII characters there is always a border, but for CR LF.
      bool const alone = is_ascii(text[i]) && (i + 1 == text.size() || is_ascii(text[i + 1]));
      if (alone && !(text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n')) {
        cluster(i, i + 1);
        ++i;
        continue;
      }
      std::size_t end = i + 1;
      while (end < text.size() &&
             !(is_ascii(text[end]) && is_ascii(text[end - 1]) && !(text[end] == '\n' && text[end - 1] == '\r')))
        ++end;
      find.of(text.substr(i, end - i), [&](std::size_t from, std::size_t to) { cluster(i + from, i + to); });
      i = end;
    }
  });
}

namespace {

/// One of Unicode's normal forms. Below `plain` nothing changes, unless a mark follows; all marks are above.
struct unicode_rule {
  UNormalizer2 const* to;
  char32_t plain;

  /// Where a run of plain characters ends that begins at `i`: before its last one if something else follows.
  std::size_t end_of_plain(std::string_view text, std::size_t i) const {
    std::size_t last = i, run = i;
    while (run < text.size()) {
      character const c = read_character(text, run);
      if (c.value >= plain && c.valid) break;
      last = run, run += c.length;
    }
    return run == text.size() ? run : last;
  }
  /// Where what is normalised by itself ends that begins at `i`: it lies between two borders.
  std::size_t end_of_group(std::string_view text, std::size_t i) const {
    character const first = read_character(text, i);
    std::size_t end = i + first.length;
    while (end < text.size() && first.valid) {
      character const c = read_character(text, end);
      if (c.value < 0x80 || !c.valid || unorm2_hasBoundaryBefore(to, static_cast<UChar32>(c.value))) break;
      end += c.length;
    }
    return end;
  }
  /// `wide`, `done`: room that is used again.
  void normalise(std::string_view text, std::u16string& wide, std::u16string& done, std::string& out) const {
    auto const size = static_cast<std::int32_t>(text.size());
    wide.resize(text.size());
    std::int32_t length = 0;
    UErrorCode status = U_ZERO_ERROR;
    u_strFromUTF8(wide.data(), size, &length, text.data(), size, &status);
    wide.resize(static_cast<std::size_t>(length));
    // No character becomes more than 18 units in any form.
    done.resize(wide.size() * 18 + 1);
    length = unorm2_normalize(to, wide.data(), static_cast<std::int32_t>(wide.size()), done.data(),
                              static_cast<std::int32_t>(done.size()), &status);
    check(status, "normalise");
    out.clear();
    for (std::int32_t k = 0; k < length;) {
      UChar32 c;
      U16_NEXT(done.data(), k, length, c);
      append_utf8(out, static_cast<char32_t>(c));
    }
  }

  void apply(aligned_text const& in, aligned_text& out) const {
    std::string_view const text = in.text;
    std::u16string wide, done;
    std::string back;
    for (std::size_t i = 0; i < text.size();) {
      if (std::size_t const sure = end_of_plain(text, i); sure > i) {
        out.put(in, i, sure - i);
        i = sure;
        continue;
      }
      std::size_t const end = end_of_group(text, i);
      if (end == i + 1) {
        out.put(in, i, 1);
        i = end;
        continue;
      }
      normalise(text.substr(i, end - i), wide, done, back);
      // Characters that stay as they are keep their own places.
      if (back == text.substr(i, end - i))
        out.put(in, i, end - i);
      else
        out.put(back, span_of(in, i, end - i));
      i = end;
    }
  }

  /// Whether no character of the text changes.
  bool leaves(std::string_view text) const {
    for (std::size_t i = 0; i < text.size();) {
      if (std::uint64_t word; text.size() - i >= sizeof word) {
        std::memcpy(&word, text.data() + i, sizeof word);
        if ((word & 0x8080808080808080) == 0) {
          i += sizeof word;
          continue;
        }
      }
      character const c = read_character(text, i);
      if (c.valid && c.value >= plain && !unorm2_isInert(to, static_cast<UChar32>(c.value))) return false;
      i += c.length;
    }
    return true;
  }
};

}  // namespace

normalizer by_unicode_form(unicode_form form) {
  UErrorCode code = U_ZERO_ERROR;
  UNormalizer2 const* const n = form == unicode_form::nfc    ? unorm2_getNFCInstance(&code)
                                : form == unicode_form::nfd  ? unorm2_getNFDInstance(&code)
                                : form == unicode_form::nfkc ? unorm2_getNFKCInstance(&code)
                                                             : unorm2_getNFKDInstance(&code);
  check(code, "normalise");
  unicode_rule const rule{n, form == unicode_form::nfc ? char32_t{0x300} : char32_t{0x80}};
  auto const step = [rule](aligned_text const& in, aligned_text& out) { rule.apply(in, out); };
  return local(normalizer(step, [rule](std::string_view text) { return rule.leaves(text); }));
}

normalizer lower_case() {
  return by_character([](char32_t c, std::string& with) {
    if (c == 0x130) {  // the one character whose lower case is two
      with = "i\xcc\x87";
      return true;
    }
    auto const low = static_cast<char32_t>(u_tolower(static_cast<UChar32>(c)));
    if (low == c) return false;
    append_utf8(with, low);
    return true;
  });
}

normalizer without_marks() {
  return by_character(
      [](char32_t c, std::string&) { return c >= 0x300 && u_charType(static_cast<UChar32>(c)) == U_NON_SPACING_MARK; });
}

normalizer without_all_marks() {
  return by_character(
      [](char32_t c, std::string&) { return c >= 0x300 && (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0; });
}

normalizer nmt() {
  return by_character([](char32_t c, std::string& with) {
    if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f) return true;
    bool const space = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) || c == 0x2028 ||
                       c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
    if (space) with = " ";
    return space;
  });
}

normalizer cleaned() {
  return by_character([](char32_t c, std::string& with) {
    bool const line = c == '\t' || c == '\n' || c == '\r';
    if (c == 0 || c == 0xfffd || (!line && (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_C_MASK))) return true;
    if (c == ' ' || !(line || class_of(c) == char_class::space)) return false;
    with = " ";
    return true;
  });
}

normalizer chinese_apart() {
  return by_character([](char32_t c, std::string& with) {
    if (!is_chinese(c)) return false;
    with = " ";
    append_utf8(with, c);
    with += ' ';
    return true;
  });
}

normalizer stripped(bool left, bool right) {
  return [left, right](aligned_text const& in, aligned_text& out) {
    std::size_t first = in.text.size(), last = 0;
    for_characters(in.text, [&](character const& c, std::size_t at) {
      if (class_of(c) == char_class::space) return;
      first = std::min(first, at);
      last = at + c.length;
    });
    std::size_t const begin = left ? first : 0, end = right ? last : in.text.size();
    if (begin >= end) return;
    out.put(in, begin, end - begin);
  };
}

normalizer replaced(std::string what, std::string with) {
  auto const step = [what, with = std::move(with)](aligned_text const& in, aligned_text& out) {
    std::string const& text = in.text;
    std::size_t times = 0;
    for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) ++times;
    out.from.reserve(times + 1);
    out.text.reserve(text.size() + (with.size() > what.size() ? times * (with.size() - what.size()) : 0));
    for (std::size_t i = 0; i < text.size();) {
      std::size_t const at = std::min(text.find(what, i), text.size());
      out.put(in, i, at - i);
      if (at == text.size()) break;
      out.put(with, span_of(in, at, what.size()));
      i = at + what.size();
    }
  };
  normalizer made(step, [what](std::string_view text) { return text.find(what) == text.npos; });
  made.local = read_character(what, 0).length == what.size();
  return made;
}

normalizer replaced(std::shared_ptr<pattern const> what, std::string with) {
  auto const step = [what, with = std::move(with)](aligned_text const& in, aligned_text& out) {
    std::string_view const whole = in.text;
    pattern_search search(*what);
    std::size_t done = 0;
    for (std::size_t begin = 0; begin < whole.size();) {
      std::size_t const end = first_broken(whole, begin);
      std::string_view const text = whole.substr(begin, end - begin);
      std::size_t last = std::string_view::npos;
      for (std::size_t at = 0; at <= text.size() && !text.empty() && search.next(text, at);) {
        std::size_t const from = search.begin(), to = search.end();
        if (from == to && to == last) {
          at = to < text.size() ? to + read_character(text, to).length : to + 1;
          continue;
        }
        out.put(in, done, begin + from - done);
        // What stands for nothing stands where it was put.
        std::uint32_t const place = begin + from < whole.size() ? in.from[begin + from].begin : in.from.back().end;
        out.put(with, to > from ? span_of(in, begin + from, to - from) : origin{place, place});
        done = begin + to, at = to, last = to;
      }
      begin = end < whole.size() ? end + 1 : end;
    }
    out.put(in, done, whole.size() - done);
  };
  normalizer made(step, [what](std::string_view text) {
    return std::all_of(text.begin(), text.end(), [&](char c) { return what->never_begins(static_cast<unsigned char>(c)); });
  });
  // T5's: runs of spaces.
  made.local = what->text() == " {2,}";
  return made;
}

normalizer with_prefix(std::string prefix) {
  return [prefix = std::move(prefix)](aligned_text const& in, aligned_text& out) {
    if (!in.text.empty()) out.put(prefix, {in.from[0].begin, in.from[0].begin});
    out.put(in, 0, in.text.size());
  };
}

normalizer with_suffix(std::string suffix) {
  return [suffix = std::move(suffix)](aligned_text const& in, aligned_text& out) {
    out.put(in, 0, in.text.size());
    if (!in.text.empty()) out.put(suffix, {in.from.back().end, in.from.back().end});
  };
}

normalizer as_byte_letters() {
  return [](aligned_text const& in, aligned_text& out) {
    for (std::size_t i = 0; i < in.text.size(); ++i) out.put(letter_of_byte(static_cast<unsigned char>(in.text[i])), in.from[i]);
  };
}

}  // namespace wayfarer::tokenizing
