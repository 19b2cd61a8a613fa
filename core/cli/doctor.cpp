// wayfarer doctor: what is installed, what the machine can do, and which problems there are. For users, and for bug
// reports.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include <dlfcn.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/version.hpp>

#include "cli/options.hpp"
#include "cli/planning.hpp"
#include "cli/terminal.hpp"
#include "cli/verbs.hpp"
#include "engine/provenance.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

using facts = std::vector<std::vector<std::string>>;

/// "" where the system has no such file.
std::string first_line(char const* file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

/// oneDNN as the SDK has loaded it: the program itself does not link it.
std::string onednn() {
  struct version {
    int major, minor, patch;
    char const* hash;
    unsigned cpu_runtime, gpu_runtime;
  };
  auto const of = reinterpret_cast<version const* (*)()>(::dlsym(RTLD_DEFAULT, "dnnl_version"));
  if (!of) return "not loaded";
  version const& v = *of();
  std::string const threads = v.cpu_runtime == 1   ? "sequential"
                              : v.cpu_runtime == 2 ? "OpenMP, held to one thread"
                              : v.cpu_runtime == 4 ? "oneTBB"
                                                   : "unknown threads";
  return std::to_string(v.major) + "." + std::to_string(v.minor) + "." + std::to_string(v.patch) + ", " + threads;
}

/// What HDF5 says of itself.
std::string hdf5() {
  std::string out;
  for (auto const& [name, version] : library_versions())
    if (name == "hdf5") out = version;
  auto const safe = reinterpret_cast<int (*)(bool*)>(::dlsym(RTLD_DEFAULT, "H5is_library_threadsafe"));
  bool yes = false;
  if (safe && safe(&yes) >= 0) out += yes ? ", threadsafe" : ", not threadsafe";
  return out;
}

std::size_t usable_processors() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<std::size_t>(CPU_COUNT(&set)) : 0;
}

/// Of the processor's flags, those that change which code runs.
std::string features() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line);
    std::string out;
    for (std::string word; words >> word;)
      for (std::string_view const known :
           {"avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16"})
        if (word == known) out += (out.empty() ? "" : " ") + word;
    return out.empty() ? "none of AVX2, FMA, AVX-512: the baseline code runs" : out;
  }
  return "unknown";
}

/// Bytes of a line of /proc/meminfo, "MemAvailable".
std::uint64_t memory(std::string_view what) {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(what)) return std::strtoull(line.c_str() + what.size() + 1, nullptr, 10) * 1024;
  return 0;
}

std::string limit(int resource, bool bytes) {
  rlimit l{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &l) != 0) return "unknown";
  if (l.rlim_cur == RLIM_INFINITY) return "none";
  return bytes ? format_size(l.rlim_cur) : format_count(l.rlim_cur);
}

std::string space_in(fs::path const& folder) {
  std::error_code code;
  auto const space = fs::space(folder, code);
  return code ? "unknown: " + code.message() : format_size(space.available) + " free";
}

}  // namespace

