// UMAP of any points of a probe's results: a picture of their neighbourhoods, with a figure for its trustworthiness.
// Settings and start are those of the trajectory figure in Traveling Words (Molina 2023), section 4.4.
//
//     map: {metric: umap, of: trajectory/embedding, also: trajectory/states, components: 3}
#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>

#include <wayfarer/metric.hpp>

#include "layout.hpp"
#include "metrics/common/points.hpp"

namespace wf = wayfarer;

struct umap final : wf::metric {
  explicit umap(wf::config const& c) {
    how_.neighbors = c["neighbors"], how_.components = c["components"], how_.min_dist = c["min_dist"], how_.spread = c["spread"];
    how_.epochs = c["epochs"], how_.negatives = c["negatives"], how_.learning_rate = c["learning_rate"];
    how_.start_neighbors = c["start_neighbors"], how_.seed = c.seed();
    auto const start = c["start"].text();
    how_.start = start == "laplacian"  ? wf::umap_layout::start_kind::laplacian
                 : start == "spectral" ? wf::umap_layout::start_kind::spectral
                                       : wf::umap_layout::start_kind::random;
    if (how_.min_dist > how_.spread)
      throw wf::usage_error("umap: min_dist " + std::to_string(how_.min_dist) + " is more than spread " +
                            std::to_string(how_.spread));
  }

  void measure(wf::metric_input const& in, wf::results& out) const override {
    auto const& from = in.at("of");
    auto const points = wf::points_of(from, "umap");
    auto const fit = wf::umap_layout::lay_out(points.rows.to(wf::dtype::f32), how_);
    out.add("points", wf::place_points(points, from, fit.layout.to(wf::dtype::f64))).about("the layout").view("points");
    if (in.has("also")) {
      auto const& other = in.at("also");
      auto const more = wf::points_of(other, "umap");
      if (more.width != points.width)
        throw wf::usage_error("umap: 'also' has " + std::to_string(more.width) + " coordinates a point, 'of' has " +
                              std::to_string(points.width));
      auto const placed = wf::umap_layout::place(fit, more.rows.to(wf::dtype::f32));
      out.add("also_points", wf::place_points(more, other, placed.to(wf::dtype::f64)))
          .about("the points of 'also' placed into the finished layout")
          .view("points");
    }
    // With half of the points or more as neighbours, the figure can't distinguish layouts and leaves the range 0 to 1.
    std::size_t const n = points.kept.size(), k = how_.neighbors;
    bool const defined = 2 * k < n;
    double const trust =
        defined ? wf::umap_layout::trustworthiness(fit.points, fit.layout, k) : std::numeric_limits<double>::quiet_NaN();
    auto& trusted =
        out.add("trustworthiness", trust)
            .about("share of neighbours in the layout that are neighbours in fact, by rank, among `neighbors`; 1 is perfect");
    std::string const why =
        "it is defined for fewer neighbours than half of the points: of " + std::to_string(n) + " points " +
        (n > 4 ? "`neighbors` may be at most " + std::to_string((n - 1) / 2) : "no number of neighbours will do") + ", not " +
        std::to_string(k);
    if (!defined) trusted.missing(why);
    out.add("curve_a", fit.shape.a).about("a of the layout's curve 1/(1 + a d^(2b))");
    out.add("curve_b", fit.shape.b).about("b of the layout's curve");
    char line[96];
    std::snprintf(line, sizeof line, "%zu points, trustworthiness %.4f", n, trust);
    out.summarise(defined ? line : std::to_string(n) + " points; no trustworthiness: " + why);
  }

 private:
  wf::umap_layout::settings how_;
};

WAYFARER_METRIC(umap, "1.0.0", "UMAP layout of any points, seeded, with its trustworthiness",
                wf::port::results("of", "dataset [..., coordinate] whose points are laid out"),
                wf::port::results("also", "more points, placed into the finished layout").optional(),
                wf::param("neighbors", 15, "neighbours that a point is tied to, itself included").between(2, 1000),
                wf::param("components", 3, "dimensions of the layout").between(1, 32),
                wf::param("min_dist", 0.1, "how close two points of the layout may come").between(0, 10),
                wf::param("spread", 1.0, "scale of the layout").between(0.01, 100),
                wf::param("epochs", 0, "rounds of the layout; 0: 500 up to 10,000 points, 200 above").between(0, 100000),
                wf::param("negatives", 5, "points pushed away for each one pulled near").between(0, 100),
                wf::param("learning_rate", 1.0, "first step size, falls to 0").between(0.0001, 10),
                wf::param("start", "laplacian", "laplacian: eigenmap of n/10 equal neighbours; spectral: of the fuzzy graph")
                    .one_of("laplacian|spectral|random"),
                wf::param("start_neighbors", 0, "neighbours of the laplacian start; 0: a tenth of the points").at_least(0));
