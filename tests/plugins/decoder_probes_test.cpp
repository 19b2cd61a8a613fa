// Probes of weights on models whose heads share keys: what they say must be what they say of a model in which the keys are
// written out once for each head. And the reasons for which they refuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/probe.hpp>

#include "decoder_families.hpp"

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
