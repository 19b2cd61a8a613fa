#include <wayfarer/backward.hpp>

#include <algorithm>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/rotary.hpp>

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

/// A gradient of a matrix [rows, columns], whose rows may lie apart; null data if it is undefined.
template <class T>
struct matrix_gradient {
  T* data = nullptr;
  std::size_t ld = 0;

  matrix_gradient(tensor const& g, std::size_t rows, std::size_t columns, char const* what) {
    bool const view = g.rank() == 2 && g.size(0) == rows && g.size(1) == columns && g.strides()[1] == 1 &&
                      g.strides()[0] >= static_cast<std::ptrdiff_t>(columns) && g.type() == dtype_of<T>();
    data = view ? g.view<T>().data() : numbers_of<T>(g, rows * columns, what);
    ld = view ? static_cast<std::size_t>(g.strides()[0]) : columns;
  }
};

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

/// c [m, n] += a^T b for a [rows, m] and b [rows, n] without gaps: block_k rows at a time, in order.
template <class T>
void add_transposed_product(matrix_gradient<T> const& c, T const* a, std::size_t m, T const* b, std::size_t n, std::size_t rows) {
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
        k.product(c.data + m0 * c.ld + n0, c.ld, turned, block_k, packed, height, columns, depth, true, {});
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
void add_linear_gradient(weight_gradient const& gradient, linear_weights const& w, char const* what, T const* x, T const* dy,
                         std::size_t count) {
  std::size_t const in = w.in(), out = w.out();
  matrix_gradient<T> const dw(gradient.w, w.in_first ? in : out, w.in_first ? out : in, what);
  T* const db = numbers_of<T>(gradient.b, out, "a bias");
  if (dw.data && w.in_first) add_transposed_product(dw, x, in, dy, out, count);
  if (dw.data && !w.in_first) add_transposed_product(dw, dy, out, x, in, count);
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

rows linear_backward(rows const& x, linear_weights const& w, rows const& dy, weight_gradient const& gradient, bool wanted) {
  check_like(x, dy, w.out(), "linear_backward");
  if (x.width() != w.in()) throw plugin_error("linear_backward: the rows are not those that the layer reads");
  rows dx = wanted ? x.like(w.in()) : rows();
  with_type(x.type(), [&]<class T>(T const*) {
    add_linear_gradient<T>(gradient, w, "a matrix", x.data<T>(), dy.data<T>(), x.count());
    if (wanted) multiply_back(dx.overwrite<T>(), dy.data<T>(), w, x.count());
  });
  return dx;
}

// ---- tables ------------------------------------------------------------------------------------------------------------------

namespace {

/// table[row_of(i)] += dx[i] times `by`; each piece of columns goes through the rows in order.
template <class T, class F>
void scatter_rows(T* table, rows const& dx, T by, F const& row_of) {
  constexpr std::size_t wide = 64;
  std::size_t const d = dx.width();
  auto const& k = kernels<T>();
  split((d + wide - 1) / wide, dx.count() * d, [&](std::size_t piece) {
    std::size_t const first = piece * wide, n = std::min(wide, d - first);
    T scaled[wide];
    for (std::size_t i = 0; i < dx.count(); ++i) {
      T* const to = table + row_of(i) * d + first;
      T const* from = dx.data<T>() + i * d + first;
      if (by != T(1)) {
        std::copy(from, from + n, scaled);
        k.scale(scaled, by, n);
        from = scaled;
      }
      k.add(to, to, from, n);
    }
  });
}

void check_table(rows const& dx, tensor const& table) {
  if (table.rank() != 2 || table.size(1) != dx.width())
    throw plugin_error("a gradient of rows of " + std::to_string(dx.width()) + " numbers does not fit a table of " +
                       describe(table.shape()));
}

}  // namespace

void embed_backward(ragged<std::int32_t> const& tokens, rows const& dx, tensor const& d_table, double scale) {
  check_table(dx, d_table);
  auto const* const ids = tokens.values.data() + tokens.offsets.front();
  if (tokens.offsets.back() - tokens.offsets.front() != dx.count())
    throw plugin_error("embed_backward: there are not as many tokens as rows");
  for (std::size_t i = 0; i < dx.count(); ++i)
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= d_table.size(0))
      throw data_error("token " + std::to_string(ids[i]) + " is outside the vocabulary of " + std::to_string(d_table.size(0)));
  with_type(dx.type(), [&]<class T>(T const*) {
    scatter_rows(numbers_of<T>(d_table, d_table.count(), "a table"), dx, static_cast<T>(scale),
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
    scatter_rows(numbers_of<T>(d_table, d_table.count(), "a table"), dx, T(1), [&](std::size_t i) { return at[i]; });
  });
}

// ---- norms and activations ---------------------------------------------------------------------------------------------------

namespace {

/// What a norm's weight multiplies by: 1 + w where the model says so.
template <class T>
std::shared_ptr<T const> weight_of(norm_weights const& weights) {
  if (!weights.w.defined()) return {};
  std::size_t const n = weights.w.count();
  auto const stored = numbers<T>(weights.w, n);
  if (!weights.plus_one) return stored;
  auto own = std::make_shared<std::vector<T>>(stored.get(), stored.get() + n);
  for (auto& v : *own) v += T(1);
  return {own, own->data()};
}

rows norm_backward(rows const& x, norm_weights const& weights, rows const& dy, weight_gradient const& gradient, bool centred) {
  check_like(x, dy, x.width(), "a norm's gradient");
  std::size_t const groups = weights.groups;
  if (groups == 0 || x.width() % groups != 0) throw plugin_error("a norm's gradient: its groups do not divide the rows");
  // Vectors of d numbers, `groups` of them a row; their weights are those of one vector, or of all of a row.
  std::size_t const d = x.width() / groups, count = x.count() * groups;
  std::size_t const n_w = weights.w.defined() && weights.w.count() != d ? x.width() : d;
  std::size_t const n_b = weights.b.defined() && weights.b.count() != d ? x.width() : d;
  rows dx = x.like(x.width());
  with_type(x.type(), [&]<class T>(T const*) {
    auto const w = weight_of<T>(weights);
    T *const dw = numbers_of<T>(gradient.w, n_w, "a norm's weight"), *const db = numbers_of<T>(gradient.b, n_b, "a norm's bias");
    auto const& k = kernels<T>();
    // Sums of pieces of rows, then of the pieces in order.
    std::size_t const tall = std::max<std::size_t>(64, 32'768 / d), pieces = (count + tall - 1) / tall, n = n_w + n_b;
    auto const memory = pooled_memory(pieces * n * sizeof(T) + 64);
    T* const parts = static_cast<T*>(memory.get());
    T* const out = dx.overwrite<T>();
    split(pieces, count * d, [&](std::size_t i) {
      T *const part = parts + i * n, *const bias = part + n_w;
      std::fill(part, part + n, T(0));
      for (std::size_t r = i * tall; r < std::min(count, (i + 1) * tall); ++r) {
        T mean, scale;
        T const* const row = x.data<T>() + r * d;
        std::size_t const at_w = n_w == d ? 0 : r % groups * d, at_b = n_b == d ? 0 : r % groups * d;
        k.norm_scale(&mean, &scale, row, d, weights.epsilon, centred);
        k.norm_backward(out + r * d, dw ? part + at_w : nullptr, db ? bias + at_b : nullptr, dy.data<T>() + r * d, row,
                        w ? w.get() + at_w : nullptr, mean, scale, d, centred);
      }
    });
    for (std::size_t i = 0; i < pieces; ++i) {
      if (dw) k.add(dw, dw, parts + i * n, n_w);
      if (db) k.add(db, db, parts + i * n + n_w, n_b);
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

rows cap_backward(rows const& y, double limit, rows dy) {
  check_like(y, dy, y.width(), "cap_backward");
  with_type(y.type(), [&]<class T>(T const*) {
    T* const p = dy.own<T>();
    T const* const made = y.data<T>();
    auto const by = static_cast<T>(1 / (limit * limit));
    in_chunks(y.count() * y.width(), [&](std::size_t first, std::size_t n) {
      for (std::size_t i = first; i < first + n; ++i) p[i] *= T(1) - made[i] * made[i] * by;
    });
  });
  return dy;
}

rows rotate_backward(rows dy, std::size_t heads, rows const& angles, bool pairs) {
  rows back = angles;
  with_type(angles.type(), [&]<class T>(T const*) {
    T* const p = back.own<T>();
    std::size_t const turned = back.width(), n = turned / 2;
    for (std::size_t i = 0; i < back.count(); ++i)
      for (std::size_t j = n; j < turned; ++j) p[i * turned + j] = -p[i * turned + j];
  });
  return rotate(std::move(dy), heads, back, pairs);
}

// ---- cross-entropy -----------------------------------------------------------------------------------------------------------

namespace {

/// How many targets count. Throws data_error for one outside the vocabulary.
std::size_t count_targets(std::span<std::int32_t const> targets, std::size_t vocabulary) {
  std::size_t count = 0;
  for (auto const t : targets) {
    if (t >= 0 && static_cast<std::size_t>(t) >= vocabulary)
      throw data_error("target " + std::to_string(t) + " is outside the vocabulary of " + std::to_string(vocabulary));
    count += t >= 0;
  }
  return count;
}

/// The losses of rows of logits [count, v], which become their gradients.
template <class T>
void losses_of(double* losses, T* logits, std::size_t count, std::size_t v, std::int32_t const* targets, T weight,
               logit_head const& head) {
  auto const& k = kernels<T>();
  auto const by = head.cap > 0 ? static_cast<T>(1 / (head.cap * head.cap)) : T(0);
  in_row_chunks(count, v, [&](std::size_t i0, std::size_t n) {
    T* const capped = head.cap > 0 ? scratch<T>(v, 0) : nullptr;
    for (std::size_t i = i0; i < i0 + n; ++i) {
      T* const row = logits + i * v;
      if (targets[i] < 0) {
        std::fill(row, row + v, T(0));
        continue;
      }
      if (head.scale != 1) k.scale(row, static_cast<T>(head.scale), v);
      if (head.cap > 0) {
        k.cap(row, static_cast<T>(head.cap), v);
        std::copy(row, row + v, capped);
      }
      losses[i] = k.cross_entropy(row, v, static_cast<std::size_t>(targets[i]), weight);
      for (std::size_t j = 0; capped && j < v; ++j) row[j] *= T(1) - capped[j] * capped[j] * by;
      if (head.scale != 1) k.scale(row, static_cast<T>(head.scale), v);
    }
  });
}

}  // namespace

cross_entropy_result cross_entropy(rows const& x, logit_head const& head, std::span<std::int32_t const> targets, double weight,
                                   weight_gradient const& gradient, bool backward) {
  linear_weights const& w = head.weights;
  std::size_t const n = x.count(), d = x.width(), v = w.out();
  if (w.in() != d || targets.size() != n)
    throw plugin_error("cross_entropy: " + std::to_string(n) + " rows of " + std::to_string(d) + " numbers, " +
                       std::to_string(targets.size()) + " targets and a head that reads " + std::to_string(w.in()) +
                       " do not fit");
  cross_entropy_result out;
  out.count = count_targets(targets, v);
  if (backward) out.dx = x.like(d);
  with_type(x.type(), [&]<class T>(T const*) {
    T* const dx = backward ? out.dx.overwrite<T>() : nullptr;
    auto const bias = w.b.defined() ? numbers<T>(w.b, v) : std::shared_ptr<T const>();
    // Some 4 MB of logits at a time, which stay in the cache until their gradients are made; in whole blocks of the products.
    std::size_t const tall = std::clamp<std::size_t>((std::size_t{4} << 20) / sizeof(T) / v / block_k, 1, 16) * block_k;
    auto const memory = pooled_memory(std::min(n, tall) * v * sizeof(T) + 64);
    T* const logits = static_cast<T*>(memory.get());
    out.losses.assign(n, 0);
    for (std::size_t first = 0; first < n; first += tall) {
      std::size_t const some = std::min(tall, n - first);
      T const* const from = x.data<T>() + first * d;
      multiply<T>({logits, v, from, d, matrix_of(w.w, w.in_first), some, v, d, bias.get(), layer_kernels::act::identity});
      losses_of(out.losses.data() + first, logits, some, v, targets.data() + first, static_cast<T>(weight), head);
      if (!backward) continue;
      add_linear_gradient<T>(gradient, w, "a head", from, logits, some);
      multiply_back(dx + first * d, logits, w, some);
    }
    for (double const one : out.losses) out.loss += one;
  });
  return out;
}

cross_entropy_result cross_entropy(rows logits, std::span<std::int32_t const> targets, double weight) {
  if (targets.size() != logits.count())
    throw plugin_error("cross_entropy: " + std::to_string(logits.count()) + " rows of logits and " +
                       std::to_string(targets.size()) + " targets");
  cross_entropy_result out;
  out.count = count_targets(targets, logits.width());
  with_type(logits.type(), [&]<class T>(T const*) {
    out.losses.assign(logits.count(), 0);
    losses_of(out.losses.data(), logits.own<T>(), logits.count(), logits.width(), targets.data(), static_cast<T>(weight), {});
    for (double const one : out.losses) out.loss += one;
  });
  out.dx = std::move(logits);
  return out;
}

}  // namespace wayfarer
