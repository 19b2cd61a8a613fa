// Configurations and files that `decoder` refuses, and what it says: each message names the key, its value, and what is read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include <wayfarer/pretrained.hpp>

#include "decoder_families.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;

decoder_case case_of(std::string const& name) {
  for (auto& c : decoder_cases())
    if (c.name == name) return c;
  throw std::runtime_error("no family " + name);
}

/// What opening the family's checkpoint says when these members of its configuration are others; "" if it opens.
std::string says(std::string const& family, std::map<std::string, json_value> const& changes,
                 std::set<std::string> const& without = {}) {
  auto const c = case_of(family);
  decoder_folder const f(c);
  write_text(f.folder.file("config.json"), config_with(f.folder.path(), changes, without));
  try {
    auto const m = f.open();
    return m->info().hooks.empty() ? "no hooks" : "";
  } catch (data_error const& e) {
    return e.what();
  } catch (std::exception const& e) {
    return std::string("another error: ") + e.what();
  }
}

TEST(decoder_config, a_key_out_of_range_is_an_error_that_names_it) {
  for (char const* key : {"vocab_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size",
                          "head_dim", "intermediate_size", "max_position_embeddings"})
    for (json_value const& value : {json_value(0), json_value(-3), json_value(std::int64_t{1} << 40), json_value("many"),
                                    json_value(2.5), json_value::array({1})})
      EXPECT_THAT(says("llama", {{key, value}}), HasSubstr(std::string("config.json: ") + key)) << to_json(value);
  for (char const* key : {"rms_norm_eps", "rope_theta"})
    for (json_value const& value : {json_value(-1.0), json_value("small"), json_value::object()})
      EXPECT_THAT(says("llama", {{key, value}}), HasSubstr(key));
  EXPECT_THAT(says("llama", {{"num_key_value_heads", 3}}),
              HasSubstr("3 heads of keys and values (num_key_value_heads) do not divide 4 heads"));
  EXPECT_THAT(says("llama", {}, {"hidden_size"}), HasSubstr("hidden_size is missing"));
  EXPECT_THAT(says("llama", {}, {"intermediate_size"}), HasSubstr("intermediate_size is missing"));
  EXPECT_THAT(says("llama", {{"head_dim", 7}}), AllOf(HasSubstr("7"), HasSubstr("an even number")));
  EXPECT_THAT(says("llama", {{"hidden_act", "gelu_newer"}}),
              AllOf(HasSubstr("hidden_act"), HasSubstr("gelu_newer"), HasSubstr("known are")));
  EXPECT_THAT(says("llama", {{"tie_word_embeddings", "yes"}}), HasSubstr("tie_word_embeddings"));
  EXPECT_THAT(says("mistral", {{"sliding_window", 0}}), HasSubstr("sliding_window"));
  EXPECT_THAT(says("gemma2", {{"attn_logit_softcapping", -1.0}}), HasSubstr("attn_logit_softcapping"));
  EXPECT_THAT(says("gemma2", {{"query_pre_attn_scalar", 0}}), HasSubstr("query_pre_attn_scalar"));
  EXPECT_THAT(says("gemma2", {{"layer_types", json_value::array({"sliding_attention"})}}), HasSubstr("layer_types"));
  EXPECT_THAT(says("gemma2", {{"layer_types", json_value::array({"sliding_attention", "chunked_attention"})}}),
              HasSubstr("chunked_attention"));
  EXPECT_THAT(says("smollm3", {{"no_rope_layers", json_value::array({1})}}), HasSubstr("no_rope_layers"));
  EXPECT_THAT(says("smollm3", {{"no_rope_layers", json_value::array({1, 2})}}), HasSubstr("no_rope_layers"));
  EXPECT_THAT(says("gptj", {{"rotary_dim", 3}}), HasSubstr("rotary_dim"));
  EXPECT_THAT(says("gptj", {{"rotary_dim", 8}}), HasSubstr("rotary_dim"));
  EXPECT_THAT(says("gpt_neox", {{"rotary_pct", 1.5}}), HasSubstr("rotary_pct"));
  EXPECT_THAT(says("gpt_neo", {{"attention_layers", json_value::array({"global", "near"})}}), HasSubstr("near"));
  EXPECT_THAT(says("gpt_neo", {{"attention_layers", json_value::array({"global"})}}), HasSubstr("1 kinds for 2 layers"));
  auto const many = json_value::array({json_value::array({json_value::array({"global", "local"}), 1000})});
  EXPECT_THAT(says("gpt_neo", {{"attention_types", many}}), HasSubstr("more than the 2 layers"));
  for (json_value const& value : {json_value("x"), json_value(5), json_value(true)}) {
    EXPECT_THAT(says("gemma2", {{"layer_types", value}}), HasSubstr("layer_types"));
    EXPECT_THAT(says("smollm3", {{"no_rope_layers", value}}), HasSubstr("no_rope_layers"));
    EXPECT_THAT(says("gpt_neo", {{"attention_layers", value}}), HasSubstr("attention_layers"));
    EXPECT_THAT(says("gpt_neo", {{"attention_types", value}}), HasSubstr("attention_types"));
    EXPECT_THAT(says("gemma3_text", {{"rope_parameters", value}}), HasSubstr("rope_parameters"));
    EXPECT_THAT(says("llama", {{"rope_scaling",
                                json_value::object({{"type", "longrope"}, {"short_factor", value}, {"long_factor", value}})}}),
                HasSubstr("_factor"));
  }
  EXPECT_THAT(says("opt", {{"word_embed_proj_dim", 0}}), HasSubstr("word_embed_proj_dim"));
  EXPECT_THAT(says("granite", {{"logits_scaling", 0}}), HasSubstr("logits_scaling"));
}

