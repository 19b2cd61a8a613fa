// Errors of the command line, followed by lines of advice. Verbs throw it; only main catches it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>

namespace wayfarer::host {

/// The lines are separate, because a line break inside a message can only come from a name and is escaped. Exit code 2.
class advised_error final : public error {
 public:
  advised_error(std::string const& what, std::vector<std::string> advice) : advised_error(std::vector{what}, std::move(advice)) {}
  /// At least one error; each is printed as one, with the program's name before it.
  explicit advised_error(std::vector<std::string> errors, std::vector<std::string> advice = {})
      : error(errors.front()), errors_(std::move(errors)), advice_(std::move(advice)) {}
  int exit_code() const noexcept override { return 2; }
  std::vector<std::string> const& errors() const noexcept { return errors_; }
  std::vector<std::string> const& advice() const noexcept { return advice_; }

 private:
  std::vector<std::string> errors_, advice_;
};

}  // namespace wayfarer::host
