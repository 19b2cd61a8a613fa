// A language model that learns from scratch as a node of a pipeline: all that gpt2_trained and language_model_trained have in
// common, which is everything but the shape. A plugin derives from trained_model, gives it a recipe, and lists the parameters
// below beside its own.
//
// Snapshots are models of the same kind. Without train.source it is a model with random weights: the control for training.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/differentiable.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/snapshot_state.hpp>

#include "checkpoint.hpp"
#include "corpus.hpp"
#include "net.hpp"
#include "trainer.hpp"

namespace wayfarer::language_training {

/// What several nodes and all snapshots share: the tokenizer of a folder, or bytes, or numbers below `size` alone.
struct vocabulary {
  /// `wanted`: 0, or the size of the embedding. Throws data_error for a folder without a tokenizer, usage_error, which begins
  /// with `plugin`, if `wanted` is less than it has.
  vocabulary(std::string const& plugin, std::string const& folder, std::size_t wanted);
  std::shared_ptr<tokenizer const> opened;
  tokenizer const* words = nullptr;
  std::size_t size = 0;
};

/// Sources of word numbers are read too, word for token, as training does: the block to encode, where it is another one.
std::optional<item_block> words_as_tokens(item_block const&);

/// A model of some kind over weights in memory.
struct state {
  virtual ~state() = default;
  virtual model const& as_model() const = 0;
  virtual differentiable_model const& as_differentiable() const = 0;
  /// Weights that stay.
  virtual void take(named_tensors) = 0;
  /// Weights whose numbers change between passes.
  virtual void watch(std::map<std::string, tensor> const&) = 0;
  named_tensors given{};  ///< handles on the weights that stay, as they came
};

/// `Model` has `take` and `watch` of named tensors.
template <class Model>
struct state_of final : Model, state {
  template <class... Parts>
  explicit state_of(std::string plugin, Parts&&... parts) : Model(std::forward<Parts>(parts)...), plugin_(std::move(plugin)) {}
  batch encode(item_block const& items, encode_options const& options) const override {
    auto const other = words_as_tokens(items);
    return Model::encode(other ? *other : items, options);
  }
  model const& as_model() const override { return *this; }
  differentiable_model const& as_differentiable() const override { return *this; }
  void take(named_tensors weights) override {
    given = std::move(weights);
    Model::take(plugin_, std::map<std::string, tensor>(given.begin(), given.end()));
  }
  void watch(std::map<std::string, tensor> const& weights) override { Model::watch(plugin_, weights); }

 private:
  std::string plugin_;
};

/// What a plugin says of the models that it trains.
struct recipe {
  std::string plugin;  ///< its id
  std::shared_ptr<vocabulary const> words;
  std::size_t positions = 0;
  std::vector<parameter> parameters;
  std::string start_stream;  ///< of the start's random numbers
  std::string shape_key;     ///< all that determines the numbers of a training, but for train.*
  json_value config;         ///< config.json of a checkpoint, as write_checkpoint takes it
  std::string (*stored_name)(std::string const& parameter) = nullptr;  ///< in a checkpoint
  std::function<std::shared_ptr<state>()> make;                        ///< a model without weights
};

struct trained_model : trainable_model, plan_checker, snapshot_state, differentiable_model {
  trained_model(config const&, recipe);

  model_info const& info() const override { return now().info(); }
  tokenizer const* text_tokenizer() const override { return recipe_.words->words; }
  void load() override;
  batch encode(item_block const& items, encode_options const& options) const override { return now().encode(items, options); }
  std::string token_text(std::int32_t token) const override { return now().token_text(token); }
  activations run(batch const& items, run_request const& request) const override { return now().run(items, request); }
  std::unique_ptr<continued_run> begin(batch const& items, run_request const& request, activations* captured) const override {
    return now().begin(items, request, captured);
  }
  tensor weight(std::string_view name) const override { return now().weight(name); }
  tensor final_norm(tensor const& x) const override { return now().final_norm(x); }
  tensor unembed(tensor const& x) const override { return now().unembed(x); }
  gradients differentiate(batch const& items, gradient_request const& request) const override {
    return now_->as_differentiable().differentiate(items, request);
  }

  /// Whether there is a window to learn from; the first items tell.
  void check_plan(probe_context const&) const override;
  void train(training const&) const override;
  named_tensors tensors_of(model const& snapshot) const override;
  std::shared_ptr<model const> snapshot_of(named_tensors const&) const override;

