#include "norm_steps.hpp"

#include <memory>
#include <vector>

#include <wayfarer/tape.hpp>

#include "common.hpp"
#include "products.hpp"

namespace wayfarer {

using layer_kernels::kernels;

namespace {

/// body(vector) for each of the vectors of d numbers that the rows are made of.
template <class F>
void for_each_vector(std::size_t count, std::size_t d, F const& body) {
  in_row_chunks(count, d, [&](std::size_t first, std::size_t n) {
    for (std::size_t i = first; i < first + n; ++i) body(i);
  });
}

/// ds / dx_j = (x_j - mean) / (d s).
rows scale_backward(rows const& x, rows const& d_scale, double epsilon, bool centred) {
  rows dx = x.like(x.width());
  std::size_t const groups = d_scale.width(), d = x.width() / groups;
  with_type(x.type(), [&]<class T>(T const*) {
    T* const out = dx.overwrite<T>();
    for_each_vector(x.count() * groups, d, [&](std::size_t i) {
      T mean, scale;
      T const* const from = x.data<T>() + i * d;
      kernels<T>().norm_scale(&mean, &scale, from, d, epsilon, centred);
      T const by = d_scale.data<T>()[i] / (scale * static_cast<T>(d));
      for (std::size_t j = 0; j < d; ++j) out[i * d + j] = by * (from[j] - mean);
    });
  });
  return dx;
}

/// u = (x - mean) / s: dx = (du - mean of du) / s, ds = -(sum of du u) / s.
void normalize_backward(step_gradients& g, rows const& x, rows const& scale, rows const& means, bool centred) {
  rows const du = g.take();
  rows dx = x.like(x.width()), ds = x.like(scale.width());
  std::size_t const groups = scale.width(), d = x.width() / groups;
  with_type(x.type(), [&]<class T>(T const*) {
    T *const out = dx.overwrite<T>(), *const sums = ds.overwrite<T>();
    for_each_vector(x.count() * groups, d, [&](std::size_t i) {
      T const *const row = x.data<T>() + i * d, *const by = du.data<T>() + i * d;
      T const s = scale.data<T>()[i], mean = means.data<T>()[i];
      T sum = 0, along = 0;
      for (std::size_t j = 0; j < d; ++j) sum += by[j], along += by[j] * ((row[j] - mean) / s);
      T const average = centred ? sum / static_cast<T>(d) : T(0);
      for (std::size_t j = 0; j < d; ++j) out[i * d + j] = (by[j] - average) / s;
      sums[i] = -along / s;
    });
  });
  g.add(0, std::move(dx));
  g.add(1, std::move(ds));
}

/// sum[i % n] += a[i] b[i] for numbers i of all rows in order; b null: 1.
template <class T>
void add_over_rows(tensor const& to, T const* a, T const* b, std::size_t count, std::size_t width) {
  if (!to.defined()) return;
  auto const sum = to.values<T>();
  std::size_t const n = sum.size();
  for (std::size_t row = 0; row < count; ++row)
    for (std::size_t j = 0; j < width; ++j) sum[j % n] += b ? a[row * width + j] * b[row * width + j] : a[row * width + j];
}

/// y = u w + b.
void affine_backward(step_gradients& g, rows const& u, norm_weights const& weights) {
  rows dy = g.take();
  with_type(u.type(), [&]<class T>(T const*) {
    add_over_rows<T>(g.weight(weights.w), dy.data<T>(), u.data<T>(), u.count(), u.width());
    add_over_rows<T>(g.weight(weights.b), dy.data<T>(), nullptr, u.count(), u.width());
    if (!weights.w.defined() || !g.wanted()) return;
    std::size_t const n = weights.w.count();
    auto const w = numbers<T>(weights.w, n);
    T const one = weights.plus_one ? T(1) : T(0);
    T* const p = dy.own<T>();
    for_each_vector(u.count(), u.width(), [&](std::size_t i) {
      for (std::size_t j = 0; j < u.width(); ++j) p[i * u.width() + j] *= w.get()[j % n] + one;
    });
  });
  g.add(0, std::move(dy));
}

}  // namespace

void add_scale_step(rows& scale, rows const& x, norm_weights const& weights, bool centred) {
  if (tape* const on = tape::following("norm", {x.recorded()}))
    on->add("norm", {x.recorded()}, {&scale}, [x = x.bare(), epsilon = weights.epsilon, centred](step_gradients& g) {
      g.add(0, scale_backward(x, g.take(), epsilon, centred));
    });
}

void add_normalize_step(rows& normalized, rows const& x, rows const& scale, rows const& means, bool centred) {
  if (tape* const on = tape::following("norm", {x.recorded(), scale.recorded()}))
    on->add("norm", {x.recorded(), scale.recorded()}, {&normalized},
            [x = x.bare(), scale = scale.bare(), means = means.bare(), centred](step_gradients& g) {
              normalize_backward(g, x, scale, means, centred);
            });
}

void add_affine_step(rows& out, rows const& normalized, norm_weights const& weights) {
  if (tape* const on = tape::following("norm", {normalized.recorded()}, {&weights.w, &weights.b}))
    on->add("norm", {normalized.recorded()}, {&out},
            [u = normalized.bare(), weights](step_gradients& g) { affine_backward(g, u, weights); });
}

}  // namespace wayfarer
