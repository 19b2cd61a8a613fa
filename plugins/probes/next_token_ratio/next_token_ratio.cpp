// Whether words move towards the words that follow them: after every block, how much more likely the next token is than the
// current one, read through the final norm and the unembedding.
// Molina 2023 (Traveling Words, arXiv 2309.07315), an experiment of its published code's history; notes E9a.
//
//     ratio: {probe: next_token_ratio, model: gpt2, source: sentences}
//
// log p(next)/p(current) is a difference of two logits, scaled and capped as the model does, so it costs two inner products a
// state and no softmax. Memory is that of the longest item, however many there are.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/language.hpp"

namespace wf = wayfarer;
using namespace wayfarer::language;

struct next_token_ratio final : wf::probe {
  explicit next_token_ratio(wf::config const& c) : window_(c["window"]) {}

  wf::hook_set needs(wf::model_info const& model) const override {
    wf::hook_set all;
    for (std::size_t l = 0; l < checked(model).layers; ++l)
      all.add(model.hooks_for("blocks." + std::to_string(l) + ".hook_resid_post"));
    return all;
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    wf::dim const layer{"layer", checked(at.model().info()).layers}, pos{"pos", at.longest()};
    acc.define("sums", {layer, pos});
    acc.define("counts", {pos});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& model = at.model();
    auto const& info = model.info();
    wf::tensor const words = model.weight("unembed.W_U").transposed();  // [token, d_model]
    bool const biased = std::find(info.weights.begin(), info.weights.end(), "unembed.b_U") != info.weights.end();
    wf::tensor const bias = biased ? model.weight("unembed.b_U").to(wf::dtype::f64) : wf::tensor();
    auto const sums = acc["sums"].view<double>();
    auto const counts = acc["counts"].view<double>();
    double const scale = fact(info, "logit_scale", 1), cap = fact(info, "logit_cap", 0);
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const tokens = block[i].tokens();
      if (tokens.size() < 2) continue;
      std::size_t const steps = tokens.size() - 1;
      wf::tensor const own(wf::dtype::f64, {{"pos", tokens.size()}, {"d_model", info.d_model}});
      for (std::size_t p = 0; p < tokens.size(); ++p) wf::copy_into(own[p], words[static_cast<std::size_t>(tokens[p])]);
      for (std::size_t p = 0; p < steps; ++p) counts(p) += 1;
      wf::parallel_for(info.layers, [&](std::size_t l) {
        wf::tensor const state = block[i]["blocks." + std::to_string(l) + ".hook_resid_post"].slice(0, 0, steps);
        wf::tensor const y = (info.norm == wf::norm_kind::none ? state : model.final_norm(state)).to(wf::dtype::f64);
        auto const logit = [&](std::size_t p, std::size_t at_token) {
          double x = wf::dot(y.view<double const>().row(p), own.view<double const>().row(at_token));
          if (biased) x += bias.view<double const>()(static_cast<std::size_t>(tokens[at_token]));
          x *= scale;
          return cap > 0 ? cap * std::tanh(x / cap) : x;
        };
        for (std::size_t p = 0; p < steps; ++p) sums(l, p) += logit(p, p + 1) - logit(p, p);
      });
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const& info = at.model().info();
    std::size_t const L = info.layers, P = at.longest();
    wf::tensor const mean(wf::dtype::f64, {{"layer", L}, {"pos", P}}), smooth = mean.clone(),
                                                                       whole(wf::dtype::f64, {{"layer", L}});
    auto const sums = acc["sums"].view<double const>();
    auto const counts = acc["counts"].view<double const>();
    double seen = 0;
    for (std::size_t p = 0; p < P; ++p) seen += counts(p);
    for (std::size_t l = 0; l < L; ++l) {
      double sum = 0;
      for (std::size_t p = 0; p < P; ++p) {
        mean(l, p) = sums(l, p) / counts(p);  // NaN where no item has a next token
        sum += sums(l, p);
        double window = 0;
        for (std::size_t q = p + 1 < window_ ? P : p + 1 - window_; q <= p; ++q) window += mean(l, q);
        smooth(l, p) = p + 1 < window_ ? std::numeric_limits<double>::quiet_NaN() : window / static_cast<double>(window_);
      }
      whole(l) = sum / seen;
    }
    std::string const what = "log p(next token) / p(current token) read after each block";
    constexpr char along[] = R"({"kind": "curve", "x": "pos"})";
    out.add("ratio", mean).units("nat").about("mean over items of " + what).missing("no item has a next token here").view(along);
    char text[128];
    std::snprintf(text, sizeof text, "mean of ratio over the %zu positions that end at each; NaN before the first %zu", window_,
                  window_);
    out.add("smooth_ratio", smooth)
        .units("nat")
        .about(text)
        .missing("the window is not full, or no item has a next token in it")
        .view(along);
    out.add("mean_ratio", whole)
        .units("nat")
        .about("mean over all positions of " + what)
        .missing("no item has a next token")
        .view("curve");
    out.add("count", acc["counts"]).units("item").about("items that have a next token at each position").view("curve");
    out.summarise(seen == 0 ? "no position has a next token"
                            : "log p(next) / p(current) is " + wf::told(whole(std::size_t{0})) + " nat after the first block, " +
                                  wf::told(whole(L - 1)) + " after the last, over " +
                                  wf::counted(static_cast<std::size_t>(seen), "position"));
  }

 private:
  static wf::model_info const& checked(wf::model_info const& m) {
    if (m.family != wf::model_family::decoder)
      throw wf::usage_error("next_token_ratio reads decoder-only models; " + m.architecture + " is another kind");
    if (std::find(m.weights.begin(), m.weights.end(), "unembed.W_out") != m.weights.end())
      throw wf::usage_error("next_token_ratio reads states with the unembedding alone, and " + m.architecture +
                            " brings them to another width first (unembed.W_out)");
    return m;
  }

  static double fact(wf::model_info const& m, char const* name, double otherwise) {
    auto const at = m.facts.find(name);
    return at == m.facts.end() ? otherwise : at->second.real();
  }

  std::size_t window_;
};

WAYFARER_PROBE(next_token_ratio, "1.0.0", "How much likelier the next word is than the current one, after every block",
               wf::port::model("model"), wf::port::source("source"),
               wf::param("window", 10, "positions averaged in smooth_ratio").in("position").between(1, 100000));
