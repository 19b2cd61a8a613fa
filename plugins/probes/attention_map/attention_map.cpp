// The parts of attention: query-key score, position bias, their sum, and the weights, for chosen layers and heads.
// Singh 2023 (arXiv 2308.10874), attention maps; notes 2.2, association bias of 1.7 and self-bias of 1.8.
//
//     score = q.k + bias,  weights = softmax(score),  weights without the words: softmax(bias)
//
// T5 has a learned bias b(key - query), made in layer 0 and shared by the stack. Other models have none, and score = q.k with the
// model's scale. There, and in attention to an encoder, no score depends only on position, so association bias is not reported.
// The distance of the weights from uniform is reported for all. Keys that a query does not see are NaN.
//
//     attention: {probe: attention_map, model: t5, source: prompt, stack: encoder, layers: [0], heads: [0, 2, 4]}
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/repetition.hpp"
#include "probes/common/token_rows.hpp"

namespace wf = wayfarer;
using namespace wayfarer::walks;

namespace {

constexpr double no_number = std::numeric_limits<double>::quiet_NaN();

/// Softmax over the keys that can be seen, [key]; 0 for the others.
std::vector<double> softmax(std::vector<double> x, std::vector<bool> const& seen) {
  double top = -INFINITY, sum = 0;
  for (std::size_t j = 0; j < x.size(); ++j)
    if (seen[j]) top = std::max(top, x[j]);
  for (std::size_t j = 0; j < x.size(); ++j) sum += x[j] = seen[j] ? std::exp(x[j] - top) : 0;
  for (double& v : x) v /= sum;
  return x;
}

}  // namespace

struct attention_map final : wf::probe {
  explicit attention_map(wf::config const& c)
      : stack_(c["stack"].text()),
        layers_(c["layers"].integers().begin(), c["layers"].integers().end()),
        heads_(c["heads"].integers().begin(), c["heads"].integers().end()),
        reach_(c["reach"]),
        most_(c["most_items"]),
        maps_(c["maps"]) {
    std::vector<wf::parameter_problem> wrong;
    for (char const* name : {"layers", "heads"})
      for (std::size_t i = 0; i < c[name].integers().size(); ++i)
        if (std::int64_t const n = c[name].integers()[i]; n < 0)
          wrong.push_back({name, i, "'" + std::string(name) + "' are counted from 0, got " + std::to_string(n)});
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
    if (layers_.empty()) throw wf::usage_error("'layers' is empty; give those to look at, such as [0]");
  }

