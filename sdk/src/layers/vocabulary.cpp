#include <wayfarer/vocabulary.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <wayfarer/error.hpp>

#include "common.hpp"

namespace wayfarer {

using layer_kernels::kernels;

unembeds_tokens::~unembeds_tokens() = default;

double token_distribution::probability(double logit) const noexcept {
  return std::exp(log_probability(logit));
}

linear_weights outputs_of(linear_weights const& w, std::size_t first, std::size_t last) {
  if (first == 0 && last == w.out()) return w;
  return {w.w.slice(w.in_first ? 1 : 0, first, last), w.b.defined() ? w.b.slice(0, first, last) : tensor(), w.in_first};
}

namespace {

std::shared_ptr<row_packing const> one_item(std::size_t count) {
  auto one = std::make_shared<row_packing>();
  one->offsets = {0, count};
  one->first_position = {0};
  return one;
}

/// What one row has shown so far.
template <class T>
struct seen {
  T highest = -std::numeric_limits<T>::infinity();
  /// Of w = exp(logit - highest): of all w, of w times logit - highest, and of the w of the group's last row times what its logit
  /// is above this row's.
  double sum = 0, weighted = 0, above = 0;
  std::vector<std::pair<T, std::int32_t>> best{};  // a heap whose front is the last of those kept
  std::vector<T> logits{};
  std::vector<std::size_t> ranks{};

  /// The number that logits are compared with. Where there is only -infinity as yet, any will do.
  T reference() const { return highest == -std::numeric_limits<T>::infinity() ? T(0) : highest; }
  /// Takes a higher one, and gives what sums of w are to be multiplied by.
  double raise(T to) {
    if (!(to > highest)) return 1;
    double const step = static_cast<double>(highest) - static_cast<double>(to), by = std::exp(step);
    if (sum != 0) weighted = by * (weighted + sum * step), sum *= by;
    highest = to;
    return by;
  }
};

template <class T>
bool comes_before(std::pair<T, std::int32_t> const& a, std::pair<T, std::int32_t> const& b) {
  return a.first > b.first || (a.first == b.first && a.second < b.second);
}

/// The rows that are read together, while the vocabulary goes by.
template <class T>
class reading {
 public:
  reading(rows const& x, std::size_t first_row, vocabulary_question const& q, logits_of_tokens const& logits)
      : x_(x), first_row_(first_row), q_(q), logits_(logits), rows_(x.count()), group_(std::max<std::size_t>(1, q.group)) {
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      rows_[r].logits.resize(tokens(r).size());
      rows_[r].ranks.resize(q_.ranks ? tokens(r).size() : 0);
    }
  }

  void run() {
    // A rank counts from a logit that may come late.
    if (q_.ranks && q_.vocabulary > q_.tokens_at_once) find_logits();
    for (std::size_t first = 0; first < q_.vocabulary; first += q_.tokens_at_once) {
      std::size_t const last = std::min(q_.vocabulary, first + q_.tokens_at_once), count = last - first;
      rows const z = made(x_, first, last);
      std::size_t const groups = rows_.size() / group_, at_once = std::max<std::size_t>(1, rows_of_piece / group_);
      split((groups + at_once - 1) / at_once, rows_.size() * count, [&](std::size_t piece) {
        for (std::size_t g = piece * at_once; g < std::min(groups, (piece + 1) * at_once); ++g)
          take(g * group_, z.data<T>() + g * group_ * count, first, count);
      });
    }
  }

  void answer(std::vector<token_distribution>& to) {
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      auto& s = rows_[r];
      auto const& last = rows_[(r / group_ + 1) * group_ - 1];
      token_distribution d;
      d.highest = static_cast<double>(s.highest);
      d.log_sum = std::log(s.sum);
      d.entropy = d.log_sum - s.weighted / s.sum;
      if (q_.group)
        d.divergence = s.above / last.sum - ((static_cast<double>(last.highest) + std::log(last.sum)) - (d.highest + d.log_sum));
      std::sort(s.best.begin(), s.best.end(), comes_before<T>);
      for (auto const& [logit, token] : s.best) d.likeliest.push_back({token, static_cast<double>(logit)});
      d.logits.assign(s.logits.begin(), s.logits.end());
      d.ranks = std::move(s.ranks);
      to.push_back(std::move(d));
    }
  }

 private:
  static constexpr std::size_t rows_of_piece = 16;  // enough work for a task

  std::span<std::int32_t const> tokens(std::size_t r) const {
    return q_.tokens.empty() ? std::span<std::int32_t const>() : q_.tokens[first_row_ + r];
  }

  rows made(rows const& x, std::size_t first, std::size_t last) const {
    rows z = logits_(x, first, last);
    if (z.count() != x.count() || z.width() != last - first || z.type() != x.type())
      throw plugin_error("for the logits of " + std::to_string(last - first) + " tokens, " + std::to_string(z.width()) +
                         " numbers a row were made");
    return z;
  }

