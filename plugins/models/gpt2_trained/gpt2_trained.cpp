// GPT-2 trained from scratch on a source of texts or tokens, by AdamW with warm-up and cosine decay.
//
//     learner: {model: gpt2_trained, tokenizer: folder, layers: 4, d_model: 128, train: {source: plays, held_out: rest, save:
//     out}}
//
// A plugin separate from gpt2: it needs no checkpoint, and a node that reads one has none of these parameters. Both share the
// forward pass (models/common); snapshots are models like those of gpt2. Without train.source it is a GPT-2 with random
// weights: the control for training. This file is the plugin's interface; corpus, net, trainer and checkpoint are the rest.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/snapshot_state.hpp>

#include "checkpoint.hpp"
#include "corpus.hpp"
#include "models/common/gpt2_model.hpp"
#include "net.hpp"
#include "trainer.hpp"

namespace wf = wayfarer;
namespace gt = wayfarer::gpt2_training;

namespace {

std::string digits(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", x);
  return text;
}

/// What several nodes and all snapshots share.
struct vocabulary {
  std::shared_ptr<wf::tokenizer const> opened;
  wf::tokenizer const* words = nullptr;
  std::size_t size = 0;
  vocabulary(std::string const& folder, std::size_t wish) {
    if (!folder.empty()) {
      opened = wf::open_tokenizer(folder);
      if (!opened)
        throw wf::data_error(folder +
                             ": there is no tokenizer in this folder; it needs vocab.json and merges.txt, or tokenizer.json");
      words = opened.get();
      size = words->vocabulary();
      if (wish && wish < size)
        throw wf::usage_error("gpt2_trained: a vocabulary of " + std::to_string(wish) + " is too small for the tokenizer's " +
                              std::to_string(size) + " tokens; leave `vocabulary` out");
      size = std::max(size, wish);
      return;
    }
    size = wish ? wish : 256;
    if (size >= 256) words = &gt::byte_tokenizer();
  }
};

gt::net_shape read_shape(wf::config const& c, std::size_t vocabulary) {
  gt::net_shape s;
  s.layers = c["layers"], s.heads = c["heads"], s.d_model = c["d_model"], s.d_mlp = c["d_mlp"], s.positions = c["context"];
  s.vocabulary = vocabulary, s.tied = c["tied"];
  s.act = c["gelu"].text() == "erf" ? wf::activation::gelu_erf : wf::activation::gelu_tanh;
  if (s.d_mlp == 0) s.d_mlp = 4 * s.d_model;
  if (s.d_model % s.heads != 0)
    throw wf::usage_error("gpt2_trained: " + std::to_string(s.heads) + " heads do not divide d_model " +
                          std::to_string(s.d_model));
  // Weights, gradient and two moments, before anything is asked of memory.
  auto const wide = [](std::size_t n) { return static_cast<double>(n); };
  double const block = 4 * wide(s.d_model) * wide(s.d_model) + 2 * wide(s.d_model) * wide(s.d_mlp);
  double const all = wide(s.layers) * block + wide(s.d_model) * (2 * wide(s.vocabulary) + wide(s.positions));
  if (all > 4e9)
    throw wf::usage_error("gpt2_trained: a model of " + digits(all / 1e9) +
                          " billion parameters is too large to be trained here");
  return s;
}

/// A state of the model: GPT-2 on tensors in memory. Sources of word numbers are read too, word for token, as training does.
struct state final : wf::gpt2_model {
  state(gt::net_shape const& s, std::shared_ptr<vocabulary const> const& words)
      : gpt2_model(gt::shape_of(s), s.act, s.act == wf::activation::gelu_erf ? "gelu" : "gelu_new",
                   [words] { return words->words; }) {}
  wf::batch encode(wf::item_block const& items, wf::encode_options const& options) const override {
    if (items.words.empty() || !items.tokens.empty() || !items.texts.empty()) return gpt2_model::encode(items, options);
    wf::item_block as_tokens;
    as_tokens.first = items.first, as_tokens.count = items.count, as_tokens.tokens = items.words;
    return gpt2_model::encode(as_tokens, options);
  }
  void take(std::vector<std::pair<std::string, wf::tensor>> weights) {
    given = std::move(weights);
    gpt2_model::take("gpt2_trained", std::map<std::string, wf::tensor>(given.begin(), given.end()));
  }
  std::vector<std::pair<std::string, wf::tensor>> given;  ///< handles on the weights, as they came
};

struct gpt2_trained final : wf::trainable_model, wf::plan_checker, wf::snapshot_state, wf::differentiable_model {
  explicit gpt2_trained(wf::config const& c)
      : words_(std::make_shared<vocabulary>(c["tokenizer"].text(), c["vocabulary"])),
        shape_(read_shape(c, words_->size)),
        save_{c["train.save"].text(), c["train.overwrite"]},
        save_as_(c["train.save_as"].text() == "f32" ? wf::dtype::f32 : wf::dtype::f16),
        exact_(c["train.precision"].text() == "f64"),
        ends_(c["train.ends"]),
        now_(shape_, words_) {
    auto& p = plan_;
    p.seed = c.seed();
    p.updates = c["train.updates"], p.batch = c["train.batch"], p.context = shape_.positions;
    p.rate.peak = c["train.learning_rate"];
    p.rate.least = p.rate.peak * c["train.final_rate"].real();
    p.rate.warm_up = std::min<std::size_t>(c["train.warm_up"], p.updates), p.rate.steps = p.updates;
    p.adam = {c["train.beta1"], c["train.beta2"], c["train.epsilon"], c["train.weight_decay"]};
    p.clip = c["train.clip"];
    p.log_every = c["train.log_every"], p.held_out_every = c["train.held_out_every"];
    p.held_out_windows = c["train.held_out_windows"];
    p.state = c["train.state"].text(), p.state_every = c["train.state_every"];
    auto const& snapshots = c["train.snapshots"].integers();
    std::vector<wf::parameter_problem> wrong;
    for (std::size_t i = 0; i < snapshots.size(); ++i) {
      auto const at = snapshots[i];
      if (at < 0)
        wrong.push_back({"train.snapshots", i, "gpt2_trained: train.snapshots are numbers of updates done, 0 or more"});
      else if (static_cast<std::size_t>(at) > p.updates)
        wrong.push_back({"train.snapshots", i,
                         "gpt2_trained: train.snapshots names update " + std::to_string(at) +
                             ", but the last one is train.updates, " + std::to_string(p.updates)});
      p.snapshots.push_back(static_cast<std::size_t>(at));
    }
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
    std::sort(p.snapshots.begin(), p.snapshots.end());
    p.snapshots.erase(std::unique(p.snapshots.begin(), p.snapshots.end()), p.snapshots.end());
    if (!save_.folder.empty()) gt::check_save_place(save_, words_->words);
    if (!p.state.empty()) gt::check_state_folder(p.state, p.snapshots);
    for (double const x : {p.rate.peak, p.rate.least, p.clip, p.adam.decay, p.adam.epsilon})
      if (!std::isfinite(x)) throw wf::usage_error("gpt2_trained: learning rate, decay, epsilon and clip must be finite");
  }