  wf::hook_set needs(wf::model_info const& model) const override {
    names const at(model, stack_);
    std::vector<wf::parameter_problem> wrong;
    for (std::size_t i = 0; i < layers_.size(); ++i)
      if (layers_[i] >= at.layers)
        wrong.push_back(
            {"layers", i, "there is no layer " + std::to_string(layers_[i]) + "; the stack has " + std::to_string(at.layers)});
    for (std::size_t i = 0; i < heads_.size(); ++i)
      if (heads_[i] >= model.heads)
        wrong.push_back(
            {"heads", i, "there is no head " + std::to_string(heads_[i]) + "; a layer has " + std::to_string(model.heads)});
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
    wf::hook_set all;
    auto const add = [&](std::string const& name) { all.add(model.hooks_for(name)); };
    for (auto const l : layers_) {
      if (at.scored) add(at.scores(l));
      add(at.pattern(l)), add(at.state(l));
      if (at.parted) add(at.qk(l));
    }
    if (at.parted) add(at.bias);
    if (at.predicts) add("logits");
    return all;
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    few_items(at, "attention_map", most_);
    auto const& model = at.model().info();
    names const n(model, stack_);
    define_tokens(acc, at, n.queries);
    if (n.cross) define_tokens(acc, at, n.keys);
    wf::dim const layer{"layer", layers_.size()}, head{"head", chosen(model).size()};
    wf::dim const query{"query", n.queries.longest(at)}, key{"key", n.keys.longest(at)};
    for (auto const* name : {"qk", "score", "weights"})
      if (maps_ && (n.scored || std::string_view(name) == "weights"))
        acc.define_rows(name, {layer, head, query, key}, wf::dtype::f32);
    if (n.parted) {
      if (maps_) acc.define_rows("bias", {head, query, key}, wf::dtype::f32);
      acc.define_rows("kernel", {head, key}, wf::dtype::f32);
      acc.define_rows("rel_pos", {key}, wf::dtype::i32);
      acc.define_rows("self_bias_position", {head});
      acc.define_rows("self_bias_position_distances", {}, wf::dtype::i32);
      acc.define_rows("association_bias", {layer, head});
      acc.define_rows("bias_error", {});
    }
    acc.define_rows("uniform_divergence", {layer, head});
    if (!n.cross) {
      acc.define_rows("self_bias_attention", {layer, head});
      for (auto const* name : {"self_bias_similarity", "self_bias_similarity_expected"}) acc.define_rows(name, {layer});
    }
    if (n.predicts)
      for (std::string const name : {"self_bias_output", "repeat_probability", "repeat_rank"})
        acc.define_rows(name, {}), acc.define_rows(name + "_expected", {});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    names const n(model, stack_);
    put_tokens(acc, block, n.queries);
    if (n.cross) put_tokens(acc, block, n.keys);
    for (auto const& [name, field] : acc.fields())
      if (name != n.queries.ids() && name != n.keys.ids()) fill_missing(acc[name]);
    for (std::size_t i = 0; i < block.size(); ++i) {
      wf::tensor bias;
      if (n.parted) {
        bias = block[i][n.bias].to(wf::dtype::f64);  // [head, query, key]
        put_kernel(acc, i, bias, n, model);
      }
      for (std::size_t l = 0; l < layers_.size(); ++l) put_layer(acc, i, l, block[i], bias, n, model);
      if (n.predicts) put_repeats(acc, i, block[i]["logits"], n.queries.tokens(block[i]));
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    names const n(model, stack_);
    add_tokens(acc, out, at, n.queries);
    if (n.cross) add_tokens(acc, out, at, n.keys);
    auto const add = [&](char const* name, char const* view, std::string const& about, char const* units = "",
                         char const* missing = "a key that the query does not see, or beyond a text's end") -> void {
      auto& set = out.add(name, acc[name]).view(view).about(about).units(units).missing(missing);
      for (auto const& d : acc[name].shape()) {
        if (d.name == "layer") set.coordinate("layer", numbers(layers_, "layer"));
        if (d.name == "head") set.coordinate("head", numbers(chosen(model), "head"));
      }
    };
    constexpr char by_head[] = R"({"kind": "heatmap", "rows": "layer", "columns": "head"})";
    constexpr char along_layers[] = R"({"kind": "curve", "x": "layer"})", along_keys[] = R"({"kind": "curve", "x": "key"})";
    if (maps_ && n.scored) {
      add("qk", "attention", "query-key score before any position bias; NaN for keys that the query does not see");
      add("score", "attention", "score before the softmax");
    }
    if (maps_) add("weights", "attention", n.scored ? "attention weights" : "weights between positions, mean over channels");
    if (n.parted) {
      if (maps_) add("bias", "attention", "position bias, the same in every layer of the stack");
      add("kernel", along_keys,
          "position bias of one query (half way through an encoder's text, 10 before a decoder's end) to each key");
      add("rel_pos", "table", "key position less query position in kernel", "token");
      add("self_bias_position", "heatmap", "SB_pos: bias at distance 0 less the mean of others up to the reach; 0 under no bias",
          "", "a text of one token has no other distance");
      add("self_bias_position_distances", "histogram", "how many distances that mean is over");
      add("bias_error", "histogram", "largest |score - qk - bias|");
    }
    if (n.parted)
      add("association_bias", by_head, "mean divergence D(weights || softmax of the position bias alone): what similarity adds",
          "nat");
    add("uniform_divergence", by_head,
        "mean divergence D(weights || equal weights of the keys that are seen): log of their number less entropy", "nat");
    char const* const one = "a text of one token has no other";
    if (!n.cross) {
      add("self_bias_attention", by_head,
          "SB_att: mean weight of a position on itself less that of uniform attention; 0 under no bias", "", one);
      add("self_bias_similarity", along_layers,
          "SB_sim: mean inner product of a state entering the layer with itself less that with others", "", one);
      add("self_bias_similarity_expected", along_layers,
          "its value for states that have nothing in common: their mean squared length");
    }
    if (n.predicts) {
      add("self_bias_output", "histogram", "SB_out: mean of (logit of the current token - mean logit) / deviation of logits");
      add("self_bias_output_expected", "histogram", "its value under no bias: the same of the tokens at the text's other places",
          "", one);
      add("repeat_probability", "histogram", "mean probability that the current token is the next again");
      add("repeat_probability_expected", "histogram",
          "its value under no bias: mean probability of the tokens at the text's other places", "", one);
      add("repeat_rank", "histogram", "mean rank of the current token among the next, 0: likeliest");
      add("repeat_rank_expected", "histogram", "its value under no bias: mean rank of the tokens at the text's other places", "",
          one);
    }
    auto const all = wf::moments_of(acc[n.parted ? "association_bias" : "uniform_divergence"].values<double const>());
    out.summarise((n.parted ? "association bias " : "divergence from uniform ") + wf::told(all.minimum, 4) + " to " +
                  wf::told(all.maximum, 4) + " nat, mean " + wf::told(all.mean, 4));
  }

 private:
  /// Where a stack's numbers are.
  struct names {
    names(wf::model_info const& model, std::string const& stack) {
      bool const two = model.family == wf::model_family::encoder_decoder;
      if (!two && stack != "auto") throw wf::usage_error(model.architecture + " has one stack only; leave `stack` at auto");
      cross = stack == "cross";
      bool const decoder = two && (stack == "decoder" || cross);
      blocks = !two ? "blocks." : decoder ? "decoder." : "encoder.";
      attention = cross ? "cross_attn." : "attn.";
      layers = decoder ? model.decoder_layers : model.layers;
      queries = {decoder}, keys = {decoder && !cross};
      std::string const made = blocks + "0.attn.hook_position_bias";
      parted = !cross && model.find_hook(made) != nullptr && model.find_hook(qk(0)) != nullptr;
      // Without attention there may be weights and no scores.
      scored = model.find_hook(pattern(0)) == nullptr || model.find_hook(scores(0)) != nullptr;
      if (parted) bias = made;
      predicts = !cross && (decoder || model.family == wf::model_family::decoder) && model.find_hook("logits") != nullptr;
      causal = decoder || model.family == wf::model_family::decoder;
    }
    std::string at(std::size_t layer, std::string const& rest) const { return blocks + std::to_string(layer) + "." + rest; }
    std::string scores(std::size_t layer) const { return at(layer, attention + "hook_attn_scores"); }
    std::string pattern(std::size_t layer) const { return at(layer, attention + "hook_pattern"); }
    std::string qk(std::size_t layer) const { return at(layer, attention + "hook_qk"); }
    std::string state(std::size_t layer) const { return at(layer, "hook_resid_pre"); }

    std::string blocks, attention, bias;
    std::size_t layers = 0;
    side queries, keys;
    bool cross = false, parted = false, scored = true, predicts = false, causal = false;
  };

  std::vector<std::size_t> chosen(wf::model_info const& model) const {
    if (!heads_.empty()) return heads_;
    std::vector<std::size_t> all(model.heads);
    std::iota(all.begin(), all.end(), std::size_t{0});
    return all;
  }

  static wf::tensor numbers(std::vector<std::size_t> const& of, char const* dimension) {
    std::vector<std::int64_t> const values(of.begin(), of.end());
    return wf::tensor::of(values, {{dimension, values.size()}});
  }

  /// One row of the bias, and how much a position's bias favours itself.
  void put_kernel(wf::accumulator& acc, std::size_t i, wf::tensor const& bias, names const& n,
                  wf::model_info const& model) const {
    auto const b = bias.view<double const>();
    auto const heads = chosen(model);
    std::size_t const T = b.size(1), row = n.causal ? T - std::min<std::size_t>(T, 10) : T / 2;
    auto const kernel = acc["kernel"].view<float>();
    auto const relative = acc["rel_pos"].view<std::int32_t>();
    for (std::size_t key = 0; key < T; ++key) {
      relative(i, key) = static_cast<std::int32_t>(key) - static_cast<std::int32_t>(row);
      if (n.causal && key > row) continue;
      for (std::size_t h = 0; h < heads.size(); ++h) kernel(i, h, key) = static_cast<float>(b(heads[h], row, key));
    }
    // The bias depends on key - query alone, so the last query sees all distances back and the first all distances ahead.
    acc["self_bias_position_distances"].view<std::int32_t>()(i) =
        static_cast<std::int32_t>(std::min(T - 1, reach_) * (n.causal ? 1 : 2));
    for (std::size_t h = 0; h < heads.size(); ++h) {
      double sum = 0, count = 0;
      for (std::size_t d = 1; d < T && d <= reach_; ++d) {
        sum += b(heads[h], T - 1, T - 1 - d), count += 1;
        if (!n.causal) sum += b(heads[h], 0, d), count += 1;
      }
      acc["self_bias_position"](i, h) = count > 0 ? b(heads[h], 0, 0) - sum / count : no_number;
    }
    acc["bias_error"](i) = 0;
  }

  void put_layer(wf::accumulator& acc, std::size_t i, std::size_t l, wf::sample_item const& item, wf::tensor const& bias,
                 names const& n, wf::model_info const& model) const {
    auto const weights = item[n.pattern(layers_[l])].to(wf::dtype::f64);
    auto const score = n.scored ? item[n.scores(layers_[l])].to(wf::dtype::f64) : weights;
    auto const qk = n.parted ? item[n.qk(layers_[l])].to(wf::dtype::f64) : score;
    auto const s = score.view<double const>(), w = weights.view<double const>(), q = qk.view<double const>();
    auto const heads = chosen(model);
    std::size_t const queries = s.size(1), keys = s.size(2);
    for (std::size_t h = 0; h < heads.size(); ++h) {
      double divergence = 0, from_uniform = 0, self = 0;
      for (std::size_t query = 0; query < queries; ++query) {
        std::vector<bool> seen(keys);
        std::vector<double> position(keys, 0.0);
        double visible = 0;
        for (std::size_t key = 0; key < keys; ++key) {
          // A causal mask is a score of -infinity, or one too low for any weight.
          seen[key] = (!n.causal || n.cross || key <= query) && s(heads[h], query, key) > -1e30;
          visible += seen[key];
          if (n.parted) position[key] = bias.view<double const>()(heads[h], query, key);
        }
        auto const alone = n.parted ? softmax(position, seen) : std::vector<double>();
        for (std::size_t key = 0; key < keys; ++key) {
          if (!seen[key]) continue;
          double const p = w(heads[h], query, key);
          if (p > 0) from_uniform += p * std::log(p * visible);
          if (p > 0 && n.parted) divergence += p * std::log(p / alone[key]);
          if (n.parted)
            acc["bias_error"](i) =
                std::max(acc["bias_error"](i), std::abs(s(heads[h], query, key) - q(heads[h], query, key) - position[key]));
          if (maps_ && n.scored) {
            acc["qk"].view<float>()(i, l, h, query, key) = static_cast<float>(q(heads[h], query, key));
            acc["score"].view<float>()(i, l, h, query, key) = static_cast<float>(s(heads[h], query, key));
          }
          if (maps_) {
            acc["weights"].view<float>()(i, l, h, query, key) = static_cast<float>(p);
            if (n.parted && l == 0) acc["bias"].view<float>()(i, h, query, key) = static_cast<float>(position[key]);
          }
        }
        if (!n.cross && query >= 1) self += w(heads[h], query, query) - 1 / visible;
      }
      if (n.parted) acc["association_bias"](i, l, h) = divergence / static_cast<double>(queries);
      acc["uniform_divergence"](i, l, h) = from_uniform / static_cast<double>(queries);
      if (!n.cross) acc["self_bias_attention"](i, l, h) = queries > 1 ? self / static_cast<double>(queries - 1) : no_number;
    }
    if (n.cross) return;
    auto const products = wf::gram(vectors_of(item[n.state(layers_[l])]));
    auto const g = products.view<float const>();
    double own = 0, other = 0;
    for (std::size_t a = 0; a < g.size(0); ++a)
      for (std::size_t b = 0; b < g.size(0); ++b) (a == b ? own : other) += double{g(a, b)};
    auto const rows = static_cast<double>(g.size(0));
    acc["self_bias_similarity"](i, l) = own / rows - other / (rows * (rows - 1));
    acc["self_bias_similarity_expected"](i, l) = own / rows;
  }

  static void put_repeats(wf::accumulator& acc, std::size_t i, wf::tensor const& logits, std::span<std::int32_t const> tokens) {
    auto const all = logits.to(wf::dtype::f64);
    double bias = 0, probability = 0, rank = 0;
    wf::repetition::standing usual;
    double usual_bias = 0;
    wf::repetition::counted const text(tokens);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      auto const z = all.view<double const>().row(t);
      auto const token = static_cast<std::size_t>(tokens[t]);
      auto const m = wf::moments_of(z);
      double sum = 0;
      for (double const x : z) sum += std::exp(x - m.maximum);
      bias += (z[token] - m.mean) / m.deviation;
      probability += std::exp(z[token] - m.maximum) / sum;
      rank += static_cast<double>(wf::rank_of(std::span<double const>(z), token));
      auto const others = wf::repetition::of_others(std::span<double const>(z), text, tokens[t],
                                                    [&](std::size_t v) { return std::exp(z[v] - m.maximum) / sum; });
      usual_bias += (others.logit - m.mean) / m.deviation;
      usual.probability += others.probability, usual.rank += others.rank;
    }
    auto const n = static_cast<double>(tokens.size());
    acc["self_bias_output"](i) = bias / n, acc["repeat_probability"](i) = probability / n, acc["repeat_rank"](i) = rank / n;
    acc["self_bias_output_expected"](i) = usual_bias / n;
    acc["repeat_probability_expected"](i) = usual.probability / n, acc["repeat_rank_expected"](i) = usual.rank / n;
  }

  std::string stack_;
  std::vector<std::size_t> layers_, heads_;
  std::size_t reach_, most_;
  bool maps_;
};

WAYFARER_PROBE(attention_map, "1.0.0", "Scores, position bias and weights of attention, with self-bias and association bias",
               wf::port::model("model"), wf::port::source("source"),
               wf::param("stack", "auto", "of an encoder-decoder: auto is the encoder, cross the decoder's view of it")
                   .one_of("auto|encoder|decoder|cross"),
               wf::param("layers", wf::integers("0"), "layers to look at"),
               wf::param("heads", wf::integers(""), "heads to look at; none given: all"),
               wf::param("reach", 32, "R: distances that SB_pos compares with").in("token").at_least(1),
               wf::param("maps", true, "keep the maps themselves, not the figures alone"),
               wf::param("most_items", 8, "refuse more items than this").at_least(1));
