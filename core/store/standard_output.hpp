// What a verb prints must not be lost unnoticed: standard output is checked at the end of the program and of every child that
// prints.
//
// Main thread, while nobody else prints.
#pragma once

namespace wayfarer::host {

/// Whoever read our output has gone, as `head` does: nothing to complain of.
struct reader_has_gone {};

/// Call first in main. A standard stream that was closed would give its number to the next file that is opened, and what is
/// printed would end up in a result: it is kept busy, and printing to it fails.
void hold_standard_streams();

/// Writes out what is still to be written. Throws resource_error if any of what was printed is lost, reader_has_gone if it is
/// lost because nobody reads it.
void finish_standard_output();

}  // namespace wayfarer::host
