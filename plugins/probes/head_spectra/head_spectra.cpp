// What every attention head's two matrices do, from the weights alone: W_QK = W_Q W_K^T, which says who attends to whom, and
// W_VO = W_V W_O, which says what is moved. Singular values and directions, read in the vocabulary where the checkpoint has an
// embedding; eigenvalues; how strongly heads of earlier blocks feed those of later ones.
// Molina 2023 (Traveling Words, arXiv 2309.07315), sections 3.2 and 4.3; Elhage et al. 2021 for composition.
//
//     spectra: {probe: head_spectra, model: gpt2, blocks: [0, 5, 11]}
#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/factored.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/norm_folding.hpp"
#include "probes/common/shared_heads.hpp"
#include "probes/common/vocabulary_reading.hpp"

namespace wf = wayfarer;

namespace {

/// The two thin factors of a head's matrix: left [d_model, d_head], right [d_head, d_model].
struct head_matrix {
  wf::tensor left, right;
};

enum class circuit { qk, vo };
constexpr circuit circuits[] = {circuit::qk, circuit::vo};
std::string name_of(circuit c) {
  return c == circuit::qk ? "qk" : "vo";
}
/// The matrix that values and eigenvalues are of, with the scale that they carry.
std::string matrix_of(circuit c) {
  return c == circuit::qk ? " of W_Q W_K^T times the layer's attention scale" : " of W_V W_O, unscaled";
}

/// One block's weights as the probe needs them, per head.
struct block_weights {
  wf::tensor q, k, v, o;              // [head, ...] as the model names them
  wf::tensor norm_weight, norm_bias;  // of the norm that attention reads through; the bias may be undefined
  double scale = 1;                   // of the layer's scores
};

wf::tensor float64(wf::tensor const& t) {
  return t.to(wf::dtype::f64);
}

wf::tensor scaled(wf::tensor const& t, double by) {
  wf::tensor const out = float64(t).clone();
  for (double& v : out.values<double>()) v *= by;
  return out;
}

/// R W^T of a thin left factor's triangle R [r, r] and W [d_model, r]: rows of length d_model, with the same Frobenius norm as
/// the product that they stand for.
wf::tensor compressed(wf::tensor const& thin, wf::tensor const& wide) {
  return wf::matmul(wf::triangle_of(thin), float64(wide)).to(wf::dtype::f32);
}

double norm_of(wf::tensor const& t) {
  double s = 0;
  for (float const v : t.values<float const>()) s += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(s);
}

}  // namespace

struct head_spectra final : wf::probe {
  explicit head_spectra(wf::config const& c)
      : blocks_(c["blocks"].integers()),
        directions_(c["directions"]),
        k_(c["k"]),
        eigenvectors_(c["eigenvectors"]),
        eigen_coverage_(c["eigenvalue_coverage"]),
        coverage_(c["coverage"]),
        fold_(c["fold"].text() == "norm"),
        tokens_(c["tokens"]),
        eigenvalues_(c["eigenvalues"]),
        composition_(c["composition"]),
        vectors_(c["vectors"]),
        distances_(c["distances"].integers()) {
    std::vector<wf::parameter_problem> wrong;
    for (std::size_t i = 0; i < distances_.size(); ++i) {
      auto const here = distances_.begin() + static_cast<std::ptrdiff_t>(i);
      if (*here < 0)
        wrong.push_back(
            {"distances", i, "'distances' holds " + std::to_string(*here) + "; a query stands at its key or behind it"});
      else if (std::find(distances_.begin(), here, *here) != here)
        wrong.push_back({"distances", i, "'distances' has " + std::to_string(*here) + " twice"});
    }
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
  }

