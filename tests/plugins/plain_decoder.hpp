// A decoder written out in float64 with plain loops, from choices and weights that a test gives: what the plugin `decoder` is
// checked against. It shares nothing with the plugin.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace wayfarer::test {

struct plain_decoder {
  using numbers = std::vector<double>;
  using hooks = std::map<std::string, numbers>;

  std::size_t L = 2, H = 4, K = 2, d = 6, D = 20, F = 14, V = 29, P = 24, E = 0;
  bool rms = true, plus_one = false, affine = true, norm_bias = false;
  double epsilon = 1e-6;
  bool parallel = false, post_norm = false;
  std::string act = "silu";
  bool gated = true;
  std::string position = "rotary";  // or table, alibi, none
  std::size_t offset = 0;
  std::string mixer = "attention";   // or mean, window, conv, position
  std::vector<std::size_t> windows;  // of each layer; empty: none
  std::vector<bool> turns;           // of each layer; empty: all
  std::vector<double> thetas;        // of each layer; empty: 10000
  std::size_t turned = 6;
  bool pairs = false;
  double stretch = 1;  // angles are divided by it
  bool alibi_scaled = false;
  bool head_norms = false, head_norms_whole = false, head_norms_rms = true;
  double scale = 1 / std::sqrt(6.0), score_cap = 0, logit_cap = 0;
  double embed_scale = 1, residual_scale = 1, logit_scale = 1;
  /// "embed" [V, D], "pos", "head", "final", ...; "0.q" [H d, D], "0.q.bias", "0.ln1", "0.distance" [H, distance], ... A part
  /// that is not there is left out.
  std::map<std::string, numbers> w;

  bool has(std::string const& name) const { return w.contains(name); }

  numbers linear(numbers const& x, std::string const& name, std::size_t in) const {
    auto const& m = w.at(name);
    std::size_t const out = m.size() / in;
    numbers y(x.size() / in * out);
    for (std::size_t r = 0; r < x.size() / in; ++r)
      for (std::size_t o = 0; o < out; ++o) {
        double s = has(name + ".bias") ? w.at(name + ".bias")[o] : 0;
        for (std::size_t i = 0; i < in; ++i) s += x[r * in + i] * m[o * in + i];
        y[r * out + o] = s;
      }
    return y;
  }

  /// Vectors of `width` numbers, `parts` of them a row, each normed alone.
  numbers norm(hooks& keep, std::string const& at, numbers const& x, std::string const& name, std::size_t width,
               std::size_t parts, bool centred) const {
    numbers scales, normalized(x.size()), y(x.size());
    for (std::size_t r = 0; r < x.size() / width; ++r) {
      double mean = 0, square = 0;
      for (std::size_t j = 0; j < width && centred; ++j) mean += x[r * width + j] / static_cast<double>(width);
      for (std::size_t j = 0; j < width; ++j) square += std::pow(x[r * width + j] - mean, 2) / static_cast<double>(width);
      double const s = std::sqrt(square + epsilon);
      scales.push_back(s);
      for (std::size_t j = 0; j < width; ++j) {
        std::size_t const i = r * width + j;
        normalized[i] = (x[i] - mean) / s;
        y[i] = normalized[i];
        if (!affine) continue;
        auto const& weight = w.at(name);
        y[i] *= weight[weight.size() == width ? j : r % parts * width + j] + (plus_one ? 1 : 0);
        if (has(name + ".bias")) y[i] += w.at(name + ".bias")[j];
      }
    }
    keep[at + "hook_scale"] = scales, keep[at + "hook_normalized"] = normalized, keep[at + "hook_out"] = y;
    return y;
  }
  numbers norm(hooks& keep, std::string const& at, numbers const& x, std::string const& name) const {
    return norm(keep, at, x, name, D, 1, !rms);
  }

  double activated(double x) const {
    if (act == "relu") return std::max(x, 0.0);
    if (act == "silu") return x / (1 + std::exp(-x));
    if (act == "gelu") return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }

