// BART from a Hugging Face checkpoint folder as it is. Lewis et al. 2020.
//
//     model: {model: bart, path: folder}
//
// An encoder reads the text, a decoder goes on from its start token and attends to the encoder's final states. Norms stand behind
// the sums, as in BERT; positions are learned, each stack has a table of its own.
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/packing.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/vocabulary.hpp>

#include "layout.hpp"
#include "models/common/stored_parts.hpp"
#include "models/common/tied_head.hpp"
#include "models/common/two_stacks.hpp"

namespace wf = wayfarer;

namespace {

struct block {
  wf::attention_weights attn, cross_attn;
  wf::norm_weights ln1, ln2, ln3;
  wf::mlp_weights mlp;
};

struct stack {
  wf::tensor positions;
  wf::norm_weights embed_ln;
  std::vector<block> blocks;
};

struct bart final : wf::two_stack_model {
  explicit bart(wf::config const& c)
      : bart(c["path"].text(), wf::hf_config::open_family(c["path"].text(), std::vector<std::string_view>{"bart"})) {}

  wf::model_info const& info() const override { return layout_.info; }
  wf::generation_tokens const& generation() const override { return generation_; }
  void load() override;
  std::vector<std::string> remarks() const override;
  wf::tensor final_norm(wf::tensor const& x) const override;
  wf::rows unembed_tokens(wf::rows const& x, std::size_t first, std::size_t last) const override;

  wf::weight_table const& table() const override { return layout_.weights; }
  wf::rows embed(wf::ragged<std::int32_t> const& tokens, std::shared_ptr<wf::row_packing const> const& of,
                 wf::dtype precision) const override {
    return wf::embed(tokens, of, embedding_, precision, layout_.embed_scale);
  }
  wf::rows encoder(wf::rows x, wf::taps& at, bool whole) const override;
  void decoder(wf::rows x, wf::rows const& memory, wf::run_request const&, wf::taps& at, wf::decoder_memory* past) const override;

 private:
  bart(std::string const& path, wf::hf_config const& c)
      : wf::two_stack_model(path, c), layout_(c), generation_(begin_and_end(c, layout_.info.vocabulary)) {}
  /// Where the files name no first token of the decoder, BART's configuration class has one.
  static wf::generation_tokens begin_and_end(wf::hf_config const& c, std::size_t vocabulary) {
    auto all = wf::read_generation_tokens(c, vocabulary);
    constexpr std::int32_t preset = 2;
    if (!all.start.empty() || vocabulary <= preset) return all;
    all.start.push_back(preset);
    all.remarks.push_back(c.path() + ": names no decoder_start_token_id; the decoder begins with 2, as BART's default is");
    return all;
  }
  wf::weight_table& table_to_look() override { return layout_.weights; }
  wf::rows begin_stack(stack const& of, wf::rows x, wf::tap_scope const& here) const;

