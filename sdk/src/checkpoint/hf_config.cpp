#include <wayfarer/hf_config.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <mutex>
#include <set>

#include <wayfarer/error.hpp>
#include <wayfarer/safetensors.hpp>

namespace wayfarer {
namespace {

constexpr std::array types = {readable_type{"gpt2", "gpt2"},
                              readable_type{"t5", "t5"},
                              readable_type{"mt5", "t5"},
                              readable_type{"bert", "bert"},
                              readable_type{"roberta", "bert"},
                              readable_type{"xlm-roberta", "bert"},
                              readable_type{"albert", "bert"},
                              readable_type{"distilbert", "bert"},
                              readable_type{"electra", "bert"},
                              readable_type{"camembert", "bert"},
                              readable_type{"bart", "bart"},
                              readable_type{"gpt_neo", "decoder"},
                              readable_type{"gptj", "decoder"},
                              readable_type{"gpt_neox", "decoder"},
                              readable_type{"falcon", "decoder"},
                              readable_type{"RefinedWebModel", "decoder"},
                              readable_type{"RefinedWeb", "decoder"},
                              readable_type{"bloom", "decoder"},
                              readable_type{"opt", "decoder"},
                              readable_type{"llama", "decoder"},
                              readable_type{"mistral", "decoder"},
                              readable_type{"qwen2", "decoder"},
                              readable_type{"qwen3", "decoder"},
                              readable_type{"gemma", "decoder"},
                              readable_type{"gemma2", "decoder"},
                              readable_type{"gemma3_text", "decoder"},
                              readable_type{"phi", "decoder"},
                              readable_type{"phi3", "decoder"},
                              readable_type{"olmo2", "decoder"},
                              readable_type{"starcoder2", "decoder"},
                              readable_type{"gpt_bigcode", "decoder"},
                              readable_type{"stablelm", "decoder"},
                              readable_type{"granite", "decoder"},
                              readable_type{"cohere", "decoder"},
                              readable_type{"glm4", "decoder"},
                              readable_type{"internlm2", "decoder"},
                              readable_type{"smollm3", "decoder"},
                              readable_type{"wayfarer_decoder", "decoder"},
                              readable_type{"rwkv", "rwkv"},
                              readable_type{"rwkv5", "rwkv"},
                              readable_type{"rwkv6", "rwkv"},
                              readable_type{"rwkv7", "rwkv"},
                              readable_type{"rwkv7_fla", "rwkv"},
                              readable_type{"mamba", "mamba"},
                              readable_type{"mamba2", "mamba"},
                              readable_type{"falcon_mamba", "mamba"},
                              readable_type{"aft", "aft"}};

/// What transformers calls the classes of a model_type: "GPT2LMHeadModel".
struct class_name {
  std::string_view begin, model_type;
};
constexpr std::array class_names = {class_name{"RwkvFor", "rwkv"},
                                    class_name{"Rwkv5For", "rwkv5"},
                                    class_name{"Rwkv6For", "rwkv6"},
                                    class_name{"RWKV7For", "rwkv7"},
                                    class_name{"MambaFor", "mamba"},
                                    class_name{"Mamba2For", "mamba2"},
                                    class_name{"FalconMambaFor", "falcon_mamba"},
                                    class_name{"GPTNeoX", "gpt_neox"},
                                    class_name{"GPTNeo", "gpt_neo"},
                                    class_name{"GPTJ", "gptj"},
                                    class_name{"GPTBigCode", "gpt_bigcode"},
                                    class_name{"Falcon", "falcon"},
                                    class_name{"RWForCausalLM", "falcon"},
                                    class_name{"Bloom", "bloom"},
                                    class_name{"OPTFor", "opt"},
                                    class_name{"LlamaFor", "llama"},
                                    class_name{"LLaMAFor", "llama"},
                                    class_name{"MistralFor", "mistral"},
                                    class_name{"Qwen2For", "qwen2"},
                                    class_name{"Qwen3For", "qwen3"},
                                    class_name{"GemmaFor", "gemma"},
                                    class_name{"Gemma2For", "gemma2"},
                                    class_name{"Gemma3ForCausalLM", "gemma3_text"},
                                    class_name{"PhiFor", "phi"},
                                    class_name{"Phi3For", "phi3"},
                                    class_name{"Olmo2", "olmo2"},
                                    class_name{"Starcoder2", "starcoder2"},
                                    class_name{"StableLm", "stablelm"},
                                    class_name{"GraniteFor", "granite"},
                                    class_name{"CohereFor", "cohere"},
                                    class_name{"Glm4For", "glm4"},
                                    class_name{"InternLM2", "internlm2"},
                                    class_name{"SmolLM3", "smollm3"},
                                    class_name{"WayfarerDecoder", "wayfarer_decoder"},
                                    class_name{"GPT2", "gpt2"},
                                    class_name{"T5", "t5"},
                                    class_name{"MT5", "mt5"},
                                    class_name{"Bert", "bert"},
                                    class_name{"Roberta", "roberta"},
                                    class_name{"XLMRoberta", "xlm-roberta"},
                                    class_name{"Camembert", "camembert"},
                                    class_name{"AlbertFor", "albert"},
                                    class_name{"AlbertModel", "albert"},
                                    class_name{"DistilBert", "distilbert"},
                                    class_name{"Electra", "electra"},
                                    class_name{"BartFor", "bart"},
                                    class_name{"BartModel", "bart"}};

/// Keys of a configuration that change no number of a forward pass: training, other tasks' heads, housekeeping, defaults of
/// generation (`generation_tokens` reads those that matter).
constexpr std::string_view harmless_keys =
    " activation_dropout classif_dropout classifier_dropout_prob custom_pipelines decoder_layerdrop encoder_layerdrop "
    "model_max_length attention_softmax_in_fp32 auto_map bias_dropout_fusion "
    "cache_implementation embed_dropout"
    " embed_pdrop embedding_dropout ffn_dropout inference_runner init_std masked_softmax_fusion max_batch_size"
    " max_sequence_length offset_alibi pad_key_length pre_allocate_kv_cache pretraining_tp qa_dropout resid_dropout"
    " residual_dropout scale_attention_softmax_in_fp32 skip_bias_add skip_bias_add_qkv slow_but_exact"
    " validate_runner_input"
    " _attn_implementation _attn_implementation_autoset _name_or_path _num_labels architectures"
    " attention_dropout attention_probs_dropout_prob attn_implementation attn_pdrop bad_words_ids"
    " begin_suppress_tokens bos_token_id chunk_size_feed_forward classifier_activation classifier_dropout"
    " cls_token_id cross_attention_hidden_size decoder_start_token_id directionality diversity_penalty"
    " do_sample dropout dropout_rate dtype early_stopping embd_pdrop encoder_no_repeat_ngram_size"
    " eos_token_id eos_token_ids exponential_decay_length_penalty finetuning_task force_bos_token_to_be_generated"
    " force_words_ids layers_to_keep replacing_rate student_decoder_layers student_encoder_layers"
    " forced_bos_token_id forced_decoder_ids forced_eos_token_id gradient_checkpointing hidden_dropout"
    " hidden_dropout_prob id2label initializer_factor initializer_range is_encoder_decoder label2id"
    " language layerdrop length_penalty mask_token_id max_length max_new_tokens min_length model_parallel"
    " model_type n_ctx n_special name no_repeat_ngram_size num_beam_groups num_beams num_labels"
    " num_return_sequences output_attentions output_hidden_states output_past output_scores pad_token_id"
    " pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type"
    " predict_special_tokens prefix problem_type remove_invalid_values renormalize_logits"
    " reorder_and_upcast_attn repetition_penalty resid_pdrop return_dict return_dict_in_generate"
    " sep_token_id seq_classif_dropout sequence_bias summary_activation summary_first_dropout summary_hidden_size "
    "summary_last_dropout"
    " summary_proj_to_labels summary_type summary_use_proj suppress_tokens task_specific_params"
    " temperature tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript"
    " transformers_version typical_p unk_token_id use_bfloat16 use_cache use_return_dict vocab_file ";

/// Keys that change numbers in families that are not read here, and the value at which they do nothing.
struct neutral {
  std::string_view key, value;
};
constexpr std::array number_keys = {neutral{"apply_residual_connection_post_layernorm", "false"},
                                    neutral{"attention_bias", "false"},
                                    neutral{"attention_chunk_size", ""},
                                    neutral{"attention_layers", ""},
                                    neutral{"attention_multiplier", ""},
                                    neutral{"attention_types", ""},
                                    neutral{"attn_temperature_tuning", "false"},
                                    neutral{"clip_qkv", ""},
                                    neutral{"dim_model_base", ""},
                                    neutral{"embedding_multiplier", "1"},
                                    neutral{"hidden_activation", ""},
                                    neutral{"kv_lora_rank", ""},
                                    neutral{"layer_types", ""},
                                    neutral{"logits_scaling", "1"},
                                    neutral{"mlp_bias", "false"},
                                    neutral{"n_routed_experts", ""},
                                    neutral{"new_decoder_architecture", "false"},
                                    neutral{"no_rope_layers", ""},
                                    neutral{"norm_type", "\"layer_norm\""},
                                    neutral{"num_experts", "0"},
                                    neutral{"num_experts_per_tok", "0"},
                                    neutral{"num_local_experts", "0"},
                                    neutral{"partial_rotary_factor", "1"},
                                    neutral{"qk_layernorm", "false"},
                                    neutral{"quantization_config", ""},
                                    neutral{"query_pre_attn_scalar", ""},
                                    neutral{"residual_multiplier", "1"},
                                    neutral{"rope_local_base_freq", ""},
                                    neutral{"rope_parameters", ""},
                                    neutral{"rotary_emb_base", ""},
                                    neutral{"scale_depth", ""},
                                    neutral{"scale_emb", "1"},
                                    neutral{"scale_embedding", "false"},
                                    neutral{"sliding_window_pattern", ""},
                                    neutral{"use_bidirectional_attention", "false"},
                                    neutral{"use_mrope", "false"},
                                    neutral{"use_qk_norm", "false"},
                                    neutral{"use_sliding_window", "false"},
                                    neutral{"vision_config", ""},
                                    neutral{"window_size", ""},
                                    neutral{"add_cross_attention", "false"},
                                    neutral{"alibi", "false"},
                                    neutral{"attn_logit_softcapping", ""},
                                    neutral{"final_logit_softcapping", ""},
                                    neutral{"is_decoder", "false"},
                                    neutral{"logit_scale", "1"},
                                    neutral{"multi_query", "false"},
                                    neutral{"parallel_attn", "false"},
                                    neutral{"position_embedding_type", "\"absolute\""},
                                    neutral{"pruned_heads", "{}"},
                                    neutral{"qk_norm", "false"},
                                    neutral{"rope_scaling", ""},
                                    neutral{"rope_theta", ""},
                                    neutral{"rotary_dim", ""},
                                    neutral{"rotary_pct", "0"},
                                    neutral{"sliding_window", ""},
                                    neutral{"use_parallel_residual", "false"}};

std::string list_of_types() {
  std::string all;
  for (std::size_t i = 0; i < types.size(); ++i) {
    all += (i ? ", " : "") + std::string(types[i].model_type);
    if (i + 1 == types.size() || types[i + 1].plugin != types[i].plugin) all += " (model: " + std::string(types[i].plugin) + ")";
  }
  return all;
}

/// Why a family that is well known is not read: "" if nothing is known of it.
std::string_view reason_against(std::string_view model_type) {
  constexpr std::string_view experts =
      " mixtral qwen2_moe qwen3_moe qwen3_next olmoe phimoe dbrx deepseek_v2 deepseek_v3 deepseek gpt_oss llama4 llama4_text"
      " granitemoe granitemoeshared granitemoehybrid jamba arctic jetmoe minimax glm4_moe ernie4_5_moe hunyuan_v1_moe grok-1"
      " switch_transformers ";
  constexpr std::string_view towers =
      " gemma3 gemma3n paligemma llava llava_next llava_onevision mllama qwen2_vl qwen2_5_vl qwen3_vl idefics idefics2 idefics3"
      " smolvlm internvl internvl_chat phi3_v phi4_multimodal mistral3 pixtral aya_vision cohere2_vision glm4v blip-2 kosmos-2"
      " fuyu chameleon ";
  constexpr std::string_view recurrent = " recurrent_gemma zamba zamba2 bamba falcon_h1 xlstm ";
  auto const in = [&](std::string_view list) { return list.find(" " + std::string(model_type) + " ") != std::string_view::npos; };
  if (in(experts)) return "it is a mixture of experts, which no model here computes";
  if (in(towers)) return "it has an encoder of images beside the language model, which no model here computes";
  if (in(recurrent)) return "it has layers without attention, which no model here computes";
  return {};
}

/// The model_type whose name stands in front of the checkpoint's tensors ("roberta.encoder..."), or nothing.
std::string named_by_tensors(std::string const& path, std::span<std::string_view const> among) {
  try {
    for (auto const& name : open_checkpoint(path).names())
      for (auto const& t : among)
        if (name.starts_with(std::string(t) + ".") || name.find("." + std::string(t) + ".") != std::string::npos)
          return std::string(t);
  } catch (error const&) {  // reported when it is read
  }
  return {};
}

}  // namespace

std::span<readable_type const> readable_types() noexcept {
  return types;
}

struct hf_config::reading {
  std::mutex mutex;
  std::set<std::string, std::less<>> keys;
  std::vector<std::string> remarks;
};

hf_config::hf_config(std::string path, json_value json)
    : path_(std::move(path)), json_(std::move(json)), reading_(std::make_shared<reading>()) {}

hf_config hf_config::open(std::string const& path, std::initializer_list<std::string_view> model_types) {
  hf_config c = open_one_of(path, {model_types.begin(), model_types.size()}, true);
  if (auto const map = c.json_.find_set("auto_map"))
    map->fail("this model brings its own code, which is never run; convert it to a plain " + c.model_type_ + " checkpoint");
  c.refuse_unread();
  return c;
}

hf_config hf_config::open_family(std::string const& path, std::span<std::string_view const> model_types) {
  return open_one_of(path, model_types, false);
}

hf_config hf_config::open_one_of(std::string const& path, std::span<std::string_view const> model_types, bool guess) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  fs::path const at(path);
  if (!fs::exists(at, ignored))
    throw data_error(path + ": no such folder; give the folder of a checkpoint, with config.json and model.safetensors");
  fs::path const file = (fs::is_directory(at, ignored) ? at : at.parent_path()) / "config.json";
  if (!fs::exists(file, ignored))
    throw data_error(file.string() + ": no such file; a checkpoint folder holds config.json beside its weights");
  hf_config c(file.string(), read_json(file.string()));
  if (c.json_.kind() != json_kind::object) c.json_.fail("expected an object");
  if (auto const given = c.find("model_type"))
    c.model_type_ = given->as_string();
  else
    c.model_type_ = c.type_without_key(path, model_types, guess);
  if (std::find(model_types.begin(), model_types.end(), c.model_type_) == model_types.end()) {
    std::string wanted;
    if (model_types.size() <= 4)
      for (auto const& t : model_types) wanted += (wanted.empty() ? "" : " or ") + in_quotes(t);
    else
      wanted = "a family that this plugin reads";
    auto const other = std::find_if(types.begin(), types.end(), [&](readable_type t) { return t.model_type == c.model_type_; });
    std::string const reason(reason_against(c.model_type_));
    std::string const advice = other != types.end()
                                   ? "'model: " + std::string(other->plugin) + "' reads it"
                                   : reason + (reason.empty() ? "" : "; ") + "this build reads: " + list_of_types();
    (c.json_.find_set("model_type") ? c.json_.at("model_type") : c.json_)
        .fail("expected " + wanted + ", got " + in_quotes(c.model_type_) + "; " + advice);
  }
  return c;
}

