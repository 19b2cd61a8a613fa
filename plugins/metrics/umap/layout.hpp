// UMAP: a layout of points in few dimensions that keeps neighbours together. McInnes, Healy and Melville 2018 (1802.03426); the
// procedure and constants are those of umap-learn 0.5.3, with exact nearest neighbours.
//
// Called by the plugin `umap` and by its tests. The neighbour search and the start run on all threads in fixed pieces; the layout
// itself is one sequence of small steps and runs on one, so that the same seed gives the same bytes for any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <wayfarer/tensor.hpp>

namespace wayfarer::umap_layout {

enum class start_kind {
  laplacian,  ///< eigenmap of the graph of n/10 neighbours with equal weights: what Traveling Words starts from
  spectral,   ///< eigenmap of the fuzzy graph itself: umap-learn's default
  random,     ///< uniform in [-10, 10]
};

struct settings {
  std::size_t neighbors = 15;  ///< including the point itself
  std::size_t components = 3;  ///< dimensions of the layout
  double min_dist = 0.1;       ///< how close two points may come
  double spread = 1;           ///< scale of the layout
  std::size_t epochs = 0;      ///< 0: 500 up to 10,000 points, 200 above
  std::size_t negatives = 5;   ///< points pushed away for each one pulled near
  double learning_rate = 1;    ///< falls linearly to 0
  start_kind start = start_kind::laplacian;
  std::size_t start_neighbors = 0;  ///< of the laplacian start, 0: n/10
  std::uint64_t seed = 0;
};

/// Nearest points of each of some points, nearest first, the lower index among equals.
struct neighbor_table {
  std::size_t k = 0;
  std::vector<std::uint32_t> index;  ///< [point, k]
  std::vector<float> distance;       ///< [point, k]
};

enum class measure_kind {
  exact,    ///< distances from differences
  rounded,  ///< from inner products: quick, and enough to say who is among the nearest thousand
};

/// points, among: [n, d] float32, contiguous. A point that is itself one of `among` counts as its own nearest. k is cut to the
/// number of points.
neighbor_table nearest(tensor const& points, tensor const& among, std::size_t k, measure_kind = measure_kind::exact);

/// Symmetric sparse matrix in rows; columns ascend.
struct graph {
  std::vector<std::size_t> begin;  ///< [n + 1]
  std::vector<std::uint32_t> to;
  std::vector<float> weight;
  std::size_t points() const noexcept { return begin.size() - 1; }
};

/// Scale and nearest distance of each point, so that its weights sum to log2(k). `local` is 1 for the fit, 0 for new points.
struct scales {
  std::vector<float> sigma, rho;
};
scales scales_of(neighbor_table const&, double local);

/// The fuzzy union of the neighbours' weights.
graph fuzzy_graph(neighbor_table const&, scales const&);
/// Equal weights over the neighbours, symmetrised.
graph equal_graph(neighbor_table const&);

/// The eigenvectors after the trivial one of the graph's normalised Laplacian, divided by the square root of the degree:
/// [n, count], float64, signs so that the entry of largest magnitude is positive.
tensor eigenmap(graph const&, std::size_t count, std::uint64_t seed);

/// The curve 1/(1 + a d^(2b)) that fits exp(-(d - min_dist)/spread) best.
struct curve {
  double a = 0, b = 0;
};
curve fit_curve(double min_dist, double spread);

/// A layout, and what placing more points needs.
struct fit {
  settings how;
  tensor points;  ///< [n, d], float32
  tensor layout;  ///< [n, components], float32
  curve shape;
  std::size_t epochs = 0;
};

/// points: [n, d], float32. At least two points more than components. `at` gets the number of finished epochs and of all epochs.
fit lay_out(tensor const& points, settings const&, std::function<void(std::size_t, std::size_t)> const& at = {});
/// Places more points among those of a fit, which stay where they are: [m, components]. Each point's place depends on itself and
/// its number alone.
tensor place(fit const&, tensor const& more);

/// Share of neighbours in the layout that are neighbours among the points, by rank (Venna and Kaski 2001): 1 is perfect.
double trustworthiness(tensor const& points, tensor const& layout, std::size_t k);

}  // namespace wayfarer::umap_layout
