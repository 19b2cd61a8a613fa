// head_lookup against scores written out with full matrices, on toy models; the paper's nouns; and structure planted in the
// weights.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parameter_error.hpp>

#include "geometry_fixtures.hpp"
#include "geometry_planted.hpp"
#include "nouns.hpp"

namespace wf = wayfarer;
using namespace wf::test;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

std::vector<std::int64_t> const asked{4, 0, 49, 17};

/// The weights of one head, as full matrices would have them: [d][d_head] and so on, row-major.
struct head {
  head(toy const& t, std::size_t block, std::size_t h) {
    std::string const p = "h." + std::to_string(block) + ".";
    std::size_t const d = t.sizes.d, r = t.sizes.width();
    auto const w = t.w(p + "attn.c_attn.weight"), b = t.w(p + "attn.c_attn.bias"), out = t.w(p + "attn.c_proj.weight");
    auto const part = [&](std::size_t which, vec& matrix, vec& bias) {
      for (std::size_t i = 0; i < d; ++i)
        for (std::size_t j = 0; j < r; ++j) matrix.push_back(w[i * 3 * d + which * d + h * r + j]);
      for (std::size_t j = 0; j < r; ++j) bias.push_back(b[which * d + h * r + j]);
    };
    part(0, q, b_q), part(1, k, b_k), part(2, v, b_v);
    for (std::size_t j = 0; j < r; ++j)
      for (std::size_t i = 0; i < d; ++i) o.push_back(out[(h * r + j) * d + i]);
  }
  vec q, k, v, o, b_q, b_k, b_v;
};

