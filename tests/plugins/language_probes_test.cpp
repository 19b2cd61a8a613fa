// The probes of language models, against GPT-2 written out in plain loops: on the tiny checkpoint that the runs use, and on a
// model made here whose activations and logits are whatever the test says.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>

#include "plain_gpt2.hpp"
#include "probes/common/vocabulary.hpp"
#include "run_plugins.hpp"
#include "windows.hpp"

namespace wf = wayfarer;
using namespace wayfarer::language;
using settings = wf::test::values;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using texts = std::vector<std::string>;
using ids = std::vector<std::int32_t>;
using wf::test::plain_gpt2;

namespace {

std::string const folder = WAYFARER_SOURCE_DIR "/runs/data/tiny-gpt2";

plain_gpt2 const& plain() {
  static plain_gpt2 const one(folder);
  return one;
}

wf::model const& gpt2() {
  static auto const one = [] {
    auto m = wf::test::make<wf::model>("gpt2", {{"path", folder}});
    m->load();
    return m;
  }();
  return *one;
}

std::unique_ptr<wf::source> source_of(std::vector<ids> const& lists) {
  texts all;
  for (auto const& l : lists) {
    all.emplace_back();
    for (auto const t : l) all.back() += std::to_string(t) + " ";
  }
  return wf::test::make_source("tokens", {{"ids", all}});
}

std::unique_ptr<wf::source> source_of_texts(texts const& all) {
  return wf::test::make_source("text", {{"texts", all}});
}

/// Random tokens.
std::vector<ids> some_items(std::vector<std::size_t> const& lengths) {
  std::vector<ids> all;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    wf::random_stream draw(7, "items", i);
    all.emplace_back();
    for (std::size_t t = 0; t < lengths[i]; ++t)
      all.back().push_back(static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(plain().vocabulary))));
  }
  return all;
}

/// What the probe makes of these items, in blocks of `block` that are merged in order.
wf::results observe(wf::probe const& what, wf::model const& m, wf::source const& data, std::size_t block = 2,
                    wf::dtype precision = wf::dtype::f32, std::vector<wf::hook_edit> edits = {}) {
  std::size_t const count = data.info().items;
  std::size_t longest = 0;
  auto const all = m.encode(data.read({0, count}), {});
  for (std::size_t i = 0; i < count; ++i) longest = std::max(longest, all.tokens[i].size());
  wf::probe_context const context(&m, &data, {0, count}, 0, longest, 0);
  std::unique_ptr<wf::accumulator> whole;
  for (std::size_t first = 0; first < count; first += block) {
    auto const items = data.read({first, std::min(first + block, count)});
    auto const tokens = m.encode(items, {});
    wf::run_request request;
    request.capture = what.needs(m.info());
    request.precision = precision;
    request.edits = edits;
    auto const captured = request.capture.empty() ? wf::activations() : m.run(tokens, request);
    auto part = std::make_unique<wf::accumulator>(items.count);
    what.shape(*part, context);
    what.observe(*part, wf::sample(items, tokens, captured, 0, &request), context);
    if (whole)
      what.merge(*whole, *part);
    else
      whole = std::move(part);
  }
  wf::results out;
  what.finish(*whole, out, context);
  return out;
}

std::unique_ptr<wf::probe> probe(char const* id, settings s = {}) {
  return wf::test::make_probe(id, std::move(s));
}

/// All numbers of a dataset.
std::vector<double> numbers(wf::results const& r, std::string const& name) {
  auto const wide = r.at(name).values().to(wf::dtype::f64);
  auto const v = wide.values<double const>();
  return {v.begin(), v.end()};
}

/// A model with one hook whose value is given: for what no real weights would make.
struct told_model final : wf::model {
  told_model() {
    info_.architecture = "told";
    info_.layers = 1, info_.heads = 2, info_.d_model = 2, info_.vocabulary = 300, info_.longest = 100;
    info_.hooks = {{"blocks.0.hook_resid_post", {{"d_model", 2}}, false, "told"}};
  }
  wf::model_info const& info() const override { return info_; }
  wf::batch encode(wf::item_block const& items, wf::encode_options const&) const override {
    wf::batch b;
    b.tokens = items.tokens;
    return b;
  }
  std::string token_text(std::int32_t t) const override { return "t" + std::to_string(t); }
  wf::activations run(wf::batch const& b, wf::run_request const&) const override {
    std::vector<wf::tensor> all;
    for (std::size_t i = 0; i < b.items(); ++i) {
      wf::tensor const x(wf::dtype::f32, {{"pos", b.tokens[i].size()}, {"d_model", 2}});
      for (std::size_t p = 0; p < b.tokens[i].size(); ++p)
        for (std::size_t j = 0; j < 2; ++j) x.view<float>()(p, j) = value(b.tokens[i][p], j);
      all.push_back(x);
    }
    wf::activations out;
    out.put("blocks.0.hook_resid_post", std::move(all));
    return out;
  }
  wf::tensor weight(std::string_view) const override { throw wf::usage_error("no weights"); }
  static float value(std::int32_t token, std::size_t j) {
    if (token == 100) return j == 0 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
    if (token == 101) return j == 0 ? -std::numeric_limits<float>::infinity() : -0.0f;
    return static_cast<float>(token) + 0.25f * static_cast<float>(j);
  }
  wf::model_info info_;
};

}  // namespace

// ---- over the vocabulary

