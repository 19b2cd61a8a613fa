// The probe `gradient` on two families: saliency, gradient times input and integrated gradients against what edits do to the
// scalar, in float64 differences; a case in which integrated gradients are known; and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/probe.hpp>

#include "geometry_observe.hpp"

#include "decoder_families.hpp"  // names a thing as a local of the other header is named, so it comes second

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::HasSubstr;

struct opened {
  decoder_case c;
  std::unique_ptr<decoder_folder> f;
  std::unique_ptr<model> m;
  listed items{{{3, 17, 5, 22, 9, 3, 11}, {8, 1, 28, 4}}};
  explicit opened(std::string const& name) {
    for (auto& one : decoder_cases())
      if (one.name == name) c = one;
    f = std::make_unique<decoder_folder>(c);
    m = f->open();
  }
};

/// The scalar of an item in float64, with an edit at a hook.
using move = std::function<void(tensor const&)>;
double scalar(opened const& o, std::size_t item, values const& given, std::string const& hook, move const& how) {
  auto const tokens = o.m->encode(o.items.read({item, item + 1}), {});
  auto const all = run_hooks(*o.m, tokens, {"logits"}, dtype::f64, {{hook, [&](edit_site const&, tensor const& x) { how(x); }}});
  tensor const& logits = all.at("logits", 0);
  std::size_t const n = logits.size(0), v = logits.size(1);
  auto const has = [&](char const* name) { return given.contains(name); };
  if (!has("scalar")) {
    auto const id = [&](char const* name) {
      return static_cast<std::size_t>(std::get<std::vector<std::int64_t>>(given.at(name))[0]);
    };
    auto const at =
        has("answer_position") ? static_cast<std::size_t>(std::get<std::int64_t>(given.at("answer_position"))) : n - 1;
    return logits.get({at, id("answer_ids")}) - (has("against_ids") ? logits.get({at, id("against_ids")}) : 0);
  }
  double loss = 0;
  for (std::size_t p = 0; p + 1 < n; ++p) {
    double sum = 0;
    for (std::size_t j = 0; j < v; ++j) sum += std::exp(logits.get({p, j}));
    loss += std::log(sum) - logits.get({p, static_cast<std::size_t>(tokens.tokens[0][p + 1])});
  }
  return loss / static_cast<double>(n - 1);
}

std::vector<values> scalars() {
  std::vector<std::int64_t> const five{5}, twelve{12};
  return {{{"answer_ids", five}},
          {{"answer_ids", five}, {"against_ids", twelve}},
          {{"answer_ids", five}, {"answer_position", std::int64_t{2}}},
          {{"scalar", std::string("loss")}}};
}

class gradient_probe : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(families, gradient_probe, testing::Values("gpt2", "gemma2", "llama"),
                         [](auto const& one) { return one.param; });

TEST_P(gradient_probe, saliency_and_gradient_times_input_are_what_edits_do) {
  opened const o(GetParam());
  std::vector<std::string> const hooks{"hook_embed", "blocks.0.hook_mlp_out", "blocks.1.attn.hook_z"};
  double const h = 1e-5;
  for (auto const& what : scalars()) {
    values given = what;
    given["hooks"] = hooks;
    auto const out = observe("gradient", *o.m, o.items, given, 2);
    auto const saliency = out.at("saliency").values(), times = out.at("gradient_times_input").values();
    ASSERT_EQ(saliency.shape(), (dims{{"item", 2}, {"hook", 3}, {"pos", 7}}));
    EXPECT_EQ(*out.at("saliency").find_labels("hook"), hooks);
    for (std::size_t item = 0; item < 2; ++item) {
      EXPECT_NEAR(out.at("scalar").values().get({item}), scalar(o, item, what, "hook_embed", [](tensor const&) {}), 1e-4);
      for (std::size_t k = 0; k < hooks.size(); ++k)
        for (std::size_t p = 0; p < 7; ++p) {
          if (p >= o.items.tokens_[item].size()) {
            EXPECT_TRUE(std::isnan(saliency.get({item, k, p})));
            continue;
          }
          auto const slope = [&](std::function<void(std::span<double>, double)> const& along) {
            auto const at = [&](double by) {
              return scalar(o, item, what, hooks[k], [&](tensor const& x) {
                std::size_t const wide = x.count() / x.size(0);
                along(x.values<double>().subspan(p * wide, wide), by);
              });
            };
            return (at(h) - at(-h)) / (2 * h);
          };
          double const along = slope([](std::span<double> x, double by) {
            for (double& v : x) v *= 1 + by;
          });
          EXPECT_NEAR(times.get({item, k, p}), along, 1e-4 + 1e-4 * std::abs(along)) << hooks[k] << " " << p;
          double squares = 0;
          for (std::size_t j = 0; j < (k == 2 ? o.c.plain.H * o.c.plain.d : o.c.plain.D); ++j)
            squares += std::pow(slope([j](std::span<double> x, double by) { x[j] += by; }), 2);
          EXPECT_NEAR(saliency.get({item, k, p}), std::sqrt(squares), 1e-4 + 1e-4 * std::sqrt(squares)) << hooks[k] << " " << p;
        }
    }
  }
}

