// The one-layer transformer in which topic structure is studied, and its multi-layer relatives, trained from scratch.
// Li, Li and Risteski 2023; regimes R1 to R5 are settings of its switches (spec.hpp).
//
//     learner: {model: topic_transformer, regime: R2, style: paper, train: {source: documents, held_out: dev, updates: 5000}}
//
// This file is what the host sees; spec, documents, plain, fast and trainer are the model.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/run_files.hpp>
#include <wayfarer/safetensors.hpp>
#include <wayfarer/snapshot_state.hpp>

#include "plain.hpp"
#include "trainer.hpp"

namespace wf = wayfarer;
namespace tt = wayfarer::topic_transformer;

namespace {

using tt::place;

// ---- parameters -> spec
// --------------------------------------------------------------------------------------------------------

template <class E>
struct choice {
  char const* name;
  E value;
};

/// Sets `to` unless the text is "regime".
template <class E, std::size_t N>
void choose(std::string const& text, E& to, choice<E> const (&choices)[N]) {
  for (auto const& c : choices)
    if (text == c.name) to = c.value;
}

void choose_flag(std::string const& text, bool& to) {
  if (text != "regime" && text != "style") to = text == "on";
}

tt::spec read_spec(wf::config const& c) {
  auto const style = c["style"].text() == "repo" ? tt::style_kind::repo : tt::style_kind::paper;
  tt::spec s = tt::regime_defaults(c["regime"].text(), style);
  s.topics = c["topics"], s.words_per_topic = c["words_per_topic"];
  choose_flag(c["start_end"].text(), s.start_end);
  choose_flag(c["embedding_norm"].text(), s.embedding_norm);
  choose(c["embedding"].text(), s.embedding,
         {{"one_hot", tt::embedding_kind::one_hot}, {"trained", tt::embedding_kind::trained}});
  choose(c["attention"].text(), s.attention,
         {{"uniform", tt::attention_kind::uniform}, {"trained", tt::attention_kind::trained}});
  choose(c["value"].text(), s.value,
         {{"trained", tt::value_kind::trained},
          {"identity", tt::value_kind::identity},
          {"block", tt::value_kind::block},
          {"closed_form", tt::value_kind::closed_form}});
  choose(c["decoder"].text(), s.decoder,
         {{"identity", tt::decoder_kind::identity}, {"tied", tt::decoder_kind::tied}, {"untied", tt::decoder_kind::untied}});
  choose(c["positions"].text(), s.positions,
         {{"none", tt::position_kind::none}, {"trained", tt::position_kind::trained}, {"cosine", tt::position_kind::cosine}});
  choose(c["masked_keys"].text(), s.masked_keys, {{"excluded", tt::key_kind::excluded}, {"included", tt::key_kind::included}});
  choose(c["loss"].text(), s.loss, {{"cross_entropy", tt::loss_kind::cross_entropy}, {"squared", tt::loss_kind::squared}});
  choose(c["replacement"].text(), s.replacement,
         {{"all", tt::replacement_kind::all_ids}, {"words", tt::replacement_kind::words}});
  choose(c["init"].text(), s.init,
         {{"scaled", tt::init_kind::scaled}, {"uniform", tt::init_kind::uniform}, {"normal", tt::init_kind::normal}});
  choose(c["train.optimizer"].text(), s.optimizer, {{"adam", tt::optimizer_kind::adam}, {"sgd", tt::optimizer_kind::sgd}});
  choose(c["train.schedule"].text(), s.schedule,
         {{"constant", tt::schedule_kind::constant}, {"linear", tt::schedule_kind::linear}});
  choose_flag(c["bias"].text(), s.bias);
  choose_flag(c["decoder_bias"].text(), s.decoder_bias);
  s.block_value = c["block_value"];
  s.d_model = c["d_model"], s.layers = c["layers"], s.heads = c["heads"], s.d_mlp = c["d_mlp"],
  s.max_positions = c["max_positions"];
  s.residual = c["residual"], s.attention_output = c["attention_output"], s.intermediate = c["intermediate"],
  s.output = c["output"];
  s.head_transform = c["head_transform"], s.layer_norm = c["layer_norm"];
  s.mask_probability = c["p_m"], s.keep_probability = c["p_c"], s.random_probability = c["p_r"];
  if (double const scale = c["init_scale"]; scale >= 0) s.init_scale = scale;
  if (double const sd = c["embedding_init"]; sd >= 0) s.embedding_init_sd = sd;
  // An optimiser chosen by hand does not inherit the step of the regime's own.
  if (double const rate = c["train.learning_rate"]; rate >= 0)
    s.learning_rate = rate;
  else if (c["train.optimizer"].text() == "adam")
    s.learning_rate = 0.01;
  s.beta1 = c["train.beta1"], s.beta2 = c["train.beta2"], s.epsilon = c["train.epsilon"], s.l2 = c["train.l2"];
  s.batch = c["train.batch"];
  if (std::size_t const updates = c["train.updates"]; updates > 0) s.updates = updates;
  if (c["train.updates"].integer() > 0 && c["train.epochs"].integer() > 0)
    throw wf::usage_error("topic_transformer: give train.updates or train.epochs, not both");
  tt::check(s);
  return s;
}

// ---- names
// ---------------------------------------------------------------------------------------------------------------------

char const* name_of(place p) {
  switch (p) {
    case place::embed:
      return "hook_embed";
    case place::pos_embed:
      return "hook_pos_embed";
    case place::resid_pre:
      return "hook_resid_pre";
    case place::q:
      return "attn.hook_q";
    case place::k:
      return "attn.hook_k";
    case place::attn_scores:
      return "attn.hook_attn_scores";
    case place::pattern:
      return "attn.hook_pattern";
    case place::v:
      return "attn.hook_v";
    case place::z:
      return "attn.hook_z";
    case place::attn_out:
      return "hook_attn_out";
    case place::resid_mid:
      return "hook_resid_mid";
    case place::mlp_pre:
      return "mlp.hook_pre";
    case place::mlp_post:
      return "mlp.hook_post";
    case place::mlp_out:
      return "hook_mlp_out";
    case place::resid_post:
      return "hook_resid_post";
    case place::logits:
      return "logits";
  }
  return "";
}

bool in_a_block(place p) {
  return p != place::embed && p != place::pos_embed && p != place::logits;
}

std::string hook_name(place p, std::size_t layer) {
  return (in_a_block(p) ? "blocks." + std::to_string(layer) + "." : std::string()) + name_of(p);
}

struct hook_at {
  place where;
  std::size_t layer;
};

/// The hooks of a model, and where each is computed, in the same order.
std::vector<hook_at> list_hooks(tt::spec const& s, std::vector<wf::hook_info>& hooks) {
  std::vector<hook_at> at;
  wf::dims const row{{"d_model", s.d()}}, heads{{"head", s.heads}, {"d_head", s.d_head()}};
  auto const add = [&](place p, std::size_t layer, wf::dims d, char const* about, bool per_pair = false) {
    hooks.push_back({hook_name(p, layer), std::move(d), per_pair, about});
    at.push_back({p, layer});
  };
  add(place::embed, 0, row, "embedding of the token, before positions and LayerNorm");
  if (s.positions != tt::position_kind::none) add(place::pos_embed, 0, row, "embedding of the position");
  for (std::size_t l = 0; l < s.layers; ++l) {
    add(place::resid_pre, l, row, "input of the layer; of the first: after the embedding's LayerNorm, if there is one");
    add(place::q, l, heads, "queries");
    add(place::k, l, heads, "keys");
    add(place::attn_scores, l, {}, "scaled scores before the softmax", true);
    add(place::pattern, l, {}, "attention weights", true);
    add(place::v, l, heads, "values");
    add(place::z, l, heads, "attention-weighted sums of the values");
    add(place::attn_out, l, row, "what attention gives, before the residual sum");
    if (s.intermediate || s.output)
      add(place::resid_mid, l, row, "after attention's residual sum and LayerNorm, where the model has them");
    if (s.intermediate) {
      add(place::mlp_pre, l, {{"d_mlp", s.mlp()}}, "intermediate layer before gelu");
      add(place::mlp_post, l, {{"d_mlp", s.mlp()}}, "intermediate layer after gelu");
    }
    if (s.output) add(place::mlp_out, l, row, "output layer, before the residual sum");
    add(place::resid_post, l, row, "output of the layer");
  }
  add(place::logits, s.layers - 1, {{"token", s.vocabulary()}}, "scores of the tokens at this position");
  return at;
}

std::vector<std::string> list_weights(tt::spec const& s, tt::layout const& l) {
  std::vector<std::string> names{"embed.W_E", "unembed.W_U"};
  for (std::size_t i = 0; i < s.layers; ++i)
    for (char const* const part : {"W_Q", "W_K", "W_V"}) names.push_back("blocks." + std::to_string(i) + ".attn." + part);
  for (auto const& p : l.parameters)
    if (std::find(names.begin(), names.end(), p.name) == names.end()) names.push_back(p.name);
  return names;
}

std::string four_digits(double loss) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", loss);
  return text;
}

}  // namespace

