#include "bench/limits.hpp"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include <wayfarer/parallel.hpp>

#include "engine/threads.hpp"

namespace wayfarer::host::bench {
namespace {

using clock = std::chrono::steady_clock;

/// As many independent chains as hide the latency of a multiply-add, and no more than there are registers.
template <class Vector, int Chains>
[[gnu::always_inline]] inline double chains(std::size_t steps, float seed) {
  Vector acc[Chains], x = Vector{} + seed, y = Vector{} + 0.001f;
#pragma GCC unroll 32
  for (int i = 0; i < Chains; ++i) acc[i] = Vector{} + static_cast<float>(i);
  for (std::size_t s = 0; s < steps; ++s) {
#pragma GCC unroll 32
    for (int i = 0; i < Chains; ++i) acc[i] = acc[i] * x + y;
  }
  Vector sum{};
#pragma GCC unroll 32
  for (int i = 0; i < Chains; ++i) sum += acc[i];
  benchmark::DoNotOptimize(sum);
  return static_cast<double>(steps) * Chains * (sizeof(Vector) / sizeof(float));
}

// clang, which compiles for the sanitizers alone, has no such attribute.
#ifdef __clang__
#define FUSED
#else
#define FUSED , gnu::optimize("fp-contract=fast")
#endif

using floats4 = float __attribute__((vector_size(16)));
using floats8 = float __attribute__((vector_size(32)));
using floats16 = float __attribute__((vector_size(64)));

[[gnu::target("avx512f") FUSED]] double spin512(std::size_t steps, float seed) {
  return chains<floats16, 20>(steps, seed);
}
[[gnu::target("avx2,fma") FUSED]] double spin256(std::size_t steps, float seed) {
  return chains<floats8, 12>(steps, seed);
}
double spin128(std::size_t steps, float seed) {
  return chains<floats4, 12>(steps, seed);
}

double spin(std::size_t steps) {
  float const seed = 0.999f;
  if (__builtin_cpu_supports("avx512f")) return spin512(steps, seed);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return spin256(steps, seed);
  return spin128(steps, seed);
}

std::uint64_t read_words(std::uint64_t const* from, std::size_t count) {
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i + 8 <= count; i += 8)
    for (std::size_t j = 0; j < 8; ++j) sums[j] += from[i + j];
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

template <class Work>
double rate(double amount, Work&& work) {
  auto const from = clock::now();
  work();
  return amount / std::chrono::duration<double>(clock::now() - from).count();
}

limits measure(std::size_t threads) {
  limits out;
  with_threads(threads, [&] {
    for (int i = 0; i < 12; ++i) out.multiply_adds = std::max(out.multiply_adds, multiply_adds_now(threads, 1 << 20));
    memory_reader const memory;
    for (int i = 0; i < 4; ++i) out.bandwidth = std::max(out.bandwidth, memory.bytes_now(threads));
  });
  // More threads can do what one can: a smaller figure only says that other work took the processor.
  if (threads > 1) out.multiply_adds = std::max(out.multiply_adds, measured_limits(1).multiply_adds);
  return out;
}

}  // namespace

double multiply_adds_now(std::size_t threads, std::size_t rounds) {
  // Threads of its own, which begin together: pieces of a parallel loop may all run on one thread while others are busy
  // elsewhere.
  double const each = spin(1 << 10) * static_cast<double>(rounds) / (1 << 10);
  std::vector<double> rates(threads);
  std::barrier<> begin(static_cast<std::ptrdiff_t>(threads));
  std::vector<std::jthread> spinning;
  for (std::size_t i = 0; i < threads; ++i)
    spinning.emplace_back([&, i] {
      begin.arrive_and_wait();
      rates[i] = rate(each, [&] { benchmark::DoNotOptimize(spin(rounds)); });
    });
  spinning.clear();
  double sum = 0;
  for (double const r : rates) sum += r;
  return sum;
}

memory_reader::memory_reader() : memory_(std::size_t{64} << 20, 1) {}

double memory_reader::bytes_now(std::size_t threads) const {
  // Small pieces, so that a thread that the machine takes away for a while does not hold up the end.
  std::size_t const pieces = 32 * threads, each = memory_.size() / pieces;
  std::vector<std::uint64_t> sums(pieces);
  double const read = static_cast<double>(pieces * each * sizeof(std::uint64_t));
  double const found =
      rate(read, [&] { parallel_for(pieces, [&](std::size_t i) { sums[i] = read_words(memory_.data() + i * each, each); }); });
  benchmark::DoNotOptimize(sums);
  return found;
}

limits const& measured_limits(std::size_t threads) {
  static std::map<std::size_t, limits> known;
  auto const at = known.find(threads);
  return at != known.end() ? at->second : known.emplace(threads, measure(threads)).first->second;
}

}  // namespace wayfarer::host::bench
