// `wayfarer bench` from the outside, and the arithmetic of its comparisons.
#include <map>

#include <gmock/gmock.h>

#include <bench/allocations.hpp>
#include <bench/limits.hpp>
#include <bench/ratios.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/tensor.hpp>

#include "command.hpp"
#include "store/sanitized.hpp"

using namespace wayfarer;
using namespace wayfarer::test;
using namespace wayfarer::host::bench;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

namespace {

constexpr char quick[] = "--benchmark_min_time=0.01";

struct bench : scratch {
  std::string out(std::string const& name) const { return (folder / name).string(); }
};

/// The JSON that Google Benchmark wrote to a file: its benchmarks.
json_value benchmarks_of(std::string const& file) {
  return read_json(file, {std::size_t{8} << 20, 16, 100'000}).at("benchmarks");
}

/// A file as Google Benchmark writes it, with these times in microseconds.
std::string times(std::vector<double> const& all) {
  auto list = json_value::array();
  for (double const t : all)
    list.push_back(
        json_value::object({{"name", "x"}, {"run_name", "x"}, {"run_type", "iteration"}, {"real_time", t}, {"time_unit", "us"}}));
  list.push_back(json_value::object(
      {{"name", "x_mean"}, {"run_name", "x"}, {"run_type", "aggregate"}, {"real_time", 1e9}, {"time_unit", "us"}}));
  return to_json(json_value::object({{"context", json_value::object()}, {"benchmarks", std::move(list)}}));
}

TEST_F(bench, a_ratio_of_medians_with_its_interval) {
  auto const before = read_measurements(file("before.json", times({10, 11, 9, 10, 10, 12, 10})).string());
  ASSERT_EQ(before.size(), 1u);
  ASSERT_EQ(before.at("x").size(), 7u);  // the aggregate is not one
  EXPECT_DOUBLE_EQ(before.at("x")[0], 10e-6);
  auto const same = ratio_of(before.at("x"), before.at("x"));
  EXPECT_DOUBLE_EQ(same.value, 1);
  EXPECT_LE(same.low, 1);
  EXPECT_GE(same.high, 1);
  std::vector<double> twice = before.at("x");
  for (double& t : twice) t *= 2;
  auto const slower = ratio_of(twice, before.at("x"));
  EXPECT_DOUBLE_EQ(slower.value, 2);
  EXPECT_GT(slower.low, 1.5);
  EXPECT_LT(slower.high, 2.7);
  EXPECT_TRUE(slower.certain);
  EXPECT_FALSE(ratio_of(std::vector{1.0}, before.at("x")).certain);
  EXPECT_EQ(ratio_of(twice, before.at("x")).low, slower.low);  // drawn from counters
  EXPECT_THROW(read_measurements(file("none.json", R"({"benchmarks": []})").string()), data_error);
  EXPECT_THROW(
      read_measurements(file("bad.json", R"({"benchmarks": [{"name": "x", "real_time": 1, "time_unit": "h"}]})").string()),
      data_error);
  EXPECT_THROW(read_measurements(file("text.json", "no JSON").string()), data_error);
}

TEST(bench_limits, are_those_of_a_processor) {
  limits const& one = measured_limits(1);
  EXPECT_GT(one.multiply_adds, 1e9);
  EXPECT_LT(one.multiply_adds, 1e13);
  EXPECT_GT(one.bandwidth, 1e8);
  EXPECT_LT(one.bandwidth, 1e13);
  EXPECT_GE(measured_limits(2).multiply_adds, one.multiply_adds);
}

TEST(bench_allocations, are_counted_while_asked_for) {
  if (!counts_allocations()) GTEST_SKIP() << "a sanitizer has its own malloc";
  count_allocations();
  { tensor const t(dtype::f32, {{"x", 1 << 20}}); }
  EXPECT_GE(allocated_bytes(), 4u << 20);
  std::uint64_t const before = allocated_bytes();
  { tensor const t(dtype::f32, {{"x", 1 << 20}}); }
  EXPECT_EQ(allocated_bytes(), before);
}

TEST_F(bench, measures_sources_models_and_probes) {
  auto const sources = run_wayfarer({"bench", "sources", "lda", "long=lda", "--set", "long.length_max=900", "--set",
                                     "long.length_min=900", "--threads", "1,2", quick, "--benchmark_out=" + out("s.json")});
  ASSERT_EQ(sources.code, 0) << sources.out;
  EXPECT_THAT(sources.out, AllOf(HasSubstr("sources/lda/threads:1"), HasSubstr("sources/long/threads:2"), HasSubstr("items/s")));
  auto const s = benchmarks_of(out("s.json"));
  ASSERT_EQ(s.size(), 4u);
  for (json_value const b : s.elements()) {
    EXPECT_GT(b.at("items/s").as_number(), 0);
    EXPECT_GT(b.at("of_bandwidth").as_number(), 0);
    EXPECT_GT(b.at("peak_memory").as_number(), 1e6);
  }
  // Longer documents take longer: the parameters reach the plugin.
  EXPECT_GT(s.at(2).at("real_time").as_number(), 2 * s.at(0).at("real_time").as_number());

  auto const models = run_wayfarer(
      {"bench", "models", "topic_transformer", "--tokens", "64", "--capture", "residuals", quick, "--benchmark_format=json"});
  ASSERT_EQ(models.code, 0) << models.out;
  EXPECT_THAT(models.out,
              AllOf(HasSubstr("\"tokens/s\""), HasSubstr("\"of_fma_limit\""), HasSubstr("multiply-adds a second with 1 thread")));

  auto const probes = run_wayfarer({"bench", "probes", "topic_attention", "topic_blocks", "--model", "topic_transformer",
                                    "--source", "lda", "--items", "8", "--block", "4", quick});
  ASSERT_EQ(probes.code, 0) << probes.out;
  EXPECT_THAT(probes.out, AllOf(HasSubstr("probes/topic_attention/threads:1"), HasSubstr("probes/topic_blocks/threads:1")));
}

TEST_F(bench, measures_metrics_on_made_results) {
  auto const metrics = run_wayfarer({"bench", "metrics", "pca", "two_stage", "few=pca", "--set", "few.components=1", "--threads",
                                     "1,2", quick, "--benchmark_out=" + out("m.json")});
  ASSERT_EQ(metrics.code, 0) << metrics.out;
  auto const all = benchmarks_of(out("m.json"));
  ASSERT_EQ(all.size(), 6u);
  EXPECT_EQ(all.at(0).at("name").as_string(), "metrics/pca/threads:1/real_time");
  EXPECT_GT(all.at(0).at("real_time").as_number(), 0);
  EXPECT_GT(all.at(0).at("peak_memory").as_number(), 1e6);
}

TEST_F(bench, prints_ratios_to_the_first_with_intervals) {
  auto const r = run_wayfarer({"bench", "models", "topic_transformer", "--tokens", "64", "--capture", "none,logits,all",
                               "--ratios", "--benchmark_repetitions=4", quick, "--benchmark_out=" + out("r.json")});
  ASSERT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, AllOf(HasSubstr("time / first"), HasSubstr("of multiply-adds"), HasSubstr("1.000"), HasSubstr(" to "),
                           Not(HasSubstr("too few repetitions"))));
  // The first is the one that was named first, whichever was measured first.
  std::string const table = r.out.substr(r.out.find("time / first"));
  EXPECT_LT(table.find("capture:none"), table.find("capture:logits"));
  EXPECT_LT(table.find("capture:none"), table.find("1.000"));
  EXPECT_LT(table.find("1.000"), table.find("capture:logits"));
  std::map<std::string, int> repetitions;
  for (json_value const b : benchmarks_of(out("r.json")).elements())
    if (b.at("run_type").as_string() == "iteration") ++repetitions[b.at("run_name").as_string()];
  ASSERT_EQ(repetitions.size(), 3u);
  for (auto const& [name, count] : repetitions) EXPECT_EQ(count, 4) << name;
#ifndef WAYFARER_SANITIZED  // where the limit is slower than the product, no fraction is printed
  EXPECT_THAT(run_wayfarer({"bench", "kernels", "--benchmark_filter=gram", "--ratios", "--benchmark_repetitions=2", quick}).out,
              HasSubstr("too few repetitions"));
#endif
}

TEST_F(bench, knows_what_an_encoder_decoder_multiplies) {
  auto const rate = [&](char const* tokens, char const* decoder_tokens) {
    auto const r =
        run_wayfarer({"bench", "models", "t5", "--set", "t5.path=" WAYFARER_SOURCE_DIR "/runs/data/tiny-t5", "--tokens", tokens,
                      "--decoder-tokens", decoder_tokens, "--capture", "logits", quick, "--benchmark_out=" + out("t.json")});
    EXPECT_EQ(r.code, 0) << r.out;
    auto const b = benchmarks_of(out("t.json")).at(0);
    EXPECT_THAT(b.at("name").as_string(), HasSubstr(std::string("/decoder_tokens:") + decoder_tokens + "/"));
    return b.at("tokens/s").as_number() * b.at("real_time").as_number();
  };
  // Tokens of both sides count: four times the encoder's, as many of the decoder's.
  EXPECT_NEAR(rate("64", "16") / rate("16", "16"), 80.0 / 32, 0.01);
}

TEST_F(bench, compares_with_an_earlier_run) {
  std::vector<std::string> const what{"bench", "kernels", "--benchmark_filter=gram", "--benchmark_repetitions=5", quick};
  auto first = what;
  first.push_back("--benchmark_out=" + out("now.json"));
  ASSERT_EQ(run_wayfarer(first).code, 0);
  // The same times divided by 100, or multiplied: an earlier run that was much faster, or much slower.
  for (auto const& [factor, code, word] : {std::tuple{0.01, 1, "worse"}, std::tuple{100.0, 0, "better"}}) {
    auto list = json_value::array();
    for (json_value b : benchmarks_of(out("now.json")).elements()) {
      b.set("real_time", b.at("real_time").as_number() * factor);
      list.push_back(b);
    }
    auto const before = file("before.json", to_json(json_value::object({{"benchmarks", list}})));
    auto second = what;
    second.insert(second.end(), {"--against", before.string(), "--worse-than", "1.5"});
    auto const r = run_wayfarer(second);
    EXPECT_EQ(r.code, code) << r.out;
    EXPECT_THAT(r.out, AllOf(HasSubstr("kernels/gram/768x768/threads:1"), HasSubstr(word), HasSubstr("95 % interval")));
  }
}

TEST_F(bench, writes_over_nothing_but_earlier_measurements) {
  auto const measure = [&](std::string const& to, std::vector<std::string> const& more = {}) {
    std::vector<std::string> words{"bench", "kernels", "--benchmark_filter=gram", quick, "--benchmark_out=" + to};
    words.insert(words.end(), more.begin(), more.end());
    return run_wayfarer(words);
  };
  EXPECT_EQ(measure(out("now.json")).code, 0);
  auto const again = measure(out("now.json"));
  EXPECT_EQ(again.code, 0) << again.out;
  EXPECT_THAT(again.out, HasSubstr("now.json exists already and will be replaced"));
  EXPECT_GT(benchmarks_of(out("now.json")).size(), 0u);
  auto const thesis = file("thesis.txt", "my thesis");
  EXPECT_EQ(measure(thesis).code, 2);
  EXPECT_EQ(slurp(thesis), "my thesis");
  auto const same = measure(out("now.json"), {"--against", out("now.json"), "--force"});
  EXPECT_EQ(same.code, 2);
  EXPECT_THAT(same.out, HasSubstr("is read by this run"));
  EXPECT_EQ(measure("/dev/null").code, 2);
}

TEST_F(bench, says_what_is_wrong) {
  auto const says = [](std::vector<std::string> arguments, int code, char const* text) {
    arguments.insert(arguments.begin(), "bench");
    auto const r = run_wayfarer(arguments);
    EXPECT_EQ(r.code, code) << r.out;
    EXPECT_THAT(r.out, HasSubstr(text));
  };
  says({}, 2, "WHAT");
  says({"probs", "x"}, 2, "did you mean 'probes'?");
  says({"models", "topic_transformr"}, 2, "did you mean 'topic_transformer'?");
  says({"models", "lda"}, 2, "'lda' is a source, not a model");
  says({"probes", "topic_attention"}, 2, "--model");
  says({"sources", "documents"}, 2, "--set documents.path=VALUE");
  says({"metrics", "lda"}, 2, "'lda' is a source, not a metric");
  says({"sources", "lda", "--set", "lad.topics=3"}, 2, "did you mean 'lda'?");
  says({"sources", "lda", "--threads", "0"}, 2, "--threads takes numbers from 1");
  says({"models", "topic_transformer", "--capture", "al"}, 2, "did you mean 'all'?");
  says({"kernels", "--against", "/does/not/exist.json"}, 3, "/does/not/exist.json");
  says({"kernels", "--benchmark_nonsense=1"}, 2, "--benchmark_nonsense");
}

}  // namespace
