// How much can a model say after a prompt? Paths are drawn from its own law, and say how many there are: the entropy of a path,
// the effective number of paths, the size of their typical set, and how much they differ. arXiv 2308.10874, open question 3.
//
//     room: {probe: path_space, model: gpt2, source: prompts, prompt: 16, paths: 32, length: 20}
//
//     H = E[sum over steps of the entropy of the next token] = -E[log P(path)],  effective number of paths: exp(H)
//
// The sum of the exact entropies of each step's law has the mean of -log P(path) and varies less, so H is its mean over the drawn
// paths. The number of paths in a set is the mean of 1 / P(path) over the draws, those outside counted as 0. All is under one
// law, the model's at `temperature`, from which the paths are drawn.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/generate.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/probe.hpp>

#include "paths.hpp"
#include "probes/common/language.hpp"
#include "probes/common/token_rows.hpp"
#include "probes/common/vocabulary.hpp"

namespace wf = wayfarer;
using distribution = wayfarer::language::distribution<float>;

namespace {

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();

/// The paths after one prompt.
struct drawn {
  std::vector<wf::paths::path> paths;
  std::vector<double> surprise;  ///< [path]: minus log probability
  std::vector<double> entropy;   ///< [path]: of its steps' laws, summed
  std::vector<double> by_step;   ///< [step]: entropy, summed over the paths that reach it
  std::vector<double> reached;   ///< [step]: how many do
};

}  // namespace

