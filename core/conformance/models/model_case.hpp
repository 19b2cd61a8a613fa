// What the checks of a model share: the model, a batch that it encoded, and every hook. Each check_* holds the model to one rule
// and throws violation where it breaks it; model_steps lists them. Lives in the child process that checks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/hooks.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/source.hpp>

#include "conformance/steps.hpp"
#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {

/// Rounding that float32 sums may differ by when they are made another way, relative to the largest number.
inline constexpr double model_rounding = 1e-4;

/// Items that the model can encode, and their tokens.
struct model_input {
  std::shared_ptr<source const> items;
  std::string name;
  batch tokens;
};
/// Throws unmet_need if the model encodes neither words nor tokens nor texts.
model_input feed(model const&, std::size_t shortest, std::size_t longest, std::size_t count, std::uint64_t seed);

struct model_case {
  std::shared_ptr<workbench> bench;
  std::shared_ptr<model> subject;  ///< loaded
  std::string info_before;         ///< digest of its info() before it was loaded
  model_input input;
  hook_set every;    ///< hook of the model
  std::string last;  ///< hook of the model; "" if there is none

  model const& m() const { return *subject; }
  batch const& tokens() const { return input.tokens; }
  std::uint64_t seed() const { return bench->seed; }
  bool decodes() const { return subject->info().family == model_family::encoder_decoder; }
};

hook_set all_hooks(model const&);
/// Those that a run from given embeddings reaches: all but those before `hook_embed`, such as a norm of the embedding.
hook_set hooks_behind_embedding(model const&);
/// Of the vectors that a run may start from: those of `hook_embed`, which a model may bring to the width of its states later.
std::size_t embedded_width(model_info const&);
run_request asking(hook_set);
batch items_of(batch const& all, std::vector<std::size_t> const& which);
/// The shape that a hook declares for one item.
dims declared_shape(model_info const&, hook_info const&, batch const&, std::size_t item);
std::string digest_of_run(model const&, batch const&, hook_set const&);
/// Digests of what training leaves: curves, and the logits of the last state.
std::string digest_of_training(trainable_model const&, std::uint64_t seed);

/// Equal bytes, or equal to rounding with a note, or a violation.
class comparison {
 public:
  comparison(char const* rule, std::string how, reporter& out) : rule_(rule), how_(std::move(how)), out_(out) {}
  ~comparison();
  comparison(comparison const&) = delete;
  void operator()(std::string const& what, tensor const& a, tensor const& b);

 private:
  char const* rule_;
  std::string how_;
  reporter& out_;
  double worst_ = 0;
  std::string where_;
};

// stable_info.cpp
void check_info_is_stable(model_case const&, reporter&);
// hooks_fire.cpp
void check_hooks_fire(model_case const&, reporter&);
void check_unknown_hook(model_case const&, reporter&);
void check_capture_subset(model_case const&, reporter&);
// batch_composition.cpp
void check_batch_composition(model_case const&, reporter&);
void check_runs_repeat(model_case const&, reporter&);
void check_runs_on_threads(model_case const&, reporter&);
void check_training_repeats(model_case const&, reporter&);
// edits.cpp
void check_edit_of_nothing(model_case const&, reporter&);
void check_edit_of_one_item(model_case const&, reporter&);
void check_edit_of_embedding(model_case const&, reporter&);
void check_edits_keep_the_mask(model_case const&, reporter&);
// readable_weights.cpp
void check_weights_are_readable(model_case const&, reporter&);
// encodes.cpp
void check_encoding_of_items(model_case const&, reporter&);
void check_encoding_of_texts(model_case const&, reporter&);
// logits.cpp
void check_start_states(model_case const&, reporter&);
void check_logits(model_case const&, reporter&);
void check_gradients(model_case const&, reporter&);
void check_precision(model_case const&, reporter&);
// continued_run.cpp
void check_continued_run(model_case const&, reporter&);
// attention_decomposition.cpp
void check_attention_decomposition(model_case const&, reporter&);
// unusual_batches.cpp
void check_no_items(model_case const&, reporter&);
void check_one_and_longest(model_case const&, reporter&);
void check_odd_numbers(model_case const&, reporter&);

}  // namespace wayfarer::host::conformance
