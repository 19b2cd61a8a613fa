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

namespace {

struct child_process {
  pid_t id;
  int messages;  ///< the reading end of a pipe
  int said;      ///< what it wrote to the terminal
};

/// Forks a child that runs the steps from `first` on.
child_process start_child(steps_request const& request, std::size_t first) {
  int ends[2];
  int const said = ::memfd_create("said", MFD_CLOEXEC);
  if (said < 0 || ::pipe2(ends, O_CLOEXEC) != 0)
    throw resource_error("can't make a pipe for the process that checks: " + std::generic_category().message(errno));
  ::fflush(nullptr);
  pid_t const child = ::fork();
  if (child < 0) throw resource_error("can't start a process to check in: " + std::generic_category().message(errno));
  if (child == 0) {
    ::close(ends[0]);
    ::dup2(said, 1), ::dup2(said, 2);
    child_side::run(request, first, ends[1]);
  }
  ::close(ends[1]);
  return {child, ends[0], said};
}

/// The parent's ear: what a child reports, and where it is.
class listener {
 public:
  listener(run_of_steps& out, std::chrono::seconds limit) : out_(out), limit_(limit), before_(out.findings.size()) {}

  /// Until the child ends or takes too long; then it is killed.
  void hear(child_process const& child) {
    std::string text;
    wait_again();
    for (;;) {
      auto const left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - std::chrono::steady_clock::now()).count();
      pollfd wait{child.messages, POLLIN, 0};
      int const ready = left > 0 ? ::poll(&wait, 1, static_cast<int>(left)) : 0;
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) {
        late_ = true;
        ::kill(child.id, SIGKILL);
        break;
      }
      char some[4096];
      ssize_t const n = ::read(child.messages, some, sizeof some);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      text.append(some, static_cast<std::size_t>(n));
      for (std::size_t end; (end = text.find('\n')) != text.npos; text.erase(0, end + 1))
        if (end > 0) take(std::string_view(text).substr(0, end));
    }
    ::close(child.messages);
    while (::waitpid(child.id, &status_, 0) < 0 && errno == EINTR) {
    }
    said_ = read_all(child.said);
    ::close(child.said);
  }

  /// What its end says of it.
  void judge() {
    if (auto const report = sanitizer_report(said_, what_)) {
      out_.findings.push_back(*report);
    } else if (late_) {
      out_.findings.push_back({slow_is_fine_ ? level::noted : level::broken, slow_is_fine_ ? rule_ : "finishes", what_,
                               "did not return within " + std::to_string(allowed().count()) + " seconds"});
    } else if (!whole_) {
      std::string how = WIFSIGNALED(status_) ? std::string("died of ") + ::strsignal(WTERMSIG(status_))
                                             : "ended the process with code " + std::to_string(WEXITSTATUS(status_));
      // A fault while reading between guard pages is one of reading; anywhere else it is just a crash.
      bool const guarded = rule_ == "within_bounds" || rule_ == "leaves_input_alone";
      if (!said_.empty()) how += "; it said: " + plain(said_.substr(said_.size() > 300 ? said_.size() - 300 : 0));
      out_.findings.push_back({level::broken, guarded ? rule_ : "survives", what_, std::move(how)});
    } else if (!said_.empty() && before_ == out_.findings.size()) {
      out_.findings.push_back({level::noted, "prints_nothing", "the whole check",
                               "wrote to the terminal, which is the host's: " + plain(said_.substr(0, 200))});
    }
  }

  /// The first of the steps that are left if one of them ended the child.
  std::optional<std::size_t> resume_at() const { return !whole_ && running_ ? std::optional(*running_ + 1) : std::nullopt; }

 private:
  void take(std::string_view line) {
    auto const parts = split(line.substr(1));
    wait_again();
    switch (line[0]) {
      case 'S':
        running_ = std::stoul(parts[0]), rule_ = parts[1], what_ = parts[2];
        break;
      case 'T':
        slow_is_fine_ = parts[0] == "slow";
        wait_again();
        break;
      case 'D':
        running_.reset();
        if (std::find(out_.rules.begin(), out_.rules.end(), parts[1]) == out_.rules.end()) out_.rules.push_back(parts[1]);
        break;
      case 'B':
        return find(level::broken, parts);
      case 'N':
        return find(level::noted, parts);
      case 'U':
        return find(level::unmet, parts);
      case 'G':
        out_.digests[parts[0]] = parts[1];
        break;
      case 'I':
        out_.about[parts[0]] = parts[1];
        break;
      case 'E':
        whole_ = true;
        break;
      default:
        break;
    }
  }
  /// Little where a late return is noted at most: a check tries hundreds of values, and their extremes may take hours.
  std::chrono::seconds allowed() const { return slow_is_fine_ ? limit_ / 4 : limit_; }
  void wait_again() { deadline_ = std::chrono::steady_clock::now() + allowed(); }
  void find(level how, std::vector<std::string> const& parts) { out_.findings.push_back({how, parts[0], what_, parts[1]}); }

  run_of_steps& out_;
  std::chrono::seconds limit_;
  std::chrono::steady_clock::time_point deadline_;
  std::size_t before_;  // findings of the children before
  std::string rule_ = "loads", what_ = "loading the plugin and its inputs";
  std::optional<std::size_t> running_;  // step
  bool whole_ = false, late_ = false, slow_is_fine_ = false;
  int status_ = 0;
  std::string said_;
};

}  // namespace

run_of_steps run_steps(steps_request const& request) {
  prove_threads(request.threads);
  run_of_steps out;
  for (std::optional<std::size_t> next = 0; next;) {
    listener ear(out, sanitized ? request.limit * 5 : request.limit);
    ear.hear(start_child(request, *next));
    ear.judge();
    next = ear.resume_at();
  }
  std::sort(out.rules.begin(), out.rules.end());
  return out;
}

}  // namespace wayfarer::host::conformance
