// Checkpoints in the safetensors format: read strictly and without copying, written whole or not at all.
//
// Models open theirs with `open_checkpoint(folder)`; code that stores tensors for others calls `write_safetensors`. Opening
// checks the whole header (sizes, types, offsets without hole or overlap, no duplicate or unknown field) before any number is
// touched; the numbers themselves may still be infinite or NaN. Tensors are views of the mapped file and keep it alive, so they
// may outlive the object that they came from. Objects are handles: cheap to copy, immutable, for any number of threads.
//
// All errors are data_errors that name the file, or resource_errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// Where a tensor lies: bytes [begin, end) after the header of its file.
struct safetensors_entry {
  std::string name;
  wayfarer::dtype type = wayfarer::dtype::f32;  // BOOL is read as u8
  std::vector<std::size_t> shape;
  std::size_t begin = 0, end = 0;
};

/// A tensor of a type that is not read (I8, U32, F8_E4M3, ...). Its place in the file is checked as any other's, but it has no
/// numbers here: code that needs it refuses it by name, and the other tensors can be used.
struct foreign_tensor {
  std::string name, type;
};

class WAYFARER_API safetensors_file {
 public:
  static safetensors_file open(std::string const& path);
  /// The same on bytes in memory, which `keep` owns; `name` is for messages.
  static safetensors_file view(std::span<std::byte const> bytes, std::string name, std::shared_ptr<void const> keep);

  std::string const& path() const noexcept;
  /// In the order of the header.
  std::vector<std::string> names() const;
  std::span<safetensors_entry const> entries() const noexcept;
  /// Those that `entries` leaves out, in the order of the header.
  std::span<foreign_tensor const> foreign() const noexcept;
  /// nullptr if there is none of that name that can be read. Lives as long as a copy of this object.
  safetensors_entry const* find(std::string_view name) const noexcept;
  /// A view of the file, or a copy if the data is not aligned for its type. Dimensions are named "0", "1", ... unless `dim_names`
  /// gives one for each. Throws if there is no such tensor or its rank is more than 6.
  wayfarer::tensor tensor(std::string_view name, std::vector<std::string> const& dim_names = {}) const;
  /// The header's "__metadata__".
  std::map<std::string, std::string> const& metadata() const noexcept;

 private:
  template <class>
  friend struct layout_of;
  struct contents;
  explicit safetensors_file(std::shared_ptr<contents const> c) noexcept : contents_(std::move(c)) {}
  std::shared_ptr<contents const> contents_;
};

/// One or more files seen as one.
class WAYFARER_API checkpoint {
 public:
  /// The folder or file that was opened.
  std::string const& path() const noexcept;
  /// The safetensors files and the index, if there is one: what the provenance of a result must record.
  std::vector<std::string> const& files() const noexcept;
  std::vector<std::string> names() const;
  std::vector<foreign_tensor> const& foreign() const noexcept;
  safetensors_entry const* find(std::string_view name) const noexcept;
  wayfarer::tensor tensor(std::string_view name, std::vector<std::string> const& dim_names = {}) const;
  /// Of the first file.
  std::map<std::string, std::string> const& metadata() const noexcept;

 private:
  template <class>
  friend struct layout_of;
  friend WAYFARER_API checkpoint open_checkpoint(std::string const& path);
  struct contents;
  explicit checkpoint(std::shared_ptr<contents const> c) noexcept : contents_(std::move(c)) {}
  std::shared_ptr<contents const> contents_;
};

/// A folder with model.safetensors or with model.safetensors.index.json and its shards, in Hugging Face's layout; or one file.
/// Pickles are refused: reading one runs code of its maker.
WAYFARER_API checkpoint open_checkpoint(std::string const& path);

/// Writes the tensors, in this order in the header; the data is laid out so that every tensor is aligned. Replaces an existing
/// file, only once the new one is complete and on the disk. The same input gives the same bytes.
WAYFARER_API void write_safetensors(std::string const& path, std::span<std::pair<std::string, tensor> const> tensors,
                                    std::map<std::string, std::string> const& metadata = {});
/// The bytes that such a file would have; `name` is for messages.
WAYFARER_API std::string safetensors_bytes(std::string const& name, std::span<std::pair<std::string, tensor> const> tensors,
                                           std::map<std::string, std::string> const& metadata = {});

WAYFARER_LAYOUT(safetensors_entry, name, type, shape, begin, end);
WAYFARER_LAYOUT(foreign_tensor, name, type);
WAYFARER_LAYOUT(safetensors_file, contents_);
WAYFARER_LAYOUT(checkpoint, contents_);

}  // namespace wayfarer
