// The model's inner parts against each other and against finite differences, and the plugin through its interface.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <oneapi/tbb/global_control.h>

#include <wayfarer/error.hpp>

#include "fast.hpp"
#include "plain.hpp"
#include "topic_transformer_fixtures.hpp"
#include "trainer.hpp"

namespace wf = wayfarer;

namespace wayfarer::topic_transformer::test {
namespace {

/// Small enough for finite differences of every number.
spec small(spec s) {
  s.topics = 3, s.words_per_topic = 2;
  s.mask_probability = 0.4, s.keep_probability = 0.2, s.random_probability = 0.3;
  s.max_positions = 16;
  s.init = init_kind::scaled;
  s.embedding_init_sd = 0.5;
  s.batch = 4;
  return s;
}

/// A start in general position: no array is left at zero or one, frozen ones stay what they are.
weights<double> anywhere(spec const& s, layout const& l, std::uint64_t seed) {
  auto w = initial_weights<double>(s, l, seed);
  for (auto const& p : l.parameters) {
    if (!p.trained) continue;
    random_stream draw(seed, "anywhere." + p.name);
    for (std::size_t i = 0; i < p.rows * p.cols; ++i) w.at(p)[i] += 0.3 * draw.normal();
  }
  return w;
}

double mean_loss(spec const& s, layout const& l, weights<double> const& w, std::vector<masked_document> const& documents) {
  plain_pass<double> pass(s, l, w);
  double sum = 0, tokens = 0;
  for (auto const& d : documents) {
    sum += pass.loss(d);
    tokens += static_cast<double>(std::count(d.masked.begin(), d.masked.end(), 1));
  }
  return sum / tokens;
}

void expect_true_gradient(spec const& s, std::string const& what) {
  SCOPED_TRACE(what);
  check(s);
  layout const l(s);
  auto w = anywhere(s, l, 5);
  auto const words = make_documents(s, 4, 5, 9, 0, 7);
  document_set const data(s, reader_of(words), words.size(), 3, 1 << 20);
  std::vector<std::uint32_t> const batch{0, 1, 2, 3};
  std::vector<masked_document> documents;
  data.masked(batch, documents);

  auto const learn = make_learner<double>(s, l, w, method_kind::plain);
  EXPECT_NEAR(learn->gradient(data, batch), mean_loss(s, l, w, documents), 1e-12);
  weights<double> g;
  learn->store_gradient(g);
  for (auto const& p : l.parameters) {
    double largest = 0, sum = 0;
    for (std::size_t i = 0; i < p.rows * p.cols; ++i) {
      double& x = w.at(p)[i];
      double const was = x, h = 1e-5;
      if (!p.trained) {
        EXPECT_EQ(g.at(p)[i], 0.0) << p.name;
        continue;
      }
      x = was + h;
      double const up = mean_loss(s, l, w, documents);
      x = was - h;
      double const down = mean_loss(s, l, w, documents);
      x = was;
      largest = std::max(largest, std::abs(g.at(p)[i] - (up - down) / (2 * h)));
      sum += std::abs(g.at(p)[i]);
    }
    EXPECT_LT(largest, 2e-8) << p.name;
    // A bias of the keys moves all scores of a query alike: its gradient is truly zero.
    if (p.trained && !p.name.ends_with("b_K")) {
      EXPECT_GT(sum, 1e-6) << p.name << " has no gradient at all";
    }
  }
}

TEST(topic_transformer_gradient, of_every_regime) {
  for (char const* const regime : {"R1", "R2", "R3", "R4", "R5"})
    for (auto const style : {style_kind::paper, style_kind::repo})
      for (auto const loss : {loss_kind::cross_entropy, loss_kind::squared})
        for (auto const keys : {key_kind::excluded, key_kind::included}) {
          spec s = small(regime_defaults(regime, style));
          s.loss = loss, s.masked_keys = keys;
          expect_true_gradient(s, std::string(regime) + (style == style_kind::repo ? " repo" : " paper") +
                                      (loss == loss_kind::squared ? " squared" : "") +
                                      (keys == key_kind::included ? " included" : ""));
        }
}

TEST(topic_transformer_gradient, of_every_switch) {
  auto const with = [](char const* what, style_kind style, auto change) {
    spec s = small(regime_defaults("R5", style));
    change(s);
    expect_true_gradient(s, what);
  };
  with("trained positions", style_kind::paper, [](spec& s) { s.positions = position_kind::trained; });
  with("cosine positions", style_kind::repo, [](spec& s) { s.positions = position_kind::cosine; });
  with("narrow, two heads", style_kind::paper, [](spec& s) { s.d_model = 6, s.heads = 2; });
  with("untied", style_kind::paper, [](spec& s) { s.decoder = decoder_kind::untied; });
  with("biases", style_kind::paper, [](spec& s) { s.bias = true; });
  with("tied repo", style_kind::repo, [](spec& s) { s.decoder = decoder_kind::tied; });
  with("residual", style_kind::paper, [](spec& s) { s.residual = true; });
  with("attention output", style_kind::paper, [](spec& s) { s.attention_output = true; });
  with("layer norm", style_kind::paper, [](spec& s) { s.layer_norm = true; });
  with("intermediate", style_kind::paper, [](spec& s) { s.intermediate = true; });
  with("output", style_kind::paper, [](spec& s) { s.output = true; });
  with("wide mlp", style_kind::paper, [](spec& s) { s.intermediate = s.output = true, s.d_mlp = 13; });
  with("head transform", style_kind::paper, [](spec& s) { s.head_transform = true; });
  with("closed form values", style_kind::paper, [](spec& s) { s.value = value_kind::closed_form; });
  with("identity values", style_kind::repo, [](spec& s) { s.value = value_kind::identity; });
  with("one-hot, untied", style_kind::repo, [](spec& s) { s.embedding = embedding_kind::one_hot; });
  with("BERT of two layers", style_kind::repo, [](spec& s) {
    s.layers = 2, s.d_model = 8, s.heads = 2, s.d_mlp = 11, s.positions = position_kind::trained;
    s.residual = s.attention_output = s.intermediate = s.output = s.head_transform = s.layer_norm = true;
  });
}

TEST(topic_transformer_gradient, l2_adds_twice_lambda_theta_to_the_step) {
  for (auto const method : {method_kind::plain, method_kind::fast}) {
    spec s = small(regime_defaults("R2", style_kind::repo));
    s.optimizer = optimizer_kind::sgd, s.l2 = 0.05;
    layout const l(s);
    auto const w = anywhere(s, l, 5);
    auto const words = make_documents(s, 4, 5, 9, 0, 7);
    document_set const data(s, reader_of(words), words.size(), 3, 1 << 20);
    auto const learn = make_learner<double>(s, l, w, method);
    learn->gradient(data, std::vector<std::uint32_t>{0, 1, 2, 3});
    weights<double> g, after;
    learn->store_gradient(g);
    learn->step(0, 0.7);
    learn->store(after);
    for (std::size_t i = 0; i < l.count; ++i)
      EXPECT_NEAR(after.values[i], w.values[i] - 0.7 * (g.values[i] + 0.1 * w.values[i]), 1e-14);
  }
}

// ---- the table path is the plain one, faster
// ----------------------------------------------------------------------------------------

void expect_same_path(spec const& s, std::string const& what, std::size_t documents) {
  SCOPED_TRACE(what);
  check(s);
  layout const l(s);
  auto const w = anywhere(s, l, 11);
  auto const words = make_documents(s, documents, 20, 60, 0, 13);
  document_set const data(s, reader_of(words), words.size(), 17, 1 << 24);
  ASSERT_TRUE(data.cached());
  std::vector<std::uint32_t> batch;
  for (std::uint32_t i = 0; i < documents; ++i) batch.push_back(i);
  auto const plain = make_learner<double>(s, l, w, method_kind::plain), fast = make_learner<double>(s, l, w, method_kind::fast);
  for (int update = 0; update < 2; ++update) {  // the second time Adam has moved everything
    EXPECT_NEAR(plain->gradient(data, batch), fast->gradient(data, batch), 1e-10);
    weights<double> a, b;
    plain->store_gradient(a), fast->store_gradient(b);
    for (auto const& p : l.parameters) {
      double most = 0;
      for (std::size_t i = 0; i < p.rows * p.cols; ++i) most = std::max(most, std::abs(a.at(p)[i] - b.at(p)[i]));
      EXPECT_LT(most, 1e-10) << p.name;
    }
    EXPECT_NEAR(plain->loss(data, 7), fast->loss(data, 7), 1e-10);
    plain->step(0, 0.01), fast->step(0, 0.01);
  }
}

TEST(topic_transformer_fast_path, agrees_with_the_plain_one_in_every_regime) {
  for (char const* const regime : {"R1", "R2", "R3", "R4", "R5"})
    for (auto const style : {style_kind::paper, style_kind::repo})
      for (auto const loss : {loss_kind::cross_entropy, loss_kind::squared})
        for (auto const keys : {key_kind::excluded, key_kind::included}) {
          spec s = regime_defaults(regime, style);
          s.topics = 5, s.words_per_topic = 4;
          s.embedding_init_sd = 0.3, s.optimizer = optimizer_kind::sgd;
          s.loss = loss, s.masked_keys = keys;
          expect_same_path(s, std::string(regime) + (style == style_kind::repo ? " repo" : " paper"), 11);
        }
}

TEST(topic_transformer_fast_path, agrees_where_switches_cross) {
  auto const with = [](char const* what, char const* regime, style_kind style, auto change) {
    spec s = regime_defaults(regime, style);
    s.topics = 5, s.words_per_topic = 4;
    s.embedding_init_sd = 0.3;
    s.optimizer = optimizer_kind::sgd;
    change(s);
    expect_same_path(s, what, 11);
  };
  with("paper with specials and biases", "R4", style_kind::paper, [](spec& s) { s.start_end = s.bias = true; });
  with("narrow", "R5", style_kind::repo, [](spec& s) { s.d_model = 10; });
  with("wide", "R5", style_kind::paper, [](spec& s) { s.d_model = 40, s.bias = true; });
  with("one-hot, untied", "R4", style_kind::repo, [](spec& s) { s.decoder = decoder_kind::untied, s.decoder_bias = true; });
  with("one-hot, untied, paper", "R2", style_kind::paper, [](spec& s) { s.decoder = decoder_kind::untied; });
  with("one-hot identity values", "R3", style_kind::repo, [](spec& s) { s.value = value_kind::identity; });
  with("one-hot identity values, untied", "R3", style_kind::paper,
       [](spec& s) { s.value = value_kind::identity, s.decoder = decoder_kind::untied; });
  with("identity decoder with bias", "R2", style_kind::paper, [](spec& s) { s.decoder_bias = true; });
  with("tied repo", "R5", style_kind::repo, [](spec& s) { s.decoder = decoder_kind::tied; });
}

TEST(topic_transformer_fast_path, agrees_at_full_size) {
  for (char const* const regime : {"R2", "R4"}) {
    spec s = regime_defaults(regime, style_kind::repo);
    s.optimizer = optimizer_kind::sgd;
    expect_same_path(s, regime, 12);
  }
}

TEST(topic_transformer_fast_path, gives_the_same_with_any_instructions) {
  spec s = regime_defaults("R4", style_kind::repo);
  layout const l(s);
  auto const exact = anywhere(s, l, 11);
  weights<float> start;
  start.values.assign(exact.values.begin(), exact.values.end());
  auto const words = make_documents(s, 9, 20, 150, 0, 13);
  document_set const data(s, reader_of(words), words.size(), 17, 1 << 24);
  document_set::scratch room;
  std::vector<std::uint16_t const*> documents;
  data.counts(std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}, documents, room);
  fast_model<double> reference(s, l, exact);
  double const loss = reference.gradient(documents);
  weights<double> want;
  reference.store_gradient(want);
  std::vector<kernel_table<float> const*> sets{&kernels_baseline_f32};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&kernels_avx2_f32);
  if (kernels<float>().name == std::string("avx512")) sets.push_back(&kernels_avx512_f32);
#endif
  for (auto const* const set : sets) {
    fast_model<float> model(s, l, start, *set);
    EXPECT_NEAR(model.gradient(documents), loss, 1e-5) << set->name;
    weights<float> got;
    model.store_gradient(got);
    for (auto const& p : l.parameters) {
      double most = 0, scale = 0;
      for (std::size_t i = 0; i < p.rows * p.cols; ++i) {
        most = std::max(most, std::abs(static_cast<double>(got.at(p)[i]) - want.at(p)[i]));
        scale = std::max(scale, std::abs(want.at(p)[i]));
      }
      EXPECT_LT(most, 2e-5 * scale + 1e-6)  // b_K: truly zero
          << set->name << " " << p.name;
    }
  }
}

