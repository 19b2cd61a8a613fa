#include "pipeline/hub.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer::host {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kind_prefix = "models--";

/// A name that is one component of a path and can't lead anywhere else.
bool is_plain(std::string_view part) noexcept {
  return !part.empty() && part.size() <= 96 && part.front() != '.' && part.front() != '-' &&
         part.find("..") == std::string_view::npos && part.find("--") == std::string_view::npos &&
         std::all_of(part.begin(), part.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
         });
}

std::string variable(char const* name) {
  char const* const value = std::getenv(name);
  return value ? value : "";
}

std::string at_home(std::string const& path) {
  return path == "~" || path.starts_with("~/") ? variable("HOME") + path.substr(1) : path;
}

bool is_folder(fs::path const& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

/// The names of what lies in a folder, sorted.
std::vector<std::string> names_in(fs::path const& folder) {
  std::vector<std::string> all;
  std::error_code ignored;
  for (auto const& entry : fs::directory_iterator(folder, ignored)) all.push_back(entry.path().filename().string());
  std::sort(all.begin(), all.end());
  return all;
}

/// "google/flan-t5-small" for each model in the cache.
std::vector<std::string> cached_models(fs::path const& cache) {
  std::vector<std::string> all;
  for (auto name : names_in(cache)) {
    if (!name.starts_with(kind_prefix)) continue;
    name.erase(0, kind_prefix.size());
    if (auto const cut = name.find("--"); cut != std::string::npos) name.replace(cut, 2, "/");
    all.push_back(std::move(name));
  }
  return all;
}

std::string listed(std::vector<std::string> const& names) {
  std::string all;
  for (std::size_t i = 0; i < names.size() && i < 8; ++i) all += (i ? ", " : "") + in_quotes(names[i]);
  return all + (names.size() > 8 ? " and " + std::to_string(names.size() - 8) + " more" : "");
}

}  // namespace

bool is_hub_name(std::string_view text) noexcept {
  auto const slash = text.find('/');
  if (text.ends_with(".safetensors")) return false;
  return slash == std::string_view::npos ? is_plain(text) : is_plain(text.substr(0, slash)) && is_plain(text.substr(slash + 1));
}

std::string hub_cache() {
  for (char const* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (auto const given = variable(name); !given.empty()) return at_home(given);
  if (auto const home = variable("HF_HOME"); !home.empty()) return (fs::path(at_home(home)) / "hub").string();
  auto const caches = variable("XDG_CACHE_HOME");
  return (fs::path(caches.empty() ? at_home("~/.cache") : caches) / "huggingface/hub").string();
}

std::string find_in_hub_cache(std::string_view name, std::string const& path) {
  fs::path const cache = hub_cache();
  std::string folder(kind_prefix);
  folder += name;
  if (auto const slash = folder.find('/'); slash != std::string::npos) folder.replace(slash, 1, "--");
  fs::path const repository = cache / folder;
  std::string const looked = path + ": no such folder, and no model " + in_quotes(name) + " in Hugging Face's cache: ";
  if (!is_folder(cache)) throw data_error(looked + "there is no " + cache.string() + " (HF_HUB_CACHE or HF_HOME name another)");
  if (!is_folder(repository)) {
    auto const known = cached_models(cache);
    // A name is near in whole or behind its owner's: "flan-t5-small" for "google/flan-t5-small".
    std::vector<std::string> tails;
    for (auto const& k : known) tails.push_back(k.substr(k.find('/') + 1));
    std::string advice = did_you_mean(name, known);
    if (advice.empty())
      if (auto const near = near_names(name.substr(name.find('/') + 1), tails); !near.empty())
        advice = "; did you mean '" +
                 known[static_cast<std::size_t>(std::find(tails.begin(), tails.end(), near[0]) - tails.begin())] + "'?";
    throw data_error(looked + "looked in " + repository.string() + "; " +
                     (known.empty() ? "the cache holds no model" : "the cache holds " + listed(known)) + advice);
  }
  fs::path const ref = repository / "refs" / "main", snapshots = repository / "snapshots";
  std::error_code ignored;
  if (!fs::exists(ref, ignored)) {
    auto const there = names_in(snapshots);
    throw data_error(looked + ref.string() + " is not there, which names the snapshot to read" +
                     (there.empty() ? std::string("; fetch the model again")
                                    : "; give a snapshot's folder itself: " + (snapshots / there.front()).string()));
  }
  std::string hash = read_text(ref.string(), 4096);
  while (!hash.empty() && (hash.back() == '\n' || hash.back() == '\r' || hash.back() == ' ')) hash.pop_back();
  if (!is_plain(hash)) throw data_error(ref.string() + ": " + in_quotes(hash) + " can't be the name of a snapshot");
  fs::path const found = snapshots / hash;
  if (!is_folder(found)) {
    auto const there = names_in(snapshots);
    throw data_error(ref.string() + ": names the snapshot " + in_quotes(hash) + ", which is not in " + snapshots.string() +
                     (there.empty() ? "" : "; there is " + listed(there)));
  }
  return found.string();
}

std::string model_folder(std::string const& given, std::string const& path) {
  std::error_code ignored;
  if (fs::exists(path, ignored) || !is_hub_name(given)) return path;
  return find_in_hub_cache(given, path);
}

}  // namespace wayfarer::host
