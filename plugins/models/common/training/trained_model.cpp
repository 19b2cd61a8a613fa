#include "trained_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>

namespace wayfarer::language_training {
namespace {

std::string digits(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", x);
  return text;
}

tensor column(auto const& x, char const* name) {
  return tensor::of(x, {{name, x.size()}});
}

/// The losses on held-out text, and what the node's summary says of them.
std::string report_held_out(results& out, training_curves const& curves, token_stream const* held_out) {
  if (curves.held_out_at.empty()) return "";
  auto const at = column(curves.held_out_at, "held_out_update");
  out.add("held_out_loss", column(curves.held_out_losses, "held_out_update"))
      .coordinate("held_out_update", at)
      .view("curve")
      .units("nat")
      .about("loss per token on held-out text, in windows that lie end to end and each begin without context");
  out.add("final_held_out_loss", curves.held_out_losses.back()).units("nat").about("per token, of the trained model");
  std::string line = ", held-out " + digits(curves.held_out_losses.back());
  if (!held_out || held_out->characters == 0) return line;
  double const each = static_cast<double>(held_out->tokens.size()) / static_cast<double>(held_out->characters);
  auto per_character = curves.held_out_losses;
  for (auto& x : per_character) x *= each;
  out.add("held_out_loss_per_character", column(per_character, "held_out_update"))
      .coordinate("held_out_update", at)
      .view("curve")
      .units("nat")
      .about("held_out_loss times the held-out text's tokens per character");
  out.add("final_held_out_loss_per_character", per_character.back()).units("nat").about("of the trained model");
  return line + " (" + digits(per_character.back()) + " a character)";
}

void report(results& out, training_plan const& plan, training_curves const& curves, token_stream const& data,
            token_stream const* held_out, std::vector<parameter> const& parameters) {
  std::size_t count = 0;
  for (auto const& p : parameters) count += p.count;
  out.add("parameters", static_cast<double>(count)).about("numbers that were learned");
  out.add("tokens", static_cast<double>(data.tokens.size())).about("tokens of the text to learn from");
  out.add("tokens_seen", static_cast<double>(plan.updates * plan.batch * plan.context))
      .about("tokens of all batches: updates times windows times context");
  std::string line = std::to_string(plan.updates) + " updates of " + std::to_string(count) + " parameters";
  if (!curves.logged.empty()) {
    auto const curve = [&](char const* name, std::vector<double> const& values) -> dataset& {
      return out.add(name, column(values, "update")).coordinate("update", column(curves.logged, "update")).view("curve");
    };
    curve("loss", curves.losses).units("nat").about("training loss per token, mean over the updates since the last entry");
    curve("learning_rate", curves.rates).about("of that update");
    curve("gradient_norm", curves.norms).about("norm of the whole gradient at that update, before clipping");
    line += ", loss " + digits(curves.losses.back());
  }
  line += report_held_out(out, curves, held_out);
  out.summarise(line);
}

}  // namespace

vocabulary::vocabulary(std::string const& plugin, std::string const& folder, std::size_t wanted) {
  if (folder.empty()) {
    size = wanted ? wanted : 256;
    if (size >= 256) words = &byte_tokenizer();
    return;
  }
  opened = open_tokenizer(folder);
  if (!opened)
    throw data_error(folder + ": there is no tokenizer in this folder; it needs vocab.json and merges.txt, or tokenizer.json");
  words = opened.get();
  size = words->vocabulary();
  if (wanted && wanted < size)
    throw usage_error(plugin + ": a vocabulary of " + std::to_string(wanted) + " is too small for the tokenizer's " +
                      std::to_string(size) + " tokens; leave `vocabulary` out");
  size = std::max(size, wanted);
}

std::optional<item_block> words_as_tokens(item_block const& items) {
  if (items.words.empty() || !items.tokens.empty() || !items.texts.empty()) return {};
  item_block out;
  out.first = items.first, out.count = items.count, out.tokens = items.words;
  return out;
}

trained_model::trained_model(config const& c, recipe r)
    : recipe_(std::move(r)),
      save_{c["train.save"].text(), c["train.overwrite"]},
      save_as_(c["train.save_as"].text() == "f32" ? dtype::f32 : dtype::f16),
      exact_(c["train.precision"].text() == "f64"),
      ends_(c["train.ends"]),
      now_(recipe_.make()) {
  // Weights, gradient and two moments, before anything is asked of memory.
  double count = 0;
  for (auto const& p : recipe_.parameters) count += static_cast<double>(p.count);
  if (count > 4e9)
    throw usage_error(recipe_.plugin + ": a model of " + digits(count / 1e9) +
                      " billion parameters is too large to be trained here");
  read_plan(c);
  read_snapshots(c);
  if (!save_.folder.empty()) check_save_place(save_, recipe_.words->words);
  if (!plan_.state.empty()) check_state_folder(plan_.state, plan_.snapshots);
}

void trained_model::read_plan(config const& c) {
  auto& p = plan_;
  p.seed = c.seed();
  p.updates = c["train.updates"], p.batch = c["train.batch"], p.context = recipe_.positions;
  p.rate.peak = c["train.learning_rate"];
  p.rate.least = p.rate.peak * c["train.final_rate"].real();
  p.rate.warm_up = std::min<std::size_t>(c["train.warm_up"], p.updates), p.rate.steps = p.updates;
  p.adam = {c["train.beta1"], c["train.beta2"], c["train.epsilon"], c["train.weight_decay"]};
  p.clip = c["train.clip"];
  p.log_every = c["train.log_every"], p.held_out_every = c["train.held_out_every"];
  p.held_out_windows = c["train.held_out_windows"];
  p.state = c["train.state"].text(), p.state_every = c["train.state_every"];
  for (double const x : {p.rate.peak, p.rate.least, p.clip, p.adam.decay, p.adam.epsilon})
    if (!std::isfinite(x)) throw usage_error(recipe_.plugin + ": learning rate, decay, epsilon and clip must be finite");
}

void trained_model::read_snapshots(config const& c) {
  auto& p = plan_;
  auto const& snapshots = c["train.snapshots"].integers();
  std::vector<parameter_problem> wrong;
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    auto const at = snapshots[i];
    if (at < 0)
      wrong.push_back({"train.snapshots", i, recipe_.plugin + ": train.snapshots are numbers of updates done, 0 or more"});
    else if (static_cast<std::size_t>(at) > p.updates)
      wrong.push_back({"train.snapshots", i,
                       recipe_.plugin + ": train.snapshots names update " + std::to_string(at) +
                           ", but the last one is train.updates, " + std::to_string(p.updates)});
    p.snapshots.push_back(static_cast<std::size_t>(at));
  }
  if (!wrong.empty()) throw parameter_error(std::move(wrong));
  std::sort(p.snapshots.begin(), p.snapshots.end());
  p.snapshots.erase(std::unique(p.snapshots.begin(), p.snapshots.end()), p.snapshots.end());
}

