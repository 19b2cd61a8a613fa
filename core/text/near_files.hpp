// What to say of a file that is not there: a near name, or what its folder holds. Any thread.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace wayfarer::host {

/// "; did you mean 'runs/topic-values.yaml'?" with the nearest name of the files with one of the `endings` in the folder of
/// `wanted` and in `more` folders ("." for here), which count only for relative paths. If none is near, says what the folder
/// holds, or that it is not there. Reads at most 1,000 names of a folder.
std::string near_files(std::filesystem::path const& wanted, std::vector<std::string> const& endings,
                       std::vector<std::filesystem::path> const& more = {});

}  // namespace wayfarer::host