json_value scaling(std::initializer_list<std::pair<std::string_view, json_value>> members) {
  return json_value::object(members);
}

TEST(decoder_config, a_scaling_of_rotary_positions_is_read_or_refused_by_name) {
  auto const of = [](json_value v) { return says("llama", {{"rope_scaling", std::move(v)}}); };
  EXPECT_EQ(of(scaling({{"rope_type", "default"}})), "");
  EXPECT_EQ(of(scaling({{"type", "linear"}, {"factor", 4}})), "");
  EXPECT_EQ(of(scaling({{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 16}})),
            "");
  EXPECT_EQ(of(scaling({{"rope_type", "yarn"}, {"factor", 8.0}, {"original_max_position_embeddings", 16}})), "");
  EXPECT_THAT(of(scaling({{"rope_type", "spiral"}, {"factor", 2.0}})), AllOf(HasSubstr("spiral"), HasSubstr("longrope")));
  EXPECT_THAT(of(scaling({{"type", "linear"}})), HasSubstr("factor"));
  EXPECT_THAT(of(scaling({{"type", "linear"}, {"factor", -1}})), HasSubstr("factor"));
  EXPECT_THAT(of(scaling({{"type", "linear"}, {"factor", 2}, {"twist", 3}})), AllOf(HasSubstr("twist"), HasSubstr("beta_fast")));
  EXPECT_THAT(of(scaling({{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 4.0},
                          {"high_freq_factor", 1.0},
                          {"original_max_position_embeddings", 16}})),
              HasSubstr("high_freq_factor"));
  EXPECT_THAT(of(scaling({{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}})),
              HasSubstr("original_max_position_embeddings"));
  EXPECT_THAT(
      of(scaling(
          {{"rope_type", "longrope"}, {"short_factor", json_value::array({1.0})}, {"long_factor", json_value::array({1.0})}})),
      HasSubstr("has 1 factors, but 3 planes"));
  EXPECT_THAT(of("linear"), HasSubstr("rope_scaling"));
}

TEST(decoder_config, a_key_that_changes_numbers_and_is_not_followed_is_an_error) {
  EXPECT_THAT(says("llama", {{"attn_logit_softcapping", 50.0}}),
              AllOf(HasSubstr("attn_logit_softcapping"), HasSubstr("50.0"), HasSubstr("\"llama\""), HasSubstr("rope_scaling")));
  EXPECT_THAT(says("llama", {{"sliding_window", 128}}), AllOf(HasSubstr("sliding_window"), HasSubstr("128")));
  EXPECT_THAT(says("llama", {{"residual_multiplier", 0.22}}), HasSubstr("residual_multiplier"));
  EXPECT_THAT(says("llama", {{"quantization_config", json_value::object({{"bits", 4}})}}), HasSubstr("quantization_config"));
  EXPECT_THAT(says("llama", {{"num_local_experts", 8}}), HasSubstr("num_local_experts"));
  EXPECT_THAT(says("mistral", {{"attention_bias", true}}), HasSubstr("attention_bias"));
  EXPECT_THAT(says("gptj", {{"rope_scaling", json_value::object({{"type", "linear"}, {"factor", 2}})}}),
              testing::Not(testing::IsEmpty()))
      << "GPT-J's code reads none";
  EXPECT_THAT(says("bloom", {{"apply_residual_connection_post_layernorm", true}}),
              HasSubstr("apply_residual_connection_post_layernorm"));
  EXPECT_THAT(says("stablelm", {{"qk_layernorm", true}}), HasSubstr("qk_layernorm"));
  EXPECT_THAT(says("starcoder2", {{"norm_type", "rms_norm"}}), HasSubstr("norm_type"));
  // At the value that changes nothing it may stand.
  EXPECT_EQ(
      says(
          "llama",
          {{"residual_multiplier", 1.0}, {"sliding_window", nullptr}, {"attention_bias", false}, {"partial_rotary_factor", 1.0}}),
      "");
}

