// How fast the T5 plugin runs a text through encoder and decoder, and how near that is to what the processor could do.
//
// The shape is T5-small's (6 + 6 layers, 512 wide, 8 heads, 2,048 hidden, 32,128 tokens), weights are random. `fraction` is the
// multiply-adds of the matrix products alone, attention included and its causal half counted once, over what fused multiply-adds
// from registers do in the same time on the same threads (`peak`, measured in the same run). Norms, softmax, activations and the
// reading of embeddings are why it stays below 1.
//
//     bench_t5 [--model=FOLDER] [Google Benchmark's flags]
//
// FOLDER is a Hugging Face folder to run instead; --threads=N (2 by default) bounds the threads.
#include <benchmark/benchmark.h>
#include <tbb/global_control.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <bench/limits.hpp>
#include <registry/registry.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/safetensors.hpp>

namespace {

using namespace wayfarer;

std::string folder;
std::size_t threads = 2;

double seconds_since(std::chrono::steady_clock::time_point from) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
}

/// Multiply-adds a second of all threads together, at best.
double peak() {
  double best = 0;
  for (int i = 0; i < 20; ++i) best = std::max(best, host::bench::multiply_adds_now(threads, 1 << 20));
  return best;
}

// ---- the model -----------------------------------------------------------------------------------------------------------

/// A random T5-small in Hugging Face's layout, removed at the end.
std::string make_small() {
  static std::string const at = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "wayfarer-bench-t5-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) std::abort();
    std::atexit([] { std::filesystem::remove_all(folder); });
    return pattern;
  }();
  write_file_atomically(at + "/config.json", R"({"model_type": "t5", "num_layers": 6, "num_heads": 8, "d_model": 512, "d_kv": 64,
    "d_ff": 2048, "vocab_size": 32128, "feed_forward_proj": "relu", "tie_word_embeddings": true})");
  std::vector<std::pair<std::string, tensor>> all;
  auto const add = [&](std::string const& name, std::vector<std::size_t> const& shape, double size, double centre = 0) {
    dims d;
    for (std::size_t i = 0; i < shape.size(); ++i) d.push_back({std::to_string(i), shape[i]});
    tensor t(dtype::f32, d);
    random_stream draw(1, "weights", all.size());
    for (float& x : t.values<float>()) x = static_cast<float>(centre + size * 3.4 * (draw.uniform() - 0.5));
    all.emplace_back(name, t);
  };
  double const narrow = 1 / std::sqrt(512.0);
  add("shared.weight", {32128, 512}, 1);
  for (std::string const stack : {"encoder", "decoder"}) {
    for (int i = 0; i < 6; ++i) {
      int part = 0;
      std::string const block = stack + ".block." + std::to_string(i) + ".layer.";
      for (std::string const kind : {"SelfAttention", "EncDecAttention"}) {
        if (kind == "EncDecAttention" && stack == "encoder") continue;
        std::string const p = block + std::to_string(part++) + ".";
        add(p + "layer_norm.weight", {512}, 0.1, 1);
        for (char const* w : {"q", "k", "v", "o"})
          add(p + kind + "." + w + ".weight", {512, 512}, *w == 'q' ? 1.2 * narrow / 8 : narrow);
        if (i == 0 && part == 1) add(p + kind + ".relative_attention_bias.weight", {32, 8}, 0.5);
      }
      std::string const p = block + std::to_string(part) + ".";
      add(p + "layer_norm.weight", {512}, 0.1, 1);
      add(p + "DenseReluDense.wi.weight", {2048, 512}, narrow);
      add(p + "DenseReluDense.wo.weight", {512, 2048}, narrow / 2);
    }
    add(stack + ".final_layer_norm.weight", {512}, 0.1, 1);
  }
  write_safetensors(at + "/model.safetensors", all);
  return at;
}

model const& t5() {
  static host::plugin const plugin = host::load_plugin(std::string(WAYFARER_PLUGIN_DIR) + "/wayfarer_t5.so");
  static std::unique_ptr<model> const one = [] {
    if (folder.empty()) folder = make_small();
    config c;
    c.set("path", param_value(folder));
    auto m = plugin.create<model>(c);
    m->load();
    return m;
  }();
  return *one;
}

