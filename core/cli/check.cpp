// wayfarer check: reports all problems of a pipeline file, and the memory and disk space that its run needs.
#include <algorithm>
#include <cstdio>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>

#include "cli/outputs.hpp"
#include "cli/planning.hpp"
#include "engine/engine.hpp"
#include "engine/texts.hpp"
#include "engine/threads.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"
#include "text/times.hpp"

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

std::string names_of(plan const& p, std::vector<std::size_t> const& nodes) {
  std::string names;
  for (std::size_t const i : nodes) names += (names.empty() ? "" : ", ") + p.nodes[i].name;
  return names;
}

/// How the passes divide among workers, from one block of each that is made here.
void print_shares(plan const& p, std::vector<instance>& objects, forecast const& f, std::size_t workers) {
  console talk(true);
  std::size_t const threads = default_threads();
  auto const passes = measure_passes(p, objects, {}, talk);
  if (passes.empty()) {
    std::printf("\nno pass over items: one worker does all, and more of them wait\n");
    return;
  }
  std::vector<std::vector<std::string>> rows;
  std::string notes;
  for (auto const& one : passes) {
    std::string const names = names_of(p, one.nodes);
    auto const foreseen = std::find_if(f.passes.begin(), f.passes.end(), [&](auto const& x) { return x.nodes == one.nodes; });
    if (one.blocks == 0) {
      // What is known without making any.
      bool const known = foreseen != f.passes.end() && foreseen->tokens != 0 && foreseen->block != 0;
      std::size_t const blocks = known ? (foreseen->items + foreseen->block - 1) / foreseen->block : 0;
      std::string const unknown = "unknown";
      rows.push_back({names, known ? format_count(blocks) : unknown,
                      known ? format_count((blocks + workers - 1) / workers) : unknown, unknown, unknown, unknown, unknown});
      notes += names + ": the time is not known, as no block could be made: " + one.why_not + "\n";
      continue;
    }
    std::size_t const share = (one.blocks + workers - 1) / workers;
    std::uint64_t const block_bytes = foreseen == f.passes.end() ? 0 : foreseen->block_bytes;
    rows.push_back({names, format_count(one.blocks), format_count(share), format_size(share * one.kept_bytes),
                    format_size(one.peak_memory + (one.in_flight - 1) * block_bytes), format_time(one.seconds),
                    format_time(one.seconds * static_cast<double>(share))});
    if (!one.of_all_items) notes += names + ": from the lengths of its first items, as there are many; blocks may be more\n";
  }
  std::printf(
      "\nshared by %s, from one block of each pass, made here with %s:\n%s", counted(workers, "worker").c_str(),
      counted(threads, "thread").c_str(),
      format_table({"pass", "blocks", "blocks a worker", "kept a worker", "memory a worker", "a block", "all of them"}, rows)
          .c_str());
  std::fputs(printable_lines(notes).c_str(), stdout);
}

}  // namespace

int check_verb(words const& arguments) {
  verb_options o("check FILE [OPTIONS]",
                 "Checks the pipeline in FILE: names, types, ranges, wiring and hooks. Loads no weights and runs nothing,\n"
                 "except with --workers.",
                 {"wayfarer check runs/topic-values.yaml", "wayfarer check my.yaml --set documents.topics=20"});
  add_plan_options(o);
  add_result_options(o, about_out);
  o.named().add_options()("workers", boost::program_options::value<int>()->value_name("N"),
                          "say how the passes divide among so many workers (run --worker I/N), and how long they take: "
                          "loads the models and makes a block of each pass");
  if (!o.parse(arguments)) return 0;
  int const workers = o.has("workers") ? o.get<int>("workers") : 0;
  if (o.has("workers") && (workers < 1 || workers > 1'000'000)) throw usage_error("--workers must be from 1 to 1,000,000");
  registry plugins = open_registry(o);
  planned p = read_planned(o, plugins);
  std::size_t const before = p.problems.size();
  auto remarks = look_at_files(p.what, p.objects, p.problems);
  auto const warn = [&] {
    for (auto const& r : remarks)
      std::fprintf(stderr, "warning: %s: %s\n", p.what.nodes[r.node].name.c_str(), printable(r.text).c_str());
    remarks.clear();
  };
  warn();
  // Files that can't be read are said alone: what they lack would be said again of each item.
  if (p.problems.size() == before) remarks = remarks_of(p.what, p.objects, p.problems);
  sort_problems(p.problems);
  if (int const code = report_problems(p)) return code;
  say_replaced(result_place(o, p.what), p.what);
  std::printf("%s: %zu nodes, %zu expectations, no problems\n", printable(p.what.file.string()).c_str(), p.what.nodes.size(),
              p.what.expectations.size());
  forecast const expected = predict(p.what, p.objects);
  print_forecast(p.what, expected);
  if (workers != 0) print_shares(p.what, p.objects, expected, static_cast<std::size_t>(workers));
  warn();
  return 0;
}

}  // namespace wayfarer::host
