#include "cli/workers.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/stopping.hpp>

#include "cli/signals.hpp"
#include "engine/threads.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t most_workers = 1'000'000;
constexpr int most_processes = 1024;

std::optional<std::size_t> whole_number(std::string_view text) {
  std::size_t n = 0;
  auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (code != std::errc() || end != text.data() + text.size() || n > 1'000'000'000) return std::nullopt;
  return n;
}

using environment_function = std::function<char const*(char const*)>;

std::optional<std::size_t> number_of(environment_function const& get, char const* name) {
  char const* const text = get(name);
  if (!text || !*text) return std::nullopt;
  auto const n = whole_number(text);
  if (!n)
    throw usage_error(std::string("the environment's ") + name + "=" + printable(text) + " is no number; give --worker I/N");
  return n;
}

worker_place checked(std::size_t rank, std::size_t size, std::string const& from) {
  if (size == 0 || size > most_workers || rank >= size)
    throw usage_error(from + " says that this is process " + std::to_string(rank) + " of " + std::to_string(size) +
                      ", which can't be; give --worker I/N");
  return {rank + 1, size};
}

worker_place parse_worker(std::string const& text) {
  std::size_t const slash = text.find('/');
  auto const index = whole_number(std::string_view(text).substr(0, slash));
  auto const count = slash == text.npos ? std::nullopt : whole_number(std::string_view(text).substr(slash + 1));
  if (!index || !count || *index == 0 || *index > *count || *count > most_workers)
    throw usage_error("--worker takes I/N, such as 2/8 for the second of eight, not '" + printable(text) + "'");
  return {*index, *count};
}

}  // namespace

void add_worker_options(verb_options& o) {
  o.named().add_options()("work", po::value<std::string>()->value_name("DIR"),
                          "share the run with other processes, on this machine or others: finished work is kept in DIR")(
      "work-local", po::value<std::string>()->value_name("DIR"),
      "under mpirun: DIR is a folder of each machine's own, and finished work goes to the first rank by messages")(
      "worker", po::value<std::string>()->value_name("I/N"),
      "this is process I of N; default: what mpirun, srun or a Slurm array say, else 1/1")(
      "processes", po::value<int>()->value_name("N"), "start N processes here that share the run")(
      "merge", "with --work: write the result from what is there; blocks that are missing are an error")(
      "lease", po::value<double>()->default_value(60, "60")->value_name("S"),
      "with --work: seconds after which a silent process's work is taken over")(
      "reproducible",
      "leave times, threads, memory and the processor out of the file, so that equal runs give equal bytes; "
      "--work implies it");
  add_store_options(o);
}

void add_store_options(verb_options& o) {
  o.named().add_options()("store", po::value<std::string>()->value_name("DIR"),
                          "take finished blocks from DIR and leave them there for later runs, also of other pipelines; default: "
                          "WAYFARER_STORE, else none")(
      "store-limit", po::value<std::string>()->value_name("SIZE"),
      "what the store may hold, such as 500G: beyond it what was used longest ago is removed; kept in the store; default: "
      "WAYFARER_STORE_LIMIT, else what the store has, else 20G");
}

namespace {

/// What an option says, or else a variable; nothing if neither does.
std::optional<std::string> given_or_set(verb_options const& o, char const* option, char const* variable) {
  if (o.has(option)) return o.get<std::string>(option);
  char const* const text = std::getenv(variable);
  return text && *text ? std::optional<std::string>(text) : std::nullopt;
}

}  // namespace

void choose_store(verb_options const& o, run_options& options) {
  if (o.has("store")) o.place("store", "the folder that keeps blocks for later runs");
  if (auto const folder = given_or_set(o, "store", "WAYFARER_STORE")) options.store = *folder;
  if (options.store.empty() && o.has("store-limit")) throw usage_error("--store-limit needs --store DIR or WAYFARER_STORE");
  auto const limit = given_or_set(o, "store-limit", "WAYFARER_STORE_LIMIT");
  if (options.store.empty() || !limit) return;
  options.store_limit = parse_size(*limit);
  if (*options.store_limit == 0) throw usage_error("a store's limit must be at least 1 byte, such as 500G");
}

