#include "question_file.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/utf8.hpp>

#include "cleaning.hpp"
#include "sources/common/compressed_file.hpp"

namespace wayfarer {
namespace {

constexpr std::size_t most_items = 10'000'000;           // 160 MB of places
constexpr std::size_t most_line = std::size_t{1} << 20;  // bytes; the longest of HellaSwag has some 4,000
constexpr json_limits line_limits{most_line, 8, 1000};
constexpr std::size_t lines_of_item = 6;

bool is_blank(std::string_view text) noexcept {
  return text.find_first_not_of(" \t\r") == text.npos;
}

}  // namespace

question_file::question_file(std::string path, question_format format, std::size_t max_bytes) : path_(std::move(path)) {
  file_ = mapped_file::open(path_);
  if (is_packed(file_->path())) {
    file_.reset();
    scratch_file to(std::filesystem::temp_directory_path().string());
    std::size_t size = 0;
    read_unpacked(path_, max_bytes, [&](std::span<std::byte const> bytes) {
      to.write_at(size, bytes);
      size += bytes.size();
    });
    if (size != 0) unpacked_ = to.map(0, size);
    text_ = {reinterpret_cast<char const*>(unpacked_.get()), size};
  } else {
    text_ = file_->text();
  }
  constexpr std::string_view export_json = "export it as JSON lines, with `datasets`: dataset.to_json(\"hellaswag.jsonl\")";
  if (text_.starts_with("PAR1") || text_.starts_with("ARROW1"))
    throw data_error(path_ + ": this is a " + (text_[0] == 'P' ? "Parquet" : "Arrow") + " file, which is not read; " +
                     std::string(export_json));
  text_ = text_of_file(text_, path_, notes_);
  if (auto const head = line_at(0);
      head.find("endings") != head.npos && head.find("ctx") != head.npos && head.find_first_of("{[") == head.npos)
    throw data_error(located(path_, 1, 0,
                             "this is a table (CSV or TSV), in which the four endings share one cell and can't be separated for "
                             "certain; " +
                                 std::string(export_json)));
  find_items(format);
  for (std::size_t i = 0; i < size(); ++i) read(i);
}

void question_file::fail(std::size_t line, std::string const& what) const {
  throw data_error(located(path_, line, 0, what));
}

std::string_view question_file::line_at(std::size_t byte) const {
  auto line = text_.substr(byte, std::min(text_.find('\n', byte), text_.size()) - byte);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

void question_file::find_items(question_format format) {
  std::size_t const first = text_.find_first_not_of(" \t\r\n");
  if (first == text_.npos) throw data_error(path_ + ": no item in it");
  if (text_[first] == '[' && format != question_format::text) return find_elements(first);
  preprocessed_ = format == question_format::text || (format == question_format::detect && text_[first] != '{');
  std::size_t const last = text_.find_last_not_of(" \t\r\n");  // blank lines at the end belong to no item
  std::size_t line = 0, within = 0;
  for (std::size_t at = 0; at <= last;) {
    std::size_t const end = std::min(text_.find('\n', at), text_.size());
    ++line;
    if (end - at > most_line) fail(line, "a line of more than " + std::to_string(most_line) + " bytes; this is not HellaSwag");
    if (preprocessed_ ? within == 0 : !is_blank(text_.substr(at, end - at))) {
      add({at, line, end - at});
    }
    if (preprocessed_ && ++within == lines_of_item) within = 0;
    at = end + 1;
  }
}

void question_file::add(place p) {
  if (places_.size() == most_items) fail(p.line, "more than " + std::to_string(most_items) + " items");
  places_.push_back(p);
}

void question_file::find_elements(std::size_t first) {
  std::size_t line =
      1 + static_cast<std::size_t>(std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(first), '\n'));
  std::size_t depth = 0, begin = first, begin_line = line;
  bool quoted = false;
  for (std::size_t i = first; i < text_.size(); ++i) {
    char const c = text_[i];
    if (c == '\n') ++line;
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth == 2) begin = i, begin_line = line;
    } else if (c == ']' || c == '}') {
      if (--depth == 1) {
        if (i + 1 - begin > most_line)
          fail(begin_line, "an item of more than " + std::to_string(most_line) + " bytes; this is not HellaSwag");
        add({begin, begin_line, i + 1 - begin});
      }
      if (depth > 0) continue;
      std::size_t const more = text_.find_first_not_of(" \t\r\n", i + 1);
      if (more != text_.npos) fail(line, "something follows the end of the list");
      if (places_.empty()) fail(line, "an empty list; there is no item in it");
      return;
    } else if (depth == 1 && c != ',' && c != ' ' && c != '\t' && c != '\r' && c != '\n') {
      fail(line, "expected a list of objects, one for each item");
    }
  }
  fail(line, "the file ends within the list; it is cut short, so fetch it again");
}