TEST(language_probes, distributions_agree_with_long_double) {
  wf::random_stream draw(1, "logits");
  for (std::size_t const n : {1u, 7u, 8u, 300u, 5001u})
    for (double const spread : {0.1, 3.0, 40.0}) {
      std::vector<float> x(n), y(n);
      for (auto& v : x) v = static_cast<float>(spread * draw.normal());
      for (auto& v : y) v = static_cast<float>(spread * draw.normal());
      auto const exact = [&](std::vector<float> const& l) {
        long double highest = *std::max_element(l.begin(), l.end()), sum = 0;
        for (float const v : l) sum += std::exp(v - highest);
        std::vector<long double> p;
        for (float const v : l) p.push_back(v - highest - std::log(sum));
        return p;
      };
      auto const p = exact(x), q = exact(y);
      long double entropy = 0, divergence = 0;
      for (std::size_t i = 0; i < n; ++i) entropy -= std::exp(p[i]) * p[i], divergence += std::exp(p[i]) * (p[i] - q[i]);
      distribution<float> a, b;
      a.of(x), b.of(y);
      EXPECT_NEAR(a.entropy(), static_cast<double>(entropy), 2e-6 * (1 + static_cast<double>(entropy)));
      EXPECT_NEAR(a.divergence_from(b), static_cast<double>(divergence), 1e-6 * (1 + static_cast<double>(divergence)));
      EXPECT_EQ(a.divergence_from(a), 0);
      for (std::size_t i = 0; i < n; ++i) EXPECT_NEAR(a.log_probability(i), static_cast<double>(p[i]), 1e-6);
      EXPECT_EQ(x[a.best()], *std::max_element(x.begin(), x.end()));
      std::vector<double> const wide(x.begin(), x.end());
      distribution<double> d;
      d.of(wide);
      EXPECT_NEAR(d.entropy(), static_cast<double>(entropy), 1e-12 * (1 + static_cast<double>(entropy)));
    }
  for (float x = 0; x > -100; x -= 0.0137f) {
    double const exact = std::exp(static_cast<double>(x));
    EXPECT_NEAR(exp_nonpositive(x), x < -87 ? 0 : exact, 3e-7 * exact) << x;
  }
}

TEST(language_probes, windows_score_every_token_once_with_enough_before_it) {
  for (std::size_t length = 0; length < 40; ++length)
    for (std::size_t size = 2; size < 12; ++size)
      for (std::size_t stride = 1; stride < size; ++stride) {
        std::vector<int> scored(length);
        for (auto const& w : windows_over(length, size, stride)) {
          EXPECT_LE(w.last - w.first, size);
          EXPECT_GT(w.scored, w.first);
          for (std::size_t t = w.scored; t < w.last; ++t) {
            ++scored[t];
            EXPECT_GE(t - w.first, std::min(t, size - stride));
          }
        }
        for (std::size_t t = 0; t < length; ++t) EXPECT_EQ(scored[t], t == 0 ? 0 : 1);
      }
}

// ---- activations

TEST(language_probes, activations_are_those_of_the_plain_model) {
  auto const items = some_items({5, 1, 9});
  auto const data = source_of(items);
  auto const out = observe(
      *probe("activations", {{"hooks", texts{"blocks.*.hook_resid_post", "*.attn.hook_z", "*.hook_pattern"}}}), gpt2(), *data);
  std::size_t const d = plain().d, heads = plain().heads;
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto const want = plain().run(items[i]);
    std::size_t const n = items[i].size();
    for (std::size_t l = 0; l < plain().layers; ++l) {
      std::string const b = "blocks." + std::to_string(l) + ".";
      auto const& state = out.at(b + "hook_resid_post");
      ASSERT_EQ(wf::describe(state.shape()), "item 3 x pos 9 x d_model " + std::to_string(d));
      EXPECT_EQ(state.values().type(), wf::dtype::f32);
      auto const& z = out.at(b + "attn.hook_z");
      auto const& pattern = out.at(b + "attn.hook_pattern");
      ASSERT_EQ(wf::describe(pattern.shape()), "item 3 x head " + std::to_string(heads) + " x query 9 x key 9");
      for (std::size_t p = 0; p < 9; ++p)
        for (std::size_t j = 0; j < d; ++j) {
          double const got = state.values().get({i, p, j}), got_z = z.values().get({i, p, j / (d / heads), j % (d / heads)});
          if (p >= n) {
            EXPECT_TRUE(std::isnan(got) && std::isnan(got_z));
          } else {
            EXPECT_NEAR(got, want.at(b + "hook_resid_post")[p * d + j], 2e-5);
            EXPECT_NEAR(got_z, want.at(b + "attn.hook_z")[p * d + j], 2e-5);
          }
        }
      for (std::size_t h = 0; h < heads; ++h)
        for (std::size_t q = 0; q < 9; ++q)
          for (std::size_t k = 0; k < 9; ++k) {
            double const got = pattern.values().get({i, h, q, k});
            if (q >= n || k >= n)
              EXPECT_TRUE(std::isnan(got));
            else
              EXPECT_NEAR(got, want.at(b + "attn.hook_pattern")[(h * n + q) * n + k], 1e-5);
          }
    }
  }
  EXPECT_THAT(numbers(out, "length"), ElementsAre(5, 1, 9));
  EXPECT_EQ(out.at("token_ids").values().get({0, 4}), items[0][4]);
  EXPECT_EQ(out.at("token_ids").values().get({1, 1}), -1);
  EXPECT_EQ(out.at("tokens").texts()[4], gpt2().token_text(items[0][4]));
  EXPECT_EQ(wf::describe(out.at("tokens").shape()), "item 3 x pos 9");
  EXPECT_EQ(out.at("tokens").texts()[10], "");
}

