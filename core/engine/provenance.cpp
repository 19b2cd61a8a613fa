#include "engine/provenance.hpp"

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include <dlfcn.h>
#include <link.h>
#include <oneapi/tbb/version.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <boost/version.hpp>

#include <wayfarer/digest.hpp>
#include <wayfarer/instruction_set.hpp>
#include <wayfarer/json.hpp>

#include "engine/kept_digests.hpp"

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

namespace {

/// The file, or those directly in a folder, by name. Files without permission are skipped; the plugin that needs one reports it.
std::vector<fs::path> files_at(fs::path const& given) {
  std::vector<fs::path> files;
  std::error_code ignored;
  if (fs::is_directory(given, ignored)) {
    for (auto const& entry : fs::directory_iterator(given, ignored))
      if (entry.is_regular_file(ignored) && ::access(entry.path().c_str(), R_OK) == 0) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
  } else if (fs::is_regular_file(given, ignored)) {
    files.push_back(given);
  }
  return files;
}

std::int64_t in_ns(timespec const& t) {
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

std::optional<file_state> state_of(std::string const& path) {
  struct stat s {};
  if (::stat(path.c_str(), &s) != 0) return std::nullopt;
  return file_state{s.st_dev, s.st_ino, static_cast<std::uint64_t>(s.st_size), in_ns(s.st_mtim), in_ns(s.st_ctim)};
}

file_states states_of_inputs(plan const& p) {
  file_states all;
  for (auto const& node : p.nodes)
    for (auto const& path : paths_of(node))
      for (auto const& file : files_at(path))
        if (auto const state = state_of(file.string())) all.emplace(file.string(), *state);
  return all;
}

std::vector<possible_input> digest_inputs(plan const& p) {
  std::vector<possible_input> all;
  std::map<file_identity, std::string> known;  // several nodes may read one file
  for (auto const& node : p.nodes) {
    auto const paths = paths_of(node);
    for (std::size_t i = 0; i < paths.size(); ++i) {
      fs::path const given = paths[i];
      std::error_code ignored;
      bool const folder = fs::is_directory(given, ignored);
      for (auto const& f : files_at(given))
        if (auto const file = identity_of(f.string())) {
          std::string const in_key = std::to_string(i) + (folder ? "/" + f.filename().string() : f.extension().string());
          auto& digest = known[*file];
          if (digest.empty()) digest = kept_digest(f);
          all.push_back({{node.name, f.filename().string(), digest, fs::file_size(f)}, *file, in_key, f.string()});
        }
    }
  }
  return all;
}

std::vector<possible_input> inputs_read(std::vector<possible_input> const& all, plan const& p,
                                        std::vector<std::size_t> const& same,
                                        std::function<bool(possible_input const&)> const& was_read) {
  std::map<std::string, std::string> first_of;  // by names of nodes
  for (std::size_t i = 0; i < p.nodes.size(); ++i) first_of[p.nodes[i].name] = p.nodes[same[i]].name;
  std::vector<possible_input> out;
  std::copy_if(all.begin(), all.end(), std::back_inserter(out), [&](possible_input const& one) {
    return std::any_of(all.begin(), all.end(), [&](possible_input const& other) {
      bool const twin = other.what.node == first_of[one.what.node] && other.in_key == one.in_key;
      return (twin || other.file == one.file) && was_read(other);
    });
  });
  return out;
}

namespace {

/// What a node's own key says, besides what it is wired to.
json_value facts_of(plan_node const& node, std::vector<possible_input> const& inputs) {
  json_value facts = json_value::object(), files = json_value::array();
  facts.set("plugin", node.what->id()).set("version", node.what->version()).set("build", node.what->build_id());
  facts.set("given", json_without_paths(node, paths_of(node)));
  for (auto const& f : inputs)
    if (f.what.node == node.name) files.push_back(f.in_key + "=" + f.what.sha256);
  return facts.set("files", files);
}

}  // namespace

std::vector<std::string> node_keys(plan const& p, std::vector<possible_input> const& inputs) {
  std::vector<std::string> keys;
  for (auto const& node : p.nodes) {
    json_value facts = facts_of(node, inputs), wires = json_value::array();
    facts.set("seed", std::to_string(node.parameters.seed()));
    if (node.items) facts.set("items", std::to_string(node.items->first) + ":" + std::to_string(node.items->last));
    facts.set("max_tokens", node.max_tokens).set("block", node.block).set("precision", name_of(node.precision));
    for (auto const& w : node.wires) wires.push_back(w.port + "=" + keys.at(w.node) + "/" + w.dataset);
    facts.set("inputs", wires);
    keys.push_back(sha256_hex(to_json(facts)));
  }
  return keys;
}

std::vector<std::size_t> same_models(plan const& p, std::vector<possible_input> const& inputs) {
  std::vector<std::size_t> same(p.nodes.size());
  std::map<std::string, std::size_t> known;
  for (std::size_t i = 0; i < p.nodes.size(); ++i) {
    plan_node const& node = p.nodes[i];
    bool const read = std::any_of(inputs.begin(), inputs.end(), [&](auto const& f) { return f.what.node == node.name; });
    // A model that is wired to something trains.
    bool const comparable = node.kind == plugin_kind::model && node.wires.empty() && read;
    same[i] = comparable ? known.emplace(to_json(facts_of(node, inputs)), i).first->second : i;
  }
  return same;
}

namespace {

/// What the system's libraries bring to a result: rounding of exp and log, decompositions, the rules of Unicode. Their names
/// begin so.
constexpr std::string_view libraries_that_count[] = {"libm.so", "libmvec.so", "libdnnl.so", "libicu", "libpcre2-8.so"};

/// The paths of those that are loaded.
std::set<std::string> loaded_libraries() {
  std::set<std::string> files;
  ::dl_iterate_phdr(
      [](dl_phdr_info* one, std::size_t, void* to) {
        std::string const name = fs::path(one->dlpi_name).filename();
        if (std::any_of(std::begin(libraries_that_count), std::end(libraries_that_count),
                        [&](std::string_view begin) { return name.starts_with(begin); }))
          static_cast<std::set<std::string>*>(to)->insert(one->dlpi_name);
        return 0;
      },
      &files);
  return files;
}

}  // namespace

std::string digest_code(plan const& p, std::set<std::size_t> const& nodes) {
  std::set<std::string> files = loaded_libraries();
  files.insert("/proc/self/exe");
  Dl_info sdk{};
  if (::dladdr(reinterpret_cast<void const*>(&sha256_file), &sdk) != 0 && sdk.dli_fname) files.insert(sdk.dli_fname);
  for (std::size_t const i : nodes) files.insert(p.nodes[i].what->library().string());
  // Another set of vector instructions may round differently; the maths library goes by the processor's, whatever WAYFARER_ISA
  // says.
  std::string all(to_string(best_instruction_set()));
#if defined(__x86_64__)
  if (__builtin_cpu_supports("fma")) all += " fma";
#endif
  if (has_bfloat16_products()) all += " bf16";
  // In an order that does not depend on where the files lie.
  std::set<std::string> digests;
  for (auto const& f : files) digests.insert(kept_digest(f));
  for (auto const& d : digests) all += d;
  return sha256_hex(all);
}

std::set<std::size_t> with_inputs(plan const& p, std::vector<std::size_t> const& nodes) {
  std::set<std::size_t> all(nodes.begin(), nodes.end());
  // Everything comes after what it is wired to.
  for (std::size_t i = p.nodes.size(); i-- > 0;)
    if (all.count(i) != 0)
      for (auto const& w : p.nodes[i].wires) all.insert(w.node);
  return all;
}

char const* build_id() noexcept {
  return WAYFARER_BUILD_ID;
}

std::vector<std::pair<std::string, std::string>> library_versions() {
  return {{"wayfarer", WAYFARER_VERSION}, {"build", build_id()},          {"compiler", __VERSION__},
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
