// A language model whose law after any tokens is given by a function: for probes of laws and paths, whose answers are then known.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::test {

/// Logits of the next token after these.
using law_after = std::function<std::vector<float>(std::span<std::int32_t const>)>;

/// The law depends on the last `order` tokens alone (fewer where there are fewer), and on each of them. Logits are normal with
/// this deviation, drawn once for each context.
inline law_after chain_of_order(std::size_t order, std::size_t vocabulary, double deviation = 2) {
  return [=](std::span<std::int32_t const> tokens) {
    std::uint64_t context = 1;
    for (auto const t : tokens.last(std::min(order, tokens.size())))
      context = context * (vocabulary + 1) + static_cast<std::uint64_t>(t) + 1;
    random_stream draw(11, "chain", context);
    std::vector<float> logits(vocabulary);
    for (float& z : logits) z = static_cast<float>(deviation * draw.normal());
    return logits;
  };
}

/// States are the logits themselves.
class chain_model final : public model {
 public:
  chain_model(std::size_t vocabulary, law_after law, std::size_t longest = 0) : law_(std::move(law)) {
    info_.architecture = "chain", info_.layers = 1, info_.heads = 1, info_.norm = norm_kind::layer;
    info_.vocabulary = info_.d_model = vocabulary, info_.longest = longest;
    info_.hooks.push_back({"hook_embed", {{"d_model", vocabulary}}});
    info_.hooks.push_back({"blocks.0.hook_resid_post", {{"d_model", vocabulary}}});
    info_.hooks.push_back({"ln_final.hook_out", {{"d_model", vocabulary}}});
    info_.hooks.push_back({"logits", {{"token", vocabulary}}});
  }
  model_info const& info() const override { return info_; }
  batch encode(item_block const& items, encode_options const&) const override {
    batch b;
    for (std::size_t i = 0; i < items.tokens.size(); ++i)
      b.tokens.push_back(
          items.tokens[i].first(info_.longest == 0 ? items.tokens[i].size() : std::min(info_.longest, items.tokens[i].size())));
    return b;
  }
  std::string token_text(std::int32_t id) const override { return "t" + std::to_string(id); }
  tensor weight(std::string_view name) const override { throw usage_error("no weight " + std::string(name)); }
  tensor final_norm(tensor const& x) const override { return x; }
  tensor unembed(tensor const& x) const override { return x.named({"row", "token"}); }

  activations run(batch const& b, run_request const& request) const override {
    std::vector<std::vector<std::int32_t>> all;
    for (std::size_t i = 0; i < b.items(); ++i) all.emplace_back(b.tokens[i].begin(), b.tokens[i].end());
    return states_of(all, std::vector<std::size_t>(all.size()), request);
  }
  std::unique_ptr<continued_run> begin(batch const& b, run_request const& request, activations* captured) const override {
    auto out = std::make_unique<continued>(*this, std::vector<std::vector<std::int32_t>>(b.items()));
    auto made = out->extend(b, request);
    if (captured) *captured = std::move(made);
    return out;
  }

 private:
  struct continued final : continued_run {
    continued(chain_model const& m, std::vector<std::vector<std::int32_t>> all) : of(m), tokens(std::move(all)) {}
    std::size_t items() const noexcept override { return tokens.size(); }
    std::size_t length(std::size_t item) const noexcept override { return tokens[item].size(); }
    activations extend(batch const& more, run_request const& request) override {
      std::vector<std::size_t> first;
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        first.push_back(tokens[i].size());
        tokens[i].insert(tokens[i].end(), more.tokens[i].begin(), more.tokens[i].end());
      }
      return of.states_of(tokens, first, request);
    }
    std::unique_ptr<continued_run> branch(std::span<std::size_t const> kept) const override {
      std::vector<std::vector<std::int32_t>> some;
      for (auto const i : kept) some.push_back(tokens[i]);
      return std::make_unique<continued>(of, std::move(some));
    }
    chain_model const& of;
    std::vector<std::vector<std::int32_t>> tokens;
  };

  /// At the positions from `first` of each item.
  activations states_of(std::vector<std::vector<std::int32_t>> const& all, std::vector<std::size_t> const& first,
                        run_request const& request) const {
    activations out;
    for (auto const& hook : request.capture.names()) {
      std::vector<tensor> each;
      for (std::size_t i = 0; i < all.size(); ++i) {
        std::span<std::int32_t const> const tokens = all[i];
        std::size_t const from = hook == "logits" && request.last_logits_only && !tokens.empty() ? tokens.size() - 1 : first[i];
        each.emplace_back(dtype::f32, dims{{"pos", tokens.size() - from}, {"d_model", info_.vocabulary}});
        for (std::size_t p = from; p < tokens.size(); ++p) {
          auto const logits = law_(tokens.first(p + 1));
          std::copy(logits.begin(), logits.end(), each.back().view<float>().row(p - from).begin());
        }
      }
      out.put(hook, std::move(each));
    }
    return out;
  }

  model_info info_;
  law_after law_;
};

}  // namespace wayfarer::test
