// head_entropy: how widely each attention head looks. The entropy of a query's weights, in nats and as a share of the most that
// the tokens which it may look at would allow, averaged over queries.
#include <algorithm>
#include <cmath>
#include <string>

#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

namespace wf = wayfarer;

struct head_entropy final : wf::probe {
  explicit head_entropy(wf::config const&) {}

  wf::hook_set needs(wf::model_info const& model) const override { return model.hooks_for("blocks.*.attn.hook_pattern"); }

  void shape(wf::accumulator& sums, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    for (char const* field : {"entropy", "share"}) sums.define(field, {{"layer", model.layers}, {"head", model.heads}});
    sums.define("queries", {});
    sums.define("choosing", {});  // queries that see more than one token
  }

  void observe(wf::accumulator& sums, wf::sample const& block, wf::probe_context const& at) const override {
    auto const hooks = needs(at.model().info()).names();
    bool const causal = at.model().info().family == wf::model_family::decoder;
    for (std::size_t i = 0; i < block.size(); ++i) {
      std::size_t const tokens = block[i].tokens().size();
      sums["queries"]() += static_cast<double>(tokens);
      sums["choosing"]() += static_cast<double>(tokens < 2 ? 0 : causal ? tokens - 1 : tokens);
      for (std::size_t layer = 0; layer < hooks.size(); ++layer) {
        wf::tensor const weights = block[i][hooks[layer]].to(wf::dtype::f64);
        auto const pattern = weights.view<double const>();  // [head, query, key]
        for (std::size_t head = 0; head < pattern.size(0); ++head)
          for (std::size_t query = 0; query < tokens; ++query) {
            double entropy = 0;
            for (double const w : pattern[head].row(query))
              if (w > 0) entropy -= w * std::log(w);
            std::size_t const visible = causal ? query + 1 : tokens;
            sums["entropy"](layer, head) += entropy;
            if (visible > 1) sums["share"](layer, head) += entropy / std::log(static_cast<double>(visible));
          }
      }
    }
  }

  void finish(wf::accumulator const& sums, wf::results& out, wf::probe_context const&) const override {
    out.add("entropy", sums["entropy"] / sums["queries"]())
        .units("nat")
        .about("mean entropy of a query's attention")
        .view("heatmap");
    out.add("share", sums["share"] / sums["choosing"]())
        .about("mean of entropy over the logarithm of the tokens in sight")
        .view("heatmap");
    auto const entropy = out.at("entropy").values().values<double const>();
    auto const [least, most] = std::minmax_element(entropy.begin(), entropy.end());
    out.summarise("a head's mean entropy is " + wf::told(*least) + " to " + wf::told(*most) + " nat");
  }
};

WAYFARER_PROBE(head_entropy, "1.0.0", "How widely each attention head looks", wf::port::model("model"),
               wf::port::source("source"));
