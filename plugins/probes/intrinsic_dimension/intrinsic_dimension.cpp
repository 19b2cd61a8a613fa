// How many directions do a model's vectors use? Intrinsic dimension (TwoNN), participation ratio, effective rank and anisotropy
// of the vectors at any hooks. arXiv 2308.10874, open question 3.
//
//     room: {probe: intrinsic_dimension, model: gpt2, source: corpus, hooks: [blocks.*.hook_resid_post], sample: 1000}
//
// With eigenvalues l of the covariance C of all vectors, and s = sqrt(l):
//     participation ratio  (sum l)^2 / sum l^2
//     effective rank       exp(-sum p log p), p = s / sum s (Roy and Vetterli 2007)
// Neighbours and cosines need vectors side by side: those of a sample. Each position of each item draws a number from (seed,
// item, position), and the positions with the smallest numbers are the sample, the same for all hooks and for any blocks. An
// accumulator holds `sample` vectors and a covariance for each hook, so memory does not grow with the items.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <Eigen/Dense>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/probe.hpp>

#include "neighbours.hpp"
#include "probes/common/vector_sample.hpp"

namespace wf = wayfarer;

namespace {

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t halvings = 4;

/// What is known of the vectors at one hook.
struct figures {
  wf::dimension::estimate two_nn, participation, cosine, centred_cosine;
  std::array<double, halvings> by_points;
  double duplicates = nothing, effective_rank = nothing, mean_share = nothing;
  std::vector<double> shares;  ///< of each component in the variance, largest first
};

/// Mean cosine of all pairs of rows of x less `mean`, and its error by influence of each row; rows of no length are left out.
wf::dimension::estimate mean_cosine(wf::tensor const& x, std::vector<double> const& mean) {
  std::size_t const rows = x.size(0), width = x.size(1);
  std::vector<std::vector<double>> unit;
  std::vector<double> sum(width);
  for (std::size_t r = 0; r < rows; ++r) {
    std::vector<double> u(width);
    for (std::size_t j = 0; j < width; ++j) u[j] = x(r, j) - mean[j];
    double const length = std::sqrt(wf::dot(std::span<double const>(u), std::span<double const>(u)));
    if (length == 0) continue;
    for (std::size_t j = 0; j < width; ++j) sum[j] += u[j] /= length;
    unit.push_back(std::move(u));
  }
  auto const n = static_cast<double>(unit.size());
  if (n < 3) return {};
  double const value = (wf::dot(std::span<double const>(sum), std::span<double const>(sum)) - n) / (n * (n - 1));
  double squares = 0;
  for (auto const& u : unit) {
    double const own = (wf::dot(std::span<double const>(u), std::span<double const>(sum)) - 1) / (n - 1);
    squares += 4 * (own - value) * (own - value);
  }
  return {value, std::sqrt(squares / (n * (n - 1)))};
}

}  // namespace

struct intrinsic_dimension final : wf::probe {
  explicit intrinsic_dimension(wf::config const& c)
      : hooks_(c["hooks"].texts()),
        skip_(c["skip"]),
        discard_(c["discard"]),
        sample_(c["sample"], skip_, "intrinsic_dimension") {}

