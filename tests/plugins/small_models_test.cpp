// The two small language models that come along, through the real program: they open without a warning, read alike, and predict
// text that they have not read better than models that learned nothing.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <tuple>

#include <gmock/gmock.h>

#include <store/store.hpp>

#include "command.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using wayfarer::host::result_reader;

namespace {

std::string const data = WAYFARER_SOURCE_DIR "/runs/data/";

/// Where the safetensors file of `from` holds each tensor, zeros take its place: a model of the same shape that knows nothing.
void write_zeros(std::filesystem::path const& from, std::filesystem::path const& to) {
  std::string bytes = slurp(from);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(8 + header), bytes.end(), '\0');
  std::ofstream(to, std::ios::binary) << bytes;
}

struct small_models : scratch {
  /// Loss over the first 30 held-out paragraphs.
  double loss(std::string const& model) const {
    auto const pipeline =
        file("loss.yaml", "nodes:\n  texts: {source: text, path: " + data + "austen/held-out.txt.gz}\n  m: {" + model +
                              "}\n  loss: {probe: language_loss, model: m, source: texts, items: 0:30}\n");
    std::string const out = (folder / "loss.h5").string();
    auto const r = run_wayfarer({"run", pipeline, "--out", out, "--quiet"});
    EXPECT_EQ(r.code, 0) << r.out;
    EXPECT_THAT(r.out, Not(HasSubstr("warning"))) << r.out;
    return result_reader(out).read("loss", "loss").scalar();
  }
  std::string without_weights(std::string const& name) const {
    auto const to = folder / name;
    std::filesystem::copy(data + name, to);
    write_zeros(data + name + "/model.safetensors", to / "model.safetensors");
    return to.string();
  }
};

TEST_F(small_models, open_without_a_warning) {
  for (auto const& [plugin, name, parameters] :
       {std::tuple("gpt2", "austen-gpt2", "1,088,256"), std::tuple("decoder", "austen-llama", "1,005,440")}) {
    auto const r = run_wayfarer({"model", "info", plugin, "--path", data + name});
    EXPECT_EQ(r.code, 0) << r.out;
    EXPECT_THAT(r.out, AllOf(HasSubstr(parameters), HasSubstr("2,048 tokens"), Not(HasSubstr("warning")))) << r.out;
    EXPECT_LT(std::filesystem::file_size(data + name + "/model.safetensors"), 6'000'000u);
  }
}

TEST_F(small_models, read_with_the_same_tokenizer) {
  EXPECT_EQ(slurp(data + "austen-gpt2/tokenizer.json"), slurp(data + "austen-llama/tokenizer.json"));
  // What runs/data/train_small.py made of this text while the models learned.
  std::string const text = "\"My dear Mr. Bennet,\" said his lady to him one day,--\"have you heard?\"\n1811!";
  std::vector<std::string> said;
  for (auto const& [plugin, name] : {std::pair("gpt2", "austen-gpt2"), std::pair("decoder", "austen-llama")})
    said.push_back(run_wayfarer({"tokenize", plugin, "--path", data + name, "--json", text}).out);
  EXPECT_EQ(said[0], said[1]);
  EXPECT_THAT(
      said[0],
      HasSubstr("[34,1548,741,360,46,1217,477,484,353,1188,272,368,512,661,44,1521,265,308,318,967,609,10,49,56,49,49,33]"));
}

TEST_F(small_models, predict_what_they_have_not_read) {
  double const uniform = std::log(2048.0);
  EXPECT_NEAR(loss("model: gpt2, path: " + without_weights("austen-gpt2")), uniform, 1e-5);
  EXPECT_NEAR(loss("model: decoder, path: " + without_weights("austen-llama")), uniform, 1e-5);
  EXPECT_GT(loss("model: gpt2_trained, tokenizer: " + data + "austen-gpt2, layers: 4, heads: 4, d_model: 128, context: 256"), 7);
  EXPECT_LT(loss("model: gpt2, path: " + data + "austen-gpt2"), 4.8);
  EXPECT_LT(loss("model: decoder, path: " + data + "austen-llama"), 4.8);
}

}  // namespace
