// How fast topic_transformer trains, in updates of 40 documents, and how near that is to what the processor could do.
//
// The limit counts the multiply-adds that an update cannot do without once its structure is used: for every document, distinct
// keys x distinct masked queries x vocabulary, once forward, once back into the table and, with trained attention, once back into
// the weights; and the products between tables over the vocabulary. `fraction` is that count over what fused multiply-adds on
// registers alone do in the same time (`peak`, measured in the same run). What it leaves out (softmax, optimiser, gathering) is
// why it stays below 1.
#include <benchmark/benchmark.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <bench/limits.hpp>
#include <wayfarer/random.hpp>

#include "fast.hpp"
#include "kernels.hpp"
#include "trainer.hpp"

namespace {

using namespace wayfarer::topic_transformer;

// Documents of the paper's distribution: 100 to 150 words, topic weights from Dirichlet(0.1).
std::vector<std::vector<std::int32_t>> const& documents() {
  static auto const all = [] {
    std::vector<std::vector<std::int32_t>> out(10000);
    for (std::size_t i = 0; i < out.size(); ++i) {
      wayfarer::random_stream draw(1, "documents", i);
      double share[10], sum = 0, most = -1e300;
      for (auto& x : share) x = draw.log_gamma_draw(0.1), most = std::max(most, x);
      for (auto& x : share) x = std::exp(x - most), sum += x;
      for (std::uint32_t n = 100 + draw.below(51); n > 0; --n) {
        double u = draw.uniform() * sum;
        std::int32_t t = 0;
        while (t < 9 && u >= share[t]) u -= share[t++];
        out[i].push_back(10 * t + static_cast<std::int32_t>(draw.below(10)));
      }
    }
    return out;
  }();
  return all;
}

/// Multiply-adds a second of one thread.
double peak() {
  return wayfarer::host::bench::measured_limits(1).multiply_adds;
}

spec setting(char const* regime, style_kind style) {
  spec s = regime_defaults(regime, style);
  if (style == style_kind::repo && s.attention == attention_kind::trained && s.embedding == embedding_kind::one_hot)
    s.init = init_kind::scaled;
  return s;
}

/// Multiply-adds of an average update, see above.
double needed(spec const& s, document_set const& data, std::span<std::uint32_t const> all) {
  std::vector<std::uint16_t const*> out;
  document_set::scratch room;
  data.counts(all, out, room);
  bool const attends = s.attention == attention_kind::trained, decodes = s.decoder != decoder_kind::identity;
  auto const v = static_cast<double>(s.vocabulary()), d = static_cast<double>(s.d());
  double pairs = 0;
  for (auto const* const doc : out) pairs += static_cast<double>(doc[0]) * doc[1];
  double const per_batch = pairs / static_cast<double>(out.size()) * static_cast<double>(s.batch);
  double work = per_batch * v * (attends ? 3 : 2);
  if (decodes) work += 3 * v * v * d;
  if (attends) {
    double queries = 0;  // distinct ones a batch
    for (std::size_t first = 0; first + s.batch <= out.size(); first += s.batch) {
      std::vector<bool> seen(s.vocabulary(), false);
      for (std::size_t i = first; i < first + s.batch; ++i)
        for (std::size_t r = 0; r < out[i][1]; ++r) {
          std::size_t const id = out[i][count_header + 2 * std::size_t{out[i][0]} + 3 * r];
          queries += !seen[id], seen[id] = true;
        }
    }
    work += 3 * queries / static_cast<double>(out.size() / s.batch) * v * d;
  }
  if (s.embedding == embedding_kind::trained)
    work += 3 * v * d * d * ((attends ? 2 : 0) + (s.value == value_kind::trained ? 1 : 0));
  return work;
}

void train_updates(benchmark::State& state, char const* regime, style_kind style, method_kind method) {
  spec const s = setting(regime, style);
  layout const l(s);
  auto const& words = documents();
  document_set const data(
      s,
      [&](std::size_t first, std::span<std::vector<std::int32_t>> out) {
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = words[first + i];
      },
      words.size(), 1, std::size_t{1} << 28);
  std::vector<std::uint32_t> order(words.size());
  shuffled(1, 0, order);
  auto const learn = make_learner<float>(s, l, initial_weights<float>(s, l, 1), method);
  flush_denormals const guard;
  std::size_t update = 0;
  std::span<std::uint32_t const> const all(order);
  for (auto _ : state) {
    std::size_t const first = update % (order.size() / s.batch) * s.batch;
    data.prefetch(all.subspan((first + s.batch) % order.size(), s.batch));
    benchmark::DoNotOptimize(learn->gradient(data, all.subspan(first, s.batch)));
    learn->step(update++, s.learning_rate);
  }
  using benchmark::Counter;
  state.counters["updates"] = Counter(static_cast<double>(update), Counter::kIsRate);
  if (method == method_kind::plain) return;
  double const work = needed(s, data, all);
  state.counters["multiply_adds"] = work;
  state.counters["peak"] = peak();
  state.counters["fraction"] = Counter(work * static_cast<double>(update) / peak(), Counter::kIsRate);
}

BENCHMARK_CAPTURE(train_updates, r2_paper, "R2", style_kind::paper, method_kind::fast);
BENCHMARK_CAPTURE(train_updates, r2_repo, "R2", style_kind::repo, method_kind::fast);
BENCHMARK_CAPTURE(train_updates, r4_paper, "R4", style_kind::paper, method_kind::fast);
BENCHMARK_CAPTURE(train_updates, r4_repo, "R4", style_kind::repo, method_kind::fast);
BENCHMARK_CAPTURE(train_updates, r1_paper, "R1", style_kind::paper, method_kind::fast);
BENCHMARK_CAPTURE(train_updates, r3_paper, "R3", style_kind::paper, method_kind::fast);
BENCHMARK_CAPTURE(train_updates, r5_repo, "R5", style_kind::repo, method_kind::fast);
BENCHMARK_CAPTURE(train_updates, r2_paper_plain, "R2", style_kind::paper, method_kind::plain)->Iterations(20);
BENCHMARK_CAPTURE(train_updates, r4_paper_plain, "R4", style_kind::paper, method_kind::plain)->Iterations(20);

// The largest parts of an update on their own, at the size of the paper: V = 104, padded to 112.
void product_of_tables(benchmark::State& state) {
  constexpr std::size_t n = 104, ld = padded(n);
  aligned_array<float> a(n * ld), b(n * ld), c(n * ld);
  auto const& k = kernels<float>();
  for (auto _ : state) {
    k.product(c.data(), ld, a.data(), ld, 1, b.data(), ld, n, ld, n, false);
    benchmark::ClobberMemory();
  }
  state.counters["fraction"] =
      benchmark::Counter(static_cast<double>(n * n * n) / peak(), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(product_of_tables);

void adam_step(benchmark::State& state) {
  constexpr std::size_t n = 104 * padded(104);
  aligned_array<float> w(n), g(n), m(n), v(n);
  for (std::size_t i = 0; i < n; ++i) g[i] = 0.001f * static_cast<float>(i % 7 + 1);
  auto const& k = kernels<float>();
  for (auto _ : state) {
    k.adam(w.data(), g.data(), m.data(), v.data(), n, 1e-3f, 0.9f, 0.999f, 1.0f, 1e-8f, 0.0f);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * n));
}
BENCHMARK(adam_step);

}  // namespace

BENCHMARK_MAIN();
