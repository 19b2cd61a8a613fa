// T5 from a Hugging Face checkpoint folder as it is: T5 v1.0, v1.1, Flan-T5, mT5. Raffel et al. 2020.
//
//     model: {model: t5, path: folder}
//
// An encoder reads the text. A decoder continues its start token and attends to the encoder's final states. Norms have no mean
// and no bias, scores are not scaled, positions enter only as a bias of the scores that block 0 of each stack holds for all of
// it.
#include <algorithm>
#include <memory>
#include <string>
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

struct t5 final : wf::two_stack_model {
  explicit t5(wf::config const& c) : t5(c["path"].text(), wf::hf_config::open(c["path"].text(), {"t5", "mt5"})) {}

  wf::model_info const& info() const override { return layout_.info; }
  wf::generation_tokens const& generation() const override { return generation_; }
  void load() override;
  std::vector<std::string> remarks() const override;
  wf::tensor final_norm(wf::tensor const& x) const override;
  wf::rows unembed_tokens(wf::rows const& x, std::size_t first, std::size_t last) const override;

  wf::weight_table const& table() const override { return layout_.weights; }
  wf::rows embed(wf::ragged<std::int32_t> const& tokens, std::shared_ptr<wf::row_packing const> const& of,
                 wf::dtype precision) const override {
    return wf::embed(tokens, of, embedding_, precision);
  }
  wf::rows encoder(wf::rows x, wf::taps& at, bool whole) const override;
  void decoder(wf::rows x, wf::rows const& memory, wf::run_request const&, wf::taps& at, wf::decoder_memory* past) const override;

 private:
  t5(std::string const& path, wf::hf_config const& c)
      : wf::two_stack_model(path, c), layout_(c), generation_(wf::read_generation_tokens(c, layout_.info.vocabulary)) {}
  wf::weight_table& table_to_look() override { return layout_.weights; }

  wf::t5::layout layout_;
  wf::generation_tokens generation_;
  wf::tensor embedding_;
  wf::linear_weights head_;
  std::vector<std::shared_ptr<void const>> kept_;  ///< while it lives, passes share packed weights
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

// x: the residual stream of all items, packed end to end.
wf::rows t5::encoder(wf::rows x, wf::taps& at, bool whole) const {
  auto const stop = [&] { return !whole && at.done(); };
  x = at("hook_embed", std::move(x));
  wf::position_bias const bias = relative_bias(encoder_, x, wf::lengths(x.packing()), at.block("encoder", 0).in("attn"));
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

void t5::decoder(wf::rows x, wf::rows const& memory, wf::run_request const& request, wf::taps& at,
                 wf::decoder_memory* past) const {
  auto const stop = [&] { return !past && at.done(); };
  x = at("decoder.hook_embed", std::move(x));
  std::vector<std::size_t> keys = wf::lengths(x.packing());
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

// ---- what comes before and after ------------------------------------------------------------------------------------------

std::vector<std::string> t5::remarks() const {
  auto all = two_stack_model::remarks();
  auto const& w = layout_.weights;
  if (!w.looked()) return all;
  if (auto const own_one = own_head(w, "lm_head.weight", "shared.weight", config(), layout_.tied && !layout_.scale_said))
    all.push_back(path() + ": " + *own_one + "; the decoder's final state is scaled as for a tied one");
  if (w.found("decoder.final_layer_norm.weight"))
    if (auto const none = missing_head(w, config(), layout_.tied)) all.push_back(path() + ": " + *none);
  return all;
}

void t5::load() {
  auto& w = layout_.weights;
  w.load(path());
  wf::stored_parts const parts(w, kept_);
  auto const linear = [&](std::string const& name) { return parts.linear_without_bias(name); };
  auto const norm = [&](std::string const& name) {
    return wf::norm_weights{parts.at(name + "layer_norm.weight"), {}, info().norm_epsilon};
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
    to.bias = parts.at(name + "block.0.layer.0.SelfAttention.relative_attention_bias.weight");
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
  embedding_ = parts.at("shared.weight");
  head_ = parts.missing("shared.weight") && !w.found("lm_head.weight") ? wf::linear_weights{} : linear("lm_head");
}

wf::tensor t5::final_norm(wf::tensor const& x) const {
  layout_.weights.require([](std::string_view name) { return name == "decoder.final_layer_norm.weight"; });
  return on_rows(x, info().d_model, "d_model", [&](wf::rows const& r) { return rms_norm(r, decoder_.final_ln, {}); });
}

wf::rows t5::unembed_tokens(wf::rows const& x, std::size_t first, std::size_t last) const {
  require_head();
  return linear(scaled(x, layout_.head_scale), outputs_of(head_, first, last));
}

}  // namespace

WAYFARER_MODEL(
    t5, "1.0.0", "T5 from a Hugging Face checkpoint folder: v1.0, v1.1, Flan-T5, mT5",
    wf::param::file("path", "", "folder with config.json and model.safetensors, or a name in Hugging Face's cache").required());
