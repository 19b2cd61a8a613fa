// The values of a probe's node that are left when those with mistakes are taken out, so that one mistake hides no other.
//
// Used by the main thread.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/config.hpp>

#include "pipeline/plan.hpp"

namespace wayfarer::host {

/// A value of the pipeline file that was reported: a parameter, and which element if it is a list.
struct wrong_value {
  std::string parameter;
  std::size_t element = 0;
};

/// The parameters of one combination of a node.
class remaining_values {
 public:
  remaining_values(plan_node const&, std::size_t combination);

  /// False if a required parameter has no good value: nothing can be made of the rest.
  bool complete() const noexcept { return complete_; }
  config const& values() const noexcept { return values_; }
  /// Takes them out: elements of their lists, other values in favour of the defaults. False if all of them were out before.
  bool leave_out(std::vector<wrong_value> const&);
  /// Which element of the file's list element `i` is; nothing for a value that is not from the file.
  std::optional<std::size_t> element_in_file(std::string_view parameter, std::size_t i) const;

 private:
  void put_default(param_descriptor const&);

  plugin const* what_;
  config values_;
  std::map<std::string, std::vector<std::size_t>, std::less<>> left_;  // of each given parameter, the elements still there
  bool complete_ = true;
};

}  // namespace wayfarer::host
