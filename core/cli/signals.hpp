// What the program does when a file that it has mapped is cut by somebody: the next touch of the lost part is a SIGBUS, which
// becomes the data error that it is.
#pragma once

namespace wayfarer::host {

/// Called once by main, before any thread starts. A SIGBUS in a mapped file then prints which file and where, removes what was
/// being written, and ends the process with exit code 3; any other goes to whoever handled it before.
void install_signal_handlers();

}  // namespace wayfarer::host
