// The encoding walk: how the vector at each position moves through the embedding space from layer to layer.
// Singh 2023 (arXiv 2308.10874), encoding walk; notes 1.4, 1.5 and section 4, E3.
//
// A walk's states are h^0 (what enters the first block) and the residual state after each sub-layer; a step is what one sub-layer
// does. Attention aggregates: it brings in other positions. Norms and feed-forward parts filter: they see their own position
// alone. Only where norms stand between sub-layers on the residual path itself (BERT) are they steps.
//
// Attention also sees its own position. What others brought is sum_h (z_h - w_ii v_h) W_O; the rest, w_ii v_h W_O and the bias,
// would be there without them. `aggregation_share` counts the first alone.
//
// Self-bias of a state is the logit that it gives to the position's own token, less the mean logit of the tokens at the text's
// other positions: 0 if the model does not tell its own token from another of the text. Each step changes it.
//
//     walk: {probe: encoding_walk, model: gpt2, source: prompts}
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/repetition.hpp"
#include "probes/common/shared_heads.hpp"
#include "probes/common/token_rows.hpp"
#include "probes/common/vocabulary.hpp"

namespace wf = wayfarer;
using namespace wayfarer::walks;

namespace {

enum step_kind : std::uint8_t { filter, aggregation };

/// A path through a stack: one state more than steps.
struct path {
  std::vector<std::string> hooks;    ///< [state]
  std::vector<std::string> labels;   ///< [state]
  std::vector<step_kind> kinds;      ///< [step]
  std::vector<std::string> sources;  ///< [step]: where attention's parts are, "blocks.0.attn."; empty for a filter
  std::string final_norm;            ///< its weights, where the model itself can't apply it
  side where;
  bool parallel = false;  ///< a block adds attention and MLP at once: its step is both
  bool predicts = false;  ///< the last state becomes logits through the model's own final norm, if it has one

