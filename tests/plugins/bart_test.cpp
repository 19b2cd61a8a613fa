// The BART plugin against goldens of a plain PyTorch BART (tests/data/reference_bart.py), against a published random model, and
// against what must hold of any weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include <wayfarer/pretrained.hpp>

#include "golden_models.hpp"
#include "precisions.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::HasSubstr;

std::string const from = data_folder("bart-small");
/// Items of the golden that came in as tokens, and one that came in as encoder states.
std::vector<std::size_t> const from_tokens{0, 1, 2};
std::size_t const from_states = 100;

struct changed_bart {
  changed_bart(std::map<std::string, json_value> const& changes, weights const& all, std::set<std::string> const& without = {}) {
    write_folder(folder, config_with(from, changes, without), all, "F32");
    m = open_model("bart", folder.path());
  }
  scratch_folder folder;
  std::unique_ptr<model> m;
};

std::vector<std::string> remarks_of(model const& m) {
  return dynamic_cast<pretrained const&>(m).remarks();
}

std::vector<std::string> hooks_along(model const& m, positions along) {
  std::vector<std::string> names;
  for (auto const& h : m.info().hooks)
    if ((h.name.starts_with("decoder") || h.name == "logits") == (along == positions::decoder)) names.push_back(h.name);
  return names;
}

void expect_same(model const& m, activations const& a, std::size_t i, activations const& b, std::size_t j,
                 std::string const& what) {
  for (auto const& h : m.info().hooks) {
    if (a.has(h.name) && b.has(h.name)) {
      EXPECT_TRUE(same_bytes(a.at(h.name, i), b.at(h.name, j))) << what << ": " << h.name;
    }
  }
}

// ---- parity --------------------------------------------------------------------------------------------------------------

TEST(bart_parity, every_hook_agrees_with_the_reference) {
  auto const m = open_model("bart", from);
  golden const g(from);
  batch const b = g.make(from_tokens);
  for (auto const& [precision, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-12)}) {
    activations const got = run_hooks(*m, b, {"*"}, precision);
    for (std::size_t i : from_tokens) {
      std::set<std::string> offered;
      for (auto const& h : m->info().hooks) {
        auto const length = [&](positions p) { return p == positions::tokens ? b.tokens[i].size() : b.decoder_tokens[i].size(); };
        dims shape = h.row;
        if (h.per_pair)
          shape.push_back({"query", length(h.along)}), shape.push_back({"key", length(h.keys)});
        else
          shape.insert(shape.begin(), {"pos", length(h.along)});
        EXPECT_EQ(got.at(h.name, i).shape(), shape) << h.name;
        EXPECT_LE(distance(got.at(h.name, i), g.at(i, h.name)), tolerance) << "item " << i << ": " << h.name;
        offered.insert(h.name);
      }
      EXPECT_EQ(offered, g.hooks(i));
    }
    // Without decoder tokens the encoder runs alone.
    auto const encoder = hooks_along(*m, positions::tokens);
    auto const alone = run_hooks(*m, g.make({3}), encoder, precision);
    EXPECT_EQ(g.hooks(3).size(), encoder.size());
    for (auto const& h : encoder) EXPECT_LE(distance(alone.at(h, 0), g.at(3, h)), tolerance) << h;
  }
}

TEST(bart_parity, the_decoder_alone_runs_on_states_that_no_encoder_made) {
  auto const m = open_model("bart", from);
  golden const g(from);
  batch b = g.make({from_states});
  b.encoder_states = g.at(from_states, "states").named({"token", "d_model"});
  for (auto const& [precision, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-12)}) {
    activations const got = run_hooks(*m, b, hooks_along(*m, positions::decoder), precision);
    EXPECT_GT(g.hooks(from_states).size(), 40u);
    for (auto const& hook : g.hooks(from_states))
      EXPECT_LE(distance(got.at(hook, 0), g.at(from_states, hook)), tolerance) << hook;
  }
}

