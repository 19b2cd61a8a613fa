// A forward pass that records itself, so that gradients can be taken: there is no second forward pass for that.
//
// The shared layers add a step for what they compute, if a gradient of what went into it is wanted: the rows that the way
// back must read, and the way back itself. Nothing else is kept, and a pass without a tape keeps nothing. `back` walks the steps
// in the opposite order and drops each as it goes. Gradients of rows add up by value; gradients of weights go to tensors that the
// caller owns, found by the memory of the weight, so that a weight that is used twice, such as a tied head, gets the sum. A layer
// of your own calls `following` and `add`; rows that something else made of recorded rows, or wrote to, can't be read by a
// recorded layer: an error, never a wrong number. Sums run in the order of the steps: the same bytes for any thread count.
//
//     tape on;
//     on.want(weight, gradient);
//     rows x = embed(tokens, of, table, dtype::f64, 1, &on);
//     auto const seen = on.watch(x);
//     rows const y = linear(x, {weight});
//     on.seed(y.recorded(), dy);
//     on.back();                                    // gradient += x^T dy
//     rows const dx = on.gradient(seen);
//
// One object a pass, used by the thread that runs it; it must outlive the rows of the pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// The gradients at one step, as its way back sees them. Lives for the call.
class WAYFARER_API step_gradients {
 public:
  /// Of the i-th value that the step made: zeros if nothing depends on it. Taken away, so that it may be written to; once only.
  rows take(std::size_t made = 0);
  /// Of all values that the step made, if they lie side by side in one matrix; taken away.
  std::optional<rows> take_joined();
  /// Whether the gradient of the i-th value that the step read is wanted.
  bool wanted(std::size_t read = 0) const;
  /// Adds to the gradient of the i-th value that the step read.
  void add(std::size_t read, rows gradient);
  /// The same of columns [first, first + the value's width) of a wider matrix.
  void add_columns(std::size_t read, rows const& all, std::size_t first);
  /// The gradient of the i-th value that the step read, zeros at first, to be added to.
  rows& sum(std::size_t read);
  /// Where the gradient of a weight goes: of its shape and strides. Undefined if it is not wanted.
  tensor weight(tensor const& weight) const;

 private:
  template <class>
  friend struct layout_of;
  friend class tape;
  step_gradients(tape& on, std::vector<recorded_value> const& read, std::vector<recorded_value> const& made)
      : on_(on), read_(read), made_(made) {}
  tape& on_;
  std::vector<recorded_value> const &read_, &made_;
};

class WAYFARER_API tape {
 public:
  using way_back = std::function<void(step_gradients&)>;

  tape();
  ~tape();
  tape(tape const&) = delete;
  tape& operator=(tape const&) = delete;

  /// Wants the gradient of a weight: added to `gradient`, of as many numbers and of the type of the rows. Both contiguous. A
  /// layer may read any view of the weight. Before the pass.
  void want(tensor const& weight, tensor const& gradient);
  /// Whether the gradient of (some of) this weight is wanted. A wanted weight that is asked for counts as read.
  bool wants(tensor const& weight);
  /// Where the gradient of a weight goes, of its shape and strides; undefined if it is not wanted.
  tensor weight_gradient(tensor const& weight) const;

  /// For a layer: the tape that a step must be added to, because the gradient of one of the values or weights that it reads is
  /// wanted; else null. Throws usage_error, naming the layer, for rows that the tape lost sight of.
  static tape* following(std::string_view layer, std::initializer_list<recorded_value> read,
                         std::initializer_list<tensor const*> weights = {});
  /// Adds a step, which made these rows. `back` must hold `bare()` rows alone.
  void add(std::string_view layer, std::vector<recorded_value> read, std::initializer_list<rows*> made, way_back back);
  /// Rows that no recorded layer made, such as an embedding's, begin here.
  void begin(rows& x);
  /// Rows that were changed in a way that has no gradient: `back` throws usage_error(why) if it would have to pass.
  void cut(rows& x, recorded_value const& before, std::string why);

  /// Wants the gradient of rows, to be read with `gradient` afterwards; they may be rows that began here.
  recorded_value watch(rows& x);
  /// Adds to the gradient of a value, from which the way back begins.
  void seed(recorded_value const&, rows gradient);
  /// The way back, once: afterwards nothing is recorded. Throws plugin_error if a weight that was wanted was not read.
  void back();
  /// Of a value that was watched; zeros if nothing depends on it.
  rows gradient(recorded_value const&) const;
  /// How many are recorded now.
  std::size_t steps() const noexcept;

 private:
  template <class>
  friend struct layout_of;
  friend class step_gradients;
  struct state;
  std::uint32_t new_value(recorded_value const& shape);
  std::unique_ptr<state> state_;
};

WAYFARER_LAYOUT(step_gradients, on_, read_, made_);
WAYFARER_LAYOUT(tape, state_);

}  // namespace wayfarer
