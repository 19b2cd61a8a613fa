// The shared layers against plain loops in double precision: both layouts of a weight, every activation function, attention of
// every kind, and the promise that a number depends on its own row alone.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/packing.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/rotary.hpp>
#include <wayfarer/taps.hpp>

#include "precisions.hpp"

namespace wayfarer {
namespace {

using test::precisions;
using ::testing::HasSubstr;

std::shared_ptr<row_packing const> packed(std::vector<std::size_t> const& lengths) {
  ragged<std::int32_t> tokens;
  for (auto const n : lengths) tokens.push_back(std::vector<std::int32_t>(n));
  return row_packing::of(tokens);
}

tensor random_tensor(dims shape, std::uint64_t seed, double sd = 1, dtype type = dtype::f32) {
  random_stream draw(seed, "numbers");
  std::vector<float> v(element_count(shape));
  for (auto& x : v) x = static_cast<float>(sd * draw.normal());
  return tensor::of(v, std::move(shape)).to(type);
}

rows random_rows(std::vector<std::size_t> const& lengths, std::size_t width, std::uint64_t seed, dtype precision = dtype::f32,
                 double sd = 1) {
  auto const of = packed(lengths);
  return rows_from(random_tensor({{"token", of->rows()}, {"d", width}}, seed, sd), of, width, precision, "numbers");
}

double at(rows const& x, std::size_t row, std::size_t column) {
  return x.type() == dtype::f64 ? x.data<double>()[row * x.width() + column]
                                : static_cast<double>(x.data<float>()[row * x.width() + column]);
}

/// Rounding to be expected of a sum of k products of unit size.
double slack(dtype precision, std::size_t k) {
  double const unit = precision == dtype::f64 ? 1e-15 : precision == dtype::f32 ? 6e-7 : 2e-2;
  return unit * std::sqrt(static_cast<double>(k)) * 4;
}

TEST(layers, linear_reads_either_layout_and_any_rest) {
  // Around panels of 64, vectors of 16, tiles of 6 and blocks of 384.
  for (auto const precision : precisions())
    for (std::size_t const m : {1, 2, 5, 6, 7, 13, 130})
      for (auto const& [in, out] :
           {std::pair<std::size_t, std::size_t>{1, 1}, {3, 17}, {16, 64}, {31, 65}, {385, 33}, {800, 130}}) {
        auto const x = random_rows({m}, in, m, precision);
        auto const w = random_tensor({{"in", in}, {"out", out}}, 7, 1 / std::sqrt(static_cast<double>(in)));
        auto const b = random_tensor({{"out", out}}, 8);
        auto const turned = w.transposed().clone();
        auto const y = linear(x, {w, b}), z = linear(x, {turned, b, false}), plain = linear(x, {w});
        for (std::size_t r = 0; r < m; ++r)
          for (std::size_t c = 0; c < out; ++c) {
            double sum = 0;
            for (std::size_t k = 0; k < in; ++k) sum += at(x, r, k) * w.get({k, c});
            ASSERT_NEAR(at(plain, r, c), sum, slack(precision, 1) * (1 + std::abs(sum)));
            ASSERT_NEAR(at(y, r, c), sum + b.get({c}), slack(precision, 1) * (1 + std::abs(sum)));
            ASSERT_EQ(at(y, r, c), at(z, r, c)) << "the layouts differ";
          }
      }
}

TEST(layers, a_row_of_a_product_has_the_same_bytes_whatever_rows_are_with_it) {
  for (auto const precision : precisions())
    for (bool const in_first : {true, false}) {
      std::size_t const in = 900, out = 203;
      auto const w = random_tensor(in_first ? dims{{"in", in}, {"out", out}} : dims{{"out", out}, {"in", in}}, 3);
      auto const x = random_rows({97}, in, 4, precision);
      auto const all = linear(x, {w, {}, in_first});
      for (std::size_t const r : {0, 5, 6, 50, 96}) {
        auto const one = linear(rows_from(x.item(0, {{"d", in}}).slice(0, r, r + 1).clone(), packed({1}), in, precision, "x"),
                                {w, {}, in_first});
        for (std::size_t c = 0; c < out; ++c) ASSERT_EQ(at(one, 0, c), at(all, r, c)) << r << " " << c;
      }
    }
}

TEST(layers, few_rows_have_the_bytes_of_many_with_weights_of_every_type) {
  // Few rows read the weights where they lie, many pack them first.
  std::size_t const in = 900, out = 203;
  for (auto const type : {dtype::f32, dtype::f64, dtype::f16, dtype::bf16})
    for (bool const in_first : {true, false}) {
      auto const w = random_tensor(in_first ? dims{{"in", in}, {"out", out}} : dims{{"out", out}, {"in", in}}, 3, 1.0 / 30, type);
      auto const x = random_rows({97}, in, 4);
      auto const all = linear(x, {w, {}, in_first});
      for (std::size_t const r : {0, 96})
        for (std::size_t c = 0; c < out; ++c) {
          double sum = 0;
          for (std::size_t k = 0; k < in; ++k) sum += at(x, r, k) * (in_first ? w.get({k, c}) : w.get({c, k}));
          ASSERT_NEAR(at(all, r, c), sum, slack(dtype::f32, 1) * (1 + std::abs(sum)));
        }
      for (std::size_t const n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 24}) {
        auto const some = linear(rows_from(x.item(0, {{"d", in}}).slice(0, 40, 40 + n).clone(), packed({n}), in, dtype::f32, "x"),
                                 {w, {}, in_first});
        for (std::size_t r = 0; r < n; ++r)
          for (std::size_t c = 0; c < out; ++c) ASSERT_EQ(at(some, r, c), at(all, 40 + r, c)) << n << " " << r << " " << c;
      }
    }
}

TEST(layers, kept_weights_give_the_bytes_of_weights_that_are_read_anew) {
  for (auto const& [in, out] : {std::pair<std::size_t, std::size_t>{3, 17}, {385, 33}, {400, 70}})
    for (auto const type : {dtype::f32, dtype::f64, dtype::f16, dtype::bf16})
      for (bool const in_first : {true, false}) {
        // Part of a larger matrix, as queries, keys and values often are.
        auto const all =
            random_tensor(in_first ? dims{{"in", in}, {"out", out + 9}} : dims{{"out", out + 9}, {"in", in}}, 3, 0.1, type);
        auto const part = [&, last = 5 + out](tensor const& t) { return t.slice(in_first ? 1 : 0, 5, last); };
        auto const bias = random_tensor({{"out", out}}, 5);
        linear_weights const plain{part(all.clone()), bias, in_first}, kept{part(all), bias, in_first};
        auto const handle = keep_packed(kept);
        for (auto const precision : precisions())
          for (std::size_t const m : {1, 9, 9, 9, 8, 1, 2, 3, 5, 70, 128, 129}) {
            auto const x = random_rows({m}, in, m, precision);
            auto const one = linear(x, plain), other = linear(x, kept);
            std::size_t const bytes = m * out * (one.type() == dtype::f64 ? 8 : 4);
            ASSERT_EQ(std::memcmp(one.data<std::byte>(), other.data<std::byte>(), bytes), 0) << m << " " << in << " " << in_first;
          }
      }
}

TEST(layers, weights_are_kept_from_the_second_product_on_by_any_number_of_threads) {
  std::size_t const in = 500, out = 600;
  auto const w = random_tensor({{"in", in}, {"out", out}}, 3);
  auto const x = random_rows({20}, in, 4);
  linear_weights const weights{w, {}, true};
  auto const equal = [&](rows const& a, rows const& b) {
    return std::memcmp(a.data<float>(), b.data<float>(), a.count() * out * sizeof(float)) == 0;
  };
  auto const now = [&] { return linear(x, {w.clone(), {}, true}); };
  auto handle = keep_packed(weights);
  EXPECT_EQ(keep_packed(weights), handle) << "one weight is kept once";
  auto const first = now();
  EXPECT_TRUE(equal(linear(x, weights), first));
  // Weights must not change. Where they do, it shows which numbers are read.
  w.view<float>()(7, 7) += 1;
  auto const second = now();
  ASSERT_FALSE(equal(first, second));
  std::vector<rows> made(16);
  parallel_for(made.size(), [&](std::size_t i) { made[i] = linear(x, weights); });
  for (auto const& y : made) EXPECT_TRUE(equal(y, second));
  w.view<float>()(7, 7) += 1;
  auto const third = now();
  EXPECT_TRUE(equal(linear(x, weights), second));
  auto const few = random_rows({8}, in, 4);
  EXPECT_FALSE(equal(linear(few, weights), linear(few, {w.clone(), {}, true}))) << "few rows read what is kept too";
  handle.reset();
  EXPECT_TRUE(equal(linear(x, weights), third));
}

TEST(layers, few_rows_keep_weights_from_their_tenth_product_on) {
  std::size_t const in = 500, out = 600;
  auto const w = random_tensor({{"in", in}, {"out", out}}, 3);
  linear_weights const weights{w, {}, true};
  auto const handle = keep_packed(weights);
  auto const x = random_rows({1}, in, 4);
  auto const reads_them_as_they_lie = [&] {
    // Weights must not change. Where they do, it shows which numbers are read.
    auto const y = linear(x, weights), z = linear(x, {w.clone(), {}, true});
    return std::memcmp(y.data<float>(), z.data<float>(), out * sizeof(float)) == 0;
  };
  for (int i = 0; i < 9; ++i) {
    w.view<float>()(7, 7) += 1;
    EXPECT_TRUE(reads_them_as_they_lie()) << i;
  }
  EXPECT_TRUE(reads_them_as_they_lie()) << "what is packed now are the same numbers";
  w.view<float>()(7, 7) += 1;
  EXPECT_FALSE(reads_them_as_they_lie());
}

TEST(layers, sixteen_bit_numbers_are_widened_exactly) {
  for (auto const type : {dtype::f16, dtype::bf16}) {
    std::vector<std::uint16_t> bits(1 << 16);
    std::iota(bits.begin(), bits.end(), std::uint16_t{0});
    auto const keep = std::make_shared<std::vector<std::uint16_t> const>(bits);
    auto const table = tensor::look(type, keep->data(), {{"token", 1}, {"d", bits.size()}}, keep);
    ragged<std::int32_t> tokens;
    tokens.push_back(std::vector<std::int32_t>{0});
    auto const x = embed(tokens, row_packing::of(tokens), table, dtype::f32);
    for (std::size_t i = 0; i < bits.size(); ++i) {
      double const expected = table.get({0, i});
      if (std::isnan(expected))
        ASSERT_TRUE(std::isnan(at(x, 0, i))) << i;
      else
        ASSERT_EQ(at(x, 0, i), expected) << i;
    }
  }
}

TEST(layers, weights_of_part_of_a_matrix_are_read_where_they_lie) {
  auto const w = random_tensor({{"in", 40}, {"out", 90}}, 1);
  auto const x = random_rows({9}, 40, 2);
  auto const whole = linear(x, {w}), part = linear(x, {w.slice(1, 30, 60)});
  for (std::size_t r = 0; r < 9; ++r)
    for (std::size_t c = 0; c < 30; ++c) ASSERT_EQ(at(part, r, c), at(whole, r, 30 + c));
}

TEST(layers, activation_functions_are_accurate_over_all_magnitudes) {
  struct known {
    activation act;
    double (*f)(double);
  };
  known const all[] = {{activation::relu, [](double x) { return x > 0 ? x : 0; }},
                       {activation::gelu_tanh,
                        [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
                       {activation::gelu_erf, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }},
                       {activation::silu, [](double x) { return x / (1 + std::exp(-x)); }},
                       {activation::tanh, [](double x) { return std::tanh(x); }},
                       {activation::gelu_quick, [](double x) { return x / (1 + std::exp(-1.702 * x)); }},
                       {activation::relu_squared, [](double x) { return x > 0 ? x * x : 0; }},
                       {activation::identity, [](double x) { return x; }}};
  std::vector<float> xs;
  for (double x = -120; x <= 120; x += 0.0173) xs.push_back(static_cast<float>(x));
  for (double x = 1e-30; x < 1; x *= 3) xs.push_back(static_cast<float>(x)), xs.push_back(static_cast<float>(-x));
  auto const of = packed({xs.size()});
  for (auto const& [act, f] : all)
    for (auto const precision : {dtype::f32, dtype::f64}) {
      auto const y = activate(rows_from(tensor::of(xs, {{"token", xs.size()}, {"d", 1}}), of, 1, precision, "x"), act);
      double const unit = precision == dtype::f64 ? 8e-16 : 3e-7;
      // tanh is 1 less something, so it is as exact as 1 is; the others are as exact as their arguments.
      double const least = act == activation::tanh ? 0.5 : 0;
      for (std::size_t i = 0; i < xs.size(); ++i) {
        double const want = f(xs[i]);
        ASSERT_NEAR(at(y, i, 0), want,
                    unit * std::max({least, std::abs(want), std::min(1.0, std::abs(static_cast<double>(xs[i])))}))
            << static_cast<int>(act) << " of " << xs[i];
      }
    }
}

TEST(layers, activation_functions_pass_nan_on) {
  std::vector<float> const bad(19, std::nanf(""));
  for (auto const act : {activation::relu, activation::gelu_tanh, activation::gelu_erf, activation::silu, activation::tanh,
                         activation::gelu_quick, activation::relu_squared}) {
    auto const y = activate(rows_from(tensor::of(bad, {{"token", 1}, {"d", 19}}), packed({1}), 19, dtype::f32, "x"), act);
    for (std::size_t i = 0; i < 19; ++i) EXPECT_TRUE(std::isnan(at(y, 0, i))) << static_cast<int>(act);
  }
}

TEST(layers, names_of_activation_functions_are_those_of_hugging_face) {
  EXPECT_EQ(activation_of("gelu_new"), activation::gelu_tanh);
  EXPECT_EQ(activation_of("gelu"), activation::gelu_erf);
  EXPECT_EQ(activation_of("relu"), activation::relu);
  EXPECT_EQ(activation_of("swish"), activation::silu);
  EXPECT_THROW(activation_of("gelu_newer"), usage_error);
}

TEST(layers, norms_are_what_they_say) {
  for (auto const precision : {dtype::f32, dtype::f64})
    for (std::size_t const d : {1, 2, 15, 16, 17, 100, 770})
      for (bool const centred : {true, false}) {
        auto const x = random_rows({3, 2}, d, d, precision, 3);
        norm_weights const w{random_tensor({{"d", d}}, 1), centred ? random_tensor({{"d", d}}, 2) : tensor(), 1e-5};
        auto const y = centred ? layer_norm(x, w, {}) : rms_norm(x, w, {});
        for (std::size_t r = 0; r < 5; ++r) {
          double mean = 0, square = 0;
          for (std::size_t c = 0; c < d; ++c) mean += at(x, r, c) / static_cast<double>(d);
          if (!centred) mean = 0;
          for (std::size_t c = 0; c < d; ++c) square += std::pow(at(x, r, c) - mean, 2) / static_cast<double>(d);
          for (std::size_t c = 0; c < d; ++c) {
            double const want = (at(x, r, c) - mean) / std::sqrt(square + 1e-5) * w.w.get({c}) + (centred ? w.b.get({c}) : 0);
            // Of a single centred number nothing is left but rounding, blown up by 1 / sqrt(epsilon).
            ASSERT_NEAR(at(y, r, c), want, (precision == dtype::f64 ? 1e-13 : 4e-6) * (d < 3 ? 30 : 1)) << d;
          }
        }
      }
}

/// Attention written out.
std::vector<double> plain_attention(rows const& q, rows const& k, rows const& v, attend_options const& how,
                                    double bias_by_distance) {
  std::size_t const width = q.width(), dh = width / how.heads;
  std::vector<double> z(q.count() * width);
  for (std::size_t item = 0; item < q.packing().items(); ++item) {
    std::size_t const nq = q.packing().length(item), nk = k.packing().length(item), q0 = q.packing().offsets[item],
                      k0 = k.packing().offsets[item];
    for (std::size_t h = 0; h < how.heads; ++h)
      for (std::size_t i = 0; i < nq; ++i) {
        std::size_t const seen = how.causal ? nk - nq + i + 1 : nk;
        std::vector<double> p(seen);
        double sum = 0;
        for (std::size_t j = 0; j < seen; ++j) {
          double s = 0;
          for (std::size_t c = 0; c < dh; ++c) s += at(q, q0 + i, h * dh + c) * at(k, k0 + j, h * dh + c);
          double const distance = static_cast<double>(j) - static_cast<double>(how.causal ? nk - nq + i : i);
          sum += p[j] = std::exp(how.scale * s + bias_by_distance * distance * static_cast<double>(h + 1));
        }
        for (std::size_t c = 0; c < dh; ++c) {
          double out = 0;
          for (std::size_t j = 0; j < seen; ++j) out += p[j] / sum * at(v, k0 + j, h * dh + c);
          z[(q0 + i) * width + h * dh + c] = out;
        }
      }
  }
  return z;
}

TEST(layers, attention_of_every_kind_is_what_it_says) {
  for (auto const precision : {dtype::f32, dtype::f64})
    for (auto const& [heads, dh] : {std::pair<std::size_t, std::size_t>{1, 1}, {3, 7}, {2, 64}, {2, 70}, {1, 390}})
      for (int const kind : {0, 1, 2, 3}) {  // causal, both ways, cross, causal with bias
        std::vector<std::size_t> const lengths{70, 1, 130, 0, 5}, memory{3, 90, 130, 6, 64};
        std::size_t const width = heads * dh;
        double const spread = 0.5;
        auto const q = random_rows(lengths, width, 1, precision, spread);
        auto const k = random_rows(kind == 2 ? memory : lengths, width, 2, precision, spread),
                   v = random_rows(kind == 2 ? memory : lengths, width, 3, precision);
        attend_options how{heads, 1 / std::sqrt(static_cast<double>(dh)), kind == 0 || kind == 3};
        position_bias bias;
        if (kind == 3) {
          std::vector<float> table(heads * 300);
          for (std::size_t h = 0; h < heads; ++h)
            for (std::size_t i = 0; i < 300; ++i)
              table[h * 300 + i] = 0.125f * (static_cast<float>(i) - 150) * static_cast<float>(h + 1);
          bias.by_distance = tensor::of(table, {{"head", heads}, {"distance", 300}});
          bias.origin = 150;
          how.bias = &bias;
        }
        auto const z = attend(q, k, v, how, {});
        auto const want = plain_attention(q, k, v, how, kind == 3 ? 0.125 : 0);
        for (std::size_t r = 0; r < z.count(); ++r)
          for (std::size_t c = 0; c < width; ++c)
            ASSERT_NEAR(at(z, r, c), want[r * width + c], precision == dtype::f64 ? 1e-13 : 3e-6)
                << heads << " x " << dh << " kind " << kind << " row " << r;
        if (kind == 3) {  // the same bias for every pair gives the same bytes
          position_bias full;
          full.full = expand(bias, q.shared_packing(), lengths, precision);
          how.bias = &full;
          auto const same = attend(q, k, v, how, {});
          for (std::size_t r = 0; r < z.count(); ++r)
            for (std::size_t c = 0; c < width; ++c) ASSERT_EQ(at(same, r, c), at(z, r, c));
        }
      }
}

TEST(layers, norms_of_groups_norm_each_part_of_a_row_alone) {
  for (auto const precision : {dtype::f32, dtype::f64})
    for (bool const own : {false, true})
      for (bool const plus_one : {false, true})
        for (bool const centred : {true, false}) {
          std::size_t const groups = 3, d = 17;
          auto const x = random_rows({3, 2}, groups * d, 5, precision, 2);
          norm_weights w{random_tensor({{"d", own ? groups * d : d}}, 1), {}, 1e-3};
          w.groups = groups, w.plus_one = plus_one;
          auto const y = centred ? layer_norm(x, w, {}) : rms_norm(x, w, {});
          for (std::size_t r = 0; r < 5; ++r)
            for (std::size_t g = 0; g < groups; ++g) {
              double mean = 0, square = 0;
              for (std::size_t c = 0; c < d && centred; ++c) mean += at(x, r, g * d + c) / static_cast<double>(d);
              for (std::size_t c = 0; c < d; ++c) square += std::pow(at(x, r, g * d + c) - mean, 2) / static_cast<double>(d);
              for (std::size_t c = 0; c < d; ++c) {
                double const weight = w.w.get({own ? g * d + c : c}) + (plus_one ? 1 : 0);
                ASSERT_NEAR(at(y, r, g * d + c), (at(x, r, g * d + c) - mean) / std::sqrt(square + 1e-3) * weight,
                            precision == dtype::f64 ? 1e-13 : 4e-6);
              }
            }
        }
}

TEST(layers, grouped_keys_windows_caps_and_biases_of_keys_are_what_they_say) {
  for (auto const precision : {dtype::f32, dtype::f64})
    for (std::size_t const window : {0, 1, 5, 64, 400})
      for (double const cap : {0.0, 0.7})
        for (bool const biased : {false, true})
          for (bool const one_row : {false, true}) {
            std::size_t const heads = 6, kv = 2, dh = 9;
            std::vector<std::size_t> const keys{70, 1, 460, 5},
                queries = one_row ? std::vector<std::size_t>{1, 1, 1, 1} : std::vector<std::size_t>{70, 1, 450, 3};
            auto of = std::make_shared<row_packing>(*packed(queries));
            for (std::size_t i = 0; i < keys.size(); ++i) of->first_position[i] = keys[i] - queries[i];
            auto const q =
                rows_from(random_tensor({{"t", of->rows()}, {"d", heads * dh}}, 1, 0.6), of, heads * dh, precision, "q");
            auto const k = random_rows(keys, kv * dh, 2, precision, 0.6), v = random_rows(keys, kv * dh, 3, precision);
            attend_options how{heads, 0.5, true};
            how.kv_heads = kv, how.window = window, how.cap = cap;
            position_bias bias;
            bias.by_key = random_tensor({{"head", heads}, {"key", 460}}, 4);
            if (biased) how.bias = &bias;
            auto const z = attend(q, k, v, how, {});
            for (std::size_t item = 0; item < keys.size(); ++item)
              for (std::size_t i = 0; i < queries[item]; i += 1 + i / 8)
                for (std::size_t h = 0; h < heads; ++h) {
                  std::size_t const end = keys[item] - queries[item] + i + 1, from = window && end > window ? end - window : 0;
                  std::size_t const row = of->offsets[item] + i, first = k.packing().offsets[item], shared = h / (heads / kv);
                  std::vector<double> p;
                  double sum = 0;
                  for (std::size_t j = from; j < end; ++j) {
                    double s = 0;
                    for (std::size_t c = 0; c < dh; ++c) s += at(q, row, h * dh + c) * at(k, first + j, shared * dh + c);
                    s = s * 0.5 + (biased ? bias.by_key.get({h, j}) : 0);
                    if (cap > 0) s = cap * std::tanh(s / cap);
                    p.push_back(std::exp(s)), sum += p.back();
                  }
                  for (std::size_t c = 0; c < dh; ++c) {
                    double want = 0;
                    for (std::size_t j = from; j < end; ++j) want += p[j - from] / sum * at(v, first + j, shared * dh + c);
                    ASSERT_NEAR(at(z, row, h * dh + c), want, precision == dtype::f64 ? 1e-13 : 4e-6) << window << " " << cap;
                  }
                }
          }
}

TEST(layers, rotation_turns_each_plane_by_its_position) {
  for (auto const precision : {dtype::f32, dtype::f64})
    for (bool const pairs : {false, true})
      for (std::size_t const turned : {2, 8, 34, 40}) {
        std::size_t const heads = 3, d = 40;
        auto of = std::make_shared<row_packing>(*packed({4, 7}));
        of->first_position = {0, 100};
        auto const x = rows_from(random_tensor({{"t", 11}, {"d", heads * d}}, 1), of, heads * d, precision, "x");
        rotary r;
        r.turned = turned, r.theta = 500, r.positions = 200;
        auto const y = rotate(x, heads, rotary_angles(r, of, precision), pairs);
        for (std::size_t row = 0; row < 11; ++row)
          for (std::size_t h = 0; h < heads; ++h) {
            double const position = static_cast<double>(row < 4 ? row : 100 + row - 4);
            for (std::size_t j = 0; j < turned / 2; ++j) {
              double const angle = position * std::pow(500.0, -2.0 * static_cast<double>(j) / static_cast<double>(turned));
              std::size_t const a = h * d + (pairs ? 2 * j : j), b = h * d + (pairs ? 2 * j + 1 : j + turned / 2);
              // Angles are float32, so that they are off by half a unit of 100 radians.
              ASSERT_NEAR(at(y, row, a), at(x, row, a) * std::cos(angle) - at(x, row, b) * std::sin(angle), 6e-5);
              ASSERT_NEAR(at(y, row, b), at(x, row, b) * std::cos(angle) + at(x, row, a) * std::sin(angle), 6e-5);
            }
            for (std::size_t j = turned; j < d; ++j) ASSERT_EQ(at(y, row, h * d + j), at(x, row, h * d + j));
          }
      }
}

TEST(layers, scaled_rotary_frequencies_are_those_that_are_published) {
  // Head of 128, theta 10,000, 2,048 positions stretched tenfold: planes 0, 16, 31, 35, 40, 63 of llama3 and of yarn.
  rotary r;
  r.turned = 128, r.positions = 20'480, r.original = 2048, r.factor = 10;
  std::size_t const planes[] = {0, 16, 31, 35, 40, 63};
  auto const expect = [&](std::vector<double> const& want) {
    auto const f = r.frequencies(100);
    ASSERT_EQ(f.size(), 64u);
    for (std::size_t i = 0; i < std::size(planes); ++i)
      EXPECT_NEAR(static_cast<double>(f[planes[i]]), want[i], 1e-4 * want[i]) << planes[i];
  };
  r.kind = rotary_scaling::llama3;
  expect({1.0, 0.1, 0.01073, 0.0028248, 0.00034539, 1.1548e-05});
  EXPECT_EQ(r.scale(), 1.0f);
  r.kind = rotary_scaling::yarn;
  expect({1.0, 0.1, 0.005312, 0.002052, 0.00043007, 1.1548e-05});
  EXPECT_NEAR(static_cast<double>(r.scale()), 1.2302585, 1e-6);
  r.kind = rotary_scaling::linear;
  expect({0.1, 0.01, std::pow(1e4, -31.0 / 64) / 10, std::pow(1e4, -35.0 / 64) / 10, std::pow(1e4, -40.0 / 64) / 10, 1.1548e-05});
  r.kind = rotary_scaling::dynamic, r.positions = 2048;
  EXPECT_TRUE(r.same(5, 2048));
  EXPECT_FALSE(r.same(2048, 2049));
  EXPECT_NEAR(static_cast<double>(r.frequencies(2048)[63]), 1.1548e-04, 1e-8);
  double const theta = 1e4 * std::pow(10.0 * 4096 / 2048 - 9, 128.0 / 126);
  EXPECT_NEAR(static_cast<double>(r.frequencies(4096)[63]), std::pow(theta, -126.0 / 128), 1e-9);
  r.kind = rotary_scaling::longrope, r.turned = 4, r.positions = 8192, r.short_by = {1, 2}, r.long_by = {3, 5};
  EXPECT_FALSE(r.same(2048, 2049));
  EXPECT_NEAR(static_cast<double>(r.frequencies(2048)[1]), 0.01 / 2, 1e-8);
  EXPECT_NEAR(static_cast<double>(r.frequencies(2049)[1]), 0.01 / 5, 1e-8);
  EXPECT_NEAR(static_cast<double>(r.scale()), std::sqrt(1 + std::log(4.0) / std::log(2048.0)), 1e-6);
}

TEST(layers, a_soft_cap_is_as_exact_near_zero_as_far_from_it) {
  for (auto const precision : {dtype::f32, dtype::f64}) {
    std::vector<double> const values{1e-6, 0.003, 0.02, 0.5, 0.624, 0.626, 1, 4, 30, -0.3, -700};
    auto const x = rows_from(tensor::of(values, {{"t", 1}, {"d", values.size()}}), packed({1}), values.size(), precision, "x");
    auto const y = capped(x, 1);
    for (std::size_t i = 0; i < values.size(); ++i)
      EXPECT_NEAR(at(y, 0, i) / std::tanh(values[i]), 1, precision == dtype::f64 ? 1e-15 : 4e-7) << values[i];
  }
}

TEST(layers, attention_over_kept_keys_has_the_bytes_of_attention_over_all) {
  std::size_t const width = 24;
  auto const q = random_rows({200}, width, 1), k = random_rows({200}, width, 2), v = random_rows({200}, width, 3);
  attend_options const how{3, 0.3, true};
  auto const whole = attend(q, k, v, how, {});
  key_values past(1, width, dtype::f32);
  auto const part = [&](rows const& x, std::size_t first, std::size_t last) {
    return rows_from(x.item(0, {{"d", width}}).slice(0, first, last).clone(), packed({last - first}), width, dtype::f32, "x");
  };
  std::size_t const cuts[] = {0, 1, 63, 64, 65, 128, 199, 200};
  for (std::size_t c = 0; c + 1 < std::size(cuts); ++c) {
    past.append(part(k, cuts[c], cuts[c + 1]), part(v, cuts[c], cuts[c + 1]));
    auto const z = attend(part(q, cuts[c], cuts[c + 1]), past, how, {});
    for (std::size_t r = cuts[c]; r < cuts[c + 1]; ++r)
      for (std::size_t i = 0; i < width; ++i) ASSERT_EQ(at(z, r - cuts[c], i), at(whole, r, i)) << r;
  }
  past.shorten(0, 65);
  EXPECT_EQ(past.length(0), 65u);
  past.append(part(k, 65, 70), part(v, 65, 70));
  auto const z = attend(part(q, 65, 70), past, how, {});
  for (std::size_t i = 0; i < width; ++i) ASSERT_EQ(at(z, 4, i), at(whole, 69, i));
}

TEST(layers, rows_that_are_held_elsewhere_are_not_written_to) {
  auto x = random_rows({4}, 10, 1);
  auto const before = x;
  auto const y = random_rows({4}, 10, 2);
  x += y;
  for (std::size_t r = 0; r < 4; ++r)
    for (std::size_t c = 0; c < 10; ++c) {
      EXPECT_EQ(at(x, r, c), static_cast<float>(at(before, r, c) + at(y, r, c)));
      EXPECT_NE(at(x, r, c), at(before, r, c));
    }
  auto const* const place = x.data<float>();
  x += y;
  EXPECT_EQ(x.data<float>(), place) << "nobody else holds these";
  auto const twice = scaled(x, 2);
  EXPECT_NE(at(twice, 0, 0), at(x, 0, 0));
}

TEST(layers, taps_narrow_by_part_and_capture_what_was_asked_for) {
  model_info info;
  info.architecture = "toy";
  for (std::string const name : {"blocks.1.hook_a", "blocks.1.in.hook_a", "blocks.10.hook_a", "blocks.2.hook_a", "hook_a"})
    info.hooks.push_back({name, {{"d", 3}}});
  run_request request;
  request.capture = hook_set({"blocks.1.in.hook_a", "blocks.10.hook_a"});
  taps at_(info, request);
  EXPECT_TRUE(at_.block("blocks", 1).any());
  EXPECT_FALSE(at_.block("blocks", 1).wants("hook_a"));
  EXPECT_TRUE(at_.block("blocks", 1).in("in").wants("hook_a"));
  EXPECT_TRUE(at_.block("blocks", 10).wants("hook_a"));
  EXPECT_FALSE(at_.block("blocks", 2).any());
  EXPECT_FALSE(at_.wants("hook_a"));
  EXPECT_FALSE(at_.done());
  at_.block("blocks", 10)("hook_a", random_rows({2, 1}, 3, 1));
  EXPECT_FALSE(at_.done());
  EXPECT_THROW(at_.block("blocks", 1).in("in")("hook_a", random_rows({2}, 4, 1)), plugin_error);
  try {
    at_.take();
    ADD_FAILURE();
  } catch (plugin_error const& e) {
    EXPECT_THAT(e.what(), HasSubstr("'blocks.1.in.hook_a' was asked for and not reached"));
  }
}

TEST(layers, shapes_that_do_not_fit_are_refused) {
  auto const x = random_rows({4}, 10, 1);
  EXPECT_THROW(linear(x, {random_tensor({{"in", 11}, {"out", 2}}, 1)}), plugin_error);
  EXPECT_THROW(linear(x, {random_tensor({{"in", 10}, {"out", 2}}, 1), random_tensor({{"out", 3}}, 1)}), plugin_error);
  EXPECT_THROW(layer_norm(x, {random_tensor({{"d", 9}}, 1)}, {}), plugin_error);
  EXPECT_THROW(attend(x, x, x, {3, 1, false}, {}), plugin_error);
  EXPECT_THROW(attend(x, random_rows({3}, 10, 1), random_rows({3}, 10, 1), {2, 1, true}, {}), plugin_error);
  EXPECT_THROW(rows_from(random_tensor({{"a", 3}, {"b", 10}}, 1), packed({4}), 10, dtype::f32, "x"), plugin_error);
}

}  // namespace
}  // namespace wayfarer
