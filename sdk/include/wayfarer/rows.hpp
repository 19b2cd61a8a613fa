// Activations of a whole batch on their way through a model: what the shared layers read and make.
//
// A model's forward pass handles `rows`: the numbers at one place for all items, packed end to end, [token, width]. They are
// values: copying one copies a handle, and writing to one that is shared writes to a fresh copy, so a captured residual state
// stays unchanged while the stream is updated. Memory comes from a pool, because fresh pages cost more than the arithmetic on
// them. Owned by the thread that runs the pass; layers split the work themselves. Rows of a pass whose gradients are wanted are
// values on a tape (tape.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/ragged.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// Memory from the pool, aligned to 64 bytes, its contents undefined; given back when the last handle goes. Throws
/// resource_error.
WAYFARER_API std::shared_ptr<void> pooled_memory(std::size_t bytes);

/// Which rows belong to which item: item i has rows [offsets[i], offsets[i + 1]), and its first one stands at position
/// first_position[i] of its sequence.
struct WAYFARER_API row_packing {
  std::vector<std::size_t> offsets{0};
  std::vector<std::size_t> first_position;
  std::size_t items() const noexcept { return first_position.size(); }
  std::size_t rows() const noexcept { return offsets.back(); }
  std::size_t length(std::size_t item) const noexcept { return offsets[item + 1] - offsets[item]; }
  std::size_t longest() const noexcept;

  /// Of a batch's tokens; `first_position` empty: 0. Throws plugin_error if the columns do not fit.
  static std::shared_ptr<row_packing const> of(ragged<std::int32_t> const& tokens,
                                               std::span<std::size_t const> first_position = {});
  /// The last row of each item alone.
  std::shared_ptr<row_packing const> last_rows() const;
};

class tape;

/// What a tape knows of some rows, without their numbers.
struct recorded_value {
  tape* on = nullptr;    ///< null: no tape
  std::uint32_t id = 0;  ///< 0: nothing whose gradient is wanted made them
  std::shared_ptr<row_packing const> of{};
  std::size_t width = 0;
  dtype precision = dtype::f32;
};

class WAYFARER_API rows {
 public:
  rows() = default;
  /// Undefined numbers. `precision`: of the arithmetic, as in run_request; bf16 holds float32 and takes products in bfloat16.
  rows(std::shared_ptr<row_packing const> of, std::size_t width, dtype precision);
  /// The same packing and precision, another width; undefined numbers. Made of recorded rows, they are on the same tape, which
  /// does not know them until a step that makes them is added.
  rows like(std::size_t width) const {
    rows out(of_, width, precision_);
    out.tape_ = tape_, out.value_ = value_;
    out.lose();
    return out;
  }

  bool defined() const noexcept { return memory_ != nullptr; }
  std::size_t count() const noexcept { return of_ ? of_->rows() : 0; }
  std::size_t width() const noexcept { return width_; }
  dtype precision() const noexcept { return precision_; }
  dtype type() const noexcept { return precision_ == dtype::f64 ? dtype::f64 : dtype::f32; }
  row_packing const& packing() const noexcept { return *of_; }
  std::shared_ptr<row_packing const> const& shared_packing() const noexcept { return of_; }

  /// [row, width] without gaps; T is float or double, the one of type().
  template <class T>
  T const* data() const noexcept {
    return static_cast<T const*>(memory_.get());
  }
  /// To write to; copies the numbers first if they are shared.
  template <class T>
  T* own() {
    lose();
    unshare(true);
    return static_cast<T*>(memory_.get());
  }
  /// To overwrite all of them: as own, but a fresh copy's numbers are undefined.
  template <class T>
  T* overwrite() {
    lose();
    unshare(false);
    return static_cast<T*>(memory_.get());
  }
  /// One item's numbers as a tensor [pos, row...], writable, on the same memory.
  tensor item(std::size_t i, dims const& row) const;
  /// The last row of each item.
  rows last() const;
  /// Element by element; a fresh result if these numbers are shared.
  rows& operator+=(rows const&);
  friend WAYFARER_API rows operator+(rows const&, rows const&);

  recorded_value recorded() const { return {tape_, value_, of_, width_, precision_}; }
  /// The same numbers on no tape.
  rows bare() const {
    rows out = *this;
    out.tape_ = nullptr, out.value_ = 0;
    return out;
  }

 private:
  template <class>
  friend struct layout_of;
  friend class tape;
  static constexpr std::uint32_t unknown = UINT32_MAX;  ///< made of recorded values, but by no step
  void lose() noexcept {
    if (value_ != 0) value_ = unknown;
  }
  void unshare(bool keep);
  std::shared_ptr<void> memory_;
  std::shared_ptr<row_packing const> of_;
  std::size_t width_ = 0;
  dtype precision_ = dtype::f32;
  std::uint32_t value_ = 0;
  tape* tape_ = nullptr;
};

/// Numbers for every pair of positions: per item a tensor [head, query, key], packed end to end.
class WAYFARER_API pairs {
 public:
  pairs() = default;
  /// `keys[i]` is how many keys item i sees.
  pairs(std::shared_ptr<row_packing const> queries, std::vector<std::size_t> keys, std::size_t heads, dtype precision);

  bool defined() const noexcept { return memory_ != nullptr; }
  std::size_t heads() const noexcept { return heads_; }
  std::size_t keys(std::size_t item) const noexcept { return keys_[item]; }
  row_packing const& packing() const noexcept { return *queries_; }
  dtype type() const noexcept { return precision_ == dtype::f64 ? dtype::f64 : dtype::f32; }
  /// First number of [query, key] of one item and head.
  template <class T>
  T* head(std::size_t item, std::size_t h) const noexcept {
    return static_cast<T*>(memory_.get()) + offsets_[item] + h * queries_->length(item) * keys_[item];
  }
  tensor item(std::size_t i) const;
  /// The same packing and heads; undefined numbers.
  pairs like() const { return {queries_, keys_, heads_, precision_}; }
  /// A private copy if these numbers are shared.
  void unshare();

 private:
  template <class>
  friend struct layout_of;
  std::shared_ptr<void> memory_;
  std::shared_ptr<row_packing const> queries_;
  std::vector<std::size_t> keys_, offsets_;
  std::size_t heads_ = 0;
  dtype precision_ = dtype::f32;
};

WAYFARER_LAYOUT(row_packing, offsets, first_position);
WAYFARER_LAYOUT(recorded_value, on, id, of, width, precision);
WAYFARER_LAYOUT(rows, memory_, of_, width_, precision_, value_, tape_);
WAYFARER_LAYOUT(pairs, memory_, queries_, keys_, offsets_, heads_, precision_);

}  // namespace wayfarer
