#include "document_file.hpp"

#include <algorithm>
#include <span>
#include <unordered_map>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/utf8.hpp>

#include "compressed_file.hpp"

namespace wayfarer {

namespace {

bool is_space(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

/// One line, read from left to right.
class cursor {
 public:
  cursor(std::string const& path, std::size_t line, std::string_view text) : path_(path), text_(text), line_(line) {}

  bool at_end() const noexcept { return at_ == text_.size(); }
  std::size_t where() const noexcept { return at_; }
  char peek() const noexcept { return at_end() ? '\0' : text_[at_]; }
  void skip_one() noexcept { ++at_; }
  void skip_spaces() noexcept {
    while (!at_end() && is_space(text_[at_])) ++at_;
  }
  /// What is here up to the next white space, stepped over.
  std::string_view token() noexcept {
    std::size_t const first = at_;
    while (!at_end() && !is_space(text_[at_])) ++at_;
    return text_.substr(first, at_ - first);
  }
  /// The same, not stepped over: for messages.
  std::string found() const {
    if (at_end()) return "the line's end";
    cursor c = *this;
    std::string_view const t = c.token();
    return in_quotes(t.empty() ? text_.substr(at_, 1) : t.substr(0, 40));
  }

  /// A decimal number below `bound`.
  std::uint32_t number(std::size_t bound, std::string_view what, std::string_view advice) {
    std::size_t const first = at_;
    std::uint64_t n = 0;
    while (is_digit(peek())) {
      n = std::min<std::uint64_t>(n * 10 + static_cast<std::uint64_t>(peek() - '0'), std::uint64_t{1} << 32);
      ++at_;
    }
    if (at_ == first) fail("expected " + std::string(what) + ", found " + found(), advice);
    if (n >= bound) {
      at_ = first;
      fail(std::string(what) + " " + found() + " is not below " + std::to_string(bound), advice);
    }
    return static_cast<std::uint32_t>(n);
  }

  [[noreturn]] void fail(std::string_view what, std::string_view advice) const { fail_at(at_, what, advice); }
  [[noreturn]] void fail_at(std::size_t at, std::string_view what, std::string_view advice) const {
    throw data_error(located(path_, line_, at + 1, std::string(what) + "; " + std::string(advice)));
  }

 private:
  std::string const& path_;
  std::string_view text_;
  std::size_t line_, at_ = 0;
};

/// Calls `line(text, number)` for each line of the unpacked file, without its end ("\n" or "\r\n").
template <class Line>
void for_each_line(std::string const& path, document_limits const& limits, std::vector<std::string>& notes, Line&& line) {
  std::string rest;
  std::size_t number = 1;
  auto const give = [&](std::string_view text) {
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (number == 1) text = text_of_file(text, path, notes);
    line(text, number++);
  };
  auto const check = [&](std::size_t length) {
    if (length > limits.line)
      throw data_error(
          located(path, number, 0,
                  "a line of more than " + std::to_string(limits.line) + " bytes; is this a file of one document a line?"));
  };
  read_unpacked(path, limits.bytes, [&](std::span<std::byte const> bytes) {
    std::string_view text(reinterpret_cast<char const*>(bytes.data()), bytes.size());
    for (std::size_t end; (end = text.find('\n')) != text.npos; text.remove_prefix(end + 1)) {
      check(rest.size() + end);
      if (rest.empty()) {
        give(text.substr(0, end));
      } else {
        rest.append(text.substr(0, end));
        give(rest);
        rest.clear();
      }
    }
    check(rest.size() + text.size());
    rest.append(text);
  });
  if (!rest.empty()) give(rest);
}

struct word_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>()(s); }
};
using word_numbers = std::unordered_map<std::string, std::int32_t, word_hash, std::equal_to<>>;

/// Puts lines into a table, one function a format.
class table_builder {
 public:
  table_builder(std::string const& path, document_format f, document_limits const& limits, std::vector<std::string> names,
                std::string const& what_bounds)
      : path_(path), format_(f), limits_(limits), what_bounds_(what_bounds), fixed_(!names.empty()) {
    out_.names = std::move(names);
  }

