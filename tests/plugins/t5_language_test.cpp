// Generation and the probes of language models on T5: against runs of the model itself, whose hooks t5_test holds to the
// reference.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include <wayfarer/generate.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>

#include "command.hpp"
#include "golden_models.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
using ids = std::vector<std::int32_t>;
using texts = std::vector<std::string>;

/// Encoder and decoder ids of items: of unequal lengths on both sides.
std::vector<ids> const inputs{{3, 1, 4, 1}, {5, 9, 2, 6, 5, 3}, {7}}, starts{{0, 2, 8, 4}, {0, 5}, {0, 11, 3}};

struct t5_language : testing::TestWithParam<char const*> {
  std::unique_ptr<model> t5 = open_model("t5", data_folder(GetParam()));

  static std::string spelled(ids const& list) {
    std::string text;
    for (auto const id : list) text += std::to_string(id) + " ";
    return text;
  }
  static std::unique_ptr<source> items(std::vector<ids> const& tokens, std::vector<ids> const& decoder_tokens) {
    texts a, b;
    for (auto const& i : tokens) a.push_back(spelled(i));
    for (auto const& i : decoder_tokens) b.push_back(spelled(i));
    return make_source("tokens", {{"ids", a}, {"decoder_ids", b}});
  }
  static batch one(ids const& tokens, ids const& decoder_tokens) {
    batch b;
    b.tokens.push_back(tokens), b.decoder_tokens.push_back(decoder_tokens);
    return b;
  }
  /// [decoder_pos, token] of an item run alone.
  tensor logits(std::size_t i, std::vector<hook_edit> edits = {}) const {
    return run_hooks(*t5, one(inputs[i], starts[i]), {"logits"}, dtype::f32, std::move(edits)).at("logits", 0);
  }
};

/// What the probe makes of the items, in blocks of `block` that are merged in order.
results observe(probe const& what, model const& m, source const& data, std::size_t block = 2) {
  std::size_t const count = data.info().items;
  std::size_t longest = 0, longest_decoder = 0;
  auto const all = m.encode(data.read({0, count}), {});
  for (std::size_t i = 0; i < count; ++i) {
    longest = std::max(longest, all.tokens[i].size());
    if (!all.decoder_tokens.empty()) longest_decoder = std::max(longest_decoder, all.decoder_tokens[i].size());
  }
  probe_context const context(&m, &data, {0, count}, 0, longest, longest_decoder);
  std::unique_ptr<accumulator> whole;
  for (std::size_t first = 0; first < count; first += block) {
    auto const some = data.read({first, std::min(first + block, count)});
    auto const tokens = m.encode(some, {});
    run_request request;
    request.capture = what.needs(m.info());
    auto const captured = request.capture.empty() ? activations() : m.run(tokens, request);
    auto part = std::make_unique<accumulator>(some.count);
    what.shape(*part, context);
    what.observe(*part, sample(some, tokens, captured, 0, &request), context);
    if (whole)
      what.merge(*whole, *part);
    else
      whole = std::move(part);
  }
  results out;
  what.finish(*whole, out, context);
  return out;
}

double log_probability(tensor const& logits, std::size_t row, std::int32_t token) {
  double most = -INFINITY, sum = 0;
  for (std::size_t t = 0; t < logits.size(1); ++t) most = std::max(most, logits.get({row, t}));
  for (std::size_t t = 0; t < logits.size(1); ++t) sum += std::exp(logits.get({row, t}) - most);
  return logits.get({row, static_cast<std::size_t>(token)}) - most - std::log(sum);
}

// ---- generation

