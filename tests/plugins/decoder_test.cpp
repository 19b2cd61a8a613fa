// The plugin `decoder`: every hook of every family against a plain decoder in float64, the promises that hold for any weights,
// and the logits that Hugging Face's models gave for the folders of WAYFARER_DATA.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>

#include <wayfarer/generate.hpp>
#include <wayfarer/pretrained.hpp>

#include "decoder_families.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::HasSubstr;

using token_list = std::vector<std::int32_t>;

token_list random_tokens(std::size_t n, std::size_t vocabulary, std::uint64_t seed) {
  random_stream draw(seed, "tokens");
  token_list ids(n);
  for (auto& id : ids) id = static_cast<std::int32_t>(draw.below(vocabulary));
  return ids;
}

batch batch_of(std::vector<token_list> const& items) {
  batch b;
  for (auto const& ids : items) b.tokens.push_back(ids);
  return b;
}

/// One token, the full context, and something between.
std::vector<token_list> items_for(plain_decoder const& p) {
  return {random_tokens(1, p.V, 1), random_tokens(p.P, p.V, 2), random_tokens(9, p.V, 3)};
}

/// The largest difference of two hooks, relative to the largest finite number; infinities must agree.
double distance_to(tensor const& got, std::vector<double> const& want) {
  auto const a = numbers(got);
  if (a.size() != want.size()) return INFINITY;
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(want[i]) || !std::isfinite(a[i])) {
      if (a[i] != want[i]) return INFINITY;
      continue;
    }
    worst = std::max(worst, std::abs(a[i] - want[i])), largest = std::max(largest, std::abs(want[i]));
  }
  return worst == 0 ? 0 : worst / largest;
}

decoder_case case_of(std::string const& name) {
  for (auto& c : decoder_cases())
    if (c.name == name) return c;
  throw std::runtime_error("no family " + name);
}

std::string name_of(testing::TestParamInfo<std::string> const& info) {
  return info.param;
}

std::vector<std::string> case_names() {
  std::vector<std::string> all;
  for (auto const& c : decoder_cases()) all.push_back(c.name);
  return all;
}

// ---- every family --------------------------------------------------------------------------------------------------------

class decoder_family : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(all, decoder_family, testing::ValuesIn(case_names()), name_of);

TEST_P(decoder_family, gives_every_hook_as_plain_loops_do) {
  auto const c = case_of(GetParam());
  decoder_folder const f(c);
  auto const m = f.open();
  auto const items = items_for(c.plain);
  for (auto const& [precision, tolerance] : {std::pair(dtype::f64, 1e-10), std::pair(dtype::f32, 1e-5)}) {
    auto const got = run_hooks(*m, batch_of(items), {"*"}, precision);
    for (std::size_t i = 0; i < items.size(); ++i) {
      auto const want = c.plain.run(items[i]);
      for (auto const& [hook, numbers] : want)
        EXPECT_LE(distance_to(got.at(hook, i), numbers), tolerance) << hook << " of item " << i;
      for (auto const& h : m->info().hooks) EXPECT_TRUE(want.contains(h.name)) << h.name;
      EXPECT_EQ(want.size(), m->info().hooks.size());
    }
  }
}

TEST_P(decoder_family, has_nothing_to_remark_and_reads_all_of_its_file) {
  auto const c = case_of(GetParam());
  decoder_folder const f(c);
  auto const m = f.open();
  auto remarks = dynamic_cast<pretrained const&>(*m).remarks();
  EXPECT_THAT(remarks, testing::IsEmpty());
}

