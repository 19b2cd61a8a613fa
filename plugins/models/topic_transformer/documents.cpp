#include "documents.hpp"

#include <algorithm>

#include <wayfarer/error.hpp>
#include <wayfarer/masking.hpp>
#include <wayfarer/random.hpp>

namespace wayfarer::topic_transformer {

void encode_words(spec const& s, std::span<std::int32_t const> words, std::vector<std::uint16_t>& ids) {
  ids.clear();
  if (words.size() > 65000)
    throw data_error("a document of " + std::to_string(words.size()) + " words is too long: at most 65000");
  if (s.start_end) ids.push_back(start_id);
  for (std::int32_t const w : words) {
    if (w < 0 || static_cast<std::size_t>(w) >= s.words())
      throw data_error("word " + std::to_string(w) + " is outside the vocabulary of " + std::to_string(s.words()) +
                       " words; set topics and words_per_topic to fit the source");
    ids.push_back(static_cast<std::uint16_t>(w + first_word));
  }
  if (s.start_end) ids.push_back(end_id);
}

void mask_words(spec const& s, std::span<std::int32_t const> words, std::uint64_t seed, std::uint64_t index,
                masked_document& out) {
  encode_words(s, words, out.truth);
  std::size_t const n = out.truth.size(), first = s.start_end ? 1 : 0;
  random_stream draw(seed, "mask", index);
  out.masked.assign(n, 0);
  std::size_t const hidden = draw_mask(draw, s.mask_probability, std::span(out.masked).subspan(first, words.size()));
  out.shown = out.truth;
  for (std::size_t i = 0; i < n; ++i) {
    if (!out.masked[i]) continue;
    double const r = draw.uniform();
    if (r < 1 - s.keep_probability - s.random_probability)
      out.shown[i] = mask_id;
    else if (r < 1 - s.keep_probability)
      out.shown[i] = static_cast<std::uint16_t>(s.replacement == replacement_kind::all_ids
                                                    ? draw.below(static_cast<std::uint32_t>(s.vocabulary()))
                                                    : first_word + draw.below(static_cast<std::uint32_t>(s.words())));
  }
  out.visible.assign(n, 1);
  if (s.masked_keys == key_kind::excluded && hidden < n)
    for (std::size_t i = 0; i < n; ++i) out.visible[i] = !out.masked[i];
}

void count_document(spec const& s, masked_document const& doc, std::vector<std::uint16_t>& out) {
  // Sorting pairs is slower than counting into a table, but needs no memory in proportion to the vocabulary.
  using u16 = std::uint16_t;
  thread_local std::vector<u16> keys;
  thread_local std::vector<std::uint32_t> targets;  // query << 16 | target
  keys.clear(), targets.clear();
  bool const uniform = s.attention == attention_kind::uniform;
  for (std::size_t i = 0; i < doc.shown.size(); ++i) {
    if (doc.visible[i]) keys.push_back(doc.shown[i]);
    if (doc.masked[i]) targets.push_back((uniform ? 0u : std::uint32_t{doc.shown[i]} << 16) | doc.truth[i]);
  }
  std::sort(keys.begin(), keys.end());
  std::sort(targets.begin(), targets.end());

  std::size_t const head = out.size();
  out.resize(head + count_header);
  out[head + 2] = static_cast<u16>(targets.size());
  out[head + 3] = static_cast<u16>(keys.size());
  std::size_t distinct = 0;
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (i == 0 || keys[i] != keys[i - 1]) out.push_back(keys[i]), ++distinct;
  out[head] = static_cast<u16>(distinct);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (i == 0 || keys[i] != keys[i - 1]) out.push_back(0);
    ++out.back();
  }
  std::size_t rows = 0, pairs = 0;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (i == 0 || targets[i] >> 16 != targets[i - 1] >> 16) {
      out.push_back(static_cast<u16>(targets[i] >> 16));
      out.push_back(0);
      out.push_back(0);
      ++rows;
    }
    ++out[out.size() - 2];
    if (i == 0 || targets[i] != targets[i - 1]) ++out.back(), ++pairs;
  }
  out[head + 1] = static_cast<u16>(rows);
  out[head + 4] = static_cast<u16>(pairs);
  for (std::size_t i = 0; i < targets.size();) {
    std::size_t end = i;
    while (end < targets.size() && targets[end] >> 16 == targets[i] >> 16) ++end;
    for (std::size_t k = i; k < end; ++k)
      if (k == i || targets[k] != targets[k - 1]) out.push_back(static_cast<u16>(targets[k]));
    for (std::size_t k = i; k < end; ++k) {
      if (k == i || targets[k] != targets[k - 1]) out.push_back(0);
      ++out.back();
    }
    i = end;
  }
}

document_set::document_set(spec const& s, read_words read, std::size_t size, std::uint64_t seed, std::size_t cache_bytes)
    : spec_(s), read_(std::move(read)), size_(size), seed_(seed) {
  if (size_ == 0) throw data_error("there is no document to train on");
  if (size_ > 0xffffffffu) throw data_error("at most 4294967295 documents can be trained on");
  if (!has_fast_path(s) || size_ * sizeof(std::uint64_t) > cache_bytes) return;
  constexpr std::size_t block = 256;
  std::vector<std::vector<std::int32_t>> words;
  masked_document doc;
  offsets_.reserve(size_);
  for (std::size_t first = 0; first < size_; first += block) {
    words.resize(std::min(block, size_ - first));
    read_(first, words);
    for (std::size_t i = 0; i < words.size(); ++i) {
      offsets_.push_back(arena_.size());
      mask_words(spec_, words[i], seed_, first + i, doc);
      count_document(spec_, doc, arena_);
    }
    // vectors grow by doubling, so what is reserved is what counts
    if (arena_.capacity() * sizeof(std::uint16_t) + size_ * sizeof(std::uint64_t) > cache_bytes) {
      arena_ = {}, offsets_ = {};
      return;
    }
  }
}

void document_set::masked(std::span<std::uint32_t const> index, std::vector<masked_document>& out) const {
  out.resize(index.size());
  std::vector<std::vector<std::int32_t>> words(1);
  for (std::size_t i = 0; i < index.size(); ++i) {
    read_(index[i], words);
    mask_words(spec_, words[0], seed_, index[i], out[i]);
  }
}

void document_set::counts(std::span<std::uint32_t const> index, std::vector<std::uint16_t const*>& out, scratch& room) const {
  out.resize(index.size());
  if (cached()) {
    for (std::size_t i = 0; i < index.size(); ++i) out[i] = arena_.data() + offsets_[index[i]];
    return;
  }
  room.arena.clear();
  room.words.resize(1);
  std::vector<std::size_t> at(index.size());
  for (std::size_t i = 0; i < index.size(); ++i) {
    read_(index[i], room.words);
    mask_words(spec_, room.words[0], seed_, index[i], room.document);
    at[i] = room.arena.size();
    count_document(spec_, room.document, room.arena);
  }
  for (std::size_t i = 0; i < index.size(); ++i) out[i] = room.arena.data() + at[i];
}

void document_set::prefetch(std::span<std::uint32_t const> index) const noexcept {
  if (!cached()) return;
  for (std::uint32_t const i : index) {
    auto const* const from = reinterpret_cast<char const*>(arena_.data() + offsets_[i]);
    for (int line = 0; line < 5; ++line) __builtin_prefetch(from + 64 * line);
  }
}

}  // namespace wayfarer::topic_transformer
