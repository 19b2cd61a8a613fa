// The loop: batches of windows, one step of AdamW a batch, the loss on held-out text now and then, snapshots on a schedule, and
// the state on the disk, so that a killed run can be resumed.
//
// Called by a plugin's `train`, by tests and benchmarks, on one thread. A run is a pure function of its arguments: neither the
// number of threads nor where it was interrupted changes a byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <wayfarer/optimizer.hpp>

#include "corpus.hpp"
#include "net.hpp"

namespace wayfarer::language_training {

struct training_plan {
  std::uint64_t seed = 0;
  std::size_t updates = 0, batch = 0, context = 0;
  learning_rate_course rate;
  adamw_options adam;
  double clip = 1;                                                      ///< largest norm of the gradient; 0: any
  std::size_t log_every = 0, held_out_every = 0, held_out_windows = 0;  // 0: never, never, all
  std::vector<std::size_t> snapshots;                                   // updates done, in order
  std::string state;                                                    // folder, "": none
  std::size_t state_every = 0;
  std::string key;  ///< names all that determines the numbers; a state with another is refused
};

struct training_curves {
  std::vector<std::int64_t> logged, held_out_at;
  std::vector<double> losses, rates, norms, held_out_losses;  // nats a token; norms: of the gradient, before clipping
};

template <class T>
struct training_observer {
  std::function<void(std::size_t update, training_curves const&)> progress;
  /// Parameters at a snapshot, in their order, T; called in order of the updates, after a resumed run too.
  std::function<void(std::size_t update, named_tensors const&)> snapshot;
  std::function<void(std::string const&)> warn;
};

/// Mean loss, nats a token, over windows of the held-out stream: all of them or `most`.
template <class T>
double held_out_loss(net<T> const&, token_stream const&, std::size_t batch, std::size_t length, std::size_t most);

/// Trains the net from where it is, or from the state on the disk; when the run is stopped, the state is written first. All that
/// is read back has a checksum. Throws usage_error when the loss is no longer finite, and
/// data_error for a stream that is too short or a state that can't be read.
template <class T>
training_curves train(net<T>&, training_plan const&, token_stream const& data, token_stream const* held_out,
                      training_observer<T> const&);

}  // namespace wayfarer::language_training
