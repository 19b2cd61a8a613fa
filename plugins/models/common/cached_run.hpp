// A continued run, for decoders whose cache is the keys and values of each layer.
//
// A model's `begin` calls `begin_cached` with its forward pass; the run that it returns refers to that pass, so the model must
// outlive it. One thread at a time for one run.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/taps.hpp>

namespace wayfarer {

/// One pass; `past` has a layer's keys and values each and receives the new ones.
using cached_pass = std::function<void(batch const&, run_request const&, taps&, std::vector<key_values>* past)>;

/// `width`: of a layer's keys, heads * d_head.
std::unique_ptr<continued_run> begin_cached(model_info const&, cached_pass, std::size_t layers, std::size_t width, batch const&,
                                            run_request const&, activations* captured);

}  // namespace wayfarer