  wf::hook_set needs(wf::model_info const& model) const override { return wf::vector_sample::hooks_of(model, hooks_); }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    auto const hooks = needs(model);
    sample_.shape(acc, model, hooks);
    for (auto const& name : hooks.names()) {
      std::size_t const width = wf::element_count(model.find_hook(name)->row);
      acc.define(name + "/sum", {{"feature", width}});
      acc.define(name + "/products", {{"feature", width}, {"other_feature", width}});
    }
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const hooks = needs(at.model().info());
    sample_.observe(acc, block, hooks);
    for (auto const& name : hooks.names())
      for (std::size_t i = 0; i < block.size(); ++i) add_sums(acc, name, block[i]);
  }

  void merge(wf::accumulator& into, wf::accumulator const& from) const override { sample_.merge(into, from); }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const hooks = needs(at.model().info());
    if (wf::vector_sample::filled(acc) < 10)
      throw wf::data_error("the items have " + wf::counted(wf::vector_sample::filled(acc), "vector") +
                           ", and neighbours need at least 10; give more items, or a smaller `skip`");
    std::vector<figures> all(hooks.size());
    for (std::size_t h = 0; h < hooks.size(); ++h) measure_sample(acc, hooks.names()[h], all[h]);
    wf::parallel_for(hooks.size(), [&](std::size_t h) { measure_covariance(acc, hooks.names()[h], all[h]); });
    put_dimensions(out, hooks, all);
    put_covariance(out, hooks, all);
    out.add("vectors", acc["vectors"]()).units("vector").about("vectors at each hook, all of them in the covariance");
    out.add("sampled", acc["filled"]()).units("vector").about("vectors of the sample, for neighbours and cosines");
    auto const& last = all.back();
    out.summarise("after the last layer " + wf::told(last.two_nn.value) + " +- " + wf::told(last.two_nn.standard_error, 2) +
                  " dimensions (TwoNN), participation ratio " + wf::told(last.participation.value) + ", mean cosine " +
                  wf::told(last.cosine.value, 2) + " (" + wf::told(last.centred_cosine.value, 2) +
                  " without the mean); first layer " + wf::told(all.front().two_nn.value) + " dimensions");
  }

 private:
  void add_sums(wf::accumulator& acc, std::string const& name, wf::sample_item const& item) const {
    wf::tensor const& given = item[name];
    if (given.size(0) <= skip_) return;
    std::size_t const width = acc[name + "/sum"].size(0);
    wf::tensor const x =
        given.slice(0, skip_, given.size(0)).to(wf::dtype::f64).reshaped({{"pos", given.size(0) - skip_}, {"feature", width}});
    auto const rows = x.view<double const>();
    auto const sum = acc[name + "/sum"].values<double>();
    for (std::size_t p = 0; p < rows.size(0); ++p)
      for (std::size_t j = 0; j < width; ++j) sum[j] += rows(p, j);
    wf::add_into(acc[name + "/products"],
                 wf::matmul(x.transposed().named({"feature", "pos"}), x.named({"pos", "other_feature"})));
  }

  /// What needs vectors side by side.
  void measure_sample(wf::accumulator const& acc, std::string const& name, figures& out) const {
    wf::tensor const x = wf::vector_sample::of(acc, name);
    std::size_t const filled = x.size(0), width = x.size(1);
    auto const points = x.values<double const>();
    auto const distinct = wf::dimension::distinct_rows(points, width);
    out.duplicates = 1 - static_cast<double>(distinct.size()) / static_cast<double>(filled);
    std::span<std::size_t const> of = distinct;
    for (std::size_t h = 0; h < halvings; ++h, of = of.first(of.size() / 2)) {
      auto const found = wf::dimension::two_nn(wf::dimension::neighbour_ratios(points, width, of), discard_);
      out.by_points[h] = found.value;
      if (h == 0) out.two_nn = found;
    }
    std::vector<double> mean(width);
    out.cosine = mean_cosine(x, mean);
    for (std::size_t j = 0; j < width; ++j) mean[j] = acc[name + "/sum"](j) / acc["vectors"]();
    out.centred_cosine = mean_cosine(x, mean);
  }

  /// What the covariance of all vectors says.
  static void measure_covariance(wf::accumulator const& acc, std::string const& name, figures& out) {
    using matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    auto const width = static_cast<Eigen::Index>(acc[name + "/sum"].size(0));
    double const n = acc["vectors"]();
    Eigen::Map<matrix const> const products(acc[name + "/products"].values<double const>().data(), width, width);
    Eigen::VectorXd const mean = Eigen::Map<Eigen::VectorXd const>(acc[name + "/sum"].values<double const>().data(), width) / n;
    matrix const covariance = products / n - mean * mean.transpose();
    out.shares.assign(static_cast<std::size_t>(width), nothing);
    out.mean_share = mean.squaredNorm() / (products.trace() / n);
    if (!covariance.allFinite()) return;
    Eigen::VectorXd const ascending =
        Eigen::SelfAdjointEigenSolver<matrix>(covariance, Eigen::EigenvaluesOnly).eigenvalues().cwiseMax(0.0);
    double const total = ascending.sum(), squares = ascending.squaredNorm();
    // Vectors that are all alike: what is left of their covariance is rounding.
    if (!(total > 1e-12 * products.trace() / n)) return;
    for (Eigen::Index i = 0; i < width; ++i) out.shares[static_cast<std::size_t>(i)] = ascending[width - 1 - i] / total;
    double const lengths = ascending.cwiseSqrt().sum();
    double entropy = 0;
    for (double const l : ascending)
      if (double const p = std::sqrt(l) / lengths; p > 0) entropy -= p * std::log(p);
    out.effective_rank = std::exp(entropy);
    // The ratio's error by influence of each vector, of those in the sample: 2 (|x|^2 / t - 1) - 2 (x C x / q - 1).
    auto const filled = static_cast<Eigen::Index>(wf::vector_sample::filled(acc));
    Eigen::Map<matrix const> const sampled(acc[name + "/sample"].values<double const>().data(), filled, width);
    matrix const centred = sampled.rowwise() - mean.transpose();
    matrix const turned = centred * covariance;
    double influence = 0;
    for (Eigen::Index r = 0; r < filled; ++r) {
      double const of_total = centred.row(r).squaredNorm() / total, of_squares = turned.row(r).dot(centred.row(r)) / squares;
      influence += 4 * (of_total - of_squares) * (of_total - of_squares);
    }
    double const ratio = total * total / squares;
    out.participation = {ratio, ratio * std::sqrt(influence / static_cast<double>(filled) / n)};
  }

  template <class Number>
  static void put_layers(wf::results& out, wf::hook_set const& hooks, std::vector<figures> const& all, std::string const& name,
                         std::string const& about, std::string const& missing, Number const& number) {
    wf::tensor const values(wf::dtype::f64, {{"layer", all.size()}});
    for (std::size_t h = 0; h < all.size(); ++h) values(h) = number(all[h]);
    out.add(name, values).about(about).labels("layer", hooks.names()).missing(missing).view("curve");
  }

  static void put_dimensions(wf::results& out, wf::hook_set const& hooks, std::vector<figures> const& all) {
    std::string const few = "fewer than 10 different vectors, or neighbours that are all equally far";
    put_layers(out, hooks, all, "two_nn", "intrinsic dimension by TwoNN, of the sample's different vectors", few,
               [](figures const& f) { return f.two_nn.value; });
    put_layers(out, hooks, all, "two_nn_standard_error", "its standard error, if the vectors' ratios were independent", few,
               [](figures const& f) { return f.two_nn.standard_error; });
    put_layers(out, hooks, all, "duplicates", "share of the sample that equals an earlier vector of it, and is left out of TwoNN",
               "", [](figures const& f) { return f.duplicates; });
    wf::tensor const by_points(wf::dtype::f64, {{"layer", all.size()}, {"halving", halvings}});
    for (std::size_t h = 0; h < all.size(); ++h)
      for (std::size_t k = 0; k < halvings; ++k) by_points(h, k) = all[h].by_points[k];
    out.add("two_nn_by_points", by_points)
        .about(
            "TwoNN of the whole sample, of half of it, a quarter and an eighth: level where the dimension does not depend on "
            "scale")
        .labels("layer", hooks.names())
        .missing(few)
        .view(R"({"kind": "curve", "x": "halving"})");
    std::string const alike = "fewer than three vectors have a length";
    put_layers(out, hooks, all, "mean_cosine", "mean cosine of all pairs of sampled vectors", alike,
               [](figures const& f) { return f.cosine.value; });
    put_layers(out, hooks, all, "mean_cosine_standard_error", "its standard error, if vectors were independent", alike,
               [](figures const& f) { return f.cosine.standard_error; });
    put_layers(out, hooks, all, "mean_cosine_centred", "the same less the mean of all vectors", alike,
               [](figures const& f) { return f.centred_cosine.value; });
    put_layers(out, hooks, all, "mean_cosine_centred_standard_error", "its standard error, if vectors were independent", alike,
               [](figures const& f) { return f.centred_cosine.standard_error; });
  }

  static void put_covariance(wf::results& out, wf::hook_set const& hooks, std::vector<figures> const& all) {
    std::string const alike = "all vectors are alike";
    put_layers(out, hooks, all, "participation_ratio",
               "(sum l)^2 / sum l^2 with eigenvalues l of the covariance of all vectors: as many directions of equal variance",
               alike, [](figures const& f) { return f.participation.value; });
    put_layers(out, hooks, all, "participation_ratio_standard_error", "its standard error, if vectors were independent", alike,
               [](figures const& f) { return f.participation.standard_error; });
    put_layers(out, hooks, all, "effective_rank",
               "exp of the entropy of s / sum s, with s = sqrt(l): singular values of the centred vectors (Roy and Vetterli)",
               alike, [](figures const& f) { return f.effective_rank; });
    put_layers(out, hooks, all, "mean_share", "squared length of the mean vector over the mean squared length",
               "all vectors are 0", [](figures const& f) { return f.mean_share; });
    std::size_t width = 0;
    for (auto const& f : all) width = std::max(width, f.shares.size());
    wf::tensor const shares(wf::dtype::f64, {{"layer", all.size()}, {"component", width}});
    for (std::size_t h = 0; h < all.size(); ++h)
      for (std::size_t c = 0; c < width; ++c) shares(h, c) = c < all[h].shares.size() ? all[h].shares[c] : nothing;
    out.add("variance_share", shares)
        .about("share of each principal component in the variance, the largest first")
        .labels("layer", hooks.names())
        .missing(alike + ", or the hook's vectors are narrower")
        .view(R"({"kind": "curve", "x": "component", "log_y": true})");
  }

  std::vector<std::string> hooks_;
  std::size_t skip_;
  double discard_;
  wf::vector_sample sample_;
};

WAYFARER_PROBE(
    intrinsic_dimension, "1.0.0",
    "Intrinsic dimension (TwoNN), participation ratio, effective rank and mean cosine of a model's vectors",
    wf::port::model("model"), wf::port::source("source"),
    wf::param("hooks", wf::strings("blocks.*.hook_resid_post"), "hooks to read, in layer order"),
    wf::param("sample", 1000, "vectors of each hook that are kept, for neighbours and cosines").in("vector").between(10, 20'000),
    wf::param("skip", 0, "positions at the beginning of each item that are left out").in("token").at_least(0),
    wf::param("discard", 0.1, "TwoNN: share of the largest ratios of distances that is left out").between(0, 0.9),
    wf::param("seed", 0, "of the sample").at_least(0));
