#include "engine/node_state.hpp"

#include <cstdint>
#include <string_view>
#include <utility>

#include <wayfarer/snapshot_state.hpp>

#include "engine/equal_steps.hpp"
#include "engine/failure.hpp"

namespace wayfarer::host {

std::string title_of(plan_node const& n, std::size_t combination) {
  std::string const which = n.name_of_combination(combination);
  return n.name + " (" + std::string(n.what->id()) + ", " + n.what->library().filename().string() +
         (which.empty() ? "" : "; " + which) + ")";
}

void put_state(filed_writer& out, node_state const& s, wayfarer::model const* learner) {
  auto const [code, text] = s.failure ? lasting_error(s.failure) : std::pair<int, std::string>();
  out.put(static_cast<std::uint64_t>(code));
  out.put(std::string_view(text));
  out.put(s.seconds);
  out.put(s.out);
  out.put(std::uint64_t{s.axes.size()});
  for (auto const& a : s.axes) {
    out.put(std::string_view(a.name));
    out.put(a.labels);
    out.put(a.numbers);
  }
  out.put(std::uint64_t{s.parts.size()});
  for (auto const& part : s.parts) out.put(part);
  out.put(std::string_view(s.spoiled));
  out.put(std::string_view(s.why_no_reason));
  out.put(std::uint64_t{s.steps.size()});
  for (std::size_t k = 0; k < s.steps.size(); ++k) {
    out.put(std::uint64_t{s.steps[k]});
    auto const tensors = dynamic_cast<snapshot_state const&>(*learner).tensors_of(*s.snapshots[k]);
    out.put(std::uint64_t{tensors.size()});
    for (auto const& [name, values] : tensors) {
      out.put(std::string_view(name));
      out.put(values);
    }
  }
}

node_state read_state(filed_reader& in, wayfarer::model const* learner) {
  node_state s;
  int const code = static_cast<int>(in.number());
  std::string const text = in.text();
  if (code != 0) try {
      throw_as(code, text);
    } catch (...) {
      s.failure = std::current_exception();
    }
  s.seconds = in.real();
  s.out = in.node();
  for (std::size_t n = in.count(8); n > 0; --n) {
    axis& a = s.axes.emplace_back();
    a.name = in.text(), a.labels = in.texts(), a.numbers = in.values();
  }
  for (std::size_t n = in.count(8); n > 0; --n) s.parts.push_back(in.node());
  if (!s.axes.empty() && s.parts.size() != combinations_of(s.axes)) in.fail();
  s.spoiled = in.text(), s.why_no_reason = in.text();
  for (std::size_t n = in.count(8); n > 0; --n) {
    s.steps.push_back(in.number());
    std::vector<std::pair<std::string, tensor>> tensors(in.count(8));
    for (auto& [name, values] : tensors) name = in.text(), values = in.values();
    auto const* const maker = dynamic_cast<snapshot_state const*>(learner);
    if (!maker) in.fail();
    s.snapshots.push_back(maker->snapshot_of(tensors));
  }
  s.first_equal = first_equal(s.snapshots, dynamic_cast<snapshot_state const*>(learner));
  return s;
}

}  // namespace wayfarer::host
