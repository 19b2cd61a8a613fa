// Which positions of an item a probe reads: all of them, or some, counted from either end.
//
// Made from a parameter of texts such as [0, -2, last]; a plain value, any thread.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::language {

class position_choice {
 public:
  /// "all", or numbers of which negative ones count from the end; "last" is -1. Throws usage_error, or parameter_error that names
  /// each element that is neither.
  explicit position_choice(std::vector<std::string> const& wanted) {
    if (wanted.size() == 1 && wanted[0] == "all") return;
    if (wanted.empty()) throw usage_error("'positions' is empty; give `all`, `last`, or numbers such as [0, -1]");
    all_ = false;
    std::vector<parameter_problem> wrong;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      std::string const& text = wanted[i];
      std::int64_t n = -1;
      if (text != "last") {
        auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
        if (error != std::errc{} || end != text.data() + text.size())
          wrong.push_back(
              {"positions", i, "'positions' must be `all`, `last`, or numbers such as [0, -1], got " + in_quotes(text)});
      }
      wanted_.push_back(n);
    }
    if (!wrong.empty()) throw parameter_error(std::move(wrong));
  }

  /// Throws parameter_error for the positions that no item has. `longest`: no item has more tokens; 0: that is not known.
  void check(std::size_t longest) const {
    std::vector<parameter_problem> wrong;
    auto const most = static_cast<std::int64_t>(longest);
    for (std::size_t i = 0; i < wanted_.size() && most != 0; ++i)
      if (auto const n = wanted_[i]; n >= most || n < -most)
        wrong.push_back(
            {"positions", i, "no item has position " + std::to_string(n) + ": they have at most " + counted(longest, "token")});
    if (!wrong.empty()) throw parameter_error(std::move(wrong));
  }

  bool all() const noexcept { return all_; }
  /// Places to keep for each item, when none is longer than `longest`.
  std::size_t places(std::size_t longest) const noexcept { return all_ ? longest : wanted_.size(); }
  /// The position that belongs to a place in an item of this length, if it has one.
  std::optional<std::size_t> position(std::size_t place, std::size_t length) const noexcept {
    if (all_) return place < length ? std::optional(place) : std::nullopt;
    std::int64_t const n = wanted_[place], at = n < 0 ? n + static_cast<std::int64_t>(length) : n;
    return at >= 0 && at < static_cast<std::int64_t>(length) ? std::optional(static_cast<std::size_t>(at)) : std::nullopt;
  }
  /// Name of the dimension that runs over places: a dimension over all positions has another size.
  std::string dimension(std::string const& over_all) const { return all_ ? over_all : "chosen_" + over_all; }
  /// What was asked for, [place]; for a dimension's coordinate. Undefined if that is all.
  tensor coordinate() const { return all_ ? tensor() : tensor::of(wanted_, {{"chosen", wanted_.size()}}); }

 private:
  bool all_ = true;
  std::vector<std::int64_t> wanted_;
};

}  // namespace wayfarer::language
