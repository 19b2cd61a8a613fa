// Probes of weights on models whose heads share keys: what they say must be what they say of a model in which the keys are
// written out once for each head. And the reasons for which they refuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/probe.hpp>

#include "geometry_observe.hpp"

#include "decoder_families.hpp"  // names a thing as a local of the other header is named, so it comes second

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::HasSubstr;

decoder_case case_of(std::string const& name) {
  for (auto& c : decoder_cases())
    if (c.name == name) return c;
  throw std::runtime_error("no family " + name);
}

/// The same model with keys and values of its own for each head.
decoder_case written_out(decoder_case c) {
  plain_decoder& p = c.plain;
  std::size_t const group = p.H / p.K, rows = p.d * p.D;
  for (std::size_t i = 0; i < p.L; ++i)
    for (char const* part : {".k", ".v"}) {
      auto& w = p.w[std::to_string(i) + part];
      plain_decoder::numbers all;
      for (std::size_t h = 0; h < p.H; ++h)
        all.insert(all.end(), w.begin() + static_cast<std::ptrdiff_t>(h / group * rows),
                   w.begin() + static_cast<std::ptrdiff_t>((h / group + 1) * rows));
      w = all;
    }
  p.K = p.H;
  auto const at = c.config.find("\"num_key_value_heads\": 2");
  c.config.replace(at, std::string("\"num_key_value_heads\": 2").size(), "\"num_key_value_heads\": 4");
  return c;
}

results finished(probe const& p, model const& m) {
  static_cast<void>(p.needs(m.info()));
  probe_context const context(&m, nullptr, {0, 0}, 0);
  accumulator const nothing(0);
  results out;
  p.finish(nothing, out, context);
  return out;
}

TEST(decoder_probes, heads_that_share_keys_are_read_as_if_each_had_its_own) {
  auto const shared = case_of("llama"), apart = written_out(shared);
  decoder_folder const f(shared), g(apart);
  auto const one = f.open(), two = g.open();
  values const none;
  for (auto const& [id, given] : std::vector<std::pair<std::string, values>>{
           {"head_spectra", {{"tokens", false}}},
           {"head_lookup", {{"word_ids", std::vector<std::int64_t>{3, 11, 28}}, {"k", std::int64_t{4}}}},
           {"norm_geometry", none}}) {
    auto const p = make_probe(id, given);
    auto const a = finished(*p, *one), b = finished(*p, *two);
    ASSERT_EQ(a.names(), b.names()) << id;
    std::size_t compared = 0;
    for (auto const& name : a.names()) {
      auto const &x = *a.find(name), &y = *b.find(name);
      EXPECT_EQ(x.is_text(), y.is_text());
      if (x.is_text()) continue;
      EXPECT_TRUE(same_bytes(x.values(), y.values())) << id << "/" << name;
      ++compared;
    }
    EXPECT_GT(compared, 2u) << id;
  }
}

TEST(decoder_probes, heads_that_turn_have_a_matrix_at_every_distance) {
  std::vector<std::int64_t> const distances{0, 1, 7};
  for (char const* name : {"llama", "llama3", "gptj", "phi", "gpt_neox", "smollm3"}) {
    auto const c = case_of(name);
    plain_decoder const& p = c.plain;
    decoder_folder const f(c);
    auto const m = f.open();
    auto const out = finished(*make_probe("head_spectra", {{"tokens", false}, {"distances", distances}}), *m);
    auto const length = out.at("qk/norm_at").values(), values = out.at("qk/values_at").values();
    ASSERT_EQ(length.shape(), (dims{{"block", p.L}, {"distance", 3}, {"head", p.H}})) << name;
    std::size_t moved = 0;
    for (std::size_t i = 0; i < p.L; ++i)
      for (std::size_t n = 0; n < distances.size(); ++n)
        for (std::size_t h = 0; h < p.H; ++h) {
          // Each entry is a score: of a unit vector as the query's input, so far behind another as the key's at position 0.
          auto const &w_q = p.w.at(std::to_string(i) + ".q"), &w_k = p.w.at(std::to_string(i) + ".k");
          double squares = 0;
          for (std::size_t a = 0; a < p.D; ++a) {
            plain_decoder::numbers q(p.H * p.d);
            for (std::size_t e = 0; e < q.size(); ++e) q[e] = w_q[e * p.D + a];
            if (p.turns.empty() || p.turns[i]) p.turn(q, p.H, i, static_cast<std::size_t>(distances[n]));
            for (std::size_t b = 0; b < p.D; ++b) {
              double score = 0;
              for (std::size_t e = 0; e < p.d; ++e) score += q[h * p.d + e] * w_k[(h / (p.H / p.K) * p.d + e) * p.D + b];
              squares += p.scale * p.scale * score * score;
            }
          }
          EXPECT_NEAR(length.get({i, n, h}), std::sqrt(squares), 1e-6 * std::sqrt(squares)) << name << " at " << distances[n];
          double sum = 0;
          for (std::size_t j = 0; j < p.d; ++j) sum += values.get({i, n, h, j}) * values.get({i, n, h, j});
          EXPECT_NEAR(sum, squares, 1e-5 * squares);
          EXPECT_TRUE(n != 0 || std::abs(values.get({i, n, h, 0}) - out.at("qk/values").values().get({i, h, 0})) < 1e-6);
          moved += std::abs(length.get({i, n, h}) - length.get({i, 0, h})) > 1e-3 * length.get({i, 0, h});
        }
    EXPECT_GT(moved, p.H) << name;
  }
  decoder_folder const still(case_of("bloom"));
  auto const probe = make_probe("head_spectra", {{"distances", distances}});
  EXPECT_THAT(thrown<usage_error>([&] { static_cast<void>(probe->needs(still.open()->info())); }), HasSubstr("`distances`"));
  EXPECT_THAT(thrown<usage_error>([&] {
                make_probe("head_spectra", {{"distances", std::vector<std::int64_t>{-1}}});
              }),
              HasSubstr("-1"));
}

