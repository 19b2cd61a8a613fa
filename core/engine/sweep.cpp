#include "engine/sweep.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
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
  bool made = false;  ///< by this run, else found
};

/// What one probe has gathered from a pass. Parts come in order; of each level, as many as make one part of the next.
class gathered_sums {
 public:
  gathered_sums(sweep_plan const& plan, observer& to) : plan_(plan), to_(to), has_rows_(has_rows(to.sums)) {}
  void add(accumulator&& part, std::size_t level) {
    // Parts of rows are joined in the file that holds them all, so these have one level.
    if (levels_.size() <= level) levels_.resize(level + 1);
    auto& [sums, count] = levels_[level];
    join(sums, std::move(part), count == 0);
    if (has_rows_ && count == 0) sums.keep_rows_in(plan_.scratch, plan_.items.size(), most_row_bytes);
    if (++count < fan_in || has_rows_) return;
    accumulator whole = std::exchange(sums, accumulator(0));
    count = 0;
    add(std::move(whole), level + 1);
  }
  /// Puts together what is left at each level: the later items are in the lower ones.
  void finish() {
    bool first = true;
    for (auto& [sums, count] : levels_) {
      if (count == 0) continue;
      if (!first) join(sums, std::move(to_.sums), false);
      to_.sums = std::move(sums), first = false;
    }
    levels_.clear();
  }

 private:
  void join(accumulator& into, accumulator&& from, bool first) const {
    if (first)
      into = std::move(from);
    else
      with_place(to_.name, [&] { to_.what->merge(into, from); });
  }

  struct sums_of_level {
    accumulator sums{};
    std::size_t count = 0;
  };
  sweep_plan const& plan_;
  observer& to_;
  std::vector<sums_of_level> levels_;
  bool has_rows_;
};

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
  /// Blocks that are read again, to be merged, count once.
  void add(std::size_t steps) { to_.at(std::min((done_ += steps) / each_, items_), items_, "items"); }
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

/// The accumulators of a block, or of many, before anything is in them.
block_result shaped(sweep_plan const& plan, std::vector<observer> const& observers, item_range items) {
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
  return out;
}

/// Whether they are kept and whole.
bool load(sweep_plan const& plan, block_store const& from, block_result& into, steps_done& report) {
  auto const there = from.load(into.items, into.sums);
  if (there == block_store::found::damaged) {
    std::string const text = from.file_of(into.items).string() + ": damaged, and made again";
    plan.tell ? plan.tell(text) : report.warn(text);
  }
  if (there == block_store::found::whole) report.add(into.items.size() * into.sums.size());
  return there == block_store::found::whole;
}

/// Fills accumulators that have their shapes.
void observe(sweep_plan const& plan, std::vector<observer> const& observers, block_result& out, shared_values& of_sweep,
             steps_done& report) {
  stop_if_asked();
  item_range const items = out.items;
  probe_context const context = context_of(plan);
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
      if (!request.capture.empty())
        captured = plan.outputs ? plan.outputs->run(*plan.over, tokens, request, items) : plan.over->run(tokens, request);
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
  out.made = true;
}

/// Fills accumulators that have their shapes, from the store if another run has left the block there.
void find_or_observe(sweep_plan const& plan, std::vector<observer> const& observers, block_result& out, shared_values& of_sweep,
                     steps_done& report) {
  if (!plan.stored || !plan.stored->load(out.items, out.sums)) return observe(plan, observers, out, of_sweep, report);
  stop_if_asked();
  report.add(out.items.size() * out.sums.size());
}

block_result made(sweep_plan const& plan, std::vector<observer> const& observers, item_range items, shared_values& of_sweep,
                  steps_done& report) {
  return with_place(text_of(items), [&] {
    block_result out = shaped(plan, observers, items);
    find_or_observe(plan, observers, out, of_sweep, report);
    return out;
  });
}

/// A block as it was kept, else made, and kept if blocks are.
block_result kept_or_made(sweep_plan const& plan, std::vector<observer> const& observers, item_range items,
                          shared_values& of_sweep, steps_done& report) {
  return with_place(text_of(items), [&] {
    block_result out = shaped(plan, observers, items);
    if (plan.blocks && load(plan, *plan.blocks, out, report)) return out;
    find_or_observe(plan, observers, out, of_sweep, report);
    if (plan.blocks && plan.before_save) plan.before_save();
    if (plan.blocks) plan.blocks->save(items, out.sums);
    return out;
  });
}

/// Items of a part of that level.
std::size_t items_of_part(sweep_plan const& plan, std::size_t level) {
  std::size_t items = plan.block;
  for (std::size_t l = 0; l < level && items < plan.items.size(); ++l) items *= fan_in;
  return items;
}

std::vector<item_range> divided(item_range all, std::size_t each) {
  std::vector<item_range> parts;
  for (std::size_t at = all.first; at < all.last; at += each) parts.push_back({at, std::min(at + each, all.last)});
  return parts;
}

