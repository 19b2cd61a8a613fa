#include "conformance/inputs.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/safetensors.hpp>

#include "pipeline/values.hpp"

namespace wayfarer::host::conformance {
namespace fs = std::filesystem;

std::string_view name_of(item_sort s) noexcept {
  switch (s) {
    case item_sort::words:
      return "documents of words";
    case item_sort::tokens:
      return "token sequences";
    case item_sort::texts:
      return "texts";
    case item_sort::choices:
      return "questions with answers to choose from";
    case item_sort::pairs:
      return "token sequences of one length";
  }
  return {};
}

namespace {

template <class T>
ragged<T> part_of(ragged<T> const& all, item_range r) {
  ragged<T> out;
  if (all.empty()) return out;
  for (std::size_t i = r.first; i < r.last; ++i) out.push_back(all[i]);
  return out;
}

constexpr char const* vocabulary_of_texts[] = {"the", "stone", "kills", "two", "birds", "with", "one", "a",   "cat",
                                               "sat", "on",    "mat",   "and", "then",  "ran",  "to",  "sea", "."};

std::string make_text(random_stream& draw, std::size_t length) {
  std::string text;
  while (text.size() < length) {
    if (!text.empty()) text += ' ';
    text += vocabulary_of_texts[draw.below(std::size(vocabulary_of_texts))];
  }
  text.resize(length);
  return text;
}

}  // namespace

std::vector<std::string> made_words() {
  std::vector<std::string> words(std::begin(vocabulary_of_texts), std::end(vocabulary_of_texts));
  std::erase_if(words, [](std::string const& w) { return w.size() < 2; });
  return words;
}

item_block made_items::read(item_range r) const {
  item_block b;
  b.first = r.first, b.count = r.size();
  b.words = part_of(all_.words, r);
  b.tokens = part_of(all_.tokens, r);
  b.decoder_tokens = part_of(all_.decoder_tokens, r);
  b.choices = part_of(all_.choices, r);
  b.segments = part_of(all_.segments, r);
  b.segment_example = part_of(all_.segment_example, r);
  if (!all_.texts.empty())
    b.texts.assign(all_.texts.begin() + static_cast<std::ptrdiff_t>(r.first),
                   all_.texts.begin() + static_cast<std::ptrdiff_t>(r.last));
  for (auto const& [name, values] : all_.truth) b.truth.emplace(name, values.slice(0, r.first, r.last).clone());
  return b;
}

std::unique_ptr<source> make_items(item_sort sort, std::size_t count, std::size_t shortest, std::size_t longest,
                                   std::size_t vocabulary, std::uint64_t seed) {
  item_block all;
  source_info info;
  all.count = info.items = count;
  std::vector<std::int32_t> gold;
  std::vector<std::int32_t> list;
  for (std::size_t i = 0; i < count; ++i) {
    random_stream draw(seed, "conformance items", i);
    std::size_t const length = shortest + draw.below(static_cast<std::uint32_t>(longest - shortest + 1));
    info.longest = std::max(info.longest, length);
    auto const sequence = [&](std::size_t n, std::uint32_t most) {
      list.resize(n);
      for (auto& t : list) t = static_cast<std::int32_t>(draw.below(most));
      return std::span<std::int32_t const>(list);
    };
    switch (sort) {
      case item_sort::words: {
        // Two topics a document, as a topic model's would have.
        std::uint32_t const topics[2] = {draw.below(10), draw.below(10)};
        list.resize(length);
        for (auto& w : list) w = static_cast<std::int32_t>(10 * topics[draw.below(2)] + draw.below(10));
        all.words.push_back(list);
        break;
      }
      case item_sort::tokens:
        all.tokens.push_back(sequence(length, static_cast<std::uint32_t>(vocabulary)));
        all.decoder_tokens.push_back(sequence(std::max<std::size_t>(std::min<std::size_t>(length, 1), length / 2),
                                              static_cast<std::uint32_t>(vocabulary)));
        break;
      case item_sort::texts:
        all.texts.push_back(make_text(draw, length));
        break;
      case item_sort::pairs: {
        auto const ends_in = static_cast<std::int32_t>((2 + seed + i) % vocabulary);
        for (auto* const to : {&all.tokens, &all.decoder_tokens}) {
          sequence(longest, static_cast<std::uint32_t>(vocabulary));
          if (longest > 0) list.back() = ends_in;
          to->push_back(list);
        }
        info.longest = longest;
        break;
      }
      case item_sort::choices: {
        std::vector<std::string> answers;
        std::vector<std::string> const context{make_text(draw, length / 2)};
        all.texts.push_back(context[0]);
        all.segments.push_back(context);
        all.segment_example.push_back(std::vector<std::int32_t>{0});
        for (int a = 0; a < 4; ++a) answers.push_back(" " + make_text(draw, std::max<std::size_t>(1, length / 3)));
        all.choices.push_back(answers);
        gold.push_back(static_cast<std::int32_t>(draw.below(4)));
        break;
      }
    }
  }
  info.has_words = sort == item_sort::words, info.has_tokens = sort == item_sort::tokens || sort == item_sort::pairs;
  info.has_texts = sort == item_sort::texts || sort == item_sort::choices, info.has_choices = sort == item_sort::choices;
  if (info.has_words) {
    info.vocabulary = 100;
    std::vector<std::int32_t> topic(100);
    for (std::size_t w = 0; w < topic.size(); ++w) topic[w] = static_cast<std::int32_t>(w / 10);
    info.truth["topic_of_word"] = tensor::of(topic, {{"word", topic.size()}});
  }
  if (info.has_choices) all.truth["gold"] = tensor::of(gold, {{"item", count}});
  return std::make_unique<made_items>(std::move(all), std::move(info));
}

namespace {

class random_weights {
 public:
  explicit random_weights(std::uint64_t seed) : seed_(seed) {}
  void add(std::string name, std::vector<std::size_t> const& sizes, double mean, double deviation) {
    dims shape;
    for (std::size_t i = 0; i < sizes.size(); ++i) shape.push_back({std::to_string(i), sizes[i]});
    tensor t(dtype::f32, shape);
    random_stream draw(seed_, "conformance weights", all_.size());
    for (float& v : t.values<float>()) v = static_cast<float>(mean + deviation * draw.normal());
    all_.emplace_back(std::move(name), std::move(t));
  }
  void write(fs::path const& file) const { write_safetensors(file.string(), all_, {{"format", "pt"}}); }

