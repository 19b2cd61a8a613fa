// What can be read from a model's vectors by one linear map? Ridge regression from the vectors at a hook to the class of a token
// near them, or to a label of the item, and how much of its accuracy is the map's own: a control task. Alain and Bengio 2016;
// Hewitt and Liang 2019.
//
//     before: {probe: linear_probe, model: gpt2, source: corpus, offset: -1}
//
//     W = (C + ridge tr(C) / d I)^-1 (cov of vectors and classes),  class = argmax of p + (x - mean) W
//
// with the covariance C of the d-wide vectors of the training items and the classes' shares p there. Items are dealt to training
// and test by their number and the seed. The control gives each token of the vocabulary a class of its own at random, with the
// same shares, which can only be learned by heart; selectivity is the accuracy less that of the control. Training needs sums
// alone. The test is on a seeded sample (vector_sample.hpp), so memory does not grow with the items.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <Eigen/Dense>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>

#include "probes/common/common_tokens.hpp"
#include "probes/common/pooled.hpp"
#include "probes/common/token_rows.hpp"
#include "probes/common/vector_sample.hpp"

namespace wf = wayfarer;

namespace {

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();
using matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The classes, and what the control makes of a token.
struct classes {
  std::vector<double> rising;  ///< [class]: shares added up, the last is 1
  std::size_t drawn(std::uint64_t seed, std::int32_t token) const {
    double const u = wf::random_stream(seed, "linear_probe control", static_cast<std::uint64_t>(token)).uniform();
    auto const at = std::upper_bound(rising.begin(), rising.end(), u);
    return std::min(static_cast<std::size_t>(at - rising.begin()), rising.size() - 1);
  }
};

/// Of one hook: how well each task does, over test items.
struct outcome {
  wf::topics::pooled task, control;
};

Eigen::Map<matrix const> map_of(wf::tensor const& t) {
  return {t.values<double const>().data(), static_cast<Eigen::Index>(t.size(0)), static_cast<Eigen::Index>(t.size(1))};
}

}  // namespace

struct linear_probe final : wf::probe {
  explicit linear_probe(wf::config const& c)
      : hooks_(c["hooks"].texts()),
        truth_(c["truth"].text()),
        offset_(c["offset"].integer()),
        classes_(c["classes"]),
        choose_from_(c["choose_from"]),
        train_(c["train"]),
        ridge_(c["ridge"]),
        sample_(c["sample"], c["skip"], "linear_probe"),
        skip_(c["skip"]),
        seed_(c.seed()) {}

