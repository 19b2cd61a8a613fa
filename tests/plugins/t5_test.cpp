// The T5 plugin against goldens of a plain PyTorch T5, against published random models, and against what must hold of any
// weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>

#include <buckets.hpp>

#include <wayfarer/pretrained.hpp>

#include "golden_models.hpp"
#include "precisions.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::HasSubstr;

std::vector<std::string> const both{"t5-relu", "t5-gated"};

std::unique_ptr<model> open_t5(std::string const& name) {
  return open_model("t5", data_folder(name));
}

/// Items of the golden that came in as tokens, and one that came in as encoder states.
std::vector<std::size_t> const from_tokens{0, 1, 2};
std::size_t const from_states = 100;

batch given_states(golden const& g) {
  batch b = g.make({from_states});
  b.encoder_states = g.at(from_states, "states").named({"token", "d_model"});
  return b;
}

/// Names that fit, all the encoder's or all the decoder's.
std::vector<std::string> hooks_along(model const& m, positions along) {
  std::vector<std::string> names;
  for (auto const& h : m.info().hooks)
    if ((h.name.starts_with("decoder") || h.name == "logits") == (along == positions::decoder)) names.push_back(h.name);
  return names;
}

std::vector<std::string> hooks_but(model const& m, std::set<std::string> const& left_out) {
  std::vector<std::string> names;
  for (auto const& h : m.info().hooks)
    if (!left_out.contains(h.name)) names.push_back(h.name);
  return names;
}

void expect_same(activations const& a, std::size_t i, activations const& b, std::size_t j,
                 std::vector<std::string> const& names) {
  for (auto const& n : names) EXPECT_TRUE(same_bytes(a.at(n, i), b.at(n, j))) << n << " of item " << i;
}

// ---- buckets -------------------------------------------------------------------------------------------------------------

TEST(t5_buckets, are_those_of_torch_up_to_a_distance_of_20000) {
  std::size_t tables = 0;
  for (json_value const table : read_json(data_folder("t5-buckets.json")).elements()) {
    t5::bucket_rule const rule{table.at("buckets").as_unsigned(), table.at("max_distance").as_unsigned(),
                               table.at("bidirectional").as_bool()};
    auto const runs = table.at("runs");
    std::size_t run = 0, wrong = 0;
    for (std::int64_t offset = -20000; offset <= 20000; ++offset) {
      if (run + 1 < runs.size() && runs.at(run + 1).at(std::size_t{0}).as_integer() == offset) ++run;
      if (t5::bucket_of(rule, offset) != runs.at(run).at(1).as_unsigned()) ++wrong;
    }
    EXPECT_EQ(run + 1, runs.size());
    EXPECT_EQ(wrong, 0u) << rule.buckets << " buckets up to " << rule.max_distance;
    ++tables;
  }
  EXPECT_EQ(tables, 14u);
}

// ---- parity --------------------------------------------------------------------------------------------------------------

TEST(t5_parity, every_hook_agrees_with_the_reference) {
  for (auto const& name : both) {
    auto const m = open_t5(name);
    golden const g(data_folder(name));
    batch const b = g.make(from_tokens);
    for (auto const& [precision, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-12)}) {
      activations const got = run_hooks(*m, b, {"*"}, precision);
      std::set<std::string> compared;
      for (std::size_t i = 0; i < from_tokens.size(); ++i) {
        for (auto const& hook : g.hooks(from_tokens[i])) {
          EXPECT_LE(distance(got.at(hook, i), g.at(from_tokens[i], hook)), tolerance) << name << " item " << i << ": " << hook;
          EXPECT_EQ(got.at(hook, i).type(), precision);
          compared.insert(hook);
        }
      }
      // Nothing that the plugin offers is left unchecked, but for the scores without bias, which have a test of their own.
      for (auto const& h : m->info().hooks) EXPECT_TRUE(compared.contains(h.name) || h.name.ends_with("attn.hook_qk")) << h.name;
    }
  }
}

TEST(t5_parity, the_decoder_alone_runs_on_states_that_no_encoder_made) {
  for (auto const& name : both) {
    auto const m = open_t5(name);
    golden const g(data_folder(name));
    for (auto const& [precision, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-12)}) {
      activations const got = run_hooks(*m, given_states(g), hooks_along(*m, positions::decoder), precision);
      for (auto const& hook : g.hooks(from_states))
        EXPECT_LE(distance(got.at(hook, 0), g.at(from_states, hook)), tolerance) << name << ": " << hook;
      EXPECT_GT(g.hooks(from_states).size(), 40u);
    }
  }
}

TEST(t5_parity, shapes_and_dimension_names_are_those_that_info_states) {
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  batch const b = g.make(from_tokens);
  activations const got = run_hooks(*m, b, {"*"});
  for (auto const& h : m->info().hooks) {
    for (std::size_t i = 0; i < b.items(); ++i) {
      auto const length = [&](positions p) { return p == positions::tokens ? b.tokens[i].size() : b.decoder_tokens[i].size(); };
      dims expected = h.row;
      if (h.per_pair)
        expected.push_back({"query", length(h.along)}), expected.push_back({"key", length(h.keys)});
      else
        expected.insert(expected.begin(), {"pos", length(h.along)});
      EXPECT_EQ(got.at(h.name, i).shape(), expected) << h.name;
    }
  }
}

TEST(t5_parity, published_random_models_give_their_published_logits) {
  char const* const data = std::getenv("WAYFARER_DATA");
  if (!data) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  std::string const from = std::string(data) + "/models/tiny-random-oracles/";
  for (std::string const name : {"tiny_t5v10", "tiny_flan_t5"}) {
    scratch_folder folder;
    std::filesystem::copy(from + name + ".safetensors", folder.file("model.safetensors"));
    std::filesystem::copy(from + name + "_config.json", folder.file("config.json"));
    auto const m = open_model("t5", folder.path());
    auto const expected = read_json(from + name + "_logits.json", {std::size_t{1} << 24, 16, 1'000'000});
    batch b;
    auto const fill = [&](ragged<std::int32_t>& to, char const* key) {
      for (json_value const list : expected.at(key).elements()) {
        std::vector<std::int32_t> ids;
        for (json_value const id : list.elements()) ids.push_back(static_cast<std::int32_t>(id.as_integer()));
        to.push_back(ids);
      }
    };
    fill(b.tokens, "enc_sequences");
    fill(b.decoder_tokens, "dec_sequences");
    auto const got = run_hooks(*m, b, {"logits", "encoder_final_ln.hook_out"}, dtype::f64);
    std::size_t compared = 0;
    for (auto const& [hook, key] : {std::pair("logits", "logits"), std::pair("encoder_final_ln.hook_out", "enc_hidden")}) {
      for (std::size_t i = 0; i < b.items(); ++i) {
        auto const rows = expected.at(key).at(i);
        auto const& t = got.at(hook, i);
        ASSERT_EQ(t.size(0), rows.size());
        double largest = 0, worst = 0;
        for (std::size_t p = 0; p < t.size(0); ++p) {
          ASSERT_EQ(t.size(1), rows.at(p).size());
          for (std::size_t d = 0; d < t.size(1); ++d, ++compared) {
            double const x = rows.at(p).at(d).as_number();
            largest = std::max(largest, std::abs(x)), worst = std::max(worst, std::abs(x - t.get({p, d})));
          }
        }
        EXPECT_LE(worst, 1e-5 * largest) << name << " " << hook;
      }
    }
    EXPECT_EQ(compared, 2u * (10 * 8 + 6 * 13));
  }
}

