// What a probe adds to while items go by: named tensors (sums are float64), one accumulator for each block of items.
//
// The host makes one for every block, hands it to `observe` on whichever thread runs the block, and merges the blocks'
// accumulators in block order. That makes memory bounded and the result independent of threads. Two sorts of field:
//   define       a tensor of fixed shape that starts at zero; blocks are added (or merged by the probe's own `merge`)
//   define_rows  one row for each item of the block; blocks are put one after another along the dimension "item". Of any type,
//   and
//                as many as the disk holds: the host moves them to a temporary file when they grow large, and what `finish` sees
//                is a view of it, which goes into the results without a copy
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

class WAYFARER_API accumulator {
 public:
  struct field {
    tensor values;
    bool rows = false;
    std::vector<tensor> later{};  ///< rows appended but not yet joined to `values`: joining once keeps appending linear
    std::size_t filed = 0;        ///< rows that are in the file, all but those in `later`
    std::size_t place = 0;        ///< of the first of them, bytes from the file's beginning
  };

  /// `items`: how many items the block has.
  explicit accumulator(std::size_t items = 0) : items_(items) {}

  /// A field of this shape, zeros. Called by a probe's `shape` only.
  void define(std::string name, dims shape);
  /// A field with one row of this shape for each item; its first dimension is "item".
  void define_rows(std::string name, dims row_shape, dtype type = dtype::f64);

  /// The field of that name; throws plugin_error, with near names, if there is none.
  tensor const& operator[](std::string_view name) const;
  std::map<std::string, field, std::less<>> const& fields() const noexcept { return fields_; }
  std::size_t items() const noexcept { return items_; }
  /// In memory.
  std::size_t bytes() const noexcept;

  /// Once rows take more than `most` bytes, they move to a temporary file in `folder`. `rows`: how many there will be in the end.
  /// The host calls this on the accumulator that the others are merged into.
  void keep_rows_in(std::string folder, std::size_t rows, std::size_t most);
  /// The default merge: adds sums, appends rows. `from` observed the items that follow those of `this`.
  void append(accumulator const& from);

 private:
  template <class>
  friend struct layout_of;
  struct row_file;
  void move_rows() const;
  void move_rows(field&) const;
  void join(field&) const;

  std::size_t items_;
  mutable std::map<std::string, field, std::less<>> fields_;  // mutable: reading joins rows
  std::shared_ptr<row_file> file_;
  std::size_t held_ = 0;  // bytes of rows in memory, once there is a limit
};

WAYFARER_LAYOUT(accumulator::field, values, rows, later, filed, place);
WAYFARER_LAYOUT(accumulator, items_, fields_, file_, held_);

}  // namespace wayfarer
