// What the program does when a signal ends it, and when another program truncates a file that it has mapped.
//
// Temporary files are removed, one line names the signal and what is kept, and the exit code is 128 plus the signal's number.
// A run listens (wayfarer/stopping.hpp) and stops cleanly. Everything else ends at once, and so does a run at the second
// Ctrl-C, or if a clean stop takes too long.
#pragma once

#include <string_view>

namespace wayfarer::host {

/// Called once by main, before any thread starts. Signals that were ignored before stay ignored, as under nohup. A SIGBUS in a
/// mapped file prints the file and the place, removes temporary files, and ends the process with exit code 3. Any other SIGBUS
/// goes to the earlier handler.
void install_signal_handlers();

/// Sets the text after "ended by SIGTERM": what is kept, and how to resume. By the main thread.
void say_when_ended(std::string_view what);

/// Makes this process, started by `parent` as one of several, end without a line of its own while that process lives: one is
/// enough for all of them.
void let_parent_tell(int parent) noexcept;
/// Whether the line about a signal is left to the process that started this one.
bool parent_tells() noexcept;

/// The first signal that asked the program to end; 0: none.
int signal_that_ends() noexcept;

/// From now on the program continues when the reader of its output has ended, as in `wayfarer run ... | head`, because it must
/// finish the files that it writes.
void outlive_readers();

}  // namespace wayfarer::host