// ---- what must hold of any weights ---------------------------------------------------------------------------------------

TEST(t5_structure, position_bias_is_toeplitz_and_equals_its_bucket_table) {
  for (auto const& name : both) {
    auto const m = open_t5(name);
    golden const g(data_folder(name));
    batch const b = g.make(from_tokens);
    auto const got = run_hooks(*m, b, {"*.hook_position_bias"}, dtype::f64);
    for (std::string const stack : {"encoder", "decoder"}) {
      tensor const table = m->weight(stack + ".0.attn.position_bias");
      t5::bucket_rule const rule{table.size(0), 128, stack == "encoder"};
      for (std::size_t i = 0; i < b.items(); ++i) {
        auto const& bias = got.at(stack + ".0.attn.hook_position_bias", i);
        for (std::size_t h = 0; h < bias.size(0); ++h)
          for (std::size_t q = 0; q < bias.size(1); ++q)
            for (std::size_t k = 0; k < bias.size(2); ++k) {
              auto const offset = static_cast<std::int64_t>(k) - static_cast<std::int64_t>(q);
              ASSERT_EQ(bias.get({h, q, k}), table.get({t5::bucket_of(rule, offset), h})) << stack << " " << q << " " << k;
              ASSERT_TRUE(!q || !k || bias.get({h, q, k}) == bias.get({h, q - 1, k - 1}));
            }
      }
    }
  }
}

TEST(t5_structure, scores_are_inner_products_plus_bias_and_weights_sum_to_1) {
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  batch const b = g.make(from_tokens);
  auto const got = run_hooks(*m, b, {"*attn.hook_*"}, dtype::f64);
  std::size_t biased = 0, rows = 0;
  for (auto const& h : m->info().hooks) {
    if (!h.per_pair) continue;
    for (std::size_t i = 0; i < b.items(); ++i) {
      auto const& t = got.at(h.name, i);
      std::string const at = h.name.substr(0, h.name.rfind('.') + 1);
      for (std::size_t n = 0; n < t.size(0); ++n)
        for (std::size_t q = 0; q < t.size(1); ++q) {
          double sum = 0;
          for (std::size_t k = 0; k < t.size(2); ++k) {
            sum += t.get({n, q, k});
            if (!h.name.ends_with("hook_qk")) continue;
            auto const &query = got.at(at + "hook_q", i), &key = got.at(at + "hook_k", i);
            double product = 0;
            for (std::size_t e = 0; e < query.size(2); ++e) product += query.get({q, n, e}) * key.get({k, n, e});
            ASSERT_NEAR(t.get({n, q, k}), product, 1e-11);
            std::string const stack = at.substr(0, at.find('.'));
            double const score = got.at(at + "hook_attn_scores", i).get({n, q, k});
            if (stack == "decoder" && k > q) {
              ASSERT_EQ(score, -INFINITY);
            } else {
              ASSERT_NEAR(score, product + got.at(stack + ".0.attn.hook_position_bias", i).get({n, q, k}), 1e-11);
            }
            ++biased;
          }
          if (!h.name.ends_with("hook_pattern")) continue;
          ASSERT_NEAR(sum, 1, 1e-12);
          ++rows;
        }
    }
  }
  EXPECT_GT(biased, 1000u);
  EXPECT_GT(rows, 200u);
}

TEST(t5_structure, an_item_has_the_same_bytes_alone_and_beside_others) {
  for (auto const& name : both) {
    auto const m = open_t5(name);
    golden const g(data_folder(name));
    for (dtype const precision : precisions()) {
      auto const together = run_hooks(*m, g.make(from_tokens), {"*"}, precision);
      for (std::size_t i = 0; i < from_tokens.size(); ++i) {
        auto const alone = run_hooks(*m, g.make({from_tokens[i]}), {"*"}, precision);
        expect_same(together, i, alone, 0, hooks_along(*m, positions::tokens));
        expect_same(together, i, alone, 0, hooks_along(*m, positions::decoder));
      }
    }
  }
}

TEST(t5_structure, the_encoder_alone_is_the_encoder_of_the_full_run) {
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  batch b = g.make(from_tokens);
  auto const full = run_hooks(*m, b, {"*"});
  b.decoder_tokens = {};
  auto const encoder = hooks_along(*m, positions::tokens);
  auto const alone = run_hooks(*m, b, encoder);
  for (std::size_t i = 0; i < b.items(); ++i) expect_same(full, i, alone, i, encoder);
}

TEST(t5_structure, the_encoders_own_states_given_back_continue_its_run) {
  auto const m = open_t5("t5-gated");
  golden const g(data_folder("t5-gated"));
  batch b = g.make(from_tokens);
  auto const full = run_hooks(*m, b, {"*"});
  std::size_t rows = 0;
  for (std::size_t i = 0; i < b.items(); ++i) rows += b.tokens[i].size();
  b.encoder_states = tensor(dtype::f32, {{"token", rows}, {"d_model", m->info().d_model}});
  for (std::size_t i = 0, row = 0; i < b.items(); ++i) {
    auto const states = full.at("encoder_final_ln.hook_out", i).values<float>();
    std::copy(states.begin(), states.end(), b.encoder_states.view<float>().row(row).data());
    row += b.tokens[i].size();
  }
  auto const decoder = hooks_along(*m, positions::decoder);
  auto const again = run_hooks(*m, b, decoder);
  for (std::size_t i = 0; i < b.items(); ++i) expect_same(full, i, again, i, decoder);
}

