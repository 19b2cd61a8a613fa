// Probes of language models on models without attention: what they say is what the model's own hooks say, and what can't be said
// is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "geometry_observe.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::HasSubstr;

listed const texts({{3, 1, 4, 1, 5, 9}, {2, 6, 5}});

struct one_model {
  std::string plugin, folder;
};
one_model const models[] = {{"rwkv", "rwkv4-small"},     {"rwkv", "rwkv5.1-small"},       {"rwkv", "rwkv5.2-small"},
                            {"rwkv", "rwkv6-small"},     {"rwkv", "rwkv7-small"},         {"mamba", "mamba-small"},
                            {"mamba", "mamba2-small"},   {"mamba", "falcon-mamba-small"}, {"aft", "aft-full-small"},
                            {"aft", "aft-simple-small"}, {"aft", "aft-local-small"},      {"aft", "aft-conv-small"}};

TEST(recurrent_probes, language_loss_and_logit_lens_say_what_the_logits_say) {
  for (auto const& [plugin, folder] : models) {
    SCOPED_TRACE(folder);
    auto const m = open_model(plugin, data_folder(folder));
    auto const loss = observe("language_loss", *m, texts), lens = observe("logit_lens", *m, texts);
    auto const logits = rows_of(*m, texts, 0, "logits");
    auto const& said = loss.find("log_probability")->values();
    auto const& seen = lens.find("next_log_probability")->values();
    ASSERT_EQ(seen.rank(), 3u);
    for (std::size_t t = 0; t + 1 < 6; ++t) {
      double sum = 0;
      for (double const v : logits[t]) sum += std::exp(v);
      double const want = logits[t][static_cast<std::size_t>(texts.tokens_[0][t + 1])] - std::log(sum);
      EXPECT_NEAR(said.get({0, t + 1}), want, 1e-4) << t;
      EXPECT_NEAR(seen.get({0, seen.size(1) - 1, t}), want, 1e-4) << t;
    }
  }
}

TEST(recurrent_probes, attention_map_reads_weights_where_there_are_no_scores) {
  for (auto const& [plugin, folder] : {one_model{"rwkv", "rwkv4-small"}, one_model{"aft", "aft-conv-small"}}) {
    SCOPED_TRACE(folder);
    auto const m = open_model(plugin, data_folder(folder));
    auto const out = observe("attention_map", *m, texts);
    EXPECT_EQ(out.find("score"), nullptr);
    EXPECT_EQ(out.find("qk"), nullptr);
    EXPECT_EQ(out.find("association_bias"), nullptr);
    run_request request;
    request.capture = m->info().hooks_for("blocks.0.attn.hook_pattern");
    auto const pattern = m->run(m->encode(texts.read({0, 1}), {}), request).at("blocks.0.attn.hook_pattern", 0);
    auto const& weights = out.find("weights")->values();
    for (std::size_t h = 0; h < pattern.size(0); ++h)
      for (std::size_t q = 0; q < 6; ++q)
        for (std::size_t k = 0; k <= q; ++k) EXPECT_EQ(weights.get({0, 0, h, q, k}), pattern.get({h, q, k}));
  }
  auto const signs = open_model("rwkv", data_folder("rwkv6-small"));
  EXPECT_THAT(thrown<usage_error>([&] { observe("attention_map", *signs, texts); }), HasSubstr("hook_attn_scores"));
}

TEST(recurrent_probes, what_needs_queries_and_keys_is_refused_by_name) {
  for (auto const& [plugin, folder] : models) {
    auto const m = open_model(plugin, data_folder(folder));
    for (char const* id : {"head_spectra", "head_lookup"}) {
      auto const p = make_probe(id);
      probe_context const context(m.get(), nullptr, {0, 0}, 0);
      accumulator const nothing(0);
      results out;
      EXPECT_THAT(thrown<usage_error>([&] { p->finish(nothing, out, context); }), HasSubstr("W_Q")) << id << " " << folder;
    }
  }
}

}  // namespace
