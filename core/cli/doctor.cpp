// wayfarer doctor: what is installed, what the machine can do, and which problems there are. For users, and for bug
// reports.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include <dlfcn.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <wayfarer/error.hpp>
#include <wayfarer/instruction_set.hpp>
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

/// What the parts of the page add to.
struct diagnosis {
  facts versions, machine, limits, plugins;
  std::vector<std::string> problems, notes;
  bool broken = false;  ///< a plugin can't be used
};

void look_at_plugins(diagnosis& d, registry& plugins) {
  std::map<std::string, std::string> by_kind;
  for (auto const& id : plugins.ids()) {
    try {
      if (auto const* p = plugins.find(id)) {
        auto& ids = by_kind[std::string(name_of(p->kind())) + "s"];
        ids += (ids.empty() ? "" : " ") + id;
      }
    } catch (plugin_error const& e) {
      d.broken = true;
      d.problems.emplace_back(e.what());
    }
  }
  if (by_kind.empty())
    d.problems.emplace_back("no plugins were found; give their folder with --plugin-path or WAYFARER_PLUGIN_PATH");
  for (auto const& s : plugins.shadowed())
    d.notes.push_back(s.string() + " is hidden by a plugin of the same name in an earlier folder");
  for (auto const& [kind, ids] : by_kind) d.plugins.push_back({kind, ids});
  for (auto const& f : plugins.folders()) d.plugins.push_back({"folder", f.string()});
}

facts versions_here() {
  facts versions{{"wayfarer", std::string(WAYFARER_VERSION)}};
  for (auto const& [name, version] : library_versions())
    if (name != "wayfarer" && name != "hdf5" && name != "onednn") versions.push_back({name, version});
  versions.push_back({"hdf5", hdf5()});
  versions.push_back({"onednn", onednn()});
  versions.push_back({"plugin interface",
                      std::to_string(WAYFARER_SDK_MAJOR) + "." + std::to_string(WAYFARER_SDK_MINOR) + ", " WAYFARER_ABI_TAG});
  return versions;
}

void look_at_processors(diagnosis& d) {
  d.machine.push_back({"features", features()});
  char const* const limit = std::getenv("WAYFARER_ISA");
  d.machine.push_back(
      {"kernels", std::string(to_string(best_instruction_set())) + (limit && *limit ? " (limited by WAYFARER_ISA)" : "")});
  std::size_t const usable = usable_processors();
  long const all = ::sysconf(_SC_NPROCESSORS_ONLN);
  d.machine.push_back({"processors", std::to_string(usable) + " of " + std::to_string(all) + " may be used"});
  std::string const quota = first_line("/sys/fs/cgroup/cpu.max");
  if (quota.empty() || quota.starts_with("max")) return;
  double of = 0, period = 1;
  std::istringstream(quota) >> of >> period;
  d.machine.push_back(
      {"processor time", format_number(std::round(of / period * 100) / 100) + " processors (limit of the container)"});
  if (of / period + 0.5 < static_cast<double>(usable))
    d.notes.push_back("the container limits processor time to less than its processors; --threads " +
                      std::to_string(std::max(1L, std::lround(of / period))) + " avoids waiting");
}

void look_at_memory(diagnosis& d) {
  d.machine.push_back(
      {"memory", format_size(memory("MemAvailable:")) + " of " + format_size(memory("MemTotal:")) + " available"});
  if (std::string const most = first_line("/sys/fs/cgroup/memory.max"); !most.empty() && most != "max")
    d.machine.push_back({"memory", format_size(std::strtoull(most.c_str(), nullptr, 10)) + " (limit of the container)"});
  std::error_code code;
  d.machine.push_back({"this folder", space_in(fs::current_path(code))});
  fs::path const temporary = fs::temp_directory_path(code);
  if (code)
    d.problems.push_back("there is no folder for temporary files: " + code.message() + "; set TMPDIR");
  else
    d.machine.push_back({"temporary files", temporary.string() + ", " + space_in(temporary)});
}

diagnosis diagnose(registry plugins) {
  diagnosis d;
  look_at_plugins(d, plugins);
  d.versions = versions_here();
  for (auto const& [name, value] : environment()) d.machine.push_back({name, value});
  look_at_processors(d);
  look_at_memory(d);
  d.limits = {{"open files", limit(RLIMIT_NOFILE, false)},
              {"address space", limit(RLIMIT_AS, true)},
              {"file size", limit(RLIMIT_FSIZE, true)},
              {"stack", limit(RLIMIT_STACK, true)}};
  return d;
}

std::vector<std::pair<char const*, facts const*>> parts_of(diagnosis const& d) {
  return {{"versions", &d.versions}, {"machine", &d.machine}, {"limits", &d.limits}, {"plugins", &d.plugins}};
}

void print_json(diagnosis const& d) {
  auto report = json_value::object();
  for (auto const& [title, rows] : parts_of(d)) {
    auto list = json_value::array();
    for (auto const& row : *rows)
      list.push_back(json_value::object({{"name", row[0]}, {"value", is_utf8(row[1]) ? row[1] : printable(row[1])}}));
    report.set(title, std::move(list));
  }
  auto wrong = json_value::array(), said = json_value::array();
  for (auto const& p : d.problems) wrong.push_back(printable(p));
  for (auto const& n : d.notes) said.push_back(printable(n));
  report.set("problems", std::move(wrong)).set("notes", std::move(said));
  std::cout << printable_json(report, 2) << '\n';
}

void print_page(diagnosis const& d) {
  bool const bold = colours();
  for (auto const& [title, rows] : parts_of(d))
    std::cout << (bold ? "\033[1m" : "") << title << (bold ? "\033[0m" : "") << '\n' << format_table({}, *rows) << '\n';
  for (auto const& n : d.notes) std::cout << "note: " << printable(n) << '\n';
  for (auto const& p : d.problems)
    std::cout << (bold ? "\033[31m" : "") << "problem: " << (bold ? "\033[0m" : "") << printable(p) << '\n';
  if (d.problems.empty()) std::cout << "no problems found\n";
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

  diagnosis const d = diagnose(open_registry(o));
  if (o.has("json"))
    print_json(d);
  else
    print_page(d);
  return d.broken ? 4 : 0;
}

}  // namespace wayfarer::host