  /// No hook; but what its weights can't give is said before they are read.
  wf::hook_set needs(wf::model_info const& info) const override {
    if (info.family == wf::model_family::encoder_decoder)
      throw wf::usage_error("head_spectra reads models of one stack; " + info.architecture + " has an encoder and a decoder");
    bool turns = false;
    for (auto const b : chosen(info)) {
      wf::reading::require_bilinear_scores(info, "blocks." + std::to_string(b) + ".", "head_spectra");
      turns = turns || wf::reading::turns(info, "blocks." + std::to_string(b) + ".");
    }
    if (!distances_.empty() && !turns)
      throw wf::usage_error("`distances` is for models whose queries and keys turn with their positions; in " +
                            info.architecture + " W_Q W_K^T is the same at every distance; leave it out");
    std::vector<wf::parameter_problem> wrong;
    for (std::size_t i = 0; i < distances_.size() && info.longest != 0; ++i)
      if (static_cast<std::size_t>(distances_[i]) >= info.longest)
        wrong.push_back({"distances", i,
                         "'distances' holds " + std::to_string(distances_[i]) + ", but " + info.architecture + " reads " +
                             std::to_string(info.longest) + " positions, which are at most " + std::to_string(info.longest - 1) +
                             " apart"});
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
    return {};
  }

  void finish(wf::accumulator const&, wf::results& out, wf::probe_context const& at) const override {
    auto const& model = at.model();
    auto const& info = model.info();
    auto const blocks = chosen(info);
    std::vector<block_weights> weights;
    for (auto const b : blocks) weights.push_back(read(model, b));

    std::size_t const B = blocks.size(), H = info.heads, r = info.d_head;
    wf::tensor numbers(wf::dtype::i64, {{"block", B}});
    for (std::size_t b = 0; b < B; ++b) numbers.view<std::int64_t>()(b) = static_cast<std::int64_t>(blocks[b]);
    auto const put = [&](std::string name, wf::tensor values, char const* view) -> wf::dataset& {
      auto& set = out.add(std::move(name), std::move(values)).view(view);
      set.coordinate("block", numbers);
      return set;
    };

    wf::tensor scales(wf::dtype::f64, {{"block", B}});
    for (std::size_t b = 0; b < B; ++b) scales(b) = weights[b].scale;
    bool const turned = std::any_of(blocks.begin(), blocks.end(),
                                    [&](std::size_t b) { return wf::reading::turns(info, "blocks." + std::to_string(b) + "."); });
    put("attention_scale", scales, "curve")
        .about(std::string("what each block's scores q.k are multiplied by: the scale of W_Q W_K^T here") +
               (turned ? "; queries and keys turn with their positions, and W_Q W_K^T is the matrix of distance 0" : ""));

    std::string const why = tokens_ ? why_no_tokens(model) : std::string();
    bool const read_vocabulary = tokens_ && why.empty() && directions_ > 0;
    bool const read_final = tokens_ && why.empty() && eigenvectors_ > 0;
    double widest = 0;
    for (circuit const c : circuits) {
      auto const svd = decomposed(weights, c, info);
      widest = std::max(widest, add_values(svd, c, info, put));
      if (eigenvalues_) add_eigenvalues(model, info, weights, c, read_final, put, out);
      std::size_t const R = std::min(directions_, r);
      if (R == 0) continue;
      std::vector<double> sign(B * H * R, 1);
      if (read_vocabulary)
        read_directions(model, info, weights, svd, c, R, sign, put, out);
      else
        for (std::size_t i = 0; i < B * H; ++i)
          for (std::size_t j = 0; j < R; ++j) sign[i * R + j] = sign_by_entry(svd[i].right[j]);
      wf::tensor const signs(wf::dtype::i32, {{"block", B}, {"head", H}, {"rank", R}});
      for (std::size_t i = 0; i < sign.size(); ++i) signs.values<std::int32_t>()[i] = sign[i] > 0 ? 1 : -1;
      put(name_of(c) + "/sign", signs, "table")
          .about(read_vocabulary
                     ? "sign that makes the right direction's largest inner product with a token that of a positive direction"
                     : "sign that makes the right direction's entry of largest magnitude positive");
      if (vectors_) add_vectors(svd, sign, R, c, info, put);
    }
    if (!distances_.empty()) add_distances(weights, blocks, info, put);
    if (composition_) add_composition(weights, info, numbers, put);
    if (tokens_ && !why.empty())
      out.add("token_readings", std::vector<std::string>{"left out: " + why}).dims("note").view("table");

    char line[128];
    std::snprintf(line, sizeof line, "%zu heads, at most %.0f of %zu directions hold %g %%%s", B * H, widest, r, coverage_,
                  turned ? ", W_QK at distance 0" : "");
    out.summarise(line + (blocks_.empty() ? wf::reading::told_of_shared_blocks(info) : std::string()));
  }