  /// Those of the rows' own tokens, each token with all rows that ask for it.
  void find_logits() {
    std::map<std::int32_t, std::vector<std::pair<std::size_t, std::size_t>>> askers;  // row, number among its tokens
    for (std::size_t r = 0; r < rows_.size(); ++r)
      for (std::size_t j = 0; j < tokens(r).size(); ++j) askers[tokens(r)[j]].emplace_back(r, j);
    std::vector<std::int32_t> distinct;
    for (auto const& [token, who] : askers) distinct.push_back(token);
    split(distinct.size(), rows_.size() * x_.width(), [&](std::size_t i) {
      auto const& who = askers.at(distinct[i]);
      rows some(one_item(who.size()), x_.width(), x_.precision());
      T* const to = some.overwrite<T>();
      for (std::size_t k = 0; k < who.size(); ++k)
        std::copy_n(x_.data<T>() + who[k].first * x_.width(), x_.width(), to + k * x_.width());
      auto const token = static_cast<std::size_t>(distinct[i]);
      rows const z = made(some, token, token + 1);
      for (std::size_t k = 0; k < who.size(); ++k) rows_[who[k].first].logits[who[k].second] = z.data<T>()[k];
    });
  }

  /// The logits of tokens [first, first + count) in the group that begins at row r.
  void take(std::size_t r, T const* z, std::size_t first, std::size_t count) {
    auto const& k = kernels<T>();
    T* const weights = q_.group ? scratch<T>(count, 0) : nullptr;
    std::size_t const last = group_ - 1;
    double by = 1;
    // The last row first: the others are compared with its weights.
    for (std::size_t i = group_; i-- > 0;) {
      auto& s = rows_[r + i];
      T const* const row = z + i * count;
      T const highest = k.highest(row, count);
      double const raised = s.raise(highest);
      double sums[2];
      k.exponential_sums(sums, i == last ? weights : nullptr, row, s.reference(), count);
      s.sum += sums[0], s.weighted += sums[1];
      if (i == last) by = raised;
      if (q_.group) s.above = s.above * by + k.weighted_difference(weights, z + last * count, row, count);
      keep_best(s, row, first, count, highest);
      follow_tokens(s, tokens(r + i), row, first, count);
    }
  }

  void keep_best(seen<T>& s, T const* row, std::size_t first, std::size_t count, T highest) const {
    std::size_t const most = std::min(q_.likeliest, q_.vocabulary);
    std::size_t i = 0;
    for (; i < count && s.best.size() < most; ++i) {
      if (std::isnan(row[i])) continue;
      s.best.emplace_back(row[i], static_cast<std::int32_t>(first + i));
      std::push_heap(s.best.begin(), s.best.end(), comes_before<T>);
    }
    if (most == 0 || i == count || !(highest > s.best.front().first)) return;
    auto const& k = kernels<T>();
    while ((i = k.next_above(row, i, count, s.best.front().first)) < count) {
      std::pop_heap(s.best.begin(), s.best.end(), comes_before<T>);
      s.best.back() = {row[i], static_cast<std::int32_t>(first + i)};
      std::push_heap(s.best.begin(), s.best.end(), comes_before<T>);
      ++i;
    }
  }

  void follow_tokens(seen<T>& s, std::span<std::int32_t const> wanted, T const* row, std::size_t first, std::size_t count) const {
    auto const& k = kernels<T>();
    for (std::size_t j = 0; j < wanted.size(); ++j) {
      auto const token = static_cast<std::size_t>(wanted[j]);
      if (token >= first && token < first + count) s.logits[j] = row[token - first];
      if (!q_.ranks) continue;
      // Among equals the lower id comes first.
      std::size_t const below = std::clamp(token, first, first + count) - first;
      s.ranks[j] += k.count_above(row, below, s.logits[j], true) + k.count_above(row + below, count - below, s.logits[j], false);
    }
  }

  rows const& x_;
  std::size_t first_row_;
  vocabulary_question const& q_;
  logits_of_tokens const& logits_;
  std::vector<seen<T>> rows_;
  std::size_t group_;
};

void check(tensor const& states, vocabulary_question const& q) {
  if (states.rank() != 2 || (states.type() != dtype::f32 && states.type() != dtype::f64))
    throw plugin_error("a vocabulary is read from states [row, width] of float32 or float64, not " + describe(states.shape()) +
                       " of " + std::string(name_of(states.type())));
  std::size_t const count = states.size(0);
  if (q.group && count % q.group != 0)
    throw plugin_error(std::to_string(count) + " rows are no whole groups of " + std::to_string(q.group));
  if (!q.tokens.empty() && q.tokens.size() != count)
    throw plugin_error("tokens are asked of " + std::to_string(q.tokens.size()) + " rows, but there are " +
                       std::to_string(count));
  for (auto const t : q.tokens.values)
    if (t < 0 || static_cast<std::size_t>(t) >= q.vocabulary)
      throw plugin_error("token " + std::to_string(t) + " is outside the vocabulary of " + std::to_string(q.vocabulary));
  if (q.tokens_at_once == 0) throw plugin_error("a vocabulary is read some tokens at a time, not 0");
}

}  // namespace

std::vector<token_distribution> read_vocabulary(tensor const& states, vocabulary_question const& q,
                                                logits_of_tokens const& logits) {
  check(states, q);
  std::vector<token_distribution> all;
  std::size_t const count = states.size(0), group = std::max<std::size_t>(1, q.group),
                    at_once = std::max<std::size_t>(1, q.rows_at_once / group) * group;
  for (std::size_t first = 0; first < count; first += at_once) {
    std::size_t const last = std::min(count, first + at_once);
    rows const x = rows_from(states.slice(0, first, last), one_item(last - first), states.size(1), states.type(), "states");
    with_type(x.type(), [&]<class T>(T const*) {
      reading<T> some(x, first, q, logits);
      some.run();
      some.answer(all);
    });
  }
  return all;
}

}  // namespace wayfarer
