// The rules leaves_input_alone, within_bounds and odd_numbers: what a probe does with the arrays that it is shown.
#include "conformance/probes/probe_case.hpp"

namespace wayfarer::host::conformance {

void check_input_left_alone(probe_case const& c, reporter&) {
  block_data const b = c.on->block(c.on->items());
  auto const digest = [&] {
    std::string text = digest_of(b.items) + digest_of(b.tokens);
    for (auto const& name : c.on->hooks().names())
      for (std::size_t i = 0; i < b.items.count; ++i) text += digest_of(b.captured.at(name, i));
    return text;
  };
  std::string const before = digest();
  c.on->observe(c.what(), b);
  if (digest() != before)
    throw violation("leaves_input_alone", "observe changes what it is shown, which other probes see after it");
}

void check_within_bounds(probe_case const& c, guard_side side) {
  auto const guard = [side](std::string const&, tensor const& t) { return guarded(t, side); };
  for (std::size_t const n : {1, 3}) c.on->measure(c.what(), n, guard);
}

void check_every_activation(probe_case const& c, double value, reporter& out) {
  std::string const refusal = refusal_of([&] { c.on->measure(c.what(), 2, filled(value)); });
  if (!refusal.empty() && value == 0.0) out.note("odd_numbers", "activations that are all zero are refused: " + refusal);
}

}  // namespace wayfarer::host::conformance
