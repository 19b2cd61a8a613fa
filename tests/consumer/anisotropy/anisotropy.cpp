// anisotropy: mean cosine between tokens of different items, layer by layer: how narrow a cone the vectors live in.
// Ethayarajh 2019, section 4.1, over all pairs instead of some drawn at random.
//
// With unit vectors u, the cosines of all pairs of tokens sum up to |sum u|^2; of that, the pairs within an item i make
// |sum over i of u|^2. So two sums are enough, and no pair has to be visited.
#include <cmath>
#include <string>
#include <vector>

#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

namespace wf = wayfarer;

struct anisotropy final : wf::probe {
  explicit anisotropy(wf::config const& c) : hooks_(c["hooks"].texts()) {}

  wf::hook_set needs(wf::model_info const& model) const override { return model.hooks_for(hooks_); }

  void shape(wf::accumulator& sums, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    std::size_t const layers = needs(model).size();
    sums.define("direction", {{"layer", layers}, {"d_model", model.d_model}});
    sums.define("within", {{"layer", layers}});
    sums.define("tokens", {});
    sums.define("pairs_within", {});
  }

  void observe(wf::accumulator& sums, wf::sample const& block, wf::probe_context const& at) const override {
    auto const hooks = needs(at.model().info()).names();
    for (std::size_t i = 0; i < block.size(); ++i) {
      double const tokens = static_cast<double>(block[i].tokens().size());
      sums["tokens"]() += tokens;
      sums["pairs_within"]() += tokens * tokens;
      for (std::size_t layer = 0; layer < hooks.size(); ++layer) {
        wf::tensor const vectors = block[i][hooks[layer]].to(wf::dtype::f64);  // [pos, d_model]
        auto const x = vectors.view<double const>();
        std::vector<double> direction(x.size(1));
        for (std::size_t p = 0; p < x.size(0); ++p) {
          double const length = std::sqrt(wf::dot(x.row(p), x.row(p)));
          for (std::size_t d = 0; length > 0 && d < direction.size(); ++d) direction[d] += x(p, d) / length;
        }
        sums["within"](layer) += wf::dot(std::span<double const>(direction), direction);
        for (std::size_t d = 0; d < direction.size(); ++d) sums["direction"](layer, d) += direction[d];
      }
    }
  }

  void finish(wf::accumulator const& sums, wf::results& out, wf::probe_context const& at) const override {
    double const tokens = sums["tokens"](), pairs = tokens * tokens - sums["pairs_within"]();
    wf::tensor cosine(wf::dtype::f64, {{"layer", sums["within"].size(0)}});
    for (std::size_t layer = 0; layer < cosine.size(0); ++layer) {
      wf::tensor const direction = sums["direction"][layer];
      auto const all = direction.values<double const>();
      cosine(layer) = (wf::dot(all, all) - sums["within"](layer)) / pairs;  // NaN for a single item: there is no pair
    }
    out.add("mean_cosine", cosine)
        .about("mean cosine between tokens of different items")
        .labels("layer", needs(at.model().info()).names())
        .view("curve");
    out.summarise("mean cosine " + wf::told(cosine(cosine.size(0) - 1)) + " after the last layer");  // its finding, for the run
  }

 private:
  std::vector<std::string> hooks_;
};

WAYFARER_PROBE(anisotropy, "1.0.0", "Mean cosine between tokens of different items, per layer", wf::port::model("model"),
               wf::port::source("source"),
               wf::param("hooks", wf::strings("blocks.*.hook_resid_post"), "hooks to read, in layer order"));