std::optional<worker_place> place_from_launcher(environment_function const& get) {
  struct source {
    char const *rank, *size, *name;
  };
  // PMIx gives a rank and no size, which its launchers give under names of their own.
  for (source const& s :
       {source{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "mpirun (OMPI_COMM_WORLD_RANK)"},
        source{"PMI_RANK", "PMI_SIZE", "mpirun (PMI_RANK)"}, source{"PMIX_RANK", "SLURM_STEP_NUM_TASKS", "srun (PMIX_RANK)"},
        source{"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "srun (SLURM_PROCID)"}}) {
    auto const rank = number_of(get, s.rank), size = number_of(get, s.size);
    if (rank && size && *size > 1) return checked(*rank, *size, s.name);
  }
  return std::nullopt;
}

std::optional<worker_place> place_from_array(environment_function const& get) {
  auto const id = number_of(get, "SLURM_ARRAY_TASK_ID"), count = number_of(get, "SLURM_ARRAY_TASK_COUNT");
  auto const first = number_of(get, "SLURM_ARRAY_TASK_MIN"), last = number_of(get, "SLURM_ARRAY_TASK_MAX");
  if (!id || !count) return std::nullopt;
  std::size_t const from = first.value_or(0);
  // An array may be a list of indices: then some of them share a place, which costs a little order and no result.
  std::size_t const step = last && *count > 1 && *last > from ? std::max<std::size_t>(1, (*last - from) / (*count - 1)) : 1;
  return checked(std::min((std::max(*id, from) - from) / step, std::max<std::size_t>(*count, 1) - 1), *count, "Slurm's array");
}

std::optional<std::size_t> wanted_processes(verb_options const& o) {
  if (!o.has("processes")) return std::nullopt;
  for (auto const* name : {"worker", "merge", "resume"})
    if (o.has(name)) throw usage_error(std::string("--processes starts workers of its own; leave --") + name + " out");
  int const n = o.get<int>("processes");
  if (n < 1 || n > most_processes) throw usage_error("--processes must be from 1 to " + std::to_string(most_processes));
  return static_cast<std::size_t>(n);
}

double checked_lease(double seconds) {
  if (!(seconds >= 0.2 && seconds <= 86'400)) throw usage_error("--lease must be from 0.2 to 86,400 seconds");
  return seconds;
}

std::optional<fs::path> given_work(verb_options const& o) {
  if (!o.has("work")) return std::nullopt;
  return o.place("work", "the folder that the processes share");
}

void choose_place(verb_options const& o, run_options& options) {
  auto const launcher = place_from_launcher(&std::getenv);
  options.local = o.has("work-local");
  for (auto const* name : {"work", "worker", "processes", "merge", "resume"})
    if (options.local && o.has(name))
      throw usage_error(std::string("--work-local takes ranks from mpirun and a folder of each machine's own; leave --") + name +
                        " out");
  bool const shared = options.local || o.has("work") || o.has("processes") || launcher;
  for (auto const* name : {"worker", "merge"})
    if (o.has(name) && !o.has("work"))
      throw usage_error(std::string("--") + name + " needs --work DIR, the folder that the processes share");
  options.reproducible = o.has("reproducible") || shared;
  options.lease_seconds = checked_lease(o.get<double>("lease"));
  if (!shared) return;
  if (o.has("resume")) throw usage_error("--work keeps all that is finished, so that --resume has nothing to add; give one");
  options.work = options.local ? fs::path(o.place("work-local", "a folder of each machine's own"))
                               : given_work(o).value_or(fs::path(options.out) += ".work");
  options.merge = o.has("merge");
  if (o.has("worker"))
    options.place = parse_worker(o.get<std::string>("worker"));
  else if (launcher)
    options.place = *launcher;
  else if (auto const array = options.merge ? std::nullopt : place_from_array(&std::getenv))
    options.place = *array;
}

namespace {

/// Set for processes that another started as one of several: its number.
constexpr char parent_variable[] = "WAYFARER_PARENT";

/// The command of one worker: this one, with what makes it a worker.
std::vector<std::string> command_of(words const& arguments, std::size_t index, std::size_t count, std::size_t threads,
                                    run_options const& options) {
  std::vector<std::string> all{"wayfarer", "run"};
  bool threads_given = false, work_given = false, quiet = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string const& word = arguments[i];
    if (word == "--processes") {
      ++i;
      continue;
    }
    if (word.starts_with("--processes=")) continue;
    threads_given = threads_given || word == "--threads" || word.starts_with("--threads=");
    work_given = work_given || word == "--work" || word.starts_with("--work=");
    quiet = quiet || word == "--quiet";
    all.push_back(word);
  }
  if (!work_given) all.insert(all.end(), {"--work", options.work.string()});
  if (!threads_given) all.insert(all.end(), {"--threads", std::to_string(threads)});
  if (index > 1 && !quiet) all.emplace_back("--quiet");
  all.insert(all.end(), {"--worker", std::to_string(index) + "/" + std::to_string(count)});
  return all;
}

pid_t start_worker(std::vector<std::string> words) {
  std::vector<char*> pointers;
  for (auto& w : words) pointers.push_back(w.data());
  pointers.push_back(nullptr);
  std::fflush(nullptr);
  pid_t const parent = ::getpid(), child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(128 + SIGTERM);
  ::setenv(parent_variable, std::to_string(parent).c_str(), 1);
  ::execv("/proc/self/exe", pointers.data());
  ::_exit(127);
}

}  // namespace

namespace {

/// What the processes that were started came to.
struct endings {
  bool whole = false;  ///< one of them ended with the result there
  int done = 0, failed = 0, signal = 0;
};

void tell_all_to_end(std::vector<pid_t> const& children) noexcept {
  for (pid_t const c : children)
    if (c > 0) ::kill(c, SIGTERM);
}

endings wait_for_all(std::vector<pid_t> children) {
  endings out;
  bool told = false;
  for (std::size_t left = children.size(); left > 0;) {
    int status = 0;
    pid_t const child = ::waitpid(-1, &status, WNOHANG);
    if (child <= 0) {
      if (child < 0 && errno == ECHILD) break;
      if (stop_asked() && !told) tell_all_to_end(children), told = true;
      ::usleep(10'000);
      continue;
    }
    auto const at = std::find(children.begin(), children.end(), child);
    if (at == children.end()) continue;
    *at = 0, --left;
    std::size_t const index = static_cast<std::size_t>(at - children.begin()) + 1;
    // A process that a signal reached says so with its exit code alone.
    int const code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (code > 128) {
      out.signal = code - 128;
      if (stop_asked()) continue;
      std::fprintf(stderr, "worker %zu of %zu was ended by %s; what it was at is taken over by the others\n", index,
                   children.size(), name_of_signal(out.signal).c_str());
    } else if (code <= 1) {
      out.whole = true, out.done = std::max(out.done, code);
    } else if (out.failed == 0) {
      out.failed = code;
    }
  }
  return out;
}

}  // namespace

void follow_parent() {
  if (char const* const text = std::getenv(parent_variable))
    if (auto const parent = whole_number(text)) let_parent_tell(static_cast<int>(*parent));
  ::unsetenv(parent_variable);
}

int run_processes(words const& arguments, std::size_t count, run_options const& options, std::string const& kept) {
  std::size_t const threads = options.threads != 0 ? options.threads : std::max<std::size_t>(1, default_threads() / count);
  stoppable_work listening;
  std::vector<pid_t> children;
  for (std::size_t i = 1; i <= count; ++i) {
    pid_t const child = start_worker(command_of(arguments, i, count, threads, options));
    if (child < 0) {
      int const code = errno;
      tell_all_to_end(children);
      wait_for_all(children);
      throw resource_error("only " + std::to_string(children.size()) + " of " + std::to_string(count) +
                           " processes can be started: " + std::generic_category().message(code) + "; use fewer --processes");
    }
    children.push_back(child);
  }
  endings const all = wait_for_all(children);
  if (int const asked = listening.end())
    throw stopped("stopped by " + name_of_signal(asked) + (all.whole ? "; " + options.out.string() + " is written" : kept),
                  asked);
  // A process that died costs time and nothing else, as long as another came to the end.
  if (all.whole) return all.done;
  return all.failed != 0 ? all.failed : 128 + all.signal;
}

}  // namespace wayfarer::host
