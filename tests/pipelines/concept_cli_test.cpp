// The concept-space runs through the real program: any number of threads, killed and resumed.
#include <gmock/gmock.h>

#include "command.hpp"

using namespace wayfarer::test;
using testing::HasSubstr;
namespace fs = std::filesystem;

namespace {

struct concept_cli : scratch {
  std::string out(std::string const& name) const { return (folder / name).string(); }
  /// Both probes, swept, with examples that come again.
  fs::path pipeline() const {
    return file("both.yaml", R"(title: Both
nodes:
  questions: {source: hellaswag, path: DATA/hellaswag/slice.txt, pool: DATA/hellaswag/slice.txt, shots: 2}
  gpt2: {model: gpt2, path: DATA/tiny-gpt2}
  t5: {model: t5, path: DATA/tiny-t5}
  near: {probe: concept_similarity, model: gpt2, source: questions, block: 7, sweep: {scheme: [concat_all, sentences], norm: [none, l2], layer: [top, middle]}}
  near_t5: {probe: concept_similarity, model: t5, source: questions, block: 7, sweep: {word: [mean, relu|w1mean], cache: [0, 1]}}
  made: {probe: concept_generation, model: gpt2, source: questions, block: 7, sweep: {scheme: [concat_each, sentences], word: [mean, "relu|mean"]}}
  made_t5: {probe: concept_generation, model: t5, source: questions, block: 7}
  baseline: {probe: cross_encoding, model: gpt2, source: questions, block: 7}
  accuracy: {metric: accuracy, of: near}
  normalized: {metric: normalized_accuracy, of: made, baseline: baseline}
)");
  }
  fs::path file(std::string const& name, std::string text) const {
    std::string const data = WAYFARER_SOURCE_DIR "/runs/data";
    for (std::size_t at; (at = text.find("DATA")) != text.npos;) text.replace(at, 4, data);
    return scratch::file(name, text);
  }
};

TEST_F(concept_cli, results_have_the_same_bytes_for_any_number_of_threads) {
  auto const p = pipeline();
  for (char const* threads : {"1", "2", "4"}) {
    auto const r = run_wayfarer({"run", p, "--out", out(std::string(threads) + ".h5"), "--threads", threads, "--quiet", "--set",
                                 "near.items=0:40", "--set", "made.items=0:40", "--set", "near_t5.items=0:40", "--set",
                                 "made_t5.items=0:40", "--set", "baseline.items=0:40"});
    ASSERT_EQ(r.code, 0) << r.out;
    auto const same = run_wayfarer({"compare", out("1.h5"), out(std::string(threads) + ".h5")});
    EXPECT_EQ(same.code, 0) << same.out;
  }
  auto const a = slurp(out("1.h5")), b = slurp(out("4.h5"));
  ASSERT_EQ(a.size(), b.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) different += a[i] != b[i];
  EXPECT_LT(different, 400u) << "only when, with how many threads and in how much memory";
}

TEST_F(concept_cli, a_killed_run_goes_on_and_ends_with_the_same_bytes) {
  auto const p = pipeline();
  auto const words = [&](std::string const& name) {
    return std::vector<std::string>{"run", p.string(), "--out", out(name), "--quiet", "--resume"};
  };
  ASSERT_EQ(run_wayfarer(words("whole.h5")).code, 0);
  std::size_t kept = 0;
  for (int i = 0; i < 3; ++i) {
    pid_t const child = start(words("killed.h5"), folder / "log");
    ASSERT_TRUE(wait_until(child, [&] { return count_files(out("killed.h5.blocks")) > kept; })) << slurp(folder / "log");
    kill(child, SIGKILL);
    EXPECT_EQ(finish(child, folder / "log").code, -SIGKILL);
    kept = count_files(out("killed.h5.blocks"));
  }
  ASSERT_EQ(run_wayfarer(words("killed.h5")).code, 0);
  auto const same = run_wayfarer({"compare", out("whole.h5"), out("killed.h5")});
  EXPECT_EQ(same.code, 0) << same.out;
}

TEST_F(concept_cli, names_node_and_setting_of_what_is_wrong) {
  auto const r = run_wayfarer({"run", pipeline(), "--out", out("r.h5"), "--quiet", "--set", "near.sweep.layer=[top, 9]"});
  EXPECT_EQ(r.code, 2);
  EXPECT_THAT(r.out, HasSubstr("near"));
  EXPECT_THAT(r.out, HasSubstr("layer=9"));
  EXPECT_THAT(r.out, HasSubstr("2 blocks"));
}

}  // namespace
