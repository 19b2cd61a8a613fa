#include <chrono>
#include <span>

#include "conformance/probes/probe_case.hpp"

namespace wayfarer::host::conformance {
namespace {

/// Instances with the same parameters, and with each of them changed, as combinations of a sweep are.
std::vector<std::unique_ptr<probe>> neighbours_of(workbench& bench) {
  std::vector<std::unique_ptr<probe>> all;
  all.push_back(bench.make<probe>());
  for (auto const& d : bench.subject.params())
    for (auto const& t : trials_of(d, bench.base[d.name])) {
      if (t.extreme) continue;
      config c = bench.base;
      c.set(d.name, t.value);
      try {
        all.push_back(bench.make<probe>(c));
      } catch (...) {  // refused; parameter_range looks at how
      }
    }
  return all;
}

template <class Work>
void quietly(Work const& work) {
  try {
    work();
  } catch (...) {  // of the other instances; parameter_range looks at how
  }
}

/// Blocks, and what the probe alone observes in each.
struct observed_alone {
  std::vector<block_data> blocks;
  std::vector<std::string> digests;
};

observed_alone observe_alone(probe_case const& c) {
  // Other parameters may need other hooks.
  hook_set const every = c.found().over && c.captures() ? c.found().every_hook() : hook_set();
  observed_alone out;
  for (auto const& r : c.on->cut(2)) out.blocks.push_back(c.on->block(r, {}, every.empty() ? nullptr : &every));
  for (auto const& b : out.blocks) out.digests.push_back(digest_of(c.on->observe(c.what(), b)));
  return out;
}

/// The probe after these have observed each block before it.
void check_after(probe_case const& c, std::span<std::unique_ptr<probe> const> others, bool announced,
                 observed_alone const& alone) {
  shared_values of_sweep;
  if (announced) {
    for (auto const& o : others) quietly([&] { o->announce(of_sweep, c.on->context()); });
    c.what().announce(of_sweep, c.on->context());
  }
  for (std::size_t i = 0; i < alone.blocks.size(); ++i) {
    shared_values of_block;
    for (auto const& o : others) quietly([&] { c.on->observe(*o, alone.blocks[i], &of_block, &of_sweep); });
    if (digest_of(c.on->observe(c.what(), alone.blocks[i], &of_block, &of_sweep)) != alone.digests[i])
      throw violation("shared_values", "what other probes of a sweep have made changes what is measured");
  }
}

}  // namespace

void check_shared_values(probe_case const& c, reporter&) {
  auto const alone = observe_alone(c);
  auto const others = neighbours_of(*c.bench);
  auto const until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  for (bool const announced : {false, true}) check_after(c, others, announced, alone);
  for (std::size_t i = 0; i < others.size() && std::chrono::steady_clock::now() < until; ++i)
    check_after(c, std::span(others).subspan(i, 1), i % 2 != 0, alone);
}

}  // namespace wayfarer::host::conformance
