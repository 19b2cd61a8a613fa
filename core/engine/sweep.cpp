#include "engine/sweep.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include <oneapi/tbb/parallel_pipeline.h>

#include <wayfarer/parallel.hpp>
#include <wayfarer/stopping.hpp>

#include "engine/failure.hpp"
#include "engine/spoiled.hpp"
#include "engine/texts.hpp"

namespace wayfarer::host {
namespace {

struct block_result {
  item_range items;
  std::vector<accumulator> sums;
};

/// Adds `from` to `into`, unless `into` is still untouched: then takes it over.
void merge(probe const& what, accumulator& into, accumulator&& from, bool first) {
  if (first)
    into = std::move(from);
  else
    what.merge(into, from);
}

item_block read_items(sweep_plan const& plan, item_range items) {
  return with_place(plan.data_name, [&] {
    item_block b = plan.data->read(items);
    if (b.count != items.size() || b.first != items.first)
      throw plugin_error("the source returned other items than it was asked for");
    return b;
  });
}

std::string text_of(item_range r) {
  return "items " + std::to_string(r.first) + " to " + std::to_string(r.last - 1);
}

/// How far a sweep is, in passes and observations of items, so that a sweep of one block has something to say too.
class steps_done {
 public:
  steps_done(progress& to, std::size_t items, std::size_t observers) : to_(to), items_(items), each_(observers + 1) {}
  void add(std::size_t steps) { to_.at((done_ += steps) / each_, items_, "items"); }
  void warn(std::string_view message) { to_.warn(message); }

