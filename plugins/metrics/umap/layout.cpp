#include "layout.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include <Eigen/Dense>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>

namespace wayfarer::umap_layout {
namespace {

constexpr std::size_t rows_a_piece = 128;

std::size_t pieces(std::size_t n) {
  return (n + rows_a_piece - 1) / rows_a_piece;
}

/// For rows [first, last) of `points`, squared distances to all of `among`, to float32 rounding.
std::vector<float> squared_distances(tensor const& points, tensor const& among, std::span<float const> norms, std::size_t first,
                                     std::size_t last) {
  tensor const products = matmul(points.slice(0, first, last), among.transposed());
  auto const p = products.values<float const>();
  auto const x = points.view<float const>();
  std::size_t const n = among.size(0);
  std::vector<float> out(p.size());
  for (std::size_t i = first; i < last; ++i) {
    auto const own = static_cast<float>(dot(std::span<float const>(x.row(i)), std::span<float const>(x.row(i))));
    float const* from = p.data() + (i - first) * n;
    float* to = out.data() + (i - first) * n;
    for (std::size_t j = 0; j < n; ++j) to[j] = own + norms[j] - 2 * from[j];
  }
  return out;
}

std::vector<float> squared_norms(tensor const& points) {
  auto const x = points.view<float const>();
  std::vector<float> norms(points.size(0));
  for (std::size_t i = 0; i < norms.size(); ++i)
    norms[i] = static_cast<float>(dot(std::span<float const>(x.row(i)), std::span<float const>(x.row(i))));
  return norms;
}

float exact_distance(std::span<float const> a, std::span<float const> b) {
  double s[4] = {};
  std::size_t i = 0;
  for (; i + 4 <= a.size(); i += 4)
    for (std::size_t j = 0; j < 4; ++j) {
      double const d = static_cast<double>(a[i + j]) - static_cast<double>(b[i + j]);
      s[j] += d * d;
    }
  for (; i < a.size(); ++i) {
    double const d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    s[0] += d * d;
  }
  return static_cast<float>(std::sqrt((s[0] + s[1]) + (s[2] + s[3])));
}

float membership(float distance, float rho, float sigma) {
  return distance - rho <= 0 || sigma == 0 ? 1.0f : std::exp(-(distance - rho) / sigma);
}

/// Rows of one-way weights as a symmetric graph: `join` of the weight there and the weight back.
template <class Join>
graph symmetric(neighbor_table const& near, std::vector<float> const& weight, Join const& join) {
  std::size_t const n = near.index.size() / near.k;
  struct arc {
    std::uint32_t to;
    float there, back;
  };
  std::vector<std::vector<arc>> rows(n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < near.k; ++j) {
      std::uint32_t const to = near.index[i * near.k + j];
      float const w = weight[i * near.k + j];
      if (to == i || w == 0) continue;
      rows[i].push_back({to, w, 0});
      rows[to].push_back({static_cast<std::uint32_t>(i), 0, w});
    }
  graph g;
  g.begin.push_back(0);
  for (auto& row : rows) {
    std::stable_sort(row.begin(), row.end(), [](arc const& a, arc const& b) { return a.to < b.to; });
    for (std::size_t j = 0; j < row.size();) {
      std::uint32_t const to = row[j].to;
      float there = 0, back = 0;
      for (; j < row.size() && row[j].to == to; ++j) there += row[j].there, back += row[j].back;
      g.to.push_back(to);
      g.weight.push_back(join(there, back));
    }
    g.begin.push_back(g.to.size());
  }
  return g;
}

float clip(float x) {
  return std::clamp(x, -4.0f, 4.0f);
}

/// Pull on one coordinate's difference, and push, as factors of the difference.
struct forces {
  float a, b;
  float pull(float squared) const {
    if (squared <= 0) return 0;
    float const power = std::pow(squared, b);
    return -2 * a * b * power / squared / (a * power + 1);
  }
  float push(float squared) const { return 2 * b / ((0.001f + squared) * (a * std::pow(squared, b) + 1)); }
};

float squared(float const* x, float const* y, std::size_t n) {
  float s = 0;
  for (std::size_t c = 0; c < n; ++c) s += (x[c] - y[c]) * (x[c] - y[c]);
  return s;
}

}  // namespace

neighbor_table nearest(tensor const& points, tensor const& among, std::size_t k, measure_kind measure) {
  std::size_t const n = points.size(0), m = among.size(0);
  neighbor_table t;
  t.k = std::min(k, m);
  t.index.resize(n * t.k), t.distance.resize(n * t.k);
  if (t.k == 0) return t;
  auto const norms = squared_norms(among);
  auto const x = points.view<float const>(), y = among.view<float const>();
  // Products find candidates, a few more than wanted since they round; differences then measure and order them.
  std::size_t const candidates = measure == measure_kind::exact ? std::min(m, t.k + 8) : t.k;
  parallel_for(pieces(n), [&](std::size_t piece) {
    std::size_t const first = piece * rows_a_piece, last = std::min(n, first + rows_a_piece);
    auto const all = squared_distances(points, among, norms, first, last);
    // Distance above, index below: as integers they order as wanted, since no distance is negative.
    std::vector<std::uint64_t> keys(m);
    std::vector<std::pair<float, std::uint32_t>> best(candidates);
    for (std::size_t i = first; i < last; ++i) {
      float const* const d = all.data() + (i - first) * m;
      for (std::size_t j = 0; j < m; ++j)
        keys[j] = std::uint64_t{std::bit_cast<std::uint32_t>(std::max(d[j], 0.0f))} << 32 | static_cast<std::uint32_t>(j);
      auto const end = keys.begin() + static_cast<std::ptrdiff_t>(candidates);
      std::nth_element(keys.begin(), end - 1, keys.end());
      for (std::size_t c = 0; c < candidates; ++c) {
        auto const j = static_cast<std::uint32_t>(keys[c]);
        best[c] = {measure == measure_kind::exact ? exact_distance(x.row(i), y.row(j)) : std::sqrt(std::max(d[j], 0.0f)), j};
      }
      std::sort(best.begin(), best.end());
      for (std::size_t c = 0; c < t.k; ++c) t.distance[i * t.k + c] = best[c].first, t.index[i * t.k + c] = best[c].second;
    }
  });
  return t;
}

scales scales_of(neighbor_table const& near, double local) {
  std::size_t const k = near.k, n = k ? near.distance.size() / k : 0;
  double const target = std::log2(static_cast<double>(k));
  scales s{std::vector<float>(n), std::vector<float>(n)};
  double mean_of_all = 0;
  for (float d : near.distance) mean_of_all += static_cast<double>(d);
  mean_of_all /= static_cast<double>(std::max<std::size_t>(1, near.distance.size()));
  for (std::size_t i = 0; i < n; ++i) {
    float const* const d = near.distance.data() + i * k;
    double rho = 0, mean = 0;
    std::size_t nonzero = 0;
    for (std::size_t j = 0; j < k; ++j) {
      mean += static_cast<double>(d[j]);
      if (d[j] > 0 && nonzero++ == 0) rho = static_cast<double>(d[j]);
    }
    if (local == 0) rho = 0;
    mean /= static_cast<double>(k);
    double low = 0, high = std::numeric_limits<double>::infinity(), mid = 1;
    for (int step = 0; step < 64; ++step) {
      double sum = 0;
      for (std::size_t j = 1; j < k; ++j) {
        double const beyond = static_cast<double>(d[j]) - rho;
        sum += beyond > 0 ? std::exp(-beyond / mid) : 1;
      }
      if (std::abs(sum - target) < 1e-5) break;
      if (sum > target)
        high = mid, mid = (low + high) / 2;
      else
        low = mid, mid = std::isinf(high) ? mid * 2 : (low + high) / 2;
    }
    mid = std::max(mid, 1e-3 * (rho > 0 ? mean : mean_of_all));
    s.sigma[i] = static_cast<float>(mid), s.rho[i] = static_cast<float>(rho);
  }
  return s;
}

graph fuzzy_graph(neighbor_table const& near, scales const& s) {
  std::vector<float> weight(near.index.size());
  for (std::size_t e = 0; e < weight.size(); ++e)
    weight[e] = membership(near.distance[e], s.rho[e / near.k], s.sigma[e / near.k]);
  return symmetric(near, weight, [](float there, float back) { return there + back - there * back; });
}

graph equal_graph(neighbor_table const& near) {
  return symmetric(near, std::vector<float>(near.index.size(), 1.0f), [](float there, float back) { return (there + back) / 2; });
}

namespace {

using block = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// S x, where S = D^-1/2 A D^-1/2 and `inverse` is D^-1/2. x has a multiple of 8 columns.
block times(graph const& g, std::vector<float> const& inverse, block const& x) {
  block y(x.rows(), x.cols());
  std::size_t const n = g.points(), w = static_cast<std::size_t>(x.cols());
  parallel_for(pieces(n), [&](std::size_t piece) {
    std::size_t const first = piece * rows_a_piece, last = std::min(n, first + rows_a_piece);
    for (std::size_t c = 0; c < w; c += 8)
      for (std::size_t i = first; i < last; ++i) {
        float sum[8] = {};
        for (std::size_t e = g.begin[i]; e < g.begin[i + 1]; ++e) {
          float const f = g.weight[e] * inverse[g.to[e]];
          float const* const from = x.data() + g.to[e] * w + c;
          for (std::size_t j = 0; j < 8; ++j) sum[j] += f * from[j];
        }
        for (std::size_t j = 0; j < 8; ++j) y.data()[i * w + c + j] = sum[j] * inverse[i];
      }
  });
  return y;
}

/// The first `count` columns of the basis over the roots of the degrees, each with its largest entry positive.
tensor as_components(Eigen::MatrixXd const& basis, std::vector<double> const& root, std::size_t count) {
  std::size_t const n = root.size();
  tensor out(dtype::f64, {{"point", n}, {"component", count}});
  auto const to = out.values<double>();
  for (std::size_t c = 0; c < count; ++c) {
    std::size_t largest = 0;
    for (std::size_t i = 0; i < n; ++i) {
      to[i * count + c] = basis(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(c)) / root[i];
      if (std::abs(to[i * count + c]) > std::abs(to[largest * count + c])) largest = i;
    }
    if (to[largest * count + c] < 0)
      for (std::size_t i = 0; i < n; ++i) to[i * count + c] = -to[i * count + c];
  }
  return out;
}

}  // namespace

tensor eigenmap(graph const& g, std::size_t count, std::uint64_t seed) {
  std::size_t const n = g.points();
  if (count + 1 > n)
    throw plugin_error("an eigenmap of " + std::to_string(n) + " points has fewer than " + std::to_string(count) + " dimensions");
  std::vector<double> root(n);
  std::vector<float> inverse(n);
  for (std::size_t i = 0; i < n; ++i) {
    double degree = 0;
    for (std::size_t e = g.begin[i]; e < g.begin[i + 1]; ++e) degree += static_cast<double>(g.weight[e]);
    root[i] = std::sqrt(degree > 0 ? degree : 1);
    inverse[i] = static_cast<float>(1 / root[i]);
  }
  Eigen::Index const rows = static_cast<Eigen::Index>(n);
  Eigen::VectorXd trivial = Eigen::Map<Eigen::VectorXd const>(root.data(), rows);
  trivial.normalize();

  // S = D^-1/2 A D^-1/2 has its spectrum in [-1, 1]; the wanted eigenvectors are those of its largest values. Subspace iteration
  // with a Chebyshev filter finds them even where several are equal, as for a graph in pieces. It is a start for a layout: a
  // residual of 1e-5 is more than enough, and products in float32 reach it.
  Eigen::Index const width = static_cast<Eigen::Index>((count + 4 + 7) / 8 * 8), wanted = static_cast<Eigen::Index>(count);
  if (rows <= width) throw data_error("umap: " + std::to_string(n) + " points are too few for an eigenmap; use start: random");
  Eigen::MatrixXd basis(rows, width);
  random_stream draw(seed, "eigenmap", 0);
  for (Eigen::Index i = 0; i < rows; ++i)
    for (Eigen::Index j = 0; j < width; ++j) basis(i, j) = draw.normal();
  auto const orthonormal = [&](Eigen::MatrixXd m) {
    m -= trivial * (trivial.transpose() * m).eval();
    Eigen::HouseholderQR<Eigen::MatrixXd> const qr(m);
    return Eigen::MatrixXd(qr.householderQ() * Eigen::MatrixXd::Identity(m.rows(), m.cols()));
  };
  for (int round = 0; round < 16; ++round) {
    basis = orthonormal(std::move(basis));
    block x = basis.cast<float>(), image = times(g, inverse, x);
    Eigen::MatrixXd const mapped = image.cast<double>(), core = basis.transpose() * mapped;
    Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> const ritz((core + core.transpose()) / 2);
    Eigen::MatrixXd const turn = ritz.eigenvectors().rowwise().reverse();
    Eigen::VectorXd const values = ritz.eigenvalues().reverse();
    basis = (basis * turn).eval();
    Eigen::MatrixXd const turned = mapped * turn;
    double worst = 0;
    for (Eigen::Index j = 0; j < wanted; ++j) worst = std::max(worst, (turned.col(j) - values[j] * basis.col(j)).norm());
    if (worst < 1e-5) break;
    // Chebyshev polynomial of degree 10 for the interval [-1, cut], which it damps; what is above grows.
    auto const cut = static_cast<float>(std::clamp(values[width - 1], 0.0, 0.999));
    float const center = (cut - 1) / 2, half = (cut + 1) / 2;
    x = basis.cast<float>(), image = turned.cast<float>();
    block before = x, now = (image - center * x) / half;
    for (int degree = 2; degree <= 10; ++degree) {
      block next = (times(g, inverse, now) - center * now) * (2 / half) - before;
      before = std::move(now), now = std::move(next);
    }
    basis = now.cast<double>();
    for (Eigen::Index j = 0; j < width; ++j)
      if (double const norm = basis.col(j).norm(); norm > 0) basis.col(j) /= norm;
  }
  return as_components(basis, root, count);
}

curve fit_curve(double min_dist, double spread) {
  // Least squares over 300 distances up to three spreads, by Gauss-Newton with damping.
  std::size_t const count = 300;
  std::vector<double> d(count), y(count);
  for (std::size_t i = 0; i < count; ++i) {
    d[i] = 3 * spread * static_cast<double>(i) / static_cast<double>(count - 1);
    y[i] = d[i] < min_dist ? 1 : std::exp(-(d[i] - min_dist) / spread);
  }
  auto const error = [&](double a, double b) {
    double s = 0;
    for (std::size_t i = 0; i < count; ++i) {
      double const r = 1 / (1 + a * std::pow(d[i], 2 * b)) - y[i];
      s += r * r;
    }
    return s;
  };
  double a = 1, b = 1, damping = 1e-3, best = error(a, b);
  for (int step = 0; step < 500; ++step) {
    double aa = 0, ab = 0, bb = 0, ga = 0, gb = 0;
    for (std::size_t i = 1; i < count; ++i) {
      double const p = std::pow(d[i], 2 * b), f = 1 / (1 + a * p), r = f - y[i];
      double const da = -f * f * p, db = -f * f * a * p * 2 * std::log(d[i]);
      aa += da * da, ab += da * db, bb += db * db, ga += da * r, gb += db * r;
    }
    double const x = aa * (1 + damping), z = bb * (1 + damping), det = x * z - ab * ab;
    if (det == 0) break;
    double const next_a = a - (z * ga - ab * gb) / det, next_b = b - (x * gb - ab * ga) / det;
    double const now = next_a > 0 && next_b > 0 ? error(next_a, next_b) : std::numeric_limits<double>::infinity();
    if (now < best) {
      bool const still = best - now < 1e-16 * best;
      a = next_a, b = next_b, best = now, damping /= 4;
      if (still) break;
    } else if ((damping *= 4) > 1e12) {
      break;
    }
  }
  return {a, b};
}

namespace {

/// One edge of the layout's schedule: it acts every `period` epochs.
struct spring {
  std::uint32_t from, to;
  float period, next;
  float negative_period, next_negative;
};

std::vector<spring> springs_of(std::span<std::uint32_t const> from, std::span<std::uint32_t const> to,
                               std::span<float const> weight, std::size_t epochs, std::size_t negatives) {
  std::vector<spring> springs;
  float const heaviest = weight.empty() ? 0 : *std::max_element(weight.begin(), weight.end());
  for (std::size_t e = 0; e < weight.size(); ++e) {
    if (weight[e] <= 0 || weight[e] < heaviest / static_cast<float>(epochs)) continue;
    float const period = heaviest / weight[e], negative = negatives ? period / static_cast<float>(negatives) : 0;
    springs.push_back({from[e], to[e], period, period, negative, negative});
  }
  return springs;
}

/// Moves `moving` (and, if both are one layout, its partners) through all epochs.
void pull_and_push(std::vector<spring>& springs, float* moving, float* fixed, std::size_t fixed_count, bool partners_move,
                   std::size_t width, curve const& shape, double rate, std::size_t epochs, std::size_t negatives,
                   random_stream& draw, std::function<void(std::size_t, std::size_t)> const& at) {
  forces const f{static_cast<float>(shape.a), static_cast<float>(shape.b)};
  for (std::size_t epoch = 0; epoch < epochs; ++epoch) {
    auto const alpha = static_cast<float>(rate * (1 - static_cast<double>(epoch) / static_cast<double>(epochs)));
    auto const now = static_cast<float>(epoch);
    for (auto& s : springs) {
      if (s.next > now) continue;
      float* const x = moving + s.from * width;
      float* const y = fixed + s.to * width;
      float const pull = f.pull(squared(x, y, width));
      for (std::size_t c = 0; c < width; ++c) {
        float const g = clip(pull * (x[c] - y[c])) * alpha;
        x[c] += g;
        if (partners_move) y[c] -= g;
      }
      s.next += s.period;
      if (negatives == 0) continue;
      auto const pushes = static_cast<int>((now - s.next_negative) / s.negative_period);
      for (int p = 0; p < pushes; ++p) {
        std::uint32_t const other = draw.below(static_cast<std::uint32_t>(fixed_count));
        float* const z = fixed + other * width;
        if (x == z) continue;
        float const distance = squared(x, z, width);
        if (distance > 0) {
          float const push = f.push(distance);
          for (std::size_t c = 0; c < width; ++c) x[c] += clip(push * (x[c] - z[c])) * alpha;
        }
      }
      s.next_negative += static_cast<float>(pushes) * s.negative_period;
    }
    if (at) at(epoch + 1, epochs);
  }
}

/// A start, with the little noise that parts equal points, stretched to [0, 10] along each axis.
tensor prepare_start(tensor const& raw, std::uint64_t seed) {
  std::size_t const n = raw.size(0), width = raw.size(1);
  auto const from = raw.values<double const>();
  tensor out(dtype::f32, {{"point", n}, {"component", width}});
  auto const to = out.values<float>();
  double largest = 0;
  for (double v : from) largest = std::max(largest, std::abs(v));
  random_stream draw(seed, "start noise", 0);
  std::vector<double> x(from.begin(), from.end());
  for (double& v : x) v = (largest > 0 ? v * 10 / largest : 0) + 1e-4 * draw.normal();
  for (std::size_t c = 0; c < width; ++c) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (std::size_t i = 0; i < n; ++i) low = std::min(low, x[i * width + c]), high = std::max(high, x[i * width + c]);
    for (std::size_t i = 0; i < n; ++i)
      to[i * width + c] = static_cast<float>(high > low ? 10 * (x[i * width + c] - low) / (high - low) : 5);
  }
  return out;
}

}  // namespace

