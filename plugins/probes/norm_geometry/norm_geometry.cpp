// The geometry of a model's norms: each maps all vectors onto one sphere and then stretches the sphere into an ellipsoid.
// Also where the words are before that, and which words the last norm favours.
// Molina 2023 (Traveling Words, arXiv 2309.07315), sections 3.1 and 4.1, tables 1 and 2; notes 1.1, E1 and E2.
//
//     norms: {probe: norm_geometry, model: gpt2}
//
// A layer norm centres a vector, which moves it into the hyperplane orthogonal to (1, ..., 1), and scales it to length
// sqrt(d_model). An RMS norm only scales. The weight then turns that sphere into an ellipsoid, and the bias shifts it.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/probe.hpp>

#include "ellipsoid.hpp"
#include "probes/common/language.hpp"
#include "probes/common/shared_heads.hpp"

namespace wf = wayfarer;

namespace {

/// One norm of the model: "blocks.0.ln1" with its weight and bias, [d_model], float64; ones and zeros where it has none.
struct norm {
  std::string name;
  std::vector<double> weight, bias;
};

std::vector<double> numbers(wf::tensor const& t) {
  wf::tensor const wide = t.to(wf::dtype::f64);
  auto const v = wide.values<double const>();
  return {v.begin(), v.end()};
}

/// The name of a norm if this is the name of its weight.
std::optional<std::string> norm_of_weight(std::string const& weight) {
  if (!weight.ends_with(".w")) return std::nullopt;
  std::string const stem = weight.substr(0, weight.size() - 2);
  std::string const last = stem.substr(stem.rfind('.') + 1);  // npos + 1 is 0
  if (last.starts_with("ln") || last.ends_with("_ln")) return stem;
  return std::nullopt;
}

norm read_norm(wf::model const& m, std::string const& name) {
  auto const& known = m.info().weights;
  norm n{name, numbers(m.weight(name + ".w")), {}};
  n.bias = std::find(known.begin(), known.end(), name + ".b") != known.end() ? numbers(m.weight(name + ".b"))
                                                                             : std::vector<double>(n.weight.size());
  for (auto const* v : {&n.weight, &n.bias})
    for (double const x : *v)
      if (!std::isfinite(x)) throw wf::data_error(name + " holds a number that is not finite, so it has no ellipsoid");
  return n;
}

constexpr std::size_t settings = 4;
char const* const setting_names[settings] = {"original", "centered", "scaled", "centered and scaled"};
enum score : std::uint8_t { by_norm, by_scale, by_bias, by_bias_and_scale, upper_bound, scores };
char const* const score_names[scores] = {"original", "scale", "bias", "bias and scale", "logit upper bound"};

constexpr std::size_t tokens_at_once = 1024;

}  // namespace

struct norm_geometry final : wf::probe {
  explicit norm_geometry(wf::config const& c) : k_(c["k"]), scores_(c["scores"]) {}

