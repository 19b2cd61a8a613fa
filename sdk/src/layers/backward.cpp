#include <wayfarer/backward.hpp>

#include <algorithm>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>

#include "common.hpp"
#include "products.hpp"

namespace wayfarer {

using layer_kernels::block_k;
using layer_kernels::kernels;
using layer_kernels::matrix;

namespace {

/// The numbers of a gradient, which must be as many as the weight's; null if it is undefined.
template <class T>
T* numbers_of(tensor const& gradient, std::size_t count, char const* what) {
  if (!gradient.defined()) return nullptr;
  if (gradient.count() != count || !gradient.contiguous() || gradient.type() != dtype_of<T>())
    throw plugin_error(std::string("the gradient of ") + what + " must be contiguous, " + std::string(name_of(dtype_of<T>())) +
                       " and hold " + std::to_string(count) + " numbers, unlike this " + describe(gradient.shape()));
  return gradient.view<T>().data();
}

void check_like(rows const& a, rows const& b, std::size_t width, char const* what) {
  if (b.width() != width || a.count() != b.count() || a.type() != b.type())
    throw plugin_error(std::string(what) + ": a gradient of " + std::to_string(b.count()) + " rows of " +
                       std::to_string(b.width()) + " numbers does not fit " + std::to_string(a.count()) + " rows that made " +
                       std::to_string(width));
}

template <class T>
matrix plain(T const* data, std::size_t ld, bool in_first) {
  return {data, number_of(dtype_of<T>()), ld, in_first};
}

/// c [m, n] += a^T b for a [rows, m] and b [rows, n], all without gaps: block_k rows at a time, in order.
template <class T>
void add_transposed_product(T* c, T const* a, std::size_t m, T const* b, std::size_t n, std::size_t rows) {
  if (rows == 0) return;
  auto const& k = kernels<T>();
  std::size_t const P = k.panel, panels = (n + P - 1) / P;
  // How the result is cut changes no element of it.
  std::size_t cuts_m = (m + 239) / 240, cuts_n = 1;
  while (cuts_m * cuts_n < 4 * concurrency()) {
    if (panels / cuts_n > 3)
      cuts_n *= 2;
    else if (m / cuts_m > 64)
      cuts_m *= 2;
    else
      break;
  }
  std::size_t const tall = ((m + cuts_m - 1) / cuts_m + k.row_tile - 1) / k.row_tile * k.row_tile;
  std::size_t const wide = (panels + cuts_n - 1) / cuts_n * P;
  std::size_t const down = (m + tall - 1) / tall, across = (n + wide - 1) / wide;
  split(down * across, m * n * rows, [&](std::size_t i) {
    std::size_t const m0 = i / across * tall, height = std::min(tall, m - m0), first = i % across * wide,
                      last = std::min(n, first + wide);
    T* const turned = scratch<T>(tall * block_k + block_k * P, 0);
    T* const packed = turned + tall * block_k;
    for (std::size_t k0 = 0; k0 < rows; k0 += block_k) {
      std::size_t const depth = std::min(block_k, rows - k0);
      k.transpose(turned, block_k, a + k0 * m + m0, m, depth, height);
      for (std::size_t n0 = first; n0 < last; n0 += P) {
        std::size_t const columns = std::min(P, n - n0);
        k.pack(packed, plain(b, n, true), k0, depth, n0, columns);
        k.product(c + m0 * n + n0, n, turned, block_k, packed, height, columns, depth, true, {});
      }
    }
  });
}

/// sum [n] += the rows of x [rows, n]: pieces of 256 rows, then the pieces in order.
template <class T>
void add_row_sums(T* sum, T const* x, std::size_t rows, std::size_t n) {
  constexpr std::size_t tall = 256;
  auto const& k = kernels<T>();
  std::size_t const pieces = (rows + tall - 1) / tall;
  auto const memory = pooled_memory(pieces * n * sizeof(T) + 64);
  T* const parts = static_cast<T*>(memory.get());
  split(pieces, rows * n, [&](std::size_t i) {
    T* const part = parts + i * n;
    std::fill(part, part + n, T(0));
    for (std::size_t r = i * tall; r < std::min(rows, (i + 1) * tall); ++r) k.add(part, part, x + r * n, n);
  });
  for (std::size_t i = 0; i < pieces; ++i) k.add(sum, sum, parts + i * n, n);
}

/// Gradients of W and b for inputs x [count, in] and gradients dy [count, out].
template <class T>
void add_linear_gradient(T* dw, T* db, bool in_first, T const* x, std::size_t in, T const* dy, std::size_t out,
                         std::size_t count) {
  if (dw && in_first) add_transposed_product(dw, x, in, dy, out, count);
  if (dw && !in_first) add_transposed_product(dw, dy, out, x, in, count);
  if (db) add_row_sums(db, dy, count, out);
}

/// out = dy W^T.
template <class T>
void multiply_back(T* out, T const* dy, linear_weights const& w, std::size_t count) {
  matrix turned = matrix_of(w.w, w.in_first);
  turned.in_first = !turned.in_first;
  multiply<T>({out, w.in(), dy, w.out(), turned, count, w.in(), w.out(), nullptr, layer_kernels::act::identity});
}

}  // namespace

rows linear_backward(rows const& x, linear_weights const& w, rows const& dy, weight_gradient const& gradient) {
  check_like(x, dy, w.out(), "linear_backward");
  if (x.width() != w.in()) throw plugin_error("linear_backward: the rows are not those that the layer reads");
  rows dx = x.like(w.in());
  with_type(x.type(), [&]<class T>(T const*) {
    add_linear_gradient<T>(numbers_of<T>(gradient.w, w.in() * w.out(), "a matrix"), numbers_of<T>(gradient.b, w.out(), "a bias"),
                           w.in_first, x.data<T>(), w.in(), dy.data<T>(), w.out(), x.count());
    multiply_back(dx.overwrite<T>(), dy.data<T>(), w, x.count());
  });
  return dx;
}

// ---- tables ------------------------------------------------------------------------------------------------------------------

namespace {

/// table[row_of(i)] += dx[i]; each piece of columns goes through the rows in order.
template <class T, class F>
void scatter_rows(T* table, rows const& dx, F const& row_of) {
  constexpr std::size_t wide = 64;
  std::size_t const d = dx.width();
  auto const& k = kernels<T>();
  split((d + wide - 1) / wide, dx.count() * d, [&](std::size_t piece) {
    std::size_t const first = piece * wide, n = std::min(wide, d - first);
    for (std::size_t i = 0; i < dx.count(); ++i) {
      T* const to = table + row_of(i) * d + first;
      k.add(to, to, dx.data<T>() + i * d + first, n);
    }
  });
}

void check_table(rows const& dx, tensor const& table) {
  if (table.rank() != 2 || table.size(1) != dx.width())
    throw plugin_error("a gradient of rows of " + std::to_string(dx.width()) + " numbers does not fit a table of " +
                       describe(table.shape()));
}

}  // namespace

void embed_backward(ragged<std::int32_t> const& tokens, rows const& dx, tensor const& d_table) {
  check_table(dx, d_table);
  auto const* const ids = tokens.values.data() + tokens.offsets.front();
  if (tokens.offsets.back() - tokens.offsets.front() != dx.count())
    throw plugin_error("embed_backward: there are not as many tokens as rows");
  for (std::size_t i = 0; i < dx.count(); ++i)
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= d_table.size(0))
      throw data_error("token " + std::to_string(ids[i]) + " is outside the vocabulary of " + std::to_string(d_table.size(0)));
  with_type(dx.type(), [&]<class T>(T const*) {
    scatter_rows(numbers_of<T>(d_table, d_table.count(), "a table"), dx,
                 [&](std::size_t i) { return static_cast<std::size_t>(ids[i]); });
  });
}

