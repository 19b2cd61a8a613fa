// my_probe: how long the vectors at some hooks are, on average, and how much their lengths differ.
//
// A probe says which activations it reads (needs), what it sums up (shape, observe) and what it reports (finish). The host runs
// the model, shows it the items in blocks, from many threads, each block with sums of its own, and adds those up in order.
#include <cmath>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

namespace wf = wayfarer;

struct my_probe final : wf::probe {
  // Parameters come checked and complete: names, types, ranges and defaults are those at the end of this file.
  explicit my_probe(wf::config const& c) : hooks_(c["hooks"].texts()) {}

  // Asked before any weight is loaded. Names that the model lacks are reported by `wayfarer check`, with near ones.
  wf::hook_set needs(wf::model_info const& model) const override {
    wf::hook_set const wanted = model.hooks_for(hooks_);
    for (auto const& name : wanted.names())
      if (auto const* hook = model.find_hook(name); hook->per_pair || hook->row.size() != 1)
        throw wf::usage_error("my_probe measures vectors, and " + name + " holds none; choose hooks such as *hook_resid_post");
    return wanted;
  }

  // Fields start as zeros of these shapes.
  void shape(wf::accumulator& sums, wf::probe_context const& at) const override {
    std::size_t const hooks = needs(at.model().info()).size();
    for (char const* field : {"vectors", "lengths", "squares"}) sums.define(field, {{"hook", hooks}});
  }

  // One block of items after its forward pass.
  void observe(wf::accumulator& sums, wf::sample const& block, wf::probe_context const& at) const override {
    auto const hooks = needs(at.model().info()).names();
    for (std::size_t i = 0; i < block.size(); ++i)
      for (std::size_t h = 0; h < hooks.size(); ++h) {
        auto const x = block[i][hooks[h]];          // [pos, d_model], of this item's own length
        auto const vectors = x.to(wf::dtype::f64);  // float32 unless the run asks for more
        for (std::size_t p = 0; p < x.size("pos"); ++p) {
          auto const v = vectors.view<double const>().row(p);
          double const square = wf::dot(v, v);
          sums["vectors"](h) += 1;
          sums["lengths"](h) += std::sqrt(square);
          sums["squares"](h) += square;
        }
      }
  }

  // From the sums of all items to datasets with named dimensions.
  void finish(wf::accumulator const& sums, wf::results& out, wf::probe_context const& at) const override {
    auto const names = needs(at.model().info()).names();
    wf::tensor const mean = sums["lengths"] / sums["vectors"];
    wf::tensor const deviation = sums["squares"] / sums["vectors"] - mean * mean;
    for (std::size_t h = 0; h < names.size(); ++h) deviation(h) = std::sqrt(std::max(0.0, deviation(h)));
    // How to look at it, for the report: docs/report.md lists the views.
    out.add("length", mean).about("mean Euclidean length of the vectors at a hook").labels("hook", names).view("bars");
    out.add("deviation", deviation).about("standard deviation of the lengths").labels("hook", names).view("bars");
    // What was found, for the run's line: numbers that are NaN are told as "no number".
    if (!names.empty()) out.summarise("mean length " + wf::told(mean(std::size_t{0})) + " at " + names.front());
    if (names.empty()) out.summarise("no hook was asked for");
  }

 private:
  std::vector<std::string> hooks_;
};

WAYFARER_PROBE(my_probe, "0.1.0", "Mean and spread of the lengths of vectors", wf::port::model("model"),
               wf::port::source("source"),
               wf::param("hooks", wf::strings("blocks.*.hook_resid_post"), "hooks to read; * stands for anything"));