  void finish(wf::accumulator const&, wf::results& out, wf::probe_context const& at) const override {
    auto const& model = at.model();
    auto const& info = model.info();
    std::vector<norm> norms;
    std::vector<std::string> narrow;
    for (auto const& weight : info.weights) {
      auto const name = norm_of_weight(weight);
      if (!name || is_repeated(*name, info)) continue;
      norm n = read_norm(model, *name);
      if (n.weight.size() == info.d_model)
        norms.push_back(std::move(n));
      else
        narrow.push_back(*name + ": norms " + std::to_string(n.weight.size()) + " dimensions, not the " +
                         std::to_string(info.d_model) + " of the states");
    }
    if (norms.empty() || info.norm == wf::norm_kind::none)
      throw wf::usage_error("norm_geometry has nothing to look at: " + info.architecture + " has no norms");
    add_ellipsoids(norms, info, out);
    if (!narrow.empty())
      out.add("left_out", narrow).dims("norm_left_out").view("table").about("norms of other spaces than that of the states");

    wf::tensor embedding;
    std::string why;
    try {
      embedding = model.weight("embed.W_E");
    } catch (wf::data_error const& e) {
      why = e.what();
    }
    if (embedding.defined() && embedding.size(1) != info.d_model) {
      why = "embeddings have " + std::to_string(embedding.size(1)) + " dimensions and states " + std::to_string(info.d_model);
      embedding = {};
    }
    std::string line;
    if (embedding.defined()) {
      double const mean = add_words(embedding, info, out);
      std::string const before_logits =
          info.family == wf::model_family::encoder ? std::string() : wf::language::stack_of(info).final_norm;  // "ln_final."
      auto const last = std::find_if(norms.begin(), norms.end(), [&](norm const& n) { return n.name + "." == before_logits; });
      if (last != norms.end())
        add_scores(embedding, *last, model, out);
      else
        out.add("score_readings", std::vector<std::string>{"left out: " + info.architecture + " has no norm before its logits"})
            .dims("note")
            .view("table");
      double const radius = std::sqrt(static_cast<double>(info.d_model));
      line = wf::counted(norms.size(), "norm") + " put states on a sphere of radius " + wf::told(radius, 4) +
             "; an embedding's mean length is " + wf::told(mean, 4) + ", " + wf::told(mean / radius) + " of it";
    } else {
      out.add("token_readings", std::vector<std::string>{"left out: " + why}).dims("note").view("table");
      line = wf::counted(norms.size(), "norm") + " put states on a sphere of radius " +
             wf::told(std::sqrt(static_cast<double>(info.d_model)), 4);
    }
    out.summarise(line + wf::reading::told_of_shared_blocks(info));
  }

 private:
  /// Of a block that shares its weights with an earlier one.
  static bool is_repeated(std::string const& name, wf::model_info const& info) {
    std::string const blocks = "blocks.";
    if (!name.starts_with(blocks)) return false;
    auto const b = static_cast<std::size_t>(std::stoul(name.substr(blocks.size())));
    return wf::reading::block_of_weights(info, b) != b;
  }

  static void add_ellipsoids(std::vector<norm> const& norms, wf::model_info const& info, wf::results& out) {
    bool const centred = info.norm == wf::norm_kind::layer;
    std::size_t const N = norms.size(), d = norms[0].weight.size();
    std::vector<std::string> names;
    for (auto const& n : norms) {
      if (n.weight.size() != d || n.bias.size() != d) throw wf::data_error(n.name + " is not of the model's width");
      names.push_back(n.name);
    }
    wf::dims const by_axis{{"norm", N}, {"axis", d}}, by_coordinate{{"norm", N}, {"d_model", d}};
    wf::tensor const exact(wf::dtype::f64, by_axis), naive(wf::dtype::f64, by_axis), center(wf::dtype::f32, by_coordinate),
        normal(wf::dtype::f64, by_coordinate), offset(wf::dtype::f64, {{"norm", N}});
    double const radius = std::sqrt(static_cast<double>(d));
    wf::parallel_for(N, [&](std::size_t i) {
      auto const &w = norms[i].weight, &b = norms[i].bias;
      auto const sorted = wf::ellipsoid::magnitudes(w);
      auto const axes = centred ? wf::ellipsoid::centred_axes(w) : sorted;
      auto const across = wf::ellipsoid::normal(w);
      double at = 0;
      for (std::size_t j = 0; j < d; ++j) {
        exact.view<double>()(i, j) = radius * axes[j], naive.view<double>()(i, j) = radius * sorted[j];
        center.view<float>()(i, j) = static_cast<float>(b[j]);
        normal.view<double>()(i, j) = across[j];
        at += across[j] * b[j];
      }
      offset.view<double>()(i) = at;
    });
    auto const put = [&](char const* name, wf::tensor const& t, char const* view) -> wf::dataset& {
      return out.add(name, t).labels("norm", names).view(view);
    };
    constexpr char spectrum[] = R"({"kind": "curve", "x": "axis", "log_y": true})";
    out.add("radius", radius)
        .about("sqrt(d_model): radius of the sphere onto which every norm maps, reached where epsilon is nothing");
    put("exact_semi_axes", exact, spectrum)
        .about(
            centred
                ? "semi-axes of the ellipsoid that a norm maps onto, longest first: sqrt(d_model) times the singular values of "
                  "centring times weight; the last is 0, since the ellipsoid is flat"
                : "semi-axes of the ellipsoid that a norm maps onto, longest first: sqrt(d_model) times the weight's magnitudes");
    put("center", center, "heatmap").about("the norm's bias: centre of its ellipsoid");
    if (!centred) {
      out.add("hyperplane", std::vector<std::string>{"none: RMS norms do not centre, so their spheres lie in no hyperplane"})
          .dims("note")
          .view("table");
      return;
    }
    put("naive_semi_axes", naive, spectrum)
        .about("sqrt(d_model) times the weight's magnitudes, as the ellipsoid's axes are often read: centring left out");
    put("hyperplane_normal", normal, "heatmap")
        .about(
            "unit vector across the hyperplane in which a norm's results lie, along 1 / weight (where weights are 0: along "
            "those)");
    put("hyperplane_offset", offset, "bars").about("inner product of that vector with every result of the norm");
  }