TEST(decoder_config, our_own_family_says_each_of_its_choices_and_none_that_contradicts_another) {
  for (char const* key : {"position", "norm", "activation", "mixer", "max_position_embeddings", "vocab_size"})
    EXPECT_THAT(says("own_mean", {}, {key}), AllOf(HasSubstr(key), HasSubstr("missing")));
  for (char const* key : {"position", "norm", "mixer"})
    for (json_value const& value : {json_value("sideways"), json_value(3), json_value(true)})
      EXPECT_THAT(says("own_mean", {{key, value}}), HasSubstr(std::string("config.json: ") + key)) << to_json(value);
  EXPECT_THAT(says("own_mean", {{"mixer", "median"}}), AllOf(HasSubstr("median"), HasSubstr("attention, mean, window, conv")));
  EXPECT_THAT(says("own_mean", {{"position", "rotary"}}),
              AllOf(HasSubstr("position"), HasSubstr("mean"), HasSubstr("use learned")));
  EXPECT_THAT(says("own_conv", {{"position", "alibi"}}),
              AllOf(HasSubstr("position"), HasSubstr("conv"), HasSubstr("use learned")));
  EXPECT_THAT(says("own_learned", {{"position", "relative"}}), AllOf(HasSubstr("relative"), HasSubstr("does not read yet")));
  for (char const* name : {"own_mean", "own_position", "own_rotary"})
    EXPECT_THAT(says(name, {{"window", 3}}), AllOf(HasSubstr("window"), HasSubstr("has no window"))) << name;
  for (char const* name : {"own_window", "own_conv"}) {
    EXPECT_THAT(says(name, {}, {"window"}), HasSubstr("window is missing"));
    EXPECT_THAT(says(name, {{"window", 0}}), HasSubstr("window"));
  }
  EXPECT_THAT(says("own_alibi", {{"rope_theta", 5000.0}}), AllOf(HasSubstr("rope_theta"), HasSubstr("wayfarer_decoder")));
  // Tables of other sizes than the keys say, and projections that the keys leave out.
  EXPECT_THAT(says("own_conv", {{"window", 6}}), AllOf(HasSubstr("self_attn.distance"), HasSubstr("4 x 4")));
  EXPECT_THAT(says("own_position", {{"max_position_embeddings", 30}}), HasSubstr("24"));
}

TEST(decoder_config, mixtures_of_experts_and_vision_towers_are_refused_by_name) {
  EXPECT_THAT(says("llama", {{"model_type", "mixtral"}}),
              AllOf(HasSubstr("mixtral"), HasSubstr("mixture of experts"), HasSubstr("this build reads")));
  EXPECT_THAT(says("llama", {{"model_type", "qwen2_vl"}}), AllOf(HasSubstr("qwen2_vl"), HasSubstr("encoder of images")));
  EXPECT_THAT(says("llama", {{"model_type", "gemma3"}}), HasSubstr("encoder of images"));
  EXPECT_THAT(says("llama", {{"model_type", "recurrent_gemma"}}), HasSubstr("layers without attention"));
  EXPECT_THAT(says("llama", {{"model_type", "mamba"}}), HasSubstr("'model: mamba' reads it"));
  EXPECT_THAT(says("llama", {{"model_type", "bert"}}), HasSubstr("'model: bert' reads it"));
  EXPECT_THAT(says("llama", {{"model_type", "lama"}}),
              AllOf(HasSubstr("lama"), HasSubstr("mistral"), HasSubstr("(model: decoder)")));
  EXPECT_THAT(says("llama", {}, {"model_type"}), HasSubstr("has no model_type"));
  EXPECT_EQ(says("llama", {{"architectures", json_value::array({"LlamaForCausalLM"})}}, {"model_type"}), "");
}

