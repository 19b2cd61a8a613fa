// How fast gpt2 runs the shape of GPT-2 124M, and how near that is to what the processor could do.
//
//     bench_transformer [--model=FOLDER] [--threads=2] [Google Benchmark's flags]
//
// FOLDER is a checkpoint of that shape; without it one with random weights is made. Everything is a ratio, taken in pairs: each
// iteration measures the limit or the plain pass beside the pass in question, and the median of the iterations' ratios is
// printed. `of_peak`: multiply-adds of the matrix products (253.0 + 19.35 GFLOP for 1,024 tokens, attention's causal half counted
// once) over those that the same threads do from registers. `of_bandwidth`: bytes of the weights over what the same threads read
// from memory in the same time. `against_plain`: seconds of this pass over those of the pass that captures logits alone.
#include <benchmark/benchmark.h>
#include <oneapi/tbb/global_control.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <bench/limits.hpp>
#include <wayfarer/config.hpp>
#include <wayfarer/descriptor.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/safetensors.hpp>

#include "random_gpt2.hpp"

extern "C" wayfarer::plugin_descriptor const* wayfarer_plugin();

namespace {

using namespace wayfarer;

constexpr std::size_t width = 768, vocabulary = 50257, positions = 1024;
constexpr double weight_bytes = 4.0 * (12 * (12 * 768.0 * 768 + 13 * 768) + 50257.0 * 768 + 2 * 768);  // read by every token
std::string folder;
std::size_t threads = 2;

template <class F>
double seconds(F f) {
  auto const from = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
}

/// Multiply-adds a second of all threads together, over about a tenth of a second.
double peak() {
  return host::bench::multiply_adds_now(threads, 1 << 24);
}

/// Bytes a second that all threads read together.
double bandwidth() {
  static host::bench::memory_reader const memory;
  return memory.bytes_now(threads);
}

// ---- the model
// -----------------------------------------------------------------------------------------------------------------

std::unique_ptr<model> open() {
  config c;
  c.set("path", param_value(folder));
  c.set("gelu", param_value(std::string("auto")));
  std::unique_ptr<model> m(dynamic_cast<model*>(wayfarer_plugin()->create(c)));
  m->load();
  return m;
}

model const& gpt2() {
  static auto const m = open();
  return *m;
}

batch tokens(std::size_t items, std::size_t length) {
  batch b;
  random_stream draw(1, "tokens");
  for (std::size_t i = 0; i < items; ++i) {
    std::vector<std::int32_t> ids(length);
    for (auto& t : ids) t = static_cast<std::int32_t>(draw.below(vocabulary));
    b.tokens.push_back(ids);
  }
  return b;
}

/// Multiply-adds of the products of a pass with logits at all positions.
double work(std::size_t items, std::size_t length) {
  double const n = static_cast<double>(items * length), dense = 12 * 12.0 * width * width + double{vocabulary} * width;
  return n * dense + 12.0 * n * (static_cast<double>(length) + 1) / 2 * 2 * width;
}

run_request request(std::initializer_list<char const*> patterns, dtype precision = dtype::f32) {
  run_request r;
  r.precision = precision;
  for (auto const* const p : patterns) r.capture.add(gpt2().info().hooks_for(std::string(p)));
  r.capture.add(gpt2().info().hooks_for(std::string("logits")));
  return r;
}

double run(batch const& b, run_request const& r) {
  return seconds([&] {
    auto const out = gpt2().run(b, r);
    benchmark::DoNotOptimize(&out);
  });
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// ---- benchmarks
// ----------------------------------------------------------------------------------------------------------------

void forward(benchmark::State& state) {
  std::size_t const items = static_cast<std::size_t>(state.range(0)), length = static_cast<std::size_t>(state.range(1));
  auto const b = tokens(items, length), plain = tokens(1, positions);
  auto const r = request({});
  run(b, r);
  std::vector<double> of_peak, per_token;
  double limit = 0;
  for (auto _ : state) {
    double const took = run(b, r);
    double const other = items == 1 && length == positions ? took : run(plain, r);
    limit = peak();
    of_peak.push_back(work(items, length) / took / limit);
    per_token.push_back(took / static_cast<double>(items * length) / (other / static_cast<double>(positions)));
    state.SetIterationTime(took);
  }
  state.counters["of_peak"] = median(of_peak);
  state.counters["per_token_against_1x1024"] = median(per_token);
  state.counters["peak_GFLOPs"] = 2 * limit / 1e9;
}

void against_plain(benchmark::State& state, run_request const& r) {
  auto const b = tokens(1, positions);
  auto const plain = request({});
  run(b, r), run(b, plain);
  std::vector<double> ratios;
  for (auto _ : state) {
    double const took = run(b, r);
    ratios.push_back(took / run(b, plain));
    state.SetIterationTime(took);
  }
  state.counters["against_plain"] = median(ratios);
  state.counters["times_as_fast"] = 1 / median(ratios);
}

void residual_states(benchmark::State& state) {
  against_plain(state, request({"*.hook_resid_*", "*.hook_attn_out", "*.hook_mlp_out"}));
}
void patterns(benchmark::State& state) {
  against_plain(state, request({"*.hook_pattern"}));
}
void bfloat16(benchmark::State& state) {
  try {
    check_precision(dtype::bf16);
  } catch (usage_error const& e) {
    state.SkipWithError(e.what());
    return;
  }
  against_plain(state, request({}, dtype::bf16));
}

void decoding(benchmark::State& state) {
  auto const r = request({});
  std::vector<double> of_bandwidth;
  double limit = 0;
  auto const items = static_cast<std::size_t>(state.range(0));
  auto run = gpt2().begin(tokens(items, 128), {}, nullptr);
  for (auto _ : state) {
    if (run->length(0) == positions) run = gpt2().begin(tokens(items, 128), {}, nullptr);
    double const took = seconds([&] {
      auto const out = run->extend(tokens(items, 1), r);
      benchmark::DoNotOptimize(&out);
    });
    limit = bandwidth();
    of_bandwidth.push_back(weight_bytes / took / limit);
    state.SetIterationTime(took);
  }
  state.counters["of_bandwidth"] = median(of_bandwidth);
  state.counters["bandwidth_GBs"] = limit / 1e9;
}

/// From nothing to one number of one weight.
void opening(benchmark::State& state) {
  for (auto _ : state) {
    auto const m = open();
    benchmark::DoNotOptimize(m->weight("blocks.11.attn.W_Q").get({11, 5, 7}));
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    std::string const arg = argv[i];
    if (arg.starts_with("--model="))
      folder = arg.substr(8);
    else if (arg.starts_with("--threads="))
      threads = std::max<std::size_t>(1, std::strtoul(arg.c_str() + 10, nullptr, 10));
    else
      rest.push_back(argv[i]);
  }
  tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
  std::filesystem::path made;
  if (folder.empty()) {
    made = std::filesystem::temp_directory_path() / ("wayfarer-gpt2-" + std::to_string(getpid()));
    folder = made.string();
    std::filesystem::create_directories(folder);
    bench::write_random_gpt2(folder, {});
  }
  auto const heavy = [](char const* name, auto f) {
    return benchmark::RegisterBenchmark(name, f)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(5);
  };
  heavy("forward", forward)->Args({1, 1024})->Args({8, 128})->Args({32, 32})->Args({1, 128})->Args({1, 64})->Args({1, 16});
  heavy("capture/residual_states", residual_states);
  heavy("capture/patterns", patterns);
  heavy("bfloat16", bfloat16);
  benchmark::RegisterBenchmark("decoding", decoding)
      ->Arg(1)
      ->Arg(8)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(50);
  benchmark::RegisterBenchmark("opening", opening)->Unit(benchmark::kMillisecond)->MinTime(0.2);
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  benchmark::RunSpecifiedBenchmarks();
  if (!made.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(made, ignored);
  }
}
