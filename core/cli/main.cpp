// The program: finds the verb, runs it, turns errors into a message and an exit code.
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/instruction_set.hpp>
#include <wayfarer/result_file.hpp>
#include <wayfarer/stopping.hpp>
#include <wayfarer/version.hpp>

#include "cli/advised_error.hpp"
#include "cli/signals.hpp"
#include "cli/verbs.hpp"
#include "store/standard_output.hpp"
#include "store/store.hpp"
#include "text/printable.hpp"

namespace {

struct verb {
  char const* name;
  char const* about;
  int (*run)(wayfarer::host::words const&);
};

using namespace wayfarer::host;

constexpr verb verbs[] = {
    {"run", "run a pipeline file and write its result file", run_verb},
    {"check", "check a pipeline file without running it", check_verb},
    {"graph", "print a pipeline as a Graphviz drawing", graph_verb},
    {"plugins", "list plugins, describe one, or check one against the rules", plugins_verb},
    {"bench", "measure the speed of plugins, and compare it with an earlier run", bench_verb},
    {"watch", "show the progress of a run", watch_verb},
    {"status", "show the progress of a run that several processes share", status_verb},
    {"clean", "remove what such a run has kept", clean_verb},
    {"submit", "submit a run to Slurm as an array of workers", submit_verb},
    {"show", "show the contents of a result file", show_verb},
    {"report", "write a result file as an HTML page", report_verb},
    {"export", "write a node's datasets as files for other programs", export_verb},
    {"compare", "list how two result files differ", compare_verb},
    {"tokenize", "cut a text into a model's tokens", tokenize_verb},
    {"model", "describe a model: sizes, hooks, weights", model_verb},
    {"generate", "continue a prompt with a model", generate_verb},
    {"init", "create a small project: a pipeline, its texts, notes", init_verb},
    {"new", "create a project for your own plugin", new_verb},
    {"doctor", "list what is installed, and report problems", doctor_verb},
    {"completion", "print a script that completes commands in the shell", completion_verb},
};

void help() {
  std::printf("Usage: wayfarer VERB [ARGUMENTS]\n\nMeasures language models as movement through embedding space.\n\n");
  for (auto const& v : verbs) std::printf("  %-10s %s\n", v.name, v.about);
  std::printf(
      "\nExamples:\n"
      "  wayfarer init first\n"
      "  wayfarer run runs/topic-values.yaml --out values.h5\n"
      "  wayfarer show values.h5\n"
      "  wayfarer report values.h5\n"
      "  wayfarer plugins describe lda\n"
      "  wayfarer new probe drift\n"
      "\n'wayfarer VERB --help' shows more. Exit codes: 0 done, 1 differences or missed expectations, 2 wrong usage,\n"
      "3 bad data, 4 plugin at fault, 5 out of resources.\n");
}

int dispatch(std::vector<std::string> const& arguments) {
  if (arguments.size() > 1 && arguments[0] == "help") return dispatch({arguments[1], "--help"});
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    help();
    return arguments.empty() ? 2 : 0;
  }
  if (arguments[0] == "--version") {
    std::printf("wayfarer %s (%s)\n", WAYFARER_VERSION, WAYFARER_BUILD_ID);
    return 0;
  }
  std::vector<std::string> known;
  for (auto const& v : verbs) {
    if (arguments[0] == v.name) return v.run({arguments.begin() + 1, arguments.end()});
    known.emplace_back(v.name);
  }
  bool const pipeline = arguments[0].ends_with(".yaml") || arguments[0].ends_with(".yml");
  throw advised_error(
      "no verb '" + arguments[0] + "'" +
          (pipeline ? "; did you mean 'wayfarer run " + arguments[0] + "'?" : wayfarer::did_you_mean(arguments[0], known)),
      {"'wayfarer --help' lists them"});
}

}  // namespace

int main(int count, char** words) {
  try {
    hold_standard_streams();
    initialise_store();
    install_signal_handlers();
    wayfarer::best_instruction_set();  // refuses a wrong WAYFARER_ISA
    wayfarer::provide_result_reader(&wayfarer::host::read_dataset_in_child);
    int const code = dispatch({words + 1, words + count});
    finish_standard_output();
    return code;
  } catch (reader_has_gone const&) {
    return 128 + SIGPIPE;
  } catch (advised_error const& e) {
    for (auto const& line : e.errors()) std::fprintf(stderr, "wayfarer: %s\n", printable(line).c_str());
    for (auto const& line : e.advice()) std::fprintf(stderr, "%s\n", printable(line).c_str());
    return e.exit_code();
  } catch (wayfarer::error const& e) {
    bool const told = dynamic_cast<wayfarer::stopped const*>(&e) && parent_tells();
    if (!told) std::fprintf(stderr, "wayfarer: %s\n", printable(e.what()).c_str());
    // The limit of a file's size is a signal and the error of a write in one.
    return signal_that_ends() == SIGXFSZ ? 128 + SIGXFSZ : e.exit_code();
  } catch (std::bad_alloc const&) {
    std::fprintf(stderr, "wayfarer: memory ran out; use fewer --threads or a smaller --memory-budget\n");
    return 5;
  } catch (std::exception const& e) {
    std::fprintf(stderr, "wayfarer: %s\n", printable(e.what()).c_str());
    return 70;
  }
}