TEST(t5_structure, a_run_may_start_from_embeddings) {
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  batch b = g.make(from_tokens);
  auto const looked_up = run_hooks(*m, b, {"*"});
  std::size_t const d = m->info().d_model;
  b.embeddings = tensor(dtype::f32, {{"token", b.tokens.values.size()}, {"d_model", d}});
  tensor const table = m->weight("embed.W_E");
  for (std::size_t t = 0; t < b.tokens.values.size(); ++t)
    for (std::size_t j = 0; j < d; ++j)
      b.embeddings.view<float>()(t, j) = static_cast<float>(table.get({static_cast<std::size_t>(b.tokens.values[t]), j}));
  std::fill(b.tokens.values.begin(), b.tokens.values.end(), -1);  // not read
  auto const given = run_hooks(*m, b, {"*"});
  for (std::size_t i = 0; i < b.items(); ++i)
    for (auto const& h : m->info().hooks) EXPECT_TRUE(same_bytes(looked_up.at(h.name, i), given.at(h.name, i))) << h.name;
}

TEST(t5_structure, bytes_do_not_depend_on_the_number_of_threads) {
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  batch const b = g.make(from_tokens);
  for (dtype const precision : precisions()) {
    auto const one = on_threads(1, [&] { return run_hooks(*m, b, {"*"}, precision); });
    for (int const threads : {2, 4}) {
      auto const more = on_threads(threads, [&] { return run_hooks(*m, b, {"*"}, precision); });
      for (std::size_t i = 0; i < b.items(); ++i)
        for (auto const& h : m->info().hooks) EXPECT_TRUE(same_bytes(one.at(h.name, i), more.at(h.name, i))) << h.name;
    }
  }
}

TEST(t5_structure, every_way_to_store_the_weights_gives_the_same_bytes) {
  for (auto const& name : both) {
    auto const m = open_t5(name);
    golden const g(data_folder(name));
    batch const b = g.make(from_tokens);
    auto const expected = run_hooks(*m, b, {"*"});
    auto const all = read_weights(data_folder(name));
    std::string const config = config_with(data_folder(name), {});
    for (std::string const type : {"F32", "F16", "BF16", "F64"})
      for (bool const sharded : {false, true}) {
        scratch_folder folder;
        (sharded ? write_sharded : write_folder)(folder, config, all, type);
        auto const other = open_model("t5", folder.path());
        auto const got = run_hooks(*other, b, {"*"});
        for (std::size_t i = 0; i < b.items(); ++i)
          for (auto const& h : m->info().hooks)
            ASSERT_TRUE(same_bytes(expected.at(h.name, i), got.at(h.name, i))) << type << " " << h.name;
      }
  }
}

TEST(t5_structure, bfloat16_arithmetic_stays_near) {
  if (!has_bfloat16_products()) GTEST_SKIP() << "this processor has no bfloat16 products";
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  batch const b = g.make(from_tokens);
  auto const got = run_hooks(*m, b, {"logits"}, dtype::bf16);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(got.at("logits", i).type(), dtype::f32);
    double const off = distance(got.at("logits", i), g.at(i, "logits"));
    EXPECT_LT(off, 0.1);
    EXPECT_GT(off, 1e-6) << "this was not bfloat16";
  }
}

TEST(t5_structure, only_the_last_logits_if_no_more_are_wanted) {
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  batch const b = g.make({0, 1, 3});
  auto const all = run_hooks(*m, b, {"logits"});
  run_request request;
  request.capture = m->info().hooks_for("logits");
  request.last_logits_only = true;
  auto const last = m->run(b, request);
  for (std::size_t i = 0; i < b.items(); ++i) {
    auto const n = b.decoder_tokens[i].size();
    EXPECT_EQ(last.at("logits", i).size(0), 1u);
    EXPECT_TRUE(same_bytes(last.at("logits", i), all.at("logits", i).slice(0, n - 1, n)));
  }
}

// ---- edits ---------------------------------------------------------------------------------------------------------------

TEST(t5_edits, change_everything_downstream_and_nothing_upstream) {
  auto const m = open_t5("t5-gated");
  golden const g(data_folder("t5-gated"));
  batch const b = g.make({0, 1});
  auto const plain = run_hooks(*m, b, {"*"}, dtype::f64);
  auto const names = hooks_but(*m, {});
  for (std::size_t at = 0; at < names.size(); ++at) {
    hook_edit const edit{names[at], [](edit_site const& site, tensor const& t) {
                           if (site.item != 1) return;
                           for (double& x : t.values<double>())
                             if (std::isfinite(x)) x = x * 1.25 + 0.25;
                         }};
    auto const edited = run_hooks(*m, b, {"*"}, dtype::f64, {edit});
    // The hook holds what the edit wrote; what was computed before it is as it was; the other item never changes.
    auto const before = numbers(plain.at(names[at], 1)), after = numbers(edited.at(names[at], 1));
    for (std::size_t j = 0; j < before.size(); ++j)
      ASSERT_TRUE(!std::isfinite(before[j]) || std::abs(after[j] - before[j] * 1.25 - 0.25) < 1e-12) << names[at];
    bool const cross =
        names[at].find("cross_attn.hook_k") != std::string::npos || names[at].find("cross_attn.hook_v") != std::string::npos;
    for (std::size_t j = 0; j < names.size(); ++j) {
      EXPECT_TRUE(same_bytes(plain.at(names[j], 0), edited.at(names[j], 0)))
          << names[at] << " reached the other item's " << names[j];
      // Keys and values of the encoder's states may be computed ahead of the decoder, so they are no upstream of it.
      EXPECT_TRUE(j >= at || cross || same_bytes(plain.at(names[j], 1), edited.at(names[j], 1)))
          << names[at] << " reached back to " << names[j];
    }
    EXPECT_FALSE(same_bytes(plain.at("logits", 1), edited.at("logits", 1))) << names[at] << " changed nothing";
  }
}

TEST(t5_edits, zeroed_bias_and_scores_act_as_their_definition_says) {
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  batch const b = g.make({1});
  auto const zero = [](edit_site const&, tensor const& t) {
    for (double& x : t.values<double>()) x = 0;
  };
  auto const got = run_hooks(*m, b, {"encoder.*"}, dtype::f64, {{"encoder.0.attn.hook_position_bias", zero}});
  for (std::string const layer : {"encoder.0.", "encoder.1."})
    EXPECT_TRUE(same_bytes(got.at(layer + "attn.hook_qk", 0), got.at(layer + "attn.hook_attn_scores", 0))) << layer;
  auto const flat = run_hooks(*m, b, {"encoder.0.*"}, dtype::f64, {{"encoder.0.attn.hook_attn_scores", zero}});
  for (double const x : numbers(flat.at("encoder.0.attn.hook_pattern", 0))) EXPECT_DOUBLE_EQ(x, 1.0 / 19);
}

