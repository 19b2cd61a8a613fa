// Reports lost output: standard output is checked at the end of the program and of every child that
// prints.
//
// Main thread, while no other thread prints.
#pragma once

namespace wayfarer::host {

/// The reader of our output has ended, as `head` does. This is not an error.
struct reader_has_gone {};

/// Call first in main. The next opened file would get the number of a closed standard stream, and output would be written into a
/// result. So closed streams are replaced by one to which printing fails.
void hold_standard_streams();

/// Flushes the output. Throws resource_error if any output is lost, reader_has_gone if it is lost because its reader
/// has ended.
void finish_standard_output();

}  // namespace wayfarer::host