struct topic_transformer final : wf::trainable_model, wf::plan_checker, wf::snapshot_state {
  explicit topic_transformer(wf::config const& c)
      : spec_(read_spec(c)),
        layout_(spec_),
        seed_(c.seed()),
        path_(c["path"].text()),
        save_(c["train.save"].text()),
        overwrite_(c["train.overwrite"]),
        keep_end_(c["keep_end"]),
        keep_best_(c["train.keep_best"]),
        patience_(c["train.patience"]),
        epochs_(c["train.epochs"]),
        cache_bytes_(static_cast<std::size_t>(c["train.cache_mib"].integer()) << 20) {
    if (!save_.empty()) place_to_save();
    plan_.seed = seed_;
    choose(c["train.method"].text(), plan_.method, {{"fast", tt::method_kind::fast}, {"plain", tt::method_kind::plain}});
    plan_.log_every = c["train.log_every"], plan_.held_out_every = c["train.held_out_every"];
    auto const& snapshots = c["train.snapshots"].integers();
    std::vector<wf::parameter_problem> wrong;
    for (std::size_t i = 0; i < snapshots.size(); ++i) {
      if (snapshots[i] < 0)
        wrong.push_back({"train.snapshots", i, "topic_transformer: train.snapshots are numbers of updates done, 0 or more"});
      plan_.snapshots.push_back(static_cast<std::size_t>(snapshots[i]));
    }
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
    std::sort(plan_.snapshots.begin(), plan_.snapshots.end());
    if (epochs_ == 0) check_snapshots(spec_.updates, "train.updates");
    describe();
  }

