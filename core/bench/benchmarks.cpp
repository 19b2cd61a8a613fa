#include "bench/benchmarks.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <utility>

#include <benchmark/benchmark.h>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/source.hpp>

#include "bench/allocations.hpp"
#include "bench/limits.hpp"
#include "conformance/wiring.hpp"
#include "engine/failure.hpp"
#include "engine/threads.hpp"

namespace wayfarer::host::bench {
namespace {

/// What one round of the work amounts to.
struct amounts {
  double items = 0, tokens = 0;         ///< processed; 0: not counted
  double multiply_adds = 0, bytes = 0;  ///< that it can't do without, for the fractions of the limits; 0: not known
};

std::vector<std::string>& names() {
  static std::vector<std::string> all;
  return all;
}

/// Registers `round` under "name/threads:N" for each number of threads.
void add(std::string const& name, work_size const& size, amounts const& each, std::function<void()> const& round) {
  with_place(name, [&] { with_threads(size.threads.front(), round); });
  for (std::size_t const threads : size.threads) {
    names().push_back(name + "/threads:" + std::to_string(threads) + "/real_time");
    benchmark::RegisterBenchmark(
        (name + "/threads:" + std::to_string(threads)).c_str(),
        [=](benchmark::State& state) {
          try {
            with_threads(threads, [&] {
              reset_peak_memory();
              count_allocations();
              round();
              double const allocated = static_cast<double>(allocated_bytes());
              auto const from = std::chrono::steady_clock::now();
              for (auto _ : state) round();
              double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
              using benchmark::Counter;
              auto const rate = [&](char const* what, double amount) {
                if (amount > 0) state.counters[what] = Counter(amount, Counter::kIsIterationInvariantRate);
              };
              auto const fraction = [&](char const* name_of_limit, double amount, double limit) {
                if (amount > 0 && limit > 0)
                  state.counters[name_of_limit] = amount * static_cast<double>(state.iterations()) / seconds / limit;
              };
              rate("items/s", each.items);
              rate("tokens/s", each.tokens);
              if (counts_allocations()) state.counters["allocated"] = Counter(allocated, Counter::kDefaults, Counter::kIs1024);
              state.counters["peak_memory"] = Counter(static_cast<double>(peak_memory()), Counter::kAvgThreads, Counter::kIs1024);
              // The processor's rate at this moment, within and beside other work: what `round` had too. Where that is less than
              // what `round` did, other work came in between and the best rate of this run counts; beyond that there is no
              // figure.
              if (each.multiply_adds > 0) {
                double const done = each.multiply_adds * static_cast<double>(state.iterations()) / seconds,
                             now = multiply_adds_now(threads, 1 << 22),
                             limit = now < done ? measured_limits(threads).multiply_adds : now;
                if (done <= limit) fraction("of_fma_limit", each.multiply_adds, limit);
              }
              fraction("of_bandwidth", each.bytes, measured_limits(threads).bandwidth);
            });
          } catch (std::exception const& e) {
            state.SkipWithError(e.what());
          }
        })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
}

std::vector<item_range> blocks_of(std::size_t items, std::size_t block) {
  std::vector<item_range> all;
  for (std::size_t first = 0; first < items; first += block) all.push_back({first, std::min(first + block, items)});
  return all;
}

double bytes_of(item_block const& b) {
  std::size_t n = 4 * (b.words.values.size() + b.tokens.values.size() + b.decoder_tokens.values.size());
  for (auto const& t : b.texts) n += t.size();
  for (auto const& c : b.choices.values) n += c.size();
  for (auto const& [name, values] : b.truth) n += values.bytes();
  return static_cast<double>(n);
}

std::shared_ptr<source const> make_source(subject const& s) {
  return with_place(s.name, [&] { return std::shared_ptr<source const>(s.what->create<source>(s.parameters)); });
}

std::shared_ptr<model const> make_model(subject const& s) {
  return with_place(s.name, [&] {
    std::shared_ptr<model> m = s.what->create<model>(s.parameters);
    m->load();
    return std::shared_ptr<model const>(m);
  });
}

/// Multiply-adds of one item's forward pass, from the weights that it can't do without: every matrix but the embeddings takes
/// each position once, encoder states where it makes cross-attention's keys and values; attention takes each pair of positions
/// twice over the heads' width, a causal one half of them.
double multiply_adds_of(model const& m, double positions, double decoder_positions, double positions_with_logits) {
  model_info const& info = m.info();
  double sum = positions_with_logits * static_cast<double>(info.d_model) * static_cast<double>(info.vocabulary);
  for (auto const& name : info.weights) {
    bool const is_matrix = name.find(".W_") != name.npos && !name.starts_with("embed") && !name.starts_with("pos_embed") &&
                           !name.starts_with("unembed");
    if (!is_matrix) continue;
    bool const of_decoder =
        name.starts_with("decoder.") && !name.ends_with("cross_attn.W_K") && !name.ends_with("cross_attn.W_V");
    sum += static_cast<double>(m.weight(name).count()) * (of_decoder ? decoder_positions : positions);
  }
  auto const attention = [&](double pairs, std::size_t layers) {
    sum += 2 * pairs * static_cast<double>(info.heads * info.d_head * layers);
  };
  attention(positions * positions * (info.family == model_family::decoder ? 0.5 : 1), info.layers);
  if (info.family == model_family::encoder_decoder)
    attention(decoder_positions * (decoder_positions / 2 + positions), info.decoder_layers);
  return sum;
}

}  // namespace

std::vector<std::string> const& registered() noexcept {
  return names();
}

void add_sources(std::vector<subject> const& subjects, work_size const& size) {
  for (auto const& s : subjects) {
    auto const data = make_source(s);
    auto const ranges =
        std::make_shared<std::vector<item_range>>(blocks_of(std::min(size.items, data->info().items), size.block));
    if (ranges->empty()) throw usage_error(s.name + " has no items");
    amounts each;
    for (auto const& r : *ranges) {
      item_block const b = data->read(r);
      each.items += static_cast<double>(b.count);
      each.tokens += static_cast<double>(b.words.values.size() + b.tokens.values.size());
      each.bytes += bytes_of(b);
    }
    add("sources/" + s.name, size, each,
        [=] { parallel_for(ranges->size(), [&](std::size_t i) { benchmark::DoNotOptimize(data->read((*ranges)[i])); }); });
  }
}

void add_models(std::vector<subject> const& subjects, work_size const& size) {
  for (auto const& s : subjects) {
    auto const m = make_model(s);
    model_info const& info = m->info();
    std::size_t const tokens = info.longest != 0 ? std::min(size.tokens, info.longest) : size.tokens;
    bool const two = info.family == model_family::encoder_decoder;
    std::size_t const decoder_tokens = size.decoder_tokens != 0 ? size.decoder_tokens : tokens;
    auto const input = std::make_shared<batch>();
    for (std::size_t i = 0; i < size.batch; ++i) {
      random_stream draw(size.seed, "bench tokens", i);
      std::vector<std::int32_t> list(tokens);
      for (auto& t : list) t = static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(info.vocabulary)));
      input->tokens.push_back(list);
      if (two) {
        list.resize(decoder_tokens, 1);
        input->decoder_tokens.push_back(list);
      }
    }
    bool const logits = info.find_hook("logits") != nullptr;
    std::string name = "models/" + s.name + "/tokens:" + std::to_string(tokens);
    if (two) name += "/decoder_tokens:" + std::to_string(decoder_tokens);
    name += "/batch:" + std::to_string(size.batch) + "/capture:";
    for (auto const& capture : size.captures) {
      auto const request = std::make_shared<run_request>();
      bool const last = capture == "none";
      if ((last || capture == "logits") && !logits)
        throw usage_error(s.name + " has no logits; use --capture residuals, patterns or all");
      if (logits) request->capture = info.hooks_for("logits");
      request->last_logits_only = last;
      if (capture == "residuals") request->capture.add(info.hooks_for("*hook_resid_post"));
      if (capture == "patterns") request->capture.add(info.hooks_for("*hook_pattern"));
      if (capture == "all") request->capture = info.hooks_for("*");
      double const batch_size = static_cast<double>(size.batch), positions = static_cast<double>(tokens),
                   decoder_positions = two ? static_cast<double>(decoder_tokens) : 0;
      amounts each;
      each.tokens = batch_size * (positions + decoder_positions);
      each.items = batch_size;
      double const logit_positions = !logits ? 0 : last ? 1 : two ? decoder_positions : positions;
      each.multiply_adds = batch_size * multiply_adds_of(*m, positions, decoder_positions, logit_positions);
      add(name + capture, size, each, [=] { benchmark::DoNotOptimize(m->run(*input, *request)); });
    }
  }
}