  path(wf::model_info const& model, std::string const& stack) {
    bool const two = model.family == wf::model_family::encoder_decoder;
    if (!two && stack != "auto") throw wf::usage_error(model.architecture + " has one stack only; leave `stack` at auto");
    bool const decoder = two && stack != "encoder";
    std::string const blocks = !two ? "blocks." : decoder ? "decoder." : "encoder.";
    where = {decoder};
    predicts = !two || decoder;
    if (two && !decoder && model.find_hook("encoder_final_ln.hook_out")) final_norm = "encoder_final_ln.w";
    std::size_t const layers = decoder ? model.decoder_layers : model.layers;
    hooks = {blocks + "0.hook_resid_pre"}, labels = {"start"};
    for (std::size_t l = 0; l < layers; ++l) {
      std::string const here = blocks + std::to_string(l) + ".";
      auto const add = [&](char const* hook, step_kind kind, char const* what, char const* attention = "") {
        if (model.find_hook(here + hook) == nullptr) return;
        hooks.push_back(here + hook), kinds.push_back(kind), labels.push_back(std::to_string(l) + " " + what);
        sources.push_back(*attention ? here + attention : "");
      };
      // Norms behind the sums are on the path; the last of a decoder is what the model applies before its head.
      bool const behind = model.find_hook(here + "ln1.hook_out") && !wf::reading::norm_comes_first(model, here);
      bool const encoder = !predicts || model.family == wf::model_family::encoder,
                 norms_on_path = behind || model.family == wf::model_family::encoder;
      bool const at_once = !model.find_hook(here + "hook_resid_mid") && model.find_hook(here + "mlp.hook_post");
      if (at_once) parallel = true;
      bool const crosses_over = model.find_hook(here + "hook_resid_mid_cross") != nullptr;
      add("hook_resid_mid", aggregation, "attention", "attn.");
      if (norms_on_path) add("ln1.hook_out", filter, "norm");
      add("hook_resid_mid_cross", aggregation, "cross-attention", "cross_attn.");
      if (norms_on_path && crosses_over) add("ln2.hook_out", filter, "norm");
      add("hook_resid_post", filter, at_once ? "block" : "feed-forward");
      if (norms_on_path && (encoder || l + 1 < layers)) add(crosses_over ? "ln3.hook_out" : "ln2.hook_out", filter, "norm");
    }
  }
};

bool crosses(std::string const& attention) {
  return attention.ends_with("cross_attn.");
}

/// Why the share of other positions can't be separated from the position's own share; empty: it can.
std::string why_not_parted(wf::model_info const& model, path const& walk) {
  if (walk.parallel) return model.architecture + " adds attention and MLP at once, so that no step is attention's alone";
  if (model.facts.contains("residual_multiplier")) return model.architecture + " multiplies what attention adds";
  for (auto const& at : walk.sources) {
    if (at.empty() || crosses(at)) continue;
    if (model.find_hook(at.substr(0, at.size() - 5) + "ln1_post.hook_out"))
      return model.architecture + " norms what attention gives before it is added";
    if (model.find_hook(at + "hook_wkv")) return model.architecture + " weighs each channel on its own, and gates the sums";
    for (auto const* hook : {"hook_pattern", "hook_v", "hook_z"})
      if (model.find_hook(at + hook) == nullptr) return model.architecture + " has no hook '" + at + hook + "'";
    if (std::find(model.weights.begin(), model.weights.end(), at + "W_O") == model.weights.end())
      return model.architecture + " has no weight '" + at + "W_O'";
  }
  return {};
}

/// What of an attention's output other positions brought, and what is its own: squared lengths at each position.
struct parted {
  std::vector<double> others, own;
};

/// `self`: [head, pos], the weight of each position on itself; `z`: [pos, head, d_head], `v` the same or with fewer heads.
parted part(wf::tensor const& self, wf::tensor const& v, wf::tensor const& z, wf::tensor const& w_o, wf::tensor const& b_o) {
  std::size_t const n = z.size(0), heads = z.size(1), width = z.size(2);
  wf::dims const flat{{"pos", n}, {"head_d_head", heads * width}};
  wf::tensor const own(wf::dtype::f64, flat), others(wf::dtype::f64, flat);
  auto const o = own.view<double>(), rest = others.view<double>();
  for (std::size_t p = 0; p < n; ++p)
    for (std::size_t h = 0; h < heads; ++h)
      for (std::size_t d = 0; d < width; ++d) {
        o(p, h * width + d) = self(h, p) * v(p, h / (heads / v.size(1)), d);  // heads may share values
        rest(p, h * width + d) = z(p, h, d) - o(p, h * width + d);
      }
  parted out{std::vector<double>(n), std::vector<double>(n)};
  auto const to_stream = w_o.reshaped({{"head_d_head", heads * width}, {"d_model", w_o.size(2)}});
  auto const brought = wf::matmul(others, to_stream), kept = wf::matmul(own, to_stream);
  for (std::size_t p = 0; p < n; ++p) {
    auto const row = std::as_const(brought).view<double const>().row(p);
    out.others[p] = wf::dot(row, row);
    for (std::size_t d = 0; d < w_o.size(2); ++d) {
      double const x = kept(p, d) + (b_o.defined() ? b_o(d) : 0);
      out.own[p] += x * x;
    }
  }
  return out;
}

/// x / sqrt(mean x^2 + epsilon) times the weights, a row at a time: T5's norm, for the stack that the model does not finish.
wf::tensor rms_norm(wf::tensor const& x, wf::tensor const& weight, double epsilon) {
  auto const out = x.clone();
  auto const w = weight.to(wf::dtype::f32);
  for (std::size_t r = 0; r < out.size(0); ++r) {
    auto const row = out.view<float>().row(r);
    double const scale =
        1 /
        std::sqrt(wf::dot(std::span<float const>(row), std::span<float const>(row)) / static_cast<double>(row.size()) + epsilon);
    for (std::size_t c = 0; c < row.size(); ++c) row[c] = static_cast<float>(row[c] * scale * w.values<float const>()[c]);
  }
  return out;
}

}  // namespace