  wf::bart::layout layout_;
  wf::generation_tokens generation_;
  wf::tensor embedding_;
  wf::linear_weights head_;
  std::vector<std::shared_ptr<void const>> kept_;  ///< while it lives, passes share packed weights
  stack encoder_, decoder_;
};

/// Embeddings of tokens and positions, and the norm of their sum.
wf::rows bart::begin_stack(stack const& of, wf::rows x, wf::tap_scope const& here) const {
  x = here("hook_embed", std::move(x));
  x +=
      here("hook_pos_embed", embed_positions(x.shared_packing(), of.positions, x.precision(), wf::bart::layout::position_offset));
  return layer_norm(x, of.embed_ln, here.in("embed_ln"));
}

// x: the token embeddings, then the residual stream of all items, packed end to end.
wf::rows bart::encoder(wf::rows x, wf::taps& at, bool whole) const {
  auto const stop = [&] { return !whole && at.done(); };
  x = begin_stack(encoder_, std::move(x), at.all());
  wf::attend_options const to_all{.heads = info().heads, .scale = info().attention_scale, .causal = false, .bias = nullptr};
  for (std::size_t i = 0; i < encoder_.blocks.size() && !stop(); ++i) {
    block const& b = encoder_.blocks[i];
    auto const here = at.block("encoder", i);
    x = here("hook_resid_pre", std::move(x));
    x += here("hook_attn_out", attention(x, x, b.attn, to_all, here.in("attn")));
    x = layer_norm(here("hook_resid_mid", std::move(x)), b.ln1, here.in("ln1"));
    x += here("hook_mlp_out", mlp(x, b.mlp, here.in("mlp")));
    x = layer_norm(here("hook_resid_post", std::move(x)), b.ln2, here.in("ln2"));
  }
  return x;
}

void bart::decoder(wf::rows x, wf::rows const& memory, wf::run_request const& request, wf::taps& at,
                   wf::decoder_memory* past) const {
  auto const stop = [&] { return !past && at.done(); };
  x = begin_stack(decoder_, std::move(x), at.in("decoder"));
  wf::attend_options const to_earlier{.heads = info().heads, .scale = info().attention_scale, .causal = true, .bias = nullptr};
  wf::attend_options const to_encoder{.heads = info().heads, .scale = info().attention_scale, .causal = false, .bias = nullptr};
  for (std::size_t i = 0; i < decoder_.blocks.size() && !stop(); ++i) {
    block const& b = decoder_.blocks[i];
    auto const here = at.block("decoder", i);
    x = here("hook_resid_pre", std::move(x));
    x += here("hook_attn_out", attention(x, x, b.attn, to_earlier, here.in("attn"), past ? &past->self[i] : nullptr));
    x = layer_norm(here("hook_resid_mid", std::move(x)), b.ln1, here.in("ln1"));
    x += here("hook_cross_attn_out",
              attention(x, memory, b.cross_attn, to_encoder, here.in("cross_attn"), past ? &past->cross[i] : nullptr));
    x = layer_norm(here("hook_resid_mid_cross", std::move(x)), b.ln2, here.in("ln2"));
    x += here("hook_mlp_out", mlp(x, b.mlp, here.in("mlp")));
    x = layer_norm(here("hook_resid_post", std::move(x)), b.ln3, here.in("ln3"));
  }
  if (at.done() || !at.wants("logits")) return;
  if (request.last_logits_only) x = x.last();
  at("logits", linear(x, head_));
}

std::vector<std::string> bart::remarks() const {
  auto all = two_stack_model::remarks();
  auto const& w = layout_.weights;
  if (!w.looked()) return all;
  if (auto const own_one = own_head(w, "lm_head.weight", "shared.weight", config(), layout_.tied))
    all.push_back(path() + ": " + *own_one);
  if (auto const none = missing_head(w, config(), layout_.tied)) all.push_back(path() + ": " + *none);
  return all;
}

void bart::load() {
  auto& w = layout_.weights;
  w.load(path());
  wf::stored_parts const parts(w, kept_);
  auto const norm = [&](std::string const& name) { return parts.norm(name, info().norm_epsilon); };
  auto const attention = [&](std::string const& at) {
    return wf::attention_weights{parts.linear(at + "q_proj"), parts.linear(at + "k_proj"), parts.linear(at + "v_proj"),
                                 parts.linear(at + "out_proj")};
  };
  for (bool const decodes : {false, true}) {
    stack& to = decodes ? decoder_ : encoder_;
    std::string const name = decodes ? "decoder." : "encoder.";
    to.positions = parts.at(name + "embed_positions.weight"), to.embed_ln = norm(name + "layernorm_embedding");
    for (std::size_t i = 0; i < (decodes ? info().decoder_layers : info().layers); ++i) {
      std::string const at = name + "layers." + std::to_string(i) + ".";
      block b;
      b.attn = attention(at + "self_attn."), b.ln1 = norm(at + "self_attn_layer_norm");
      if (decodes) b.cross_attn = attention(at + "encoder_attn."), b.ln2 = norm(at + "encoder_attn_layer_norm");
      (decodes ? b.ln3 : b.ln2) = norm(at + "final_layer_norm");
      b.mlp = {parts.linear(at + "fc1"), parts.linear(at + "fc2"), {}, layout_.act};
      to.blocks.push_back(std::move(b));
    }
  }
  embedding_ = parts.at("shared.weight");
  if (parts.missing("shared.weight") && !w.found("lm_head.weight")) return;
  auto const bias = w.stored("final_logits_bias");
  head_ = parts.keep({parts.at("lm_head.weight"), bias.defined() ? bias[0] : wf::tensor(), false});
}

// The last block's own norm, which stands behind its last sum.
wf::tensor bart::final_norm(wf::tensor const& x) const {
  std::string const norm = "decoder.layers." + std::to_string(info().decoder_layers - 1) + ".final_layer_norm.";
  layout_.weights.require([&](std::string_view name) { return name.starts_with(norm); });
  return on_rows(x, info().d_model, "d_model", [&](wf::rows const& r) { return layer_norm(r, decoder_.blocks.back().ln3, {}); });
}

wf::rows bart::unembed_tokens(wf::rows const& x, std::size_t first, std::size_t last) const {
  require_head();
  return linear(x, outputs_of(head_, first, last));
}

}  // namespace

WAYFARER_MODEL(
    bart, "1.0.0", "BART, encoder and decoder, from a Hugging Face checkpoint folder",
    wf::param::file("path", "", "folder with config.json and model.safetensors, or a name in Hugging Face's cache").required());
