// The metrics of the topic paper, and the numerical optimum that the theorem on W^V is held against.
#include <cmath>
#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/probe.hpp>

#include "run_plugins.hpp"

namespace wf = wayfarer;
using wf::test::make;
using settings = wf::test::values;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

wf::tensor matrix(std::vector<double> const& values, std::size_t columns) {
  return wf::tensor::of(values, {{"row", values.size() / columns}, {"column", columns}});
}

wf::results measure(std::string const& id, settings const& given, wf::metric_input const& in = {}) {
  wf::results out;
  make<wf::metric>(id, given)->measure(in, out);
  return out;
}

double number(wf::results const& r, std::string_view name) {
  return r.at(name).scalar();
}

// ---- group_contrast
// ------------------------------------------------------------------------------------------------------------

TEST(group_contrast, compares_the_diagonal_of_a_matrix_with_the_rest) {
  wf::dataset const blocks(matrix({4, 1, 2, 1, 6, 3, 2, 3, 8}, 3));
  wf::metric_input in;
  in.put("of", "structure", nullptr, &blocks);
  auto const out = measure("group_contrast", {}, in);
  EXPECT_DOUBLE_EQ(number(out, "same"), 6);
  EXPECT_DOUBLE_EQ(number(out, "different"), 2);
  EXPECT_DOUBLE_EQ(number(out, "difference"), 4);
  EXPECT_DOUBLE_EQ(number(out, "ratio"), 3);
  // Variances 4 and 0.8 over 3 and 6 entries.
  EXPECT_NEAR(number(out, "difference_standard_error"), std::sqrt(4.0 / 3 + 0.8 / 6), 1e-14);
  EXPECT_NEAR(number(out, "ratio_standard_error"), 3 * std::sqrt(4.0 / 3 / 36 + 0.8 / 6 / 4), 1e-14);
}

TEST(group_contrast, compares_two_datasets_of_a_node) {
  wf::results node;
  node.add("own", 3.0);
  node.add("other", 2.0);
  wf::metric_input in;
  in.put("of", "attention", &node, nullptr);
  auto const out = measure("group_contrast", {{"same", std::string("own")}, {"different", std::string("other")}}, in);
  EXPECT_DOUBLE_EQ(number(out, "ratio"), 1.5);
  EXPECT_EQ(out.find("ratio_standard_error"), nullptr) << "one number has no standard error";
  EXPECT_THAT(
      [&] {
        measure("group_contrast", {{"same", std::string("own")}, {"different", std::string("othr")}}, in);
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("did you mean 'other'?")));
}

TEST(group_contrast, refuses_what_has_no_groups) {
  wf::dataset const row(matrix({1, 2, 3}, 3));
  wf::metric_input in;
  in.put("of", "x", nullptr, &row);
  EXPECT_THAT([&] { measure("group_contrast", {}, in); }, ThrowsMessage<wf::usage_error>(HasSubstr("row 1 x column 3")));
  EXPECT_THROW(measure("group_contrast", {{"same", std::string("a")}}, in), wf::usage_error);
}

// ---- closed_form: the theorem on W^V
// -------------------------------------------------------------------------------------------

settings setting(std::int64_t topics, std::int64_t words, std::int64_t tau, double p_m = 0.15, double p_c = 0.1,
                 double p_r = 0.1) {
  return {{"topics", topics}, {"words_per_topic", words}, {"topics_per_document", tau}, {"p_m", p_m}, {"p_c", p_c}, {"p_r", p_r}};
}

settings with(settings s, std::string name, wf::param_value::storage value) {
  s.insert_or_assign(std::move(name), std::move(value));
  return s;
}

