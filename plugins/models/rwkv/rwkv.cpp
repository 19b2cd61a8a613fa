// RWKV 4, 5.1, 5.2, 6 and 7: from a Hugging Face folder, or from a file of the program rwkv.cpp. Language models without
// attention: each layer carries a state of fixed size from position to position. Peng et al. 2023, 2024, 2025.
//
//     model: {model: rwkv, path: folder or file.bin}
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/pretrained.hpp>

#include "bytes.hpp"
#include "mixing.hpp"
#include "models/common/channel_means.hpp"
#include "models/common/elementwise.hpp"
#include "models/common/recurrent_model.hpp"
#include "models/common/tied_head.hpp"
#include "rwkv_cpp_file.hpp"
#include "versions.hpp"

namespace wf = wayfarer;
namespace rw = wayfarer::rwkv;

namespace {

using rw::version;
using wf::rows;
using wf::tap_scope;
using wf::tensor;

/// A folder's configuration or a file's list of tensors: what is known before weights are read.
struct origin {
  std::string path;
  std::optional<wf::hf_config> config;
  std::shared_ptr<rw::rwkv_cpp_file const> file;

  static origin open(std::string const& path) {
    if (rw::rwkv_cpp_file::is_one(path)) return {path, {}, std::make_shared<rw::rwkv_cpp_file const>(path)};
    auto const types = rw::model_types();
    return {path, wf::hf_config::open_family(path, types), {}};
  }
  rw::spec describe() const { return file ? file->describe() : rw::describe(*config); }
  std::string folder() const {
    if (config) return config->folder();
    auto const parent = std::filesystem::path(path).parent_path().string();
    return parent.empty() ? "." : parent;
  }
};

/// The tensors of one layer that are no matrices of a product, by the names of `parts_of`.
struct layer {
  std::map<std::string, tensor, std::less<>> parts;
  wf::norm_weights ln1, ln2, ln_x;
  tensor log_decay, bonus;  // float64, [d_attn]; of decays that do not depend on the token

  tensor const& at(std::string_view name) const { return parts.find(name)->second; }
  wf::linear_weights linear(std::string_view name, bool in_first = false) const { return {at(name), {}, in_first}; }
};

struct rwkv final : wf::recurrent_model, wf::pretrained {
  explicit rwkv(wf::config const& c) : rwkv(origin::open(c["path"].text())) {}

  explicit rwkv(origin from) : rwkv(from, from.describe()) {}

  rwkv(origin from, rw::spec const& s)
      : wf::recurrent_model(rw::list_weights(s), [this] { return words(); }),
        from_(std::move(from)),
        spec_(s),
        tokenizer_(from_.folder()) {
    if (from_.config) generation_ = wf::read_generation_tokens(*from_.config, s.vocabulary);
    info_.architecture = "rwkv" + std::string(rw::name_of(s.of));
    info_.layers = s.layers, info_.heads = s.heads, info_.kv_heads = s.heads, info_.d_model = s.d_model, info_.d_head = s.d_head;
    info_.d_mlp = s.d_mlp, info_.vocabulary = s.vocabulary;
    info_.norm = wf::norm_kind::layer, info_.norm_epsilon = s.epsilon, info_.activation = "relu2";
    info_.hooks = rw::list_hooks(s), info_.weights = weights_.names();
    has_embed_ln_ = true;
  }

  wf::generation_tokens const& generation() const override { return generation_; }

  std::vector<std::string> remarks() const override {
    std::vector<std::string> all;
    if (from_.config) all = from_.config->remarks();
    all.insert(all.end(), generation_.remarks.begin(), generation_.remarks.end());
    if (from_.file)
      for (auto const& name : from_.file->unread(spec_)) all.push_back(from_.path + ": nothing reads " + wf::in_quotes(name));
    else if (weights_.looked())
      for (auto const& one : weights_.remarks()) all.push_back(one);
    std::string const head = spec_.of == rw::version::v7 ? "lm_head.weight" : "head.weight";
    if (!from_.config) return all;
    if (auto const own = wf::own_head(weights_, head, "embeddings.weight", *from_.config, spec_.tied))
      all.push_back(from_.path + ": " + *own);
    return all;
  }

  void look(wf::hook_set const& needed) override {
    if (from_.file)
      take_file();
    else
      weights_.look(from_.path);
    if (!needed.names().empty()) weights_.require_found([](std::string_view) { return true; });
  }