// ---- going on ------------------------------------------------------------------------------------------------------------

/// Rows [first, last) of the positions, or of the queries, of a decoder hook.
tensor part_of(hook_info const& h, tensor const& whole, std::size_t first, std::size_t last) {
  if (!h.per_pair) return whole.slice(0, first, last).clone();
  tensor t = whole.slice(1, first, last);
  if (h.keys == positions::decoder) t = t.slice(2, 0, last);
  return t.clone();
}

TEST(t5_runs_that_go_on, read_on_as_one_run_would) {
  for (auto const& name : both) {
    auto const m = open_t5(name);
    golden const g(data_folder(name));
    batch const whole = g.make({0, 1});
    for (auto const& [precision, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-12)}) {
      std::vector<std::string> decoder;
      for (auto const& h : m->info().hooks)
        if (h.along == positions::decoder) decoder.push_back(h.name);
      auto const expected = run_hooks(*m, whole, decoder, precision);
      run_request request;
      request.capture = m->info().hooks_for(decoder);
      request.precision = precision;
      // Pieces of different length for the two items, none of some.
      std::vector<std::vector<std::size_t>> const cuts{
          {0, 1, 1, 3, whole.decoder_tokens[0].size()},
          {0, 1, whole.decoder_tokens[1].size(), whole.decoder_tokens[1].size(), whole.decoder_tokens[1].size()}};
      std::unique_ptr<continued_run> run;
      for (std::size_t step = 0; step < 4; ++step) {
        batch piece;
        if (step == 0) piece.tokens = whole.tokens;
        for (std::size_t i = 0; i < 2; ++i)
          piece.decoder_tokens.push_back(whole.decoder_tokens[i].subspan(cuts[i][step], cuts[i][step + 1] - cuts[i][step]));
        activations got;
        if (step == 0)
          run = m->begin(piece, request, &got);
        else
          got = run->extend(piece, request);
        for (std::size_t i = 0; i < 2; ++i) {
          EXPECT_EQ(run->length(i), cuts[i][step + 1]);
          for (auto const& n : decoder)
            EXPECT_LE(
                distance(got.at(n, i), part_of(*m->info().find_hook(n), expected.at(n, i), cuts[i][step], cuts[i][step + 1])),
                tolerance)
                << name << " step " << step << " item " << i << ": " << n;
        }
      }
    }
  }
}

TEST(t5_runs_that_go_on, branch_without_disturbing_each_other) {
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  batch const prompt = g.make({0, 3});
  run_request request;
  request.capture = m->info().hooks_for("logits");
  request.precision = dtype::f64;
  auto const run = m->begin(prompt, request, nullptr);
  auto const logits_of = [&](std::size_t item, std::vector<std::int32_t> const& more) {
    batch b = g.make({item});
    std::vector<std::int32_t> ids(b.decoder_tokens[0].begin(), b.decoder_tokens[0].end());
    ids.insert(ids.end(), more.begin(), more.end());
    b.decoder_tokens = {};
    b.decoder_tokens.push_back(ids);
    auto const t = run_hooks(*m, b, {"logits"}, dtype::f64).at("logits", 0);
    return t.slice(0, t.size(0) - 1, t.size(0)).clone();
  };
  std::vector<std::size_t> const picked{1, 0, 1};
  auto const branches = run->branch(picked);
  EXPECT_EQ(branches->items(), 3u);
  auto const step = [&](continued_run& r, std::vector<std::int32_t> const& ids) {
    batch more;
    for (std::int32_t const id : ids) more.decoder_tokens.push_back({&id, 1});
    return r.extend(more, request);
  };
  auto const first = step(*branches, {7, 8, 9});
  auto const original = step(*run, {3, 4});
  auto const second = step(*branches, {1, 2, 3});
  EXPECT_LE(distance(first.at("logits", 0), logits_of(3, {7})), 1e-12);
  EXPECT_LE(distance(first.at("logits", 1), logits_of(0, {8})), 1e-12);
  EXPECT_LE(distance(first.at("logits", 2), logits_of(3, {9})), 1e-12);
  EXPECT_LE(distance(original.at("logits", 0), logits_of(0, {3})), 1e-12);
  EXPECT_LE(distance(original.at("logits", 1), logits_of(3, {4})), 1e-12);
  EXPECT_LE(distance(second.at("logits", 2), logits_of(3, {9, 3})), 1e-12);
}

TEST(t5_runs_that_go_on, an_items_numbers_do_not_depend_on_the_others) {
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  run_request request;
  request.capture = m->info().hooks_for("logits");
  auto const extended = [&](std::vector<std::size_t> const& items) {
    auto const run = m->begin(g.make(items), {}, nullptr);
    batch more;
    std::vector<std::int32_t> const two{3, 9};
    for (std::size_t i = 0; i < items.size(); ++i) more.decoder_tokens.push_back(two);
    return run->extend(more, request);
  };
  auto const together = extended({0, 1, 3});
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_TRUE(same_bytes(together.at("logits", i), extended({std::vector<std::size_t>{0, 1, 3}[i]}).at("logits", 0)));
}

// ---- weights -------------------------------------------------------------------------------------------------------------

/// x W + b for x [pos, in], in float64.
std::vector<double> affine(std::vector<double> const& x, std::size_t in, tensor const& w, std::vector<double> const& bias) {
  std::size_t const out = w.size(1), rows = x.size() / in;
  std::vector<double> y(rows * out);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t o = 0; o < out; ++o) {
      double sum = bias.empty() ? 0 : bias[o];
      for (std::size_t i = 0; i < in; ++i) sum += x[r * in + i] * w.get({i, o});
      y[r * out + o] = sum;
    }
  return y;
}

void expect_near(std::vector<double> const& a, std::vector<double> const& b, std::string const& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-11) << what << " at " << i;
}