TEST_P(t5_language, kept_keys_and_values_give_the_bytes_of_whole_runs) {
  batch prompt;
  for (std::size_t i = 0; i < inputs.size(); ++i) prompt.tokens.push_back(inputs[i]), prompt.decoder_tokens.push_back(starts[i]);
  run_request request;
  request.capture = t5->info().hooks_for(texts{"decoder.*.hook_resid_post", "decoder.*.cross_attn.hook_pattern"});
  for (double const temperature : {0.0, 0.9}) {
    sampling how;
    how.max_new_tokens = 7, how.temperature = temperature, how.seed = 5, how.top_k = temperature > 0 ? 12 : 0;
    std::vector<ids> written = starts;
    std::size_t steps = 0;
    generate(*t5, prompt, how, request, [&](generation_step const& step) {
      for (std::size_t k = 0; k < step.items.size(); ++k) {
        std::size_t const item = step.items[k];
        auto const whole = run_hooks(*t5, one(inputs[item], written[item]),
                                     {"logits", "decoder.*.hook_resid_post", "decoder.*.cross_attn.hook_pattern"});
        std::size_t const last = written[item].size() - 1;
        EXPECT_TRUE(same_bytes(step.logits[k], whole.at("logits", 0)[last])) << "step " << step.index << " item " << item;
        for (auto const& hook : request.capture.names()) {
          tensor const &now = step.captured.at(hook, k), &all = whole.at(hook, 0);
          std::size_t const axis = hook.ends_with("pattern") ? 1 : 0;
          EXPECT_TRUE(same_bytes(now, all.slice(axis, last + 1 - now.size(axis), last + 1))) << hook << " step " << step.index;
        }
        EXPECT_EQ(step.tokens[k], draw_token(step.logits.view<float const>().row(k), how, item, step.index));
        if (temperature == 0) {
          EXPECT_EQ(step.tokens[k], top_k(step.logits.view<float const>().row(k), 1)[0]);
        }
        written[item].push_back(step.tokens[k]);
      }
      return ++steps < 7;
    });
    EXPECT_EQ(steps, 7u);
  }
}

TEST_P(t5_language, the_command_line_goes_on_as_the_library_does) {
  auto const go = [&](texts more) {
    more.insert(more.begin(), {"generate", "t5", "--path", data_folder(GetParam()), "--max-new-tokens", "6"});
    return run_wayfarer(more);
  };
  for (bool const greedy : {true, false}) {
    texts line{"--ids", "3,1,4,1", "--ids", "7", "--decoder-ids", "0,2", "--json"};
    if (!greedy) line.insert(line.end(), {"--temperature", "1.5", "--top-p", "0.9", "--seed", "11"});
    auto const r = go(line);
    ASSERT_EQ(r.code, 0) << r.out;
    auto const all = parse_json(r.out, "output", tokenizer_limits);
    sampling how;
    how.max_new_tokens = 6;
    how.stop = generation_tokens_of(*t5).stop;
    if (!greedy) how.temperature = 1.5, how.top_p = 0.9, how.seed = 11;
    batch b = one({3, 1, 4, 1}, {0, 2});
    b.tokens.push_back(ids{7}), b.decoder_tokens.push_back(ids{0, 2});
    auto const expected = generate(*t5, b, how);
    ASSERT_EQ(all.size(), 2u);
    for (std::size_t i = 0; i < 2; ++i) {
      ids got;
      for (json_value const id : all.at(i).at("new_ids").elements()) got.push_back(static_cast<std::int32_t>(id.as_unsigned()));
      EXPECT_EQ(got, ids(expected[i].begin(), expected[i].end())) << greedy << " prompt " << i;
    }
  }
  // Without a start the decoder begins with the padding token.
  EXPECT_EQ(go({"--ids", "3,1", "--json"}).out, go({"--ids", "3,1", "--decoder-ids", "0", "--json"}).out);
  auto const refused = go({"--ids", "3", "--decoder-ids", "99"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.out, HasSubstr("--decoder-ids takes token ids from 0 to"));
}

// ---- probes

TEST_P(t5_language, activations_keep_both_stacks) {
  texts const hooks{"encoder.*.hook_resid_post", "decoder.*.hook_resid_mid", "decoder.0.cross_attn.hook_pattern",
                    "encoder.0.attn.hook_position_bias"};
  auto const data = items(inputs, starts);
  auto const kept = observe(*make_probe("activations", {{"hooks", hooks}}), *t5, *data);
  auto const names = t5->info().hooks_for(hooks);
  for (auto const& hook : names.names())
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      tensor const alone = run_hooks(*t5, one(inputs[i], starts[i]), {hook}).at(hook, 0), row = kept.at(hook).values()[i];
      ASSERT_EQ(row.rank(), alone.rank()) << hook;
      tensor part = row, beyond = row;
      for (std::size_t a = 0; a < alone.rank(); ++a) part = part.slice(a, 0, alone.size(a));
      EXPECT_TRUE(same_bytes(part, alone)) << hook << " of item " << i;
      for (std::size_t a = 0; a < alone.rank(); ++a)
        if (row.size(a) > alone.size(a)) beyond = row.slice(a, alone.size(a), row.size(a));
      if (beyond.count() == row.count()) continue;
      for (double const v : numbers(beyond)) EXPECT_TRUE(std::isnan(v)) << hook;
    }
  EXPECT_EQ(kept.at("decoder_length").values().get({1}), 2);
  EXPECT_EQ(kept.at("decoder_token_ids").values().get({0, 2}), 8);
}