TEST_P(decoder_family, goes_on_with_the_bytes_of_a_whole_run) {
  auto const c = case_of(GetParam());
  decoder_folder const f(c);
  auto const m = f.open();
  auto const ids = random_tokens(c.plain.P, c.plain.V, 4), other = random_tokens(11, c.plain.V, 5);
  run_request request;
  request.capture = m->info().hooks_for("*");
  auto const whole = m->run(batch_of({ids}), request);
  activations first;
  auto run = m->begin(batch_of({{ids.begin(), ids.begin() + 7}, other}), request, &first);
  std::size_t at = 7;
  auto const compare = [&](activations const& part, std::size_t from, std::size_t to) {
    for (auto const& h : m->info().hooks) {
      if (h.per_pair) continue;
      EXPECT_TRUE(same_bytes(part.at(h.name, 0), whole.at(h.name, 0).slice(0, from, to).clone())) << h.name << " from " << from;
    }
    for (auto const& h : m->info().hooks) {
      if (!h.per_pair) continue;
      auto const all = whole.at(h.name, 0).slice(1, from, to).slice(2, 0, to).clone();
      EXPECT_TRUE(same_bytes(part.at(h.name, 0), all)) << h.name << " from " << from;
    }
  };
  compare(first, 0, 7);
  for (std::size_t const step : {1, 1, 5, 1}) {
    auto const part = run->extend(
        batch_of({{ids.begin() + static_cast<std::ptrdiff_t>(at), ids.begin() + static_cast<std::ptrdiff_t>(at + step)}, {}}),
        request);
    compare(part, at, at + step);
    at += step;
  }
}

TEST_P(decoder_family, gives_the_same_bytes_for_any_batch_and_number_of_threads) {
  auto const c = case_of(GetParam());
  decoder_folder const f(c);
  auto const m = f.open();
  auto const items = items_for(c.plain);
  auto const together = on_threads(1, [&] { return run_hooks(*m, batch_of(items), {"*"}); });
  auto const again = on_threads(3, [&] { return run_hooks(*m, batch_of(items), {"*"}); });
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto const alone = run_hooks(*m, batch_of({items[i]}), {"*"});
    for (auto const& h : m->info().hooks) {
      EXPECT_TRUE(same_bytes(together.at(h.name, i), alone.at(h.name, 0))) << h.name << " of item " << i;
      EXPECT_TRUE(same_bytes(together.at(h.name, i), again.at(h.name, i))) << h.name << " of item " << i;
    }
  }
}

TEST_P(decoder_family, has_sums_and_weights_that_fit_its_hooks) {
  auto const c = case_of(GetParam());
  decoder_folder const f(c);
  auto const m = f.open();
  auto const ids = random_tokens(6, c.plain.V, 6);
  auto const out = run_hooks(*m, batch_of({ids}), {"*"}, dtype::f64);
  // A lens on the last state gives the logits; embeddings given as hook_embed give the same run.
  std::string const last = "blocks.1.hook_resid_post";
  EXPECT_LE(distance(m->unembed(m->final_norm(out.at(last, 0))), out.at("logits", 0)), 1e-12);
  batch given = batch_of({ids});
  given.embeddings = out.at("hook_embed", 0);
  EXPECT_TRUE(same_bytes(run_hooks(*m, given, {"logits"}, dtype::f64).at("logits", 0), out.at("logits", 0)));
  // z W_O, summed over the heads, and what attention reads times W_V.
  bool const post = c.plain.has("0.ln1_post");
  auto const z = out.at("blocks.0.attn.hook_z", 0), w_o = m->weight("blocks.0.attn.W_O"), b_o = m->weight("blocks.0.attn.b_O");
  auto const x = out.at(
      m->info().find_hook("blocks.0.ln1.hook_out") && !c.plain.post_norm ? "blocks.0.ln1.hook_out" : "blocks.0.hook_resid_pre",
      0);
  std::string const part = c.plain.mixer == "attention" ? "K" : "V";
  auto const k = out.at(part == "K" ? "blocks.0.attn.hook_k" : "blocks.0.attn.hook_v", 0),
             w_k = m->weight("blocks.0.attn.W_" + part), b_k = m->weight("blocks.0.attn.b_" + part);
  EXPECT_EQ(w_k.size(0), m->info().kv_heads);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    for (std::size_t j = 0; j < c.plain.D && !post; ++j) {
      double sum = b_o.get({j});
      for (std::size_t h = 0; h < c.plain.H; ++h)
        for (std::size_t e = 0; e < c.plain.d; ++e) sum += z.get({t, h, e}) * w_o.get({h, e, j});
      EXPECT_NEAR(out.at("blocks.0.hook_attn_out", 0).get({t, j}), sum * c.plain.residual_scale, 1e-9);
    }
    for (std::size_t h = 0; h < c.plain.K; ++h)
      for (std::size_t e = 0; e < c.plain.d; ++e) {
        double sum = b_k.get({h, e});
        for (std::size_t j = 0; j < c.plain.D; ++j) sum += x.get({t, j}) * w_k.get({h, j, e});
        EXPECT_NEAR(k.get({t, h, e}), sum, 1e-9);
      }
  }
  for (auto const& name : m->info().weights) EXPECT_NO_THROW(m->weight(name)) << name;
}

