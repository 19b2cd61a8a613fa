#include "net.hpp"

#include <cmath>
#include <map>
#include <memory>
#include <string>

namespace wayfarer::gpt2_training {

gpt2_shape shape_of(net_shape const& s) {
  gpt2_shape out;
  out.layers = s.layers, out.heads = s.heads, out.d_model = s.d_model, out.d_head = s.d_model / s.heads, out.d_mlp = s.d_mlp;
  out.vocabulary = s.vocabulary, out.positions = s.positions, out.epsilon = s.epsilon, out.tied = s.tied;
  return out;
}

char const* activation_name(net_shape const& s) {
  return s.act == activation::gelu_erf ? "gelu" : "gelu_new";
}

std::vector<language_training::parameter> parameters_of(net_shape const& s) {
  language_training::parameter_list all;
  std::size_t const d = s.d_model;
  double const sd = 0.02, to_stream = 0.02 / std::sqrt(2.0 * static_cast<double>(s.layers));
  all.add("wte.weight", {{"token", s.vocabulary}, {"d_model", d}}, sd);
  all.add("wpe.weight", {{"pos", s.positions}, {"d_model", d}}, sd);
  auto const norm = [&](std::string const& name) {
    all.add(name + ".weight", {{"d_model", d}}, 0, 1);
    all.add(name + ".bias", {{"d_model", d}}, 0);
  };
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const p = "h." + std::to_string(i) + ".";
    auto const linear = [&](std::string const& name, dim in, dim to, double deviation) {
      all.add(p + name + ".weight", {in, to}, deviation);
      all.add(p + name + ".bias", {to}, 0);
    };
    norm(p + "ln_1");
    linear("attn.c_attn", {"d_model", d}, {"qkv", 3 * d}, sd);
    linear("attn.c_proj", {"head_d_head", d}, {"d_model", d}, to_stream);
    norm(p + "ln_2");
    linear("mlp.c_fc", {"d_model", d}, {"d_mlp", s.d_mlp}, sd);
    linear("mlp.c_proj", {"d_mlp", s.d_mlp}, {"d_model", d}, to_stream);
  }
  norm("ln_f");
  if (!s.tied) all.add("lm_head.weight", {{"token", s.vocabulary}, {"d_model", d}}, sd);
  return all.all();
}

json_value config_of(net_shape const& s) {
  return json_value::object({{"architectures", json_value::array({"GPT2LMHeadModel"})},
                             {"model_type", "gpt2"},
                             {"n_layer", s.layers},
                             {"n_head", s.heads},
                             {"n_embd", s.d_model},
                             {"n_inner", s.d_mlp},
                             {"n_positions", s.positions},
                             {"n_ctx", s.positions},
                             {"vocab_size", s.vocabulary},
                             {"activation_function", activation_name(s)},
                             {"layer_norm_epsilon", s.epsilon},
                             {"initializer_range", 0.02},
                             {"attn_pdrop", 0.0},
                             {"embd_pdrop", 0.0},
                             {"resid_pdrop", 0.0},
                             {"tie_word_embeddings", s.tied}});
}

std::string stored_name(std::string const& parameter) {
  return (parameter == "lm_head.weight" ? "" : "transformer.") + parameter;
}

template <class T>
gpt2_net<T>::gpt2_net(net_shape const& s)
    : language_training::net<T>(parameters_of(s),
                                [&](std::map<std::string, tensor> const& weights) {
                                  auto model = std::make_shared<gpt2_model>(shape_of(s), s.act, "", [] { return nullptr; });
                                  model->watch("gpt2_trained", weights);
                                  return model;
                                }),
      shape_(s) {}

template class gpt2_net<float>;
template class gpt2_net<double>;

}  // namespace wayfarer::gpt2_training
