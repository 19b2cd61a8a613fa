#include "engine/run_result.hpp"

#include <algorithm>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/stopping.hpp>

#include "engine/failure.hpp"
#include "text/numbers.hpp"

namespace wayfarer::host {
namespace {

/// "hook_embed", or "7 datasets (mean_entropy, entropy, divergence and 4 more)".
std::string describe_datasets(std::vector<std::string> const& names) {
  constexpr std::size_t most = 4;
  if (names.size() == 1) return names[0];
  std::string text = counted(names.size(), "dataset") + " (" + names[0];
  std::size_t const told = names.size() <= most ? names.size() : most - 1;
  for (std::size_t k = 1; k < told; ++k) text += (k + 1 == names.size() ? " and " : ", ") + names[k];
  return text + (told == names.size() ? ")" : " and " + std::to_string(names.size() - told) + " more)");
}

std::string text_of(std::exception_ptr const& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (std::exception const& e) {
    return e.what();
  } catch (...) {
    return "unknown reason";
  }
}

}  // namespace

void run_result::write(std::size_t i, node_record const& node, node_state& state) {
  if (state.failure || state.skipped || write_failure_) return;
  try {
    with_place(title_of(plan_.nodes[i]), [&] { state.gaps = writer_.write(node, state.out); });
  } catch (...) {
    keep_failure(write_failure_);
  }
}

/// The first failure, if metrics alone failed, which does no harm to what the other nodes left; else null.
std::exception_ptr run_result::failure_of_metrics_alone(std::vector<node_state> const& states) const {
  std::exception_ptr first;
  for (std::size_t i = 0; i < states.size() && !write_failure_; ++i) {
    if (!states[i].failure) continue;
    if (plan_.nodes[i].kind != plugin_kind::metric) return nullptr;
    try {
      std::rethrow_exception(states[i].failure);
    } catch (resource_error const&) {
      return nullptr;
    } catch (stopped const&) {
      return nullptr;
    } catch (...) {
      if (!first) first = states[i].failure;
    }
  }
  return first;
}

/// What made the run fail; null if nothing did. Work that only heard of it and stopped is not to blame.
std::exception_ptr run_result::first_failure(std::vector<node_state> const& states) const {
  std::exception_ptr heard;
  auto const to_blame = [&](std::exception_ptr const& e) {
    try {
      if (e) std::rethrow_exception(e);
      return false;
    } catch (stopped const&) {
      heard = e;
      return false;
    } catch (...) {
      return true;
    }
  };
  for (auto const& s : states)
    if (to_blame(s.failure)) return s.failure;
  return to_blame(write_failure_) ? write_failure_ : heard;
}

/// What is not finite in the result: explained by its dataset or warned of. In plan order, after everything else. Datasets of a
/// node that have one reason share a line.
void run_result::tell_gaps(run_outcome& outcome, std::vector<node_state> const& states) {
  for (std::size_t i = 0; i < states.size(); ++i) {
    std::string const& node = plan_.nodes[i].name;
    std::string const& spoiled = states[i].why_no_reason;
    // Report activations that are not finite even if all results are.
    if (states[i].gaps.empty() && !states[i].spoiled.empty()) talk_.warn(node, states[i].spoiled);
    struct shared_reason {
      not_finite sum;
      std::vector<std::string> names{};
    };
    std::vector<shared_reason> reasons;
    for (auto const& g : states[i].gaps) {
      if (g.missing.empty()) {
        ++outcome.unexplained;
        talk_.warn(node, g.dataset + ": " + describe(g) + ", and the plugin does not say why");
        continue;
      }
      auto at = std::find_if(reasons.begin(), reasons.end(), [&](auto const& r) { return r.sum.missing == g.missing; });
      if (at == reasons.end()) at = reasons.insert(at, shared_reason{not_finite{"", 0, 0, 0, g.missing}});
      at->sum.nan += g.nan, at->sum.infinite += g.infinite, at->sum.of += g.of;
      at->names.push_back(g.dataset);
    }
    for (auto const& r : reasons) {
      std::string const what = describe_datasets(r.names), text = ": " + describe(r.sum) + ": " + r.sum.missing;
      if (!spoiled.empty() && r.sum.missing == spoiled) {
        outcome.unexplained += r.names.size();
        talk_.warn(node, what + text);
      } else {
        outcome.missing.push_back(node + (r.names.size() == 1 ? "/" : ": ") + what + text);
      }
    }
  }
}

/// Warnings in the order of the plan, as threads and processes come in any.
std::vector<std::string> run_result::warnings_in_order() const {
  auto const place = [&](std::string const& warning) {
    std::size_t best = plan_.nodes.size(), length = 0;
    for (std::size_t i = 0; i < plan_.nodes.size(); ++i) {
      std::string const& name = plan_.nodes[i].name;
      bool const mine = warning.starts_with(name) && (warning[name.size()] == ':' || warning[name.size()] == ',');
      if (mine && name.size() > length) best = i, length = name.size();
    }
    return best;
  };
  auto all = talk_.warnings();
  std::sort(all.begin(), all.end(), [&](auto const& a, auto const& b) {
    auto const x = place(a), y = place(b);
    return x != y ? x < y : a < b;
  });
  return all;
}

run_outcome run_result::finish(std::vector<node_record>& records, std::vector<node_state> const& states,
                               std::vector<possible_input> const& read, std::size_t threads, std::string const& started) {
  run_outcome outcome;
  outcome.failure = failure_of_metrics_alone(states);
  if (auto const failure = first_failure(states); failure && !outcome.failure) std::rethrow_exception(failure);
  for (std::size_t i = 0; i < states.size(); ++i)
    if (states[i].failure || states[i].skipped)
      talk_.warn(plan_.nodes[i].name, states[i].failure ? "failed, and is left out of the result: " + text_of(states[i].failure)
                                                        : "needs a node that failed, and is left out of the result");
  tell_gaps(outcome, states);
  outcome.verdicts = compare_with_expected(given_, [&](std::size_t i) -> results const& { return states[i].out; });
  run_record record;
  record.pipeline_text = plan_.text;
  record.plan_json = canonical_json(given_);
  record.versions = library_versions();
  record.environment = environment();
  for (auto const& one : read) record.inputs.push_back(one.what);
  record.warnings = warnings_in_order();
  record.expectations = tabulate(outcome.verdicts);
  record.reproducible = options_.reproducible;
  record.threads = threads;
  record.started = started;
  record.ended = utc_now();
  record.peak_memory = peak_memory_bytes();
  auto const final_keys = node_keys(plan_, read);
  for (std::size_t i = 0; i < records.size(); ++i) records[i].key = final_keys[i], records[i].seconds = states[i].seconds;
  writer_.commit(record, records);
  outcome.written = true;
  outcome.datasets = writer_.datasets();
  outcome.bytes = writer_.bytes();
  return outcome;
}

std::string describe(not_finite const& g) {
  return format_count(g.nan + g.infinite) + " of " + format_count(g.of) + (g.of == 1 ? " value is " : " values are ") +
         (g.infinite == 0 ? "NaN"
          : g.nan == 0    ? "infinite"
                          : "not finite (" + format_count(g.nan) + " NaN)");
}

}  // namespace wayfarer::host