TEST(t5_weights, under_their_common_names_make_the_activations) {
  for (auto const& name : both) {
    auto const m = open_t5(name);
    auto const& info = m->info();
    golden const g(data_folder(name));
    std::set<std::string> unused(info.weights.begin(), info.weights.end());
    auto const use = [&](std::string const& w) {
      unused.erase(w);
      return m->weight(w);
    };
    auto const at = [&](std::string const& hook) { return numbers(g.at(0, hook)); };
    for (std::string const stack : {"encoder", "decoder"}) {
      bool const encoder = stack == "encoder";
      for (std::size_t layer = 0; layer < (encoder ? info.layers : info.decoder_layers); ++layer) {
        std::string const b = stack + "." + std::to_string(layer) + ".";
        auto const norm = [&](std::string const& n) {
          auto x = at(b + n + "hook_normalized");
          auto const w = numbers(use(b + n + "w"));
          for (std::size_t i = 0; i < x.size(); ++i) x[i] *= w[i % w.size()];
          expect_near(x, at(b + n + "hook_out"), b + n);
        };
        auto const attention = [&](std::string const& a, std::string const& in, std::string const& memory,
                                   std::string const& out) {
          for (auto const& [letter, hook] : {std::pair("Q", "hook_q"), std::pair("K", "hook_k"), std::pair("V", "hook_v")}) {
            tensor const w = use(b + a + "W_" + letter), bias = use(b + a + "b_" + letter);
            EXPECT_EQ(w.shape(), (dims{{"head", info.heads}, {"d_model", info.d_model}, {"d_head", info.d_head}}));
            tensor const whole = g.at(0, b + a + hook);
            for (std::size_t h = 0; h < info.heads; ++h) {
              std::vector<double> one;
              for (std::size_t p = 0; p < whole.size(0); ++p)
                for (std::size_t e = 0; e < info.d_head; ++e) one.push_back(whole.get({p, h, e}));
              expect_near(affine(at(*letter == 'Q' ? in : memory), info.d_model, w[h], numbers(bias[h])), one, b + a + letter);
            }
          }
          tensor const w = use(b + a + "W_O").clone(), bias = use(b + a + "b_O");
          expect_near(affine(at(b + a + "hook_z"), info.heads * info.d_head,
                             w.reshaped({{"in", info.heads * info.d_head}, {"d_model", info.d_model}}), numbers(bias)),
                      at(b + out), b + a + "W_O");
        };
        norm("ln1."), norm("ln2.");
        attention("attn.", b + "ln1.hook_out", b + "ln1.hook_out", "hook_attn_out");
        if (!encoder) {
          norm("ln3.");
          attention("cross_attn.", b + "ln2.hook_out", "encoder_final_ln.hook_out", "hook_cross_attn_out");
        }
        bool const gated = name == "t5-gated";
        auto const in = at(b + (encoder ? "ln2." : "ln3.") + "hook_out");
        expect_near(affine(in, info.d_model, use(b + "mlp.W_in"), numbers(use(b + "mlp.b_in"))),
                    at(b + (gated ? "mlp.hook_pre_linear" : "mlp.hook_pre")), b + "W_in");
        if (gated)
          expect_near(affine(in, info.d_model, use(b + "mlp.W_gate"), numbers(use(b + "mlp.b_gate"))), at(b + "mlp.hook_pre"),
                      b + "W_gate");
        expect_near(affine(at(b + "mlp.hook_post"), info.d_mlp, use(b + "mlp.W_out"), numbers(use(b + "mlp.b_out"))),
                    at(b + "hook_mlp_out"), b + "W_out");
      }
      EXPECT_EQ(use(stack + "_final_ln.w").size(0), info.d_model);
      EXPECT_EQ(use(stack + ".0.attn.position_bias").shape()[1], (dim{"head", info.heads}));
    }
    double const scale = name == "t5-relu" ? std::pow(static_cast<double>(info.d_model), -0.5) : 1;
    auto state = at("decoder_final_ln.hook_out");
    for (double& x : state) x *= scale;
    expect_near(affine(state, info.d_model, use("unembed.W_U"), numbers(use("unembed.b_U"))), at("logits"), "W_U");
    EXPECT_EQ(use("embed.W_E").shape(), (dims{{"token", info.vocabulary}, {"d_model", info.d_model}}));
    EXPECT_THAT(unused, testing::IsEmpty());
    EXPECT_THAT(thrown<usage_error>([&] { m->weight("encoder.0.attn.W_q"); }), HasSubstr("did you mean 'encoder.0.attn.W_Q'?"));
  }
}

TEST(t5_weights, final_norm_and_unembedding_finish_the_decoder) {
  for (auto const& name : both) {
    auto const m = open_t5(name);
    golden const g(data_folder(name));
    std::string const last = "decoder." + std::to_string(m->info().decoder_layers - 1) + ".hook_resid_post";
    for (auto const& [type, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-12)}) {
      tensor const normed = m->final_norm(g.at(0, last).to(type));
      EXPECT_EQ(normed.type(), type);
      EXPECT_LE(distance(normed, g.at(0, "decoder_final_ln.hook_out")), tolerance);
      EXPECT_LE(distance(m->unembed(normed), g.at(0, "logits")), tolerance);
    }
  }
}

// ---- what can be wrong ---------------------------------------------------------------------------------------------------

// ---- other people's checkpoints ------------------------------------------------------------------------------------------

std::vector<std::string> remarks_of(model const& m) {
  return dynamic_cast<pretrained const&>(m).remarks();
}

/// Float64 logits of the first golden item under a changed configuration and changed weights.
struct changed_t5 {
  changed_t5(std::string const& name, std::map<std::string, json_value> const& changes, std::set<std::string> const& without,
             weights const& all)
      : from(data_folder(name)) {
    write_folder(folder, config_with(from, changes, without), all, "F32");
    m = open_model("t5", folder.path());
  }
  tensor logits() const { return run_hooks(*m, golden(from).make({0}), {"logits"}, dtype::f64).at("logits", 0); }
  std::string from;
  scratch_folder folder;
  std::unique_ptr<model> m;
};

double ratio(tensor const& a, tensor const& b) {
  return a.get({0, 3}) / b.get({0, 3});
}

