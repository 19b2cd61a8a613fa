// The rules of a model: hooks fire as declared, and an item's numbers depend only on the item, the weights and the edits.
#include <algorithm>

#include <wayfarer/digest.hpp>

#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {
namespace {

/// Enough to see that training works, and little enough to do it once for every value of every parameter.
void train_briefly(workbench& bench) {
  auto const* const updates = bench.subject.find_param("train.updates");
  if (updates && updates->type == param_type::integer && !bench.given.contains("train.updates"))
    bench.base.set("train.updates", param_value(static_cast<std::int64_t>(std::clamp(30.0, updates->minimum, updates->maximum))));
}

std::shared_ptr<model_case const> prepare(std::shared_ptr<workbench> const& bench, reporter& start) {
  bench->find_config([&](config const& c) {
    auto const m = bench->make<model>(c);
    m->load();
    if (m->info().hooks.empty()) return;
    model_input const f = feed(*m, 3, 12, 2, bench->seed);
    m->run(f.tokens, asking(m->info().hooks_for(m->info().hooks.back().name)));
  });
  train_briefly(*bench);
  auto c = std::make_shared<model_case>();
  c->bench = bench;
  c->subject = bench->make<model>();
  c->info_before = digest_of(c->m().info());
  c->subject->load();
  c->input = feed(c->m(), 3, 12, 4, bench->seed);
  auto const& hooks = c->m().info().hooks;
  start.about("input", c->input.name + " of " + std::to_string(c->tokens().tokens[0].size()) + " and more tokens, " +
                           std::to_string(hooks.size()) + " hooks");
  c->every = all_hooks(c->m());
  c->last = hooks.empty() ? "" : hooks.back().name;
  return c;
}

/// What the model does under another configuration.
std::string digest_under(model_case const& on, config const& c) {
  auto const made = on.bench->make<model>(c);
  made->load();
  std::string text = digest_of(made->info());
  item_block const items = on.input.items->read({0, 2});
  text += digest_of_run(*made, made->encode(items, {}), all_hooks(*made));
  if (auto const* learner = dynamic_cast<trainable_model const*>(made.get())) text += digest_of_training(*learner, on.seed());
  return sha256_hex(text);
}

}  // namespace

std::vector<step> model_steps(std::shared_ptr<workbench> bench, reporter& start) {
  auto const on = prepare(bench, start);
  std::vector<step> steps;
  add_steps(steps, on,
            {{"stable_info", "info() before and after loading and running, and in a second instance", check_info_is_stable},
             {"hooks_fire", "capturing every hook", check_hooks_fire},
             {"capture_subset", "each hook alone, and none", check_capture_subset},
             {"batch_composition", "items alone, in another order, and more than once", check_batch_composition},
             {"repeatable", "running twice, in two instances, in another process with one thread", check_runs_repeat, true},
             {"many_threads", "running from four threads at once", check_runs_on_threads},
             {"edits_go_downstream", "an edit that changes nothing, at every hook", check_edit_of_nothing},
             {"edits_go_downstream", "one item's values changed, at every hook", check_edit_of_one_item},
             {"edits_go_downstream", "the embedding of one item changed", check_edit_of_embedding},
             {"edits_keep_the_mask", "scores and patterns set to 0 and to 1, at every hook over pairs and at all of them",
              check_edits_keep_the_mask},
             {"readable_weights", "every weight of info().weights", check_weights_are_readable},
             {"encodes", "items cut to 2 tokens, and no items", check_encoding_of_items}});
  if (on->m().text_tokenizer()) add_steps(steps, on, {{"encodes", "texts to tokens and back", check_encoding_of_texts}});
  add_steps(steps, on,
            {{"start_states", "starting from the embeddings that a run looked up", check_start_states},
             {"logits", "the last position alone, and the final norm and unembedding of the last residual state", check_logits},
             {"continued_run", "continued one token at a time, and in two branches", check_continued_run},
             {"precision", "every hook in float64", check_precision},
             {"gradients", "the loss's gradient by some hooks, beside small edits there", check_gradients},
             {"attention_decomposition", "x + attention through W_QK and W_VO, with the key bias replaced too",
              check_attention_decomposition},
             {"empty_input", "no items, and an item without tokens", check_no_items},
             {"one_and_longest", "one token, the longest context, and more than that", check_one_and_longest},
             {"odd_numbers", "tokens outside the vocabulary, and embeddings of NaN and infinity", check_odd_numbers},
             {"hooks_fire", "a hook that does not exist", check_unknown_hook}});
  if (dynamic_cast<trainable_model const*>(on->subject.get()))
    add_steps(steps, on,
              {{"repeatable", "training twice, and in another process with one thread", check_training_repeats, true}});
  add_parameter_steps(steps, *bench, [on](config const& c) { return digest_under(*on, c); });
  return steps;
}

}  // namespace wayfarer::host::conformance
