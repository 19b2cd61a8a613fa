#include <wayfarer/ops.hpp>

#include <algorithm>
#include <cmath>

// Threads are oneTBB's, not OpenMP's.
#define EIGEN_DONT_PARALLELIZE
#include <dnnl.h>
#include <omp.h>
#include <Eigen/Core>

#include <wayfarer/error.hpp>
#include <wayfarer/instruction_set.hpp>

namespace wayfarer {
namespace {

template <class T>
double dot_of(std::span<T const> a, std::span<T const> b) noexcept {
  // Four running sums, added in a fixed order: exact enough in double and free of the latency of one chain.
  double s[4] = {};
  std::size_t const n = std::min(a.size(), b.size());
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (std::size_t j = 0; j < 4; ++j) s[j] += static_cast<double>(a[i + j]) * static_cast<double>(b[i + j]);
  for (; i < n; ++i) s[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return (s[0] + s[1]) + (s[2] + s[3]);
}

template <class T>
double cosine_of(std::span<T const> a, std::span<T const> b) noexcept {
  double const n = std::sqrt(dot_of(a, a)) * std::sqrt(dot_of(b, b));
  return n > 0 ? dot_of(a, b) / n : 0;
}

/// oneDNN chooses instructions itself; it must not go beyond the set that all kernels use. Before its first product.
bool limit_onednn() {
#if defined(__x86_64__)
  switch (best_instruction_set()) {
    case instruction_set::avx512:
      return true;
    case instruction_set::avx2:
      return dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2) == dnnl_success;
    case instruction_set::baseline:
      break;
  }
  return dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41) == dnnl_success;
#else
  return true;
#endif
}

/// Whether value a at index i comes before value b at index j.
template <class T>
bool before(T a, std::size_t i, T b, std::size_t j) noexcept {
  return a > b || (a == b && i < j);
}

template <class T>
std::vector<std::int32_t> top_k_of(std::span<T const> values, std::size_t k) {
  std::vector<std::int32_t> best;  // a heap whose front is the last of those kept
  k = std::min(k, values.size());
  if (k == 0) return best;
  auto const at = [&](std::int32_t i) { return values[static_cast<std::size_t>(i)]; };
  auto const first = [&](std::int32_t i, std::int32_t j) {
    return before(at(i), static_cast<std::size_t>(i), at(j), static_cast<std::size_t>(j));
  };
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    if (best.size() == k) {
      if (!(values[i] > at(best.front()))) continue;
      std::pop_heap(best.begin(), best.end(), first);
      best.pop_back();
    }
    best.push_back(static_cast<std::int32_t>(i));
    std::push_heap(best.begin(), best.end(), first);
  }
  std::sort(best.begin(), best.end(), first);
  return best;
}

template <class T>
std::size_t rank_in(std::span<T const> values, std::size_t index) {
  std::size_t rank = 0;
  for (std::size_t i = 0; i < values.size(); ++i) rank += before(values[i], i, values[index], index) ? 1 : 0;
  return rank;
}

struct operand {
  tensor t;
  bool transposed;
  std::ptrdiff_t leading;
};

/// A matrix as the library can read it: rows or columns contiguous; anything else is copied.
operand prepare(tensor const& m, dtype type) {
  tensor t = m.type() == type ? m : m.to(type);
  if (t.strides()[1] != 1 && t.strides()[0] != 1 && t.count() > 1) t = t.clone();
  bool const rows = t.strides()[1] == 1 || t.size(1) <= 1;
  std::ptrdiff_t const least = static_cast<std::ptrdiff_t>(std::max<std::size_t>(1, rows ? t.size(1) : t.size(0)));
  std::ptrdiff_t const leading = rows ? t.strides()[0] : t.strides()[1];
  if (leading < least) {  // a dimension of one element may carry any stride
    t = t.clone();
    return {t, false, std::max<std::ptrdiff_t>(1, static_cast<std::ptrdiff_t>(t.size(1)))};
  }
  return {t, !rows, leading};
}

}  // namespace