TEST(t5_checkpoints, the_file_says_which_head_there_is_and_the_configuration_whether_it_is_scaled) {
  auto const own = read_weights(data_folder("t5-gated")), tied = read_weights(data_folder("t5-relu"));
  ASSERT_TRUE(own.contains("lm_head.weight"));
  auto const expected = changed_t5("t5-gated", {}, {}, own).logits(), plain = changed_t5("t5-relu", {}, {}, tied).logits();
  // As transformers 5 saves a model with a head of its own.
  changed_t5 const five("t5-gated", {{"tie_word_embeddings", true}, {"scale_decoder_outputs", false}}, {}, own);
  EXPECT_TRUE(same_bytes(five.logits(), expected));
  EXPECT_TRUE(remarks_of(*five.m).empty());
  // mT5's flag is false where it is not given, T5's is true.
  EXPECT_TRUE(same_bytes(changed_t5("t5-gated", {{"model_type", "mt5"}}, {"tie_word_embeddings"}, own).logits(), expected));
  changed_t5 const denied("t5-gated", {}, {"tie_word_embeddings"}, own);
  EXPECT_NEAR(ratio(denied.logits(), expected), 1 / std::sqrt(12.0), 1e-12);
  ASSERT_EQ(remarks_of(*denied.m).size(), 1u);
  // The file is quoted only where it says something.
  EXPECT_THAT(remarks_of(*denied.m)[0],
              HasSubstr("config.json has no tie_word_embeddings, and t5 then ties the head to the "
                        "embedding, but the file has a head of its own, \"lm_head.weight\", which is used"));
  changed_t5 const told("t5-gated", {{"tie_word_embeddings", true}}, {}, own);
  EXPECT_THAT(remarks_of(*told.m)[0],
              HasSubstr("config.json ties the head to the embedding, but the file has a head of its own"));
  // Without a head of its own the embedding is the head, and only the scale is left to say.
  EXPECT_TRUE(same_bytes(changed_t5("t5-relu", {{"scale_decoder_outputs", true}}, {}, tied).logits(), plain));
  EXPECT_NEAR(ratio(changed_t5("t5-relu", {{"scale_decoder_outputs", false}}, {}, tied).logits(), plain), std::sqrt(10.0), 1e-12);
  changed_t5 const headless("t5-relu", {{"tie_word_embeddings", false}}, {}, tied);
  EXPECT_NEAR(ratio(headless.logits(), plain), std::sqrt(10.0), 1e-12);
  ASSERT_EQ(remarks_of(*headless.m).size(), 1u);
  EXPECT_THAT(remarks_of(*headless.m)[0],
              HasSubstr("config.json says that the head is not tied to the embedding, but the file has no \"lm_head.weight\"; "
                        "the embedding serves as the head"));
  changed_t5 const silent("t5-relu", {{"model_type", "mt5"}}, {"tie_word_embeddings"}, tied);
  ASSERT_EQ(remarks_of(*silent.m).size(), 1u);
  EXPECT_THAT(remarks_of(*silent.m)[0], HasSubstr("config.json has no tie_word_embeddings, and mt5 then has a head that is not "
                                                  "tied to the embedding, but the file has no"));
}

TEST(t5_checkpoints, the_embedding_may_go_by_the_names_of_either_stack) {
  for (auto const& name : both) {
    auto const all = read_weights(data_folder(name));
    auto const expected = changed_t5(name, {}, {}, all).logits();
    for (std::vector<std::string> const& names :
         std::vector<std::vector<std::string>>{{"encoder.embed_tokens.weight"},
                                               {"decoder.embed_tokens.weight"},
                                               {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"},
                                               {"shared.weight", "decoder.embed_tokens.weight"}}) {
      auto other = all;
      other.erase("shared.weight");
      for (auto const& n : names) other[n] = all.at("shared.weight");
      changed_t5 const got(name, {}, {}, other);
      EXPECT_TRUE(same_bytes(got.logits(), expected)) << names.front();
      EXPECT_TRUE(remarks_of(*got.m).empty());
      if (names.size() == 1) continue;
      other[names.back()].values[3] += 1;
      EXPECT_THAT(thrown<data_error>([&] { changed_t5(name, {}, {}, other); }),
                  testing::AllOf(HasSubstr(names.front()), HasSubstr(names.back()), HasSubstr("different numbers")));
    }
  }
  // A head that is tied to the embedding is the embedding.
  auto only_head = read_weights(data_folder("t5-relu"));
  auto const expected = changed_t5("t5-relu", {}, {}, only_head).logits();
  only_head["lm_head.weight"] = only_head.at("shared.weight");
  only_head.erase("shared.weight");
  EXPECT_TRUE(same_bytes(changed_t5("t5-relu", {}, {}, only_head).logits(), expected));
  changed_t5 const apart("t5-relu", {{"tie_word_embeddings", false}}, {}, only_head);
  EXPECT_THAT(thrown<data_error>([&] { apart.logits(); }), HasSubstr("shared.weight"));
}

TEST(t5_checkpoints, the_activation_is_that_which_transformers_would_run) {
  auto const all = read_weights(data_folder("t5-gated"));
  auto const gelu = [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); };
  auto const silu = [](double x) { return x / (1 + std::exp(-x)); };
  auto const tanh_gelu = [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); };
  struct way {
    std::map<std::string, json_value> config;
    std::function<double(double)> act;
    std::string name;
  };
  for (auto const& w :
       {way{{{"dense_act_fn", "gelu"}, {"is_gated_act", true}}, gelu, "gelu"}, way{{{"dense_act_fn", "silu"}}, silu, "silu"},
        way{{{"dense_act_fn", "gelu_new"}, {"is_gated_act", true}}, tanh_gelu, "gelu_new"},
        way{{{"feed_forward_proj", "gated-silu"}}, silu, "silu"},
        way{{{"feed_forward_proj", "gelu"}, {"is_gated_act", true}}, gelu, "gelu"}}) {
    changed_t5 const t("t5-gated", w.config, {}, all);
    EXPECT_EQ(t.m->info().activation, w.name);
    auto const got = run_hooks(*t.m, golden(t.from).make({0}), {"encoder.1.mlp.*"}, dtype::f64);
    auto const pre = numbers(got.at("encoder.1.mlp.hook_pre", 0)), by = numbers(got.at("encoder.1.mlp.hook_pre_linear", 0)),
               post = numbers(got.at("encoder.1.mlp.hook_post", 0));
    for (std::size_t i = 0; i < pre.size(); ++i) EXPECT_NEAR(post[i], w.act(pre[i]) * by[i], 1e-13) << w.name;
  }
  // A gate that the configuration denies: the tensors it asks for are not there, and those that are get named.
  changed_t5 const flat("t5-gated", {{"is_gated_act", false}}, {}, all);
  EXPECT_THAT(
      thrown<data_error>([&] { flat.logits(); }),
      testing::AllOf(HasSubstr("DenseReluDense.wi.weight"), HasSubstr("\"encoder.block.0.layer.1.DenseReluDense.wi_0.weight\"")));
  EXPECT_THAT(thrown<data_error>([&] { changed_t5("t5-gated", {{"hidden_size", 13}}, {}, all); }), HasSubstr("d_model"));
}