template <class T>
net<T> trained_model::learner() const {
  net<T> one(recipe_.parameters, [this](std::map<std::string, tensor> const& weights) {
    auto const made = recipe_.make();
    made->watch(weights);
    return std::shared_ptr<differentiable_model const>(made, &made->as_differentiable());
  });
  one.start(plan_.seed, recipe_.start_stream);
  return one;
}

void trained_model::load() {
  now_->take(learner<float>().copy());
}

std::optional<std::int32_t> trained_model::between() const {
  return ends_ && recipe_.words->words ? recipe_.words->words->special().eos : std::nullopt;
}

token_stream trained_model::read(source const& from, std::string const& port, std::size_t enough) const {
  return read_stream(from, recipe_.words->words, recipe_.words->size, between(), port, enough);
}

void trained_model::check_plan(probe_context const& at) const {
  require_window(read(at.data(), "train.source", plan_.context + 1), plan_.context);
}

void trained_model::train(training const& t) const {
  if (exact_)
    train_as<double>(t);
  else
    train_as<float>(t);
}

named_tensors trained_model::tensors_of(model const& snapshot) const {
  return dynamic_cast<state const&>(snapshot).given;
}

std::shared_ptr<model const> trained_model::snapshot_of(named_tensors const& tensors) const {
  auto const one = recipe_.make();
  one->take(tensors);
  return {one, &one->as_model()};
}

/// Names all that determines the numbers of a training.
std::string trained_model::key_of(token_stream const& data, token_stream const* held_out) const {
  auto const& p = plan_;
  std::string text = (exact_ ? "f64" : "f32") + recipe_.shape_key;
  auto const whole = [&](std::uint64_t v) { text += " " + std::to_string(v); };
  auto const real = [&](double v) {
    char exact[40];
    std::snprintf(exact, sizeof exact, " %a", v);
    text += exact;
  };
  whole(p.seed);
  for (auto const v : {p.updates, p.batch, p.rate.warm_up, p.log_every, p.held_out_every, p.held_out_windows}) whole(v);
  for (double const v : {p.rate.peak, p.rate.least, p.adam.beta1, p.adam.beta2, p.adam.epsilon, p.adam.decay, p.clip}) real(v);
  for (auto const v : p.snapshots) whole(v);
  text += " " + data.digest() + " " + (held_out ? held_out->digest() : "none");
  return sha256_hex(text);
}

template <class T>
void trained_model::train_as(training const& t) const {
  auto const data = read(t.data, "train.source");
  require_window(data, plan_.context);
  std::optional<token_stream> held_out;
  if (t.held_out) held_out = read(*t.held_out, "train.held_out");
  token_stream const* const rest = held_out ? &*held_out : nullptr;
  training_plan plan = plan_;
  plan.key = key_of(data, rest);
  std::erase_if(plan.snapshots, [&](std::size_t at) { return at >= plan.updates; });  // the last comes anyway

  auto const keep = [&](std::size_t at, named_tensors const& weights) { t.keep({at, snapshot_of(weights)}); };
  training_observer<T> tell;
  tell.snapshot = keep;
  tell.warn = [&](std::string const& what) { t.report.warn(what); };
  tell.progress = [&](std::size_t update, training_curves const& curves) {
    std::string note;
    if (!curves.losses.empty()) note = "loss " + digits(curves.losses.back());
    if (!curves.held_out_losses.empty())
      note += (note.empty() ? "held-out " : ", held-out ") + digits(curves.held_out_losses.back());
    t.report.at(update, plan.updates, note);
  };
  net<T> one = learner<T>();
  auto const curves = language_training::train(one, plan, data, rest, tell);
  auto const trained = one.copy();
  keep(plan.updates, trained);
  if (!save_.folder.empty()) {
    named_tensors stored;
    for (auto const& [name, weight] : trained) stored.emplace_back(recipe_.stored_name(name), weight);
    write_checkpoint(save_, recipe_.config, stored, recipe_.words->words, save_as_);
  }
  report(t.out, plan, curves, data, rest, one.parameters());
}

}  // namespace wayfarer::language_training
