// The way back through the layers and GPT-2, against central differences in double precision; whole models of random shapes; the
// same bytes for any number of threads; and AdamW against the formula written out.
#include <cmath>
#include <cstring>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <oneapi/tbb/global_control.h>

#include <wayfarer/backward.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/optimizer.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/rotary.hpp>

#include "gradient_checks.hpp"
#include "models/gpt2_trained/net.hpp"

namespace wayfarer::test {
namespace {

using gpt2_training::gpt2_net;
using gpt2_training::net_shape;
using ::testing::HasSubstr;

class threads {
 public:
  explicit threads(std::size_t n) : limit_(tbb::global_control::max_allowed_parallelism, n) {}

 private:
  tbb::global_control limit_;
};

TEST(backward, linear_in_both_layouts) {
  for (bool const in_first : {true, false})
    for (auto const& [in, out, lengths] :
         {std::tuple{5ul, 3ul, std::vector<std::size_t>{4, 1}}, std::tuple{70ul, 131ul, std::vector<std::size_t>{9}},
          std::tuple{7ul, 9ul, std::vector<std::size_t>{400, 13}}}) {
      auto const of = pack(lengths);
      rows x = noise_rows(of, in, "x");
      linear_weights w{in_first ? noise({{"in", in}, {"out", out}}, "w") : noise({{"out", out}, {"in", in}}, "w"),
                       noise({{"out", out}}, "b"), in_first};
      rows const by = noise_rows(of, out, "by");
      weight_gradient g{tensor(dtype::f64, w.w.shape()), tensor(dtype::f64, w.b.shape())};
      rows const dx = linear_backward(x, w, by, g);
      auto const loss = [&] { return weighted(linear(x, w), by); };
      expect_gradient("x", all(x), all(dx), loss);
      expect_gradient("w", w.w.values<double>(), g.w.values<double const>(), loss);
      expect_gradient("b", w.b.values<double>(), g.b.values<double const>(), loss);
    }
}

TEST(backward, gradients_are_added_to_what_is_there) {
  auto const of = pack({6});
  rows const x = noise_rows(of, 4, "x"), dy = noise_rows(of, 3, "dy");
  linear_weights const w{noise({{"in", 4}, {"out", 3}}, "w"), noise({{"out", 3}}, "b")};
  weight_gradient once{tensor(dtype::f64, w.w.shape()), tensor(dtype::f64, w.b.shape())};
  linear_backward(x, w, dy, once);
  weight_gradient twice{once.w.clone(), once.b.clone()};
  linear_backward(x, w, dy, twice);
  for (std::size_t i = 0; i < 12; ++i) EXPECT_DOUBLE_EQ(twice.w.values<double const>()[i], 2 * once.w.values<double const>()[i]);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_DOUBLE_EQ(twice.b.values<double const>()[i], 2 * once.b.values<double const>()[i]);
  EXPECT_NO_THROW(linear_backward(x, w, dy, {}));
  EXPECT_FALSE(linear_backward(x, w, dy, {}, false).defined());
  // A view of a larger matrix.
  tensor const wide(dtype::f64, {{"in", 4}, {"out", 10}});
  linear_backward(x, w, dy, {wide.slice(1, 5, 8), {}});
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t j = 0; j < 10; ++j) EXPECT_EQ(wide(i, j), j < 5 || j >= 8 ? 0 : once.w(i, j - 5)) << i << " " << j;
}

TEST(backward, norms) {
  for (std::size_t const d : {1ul, 3ul, 16ul, 77ul, 200ul})
    for (bool const centred : {true, false}) {
      if (d == 1 && centred) continue;  // a row of one number is always 0 then
      auto const of = pack({150, 2});
      rows x = noise_rows(of, d, "x", 2);
      norm_weights w{noise({{"d", d}}, "w"), noise({{"d", d}}, "b"), 1e-3};
      rows const by = noise_rows(of, d, "by");
      weight_gradient g{tensor(dtype::f64, w.w.shape()), tensor(dtype::f64, w.b.shape())};
      rows const dx = centred ? layer_norm_backward(x, w, by, g) : rms_norm_backward(x, w, by, g);
      auto const loss = [&] { return weighted(centred ? layer_norm(x, w, {}) : rms_norm(x, w, {}), by); };
      expect_gradient("x", all(x), all(dx), loss, 1e-6);
      expect_gradient("w", w.w.values<double>(), g.w.values<double const>(), loss);
      expect_gradient("b", w.b.values<double>(), g.b.values<double const>(), loss);
      weight_gradient none;
      rows const bare =
          centred ? layer_norm_backward(x, {{}, {}, 1e-3}, by, none) : rms_norm_backward(x, {{}, {}, 1e-3}, by, none);
      expect_gradient(
          "x without weights", all(x), all(bare),
          [&] {
            norm_weights const plain{{}, {}, 1e-3};
            return weighted(centred ? layer_norm(x, plain, {}) : rms_norm(x, plain, {}), by);
          },
          1e-6);
    }
}

TEST(backward, norms_of_heads_and_weights_plus_one) {
  for (bool const centred : {true, false})
    for (bool const plus_one : {true, false})
      for (bool const own : {true, false}) {
        auto const of = pack({70, 3});
        rows x = noise_rows(of, 15, "x", 2);
        norm_weights w{noise({{"d", own ? 15ul : 5ul}}, "w"), noise({{"d", 5}}, "b"), 1e-3, plus_one, 3};
        rows const by = noise_rows(of, 15, "by");
        weight_gradient g{tensor(dtype::f64, w.w.shape()), tensor(dtype::f64, w.b.shape())};
        rows const dx = centred ? layer_norm_backward(x, w, by, g) : rms_norm_backward(x, w, by, g);
        auto const loss = [&] { return weighted(centred ? layer_norm(x, w, {}) : rms_norm(x, w, {}), by); };
        expect_gradient("x", all(x), all(dx), loss, 1e-6);
        expect_gradient("w", w.w.values<double>(), g.w.values<double const>(), loss);
        expect_gradient("b", w.b.values<double>(), g.b.values<double const>(), loss);
      }
}

TEST(backward, activations) {
  for (auto const a : {activation::relu, activation::gelu_tanh, activation::gelu_erf, activation::silu, activation::tanh,
                       activation::gelu_quick, activation::relu_squared, activation::identity}) {
    auto const of = pack({41});
    rows x = noise_rows(of, 5, "x", 2);
    rows const by = noise_rows(of, 5, "by");
    rows const dx = activate_backward(x, a, by);
    expect_gradient("x", all(x), all(dx), [&] { return weighted(activate(x, a), by); });
  }
}

TEST(backward, activations_in_float_agree_with_double_far_out_too) {
  for (auto const a : {activation::relu, activation::gelu_tanh, activation::gelu_erf, activation::silu, activation::tanh,
                       activation::gelu_quick, activation::relu_squared}) {
    std::vector<double> at;
    for (double v = -30; v <= 30; v += 0.37) at.push_back(v);
    auto const of = pack({at.size()});
    rows x(of, 1, dtype::f64), x32(of, 1, dtype::f32), one(of, 1, dtype::f64), one32(of, 1, dtype::f32);
    for (std::size_t i = 0; i < at.size(); ++i) {
      x.overwrite<double>()[i] = static_cast<float>(at[i]), x32.overwrite<float>()[i] = static_cast<float>(at[i]);
      one.overwrite<double>()[i] = 1, one32.overwrite<float>()[i] = 1;
    }
    rows const d = activate_backward(x, a, one), d32 = activate_backward(x32, a, one32);
    for (std::size_t i = 0; i < at.size(); ++i)
      EXPECT_NEAR(d32.data<float>()[i], d.data<double>()[i], 2e-6) << static_cast<int>(a) << " at " << at[i];
  }
}

/// The three parts of what attend_backward gives.
std::vector<double> columns_of(rows const& d, std::size_t first, std::size_t width) {
  std::vector<double> out;
  for (std::size_t i = 0; i < d.count(); ++i)
    out.insert(out.end(), d.data<double>() + i * d.width() + first, d.data<double>() + i * d.width() + first + width);
  return out;
}

void expect_attention_gradients(std::vector<std::size_t> const& lengths, std::size_t d_head, attend_options const& how) {
  auto const of = pack(lengths);
  std::size_t const w = how.heads * d_head, narrow = (how.kv_heads ? how.kv_heads : how.heads) * d_head;
  rows q = noise_rows(of, w, "q"), k = noise_rows(of, narrow, "k"), v = noise_rows(of, narrow, "v");
  rows const by = noise_rows(of, w, "by");
  rows const d = attend_backward(q, k, v, how, by);
  ASSERT_EQ(d.width(), w + 2 * narrow);
  auto const loss = [&] { return weighted(attend(q, k, v, how, {}), by); };
  expect_gradient("q", all(q), columns_of(d, 0, w), loss);
  expect_gradient("k", all(k), columns_of(d, w, narrow), loss);
  expect_gradient("v", all(v), columns_of(d, w + narrow, narrow), loss);
}

TEST(backward, attention) {
  for (bool const causal : {true, false}) {
    auto const how = [&](std::size_t heads, std::size_t d_head) {
      return attend_options{heads, 1 / std::sqrt(static_cast<double>(d_head)), causal};
    };
    expect_attention_gradients({1, 5}, 3, how(1, 3));
    expect_attention_gradients({70, 3}, 8, how(2, 8));
    expect_attention_gradients({64, 65, 2}, 5, how(3, 5));
    expect_attention_gradients({130}, 80, how(1, 80));
  }
}

TEST(backward, attention_with_grouped_keys_windows_caps_and_biases) {
  auto const table = noise({{"head", 4}, {"key", 150}}, "by key");
  auto const distances = noise({{"head", 4}, {"distance", 300}}, "by distance");
  position_bias by_key, by_distance;
  by_key.by_key = table;
  by_distance.by_distance = distances, by_distance.origin = 149;
  position_bias const* const biases[] = {nullptr, &by_key, &by_distance};
  std::size_t round = 0;
  for (std::size_t const kv_heads : {1ul, 2ul, 4ul})
    for (std::size_t const window : {0ul, 3ul, 70ul}) {
      attend_options how{4, 0.4, true, biases[(round + round / 3) % 3]};
      how.kv_heads = kv_heads, how.window = window, how.cap = round % 2 ? 1.5 : 0;
      SCOPED_TRACE(testing::Message() << kv_heads << " heads of keys, window " << window << ", cap " << how.cap << ", bias "
                                      << (round + round / 3) % 3);
      expect_attention_gradients({90, 3}, 3, how);
      ++round;
    }
}

TEST(backward, attention_gives_the_gradients_of_its_pairs) {
  auto const of = pack({67, 2});
  rows const q = noise_rows(of, 12, "q"), k = noise_rows(of, 6, "k"), v = noise_rows(of, 6, "v"), by = noise_rows(of, 12, "by");
  position_bias bias;
  bias.full = pairs(of, {67, 2}, 4, dtype::f64);
  random_stream draw(3, "bias");
  auto const each = [&](pairs const& p, auto const& f) {
    for (std::size_t i = 0; i < 2; ++i)
      for (std::size_t j = 0; j < 4 * p.keys(i) * p.packing().length(i); ++j) f(p.head<double>(i, 0)[j]);
  };
  each(bias.full, [&](double& b) { b = draw.normal(); });
  attend_options how{4, 0.5, true, &bias};
  how.kv_heads = 2, how.window = 50;
  for (double const cap : {0.0, 2.0}) {
    how.cap = cap;
    pairs got[3];
    for (auto& p : got) {
      p = bias.full.like();
      each(p, [](double& x) { x = 0; });
    }
    attend_backward(q, k, v, how, by, {&got[0], &got[1], &got[2]});
    // The bias, number by number.
    for (auto const& [head, query, key] : {std::array{0ul, 66ul, 60ul}, std::array{3ul, 66ul, 17ul}, std::array{2ul, 5ul, 5ul}}) {
      double& b = bias.full.head<double>(0, head)[query * 67 + key];
      double const was = b, h = 1e-6;
      b = was + h;
      double const up = weighted(attend(q, k, v, how, {}), by);
      b = was - h;
      double const down = weighted(attend(q, k, v, how, {}), by);
      b = was;
      EXPECT_NEAR(got[2].head<double>(0, head)[query * 67 + key], (up - down) / (2 * h), 1e-8);
      // d pattern = dz . v
      double sum = 0;
      for (std::size_t c = 0; c < 3; ++c)
        sum += by.data<double>()[query * 12 + head * 3 + c] * v.data<double>()[key * 6 + head / 2 * 3 + c];
      EXPECT_NEAR(got[0].head<double>(0, head)[query * 67 + key], sum, 1e-12);
      if (cap == 0) {
        EXPECT_EQ(got[1].head<double>(0, head)[query * 67 + key], got[2].head<double>(0, head)[query * 67 + key]);
      }
    }
    EXPECT_EQ(got[0].head<double>(0, 0)[5 * 67 + 6], 0);    // a later key
    EXPECT_EQ(got[1].head<double>(0, 3)[66 * 67 + 16], 0);  // out of the window
  }
}

TEST(backward, tables) {
  auto const of = pack({4, 3});
  rows const by = noise_rows(of, 70, "by");
  ragged<std::int32_t> tokens;
  tokens.push_back(std::vector<std::int32_t>{1, 4, 1, 0});
  tokens.push_back(std::vector<std::int32_t>{4, 1, 2});
  tensor table = noise({{"token", 6}, {"d", 70}}, "table"), d_table(dtype::f64, table.shape());
  embed_backward(tokens, by, d_table);
  expect_gradient("tokens", table.values<double>(), d_table.values<double const>(),
                  [&] { return weighted(embed(tokens, of, table, dtype::f64), by); });
  tensor places = noise({{"pos", 9}, {"d", 70}}, "places"), d_places(dtype::f64, places.shape());
  embed_positions_backward(by, d_places, 2);
  expect_gradient("positions", places.values<double>(), d_places.values<double const>(),
                  [&] { return weighted(embed_positions(of, places, dtype::f64, 2), by); });
  tokens.values[2] = 6;
  EXPECT_THROW(embed_backward(tokens, by, d_table), data_error);
  EXPECT_THROW(embed_positions_backward(by, d_places, 6), data_error);
}

TEST(backward, cross_entropy_and_its_head) {
  for (bool const in_first : {true, false})
    for (bool const bias : {true, false})
      for (auto const& [d, v, n] : {std::tuple{4ul, 3ul, 5ul}, std::tuple{9ul, 130ul, 40ul}}) {
        auto const of = pack({n});
        rows x = noise_rows(of, d, "x");
        linear_weights head{in_first ? noise({{"in", d}, {"out", v}}, "w") : noise({{"out", v}, {"in", d}}, "w"),
                            bias ? noise({{"out", v}}, "b") : tensor(), in_first};
        std::vector<std::int32_t> targets;
        random_stream draw(1, "targets");
        for (std::size_t i = 0; i < n; ++i)
          targets.push_back(static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(v))));
        targets[1] = -1;
        weight_gradient g{tensor(dtype::f64, head.w.shape()), bias ? tensor(dtype::f64, head.b.shape()) : tensor()};
        auto const r = cross_entropy(x, {head}, targets, 0.25, g);
        EXPECT_EQ(r.count, n - 1);
        double plain = 0;
        rows const logits = linear(x, head);
        for (std::size_t i = 0; i < n; ++i) {
          if (targets[i] < 0) continue;
          double sum = 0;
          for (std::size_t j = 0; j < v; ++j) sum += std::exp(logits.data<double>()[i * v + j]);
          plain += std::log(sum) - logits.data<double>()[i * v + static_cast<std::size_t>(targets[i])];
        }
        EXPECT_NEAR(r.loss, plain, 1e-10 * plain);
        auto const loss = [&] { return 0.25 * cross_entropy(x, {head}, targets, 1, {}, false).loss; };
        expect_gradient("x", all(x), all(r.dx), loss);
        expect_gradient("w", head.w.values<double>(), g.w.values<double const>(), loss);
        if (bias) expect_gradient("b", head.b.values<double>(), g.b.values<double const>(), loss);
        targets[0] = static_cast<std::int32_t>(v);
        EXPECT_THROW(cross_entropy(x, {head}, targets, 1, {}), data_error);
      }
}