TEST(bart_parity, a_published_random_model_gives_its_published_numbers) {
  char const* const data = std::getenv("WAYFARER_DATA");
  if (!data) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  std::string const at = std::string(data) + "/models/family-oracles/tiny_bart";
  scratch_folder folder;
  std::filesystem::copy(at + ".safetensors", folder.file("model.safetensors"));
  std::filesystem::copy(at + "_config.json", folder.file("config.json"));
  auto const m = open_model("bart", folder.path());
  EXPECT_THAT(remarks_of(*m), testing::IsEmpty());
  auto const expected = read_json(at + "_logits.json", {std::size_t{1} << 24, 16, 1'000'000});
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
  for (auto const& [precision, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-6)}) {
    auto const got = run_hooks(*m, b, {"logits", "encoder.1.ln2.hook_out"}, precision);
    std::size_t compared = 0;
    for (auto const& [hook, key] : {std::pair("logits", "logits"), std::pair("encoder.1.ln2.hook_out", "enc_hidden")})
      for (std::size_t i = 0; i < b.items(); ++i) {
        auto const rows = expected.at(key).at(i);
        auto const& t = got.at(hook, i);
        ASSERT_EQ(t.size(0), rows.size());
        double largest = 0, worst = 0;
        for (std::size_t p = 0; p < t.size(0); ++p)
          for (std::size_t d = 0; d < t.size(1); ++d, ++compared) {
            double const x = rows.at(p).at(d).as_number();
            largest = std::max(largest, std::abs(x)), worst = std::max(worst, std::abs(x - t.get({p, d})));
          }
        EXPECT_LE(worst, tolerance * largest) << hook;
      }
    EXPECT_EQ(compared, 2u * (10 * 8 + 6 * 13));
  }
}

// ---- what must hold of any weights ---------------------------------------------------------------------------------------

TEST(bart_structure, an_item_has_the_same_bytes_alone_beside_others_and_on_any_number_of_threads) {
  auto const m = open_model("bart", from);
  golden const g(from);
  for (dtype const precision : precisions()) {
    auto const one = on_threads(1, [&] { return run_hooks(*m, g.make(from_tokens), {"*"}, precision); });
    for (int const threads : {2, 4}) {
      auto const more = on_threads(threads, [&] { return run_hooks(*m, g.make(from_tokens), {"*"}, precision); });
      for (std::size_t i : from_tokens) expect_same(*m, one, i, more, i, "threads");
    }
    for (std::size_t i : from_tokens) expect_same(*m, one, i, run_hooks(*m, g.make({i}), {"*"}, precision), 0, "alone");
  }
}

TEST(bart_structure, every_way_to_store_the_weights_gives_the_same_bytes) {
  auto const m = open_model("bart", from);
  golden const g(from);
  auto const expected = run_hooks(*m, g.make(from_tokens), {"*"});
  auto const all = read_weights(from);
  weights bare;
  for (auto const& [name, t] : all) bare[name.starts_with("model.") ? name.substr(6) : name] = t;
  weights copies = all;
  copies["model.encoder.embed_tokens.weight"] = copies["model.decoder.embed_tokens.weight"] = copies["lm_head.weight"] =
      all.at("model.shared.weight");
  for (weights const* some : std::initializer_list<weights const*>{&all, &bare, &copies})
    for (std::string const type : {"F32", "F16", "BF16", "F64"})
      for (bool const sharded : {false, true}) {
        scratch_folder folder;
        (sharded ? write_sharded : write_folder)(folder, config_with(from, {}), *some, type);
        auto const other = open_model("bart", folder.path());
        EXPECT_THAT(remarks_of(*other), testing::IsEmpty());
        auto const got = run_hooks(*other, g.make(from_tokens), {"*"});
        for (std::size_t i : from_tokens) expect_same(*m, expected, i, got, i, type);
      }
}

TEST(bart_structure, a_run_may_start_from_embeddings_and_go_on_from_the_encoders_own_states) {
  auto const m = open_model("bart", from);
  golden const g(from);
  batch b = g.make({1});
  auto const expected = run_hooks(*m, b, {"*"}, dtype::f64);
  batch embedded = b;
  embedded.embeddings = g.at(1, "hook_embed").named({"token", "d_model"});
  std::fill(embedded.tokens.values.begin(), embedded.tokens.values.end(), -1);
  expect_same(*m, expected, 0, run_hooks(*m, embedded, {"*"}, dtype::f64), 0, "embeddings");
  b.encoder_states = expected.at("encoder.0.ln2.hook_out", 0).named({"token", "d_model"});
  expect_same(*m, expected, 0, run_hooks(*m, b, hooks_along(*m, positions::decoder), dtype::f64), 0, "states");
}

