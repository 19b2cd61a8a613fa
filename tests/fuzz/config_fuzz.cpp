// Any bytes as a config.json: opened or refused with a data_error, and each getter gives what is in its range or refuses.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <wayfarer/error.hpp>
#include <wayfarer/hf_config.hpp>

#include "scratch_folder.hpp"

namespace wf = wayfarer;

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  static wf::fuzz::scratch_folder const folder;
  folder.write("config.json", {reinterpret_cast<char const*>(data), size});
  try {
    auto const c = wf::hf_config::open(folder.path(), {"gpt2", "t5", "bert"});
    auto const guarded = [](auto&& f) {
      try {
        f();
      } catch (wf::data_error const&) {
      }
    };
    for (auto const key : {"n_layer", "n_head", "n_embd", "n_positions", "vocab_size", "num_layers", "d_kv", "d_ff", "num_heads"})
      guarded([&] {
        std::size_t const n = c.size(key, wf::model_limits::width, 12);
        if (n == 0 || n > wf::model_limits::width) std::abort();
      });
    for (auto const key : {"layer_norm_epsilon", "layer_norm_eps"})
      guarded([&] {
        double const x = c.number(key, 0, 1, 1e-5);
        if (!(x >= 0 && x <= 1)) std::abort();
      });
    for (auto const key : {"tie_word_embeddings", "scale_attn_weights", "is_gated_act"}) guarded([&] { c.flag(key, true); });
    for (auto const key : {"activation_function", "feed_forward_proj", "hidden_act"}) guarded([&] { c.text(key, "relu"); });
    guarded([&] {
      if (wf::parse_json(wf::to_json(c.json()), "again") != c.json()) std::abort();
    });
  } catch (wf::data_error const&) {
  }
  return 0;
}