// ---- training
// -------------------------------------------------------------------------------------------------------------------

std::pair<weights<float>, std::vector<double>> trained(spec const& s, method_kind method, std::size_t cache) {
  layout const l(s);
  auto const words = make_documents(s, 130, 20, 60, 0, 1), other = make_documents(s, 50, 20, 60, 0, 2);
  document_set const data(s, reader_of(words), words.size(), 3, cache), held_out(s, reader_of(other), other.size(), 3, cache);
  auto w = initial_weights<float>(s, l, 4);
  schedule plan;
  plan.seed = 4, plan.method = method, plan.held_out_every = 5;
  std::vector<double> figures;
  observer<float> tell;
  tell.log = [&](std::size_t, double loss, double k, double q, double v) { figures.insert(figures.end(), {loss, k, q, v}); };
  tell.held_out = [&](std::size_t, double loss, weights<float> const&) { return figures.push_back(loss), false; };
  EXPECT_EQ(train<float>(s, l, w, plan, data, &held_out, tell), s.updates);
  return {w, figures};
}

TEST(topic_transformer_training, has_the_same_bytes_for_any_number_of_threads) {
  for (auto const& [regime, method] :
       {std::tuple{"R2", method_kind::fast}, {"R4", method_kind::fast}, {"R4", method_kind::plain}}) {
    spec s = regime_defaults(regime, style_kind::repo);
    s.topics = 4, s.words_per_topic = 5, s.updates = method == method_kind::plain ? 12 : 100;
    std::vector<std::pair<weights<float>, std::vector<double>>> runs;
    for (std::size_t const threads : {1, 2, 4}) {
      tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
      runs.push_back(trained(s, method, 1 << 24));
    }
    for (auto const& run : runs) {
      EXPECT_EQ(run.first.values, runs[0].first.values) << regime;
      EXPECT_EQ(run.second, runs[0].second) << regime;
    }
  }
}

