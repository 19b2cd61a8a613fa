// Arrays between guard pages: reading one element beyond them, or writing to them, ends the process in every build.
#pragma once

#include <wayfarer/model.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::host::conformance {

enum class guard_side { after, before };  ///< where the guard page touches the numbers: beyond the last, or before the first

/// A read-only copy whose numbers touch a page that can't be read; the array itself can't be written to.
tensor guarded(tensor const&, guard_side);

}  // namespace wayfarer::host::conformance
