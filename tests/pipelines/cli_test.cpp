// The program from the outside: what a user types, sees and is left with.
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "command.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

namespace {

// Everything the house has, small: a trained model with snapshots, probes with and without a forward pass, metrics.
constexpr char small[] = R"(title: Small
seed: 3
nodes:
  documents: {source: lda, documents: 400, length_min: 20, length_max: 30}
  held_out: {source: lda, documents: 200, split: dev}
  learner:
    model: topic_transformer
    regime: R4
    train: {source: documents, held_out: held_out, updates: 60, snapshots: [0, 30], optimizer: adam, learning_rate: 0.01, log_every: 10, held_out_every: 20}
  blocks: {probe: topic_blocks, model: learner, source: documents}
  attention: {probe: topic_attention, model: learner, source: held_out, items: 0:100, block: 16}
  examples: {probe: attention_examples, model: learner, source: held_out, items: 0:3, max_tokens: 40}
  floor: {probe: bayes_floor, source: held_out}
  contrast: {metric: group_contrast, of: blocks/value_blocks}
expect:
  contrast/difference: {at_least: 0, source: test}
  floor/cross_entropy: {at_most: 0.001, source: a miss on purpose}
)";

struct cli : scratch {
  fs::path pipeline = file("small.yaml", small);
  std::string out(std::string const& name) const { return (folder / name).string(); }
};

TEST_F(cli, runs_a_pipeline_and_compares_with_what_was_expected) {
  auto const r = run_wayfarer({"run", pipeline, "--out", out("r.h5")});
  EXPECT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, AllOf(HasSubstr("contrast/difference"), HasSubstr("at least 0"), HasSubstr("1 of 2 expectations missed"),
                           HasSubstr("datasets")));
  EXPECT_EQ(run_wayfarer({"run", pipeline, "--out", out("r.h5"), "--quiet", "--strict"}).code, 1);
  auto const shown = run_wayfarer({"show", out("r.h5")});
  EXPECT_EQ(shown.code, 0);
  EXPECT_THAT(shown.out, AllOf(HasSubstr("Small"), HasSubstr("topic_transformer"), HasSubstr("value_blocks")));
}

// The promise: threads change how long a run takes and nothing else. Bytes may differ where /_run says when, with how many
// threads and in how much memory the run was made; those values have fixed sizes, so the files must agree everywhere else.
TEST_F(cli, results_have_the_same_bytes_for_any_number_of_threads) {
  std::vector<std::string> files;
  for (char const* threads : {"1", "2", "4"}) {
    auto const r = run_wayfarer({"run", pipeline, "--out", out(std::string(threads) + ".h5"), "--threads", threads, "--quiet"});
    ASSERT_EQ(r.code, 0) << r.out;
    files.push_back(slurp(out(std::string(threads) + ".h5")));
    auto const same = run_wayfarer({"compare", out("1.h5"), out(std::string(threads) + ".h5")});
    EXPECT_EQ(same.code, 0) << same.out;
  }
  for (auto const& f : files) {
    ASSERT_EQ(f.size(), files[0].size());
    std::size_t different = 0;
    for (std::size_t i = 0; i < f.size(); ++i) different += f[i] != files[0][i];
    EXPECT_LT(different, 400u);
  }
  auto const other = run_wayfarer({"run", pipeline, "--out", out("seed.h5"), "--set", "seed=4", "--quiet"});
  ASSERT_EQ(other.code, 0) << other.out;
  EXPECT_EQ(run_wayfarer({"compare", out("1.h5"), out("seed.h5")}).code, 1);
}

TEST_F(cli, a_killed_run_leaves_the_old_result_or_none) {
  auto const time = [&] {
    auto const begin = std::chrono::steady_clock::now();
    EXPECT_EQ(run_wayfarer({"run", pipeline, "--out", out("whole.h5"), "--quiet"}).code, 0);
    return std::chrono::steady_clock::now() - begin;
  }();
  for (bool old_one : {false, true})
    for (int i = 1; i <= 10; ++i) {
      std::string const target = out("killed.h5");
      fs::remove(target);
      if (old_one) fs::copy_file(out("whole.h5"), target);
      pid_t const child = start({"run", pipeline, "--out", target, "--quiet"}, folder / "log");
      std::this_thread::sleep_for(time * i / 10);
      kill(child, SIGKILL);
      finish(child, folder / "log");
      if (old_one || fs::exists(target)) {
        EXPECT_EQ(run_wayfarer({"compare", out("whole.h5"), target}).code, 0) << "killed after " << i << " tenths";
      }
    }
  // What killed runs left behind is swept by the next.
  EXPECT_EQ(run_wayfarer({"run", pipeline, "--out", out("killed.h5"), "--quiet"}).code, 0);
  for (auto const& entry : fs::directory_iterator(folder)) EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr(".tmp.")));
}

