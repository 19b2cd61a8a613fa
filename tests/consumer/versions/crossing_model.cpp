// Knows 11 tokens and two hooks; a state is its token, times the hook's number. No function is marked override.
#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>

namespace wf = wayfarer;

struct crossing_model final : wf::model {
  explicit crossing_model(wf::config const&) {
    info_.architecture = "crossing_model";
    info_.layers = 1, info_.d_model = 2, info_.vocabulary = 11;
    info_.hooks = {{"hook_one", {{"d_model", 2}}}, {"hook_two", {{"d_model", 2}}}};
  }
  wf::model_info const& info() const { return info_; }
  wf::batch encode(wf::item_block const& items, wf::encode_options const&) const {
    wf::batch out;
    out.tokens = items.words;
    return out;
  }
  std::string token_text(std::int32_t token) const { return std::to_string(token); }
  wf::activations run(wf::batch const& batch, wf::run_request const& request) const {
    wf::activations out;
    for (auto const& name : request.capture.names()) {
      std::vector<wf::tensor> items;
      for (std::size_t i = 0; i < batch.items(); ++i) {
        wf::tensor states(wf::dtype::f32, {{"pos", batch.tokens[i].size()}, {"d_model", 2}});
        for (float& x : states.values<float>()) x = name == "hook_one" ? 1 : 2;
        items.push_back(states);
      }
      out.put(name, std::move(items));
    }
    return out;
  }
  wf::tensor weight(std::string_view) const { return {}; }
  wf::model_info info_;
};
WAYFARER_MODEL(crossing_model, "1.0.0", "Knows 11 tokens");