TEST(decoder_probes, alibi_is_a_kernel_over_distances) {
  for (char const* name : {"bloom", "falcon_rw"}) {
    auto const c = case_of(name);
    decoder_folder const f(c);
    auto const m = f.open();
    auto const out = finished(*make_probe("position_kernel", {{"distance", std::int64_t{9}}, {"reach", std::int64_t{4}}}), *m);
    auto const kernel = out.at("blocks/kernel").values(), self = out.at("blocks/self_bias_position").values();
    ASSERT_EQ(kernel.size(1), 10u) << "a causal model looks back alone";
    for (std::size_t h = 0; h < c.plain.H; ++h) {
      double const slope = c.plain.slope(h) * (c.plain.alibi_scaled ? c.plain.scale : 1);
      for (std::size_t d = 0; d < 10; ++d) EXPECT_NEAR(kernel.get({h, 9 - d}), -slope * static_cast<double>(d), 1e-6) << name;
      EXPECT_NEAR(self.get({h}), slope * 2.5, 1e-6) << name;
    }
    EXPECT_LT(out.at("blocks/toeplitz_error").values()(), 1e-6);
    EXPECT_THAT(thrown<usage_error>([&] {
                  finished(*make_probe("position_kernel", {{"distance", std::int64_t{24}}}), *m);
                }),
                HasSubstr("reads 24"));
  }
  auto const kernel = make_probe("position_kernel");
  EXPECT_THAT(thrown<usage_error>([&] { finished(*kernel, *decoder_folder(case_of("llama")).open()); }),
              HasSubstr("turn with their positions"));
  EXPECT_THAT(thrown<usage_error>([&] { finished(*kernel, *decoder_folder(case_of("opt")).open()); }), HasSubstr("vectors"));
}

// The model's own logits, scaled and capped as it does, are those that a sum of inner products must come to.
TEST(decoder_probes, next_token_ratio_follows_scales_and_caps_of_logits) {
  std::vector<std::int32_t> const ids{3, 28, 0, 17, 17, 5, 9};
  for (char const* name : {"llama", "gemma2", "cohere", "granite", "phi", "bloom"}) {
    auto const c = case_of(name);
    decoder_folder const f(c);
    auto const out = observe("next_token_ratio", *f.open(), listed({ids}), {{"window", std::int64_t{2}}});
    auto const logits = c.plain.run(ids).at("logits");
    for (std::size_t p = 0; p + 1 < ids.size(); ++p) {
      auto const logit = [&](std::int32_t t) { return logits[p * c.plain.V + static_cast<std::size_t>(t)]; };
      EXPECT_NEAR(out.at("ratio").values().get({1, p}), logit(ids[p + 1]) - logit(ids[p]), 2e-5) << name;
    }
  }
  decoder_folder const narrow(case_of("opt_350m"));
  EXPECT_THAT(thrown<usage_error>([&] { observe("next_token_ratio", *narrow.open(), listed({ids})); }),
              HasSubstr("another width"));
}

TEST(decoder_probes, embeddings_of_another_width_are_left_out_with_the_reason) {
  decoder_folder const f(case_of("opt_350m"));
  auto const m = f.open();
  for (char const* id : {"head_spectra", "head_lookup", "norm_geometry"}) {
    auto const out = finished(*make_probe(id), *m);
    ASSERT_NE(out.find("token_readings"), nullptr) << id;
    EXPECT_THAT(out.at("token_readings").texts(), testing::ElementsAre(HasSubstr("dimensions"))) << id;
  }
}

TEST(decoder_probes, what_no_matrix_gives_is_refused_with_the_reason) {
  decoder_folder const f(case_of("qwen3"));
  auto const m = f.open();
  for (char const* id : {"head_spectra", "head_lookup"})
    EXPECT_THAT(thrown<usage_error>([&] { finished(*make_probe(id), *m); }), HasSubstr("norms each query and key first")) << id;
  decoder_folder const capped(case_of("gemma2")), multiplied(case_of("granite")), normed(case_of("olmo2"));
  auto const attribution = make_probe("logit_attribution");
  EXPECT_THAT(thrown<usage_error>([&] { static_cast<void>(attribution->needs(capped.open()->info())); }),
              HasSubstr("caps its logits"));
  EXPECT_THAT(thrown<usage_error>([&] { static_cast<void>(attribution->needs(multiplied.open()->info())); }),
              HasSubstr("multiplies"));
  EXPECT_THAT(thrown<usage_error>([&] { static_cast<void>(attribution->needs(normed.open()->info())); }), HasSubstr("ln1_post"));
}

}  // namespace
