// BERT and RoBERTa encoders with their masked-language head, from a Hugging Face checkpoint folder.
// Devlin et al. 2019, Liu et al. 2019.
//
//     model: {model: bert, path: folder}
#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <string>
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
  std::size_t layers = 0, heads = 0, d_model = 0, d_head = 0, d_mlp = 0, vocabulary = 0, positions = 0, types = 0;
  /// RoBERTa numbers its positions from the padding token's number on, and by the tokens that are no padding.
  std::size_t first_position = 0;
  std::int32_t pad = -1;  ///< the padding token, if positions do not count it
  double epsilon = 0;
  bool roberta = false, tied = true;
  wf::activation act = wf::activation::gelu_erf;
  std::string act_name;

  static shape read(wf::hf_config const& c) {
    using limits = wf::model_limits;
    shape s;
    s.roberta = c.model_type() != "bert";
    s.layers = c.size("num_hidden_layers", limits::layers);
    s.heads = c.size("num_attention_heads", limits::heads);
    s.d_model = c.size("hidden_size", limits::width);
    if (s.d_model % s.heads != 0)
      c.json()
          .at("num_attention_heads")
          .fail(std::to_string(s.heads) + " heads do not divide hidden_size " + std::to_string(s.d_model));
    s.d_head = s.d_model / s.heads;
    s.d_mlp = c.size("intermediate_size", limits::mlp);
    s.vocabulary = c.size("vocab_size", limits::vocabulary);
    s.positions = c.size("max_position_embeddings", limits::positions);
    s.types = c.size("type_vocab_size", limits::vocabulary, 2);
    s.epsilon = c.number("layer_norm_eps", 0, 1, 1e-12);
    s.tied = c.flag("tie_word_embeddings", true);
    if (s.roberta) {
      auto const pad = c.find("pad_token_id");
      s.pad = pad ? static_cast<std::int32_t>(pad->as_integer(0, static_cast<std::int64_t>(s.positions))) : 1;
      s.first_position = static_cast<std::size_t>(s.pad) + 1;
      if (s.first_position >= s.positions)
        c.json()
            .at("max_position_embeddings")
            .fail("expected more than the " + std::to_string(s.first_position) + " unused ones");
    }
    s.act_name = c.text("hidden_act", "gelu");
    try {
      s.act = wf::activation_of(s.act_name);
    } catch (wf::usage_error const& e) {
      c.json().at("hidden_act").fail(e.what());
    }
    if (auto const width = c.find("embedding_size"); width && width->as_integer() != static_cast<std::int64_t>(s.d_model))
      width->fail("is not hidden_size; embeddings of another width can't be read");
    if (std::string const kind = c.text("position_embedding_type", "absolute"); kind != "absolute")
      c.json().at("position_embedding_type").fail("expected \"absolute\", got " + wf::in_quotes(kind));
    if (c.flag("is_decoder", false)) c.json().at("is_decoder").fail("only encoders can be read");
    return s;
  }
};

std::string head_prefix(shape const& s) {
  return s.roberta ? "lm_head." : "cls.predictions.";
}

