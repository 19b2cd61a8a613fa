// Sources: finite, indexable sets of items with ground truth attached.
//
// `read` is a pure function of the range and may be called from any thread, in any order and more than once, so that a run can be
// split over threads and processes. A generator draws from a random_stream keyed by (seed, item) and stores nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/plugin.hpp>
#include <wayfarer/ragged.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// Items [first, last).
struct item_range {
  std::size_t first = 0, last = 0;
  std::size_t size() const noexcept { return last - first; }
  friend bool operator==(item_range const&, item_range const&) = default;
};

/// Some consecutive items. A source fills the columns that it has and leaves the others empty; every filled column has `count`
/// lists. `offsets` of a column may start above 0 only in views made by the host.
struct item_block {
  std::size_t first = 0, count = 0;
  ragged<std::int32_t> words;           ///< word numbers of the source's own vocabulary
  ragged<std::int32_t> tokens;          ///< token ids of the model's vocabulary, where the source has them
  ragged<std::int32_t> decoder_tokens;  ///< for encoder-decoder models
  ragged<std::int32_t> token_types;     ///< beside `tokens`, of the same lengths: the type of each, for models that read pairs
  std::vector<std::string> texts;       ///< one text an item
  std::vector<std::string> seconds;     ///< the second text of each item where items are pairs of texts, else empty
  ragged<std::string> choices;          ///< answers to choose from
  /// The text in its natural pieces, in order, for sources that know them: `text` is what they make with the separator between
  /// examples. segment_example numbers the example, from 0, that each piece belongs to (few-shot contexts have several).
  ragged<std::string> segments;
  ragged<std::int32_t> segment_example;
  std::map<std::string, tensor, std::less<>> truth;  ///< per item ground truth, first dimension "item": {"gold", [item]}
};

struct source_info {
  std::size_t items = 0;
  std::size_t vocabulary = 0;  ///< number of words, 0 for texts
  std::size_t longest = 0;     ///< most words in an item, 0 if unknown
  bool has_words = false, has_tokens = false, has_texts = false, has_choices = false;
  std::vector<std::string> words;                    ///< text of each word where known
  std::vector<std::string> notes;                    ///< what `run` and `check` say of it once, as warnings
  std::map<std::string, tensor, std::less<>> truth;  ///< of the whole source: {"topic_of_word", [word]}
  /// True facts of the items that users need not repeat: "topics", "alpha". They go along the wires of a pipeline to
  /// every parameter that is declared with `.fact(...)`, however many nodes away; docs/pipelines.md has the names in use.
  fact_map facts;
};

struct WAYFARER_API source : plugin_base {
  ~source() override;
  /// What `read` will give. Valid from construction on; the constructor may open files but should be quick, `check` runs it too.
  virtual source_info const& info() const = 0;
  /// The items of the range, which lies within [0, info().items).
  virtual item_block read(item_range) const = 0;
};

WAYFARER_LAYOUT(item_range, first, last);
WAYFARER_LAYOUT(item_block, first, count, words, tokens, decoder_tokens, token_types, texts, seconds, choices, segments,
                segment_example, truth);
WAYFARER_LAYOUT(source_info, items, vocabulary, longest, has_words, has_tokens, has_texts, has_choices, words, notes, truth,
                facts);
WAYFARER_INTERFACE_LAYOUT(source, info, read);

}  // namespace wayfarer
