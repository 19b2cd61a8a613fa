// What a run keeps in a shared store, and finds there: keys that hold all that the bytes depend on and nothing else, so that
// other pipelines find them too; and which input files were read for what was found.
#include <optional>
#include <set>
#include <vector>

#include <wayfarer/digest.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/run_files.hpp>

#include "engine/run.hpp"
#include "text/numbers.hpp"

namespace wayfarer::host {

void run::open_store() {
  auto const tell = [this](std::string const& text) { talk_.note(text); };
  if (!options_.store.empty()) store_ = std::make_unique<shared_store>(options_.store, options_.store_limit, tell);
  if (store_) require_same_files();
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

/// What says in an entry that a file was read: it holds no name of a node and no path.
std::string run::mark_of(std::size_t input, std::size_t node) const {
  possible_input const& one = inputs_[input];
  return sha256_hex("read " + records_[node].key + " " + one.in_key + " " + one.what.sha256).substr(0, 40);
}

/// Plugins have looked at the files before their digests were taken. If a file was there then and is not now, the keys are those
/// of other files.
void run::require_same_files() {
  std::set<std::string> now;
  for (auto const& one : inputs_) now.insert(one.path);
  for (auto const& [path, state] : options_.files_before)
    if (now.count(path) == 0) return store_->stop_writing(path + " has changed since the run began");
}

/// Whether a file is still as it was before anything was read of it. What is made of a changed one must not be kept under the key
/// of the old one.
bool run::is_unchanged(possible_input const& one) const {
  auto const before = options_.files_before.find(one.path);
  return before != options_.files_before.end() && state_of(one.path) == before->second;
}

/// Of an entry that these nodes make.
store_hooks run::hooks_of(std::set<std::size_t> const& nodes) {
  std::map<std::string, std::size_t> marks;  // of inputs_
  std::vector<std::size_t> files;
  for (std::size_t i = 0; i < inputs_.size(); ++i)
    for (std::size_t const n : nodes)
      if (plan_.nodes[n].name == inputs_[i].what.node) marks.emplace(mark_of(i, n), i), files.push_back(i);
  store_hooks hooks;
  hooks.found = [this, marks](std::set<std::string> const& there) {
    std::lock_guard const lock(noted_mutex_);
    for (auto const& [mark, i] : marks)
      if (there.count(mark) != 0) read_for_store_.insert(i);
  };
  hooks.read = [this, marks, files]() -> std::optional<std::set<std::string>> {
    for (std::size_t const i : files)
      if (!is_unchanged(inputs_[i])) {
        store_->stop_writing(inputs_[i].path + " has changed since the run began");
        return std::nullopt;
      }
    std::set<std::string> read;
    std::lock_guard const lock(noted_mutex_);
    for (auto const& [mark, i] : marks)
      if (was_read(inputs_[i].file) || read_for_store_.count(i) != 0) read.insert(mark);
    return read;
  };
  return hooks;
}

/// Gives a pass its entries in the store.
void run::use_store(step_pass& pass, task const& t, step_input const& in) {
  if (!store_) return;
  sweep_plan& p = pass.plan;
  std::string const step = " step " + std::to_string(in.step);
  std::set<std::size_t> const nodes = with_inputs(plan_, t.nodes);
  std::string facts = code_of(nodes) + " blocks" + step, names;
  for (std::size_t const i : t.nodes) {
    facts += " " + records_[i].key;
    names += (names.empty() ? "" : ", ") + plan_.nodes[i].name + " (" + std::string(plan_.nodes[i].what->id()) + ")";
  }
  std::string const of_step = in.name.empty() ? "" : ", " + in.name;
  pass.stored.emplace(store_->open(sha256_hex(facts).substr(0, 40) + ".blocks", names + of_step), p.items, p.block,
                      hooks_of(nodes));
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
      plan_.keeps_activations, hooks_of(both));
  p.outputs = &*pass.outputs;
}

}  // namespace wayfarer::host
