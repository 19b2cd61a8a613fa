#include "question_file.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "cleaning.hpp"
#include "compressed_file.hpp"

namespace wayfarer {
namespace {

constexpr std::size_t most_items = 10'000'000;           // 160 MB of places
constexpr std::size_t most_line = std::size_t{1} << 20;  // bytes; the longest of HellaSwag has some 4,000
constexpr json_limits line_limits{most_line, 8, 1000};
constexpr std::size_t lines_of_item = 6;

bool is_blank(std::string_view text) noexcept {
  return text.find_first_not_of(" \t\r") == text.npos;
}

bool is_packed(mapped_file const& f) noexcept {
  auto const text = f.text();
  return text.starts_with("\x1f\x8b") || text.starts_with("BZh") || f.path().ends_with(".gz") || f.path().ends_with(".bz2");
}

}  // namespace

question_file::question_file(std::string path, question_format format, std::size_t max_bytes) : path_(std::move(path)) {
  file_ = mapped_file::open(path_);
  if (is_packed(*file_)) {
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
  preprocessed_ = format == question_format::text || (format == question_format::detect && text_[first] != '{');
  std::size_t const last = text_.find_last_not_of(" \t\r\n");  // blank lines at the end belong to no item
  std::size_t line = 0, within = 0;
  for (std::size_t at = 0; at <= last;) {
    std::size_t const end = std::min(text_.find('\n', at), text_.size());
    ++line;
    if (end - at > most_line) fail(line, "a line of more than " + std::to_string(most_line) + " bytes; this is no HellaSwag");
    if (preprocessed_ ? within == 0 : !is_blank(text_.substr(at, end - at))) {
      if (places_.size() == most_items) fail(line, "more than " + std::to_string(most_items) + " items");
      places_.push_back({at, line});
    }
    if (preprocessed_ && ++within == lines_of_item) within = 0;
    at = end + 1;
  }
}

question question_file::read(std::size_t i) const {
  auto const& p = places_.at(i);
  return preprocessed_ ? parse_six_lines(p) : parse_json_line(line_at(p.byte), p.line);
}

question question_file::parse_json_line(std::string_view line, std::size_t number) const {
  // The value's own messages name file and line, and then the key.
  auto const v = parse_json(line, path_ + ":" + std::to_string(number), line_limits);
  if (v.kind() != json_kind::object)
    fail(number, "expected an object with activity_label, ctx_a, ctx_b, endings and label; is this HellaSwag's .jsonl?");
  question q;
  q.query =
      clean(v.at("activity_label").as_string() + ": " + v.at("ctx_a").as_string() + " " + capitalize(v.at("ctx_b").as_string()));
  auto const endings = v.at("endings");
  if (endings.kind() != json_kind::array || endings.size() != q.endings.size())
    endings.fail("expected four endings, got " +
                 (endings.kind() == json_kind::array ? std::to_string(endings.size()) : std::string("no list")));
  for (std::size_t k = 0; k < q.endings.size(); ++k) q.endings[k] = clean(endings.at(k).as_string());
  auto const label = v.find_set("label");
  // Some copies hold the number as a text.
  bool const text = label && label->kind() == json_kind::string;
  if (!label || (text && label->as_string().empty()))
    fail(number, "no 'label': HellaSwag's test split comes without the right endings; take hellaswag_val.jsonl or _train.jsonl");
  if (text) {
    auto const& digit = label->as_string();
    if (digit.size() != 1 || digit[0] < '0' || digit[0] > '3') label->fail("expected 0 to 3, got " + in_quotes(digit));
    q.gold = digit[0] - '0';
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
