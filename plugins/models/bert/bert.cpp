// BERT and its kin with their masked-language heads, from a Hugging Face checkpoint folder: BERT (Devlin et al. 2019), RoBERTa
// (Liu et al. 2019), ALBERT (Lan et al. 2020), DistilBERT (Sanh et al. 2019), ELECTRA (Clark et al. 2020). `families.cpp` has the
// table.
//
//     model: {model: bert, path: folder}
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/packing.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/vocabulary.hpp>
#include <wayfarer/weights.hpp>

#include "families.hpp"
#include "layout.hpp"
#include "models/common/stored_parts.hpp"
#include "models/common/tied_head.hpp"

namespace wf = wayfarer;

namespace {

using wf::encoder::encoder_spec;

struct block {
  wf::attention_weights attn;
  wf::mlp_weights mlp;
  wf::norm_weights ln1, ln2;
};

struct bert final : wf::model, wf::pretrained, wf::unembeds_tokens {
  explicit bert(wf::config const& c)
      : path_(c["path"].text()),
        config_(wf::hf_config::open(path_, wf::encoder::model_types())),
        after_sep_(c["token_types"].text() == "sep"),
        sep_(static_cast<std::int32_t>(c["sep"].integer())),
        spec_(wf::encoder::describe(config_)),
        generation_(wf::read_generation_tokens(config_, spec_.vocabulary)),
        weights_(wf::encoder::list_weights(spec_)),
        tokenizer_(config_.folder()) {
    info_.architecture = spec_.architecture, info_.family = wf::model_family::encoder;
    info_.layers = spec_.layers, info_.heads = spec_.heads, info_.d_model = spec_.d_model, info_.d_head = spec_.d_head;
    info_.d_mlp = spec_.d_mlp, info_.vocabulary = spec_.vocabulary, info_.longest = spec_.positions - spec_.first_position;
    info_.norm = wf::norm_kind::layer, info_.norm_epsilon = spec_.epsilon;
    info_.activation = spec_.act_name;
    info_.attention_scale = 1 / std::sqrt(static_cast<double>(spec_.d_head));
    info_.hooks = wf::encoder::list_hooks(spec_), info_.weights = weights_.names();
    if (spec_.groups) info_.facts["weights_of_block"] = wf::param_value(weights_of_blocks());
    if (after_sep_ && spec_.types < 2)
      throw wf::usage_error(info_.architecture + ": `token_types: sep` needs two types, but this model has " +
                            std::to_string(spec_.types) + " (type_vocab_size)");
    if (sep_ >= 0 && static_cast<std::size_t>(sep_) >= spec_.vocabulary)
      throw wf::usage_error(info_.architecture + ": `sep` is " + std::to_string(sep_) + ", but this model's tokens end at " +
                            std::to_string(spec_.vocabulary - 1));
    if (!after_sep_ && sep_ >= 0) throw wf::usage_error(info_.architecture + ": `sep` is read only with `token_types: sep`");
  }

  wf::model_info const& info() const override { return info_; }
  wf::tensor weight(std::string_view name) const override { return weights_.weight(name); }
  wf::tokenizer const* text_tokenizer() const override { return tokenizer_.get(); }
  std::string token_text(std::int32_t token) const override { return tokenizer_.text(token); }
  wf::batch encode(wf::item_block const& items, wf::encode_options const& options) const override {
    if (!spec_.types) wf::refuse_token_types(items, info_);
    auto out = wf::encode_items(items, options, info_, items.texts.empty() ? nullptr : tokenizer_.get());
    if (!spec_.types) out.token_types = {};  // what the tokenizer says of pairs, for models that read it
    for (std::size_t i = 0; i < out.token_types.size(); ++i) check_types(out.token_types[i], items.first + i);
    return out;
  }

  wf::generation_tokens const& generation() const override { return generation_; }

  std::vector<std::string> remarks() const override {
    auto all = config_.remarks();
    if (!weights_.looked()) return all;
    auto const files = weights_.remarks();
    all.insert(all.end(), files.begin(), files.end());
    std::string const head = spec_.stored("unembed") + ".weight";
    if (auto const own = wf::own_head(weights_, head, "embeddings.word_embeddings.weight", config_, spec_.tied))
      all.push_back(path_ + ": " + *own);
    return all;
  }

  void look(wf::hook_set const& needed) override {
    if (after_sep_) separator();
    weights_.look(path_);
    refuse_the_other_kind();
    auto const& hooks = needed.names();
    bool const whole = std::any_of(hooks.begin(), hooks.end(), in_head);
    if (whole) require_head();
    if (!hooks.empty()) weights_.require_found([&](std::string_view name) { return whole || !spec_.in_head(name); });
  }