  void check_snapshots(std::size_t updates, std::string const& by) const {
    if (!plan_.snapshots.empty() && plan_.snapshots.back() > updates)
      throw wf::usage_error("topic_transformer: train.snapshots names update " + std::to_string(plan_.snapshots.back()) +
                            ", but the last one is " + std::to_string(updates) + ", by " + by);
  }
  /// The updates of epochs show with the documents.
  void check_plan(wf::probe_context const& at) const override {
    std::size_t const documents = at.items().size();
    if (epochs_ != 0) check_snapshots(epochs_ * ((documents + spec_.batch - 1) / spec_.batch), "train.epochs");
  }

  wf::model_info const& info() const override { return info_; }

  void load() override { weights_ = start(); }

  wf::batch encode(wf::item_block const& items, wf::encode_options const& options) const override {
    wf::batch out;
    std::vector<std::uint16_t> ids;
    std::vector<std::int32_t> tokens;
    if (items.count != 0 && items.words.empty() && items.tokens.empty())
      throw wf::usage_error(
          "topic_transformer reads words or tokens, and this source gives neither; use a source of word numbers such as lda");
    for (std::size_t i = 0; i < items.count; ++i) {
      if (!items.tokens.empty()) {
        tokens.assign(items.tokens[i].begin(), items.tokens[i].end());
      } else {
        tt::encode_words(spec_, items.words[i], ids);
        if (spec_.start_end && !keep_end_) ids.pop_back();
        tokens.assign(ids.begin(), ids.end());
      }
      std::size_t most = options.max_tokens;
      if (info_.longest && (most == 0 || most > info_.longest)) most = info_.longest;
      if (most && tokens.size() > most) tokens.resize(most);
      out.tokens.push_back(tokens);
    }
    return out;
  }

  std::string token_text(std::int32_t token) const override {
    static constexpr char const* specials[] = {"[PAD]", "[MASK]", "[START]", "[END]"};
    if (token < 0 || static_cast<std::size_t>(token) >= spec_.vocabulary()) return "?";
    return token < tt::first_word ? specials[token] : std::to_string(token - tt::first_word);
  }

  wf::activations run(wf::batch const& batch, wf::run_request const& request) const override {
    require_weights();
    if (request.precision == wf::dtype::f64) {
      tt::weights<double> w;
      w.values.assign(weights_->values.begin(), weights_->values.end());
      return run_as(w, batch, request);
    }
    return run_as(*weights_, batch, request);
  }

  wf::tensor weight(std::string_view name) const override {
    require_weights();
    std::size_t const n = spec_.vocabulary(), d = spec_.d();
    int const slot = layout_.find(name);
    if (slot >= 0) return view_of(layout_.parameters[static_cast<std::size_t>(slot)]);
    if (std::find(info_.weights.begin(), info_.weights.end(), name) == info_.weights.end())
      throw wf::usage_error("topic_transformer has no weight '" + std::string(name) + "'" +
                            wf::did_you_mean(name, info_.weights));
    // What the switches leave out is what it stands for.
    if (name == "embed.W_E") return identity({{"token", n}, {"d_model", d}});
    if (name == "unembed.W_U")
      return spec_.decoder == tt::decoder_kind::tied ? weight("embed.W_E").transposed()
                                                     : identity({{"d_model", d}, {"token", n}});
    wf::dims const square{{"d_in", d}, {"d_out", d}};
    return name.ends_with("W_V") ? identity(square) : wf::tensor(wf::dtype::f32, square);
  }

