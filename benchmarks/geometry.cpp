// The geometry of Traveling Words at GPT-2 124M's shape: spectra of all 144 heads, 96 nouns looked up in three blocks over the
// whole vocabulary, the ellipsoids of all norms, and a UMAP fit of 10,000 points. Weights are random: the work does not depend on
// them.
//
// Why: these are what a researcher waits for when reading a model's weights. Each has a limit on two threads: 0.5 s, 5 s and 20
// s. The rate of fused multiply-adds, which bounds the lookup, stands beside it.
//
//     bench_geometry [--threads=N] [Google Benchmark's flags]
#include <benchmark/benchmark.h>
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bench/limits.hpp>
#include <pipeline/values.hpp>
#include <registry/registry.hpp>
#include <wayfarer/accumulator.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/safetensors.hpp>

#include "metrics/umap/layout.hpp"

namespace {

using namespace wayfarer;

std::size_t threads = 2;
std::string folder;

constexpr std::size_t d = 768, layers = 12, vocabulary = 50257;

host::plugin const& plugin(std::string const& id) {
  static std::map<std::string, host::plugin> loaded;
  auto found = loaded.find(id);
  if (found == loaded.end())
    found = loaded.emplace(id, host::load_plugin(std::string(WAYFARER_PLUGIN_DIR) + "/wayfarer_" + id + ".so")).first;
  return found->second;
}

config with(std::string const& id, std::map<std::string, param_value::storage> const& given) {
  config c;
  for (auto const& p : plugin(id).params())
    if (auto const at = given.find(p.name); at != given.end())
      c.set(p.name, param_value(at->second));
    else if (!p.required)
      c.set(p.name, host::default_of(p));
  return c;
}

/// GPT-2's embedding, norms and attention, random, and MLPs of zeros, in Hugging Face's layout; removed at the end.
model const& gpt2() {
  static std::unique_ptr<model> const one = [] {
    folder = (std::filesystem::temp_directory_path() / "wayfarer-bench-geometry-XXXXXX").string();
    if (!::mkdtemp(folder.data())) std::abort();
    std::atexit([] { std::filesystem::remove_all(folder); });
    write_file_atomically(folder + "/config.json", R"({"model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768,
      "n_positions": 16, "vocab_size": 50257, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5})");
    std::vector<std::pair<std::string, tensor>> all;
    auto const add = [&](std::string const& name, std::vector<std::size_t> const& shape, double size, double centre = 0) {
      dims s;
      for (std::size_t i = 0; i < shape.size(); ++i) s.push_back({std::to_string(i), shape[i]});
      tensor t(dtype::f32, s);
      random_stream draw(1, "weights", all.size());
      if (size > 0)
        for (float& x : t.values<float>()) x = static_cast<float>(centre + size * 3.4 * (draw.uniform() - 0.5));
      all.emplace_back(name, t);
    };
    add("wte.weight", {vocabulary, d}, 0.14);
    add("wpe.weight", {16, d}, 0.01);
    for (std::size_t l = 0; l < layers; ++l) {
      std::string const p = "h." + std::to_string(l) + ".";
      for (char const* norm : {"ln_1", "ln_2"}) add(p + norm + ".weight", {d}, 0.2, 1), add(p + norm + ".bias", {d}, 0.1);
      add(p + "attn.c_attn.weight", {d, 3 * d}, 0.06), add(p + "attn.c_attn.bias", {3 * d}, 0.1);
      add(p + "attn.c_proj.weight", {d, d}, 0.06), add(p + "attn.c_proj.bias", {d}, 0.1);
      // Asked for by a model that is whole, and never run.
      add(p + "mlp.c_fc.weight", {d, 4 * d}, 0), add(p + "mlp.c_fc.bias", {4 * d}, 0);
      add(p + "mlp.c_proj.weight", {4 * d, d}, 0), add(p + "mlp.c_proj.bias", {d}, 0);
    }
    add("ln_f.weight", {d}, 0.2, 1), add("ln_f.bias", {d}, 0.1);
    write_safetensors(folder + "/model.safetensors", all);
    auto m = plugin("gpt2").create<model>(with("gpt2", {{"path", folder}}));
    m->load();
    return m;
  }();
  return *one;
}