namespace {

/// A block after its forward pass.
struct ready_block {
  item_block items;
  batch tokens;
  activations captured;
};

bool has_port(plugin const& p, port_kind kind) {
  return std::any_of(p.ports().begin(), p.ports().end(), [&](port_descriptor const& d) { return d.kind == kind; });
}

bool needs_port(plugin const& p, port_kind kind) {
  return std::any_of(p.ports().begin(), p.ports().end(), [&](port_descriptor const& d) { return d.kind == kind && !d.optional; });
}

/// Wires the required results ports to the first made results with which `round` works; returns what `inputs` points into.
std::shared_ptr<void const> wire(subject const& s, registry& others, std::uint64_t seed, bool over_steps, metric_input& inputs,
                                 std::function<void()> const& round) {
  auto const ports = conformance::results_ports(*s.what, false);
  if (ports.empty()) return nullptr;
  std::string reason;
  auto const made = std::make_shared<std::vector<conformance::candidate> const>(conformance::made_results(others, seed, reason));
  auto const works = [&](conformance::wiring const& some) {
    inputs = conformance::wire_up(some);
    try {
      round();
      return true;
    } catch (error const& e) {
      reason = e.what();
    }
    return false;
  };
  if (!conformance::try_wirings(ports, *made, over_steps, works))
    throw usage_error(s.name + " can be wired to none of the results that are made to measure with (" + reason + ")");
  return made;
}

/// The longest items, in tokens and decoder tokens.
std::pair<std::size_t, std::size_t> longest_of(model const& m, source const& data, std::vector<item_range> const& ranges) {
  std::size_t longest = 0, decoder = 0;
  for (auto const& r : ranges) {
    batch const b = m.encode(data.read(r), {});
    for (std::size_t i = 0; i < b.tokens.size(); ++i) longest = std::max(longest, b.tokens[i].size());
    for (std::size_t i = 0; i < b.decoder_tokens.size(); ++i) decoder = std::max(decoder, b.decoder_tokens[i].size());
  }
  return {longest, decoder};
}

/// The blocks that a probe observes, and what they amount to. `m` is null for one that needs no model.
std::vector<ready_block> ready_blocks(subject const& s, probe const& what, model const* m, source const& data,
                                      std::vector<item_range> const& ranges, amounts& each) {
  std::vector<ready_block> ready;
  run_request request;
  if (m) request.capture = with_place(s.name, [&] { return what.needs(m->info()); });
  for (auto const& r : ranges) {
    ready_block b;
    b.items = data.read(r);
    if (m) b.tokens = m->encode(b.items, {});
    if (!request.capture.empty()) b.captured = m->run(b.tokens, request);
    each.items += static_cast<double>(b.items.count);
    each.tokens += static_cast<double>(m ? b.tokens.tokens.values.size() : b.items.words.values.size());
    each.bytes += static_cast<double>(b.captured.bytes()) + bytes_of(b.items);
    ready.push_back(std::move(b));
  }
  return ready;
}

/// What a probe does of a sweep, but for the forward passes: probes that share a sweep share them.
void observe_and_finish(probe const& what, probe_context const& context, std::uint64_t seed,
                        std::vector<ready_block> const& ready) {
  std::vector<std::optional<accumulator>> parts(ready.size());
  parallel_for(ready.size(), [&](std::size_t i) {
    ready_block const& b = ready[i];
    accumulator sums(b.items.count);
    what.shape(sums, context);
    what.observe(sums, sample(b.items, b.tokens, b.captured, seed), context);
    parts[i].emplace(std::move(sums));
  });
  accumulator whole(0);
  if (parts.empty())
    what.shape(whole, context);
  else
    whole = std::move(*parts.front());
  for (std::size_t i = 1; i < parts.size(); ++i) what.merge(whole, *parts[i]);
  results out;
  what.finish(whole, out, context);
  benchmark::DoNotOptimize(out);
}

}  // namespace