  void train(wf::training const& t) const override;

  std::vector<std::pair<std::string, wf::tensor>> tensors_of(wf::model const& snapshot) const override {
    auto const& w = dynamic_cast<topic_transformer const&>(snapshot).weights_;
    return {{"weights", wf::tensor::look(wf::dtype::f32, w->values.data(), {{"weight", w->values.size()}}, w)}};
  }
  std::shared_ptr<wf::model const> snapshot_of(std::vector<std::pair<std::string, wf::tensor>> const& tensors) const override {
    if (tensors.size() != 1 || tensors[0].second.type() != wf::dtype::f32 || tensors[0].second.count() != layout_.count)
      throw wf::data_error("topic_transformer: the kept state is none of this model");
    auto const values = tensors[0].second.values<float const>();
    return std::shared_ptr<topic_transformer const>(new topic_transformer(*this, {{values.begin(), values.end()}}));
  }

 private:
  topic_transformer(topic_transformer const& from, tt::weights<float> w)
      : spec_(from.spec_),
        layout_(from.layout_),
        seed_(from.seed_),
        keep_end_(from.keep_end_),
        info_(from.info_),
        hooks_(from.hooks_),
        weights_(std::make_shared<tt::weights<float> const>(std::move(w))) {}

  void describe() {
    info_.architecture = "topic_transformer", info_.family = wf::model_family::encoder;
    info_.layers = spec_.layers, info_.heads = spec_.heads, info_.d_model = spec_.d(), info_.d_head = spec_.d_head();
    info_.vocabulary = spec_.vocabulary();
    info_.facts["first_word"] = wf::param_value(static_cast<std::int64_t>(tt::first_word));
    info_.longest = spec_.positions == tt::position_kind::none ? 0 : spec_.max_positions;
    hooks_ = list_hooks(spec_, info_.hooks);
    info_.weights = list_weights(spec_, layout_);
  }

  void require_weights() const {
    if (!weights_) throw wf::plugin_error("topic_transformer was used before it was loaded");
  }

  /// The checkpoint's weights where one is named, else the seed's.
  std::shared_ptr<tt::weights<float> const> start() const {
    auto w = std::make_shared<tt::weights<float>>(tt::initial_weights<float>(spec_, layout_, seed_));
    if (path_.empty()) return w;
    auto const file = wf::open_checkpoint(path_);
    for (auto const& p : layout_.parameters) {
      auto t = file.tensor(p.name);
      std::vector<std::size_t> const want = p.rows == 1 ? std::vector{p.cols}
                                            : p.linear  ? std::vector{p.cols, p.rows}
                                                        : std::vector{p.rows, p.cols};
      std::vector<std::size_t> got;
      for (auto const& one : t.shape()) got.push_back(one.size);
      if (got != want)
        throw wf::data_error(
            path_ + ": '" + p.name + "' is " + wf::describe(t.shape()) +
            ", which does not fit this model; set regime, style, topics and d_model as they were when it was trained");
      if (p.linear) t = t.transposed();
      auto const own = t.to(wf::dtype::f32).clone();
      auto const values = own.values<float const>();
      std::copy(values.begin(), values.end(), w->at(p));
    }
    return w;
  }

  /// y = x W: maps are turned.
  wf::tensor view_of(tt::parameter const& p) const {
    float const* const from = weights_->at(p);
    if (p.rows == 1) return wf::tensor::look(wf::dtype::f32, from, {{"d", p.cols}}, weights_);
    auto const stride = static_cast<std::ptrdiff_t>(p.cols);
    std::string const rows = p.name == "unembed.W_U" || p.name == "embed.W_E" ? "token" : p.linear ? "d_out" : "pos";
    if (!p.linear) return wf::tensor::look(wf::dtype::f32, from, {{rows, p.rows}, {"d_model", p.cols}}, weights_);
    return wf::tensor::look(wf::dtype::f32, from, {{rows == "token" ? "d_model" : "d_in", p.cols}, {rows, p.rows}}, weights_,
                            {1, stride});
  }

  static wf::tensor identity(wf::dims d) {
    wf::tensor t(wf::dtype::f32, std::move(d));
    auto const at = t.view<float>();
    for (std::size_t i = 0; i < std::min(at.size(0), at.size(1)); ++i) at(i, i) = 1;
    return t;
  }