TEST(closed_form, gives_the_three_constants) {
  struct {
    settings at;
    double m, s, d, within;
  } const rows[] = {{setting(10, 10, 4), 0.0541907514, 0.1080202312, -0.0075867052, 1e-10},
                    {setting(10, 10, 2), 0.0541907514, 0.1080202312, -0.0075867052, 1e-10},
                    {setting(20, 5, 4), 0.05419, 0.22363, -0.00759, 5e-6},
                    {setting(100, 10, 4), 0.00791, 0.11451, -0.00110, 5e-6},
                    {setting(10, 10, 4, 0.15, 0.2), 0.05516, 0.10697, -0.00666, 5e-6},
                    {setting(10, 10, 4, 0.3), 0.03787, 0.12449, -0.01250, 5e-6}};
  for (auto const& row : rows) {
    auto const out = measure("closed_form", row.at);
    EXPECT_NEAR(number(out, "mask_weight"), row.m, row.within);
    EXPECT_NEAR(number(out, "same_topic"), row.s, row.within);
    EXPECT_NEAR(number(out, "other_topic"), row.d, row.within);
  }
}

TEST(closed_form, gives_the_constants_under_a_penalty) {
  struct {
    double l2, m, s, d;
  } const rows[] = {{1e-2, 0.0373320, 0.0142740, 0.0014559},
                    {1e-3, 0.0518494, 0.0615449, -0.0026136},
                    {1e-4, 0.0539471, 0.1002783, -0.0067463},
                    {1e-6, 0.0541883, 0.1079367, -0.0075776}};
  for (auto const& row : rows) {
    auto const out = measure("closed_form", with(setting(10, 10, 4), "l2", row.l2));
    EXPECT_NEAR(number(out, "mask_weight"), row.m, 2e-7);
    EXPECT_NEAR(number(out, "same_topic"), row.s, 2e-7);
    EXPECT_NEAR(number(out, "other_topic"), row.d, 2e-7);
  }
}

TEST(closed_form, gives_the_contrast_and_the_floor) {
  EXPECT_NEAR(number(measure("closed_form", setting(10, 10, 4)), "topic_sum_contrast"), 1.156069364, 1e-9);
  EXPECT_NEAR(number(measure("closed_form", setting(10, 10, 4)), "irreducible_loss"), 0.975, 1e-15);
  auto const excluded = measure("closed_form", with(setting(10, 10, 4), "masked_keys", std::string("excluded")));
  EXPECT_NEAR(number(excluded, "topic_sum_contrast"), 1, 1e-15);
  EXPECT_NEAR(number(excluded, "same_topic"), 0.1, 1e-15);
  EXPECT_NEAR(number(excluded, "other_topic"), 0, 1e-15);
  EXPECT_EQ(excluded.find("own_topic_ratio"), nullptr) << "the theorem on attention has masked tokens attended to";
}

/// The value matrix that topic_theory finds with every entry free.
wf::results population(settings const& given) {
  auto const probe = make<wf::probe>("topic_theory", given);
  wf::results out;
  probe->finish(wf::accumulator(0), out, wf::probe_context(nullptr, nullptr, {}, 0));
  return out;
}

wf::results compare(wf::results const& trained, settings const& given) {
  wf::metric_input in;
  in.put("of", "population", &trained, &trained.at("value"));
  return measure("closed_form", given, in);
}

TEST(closed_form, is_where_gradient_descent_from_zero_ends) {
  for (auto const& at : {setting(10, 10, 4), setting(20, 5, 4), setting(10, 10, 2, 0.3, 0.2, 0.1)}) {
    auto const trained = population(with(with(at, "solver", std::string("gradient_descent")), "l2", 0.0));
    auto const out = compare(trained, at);
    EXPECT_LT(number(out, "deviation"), 1e-5);
    EXPECT_LT(number(out, "mask_deviation"), 1e-5);
    EXPECT_LT(std::abs(number(out, "topic_sum_deviation")), 1e-5);
    EXPECT_LT(number(out, "topic_sum_deviation_max"), 1e-5);
    EXPECT_NEAR(number(trained, "loss"), number(out, "irreducible_loss"), 1e-9);
  }
}