TEST(topic_transformer_training, does_not_depend_on_the_cache) {
  spec s = regime_defaults("R4", style_kind::paper);
  s.topics = 4, s.words_per_topic = 5, s.updates = 40;
  EXPECT_EQ(trained(s, method_kind::fast, 1 << 24).first.values, trained(s, method_kind::fast, 0).first.values);
}

TEST(topic_transformer_training, float_table_path_follows_the_plain_one) {
  spec s = regime_defaults("R2", style_kind::repo);
  s.topics = 4, s.words_per_topic = 5, s.updates = 30;
  auto const a = trained(s, method_kind::fast, 1 << 24).first, b = trained(s, method_kind::plain, 1 << 24).first;
  for (std::size_t i = 0; i < a.values.size(); ++i) EXPECT_NEAR(a.values[i], b.values[i], 2e-3);
}

TEST(topic_transformer_training, learns_topics_from_generated_documents) {
  spec s = regime_defaults("R2", style_kind::paper);
  s.updates = 1500;
  layout const l(s);
  auto const words = make_documents(s, 4000, 100, 150, 0, 1), other = make_documents(s, 400, 100, 150, 0, 2);
  document_set const data(s, reader_of(words), words.size(), 3, 1 << 26), held_out(s, reader_of(other), other.size(), 3, 1 << 26);
  auto w = initial_weights<float>(s, l, 4);
  double last = 0;
  observer<float> tell;
  tell.held_out = [&](std::size_t, double loss, weights<float> const&) { return last = loss, false; };
  train<float>(s, l, w, {}, data, &held_out, tell);
  EXPECT_GT(last, 3.1);  // below the Bayes floor would be a leak
  EXPECT_LT(last, 3.5);
  auto const* const v = w.at(l.parameters[static_cast<std::size_t>(l.layers[0].w_v)]);
  double same = 0, different = 0;
  for (std::size_t i = 0; i < 100; ++i)
    for (std::size_t j = 0; j < 100; ++j) (i / 10 == j / 10 ? same : different) += static_cast<double>(v[(i + 4) * 104 + j + 4]);
  EXPECT_NEAR(same / 1000 - different / 9000, 5.5, 0.4);
}

