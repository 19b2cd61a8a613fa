// An error of the command line, followed by lines of advice. Verbs throw it; only main catches it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>

namespace wayfarer::host {

/// The lines are separate, because a line break inside a message can only come from a name and is escaped. Exit code 2.
class advised_error final : public error {
 public:
  advised_error(std::string const& what, std::vector<std::string> advice) : error(what), advice_(std::move(advice)) {}
  int exit_code() const noexcept override { return 2; }
  std::vector<std::string> const& advice() const noexcept { return advice_; }

 private:
  std::vector<std::string> advice_;
};

}  // namespace wayfarer::host