  wf::model_info const& info() const override { return now_.info(); }
  wf::tokenizer const* text_tokenizer() const override { return words_->words; }
  void load() override {
    gt::net<float> learner(shape_);
    learner.start(plan_.seed);
    now_.take(learner.copy());
  }
  wf::batch encode(wf::item_block const& items, wf::encode_options const& options) const override {
    return now_.encode(items, options);
  }
  std::string token_text(std::int32_t token) const override { return now_.token_text(token); }
  wf::activations run(wf::batch const& items, wf::run_request const& request) const override { return now_.run(items, request); }
  std::unique_ptr<wf::continued_run> begin(wf::batch const& items, wf::run_request const& request,
                                           wf::activations* captured) const override {
    return now_.begin(items, request, captured);
  }
  wf::tensor weight(std::string_view name) const override { return now_.weight(name); }
  wf::tensor final_norm(wf::tensor const& x) const override { return now_.final_norm(x); }
  wf::tensor unembed(wf::tensor const& x) const override { return now_.unembed(x); }
  wf::gradients differentiate(wf::batch const& items, wf::gradient_request const& request) const override {
    return now_.differentiate(items, request);
  }

  /// Whether there is a window to learn from; the first items tell.
  void check_plan(wf::probe_context const& at) const override {
    auto const* const words = words_->words;
    auto const between = ends_ && words ? words->special().eos : std::nullopt;
    gt::require_window(gt::read_stream(at.data(), words, shape_.vocabulary, between, "train.source", plan_.context + 1),
                       plan_.context);
  }

  void train(wf::training const& t) const override {
    if (exact_)
      train_as<double>(t);
    else
      train_as<float>(t);
  }

  std::vector<std::pair<std::string, wf::tensor>> tensors_of(wf::model const& snapshot) const override {
    return dynamic_cast<state const&>(snapshot).given;
  }
  std::shared_ptr<wf::model const> snapshot_of(std::vector<std::pair<std::string, wf::tensor>> const& tensors) const override {
    auto one = std::make_shared<state>(shape_, words_);
    one->take(tensors);
    return one;
  }