TEST(language_probes, activations_of_chosen_places_are_slices_of_all) {
  auto const data = source_of(some_items({5, 2, 9}));
  texts const hooks{"*.hook_resid_pre", "*.hook_q", "*.hook_pattern", "hook_embed"};
  auto const all = observe(*probe("activations", {{"hooks", hooks}}), gpt2(), *data);
  auto const some = observe(*probe("activations", {{"hooks", hooks},
                                                   {"positions", texts{"1", "-3", "last"}},
                                                   {"heads", std::vector<std::int64_t>{2, 0}},
                                                   {"layers", std::vector<std::int64_t>{1}}}),
                            gpt2(), *data);
  EXPECT_EQ(some.find("blocks.0.hook_resid_pre"), nullptr);
  ASSERT_NE(some.find("hook_embed"), nullptr);
  std::vector<std::int64_t> const lengths{5, 2, 9}, wanted{1, -3, -1}, heads{2, 0};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t c = 0; c < 3; ++c) {
      std::int64_t const p = wanted[c] < 0 ? wanted[c] + lengths[i] : wanted[c];
      auto const same = [&](double a, double b) {
        EXPECT_TRUE(p < 0 ? std::isnan(a) : a == b || (std::isnan(a) && std::isnan(b)));
      };
      auto const at = static_cast<std::size_t>(std::max<std::int64_t>(p, 0));
      for (std::size_t j = 0; j < plain().d; ++j)
        same(some.at("blocks.1.hook_resid_pre").values().get({i, c, j}),
             all.at("blocks.1.hook_resid_pre").values().get({i, at, j}));
      for (std::size_t h = 0; h < 2; ++h) {
        auto const head = static_cast<std::size_t>(heads[h]);
        same(some.at("blocks.1.attn.hook_q").values().get({i, c, h, 3}),
             all.at("blocks.1.attn.hook_q").values().get({i, at, head, 3}));
        for (std::size_t k = 0; k < 9; ++k)
          same(some.at("blocks.1.attn.hook_pattern").values().get({i, h, c, k}),
               all.at("blocks.1.attn.hook_pattern").values().get({i, head, at, k}));
      }
    }
  auto const& z = some.at("blocks.1.attn.hook_q");
  EXPECT_THAT(z.shape()[1].name, "chosen_pos");
  EXPECT_THAT(numbers(some, "length"), ElementsAre(5, 2, 9));
  auto const coordinate = z.coordinate_map().at("chosen_pos").values<std::int64_t const>();
  EXPECT_THAT(std::vector<std::int64_t>(coordinate.begin(), coordinate.end()), ElementsAre(1, -3, -1));
}

TEST(language_probes, means_of_activations_are_means_of_the_rows) {
  auto const data = source_of(some_items({5, 2, 9, 3}));
  texts const hooks{"*.hook_resid_mid", "*.hook_pattern", "*.hook_z"};
  auto const rows = observe(*probe("activations", {{"hooks", hooks}, {"storage", "float64"}}), gpt2(), *data);
  auto const mean = observe(*probe("activations", {{"hooks", hooks}, {"keep", "mean"}}), gpt2(), *data);
  auto const each = observe(*probe("activations", {{"hooks", hooks}, {"keep", "mean_per_position"}}), gpt2(), *data, 3);
  auto const mean_of = [](std::vector<double> const& all) {
    double sum = 0, n = 0;
    for (double const v : all)
      if (!std::isnan(v)) sum += v, n += 1;
    return sum / n;
  };
  auto const& state = rows.at("blocks.1.hook_resid_mid").values();
  for (std::size_t j = 0; j < plain().d; ++j) {
    std::vector<double> everywhere;
    for (std::size_t p = 0; p < 9; ++p) {
      std::vector<double> here;
      for (std::size_t i = 0; i < 4; ++i) here.push_back(state.get({i, p, j}));
      everywhere.insert(everywhere.end(), here.begin(), here.end());
      EXPECT_NEAR(each.at("blocks.1.hook_resid_mid").values().get({p, j}), mean_of(here), 1e-12);
    }
    EXPECT_NEAR(mean.at("blocks.1.hook_resid_mid").values().get({j}), mean_of(everywhere), 1e-12);
  }
  auto const& pattern = rows.at("blocks.0.attn.hook_pattern").values();
  for (std::size_t h = 0; h < plain().heads; ++h) {
    std::vector<double> everywhere;
    for (std::size_t q = 0; q < 9; ++q)
      for (std::size_t k = 0; k < 9; ++k) {
        std::vector<double> here;
        for (std::size_t i = 0; i < 4; ++i) here.push_back(pattern.get({i, h, q, k}));
        everywhere.insert(everywhere.end(), here.begin(), here.end());
        EXPECT_NEAR(each.at("blocks.0.attn.hook_pattern").values().get({h, q, k}), mean_of(here), 1e-12);
      }
    EXPECT_NEAR(mean.at("blocks.0.attn.hook_pattern").values().get({h}), mean_of(everywhere), 1e-12);
  }
  EXPECT_EQ(mean.at("items").scalar(), 4);
  EXPECT_EQ(wf::describe(mean.at("blocks.0.attn.hook_z").shape()), "head 4 x d_head 8");
}

TEST(language_probes, infinities_and_nan_survive_in_every_type) {
  told_model const m;
  auto const data = source_of({{5, 100, 7}, {101}});
  for (char const* storage : {"float32", "float64", "float16"}) {
    auto const out = observe(*probe("activations", {{"storage", storage}}), m, *data);
    auto const v = numbers(out, "blocks.0.hook_resid_post");  // [2, 3, 2]
    ASSERT_EQ(v.size(), 12u);
    EXPECT_THAT(std::vector<double>(v.begin(), v.begin() + 2), ElementsAre(5, 5.25)) << storage;
    EXPECT_TRUE(std::isnan(v[2]) && v[3] == INFINITY && v[6] == -INFINITY && v[7] == 0 && std::signbit(v[7])) << storage;
    EXPECT_TRUE(std::isnan(v[8]) && std::isnan(v[11]));
  }
  EXPECT_EQ(observe(*probe("activations", {{"storage", "float16"}}), m, *data).at("blocks.0.hook_resid_post").values().type(),
            wf::dtype::f16);
  auto const mean = numbers(observe(*probe("activations", {{"keep", "mean"}}), m, *data), "blocks.0.hook_resid_post");
  EXPECT_TRUE(std::isnan(mean[0]) && mean[1] == INFINITY);
}

