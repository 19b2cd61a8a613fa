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

constexpr std::array types = {readable_type{"gpt2", "gpt2"},     readable_type{"t5", "t5"},
                              readable_type{"mt5", "t5"},        readable_type{"bert", "bert"},
                              readable_type{"roberta", "bert"},  readable_type{"xlm-roberta", "bert"},
                              readable_type{"camembert", "bert"}};

/// What transformers calls the classes of a model_type: "GPT2LMHeadModel".
struct class_name {
  std::string_view begin, model_type;
};
constexpr std::array class_names = {
    class_name{"GPT2", "gpt2"},          class_name{"T5", "t5"},           class_name{"MT5", "mt5"},
    class_name{"Bert", "bert"},          class_name{"Roberta", "roberta"}, class_name{"XLMRoberta", "xlm-roberta"},
    class_name{"Camembert", "camembert"}};

/// Keys of a configuration that change no number of a forward pass: training, other tasks' heads, housekeeping, defaults of
/// generation (`generation_tokens` reads those that matter).
constexpr std::string_view harmless_keys =
    " _attn_implementation _attn_implementation_autoset _name_or_path _num_labels architectures"
    " attention_dropout attention_probs_dropout_prob attn_implementation attn_pdrop bad_words_ids"
    " begin_suppress_tokens bos_token_id chunk_size_feed_forward classifier_activation classifier_dropout"
    " cls_token_id cross_attention_hidden_size decoder_start_token_id directionality diversity_penalty"
    " do_sample dropout dropout_rate dtype early_stopping embd_pdrop encoder_no_repeat_ngram_size"
    " eos_token_id eos_token_ids exponential_decay_length_penalty finetuning_task force_words_ids"
    " forced_bos_token_id forced_decoder_ids forced_eos_token_id gradient_checkpointing hidden_dropout"
    " hidden_dropout_prob id2label initializer_factor initializer_range is_encoder_decoder label2id"
    " language layerdrop length_penalty mask_token_id max_length max_new_tokens min_length model_parallel"
    " model_type n_ctx n_special name no_repeat_ngram_size num_beam_groups num_beams num_labels"
    " num_return_sequences output_attentions output_hidden_states output_past output_scores pad_token_id"
    " pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type"
    " predict_special_tokens prefix problem_type remove_invalid_values renormalize_logits"
    " reorder_and_upcast_attn repetition_penalty resid_pdrop return_dict return_dict_in_generate"
    " sep_token_id sequence_bias summary_activation summary_first_dropout summary_hidden_size"
    " summary_proj_to_labels summary_type summary_use_proj suppress_tokens task_specific_params"
    " temperature tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript"
    " transformers_version typical_p unk_token_id use_bfloat16 use_cache use_return_dict vocab_file ";

/// Keys that change numbers in families that are not read here, and the value at which they do nothing.
struct neutral {
  std::string_view key, value;
};
constexpr std::array number_keys = {neutral{"add_cross_attention", "false"},
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

/// The model_type whose name stands in front of the checkpoint's tensors ("roberta.encoder..."), or nothing.
std::string named_by_tensors(std::string const& path, std::initializer_list<std::string_view> among) {
  try {
    for (auto const& name : open_checkpoint(path).names())
      for (auto const& t : among)
        if (name.starts_with(std::string(t) + ".") || name.find("." + std::string(t) + ".") != std::string::npos)
          return std::string(t);
  } catch (error const&) {  // told of when it is read
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
    c.model_type_ = c.type_without_key(path, model_types);
  if (std::find(model_types.begin(), model_types.end(), c.model_type_) == model_types.end()) {
    std::string wanted;
    for (auto const& t : model_types) wanted += (wanted.empty() ? "" : " or ") + in_quotes(t);
    auto const other = std::find_if(types.begin(), types.end(), [&](readable_type t) { return t.model_type == c.model_type_; });
    std::string const advice =
        other != types.end() ? "'model: " + std::string(other->plugin) + "' reads it" : "this build reads: " + list_of_types();
    (c.json_.find_set("model_type") ? c.json_.at("model_type") : c.json_)
        .fail("expected " + wanted + ", got " + in_quotes(c.model_type_) + "; " + advice);
  }
  if (auto const map = c.json_.find_set("auto_map"))
    map->fail("this model brings its own code, which is never run; convert it to a plain " + c.model_type_ + " checkpoint");
  c.refuse_what_changes_numbers();
  return c;
}

std::string hf_config::type_without_key(std::string const& path, std::initializer_list<std::string_view> among) const {
  std::string found, from, unknown;
  if (auto const classes = find("architectures"); classes && classes->kind() == json_kind::array && classes->size() != 0) {
    std::string const& name = classes->at(std::size_t{0}).as_string();
    for (auto const& c : class_names)
      if (name.starts_with(c.begin)) found = c.model_type, from = "as \"architectures\" says";
    if (found.empty()) unknown = name;
  }
  if (found.empty()) {
    found = named_by_tensors(path, among);
    from = "as the names of its tensors say";
  }
  if (found.empty()) {
    found = *among.begin();
    from = "as the plugin's name says";
  }
  if (!unknown.empty()) from += ", though \"architectures\" names " + in_quotes(unknown) + ", which is not known here";
  reading_->remarks.push_back(path_ + ": has no model_type; read as " + in_quotes(found) + ", " + from);
  return found;
}

void hf_config::refuse_what_changes_numbers() const {
  for (auto const& [key, value] : number_keys) {
    auto const given = json_.find_set(key);
    if (!given || to_json(*given) == value || to_json(*given) == std::string(value) + ".0") continue;
    given->fail("is " + to_json(*given) + ", which changes what the model computes, and no model here follows it");
  }
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
