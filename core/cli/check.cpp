// wayfarer check: reports all problems of a pipeline file, and the memory and disk space that its run needs.
#include <cstdio>

#include "cli/outputs.hpp"
#include "cli/planning.hpp"
#include "engine/texts.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"

namespace wayfarer::host {
namespace {

std::string size_text(std::uint64_t bytes, bool at_most, bool unknown) {
  if (unknown) return "unknown: give max_tokens";
  return (at_most ? "at most " : "") + format_size(bytes);
}

void print_forecast(plan const& p, forecast const& f) {
  std::vector<std::vector<std::string>> rows;
  std::uint64_t total = 0;
  bool bounded = false, unknown = false;
  for (auto const& part : f.parts) {
    if (part.file_bytes == 0 && !part.unknown) continue;
    rows.push_back({p.nodes[part.node].name, format_count(part.items), size_text(part.file_bytes, part.at_most, part.unknown)});
    total += part.file_bytes, bounded = bounded || part.at_most, unknown = unknown || part.unknown;
  }
  if (!rows.empty()) {
    rows.push_back({"all", "", size_text(total, bounded, unknown)});
    std::printf("\nrows for the file, one for each item:\n%s", format_table({"node", "items", "size"}, rows).c_str());
  }
  rows.clear();
  for (auto const& pass : f.passes) {
    if (pass.block_bytes == 0 && !pass.unknown) continue;
    std::string names;
    for (std::size_t const i : pass.nodes) names += (names.empty() ? "" : ", ") + p.nodes[i].name;
    rows.push_back({names, format_count(pass.hooks), format_count(pass.block),
                    pass.tokens == 0 ? "unknown" : "at most " + format_count(pass.tokens),
                    size_text(pass.block_bytes, pass.hooks != 0, pass.unknown)});
  }
  if (!rows.empty())
    std::printf("\nactivations of the largest block of each pass, with its rows; up to two blocks a thread are in memory:\n%s",
                format_table({"pass", "hooks", "items a block", "tokens an item", "memory"}, rows).c_str());
}

}  // namespace

int check_verb(words const& arguments) {
  verb_options o("check FILE [OPTIONS]",
                 "Checks the pipeline in FILE: names, types, ranges, wiring and hooks. Loads no weights and runs nothing.",
                 {"wayfarer check runs/topic-values.yaml", "wayfarer check my.yaml --set documents.topics=20"});
  add_plan_options(o);
  add_result_options(o, about_out);
  if (!o.parse(arguments)) return 0;
  registry plugins = open_registry(o);
  planned p = read_planned(o, plugins);
  auto remarks = look_at_files(p.what, p.objects, p.problems);
  sort_problems(p.problems);
  auto const warn = [&] {
    for (auto const& r : remarks)
      std::fprintf(stderr, "warning: %s: %s\n", p.what.nodes[r.node].name.c_str(), printable(r.text).c_str());
    remarks.clear();
  };
  warn();
  if (int const code = report_problems(p)) return code;
  remarks = remarks_of(p.what, p.objects, p.problems);
  sort_problems(p.problems);
  if (int const code = report_problems(p)) return code;
  say_replaced(result_place(o, p.what));
  std::printf("%s: %zu nodes, %zu expectations, no problems\n", printable(p.what.file.string()).c_str(), p.what.nodes.size(),
              p.what.expectations.size());
  print_forecast(p.what, predict(p.what, p.objects));
  warn();
  return 0;
}

}  // namespace wayfarer::host
