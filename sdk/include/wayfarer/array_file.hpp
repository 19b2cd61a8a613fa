// Arrays of numbers out of files that other programs write: numpy's .npy, safetensors, HDF5. A direction that was found in Python
// comes in this way.
//
// The header of a .npy file is parsed strictly, and its numbers stay in the mapped file. HDF5 is read by the host, in a child
// process. To be called from a constructor, which the host's main thread runs before anything else; what was read is for any
// number of threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// A .npy file: little-endian numbers in row-major order, of at most 6 dimensions.
class WAYFARER_API npy_file {
 public:
  /// Throws data_error "path: byte N: what is wrong; what to do".
  explicit npy_file(std::string const& path);

  std::string const& path() const noexcept { return file_->path(); }
  /// As numpy writes it: "<f4", "<i8", "|u1".
  std::string const& type() const noexcept { return type_; }
  std::size_t width() const noexcept { return width_; }  ///< bytes of a number
  std::vector<std::size_t> const& shape() const noexcept { return shape_; }
  /// The numbers, not aligned. They live as long as this object or a copy.
  std::byte const* data() const noexcept { return data_; }
  std::size_t header_bytes() const noexcept { return header_bytes_; }
  /// A copy as float64. Dimensions are named "0", "1", ...
  tensor values() const;
  /// Throws data_error if the file is no longer what was opened.
  void check_unchanged() const { file_->check_unchanged(); }

 private:
  template <class>
  friend struct layout_of;
  std::shared_ptr<mapped_file const> file_;
  std::string type_;
  std::vector<std::size_t> shape_;
  std::byte const* data_ = nullptr;
  std::size_t width_ = 0, header_bytes_ = 0;
};

/// Whether the file's name says that `read_array` reads it; else `why` says what to do.
WAYFARER_API bool is_array_file(std::string_view path, std::string* why = nullptr);

/// The numbers of one array as float64, by the file's ending: .npy (which holds one array: `dataset` is not looked at),
/// .safetensors (`dataset` names the tensor; it may be left out if the file has only one), .h5 or .hdf5 (`dataset` is the path of
/// a dataset, from any program). Throws usage_error for another ending or a name that is missing, data_error for a file
/// that can't be read or lacks the array, resource_error for HDF5 outside the program.
WAYFARER_API tensor read_array(std::string const& path, std::string const& dataset);

WAYFARER_LAYOUT(npy_file, file_, type_, shape_, data_, width_, header_bytes_);

}  // namespace wayfarer