TEST(bart_structure, final_norm_and_unembedding_finish_the_decoder) {
  auto const m = open_model("bart", from);
  golden const g(from);
  for (auto const& [type, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-12)}) {
    tensor const normed = m->final_norm(g.at(0, "decoder.1.hook_resid_post").to(type));
    EXPECT_EQ(normed.type(), type);
    EXPECT_LE(distance(normed, g.at(0, "decoder.1.ln3.hook_out")), tolerance);
    EXPECT_LE(distance(m->unembed(normed), g.at(0, "logits")), tolerance);
  }
}

TEST(bart_structure, weights_under_their_common_names_make_the_activations) {
  auto const m = open_model("bart", from);
  auto const& info = m->info();
  golden const g(from);
  std::set<std::string> unused(info.weights.begin(), info.weights.end());
  auto const use = [&](std::string const& w) {
    unused.erase(w);
    return m->weight(w);
  };
  auto const at = [&](std::string const& hook) { return numbers(g.at(0, hook)); };
  auto const affine = [&](std::vector<double> const& x, tensor const& w, tensor const& bias, std::vector<double> const& y,
                          std::string const& what) {
    std::size_t const in = w.size(0), out = w.size(1);
    ASSERT_EQ(y.size() * in, x.size() * out) << what;
    for (std::size_t r = 0; r < x.size() / in; ++r)
      for (std::size_t o = 0; o < out; ++o) {
        double sum = bias.get({o});
        for (std::size_t i = 0; i < in; ++i) sum += x[r * in + i] * w.get({i, o});
        ASSERT_NEAR(sum, y[r * out + o], 1e-11) << what;
      }
  };
  auto const norm = [&](std::string const& n) {
    auto const x = at(n + ".hook_normalized"), y = at(n + ".hook_out");
    auto const w = numbers(use(n + ".w")), b = numbers(use(n + ".b"));
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i] * w[i % w.size()] + b[i % w.size()], y[i], 1e-11) << n;
  };
  auto const attention = [&](std::string const& a, std::string const& in, std::string const& memory, std::string const& out) {
    for (auto const& [letter, hook] : {std::pair("Q", "hook_q"), std::pair("K", "hook_k"), std::pair("V", "hook_v")})
      for (std::size_t h = 0; h < info.heads; ++h) {
        tensor const whole = g.at(0, a + hook);
        std::vector<double> one;
        for (std::size_t p = 0; p < whole.size(0); ++p)
          for (std::size_t e = 0; e < info.d_head; ++e) one.push_back(whole.get({p, h, e}));
        affine(at(*letter == 'Q' ? in : memory), use(a + "W_" + letter)[h], use(a + "b_" + letter)[h], one, a + letter);
      }
    tensor const w = use(a + "W_O").clone().reshaped({{"in", info.d_model}, {"d_model", info.d_model}});
    affine(at(a + "hook_z"), w, use(a + "b_O"), at(out), a + "W_O");
  };
  for (bool const encoder : {true, false}) {
    std::string const front = encoder ? "" : "decoder.";
    auto const ids = ids_of(g.at(0, encoder ? "ids" : "decoder_ids"));
    for (std::size_t p = 0; p < ids.size(); ++p)
      for (std::size_t d = 0; d < info.d_model; ++d) {
        EXPECT_NEAR(use("embed.W_E").get({static_cast<std::size_t>(ids[p]), d}) * std::sqrt(15.0),
                    g.at(0, front + "hook_embed").get({p, d}), 1e-14);
        EXPECT_EQ(use(front + "pos_embed.W_pos").get({p, d}), g.at(0, front + "hook_pos_embed").get({p, d}));
      }
    norm(front + "embed_ln");
    for (std::size_t layer = 0; layer < (encoder ? info.layers : info.decoder_layers); ++layer) {
      std::string const b = (encoder ? "encoder." : "decoder.") + std::to_string(layer) + ".";
      std::string const last = encoder ? "ln2" : "ln3", before = encoder ? "ln1" : "ln2";
      attention(b + "attn.", b + "hook_resid_pre", b + "hook_resid_pre", b + "hook_attn_out");
      norm(b + "ln1"), norm(b + last);
      if (!encoder) {
        norm(b + "ln2");
        attention(b + "cross_attn.", b + "ln1.hook_out", "encoder.0.ln2.hook_out", b + "hook_cross_attn_out");
      }
      affine(at(b + before + ".hook_out"), use(b + "mlp.W_in"), use(b + "mlp.b_in"), at(b + "mlp.hook_pre"), b + "W_in");
      affine(at(b + "mlp.hook_post"), use(b + "mlp.W_out"), use(b + "mlp.b_out"), at(b + "hook_mlp_out"), b + "W_out");
    }
  }
  affine(at("decoder.1.ln3.hook_out"), use("unembed.W_U"), use("unembed.b_U"), at("logits"), "W_U");
  EXPECT_THAT(unused, testing::IsEmpty());
}