fit lay_out(tensor const& points, settings const& how, std::function<void(std::size_t, std::size_t)> const& at) {
  std::size_t const n = points.size(0);
  if (n < how.components + 2)
    throw data_error("umap: " + std::to_string(n) + " points are too few for " + std::to_string(how.components) +
                     " components; it needs at least " + std::to_string(how.components + 2));
  fit f{how,
        points,
        {},
        fit_curve(how.min_dist, how.spread),
        how.epochs   ? how.epochs
        : n <= 10000 ? std::size_t{500}
                     : std::size_t{200}};
  auto const near = nearest(points, points, how.neighbors);
  graph const g = fuzzy_graph(near, scales_of(near, 1));
  tensor start;
  if (how.start == start_kind::random) {
    start = tensor(dtype::f64, {{"point", n}, {"component", how.components}});
    random_stream draw(how.seed, "start", 0);
    for (double& v : start.values<double>()) v = 20 * draw.uniform() - 10;
  } else if (how.start == start_kind::spectral) {
    start = eigenmap(g, how.components, how.seed);
  } else {
    std::size_t const k = std::max<std::size_t>(2, how.start_neighbors ? how.start_neighbors : n / 10);
    start = eigenmap(equal_graph(nearest(points, points, k, measure_kind::rounded)), how.components, how.seed);
  }
  f.layout = prepare_start(start, how.seed);
  std::vector<std::uint32_t> from(g.to.size());
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t e = g.begin[i]; e < g.begin[i + 1]; ++e) from[e] = static_cast<std::uint32_t>(i);
  auto springs = springs_of(from, g.to, g.weight, f.epochs, how.negatives);
  random_stream draw(how.seed, "layout", 0);
  float* const x = f.layout.values<float>().data();
  pull_and_push(springs, x, x, n, true, how.components, f.shape, how.learning_rate, f.epochs, how.negatives, draw, at);
  return f;
}

