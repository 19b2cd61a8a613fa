// What 48 settings of concept_similarity cost beside one, over the same items and the same forward pass, as the host sweeps them.
//
//     bench_concepts [--layers=12] [--width=768] [--items=32] [--threads=2]
//
// A GPT-2 of that shape with random weights reads HellaSwag: all of it and with GPT-2's tokenizer where WAYFARER_DATA names the
// folder that holds them, else the slice and the tokenizer of the runs. The settings are word (3) x layer (2) x norm (4) x
// similarity (2). `against_one` is the median ratio of pairs, each measured one after the other.
#include <benchmark/benchmark.h>
#include <oneapi/tbb/global_control.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <engine/sweep.hpp>
#include <engine/texts.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>

#include "plugins.hpp"
#include "random_gpt2.hpp"

namespace {

using namespace wayfarer;
namespace fs = std::filesystem;

std::size_t layers = 12, width = 768, items = 32, threads = 2;
constexpr std::size_t positions = 1024;

/// A checkpoint with random weights, and a tokenizer.
void make_checkpoint(fs::path const& to) {
  fs::create_directories(to);
  char const* const data = std::getenv("WAYFARER_DATA");
  std::size_t const vocabulary = data ? 50257 : 369;
  bench::write_random_gpt2(to, {layers, width, vocabulary, positions});
  for (char const* const name : {"vocab.json", "merges.txt", "encoder.json", "vocab.bpe"}) {
    fs::path const from =
        data ? fs::path(data) / "tokenizer-gpt2" / name : fs::path(WAYFARER_SOURCE_DIR "/runs/data/tiny-gpt2") / name;
    if (fs::exists(from)) fs::create_symlink(fs::absolute(from), to / name);
  }
}

struct silent final : progress {
  void at(std::size_t, std::size_t, std::string_view) override {}
  void warn(std::string_view) override {}
};

void settings(benchmark::State& state, std::string const& folder) {
  auto const m = make_plugin<model>("gpt2", {{"path", folder}});
  m->load();
  char const* const data = std::getenv("WAYFARER_DATA");
  auto const questions =
      make_plugin<source>("hellaswag", {{"path", data ? std::string(data) + "/hellaswag/hellaswag_val_full.txt.bz2"
                                                      : std::string(WAYFARER_SOURCE_DIR "/runs/data/hellaswag/slice.txt")}});
  std::vector<std::unique_ptr<probe>> probes;
  for (char const* word : {"mean", "w1mean", "relu|mean"})
    for (char const* layer : {"top", "middle"})
      for (char const* norm : {"none", "l2", "z", "var"})
        for (char const* similarity : {"dot", "cosine"})
          probes.push_back(make_plugin<probe>("concept_similarity",
                                              {{"word", word}, {"layer", layer}, {"norm", norm}, {"similarity", similarity}}));
  host::sweep_plan plan;
  plan.over = m.get(), plan.data = questions.get();
  plan.items = {0, std::min(items, questions->info().items)};
  plan.model_name = "gpt2", plan.data_name = "hellaswag", plan.scratch = fs::temp_directory_path().string();
  plan.block = 16;
  host::text_counts texts(0);
  plan.longest = host::longest_of(plan, texts);
  auto const seconds = [&](std::size_t count) {
    std::vector<host::observer> observers;
    for (std::size_t i = 0; i < count; ++i) observers.push_back({probes[i].get(), "setting " + std::to_string(i), {}});
    silent report;
    auto const from = std::chrono::steady_clock::now();
    accumulator counts(0);
    host::sweep(plan, observers, report, counts);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
  };
  std::vector<double> ratios, ones;
  for (auto _ : state) {
    double const one = seconds(1), all = seconds(probes.size());
    ones.push_back(one), ratios.push_back(all / one);
    state.SetIterationTime(all);
  }
  state.counters["one_setting_seconds"] = median(ones);
  state.counters["against_one"] = median(ratios);
  state.counters["settings"] = static_cast<double>(probes.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    std::string const arg = argv[i];
    bool mine = false;
    for (auto const& [name, to] : {std::pair{"--layers=", &layers}, std::pair{"--width=", &width}, std::pair{"--items=", &items},
                                   std::pair{"--threads=", &threads}})
      if (arg.starts_with(name))
        *to = std::max<std::size_t>(1, std::strtoul(arg.c_str() + std::string(name).size(), nullptr, 10)), mine = true;
    if (!mine) rest.push_back(argv[i]);
  }
  width = (width + 63) / 64 * 64;
  tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
  fs::path const folder = fs::temp_directory_path() / ("wayfarer-concepts-" + std::to_string(getpid()));
  make_checkpoint(folder);
  benchmark::RegisterBenchmark("concept_similarity/48_settings", settings, folder.string())
      ->UseManualTime()
      ->Unit(benchmark::kSecond)
      ->Iterations(3);
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  benchmark::RunSpecifiedBenchmarks();
  std::error_code ignored;
  fs::remove_all(folder, ignored);
}
