#include "theory.hpp"

#include <cmath>

#include <Eigen/Cholesky>
#include <Eigen/Core>

namespace wayfarer::topics {

value_constants optimal_value(setting const& p, double lambda) {
  double const T = p.topics, v = p.words_per_topic, kappa = p.kappa(), mu = p.mu(), a0 = p.mask_share();
  if (lambda > 0) {
    // Features of a scored word: shares of [MASK], of its topic's words and of all others; the target is theta / v.
    // All are affine in theta, whose moments are 1 / T and squared_weights / T.
    Eigen::Vector3d const fixed(a0, mu / T, kappa + mu - mu / T), by_theta(0, kappa, -kappa);
    double const first = 1 / T, second = p.squared_weights() / T;
    Eigen::Matrix3d moment = fixed * fixed.transpose() + first * (fixed * by_theta.transpose() + by_theta * fixed.transpose()) +
                             second * by_theta * by_theta.transpose();
    Eigen::Vector3d const target = (first * fixed + second * by_theta) / v;
    moment.diagonal() += lambda * Eigen::Vector3d(1, v, (T - 1) * v);
    Eigen::Vector3d const w = moment.ldlt().solve(target);
    return {w[0], w[1], w[2]};
  }
  // Least norm among the optima, all of which have topic sums u and u + 1 / kappa with a0 m + (kappa + mu) u / v = -mu / (kappa T
  // v).
  double u, mask = 0;
  if (a0 > 0) {
    double const A = (kappa + mu) / (v * a0), B = mu / (kappa * T * v * a0);
    u = -(A * B + 1 / (kappa * v)) / (A * A + T / v);
    mask = -(A * u + B);
  } else {
    u = -mu / (kappa * T * (kappa + mu));
  }
  return {mask, u / v + 1 / (kappa * v), u / v};
}

double topic_sum_contrast(setting const& p) {
  return 1 / p.kappa();
}

double irreducible_loss(setting const& p) {
  return 1 - p.squared_weights() / p.words_per_topic;
}

double attention_loss(setting const& p, value_constants const& w, attention_ratios const& at) {
  double const T = p.topics, v = p.words_per_topic, tau = p.topics_per_document, a0 = p.mask_share();
  double const high = p.kappa() / (v * tau) + p.mu() / (T * v),
               low = p.mu() / (T * v);  // frequency of a word, its topic present or absent
  double const R = at.own_topic, g = w.same - w.other;
  auto squared = [](double x) { return x * x; };

  // Scores of words of the query's topic, of the document's other topics and of absent topics, from the attention on each topic.
  struct scores {
    double own, present, absent, norm;  // norm: squared, over the vocabulary
  };
  auto read = [&](double own, double present, double absent, double others_present, double others_absent) {
    double const Z = own + others_present * present + others_absent * absent + at.mask * a0, mask = at.mask * a0 / Z;
    double const base = w.mask * mask + w.other * (1 - mask);
    scores s{base + g * own / Z, base + g * present / Z, base + g * absent / Z, 0};
    s.norm = v * (squared(s.own) + others_present * squared(s.present) + others_absent * squared(s.absent));
    return s;
  };
  auto const in = read(R * v * high, v * high, v * low, tau - 1, T - tau);  // the query's topic is in the document
  auto const out = read(R * v * low, v * high, v * low, tau, T - tau - 1);  // it isn't: the query is a random replacement
  return p.keep * (in.norm - 2 * in.own + 1) +
         p.random * (tau / T) * (in.norm - 2 * (in.own + (tau - 1) * in.present) / tau + 1) +
         p.random * (1 - tau / T) * (out.norm - 2 * out.present + 1);
}

namespace {

/// Where f of exp(x) is least over |x| <= ln 1000, f having one valley: golden section.
template <class F>
double valley(F const& f) {
  double const golden = (std::sqrt(5.0) - 1) / 2;
  double low = -std::log(1e3), high = -low;
  double a = high - golden * (high - low), b = low + golden * (high - low), fa = f(std::exp(a)), fb = f(std::exp(b));
  while (high - low > 1e-9) {
    if (fa < fb) {
      high = b, b = a, fb = fa;
      a = high - golden * (high - low), fa = f(std::exp(a));
    } else {
      low = a, a = b, fa = fb;
      b = low + golden * (high - low), fb = f(std::exp(b));
    }
  }
  return std::exp((low + high) / 2);
}

}  // namespace

double optimal_own_topic(setting const& p, value_constants const& w, double mask) {
  return valley([&](double R) { return attention_loss(p, w, {R, mask}); });
}

attention_ratios optimal_attention(setting const& p, value_constants const& w) {
  double const mask = valley([&](double rho) { return attention_loss(p, w, {optimal_own_topic(p, w, rho), rho}); });
  return {optimal_own_topic(p, w, mask), mask};
}

}  // namespace wayfarer::topics
