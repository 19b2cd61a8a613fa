#include "ellipsoid.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>

namespace wayfarer::ellipsoid {

std::vector<double> magnitudes(std::span<double const> weight) {
  std::vector<double> out;
  for (double const w : weight) out.push_back(std::abs(w));
  std::sort(out.begin(), out.end(), std::greater<>());
  return out;
}

// The squares are the eigenvalues of G Pi G = G^2 - g g^T / d, a diagonal less a matrix of rank one. Exactly one of them lies in
// each interval between neighbouring squares of weights (in the interval's one point, where it has but one), and one is 0.
// Between its poles the secular function 1 - sum_j w_j^2 / (w_j^2 - x) / d only falls, so its root is bracketed.
std::vector<double> centred_axes(std::span<double const> weight) {
  std::size_t const d = weight.size();
  std::vector<double> square, out(d, 0.0);
  for (double const m : magnitudes(weight)) square.push_back(m * m);
  for (std::size_t i = 0; i + 1 < d; ++i) {
    double const low = square[i + 1], width = square[i] - low;
    if (!(width > 0)) {
      out[i] = std::sqrt(low);
      continue;
    }
    // Offsets from `low`, so that the distance to the near pole keeps its digits. Times the distances to both poles the function
    // is finite at the ends, and false position (each end's value halved when it stays) needs some ten rounds.
    auto const value = [&](double x) {
      double sum = 0;
      for (double const s : square) sum += s / ((s - low) - x);
      return (static_cast<double>(d) - sum) * x * (width - x);
    };
    double left = 0, right = width, at_left = low * width, at_right = -square[i] * width, root = 0.5 * width;
    int stayed = 0;
    for (int step = 0; step < 100 && right - left > 2e-16 * (low + root); ++step) {
      double guess = left + (right - left) * (at_left / (at_left - at_right));
      if (!(guess > left && guess < right) || step % 4 == 3) guess = 0.5 * (left + right);
      if (!(guess > left && guess < right)) break;
      root = guess;
      double const here = value(root);
      if (here == 0) break;
      if (here > 0) {
        left = root, at_left = here;
        if (stayed == 1) at_right *= 0.5;
        stayed = 1;
      } else {
        right = root, at_right = here;
        if (stayed == -1) at_left *= 0.5;
        stayed = -1;
      }
    }
    out[i] = std::sqrt(low + root);
  }
  return out;
}

std::vector<double> normal(std::span<double const> weight) {
  double least = weight.empty() ? 0 : std::abs(weight[0]);
  for (double const w : weight) least = std::min(least, std::abs(w));
  std::vector<double> u;
  double length = 0;
  for (double const w : weight) {
    u.push_back(w == 0 ? 1 : least / w);
    length += u.back() * u.back();
  }
  for (double& v : u) v /= std::sqrt(length);
  return u;
}

}  // namespace wayfarer::ellipsoid
