// A decoder of almost any shape, trained from scratch on a source of texts or tokens: how positions are told, what mixes them,
// which norm and MLP are parameters, all else being equal. It is the successor of gpt2_trained, which is one of these shapes.
//
//     learner: {model: language_model_trained, mixer: conv, layers: 4, d_model: 128, train: {source: plays, held_out: rest, save:
//     out}}
//
// The forward pass is that of the plugin `decoder`, which opens the saved folder (model_type wayfarer_decoder). Training itself
// is in models/common/training.
#include <cstddef>
#include <memory>
#include <string>

#include <wayfarer/error.hpp>

#include "models/common/training/trained_model.hpp"
#include "shape.hpp"

namespace wf = wayfarer;
namespace lt = wayfarer::language_training;
namespace dt = wayfarer::decoder_training;

namespace {

dt::shape read_shape(wf::config const& c, std::size_t vocabulary) {
  dt::shape s;
  s.layers = c["layers"], s.heads = c["heads"], s.kv_heads = c["kv_heads"], s.d_model = c["d_model"], s.d_mlp = c["d_mlp"];
  s.vocabulary = vocabulary, s.context = c["context"], s.window = c["window"];
  s.position = c["position"].text(), s.rope_theta = c["rope_theta"], s.mixer = c["mixer"].text();
  s.norm = c["norm"].text(), s.epsilon = c["norm_epsilon"];
  s.gated = c["gated"], s.biases = c["biases"], s.tied = c["tied"], s.activation = c["activation"].text();
  if (s.kv_heads == 0) s.kv_heads = s.heads;
  if (s.d_mlp == 0) s.d_mlp = 4 * s.d_model;
  if (s.mixer == "conv" && s.window == 0) s.window = s.context;
  dt::check(s);
  return s;
}

lt::recipe recipe_of(wf::config const& c) {
  lt::recipe r;
  r.plugin = "language_model_trained";
  r.words = std::make_shared<lt::vocabulary>(r.plugin, c["tokenizer"].text(), c["vocabulary"]);
  auto const s = read_shape(c, r.words->size);
  r.positions = s.context, r.parameters = dt::parameters_of(s), r.start_stream = dt::start_stream;
  r.config = dt::config_of(s), r.stored_name = dt::stored_name;
  r.shape_key = " " + r.plugin + " " + wf::to_json(r.config);
  r.make = [s, words = r.words] { return dt::make_model(s, words); };
  return r;
}

struct language_model_trained final : lt::trained_model {
  explicit language_model_trained(wf::config const& c) : trained_model(c, recipe_of(c)) {}
};

}  // namespace

WAYFARER_MODEL(
    language_model_trained, "1.0.0",
    "A decoder of almost any shape trained from scratch, or untrained: attention and what may stand in its place",
    WAYFARER_TRAINING_PORTS, wf::param("layers", 2, "blocks").between(1, 1024),
    wf::param("heads", 2, "heads a block, of attention or of what stands in its place").between(1, 4096),
    wf::param("kv_heads", 0, "heads of keys and values, each serving as many heads; 0: as many as heads").between(0, 4096),
    wf::param("d_model", 32, "width of the residual stream").between(1, 65'536),
    wf::param("d_mlp", 0, "width of the MLPs; 0: 4 d_model").between(0, 1'048'576),
    wf::param("context", 32, "positions, and length of the windows that are learned from").between(1, 1'048'576).in("token"),
    wf::param("position", "learned",
              "how the model knows positions: a table, turned queries and keys, a slope of the scores, or not at all")
        .one_of("learned|rotary|alibi|none"),
    wf::param("rope_theta", 10'000.0, "base of the rotary frequencies").between(1.001, 1e9),
    wf::param(
        "mixer", "attention",
        "what weighs other positions: queries and keys; all alike; the last `window` alike; a learned weight for each head and "
        "distance; a softmax of a learned score for each head and distance")
        .one_of("attention|mean|window|conv|position"),
    wf::param("window", 0, "positions that mixer: window or conv sees, the own included; conv, 0: all of the context")
        .between(0, 1'048'576)
        .in("token"),
    wf::param("norm", "rms", "LayerNorm, or RMSNorm without mean and bias").one_of("layer|rms"),
    wf::param("norm_epsilon", 1e-5, "added within the norms' root").between(0, 1),
    wf::param("gated", true, "the MLPs multiply by a second, linear product"),
    wf::param("activation", "silu", "of the MLPs, by Hugging Face's name").one_of("silu|gelu|gelu_new|relu|relu2|tanh"),
    wf::param("biases", false, "the blocks' matrices and LayerNorm have biases"),
    wf::param("tied", true, "the unembedding is the embedding's transpose"),
    wf::param("seed", 0, "of the start and the batches").at_least(0), WAYFARER_TRAINING_PARAMETERS);
