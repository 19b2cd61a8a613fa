// Training through the real program: snapshots that a probe follows, a run that is killed and goes on, and the checkpoint that is
// shipped.
#include <cmath>
#include <cstdint>
#include <vector>

#include <gmock/gmock.h>

#include <store/store.hpp>
#include <wayfarer/digest.hpp>
#include <wayfarer/tensor.hpp>

#include "pipelines/command.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

namespace {

/// "node/dataset", as float64.
wayfarer::tensor read_values(std::string const& file, std::string const& node, std::string const& dataset) {
  return wayfarer::host::result_reader(file).read(node, dataset).values().to(wayfarer::dtype::f64);
}

struct train_cli : scratch {
  std::string out(std::string const& name) const { return (folder / name).string(); }
};

std::string const shipped = WAYFARER_SOURCE_DIR "/runs/data/tiny-shakespeare-gpt2";

TEST_F(train_cli, a_probe_follows_the_snapshots_and_the_checkpoint_is_a_model) {
  std::string const nodes = R"(title: Learning
nodes:
  plays: {source: text, path: )" +
                            shipped + R"(/held-out.txt.gz, split: whole}
  lines: {source: text, texts: ["ROMEO:\nI do remember an apothecary", "What is thy name?"]}
)";
  auto const pipeline =
      file("train.yaml", nodes + "  learner: {model: gpt2_trained, tokenizer: " + shipped +
                             ", train: {source: plays, held_out: lines, updates: 30, learning_rate: 5e-3, "
                             "snapshots: [0, 10], save_as: f32, state_every: 5, save: " +
                             out("model") + "}}\n  loss: {probe: language_loss, model: learner, source: lines}\n");
  auto const whole = run_wayfarer({"run", pipeline, "--out", out("whole.h5"), "--threads", "1"});
  ASSERT_EQ(whole.code, 0) << whole.out;
  EXPECT_THAT(whole.out, AllOf(HasSubstr("30 updates of"), HasSubstr("a character")));
  auto const followed = read_values(out("whole.h5"), "loss", "loss");
  ASSERT_EQ(followed.shape().size(), 1u);
  EXPECT_EQ(followed.shape()[0].name, "step");
  ASSERT_EQ(followed.shape()[0].size, 3u);
  EXPECT_NEAR(followed.get({0}), std::log(2048), 0.2);
  EXPECT_LT(followed.get({2}), followed.get({0}) - 1);

  // The folder that was written says the same as the last snapshot.
  auto const again = file("read.yaml", nodes + "  model: {model: gpt2, path: " + out("model") +
                                           "}\n  loss: {probe: language_loss, model: model, source: lines}\n");
  auto const read = run_wayfarer({"run", again, "--out", out("read.h5")});
  ASSERT_EQ(read.code, 0) << read.out;
  EXPECT_EQ(read_values(out("read.h5"), "loss", "loss").get({}), followed.get({2}));
}

TEST_F(train_cli, equal_snapshots_are_measured_once_and_told) {
  auto const pipeline =
      file("train.yaml", R"(title: Standing still
nodes:
  lines: {source: text, texts: ["ROMEO:\nI do remember an apothecary", "What is thy name, and what is thy will?"]}
  learner: {model: gpt2_trained, context: 16, tokenizer: )" +
                             shipped +
                             R"(, train: {source: lines, updates: 3, warm_up: 0, batch: 1, snapshots: [0, 1, 2]}}
  loss: {probe: language_loss, model: learner, source: lines}
  means: {probe: activations, model: learner, source: lines, hooks: ["blocks.1.hook_resid_post"], keep: mean}
  moved: {probe: language_loss, model: learner, source: lines, edits: [{hook: blocks.0.hook_resid_post, set: {node: means/blocks.1.hook_resid_post}}]}
)");
  auto const run = [&](std::string const& to, std::vector<std::string> more) {
    std::vector<std::string> words{"run", pipeline, "--out", out(to), "--reproducible"};
    words.insert(words.end(), more.begin(), more.end());
    auto r = run_wayfarer(words);
    EXPECT_EQ(r.code, 0) << r.out;
    return r.out;
  };
  std::string const still = "learner.train.learning_rate=0";
  auto const told = run("still.h5", {"--set", still, "--store", out("still")});
  EXPECT_THAT(told, AllOf(HasSubstr("3 of 4 snapshots equal earlier ones: measured once"), HasSubstr(", left 2 blocks")));
  auto const learning = run("learning.h5", {"--store", out("learning")});
  EXPECT_THAT(learning, AllOf(Not(HasSubstr("equal earlier")), HasSubstr(", left 8 blocks")));
  EXPECT_THAT(wayfarer::host::result_reader(out("learning.h5")).datasets("learner"), Not(Contains("same_weights_as_step")));

  // The same as of a training that keeps its end alone, at every step.
  run("end.h5", {"--set", still, "--set", "learner.train.snapshots=[]"});
  auto const same = read_values(out("still.h5"), "learner", "same_weights_as_step");
  ASSERT_EQ(same.count(), 4u);
  for (std::string const node : {"loss", "moved"}) {
    auto const all = read_values(out("still.h5"), node, "loss"), end = read_values(out("end.h5"), node, "loss");
    ASSERT_EQ(all.count(), 4u);
    for (std::size_t s = 0; s < 4; ++s) {
      EXPECT_EQ(same.get({s}), 0) << s;
      EXPECT_EQ(all.get({s}), end.get({0})) << node << " " << s;
    }
  }
  EXPECT_NE(read_values(out("still.h5"), "moved", "loss").get({0}), read_values(out("still.h5"), "loss", "loss").get({0}));
  // Another process has the snapshots from a file.
  run("work.h5", {"--set", still, "--work", out("work"), "--worker", "1/1"});
  EXPECT_EQ(wayfarer::sha256_file(out("work.h5")), wayfarer::sha256_file(out("still.h5")));
}

