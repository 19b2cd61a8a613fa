#include "cleaning.hpp"

#include <array>
#include <cstdint>
#include <memory>

#include <unicode/ucasemap.h>

#include <wayfarer/error.hpp>

namespace wayfarer {
namespace {

/// What Python's `strip` takes off beyond ASCII.
constexpr std::array<std::string_view, 19> wide_spaces{"\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003",
                                                       "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
                                                       "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};

bool is_space(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f');
}

std::string_view strip(std::string_view text) noexcept {
  for (bool again = true; again && !text.empty();) {
    again = false;
    if (is_space(text.front())) text.remove_prefix(1), again = true;
    for (auto const s : wide_spaces)
      if (text.starts_with(s)) text.remove_prefix(s.size()), again = true;
  }
  for (bool again = true; again && !text.empty();) {
    again = false;
    if (is_space(text.back())) text.remove_suffix(1), again = true;
    for (auto const s : wide_spaces)
      if (text.ends_with(s)) text.remove_suffix(s.size()), again = true;
  }
  return text;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  std::size_t at = 0;
  for (std::size_t found; (found = text.find(from, at)) != text.npos; at = found + from.size())
    out.append(text, at, found - at).append(to);
  return out.append(text, at);
}

/// Without "[...]", which ends at the first "]" and holds no line break.
std::string without_brackets(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t at = 0;
  for (std::size_t open = text.find('['); open != text.npos; open = text.find('[', open)) {
    std::size_t const end = text.find_first_of("]\n", open);
    if (end == text.npos) break;  // no later bracket is closed either, unless beyond a line break, which is not here
    if (text[end] == '\n') {
      open = end;
      continue;
    }
    out.append(text, at, open - at);
    at = open = end + 1;
  }
  return out.append(text, at);
}

}  // namespace

std::string clean(std::string_view text) {
  return replaced(without_brackets(replaced(strip(text), " [title]", ". ")), "  ", " ");
}

std::string capitalize(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  std::unique_ptr<UCaseMap, decltype(&ucasemap_close)> const how(
      ucasemap_open("", U_TITLECASE_WHOLE_STRING | U_TITLECASE_NO_BREAK_ADJUSTMENT, &status), &ucasemap_close);
  std::string out(3 * text.size(), '\0');  // no mapping makes a character more than three times as long
  std::int32_t const n = U_FAILURE(status) ? 0
                                           : ucasemap_utf8ToTitle(how.get(), out.data(), static_cast<std::int32_t>(out.size()),
                                                                  text.data(), static_cast<std::int32_t>(text.size()), &status);
  if (U_FAILURE(status) || n < 0) throw data_error(std::string("the case of a text can't be changed: ") + u_errorName(status));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

}  // namespace wayfarer
