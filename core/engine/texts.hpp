// Messages of a run and of `check` about the texts that they read: how many were cut or are empty, and notes of sources and
// tokenizers.
//
// Called by the engine while it measures items, from any thread, and by `check` on the main thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/model.hpp>
#include <wayfarer/source.hpp>

#include "engine/instances.hpp"
#include "pipeline/plan.hpp"

namespace wayfarer::host {

/// Counts the cut and empty items of a pass. Several threads count.
class text_counts {
 public:
  /// `most`: how many tokens the model reads; 0: nothing counts as cut.
  explicit text_counts(std::size_t most) noexcept : most_(most) {}
  void add(item_block const&, batch const&) noexcept;
  /// An item of `length` tokens.
  void add_length(std::size_t length) noexcept;
  void add_text(std::string_view text) noexcept;
  /// The counts as numbers, to be kept and added to others'.
  std::vector<std::int64_t> numbers() const;
  void add(std::span<std::int64_t const> numbers) noexcept;
  static constexpr std::size_t count_of_numbers = 5;
  /// One message each for what was cut and what is empty; none if nothing was. `model` and `among` are put into them: "m (gpt2)",
  /// "of the first 1,000 items".
  std::vector<std::string> messages(std::string const& model, std::string const& among) const;

 private:
  std::size_t most_;
  std::atomic<std::size_t> items_{0}, texts_{0}, cut_{0}, longest_{0}, empty_{0};
};

/// The tokens that a model reads, if `max_tokens` does not cut before.
std::size_t most_tokens(model_info const&, std::size_t max_tokens) noexcept;
/// Whether a probe ignores the part of a text beyond the model's limit.
bool loses_cut_text(probe const&, hook_set const&) noexcept;
/// A tokenizer's notes; none if there is no tokenizer.
std::vector<std::string> notes_of(tokenizer const*);

/// Messages that need no weights: notes of sources, and for each pass over texts or tokens the counts of its first
/// items, as the model reads them, and what edits come to. Each once. Items that the model refuses are added to the problems,
/// and positions that none of the items has.
std::vector<file_remark> remarks_of(plan const&, std::vector<instance> const&, std::vector<problem>&);

}  // namespace wayfarer::host