/// Where every weight of the common names lies. torch's Linear matrices are [out, in].
wf::weight_table list_weights(shape const& s) {
  wf::weight_table w;
  wf::dim const wide{"d_model", s.d_model}, hidden{"d_mlp", s.d_mlp}, token{"token", s.vocabulary};
  auto const transposed = [](wf::tensor const& t) { return t.transposed(); };
  auto const affine = [&](std::string const& stored, wf::dim const& in, wf::dim const& out) {
    w.store(stored + ".weight", {out, in});
    w.store(stored + ".bias", {out});
  };
  auto const norm = [&](std::string const& stored, std::string const& common) {
    w.store(stored + ".weight", {wide});
    w.store(stored + ".bias", {wide});
    w.also(stored + ".weight", stored + ".gamma");  // as the first published checkpoints call them
    w.also(stored + ".bias", stored + ".beta");
    w.name(common + ".w", stored + ".weight");
    w.name(common + ".b", stored + ".bias");
  };
  auto const table = [&](std::string const& common, std::string const& stored, wf::dim const& rows) {
    w.store("embeddings." + stored + ".weight", {rows, wide});
    w.name(common, "embeddings." + stored + ".weight");
  };
  table("embed.W_E", "word_embeddings", token);
  table("pos_embed.W_pos", "position_embeddings", {"pos", s.positions});
  table("token_type_embed.W_T", "token_type_embeddings", {"type", s.types});
  norm("embeddings.LayerNorm", "embed_ln");
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const p = "encoder.layer." + std::to_string(i) + ".", b = "blocks." + std::to_string(i) + ".";
    for (auto const& [stored, letter] : {std::pair{"query", "Q"}, std::pair{"key", "K"}, std::pair{"value", "V"}}) {
      std::string const at = p + "attention.self." + stored;
      affine(at, wide, {"head_d_head", s.d_model});
      auto const split = [h = s.heads, e = s.d_head](wf::tensor const& t) { return wf::split_heads(t, 0, h, e, false); };
      w.name(b + "attn.W_" + letter, at + ".weight", split);
      w.name(b + "attn.b_" + letter, at + ".bias", split);
    }
    affine(p + "attention.output.dense", {"head_d_head", s.d_model}, wide);
    w.name(b + "attn.W_O", p + "attention.output.dense.weight",
           [h = s.heads](wf::tensor const& t) { return wf::join_heads(t, h, false); });
    w.name(b + "attn.b_O", p + "attention.output.dense.bias");
    norm(p + "attention.output.LayerNorm", b + "ln1");
    affine(p + "intermediate.dense", wide, hidden);
    affine(p + "output.dense", hidden, wide);
    w.name(b + "mlp.W_in", p + "intermediate.dense.weight", transposed);
    w.name(b + "mlp.b_in", p + "intermediate.dense.bias");
    w.name(b + "mlp.W_out", p + "output.dense.weight", transposed);
    w.name(b + "mlp.b_out", p + "output.dense.bias");
    norm(p + "output.LayerNorm", b + "ln2");
  }
  std::string const head = head_prefix(s), dense = head + (s.roberta ? "dense" : "transform.dense");
  affine(dense, wide, {"hidden", s.d_model});
  w.name("mlm_head.W", dense + ".weight", transposed);
  w.name("mlm_head.b", dense + ".bias");
  norm(head + (s.roberta ? "layer_norm" : "transform.LayerNorm"), "mlm_head.ln");
  // The checkpoint's own matrix, where it has one, whatever the configuration says of tying.
  w.store(head + "decoder.weight", {token, wide});
  if (s.tied) w.otherwise(head + "decoder.weight", "embeddings.word_embeddings.weight");
  w.store(head + "bias", {token});
  w.also(head + "bias", head + "decoder.bias");
  w.name("unembed.W_U", head + "decoder.weight", transposed);
  w.name("unembed.b_U", head + "bias");
  return w;
}

