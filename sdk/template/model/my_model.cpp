// my_model: a decoder whose one layer adds to each token's vector the mean of the vectors up to it.
//
// A model says what it is (info), turns items into its own tokens (encode), and runs: it computes what a request asks for, hands
// every activation to the request's edits on its way, and keeps what shall be captured. Once loaded it never changes, so that any
// number of threads may run it.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/random.hpp>

namespace wf = wayfarer;

struct my_model final : wf::model {
  // The constructor reads parameters and sizes; weights come in `load`, and never when a pipeline is only checked.
  explicit my_model(wf::config const& c) : seed_(c.seed()) {
    info_.architecture = "my_model";
    info_.layers = info_.heads = 1;
    info_.vocabulary = c["vocabulary"];
    info_.d_model = info_.d_head = c["width"];
    wf::dims const row{{"d_model", info_.d_model}};
    info_.hooks = {{"hook_embed", row, false, "embedding of the token"},
                   {"blocks.0.hook_attn_out", row, false, "mean of the embeddings up to here"},
                   {"blocks.0.hook_resid_post", row, false, "their sum"},
                   {"logits", {{"token", info_.vocabulary}}, false, "scores of the next token"}};
    info_.weights = {"embed.W_E", "unembed.W_U"};
  }

  wf::model_info const& info() const override { return info_; }

  void load() override {
    embedding_ = wf::tensor(wf::dtype::f32, {{"token", info_.vocabulary}, {"d_model", info_.d_model}});
    wf::random_stream draw(seed_, "my_model.embedding");
    double const scale = 1 / std::sqrt(static_cast<double>(info_.d_model));
    for (float& x : embedding_.values<float>()) x = static_cast<float>(scale * draw.normal());
  }

  // Words of a source are this model's tokens as they are.
  wf::batch encode(wf::item_block const& items, wf::encode_options const& options) const override {
    auto const& given = items.tokens.empty() ? items.words : items.tokens;
    if (given.empty()) throw wf::usage_error("my_model reads words or tokens, and this source gives neither");
    wf::batch out;
    for (std::size_t i = 0; i < items.count; ++i) {
      auto item = given[i];
      if (options.max_tokens != 0 && item.size() > options.max_tokens) item = item.first(options.max_tokens);
      for (std::int32_t const token : item)
        if (token < 0 || static_cast<std::size_t>(token) >= info_.vocabulary)
          throw wf::data_error("item " + std::to_string(items.first + i) + " holds token " + std::to_string(token) +
                               ", and my_model knows " + std::to_string(info_.vocabulary) + "; raise 'vocabulary'");
      out.tokens.push_back(item);
    }
    return out;
  }

  std::string token_text(std::int32_t token) const override { return std::to_string(token); }

  wf::activations run(wf::batch const& batch, wf::run_request const& request) const override {
    if (request.precision != wf::dtype::f32) throw wf::usage_error("my_model computes in float32 only");
    std::vector<std::vector<wf::tensor>> kept(request.capture.size());
    for (std::size_t i = 0; i < batch.items(); ++i) {
      // Edits first, then capture: what is captured is what everything downstream sees.
      auto const at = [&](std::string_view hook, wf::tensor x) {
        for (auto const& edit : request.edits)
          if (edit.hook == hook) edit.change({i, 0}, x);
        for (std::size_t k = 0; k < request.capture.size(); ++k)
          if (request.capture.names()[k] == hook) kept[k].push_back(x.clone());
        return x;
      };
      wf::tensor const x = at("hook_embed", embed(batch.tokens[i]));
      wf::tensor const mean = at("blocks.0.hook_attn_out", running_mean(x));
      wf::tensor const sum = at("blocks.0.hook_resid_post", (x + mean).to(wf::dtype::f32));
      if (request.capture.has("logits")) {
        wf::tensor const read = request.last_logits_only ? sum.slice(0, sum.size(0) - 1, sum.size(0)) : sum;
        at("logits", wf::matmul(read, embedding_.transposed()));
      }
    }
    wf::activations out;
    for (std::size_t k = 0; k < kept.size(); ++k) out.put(request.capture.names()[k], std::move(kept[k]));
    return out;
  }

  // Weights by their common names (docs/hooks.md), in the convention y = x W; views, not copies.
  wf::tensor weight(std::string_view name) const override {
    if (name == "embed.W_E") return embedding_;
    if (name == "unembed.W_U") return embedding_.transposed();
    throw wf::usage_error("my_model has no weight '" + std::string(name) + "'" + wf::did_you_mean(name, info_.weights));
  }

 private:
  wf::tensor embed(std::span<std::int32_t const> tokens) const {
    wf::tensor out(wf::dtype::f32, {{"pos", tokens.size()}, {"d_model", info_.d_model}});
    auto const from = embedding_.view<float const>();
    auto const to = out.view<float>();
    for (std::size_t p = 0; p < tokens.size(); ++p)
      std::ranges::copy(from.row(static_cast<std::size_t>(tokens[p])), to.row(p).begin());
    return out;
  }

  static wf::tensor running_mean(wf::tensor const& x) {
    wf::tensor out(wf::dtype::f32, x.shape());
    auto const from = x.view<float const>();
    auto const to = out.view<float>();
    std::vector<double> sum(x.size(1), 0.0);
    for (std::size_t p = 0; p < x.size(0); ++p)
      for (std::size_t d = 0; d < sum.size(); ++d)
        to(p, d) = static_cast<float>((sum[d] += from(p, d)) / static_cast<double>(p + 1));
    return out;
  }

  std::uint64_t seed_;
  wf::model_info info_;
  wf::tensor embedding_;  // [token, d_model]
};

WAYFARER_MODEL(my_model, "0.1.0", "A decoder that averages what came before",
               wf::param("vocabulary", 100, "tokens").between(1, 1 << 20), wf::param("width", 32, "d_model").between(1, 1 << 16),
               wf::param("seed", 0, "seed of the weights; if it is not given, the pipeline's").at_least(0));
