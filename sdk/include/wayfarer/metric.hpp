// Metrics: numbers drawn from results. A pure function of the datasets that its ports name.
//
// Over a trained model's snapshots a metric is called once a step, with the step's slice, unless it asks for the whole axis.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include <wayfarer/config.hpp>
#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/plugin.hpp>
#include <wayfarer/results.hpp>

namespace wayfarer {

/// What the results ports of a metric or a probe name: whole nodes ("of: structure") or single datasets ("of:
/// structure/value_blocks").
class WAYFARER_API metric_input {
 public:
  void put(std::string port, std::string name, results const* node, dataset const* one);
  /// The one dataset that a port names; when it names a node, that node's dataset `name`. Throws usage_error, with near names.
  dataset const& at(std::string_view port, std::string_view name = {}) const;
  bool has(std::string_view port) const { return all_.find(port) != all_.end(); }

 private:
  template <class>
  friend struct layout_of;
  struct wire {
    std::string name;
    results const* node;
    dataset const* one;
  };
  std::map<std::string, wire, std::less<>> all_;
};

struct WAYFARER_API metric : plugin_base {
  ~metric() override;
  /// Whether `measure` wants the dimension "step" whole instead of one step a call.
  virtual bool over_steps() const { return false; }
  virtual void measure(metric_input const&, results&) const = 0;
};

WAYFARER_INNER_LAYOUT(metric_input, 1, wire, name, node, one);
WAYFARER_LAYOUT(metric_input, all_);
WAYFARER_INTERFACE_LAYOUT(metric, over_steps, measure);

}  // namespace wayfarer
