// Position bias as a function of distance, from the weights alone: no text is needed. Notes 2.2 on Singh 2023 (arXiv 2308.10874),
// and SB_pos of 1.8.
//
// The model itself computes the bias of `distance` + 1 positions, so the buckets are the model's own.
//
//     kernels: {probe: position_kernel, model: t5}
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>

namespace wf = wayfarer;

struct position_kernel final : wf::probe {
  explicit position_kernel(wf::config const& c) : distance_(c["distance"]), reach_(c["reach"]) {}

  void finish(wf::accumulator const&, wf::results& out, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    bool any = false;
    for (std::string const stack : {"blocks", "encoder", "decoder"}) {
      std::string const hook = hook_of(model, stack);
      if (hook.empty()) continue;
      add_stack(out, at.model(), stack, hook);
      any = true;
    }
    if (!any) throw wf::usage_error(model.architecture + " has no position bias: " + why_none(model));
  }

  wf::hook_set needs(wf::model_info const& model) const override {
    if (hook_of(model, "blocks").empty() && hook_of(model, "encoder").empty() && hook_of(model, "decoder").empty())
      throw wf::usage_error(model.architecture + " has no position bias: " + why_none(model));
    if (model.longest != 0 && distance_ >= model.longest)
      throw wf::parameter_error(
          {{"distance", 0,
            "position_kernel asks for " + std::to_string(distance_ + 1) + " positions, and this model reads " +
                std::to_string(model.longest) + "; set distance to less than that"}});
    return {};
  }

 private:
  static std::string why_none(wf::model_info const& model) {
    for (auto const& h : model.hooks)
      if (h.name.ends_with("attn.hook_rot_q"))
        return "its queries and keys turn with their positions, so that what distance does to a score depends on what they hold. "
               "head_spectra with `distances` shows their matrix at chosen distances";
    return "it knows positions by vectors that it adds to the embeddings, so attention has no kernel over distances. Look at "
           "those "
           "vectors with similarity_map, hooks: [hook_pos_embed]";
  }

  /// T5's bias of a stack, or ALiBi's; empty: none.
  static std::string hook_of(wf::model_info const& model, std::string const& stack) {
    for (char const* hook : {".0.attn.hook_position_bias", ".0.attn.hook_bias"})
      if (model.find_hook(stack + hook)) return stack + hook;
    return {};
  }

  /// The bias of a text of T tokens: [head, query, key].
  static wf::tensor bias_of(wf::model const& m, bool decoder, bool alibi, std::string const& hook, std::size_t T) {
    wf::batch tokens;
    std::vector<std::int32_t> const row(T, 0);
    if (decoder) {
      tokens.tokens.push_back(std::span(row).first(1));
      tokens.decoder_tokens.push_back(row);
    } else {
      tokens.tokens.push_back(row);
    }
    wf::run_request request;
    request.capture = m.info().hooks_for(hook);
    auto const bias = m.run(tokens, request).at(hook, 0).to(wf::dtype::f64);
    return alibi ? from_query(bias) : bias;
  }

