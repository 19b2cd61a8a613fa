#include "products.hpp"

#include <algorithm>
#include <string>

#include <wayfarer/error.hpp>

#include "common.hpp"
#include "packing.hpp"

namespace wayfarer {

using layer_kernels::block_k;
using layer_kernels::kernels;
using layer_kernels::matrix;

matrix matrix_of(tensor const& w, bool in_first) {
  if (w.rank() != 2 || (w.strides()[1] != 1 && w.size(1) > 1))
    throw plugin_error("a weight matrix has contiguous rows, unlike this " + describe(w.shape()));
  return {w.raw(), number_of(w.type()), static_cast<std::size_t>(w.strides()[0]), in_first};
}

template <class T>
std::shared_ptr<T const> numbers(tensor const& t, std::size_t n) {
  if (t.rank() != 1 || t.size(0) != n)
    throw plugin_error("a vector of " + std::to_string(n) + " numbers was expected, not " + describe(t.shape()));
  auto own = std::make_shared<tensor const>(t.to(dtype_of<T>()));
  return {own, own->template view<T const>().data()};
}
template std::shared_ptr<float const> numbers<float>(tensor const&, std::size_t);
template std::shared_ptr<double const> numbers<double>(tensor const&, std::size_t);

namespace {

template <class T>
void finish(product_job<T> const& j, std::size_t row0, std::size_t rows, std::size_t column0, std::size_t columns) {
  auto const& k = kernels<T>();
  for (std::size_t r = row0; r < row0 + rows; ++r) {
    T* const c = j.c + r * j.ld_c + column0;
    if (j.bias) k.add(c, c, j.bias + column0, columns);
    if (j.act != layer_kernels::act::identity) k.activate(j.act, c, columns);
  }
}

/// So few rows that memory is the limit: the weights are read once, as they lie.
template <class T>
constexpr std::size_t few = sizeof(T) == 4 ? 8 : 1;

/// For more rows packing costs a few hundredths of the product, which are not worth the memory.
constexpr std::size_t most_from_kept = 128;

template <class T>
void multiply_few(product_job<T> const& j) {
  auto const& k = kernels<T>();
  // Enough pieces for all threads, of whole vectors, of which few_rows takes two at once; rows of weights that lie side by side
  // are read in long stretches.
  std::size_t const most = j.w.in_first ? 512 : 128, share = j.n / (4 * concurrency()) / 64 * 64;
  std::size_t const wide = std::clamp<std::size_t>(share, 64, most), chunks = (j.n + wide - 1) / wide;
  split(chunks, j.m * j.n * j.k, [&](std::size_t i) {
    std::size_t const n0 = i * wide, n = std::min(wide, j.n - n0);
    k.few_rows(j.c + n0, j.ld_c, j.a, j.ld_a, j.w, j.m, j.k, n0, n, scratch<T>(j.m * (n + 16), 0));
    finish(j, 0, j.m, n0, n);
  });
}

/// What one thread is likely to pack after this part of w.
layer_kernels::ahead after(matrix const& w, std::size_t k0, std::size_t deep, std::size_t all_k, std::size_t n0,
                           std::size_t width, std::size_t all_n) {
  k0 += deep;
  if (k0 >= all_k) k0 = 0, n0 += width;
  if (n0 >= all_n) return {};
  return layer_kernels::ahead::of(w, bytes_of(w.type), k0, std::min(deep, all_k - k0), n0, std::min(width, all_n - n0));
}

/// How many rows one piece takes: all, unless that leaves threads without work.
std::size_t rows_of_piece(std::size_t m, std::size_t panels, std::size_t tile) {
  std::size_t const wanted = 4 * concurrency();
  if (panels >= wanted) return m;
  std::size_t const pieces = (wanted + panels - 1) / panels, n = std::max<std::size_t>(8 * tile, (m + pieces - 1) / pieces);
  return (n + tile - 1) / tile * tile;
}

/// Multiplies by panels that are kept, one after the other.
void multiply_kept(product_job<float> const& j, std::byte const* panels) {
  auto const& kernel = kernels<float>();
  std::size_t const width = kernel.panel, count = (j.n + width - 1) / width, size = bytes_of(j.w.type);
  std::size_t const tall = rows_of_piece(j.m, count, kernel.row_tile), pieces = (j.m + tall - 1) / tall;
  split(count * pieces, j.m * j.n * j.k, [&](std::size_t i) {
    std::size_t const panel = i / pieces, n0 = panel * width, n = std::min(width, j.n - n0);
    std::size_t const m0 = i % pieces * tall, m = std::min(tall, j.m - m0);
    float* const converted = j.w.type == layer_kernels::number::f32 ? nullptr : scratch<float>(block_k * width, 0);
    for (std::size_t k0 = 0; k0 < j.k; k0 += block_k) {
      std::size_t const k = std::min(block_k, j.k - k0), at = (panel * j.k + k0) * width, end = at + k * width;
      auto const* const here = panels + at * size;
      if (converted) kernel.convert(converted, here, j.w.type, k * width);
      std::size_t const lines = std::min(block_k * width, count * j.k * width - end) * size / layer_kernels::cache_line;
      layer_kernels::ahead const next{reinterpret_cast<char const*>(panels + end * size), lines ? 1u : 0u, lines, 0, lines};
      kernel.product(j.c + m0 * j.ld_c + n0, j.ld_c, j.a + m0 * j.ld_a + k0, j.ld_a,
                     converted ? converted : reinterpret_cast<float const*>(here), m, n, k, k0 > 0, next);
    }
    finish(j, m0, m, n0, n);
  });
}

/// The same for so few rows that memory is the limit: panels are read once, as they are kept, one after the other.
void multiply_few_kept(product_job<float> const& j, std::byte const* panels) {
  auto const& kernel = kernels<float>();
  std::size_t const width = kernel.panel, count = (j.n + width - 1) / width, size = bytes_of(j.w.type);
  split(count, j.m * j.n * j.k, [&](std::size_t panel) {
    std::size_t const n0 = panel * width, n = std::min(width, j.n - n0);
    kernel.few_kept(j.c + n0, j.ld_c, j.a, j.ld_a, panels + n0 * j.k * size, j.w.type, j.m, j.k, n,
                    scratch<float>(j.m * width, 0));
    finish(j, 0, j.m, n0, n);
  });
}

}  // namespace

template <class T>
void multiply(product_job<T> const& j) {
  if (j.m == 0 || j.n == 0) return;
  bool const is_few = j.m <= few<T>;
  if constexpr (sizeof(T) == 4)
    if (auto const kept = j.m <= most_from_kept ? kept_of(j.w, j.k, j.n) : nullptr)
      if (auto const* const panels = kept->panels(is_few))
        return is_few ? multiply_few_kept(j, panels) : multiply_kept(j, panels);
  if (is_few) return multiply_few(j);
  auto const& kernel = kernels<T>();
  std::size_t const width = kernel.panel, panels = (j.n + width - 1) / width;
  std::size_t const tall = rows_of_piece(j.m, panels, kernel.row_tile), pieces = (j.m + tall - 1) / tall;
  split(panels * pieces, j.m * j.n * j.k, [&](std::size_t i) {
    std::size_t const n0 = i / pieces * width, n = std::min(width, j.n - n0);
    std::size_t const m0 = i % pieces * tall, m = std::min(tall, j.m - m0);
    T* const packed = scratch<T>(block_k * width, 0);
    for (std::size_t k0 = 0; k0 < j.k; k0 += block_k) {
      std::size_t const k = std::min(block_k, j.k - k0);
      kernel.pack(packed, j.w, k0, k, n0, n);
      kernel.product(j.c + m0 * j.ld_c + n0, j.ld_c, j.a + m0 * j.ld_a + k0, j.ld_a, packed, m, n, k, k0 > 0,
                     after(j.w, k0, block_k, j.k, n0, width, j.n));
    }
    finish(j, m0, m, n0, n);
  });
}
template void multiply<float>(product_job<float> const&);
template void multiply<double>(product_job<double> const&);

void multiply_bf16(product_job<float> const& j) {
  if (j.m == 0 || j.n == 0) return;
  auto const* const kernel = layer_kernels::bf16();
  if (!kernel) check_precision(dtype::bf16);
  std::size_t const ld = (j.k + 1) / 2 * 2;
  auto const narrowed = pooled_memory(j.m * ld * 2);
  auto* const a = static_cast<std::uint16_t*>(narrowed.get());
  in_row_chunks(j.m, j.k, [&](std::size_t first, std::size_t n) {
    for (std::size_t i = first; i < first + n; ++i) {
      kernel->convert(a + i * ld, j.a + i * j.ld_a, j.k);
      if (ld > j.k) a[i * ld + j.k] = 0;
    }
  });
  std::size_t const width = kernel->panel, panels = (j.n + width - 1) / width;
  std::size_t const tall = rows_of_piece(j.m, panels, kernel->row_tile), pieces = (j.m + tall - 1) / tall;
  split(panels * pieces, j.m * j.n * j.k, [&](std::size_t i) {
    std::size_t const n0 = i / pieces * width, n = std::min(width, j.n - n0);
    std::size_t const m0 = i % pieces * tall, m = std::min(tall, j.m - m0);
    auto* const packed = scratch<std::uint16_t>(2 * block_k * width, 0);
    std::size_t constexpr deep = 2 * block_k;
    for (std::size_t k0 = 0; k0 < j.k; k0 += deep) {
      std::size_t const k = std::min(deep, j.k - k0);
      kernel->pack(packed, j.w, k0, k, n0, n);
      kernel->product(j.c + m0 * j.ld_c + n0, j.ld_c, a + m0 * ld + k0, ld, packed, m, n, k, k0 > 0,
                      after(j.w, k0, deep, j.k, n0, width, j.n));
    }
    finish(j, m0, m, n0, n);
  });
}

}  // namespace wayfarer
