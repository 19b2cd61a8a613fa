// How fast documents come: the generator against the random numbers it can't do without, and reading a file against its bytes.
//
// Everything runs on one thread; a source is read from as many threads as a run has, and threads share nothing.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <wayfarer/file.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/source.hpp>

#include "sources/common/document_file.hpp"

extern "C" wayfarer::plugin_descriptor const* wayfarer_plugin();

namespace {

namespace wf = wayfarer;

std::unique_ptr<wf::source> make_lda(int topics, int words_per_topic, int tau, int documents = 10000) {
  wf::config c;
  auto const set = [&c](char const* name, wf::param_value::storage value) { c.set(name, wf::param_value(std::move(value))); };
  auto const* const d = wayfarer_plugin();
  for (std::uint32_t i = 0; i < d->param_count; ++i) {
    auto const& p = d->params[i];
    if (p.type == wf::param_type::integer)
      set(p.name, static_cast<std::int64_t>(p.default_number));
    else if (p.type == wf::param_type::real)
      set(p.name, p.default_number);
    else
      set(p.name, std::string(p.default_text));
  }
  set("topics", std::int64_t{topics});
  set("words_per_topic", std::int64_t{words_per_topic});
  set("topics_per_document", std::int64_t{tau});
  set("documents", std::int64_t{documents});
  return std::unique_ptr<wf::source>(static_cast<wf::source*>(d->create(c)));
}

/// Arguments: topics, words per topic, tau. Items are words.
void lda_generate(benchmark::State& state) {
  auto const source =
      make_lda(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)), static_cast<int>(state.range(2)), 1 << 30);
  std::size_t first = 0;
  std::int64_t words = 0;
  for (auto _ : state) {
    wf::item_block const block = source->read({first, first + 64});
    benchmark::DoNotOptimize(block.words.values.data());
    words += static_cast<std::int64_t>(block.words.values.size());
    first += 64;
  }
  state.SetItemsProcessed(words);
}
BENCHMARK(lda_generate)->Args({10, 10, 0})->Args({10, 10, 4})->Args({100, 10, 0})->Args({100, 10, 4})->Args({20, 5000, 0});

/// The floor under the generator: two 32-bit random numbers a word, stored. Items are words.
void two_draws_a_word(benchmark::State& state) {
  wf::random_stream draw(0, "floor", 0);
  std::vector<std::uint32_t> out(8000);
  for (auto _ : state) {
    for (std::uint32_t& o : out) {
      std::uint32_t const topic = draw.bits();
      o = topic ^ draw.bits();
    }
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(out.size()));
}
BENCHMARK(two_draws_a_word);

/// 10,000 documents of about 125 words from a file in the page cache, parsed and checked.
void read_reference_file(benchmark::State& state) {
  std::string text;
  auto const block = make_lda(10, 10, 0)->read({0, 10000});
  for (std::size_t i = 0; i < block.count; ++i) {
    for (std::int32_t const w : block.words[i]) text += std::to_string(w) + " ";
    text += "END\n";
  }
  auto const path = std::filesystem::temp_directory_path() / ("wayfarer-bench-" + std::to_string(std::random_device()()));
  wf::write_file_atomically(path, text);
  for (auto _ : state) {
    auto const table = wf::read_documents(path, wf::document_format::reference, {});
    benchmark::DoNotOptimize(table.documents.values.data());
  }
  std::filesystem::remove(path);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(block.words.values.size()));
}
BENCHMARK(read_reference_file)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