TEST(backward, cross_entropy_of_scaled_and_capped_logits) {
  auto const of = pack({30, 4});
  rows x = noise_rows(of, 6, "x");
  logit_head head{{noise({{"out", 17}, {"in", 6}}, "w"), noise({{"out", 17}}, "b"), false}, 1.7, 2.5};
  std::vector<std::int32_t> targets(34);
  for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = i % 5 == 3 ? -1 : static_cast<std::int32_t>(i % 17);
  weight_gradient g{tensor(dtype::f64, head.weights.w.shape()), tensor(dtype::f64, head.weights.b.shape())};
  auto const r = cross_entropy(x, head, targets, 0.5, g);
  // The same of logits that are there.
  rows const logits = capped(scaled(linear(x, head.weights), head.scale), head.cap);
  auto const again = cross_entropy(logits, targets, 0.5);
  EXPECT_EQ(again.loss, r.loss);
  EXPECT_EQ(again.count, r.count);
  rows const dx = linear_backward(x, head.weights, scaled(cap_backward(logits, head.cap, again.dx), head.scale), {});
  for (std::size_t i = 0; i < all(dx).size(); ++i) EXPECT_NEAR(all(dx)[i], all(r.dx)[i], 1e-13);
  auto const loss = [&] { return 0.5 * cross_entropy(x, head, targets, 1, {}, false).loss; };
  expect_gradient("x", all(x), all(r.dx), loss);
  expect_gradient("w", head.weights.w.values<double>(), g.w.values<double const>(), loss);
  expect_gradient("b", head.weights.b.values<double>(), g.b.values<double const>(), loss);
  std::vector<std::int32_t> wrong = targets;
  wrong[1] = 17;
  EXPECT_THROW(cross_entropy(logits, wrong, 1), data_error);
  EXPECT_THROW(cross_entropy(logits, std::vector<std::int32_t>{1}, 1), plugin_error);
}