  void turn(numbers& x, std::size_t heads, std::size_t layer, std::size_t first) const {
    double const theta = thetas.empty() ? 10'000 : thetas[layer];
    for (std::size_t r = 0; r < x.size() / (heads * d); ++r)
      for (std::size_t h = 0; h < heads; ++h)
        for (std::size_t j = 0; j < turned / 2; ++j) {
          // In float32, as all released models compute them.
          auto const power = static_cast<float>(2 * j) / static_cast<float>(turned);
          float const frequency = 1 / static_cast<float>(std::pow(theta, power)) / static_cast<float>(stretch);
          float const angle = static_cast<float>(first + r) * frequency;
          double& a = x[(r * heads + h) * d + (pairs ? 2 * j : j)];
          double& b = x[(r * heads + h) * d + (pairs ? 2 * j + 1 : j + turned / 2)];
          double const c = static_cast<float>(std::cos(static_cast<double>(angle)));
          double const s = static_cast<float>(std::sin(static_cast<double>(angle))), old = a;
          a = old * c - b * s, b = b * c + old * s;
        }
  }

  double slope(std::size_t head) const {
    std::size_t n = 1;
    while (n * 2 <= H) n *= 2;
    auto const wide = static_cast<double>(n);
    if (head < n) return std::pow(2.0, -8.0 * static_cast<double>(head + 1) / wide);
    return std::pow(2.0, -4.0 * static_cast<double>(2 * (head - n) + 1) / wide);
  }

  /// What stands in attention's place where no content decides.
  numbers mixed(hooks& keep, std::string const& b, std::size_t i, numbers const& x) const {
    std::string const n = std::to_string(i) + ".", a = b + "attn.";
    numbers const v = linear(x, n + "v", D);
    std::size_t const T = x.size() / D, window = windows.empty() ? T : windows[i];
    numbers pattern(H * T * T), scores(H * T * T, -std::numeric_limits<double>::infinity()), z(T * H * d);
    for (std::size_t h = 0; h < H; ++h)
      for (std::size_t t = 0; t < T; ++t) {
        double sum = 0;
        auto const weight = [&](std::size_t back) {
          if (mixer == "mean" || mixer == "window") return 1.0;
          auto const& table = w.at(n + "distance");
          double const number = table[h * (table.size() / H) + back];
          return mixer == "position" ? std::exp(number) : number;
        };
        for (std::size_t back = 0; back <= t && back < window; ++back) sum += mixer == "conv" ? 0 : weight(back);
        for (std::size_t back = 0; back <= t && back < window; ++back) {
          std::size_t const j = t - back;
          double const p = mixer == "conv" ? weight(back) : weight(back) / sum;
          scores[(h * T + t) * T + j] = std::log(weight(back)), pattern[(h * T + t) * T + j] = p;
          for (std::size_t c = 0; c < d; ++c) z[(t * H + h) * d + c] += p * v[(j * K + h / (H / K)) * d + c];
        }
      }
    keep[a + "hook_v"] = v, keep[a + "hook_pattern"] = pattern, keep[a + "hook_z"] = z;
    if (mixer == "position") keep[a + "hook_attn_scores"] = scores;
    return linear(z, n + "o", H * d);
  }

  numbers attention(hooks& keep, std::string const& b, std::size_t i, numbers const& x) const {
    if (mixer != "attention") return mixed(keep, b, i, x);
    std::string const n = std::to_string(i) + ".", a = b + "attn.";
    numbers q = linear(x, n + "q", D), k = linear(x, n + "k", D), v = linear(x, n + "v", D);
    std::size_t const T = x.size() / D;
    keep[a + "hook_q"] = q, keep[a + "hook_k"] = k, keep[a + "hook_v"] = v;
    if (head_norms) {
      bool const whole = head_norms_whole;
      q = norm(keep, a + "q_norm.", q, n + "q_norm", whole ? H * d : d, whole ? 1 : H, !head_norms_rms);
      k = norm(keep, a + "k_norm.", k, n + "k_norm", whole ? K * d : d, whole ? 1 : K, !head_norms_rms);
    }
    if (position == "rotary" && (turns.empty() || turns[i])) {
      turn(q, H, i, 0), turn(k, K, i, 0);
      keep[a + "hook_rot_q"] = q, keep[a + "hook_rot_k"] = k;
    }
    numbers scores(H * T * T, -std::numeric_limits<double>::infinity()), pattern(H * T * T), bias(H * T * T), z(T * H * d);
    for (std::size_t h = 0; h < H; ++h)
      for (std::size_t t = 0; t < T; ++t) {
        for (std::size_t j = 0; j < T; ++j)
          bias[(h * T + t) * T + j] = alibi_scaled
                                          ? static_cast<float>(slope(h) * static_cast<double>(j)) * static_cast<float>(scale)
                                          : slope(h) * static_cast<double>(j);
        std::size_t const window = windows.empty() ? 0 : windows[i];
        std::size_t const from = window && t + 1 > window ? t + 1 - window : 0;
        double sum = 0;
        for (std::size_t j = from; j <= t; ++j) {
          double s = 0;
          for (std::size_t c = 0; c < d; ++c) s += q[(t * H + h) * d + c] * k[(j * K + h / (H / K)) * d + c];
          s *= scale;
          if (position == "alibi") s += bias[(h * T + t) * T + j];
          if (score_cap > 0) s = score_cap * std::tanh(s / score_cap);
          scores[(h * T + t) * T + j] = s;
          sum += std::exp(s);
        }
        for (std::size_t j = from; j <= t; ++j) {
          double const p = std::exp(scores[(h * T + t) * T + j]) / sum;
          pattern[(h * T + t) * T + j] = p;
          for (std::size_t c = 0; c < d; ++c) z[(t * H + h) * d + c] += p * v[(j * K + h / (H / K)) * d + c];
        }
      }
    if (position == "alibi") keep[a + "hook_bias"] = bias;
    keep[a + "hook_attn_scores"] = scores, keep[a + "hook_pattern"] = pattern, keep[a + "hook_z"] = z;
    return linear(z, n + "o", H * d);
  }

