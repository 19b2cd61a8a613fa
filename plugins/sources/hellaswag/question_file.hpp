// HellaSwag's files: the original JSON lines, the same as one JSON array, and text with six lines for each item, made by other
// projects; plain, .gz, .bz2 or .zst.
//
// Opened by the source's constructor on the host's main thread, which reads every item once to find what is wrong; immutable
// then, for any number of threads. Memory holds only the place of each item. Items are parsed on request, from
// the file itself or, if it was packed, from a temporary file without a name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/file.hpp>

namespace wayfarer {

/// One item, cleaned (arXiv 2308.10874's code; Zellers et al. 2019 for the data).
struct question {
  std::string query;                   ///< activity, both sentences of the context
  std::array<std::string, 4> endings;  ///< without the space that goes before them
  std::int32_t gold = 0;               ///< 0 to 3
};

enum class question_format { detect, json, text };

class question_file {
 public:
  /// `max_bytes`: limit of a packed file's size when unpacked. Throws data_error "file:line: what is wrong; what to do".
  question_file(std::string path, question_format, std::size_t max_bytes);
  question_file(question_file const&) = delete;
  question_file& operator=(question_file const&) = delete;

  std::string const& path() const noexcept { return path_; }
  /// What the user should know of the file.
  std::vector<std::string> const& notes() const noexcept { return notes_; }
  std::size_t size() const noexcept { return places_.size(); }
  /// Whether the text was cleaned by others, so that it is taken as it is.
  bool preprocessed() const noexcept { return preprocessed_; }
  question read(std::size_t i) const;
  /// Throws data_error if the file is no longer what was opened.
  void check_unchanged() const {
    if (file_) file_->check_unchanged();
  }

 private:
  struct place {
    std::size_t byte = 0, line = 0, bytes = 0;  // line from 1
  };
  std::string_view line_at(std::size_t byte) const;
  [[noreturn]] void fail(std::size_t line, std::string const& what) const;
  void find_items(question_format);
  /// Of a file that is one JSON array, as Hugging Face's `datasets` writes with lines=False.
  void find_elements(std::size_t first);
  void add(place);
  question parse_json_line(std::string_view line, std::size_t number) const;
  question parse_six_lines(place) const;

  std::string path_;
  std::vector<std::string> notes_;
  bool preprocessed_ = false;
  std::shared_ptr<mapped_file const> file_;      // what is not packed
  std::shared_ptr<std::byte const> unpacked_{};  // what was
  std::string_view text_;
  std::vector<place> places_;
};

}  // namespace wayfarer
