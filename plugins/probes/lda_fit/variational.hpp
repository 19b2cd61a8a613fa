// Online variational Bayes for latent Dirichlet allocation (Hoffman, Blei and Bach 2010), with gensim's defaults.
//
// Owned by one thread. It processes documents and words on all of the host's threads, each independently, so that results
// don't depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "corpus.hpp"

namespace wayfarer::lda {

struct settings {
  std::size_t topics = 100;
  std::size_t chunk = 2000;      ///< documents between two E steps
  std::size_t update_every = 1;  ///< chunks between two updates of the topics; 0: once a pass (batch)
  std::size_t iterations = 50;   ///< most, for one document
  double decay = 0.5, offset = 1, gamma_threshold = 0.001;
  double alpha = 0, eta = 0;  ///< symmetric priors; 0: 1 / topics
  std::uint64_t seed = 0;
};

/// T: float or double.
template <class T>
class online_lda {
 public:
  /// Starts from topics drawn from Gamma(100, 1/100). The corpus must outlive this.
  online_lda(corpus const&, settings const&);

  /// One pass over all documents.
  void pass();
  /// The variational bound on the log likelihood of the corpus, per word (nat): what gensim's log_perplexity returns.
  double per_word_bound() const;

  /// [word, topic], the parameters of each topic's Dirichlet.
  std::vector<double> lambda() const;
  /// [topic], expected share of all words that the topic makes, from the last pass.
  std::vector<double> shares() const;
  std::size_t updates() const noexcept { return updates_; }
  /// Of one document, on average in the last pass.
  double mean_iterations() const noexcept { return mean_iterations_; }

 private:
  struct inferred;
  inferred infer(std::size_t first, std::size_t last, char const* purpose, std::uint64_t round) const;
  void collect(inferred const&, std::size_t first, std::size_t last);
  void update();
  void refresh_beta();
  void log_beta_of(std::size_t word, std::vector<double>& out) const;
  static void add_in_logs(void const* self, std::int32_t const* words, T const* counts, std::size_t const* which, std::size_t n,
                          T const* gamma, T* extra);

  corpus const& data_;
  settings s_;
  std::size_t ld_;
  std::vector<T> alpha_;                      // [ld]
  std::vector<T> statistics_, new_, beta_;    // [word, ld]: so far, of the chunks since the last update, exp(E[log beta])
  std::vector<T> trusted_;                    // [word]: the least of a product with a row of beta that says something
  std::vector<double> log_total_;             // [topic]: digamma of the topic's sum of lambda
  std::size_t passes_ = 0, updates_ = 0;      // done
  std::size_t new_documents_ = 0, seen_ = 0;  // since the last update; in the first pass
  double mean_iterations_ = 0;
};

}  // namespace wayfarer::lda
