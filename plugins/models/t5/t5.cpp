// T5 from a Hugging Face checkpoint folder as it is: T5 v1.0, v1.1, Flan-T5, mT5. Raffel et al. 2020.
//
//     model: {model: t5, path: folder}
//
// An encoder reads the text, a decoder goes on from its start token and attends to the encoder's final states. Norms have no mean
// and no bias, scores are not scaled, positions enter only as a bias of the scores that block 0 of each stack holds for all of
// it.
#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/taps.hpp>

#include "layout.hpp"

namespace wf = wayfarer;

namespace {

struct block {
  wf::norm_weights ln1, ln2, ln3;
  wf::attention_weights attn, cross_attn;
  wf::mlp_weights mlp;
};

struct stack {
  std::vector<block> blocks;
  wf::norm_weights final_ln;
  wf::t5::bucket_rule buckets;
  wf::tensor bias;  ///< [bucket, head]
};

/// What the decoder has read so far: keys and values of each layer.
struct decoder_memory {
  std::vector<wf::key_values> self, cross;
};

bool is_decoders(std::string_view hook) {
  return hook.starts_with("decoder") || hook == "logits";
}

/// Whether a pass needs a stored tensor.
bool is_needed(std::string_view stored, bool encodes, bool decodes) {
  if (stored.starts_with("encoder.")) return encodes;
  if (stored.starts_with("decoder.") || stored.starts_with("lm_head.")) return decodes;
  return true;
}

struct t5 final : wf::model, wf::pretrained {
  explicit t5(wf::config const& c)
      : path_(c["path"].text()),
        config_(wf::hf_config::open(path_, {"t5", "mt5"})),
        layout_(config_),
        generation_(wf::read_generation_tokens(config_, layout_.info.vocabulary)),
        tokenizer_(config_.folder()) {}

  wf::model_info const& info() const override { return layout_.info; }
  wf::tensor weight(std::string_view name) const override { return layout_.weights.weight(name); }
  wf::tokenizer const* text_tokenizer() const override { return tokenizer_.get(); }
  std::string token_text(std::int32_t token) const override { return tokenizer_.text(token); }
  void load() override;
  void look(wf::hook_set const& needed) override;
  std::vector<std::string> remarks() const override;
  wf::generation_tokens const& generation() const override { return generation_; }

  wf::batch encode(wf::item_block const&, wf::encode_options const&) const override;
  wf::activations run(wf::batch const&, wf::run_request const&) const override;
  std::unique_ptr<wf::continued_run> begin(wf::batch const&, wf::run_request const&, wf::activations* captured) const override;
  wf::tensor final_norm(wf::tensor const& x) const override;
  wf::tensor unembed(wf::tensor const& x) const override;

  wf::rows embed(wf::ragged<std::int32_t> const& tokens, std::shared_ptr<wf::row_packing const> const& of,
                 wf::dtype precision) const {
    return wf::embed(tokens, of, embedding_, precision);
  }
  wf::rows encoder(wf::rows x, wf::taps& at, bool whole) const;
  wf::rows encoder_states(wf::batch const&, wf::run_request const&, wf::taps& at, bool whole) const;
  void decoder(wf::rows x, wf::rows const& memory, wf::run_request const&, wf::taps& at, decoder_memory* past) const;

 private:
  void check(wf::batch const&, wf::run_request const&, bool decodes) const;
  std::vector<std::int32_t> const& start_tokens() const {
    std::call_once(start_once_, [&] { start_ = generation_tokens_of(*this).start; });
    return start_;
  }

