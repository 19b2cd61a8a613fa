// How documents of disjoint topics are made and masked, as the theorems of Li, Li and Risteski 2023 have it. The plugins about
// these theorems have the same parameters for it: facts of the source, and of the model that learns from it.
//
// Read in a plugin's constructor; any thread.
#pragma once

#include <string>

#include <wayfarer/config.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/plugin.hpp>

namespace wayfarer::topics {

/// The distribution of documents and masks.
struct setting {
  double topics = 10, words_per_topic = 10, topics_per_document = 4;  ///< T, v, tau
  double alpha = 0.1;                                                 ///< of the Dirichlet distribution where tau is 0
  double mask = 0.15, keep = 0.1, random = 0.1;                       ///< p_m, p_c, p_r
  bool masked_keys = true;  ///< whether masked positions are attended to; the theorems say yes, the published code no

  /// Of the parameters below. Throws usage_error for what contradicts itself.
  static setting read(config const& c, std::string const& plugin) {
    setting const s{c["topics"],
                    c["words_per_topic"],
                    c["topics_per_document"],
                    c["alpha"],
                    c["p_m"],
                    c["p_c"],
                    c["p_r"],
                    c["masked_keys"].text() == "included"};
    if (s.topics_per_document > 0 && s.topics_per_document >= s.topics)
      throw usage_error(plugin + ": topics_per_document must be below topics; documents of all topics are all alike");
    if (s.keep + s.random > 1) throw usage_error(plugin + ": p_c and p_r add up to more than 1");
    return s;
  }

  /// Sum over the topics of E theta_t^2.
  double squared_weights() const {
    return topics_per_document > 0 ? 1 / topics_per_document : (alpha + 1) / (topics * alpha + 1);
  }

  // What attention averages over: masked documents, or only their unmasked words.
  double kappa() const { return masked_keys ? 1 - (1 - keep) * mask : 1; }            ///< share of true words
  double mu() const { return masked_keys ? mask * random : 0; }                       ///< share of random words
  double mask_share() const { return masked_keys ? mask * (1 - keep - random) : 0; }  ///< share of [MASK], a0
};

namespace parameters {

inline constexpr param topics = param("topics", 10, "T").fact("topics").at_least(2);
inline constexpr param words_per_topic = param("words_per_topic", 10, "v").fact("words_per_topic").at_least(1);
inline constexpr param topics_per_document =
    param("topics_per_document", 4, "tau; 0: weights of topics from a Dirichlet distribution")
        .fact("topics_per_document")
        .at_least(0);
inline constexpr param alpha =
    param("alpha", 0.1, "Dirichlet parameter, where topics_per_document is 0").fact("alpha").between(1e-6, 1e6);
inline constexpr param mask = param("p_m", 0.15, "chance that a position is to be predicted").between(0, 1).fact("p_m");
inline constexpr param keep = param("p_c", 0.1, "chance that such a position shows the word itself").between(0, 1).fact("p_c");
inline constexpr param random = param("p_r", 0.1, "chance that it shows a random word").between(0, 1).fact("p_r");
inline constexpr param masked_keys =
    param("masked_keys", "included", "whether masked positions are attended to").one_of("included|excluded").fact("masked_keys");

}  // namespace parameters
}  // namespace wayfarer::topics