TEST_F(cli, a_full_disk_ends_in_a_clear_error_and_no_file) {
  // A file-size limit is a full disk that needs no privilege; where mounting is allowed the real thing is tried too.
  auto const limited = run_wayfarer({"run", pipeline, "--out", out("r.h5"), "--quiet"}, [] {
    rlimit const limit{40000, 40000};
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
  });
  EXPECT_EQ(limited.code, 5) << limited.out;
  EXPECT_THAT(limited.out, HasSubstr("r.h5"));
  EXPECT_FALSE(fs::exists(out("r.h5")));
  fs::create_directory(folder / "disk");
  if (mount("tmpfs", (folder / "disk").c_str(), "tmpfs", 0, "size=40k") == 0) {
    auto const full = run_wayfarer({"run", pipeline, "--out", out("disk/r.h5"), "--quiet"});
    EXPECT_EQ(full.code, 5) << full.out;
    EXPECT_THAT(full.out, HasSubstr("No space left"));
    EXPECT_TRUE(fs::is_empty(folder / "disk"));
    umount((folder / "disk").c_str());
  }
}

TEST_F(cli, an_output_folder_that_is_not_there_is_a_clear_error) {
  auto const r = run_wayfarer({"run", pipeline, "--out", out("nowhere/r.h5"), "--quiet"});
  EXPECT_EQ(r.code, 2);
  EXPECT_THAT(r.out, AllOf(HasSubstr("nowhere"), HasSubstr("mkdir -p")));
}

TEST_F(cli, a_result_replaces_an_earlier_result_and_nothing_else) {
  auto const tiny = file("tiny.yaml", "nodes:\n  documents: {source: lda, documents: 2, length_min: 5, length_max: 5}\n");
  auto const run = [&](std::string const& to, std::vector<std::string> const& more = {}) {
    std::vector<std::string> words{"run", tiny, "--quiet", "--out", to};
    words.insert(words.end(), more.begin(), more.end());
    return run_wayfarer(words);
  };
  // What run refuses, check refuses in the same words, and nothing is touched.
  auto const refused = [&](std::string const& to, std::vector<std::string> const& more, std::string const& why) {
    bool const there = fs::is_regular_file(to);
    std::string const before = there ? slurp(to) : "";
    auto const r = run(to, more);
    EXPECT_EQ(r.code, 2) << to;
    EXPECT_THAT(r.out, HasSubstr(why));
    std::vector<std::string> words{"check", tiny, "--out", to};
    words.insert(words.end(), more.begin(), more.end());
    auto const c = run_wayfarer(words);
    EXPECT_EQ(c.code, 2) << to;
    EXPECT_EQ(c.out, r.out);
    if (there) {
      EXPECT_EQ(slurp(to), before);
    }
  };
  std::string const result = out("r.h5");
  EXPECT_THAT(run(result).out, Not(HasSubstr("replaced")));
  auto const again = run(result);
  EXPECT_EQ(again.code, 0) << again.out;
  EXPECT_THAT(again.out, HasSubstr("r.h5 exists already and will be replaced\n"));

  auto const thesis = file("thesis.txt", "my thesis\n");
  refused(thesis, {}, "not a result of Wayfarer");
  refused(file("almost.h5", "\x89HDF\r\n\x1a\n and no more"), {}, "not a result of Wayfarer");
  for (auto const& more : {std::vector<std::string>{}, std::vector<std::string>{"--force"}}) {
    refused(tiny, more, "is read by this run");
    refused(folder, more, "is a folder");
    refused("", more, "is empty");
    refused("/dev/null", more, "is a device");
  }
  refused(out("{sed}.h5"), {}, "did you mean 'seed'?");
  for (auto const& to : {thesis.string(), result, std::string("/dev/null"), out("none/r.html")}) {
    auto const r = run_wayfarer({"report", result, "--out", to});
    if (r.out.find("built without the page") == r.out.npos) {
      EXPECT_EQ(r.code, 2) << r.out;
    }
    EXPECT_EQ(slurp(thesis), "my thesis\n");
  }
  EXPECT_EQ(run(thesis, {"--force"}).code, 0);
  EXPECT_EQ(run_wayfarer({"compare", result, thesis}).code, 0);

  // A link stays a link, and a file keeps its mode.
  fs::create_symlink("r.h5", out("link"));
  fs::permissions(result, static_cast<fs::perms>(0640));
  EXPECT_EQ(run(out("link")).code, 0);
  EXPECT_TRUE(fs::is_symlink(out("link")));
  EXPECT_EQ(fs::status(result).permissions(), static_cast<fs::perms>(0640));

  EXPECT_EQ(run(out("s{seed}-{documents.length_min}.h5"), {"--set", "seed=9"}).code, 0);
  EXPECT_TRUE(fs::exists(out("s9-5.h5")));
}

