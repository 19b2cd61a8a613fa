// What a model gains from context: the loss at each position of an item, with its standard error, before and after some position;
// and the difference from another model's loss on the same items.
//
//     loss:    {probe: language_loss, model: learner, source: text, max_tokens: 64}
//     context: {metric: loss_by_position, of: loss, against: other_loss, split: 8}
//
// Tokens of one item depend on each other, so errors are between items: an item's tokens count as one draw (a ratio of sums, by
// its linear approximation).
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/tensor.hpp>

namespace wf = wayfarer;

namespace {

struct estimate {
  double mean = std::numeric_limits<double>::quiet_NaN(), error = mean;
  double tokens = 0;
};

/// Losses of tokens, [item, pos], NaN where none is predicted.
struct losses {
  wf::tensor values;
  std::size_t items() const { return values.size(0); }
  std::size_t positions() const { return values.size(1); }
};

losses read(wf::metric_input const& in, std::string const& port) {
  auto const& from = in.at(port, "log_probability");
  if (from.is_text() || from.values().rank() != 2)
    throw wf::usage_error(
        "loss_by_position: '" + port +
        "' must be log probabilities of tokens, [item, pos]; name a node of language_loss with per_token: true");
  losses out{from.values().to(wf::dtype::f64).clone()};
  bool any = false;
  for (double& x : out.values.values<double>()) {
    if (std::isinf(x)) throw wf::data_error("loss_by_position: '" + port + "' has a token of probability 0 or infinity");
    x = -x, any |= !std::isnan(x);
  }
  if (!any) throw wf::data_error("loss_by_position: '" + port + "' has no predicted token");
  return out;
}

/// Mean of a loss over the tokens at positions [first, last), and its error between items.
estimate mean_of(losses const& from, std::size_t first, std::size_t last) {
  estimate out;
  std::vector<double> sums(from.items()), counts(from.items());
  auto const all = from.values.view<double const>();
  double total = 0;
  for (std::size_t i = 0; i < from.items(); ++i) {
    for (std::size_t p = first; p < last; ++p)
      if (double const x = all(i, p); !std::isnan(x)) sums[i] += x, counts[i] += 1;
    total += sums[i], out.tokens += counts[i];
  }
  if (out.tokens == 0) return out;
  out.mean = total / out.tokens;
  double squares = 0, items = 0;
  for (std::size_t i = 0; i < from.items(); ++i) {
    squares += std::pow(sums[i] - out.mean * counts[i], 2);
    items += counts[i] > 0;
  }
  if (items > 1) out.error = std::sqrt(squares * items / (items - 1)) / out.tokens;
  return out;
}

/// What one loss has more than another, token by token.
losses difference_of(losses const& one, losses const& other) {
  if (one.items() != other.items() || one.positions() != other.positions())
    throw wf::usage_error("loss_by_position: 'of' has " + wf::counted(one.items(), "item") + " of " +
                          wf::counted(one.positions(), "token") + ", and 'against' " + std::to_string(other.items()) + " of " +
                          std::to_string(other.positions()) + "; both must be of the same texts, cut alike");
  losses out{one.values.clone()};
  auto const to = out.values.values<double>();
  auto const less = other.values.values<double const>();
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (std::isnan(to[i]) != std::isnan(less[i]))
      throw wf::usage_error("loss_by_position: 'of' and 'against' predict other tokens; both must be of the same texts");
    to[i] -= less[i];
  }
  return out;
}

}  // namespace

struct loss_by_position final : wf::metric {
  explicit loss_by_position(wf::config const& c) : split_(c["split"]) {}

  void measure(wf::metric_input const& in, wf::results& out) const override {
    auto const own = read(in, "of");
    std::size_t const split = split_ ? split_ : own.positions() / 2;
    if (split >= own.positions())
      throw wf::usage_error("loss_by_position: split " + std::to_string(split) + " leaves nothing of items of " +
                            wf::counted(own.positions(), "token"));
    add_curve(out, "loss", own, "mean loss of the tokens at each position");
    auto const all = add(out, "mean_loss", own, 0, own.positions(), "loss of all tokens");
    auto const early = add(out, "early_loss", own, 0, split, "loss of the tokens before `split`");
    auto const late = add(out, "late_loss", own, split, own.positions(), "loss of the tokens from `split` on");
    out.add("gain", early.mean - late.mean)
        .units("nat")
        .about("early_loss less late_loss: what a longer context brings")
        .missing("no token is predicted before `split`, or after it");
    std::string line = "loss " + told(all) + " nat a token, " + told(early) + " before position " + std::to_string(split) + ", " +
                       told(late) + " from there on";
    if (in.has("against")) {
      auto const more = difference_of(own, read(in, "against"));
      auto const by = add(out, "difference", more, 0, own.positions(), "mean_loss less that of `against`, token by token");
      add(out, "early_difference", more, 0, split, "the same before `split`");
      add(out, "late_difference", more, split, own.positions(), "the same from `split` on");
      add_curve(out, "difference_at", more, "the same at each position");
      line += "; " + wf::told(by.mean, 3, true) + " +- " + wf::told(by.error, 2) + " against the other";
    }
    out.summarise(line);
  }

 private:
  static std::string told(estimate const& e) { return wf::told(e.mean, 4) + " +- " + wf::told(e.error, 2); }

  static estimate add(wf::results& out, std::string const& name, losses const& from, std::size_t first, std::size_t last,
                      std::string const& about) {
    auto const e = mean_of(from, first, last);
    out.add(name, e.mean).units("nat").about(about).missing("no token is predicted there");
    out.add(name + "_standard_error", e.error)
        .units("nat")
        .about("standard error of " + name + " between items")
        .missing("fewer than two items have a predicted token there");
    return e;
  }

  static void add_curve(wf::results& out, std::string const& name, losses const& from, std::string const& about) {
    wf::dims const shape{{"pos", from.positions()}};
    wf::tensor mean(wf::dtype::f64, shape), error(wf::dtype::f64, shape);
    for (std::size_t p = 0; p < from.positions(); ++p) {
      auto const e = mean_of(from, p, p + 1);
      mean(p) = e.mean, error(p) = e.error;
    }
    out.add(name, mean).units("nat").about(about).view("curve").missing("no token is predicted there");
    out.add(name + "_standard_error", error)
        .units("nat")
        .about("standard error of " + name + " between items")
        .view("curve")
        .missing("fewer than two items have a predicted token there");
  }

  std::size_t split_;
};

WAYFARER_METRIC(loss_by_position, "1.0.0",
                "Loss at each position of the texts, what context brings, and the difference from another model, with errors",
                wf::port::results("of", "a node of language_loss, or log probabilities [item, pos]"),
                wf::port::results("against", "another such node, over the same texts").optional(),
                wf::param("split", 0, "the position that parts early tokens from late ones; 0: half of the longest text")
                    .at_least(0)
                    .in("token"));