  void line(std::string_view text, std::size_t number) {
    cursor c(path_, number, text);
    if (out_.documents.size() == limits_.documents)
      c.fail("more than " + std::to_string(limits_.documents) + " documents", "split the file");
    bool const blank = std::all_of(text.begin(), text.end(), is_space);
    if (format_ == document_format::detect && !blank) {
      format_ = detect(c);
      // Nothing but blank lines so far: documents without a word in a text, mistakes elsewhere.
      if (format_ != document_format::text && !out_.documents.empty())
        throw data_error(located(path_, 1, 1, "an empty line; a line is one document"));
    }
    std::size_t const first = out_.documents.values.size();
    switch (format_) {
      case document_format::detect:
        break;
      case document_format::reference:
        reference(c);
        break;
      case document_format::lda_c:
        lda_c(c);
        break;
      case document_format::text:
        words_of_text(c);
        break;
    }
    out_.longest = std::max(out_.longest, out_.documents.values.size() - first);
    out_.documents.offsets.push_back(out_.documents.values.size());
    // A line may stand for far more words than it has bytes ("1 0:4000000000"), and an empty one for more bytes than it has.
    if (table_bytes() > limits_.bytes)
      c.fail_at(0, "the documents up to here take more than " + std::to_string(limits_.bytes >> 20) + " MiB",
                "raise `limit` if this is intended");
  }

  document_table finish() {
    if (out_.documents.empty()) throw data_error(path_ + ": no document in it; a file holds one a line");
    out_.vocabulary = out_.names.empty() ? static_cast<std::size_t>(highest_ + 1) : out_.names.size();
    out_.documents.values.shrink_to_fit();
    out_.documents.offsets.shrink_to_fit();
    return std::move(out_);
  }

 private:
  std::size_t table_bytes() const noexcept {
    return out_.documents.values.size() * sizeof(std::int32_t) + out_.documents.offsets.size() * sizeof(std::size_t) +
           name_bytes_;
  }

  static document_format detect(cursor c) {
    c.skip_spaces();
    std::string_view last;
    bool numbers = true, pairs = false, any = false;
    while (!c.at_end()) {
      last = c.token();
      if (any && !pairs && last.find(':') != last.npos && is_digit(last.front()) && numbers) pairs = true;
      numbers = numbers && std::all_of(last.begin(), last.end(), is_digit);
      any = true;
      c.skip_spaces();
    }
    if (last == "END") return document_format::reference;
    if (pairs) return document_format::lda_c;
    if (numbers && any)
      c.fail_at(0, "numbers without END: neither the reference format nor lda-c", "set `format: text` if the numbers are words");
    return document_format::text;
  }

  void put(cursor const& c, std::size_t at, std::uint32_t word, std::size_t count = 1) {
    if (fixed_ && word >= out_.names.size())
      c.fail_at(
          at,
          "word " + std::to_string(word) + " is outside " + what_bounds_ + " of " + std::to_string(out_.names.size()) + " words",
          "use the vocabulary that belongs to this file");
    if (count > (limits_.bytes - std::min(limits_.bytes, table_bytes())) / sizeof(std::int32_t))
      c.fail_at(at, "the documents up to here take more than " + std::to_string(limits_.bytes >> 20) + " MiB",
                "raise `limit` if this is intended");
    highest_ = std::max<std::int64_t>(highest_, word);
    out_.documents.values.insert(out_.documents.values.end(), count, static_cast<std::int32_t>(word));
  }

  void reference(cursor& c) {
    constexpr std::string_view advice = "a line is word numbers between single spaces, then END";
    for (;;) {
      std::size_t const at = c.where();
      if (c.peek() == 'E') {
        if (c.token() != "END") c.fail_at(at, "expected END", advice);
        if (!c.at_end()) c.fail("found " + c.found() + " after END", advice);
        return;
      }
      if (c.at_end()) c.fail("END is missing", "a line that ends without it is cut short: fetch the file again");
      put(c, at, c.number(limits_.words, "a word number", advice));
      if (c.at_end()) c.fail("END is missing", "a line that ends without it is cut short: fetch the file again");
      if (c.peek() != ' ') c.fail("expected a single space, found " + c.found(), advice);
      c.skip_one();
    }
  }

  void lda_c(cursor& c) {
    constexpr std::string_view advice = "a line is the number of distinct words, then word:count for each";
    c.skip_spaces();
    std::size_t const start = c.where();
    std::size_t const distinct = c.number(limits_.words + 1, "the number of distinct words", advice);
    std::size_t pairs = 0;
    for (;;) {
      std::size_t const before = c.where();
      c.skip_spaces();
      if (c.at_end()) break;
      std::size_t const at = c.where();
      if (before == at) c.fail("expected a space, found " + c.found(), advice);
      if (pairs == distinct) c.fail("more pairs than the " + std::to_string(distinct) + " that the line begins with", advice);
      std::uint32_t const word = c.number(limits_.words, "a word number", advice);
      if (c.peek() != ':') c.fail("expected ':', found " + c.found(), advice);
      c.skip_one();
      std::size_t const count_at = c.where();
      std::uint32_t const count = c.number(std::size_t{1} << 31, "a count", advice);
      if (count == 0) c.fail_at(count_at, "a count of 0", "leave words that do not occur out");
      put(c, at, word, count);
      ++pairs;
    }
    if (pairs != distinct)
      c.fail_at(start,
                "the line says " + std::to_string(distinct) + " distinct words and has " + std::to_string(pairs) + " pairs",
                advice);
  }