question question_file::read(std::size_t i) const {
  auto const& p = places_.at(i);
  return preprocessed_ ? parse_six_lines(p) : parse_json_line(text_.substr(p.byte, p.bytes), p.line);
}

question question_file::parse_json_line(std::string_view line, std::size_t number) const {
  // The value's own messages name file and line, and then the key.
  auto const v = parse_json(line, path_ + ":" + std::to_string(number), line_limits);
  if (v.kind() != json_kind::object)
    fail(number, "expected an object with activity_label, ctx_a, ctx_b, endings and label; is this HellaSwag's .jsonl?");
  std::string there;
  for (auto const& [key, value] : v.members()) there += (there.empty() ? "" : ", ") + key;
  for (char const* key : {"activity_label", "ctx_a", "ctx_b", "endings"}) {
    auto const value = v.find_set(key);
    if (!value)
      fail(number,
           "no '" + std::string(key) + "'; an item has activity_label, ctx_a, ctx_b, endings and label, and here are " + there);
    if (value->kind() == json_kind::object)
      value->fail("is a column, not a value; export one object for each item (pandas: orient=\"records\", lines=True)");
  }
  question q;
  q.query =
      clean(v.at("activity_label").as_string() + ": " + v.at("ctx_a").as_string() + " " + capitalize(v.at("ctx_b").as_string()));
  auto const endings = v.at("endings");
  if (endings.kind() != json_kind::array || endings.size() != q.endings.size())
    endings.fail("expected four endings, got " +
                 (endings.kind() == json_kind::array ? std::to_string(endings.size()) : std::string("no list")));
  for (std::size_t k = 0; k < q.endings.size(); ++k) q.endings[k] = clean(endings.at(k).as_string());
  auto const label = v.find_set("label");
  // Some copies hold the number as a text, and some as 3.0.
  bool const text = label && label->kind() == json_kind::string;
  if (!label || (text && (label->as_string().empty() || label->as_string() == "-1")))
    fail(number, "no 'label': HellaSwag's test split comes without the right endings; take the validation or the training split");
  if (text) {
    auto const& digit = label->as_string();
    if (digit.size() != 1 || digit[0] < '0' || digit[0] > '3') label->fail("expected 0 to 3, got " + in_quotes(digit));
    q.gold = digit[0] - '0';
  } else if (double const x = label->kind() == json_kind::number ? label->as_number() : -1;
             x == 0 || x == 1 || x == 2 || x == 3) {
    q.gold = static_cast<std::int32_t>(x);
  } else {
    q.gold = static_cast<std::int32_t>(label->as_integer(0, 3));
  }
  return q;
}

question question_file::parse_six_lines(place at) const {
  std::array<std::string_view, lines_of_item> lines;
  for (std::size_t i = 0, byte = at.byte; i < lines.size(); ++i) {
    if (byte == text_.size())
      fail(at.line + i - 1,
           "the file ends within an item: expected the context, the number of the right ending, and four endings, a line each");
    lines[i] = line_at(byte);
    if (!is_utf8(lines[i])) fail(at.line + i, "this is not UTF-8");
    if (is_blank(lines[i]))
      fail(at.line + i, "an empty line where " +
                            std::string(i == 0   ? "a context"
                                        : i == 1 ? "the number of the right ending"
                                                 : "one of four endings") +
                            " should stand");
    if (i == 1 && (lines[1].size() != 1 || lines[1][0] < '0' || lines[1][0] > '3'))
      fail(at.line + 1, "expected the number of the right ending, 0 to 3, got " + in_quotes(lines[1]) +
                            "; an item is its context, that number and four endings, a line each");
    byte = std::min(text_.find('\n', byte), text_.size() - 1) + 1;
  }
  question q;
  q.query = lines[0];
  q.gold = lines[1][0] - '0';
  for (std::size_t k = 0; k < q.endings.size(); ++k) q.endings[k] = lines[2 + k];
  return q;
}

}  // namespace wayfarer