  std::string path_;
  wf::hf_config config_;
  wf::t5::layout layout_;
  wf::generation_tokens generation_;
  mutable std::once_flag start_once_;
  mutable std::vector<std::int32_t> start_;  ///< what the decoder begins with where the items do not say
  wf::late_tokenizer tokenizer_;
  wf::tensor embedding_;
  wf::linear_weights head_;
  stack encoder_, decoder_;
};

// ---- the forward pass ----------------------------------------------------------------------------------------------------

/// The stack's bias of the scores, for queries of `x` that stand at the end of `keys[i]` keys each. It is the same for all
/// blocks.
wf::position_bias relative_bias(stack const& of, wf::rows const& x, std::vector<std::size_t> const& keys,
                                wf::tap_scope const& here) {
  std::size_t const longest = keys.empty() ? 0 : *std::max_element(keys.begin(), keys.end()), heads = of.bias.size(1);
  wf::position_bias bias;
  bias.origin = longest ? longest - 1 : 0;
  bias.by_distance = wf::tensor(x.type(), {{"head", heads}, {"distance", 2 * bias.origin + 1}});
  auto const fill = [&](auto to) {
    using number = std::remove_reference_t<decltype(to(0, 0))>;
    for (std::size_t d = 0; d < to.size(1); ++d) {
      auto const bucket = wf::t5::bucket_of(of.buckets, static_cast<std::int64_t>(d) - static_cast<std::int64_t>(bias.origin));
      for (std::size_t h = 0; h < heads; ++h) to(h, d) = static_cast<number>(of.bias.get({bucket, h}));
    }
  };
  x.type() == wf::dtype::f64 ? fill(bias.by_distance.view<double>()) : fill(bias.by_distance.view<float>());
  if (here.wants("hook_position_bias"))
    bias.full = here("hook_position_bias", wf::expand(bias, x.shared_packing(), keys, x.precision()));
  return bias;
}

std::vector<std::size_t> lengths(wf::row_packing const& of) {
  std::vector<std::size_t> all(of.items());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = of.length(i);
  return all;
}

// x: [token, d_model], the residual stream of all items, packed end to end. Unless the `whole` is needed for what follows, it
// stops when all that was asked for is captured.
wf::rows t5::encoder(wf::rows x, wf::taps& at, bool whole) const {
  auto const stop = [&] { return !whole && at.done(); };
  x = at("hook_embed", std::move(x));
  wf::position_bias const bias = relative_bias(encoder_, x, lengths(x.packing()), at.block("encoder", 0).in("attn"));
  wf::attend_options const to_all{.heads = info().heads, .scale = 1, .causal = false, .bias = &bias};
  for (std::size_t i = 0; i < encoder_.blocks.size() && !stop(); ++i) {
    block const& b = encoder_.blocks[i];
    auto const here = at.block("encoder", i);
    x = here("hook_resid_pre", std::move(x));
    auto const h = rms_norm(x, b.ln1, here.in("ln1"));
    x += here("hook_attn_out", attention(h, h, b.attn, to_all, here.in("attn")));
    x = here("hook_resid_mid", std::move(x));
    x += here("hook_mlp_out", mlp(rms_norm(x, b.ln2, here.in("ln2")), b.mlp, here.in("mlp")));
    x = here("hook_resid_post", std::move(x));
  }
  return stop() ? x : rms_norm(x, encoder_.final_ln, at.in("encoder_final_ln"));
}

// `memory`: the encoder's final states, of which keys and values are made once: none of them where `past` has them already.
void t5::decoder(wf::rows x, wf::rows const& memory, wf::run_request const& request, wf::taps& at, decoder_memory* past) const {
  auto const stop = [&] { return !past && at.done(); };
  x = at("decoder.hook_embed", std::move(x));
  std::vector<std::size_t> keys = lengths(x.packing());
  for (std::size_t i = 0; past && i < keys.size(); ++i) keys[i] += past->self.front().length(i);
  wf::position_bias const bias = relative_bias(decoder_, x, keys, at.block("decoder", 0).in("attn"));
  wf::attend_options const to_earlier{.heads = info().heads, .scale = 1, .causal = true, .bias = &bias};
  wf::attend_options const to_encoder{.heads = info().heads, .scale = 1, .causal = false, .bias = nullptr};
  for (std::size_t i = 0; i < decoder_.blocks.size() && !stop(); ++i) {
    block const& b = decoder_.blocks[i];
    auto const here = at.block("decoder", i);
    x = here("hook_resid_pre", std::move(x));
    auto h = rms_norm(x, b.ln1, here.in("ln1"));
    x += here("hook_attn_out", attention(h, h, b.attn, to_earlier, here.in("attn"), past ? &past->self[i] : nullptr));
    x = here("hook_resid_mid", std::move(x));
    h = rms_norm(x, b.ln2, here.in("ln2"));
    x += here("hook_cross_attn_out",
              attention(h, memory, b.cross_attn, to_encoder, here.in("cross_attn"), past ? &past->cross[i] : nullptr));
    x = here("hook_resid_mid_cross", std::move(x));
    x += here("hook_mlp_out", mlp(rms_norm(x, b.ln3, here.in("ln3")), b.mlp, here.in("mlp")));
    x = here("hook_resid_post", std::move(x));
  }
  if (at.done()) return;
  x = rms_norm(x, decoder_.final_ln, at.in("decoder_final_ln"));
  if (!at.wants("logits")) return;
  if (request.last_logits_only) x = x.last();
  at("logits", linear(scaled(std::move(x), layout_.head_scale), head_));
}

wf::rows t5::encoder_states(wf::batch const& batch, wf::run_request const& request, wf::taps& at, bool whole) const {
  auto const of = wf::row_packing::of(batch.tokens, batch.first_position);
  auto const given = [&](wf::tensor const& x, std::string_view what) {
    return rows_from(x, of, info().d_model, request.precision, what);
  };
  if (batch.encoder_states.defined()) return given(batch.encoder_states, "encoder states");
  auto x = batch.embeddings.defined() ? given(batch.embeddings, "embeddings") : embed(batch.tokens, of, request.precision);
  return encoder(std::move(x), at, whole);
}

wf::activations t5::run(wf::batch const& batch, wf::run_request const& request) const {
  auto const& wanted = request.capture.names();
  bool const decodes = std::any_of(wanted.begin(), wanted.end(), is_decoders);
  check(batch, request, decodes);
  wf::taps at(info(), request);
  wf::rows const memory = encoder_states(batch, request, at, decodes);
  if (decodes)
    decoder(embed(batch.decoder_tokens, wf::row_packing::of(batch.decoder_tokens), request.precision), memory, request, at,
            nullptr);
  return at.take();
}

// ---- a pass that goes on -------------------------------------------------------------------------------------------------

struct t5_run final : wf::continued_run {
  t5_run(t5 const& m, wf::dtype arithmetic, std::size_t items) : model(m), precision(arithmetic), read(items) {
    std::size_t const width = m.info().heads * m.info().d_head;
    memory.self.assign(m.info().decoder_layers, wf::key_values(items, width, precision));
    memory.cross = memory.self;
  }

