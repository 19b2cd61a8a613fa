// Facts that sources and models give, and their way along the connections of a plan to the parameters bound to them.
//
// Used by the main thread while the plan's objects are made, in the plan's order: a node's inputs have given their facts before
// the node is made; models come first, as a probe beside them may need what they settle. A parameter bound to a fact
// (`wf::param(...).fact("topics")`) takes the fact's value if the user gives none.
// It is a problem if the user gives another value, or if the node's inputs disagree on a fact.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/config.hpp>

#include "pipeline/plan.hpp"

namespace wayfarer::host {

/// A value of a fact, and the node that states it.
struct stated_fact {
  param_value value;
  std::string by;
};
/// The facts that hold at a node. A fact has several values if inputs differ and no node between has chosen one.
using known_facts = std::map<std::string, std::vector<stated_fact>, std::less<>>;

/// Puts the facts of the nodes before it (`known`, one for each node of the plan) into the parameters of node `i`. Contradictions
/// are added to the problems. What no input of a probe tells, and it reads no model, models tell that learn from the same source:
/// how words are masked. The parameter of a contradiction has the fact's value, so that one contradiction is reported once.
void take_facts(plan&, std::size_t i, std::span<known_facts const> known, std::vector<problem>&);

/// What holds for those who read node `i`: the facts of its inputs, its parameters that are bound to facts, and its `own`, each
/// in place of the ones before.
known_facts facts_of(plan const&, std::size_t i, std::span<known_facts const> known, fact_map const& own);

}  // namespace wayfarer::host