 private:
  model const& now() const { return now_->as_model(); }
  void read_plan(config const&);
  void read_snapshots(config const&);
  std::optional<std::int32_t> between() const;
  token_stream read(source const&, std::string const& port, std::size_t enough = SIZE_MAX) const;
  std::string key_of(token_stream const& data, token_stream const* held_out) const;
  template <class T>
  net<T> learner() const;
  template <class T>
  void train_as(training const&) const;

  recipe recipe_;
  save_place save_;
  dtype save_as_;
  bool exact_, ends_;
  training_plan plan_;
  std::shared_ptr<state> now_;
};

}  // namespace wayfarer::language_training

/// The ports and parameters that the plugins declare. Macros, because a plugin's table is made of a list.
#define WAYFARER_TRAINING_PORTS                                                                                               \
  wayfarer::port::source("train.source", "texts, tokens or words to learn from; without it the model keeps its random start") \
      .optional(),                                                                                                            \
      wayfarer::port::source("train.held_out", "the same for the held-out loss").optional(),                                  \
      wayfarer::param::file("tokenizer", "", "folder with the tokenizer's files; none: every byte is a token"),               \
      wayfarer::param("vocabulary", 0, "tokens of the embedding; 0: as many as the tokenizer has")                            \
          .between(0, 4'000'000)                                                                                              \
          .in("token")

#define WAYFARER_TRAINING_PARAMETERS                                                                                            \
  wayfarer::param("train.updates", 200, "steps of the optimiser").between(1, 100'000'000),                                      \
      wayfarer::param("train.batch", 8, "windows a step").between(1, 65'536).in("window"),                                      \
      wayfarer::param("train.learning_rate", 1e-3, "at its highest").at_least(0),                                               \
      wayfarer::param("train.warm_up", 20, "updates over which the rate rises from 0").at_least(0).in("update"),                \
      wayfarer::param("train.final_rate", 0.1, "the rate at the end of its half cosine, as a part of the highest")              \
          .between(0, 1),                                                                                                       \
      wayfarer::param("train.beta1", 0.9, "AdamW's first moment").between(0, 0.999999),                                         \
      wayfarer::param("train.beta2", 0.99, "AdamW's second moment").between(0, 0.999999999),                                    \
      wayfarer::param("train.epsilon", 1e-8, "AdamW's epsilon").between(1e-30, 1),                                              \
      wayfarer::param("train.weight_decay", 0.1, "decoupled, of matrices and tables; norms and biases have none").at_least(0),  \
      wayfarer::param("train.clip", 1.0, "largest norm of the whole gradient; 0: any").at_least(0),                             \
      wayfarer::param("train.ends", true, "the tokenizer's end of text, if it has one, follows every item of the source"),      \
      wayfarer::param("train.precision", "f32", "of the arithmetic while training").one_of("f32|f64"),                          \
      wayfarer::param("train.snapshots", wayfarer::integers(""),                                                                \
                      "numbers of updates after which to keep a snapshot; 0 is the start; the last is always kept"),            \
      wayfarer::param("train.log_every", 20, "loss after updates 1, every so many, and the last; 0: never")                     \
          .at_least(0)                                                                                                          \
          .in("update"),                                                                                                        \
      wayfarer::param("train.held_out_every", 100, "held-out loss after updates 1, every so many, and the last; 0: never")      \
          .at_least(0)                                                                                                          \
          .in("update"),                                                                                                        \
      wayfarer::param("train.held_out_windows", 0, "windows of the held-out text that are measured, from its start; 0: all")    \
          .at_least(0)                                                                                                          \
          .in("window"),                                                                                                        \
      wayfarer::param("train.save", "", "folder to write the trained model to, as a Hugging Face checkpoint"),                  \
      wayfarer::param("train.overwrite", false, "let train.save replace another model's files"),                                \
      wayfarer::param("train.save_as", "f16", "type of the weights in it").one_of("f16|f32"),                                   \
      wayfarer::param("train.state", "",                                                                                        \
                      "folder that keeps the training's state: a killed run resumes from there, and ends with the same bytes"), \
      wayfarer::param("train.state_every", 500, "how often it is written; 0: only at the end").at_least(0).in("update")
