// How fast a GPT-2 learns, and how near that is to what the processor could do.
//
//     bench_train [--threads=2] [Google Benchmark's flags]
//
// One iteration is one update: forward, backward, the gradient's norm and AdamW. `of_peak`: multiply-adds of the matrix products
// (three times those of the forward pass; attention's causal half counted once, and what its backward pass computes anew not at
// all) over those that the same threads do from registers, measured beside each update; the median of the iterations' ratios.
// `small` is the shape of runs/train-tiny-shakespeare.yaml, `124M` that of GPT-2 124M with 4 windows of 256 tokens.
#include <benchmark/benchmark.h>
#include <oneapi/tbb/global_control.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include <bench/limits.hpp>
#include <wayfarer/optimizer.hpp>
#include <wayfarer/random.hpp>

#include "net.hpp"

namespace {

using namespace wayfarer;
using gpt2_training::gpt2_net;
using gpt2_training::net_shape;

std::size_t threads = 2;

/// Multiply-adds of one update.
double work(net_shape const& s, std::size_t tokens, std::size_t context) {
  double const d = static_cast<double>(s.d_model), hidden = static_cast<double>(s.d_mlp), n = static_cast<double>(tokens);
  double const block = 4 * d * d + 2 * d * hidden + static_cast<double>(context) * d;
  return 3 * n * (static_cast<double>(s.layers) * block + static_cast<double>(s.vocabulary) * d);
}

double median(std::vector<double> x) {
  if (x.empty()) return 0;
  std::nth_element(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2), x.end());
  return x[x.size() / 2];
}

void update(benchmark::State& state, net_shape const& s, std::size_t windows, std::size_t context) {
  gpt2_net<float> learner(s);
  learner.start(0);
  std::size_t const n = windows * context;
  std::vector<std::int32_t> tokens, targets;
  random_stream draw(0, "tokens");
  for (std::size_t i = 0; i < n; ++i) {
    tokens.push_back(static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(s.vocabulary))));
    targets.push_back(static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(s.vocabulary))));
  }
  std::vector<float> m(learner.values().size()), v(m.size());
  std::size_t step = 0;
  auto const one = [&] {
    benchmark::DoNotOptimize(learner.learn(tokens, targets, context));
    double const norm = norm_of<float>(learner.gradient());
    adamw_step<float>(learner.values(), learner.gradient(), m, v, ++step, 1e-4, std::min(1.0, 1 / norm), {0.9, 0.99, 1e-8, 0.1});
  };
  one();  // the first one meets fresh pages
  std::vector<double> of_peak, rates;
  double limit = 0;
  for (auto _ : state) {
    auto const from = std::chrono::steady_clock::now();
    one();
    double const took = std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
    limit = host::bench::multiply_adds_now(threads, 1 << 23);
    of_peak.push_back(work(s, n, context) / took / limit);
    rates.push_back(static_cast<double>(n) / took);
    state.SetIterationTime(took);
  }
  state.counters["of_peak"] = median(of_peak);
  state.counters["tokens_per_second"] = median(rates);
  state.counters["peak_GFLOPs"] = 2 * limit / 1e9;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    std::string const one = argv[i];
    if (one.starts_with("--threads="))
      threads = static_cast<std::size_t>(std::max(1, std::atoi(one.c_str() + 10)));
    else
      rest.push_back(argv[i]);
  }
  oneapi::tbb::global_control const limit(oneapi::tbb::global_control::max_allowed_parallelism, threads);
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(count, rest.data())) return 1;
  auto const add = [](char const* name, net_shape const& s, std::size_t windows, std::size_t context, int iterations) {
    benchmark::RegisterBenchmark(name, [=](benchmark::State& state) { update(state, s, windows, context); })
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond)
        ->Iterations(iterations);
  };
  add("update/small", {4, 4, 128, 512, 2048, 128}, 32, 128, 20);
  add("update/medium", {6, 8, 512, 2048, 2048, 256}, 8, 256, 5);
  add("update/124M", {12, 12, 768, 3072, 50257, 256}, 4, 256, 3);
  benchmark::RunSpecifiedBenchmarks();
}