TEST(t5_checkpoints, generation_begins_and_ends_where_its_files_say) {
  auto const all = read_weights(data_folder("t5-relu"));
  item_block items;
  items.count = 1;
  items.tokens.push_back(std::vector<std::int32_t>{4, 5});
  auto const tokens = [&](std::map<std::string, json_value> const& config, std::set<std::string> const& without,
                          std::string const& generation = "") {
    scratch_folder folder;
    write_folder(folder, config_with(data_folder("t5-relu"), config, without), all, "F32");
    if (!generation.empty()) write_text(folder.file("generation_config.json"), generation);
    auto const m = open_model("t5", folder.path());
    auto t = generation_tokens_of(*m);
    // A run begins as generation does.
    EXPECT_EQ(m->encode(items, {}).decoder_tokens.values, t.start);
    return t;
  };
  using list = std::vector<std::int32_t>;
  auto t = tokens({{"decoder_start_token_id", 3}, {"eos_token_id", json_value::array({1, 7})}}, {});
  EXPECT_EQ(t.start, list{3});
  EXPECT_EQ(t.stop, (list{1, 7}));
  t = tokens({{"decoder_start_token_id", 3}}, {}, R"({"decoder_start_token_id": 4, "eos_token_id": [2, 5]})");
  EXPECT_EQ(t.start, list{4});
  EXPECT_EQ(t.stop, (list{2, 5}));
  t = tokens({{"decoder_start_token_id", 3}, {"eos_token_id", 6}}, {}, R"({"decoder_start_token_id": null, "eos_token_id": 9})");
  EXPECT_EQ(t.start, list{3});
  EXPECT_EQ(t.stop, list{9});
  EXPECT_EQ(tokens({{"decoder_start_token_id", 0}, {"pad_token_id", 8}}, {}).start, list{0});  // 0 is an id, not nothing
  EXPECT_EQ(tokens({{"pad_token_id", 8}}, {"decoder_start_token_id"}).start, list{8});
  // As transformers: the files' bos_token_id comes before the padding token, and generation_config.json before config.json.
  EXPECT_EQ(tokens({{"pad_token_id", 8}, {"bos_token_id", 5}}, {"decoder_start_token_id"}).start, list{5});
  EXPECT_EQ(tokens({{"bos_token_id", 5}}, {"decoder_start_token_id"}, R"({"bos_token_id": 6})").start, list{6});
  EXPECT_EQ(tokens({{"bos_token_id", 5}, {"decoder_start_token_id", 3}}, {}, R"({"bos_token_id": 6})").start, list{3});
  EXPECT_EQ(tokens({}, {"decoder_start_token_id", "pad_token_id"}).start, list{0});
  EXPECT_EQ(tokens({{"eos_token_id", json_value::array({1, 500})}}, {}).stop, list{1});
  EXPECT_THAT(thrown<data_error>([&] {
                tokens({{"decoder_start_token_id", json_value::array({1, 2})}}, {});
              }),
              HasSubstr("decoder_start_token_id"));

  scratch_folder folder;
  write_folder(folder, config_with(data_folder("t5-relu"), {{"forced_bos_token_id", 5}}), all, "F32");
  auto const m = open_model("t5", folder.path());
  EXPECT_THAT(thrown<usage_error>([&] { refuse_forced_tokens(*m); }), HasSubstr("forced_bos_token_id"));
  EXPECT_NO_THROW(refuse_forced_tokens(*open_t5("t5-relu")));
}

TEST(t5_refuses, what_does_not_fit_the_batch) {
  auto const m = open_t5("t5-relu");
  golden const g(data_folder("t5-relu"));
  batch const b = g.make({0, 1});
  auto const says = [&](batch const& bad, std::vector<std::string> const& hooks) {
    return thrown<usage_error>([&] { run_hooks(*m, bad, hooks); });
  };
  batch no_decoder = b;
  no_decoder.decoder_tokens = {};
  EXPECT_THAT(says(no_decoder, {"logits"}), HasSubstr("decoder tokens"));
  EXPECT_THAT(says(no_decoder, {"encoder_final_ln.hook_out", "decoder.1.hook_resid_pre"}), HasSubstr("decoder.1.hook_resid_pre"));
  EXPECT_THAT(says(given_states(g), {"encoder.0.hook_resid_pre"}), HasSubstr("encoder.0.hook_resid_pre"));
  batch fewer = b;
  fewer.decoder_tokens = {};
  fewer.decoder_tokens.push_back(b.decoder_tokens[0]);
  EXPECT_THAT(says(fewer, {"logits"}), HasSubstr("1 of decoder tokens"));
  batch outside = b;
  outside.tokens.values[1] = 31;
  EXPECT_THAT(says(outside, {"logits"}), HasSubstr("31"));
  outside = b;
  outside.decoder_tokens.values[0] = -1;
  EXPECT_THAT(says(outside, {"logits"}), HasSubstr("-1"));
  batch wide = b;
  wide.embeddings = tensor(dtype::f32, {{"token", b.tokens.values.size()}, {"d_model", 11}});
  EXPECT_THAT(says(wide, {"logits"}), HasSubstr("11"));
  batch states = given_states(g);
  states.encoder_states = states.encoder_states.slice(0, 1, 5);
  EXPECT_THAT(says(states, {"logits"}), HasSubstr("encoder states"));
  EXPECT_THAT(thrown<usage_error>([&] {
                hook_edit const edit{"decoder.0.hook_embed", [](edit_site const&, tensor const&) {}};
                run_hooks(*m, b, {"logits"}, dtype::f32, {edit});
              }),
              HasSubstr("decoder.0.hook_embed"));
}

