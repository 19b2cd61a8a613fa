// GPT-2 from a Hugging Face checkpoint folder as it is: GPT-2 of any size, distilgpt2, Cerebras-GPT, nanoGPT exports.
// Radford et al. 2019.
//
//     model: {model: gpt2, path: folder}
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/weights.hpp>

namespace wf = wayfarer;

namespace {

/// What config.json says.
struct shape {
  std::size_t layers = 0, heads = 0, d_model = 0, d_head = 0, d_mlp = 0, vocabulary = 0, positions = 0;
  double epsilon = 0;
  bool scaled = true, scaled_by_layer = false, tied = true;

  static shape read(wf::hf_config const& c) {
    using limits = wf::model_limits;
    shape s;
    s.layers = c.size("n_layer", limits::layers);
    s.heads = c.size("n_head", limits::heads);
    s.d_model = c.size("n_embd", limits::width);
    if (s.d_model % s.heads != 0)
      c.json().at("n_head").fail(std::to_string(s.heads) + " heads do not divide n_embd " + std::to_string(s.d_model));
    s.d_head = s.d_model / s.heads;
    s.d_mlp = c.size("n_inner", limits::mlp, 4 * s.d_model);
    s.vocabulary = c.size("vocab_size", limits::vocabulary);
    s.positions =
        c.json().find_set("n_positions") ? c.size("n_positions", limits::positions) : c.size("n_ctx", limits::positions);
    s.epsilon = c.number("layer_norm_epsilon", 0, 1, 1e-5);
    s.scaled = c.flag("scale_attn_weights", true);
    s.scaled_by_layer = c.flag("scale_attn_by_inverse_layer_idx", false);
    s.tied = c.flag("tie_word_embeddings", true);
    if (c.flag("add_cross_attention", false))
      c.json().at("add_cross_attention").fail("a GPT-2 that attends to an encoder can't be read; use a decoder-only one");
    return s;
  }

  double attention_scale(std::size_t layer) const {
    double const s = scaled ? 1 / std::sqrt(static_cast<double>(d_head)) : 1;
    return scaled_by_layer ? s / static_cast<double>(layer + 1) : s;
  }
};

/// Where every weight of the common names lies. Conv1D matrices are [in, out]; c_attn holds queries, keys and values side by
/// side.
wf::weight_table list_weights(shape const& s) {
  wf::weight_table w;
  std::size_t const d = s.d_model;
  w.store("wte.weight", {{"token", s.vocabulary}, {"d_model", d}});
  w.store("wpe.weight", {{"pos", s.positions}, {"d_model", d}});
  w.name("embed.W_E", "wte.weight");
  w.name("pos_embed.W_pos", "wpe.weight");
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const p = "h." + std::to_string(i) + ".", b = "blocks." + std::to_string(i) + ".";
    auto const norm = [&](std::string const& stored, std::string const& common) {
      w.store(p + stored + ".weight", {{"d_model", d}});
      w.store(p + stored + ".bias", {{"d_model", d}});
      w.name(b + common + ".w", p + stored + ".weight");
      w.name(b + common + ".b", p + stored + ".bias");
    };
    auto const linear = [&](std::string const& stored, wf::dim in, wf::dim out) {
      w.store(p + stored + ".weight", {in, out});
      w.store(p + stored + ".bias", {out});
    };
    norm("ln_1", "ln1");
    linear("attn.c_attn", {"d_model", d}, {"qkv", 3 * d});
    linear("attn.c_proj", {"head_d_head", d}, {"d_model", d});
    char const* const names[] = {"Q", "K", "V"};
    for (auto const& [suffix, stored] : {std::pair{"attn.W_", "attn.c_attn.weight"}, std::pair{"attn.b_", "attn.c_attn.bias"}})
      for (std::size_t j = 0; j < 3; ++j)
        w.name(b + suffix + names[j], p + stored,
               [=](wf::tensor const& t) { return wf::split_heads(t, j * d, s.heads, s.d_head); });
    w.name(b + "attn.W_O", p + "attn.c_proj.weight", [=](wf::tensor const& t) { return wf::join_heads(t, s.heads); });
    w.name(b + "attn.b_O", p + "attn.c_proj.bias");
    norm("ln_2", "ln2");
    linear("mlp.c_fc", {"d_model", d}, {"d_mlp", s.d_mlp});
    linear("mlp.c_proj", {"d_mlp", s.d_mlp}, {"d_model", d});
    w.name(b + "mlp.W_in", p + "mlp.c_fc.weight");
    w.name(b + "mlp.b_in", p + "mlp.c_fc.bias");
    w.name(b + "mlp.W_out", p + "mlp.c_proj.weight");
    w.name(b + "mlp.b_out", p + "mlp.c_proj.bias");
  }
  w.store("ln_f.weight", {{"d_model", d}});
  w.store("ln_f.bias", {{"d_model", d}});
  w.name("ln_final.w", "ln_f.weight");
  w.name("ln_final.b", "ln_f.bias");
  if (!s.tied) w.store("lm_head.weight", {{"token", s.vocabulary}, {"d_model", d}});
  w.store("lm_head.bias", {{"token", s.vocabulary}}, true);
  w.name("unembed.W_U", s.tied ? "wte.weight" : "lm_head.weight", [](wf::tensor const& t) { return t.transposed(); });
  w.name("unembed.b_U", "lm_head.bias");
  return w;
}