int doctor_verb(words const& arguments) {
  verb_options o(
      "doctor [OPTIONS]",
      "Lists what is installed and what this machine can do: versions, plugins found, broken and shadowed, processor,\n"
      "threads, memory, limits. Reports problems. Exit code 4 if a plugin can't be used.",
      {"wayfarer doctor", "wayfarer doctor --plugin-path build/plugins", "wayfarer doctor --json > report.json"});
  o.named().add_options()("plugin-path",
                          boost::program_options::value<std::vector<std::string>>()->composing()->value_name("DIR"),
                          "look for plugins here first; may be given more than once")("json", "print JSON");
  if (!o.parse(arguments)) return 0;

  registry plugins = open_registry(o);
  std::vector<std::string> problems, notes;
  std::map<std::string, std::vector<std::string>> by_kind;
  bool broken = false;
  for (auto const& id : plugins.ids()) {
    try {
      if (auto const* p = plugins.find(id)) by_kind[std::string(name_of(p->kind())) + "s"].push_back(id);
    } catch (plugin_error const& e) {
      broken = true;
      problems.emplace_back(e.what());
    }
  }
  if (by_kind.empty())
    problems.emplace_back("no plugins were found; give their folder with --plugin-path or WAYFARER_PLUGIN_PATH");
  for (auto const& s : plugins.shadowed())
    notes.push_back(s.string() + " is hidden by a plugin of the same name in an earlier folder");

  facts versions, machine, limits, found;
  versions.push_back({"wayfarer", std::string(WAYFARER_VERSION)});
  for (auto const& [name, version] : library_versions())
    if (name != "wayfarer" && name != "hdf5" && name != "onednn") versions.push_back({name, version});
  versions.push_back({"hdf5", hdf5()});
  versions.push_back({"onednn", onednn()});
  versions.push_back({"plugin interface",
                      std::to_string(WAYFARER_SDK_MAJOR) + "." + std::to_string(WAYFARER_SDK_MINOR) + ", " WAYFARER_ABI_TAG});

  for (auto const& [name, value] : environment()) machine.push_back({name, value});
  machine.push_back({"features", features()});
  std::size_t const usable = usable_processors();
  long const all = ::sysconf(_SC_NPROCESSORS_ONLN);
  machine.push_back({"processors", std::to_string(usable) + " of " + std::to_string(all) + " may be used"});
  if (std::string const quota = first_line("/sys/fs/cgroup/cpu.max"); !quota.empty() && !quota.starts_with("max")) {
    double of = 0, period = 1;
    std::istringstream(quota) >> of >> period;
    machine.push_back(
        {"processor time", format_number(std::round(of / period * 100) / 100) + " processors (limit of the container)"});
    if (of / period + 0.5 < static_cast<double>(usable))
      notes.push_back("the container limits processor time to less than its processors; --threads " +
                      std::to_string(std::max(1L, std::lround(of / period))) + " avoids waiting");
  }
  machine.push_back({"memory", format_size(memory("MemAvailable:")) + " of " + format_size(memory("MemTotal:")) + " available"});
  if (std::string const most = first_line("/sys/fs/cgroup/memory.max"); !most.empty() && most != "max")
    machine.push_back({"memory", format_size(std::strtoull(most.c_str(), nullptr, 10)) + " (limit of the container)"});
  std::error_code code;
  machine.push_back({"this folder", space_in(fs::current_path(code))});
  fs::path const temporary = fs::temp_directory_path(code);
  if (code)
    problems.push_back("there is no folder for temporary files: " + code.message() + "; set TMPDIR");
  else
    machine.push_back({"temporary files", temporary.string() + ", " + space_in(temporary)});

  limits.push_back({"open files", limit(RLIMIT_NOFILE, false)});
  limits.push_back({"address space", limit(RLIMIT_AS, true)});
  limits.push_back({"file size", limit(RLIMIT_FSIZE, true)});
  limits.push_back({"stack", limit(RLIMIT_STACK, true)});

  for (auto const& [kind, ids] : by_kind) {
    std::string text;
    for (auto const& id : ids) text += (text.empty() ? "" : " ") + id;
    found.push_back({kind, text});
  }
  for (auto const& f : plugins.folders()) found.push_back({"folder", f.string()});

  std::vector<std::pair<char const*, facts const*>> const parts{
      {"versions", &versions}, {"machine", &machine}, {"limits", &limits}, {"plugins", &found}};
  if (o.has("json")) {
    auto report = json_value::object();
    for (auto const& [title, rows] : parts) {
      auto list = json_value::array();
      for (auto const& row : *rows)
        list.push_back(json_value::object({{"name", row[0]}, {"value", is_utf8(row[1]) ? row[1] : printable(row[1])}}));
      report.set(title, std::move(list));
    }
    auto wrong = json_value::array(), said = json_value::array();
    for (auto const& p : problems) wrong.push_back(printable(p));
    for (auto const& n : notes) said.push_back(printable(n));
    report.set("problems", std::move(wrong)).set("notes", std::move(said));
    std::cout << printable_json(report, 2) << '\n';
  } else {
    bool const bold = colours();
    for (auto const& [title, rows] : parts)
      std::cout << (bold ? "\033[1m" : "") << title << (bold ? "\033[0m" : "") << '\n' << format_table({}, *rows) << '\n';
    for (auto const& n : notes) std::cout << "note: " << printable(n) << '\n';
    for (auto const& p : problems)
      std::cout << (bold ? "\033[31m" : "") << "problem: " << (bold ? "\033[0m" : "") << printable(p) << '\n';
    if (problems.empty()) std::cout << "no problems found\n";
  }
  return broken ? 4 : 0;
}

}  // namespace wayfarer::host
