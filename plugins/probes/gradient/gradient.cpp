// How a scalar depends on the activations at some hooks: its gradient, gradient times input, and integrated gradients.
// Simonyan et al. 2014; Shrikumar et al. 2016; Sundararajan et al. 2017.
//
//     salience: {probe: gradient, model: lm, source: prompts, hooks: [hook_embed], answer: " Paris", against: " Rome", steps: 32}
//
// The scalar is a logit at one position, the difference of two, or the item's mean loss. Integrated gradients go in a straight
// line from a baseline x0 to the activation x: sum over a vector's numbers of (x - x0) times the mean gradient on the way. Over
// all positions they add up to what the scalar changes between x0 and x, but for the error of `steps` points, which is reported.
// Points lie denser towards the baseline, at cubes of even steps: norms bend sharply near zero.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/differentiable.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/answers.hpp"
#include "probes/common/language.hpp"
#include "probes/common/position_choice.hpp"
#include "probes/common/token_rows.hpp"

namespace wf = wayfarer;
using namespace wayfarer::language;

namespace {

constexpr std::size_t tokens_at_once = 2048;  // of a pass

/// One item, and its scalar.
struct task {
  std::size_t row;                   ///< of the block
  std::vector<std::int32_t> tokens;  ///< up to the position of the answer
  std::int32_t answer = -1, against = -1;
};

double sum_of_squares(std::span<double const> x) {
  return std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
}

}  // namespace

struct gradient final : wf::probe, wf::plan_checker {
  explicit gradient(wf::config const& c)
      : hooks_(c["hooks"].texts()),
        loss_(c["scalar"].text() == "loss"),
        answer_(c, "answer"),
        against_(c, "against"),
        answer_position_({std::to_string(c["answer_position"].integer())}),
        steps_(c["steps"]),
        from_mean_(c["baseline"].text() == "mean") {
    if (hooks_.empty()) throw wf::usage_error("'hooks' is empty; name some, such as [hook_embed]");
    if (loss_ && (!answer_.empty() || !against_.empty()))
      throw wf::usage_error("an `answer` belongs to `scalar: logit`; a loss is that of the tokens that follow");
  }

  /// The pass is the probe's own, since it is recorded.
  wf::hook_set needs(wf::model_info const& model) const override {
    stack_of(model);
    chosen(model);
    return {};
  }

