// Vectors with names: a matrix whose rows are labelled, such as word_vectors/vectors.
//
// Shared by the metrics of words. Rows that are not finite, or zero, have no direction and are left out; of rows with the same
// name the first counts. "Athens" and "athens" with one vector, as words that were looked up in lower case, are one row with two
// names.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

struct named_rows {
  std::vector<std::string> names;                       ///< [row]
  tensor vectors;                                       ///< [row, feature], float32
  std::vector<double> length;                           ///< [row], above 0
  std::size_t zero = 0;                                 ///< words left out, as their vectors have length zero
  std::unordered_map<std::string, std::size_t> places;  ///< name -> row

  std::size_t size() const noexcept { return names.size(); }
  /// "" or "; 2 vectors of length zero are left out", for summaries and errors.
  std::string told_of_zero() const {
    return zero == 0 ? "" : "; " + counted(zero, "vector") + " of length zero " + (zero == 1 ? "is" : "are") + " left out";
  }
  std::optional<std::size_t> find(std::string_view name) const {
    auto const at = places.find(std::string(name));
    return at == places.end() ? std::nullopt : std::optional(at->second);
  }
};

/// A to Z as a to z, as word_vectors looks words up.
inline std::string in_lower_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  return text;
}

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
  std::unordered_map<std::string, std::vector<std::size_t>> alike;  // names in lower case -> rows
  for (std::size_t i = 0; i < all.size(0); ++i) {
    double const length = std::sqrt(dot(rows.row(i), rows.row(i)));
    out.zero += length == 0;
    if (!(length > 0) || !std::isfinite(length)) continue;
    auto& others = alike[in_lower_case((*names)[i])];
    auto const same = std::find_if(others.begin(), others.end(), [&](std::size_t k) {
      auto const a = rows.row(i), b = rows.row(kept[k]);
      return std::equal(a.begin(), a.end(), b.begin(), b.end());
    });
    bool const fresh = out.places.emplace((*names)[i], same == others.end() ? kept.size() : *same).second;
    if (!fresh || same != others.end()) continue;
    others.push_back(kept.size());
    kept.push_back(i), out.names.push_back((*names)[i]), out.length.push_back(length);
  }
  out.vectors = tensor(dtype::f32, {{"row", kept.size()}, {"feature", all.size(1)}});
  for (std::size_t i = 0; i < kept.size(); ++i) copy_into(out.vectors[i], all[kept[i]]);
  return out;
}

}  // namespace wayfarer