TEST_P(decoder_family, an_edit_of_scores_or_pattern_can_show_no_query_a_key_that_it_does_not_see) {
  auto const c = case_of(GetParam());
  decoder_folder const f(c);
  auto const m = f.open();
  auto ids = random_tokens(15, c.plain.V, 7);
  for (std::string const hook : {"blocks.1.attn.hook_attn_scores", "blocks.1.attn.hook_pattern"}) {
    if (!m->info().find_hook(hook)) continue;  // of no softmax
    std::vector<hook_edit> const edit{{hook, [](edit_site const&, tensor const& t) {
                                         for (auto& v : t.values<float>()) v = 0.25f;
                                       }}};
    auto const before = run_hooks(*m, batch_of({ids}), {"*"}, dtype::f32, edit);
    auto const visible = c.plain.windows.empty() || !c.plain.windows[1] ? ids.size() : c.plain.windows[1];
    auto const scores = before.at(hook, 0);
    for (std::size_t q = 0; q < ids.size() && hook.ends_with("scores"); ++q)
      for (std::size_t k = 0; k < ids.size(); ++k)
        EXPECT_EQ(std::isfinite(scores.get({0, q, k})), k <= q && q - k < visible) << q << " " << k;
    // Values of keys that the last query does not see are not read.
    std::vector<hook_edit> both = edit;
    both.push_back({"blocks.1.attn.hook_v", [&](edit_site const&, tensor const& t) {
                      auto const v = t.values<float>();
                      std::size_t const row = v.size() / ids.size();
                      for (std::size_t k = 0; k + visible < ids.size(); ++k)
                        for (std::size_t j = 0; j < row; ++j) v[k * row + j] = 1e3f;
                    }});
    auto const after = run_hooks(*m, batch_of({ids}), {"*"}, dtype::f32, both);
    auto const last = [&](activations const& a) {
      return a.at("blocks.1.attn.hook_z", 0).slice(0, ids.size() - 1, ids.size()).clone();
    };
    EXPECT_TRUE(same_bytes(last(before), last(after))) << hook;
  }
}

// ---- what the parity tests can see ---------------------------------------------------------------------------------------

/// Changes one ingredient of the plain model and expects its logits to leave the plugin's by more than the tests allow.
void expect_seen(std::string const& family, std::string const& what, std::function<void(plain_decoder&)> const& change) {
  auto c = case_of(family);
  decoder_folder const f(c);
  auto const m = f.open();
  auto const ids = random_tokens(c.plain.P, c.plain.V, 2);
  auto const got = run_hooks(*m, batch_of({ids}), {"logits"}, dtype::f64);
  EXPECT_LE(distance_to(got.at("logits", 0), c.plain.run(ids).at("logits")), 1e-10) << family;
  change(c.plain);
  EXPECT_GT(distance_to(got.at("logits", 0), c.plain.run(ids).at("logits")), 1e-5) << family << ": " << what;
}

