#include "near_files.hpp"

#include <algorithm>

#include <wayfarer/hooks.hpp>

namespace wayfarer::host {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t most_read = 1000, most_shown = 5;

std::string suggestion(std::string const& name) {
  return "; did you mean '" + name + "'?";
}

std::string contents(fs::path const& folder, std::vector<std::string> const& known, std::string_view ending) {
  std::error_code ignored;
  std::string const shown = folder.empty() ? "this folder" : folder.string();
  if (!folder.empty() && !fs::exists(folder, ignored)) return "; the folder " + shown + " does not exist";
  std::string out;
  std::size_t n = 0;
  for (auto const& k : known)
    if (fs::path(k).parent_path() == folder && n++ < most_shown) out += (n == 1 ? "" : ", ") + fs::path(k).filename().string();
  if (n == 0) return "; " + shown + " holds no " + std::string(ending) + " file";
  return "; " + shown + " holds " + out + (n > most_shown ? " and " + std::to_string(n - most_shown) + " more" : "");
}

}  // namespace

std::string near_files(fs::path const& wanted, std::vector<std::string> const& endings, std::vector<fs::path> const& more) {
  std::vector<std::string> known;
  auto const add = [&](fs::path const& folder) {
    std::error_code ignored;
    std::size_t read = 0;
    for (fs::directory_iterator at(folder.empty() ? "." : folder, ignored), end; at != end && read < most_read;
         at.increment(ignored), ++read)
      if (std::find(endings.begin(), endings.end(), at->path().extension().string()) != endings.end())
        known.push_back(((folder == "." ? "" : folder) / at->path().filename()).string());
  };
  fs::path const folder = wanted.parent_path();
  add(folder);
  for (auto const& f : more)
    if (!wanted.is_absolute() && f != folder && !(f == "." && folder.empty())) add(f);
  std::sort(known.begin(), known.end());
  // The same name elsewhere, or without its ending, before a slip.
  for (auto const& k : known)
    if (fs::path(k).filename() == wanted.filename() || fs::path(k).stem() == wanted.filename()) return suggestion(k);
  // Names are compared without their folders, whose letters are no reason to take one file for another.
  for (bool const whole : {true, false}) {
    std::vector<std::string> names;
    for (fs::path const k : known) names.push_back((whole ? k.filename() : k.stem()).string());
    if (auto const near = near_names((whole ? wanted.filename() : wanted.stem()).string(), names); !near.empty())
      return suggestion(known[static_cast<std::size_t>(std::find(names.begin(), names.end(), near.front()) - names.begin())]);
  }
  return contents(folder, known, endings.front());
}

}  // namespace wayfarer::host