/// What a probe of weights takes, on `threads` threads.
void finish(benchmark::State& state, std::string const& id, std::map<std::string, param_value::storage> const& given) {
  auto const& m = gpt2();
  auto const p = plugin(id).create<probe>(with(id, given));
  tbb::global_control const allow(tbb::global_control::max_allowed_parallelism, threads);
  tbb::task_arena arena(static_cast<int>(threads));
  probe_context const at(&m, nullptr, {0, 0}, 0);
  for (auto _ : state)
    arena.execute([&] {
      results out;
      p->finish(accumulator(), out, at);
      benchmark::DoNotOptimize(out.names().size());
    });
}

void spectra_of_144_heads(benchmark::State& state) {
  finish(state, "head_spectra",
         {{"directions", std::int64_t{state.range(0)}}, {"tokens", false}, {"eigenvalues", false}, {"composition", false}});
}
BENCHMARK(spectra_of_144_heads)
    ->Arg(0)
    ->Arg(20)
    ->ArgName("directions")
    ->UseRealTime()
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond);

void ellipsoids_of_25_norms(benchmark::State& state) {
  finish(state, "norm_geometry", {});
}
BENCHMARK(ellipsoids_of_25_norms)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);

void look_up_96_nouns(benchmark::State& state) {
  std::vector<std::int64_t> nouns;
  for (std::int64_t i = 0; i < 96; ++i) nouns.push_back(500 * i + 3);
  double peak = 0;
  for (int i = 0; i < 10; ++i) peak = std::max(peak, host::bench::multiply_adds_now(threads, 1 << 20));
  auto const start = std::chrono::steady_clock::now();
  finish(state, "head_lookup", {{"word_ids", nouns}, {"blocks", std::vector<std::int64_t>{0, 5, 11}}});
  double const seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / static_cast<double>(state.iterations());
  // Keys of the whole vocabulary, 96 queries against them in every head; 13 x 96 states against the vocabulary.
  double const needed = 3.0 * vocabulary * (static_cast<double>(d) * d + 96.0 * d + 13.0 * 96 * d);
  state.counters["of_peak"] = needed / seconds / peak;
}
BENCHMARK(look_up_96_nouns)->Iterations(1)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);

/// 20 clusters, as embeddings have; the settings of the trajectory figure.
void fit_umap(benchmark::State& state) {
  auto const n = static_cast<std::size_t>(state.range(0));
  tensor const points(dtype::f32, {{"point", n}, {"coordinate", d}});
  random_stream draw(5, "points");
  std::vector<float> centers(20 * d);
  for (float& v : centers) v = static_cast<float>(0.1 * draw.normal());
  auto const to = points.values<float>();
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = centers[i / d % 20 * d + i % d] + static_cast<float>(0.13 * draw.normal());
  tbb::global_control const allow(tbb::global_control::max_allowed_parallelism, threads);
  tbb::task_arena arena(static_cast<int>(threads));
  for (auto _ : state) arena.execute([&] { benchmark::DoNotOptimize(umap_layout::lay_out(points, {}).epochs); });
}
BENCHMARK(fit_umap)->Arg(2000)->Arg(10000)->ArgName("points")->Iterations(1)->UseRealTime()->MeasureProcessCPUTime()->Unit(
    benchmark::kMillisecond);

}  // namespace

int main(int argc, char** argv) {
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    std::string_view const a = argv[i];
    if (a.starts_with("--threads="))
      threads = std::max<std::size_t>(1, std::strtoul(argv[i] + 10, nullptr, 10));
    else
      argv[kept++] = argv[i];
  }
  benchmark::Initialize(&kept, argv);
  if (benchmark::ReportUnrecognizedArguments(kept, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
