#include "variational.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <span>

#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>

#include "kernels.hpp"
#include "probes/common/digamma.hpp"

namespace wayfarer::lda {

namespace {

// Pieces of work, fixed by the problem.
constexpr std::size_t block_documents = 16, block_words = 256;

std::size_t rounded_up(std::size_t n) {
  return (n + topic_padding - 1) / topic_padding * topic_padding;
}

void for_blocks(std::size_t first, std::size_t last, std::size_t size,
                std::function<void(std::size_t, std::size_t)> const& body) {
  parallel_for((last - first + size - 1) / size, [&](std::size_t b) {
    std::size_t const from = first + b * size;
    body(from, std::min(from + size, last));
  });
}

double log_gamma(double x) noexcept {
  int sign = 0;
  return ::lgamma_r(x, &sign);  // std::lgamma writes to a variable that threads share
}

/// Below this share of the largest that it could be, a product of two rows is not to be trusted: it may be rounding, or in
/// float32 what the floors of the kernels' exponentials make.
template <class T>
constexpr double vanishing = sizeof(T) == sizeof(float) ? 1e-11 : 1e-250;

/// Adds count x_k / sum x, with the logarithms of x given.
template <class Sums>
void share_out(double count, std::vector<double> const& log_x, std::vector<double>& scratch, Sums& to) {
  double const top = *std::max_element(log_x.begin(), log_x.end());
  double sum = 0;
  for (std::size_t k = 0; k < log_x.size(); ++k) sum += scratch[k] = std::exp(log_x[k] - top);
  for (std::size_t k = 0; k < log_x.size(); ++k) to[k] += count * scratch[k] / sum;
}

}  // namespace

/// The E step of some documents.
template <class T>
struct online_lda<T>::inferred {
  std::vector<T> gamma, theta;          // [document, ld]
  std::vector<T> rate;                  // [entry], from the first document's first on
  std::vector<std::size_t> iterations;  // [document]
};

template <class T>
online_lda<T>::online_lda(corpus const& data, settings const& s) : data_(data), s_(s), ld_(rounded_up(s.topics)) {
  if (s_.alpha == 0) s_.alpha = 1 / static_cast<double>(s_.topics);
  if (s_.eta == 0) s_.eta = 1 / static_cast<double>(s_.topics);
  if (data.vocabulary > (std::size_t{1} << 40) / ld_ / sizeof(T))
    throw resource_error(std::to_string(s_.topics) + " topics of " + std::to_string(data.vocabulary) +
                         " words are too many to hold");
  alpha_.assign(ld_, 1);
  std::fill_n(alpha_.begin(), s_.topics, static_cast<T>(s_.alpha));
  statistics_.assign(data.vocabulary * ld_, 0);
  new_.assign(data.vocabulary * ld_, 0);
  beta_.assign(data.vocabulary * ld_, 0);
  trusted_.assign(data.vocabulary, 0);
  log_total_.assign(s_.topics, 0);
  for_blocks(0, data.vocabulary, block_words, [&](std::size_t first, std::size_t last) {
    for (std::size_t w = first; w < last; ++w) {
      random_stream draw(s_.seed, "lda_fit topics", w);
      for (std::size_t k = 0; k < s_.topics; ++k)
        statistics_[w * ld_ + k] = static_cast<T>(std::exp(draw.log_gamma_draw(100)) / 100);
    }
  });
  refresh_beta();
}

/// E[log beta] of one word.
template <class T>
void online_lda<T>::log_beta_of(std::size_t word, std::vector<double>& out) const {
  double const eta = updates_ == 0 ? 0 : s_.eta;
  out.resize(s_.topics);
  for (std::size_t k = 0; k < s_.topics; ++k)
    out[k] = digamma(static_cast<double>(statistics_[word * ld_ + k]) + eta) - log_total_[k];
}

template <class T>
void online_lda<T>::add_in_logs(void const* self, std::int32_t const* words, T const* counts, std::size_t const* which,
                                std::size_t n, T const* gamma, T* extra) {
  auto const& me = *static_cast<online_lda const*>(self);
  std::size_t const K = me.s_.topics;
  std::vector<double> log_theta(K), log_beta(K), scratch(K), sums(K);
  for (std::size_t k = 0; k < K; ++k) log_theta[k] = digamma(static_cast<double>(gamma[k]));
  for (std::size_t i = 0; i < n; ++i) {
    me.log_beta_of(static_cast<std::size_t>(words[which[i]]), log_beta);
    for (std::size_t k = 0; k < K; ++k) log_beta[k] += log_theta[k];
    share_out(static_cast<double>(counts[which[i]]), log_beta, scratch, sums);
  }
  for (std::size_t k = 0; k < K; ++k) extra[k] += static_cast<T>(sums[k]);
}

template <class T>
typename online_lda<T>::inferred online_lda<T>::infer(std::size_t first, std::size_t last, char const* purpose,
                                                      std::uint64_t round) const {
  std::size_t const entries = data_.offsets[first];
  inferred out;
  out.gamma.assign((last - first) * ld_, 1);
  out.theta.assign((last - first) * ld_, 0);
  out.rate.assign(data_.offsets[last] - entries, 0);
  out.iterations.assign(last - first, 0);
  auto const infer_one = kernels<T>().infer;
  for_blocks(first, last, block_documents, [&](std::size_t from, std::size_t to) {
    std::size_t longest = 0;
    for (std::size_t d = from; d < to; ++d) longest = std::max(longest, data_.offsets[d + 1] - data_.offsets[d]);
    std::vector<T> rows(rounded_up(longest) * ld_), sums(ld_), counts(rounded_up(longest)), rate(rounded_up(longest));
    std::vector<T> bounds(rounded_up(longest)), extra(ld_);
    std::vector<std::size_t> which(rounded_up(longest));
    for (std::size_t d = from; d < to; ++d) {
      std::size_t const at = data_.offsets[d], n = data_.offsets[d + 1] - at;
      std::copy_n(data_.counts.begin() + static_cast<std::ptrdiff_t>(at), n, counts.begin());
      std::fill(counts.begin() + static_cast<std::ptrdiff_t>(n), counts.end(), T{0});
      for (std::size_t i = 0; i < n; ++i) bounds[i] = trusted_[static_cast<std::size_t>(data_.words[at + i])];
      std::fill(bounds.begin() + static_cast<std::ptrdiff_t>(n), bounds.end(), T{0});
      T* const gamma = out.gamma.data() + (d - first) * ld_;
      // Any start will do that does not treat topics alike; this has the mean and spread of gensim's Gamma(100, 1/100).
      random_stream draw(s_.seed, purpose, round * data_.documents() + d);
      for (std::size_t k = 0; k < s_.topics; ++k) gamma[k] = static_cast<T>(1 + 0.34641016f * (draw.uniform_float() - 0.5f));
      // A document of fewer words than topics changes little on average over topics whatever happens to it.
      double const share = std::min(1.0, 4 * std::accumulate(counts.begin(), counts.end(), 0.0) / static_cast<double>(s_.topics));
      document_job<T> job;
      job.beta = beta_.data(), job.words = data_.words.data() + at, job.counts = counts.data(), job.n = n;
      job.alpha = alpha_.data(), job.gamma = gamma, job.theta = out.theta.data() + (d - first) * ld_;
      job.rate = rate.data(), job.rows = rows.data(), job.sums = sums.data();
      job.bounds = bounds.data(), job.in_logs = {this, &add_in_logs}, job.which = which.data(), job.extra = extra.data();
      job.ld = ld_, job.topics = s_.topics, job.iterations = s_.iterations,
      job.threshold = static_cast<T>(s_.gamma_threshold * share);
      out.iterations[d - first] = infer_one(job);
      std::copy_n(rate.begin(), n, out.rate.begin() + static_cast<std::ptrdiff_t>(at - entries));
    }
  });
  return out;
}

/// Adds the documents' expected word counts by topic to `new_`: word by word, over documents in order.
template <class T>
void online_lda<T>::collect(inferred const& e, std::size_t first, std::size_t last) {
  std::size_t const entries = data_.offsets[first];
  std::vector<std::size_t> start(data_.vocabulary + 1);
  for (std::size_t i = entries; i < data_.offsets[last]; ++i) ++start[static_cast<std::size_t>(data_.words[i]) + 1];
  for (std::size_t w = 0; w < data_.vocabulary; ++w) start[w + 1] += start[w];
  std::vector<std::int32_t> document(data_.offsets[last] - entries);
  std::vector<std::size_t> place(document.size()), next(start.begin(), start.end() - 1);
  for (std::size_t d = first; d < last; ++d)
    for (std::size_t i = data_.offsets[d]; i < data_.offsets[d + 1]; ++i) {
      std::size_t const at = next[static_cast<std::size_t>(data_.words[i])]++;
      document[at] = static_cast<std::int32_t>(d - first);
      place[at] = i - entries;
    }
  auto const collect_one = kernels<T>().collect;
  for_blocks(0, data_.vocabulary, block_words, [&](std::size_t from, std::size_t to) {
    std::vector<T> scratch(ld_);
    std::vector<double> log_beta, log_share(s_.topics), shares(s_.topics);
    for (std::size_t w = from; w < to; ++w) {
      std::size_t const n = start[w + 1] - start[w];
      if (n == 0) continue;
      collect_one(new_.data() + w * ld_, beta_.data() + w * ld_, e.theta.data(), document.data() + start[w],
                  place.data() + start[w], e.rate.data(), n, ld_, scratch.data());
      // Words whose share of their document is known in logarithms alone.
      log_beta.clear();
      for (std::size_t i = start[w]; i < start[w + 1]; ++i) {
        auto const count = static_cast<double>(data_.counts[entries + place[i]]);
        if (e.rate[place[i]] != 0 || !(count > 0)) continue;
        if (log_beta.empty()) log_beta_of(w, log_beta);
        T const* const gamma = e.gamma.data() + static_cast<std::size_t>(document[i]) * ld_;
        for (std::size_t k = 0; k < s_.topics; ++k) log_share[k] = log_beta[k] + digamma(static_cast<double>(gamma[k]));
        T* const to_word = new_.data() + w * ld_;
        share_out(count, log_share, shares, to_word);
      }
    }
  });
}

template <class T>
void online_lda<T>::pass() {
  std::size_t const documents = data_.documents(), chunk = std::min(s_.chunk, documents);
  std::size_t chunks = 0;
  double iterations = 0;
  for (std::size_t first = 0; first < documents; first += chunk) {
    std::size_t const last = std::min(first + chunk, documents);
    auto const e = infer(first, last, "lda_fit documents", passes_);
    for (auto const n : e.iterations) iterations += static_cast<double>(n);
    collect(e, first, last);
    new_documents_ += last - first;
    if (++chunks; s_.update_every != 0 && chunks % s_.update_every == 0) update();
  }
  if (new_documents_ != 0) update();
  mean_iterations_ = iterations / static_cast<double>(documents);
  ++passes_;
}

/// Blends the new statistics in, as if the whole corpus were like the documents that they come from (equations 5 and 9).
template <class T>
void online_lda<T>::update() {
  double const documents = static_cast<double>(data_.documents()), chunk = std::min(static_cast<double>(s_.chunk), documents);
  double const rho =
      std::min(1.0, std::pow(s_.offset + static_cast<double>(passes_) + static_cast<double>(seen_) / chunk, -s_.decay));
  T const old = static_cast<T>(1 - rho), fresh = static_cast<T>(rho * documents / static_cast<double>(new_documents_));
  for_blocks(0, data_.vocabulary, block_words, [&](std::size_t first, std::size_t last) {
    for (std::size_t i = first * ld_; i < last * ld_; ++i) statistics_[i] = old * statistics_[i] + fresh * new_[i], new_[i] = 0;
  });
  if (passes_ == 0) seen_ += new_documents_;
  new_documents_ = 0;
  ++updates_;
  refresh_beta();
}

template <class T>
void online_lda<T>::refresh_beta() {
  // Only the first topics are drawn whole; from the first update on, the prior is added to what was counted.
  T const eta = updates_ == 0 ? T{0} : static_cast<T>(s_.eta);
  std::size_t const blocks = (data_.vocabulary + block_words - 1) / block_words;
  std::vector<double> sums(blocks * ld_);
  for_blocks(0, data_.vocabulary, block_words, [&](std::size_t first, std::size_t last) {
    double* const sum = sums.data() + first / block_words * ld_;
    for (std::size_t w = first; w < last; ++w)
      for (std::size_t k = 0; k < ld_; ++k) sum[k] += static_cast<double>(statistics_[w * ld_ + k] + eta);
  });
  // A topic's exp(-digamma(total)) is a factor of its column. Of a topic of next to no words it may be beyond any number: then it
  // goes into the exponents, as far as it exceeds the least factor.
  constexpr double apart = 10;
  std::vector<T> scale(ld_), shift(ld_);
  for (std::size_t k = 0; k < s_.topics; ++k) {
    double total = 0;
    for (std::size_t b = 0; b < blocks; ++b) total += sums[b * ld_ + k];
    log_total_[k] = digamma(total);
  }
  double const greatest = *std::max_element(log_total_.begin(), log_total_.end()), base = std::max(greatest, -20.0);
  double factors = 0;
  for (std::size_t k = 0; k < s_.topics; ++k) {
    bool const factor = log_total_[k] > base - apart;
    scale[k] = static_cast<T>(std::exp(-(factor ? log_total_[k] : base)));
    shift[k] = factor ? T{0} : static_cast<T>(log_total_[k] - base);
    factors += static_cast<double>(scale[k]);
  }
  for_blocks(0, data_.vocabulary, block_words, [&](std::size_t first, std::size_t last) {
    std::vector<T> lambda(ld_, 1), scratch(topic_padding);
    for (std::size_t w = first; w < last; ++w) {
      for (std::size_t k = 0; k < s_.topics; ++k) lambda[k] = statistics_[w * ld_ + k] + eta;
      T* const row = beta_.data() + w * ld_;
      auto const largest =
          static_cast<double>(kernels<T>().exp_digamma(row, lambda.data(), scale.data(), shift.data(), ld_, scratch.data()));
      trusted_[w] = static_cast<T>(vanishing<T> * std::max(static_cast<double>(s_.topics) * largest, factors));
    }
  });
}

template <class T>
std::vector<double> online_lda<T>::lambda() const {
  double const eta = updates_ == 0 ? 0 : s_.eta;
  std::vector<double> out(data_.vocabulary * s_.topics);
  for (std::size_t w = 0; w < data_.vocabulary; ++w)
    for (std::size_t k = 0; k < s_.topics; ++k) out[w * s_.topics + k] = eta + static_cast<double>(statistics_[w * ld_ + k]);
  return out;
}

template <class T>
std::vector<double> online_lda<T>::shares() const {
  std::vector<double> share(s_.topics);
  double total = 0;
  for (std::size_t w = 0; w < data_.vocabulary; ++w)
    for (std::size_t k = 0; k < s_.topics; ++k) share[k] += static_cast<double>(statistics_[w * ld_ + k]);
  for (double const x : share) total += x;
  for (double& x : share) x /= total;
  return share;
}

namespace {

/// log sum_k theta_k beta_kw in log space, where no topic has much of both. `lambda`: of the word; `terms`: room.
double log_of_sum(std::span<double const> log_theta, std::span<double const> lambda, std::span<double const> log_total,
                  std::span<double> terms) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (std::size_t k = 0; k < terms.size(); ++k) {
    terms[k] = log_theta[k] + digamma(lambda[k]) - log_total[k];
    most = std::max(most, terms[k]);
  }
  for (double const x : terms) sum += std::exp(x - most);
  return std::log(sum) + most;
}

/// Terms of the bound that topics and words alone have.
struct word_terms {
  /// E[log beta] of each word: its largest over topics, and the others less that, as weights [word, topic]. A document's sum over
  /// topics is then a product.
  std::vector<double> largest, weight;
  std::vector<double> bound;  ///< by word
};

word_terms bound_of_words(std::vector<double> const& lambda, std::vector<double> const& log_total, double eta) {
  std::size_t const K = log_total.size(), V = lambda.size() / K;
  word_terms out{std::vector<double>(V), std::vector<double>(V * K), std::vector<double>(V)};
  for_blocks(0, V, block_words, [&](std::size_t first, std::size_t last) {
    std::vector<double> log_beta(K);
    for (std::size_t w = first; w < last; ++w) {
      for (std::size_t k = 0; k < K; ++k) {
        double const l = lambda[w * K + k];
        log_beta[k] = digamma(l) - log_total[k];
        out.bound[w] += (eta - l) * log_beta[k] + log_gamma(l) - log_gamma(eta);
      }
      out.largest[w] = *std::max_element(log_beta.begin(), log_beta.end());
      for (std::size_t k = 0; k < K; ++k) out.weight[w * K + k] = std::exp(log_beta[k] - out.largest[w]);
    }
  });
  return out;
}

}  // namespace

