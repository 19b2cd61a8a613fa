// wayfarer graph: the checked plan as Graphviz DOT on standard output.
#include <cstdio>

#include "cli/planning.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {

int graph_verb(words const& arguments) {
  verb_options o("graph FILE [OPTIONS]", "Prints the checked pipeline in FILE as a graph in Graphviz DOT. Runs nothing.",
                 {"wayfarer graph runs/topic-values.yaml | dot -Tsvg > topic-values.svg"});
  add_plan_options(o);
  if (!o.parse(arguments)) return 0;
  registry plugins = open_registry(o);
  planned const p = read_planned(o, plugins);
  if (int const code = report_problems(p)) return code;
  std::fputs(printable_lines(to_dot(p.what)).c_str(), stdout);
  return 0;
}

}  // namespace wayfarer::host