  numbers mlp(hooks& keep, std::string const& b, std::size_t i, numbers const& x) const {
    std::string const n = std::to_string(i) + ".", m = b + "mlp.";
    numbers post = linear(x, n + (gated ? "gate" : "up"), D);
    keep[m + "hook_pre"] = post;
    for (auto& v : post) v = activated(v);
    if (gated) {
      auto const by = linear(x, n + "up", D);
      keep[m + "hook_pre_linear"] = by;
      for (std::size_t j = 0; j < post.size(); ++j) post[j] *= by[j];
    }
    keep[m + "hook_post"] = post;
    return linear(post, n + "down", F);
  }

  static void add(numbers& x, numbers const& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }
  numbers times(numbers x, double by) const {
    for (auto& v : x) v *= by;
    return x;
  }

  hooks run(std::vector<std::int32_t> const& ids) const {
    hooks keep;
    std::size_t const T = ids.size(), wide = E ? E : D;
    numbers x;
    for (auto const id : ids)
      for (std::size_t j = 0; j < wide; ++j) x.push_back(w.at("embed")[static_cast<std::size_t>(id) * wide + j] * embed_scale);
    if (has("in")) x = linear(x, "in", E);
    if (has("embed_ln")) x = norm(keep, "embed_ln.", x, "embed_ln");
    keep["hook_embed"] = x;
    if (position == "table") {
      numbers at(w.at("pos").begin() + static_cast<std::ptrdiff_t>(offset * D),
                 w.at("pos").begin() + static_cast<std::ptrdiff_t>((offset + T) * D));
      keep["hook_pos_embed"] = at;
      add(x, at);
    }
    for (std::size_t i = 0; i < L; ++i) {
      std::string const b = "blocks." + std::to_string(i) + ".", n = std::to_string(i) + ".";
      auto const normed = [&](numbers const& v, std::string const& name) {
        return has(n + name) || (!affine && name.size() == 3) ? norm(keep, b + name + ".", v, n + name) : v;
      };
      keep[b + "hook_resid_pre"] = x;
      numbers const read = post_norm ? x : normed(x, "ln1");
      numbers const attended = times(normed(attention(keep, b, i, read), "ln1_post"), residual_scale);
      keep[b + "hook_attn_out"] = attended;
      if (parallel) {
        numbers const fed = times(mlp(keep, b, i, has(n + "ln2") ? normed(x, "ln2") : read), residual_scale);
        keep[b + "hook_mlp_out"] = fed;
        add(x, attended), add(x, fed);
      } else {
        add(x, attended);
        keep[b + "hook_resid_mid"] = x;
        if (post_norm) x = normed(x, "ln1");
        numbers const fed = times(normed(mlp(keep, b, i, post_norm ? x : normed(x, "ln2")), "ln2_post"), residual_scale);
        keep[b + "hook_mlp_out"] = fed;
        add(x, fed);
      }
      keep[b + "hook_resid_post"] = x;
      if (post_norm) x = normed(x, "ln2");
    }
    if (has("final") || (!affine && !post_norm)) x = norm(keep, "ln_final.", x, "final");
    if (has("out")) x = linear(x, "out", D);
    x = times(linear(x, has("head") ? "head" : "embed", wide), logit_scale);
    for (auto& v : x) v = logit_cap > 0 ? logit_cap * std::tanh(v / logit_cap) : v;
    keep["logits"] = x;
    return keep;
  }
};

}  // namespace wayfarer::test
