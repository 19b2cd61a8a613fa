// Probes of weights on encoders and encoder-decoders: blocks that share weights are shown once, and told; embeddings and norms of
// another width are left out with the reason; the norm before the logits is found where it stands.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/probe.hpp>

#include "geometry_observe.hpp"
#include "golden_models.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::HasSubstr;

results finished(probe const& p, model const& m) {
  static_cast<void>(p.needs(m.info()));
  probe_context const context(&m, nullptr, {0, 0}, 0);
  accumulator const nothing(0);
  results out;
  p.finish(nothing, out, context);
  return out;
}

TEST(encoder_probes, blocks_that_share_weights_are_shown_once) {
  auto const m = open_model("bert", data_folder("albert-small"));
  auto const spectra = finished(*make_probe("head_spectra"), *m);
  // Six blocks read 0 1 0 1 4 5.
  EXPECT_EQ(spectra.at("qk/values").values().size(0), 4u);
  EXPECT_THAT(spectra.summary(), HasSubstr("the 6 blocks share 4 sets of weights, shown once"));
  EXPECT_THAT(spectra.at("token_readings").texts(), testing::ElementsAre(HasSubstr("7 dimensions and states 10")));
  auto const one = finished(*make_probe("head_spectra", {{"blocks", std::vector<std::int64_t>{3, 1}}}), *m);
  auto const values = one.at("qk/values").values();
  ASSERT_EQ(values.size(0), 2u);
  EXPECT_TRUE(same_bytes(values[0].clone(), values[1].clone()));
  EXPECT_THAT(one.summary(), testing::Not(HasSubstr("share")));

  auto const norms = finished(*make_probe("norm_geometry"), *m);
  EXPECT_EQ(norms.at("center").values().size(0), 8u);  // two of each of four blocks
  EXPECT_THAT(norms.at("left_out").texts(), testing::ElementsAre(HasSubstr("embed_ln"), HasSubstr("mlm_head.ln")));
  EXPECT_THAT(norms.summary(), HasSubstr("shown once"));
  EXPECT_THAT(finished(*make_probe("head_spectra"), *open_model("bert", data_folder("bert-small"))).summary(),
              testing::Not(HasSubstr("share")));
}

TEST(encoder_probes, bart_s_last_norm_is_the_one_before_its_logits) {
  auto const m = open_model("bart", data_folder("bart-small"));
  auto const norms = finished(*make_probe("norm_geometry"), *m);
  auto const score = norms.at("bias_score").values();
  tensor const bias = m->weight("decoder.1.ln3.b"), embedding = m->weight("embed.W_E");
  for (std::size_t t = 0; t < 23; ++t) {
    double want = 0;
    for (std::size_t j = 0; j < 15; ++j) want += embedding.get({t, j}) * bias.get({j});
    EXPECT_NEAR(score.get({t}), want, 1e-6);
  }
  EXPECT_THAT(thrown<usage_error>([&] { finished(*make_probe("head_spectra"), *m); }), HasSubstr("one stack"));
}

// The lens after the last block is the model; the way through the decoder passes each norm, and ends where the logits begin.
TEST(encoder_probes, of_bart_s_states_end_at_its_logits) {
  auto const m = open_model("bart", data_folder("bart-small"));
  golden const g(data_folder("bart-small"));
  listed const items({ids_of(g.at(0, "ids"))}, {ids_of(g.at(0, "decoder_ids"))});
  auto const logits = g.at(0, "logits");
  std::vector<std::size_t> best;
  for (std::size_t p = 0; p < logits.size(0); ++p) {
    std::size_t most = 0;
    for (std::size_t t = 0; t < logits.size(1); ++t)
      if (logits.get({p, t}) > logits.get({p, most})) most = t;
    best.push_back(most);
  }
  auto const lens = observe("logit_lens", *m, items, {{"k", std::int64_t{1}}});
  auto const ids = lens.at("top_ids").values();  // [item, state, pos, rank]
  auto const walk = observe("encoding_walk", *m, items);
  EXPECT_THAT(walk.at("kind").values().size(0), 11u);  // two blocks of six steps, less the last norm
  for (std::size_t p = 0; p < best.size(); ++p) {
    EXPECT_EQ(ids.get({0, ids.size(1) - 1, p, 0}), static_cast<double>(best[p]));
    EXPECT_EQ(walk.at("predicted_ids").values().get({0, p}), static_cast<double>(best[p]));
    EXPECT_EQ(walk.at("predicted_rank").values().get({0, 11, p}), 0);
  }
  // Step 3 leads from ln1's output to what cross-attention made of it.
  double length = 0;
  for (std::size_t d = 0; d < 15; ++d) length += std::pow(g.at(0, "decoder.0.hook_cross_attn_out").get({1, d}), 2);
  EXPECT_NEAR(walk.at("step_length").values().get({0, 2, 1}), std::sqrt(length), 1e-5);
  auto const own = observe("encoding_walk", *m, items, {{"stack", std::string("encoder")}});
  EXPECT_EQ(own.at("kind").values().size(0), 4u);
  EXPECT_EQ(own.find("predicted_ids"), nullptr);
}

}  // namespace
