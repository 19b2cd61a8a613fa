// What is wrong with single values of a plugin's parameters, so that the host can point at each of them in the pipeline file.
//
// Thrown from a plugin's constructor, or from `plan_checker::check_plan`. One error holds all that is wrong, not only the first.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/probe.hpp>

namespace wayfarer {

/// One wrong value: a parameter, and which element if it is a list.
struct parameter_problem {
  std::string parameter;
  std::size_t element = 0;  ///< of a list; 0 for a single value
  std::string message;
};

/// Exit code 2, as for usage_error.
class WAYFARER_API parameter_error final : public error {
 public:
  /// At least one problem; `what()` joins the messages.
  explicit parameter_error(std::vector<parameter_problem> all);
  ~parameter_error() override;
  int exit_code() const noexcept override { return 2; }
  std::vector<parameter_problem> const& all() const noexcept { return all_; }

 private:
  template <class>
  friend struct layout_of;
  std::vector<parameter_problem> all_;
};

/// A probe may implement this beside `probe`: it then looks at its model and its items before anything runs. The host's main
/// thread calls it for `check` and for `run`, once for each probe. The model is constructed but not loaded: its info and its
/// tokenizer are there, its weights are not. Read few items. Throws what `run` would throw: usage_error, data_error or
/// parameter_error. A trainable model may implement it, too: the model is itself then, and the items are those that it learns
/// from.
struct WAYFARER_API plan_checker {
  virtual ~plan_checker();
  virtual void check_plan(probe_context const&) const = 0;
};

WAYFARER_LAYOUT(parameter_problem, parameter, element, message);
WAYFARER_LAYOUT(parameter_error, all_);
WAYFARER_INTERFACE_LAYOUT(plan_checker, check_plan);

}  // namespace wayfarer