// ---- documents
// ------------------------------------------------------------------------------------------------------------------

TEST(topic_transformer_documents, are_masked_as_the_paper_says) {
  spec s = regime_defaults("R2", style_kind::repo);
  auto const words = make_documents(s, 400, 100, 150, 0, 1);
  double total = 0, masked = 0, mask = 0, kept = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    masked_document a, b;
    mask_words(s, words[i], 9, i, a);
    mask_words(s, words[i], 9, i, b);
    EXPECT_EQ(a.shown, b.shown);
    ASSERT_EQ(a.truth.size(), words[i].size() + 2);
    EXPECT_EQ(a.truth.front(), start_id);
    EXPECT_EQ(a.truth.back(), end_id);
    EXPECT_FALSE(a.masked.front() || a.masked.back());
    bool any = false;
    for (std::size_t k = 0; k < a.truth.size(); ++k) {
      EXPECT_EQ(a.visible[k], !a.masked[k]);
      any |= a.masked[k] != 0;
      if (!a.masked[k]) {
        EXPECT_EQ(a.shown[k], a.truth[k]);
        continue;
      }
      ++masked, mask += a.shown[k] == mask_id, kept += a.shown[k] == a.truth[k];
    }
    EXPECT_TRUE(any);
    total += static_cast<double>(words[i].size());
  }
  EXPECT_NEAR(masked / total, 0.15, 0.006);
  EXPECT_NEAR(mask / masked, 0.801, 0.02);
  EXPECT_NEAR(kept / masked, 0.101, 0.015);
}