TEST(language_probes, what_can_not_be_kept_is_a_usage_error) {
  EXPECT_THROW(probe("activations", {{"positions", texts{"first"}}}), wf::parameter_error);
  EXPECT_THROW(probe("activations", {{"keep", "mean_per_position"}, {"positions", texts{"last"}}}), wf::usage_error);
  EXPECT_THROW(probe("activations", {{"heads", std::vector<std::int64_t>{4}}})->needs(gpt2().info()), wf::parameter_error);
  EXPECT_THROW(probe("activations", {{"layers", std::vector<std::int64_t>{9}}})->needs(gpt2().info()), wf::usage_error);
  EXPECT_THAT(
      [&] {
        probe("activations", {{"hooks", texts{"blocks.0.hook_residpost"}}})->needs(gpt2().info());
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("did you mean")));
}

// ---- language_loss

namespace {

/// Log probability of each token but the first, read in windows.
std::vector<double> plain_scores(ids const& tokens, std::size_t window, std::size_t stride, double* correct = nullptr) {
  std::vector<double> out;
  std::size_t done = 1;
  for (std::size_t first = 0; done < tokens.size(); first += stride) {
    std::size_t const last = std::min(first + window, tokens.size());
    auto const logits =
        plain()
            .run({tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.begin() + static_cast<std::ptrdiff_t>(last)})
            .at("logits");
    for (std::size_t t = done; t < last; ++t) {
      auto const p = plain().log_probabilities(logits, t - 1 - first);
      out.push_back(p[static_cast<std::size_t>(tokens[t])]);
      if (correct != nullptr) *correct += std::max_element(p.begin(), p.end()) - p.begin() == tokens[t];
    }
    done = last;
  }
  return out;
}

}  // namespace

TEST(language_probes, losses_are_those_of_the_plain_model_read_in_windows) {
  // Longer than the context of 64, shorter than it, a single token, and a length that ends on a window's end.
  auto const items = some_items({150, 20, 1, 64, 96});
  auto const data = source_of(items);
  struct {
    std::int64_t window, stride;
    std::size_t used_window, used_stride;
  } const ways[] = {{0, 0, 64, 32}, {0, 63, 64, 63}, {16, 5, 16, 5}, {2, 0, 2, 1}};
  for (auto const& way : ways) {
    auto const out = observe(*probe("language_loss", {{"window", way.window}, {"stride", way.stride}}), gpt2(), *data);
    double sum = 0, count = 0, correct = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
      auto const want = plain_scores(items[i], way.used_window, way.used_stride, &correct);
      double item = 0;
      for (std::size_t t = 0; t < want.size(); ++t) {
        EXPECT_NEAR(out.at("log_probability").values().get({i, t + 1}), want[t], 3e-5);
        item += want[t];
      }
      EXPECT_TRUE(std::isnan(out.at("log_probability").values().get({i, 0})));
      for (std::size_t p = items[i].size(); p < 150; ++p) EXPECT_TRUE(std::isnan(out.at("log_probability").values().get({i, p})));
      EXPECT_NEAR(numbers(out, "log_likelihood")[i], item, 3e-5 * static_cast<double>(want.size() + 1));
      sum += item, count += static_cast<double>(want.size());
    }
    EXPECT_NEAR(out.at("loss").scalar(), -sum / count, 1e-5);
    EXPECT_NEAR(out.at("perplexity").scalar(), std::exp(-sum / count), 1e-4 * std::exp(-sum / count));
    EXPECT_NEAR(out.at("accuracy").scalar(), correct / count, 1e-12);
    EXPECT_THAT(numbers(out, "length"), ElementsAre(150, 20, 1, 64, 96));
    EXPECT_THAT(numbers(out, "predicted"), ElementsAre(149, 19, 0, 63, 95));
  }
}

TEST(language_probes, losses_do_not_depend_on_the_blocks) {
  auto const data = source_of(some_items({150, 20, 1, 64, 96, 33}));
  auto const p = probe("language_loss");
  auto const one = observe(*p, gpt2(), *data, 1), all = observe(*p, gpt2(), *data, 64);
  EXPECT_EQ(numbers(one, "log_likelihood"), numbers(all, "log_likelihood"));
  EXPECT_EQ(one.at("loss").scalar(), all.at("loss").scalar());
}

TEST(language_probes, a_loss_in_float64_agrees_to_rounding) {
  auto const items = some_items({40});
  auto const out = observe(*probe("language_loss", {{"window", std::int64_t{30}}}), gpt2(), *source_of(items), 2, wf::dtype::f64);
  double sum = 0;
  for (double const v : plain_scores(items[0], 30, 15)) sum += v;
  EXPECT_NEAR(numbers(out, "log_likelihood")[0], sum, 1e-9);
}

TEST(language_probes, losses_and_patches_feel_the_edits_of_their_pass) {
  // The second head of the last block is silenced; long items are read by the probe itself, short ones by the sweep.
  std::size_t const width = plain().d / plain().heads;
  std::vector<wf::hook_edit> const edits{{"blocks.1.attn.hook_z", [](wf::edit_site const&, wf::tensor const& z) {
                                            auto const head = z.view<double>();
                                            for (std::size_t p = 0; p < head.size(0); ++p)
                                              for (std::size_t j = 0; j < head.size(2); ++j) head(p, 1, j) = 0;
                                          }}};
  auto const silence = [&](std::string const& hook, std::vector<double>& x) {
    if (hook != "blocks.1.attn.hook_z") return;
    for (std::size_t p = 0; p < x.size() / plain().d; ++p)
      for (std::size_t j = 0; j < width; ++j) x[p * plain().d + width + j] = 0;
  };
  auto const items = some_items({100, 20});
  auto const loss = observe(*probe("language_loss"), gpt2(), *source_of(items), 2, wf::dtype::f64, edits);
  auto const head = plain().run({items[0].begin(), items[0].begin() + 64}, silence).at("logits");
  auto const tail = plain().run({items[0].begin() + 32, items[0].begin() + 96}, silence).at("logits");
  auto const check = [&](std::size_t t, std::vector<double> const& logits, std::size_t row) {
    EXPECT_NEAR(loss.at("log_probability").values()(0, t),
                plain().log_probabilities(logits, row)[static_cast<std::size_t>(items[0][t])], 1e-9);
  };
  check(5, head, 4), check(63, head, 62), check(64, tail, 31), check(95, tail, 62);
  auto const pairs = some_items({6, 6});
  auto const patched =
      observe(*probe("patching", {{"answer_ids", std::vector<std::int64_t>{40}}, {"against_ids", std::vector<std::int64_t>{41}}}),
              gpt2(), *source_of(pairs), 2, wf::dtype::f64, edits);
  auto const logits = plain().run(pairs[0], silence).at("logits");
  EXPECT_NEAR(patched.at("clean_difference").values()(0),
              logits[5 * plain().vocabulary + 40] - logits[5 * plain().vocabulary + 41], 1e-9);
}

