// What the program does when a signal ends it, and when a file that it has mapped is cut by somebody.
//
// Whatever is being written under a temporary name is removed, one line says which signal it was and what is kept, and the exit
// code is 128 and the signal's number. A run listens (wayfarer/stopping.hpp) and comes to rest in good order, everything else
// ends at once; so does a run at the second Ctrl-C, and one that takes too long to come to rest.
#pragma once

#include <string_view>

namespace wayfarer::host {

/// Called once by main, before any thread starts. Signals that were ignored before stay ignored, as under nohup. A SIGBUS in a
/// mapped file prints which file and where, removes what was being written, and ends the process with exit code 3; any other goes
/// to whoever handled it before.
void install_signal_handlers();

/// What to say after "ended by SIGTERM" from now on: what is kept, and how to go on. By the main thread.
void say_when_ended(std::string_view what);

/// The first signal that asked the program to end; 0: none.
int signal_that_ends() noexcept;

/// From now on the program goes on when nobody reads its output any more, as in `wayfarer run ... | head`: what it writes into
/// files matters more.
void outlive_readers();

}  // namespace wayfarer::host
