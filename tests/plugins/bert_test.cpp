// The BERT plugin against goldens of an independent PyTorch reference (tests/data/reference_bert.py), against what published
// random models gave, and against what must hold of any weights.
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

std::vector<std::string> const both{"bert-small", "roberta-small"};
std::vector<std::string> const families{"bert-small", "roberta-small", "albert-small", "distilbert-small", "electra-small"};
std::vector<std::size_t> const all_items{0, 1, 2};

std::unique_ptr<model> open_bert(std::string const& name) {
  return open_model("bert", data_folder(name));
}

void expect_same(model const& m, activations const& a, std::size_t i, activations const& b, std::size_t j,
                 std::string const& what) {
  for (auto const& h : m.info().hooks) EXPECT_TRUE(same_bytes(a.at(h.name, i), b.at(h.name, j))) << what << ": " << h.name;
}

TEST(bert_parity, every_hook_agrees_with_the_reference) {
  for (auto const& name : families) {
    auto const m = open_bert(name);
    golden const g(data_folder(name));
    batch const b = g.make(all_items);
    for (auto const& [precision, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-12)}) {
      activations const got = run_hooks(*m, b, {"*"}, precision);
      for (std::size_t i : all_items) {
        std::set<std::string> offered;
        for (auto const& h : m->info().hooks) {
          auto const& t = got.at(h.name, i);
          dims shape = h.row;
          if (h.per_pair)
            shape.push_back({"query", b.tokens[i].size()}), shape.push_back({"key", b.tokens[i].size()});
          else
            shape.insert(shape.begin(), {"pos", b.tokens[i].size()});
          EXPECT_EQ(t.shape(), shape) << h.name;
          EXPECT_LE(distance(t, g.at(i, h.name)), tolerance) << name << " item " << i << ": " << h.name;
          offered.insert(h.name);
        }
        EXPECT_EQ(offered, g.hooks(i));
      }
    }
  }
}

TEST(bert_structure, an_item_has_the_same_bytes_alone_beside_others_and_on_any_number_of_threads) {
  auto const m = open_bert("bert-small");
  golden const g(data_folder("bert-small"));
  for (dtype const precision : precisions()) {
    auto const one = on_threads(1, [&] { return run_hooks(*m, g.make(all_items), {"*"}, precision); });
    for (int const threads : {2, 4}) {
      auto const more = on_threads(threads, [&] { return run_hooks(*m, g.make(all_items), {"*"}, precision); });
      for (std::size_t i : all_items) expect_same(*m, one, i, more, i, "threads");
    }
    for (std::size_t i : all_items) expect_same(*m, one, i, run_hooks(*m, g.make({i}), {"*"}, precision), 0, "alone");
  }
}

/// What published random models of Hugging Face's gave, in float64: their last states.
TEST(bert_parity, published_random_models_give_their_published_states) {
  char const* const data = std::getenv("WAYFARER_DATA");
  if (!data) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  std::string const from = std::string(data) + "/models/family-oracles/";
  for (std::string const name : {"tiny_distilbert", "tiny_roberta"}) {
    scratch_folder folder;
    std::filesystem::copy(from + name + ".safetensors", folder.file("model.safetensors"));
    std::filesystem::copy(from + name + "_config.json", folder.file("config.json"));
    auto const m = open_model("bert", folder.path());
    auto const expected = read_json(from + name + "_hidden.json", {std::size_t{1} << 24, 16, 1'000'000});
    batch b;
    for (json_value const list : expected.at("sequences").elements()) {
      std::vector<std::int32_t> ids;
      for (json_value const id : list.elements()) ids.push_back(static_cast<std::int32_t>(id.as_integer()));
      b.tokens.push_back(ids);
    }
    std::string const last = "blocks." + std::to_string(m->info().layers - 1) + ".ln2.hook_out";
    for (auto const& [precision, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-6)}) {
      auto const got = run_hooks(*m, b, {last}, precision);
      std::size_t compared = 0;
      double worst = 0, largest = 0;
      for (std::size_t i = 0; i < b.items(); ++i) {
        auto const rows = expected.at("hidden").at(i);
        auto const& t = got.at(last, i);
        ASSERT_EQ(t.size(0), rows.size());
        for (std::size_t p = 0; p < t.size(0); ++p)
          for (std::size_t d = 0; d < t.size(1); ++d, ++compared) {
            double const x = rows.at(p).at(d).as_number();
            largest = std::max(largest, std::abs(x)), worst = std::max(worst, std::abs(x - t.get({p, d})));
          }
      }
      EXPECT_GE(compared, 100u);
      EXPECT_LE(worst, tolerance * largest) << name;
    }
  }
}

