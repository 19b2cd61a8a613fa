// The rules of a probe: what it measures depends on the items, not on how they are cut, merged or shared.
#include <cmath>
#include <limits>

#include "conformance/probes/find_stage.hpp"
#include "conformance/probes/probe_case.hpp"

namespace wayfarer::host::conformance {
namespace {

using shared_case = std::shared_ptr<probe_case const>;

shared_case prepare(std::shared_ptr<workbench> const& bench, reporter& start) {
  stage const found = find_stage(*bench);
  start.about("input", found.name + found.fed);
  auto c = std::make_shared<probe_case>();
  c->bench = bench;
  c->subject = bench->make<probe>();
  c->on = std::make_shared<rig const>(found, c->what(), bench->base.seed());
  try {
    c->observing = c->on->observes(c->what());
  } catch (...) {
    c->observing = true;  // the steps will say it with a name
  }
  return c;
}

void add_block_steps(std::vector<step>& steps, shared_case const& on) {
  for (bool const exact : {false, true}) {
    if (exact && !on->captures()) break;
    std::string const kind = exact ? "activations that are whole numbers" : "activations";
    transform const change = exact ? whole_numbers(on->seed()) : transform{};
    steps.push_back(
        {"split_invariance", kind + " in 1, 2, 7 and single-item blocks", [=](reporter& out) { check_split(*on, change, out); }});
    steps.push_back({"merge_order", kind + ", blocks merged from the left and from the right",
                     [=](reporter& out) { check_merge_order(*on, change, out); }});
  }
}

void add_array_steps(std::vector<step>& steps, shared_case const& on) {
  add_steps(steps, on, {{"leaves_input_alone", "captures, items and tokens before and after", check_input_left_alone}});
  for (auto const side : {guard_side::after, guard_side::before}) {
    std::string const where = side == guard_side::after ? "behind the last number" : "before the first number";
    steps.push_back(
        {"within_bounds", "captures with a forbidden page " + where, [=](reporter&) { check_within_bounds(*on, side); }});
  }
  for (auto const& [number, name] :
       {std::pair{std::nan(""), "NaN"}, std::pair{std::numeric_limits<double>::infinity(), "infinity"},
        std::pair{-std::numeric_limits<double>::infinity(), "minus infinity"}, std::pair{3.4e38, "the largest numbers"},
        std::pair{1e-45, "the smallest numbers"}, std::pair{0.0, "zeros"}})
    steps.push_back({"odd_numbers", std::string("every activation ") + name,
                     [on, value = number](reporter& out) { check_every_activation(*on, value, out); }});
}

void add_observing_steps(std::vector<step>& steps, shared_case const& on) {
  if (on->found().over && on->captures())
    add_steps(
        steps, on,
        {{"declared_hooks", "with all of the model's hooks captured, as when probes share a pass", check_all_hooks_captured}});
  add_block_steps(steps, on);
  add_steps(steps, on,
            {{"shared_values", "after instances with other parameters, which share values with it", check_shared_values},
             {"independent_instances", "another instance observing other items in between", check_instances_are_independent},
             {"many_threads", "blocks observed by four threads at once", check_observing_on_threads}});
  if (on->captures()) add_array_steps(steps, on);
  add_steps(steps, on,
            {{"writes_results", "every field of the accumulator", check_fields_written},
             {"empty_input", "a block of no items, and finishing without having observed any", check_nothing_observed}});
  add_length_steps(steps, on);
}

}  // namespace

std::vector<step> probe_steps(std::shared_ptr<workbench> bench, reporter& start) {
  auto const on = prepare(bench, start);
  std::vector<step> steps;
  if (on->found().over) add_steps(steps, on, {{"declared_hooks", "needs() twice, and against the model's hooks", check_needs}});
  add_steps(steps, on,
            {{"writes_results", "observing everything in two blocks", check_results_written},
             {"repeatable", "the same items again, in a second instance, in another process", check_measures_repeat, true}});
  if (on->observing)
    add_observing_steps(steps, on);
  else
    add_steps(steps, on, {{"many_threads", "four instances finishing at once", check_finishing_on_threads}});
  add_family_steps(steps, on);
  add_steps(steps, on, {{"steps_agree", "another snapshot of the model, with other activations", check_steps_agree}});
  add_parameter_steps(steps, *bench, [on](config const& c) {
    auto const made = on->bench->make<probe>(c);
    return digest_of(rig(on->found(), *made, c.seed()).measure(*made));
  });
  return steps;
}

}  // namespace wayfarer::host::conformance
