#include "cli/planning.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/run_files.hpp>

#include "cli/outputs.hpp"
#include "engine/provenance.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;

void add_plan_options(verb_options& o) {
  o.positional("FILE");
  o.named().add_options()("set", po::value<std::vector<std::string>>()->composing()->value_name("NODE.KEY=VALUE"),
                          "change a parameter or a port of the pipeline; may be given more than once");
  o.named().add_options()("plugin-path", po::value<std::vector<std::string>>()->composing()->value_name("DIR"),
                          "look for plugins here first; may be given more than once");
}

registry open_registry(verb_options const& o) {
  std::vector<std::filesystem::path> folders;
  for (auto const& f : o.all("plugin-path")) folders.emplace_back(f);
  return registry(folders);
}

namespace {

namespace fs = std::filesystem;

/// "; did you mean 'runs/topic-values.yaml'?" for a pipeline file that is not there: a near name in its folder, here, or in
/// runs/.
std::string meant_file(fs::path const& wanted) {
  std::vector<std::string> known;
  auto const add = [&](fs::path const& folder, fs::path const& shown) {
    std::error_code ignored;
    for (fs::directory_iterator at(folder, ignored), end; at != end && known.size() < 1000; at.increment(ignored))
      if (auto const e = at->path().extension(); e == ".yaml" || e == ".yml")
        known.push_back((shown / at->path().filename()).string());
  };
  fs::path const folder = wanted.parent_path();
  if (!folder.empty()) add(folder, folder);
  if (folder != "." && !wanted.is_absolute()) add(".", "");
  if (folder != "runs" && !wanted.is_absolute()) add("runs", "runs");
  std::sort(known.begin(), known.end());
  // The same name elsewhere, or without its ending, before a slip.
  for (auto const& k : known)
    if (fs::path(k).filename() == wanted.filename() || fs::path(k).stem() == wanted.filename())
      return "; did you mean '" + k + "'?";
  if (auto const near = did_you_mean(wanted.string(), known); !near.empty()) return near;
  std::vector<std::string> names;
  for (auto const& k : known) names.push_back(fs::path(k).stem().string());
  auto const near = near_names(wanted.stem().string(), names);
  for (std::size_t i = 0; i < names.size() && !near.empty(); ++i)
    if (names[i] == near.front()) return "; did you mean '" + known[i] + "'?";
  return "";
}

}  // namespace

planned read_planned(verb_options const& o, registry& plugins) {
  planned p;
  fs::path const file = o.required("FILE");
  std::error_code missing;
  if (!fs::exists(file, missing) && missing.value() != EACCES)
    throw data_error(file.string() + ": can't open: No such file or directory" + meant_file(file));
  p.what = read_plan(file, o.all("set"), plugins, p.problems);
  provide_run_inputs(input_paths(p.what));
  p.objects = make_instances(p.what, p.problems);
  check_outputs(p.what, p.problems);
  sort_problems(p.problems);
  return p;
}

int report_problems(planned const& p) {
  // Each is one line: a line break in a file's name must not begin what looks like another message.
  auto shown = p.problems;
  for (problem& one : shown) {
    one.option = printable(one.option);
    one.message = printable(one.message);
  }
  if (!shown.empty())
    std::fprintf(stderr, "%s\n", printable_lines(format_problems(printable(p.what.file.string()), shown)).c_str());
  auto const any = [&](std::string_view text) {
    return std::any_of(p.problems.begin(), p.problems.end(),
                       [&](problem const& one) { return one.message.find(text) != std::string::npos; });
  };
  if (any("no plugin '"))
    std::fprintf(stderr, "'wayfarer plugins list' shows the plugins that are found; --plugin-path DIR adds a folder\n");
  if (any("has no parameter '")) std::fprintf(stderr, "'wayfarer plugins describe ID' shows what a plugin takes\n");
  return exit_code_of(p.problems);
}

}  // namespace wayfarer::host
