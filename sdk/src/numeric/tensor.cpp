#include <wayfarer/tensor.hpp>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <new>

#include <wayfarer/error.hpp>

namespace wayfarer {

std::size_t size_of(dtype t) noexcept {
  switch (t) {
    case dtype::f64:
    case dtype::i64:
      return 8;
    case dtype::f32:
    case dtype::i32:
      return 4;
    case dtype::f16:
    case dtype::bf16:
      return 2;
    case dtype::u8:
      break;
  }
  return 1;
}

std::string_view name_of(dtype t) noexcept {
  switch (t) {
    case dtype::f32:
      return "float32";
    case dtype::f64:
      return "float64";
    case dtype::f16:
      return "float16";
    case dtype::bf16:
      return "bfloat16";
    case dtype::i32:
      return "int32";
    case dtype::i64:
      return "int64";
    case dtype::u8:
      break;
  }
  return "uint8";
}

std::size_t element_count(dims const& d) {
  std::size_t n = 1;
  for (auto const& one : d)
    if (__builtin_mul_overflow(n, one.size, &n)) throw resource_error("an array of " + describe(d) + " is too large");
  return n;
}

std::string describe(dims const& d) {
  if (d.empty()) return "scalar";
  std::string out;
  for (auto const& one : d) out += (out.empty() ? "" : " x ") + one.name + " " + std::to_string(one.size);
  return out;
}

namespace {

std::vector<std::ptrdiff_t> row_major(dims const& d) {
  std::vector<std::ptrdiff_t> s(d.size());
  std::ptrdiff_t n = 1;
  for (std::size_t i = d.size(); i-- > 0;) s[i] = n, n *= static_cast<std::ptrdiff_t>(d[i].size);
  return s;
}

void check_rank(dims const& d) {
  if (d.size() > tensor_view<float>::max_rank) throw plugin_error("a tensor has at most 6 dimensions, not " + describe(d));
}

float half_to_float(std::uint16_t h) {
  std::uint32_t const sign = static_cast<std::uint32_t>(h & 0x8000u) << 16, exponent = (h >> 10) & 0x1fu, fraction = h & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) {
    float const magnitude = static_cast<float>(fraction) * 0x1.0p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

/// Rounds to the nearest, to even between two; beyond 65,504 to infinity.
std::uint16_t half_of(float x) {
  std::uint32_t const bits = std::bit_cast<std::uint32_t>(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);  // NaN
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Below the smallest normal half, adding 0.5 leaves the wanted bits, rounded, at the end of the fraction.
    float const shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
  }
  std::uint32_t const rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | (rounded - 0x38000000u) >> 13);
}

std::uint16_t bfloat_of(float x) {
  auto const bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

double read_element(void const* data, std::ptrdiff_t i, dtype t) {
  switch (t) {
    case dtype::f32:
      return static_cast<float const*>(data)[i];
    case dtype::f64:
      return static_cast<double const*>(data)[i];
    case dtype::i32:
      return static_cast<std::int32_t const*>(data)[i];
    case dtype::i64:
      return static_cast<double>(static_cast<std::int64_t const*>(data)[i]);
    case dtype::u8:
      return static_cast<std::uint8_t const*>(data)[i];
    case dtype::f16:
      return half_to_float(static_cast<std::uint16_t const*>(data)[i]);
    case dtype::bf16:
      break;
  }
  return std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<std::uint16_t const*>(data)[i]) << 16);
}

void write_element(void* data, std::size_t i, dtype t, double v) {
  switch (t) {
    case dtype::f32:
      static_cast<float*>(data)[i] = static_cast<float>(v);
      return;
    case dtype::f64:
      static_cast<double*>(data)[i] = v;
      return;
    case dtype::i32:
      static_cast<std::int32_t*>(data)[i] = static_cast<std::int32_t>(v);
      return;
    case dtype::i64:
      static_cast<std::int64_t*>(data)[i] = static_cast<std::int64_t>(v);
      return;
    case dtype::u8:
      static_cast<std::uint8_t*>(data)[i] = static_cast<std::uint8_t>(v);
      return;
    case dtype::f16:
      static_cast<std::uint16_t*>(data)[i] = half_of(static_cast<float>(v));
      return;
    case dtype::bf16:
      static_cast<std::uint16_t*>(data)[i] = bfloat_of(static_cast<float>(v));
      return;
  }
}

