// Mixing of positions without content: each rule and its gradients against plain loops, over many tiles and pages, and the bytes
// of pieces.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/mixing.hpp>
#include <wayfarer/tape.hpp>

#include "gradient_checks.hpp"

namespace wayfarer::test {
namespace {

constexpr std::size_t H = 4, K = 2, d = 5;
std::vector<std::size_t> const lengths{450, 1, 70, 0};

struct mixer {
  std::string name;
  mixing_options how;
};
std::vector<mixer> mixers() {
  auto const table = [](std::size_t n) { return noise({{"head", H}, {"distance", n}}, "table"); };
  return {{"mean", {H, K, 0, {}, true}},
          {"window", {H, K, 70, {}, true}},
          {"conv", {H, K, 7, table(7), false}},
          {"far conv", {H, K, 400, table(400), false}},
          {"position", {H, K, 0, table(451), true}}};
}

/// The weight of the value `back` positions before query t, one of `seen` values.
double weight(mixing_options const& how, std::size_t h, std::size_t back, std::size_t seen) {
  if (!how.by_distance.defined()) return 1 / static_cast<double>(seen);
  auto const table = how.by_distance.view<double const>();
  if (!how.softmax) return table(h, back);
  double sum = 0;
  for (std::size_t j = 0; j < seen; ++j) sum += std::exp(table(h, j));
  return std::exp(table(h, back)) / sum;
}
std::size_t seen_by(mixing_options const& how, std::size_t query) {
  return how.window ? std::min(how.window, query + 1) : query + 1;
}

/// f(row of the result, row of the value, head, distance, weight) of all pairs.
template <class F>
void each_pair(mixing_options const& how, F const& f) {
  std::size_t first = 0;
  for (auto const n : lengths) {
    for (std::size_t t = 0; t < n; ++t)
      for (std::size_t h = 0; h < H; ++h)
        for (std::size_t back = 0; back < seen_by(how, t); ++back)
          f(first + t, first + t - back, h, back, weight(how, h, back, seen_by(how, t)));
    first += n;
  }
}

TEST(mixing, of_every_kind_is_what_it_says) {
  rows const v = noise_rows(pack(lengths), K * d, "v");
  for (auto const& m : mixers()) {
    rows const z = mix(v, m.how, {});
    std::vector<double> want(z.count() * H * d);
    each_pair(m.how, [&](std::size_t to, std::size_t from, std::size_t h, std::size_t, double w) {
      for (std::size_t c = 0; c < d; ++c) want[(to * H + h) * d + c] += w * v.data<double>()[(from * K + h / (H / K)) * d + c];
    });
    ASSERT_EQ(z.width(), H * d);
    for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(all(z)[i], want[i], 1e-12) << m.name << " " << i;
  }
}

TEST(mixing, has_the_gradients_of_plain_loops) {
  rows const v = noise_rows(pack(lengths), K * d, "v"), dz = noise_rows(v.shared_packing(), H * d, "dz");
  for (auto const& m : mixers()) {
    auto const& table = m.how.by_distance;
    tensor by_table = table.defined() ? tensor(dtype::f64, table.shape()) : tensor();
    if (table.defined()) by_table(0, 0) = 5;  // added to
    rows const dv = mix_backward(v, m.how, dz, by_table);
    std::vector<double> want(v.count() * K * d), weights, of_table(H * (table.defined() ? table.size(1) : 0));
    // dz of a query times a value: the gradient of their weight.
    auto const product = [&](std::size_t to, std::size_t from, std::size_t h) {
      double sum = 0;
      for (std::size_t c = 0; c < d; ++c)
        sum += all(dz)[(to * H + h) * d + c] * v.data<double>()[(from * K + h / (H / K)) * d + c];
      return sum;
    };
    std::vector<double> mean(v.count() * H);
    each_pair(m.how, [&](std::size_t to, std::size_t from, std::size_t h, std::size_t, double w) {
      for (std::size_t c = 0; c < d; ++c) want[(from * K + h / (H / K)) * d + c] += w * all(dz)[(to * H + h) * d + c];
      mean[to * H + h] += w * product(to, from, h);
    });
    for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(all(dv)[i], want[i], 1e-11) << m.name << " " << i;
    if (!table.defined()) continue;
    each_pair(m.how, [&](std::size_t to, std::size_t from, std::size_t h, std::size_t back, double w) {
      double const by = product(to, from, h);
      of_table[h * table.size(1) + back] += m.how.softmax ? w * (by - mean[to * H + h]) : by;
    });
    of_table[0] += 5;
    auto const got = by_table.values<double const>();
    for (std::size_t i = 0; i < of_table.size(); ++i) ASSERT_NEAR(got[i], of_table[i], 1e-9) << m.name << " " << i;
  }
}

TEST(mixing, gives_pieces_of_a_text_the_bytes_of_the_whole) {
  auto const of = pack({450});
  rows const v = noise_rows(of, K * d, "v");
  for (auto const& m : mixers()) {
    rows const whole = mix(v, m.how, {});
    key_values past(1, K * d, dtype::f64);
    std::size_t at = 0;
    for (std::size_t const step : {1, 200, 1, 63, 1, 184}) {
      rows piece(pack({step}), K * d, dtype::f64);
      std::copy_n(v.data<double>() + at * K * d, step * K * d, piece.overwrite<double>());
      past.append(piece, piece);
      rows const z = mix(piece, m.how, {}, &past);
      EXPECT_EQ(std::memcmp(z.data<double>(), whole.data<double>() + at * H * d, step * H * d * sizeof(double)), 0)
          << m.name << " at " << at;
      at += step;
    }
    EXPECT_EQ(at, 450u);
  }
}

TEST(mixing, refuses_what_does_not_fit) {
  rows const v = noise_rows(pack({6}), K * d, "v");
  auto const table = [](std::size_t heads, std::size_t n) { return noise({{"head", heads}, {"distance", n}}, "table"); };
  EXPECT_THROW(mix(v, {H, K, 0, table(H, 5), true}, {}), plugin_error);     // six keys
  EXPECT_NO_THROW(mix(v, {H, K, 5, table(H, 5), true}, {}));                // of which each query sees five
  EXPECT_THROW(mix(v, {H, K, 0, table(3, 6), true}, {}), plugin_error);     // heads of the table
  EXPECT_THROW(mix(v, {H, 3, 0, {}, true}, {}), plugin_error);              // 4 heads over 3
  EXPECT_THROW(mix(v, {H, K, 3, {}, false}, {}), plugin_error);             // no weights
  EXPECT_THROW(mix_backward(v, {H, K, 0, {}, true}, v, {}), plugin_error);  // dz of K heads
}

}  // namespace
}  // namespace wayfarer::test
