// linear_probe on vectors in which a class is planted or is not, and against ridge regression worked out here.
#include <cmath>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <Eigen/Dense>

#include <wayfarer/error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/testing.hpp>

#include "golden_models.hpp"

namespace wf = wayfarer;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

using settings = std::initializer_list<std::pair<char const*, wf::param_value::storage>>;
using items = std::vector<std::vector<std::int32_t>>;
/// The vector at a position of an item.
using vector_at = std::function<std::vector<double>(std::span<std::int32_t const> tokens, std::size_t p)>;

constexpr std::size_t width = 12;
constexpr std::int32_t vocabulary = 8;

wf::testing::fixed_model model_of(vector_at const& vector) {
  wf::model_info info;
  info.architecture = "planted", info.layers = 1, info.d_model = width, info.vocabulary = vocabulary;
  info.hooks.push_back({"blocks.0.hook_resid_post", {{"d_model", width}}});
  return {info, [vector](std::string_view, std::span<std::int32_t const> tokens) {
            wf::tensor const t(wf::dtype::f64, {{"pos", tokens.size()}, {"d_model", width}});
            for (std::size_t p = 0; p < tokens.size(); ++p) {
              auto const x = vector(tokens, p);
              std::copy(x.begin(), x.end(), t.view<double>().row(p).begin());
            }
            return t;
          }};
}

/// Noise that depends on the text and the position alone.
std::vector<double> noise(std::span<std::int32_t const> tokens, std::size_t p, double deviation) {
  std::uint64_t text = p;
  for (auto const t : tokens) text = text * 31 + static_cast<std::uint64_t>(t) + 1;
  wf::random_stream draw(5, "noise", text);
  std::vector<double> x(width);
  for (double& v : x) v = deviation * draw.normal();
  return x;
}

items random_items(std::size_t count, std::size_t length, std::uint64_t seed) {
  items all(count);
  wf::random_stream draw(seed, "items");
  for (auto& item : all)
    for (std::size_t p = 0; p < length; ++p) item.push_back(static_cast<std::int32_t>(draw.below(vocabulary)));
  return all;
}

wf::results measure(settings given, vector_at const& vector, wf::source const& s, std::size_t block = 7) {
  auto const m = model_of(vector);
  return wf::testing::measure(*wf::testing::make_plugin<wf::probe>(given), &m, s, block);
}
double number(wf::results const& r, std::string const& name) {
  return r.at(name).values()(std::size_t{0});
}

/// The token before, in the first coordinates.
std::vector<double> before(std::span<std::int32_t const> tokens, std::size_t p) {
  auto x = noise(tokens, p, 0.1);
  if (p > 0) x[static_cast<std::size_t>(tokens[p - 1])] += 1;
  return x;
}

TEST(linear_probe, reads_what_is_planted_and_not_the_control) {
  auto const all = random_items(200, 20, 1);
  auto const r = measure({{"offset", std::int64_t{-1}}}, before, wf::testing::fixed_source(all));
  EXPECT_GT(number(r, "accuracy"), 0.99);
  // Eight tokens have few classes at random, so a constant answer does well on the control; no more than that is read.
  EXPECT_LT(number(r, "control_accuracy"), r.at("control_majority").scalar() + 0.03) << "the vector does not hold its own token";
  EXPECT_DOUBLE_EQ(number(r, "selectivity"), number(r, "accuracy") - number(r, "control_accuracy"));
  EXPECT_GT(number(r, "selectivity"), 0.3);
  EXPECT_LT(number(r, "selectivity_standard_error"), 0.02);
  EXPECT_NEAR(r.at("majority").scalar(), 0.125, 0.03);
}

TEST(linear_probe, of_the_own_token_is_no_more_than_its_control) {
  auto const own = [](std::span<std::int32_t const> tokens, std::size_t p) {
    auto x = noise(tokens, p, 0.1);
    x[static_cast<std::size_t>(tokens[p])] += 1;
    return x;
  };
  auto const r = measure({}, own, wf::testing::fixed_source(random_items(200, 20, 2)));
  EXPECT_GT(number(r, "accuracy"), 0.99);
  EXPECT_GT(number(r, "control_accuracy"), 0.99) << "8 tokens are learned by heart";
  EXPECT_NEAR(number(r, "selectivity"), 0, 0.01);
}

TEST(linear_probe, finds_nothing_in_noise) {
  auto const none = [](std::span<std::int32_t const> tokens, std::size_t p) { return noise(tokens, p, 1); };
  auto const r = measure({{"offset", std::int64_t{1}}}, none, wf::testing::fixed_source(random_items(300, 20, 3)));
  EXPECT_NEAR(number(r, "accuracy"), 0.125, 4 * number(r, "accuracy_standard_error"));
  EXPECT_LT(number(r, "control_accuracy"), r.at("control_majority").scalar() + 0.03);
}

/// Items with a label, which is the source's truth.
struct labelled final : wf::source {
  explicit labelled(items all) : all_(std::move(all)) { info_.items = all_.size(), info_.has_tokens = true, info_.longest = 20; }
  wf::source_info const& info() const override { return info_; }
  static std::int32_t label(std::vector<std::int32_t> const& item) { return item[0] % 3; }
  wf::item_block read(wf::item_range r) const override {
    wf::item_block b;
    b.first = r.first, b.count = r.size();
    std::vector<std::int32_t> labels;
    for (std::size_t i = r.first; i < r.last; ++i) b.tokens.push_back(all_[i]), labels.push_back(label(all_[i]));
    b.truth["kind"] = wf::tensor::of(labels, {{"item", labels.size()}});
    return b;
  }
  items all_;
  wf::source_info info_;
};

