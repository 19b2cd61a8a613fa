// Attention-free transformers: identities between their variants and with RWKV-4; and configurations of AFT and Mamba that are
// refused, and what is said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include <wayfarer/random.hpp>

#include "golden_models.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;

json_value members(std::initializer_list<std::pair<std::string_view, json_value>> all) {
  return json_value::object(all);
}

/// The small AFT-simple with another variant's keys in its configuration, and what makes its biases.
std::unique_ptr<model> variant_of(scratch_folder const& to, std::map<std::string, json_value> const& keys,
                                  stored const& bias = {}) {
  std::string const from = data_folder("aft-simple-small");
  auto all = read_weights(from);
  if (!bias.shape.empty())
    for (int i = 0; i < 2; ++i) all["model.layers." + std::to_string(i) + ".attn.position_bias"] = bias;
  write_folder(to, config_with(from, keys), all, "F32");
  return open_model("aft", to.path());
}

/// w[query, key] as a table of the small model's positions.
stored table(std::function<float(int, int)> const& w) {
  stored t{{14, 14}, {}};
  for (int q = 0; q < 14; ++q)
    for (int k = 0; k < 14; ++k) t.values.push_back(w(q, k));
  return t;
}

/// The mixer of the small AFT-simple as an RWKV-4: no shift, a decay and a bonus that are given.
std::unique_ptr<model> as_rwkv(scratch_folder const& to, float time_decay, float time_first) {
  auto const aft = read_weights(data_folder("aft-simple-small"));
  auto all = read_weights(data_folder("rwkv4-small"));
  for (int i = 0; i < 2; ++i) {
    std::string const from = "model.layers." + std::to_string(i) + ".", b = "rwkv.blocks." + std::to_string(i) + ".",
                      a = b + "attention.";
    for (auto const& [name, part] :
         {std::pair{"key", "k"}, std::pair{"value", "v"}, std::pair{"receptance", "q"}, std::pair{"output", "o"}})
      all[a + name + ".weight"] = aft.at(from + "attn." + part + "_proj.weight");
    for (char const* name : {"key", "value", "receptance"})
      all[a + "time_mix_" + name] = {{1, 1, 10}, std::vector<float>(10, 1.0f)};
    all[a + "time_decay"] = {{10}, std::vector<float>(10, time_decay)},
            all[a + "time_first"] = {{10}, std::vector<float>(10, time_first)};
    for (char const* part : {".weight", ".bias"}) all[b + "ln1" + part] = aft.at(from + "input_layernorm" + part);
  }
  write_folder(to, config_with(data_folder("rwkv4-small"), {{"attention_hidden_size", 10}}), all, "F32");
  return open_model("rwkv", to.path());
}

/// What the first block's mixer adds, from the same vectors.
tensor mixed(model const& m) {
  batch b;
  b.tokens.push_back(std::vector<std::int32_t>(12, 0));
  b.embeddings = tensor(dtype::f64, {{"token", 12}, {"d_model", 10}});
  random_stream draw(5, "embeddings");
  for (auto& v : b.embeddings.values<double>()) v = draw.normal();
  return run_hooks(m, b, {"blocks.0.hook_attn_out"}, dtype::f64).at("blocks.0.hook_attn_out", 0);
}

TEST(aft_identity, simple_is_rwkv_4_without_decay_and_bonus) {
  scratch_folder a, b;
  EXPECT_LE(distance(mixed(*variant_of(a, {})), mixed(*as_rwkv(b, -200, 0))), 1e-12);
}

TEST(aft_identity, full_with_a_linear_bias_is_rwkv_4_with_one_decay) {
  scratch_folder a, b, c;
  auto const linear = table([](int q, int k) { return q == k ? 0.5f : static_cast<float>(k + 1 - q); });
  auto const full = variant_of(a, {{"aft_variant", "full"}}, linear);
  EXPECT_LE(distance(mixed(*full), mixed(*as_rwkv(b, 0, 0.5f))), 1e-12);
  EXPECT_GT(distance(mixed(*full), mixed(*as_rwkv(c, 0, 0))), 1e-3);
}

TEST(aft_identity, conv_is_full_with_the_same_number_at_each_distance) {
  scratch_folder a, b;
  float const by_distance[] = {0.75f, -1.5f, 1.0f};
  auto const conv = variant_of(a, {{"aft_variant", "conv"}, {"local_window", 3}}, {{1, 3}, {0.75f, -1.5f, 1.0f}});
  auto const full = variant_of(b, {{"aft_variant", "full"}},
                               table([&](int q, int k) { return k <= q && q - k < 3 ? by_distance[q - k] : 0.0f; }));
  EXPECT_LE(distance(mixed(*conv), mixed(*full)), 1e-12);
}

TEST(aft_identity, local_with_a_window_over_everything_is_full) {
  scratch_folder a, b, c;
  auto const any = table([](int q, int k) { return static_cast<float>((7 * q + 3 * k) % 5) - 2; });
  auto const full = variant_of(a, {{"aft_variant", "full"}}, any),
             local = variant_of(b, {{"aft_variant", "local"}, {"local_window", 14}}, any),
             narrow = variant_of(c, {{"aft_variant", "local"}, {"local_window", 3}}, any);
  EXPECT_LE(distance(mixed(*local), mixed(*full)), 1e-12);
  EXPECT_GT(distance(mixed(*narrow), mixed(*full)), 1e-3);
}

