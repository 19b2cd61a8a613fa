// The rules hooks_fire and capture_subset.
#include <wayfarer/error.hpp>

#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {

void check_hooks_fire(model_case const& c, reporter&) {
  activations const all = c.m().run(c.tokens(), asking(c.every));
  for (auto const& h : c.m().info().hooks)
    for (std::size_t i = 0; i < c.tokens().items(); ++i) {
      if (!all.has(h.name)) throw violation("hooks_fire", "'" + h.name + "' was asked for and did not fire");
      tensor const& t = all.at(h.name, i);
      dims const want = declared_shape(c.m().info(), h, c.tokens(), i);
      if (t.shape() != want)
        throw violation("hooks_fire",
                        "'" + h.name + "' is " + describe(t.shape()) + " for an item for which it declares " + describe(want));
      if (t.type() != dtype::f32)
        throw violation("hooks_fire",
                        "'" + h.name + "' is captured as " + std::string(wayfarer::name_of(t.type())) + ", not f32");
    }
}

void check_unknown_hook(model_case const& c, reporter&) {
  try {
    c.m().run(c.tokens(), asking(hook_set({"no.such.hook"})));
  } catch (error const&) {
    return;
  }
  throw violation("hooks_fire", "a hook that does not exist was asked for, and nothing was said");
}

void check_capture_subset(model_case const& c, reporter& out) {
  batch const& b = c.tokens();
  activations const all = c.m().run(b, asking(c.every));
  comparison same("capture_subset", "asked for alone and with all others", out);
  for (auto const& name : c.every.names()) {
    activations const alone = c.m().run(b, asking(hook_set({name})));
    for (std::size_t i = 0; i < b.items(); ++i) same("'" + name + "'", all.at(name, i), alone.at(name, i));
    for (auto const& other : c.every.names())
      if (other != name && alone.has(other))
        throw violation("capture_subset", "'" + other + "' was captured, and only '" + name + "' was asked for");
  }
  c.m().run(b, {});
}

}  // namespace wayfarer::host::conformance