TEST(bert_structure, prefixes_types_shards_and_the_names_of_norms_make_no_difference) {
  for (auto const& name : families) {
    auto const m = open_bert(name);
    golden const g(data_folder(name));
    auto const expected = run_hooks(*m, g.make(all_items), {"*"});
    weights bare;
    for (auto const& [stored, t] : read_weights(data_folder(name))) {
      std::string other = stored;
      for (std::string const from : {"bert.", "roberta.", "albert.", "distilbert.", "electra."})
        if (other.starts_with(from)) other = other.substr(from.size());
      if (other.ends_with(".gamma")) other.replace(other.size() - 5, 5, "weight");
      if (other.ends_with(".beta")) other.replace(other.size() - 4, 4, "bias");
      bare[other] = t;
    }
    // What other heads bring along is none of ours.
    bare["pooler.dense.weight"] = {{2, 2}, {1, 2, 3, 4}};
    for (std::string const type : {"F32", "F16", "BF16"})
      for (bool const sharded : {false, true}) {
        scratch_folder folder;
        (sharded ? write_sharded : write_folder)(folder, config_with(data_folder(name), {}), bare, type);
        auto const other = open_model("bert", folder.path());
        auto const got = run_hooks(*other, g.make(all_items), {"*"});
        for (std::size_t i : all_items) expect_same(*m, expected, i, got, i, name + " " + type);
      }
  }
}

TEST(bert_structure, a_run_may_start_from_embeddings) {
  for (auto const& name : families) {
    auto const m = open_bert(name);
    golden const g(data_folder(name));
    batch b = g.make({1});
    auto const expected = run_hooks(*m, b, {"*"}, dtype::f64);
    b.embeddings = g.at(1, "hook_embed").named({"token", "d_model"});
    std::fill(b.tokens.values.begin(), b.tokens.values.end(), -1);
    expect_same(*m, expected, 0, run_hooks(*m, b, {"*"}, dtype::f64), 0, "embeddings");
  }
}

TEST(bert_structure, weights_under_their_common_names_make_the_activations) {
  auto const m = open_bert("bert-small");
  auto const& info = m->info();
  golden const g(data_folder("bert-small"));
  std::set<std::string> unused(info.weights.begin(), info.weights.end());
  auto const use = [&](std::string const& w) {
    unused.erase(w);
    return m->weight(w);
  };
  auto const at = [&](std::string const& hook) { return numbers(g.at(1, hook)); };
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
  auto const ids = ids_of(g.at(1, "ids"));
  for (std::size_t p = 0; p < ids.size(); ++p)
    for (std::size_t d = 0; d < info.d_model; ++d) {
      EXPECT_EQ(use("embed.W_E").get({static_cast<std::size_t>(ids[p]), d}), g.at(1, "hook_embed").get({p, d}));
      EXPECT_EQ(use("pos_embed.W_pos").get({p, d}), g.at(1, "hook_pos_embed").get({p, d}));
      EXPECT_EQ(use("token_type_embed.W_T").get({0, d}), g.at(1, "hook_token_type_embed").get({p, d}));
    }
  norm("embed_ln");
  for (std::size_t layer = 0; layer < info.layers; ++layer) {
    std::string const b = "blocks." + std::to_string(layer) + ".";
    for (auto const& [letter, hook] : {std::pair("Q", "hook_q"), std::pair("K", "hook_k"), std::pair("V", "hook_v")})
      for (std::size_t h = 0; h < info.heads; ++h) {
        tensor const whole = g.at(1, b + "attn." + hook);
        std::vector<double> one;
        for (std::size_t p = 0; p < whole.size(0); ++p)
          for (std::size_t e = 0; e < info.d_head; ++e) one.push_back(whole.get({p, h, e}));
        affine(at(b + "hook_resid_pre"), use(b + "attn.W_" + letter)[h], use(b + "attn.b_" + letter)[h], one, b + letter);
      }
    tensor const out = use(b + "attn.W_O").clone().reshaped({{"in", info.d_model}, {"d_model", info.d_model}});
    affine(at(b + "attn.hook_z"), out, use(b + "attn.b_O"), at(b + "hook_attn_out"), b + "W_O");
    norm(b + "ln1");
    affine(at(b + "ln1.hook_out"), use(b + "mlp.W_in"), use(b + "mlp.b_in"), at(b + "mlp.hook_pre"), b + "W_in");
    affine(at(b + "mlp.hook_post"), use(b + "mlp.W_out"), use(b + "mlp.b_out"), at(b + "hook_mlp_out"), b + "W_out");
    norm(b + "ln2");
  }
  std::string const last = "blocks." + std::to_string(info.layers - 1) + ".ln2.hook_out";
  affine(at(last), use("mlm_head.W"), use("mlm_head.b"), at("mlm_head.hook_pre"), "mlm_head.W");
  norm("mlm_head.ln");
  affine(at("mlm_head.ln.hook_out"), use("unembed.W_U"), use("unembed.b_U"), at("logits"), "W_U");
  EXPECT_THAT(unused, testing::IsEmpty());
}