  void load() override {
    if (from_.file)
      take_file();
    else
      weights_.load(from_.path);
    if (!weights_.missing().empty()) return;  // for weight probes alone
    token_table_ = weights_.stored(name_of("embed")), embed_ln_ = norm(name_of("embed_ln.w"), name_of("embed_ln.b"));
    ln_final_ = norm(name_of("final.w"), name_of("final.b"));
    unembed_ = {weights_.stored(name_of("head")), {}, false};
    auto const parts = rw::parts_of(spec_);
    for (std::size_t i = 0; i < spec_.layers; ++i) {
      layer l;
      for (auto const& p : parts)
        if (p.of_layer && i >= p.from_layer) l.parts[std::string(p.name)] = weights_.stored(rw::stored_name(p, i));
      l.ln1 = {l.at("ln1.w"), l.at("ln1.b"), spec_.epsilon}, l.ln2 = {l.at("ln2.w"), l.at("ln2.b"), spec_.epsilon};
      if (spec_.heads_of_keys()) {
        l.ln_x = {l.at("ln_x.w"), l.at("ln_x.b"), spec_.group_epsilon};
        l.ln_x.groups = spec_.heads;
      }
      for (auto& [name, t] : l.parts)
        if (t.rank() == 3 && name != "mix_up") t = t.clone().reshaped({{"d_model", t.count()}});
      if (spec_.of != version::v6 && spec_.of != version::v7) l.log_decay = rw::log_decay(spec_, l.at("decay"));
      if (spec_.of != version::v7) l.bonus = rw::bonus(spec_, l.at("bonus"));
      layers_.push_back(std::move(l));
    }
  }

 private:
  wf::tokenizer const* words() const {
    if (auto const* const own = tokenizer_.get()) return own;
    return spec_.vocabulary == 256 ? &bytes_ : nullptr;
  }

  std::string name_of(std::string_view part) const {
    for (auto const& p : rw::parts_of(spec_))
      if (p.name == part) return p.stored;
    return {};
  }
  wf::norm_weights norm(std::string const& w, std::string const& b) const {
    return {weights_.stored(w), weights_.stored(b), spec_.epsilon};
  }

  void take_file() {
    if (!weights_.loaded()) weights_.load(from_.path, from_.file->tensors(spec_));
  }

  // ---- forward pass ----------------------------------------------------------------------------------------------------------

  wf::layer_past fresh(std::size_t, std::size_t items, wf::dtype precision) const override {
    std::vector<double> const row(spec_.d_model, 0.0);
    std::vector<double> const state =
        spec_.heads_of_keys() ? std::vector<double>(spec_.d_attn * spec_.d_head, 0.0) : wf::empty_channels(spec_.d_attn);
    return {{wf::carried(items, row, precision), wf::carried(items, state, precision), wf::carried(items, row, precision)}, {}};
  }

  // x: [token, d_model], the residual stream of the whole batch.
  rows block(std::size_t i, rows x, pass& p, wf::layer_past& past, tap_scope const& at) const override {
    layer const& l = layers_[i];
    x = at("hook_resid_pre", std::move(x));
    rows const read = layer_norm(x, l.ln1, at.in("ln1"));
    rows const before = delayed(read, past.states[0]);
    tap_scope const attn = at.in("attn");
    rows const z = spec_.of == version::v4   ? attention_four(l, read, before, past.states[1], attn)
                   : spec_.of == version::v7 ? attention_seven(l, read, before, past.states[1], p, attn)
                                             : attention_five(l, read, before, past.states[1], attn);
    x += at("hook_attn_out", linear(attn("hook_z", z), l.linear("o")));
    x = at("hook_resid_mid", std::move(x));
    rows const fed = layer_norm(x, l.ln2, at.in("ln2"));
    x += at("hook_mlp_out", channel_mixing(l, fed, delayed(fed, past.states[2]), at.in("mlp")));
    return at("hook_resid_post", std::move(x));
  }

  /// x and what stood before it, mixed channel by channel: 4 and 5 weigh x, 6 and 7 what stood before it.
  rows mixed(rows const& x, rows const& before, tensor const& by) const {
    rows change = mapped(before, x, [](auto old, auto now) { return old - now; });
    if (spec_.of == version::v6 || spec_.of == version::v7)
      return mapped(mapped(std::move(change), by, [](auto d, auto m) { return d * m; }), x,
                    [](auto d, auto now) { return now + d; });
    return mapped(mapped(x, by, [](auto now, auto m) { return now * m; }),
                  mapped(before, by, [](auto old, auto m) { return old * (1 - m); }), [](auto a, auto b) { return a + b; });
  }

