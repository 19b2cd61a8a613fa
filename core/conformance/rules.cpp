#include "conformance/rules.hpp"

#include <algorithm>

#include <wayfarer/error.hpp>

namespace wayfarer::host::conformance {
namespace {

constexpr rule rules[] = {
    // every kind
    {"loads", "the library can be loaded, described, and constructed with its defaults"},
    {"survives", "no input and no parameter ends the process"},
    {"finishes", "every call returns"},
    {"typed_errors", "what is thrown is an error of wayfarer/error.hpp, and plugin_error means that the plugin is at fault"},
    {"prints_nothing", "nothing is written to standard output or standard error"},
    {"repeatable", "the same input gives the same bytes: again, in another instance, in another process, with other threads"},
    {"independent_instances", "instances share no state"},
    {"many_threads", "calls from many threads at once give what they give one after another"},
    {"within_bounds", "nothing outside the arrays that were given is read"},
    {"leaves_input_alone", "what is given to be read is not written to"},
    {"parameter_range", "every value that the schema allows works or is refused with a typed error"},
    {"parameter_is_used", "every declared parameter changes something"},
    {"empty_input", "no items, and items without tokens, do no harm"},
    {"odd_numbers", "NaN, infinities, and the largest and smallest numbers do no harm"},
    {"one_and_longest", "items of one token and items as long as the model takes are handled"},
    {"writes_results", "finish and measure leave at least one dataset, and every field is written"},
    {"states_its_finding", "finish and measure leave a summary: one line that says what was found"},
    {"says_its_view", "every dataset with a dimension says how it wants to be looked at"},
    {"named_dimensions", "datasets have the dimensions that they declare, and can be written to a result file"},
    {"steps_agree", "the datasets and their shapes are the same for every snapshot"},
    // probes
    {"declared_hooks", "only hooks that needs() names are read, and needs() names hooks that the model has"},
    {"split_invariance", "cutting the items into other blocks leaves rows as they are and sums the same to rounding"},
    {"merge_order", "merge is associative, and an accumulator of no items changes nothing"},
    {"shared_values", "a probe measures the same in a sweep as alone, whichever probe made a shared value"},
    // models
    {"stable_info", "info() is the same from construction on, and agrees with itself"},
    {"hooks_fire", "every hook that info() lists can be captured, in the shape that it declares"},
    {"capture_subset", "asking for fewer hooks gives the same numbers"},
    {"batch_composition", "an item's numbers do not depend on the other items of its batch"},
    {"edits_go_downstream", "an edit changes what is computed from it, and nothing before it or in other items"},
    {"edits_keep_the_mask", "nothing that an edit writes lets a position see later ones, where logits are of the next token"},
    {"readable_weights", "every weight that info() lists can be read, and has named dimensions"},
    {"encodes", "encode gives token ids of the vocabulary, one list for each item, cut as asked"},
    {"start_states", "starting from the embeddings of the tokens is starting from the tokens"},
    {"continued_run", "a continued run gives the same as one run over everything"},
    {"logits", "logits are the unembedding of the final norm of the last residual state"},
    {"precision", "float64 is computed where it is asked for, and float32 agrees with it to rounding"},
    {"gradients", "gradients, where a model gives them, are what small edits do"},
    {"attention_decomposition", "attention is what W_Q, W_K, W_V, W_O and the biases say, and the key bias changes nothing"},
    // sources
    {"pure_read", "read is a function of the range alone"},
    {"matches_info", "read gives what info() says"},
};

}  // namespace

std::span<rule const> all_rules() noexcept {
  return rules;
}

std::string documentation_of(std::string_view name) {
  if (std::none_of(std::begin(rules), std::end(rules), [&](rule const& r) { return r.name == name; }))
    throw plugin_error("'" + std::string(name) + "' is not a rule of docs/conformance.md");
  return "docs/conformance.md#" + std::string(name);
}

}  // namespace wayfarer::host::conformance
