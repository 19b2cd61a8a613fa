// The result file of a run, and what the run's last lines report. Of class run; one thread at a time.
#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <vector>

#include "engine/console.hpp"
#include "engine/engine.hpp"
#include "engine/node_state.hpp"
#include "engine/provenance.hpp"
#include "pipeline/plan.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

class run_result {
 public:
  /// Begins the file. `given`: the plan as it was read; `p`: the same as it is run. All of them must outlive it.
  run_result(plan const& given, plan const& p, run_options const& options, console& talk)
      : given_(given), plan_(p), options_(options), talk_(talk), writer_(options.out, p.title, p.seed) {}

  /// In the plan's order. What failed is left out; once a write has failed, so is all the rest.
  void write(std::size_t i, node_record const&, node_state&);
  /// The rest of the file, once all nodes are in it. `records` get their last keys, from the files that were `read`, and times.
  /// Throws what made the run fail.
  run_outcome finish(std::vector<node_record>& records, std::vector<node_state> const&, std::vector<possible_input> const& read,
                     std::size_t threads, std::string const& started);

 private:
  std::exception_ptr first_failure(std::vector<node_state> const&) const;
  std::exception_ptr failure_of_metrics_alone(std::vector<node_state> const&) const;
  std::vector<std::string> warnings_in_order() const;
  void tell_gaps(run_outcome&, std::vector<node_state> const&);

  plan const& given_;
  plan const& plan_;
  run_options const& options_;
  console& talk_;
  result_writer writer_;
  std::exception_ptr write_failure_{};
};

}  // namespace wayfarer::host