  void words_of_text(cursor& c) {
    if (fixed_ && numbers_.empty()) number_names();
    for (c.skip_spaces(); !c.at_end(); c.skip_spaces()) {
      std::size_t const at = c.where();
      std::string_view const word = c.token();
      auto known = numbers_.find(word);
      if (known == numbers_.end()) {
        if (fixed_)
          c.fail_at(at, in_quotes(word) + " is not in " + what_bounds_,
                    "add it there, or leave `vocabulary` out to number words as they come");
        if (!is_utf8(word))
          c.fail_at(at, in_quotes(word) + " is not UTF-8", "convert the file (from Latin-1: iconv -f LATIN1 -t UTF-8)");
        if (out_.names.size() == limits_.words)
          c.fail_at(at, "more than " + std::to_string(limits_.words) + " different words", "leave rare words out");
        known = numbers_.emplace(word, static_cast<std::int32_t>(out_.names.size())).first;
        out_.names.emplace_back(word);
        name_bytes_ += 2 * (sizeof(std::string) + word.size()) + 32;  // here and in the hash table
      }
      out_.documents.values.push_back(known->second);
    }
  }

  void number_names() {
    numbers_.reserve(out_.names.size());
    for (std::size_t i = 0; i < out_.names.size(); ++i)
      if (!numbers_.emplace(out_.names[i], static_cast<std::int32_t>(i)).second)
        throw data_error(what_bounds_ + ": " + in_quotes(out_.names[i]) +
                         " is there twice, so a text can't be numbered by it; remove one");
  }

  std::string const& path_;
  document_format format_;
  document_limits const& limits_;
  std::string const& what_bounds_;
  bool fixed_;
  document_table out_;
  word_numbers numbers_;
  std::int64_t highest_ = -1;
  std::size_t name_bytes_ = 0;
};

}  // namespace

document_format document_format_of(std::string_view name) {
  if (name == "auto") return document_format::detect;
  if (name == "reference") return document_format::reference;
  if (name == "lda_c") return document_format::lda_c;
  if (name == "text") return document_format::text;
  throw usage_error("no document format " + in_quotes(name) + "; there are auto, reference, lda_c and text");
}

document_table read_documents(std::string const& path, document_format format, document_limits const& limits,
                              std::vector<std::string> names, std::string const& what_bounds) {
  table_builder table(path, format, limits, std::move(names), what_bounds);
  std::vector<std::string> notes;
  for_each_line(path, limits, notes, [&](std::string_view text, std::size_t number) { table.line(text, number); });
  auto made = table.finish();
  made.notes = std::move(notes);
  return made;
}

std::vector<std::string> read_vocabulary(std::string const& path, document_limits const& limits,
                                         std::vector<std::string>& notes) {
  std::vector<std::string> words;
  for_each_line(path, limits, notes, [&](std::string_view text, std::size_t number) {
    auto const fail = [&](std::size_t column, std::string const& what) { throw data_error(located(path, number, column, what)); };
    if (words.size() == limits.words) fail(1, "more than " + std::to_string(limits.words) + " words; leave rare ones out");
    if (text.empty()) fail(1, "an empty line; a vocabulary has one word a line");
    if (!is_utf8(text)) fail(1, in_quotes(text) + " is not UTF-8; convert the file (from Latin-1: iconv -f LATIN1 -t UTF-8)");
    words.emplace_back(text);
  });
  if (words.empty()) throw data_error(path + ": no word in it; a vocabulary has one a line");
  return words;
}

item_block block_of(document_table const& table, item_range range) {
  item_block b;
  b.first = range.first, b.count = range.size();
  auto const& all = table.documents;
  std::size_t const from = all.offsets[range.first], to = all.offsets[range.last];
  b.words.values.assign(all.values.begin() + static_cast<std::ptrdiff_t>(from),
                        all.values.begin() + static_cast<std::ptrdiff_t>(to));
  b.words.offsets.resize(range.size() + 1);
  for (std::size_t i = 0; i <= range.size(); ++i) b.words.offsets[i] = all.offsets[range.first + i] - from;
  return b;
}

}  // namespace wayfarer
