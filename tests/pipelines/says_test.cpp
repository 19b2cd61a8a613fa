// What the program says while people find their way: first mistakes, what check knows before a run, progress, differences of
// results, findings.
#include <csignal>

#include <gmock/gmock.h>

#include "command.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

namespace {

constexpr char gpt2[] = "  gpt2: {model: gpt2, path: " WAYFARER_SOURCE_DIR "/runs/data/tiny-gpt2}\n";

struct says : scratch {
  std::string out(std::string const& name) const { return (folder / name).string(); }
  outcome check(std::string const& nodes, std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"check", file("p.yaml", "nodes:\n" + nodes).string()});
    return run_wayfarer(std::move(more));
  }
};

TEST_F(says, what_people_write_first_works_or_is_answered_with_the_form_to_write) {
  std::string const words = "  s: {source: tokens, ids: [[1, 2, 3], [4, 5]]}\n";
  EXPECT_EQ(check(gpt2 + words +
                  "  a: {probe: activations, model: gpt2, source: s, hooks: [logits], edits: [{hook: hook_embed, set: 0}]}\n")
                .code,
            0);
  auto const says_of = [&](std::string const& node) {
    auto const r = check(gpt2 + words + "  a: {probe: activations, source: s, " + node + "}\n");
    EXPECT_EQ(r.code, 2) << node;
    return r.out;
  };
  EXPECT_THAT(says_of("model: gpt2, hooks: \"hook_embed, logits\""), HasSubstr("several are a list: [hook_embed, logits]"));
  EXPECT_THAT(says_of("model: gpt2, hooks: hook_resid_post"),
              HasSubstr("write 'blocks.*.hook_resid_post' for that of every layer"));
  EXPECT_THAT(says_of("model: gpt2, hooks: logits, precision: float64"), HasSubstr("write f64"));
  EXPECT_THAT(says_of("model: gpt2_trained, hooks: logits"),
              HasSubstr("that is a plugin, which needs a node of its own, such as gpt2_trained: {model: gpt2_trained}"));
  EXPECT_THAT(says_of("model: gpt2, hooks: logits, edits: [{hook: hook_embed, positions: last, set: zero}]"),
              HasSubstr("write -1"));
  EXPECT_THAT(check("  m: {model: models/gpt2}\n").out, HasSubstr("model: ID, path: models/gpt2"));
}

