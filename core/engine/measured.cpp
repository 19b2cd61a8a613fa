// One real block of each pass, for `wayfarer check --workers`: what it takes, and so what the whole will.
#include <algorithm>
#include <cstdio>
#include <numeric>

#include "engine/run.hpp"
#include "engine/texts.hpp"
#include "engine/threads.hpp"

namespace wayfarer::host {
namespace {

/// Items whose lengths are looked at: of a long source the first ones stand for all.
constexpr std::size_t most_measured = std::size_t{1} << 14;

}  // namespace

/// Why a block of a task can't be made before the run; "" if it can.
std::string run::why_not_measured(task const& t) const {
  for (std::size_t const i : t.nodes)
    for (auto const& w : plan_.nodes[i].wires) {
      std::string const& from = plan_.nodes[w.node].name;
      if (w.kind == port_kind::results) return "it needs what '" + from + "' finds";
      if (w.kind == port_kind::model && objects_[w.node].trains) return "'" + from + "' must be trained first";
    }
  return "";
}

measured_pass run::measure_pass(task const& t, console::part& report) {
  measured_pass out{t.nodes};
  auto const members = members_of(t);
  step_input const in = input_of_step(t, 0);
  sweep_plan some = plan_of_sweep(t, in.over, in.data);
  out.of_all_items = some.items.size() <= most_measured;
  some.items.last = std::min(some.items.last, some.items.first + most_measured);
  text_counts unused(0);
  item_lengths const longest = reads_items(t, members, in.over, in.data) ? longest_of(some, unused) : item_lengths{};
  step_pass pass;
  prepare_pass(pass, t, members, in, longest);
  if (!pass.passes) {
    out.why_not = "it looks at no items";
    return out;
  }
  auto const blocks = blocks_of_pass(pass.plan);
  out.block = pass.plan.block, out.blocks = blocks.size(), out.in_flight = pass.plan.in_flight;
  block_maker const make(pass.plan, pass.watching, report);
  out.seconds = make.measure(blocks.front(), &out.kept_bytes);
  // The first one may load and pack what the others find.
  if (blocks.size() > 1 && out.seconds < 1) out.seconds = std::min(out.seconds, make.measure(blocks[1], nullptr));
  out.peak_memory = peak_memory_bytes();
  return out;
}

std::vector<measured_pass> run::measure_passes(std::size_t threads) {
  threads_ = threads;
  same_.resize(plan_.nodes.size());
  std::iota(same_.begin(), same_.end(), std::size_t{0});
  std::set<std::size_t> loaded;
  std::vector<measured_pass> all;
  for (auto const& t : tasks_of(plan_)) {
    std::size_t const front = t.nodes.front();
    if (plan_.nodes[front].kind != plugin_kind::probe || !wire_of(front, port_kind::source)) continue;
    measured_pass one{t.nodes};
    one.why_not = why_not_measured(t);
    try {
      auto const report = talk_.start(plan_.nodes[front].name);
      wire const* const over = wire_of(front, port_kind::model);
      // Whole, as a run loads it: what another pass needs of it is no less.
      if (one.why_not.empty() && over && loaded.insert(over->node).second)
        with_place(title(over->node), [&] { execute_model(over->node, *report); });
      if (one.why_not.empty()) one = measure_pass(t, *report);
    } catch (error const& e) {
      one.why_not = e.what();
    }
    all.push_back(std::move(one));
  }
  return all;
}

std::vector<measured_pass> measure_passes(plan const& p, std::vector<instance>& objects, run_options const& options,
                                          console& talk) {
  std::size_t const threads = options.threads != 0 ? options.threads : default_threads();
  std::vector<measured_pass> all;
  with_threads(threads, [&] { all = run(p, objects, options, talk).measure_passes(threads); });
  return all;
}

}  // namespace wayfarer::host