TEST_F(train_cli, a_killed_run_goes_on_and_gives_the_same_results) {
  auto const pipeline =
      file("train.yaml", "title: Learning\nnodes:\n  plays: {source: text, path: " + shipped +
                             "/held-out.txt.gz, split: whole}\n  learner: {model: gpt2_trained, train: {source: "
                             "plays, held_out: plays, held_out_windows: 4, updates: 800, state_every: 20}}\n");
  auto const arguments = [&](std::string const& to, std::string const& state) {
    return std::vector<std::string>{"run", pipeline, "--out", out(to), "--set", "learner.train.state=" + out(state)};
  };
  auto const log = folder / "log";
  pid_t const child = start(arguments("a.h5", "state"), log);
  wait_until(child, [&] { return std::filesystem::exists(folder / "state/state.safetensors"); });
  kill(child, SIGKILL);
  EXPECT_EQ(finish(child, log).code, -SIGKILL);
  ASSERT_TRUE(std::filesystem::exists(folder / "state/state.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(folder / "a.h5"));
  auto const resumed = run_wayfarer(arguments("a.h5", "state"));
  ASSERT_EQ(resumed.code, 0) << resumed.out;
  auto const whole = run_wayfarer(arguments("b.h5", "other"));
  ASSERT_EQ(whole.code, 0) << whole.out;
  for (std::string const name : {"loss", "held_out_loss", "gradient_norm"}) {
    auto const a = read_values(out("a.h5"), "learner", name), b = read_values(out("b.h5"), "learner", name);
    ASSERT_EQ(a.count(), b.count()) << name;
    for (std::size_t i = 0; i < a.count(); ++i) ASSERT_EQ(a.get({i}), b.get({i})) << name << " " << i;
  }
}

TEST_F(train_cli, the_shipped_model_has_learned_shakespeare) {
  auto const pipeline =
      file("loss.yaml", "title: Loss\nnodes:\n  rest: {source: text, path: " + shipped +
                            "/held-out.txt.gz, split: window, window: 20000}\n  model: {model: gpt2, path: " + shipped +
                            "}\n  loss: {probe: language_loss, model: model, source: rest, items: 2, per_token: false}\n");
  auto const r = run_wayfarer({"run", pipeline, "--out", out("loss.h5")});
  ASSERT_EQ(r.code, 0) << r.out;
  // Windows overlap here, so that every token is seen in context: less than the 1.52 nats of training's own measure.
  EXPECT_LT(read_values(out("loss.h5"), "loss", "bits_per_character").get({}) * std::log(2), 1.52);
}

TEST_F(train_cli, what_does_not_fit_is_said_with_the_node) {
  auto const bad = [&](std::string const& learner) {
    return run_wayfarer(
        {"run",
         file("bad.yaml", "title: Bad\nnodes:\n  few: {source: text, texts: [\"too short\"]}\n  learner: {model: gpt2_trained, " +
                              learner + "}\n"),
         "--out", out("bad.h5")});
  };
  auto const few = bad("train: {source: few}");
  EXPECT_EQ(few.code, 3) << few.out;
  EXPECT_THAT(few.out, AllOf(HasSubstr("learner"), HasSubstr("9 tokens"), HasSubstr("context")));
  auto const heads = bad("heads: 5, train: {source: few}");
  EXPECT_EQ(heads.code, 2) << heads.out;
  EXPECT_THAT(heads.out, HasSubstr("5 heads do not divide d_model 32"));
  auto const name = bad("train: {source: few, update: 5}");
  EXPECT_EQ(name.code, 2) << name.out;
  EXPECT_THAT(name.out, HasSubstr("did you mean 'train.updates'"));
}

}  // namespace
