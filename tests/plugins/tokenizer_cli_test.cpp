// `wayfarer tokenize` as a user runs it.
#include <gtest/gtest.h>

#include <wayfarer/json.hpp>

#include "../pipelines/command.hpp"

namespace wf = wayfarer;
using wf::test::run_wayfarer;

namespace {

class tokenize : public wf::test::scratch {
 protected:
  void SetUp() override {
    file("config.json", R"({"model_type": "gpt2", "n_layer": 1, "n_head": 1, "n_embd": 4, "n_positions": 8, "vocab_size": 6})");
    file("vocab.json", R"({"l": 0, "o": 1, "w": 2, "lo": 3, "low": 4, "<|endoftext|>": 5})");
    file("merges.txt", "#version: 0.2\nl o\nlo w\n");
  }
};

}  // namespace

TEST_F(tokenize, prints_ids_and_tokens) {
  auto const done = run_wayfarer({"tokenize", "gpt2", "--path", folder.string(), "lowlo"});
  EXPECT_EQ(done.code, 0) << done.out;
  EXPECT_NE(done.out.find("\"low\""), std::string::npos) << done.out;
  EXPECT_NE(done.out.find("from byte"), std::string::npos) << done.out;
}

TEST_F(tokenize, prints_json_and_reads_standard_input) {
  auto const text = file("text", "lowlo<|endoftext|>");
  auto const done = run_wayfarer({"tokenize", "gpt2", "--path", folder.string(), "--json", "-"}, [&] {
    int const from = ::open(text.c_str(), O_RDONLY);
    dup2(from, 0);
  });
  ASSERT_EQ(done.code, 0) << done.out;
  auto const v = wf::parse_json(done.out, "output");
  EXPECT_EQ(to_json(v.at("ids")), "[4,3,5]");
  EXPECT_EQ(to_json(v.at("tokens")), R"(["low","lo","<|endoftext|>"])");
  EXPECT_EQ(to_json(v.at("spans")), "[[0,3],[3,5],[5,18]]");
}

TEST_F(tokenize, describes_the_tokenizer) {
  auto const done = run_wayfarer({"tokenize", "gpt2", "--path", folder.string(), "--json"});
  ASSERT_EQ(done.code, 0) << done.out;
  auto const v = wf::parse_json(done.out, "output");
  EXPECT_EQ(v.at("kind").as_string(), "byte_level_bpe");
  EXPECT_EQ(v.at("vocabulary").as_integer(), 6);
  EXPECT_EQ(v.at("special").at("eos").as_integer(), 5);
}

TEST_F(tokenize, says_what_is_wrong) {
  EXPECT_EQ(run_wayfarer({"tokenize", "gpt2", "x"}).code, 2);
  EXPECT_EQ(run_wayfarer({"tokenize", "gtp2", "--path", folder.string(), "x"}).code, 2);
  std::filesystem::remove(folder / "merges.txt");
  auto const none = run_wayfarer({"tokenize", "gpt2", "--path", folder.string(), "low"});
  EXPECT_EQ(none.code, 3) << none.out;
  EXPECT_NE(none.out.find("no tokenizer here"), std::string::npos) << none.out;
  file("merges.txt", "l x\n");
  auto const bad = run_wayfarer({"tokenize", "gpt2", "--path", folder.string(), "low"});
  EXPECT_EQ(bad.code, 3) << bad.out;
  EXPECT_NE(bad.out.find("merges.txt:1: merge 0 joins \"x\""), std::string::npos) << bad.out;
}