/// Multiply-adds of the matrix products for n encoder and m decoder tokens.
double needed(model_info const& info, std::size_t n, std::size_t m) {
  auto const N = static_cast<double>(n), M = static_cast<double>(m), d = static_cast<double>(info.d_model),
             inner = static_cast<double>(info.heads * info.d_head), f = static_cast<double>(info.d_mlp);
  bool gated = false;
  for (auto const& h : info.hooks) gated = gated || h.name.ends_with("hook_pre_linear");
  double const mlp = (gated ? 3 : 2) * d * f;
  double const encoder = N * (4 * d * inner + 2 * N * inner + mlp);
  double const decoder =
      M * (4 * d * inner + (M + 1) * inner) + M * (2 * d * inner + 2 * N * inner) + N * 2 * d * inner + M * mlp;
  return static_cast<double>(info.layers) * encoder +
         (m ? static_cast<double>(info.decoder_layers) * decoder + M * d * static_cast<double>(info.vocabulary) : 0);
}

batch tokens(std::size_t n, std::size_t m) {
  batch b;
  random_stream draw(1, "tokens", 0);
  auto const list = [&](std::size_t count) {
    std::vector<std::int32_t> ids(count);
    for (auto& id : ids) id = static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(t5().info().vocabulary)));
    return ids;
  };
  b.tokens.push_back(list(n));
  if (m) b.decoder_tokens.push_back(list(m));
  return b;
}

/// `hooks`: "logits", or a pattern of what is captured beside them.
void forward(benchmark::State& state, std::string const& hooks, dtype precision) {
  auto const n = static_cast<std::size_t>(state.range(0)), m = static_cast<std::size_t>(state.range(1));
  model const& one = t5();
  batch const b = tokens(n, m);
  run_request request;
  request.precision = precision;
  request.capture = m ? one.info().hooks_for("logits") : one.info().hooks_for("encoder_final_ln.hook_out");
  if (!hooks.empty()) request.capture.add(one.info().hooks_for(hooks));
  double best = INFINITY, all = 0;
  double const limit = peak();
  for (auto _ : state) {
    auto const from = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(one.run(b, request));
    double const took = seconds_since(from);
    best = std::min(best, took), all += took;
  }
  double const work = needed(one.info(), n, m);
  state.counters["peak"] = benchmark::Counter(limit, benchmark::Counter::kDefaults);
  state.counters["rate"] = work * static_cast<double>(state.iterations()) / all;
  state.counters["fraction"] = work * static_cast<double>(state.iterations()) / all / limit;
  state.counters["best"] = work / best / limit;
}

void encoder_and_decoder(benchmark::State& state) {
  forward(state, "", dtype::f32);
}
void encoder_alone(benchmark::State& state) {
  forward(state, "", dtype::f32);
}
void with_residual_states(benchmark::State& state) {
  forward(state, "*.hook_resid_post", dtype::f32);
}
void with_patterns(benchmark::State& state) {
  forward(state, "*.hook_pattern", dtype::f32);
}
void in_bfloat16(benchmark::State& state) {
  forward(state, "", dtype::bf16);
}

/// One token of the decoder, keys and values kept.
void one_token_more(benchmark::State& state) {
  model const& one = t5();
  batch const b = tokens(512, 128);
  run_request request;
  request.capture = one.info().hooks_for("logits");
  request.last_logits_only = true;
  batch more;
  more.decoder_tokens.push_back(std::vector<std::int32_t>{5});
  auto const start = one.begin(b, request, nullptr);
  std::vector<std::size_t> const first{0};
  for (auto _ : state) {
    state.PauseTiming();
    auto const run = start->branch(first);
    state.ResumeTiming();
    benchmark::DoNotOptimize(run->extend(more, request));
  }
}

BENCHMARK(encoder_and_decoder)->Args({512, 128})->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(encoder_alone)->Args({512, 0})->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(with_residual_states)->Args({512, 128})->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(with_patterns)->Args({512, 128})->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(in_bfloat16)->Args({512, 128})->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(one_token_more)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace

int main(int count, char** arguments) {
  std::vector<char*> rest;
  for (int i = 0; i < count; ++i) {
    std::string const a = arguments[i];
    if (a.starts_with("--model="))
      folder = a.substr(8);
    else if (a.starts_with("--threads="))
      threads = std::max<std::size_t>(1, std::stoul(a.substr(10)));
    else
      rest.push_back(arguments[i]);
  }
  tbb::global_control const allow(tbb::global_control::max_allowed_parallelism, threads);
  int left = static_cast<int>(rest.size());
  benchmark::Initialize(&left, rest.data());
  if (benchmark::ReportUnrecognizedArguments(left, rest.data())) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