 private:
  std::uint64_t seed_;
  std::vector<std::pair<std::string, tensor>> all_;
};

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

constexpr std::size_t tiny_layers = 2, tiny_heads = 2, tiny_width = 16, tiny_positions = 64;

}  // namespace

fs::path generated_files::gpt2() {
  fs::path const folder = folder_ / "gpt2";
  if (fs::exists(folder / "config.json")) return folder;
  fs::create_directories(folder);
  constexpr std::size_t vocabulary = 257, d = tiny_width;
  random_weights w(seed_);
  w.add("wte.weight", {vocabulary, d}, 0, 0.3);
  w.add("wpe.weight", {tiny_positions, d}, 0, 0.1);
  for (std::size_t l = 0; l < tiny_layers; ++l) {
    std::string const p = "h." + std::to_string(l) + ".";
    w.add(p + "ln_1.weight", {d}, 1, 0.1), w.add(p + "ln_1.bias", {d}, 0, 0.1);
    w.add(p + "attn.c_attn.weight", {d, 3 * d}, 0, 0.3), w.add(p + "attn.c_attn.bias", {3 * d}, 0, 0.2);
    w.add(p + "attn.c_proj.weight", {d, d}, 0, 0.2), w.add(p + "attn.c_proj.bias", {d}, 0, 0.1);
    w.add(p + "ln_2.weight", {d}, 1, 0.1), w.add(p + "ln_2.bias", {d}, 0, 0.1);
    w.add(p + "mlp.c_fc.weight", {d, 4 * d}, 0, 0.2), w.add(p + "mlp.c_fc.bias", {4 * d}, 0, 0.1);
    w.add(p + "mlp.c_proj.weight", {4 * d, d}, 0, 0.2), w.add(p + "mlp.c_proj.bias", {d}, 0, 0.1);
  }
  w.add("ln_f.weight", {d}, 1, 0.1), w.add("ln_f.bias", {d}, 0, 0.1);
  w.write(folder / "model.safetensors");
  write_bytes_tokenizer(folder);
  write_file_atomically((folder / "config.json").string(),
                        to_json(json_value::object({{"architectures", json_value::array({"GPT2LMHeadModel"})},
                                                    {"model_type", "gpt2"},
                                                    {"n_layer", tiny_layers},
                                                    {"n_head", tiny_heads},
                                                    {"n_embd", d},
                                                    {"n_positions", tiny_positions},
                                                    {"n_ctx", tiny_positions},
                                                    {"vocab_size", vocabulary},
                                                    {"layer_norm_epsilon", 1e-5},
                                                    {"activation_function", "gelu_new"},
                                                    {"bos_token_id", 256},
                                                    {"eos_token_id", 256}}),
                                2));
  return folder;
}

/// GPT-2's kind of tokenizer, with a token for each byte.
void generated_files::write_bytes_tokenizer(fs::path const& folder) const {
  auto tokens = json_value::object();
  for (unsigned b = 0; b < 256; ++b) tokens.set(byte_character(b), b);
  tokens.set("<|endoftext|>", 256);
  write_file_atomically((folder / "vocab.json").string(), to_json(tokens));
  write_file_atomically((folder / "merges.txt").string(), std::string_view("#version: 0.2\n"));
}

fs::path generated_files::llama() {
  fs::path const folder = folder_ / "llama";
  if (fs::exists(folder / "config.json")) return folder;
  fs::create_directories(folder);
  constexpr std::size_t vocabulary = 257, d = tiny_width, heads = 4, kv_heads = 2, d_head = 4, ff = 40;
  random_weights w(seed_);
  w.add("model.embed_tokens.weight", {vocabulary, d}, 0, 0.3);
  for (std::size_t l = 0; l < tiny_layers; ++l) {
    std::string const p = "model.layers." + std::to_string(l) + ".";
    for (char const* norm : {"input_layernorm", "post_attention_layernorm"}) w.add(p + norm + ".weight", {d}, 1, 0.1);
    w.add(p + "self_attn.q_proj.weight", {heads * d_head, d}, 0, 0.3);
    for (char const* m : {"k_proj", "v_proj"}) w.add(p + "self_attn." + m + ".weight", {kv_heads * d_head, d}, 0, 0.3);
    w.add(p + "self_attn.o_proj.weight", {d, heads * d_head}, 0, 0.2);
    for (char const* m : {"gate_proj", "up_proj"}) w.add(p + "mlp." + m + ".weight", {ff, d}, 0, 0.2);
    w.add(p + "mlp.down_proj.weight", {d, ff}, 0, 0.2);
  }
  w.add("model.norm.weight", {d}, 1, 0.1);
  w.write(folder / "model.safetensors");
  write_bytes_tokenizer(folder);
  write_file_atomically((folder / "config.json").string(),
                        to_json(json_value::object({{"architectures", json_value::array({"LlamaForCausalLM"})},
                                                    {"model_type", "llama"},
                                                    {"num_hidden_layers", tiny_layers},
                                                    {"num_attention_heads", heads},
                                                    {"num_key_value_heads", kv_heads},
                                                    {"hidden_size", d},
                                                    {"intermediate_size", ff},
                                                    {"max_position_embeddings", tiny_positions},
                                                    {"vocab_size", vocabulary},
                                                    {"rms_norm_eps", 1e-5},
                                                    {"hidden_act", "silu"},
                                                    {"tie_word_embeddings", true},
                                                    {"bos_token_id", 256},
                                                    {"eos_token_id", 256}}),
                                2));
  return folder;
}

fs::path generated_files::neox() {
  fs::path const folder = folder_ / "gpt_neox";
  if (fs::exists(folder / "config.json")) return folder;
  fs::create_directories(folder);
  constexpr std::size_t vocabulary = 257, d = tiny_width, heads = 4, ff = 40;
  random_weights w(seed_);
  auto const norm = [&](std::string const& at) { w.add(at + ".weight", {d}, 1, 0.1), w.add(at + ".bias", {d}, 0, 0.1); };
  auto const dense = [&](std::string const& at, std::size_t out, std::size_t in) {
    w.add(at + ".weight", {out, in}, 0, 0.3), w.add(at + ".bias", {out}, 0, 0.1);
  };
  w.add("gpt_neox.embed_in.weight", {vocabulary, d}, 0, 0.3);
  for (std::size_t l = 0; l < tiny_layers; ++l) {
    std::string const p = "gpt_neox.layers." + std::to_string(l) + ".";
    norm(p + "input_layernorm"), norm(p + "post_attention_layernorm");
    dense(p + "attention.query_key_value", 3 * d, d), dense(p + "attention.dense", d, d);
    dense(p + "mlp.dense_h_to_4h", ff, d), dense(p + "mlp.dense_4h_to_h", d, ff);
  }
  norm("gpt_neox.final_layer_norm");
  w.add("embed_out.weight", {vocabulary, d}, 0, 0.3);
  w.write(folder / "model.safetensors");
  write_bytes_tokenizer(folder);
  write_file_atomically((folder / "config.json").string(),
                        to_json(json_value::object({{"architectures", json_value::array({"GPTNeoXForCausalLM"})},
                                                    {"model_type", "gpt_neox"},
                                                    {"num_hidden_layers", tiny_layers},
                                                    {"num_attention_heads", heads},
                                                    {"hidden_size", d},
                                                    {"intermediate_size", ff},
                                                    {"max_position_embeddings", tiny_positions},
                                                    {"vocab_size", vocabulary},
                                                    {"rotary_pct", 0.5},
                                                    {"layer_norm_eps", 1e-5},
                                                    {"hidden_act", "gelu"},
                                                    {"use_parallel_residual", true},
                                                    {"tie_word_embeddings", false},
                                                    {"bos_token_id", 256},
                                                    {"eos_token_id", 256}}),
                                2));
  return folder;
}

fs::path generated_files::gemma2() {
  fs::path const folder = folder_ / "gemma2";
  if (fs::exists(folder / "config.json")) return folder;
  fs::create_directories(folder);
  constexpr std::size_t vocabulary = 257, d = tiny_width, heads = 4, kv_heads = 2, d_head = 4, ff = 40;
  random_weights w(seed_);
  w.add("model.embed_tokens.weight", {vocabulary, d}, 0, 0.3);
  for (std::size_t l = 0; l < tiny_layers; ++l) {
    std::string const p = "model.layers." + std::to_string(l) + ".";
    for (char const* norm :
         {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"})
      w.add(p + norm + ".weight", {d}, 0, 0.1);
    w.add(p + "self_attn.q_proj.weight", {heads * d_head, d}, 0, 0.3);
    for (char const* m : {"k_proj", "v_proj"}) w.add(p + "self_attn." + m + ".weight", {kv_heads * d_head, d}, 0, 0.3);
    w.add(p + "self_attn.o_proj.weight", {d, heads * d_head}, 0, 0.2);
    for (char const* m : {"gate_proj", "up_proj"}) w.add(p + "mlp." + m + ".weight", {ff, d}, 0, 0.2);
    w.add(p + "mlp.down_proj.weight", {d, ff}, 0, 0.2);
  }
  w.add("model.norm.weight", {d}, 0, 0.1);
  w.write(folder / "model.safetensors");
  write_bytes_tokenizer(folder);
  write_file_atomically((folder / "config.json").string(),
                        to_json(json_value::object({{"architectures", json_value::array({"Gemma2ForCausalLM"})},
                                                    {"model_type", "gemma2"},
                                                    {"num_hidden_layers", tiny_layers},
                                                    {"num_attention_heads", heads},
                                                    {"num_key_value_heads", kv_heads},
                                                    {"head_dim", d_head},
                                                    {"hidden_size", d},
                                                    {"intermediate_size", ff},
                                                    {"max_position_embeddings", tiny_positions},
                                                    {"vocab_size", vocabulary},
                                                    {"query_pre_attn_scalar", 4},
                                                    {"sliding_window", 8},
                                                    {"attn_logit_softcapping", 5.0},
                                                    {"final_logit_softcapping", 3.0},
                                                    {"rms_norm_eps", 1e-6},
                                                    {"hidden_activation", "gelu_pytorch_tanh"},
                                                    {"bos_token_id", 256},
                                                    {"eos_token_id", 256}}),
                                2));
  return folder;
}

fs::path generated_files::t5() {
  fs::path const folder = folder_ / "t5";
  if (fs::exists(folder / "config.json")) return folder;
  fs::create_directories(folder);
  constexpr std::size_t vocabulary = 96, d = tiny_width, inner = 16, ff = 32;
  random_weights w(seed_);
  w.add("shared.weight", {vocabulary, d}, 0, 1);
  for (std::string const stack : {"encoder", "decoder"}) {
    for (std::size_t l = 0; l < tiny_layers; ++l) {
      std::string const p = stack + ".block." + std::to_string(l) + ".layer.";
      std::size_t part = 0;
      for (std::string const kind : {"SelfAttention", "EncDecAttention"}) {
        if (part == 1 && stack == "encoder") break;
        std::string const q = p + std::to_string(part++) + ".";
        w.add(q + "layer_norm.weight", {d}, 1, 0.1);
        for (char const* m : {"q", "k", "v"}) w.add(q + kind + "." + m + ".weight", {inner, d}, 0, 0.25);
        w.add(q + kind + ".o.weight", {d, inner}, 0, 0.25);
        if (l == 0 && part == 1) w.add(q + kind + ".relative_attention_bias.weight", {32, tiny_heads}, 0, 0.5);
      }
      std::string const f = p + std::to_string(part) + ".";
      w.add(f + "layer_norm.weight", {d}, 1, 0.1);
      w.add(f + "DenseReluDense.wi.weight", {ff, d}, 0, 0.25);
      w.add(f + "DenseReluDense.wo.weight", {d, ff}, 0, 0.2);
    }
    w.add(stack + ".final_layer_norm.weight", {d}, 1, 0.1);
  }
  w.write(folder / "model.safetensors");
  write_file_atomically((folder / "config.json").string(),
                        to_json(json_value::object({{"architectures", json_value::array({"T5ForConditionalGeneration"})},
                                                    {"model_type", "t5"},
                                                    {"num_layers", tiny_layers},
                                                    {"num_decoder_layers", tiny_layers},
                                                    {"num_heads", tiny_heads},
                                                    {"d_model", d},
                                                    {"d_kv", inner / tiny_heads},
                                                    {"d_ff", ff},
                                                    {"vocab_size", vocabulary},
                                                    {"relative_attention_num_buckets", 32},
                                                    {"relative_attention_max_distance", 128},
                                                    {"layer_norm_epsilon", 1e-6},
                                                    {"feed_forward_proj", "relu"},
                                                    {"tie_word_embeddings", true},
                                                    {"pad_token_id", 0},
                                                    {"eos_token_id", 1},
                                                    {"decoder_start_token_id", 0}}),
                                2));
  return folder;
}

fs::path generated_files::bert() {
  fs::path const folder = folder_ / "bert";
  if (fs::exists(folder / "config.json")) return folder;
  fs::create_directories(folder);
  std::vector<std::string> pieces{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."};
  for (auto const& w : made_words()) pieces.push_back(w);
  for (char c = 'a'; c <= 'z'; ++c) pieces.emplace_back(1, c), pieces.push_back(std::string("##") + c);
  std::string lines;
  for (auto const& piece : pieces) lines += piece + "\n";
  constexpr std::size_t d = tiny_width, ff = 32;
  random_weights w(seed_);
  auto const norm = [&](std::string const& name) { w.add(name + ".weight", {d}, 1, 0.1), w.add(name + ".bias", {d}, 0, 0.1); };
  auto const dense = [&](std::string const& name, std::size_t out, std::size_t in) {
    w.add(name + ".weight", {out, in}, 0, 0.25), w.add(name + ".bias", {out}, 0, 0.1);
  };
  w.add("bert.embeddings.word_embeddings.weight", {pieces.size(), d}, 0, 0.5);
  w.add("bert.embeddings.position_embeddings.weight", {tiny_positions, d}, 0, 0.2);
  w.add("bert.embeddings.token_type_embeddings.weight", {2, d}, 0, 0.2);
  norm("bert.embeddings.LayerNorm");
  for (std::size_t l = 0; l < tiny_layers; ++l) {
    std::string const p = "bert.encoder.layer." + std::to_string(l) + ".";
    for (char const* m : {"query", "key", "value"}) dense(p + "attention.self." + m, d, d);
    dense(p + "attention.output.dense", d, d), norm(p + "attention.output.LayerNorm");
    dense(p + "intermediate.dense", ff, d);
    dense(p + "output.dense", d, ff), norm(p + "output.LayerNorm");
  }
  dense("cls.predictions.transform.dense", d, d), norm("cls.predictions.transform.LayerNorm");
  w.add("cls.predictions.bias", {pieces.size()}, 0, 0.1);
  w.write(folder / "model.safetensors");
  write_file_atomically((folder / "vocab.txt").string(), lines);
  write_file_atomically((folder / "config.json").string(),
                        to_json(json_value::object({{"architectures", json_value::array({"BertForMaskedLM"})},
                                                    {"model_type", "bert"},
                                                    {"vocab_size", pieces.size()},
                                                    {"hidden_size", d},
                                                    {"num_hidden_layers", tiny_layers},
                                                    {"num_attention_heads", tiny_heads},
                                                    {"intermediate_size", ff},
                                                    {"hidden_act", "gelu"},
                                                    {"max_position_embeddings", tiny_positions},
                                                    {"type_vocab_size", 2},
                                                    {"layer_norm_eps", 1e-12},
                                                    {"pad_token_id", 0}}),
                                2));
  return folder;
}

std::vector<fs::path> const& generated_files::all() {
  if (!all_.empty()) return all_;
  fs::create_directories(folder_);
  auto const write = [&](char const* name, std::string const& text) {
    fs::path const file = folder_ / name;
    if (!fs::exists(file)) write_file_atomically(file.string(), text);
    all_.push_back(file);
  };
  random_stream draw(seed_, "conformance files");
  std::string documents, texts, pairs, analogies = ": one\n", questions, prompts;
  for (int i = 0; i < 24; ++i) {
    for (std::uint32_t n = 5 + draw.below(20); n > 0; --n) documents += std::to_string(draw.below(100)) + " ";
    documents += "END\n";
    texts += make_text(draw, 20 + draw.below(30)) + "\n";
    auto const word = [&] { return vocabulary_of_texts[draw.below(std::size(vocabulary_of_texts) - 1)]; };
    pairs += std::string(word()) + "\t" + word() + "\t" + std::to_string(draw.below(100) / 10.0) + "\n";
    analogies += std::string(word()) + " " + word() + " " + word() + " " + word() + "\n";
    questions += "Stones: " + make_text(draw, 30) + "\n" + std::to_string(draw.below(4)) + "\n";
    for (int a = 0; a < 4; ++a) questions += make_text(draw, 12) + "\n";
    prompts += make_text(draw, 24) + "\t" + word() + "\t" + word() + "\n";
  }
  // A model's folder first: a path that takes a folder refuses files at once, and the other way round.
  all_.push_back(llama());
  all_.push_back(gpt2());
  all_.push_back(t5());
  all_.push_back(bert());
  write("documents.train", documents);
  write("texts.txt", texts);
  write("pairs.txt", pairs);
  write("analogies.txt", analogies);
  write("questions.txt", questions);
  write("prompts.txt", prompts);
  write("words.txt", [] {
    std::string words;
    for (char const* w : vocabulary_of_texts) words += std::string(w) + "\n";
    return words;
  }());
  return all_;
}

given_values read_given(plugin const& p, std::vector<std::string> const& settings) {
  given_values out;
  for (auto const& s : settings) {
    std::size_t const equals = s.find('=');
    if (equals == s.npos || equals == 0) throw usage_error("--set takes PARAM=VALUE, not '" + s + "'");
    std::string const name = s.substr(0, equals);
    auto const* d = p.find_param(name);
    if (!d) {
      std::vector<std::string> known;
      for (auto const& one : p.params()) known.emplace_back(one.name);
      throw usage_error("--set " + s + ": " + std::string(p.id()) + " has no parameter '" + name + "'" +
                        did_you_mean(name, known));
    }
    std::vector<problem> wrong_yaml;
    std::vector<value_problem> wrong;
    auto const value = convert(*d, read_yaml("v: " + s.substr(equals + 1), wrong_yaml).entries.at(0).value, wrong);
    if (!wrong_yaml.empty()) throw usage_error("--set " + s + ": " + wrong_yaml.front().message);
    if (!value) throw usage_error("--set " + s + ": " + wrong.front().message);
    out.insert_or_assign(name, d->type == param_type::path && !value->text().empty()
                                   ? param_value(fs::absolute(value->text()).lexically_normal().string())
                                   : *value);
  }
  return out;
}

config complete(plugin const& p, given_values const& given, std::uint64_t seed) {
  config c;
  c.set_seed(seed);
  for (auto const& d : p.params()) {
    if (auto const at = given.find(d.name); at != given.end()) {
      c.set(d.name, at->second);
    } else if (!d.required) {
      c.set(d.name, default_of(d));
    } else {
      std::string const choices = d.choices;
      std::string const word = choices.empty() ? "stone" : choices.substr(0, choices.find('|'));
      double const number = std::clamp(1.0, d.minimum, d.maximum);
      switch (d.type) {
        case param_type::boolean:
          c.set(d.name, param_value(true));
          break;
        case param_type::integer:
          c.set(d.name, param_value(static_cast<std::int64_t>(number)));
          break;
        case param_type::real:
          c.set(d.name, param_value(number));
          break;
        case param_type::text:
          c.set(d.name, param_value(word));
          break;
        case param_type::path:
          c.set(d.name, param_value(std::string()));
          break;
        case param_type::text_list:
          c.set(d.name, param_value(std::vector<std::string>{word}));
          break;
        case param_type::integer_list:
          c.set(d.name, param_value(std::vector<std::int64_t>{static_cast<std::int64_t>(number)}));
          break;
        case param_type::real_list:
          c.set(d.name, param_value(std::vector<double>{number}));
          break;
      }
    }
  }
  if (auto const* d = p.find_param("seed"); d && d->type == param_type::integer && !given.contains("seed"))
    c.set("seed", param_value(static_cast<std::int64_t>(seed)));
  if (c.has("seed") && p.find_param("seed")->type == param_type::integer)
    c.set_seed(static_cast<std::uint64_t>(c["seed"].integer()));
  return c;
}

std::vector<std::string> open_paths(plugin const& p, given_values const& given) {
  std::vector<std::string> names;
  for (auto const& d : p.params())
    if (d.type == param_type::path && d.required && !given.contains(d.name)) names.emplace_back(d.name);
  return names;
}

namespace {

std::string number_text(double v) {
  char text[40];
  std::snprintf(text, sizeof text, v == std::trunc(v) && std::abs(v) < 1e15 ? "%.0f" : "%.9g", v);
  return text;
}

/// Integers that fit: a double beyond 2^53 is not the number that it was made from.
std::vector<double> numbers_to_try(param_descriptor const& d, double now, bool whole) {
  std::vector<double> all;
  bool const low = std::isfinite(d.minimum), high = std::isfinite(d.maximum);
  double const bottom = low ? d.minimum : -1000, top = high ? d.maximum : std::max(1000.0, 16 * std::abs(now));
  for (double v : {bottom, bottom + 1, now / 2, now - 1, now + 1, now * 2, now * 3, 0.0, 0.25, top}) {
    if (whole) v = std::trunc(v);
    if (v < d.minimum || v > d.maximum || v == now || !std::isfinite(v)) continue;
    if (std::find(all.begin(), all.end(), v) == all.end()) all.push_back(v);
  }
  return all;
}

}  // namespace

std::vector<trial> trials_of(param_descriptor const& d, param_value const& now) {
  std::vector<trial> all;
  std::vector<std::string> choices;
  for (std::string_view rest = d.choices; !rest.empty();) {
    std::size_t const bar = rest.find('|');
    choices.emplace_back(rest.substr(0, bar));
    rest.remove_prefix(bar == rest.npos ? rest.size() : bar + 1);
  }
  auto const far = [&](double v, double from) { return std::abs(v) > 64 * std::max(1.0, std::abs(from)); };
  switch (d.type) {
    case param_type::boolean:
      all.push_back({now.flag() ? "false" : "true", param_value(!now.flag())});
      break;
    case param_type::integer:
      for (double const v : numbers_to_try(d, now.real(), true))
        all.push_back({number_text(v), param_value(static_cast<std::int64_t>(v)), far(v, now.real())});
      break;
    case param_type::real:
      for (double const v : numbers_to_try(d, now.real(), false))
        all.push_back({number_text(v), param_value(v), far(v, now.real())});
      break;
    case param_type::text:
      if (choices.empty()) choices = {"", "other", "value", "0"};
      for (auto const& c : choices)
        if (c != now.text()) all.push_back({"'" + c + "'", param_value(c)});
      break;
    case param_type::path:
      for (std::string const v : {"", "/does/not/exist", "/dev/null", "/"})
        if (v != now.text()) all.push_back({"'" + v + "'", param_value(v)});
      break;
    case param_type::text_list:
      all.push_back({"[]", param_value(std::vector<std::string>{})});
      if (choices.empty()) choices = {"*", "other"};
      for (auto const& c : choices) all.push_back({"['" + c + "']", param_value(std::vector<std::string>{c})});
      break;
    case param_type::integer_list:
    case param_type::real_list: {
      bool const whole = d.type == param_type::integer_list;
      auto const add = [&](std::vector<double> const& numbers) {
        std::string text;
        for (double const v : numbers) text += (text.empty() ? "" : ", ") + number_text(v);
        if (whole)
          all.push_back({"[" + text + "]", param_value(std::vector<std::int64_t>(numbers.begin(), numbers.end()))});
        else
          all.push_back({"[" + text + "]", param_value(numbers)});
      };
      add({});
      auto const few = numbers_to_try(d, std::clamp(1.0, d.minimum, d.maximum), whole);
      for (double const v : few)
        if (!far(v, 1)) add({v});
      if (few.size() > 1) add({few[0], few[1]});
      break;
    }
  }
  std::erase_if(all, [&](trial const& t) { return t.value == now; });
  return all;
}

std::vector<std::string> beyond_range(param_descriptor const& d) {
  bool const number = d.type == param_type::integer || d.type == param_type::real;
  std::vector<std::string> all;
  if (number && std::isfinite(d.minimum)) all.push_back(number_text(d.minimum - 1));
  if (number && std::isfinite(d.maximum)) all.push_back(number_text(d.maximum + 1));
  if (number) all.push_back("ten");
  if (d.type == param_type::integer) all.push_back("9223372036854775808"), all.push_back("0.5");
  if (d.type == param_type::boolean) all.push_back("maybe");
  if (d.type == param_type::text && *d.choices) all.push_back("none of the choices");
  return all;
}

}  // namespace wayfarer::host::conformance