TEST(bert_structure, final_norm_is_the_heads_transform) {
  for (auto const& name : families) {
    auto const m = open_bert(name);
    golden const g(data_folder(name));
    std::string const last = "blocks." + std::to_string(m->info().layers - 1) + ".ln2.hook_out";
    for (auto const& [type, tolerance] : {std::pair(dtype::f32, 1e-5), std::pair(dtype::f64, 1e-12)}) {
      tensor const normed = m->final_norm(g.at(2, last).to(type));
      EXPECT_EQ(normed.type(), type);
      EXPECT_LE(distance(normed, g.at(2, "mlm_head.ln.hook_out")), tolerance);
      EXPECT_LE(distance(m->unembed(normed), g.at(2, "logits")), tolerance);
    }
  }
}

std::vector<std::string> remarks_of(model const& m) {
  return dynamic_cast<pretrained const&>(m).remarks();
}

std::unique_ptr<model> changed_bert(std::string const& name, std::map<std::string, json_value> const& changes,
                                    std::set<std::string> const& without, weights const& all) {
  scratch_folder folder;
  write_folder(folder, config_with(data_folder(name), changes, without), all, "F32");
  return open_model("bert", folder.path());
}

TEST(bert_positions, of_roberta_pass_over_padding) {
  for (auto const* type : {"roberta", "xlm-roberta", "camembert"}) {
    auto const m = changed_bert("roberta-small", {{"model_type", type}}, {}, read_weights(data_folder("roberta-small")));
    tensor const table = m->weight("pos_embed.W_pos");
    struct item {
      std::vector<std::int32_t> ids, positions;
    };
    std::vector<item> const all{
        {{0, 5, 1, 6, 2}, {2, 3, 1, 4, 5}}, {{0, 5, 6, 2}, {2, 3, 4, 5}}, {{1, 1, 0, 5, 2, 1}, {1, 1, 2, 3, 4, 1}}, {{1}, {1}}};
    batch b;
    for (auto const& i : all) b.tokens.push_back(i.ids);
    auto const got = run_hooks(*m, b, {"*"}, dtype::f64);
    for (std::size_t i = 0; i < all.size(); ++i) {
      for (std::size_t p = 0; p < all[i].ids.size(); ++p)
        for (std::size_t d = 0; d < 9; ++d)
          EXPECT_EQ(got.at("hook_pos_embed", i).get({p, d}), table.get({static_cast<std::size_t>(all[i].positions[p]), d}));
      batch alone;
      alone.tokens.push_back(all[i].ids);
      expect_same(*m, got, i, run_hooks(*m, alone, {"*"}, dtype::f64), 0, type);
    }
  }
  // BERT counts every token.
  auto const m = open_bert("bert-small");
  batch b;
  b.tokens.push_back(std::vector<std::int32_t>{2, 0, 5, 0, 3});
  auto const got = run_hooks(*m, b, {"hook_pos_embed"}, dtype::f64);
  tensor const table = m->weight("pos_embed.W_pos");
  for (std::size_t p = 0; p < 5; ++p) EXPECT_EQ(got.at("hook_pos_embed", 0).get({p, 4}), table.get({p, 4}));
}

TEST(bert_checkpoints, what_the_file_has_decides_and_what_nothing_reads_is_told) {
  for (auto const& name : both) {
    auto const all = read_weights(data_folder(name));
    golden const g(data_folder(name));
    auto const plain = run_hooks(*open_bert(name), g.make({0}), {"logits"}, dtype::f64).at("logits", 0);
    bool const roberta = name == "roberta-small";
    std::string const head = roberta ? "lm_head." : "cls.predictions.",
                      embedding = (roberta ? "roberta." : "bert.") + std::string("embeddings.word_embeddings.weight");
    auto const logits = [&](model const& m) { return run_hooks(m, g.make({0}), {"logits"}, dtype::f64).at("logits", 0); };
    // The same matrix under the head's name, and its bias twice, change nothing and are no news.
    auto other = all;
    other[head + "decoder.weight"] = all.at(embedding);
    other[head + "decoder.bias"] = all.at(head + "bias");
    auto same = changed_bert(name, {}, {}, other);
    EXPECT_TRUE(same_bytes(logits(*same), plain));
    EXPECT_TRUE(remarks_of(*same).empty());
    // Another matrix is the head, and the configuration's word against it is told.
    for (float& x : other[head + "decoder.weight"].values) x *= 2;
    auto const own = changed_bert(name, {}, {}, other);
    tensor const bias = own->weight("unembed.b_U");
    for (std::size_t t = 0; t < 5; ++t)
      EXPECT_NEAR(logits(*own).get({0, t}) - bias.get({t}), 2 * (plain.get({0, t}) - bias.get({t})), 1e-12);
    ASSERT_EQ(remarks_of(*own).size(), 1u);
    EXPECT_THAT(remarks_of(*own)[0], HasSubstr(head + "decoder.weight"));
    other[head + "decoder.bias"].values[0] += 1;
    EXPECT_THAT(thrown<data_error>([&] { changed_bert(name, {}, {}, other); }), HasSubstr("different numbers"));
    // Other heads and layers beyond those of the configuration.
    other = all;
    other["classifier.weight"] = {{2, 2}, {1, 2, 3, 4}};
    auto const more =
        changed_bert(name, {{"num_hidden_layers", 1}, {"activation_function", "relu"}, {"num_labels", 2}}, {}, other);
    auto const said = remarks_of(*more);
    ASSERT_EQ(said.size(), 3u);
    EXPECT_THAT(said[0], HasSubstr("activation_function"));
    EXPECT_THAT(said[1], HasSubstr("nothing reads \"classifier.weight\""));
    EXPECT_THAT(said[2], testing::AllOf(HasSubstr("more layers"), HasSubstr("encoder.layer.1.")));
  }
}