  /// The embedding's rows in pieces of one size.
  struct word_pieces {
    explicit word_pieces(wf::tensor const& e)
        : embedding(e), words(e.size(0)), width(e.size(1)), count((words + tokens_at_once - 1) / tokens_at_once) {}
    wf::tensor operator[](std::size_t c) const {
      return embedding.slice(0, c * tokens_at_once, std::min(words, (c + 1) * tokens_at_once)).to(wf::dtype::f32);
    }
    wf::tensor const& embedding;
    std::size_t words, width, count;
  };

  /// Lengths of the embeddings, and their mean vector.
  static void measure_words(word_pieces const& pieces, std::vector<double>& length, std::vector<double>& center) {
    std::size_t const d = pieces.width;
    std::vector<std::vector<double>> sums(pieces.count);
    wf::parallel_for(pieces.count, [&](std::size_t c) {
      auto const some = pieces[c];
      auto const e = some.view<float const>();
      sums[c].assign(d, 0);
      for (std::size_t t = 0; t < e.size(0); ++t) {
        auto const row = e.row(t);
        length[c * tokens_at_once + t] = std::sqrt(wf::dot(row, row));
        for (std::size_t j = 0; j < d; ++j) sums[c][j] += static_cast<double>(row[j]);
      }
    });
    for (auto const& s : sums)
      for (std::size_t j = 0; j < d; ++j) center[j] += s[j];
    for (double& v : center) v /= static_cast<double>(pieces.words);
  }

  /// Of each embedding in each setting: how far it stands from itself under a norm without weight and bias.
  struct word_distances {
    std::vector<std::vector<double>> l2, cosine;
    std::vector<double> normed_length;
  };

  static word_distances compare_words(word_pieces const& pieces, wf::model_info const& info, std::vector<double> const& center,
                                      double scale) {
    bool const centred = info.norm == wf::norm_kind::layer;
    std::size_t const V = pieces.words, d = pieces.width;
    word_distances out;
    out.l2.assign(settings, std::vector<double>(V)), out.cosine = out.l2, out.normed_length.resize(V);
    wf::parallel_for(pieces.count, [&](std::size_t c) {
      auto const some = pieces[c];
      auto const e = some.view<float const>();
      std::vector<double> target(d);
      for (std::size_t t = 0; t < e.size(0); ++t) {
        auto const row = e.row(t);
        std::size_t const at = c * tokens_at_once + t;
        double shift = 0, squares = 0;
        if (centred)
          for (float const v : row) shift += static_cast<double>(v) / static_cast<double>(d);
        for (float const v : row) squares += (static_cast<double>(v) - shift) * (static_cast<double>(v) - shift);
        double const by = 1 / std::sqrt(squares / static_cast<double>(d) + info.norm_epsilon);
        double whole = 0;
        for (std::size_t j = 0; j < d; ++j) {
          target[j] = (static_cast<double>(row[j]) - shift) * by;
          whole += target[j] * target[j];
        }
        out.normed_length[at] = std::sqrt(whole);
        for (std::size_t s = 0; s < settings; ++s) {
          bool const moved = s == 1 || s == 3, stretched = s >= 2;
          double far = 0, product = 0, own = 0;
          for (std::size_t j = 0; j < d; ++j) {
            double const m = (static_cast<double>(row[j]) - (moved ? center[j] : 0)) * (stretched ? scale : 1);
            far += (m - target[j]) * (m - target[j]), product += m * target[j], own += m * m;
          }
          out.l2[s][at] = std::sqrt(far);
          out.cosine[s][at] = 1 - product / std::max(std::sqrt(own * whole), 1e-8);
        }
      }
    });
    return out;
  }