  /// Where train.save leads, if a file may be written there.
  std::string place_to_save() const {
    wf::output_rule rule;
    rule.option = "train.save", rule.wanted = "what an earlier train.save wrote", rule.force = "train.overwrite: true";
    rule.forced = overwrite_;
    rule.is_own = [](std::string const& path) {
      try {
        auto const file = wf::safetensors_file::open(path);
        auto const found = file.metadata().find("architecture");
        return found != file.metadata().end() && found->second == "topic_transformer";
      } catch (wf::error const&) {
        return false;
      }
    };
    return wf::check_output(save_, rule).path;
  }

  void save_to(std::string const& path, tt::weights<float> const& w) const {
    topic_transformer const state(*this, w);
    std::vector<std::pair<std::string, wf::tensor>> tensors;
    for (auto const& p : layout_.parameters) tensors.emplace_back(p.name, state.weight(p.name).clone());
    wf::write_safetensors(path, tensors, {{"architecture", "topic_transformer"}, {"format", "y = x W"}});
  }

  template <class T>
  wf::activations run_as(tt::weights<T> const& w, wf::batch const& batch, wf::run_request const& request) const;
  tt::read_words reader(wf::source const& from) const;

  tt::spec spec_;
  tt::layout layout_;
  std::uint64_t seed_ = 0;
  std::string path_, save_;
  bool overwrite_ = false;
  bool keep_end_ = false, keep_best_ = false;
  std::size_t patience_ = 0, epochs_ = 0, cache_bytes_ = 0;
  tt::schedule plan_;
  wf::model_info info_;
  std::vector<hook_at> hooks_;
  std::shared_ptr<tt::weights<float> const> weights_;
};

template <class T>
wf::activations topic_transformer::run_as(tt::weights<T> const& w, wf::batch const& batch, wf::run_request const& request) const {
  std::size_t const n_items = batch.items(), d = spec_.d();
  // Per hook: whether its values are kept, and the edits on it.
  struct use {
    bool keep = false;
    std::vector<wf::hook_edit const*> edits;
    std::vector<wf::tensor> kept;
  };
  std::vector<use> uses(hooks_.size());
  auto const index_of = [&](std::string_view name) {
    for (std::size_t i = 0; i < info_.hooks.size(); ++i)
      if (info_.hooks[i].name == name) return i;
    throw wf::plugin_error("topic_transformer has no hook '" + std::string(name) + "'");
  };
  typename tt::plain_pass<T>::reach until{0, place::embed};
  for (auto const& name : request.capture.names()) {
    std::size_t const i = index_of(name);
    uses[i].keep = true;
    until = std::max(until, {hooks_[i].layer, hooks_[i].where});
  }
  for (auto const& e : request.edits) uses[index_of(e.hook)].edits.push_back(&e);

  std::size_t item = 0;
  auto const at = [&](place where, std::size_t layer, tt::matrix<T>& x) {
    std::size_t i = 0;
    while (i < hooks_.size() && (hooks_[i].where != where || (in_a_block(where) && hooks_[i].layer != layer))) ++i;
    if (i == hooks_.size()) return;
    use& u = uses[i];
    if (!u.keep && u.edits.empty()) return;
    auto const cols = static_cast<std::size_t>(x.cols()), rows = static_cast<std::size_t>(x.rows());
    wf::dims shape;
    if (info_.hooks[i].per_pair)
      shape = {{"head", spec_.heads}, {"query", rows / spec_.heads}, {"key", cols}};
    else {
      shape = {{"pos", rows}};
      shape.insert(shape.end(), info_.hooks[i].row.begin(), info_.hooks[i].row.end());
    }
    wf::tensor t(wf::dtype_of<T>(), std::move(shape));
    std::memcpy(t.values<T>().data(), x.data(), rows * cols * sizeof(T));
    for (auto const* const e : u.edits) e->change({item, 0}, t);
    if (!u.edits.empty()) std::memcpy(x.data(), t.values<T>().data(), rows * cols * sizeof(T));
    bool const last_only = where == place::logits && request.last_logits_only;
    if (u.keep) u.kept.push_back(last_only && rows ? t.slice(0, rows - 1, rows).clone() : t);
  };

  tt::plain_pass<T> pass(spec_, layout_, w);
  std::vector<std::uint16_t> ids;
  std::vector<std::uint8_t> visible;
  tt::matrix<T> rows;
  wf::tensor const embeddings = batch.embeddings.defined() ? batch.embeddings.to(wf::dtype_of<T>()) : wf::tensor();
  if (embeddings.defined() &&
      (embeddings.rank() != 2 || embeddings.size(1) != d || embeddings.size(0) < batch.tokens.values.size()))
    throw wf::plugin_error("embeddings to start from must be [token, d_model], not " + wf::describe(embeddings.shape()));
  for (item = 0; item < n_items; ++item) {
    auto const tokens = batch.tokens[item];
    ids.clear();
    for (auto const token : tokens) {
      if (token < 0 || static_cast<std::size_t>(token) >= spec_.vocabulary())
        throw wf::data_error("token " + std::to_string(token) + " of item " + std::to_string(item) +
                             " is outside the vocabulary of " + std::to_string(spec_.vocabulary()));
      ids.push_back(static_cast<std::uint16_t>(token));
    }
    visible.assign(ids.size(), 1);
    if (embeddings.defined()) {
      rows.resize(static_cast<Eigen::Index>(ids.size()), static_cast<Eigen::Index>(d));
      auto const first = batch.tokens.offsets[item] - batch.tokens.offsets.front();
      std::memcpy(rows.data(), embeddings.values<T const>().data() + first * d, ids.size() * d * sizeof(T));
    }
    pass.forward(ids, visible, at, until, embeddings.defined() ? &rows : nullptr);
  }
  wf::activations out;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    if (!uses[i].keep) continue;
    if (uses[i].kept.size() != n_items)
      throw wf::plugin_error("hook '" + info_.hooks[i].name + "' was asked for and not reached");
    out.put(info_.hooks[i].name, std::move(uses[i].kept));
  }
  return out;
}