TEST_P(t5_language, losses_are_those_of_the_decoders_tokens) {
  auto const data = items(inputs, starts);
  auto const r = observe(*make_probe("language_loss"), *t5, *data);
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    tensor const all = logits(i);
    for (std::size_t p = 0; p + 1 < starts[i].size(); ++p) {
      double const expected = log_probability(all, p, starts[i][p + 1]);
      EXPECT_NEAR(r.at("log_probability").values().get({i, p + 1}), expected, 1e-5) << i << " " << p;
      sum += expected, count += 1;
    }
  }
  EXPECT_NEAR(r.at("loss").values().get({}), -sum / count, 1e-5);
  EXPECT_EQ(r.at("tokens_predicted").values().get({}), count);
  // Items without decoder tokens have the start token alone, after which nothing is given.
  auto const bare = make_source("tokens", {{"ids", texts{"3 1 4"}}});
  EXPECT_THAT(thrown<usage_error>([&] { observe(*make_probe("language_loss"), *t5, *bare); }),
              HasSubstr("no item has two tokens, so nothing is predicted"));
}

TEST_P(t5_language, the_lens_ends_in_the_decoders_logits) {
  auto const data = items(inputs, starts);
  auto const r = observe(*make_probe("logit_lens", {{"k", std::int64_t{3}}, {"parts", true}}), *t5, *data);
  std::size_t const states = t5->info().decoder_layers + 1;
  EXPECT_EQ(r.at("top_ids").values().size(1), states);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    tensor const all = logits(i);
    for (std::size_t p = 0; p < starts[i].size(); ++p) {
      auto const best = top_k(all.view<float const>().row(p), 3);
      for (std::size_t k = 0; k < 3; ++k) {
        EXPECT_EQ(r.at("top_ids").values().get({i, states - 1, p, k}), best[k]);
        EXPECT_NEAR(r.at("top_logits").values().get({i, states - 1, p, k}), all.get({p, static_cast<std::size_t>(best[k])}),
                    1e-4);
      }
      EXPECT_NEAR(r.at("divergence").values().get({i, states - 1, p}), 0, 1e-9);
      // An embedding read through the final norm and the unembedding.
      tensor const x = run_hooks(*t5, one(inputs[i], starts[i]), {"decoder.hook_embed"}).at("decoder.hook_embed", 0);
      tensor const read = t5->unembed(t5->final_norm(x));
      EXPECT_EQ(r.at("top_ids").values().get({i, 0, p, 0}), top_k(read.view<float const>().row(p), 1)[0]);
      if (p + 1 == starts[i].size()) continue;
      EXPECT_NEAR(r.at("next_log_probability").values().get({i, states - 1, p}), log_probability(all, p, starts[i][p + 1]), 1e-5);
    }
  }
  // What cross-attention adds has a lens of its own.
  EXPECT_EQ(r.at("cross_attention/top_ids").values().size(1), t5->info().decoder_layers);
}

TEST_P(t5_language, shares_of_both_attentions_make_the_logit) {
  auto const data = items(inputs, starts);
  auto const r = observe(*make_probe("logit_attribution", {{"answer_ids", std::vector<std::int64_t>{6}},
                                                           {"against_ids", std::vector<std::int64_t>{2}},
                                                           {"positions", texts{"all"}}}),
                         *t5, *data);
  auto const& info = t5->info();
  tensor const W_O = t5->weight("decoder.0.cross_attn.W_O"), W_U = t5->weight("unembed.W_U");
  double cross = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    tensor const all = logits(i);
    auto const captured =
        run_hooks(*t5, one(inputs[i], starts[i]), {"decoder.0.cross_attn.hook_z", "decoder_final_ln.hook_scale"});
    for (std::size_t p = 0; p < starts[i].size(); ++p) {
      double const expected = all.get({p, 6}) - all.get({p, 2});
      EXPECT_NEAR(r.at("logit").values().get({i, p}), expected, 1e-4);
      EXPECT_NEAR(r.at("sum").values().get({i, p}), expected, 1e-3 * (1 + std::abs(expected)));
      // One head by hand: what it writes, through the scale that the final norm had, along the two tokens' difference.
      tensor const part(dtype::f32, {{"pos", 1}, {"d_model", info.d_model}});
      for (std::size_t j = 0; j < info.d_model; ++j) {
        double sum = 0;
        for (std::size_t d = 0; d < W_O.size(1); ++d)
          sum += captured.at("decoder.0.cross_attn.hook_z", 0).get({p, 1, d}) * W_O.get({1, d, j});
        sum *= t5->weight("decoder_final_ln.w").get({j}) / captured.at("decoder_final_ln.hook_scale", 0).get({p, 0});
        part.view<float>()(0, j) = static_cast<float>(sum);
      }
      tensor const said = t5->unembed(part);
      EXPECT_NEAR(r.at("cross_head").values().get({i, p, 0, 1}), said.get({0, 6}) - said.get({0, 2}), 1e-4);
      for (std::size_t l = 0; l < info.decoder_layers; ++l)
        for (std::size_t h = 0; h < info.heads; ++h) cross += std::abs(r.at("cross_head").values().get({i, p, l, h}));
    }
  }
  EXPECT_GT(cross, 0.01);
}

