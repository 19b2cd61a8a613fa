// Averages of a token-by-token matrix over pairs of words of the same and of different topics: defined once here
// and used alike for E^T E, W^V and the Gram matrix of W^V.
//
// Tokens without a topic take no part. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>

#include <wayfarer/ops.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::topics {

/// A mean over entries, with the standard error that comes of taking each column (each word read) as one observation.
struct entry_mean {
  double mean = 0, standard_error = 0;
};

struct block_statistics {
  tensor blocks;         ///< [topic, other_topic]: mean of each block, words with themselves left out
  entry_mean diagonal;   ///< word with itself
  entry_mean same;       ///< different words of one topic
  entry_mean different;  ///< words of different topics
  moments contrast;      ///< over columns k: mean over the words of k's topic (k included) - mean over all other words
  entry_mean
      topic_sum_contrast;    ///< over rows i and topics t' other than i's: sum over i's topic - sum over t' (c1); error over rows
  double positive_same = 0;  ///< fraction of the `same` entries that are above zero
  double minimum = 0, maximum = 0;
};

/// `matrix`: [token, token], any float type; `topic_of_token`: a topic or -1. Throws plugin_error unless the sizes agree and
/// there are two topics at least. Means over nothing (topics of one word have no `same`) are NaN.
block_statistics measure_blocks(tensor const& matrix, std::span<std::int32_t const> topic_of_token);

/// G[k][j] / sqrt(G[k][k] G[j][j]); 0 where a vector is zero.
tensor cosines_of(tensor const& gram);

}  // namespace wayfarer::topics
