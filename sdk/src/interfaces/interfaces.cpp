// The out-of-line parts of the plugin interfaces; their destructors stand here so that each class has one home for its vtable.
#include <algorithm>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/snapshot_state.hpp>
#include <wayfarer/source.hpp>
#include <wayfarer/whole_texts.hpp>

namespace wayfarer {

plugin_base::~plugin_base() = default;
source::~source() = default;
tokenizer::~tokenizer() = default;
pair_tokenizer::~pair_tokenizer() = default;
continued_run::~continued_run() = default;
model::~model() = default;
trainable_model::~trainable_model() = default;
snapshot_state::~snapshot_state() = default;
probe::~probe() = default;
reads_whole_texts::~reads_whole_texts() = default;
metric::~metric() = default;

std::unique_ptr<continued_run> model::begin(batch const&, run_request const&, activations*) const {
  throw usage_error(info().architecture + " can't continue a run: it reads a sequence as a whole; use a model that generates");
}

tensor model::final_norm(tensor const&) const {
  throw usage_error(info().architecture + " has no norm between its last residual state and its logits");
}

tensor model::unembed(tensor const&) const {
  throw usage_error(info().architecture + " has no unembedding");
}

hook_info const* model_info::find_hook(std::string_view name) const noexcept {
  auto const at = std::find_if(hooks.begin(), hooks.end(), [&](hook_info const& h) { return h.name == name; });
  return at == hooks.end() ? nullptr : &*at;
}

namespace {

/// What was meant by a name that no hook has: several names in one, the end of a name alone, or a slip.
std::string hint_for(std::string const& wanted, std::vector<std::string> const& known) {
  if (wanted.find_first_of(", ") != std::string::npos) {
    std::string list;
    for (std::size_t from = 0; from < wanted.size();) {
      std::size_t const to = std::min(wanted.find_first_of(", ", from), wanted.size());
      if (to > from) list += (list.empty() ? "" : ", ") + wanted.substr(from, to - from);
      from = to + 1;
    }
    return "; several are a list: [" + list + "]";
  }
  for (std::string const& before : {std::string("blocks.*."), std::string("blocks.*.attn."), std::string("*.")})
    for (auto const& name : known)
      if (matches(before + wanted, name)) return "; write '" + before + wanted + "' for that of every layer";
  return did_you_mean(wanted, known);
}

}  // namespace

hook_set model_info::hooks_for(std::span<std::string const> patterns) const {
  std::vector<bool> wanted(hooks.size());
  for (auto const& pattern : patterns) {
    bool any = false;
    for (std::size_t i = 0; i < hooks.size(); ++i)
      if (matches(pattern, hooks[i].name)) wanted[i] = any = true;
    if (!any) {
      std::vector<std::string> known;
      for (auto const& h : hooks) known.push_back(h.name);
      throw usage_error(architecture + " has no hook '" + pattern + "'" + hint_for(pattern, known) +
                        "; 'wayfarer model hooks' lists all");
    }
  }
  std::vector<std::string> names;
  for (std::size_t i = 0; i < hooks.size(); ++i)
    if (wanted[i]) names.push_back(hooks[i].name);
  return hook_set(std::move(names));
}

void activations::put(std::string hook, std::vector<tensor> per_item) {
  all_.insert_or_assign(std::move(hook), std::move(per_item));
}

tensor const& activations::at(std::string_view hook, std::size_t item) const {
  auto const found = all_.find(hook);
  if (found == all_.end()) throw plugin_error("hook '" + std::string(hook) + "' was not captured; name it in needs()");
  return found->second.at(item);
}

std::size_t activations::bytes() const noexcept {
  std::size_t n = 0;
  for (auto const& [name, items] : all_)
    for (auto const& t : items) n += t.bytes();
  return n;
}

std::shared_ptr<void> shared_values::find(std::string_view key, std::type_index type,
                                          std::function<std::shared_ptr<void>()> const& make) {
  std::lock_guard const hold(lock_);
  auto& value = all_[{std::string(key), type}];
  if (!value) value = make();
  return value;
}

void probe::announce(shared_values&, probe_context const&) const {}

namespace {

/// The host's values outlive every sample: then a handle that owns nothing.
std::shared_ptr<shared_values> values_of(shared_values* given) {
  return given ? std::shared_ptr<shared_values>(std::shared_ptr<void>(), given) : std::make_shared<shared_values>();
}

}  // namespace

sample::sample(item_block const& items, batch const& tokens, activations const& captured, std::uint64_t seed,
               run_request const* request, shared_values* of_block, shared_values* of_sweep)
    : items_(&items),
      tokens_(&tokens),
      captured_(&captured),
      seed_(seed),
      request_(request),
      of_block_(values_of(of_block)),
      of_sweep_(values_of(of_sweep)) {}

run_request sample::request(std::vector<std::size_t> rows) const {
  run_request out;
  if (request_ == nullptr) return out;
  out.precision = request_->precision;
  for (auto const& e : request_->edits)
    out.edits.push_back({e.hook, [change = e.change, rows](edit_site const& site, tensor const& x) {
                           change({rows.at(site.item), site.first_position}, x);
                         }});
  return out;
}

model const& probe_context::model() const {
  if (!model_) throw plugin_error("this probe declares no model port, or the pipeline leaves it open");
  return *model_;
}

source const& probe_context::data() const {
  if (!source_) throw plugin_error("this probe declares no source port, or the pipeline leaves it open");
  return *source_;
}

metric_input const& probe_context::inputs() const {
  if (!inputs_) throw plugin_error("this probe declares no results port, or asks before anything has run");
  return *inputs_;
}

void metric_input::put(std::string port, std::string name, results const* node, dataset const* one) {
  all_.insert_or_assign(std::move(port), wire{std::move(name), node, one});
}

dataset const& metric_input::at(std::string_view port, std::string_view name) const {
  auto const found = all_.find(port);
  if (found == all_.end()) throw plugin_error("nothing is wired to the port '" + std::string(port) + "'");
  wire const& w = found->second;
  if (w.one) return *w.one;
  if (name.empty())
    throw usage_error("'" + std::string(port) + "' must name one dataset, such as " + w.name + "/" +
                      (w.node->names().empty() ? std::string("NAME") : w.node->names().front()));
  if (auto const* d = w.node->find(name)) return *d;
  throw usage_error("'" + w.name + "' has no dataset '" + std::string(name) + "'" + did_you_mean(name, w.node->names()));
}

}  // namespace wayfarer