/// The hooks in the order in which a forward pass reaches them.
std::vector<wf::hook_info> list_hooks(shape const& s) {
  std::vector<wf::hook_info> hooks;
  wf::dims const state{{"d_model", s.d_model}}, per_head{{"head", s.heads}, {"d_head", s.d_head}}, hidden{{"d_mlp", s.d_mlp}},
      pairs{{"head", s.heads}};
  auto const add = [&](std::string name, wf::dims row, std::string about, bool per_pair = false) {
    hooks.push_back({std::move(name), std::move(row), per_pair, std::move(about)});
  };
  auto const norm = [&](std::string const& at, std::string const& of) {
    add(at + "hook_scale", {{"one", 1}}, "square root of the variance of " + of + " plus epsilon");
    add(at + "hook_normalized", state, of + " less its mean, over hook_scale");
    add(at + "hook_out", state, "hook_normalized times weight plus bias");
  };
  add("hook_embed", state, "row of the token embedding");
  add("hook_pos_embed", state, "row of the position embedding");
  for (std::size_t i = 0; i < s.layers; ++i) {
    auto const b = "blocks." + std::to_string(i) + ".";
    add(b + "hook_resid_pre", state, "residual stream before the block");
    norm(b + "ln1.", "hook_resid_pre");
    add(b + "attn.hook_q", per_head, "queries, bias included");
    add(b + "attn.hook_k", per_head, "keys, bias included");
    add(b + "attn.hook_v", per_head, "values, bias included");
    add(b + "attn.hook_attn_scores", pairs, "scaled q.k, -infinity for keys after the query", true);
    add(b + "attn.hook_pattern", pairs, "softmax of the scores over keys", true);
    add(b + "attn.hook_z", per_head, "values weighted by the pattern, before W_O");
    add(b + "hook_attn_out", state, "what attention adds to the residual stream, bias included");
    add(b + "hook_resid_mid", state, "residual stream between attention and MLP");
    norm(b + "ln2.", "hook_resid_mid");
    add(b + "mlp.hook_pre", hidden, "before the activation function, bias included");
    add(b + "mlp.hook_post", hidden, "after the activation function");
    add(b + "hook_mlp_out", state, "what the MLP adds to the residual stream, bias included");
    add(b + "hook_resid_post", state, "residual stream after the block");
  }
  norm("ln_final.", "the last hook_resid_post");
  add("logits", {{"token", s.vocabulary}}, "unnormalised log probabilities of the next token");
  return hooks;
}

struct block {
  wf::norm_weights ln1;
  wf::attention_weights attn;
  double scale;
  wf::norm_weights ln2;
  wf::mlp_weights mlp;
};

wf::activation choose_gelu(std::string const& wish, wf::hf_config const& c) {
  if (wish == "tanh") return wf::activation::gelu_tanh;
  if (wish == "erf") return wf::activation::gelu_erf;
  try {
    return wf::activation_of(c.text("activation_function", "gelu_new"));
  } catch (wf::usage_error const& e) {
    c.json().at("activation_function").fail(e.what());
  }
}

