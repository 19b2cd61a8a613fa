// Principal components of any points of a probe's results, and the points projected onto them.
//
//     map: {metric: pca, of: activations/blocks.5.hook_resid_post, components: 3}
//
// Signs are arbitrary, so they are fixed: the loading of largest magnitude (the first among equals) is positive.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include <Eigen/Dense>

#include <wayfarer/findings.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/ops.hpp>

#include "metrics/common/points.hpp"

namespace wf = wayfarer;

namespace {

using matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Map<matrix const> map(wf::tensor const& t) {
  return {t.view<double const>().data(), static_cast<Eigen::Index>(t.size(0)), static_cast<Eigen::Index>(t.size(1))};
}

wf::tensor to_tensor(matrix const& m, std::string const& rows, std::string const& columns) {
  wf::tensor t(wf::dtype::f64, {{rows, static_cast<std::size_t>(m.rows())}, {columns, static_cast<std::size_t>(m.cols())}});
  std::copy(m.data(), m.data() + m.size(), t.view<double>().data());
  return t;
}

struct components {
  matrix directions;  ///< unit rows
  Eigen::VectorXd variance;
};

/// The first k of the rows of x. The smaller of the two Gram matrices has the same non-zero spectrum.
components components_of(matrix const& x, Eigen::Index k, double degrees) {
  Eigen::Index const d = x.cols();
  components out{matrix(k, d), Eigen::VectorXd(k)};
  bool const by_points = x.rows() < d;
  Eigen::MatrixXd const small = by_points ? Eigen::MatrixXd(x * x.transpose()) : Eigen::MatrixXd(x.transpose() * x);
  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> const solver(small);
  for (Eigen::Index i = 0; i < k; ++i) {
    Eigen::Index const at = small.rows() - 1 - i;  // the solver's values ascend
    double const value = std::max(0.0, solver.eigenvalues()[at]);
    Eigen::VectorXd v = solver.eigenvectors().col(at);
    if (by_points) {
      v = x.transpose() * v;
      double const norm = v.norm();
      v = norm > 0 ? Eigen::VectorXd(v / norm) : Eigen::VectorXd::Zero(d);
    }
    Eigen::Index largest = 0;
    for (Eigen::Index j = 1; j < d; ++j)
      if (std::abs(v[j]) > std::abs(v[largest])) largest = j;
    if (v[largest] < 0) v = -v;
    out.directions.row(i) = v.transpose();
    out.variance[i] = value / degrees;
  }
  return out;
}

}  // namespace

struct pca final : wf::metric {
  explicit pca(wf::config const& c) : components_(c["components"]), center_(c["center"].flag()), whiten_(c["whiten"].flag()) {}

  void measure(wf::metric_input const& in, wf::results& out) const override {
    auto const& from = in.at("of");
    auto const fit = wf::points_of(from, "pca");
    auto const n = fit.kept.size();
    if (n < 2) throw wf::data_error("pca needs at least two finite points, not " + std::to_string(n));
    Eigen::Index const d = static_cast<Eigen::Index>(fit.width);
    Eigen::RowVectorXd const mean = center_ ? Eigen::RowVectorXd(map(fit.rows).colwise().mean()) : Eigen::RowVectorXd::Zero(d);
    matrix const x = map(fit.rows).rowwise() - mean;
    Eigen::Index const k = std::min<Eigen::Index>({static_cast<Eigen::Index>(components_), d, static_cast<Eigen::Index>(n)});

    double const degrees = static_cast<double>(center_ ? n - 1 : n);
    double const total = x.squaredNorm() / degrees;
    components const found = components_of(x, k, degrees);
    matrix const& directions = found.directions;
    Eigen::VectorXd const& variance = found.variance;
    Eigen::RowVectorXd scale = Eigen::RowVectorXd::Ones(k);
    if (whiten_)
      for (Eigen::Index i = 0; i < k; ++i) scale[i] = variance[i] > 0 ? 1 / std::sqrt(variance[i]) : 0;
    auto const project = [&](wf::point_set const& points) {
      matrix const y = ((map(points.rows).rowwise() - mean) * directions.transpose()) * scale.asDiagonal();
      return to_tensor(y, "point", "component");
    };

    out.add("points", wf::place_points(fit, from, project(fit)))
        .about("the points along the principal components")
        .view("points");
    if (in.has("also")) {
      auto const& other = in.at("also");
      auto const more = wf::points_of(other, "pca");
      if (more.width != fit.width)
        throw wf::usage_error("pca: 'also' has " + std::to_string(more.width) + " coordinates a point, 'of' has " +
                              std::to_string(fit.width));
      out.add("also_points", wf::place_points(more, other, project(more)))
          .about("the points of 'also' along the same components")
          .view("points");
    }
    out.add("components", to_tensor(directions, "component", "coordinate"))
        .about("principal directions, unit rows")
        .view("heatmap");
    wf::tensor values(wf::dtype::f64, {{"component", static_cast<std::size_t>(k)}}), shares = values.clone();
    for (Eigen::Index i = 0; i < k; ++i) {
      values(static_cast<std::size_t>(i)) = variance[i];
      shares(static_cast<std::size_t>(i)) = total > 0 ? variance[i] / total : 0;
    }
    out.add("explained_variance", values).about("variance along each component").view("bars");
    out.add("explained_share", shares).about("share of the whole variance").view("bars");
    out.add("mean", wf::tensor::of(std::vector<double>(mean.data(), mean.data() + d), {{"coordinate", fit.width}}))
        .about("what was subtracted from every point")
        .view("histogram");
    std::string const of = wf::counted(n, "point");
    out.summarise(total > 0 ? wf::counted(static_cast<std::size_t>(k), "component") + " hold " +
                                  wf::told(100 * variance.sum() / total) + " % of the variance of " + of
                            : of + " without any variance");
  }

 private:
  std::size_t components_;
  bool center_, whiten_;
};

WAYFARER_METRIC(pca, "1.0.0", "Principal components of any points, with deterministic signs",
                wf::port::results("of", "dataset [..., coordinate] whose points are fitted"),
                wf::port::results("also", "more points, projected onto the same components").optional(),
                wf::param("components", 3, "how many components").at_least(1),
                wf::param("center", true, "subtract the mean first"),
                wf::param("whiten", false, "scale each component to unit variance"));