TEST(t5_refuses, checkpoints_that_do_not_fit_their_configuration) {
  std::string const from = data_folder("t5-relu");
  auto const all = read_weights(from);
  std::string const config = config_with(from, {});
  golden const g(from);
  auto const loading = [&](weights const& w, std::string const& c) {
    scratch_folder folder;
    write_folder(folder, c, w, "F32");
    return thrown<data_error>([&] { open_model("t5", folder.path()); });
  };
  auto wrong = all;
  wrong["encoder.block.1.layer.0.SelfAttention.k.weight"] = {{15, 9}, std::vector<float>(135)};
  EXPECT_THAT(loading(wrong, config), HasSubstr("encoder.block.1.layer.0.SelfAttention.k.weight"));
  wrong = all;
  wrong["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = {{32, 4}, std::vector<float>(128)};
  EXPECT_THAT(loading(wrong, config), HasSubstr("relative_attention_bias"));
  EXPECT_THAT(loading(all, config_with(from, {{"d_kv", 6}})), HasSubstr("15 x 10"));

  // A missing tensor is missed when it is needed, and all of them at once.
  scratch_folder folder;
  auto fewer = all;
  fewer.erase("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
  fewer.erase("decoder.block.2.layer.1.EncDecAttention.v.weight");
  write_folder(folder, config, fewer, "F32");
  auto const m = open_model("t5", folder.path());
  std::string const said = thrown<data_error>([&] { run_hooks(*m, g.make({0}), {"logits"}); });
  EXPECT_THAT(said, HasSubstr("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"));
  EXPECT_THAT(said, HasSubstr("decoder.block.2.layer.1.EncDecAttention.v.weight"));
  EXPECT_THAT(said, HasSubstr("2 tensors"));
  EXPECT_THAT(thrown<data_error>([&] { m->weight("decoder.0.attn.position_bias"); }), HasSubstr("relative_attention_bias"));
  EXPECT_EQ(m->weight("encoder.0.attn.position_bias").size(0), 32u);

  // An encoder without a decoder is a whole encoder.
  scratch_folder encoder;
  weights half;
  for (auto const& [name, t] : all)
    if (!name.starts_with("decoder.")) half[name] = t;
  write_folder(encoder, config, half, "F32");
  auto const e = open_model("t5", encoder.path());
  batch b = g.make({0, 1});
  b.decoder_tokens = {};
  auto const got = run_hooks(*e, b, {"encoder_final_ln.hook_out"});
  EXPECT_LE(distance(got.at("encoder_final_ln.hook_out", 1), g.at(1, "encoder_final_ln.hook_out")), 1e-5);
}

TEST(t5_refuses, absurd_configurations) {
  std::string const from = data_folder("t5-relu");
  auto const says = [&](std::map<std::string, json_value> const& changes, std::set<std::string> const& without = {}) {
    scratch_folder folder;
    write_text(folder.file("config.json"), config_with(from, changes, without));
    return thrown<data_error>([&] { make<model>("t5", {{"path", folder.path()}}); });
  };
  EXPECT_THAT(says({{"model_type", "gpt2"}}), HasSubstr("'model: gpt2' reads it"));
  EXPECT_THAT(says({{"model_type", "longt5"}}), testing::AllOf(HasSubstr("this build reads"), HasSubstr("t5, mt5 (model: t5)"),
                                                               HasSubstr("camembert (model: bert)")));
  EXPECT_THAT(says({{"dense_act_fn", "mish"}}), testing::AllOf(HasSubstr("dense_act_fn"), HasSubstr("mish")));
  EXPECT_THAT(says({{"rope_theta", 10000}}), HasSubstr("rope_theta"));
  EXPECT_THAT(says({{"num_layers", 0}}), HasSubstr("num_layers"));
  EXPECT_THAT(says({{"num_layers", 4'000'000}}), HasSubstr("num_layers"));
  EXPECT_THAT(says({{"d_kv", -1}}), HasSubstr("d_kv"));
  EXPECT_THAT(says({{"num_heads", 1e30}}), HasSubstr("num_heads"));
  EXPECT_THAT(says({}, {"vocab_size"}), HasSubstr("vocab_size"));
  EXPECT_THAT(says({{"feed_forward_proj", "gated-tanh"}}), HasSubstr("gated-tanh"));
  EXPECT_THAT(says({{"relative_attention_num_buckets", 3}}), HasSubstr("relative_attention_num_buckets"));
  EXPECT_THAT(says({{"relative_attention_max_distance", 16}}), HasSubstr("relative_attention_max_distance"));
  EXPECT_THAT(says({{"layer_norm_epsilon", -1}}), HasSubstr("layer_norm_epsilon"));
  EXPECT_THAT(says({{"decoder_start_token_id", 31}}), HasSubstr("decoder_start_token_id"));
  EXPECT_THAT(says({{"tie_word_embeddings", "yes"}}), HasSubstr("tie_word_embeddings"));
}

// ---- tokens in -----------------------------------------------------------------------------------------------------------

TEST(t5_encode, takes_tokens_and_decoder_tokens_of_the_source_or_the_start_token) {
  auto const m = open_t5("t5-relu");
  item_block items;
  items.count = 2;
  items.tokens.push_back(std::vector<std::int32_t>{4, 5, 6});
  items.tokens.push_back(std::vector<std::int32_t>{7});
  batch const started = m->encode(items, {.max_tokens = 2});
  EXPECT_EQ(started.tokens.values, (std::vector<std::int32_t>{4, 5, 7}));
  EXPECT_EQ(started.decoder_tokens.values, (std::vector<std::int32_t>{0, 0}));
  items.decoder_tokens.push_back(std::vector<std::int32_t>{0, 8, 9});
  items.decoder_tokens.push_back(std::vector<std::int32_t>{0});
  batch const given = m->encode(items, {});
  EXPECT_EQ(given.tokens.values, (std::vector<std::int32_t>{4, 5, 6, 7}));
  EXPECT_EQ(given.decoder_tokens.values, (std::vector<std::int32_t>{0, 8, 9, 0}));
  item_block words;
  words.count = 1;
  words.words.push_back(std::vector<std::int32_t>{1});
  EXPECT_THAT(thrown<usage_error>([&] { m->encode(words, {}); }), HasSubstr("texts or tokens"));
}

TEST(t5_encode, texts_go_through_the_tokenizer_of_the_folder_and_end_in_their_end_token) {
  scratch_folder folder;
  write_folder(folder, config_with(data_folder("t5-relu"), {}), read_weights(data_folder("t5-relu")), "BF16");
  write_text(folder.file("tokenizer.json"), R"({"version": "1.0",
    "added_tokens": [{"id": 0, "content": "<pad>", "special": true}, {"id": 1, "content": "</s>", "special": true},
                     {"id": 2, "content": "<unk>", "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true},
    "post_processor": {"type": "TemplateProcessing",
                       "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                       "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
    "decoder": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true},
    "model": {"type": "Unigram", "unk_id": 2,
              "vocab": [["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["▁a", -1], ["▁bc", -2], ["d", -3]]}})");
  auto const m = open_model("t5", folder.path());
  ASSERT_NE(m->text_tokenizer(), nullptr);
  item_block items;
  items.count = 2;
  items.texts = {"a bcd", "a a a a"};
  batch const whole = m->encode(items, {});
  EXPECT_EQ(whole.tokens.values, (std::vector<std::int32_t>{3, 4, 5, 1, 3, 3, 3, 3, 1}));
  EXPECT_EQ(whole.decoder_tokens.values, (std::vector<std::int32_t>{0, 0}));
  batch const cut = m->encode(items, {.max_tokens = 3});
  EXPECT_EQ(cut.tokens.values, (std::vector<std::int32_t>{3, 4, 1, 3, 3, 1}));
  EXPECT_EQ(m->token_text(4), " bc");
  EXPECT_EQ(m->token_text(30), "<30>");  // the embedding has 31 rows, the tokenizer 6 tokens
  EXPECT_EQ(run_hooks(*m, whole, {"logits"}).at("logits", 1).size(0), 1u);
}

}  // namespace