std::vector<std::string> remarks_of(decoder_folder const& f) {
  auto const m = f.open();
  return dynamic_cast<pretrained const&>(*m).remarks();
}

TEST(decoder_config, what_nobody_knows_is_a_warning_by_name) {
  auto const c = case_of("llama");
  decoder_folder const f(c);
  write_text(
      f.folder.file("config.json"),
      config_with(f.folder.path(),
                  {{"sauce", "hot"}, {"pretraining_tp", 1}, {"torch_dtype", "bfloat16"}, {"auto_map", json_value::object()}}));
  auto all = laid_out(c);
  all["model.layers.0.self_attn.twist.weight"] = {{1}, {1.0f}};
  write_weights(f.folder.file("model.safetensors"), all, "F32");
  EXPECT_THAT(remarks_of(f), testing::UnorderedElementsAre(AllOf(HasSubstr("\"sauce\""), HasSubstr("hot")),
                                                           HasSubstr("self_attn.twist.weight")));
}

TEST(decoder_config, saved_rotary_frequencies_are_compared_with_the_configuration) {
  auto const c = case_of("llama");
  decoder_folder const f(c);
  auto all = laid_out(c);
  // Heads of 6 numbers, and the family's rope_theta.
  std::vector<float> right;
  for (int j = 0; j < 3; ++j) right.push_back(static_cast<float>(std::pow(10'000.0, -2.0 * j / 6)));
  auto& saved = all["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{3}, right};
  // As many checkpoints have them, in half precision.
  for (char const* type : {"F32", "BF16"}) {
    write_weights(f.folder.file("model.safetensors"), all, type);
    EXPECT_THAT(remarks_of(f), testing::IsEmpty()) << type;
  }
  saved.values[2] *= 1.05f;
  write_weights(f.folder.file("model.safetensors"), all, "F32");
  EXPECT_THAT(remarks_of(f),
              testing::ElementsAre(AllOf(HasSubstr("layers.0.self_attn.rotary_emb.inv_freq"), HasSubstr("rope_theta"))));
}

TEST(decoder_config, a_missing_tensor_stops_a_pass_and_no_look_at_the_others) {
  auto const c = case_of("llama");
  decoder_folder const f(c);
  auto all = laid_out(c);
  all.erase("model.layers.1.mlp.up_proj.weight");
  write_weights(f.folder.file("model.safetensors"), all, "F32");
  auto const m = f.open();
  batch b;
  b.tokens.push_back(std::vector<std::int32_t>{1, 2});
  EXPECT_THAT(thrown<data_error>([&] { run_hooks(*m, b, {"logits"}); }), HasSubstr("layers.1.mlp.up_proj.weight"));
  EXPECT_EQ(m->weight("blocks.1.attn.W_K").size(0), 2u);
  EXPECT_THAT(thrown<data_error>([&] { m->weight("blocks.1.mlp.W_in"); }), HasSubstr("up_proj"));
  all = laid_out(c);
  all["model.layers.1.self_attn.k_proj.weight"] = {{24, 20}, std::vector<float>(480)};
  write_weights(f.folder.file("model.safetensors"), all, "F32");
  EXPECT_THAT(thrown<data_error>([&] { f.open(); }), AllOf(HasSubstr("k_proj"), HasSubstr("24 x 20")));
  all.erase("lm_head.weight");
  all["model.layers.1.self_attn.k_proj.weight"] = {{12, 20}, std::vector<float>(240)};
  write_weights(f.folder.file("model.safetensors"), all, "F32");
  auto const headless = f.open();
  EXPECT_THAT(thrown<data_error>([&] { run_hooks(*headless, b, {"logits"}); }), HasSubstr("lm_head.weight"));
}

TEST(decoder_config, weights_of_every_type_are_read) {
  for (std::string const type : {"F64", "BF16"}) {
    auto c = case_of("llama");
    // Numbers that bfloat16 holds exactly.
    for (auto& [name, v] : c.plain.w)
      for (auto& x : v) x = std::bit_cast<float>(std::bit_cast<std::uint32_t>(static_cast<float>(x)) & 0xffff0000u);
    decoder_folder const f(c);
    write_weights(f.folder.file("model.safetensors"), laid_out(c), type);
    auto const m = f.open();
    batch b;
    std::vector<std::int32_t> const ids{1, 2, 3, 28};
    b.tokens.push_back(ids);
    auto const got = numbers(run_hooks(*m, b, {"logits"}, dtype::f64).at("logits", 0)), want = c.plain.run(ids).at("logits");
    for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5) << type;
  }
}

}  // namespace
