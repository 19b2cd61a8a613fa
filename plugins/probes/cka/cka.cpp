// How alike are the vectors at different hooks, up to turns and scales? Linear centred kernel alignment of every pair of hooks.
// Kornblith, Norouzi, Lee and Hinton 2019, section 3; without its bias after Song et al. 2012 and Nguyen et al. 2021.
//
//     alike: {probe: cka, model: gpt2, source: corpus, hooks: [blocks.*.hook_resid_post]}
//
//     CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),  K = X X^T, L = Y Y^T of the same positions
//
// With vectors wider than they are many, CKA of unrelated vectors is far above 0; `cka` uses an estimate of HSIC that is 0 on
// average then, and `cka_biased` the one that is usual. The vectors are a seeded sample (vector_sample.hpp). As a control the
// sample of one hook is put in random order.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>

#include "probes/common/vector_sample.hpp"

namespace wf = wayfarer;

namespace {

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t groups = 20;  // of the jackknife
using order = std::vector<std::size_t>;

/// Inner products of the vectors at a hook [sampled, sampled], less those of their mean.
wf::tensor centred_products(wf::tensor const& x) {
  wf::tensor const centred = x.clone();
  auto const rows = centred.view<double>();
  for (std::size_t j = 0; j < rows.size(1); ++j) {
    double mean = 0;
    for (std::size_t r = 0; r < rows.size(0); ++r) mean += rows(r, j);
    mean /= static_cast<double>(rows.size(0));
    for (std::size_t r = 0; r < rows.size(0); ++r) rows(r, j) -= mean;
  }
  return wf::gram(centred);
}

/// The estimate of HSIC without bias, of rows `a` of K and `b` of L, which belong together one by one; a factor that only their
/// number determines is left out. At least 4 rows.
double unbiased(wf::tensor const& k, order const& a, wf::tensor const& l, order const& b) {
  auto const x = k.view<double const>(), y = l.view<double const>();
  auto const n = static_cast<double>(a.size());
  double products = 0, all_x = 0, all_y = 0, rows = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double sum_x = 0, sum_y = 0, product = 0;
    auto const row_x = x.row(a[i]), row_y = y.row(b[i]);
    for (std::size_t j = 0; j < a.size(); ++j) {
      if (j == i) continue;
      double const one = row_x[a[j]], other = row_y[b[j]];
      sum_x += one, sum_y += other, product += one * other;
    }
    products += product, all_x += sum_x, all_y += sum_y, rows += sum_x * sum_y;
  }
  return products + all_x * all_y / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows;
}

double alignment(double between, double own, double others) {
  return own > 0 && others > 0 ? between / std::sqrt(own * others) : nothing;
}

}  // namespace

struct cka final : wf::probe {
  explicit cka(wf::config const& c)
      : hooks_(c["hooks"].texts()), shuffles_(c["shuffles"]), sample_(c["sample"], c["skip"], "cka"), seed_(c.seed()) {}

