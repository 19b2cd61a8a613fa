// What HellaSwag's baseline costs on the shape of GPT-2 124M, and how near that is to the matrix products that it can't do
// without.
//
//     bench_hellaswag [--model=FOLDER] [--items=200] [--rounds=3] [--threads=2]
//
// FOLDER is a checkpoint of that shape; without it one with random weights is made. Items and tokenizer are HellaSwag's and
// GPT-2's where WAYFARER_DATA names the folder that holds them, else those of the runs. Unavoidable: with each context read once
// for its four endings, every token but an ending's last goes through the blocks' projections, and every state that predicts a
// token of an ending through the unembedding. `products` does these products and nothing else, in batches of 2,048 rows, with the
// same kernels; attention's own products, less than 2 % of them, are left out. `against_products` is the median ratio of pairs,
// `against_products_cpu` that of the processors' time, which other work on the machine disturbs less.
#include <benchmark/benchmark.h>
#include <oneapi/tbb/global_control.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/safetensors.hpp>

#include "plugins.hpp"
#include "random_gpt2.hpp"

namespace {

using namespace wayfarer;
namespace fs = std::filesystem;

constexpr std::size_t layers = 12, width = 768;
constexpr std::size_t rows_of_product = 2048, rows_of_logits = 256;
std::string folder;
std::size_t threads = 2, items = 200, rounds = 3;

/// What something took: of the clock, and of the processors.
struct cost {
  double wall = 0, processor = 0;
};

template <class F>
cost cost_of(F f) {
  auto const from = std::chrono::steady_clock::now();
  auto const busy = std::clock();
  f();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count(),
          static_cast<double>(std::clock() - busy) / CLOCKS_PER_SEC};
}

/// The checkpoint with a tokenizer beside it.
fs::path make_folder(fs::path const& at) {
  fs::create_directories(at);
  if (folder.empty())
    bench::write_random_gpt2(at, {});
  else
    for (char const* const name : {"config.json", "model.safetensors"})
      fs::create_symlink(fs::absolute(folder) / name, at / name);
  char const* const data = std::getenv("WAYFARER_DATA");
  if (data) {
    for (char const* const name : {"encoder.json", "vocab.bpe"})
      fs::create_symlink(fs::absolute(fs::path(data) / "tokenizer-gpt2" / name), at / name);
  } else {
    for (char const* const name : {"vocab.json", "merges.txt"})
      fs::create_symlink(fs::path(WAYFARER_SOURCE_DIR "/runs/data/tiny-gpt2") / name, at / name);
  }
  return at;
}

std::string questions() {
  char const* const data = std::getenv("WAYFARER_DATA");
  return data ? std::string(data) + "/hellaswag/hellaswag_val_full.txt.bz2"
              : std::string(WAYFARER_SOURCE_DIR "/runs/data/hellaswag/slice.txt");
}

rows random_rows(std::size_t n, std::size_t wide) {
  auto packing = std::make_shared<row_packing>();
  packing->offsets = {0, n};
  packing->first_position = {0};
  rows x(packing, wide, dtype::f32);
  random_stream draw(1, "rows");
  float* const v = x.overwrite<float>();
  for (std::size_t i = 0; i < n * wide; ++i) v[i] = 2 * draw.uniform_float() - 1;
  return x;
}

/// The products alone of `read` tokens that go through the blocks and `predicting` states that go through the unembedding.
cost products(safetensors_file const& weights, std::size_t read, std::size_t predicting) {
  auto const linear_of = [&](std::string const& name) {
    return linear_weights{weights.tensor(name + ".weight"), weights.tensor(name + ".bias")};
  };
  linear_weights const unembed{weights.tensor("wte.weight"), {}, false};
  cost took;
  auto const add = [&](cost c) { took.wall += c.wall, took.processor += c.processor; };
  for (std::size_t from = 0; from < read; from += rows_of_product) {
    std::size_t const n = std::min(rows_of_product, read - from);
    auto const x = random_rows(n, width), wide = random_rows(n, 4 * width);
    add(cost_of([&] {
      for (std::size_t i = 0; i < layers; ++i) {
        auto const p = "h." + std::to_string(i) + ".";
        for (char const* const name : {"attn.c_attn", "attn.c_proj", "mlp.c_fc"}) {
          auto const y = linear(x, linear_of(p + name));
          benchmark::DoNotOptimize(y.data<float>());
        }
        auto const y = linear(wide, linear_of(p + "mlp.c_proj"));
        benchmark::DoNotOptimize(y.data<float>());
      }
    }));
  }
  for (std::size_t from = 0; from < predicting; from += rows_of_logits) {
    auto const x = random_rows(std::min(rows_of_logits, predicting - from), width);
    add(cost_of([&] {
      auto const y = linear(x, unembed);
      benchmark::DoNotOptimize(y.data<float>());
    }));
  }
  return took;
}

