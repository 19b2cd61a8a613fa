#include "engine/sweep.hpp"

#include <memory>

#include <oneapi/tbb/parallel_pipeline.h>

#include "engine/failure.hpp"

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

block_result observe(sweep_plan const& plan, std::vector<observer> const& observers, item_range items) {
  block_result out{items, {}};
  item_block const block = with_place(plan.data_name, [&] {
    item_block b = plan.data->read(items);
    if (b.count != items.size() || b.first != items.first)
      throw plugin_error("the source returned other items than it was asked for");
    return b;
  });
  batch tokens;
  activations captured;
  if (plan.over) {
    run_request request;
    for (auto const& o : observers) request.capture.add(o.hooks);
    with_place(plan.model_name, [&] {
      tokens = plan.over->encode(block, {plan.max_tokens});
      if (!request.capture.empty()) captured = plan.over->run(tokens, request);
      for (auto const& name : request.capture.names())
        if (!captured.has(name)) throw plugin_error("the hook '" + name + "' was asked for and did not fire");
    });
  }
  probe_context const context(plan.over, plan.data, plan.items, plan.step, 0, 0, plan.inputs);
  for (auto const& o : observers) {
    accumulator sums(block.count);
    with_place(o.name, [&] {
      o.what->shape(sums, context);
      o.what->observe(sums, sample(block, tokens, captured, o.seed), context);
    });
    out.sums.push_back(std::move(sums));
  }
  return out;
}

}  // namespace

void sweep(sweep_plan const& plan, std::vector<observer>& observers, progress& report) {
  probe_context const context(plan.over, plan.data, plan.items, plan.step, 0, 0, plan.inputs);
  for (auto& o : observers) {
    o.sums = accumulator(0);
    o.what->shape(o.sums, context);
  }
  std::size_t next = plan.items.first, done = 0;
  auto take = [&](tbb::flow_control& control) {
    item_range r{next, std::min(next + plan.block, plan.items.last)};
    if (r.size() == 0) control.stop();
    next = r.last;
    return r;
  };
  auto work = [&](item_range r) {
    return std::make_shared<block_result>(with_place("items " + std::to_string(r.first) + " to " + std::to_string(r.last - 1),
                                                     [&] { return observe(plan, observers, r); }));
  };
  auto collect = [&](std::shared_ptr<block_result> const& b) {
    for (std::size_t i = 0; i < observers.size(); ++i)
      merge(*observers[i].what, observers[i].sums, std::move(b->sums[i]), done == 0);
    done += b->items.size();
    report.at(done, plan.items.size(), "items");
  };
  tbb::parallel_pipeline(plan.in_flight,
                         tbb::make_filter<void, item_range>(tbb::filter_mode::serial_in_order, take) &
                             tbb::make_filter<item_range, std::shared_ptr<block_result>>(tbb::filter_mode::parallel, work) &
                             tbb::make_filter<std::shared_ptr<block_result>, void>(tbb::filter_mode::serial_in_order, collect));
}

}  // namespace wayfarer::host