TEST(bert_checkpoints, without_a_model_type_the_classes_or_the_names_say_it) {
  for (auto const& name : families) {
    auto const all = read_weights(data_folder(name));
    golden const g(data_folder(name));
    auto const plain = run_hooks(*open_bert(name), g.make({0}), {"*"}, dtype::f64);
    for (std::set<std::string> const& without : {std::set<std::string>{"model_type"}, {"model_type", "architectures"}}) {
      auto const m = changed_bert(name, {}, without, all);
      expect_same(*m, plain, 0, run_hooks(*m, g.make({0}), {"*"}, dtype::f64), 0, name);
      ASSERT_EQ(remarks_of(*m).size(), 1u);
      EXPECT_THAT(remarks_of(*m)[0], HasSubstr("has no model_type"));
    }
    if (std::find(both.begin(), both.end(), name) == both.end()) continue;
    EXPECT_THAT(thrown<data_error>([&] {
                  changed_bert(name, {{"model_type", name == "bert-small" ? "roberta" : "bert"}}, {}, all);
                }),
                HasSubstr("are named"));
  }
}

TEST(bert_families, of_albert_share_weights_and_show_each_layers_own_hooks) {
  auto const m = open_bert("albert-small");
  EXPECT_EQ(m->info().layers, 6u);
  // Three repetitions read two groups of two layers.
  std::size_t const reads[] = {0, 1, 0, 1, 2, 3};
  for (std::size_t i = 0; i < 6; ++i)
    for (std::size_t j = 0; j < 6; ++j) {
      auto const weight = [&](std::size_t l, char const* w) { return m->weight("blocks." + std::to_string(l) + "." + w); };
      for (char const* w : {"attn.W_Q", "attn.b_O", "mlp.W_out", "ln2.b"})
        EXPECT_EQ(weight(i, w).raw() == weight(j, w).raw(), reads[i] == reads[j]) << i << " and " << j << ": " << w;
    }
}

TEST(bert_families, of_albert_with_bert_s_weights_in_every_group_are_bert) {
  // E = D, an identity behind the embeddings, one group for each layer: the numbers are BERT's own, bit for bit.
  auto const bert = read_weights(data_folder("bert-small"));
  weights albert;
  std::map<std::string, std::string> const renamed{{"attention.self.query", "attention.query"},
                                                   {"attention.self.key", "attention.key"},
                                                   {"attention.self.value", "attention.value"},
                                                   {"attention.output.dense", "attention.dense"},
                                                   {"attention.output.LayerNorm", "attention.LayerNorm"},
                                                   {"intermediate.dense", "ffn"},
                                                   {"output.dense", "ffn_output"},
                                                   {"output.LayerNorm", "full_layer_layer_norm"}};
  for (auto const& [name, t] : bert) {
    std::string to = name.starts_with("bert.") ? "al" + name : name;
    std::string const layer = "albert.encoder.layer.";
    if (to.starts_with(layer)) {
      std::string const part = to.substr(layer.size() + 2, to.rfind('.') - layer.size() - 2);
      to = "albert.encoder.albert_layer_groups." + to.substr(layer.size(), 1) + ".albert_layers.0." + renamed.at(part) +
           to.substr(to.rfind('.'));
    }
    if (to.starts_with("cls.predictions.transform.")) to = "predictions." + to.substr(26);
    if (to.starts_with("cls.")) to = to.substr(4);
    albert[to] = t;
  }
  std::size_t const d = 10;
  stored identity{{d, d}, std::vector<float>(d * d)}, none{{d}, std::vector<float>(d)};
  for (std::size_t i = 0; i < d; ++i) identity.values[i * d + i] = 1;
  albert["albert.encoder.embedding_hidden_mapping_in.weight"] = identity;
  albert["albert.encoder.embedding_hidden_mapping_in.bias"] = none;
  scratch_folder folder;
  write_folder(
      folder,
      config_with(data_folder("bert-small"), {{"model_type", "albert"}, {"embedding_size", 10}, {"num_hidden_groups", 2}}),
      albert, "F32");
  auto const other = open_model("bert", folder.path());
  golden const g(data_folder("bert-small"));
  auto const m = open_bert("bert-small");
  auto const expected = run_hooks(*m, g.make(all_items), {"*"}, dtype::f64),
             got = run_hooks(*other, g.make(all_items), {"*"}, dtype::f64);
  for (std::size_t i : all_items) expect_same(*m, expected, i, got, i, "albert");
}

