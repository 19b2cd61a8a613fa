#include <wayfarer/run_files.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <mutex>
#include <set>
#include <system_error>

#include <wayfarer/error.hpp>

#include "read_log.hpp"

namespace wayfarer {
namespace fs = std::filesystem;

namespace {

struct named_input {
  std::string name;
  file_identity file;
  bool is_folder = false;
};

struct tables {
  std::mutex mutex;
  std::vector<named_input> inputs;
  std::set<file_identity> read;
};

tables& all() {
  static tables one;
  return one;
}

thread_local bool unlogged = false;

file_identity identity_of(struct stat const& s) {
  return {static_cast<std::uint64_t>(s.st_dev), static_cast<std::uint64_t>(s.st_ino)};
}

char const* kind_of(mode_t mode) {
  return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

}  // namespace

std::optional<file_identity> identity_of(std::string const& path) {
  struct stat s {};
  if (::stat(path.c_str(), &s) != 0) return {};
  return identity_of(s);
}

// ---- what is read ----

void provide_run_inputs(std::vector<std::string> paths) {
  std::vector<named_input> inputs;
  for (auto& path : paths) {
    struct stat s {};
    if (::stat(path.c_str(), &s) == 0) inputs.push_back({std::move(path), identity_of(s), S_ISDIR(s.st_mode)});
  }
  std::lock_guard const lock(all().mutex);
  all().inputs = std::move(inputs);
  all().read.clear();
}

std::optional<run_input> run_input_at(std::string const& path) {
  auto const file = identity_of(path);
  if (!file) return {};
  std::vector<named_input> inputs;
  {
    std::lock_guard const lock(all().mutex);
    inputs = all().inputs;
  }
  for (auto const& one : inputs)
    if (one.file == *file) return run_input{one.name, false};
  for (auto const& one : inputs) {
    if (!one.is_folder) continue;
    // File by file, not by the folder's name: links inside lead to files elsewhere.
    std::error_code ignored;
    for (fs::directory_iterator at(one.name, ignored), end; at != end; at.increment(ignored))
      if (identity_of(at->path().string()) == file) return run_input{at->path().string(), true};
  }
  return {};
}

bool was_read(file_identity const& file) {
  std::lock_guard const lock(all().mutex);
  return all().read.contains(file);
}

void note_read(std::string const& path) {
  if (auto const file = identity_of(path)) read_log::note(*file);
}

void read_log::note(file_identity const& file) {
  if (unlogged) return;
  std::lock_guard const lock(all().mutex);
  all().read.insert(file);
}

read_log::pause::pause() noexcept {
  unlogged = true;
}
read_log::pause::~pause() {
  unlogged = false;
}

// ---- where one may write ----

std::string link_target(std::string const& given) {
  std::string path = given;
  constexpr int most = 40;  // as the kernel
  for (int i = 0; i < most; ++i) {
    std::error_code none;
    fs::path const to = fs::read_symlink(path, none);
    if (none) return path;
    path = to.is_absolute() ? to.string() : (fs::path(path).parent_path() / to).string();
  }
  throw usage_error(given + ": a link that leads to itself; remove it, or name another file");
}

void take_mode_of(std::string const& replaced, int descriptor) noexcept {
  struct stat before {
  }, now{};
  if (::stat(replaced.c_str(), &before) != 0 || !S_ISREG(before.st_mode) || ::fstat(descriptor, &now) != 0) return;
  mode_t mode = before.st_mode & 0777;
  // A group that can't be given must not read what another group was to read.
  if (before.st_gid != now.st_gid && ::fchown(descriptor, static_cast<uid_t>(-1), before.st_gid) != 0) mode &= 0707u;
  if (before.st_uid != now.st_uid && ::fchown(descriptor, before.st_uid, static_cast<gid_t>(-1)) != 0) {
  }
  if (::fchmod(descriptor, mode) != 0) {
  }
}

output_place check_output(std::string const& given, output_rule const& rule) {
  auto const refuse = [&](std::string const& why, std::string const& advice) {
    throw usage_error(rule.option + " " + (given.empty() ? "''" : given) + ": " + why + "; " + advice);
  };
  if (given.empty()) refuse("is empty", "name the file to write");
  if (given.find('\0') != given.npos) refuse("holds a NUL byte", "name another file");
  std::string path;
  try {
    path = link_target(given);
  } catch (usage_error const&) {
    refuse("is a link that leads to itself", "remove it, or name another file");
  }
  std::string const where = path == given ? "" : "leads to " + path + ", which ";
  std::error_code code;
  fs::path const folder = fs::path(path).parent_path();
  if (fs::path(path).filename().empty() || fs::is_directory(path, code))
    refuse(where + "is a folder", "name a file in it, such as " + (fs::path(given) / "result.h5").string());
  if (!folder.empty() && !fs::exists(folder, code))
    refuse("there is no folder " + folder.string(), "make it ('mkdir -p " + folder.string() + "'), or name another place");
  if (!folder.empty() && !fs::is_directory(folder, code)) refuse(folder.string() + " is not a folder", "name a file in a folder");
  constexpr std::size_t longest = 255;
  if (fs::path(path).filename().native().size() > longest)
    refuse("the name is longer than " + std::to_string(longest) + " bytes", "choose a shorter one");

  struct stat there {};
  if (::stat(path.c_str(), &there) != 0) {
    if (errno == ENOENT) return {given, path, false};
    refuse(std::generic_category().message(errno), "name another file");
  }
  if (!S_ISREG(there.st_mode)) refuse(where + std::string("is ") + kind_of(there.st_mode), "name a file that can be replaced");
  auto const input = run_input_at(path);
  bool const own = rule.is_own && rule.is_own(path);
  // An earlier output that lies in an input folder is no input: no model and no text is read from such a file.
  if (input && !(input->in_folder && own))
    refuse(where + "is read by this run" + (input->name == path ? "" : " as " + input->name), "name another file");
  if (!own && !rule.forced)
    refuse(where + "exists already and is not " + rule.wanted, "name another file, or use " + rule.force + " to replace it");
  if (!rule.forced && ((there.st_mode & 0222) == 0 || ::access(path.c_str(), W_OK) != 0))
    refuse(where + "may not be written", "name another file, or use " + rule.force + " to replace it");
  return {given, path, true};
}

}  // namespace wayfarer