TEST_F(cli, output_that_is_lost_is_an_error) {
  std::string const result = out("r.h5");
  auto const tiny = file("tiny.yaml", "nodes:\n  documents: {source: lda, documents: 2, length_min: 5, length_max: 5}\n");
  ASSERT_EQ(run_wayfarer({"run", tiny, "--quiet", "--out", result}).code, 0);
  std::vector<std::vector<std::string>> const printing{{"--version"},
                                                       {"--help"},
                                                       {"run", "--help"},
                                                       {"plugins", "list"},
                                                       {"plugins", "list", "--json"},
                                                       {"plugins", "describe", "lda"},
                                                       {"check", tiny},
                                                       {"graph", tiny},
                                                       {"run", tiny, "--quiet", "--out", out("other.h5")},
                                                       {"show", result},
                                                       {"show", result, "_run/pipeline"},
                                                       {"compare", result, result},
                                                       {"completion", "bash"},
                                                       {"doctor"}};
  for (auto const& words : printing) {
    SCOPED_TRACE(words.front());
    auto const full = run_wayfarer(words, [] { dup2(::open("/dev/full", O_WRONLY), 1); });
    EXPECT_EQ(full.code, 5) << full.out;
    EXPECT_THAT(full.out, HasSubstr("can't write to standard output"));
    auto const closed = run_wayfarer(words, [] { close(1); });
    EXPECT_EQ(closed.code, 5) << closed.out;
    EXPECT_THAT(closed.out, HasSubstr("can't write to standard output"));
    // Nobody reads, and the signal that would say so is ignored, as under some parents.
    auto const gone = run_wayfarer(words, [] {
      int ends[2];
      if (pipe(ends) != 0) _exit(9);
      close(ends[0]), dup2(ends[1], 1), signal(SIGPIPE, SIG_IGN);
    });
    EXPECT_EQ(gone.code, 128 + SIGPIPE) << gone.out;
    EXPECT_THAT(gone.out, Not(HasSubstr("wayfarer:")));
  }
  // Nothing of what was printed went into a file that got the number of the closed stream.
  EXPECT_EQ(run_wayfarer({"compare", result, out("other.h5")}).code, 0);
}

TEST_F(cli, names_do_not_reach_the_terminal_as_they_are) {
  std::string const evil = "a\033]0;title\a\xe2\x80\xae";
  for (std::vector<std::string> const& words :
       {std::vector<std::string>{"run", evil},
        {"check", evil + ".yaml"},
        {"show", evil},
        {"compare", evil, evil},
        {"plugins", "describe", evil},
        {evil},
        {"run", pipeline, "--out", evil + "/r.h5"},
        {"run", pipeline, "--set", evil},
        {"model", "info", "gpt2", "--path", evil},
        {"tokenize", "gpt2", "--path", evil},
        {"bench", "models", evil},
        {"check", file("odd.yaml", "title: \"\\e]0;x\\a\"\nnodes:\n  \"\\e[2J\": {source: lda, \"\\u202e\": 1}\n")}}) {
    auto const r = run_wayfarer(words);
    EXPECT_THAT(r.out, AllOf(Not(HasSubstr("\033")), Not(HasSubstr("\xe2\x80\xae")))) << words.front();
    EXPECT_NE(r.code, 0);
  }
}

TEST_F(cli, check_reports_eight_mistakes_at_once) {
  auto const bad = file("bad.yaml", R"(title: Eight mistakes
nodes:
  documents: {source: lda, topcs: 10}
  few: {source: lda, documents: none}
  much: {source: lda, alpha: -1}
  structure: {probe: topic_block, model: learner}
  backwards: {probe: topic_blocks, model: documents}
  learner: {model: topic_transformer, loss: crossentropy, train: {source: documnts}}
  lonely: {metric: group_contrast}
expect:
  contrast/ratio: {at_least: 1}
)");
  for (char const* verb : {"check", "run"}) {
    auto const r = run_wayfarer({verb, bad});
    EXPECT_EQ(r.code, 2);
    EXPECT_THAT(r.out, AllOf(HasSubstr("bad.yaml:3:28: lda has no parameter 'topcs'; did you mean 'topics'?"),
                             HasSubstr("bad.yaml:4:"), HasSubstr("bad.yaml:5:"), HasSubstr("did you mean 'topic_blocks'?"),
                             HasSubstr("'model' needs a model, but 'documents' is a source"),
                             HasSubstr("did you mean 'cross_entropy'?"), HasSubstr("did you mean 'documents'?")));
    EXPECT_THAT(r.out, AllOf(HasSubstr("bad.yaml:9:"), HasSubstr("bad.yaml:11:"), HasSubstr("errors; nothing was run")));
  }
}