 private:
  /// Names all that determines the numbers of a training.
  std::string key_of(gt::token_stream const& data, gt::token_stream const* held_out) const {
    auto const& p = plan_;
    std::string text = exact_ ? "f64" : "f32";
    auto const whole = [&](std::uint64_t v) { text += " " + std::to_string(v); };
    auto const real = [&](double v) {
      char exact[40];
      std::snprintf(exact, sizeof exact, " %a", v);
      text += exact;
    };
    for (auto const v : {shape_.layers, shape_.heads, shape_.d_model, shape_.d_mlp, shape_.vocabulary, shape_.positions,
                         std::size_t{shape_.tied}, static_cast<std::size_t>(shape_.act)})
      whole(v);
    whole(p.seed);
    for (auto const v : {p.updates, p.batch, p.rate.warm_up, p.log_every, p.held_out_every, p.held_out_windows}) whole(v);
    for (double const v : {p.rate.peak, p.rate.least, p.adam.beta1, p.adam.beta2, p.adam.epsilon, p.adam.decay, p.clip}) real(v);
    for (auto const v : p.snapshots) whole(v);
    text += " " + data.digest() + " " + (held_out ? held_out->digest() : "none");
    return wf::sha256_hex(text);
  }

  template <class T>
  void train_as(wf::training const& t) const {
    auto const* const words = words_->words;
    auto const between = ends_ && words ? words->special().eos : std::nullopt;
    auto const data = gt::read_stream(t.data, words, shape_.vocabulary, between, "train.source");
    gt::require_window(data, plan_.context);
    std::optional<gt::token_stream> held_out;
    if (t.held_out) held_out = gt::read_stream(*t.held_out, words, shape_.vocabulary, between, "train.held_out");
    gt::training_plan plan = plan_;
    plan.key = key_of(data, held_out ? &*held_out : nullptr);
    std::erase_if(plan.snapshots, [&](std::size_t at) { return at >= plan.updates; });  // the last comes anyway

    auto const keep = [&](std::size_t at, std::vector<std::pair<std::string, wf::tensor>> const& weights) {
      auto one = std::make_shared<state>(shape_, words_);
      one->take(weights);
      t.keep({at, std::move(one)});
    };
    gt::training_observer<T> tell;
    tell.snapshot = keep;
    tell.warn = [&](std::string const& what) { t.report.warn(what); };
    tell.progress = [&](std::size_t update, gt::training_curves const& curves) {
      std::string note;
      if (!curves.losses.empty()) note = "loss " + digits(curves.losses.back());
      if (!curves.held_out_losses.empty())
        note += (note.empty() ? "held-out " : ", held-out ") + digits(curves.held_out_losses.back());
      t.report.at(update, plan.updates, note);
    };
    gt::net<T> learner(shape_);
    learner.start(plan.seed);
    auto const curves = gt::train(learner, plan, data, held_out ? &*held_out : nullptr, tell);
    auto const trained = learner.copy();
    keep(plan.updates, trained);
    if (!save_.folder.empty()) gt::write_checkpoint(save_, shape_, trained, words, save_as_);
    report(t.out, plan, curves, data, held_out ? &*held_out : nullptr, learner.parameters());
  }

  static void report(wf::results& out, gt::training_plan const& plan, gt::training_curves const& curves,
                     gt::token_stream const& data, gt::token_stream const* held_out,
                     std::vector<gt::parameter> const& parameters) {
    auto const column = [](auto const& x, char const* name) { return wf::tensor::of(x, {{name, x.size()}}); };
    std::size_t count = 0;
    for (auto const& p : parameters) count += p.count;
    out.add("parameters", static_cast<double>(count)).about("numbers that were learned");
    out.add("tokens", static_cast<double>(data.tokens.size())).about("tokens of the text to learn from");
    out.add("tokens_seen", static_cast<double>(plan.updates * plan.batch * plan.context))
        .about("tokens of all batches: updates times windows times context");
    std::string line = std::to_string(plan.updates) + " updates of " + std::to_string(count) + " parameters";
    if (!curves.logged.empty()) {
      auto const curve = [&](char const* name, std::vector<double> const& values) -> wf::dataset& {
        return out.add(name, column(values, "update")).coordinate("update", column(curves.logged, "update")).view("curve");
      };
      curve("loss", curves.losses).units("nat").about("training loss per token, mean over the updates since the last entry");
      curve("learning_rate", curves.rates).about("of that update");
      curve("gradient_norm", curves.norms).about("norm of the whole gradient at that update, before clipping");
      line += ", loss " + digits(curves.losses.back());
    }
    if (!curves.held_out_at.empty()) {
      auto const at = column(curves.held_out_at, "held_out_update");
      out.add("held_out_loss", column(curves.held_out_losses, "held_out_update"))
          .coordinate("held_out_update", at)
          .view("curve")
          .units("nat")
          .about("loss per token on held-out text, in windows that lie end to end and each begin without context");
      out.add("final_held_out_loss", curves.held_out_losses.back()).units("nat").about("per token, of the trained model");
      line += ", held-out " + digits(curves.held_out_losses.back());
      if (held_out && held_out->characters > 0) {
        double const each = static_cast<double>(held_out->tokens.size()) / static_cast<double>(held_out->characters);
        auto per_character = curves.held_out_losses;
        for (auto& x : per_character) x *= each;
        out.add("held_out_loss_per_character", column(per_character, "held_out_update"))
            .coordinate("held_out_update", at)
            .view("curve")
            .units("nat")
            .about("held_out_loss times the held-out text's tokens per character");
        out.add("final_held_out_loss_per_character", per_character.back()).units("nat").about("of the trained model");
        line += " (" + digits(per_character.back()) + " a character)";
      }
    }
    out.summarise(line);
  }