struct encoding_walk final : wf::probe {
  explicit encoding_walk(wf::config const& c)
      : stack_(c["stack"].text()), nearest_(c["nearest"]), states_(c["states"]), ranks_(c["ranks"]), self_bias_(c["self_bias"]) {}

  wf::hook_set needs(wf::model_info const& model) const override {
    wf::hook_set all;
    for (auto const& hook : path(model, stack_).hooks) all.add(model.hooks_for(hook));
    return all;
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    path const walk(model, stack_);
    define_tokens(acc, at, walk.where);
    wf::dim const step{"step", walk.kinds.size()}, state{"state", walk.hooks.size()},
        pos{walk.where.pos(), walk.where.longest(at)};
    for (auto const* name : {"step_length", "angle", "share"}) acc.define_rows(name, {step, pos}, wf::dtype::f32);
    for (auto const* name : {"cosine_to_start", "cosine_to_end", "norm"}) acc.define_rows(name, {state, pos}, wf::dtype::f32);
    if (why_not_parted(model, walk).empty()) {
      acc.define_rows("from_others", {step, pos}, wf::dtype::f32);
      acc.define_rows("aggregation_share", {pos}, wf::dtype::f32);
      acc.define("aggregated", {});
    }
    if (nearest_ != 0)
      acc.define_rows("nearest_ids", {state, pos, {"rank", std::min(nearest_, model.vocabulary)}}, wf::dtype::i32);
    if (ranks_ && walk.predicts) {
      acc.define_rows("predicted_ids", {pos}, wf::dtype::i32);
      acc.define_rows("predicted_rank", {state, pos}, wf::dtype::i32);
    }
    if (self_bias_ && walk.predicts) {
      for (auto const* name : {"self_bias", "repeat_probability", "repeat_probability_expected"})
        acc.define_rows(name, {state, pos}, wf::dtype::f32);
      acc.define_rows("item_self_bias", {state});
    }
    if (states_) acc.define_rows("states", {state, pos, {"d_model", model.d_model}}, wf::dtype::f32);
    acc.define("mean", {step, {"figure", 3}});
    acc.define("positions", {});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    path const walk(at.model().info(), stack_);
    put_tokens(acc, block, walk.where);
    for (auto const& [name, field] : acc.fields())
      if (field.rows && name != walk.where.ids()) fill_missing(acc[name]);
    auto const& m = at.model();
    auto const& names = m.info().weights;
    bool const parts = why_not_parted(m.info(), walk).empty();
    // [step]: of attention to the walk's own positions
    std::vector<wf::tensor> w_o(walk.kinds.size()), b_o(walk.kinds.size());
    for (std::size_t s = 0; parts && s < walk.kinds.size(); ++s) {
      auto const& from = walk.sources[s];
      if (from.empty() || crosses(from)) continue;
      w_o[s] = m.weight(from + "W_O").to(wf::dtype::f64).clone();
      if (std::find(names.begin(), names.end(), from + "b_O") != names.end()) b_o[s] = m.weight(from + "b_O").to(wf::dtype::f64);
    }
    wf::tensor const embedding = nearest_ != 0 ? at.model().weight("embed.W_E").to(wf::dtype::f32) : wf::tensor();
    for (std::size_t i = 0; i < block.size(); ++i) {
      std::vector<wf::tensor> h;  // [state], each [pos, d_model]
      for (auto const& hook : walk.hooks) h.push_back(block[i][hook].to(wf::dtype::f32));
      measure(acc, i, walk, h);
      if (parts) put_shares(acc, i, walk, block, m, h, w_o, b_o);
      if (nearest_ != 0) put_nearest(acc, i, walk, h, embedding, at.model());
      if (ranks_ && walk.predicts) put_ranks(acc, i, h, at.model());
      if (self_bias_ && walk.predicts) put_self_bias(acc, i, h, walk.where.tokens(block[i]), at.model());
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    path const walk(at.model().info(), stack_);
    add_tokens(acc, out, at, walk.where);
    std::vector<std::string> const steps(walk.labels.begin() + 1, walk.labels.end());
    auto const labelled = [&](wf::dataset& set) -> wf::dataset& {
      for (auto const& d : set.shape()) {
        if (d.name == "step") set.labels("step", steps);
        if (d.name == "state") set.labels("state", walk.labels);
      }
      return set;
    };
    auto const add = [&](char const* name, char const* view, std::string const& about) -> wf::dataset& {
      return labelled(out.add(name, acc[name]))
          .view(view)
          .about(about)
          .missing("beyond an item's length, or the angle of the first step");
    };
    wf::tensor kind(wf::dtype::u8, {{"step", walk.kinds.size()}});
    std::copy(walk.kinds.begin(), walk.kinds.end(), kind.values<std::uint8_t>().begin());
    labelled(out.add("kind", kind))
        .view("table")
        .about("0: the step filters, seeing its own position alone; 1: it aggregates over positions");
    add("step_length", "heatmap", "length of each step");
    add("angle", "heatmap", "angle between a step and the one before; NaN for the first").units("rad");
    add("share", "heatmap", "squared length of a step as a share of all steps' of its position");
    add("cosine_to_start", "heatmap", "cosine of a state with the first");
    add("cosine_to_end", "heatmap", "cosine of a state with the last");
    add("norm", "heatmap", "length of a state");
    std::string const why = why_not_parted(at.model().info(), walk);
    if (why.empty()) {
      add("from_others", "heatmap",
          "share of each step that other positions brought, by squared length; the rest is made of the position "
          "itself and of biases");
      add("aggregation_share", "tokens", "share of a position's squared steps that other positions brought");
    }
    if (nearest_ != 0) {
      add("nearest_ids", "table", "tokens whose embeddings have the largest inner products with a state after the final norm");
      wf::language::add_token_texts(out, "nearest_tokens", acc["nearest_ids"], at.model(), "lens");
    }
    if (ranks_ && walk.predicts) {
      add("predicted_ids", "table", "likeliest token by the last state");
      add("predicted_rank", "heatmap", "how many tokens come before it by each state, 0: none");
      wf::language::add_token_texts(out, "predicted_tokens", acc["predicted_ids"], at.model());
    }
    if (states_) add("states", "heatmap", "the states themselves");

    put_means(acc, out, walk, why, labelled);
  }

 private:
  /// Means over positions, and the finding. `why`: what other positions brought is not known; "" if it is.
  void put_means(wf::accumulator const& acc, wf::results& out, path const& walk, std::string const& why,
                 std::function<wf::dataset&(wf::dataset&)> const& labelled) const {
    auto const& mean = acc["mean"];
    double const positions = acc["positions"]();
    char const* const names[] = {"mean_step_length", "mean_angle", "mean_share"};
    char const* const abouts[] = {"mean length of each step over positions",
                                  "mean angle between a step and the one before; NaN for the first",
                                  "mean share of each step in the squared length of all"};
    for (std::size_t f = 0; f < 3; ++f) {
      wf::tensor t(wf::dtype::f64, {{"step", walk.kinds.size()}});
      for (std::size_t s = 0; s < walk.kinds.size(); ++s) t(s) = mean(s, f) / positions;
      if (f == 1) t(std::size_t{0}) = std::numeric_limits<double>::quiet_NaN();
      labelled(out.add(names[f], t))
          .view("curve")
          .about(abouts[f])
          .units(f == 1 ? "rad" : "")
          .missing("no step comes before the first");
    }
    char line[128];
    if (why.empty()) {
      double const share = acc["aggregated"]() / positions;
      out.add("mean_aggregation_share", share).about("aggregation_share, mean over positions");
      std::snprintf(line, sizeof line, "%zu steps, %.1f %% of squared length was brought by other positions", walk.kinds.size(),
                    100 * share);
    } else {
      out.add("mean_aggregation_share", std::numeric_limits<double>::quiet_NaN())
          .about("share of squared steps that other positions brought, mean over positions")
          .missing(why);
      std::snprintf(line, sizeof line, "%zu steps; what other positions brought is not known", walk.kinds.size());
    }
    std::string found = line;
    if (self_bias_ && walk.predicts) found += "; " + add_self_bias(acc, out, walk, labelled);
    out.summarise(found);
  }

  static void measure(wf::accumulator& acc, std::size_t i, path const& walk, std::vector<wf::tensor> const& h) {
    auto const length = acc["step_length"].view<float>(), angle = acc["angle"].view<float>(), share = acc["share"].view<float>();
    auto const start = acc["cosine_to_start"].view<float>(), end = acc["cosine_to_end"].view<float>(),
               norm = acc["norm"].view<float>();
    std::size_t const steps = walk.kinds.size(), width = h[0].size(1);
    auto const row = [&](std::size_t s, std::size_t p) { return h[s].view<float const>().row(p); };
    std::vector<double> step(width), before(width), square(steps);
    for (std::size_t p = 0; p < h[0].size(0); ++p) {
      double total = 0;
      for (std::size_t s = 0; s < steps; ++s) {
        for (std::size_t d = 0; d < width; ++d) step[d] = double{row(s + 1, p)[d]} - double{row(s, p)[d]};
        square[s] = wf::dot(std::span<double const>(step), std::span<double const>(step));
        length(i, s, p) = static_cast<float>(std::sqrt(square[s]));
        if (s > 0) {
          double const cosine = std::clamp(wf::cosine(std::span<double const>(before), std::span<double const>(step)), -1.0, 1.0);
          angle(i, s, p) = static_cast<float>(std::acos(cosine));
          acc["mean"](s, 1) += std::acos(cosine);
        }
        acc["mean"](s, 0) += std::sqrt(square[s]);
        total += square[s];
        std::swap(step, before);
      }
      for (std::size_t s = 0; s < steps; ++s) {
        double const part = total > 0 ? square[s] / total : 0;
        share(i, s, p) = static_cast<float>(part);
        acc["mean"](s, 2) += part;
      }
      for (std::size_t s = 0; s <= steps; ++s) {
        start(i, s, p) = static_cast<float>(wf::cosine(row(s, p), row(0, p)));
        end(i, s, p) = static_cast<float>(wf::cosine(row(s, p), row(steps, p)));
        norm(i, s, p) = static_cast<float>(std::sqrt(wf::dot(row(s, p), row(s, p))));
      }
      acc["positions"]() += 1;
    }
    if (acc.fields().count("states") != 0)
      for (std::size_t s = 0; s <= steps; ++s)
        for (std::size_t p = 0; p < h[0].size(0); ++p)
          std::copy(row(s, p).begin(), row(s, p).end(), acc["states"][i][s].view<float>().row(p).begin());
  }

  /// Values, outputs and the weight of each position on itself, of one item.
  struct attention_record {
    wf::activations captured;
    std::vector<wf::tensor> self;  // [step], each [head, pos]

    parted parts_of(std::size_t step, path const& walk, wf::tensor const& w_o, wf::tensor const& b_o) const {
      auto const get = [&](char const* hook) { return captured.at(walk.sources[step] + hook, 0).to(wf::dtype::f64); };
      return part(self[step], get("hook_v"), get("hook_z"), w_o, b_o);
    }
  };

  /// A pass of its own over one item: of the patterns only the diagonals are kept, which are far smaller.
  static attention_record attention_of(std::size_t i, path const& walk, wf::sample const& block, wf::model const& m,
                                       std::vector<wf::tensor> const& w_o) {
    attention_record out;
    out.self.resize(walk.kinds.size());
    wf::batch one;
    one.tokens.push_back(block[i].tokens());
    if (m.info().family == wf::model_family::encoder_decoder) one.decoder_tokens.push_back(block[i].decoder_tokens());
    auto request = block.request({i});
    for (std::size_t s = 0; s < walk.kinds.size(); ++s) {
      if (!w_o[s].defined()) continue;
      for (auto const* hook : {"hook_v", "hook_z"}) request.capture.add(m.info().hooks_for(walk.sources[s] + hook));
      request.edits.push_back({walk.sources[s] + "hook_pattern", [&to = out.self[s]](wf::edit_site const&, wf::tensor const& p) {
                                 to = wf::tensor(wf::dtype::f64, {{"head", p.size(0)}, {"pos", p.size(1)}});
                                 for (std::size_t h = 0; h < p.size(0); ++h)
                                   for (std::size_t q = 0; q < p.size(1); ++q) to(h, q) = p.get({h, q, q});
                               }});
    }
    out.captured = m.run(one, request);
    return out;
  }

  /// How much of each step other positions brought. A step's squared length is shared out in the proportion of its two parts'.
  static void put_shares(wf::accumulator& acc, std::size_t i, path const& walk, wf::sample const& block, wf::model const& m,
                         std::vector<wf::tensor> const& h, std::vector<wf::tensor> const& w_o,
                         std::vector<wf::tensor> const& b_o) {
    auto const attention = attention_of(i, walk, block, m, w_o);
    std::size_t const steps = walk.kinds.size(), n = h[0].size(0);
    std::vector<double> total(n), aggregated(n);
    auto const from_others = acc["from_others"].view<float>();
    for (std::size_t s = 0; s < steps; ++s) {
      auto const parts = w_o[s].defined() ? attention.parts_of(s, walk, w_o[s], b_o[s]) : parted();
      for (std::size_t p = 0; p < n; ++p) {
        auto const before = h[s].view<float const>().row(p), after = h[s + 1].view<float const>().row(p);
        double square = 0;
        for (std::size_t d = 0; d < before.size(); ++d)
          square += (double{after[d]} - double{before[d]}) * (double{after[d]} - double{before[d]});
        double share = walk.kinds[s] == aggregation ? 1 : 0;  // attention to an encoder sees others alone
        if (w_o[s].defined()) share = parts.others[p] > 0 ? parts.others[p] / (parts.others[p] + parts.own[p]) : 0;
        from_others(i, s, p) = static_cast<float>(share);
        total[p] += square, aggregated[p] += share * square;
      }
    }
    for (std::size_t p = 0; p < n; ++p) {
      double const share = total[p] > 0 ? aggregated[p] / total[p] : 0;
      acc["aggregation_share"].view<float>()(i, p) = static_cast<float>(share);
      acc["aggregated"]() += share;
    }
  }

  void put_nearest(wf::accumulator& acc, std::size_t i, path const& walk, std::vector<wf::tensor> const& h,
                   wf::tensor const& embedding, wf::model const& m) const {
    auto const ids = acc["nearest_ids"].view<std::int32_t>();
    for (std::size_t s = 0; s < h.size(); ++s) {
      auto const found = nearest(normed(h[s], walk, m), embedding, ids.size(3));
      for (std::size_t p = 0; p < found.ids.size(); ++p)
        for (std::size_t r = 0; r < found.ids[p].size(); ++r) ids(i, s, p, r) = found.ids[p][r];
    }
  }

  static wf::tensor normed(wf::tensor const& h, path const& walk, wf::model const& m) {
    if (!walk.final_norm.empty()) return rms_norm(h, m.weight(walk.final_norm), m.info().norm_epsilon);
    return walk.predicts && has_final_norm(m.info()) ? m.final_norm(h) : h;  // the model's own is its decoder's
  }
  /// BERT's blocks end in a norm of their own.
  static bool has_final_norm(wf::model_info const& model) {
    return model.norm != wf::norm_kind::none && model.family != wf::model_family::encoder;
  }

  /// All states of an item, [state x pos, d_model].
  static wf::tensor stacked(std::vector<wf::tensor> const& h) {
    std::size_t const n = h[0].size(0);
    wf::tensor const all(wf::dtype::f32, {{"row", h.size() * n}, {"d_model", h[0].size(1)}});
    for (std::size_t s = 0; s < h.size(); ++s) wf::copy_into(all.slice(0, s * n, (s + 1) * n), h[s]);
    return all;
  }
  /// What states say of the vocabulary, through the norm before the head.
  static std::vector<wf::token_distribution> read_states(wf::model const& m, wf::tensor const& states,
                                                         wf::vocabulary_question const& question) {
    return wf::language::read_vocabulary(m, has_final_norm(m.info()) ? m.final_norm(states) : states, question);
  }

  /// What each state makes of the position's own token, beside the tokens at the text's other positions.
  static void put_self_bias(wf::accumulator& acc, std::size_t i, std::vector<wf::tensor> const& h,
                            std::span<std::int32_t const> tokens, wf::model const& m) {
    std::size_t const n = h[0].size(0);
    if (n < 2 || tokens.size() != n) return;
    wf::repetition::counted const text(tokens);
    wf::vocabulary_question question;
    for (std::size_t r = 0; r < h.size() * n; ++r) question.tokens.push_back(text.tokens);
    auto const read = read_states(m, stacked(h), question);
    auto const bias = acc["self_bias"].view<float>(), repeat = acc["repeat_probability"].view<float>(),
               expected = acc["repeat_probability_expected"].view<float>();
    double const others = static_cast<double>(n - 1);
    for (std::size_t s = 0; s < h.size(); ++s) {
      double sum = 0;
      for (std::size_t p = 0; p < n; ++p) {
        auto const& law = read[s * n + p];
        auto const own =
            static_cast<std::size_t>(std::lower_bound(text.tokens.begin(), text.tokens.end(), tokens[p]) - text.tokens.begin());
        double logit = -law.logits[own], probability = -law.probability(law.logits[own]);
        for (std::size_t k = 0; k < text.tokens.size(); ++k) {
          logit += text.counts[k] * law.logits[k];
          probability += text.counts[k] * law.probability(law.logits[k]);
        }
        double const one = law.logits[own] - logit / others;
        sum += one;
        bias(i, s, p) = static_cast<float>(one);
        repeat(i, s, p) = static_cast<float>(law.probability(law.logits[own]));
        expected(i, s, p) = static_cast<float>(probability / others);
      }
      acc["item_self_bias"](i, s) = sum / static_cast<double>(n);
    }
  }

  /// Adds self-bias by state, what each step does to it, and that by kind of step; gives the finding in words.
  template <class Labelled>
  static std::string add_self_bias(wf::accumulator const& acc, wf::results& out, path const& walk, Labelled const& labelled) {
    char const* const alone = "beyond an item's length, or its text has one token";
    auto const add = [&](char const* name, std::string const& about, char const* units) {
      labelled(out.add(name, acc[name])).view("heatmap").about(about).units(units).missing(alone);
    };
    add("self_bias", "logit of the position's own token, read from each state, less the mean of the text's other tokens; 0: none",
        "nat");
    add("repeat_probability", "probability that each state gives to the position's own token", "");
    add("repeat_probability_expected", "its value under no bias: mean probability of the text's other tokens", "");
    auto const rows = acc["item_self_bias"].view<double const>();
    std::size_t const states = walk.hooks.size();
    // Over items: `number(i)` of each that has one.
    auto const over_items = [&](auto const& number) {
      std::vector<double> values;
      for (std::size_t i = 0; i < rows.size(0); ++i)
        if (!std::isnan(rows(i, 0))) values.push_back(number(i));
      auto m = wf::moments_of(values);
      if (values.empty()) m.mean = std::numeric_limits<double>::quiet_NaN();
      return std::pair{m.mean, values.size() < 2 ? std::numeric_limits<double>::quiet_NaN() : m.standard_error()};
    };
    auto const put = [&](std::string const& name, std::string const& about, wf::dim const& along, auto const& number) {
      wf::tensor const mean(wf::dtype::f64, {along}), error(wf::dtype::f64, {along});
      for (std::size_t k = 0; k < along.size; ++k)
        std::tie(mean(k), error(k)) = over_items([&](std::size_t i) { return number(i, k); });
      labelled(out.add(name, mean)).view("curve").about(about).units("nat").missing("no item has two tokens");
      labelled(out.add(name + "_standard_error", error))
          .view("curve")
          .about("its standard error over items")
          .units("nat")
          .missing("fewer than two items have two tokens");
    };
    put("mean_self_bias", "self_bias, mean over an item's positions and over items; 0 under no bias", {"state", states},
        [&](std::size_t i, std::size_t s) { return rows(i, s); });
    put("self_bias_change", "what each step adds to it; 0 under no bias", {"step", states - 1},
        [&](std::size_t i, std::size_t s) { return rows(i, s + 1) - rows(i, s); });
    double by_kind[2];
    for (auto const kind : {filter, aggregation}) {
      auto const [mean, error] = over_items([&](std::size_t i) {
        double sum = 0;
        for (std::size_t s = 0; s + 1 < states; ++s)
          if (walk.kinds[s] == kind) sum += rows(i, s + 1) - rows(i, s);
        return sum;
      });
      std::string const name = kind == filter ? "self_bias_by_filters" : "self_bias_by_aggregation";
      out.add(name, mean)
          .about(std::string("what all steps that ") + (kind == filter ? "filter" : "aggregate") + " add to self-bias")
          .units("nat")
          .missing("no item has two tokens");
      out.add(name + "_standard_error", error)
          .about("its standard error over items")
          .units("nat")
          .missing("fewer than two items have two tokens");
      by_kind[kind] = mean;
    }
    return "self-bias " + wf::told(over_items([&](std::size_t i) { return rows(i, 0); }).first, 3, true) + " at the start, " +
           wf::told(by_kind[aggregation], 3, true) + " by aggregation, " + wf::told(by_kind[filter], 3, true) + " by filters, " +
           wf::told(over_items([&](std::size_t i) { return rows(i, states - 1); }).first, 3, true) + " at the end";
  }

  static void put_ranks(wf::accumulator& acc, std::size_t i, std::vector<wf::tensor> const& h, wf::model const& m) {
    auto const predicted = acc["predicted_ids"].view<std::int32_t>();
    auto const rank = acc["predicted_rank"].view<std::int32_t>();
    std::size_t const n = h[0].size(0);
    wf::vocabulary_question first, follow;
    first.likeliest = 1, follow.ranks = true;
    auto const final = read_states(m, h.back(), first);
    for (std::size_t p = 0; p < n; ++p) {
      auto const& best = final[p].likeliest;
      predicted(i, p) = best.empty() ? -1 : best[0].token;  // nothing is predicted by what is no number
    }
    for (std::size_t s = 0; s < h.size(); ++s)
      for (std::size_t p = 0; p < n; ++p) follow.tokens.push_back(std::span(&predicted(i, p), predicted(i, p) < 0 ? 0 : 1));
    auto const here = read_states(m, stacked(h), follow);
    for (std::size_t r = 0; r < here.size(); ++r)
      rank(i, r / n, r % n) = here[r].ranks.empty() ? -1 : static_cast<std::int32_t>(here[r].ranks[0]);
  }

  std::string stack_;
  std::size_t nearest_;
  bool states_, ranks_, self_bias_;
};

WAYFARER_PROBE(encoding_walk, "1.0.0", "Step lengths, angles and nearest tokens of each position's walk through the layers",
               wf::port::model("model"), wf::port::source("source"),
               wf::param("stack", "auto", "of an encoder-decoder; auto: the decoder").one_of("auto|encoder|decoder"),
               wf::param("nearest", 5, "nearest tokens kept at each state; 0: none").between(0, 1000),
               wf::param("ranks", true, "follow the rank of the token that the last state predicts"),
               wf::param("self_bias", true, "read what each state makes of the position's own token"),
               wf::param("states", false, "keep the states themselves"));