TEST(linear_probe, reads_labels_of_items) {
  auto const topic = [](std::span<std::int32_t const> tokens, std::size_t p) {
    auto x = noise(tokens, p, 0.2);
    x[static_cast<std::size_t>(tokens[0] % 3)] += 1;
    return x;
  };
  labelled const source(random_items(150, 20, 4));
  auto const r = measure({{"truth", std::string("kind")}, {"classes", std::int64_t{3}}}, topic, source);
  EXPECT_GT(number(r, "accuracy"), 0.99);
  EXPECT_LT(number(r, "control_accuracy"), r.at("control_majority").scalar() + 0.05);
  EXPECT_THAT(
      [&] {
        measure({{"truth", std::string("kinds")}}, topic, source);
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("did you mean 'kind'?")));
  EXPECT_THAT(
      [&] {
        measure({{"truth", std::string("kind")}, {"classes", std::int64_t{2}}}, topic, source);
      },
      ThrowsMessage<wf::data_error>(HasSubstr("not one of 2 classes")));
}

TEST(linear_probe, equals_ridge_regression_by_its_normal_equations) {
  auto const blurred = [](std::span<std::int32_t const> tokens, std::size_t p) {
    auto x = noise(tokens, p, 0.6);
    if (p > 0) x[static_cast<std::size_t>(tokens[p - 1])] += 1;
    x[9] += 3;
    return x;
  };
  auto const all = random_items(60, 15, 5);
  double const ridge = 0.1;
  auto const r = measure({{"offset", std::int64_t{-1}}, {"ridge", ridge}, {"sample", std::int64_t{50'000}}}, blurred,
                         wf::testing::fixed_source(all));
  // The split is the probe's own rule; everything else is done with augmented columns here.
  std::vector<Eigen::VectorXd> train, test;
  std::vector<std::int32_t> train_class, test_class;
  for (std::size_t i = 0; i < all.size(); ++i) {
    bool const tested = wf::random_stream(0, "linear_probe split", i).uniform() >= 0.7;
    for (std::size_t p = 1; p < all[i].size(); ++p) {
      auto const x = blurred(all[i], p);
      (tested ? test : train).push_back(Eigen::Map<Eigen::VectorXd const>(x.data(), width));
      (tested ? test_class : train_class).push_back(all[i][p - 1]);
    }
  }
  auto const n = static_cast<Eigen::Index>(train.size());
  Eigen::MatrixXd x(n, width), y = Eigen::MatrixXd::Zero(n, vocabulary);
  for (Eigen::Index k = 0; k < n; ++k) {
    x.row(k) = train[static_cast<std::size_t>(k)];
    y(k, train_class[static_cast<std::size_t>(k)]) = 1;
  }
  Eigen::RowVectorXd const mean = x.colwise().mean();
  double const variance = (x.rowwise() - mean).squaredNorm() / static_cast<double>(n) / width;
  // Least squares of [x 1; sqrt(n ridge v) I 0] on [y; 0]: the intercept is not held back.
  Eigen::MatrixXd a = Eigen::MatrixXd::Zero(n + static_cast<Eigen::Index>(width), width + 1),
                  b = Eigen::MatrixXd::Zero(a.rows(), vocabulary);
  a.topLeftCorner(n, width) = x, a.col(width).head(n).setOnes(), b.topRows(n) = y;
  a.bottomLeftCorner(width, width).diagonal().setConstant(std::sqrt(static_cast<double>(n) * ridge * variance));
  Eigen::MatrixXd const weights = a.colPivHouseholderQr().solve(b);
  double right = 0;
  for (std::size_t k = 0; k < test.size(); ++k) {
    Eigen::RowVectorXd one(width + 1);
    one << test[k].transpose(), 1;
    Eigen::Index best = 0;
    (one * weights).maxCoeff(&best);
    right += best == test_class[k];
  }
  EXPECT_EQ(r.at("train_vectors").scalar(), static_cast<double>(n));
  EXPECT_EQ(r.at("test_vectors").scalar(), static_cast<double>(test.size()));
  EXPECT_NEAR(number(r, "accuracy"), right / static_cast<double>(test.size()), 1e-12);
  EXPECT_GT(number(r, "accuracy"), 0.4);
  EXPECT_LT(number(r, "accuracy"), 0.99) << "else a wrong map would do as well";
}

TEST(linear_probe, is_the_same_for_any_block_and_number_of_threads) {
  auto const all = random_items(40, 12, 6);
  auto const accuracy = [&](std::size_t block, int threads) {
    auto const r = wf::test::on_threads(threads, [&] {
      return measure({{"offset", std::int64_t{-1}}, {"sample", std::int64_t{60}}}, before, wf::testing::fixed_source(all), block);
    });
    return std::vector<double>{number(r, "accuracy"), number(r, "control_accuracy"), number(r, "selectivity_standard_error"),
                               r.at("majority").scalar(), r.at("train_vectors").scalar()};
  };
  auto const one = accuracy(1, 1);
  for (std::size_t const block : {3, 40})
    for (int const threads : {1, 4}) EXPECT_EQ(accuracy(block, threads), one) << block;
}

TEST(linear_probe, refuses_what_leaves_no_test) {
  EXPECT_THAT(
      [] {
        measure({}, before, wf::testing::fixed_source(items{{1, 2}}));
      },
      ThrowsMessage<wf::data_error>(HasSubstr("give more items")));
}

}  // namespace
