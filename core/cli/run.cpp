// wayfarer run: runs a pipeline file and writes the result file.
#include <algorithm>
#include <cstdio>
#include <utility>

#include "cli/advised_error.hpp"
#include "cli/outputs.hpp"
#include "cli/planning.hpp"
#include "cli/signals.hpp"
#include "cli/workers.hpp"
#include "engine/engine.hpp"
#include "engine/texts.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;

namespace {

/// What was found and what is missing; the exit code.
int tell_outcome(run_outcome const& outcome, output_place const& to, bool strict) {
  std::size_t missed = 0;
  for (auto const& v : outcome.verdicts) missed += !v.within && !v.wanted->recalled;
  if (!outcome.verdicts.empty()) std::printf("%s\n", printable_lines(format_verdicts(outcome.verdicts)).c_str());
  constexpr std::size_t most_lines = 20;
  for (std::size_t i = 0; i < std::min(outcome.missing.size(), most_lines); ++i)
    std::printf("missing: %s\n", printable(outcome.missing[i]).c_str());
  if (outcome.missing.size() > most_lines)
    std::printf("missing: %zu more nodes and reasons; 'wayfarer show' lists them\n", outcome.missing.size() - most_lines);
  if (outcome.unexplained != 0)
    std::printf("%zu dataset%s values that are not finite and that no plugin explains: see the warnings\n", outcome.unexplained,
                outcome.unexplained == 1 ? " holds" : "s hold");
  std::printf("%s: %zu datasets, %s\n", printable(to.given).c_str(), outcome.datasets, format_size(outcome.bytes).c_str());
  if (outcome.failure) std::rethrow_exception(outcome.failure);
  std::vector<std::string> wrong;
  for (auto const& v : outcome.verdicts)
    if (!v.problem.empty()) wrong.push_back(v.problem);
  if (!wrong.empty()) {
    wrong.push_back("the result is written: " + to.given);
    throw advised_error(std::move(wrong));
  }
  if (missed != 0) std::printf("%zu of %zu expectations missed\n", missed, outcome.verdicts.size());
  return missed != 0 && strict ? 1 : 0;
}

void add_run_options(verb_options& o) {
  add_plan_options(o);
  add_result_options(o, about_out);
  o.named().add_options()("threads", po::value<int>()->default_value(0)->value_name("N"),
                          "threads to use, 0 for all; results don't depend on it")(
      "memory-budget", po::value<std::string>()->value_name("SIZE"),
      "memory limit for activations in flight, such as 512M or 2G; default: a quarter of RAM, but at least one block")(
      "resume", "keep finished blocks in OUT.blocks until the result is complete, and resume from existing ones")(
      "strict", "exit with 1 if an expectation is missed")("quiet", "show no progress; warnings are shown");
  add_worker_options(o);
}

/// The pipeline with its plugins, and all that is wrong with it and with the files that it names.
planned read_with_files(verb_options const& o, registry& plugins) {
  planned p = read_planned(o, plugins);
  // What is worth knowing, the run tells.
  std::size_t const before = p.problems.size();
  look_at_files(p.what, p.objects, p.problems);
  if (p.problems.size() == before) remarks_of(p.what, p.objects, p.problems);
  sort_problems(p.problems);
  return p;
}

}  // namespace

int run_verb(words const& arguments) {
  verb_options o("run FILE [OPTIONS]",
                 "Runs the pipeline in FILE and writes one HDF5 file with all results and where they came from.",
                 {"wayfarer run runs/topic-values.yaml",
                  "wayfarer run runs/topic-values.yaml --out values.h5 --set learner.train.updates=2000",
                  "wayfarer run runs/topic-values.yaml --threads 1 --strict",
                  "wayfarer run long.yaml --resume  # and again, if it is killed",
                  "wayfarer run long.yaml --work /shared/long --worker 2/8  # one of eight machines",
                  "wayfarer run other.yaml --store /shared/store  # what an earlier run left there is not computed again"});
  add_run_options(o);
  if (!o.parse(arguments)) return 0;
  follow_parent();
  int const threads = o.get<int>("threads");
  if (threads < 0 || threads > 1024) throw usage_error("--threads must be from 0 to 1024");

  registry plugins = open_registry(o);
  planned p = read_with_files(o, plugins);
  if (int const code = report_problems(p)) return code;
  run_options options;
  output_place const to = result_place(o, p.what);
  options.out = to.path;
  options.files_before = std::move(p.files_before);
  options.threads = static_cast<std::size_t>(threads);
  options.resume = o.has("resume");
  if (o.has("memory-budget")) options.memory_budget = parse_size(o.get<std::string>("memory-budget"));

  choose_place(o, options);
  choose_store(o, options);
  // Of workers that come later it is what the first of them wrote.
  if (options.work.empty()) say_replaced(to, p.what);
  std::string const kept = kept_when_stopped(p.what, options);
  if (auto const processes = wanted_processes(o)) {
    say_when_ended(kept);
    return run_processes(arguments, *processes, options, kept);
  }

  outlive_readers();
  say_when_ended(kept);
  bool const first = options.place.index == 1;
  console talk(o.has("quiet"), first);
  if (first) talk.publish(options.out);
  run_outcome const outcome = run_plan(p.what, p.objects, options, talk);
  say_when_ended("; " + options.out.string() + " is written");
  if (!outcome.written) {
    talk.line(options.out.string() + ": is written by another worker, or was there");
    return 0;
  }
  return tell_outcome(outcome, to, o.has("strict"));
}

}  // namespace wayfarer::host