  std::shared_ptr<vocabulary const> words_;
  gt::net_shape shape_;
  gt::save_place save_;
  wf::dtype save_as_;
  bool exact_, ends_;
  gt::training_plan plan_;
  state now_;
};

}  // namespace

WAYFARER_MODEL(
    gpt2_trained, "1.0.0", "GPT-2 trained from scratch, or untrained; snapshots, checkpoints in Hugging Face's layout",
    wf::port::source("train.source", "texts, tokens or words to learn from; without it the model keeps its random start")
        .optional(),
    wf::port::source("train.held_out", "the same for the held-out loss").optional(),
    wf::param::file("tokenizer", "", "folder with the tokenizer's files; none: every byte is a token"),
    wf::param("vocabulary", 0, "tokens of the embedding; 0: as many as the tokenizer has").between(0, 4'000'000).in("token"),
    wf::param("layers", 2, "blocks").between(1, 1024), wf::param("heads", 2, "attention heads a block").between(1, 4096),
    wf::param("d_model", 32, "width of the residual stream").between(1, 65'536),
    wf::param("d_mlp", 0, "width of the MLPs; 0: 4 d_model").between(0, 1'048'576),
    wf::param("context", 32, "positions, and length of the windows that are learned from").between(1, 1'048'576).in("token"),
    wf::param("tied", true, "the unembedding is the embedding's transpose"),
    wf::param("gelu", "tanh", "the MLPs' activation function, in its tanh or erf form").one_of("tanh|erf"),
    wf::param("train.updates", 200, "steps of the optimiser").between(1, 100'000'000),
    wf::param("train.batch", 8, "windows a step").between(1, 65'536).in("window"),
    wf::param("train.learning_rate", 1e-3, "at its highest").at_least(0),
    wf::param("train.warm_up", 20, "updates over which the rate rises from 0").at_least(0).in("update"),
    wf::param("train.final_rate", 0.1, "the rate at the end of its half cosine, as a part of the highest").between(0, 1),
    wf::param("train.beta1", 0.9, "AdamW's first moment").between(0, 0.999999),
    wf::param("train.beta2", 0.99, "AdamW's second moment").between(0, 0.999999999),
    wf::param("train.epsilon", 1e-8, "AdamW's epsilon").between(1e-30, 1),
    wf::param("train.weight_decay", 0.1, "decoupled, of matrices and tables; norms and biases have none").at_least(0),
    wf::param("train.clip", 1.0, "largest norm of the whole gradient; 0: any").at_least(0),
    wf::param("train.ends", true, "the tokenizer's end of text, if it has one, follows every item of the source"),
    wf::param("train.precision", "f32", "of the arithmetic while training").one_of("f32|f64"),
    wf::param("train.snapshots", wf::integers(""),
              "numbers of updates after which to keep a snapshot; 0 is the start; the last is always kept"),
    wf::param("train.log_every", 20, "loss after updates 1, every so many, and the last; 0: never").at_least(0).in("update"),
    wf::param("train.held_out_every", 100, "held-out loss after updates 1, every so many, and the last; 0: never")
        .at_least(0)
        .in("update"),
    wf::param("train.held_out_windows", 0, "windows of the held-out text that are measured, from its start; 0: all")
        .at_least(0)
        .in("window"),
    wf::param("train.save", "", "folder to write the trained model to, as a Hugging Face checkpoint"),
    wf::param("train.overwrite", false, "let train.save replace another model's files"),
    wf::param("train.save_as", "f16", "type of the weights in it").one_of("f16|f32"),
    wf::param("train.state", "",
              "folder that keeps the training's state: a killed run resumes from there, and ends with the same bytes"),
    wf::param("train.state_every", 500, "how often it is written; 0: only at the end").at_least(0).in("update"));