/// x W + b, x: [in].
vec times(vec const& x, vec const& w, vec const& b = {}) {
  std::size_t const out = w.size() / x.size();
  vec y = b.empty() ? vec(out) : b;
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t j = 0; j < out; ++j) y[j] += x[i] * w[i * out + j];
  return y;
}
vec plus(vec a, vec const& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

TEST(nouns, are_the_papers) {
  std::ifstream in(WAYFARER_SOURCE_DIR "/runs/data/common-nouns.txt");
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  EXPECT_THAT(lines, ElementsAreArray(wf::lookup::common_nouns.begin(), wf::lookup::common_nouns.end()));
}

// Check 1 of section 4.1, with GPT-2's own tokenizer.
TEST(nouns, ninety_six_are_single_tokens_of_gpt2) {
  char const* const data = std::getenv("WAYFARER_DATA");
  if (data == nullptr) GTEST_SKIP() << "WAYFARER_DATA does not name a folder with tokenizer-gpt2";
  toy_sizes const s{.layers = 1, .d = 4, .heads = 1, .vocabulary = 50257, .positions = 4};
  scratch_folder to;
  write_folder(to, toy_config(s), random_toy(s), "F32");
  for (char const* file : {"encoder.json", "vocab.bpe"})
    std::filesystem::copy_file(std::string(data) + "/tokenizer-gpt2/" + file, to.file(file));
  auto const m = open_model("gpt2", to.path());
  values const fast{{"keys", false}, {"outputs", false}, {"biases", false}};
  auto published = fast;
  published["leading_space"] = false;
  auto const r = finish_only("head_lookup", published, *m);
  EXPECT_THAT(r.at("dropped").texts(), ElementsAre("idea", "others", "moment", "teacher"));
  std::vector<std::int32_t> const expected{
      2435,  1941,  15332, 1014,  820,   805,   1197,  8580,  6042,  9410,  6894,  14347, 5219,  17989, 50139, 8094,
      19315, 45573, 4993,  3911,  5372,  7442,  10464, 39722, 10057, 23065, 25652, 1818,  14480, 17618, 3847,  4122,
      11195, 7050,  3823,  13552, 20337, 26316, 13571, 22584, 8424,  26487, 3506,  44517, 2070,  25379, 21858, 4775,
      22680, 21949, 1589,  11031, 2256,  4803,  15271, 6726,  11358, 6477,  9769,  6057,  1370,  437,   19522, 6270,
      7718,  19205, 28158, 3672,  22540, 15097, 11374, 38439, 2618,  17018, 1891,  8000,  2550,  5715,  31810, 9424,
      13948, 6259,  433,   5767,  23569, 10608, 20274, 3803,  43911, 41181, 34033, 15219, 22932, 958,   3174,  40796};
  EXPECT_EQ(ids_of(r.at("word_ids").values()), expected);
  auto const corrected = finish_only("head_lookup", fast, *m);
  EXPECT_EQ(corrected.at("word_ids").values().size(0), 100u);
  EXPECT_EQ(corrected.find("dropped"), nullptr);
  // Check 2: the prompt of the trajectory.
  EXPECT_THAT(m->text_tokenizer()->encode("To kill two birds with one stone").ids,
              ElementsAre(2514, 1494, 734, 10087, 351, 530, 7815));
}

// E3, with and without what the published code leaves out; checks 7 and 8 of section 4.1.
TEST(head_lookup, keys_are_those_of_the_full_matrices) {
  toy const t;
  std::size_t const d = t.sizes.d, V = t.sizes.vocabulary, K = 6;
  auto const e = t.w("wte.weight");
  for (bool const bias : {true, false}) {
    auto const r = finish_only("head_lookup", {{"word_ids", asked}, {"k", std::int64_t{6}}, {"query_bias", bias}}, *t.m);
    auto const folded = finish_only(
        "head_lookup", {{"word_ids", asked}, {"k", std::int64_t{6}}, {"query_bias", bias}, {"fold", std::string("norm")}}, *t.m);
    for (std::size_t b = 0; b < 2; ++b)
      for (std::size_t h = 0; h < 2; ++h) {
        head const w(t, b, h);
        std::string const p = "h." + std::to_string(b) + ".ln_1.";
        auto const g = t.w(p + "weight"), beta = t.w(p + "bias");
        for (std::size_t n = 0; n < asked.size(); ++n) {
          auto const word = row_of(e, static_cast<std::size_t>(asked[n]), d);
          auto const query = times(layer_norm(word, g, beta), w.q, bias ? w.b_q : vec{});
          vec score, unscaled, bare;
          auto const sphere = [&](vec x) {  // n(x) G Pi, without the bias
            x = layer_norm(x);
            for (std::size_t j = 0; j < d; ++j) x[j] *= g[j];
            return x;
          };
          auto const bare_query = times(sphere(word), w.q);
          for (std::size_t v = 0; v < V; ++v) {
            auto const key = times(layer_norm(row_of(e, v, d), g, beta), w.k);
            unscaled.push_back(inner(query, key)), score.push_back(unscaled.back() / std::sqrt(8.0));
            bare.push_back(inner(bare_query, times(sphere(row_of(e, v, d)), w.k)) / std::sqrt(8.0));
          }
          auto const best = wf::top_k(std::span<double const>(unscaled), K);
          auto const best_bare = wf::top_k(std::span<double const>(bare), K);
          for (std::size_t k = 0; k < K; ++k) {
            EXPECT_EQ(at(r, "keys/top_ids", {b, h, n, k}), best[k]);
            EXPECT_NEAR(at(r, "keys/top_scores", {b, h, n, k}), score[static_cast<std::size_t>(best[k])], 1e-4);
            // With all biases the folded scores are the unfolded ones but for what is the same for every key; without, they are
            // the inner products of points of the sphere.
            EXPECT_EQ(at(folded, "keys/top_ids", {b, h, n, k}), bias ? best[k] : best_bare[k]);
            EXPECT_NEAR(at(folded, "keys/top_scores", {b, h, n, k}) - at(folded, "keys/top_scores", {b, h, n, 0}),
                        bias ? score[static_cast<std::size_t>(best[k])] - score[static_cast<std::size_t>(best[0])]
                             : bare[static_cast<std::size_t>(best_bare[k])] - bare[static_cast<std::size_t>(best_bare[0])],
                        1e-4);
          }
        }
      }
  }
}

// E4.
TEST(head_lookup, scores_carry_the_scale_of_their_layer) {
  toy const plain, scaled(toy_sizes{.scaled_by_layer = true});
  values const given{{"word_ids", asked}, {"k", std::int64_t{3}}};
  auto const a = finish_only("head_lookup", given, *plain.m), b = finish_only("head_lookup", given, *scaled.m);
  for (std::size_t block = 0; block < 2; ++block)
    for (std::size_t n = 0; n < asked.size(); ++n) {
      EXPECT_EQ(at(b, "keys/top_ids", {block, 1, n, 0}), at(a, "keys/top_ids", {block, 1, n, 0}));
      EXPECT_NEAR(at(b, "keys/top_scores", {block, 1, n, 0}),
                  at(a, "keys/top_scores", {block, 1, n, 0}) / static_cast<double>(block + 1), 1e-5);
    }
}

TEST(head_lookup, outputs_are_those_of_the_full_matrices) {
  toy const t;
  std::size_t const d = t.sizes.d, V = t.sizes.vocabulary, K = 5;
  auto const r = finish_only("head_lookup", {{"word_ids", asked}, {"truncated_norms", true}}, *t.m);
  auto const folded = finish_only("head_lookup", {{"word_ids", asked}, {"fold", std::string("norm")}}, *t.m);
  auto const e = t.w("wte.weight"), g_f = t.w("ln_f.weight"), beta_f = t.w("ln_f.bias");
  EXPECT_THAT(*r.at("outputs/norm").find_labels("update"), ElementsAre("head 0", "head 1", "sum of heads"));
  for (std::size_t b = 0; b < 2; ++b)
    for (std::size_t n = 0; n < asked.size(); ++n) {
      std::string const p = "h." + std::to_string(b) + ".";
      auto const word = row_of(e, static_cast<std::size_t>(asked[n]), d);
      auto const read = layer_norm(word, t.w(p + "ln_1.weight"), t.w(p + "ln_1.bias"));
      vec sum(d);
      for (std::size_t u = 0; u <= 2; ++u) {
        vec update = sum;
        if (u < 2) {
          head const w(t, b, u);
          update = times(times(read, w.v, w.b_v), w.o);
          sum = plus(sum, update);
        }
        EXPECT_NEAR(at(r, "outputs/norm", {b, u, n}), length(update), 1e-5);
        EXPECT_EQ(at(r, "outputs/truncated_norm", {b, u, n}), std::floor(length(update)));
        auto const y = layer_norm(plus(plus(word, update), t.w(p + "attn.c_proj.bias")), g_f, beta_f);
        vec logit;
        for (std::size_t v = 0; v < V; ++v) logit.push_back(inner(y, row_of(e, v, d)));
        auto const best = wf::top_k(std::span<double const>(logit), K);
        for (std::size_t k = 0; k < K; ++k) {
          EXPECT_EQ(at(r, "outputs/top_ids", {b, u, n, k}), best[k]);
          EXPECT_NEAR(at(r, "outputs/top_scores", {b, u, n, k}), logit[static_cast<std::size_t>(best[k])], 1e-4);
          EXPECT_NEAR(at(folded, "outputs/top_scores", {b, u, n, k}), logit[static_cast<std::size_t>(best[k])], 1e-4);
        }
      }
    }
}

// Check 6 of section 4.1: the sum of heads is what the model's own attention does to a text of one token.
TEST(head_lookup, sum_of_heads_is_the_models_attention_to_one_token) {
  toy const t;
  std::size_t const d = t.sizes.d;
  auto const r = finish_only("head_lookup", {{"word_ids", asked}}, *t.m);
  for (std::size_t b = 0; b < 2; ++b)
    for (std::size_t n = 0; n < asked.size(); ++n) {
      auto const word = row_of(t.w("wte.weight"), static_cast<std::size_t>(asked[n]), d);
      std::string const block = "blocks." + std::to_string(b) + ".";
      wf::batch one;
      one.tokens.push_back(std::vector<std::int32_t>{0});
      wf::hook_edit const put{block + "hook_resid_pre", [&](wf::edit_site const&, wf::tensor const& x) {
                                for (std::size_t j = 0; j < d; ++j) x.view<float>()(0, j) = static_cast<float>(word[j]);
                              }};
      auto const mid = run_hooks(*t.m, one, {block + "hook_resid_mid"}, wf::dtype::f32, {put}).at(block + "hook_resid_mid", 0);
      auto const logits = t.m->unembed(t.m->final_norm(mid));
      auto const best = wf::top_k(logits.view<float const>().row(0), 5);
      for (std::size_t k = 0; k < 5; ++k) {
        EXPECT_EQ(at(r, "outputs/top_ids", {b, 2, n, k}), best[k]);
        EXPECT_NEAR(at(r, "outputs/top_scores", {b, 2, n, k}), logits.view<float const>()(0, static_cast<std::size_t>(best[k])),
                    1e-5);
      }
    }
}

// E6.
TEST(head_lookup, bias_directions_are_read_in_both_senses) {
  toy const t;
  std::size_t const d = t.sizes.d, V = t.sizes.vocabulary;
  auto const e = t.w("wte.weight");
  auto const r = finish_only("head_lookup", {{"word_ids", asked}, {"k", std::int64_t{3}}}, *t.m);
  for (std::size_t b = 0; b < 2; ++b)
    for (std::size_t h = 0; h < 2; ++h) {
      head const w(t, b, h);
      std::string const p = "h." + std::to_string(b) + ".ln_1.";
      for (char const* side : {"query", "key"}) {
        bool const query = side == std::string("query");
        vec direction(d), along;
        for (std::size_t i = 0; i < d; ++i)
          for (std::size_t j = 0; j < 8; ++j) direction[i] += query ? w.q[i * 8 + j] * w.b_k[j] : w.k[i * 8 + j] * w.b_q[j];
        for (std::size_t i = 0; i < d; ++i) EXPECT_NEAR(at(r, std::string("bias/") + side, {b, h, i}), direction[i], 1e-5);
        for (std::size_t v = 0; v < V; ++v)
          along.push_back(inner(direction, layer_norm(row_of(e, v, d), t.w(p + "weight"), t.w(p + "bias"))));
        auto const best = wf::top_k(std::span<double const>(along), 3);
        for (double& x : along) x = -x;
        auto const worst = wf::top_k(std::span<double const>(along), 3);
        for (std::size_t k = 0; k < 3; ++k) {
          EXPECT_EQ(at(r, std::string("bias/") + side + "_along_ids", {b, h, k}), best[k]);
          EXPECT_EQ(at(r, std::string("bias/") + side + "_against_ids", {b, h, k}), worst[k]);
          EXPECT_NEAR(at(r, std::string("bias/") + side + "_against_scores", {b, h, k}),
                      along[static_cast<std::size_t>(worst[k])], 1e-4);
        }
      }
    }
}

// Check 4 of section 4.1, as far as single words go: softmax never feels the key bias, and does feel the query bias.
TEST(head_lookup, keys_do_not_depend_on_the_key_bias) {
  auto const with = [](std::size_t part) {
    return toy({}, [part](weights& all) {
      auto& bias = all.at("h.0.attn.c_attn.bias").values;
      for (std::size_t j = 0; j < 16; ++j) bias[part * 16 + j] += static_cast<float>(j % 3) - 1;
    });
  };
  toy const plain;
  auto const ids = [](toy const& t) {
    return ids_of(finish_only("head_lookup", {{"word_ids", asked}}, *t.m).at("keys/top_ids").values());
  };
  EXPECT_EQ(ids(plain), ids(with(1)));
  EXPECT_NE(ids(plain), ids(with(0)));
}

// Section 5: W_Q = W_K with orthonormal columns that span the words, so that every word asks for itself.
TEST(head_lookup, finds_planted_self_attention) {
  auto const t = planted();
  std::vector<std::int64_t> all(8);
  std::iota(all.begin(), all.end(), std::int64_t{0});
  auto const r = finish_only("head_lookup", {{"word_ids", all}, {"blocks", std::vector<std::int64_t>{0}}}, *t->m);
  for (std::size_t n = 0; n < 8; ++n) {
    EXPECT_EQ(at(r, "keys/top_ids", {0, 0, n, 0}), static_cast<double>(n));
    EXPECT_GT(at(r, "keys/top_scores", {0, 0, n, 0}), at(r, "keys/top_scores", {0, 0, n, 1}) + 1);
  }
  EXPECT_NEAR(at(r, "keys/identity", {0, 0}), 1, 1e-12);
  // W_VO = s t^T: having read word 3, head 0 writes word 5.
  EXPECT_EQ(at(r, "outputs/top_ids", {0, 0, 3, 0}), 5);
}

TEST(head_lookup, same_bytes_for_any_number_of_threads) {
  toy const t(toy_sizes{.layers = 1, .vocabulary = 20000});
  values const given{{"word_ids", asked}};
  auto const one = on_threads(1, [&] { return finish_only("head_lookup", given, *t.m); });
  auto const three = on_threads(3, [&] { return finish_only("head_lookup", given, *t.m); });
  for (auto const& name : one.names())
    if (!one.at(name).is_text()) {
      EXPECT_TRUE(same_bytes(one.at(name).values(), three.at(name).values())) << name;
    }
  // A vocabulary of many chunks has one order: the plain one.
  head const w(t, 0, 1);
  auto const e = t.w("wte.weight"), g = t.w("h.0.ln_1.weight"), beta = t.w("h.0.ln_1.bias");
  auto const query = times(layer_norm(row_of(e, 17, 16), g, beta), w.q, w.b_q);
  vec score;
  for (std::size_t v = 0; v < 20000; ++v) score.push_back(inner(query, times(layer_norm(row_of(e, v, 16), g, beta), w.k)));
  auto const best = wf::top_k(std::span<double const>(score), 5);
  for (std::size_t k = 0; k < 5; ++k) EXPECT_EQ(at(one, "keys/top_ids", {0, 1, 3, k}), best[k]);
}

TEST(head_lookup, reads_the_decoder_of_t5) {
  auto const m = open_model("t5", data_folder("t5-relu"));
  auto const r = finish_only("head_lookup", {{"word_ids", std::vector<std::int64_t>{3, 4}}}, *m);
  // The sum of heads is self-attention over one token, whose position bias softmax does not feel.
  wf::batch one;
  one.tokens.push_back(std::vector<std::int32_t>{2});
  one.decoder_tokens.push_back(std::vector<std::int32_t>{4});
  auto const mid = run_hooks(*m, one, {"decoder.0.hook_resid_mid"}).at("decoder.0.hook_resid_mid", 0);
  auto const logits = m->unembed(m->final_norm(mid));
  auto const best = wf::top_k(logits.view<float const>().row(0), 5);
  for (std::size_t k = 0; k < 5; ++k) {
    EXPECT_EQ(at(r, "outputs/top_ids", {0, m->info().heads, 1, k}), best[k]);
    EXPECT_NEAR(at(r, "outputs/top_scores", {0, m->info().heads, 1, k}),
                logits.view<float const>()(0, static_cast<std::size_t>(best[k])), 1e-5);
  }
}

TEST(head_lookup, says_which_words_it_leaves_out) {
  auto const m = open_model("gpt2", std::string(WAYFARER_SOURCE_DIR "/runs/data/tiny-gpt2"));
  auto const r = finish_only("head_lookup", {{"words", std::vector<std::string>{"Anna", "gave", "time"}}}, *m);
  EXPECT_THAT(*r.at("word_ids").find_labels("word"), ElementsAre("Anna", "gave"));
  EXPECT_THAT(r.at("dropped").texts(), ElementsAre("time"));
  EXPECT_THAT(
      [&] {
        finish_only("head_lookup", {{"words", std::vector<std::string>{"time"}}}, *m);
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("none of the words as one token")));
  // The paper's nouns mean little to another tokenizer, or nothing, which is no reason to fail.
  EXPECT_GT(finish_only("head_lookup", {}, *m).at("dropped").texts().size(), 90u);
  toy const bare;
  auto const defaults = finish_only("head_lookup", {}, *bare.m);
  EXPECT_THAT(defaults.at("word_readings").texts().at(0), HasSubstr("left out"));
  EXPECT_NE(defaults.find("bias/key_along_ids"), nullptr);
  EXPECT_THAT(
      [&] {
        finish_only("head_lookup", {{"words", std::vector<std::string>{"time"}}}, *bare.m);
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("no tokenizer")));
  EXPECT_THAT(
      [&] {
        finish_only("head_lookup", {{"word_ids", std::vector<std::int64_t>{50}}}, *bare.m);
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("names token 50")));
  EXPECT_THAT(
      [&] {
        finish_only("head_lookup", {{"blocks", std::vector<std::int64_t>{2}}}, *bare.m);
      },
      ThrowsMessage<wf::parameter_error>(HasSubstr("blocks 0 to 1")));
  // Without MLPs a model makes no logits, but its heads can still be asked for keys.
  auto some = bare.all;
  some.erase("h.0.mlp.c_fc.weight");
  scratch_folder halved;
  write_folder(halved, toy_config(bare.sizes), some, "F32");
  auto const keys = finish_only("head_lookup", {{"word_ids", asked}}, *open_model("gpt2", halved.path()));
  EXPECT_THAT(keys.at("output_readings").texts().at(0), HasSubstr("h.0.mlp.c_fc.weight"));
  EXPECT_NE(keys.find("keys/top_ids"), nullptr);
  EXPECT_EQ(keys.find("outputs/top_ids"), nullptr);
  some.erase("wte.weight");
  scratch_folder cut;
  write_folder(cut, toy_config(bare.sizes), some, "F32");
  auto const without = finish_only("head_lookup", {}, *open_model("gpt2", cut.path()));
  EXPECT_THAT(without.at("token_readings").texts().at(0), HasSubstr("left out"));
  EXPECT_EQ(without.at("bias/key").values().size(1), 2u);
}

}  // namespace
