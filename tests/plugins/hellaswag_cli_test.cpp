// HellaSwag's baseline by the real program: ranges, a kill in the middle, memory, and what it says of files that are wrong.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <sys/wait.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <store/store.hpp>

#include "command.hpp"
#include "store/sanitized.hpp"

namespace {

namespace fs = std::filesystem;
using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string const runs = WAYFARER_SOURCE_DIR "/runs/";
// Its context is shorter than some items.
std::string const tiny = "gpt2.path=" + runs + "data/tiny-gpt2";

struct hellaswag_cli : scratch {
  std::string out(std::string const& name) const { return (folder / name).string(); }
  std::vector<std::string> baseline(std::string const& result, std::vector<std::string> const& settings = {}) const {
    std::vector<std::string> words{"run", runs + "hellaswag-baseline.yaml", "--out", out(result), "--quiet", "--threads", "2"};
    words.insert(words.end(), {"--set", tiny, "--set", "loss.items=0:10"});
    for (auto const& s : settings) words.insert(words.end(), {"--set", s});
    return words;
  }
  /// The slice, so many times over.
  std::string many(std::size_t times) const {
    std::string const slice = slurp(runs + "data/hellaswag/slice.txt");
    std::ofstream to(folder / "many.txt", std::ios::binary);
    for (; times > 0; --times) to << slice;
    return out("many.txt");
  }
  /// Most memory that a run held, in KiB.
  long memory(std::vector<std::string> const& words) const {
    pid_t const child = start(words, folder / "log");
    int status = 0;
    rusage use{};
    wait4(child, &status, 0, &use);
    EXPECT_EQ(status, 0) << slurp(folder / "log");
    return use.ru_maxrss;
  }
};

TEST_F(hellaswag_cli, scores_a_range_of_items) {
  auto const r = run_wayfarer(baseline("r.h5", {"baseline.items=40:50"}));
  ASSERT_EQ(r.code, 0) << r.out;
  auto const part = wayfarer::host::result_reader(out("r.h5")).read("baseline", "scores").values();
  ASSERT_EQ(run_wayfarer(baseline("all.h5", {"baseline.items=60"})).code, 0);
  auto const all = wayfarer::host::result_reader(out("all.h5")).read("baseline", "scores").values();
  ASSERT_EQ(part.size(0), 10u);
  ASSERT_EQ(all.size(0), 60u);
  for (std::size_t i = 0; i < 10; ++i)
    for (std::size_t k = 0; k < 4; ++k) EXPECT_EQ(part.get({i, k}), all.get({40 + i, k}));
  EXPECT_EQ(wayfarer::host::result_reader(out("all.h5")).read("baseline", "preprocessed").scalar(), 1) << "the note is kept";
}

TEST_F(hellaswag_cli, a_killed_run_goes_on_and_ends_with_the_same_bytes) {
  auto const words = [&](std::string const& name) {
    auto all = baseline(name, {"baseline.block=4"});
    all.emplace_back("--resume");
    return all;
  };
  ASSERT_EQ(run_wayfarer(words("whole.h5")).code, 0);
  std::size_t kept = 0;
  for (int i = 0; i < 4; ++i) {
    pid_t const child = start(words("killed.h5"), folder / "log");
    // There are 60 blocks.
    ASSERT_TRUE(wait_until(child, [&] { return count_files(out("killed.h5.blocks")) > kept; })) << slurp(folder / "log");
    kill(child, SIGKILL);
    EXPECT_EQ(finish(child, folder / "log").code, -SIGKILL);
    auto const now = count_files(out("killed.h5.blocks"));
    EXPECT_GT(now, kept) << "blocks are never lost";
    kept = now;
  }
  ASSERT_EQ(run_wayfarer(words("killed.h5")).code, 0);
  auto const same = run_wayfarer({"compare", out("whole.h5"), out("killed.h5")});
  EXPECT_EQ(same.code, 0) << same.out;
  wayfarer::host::result_reader const whole(out("whole.h5")), killed(out("killed.h5"));
  auto const a = whole.read("baseline", "scores").values(), b = killed.read("baseline", "scores").values();
  for (std::size_t i = 0; i < 240; ++i)
    for (std::size_t k = 0; k < 4; ++k) ASSERT_EQ(a.get({i, k}), b.get({i, k}));
}

TEST_F(hellaswag_cli, memory_does_not_grow_with_the_items) {
  auto const path = "questions.path=" + many(10);
  [[maybe_unused]] long const few = memory(baseline("few.h5", {path, "baseline.items=0:240"})),
                              all = memory(baseline("all.h5", {path}));
  // 2,400 items hold a quarter of a megabyte of rows.
#ifndef WAYFARER_SANITIZED
  EXPECT_LT(all, few + 8 * 1024) << few << " KiB for 240 items";
#endif
}

TEST_F(hellaswag_cli, says_what_is_wrong_before_anything_runs) {
  auto const wrong = [&](std::vector<std::string> const& settings, int code) {
    auto const r = run_wayfarer(baseline("r.h5", settings));
    EXPECT_EQ(r.code, code) << r.out;
    EXPECT_FALSE(fs::exists(out("r.h5")));
    return r.out;
  };
  auto const path = [&](std::string const& text) { return "questions.path=" + file("val.jsonl", text).string(); };
  std::string const good = R"({"activity_label": "a", "ctx_a": "b", "ctx_b": "", "endings": ["1", "2", "3", "4"], "label": 0})"
                           "\n";
  EXPECT_THAT(wrong({path(good + "{\"activity_label\": \n")}, 3), AllOf(HasSubstr("val.jsonl:2"), HasSubstr("questions")));
  EXPECT_THAT(
      wrong({path(good + R"({"activity_label": "a", "ctx_a": "b", "ctx_b": "", "endings": ["1", "2", "3"], "label": 0})")}, 3),
      AllOf(HasSubstr("val.jsonl:2"), HasSubstr("expected four endings, got 3")));
  EXPECT_THAT(
      wrong({path(R"({"activity_label": "a", "ctx_a": "b", "ctx_b": "", "endings": ["1", "2", "3", "4"], "label": 4})")}, 3),
      AllOf(HasSubstr("val.jsonl:1"), HasSubstr("0..3")));
  EXPECT_THAT(wrong({"questions.shots=5"}, 2), HasSubstr("no `pool`"));
  EXPECT_THAT(wrong({path(good), "questions.shots=5", "questions.pool=" + out("val.jsonl")}, 3), HasSubstr("holds 1 items"));
}

TEST_F(hellaswag_cli, counts_contexts_that_it_cuts) {
  auto const r = run_wayfarer({"run", runs + "hellaswag-baseline.yaml", "--out", out("r.h5"), "--set", "baseline.items=0:20",
                               "--set", tiny, "--threads", "2"});
  ASSERT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, HasSubstr("20 contexts cut"));
  EXPECT_EQ(wayfarer::host::result_reader(out("r.h5")).read("baseline", "contexts_cut").scalar(), 20);
}

}  // namespace
