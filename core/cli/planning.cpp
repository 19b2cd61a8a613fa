#include "cli/planning.hpp"

#include <cerrno>
#include <cstdio>

#include <wayfarer/error.hpp>
#include <wayfarer/run_files.hpp>

#include "cli/outputs.hpp"
#include "engine/provenance.hpp"
#include "text/near_files.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace fs = std::filesystem;
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
  for (auto const& f : o.places("plugin-path", "a folder of plugins")) folders.emplace_back(f);
  return registry(folders);
}

planned read_planned(verb_options const& o, registry& plugins) {
  planned p;
  fs::path const file = o.place("FILE", "the pipeline file to read, such as my.yaml");
  std::error_code missing;
  if (!fs::exists(file, missing) && missing.value() != EACCES)
    throw data_error(file.string() + ": can't open: No such file or directory" +
                     near_files(file, {".yaml", ".yml"}, {".", "runs"}));
  p.what = read_plan(file, o.all("set"), plugins, p.problems);
  provide_run_inputs(input_paths(p.what));
  p.files_before = states_of_inputs(p.what);
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
