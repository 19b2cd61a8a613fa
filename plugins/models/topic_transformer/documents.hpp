// Documents as the model sees them: words become token ids, masks are drawn once per document (a pure function of seed and index,
// for the whole run), and, for the table path, a document becomes counts of keys and targets, because hidden rows depend on token
// ids alone.
//
// The trainer owns a `document_set` per source; reading from several threads is safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "spec.hpp"

namespace wayfarer::topic_transformer {

/// Words of documents [first, first + out.size()), appended to nothing: each out[i] is replaced. Pure, callable from any thread.
using read_words = std::function<void(std::size_t first, std::span<std::vector<std::int32_t>> out)>;

/// One document after masking; all arrays have its length, START and END included.
struct masked_document {
  std::vector<std::uint16_t> shown, truth;
  std::vector<std::uint8_t> masked;   // takes part in the loss
  std::vector<std::uint8_t> visible;  // may be attended to
};

/// Token ids of a document, nothing masked: START and END are added when the spec says so. Throws data_error on a word outside.
void encode_words(spec const&, std::span<std::int32_t const> words, std::vector<std::uint16_t>& ids);

/// Draws the mask from the stream ("mask", index) of the seed, as the probe bayes_floor does, so that both speak of the same
/// words. A document without a single visible key (everything masked, masked keys excluded) attends to all of its positions
/// instead.
void mask_words(spec const&, std::span<std::int32_t const> words, std::uint64_t seed, std::uint64_t index, masked_document& out);

/// One document as counts, in one run of 16-bit numbers:
///   [0] distinct keys n  [1] rows r  [2] masked tokens  [3] visible keys in total  [4] distinct (row, target) pairs
///   key ids [n], key counts [n], then per row: query id, masked tokens, distinct targets; then per row: target ids, target
///   counts
/// With uniform attention all queries are alike and make one row.
inline constexpr std::size_t count_header = 5;
void count_document(spec const&, masked_document const&, std::vector<std::uint16_t>& out);

class document_set {
 public:
  document_set(spec const&, read_words, std::size_t size, std::uint64_t seed, std::size_t cache_bytes);

  std::size_t size() const noexcept { return size_; }
  /// Whether every document's counts fitted into the budget.
  bool cached() const noexcept { return !offsets_.empty(); }

  /// Masked documents by index, made anew.
  void masked(std::span<std::uint32_t const> index, std::vector<masked_document>& out) const;

  /// Pointers to the counts of these documents; `room` holds those that are not cached and must outlive the pointers' use.
  struct scratch {
    std::vector<std::uint16_t> arena;
    std::vector<std::vector<std::int32_t>> words;
    masked_document document;
  };
  void counts(std::span<std::uint32_t const> index, std::vector<std::uint16_t const*>& out, scratch& room) const;
  /// Hints that these documents come next.
  void prefetch(std::span<std::uint32_t const> index) const noexcept;

 private:
  spec spec_;
  read_words read_;
  std::size_t size_;
  std::uint64_t seed_;
  std::vector<std::uint16_t> arena_;
  std::vector<std::uint64_t> offsets_;
};

}  // namespace wayfarer::topic_transformer
