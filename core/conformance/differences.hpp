// Digests and comparisons of plugins' results: equal bytes where the rules require that, otherwise the size of the difference.
// Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/source.hpp>

namespace wayfarer::host::conformance {

/// SHA-256 over names, shapes, types, numbers and texts. NaNs count by their bits.
std::string digest_of(tensor const&);
std::string digest_of(results const&);
std::string digest_of(accumulator const&);
std::string digest_of(item_block const&);
std::string digest_of(batch const&);
std::string digest_of(source_info const&);
std::string digest_of(model_info const&);

/// Whether type, shape and bytes are equal.
bool same_bytes(tensor const&, tensor const&);
/// Largest |a - b| over the largest |a| and 1e-30; NaNs and infinities must be at the same places, else infinity. Shapes must be
/// equal, else infinity.
double relative_distance(tensor const& a, tensor const& b);

/// Tolerances for sums in another order, relative to the sum of magnitudes of what was added: for float64, and for
/// float32.
inline constexpr double rounding64 = 1e-10, rounding32 = 1e-5;

/// Two accumulators of the same items, made in different ways. `magnitudes` holds, for each field that is a sum, the sum of the
/// magnitudes of what each item added, and is integral where all of it was.
struct difference {
  std::string what;  ///< "" if there is none
  double worst = 0;  ///< of sums, relative to their magnitudes; infinity where rows or shapes differ
};
difference compare(accumulator const& a, accumulator const& b, accumulator const& magnitudes);

/// The first dataset of which shape, dimensions or texts differ, "" if none does; with `numbers` also the bytes.
std::string first_difference(results const& a, results const& b, bool numbers);

}  // namespace wayfarer::host::conformance
