// The rules repeatable, independent_instances and many_threads.
#include <chrono>

#include "conformance/probes/probe_case.hpp"

namespace wayfarer::host::conformance {

void check_measures_repeat(probe_case const& c, reporter& out) {
  std::string const first = digest_of(c.on->measure(c.what()));
  if (digest_of(c.on->measure(c.what())) != first)
    throw violation("repeatable", "the same items observed twice by one instance give other results");
  auto const other = c.bench->make<probe>();
  if (digest_of(c.on->measure(*other)) != first)
    throw violation("independent_instances", "a second instance with the same parameters gives other results");
  out.digest("results", first);
}

void check_instances_are_independent(probe_case const& c, reporter&) {
  auto const blocks = c.on->blocks(3);
  auto const others = c.on->blocks(2, c.captures() ? whole_numbers(c.seed() + 1) : transform{});
  std::string const alone = digest_of(c.on->sums(c.what(), blocks));
  auto const first = c.bench->make<probe>(), second = c.bench->make<probe>();
  std::vector<accumulator> mine, theirs;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    mine.push_back(c.on->observe(*first, blocks[i]));
    theirs.push_back(c.on->observe(*second, others[i % others.size()]));
  }
  rig::fold(*second, std::move(theirs));
  if (digest_of(rig::fold(*first, std::move(mine))) != alone)
    throw violation("independent_instances", "what a second instance observes changes the first one's sums");
}

void check_observing_on_threads(probe_case const& c, reporter&) {
  auto const blocks = c.on->blocks(7);
  std::vector<std::string> alone;
  for (auto const& b : blocks) alone.push_back(digest_of(c.on->observe(c.what(), b)));
  auto const until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  for (int round = 0; round < 400 && (round < 3 || std::chrono::steady_clock::now() < until); ++round)
    on_threads(4, [&](std::size_t t) {
      for (std::size_t k = 0; k < blocks.size(); ++k) {
        std::size_t const i = (k + 2 * t) % blocks.size();
        if (digest_of(c.on->observe(c.what(), blocks[i])) != alone[i])
          throw violation("many_threads", "a block observed while other threads observe theirs gives other sums");
      }
    });
}

void check_finishing_on_threads(probe_case const& c, reporter&) {
  std::string const alone = digest_of(c.on->measure(c.what()));
  std::vector<std::unique_ptr<probe>> instances;
  for (int t = 0; t < 4; ++t) instances.push_back(c.bench->make<probe>());
  on_threads(4, [&](std::size_t t) {
    if (digest_of(c.on->measure(*instances[t])) != alone)
      throw violation("many_threads", "results differ while other instances finish");
  });
}

}  // namespace wayfarer::host::conformance