  void load() override {
    weights_.load(path_);
    refuse_the_other_kind();
    wf::stored_parts const parts(weights_, kept_);
    auto const linear = [&](std::string const& at) { return parts.linear(at); };
    auto const norm = [&](std::string const& at) { return parts.norm(at, spec_.epsilon); };
    embed_ = parts.at("embeddings.word_embeddings.weight"), positions_ = parts.at("embeddings.position_embeddings.weight");
    if (spec_.types) types_ = parts.at("embeddings.token_type_embeddings.weight");
    embed_ln_ = norm("embeddings.LayerNorm");
    if (spec_.projected) project_ = linear(spec_.stored("project"));
    for (std::size_t i = 0; i < spec_.layers; ++i) {
      auto const part = [&](std::string_view what) { return linear(spec_.stored(what, i)); };
      blocks_.push_back({{part("q"), part("k"), part("v"), part("o")},
                         {part("up"), part("down"), {}, spec_.act},
                         norm(spec_.stored("ln1", i)),
                         norm(spec_.stored("ln2", i))});
    }
    transform_ = linear(spec_.stored("head_dense")), head_ln_ = norm(spec_.stored("head_ln"));
    std::string const matrix = spec_.stored("unembed") + ".weight";
    bool const without = spec_.tied && !embed_.defined() && !weights_.found(matrix);
    unembed_ = parts.keep({without ? wf::tensor() : parts.at(matrix), parts.at(spec_.stored("head_bias")), false});
  }

  wf::activations run(wf::batch const& batch, wf::run_request const& request) const override {
    wf::check_precision(request.precision);
    auto const& wanted = request.capture.names();
    bool const whole = std::any_of(wanted.begin(), wanted.end(), in_head);
    if (whole) require_head();
    weights_.require([&](std::string_view name) { return whole || !spec_.in_head(name); });
    for (std::size_t i = 0; i < batch.items(); ++i)
      if (batch.tokens[i].size() + (batch.first_position.empty() ? 0 : batch.first_position.at(i)) > info_.longest)
        throw wf::usage_error(info_.architecture + ": item " + std::to_string(i) + " has " +
                              std::to_string(batch.tokens[i].size()) + " tokens, this model reads " +
                              std::to_string(info_.longest) + "; give max_tokens");
    wf::ragged<std::int32_t> const types = types_of(batch);
    wf::taps at(info_, request);
    auto const of = wf::row_packing::of(batch.tokens, batch.first_position);
    wf::rows const tokens = batch.embeddings.defined()
                                ? rows_from(batch.embeddings, of, spec_.d_embed, request.precision, "embeddings")
                                : embed(batch.tokens, of, embed_, request.precision);
    forward(tokens, batch, types, request, at);
    return at.take();
  }