/// The hooks in the order in which a forward pass reaches them. Norms stand behind what they normalise (post-norm): the state
/// that enters a block is the former block's ln2.hook_out.
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
  add("hook_token_type_embed", state, "row of the token type embedding");
  norm("embed_ln.", "the sum of the three embeddings");
  for (std::size_t i = 0; i < s.layers; ++i) {
    auto const b = "blocks." + std::to_string(i) + ".";
    add(b + "hook_resid_pre", state, "state before the block: a norm's output");
    add(b + "attn.hook_q", per_head, "queries, bias included");
    add(b + "attn.hook_k", per_head, "keys, bias included");
    add(b + "attn.hook_v", per_head, "values, bias included");
    add(b + "attn.hook_attn_scores", pairs, "scaled q.k", true);
    add(b + "attn.hook_pattern", pairs, "softmax of the scores over keys", true);
    add(b + "attn.hook_z", per_head, "values weighted by the pattern, before W_O");
    add(b + "hook_attn_out", state, "what attention adds, bias included");
    add(b + "hook_resid_mid", state, "hook_resid_pre plus hook_attn_out");
    norm(b + "ln1.", "hook_resid_mid");
    add(b + "mlp.hook_pre", hidden, "before the activation function, bias included");
    add(b + "mlp.hook_post", hidden, "after the activation function");
    add(b + "hook_mlp_out", state, "what the MLP adds, bias included");
    add(b + "hook_resid_post", state, "ln1.hook_out plus hook_mlp_out");
    norm(b + "ln2.", "hook_resid_post");
  }
  add("mlm_head.hook_pre", state, "the head's hidden state before its activation function");
  add("mlm_head.hook_post", state, "the same after it");
  norm("mlm_head.ln.", "mlm_head.hook_post");
  add("logits", {{"token", s.vocabulary}}, "unnormalised log probabilities of the token that stands at the position");
  return hooks;
}

struct block {
  wf::attention_weights attn;
  wf::mlp_weights mlp;
  wf::norm_weights ln1, ln2;
};

struct bert final : wf::model, wf::pretrained {
  explicit bert(wf::config const& c)
      : path_(c["path"].text()),
        config_(wf::hf_config::open(path_, {"bert", "roberta", "xlm-roberta", "camembert"})),
        after_sep_(c["token_types"].text() == "sep"),
        sep_(static_cast<std::int32_t>(c["sep"].integer())),
        shape_(shape::read(config_)),
        generation_(wf::read_generation_tokens(config_, shape_.vocabulary)),
        weights_(list_weights(shape_)),
        tokenizer_(config_.folder()) {
    info_.architecture = "bert", info_.family = wf::model_family::encoder;
    info_.layers = shape_.layers, info_.heads = shape_.heads, info_.d_model = shape_.d_model, info_.d_head = shape_.d_head;
    info_.d_mlp = shape_.d_mlp, info_.vocabulary = shape_.vocabulary, info_.longest = shape_.positions - shape_.first_position;
    info_.norm = wf::norm_kind::layer, info_.norm_epsilon = shape_.epsilon;
    info_.activation = shape_.act_name;
    info_.attention_scale = 1 / std::sqrt(static_cast<double>(shape_.d_head));
    info_.hooks = list_hooks(shape_), info_.weights = weights_.names();
    if (after_sep_ && shape_.types < 2)
      throw wf::usage_error("bert: `token_types: sep` needs two types, but this model has " + std::to_string(shape_.types) +
                            " (type_vocab_size)");
    if (sep_ >= 0 && static_cast<std::size_t>(sep_) >= shape_.vocabulary)
      throw wf::usage_error("bert: `sep` is " + std::to_string(sep_) + ", but this model's tokens end at " +
                            std::to_string(shape_.vocabulary - 1));
    if (!after_sep_ && sep_ >= 0) throw wf::usage_error("bert: `sep` is read only with `token_types: sep`");
  }

  wf::model_info const& info() const override { return info_; }
  wf::tensor weight(std::string_view name) const override { return weights_.weight(name); }
  wf::tokenizer const* text_tokenizer() const override { return tokenizer_.get(); }
  std::string token_text(std::int32_t token) const override { return tokenizer_.text(token); }
  wf::batch encode(wf::item_block const& items, wf::encode_options const& options) const override {
    auto out = wf::encode_items(items, options, info_, items.texts.empty() ? nullptr : tokenizer_.get());
    for (std::size_t i = 0; i < out.token_types.size(); ++i) check_types(out.token_types[i], items.first + i);
    return out;
  }

  wf::generation_tokens const& generation() const override { return generation_; }