struct gpt2 final : wf::model {
  explicit gpt2(wf::config const& c)
      : path_(c["path"].text()),
        config_(wf::hf_config::open(path_, {"gpt2"})),
        shape_(shape::read(config_)),
        gelu_(choose_gelu(c["gelu"].text(), config_)),
        tokenizer_(std::filesystem::path(config_.path()).parent_path().string()),
        weights_(list_weights(shape_)) {
    info_.architecture = "gpt2";
    info_.layers = shape_.layers, info_.heads = shape_.heads, info_.d_model = shape_.d_model, info_.d_head = shape_.d_head;
    info_.d_mlp = shape_.d_mlp, info_.vocabulary = shape_.vocabulary, info_.longest = shape_.positions;
    info_.norm = wf::norm_kind::layer, info_.norm_epsilon = shape_.epsilon;
    info_.attention_scale = shape_.attention_scale(0);
    info_.activation = c["gelu"].text() == "tanh"  ? "gelu_new"
                       : c["gelu"].text() == "erf" ? "gelu"
                                                   : config_.text("activation_function", "gelu_new");
    info_.hooks = list_hooks(shape_);
    info_.weights = weights_.names();
  }

  wf::model_info const& info() const override { return info_; }
  wf::tokenizer const* text_tokenizer() const override { return tokenizer_.get(); }

  void load() override {
    weights_.load(path_, {"transformer.", ""});
    if (!weights_.missing().empty()) return;  // for weight probes alone
    token_table_ = weights_.stored("wte.weight"), position_table_ = weights_.stored("wpe.weight");
    for (std::size_t i = 0; i < shape_.layers; ++i) {
      auto const p = "h." + std::to_string(i) + ".";
      auto const qkv = linear(p + "attn.c_attn");
      auto const part = [&](std::size_t j) {
        std::size_t const d = shape_.d_model;
        return wf::linear_weights{qkv.w.slice(1, j * d, (j + 1) * d), qkv.b.slice(0, j * d, (j + 1) * d)};
      };
      blocks_.push_back({norm(p + "ln_1"),
                         {part(0), part(1), part(2), linear(p + "attn.c_proj")},
                         shape_.attention_scale(i),
                         norm(p + "ln_2"),
                         {linear(p + "mlp.c_fc"), linear(p + "mlp.c_proj"), {}, gelu_}});
    }
    ln_final_ = norm("ln_f");
    unembed_ = {weights_.stored(shape_.tied ? "wte.weight" : "lm_head.weight"), weights_.stored("lm_head.bias"), false};
  }

  wf::tensor weight(std::string_view name) const override { return weights_.weight(name); }

  wf::batch encode(wf::item_block const& items, wf::encode_options const& options) const override {
    wf::batch out;
    out.tokens = wf::encode_items(items, options, info_, items.texts.empty() ? nullptr : tokenizer_.get());
    return out;
  }
  std::string token_text(std::int32_t token) const override { return wf::text_of_token(tokenizer_.get(), token); }

  wf::activations run(wf::batch const& batch, wf::run_request const& request) const override {
    wf::taps at(info_, request);
    forward(batch, request, at, nullptr);
    return at.take();
  }

  std::unique_ptr<wf::continued_run> begin(wf::batch const& batch, wf::run_request const& request,
                                           wf::activations* captured) const override;

  wf::tensor final_norm(wf::tensor const& x) const override {
    weights_.require_all();
    return wf::on_rows(x, shape_.d_model, "d_model", [&](wf::rows const& r) { return wf::layer_norm(r, ln_final_, {}); });
  }
  wf::tensor unembed(wf::tensor const& x) const override {
    weights_.require_all();
    return wf::on_rows(x, shape_.d_model, "token", [&](wf::rows const& r) { return wf::linear(r, unembed_); });
  }

  void forward(wf::batch const& batch, wf::run_request const& request, wf::taps& at, std::vector<wf::key_values>* past) const;
  std::vector<wf::key_values> nothing_read(std::size_t items, wf::dtype precision) const {
    return std::vector<wf::key_values>(shape_.layers, wf::key_values(items, shape_.d_model, precision));
  }

 private:
  wf::linear_weights linear(std::string const& stored) const {
    return {weights_.stored(stored + ".weight"), weights_.stored(stored + ".bias")};
  }
  wf::norm_weights norm(std::string const& stored) const {
    return {weights_.stored(stored + ".weight"), weights_.stored(stored + ".bias"), shape_.epsilon};
  }
  std::string path_;
  wf::hf_config config_;
  shape shape_;
  wf::activation gelu_;
  wf::late_tokenizer tokenizer_;
  wf::weight_table weights_;
  wf::model_info info_;
  wf::tensor token_table_, position_table_;
  std::vector<block> blocks_;
  wf::norm_weights ln_final_;
  wf::linear_weights unembed_;
};

