// The threads of a run, of a measurement, of a check: tried before the work begins.
//
// oneTBB starts threads when it first needs them and ends the process if one can't be started; here that is an error while
// nothing has been done yet. Called by the main thread.
#pragma once

#include <cstddef>
#include <functional>

namespace wayfarer::host {

/// As many as the process may use.
std::size_t default_threads();

/// Throws resource_error, with the limits that are set and a number that will do, if so many threads can't run side by side.
/// Cheap when asked again.
void prove_threads(std::size_t threads);

/// Runs `work` on a thread that shares its loops with so many less one others. Throws as `prove_threads` and as `work` do.
void with_threads(std::size_t threads, std::function<void()> const& work);

}  // namespace wayfarer::host