TEST(bert_families, distilbert_has_no_token_types) {
  auto const m = open_bert("distilbert-small");
  EXPECT_EQ(m->info().find_hook("hook_token_type_embed"), nullptr);
  batch b = golden(data_folder("distilbert-small")).make({2});
  b.token_types.push_back(std::vector<std::int32_t>(b.tokens[0].size(), 0));
  EXPECT_THAT(thrown<data_error>([&] { run_hooks(*m, b, {"logits"}); }), HasSubstr("type"));
  EXPECT_THAT(thrown<usage_error>([&] {
                make<model>("bert", {{"path", data_folder("distilbert-small")}, {"token_types", std::string("sep")}});
              }),
              HasSubstr("two types"));
  // A pair is read, as its tokenizer's types are for others.
  scratch_folder folder;
  write_folder(folder, config_with(data_folder("distilbert-small"), {}), read_weights(data_folder("distilbert-small")), "F32");
  write_text(folder.file("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwalk\n##ing\nhome\n");
  auto const reader = open_model("bert", folder.path());
  item_block items;
  items.count = 1, items.texts = {"walking"}, items.seconds = {"home"};
  batch const pair = reader->encode(items, {});
  EXPECT_EQ(pair.tokens.values, (std::vector<std::int32_t>{2, 5, 6, 3, 7, 3}));
  EXPECT_TRUE(pair.token_types.empty());
  EXPECT_EQ(run_hooks(*reader, pair, {"logits"}).at("logits", 0).size(0), 6u);
}

TEST(bert_checkpoints, says_when_position_numbers_are_others_than_those_used) {
  auto all = read_weights(data_folder("bert-small"));
  auto const said = [&](std::vector<float> positions, std::vector<float> types) {
    std::size_t const n = positions.size();
    all["bert.embeddings.position_ids"] = {{1, n}, std::move(positions)};
    all["bert.embeddings.token_type_ids"] = {{1, n}, std::move(types)};
    scratch_folder folder;
    write_folder(folder, config_with(data_folder("bert-small"), {}), all, "F32");
    return remarks_of(*open_model("bert", folder.path()));
  };
  EXPECT_THAT(said({0, 1, 2, 3}, {0, 0, 0, 0}), testing::IsEmpty());
  EXPECT_THAT(said({2, 3, 4, 5}, {0, 0, 1, 0}),
              testing::ElementsAre(HasSubstr("\"bert.embeddings.position_ids\" are not 0, 1, 2, ..."),
                                   HasSubstr("\"bert.embeddings.token_type_ids\" are not 0")));
}

TEST(bert_families, an_electra_without_a_vocabulary_head_says_so) {
  auto all = read_weights(data_folder("electra-small"));
  std::erase_if(all, [](auto const& e) { return e.first.starts_with("generator_"); });
  all["discriminator_predictions.dense.weight"] = {{10, 10}, std::vector<float>(100)};
  all["discriminator_predictions.dense.bias"] = {{10}, std::vector<float>(10)};
  all["discriminator_predictions.dense_prediction.weight"] = {{1, 10}, std::vector<float>(10)};
  all["discriminator_predictions.dense_prediction.bias"] = {{1}, {0}};
  scratch_folder folder;
  write_folder(folder, config_with(data_folder("electra-small"), {}), all, "F32");
  auto const m = open_model("bert", folder.path());
  golden const g(data_folder("electra-small"));
  EXPECT_THAT(remarks_of(*m), testing::IsEmpty());
  EXPECT_LE(distance(run_hooks(*m, g.make({1}), {"blocks.*"}).at("blocks.1.ln2.hook_out", 0), g.at(1, "blocks.1.ln2.hook_out")),
            1e-5);
  EXPECT_THAT(thrown<data_error>([&] { run_hooks(*m, g.make({1}), {"logits"}); }), HasSubstr("discriminator"));
  EXPECT_THAT(thrown<data_error>([&] { m->final_norm(g.at(1, "blocks.1.ln2.hook_out")); }), HasSubstr("discriminator"));
  auto const unread = make<model>("bert", {{"path", folder.path()}});
  EXPECT_THAT(thrown<data_error>([&] { dynamic_cast<pretrained&>(*unread).look(unread->info().hooks_for("logits")); }),
              HasSubstr("discriminator"));
}

TEST(bert_families, refuse_what_their_configurations_can_t_mean) {
  auto const configured = [&](std::string const& name, std::map<std::string, json_value> const& changes) {
    return thrown<data_error>([&] { changed_bert(name, changes, {}, read_weights(data_folder(name))); });
  };
  using testing::AllOf;
  auto const says = [](char const* key) { return AllOf(HasSubstr("config.json"), HasSubstr(key)); };
  for (auto const& [key, value] : std::initializer_list<std::pair<std::string, json_value>>{{"num_hidden_groups", 0},
                                                                                            {"num_hidden_groups", 4},
                                                                                            {"inner_group_num", 0},
                                                                                            {"inner_group_num", 1000},
                                                                                            {"embedding_size", 0},
                                                                                            {"gap_size", 1},
                                                                                            {"down_scale_factor", 2},
                                                                                            {"net_structure_type", 1},
                                                                                            {"num_memory_blocks", 1},
                                                                                            {"hidden_act", "swosh"},
                                                                                            {"layer_norm_eps", -1},
                                                                                            {"type_vocab_size", 0}})
    EXPECT_THAT(configured("albert-small", {{key, value}}), says(key.c_str())) << key;
  EXPECT_THAT(configured("albert-small", {{"embedding_size", 8}}), HasSubstr("config.json asks for"));
  auto const grouped = changed_bert("albert-small", {{"num_hidden_groups", 3}}, {}, read_weights(data_folder("albert-small")));
  EXPECT_THAT(thrown<data_error>([&] { run_hooks(*grouped, golden(data_folder("albert-small")).make({0}), {"*"}); }),
              HasSubstr("albert_layer_groups.2"));
  for (auto const& [key, value] : std::initializer_list<std::pair<std::string, json_value>>{{"dim", 8},
                                                                                            {"n_heads", 0},
                                                                                            {"n_layers", 5000},
                                                                                            {"hidden_dim", 0},
                                                                                            {"activation", "swosh"},
                                                                                            {"embedding_size", 4},
                                                                                            {"hidden_size", 8}})
    EXPECT_FALSE(configured("distilbert-small", {{key, value}}).starts_with("nothing")) << key;
  EXPECT_THAT(configured("distilbert-small", {{"activation", "swosh"}}), says("activation"));
  EXPECT_THAT(configured("distilbert-small", {{"hidden_size", 8}}), HasSubstr("means the same"));
  EXPECT_THAT(configured("distilbert-small", {{"n_heads", 2}}), says("n_heads"));
  EXPECT_THAT(configured("electra-small", {{"embedding_size", 5}}), HasSubstr("config.json asks for"));
  EXPECT_THAT(configured("electra-small", {{"is_decoder", true}}), says("is_decoder"));
  // One family's tensors under another's name.
  EXPECT_THAT(configured("electra-small", {{"model_type", "bert"}, {"embedding_size", nullptr}, {"hidden_size", 10}}),
              HasSubstr("config.json asks for"));
  EXPECT_THAT(configured("electra-small", {{"model_type", "bert"}}), says("embedding_size"));
  EXPECT_THAT(configured("bert-small", {{"model_type", "electra"}, {"embedding_size", 10}}), HasSubstr("are named"));
}

TEST(bert_checkpoints, other_activations_are_run) {
  auto const m = changed_bert("bert-small", {{"hidden_act", "relu"}}, {}, read_weights(data_folder("bert-small")));
  auto const got = run_hooks(*m, golden(data_folder("bert-small")).make({0}), {"*"}, dtype::f64);
  // RoBERTa's head keeps its GELU.
  auto const other = changed_bert("roberta-small", {{"hidden_act", "relu"}}, {}, read_weights(data_folder("roberta-small")));
  auto const head = run_hooks(*other, golden(data_folder("roberta-small")).make({0}), {"*"}, dtype::f64);
  auto const in = numbers(head.at("mlm_head.hook_pre", 0)), out = numbers(head.at("mlm_head.hook_post", 0));
  for (std::size_t i = 0; i < in.size(); ++i) EXPECT_NEAR(out[i], in[i] * 0.5 * std::erfc(-in[i] / std::sqrt(2.0)), 1e-14);
  for (auto const& [pre, post] :
       {std::pair{"blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_post"}, std::pair{"mlm_head.hook_pre", "mlm_head.hook_post"}}) {
    auto const x = numbers(got.at(pre, 0)), y = numbers(got.at(post, 0));
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], std::max(x[i], 0.0));
  }
}