  wf::hook_set needs(wf::model_info const& model) const override { return wf::vector_sample::hooks_of(model, hooks_); }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    auto const hooks = needs(model);
    sample_.shape(acc, model, hooks);
    // The test's classes: the task's and the control's.
    acc.define("classes/sample", {{"sampled", acc["places"].size(0)}, {"task_control", 2}});
    acc.define("train_vectors", {});
    for (auto const* count : {"task_count", "control_count"}) acc.define(count, {{"class", classes_}});
    for (auto const& name : hooks.names()) {
      std::size_t const width = wf::element_count(model.find_hook(name)->row);
      acc.define(name + "/sum", {{"feature", width}});
      acc.define(name + "/products", {{"feature", width}, {"other_feature", width}});
      for (auto const* sums : {"/task", "/control"}) acc.define(name + sums, {{"class", classes_}, {"feature", width}});
    }
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const hooks = needs(at.model().info());
    auto const side = wf::walks::side::of(*at.model().info().find_hook(hooks.names().front()));
    auto const known = classes_of(at);
    std::vector<std::vector<std::int32_t>> task(block.size()), control(block.size());  // [item][position], -1: no class
    std::vector<bool> tested(block.size());
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const tokens = side.tokens(block[i]);
      tested[i] = wf::random_stream(seed_, "linear_probe split", block[i].index()).uniform() >= train_;
      task[i] = labels_of(block, i, tokens, block[i][hooks.names().front()].size(0), at);
      control[i] = task[i];
      for (std::size_t p = 0; p < control[i].size(); ++p)
        if (control[i][p] >= 0) control[i][p] = static_cast<std::int32_t>(known.drawn(seed_, p < tokens.size() ? tokens[p] : -1));
      if (!tested[i]) add_training(acc, block[i], hooks, task[i], control[i]);
    }
    auto const rows =
        sample_.observe(acc, block, hooks, [&](std::size_t i, std::size_t p) { return tested[i] && task[i][p] >= 0; });
    for (std::size_t r = 0; r < rows.size(); ++r) {
      acc["classes/sample"](r, 0) = task[rows[r].item][rows[r].position];
      acc["classes/sample"](r, 1) = control[rows[r].item][rows[r].position];
    }
  }

  void merge(wf::accumulator& into, wf::accumulator const& from) const override { sample_.merge(into, from); }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const hooks = needs(at.model().info()).names();
    double const trained = acc["train_vectors"]();
    if (trained < 2 || wf::vector_sample::filled(acc) < 2)
      throw wf::data_error("there are " + wf::told(trained) + " vectors with a class to train on and " +
                           std::to_string(wf::vector_sample::filled(acc)) +
                           " to test on; give more items, or another `train` share");
    std::vector<outcome> all(hooks.size());
    wf::parallel_for(hooks.size(), [&](std::size_t h) {
      all[h].task = tested(acc, hooks[h], "task", 0);
      all[h].control = tested(acc, hooks[h], "control", 1);
    });
    auto const add = [&](std::string const& name, std::string const& about, auto const& of) {
      wf::tensor const value(wf::dtype::f64, {{"layer", all.size()}}), error = value.clone();
      for (std::size_t h = 0; h < all.size(); ++h) {
        wf::topics::pooled const one = of(all[h]);
        value(h) = one.value, error(h) = one.standard_error();
      }
      out.add(name, value).about(about).labels("layer", hooks).view("curve");
      out.add(name + "_standard_error", error)
          .about("its standard error over test items")
          .labels("layer", hooks)
          .missing("fewer than two test items")
          .view("curve");
    };
    add("accuracy", "share of the test vectors whose class is read right", [](outcome const& o) { return o.task; });
    add("control_accuracy", "the same for classes that each token has at random", [](outcome const& o) { return o.control; });
    add("selectivity", "accuracy less that of the control", [](outcome const& o) { return o.task - o.control; });
    double const tests = static_cast<double>(wf::vector_sample::filled(acc));
    double const majority = commonest(acc, 0);
    out.add("majority", majority).about("share of the commonest class in the test: what a constant answer would reach");
    out.add("control_majority", commonest(acc, 1))
        .about("the same of the control, which is large where there are few different tokens: then selectivity says little");
    out.add("train_vectors", trained).units("vector").about("vectors with a class in the training items");
    out.add("test_vectors", tests).units("vector").about("vectors of the test's sample");
    out.add("class_shares", acc["task_count"] / trained).about("share of each class in training").view("bars");
    auto const best = std::max_element(all.begin(), all.end(), [](outcome const& a, outcome const& b) {
      return (a.task - a.control).value < (b.task - b.control).value;
    });
    out.summarise("read best at " + hooks[static_cast<std::size_t>(best - all.begin())] + ": " +
                  wf::told(100 * best->task.value) + " % right, control " + wf::told(100 * best->control.value) +
                  " %, commonest class " + wf::told(100 * majority) + " %");
  }

 private:
  /// Share of the commonest class of the task (0) or the control (1) in the test.
  double commonest(wf::accumulator const& acc, std::size_t column) const {
    std::vector<double> count(classes_);
    std::size_t const tests = wf::vector_sample::filled(acc);
    for (std::size_t r = 0; r < tests; ++r) count[static_cast<std::size_t>(acc["classes/sample"](r, column))] += 1;
    return *std::max_element(count.begin(), count.end()) / static_cast<double>(tests);
  }

  /// The class at each position, -1: none.
  std::vector<std::int32_t> labels_of(wf::sample const& block, std::size_t i, std::span<std::int32_t const> tokens,
                                      std::size_t positions, wf::probe_context const& at) const {
    std::vector<std::int32_t> out(positions, -1);
    if (!truth_.empty()) {
      std::fill(out.begin(), out.end(), truth_of(block.items(), i));
      return out;
    }
    auto const& chosen = choice_.of(at, classes_, choose_from_);
    for (std::size_t p = 0; p < positions; ++p) {
      auto const from = static_cast<std::int64_t>(p) + offset_;
      if (from >= 0 && from < static_cast<std::int64_t>(tokens.size()))
        out[p] = chosen.row_of(tokens[static_cast<std::size_t>(from)]);
    }
    return out;
  }

  std::int32_t truth_of(wf::item_block const& items, std::size_t i) const {
    auto const found = items.truth.find(truth_);
    if (found == items.truth.end()) {
      std::vector<std::string> names;
      for (auto const& [name, values] : items.truth) names.push_back(name);
      throw wf::usage_error("the source has no truth '" + truth_ + "' of its items" + wf::did_you_mean(truth_, names));
    }
    if (found->second.rank() != 1)
      throw wf::usage_error("the source's truth '" + truth_ + "' is not one number for each item, but " +
                            wf::describe(found->second.shape()));
    double const value = found->second.get({i});
    if (!(value >= 0 && value < static_cast<double>(classes_)) || value != std::floor(value))
      throw wf::data_error("item " + std::to_string(items.first + i) + " has the label " + wf::told(value) + " as '" + truth_ +
                           "', not one of " + std::to_string(classes_) + " classes from 0 (`classes`)");
    return static_cast<std::int32_t>(value);
  }

  /// Shares of the classes in the first items.
  classes classes_of(wf::probe_context const& at) const {
    if (truth_.empty()) return rising(choice_.of(at, classes_, choose_from_).counts);
    std::scoped_lock const lock(mutex_);
    auto& counts = counts_[{&at.data(), at.items().first, at.items().last}];
    if (counts.empty()) {
      std::size_t const last = at.items().first + std::min(at.items().size(), choose_from_);
      std::vector<double> all(classes_);
      for (std::size_t i = at.items().first; i < last; ++i)
        all[static_cast<std::size_t>(truth_of(at.data().read({i, i + 1}), 0))] += 1;
      counts = std::move(all);
    }
    return rising(counts);
  }
  static classes rising(std::vector<double> counts) {
    double const all = std::accumulate(counts.begin(), counts.end(), 0.0);
    double sum = 0;
    for (double& c : counts) c = (sum += c) / all;
    if (counts.empty()) counts = {1};
    return {std::move(counts)};
  }

  void add_training(wf::accumulator& acc, wf::sample_item const& item, wf::hook_set const& hooks,
                    std::vector<std::int32_t> const& task, std::vector<std::int32_t> const& control) const {
    std::vector<std::size_t> places;
    for (std::size_t p = skip_; p < task.size(); ++p)
      if (task[p] >= 0) places.push_back(p);
    acc["train_vectors"]() += static_cast<double>(places.size());
    for (auto const p : places) {
      acc["task_count"](task[p]) += 1;
      acc["control_count"](control[p]) += 1;
    }
    for (auto const& name : hooks.names()) {
      std::size_t const width = acc[name + "/sum"].size(0);
      wf::tensor const x(wf::dtype::f64, {{"feature", places.size()}, {"other_feature", width}});
      auto const rows = x.view<double>();
      auto const sum = acc[name + "/sum"].values<double>();
      auto const of_task = acc[name + "/task"].view<double>(), of_control = acc[name + "/control"].view<double>();
      for (std::size_t r = 0; r < places.size(); ++r) {
        wf::tensor const vector = item[name][places[r]];
        wf::copy_into(x[r], vector.clone().reshaped({{"feature", width}}));
        for (std::size_t j = 0; j < width; ++j) {
          sum[j] += rows(r, j);
          of_task(task[places[r]], j) += rows(r, j), of_control(control[places[r]], j) += rows(r, j);
        }
      }
      wf::add_into(acc[name + "/products"], wf::matmul(x.transposed(), x).named({"feature", "other_feature"}));
    }
  }

  /// Trains one task from its sums and counts what it reads right in each test item.
  wf::topics::pooled tested(wf::accumulator const& acc, std::string const& name, std::string const& task,
                            std::size_t column) const {
    double const n = acc["train_vectors"]();
    Eigen::Map<Eigen::RowVectorXd const> const sum(acc[name + "/sum"].values<double const>().data(),
                                                   static_cast<Eigen::Index>(acc[name + "/sum"].size(0)));
    Eigen::Map<Eigen::RowVectorXd const> const counts(acc[task + "_count"].values<double const>().data(),
                                                      static_cast<Eigen::Index>(classes_));
    Eigen::RowVectorXd const mean = sum / n, shares = counts / n;
    matrix covariance = map_of(acc[name + "/products"]) / n - mean.transpose() * mean;
    matrix const cross = map_of(acc[name + "/" + task]).transpose() / n - mean.transpose() * shares;  // [feature, class]
    double const width = static_cast<double>(covariance.rows());
    covariance.diagonal().array() += std::max(ridge_ * covariance.trace() / width, std::numeric_limits<double>::min());
    matrix const weights = covariance.ldlt().solve(cross);
    wf::tensor const sampled = wf::vector_sample::of(acc, name);
    matrix const scores = ((map_of(sampled).rowwise() - mean) * weights).rowwise() + shares;
    if (!scores.allFinite()) return {nothing, std::vector<double>(2, nothing)};
    std::map<std::size_t, std::pair<double, double>> items;  // right, all
    for (Eigen::Index r = 0; r < scores.rows(); ++r) {
      Eigen::Index best = 0;
      scores.row(r).maxCoeff(&best);
      auto const row = static_cast<std::size_t>(r);
      auto& [right, count] = items[wf::vector_sample::item_of(acc, row)];
      right += static_cast<double>(best) == acc["classes/sample"](row, column), count += 1;
    }
    std::vector<double> right, count;
    for (auto const& [item, one] : items) right.push_back(one.first), count.push_back(one.second);
    return wf::topics::pooled_average(right, count);
  }

  std::vector<std::string> hooks_;
  std::string truth_;
  std::int64_t offset_;
  std::size_t classes_, choose_from_;
  double train_, ridge_;
  wf::vector_sample sample_;
  std::size_t skip_;
  std::uint64_t seed_;
  wf::language::token_choice choice_;
  mutable std::mutex mutex_;
  mutable std::map<std::tuple<wf::source const*, std::size_t, std::size_t>, std::vector<double>> counts_;
};

WAYFARER_PROBE(
    linear_probe, "1.0.0", "What a linear map reads from a model's vectors, with a control task and selectivity",
    wf::port::model("model"), wf::port::source("source"),
    wf::param("hooks", wf::strings("blocks.*.hook_resid_post"), "hooks to read from, each alone"),
    wf::param("offset", 0, "read the token that is so many places later; 0: the position's own, -1: the one before")
        .in("token")
        .between(-1000, 1000),
    wf::param("truth", "", "read this label of the item instead, one of the source's truths, such as gold"),
    wf::param("classes", 50, "tokens to tell apart, the commonest; or how many labels there are").between(2, 10'000),
    wf::param("choose_from", 1000, "how many items, the first, say which tokens or labels are common").in("item").at_least(1),
    wf::param("train", 0.7, "share of the items that are for training").between(0.01, 0.99),
    wf::param("ridge", 0.001, "added to the covariance's diagonal, as a share of its mean").between(0, 1000),
    wf::param("sample", 2000, "vectors of the test items that are tested").in("vector").between(2, 50'000),
    wf::param("skip", 0, "positions at the beginning of each item that are left out").in("token").at_least(0),
    wf::param("seed", 0, "of the split, the sample and the control").at_least(0));
