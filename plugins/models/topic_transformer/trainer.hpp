// The optimisation loop: batches shuffled by epoch, one step a batch, the loss on held-out documents now and then, snapshots on a
// schedule. Called by the plugin's `train` and by tests and benchmarks, on one thread; held-out losses use the run's threads. A
// run is a pure function of its arguments: the number of threads changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "documents.hpp"
#include "spec.hpp"

namespace wayfarer::topic_transformer {

struct schedule {
  std::uint64_t seed = 0;
  method_kind method = method_kind::automatic;
  std::size_t log_every = 50, held_out_every = 1000;  // 0: never
  std::vector<std::size_t> snapshots;                 // updates done; 0 is the start
};

/// What `train` tells while it runs. Updates are counted as updates done: 1 is after the first.
template <class T>
struct observer {
  /// After updates 1, 1 + log_every, ... and the last: mean training loss since the last call, norms of the first layer's W_K,
  /// W_Q, W_V.
  std::function<void(std::size_t update, double loss, double k, double q, double v)> log;
  /// After updates 1, 1 + held_out_every, ... and the last: unweighted mean of the losses of batches of held-out documents. True
  /// stops the training.
  std::function<bool(std::size_t update, double loss, weights<T> const&)> held_out;
  std::function<void(std::size_t update, weights<T> const&)> snapshot;
};

/// Something that learns: the table path or the plain one. `T` is float or double.
template <class T>
struct learner {
  virtual ~learner() = default;
  /// Mean loss over a batch of documents of `data`; keeps the gradient for `step`.
  virtual double gradient(document_set const& data, std::span<std::uint32_t const> batch) = 0;
  virtual void step(std::size_t update, double learning_rate) = 0;
  /// Unweighted mean over batches in order.
  virtual double loss(document_set const& data, std::size_t batch) = 0;
  virtual void store(weights<T>& out) const = 0;
  virtual void store_gradient(weights<T>& out) const = 0;
  virtual double norm(int slot) const = 0;
};
template <class T>
std::unique_ptr<learner<T>> make_learner(spec const&, layout const&, weights<T> const& start, method_kind);

/// Trains `w` in place, spec.updates updates unless the observer stops it; returns the number of updates done.
template <class T>
std::size_t train(spec const&, layout const&, weights<T>& w, schedule const&, document_set const& data,
                  document_set const* held_out, observer<T> const&);

/// Order of the documents in an epoch.
void shuffled(std::uint64_t seed, std::uint64_t epoch, std::vector<std::uint32_t>& order);

/// Denormal numbers count as zero while this lives: they would slow training down a hundredfold once gradients vanish. It must
/// not live across a parallel loop: a thread that waits there may run other people's work, whose numbers are not ours to change.
class flush_denormals {
 public:
  flush_denormals() noexcept;
  ~flush_denormals();
  flush_denormals(flush_denormals const&) = delete;
  flush_denormals& operator=(flush_denormals const&) = delete;

 private:
  unsigned saved_ = 0;
};

}  // namespace wayfarer::topic_transformer