 private:
  using put_function = std::function<wf::dataset&(std::string, wf::tensor, char const* view)>;
  static constexpr char block_by_head[] = R"({"kind": "heatmap", "rows": "block", "columns": "head"})";
  static constexpr char by_earlier_head[] = R"({"kind": "heatmap", "rows": "earlier_block", "columns": "earlier_head"})";
  static constexpr char along_directions[] = R"({"kind": "curve", "x": "direction"})";
  static constexpr char spectrum[] = R"({"kind": "curve", "x": "direction", "log_y": true})";
  static constexpr char along_distances[] = R"({"kind": "curve", "x": "distance"})";

  std::vector<std::size_t> chosen(wf::model_info const& info) const {
    std::vector<std::size_t> blocks;
    std::vector<wf::parameter_problem> wrong;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      auto const from_end = blocks_[i] < 0 ? blocks_[i] + static_cast<std::int64_t>(info.layers) : blocks_[i];
      if (from_end < 0 || static_cast<std::size_t>(from_end) >= info.layers)
        wrong.push_back({"blocks", i,
                         "'blocks' names block " + std::to_string(blocks_[i]) + ", but " + info.architecture +
                             " has blocks 0 to " + std::to_string(info.layers - 1)});
      blocks.push_back(static_cast<std::size_t>(from_end));
    }
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
    if (blocks.empty())
      for (std::size_t b = 0; b < info.layers; ++b)
        if (wf::reading::block_of_weights(info, b) == b) blocks.push_back(b);
    return blocks;
  }

  static block_weights read(wf::model const& m, std::size_t block) {
    std::string const p = "blocks." + std::to_string(block) + ".";
    block_weights w{m.weight(p + "attn.W_Q"),
                    wf::reading::for_each_head(m.weight(p + "attn.W_K"), m.info().heads),
                    wf::reading::for_each_head(m.weight(p + "attn.W_V"), m.info().heads),
                    m.weight(p + "attn.W_O"),
                    {},
                    {},
                    m.info().attention_scale_of(block)};
    // A norm behind the block is not what its attention reads through: tokens are then read under a norm without weight.
    if (!wf::reading::norm_comes_first(m.info(), p)) return w;
    auto const& names = m.info().weights;
    auto const has = [&](std::string const& n) { return std::find(names.begin(), names.end(), n) != names.end(); };
    if (has(p + "ln1.w")) w.norm_weight = m.weight(p + "ln1.w");
    if (has(p + "ln1.b")) w.norm_bias = m.weight(p + "ln1.b");
    return w;
  }

  head_matrix matrix(block_weights const& w, std::size_t h, circuit c, wf::model_info const& info) const {
    bool const fold = fold_ && w.norm_weight.defined(), centred = info.norm == wf::norm_kind::layer;
    auto const in = [&](wf::tensor const& t) { return fold ? wf::reading::folded(t, w.norm_weight, centred) : float64(t); };
    if (c == circuit::qk) return {scaled(in(w.q[h]), w.scale), in(w.k[h]).transposed()};
    return {in(w.v[h]), float64(w.o[h])};
  }

  /// Of every head, those of a block one behind the other. Singular values cost half as much without their directions.
  std::vector<wf::thin_svd> decomposed(std::vector<block_weights> const& weights, circuit c, wf::model_info const& info) const {
    std::vector<wf::thin_svd> svd(weights.size() * info.heads);
    wf::parallel_for(svd.size(), [&](std::size_t i) {
      auto const m = matrix(weights[i / info.heads], i % info.heads, c, info);
      if (directions_ == 0)
        svd[i].values = wf::singular_values_of_product(m.left, m.right);
      else
        svd[i] = wf::svd_of_product(m.left, m.right);
    });
    return svd;
  }

  /// Singular values and what they say of the matrices' ranks. Returns the largest effective dimension.
  double add_values(std::vector<wf::thin_svd> const& svd, circuit c, wf::model_info const& info, put_function const& put) const {
    std::size_t const H = info.heads, B = svd.size() / H, r = info.d_head;
    wf::tensor const values(wf::dtype::f64, {{"block", B}, {"head", H}, {"direction", r}}),
        covered = values.clone(), by_head(wf::dtype::f64, {{"block", B}, {"head", H}});
    wf::tensor const effective(wf::dtype::i64, by_head.shape()), participation = by_head.clone(), stable = by_head.clone();
    double widest = 0;
    for (std::size_t i = 0; i < B * H; ++i) {
      std::size_t const b = i / H, h = i % H;
      double sum = 0, squares = 0, fourth = 0;
      for (std::size_t j = 0; j < r; ++j) {
        double const s = svd[i].values(j);
        values(b, h, j) = s;
        sum += s, squares += s * s, fourth += s * s * s * s;
      }
      double running = 0;
      std::size_t reached = r;
      for (std::size_t j = 0; j < r; ++j) {
        running += svd[i].values(j);
        covered(b, h, j) = sum > 0 ? 100 * running / sum : 100;
        if (reached == r && covered(b, h, j) > coverage_) reached = j;
      }
      effective.view<std::int64_t>()(b, h) = static_cast<std::int64_t>(std::min(reached + 1, r));
      double const largest = svd[i].values(0);
      participation(b, h) = fourth > 0 ? squares * squares / fourth : 0;
      stable(b, h) = largest > 0 ? squares / (largest * largest) : 0;
      widest = std::max(widest, static_cast<double>(effective.view<std::int64_t>()(b, h)));
    }
    std::string const p = name_of(c) + "/", of = matrix_of(c);
    put(p + "values", values, spectrum).about("singular values" + of);
    put(p + "coverage", covered, along_directions).units("percent").about("share of the sum of singular values up to each" + of);
    char text[96];
    std::snprintf(text, sizeof text, "directions needed to pass %g %% of the sum of singular values", coverage_);
    put(p + "effective_dimension", effective, block_by_head).about(text);
    put(p + "participation_ratio", participation, block_by_head).about("(sum s^2)^2 / sum s^4");
    put(p + "stable_rank", stable, block_by_head).about("sum s^2 / largest s^2");
    return widest;
  }

  /// The first R directions themselves, with their signs.
  static void add_vectors(std::vector<wf::thin_svd> const& svd, std::vector<double> const& sign, std::size_t R, circuit c,
                          wf::model_info const& info, put_function const& put) {
    std::size_t const H = info.heads, B = svd.size() / H, d = info.d_model;
    wf::tensor const left(wf::dtype::f32, {{"block", B}, {"head", H}, {"rank", R}, {"d_model", d}}), right = left.clone();
    auto const l = left.view<float>(), v = right.view<float>();
    for (std::size_t i = 0; i < B * H; ++i)
      for (std::size_t j = 0; j < R; ++j)
        for (std::size_t x = 0; x < d; ++x) {
          double const s = sign[i * R + j];
          l(i / H, i % H, j, x) = static_cast<float>(s * svd[i].left(j, x));
          v(i / H, i % H, j, x) = static_cast<float>(s * svd[i].right(j, x));
        }
    put(name_of(c) + "/left", left, "heatmap")
        .about("left singular directions (of the " + std::string(c == circuit::qk ? "query" : "value") + " side), unit length");
    put(name_of(c) + "/right", right, "heatmap")
        .about("right singular directions (of the " + std::string(c == circuit::qk ? "key" : "output") + " side), unit length");
  }

  /// W_Q R W_K^T, where R turns a query as one that stands this far behind its key turns beside it.
  void add_distances(std::vector<block_weights> const& weights, std::vector<std::size_t> const& blocks,
                     wf::model_info const& info, put_function const& put) const {
    std::size_t const B = blocks.size(), H = info.heads, N = distances_.size(), r = info.d_head;
    wf::tensor const values(wf::dtype::f64, {{"block", B}, {"distance", N}, {"head", H}, {"direction", r}}),
        length(wf::dtype::f64, {{"block", B}, {"distance", N}, {"head", H}});
    wf::parallel_for(B * N * H, [&](std::size_t i) {
      std::size_t const b = i / (N * H), n = i / H % N, h = i % H;
      auto m = matrix(weights[b], h, circuit::qk, info);
      if (auto const by = wf::reading::rotation_at(info, blocks[b], static_cast<std::size_t>(distances_[n])))
        m.left = wf::reading::turned(m.left, *by);
      auto const s = wf::singular_values_of_product(m.left, m.right);
      double squares = 0;
      for (std::size_t j = 0; j < r; ++j) values(b, n, h, j) = s(j), squares += s(j) * s(j);
      length(b, n, h) = std::sqrt(squares);
    });
    wf::tensor const far = wf::tensor::of(distances_, {{"distance", N}});
    put("qk/values_at", values, spectrum)
        .coordinate("distance", far)
        .about(
            "singular values of the matrix that gives the scores of a query so many positions behind its key, times the layer's "
            "attention scale");
    put("qk/norm_at", length, along_distances).coordinate("distance", far).about("Frobenius norm of that matrix");
  }

  static double sign_by_entry(wf::tensor const& v) {
    std::size_t largest = 0;
    for (std::size_t j = 1; j < v.size(0); ++j)
      if (std::abs(v(j)) > std::abs(v(largest))) largest = j;
    return v(largest) < 0 ? -1 : 1;
  }

  static wf::data_error not_finite() {
    return wf::data_error(
        "the embedding holds numbers that are not finite, so directions can't be read in the vocabulary; set tokens: false");
  }

  /// Empty if the vocabulary can be read.
  static std::string why_no_tokens(wf::model const& m) {
    try {
      std::size_t const width = m.weight("embed.W_E").size(1), states = m.info().d_model;
      if (width == states) return {};
      return "embeddings have " + std::to_string(width) + " dimensions and states " + std::to_string(states);
    } catch (wf::data_error const& e) {
      return e.what();
    }
  }

  /// Tokens nearest to the left and right directions of every head, and the directions' signs (notes E5).
  void read_directions(wf::model const& model, wf::model_info const& info, std::vector<block_weights> const& weights,
                       std::vector<wf::thin_svd> const& svd, circuit c, std::size_t R, std::vector<double>& sign,
                       put_function const& put, wf::results& out) const {
    wf::tensor const embedding = model.weight("embed.W_E");
    std::size_t const B = weights.size(), H = info.heads, V = embedding.size(0), K = std::min(k_, V);
    wf::dims const shape{{"block", B}, {"head", H}, {"rank", R}, {"top", K}};
    wf::tensor const left_ids(wf::dtype::i32, shape), right_ids = left_ids.clone(), left_scores(wf::dtype::f32, shape),
                                                      right_scores = left_scores.clone();
    for (std::size_t b = 0; b < B; ++b) {
      auto const& w = weights[b];
      auto const raw = [&](std::size_t first, std::size_t last) { return embedding.slice(0, first, last).to(wf::dtype::f32); };
      // Under folding the matrices hold the norm's weight, so tokens are read without it.
      auto const normed = [&](std::size_t first, std::size_t last) {
        if (info.norm == wf::norm_kind::none) return raw(first, last);
        return wf::reading::normalized(embedding.slice(0, first, last), info.norm == wf::norm_kind::layer, info.norm_epsilon,
                                       fold_ ? wf::tensor() : w.norm_weight, fold_ ? wf::tensor() : w.norm_bias);
      };
      wf::tensor const left(wf::dtype::f32, {{"direction", H * R}, {"d_model", info.d_model}}), right = left.clone();
      auto const l = left.view<float>(), v = right.view<float>();
      for (std::size_t h = 0; h < H; ++h)
        for (std::size_t j = 0; j < R; ++j)
          for (std::size_t x = 0; x < info.d_model; ++x) {
            auto const& s = svd[b * H + h];
            l(h * R + j, x) = static_cast<float>(s.values(j) * s.left(j, x));
            v(h * R + j, x) = static_cast<float>(s.right(j, x));
          }
      auto const on_left = wf::reading::read_tokens(left, V, K, normed);
      auto const on_right =
          c == circuit::qk ? wf::reading::read_tokens(right, V, K, normed) : wf::reading::read_tokens(right, V, K, raw);
      for (std::size_t i = 0; i < H * R; ++i) {
        if (on_right.along[i].list.size() < K || on_left.along[i].list.size() < K) throw not_finite();
        bool const along = on_right.along[i].list[0].first >= on_right.against[i].list[0].first;
        sign[b * H * R + i] = along ? 1 : -1;
        auto const& ls = (along ? on_left.along : on_left.against)[i].list;
        auto const& rs = (along ? on_right.along : on_right.against)[i].list;
        for (std::size_t t = 0; t < K; ++t) {
          std::size_t const h = i / R, j = i % R;
          left_ids.view<std::int32_t>()(b, h, j, t) = ls[t].second, left_scores.view<float>()(b, h, j, t) = ls[t].first;
          right_ids.view<std::int32_t>()(b, h, j, t) = rs[t].second, right_scores.view<float>()(b, h, j, t) = rs[t].first;
        }
      }
    }
    std::string const p = name_of(c) + "/";
    auto const texts = [&](wf::tensor const& ids) {
      std::vector<std::string> all;
      for (auto const id : ids.values<std::int32_t const>()) all.push_back(model.token_text(id));
      return wf::dataset(std::move(all), shape);
    };
    std::string const left_side = c == circuit::qk ? "query" : "value", right_side = c == circuit::qk ? "key" : "output";
    put(p + "left_ids", left_ids, "table")
        .about("tokens of largest inner product with the left (" + left_side + ") direction, sign applied");
    put(p + "right_ids", right_ids, "table")
        .about("tokens of largest inner product with the right (" + right_side + ") direction, sign applied");
    put(p + "left_scores", left_scores, "heatmap").about("their inner products with the singular value times the left direction");
    put(p + "right_scores", right_scores, "heatmap").about("their inner products with the right direction");
    out.add(p + "left_tokens", texts(left_ids)).view("lens").about("texts of left_ids");
    out.add(p + "right_tokens", texts(right_ids)).view("lens").about("texts of right_ids");
  }

  /// E9c. Eigenvectors are read as they are, in the vocabulary under the final norm: for v = p + iq and its value a + bi, what
  /// the matrix does to the plane of p and q.
  void add_eigenvalues(wf::model const& model, wf::model_info const& info, std::vector<block_weights> const& weights, circuit c,
                       bool read, put_function const& put, wf::results& out) const {
    std::size_t const B = weights.size(), H = info.heads, r = info.d_head, d = info.d_model;
    std::size_t const E = read ? std::min(eigenvectors_, r) : 0;
    wf::tensor const real(wf::dtype::f64, {{"block", B}, {"head", H}, {"direction", r}}),
        imaginary = real.clone(), covered = real.clone(), positive(wf::dtype::f64, {{"block", B}, {"head", H}});
    wf::tensor const effective(wf::dtype::i64, positive.shape());
    wf::tensor const vectors(wf::dtype::f32, {{"direction", B * H * E * readings}, {"d_model", d}});
    wf::parallel_for(B * H, [&](std::size_t i) {
      auto const m = matrix(weights[i / H], i % H, c, info);
      std::vector<std::complex<double>> values;
      if (E > 0) {
        auto const all = wf::eigen_of_product(m.left, m.right);
        values = all.values;
        for (std::size_t j = 0; j < E; ++j) {
          double const a = values[j].real(), b = values[j].imag();
          for (std::size_t x = 0; x < d; ++x) {
            double const p = all.vectors[j][x].real(), q = all.vectors[j][x].imag();
            double const read_as[readings] = {p, q, a * p - b * q, b * p + a * q, (a + b) * p + (a - b) * q};
            for (std::size_t k = 0; k < readings; ++k)
              vectors.view<float>()((i * E + j) * readings + k, x) = static_cast<float>(read_as[k]);
          }
        }
      } else {
        values = wf::eigenvalues_of_product(m.left, m.right);
      }
      double sum = 0, magnitude = 0, running = 0;
      for (std::size_t j = 0; j < r; ++j) {
        real(i / H, i % H, j) = values[j].real(), imaginary(i / H, i % H, j) = values[j].imag();
        sum += values[j].real(), magnitude += std::abs(values[j]);
      }
      std::size_t reached = r;
      for (std::size_t j = 0; j < r; ++j) {
        running += std::abs(values[j]);
        double const share = magnitude > 0 ? 100 * running / magnitude : 100;
        covered(i / H, i % H, j) = share;
        if (reached == r && share > eigen_coverage_) reached = j;
      }
      effective.view<std::int64_t>()(i / H, i % H) = static_cast<std::int64_t>(std::min(reached + 1, r));
      positive(i / H, i % H) = magnitude > 0 ? sum / magnitude : 0;
    });
    std::string const p = name_of(c) + "/";
    put(p + "eigenvalues_real", real, along_directions)
        .about("real parts of the eigenvalues that can differ from zero, by descending magnitude," + matrix_of(c));
    put(p + "eigenvalues_imaginary", imaginary, along_directions).about("their imaginary parts, on the same scale");
    put(p + "eigenvalue_positivity", positive, block_by_head)
        .about("sum of the eigenvalues over the sum of their magnitudes: 1 copies, -1 suppresses");
    put(p + "eigenvalue_coverage", covered, along_directions)
        .units("percent")
        .about("share of the sum of magnitudes up to each eigenvalue");
    char text[96];
    std::snprintf(text, sizeof text, "eigenvalues needed to pass %g %% of the sum of their magnitudes", eigen_coverage_);
    put(p + "eigenvalue_dimension", effective, block_by_head).about(text);
    if (E > 0) add_eigenvector_tokens(model, info, vectors, {{"block", B}, {"head", H}, {"eigenvector", E}}, c, put, out);
  }

  /// What parts of an eigenvector p + iq of value a + bi are read.
  static constexpr std::size_t readings = 5;

  /// `vectors`: [all readings of all eigenvectors, d_model]; `of`: block, head and eigenvector.
  void add_eigenvector_tokens(wf::model const& model, wf::model_info const& info, wf::tensor const& vectors, wf::dims const& of,
                              circuit c, put_function const& put, wf::results& out) const {
    std::string const p = name_of(c) + "/";
    wf::tensor const embedding = model.weight("embed.W_E");
    std::size_t const V = embedding.size(0), K = std::min(k_, V);
    auto const found =
        wf::reading::read_chunks(V, vectors.size(0), K, [&](std::size_t first, std::size_t last, auto const& give) {
          wf::tensor const some = embedding.slice(0, first, last).to(wf::dtype::f32);
          wf::tensor const tokens = info.norm == wf::norm_kind::none ? some : model.final_norm(some);
          wf::tensor const scores = wf::matmul(vectors, tokens.transposed());
          for (std::size_t i = 0; i < scores.size(0); ++i) give(i, scores.view<float const>().row(i), false);
        });
    wf::dims shape = of;
    shape.push_back({"reading", readings});
    shape.push_back({"top", K});
    wf::tensor const ids(wf::dtype::i32, shape);
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (found[i].list.size() < K) throw not_finite();
      for (std::size_t t = 0; t < K; ++t) {
        ids.values<std::int32_t>()[i * K + t] = found[i].list[t].second;
        texts.push_back(model.token_text(found[i].list[t].second));
      }
    }
    std::vector<std::string> const names{"p", "q", "a p - b q", "b p + a q", "sum of the two"};
    put(p + "eigenvector_ids", ids, "table")
        .labels("reading", names)
        .about(
            "tokens, under the final norm, of largest inner product with parts of the right eigenvector p + iq of value a + bi");
    out.add(p + "eigenvector_tokens", std::move(texts), shape)
        .labels("reading", names)
        .view("table")
        .about("texts of eigenvector_ids");
  }

  /// How strongly each head reads what each head of an earlier block writes: Frobenius norm of the product over the product of
  /// norms, of the raw weights (Elhage et al. 2021, "composition").
  void add_composition(std::vector<block_weights> const& weights, wf::model_info const& info, wf::tensor const& numbers,
                       put_function const& put) const {
    std::size_t const B = weights.size(), H = info.heads, r = info.d_head, d = info.d_model;
    // For ||A B|| with thin factors only what faces the other matrix matters in full; the far side shrinks to its triangle.
    wf::dims const stacked{{"row", H * r}, {"d_model", d}};
    std::vector<wf::tensor> write(B), read_key(B), read_query(B), read_value(B);
    for (std::size_t b = 0; b < B; ++b)
      write[b] = wf::tensor(wf::dtype::f32, stacked), read_key[b] = write[b].clone(), read_query[b] = write[b].clone(),
      read_value[b] = write[b].clone();
    wf::tensor const qk(wf::dtype::f64, {{"block", B}, {"head", H}}), vo = qk.clone();
    wf::parallel_for(B * H, [&](std::size_t i) {
      std::size_t const b = i / H, h = i % H;
      auto const& w = weights[b];
      auto const into = [&](wf::tensor const& all, wf::tensor const& rows) {
        wf::copy_into(all.slice(0, h * r, (h + 1) * r), rows);
        return norm_of(rows);
      };
      vo(b, h) = into(write[b], compressed(float64(w.v[h]), w.o[h]));
      qk(b, h) = into(read_key[b], compressed(float64(w.q[h]), float64(w.k[h]).transposed()));
      into(read_query[b], compressed(float64(w.k[h]), float64(w.q[h]).transposed()));
      into(read_value[b], compressed(float64(w.o[h]).transposed(), float64(w.v[h]).transposed()));
    });
    wf::dims const shape{{"block", B}, {"head", H}, {"earlier_block", B}, {"earlier_head", H}};
    wf::tensor const q(wf::dtype::f64, shape), k = q.clone(), v = q.clone();
    for (auto const* t : {&q, &k, &v})
      for (double& x : t->values<double>()) x = std::numeric_limits<double>::quiet_NaN();
    wf::parallel_for(B * B, [&](std::size_t i) {
      std::size_t const later = i / B, earlier = i % B;
      if (earlier >= later) return;
      auto const score = [&](wf::tensor const& reads, wf::tensor const& norms, wf::tensor const& to) {
        wf::tensor const product = wf::matmul(reads, write[earlier].transposed());
        auto const m = product.view<float const>();
        for (std::size_t x = 0; x < H; ++x)
          for (std::size_t y = 0; y < H; ++y) {
            double s = 0;
            for (std::size_t row = x * r; row < (x + 1) * r; ++row) {
              auto const part = m.row(row).subspan(y * r, r);
              s += wf::dot(part, part);
            }
            double const norm = norms(later, x) * vo(earlier, y);
            to(later, x, earlier, y) = norm > 0 ? std::sqrt(s) / norm : 0;
          }
      };
      score(read_query[later], qk, q);
      score(read_key[later], qk, k);
      score(read_value[later], vo, v);
    });
    auto const add = [&](std::string const& name, wf::tensor const& t, std::string const& what) {
      put(name, t, by_earlier_head)
          .coordinate("earlier_block", numbers.named({"earlier_block"}))
          .about(what + "; NaN where the block is no earlier one")
          .missing("the block is no earlier one");
    };
    add("q_composition", q, "|W_VO W_QK| / (|W_VO| |W_QK|): how much a head's queries read what an earlier head writes");
    add("k_composition", k, "|W_QK W_VO^T| / (|W_QK| |W_VO|): how much a head's keys read what an earlier head writes");
    add("v_composition", v,
        "|W_VO W_VO| / (|W_VO| |W_VO|), earlier times later: how much a head moves on what an earlier head writes");
  }

  std::vector<std::int64_t> blocks_;
  std::size_t directions_, k_;
  std::size_t eigenvectors_;
  double eigen_coverage_, coverage_;
  bool fold_, tokens_, eigenvalues_, composition_, vectors_;
  std::vector<std::int64_t> distances_;
};