  /// Table 1: how far embeddings stand from what a plain norm makes of them. Gives the mean length.
  static double add_words(wf::tensor const& embedding, wf::model_info const& info, wf::results& out) {
    word_pieces const pieces(embedding);
    std::size_t const V = pieces.words, d = pieces.width;
    std::vector<double> length(V), center(d);
    measure_words(pieces, length, center);
    double const mean = wf::moments_of(length).mean;
    double const scale = mean > 0 ? std::sqrt(static_cast<double>(d)) / mean : 0;
    auto const [l2, cosine, normed_length] = compare_words(pieces, info, center, scale);
    std::vector<std::string> const labels(setting_names, setting_names + settings);
    auto const put = [&](char const* name, std::vector<std::vector<double>> const& of, bool deviation, std::string const& about) {
      wf::tensor const t(wf::dtype::f64, {{"setting", settings}});
      for (std::size_t s = 0; s < settings; ++s) {
        auto const m = wf::moments_of(of[s]);
        t(s) = deviation ? m.deviation : m.mean;
      }
      out.add(name, t).labels("setting", labels).about(about).view("bars");
    };
    std::string const of = " an embedding and itself under a norm without weight and bias";
    put("mean_distance", l2, false, "mean distance between" + of);
    put("distance_deviation", l2, true, "standard deviation over tokens of the distance between" + of);
    put("mean_cosine_distance", cosine, false, "mean of 1 - cosine between" + of);
    put("cosine_distance_deviation", cosine, true, "standard deviation over tokens of 1 - cosine between" + of);
    out.add("mean_token_length", mean).about("mean length of the token embeddings");
    out.add("scale_factor", scale).about("sqrt(d_model) over the mean length: what 'scaled' multiplies by");
    out.add("mean_normalized_length", wf::moments_of(normed_length).mean)
        .about("mean length of embeddings under a norm without weight and bias: the radius, less what epsilon takes");
    wf::tensor const lengths(wf::dtype::f32, {{"token", V}}), mean_vector(wf::dtype::f32, {{"d_model", d}});
    for (std::size_t t = 0; t < V; ++t) lengths.view<float>()(t) = static_cast<float>(length[t]);
    for (std::size_t j = 0; j < d; ++j) mean_vector.view<float>()(j) = static_cast<float>(center[j]);
    out.add("token_length", lengths).about("length of each token's embedding").view("histogram");
    out.add("token_mean", mean_vector).about("mean of the token embeddings: what 'centered' subtracts").view("histogram");
    return mean;
  }