TEST(topic_transformer_documents, outside_the_vocabulary_are_refused) {
  spec const s = regime_defaults("R2", style_kind::paper);
  std::vector<std::uint16_t> ids;
  EXPECT_THROW(encode_words(s, std::vector<std::int32_t>{0, 100}, ids), data_error);
  EXPECT_THROW(encode_words(s, std::vector<std::int32_t>{-1}, ids), data_error);
}

TEST(topic_transformer_documents, with_everything_masked_attend_to_everything) {
  spec s = regime_defaults("R4", style_kind::paper);
  s.mask_probability = 1;
  masked_document d;
  mask_words(s, std::vector<std::int32_t>{1, 2, 3}, 1, 0, d);
  EXPECT_THAT(d.visible, testing::Each(1));
}

// ---- theory
// ---------------------------------------------------------------------------------------------------------------------

TEST(topic_transformer_closed_form, is_theorem_v) {
  auto const c = closed_form(spec{});
  EXPECT_NEAR(c.m, 0.0541907514, 1e-10);
  EXPECT_NEAR(c.s, 0.1080202312, 1e-10);
  EXPECT_NEAR(c.d, -0.0075867052, 1e-10);
}

// ---- the plugin
// -------------------------------------------------------------------------------------------------------------------

TEST(topic_transformer_plugin, runs_with_hooks) {
  auto const m = make_model({{"regime", "R4"}, {"style", "repo"}});
  m->load();
  item_block items;
  items.count = 2;
  items.words.push_back(std::vector<std::int32_t>{5, 6, 7, 8});
  items.words.push_back(std::vector<std::int32_t>{99});
  auto const b = m->encode(items, {});
  EXPECT_THAT(std::vector<std::int32_t>(b.tokens[0].begin(), b.tokens[0].end()), testing::ElementsAre(2, 9, 10, 11, 12));
  EXPECT_EQ(m->encode(items, {3}).tokens[0].size(), 3u);
  EXPECT_EQ(m->token_text(9), "5");
  EXPECT_EQ(m->token_text(1), "[MASK]");

  std::vector<std::string> all;
  for (auto const& h : m->info().hooks) all.push_back(h.name);
  run_request request;
  request.capture = hook_set(all);
  auto const got = m->run(b, request);
  request.precision = dtype::f64;
  auto const exact = m->run(b, request);
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t item = 0; item < 2; ++item) {
      auto const& t = got.at(all[i], item);
      auto const& info = m->info().hooks[i];
      std::size_t const n = b.tokens[item].size();
      if (info.per_pair)
        EXPECT_EQ(t.shape(), (dims{{"head", 1}, {"query", n}, {"key", n}})) << all[i];
      else
        EXPECT_EQ(t.shape().front(), (dim{"pos", n})) << all[i];
      EXPECT_EQ(t.rank(), info.per_pair ? 3 : info.row.size() + 1);
      EXPECT_EQ(exact.at(all[i], item).type(), dtype::f64);
      auto const a = t.values<float const>();
      auto const e = exact.at(all[i], item).values<double const>();
      for (std::size_t k = 0; k < a.size(); ++k) EXPECT_NEAR(a[k], e[k], 1e-4) << all[i];
    }
  auto const pattern = got.at("blocks.0.attn.hook_pattern", 0);
  for (std::size_t q = 0; q < 5; ++q) {
    double sum = 0;
    for (std::size_t k = 0; k < 5; ++k) sum += pattern.get({0, q, k});
    EXPECT_NEAR(sum, 1, 1e-6);
  }

  // An edit changes what comes after it; logits are z here.
  run_request edited;
  edited.capture = hook_set({"logits"});
  edited.last_logits_only = true;
  edited.edits.push_back({"blocks.0.attn.hook_z", [](edit_site const& site, tensor const& t) {
                            if (site.item == 1) std::fill(t.values<float>().begin(), t.values<float>().end(), 2.0f);
                          }});
  auto const changed = m->run(b, edited);
  EXPECT_EQ(changed.at("logits", 1).shape(), (dims{{"pos", 1}, {"token", 104}}));
  EXPECT_EQ(changed.at("logits", 1).get({0, 50}), 2.0);
  EXPECT_NEAR(changed.at("logits", 0).get({0, 50}), got.at("logits", 0).get({4, 50}), 1e-6);
  EXPECT_FALSE(changed.has("hook_embed"));
}

