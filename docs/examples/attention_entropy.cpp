// Mean entropy of every head's attention: 0 looks at one token, log(n) at n tokens alike.
#include <algorithm>
#include <cmath>
#include <string>

#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

namespace wf = wayfarer;

struct attention_entropy final : wf::probe {
  explicit attention_entropy(wf::config const&) {}

  wf::hook_set needs(wf::model_info const& model) const override { return model.hooks_for("blocks.*.attn.hook_pattern"); }

  // The sums start at zero; the host adds those of all blocks, in order.
  void shape(wf::accumulator& sums, wf::probe_context const& at) const override {
    sums.define("entropy", {{"layer", at.model().info().layers}, {"head", at.model().info().heads}});
    sums.define("queries", {});
  }

  // One block of items after its forward pass. Called from any thread, each with sums of its own.
  void observe(wf::accumulator& sums, wf::sample const& block, wf::probe_context const& at) const override {
    for (std::size_t i = 0; i < block.size(); ++i) {
      for (std::size_t layer = 0; layer < at.model().info().layers; ++layer) {
        auto const pattern =
            block[i]["blocks." + std::to_string(layer) + ".attn.hook_pattern"].view<float const>();  // [head, query, key]
        for (std::size_t head = 0; head < pattern.size(0); ++head)
          for (std::size_t query = 0; query < pattern.size(1); ++query)
            for (float const weight : pattern[head].row(query))
              if (weight > 0) sums["entropy"](layer, head) -= weight * std::log(weight);
      }
      sums["queries"]() += static_cast<double>(block[i].tokens().size());
    }
  }

  void finish(wf::accumulator const& sums, wf::results& out, wf::probe_context const&) const override {
    out.add("entropy", sums["entropy"] / sums["queries"]()).units("nat").about("mean entropy of a query's attention");
    auto const entropy = out.at("entropy").values().values<double const>();
    auto const [least, most] = std::minmax_element(entropy.begin(), entropy.end());
    out.summarise("a head's mean entropy is " + wf::told(*least) + " to " + wf::told(*most) + " nat");
  }
};

WAYFARER_PROBE(attention_entropy, "1.0.0", "Mean entropy of each head's attention", wf::port::model("model"),
               wf::port::source("source"));