  void check_plan(wf::probe_context const& at) const override {
    differentiable(at.model());
    std::vector<wf::parameter_problem> wrong;
    for (auto const* answers : {&answer_, &against_}) answers->check(at.items().size(), at.model(), wrong);
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    differentiable(at.model());
    wf::dim const hook{"hook", chosen(at.model().info()).size()}, pos{"pos", at.longest()};
    for (auto const* name : {"saliency", "gradient_times_input"}) acc.define_rows(name, {hook, pos});
    if (steps_) {
      acc.define_rows("integrated_gradients", {hook, pos});
      for (auto const* name : {"change", "completeness_error"}) acc.define_rows(name, {hook});
    }
    acc.define_rows("scalar", {});
    for (auto const* name : {"answer", "against"}) acc.define_rows(name, {}, wf::dtype::i32);
    wf::walks::define_tokens(acc, at, {});
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    wf::walks::put_tokens(acc, block, {});
    for (auto const& [name, field] : acc.fields())
      if (name != "token_ids") wf::walks::fill_missing(field.values);
    auto tasks = read(block, at);
    find_answers(tasks, block, at.model());
    for (std::size_t first = 0; first < tasks.size();) {
      std::size_t last = first + 1, tokens = tasks[first].tokens.size();
      while (last < tasks.size() && tokens + tasks[last].tokens.size() <= tokens_at_once) tokens += tasks[last++].tokens.size();
      measure(acc, block, std::span(tasks).subspan(first, last - first), at);
      first = last;
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const names = chosen(at.model().info());
    std::string const of = loss_              ? "mean loss of the item's next tokens"
                           : against_.empty() ? "answer's logit"
                                              : "logit difference";
    auto const add = [&](char const* name, std::string const& about, bool mapped) {
      auto& set = out.add(name, acc[name]).about(about).labels("hook", names);
      set.missing("beyond the item's length, or the item is too short for the scalar");
      set.view(mapped ? "heatmap" : "table");
    };
    add("saliency", "length of the gradient of the " + of + " by each vector", true);
    add("gradient_times_input", "gradient of the " + of + " by each vector, times the vector: its share to first order", true);
    if (steps_) {
      add("integrated_gradients", "share of each vector in the change of the " + of + " from the baseline", true);
      add("change", of + " less what it is with the whole hook at the baseline", false);
      add("completeness_error", "sum of integrated_gradients over positions, less `change`: 0 with enough steps", false);
    }
    out.add("scalar", acc["scalar"])
        .about("the " + of)
        .units(loss_ ? "nat" : "logit")
        .missing("the item is too short")
        .view("histogram");
    if (!loss_)
      for (std::string const name : {"answer", "against"}) {
        if (name == "against" && against_.empty()) continue;
        out.add(name + "_id", acc[name])
            .about(name == "answer" ? "token of the logit" : "token whose logit is subtracted")
            .view("table");
        add_token_texts(out, name, acc[name], at.model());
      }
    wf::walks::add_tokens(acc, out, at, {});
    out.summarise(finding(acc, names, of));
  }

 private:
  static wf::differentiable_model const& differentiable(wf::model const& m) {
    auto const* const d = dynamic_cast<wf::differentiable_model const*>(&m);
    if (!d)
      throw wf::usage_error(m.info().architecture +
                            " gives no gradients yet; gpt2, gpt2_trained, language_model_trained and decoder do");
    return *d;
  }

  std::vector<std::string> chosen(wf::model_info const& m) const {
    auto const names = m.hooks_for(hooks_).names();
    for (auto const& name : names)
      if (m.find_hook(name)->per_pair)
        throw wf::usage_error("'hooks' names '" + name +
                              "', which is over pairs of positions; this probe reads vectors of positions");
    return names;
  }

  std::vector<task> read(wf::sample const& block, wf::probe_context const& at) const {
    std::vector<task> all;
    for (std::size_t i = 0; i < block.size(); ++i) {
      auto const tokens = block[i].tokens();
      auto const where = loss_ ? std::optional(tokens.size() - 1) : answer_position_.position(0, tokens.size());
      if (!where || (loss_ && tokens.size() < 2)) continue;
      // What follows the position can't change its logits.
      task one{i, {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(*where) + 1}};
      std::size_t const number = block[i].index() - at.items().first, count = at.items().size();
      if (!answer_.empty()) one.answer = answer_.token(number, count, at.model());
      if (!against_.empty()) one.against = against_.token(number, count, at.model());
      all.push_back(std::move(one));
    }
    return all;
  }

  /// The batch of these, each so many times.
  static wf::batch batch_of(std::span<task const> tasks, std::size_t times = 1) {
    wf::batch b;
    for (auto const& t : tasks)
      for (std::size_t n = 0; n < times; ++n) b.tokens.push_back(t.tokens);
    return b;
  }
  static wf::run_request request_of(wf::sample const& block, std::span<task const> tasks, std::size_t times = 1) {
    std::vector<std::size_t> rows;
    for (auto const& t : tasks) rows.insert(rows.end(), times, t.row);
    auto request = block.request(std::move(rows));
    request.last_logits_only = true;
    return request;
  }

  void find_answers(std::vector<task>& tasks, wf::sample const& block, wf::model const& m) const {
    if (loss_ || !answer_.empty()) return;
    for (auto& t : tasks) {
      auto request = request_of(block, {&t, 1});
      request.capture = m.info().hooks_for("logits");
      auto const logits = m.run(batch_of({&t, 1}), request).at("logits", 0).to(wf::dtype::f64);
      t.answer = likeliest(logits.values<double const>());
    }
  }

  /// The scalars of a batch, and what their gradients begin with.
  wf::gradient_request ask(wf::run_request request, std::span<task const> tasks, std::size_t times,
                           wf::model_info const& m) const {
    wf::gradient_request out;
    out.forward = std::move(request);
    if (loss_) {
      out.forward.last_logits_only = false;
      for (auto const& t : tasks)
        for (std::size_t n = 0; n < times; ++n) {
          std::vector<std::int32_t> next(t.tokens.begin() + 1, t.tokens.end());
          next.push_back(-1);
          out.loss.targets.push_back(next);
        }
      return out;
    }
    wf::hook_gradient from{"logits", {}};
    for (auto const& t : tasks) {
      wf::tensor const g(wf::dtype::f32, {{"pos", 1}, {"token", m.vocabulary}});
      auto const values = g.values<float>();
      values[static_cast<std::size_t>(t.answer)] += 1;
      if (t.against >= 0) values[static_cast<std::size_t>(t.against)] -= 1;
      from.items.insert(from.items.end(), times, g);
    }
    out.forward.capture.add(m.hooks_for("logits"));
    out.from = {std::move(from)};
    return out;
  }

  /// The scalar of item i of a batch; the gradient of a loss is that of its sum, so it counts as one part in `parts`.
  double scalar_of(wf::gradients const& got, task const& t, std::size_t i) const {
    if (loss_) {
      auto const first = got.losses.begin() + static_cast<std::ptrdiff_t>(i * t.tokens.size());
      return std::accumulate(first, first + static_cast<std::ptrdiff_t>(t.tokens.size()), 0.0) / parts(t);
    }
    auto const& logits = got.captured.at("logits", i);
    double const own = logits.get({0, static_cast<std::size_t>(t.answer)});
    return t.against < 0 ? own : own - logits.get({0, static_cast<std::size_t>(t.against)});
  }
  double parts(task const& t) const { return loss_ ? static_cast<double>(t.tokens.size() - 1) : 1; }

  void measure(wf::accumulator& acc, wf::sample const& block, std::span<task const> tasks, wf::probe_context const& at) const {
    auto const names = chosen(at.model().info());
    auto request = ask(request_of(block, tasks), tasks, 1, at.model().info());
    request.of = wf::hook_set(names);
    request.forward.capture.add(wf::hook_set(names));
    auto const got = differentiable(at.model()).differentiate(batch_of(tasks), request);
    std::size_t first_token = 0;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      task const& t = tasks[i];
      if (loss_) {
        auto const first = got.losses.begin() + static_cast<std::ptrdiff_t>(first_token);
        acc["scalar"](t.row) = std::accumulate(first, first + static_cast<std::ptrdiff_t>(t.tokens.size()), 0.0) / parts(t);
      } else {
        acc["scalar"](t.row) = scalar_of(got, t, i);
        acc["answer"].view<std::int32_t>()(t.row) = t.answer, acc["against"].view<std::int32_t>()(t.row) = t.against;
      }
      first_token += t.tokens.size();
      for (std::size_t h = 0; h < names.size(); ++h) {
        auto const x = got.captured.at(names[h], i).to(wf::dtype::f64), g = got.by_hook.at(names[h], i).to(wf::dtype::f64);
        std::size_t const length = block[t.row].tokens().size(), wide = x.count() / x.size(0);
        auto const of = [wide](wf::tensor const& values, std::size_t p) {
          return values.values<double const>().subspan(p * wide, wide);
        };
        for (std::size_t p = 0; p < length; ++p) {
          bool const reaches = p < t.tokens.size();
          auto const& d = reaches ? of(g, p) : std::span<double const>();
          acc["saliency"](t.row, h, p) = reaches ? std::sqrt(sum_of_squares(d)) / parts(t) : 0;
          acc["gradient_times_input"](t.row, h, p) =
              reaches ? std::inner_product(d.begin(), d.end(), of(x, p).begin(), 0.0) / parts(t) : 0;
        }
        if (steps_) integrate(acc, block, t, h, names[h], x, at);
      }
    }
  }

