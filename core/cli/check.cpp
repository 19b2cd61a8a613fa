// wayfarer check: every problem of a pipeline file at once, and what running it will take.
#include <cstdio>

#include "cli/planning.hpp"

namespace wayfarer::host {

int check_verb(words const& arguments) {
  verb_options o("check FILE [OPTIONS]",
                 "Checks the pipeline in FILE: names, types, ranges, wiring and hooks. Loads no weights and runs nothing.",
                 {"wayfarer check runs/topic-values.yaml", "wayfarer check my.yaml --set documents.topics=20"});
  add_plan_options(o);
  if (!o.parse(arguments)) return 0;
  registry plugins = open_registry(o);
  planned const p = read_planned(o, plugins);
  if (int const code = report_problems(p)) return code;
  forecast const f = predict(p.what, p.objects);
  std::printf("%s: %zu nodes, %zu expectations, no problems\n", p.what.file.string().c_str(), p.what.nodes.size(),
              p.what.expectations.size());
  std::printf("activations of the largest block: %s; rows kept for the file: %s\n", format_size(f.block_bytes).c_str(),
              format_size(f.row_bytes).c_str());
  return 0;
}

}  // namespace wayfarer::host
