// wayfarer plugins check: checks a plugin against the rules of docs/conformance.md and reports the ones that it breaks.
#include <cstdio>
#include <iostream>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>

#include "cli/advised_error.hpp"
#include "cli/plugins_check.hpp"
#include "conformance/check.hpp"
#include "conformance/rules.hpp"
#include "registry/descriptor_check.hpp"
#include "registry/registry.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace {

namespace fs = std::filesystem;
using namespace conformance;

bool is_path(std::string const& name) {
  return name.find('/') != name.npos || name.ends_with(".so");
}

/// The library of an id, without loading it.
fs::path library_of(std::string const& id, std::vector<fs::path> const& folders) {
  registry const plugins(folders);
  std::string const file = "wayfarer_" + id + ".so";
  std::error_code code;
  if (is_plugin_id(id))
    for (auto const& folder : plugins.folders())
      if (fs::exists(fs::symlink_status(folder / file, code))) return folder / file;
  throw advised_error("no plugin '" + printable(id) + "'" + did_you_mean(id, plugins.ids()),
                      {"'wayfarer plugins list' lists all plugins; a library is named by its path, with a '/'"});
}

json_value as_json(check_report const& r, fs::path const& library) {
  auto findings = json_value::array(), held = json_value::array();
  for (auto const& f : r.findings)
    findings.push_back(json_value::object({{"rule", f.rule},
                                           {"level", name_of(f.how)},
                                           {"while", printable(f.step)},
                                           {"message", printable(f.message)},
                                           {"documentation", documentation_of(f.rule)}}));
  for (auto const& h : r.held) held.push_back(h);
  return json_value::object({{"plugin", r.id},
                             {"kind", r.kind},
                             {"version", r.version},
                             {"library", library.string()},
                             {"seed", r.seed},
                             {"input", r.input},
                             {"conforms", r.checked && r.broken == 0},
                             {"findings", std::move(findings)},
                             {"held", std::move(held)}});
}

void print(check_report const& r) {
  std::cout << r.id << " " << r.version << " (" << r.kind << "), seed " << r.seed;
  if (!r.input.empty()) std::cout << ", fed " << printable(r.input);
  std::cout << "\n";
  for (auto const& f : r.findings)
    std::cout << name_of(f.how) << ": " << documentation_of(f.rule) << "\n  " << printable(f.message)
              << "\n  while: " << printable(f.step) << "\n";
  std::string held;
  for (auto const& h : r.held) held += (held.empty() ? "" : ", ") + h;
  if (!held.empty()) std::cout << "held: " << held << "\n";
  if (!r.checked)
    std::cout << "could not be checked\n";
  else if (r.broken == 0)
    std::cout << "keeps all " << r.held.size() << " rules that were checked\n";
  else
    std::cout << r.broken << (r.broken == 1 ? " finding breaks" : " findings break") << " the rules\n";
}

}  // namespace

int check_plugin_verb(std::string const& name, check_options const& options) {
  check_request request;
  for (auto const& f : options.folders) request.folders.emplace_back(f);
  request.library = is_path(name) ? fs::absolute(name) : library_of(name, request.folders);
  request.settings = options.settings;
  request.seed = options.seed;
  check_report const report = check_plugin(request);
  if (options.json)
    std::cout << printable_json(as_json(report, request.library), 2) << "\n";
  else
    print(report);
  if (report.broken != 0 || (options.strict && report.noted != 0)) return 4;
  return report.checked ? 0 : 2;
}

}  // namespace wayfarer::host