TEST(language_probes, bytes_and_characters_are_those_of_the_predicted_tokens) {
  std::string const text = "Then Anna went to caf\xc3\xa9s.";
  auto const tokens = gpt2().text_tokenizer()->encode(text);
  auto const out = observe(*probe("language_loss"), gpt2(), *source_of_texts({text}));
  double const bytes = static_cast<double>(text.size() - tokens.spans[0].end), likelihood = numbers(out, "log_likelihood")[0];
  EXPECT_EQ(numbers(out, "bytes")[0], bytes);
  EXPECT_NEAR(out.at("bits_per_byte").scalar(), -likelihood / std::log(2.0) / bytes, 1e-9);
  EXPECT_NEAR(out.at("bits_per_character").scalar(), -likelihood / std::log(2.0) / (bytes - 1), 1e-9);
  EXPECT_NEAR(out.at("perplexity_per_byte").scalar(), std::exp(-likelihood / bytes), 1e-9);
  // With a token before the text, all of it is predicted.
  ids with{300};
  with.insert(with.end(), tokens.ids.begin(), tokens.ids.end());
  auto const all = observe(*probe("language_loss", {{"prepend", std::int64_t{300}}}), gpt2(), *source_of_texts({text}));
  EXPECT_EQ(numbers(all, "bytes")[0], static_cast<double>(text.size()));
  auto const want = plain_scores(with, 64, 32);
  for (std::size_t t = 0; t < want.size(); ++t) EXPECT_NEAR(all.at("log_probability").values().get({0, t}), want[t], 3e-5);
  EXPECT_EQ(all.at("tokens").texts()[0], "Then");
}

TEST(language_probes, a_text_longer_than_the_context_is_read_whole) {
  std::string text = "Then";
  for (int i = 0; i < 20; ++i) text += " Anna and Ben went to Rome. Ben gave a key to Anna.";
  auto const tokens = gpt2().text_tokenizer()->encode(text).ids;
  ASSERT_GT(tokens.size(), 128u);
  auto const out = observe(*probe("language_loss"), gpt2(), *source_of_texts({text, "Then Anna"}));
  EXPECT_EQ(numbers(out, "length")[0], static_cast<double>(tokens.size()));
  double sum = 0;
  for (double const v : plain_scores(tokens, 64, 32)) sum += v;
  EXPECT_NEAR(numbers(out, "log_likelihood")[0], sum, 1e-5 * static_cast<double>(tokens.size()));
}

TEST(language_probes, impossible_windows_are_usage_errors) {
  EXPECT_THROW(probe("language_loss", {{"window", std::int64_t{1}}}), wf::usage_error);
  EXPECT_THROW(probe("language_loss", {{"window", std::int64_t{8}}, {"stride", std::int64_t{8}}}), wf::usage_error);
  EXPECT_THROW(observe(*probe("language_loss", {{"window", std::int64_t{65}}}), gpt2(), *source_of({{1, 2, 3}})),
               wf::usage_error);
  EXPECT_THROW(observe(*probe("language_loss"), gpt2(), *source_of({{1}, {2}})), wf::usage_error);
}

// ---- logit_lens