  /// The type of every token: the batch's own, else by the rule, else 0.
  wf::ragged<std::int32_t> types_of(wf::batch const& batch) const {
    wf::ragged<std::int32_t> types;
    bool const given = !batch.token_types.empty(), by_rule = !given && after_sep_ && !batch.embeddings.defined();
    if (given && batch.token_types.size() != batch.items())
      throw wf::usage_error(info_.architecture + ": " + std::to_string(batch.items()) + " items, but token types of " +
                            std::to_string(batch.token_types.size()));
    std::int32_t const sep = by_rule ? separator() : -1;
    std::vector<std::int32_t> row;
    for (std::size_t i = 0; i < batch.items(); ++i) {
      auto const tokens = batch.tokens[i];
      row.assign(tokens.size(), 0);
      if (given) {
        if (batch.token_types[i].size() != row.size())
          throw wf::usage_error(info_.architecture + ": item " + std::to_string(i) + " has " + std::to_string(row.size()) +
                                " tokens and " + std::to_string(batch.token_types[i].size()) + " token types");
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
      if (t < 0 || static_cast<std::size_t>(t) >= spec_.types)
        throw wf::data_error(info_.architecture + ": item " + std::to_string(item) + " has the token type " + std::to_string(t) +
                             "; this model has " + std::to_string(spec_.types) + " (type_vocab_size)");
  }

  std::int32_t separator() const {
    if (sep_ >= 0) return sep_;
    auto const* const words = tokenizer_.get();
    if (!words || !words->special().sep)
      throw wf::usage_error(
          info_.architecture +
          ": `token_types: sep` needs the id of [SEP], and no tokenizer beside the checkpoint says it; give `sep`");
    return *words->special().sep;
  }

  // The residual stream passes a norm after each addition, so what enters a layer is the former norm's output.
  void forward(wf::rows const& tokens, wf::batch const& batch, wf::ragged<std::int32_t> const& types,
               wf::run_request const& request, wf::taps& at) const {
    auto const& of = tokens.shared_packing();
    wf::rows x = at("hook_embed", tokens);
    x += at("hook_pos_embed", position_rows(of, batch, request.precision));
    if (spec_.types) x += at("hook_token_type_embed", embed(types, of, types_, request.precision));
    x = layer_norm(x, embed_ln_, at.in("embed_ln"));
    if (spec_.projected) x = at("hook_embed_projected", linear(x, project_));
    wf::attend_options const to_all{.heads = spec_.heads, .scale = info_.attention_scale, .causal = false, .bias = nullptr};
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
    bool const pads = spec_.pad >= 0 && !batch.embeddings.defined() &&
                      std::find(batch.tokens.values.begin(), batch.tokens.values.end(), spec_.pad) != batch.tokens.values.end();
    if (!pads) return embed_positions(of, positions_, precision, spec_.first_position);
    wf::ragged<std::int32_t> at;
    for (std::size_t i = 0; i < batch.items(); ++i) {
      std::vector<std::int32_t> item;
      auto next = static_cast<std::int32_t>(spec_.first_position + of->first_position[i]);
      for (auto const token : batch.tokens[i]) item.push_back(token == spec_.pad ? spec_.pad : next++);
      at.push_back(item);
    }
    return embed(at, of, positions_, precision);
  }

  wf::rows transform(wf::rows const& x, wf::tap_scope const& here) const {
    auto const hidden = activate(here("hook_pre", linear(x, transform_)), spec_.head_act);
    return layer_norm(here("hook_post", hidden), head_ln_, here.in("ln"));
  }

  wf::tensor final_norm(wf::tensor const& x) const override {
    require_head();
    weights_.require([&](std::string_view name) { return spec_.in_head(name); });
    return wf::on_rows(x, spec_.d_model, spec_.embed_dim().name, [&](wf::rows const& r) { return transform(r, {}); });
  }
  wf::tensor unembed(wf::tensor const& x) const override {
    require_head();
    return wf::on_rows(x, spec_.d_embed, "token", [&](wf::rows const& r) { return unembed_tokens(r, 0, info_.vocabulary); });
  }
  wf::rows unembed_tokens(wf::rows const& x, std::size_t first, std::size_t last) const override {
    require_head();
    weights_.require([&](std::string_view name) { return spec_.in_head(name) || name.ends_with("word_embeddings.weight"); });
    return linear(x, outputs_of(unembed_, first, last));
  }

 private:
  static bool in_head(std::string_view hook) { return hook.starts_with("mlm_head.") || hook == "logits"; }

  /// For each block the first that reads the same tensors.
  std::vector<std::int64_t> weights_of_blocks() const {
    std::map<std::string, std::int64_t> first;
    std::vector<std::int64_t> of;
    for (std::size_t b = 0; b < spec_.layers; ++b)
      of.push_back(first.try_emplace(spec_.stored("q", b), static_cast<std::int64_t>(b)).first->second);
    return of;
  }

  /// Families differ in more than names (BERT and RoBERTa number positions differently), so that one must not pass for another.
  void refuse_the_other_kind() const {
    for (auto const& prefix : weights_.prefixes()) {
      std::size_t at = 0;
      for (std::size_t dot = prefix.find('.'); dot != std::string::npos; at = dot + 1, dot = prefix.find('.', at)) {
        auto const part = std::string_view(prefix).substr(at, dot - at);
        if (part != spec_.prefix && wf::encoder::is_prefix(part))
          throw wf::data_error(config_.path() + ": model_type is " + wf::in_quotes(config_.model_type()) +
                               ", but the tensors in " + path_ + " are named " + wf::in_quotes(prefix + "..."));
      }
    }
  }

  /// ELECTRA is published as a generator, which has a vocabulary head, and a discriminator, which has another.
  void require_head() const {
    if (weights_.found(wf::encoder::discriminators_own) && !weights_.found(spec_.stored("head_dense") + ".weight"))
      throw wf::data_error(path_ +
                           ": this ELECTRA is a discriminator: it says of each token whether it was replaced, and has no "
                           "vocabulary head, so mlm_head.* and logits can't be computed; the generator of the pair has one");
  }

  std::string path_;
  wf::hf_config config_;
  bool after_sep_ = false;
  std::int32_t sep_ = -1;
  encoder_spec spec_;
  wf::generation_tokens generation_;
  wf::weight_table weights_;
  wf::late_tokenizer tokenizer_;
  wf::model_info info_;
  wf::tensor embed_, positions_, types_;
  wf::linear_weights project_;
  wf::norm_weights embed_ln_, head_ln_;
  std::vector<block> blocks_;
  wf::linear_weights transform_, unembed_;
  std::vector<std::shared_ptr<void const>> kept_;  ///< while it lives, passes share packed weights
};

}  // namespace

WAYFARER_MODEL(
    bert, "1.1.0",
    "BERT, RoBERTa, ALBERT, DistilBERT or ELECTRA with its masked-language head, from a Hugging Face checkpoint folder",
    wf::param::file("path", "", "folder with config.json and model.safetensors, or a name in Hugging Face's cache").required(),
    wf::param("token_types", "source",
              "source: as the items say, pairs of texts 0 and 1, single texts 0; sep: where the items don't say, 0 up to "
              "the first [SEP] and 1 behind it")
        .one_of("source|sep"),
    wf::param("sep", -1, "with `token_types: sep`: the id of [SEP], -1: the tokenizer's").at_least(-1));