  /// Table 2: the tokens that the final norm puts first and last, whatever the context.
  void add_scores(wf::tensor const& embedding, norm const& last, wf::model const& m, wf::results& out) const {
    bool const centred = m.info().norm == wf::norm_kind::layer;
    std::size_t const V = embedding.size(0), d = embedding.size(1), chunks = (V + tokens_at_once - 1) / tokens_at_once;
    std::size_t const k = std::min(k_, V);
    if (last.weight.size() != d) throw wf::data_error(last.name + " is not of the embedding's width");
    wf::tensor const score(wf::dtype::f32, {{"score", scores}, {"token", V}}), bias(wf::dtype::f32, {{"token", V}});
    auto const to = score.view<float>();
    wf::parallel_for(chunks, [&](std::size_t c) {
      auto const some = embedding.slice(0, c * tokens_at_once, std::min(V, (c + 1) * tokens_at_once)).to(wf::dtype::f32);
      auto const e = some.view<float const>();
      for (std::size_t t = 0; t < e.size(0); ++t) {
        auto const row = e.row(t);
        std::size_t const at = c * tokens_at_once + t;
        double plain = 0, scaled = 0, sum = 0, prior = 0;
        for (std::size_t j = 0; j < d; ++j) {
          double const v = static_cast<double>(row[j]), g = last.weight[j] * v;
          plain += v * v, scaled += g * g, sum += g, prior += last.bias[j] * v;
        }
        double const across = centred ? sum * sum / static_cast<double>(d) : 0;  // what centring takes away
        bias.view<float>()(at) = static_cast<float>(prior);
        to(by_norm, at) = static_cast<float>(std::sqrt(plain));
        to(by_scale, at) = static_cast<float>(std::sqrt(scaled));
        to(by_bias, at) = static_cast<float>(std::sqrt(plain) + prior);
        to(by_bias_and_scale, at) = static_cast<float>(std::sqrt(scaled) + prior);
        to(upper_bound, at) = static_cast<float>(std::sqrt(static_cast<double>(d) * std::max(0.0, scaled - across)) + prior);
      }
    });
    add_ends(score, k, m, out);
    out.add("bias_score", bias)
        .about("inner product of the final norm's bias with each embedding: a prior that no input changes")
        .view("histogram");
    if (!scores_) return;
    out.add("score", score)
        .labels("score", std::vector<std::string>(score_names, score_names + scores))
        .view("histogram")
        .about(
            "original: length of the embedding; scale: with the final norm's weight; bias: length plus bias score; bias and "
            "scale; "
            "logit upper bound: the largest logit that any input can give a token (the first four mix scales as the paper does)");
  }

  /// The k tokens of largest and of smallest score.
  static void add_ends(wf::tensor const& score, std::size_t k, wf::model const& m, wf::results& out) {
    auto const to = score.view<float const>();
    wf::dims const listed{{"score", scores}, {"rank", k}};
    wf::tensor const ids[2] = {{wf::dtype::i32, listed}, {wf::dtype::i32, listed}};
    wf::tensor const values[2] = {{wf::dtype::f32, listed}, {wf::dtype::f32, listed}};
    std::vector<std::string> texts[2];
    for (std::size_t s = 0; s < scores; ++s) {
      auto const all = to.row(s);
      std::vector<float> turned(all.begin(), all.end());
      for (float& v : turned) v = -v;
      for (std::size_t end = 0; end < 2; ++end) {
        auto const best = wf::top_k(end == 0 ? std::span<float const>(all) : std::span<float const>(turned), k);
        if (best.size() < k) throw wf::data_error("the embedding holds numbers that are not finite, so tokens can't be ranked");
        for (std::size_t r = 0; r < k; ++r) {
          ids[end].view<std::int32_t>()(s, r) = best[r];
          values[end].view<float>()(s, r) = all[static_cast<std::size_t>(best[r])];
          texts[end].push_back(m.token_text(best[r]));
        }
      }
    }
    std::vector<std::string> const labels(score_names, score_names + scores);
    std::string const what[2] = {"largest", "smallest"};
    for (std::size_t end = 0; end < 2; ++end) {
      std::string const p = end == 0 ? "top" : "bottom";
      out.add(p + "_ids", ids[end])
          .labels("score", labels)
          .about("tokens of " + what[end] + " score, from the " + what[end] + " on")
          .view("table");
      out.add(p + "_scores", values[end]).labels("score", labels).about("their scores").view("heatmap");
      out.add(p + "_tokens", std::move(texts[end]), listed).labels("score", labels).about("their texts").view("lens");
    }
  }

  std::size_t k_;
  bool scores_;
};

WAYFARER_PROBE(norm_geometry, "1.0.0", "Sphere, hyperplane and ellipsoid of every norm, and what the norms make of the words",
               wf::port::model("model"), wf::param("k", 5, "tokens listed at either end of a score").in("token").between(1, 1000),
               wf::param("scores", true, "store every token's scores too"));