/// A block, or the sum of a part of a higher level, which is kept.
block_result gather(sweep_plan const& plan, std::vector<observer> const& observers, item_range items, std::size_t level,
                    shared_values& of_sweep, steps_done& report) {
  if (level == 0) return kept_or_made(plan, observers, items, of_sweep, report);
  if (block_result kept = shaped(plan, observers, items); load(plan, *plan.merged, kept, report)) return kept;
  block_result out;
  for (item_range const r : divided(items, items_of_part(plan, level - 1))) {
    block_result part = gather(plan, observers, r, level - 1, of_sweep, report);
    if (r.first == items.first) {
      out = std::move(part);
      continue;
    }
    for (std::size_t i = 0; i < observers.size(); ++i)
      with_place(observers[i].name, [&] { observers[i].what->merge(out.sums[i], part.sums[i]); });
    out.sums.back().append(part.sums.back());
  }
  out.items = items, out.made = false;  // it is no block
  plan.merged->save(items, out.sums);
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
  return divided(plan.items, plan.block);
}

std::size_t merge_levels(sweep_plan const& plan) {
  std::size_t levels = 0;
  for (std::size_t n = (plan.items.size() + plan.block - 1) / plan.block; n > fan_in; n = (n + fan_in - 1) / fan_in) ++levels;
  return levels;
}

std::vector<item_range> parts_of_pass(sweep_plan const& plan, std::size_t level) {
  return divided(plan.items, items_of_part(plan, level));
}

bool has_rows(accumulator const& sums) {
  return std::any_of(sums.fields().begin(), sums.fields().end(), [](auto const& field) { return field.second.rows; });
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
  std::vector<gathered_sums> gathered;
  for (auto& o : observers) gathered.emplace_back(plan, o);
  std::size_t const level = plan.merged ? merge_levels(plan) : 0;
  auto const parts = parts_of_pass(plan, level);
  // Blocks in flight. The pipeline hands on their places alone: what it holds itself when an error ends it, it never frees.
  std::vector<block_result> flying(plan.in_flight);
  // Left to other runs as they come, also those of a sweep that ends early.
  std::optional<stored_blocks::line> left;
  if (plan.stored) left.emplace(*plan.stored);
  std::size_t begun = 0;
  auto take = [&](tbb::flow_control& control) {
    std::size_t const place = begun % flying.size();
    if (begun == parts.size())
      control.stop();
    else
      flying[place].items = parts[begun++];
    return place;
  };
  auto work = [&](std::size_t place) {
    flying[place] = gather(plan, observers, flying[place].items, level, of_sweep, steps);
    return place;
  };
  auto collect = [&](std::size_t place) {
    block_result b = std::exchange(flying[place], {});
    if (left && b.made) left->add(b.items, b.sums);
    for (std::size_t i = 0; i < observers.size(); ++i) gathered[i].add(std::move(b.sums[i]), level);
    counts.append(b.sums.back());
  };
  tbb::parallel_pipeline(plan.in_flight, tbb::make_filter<void, std::size_t>(tbb::filter_mode::serial_in_order, take) &
                                             tbb::make_filter<std::size_t, std::size_t>(tbb::filter_mode::parallel, work) &
                                             tbb::make_filter<std::size_t, void>(tbb::filter_mode::serial_in_order, collect));
  for (auto& sums : gathered) sums.finish();
}

struct block_maker::state {
  sweep_plan const& plan;
  std::vector<observer> const& observers;
  shared_values of_sweep;
  steps_done steps;
  std::mutex mutex{};
  std::map<std::size_t, block_result> measured{};  // by their first item

  block_result block(item_range r) {
    {
      std::lock_guard const lock(mutex);
      if (auto const at = measured.find(r.first); at != measured.end()) {
        block_result out = std::move(at->second);
        measured.erase(at);
        return out;
      }
    }
    return made(plan, observers, r, of_sweep, steps);
  }
};

block_maker::block_maker(sweep_plan const& plan, std::vector<observer> const& observers, progress& report)
    : state_(new state{plan, observers, {}, steps_done(report, plan.items.size(), observers.size())}) {
  probe_context const context = context_of(plan);
  for (auto const& o : observers) with_place(o.name, [&] { o.what->announce(state_->of_sweep, context); });
}

block_maker::~block_maker() = default;

void block_maker::operator()(item_range unit) const {
  sweep_plan const& plan = state_->plan;
  block_store::writer out(*plan.blocks, unit);
  std::optional<stored_blocks::line> left;
  if (plan.stored) left.emplace(*plan.stored);
  for (item_range const r : divided(unit, plan.block)) {
    block_result const one = state_->block(r);
    out.add(r, one.sums);
    if (left && one.made) left->add(r, one.sums);
  }
  if (plan.before_save) plan.before_save();
  out.publish();
}

double block_maker::measure(item_range block, std::uint64_t* bytes) const {
  auto const start = std::chrono::steady_clock::now();
  block_result one = made(state_->plan, state_->observers, block, state_->of_sweep, state_->steps);
  std::chrono::duration<double> const time = std::chrono::steady_clock::now() - start;
  if (bytes) *bytes = bytes_of_block(one.sums);
  std::lock_guard const lock(state_->mutex);
  state_->measured.insert_or_assign(block.first, std::move(one));
  return time.count();
}

void block_maker::merge(item_range items, std::size_t level) const {
  gather(state_->plan, state_->observers, items, level, state_->of_sweep, state_->steps);
}

}  // namespace wayfarer::host
