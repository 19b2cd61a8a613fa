// Durations as people read them. Pure functions, for any thread.
#pragma once

#include <string>

namespace wayfarer::host {

/// "0.4 ms", "12 ms", "2.5 s", "40 s", "12 min", "3.5 h".
std::string format_time(double seconds);

}  // namespace wayfarer::host