WAYFARER_PROBE(
    head_spectra, "1.0.0", "Singular values, directions, eigenvalues and composition of every head's W_QK and W_VO",
    wf::port::model("model"), wf::param("blocks", wf::integers(""), "blocks to look at, negative from the end; none: all"),
    wf::param("directions", 20, "singular directions whose tokens are listed; 0: singular values alone, twice as fast")
        .at_least(0),
    wf::param("k", 5, "tokens listed for each side of a direction").at_least(1),
    wf::param("coverage", 99.0, "share of the sum of singular values that counts as all").in("percent").between(1, 100),
    wf::param("fold", "none", "norm: fold the norm's weight and centring into what reads it").one_of("none|norm"),
    wf::param("tokens", true, "read the directions in the vocabulary, where the checkpoint has an embedding"),
    wf::param("eigenvalues", true, "the eigenvalues too"),
    wf::param("eigenvectors", 0, "eigenvectors whose tokens are listed (the published code: 20)").at_least(0),
    wf::param("eigenvalue_coverage", 80.0, "share of the sum of eigenvalues' magnitudes that counts as most")
        .in("percent")
        .between(1, 100),
    wf::param("composition", true, "how strongly each head reads what earlier heads write"),
    wf::param("vectors", false, "store the listed directions themselves"),
    wf::param("distances", wf::integers(""),
              "rotary positions: how far a query stands behind its key; the spectrum of W_QK at each of them")
        .in("token"));
