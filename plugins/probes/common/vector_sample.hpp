// A sample of the vectors at some hooks, for probes that must see vectors side by side.
//
// Each position of each item draws a number from (seed, purpose, item, position); the positions with the smallest numbers are the
// sample: every position has the same chance, and the sample is the same for all hooks and for any blocks and threads. Called
// from a probe's functions of the same names; the accumulator holds `size` vectors for each hook, however many items there are.
#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/probe.hpp>

namespace wayfarer {

class vector_sample {
 public:
  /// `skip`: positions at the beginning of each item that are left out.
  vector_sample(std::size_t size, std::size_t skip, std::string purpose)
      : size_(size), skip_(skip), purpose_(std::move(purpose)) {}

  /// The hooks that fit, all of which have a vector at the same positions. Throws usage_error for others.
  static hook_set hooks_of(model_info const& model, std::vector<std::string> const& patterns) {
    auto const found = model.hooks_for(patterns);
    if (found.empty()) throw usage_error("`hooks` names no hook; give at least one, such as blocks.*.hook_resid_post");
    auto const along = model.find_hook(found.names().front())->along;
    for (auto const& name : found.names()) {
      auto const& hook = *model.find_hook(name);
      if (hook.per_pair)
        throw usage_error(name + " has numbers for pairs of positions, not a vector at each; choose another hook");
      if (hook.along != along)
        throw usage_error(name + " and " + found.names().front() +
                          " have vectors at other positions, of the encoder and of the decoder; give each a node of its own");
    }
    return found;
  }

  void shape(accumulator& acc, model_info const& model, hook_set const& hooks) const {
    acc.define("places", {{"sampled", size_}, {"key_item_position", 3}});
    for (auto const* number : {"vectors", "filled"}) acc.define(number, {});
    for (auto const& name : hooks.names())
      acc.define(name + "/sample", {{"sampled", size_}, {"feature", element_count(model.find_hook(name)->row)}});
  }

  /// A position of the sample: the item's row in its block.
  struct chosen {
    std::size_t item, position;
  };

  /// `keep(item's row, position)` says which positions may be chosen. Gives those of this block that were, in the order of the
  /// sample's rows: a probe may keep more of them in fields [sampled, ...] whose names end in "/sample".
  template <class Keep>
  std::vector<chosen> observe(accumulator& acc, sample const& block, hook_set const& hooks, Keep const& keep) const {
    std::vector<std::pair<place, std::size_t>> all;  // and the item's row in the block
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto draw = block.random(purpose_, block[i]);
      std::size_t const length = block[i][hooks.names().front()].size(0);
      for (std::size_t p = 0; p < length; ++p) {
        double const key = draw.uniform();  // also where it is skipped, so that the others' numbers stay
        if (p >= skip_ && keep(i, p)) all.push_back({{key, static_cast<double>(block[i].index()), static_cast<double>(p)}, i});
      }
    }
    acc["vectors"]() += static_cast<double>(all.size());
    std::size_t const filled = std::min(size_, all.size());
    std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(filled), all.end());
    acc["filled"]() = static_cast<double>(filled);
    std::vector<chosen> out;
    for (std::size_t r = 0; r < filled; ++r) {
      auto const& [key, item, position] = all[r].first;
      out.push_back({all[r].second, static_cast<std::size_t>(position)});
      acc["places"](r, 0) = key, acc["places"](r, 1) = item, acc["places"](r, 2) = position;
      for (auto const& name : hooks.names()) {
        tensor const x = block[all[r].second][name][static_cast<std::size_t>(position)];
        copy_into(acc[name + "/sample"][r], x.clone().reshaped({{"feature", x.count()}}));
      }
    }
    return out;
  }
  void observe(accumulator& acc, sample const& block, hook_set const& hooks) const {
    observe(acc, block, hooks, [](std::size_t, std::size_t) { return true; });
  }

  /// In place of accumulator::append, which it calls: other fields are added.
  void merge(accumulator& into, accumulator const& from) const {
    std::size_t const mine = filled(into), theirs = filled(from);
    std::vector<std::pair<bool, std::size_t>> rows;  // of the merged sample, in order; true: of `from`
    for (std::size_t a = 0, b = 0; rows.size() < std::min(size_, mine + theirs);) {
      bool const other = a == mine || (b < theirs && place_at(from, b) < place_at(into, a));
      rows.emplace_back(other, other ? b++ : a++);
    }
    std::vector<std::pair<std::string, tensor>> merged;
    for (auto const& [name, field] : into.fields()) {
      if (name != "places" && !name.ends_with("/sample")) continue;
      tensor const both(dtype::f64, into[name].shape());
      for (std::size_t r = 0; r < rows.size(); ++r) copy_into(both[r], (rows[r].first ? from : into)[name][rows[r].second]);
      merged.emplace_back(name, both);
    }
    into.append(from);
    for (auto const& [name, both] : merged) copy_into(into[name], both);
    into["filled"]() = static_cast<double>(rows.size());
  }

  /// How many vectors there are at each hook, at most `size`.
  static std::size_t filled(accumulator const& acc) { return static_cast<std::size_t>(acc["filled"]()); }
  /// [sampled, feature], float64.
  static tensor of(accumulator const& acc, std::string const& hook) {
    return acc[hook + "/sample"].slice(0, 0, filled(acc)).clone();
  }

  /// Which item a row of the sample is of.
  static std::size_t item_of(accumulator const& acc, std::size_t row) { return static_cast<std::size_t>(acc["places"](row, 1)); }

 private:
  struct place {
    double key = 0, item = 0, position = 0;  // item and position break ties
    friend auto operator<=>(place const&, place const&) = default;
  };
  static place place_at(accumulator const& acc, std::size_t row) {
    auto const& all = acc["places"];
    return {all(row, 0), all(row, 1), all(row, 2)};
  }

  std::size_t size_, skip_;
  std::string purpose_;
};

}  // namespace wayfarer
