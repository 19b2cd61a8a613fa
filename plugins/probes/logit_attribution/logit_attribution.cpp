// Direct logit attribution: how much each head, MLP and embedding adds to a logit, or to the difference of two. Elhage et al.
// 2021; Wang et al. 2022, section 3.
//
//     blame: {probe: logit_attribution, model: gpt2, source: prompts, answer: " Mary", against: " John"}
//
// The last residual state is the sum of what every part added to it, and the logit is linear in it if the final norm's scale is
// fixed at its value in the run. So every part has a share, and the shares add up to the logit.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/answers.hpp"
#include "probes/common/language.hpp"
#include "probes/common/position_choice.hpp"
#include "probes/common/shared_heads.hpp"
#include "probes/common/vocabulary.hpp"

namespace wf = wayfarer;
using namespace wayfarer::language;

namespace {

constexpr std::size_t rows_at_once = 32;  // of directions

/// One position of one item of a block, and the logit that is explained there.
struct place {
  std::size_t item, at, position;
  std::int32_t token = -1, against = -1;  ///< -1: none
  double logit = 0;                       ///< of `token`, less that of `against`
};

/// An attention of every block: "attn.", and "cross_attn." of an encoder-decoder's decoder.
struct attention {
  std::string field;  ///< of its heads' shares
  std::string hooks;  ///< "attn."
};

/// A part that writes to the residual stream as a whole.
struct part {
  std::string field, hook, bias;  ///< `bias`: weight that is counted apart, "" if there is none
  std::string bias_field;
};

bool has(std::vector<std::string> const& names, std::string const& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

struct logit_attribution final : wf::probe, wf::plan_checker {
  explicit logit_attribution(wf::config const& c)
      : positions_(c["positions"].texts()), answer_(c, "answer"), against_(c, "against"), next_(c["target"].text() == "next") {}

  wf::hook_set needs(wf::model_info const& model) const override {
    stack const top = stack_of(model);
    for (auto const& [fact, reason] : {std::pair("logit_cap", "caps its logits, which are no sum of parts"),
                                       std::pair("residual_multiplier", "multiplies what heads and MLPs add")})
      if (model.facts.contains(fact))
        throw wf::usage_error("logit_attribution can't take the logits of " + model.architecture + " apart: it " + reason);
    if (model.find_hook(top.block(0, "ln1_post.hook_out")))
      throw wf::usage_error("logit_attribution can't take the logits of " + model.architecture +
                            " apart: a norm stands between its heads and the residual stream (ln1_post)");
    if (model.find_hook(top.block(0, "ln1.hook_out")) && !wf::reading::norm_comes_first(model, top.block(0, "")))
      throw wf::usage_error("logit_attribution can't take the logits of " + model.architecture +
                            " apart: norms stand behind its sums, so that the last state is no sum of parts");
    wf::hook_set all;
    for (auto const& name : embeddings(model, top)) all.add(model.hooks_for(name.hook));
    for (std::size_t l = 0; l < top.layers; ++l) {
      for (auto const& a : attentions(top)) all.add(model.hooks_for(top.block(l, a.hooks + "hook_z")));
      all.add(model.hooks_for(top.block(l, "hook_mlp_out")));
    }
    if (model.norm != wf::norm_kind::none) {
      all.add(model.hooks_for(top.final_norm + "hook_scale"));
      all.add(model.hooks_for(top.final_norm + "hook_out"));
    } else {
      all.add(model.hooks_for(top.block(top.layers - 1, "hook_resid_post")));
    }
    return all;
  }

  void check_plan(wf::probe_context const& at) const override {
    std::vector<wf::parameter_problem> wrong;
    for (auto const* answers : {&answer_, &against_}) answers->check(at.items().size(), at.model(), wrong);
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    stack const top = stack_of(model);
    wf::dim const pos = places_of(at, top), layer{"layer", top.layers};
    positions_.check(top.longest(at));
    for (auto const& a : attentions(top)) {
      acc.define_rows(a.field, {pos, layer, {"head", model.heads}});
      if (has(model.weights, top.block(0, a.hooks + "b_O"))) acc.define_rows(a.field + "_bias", {pos, layer});
    }
    acc.define_rows("mlp", {pos, layer});
    if (has(model.weights, top.block(0, "mlp.b_out"))) acc.define_rows("mlp_bias", {pos, layer});
    for (auto const& e : embeddings(model, top)) acc.define_rows(e.field, {pos});
    for (auto const* name : {"final_bias", "sum", "logit"}) acc.define_rows(name, {pos});
    for (auto const* name : {"answer_ids", "against_ids"}) acc.define_rows(name, {pos}, wf::dtype::i32);
    acc.define_rows("length", {}, wf::dtype::i32);
    acc.define_rows("token_ids", {{top.pos(), top.longest(at)}}, wf::dtype::i32);
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    stack const top = stack_of(at.model().info());
    for (auto const& [name, field] : acc.fields()) {
      if (field.values.type() == wf::dtype::f64)
        for (auto& v : field.values.values<double>()) v = std::numeric_limits<double>::quiet_NaN();
      else
        for (auto& v : field.values.values<std::int32_t>()) v = -1;
    }
    std::vector<place> places;
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const tokens = top.tokens(block[i]);
      acc["length"].view<std::int32_t>()(i) = static_cast<std::int32_t>(tokens.size());
      for (std::size_t p = 0; p < tokens.size(); ++p) acc["token_ids"].view<std::int32_t>()(i, p) = tokens[p];
      for (std::size_t p = 0; p < positions_.places(top.longest(at)); ++p) {
        auto const where = positions_.position(p, tokens.size());
        if (!where) continue;
        place one{i, p, *where};
        std::size_t const number = block[i].index() - at.items().first;
        if (!answer_.empty())
          one.token = answer_.token(number, at.items().size(), at.model());
        else if (next_)
          one.token = *where + 1 < tokens.size() ? tokens[*where + 1] : -1;
        if (!against_.empty()) one.against = against_.token(number, at.items().size(), at.model());
        if (!next_ || !answer_.empty() || one.token >= 0) places.push_back(one);
      }
    }
    for (std::size_t first = 0; first < places.size(); first += wf::vocabulary_rows)
      find_logits(block, at.model(), top, std::span(places).subspan(first, std::min(wf::vocabulary_rows, places.size() - first)));
    for (std::size_t first = 0; first < places.size(); first += rows_at_once)
      attribute(acc, block, at.model(), top, std::span(places).subspan(first, std::min(rows_at_once, places.size() - first)));
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    stack const top = stack_of(model);
    auto const add = [&](std::string const& name, char const* view, std::string const& about) {
      auto& set = out.add(name, acc[name])
                      .view(view)
                      .about(about)
                      .units("logit")
                      .missing("no token to explain here: beyond the item's length, or no next token");
      if (auto const chosen = positions_.coordinate(); chosen.defined()) set.coordinate(positions_.dimension(top.pos()), chosen);
    };
    constexpr char by_head[] = R"({"kind": "heatmap", "rows": "layer", "columns": "head", "colours": "diverging"})";
    constexpr char by_layer[] = R"({"kind": "heatmap", "colours": "diverging"})";
    for (auto const& a : attentions(top)) {
      add(a.field, by_head, "share of each head, its value bias included");
      if (acc.fields().contains(a.field + "_bias")) add(a.field + "_bias", by_layer, "share of each attention's output bias");
    }
    add("mlp", by_layer, acc.fields().contains("mlp_bias") ? "share of each MLP without its output bias" : "share of each MLP");
    if (acc.fields().contains("mlp_bias")) add("mlp_bias", by_layer, "share of each MLP's output bias");
    for (auto const& e : embeddings(model, top)) add(e.field, "tokens", e.about);
    add("final_bias", "tokens", "share of the biases of the final norm and the unembedding");
    add("sum", "tokens", "all shares together");
    add("logit", "tokens",
        against_.empty() ? "the model's logit of the answer" : "the model's logit of the answer less that of `against`");
    out.add("answer_ids", acc["answer_ids"]).about("token whose logit is explained; -1 where there is none").view("table");
    add_token_texts(out, "answers", acc["answer_ids"], at.model());
    if (!against_.empty()) {
      out.add("against_ids", acc["against_ids"]).about("token whose logit is subtracted").view("table");
      add_token_texts(out, "against", acc["against_ids"], at.model());
    }
    out.add("length", acc["length"]).units("token").about("tokens of each item").view("histogram");
    out.add("token_ids", acc["token_ids"]).about("ids of the tokens; -1 beyond an item's length").view("table");
    add_token_texts(out, "tokens", acc["token_ids"], at.model());
    out.summarise(finding(acc, model, top, at.model()));
  }

 private:
  /// The part with the largest share, in the mean over all positions that are explained: "head 1.2 carries +1.4 of 2.1 logits to
  /// ' Anna'".
  std::string finding(wf::accumulator const& acc, wf::model_info const& model, stack const& top, wf::model const& m) const {
    auto const logits = acc["logit"].values<double const>();
    auto const ids = acc["answer_ids"].values<std::int32_t const>(), others = acc["against_ids"].values<std::int32_t const>();
    std::vector<std::size_t> rows;
    double whole = 0;
    for (std::size_t i = 0; i < logits.size(); ++i)
      if (!std::isnan(logits[i])) rows.push_back(i), whole += logits[i];
    if (rows.empty()) return "no position has a logit to explain";
    auto const n = static_cast<double>(rows.size());
    std::string best;
    double most = 0;
    bool any = false;
    // Parts of [item, pos, ...], each mean over the rows.
    auto const look = [&](std::string const& field, auto const& name) {
      auto const v = acc[field].values<double const>();
      std::size_t const parts = v.size() / logits.size();
      for (std::size_t k = 0; k < parts; ++k) {
        double sum = 0;
        for (std::size_t const r : rows) sum += v[r * parts + k];
        if (std::isnan(sum) || (any && std::abs(sum / n) <= std::abs(most))) continue;
        any = true, most = sum / n, best = name(k);
      }
    };
    for (auto const& a : attentions(top))
      look(a.field, [&](std::size_t k) {
        return std::string(a.field == "head" ? "head " : "cross-attention head ") + std::to_string(k / model.heads) + "." +
               std::to_string(k % model.heads);
      });
    look("mlp", [](std::size_t k) { return "MLP " + std::to_string(k); });
    for (auto const& e : embeddings(model, top))
      look(e.field, [&](std::size_t) {
        return e.field == "embedding" ? std::string("the token embedding") : "the " + e.field + " embedding";
      });
    if (!any) return "no share is a number";
    bool const one = std::all_of(rows.begin(), rows.end(), [&](std::size_t r) { return ids[r] == ids[rows[0]]; }),
               one_other = std::all_of(rows.begin(), rows.end(), [&](std::size_t r) { return others[r] == others[rows[0]]; });
    std::string line = best + " carries " + wf::told(most, 3, true) + " of " + wf::told(whole / n) + " logits to " +
                       (one ? "'" + m.token_text(ids[rows[0]]) + "'" : std::string("the answers"));
    if (!against_.empty())
      line += " against " + (one_other ? "'" + m.token_text(others[rows[0]]) + "'" : std::string("the others"));
    return rows.size() == 1 ? line : line + ", in the mean over " + wf::counted(rows.size(), "position");
  }

  struct embedding {
    std::string hook, field, about;
  };

  static std::vector<attention> attentions(stack const& top) {
    std::vector<attention> all{{"head", "attn."}};
    if (top.decoder) all.push_back({"cross_head", "cross_attn."});
    return all;
  }
  static std::vector<embedding> embeddings(wf::model_info const& m, stack const& top) {
    std::vector<embedding> all{{top.embed, "embedding", "share of the token embedding"}};
    if (!top.decoder && m.find_hook("hook_pos_embed") != nullptr)
      all.push_back({"hook_pos_embed", "position", "share of the position embedding"});
    return all;
  }
  wf::dim places_of(wf::probe_context const& at, stack const& top) const {
    return {positions_.dimension(top.pos()), positions_.places(top.longest(at))};
  }

  /// [d_model] of some weight, as float64.
  static std::vector<double> vector_of(wf::tensor const& t) {
    auto const wide = t.to(wf::dtype::f64);
    auto const v = wide.values<double const>();
    return {v.begin(), v.end()};
  }

  /// The model's own logits, which also say what the likeliest token is.
  static void find_logits(wf::sample const& block, wf::model const& m, stack const& top, std::span<place> places) {
    std::string const last =
        m.info().norm != wf::norm_kind::none ? top.final_norm + "hook_out" : top.block(top.layers - 1, "hook_resid_post");
    wf::tensor const& any = block[places[0].item][last];
    wf::tensor const states(any.type(), {{"row", places.size()}, {"d_model", m.info().d_model}});
    wf::vocabulary_question question;
    question.likeliest = 1;
    for (std::size_t r = 0; r < places.size(); ++r) {
      place const& p = places[r];
      wf::copy_into(states[r], block[p.item][last][p.position]);
      std::vector<std::int32_t> wanted{p.token, p.against};
      std::erase(wanted, -1);
      question.tokens.push_back(wanted);
    }
    auto const found = read_vocabulary(m, states, question);
    for (std::size_t r = 0; r < places.size(); ++r) {
      place& p = places[r];
      auto const& logits = found[r].logits;
      if (p.token >= 0) {
        p.logit = logits.front();
      } else {
        if (found[r].likeliest.empty()) nothing_is_likely();
        p.token = found[r].likeliest[0].token, p.logit = found[r].likeliest[0].logit;
      }
      if (p.against >= 0) p.logit -= logits.back();
    }
  }

  /// The rows' directions before the norm, and what else their logits hold.
  struct reading_of_rows {
    /// g: shares are dot products with it. [row, d_model]. Always of one size, since a product's rounding depends on it: an
    /// item's numbers must not depend on how many others are in its block.
    wf::tensor directions;
    std::vector<double> final_bias;  ///< by row
  };

  static reading_of_rows read_rows(wf::sample const& block, wf::model const& m, stack const& top, std::span<place const> places) {
    auto const& info = m.info();
    std::size_t const d = info.d_model, rows = places.size();
    bool const normed = info.norm != wf::norm_kind::none;
    // u: the direction in which a state is read, [d_model]; the logit is state . u * factor + bias.
    wf::tensor const unembedding = m.weight("unembed.W_U");  // [d_model, token]
    auto const column = [&](std::int32_t t) {
      auto const i = static_cast<std::size_t>(t);
      return vector_of(unembedding.slice(1, i, i + 1));
    };
    auto const [factor, biases] = scale_and_biases(m, column(places[0].token), places[0].token);
    auto const bias_of = [&biases = biases](std::int32_t t) {
      return biases.empty() ? 0.0 : biases[static_cast<std::size_t>(t)];
    };
    std::vector<double> weight(d, 1.0), offset(d, 0.0);
    if (normed) {
      weight = vector_of(m.weight(top.final_norm + "w"));
      if (has(info.weights, top.final_norm + "b")) offset = vector_of(m.weight(top.final_norm + "b"));
    }
    reading_of_rows out{wf::tensor(wf::dtype::f64, {{"row", rows_at_once}, {"d_model", d}}), std::vector<double>(rows)};
    for (std::size_t r = 0; r < rows; ++r) {
      place const& p = places[r];
      auto u = column(p.token);
      double bias = bias_of(p.token);
      if (p.against >= 0) {
        auto const other = column(p.against);
        for (std::size_t j = 0; j < d; ++j) u[j] -= other[j];
        bias -= bias_of(p.against);
      }
      double const scale = normed ? block[p.item][top.final_norm + "hook_scale"].get({p.position, 0}) : 1;
      double mean = 0;
      for (std::size_t j = 0; j < d; ++j) {
        u[j] *= factor;
        bias += offset[j] * u[j];
        u[j] *= weight[j];
        mean += u[j] / static_cast<double>(d);
      }
      if (info.norm != wf::norm_kind::layer) mean = 0;  // only layer norms subtract the mean
      for (std::size_t j = 0; j < d; ++j) out.directions(r, j) = (u[j] - mean) / scale;
      out.final_bias[r] = bias;
    }
    return out;
  }

  void attribute(wf::accumulator& acc, wf::sample const& block, wf::model const& m, stack const& top,
                 std::span<place const> places) const {
    std::size_t const d = m.info().d_model, rows = places.size();
    reading_of_rows const rows_of = read_rows(block, m, top, places);
    std::vector<double> sum = rows_of.final_bias;
    for (std::size_t r = 0; r < rows; ++r) {
      place const& p = places[r];
      acc["final_bias"](p.item, p.at) = rows_of.final_bias[r];
      acc["answer_ids"].view<std::int32_t>()(p.item, p.at) = p.token;
      acc["against_ids"].view<std::int32_t>()(p.item, p.at) = p.against;
      acc["logit"](p.item, p.at) = p.logit;
    }
    auto const directions = rows_of.directions.view<double const>();
    auto const share = [&](std::span<double const> x, std::size_t r) { return wf::dot(x, directions.row(r)); };
    auto const state = [&](std::string const& hook, std::size_t r) {
      return vector_of(block[places[r].item][hook][places[r].position]);
    };

    for (auto const& e : embeddings(m.info(), top))
      for (std::size_t r = 0; r < rows; ++r) {
        double const s = share(state(e.hook, r), r);
        acc[e.field](places[r].item, places[r].at) = s;
        sum[r] += s;
      }
    for (std::size_t l = 0; l < top.layers; ++l) {
      for (auto const& a : attentions(top)) {
        wf::tensor const w = m.weight(top.block(l, a.hooks + "W_O")).to(wf::dtype::f64);  // [head, d_head, d_model]
        std::size_t const heads = w.size(0), width = w.size(1);
        // What each entry of z says in each direction: [head * d_head, row].
        wf::tensor const reading =
            wf::matmul(w.reshaped({{"z", heads * width}, {"d_model", d}}), rows_of.directions.transposed());
        std::vector<double> const bias = bias_vector(m, top.block(l, a.hooks + "b_O"));
        for (std::size_t r = 0; r < rows; ++r) {
          auto const z = state(top.block(l, a.hooks + "hook_z"), r);
          for (std::size_t h = 0; h < heads; ++h) {
            double s = 0;
            for (std::size_t j = 0; j < width; ++j) s += z[h * width + j] * reading(h * width + j, r);
            acc[a.field](places[r].item, places[r].at, l, h) = s;
            sum[r] += s;
          }
          if (bias.empty()) continue;
          double const s = share(bias, r);
          acc[a.field + "_bias"](places[r].item, places[r].at, l) = s;
          sum[r] += s;
        }
      }
      std::vector<double> const bias = bias_vector(m, top.block(l, "mlp.b_out"));
      for (std::size_t r = 0; r < rows; ++r) {
        double const whole = share(state(top.block(l, "hook_mlp_out"), r), r), of_bias = bias.empty() ? 0 : share(bias, r);
        acc["mlp"](places[r].item, places[r].at, l) = whole - of_bias;
        if (!bias.empty()) acc["mlp_bias"](places[r].item, places[r].at, l) = of_bias;
        sum[r] += whole;
      }
    }
    for (std::size_t r = 0; r < rows; ++r) acc["sum"](places[r].item, places[r].at) = sum[r];
  }

  /// Empty if the model has no such bias.
  static std::vector<double> bias_vector(wf::model const& m, std::string const& name) {
    return has(m.info().weights, name) ? vector_of(m.weight(name)) : std::vector<double>();
  }

  /// What the unembedding does beside W_U: T5 scales its states where the matrices are tied, others add a bias. Measured, so that
  /// it holds for any model. `u`: column `token` of W_U.
  static std::pair<double, std::vector<double>> scale_and_biases(wf::model const& m, std::vector<double> const& u,
                                                                 std::int32_t token) {
    std::size_t const d = u.size();
    wf::tensor const x(wf::dtype::f32, {{"row", 2}, {"d_model", d}});
    double square = 0;
    for (std::size_t j = 0; j < d; ++j) {
      float const v = static_cast<float>(u[j]);
      x.view<float>()(1, j) = v;
      square += u[j] * static_cast<double>(v);
    }
    auto const y = m.unembed(x).to(wf::dtype::f64);
    auto const zero = y.view<double const>().row(0);
    auto const t = static_cast<std::size_t>(token);
    double factor = square > 0 ? (y(1, t) - y(0, t)) / square : 1;
    // float32 rounding aside it is one of these two.
    for (double const known : {1.0, 1 / std::sqrt(static_cast<double>(d))})
      if (std::abs(factor / known - 1) < 1e-4) factor = known;
    if (std::all_of(zero.begin(), zero.end(), [](double b) { return b == 0; })) return {factor, {}};
    return {factor, {zero.begin(), zero.end()}};
  }

  position_choice positions_;
  answer_list answer_, against_;
  bool next_;
};

WAYFARER_PROBE(
    logit_attribution, "1.0.0", "Share of every head, MLP and embedding in a logit or a logit difference",
    wf::port::model("model"), wf::port::source("source"),
    wf::param("answer", wf::strings(""),
              "text of the token whose logit is explained: one for all items, or one for each; a word within a text begins with "
              "its space"),
    wf::param("answer_ids", wf::integers(""), "the same as token ids"),
    wf::param("against", wf::strings(""), "text of a token whose logit is subtracted: one for all items, or one for each"),
    wf::param("against_ids", wf::integers(""), "the same as token ids"),
    wf::param("target", "top", "what is explained without an answer: the model's likeliest token, or the actual next one")
        .one_of("top|next"),
    wf::param("positions", wf::strings("last"), "all, last, or numbers such as [0, -1], negative ones from an item's end"));
