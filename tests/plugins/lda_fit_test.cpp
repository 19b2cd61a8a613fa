// lda_fit: kernels against float64, the fit against the update equations written out, words of texts, planted topics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#include <wayfarer/error.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/testing.hpp>

#include "corpus.hpp"
#include "kernels.hpp"
#include "probes/common/digamma.hpp"
#include "variational.hpp"

namespace {

namespace wf = wayfarer;
namespace lda = wayfarer::lda;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

lda::corpus random_corpus(std::size_t documents, std::size_t vocabulary, std::uint64_t seed) {
  lda::corpus c;
  c.vocabulary = vocabulary;
  wf::random_stream draw(seed, "corpus");
  for (std::size_t d = 0; d < documents; ++d) {
    for (std::size_t w = 0; w < vocabulary; ++w)
      if (draw.below(3) == 0 || w % 7 == d % 7) {
        c.words.push_back(static_cast<std::int32_t>(w));
        c.counts.push_back(static_cast<float>(1 + draw.below(4)));
      }
    c.offsets.push_back(c.words.size());
  }
  return c;
}

TEST(lda_fit, knows_digamma) {
  EXPECT_NEAR(wf::digamma(1), -0.57721566490153286, 1e-14);
  EXPECT_NEAR(wf::digamma(0.5), -1.9635100260214235, 1e-14);
  EXPECT_NEAR(wf::digamma(1e-3), -1000.5755719318103, 1e-10);
  EXPECT_NEAR(wf::digamma(100), 4.600161852738087, 1e-14);
  for (double x : {0.01, 0.3, 2.5, 9.99, 10.01, 1234.5})
    EXPECT_NEAR(wf::digamma(x + 1), wf::digamma(x) + 1 / x, 1e-12 * (1 + 1 / x));
}

std::vector<lda::kernel_table<float> const*> float_tables() {
  std::vector<lda::kernel_table<float> const*> all{&lda::kernels_baseline_f32};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(&lda::kernels_avx2_f32);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    all.push_back(&lda::kernels_avx512_f32);
#endif
  return all;
}

TEST(lda_fit, exponential_of_digamma_keeps_ratios_of_tiny_numbers) {
  std::vector<double> x(48);
  wf::random_stream draw(1, "x");
  for (auto* table : float_tables())
    for (double const scale : {1e-2, 1.0, 1e4}) {
      for (double& v : x) v = scale * (0.5 + draw.uniform());
      std::vector<float> in(x.begin(), x.end()), out(48), ones(48, 1), none(48), scratch(16);
      table->exp_digamma(out.data(), in.data(), ones.data(), none.data(), 48, scratch.data());
      auto const top = static_cast<std::size_t>(std::max_element(in.begin(), in.end()) - in.begin());
      EXPECT_GT(out[top], 1e-3) << table->name;
      for (std::size_t i = 0; i < 48; ++i) {
        double const expected = std::exp(wf::digamma(static_cast<double>(in[i])) - wf::digamma(static_cast<double>(in[top])));
        if (expected < 1e-13) continue;  // below the floor
        EXPECT_NEAR(static_cast<double>(out[i]) / static_cast<double>(out[top]) / expected, 1, 2e-5)
            << table->name << " " << in[i];
      }
    }
}

template <class T>
struct inferred {
  std::vector<T> gamma, theta, rate, collected;
};

template <class T>
inferred<T> infer(lda::kernel_table<T> const& table, std::size_t topics, std::size_t words, std::size_t iterations) {
  std::size_t const ld = (topics + 15) / 16 * 16, padded = (words + 15) / 16 * 16, vocabulary = 2 * words + 3;
  wf::random_stream draw(topics * 1000 + words, "document");
  std::vector<T> beta(vocabulary * ld), counts(padded), alpha(ld, 1), rows(padded * ld), sums(ld);
  for (std::size_t w = 0; w < vocabulary; ++w)
    for (std::size_t k = 0; k < topics; ++k) beta[w * ld + k] = static_cast<T>(draw.uniform_float());
  std::vector<std::int32_t> ids(words);
  for (std::size_t i = 0; i < words; ++i)
    ids[i] = static_cast<std::int32_t>(2 * i + 1), counts[i] = static_cast<T>(1 + draw.below(9));
  inferred<T> out{std::vector<T>(ld, 1), std::vector<T>(ld), std::vector<T>(padded), std::vector<T>(ld)};
  for (std::size_t k = 0; k < topics; ++k)
    alpha[k] = static_cast<T>(0.1), out.gamma[k] = static_cast<T>(0.5f + draw.uniform_float());
  lda::document_job<T> job;
  job.beta = beta.data(), job.words = ids.data(), job.counts = counts.data(), job.n = words, job.alpha = alpha.data();
  job.gamma = out.gamma.data(), job.theta = out.theta.data(), job.rate = out.rate.data(), job.rows = rows.data();
  job.sums = sums.data(), job.ld = ld, job.topics = topics, job.iterations = iterations, job.threshold = 0;
  std::vector<T> const bounds(padded);
  job.bounds = bounds.data();
  EXPECT_EQ(table.infer(job), iterations);
  std::vector<std::int32_t> const document{0, 0};
  std::vector<std::size_t> const at{0, words / 2};
  table.collect(out.collected.data(), beta.data(), out.theta.data(), document.data(), at.data(), out.rate.data(), words ? 2 : 0,
                ld, sums.data());
  return out;
}

TEST(lda_fit, float_kernels_agree_with_double) {
  for (auto* table : float_tables())
    for (std::size_t const topics : {1, 5, 16, 20, 100, 129})
      for (std::size_t const words : {1, 15, 16, 17, 134}) {
        auto const f = infer<float>(*table, topics, words, 5);
        auto const d = infer<double>(lda::kernels_baseline_f64, topics, words, 5);
        auto near = [&](std::vector<float> const& a, std::vector<double> const& b, char const* what) {
          double const scale = *std::max_element(b.begin(), b.end());
          for (std::size_t i = 0; i < a.size(); ++i)
            ASSERT_NEAR(static_cast<double>(a[i]), b[i], 3e-5 * scale)
                << what << i << " " << table->name << " " << topics << "x" << words;
        };
        near(f.gamma, d.gamma, "gamma ");
        near(f.theta, d.theta, "theta ");
        near(f.rate, d.rate, "rate ");
        near(f.collected, d.collected, "statistics ");
        for (std::size_t k = topics; k < f.theta.size(); ++k) ASSERT_EQ(f.theta[k], 0) << "beyond the topics";
      }
}

// Word 1 has its weight where the document has none; every set of instructions hands it over, and takes the answer in.
TEST(lda_fit, kernels_hand_over_what_vanishes) {
  constexpr std::size_t ld = 16, padded = 16;
  auto const run = [&](auto zero, auto const& table) {
    using T = decltype(zero);
    std::vector<T> beta(2 * ld), counts(padded), alpha(ld, 1), gamma(ld, 1), theta(ld), rate(padded), bounds(padded),
        rows(padded * ld), sums(ld), extra(ld);
    std::vector<std::size_t> which(padded);
    std::vector<std::int32_t> const words{0, 1};
    alpha[0] = alpha[1] = T(1e-3), gamma[0] = 9, gamma[1] = T(1e-3), beta[0] = 1, beta[ld + 1] = 1, beta[ld] = T(1e-15);
    counts[0] = 8, counts[1] = 2, bounds[0] = bounds[1] = T(1e-9);
    lda::document_job<T> job;
    job.beta = beta.data(), job.words = words.data(), job.counts = counts.data(), job.n = 2, job.alpha = alpha.data();
    job.gamma = gamma.data(), job.theta = theta.data(), job.rate = rate.data(), job.bounds = bounds.data();
    job.which = which.data(), job.extra = extra.data(), job.rows = rows.data(), job.sums = sums.data();
    job.ld = ld, job.topics = 2, job.iterations = 1;
    int calls = 0;
    job.in_logs = {&calls, [](void const* of, std::int32_t const* ids, T const* n, std::size_t const* entries, std::size_t many,
                              T const*, T* to) {
                     ++*static_cast<int*>(const_cast<void*>(of));
                     EXPECT_EQ(many, 1u);
                     EXPECT_EQ(ids[entries[0]], 1);
                     to[0] += n[entries[0]];
                   }};
    EXPECT_EQ(table.infer(job), 1u);
    EXPECT_EQ(calls, 1) << table.name;
    EXPECT_NEAR(static_cast<double>(gamma[0]), 10.001, 1e-5) << table.name;
    EXPECT_NEAR(static_cast<double>(gamma[1]), 1e-3, 1e-8) << table.name;
    EXPECT_GT(rate[0], 0) << table.name;
    EXPECT_EQ(rate[1], 0) << table.name;
  };
  for (auto* table : float_tables()) run(0.0f, *table);
  run(0.0, lda::kernels_baseline_f64);
}

/// Hoffman's algorithm with phi written out, from given topics, to the fixed point of every document.
std::vector<double> one_pass_by_the_book(lda::corpus const& c, std::vector<double> lambda, lda::settings const& s,
                                         std::size_t pass) {
  std::size_t const K = s.topics, V = c.vocabulary, D = c.documents();
  double const alpha = 1.0 / static_cast<double>(K), eta = alpha;
  std::size_t seen = pass == 0 ? 0 : D;
  for (std::size_t first = 0; first < D; first += s.chunk) {
    std::size_t const last = std::min(first + s.chunk, D);
    std::vector<double> total(K), statistics(V * K);
    for (std::size_t w = 0; w < V; ++w)
      for (std::size_t k = 0; k < K; ++k) total[k] += lambda[w * K + k];
    for (std::size_t d = first; d < last; ++d) {
      std::vector<double> gamma(K, 1);
      std::vector<std::vector<double>> phi;
      for (int it = 0; it < 3000; ++it) {
        double sum = std::accumulate(gamma.begin(), gamma.end(), 0.0);
        std::vector<double> next(K, alpha);
        phi.clear();
        for (std::size_t i = c.offsets[d]; i < c.offsets[d + 1]; ++i) {
          auto const w = static_cast<std::size_t>(c.words[i]);
          std::vector<double> p(K);
          double norm = 0;
          for (std::size_t k = 0; k < K; ++k)
            norm += p[k] =
                std::exp(wf::digamma(gamma[k]) - wf::digamma(sum) + wf::digamma(lambda[w * K + k]) - wf::digamma(total[k]));
          for (std::size_t k = 0; k < K; ++k) next[k] += static_cast<double>(c.counts[i]) * (p[k] /= norm);
          phi.push_back(p);
        }
        gamma = next;
      }
      for (std::size_t i = c.offsets[d]; i < c.offsets[d + 1]; ++i)
        for (std::size_t k = 0; k < K; ++k)
          statistics[static_cast<std::size_t>(c.words[i]) * K + k] += static_cast<double>(c.counts[i]) * phi[i - c.offsets[d]][k];
    }
    double const rho =
        std::pow(s.offset + static_cast<double>(pass) + static_cast<double>(seen) / static_cast<double>(s.chunk), -s.decay);
    double const stretch = static_cast<double>(D) / static_cast<double>(last - first);
    for (std::size_t i = 0; i < V * K; ++i) lambda[i] = (1 - rho) * (lambda[i] - eta) + rho * stretch * statistics[i] + eta;
    if (pass == 0) seen += last - first;
  }
  return lambda;
}

TEST(lda_fit, follows_the_update_equations) {
  auto const c = random_corpus(23, 30, 5);
  lda::settings s;
  s.topics = 3, s.chunk = 10, s.iterations = 3000, s.gamma_threshold = 0, s.offset = 2, s.decay = 0.7, s.seed = 4;
  lda::online_lda<double> fit(c, s);
  std::size_t const V = c.vocabulary, K = s.topics;
  // The first pass starts from draws without the prior; the second from topics as the book has them.
  fit.pass();
  EXPECT_EQ(fit.updates(), 3u);
  auto const after_first = fit.lambda();
  auto const second = one_pass_by_the_book(c, after_first, s, 1);
  fit.pass();
  auto const got = fit.lambda();
  for (std::size_t i = 0; i < V * K; ++i) ASSERT_NEAR(got[i], second[i], 1e-6 * (1 + second[i])) << i;
}

TEST(lda_fit, floats_and_threads_make_no_difference_to_topics) {
  auto const c = random_corpus(200, 60, 6);
  lda::settings s;
  s.topics = 7, s.chunk = 64;
  auto fit = [&](auto zero, std::size_t threads) {
    tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
    tbb::task_arena arena(static_cast<int>(threads));
    return arena.execute([&] {
      lda::online_lda<decltype(zero)> f(c, s);
      f.pass(), f.pass();
      auto out = f.lambda();
      out.push_back(f.per_word_bound());
      return out;
    });
  };
  auto const one = fit(0.0f, 1), two = fit(0.0f, 2), four = fit(0.0f, 4);
  EXPECT_EQ(one, two) << "the same bytes";
  EXPECT_EQ(one, four);
  auto const exact = fit(0.0, 2);
  EXPECT_NEAR(one.back(), exact.back(), 1e-4 * std::abs(exact.back()));
}

/// Online variational Bayes with every weight held as a logarithm: the bound per word after some passes over three documents of
/// the vocabulary 0 .. 4, in float64.
double bound_in_logarithms(lda::corpus const& c, std::size_t K, double prior, std::size_t passes) {
  std::size_t const V = c.vocabulary, D = c.documents();
  wf::random_stream draw(11, "logarithms");
  std::vector<double> lambda(V * K), log_beta(V * K);
  for (double& l : lambda) l = std::exp(draw.log_gamma_draw(100)) / 100;
  auto const refresh = [&] {
    for (std::size_t k = 0; k < K; ++k) {
      double total = 0;
      for (std::size_t w = 0; w < V; ++w) total += lambda[w * K + k];
      for (std::size_t w = 0; w < V; ++w) log_beta[w * K + k] = wf::digamma(lambda[w * K + k]) - wf::digamma(total);
    }
  };
  auto const log_sum = [](std::vector<double> const& x) {
    double const top = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (double const y : x) sum += std::exp(y - top);
    return top + std::log(sum);
  };
  std::vector<double> gamma(D * K), statistics(V * K), both(K), log_theta(K);
  auto const infer = [&] {
    std::fill(statistics.begin(), statistics.end(), 0.0);
    for (std::size_t d = 0; d < D; ++d) {
      double* const g = gamma.data() + d * K;
      for (std::size_t k = 0; k < K; ++k) g[k] = std::exp(draw.log_gamma_draw(100)) / 100;
      for (int it = 0; it <= 60; ++it) {  // the last one counts
        for (std::size_t k = 0; k < K; ++k) log_theta[k] = wf::digamma(g[k]);
        std::vector<double> next(K, prior);
        for (std::size_t i = c.offsets[d]; i < c.offsets[d + 1]; ++i) {
          auto const w = static_cast<std::size_t>(c.words[i]);
          for (std::size_t k = 0; k < K; ++k) both[k] = log_theta[k] + log_beta[w * K + k];
          double const norm = log_sum(both);
          for (std::size_t k = 0; k < K; ++k) {
            double const n = static_cast<double>(c.counts[i]) * std::exp(both[k] - norm);
            next[k] += n;
            if (it == 60) statistics[w * K + k] += n;
          }
        }
        if (it < 60) std::copy(next.begin(), next.end(), g);
      }
    }
  };
  refresh();
  for (std::size_t p = 0; p < passes; ++p) {
    infer();
    double const rho = std::pow(1.0 + static_cast<double>(p), -0.5);
    for (std::size_t i = 0; i < V * K; ++i) lambda[i] = (1 - rho) * lambda[i] + rho * (prior + statistics[i]);
    refresh();
  }
  infer();
  double bound = 0, words = 0;
  for (std::size_t d = 0; d < D; ++d) {
    double total = 0;
    for (std::size_t k = 0; k < K; ++k) total += gamma[d * K + k];
    for (std::size_t k = 0; k < K; ++k) {
      double const g = gamma[d * K + k];
      log_theta[k] = wf::digamma(g) - wf::digamma(total);
      bound += (prior - g) * log_theta[k] + std::lgamma(g) - std::lgamma(prior);
    }
    bound += std::lgamma(prior * static_cast<double>(K)) - std::lgamma(total);
    for (std::size_t i = c.offsets[d]; i < c.offsets[d + 1]; ++i) {
      for (std::size_t k = 0; k < K; ++k) both[k] = log_theta[k] + log_beta[static_cast<std::size_t>(c.words[i]) * K + k];
      bound += static_cast<double>(c.counts[i]) * log_sum(both);
      words += static_cast<double>(c.counts[i]);
    }
  }
  for (std::size_t k = 0; k < K; ++k) {
    double total = 0;
    for (std::size_t w = 0; w < V; ++w) {
      double const l = lambda[w * K + k];
      total += l;
      bound += (prior - l) * log_beta[w * K + k] + std::lgamma(l) - std::lgamma(prior);
    }
    bound += std::lgamma(prior * static_cast<double>(V)) - std::lgamma(total);
  }
  return bound / words;
}

// exp(digamma(1 / topics)) is 0 in any format from some hundred topics on, and so are its products.
TEST(lda_fit, loses_no_word_where_products_vanish) {
  lda::corpus c;
  c.vocabulary = 6;
  c.words = {0, 1, 2, 3, 4, 5}, c.counts = {7, 2, 3, 1, 1, 1}, c.offsets = {0, 2, 4, 5, 6};
  double const words = 15;
  auto const check = [&](auto zero, std::size_t topics, double prior, std::size_t passes) {
    lda::settings s;
    s.topics = topics, s.alpha = prior, s.eta = prior;
    lda::online_lda<decltype(zero)> fit(c, s);
    double const used = prior == 0 ? 1 / static_cast<double>(topics) : prior;
    for (std::size_t p = 0; p < passes; ++p) {
      fit.pass();
      auto const lambda = fit.lambda();
      double const total = std::accumulate(lambda.begin(), lambda.end(), 0.0) - used * static_cast<double>(6 * topics);
      EXPECT_NEAR(total, words, 1e-3) << topics << " topics, pass " << p;
    }
    double const bound = fit.per_word_bound();
    EXPECT_TRUE(std::isfinite(bound)) << topics;
    return bound;
  };
  for (std::size_t const topics : {100, 500, 1500}) {
    double const exact = check(0.0, topics, 0, 3);
    EXPECT_NEAR(check(0.0f, topics, 0, 3), exact, 2e-3) << topics;
    if (topics == 1500) continue;  // slow by the book
    EXPECT_NEAR(exact, bound_in_logarithms(c, topics, 1 / static_cast<double>(topics), 3), 0.02) << topics;
  }
  for (double const prior : {1e-3, 1e-10}) EXPECT_NEAR(check(0.0f, 4, prior, 20), check(0.0, 4, prior, 20), 2e-3) << prior;
}

TEST(lda_fit, refuses_priors_that_float32_cannot_follow) {
  auto const make = [](double alpha, char const* precision) {
    wf::testing::make_plugin<wf::probe>({{"alpha", alpha}, {"precision", std::string(precision)}}, 1);
  };
  EXPECT_THAT([&] { make(1e-20, "float32"); }, ThrowsMessage<wf::usage_error>(HasSubstr("precision: float64")));
  EXPECT_NO_THROW(make(1e-15, "float32"));
  EXPECT_NO_THROW(make(1e-20, "float64"));
}

TEST(lda_fit, batch_forgets_at_once) {
  auto const c = random_corpus(40, 25, 8);
  lda::settings s;
  s.topics = 4, s.chunk = 7, s.update_every = 0, s.decay = 0;
  lda::online_lda<double> fit(c, s);
  fit.pass();
  EXPECT_EQ(fit.updates(), 1u);
  auto const lambda = fit.lambda();
  double words = 0, total = 0;
  for (float n : c.counts) words += static_cast<double>(n);
  for (double l : lambda) total += l;
  EXPECT_NEAR(total, words + 0.25 * static_cast<double>(c.vocabulary * 4), 1e-6 * words) << "every word is counted once";
  auto const shares = fit.shares();
  EXPECT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), 1, 1e-12);
}

