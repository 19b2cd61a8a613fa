// Rotary positions: queries and keys turn in planes by angles that grow with the position, so that a score depends on the
// distance (Su et al. 2021), with the rules by which models stretch the angles over longer texts.
//
// A model plugin fills `rotary` from its configuration, makes the angles of a batch once a pass with `rotary_angles`, and turns
// the queries and keys of each layer with `rotate`. As every released model does, frequencies, angles, cosines and sines are
// computed in float32, also where the arithmetic is float64. Free functions; any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/rows.hpp>

namespace wayfarer {

enum class rotary_scaling { none, linear, dynamic, llama3, yarn, longrope };

/// What a configuration says. Numbers that the kind of scaling does not read are not looked at.
struct WAYFARER_API rotary {
  std::size_t turned = 0;  ///< the first so many numbers of each head turn, an even number; the others pass
  bool pairs = false;      ///< planes are (2j, 2j + 1) as in GPT-J; else (j, j + turned / 2)
  double theta = 10'000;   ///< plane j turns by theta^(-2j / turned) a position
  rotary_scaling kind = rotary_scaling::none;
  std::size_t positions = 0;  ///< that the model reads
  std::size_t original = 0;   ///< that it was trained on before it was stretched; 0: `positions`
  double factor = 1;
  double low = 1, high = 4;         ///< llama3: turns within `original`, below and above which the angle is stretched and kept
  double fast = 32, slow = 1;       ///< yarn: the same, above and below
  bool truncate = true;             ///< yarn: bounds of the ramp are whole planes
  std::optional<double> amplitude;  ///< yarn, longrope: of cosines and sines, where the configuration says it
  std::vector<float> short_by, long_by;  ///< longrope: [turned / 2], up to `original` and beyond

  /// Radians a position, [turned / 2], in a text of this length. Throws plugin_error for tables of the wrong length.
  std::vector<float> frequencies(std::size_t length) const;
  /// What cosines and sines are multiplied by.
  float scale() const;
  /// Whether texts of these two lengths have the same rotation, so that a run can continue from one to the other.
  bool same(std::size_t length, std::size_t longer) const;
};

/// Cosines, then sines, of each row's angles: [row, turned]. An item's length is its last position plus one.
WAYFARER_API rows rotary_angles(rotary const&, std::shared_ptr<row_packing const> const&, dtype precision);

/// x: [row, head * d_head], each head turned by its row's angles.
WAYFARER_API rows rotate(rows x, std::size_t heads, rows const& angles, bool pairs);

WAYFARER_ENUM_LAYOUT(rotary_scaling, none, linear, dynamic, llama3, yarn, longrope);
WAYFARER_LAYOUT(rotary, turned, pairs, theta, kind, positions, original, factor, low, high, fast, slow, truncate, amplitude,
                short_by, long_by);

}  // namespace wayfarer