  std::vector<std::string> remarks() const override {
    auto all = config_.remarks();
    if (!weights_.looked()) return all;
    auto const files = weights_.remarks();
    all.insert(all.end(), files.begin(), files.end());
    std::string const own = head_prefix(shape_) + "decoder.weight";
    if (shape_.tied && weights_.loaded() && weights_.found(own) && weights_.found("embeddings.word_embeddings.weight") &&
        !weights_.same(own, "embeddings.word_embeddings.weight"))
      all.push_back(path_ + ": the file has a head of its own, " + wf::in_quotes(own) +
                    ", which is used, though config.json ties it to the embedding");
    return all;
  }

  void look(wf::hook_set const& needed) override {
    if (after_sep_) separator();
    weights_.look(path_);
    refuse_the_other_kind();
    auto const& hooks = needed.names();
    bool const whole = std::any_of(hooks.begin(), hooks.end(), in_head);
    if (!hooks.empty())
      weights_.require_found([&](std::string_view name) { return whole || !name.starts_with(head_prefix(shape_)); });
  }

  void load() override {
    weights_.load(path_);
    refuse_the_other_kind();
    auto const gone = weights_.missing();
    std::set<std::string> const missing(gone.begin(), gone.end());
    // What is missing stays undefined: `run` requires what it reaches.
    auto const tensor = [&](std::string const& name) { return missing.contains(name) ? wf::tensor() : weights_.stored(name); };
    auto const linear = [&](std::string const& at) {
      return wf::linear_weights{tensor(at + ".weight"), tensor(at + ".bias"), false};
    };
    auto const norm = [&](std::string const& at) {
      return wf::norm_weights{tensor(at + ".weight"), tensor(at + ".bias"), shape_.epsilon};
    };
    embed_ = tensor("embeddings.word_embeddings.weight"), positions_ = tensor("embeddings.position_embeddings.weight");
    types_ = tensor("embeddings.token_type_embeddings.weight"), embed_ln_ = norm("embeddings.LayerNorm");
    for (std::size_t i = 0; i < shape_.layers; ++i) {
      std::string const p = "encoder.layer." + std::to_string(i) + ".", a = p + "attention.";
      blocks_.push_back({{linear(a + "self.query"), linear(a + "self.key"), linear(a + "self.value"), linear(a + "output.dense")},
                         {linear(p + "intermediate.dense"), linear(p + "output.dense"), {}, shape_.act},
                         norm(a + "output.LayerNorm"),
                         norm(p + "output.LayerNorm")});
    }
    std::string const head = head_prefix(shape_);
    transform_ = linear(head + (shape_.roberta ? "dense" : "transform.dense"));
    head_ln_ = norm(head + (shape_.roberta ? "layer_norm" : "transform.LayerNorm"));
    unembed_ = {shape_.tied && !embed_.defined() && !weights_.found(head + "decoder.weight") ? wf::tensor()
                                                                                             : tensor(head + "decoder.weight"),
                tensor(head + "bias"), false};
  }

  wf::activations run(wf::batch const& batch, wf::run_request const& request) const override {
    wf::check_precision(request.precision);
    auto const& wanted = request.capture.names();
    bool const whole = std::any_of(wanted.begin(), wanted.end(), in_head);
    weights_.require([&](std::string_view name) { return whole || !name.starts_with(head_prefix(shape_)); });
    for (std::size_t i = 0; i < batch.items(); ++i)
      if (batch.tokens[i].size() + (batch.first_position.empty() ? 0 : batch.first_position.at(i)) > info_.longest)
        throw wf::usage_error("bert: item " + std::to_string(i) + " has " + std::to_string(batch.tokens[i].size()) +
                              " tokens, this model reads " + std::to_string(info_.longest) + "; give max_tokens");
    wf::ragged<std::int32_t> const types = types_of(batch);
    wf::taps at(info_, request);
    auto const of = wf::row_packing::of(batch.tokens, batch.first_position);
    wf::rows const tokens = batch.embeddings.defined()
                                ? rows_from(batch.embeddings, of, shape_.d_model, request.precision, "embeddings")
                                : embed(batch.tokens, of, embed_, request.precision);
    forward(tokens, batch, types, request, at);
    return at.take();
  }

