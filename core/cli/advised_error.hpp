// An error of the command line with lines of advice behind it. Thrown by verbs, caught by main alone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>

namespace wayfarer::host {

/// The lines are apart, since a line break within a message can only come from a name, and is shown escaped. Exit code 2.
class advised_error final : public error {
 public:
  advised_error(std::string const& what, std::vector<std::string> advice) : error(what), advice_(std::move(advice)) {}
  int exit_code() const noexcept override { return 2; }
  std::vector<std::string> const& advice() const noexcept { return advice_; }

 private:
  std::vector<std::string> advice_;
};

}  // namespace wayfarer::host
