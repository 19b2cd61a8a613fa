// A continued run, for any cache of a model's past: the keys and values of its layers, or a state of fixed size.
//
// A model's `begin` makes one of its past behind the first tokens and the function that reads more; the run refers to that model,
// which must outlive it. One thread at a time for one run.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>

namespace wayfarer {

/// `Past` has length(item), branch(items), and mark() with back_to(mark), which makes what was read since undone.
template <class Past>
class going_on final : public continued_run {
 public:
  /// Reads more tokens into the past and gives what was asked for at them.
  using reader = std::function<activations(batch const&, run_request const&, Past&)>;

  going_on(reader read, Past past, std::vector<std::size_t> first)
      : read_(std::move(read)), past_(std::move(past)), first_(std::move(first)) {}

  std::size_t items() const noexcept override { return first_.size(); }
  std::size_t length(std::size_t item) const noexcept override { return past_.length(item); }

  activations extend(batch const& more, run_request const& request) override {
    if (!more.first_position.empty()) throw plugin_error("a continued run takes no first positions");
    if (more.items() != items())
      throw plugin_error("a run of " + std::to_string(items()) + " items can't continue with " + std::to_string(more.items()));
    batch next = more;
    for (std::size_t i = 0; i < items(); ++i) next.first_position.push_back(first_[i] + length(i));
    auto const mark = past_.mark();
    try {
      return read_(next, request, past_);
    } catch (...) {  // as if nothing had been read
      past_.back_to(mark);
      throw;
    }
  }

  std::unique_ptr<continued_run> branch(std::span<std::size_t const> of) const override {
    std::vector<std::size_t> first;
    for (auto const i : of) first.push_back(first_.at(i));
    return std::make_unique<going_on>(read_, past_.branch(of), std::move(first));
  }

 private:
  reader read_;
  Past past_;
  std::vector<std::size_t> first_;  // position of each item's first token
};

/// The beginning of such a run: `past` has read nothing yet.
template <class Past>
std::unique_ptr<continued_run> begin_run(typename going_on<Past>::reader read, Past past, batch const& items,
                                         run_request const& request, activations* captured) {
  auto first = items.first_position;
  first.resize(items.items());
  auto out = read(items, request, past);
  if (captured) *captured = std::move(out);
  return std::make_unique<going_on<Past>>(std::move(read), std::move(past), std::move(first));
}

}  // namespace wayfarer