void embed_positions_backward(rows const& dx, tensor const& d_table, std::size_t offset) {
  check_table(dx, d_table);
  auto const& of = dx.packing();
  std::vector<std::size_t> at(dx.count());
  for (std::size_t item = 0; item < of.items(); ++item)
    for (std::size_t i = 0; i < of.length(item); ++i) {
      at[of.offsets[item] + i] = of.first_position[item] + offset + i;
      if (at[of.offsets[item] + i] >= d_table.size(0))
        throw data_error("item " + std::to_string(item) + " reaches beyond the " + std::to_string(d_table.size(0)) +
                         " positions");
    }
  with_type(dx.type(), [&]<class T>(T const*) {
    scatter_rows(numbers_of<T>(d_table, d_table.count(), "a table"), dx, [&](std::size_t i) { return at[i]; });
  });
}

// ---- norms and activations ---------------------------------------------------------------------------------------------------

namespace {

rows norm_backward(rows const& x, norm_weights const& weights, rows const& dy, weight_gradient const& gradient, bool centred) {
  if (weights.plus_one || weights.groups != 1)
    throw plugin_error("a norm's backward pass knows no weights plus one and no groups");
  check_like(x, dy, x.width(), "a norm's gradient");
  std::size_t const d = x.width();
  rows dx = x.like(d);
  with_type(x.type(), [&]<class T>(T const*) {
    auto const w = weights.w.defined() ? numbers<T>(weights.w, d) : std::shared_ptr<T const>();
    T *const dw = numbers_of<T>(gradient.w, d, "a norm's weight"), *const db = numbers_of<T>(gradient.b, d, "a norm's bias");
    auto const& k = kernels<T>();
    // Sums of pieces of rows, then of the pieces in order.
    std::size_t const tall = std::max<std::size_t>(64, 32'768 / d), pieces = (x.count() + tall - 1) / tall;
    auto const memory = pooled_memory(2 * pieces * d * sizeof(T) + 64);
    T* const parts = static_cast<T*>(memory.get());
    T* const out = dx.overwrite<T>();
    split(pieces, x.count() * d, [&](std::size_t i) {
      T *const part = parts + 2 * i * d, *const bias = part + d;
      std::fill(part, part + 2 * d, T(0));
      for (std::size_t r = i * tall; r < std::min(x.count(), (i + 1) * tall); ++r) {
        T mean, scale;
        T const* const row = x.data<T>() + r * d;
        k.norm_scale(&mean, &scale, row, d, weights.epsilon, centred);
        k.norm_backward(out + r * d, dw ? part : nullptr, db ? bias : nullptr, dy.data<T>() + r * d, row, w.get(), mean, scale, d,
                        centred);
      }
    });
    for (std::size_t i = 0; i < pieces; ++i) {
      if (dw) k.add(dw, dw, parts + 2 * i * d, d);
      if (db) k.add(db, db, parts + 2 * i * d + d, d);
    }
  });
  return dx;
}

}  // namespace

rows layer_norm_backward(rows const& x, norm_weights const& w, rows const& dy, weight_gradient const& gradient) {
  return norm_backward(x, w, dy, gradient, true);
}
rows rms_norm_backward(rows const& x, norm_weights const& w, rows const& dy, weight_gradient const& gradient) {
  return norm_backward(x, w, dy, gradient, false);
}

rows activate_backward(rows const& x, activation a, rows dy) {
  check_like(x, dy, x.width(), "activate_backward");
  with_type(x.type(), [&]<class T>(T const*) {
    T* const p = dy.own<T>();
    in_chunks(x.count() * x.width(), [&](std::size_t first, std::size_t n) {
      kernels<T>().activate_backward(act_of(a), p + first, x.data<T>() + first, n);
    });
  });
  return dy;
}

// ---- cross-entropy -----------------------------------------------------------------------------------------------------------

cross_entropy_result cross_entropy(rows const& x, linear_weights const& head, std::span<std::int32_t const> targets,
                                   double weight, weight_gradient const& gradient, bool backward) {
  std::size_t const n = x.count(), d = x.width(), v = head.out();
  if (head.in() != d || targets.size() != n)
    throw plugin_error("cross_entropy: " + std::to_string(n) + " rows of " + std::to_string(d) + " numbers, " +
                       std::to_string(targets.size()) + " targets and a head that reads " + std::to_string(head.in()) +
                       " do not fit");
  cross_entropy_result out;
  for (auto const t : targets) {
    if (t >= 0 && static_cast<std::size_t>(t) >= v)
      throw data_error("target " + std::to_string(t) + " is outside the vocabulary of " + std::to_string(v));
    out.count += t >= 0;
  }
  if (backward) out.dx = x.like(d);
  with_type(x.type(), [&]<class T>(T const*) {
    auto const& k = kernels<T>();
    T* const dx = backward ? out.dx.overwrite<T>() : nullptr;
    T *const dw = numbers_of<T>(gradient.w, d * v, "a head"), *const db = numbers_of<T>(gradient.b, v, "a head's bias");
    auto const bias = head.b.defined() ? numbers<T>(head.b, v) : std::shared_ptr<T const>();
    // Some 4 MB of logits at a time, which stay in the cache until their gradients are made; in whole blocks of the products.
    std::size_t const tall = std::clamp<std::size_t>((std::size_t{4} << 20) / sizeof(T) / v / block_k, 1, 16) * block_k;
    auto const memory = pooled_memory(std::min(n, tall) * v * sizeof(T) + 64);
    T* const logits = static_cast<T*>(memory.get());
    std::vector<double> losses(n);
    for (std::size_t first = 0; first < n; first += tall) {
      std::size_t const some = std::min(tall, n - first);
      T const* const from = x.data<T>() + first * d;
      multiply<T>({logits, v, from, d, matrix_of(head.w, head.in_first), some, v, d, bias.get(), layer_kernels::act::identity});
      in_row_chunks(some, v, [&](std::size_t i0, std::size_t count) {
        for (std::size_t i = i0; i < i0 + count; ++i) {
          T* const row = logits + i * v;
          if (auto const t = targets[first + i]; t >= 0)
            losses[first + i] = k.cross_entropy(row, v, static_cast<std::size_t>(t), static_cast<T>(weight));
          else
            std::fill(row, row + v, T(0));
        }
      });
      if (!backward) continue;
      add_linear_gradient<T>(dw, db, head.in_first, from, d, logits, v, some);
      multiply_back(dx + first * d, logits, head, some);
    }
    for (double const one : losses) out.loss += one;
  });
  return out;
}

}  // namespace wayfarer