TEST(backward, rotations_and_caps) {
  rotary r;
  r.turned = 6, r.positions = 64;
  for (bool const pairs : {true, false}) {
    auto const of = pack({9, 40});
    r.pairs = pairs;
    rows const angles = rotary_angles(r, of, dtype::f64);
    rows x = noise_rows(of, 24, "x");
    rows const by = noise_rows(of, 24, "by");
    rows const dx = rotate_backward(by, 3, angles, pairs);
    expect_gradient("x", all(x), all(dx), [&] { return weighted(rotate(x, 3, angles, pairs), by); });
    rows const dc = cap_backward(capped(x, 0.8), 0.8, by);
    expect_gradient("x", all(x), all(dc), [&] { return weighted(capped(x, 0.8), by); });
  }
}

TEST(backward, shapes_that_do_not_fit_are_refused) {
  auto const of = pack({3}), other = pack({4});
  rows const x = noise_rows(of, 4, "x"), y = noise_rows(of, 5, "y"), longer = noise_rows(other, 5, "z");
  linear_weights const w{noise({{"in", 4}, {"out", 5}}, "w")};
  EXPECT_THROW(linear_backward(x, w, longer, {}), plugin_error);
  EXPECT_THROW(linear_backward(x, w, x, {}), plugin_error);
  EXPECT_THROW(linear_backward(y, w, y, {}), plugin_error);
  EXPECT_THROW(linear_backward(x, w, y, {tensor(dtype::f64, {{"n", 19}}), {}}), plugin_error);
  EXPECT_THROW(linear_backward(x, w, y, {tensor(dtype::f32, {{"n", 20}}), {}}), plugin_error);
  EXPECT_THROW(layer_norm_backward(x, {}, y, {}), plugin_error);
  EXPECT_THROW(activate_backward(x, activation::relu, y), plugin_error);
  EXPECT_THROW(attend_backward(x, x, x, {3, 1, true}, x), plugin_error);
  EXPECT_THROW(attend_backward(x, x, y, {2, 1, true}, x), plugin_error);
  EXPECT_THROW(cross_entropy(x, {w}, std::vector<std::int32_t>{0, 1}, 1, {}), plugin_error);
  EXPECT_THROW(embed_positions_backward(x, tensor(dtype::f64, {{"pos", 9}, {"d", 3}})), plugin_error);
}