TEST_F(says, mistakes_in_a_list_are_all_reported_each_where_it_stands) {
  auto const r = check(gpt2 + std::string(R"(  s: {source: tokens, ids: ["1 2"]}
  a:
    probe: activations
    model: gpt2
    source: s
    hooks:
      - hook_embd
      - hook_embed
      - blocks.0.hook_resid_pst
  t:
    source: tokens
    ids:
      - 1 2
      - 3 x
      - "4,,5"
)"));
  EXPECT_EQ(r.code, 2);
  EXPECT_THAT(
      r.out,
      AllOf(
          HasSubstr("p.yaml:9:9: a: gpt2 has no hook 'hook_embd'; did you mean 'hook_embed'?; 'wayfarer model hooks' lists all"),
          HasSubstr("p.yaml:11:9: a: gpt2 has no hook 'blocks.0.hook_resid_pst'"), HasSubstr("p.yaml:16:9: t (tokens): list 1"),
          HasSubstr("p.yaml:17:9: t (tokens): list 2"), HasSubstr("4 errors")));
}

TEST_F(says, check_refuses_what_a_run_would) {
  std::string const texts = "  s: {source: text, texts: [\"Anna gave a key to Ben\", \"Ben gave a key\"]}\n";
  std::string const of = "model: gpt2, source: s";
  EXPECT_THAT(check(gpt2 + texts + "  a: {probe: patching, " + of + "}\n").out, HasSubstr("items 0 and 1 have"));
  auto const answers =
      check(gpt2 + texts + "  a: {probe: logit_attribution, " + of + ", answer: [\" Anna\", \" Annabella or Ben\"]}\n");
  EXPECT_EQ(answers.code, 2);
  EXPECT_THAT(answers.out, HasSubstr("is no single token of the model"));
  auto const sweep =
      check(gpt2 + texts + "  a: {probe: activations, " + of + ", hooks: [hook_embed], sweep: {positions: [[all], [last]]}}\n");
  EXPECT_EQ(sweep.code, 2);
  EXPECT_THAT(sweep.out, HasSubstr("'sweep' changes the shape of 'hook_embed'"));
  EXPECT_EQ(check(gpt2 + texts + "  a: {probe: logit_lens, " + of + ", sweep: {positions: [[last], [0]]}}\n").code, 0);
}

TEST_F(says, a_pipeline_that_is_not_there_has_a_near_name) {
  file("topic-values.yaml", "nodes:\n" + std::string(gpt2));
  fs::create_directory(folder / "runs");
  fs::rename(folder / "topic-values.yaml", folder / "runs/topic-values.yaml");
  auto const in = [&] { fs::current_path(folder); };
  for (char const* wrong : {"runs/topic-value.yaml", "topic-values.yaml", "topic-values", "run/topic-values.yaml"}) {
    auto const r = run_wayfarer({"run", wrong}, in);
    EXPECT_EQ(r.code, 3) << r.out;
    EXPECT_THAT(r.out, AllOf(HasSubstr("can't open: No such file"), HasSubstr("did you mean 'runs/topic-values.yaml'?")))
        << wrong;
  }
}

TEST_F(says, a_run_shows_how_far_the_whole_of_it_is) {
  auto const pipeline = file("p.yaml", R"(nodes:
  documents: {source: lda, documents: 2000}
  learner: {model: topic_transformer, train: {source: documents, updates: 1000000, snapshots: [0, 1000000]}}
  structure: {probe: topic_blocks, model: learner}
)");
  fs::path const log = folder / "log";
  pid_t const child = start({"run", pipeline.string(), "--out", out("r.h5")}, log);
  bool const shown = wait_until(child, [&] { return slurp(log).find("parts done: learner") != std::string::npos; });
  kill(child, SIGKILL);
  auto const r = finish(child, log);
  EXPECT_TRUE(shown) << r.out;
  EXPECT_THAT(r.out, AllOf(HasSubstr("run "), HasSubstr(" %, 0 of 2 parts done: learner"), HasSubstr("of 1,000,000")));
}

TEST_F(says, results_are_told_apart_by_key_and_every_part_of_a_run_is_shown) {
  std::string const head = "title: T\nnodes:\n" + std::string(gpt2);
  auto const run = [&](std::string const& name, std::string const& rest) {
    auto const r = run_wayfarer({"run", file(name + ".yaml", head + rest).string(), "--out", out(name + ".h5"), "--quiet"});
    ASSERT_EQ(r.code, 0) << r.out;
  };
  run("a",
      "  s: {source: text, texts: [\"Anna gave a key to Ben\"]}\n  a: {probe: logit_lens, model: gpt2, source: s, k: 3, "
      "max_tokens: 4}\n");
  run("b",
      "  s: {source: text, texts: [\"Anna gave a key to Ben\"]}\n  a: {probe: logit_lens, model: gpt2, source: s, k: 5, "
      "max_tokens: 5}\n");
  auto const c = run_wayfarer({"compare", out("a.h5"), out("b.h5")});
  EXPECT_EQ(c.code, 1);
  EXPECT_THAT(c.out, AllOf(HasSubstr("parameters.k '3' against '5'"), HasSubstr("plan.nodes.a.max_tokens '4' against '5'"),
                           HasSubstr("line 5: "), Not(HasSubstr("parameters.positions"))));
  for (char const* part :
       {"pipeline", "plan", "versions", "inputs", "environment", "threads", "started", "ended", "peak_memory", "seconds"}) {
    auto const r = run_wayfarer({"show", out("a.h5"), std::string("_run/") + part});
    EXPECT_EQ(r.code, 0) << part << r.out;
    EXPECT_GT(r.out.size(), 1u) << part;
  }
  EXPECT_THAT(run_wayfarer({"show", out("a.h5"), "_run/inputs"}).out, AllOf(HasSubstr("model.safetensors"), HasSubstr("sha256")));
  EXPECT_EQ(run_wayfarer({"show", out("a.h5"), "_run/nothing"}).code, 3);
}

TEST_F(says, pages_list_the_keys_of_the_host) {
  for (char const* how : {"", "--json", "--markdown"}) {
    std::vector<std::string> words{"plugins", "describe", "activations"};
    if (*how) words.push_back(how);
    auto const r = run_wayfarer(words);
    for (char const* key : {"items", "max_tokens", "block", "edits", "precision", "sweep"})
      EXPECT_THAT(r.out, HasSubstr(key)) << how;
  }
  EXPECT_THAT(run_wayfarer({"plugins", "describe", "lda"}).out, Not(HasSubstr("key of the host")));
}

TEST_F(says, probes_end_with_what_they_found) {
  auto const pipeline = file("p.yaml", "nodes:\n" + std::string(gpt2) +
                                           R"(  s: {source: text, texts: ["Anna gave a key to Ben", "Ben gave a key to Anna"]}
  states: {probe: activations, model: gpt2, source: s, hooks: [hook_embed, logits]}
  blame: {probe: logit_attribution, model: gpt2, source: s, answer_ids: [5]}
  trace: {probe: patching, model: gpt2, source: s, kinds: [resid_pre], answer_ids: [5], against_ids: [6]}
  maps: {probe: attention_examples, model: gpt2, source: s}
)");
  auto const r = run_wayfarer({"run", pipeline.string(), "--out", out("r.h5")});
  ASSERT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, AllOf(HasSubstr("2 hooks of 2 items: root mean square "), HasSubstr(" at logits"), HasSubstr(" logits to '"),
                           HasSubstr("in the mean over 2 positions"), HasSubstr("of the logit difference, in 1 pair"),
                           HasSubstr("mean attention of a position to itself ")));
}

}  // namespace
