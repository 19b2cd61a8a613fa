// Mamba, Mamba 2 and Falcon-Mamba from a Hugging Face folder: language models of selective state spaces, without attention.
// Gu and Dao 2023 and 2024, Zuo et al. 2024.
//
//     model: {model: mamba, path: folder}
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/pretrained.hpp>

#include "models/common/elementwise.hpp"
#include "models/common/implied_weights.hpp"
#include "models/common/recurrent_model.hpp"
#include "models/common/tied_head.hpp"
#include "shape.hpp"

namespace wf = wayfarer;
namespace mb = wayfarer::mamba;

namespace {

using wf::rows;
using wf::tap_scope;
using wf::tensor;

struct layer {
  wf::norm_weights ln1, norm;
  wf::linear_weights in, x, delta, out;
  tensor conv_w, conv_b, delta_bias, a_log, skip;
};

/// The recurrence of one pass, h' = e^(delta A) h + delta B x and y = C h, channel by channel.
template <class T>
struct selective {
  std::size_t channels, state, steps, groups;
  T const *x, *delta, *b, *c;
  std::size_t x_width;  // x may stand in front of other columns
  std::vector<T> a;     // [steps, state] or [steps]: minus e^A_log
  bool of_heads;        // one decay for all of a head's channels and numbers

  std::size_t step_of(std::size_t channel) const { return channel / (channels / steps); }
  T const* at(T const* of, std::size_t row, std::size_t channel) const {
    return of + (row * groups + channel / (channels / groups)) * state;
  }
  T decay(std::size_t row, std::size_t channel, std::size_t n) const {
    std::size_t const s = step_of(channel);
    return std::exp(delta[row * steps + s] * (of_heads ? a[s] : a[s * state + n]));
  }

  void advance(T const* before, T* after, std::size_t row, std::size_t first, std::size_t last) const {
    for (std::size_t ch = first; ch < last; ++ch) {
      T const *const in = at(b, row, ch), step = delta[row * steps + step_of(ch)], own = x[row * x_width + ch];
      T const all = of_heads ? decay(row, ch, 0) : T(0);
      for (std::size_t n = 0; n < state; ++n)
        after[ch * state + n] = (of_heads ? all : decay(row, ch, n)) * before[ch * state + n] + step * in[n] * own;
    }
  }
  void read(T const* h, T* y, std::size_t row, std::size_t first, std::size_t last) const {
    for (std::size_t ch = first; ch < last; ++ch) {
      T const* const out = at(c, row, ch);
      T sum = 0;
      for (std::size_t n = 0; n < state; ++n) sum += out[n] * h[ch * state + n];
      y[row * channels + ch] = sum;
    }
  }
  /// C of the query taken backwards through the decays of the positions behind each key.
  void weights(std::size_t first_row, std::size_t query, T* to) const {
    std::vector<T> g(state);
    for (std::size_t ch = 0; ch < channels; ++ch) {
      T const* const out = at(c, first_row + query, ch);
      g.assign(out, out + state);
      for (std::size_t s = query + 1; s-- > 0;) {
        std::size_t const row = first_row + s;
        T const* const in = at(b, row, ch);
        T sum = 0;
        for (std::size_t n = 0; n < state; ++n) sum += g[n] * in[n];
        to[s * channels + ch] = sum * delta[row * steps + step_of(ch)];
        T const all = of_heads ? decay(row, ch, 0) : T(0);
        for (std::size_t n = 0; n < state; ++n) g[n] *= of_heads ? all : decay(row, ch, n);
      }
    }
  }
};

struct mamba final : wf::recurrent_model, wf::pretrained {
  explicit mamba(wf::config const& c) : mamba(c["path"].text(), wf::hf_config::open_family(c["path"].text(), types())) {}

  wf::generation_tokens const& generation() const override { return generation_; }

  std::vector<std::string> remarks() const override {
    return wf::remarks_on(path_, config_, generation_, weights_, "embeddings.weight", shape_.tied);
  }

  void look(wf::hook_set const& needed) override { look_at(path_, needed); }

