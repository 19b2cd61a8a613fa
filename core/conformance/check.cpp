#include "conformance/check.hpp"

#include <algorithm>
#include <set>
#include <system_error>

#include <wayfarer/error.hpp>

#include "conformance/rules.hpp"
#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {
namespace {

namespace fs = std::filesystem;

class scratch_folder {
 public:
  scratch_folder() {
    std::string name = (fs::temp_directory_path() / "wayfarer-check-XXXXXX").string();
    if (!::mkdtemp(name.data()))
      throw resource_error("can't make a folder for the check in " + fs::temp_directory_path().string());
    path_ = name;
  }
  ~scratch_folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  scratch_folder(scratch_folder const&) = delete;
  fs::path const& path() const { return path_; }

 private:
  fs::path path_;
};

/// Address space of a child: enough for any sensible plugin, and little enough that a wild size fails at once.
constexpr std::uint64_t memory_limit = std::uint64_t{6} << 30;

/// Runs in each child: the plugin, its inputs, and the steps for its kind.
std::vector<step> prepare(check_request const& request, fs::path const& folder, reporter& out) {
  // Lives as long as the child.
  auto* const found = new plugin(load_plugin(request.library));
  auto* const others = new registry(request.folders);
  out.about("id", found->id());
  out.about("kind", host::name_of(found->kind()));
  out.about("version", found->version());
  given_values given;
  try {
    given = read_given(*found, request.settings);
  } catch (usage_error const& e) {
    out.about("wrong usage", e.what());
    return {};
  }
  // A plugin may write where a parameter says, and the values that are tried are relative.
  fs::current_path(folder);
  auto const bench = std::make_shared<workbench>(*found, *others, std::move(given), request.seed, folder);
  switch (found->kind()) {
    case plugin_kind::source:
      return source_steps(bench, out);
    case plugin_kind::model:
      return model_steps(bench, out);
    case plugin_kind::probe:
      return probe_steps(bench, out);
    case plugin_kind::metric:
      return metric_steps(bench, out);
  }
  return {};
}

/// Digests of a process with one thread against those of the first; parameters that change nothing.
void compare_digests(check_request const& request, steps_request steps, run_of_steps& first) {
  steps.threads = 1;
  steps.only_again = true;
  run_of_steps const again = run_steps(steps);
  for (auto const& [key, value] : again.digests)
    if (auto const at = first.digests.find(key); at != first.digests.end() && at->second != value)
      first.findings.push_back({level::broken, "repeatable", "in another process, with one thread",
                                "the " + key + " differ from those of a process with four threads"});
  for (auto& f : unused_parameters(load_plugin(request.library), first.digests)) first.findings.push_back(std::move(f));
}

/// Each message once, broken ones first.
void order(std::vector<finding>& findings) {
  std::set<std::pair<std::string, std::string>> seen;
  std::erase_if(findings, [&](finding const& f) { return !seen.emplace(f.rule, f.message).second; });
  std::stable_sort(findings.begin(), findings.end(), [](finding const& a, finding const& b) { return a.how < b.how; });
}

/// Whether a rule was checked. Some are watched over in every step, and some where results are written.
bool was_checked(std::string_view rule, std::vector<std::string> const& done) {
  for (std::string_view const always : {"loads", "survives", "finishes", "typed_errors", "prints_nothing"})
    if (rule == always) return true;
  if (rule == "named_dimensions" || rule == "states_its_finding") rule = "writes_results";
  return std::find(done.begin(), done.end(), rule) != done.end();
}

}  // namespace

check_report check_plugin(check_request const& request) {
  scratch_folder const folder;
  steps_request steps;
  steps.limit = request.limit;
  steps.memory = memory_limit;
  steps.prepare = [&](reporter& out) { return prepare(request, folder.path(), out); };
  run_of_steps first = run_steps(steps);
  if (auto const wrong = first.about.find("wrong usage"); wrong != first.about.end()) throw usage_error(wrong->second);

  check_report report;
  report.seed = request.seed;
  report.id = first.about["id"], report.kind = first.about["kind"], report.version = first.about["version"];
  report.input = first.about["input"];
  report.checked = !first.rules.empty();
  if (report.checked) compare_digests(request, steps, first);
  report.findings = std::move(first.findings);
  order(report.findings);
  for (auto const& f : report.findings) {
    documentation_of(f.rule);
    report.broken += f.how == level::broken;
    report.noted += f.how == level::noted;
  }
  for (auto const& r : all_rules()) {
    bool const bad = std::any_of(report.findings.begin(), report.findings.end(),
                                 [&](finding const& f) { return f.how != level::noted && f.rule == r.name; });
    if (report.checked && was_checked(r.name, first.rules) && !bad) report.held.emplace_back(r.name);
  }
  return report;
}

}  // namespace wayfarer::host::conformance
