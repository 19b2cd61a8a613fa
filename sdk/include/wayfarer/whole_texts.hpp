// What a probe is that reads texts of any length, in windows of its own.
//
// The host finds it by dynamic_cast. It then does not warn that the model reads only the first tokens of a long text.
#pragma once

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

/// Derive a probe from it beside wayfarer::probe.
struct WAYFARER_API reads_whole_texts {
  virtual ~reads_whole_texts();
};

WAYFARER_INTERFACE_LAYOUT(reads_whole_texts);

}  // namespace wayfarer
