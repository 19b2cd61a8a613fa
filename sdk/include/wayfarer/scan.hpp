// A state carried over positions: what models without attention are made of, shared by their plugins.
//
// A scan goes through the positions of each item in order. A state of fixed size takes each token in, and the output of a
// position is read from it; so a text of any length needs no more memory than its rows. A state is `fields` runs of `units` units
// of `each` numbers; units (heads, channels) do not touch each other's numbers, so they are what threads share. A number depends
// on its own item and unit alone: the same bytes for any thread count, any batch, and any place at which a text is cut and gone
// on with. Free functions; any thread, though not for the same objects.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// The numbers that one place of a layer carries from position to position, a row for each of some items. As long as nothing has
/// been read they are `initial`.
class WAYFARER_API carried {
 public:
  carried() = default;
  carried(std::size_t items, std::vector<double> const& initial, dtype precision);
  std::size_t items() const noexcept { return items_; }
  std::size_t width() const noexcept { return width_; }
  /// T is float or double, the one of the precision.
  template <class T>
  T* of(std::size_t item) const {
    return numbers_.values<T>().data() + item * width_;
  }
  /// Own copies of those items' rows, in this order.
  carried branch(std::span<std::size_t const> items) const;

 private:
  template <class>
  friend struct layout_of;
  tensor numbers_;
  std::size_t items_ = 0, width_ = 0;
};

/// The row of the position before: what `last` holds before an item's first row, which then becomes the item's last row. `last`
/// has one row of x's width.
WAYFARER_API rows delayed(rows const& x, carried& last);

/// Each channel's weighted sum of its own last numbers, as a causal convolution gives it: y[t] = sum_k w[channel, k] x[t - K + 1
/// + k] plus bias. w: [channel, K] or [channel, 1, K]; b: [channel] or undefined. `last` carries the K - 1 rows before, oldest
/// first.
WAYFARER_API rows causal_convolution(rows const& x, tensor const& w, tensor const& b, carried& last);

struct scan_shape {
  std::size_t units = 1;      ///< heads or channels
  std::size_t fields = 1;     ///< runs of units in a row of the state
  std::size_t each = 1;       ///< numbers of one unit in one field
  bool reads_before = false;  ///< a position reads the state as it was before its own token
  std::size_t at_once = 1;    ///< most units of one call
  std::size_t width() const noexcept { return units * fields * each; }
};

/// What a model does at one row, for units [first, last). `before` and `after` are whole rows of the state and may be the same
/// memory; only the numbers of these units may be touched.
template <class T>
struct scan_steps {
  std::function<void(T const* before, T* after, std::size_t row, std::size_t first, std::size_t last)> advance;
  std::function<void(T const* state, std::size_t row, std::size_t first, std::size_t last)> read;
};

/// Goes through the rows of `of`, from `state` on, which then holds what the last row left. The state behind each row is tapped
/// as `hook` on request. Where an edit changes a unit's state at a row, that is its state; rows that the edit left as
/// they were follow from what it changed before them.
template <class T>
void scan(std::shared_ptr<row_packing const> const& of, dtype precision, scan_shape const&, scan_steps<T> const&, carried& state,
          std::string_view hook, tap_scope const& at);
extern template WAYFARER_API void scan(std::shared_ptr<row_packing const> const&, dtype, scan_shape const&,
                                       scan_steps<float> const&, carried&, std::string_view, tap_scope const&);
extern template WAYFARER_API void scan(std::shared_ptr<row_packing const> const&, dtype, scan_shape const&,
                                       scan_steps<double> const&, carried&, std::string_view, tap_scope const&);

WAYFARER_LAYOUT(carried, numbers_, items_, width_);
WAYFARER_LAYOUT(scan_shape, units, fields, each, reads_before, at_once);
WAYFARER_LAYOUT(scan_steps<float>, advance, read);
WAYFARER_LAYOUT(scan_steps<double>, advance, read);

}  // namespace wayfarer
