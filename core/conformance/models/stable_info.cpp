#include <set>

#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {
namespace {

void bad(std::string const& what) {
  throw violation("stable_info", "info(): " + what);
}

void check_hook(model_info const& i, hook_info const& h) {
  if (h.about.empty()) bad("the hook '" + h.name + "' does not say where it is computed");
  for (auto const& d : h.row)
    if (d.name.empty() || d.size == 0) bad("the hook '" + h.name + "' has a dimension without a name or size");
  for (auto const& d : h.row)
    if ((d.name == "d_model" && d.size != i.d_model) || (d.name == "head" && d.size != i.heads) ||
        (d.name == "d_head" && d.size != i.d_head) || (d.name == "d_mlp" && i.d_mlp != 0 && d.size != i.d_mlp) ||
        (d.name == "token" && d.size != i.vocabulary))
      bad("the hook '" + h.name + "' has " + d.name + " " + std::to_string(d.size) + ", unlike info() itself");
  if (i.family != model_family::encoder_decoder && (h.along == positions::decoder || h.keys == positions::decoder))
    bad("the hook '" + h.name + "' runs over a decoder's positions, and there is no decoder");
}

/// info() against itself.
void check_info(model_info const& i) {
  if (i.architecture.empty()) bad("architecture is empty");
  if (i.vocabulary == 0) bad("vocabulary is 0");
  if (i.d_model == 0) bad("d_model is 0");
  if (i.hooks.empty()) bad("there are no hooks");
  std::set<std::string> seen;
  for (auto const& h : i.hooks) {
    if (!seen.insert(h.name).second) bad("two hooks are called '" + h.name + "'");
    check_hook(i, h);
  }
  seen.clear();
  for (auto const& w : i.weights)
    if (!seen.insert(w).second) bad("two weights are called '" + w + "'");
}

}  // namespace

void check_info_is_stable(model_case const& c, reporter&) {
  check_info(c.m().info());
  if (digest_of(c.m().info()) != c.info_before) throw violation("stable_info", "info() changes when weights are loaded");
  c.m().run(c.tokens(), asking(c.every));
  if (digest_of(c.m().info()) != c.info_before) throw violation("stable_info", "info() changes when the model runs");
  if (digest_of(c.bench->make<model>()->info()) != c.info_before)
    throw violation("stable_info", "two instances with the same parameters say different things");
}

}  // namespace wayfarer::host::conformance