std::string hf_config::type_without_key(std::string const& path, std::span<std::string_view const> among, bool guess) const {
  std::string found, from, unknown;
  if (auto const classes = find("architectures"); classes && classes->kind() == json_kind::array && classes->size() != 0) {
    std::string const& name = classes->at(std::size_t{0}).as_string();
    for (auto const& c : class_names)
      if (found.empty() && name.starts_with(c.begin)) found = c.model_type, from = "as \"architectures\" says";
    if (found.empty()) unknown = name;
  }
  if (found.empty()) {
    found = named_by_tensors(path, among);
    from = "as the names of its tensors say";
  }
  if (found.empty() && !guess)
    json_.fail("has no model_type, and neither \"architectures\" nor the names of the tensors tell the family" +
               (unknown.empty() ? std::string() : " (" + in_quotes(unknown) + " is not known)") +
               "; this build reads: " + list_of_types());
  if (found.empty()) {
    found = among.front();
    from = "as the plugin's name says";
  }
  if (!unknown.empty()) from += ", though \"architectures\" names " + in_quotes(unknown) + ", which is not known here";
  reading_->remarks.push_back(path_ + ": has no model_type; read as " + in_quotes(found) + ", " + from);
  return found;
}

void hf_config::refuse_unread() const {
  std::string read;
  std::optional<json_value> against;
  {
    std::lock_guard const lock(reading_->mutex);
    for (auto const& [key, value] : number_keys) {
      if (reading_->keys.contains(key)) {
        read += (read.empty() ? "" : ", ") + std::string(key);
        continue;
      }
      auto const given = json_.find_set(key);
      bool const idle = given && given->kind() == json_kind::array && given->size() == 0;
      if (!given || idle || to_json(*given) == value || to_json(*given) == std::string(value) + ".0") continue;
      if (!against) against = given;
    }
  }
  if (!against) return;
  std::string shown = to_json(*against);
  if (shown.size() > 120) shown = shown.substr(0, 120) + "...";
  against->fail("is " + shown + ", which changes what the model computes, and no model here follows it for " +
                in_quotes(model_type_) + (read.empty() ? std::string() : "; of such keys it follows " + read));
}