tensor place(fit const& f, tensor const& more) {
  std::size_t const m = more.size(0), width = f.layout.size(1), n = f.points.size(0);
  tensor out(dtype::f32, {{"point", m}, {"component", width}});
  if (m == 0) return out;
  auto const near = nearest(more, f.points, f.how.neighbors);
  auto const s = scales_of(near, 0);
  std::vector<float> weight(near.index.size());
  for (std::size_t e = 0; e < weight.size(); ++e)
    weight[e] = membership(near.distance[e], s.rho[e / near.k], s.sigma[e / near.k]);
  std::size_t const epochs = n <= 10000 ? 100 : 30;
  auto const layout = f.layout.values<float const>();
  parallel_for(m, [&](std::size_t i) {
    float* const x = out.values<float>().data() + i * width;
    std::span<float const> const w{weight.data() + i * near.k, near.k};
    if (near.distance[i * near.k] == 0) {
      std::copy_n(layout.data() + near.index[i * near.k] * width, width, x);
    } else {
      float sum = 0;
      for (float v : w) sum += v;
      for (std::size_t e = 0; e < near.k; ++e)
        for (std::size_t c = 0; c < width; ++c) x[c] += w[e] / sum * layout[near.index[i * near.k + e] * width + c];
    }
    // Fixed points are only read: the partners do not move.
    auto* const fixed = const_cast<float*>(layout.data());
    std::vector<std::uint32_t> const self(near.k, 0);
    auto springs = springs_of(self, {near.index.data() + i * near.k, near.k}, w, epochs, f.how.negatives);
    random_stream draw(f.how.seed, "place", i);
    pull_and_push(springs, x, fixed, n, false, width, f.shape, f.how.learning_rate / 4, epochs, f.how.negatives, draw, {});
  });
  return out;
}