// ---- whole models ------------------------------------------------------------------------------------------------------------

struct sequences {
  std::vector<std::int32_t> tokens, targets;
  sequences(std::size_t count, std::size_t vocabulary, std::uint64_t seed = 0) {
    random_stream draw(seed, "tokens");
    for (std::size_t i = 0; i < count; ++i) {
      tokens.push_back(static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(vocabulary))));
      targets.push_back(static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(vocabulary))));
    }
  }
};

template <class T>
gpt2_net<T> random_net(net_shape const& s) {
  gpt2_net<T> n(s);
  n.start(5);
  // Norms and biases that are neither 1 nor 0, and weights that make attention choose.
  random_stream draw(3, "shift");
  for (auto const& p : n.parameters())
    for (std::size_t i = 0; i < p.count; ++i) n.values()[p.first + i] += static_cast<T>((p.decays ? 0.2 : 0.1) * draw.normal());
  return n;
}

TEST(gpt2_gradient, whole_models_of_random_shapes) {
  for (std::uint64_t round = 0; round < 10; ++round) {
    random_stream draw(round, "shape");
    net_shape s;
    s.layers = 1 + draw.below(3), s.heads = 1 + draw.below(3), s.d_model = s.heads * (1 + draw.below(9));
    s.d_mlp = 1 + draw.below(40), s.vocabulary = 2 + draw.below(60), s.positions = 3 + draw.below(70);
    s.tied = draw.below(2) == 0;
    s.act = draw.below(2) ? activation::gelu_tanh : activation::gelu_erf;
    std::size_t const length = 1 + draw.below(static_cast<std::uint32_t>(s.positions)), count = 1 + draw.below(3);
    auto n = random_net<double>(s);
    sequences const x(length * count, s.vocabulary, round);
    double const loss = n.learn(x.tokens, x.targets, length);
    EXPECT_NEAR(loss, n.loss(x.tokens, x.targets, length) / static_cast<double>(length * count), 1e-12 * loss);
    std::vector<double> const g(n.gradient().begin(), n.gradient().end());
    for (auto const& p : n.parameters()) {
      auto const values = n.values().subspan(p.first, p.count);
      double largest = 0;
      for (std::size_t i = 0; i < p.count; ++i) largest = std::max(largest, std::abs(g[p.first + i]));
      for (std::size_t i = 0; i < p.count; i += std::max<std::size_t>(1, p.count / 12)) {
        double const was = values[i], h = 1e-5;
        values[i] = was + h;
        double const up = n.loss(x.tokens, x.targets, length);
        values[i] = was - h;
        double const down = n.loss(x.tokens, x.targets, length);
        values[i] = was;
        ASSERT_NEAR(g[p.first + i], (up - down) / (2 * h) / static_cast<double>(length * count), 1e-8 + 1e-6 * largest)
            << p.name << " " << i << " in round " << round;
      }
    }
  }
}