  /// The type of every token: the batch's own, else by the rule, else 0.
  wf::ragged<std::int32_t> types_of(wf::batch const& batch) const {
    wf::ragged<std::int32_t> types;
    bool const given = !batch.token_types.empty(), by_rule = !given && after_sep_ && !batch.embeddings.defined();
    if (given && batch.token_types.size() != batch.items())
      throw wf::usage_error("bert: " + std::to_string(batch.items()) + " items, but token types of " +
                            std::to_string(batch.token_types.size()));
    std::int32_t const sep = by_rule ? separator() : -1;
    std::vector<std::int32_t> row;
    for (std::size_t i = 0; i < batch.items(); ++i) {
      auto const tokens = batch.tokens[i];
      row.assign(tokens.size(), 0);
      if (given) {
        if (batch.token_types[i].size() != row.size())
          throw wf::usage_error("bert: item " + std::to_string(i) + " has " + std::to_string(row.size()) + " tokens and " +
                                std::to_string(batch.token_types[i].size()) + " token types");
        std::copy(batch.token_types[i].begin(), batch.token_types[i].end(), row.begin());
        check_types(row, i);
      } else if (by_rule) {
        // The first separator ends the first text and is of its type.
        auto const first = std::find(tokens.begin(), tokens.end(), sep);
        if (first != tokens.end()) std::fill(row.begin() + (first - tokens.begin()) + 1, row.end(), 1);
      }
      types.push_back(row);
    }
    return types;
  }

  void check_types(std::span<std::int32_t const> types, std::size_t item) const {
    for (auto const t : types)
      if (t < 0 || static_cast<std::size_t>(t) >= shape_.types)
        throw wf::data_error("bert: item " + std::to_string(item) + " has the token type " + std::to_string(t) +
                             "; this model has " + std::to_string(shape_.types) + " (type_vocab_size)");
  }

  std::int32_t separator() const {
    if (sep_ >= 0) return sep_;
    auto const* const words = tokenizer_.get();
    if (!words || !words->special().sep)
      throw wf::usage_error(
          "bert: `token_types: sep` needs the id of [SEP], and no tokenizer beside the checkpoint says it; give `sep`");
    return *words->special().sep;
  }

  // The residual stream passes a norm after each addition, so what enters a layer is the former norm's output.
  void forward(wf::rows const& tokens, wf::batch const& batch, wf::ragged<std::int32_t> const& types,
               wf::run_request const& request, wf::taps& at) const {
    auto const& of = tokens.shared_packing();
    wf::rows x = at("hook_embed", tokens);
    x += at("hook_pos_embed", position_rows(of, batch, request.precision));
    x += at("hook_token_type_embed", embed(types, of, types_, request.precision));
    x = layer_norm(x, embed_ln_, at.in("embed_ln"));
    wf::attend_options const to_all{.heads = shape_.heads, .scale = info_.attention_scale, .causal = false, .bias = nullptr};
    for (std::size_t i = 0; i < blocks_.size() && !at.done(); ++i) {
      block const& b = blocks_[i];
      auto const here = at.block("blocks", i);
      x = here("hook_resid_pre", std::move(x));
      x += here("hook_attn_out", attention(x, x, b.attn, to_all, here.in("attn")));
      x = layer_norm(here("hook_resid_mid", std::move(x)), b.ln1, here.in("ln1"));
      x += here("hook_mlp_out", mlp(x, b.mlp, here.in("mlp")));
      x = layer_norm(here("hook_resid_post", std::move(x)), b.ln2, here.in("ln2"));
    }
    if (at.done()) return;
    if (request.last_logits_only && !at.in("mlm_head").any()) x = x.last();
    x = transform(x, at.in("mlm_head"));
    if (at.wants("logits")) at("logits", linear(request.last_logits_only ? x.last() : x, unembed_));
  }

