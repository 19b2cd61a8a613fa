// Vector lanes for kernels: a file that is compiled once for each set of instructions (instruction_set.hpp picks one at run
// time).
//
// `vec<T>` is a register of float or double; the usual operators work lane by lane, and with a scalar. A kernel file may define
// WAYFARER_LANES, the number of floats in a register, before it includes this; else the compiler's flags decide. Everything is in
// an unnamed namespace, so that the linker never puts one set's code into another's place. For the same reason this includes no
// library that has templates, and neither should a kernel file. Views live as long as what they point to. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef WAYFARER_LANES
#if defined(__AVX512F__)
#define WAYFARER_LANES 16
#elif defined(__AVX2__)
#define WAYFARER_LANES 8
#else
#define WAYFARER_LANES 4
#endif
#endif

namespace wayfarer::simd {
namespace {

template <class T>
struct lanes;
template <>
struct lanes<float> {
  static constexpr int count = WAYFARER_LANES;
  typedef float vec __attribute__((vector_size(4 * WAYFARER_LANES)));
  typedef float loose __attribute__((vector_size(4 * WAYFARER_LANES), aligned(4), may_alias));
  typedef std::int32_t ivec __attribute__((vector_size(4 * WAYFARER_LANES)));
};
template <>
struct lanes<double> {
  static constexpr int count = WAYFARER_LANES / 2;
  typedef double vec __attribute__((vector_size(4 * WAYFARER_LANES)));
  typedef double loose __attribute__((vector_size(4 * WAYFARER_LANES), aligned(8), may_alias));
  typedef std::int64_t ivec __attribute__((vector_size(4 * WAYFARER_LANES)));
};
template <class T>
using vec = typename lanes<T>::vec;

template <class T>
inline vec<T> load(T const* p) {
  return *reinterpret_cast<typename lanes<T>::loose const*>(p);
}
template <class T>
inline void store(T* p, vec<T> v) {
  *reinterpret_cast<typename lanes<T>::loose*>(p) = v;
}
/// x in every lane.
template <class T>
inline vec<T> all(T x) {
  return x - vec<T>{};
}
/// n < lanes numbers; the lanes after them hold `rest`.
template <class T>
inline vec<T> load_some(T const* p, std::size_t n, T rest = 0) {
  vec<T> v = all(rest);
  for (std::size_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
template <class T>
inline void store_some(T* p, vec<T> v, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) p[i] = v[i];
}
/// The larger of each lane; b where one of them is NaN.
template <class T>
inline vec<T> larger(vec<T> a, vec<T> b) {
  return a > b ? a : b;
}

/// Lanes 0 .. N-1 as a pack, for shuffles, whose indices must be constants.
template <int... I>
struct lane_list {};
template <int N, int... I>
struct make_lanes : make_lanes<N - 1, N - 1, I...> {};
template <int... I>
struct make_lanes<0, I...> {
  using type = lane_list<I...>;
};
template <class T>
using every_lane = typename make_lanes<lanes<T>::count>::type;

template <int H, class V, int... I>
inline V swapped(V v, lane_list<I...>) {
  return __builtin_shufflevector(v, v, (I ^ H)...);
}
/// Sum over the lanes by halves: a fixed tree.
template <class T, int H = lanes<T>::count / 2>
inline T lane_sum(vec<T> v) {
  v += swapped<H>(v, every_lane<T>());
  if constexpr (H > 1)
    return lane_sum<T, H / 2>(v);
  else
    return v[0];
}
template <class T, int H = lanes<T>::count / 2>
inline T lane_max(vec<T> v) {
  v = larger<T>(swapped<H>(v, every_lane<T>()), v);
  if constexpr (H > 1)
    return lane_max<T, H / 2>(v);
  else
    return v[0];
}

template <class T, int Odd, int... I>
inline vec<T> every_second(vec<T> a, vec<T> b, lane_list<I...>) {
  return __builtin_shufflevector(a, b, (2 * I + Odd)...);
}
/// Sums of as many vectors as there are lanes, as one vector: pairs of neighbours are added level by level. Spoils x.
template <class T, int N = lanes<T>::count>
inline vec<T> lane_sums(vec<T>* x) {
#pragma GCC unroll 8
  for (int i = 0; i < N / 2; ++i)
    x[i] =
        every_second<T, 0>(x[2 * i], x[2 * i + 1], every_lane<T>()) + every_second<T, 1>(x[2 * i], x[2 * i + 1], every_lane<T>());
  if constexpr (N > 2)
    return lane_sums<T, N / 2>(x);
  else
    return x[0];
}

/// exp to about one unit in the last place: 2^n times a polynomial on +-ln(2)/2, fitted to (e^x - 1 - x) / x^2. Below the
/// smallest normal number 0, beyond the largest infinity; NaN stays.
inline vec<float> exp_of(vec<float> x) {
  using ivec = lanes<float>::ivec;
  vec<float> const least = all(-87.3365402f), most = all(88.7228394f), magic = all(12582912.0f);
  vec<float> y = x < least ? least : x;
  y = y > most ? most : y;
  vec<float> const shifted = y * 1.44269504088896341f + magic;
  vec<float> const n = shifted - magic;
  y = y - n * 0.693359375f;
  y = y - n * -2.12194440054690583e-4f;
  vec<float> p = all(0.0013933692f);
  p = p * y + 0.008363209f;
  p = p * y + 0.041666463f;
  p = p * y + 0.16666576f;
  p = p * y + 0.5f;
  p = p * y * y + y + 1.0f;
  ivec whole;
  __builtin_memcpy(&whole, &shifted, sizeof whole);
  whole = whole - 0x4b400000;  // n, from the magic number's last bits; half of the power at a time, since 2^128 does not fit
  ivec const half = whole >> 1, bits = (half + 127) << 23, rest = (whole - half + 127) << 23;
  vec<float> a, b;
  __builtin_memcpy(&a, &bits, sizeof a);
  __builtin_memcpy(&b, &rest, sizeof b);
  p = p * a * b;
  p = x < least ? vec<float>{} : p;
  return x > most ? all(__builtin_inff()) : p;
}
inline vec<double> exp_of(vec<double> x) {
  vec<double> y;
  for (int i = 0; i < lanes<double>::count; ++i) y[i] = __builtin_exp(x[i]);
  return y;
}

/// erfc(x) for x >= 0: t exp(P(t) - x^2), t = 1 / (1 + x/2), with P fitted to log(erfc(x) e^(x^2) / t).
inline vec<float> erfc_of(vec<float> x) {
  vec<float> const t = 1.0f / (0.5f * x + 1.0f);
  vec<float> p = all(0.14492916f);
  p = p * t - 0.68082362f;
  p = p * t + 1.1567304f;
  p = p * t - 0.69625407f;
  p = p * t - 0.08027333f;
  p = p * t + 0.0012610975f;
  p = p * t + 0.034605887f;
  p = p * t + 0.3866396f;
  p = p * t + 0.9986329f;
  p = p * t - 1.265448f;
  return t * exp_of(p - x * x);
}
inline vec<double> erfc_of(vec<double> x) {
  vec<double> y;
  for (int i = 0; i < lanes<double>::count; ++i) y[i] = __builtin_erfc(x[i]);
  return y;
}

inline vec<float> tanh_of(vec<float> x) {
  // Near 0 the quotient cancels: there x + x^3 times a polynomial fitted to (tanh(x) - x) / x^3.
  vec<float> const large = 1.0f - 2.0f / (exp_of(2.0f * x) + 1.0f), z = x * x;
  vec<float> p = all(-0.0057040425f);
  p = p * z + 0.020637862f;
  p = p * z + -0.053739157f;
  p = p * z + 0.13331431f;
  p = p * z + -0.3333328f;
  return ((x < 0.625f) & (x > -0.625f)) ? x + x * z * p : large;
}
inline vec<double> tanh_of(vec<double> x) {
  vec<double> y;
  for (int i = 0; i < lanes<double>::count; ++i) y[i] = __builtin_tanh(x[i]);
  return y;
}

}  // namespace
}  // namespace wayfarer::simd