// Types move a token by a row of their table, so that an edit that adds the difference of two rows must do the same.
TEST(bert_types, come_from_the_batch_or_from_the_separator) {
  auto const m = open_bert("bert-small");
  golden const g(data_folder("bert-small"));
  batch b = g.make({1, 2});
  tensor const rows = m->weight("token_type_embed.W_T");
  std::vector<std::int32_t> const first{b.tokens[0].begin(), b.tokens[0].end()};
  std::size_t const cut = 2;
  std::int32_t const sep = first[cut];
  ASSERT_EQ(std::find(first.begin(), first.end(), sep) - first.begin(), static_cast<std::ptrdiff_t>(cut));
  auto expected_types = [&](std::size_t i) {
    std::vector<std::int32_t> types(b.tokens[i].size());
    auto const at = std::find(b.tokens[i].begin(), b.tokens[i].end(), sep);
    for (std::size_t p = 0; p < types.size(); ++p) types[p] = static_cast<std::ptrdiff_t>(p) > at - b.tokens[i].begin();
    return types;
  };
  run_request edited;
  edited.capture = m->info().hooks_for("*");
  edited.precision = dtype::f64;
  edited.edits.push_back({"hook_token_type_embed", [&](edit_site const& site, tensor const& x) {
                            auto const types = expected_types(site.item);
                            for (std::size_t p = 0; p < types.size(); ++p)
                              for (std::size_t d = 0; d < x.size(1); ++d)
                                x(p, d) = rows.get({static_cast<std::size_t>(types[p]), d});
                          }});
  auto const expected = m->run(b, edited);
  batch typed = b;
  for (std::size_t i = 0; i < 2; ++i) typed.token_types.push_back(expected_types(i));
  auto const given = run_hooks(*m, typed, {"*"}, dtype::f64);
  auto const ruled =
      make<model>("bert", {{"path", data_folder("bert-small")}, {"token_types", std::string("sep")}, {"sep", std::int64_t{sep}}});
  ruled->load();
  EXPECT_THROW(make<model>("bert", {{"path", data_folder("bert-small")},
                                    {"token_types", std::string("sep")},
                                    {"sep", static_cast<std::int64_t>(m->info().vocabulary)}}),
               usage_error);
  auto const by_rule = run_hooks(*ruled, b, {"*"}, dtype::f64);
  for (std::size_t i = 0; i < 2; ++i) {
    expect_same(*m, expected, i, given, i, "given");
    expect_same(*m, expected, i, by_rule, i, "by rule");
  }
  EXPECT_FALSE(same_bytes(given.at("logits", 0), run_hooks(*m, b, {"*"}, dtype::f64).at("logits", 0)));
  batch wrong = b;
  wrong.token_types = typed.token_types;
  wrong.token_types.values.back() = 7;
  EXPECT_THROW(run_hooks(*m, wrong, {"*"}), data_error);
  wrong.token_types = {};
  wrong.token_types.push_back(std::vector<std::int32_t>{0});
  EXPECT_THROW(run_hooks(*m, wrong, {"*"}), usage_error);
}

