// Rotary positions and windows as configurations write them. What a family's entry reads them with.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>

#include <wayfarer/hf_config.hpp>

#include "decoder_spec.hpp"

namespace wayfarer::decoder {

/// What a family says where the configuration is silent.
struct rotary_defaults {
  double theta = 10'000;
  double part = 1;  ///< of each head that turns
  bool pairs = false;
};

/// Reads rope_theta, rope_scaling or rope_parameters, and how much of a head turns; fills rotations and lets every layer turn.
void read_rotary(hf_config const&, decoder_spec&, rotary_defaults const&);
/// The same from a dictionary that the caller found.
void read_rotary(hf_config const&, decoder_spec&, rotary_defaults const&, json_value const& from);

/// sliding_window; `absent` is what a missing key stands for, null means none.
std::size_t read_window(hf_config const&, std::size_t absent);

/// Gives layers their window: those that layer_types names, where the key is given, else those that `local` picks.
void set_windows(hf_config const&, decoder_spec&, std::size_t window, std::function<bool(std::size_t layer)> const& local);

}  // namespace wayfarer::decoder
