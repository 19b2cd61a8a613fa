#include "cli/planning.hpp"

#include <algorithm>
#include <cstdio>

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

planned read_planned(verb_options const& o, registry& plugins) {
  planned p;
  p.what = read_plan(o.required("FILE"), o.all("set"), plugins, p.problems);
  p.objects = make_instances(p.what, p.problems);
  std::stable_sort(p.problems.begin(), p.problems.end(), [](problem const& a, problem const& b) {
    return std::pair(a.at.line, a.at.column) < std::pair(b.at.line, b.at.column);
  });
  return p;
}

int report_problems(planned const& p) {
  if (p.problems.empty()) return 0;
  std::fprintf(stderr, "%s\n", format_problems(p.what.file, p.problems).c_str());
  // A wrong pipeline file outweighs what may only follow from it.
  int code = p.problems.front().exit_code;
  for (auto const& x : p.problems) code = std::min(code, x.exit_code);
  return code;
}

}  // namespace wayfarer::host
