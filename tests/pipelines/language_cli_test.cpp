// Sources and probes of language models through the real program, on the tiny GPT-2 that the runs use.
#include <cstdint>

#include <gmock/gmock.h>
#include <sys/resource.h>

#include "command.hpp"
#include "store/sanitized.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

namespace {

std::string const model = "gpt2: {model: gpt2, path: " WAYFARER_SOURCE_DIR "/runs/data/tiny-gpt2}\n";

struct language_cli : scratch {
  std::string out(std::string const& name) const { return (folder / name).string(); }
};

TEST_F(language_cli, results_have_the_same_bytes_for_any_number_of_threads) {
  // Blocks that cut pairs apart, texts longer than the context, rows and means.
  std::string corpus;
  for (int i = 0; i < 30; ++i) {
    corpus += "Then Anna and Ben went to Rome.";
    for (int k = 0; k < i; ++k) corpus += k % 2 == 0 ? " Ben gave a key to Anna." : " Anna gave a rose to Ben.";
    corpus += '\n';
  }
  file("corpus.txt", corpus);
  auto const pipeline = file("all.yaml", "title: All\nseed: 1\nnodes:\n  " + model +
                                             R"(  corpus: {source: text, path: corpus.txt}
  ids: {source: tokens, ids: ["65 66 67 68 69", "65 66 70 68 69", "1 2 3", "1 4 3", "9 8 7 6", "9 8 5 6"]}
  states: {probe: activations, model: gpt2, source: corpus, hooks: ["*.hook_resid_post", "*.hook_pattern"], block: 4, storage: float16, gzip: true}
  means: {probe: activations, model: gpt2, source: corpus, hooks: ["*"], keep: mean, block: 7}
  loss: {probe: language_loss, model: gpt2, source: corpus, block: 5, stride: 13}
  lens: {probe: logit_lens, model: gpt2, source: corpus, block: 3, k: 3, parts: true}
  blame: {probe: logit_attribution, model: gpt2, source: corpus, block: 4, positions: all, target: next}
  trace: {probe: patching, model: gpt2, source: ids, kinds: [resid_pre, z], block: 1, answer_ids: 70, against_ids: 71}
)");
  std::vector<std::string> files;
  for (char const* threads : {"1", "2", "4"}) {
    auto const r = run_wayfarer({"run", pipeline, "--out", out(std::string(threads) + ".h5"), "--threads", threads, "--quiet"});
    ASSERT_EQ(r.code, 0) << r.out;
    files.push_back(slurp(out(std::string(threads) + ".h5")));
    auto const same = run_wayfarer({"compare", out("1.h5"), out(std::string(threads) + ".h5")});
    EXPECT_EQ(same.code, 0) << same.out;
  }
  // Only /_run may differ: when, with how many threads and in how much memory.
  for (auto const& f : files) {
    ASSERT_EQ(f.size(), files[0].size());
    std::size_t different = 0;
    for (std::size_t i = 0; i < f.size(); ++i) different += f[i] != files[0][i];
    EXPECT_LT(different, 400u);
  }
}

TEST_F(language_cli, texts_that_are_cut_or_empty_are_told_once) {
  file("corpus.txt", "\xef\xbb\xbf" + std::string(300, 'x') + "\nAnna\n   \n");
  std::string const head = "title: T\nnodes:\n  " + model + "  corpus: {source: text, path: corpus.txt, skip_empty: false}\n",
                    probe = "{probe: activations, model: gpt2, source: corpus, hooks: [logits], keep: mean";
  auto const two = file("two.yaml", head + "  a: " + probe + "}\n  b: " + probe + ", block: 1}\n");
  auto const count = [](std::string const& all, std::string const& part) {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = all.find(part, at)) != all.npos; at += part.size()) ++n;
    return n;
  };
  std::string const
      cut = "corpus: 1 of 3 texts is longer than the 64 tokens that gpt2 (gpt2) reads; the rest is cut off. The longest has",
      empty = "corpus: 1 of 3 texts is empty or white space", mark = "begins with a byte order mark";
  auto const checked = run_wayfarer({"check", two});
  EXPECT_EQ(checked.code, 0) << checked.out;
  auto const run = run_wayfarer({"run", two, "--out", out("r.h5")});
  EXPECT_EQ(run.code, 0) << run.out;
  std::string const kept = slurp(out("r.h5"));  // texts lie in it as they are
  for (auto const& what : {cut, empty, mark}) {
    EXPECT_EQ(count(checked.out, what), 1u) << what << "\n" << checked.out;
    EXPECT_EQ(count(run.out, what), 1u) << what << "\n" << run.out;
    EXPECT_EQ(count(kept, what), 1u) << what;
  }
  // A cut that was asked for is none to warn of, and language_loss reads all in windows.
  auto const asked = file("asked.yaml", head + "  a: " + probe + ", max_tokens: 8}\n");
  EXPECT_EQ(count(run_wayfarer({"check", asked}).out, "cut off"), 0u);
  auto const windows = file("windows.yaml", head + "  a: {probe: language_loss, model: gpt2, source: corpus}\n");
  EXPECT_EQ(count(run_wayfarer({"check", windows}).out, "cut off"), 0u);
  file("corpus.txt", "caf\xe9\n");
  auto const latin = run_wayfarer({"check", two});
  EXPECT_EQ(latin.code, 3) << latin.out;
  EXPECT_THAT(latin.out, AllOf(HasSubstr("corpus.txt:1: this is not UTF-8: byte 3 is 0xe9"), HasSubstr("iconv -f LATIN1")));
  auto const said =
      file("said.yaml", "title: T\nnodes:\n  " + model + "  corpus: {source: text, texts: [\"a\", \"\"]}\n  a: " + probe + "}\n");
  EXPECT_EQ(count(run_wayfarer({"run", said, "--out", out("s.h5")}).out, "1 of 2 texts is empty"), 1u);
}

