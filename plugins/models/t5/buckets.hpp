// Relative-position buckets, as T5 defines them: exact for near positions, then ever wider up to a distance beyond which all are
// one. Pure functions, any thread. (Embedding-walk notes, 2.2.)
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace wayfarer::t5 {

struct bucket_rule {
  std::size_t buckets = 32, max_distance = 128;
  bool bidirectional = true;  ///< the encoder's: one half of the buckets for keys before the query, one for keys after it
};

/// The bucket of `offset` = key position - query position. Needs max_distance > buckets / 2 and at least 4 buckets.
inline std::size_t bucket_of(bucket_rule const& rule, std::int64_t offset) noexcept {
  std::size_t const count = rule.bidirectional ? rule.buckets / 2 : rule.buckets, exact = count / 2;
  std::size_t const base = rule.bidirectional && offset > 0 ? count : 0;
  std::size_t const distance = offset <= 0          ? static_cast<std::size_t>(-offset)
                               : rule.bidirectional ? static_cast<std::size_t>(offset)
                                                    : 0;
  if (distance < exact) return base + distance;
  // Checkpoints were trained with float32 arithmetic, which decides on which side of an edge a distance falls. The logarithm is
  // float32 correctly rounded: through double, since std::log(float) may be off by one unit.
  auto const log = [](double x) { return static_cast<float>(std::log(x)); };
  float const from = static_cast<float>(distance) / static_cast<float>(exact);
  float const all = log(static_cast<double>(rule.max_distance) / static_cast<double>(exact));
  float const wide = log(from) / all * static_cast<float>(count - exact);
  return base + std::min(count - 1, exact + static_cast<std::size_t>(wide));
}

}  // namespace wayfarer::t5
