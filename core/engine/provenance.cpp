#include "engine/provenance.hpp"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <set>

#include <dlfcn.h>
#include <oneapi/tbb/version.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <boost/version.hpp>

#include <wayfarer/digest.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

/// What parameters of type path name, swept ones too, and the files of edits, each once.
std::vector<std::string> paths_of(plan_node const& node) {
  std::vector<std::string> all;
  auto const add = [&](std::string const& path) {
    if (!path.empty() && std::find(all.begin(), all.end(), path) == all.end()) all.push_back(path);
  };
  if (node.what)
    for (auto const& d : node.what->params()) {
      if (d.type != param_type::path) continue;
      if (node.parameters.has(d.name)) add(node.parameters[d.name].text());
      for (auto const& s : node.sweep)
        if (s.name == d.name)
          for (auto const& v : s.values) add(v.text());
    }
  for (auto const& e : node.edits) add(e.file);
  return all;
}

}  // namespace

std::vector<std::string> input_paths(plan const& p) {
  std::vector<std::string> all{p.file.string()};
  for (auto const& node : p.nodes)
    for (auto& path : paths_of(node)) all.push_back(std::move(path));
  return all;
}

std::vector<possible_input> digest_inputs(plan const& p) {
  std::vector<possible_input> all;
  for (auto const& node : p.nodes)
    for (fs::path const given : paths_of(node)) {
      std::vector<fs::path> files;
      std::error_code ignored;
      if (fs::is_directory(given, ignored)) {
        for (auto const& entry : fs::directory_iterator(given, ignored))
          // What may not be read is not read; whoever needs it says so.
          if (entry.is_regular_file(ignored) && ::access(entry.path().c_str(), R_OK) == 0) files.push_back(entry.path());
        std::sort(files.begin(), files.end());
      } else if (fs::is_regular_file(given, ignored)) {
        files.push_back(given);
      }
      for (auto const& f : files)
        if (auto const file = identity_of(f.string()))
          all.push_back({{node.name, f.filename().string(), sha256_file(f), fs::file_size(f)}, *file});
    }
  return all;
}

std::vector<input_file> inputs_read(std::vector<possible_input> const& all) {
  std::vector<input_file> out;
  for (auto const& one : all)
    if (was_read(one.file)) out.push_back(one.what);
  return out;
}

std::vector<input_file> inputs_possible(std::vector<possible_input> const& all) {
  std::vector<input_file> out;
  for (auto const& one : all) out.push_back(one.what);
  return out;
}

std::vector<std::string> node_keys(plan const& p, std::vector<input_file> const& inputs) {
  std::vector<std::string> keys;
  for (auto const& node : p.nodes) {
    json_value facts = json_value::object();
    facts.set("plugin", node.what->id()).set("version", node.what->version()).set("build", node.what->build_id());
    facts.set("parameters", canonical_json(node)).set("seed", std::to_string(node.parameters.seed()));
    if (node.items) facts.set("items", std::to_string(node.items->first) + ":" + std::to_string(node.items->last));
    facts.set("max_tokens", node.max_tokens).set("block", node.block);
    facts.set("precision", name_of(node.precision)).set("edits", canonical_edits(node));
    json_value wires = json_value::array(), files = json_value::array();
    for (auto const& w : node.wires) wires.push_back(w.port + "=" + keys.at(w.node) + "/" + w.dataset);
    for (auto const& f : inputs)
      if (f.node == node.name) files.push_back(f.name + "=" + f.sha256);
    facts.set("inputs", wires).set("files", files);
    keys.push_back(sha256_hex(to_json(facts)));
  }
  return keys;
}

std::string digest_code(plan const& p) {
  std::set<std::string> files{"/proc/self/exe"};
  Dl_info sdk{};
  if (::dladdr(reinterpret_cast<void const*>(&sha256_file), &sdk) != 0 && sdk.dli_fname) files.insert(sdk.dli_fname);
  for (auto const& node : p.nodes) files.insert(node.what->library().string());
  std::string all;
  for (auto const& f : files) all += sha256_file(f);
  return sha256_hex(all);
}

std::vector<std::pair<std::string, std::string>> library_versions() {
  return {{"wayfarer", WAYFARER_VERSION}, {"build", WAYFARER_BUILD_ID},   {"compiler", __VERSION__},
          {"boost", BOOST_LIB_VERSION},   {"onetbb", TBB_VERSION_STRING}, {"hdf5", hdf5_version()}};
}

std::vector<std::pair<std::string, std::string>> environment() {
  std::vector<std::pair<std::string, std::string>> out;
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) {
      out.emplace_back("processor", line.substr(std::min(line.size(), line.find(':') + 2)));
      break;
    }
  utsname system{};
  if (uname(&system) == 0) out.emplace_back("system", std::string(system.sysname) + " " + system.release + " " + system.machine);
  return out;
}

std::string utc_now() {
  std::time_t const now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::uint64_t peak_memory_bytes() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return static_cast<std::uint64_t>(use.ru_maxrss) * 1024;
}

}  // namespace wayfarer::host
