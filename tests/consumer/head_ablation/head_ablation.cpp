// head_ablation: what each attention head is worth: the rise of the next-token loss when its output is set to zero.
//
// Nothing is captured: the probe runs the model itself, once as it is and once for each head, with an edit at hook_z. The hook
// holds [pos, head, d_head], the sum of values that each head found, before W_O mixes the heads.
#include <cmath>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

namespace wf = wayfarer;

namespace {

/// Sum over the next tokens of -log p(token | before). logits: [pos, token].
double loss_of(wf::tensor const& logits, std::span<std::int32_t const> tokens) {
  double loss = 0;
  for (std::size_t p = 0; p + 1 < tokens.size(); ++p) {
    wf::tensor const row = logits[p].to(wf::dtype::f64);
    auto const x = row.values<double const>();
    double largest = x[0], sum = 0;
    for (double const v : x) largest = std::max(largest, v);
    for (double const v : x) sum += std::exp(v - largest);
    loss += largest + std::log(sum) - x[static_cast<std::size_t>(tokens[p + 1])];
  }
  return loss;
}

}  // namespace

struct head_ablation final : wf::probe {
  explicit head_ablation(wf::config const&) {}

  void shape(wf::accumulator& sums, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    if (model.family != wf::model_family::decoder)
      throw wf::usage_error("head_ablation asks for the next token, and " + model.architecture + " is no decoder");
    sums.define("ablated", {{"layer", model.layers}, {"head", model.heads}});
    sums.define("plain", {});
    sums.define("predictions", {});
  }

  void observe(wf::accumulator& sums, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    sums["plain"]() += loss(block, at, {});
    for (std::size_t i = 0; i < block.size(); ++i)
      if (!block[i].tokens().empty()) sums["predictions"]() += static_cast<double>(block[i].tokens().size() - 1);
    for (std::size_t layer = 0; layer < model.layers; ++layer)
      for (std::size_t head = 0; head < model.heads; ++head) {
        // Called for each item with a tensor that may be written; everything downstream sees what is left in it.
        auto const silence = [head](wf::edit_site const&, wf::tensor const& z) {
          for (std::size_t p = 0; p < z.size(0); ++p)
            for (std::size_t d = 0; d < z.size(2); ++d)
              if (z.type() == wf::dtype::f64)
                z.view<double>()(p, head, d) = 0;
              else
                z.view<float>()(p, head, d) = 0;
        };
        sums["ablated"](layer, head) += loss(block, at, {{"blocks." + std::to_string(layer) + ".attn.hook_z", silence}});
      }
  }

  void finish(wf::accumulator const& sums, wf::results& out, wf::probe_context const&) const override {
    double const plain = sums["plain"]() / sums["predictions"]();
    wf::tensor rise = sums["ablated"] / sums["predictions"]();
    for (double& x : rise.values<double>()) x -= plain;
    out.add("loss", plain).units("nat").about("mean next-token loss of the model as it is");
    out.add("rise", rise).units("nat").about("how much the loss rises without this head").view("heatmap");
    out.summarise("loss " + wf::told(plain) + " nat as the model is");
  }

 private:
  /// Sum of the losses of a block's items.
  static double loss(wf::sample const& block, wf::probe_context const& at, std::vector<wf::hook_edit> edits) {
    wf::run_request request;
    request.capture = wf::hook_set({"logits"});
    request.edits = std::move(edits);
    wf::activations const run = at.model().run(block.tokens(), request);
    double sum = 0;
    for (std::size_t i = 0; i < block.size(); ++i) sum += loss_of(run.at("logits", i), block[i].tokens());
    return sum;
  }
};

WAYFARER_PROBE(head_ablation, "1.0.0", "Rise of the loss without each attention head", wf::port::model("model"),
               wf::port::source("source"));