/// Calls visit(offset) for every element in row-major order.
template <class Visit>
void for_each_offset(dims const& d, std::vector<std::ptrdiff_t> const& strides, Visit&& visit) {
  std::size_t const n = element_count(d);
  std::vector<std::size_t> at(d.size());
  std::ptrdiff_t offset = 0;
  for (std::size_t i = 0; i < n; ++i) {
    visit(offset);
    for (std::size_t a = d.size(); a-- > 0;) {
      offset += strides[a];
      if (++at[a] < d[a].size) break;
      offset -= strides[a] * static_cast<std::ptrdiff_t>(d[a].size);
      at[a] = 0;
    }
  }
}

}  // namespace

tensor::tensor(wayfarer::dtype t, dims d) : type_(t), writable_(true), dims_(std::move(d)) {
  check_rank(dims_);
  std::size_t bytes = element_count(dims_);
  if (__builtin_mul_overflow(bytes, size_of(t), &bytes)) throw resource_error("an array of " + describe(dims_) + " is too large");
  // 64-byte alignment for vector loads; at least one line, so that an empty tensor still has an address.
  std::size_t const padded = (bytes + 127) / 64 * 64;
  if (padded < bytes) throw resource_error("an array of " + describe(dims_) + " is too large");
  void* p = std::aligned_alloc(64, padded);
  if (!p)
    throw resource_error("no memory for an array of " + describe(dims_) + " " + std::string(name_of(t)) + " (" +
                         std::to_string(bytes) + " bytes)");
  std::memset(p, 0, padded);
  keep_ = std::shared_ptr<void const>(p, [](void const* q) { std::free(const_cast<void*>(q)); });
  data_ = p;
  strides_ = row_major(dims_);
}

tensor::tensor(double value) : tensor(dtype::f64, {}) {
  (*this)() = value;
}

tensor tensor::look(wayfarer::dtype t, void const* data, dims d, std::shared_ptr<void const> keep,
                    std::vector<std::ptrdiff_t> strides) {
  check_rank(d);
  tensor v;
  v.type_ = t;
  v.data_ = data;
  v.keep_ = std::move(keep);
  v.strides_ = strides.empty() ? row_major(d) : std::move(strides);
  v.dims_ = std::move(d);
  if (v.strides_.size() != v.dims_.size())
    throw plugin_error("a tensor needs as many strides as dimensions: " + describe(v.dims_));
  return v;
}

tensor tensor::lend(wayfarer::dtype t, void* data, dims d, std::shared_ptr<void const> keep,
                    std::vector<std::ptrdiff_t> strides) {
  tensor v = look(t, data, std::move(d), std::move(keep), std::move(strides));
  v.writable_ = true;
  return v;
}

std::size_t tensor::size(std::string_view name) const {
  for (auto const& d : dims_)
    if (d.name == name) return d.size;
  throw plugin_error("no dimension '" + std::string(name) + "' in " + describe(dims_));
}

std::size_t tensor::count() const noexcept {
  if (!defined()) return 0;
  std::size_t n = 1;
  for (auto const& d : dims_) n *= d.size;
  return n;
}

bool tensor::contiguous() const noexcept {
  std::ptrdiff_t n = 1;
  for (std::size_t i = dims_.size(); i-- > 0;) {
    if (dims_[i].size != 1 && strides_[i] != n) return false;
    n *= static_cast<std::ptrdiff_t>(dims_[i].size);
  }
  return true;
}

void tensor::fill_from(void const* from, std::size_t bytes) {
  if (bytes != this->bytes()) throw plugin_error("values and dimensions disagree: " + describe(dims_));
  if (bytes != 0) std::memcpy(const_cast<void*>(data_), from, bytes);
}

void tensor::check_type(wayfarer::dtype wanted, bool writing) const {
  if (!defined()) throw plugin_error("an empty tensor was read");
  if (type_ != wanted)
    throw plugin_error("a tensor of " + std::string(name_of(type_)) + " was read as " + std::string(name_of(wanted)) +
                       "; convert it with to()");
  if (writing && !writable_) throw plugin_error("a read-only view was opened for writing; read it as const, or clone() it");
}

void tensor::check_contiguous() const {
  if (!contiguous()) throw plugin_error("a strided view was read as one run of values; clone() it first: " + describe(dims_));
}

std::size_t tensor::checked_offset(std::span<std::size_t const> at, wayfarer::dtype wanted) const {
  check_type(wanted, false);
  if (at.size() != dims_.size()) throw plugin_error(std::to_string(at.size()) + " indices for " + describe(dims_));
  std::ptrdiff_t offset = 0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    if (at[i] >= dims_[i].size)
      throw plugin_error("index " + std::to_string(at[i]) + " is beyond dimension '" + dims_[i].name + "' of " + describe(dims_));
    offset += static_cast<std::ptrdiff_t>(at[i]) * strides_[i];
  }
  return static_cast<std::size_t>(offset);
}

double tensor::get(std::initializer_list<std::size_t> index) const {
  return read_element(data_, static_cast<std::ptrdiff_t>(checked_offset({index.begin(), index.size()}, type_)), type_);
}

