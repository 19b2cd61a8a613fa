// Snapshots of one training that are the same, as with a learning rate of 0 or frozen weights: what is measured of the first of
// them holds for the others.
//
// A list says for each step the index of the first step that is equal to it, which is its own where there is none before. Pure
// functions; any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include <wayfarer/model.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/snapshot_state.hpp>

namespace wayfarer::host {

/// The first equal snapshot of each, by the bytes of their tensors. `maker`: what knows their tensors; null: only what is one
/// object is equal.
std::vector<std::size_t> first_equal(std::vector<std::shared_ptr<model const>> const& snapshots, snapshot_state const* maker);

/// The first step at which both lists have what they have at each step. Of lists of different lengths nothing is equal.
std::vector<std::size_t> first_equal_in_both(std::vector<std::size_t> const& a, std::vector<std::size_t> const& b);

/// Says in the results of a model that learned which of its snapshots are equal; says nothing if none are.
void tell_equal_steps(std::vector<std::size_t> const& steps, std::vector<std::size_t> const& first, results&);

}  // namespace wayfarer::host
