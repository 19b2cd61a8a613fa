// Products in bfloat16; see kernels.hpp. The build compiles this file with the flags of AVX512_BF16.
#include "kernels.hpp"

#if defined(__AVX512BF16__)
#include <immintrin.h>

namespace wayfarer::layer_kernels {
namespace {

using u16 = std::uint16_t;
constexpr int R = 6, C = 4;
constexpr size L = 16, P = C * L;

inline u16 narrow(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<u16>(bits >> 16 | 0x40u);
  return static_cast<u16>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline float wide(matrix const& w, size k, size n) {
  size const i = w.in_first ? k * w.ld + n : n * w.ld + k;
  switch (w.type) {
    case number::f32:
      return static_cast<float const*>(w.data)[i];
    case number::f64:
      return static_cast<float>(static_cast<double const*>(w.data)[i]);
    case number::f16:
      return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<u16 const*>(w.data)[i])));
    case number::bf16:
      break;
  }
  std::uint32_t const bits = static_cast<std::uint32_t>(static_cast<u16 const*>(w.data)[i]) << 16;
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

/// 16 numbers from p in bfloat16.
inline __m256i narrowed(void const* data, number type, size i) {
  switch (type) {
    case number::f32:
      return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(static_cast<float const*>(data) + i)));
    case number::f64: {
      auto const* const p = static_cast<double const*>(data) + i;
      __m512 const x = _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(_mm512_loadu_pd(p))),
                                          _mm512_cvtpd_ps(_mm512_loadu_pd(p + 8)), 1);
      return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
    }
    case number::f16: {
      auto const* const p = reinterpret_cast<__m256i const*>(static_cast<u16 const*>(data) + i);
      return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_cvtph_ps(_mm256_loadu_si256(p))));
    }
    case number::bf16:
      break;
  }
  return _mm256_loadu_si256(reinterpret_cast<__m256i const*>(static_cast<u16 const*>(data) + i));
}

inline void pack_pair(u16* to, matrix const& w, size k, bool second, size n, bool inside) {
  to[0] = inside ? narrow(wide(w, k, n)) : u16{0};
  to[1] = inside && second ? narrow(wide(w, k + 1, n)) : u16{0};
}

void pack_in_first(u16* packed, matrix const& w, size k0, size k, size n0, size n) {
  for (size i = 0; i < k; i += 2, packed += 2 * P) {
    size j = 0;
    if (i + 1 < k)
      for (; j + L <= n; j += L) {
        size const at = (k0 + i) * w.ld + n0 + j;
        __m512i const low = _mm512_cvtepu16_epi32(narrowed(w.data, w.type, at)),
                      high = _mm512_cvtepu16_epi32(narrowed(w.data, w.type, at + w.ld));
        _mm512_storeu_si512(packed + 2 * j, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
      }
    for (; j < P; ++j) pack_pair(packed + 2 * j, w, k0 + i, i + 1 < k, n0 + j, j < n);
  }
}

/// Pairs lie together already; 16 rows of 16 pairs are turned around.
void pack_out_first(u16* packed, matrix const& w, size k0, size k, size n0, size n) {
  __m512i const rows = _mm512_set_epi32(240, 224, 208, 192, 176, 160, 144, 128, 112, 96, 80, 64, 48, 32, 16, 0);
  for (size j = 0; j < P; j += L) {
    size i = 0;
    if (j + L <= n)
      for (; i + 2 * L <= k; i += 2 * L) {
        alignas(64) std::uint32_t block[L][L];
        for (size l = 0; l < L; ++l) {
          size const at = (n0 + j + l) * w.ld + k0 + i;
          __m512i const low = _mm512_castsi256_si512(narrowed(w.data, w.type, at));
          _mm512_store_si512(block[l], _mm512_inserti64x4(low, narrowed(w.data, w.type, at + L), 1));
        }
        for (size l = 0; l < L; ++l)
          _mm512_storeu_si512(packed + (i / 2 + l) * 2 * P + 2 * j, _mm512_i32gather_epi32(rows, &block[0][l], 4));
      }
    for (; i < k; i += 2)
      for (size l = 0; l < L; ++l) pack_pair(packed + i / 2 * 2 * P + 2 * (j + l), w, k0 + i, i + 1 < k, n0 + j + l, j + l < n);
  }
}

void pack(u16* packed, matrix const& w, size k0, size k, size n0, size n) {
  (w.in_first ? pack_in_first : pack_out_first)(packed, w, k0, k, n0, n);
}

template <int Rows>
void tile(float* c, size ld_c, u16 const* a, size ld_a, u16 const* packed, size n, size k, bool add, ahead& next) {
  __m512 acc[Rows][C];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) acc[r][j] = _mm512_setzero_ps();
  ahead fetch = next;
  for (size i = 0; i < k; i += 2, packed += 2 * P) {
    fetch.one();
    __m512bh b[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) b[j] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(packed + 2 * L * static_cast<size>(j)));
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      int two;
      __builtin_memcpy(&two, a + static_cast<size>(r) * ld_a + i, sizeof two);
      __m512bh const x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(two));
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) acc[r][j] = _mm512_dpbf16_ps(acc[r][j], x, b[j]);
    }
  }
  next = fetch;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      size const first = static_cast<size>(j) * L;
      if (first >= n) continue;
      auto const mask = static_cast<__mmask16>(n - first >= L ? 0xffffu : (1u << (n - first)) - 1);
      float* const to = c + static_cast<size>(r) * ld_c + first;
      __m512 v = acc[r][j];
      if (add) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), v);
      _mm512_mask_storeu_ps(to, mask, v);
    }
}

void product(float* c, size ld_c, u16 const* a, size ld_a, u16 const* packed, size m, size n, size k, bool add,
             ahead const& weights) {
  ahead next = weights, nothing{};
  size i = 0;
  for (; i + R <= m; i += R)
    tile<R>(c + i * ld_c, ld_c, a + i * ld_a, ld_a, packed, n, k, add, next.soon(m - i, R, k / 2) ? next : nothing);
  for (; i < m; ++i) tile<1>(c + i * ld_c, ld_c, a + i * ld_a, ld_a, packed, n, k, add, next);
}

void convert(u16* out, float const* from, size n) {
  size i = 0;
  for (; i + L <= n; i += L) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), narrowed(from, number::f32, i));
  for (; i < n; ++i) out[i] = narrow(from[i]);
}

}  // namespace

extern bf16_kernels const kernels_avx512_bf16;
bf16_kernels const kernels_avx512_bf16{P, R, pack, product, convert};

}  // namespace wayfarer::layer_kernels
#endif
