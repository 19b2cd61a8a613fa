// Text files with a few columns that people write and exchange: word lists, rated pairs, questions.
//
// A line's fields are separated by tabs; without a tab, by commas; without either, by spaces. Spaces around a field are not part
// of it, and there is no quoting. Blank lines and lines that begin with # are passed over. To be called from a constructor or
// from `finish`; what was read is for any number of threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

struct table_line {
  std::size_t number = 0;                  ///< in the file, from 1
  std::vector<std::string_view> fields{};  ///< at least one; they live as long as the table
};

class WAYFARER_API text_table {
 public:
  /// Throws data_error for a file that is not UTF-8 or has no line.
  explicit text_table(std::string const& path);

  std::string const& path() const noexcept { return file_->path(); }
  std::vector<table_line> const& lines() const noexcept { return lines_; }
  /// Throws data_error "path: line N: what".
  [[noreturn]] void fail(table_line const&, std::string const& what) const;

 private:
  template <class>
  friend struct layout_of;
  std::shared_ptr<mapped_file const> file_;
  std::vector<table_line> lines_;
};

/// Whether all of the text is one number, then in `value`: 1.5, -2e3, nan, inf.
WAYFARER_API bool is_number(std::string_view text, double* value = nullptr) noexcept;

WAYFARER_LAYOUT(table_line, number, fields);
WAYFARER_LAYOUT(text_table, file_, lines_);

}  // namespace wayfarer