// x: [token, d_model], the residual stream of the whole batch, items packed end to end.
void gpt2::forward(wf::batch const& batch, wf::run_request const& request, wf::taps& at,
                   std::vector<wf::key_values>* past) const {
  weights_.require_all();
  wf::check_precision(request.precision);
  auto const of = wf::row_packing::of(batch.tokens, batch.first_position);
  auto x = at("hook_embed", batch.embeddings.defined()
                                ? wf::rows_from(batch.embeddings, of, shape_.d_model, request.precision, "embeddings")
                                : wf::embed(batch.tokens, of, token_table_, request.precision));
  x += at("hook_pos_embed", wf::embed_positions(of, position_table_, request.precision));
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (at.done() && !past) return;
    auto const& b = blocks_[i];
    auto const here = at.block("blocks", i);
    x = here("hook_resid_pre", std::move(x));
    auto const normed = wf::layer_norm(x, b.ln1, here.in("ln1"));
    x += here("hook_attn_out", wf::attention(normed, normed, b.attn, {shape_.heads, b.scale, true}, here.in("attn"),
                                             past ? &(*past)[i] : nullptr));
    x = here("hook_resid_mid", std::move(x));
    if (at.done() && (!past || i + 1 == blocks_.size())) return;
    x += here("hook_mlp_out", wf::mlp(wf::layer_norm(x, b.ln2, here.in("ln2")), b.mlp, here.in("mlp")));
    x = here("hook_resid_post", std::move(x));
  }
  if (at.done()) return;
  x = wf::layer_norm(x, ln_final_, at.in("ln_final"));
  if (at.wants("logits")) at("logits", wf::linear(request.last_logits_only ? x.last() : x, unembed_));
}

/// A run whose keys and values stay.
struct going_on final : wf::continued_run {
  going_on(gpt2 const& of, std::vector<wf::key_values> read, std::vector<std::size_t> started)
      : model_(of), read_(std::move(read)), first_(std::move(started)) {}

  std::size_t items() const noexcept override { return first_.size(); }
  std::size_t length(std::size_t item) const noexcept override { return read_.front().length(item); }

  wf::activations extend(wf::batch const& more, wf::run_request const& request) override {
    if (!more.first_position.empty()) throw wf::plugin_error("a run goes on where it stands; it takes no first positions");
    if (more.items() != items())
      throw wf::plugin_error("a run of " + std::to_string(items()) + " items can't go on with " + std::to_string(more.items()));
    wf::batch next = more;
    for (std::size_t i = 0; i < items(); ++i) next.first_position.push_back(first_[i] + length(i));
    wf::taps at(model_.info(), request);
    std::vector<std::size_t> before;
    for (std::size_t i = 0; i < items(); ++i) before.push_back(length(i));
    try {
      model_.forward(next, request, at, &read_);
      return at.take();
    } catch (...) {  // as if nothing had been read
      for (auto& layer : read_)
        for (std::size_t i = 0; i < items(); ++i) layer.shorten(i, before[i]);
      throw;
    }
  }

  std::unique_ptr<wf::continued_run> branch(std::span<std::size_t const> of) const override {
    std::vector<wf::key_values> read;
    for (auto const& layer : read_) read.push_back(layer.branch(of));
    std::vector<std::size_t> first;
    for (auto const i : of) first.push_back(first_.at(i));
    return std::make_unique<going_on>(model_, std::move(read), std::move(first));
  }

 private:
  gpt2 const& model_;
  std::vector<wf::key_values> read_;  // a layer each
  std::vector<std::size_t> first_;    // position of each item's first token
};

std::unique_ptr<wf::continued_run> gpt2::begin(wf::batch const& batch, wf::run_request const& request,
                                               wf::activations* captured) const {
  auto first = batch.first_position;
  first.resize(batch.items());
  auto read = nothing_read(batch.items(), request.precision);
  wf::taps at(info_, request);
  forward(batch, request, at, &read);
  auto out = at.take();
  if (captured) *captured = std::move(out);
  return std::make_unique<going_on>(*this, std::move(read), std::move(first));
}

}  // namespace

WAYFARER_MODEL(gpt2, "1.0.0", "GPT-2 from a Hugging Face checkpoint folder",
               wf::param::file("path", "", "folder with config.json, model.safetensors and the tokenizer's files").required(),
               wf::param("gelu", "auto", "auto: what config.json's activation_function says; or its tanh or erf form")
                   .one_of("auto|tanh|erf"));