  wf::hook_set needs(wf::model_info const& model) const override { return wf::vector_sample::hooks_of(model, hooks_); }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    sample_.shape(acc, at.model().info(), needs(at.model().info()));
  }
  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    sample_.observe(acc, block, needs(at.model().info()));
  }
  void merge(wf::accumulator& into, wf::accumulator const& from) const override { sample_.merge(into, from); }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const hooks = needs(at.model().info()).names();
    std::size_t const n = wf::vector_sample::filled(acc), count = hooks.size();
    if (n < groups + 4)
      throw wf::data_error("the items have " + wf::counted(n, "vector") + ", and CKA needs at least " +
                           std::to_string(groups + 4) + "; give more items, or a smaller `skip`");
    std::vector<wf::tensor> products;
    for (auto const& hook : hooks) products.push_back(centred_products(wf::vector_sample::of(acc, hook)));
    std::vector<order> const parts = without_groups(n), shuffled = random_orders(n);
    // HSIC of each hook with itself: of all vectors, then without each group.
    std::vector<std::vector<double>> own(count);
    wf::parallel_for(count, [&](std::size_t h) {
      for (auto const& part : parts) own[h].push_back(unbiased(products[h], part, products[h], part));
    });
    wf::dims const square{{"layer", count}, {"other_layer", count}};
    table value(square), error(square), biased(square), control(square), deviation(square);
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    for (std::size_t a = 0; a < count; ++a)
      for (std::size_t b = a; b < count; ++b) pairs.emplace_back(a, b);
    wf::parallel_for(pairs.size(), [&](std::size_t p) {
      auto const [a, b] = pairs[p];
      std::vector<double> each, mixed;
      for (std::size_t g = 0; g < parts.size(); ++g)
        each.push_back(alignment(unbiased(products[a], parts[g], products[b], parts[g]), own[a][g], own[b][g]));
      for (auto const& other : shuffled)
        mixed.push_back(alignment(unbiased(products[a], parts[0], products[b], other), own[a][0], own[b][0]));
      auto const jackknife = wf::moments_of(std::span(each).subspan(1)), chance = wf::moments_of(mixed);
      value.put(a, b, each[0]);
      error.put(a, b, jackknife.deviation * (groups - 1) / std::sqrt(static_cast<double>(groups)));
      biased.put(a, b, usual(products[a], products[b]));
      control.put(a, b, chance.mean), deviation.put(a, b, chance.deviation);
    });
    auto const add = [&](char const* name, table const& t, char const* about) {
      out.add(name, t.values)
          .about(about)
          .labels("layer", hooks)
          .labels("other_layer", hooks)
          .missing("the vectors at one of the hooks are all alike")
          .view(R"({"kind": "heatmap", "rows": "layer", "columns": "other_layer"})");
    };
    add("cka", value, "linear CKA of the vectors at two hooks, without its bias: 1 if they are the same but for turns and scale");
    add("cka_standard_error", error, "its standard error: a jackknife that leaves out a twentieth of the vectors at a time");
    add("cka_biased", biased, "the usual linear CKA, which is above 0 for unrelated vectors");
    add("cka_shuffled", control, "control: cka with the vectors at one of the hooks in random order, mean");
    add("cka_shuffled_deviation", deviation, "its deviation");
    out.add("vectors", acc["vectors"]()).units("vector").about("vectors at each hook");
    out.add("sampled", static_cast<double>(n)).units("vector").about("those of the sample, which are compared");
    out.summarise("CKA of the first and the last of " + wf::counted(count, "hook") + " " + wf::told(value.values(0, count - 1)) +
                  " +- " + wf::told(error.values(0, count - 1), 2) + " (in random order " +
                  wf::told(control.values(0, count - 1), 2) + " +- " + wf::told(deviation.values(0, count - 1), 2) + ")");
  }

 private:
  /// A symmetric table that threads fill at different places.
  struct table {
    explicit table(wf::dims const& shape) : values(wf::dtype::f64, shape) {}
    void put(std::size_t a, std::size_t b, double x) const { values(a, b) = x, values(b, a) = x; }
    wf::tensor values;
  };

  /// All rows, then those without each group.
  static std::vector<order> without_groups(std::size_t n) {
    std::vector<order> parts(groups + 1);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t g = 0; g <= groups; ++g)
        if (g == 0 || i % groups != g - 1) parts[g].push_back(i);
    return parts;
  }

  std::vector<order> random_orders(std::size_t n) const {
    std::vector<order> all(shuffles_, order(n));
    for (std::size_t s = 0; s < shuffles_; ++s) {
      order& mixed = all[s];
      std::iota(mixed.begin(), mixed.end(), std::size_t{0});
      wf::random_stream draw(seed_, "cka shuffles", s);
      draw.shuffle(static_cast<std::uint32_t>(n), [&](std::uint32_t a, std::uint32_t b) { std::swap(mixed[a], mixed[b]); });
    }
    return all;
  }

  static double usual(wf::tensor const& k, wf::tensor const& l) {
    auto const x = k.values<double const>(), y = l.values<double const>();
    return alignment(wf::dot(x, y), wf::dot(x, x), wf::dot(y, y));
  }

  std::vector<std::string> hooks_;
  std::size_t shuffles_;
  wf::vector_sample sample_;
  std::uint64_t seed_;
};

WAYFARER_PROBE(cka, "1.0.0", "Linear centred kernel alignment: how alike the vectors at different hooks are",
               wf::port::model("model"), wf::port::source("source"),
               wf::param("hooks", wf::strings("blocks.*.hook_resid_post"), "hooks to compare, in layer order"),
               wf::param("sample", 1000, "vectors of each hook that are compared").in("vector").between(24, 10'000),
               wf::param("skip", 0, "positions at the beginning of each item that are left out").in("token").at_least(0),
               wf::param("shuffles", 5, "random orders of the control").between(2, 1000),
               wf::param("seed", 0, "of the sample and the control").at_least(0));