tt::read_words topic_transformer::reader(wf::source const& from) const {
  auto const& info = from.info();
  if (!info.has_words)
    throw wf::usage_error(
        "topic_transformer learns from word numbers, and this source has none; use a source such as lda or documents");
  if (info.vocabulary > spec_.words())
    throw wf::usage_error("the source has " + std::to_string(info.vocabulary) + " words and topic_transformer " +
                          std::to_string(spec_.words()) + " (topics * words_per_topic); set them to fit");
  return [&from](std::size_t first, std::span<std::vector<std::int32_t>> out) {
    auto const block = from.read({first, first + out.size()});
    if (block.words.size() != out.size()) throw wf::plugin_error("a source that has words gave none");
    for (std::size_t i = 0; i < out.size(); ++i) out[i].assign(block.words[i].begin(), block.words[i].end());
  };
}

void topic_transformer::train(wf::training const& t) const {
  tt::spec s = spec_;
  tt::document_set const data(s, reader(t.data), t.data.info().items, seed_, cache_bytes_);
  std::unique_ptr<tt::document_set> held_out;
  if (t.held_out)
    held_out = std::make_unique<tt::document_set>(s, reader(*t.held_out), t.held_out->info().items, seed_, cache_bytes_);
  std::size_t const batches = (data.size() + s.batch - 1) / s.batch;
  if (epochs_ > 0) s.updates = epochs_ * batches;
  if ((keep_best_ || patience_ > 0) && !held_out)
    throw wf::usage_error("topic_transformer: train.keep_best and train.patience need held-out documents; wire train.held_out");
  if (has_fast_path(s) && plan_.method != tt::method_kind::plain && !data.cached())
    t.report.warn("the documents' counts do not fit into train.cache_mib and are made anew for every batch");

  auto w = *start();
  std::vector<std::int64_t> logged, held_out_at;
  std::vector<double> losses, norms, held_out_losses;
  double best = std::numeric_limits<double>::infinity();
  std::size_t best_at = 0;
  tt::weights<float> best_weights;
  std::vector<wf::snapshot> waiting;  // with keep_best nothing may follow the best, which is known only at the end

  tt::observer<float> tell;
  tell.log = [&](std::size_t update, double loss, double k, double q, double v) {
    logged.push_back(static_cast<std::int64_t>(update));
    losses.push_back(loss);
    norms.insert(norms.end(), {k, q, v});
    t.report.at(update, s.updates, "loss " + four_digits(loss));
    if (!std::isfinite(loss))
      throw wf::usage_error("topic_transformer: the loss is no longer finite at update " + std::to_string(update) +
                            "; lower train.learning_rate");
  };
  tell.held_out = [&](std::size_t update, double loss, tt::weights<float> const& now) {
    held_out_at.push_back(static_cast<std::int64_t>(update));
    held_out_losses.push_back(loss);
    if (loss < best) {
      best = loss, best_at = update;
      if (keep_best_) best_weights = now;
      return false;
    }
    return patience_ > 0 && (best_at - 1) / batches + patience_ < (update - 1) / batches;
  };
  tell.snapshot = [&](std::size_t update, tt::weights<float> const& now) {
    wf::snapshot one{update, std::shared_ptr<topic_transformer const>(new topic_transformer(*this, now))};
    if (keep_best_)
      waiting.push_back(std::move(one));
    else
      t.keep(std::move(one));
  };
  tt::schedule plan = plan_;
  std::erase_if(plan.snapshots, [&](std::size_t u) { return u >= s.updates; });  // the last comes anyway
  std::size_t last = tt::train<float>(s, layout_, w, plan, data, held_out.get(), tell);
  bool const already = !keep_best_ && std::find(plan.snapshots.begin(), plan.snapshots.end(), last) != plan.snapshots.end();
  if (keep_best_) {
    for (auto& one : waiting)
      if (one.step < best_at) t.keep(std::move(one));
    w = std::move(best_weights), last = best_at;
  }
  if (!already) t.keep({last, std::shared_ptr<topic_transformer const>(new topic_transformer(*this, w))});
  if (!save_.empty()) save_to(place_to_save(), w);

  auto const updates = [&](std::vector<std::int64_t> const& at, char const* name) {
    return wf::tensor::of(at, {{name, at.size()}});
  };
  if (!logged.empty()) {
    t.out.add("loss", wf::tensor::of(losses, {{"update", losses.size()}}))
        .coordinate("update", updates(logged, "update"))
        .about("training loss per masked token, mean over the updates since the last entry")
        .view("curve");
    t.out.add("norms", wf::tensor::of(norms, {{"update", logged.size()}, {"matrix", 3}}))
        .coordinate("update", updates(logged, "update"))
        .labels("matrix", {"K", "Q", "V"})
        .about("Frobenius norms of the first layer's W_K, W_Q, W_V after that many updates")
        .view(R"({"kind": "curve", "x": "update"})");
  }
  if (!held_out_at.empty()) {
    t.out.add("held_out_loss", wf::tensor::of(held_out_losses, {{"held_out_update", held_out_at.size()}}))
        .coordinate("held_out_update", updates(held_out_at, "held_out_update"))
        .about("loss per masked token on held-out documents, mean over batches")
        .view("curve");
    t.out.add("final_held_out_loss", keep_best_ ? best : held_out_losses.back())
        .about("held-out loss of the weights that were kept");
  }
  std::string line = std::to_string(last) + " updates";
  if (!losses.empty()) line += ", loss " + four_digits(losses.back());
  if (!held_out_losses.empty()) line += ", held-out " + four_digits(keep_best_ ? best : held_out_losses.back());
  t.out.summarise(line);
}

