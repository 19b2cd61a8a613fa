#include "vector_file.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/text_table.hpp>
#include <wayfarer/utf8.hpp>

namespace wayfarer {
namespace {

std::string_view without_spaces_at_end(std::string_view line) noexcept {
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\t')) line.remove_suffix(1);
  return line;
}

struct header {
  std::size_t words = 0, width = 0;
};

/// Of "400000 300".
std::optional<header> header_of(std::string_view line) noexcept {
  auto const whole = [](std::string_view text, std::size_t& n) {
    char const* const last = text.data() + text.size();
    auto const [end, code] = std::from_chars(text.data(), last, n);
    return !text.empty() && end == last && code == std::errc();
  };
  std::size_t const space = line.find(' ');
  header h;
  if (space == line.npos || !whole(line.substr(0, space), h.words) || !whole(line.substr(space + 1), h.width)) return {};
  return h;
}

class reader {
 public:
  explicit reader(std::string const& path) : path_(path) {}

  /// Whether there is a word in this line, then in `word` and `vector()`. `begin`: the line's offset in the file.
  bool parse(std::string_view line, std::size_t begin, std::string_view& word) {
    ++number_;
    line = without_spaces_at_end(text_of(line, begin));
    if (line.empty()) return false;
    if (number_ == 1 && (header_ = header_of(line))) {
      if (header_->width == 0) fail("the header promises vectors without a number");
      vector_.resize(header_->width);
      return false;
    }
    auto const spaces = static_cast<std::size_t>(std::count(line.begin(), line.end(), ' '));
    if (vector_.empty()) vector_.resize(spaces);
    if (vector_.empty()) fail("there is no number behind the word");
    if (spaces < vector_.size()) fail("it has fewer numbers (" + std::to_string(spaces) + ") than " + expected());
    word = word_of(line);
    if (header_ && words_ == header_->words)
      fail("there is a word more than the header (line 1) promises, which is " + std::to_string(header_->words));
    ++words_;
    return true;
  }
  std::vector<float> const& vector() const noexcept { return vector_; }

  /// Throws data_error if the file, whose end was reached, has not what it should.
  void check_whole() const {
    if (header_ && words_ < header_->words)
      throw data_error(path_ + ": line " + std::to_string(number_) + ": the file ends after " + counted(words_, "word") +
                       ", and the header (line 1) promises " + std::to_string(header_->words) +
                       "; fetch it again if it was cut off, or correct the header");
    if (words_ == 0) throw data_error(path_ + ": no word vector in it; expected a word and its numbers on each line");
  }

 private:
  [[noreturn]] void fail(std::string const& what) const {
    throw data_error(path_ + ": line " + std::to_string(number_) + ": " + what +
                     "; expected a word and its numbers, separated by spaces");
  }
  std::string expected() const {
    return (header_ ? "the header (line 1) promises, which is " : "the first line has, which is ") +
           std::to_string(vector_.size());
  }

  /// The line as text, by the rules of other text files.
  std::string_view text_of(std::string_view line, std::size_t begin) const {
    if (number_ == 1) {
      std::vector<std::string> notes;  // a byte order mark changes nothing here
      return text_of_file(line, path_, notes);
    }
    std::string const advice = "; if this is word2vec's binary format, save it as text";
    if (std::size_t const zero = line.find('\0'); zero != line.npos)
      throw data_error(path_ + ": line " + std::to_string(number_) + ": byte " + std::to_string(begin + zero) +
                       " is NUL, which no text holds" + advice);
    try {
      require_utf8(line, path_ + ": line " + std::to_string(number_), begin);
    } catch (data_error const& e) {
      if (!header_ || words_ != 0) throw;
      throw data_error(e.what() + advice);
    }
    return line;
  }

  std::string_view word_of(std::string_view rest) {
    // From the end, since some files have words with a space in them.
    for (std::size_t i = vector_.size(); i-- > 0;) {
      std::size_t const space = rest.rfind(' ');
      if (space == 0) fail("the word is missing");
      vector_[i] = number_of(rest.substr(space + 1));
      rest = rest.substr(0, space);
    }
    if (std::size_t const space = rest.rfind(' '); space != rest.npos && is_number(rest.substr(space + 1)))
      fail("it has more numbers than " + expected());
    return rest;
  }

  float number_of(std::string_view field) const {
    double value = 0;
    bool const is_one = is_number(field, &value) && std::isfinite(value);
    if (!is_one || std::abs(value) > static_cast<double>(std::numeric_limits<float>::max()))
      fail("'" + std::string(field.substr(0, 40)) + "' is " + (is_one ? "too large for float32" : "no number"));
    return static_cast<float>(value);
  }

  std::string const& path_;
  std::optional<header> header_{};
  std::vector<float> vector_{};
  std::size_t number_ = 0, words_ = 0;
};

}  // namespace

bool read_vector_file(std::string const& path,
                      std::function<bool(std::string_view word, std::span<float const> vector)> const& take) {
  mapped_file const file(path);
  std::string_view const text = file.text();
  reader r(path);
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t const end = std::min(text.find('\n', begin), text.size());
    std::string_view word;
    if (r.parse(text.substr(begin, end - begin), begin, word) && !take(word, r.vector())) return true;
    begin = end + 1;
  }
  r.check_whole();
  return text.ends_with('\n');
}

void check_vector_file(std::string const& path) {
  mapped_file const opens(path);
  std::vector<std::string> notes;
  text_of_file(opens.text().substr(0, opens.text().find('\n')), path, notes);
}

}  // namespace wayfarer