TEST(topic_transformer_plugin, weights_multiply_from_the_right) {
  auto const m = make_model({{"regime", "R5"}, {"d_model", std::int64_t{20}}});
  m->load();
  item_block items;
  items.count = 1;
  items.words.push_back(std::vector<std::int32_t>{5, 60});
  auto const b = m->encode(items, {});
  run_request request;
  request.capture = hook_set({"hook_embed", "blocks.0.attn.hook_q", "blocks.0.attn.hook_z", "logits"});
  auto const got = m->run(b, request);
  auto const w_e = m->weight("embed.W_E"), w_q = m->weight("blocks.0.attn.W_Q"), w_u = m->weight("unembed.W_U");
  ASSERT_EQ(w_e.shape(), (dims{{"token", 104}, {"d_model", 20}}));
  ASSERT_EQ(w_u.size(0), 20u);
  double q = 0, logit = m->weight("unembed.b_U").get({33});
  for (std::size_t k = 0; k < 20; ++k) {
    EXPECT_EQ(got.at("hook_embed", 0).get({1, k}), w_e.get({64, k}));
    q += w_e.get({64, k}) * w_q.get({k, 7});
    logit += got.at("blocks.0.attn.hook_z", 0).get({1, 0, k}) * w_u.get({k, 33});
  }
  EXPECT_NEAR(got.at("blocks.0.attn.hook_q", 0).get({1, 0, 7}), q, 1e-6);
  EXPECT_NEAR(got.at("logits", 0).get({1, 33}), logit, 1e-6);
  EXPECT_THROW(m->weight("blocks.0.attn.W_X"), usage_error);
}

TEST(topic_transformer_plugin, what_is_left_out_is_the_identity_or_zero) {
  auto const m = make_model({{"regime", "R2"}});
  m->load();
  EXPECT_EQ(m->weight("embed.W_E").get({7, 7}), 1);
  EXPECT_EQ(m->weight("unembed.W_U").get({7, 8}), 0);
  EXPECT_EQ(m->weight("blocks.0.attn.W_K").get({3, 3}), 0);
  for (auto const& name : m->info().weights) EXPECT_TRUE(m->weight(name).defined()) << name;
}