TEST_F(cli, a_sound_pipeline_is_checked_without_being_run) {
  auto const r = run_wayfarer({"check", pipeline});
  EXPECT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, AllOf(HasSubstr("8 nodes"), HasSubstr("no problems"), HasSubstr("activations of the largest block")));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1);
  EXPECT_THAT(run_wayfarer({"graph", pipeline}).out, AllOf(HasSubstr("digraph"), HasSubstr("\"learner\" -> \"blocks\"")));
}

TEST_F(cli, a_budget_too_small_for_one_block_says_what_to_do) {
  auto const r = run_wayfarer({"run", pipeline, "--out", out("r.h5"), "--memory-budget", "1K", "--quiet"});
  EXPECT_EQ(r.code, 5);
  EXPECT_THAT(r.out, AllOf(HasSubstr("memory budget"), HasSubstr("block:")));
  EXPECT_EQ(run_wayfarer({"run", pipeline, "--out", out("r.h5"), "--memory-budget", "64M", "--quiet"}).code, 0);
  // Only the sweep that does not fit is named, and making its block smaller is enough.
  auto const one = run_wayfarer({"run", pipeline, "--out", out("r.h5"), "--memory-budget", "512K", "--quiet"});
  EXPECT_EQ(one.code, 5) << one.out;
  EXPECT_THAT(one.out,
              AllOf(HasSubstr("attention (topic_attention"), HasSubstr("one block of 16 items"), Not(HasSubstr("examples"))));
  auto const smaller =
      run_wayfarer({"run", pipeline, "--out", out("r.h5"), "--memory-budget", "512K", "--quiet", "--set", "attention.block=4"});
  EXPECT_EQ(smaller.code, 0) << smaller.out;
}

TEST_F(cli, the_command_line_is_explained_and_checked) {
  for (char const* verb : {"run", "check", "graph", "plugins", "show", "compare"}) {
    auto const help = run_wayfarer({verb, "--help"});
    EXPECT_EQ(help.code, 0) << verb;
    EXPECT_THAT(help.out, AllOf(HasSubstr(std::string("wayfarer ") + verb), HasSubstr("xample"))) << verb;
  }
  EXPECT_THAT(run_wayfarer({"rnu"}).out, HasSubstr("did you mean 'run'?"));
  EXPECT_EQ(run_wayfarer({"rnu"}).code, 2);
  EXPECT_EQ(run_wayfarer({"run"}).code, 2);
  EXPECT_THAT(run_wayfarer({"run", pipeline, "--thread", "2"}).out, HasSubstr("threads"));
  EXPECT_EQ(run_wayfarer({"run", (folder / "absent.yaml").string()}).code, 3);
  EXPECT_EQ(run_wayfarer({"show", pipeline}).code, 3);
  EXPECT_EQ(run_wayfarer({"plugins", "describe", "topic_block"}).code, 2);
  EXPECT_EQ(run_wayfarer({"plugins", "describe", "topic_blocks"}).code, 0);
}

TEST_F(cli, the_instruction_set_is_a_known_one_and_may_be_limited) {
  auto const with = [](char const* set) { return [set] { ::setenv("WAYFARER_ISA", set, 1); }; };
  auto const wrong = run_wayfarer({"check", pipeline}, with("axv2"));
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.out, HasSubstr("WAYFARER_ISA is 'axv2'; set it to baseline, avx2 or avx512, or unset it"));
  EXPECT_THAT(run_wayfarer({"doctor"}, with("baseline")).out, HasSubstr("baseline (limited by WAYFARER_ISA)"));
}

TEST_F(cli, malformed_documents_end_with_file_line_and_column) {
  file("docs.txt", "1 2 3 END\n1 x 3 END\n");
  auto const r = run_wayfarer({"run", pipeline, "--out", out("r.h5"), "--set", "documents.path=" + out("docs.txt")});
  EXPECT_EQ(r.code, 3) << r.out;
  EXPECT_THAT(r.out, HasSubstr("docs.txt:2:3"));
}

// h5py and xarray open the file with named dimensions, units and texts.
TEST_F(cli, python_readers_open_the_result) {
  ASSERT_EQ(run_wayfarer({"run", pipeline, "--out", out("r.h5"), "--quiet"}).code, 0);
  std::string const command =
      "/usr/bin/python3 " WAYFARER_SOURCE_DIR "/tests/pipelines/readers_test.py " + out("r.h5") + " > " + out("log") + " 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0) << slurp(out("log"));
}

}  // namespace
