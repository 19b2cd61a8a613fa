// What the pictures of layer norm and attention in Traveling Words are drawn from: random points that a layer norm puts onto a
// circle, and a circle that becomes an ellipse, moves, and is turned into another by W_QK.
// Molina 2023 (arXiv 2309.07315), figures 2 and 3; notes E8.
//
//     figure: {probe: layer_norm_figure}
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <numbers>
#include <numeric>
#include <string>
#include <vector>

#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

namespace wf = wayfarer;

struct layer_norm_figure final : wf::probe {
  explicit layer_norm_figure(wf::config const& c)
      : points_(c["points"]),
        angles_(c["angles"]),
        marks_(std::min<std::size_t>(c["marks"], angles_)),
        epsilon_(c["epsilon"]),
        seed_(c.seed()) {}

  void finish(wf::accumulator const&, wf::results& out, wf::probe_context const&) const override {
    wf::dims const space{{"point", points_}, {"coordinate", 3}};
    wf::tensor const raw(wf::dtype::f64, space), normed(wf::dtype::f64, space);
    for (std::size_t i = 0; i < points_; ++i) {
      wf::random_stream draw(seed_, "points", i);
      double mean = 0, variance = 0;
      for (std::size_t j = 0; j < 3; ++j) mean += (raw(i, j) = draw.normal()) / 3;
      for (std::size_t j = 0; j < 3; ++j) variance += (raw(i, j) - mean) * (raw(i, j) - mean) / 3;
      for (std::size_t j = 0; j < 3; ++j) normed(i, j) = (raw(i, j) - mean) / std::sqrt(variance + epsilon_);
    }
    out.add("points", raw).about("random points, figure 2 left; coloured by where they stand").view("points");
    out.add("normed_points", normed)
        .about("the same under a layer norm: on a circle of radius sqrt(3) across (1, 1, 1)")
        .view("points");

    wf::dims const plane{{"stage", 4}, {"angle", angles_}, {"axis", 2}};
    wf::tensor const rings(wf::dtype::f64, plane), at(wf::dtype::f64, {{"angle", angles_}});
    for (std::size_t i = 0; i < angles_; ++i) {
      double const t = angles_ > 1 ? 2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(angles_ - 1) : 0;
      double const x = std::cos(t), y = std::sin(t);
      at(i) = t;
      std::array<std::array<double, 2>, 4> const stages{
          {{3 * x, 3 * y},
           {4 * x, 2 * y},
           {4 * x + 3, 2 * y + 2},
           {0.8 * (4 * x + 3) - 0.5 * (2 * y + 2), 0.3 * (4 * x + 3) + 0.9 * (2 * y + 2)}}};
      for (std::size_t s = 0; s < 4; ++s)
        for (std::size_t j = 0; j < 2; ++j) rings(s, i, j) = stages[s][j];
    }
    out.add("rings", rings)
        .labels("stage", {"layer normalization", "weight", "bias", "W_QK"})
        .coordinate("angle", at)
        .view(R"({"kind": "points", "along": ""})")
        .about("figure 3: a circle of radius 3; an ellipse with axes 4 and 2; moved by (3, 2); times [[0.8, -0.5], [0.3, 0.9]]");
    // Marks without replacement: the first of a shuffle.
    std::vector<std::int64_t> order(angles_);
    std::iota(order.begin(), order.end(), std::int64_t{0});
    wf::random_stream draw(seed_, "marks");
    for (std::size_t i = 0; i < marks_; ++i) std::swap(order[i], order[i + draw.below(static_cast<std::uint32_t>(angles_ - i))]);
    order.resize(marks_);
    out.add("marked", wf::tensor::of(order, {{"mark", marks_}})).about("angles whose points are marked, by number").view("table");
    double least = std::numeric_limits<double>::infinity(), most = 0;
    for (std::size_t i = 0; i < points_; ++i) {
      double square = 0;
      for (std::size_t j = 0; j < 3; ++j) square += normed(i, j) * normed(i, j);
      least = std::min(least, std::sqrt(square)), most = std::max(most, std::sqrt(square));
    }
    out.summarise("a layer norm puts " + wf::counted(points_, "point") + " at lengths " + wf::told(least, 4) + " to " +
                  wf::told(most, 4) + "; sqrt(3) is 1.732");
  }

 private:
  std::size_t points_, angles_, marks_;
  double epsilon_;
  std::uint64_t seed_;
};

WAYFARER_PROBE(layer_norm_figure, "1.0.0", "The points that figures 2 and 3 of Traveling Words draw",
               wf::param("points", 500, "random points of figure 2").between(1, 1000000),
               wf::param("angles", 100, "points of each ring of figure 3, from 0 to 2 pi").between(1, 1000000),
               wf::param("marks", 20, "marked points of a ring, no more than its angles").between(1, 1000000),
               wf::param("epsilon", 1e-5, "the layer norm's").between(0, 1));