  void load() override {
    weights_.load(path_);
    if (!weights_.missing().empty()) return;  // for weight probes alone
    token_table_ = weights_.stored("embeddings.weight");
    ln_final_ = {weights_.stored("norm_f.weight"), {}, shape_.epsilon};
    unembed_ = {weights_.stored("lm_head.weight"), {}, false};
    for (std::size_t i = 0; i < shape_.layers; ++i) {
      std::string const p = "layers." + std::to_string(i) + ".", m = p + "mixer.";
      auto const get = [&](char const* name) { return weights_.stored(m + name); };
      layer l;
      l.ln1 = {weights_.stored(p + "norm.weight"), {}, shape_.epsilon};
      l.in = {get("in_proj.weight"), shape_.bias ? get("in_proj.bias") : tensor(), false};
      l.out = {get("out_proj.weight"), shape_.bias ? get("out_proj.bias") : tensor(), false};
      l.conv_w = get("conv1d.weight"), l.conv_b = shape_.conv_bias ? get("conv1d.bias") : tensor();
      l.a_log = get("A_log"), l.skip = get("D");
      if (shape_.two()) {
        l.delta_bias = get("dt_bias"), l.norm = {get("norm.weight"), {}, shape_.epsilon};
      } else {
        l.x = {get("x_proj.weight"), {}, false};
        l.delta = {get("dt_proj.weight"), get("dt_proj.bias"), false};
      }
      layers_.push_back(std::move(l));
    }
  }

 private:
  static std::vector<std::string_view> const& types() {
    static auto const all = mb::model_types();
    return all;
  }

  mamba(std::string path, wf::hf_config const& c) : mamba(std::move(path), c, mb::describe(c)) {}
  mamba(std::string path, wf::hf_config const& c, mb::shape const& s)
      : wf::recurrent_model(mb::list_weights(s), [this] { return tokenizer_.get(); }),
        path_(std::move(path)),
        config_(c),
        shape_(s),
        generation_(wf::read_generation_tokens(c, s.vocabulary)),
        tokenizer_(c.folder()) {
    info_.architecture = c.model_type();
    info_.layers = s.layers, info_.heads = info_.kv_heads = 1, info_.d_model = s.d_model, info_.d_head = s.channels;
    info_.vocabulary = s.vocabulary;
    info_.norm = wf::norm_kind::rms, info_.norm_epsilon = s.epsilon, info_.activation = "silu";
    info_.hooks = mb::list_hooks(s), info_.weights = weights_.names();
    rms_ = true;
  }

  // ---- forward pass ----------------------------------------------------------------------------------------------------------

  wf::layer_past fresh(std::size_t, std::size_t items, wf::dtype precision) const override {
    auto const zeros = [&](std::size_t n) { return wf::carried(items, std::vector<double>(n, 0.0), precision); };
    return {{zeros((shape_.kernel - 1) * shape_.convolved()), zeros(shape_.channels * shape_.state)}, {}};
  }

  // x: [token, d_model], the residual stream of the whole batch.
  rows block(std::size_t i, rows x, pass&, wf::layer_past& past, tap_scope const& at) const override {
    layer const& l = layers_[i];
    x = at("hook_resid_pre", std::move(x));
    rows const out = mixer(l, rms_norm(x, l.ln1, at.in("ln1")), past, at.in("ssm"));
    x += at("hook_ssm_out", out);
    return at("hook_resid_post", std::move(x));
  }

  rows part(rows const& of, std::size_t from, std::size_t width) const {
    std::size_t const first[] = {from};
    return columns(of, width, first);
  }

