// Vectors with names: a matrix whose rows are labelled, such as word_vectors/vectors.
//
// Shared by the metrics of words. Rows that are not finite, or zero, have no direction and are left out; of rows with the same
// name the first counts.
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

struct named_rows {
  std::vector<std::string> names;                       ///< [row]
  tensor vectors;                                       ///< [row, feature], float32
  std::vector<double> length;                           ///< [row], above 0
  std::unordered_map<std::string, std::size_t> places;  ///< name -> row

  std::size_t size() const noexcept { return names.size(); }
  std::optional<std::size_t> find(std::string_view name) const {
    auto const at = places.find(std::string(name));
    return at == places.end() ? std::nullopt : std::optional(at->second);
  }
};

/// `who`: the metric, for errors.
inline named_rows rows_with_names(dataset const& from, std::string const& who) {
  auto const* names = from.is_text() || from.values().rank() != 2 ? nullptr : from.find_labels(from.shape()[0].name);
  if (!names)
    throw usage_error(who + " reads a matrix with a name for each row, but was given " +
                      (from.is_text() ? std::string("text") : describe(from.shape()) + " without names") +
                      "; wire 'of' to a node of word_vectors");
  tensor const all = from.values().to(dtype::f32);
  auto const rows = all.view<float const>();
  named_rows out;
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < all.size(0); ++i) {
    double const length = std::sqrt(dot(rows.row(i), rows.row(i)));
    if (!(length > 0) || !std::isfinite(length) || !out.places.emplace((*names)[i], kept.size()).second) continue;
    kept.push_back(i), out.names.push_back((*names)[i]), out.length.push_back(length);
  }
  out.vectors = tensor(dtype::f32, {{"row", kept.size()}, {"feature", all.size(1)}});
  for (std::size_t i = 0; i < kept.size(); ++i) copy_into(out.vectors[i], all[kept[i]]);
  return out;
}

}  // namespace wayfarer
