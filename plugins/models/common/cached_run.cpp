#include "cached_run.hpp"

#include <span>
#include <string>
#include <utility>

#include <wayfarer/error.hpp>

namespace wayfarer {
namespace {

struct cached_run final : continued_run {
  cached_run(model_info const& info, cached_pass pass, std::vector<key_values> read, std::vector<std::size_t> started)
      : info_(info), pass_(std::move(pass)), read_(std::move(read)), first_(std::move(started)) {}

  std::size_t items() const noexcept override { return first_.size(); }
  std::size_t length(std::size_t item) const noexcept override { return read_.front().length(item); }

  activations extend(batch const& more, run_request const& request) override {
    if (!more.first_position.empty()) throw plugin_error("a run goes on where it stands; it takes no first positions");
    if (more.items() != items())
      throw plugin_error("a run of " + std::to_string(items()) + " items can't go on with " + std::to_string(more.items()));
    batch next = more;
    for (std::size_t i = 0; i < items(); ++i) next.first_position.push_back(first_[i] + length(i));
    taps at(info_, request);
    std::vector<std::size_t> before;
    for (std::size_t i = 0; i < items(); ++i) before.push_back(length(i));
    try {
      pass_(next, request, at, &read_);
      return at.take();
    } catch (...) {  // as if nothing had been read
      for (auto& layer : read_)
        for (std::size_t i = 0; i < items(); ++i) layer.shorten(i, before[i]);
      throw;
    }
  }

  std::unique_ptr<continued_run> branch(std::span<std::size_t const> of) const override {
    std::vector<key_values> read;
    for (auto const& layer : read_) read.push_back(layer.branch(of));
    std::vector<std::size_t> first;
    for (auto const i : of) first.push_back(first_.at(i));
    return std::make_unique<cached_run>(info_, pass_, std::move(read), std::move(first));
  }

 private:
  model_info const& info_;
  cached_pass pass_;
  std::vector<key_values> read_;    // a layer each
  std::vector<std::size_t> first_;  // position of each item's first token
};

}  // namespace

std::unique_ptr<continued_run> begin_cached(model_info const& info, cached_pass pass, std::size_t layers, std::size_t width,
                                            batch const& items, run_request const& request, activations* captured) {
  auto first = items.first_position;
  first.resize(items.items());
  std::vector<key_values> read(layers, key_values(items.items(), width, request.precision));
  taps at(info, request);
  pass(items, request, at, &read);
  auto out = at.take();
  if (captured) *captured = std::move(out);
  return std::make_unique<cached_run>(info, std::move(pass), std::move(read), std::move(first));
}

}  // namespace wayfarer
