// The training data: the items of a source as one stream of tokens, and the windows of it that make up a batch.
//
// Called by the plugins that train and by tests, on one thread. A batch is a pure function of (seed, update).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <wayfarer/source.hpp>
#include <wayfarer/tokenizer.hpp>

namespace wayfarer::language_training {

struct token_stream {
  std::vector<std::int32_t> tokens;
  std::size_t characters = 0;  ///< of the texts, in Unicode code points; 0 if the source gives none
  /// SHA-256 of the tokens.
  std::string digest() const;
};

/// The items end to end, with `between` after each if it is given. Texts go through the tokenizer; tokens and word numbers are
/// taken as they are. Throws usage_error if the source gives none of them, or texts without a tokenizer, and data_error, naming
/// the item, for a token outside the vocabulary. Stops once there are `enough` tokens.
token_stream read_stream(source const&, tokenizer const*, std::size_t vocabulary, std::optional<std::int32_t> between,
                         std::string const& what, std::size_t enough = SIZE_MAX);

/// Throws data_error unless a window of `context` tokens and the one behind it is there.
void require_window(token_stream const&, std::size_t context);

/// Inputs and the tokens that follow each, [sequence * length].
struct token_batch {
  std::vector<std::int32_t> tokens, targets;
};
/// `count` windows of `length` tokens from anywhere in the stream, which must hold more than `length`.
token_batch draw_windows(token_stream const&, std::uint64_t seed, std::size_t update, std::size_t count, std::size_t length);
/// Windows [first, first + count) of those that lie end to end.
token_batch take_windows(token_stream const&, std::size_t first, std::size_t count, std::size_t length);

/// Each byte a token, for a model that is given no tokenizer.
tokenizer const& byte_tokenizer();

}  // namespace wayfarer::language_training
