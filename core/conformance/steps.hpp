// Steps of a check. Each runs in a child process, so that a crash or a hang of the plugin is a finding and the check continues.
//
// While there are children, the parent does not load the plugin and starts no thread. It forks, reads the child's messages from a
// pipe, and forks again after a step that ended the child. Called by the main thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace wayfarer::host::conformance {

enum class level { broken, noted, unmet };
std::string_view name_of(level) noexcept;  ///< "broken", "noted", "not checked"

struct finding {
  level how = level::broken;
  std::string rule;
  std::string step;  ///< what was being done
  std::string message;
};

/// Throw these from a step: the rule was broken; the step can't be carried out.
struct violation : std::runtime_error {
  violation(std::string r, std::string const& message) : std::runtime_error(message), rule(std::move(r)) {}
  std::string rule;
};
struct unmet_need : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// How the child reports to the parent.
class reporter {
 public:
  explicit reporter(int to) : to_(to) {}
  void tell(level, std::string_view rule, std::string_view message);
  void note(std::string_view rule, std::string_view message) { tell(level::noted, rule, message); }
  void broken(std::string_view rule, std::string_view message) { tell(level::broken, rule, message); }
  /// A value that the parent compares: between processes, or between values of a parameter.
  void digest(std::string_view key, std::string_view value);
  /// What was used, for the user: "tokens through gpt2".
  void about(std::string_view key, std::string_view value);

 private:
  friend class child_side;
  void line(char tag, std::string_view a, std::string_view b = {}, std::string_view c = {});
  int to_;
};

struct step {
  std::string rule;
  std::string what;
  std::function<void(reporter&)> run;
  bool may_be_slow = false;  ///< running out of time is then noted only
  bool again = false;        ///< repeated in another process with one thread; its digests must be equal
};

/// A step of a kind's list: it holds the case that the kind prepared to one rule.
template <class Case>
struct listed_step {
  char const* rule;
  char const* what;
  void (*run)(Case const&, reporter&);
  bool again = false;
};
/// Steps that share one case, which lives as long as they do.
template <class Case>
void add_steps(std::vector<step>& to, std::shared_ptr<Case const> const& on,
               std::initializer_list<std::type_identity_t<listed_step<Case>>> list) {
  for (auto const& s : list) to.push_back({s.rule, s.what, [on, run = s.run](reporter& out) { run(*on, out); }, false, s.again});
}

struct run_of_steps {
  std::vector<finding> findings;
  std::vector<std::string> rules;  ///< of the steps that ran to their end, each once
  std::map<std::string, std::string> digests, about;
};

/// `prepare` runs first in every child, and gives the steps, the same each time. `threads`: of the child's oneTBB arena.
struct steps_request {
  std::function<std::vector<step>(reporter&)> prepare;
  std::size_t threads = 4;
  bool only_again = false;
  std::chrono::seconds limit{20};
  std::uint64_t memory = 0;  ///< address space of a child in bytes, 0: no limit
};
run_of_steps run_steps(steps_request const&);

}  // namespace wayfarer::host::conformance