  /// Rows of the position table. RoBERTa's positions pass over padding: a padding token has the padding token's own row. Given
  /// embeddings are no tokens, and count one by one.
  wf::rows position_rows(std::shared_ptr<wf::row_packing const> const& of, wf::batch const& batch, wf::dtype precision) const {
    bool const pads = shape_.pad >= 0 && !batch.embeddings.defined() &&
                      std::find(batch.tokens.values.begin(), batch.tokens.values.end(), shape_.pad) != batch.tokens.values.end();
    if (!pads) return embed_positions(of, positions_, precision, shape_.first_position);
    wf::ragged<std::int32_t> at;
    for (std::size_t i = 0; i < batch.items(); ++i) {
      std::vector<std::int32_t> item;
      auto next = static_cast<std::int32_t>(shape_.first_position + of->first_position[i]);
      for (auto const token : batch.tokens[i]) item.push_back(token == shape_.pad ? shape_.pad : next++);
      at.push_back(item);
    }
    return embed(at, of, positions_, precision);
  }

  wf::rows transform(wf::rows const& x, wf::tap_scope const& here) const {
    auto const hidden = activate(here("hook_pre", linear(x, transform_)), shape_.act);
    return layer_norm(here("hook_post", hidden), head_ln_, here.in("ln"));
  }

  wf::tensor final_norm(wf::tensor const& x) const override {
    weights_.require([&](std::string_view name) { return name.starts_with(head_prefix(shape_)); });
    return wf::on_rows(x, shape_.d_model, "d_model", [&](wf::rows const& r) { return transform(r, {}); });
  }
  wf::tensor unembed(wf::tensor const& x) const override {
    weights_.require(
        [&](std::string_view name) { return name.starts_with(head_prefix(shape_)) || name.ends_with("word_embeddings.weight"); });
    return wf::on_rows(x, shape_.d_model, "token", [&](wf::rows const& r) { return linear(r, unembed_); });
  }

 private:
  static bool in_head(std::string_view hook) { return hook.starts_with("mlm_head.") || hook == "logits"; }

  /// BERT and RoBERTa number positions differently, so that one must not pass for the other.
  void refuse_the_other_kind() const {
    for (auto const& prefix : weights_.prefixes()) {
      std::string const dotted = "." + prefix;
      bool const as_bert = dotted.find(".bert.") != std::string::npos, as_roberta = dotted.find(".roberta.") != std::string::npos;
      if (shape_.roberta ? as_bert : as_roberta)
        throw wf::data_error(config_.path() + ": model_type is " + wf::in_quotes(config_.model_type()) + ", but the tensors in " +
                             path_ + " are named " + wf::in_quotes(prefix + "..."));
    }
  }

  std::string path_;
  wf::hf_config config_;
  bool after_sep_ = false;
  std::int32_t sep_ = -1;
  shape shape_;
  wf::generation_tokens generation_;
  wf::weight_table weights_;
  wf::late_tokenizer tokenizer_;
  wf::model_info info_;
  wf::tensor embed_, positions_, types_;
  wf::norm_weights embed_ln_, head_ln_;
  std::vector<block> blocks_;
  wf::linear_weights transform_, unembed_;
};

}  // namespace

WAYFARER_MODEL(
    bert, "1.0.0", "BERT or RoBERTa with its masked-language head, from a Hugging Face checkpoint folder",
    wf::param::file("path", "", "folder with config.json and model.safetensors, or a name in Hugging Face's cache").required(),
    wf::param("token_types", "source",
              "source: as the items say, pairs of texts 0 and 1, single texts 0; sep: where the items don't say, 0 up to "
              "the first [SEP] and 1 behind it")
        .one_of("source|sep"),
    wf::param("sep", -1, "with `token_types: sep`: the id of [SEP], -1: the tokenizer's").at_least(-1));
