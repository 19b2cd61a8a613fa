// Says what it sees of a model and of items: all of it is read through structs of the SDK. No function is marked override.
#include <wayfarer/layers.hpp>
#include <wayfarer/probe.hpp>

namespace wf = wayfarer;

struct crossing_probe final : wf::probe {
  explicit crossing_probe(wf::config const&) {}
  wf::hook_set needs(wf::model_info const& info) const { return info.hooks_for("hook_two"); }
  void shape(wf::accumulator& sums, wf::probe_context const&) const { sums.define("sum", {}); }
  void observe(wf::accumulator& sums, wf::sample const& block, wf::probe_context const&) const {
    for (std::size_t i = 0; i < block.size(); ++i)
      for (float const x : block[i]["hook_two"].values<float const>()) sums["sum"]() += static_cast<double>(x);
  }
  void finish(wf::accumulator const& sums, wf::results& out, wf::probe_context const& at) const {
    auto const& info = at.model().info();
    out.add("vocabulary", static_cast<double>(info.vocabulary)).about("tokens that the model knows");
    out.add("hooks", static_cast<double>(info.hooks.size())).about("hooks that the model has");
    out.add("sum", sums["sum"]).about("sum of the states");
    // One query and key a head: what comes out are the values.
    std::int32_t const token[] = {0};
    wf::ragged<std::int32_t> one;
    one.push_back(token);
    auto const packing = wf::row_packing::of(one);
    wf::rows v(packing, 4, wf::dtype::f32);
    for (int i = 0; i < 4; ++i) v.overwrite<float>()[i] = 5;
    wf::attend_options options;
    options.heads = 2;
    wf::run_request const request;
    wf::taps taps(info, request);
    out.add("attended", static_cast<double>(wf::attend(v, v, v, options, taps.all()).data<float>()[0])).about("a value");
  }
};
WAYFARER_PROBE(crossing_probe, "1.0.0", "Says what it sees", wf::port::model("model"), wf::port::source("source"));
