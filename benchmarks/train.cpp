// How fast a language model learns, and how near that is to what the processor could do.
//
//     bench_train [--threads=2] [Google Benchmark's flags]
//
// One iteration is one update: forward, backward, the gradient's norm and AdamW. `of_peak`: multiply-adds of the matrix products
// (three times those of the forward pass; attention's causal half counted once, and what its backward pass computes anew not at
// all) over those that the same threads do from registers, measured beside each update; the median of the iterations' ratios.
// `small` is the shape of runs/train-tiny-shakespeare.yaml, `124M` that of GPT-2 124M with 4 windows of 256 tokens. `512/MIXER`
// are decoders of language_model_trained, 6 blocks of 512 with RMS norms and gated MLPs of 1,408, 8 windows of 256 tokens; of
// mixers without queries and keys half of all pairs of positions count too, for each head.
#include <benchmark/benchmark.h>
#include <oneapi/tbb/global_control.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <bench/limits.hpp>
#include <wayfarer/optimizer.hpp>
#include <wayfarer/random.hpp>

#include "models/gpt2_trained/net.hpp"
#include "models/language_model_trained/shape.hpp"

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

/// The same of another decoder.
double work(decoder_training::shape const& s, std::size_t tokens, std::size_t context) {
  double const d = static_cast<double>(s.d_model), hidden = static_cast<double>(s.d_mlp), n = static_cast<double>(tokens);
  bool const attends = s.mixer == "attention";
  double const shared = static_cast<double>(s.kv_heads) / static_cast<double>(s.heads);
  double const half = static_cast<double>(context) / 2, seen = s.window ? std::min(static_cast<double>(s.window), half) : half;
  double const matrices = (attends ? 2 + 2 * shared : 1 + shared) * d * d + (s.gated ? 3 : 2) * d * hidden;
  double const block = matrices + (attends ? 2 : 1) * seen * d;
  return 3 * n * (static_cast<double>(s.layers) * block + static_cast<double>(s.vocabulary) * d);
}

/// `multiply_adds`: of one update.
template <class Net>
void update(benchmark::State& state, Net learner, double multiply_adds, std::size_t vocabulary, std::size_t windows,
            std::size_t context) {
  std::size_t const n = windows * context;
  std::vector<std::int32_t> tokens, targets;
  random_stream draw(0, "tokens");
  for (std::size_t i = 0; i < n; ++i) {
    tokens.push_back(static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(vocabulary))));
    targets.push_back(static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(vocabulary))));
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
    of_peak.push_back(multiply_adds / took / limit);
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
  auto const time = [](char const* name, int iterations, auto run) {
    benchmark::RegisterBenchmark(name, run)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(iterations);
  };
  auto const add = [&](char const* name, net_shape const& s, std::size_t windows, std::size_t context, int iterations) {
    time(name, iterations, [=](benchmark::State& state) {
      gpt2_net<float> learner(s);
      learner.start(0);
      update(state, std::move(learner), work(s, windows * context, context), s.vocabulary, windows, context);
    });
  };
  auto const add_decoder = [&](std::string const& mixer, std::size_t kv_heads, std::size_t window) {
    decoder_training::shape s;
    s.layers = 6, s.heads = 8, s.kv_heads = kv_heads, s.d_model = 512, s.d_mlp = 1408, s.vocabulary = 2048, s.context = 256;
    s.mixer = mixer, s.window = window, s.position = mixer == "attention" ? "rotary" : "learned";
    std::string const name = "update/512/" + mixer + (kv_heads < s.heads ? "_grouped" : "");
    time(name.c_str(), 5, [=](benchmark::State& state) {
      auto learner = decoder_training::net_of<float>(s);
      learner.start(0, decoder_training::start_stream);
      update(state, std::move(learner), work(s, 8 * s.context, s.context), s.vocabulary, 8, s.context);
    });
  };
  add("update/small", {4, 4, 128, 512, 2048, 128}, 32, 128, 20);
  add("update/medium", {6, 8, 512, 2048, 2048, 256}, 8, 256, 5);
  add("update/124M", {12, 12, 768, 3072, 50257, 256}, 4, 256, 3);
  add_decoder("attention", 8, 0), add_decoder("attention", 2, 0);
  add_decoder("mean", 8, 0), add_decoder("window", 8, 8), add_decoder("conv", 8, 256), add_decoder("position", 8, 0);
  benchmark::RunSpecifiedBenchmarks();
}