TEST_F(language_cli, ids_are_read_back_from_a_result_file) {
  std::string const rest = "  loss: {probe: language_loss, model: gpt2, source: words}\n";
  auto const first = file("a.yaml", "title: A\nnodes:\n  " + model +
                                        "  words: {source: text, texts: [\"Anna gave a key to Ben.\", \"Ben went to Rome\"]}\n"
                                        "  states: {probe: activations, model: gpt2, source: words, hooks: [hook_embed]}\n" +
                                        rest);
  auto const second = file(
      "b.yaml", "title: B\nnodes:\n  " + model + "  words: {source: tokens, path: a.h5, dataset: states/token_ids}\n" + rest);
  ASSERT_EQ(run_wayfarer({"run", first, "--out", out("a.h5"), "--quiet"}).code, 0);
  auto const r = run_wayfarer({"run", second, "--out", out("b.h5"), "--quiet"});
  ASSERT_EQ(r.code, 0) << r.out;
  auto const loss = [&](char const* name) {
    auto const shown = run_wayfarer({"show", out(name), "loss"}).out;
    auto const at = shown.find("\nloss");
    return shown.substr(at, shown.find("\n\n", at + 1) - at);
  };
  EXPECT_EQ(loss("a.h5"), loss("b.h5"));
  EXPECT_THAT(loss("a.h5"), HasSubstr("nat"));
  auto const with = [&](char const* dataset) {
    return run_wayfarer({"run", second, "--out", out("c.h5"), "--quiet", "--set", std::string("words.dataset=") + dataset});
  };
  EXPECT_EQ(with("token_ids").code, 2);
  EXPECT_THAT(with("token_ids").out, HasSubstr("NODE/DATASET"));
  EXPECT_EQ(with("states/nothing").code, 3);
  EXPECT_THAT(with("states/tokens").out, HasSubstr("texts, not numbers"));
  EXPECT_EQ(with("states/hook_embed").code, 3);
}

TEST_F(language_cli, running_means_over_ten_thousand_sequences_need_little_memory) {
  // [10000, 24] ids as numpy writes them. Kept, the activations would be 2 GB.
  std::string header = "{'descr': '<u2', 'fortran_order': False, 'shape': (10000, 24), }";
  header += std::string(117 - header.size(), ' ') + "\n";
  std::string npy("\x93NUMPY\x01\x00", 8);
  npy += static_cast<char>(header.size()), npy += '\0';
  npy += header;
  for (std::uint32_t i = 0; i < 10000 * 24; ++i) npy += static_cast<char>(i * 2654435761u >> 24), npy += '\0';
  file("ids.npy", npy);
  auto const pipeline = file(
      "means.yaml", "title: Means\nnodes:\n  " + model +
                        "  ids: {source: tokens, path: ids.npy}\n"
                        "  means: {probe: activations, model: gpt2, source: ids, hooks: [\"*\"], keep: mean_per_position}\n");
  auto const r = run_wayfarer({"run", pipeline, "--out", out("r.h5"), "--quiet"});
  ASSERT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(run_wayfarer({"show", out("r.h5"), "means"}).out, HasSubstr("items"));
  rusage use{};
  getrusage(RUSAGE_CHILDREN, &use);
#ifndef WAYFARER_SANITIZED
  EXPECT_LT(use.ru_maxrss, 300 * 1024) << "KiB";
#endif
}

TEST_F(language_cli, mistakes_end_with_a_sentence_that_says_what_to_do) {
  auto const run = [&](std::string const& nodes) {
    auto const pipeline = file("p.yaml", "title: T\nnodes:\n  " + model + nodes);
    return run_wayfarer({"run", pipeline, "--out", out("r.h5"), "--quiet"});
  };
  auto const unequal =
      run("  texts: {source: text, texts: [\"Then Anna\", \"Then Anna and\"]}\n  trace: {probe: patching, model: gpt2, "
          "source: texts}\n");
  EXPECT_EQ(unequal.code, 2);
  EXPECT_THAT(unequal.out, AllOf(HasSubstr("trace"), HasSubstr("items 0 and 1 have 2 and 3 tokens")));
  auto const outside =
      run("  ids: {source: tokens, ids: \"1 99999\"}\n  loss: {probe: language_loss, model: gpt2, source: ids}\n");
  EXPECT_EQ(outside.code, 3);
  EXPECT_THAT(outside.out, AllOf(HasSubstr("99999"), HasSubstr("vocabulary")));
  file("cut.npy", "\x93NUMPY");
  auto const cut = run("  ids: {source: tokens, path: cut.npy}\n  loss: {probe: language_loss, model: gpt2, source: ids}\n");
  EXPECT_EQ(cut.code, 3);
  EXPECT_THAT(cut.out, AllOf(HasSubstr("cut.npy"), HasSubstr("byte 6")));
}

}  // namespace
