// Topic fitting: a pass over documents of the size of the AP set (2,246 documents, 10,473 words, 302,000 distinct words in all),
// and its kernel by instruction set.
//
// Why: fitting LDA to a corpus is the slow half of measuring a pretrained model by topics. To compare with gensim on the AP set
// itself, name its ap.dat in WAYFARER_AP; peers/lda_gensim.py does so, and times gensim in turn.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#include <wayfarer/instruction_set.hpp>
#include <wayfarer/random.hpp>

#include "corpus.hpp"
#include "kernels.hpp"
#include "variational.hpp"

namespace lda = wayfarer::lda;

namespace {

lda::corpus made_up() {
  lda::corpus c;
  c.vocabulary = 10473;
  wayfarer::random_stream draw(0, "benchmark");
  std::vector<std::int32_t> words;
  for (std::size_t d = 0; d < 2246; ++d) {
    words.clear();
    // Words by Zipf's law: the rank is the exponential of a uniform number.
    for (int i = 0; i < 220; ++i)
      words.push_back(static_cast<std::int32_t>(std::min(10472.0, std::exp(draw.uniform() * std::log(10473.0)) - 1)));
    std::sort(words.begin(), words.end());
    for (std::size_t i = 0; i < words.size(); ++i)
      if (i == 0 || words[i] != words[i - 1])
        c.words.push_back(words[i]), c.counts.push_back(1);
      else
        c.counts.back() += 1;
    c.offsets.push_back(c.words.size());
  }
  return c;
}

lda::corpus corpus() {
  char const* const file = std::getenv("WAYFARER_AP");
  if (!file) return made_up();
  lda::corpus c;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::size_t n = 0;
    fields >> n;
    std::vector<std::pair<std::int32_t, float>> bag;
    char colon = 0;
    for (std::pair<std::int32_t, float> p; fields >> p.first >> colon >> p.second;) bag.push_back(p);
    std::sort(bag.begin(), bag.end());
    for (auto const& [w, count] : bag) {
      c.words.push_back(w), c.counts.push_back(count);
      c.vocabulary = std::max(c.vocabulary, static_cast<std::size_t>(w) + 1);
    }
    c.offsets.push_back(c.words.size());
  }
  return c;
}

/// Arguments: topics, threads. Settings are gensim's defaults.
void a_pass(benchmark::State& state) {
  static lda::corpus const data = corpus();
  lda::settings s;
  s.topics = static_cast<std::size_t>(state.range(0));
  tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(state.range(1)));
  tbb::task_arena arena(static_cast<int>(state.range(1)));
  arena.execute([&] {
    lda::online_lda<float> fit(data, s);
    fit.pass();
    for (auto _ : state) fit.pass();
    state.counters["iterations_of_a_document"] = fit.mean_iterations();
  });
  state.counters["documents"] =
      benchmark::Counter(static_cast<double>(state.iterations() * data.documents()), benchmark::Counter::kIsRate);
}
BENCHMARK(a_pass)->Args({100, 1})->Args({100, 2})->Args({20, 2})->Unit(benchmark::kMillisecond)->UseRealTime();

/// The whole fit as gensim's LdaModel does it, first topics included. Arguments: topics, passes, threads. `bound`: what it
/// reached, in nat a word; `pass_seconds`: of one pass on average.
void a_fit(benchmark::State& state) {
  static lda::corpus const data = corpus();
  lda::settings s;
  s.topics = static_cast<std::size_t>(state.range(0));
  auto const passes = state.range(1);
  tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(state.range(2)));
  tbb::task_arena arena(static_cast<int>(state.range(2)));
  arena.execute([&] {
    double seconds = 0;
    for (auto _ : state) {
      auto const from = std::chrono::steady_clock::now();
      lda::online_lda<float> fit(data, s);
      for (auto p = passes; p > 0; --p) fit.pass();
      double const took = std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
      seconds += took;
      state.SetIterationTime(took);
      state.counters["bound"] = fit.per_word_bound();
    }
    state.counters["pass_seconds"] = seconds / static_cast<double>(state.iterations() * passes);
  });
}
BENCHMARK(a_fit)->Args({100, 5, 1})->Args({100, 5, 2})->Unit(benchmark::kMillisecond)->UseManualTime();

/// One document of 134 distinct words under 100 topics, 50 iterations.
void a_document(benchmark::State& state, lda::kernel_table<float> const& table, wayfarer::instruction_set needs) {
  if (wayfarer::best_instruction_set() < needs)
    return state.SkipWithError("this processor, or WAYFARER_ISA, lacks these instructions");
  std::size_t const topics = 100, ld = 112, words = 134, padded = 144;
  std::vector<float> beta(words * ld), counts(padded, 0), alpha(ld, 1), gamma(ld, 1), theta(ld), rate(padded), rows(padded * ld),
      sums(ld), bounds(padded, 0), extra(ld);
  std::vector<std::size_t> which(padded);
  std::fill_n(bounds.begin(), words, 1e-9f);  // no product of these weights is less: none is taken in logarithms
  std::vector<std::int32_t> ids(words);
  wayfarer::random_stream draw(0, "benchmark");
  for (std::size_t w = 0; w < words; ++w) {
    ids[w] = static_cast<std::int32_t>(w), counts[w] = 1;
    for (std::size_t k = 0; k < topics; ++k) beta[w * ld + k] = draw.uniform_float();
  }
  std::fill_n(alpha.begin(), topics, 0.01f);
  lda::document_job<float> job;
  job.beta = beta.data(), job.words = ids.data(), job.counts = counts.data(), job.n = words, job.alpha = alpha.data();
  job.gamma = gamma.data(), job.theta = theta.data(), job.rate = rate.data(), job.rows = rows.data(), job.sums = sums.data();
  job.bounds = bounds.data(), job.which = which.data(), job.extra = extra.data();
  job.ld = ld, job.topics = topics, job.iterations = 50, job.threshold = 0;
  for (auto _ : state) {
    std::fill_n(gamma.begin(), topics, 1.0f);
    benchmark::DoNotOptimize(table.infer(job));
  }
  state.counters["flops"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * 51 * 4 * words * ld, benchmark::Counter::kIsRate);
}
BENCHMARK_CAPTURE(a_document, baseline, lda::kernels_baseline_f32, wayfarer::instruction_set::baseline);
#if defined(__x86_64__)
BENCHMARK_CAPTURE(a_document, avx2, lda::kernels_avx2_f32, wayfarer::instruction_set::avx2);
BENCHMARK_CAPTURE(a_document, avx512, lda::kernels_avx512_f32, wayfarer::instruction_set::avx512);
#endif

}  // namespace

BENCHMARK_MAIN();
