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

}  // namespace

check_report check_plugin(check_request const& request) {
  scratch_folder const folder;
  check_report report;
  report.seed = request.seed;
  steps_request steps;
  steps.limit = request.limit;
  steps.memory = memory_limit;
  steps.prepare = [&](reporter& out) {
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
      return std::vector<step>{};
    }
    // A plugin may write where a parameter says, and the values that are tried are relative.
    fs::current_path(folder.path());
    auto const bench = std::make_shared<workbench>(*found, *others, std::move(given), request.seed, folder.path());
    std::vector<step> all;
    switch (found->kind()) {
      case plugin_kind::source:
        all = source_steps(bench, out);
        break;
      case plugin_kind::model:
        all = model_steps(bench, out);
        break;
      case plugin_kind::probe:
        all = probe_steps(bench, out);
        break;
      case plugin_kind::metric:
        all = metric_steps(bench, out);
        break;
    }
    return all;
  };
  run_of_steps first = run_steps(steps);
  if (auto const wrong = first.about.find("wrong usage"); wrong != first.about.end()) throw usage_error(wrong->second);
  auto& findings = first.findings;
  report.id = first.about["id"], report.kind = first.about["kind"], report.version = first.about["version"];
  report.input = first.about["input"];
  report.checked = !first.rules.empty();

  if (report.checked) {
    steps.threads = 1;
    steps.only_again = true;
    run_of_steps const again = run_steps(steps);
    for (auto const& [key, value] : again.digests)
      if (auto const at = first.digests.find(key); at != first.digests.end() && at->second != value)
        findings.push_back({level::broken, "repeatable", "in another process, with one thread",
                            "the " + key + " differ from those of a process with four threads"});
    for (auto& f : unused_parameters(load_plugin(request.library), first.digests)) findings.push_back(std::move(f));
  }

  // The same message from several steps is one finding.
  std::set<std::pair<std::string, std::string>> seen;
  std::erase_if(findings, [&](finding const& f) { return !seen.emplace(f.rule, f.message).second; });
  std::stable_sort(findings.begin(), findings.end(), [](finding const& a, finding const& b) { return a.how < b.how; });
  for (auto const& f : findings) {
    documentation_of(f.rule);
    report.broken += f.how == level::broken;
    report.noted += f.how == level::noted;
  }
  // Some rules are watched over in every step, and one where results are written.
  auto const ran = [&](std::string_view rule) {
    auto const done = [&](std::string_view r) {
      return std::find(first.rules.begin(), first.rules.end(), r) != first.rules.end();
    };
    for (std::string_view const always : {"loads", "survives", "finishes", "typed_errors", "prints_nothing"})
      if (rule == always) return true;
    return done(rule == "named_dimensions" || rule == "states_its_finding" ? "writes_results" : rule);
  };
  for (auto const& r : all_rules()) {
    bool const bad = std::any_of(findings.begin(), findings.end(),
                                 [&](finding const& f) { return f.how != level::noted && f.rule == r.name; });
    if (report.checked && ran(r.name) && !bad) report.held.emplace_back(r.name);
  }
  report.findings = std::move(findings);
  return report;
}

}  // namespace wayfarer::host::conformance