void add_probes(std::vector<subject> const& subjects, subject const* over, subject const* data_of, registry& others,
                work_size const& size) {
  for (auto const& s : subjects) {
    if (!over && needs_port(*s.what, port_kind::model)) throw usage_error(s.name + " needs a model; name one with --model");
    if (!data_of && needs_port(*s.what, port_kind::source))
      throw usage_error(s.name + " needs items; name a source with --source");
  }
  auto const m = over ? make_model(*over) : nullptr;
  auto const data = data_of ? make_source(*data_of) : nullptr;
  item_range const items{0, data ? std::min(size.items, data->info().items) : 0};
  auto const ranges = blocks_of(items.size(), size.block);
  auto const [longest, longest_decoder] = m && data ? longest_of(*m, *data, ranges) : std::pair<std::size_t, std::size_t>();
  for (auto const& s : subjects) {
    bool const sees_model = m && has_port(*s.what, port_kind::model), sees_data = data && has_port(*s.what, port_kind::source);
    std::shared_ptr<probe const> const what =
        with_place(s.name, [&] { return std::shared_ptr<probe const>(s.what->create<probe>(s.parameters)); });
    auto const inputs = std::make_shared<metric_input>();
    auto const context =
        std::make_shared<probe_context>(sees_model ? m.get() : nullptr, sees_data ? data.get() : nullptr,
                                        sees_data ? items : item_range{}, 0, longest, longest_decoder, inputs.get());
    accumulator none(0);
    with_place(s.name, [&] { what->shape(none, *context); });
    auto const ready = std::make_shared<std::vector<ready_block>>();
    amounts each;
    if (!none.fields().empty() && sees_data) *ready = ready_blocks(s, *what, sees_model ? m.get() : nullptr, *data, ranges, each);
    std::uint64_t const seed = s.parameters.seed();
    auto const round = [=, keep_model = m, keep_data = data] { observe_and_finish(*what, *context, seed, *ready); };
    auto const made = wire(s, others, size.seed, false, *inputs, round);
    add("probes/" + s.name, size, each, [round, inputs, made] { round(); });
  }
}