TEST(decoder_parity, sees_every_wrong_ingredient) {
  expect_seen("llama", "rotary layout", [](plain_decoder& p) { p.pairs = true; });
  expect_seen("gptj", "rotary layout", [](plain_decoder& p) { p.pairs = false; });
  expect_seen("gpt_neox", "rotary width", [](plain_decoder& p) { p.turned = 6; });
  expect_seen("llama", "theta", [](plain_decoder& p) { p.thetas = {20'000, 20'000}; });
  expect_seen("llama3", "stretched angles", [](plain_decoder& p) { p.stretch = 1; });
  expect_seen("llama3", "epsilon", [](plain_decoder& p) { p.epsilon = 1e-5; });
  expect_seen("llama", "grouped keys", [](plain_decoder& p) { std::swap(p.w["0.k"], p.w["1.k"]); });
  expect_seen("llama", "norm without mean", [](plain_decoder& p) { p.rms = false; });
  expect_seen("gemma", "1 + weight", [](plain_decoder& p) { p.plus_one = false; });
  expect_seen("gemma", "scaled embedding", [](plain_decoder& p) { p.embed_scale = 1; });
  expect_seen("gemma", "GELU's form", [](plain_decoder& p) { p.act = "gelu"; });
  expect_seen("gpt_neox", "GELU's form", [](plain_decoder& p) { p.act = "gelu_new"; });
  expect_seen("gemma2", "cap of scores", [](plain_decoder& p) { p.score_cap = 0; });
  expect_seen("gemma2", "cap of logits", [](plain_decoder& p) { p.logit_cap = 0; });
  expect_seen("gemma2", "scale of scores", [](plain_decoder& p) { p.scale = 1 / std::sqrt(6.0); });
  expect_seen("gemma2", "which layers have the window", [](plain_decoder& p) { std::swap(p.windows[0], p.windows[1]); });
  expect_seen("mistral", "window", [](plain_decoder& p) { p.windows = {6, 6}; });
  expect_seen("gpt_neo", "window", [](plain_decoder& p) { p.windows = {0, 4}; });
  expect_seen("gpt_neo", "scale of scores", [](plain_decoder& p) { p.scale = 1 / std::sqrt(6.0); });
  expect_seen("gemma3_text", "theta of the sliding layers", [](plain_decoder& p) { p.thetas = {1e5, 1e5}; });
  expect_seen("olmo2", "norm over all heads", [](plain_decoder& p) { p.head_norms_whole = false; });
  expect_seen("phi", "bias of the head", [](plain_decoder& p) { p.w.erase("head.bias"); });
  expect_seen("phi", "parallel block", [](plain_decoder& p) { p.parallel = false; });
  expect_seen("bloom", "alibi", [](plain_decoder& p) { p.position = "none"; });
  expect_seen("falcon_rw", "scaled alibi", [](plain_decoder& p) { p.alibi_scaled = false; });
  expect_seen("opt", "offset of positions", [](plain_decoder& p) { p.offset = 1; });
  expect_seen("granite", "multiplier of residuals", [](plain_decoder& p) { p.residual_scale = 1; });
  expect_seen("granite", "scale of logits", [](plain_decoder& p) { p.logit_scale = 1; });
  expect_seen("smollm3", "layer that does not turn", [](plain_decoder& p) { p.turns = {true, true}; });
  expect_seen("own_mean", "weights of the mean", [](plain_decoder& p) { p.mixer = "window", p.windows = {23, 23}; });
  expect_seen("own_window", "window", [](plain_decoder& p) { p.windows = {5, 6}; });
  expect_seen("own_conv", "weights without a softmax", [](plain_decoder& p) { p.mixer = "position"; });
  expect_seen("own_position", "softmax", [](plain_decoder& p) { p.mixer = "conv"; });
  expect_seen("own_position", "heads of the table",
              [](plain_decoder& p) { std::swap(p.w["0.distance"][0], p.w["0.distance"][24]); });
}

