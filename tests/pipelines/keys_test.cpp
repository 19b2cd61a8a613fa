// Keys of nodes hold the bytes of files and no paths; models of the same bytes run once.
#include <gmock/gmock.h>

#include "command.hpp"
#include "store/store.hpp"

using namespace wayfarer::test;
using testing::HasSubstr;
using testing::Not;
using wayfarer::host::result_reader;
namespace fs = std::filesystem;

namespace {

constexpr char one_model[] = R"(nodes:
  lm: {model: gpt2, path: a}
  texts: {source: text, path: texts.txt}
  loss: {probe: language_loss, model: lm, source: texts, edits: [{hook: blocks.0.hook_resid_post, add: {file: way.npy}}]}
)";

constexpr char two_models[] = R"(nodes:
  first: {model: gpt2, path: a}
  second: {model: gpt2, path: b}
  texts: {source: text, path: texts.txt}
  loss: {probe: language_loss, model: first, source: texts}
  again: {probe: language_loss, model: second, source: texts}
)";

struct keys : scratch {
  keys() {
    for (char const* copy : {"a", "b"}) fs::copy(WAYFARER_TINY_GPT2, folder / copy);
    fs::create_directory_symlink(folder / "a", folder / "link");
    file("texts.txt", "Anna went to the market\nThe cat sat on the mat\n");
    fs::copy(folder / "texts.txt", folder / "other.txt");
  }
  std::string run(std::string const& text, std::vector<std::string> const& settings = {}) {
    std::string const out = (folder / "r.h5").string();
    std::vector<std::string> words{"run", file("p.yaml", text).string(), "--out", out};
    for (auto const& s : settings) words.insert(words.end(), {"--set", s});
    auto const done = run_wayfarer(std::move(words));
    EXPECT_EQ(done.code, 0) << done.out;
    said = done.out;
    return out;
  }
  void write_way(std::string const& name, float value) const {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (32,), }";
    header.resize(117, ' ');
    std::ofstream npy(folder / name, std::ios::binary);
    npy << "\x93NUMPY" << '\x01' << '\0' << 'v' << '\0' << header << '\n';
    for (int i = 0; i < 32; ++i) npy.write(reinterpret_cast<char const*>(&value), sizeof value);
  }
  std::string said;
};

TEST_F(keys, hold_bytes_and_no_paths) {
  write_way("way.npy", 0.5F), write_way("same.npy", 0.5F), write_way("other.npy", 0.25F);
  auto const loss = [&](std::vector<std::string> const& settings) {
    return result_reader(run(one_model, settings)).node("loss").key;
  };
  std::string const key = loss({});
  EXPECT_EQ(loss({"lm.path=" + (folder / "b").string()}), key) << "a copy";
  EXPECT_EQ(loss({"lm.path=" + (folder / "link").string()}), key) << "a link";
  EXPECT_EQ(loss({"texts.path=" + (folder / "other.txt").string()}), key) << "a copy under another name";
  auto const with_way = [&](std::string const& name) {
    std::string text = one_model;
    return result_reader(run(text.replace(text.find("way.npy"), 7, name))).node("loss").key;
  };
  EXPECT_EQ(with_way("same.npy"), key) << "an edit's values from a copy";
  EXPECT_NE(with_way("other.npy"), key) << "an edit's other values";

  std::ofstream(folder / "other.txt", std::ios::app) << "More\n";
  EXPECT_NE(loss({"texts.path=" + (folder / "other.txt").string()}), key) << "another text";
  std::fstream weights(folder / "b" / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  weights.seekp(-1, std::ios::end).put('\0');
  weights.close();
  EXPECT_NE(loss({"lm.path=" + (folder / "b").string()}), key) << "another weight";
}

TEST_F(keys, models_of_the_same_bytes_run_once) {
  result_reader const result(run(two_models));
  EXPECT_THAT(said, HasSubstr("the same bytes as first: run once, for both"));
  EXPECT_EQ(result.node("second").key, result.node("first").key);
  auto const loss = result.read("loss", "loss"), again = result.read("again", "loss");
  EXPECT_EQ(loss.values().values<double const>()[0], again.values().values<double const>()[0]);
  // Each node's files stand in the result, though one model alone read them.
  std::size_t first = 0, second = 0;
  auto const nodes = result.read("_run", "inputs/node");
  for (auto const& node : nodes.texts()) first += node == "first", second += node == "second";
  EXPECT_EQ(second, first);
  EXPECT_GE(first, 3U);
}

TEST_F(keys, models_of_other_settings_run_apart) {
  std::string text = two_models;
  run(text.replace(text.find("path: b"), 7, "path: b, gelu: tanh"));
  EXPECT_THAT(said, Not(HasSubstr("run once")));
}

}  // namespace
