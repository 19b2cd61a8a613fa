// GPT-2 trained from scratch on a source of texts or tokens, by AdamW with warm-up and cosine decay.
//
//     learner: {model: gpt2_trained, tokenizer: folder, layers: 4, d_model: 128, train: {source: plays, held_out: rest, save:
//     out}}
//
// A plugin separate from gpt2: it needs no checkpoint, and a node that reads one has none of these parameters. Both share the
// forward pass (models/common); snapshots are models like those of gpt2. Without train.source it is a GPT-2 with random
// weights: the control for training. Training itself is in models/common/training.
#include <cstddef>
#include <memory>
#include <string>

#include <wayfarer/error.hpp>

#include "models/common/training/trained_model.hpp"
#include "net.hpp"

namespace wf = wayfarer;
namespace lt = wayfarer::language_training;
namespace gt = wayfarer::gpt2_training;

namespace {

gt::net_shape read_shape(wf::config const& c, std::size_t vocabulary) {
  gt::net_shape s;
  s.layers = c["layers"], s.heads = c["heads"], s.d_model = c["d_model"], s.d_mlp = c["d_mlp"], s.positions = c["context"];
  s.vocabulary = vocabulary, s.tied = c["tied"];
  s.act = c["gelu"].text() == "erf" ? wf::activation::gelu_erf : wf::activation::gelu_tanh;
  if (s.d_mlp == 0) s.d_mlp = 4 * s.d_model;
  if (s.d_model % s.heads != 0)
    throw wf::usage_error("gpt2_trained: " + std::to_string(s.heads) + " heads do not divide d_model " +
                          std::to_string(s.d_model));
  return s;
}

lt::recipe recipe_of(wf::config const& c) {
  lt::recipe r;
  r.plugin = "gpt2_trained";
  r.words = std::make_shared<lt::vocabulary>(r.plugin, c["tokenizer"].text(), c["vocabulary"]);
  auto const s = read_shape(c, r.words->size);
  r.positions = s.positions, r.parameters = gt::parameters_of(s);
  r.start_stream = gt::start_stream;
  for (auto const v :
       {s.layers, s.heads, s.d_model, s.d_mlp, s.vocabulary, s.positions, std::size_t{s.tied}, static_cast<std::size_t>(s.act)})
    r.shape_key += " " + std::to_string(v);
  r.config = gt::config_of(s), r.stored_name = gt::stored_name;
  r.make = [s, words = r.words] {
    return std::make_shared<lt::state_of<wf::gpt2_model>>("gpt2_trained", gt::shape_of(s), s.act, gt::activation_name(s),
                                                          [words] { return words->words; });
  };
  return r;
}

struct gpt2_trained final : lt::trained_model {
  explicit gpt2_trained(wf::config const& c) : trained_model(c, recipe_of(c)) {}
};

}  // namespace

WAYFARER_MODEL(
    gpt2_trained, "1.0.0", "GPT-2 trained from scratch, or untrained; snapshots, checkpoints in Hugging Face's layout",
    WAYFARER_TRAINING_PORTS, wf::param("layers", 2, "blocks").between(1, 1024),
    wf::param("heads", 2, "attention heads a block").between(1, 4096),
    wf::param("d_model", 32, "width of the residual stream").between(1, 65'536),
    wf::param("d_mlp", 0, "width of the MLPs; 0: 4 d_model").between(0, 1'048'576),
    wf::param("context", 32, "positions, and length of the windows that are learned from").between(1, 1'048'576).in("token"),
    wf::param("tied", true, "the unembedding is the embedding's transpose"),
    wf::param("gelu", "tanh", "the MLPs' activation function, in its tanh or erf form").one_of("tanh|erf"),
    WAYFARER_TRAINING_PARAMETERS);