TEST(decoder_window, goes_on_with_the_bytes_of_a_whole_run_over_many_blocks_of_keys) {
  auto c = case_of("mistral");
  c.plain.P = 1000, c.plain.windows = {70, 70};
  c.config =
      R"({"model_type": "mistral", "sliding_window": 70, "vocab_size": 29, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "hidden_size": 20, "head_dim": 6, "intermediate_size": 14, "max_position_embeddings": 1000})";
  decoder_folder const f(c);
  auto const m = f.open();
  auto const ids = random_tokens(930, c.plain.V, 8);
  run_request request;
  request.capture = m->info().hooks_for({"logits"});
  auto const whole = m->run(batch_of({ids}), request);
  EXPECT_LE(distance_to(whole.at("logits", 0), c.plain.run(ids).at("logits")), 1e-5);
  auto run = m->begin(batch_of({{ids.begin(), ids.begin() + 400}}), request, nullptr);
  std::size_t at = 400;
  for (std::size_t const step : {60, 1, 300, 1, 1, 167}) {
    auto const part = run->extend(
        batch_of({{ids.begin() + static_cast<std::ptrdiff_t>(at), ids.begin() + static_cast<std::ptrdiff_t>(at + step)}}),
        request);
    EXPECT_TRUE(same_bytes(part.at("logits", 0), whole.at("logits", 0).slice(0, at, at + step).clone())) << at;
    at += step;
  }
  EXPECT_EQ(at, ids.size());
}

TEST(decoder, gives_the_bytes_of_gpt2_for_a_gpt2) {
  std::string const folder = std::string(WAYFARER_SOURCE_DIR) + "/runs/data/tiny-gpt2";
  auto const as_decoder = open_model("decoder", folder), as_gpt2 = open_model("gpt2", folder);
  auto const b = batch_of({random_tokens(33, as_gpt2->info().vocabulary, 9), random_tokens(1, as_gpt2->info().vocabulary, 10)});
  std::vector<std::string> decoders, gpt2s;
  for (auto const& h : as_decoder->info().hooks) decoders.push_back(h.name);
  for (auto const& h : as_gpt2->info().hooks) gpt2s.push_back(h.name);
  EXPECT_EQ(decoders, gpt2s);
  auto const x = run_hooks(*as_decoder, b, {"*"}), y = run_hooks(*as_gpt2, b, {"*"});
  for (auto const& h : gpt2s)
    for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(same_bytes(x.at(h, i), y.at(h, i))) << h;
}

TEST(decoder, refuses_a_text_that_goes_beyond_its_positions_and_a_run_that_turns_its_keys_anew) {
  auto c = case_of("llama");
  decoder_folder const f(c);
  auto const m = f.open();
  EXPECT_THAT(thrown<data_error>([&] { run_hooks(*m, batch_of({random_tokens(25, 29, 1)}), {"logits"}); }),
              HasSubstr("only 24 positions"));
  c.config = c.config.substr(0, c.config.size() - 1) + R"(, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}})";
  decoder_folder const dynamic(c);
  auto const stretched = dynamic.open();
  EXPECT_EQ(stretched->info().longest, 48u);
  auto const ids = random_tokens(30, 29, 1);
  run_request request;
  request.capture = stretched->info().hooks_for({"logits"});
  auto run = stretched->begin(batch_of({{ids.begin(), ids.begin() + 20}}), request, nullptr);
  EXPECT_NO_THROW(run->extend(batch_of({{ids.begin() + 20, ids.begin() + 24}}), request));
  EXPECT_THAT(thrown<usage_error>([&] {
                run->extend(batch_of({{ids.begin() + 24, ids.end()}}), request);
              }),
              HasSubstr("turns all earlier keys anew"));
  EXPECT_EQ(run->length(0), 24u);
  // Within its positions nothing is stretched, and beyond them even the first state is another.
  auto const plain = m->run(batch_of({{ids.begin(), ids.begin() + 24}}), request);
  auto const inside = stretched->run(batch_of({{ids.begin(), ids.begin() + 24}, ids}), request);
  EXPECT_TRUE(same_bytes(plain.at("logits", 0), inside.at("logits", 0)));
  EXPECT_GT(distance(inside.at("logits", 1).slice(0, 0, 24).clone(), plain.at("logits", 0)), 1e-4);
}

// ---- others' numbers -----------------------------------------------------------------------------------------------------

std::string data_or_empty() {
  char const* const data = std::getenv("WAYFARER_DATA");
  return data ? data : "";
}

