// Token ids in numpy's .npy files; the numbers stay in the mapped file.
//
// Made by the source's constructor on the host's main thread; reading is for any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <wayfarer/array_file.hpp>

namespace wayfarer {

/// A 1-D or 2-D array of int32, int64 or uint16; a 1-D array is one row.
class npy_ids {
 public:
  /// Throws data_error "path: byte N: what is wrong; what to do".
  explicit npy_ids(std::string const& path);

  std::size_t rows() const noexcept { return rows_; }
  std::size_t columns() const noexcept { return columns_; }
  std::string const& path() const noexcept { return file_.path(); }
  std::int64_t at(std::size_t row, std::size_t column) const noexcept;
  /// Throws data_error if the file is no longer what was opened.
  void check_unchanged() const { file_.check_unchanged(); }

 private:
  npy_file file_;
  std::size_t rows_ = 0, columns_ = 0;
};

}  // namespace wayfarer
