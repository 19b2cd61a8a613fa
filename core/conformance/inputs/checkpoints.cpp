#include "conformance/inputs/checkpoints.hpp"

#include <wayfarer/file.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/safetensors.hpp>

#include "conformance/inputs.hpp"

namespace wayfarer::host::conformance {
namespace fs = std::filesystem;

namespace {

constexpr std::size_t layers = 2, d = 16, positions = 64, bytes_and_end = 257, end_of_text = 256;

using members = std::initializer_list<std::pair<std::string_view, json_value>>;

json_value config_of(char const* architecture, char const* type, members more) {
  auto config = json_value::object({{"architectures", json_value::array({architecture})}, {"model_type", type}});
  for (auto const& [key, value] : more) config.set(key, value);
  return config;
}

/// Of a decoder whose tokens are bytes.
json_value decoder_config(char const* architecture, char const* type, std::size_t heads, std::size_t d_mlp, members more) {
  auto config = config_of(architecture, type,
                          {{"num_hidden_layers", layers},
                           {"num_attention_heads", heads},
                           {"hidden_size", d},
                           {"intermediate_size", d_mlp},
                           {"max_position_embeddings", positions},
                           {"vocab_size", bytes_and_end},
                           {"bos_token_id", end_of_text},
                           {"eos_token_id", end_of_text}});
  for (auto const& [key, value] : more) config.set(key, value);
  return config;
}

/// The characters under which GPT-2's vocabulary writes the 256 bytes.
std::string byte_character(unsigned byte) {
  auto const printed = [](unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  unsigned code = byte;
  if (!printed(byte)) {
    code = 256;
    for (unsigned b = 0; b < byte; ++b) code += !printed(b);
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

/// GPT-2's kind of tokenizer, with a token for each byte.
std::vector<std::pair<std::string, std::string>> bytes_tokenizer() {
  auto tokens = json_value::object();
  for (unsigned b = 0; b < 256; ++b) tokens.set(byte_character(b), b);
  tokens.set("<|endoftext|>", end_of_text);
  return {{"vocab.json", to_json(tokens)}, {"merges.txt", "#version: 0.2\n"}};
}

struct weight_list {
  std::vector<drawn_weight> all;

  void matrix(std::string name, std::size_t rows, std::size_t columns, double deviation) {
    all.push_back({std::move(name), {rows, columns}, 0, deviation});
  }
  void vector(std::string name, std::size_t size, double mean, double deviation = 0.1) {
    all.push_back({std::move(name), {size}, mean, deviation});
  }
  void norm(std::string const& at) { vector(at + ".weight", d, 1), vector(at + ".bias", d, 0); }
  void dense(std::string const& at, std::size_t out, std::size_t in, double deviation) {
    matrix(at + ".weight", out, in, deviation), vector(at + ".bias", out, 0);
  }
};

/// Llama's names of weights; its heads share keys. `mean`: of the norms.
weight_list llama_weights(std::vector<char const*> const& norms, double mean) {
  constexpr std::size_t kv = d / 2, d_mlp = 40;
  weight_list w;
  w.matrix("model.embed_tokens.weight", bytes_and_end, d, 0.3);
  for (std::size_t l = 0; l < layers; ++l) {
    std::string const p = "model.layers." + std::to_string(l) + ".";
    for (char const* norm : norms) w.vector(p + norm + ".weight", d, mean);
    w.matrix(p + "self_attn.q_proj.weight", d, d, 0.3);
    for (char const* m : {"k_proj", "v_proj"}) w.matrix(p + "self_attn." + m + ".weight", kv, d, 0.3);
    w.matrix(p + "self_attn.o_proj.weight", d, d, 0.2);
    for (char const* m : {"gate_proj", "up_proj"}) w.matrix(p + "mlp." + m + ".weight", d_mlp, d, 0.2);
    w.matrix(p + "mlp.down_proj.weight", d, d_mlp, 0.2);
  }
  w.vector("model.norm.weight", d, mean);
  return w;
}

/// Attention of T5; block 0's first knows the distances.
void add_t5_attention(weight_list& w, std::string const& at, std::string const& kind, bool distances) {
  w.vector(at + "layer_norm.weight", d, 1);
  for (char const* m : {"q", "k", "v"}) w.matrix(at + kind + "." + m + ".weight", d, d, 0.25);
  w.matrix(at + kind + ".o.weight", d, d, 0.25);
  if (distances) w.matrix(at + kind + ".relative_attention_bias.weight", 32, 2, 0.5);
}

}  // namespace

checkpoint gpt2_checkpoint() {
  weight_list w;
  w.matrix("wte.weight", bytes_and_end, d, 0.3);
  w.matrix("wpe.weight", positions, d, 0.1);
  // Its matrices are [in, out].
  auto const dense = [&](std::string const& at, std::size_t in, std::size_t out, double deviation, double of_bias) {
    w.matrix(at + ".weight", in, out, deviation), w.vector(at + ".bias", out, 0, of_bias);
  };
  for (std::size_t l = 0; l < layers; ++l) {
    std::string const p = "h." + std::to_string(l) + ".";
    w.norm(p + "ln_1");
    dense(p + "attn.c_attn", d, 3 * d, 0.3, 0.2), dense(p + "attn.c_proj", d, d, 0.2, 0.1);
    w.norm(p + "ln_2");
    dense(p + "mlp.c_fc", d, 4 * d, 0.2, 0.1), dense(p + "mlp.c_proj", 4 * d, d, 0.2, 0.1);
  }
  w.norm("ln_f");
  return {"gpt2", std::move(w.all),
          config_of("GPT2LMHeadModel", "gpt2",
                    {{"n_layer", layers},
                     {"n_head", 2},
                     {"n_embd", d},
                     {"n_positions", positions},
                     {"n_ctx", positions},
                     {"vocab_size", bytes_and_end},
                     {"layer_norm_epsilon", 1e-5},
                     {"activation_function", "gelu_new"},
                     {"bos_token_id", end_of_text},
                     {"eos_token_id", end_of_text}}),
          bytes_tokenizer()};
}

checkpoint llama_checkpoint() {
  return {
      "llama", llama_weights({"input_layernorm", "post_attention_layernorm"}, 1).all,
      decoder_config("LlamaForCausalLM", "llama", 4, 40,
                     {{"num_key_value_heads", 2}, {"rms_norm_eps", 1e-5}, {"hidden_act", "silu"}, {"tie_word_embeddings", true}}),
      bytes_tokenizer()};
}

checkpoint gemma2_checkpoint() {
  return {
      "gemma2",
      llama_weights({"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"}, 0)
          .all,
      decoder_config("Gemma2ForCausalLM", "gemma2", 4, 40,
                     {{"num_key_value_heads", 2},
                      {"head_dim", 4},
                      {"query_pre_attn_scalar", 4},
                      {"sliding_window", 8},
                      {"attn_logit_softcapping", 5.0},
                      {"final_logit_softcapping", 3.0},
                      {"rms_norm_eps", 1e-6},
                      {"hidden_activation", "gelu_pytorch_tanh"}}),
      bytes_tokenizer()};
}

checkpoint neox_checkpoint() {
  constexpr std::size_t d_mlp = 40;
  weight_list w;
  w.matrix("gpt_neox.embed_in.weight", bytes_and_end, d, 0.3);
  for (std::size_t l = 0; l < layers; ++l) {
    std::string const p = "gpt_neox.layers." + std::to_string(l) + ".";
    w.norm(p + "input_layernorm"), w.norm(p + "post_attention_layernorm");
    w.dense(p + "attention.query_key_value", 3 * d, d, 0.3), w.dense(p + "attention.dense", d, d, 0.3);
    w.dense(p + "mlp.dense_h_to_4h", d_mlp, d, 0.3), w.dense(p + "mlp.dense_4h_to_h", d, d_mlp, 0.3);
  }
  w.norm("gpt_neox.final_layer_norm");
  w.matrix("embed_out.weight", bytes_and_end, d, 0.3);
  return {"gpt_neox", std::move(w.all),
          decoder_config("GPTNeoXForCausalLM", "gpt_neox", 4, d_mlp,
                         {{"rotary_pct", 0.5},
                          {"layer_norm_eps", 1e-5},
                          {"hidden_act", "gelu"},
                          {"use_parallel_residual", true},
                          {"tie_word_embeddings", false}}),
          bytes_tokenizer()};
}

checkpoint t5_checkpoint() {
  constexpr std::size_t vocabulary = 96, heads = 2, d_mlp = 32;
  weight_list w;
  w.matrix("shared.weight", vocabulary, d, 1);
  for (std::string const stack : {"encoder", "decoder"}) {
    for (std::size_t l = 0; l < layers; ++l) {
      std::string const p = stack + ".block." + std::to_string(l) + ".layer.";
      add_t5_attention(w, p + "0.", "SelfAttention", l == 0);
      if (stack == "decoder") add_t5_attention(w, p + "1.", "EncDecAttention", false);
      std::string const f = p + (stack == "decoder" ? "2." : "1.");
      w.vector(f + "layer_norm.weight", d, 1);
      w.matrix(f + "DenseReluDense.wi.weight", d_mlp, d, 0.25);
      w.matrix(f + "DenseReluDense.wo.weight", d, d_mlp, 0.2);
    }
    w.vector(stack + ".final_layer_norm.weight", d, 1);
  }
  return {"t5", std::move(w.all),
          config_of("T5ForConditionalGeneration", "t5",
                    {{"num_layers", layers},
                     {"num_decoder_layers", layers},
                     {"num_heads", heads},
                     {"d_model", d},
                     {"d_kv", d / heads},
                     {"d_ff", d_mlp},
                     {"vocab_size", vocabulary},
                     {"relative_attention_num_buckets", 32},
                     {"relative_attention_max_distance", 128},
                     {"layer_norm_epsilon", 1e-6},
                     {"feed_forward_proj", "relu"},
                     {"tie_word_embeddings", true},
                     {"pad_token_id", 0},
                     {"eos_token_id", 1},
                     {"decoder_start_token_id", 0}})};
}

checkpoint bert_checkpoint() {
  std::vector<std::string> pieces{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."};
  for (auto const& w : made_words()) pieces.push_back(w);
  for (char c = 'a'; c <= 'z'; ++c) pieces.emplace_back(1, c), pieces.push_back(std::string("##") + c);
  std::string lines;
  for (auto const& piece : pieces) lines += piece + "\n";
  constexpr std::size_t d_mlp = 32;
  weight_list w;
  w.matrix("bert.embeddings.word_embeddings.weight", pieces.size(), d, 0.5);
  w.matrix("bert.embeddings.position_embeddings.weight", positions, d, 0.2);
  w.matrix("bert.embeddings.token_type_embeddings.weight", 2, d, 0.2);
  w.norm("bert.embeddings.LayerNorm");
  for (std::size_t l = 0; l < layers; ++l) {
    std::string const p = "bert.encoder.layer." + std::to_string(l) + ".";
    for (char const* m : {"query", "key", "value"}) w.dense(p + "attention.self." + m, d, d, 0.25);
    w.dense(p + "attention.output.dense", d, d, 0.25), w.norm(p + "attention.output.LayerNorm");
    w.dense(p + "intermediate.dense", d_mlp, d, 0.25);
    w.dense(p + "output.dense", d, d_mlp, 0.25), w.norm(p + "output.LayerNorm");
  }
  w.dense("cls.predictions.transform.dense", d, d, 0.25), w.norm("cls.predictions.transform.LayerNorm");
  w.vector("cls.predictions.bias", pieces.size(), 0);
  return {"bert",
          std::move(w.all),
          config_of("BertForMaskedLM", "bert",
                    {{"vocab_size", pieces.size()},
                     {"hidden_size", d},
                     {"num_hidden_layers", layers},
                     {"num_attention_heads", 2},
                     {"intermediate_size", d_mlp},
                     {"hidden_act", "gelu"},
                     {"max_position_embeddings", positions},
                     {"type_vocab_size", 2},
                     {"layer_norm_eps", 1e-12},
                     {"pad_token_id", 0}}),
          {{"vocab.txt", lines}}};
}

fs::path write_checkpoint(fs::path const& in, checkpoint const& c, std::uint64_t seed) {
  fs::path const folder = in / c.folder;
  if (fs::exists(folder / "config.json")) return folder;
  fs::create_directories(folder);
  std::vector<std::pair<std::string, tensor>> all;
  for (auto const& w : c.weights) {
    dims shape;
    for (std::size_t i = 0; i < w.sizes.size(); ++i) shape.push_back({std::to_string(i), w.sizes[i]});
    tensor t(dtype::f32, shape);
    random_stream draw(seed, "conformance weights", all.size());
    for (float& v : t.values<float>()) v = static_cast<float>(w.mean + w.deviation * draw.normal());
    all.emplace_back(w.name, std::move(t));
  }
  write_safetensors((folder / "model.safetensors").string(), all, {{"format", "pt"}});
  for (auto const& [name, text] : c.texts) write_file_atomically((folder / name).string(), text);
  // Last: it says that the rest is there.
  write_file_atomically((folder / "config.json").string(), to_json(c.config, 2));
  return folder;
}

}  // namespace wayfarer::host::conformance