  std::size_t items() const noexcept override { return read.size(); }
  std::size_t length(std::size_t item) const noexcept override { return read[item]; }

  wf::activations extend(wf::batch const& more, wf::run_request const& request) override {
    if (request.precision != precision) throw wf::usage_error("t5: a run goes on in the precision in which it began");
    wf::taps at(model.info(), request);
    // No new encoder positions: their keys and values are there.
    wf::ragged<std::int32_t> none;
    none.offsets.assign(items() + 1, 0);
    read_on(more.decoder_tokens, wf::rows(wf::row_packing::of(none), model.info().d_model, precision), request, at);
    return at.take();
  }

  std::unique_ptr<wf::continued_run> branch(std::span<std::size_t const> picked) const override {
    auto other = std::make_unique<t5_run>(model, precision, picked.size());
    for (std::size_t i = 0; i < picked.size(); ++i) {
      if (picked[i] >= items())
        throw wf::usage_error("t5: a run of " + std::to_string(items()) + " items has no item " + std::to_string(picked[i]));
      other->read[i] = read[picked[i]];
    }
    for (std::size_t i = 0; i < memory.self.size(); ++i)
      other->memory.self[i] = memory.self[i].branch(picked), other->memory.cross[i] = memory.cross[i].branch(picked);
    return other;
  }