TEST(lda_fit, bound_rises_with_batch_passes) {
  auto const c = random_corpus(60, 40, 9);
  lda::settings s;
  s.topics = 5, s.update_every = 0, s.decay = 0, s.iterations = 500, s.gamma_threshold = 1e-6;
  lda::online_lda<double> fit(c, s);
  double last = -std::numeric_limits<double>::infinity();
  for (int p = 0; p < 8; ++p) {
    fit.pass();
    double const bound = fit.per_word_bound();
    EXPECT_GE(bound, last - 1e-3) << p;
    last = bound;
  }
}

TEST(lda_fit, splits_texts_into_words) {
  lda::word_choice any;
  EXPECT_THAT(lda::words_of("The cat's  42 naïve—Cats, a", any), ElementsAre("the", "cat", "naïve", "cats"));
  any.shortest = 1, any.longest = 3;
  EXPECT_THAT(lda::words_of("a bb ccc dddd", any), ElementsAre("a", "bb", "ccc"));
  EXPECT_TRUE(lda::words_of("\xE2\x80", any).empty()) << "half a character at the end";
  EXPECT_TRUE(lda::words_of("\xC2", any).empty());
}

struct texts final : wf::source {
  explicit texts(std::vector<std::string> t) : texts_(std::move(t)) { info_.items = texts_.size(), info_.has_texts = true; }
  wf::source_info const& info() const override { return info_; }
  wf::item_block read(wf::item_range r) const override {
    wf::item_block b;
    b.first = r.first, b.count = r.size();
    b.texts.assign(texts_.begin() + static_cast<std::ptrdiff_t>(r.first), texts_.begin() + static_cast<std::ptrdiff_t>(r.last));
    return b;
  }
  std::vector<std::string> texts_;
  wf::source_info info_;
};