  /// Integrated gradients of one item at one hook, which is set to points between the baseline and x. The last copy stands at the
  /// baseline itself, the one before it at x.
  void integrate(wf::accumulator& acc, wf::sample const& block, task const& t, std::size_t h, std::string const& hook,
                 wf::tensor const& x, wf::probe_context const& at) const {
    auto const values = x.values<double const>();
    std::size_t const n = x.size(0), wide = x.count() / n;
    std::vector<double> const base = baseline(values, n, wide);
    std::vector<double> mean(x.count());
    auto const even = [&](std::size_t step) { return (static_cast<double>(step) + 0.5) / static_cast<double>(steps_); };
    auto const place = [&](std::size_t step) { return step < steps_ ? std::pow(even(step), 3) : step == steps_ ? 1.0 : 0.0; };
    double weights = 0;  // of points, in proportion to the square
    for (std::size_t step = 0; step < steps_; ++step) weights += even(step) * even(step);
    double ends[2] = {};
    std::size_t const most = std::max<std::size_t>(1, tokens_at_once / t.tokens.size());
    for (std::size_t first = 0; first < steps_ + 2; first += most) {
      std::size_t const some = std::min(most, steps_ + 2 - first);
      auto request = ask(request_of(block, {&t, 1}, some), {&t, 1}, some, at.model().info());
      request.of = wf::hook_set({hook});
      request.forward.edits.push_back({hook, [&](wf::edit_site const& site, wf::tensor const& a) {
                                         double const part = place(first + site.item);
                                         wf::tensor now(wf::dtype::f64, a.shape());
                                         auto const to = now.values<double>();
                                         for (std::size_t j = 0; j < to.size(); ++j)
                                           to[j] = base[j] + part * (values[j] - base[j]);
                                         wf::copy_into(a, now);
                                       }});
      auto const got = differentiable(at.model()).differentiate(batch_of({&t, 1}, some), request);
      for (std::size_t i = 0; i < some; ++i) {
        if (first + i >= steps_) {
          ends[first + i - steps_] = scalar_of(got, t, i);
          continue;
        }
        auto const g = got.by_hook.at(hook, i).to(wf::dtype::f64);
        auto const d = g.values<double const>();
        double const weight = even(first + i) * even(first + i) / weights / parts(t);
        for (std::size_t j = 0; j < d.size(); ++j) mean[j] += d[j] * weight;
      }
    }
    double sum = 0;
    for (std::size_t p = 0; p < block[t.row].tokens().size(); ++p) {
      double share = 0;
      for (std::size_t j = p * wide; p < n && j < (p + 1) * wide; ++j) share += mean[j] * (values[j] - base[j]);
      acc["integrated_gradients"](t.row, h, p) = share;
      sum += share;
    }
    acc["change"](t.row, h) = ends[0] - ends[1];
    acc["completeness_error"](t.row, h) = sum - (ends[0] - ends[1]);
  }

