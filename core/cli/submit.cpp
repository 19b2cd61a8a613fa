// wayfarer submit: a run as an array of a Slurm cluster, with a job after it that writes the result.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <system_error>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

#include "cli/outputs.hpp"
#include "cli/planning.hpp"
#include "cli/workers.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

/// A word as a shell reads it back.
std::string quoted(std::string const& word) {
  std::string out = "'";
  for (char const c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

/// A value of an #SBATCH line: it ends at the first blank, and there is no way to quote a line break.
std::string one_word(std::string const& option, std::string const& value) {
  if (value.empty() || value.find_first_of(" \t\n\r\"'\\#") != value.npos)
    throw usage_error("--" + option + " takes one word without blanks or quotes, not '" + printable(value) + "'");
  return value;
}

struct job {
  std::string directives, run;
  std::string script() const { return "#!/bin/sh\n" + directives + "\nexec " + run + "\n"; }
};

std::string common_directives(verb_options const& o, fs::path const& logs, char const* log_name) {
  std::string text = "#SBATCH --output=" + one_word("out", (logs / log_name).string()) + "\n";
  for (char const* name : {"partition", "account", "time", "mem", "qos", "constraint"})
    if (o.has(name)) text += std::string("#SBATCH --") + name + "=" + one_word(name, o.get<std::string>(name)) + "\n";
  text += "#SBATCH --cpus-per-task=" + std::to_string(o.get<int>("cpus")) + "\n";
  return text;
}

/// Runs a program and returns its standard output; nothing if it is not there. Throws resource_error if it fails.
std::optional<std::string> output_of(std::vector<std::string> words) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw resource_error("a pipe can't be made: " + std::generic_category().message(errno));
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::vector<char*> pointers;
  for (auto& w : words) pointers.push_back(w.data());
  pointers.push_back(nullptr);
  pid_t child = 0;
  int const code = ::posix_spawnp(&child, pointers[0], &actions, nullptr, pointers.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string out;
  std::array<char, 4096> piece{};
  for (ssize_t n = 0; code == 0 && (n = ::read(ends[0], piece.data(), piece.size())) > 0;)
    out.append(piece.data(), static_cast<std::size_t>(n));
  ::close(ends[0]);
  if (code == ENOENT) return std::nullopt;
  int status = 0;
  if (code != 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw resource_error(words.front() + " failed" + (code != 0 ? ": " + std::generic_category().message(code) : "") +
                         "; its own message stands above");
  return out;
}

/// "123;cluster\n" -> "123".
std::string job_id(std::string const& printed) {
  std::string const id = printed.substr(0, printed.find_first_not_of("0123456789"));
  if (id.empty()) throw resource_error("sbatch gave no job number but '" + printable(printed.substr(0, 200)) + "'");
  return id;
}

void add_submit_options(verb_options& o) {
  o.named().add_options()("array", po::value<int>()->default_value(8)->value_name("N"), "workers: elements of the array")(
      "work", po::value<std::string>()->value_name("DIR"), "folder that all nodes see; default: OUT.work")(
      "cpus", po::value<int>()->default_value(1)->value_name("N"), "processors, and threads, of a worker")(
      "partition", po::value<std::string>()->value_name("NAME"), "as sbatch has it")(
      "account", po::value<std::string>()->value_name("NAME"), "as sbatch has it")(
      "qos", po::value<std::string>()->value_name("NAME"), "as sbatch has it")(
      "constraint", po::value<std::string>()->value_name("NAME"), "as sbatch has it")(
      "time", po::value<std::string>()->value_name("TIME"), "as sbatch has it")(
      "mem", po::value<std::string>()->value_name("SIZE"), "as sbatch has it")(
      "lease", po::value<double>()->value_name("S"),
      "as 'wayfarer run' has it: seconds until a silent worker's work is taken over")("dry-run",
                                                                                      "write the two scripts and submit nothing");
  add_store_options(o);
}

}  // namespace

int submit_verb(words const& arguments) {
  verb_options o(
      "submit FILE [OPTIONS]",
      "Checks the pipeline, writes two scripts beside the result and submits them to Slurm: an array of workers that\n"
      "share the run, and a job that depends on it and writes the result. Without sbatch it says what to do with them.",
      {"wayfarer submit long.yaml --array 100 --time 2:00:00 --out long.h5",
       "wayfarer submit long.yaml --array 8 --cpus 16 --partition batch --dry-run"});
  add_plan_options(o);
  add_result_options(o, about_out);
  add_submit_options(o);
  if (!o.parse(arguments)) return 0;
  int const count = o.get<int>("array"), cpus = o.get<int>("cpus");
  if (count < 1 || count > 1'000'000) throw usage_error("--array must be from 1 to 1,000,000");
  if (cpus < 1 || cpus > 1024) throw usage_error("--cpus must be from 1 to 1024");
  std::string const lease = o.has("lease") ? " --lease " + format_number(checked_lease(o.get<double>("lease"))) : "";
  run_options kept;
  choose_store(o, kept);
  std::string store = kept.store.empty() ? "" : " --store " + quoted(fs::absolute(kept.store).string());
  if (kept.store_limit) store += " --store-limit " + std::to_string(*kept.store_limit);
  registry plugins = open_registry(o);
  planned const p = read_planned(o, plugins);
  if (int const code = report_problems(p)) return code;
  output_place const to = result_place(o, p.what);
  fs::path const out = fs::absolute(to.path), work = fs::absolute(given_work(o).value_or(fs::path(out) += ".work"));

  std::string run = quoted(fs::read_symlink("/proc/self/exe").string()) + " run " + quoted(fs::absolute(p.what.file).string()) +
                    " --out " + quoted(out.string()) + " --work " + quoted(work.string()) +
                    " --quiet --threads \"${SLURM_CPUS_PER_TASK:-1}\"";
  for (auto const& s : o.all("set")) run += " --set " + quoted(s);
  for (auto const& f : o.all("plugin-path")) run += " --plugin-path " + quoted(fs::absolute(f).string());
  run += lease + store;
  if (o.has("force")) run += " --force";
  fs::path const logs = out.parent_path();
  std::string const name = "#SBATCH --job-name=wayfarer\n";
  job const workers{name + "#SBATCH --array=1-" + std::to_string(count) + "\n#SBATCH --requeue\n" +
                        common_directives(o, logs, "wayfarer-%A-%a.log"),
                    run + " --worker \"$SLURM_ARRAY_TASK_ID/" + std::to_string(count) + "\""};
  job const merge{name + common_directives(o, logs, "wayfarer-%j.log"), run + " --merge"};
  fs::path const first = fs::path(out) += ".workers.sbatch", second = fs::path(out) += ".merge.sbatch";
  write_file_atomically(first.string(), std::string_view(workers.script()));
  write_file_atomically(second.string(), std::string_view(merge.script()));

  auto const printed = o.has("dry-run") ? std::nullopt : output_of({"sbatch", "--parsable", first.string()});
  if (!printed) {
    std::printf("%s; to submit the two scripts:\n  sbatch %s\n  sbatch --dependency=afterany:JOB %s\n",
                o.has("dry-run") ? "nothing is submitted" : "there is no sbatch here", quoted(first.string()).c_str(),
                quoted(second.string()).c_str());
    return 0;
  }
  std::string const id = job_id(*printed);
  auto const merging = output_of({"sbatch", "--parsable", "--dependency=afterany:" + id, second.string()});
  std::printf("submitted: job %s, %d workers; job %s writes %s when they have ended; 'wayfarer status %s' shows how far it is\n",
              id.c_str(), count, merging ? job_id(*merging).c_str() : "?", printable(out.string()).c_str(),
              printable(work.string()).c_str());
  return 0;
}

}  // namespace wayfarer::host