  rows channel_mixing(layer const& l, rows const& x, rows const& before, tap_scope const& at) const {
    rows pre = at("hook_pre", linear(mixed(x, before, l.at("mlp_mix_k")), l.linear("up")));
    rows receptance;
    if (spec_.of != version::v7)
      receptance = at("hook_receptance", sigmoid(linear(mixed(x, before, l.at("mlp_mix_r")), l.linear("mlp_r"))));
    rows out = linear(at("hook_post", activate(std::move(pre), wf::activation::relu_squared)), l.linear("down"));
    return receptance.defined() ? multiplied(std::move(out), receptance) : out;
  }

  /// The constant decay at every position, as a hook that may be changed.
  rows decays(layer const& l, rows const& like, tap_scope const& at) const {
    rows const all = mapped(repeated(l.log_decay, like), [](auto v) { return std::exp(v); });
    return at("hook_decay", all);
  }

  rows attention_four(layer const& l, rows const& x, rows const& before, wf::carried& state, tap_scope const& at) const {
    rows const k = at("hook_k", linear(mixed(x, before, l.at("mix_k")), l.linear("k")));
    rows const v = at("hook_v", linear(mixed(x, before, l.at("mix_v")), l.linear("v")));
    rows const r = at("hook_receptance", sigmoid(linear(mixed(x, before, l.at("mix_r")), l.linear("r"))));
    rows changed;
    if (at.wants("hook_decay")) {
      rows const all = decays(l, k, at);
      if (at.edits("hook_decay")) changed = all;
    }
    return multiplied(wf::mix_channels(k, v, l.log_decay, l.bonus, changed, state, at), r);
  }

  /// 5.1, 5.2 and 6.
  rows attention_five(layer const& l, rows const& x, rows const& before, wf::carried& state, tap_scope const& at) const {
    bool const six = spec_.of == version::v6;
    auto const mixtures = six ? mixtures_of_six(l, x, before) : std::vector<rows>();
    auto const reads = [&](std::size_t which, std::string_view by) { return six ? mixtures[which] : mixed(x, before, l.at(by)); };
    rw::head_mixer m;
    m.heads = spec_.heads, m.bonus = l.bonus;
    m.r = at("hook_receptance", linear(reads(3, "mix_r"), l.linear("r")));
    if (six) {
      rows const by_token =
          linear(activate(linear(mixtures[0], l.linear("decay_down", true)), wf::activation::tanh), l.linear("decay_up", true));
      m.decays = at("hook_decay", mapped(mapped(by_token, l.at("decay"), [](auto a, auto b) { return a + b; }),
                                         [](auto v) { return std::exp(-std::exp(v)); }));
    } else {
      m.decays = decays(l, m.r, at);
    }
    m.k = at("hook_k", linear(reads(1, "mix_k"), l.linear("k")));
    m.v = at("hook_v", linear(reads(2, "mix_v"), l.linear("v")));
    rows gate;
    if (spec_.gated()) gate = at("hook_gate", activate(linear(reads(4, "mix_g"), l.linear("g")), wf::activation::silu));
    rows z = layer_norm(mix_heads(m, state, at), l.ln_x, at.in("ln_x"));
    return gate.defined() ? multiplied(std::move(z), gate) : z;
  }

  /// RWKV-6 chooses by the token how much of the position before comes in: for decay, keys, values, receptance and gate.
  std::vector<rows> mixtures_of_six(layer const& l, rows const& x, rows const& before) const {
    rows const low = activate(linear(mixed(x, before, l.at("mix_x")), l.linear("mix_down", true)), wf::activation::tanh);
    rows const change = mapped(before, x, [](auto old, auto now) { return old - now; });
    std::vector<rows> all;
    for (std::size_t i = 0; i < 5; ++i) {
      std::string_view const base[] = {"mix_w", "mix_k", "mix_v", "mix_r", "mix_g"};
      std::size_t const from[] = {i * spec_.rank_mix};
      rows by = linear(columns(low, spec_.rank_mix, from), {l.at("mix_up")[i], {}, true});
      by = mapped(std::move(by), l.at(base[i]), [](auto a, auto b) { return a + b; });
      all.push_back(mapped(multiplied(std::move(by), change), x, [](auto d, auto now) { return now + d; }));
    }
    return all;
  }

  rows low_rank(layer const& l, rows const& x, char const* down, char const* up, wf::activation act) const {
    return linear(activate(linear(x, l.linear(down)), act), l.linear(up));
  }