  std::vector<double> baseline(std::span<double const> x, std::size_t n, std::size_t wide) const {
    std::vector<double> base(x.size());
    if (!from_mean_) return base;
    for (std::size_t j = 0; j < wide; ++j) {
      double sum = 0;
      for (std::size_t p = 0; p < n; ++p) sum += x[p * wide + j];
      for (std::size_t p = 0; p < n; ++p) base[p * wide + j] = sum / static_cast<double>(n);
    }
    return base;
  }

  /// Where the gradient at the first hook is longest, in the first item.
  std::string finding(wf::accumulator const& acc, std::vector<std::string> const& names, std::string const& of) const {
    auto const all = acc["saliency"].view<double const>();
    if (all.size(0) == 0 || std::isnan(acc["scalar"](std::size_t{0}))) return "the first item is too short for a gradient";
    std::size_t best = 0;
    for (std::size_t p = 0; p < all.size(2); ++p)
      if (all(0, 0, p) > all(0, 0, best)) best = p;
    std::string line = "the " + of + " is " + wf::told(acc["scalar"](std::size_t{0})) + " in item 0; its gradient at " +
                       names[0] + " is longest at position " + std::to_string(best) + ", " + wf::told(all(0, 0, best));
    if (!steps_) return line;
    double worst = 0;
    auto const errors = acc["completeness_error"].values<double const>();
    for (double const e : errors)
      if (std::abs(e) > worst) worst = std::abs(e);
    return line + "; integrated gradients miss the change by at most " + wf::told(worst);
  }

  std::vector<std::string> hooks_;
  bool loss_;
  answer_list answer_, against_;
  position_choice answer_position_;
  std::size_t steps_;
  bool from_mean_;
};

WAYFARER_PROBE(
    gradient, "1.0.0", "Gradients of a logit, a logit difference or the loss by activations: saliency, integrated gradients",
    wf::port::model("model", "one that gives gradients: gpt2, gpt2_trained, language_model_trained or decoder"),
    wf::port::source("source"),
    wf::param("hooks", wf::strings("hook_embed"), "hooks by whose activations the gradient is taken; '*' stands for any text"),
    wf::param("scalar", "logit", "what is differentiated: a logit or a difference of two at one position, or the mean loss")
        .one_of("logit|loss"),
    wf::param("answer", wf::strings(""),
              "text of the token of the logit: one for all items, or one for each; empty: the model's likeliest token"),
    wf::param("answer_ids", wf::integers(""), "the same as token ids"),
    wf::param("against", wf::strings(""), "text of a token whose logit is subtracted: one for all items, or one for each"),
    wf::param("against_ids", wf::integers(""), "the same as token ids"),
    wf::param("answer_position", -1, "position whose logits count, negative from the end"),
    wf::param("steps", 0, "points of integrated gradients, each a pass; 0: none").between(0, 10'000),
    wf::param("baseline", "zero", "where integrated gradients begin: zeros, or the mean of the item's vectors at that hook")
        .one_of("zero|mean"));
