// wayfarer graph: the checked plan as Graphviz DOT on standard output.
#include <cstdio>

#include "cli/planning.hpp"

namespace wayfarer::host {

int graph_verb(words const& arguments) {
  verb_options o("graph FILE [OPTIONS]", "Prints the checked pipeline in FILE as a graph in Graphviz DOT. Runs nothing.",
                 {"wayfarer graph runs/topic-values.yaml | dot -Tsvg > topic-values.svg"});
  add_plan_options(o);
  if (!o.parse(arguments)) return 0;
  registry plugins = open_registry(o);
  std::vector<problem> problems;
  plan const p = read_plan(o.required("FILE"), o.all("set"), plugins, problems);
  if (!problems.empty()) {
    std::fprintf(stderr, "%s\n", format_problems(p.file, problems).c_str());
    return exit_code_of(problems);
  }
  std::fputs(to_dot(p).c_str(), stdout);
  return 0;
}

}  // namespace wayfarer::host