TEST(bart_edits, change_everything_downstream_and_nothing_upstream) {
  auto const m = open_model("bart", from);
  golden const g(from);
  batch const b = g.make({0, 1});
  auto const plain = run_hooks(*m, b, {"*"}, dtype::f64);
  auto const& hooks = m->info().hooks;
  for (std::size_t at = 0; at < hooks.size(); ++at) {
    hook_edit const edit{hooks[at].name, [](edit_site const& site, tensor const& t) {
                           double n = 0;
                           for (double& x : t.values<double>())
                             if (site.item == 1 && std::isfinite(x)) x += 0.25 + 0.5 * std::sin(n++);
                         }};
    auto const edited = run_hooks(*m, b, {"*"}, dtype::f64, {edit});
    bool const cross = hooks[at].name.find("cross_attn.hook_k") != std::string::npos ||
                       hooks[at].name.find("cross_attn.hook_v") != std::string::npos;
    for (std::size_t j = 0; j < hooks.size(); ++j) {
      EXPECT_TRUE(same_bytes(plain.at(hooks[j].name, 0), edited.at(hooks[j].name, 0))) << hooks[at].name;
      // Keys and values of the encoder's states may be computed ahead of the decoder, so they are no upstream of it.
      EXPECT_TRUE(j >= at || cross || same_bytes(plain.at(hooks[j].name, 1), edited.at(hooks[j].name, 1)))
          << hooks[at].name << " reached back to " << hooks[j].name;
    }
    EXPECT_FALSE(same_bytes(plain.at(hooks[at].name, 1), edited.at(hooks[at].name, 1))) << hooks[at].name;
    EXPECT_FALSE(same_bytes(plain.at("logits", 1), edited.at("logits", 1))) << hooks[at].name << " changed nothing";
  }
}

TEST(bart_runs_that_go_on, read_on_as_one_run_would_and_branch) {
  auto const m = open_model("bart", from);
  golden const g(from);
  batch const whole = g.make({0, 1});
  for (auto const& [precision, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-12)}) {
    run_request request;
    request.capture = m->info().hooks_for("logits");
    request.precision = precision;
    auto const expected = m->run(whole, request);
    std::size_t const cuts[][4] = {{0, 1, 1, 4}, {0, 3, 4, 9}};
    std::unique_ptr<continued_run> run;
    for (std::size_t step = 0; step < 3; ++step) {
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
        EXPECT_LE(distance(got.at("logits", i), expected.at("logits", i).slice(0, cuts[i][step], cuts[i][step + 1]).clone()),
                  tolerance);
      }
      if (step != 1) continue;
      // A branch reads the same and leaves the run as it was.
      std::vector<std::size_t> const picked{1};
      batch rest;
      rest.decoder_tokens.push_back(whole.decoder_tokens[1].subspan(4, 5));
      auto const branch = run->branch(picked);
      EXPECT_LE(distance(branch->extend(rest, request).at("logits", 0), expected.at("logits", 1).slice(0, 4, 9).clone()),
                tolerance);
    }
    // The table ends at 9 positions.
    batch more;
    std::int32_t const one = 3;
    more.decoder_tokens.push_back({}), more.decoder_tokens.push_back({&one, 1});
    EXPECT_THAT(thrown<data_error>([&] { run->extend(more, request); }), HasSubstr("9"));
  }
}