TEST(aft, a_text_must_end_where_its_biases_do) {
  auto const m = open_model("aft", data_folder("aft-full-small"));
  EXPECT_EQ(m->info().longest, 14u);
  batch b;
  b.tokens.push_back(std::vector<std::int32_t>(15, 1));
  EXPECT_THAT(thrown<data_error>([&] { run_hooks(*m, b, {"logits"}); }), HasSubstr("only 14 positions"));
  EXPECT_EQ(open_model("aft", data_folder("aft-conv-small"))->info().longest, 0u);
}

// ---- configurations ----------------------------------------------------------------------------------------------------------

std::string says(std::string const& plugin, std::string const& of, std::map<std::string, json_value> const& changes,
                 std::set<std::string> const& without = {}) {
  scratch_folder to;
  write_text(to.file("config.json"), config_with(data_folder(of), changes, without));
  std::filesystem::copy(data_folder(of) + "/model.safetensors", to.file("model.safetensors"));
  try {
    open_model(plugin, to.path());
  } catch (data_error const& e) {
    return e.what();
  } catch (std::exception const& e) {
    return std::string("another error: ") + e.what();
  }
  return "";
}

json_value const no_sizes[] = {json_value(0),      json_value(-3),  json_value(std::int64_t{1} << 40),
                               json_value("many"), json_value(2.5), json_value::array({1})};

TEST(aft_config, a_key_out_of_range_is_an_error_that_names_it) {
  for (json_value const& value : no_sizes) {
    for (char const* key : {"vocab_size", "num_hidden_layers", "hidden_size", "intermediate_size", "max_position_embeddings"})
      EXPECT_THAT(says("aft", "aft-full-small", {{key, value}}), HasSubstr(std::string("config.json: ") + key)) << to_json(value);
    EXPECT_THAT(says("aft", "aft-conv-small", {{"num_heads", value}}), HasSubstr("num_heads"));
    EXPECT_THAT(says("aft", "aft-conv-small", {{"local_window", value}}), HasSubstr("local_window"));
    EXPECT_THAT(says("aft", "aft-local-small", {{"position_bias_rank", value}}), HasSubstr("position_bias_rank"));
  }
  EXPECT_THAT(says("aft", "aft-full-small", {{"aft_variant", "wide"}}), AllOf(HasSubstr("wide"), HasSubstr("\"conv\"")));
  EXPECT_THAT(says("aft", "aft-conv-small", {{"num_heads", 3}}), HasSubstr("3 heads do not divide"));
  EXPECT_THAT(says("aft", "aft-conv-small", {}, {"local_window"}), HasSubstr("local_window is missing"));
  EXPECT_THAT(says("aft", "aft-full-small", {{"hidden_act", "gelu_newer"}}),
              AllOf(HasSubstr("gelu_newer"), HasSubstr("known are")));
  EXPECT_THAT(says("aft", "aft-full-small", {{"max_position_embeddings", 20}}), HasSubstr("20"));
  EXPECT_THAT(says("aft", "aft-full-small", {{"sliding_window", 4}}), HasSubstr("sliding_window"));
}

TEST(mamba_config, a_key_out_of_range_is_an_error_that_names_it) {
  for (json_value const& value : no_sizes) {
    for (char const* folder : {"mamba-small", "falcon-mamba-small"})
      for (char const* key : {"vocab_size", "num_hidden_layers", "hidden_size", "intermediate_size", "state_size", "conv_kernel"})
        EXPECT_THAT(says("mamba", folder, {{key, value}}), HasSubstr(std::string("config.json: ") + key)) << to_json(value);
    for (char const* key : {"num_heads", "head_dim", "n_groups", "state_size"})
      EXPECT_THAT(says("mamba", "mamba2-small", {{key, value}}), HasSubstr(std::string("config.json: ") + key)) << to_json(value);
  }
  EXPECT_THAT(says("mamba", "mamba-small", {{"time_step_rank", 0}}), HasSubstr("time_step_rank"));
  EXPECT_THAT(says("mamba", "mamba-small", {{"time_step_rank", "some"}}), HasSubstr("time_step_rank"));
  EXPECT_THAT(says("mamba", "mamba-small", {{"time_step_rank", 3}}), HasSubstr("rank 3"));
  EXPECT_THAT(says("mamba", "mamba-small", {{"hidden_act", "gelu"}}), AllOf(HasSubstr("gelu"), HasSubstr("silu")));
  EXPECT_THAT(says("mamba", "mamba-small", {{"layer_norm_epsilon", -1.0}}), HasSubstr("layer_norm_epsilon"));
  EXPECT_THAT(says("mamba", "falcon-mamba-small", {{"mixer_rms_eps", "small"}}), HasSubstr("mixer_rms_eps"));
  EXPECT_THAT(says("mamba", "mamba2-small", {{"n_groups", 3}}), HasSubstr("3 groups do not divide 4 heads"));
  EXPECT_THAT(says("mamba", "mamba2-small", {{"expand", 3}}), HasSubstr("is not num_heads times head_dim, 20"));
  EXPECT_THAT(says("mamba", "mamba2-small", {{"time_step_limit", json_value::array({0.5})}}), HasSubstr("two numbers"));
  EXPECT_THAT(says("mamba", "mamba2-small", {{"time_step_limit", json_value::array({0.5, 0.1})}}), HasSubstr("time_step_limit"));
  EXPECT_THAT(says("mamba", "mamba2-small", {{"rms_norm", false}}), HasSubstr("rms_norm"));
  EXPECT_THAT(says("mamba", "mamba-small", {{"num_experts", 4}}), HasSubstr("num_experts"));
  EXPECT_EQ(says("mamba", "mamba2-small",
                 {{"time_step_limit", json_value::array({0.2, members({{"__float__", "Infinity"}})})},
                  {"chunk_size", 256},
                  {"residual_in_fp32", true}}),
            "");
}

}  // namespace
