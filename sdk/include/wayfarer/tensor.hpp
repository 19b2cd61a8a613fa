// Arrays with named dimensions: the one data type that crosses every interface.
//
// A `tensor` holds numbers of one type, row-major unless it is a view, with a name and a size for every dimension. Copying one
// copies a handle, not the numbers (as in numpy or PyTorch); `clone()` copies the numbers. A view keeps what it looks into alive,
// so it may be held as long as one likes. Reading from many threads is safe; writing is for one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

enum class dtype : std::uint8_t { f32, f64, f16, bf16, i32, i64, u8 };

WAYFARER_API std::size_t size_of(dtype) noexcept;
WAYFARER_API std::string_view name_of(dtype) noexcept;

template <class T>
constexpr dtype dtype_of() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, float>)
    return dtype::f32;
  else if constexpr (std::is_same_v<U, double>)
    return dtype::f64;
  else if constexpr (std::is_same_v<U, std::int32_t>)
    return dtype::i32;
  else if constexpr (std::is_same_v<U, std::int64_t>)
    return dtype::i64;
  else {
    static_assert(std::is_same_v<U, std::uint8_t>, "tensors hold float, double, int32, int64 or uint8");
    return dtype::u8;
  }
}

/// One named dimension: {"token", 104}.
struct dim {
  std::string name;
  std::size_t size = 0;
  friend bool operator==(dim const&, dim const&) = default;
};
using dims = std::vector<dim>;

/// Product of the sizes. Throws resource_error on overflow.
WAYFARER_API std::size_t element_count(dims const&);
/// "topic 10 x word 104", for messages.
WAYFARER_API std::string describe(dims const&);

/// Typed, possibly strided access to a tensor of known type: the inner loops' way in. Valid while the tensor (or a copy) lives.
template <class T>
class tensor_view {
 public:
  static constexpr std::size_t max_rank = 6;

  tensor_view() = default;
  tensor_view(T* data, std::size_t rank, std::array<std::size_t, max_rank> const& sizes,
              std::array<std::ptrdiff_t, max_rank> const& strides)
      : data_(data), rank_(rank), sizes_(sizes), strides_(strides) {}

  std::size_t rank() const noexcept { return rank_; }
  std::size_t size(std::size_t axis) const noexcept { return sizes_[axis]; }
  std::ptrdiff_t stride(std::size_t axis) const noexcept { return strides_[axis]; }
  T* data() const noexcept { return data_; }

  /// Element at an index per dimension, unchecked.
  template <class... Index>
  T& operator()(Index... index) const noexcept {
    std::size_t axis = 0;
    std::ptrdiff_t offset = 0;
    ((offset += static_cast<std::ptrdiff_t>(index) * strides_[axis++]), ...);
    return data_[offset];
  }

  /// The view with its first dimension fixed.
  tensor_view operator[](std::size_t i) const noexcept {
    tensor_view v = *this;
    v.data_ += static_cast<std::ptrdiff_t>(i) * strides_[0];
    v.rank_ = rank_ - 1;
    for (std::size_t a = 0; a < v.rank_; ++a) v.sizes_[a] = sizes_[a + 1], v.strides_[a] = strides_[a + 1];
    return v;
  }

  /// Row i of a matrix, whose last dimension must be contiguous.
  std::span<T> row(std::size_t i) const noexcept { return {data_ + static_cast<std::ptrdiff_t>(i) * strides_[0], sizes_[1]}; }

 private:
  T* data_ = nullptr;
  std::size_t rank_ = 0;
  std::array<std::size_t, max_rank> sizes_{};
  std::array<std::ptrdiff_t, max_rank> strides_{};
};

class WAYFARER_API tensor {
 public:
  /// An empty tensor: no dimensions, no element; `defined()` is false.
  tensor() = default;
  /// Zeros. Rank at most 6. Throws resource_error if it can't be allocated.
  tensor(dtype, dims);
  /// A scalar, rank 0.
  explicit tensor(double value);
  /// A copy of `values`, whose count must equal the product of the sizes.
  template <class T>
  static tensor of(std::span<T const> values, dims d) {
    tensor t(dtype_of<T>(), std::move(d));
    t.fill_from(values.data(), values.size() * sizeof(T));
    return t;
  }
  template <class T>
  static tensor of(std::vector<T> const& values, dims d) {
    return of(std::span<T const>(values), std::move(d));
  }
  /// A view of memory that `keep` owns. Strides are in elements; empty means row-major.
  static tensor look(dtype, void const* data, dims, std::shared_ptr<void const> keep, std::vector<std::ptrdiff_t> strides = {});
  /// The same, but it may be written through.
  static tensor lend(dtype, void* data, dims, std::shared_ptr<void const> keep, std::vector<std::ptrdiff_t> strides = {});