TEST(language_probes, the_lens_reads_what_the_plain_model_would_say) {
  auto const items = some_items({6, 1, 9});
  auto const out = observe(*probe("logit_lens", {{"k", std::int64_t{4}}, {"parts", true}}), gpt2(), *source_of(items));
  std::size_t const layers = plain().layers, vocabulary = plain().vocabulary;
  ASSERT_EQ(wf::describe(out.at("top_ids").shape()), "item 3 x state " + std::to_string(layers + 1) + " x pos 9 x rank 4");
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto const run = plain().run(items[i]);
    auto const check = [&](std::string const& prefix, std::size_t s, std::vector<double> const& states) {
      auto const logits = plain().lens(states);
      for (std::size_t p = 0; p < 9; ++p) {
        auto const at = [&](char const* name) { return out.at(prefix + name).values().get({i, s, p}); };
        if (p >= items[i].size()) {
          EXPECT_TRUE(std::isnan(at("entropy")) && std::isnan(at("divergence")) && at("next_rank") == -1);
          EXPECT_EQ(out.at(prefix + "top_ids").values().get({i, s, p, 0}), -1);
          continue;
        }
        auto const here = plain().log_probabilities(logits, p), final = plain().log_probabilities(run.at("logits"), p);
        double entropy = 0, divergence = 0;
        for (std::size_t t = 0; t < vocabulary; ++t) {
          entropy -= std::exp(here[t]) * here[t];
          divergence += std::exp(final[t]) * (final[t] - here[t]);
        }
        EXPECT_NEAR(at("entropy"), entropy, 5e-5);
        EXPECT_NEAR(at("divergence"), divergence, 2e-4);
        std::vector<std::size_t> order(vocabulary);
        for (std::size_t t = 0; t < vocabulary; ++t) order[t] = t;
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return here[a] > here[b]; });
        for (std::size_t k = 0; k < 4; ++k) {
          auto const id = static_cast<std::size_t>(out.at(prefix + "top_ids").values().get({i, s, p, k}));
          EXPECT_NEAR(here[id], here[order[k]], 5e-5);
          EXPECT_NEAR(out.at(prefix + "top_probabilities").values().get({i, s, p, k}), std::exp(here[id]), 2e-5);
          EXPECT_NEAR(out.at(prefix + "top_logits").values().get({i, s, p, k}), logits[p * vocabulary + id], 1e-4);
        }
        if (p + 1 == items[i].size()) {
          EXPECT_TRUE(std::isnan(at("next_log_probability")) && at("next_rank") == -1);
        } else {
          auto const next = static_cast<std::size_t>(items[i][p + 1]);
          EXPECT_NEAR(at("next_log_probability"), here[next], 5e-5);
          auto const rank = static_cast<std::size_t>(at("next_rank"));
          EXPECT_NEAR(here[order[rank]], here[next], 5e-5);
        }
      }
    };
    check("", 0, run.at("blocks.0.hook_resid_pre"));
    for (std::size_t l = 0; l < layers; ++l) {
      std::string const b = "blocks." + std::to_string(l) + ".";
      check("", l + 1, run.at(b + "hook_resid_post"));
      check("attention/", l, run.at(b + "hook_attn_out"));
      check("mlp/", l, run.at(b + "hook_mlp_out"));
    }
  }
  EXPECT_EQ(out.at("divergence").values().get({0, layers, 3}), 0) << "the last state's distribution is the final one";
  EXPECT_EQ(out.at("top_tokens").texts()[0],
            gpt2().token_text(static_cast<std::int32_t>(out.at("top_ids").values().get({0, 0, 0, 0}))));
  EXPECT_THAT(*out.at("entropy").find_labels("state"), ElementsAre("embedding", "after block 0", "after block 1"));

  // Means are means of the rows, with or without them.
  auto const bare = observe(*probe("logit_lens", {{"per_item", false}, {"parts", true}}), gpt2(), *source_of(items), 64);
  EXPECT_EQ(bare.find("entropy"), nullptr);
  for (char const* name : {"entropy", "divergence", "next_log_probability"})
    for (std::size_t s = 0; s <= layers; ++s) {
      double sum = 0, n = 0;
      for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t p = 0; p < 9; ++p)
          if (double const v = out.at(name).values().get({i, s, p}); !std::isnan(v)) sum += v, n += 1;
      EXPECT_NEAR(out.at(std::string("mean_") + name).values()(s), sum / n, 1e-9 * (1 + std::abs(sum / n)));
      EXPECT_NEAR(bare.at(std::string("mean_") + name).values()(s), sum / n, 1e-9 * (1 + std::abs(sum / n)));
    }
}

TEST(language_probes, the_lens_at_chosen_places_is_a_slice) {
  auto const data = source_of(some_items({6, 1, 9}));
  auto const all = observe(*probe("logit_lens"), gpt2(), *data),
             last = observe(*probe("logit_lens", {{"positions", texts{"last"}}}), gpt2(), *data);
  std::size_t const lengths[] = {6, 1, 9};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t s = 0; s < 3; ++s) {
      EXPECT_NEAR(last.at("entropy").values().get({i, s, 0}), all.at("entropy").values().get({i, s, lengths[i] - 1}), 1e-5);
      EXPECT_EQ(last.at("top_ids").values().get({i, s, 0, 0}), all.at("top_ids").values().get({i, s, lengths[i] - 1, 0}));
    }
}

// ---- logit_attribution

TEST(language_probes, shares_are_the_parts_of_the_logit) {
  auto const items = some_items({6, 1, 9});
  auto const check = [&](wf::results const& out, std::function<std::size_t(std::size_t item, std::size_t p)> const& token,
                         std::int32_t against, bool all_positions, double within) {
    std::size_t const d = plain().d, heads = plain().heads, width = d / heads;
    for (std::size_t i = 0; i < items.size(); ++i) {
      auto const run = plain().run(items[i]);
      std::size_t const n = items[i].size();
      for (std::size_t p = all_positions ? 0 : n - 1; p < n; ++p) {
        std::size_t const at = all_positions ? p : 0;
        std::size_t const t = token(i, p);
        if (t >= plain().vocabulary) continue;
        double const scale = run.at("ln_final.hook_scale")[p];
        // What a vector added to the stream says: centred, over the scale held, times the weight, read off.
        auto const says = [&](std::vector<double> const& x) {
          double mean = 0, sum = 0;
          for (double const v : x) mean += v / static_cast<double>(d);
          for (std::size_t j = 0; j < d; ++j) {
            double const read = plain().w("wte.weight")[t * d + j] -
                                (against < 0 ? 0 : plain().w("wte.weight")[static_cast<std::size_t>(against) * d + j]);
            sum += (x[j] - mean) / scale * plain().w("ln_f.weight")[j] * read;
          }
          return sum;
        };
        auto const row = [&](std::string const& hook) {
          auto const& all = run.at(hook);
          return std::vector<double>(all.begin() + static_cast<std::ptrdiff_t>(p * d),
                                     all.begin() + static_cast<std::ptrdiff_t>((p + 1) * d));
        };
        EXPECT_NEAR(out.at("embedding").values()(i, at), says(row("hook_embed")), within);
        EXPECT_NEAR(out.at("position").values()(i, at), says(row("hook_pos_embed")), within);
        for (std::size_t l = 0; l < plain().layers; ++l) {
          std::string const h = "h." + std::to_string(l) + ".", b = "blocks." + std::to_string(l) + ".";
          auto const z = row(b + "attn.hook_z");
          for (std::size_t a = 0; a < heads; ++a) {
            std::vector<double> written(d);
            for (std::size_t j = 0; j < width; ++j)
              for (std::size_t o = 0; o < d; ++o)
                written[o] += z[a * width + j] * plain().w(h + "attn.c_proj.weight")[(a * width + j) * d + o];
            EXPECT_NEAR(out.at("head").values()(i, at, l, a), says(written), within);
          }
          EXPECT_NEAR(out.at("head_bias").values()(i, at, l), says(plain().w(h + "attn.c_proj.bias")), within);
          EXPECT_NEAR(out.at("mlp_bias").values()(i, at, l), says(plain().w(h + "mlp.c_proj.bias")), within);
          EXPECT_NEAR(out.at("mlp").values()(i, at, l), says(row(b + "hook_mlp_out")) - says(plain().w(h + "mlp.c_proj.bias")),
                      within);
        }
        double const logit = run.at("logits")[p * plain().vocabulary + t] -
                             (against < 0 ? 0 : run.at("logits")[p * plain().vocabulary + static_cast<std::size_t>(against)]);
        EXPECT_NEAR(out.at("sum").values()(i, at), logit, within);
        EXPECT_NEAR(out.at("logit").values()(i, at), logit, within);
      }
    }
  };
  auto const data = source_of(items);
  auto const last = observe(*probe("logit_attribution", {{"answer_ids", std::vector<std::int64_t>{40}},
                                                         {"against_ids", std::vector<std::int64_t>{41}}}),
                            gpt2(), *data);
  check(
      last, [](std::size_t, std::size_t) { return std::size_t{40}; }, 41, false, 1e-4);
  auto const next =
      observe(*probe("logit_attribution", {{"target", "next"}, {"positions", texts{"all"}}}), gpt2(), *data, 2, wf::dtype::f64);
  check(
      next,
      [&](std::size_t i, std::size_t p) {
        return p + 1 < items[i].size() ? static_cast<std::size_t>(items[i][p + 1]) : std::size_t{1} << 40;
      },
      -1, true, 1e-9);
  EXPECT_TRUE(std::isnan(next.at("sum").values()(0, 5))) << "nothing follows the last token";
  auto const top = observe(*probe("logit_attribution"), gpt2(), *data);
  check(
      top,
      [&](std::size_t i, std::size_t) {
        return static_cast<std::size_t>(top.at("answer_ids").values().get({i, 0}));
      },
      -1, false, 1e-4);
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto const run = plain().run(items[i]).at("logits");
    auto const from = run.end() - static_cast<std::ptrdiff_t>(plain().vocabulary);
    EXPECT_NEAR(*std::max_element(from, run.end()), top.at("logit").values()(i, 0), 1e-4);
  }
}

