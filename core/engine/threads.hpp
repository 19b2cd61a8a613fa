// Tests that the threads of a run, a measurement or a check can start, before the work begins.
//
// oneTBB starts threads when it first needs them, and ends the process if one can't be started. This test reports an error
// before any work is lost. Called by the main thread.
#pragma once

#include <cstddef>
#include <functional>

namespace wayfarer::host {

/// As many as the process may use.
std::size_t default_threads();

/// Throws resource_error, with the current limits and a number of threads that works, if so many threads can't run at once.
/// Repeated calls are cheap.
void prove_threads(std::size_t threads);

/// Runs `work` on a thread that shares its loops with `threads - 1` others. Throws as `prove_threads` and as `work` do.
void with_threads(std::size_t threads, std::function<void()> const& work);

}  // namespace wayfarer::host