tensor tensor::operator[](std::size_t i) const {
  if (dims_.empty() || i >= dims_[0].size) throw plugin_error("index " + std::to_string(i) + " is beyond " + describe(dims_));
  tensor v = *this;
  v.data_ = static_cast<std::byte const*>(data_) +
            static_cast<std::ptrdiff_t>(i) * strides_[0] * static_cast<std::ptrdiff_t>(size_of(type_));
  v.dims_.erase(v.dims_.begin());
  v.strides_.erase(v.strides_.begin());
  return v;
}

tensor tensor::slice(std::size_t axis, std::size_t first, std::size_t last) const {
  if (axis >= dims_.size() || first > last || last > dims_[axis].size)
    throw plugin_error("a slice lies outside " + describe(dims_));
  tensor v = *this;
  v.data_ = static_cast<std::byte const*>(data_) +
            static_cast<std::ptrdiff_t>(first) * strides_[axis] * static_cast<std::ptrdiff_t>(size_of(type_));
  v.dims_[axis].size = last - first;
  return v;
}

tensor tensor::transposed() const {
  if (dims_.size() < 2) throw plugin_error("only a matrix can be transposed, not " + describe(dims_));
  tensor v = *this;
  std::swap(v.dims_[dims_.size() - 2], v.dims_[dims_.size() - 1]);
  std::swap(v.strides_[dims_.size() - 2], v.strides_[dims_.size() - 1]);
  return v;
}

tensor tensor::reshaped(dims d) const {
  check_contiguous();
  check_rank(d);
  if (element_count(d) != count()) throw plugin_error("can't see " + describe(dims_) + " as " + describe(d));
  tensor v = *this;
  v.strides_ = row_major(d);
  v.dims_ = std::move(d);
  return v;
}

tensor tensor::named(std::vector<std::string> names) const {
  if (names.size() != dims_.size()) throw plugin_error(std::to_string(names.size()) + " names for " + describe(dims_));
  tensor v = *this;
  for (std::size_t i = 0; i < names.size(); ++i) v.dims_[i].name = std::move(names[i]);
  return v;
}

tensor tensor::clone() const {
  tensor out(type_, dims_);
  auto* to = static_cast<std::byte*>(const_cast<void*>(out.data_));
  std::size_t const width = size_of(type_);
  auto const* from = static_cast<std::byte const*>(data_);
  if (contiguous()) {
    if (count() != 0) std::memcpy(to, from, bytes());
    return out;
  }
  for_each_offset(dims_, strides_, [&](std::ptrdiff_t offset) {
    std::memcpy(to, from + offset * static_cast<std::ptrdiff_t>(width), width);
    to += width;
  });
  return out;
}

tensor tensor::to(wayfarer::dtype wanted) const {
  if (!defined()) return *this;
  if (type_ == wanted) return contiguous() ? *this : clone();
  tensor out(wanted, dims_);
  std::size_t i = 0;
  for_each_offset(dims_, strides_, [&](std::ptrdiff_t offset) {
    write_element(const_cast<void*>(out.data_), i++, wanted, read_element(data_, offset, type_));
  });
  return out;
}

namespace {

template <class From, class Into, class Convert>
void copy_run(void const* from, std::ptrdiff_t from_stride, void* into, std::ptrdiff_t into_stride, std::size_t n,
              Convert convert) {
  auto const* const f = static_cast<From const*>(from);
  auto* const t = static_cast<Into*>(into);
  if (from_stride == 1 && into_stride == 1) {
    for (std::size_t i = 0; i < n; ++i) t[i] = convert(f[i]);
    return;
  }
  for (std::size_t i = 0; i < n; ++i)
    t[static_cast<std::ptrdiff_t>(i) * into_stride] = convert(f[static_cast<std::ptrdiff_t>(i) * from_stride]);
}

/// Copies a run of elements that lie evenly spaced on both sides; the pairs of types that rows are made of go fast.
void copy_run(void const* from, std::ptrdiff_t from_stride, dtype from_type, void* into, std::ptrdiff_t into_stride,
              dtype into_type, std::size_t n) {
  auto const pair = [&](dtype a, dtype b) { return from_type == a && into_type == b; };
  using bits = std::uint16_t;
  if (pair(dtype::f32, dtype::f32))
    return copy_run<float, float>(from, from_stride, into, into_stride, n, [](float x) { return x; });
  if (pair(dtype::f32, dtype::f64))
    return copy_run<float, double>(from, from_stride, into, into_stride, n, [](float x) { return double(x); });
  if (pair(dtype::f64, dtype::f32))
    return copy_run<double, float>(from, from_stride, into, into_stride, n, [](double x) { return static_cast<float>(x); });
  if (pair(dtype::f64, dtype::f64))
    return copy_run<double, double>(from, from_stride, into, into_stride, n, [](double x) { return x; });
  if (pair(dtype::f32, dtype::f16)) return copy_run<float, bits>(from, from_stride, into, into_stride, n, half_of);
  if (pair(dtype::f32, dtype::bf16)) return copy_run<float, bits>(from, from_stride, into, into_stride, n, bfloat_of);
  if (pair(dtype::i64, dtype::i64))  // a double does not hold them all
    return copy_run<std::int64_t, std::int64_t>(from, from_stride, into, into_stride, n, [](std::int64_t x) { return x; });
  auto const* const f = static_cast<std::byte const*>(from);
  auto* const t = static_cast<std::byte*>(into);
  auto const f_width = static_cast<std::ptrdiff_t>(size_of(from_type)), t_width = static_cast<std::ptrdiff_t>(size_of(into_type));
  for (std::size_t k = 0; k < n; ++k) {
    auto const i = static_cast<std::ptrdiff_t>(k);
    write_element(t + i * into_stride * t_width, 0, into_type, read_element(f + i * from_stride * f_width, 0, from_type));
  }
}

}  // namespace

