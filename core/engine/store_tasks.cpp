// What a run keeps in a shared store, and finds there: keys that hold all that the bytes depend on and nothing else, so that
// other pipelines find them too; and which input files were read for what was found.
#include <optional>
#include <set>
#include <vector>

#include <wayfarer/digest.hpp>
#include <wayfarer/findings.hpp>

#include "engine/run.hpp"
#include "text/numbers.hpp"

namespace wayfarer::host {

void run::open_store() {
  auto const tell = [this](std::string const& text) { talk_.note(text); };
  if (!options_.store.empty()) store_ = std::make_unique<shared_store>(options_.store, options_.store_limit, tell);
  if (store_ && !inputs_->missing_file().empty()) stop_keeping(inputs_->missing_file());
  if (!store_ && plan_.keeps_activations)
    talk_.note("keep: activations keeps nothing without a store; give one with --store DIR");
}

void run::tell_store() const {
  if (!store_) return;
  auto const& n = store_->tally();
  talk_.line("store " + store_->path().string() + ": found " + counted(n.blocks_taken, "block") + " and activations of " +
             counted(n.outputs_taken, "hook") + ", left " + counted(n.blocks_left, "block") + " and activations of " +
             counted(n.outputs_left, "hook") + ", " + format_size(n.bytes_left));
}

std::string run::code_of(std::set<std::size_t> const& nodes) {
  std::lock_guard const lock(codes_mutex_);
  auto const [at, fresh] = codes_.try_emplace(nodes);
  if (fresh) at->second = digest_code(plan_, nodes);
  return at->second;
}

std::string run::code_of_all() {
  std::set<std::size_t> all;
  for (std::size_t i = 0; i < plan_.nodes.size(); ++i) all.insert(i);
  return code_of(all);
}

/// The keys are those of the file as it was before.
void run::stop_keeping(std::string const& changed_file) {
  store_->stop_writing(changed_file + " has changed since the run began");
}

/// Gives a pass its entries in the store.
void run::use_store(step_pass& pass, task const& t, step_input const& in) {
  if (!store_) return;
  sweep_plan& p = pass.plan;
  auto const changed = [this](std::string const& path) { stop_keeping(path); };
  std::string const step = " step " + std::to_string(in.step);
  std::set<std::size_t> const nodes = with_inputs(plan_, t.nodes);
  std::string facts = code_of(nodes) + " blocks" + step, names;
  for (std::size_t const i : t.nodes) {
    facts += " " + records_[i].key;
    names += (names.empty() ? "" : ", ") + plan_.nodes[i].name + " (" + std::string(plan_.nodes[i].what->id()) + ")";
  }
  std::string const of_step = in.name.empty() ? "" : ", " + in.name;
  pass.stored.emplace(store_->open(sha256_hex(facts).substr(0, 40) + ".blocks", names + of_step), p.items, p.block,
                      inputs_->hooks_of(plan_, records_, nodes, changed));
  p.stored = &*pass.stored;
  // What edits do is counted while the model runs.
  if (!in.over || p.edits || captured_by(pass.watching).empty()) return;
  plan_node const& front = plan_.nodes[t.nodes.front()];
  std::size_t const model = wire_of(t.nodes.front(), port_kind::model)->node,
                    source = wire_of(t.nodes.front(), port_kind::source)->node;
  std::set<std::size_t> const both = with_inputs(plan_, {model, source});
  std::string const key = sha256_hex(code_of(both) + " outputs" + step + " " + records_[model].key + " " + records_[source].key +
                                     " " + std::to_string(front.max_tokens) + " " + std::string(name_of(front.precision)));
  pass.outputs.emplace(
      store_->open(key.substr(0, 40) + ".outputs", plan_.nodes[model].name + of_step + " over " + plan_.nodes[source].name),
      plan_.keeps_activations, inputs_->hooks_of(plan_, records_, both, changed));
  p.outputs = &*pass.outputs;
}

}  // namespace wayfarer::host
