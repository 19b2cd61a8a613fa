#include "cached_run.hpp"

#include <span>
#include <utility>

#include "continued.hpp"

namespace wayfarer {
namespace {

/// The keys and values of all layers.
struct read_keys {
  std::vector<key_values> layers;

  std::size_t length(std::size_t item) const { return layers.front().length(item); }
  read_keys branch(std::span<std::size_t const> of) const {
    read_keys out;
    for (auto const& layer : layers) out.layers.push_back(layer.branch(of));
    return out;
  }
  std::vector<std::size_t> mark() const {
    std::vector<std::size_t> lengths;
    for (std::size_t i = 0; i < layers.front().items(); ++i) lengths.push_back(length(i));
    return lengths;
  }
  void back_to(std::vector<std::size_t> const& lengths) {
    for (auto& layer : layers)
      for (std::size_t i = 0; i < lengths.size(); ++i) layer.shorten(i, lengths[i]);
  }
};

}  // namespace

std::unique_ptr<continued_run> begin_cached(model_info const& info, cached_pass pass, std::size_t layers, std::size_t width,
                                            batch const& items, run_request const& request, activations* captured) {
  auto const read = [&info, pass = std::move(pass)](batch const& some, run_request const& wanted, read_keys& past) {
    taps at(info, wanted);
    pass(some, wanted, at, &past.layers);
    return at.take();
  };
  read_keys past{std::vector<key_values>(layers, key_values(items.items(), width, request.precision))};
  return begin_run<read_keys>(read, std::move(past), items, request, captured);
}

}  // namespace wayfarer