  bool defined() const noexcept { return data_ != nullptr; }
  wayfarer::dtype type() const noexcept { return type_; }
  dims const& shape() const noexcept { return dims_; }
  std::size_t rank() const noexcept { return dims_.size(); }
  std::size_t size(std::size_t axis) const { return dims_.at(axis).size; }
  /// Size of the dimension of that name; throws plugin_error if there is none.
  std::size_t size(std::string_view name) const;
  std::size_t count() const noexcept;
  std::size_t bytes() const noexcept { return count() * size_of(type_); }
  bool contiguous() const noexcept;
  std::vector<std::ptrdiff_t> const& strides() const noexcept { return strides_; }
  void const* raw() const noexcept { return data_; }

  /// Typed access without conversion; throws plugin_error when the tensor holds another type.
  template <class T>
  tensor_view<T> view() const {
    check_type(dtype_of<T>(), !std::is_const_v<T>);
    std::array<std::size_t, tensor_view<T>::max_rank> s{};
    std::array<std::ptrdiff_t, tensor_view<T>::max_rank> st{};
    for (std::size_t i = 0; i < dims_.size(); ++i) s[i] = dims_[i].size, st[i] = strides_[i];
    return {static_cast<T*>(const_cast<void*>(data_)), dims_.size(), s, st};
  }
  /// All elements of a contiguous tensor, in order.
  template <class T>
  std::span<T> values() const {
    check_contiguous();
    return {view<T>().data(), count()};
  }
  /// Element of a float64 tensor: accumulators and results are float64 unless said otherwise. Bounds are checked.
  template <class... Index>
  double& operator()(Index... index) const {
    std::array<std::size_t, sizeof...(Index)> const at{static_cast<std::size_t>(index)...};
    return static_cast<double*>(const_cast<void*>(data_))[checked_offset(at, dtype::f64)];
  }
  /// Any element as a double, whatever the type; for code off the hot path.
  double get(std::initializer_list<std::size_t> index) const;

  /// The tensor at index i of its first dimension: a view.
  tensor operator[](std::size_t i) const;
  /// Elements [first, last) of one dimension: a view.
  tensor slice(std::size_t axis, std::size_t first, std::size_t last) const;
  /// The last two dimensions swapped: a view.
  tensor transposed() const;
  /// Same elements under other dimensions of equal count; the tensor must be contiguous.
  tensor reshaped(dims) const;
  /// Same elements, dimensions renamed.
  tensor named(std::vector<std::string> names) const;
  /// Own, contiguous copy.
  tensor clone() const;
  /// Contiguous, in the wanted type: itself if it already is, else a copy.
  tensor to(wayfarer::dtype) const;

 private:
  template <class>
  friend struct layout_of;
  friend WAYFARER_API void copy_into(tensor const& into, tensor const& from);
  void fill_from(void const* from, std::size_t bytes);
  void check_type(wayfarer::dtype, bool writing) const;
  void check_contiguous() const;
  std::size_t checked_offset(std::span<std::size_t const>, wayfarer::dtype) const;

  std::shared_ptr<void const> keep_;
  void const* data_ = nullptr;
  wayfarer::dtype type_ = wayfarer::dtype::f32;
  bool writable_ = false;
  dims dims_;
  std::vector<std::ptrdiff_t> strides_;
};

/// Element by element; shapes must be equal, or the second a scalar. Results are float64.
WAYFARER_API tensor operator+(tensor const&, tensor const&);
WAYFARER_API tensor operator-(tensor const&, tensor const&);
WAYFARER_API tensor operator*(tensor const&, tensor const&);
WAYFARER_API tensor operator/(tensor const&, tensor const&);
WAYFARER_API tensor operator*(tensor const&, double);
WAYFARER_API tensor operator/(tensor const&, double);
/// Writes the elements of `from` into `into`, which may be strided and of another type: how rows of 16-bit numbers are filled.
/// Sizes must be equal, names need not. Conversions round to the nearest, to even between two.
WAYFARER_API void copy_into(tensor const& into, tensor const& from);
/// into += from, float64, shapes equal.
WAYFARER_API void add_into(tensor const& into, tensor const& from);

WAYFARER_ENUM_LAYOUT(dtype, f32, f64, f16, bf16, i32, i64, u8);
WAYFARER_LAYOUT(dim, name, size);
WAYFARER_LAYOUT(tensor, keep_, data_, type_, writable_, dims_, strides_);

}  // namespace wayfarer
