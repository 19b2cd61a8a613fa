// A dataset seen as points: its last dimension holds the coordinates, every index of the others is one point.
//
// Shared by the projections. Rows that are not finite, such as the padding of short items, are not points: they are ignored,
// and their result is NaN.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

struct point_set {
  dims outer;                     ///< all dimensions but the last
  std::size_t places = 0;         ///< product of the outer sizes
  std::size_t width = 0;          ///< coordinates a point
  std::vector<std::size_t> kept;  ///< places that hold a point, ascending
  tensor rows;                    ///< [point, coordinate], float64, of the kept ones
};

inline point_set points_of(dataset const& from, std::string const& who) {
  if (from.is_text() || from.values().rank() < 2)
    throw usage_error(who + " projects points [..., coordinate], but was given " +
                      (from.is_text() ? std::string("text") : describe(from.shape())) +
                      "; name a dataset of at least two dimensions");
  tensor const all = from.values().to(dtype::f64);
  point_set p;
  p.outer = dims(all.shape().begin(), all.shape().end() - 1);
  p.places = element_count(p.outer), p.width = all.shape().back().size;
  auto const values = all.values<double const>();
  for (std::size_t i = 0; i < p.places; ++i) {
    bool finite = p.width > 0;
    for (std::size_t j = 0; j < p.width && finite; ++j) finite = std::isfinite(values[i * p.width + j]);
    if (finite) p.kept.push_back(i);
  }
  p.rows = tensor(dtype::f64, {{"point", p.kept.size()}, {"coordinate", p.width}});
  auto const rows = p.rows.values<double>();
  for (std::size_t i = 0; i < p.kept.size(); ++i)
    for (std::size_t j = 0; j < p.width; ++j) rows[i * p.width + j] = values[p.kept[i] * p.width + j];
  return p;
}

/// Projected points [point, component] in the places where their originals stood: [outer..., component], NaN elsewhere. The
/// labels of the outer dimensions are handed on.
inline dataset place_points(point_set const& p, dataset const& from, tensor const& projected) {
  dims shape = p.outer;
  shape.push_back({"component", projected.size(1)});
  tensor out(dtype::f64, shape);
  auto const values = out.values<double>();
  auto const rows = projected.values<double const>();
  std::size_t const width = projected.size(1);
  std::fill(values.begin(), values.end(), std::numeric_limits<double>::quiet_NaN());
  for (std::size_t i = 0; i < p.kept.size(); ++i)
    for (std::size_t j = 0; j < width; ++j) values[p.kept[i] * width + j] = rows[i * width + j];
  dataset d(out);
  d.missing("a coordinate of the point is not finite");
  for (auto const& outer : p.outer) {
    if (auto const* labels = from.find_labels(outer.name)) d.labels(outer.name, *labels);
    if (auto const at = from.coordinate_map().find(outer.name); at != from.coordinate_map().end())
      d.coordinate(outer.name, at->second);
  }
  return d;
}

}  // namespace wayfarer