double dot(std::span<float const> a, std::span<float const> b) noexcept {
  return dot_of(a, b);
}
double dot(std::span<double const> a, std::span<double const> b) noexcept {
  return dot_of(a, b);
}
double cosine(std::span<float const> a, std::span<float const> b) noexcept {
  return cosine_of(a, b);
}
double cosine(std::span<double const> a, std::span<double const> b) noexcept {
  return cosine_of(a, b);
}

tensor matmul(tensor const& a, tensor const& b) {
  if (a.rank() != 2 || b.rank() != 2 || a.size(1) != b.size(0))
    throw plugin_error("can't multiply " + describe(a.shape()) + " by " + describe(b.shape()));
  dtype const type = a.type() == dtype::f64 || b.type() == dtype::f64 ? dtype::f64 : dtype::f32;
  operand const x = prepare(a, type), y = prepare(b, type);
  tensor out(type, {a.shape()[0], b.shape()[1]});
  auto const m = static_cast<std::ptrdiff_t>(a.size(0)), n = static_cast<std::ptrdiff_t>(b.size(1)),
             k = static_cast<std::ptrdiff_t>(a.size(1));
  if (m == 0 || n == 0 || k == 0) return out;
  if (type == dtype::f32) {
    // Debian's oneDNN brings its own OpenMP threads; ours are oneTBB's, so each of them calls it single-threaded.
    thread_local bool const single = (omp_set_num_threads(1), true);
    static bool const limited = limit_onednn();
    static_cast<void>(single), static_cast<void>(limited);
    dnnl_status_t const s =
        dnnl_sgemm(x.transposed ? 'T' : 'N', y.transposed ? 'T' : 'N', m, n, k, 1.0f, x.t.view<float const>().data(), x.leading,
                   y.t.view<float const>().data(), y.leading, 0.0f, out.view<float>().data(), n);
    if (s != dnnl_success)
      throw plugin_error("oneDNN refused a product of " + describe(a.shape()) + " and " + describe(b.shape()));
    return out;
  }
  using matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using strides = Eigen::OuterStride<>;
  auto map = [](operand const& o) {
    auto const r = static_cast<Eigen::Index>(o.t.size(o.transposed ? 1 : 0)),
               c = static_cast<Eigen::Index>(o.t.size(o.transposed ? 0 : 1));
    return Eigen::Map<matrix const, 0, strides>(o.t.view<double const>().data(), r, c, strides(o.leading));
  };
  Eigen::Map<matrix> result(out.view<double>().data(), m, n);
  if (x.transposed && y.transposed)
    result.noalias() = map(x).transpose() * map(y).transpose();
  else if (x.transposed)
    result.noalias() = map(x).transpose() * map(y);
  else if (y.transposed)
    result.noalias() = map(x) * map(y).transpose();
  else
    result.noalias() = map(x) * map(y);
  return out;
}

tensor gram(tensor const& a) {
  return matmul(a, a.transposed());
}

std::vector<std::int32_t> top_k(std::span<float const> values, std::size_t k) {
  return top_k_of(values, k);
}
std::vector<std::int32_t> top_k(std::span<double const> values, std::size_t k) {
  return top_k_of(values, k);
}
std::size_t rank_of(std::span<float const> values, std::size_t index) {
  return rank_in(values, index);
}
std::size_t rank_of(std::span<double const> values, std::size_t index) {
  return rank_in(values, index);
}

double moments::standard_error() const noexcept {
  return count > 1 ? deviation / std::sqrt(count) : 0;
}

moments moments_of(std::span<double const> values) noexcept {
  moments m;
  m.count = static_cast<double>(values.size());
  if (values.empty()) return m;
  double sum = 0;
  m.minimum = m.maximum = values[0];
  for (double v : values) sum += v, m.minimum = std::min(m.minimum, v), m.maximum = std::max(m.maximum, v);
  m.mean = sum / m.count;
  double squares = 0;
  for (double v : values) squares += (v - m.mean) * (v - m.mean);
  m.deviation = values.size() > 1 ? std::sqrt(squares / (m.count - 1)) : 0;
  return m;
}

}  // namespace wayfarer