TEST(gpt2_gradient, float_agrees_with_double) {
  net_shape s{2, 4, 64, 256, 300, 96};
  auto exact = random_net<double>(s);
  gpt2_net<float> rounded(s);
  for (std::size_t i = 0; i < exact.values().size(); ++i) {
    rounded.values()[i] = static_cast<float>(exact.values()[i]);
    exact.values()[i] = static_cast<double>(rounded.values()[i]);
  }
  sequences const x(5 * 96, s.vocabulary);
  double const a = exact.learn(x.tokens, x.targets, 96), b = rounded.learn(x.tokens, x.targets, 96);
  EXPECT_NEAR(a, b, 1e-5 * a);
  for (auto const& p : exact.parameters()) {
    double error = 0, size = 0;
    for (std::size_t i = p.first; i < p.first + p.count; ++i) {
      error += std::pow(exact.gradient()[i] - static_cast<double>(rounded.gradient()[i]), 2);
      size += std::pow(exact.gradient()[i], 2);
    }
    EXPECT_LT(std::sqrt(error), 1e-5 * std::sqrt(size) + 1e-9) << p.name;
  }
}

TEST(gpt2_gradient, the_same_bytes_for_any_number_of_threads) {
  net_shape const s{2, 3, 96, 200, 333, 130};
  sequences const x(9 * 130, s.vocabulary);
  std::vector<float> first;
  double loss = 0;
  for (std::size_t const n : {1, 2, 4}) {
    threads const limit(n);
    auto one = random_net<float>(s);
    double const l = one.learn(x.tokens, x.targets, 130);
    if (n == 1) {
      first.assign(one.gradient().begin(), one.gradient().end());
      loss = l;
    }
    EXPECT_EQ(l, loss);
    EXPECT_EQ(std::memcmp(first.data(), one.gradient().data(), first.size() * sizeof(float)), 0) << n << " threads";
  }
}