template <class T>
double online_lda<T>::per_word_bound() const {
  std::size_t const K = s_.topics, V = data_.vocabulary;
  double const eta = s_.eta, alpha = s_.alpha;
  auto const all = lambda();
  std::vector<double> total(K), log_total(K);
  for (std::size_t w = 0; w < V; ++w)
    for (std::size_t k = 0; k < K; ++k) total[k] += all[w * K + k];
  for (std::size_t k = 0; k < K; ++k) log_total[k] = digamma(total[k]);

  word_terms const terms = bound_of_words(all, log_total, eta);
  double score = 0, words = 0;
  for (double const x : terms.bound) score += x;
  for (std::size_t k = 0; k < K; ++k) score += log_gamma(eta * static_cast<double>(V)) - log_gamma(total[k]);
  for (float const c : data_.counts) words += static_cast<double>(c);

  std::size_t const step = std::max<std::size_t>(s_.chunk, 1);
  for (std::size_t chunk = 0; chunk < data_.documents(); chunk += step) {
    std::size_t const end = std::min(chunk + step, data_.documents());
    auto const e = infer(chunk, end, "lda_fit bound", 0);
    std::vector<double> of_document(end - chunk);
    for_blocks(chunk, end, block_documents, [&](std::size_t first, std::size_t last) {
      std::vector<double> log_theta(K), theta(K), log_both(K);
      for (std::size_t d = first; d < last; ++d) {
        double gamma_total = 0, sum = 0;
        for (std::size_t k = 0; k < K; ++k) gamma_total += static_cast<double>(e.gamma[(d - chunk) * ld_ + k]);
        double const log_gamma_total = digamma(gamma_total);
        for (std::size_t k = 0; k < K; ++k) {
          auto const g = static_cast<double>(e.gamma[(d - chunk) * ld_ + k]);
          log_theta[k] = digamma(g) - log_gamma_total;
          sum += (alpha - g) * log_theta[k] + log_gamma(g) - log_gamma(alpha);
        }
        sum += log_gamma(alpha * static_cast<double>(K)) - log_gamma(gamma_total);
        double const top = *std::max_element(log_theta.begin(), log_theta.end());
        for (std::size_t k = 0; k < K; ++k) theta[k] = std::exp(log_theta[k] - top);
        for (std::size_t i = data_.offsets[d]; i < data_.offsets[d + 1]; ++i) {
          auto const w = static_cast<std::size_t>(data_.words[i]);
          double p = 0;
          for (std::size_t k = 0; k < K; ++k) p += theta[k] * terms.weight[w * K + k];
          double const log_p = p > 1e-280 ? std::log(p) + top + terms.largest[w]
                                          : log_of_sum(log_theta, std::span(all).subspan(w * K, K), log_total, log_both);
          sum += static_cast<double>(data_.counts[i]) * log_p;
        }
        of_document[d - chunk] = sum;
      }
    });
    for (double const x : of_document) score += x;
  }
  return score / words;
}

template class online_lda<float>;
template class online_lda<double>;

}  // namespace wayfarer::lda
