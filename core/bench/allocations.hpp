// How much memory work asks for: bytes handed out by malloc and its kin, counted while a measurement is on, and the peak of what
// the process holds.
//
// The program's own malloc calls the C library's. When counting is off, it costs one predictable branch. Sanitizers replace
// malloc themselves, so nothing is counted under them. Any thread.
#pragma once

#include <cstdint>

namespace wayfarer::host::bench {

/// Whether allocations can be counted in this build.
bool counts_allocations() noexcept;
/// Starts counting from zero.
void count_allocations() noexcept;
/// Stops, and returns the bytes asked for since.
std::uint64_t allocated_bytes() noexcept;

/// Forgets the peak so far, where the system allows it.
void reset_peak_memory() noexcept;
/// Peak of resident memory since then, in bytes.
std::uint64_t peak_memory() noexcept;

}  // namespace wayfarer::host::bench
