// The one way for a plugin to use more than one thread: a loop whose pieces are fixed by the caller, run on the host's threads.
//
// Results must not depend on which thread ran a piece, nor in which order: write each piece's result to its own place and combine
// the pieces in index order afterwards. Never sum floating point across threads.
#pragma once

#include <cstddef>
#include <functional>

#include <wayfarer/export.hpp>

namespace wayfarer {

/// Calls body(i) for i in [0, n), each exactly once, on up to `concurrency()` threads; returns when all are done. The first
/// exception is rethrown here; `stopped` if the run ends meanwhile (stopping.hpp).
WAYFARER_API void parallel_for(std::size_t n, std::function<void(std::size_t)> const& body);

/// How many threads a loop may use now (the run's --threads).
WAYFARER_API std::size_t concurrency() noexcept;

}  // namespace wayfarer