WAYFARER_MODEL(
    topic_transformer, "1.0.0", "One-layer transformer for topic structure (and its BERT relatives), trained from scratch",
    wf::port::source("train.source", "documents to learn from, as word numbers; without it the model is loaded or random")
        .optional(),
    wf::port::source("train.held_out", "documents for the held-out loss").optional(),
    wf::param("regime", "R2",
              "what is trained: R1 embedding, R2 values, R3 attention over a frozen block value matrix, R4 attention and "
              "values from a near-zero start, R5 everything; sets the defaults of what says 'regime' below")
        .one_of("R1|R2|R3|R4|R5|custom"),
    wf::param("style", "paper",
              "paper: one-hot rows straight into attention; repo: the released code's LayerNorm over token and token type, "
              "START and END, biases")
        .one_of("paper|repo"),
    wf::param("topics", 10, "topics of the vocabulary").at_least(1).fact("topics"),
    wf::param("words_per_topic", 10, "words of each topic; topic of word w is w / words_per_topic")
        .at_least(1)
        .fact("words_per_topic"),
    wf::param("start_end", "style", "documents are [START] words [END]; repo style: on").one_of("style|on|off"),
    wf::param("embedding_norm", "style", "LayerNorm of the embedding with a trained token type; repo style: on")
        .one_of("style|on|off"),
    wf::param("embedding", "regime", "token embedding W_E").one_of("regime|one_hot|trained"),
    wf::param("attention", "regime", "uniform: W_K = W_Q = 0, frozen").one_of("regime|uniform|trained"),
    wf::param("value", "regime",
              "W_V; block: block_value on the own topic, 0 elsewhere, frozen; closed_form: theorem V's optimum, frozen")
        .one_of("regime|trained|identity|block|closed_form"),
    wf::param("block_value", 1.0, "entry of a frozen block value matrix on a word's own topic"),
    wf::param("decoder", "regime", "W_pred; tied: the embedding's transpose").one_of("regime|identity|tied|untied"),
    wf::param("bias", "style", "biases of queries, keys and values; repo style: on").one_of("style|on|off"),
    wf::param("decoder_bias", "regime", "bias of the decoder; R1 and R5: on").one_of("regime|on|off"),
    wf::param("positions", "none", "position embedding").one_of("none|trained|cosine"),
    wf::param("max_positions", 512, "longest document, where positions are embedded").between(1, 65536).in("token"),
    wf::param("d_model", 0, "width; 0: as many as there are token ids, which one-hot rows and an identity decoder need")
        .between(0, 65536),
    wf::param("layers", 1, "layers").between(1, 64), wf::param("heads", 1, "attention heads a layer").between(1, 1024),
    wf::param("residual", false, "BERT's residual sums"),
    wf::param("attention_output", false, "BERT's linear layer after attention"),
    wf::param("intermediate", false, "BERT's intermediate layer: linear, gelu"),
    wf::param("output", false, "BERT's output layer: linear"),
    wf::param("d_mlp", 0, "width of the intermediate layer; 0: d_model").between(0, 262144),
    wf::param("head_transform", false, "BERT's linear, gelu and LayerNorm before the decoder"),
    wf::param("layer_norm", false, "BERT's LayerNorms after attention and after the output layer"),
    wf::param("masked_keys", "excluded",
              "whether masked positions may be attended to while training; the released code excludes them, the "
              "theory includes them")
        .one_of("excluded|included")
        .fact("masked_keys"),
    wf::param("loss", "cross_entropy",
              "per masked token; squared: summed over the vocabulary (the released code's mean is this / vocabulary, "
              "so its learning rate for sgd is this one's times the vocabulary)")
        .one_of("cross_entropy|squared"),
    wf::param("p_m", 0.15, "probability that a word is masked").between(0, 1).fact("p_m"),
    wf::param("p_c", 0.1, "probability that a masked word shows itself").between(0, 1).fact("p_c"),
    wf::param("p_r", 0.1, "probability that a masked word shows a random one").between(0, 1).fact("p_r"),
    wf::param("replacement", "style", "random ones are drawn from all token ids (repo style) or from the words (paper style)")
        .one_of("style|all|words"),
    wf::param("init", "regime",
              "start of W_K, W_Q, W_V; scaled: U(+-1/sqrt(d_model)), biases too; uniform: U[0, init_scale); normal: N(0, "
              "init_scale^2); R3 and R4: uniform")
        .one_of("regime|scaled|uniform|normal"),
    wf::param("init_scale", -1.0, "scale of a uniform or normal start; -1: the regime's (R3 0.01, else 0.1)"),
    wf::param("embedding_init", -1.0,
              "standard deviation at the start of a trained embedding, and of an untied decoder in paper style; -1: "
              "the regime's (R1 0.01, R5 0.1, repo style 1)"),
    wf::param("keep_end", false, "keep [END] when the model is run rather than trained; the released code cuts it"),
    wf::param::file("path", "", "weights to start from: a safetensors file that train.save wrote"),
    wf::param("train.updates", 0,
              "optimiser steps; 0: as train.epochs says, else the regime's (R3 1000, R4 in paper style 8000, else 5000)")
        .at_least(0),
    wf::param("train.epochs", 0, "passes over the documents instead of train.updates").at_least(0),
    wf::param("train.batch", 40, "documents a step").between(1, 1 << 20).in("document"),
    wf::param("train.optimizer", "regime", "R4 in paper style: sgd, else adam").one_of("regime|adam|sgd"),
    wf::param("train.learning_rate", -1.0, "-1: the regime's (adam 0.01; sgd in R4 30)"),
    wf::param("train.schedule", "constant", "linear: falls to 0 at the last update").one_of("constant|linear"),
    wf::param("train.beta1", 0.9, "Adam's first moment").between(0, 0.999999),
    wf::param("train.beta2", 0.999, "Adam's second moment").between(0, 0.999999999),
    wf::param("train.epsilon", 1e-8, "Adam's epsilon").at_least(0),
    wf::param("train.l2", 0.0, "lambda: adds lambda * ||theta||^2 over all trained weights to the loss").at_least(0),
    wf::param("train.snapshots", wf::integers(""),
              "numbers of updates after which to keep a snapshot; 0 is the start; the last is always kept"),
    wf::param("train.log_every", 50, "loss and norms after updates 1, 1 + log_every, ... and the last; 0: never")
        .at_least(0)
        .in("update"),
    wf::param("train.held_out_every", 1000, "held-out loss after updates 1, 1 + this, ... and the last; 0: never")
        .at_least(0)
        .in("update"),
    wf::param("train.keep_best", false, "the trained model is the one with the least held-out loss"),
    wf::param("train.patience", 0, "stop if the held-out loss has no new minimum for more than this many epochs; 0: never")
        .at_least(0)
        .in("epoch"),
    wf::param("train.method", "auto", "fast: tables over the vocabulary (one layer, one head); plain: document by document")
        .one_of("auto|fast|plain"),
    wf::param("train.cache_mib", 256, "memory for the documents' counts; if they need more, they are made anew for every batch")
        .at_least(0)
        .in("MiB"),
    wf::param("train.save", "", "safetensors file to write the trained weights to"),
    wf::param("train.overwrite", false, "let train.save replace a file that it did not write"));