struct path_space final : wf::probe {
  explicit path_space(wf::config const& c)
      : paths_(c["paths"]),
        length_(c["length"]),
        prompt_(c["prompt"]),
        temperature_(c["temperature"]),
        mass_(c["mass"]),
        width_(c["width"]),
        stop_at_end_(c["stop_at_end"]),
        seed_(c.seed()) {}

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    wf::language::stack_of(model);  // refuses models that predict nothing
    if (model.longest != 0 && model.longest <= length_)
      throw wf::usage_error("paths of " + wf::counted(length_, "token") + " (`length`) leave no room for a prompt: " +
                            model.architecture + " reads " + std::to_string(model.longest) + " positions; lower `length`");
    wf::dim const path{"path", paths_};
    acc.define_rows("path_log_probability", {path});
    acc.define_rows("path_length", {path}, wf::dtype::i32);
    acc.define_rows("step_entropy", {{"step", length_}});
    acc.define_rows("distinct_ngrams", {{"n", wf::paths::longest_gram}});
    for (auto const* name :
         {"path_entropy", "path_entropy_standard_error", "entropy_rate", "likeliest_set_log_size", "typical_set_log_size",
          "typical_set_mass", "distinct_paths", "self_bleu", "end_distance", "end_cosine", "prompt_length"})
      acc.define_rows(name, {});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    for (auto const& [name, field] : acc.fields()) wf::walks::fill_missing(acc[name]);
    wf::model const& m = at.model();
    auto const top = wf::language::stack_of(m.info());
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const prompt = prompt_of(top.tokens(block[i]), block[i].index(), m.info().longest);
      drawn const all = draw(block, i, prompt, m, top.decoder);
      acc["prompt_length"](i) = static_cast<double>(prompt.size());
      put_law(acc, i, all);
      put_diversity(acc, i, all);
      put_ends(acc, i, block, prompt, all, m, top);
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const&) const override {
    put_rows(acc, out);
    double const rate = put_mean(acc, out, "entropy_rate", "mean_entropy_rate", "mean entropy of a step", "nat");
    out.add("branching", std::exp(rate)).about("exp of it: as many equally likely tokens a step").missing("no item");
    double const entropy = put_mean(acc, out, "path_entropy", "mean_path_entropy", "mean entropy of a path", "nat");
    out.add("log10_effective_paths", entropy / std::log(10.0))
        .about("effective number of paths, exp of the mean entropy of a path, as its decimal logarithm")
        .missing("no item");
    put_mean(acc, out, "likeliest_set_log_size", "mean_likeliest_set_log_size",
             "mean log of the number of likeliest paths that hold `mass`", "nat");
    put_mean(acc, out, "typical_set_log_size", "mean_typical_set_log_size", "mean log of the number of typical paths", "nat");
    double const bleu = put_mean(acc, out, "self_bleu", "mean_self_bleu", "mean likeness of the paths of one prompt", "");
    double const distance =
        put_mean(acc, out, "end_distance", "mean_end_distance", "mean distance between the ends of paths", "");
    put_mean(acc, out, "end_cosine", "mean_end_cosine", "mean cosine between the ends of paths", "");
    out.summarise("a step has " + wf::told(rate) + " nat, as " + wf::told(std::exp(rate)) + " equal choices; a prompt has 10^" +
                  wf::told(entropy / std::log(10.0)) + " paths of at most " + wf::counted(length_, "token") + "; self-BLEU " +
                  wf::told(bleu, 2) + ", ends " + wf::told(distance) + " apart");
  }

 private:
  /// The item's first tokens; as many as leave room for a path.
  std::vector<std::int32_t> prompt_of(std::span<std::int32_t const> own, std::size_t index, std::size_t longest) const {
    if (own.empty()) throw wf::usage_error("item " + std::to_string(index) + " has no token for a path to begin with");
    std::size_t n = prompt_ == 0 ? own.size() : std::min(prompt_, own.size());
    if (longest != 0) n = std::min(n, longest - length_);
    return {own.begin(), own.begin() + static_cast<std::ptrdiff_t>(n)};
  }

  drawn draw(wf::sample const& block, std::size_t i, std::vector<std::int32_t> const& prompt, wf::model const& m,
             bool decoder) const {
    wf::sampling how;
    how.max_new_tokens = length_, how.temperature = temperature_, how.seed = seed_;
    how.first_item = std::uint64_t{block[i].index()} * paths_;
    if (stop_at_end_) how.stop = wf::generation_tokens_of(m).stop;
    wf::batch prompts;
    for (std::size_t p = 0; p < paths_; ++p) {
      prompts.tokens.push_back(decoder ? block[i].tokens() : std::span<std::int32_t const>(prompt));
      if (decoder) prompts.decoder_tokens.push_back(prompt);
    }
    drawn out;
    out.surprise.resize(paths_), out.entropy.resize(paths_);
    out.by_step.resize(length_), out.reached.resize(length_);
    std::vector<float> scaled;
    distribution law;
    auto const record = [&](wf::generation_step const& step) {
      for (std::size_t k = 0; k < step.items.size(); ++k) {
        auto const row = step.logits.view<float const>().row(k);
        scaled.resize(row.size());
        std::transform(row.begin(), row.end(), scaled.begin(),
                       [&](float z) { return static_cast<float>(static_cast<double>(z) / temperature_); });
        law.of(scaled);
        double const entropy = law.entropy();
        out.surprise[step.items[k]] -= law.log_probability(static_cast<std::size_t>(step.tokens[k]));
        out.entropy[step.items[k]] += entropy;
        out.by_step[step.index] += entropy, out.reached[step.index] += 1;
      }
      return true;
    };
    auto const found = wf::generate(m, prompts, how, block.request(std::vector<std::size_t>(paths_, i)), record);
    for (std::size_t p = 0; p < paths_; ++p) out.paths.emplace_back(found[p].begin(), found[p].end());
    return out;
  }

  void put_law(wf::accumulator& acc, std::size_t i, drawn const& all) const {
    double steps = 0, entropy = 0;
    for (std::size_t p = 0; p < paths_; ++p) {
      acc["path_log_probability"](i, p) = -all.surprise[p];
      acc["path_length"].view<std::int32_t>()(i, p) = static_cast<std::int32_t>(all.paths[p].size());
      steps += static_cast<double>(all.paths[p].size()), entropy += all.entropy[p];
    }
    for (std::size_t s = 0; s < length_; ++s)
      if (all.reached[s] > 0) acc["step_entropy"](i, s) = all.by_step[s] / all.reached[s];
    auto const m = wf::moments_of(all.entropy);
    acc["path_entropy"](i) = m.mean, acc["path_entropy_standard_error"](i) = m.standard_error();
    double const rate = acc["entropy_rate"](i) = entropy / steps;
    double const far = wf::paths::surprise_of_mass(all.surprise, mass_);
    acc["likeliest_set_log_size"](i) = wf::paths::log_size(all.surprise, [&](double s) { return s <= far; });
    // Paths of different lengths are typical by their whole entropy.
    double const margin = width_ * steps / static_cast<double>(paths_), middle = rate * steps / static_cast<double>(paths_);
    auto const typical = [&](double s) { return std::abs(s - middle) <= margin + 1e-9 * (1 + middle); };
    acc["typical_set_log_size"](i) = wf::paths::log_size(all.surprise, typical);
    acc["typical_set_mass"](i) =
        static_cast<double>(std::count_if(all.surprise.begin(), all.surprise.end(), typical)) / static_cast<double>(paths_);
  }

  void put_diversity(wf::accumulator& acc, std::size_t i, drawn const& all) const {
    auto distinct = all.paths;
    std::sort(distinct.begin(), distinct.end());
    auto const end = std::unique(distinct.begin(), distinct.end());
    acc["distinct_paths"](i) = static_cast<double>(end - distinct.begin());
    auto const grams = wf::paths::distinct_grams(all.paths);
    for (std::size_t n = 0; n < grams.size(); ++n) acc["distinct_ngrams"](i, n) = grams[n];
    acc["self_bleu"](i) = wf::paths::self_bleu(all.paths);
  }

  /// Distances between the context vectors after the last token of each path.
  void put_ends(wf::accumulator& acc, std::size_t i, wf::sample const& block, std::vector<std::int32_t> const& prompt,
                drawn const& all, wf::model const& m, wf::language::stack const& top) const {
    wf::batch batch;
    for (auto const& path : all.paths) {
      auto whole = prompt;
      whole.insert(whole.end(), path.begin(), path.end());
      batch.tokens.push_back(top.decoder ? block[i].tokens() : std::span<std::int32_t const>(whole));
      if (top.decoder) batch.decoder_tokens.push_back(whole);
    }
    auto request = block.request(std::vector<std::size_t>(paths_, i));
    request.capture = wf::language::states_before_logits(m.info());
    auto const captured = m.run(batch, request);
    std::vector<std::vector<double>> ends;
    for (std::size_t p = 0; p < paths_; ++p) {
      auto const states = captured.at(request.capture.names().front(), p);
      auto const last = states[states.size(0) - 1].clone().to(wf::dtype::f64);
      ends.emplace_back(last.values<double const>().begin(), last.values<double const>().end());
    }
    double distance = 0, cosine = 0, pairs = 0;
    for (std::size_t a = 0; a < ends.size(); ++a)
      for (std::size_t b = a + 1; b < ends.size(); ++b) {
        double square = 0;
        for (std::size_t d = 0; d < ends[a].size(); ++d) square += (ends[a][d] - ends[b][d]) * (ends[a][d] - ends[b][d]);
        distance += std::sqrt(square), ++pairs;
        cosine += wf::cosine(std::span<double const>(ends[a]), std::span<double const>(ends[b]));
      }
    acc["end_distance"](i) = distance / pairs, acc["end_cosine"](i) = cosine / pairs;
  }

  void put_rows(wf::accumulator const& acc, wf::results& out) const {
    auto const add = [&](char const* name, char const* view, std::string const& about, char const* units = "") -> wf::dataset& {
      return out.add(name, acc[name]).about(about).units(units).view(view);
    };
    add("path_log_probability", "histogram", "log probability of each path after its prompt, by the law it was drawn from",
        "nat");
    add("path_length", "histogram", "tokens of each path", "token");
    add("step_entropy", R"({"kind": "curve", "x": "step"})", "mean entropy of each step over the paths that reach it", "nat")
        .missing("no path is that long");
    add("path_entropy", "histogram", "entropy of a path after each prompt: log of the effective number of paths", "nat");
    add("path_entropy_standard_error", "histogram", "its standard error over the paths", "nat");
    add("entropy_rate", "histogram", "entropy of a path over its mean length", "nat");
    add("likeliest_set_log_size", "histogram",
        "log of the number of likeliest paths that together have the probability `mass`, estimated", "nat");
    add("typical_set_log_size", "histogram",
        "log of the number of paths whose log probability is within `width` a token of minus the entropy, estimated", "nat")
        .missing("no drawn path is typical");
    add("typical_set_mass", "histogram", "share of the drawn paths that are typical");
    add("distinct_paths", "histogram", "different ones among the drawn paths", "path");
    std::vector<std::int64_t> sizes(wf::paths::longest_gram);
    for (std::size_t n = 0; n < sizes.size(); ++n) sizes[n] = static_cast<std::int64_t>(n + 1);
    add("distinct_ngrams", R"({"kind": "curve", "x": "n"})",
        "distinct n-grams over all n-grams of the paths of one prompt together")
        .coordinate("n", wf::tensor::of(sizes, {{"n", sizes.size()}}))
        .missing("no path has n tokens");
    add("self_bleu", "histogram", "mean BLEU-4 of each path with the others as references; 1: all the same")
        .missing("fewer than two paths have a token");
    add("end_distance", "histogram", "mean distance between the context vectors at the ends of two paths");
    add("end_cosine", "histogram", "mean cosine of them");
    add("prompt_length", "histogram", "tokens of each prompt", "token");
  }

  /// Adds the mean of a row's number over the items and its error.
  static double put_mean(wf::accumulator const& acc, wf::results& out, char const* name, std::string const& to,
                         std::string const& about, char const* units) {
    std::vector<double> values;
    for (double const x : acc[name].values<double const>())
      if (!std::isnan(x)) values.push_back(x);
    auto const m = wf::moments_of(values);
    double const mean = values.empty() ? nothing : m.mean;
    out.add(to, mean).about(about + " over items").units(units).missing("no item has one");
    out.add(to + "_standard_error", values.size() < 2 ? nothing : m.standard_error())
        .about("its standard error over items")
        .units(units)
        .missing("fewer than two items have one");
    return mean;
  }

  std::size_t paths_, length_, prompt_;
  double temperature_, mass_, width_;
  bool stop_at_end_;
  std::uint64_t seed_;
};

WAYFARER_PROBE(
    path_space, "1.0.0", "Entropy, effective number and typical set of the paths after a prompt, and how much drawn paths differ",
    wf::port::model("model"), wf::port::source("source", "prompts, or texts whose beginnings are prompts"),
    wf::param("paths", 16, "paths drawn after each prompt").in("path").between(2, 128),
    wf::param("length", 20, "limit of a path's length").in("token").between(1, 100'000),
    wf::param("prompt", 0, "tokens of each item that are given; 0: all that leave room for a path").in("token").at_least(0),
    wf::param("temperature", 1.0, "logits are divided by it").between(0.01, 100),
    wf::param("mass", 0.9, "probability of the set of likeliest paths").between(0, 1),
    wf::param("width", 0.5, "how far a typical path's log probability may be from its mean, for each token")
        .in("nat")
        .at_least(0),
    wf::param("stop_at_end", true, "end a path at the tokenizer's end of sequence"),
    wf::param("seed", 0, "of the drawn paths").at_least(0));