std::string hf_config::folder() const {
  return std::filesystem::path(path_).parent_path().string();
}

std::optional<json_value> hf_config::find(std::string_view key) const {
  {
    std::lock_guard const lock(reading_->mutex);
    reading_->keys.emplace(key);
  }
  return json_.find_set(key);
}

std::vector<std::string> hf_config::remarks() const {
  std::lock_guard const lock(reading_->mutex);
  std::vector<std::string> all = reading_->remarks;
  for (auto const& [key, value] : json_.members()) {
    if (value.is_null() || reading_->keys.contains(key)) continue;
    if (key.find(' ') == std::string::npos && harmless_keys.find(' ' + key + ' ') != std::string_view::npos) continue;
    if (std::find_if(number_keys.begin(), number_keys.end(), [&k = key](neutral const& n) { return n.key == k; }) !=
        number_keys.end())
      continue;
    std::string const shown = to_json(value);
    all.push_back(path_ + ": nothing reads the key " + in_quotes(key) +
                  (shown.size() <= 60 ? ", which is " + shown : std::string()));
  }
  return all;
}

json_value hf_config::required(std::string_view key) const {
  auto const v = find(key);
  if (!v) throw data_error(path_ + ": " + std::string(key) + " is missing");
  return *v;
}

std::size_t hf_config::size(std::string_view key, std::size_t most, std::optional<std::size_t> otherwise) const {
  if (otherwise && !find(key)) return *otherwise;
  return static_cast<std::size_t>(required(key).as_integer(1, static_cast<std::int64_t>(most)));
}

std::size_t hf_config::size(std::initializer_list<std::string_view> names, std::size_t most) const {
  std::string_view from = *names.begin();
  std::optional<std::size_t> value;
  for (auto const name : names) {
    if (!find(name)) continue;
    std::size_t const here = size(name, most);
    if (value && *value != here)
      json_.at(name).fail("is " + std::to_string(here) + ", but " + std::string(from) + ", which means the same, is " +
                          std::to_string(*value));
    if (!value) value = here, from = name;
  }
  return value ? *value : size(from, most);
}

double hf_config::number(std::string_view key, double least, double most, std::optional<double> otherwise) const {
  if (otherwise && !find(key)) return *otherwise;
  return required(key).as_number(least, most);
}

bool hf_config::flag(std::string_view key, bool otherwise) const {
  auto const v = find(key);
  return v ? v->as_bool() : otherwise;
}

std::string hf_config::text(std::string_view key, std::string_view otherwise) const {
  auto const v = find(key);
  return v ? v->as_string() : std::string(otherwise);
}

}  // namespace wayfarer
