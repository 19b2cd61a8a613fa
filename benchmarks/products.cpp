// Products of few and of many rows with weights that don't fit the caches: the layers of a decoder that reads one token, a short
// text, or a long one.
//
//     bench_products [--threads=1] [Google Benchmark's flags]
//
// `gpt2`: 768 to 3,072 in float32, stored [in, out], 12 of them. `llama`: 2,048 to 8,192 in bfloat16, stored [out, in], 8 of
// them; rows are float32. Nanoseconds for each number of a weight, by the processor time of all threads, so that the figure holds
// beside other work too: the least of the rounds.
#include <benchmark/benchmark.h>
#include <oneapi/tbb/global_control.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/layers.hpp>
#include <wayfarer/random.hpp>

namespace {

using namespace wayfarer;

double processor_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::vector<linear_weights> weights(std::size_t count, std::size_t in, std::size_t out, bool in_first, dtype type) {
  random_stream draw(0, "weights");
  std::vector<linear_weights> all;
  for (std::size_t i = 0; i < count; ++i) {
    tensor const t(dtype::f32, in_first ? dims{{"in", in}, {"out", out}} : dims{{"out", out}, {"in", in}});
    for (float& x : t.values<float>()) x = draw.uniform_float() - 0.5f;
    all.push_back({t.to(type), {}, in_first});
  }
  return all;
}

rows random_rows(std::size_t count, std::size_t width) {
  ragged<std::int32_t> tokens;
  tokens.push_back(std::vector<std::int32_t>(count));
  random_stream draw(1, "rows");
  tensor const t(dtype::f32, {{"row", count}, {"in", width}});
  for (float& x : t.values<float>()) x = draw.uniform_float() - 0.5f;
  return rows_from(t, row_packing::of(tokens), width, dtype::f32, "rows");
}

void product(benchmark::State& state, std::vector<linear_weights> const& all) {
  auto const x = random_rows(static_cast<std::size_t>(state.range(0)), all.front().in());
  double const numbers = static_cast<double>(all.size() * all.front().in() * all.front().out());
  double least = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    double const from = processor_seconds();
    for (auto const& w : all) benchmark::DoNotOptimize(linear(x, w));
    double const took = processor_seconds() - from;
    state.SetIterationTime(took);
    least = std::min(least, took);
  }
  state.counters["ns_per_weight"] = 1e9 * least / numbers;
  state.counters["multiply_adds_per_s"] = numbers * static_cast<double>(state.range(0)) / least;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t threads = 1;
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i)
    if (std::string const arg = argv[i]; arg.starts_with("--threads="))
      threads = std::max<std::size_t>(1, std::strtoul(arg.c_str() + 10, nullptr, 10));
    else
      rest.push_back(argv[i]);
  tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
  auto const gpt2 = weights(12, 768, 3072, true, dtype::f32), llama = weights(8, 2048, 8192, false, dtype::bf16);
  for (auto const& [name, all] : {std::pair{"gpt2", &gpt2}, std::pair{"llama", &llama}}) {
    auto* const b = benchmark::RegisterBenchmark(name, [all = all](benchmark::State& s) { product(s, *all); });
    b->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(20);
    for (int const rows : {1, 2, 4, 8, 16, 64, 128}) b->Arg(rows);
  }
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  benchmark::RunSpecifiedBenchmarks();
}
