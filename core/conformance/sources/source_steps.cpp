// The rules of a source: `read` is a pure function of the range, and agrees with info().
#include <algorithm>

#include "conformance/sources/source_case.hpp"

namespace wayfarer::host::conformance {
namespace {

/// More is read of no source.
constexpr std::size_t most_items = 29;

std::shared_ptr<source_case const> prepare(std::shared_ptr<workbench> const& bench, reporter& start) {
  bench->find_config([&](config const& c) { bench->make<source>(c); });
  auto c = std::make_shared<source_case>();
  c->bench = bench;
  c->subject = bench->make<source>();
  c->some = {0, std::min(c->items(), most_items)};
  start.about("input", std::to_string(c->some.size()) + " of " + std::to_string(c->items()) + " items");
  return c;
}

}  // namespace

std::vector<step> source_steps(std::shared_ptr<workbench> bench, reporter& start) {
  auto const on = prepare(bench, start);
  std::vector<step> steps;
  add_steps(steps, on,
            {{"matches_info", "reading the first and the last items", check_matches_info},
             {"empty_input", "reading no items", check_reading_nothing},
             {"pure_read", "the items in blocks of 1, 2, 7 and all", check_pure_read},
             {"repeatable", "reading twice, in two instances", check_reads_repeat, true},
             {"independent_instances", "two instances taking turns", check_instances_take_turns},
             {"many_threads", "reading from many threads at once", check_reading_on_threads},
             {"stable_info", "info() before and after reading", check_source_info_is_stable}});
  add_parameter_steps(steps, *bench, [bench](config const& c) {
    auto const made = bench->make<source>(c);
    std::string text = digest_of(made->info());
    return text + digest_of(checked_read(*made, {0, std::min<std::size_t>(made->info().items, 5)}));
  });
  return steps;
}

}  // namespace wayfarer::host::conformance