  rows mixer(layer const& l, rows const& read, wf::layer_past& past, tap_scope const& at) const {
    std::size_t const I = shape_.channels, C = shape_.convolved(), gn = shape_.groups * shape_.state;
    bool const two = shape_.two();
    rows const all = linear(read, l.in);
    rows x = at("hook_in", part(all, two ? I : 0, C));
    rows const gate = at("hook_gate", part(all, two ? 0 : C, I));
    x = causal_convolution(x, l.conv_w, l.conv_b, past.states[0]);
    x = at("hook_conv", activate(std::move(x), wf::activation::silu));
    rows delta, b, c;
    if (two) {
      delta = stepped(mapped(part(all, I + C, shape_.heads), l.delta_bias, [](auto v, auto bias) { return v + bias; }));
      b = part(x, I, gn), c = part(x, I + gn, gn);
    } else {
      rows const low = linear(x, l.x);
      std::size_t const r = shape_.rank, n = shape_.state;
      delta = stepped(linear(evened(part(low, 0, r)), l.delta));
      b = evened(part(low, r, n)), c = evened(part(low, r + n, n));
    }
    delta = at("hook_delta", std::move(delta)), b = at("hook_B", std::move(b)), c = at("hook_C", std::move(c));
    rows y = at("hook_y", scanned(l, x, delta, b, c, past.states[1], at));
    y = at("hook_z", multiplied(std::move(y), activate(gate, wf::activation::silu)));
    return linear(two ? rms_norm(y, l.norm, at.in("norm")) : y, l.out);
  }

  /// Falcon-Mamba's norm without weights.
  rows evened(rows x) const {
    if (shape_.of != mb::kind::falcon) return x;
    return rms_norm(x, {{}, {}, shape_.mixer_epsilon}, {});
  }

  /// softplus, within the limits.
  rows stepped(rows x) const {
    return mapped(std::move(x), [&](auto v) {
      using T = decltype(v);
      T const step = v > 20 ? v : std::log1p(std::exp(v));  // beyond 20 the same in float32, as it is computed everywhere
      return std::min(std::max(step, static_cast<T>(shape_.least_step)), static_cast<T>(shape_.most_step));
    });
  }

  rows scanned(layer const& l, rows const& x, rows const& delta, rows const& b, rows const& c, wf::carried& state,
               tap_scope const& at) const {
    rows y = x.like(shape_.channels);
    wf::in_type_of(x, [&]<class T>(T) {
      tensor const logs = l.a_log.to(x.type()), skip = l.skip.to(x.type());
      selective<T> s{shape_.channels, shape_.state, shape_.steps(), shape_.groups, x.data<T>(),
                     delta.data<T>(), b.data<T>(),  c.data<T>(),    x.width(),     {},
                     shape_.two()};
      for (auto const v : logs.values<T const>()) s.a.push_back(-std::exp(v));
      T* const out = y.overwrite<T>();
      wf::scan_steps<T> const steps{
          [&](T const* before, T* after, std::size_t row, std::size_t first, std::size_t last) {
            s.advance(before, after, row, first, last);
          },
          [&](T const* h, std::size_t row, std::size_t first, std::size_t last) { s.read(h, out, row, first, last); }};
      scan(x.shared_packing(), x.precision(), {.units = shape_.channels, .each = shape_.state, .at_once = 32}, steps, state,
           "hook_state", at);
      auto const& of = x.packing();
      y = wf::through_mean_weights<T>(
          std::move(y), shape_.two() ? part(x, 0, shape_.channels) : x, 1,
          [&](std::size_t item) {
            return wf::channel_weights<T>(
                [&s, first = of.offsets[item]](std::size_t query, T* to) { s.weights(first, query, to); });
          },
          "hook_mixing", at);
      T const* const own = skip.values<T const>().data();
      T* const sums = y.own<T>();
      for_each_row(y, [&](std::size_t row) {
        for (std::size_t ch = 0; ch < shape_.channels; ++ch)
          sums[row * shape_.channels + ch] += own[s.step_of(ch)] * x.data<T>()[row * x.width() + ch];
      });
    });
    return y;
  }

  std::string path_;
  wf::hf_config config_;
  mb::shape shape_;
  wf::generation_tokens generation_;
  wf::late_tokenizer tokenizer_;
  std::vector<layer> layers_;
};

}  // namespace

WAYFARER_MODEL(
    mamba, "1.0.0", "Mamba, Mamba 2 or Falcon-Mamba, from a Hugging Face checkpoint folder",
    wf::param::file("path", "",
                    "folder with config.json, model.safetensors and the tokenizer's files, or a name in Hugging Face's cache")
        .required());