// ---- optimiser ---------------------------------------------------------------------------------------------------------------

TEST(optimizer, adamw_is_the_formula) {
  std::size_t const n = 70'003;
  std::vector<double> w(n), m(n), v(n), g(n);
  fill(w, "w"), fill(g, "g");
  auto W = w, M = m, V = v;
  adamw_options const how{0.8, 0.95, 1e-6, 0.1};
  for (std::size_t t = 1; t <= 5; ++t) {
    fill(g, "g" + std::to_string(t));
    double const rate = 0.01 * static_cast<double>(t), scale = 0.5;
    adamw_step<double>(w, g, m, v, t, rate, scale, how);
    for (std::size_t i = 0; i < n; ++i) {
      double const d = g[i] * scale;
      W[i] -= rate * how.decay * W[i];
      M[i] = how.beta1 * M[i] + (1 - how.beta1) * d;
      V[i] = how.beta2 * V[i] + (1 - how.beta2) * d * d;
      double const mean = M[i] / (1 - std::pow(how.beta1, t)), square = V[i] / (1 - std::pow(how.beta2, t));
      W[i] -= rate * mean / (std::sqrt(square) + how.epsilon);
    }
  }
  for (std::size_t i = 0; i < n; ++i) ASSERT_NEAR(w[i], W[i], 1e-12) << i;
  EXPECT_THROW(adamw_step<double>(w, std::vector<double>(n - 1), m, v, 1, 1, 1, how), plugin_error);
}

TEST(optimizer, norms_are_the_same_for_any_number_of_threads) {
  std::vector<float> x(100'001);
  random_stream draw(0, "x");
  double sum = 0;
  for (auto& one : x) one = static_cast<float>(draw.normal()), sum += static_cast<double>(one) * one;
  auto const with = [&](std::size_t n) {
    threads const limit(n);
    return norm_of<float>(x);
  };
  double const alone = with(1);
  EXPECT_NEAR(alone, std::sqrt(sum), 1e-5 * std::sqrt(sum));
  EXPECT_EQ(with(4), alone);
}

TEST(optimizer, the_rate_rises_and_falls) {
  learning_rate_course const c{1, 0.1, 10, 110};
  EXPECT_DOUBLE_EQ(c.at(1), 0.1);
  EXPECT_DOUBLE_EQ(c.at(10), 1);
  EXPECT_DOUBLE_EQ(c.at(60), 0.55);
  EXPECT_DOUBLE_EQ(c.at(110), 0.1);
  EXPECT_DOUBLE_EQ(c.at(1000), 0.1);
  learning_rate_course const none{1, 0, 0, 4};
  EXPECT_GT(none.at(1), 0.8);
}

}  // namespace
}  // namespace wayfarer::test
