#include <cctype>

#include <wayfarer/error.hpp>

#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {

void check_weights_are_readable(model_case const& c, reporter& out) {
  auto const& m = c.m();
  if (m.info().weights.empty()) out.note("readable_weights", "info() lists no weights");
  for (auto const& name : m.info().weights) {
    tensor const w = m.weight(name);
    if (!w.defined() || w.count() == 0) throw violation("readable_weights", "'" + name + "' is empty");
    for (auto const& d : w.shape())
      if (d.name.empty() || std::isdigit(static_cast<unsigned char>(d.name[0])))
        throw violation("readable_weights", "'" + name + "' has a dimension without a name: " + describe(w.shape()));
    if (!same_bytes(w, m.weight(name))) throw violation("readable_weights", "'" + name + "' differs when read again");
  }
  try {
    m.weight("no.such.weight");
  } catch (usage_error const&) {
    return;
  }
  throw violation("readable_weights", "a weight that does not exist is not a usage_error");
}

}  // namespace wayfarer::host::conformance
