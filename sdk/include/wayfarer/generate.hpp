// Generation: a model continues a prompt, one token at a time, with a cache of keys and values.
//
// Called by the command line and by probes that follow a decoding walk. Seeded: the same request gives the same tokens for any
// number of threads, and an item's tokens do not depend on the other items of the batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/source.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

struct sampling {
  std::size_t max_new_tokens = 50;
  double temperature = 0;  ///< 0: greedy, the lowest id among equals
  std::size_t top_k = 0;   ///< 0: all
  double top_p = 1;        ///< smallest set of likeliest tokens whose probabilities reach this
  std::uint64_t seed = 0;
  std::uint64_t first_item = 0;    ///< number of the batch's first item, the key of its random numbers
  std::vector<std::int32_t> stop;  ///< an item ends when it draws one of these, which is then its last token
};

/// One step of all items that are not finished. Views live during the call.
struct generation_step {
  std::size_t index = 0;                 ///< 0 for the first new token
  std::span<std::size_t const> items;    ///< those that are not finished, numbers within the prompt
  std::span<std::int32_t const> tokens;  ///< what each of them drew
  tensor logits;                         ///< [item, vocabulary], float32, from which they were drawn
  activations const& captured;           ///< at the positions whose last one the logits belong to, by index into `items`
};

/// The new tokens of each item. `request` says what to capture and edit at every step, `observe`, unless empty, sees each step
/// and ends the generation by returning false. The prompt of an encoder-decoder holds its decoder's first tokens too. An item
/// also ends when the model's positions do. Throws usage_error for an empty prompt.
WAYFARER_API ragged<std::int32_t> generate(model const&, batch const& prompt, sampling const&, run_request const& request = {},
                                           std::function<bool(generation_step const&)> const& observe = {});

/// Log probability (nat) of a token under the law that draw_token draws from: at that temperature, within top_k and top_p.
/// -infinity for one that can't be drawn; 0 for the greedy choice.
WAYFARER_API double log_probability_of_draw(std::span<float const> logits, sampling const&, std::int32_t token);

/// One token drawn from logits [vocabulary] under the settings; `step` and `item` key the random number.
WAYFARER_API std::int32_t draw_token(std::span<float const> logits, sampling const&, std::uint64_t item, std::size_t step);

WAYFARER_LAYOUT(sampling, max_new_tokens, temperature, top_k, top_p, seed, first_item, stop);
WAYFARER_LAYOUT(generation_step, index, items, tokens, logits, captured);

}  // namespace wayfarer