  void read_on(wf::ragged<std::int32_t> const& tokens, wf::rows const& states, wf::run_request const& request, wf::taps& at) {
    if (tokens.size() != items())
      throw wf::usage_error("t5: a run of " + std::to_string(items()) + " items was given decoder tokens for " +
                            std::to_string(tokens.size()));
    model.decoder(model.embed(tokens, wf::row_packing::of(tokens, read), precision), states, request, at, &memory);
    for (std::size_t i = 0; i < read.size(); ++i) read[i] += tokens[i].size();
  }

  t5 const& model;
  wf::dtype precision;
  std::vector<std::size_t> read;
  decoder_memory memory;
};

std::unique_ptr<wf::continued_run> t5::begin(wf::batch const& batch, wf::run_request const& request,
                                             wf::activations* captured) const {
  check(batch, request, true);
  wf::taps at(info(), request);
  auto run = std::make_unique<t5_run>(*this, request.precision, batch.items());
  run->read_on(batch.decoder_tokens, encoder_states(batch, request, at, true), request, at);
  auto all = at.take();
  if (captured) *captured = std::move(all);
  return run;
}

// ---- what comes before and after ------------------------------------------------------------------------------------------

/// Throws usage_error if the batch lacks what the request needs, and data_error if the checkpoint does.
void t5::check(wf::batch const& batch, wf::run_request const& request, bool decodes) const {
  wf::check_precision(request.precision);
  bool const encodes = !batch.encoder_states.defined();
  auto const in_reach = [&](std::string const& hook) {
    if (is_decoders(hook) && batch.decoder_tokens.empty() && batch.items() != 0)
      throw wf::usage_error("t5: '" + hook + "' is in the decoder, which does not run without decoder tokens");
    if (!is_decoders(hook) && !encodes)
      throw wf::usage_error("t5: '" + hook + "' is in the encoder, which does not run when its states are given");
  };
  for (auto const& name : request.capture.names()) in_reach(name);
  for (auto const& edit : request.edits)
    if (info().find_hook(edit.hook)) in_reach(edit.hook);
  if (decodes && batch.decoder_tokens.size() != batch.items())
    throw wf::usage_error("t5: a batch has " + std::to_string(batch.items()) + " lists of tokens and " +
                          std::to_string(batch.decoder_tokens.size()) + " of decoder tokens");
  layout_.weights.require([&](std::string_view name) { return is_needed(name, encodes, decodes); });
}

void t5::look(wf::hook_set const& needed) {
  layout_.weights.look(path_);
  auto const& hooks = needed.names();
  if (hooks.empty()) return;
  bool const decodes = std::any_of(hooks.begin(), hooks.end(), is_decoders);
  layout_.weights.require_found([&](std::string_view name) { return is_needed(name, true, decodes); });
}

std::vector<std::string> t5::remarks() const {
  auto all = config_.remarks();
  all.insert(all.end(), generation_.remarks.begin(), generation_.remarks.end());
  auto const& w = layout_.weights;
  if (!w.looked()) return all;
  auto const files = w.remarks();
  all.insert(all.end(), files.begin(), files.end());
  bool const own = w.found("lm_head.weight");
  if (own && layout_.tied && !layout_.scale_said && w.loaded() && w.found("shared.weight") &&
      !w.same("lm_head.weight", "shared.weight"))
    all.push_back(
        path_ +
        ": config.json says tie_word_embeddings, but the file has a head of its own, \"lm_head.weight\", which is used; "
        "the decoder's final state is scaled as the flag says");
  if (!own && !layout_.tied && w.found("decoder.final_layer_norm.weight"))
    all.push_back(path_ +
                  ": config.json says that the head is not tied to the embedding, but the file has no \"lm_head.weight\"; the "
                  "embedding serves as the head");
  return all;
}

void t5::load() {
  auto& w = layout_.weights;
  w.load(path_);
  auto const gone = w.missing();
  std::set<std::string, std::less<>> const missing(gone.begin(), gone.end());
  // What is missing stays undefined: `check` comes before every use.
  auto const tensor = [&](std::string const& name) { return missing.contains(name) ? wf::tensor() : w.stored(name); };
  auto const linear = [&](std::string const& name) { return wf::linear_weights{tensor(name + ".weight"), {}, false}; };
  auto const norm = [&](std::string const& name) {
    return wf::norm_weights{tensor(name + "layer_norm.weight"), {}, info().norm_epsilon};
  };
  auto const attention = [&](std::string const& at) {
    return wf::attention_weights{linear(at + "q"), linear(at + "k"), linear(at + "v"), linear(at + "o")};
  };
  auto const mlp = [&](std::string const& at) {
    if (layout_.gated) return wf::mlp_weights{linear(at + "wi_1"), linear(at + "wo"), linear(at + "wi_0"), layout_.act};
    return wf::mlp_weights{linear(at + "wi"), linear(at + "wo"), {}, layout_.act};
  };
  for (bool const decodes : {false, true}) {
    stack& to = decodes ? decoder_ : encoder_;
    std::string const name = decodes ? "decoder." : "encoder.";
    to.buckets = decodes ? layout_.decoder_buckets : layout_.encoder_buckets;
    to.bias = tensor(name + "block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    to.final_ln = norm(name + "final_");
    for (std::size_t i = 0; i < (decodes ? info().decoder_layers : info().layers); ++i) {
      std::string const at = name + "block." + std::to_string(i) + ".layer.";
      block b;
      b.ln1 = norm(at + "0."), b.ln2 = norm(at + "1.");
      b.attn = attention(at + "0.SelfAttention.");
      if (decodes) b.cross_attn = attention(at + "1.EncDecAttention."), b.ln3 = norm(at + "2.");
      b.mlp = mlp(at + (decodes ? "2" : "1") + ".DenseReluDense.");
      to.blocks.push_back(std::move(b));
    }
  }
  embedding_ = tensor("shared.weight");
  head_ = missing.contains("shared.weight") && !w.found("lm_head.weight") ? wf::linear_weights{} : linear("lm_head");
}

// The decoder's tokens are the source's, or its start token alone.
wf::batch t5::encode(wf::item_block const& items, wf::encode_options const& options) const {
  refuse_token_types(items, info());
  wf::batch out = wf::encode_items(items, options, info(), items.texts.empty() ? nullptr : tokenizer_.get());
  for (std::size_t i = 0; i < items.count; ++i) {
    auto const given = items.decoder_tokens.empty() ? std::span(start_tokens()) : items.decoder_tokens[i];
    out.decoder_tokens.push_back(options.max_tokens ? given.first(std::min(options.max_tokens, given.size())) : given);
  }
  return out;
}

wf::tensor t5::final_norm(wf::tensor const& x) const {
  layout_.weights.require([](std::string_view name) { return name == "decoder.final_layer_norm.weight"; });
  return on_rows(x, info().d_model, "d_model", [&](wf::rows const& r) { return rms_norm(r, decoder_.final_ln, {}); });
}

wf::tensor t5::unembed(wf::tensor const& x) const {
  bool const own = layout_.weights.found("lm_head.weight");
  layout_.weights.require([&](std::string_view name) { return name == (own ? "lm_head.weight" : "shared.weight"); });
  return on_rows(x, info().d_model, "token", [&](wf::rows const& r) { return linear(scaled(r, layout_.head_scale), head_); });
}

}  // namespace

WAYFARER_MODEL(
    t5, "1.0.0", "T5 from a Hugging Face checkpoint folder: v1.0, v1.1, Flan-T5, mT5",
    wf::param::file("path", "", "folder with config.json and model.safetensors, or a name in Hugging Face's cache").required());
