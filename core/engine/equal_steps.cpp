#include "engine/equal_steps.hpp"

#include <map>
#include <numeric>
#include <string>
#include <utility>

#include <wayfarer/digest.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::host {
namespace {

std::string digest_of(model const& snapshot, snapshot_state const& maker) {
  sha256 all;
  for (auto const& [name, values] : maker.tensors_of(snapshot)) {
    all.update(name + " " + std::string(name_of(values.type())) + " " + describe(values.shape()) + "\n");
    tensor const whole = values.contiguous() ? values : values.clone();
    all.update({static_cast<std::byte const*>(whole.raw()), whole.bytes()});
  }
  return all.hex();
}

}  // namespace

std::vector<std::size_t> first_equal(std::vector<std::shared_ptr<model const>> const& snapshots, snapshot_state const* maker) {
  std::vector<std::size_t> first;
  std::map<model const*, std::size_t> objects;
  std::map<std::string, std::size_t> digests;
  for (std::size_t s = 0; s < snapshots.size(); ++s) {
    model const* const one = snapshots[s].get();
    std::size_t at = objects.emplace(one, s).first->second;
    // One snapshot alone has nothing to be equal to.
    if (at == s && maker && snapshots.size() > 1) at = digests.emplace(digest_of(*one, *maker), s).first->second;
    first.push_back(at);
  }
  return first;
}

std::vector<std::size_t> first_equal_in_both(std::vector<std::size_t> const& a, std::vector<std::size_t> const& b) {
  std::vector<std::size_t> first(a.size());
  std::iota(first.begin(), first.end(), std::size_t{0});
  if (a.size() != b.size()) return first;
  std::map<std::pair<std::size_t, std::size_t>, std::size_t> known;
  for (std::size_t s = 0; s < a.size(); ++s) first[s] = known.emplace(std::pair(a[s], b[s]), s).first->second;
  return first;
}

void tell_equal_steps(std::vector<std::size_t> const& steps, std::vector<std::size_t> const& first, results& out) {
  std::vector<std::int64_t> numbers, same;
  std::size_t repeated = 0;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    numbers.push_back(static_cast<std::int64_t>(steps[s]));
    same.push_back(static_cast<std::int64_t>(steps[first[s]]));
    repeated += first[s] == s ? 0 : 1;
  }
  if (repeated == 0) return;
  out.add("same_weights_as_step", tensor::of(same, {{"snapshot", same.size()}}))
      .coordinate("snapshot", tensor::of(numbers, {{"snapshot", numbers.size()}}))
      .about("first step whose snapshot has the same bytes: probes measured that one, and its results stand for both");
  std::string const so_far = out.summary();
  out.summarise(so_far + (so_far.empty() ? "" : "; ") + std::to_string(repeated) + " of " + counted(steps.size(), "snapshot") +
                (repeated == 1 ? " equals an earlier one: measured once" : " equal earlier ones: measured once"));
}

}  // namespace wayfarer::host
