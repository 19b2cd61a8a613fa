// wayfarer model: describes a model, its hooks and its weights.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <set>

#include <wayfarer/error.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/pretrained.hpp>

#include "cli/opened_model.hpp"
#include "cli/planning.hpp"
#include "cli/verbs.hpp"
#include "engine/threads.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"

namespace wayfarer::host {
namespace {

std::string_view name_of(model_family f) {
  return f == model_family::decoder ? "decoder" : f == model_family::encoder ? "encoder" : "encoder-decoder";
}
std::string_view name_of(norm_kind n) {
  return n == norm_kind::none ? "none" : n == norm_kind::layer ? "LayerNorm" : "RMSNorm";
}

/// "[pos, head 12, d_head 64]"; of a pattern "[head 12, query, key]".
std::string shape_of(hook_info const& h, model_info const& info) {
  std::string const pos = h.along == positions::decoder ? "decoder pos" : "pos";
  if (h.per_pair) {
    std::string const key = h.keys == positions::decoder ? "decoder key" : "key";
    return "[head " + std::to_string(info.heads) + ", " + (h.along == positions::decoder ? "decoder query" : "query") + ", " +
           key + "]";
  }
  std::string out = "[" + pos;
  for (auto const& d : h.row) out += ", " + d.name + " " + std::to_string(d.size);
  return out + "]";
}

/// What the checkpoint gives for one name.
struct weight_facts {
  std::string name;
  bool missing = false;
  tensor value;
  std::size_t nan = 0, infinite = 0;
};

/// Elements that are no finite numbers, a row at a time: no copy of the whole.
void count_bad(tensor const& t, weight_facts& f) {
  if (t.rank() > 1) {
    for (std::size_t i = 0; i < t.size(0); ++i) count_bad(t[i], f);
    return;
  }
  if (t.count() == 0) return;
  tensor const wide = t.to(dtype::f32);
  for (float const x : wide.values<float const>()) f.nan += std::isnan(x), f.infinite += std::isinf(x);
}

std::vector<weight_facts> read_weights(model const& m, bool values) {
  std::vector<weight_facts> all;
  for (auto const& name : m.info().weights) {
    weight_facts f{name, false, {}, 0, 0};
    try {
      f.value = m.weight(name);
    } catch (data_error const&) {
      f.missing = true;
    }
    if (values && !f.missing) count_bad(f.value, f);
    all.push_back(std::move(f));
  }
  return all;
}

/// Whether this is the bias of an unembedding that has none: models give zeros for it.
bool made_up(weight_facts const& w) {
  if (w.name != "unembed.b_U") return false;
  tensor const bias = w.value.to(dtype::f32);
  auto const all = bias.values<float const>();
  return std::all_of(all.begin(), all.end(), [](float x) { return x == 0; });
}

/// Numbers that the model has, tied ones once: weights that begin at one address are one.
std::size_t parameters_in(std::vector<weight_facts> const& all) {
  std::set<void const*> seen;
  std::size_t n = 0;
  for (auto const& w : all)
    if (!w.missing && !made_up(w) && seen.insert(w.value.raw()).second) n += w.value.count();
  return n;
}

/// "float32", or "float32, float16" where a checkpoint mixes them.
std::string types_in(std::vector<weight_facts> const& all) {
  std::set<std::string> types;
  for (auto const& w : all)
    if (!w.missing) types.emplace(wayfarer::name_of(w.value.type()));
  std::string out;
  for (auto const& t : types) out += (out.empty() ? "" : ", ") + t;
  return out;
}

/// What `model info` prints.
struct model_facts {
  model_info const& info;
  std::vector<weight_facts> weights;
  std::vector<std::string> remarks;
  tokenizer const* words;  ///< null if there is none
  bool values;             ///< whether every weight was read
};

json_value json_of(model_facts const& f) {
  model_info const& i = f.info;
  auto gone = json_value::array(), spoiled = json_value::array(), scales = json_value::array(), said = json_value::array();
  for (auto const& w : f.weights)
    if (w.missing) gone.push_back(w.name);
  for (auto const& w : f.weights)
    if (w.nan + w.infinite > 0)
      spoiled.push_back(json_value::object({{"name", w.name}, {"nan", w.nan}, {"infinite", w.infinite}}));
  for (double const s : i.attention_scales) scales.push_back(s);
  for (auto const& text : f.remarks) said.push_back(text);
  auto all = json_value::object({{"architecture", i.architecture},
                                 {"family", name_of(i.family)},
                                 {"layers", i.layers},
                                 {"decoder_layers", i.decoder_layers},
                                 {"heads", i.heads},
                                 {"d_model", i.d_model},
                                 {"d_head", i.d_head},
                                 {"d_mlp", i.d_mlp},
                                 {"vocabulary", i.vocabulary},
                                 {"longest", i.longest},
                                 {"norm", name_of(i.norm)},
                                 {"norm_epsilon", i.norm_epsilon},
                                 {"attention_scale", i.attention_scale},
                                 {"hooks", i.hooks.size()},
                                 {"weights", f.weights.size()},
                                 {"parameters", parameters_in(f.weights)},
                                 {"dtype", types_in(f.weights)},
                                 {"missing", std::move(gone)}});
  if (!i.attention_scales.empty()) all.set("attention_scales", std::move(scales));
  all.set("warnings", std::move(said));
  all.set("tokenizer", f.words ? json_value(f.words->kind()) : json_value());
  if (f.values) all.set("not_finite", std::move(spoiled));
  return all;
}

std::vector<std::vector<std::string>> rows_of(model_facts const& f) {
  model_info const& i = f.info;
  auto const read = std::count_if(f.weights.begin(), f.weights.end(), [](weight_facts const& w) { return !w.missing; });
  return {
      {"architecture", i.architecture + ", " + std::string(name_of(i.family))},
      {"layers", std::to_string(i.layers) + (i.decoder_layers ? " + " + std::to_string(i.decoder_layers) : "")},
      {"heads", std::to_string(i.heads) + " of " + std::to_string(i.d_head)},
      {"d_model", std::to_string(i.d_model)},
      {"d_mlp", std::to_string(i.d_mlp)},
      {"vocabulary", format_count(i.vocabulary)},
      {"longest", i.longest == 0 ? "any length" : format_count(i.longest) + " tokens"},
      {"norm", std::string(name_of(i.norm)) + (i.norm == norm_kind::none ? "" : ", epsilon " + format_number(i.norm_epsilon))},
      {"attention scale", format_number(i.attention_scale) + (i.attention_scales.empty()
                                                                  ? ""
                                                                  : " of layer 0 to " + format_number(i.attention_scales.back()) +
                                                                        " of layer " + std::to_string(i.layers - 1))},
      {"hooks", format_count(i.hooks.size())},
      {"parameters", format_count(parameters_in(f.weights)) + " in " + format_count(static_cast<std::size_t>(read)) +
                         " weights, " + types_in(f.weights)},
      {"tokenizer", f.words ? std::string(f.words->kind()) + ", " + format_count(f.words->vocabulary()) + " tokens" : "none"}};
}

void print_page(model_facts const& f) {
  std::cout << format_table({}, rows_of(f));
  for (auto const& text : f.remarks) std::cout << "\nwarning: " << printable(text) << '\n';
  std::vector<std::string> missing;
  std::vector<std::vector<std::string>> bad;
  for (auto const& w : f.weights) {
    if (w.missing) missing.push_back(w.name);
    if (w.nan + w.infinite > 0) bad.push_back({w.name, std::to_string(w.nan), std::to_string(w.infinite)});
  }
  if (!missing.empty()) {
    std::cout << "\nmissing from the checkpoint, so a forward pass is not possible:\n";
    for (auto const& name : missing) std::cout << "  " << printable(name) << '\n';
  }
  if (!bad.empty()) std::cout << "\nweights that are not all finite:\n" << format_table({"weight", "NaN", "infinite"}, bad);
  if (f.values && bad.empty()) std::cout << "\nall weights are finite\n";
}

int show_info(model const& m, bool json, bool values) {
  auto weights = read_weights(m, values);
  auto const* const files = dynamic_cast<pretrained const*>(&m);
  model_facts const f{m.info(), std::move(weights), files ? files->remarks() : std::vector<std::string>(), m.text_tokenizer(),
                      values};
  if (json)
    std::cout << printable_json(json_of(f), 2) << '\n';
  else
    print_page(f);
  return 0;
}

int show_hooks(model const& m, bool json, std::vector<std::string> const& patterns) {
  model_info const& i = m.info();
  hook_set const wanted = i.hooks_for(patterns);
  if (json) {
    auto all = json_value::array();
    for (auto const& name : wanted.names()) {
      hook_info const& h = *i.find_hook(name);
      auto row = json_value::array();
      for (auto const& d : h.row) row.push_back(json_value::object({{"name", d.name}, {"size", d.size}}));
      all.push_back(json_value::object({{"name", h.name},
                                        {"shape", shape_of(h, i)},
                                        {"row", std::move(row)},
                                        {"per_pair", h.per_pair},
                                        {"along", h.along == positions::decoder ? "decoder" : "tokens"},
                                        {"keys", h.keys == positions::decoder ? "decoder" : "tokens"},
                                        {"about", h.about}}));
    }
    std::cout << printable_json(all, 2) << '\n';
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (auto const& name : wanted.names()) {
    hook_info const& h = *i.find_hook(name);
    rows.push_back({h.name, shape_of(h, i), h.about});
  }
  std::cout << format_table({"hook", "shape of an item", "computed"}, rows);
  return 0;
}

int show_weights(model const& m, bool json, std::vector<std::string> const& patterns) {
  for (auto const& p : patterns) {
    bool const any =
        std::any_of(m.info().weights.begin(), m.info().weights.end(), [&](std::string const& w) { return matches(p, w); });
    if (!any)
      throw usage_error(m.info().architecture + " has no weight '" + printable(p) + "'" + did_you_mean(p, m.info().weights));
  }
  auto all = json_value::array();
  std::vector<std::vector<std::string>> rows;
  for (auto const& w : read_weights(m, false)) {
    if (std::none_of(patterns.begin(), patterns.end(), [&](std::string const& p) { return matches(p, w.name); })) continue;
    auto shape = json_value::array();
    for (auto const& d : w.value.shape()) shape.push_back(json_value::object({{"name", d.name}, {"size", d.size}}));
    all.push_back(json_value::object({{"name", w.name},
                                      {"shape", w.missing ? json_value() : std::move(shape)},
                                      {"dtype", w.missing ? json_value() : json_value(wayfarer::name_of(w.value.type()))},
                                      {"missing", w.missing}}));
    rows.push_back({w.name, w.missing ? "missing from the checkpoint" : describe(w.value.shape()),
                    w.missing ? "" : std::string(wayfarer::name_of(w.value.type()))});
  }
  if (json)
    std::cout << printable_json(all, 2) << '\n';
  else
    std::cout << format_table({"weight", "shape", "type"}, rows);
  return 0;
}

/// The kinds of folders that are read, by plugin.
int list_types(bool json) {
  json_value all = json_value::array();
  std::vector<std::vector<std::string>> rows;
  for (auto const& t : readable_types()) {
    all.push_back(json_value::object({{"model_type", t.model_type}, {"plugin", t.plugin}}));
    rows.push_back({std::string(t.model_type), std::string(t.plugin)});
  }
  if (json)
    std::cout << printable_json(all, 2) << '\n';
  else
    std::cout << format_table({"model_type", "plugin"}, rows)
              << "\nmodel_type stands in a folder's config.json: 'model: {model: PLUGIN, path: FOLDER}' reads it\n";
  return 0;
}

}  // namespace

int model_verb(words const& arguments) {
  verb_options o(
      "model info|hooks|weights PLUGIN [NAME]... --path DIR [OPTIONS]\n       wayfarer model list [--json]",
      "Describes a model in a folder: its sizes, its hooks (the places in a forward pass where activations can be\n"
      "read and changed), or its weights by the names that are common to all models. NAME selects some; * matches\n"
      "any text. Runs no forward pass. `list` lists the kinds of Hugging Face folders that this build reads: the model_type of\n"
      "their config.json, and the plugin.",
      {"wayfarer model info gpt2 --path ~/models/gpt2", "wayfarer model hooks gpt2 'blocks.0.*' --path ~/models/gpt2",
       "wayfarer model weights t5 '*.W_Q' --path ~/models/t5-small --json",
       "wayfarer model info gpt2 --path ~/models/gpt2 --values", "wayfarer model list"});
  o.positional("ACTION");
  add_model_options(o);
  o.positional("NAME", -1);
  o.named().add_options()("json", "print JSON")("values", "info: read every weight, and count NaN and infinities");
  if (!o.parse(arguments)) return 0;
  std::string const action = o.required("ACTION");
  std::vector<std::string> const actions{"info", "hooks", "list", "weights"};
  if (std::find(actions.begin(), actions.end(), action) == actions.end())
    throw usage_error("'model' takes info, hooks, weights or list, not '" + printable(action) + "'" +
                      did_you_mean(action, actions));
  if (action == "list") return list_types(o.has("json"));
  auto patterns = o.all("NAME");
  if (action == "info" && !patterns.empty())
    throw usage_error("'model info' takes no names; 'model hooks' and 'model weights' do");
  if (action != "info" && o.has("values")) throw usage_error("--values belongs to 'model info'");
  if (patterns.empty()) patterns.push_back("*");

  registry plugins = open_registry(o);
  std::unique_ptr<model> const m = open_model(o, plugins);
  if (action == "hooks") return show_hooks(*m, o.has("json"), patterns);
  prove_threads(default_threads());
  m->load();
  return action == "info" ? show_info(*m, o.has("json"), o.has("values")) : show_weights(*m, o.has("json"), patterns);
}

}  // namespace wayfarer::host