TEST(lda_fit, chooses_words_by_the_documents_that_have_them) {
  texts const data({"alpha beta beta", "alpha gamma", "alpha beta delta", ""});
  lda::word_choice choice;
  choice.min_documents = 1, choice.max_share = 0.5;
  auto c = lda::read_corpus(data, {0, 4}, choice);
  EXPECT_THAT(c.names, ElementsAre("beta", "delta", "gamma")) << "alpha is in three of four";
  EXPECT_THAT(c.offsets, ElementsAre(0, 1, 2, 4, 4));
  EXPECT_THAT(c.words, ElementsAre(0, 2, 0, 1));
  EXPECT_THAT(c.counts, ElementsAre(2, 1, 1, 1));
  lda::weigh_by_rarity(c);
  EXPECT_THAT(c.offsets, ElementsAre(0, 1, 2, 4, 4));
  EXPECT_FLOAT_EQ(c.counts[0], 1);  // the only word, at length 1
  EXPECT_FLOAT_EQ(c.counts[2], 1 / std::sqrt(5.0f));
  EXPECT_FLOAT_EQ(c.counts[3], 2 / std::sqrt(5.0f));
  choice.min_documents = 5;
  EXPECT_THAT([&] { lda::read_corpus(data, {0, 4}, choice); }, ThrowsMessage<wf::usage_error>(HasSubstr("min_documents")));
}