TEST(closed_form, is_where_the_normal_equations_end) {
  for (auto const& at : {setting(10, 10, 4), setting(10, 10, 8), setting(20, 5, 4)}) {
    auto const out = compare(population(at), at);
    EXPECT_LT(number(out, "deviation"), 1e-5);
    EXPECT_LT(number(out, "mask_deviation"), 1e-5);
  }
  auto const penalised = with(setting(10, 10, 4), "l2", 1e-3);
  EXPECT_LT(number(compare(population(penalised), penalised), "deviation"), 1e-12);
  EXPECT_GT(number(compare(population(penalised), setting(10, 10, 4)), "deviation"), 1e-2) << "a penalty moves the optimum";
  auto const excluded = with(setting(10, 10, 4), "masked_keys", std::string("excluded"));
  EXPECT_LT(number(compare(population(excluded), excluded), "deviation"), 1e-5);
}

TEST(closed_form, says_how_far_a_matrix_is_away) {
  auto trained = population(setting(10, 10, 4));
  double const before = number(compare(trained, setting(10, 10, 4)), "measured_topic_sum_contrast");
  auto const& value = trained.at("value").values();
  value(1 + 7, 1 + 42) += 0.02;  // word 7 scored, word 42 seen
  auto const out = compare(trained, setting(10, 10, 4));
  EXPECT_NEAR(number(out, "deviation"), 0.02, 1e-6);
  // Row 7's other nine topics gain 0.02 together; one row of a hundred.
  EXPECT_NEAR(number(out, "measured_topic_sum_contrast"), before - 0.02 / 9 / 100, 1e-9);
  EXPECT_NEAR(number(out, "topic_sum_deviation_max"), 0.02 / 9 * 0.865, 2e-5);

  wf::dataset const small(matrix({1, 2, 3, 4}, 2));
  wf::metric_input in;
  in.put("of", "x", nullptr, &small);
  EXPECT_THAT([&] { measure("closed_form", {}, in); }, ThrowsMessage<wf::usage_error>(HasSubstr("at least 100 tokens")));
}

TEST(topic_theory, needs_a_penalty_to_solve_for_one_matrix) {
  EXPECT_THROW(make<wf::probe>("topic_theory", {{"l2", 0.0}}), wf::usage_error);
  for (std::int64_t const tau : {10, 11}) {
    EXPECT_THROW(make<wf::probe>("topic_theory", {{"topics_per_document", tau}}), wf::usage_error);
    EXPECT_THROW(make<wf::metric>("closed_form", {{"topics_per_document", tau}}), wf::usage_error);
  }
}

// ---- closed_form: the theorem on attention
// -------------------------------------------------------------------------------------

/// Expected squared loss of word queries, term by term over whole vocabularies: a document of the first tau topics, every query
/// word that masking can show there, every target. Attention to the same word and to the rest of its topic may differ.
double attention_loss(int T, int v, int tau, double p_m, double p_c, double p_r, double m, double s, double d, double same_word,
                      double same_topic, double mask_key) {
  double const kappa = 1 - (1 - p_c) * p_m, mu = p_m * p_r, a0 = p_m * (1 - p_c - p_r);
  int const words = T * v, present = tau * v;
  auto loss = [&](int query, int target) {
    std::vector<double> attention(static_cast<std::size_t>(words));
    double total = mask_key * a0;
    for (int k = 0; k < words; ++k) {
      double const frequency = (k < present ? kappa / present : 0) + mu / words;
      double const weight = k == query ? same_word : k / v == query / v ? same_topic : 1;
      total += attention[static_cast<std::size_t>(k)] = weight * frequency;
    }
    double squares = 0;
    for (int i = 0; i < words; ++i) {
      double score = m * mask_key * a0;
      for (int k = 0; k < words; ++k) score += (i / v == k / v ? s : d) * attention[static_cast<std::size_t>(k)];
      squares += std::pow(score / total - (i == target), 2);
    }
    return squares;
  };
  double kept = 0, random = 0;
  for (int target = 0; target < present; ++target) {
    kept += loss(target, target) / present;
    for (int query = 0; query < words; ++query) random += loss(query, target) / present / words;
  }
  return p_c * kept + p_r * random;
}