TEST(language_probes, answers_are_single_tokens_or_say_what_they_are) {
  auto const data = source_of_texts({"Then Anna and Ben went", "Then Ben"});
  auto const out =
      observe(*probe("logit_attribution", {{"answer", texts{" Rome", " Oslo"}}, {"against", texts{" Paris"}}}), gpt2(), *data);
  EXPECT_THAT(out.at("answers").texts(), ElementsAre(" Rome", " Oslo"));
  EXPECT_THAT(out.at("against").texts(), ElementsAre(" Paris", " Paris"));
  EXPECT_THAT(
      [&] {
        observe(*probe("logit_attribution", {{"answer", texts{" Romeo"}}}), gpt2(), *data);
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("not a single token")));
  EXPECT_THROW(observe(*probe("logit_attribution", {{"answer", texts{" Rome", " Oslo", " Paris"}}}), gpt2(), *data),
               wf::usage_error);
  EXPECT_THROW(observe(*probe("logit_attribution", {{"answer_ids", std::vector<std::int64_t>{1 << 20}}}), gpt2(), *data),
               wf::usage_error);
  EXPECT_THROW(probe("logit_attribution", {{"answer", texts{" Rome"}}, {"answer_ids", std::vector<std::int64_t>{1}}}),
               wf::usage_error);
}

// ---- patching

TEST(language_probes, patched_runs_are_those_of_the_plain_model) {
  auto const items = some_items({6, 6, 4, 4});
  auto const data = source_of(items);
  std::size_t const d = plain().d, heads = plain().heads, width = d / heads, vocabulary = plain().vocabulary;
  std::int32_t const answer = 40, against = 41;
  for (bool const into_clean : {false, true}) {
    auto const out = observe(*probe("patching", {{"kinds", texts{"resid_pre", "attn_out", "mlp_out", "z"}},
                                                 {"heads_at", "each_position"},
                                                 {"into", into_clean ? "clean" : "corrupted"},
                                                 {"answer_ids", std::vector<std::int64_t>{answer}},
                                                 {"against_ids", std::vector<std::int64_t>{against}}}),
                             gpt2(), *data, 3, wf::dtype::f64);
    ASSERT_EQ(wf::describe(out.at("z").shape()), "pair 2 x layer 2 x pos 6 x head 4");
    for (std::size_t pair = 0; pair < 2; ++pair) {
      auto const &clean = items[2 * pair], &corrupted = items[2 * pair + 1];
      auto const difference = [&](plain_gpt2::hooks const& run) {
        auto const* last = run.at("logits").data() + (clean.size() - 1) * vocabulary;
        return last[answer] - last[against];
      };
      auto const of_clean = plain().run(clean), of_corrupted = plain().run(corrupted);
      EXPECT_NEAR(out.at("clean_difference").values()(pair), difference(of_clean), 1e-9);
      EXPECT_NEAR(out.at("corrupted_difference").values()(pair), difference(of_corrupted), 1e-9);
      auto const& donor = into_clean ? of_corrupted : of_clean;
      auto const& base = into_clean ? clean : corrupted;
      double const from = difference(into_clean ? of_clean : of_corrupted), to = difference(donor);
      for (std::size_t l = 0; l < 2; ++l)
        for (std::size_t p = 0; p < 6; ++p) {
          std::string const b = "blocks." + std::to_string(l) + ".";
          for (char const* kind : {"resid_pre", "attn_out", "mlp_out"}) {
            double const got = out.at(kind).values()(pair, l, p),
                         raw = out.at(std::string(kind) + "_difference").values()(pair, l, p);
            if (p >= clean.size()) {
              EXPECT_TRUE(std::isnan(got) && std::isnan(raw));
              continue;
            }
            auto const patched = plain().run(base, [&](std::string const& hook, std::vector<double>& x) {
              if (hook == b + "hook_" + kind)
                for (std::size_t j = 0; j < d; ++j) x[p * d + j] = donor.at(hook)[p * d + j];
            });
            EXPECT_NEAR(raw, difference(patched), 1e-9);
            EXPECT_NEAR(got, (difference(patched) - from) / (to - from), 1e-8);
          }
          for (std::size_t h = 0; p < clean.size() && h < heads; ++h) {
            auto const patched = plain().run(base, [&](std::string const& hook, std::vector<double>& x) {
              if (hook == b + "attn.hook_z")
                for (std::size_t j = 0; j < width; ++j) x[p * d + h * width + j] = donor.at(hook)[p * d + h * width + j];
            });
            EXPECT_NEAR(out.at("z_difference").values()(pair, l, p, h), difference(patched), 1e-9);
          }
        }
    }
    EXPECT_NEAR(out.at("mean_resid_pre").values()(1, 2),
                (out.at("resid_pre").values()(0, 1, 2) + out.at("resid_pre").values()(1, 1, 2)) / 2, 1e-12);
    EXPECT_EQ(out.at("mean_resid_pre").values()(1, 5), out.at("resid_pre").values()(0, 1, 5));
  }
}