double trustworthiness(tensor const& points, tensor const& layout, std::size_t k) {
  std::size_t const n = points.size(0);
  if (2 * k >= n || k == 0)
    throw usage_error("trustworthiness over " + std::to_string(k) + " neighbours needs more than " + std::to_string(2 * k) +
                      " points, not " + std::to_string(n));
  auto const near = nearest(layout, layout, k + 1);  // the point itself is one of them
  auto const norms = squared_norms(points);
  std::vector<double> penalty(n);
  parallel_for(pieces(n), [&](std::size_t piece) {
    std::size_t const first = piece * rows_a_piece, last = std::min(n, first + rows_a_piece);
    auto const all = squared_distances(points, points, norms, first, last);
    for (std::size_t i = first; i < last; ++i) {
      float const* const d = all.data() + (i - first) * n;
      std::size_t seen = 0;
      for (std::size_t e = 0; e < near.k && seen < k; ++e) {
        std::size_t const j = near.index[i * near.k + e];
        if (j == i) continue;
        ++seen;
        std::uint32_t closer = 0;
        float const own = d[j];
        for (std::size_t o = 0; o < n; ++o) closer += d[o] < own ? 1 : 0;
        for (std::size_t o = 0; o < j; ++o) closer += d[o] == own ? 1 : 0;
        if (d[i] < own || (d[i] == own && i < j)) --closer;
        if (closer + 1 > k) penalty[i] += static_cast<double>(closer + 1) - static_cast<double>(k);
      }
    }
  });
  double sum = 0;
  for (double p : penalty) sum += p;
  auto const N = static_cast<double>(n), K = static_cast<double>(k);
  return 1 - sum * 2 / (N * K * (2 * N - 3 * K - 1));
}

}  // namespace wayfarer::umap_layout