void baseline(benchmark::State& state, std::string const& at) {
  auto const m = make_plugin<model>("gpt2", {{"path", at}});
  m->load();
  auto const data = make_plugin<source>("hellaswag", {{"path", questions()}});
  auto const probe = make_plugin<wayfarer::probe>("cross_encoding");
  items = std::min(items, data->info().items);
  auto const weights = safetensors_file::open(at + "/model.safetensors");
  std::size_t longest = 0, read = 0, predicting = 0;
  auto const all = data->read({0, items});
  auto const* const words = m->text_tokenizer();
  for (std::size_t i = 0; i < items; ++i) {
    std::size_t const context = words->encode(all.texts[i]).ids.size();
    longest = std::max(longest, context), read += context, ++predicting;
    for (auto const& c : all.choices[i]) read += words->encode(c).ids.size() - 1, predicting += words->encode(c).ids.size() - 1;
  }
  probe_context const context(m.get(), data.get(), {0, items}, 0, longest);
  std::size_t const block = std::clamp<std::size_t>(4096 / longest, 1, 64);  // as the host cuts it
  auto const measure = [&] {
    // Blocks side by side, as the host runs them.
    return cost_of([&] {
      parallel_for((items + block - 1) / block, [&](std::size_t b) {
        auto const some = data->read({b * block, std::min((b + 1) * block, items)});
        auto const tokens = m->encode(some, {});
        activations const nothing;
        accumulator sums(some.count);
        probe->shape(sums, context);
        probe->observe(sums, sample(some, tokens, nothing, 0), context);
        benchmark::DoNotOptimize(&sums);
      });
    });
  };
  std::vector<double> ratios, of_processors, alone;
  for (auto _ : state) {
    cost const before = products(weights, read, predicting), took = measure(), after = products(weights, read, predicting);
    alone.push_back((before.wall + after.wall) / 2);
    ratios.push_back(took.wall / alone.back());
    of_processors.push_back(took.processor / ((before.processor + after.processor) / 2));
    state.SetIterationTime(took.wall);
  }
  state.counters["products_seconds"] = median(alone);
  state.counters["against_products"] = median(ratios);
  state.counters["against_products_cpu"] = median(of_processors);
  state.counters["items"] = static_cast<double>(items);
  state.counters["tokens_read"] = static_cast<double>(read);
  state.counters["rows_of_logits"] = static_cast<double>(predicting);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    std::string const arg = argv[i];
    auto const number = [&](std::size_t from) { return std::max<std::size_t>(1, std::strtoul(arg.c_str() + from, nullptr, 10)); };
    if (arg.starts_with("--model="))
      folder = arg.substr(8);
    else if (arg.starts_with("--threads="))
      threads = number(10);
    else if (arg.starts_with("--items="))
      items = number(8);
    else if (arg.starts_with("--rounds="))
      rounds = number(9);
    else
      rest.push_back(argv[i]);
  }
  tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
  fs::path const made = fs::temp_directory_path() / ("wayfarer-hellaswag-" + std::to_string(getpid()));
  auto const at = make_folder(made).string();
  benchmark::RegisterBenchmark("cross_encoding", baseline, at)
      ->UseManualTime()
      ->Unit(benchmark::kSecond)
      ->Iterations(static_cast<benchmark::IterationCount>(rounds));
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  benchmark::RunSpecifiedBenchmarks();
  std::error_code ignored;
  fs::remove_all(made, ignored);
}