void add_metrics(std::vector<subject> const& subjects, registry& others, work_size const& size) {
  for (auto const& s : subjects) {
    std::shared_ptr<metric const> const what =
        with_place(s.name, [&] { return std::shared_ptr<metric const>(s.what->create<metric>(s.parameters)); });
    auto const inputs = std::make_shared<metric_input>();
    auto const round = [what, inputs] {
      results out;
      what->measure(*inputs, out);
      benchmark::DoNotOptimize(out);
    };
    auto const made = wire(s, others, size.seed, what->over_steps(), *inputs, round);
    add("metrics/" + s.name, size, {}, [round, made] { round(); });
  }
}

void add_kernels(work_size const& size) {
  auto const random = [&](dims d) {
    tensor t(dtype::f32, std::move(d));
    random_stream draw(size.seed, "bench kernels", t.count());
    for (auto& v : t.values<float>()) v = draw.uniform_float() - 0.5f;
    return t;
  };
  struct shape {
    std::size_t m, n, k;
  };
  for (auto const& p : {shape{1024, 768, 768}, shape{1024, 3072, 768}, shape{128, 768, 768}, shape{16, 768, 768}}) {
    tensor const a = random({{"row", p.m}, {"in", p.k}}), b = random({{"in", p.k}, {"out", p.n}});
    amounts each;
    each.multiply_adds = static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
    add("kernels/matmul/" + std::to_string(p.m) + "x" + std::to_string(p.n) + "x" + std::to_string(p.k), size, each,
        [=] { benchmark::DoNotOptimize(matmul(a, b)); });
  }
  {
    tensor const x = random({{"row", 768}, {"col", 768}});
    amounts each;
    each.multiply_adds = 768.0 * 768 * 768;
    add("kernels/gram/768x768", size, each, [=] { benchmark::DoNotOptimize(gram(x)); });
  }
  // 32 MiB, so that it comes from memory.
  tensor const rows = random({{"row", 8192}, {"col", 1024}});
  amounts reads;
  reads.bytes = static_cast<double>(rows.bytes());
  reads.items = 8192;
  add("kernels/dot/8192x1024", size, reads, [=] {
    std::vector<double> out(8192);
    auto const at = rows.view<float const>();
    parallel_for(32, [&](std::size_t piece) {
      for (std::size_t i = 256 * piece; i < 256 * (piece + 1); ++i) out[i] = dot(at.row(i), at.row(i));
    });
    benchmark::DoNotOptimize(out);
  });
  tensor const logits = random({{"row", 64}, {"token", 50257}});
  amounts ranked;
  ranked.bytes = static_cast<double>(logits.bytes());
  ranked.items = 64;
  add("kernels/top_k/50257/k:10", size, ranked, [=] {
    std::vector<std::vector<std::int32_t>> out(64);
    auto const at = logits.view<float const>();
    parallel_for(64, [&](std::size_t i) { out[i] = top_k(at.row(i), 10); });
    benchmark::DoNotOptimize(out);
  });
}

}  // namespace wayfarer::host::bench