  rows attention_seven(layer const& l, rows const& x, rows const& before, wf::carried& state, pass& p,
                       tap_scope const& at) const {
    using wf::activation;
    auto const plus = [](auto a, auto b) { return a + b; };
    auto const times = [](auto a, auto b) { return a * b; };
    rw::head_mixer m;
    m.heads = spec_.heads;
    m.r = at("hook_receptance", linear(mixed(x, before, l.at("mix_r")), l.linear("r")));
    rows const for_decay = low_rank(l, mixed(x, before, l.at("mix_w")), "decay_down", "decay_up", activation::tanh);
    m.decays = at("hook_decay", mapped(sigmoid(mapped(for_decay, l.at("decay"), plus)),
                                       [](auto v) { return std::exp(static_cast<decltype(v)>(-0.606530659712633424) * v); }));
    rows const for_rate = low_rank(l, mixed(x, before, l.at("mix_a")), "rate_down", "rate_up", activation::identity);
    m.rate = at("hook_rate", sigmoid(mapped(for_rate, l.at("rate"), plus)));
    rows const key = linear(mixed(x, before, l.at("mix_k")), l.linear("k"));
    m.removal = at("hook_removal", of_length_one(mapped(key, l.at("k_k"), times)));
    rows const scale =
        mapped(mapped(m.rate, [](auto a) { return a - 1; }), l.at("k_a"), [](auto a, auto b) { return 1 + a * b; });
    m.k = at("hook_k", multiplied(key, scale));
    m.v = at("hook_v", values_of_seven(l, mixed(x, before, l.at("mix_v")), p));
    rows const low = sigmoid(linear(mixed(x, before, l.at("mix_g")), l.linear("gate_down")));
    rows const gate = at("hook_gate", linear(low, l.linear("gate_up")));
    rows z = layer_norm(mix_heads(m, state, at), l.ln_x, at.in("ln_x"));
    return multiplied(std::move(z += at("hook_bonus", bonus_of_seven(l, m))), gate);
  }

  rows values_of_seven(layer const& l, rows const& x, pass& p) const {
    rows v = linear(x, l.linear("v"));
    if (!p.first_values.defined()) return p.first_values = v;
    rows const share = sigmoid(mapped(low_rank(l, x, "value_down", "value_up", wf::activation::identity), l.at("value"),
                                      [](auto a, auto b) { return a + b; }));
    rows const change = mapped(p.first_values, v, [](auto first, auto own) { return first - own; });
    return v += multiplied(change, share);
  }

  /// Each head over its length; a head of zeros stays one.
  rows of_length_one(rows x) const {
    wf::in_type_of(x, [&]<class T>(T) {
      T* const all = x.own<T>();
      std::size_t const d = spec_.d_head;
      for_each_row(x, [&](std::size_t row) {
        for (std::size_t h = 0; h < spec_.heads; ++h) {
          T* const v = all + (row * spec_.heads + h) * d;
          T sum = 0;
          for (std::size_t i = 0; i < d; ++i) sum += v[i] * v[i];
          T const length = std::max(std::sqrt(sum), T(1e-12));
          for (std::size_t i = 0; i < d; ++i) v[i] /= length;
        }
      });
    });
    return x;
  }

  rows bonus_of_seven(layer const& l, rw::head_mixer const& m) const {
    rows out = m.v;
    wf::in_type_of(out, [&]<class T>(T) {
      tensor const weights = l.at("r_k").to(out.type());
      T const *const w = weights.values<T const>().data(), *const r = m.r.data<T>(), *const k = m.k.data<T>();
      T* const v = out.own<T>();
      std::size_t const d = spec_.d_head;
      for_each_row(out, [&](std::size_t row) {
        for (std::size_t h = 0; h < spec_.heads; ++h) {
          std::size_t const from = (row * spec_.heads + h) * d;
          T sum = 0;
          for (std::size_t i = 0; i < d; ++i) sum += r[from + i] * k[from + i] * w[h * d + i];
          for (std::size_t i = 0; i < d; ++i) v[from + i] *= sum;
        }
      });
    });
    return out;
  }

  origin from_;
  rw::spec spec_;
  wf::late_tokenizer tokenizer_;
  rw::byte_tokenizer bytes_;
  wf::generation_tokens generation_;
  std::vector<layer> layers_;
};

}  // namespace

WAYFARER_MODEL(
    rwkv, "1.0.0", "RWKV 4, 5.1, 5.2, 6 or 7, from a Hugging Face checkpoint folder or a file of rwkv.cpp",
    wf::param::file("path", "",
                    "folder with config.json and model.safetensors, a name in Hugging Face's cache, or a .bin file of rwkv.cpp")
        .required());