// ---- checkpoints ---------------------------------------------------------------------------------------------------------

TEST(bart_checkpoints, the_file_says_which_head_there_is) {
  auto const all = read_weights(from);
  golden const g(from);
  auto const logits = [&](model const& m) { return run_hooks(m, g.make({0}), {"logits"}, dtype::f64).at("logits", 0); };
  auto const plain = logits(*open_model("bart", from));
  auto other = all;
  other["lm_head.weight"] = all.at("model.shared.weight");
  for (float& x : other["lm_head.weight"].values) x *= 2;
  changed_bart const own({}, other);
  auto const bias = own.m->weight("unembed.b_U");
  for (std::size_t t = 0; t < 5; ++t)
    EXPECT_NEAR(logits(*own.m).get({0, t}) - bias.get({t}), 2 * (plain.get({0, t}) - bias.get({t})), 1e-12);
  ASSERT_EQ(remarks_of(*own.m).size(), 1u);
  EXPECT_THAT(remarks_of(*own.m)[0], HasSubstr("\"lm_head.weight\", which is used"));
  changed_bart const untied({{"tie_word_embeddings", false}}, all);
  EXPECT_TRUE(same_bytes(logits(*untied.m), plain));
  ASSERT_EQ(remarks_of(*untied.m).size(), 1u);
  // A bare model has no bias of the logits.
  other = all;
  other.erase("final_logits_bias");
  changed_bart const bare({}, other);
  auto const offset = open_model("bart", from)->weight("unembed.b_U");
  for (std::size_t t = 0; t < 23; ++t) {
    EXPECT_NEAR(logits(*bare.m).get({1, t}), plain.get({1, t}) - offset.get({t}), 1e-12);
    EXPECT_EQ(bare.m->weight("unembed.b_U").get({t}), 0);
  }
  EXPECT_TRUE(remarks_of(*bare.m).empty());
  other["model.decoder.embed_tokens.weight"] = all.at("model.shared.weight");
  other["model.decoder.embed_tokens.weight"].values[7] += 1;
  EXPECT_THAT(thrown<data_error>([&] { changed_bart({}, other); }), HasSubstr("different numbers"));
}

TEST(bart_checkpoints, an_encoder_alone_serves_its_own_hooks) {
  auto all = read_weights(from);
  std::erase_if(all, [](auto const& e) { return e.first.starts_with("model.decoder."); });
  changed_bart const half({}, all);
  golden const g(from);
  EXPECT_LE(
      distance(run_hooks(*half.m, g.make({0}), {"encoder.*"}).at("encoder.0.ln2.hook_out", 0), g.at(0, "encoder.0.ln2.hook_out")),
      1e-5);
  EXPECT_THAT(thrown<data_error>([&] { run_hooks(*half.m, g.make({0}), {"logits"}); }),
              HasSubstr("decoder.embed_positions.weight"));
  EXPECT_THAT(thrown<data_error>([&] { half.m->final_norm(g.at(0, "decoder.1.hook_resid_post")); }),
              HasSubstr("decoder.layers.1"));
}