TEST(topic_transformer_plugin, trains_keeps_snapshots_and_loads_what_it_saved) {
  spec const s = regime_defaults("R4", style_kind::repo);
  word_source const data(s, make_documents(s, 200, 20, 40, 0, 1)), held_out(s, make_documents(s, 80, 20, 40, 0, 2));
  auto const file = std::filesystem::path(testing::TempDir()) / "topic_transformer_saved.safetensors";
  values const given{{"regime", "R4"}, {"style", "repo"}, {"train.optimizer", "adam"}};
  values training_values = given;
  training_values["train.updates"] = std::int64_t{30};
  training_values["train.log_every"] = std::int64_t{10};
  training_values["train.held_out_every"] = std::int64_t{15};
  training_values["train.snapshots"] = std::vector<std::int64_t>{0, 7, 30, 99};
  EXPECT_THROW(make_model(training_values, 3), usage_error) << "there is no update 99";
  training_values["train.snapshots"] = std::vector<std::int64_t>{0, 7, 30};
  training_values["train.save"] = file.string();
  auto const m = make_model(training_values, 3);
  results out;
  silent quiet;
  std::vector<snapshot> kept;
  m->train({data, &held_out, out, quiet, [&](snapshot one) { kept.push_back(std::move(one)); }});
  ASSERT_EQ(kept.size(), 3u);
  EXPECT_EQ(kept[0].step, 0u);
  EXPECT_EQ(kept[1].step, 7u);
  EXPECT_EQ(kept[2].step, 30u);
  EXPECT_EQ(quiet.warnings.size(), 0u);
  EXPECT_EQ(out.at("norms").shape(), (dims{{"update", 4}, {"matrix", 3}}));  // 1, 11, 21, 30
  EXPECT_EQ(out.at("loss").coordinate_map().at("update").get({3}), 30);
  EXPECT_EQ(out.at("held_out_loss").values().count(), 3u);  // 1, 16, 30
  EXPECT_LT(out.at("loss").values().get({3}), out.at("loss").values().get({0}));
  auto const& k = kept[2].state->weight("blocks.0.attn.W_K");
  double norm = 0;
  for (std::size_t i = 0; i < 104; ++i)
    for (std::size_t j = 0; j < 104; ++j) norm += k.get({i, j}) * k.get({i, j});
  EXPECT_NEAR(std::sqrt(norm), out.at("norms").values().get({3, 0}), 1e-4);

  values again = given;
  again["path"] = file.string();
  auto const loaded = make_model(again, 99);
  loaded->load();
  for (auto const& name : loaded->info().weights) {
    auto const a = loaded->weight(name).to(dtype::f32).clone(), b = kept[2].state->weight(name).to(dtype::f32).clone();
    auto const x = a.values<float const>(), y = b.values<float const>();
    EXPECT_TRUE(std::equal(x.begin(), x.end(), y.begin(), y.end())) << name;
  }
  values wrong = again;
  wrong["topics"] = std::int64_t{5};
  EXPECT_THROW(make_model(wrong)->load(), data_error);
  std::filesystem::remove(file);
}

TEST(topic_transformer_plugin, keeps_the_best_and_stops_when_patience_ends) {
  spec const s = regime_defaults("R2", style_kind::paper);
  word_source const data(s, make_documents(s, 40, 20, 30, 0, 1)), held_out(s, make_documents(s, 80, 20, 40, 0, 2));
  // Few documents and a fast learner: it soon knows them by heart.
  auto const m = make_model({{"train.updates", std::int64_t{4000}},
                             {"train.learning_rate", 0.1},
                             {"train.held_out_every", std::int64_t{10}},
                             {"train.keep_best", true},
                             {"train.patience", std::int64_t{30}},
                             {"train.snapshots", std::vector<std::int64_t>{1, 3999}}});
  results out;
  silent quiet;
  std::vector<snapshot> kept;
  m->train({data, &held_out, out, quiet, [&](snapshot one) { kept.push_back(std::move(one)); }});
  auto const& curve = out.at("held_out_loss").values();
  double least = curve.get({0});
  std::size_t at = 0;
  for (std::size_t i = 0; i < curve.count(); ++i)
    if (curve.get({i}) < least) least = curve.get({i}), at = i;
  EXPECT_LT(curve.count(), 100u);
  EXPECT_EQ(kept.back().step, 1 + 10 * at);
  EXPECT_EQ(out.at("final_held_out_loss").scalar(), least);
}

TEST(topic_transformer_plugin, refuses_switches_that_contradict_each_other) {
  EXPECT_THROW(make_model({{"regime", "R2"}, {"d_model", std::int64_t{20}}}), usage_error);
  EXPECT_THROW(make_model({{"regime", "R5"}, {"d_model", std::int64_t{20}}, {"heads", std::int64_t{3}}}), usage_error);
  EXPECT_THROW(make_model({{"decoder", "tied"}}), usage_error);
  EXPECT_THROW(make_model({{"p_c", 0.7}, {"p_r", 0.7}}), usage_error);
  EXPECT_THROW(make_model({{"train.updates", std::int64_t{5}}, {"train.epochs", std::int64_t{5}}}), usage_error);
  auto const m = make_model({{"heads", std::int64_t{2}}, {"train.method", "fast"}});
  spec const s;
  word_source const data(s, make_documents(s, 10, 20, 30, 0, 1));
  results out;
  silent quiet;
  EXPECT_THROW(m->train({data, nullptr, out, quiet, [](snapshot) {}}), usage_error);
}

}  // namespace
}  // namespace wayfarer::topic_transformer::test