  void add_stack(wf::results& out, wf::model const& m, std::string const& stack, std::string const& hook) const {
    bool const decoder = stack == "decoder", alibi = hook.ends_with("hook_bias"), causal = decoder || alibi;
    std::size_t const T = distance_ + 1;
    auto const bias = bias_of(m, decoder, alibi, hook, T);
    auto const b = bias.view<double const>();
    std::size_t const heads = b.size(0), first = causal ? 0 : distance_;

    // The last query looks back over all distances, the first one ahead.
    wf::tensor kernel(wf::dtype::f64, {{"head", heads}, {stack + "_rel_pos", distance_ + 1 + first}});
    auto const at = [&](std::size_t h, std::ptrdiff_t d) -> double& {
      return kernel(h, static_cast<std::size_t>(d + static_cast<std::ptrdiff_t>(distance_)));
    };
    std::vector<std::int64_t> relative;
    for (auto d = -static_cast<std::ptrdiff_t>(distance_); d <= static_cast<std::ptrdiff_t>(first); ++d) {
      relative.push_back(d);
      for (std::size_t h = 0; h < heads; ++h)
        at(h, d) = d <= 0 ? b(h, T - 1, T - 1 - static_cast<std::size_t>(-d)) : b(h, 0, static_cast<std::size_t>(d));
    }
    double error = 0;
    for (std::size_t h = 0; h < heads; ++h)
      for (std::size_t query = 0; query < T; ++query)
        for (std::size_t key = 0; key < (causal ? query + 1 : T); ++key)
          error = std::max(
              error, std::abs(b(h, query, key) - at(h, static_cast<std::ptrdiff_t>(key) - static_cast<std::ptrdiff_t>(query))));

    wf::tensor self(wf::dtype::f64, {{"head", heads}});
    for (std::size_t h = 0; h < heads; ++h) {
      double sum = 0, count = 0;
      for (std::size_t d = 1; d <= std::min(reach_, distance_); ++d) {
        sum += at(h, -static_cast<std::ptrdiff_t>(d)), count += 1;
        if (!causal) sum += at(h, static_cast<std::ptrdiff_t>(d)), count += 1;
      }
      self(h) = at(h, 0) - sum / count;
    }

    out.add(stack + "/kernel", kernel)
        .about("position bias of each head by key position less query position, the same in every layer of the " + stack +
               (alibi ? "; less that of the query's own position, which a softmax does not see" : ""))
        .coordinate(stack + "_rel_pos", wf::tensor::of(relative, {{stack + "_rel_pos", relative.size()}}))
        .view(R"({"kind": "curve", "x": ")" + stack + R"(_rel_pos"})");
    std::string const weight = stack + ".0.attn.position_bias";
    if (std::find(m.info().weights.begin(), m.info().weights.end(), weight) != m.info().weights.end())
      out.add(stack + "/bucket_table", m.weight(weight).to(wf::dtype::f32))
          .dims("bucket", "head")
          .about("learned bias of each bucket of distances")
          .view("heatmap");
    out.add(stack + "/self_bias_position", self)
        .about("SB_pos: bias at distance 0 less the mean of others up to the reach; below 0: negative self-bias, 0 under no bias")
        .view("bars");
    out.add(stack + "/self_bias_position_distances", static_cast<double>(std::min(reach_, distance_) * (causal ? 1 : 2)))
        .about("how many distances that mean is over");
    out.add(stack + "/toeplitz_error", error)
        .about("largest difference between the bias of a pair and the kernel at its distance");
    double negative = 0;
    for (std::size_t h = 0; h < heads; ++h) negative += self(h) < 0;
    char line[96];
    std::snprintf(line, sizeof line, "%s: %.0f of %zu heads have negative self-bias", stack.c_str(), negative, heads);
    out.summarise(out.summary().empty() ? line : out.summary() + "; " + line);
  }

  /// ALiBi's bias is a slope times the key's position, the same for all queries: a kernel once the query's own is taken off.
  static wf::tensor from_query(wf::tensor const& bias) {
    wf::tensor const out = bias.clone();
    auto const from = bias.view<double const>();
    auto const to = out.view<double>();
    for (std::size_t h = 0; h < to.size(0); ++h)
      for (std::size_t q = 0; q < to.size(1); ++q)
        for (std::size_t k = 0; k < to.size(2); ++k) to(h, q, k) = from(h, q, k) - from(h, q, q);
    return out;
  }

  std::size_t distance_, reach_;
};

WAYFARER_PROBE(position_kernel, "1.0.0", "Position bias by distance and its bucket table, from the weights alone",
               wf::port::model("model"), wf::param("distance", 160, "largest distance looked at").in("token").between(1, 20'000),
               wf::param("reach", 32, "R: distances that SB_pos compares with").in("token").at_least(1));