TEST(bert_edits, change_everything_downstream_and_nothing_upstream) {
  auto const m = open_bert("roberta-small");
  golden const g(data_folder("roberta-small"));
  batch const b = g.make({0, 2});
  auto const plain = run_hooks(*m, b, {"*"}, dtype::f64);
  auto const& hooks = m->info().hooks;
  for (std::size_t at = 0; at < hooks.size(); ++at) {
    hook_edit const edit{hooks[at].name, [](edit_site const& site, tensor const& t) {
                           if (site.item != 1) return;
                           double n = 0;
                           for (double& x : t.values<double>()) x += 0.25 + 0.5 * std::sin(n++);
                         }};
    auto const edited = run_hooks(*m, b, {"*"}, dtype::f64, {edit});
    for (std::size_t j = 0; j < hooks.size(); ++j) {
      EXPECT_TRUE(same_bytes(plain.at(hooks[j].name, 0), edited.at(hooks[j].name, 0))) << hooks[at].name;
      EXPECT_TRUE(j >= at || same_bytes(plain.at(hooks[j].name, 1), edited.at(hooks[j].name, 1))) << hooks[at].name;
    }
    EXPECT_FALSE(same_bytes(plain.at(hooks[at].name, 1), edited.at(hooks[at].name, 1))) << hooks[at].name;
    EXPECT_FALSE(same_bytes(plain.at("logits", 1), edited.at("logits", 1))) << hooks[at].name << " changed nothing";
  }
}