void copy_into(tensor const& into, tensor const& from) {
  bool const fit = std::equal(into.dims_.begin(), into.dims_.end(), from.dims_.begin(), from.dims_.end(),
                              [](dim const& a, dim const& b) { return a.size == b.size; });
  if (!fit || !into.defined() || !from.defined())
    throw plugin_error("shapes differ: " + describe(into.dims_) + " and " + describe(from.dims_));
  if (!into.writable_) throw plugin_error("a read-only view was opened for writing; clone() it first");
  if (into.contiguous() && from.contiguous())
    return copy_run(from.data_, 1, from.type_, const_cast<void*>(into.data_), 1, into.type_, into.count());
  std::size_t const rank = into.dims_.size();
  std::size_t const inner = rank == 0 ? 1 : into.dims_[rank - 1].size;
  std::ptrdiff_t const from_inner = rank == 0 ? 1 : from.strides_[rank - 1], into_inner = rank == 0 ? 1 : into.strides_[rank - 1];
  dims const outer(into.dims_.begin(), into.dims_.end() - (rank == 0 ? 0 : 1));
  std::vector<std::ptrdiff_t> targets;
  for_each_offset(outer, into.strides_, [&](std::ptrdiff_t offset) { targets.push_back(offset); });
  std::size_t run = 0;
  auto const* const f = static_cast<std::byte const*>(from.data_);
  auto* const t = static_cast<std::byte*>(const_cast<void*>(into.data_));
  for_each_offset(outer, from.strides_, [&](std::ptrdiff_t offset) {
    copy_run(f + offset * static_cast<std::ptrdiff_t>(size_of(from.type_)), from_inner, from.type_,
             t + targets[run++] * static_cast<std::ptrdiff_t>(size_of(into.type_)), into_inner, into.type_, inner);
  });
}

namespace {

template <class Op>
tensor elementwise(tensor const& a, tensor const& b, Op op) {
  tensor const x = a.to(dtype::f64), y = b.to(dtype::f64);
  bool const scalar = y.rank() == 0;
  if (!scalar && x.shape() != y.shape())
    throw plugin_error("shapes differ: " + describe(x.shape()) + " and " + describe(y.shape()));
  tensor out(dtype::f64, x.shape());
  auto const to = out.values<double>();
  auto const from = x.values<double const>(), other = y.values<double const>();
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = op(from[i], other[scalar ? 0 : i]);
  return out;
}

}  // namespace

tensor operator+(tensor const& a, tensor const& b) {
  return elementwise(a, b, std::plus<>());
}
tensor operator-(tensor const& a, tensor const& b) {
  return elementwise(a, b, std::minus<>());
}
tensor operator*(tensor const& a, tensor const& b) {
  return elementwise(a, b, std::multiplies<>());
}
tensor operator/(tensor const& a, tensor const& b) {
  return elementwise(a, b, std::divides<>());
}
tensor operator*(tensor const& a, double b) {
  return elementwise(a, tensor(b), std::multiplies<>());
}
tensor operator/(tensor const& a, double b) {
  return elementwise(a, tensor(b), std::divides<>());
}

void add_into(tensor const& into, tensor const& from) {
  if (into.shape() != from.shape())
    throw plugin_error("shapes differ: " + describe(into.shape()) + " and " + describe(from.shape()));
  auto const to = into.values<double>();
  auto const more = from.values<double const>();
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += more[i];
}

}  // namespace wayfarer
