// Where this program is installed, and how a user calls it: for verbs that write projects and print commands. Main thread.
#pragma once

#include <filesystem>
#include <string>

namespace wayfarer::host {

/// The folder that the program is installed in: above bin/. Empty if it is not known.
std::filesystem::path installed_prefix();
/// How the user calls this program: by its name if that is how it is found, else by its path.
std::string program_name();
/// A word as a shell takes it: in quotes where it needs them.
std::string shell_word(std::string const&);

}  // namespace wayfarer::host
