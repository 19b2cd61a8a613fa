// The value matrix that training would reach on infinitely many, infinitely long documents: every entry of W^V is free, and the
// loss is exact, from the moments of the word frequencies over all choices of tau topics, or over all Dirichlet weights. The
// theorem on W^V gives three constants; this finds them by descent or by solving the normal equations.
#include <algorithm>
#include <cstddef>
#include <cstdio>

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/Eigenvalues>

#include <wayfarer/error.hpp>
#include <wayfarer/probe.hpp>

#include "common/topic_process.hpp"

namespace wf = wayfarer;
namespace parameters = wayfarer::topics::parameters;

using matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct topic_theory final : wf::probe {
  explicit topic_theory(wf::config const& c)
      : p_(wf::topics::setting::read(c, "topic_theory")),
        T_(c["topics"]),
        v_(c["words_per_topic"]),
        descent_(c["solver"].text() == "gradient_descent"),
        l2_(c["l2"]),
        updates_(c["updates"]) {
    if (!descent_ && l2_ <= 0)
      throw wf::usage_error("topic_theory: the normal equations need l2 above 0, since the optimum alone is not unique");
    if (T_ * v_ > 4096) throw wf::usage_error("topic_theory solves for a full matrix of at most 4096 words");
  }

  void finish(wf::accumulator const&, wf::results& out, wf::probe_context const&) const override {
    // Token 0 is [MASK]; p: frequencies of what is seen, q: of what is to be predicted.
    auto const tokens = static_cast<Eigen::Index>(T_ * v_ + 1);
    // Written out here: the closed form of the theorem is held to what comes of it.
    double const T = p_.topics, v = p_.words_per_topic, tau = p_.topics_per_document, alpha = p_.alpha;
    double const kappa = p_.masked_keys ? 1 - (1 - p_.keep) * p_.mask : 1,
                 noise = p_.masked_keys ? p_.mask * p_.random / (T * v) : 0;
    double const mask = p_.masked_keys ? p_.mask * (1 - p_.keep - p_.random) : 0;
    double const squares = tau > 0 ? 1 / tau : (alpha + 1) / (T * alpha + 1);    // sum over the topics of E theta_t^2
    double const square = squares / T, product = (1 - squares) / (T * (T - 1));  // E theta_t^2, E theta_t theta_t'
    matrix seen(tokens, tokens), target = matrix::Zero(tokens, tokens);          // E p p^T, E q p^T
    double const mean = kappa / (T * v) + noise;
    for (Eigen::Index i = 0; i < tokens; ++i)
      for (Eigen::Index l = 0; l < tokens; ++l) {
        if (i == 0 || l == 0) {
          seen(i, l) = i == l ? mask * mask : mask * mean;
          if (i > 0) target(i, l) = mask / (T * v);
          continue;
        }
        double const theta2 =
            (i - 1) / static_cast<Eigen::Index>(v_) == (l - 1) / static_cast<Eigen::Index>(v_) ? square : product;
        seen(i, l) = kappa * kappa * theta2 / (v * v) + 2 * kappa * noise / (T * v) + noise * noise;
        target(i, l) = kappa * theta2 / (v * v) + noise / (T * v);
      }

    matrix const value = descent_ ? descend(seen, target) : solve(seen, target);
    double const least = 1 - squares / v;
    double const loss = 1 + (value * seen).cwiseProduct(value).sum() - 2 * value.cwiseProduct(target).sum();

    wf::tensor w(wf::dtype::f64, {{"token_out", T_ * v_ + 1}, {"token_in", T_ * v_ + 1}});
    std::copy(value.data(), value.data() + value.size(), w.values<double>().begin());
    out.add("value", w).about("W^V: what seeing token_in adds to the score of token_out; token 0 is [MASK]").view("heatmap");
    out.add("loss", loss).about("squared loss per masked token, summed over the vocabulary");
    char line[96];
    std::snprintf(line, sizeof line, "loss %.6f, %.2g above the least", loss, loss - least);
    out.summarise(line);
    out.add("excess_loss", loss - least)
        .about("loss above the irreducible 1 - 1/(tau v), or with Dirichlet weights 1 - (alpha + 1)/((T alpha + 1) v)");
  }

 private:
  /// argmin_W E|W p - q|^2 + l2 |W|^2.
  matrix solve(matrix seen, matrix const& target) const {
    seen.diagonal().array() += l2_;
    return seen.ldlt().solve(target.transpose()).transpose();
  }

  /// The same from W = 0 by gradient descent, in steps of one over the largest curvature.
  matrix descend(matrix seen, matrix const& target) const {
    seen.diagonal().array() += l2_;
    double const steepest = Eigen::SelfAdjointEigenSolver<matrix>(seen, Eigen::EigenvaluesOnly).eigenvalues().maxCoeff();
    matrix w = matrix::Zero(target.rows(), target.cols());
    for (std::size_t u = 0; u < updates_; ++u) {
      matrix step = target;
      step.noalias() -= w * seen;
      w += step / steepest;
    }
    return w;
  }

  wf::topics::setting p_;
  std::size_t T_, v_;
  bool descent_;
  double l2_;
  std::size_t updates_;
};

WAYFARER_PROBE(topic_theory, "1.1.0",
               "Value matrix of the population optimum, every entry free: the numerical side of the theorem on W^V",
               wf::port::source("source", "documents whose process is meant; none is read").optional(), parameters::topics,
               parameters::words_per_topic, parameters::topics_per_document, parameters::alpha, parameters::mask,
               parameters::keep, parameters::random, parameters::masked_keys,
               wf::param("solver", "ridge", "normal equations, or gradient descent from zero").one_of("ridge|gradient_descent"),
               wf::param("l2", 1e-8, "penalty on |W|^2 beside the loss").at_least(0),
               wf::param("updates", 1000, "of the gradient descent").at_least(1));