TEST(language_probes, heads_are_patched_at_all_positions_together_by_default) {
  auto const items = some_items({6, 6});
  auto const out = observe(*probe("patching", {{"kinds", texts{"z"}}}), gpt2(), *source_of(items), 64, wf::dtype::f64);
  ASSERT_EQ(wf::describe(out.at("z").shape()), "pair 1 x layer 2 x head 4");
  auto const clean = plain().run(items[0]), corrupted = plain().run(items[1]);
  auto const answer = static_cast<std::size_t>(out.at("answer_id").values().get({0})),
             against = static_cast<std::size_t>(out.at("against_id").values().get({0}));
  std::size_t const last = 5 * plain().vocabulary, d = plain().d, width = d / plain().heads;
  auto const best = [&](plain_gpt2::hooks const& run) {
    auto const from = run.at("logits").begin() + static_cast<std::ptrdiff_t>(last);
    return static_cast<std::size_t>(std::max_element(from, run.at("logits").end()) - from);
  };
  EXPECT_EQ(answer, best(clean));
  EXPECT_EQ(against, best(corrupted));
  for (std::size_t l = 0; l < 2; ++l)
    for (std::size_t h = 0; h < 4; ++h) {
      auto const patched = plain().run(items[1], [&](std::string const& hook, std::vector<double>& x) {
        if (hook == "blocks." + std::to_string(l) + ".attn.hook_z")
          for (std::size_t p = 0; p < 6; ++p)
            for (std::size_t j = 0; j < width; ++j) x[p * d + h * width + j] = clean.at(hook)[p * d + h * width + j];
      });
      EXPECT_NEAR(out.at("z_difference").values()(0, l, h),
                  patched.at("logits")[last + answer] - patched.at("logits")[last + against], 1e-9);
    }
}

TEST(language_probes, patching_a_whole_state_restores_everything_and_before_the_change_nothing) {
  auto const data = source_of_texts(
      {"Then Anna and Ben went to Rome. Anna gave a key to", "Then Anna and Ben went to Rome. Ben gave a key to"});
  auto const out = observe(*probe("patching", {{"answer", texts{" Ben"}}, {"against", texts{" Anna"}}}), gpt2(), *data);
  auto const& restored = out.at("resid_pre").values();  // [pair, layer, pos]
  for (std::size_t l = 0; l < 2; ++l)
    for (std::size_t p = 0; p < 8; ++p) EXPECT_EQ(restored(0, l, p), 0) << "the texts are the same up to here";
  EXPECT_NEAR(restored(0, 0, 8), 1, 1e-3) << "the only place where the texts differ";
}

TEST(language_probes, pairs_that_do_not_fit_are_usage_errors) {
  auto const p = probe("patching", {{"answer_ids", std::vector<std::int64_t>{1}}, {"against_ids", std::vector<std::int64_t>{2}}});
  EXPECT_THAT(
      [&] {
        observe(*p, gpt2(), *source_of({{1, 2, 3}, {4, 5}}));
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("3 and 2 tokens")));
  EXPECT_THAT([&] { observe(*p, gpt2(), *source_of({{1, 2, 3}})); }, ThrowsMessage<wf::usage_error>(HasSubstr("even number")));
  EXPECT_THAT(
      [&] {
        observe(*probe("patching"), gpt2(), *source_of({{1, 2}, {1, 2}}));
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("no difference")));
  for (char const* bad : {"0", "0 ", "0 1 2", "a b", "0,1", "1 1"})
    EXPECT_THROW(probe("patching", {{"pairs", texts{bad}}}), wf::usage_error) << bad;
  EXPECT_THROW(probe("patching", {{"pairs", texts{"0 1", "0 2"}}}), wf::usage_error);
  EXPECT_THROW(observe(*probe("patching", {{"pairs", texts{"0 7"}}}), gpt2(), *source_of({{1, 2}, {1, 2}})), wf::usage_error);
  EXPECT_THROW(observe(*probe("patching", {{"answer_position", std::int64_t{5}}}), gpt2(), *source_of({{1, 2}, {3, 2}})),
               wf::usage_error);
  // Named pairs may lie in different blocks and share their second item.
  auto const items = some_items({4, 4, 4});
  auto const named = probe("patching", {{"pairs", texts{"0 2", "1 2"}},
                                        {"answer_ids", std::vector<std::int64_t>{1}},
                                        {"against_ids", std::vector<std::int64_t>{2}}});
  auto const out = observe(*named, gpt2(), *source_of(items), 1);
  EXPECT_NEAR(out.at("corrupted_difference").values()(0), out.at("corrupted_difference").values()(1), 1e-6);
  EXPECT_EQ(out.at("clean_ids").values().get({1, 0}), items[1][0]);
}