TEST(bart_checkpoints, scale_activation_and_start_are_those_of_the_configuration) {
  auto const all = read_weights(from);
  golden const g(from);
  changed_bart const other({{"scale_embedding", false}, {"activation_function", "relu"}, {"decoder_start_token_id", 7}}, all);
  auto const got = run_hooks(*other.m, g.make({0}), {"*"}, dtype::f64);
  auto const x = numbers(got.at("hook_embed", 0)), y = numbers(g.at(0, "hook_embed"));
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i] * std::sqrt(15.0), y[i], 1e-14);
  for (std::string const at : {"encoder.0.", "decoder.1."}) {
    auto const pre = numbers(got.at(at + "mlp.hook_pre", 0)), post = numbers(got.at(at + "mlp.hook_post", 0));
    for (std::size_t i = 0; i < pre.size(); ++i) EXPECT_EQ(post[i], std::max(pre[i], 0.0));
  }
  item_block items;
  items.count = 1;
  items.tokens.push_back(std::vector<std::int32_t>{4, 5});
  EXPECT_EQ(other.m->encode(items, {}).decoder_tokens.values, std::vector<std::int32_t>{7});
  EXPECT_EQ(generation_tokens_of(*other.m).stop, std::vector<std::int32_t>{2});
  EXPECT_TRUE(remarks_of(*other.m).empty());
  // Where the files name no start, BART's default counts, not the padding token or bos_token_id, and a remark says so.
  changed_bart const silent({{"bos_token_id", 0}}, all, {"decoder_start_token_id"});
  EXPECT_EQ(silent.m->encode(items, {}).decoder_tokens.values, std::vector<std::int32_t>{2});
  ASSERT_EQ(remarks_of(*silent.m).size(), 1u);
  EXPECT_THAT(remarks_of(*silent.m)[0], HasSubstr("names no decoder_start_token_id; the decoder begins with 2"));
}

TEST(bart_refuses, what_does_not_fit) {
  auto const all = read_weights(from);
  golden const g(from);
  auto const m = open_model("bart", from);
  batch b;
  b.tokens.push_back(std::vector<std::int32_t>(10, 3));
  b.decoder_tokens.push_back(std::vector<std::int32_t>{2});
  EXPECT_THAT(thrown<usage_error>([&] { run_hooks(*m, b, {"logits"}); }), HasSubstr("reads 9"));
  std::swap(b.tokens, b.decoder_tokens);
  EXPECT_THAT(thrown<usage_error>([&] { run_hooks(*m, b, {"logits"}); }), HasSubstr("10 decoder tokens"));
  b = {};
  b.tokens.push_back(std::vector<std::int32_t>{23});
  EXPECT_FALSE(thrown<error>([&] { run_hooks(*m, b, {"encoder.*"}); }).starts_with("nothing"));
  EXPECT_THAT(thrown<usage_error>([&] { run_hooks(*m, g.make({3}), {"logits"}); }), HasSubstr("decoder tokens"));

  auto const configured = [&](std::map<std::string, json_value> const& changes) {
    return thrown<data_error>([&] { changed_bart(changes, all); });
  };
  for (auto const& [key, value] : std::initializer_list<std::pair<std::string, json_value>>{{"encoder_layers", 0},
                                                                                            {"decoder_layers", 5000},
                                                                                            {"encoder_attention_heads", 2},
                                                                                            {"decoder_attention_heads", 5},
                                                                                            {"decoder_ffn_dim", 12},
                                                                                            {"vocab_size", 0},
                                                                                            {"max_position_embeddings", 0},
                                                                                            {"activation_function", "swosh"},
                                                                                            {"scale_embedding", 3},
                                                                                            {"normalize_before", true},
                                                                                            {"add_final_layer_norm", true},
                                                                                            {"static_position_embeddings", true},
                                                                                            {"normalize_embedding", false},
                                                                                            {"extra_pos_embeddings", 0},
                                                                                            {"rope_theta", 1e4},
                                                                                            {"model_type", "mbart"}})
    EXPECT_THAT(configured({{key, value}}), testing::AllOf(HasSubstr("config.json"), HasSubstr(key))) << key;
  EXPECT_THAT(configured({{"encoder_attention_heads", 2}, {"decoder_attention_heads", 2}}), HasSubstr("do not divide"));
  EXPECT_THAT(configured({{"max_position_embeddings", 8}}), HasSubstr("config.json asks for"));
  changed_bart const deeper({{"decoder_layers", 3}}, all);
  EXPECT_THAT(thrown<data_error>([&] { run_hooks(*deeper.m, g.make({0}), {"logits"}); }), HasSubstr("decoder.layers.2."));
  changed_bart const odd({{"bart_surprise", 3}}, all);
  EXPECT_THAT(remarks_of(*odd.m), testing::ElementsAre(HasSubstr("bart_surprise")));
}

}  // namespace
