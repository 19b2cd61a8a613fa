// `wayfarer tokenize` as a user runs it.
#include <cstdlib>
#include <tuple>

#include <sys/resource.h>

#include <gtest/gtest.h>

#include <wayfarer/json.hpp>

#include "../pipelines/command.hpp"
#include "store/sanitized.hpp"

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

TEST_F(tokenize, takes_two_texts_and_gives_types) {
  std::filesystem::create_directory(folder / "bert");
  file("bert/config.json",
       R"({"model_type": "bert", "vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
           "intermediate_size": 4, "max_position_embeddings": 16})");
  file("bert/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nlow\n##er\nis\nit\n");
  std::string const bert = (folder / "bert").string();
  auto const done = run_wayfarer({"tokenize", "bert", "--path", bert, "--json", "Is it", "--pair", "lower"});
  ASSERT_EQ(done.code, 0) << done.out;
  auto const v = wf::parse_json(done.out, "output");
  EXPECT_EQ(to_json(v.at("ids")), "[2,6,7,3,4,5,3]");
  EXPECT_EQ(to_json(v.at("types")), "[0,0,0,0,1,1,1]");
  EXPECT_EQ(to_json(v.at("spans")), "[[0,0],[0,2],[3,5],[5,5],[0,3],[3,5],[5,5]]");
  EXPECT_NE(run_wayfarer({"tokenize", "bert", "--path", bert, "Is it", "--pair", "lower"}).out.find("second"), std::string::npos);
  auto const none = run_wayfarer({"tokenize", "gpt2", "--path", folder.string(), "low", "--pair", "lo"});
  EXPECT_EQ(none.code, 2);
  EXPECT_NE(none.out.find("has no rule for pairs"), std::string::npos) << none.out;
}

TEST_F(tokenize, refuses_what_is_not_utf8_and_drops_a_byte_order_mark) {
  auto const read = [&](std::string const& bytes) {
    auto const text = file("text", bytes);
    return run_wayfarer({"tokenize", "gpt2", "--path", folder.string(), "--json", "-"}, [&] {
      int const from = ::open(text.c_str(), O_RDONLY);
      dup2(from, 0);
    });
  };
  auto const latin = read("low\xe9"), wide = read(std::string("\xff\xfel\0o\0", 6)), marked = read("\xef\xbb\xbflow");
  EXPECT_EQ(latin.code, 3);
  EXPECT_NE(latin.out.find("byte 3 is 0xe9"), std::string::npos) << latin.out;
  EXPECT_NE(latin.out.find("iconv -f LATIN1 -t UTF-8"), std::string::npos) << latin.out;
  EXPECT_EQ(wide.code, 3);
  EXPECT_NE(wide.out.find("iconv -f UTF-16LE -t UTF-8"), std::string::npos) << wide.out;
  auto const packed = read("\x1f\x8b\x08\x03low");
  EXPECT_EQ(packed.code, 3);
  EXPECT_NE(packed.out.find("this is packed (gzip), not text; unpack it: ... | zcat | wayfarer ..."), std::string::npos)
      << packed.out;
  EXPECT_EQ(marked.code, 0);
  EXPECT_NE(marked.out.find("byte order mark"), std::string::npos) << marked.out;
  EXPECT_NE(marked.out.find("\"ids\":[4]"), std::string::npos) << marked.out;
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

TEST_F(tokenize, reads_a_long_line_in_little_memory) {
  // Ten million bytes without a space, and with many: what settles them is small, whatever they are. Llama's rule changes the
  // text.
  std::filesystem::create_directory(folder / "marks");
  file("marks/config.json",
       R"({"model_type": "gpt2", "n_layer": 1, "n_head": 1, "n_embd": 4, "n_positions": 8, "vocab_size": 5})");
  file("marks/tokenizer.json", R"({"model": {"type": "BPE", "unk_token": "<unk>",
    "vocab": {"<unk>": 0, "\u2581": 1, "a": 2, "aa": 3, "\u2581a": 4}, "merges": ["a a", "\u2581 a"]},
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}})");
  std::string words(10'000'000, 'a');
  for (std::size_t i = 7; i < words.size(); i += 8) words[i] = ' ';
  std::string const line = file("line", std::string(10'000'000, 'a')).string(), spaced = file("spaced", words).string();
  std::string const shipped = WAYFARER_SOURCE_DIR "/runs/data/", marks = (folder / "marks").string();
  for (auto const& [plugin, model, text] :
       {std::tuple("t5", shipped + "tiny-t5", line), std::tuple("bert", shipped + "tiny-bert", line),
        std::tuple("gpt2", shipped + "tiny-gpt2", line), std::tuple("gpt2 --json", shipped + "tiny-gpt2", line),
        std::tuple("gpt2", marks, line), std::tuple("gpt2", marks, spaced)}) {
    std::string const command = std::string(WAYFARER_BINARY " tokenize ") + plugin + " --path '" + model + "' - < '" + text +
                                "' > '" + (folder / "out").string() + "'";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    EXPECT_GT(std::filesystem::file_size(folder / "out"), 50u);
    rusage use{};
    getrusage(RUSAGE_CHILDREN, &use);
#ifndef WAYFARER_SANITIZED
    EXPECT_LT(use.ru_maxrss, 100'000'000 / 1024) << command << ", KiB";
#endif
  }
}
