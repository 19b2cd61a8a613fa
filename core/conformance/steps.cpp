#include "conformance/steps.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <new>
#include <optional>
#include <system_error>

#include <wayfarer/error.hpp>

#include "conformance/rules.hpp"
#include "engine/threads.hpp"
#include "store/sanitized.hpp"

namespace wayfarer::host::conformance {
namespace {

constexpr char separator = '\x1f';

#ifdef WAYFARER_SANITIZED
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

/// A line of the pipe must stay one line.
std::string plain(std::string_view text) {
  std::string out(text.substr(0, 4000));
  for (char& c : out)
    if (c == '\n' || c == separator || c == '\0') c = ' ';
  return out;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (;;) {
    std::size_t const at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == text.npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string read_all(int file) {
  std::string text;
  char some[4096];
  for (off_t at = 0; text.size() < (std::size_t{1} << 20);) {
    ssize_t const n = ::pread(file, some, sizeof some, at);
    if (n <= 0) break;
    text.append(some, static_cast<std::size_t>(n));
    at += n;
  }
  return text;
}

/// The line of a sanitizer's report that says what it is.
std::optional<finding> sanitizer_report(std::string const& said, std::string const& step) {
  for (auto const& [sign, rule] :
       {std::pair{"ERROR: AddressSanitizer", "within_bounds"}, std::pair{"WARNING: ThreadSanitizer: data race", "many_threads"},
        std::pair{"runtime error:", "survives"}}) {
    std::size_t const at = said.find(sign);
    if (at == said.npos) continue;
    std::size_t const start = said.rfind('\n', at) == said.npos ? 0 : said.rfind('\n', at) + 1;
    return finding{level::broken, rule, step, plain(said.substr(start, said.find('\n', at) - start))};
  }
  return {};
}

}  // namespace

std::string_view name_of(level l) noexcept {
  switch (l) {
    case level::broken:
      return "broken";
    case level::noted:
      return "noted";
    case level::unmet:
      return "not checked";
  }
  return {};
}

void reporter::line(char tag, std::string_view a, std::string_view b, std::string_view c) {
  std::string const text = std::string(1, tag) + plain(a) + separator + plain(b) + separator + plain(c) + "\n";
  std::string_view rest = text;
  while (!rest.empty()) {
    ssize_t const n = ::write(to_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(1);
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
}
void reporter::tell(level how, std::string_view rule, std::string_view message) {
  line(how == level::broken ? 'B' : how == level::noted ? 'N' : 'U', rule, message);
}
void reporter::digest(std::string_view key, std::string_view value) {
  line('G', key, value);
}
void reporter::about(std::string_view key, std::string_view value) {
  line('I', key, value);
}

/// All that runs in the child.
class child_side {
 public:
  [[noreturn]] static void run(steps_request const& request, std::size_t first, int to) {
    rlimit const no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    // Sanitizers reserve terabytes of addresses.
    if (request.memory != 0 && !sanitized) {
      rlimit const memory{request.memory, request.memory};
      ::setrlimit(RLIMIT_AS, &memory);
    }
    reporter out(to);
    std::size_t next = first;
    bool ready = false;
    with_threads(request.threads, [&] {
      std::vector<step> steps;
      attempt(out, "loads", [&] {
        steps = request.prepare(out);
        ready = true;
      });
      if (!ready) return;
      for (; next < steps.size(); ++next) {
        step const& s = steps[next];
        if (request.only_again && !s.again) continue;
        out.line('S', std::to_string(next), s.rule, s.what);
        out.line('T', s.may_be_slow ? "slow" : "");
        attempt(out, s.rule, [&] { s.run(out); });
        out.line('D', std::to_string(next), s.rule);
      }
    });
    out.line('E', "");
    // Not exit: statics of a plugin that misbehaves may do anything, and what they do was not asked for.
    ::_exit(0);
  }

 private:
  template <class Work>
  static void attempt(reporter& out, std::string const& rule, Work&& work) {
    try {
      work();
    } catch (violation const& v) {
      out.broken(v.rule, v.what());
    } catch (unmet_need const& u) {
      out.tell(level::unmet, rule, u.what());
    } catch (error const& e) {
      std::string const what = e.what();
      out.broken(what.find("name it in needs()") != what.npos ? "declared_hooks" : rule, what);
    } catch (std::bad_alloc const&) {
      out.broken(rule, "memory ran out");
    } catch (std::exception const& e) {
      out.broken("typed_errors", std::string("threw an exception that is not a wayfarer::error: ") + e.what());
    } catch (...) {
      out.broken("typed_errors", "threw something that is not an exception");
    }
  }
};

run_of_steps run_steps(steps_request const& request) {
  prove_threads(request.threads);
  run_of_steps out;
  auto const limit = sanitized ? request.limit * 5 : request.limit;
  std::size_t first = 0;
  std::map<std::string, bool> ended;
  for (bool more = true; more;) {
    more = false;
    int ends[2];
    int const said_to = ::memfd_create("said", MFD_CLOEXEC);
    if (said_to < 0 || ::pipe2(ends, O_CLOEXEC) != 0)
      throw resource_error("can't make a pipe for the process that checks: " + std::generic_category().message(errno));
    ::fflush(nullptr);
    pid_t const child = ::fork();
    if (child < 0) throw resource_error("can't start a process to check in: " + std::generic_category().message(errno));
    if (child == 0) {
      ::close(ends[0]);
      ::dup2(said_to, 1), ::dup2(said_to, 2);
      child_side::run(request, first, ends[1]);
    }
    ::close(ends[1]);

    std::string text, current_rule = "loads", current = "loading the plugin and its inputs";
    std::optional<std::size_t> running;
    bool whole = false, late = false, slow_is_fine = false;
    std::size_t findings_before = out.findings.size();
    auto deadline = std::chrono::steady_clock::now() + limit;
    auto const take = [&](std::string_view line) {
      auto const parts = split(line.substr(1));
      deadline = std::chrono::steady_clock::now() + limit;
      switch (line[0]) {
        case 'S':
          running = std::stoul(parts[0]), current_rule = parts[1], current = parts[2];
          break;
        case 'T':
          slow_is_fine = parts[0] == "slow";
          break;
        case 'D':
          first = *running + 1;
          running.reset();
          ended[parts[1]] = true;
          break;
        case 'B':
        case 'N':
        case 'U':
          out.findings.push_back({line[0] == 'B'   ? level::broken
                                  : line[0] == 'N' ? level::noted
                                                   : level::unmet,
                                  parts[0], current, parts[1]});
          break;
        case 'G':
          out.digests[parts[0]] = parts[1];
          break;
        case 'I':
          out.about[parts[0]] = parts[1];
          break;
        case 'E':
          whole = true;
          break;
        default:
          break;
      }
    };
    for (;;) {
      auto const left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
      pollfd wait{ends[0], POLLIN, 0};
      int const ready = left > 0 ? ::poll(&wait, 1, static_cast<int>(left)) : 0;
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) {
        late = true;
        ::kill(child, SIGKILL);
        break;
      }
      char some[4096];
      ssize_t const n = ::read(ends[0], some, sizeof some);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      text.append(some, static_cast<std::size_t>(n));
      for (std::size_t end; (end = text.find('\n')) != text.npos; text.erase(0, end + 1))
        if (end > 0) take(std::string_view(text).substr(0, end));
    }
    ::close(ends[0]);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    std::string const said = read_all(said_to);
    ::close(said_to);

    if (auto report = sanitizer_report(said, current)) {
      out.findings.push_back(*report);
    } else if (late) {
      out.findings.push_back({slow_is_fine ? level::noted : level::broken, slow_is_fine ? current_rule : "finishes", current,
                              "did not return within " + std::to_string(limit.count()) + " seconds"});
    } else if (!whole) {
      std::string how = WIFSIGNALED(status) ? std::string("died of ") + ::strsignal(WTERMSIG(status))
                                            : "ended the process with code " + std::to_string(WEXITSTATUS(status));
      // A fault while reading between guard pages is one of reading; anywhere else it is just a crash.
      bool const guarded = current_rule == "within_bounds" || current_rule == "leaves_input_alone";
      if (!said.empty()) how += "; it said: " + plain(said.substr(said.size() > 300 ? said.size() - 300 : 0));
      out.findings.push_back({level::broken, guarded ? current_rule : "survives", current, std::move(how)});
    } else if (!said.empty() && findings_before == out.findings.size()) {
      out.findings.push_back({level::noted, "prints_nothing", "the whole check",
                              "wrote to the terminal, which is the host's: " + plain(said.substr(0, 200))});
    }
    // The rest of the steps, in a new process: without the one that ended this.
    if (!whole && running) {
      first = *running + 1;
      more = true;
    }
  }
  for (auto const& [rule, yes] : ended) out.rules.push_back(rule);
  return out;
}

}  // namespace wayfarer::host::conformance