TEST_P(t5_language, patches_go_into_the_decoder) {
  // Two inputs of unlike lengths; the decoder reads as many tokens in both.
  std::vector<ids> const encoder{{3, 1, 4, 1, 5}, {9, 2, 6}}, decoder{{0, 7, 2}, {0, 7, 8}};
  auto const data = items(encoder, decoder);
  texts const kinds{"resid_pre", "resid_mid", "attn_out", "mlp_out", "z"};
  auto const r = observe(*make_probe("patching", {{"kinds", kinds},
                                                  {"answer_ids", std::vector<std::int64_t>{6}},
                                                  {"against_ids", std::vector<std::int64_t>{2}}}),
                         *t5, *data);
  auto const difference = [](tensor const& all) { return all.get({2, 6}) - all.get({2, 2}); };
  auto const clean = one(encoder[0], decoder[0]), corrupted = one(encoder[1], decoder[1]);
  double const of_clean = difference(run_hooks(*t5, clean, {"logits"}).at("logits", 0)),
               of_corrupted = difference(run_hooks(*t5, corrupted, {"logits"}).at("logits", 0));
  EXPECT_NEAR(r.at("clean_difference").values().get({0}), of_clean, 1e-4);
  EXPECT_NEAR(r.at("corrupted_difference").values().get({0}), of_corrupted, 1e-4);
  for (std::size_t l = 0; l < t5->info().decoder_layers; ++l) {
    std::string const block = "decoder." + std::to_string(l) + ".";
    auto const patched = [&](std::string const& hook, auto const& choose) {
      tensor const donor = run_hooks(*t5, clean, {hook}).at(hook, 0);
      hook_edit const edit{hook, [&](edit_site const&, tensor const& x) { copy_into(choose(x), choose(donor)); }};
      return difference(run_hooks(*t5, corrupted, {"logits"}, dtype::f32, {edit}).at("logits", 0));
    };
    for (auto const& kind : kinds) {
      if (kind == "z") continue;
      for (std::size_t p = 0; p < 3; ++p)
        EXPECT_NEAR(r.at(kind + "_difference").values().get({0, l, p}),
                    patched(block + "hook_" + kind, [&](tensor const& t) { return t.slice(0, p, p + 1); }), 1e-4)
            << kind << " " << l << " " << p;
    }
    for (std::size_t h = 0; h < t5->info().heads; ++h)
      EXPECT_NEAR(r.at("z_difference").values().get({0, l, h}),
                  patched(block + "attn.hook_z", [&](tensor const& t) { return t.slice(1, h, h + 1); }), 1e-4);
  }
  // With an unlike input, the state before the last block at the last position is not all that the answer hangs on.
  EXPECT_NEAR(r.at("resid_pre").values().get({0, 0, 0}), 0, 1e-9);  // the same start token
  auto const uneven = items({{3, 1}, {3, 1}}, {{0, 7, 2}, {0, 7}});
  EXPECT_THAT(thrown<usage_error>([&] { observe(*make_probe("patching"), *t5, *uneven); }),
              AllOf(HasSubstr("3 and 2 tokens"), HasSubstr("change the texts until both have as many")));
}

INSTANTIATE_TEST_SUITE_P(both, t5_language, testing::Values("t5-relu", "t5-gated"),
                         [](auto const& one) { return std::string(one.param) == "t5-relu" ? "relu" : "gated"; });

TEST(t5_language_refuses, models_that_predict_no_next_token) {
  auto const bert = open_model("bert", data_folder("bert-small"));
  auto const data = make_source("tokens", {{"ids", texts{"3 1 4", "1 5 9"}}});
  for (char const* id : {"language_loss", "logit_lens", "logit_attribution", "patching"})
    EXPECT_THAT(thrown<usage_error>([&] { observe(*make_probe(id), *bert, *data); }), HasSubstr("predicts no next token")) << id;
}

}  // namespace