TEST(closed_form, minimises_the_loss_of_attention) {
  auto const out = measure("closed_form", setting(4, 3, 2));
  double const m = number(out, "mask_weight"), s = number(out, "same_topic"), d = number(out, "other_topic");
  double const R = number(out, "own_topic_ratio"), rho = number(out, "mask_ratio");
  auto loss = [&](double same_word, double same_topic, double mask) {
    return attention_loss(4, 3, 2, 0.15, 0.1, 0.1, m, s, d, same_word, same_topic, mask);
  };
  double const least = loss(R, R, rho);
  EXPECT_NEAR(number(out, "attention_loss"), least, 1e-13);
  for (double const up : {0.99, 1.01}) {
    EXPECT_GT(loss(up * R, up * R, rho), least);
    EXPECT_GT(loss(R, R, up * rho), least);
    EXPECT_GT(loss(up * R, up * R, up * rho), least);
    EXPECT_GT(loss(up * R, up * R, rho / up), least);
  }
  // Only the mean over the topic counts: v R = c1 + (v - 1) c2.
  EXPECT_NEAR(loss(2 * R, R / 2, rho), least, 1e-13);
}

TEST(closed_form, gives_the_optimal_attention) {
  // The table of the notes was found on a grid: steps of 0.05 in rho, about 1% in R.
  struct {
    settings at;
    double R, rho, R_equal;
  } const rows[] = {{setting(10, 10, 2), 5.87, 1.35, 5.75},
                    {setting(10, 10, 4), 8.08, 1.50, 7.69},
                    {setting(10, 10, 8), 9.97, 1.80, 8.94},
                    {setting(20, 5, 4), 12.30, 1.35, 11.94},
                    {setting(100, 10, 4), 22.20, 1.20, 21.98},
                    {setting(10, 10, 4, 0.15, 0.2), 12.68, 1.75, 12.06},
                    {setting(10, 10, 4, 0.15, 0.1, 0.2), 5.10, 1.30, 4.95},
                    {setting(10, 10, 4, 0.3), 6.89, 1.55, 6.11}};
  for (auto const& row : rows) {
    auto const out = measure("closed_form", row.at);
    EXPECT_NEAR(number(out, "own_topic_ratio"), row.R, 0.007 * row.R);
    EXPECT_NEAR(number(out, "mask_ratio"), row.rho, 0.025);
    EXPECT_NEAR(number(out, "own_topic_ratio_at_equal_mask"), row.R_equal, 0.007 * row.R_equal);
  }
}

TEST(closed_form, compares_trained_attention_with_the_optimum) {
  double const R = number(measure("closed_form", setting(10, 10, 4)), "own_topic_ratio");
  wf::dataset const trained(matrix({R * 1.02, R * 0.95}, 2));
  wf::metric_input in;
  in.put("attention", "attention", nullptr, &trained);
  EXPECT_NEAR(number(measure("closed_form", setting(10, 10, 4), in), "attention_deviation"), 0.05, 1e-12);
}

TEST(closed_form, refuses_a_setting_without_an_optimum) {
  EXPECT_THROW(measure("closed_form", setting(10, 10, 10)), wf::usage_error);
  EXPECT_THROW(measure("closed_form", setting(10, 10, 4, 0.15, 0.7, 0.7)), wf::usage_error);
}

// ---- two_stage
// -----------------------------------------------------------------------------------------------------------------

/// What a learner and topic_attention after it leave behind: norms at these updates, attention at fewer snapshots.
struct training {
  wf::results learner, attention;

