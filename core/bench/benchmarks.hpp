// What `wayfarer bench` measures: plugins of one kind on the same input, through the interface that a run uses.
//
// Each function registers benchmarks with Google Benchmark, one for each plugin and number of threads, after having tried the
// work once: a plugin that can't do it is an error before anything is measured. Main thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/config.hpp>

#include "registry/registry.hpp"

namespace wayfarer::host::bench {

/// A plugin under the name that it is measured by, with its configuration.
struct subject {
  std::string name;
  plugin const* what = nullptr;
  config parameters;
};

struct work_size {
  std::vector<std::size_t> threads{1};
  std::size_t items = 64;                ///< of a source, for probes and sources
  std::size_t block = 16;                ///< items that are read, run or observed at once
  std::size_t tokens = 1024, batch = 1;  ///< for models
  std::size_t decoder_tokens = 0;        ///< for encoder-decoders; 0: as many as `tokens`
  /// For models, each measured: "none" (logits of the last position), "logits" (of all), and with these "residuals" (the state
  /// after every block), "patterns" (every attention) or "all" hooks.
  std::vector<std::string> captures{"none"};
  std::uint64_t seed = 0;
};

void add_sources(std::vector<subject> const&, work_size const&);
void add_models(std::vector<subject> const&, work_size const&);
/// `over` and `data` may be null where no probe needs them. Results ports are wired to made results, with words of
/// conformance::made_words(); `others` has the plugins that these are made with.
void add_probes(std::vector<subject> const&, subject const* over, subject const* data, registry& others, work_size const&);
/// Metrics, on the first results made by `wayfarer plugins check` that fit their ports.
void add_metrics(std::vector<subject> const&, registry& others, work_size const&);
/// The SDK's own operations, beside the limits themselves.
void add_kernels(work_size const&);
/// What was registered, by the names under which Google Benchmark reports it, in order.
std::vector<std::string> const& registered() noexcept;

}  // namespace wayfarer::host::bench
