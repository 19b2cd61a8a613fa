#include "conformance/probes/probe_case.hpp"

namespace wayfarer::host::conformance {

void check_needs(probe_case const& c, reporter&) {
  auto const& info = c.found().over->info();
  auto const asked = c.what().needs(info);
  if (asked.names() != c.what().needs(info).names())
    throw violation("declared_hooks", "needs() asks for other hooks the second time");
  for (auto const& name : asked.names())
    if (!info.find_hook(name))
      throw violation("declared_hooks", "needs() asks for '" + name + "', which the model does not have; use model.hooks_for()");
}

void check_all_hooks_captured(probe_case const& c, reporter&) {
  auto const every = c.found().every_hook();
  block_data const few = c.on->block(c.on->items()), many = c.on->block(c.on->items(), {}, &every);
  if (digest_of(c.on->observe(c.what(), few)) != digest_of(c.on->observe(c.what(), many)))
    throw violation("declared_hooks", "hooks that needs() does not name change what is measured");
}

}  // namespace wayfarer::host::conformance
