// Attention-free transformers: AFT-full, -simple, -local and -conv, from a folder in the layout of docs/recurrent.md. Zhai et al.
// 2021.
//
//     model: {model: aft, path: folder}
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/pretrained.hpp>

#include "mixing.hpp"
#include "models/common/channel_means.hpp"
#include "models/common/elementwise.hpp"
#include "models/common/recurrent_model.hpp"
#include "models/common/tied_head.hpp"
#include "shape.hpp"

namespace wf = wayfarer;

namespace {

using wf::rows;
using wf::tap_scope;
using wf::tensor;
using wf::aft::variant;

struct layer {
  wf::norm_weights ln1, ln2;
  wf::linear_weights q, k, v, o;
  wf::mlp_weights mlp;
  wf::aft::mixer bias;
};

struct aft final : wf::recurrent_model, wf::pretrained {
  explicit aft(wf::config const& c) : aft(c["path"].text(), wf::hf_config::open(c["path"].text(), {"aft"})) {}

  wf::generation_tokens const& generation() const override { return generation_; }

  std::vector<std::string> remarks() const override {
    return wf::remarks_on(path_, config_, generation_, weights_, "embed_tokens.weight", shape_.tied);
  }

  void look(wf::hook_set const& needed) override { look_at(path_, needed); }

  void load() override {
    weights_.load(path_);
    if (!weights_.missing().empty()) return;  // for weight probes alone
    auto const get = [&](std::string const& name) { return weights_.stored(name); };
    auto const norm = [&](std::string const& at) {
      return wf::norm_weights{get(at + ".weight"), get(at + ".bias"), shape_.epsilon};
    };
    token_table_ = get("embed_tokens.weight");
    if (shape_.position_table) position_table_ = get("embed_positions.weight");
    ln_final_ = norm("norm"), unembed_ = {get("lm_head.weight"), {}, false};
    for (std::size_t i = 0; i < shape_.layers; ++i) {
      std::string const p = "layers." + std::to_string(i) + ".", a = p + "attn.";
      layer l;
      l.ln1 = norm(p + "input_layernorm"), l.ln2 = norm(p + "post_attention_layernorm");
      for (auto const& [name, to] :
           {std::pair{"q_proj", &l.q}, std::pair{"k_proj", &l.k}, std::pair{"v_proj", &l.v}, std::pair{"o_proj", &l.o}})
        *to = {get(a + name + ".weight"), {}, false};
      l.mlp.in = {get(p + "mlp.c_fc.weight"), get(p + "mlp.c_fc.bias"), false};
      l.mlp.out = {get(p + "mlp.c_proj.weight"), get(p + "mlp.c_proj.bias"), false};
      l.mlp.act = shape_.act;
      l.bias.heads = shape_.heads, l.bias.window = shape_.window;
      if (shape_.by_pair() && shape_.rank)
        l.bias.left = get(a + "position_bias_u"), l.bias.right = get(a + "position_bias_v");
      else if (shape_.by_pair())
        l.bias.by_pair = get(a + "position_bias");
      else if (shape_.of == variant::conv)
        l.bias.by_distance = get(a + "position_bias");
      layers_.push_back(std::move(l));
    }
  }

 private:
  aft(std::string path, wf::hf_config const& c) : aft(std::move(path), c, wf::aft::describe(c)) {}
  aft(std::string path, wf::hf_config const& c, wf::aft::shape const& s)
      : wf::recurrent_model(wf::aft::list_weights(s), [this] { return tokenizer_.get(); }),
        path_(std::move(path)),
        config_(c),
        shape_(s),
        generation_(wf::read_generation_tokens(c, s.vocabulary)),
        tokenizer_(c.folder()) {
    info_.architecture = "aft";
    info_.layers = s.layers, info_.heads = info_.kv_heads = s.heads, info_.d_model = s.d_model,
    info_.d_head = s.d_model / s.heads;
    info_.d_mlp = s.d_mlp, info_.vocabulary = s.vocabulary, info_.longest = s.longest();
    info_.norm = wf::norm_kind::layer, info_.norm_epsilon = s.epsilon, info_.activation = s.act_name;
    info_.hooks = wf::aft::list_hooks(s), info_.weights = weights_.names();
  }

  // ---- forward pass ----------------------------------------------------------------------------------------------------------

  wf::layer_past fresh(std::size_t, std::size_t items, wf::dtype precision) const override {
    return {{wf::carried(items, wf::empty_channels(shape_.d_model), precision)}, std::vector<tensor>(items)};
  }

  // x: [token, d_model], the residual stream of the whole batch.
  rows block(std::size_t i, rows x, pass&, wf::layer_past& past, tap_scope const& at) const override {
    layer const& l = layers_[i];
    if (i == 0) check_positions(x.packing());
    x = at("hook_resid_pre", std::move(x));
    rows const read = layer_norm(x, l.ln1, at.in("ln1"));
    x += at("hook_attn_out", mixed(l, read, past, at.in("attn")));
    x = at("hook_resid_mid", std::move(x));
    x += at("hook_mlp_out", mlp(layer_norm(x, l.ln2, at.in("ln2")), l.mlp, at.in("mlp")));
    return at("hook_resid_post", std::move(x));
  }

  rows mixed(layer const& l, rows const& read, wf::layer_past& past, tap_scope const& at) const {
    rows const q = at("hook_q", linear(read, l.q)), k = at("hook_k", linear(read, l.k)), v = at("hook_v", linear(read, l.v));
    rows const gate = at("hook_gate", sigmoid(q));
    tensor const none(wf::dtype::f64, {{"channel", shape_.d_model}});
    rows wkv = shape_.of == variant::simple ? wf::mix_channels(k, v, none, none, {}, past.states[0], at)
                                            : wf::aft::mix(l.bias, k, v, past.states[0], past.kept, at);
    return linear(at("hook_z", multiplied(std::move(wkv), gate)), l.o);
  }

  void check_positions(wf::row_packing const& of) const {
    for (std::size_t i = 0; shape_.longest() && i < of.items(); ++i)
      if (of.length(i) && (of.first_position[i] >= shape_.positions || of.length(i) > shape_.positions - of.first_position[i]))
        throw wf::data_error("item " + std::to_string(i) + " reaches position " +
                             std::to_string(of.first_position[i] + of.length(i) - 1) + ", but the model has only " +
                             std::to_string(shape_.positions) + " positions; cut it (max_tokens)");
  }

  std::string path_;
  wf::hf_config config_;
  wf::aft::shape shape_;
  wf::generation_tokens generation_;
  wf::late_tokenizer tokenizer_;
  std::vector<layer> layers_;
};

}  // namespace

WAYFARER_MODEL(aft, "1.0.0", "Attention-free transformer (full, simple, local or conv), from a folder in Hugging Face's layout",
               wf::param::file("path", "", "folder with config.json and model.safetensors").required());