  training(std::vector<double> const& update, std::vector<double> const& k, std::vector<double> const& v,
           std::vector<std::int64_t> const& step, std::vector<double> const& topic, std::vector<double> const& non_topic) {
    std::vector<double> norms;
    for (std::size_t u = 0; u < update.size(); ++u) norms.insert(norms.end(), {k[u], k[u], v[u]});
    learner.add("norms", wf::tensor::of(norms, {{"update", update.size()}, {"matrix", 3}}))
        .labels("matrix", {"K", "Q", "V"})
        .coordinate("update", wf::tensor::of(update, {{"update", update.size()}}));
    auto table = [&](std::string const& name, std::vector<double> const& values) {
      attention.add(name, wf::tensor::of(values, {{"step", step.size()}, {"layer", 1}, {"head", 1}}))
          .coordinate("step", wf::tensor::of(step, {{"step", step.size()}}));
    };
    table("topic_relative", topic);
    table("non_topic_relative", non_topic);
  }

  wf::results measured(settings const& given = {}) const {
    wf::metric_input in;
    in.put("learner", "learner", &learner, nullptr);
    in.put("attention", "attention", &attention, nullptr);
    return measure("two_stage", given, in);
  }
};

// The notes' table of f6, in short.
std::vector<double> const updates{0, 500, 1000, 2000, 3000, 8000}, keys{5.95, 6.1, 6.76, 20.1, 39.2, 56.7},
    values{6, 90, 152.1, 167.9, 172.7, 185.4};
std::vector<std::int64_t> const steps{0, 1000, 3000, 8000};
std::vector<double> const own{1, 1.003, 1.441, 1.510}, other{1, 0.996, 0.439, 0.387};

TEST(two_stage, finds_the_switch) {
  auto const out = training(updates, keys, values, steps, own, other).measured();
  EXPECT_EQ(number(out, "switch_update"), 1000);
  EXPECT_NEAR(number(out, "early_key_growth"), 6.76 / 5.95 - 1, 1e-12);
  EXPECT_NEAR(number(out, "late_key_growth"), 56.7 / 6.76, 1e-12);
  EXPECT_NEAR(number(out, "late_value_growth"), 185.4 / 152.1 - 1, 1e-12);
  EXPECT_EQ(number(out, "attention_step"), 1000);
  EXPECT_NEAR(number(out, "attention_deviation"), 0.004, 1e-12);
  EXPECT_EQ(number(out, "two_stages"), 1);
}

TEST(two_stage, says_no_where_there_is_one_stage_only) {
  EXPECT_EQ(number(training(updates, {6, 60, 100, 140, 160, 180}, values, steps, own, other).measured(), "two_stages"), 0)
      << "all rise together";
  EXPECT_EQ(number(training(updates, {6, 6, 6, 6, 6, 6}, values, steps, own, other).measured(), "two_stages"), 0)
      << "attention is never learned";
  EXPECT_EQ(number(training(updates, keys, values, steps, {1, 1.02, 1.4, 1.5}, other).measured(), "two_stages"), 0)
      << "attention is early";
  EXPECT_EQ(number(training(updates, keys, values, steps, own, {1, 0.98, 0.4, 0.3}).measured(), "two_stages"), 0)
      << "attention is early";
  EXPECT_EQ(
      number(training(updates, keys, values, steps, own, other).measured({{"later_key_growth_at_least", 9.0}}), "two_stages"), 0);
}

TEST(two_stage, works_on_curves_alone_and_refuses_failed_training) {
  training const t(updates, keys, values, steps, own, other);
  wf::metric_input in;
  in.put("learner", "learner", &t.learner, nullptr);
  auto const out = measure("two_stage", {}, in);
  EXPECT_EQ(number(out, "two_stages"), 1);
  EXPECT_EQ(out.find("attention_deviation"), nullptr);

  double const nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(training(updates, keys, {6, 90, nan, nan, nan, nan}, steps, own, other).measured(), wf::data_error);
  wf::results other_node;
  other_node.add("norms", wf::tensor::of(std::vector<double>{1, 2}, {{"update", 2}}));
  in.put("learner", "x", &other_node, nullptr);
  EXPECT_THAT([&] { measure("two_stage", {}, in); }, ThrowsMessage<wf::usage_error>(HasSubstr("update 2")));
}

}  // namespace
