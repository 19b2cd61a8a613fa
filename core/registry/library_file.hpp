// A plugin library as a file: all checks before the dynamic loader maps it and runs its constructors.
//
// Called by load_plugin on the main thread. What is checked is what is loaded: the caller loads the returned descriptor through
// /proc/self/fd, so that nothing can be put in the file's place between the two.
#pragma once

#include <filesystem>

namespace wayfarer::host {

/// Opens a library for loading: a whole ELF shared library for this machine, in its own folder (a link may not lead out of it),
/// that other users can't write to. Returns a file descriptor that the caller owns. Throws plugin_error with the
/// library's name, what is wrong, and what to do.
///
/// Headers and segments must lie within the file, because the loader would map a truncated one and die of SIGBUS. This is no
/// defence against a malicious library with a valid file: to load code is to trust it.
int open_library(std::filesystem::path const& library);

}  // namespace wayfarer::host
