// wayfarer init: creates a small starter project: a pipeline, its texts, a model, notes.
#include <algorithm>
#include <iostream>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

#include "cli/installed.hpp"
#include "cli/options.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

constexpr std::size_t largest_file = std::size_t{16} << 20;

/// Copies the regular files of a folder, and says their names.
void copy_files(fs::path const& from, fs::path const& to, std::string const& under) {
  std::error_code code;
  if (!fs::is_directory(from, code))
    throw resource_error("what a project is made of is not installed: " + from.string() +
                         " is missing; install the package wayfarer, or Wayfarer itself with 'cmake --install'");
  fs::create_directories(to, code);
  if (code) throw resource_error("can't make the folder " + printable(to.string()) + ": " + code.message());
  std::vector<fs::path> files;
  for (auto const& entry : fs::directory_iterator(from))
    if (entry.is_regular_file() && entry.path().extension() != ".py") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (auto const& f : files) {
    write_file_atomically((to / f.filename()).string(), read_text(f.string(), largest_file));
    std::cout << "  " << under << f.filename().string() << '\n';
  }
}

}  // namespace

int init_verb(words const& arguments) {
  verb_options o("init DIR",
                 "Creates a small starter project: a pipeline, its texts, a small GPT-2 that reads them, and a page for notes.\n"
                 "Prints three commands that run it and show its results.",
                 {"wayfarer init first"});
  o.positional("DIR");
  if (!o.parse(arguments)) return 0;
  fs::path const to = o.place("DIR", "the folder to write");
  std::error_code code;
  if (fs::exists(fs::symlink_status(to, code)) && !(fs::is_directory(to, code) && fs::is_empty(to, code)))
    throw usage_error("'" + printable(to.string()) + "' exists already; name a new folder, or an empty one");
  fs::path const share = installed_prefix() / "share/wayfarer";
  std::cout << printable(to.string()) << ": a starter project\n";
  copy_files(share / "project", to, "");
  copy_files(share / "runs/data/tiny-gpt2", to / "model", "model/");

  std::string const folder = shell_word(to.string()), program = shell_word(program_name());
  std::cout << "\nRun it, look at it:\n\n"
            << "  " << program << " run " << folder << "/pipeline.yaml --out " << folder << "/first.h5\n"
            << "  " << program << " show " << folder << "/first.h5 'lens/top_tokens[item=0,rank=0]'\n"
            << "  " << program << " report " << folder << "/first.h5 --out " << folder << "/first.html\n";
  return 0;
}

}  // namespace wayfarer::host