 private:
  progress& to_;
  std::size_t items_, each_;
  std::atomic<std::size_t> done_{0};
};

void define_counts(sweep_plan const& plan, hook_set const& captured, accumulator& counts) {
  if (plan.edits) plan.edits->define_counts(counts);
  if (plan.over && !captured.empty()) define_spoiled(counts, captured);
}

block_result observe(sweep_plan const& plan, std::vector<observer> const& observers, item_range items, shared_values& of_sweep,
                     steps_done& report) {
  stop_if_asked();
  block_result out{items, {}};
  probe_context const context = context_of(plan);
  for (auto const& o : observers) {
    accumulator sums(items.size());
    with_place(o.name, [&] { o.what->shape(sums, context); });
    out.sums.push_back(std::move(sums));
  }
  // What edits did, and what the model gave, travels with the probes' sums, so that a resumed run knows it of the blocks
  // that are there.
  define_counts(plan, captured_by(observers), out.sums.emplace_back(items.size()));
  if (plan.blocks) {
    auto const there = plan.blocks->load(items, out.sums);
    if (there == block_store::found::whole) {
      report.add(items.size() * (observers.size() + 1));
      return out;
    }
    if (there == block_store::found::damaged) {
      std::string const text = plan.blocks->path_of(items).string() + ": damaged, and made again";
      plan.tell ? plan.tell(text) : report.warn(text);
    }
  }
  item_block const block = read_items(plan, items);
  batch tokens;
  activations captured;
  run_request request;
  request.precision = plan.precision;
  std::shared_ptr<edit_set::block_counts> edited;
  if (plan.over) {
    request.capture = captured_by(observers);
    with_place(plan.model_name, [&] {
      tokens = plan.over->encode(block, {plan.max_tokens});
      if (plan.edits) request.edits = plan.edits->for_block(items, edited);
      if (!request.capture.empty()) captured = plan.over->run(tokens, request);
      for (auto const& name : request.capture.names())
        if (!captured.has(name)) throw plugin_error("the hook '" + name + "' was asked for and did not fire");
    });
    if (!request.capture.empty()) count_spoiled(captured, request.capture, plan.over->info(), items.size(), out.sums.back());
  }
  report.add(items.size());
  shared_values of_block;
  for (std::size_t i = 0; i < observers.size(); ++i) {
    with_place(observers[i].name, [&] {
      sample const seen(block, tokens, captured, observers[i].seed, &request, &of_block, &of_sweep);
      observers[i].what->observe(out.sums[i], seen, context);
    });
    report.add(items.size());
  }
  if (edited) plan.edits->count(*edited, items, out.sums.back());
  if (plan.blocks && plan.before_save) plan.before_save();
  if (plan.blocks) plan.blocks->save(items, out.sums);
  return out;
}

/// Items to look at together when only their lengths are wanted.
constexpr std::size_t measured_together = 64;

}  // namespace

item_lengths longest_of(sweep_plan const& plan, text_counts& texts) {
  if (!plan.over) return {};
  std::size_t const blocks = (plan.items.size() + measured_together - 1) / measured_together;
  std::atomic<std::size_t> tokens{0}, decoder{0};
  auto const raise = [](std::atomic<std::size_t>& most, std::size_t n) {
    for (std::size_t seen = most.load(); seen < n && !most.compare_exchange_weak(seen, n);) {
    }
  };
  parallel_for(blocks, [&](std::size_t i) {
    std::size_t const first = plan.items.first + i * measured_together;
    item_range const r{first, std::min(first + measured_together, plan.items.last)};
    with_place(text_of(r), [&] {
      item_block const block = read_items(plan, r);
      batch const b = with_place(plan.model_name, [&] { return plan.over->encode(block, {plan.max_tokens}); });
      texts.add(block, b);
      for (std::size_t k = 0; k < b.tokens.size(); ++k) raise(tokens, b.tokens[k].size());
      for (std::size_t k = 0; k < b.decoder_tokens.size(); ++k) raise(decoder, b.decoder_tokens[k].size());
    });
  });
  return {tokens, decoder};
}

probe_context context_of(sweep_plan const& plan) {
  return {plan.over, plan.data, plan.items, plan.step, plan.longest.tokens, plan.longest.decoder, plan.inputs};
}

std::vector<item_range> blocks_of_pass(sweep_plan const& plan) {
  std::vector<item_range> all;
  for (std::size_t at = plan.items.first; at < plan.items.last; at += plan.block)
    all.push_back({at, std::min(at + plan.block, plan.items.last)});
  return all;
}

hook_set captured_by(std::vector<observer> const& observers) {
  hook_set all;
  for (auto const& o : observers) all.add(o.hooks);
  return all;
}

void sweep(sweep_plan const& plan, std::vector<observer>& observers, progress& report, accumulator& counts) {
  probe_context const context = context_of(plan);
  for (auto& o : observers) {
    o.sums = accumulator(0);
    o.what->shape(o.sums, context);
  }
  shared_values of_sweep;
  for (auto const& o : observers) with_place(o.name, [&] { o.what->announce(of_sweep, context); });
  define_counts(plan, captured_by(observers), counts);
  steps_done steps(report, plan.items.size(), observers.size());
  report.at(0, plan.items.size(), "items");
  // Blocks in flight. The pipeline hands on their places alone: what it holds itself when an error ends it, it never frees.
  std::vector<block_result> flying(plan.in_flight);
  std::size_t next = plan.items.first, begun = 0, done = 0;
  auto take = [&](tbb::flow_control& control) {
    std::size_t const place = begun++ % flying.size();
    item_range const r{next, std::min(next + plan.block, plan.items.last)};
    if (r.size() == 0)
      control.stop();
    else
      flying[place].items = r;
    next = r.last;
    return place;
  };
  auto work = [&](std::size_t place) {
    item_range const r = flying[place].items;
    flying[place] = with_place(text_of(r), [&] { return observe(plan, observers, r, of_sweep, steps); });
    return place;
  };
  auto collect = [&](std::size_t place) {
    block_result b = std::exchange(flying[place], {});
    for (std::size_t i = 0; i < observers.size(); ++i) {
      with_place(observers[i].name, [&] { merge(*observers[i].what, observers[i].sums, std::move(b.sums[i]), done == 0); });
      if (done == 0) observers[i].sums.keep_rows_in(plan.scratch, plan.items.size(), most_row_bytes);
    }
    counts.append(b.sums.back());
    done += b.items.size();
  };
  tbb::parallel_pipeline(plan.in_flight, tbb::make_filter<void, std::size_t>(tbb::filter_mode::serial_in_order, take) &
                                             tbb::make_filter<std::size_t, std::size_t>(tbb::filter_mode::parallel, work) &
                                             tbb::make_filter<std::size_t, void>(tbb::filter_mode::serial_in_order, collect));
}

struct block_maker::state {
  sweep_plan const& plan;
  std::vector<observer> const& observers;
  shared_values of_sweep;
  steps_done steps;
};

block_maker::block_maker(sweep_plan const& plan, std::vector<observer> const& observers, progress& report)
    : state_(new state{plan, observers, {}, steps_done(report, plan.items.size(), observers.size())}) {
  probe_context const context = context_of(plan);
  for (auto const& o : observers) with_place(o.name, [&] { o.what->announce(state_->of_sweep, context); });
}

block_maker::~block_maker() = default;

void block_maker::operator()(item_range items) const {
  with_place(text_of(items), [&] { observe(state_->plan, state_->observers, items, state_->of_sweep, state_->steps); });
}

}  // namespace wayfarer::host