TEST(decoder_published, random_models_give_the_logits_of_hugging_face) {
  if (data_or_empty().empty()) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  std::string const from = data_or_empty() + "/models/family-oracles/";
  for (std::string const name : {"gptneo", "gptj", "gptneox", "falcon_mq", "llama", "mistral", "qwen2", "gemma", "phi", "opt",
                                 "granite", "cohere", "gptbigcode"}) {
    scratch_folder folder;
    std::filesystem::copy(from + "tiny_" + name + ".safetensors", folder.file("model.safetensors"));
    std::filesystem::copy(from + "tiny_" + name + "_config.json", folder.file("config.json"));
    auto const m = open_model("decoder", folder.path());
    EXPECT_THAT(dynamic_cast<pretrained const&>(*m).remarks(), testing::IsEmpty()) << name;
    auto const expected = read_json(from + "tiny_" + name + "_logits.json", {std::size_t{1} << 24, 16, 1'000'000});
    std::vector<token_list> items;
    for (json_value const s : expected.at("sequences").elements()) {
      items.emplace_back();
      for (json_value const id : s.elements()) items.back().push_back(static_cast<std::int32_t>(id.as_integer()));
    }
    // Granite's reference was computed in float32.
    double const exact = name == "granite" ? 2.5e-6 : 1e-6;
    for (auto const& [precision, tolerance] : {std::pair(dtype::f64, exact), std::pair(dtype::f32, 1e-5)}) {
      auto const got = run_hooks(*m, batch_of(items), {"logits"}, precision);
      double worst = 0, largest = 0;
      for (std::size_t i = 0; i < items.size(); ++i)
        for (std::size_t t = 0; t < items[i].size(); ++t)
          for (std::size_t v = 0; v < m->info().vocabulary; ++v) {
            double const want = expected.at("logits").at(i).at(t).at(v).as_number();
            worst = std::max(worst, std::abs(got.at("logits", i).get({t, v}) - want)),
            largest = std::max(largest, std::abs(want));
          }
      EXPECT_LE(worst, tolerance * largest) << name;
    }
  }
}

TEST(decoder_published, stories260K_goes_on_as_it_was_recorded) {
  if (data_or_empty().empty()) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  std::string const from = data_or_empty() + "/models/stories260K/";
  scratch_folder folder;
  std::string const convert = "/usr/bin/python3 '" + std::string(WAYFARER_SOURCE_DIR) + "/tests/data/convert_llama2c.py' '" +
                              from + "stories260K.bin' '" + folder.path() + "'";
  ASSERT_EQ(std::system(convert.c_str()), 0);
  auto const m = open_model("decoder", folder.path());
  EXPECT_THAT(dynamic_cast<pretrained const&>(*m).remarks(), testing::IsEmpty());
  // The recorded ids: an .npy of int64 behind its header.
  std::ifstream npy(from + "greedy_200_ids.npy", std::ios::binary);
  std::string const bytes(std::istreambuf_iterator<char>(npy), {});
  std::size_t const header = bytes.find('\n') + 1, count = (bytes.size() - header) / 8;
  ASSERT_GE(count, 200u);
  token_list want;
  for (std::size_t i = 0; i < count; ++i) {
    std::int64_t id = 0;
    std::memcpy(&id, bytes.data() + header + 8 * i, 8);
    want.push_back(static_cast<std::int32_t>(id));
  }
  run_request request;
  request.capture = m->info().hooks_for({"logits"}), request.last_logits_only = true;
  token_list got{want.front()};
  activations out;
  auto run = m->begin(batch_of({got}), request, &out);
  while (got.size() < want.size()) {
    auto const logits = out.at("logits", 0).to(dtype::f32);
    auto const row = logits.values<float const>();
    got.push_back(static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
    if (got.size() < want.size()) out = run->extend(batch_of({{got.back()}}), request);
  }
  EXPECT_EQ(got, want);
  // The same from one pass over all of it.
  request.last_logits_only = false;
  auto const whole = m->run(batch_of({{want.begin(), want.end() - 1}}), request);
  for (std::size_t t = 0; t + 1 < want.size(); ++t) {
    auto const logits = whole.at("logits", 0)[t];
    auto const row = logits.values<float const>();
    EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), want[t + 1]) << t;
  }
}

}  // namespace