TEST(bert_refuses, what_does_not_fit) {
  std::string const from = data_folder("roberta-small");
  auto const all = read_weights(from);
  golden const g(from);
  auto const m = open_bert("roberta-small");
  EXPECT_EQ(m->info().longest, 12u);  // 14 positions, of which the first two are never used
  batch b;
  b.tokens.push_back(std::vector<std::int32_t>(13, 1));
  EXPECT_THAT(thrown<usage_error>([&] { run_hooks(*m, b, {"logits"}); }), HasSubstr("12"));
  b.tokens = {};
  b.tokens.push_back(std::vector<std::int32_t>{23});
  EXPECT_THAT(thrown<usage_error>([&] { run_hooks(*m, b, {"logits"}); }), HasSubstr("23"));
  EXPECT_THAT(thrown<usage_error>([&] { m->begin(g.make({0}), {}, nullptr); }), HasSubstr("can't continue"));

  auto const configured = [&](std::map<std::string, json_value> const& changes) {
    scratch_folder folder;
    write_folder(folder, config_with(from, changes), all, "F32");
    return thrown<data_error>([&] { open_model("bert", folder.path()); });
  };
  EXPECT_THAT(configured({{"hidden_size", 12}}), HasSubstr("config.json asks for"));
  EXPECT_THAT(configured({{"num_attention_heads", 2}}), HasSubstr("num_attention_heads"));
  EXPECT_THAT(configured({{"num_hidden_layers", 1'000'000}}), HasSubstr("num_hidden_layers"));
  EXPECT_THAT(configured({{"hidden_act", "relu6"}}), HasSubstr("relu6"));
  EXPECT_THAT(configured({{"position_embedding_type", "relative_key"}}), HasSubstr("relative_key"));
  EXPECT_THAT(configured({{"pad_token_id", 14}}), HasSubstr("max_position_embeddings"));
  EXPECT_THAT(configured({{"model_type", "gpt2"}}), HasSubstr("model_type"));

  // Without its head the encoder still runs; only what the head makes is missing.
  scratch_folder folder;
  weights headless;
  for (auto const& [name, t] : all)
    if (!name.starts_with("lm_head.")) headless[name] = t;
  write_folder(folder, config_with(from, {}), headless, "F32");
  auto const encoder = open_model("bert", folder.path());
  auto const got = run_hooks(*encoder, g.make({0}), {"blocks.*"});
  EXPECT_LE(distance(got.at("blocks.1.ln2.hook_out", 0), g.at(0, "blocks.1.ln2.hook_out")), 1e-5);
  std::string const said = thrown<data_error>([&] { run_hooks(*encoder, g.make({0}), {"logits"}); });
  EXPECT_THAT(said, HasSubstr("lm_head.dense.weight"));
  EXPECT_THAT(said, HasSubstr("5 tensors"));
}

TEST(bert_encode, texts_stand_between_their_marks) {
  scratch_folder folder;
  write_folder(folder, config_with(data_folder("bert-small"), {}), read_weights(data_folder("bert-small")), "BF16");
  write_text(folder.file("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwalk\n##ing\nhome\n");
  auto const m = open_model("bert", folder.path());
  ASSERT_NE(m->text_tokenizer(), nullptr);
  item_block items;
  items.count = 2;
  items.texts = {"walking home", "Home"};
  EXPECT_EQ(m->encode(items, {}).tokens.values, (std::vector<std::int32_t>{2, 5, 6, 7, 3, 2, 7, 3}));
  EXPECT_EQ(m->encode(items, {.max_tokens = 4}).tokens.values, (std::vector<std::int32_t>{2, 5, 6, 3, 2, 7, 3}));
  items.texts[0] = std::string(200, '.');
  EXPECT_EQ(m->encode(items, {}).tokens[0].size(), 16u);  // no longer than the model reads
  items.seconds = {"home", "walk"};
  items.texts = {"walking home", "Home"};
  batch const pairs = m->encode(items, {});
  EXPECT_EQ(pairs.tokens.values, (std::vector<std::int32_t>{2, 5, 6, 7, 3, 7, 3, 2, 7, 3, 5, 3}));
  EXPECT_EQ(pairs.token_types.values, (std::vector<std::int32_t>{0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1}));
  EXPECT_EQ(m->encode(items, {.max_tokens = 6}).tokens.values, (std::vector<std::int32_t>{2, 5, 6, 3, 7, 3, 2, 7, 3, 5, 3}));
  EXPECT_EQ(m->encode(items, {.max_tokens = 6}).uncut, (std::vector<std::size_t>{7, 5}));
  items.seconds.clear();
  items.texts[0] = "caf\xe9";
  EXPECT_THAT(thrown<data_error>([&] { m->encode(items, {}); }), HasSubstr("item 0: this is not UTF-8: byte 3 is 0xe9"));
  items.texts.clear();
  EXPECT_THAT(thrown<usage_error>([&] { m->encode(items, {}); }), HasSubstr("texts or tokens"));
}

}  // namespace
