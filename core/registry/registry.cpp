#include "registry/registry.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <system_error>
#include <variant>

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/runtime_symbol_info.hpp>

#include <wayfarer/error.hpp>

#include "registry/descriptor_check.hpp"

namespace wayfarer::host {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view prefix = "wayfarer_", suffix = ".so";

/// The folders of the environment variable. A relative one would mean something else in every working directory, the current one
/// of a stranger's download included.
std::vector<fs::path> folders_of_environment() {
  char const* const value = ::secure_getenv("WAYFARER_PLUGIN_PATH");
  std::vector<fs::path> folders;
  for (std::string_view rest = value ? value : ""; !rest.empty();) {
    std::size_t const colon = rest.find(':');
    fs::path const folder(rest.substr(0, colon));
    rest.remove_prefix(colon == rest.npos ? rest.size() : colon + 1);
    if (folder.empty()) continue;
    if (folder.is_relative())
      throw usage_error("WAYFARER_PLUGIN_PATH: '" + folder.string() + "' is not an absolute path; write it out from '/'");
    folders.push_back(folder);
  }
  return folders;
}

fs::path bundled_folder() {
  std::error_code code;
  fs::path const program = boost::dll::program_location(code);
  if (!code) {
    fs::path const beside = program.parent_path().parent_path() / "lib/wayfarer/plugins";
    if (fs::is_directory(beside, code)) return beside;
  }
  // Distributions keep libraries in lib64 or lib/x86_64-linux-gnu, and the plugins beside them.
  fs::path const sdk = boost::dll::symbol_location_ptr(reinterpret_cast<void const*>(&located), code);
  return code ? fs::path() : sdk.parent_path() / "wayfarer/plugins";
}

/// Whether a folder holds something of that name, be it a link to nowhere.
bool holds(fs::path const& library) {
  std::error_code code;
  return fs::exists(fs::symlink_status(library, code));
}

std::string file_name(std::string_view id) {
  return std::string(prefix).append(id).append(suffix);
}

/// Ids of what looks like a plugin library, sorted.
std::vector<std::string> ids_in(fs::path const& folder) {
  std::vector<std::string> ids;
  std::error_code code;
  for (fs::directory_iterator at(folder, code), end; !code && at != end; at.increment(code)) {
    std::string const name = at->path().filename().string();
    if (name.size() <= prefix.size() + suffix.size() || !name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    std::string id = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
    if (is_plugin_id(id)) ids.push_back(std::move(id));
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

std::string_view name_of(plugin_kind k) noexcept {
  switch (k) {
    case plugin_kind::source:
      return "source";
    case plugin_kind::model:
      return "model";
    case plugin_kind::probe:
      return "probe";
    case plugin_kind::metric:
      return "metric";
  }
  return {};
}

std::string_view name_of(param_type t) noexcept {
  switch (t) {
    case param_type::boolean:
      return "boolean";
    case param_type::integer:
      return "integer";
    case param_type::real:
      return "real";
    case param_type::text:
      return "text";
    case param_type::path:
      return "path";
    case param_type::text_list:
      return "text list";
    case param_type::integer_list:
      return "integer list";
    case param_type::real_list:
      return "real list";
  }
  return {};
}

std::string_view name_of(port_kind k) noexcept {
  switch (k) {
    case port_kind::source:
      return "source";
    case port_kind::model:
      return "model";
    case port_kind::results:
      return "results";
  }
  return {};
}

param_descriptor const* plugin::find_param(std::string_view name) const noexcept {
  auto const all = params();
  auto const at = std::find_if(all.begin(), all.end(), [&](param_descriptor const& p) { return p.name == name; });
  return at == all.end() ? nullptr : &*at;
}

port_descriptor const* plugin::find_port(std::string_view name) const noexcept {
  auto const all = ports();
  auto const at = std::find_if(all.begin(), all.end(), [&](port_descriptor const& p) { return p.name == name; });
  return at == all.end() ? nullptr : &*at;
}

plugin_base* plugin::construct(config const& c) const {
  if (auto* made = d_->create(c)) return made;
  throw plugin_error(library_.string() + ": its constructor returned nothing; rebuild it with a WAYFARER_* macro");
}

/// What came of each id that was asked for: the plugin, or why it can't be used.
struct registry::loaded {
  std::map<std::string, std::variant<std::string, plugin>, std::less<>> by_id;
};

registry::registry(std::vector<fs::path> const& extra) : loaded_(std::make_unique<loaded>()) {
  // The same folder twice is one folder, or every plugin in it would count as shadowed.
  auto add = [&](fs::path const& folder) {
    std::error_code code;
    fs::path const real = fs::canonical(folder, code);
    if (code || !fs::is_directory(real, code)) return false;
    if (std::find(folders_.begin(), folders_.end(), real) == folders_.end()) folders_.push_back(real);
    return true;
  };
  for (auto const& folder : extra)
    if (!add(folder))
      throw usage_error("plugin folder '" + folder.string() + "' does not exist or is not a folder; --plugin-path takes folders");
  for (auto const& folder : folders_of_environment()) add(folder);
  add(bundled_folder());
}

registry::~registry() = default;
registry::registry(registry&&) noexcept = default;
registry& registry::operator=(registry&&) noexcept = default;

plugin const* registry::find(std::string_view id) {
  if (!is_plugin_id(id)) return nullptr;
  auto known = loaded_->by_id.find(id);
  if (known == loaded_->by_id.end()) {
    auto const folder =
        std::find_if(folders_.begin(), folders_.end(), [&](fs::path const& f) { return holds(f / file_name(id)); });
    if (folder == folders_.end()) return nullptr;
    std::variant<std::string, plugin> outcome;
    try {
      outcome = load_plugin(*folder / file_name(id));
    } catch (plugin_error const& e) {
      outcome = std::string(e.what());
    }
    known = loaded_->by_id.emplace(std::string(id), std::move(outcome)).first;
  }
  if (auto const* why = std::get_if<std::string>(&known->second)) throw plugin_error(*why);
  return &std::get<plugin>(known->second);
}

std::vector<std::string> registry::ids() const {
  std::vector<std::string> all;
  for (auto const& folder : folders_)
    for (auto& id : ids_in(folder)) all.push_back(std::move(id));
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

std::vector<fs::path> registry::shadowed() const {
  std::vector<fs::path> hidden;
  std::vector<std::string> seen;
  for (auto const& folder : folders_)
    for (auto& id : ids_in(folder)) {
      if (std::find(seen.begin(), seen.end(), id) != seen.end())
        hidden.push_back(folder / file_name(id));
      else
        seen.push_back(std::move(id));
    }
  return hidden;
}

}  // namespace wayfarer::host
