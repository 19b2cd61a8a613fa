// What is wrong with one node of a plan, found while its objects are made and looked at: each mistake at its own place, and once.
//
// Used by the main thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/parameter_error.hpp>

#include "engine/remainder.hpp"
#include "pipeline/plan.hpp"

namespace wayfarer::host {

/// Collects what is wrong with one node. A mistake is reported once, however many combinations of a sweep have it.
class node_problems {
 public:
  node_problems(plan_node const& node, model const* m, std::vector<problem>& problems)
      : node_(node), model_(m), problems_(problems) {}

  /// Whether `work` went well. `c`: the combination that it is about.
  template <class Work>
  bool none_in(std::size_t c, Work&& work) {
    combination_ = c;
    try {
      work();
      return true;
    } catch (error const& e) {
      // Hooks are one of several things that may be wrong: each has its own place.
      if (e.exit_code() == 2) report_hooks();
      add(e);
    } catch (std::exception const& e) {
      add(std::string("the plugin failed: ") + e.what() + " (" + node_.what->library().string() + ")", 4);
    } catch (...) {
      add("the plugin threw something that is not an exception (" + node_.what->library().string() + ")", 4);
    }
    return false;
  }

  /// The same for what is left of a node with mistakes. Only what is said of values that the file gives is reported: the rest may
  /// follow from what was left out.
  template <class Work>
  bool none_in(std::size_t c, remaining_values const& left, Work&& work) {
    combination_ = c;
    try {
      work();
      return true;
    } catch (parameter_error const& e) {
      for (auto const& one : e.all())
        if (auto const element = left.element_in_file(one.parameter, one.element))
          add(parameter_problem{one.parameter, *element, one.message});
    } catch (error const& e) {
      if (e.exit_code() == 2) report_hooks();
    } catch (...) {
      // The plugin was given what it never is in a run.
    }
    return false;
  }

  /// The values of a combination that were reported.
  std::vector<wrong_value> told_of(std::size_t c) const {
    std::vector<wrong_value> all = wrong_hooks_;
    if (auto const mine = wrong_.find(c); mine != wrong_.end()) all.insert(all.end(), mine->second.begin(), mine->second.end());
    return all;
  }

  /// Hooks that the node's parameters name and the model lacks: each is reported where it stands.
  void report_hooks() {
    if (!model_ || node_.kind != plugin_kind::probe || std::exchange(hooks_told_, true)) return;
    for (auto const& p : node_.what->params()) {
      if (std::string_view(p.name).find("hook") == std::string_view::npos || !node_.parameters.has(p.name)) continue;
      std::vector<std::string> names;
      if (p.type == param_type::text_list) names = node_.parameters[p.name].texts();
      if (p.type == param_type::text) names = {node_.parameters[p.name].text()};
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (names[i].empty()) continue;
        try {
          model_->info().hooks_for(names[i]);
        } catch (usage_error const& e) {
          told_.emplace_back(e.what());
          wrong_hooks_.push_back({p.name, i});
          origin const from = node_.origin_of(p.name, i);
          problems_.push_back({from.at, node_.name + ": " + e.what(), 2, from.option});
        }
      }
    }
  }

 private:
  void add(error const& e) {
    auto const* const several = dynamic_cast<parameter_error const*>(&e);
    if (!several) return add(e.what(), e.exit_code());
    for (auto const& one : several->all()) add(one);
  }
  void add(parameter_problem const& one) {
    wrong_[combination_].push_back({one.parameter, one.element});
    origin const from = node_.origin_of(one.parameter, one.element, combination_);
    std::string const where = std::to_string(from.at.line) + ":" + std::to_string(from.at.column) + from.option;
    if (is_new(one.parameter + "\n" + where + "\n" + one.message))
      problems_.push_back({from.at, node_.name + " (" + std::string(node_.what->id()) + "): " + one.message, 2, from.option});
  }
  void add(std::string const& text, int code) {
    if (!is_new(text)) return;
    std::string const which = node_.name_of_combination(combination_);
    problems_.push_back(
        {node_.at, node_.name + " (" + std::string(node_.what->id()) + (which.empty() ? "" : ", " + which) + "): " + text, code});
  }
  bool is_new(std::string const& text) {
    if (std::any_of(told_.begin(), told_.end(), [&](std::string const& one) { return text.find(one) != std::string::npos; }))
      return false;
    told_.push_back(text);
    return true;
  }

  plan_node const& node_;
  model const* model_;
  std::vector<problem>& problems_;
  std::vector<std::string> told_;
  std::vector<wrong_value> wrong_hooks_;                   // of all combinations
  std::map<std::size_t, std::vector<wrong_value>> wrong_;  // by combination
  std::size_t combination_ = 0;
  bool hooks_told_ = false;
};

}  // namespace wayfarer::host