TEST_P(gradient_probe, integrated_gradients_are_complete) {
  opened const o(GetParam());
  for (auto const& what : scalars())
    for (std::string const baseline : {"zero", "mean"}) {
      // A state of zeros is where norms without a bias jump, so that no line can begin there.
      auto const hooks = baseline == "zero" ? std::vector<std::string>{"blocks.0.hook_mlp_out", "blocks.1.attn.hook_z"}
                                            : std::vector<std::string>{"hook_embed", "blocks.1.hook_resid_pre"};
      std::int64_t const steps = 300;
      values given = what;
      given["hooks"] = hooks, given["steps"] = steps, given["baseline"] = baseline;
      auto const out = observe("gradient", *o.m, o.items, given);
      for (std::size_t item = 0; item < 2; ++item)
        for (std::size_t k = 0; k < hooks.size(); ++k) {
          auto const length = what.contains("answer_position") ? 3 : o.items.tokens_[item].size();
          double const change =
              scalar(o, item, what, hooks[k], [](tensor const&) {}) - scalar(o, item, what, hooks[k], [&](tensor const& x) {
                auto const v = x.values<double>();
                std::size_t const wide = v.size() / x.size(0);
                for (std::size_t j = 0; j < wide; ++j) {
                  double mean = 0;
                  for (std::size_t p = 0; p < length; ++p) mean += v[p * wide + j] / static_cast<double>(length);
                  for (std::size_t p = 0; p < length; ++p) v[p * wide + j] = baseline == "zero" ? 0 : mean;
                }
              });
          EXPECT_NEAR(out.at("change").values().get({item, k}), change, 1e-4) << hooks[k];
          double sum = 0;
          for (std::size_t p = 0; p < o.items.tokens_[item].size(); ++p)
            sum += out.at("integrated_gradients").values().get({item, k, p});
          EXPECT_NEAR(sum - change, out.at("completeness_error").values().get({item, k}), 2e-4);
          EXPECT_NEAR(sum, change, 0.02 + 0.02 * std::abs(change)) << hooks[k] << " from " << baseline;
        }
    }
}

TEST(gradient_probe, of_what_is_linear_is_exact_with_one_step) {
  // Behind the last norm a logit is linear: both attributions are the vector's product with the unembedding.
  opened const o("llama");
  auto const out = observe("gradient", *o.m, o.items,
                           {{"hooks", std::vector<std::string>{"ln_final.hook_out"}},
                            {"answer_ids", std::vector<std::int64_t>{5}},
                            {"steps", std::int64_t{1}}});
  for (std::size_t item = 0; item < 2; ++item) {
    double const logit = scalar(o, item, {{"answer_ids", std::vector<std::int64_t>{5}}}, "hook_embed", [](tensor const&) {});
    std::size_t const last = o.items.tokens_[item].size() - 1;
    for (char const* name : {"gradient_times_input", "integrated_gradients"}) {
      EXPECT_NEAR(out.at(name).values().get({item, 0, last}), logit, 1e-5);
      EXPECT_EQ(out.at(name).values().get({item, 0, last - 1}), 0) << "only the last vector is unembedded";
    }
    EXPECT_NEAR(out.at("completeness_error").values().get({item, 0}), 0, 1e-5);
  }
  EXPECT_THAT(out.summary(), HasSubstr("integrated gradients miss the change by at most"));
}

TEST(gradient_probe, without_an_answer_takes_the_likeliest_and_any_block_size) {
  opened const o("gemma2");
  values const given{{"hooks", std::vector<std::string>{"blocks.*.hook_resid_post"}}, {"steps", std::int64_t{3}}};
  auto const one = observe("gradient", *o.m, o.items, given, 1), both = observe("gradient", *o.m, o.items, given, 2);
  for (auto const& name : one.names())
    if (!one.at(name).is_text()) {
      EXPECT_TRUE(same_bytes(one.at(name).values(), both.at(name).values())) << name;
    }
  auto const logits = run_hooks(*o.m, o.m->encode(o.items.read({0, 1}), {}), {"logits"}).at("logits", 0);
  auto const row = numbers(logits[6]);
  EXPECT_EQ(one.at("answer_id").values().get({0}), std::max_element(row.begin(), row.end()) - row.begin());
}

TEST(gradient_probe, refuses_what_has_no_gradient) {
  opened const o("llama");
  auto const refused = [&](values given) {
    return thrown<usage_error>([&] { observe("gradient", *o.m, o.items, std::move(given)); });
  };
  EXPECT_THAT(refused({{"hooks", std::vector<std::string>{"blocks.0.attn.hook_pattern"}}}), HasSubstr("over pairs"));
  EXPECT_THAT(refused({{"hooks", std::vector<std::string>{}}}), HasSubstr("empty"));
  EXPECT_THAT(refused({{"scalar", std::string("loss")}, {"answer_ids", std::vector<std::int64_t>{1}}}),
              HasSubstr("scalar: logit"));
  auto const other = open_model("rwkv", data_folder("rwkv4-small"));
  listed const items({{1, 2, 3}});
  EXPECT_THAT(thrown<usage_error>([&] { observe("gradient", *other, items); }), HasSubstr("gives no gradients yet"));
}

}  // namespace