/// Documents of words from five topics of ten words each.
struct planted final : wf::source {
  planted() { info_.items = 500, info_.vocabulary = 50, info_.has_words = true; }
  wf::source_info const& info() const override { return info_; }
  wf::item_block read(wf::item_range r) const override {
    wf::item_block b;
    b.first = r.first, b.count = r.size();
    for (std::size_t d = r.first; d < r.last; ++d) {
      wf::random_stream draw(3, "planted", d);
      std::uint32_t const first = draw.below(5), second = draw.below(5);
      std::vector<std::int32_t> words;
      for (int i = 0; i < 60; ++i)
        words.push_back(static_cast<std::int32_t>((draw.below(4) == 0 ? second : first) * 10 + draw.below(10)));
      b.words.push_back(words);
    }
    return b;
  }
  wf::source_info info_;
};

TEST(lda_fit, finds_planted_topics) {
  planted const source;
  auto const probe = wf::testing::make_plugin<wf::probe>(
      {{"topics", std::int64_t{5}}, {"passes", std::int64_t{10}}, {"chunk_size", std::int64_t{100}}, {"alpha", 0.1}}, 1);
  wf::results out;
  probe->finish(wf::accumulator(0), out, wf::probe_context(nullptr, &source, {0, 500}, 0));
  auto const& p = out.at("topic_word").values();
  std::set<std::size_t> found;
  for (std::size_t k = 0; k < 5; ++k) {
    std::vector<double> mass(5);
    for (std::size_t w = 0; w < 50; ++w) mass[w / 10] += p.get({k, w});
    auto const best = std::max_element(mass.begin(), mass.end());
    EXPECT_GT(*best, 0.95);
    EXPECT_NEAR(std::accumulate(mass.begin(), mass.end(), 0.0), 1, 1e-5);
    found.insert(static_cast<std::size_t>(best - mass.begin()));
  }
  EXPECT_EQ(found.size(), 5u);
  EXPECT_EQ(out.at("bound_curve").values().count(), 1u);
  EXPECT_LT(out.at("per_word_bound").scalar(), -std::log(10));
  EXPECT_GT(out.at("per_word_bound").scalar(), -std::log(50));
}

}  // namespace
