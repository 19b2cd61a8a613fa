// Other people's checkpoints at the command line: models found by name in Hugging Face's cache, what check refuses before a run
// would, what a run tells of a checkpoint, and the tokens that generation begins and ends with.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/digest.hpp>
#include <wayfarer/json.hpp>

#include "command.hpp"

namespace fs = std::filesystem;
namespace wf = wayfarer;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using wayfarer::test::outcome;
using wayfarer::test::run_wayfarer;
using wayfarer::test::slurp;

namespace {

std::string const data = WAYFARER_SOURCE_DIR "/tests/data/";

struct checkpoints : wayfarer::test::scratch {
  fs::path copy_of(std::string const& model, std::string const& as = "model") const {
    fs::create_directories(folder / as);
    for (auto const* file : {"config.json", "model.safetensors"}) fs::copy(data + model + "/" + file, folder / as / file);
    return folder / as;
  }
  static void change(fs::path const& file, std::string const& key, wf::json_value value) {
    auto all = wf::read_json(file);
    all.set(key, std::move(value));
    std::ofstream(file) << wf::to_json(all, 1);
  }
  /// As huggingface_hub lays a model out: blobs, and a snapshot of links to them.
  fs::path cached(fs::path const& cache, std::string const& repository, std::string const& model) const {
    fs::path const home = cache / ("models--" + repository),
                   snapshot = home / "snapshots" / "607a30d783dfa663caf39e06633721c8d4cfcd7e";
    for (auto const& f : {home / "refs", home / "blobs", snapshot}) fs::create_directories(f);
    std::ofstream(home / "refs" / "main") << snapshot.filename().string();
    for (std::string const file : {"config.json", "model.safetensors"}) {
      fs::copy(data + model + "/" + file, home / "blobs" / ("blob-" + file));
      fs::create_symlink("../../blobs/blob-" + file, snapshot / file);
    }
    return home;
  }
  fs::path pipeline(std::string const& model, std::string const& source = "tokens, ids: [\"1 2 3\"]") const {
    return file("p.yaml", "nodes:\n  m: {model: " + model + "}\n  s: {source: " + source +
                              "}\n  a: {probe: activations, model: m, source: s, hooks: [logits]}\n");
  }
  /// Runs in the scratch folder with these variables; whatever names a cache is not set beside them.
  outcome wayfarer(std::vector<std::string> words, std::map<std::string, std::string> const& variables = {}) const {
    return run_wayfarer(std::move(words), [&] {
      for (auto const* v : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"}) unsetenv(v);
      setenv("HOME", (folder / "home").c_str(), 1);
      for (auto const& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
      if (chdir(folder.c_str()) != 0) _exit(126);
    });
  }
};

TEST_F(checkpoints, a_models_name_finds_its_snapshot_in_the_cache) {
  auto const hub = (folder / "home/.cache/huggingface/hub").string();
  cached(hub, "gpt2", "gpt2-odd");
  cached(folder / "elsewhere/hub", "acme--small-t5", "t5-relu");
  outcome r = wayfarer({"model", "info", "gpt2", "--path", "gpt2", "--json"});
  ASSERT_EQ(r.code, 0) << r.out;
  EXPECT_EQ(wf::parse_json(r.out, "info").at("heads").as_integer(), 3);
  EXPECT_EQ(wayfarer({"model", "hooks", "t5", "--path", "acme/small-t5"}, {{"HF_HOME", (folder / "elsewhere").string()}}).code,
            0);
  EXPECT_EQ(
      wayfarer({"model", "weights", "t5", "--path", "acme/small-t5"}, {{"HF_HUB_CACHE", (folder / "elsewhere/hub").string()}})
          .code,
      0);
  EXPECT_EQ(wayfarer({"generate", "gpt2", "--path", "gpt2", "--ids", "1,2", "--max-new-tokens", "2"}).code, 0);
  auto const p = pipeline("gpt2, path: nothing");
  EXPECT_EQ(wayfarer({"check", p, "--set", "m.path=gpt2"}).code, 0);
  r = wayfarer({"run", p, "--set", "m.path=gpt2", "--out", "o.h5"});
  EXPECT_EQ(r.code, 0) << r.out;
  // The result says which bytes were read.
  EXPECT_NE(slurp(folder / "o.h5").find(wf::sha256_file(data + "gpt2-odd/model.safetensors")), std::string::npos);
  // A real folder of that name wins.
  copy_of("t5-relu", "gpt2");
  EXPECT_THAT(wayfarer({"model", "info", "gpt2", "--path", "gpt2"}).out, HasSubstr("'model: t5' reads it"));
}

TEST_F(checkpoints, a_name_that_is_not_in_the_cache_is_told_with_what_is) {
  auto const hub = (folder / "hub").string();
  std::map<std::string, std::string> const here{{"HF_HUB_CACHE", hub}};
  outcome r = wayfarer({"model", "info", "gpt2", "--path", "gpt2"}, here);
  EXPECT_EQ(r.code, 3);
  EXPECT_THAT(r.out, AllOf(HasSubstr("no such folder"), HasSubstr("there is no " + hub), HasSubstr("HF_HUB_CACHE")));
  auto const home = cached(hub, "acme--tiny-gpt2", "gpt2-odd");
  r = wayfarer({"model", "info", "gpt2", "--path", "tiny-gpt"}, here);
  EXPECT_EQ(r.code, 3);
  EXPECT_THAT(r.out, AllOf(HasSubstr(hub + "/models--tiny-gpt"), HasSubstr("\"acme/tiny-gpt2\""),
                           HasSubstr("did you mean 'acme/tiny-gpt2'?")));
  auto const p = pipeline("gpt2, path: acme/tiny-gpt");
  r = wayfarer({"check", p}, here);
  EXPECT_EQ(r.code, 3);
  EXPECT_THAT(r.out, AllOf(HasSubstr("p.yaml:2:"), HasSubstr("did you mean 'acme/tiny-gpt2'?")));
  // What refs/main says is a name and never a way out of the cache.
  for (std::string const bad : {"../../../../model", "/etc", "..", "", "a/b", ".hidden"}) {
    std::ofstream(home / "refs" / "main") << bad;
    r = wayfarer({"model", "info", "gpt2", "--path", "acme/tiny-gpt2"}, here);
    EXPECT_EQ(r.code, 3) << bad;
    EXPECT_THAT(r.out, AllOf(HasSubstr("refs/main"), HasSubstr("can't be the name of a snapshot"))) << bad;
  }
  std::ofstream(home / "refs" / "main") << "0123";
  EXPECT_THAT(wayfarer({"model", "info", "gpt2", "--path", "acme/tiny-gpt2"}, here).out,
              AllOf(HasSubstr("\"0123\""), HasSubstr("607a30d783dfa663caf39e06633721c8d4cfcd7e")));
  fs::remove(home / "refs" / "main");
  EXPECT_THAT(wayfarer({"model", "info", "gpt2", "--path", "acme/tiny-gpt2"}, here).out, HasSubstr("give a snapshot's folder"));
  // What is no name is a path.
  EXPECT_THAT(wayfarer({"model", "info", "gpt2", "--path", "../tiny-gpt2"}, here).out, Not(HasSubstr("cache")));
}

TEST_F(checkpoints, check_refuses_what_a_run_would) {
  auto const model = copy_of("gpt2-odd");
  auto const p = pipeline("gpt2, path: model");
  ASSERT_EQ(wayfarer({"check", p}).code, 0);
  auto const both_say = [&](fs::path const& what, int code, testing::Matcher<std::string const&> const& says) {
    outcome const c = wayfarer({"check", what}), r = wayfarer({"run", what, "--out", "o.h5"});
    EXPECT_EQ(c.code, code) << c.out;
    EXPECT_EQ(r.code, code) << r.out;
    EXPECT_THAT(c.out, says);
    EXPECT_THAT(r.out, says);
    EXPECT_FALSE(fs::exists(folder / "o.h5"));
  };
  both_say(pipeline("gpt2, path: model", "text, texts: [hello]"), 2, HasSubstr("there is no tokenizer"));
  pipeline("gpt2, path: model");
  std::string const bytes = slurp(model / "model.safetensors");
  std::ofstream(model / "model.safetensors", std::ios::binary) << bytes.substr(0, bytes.size() - 4);
  both_say(p, 3, AllOf(HasSubstr("p.yaml:2:3: m (gpt2)"), HasSubstr("model.safetensors")));
  fs::remove(model / "model.safetensors");
  both_say(p, 3, HasSubstr("no model.safetensors"));
  std::ofstream(model / "adapter_model.safetensors", std::ios::binary) << bytes;
  both_say(p, 3, HasSubstr("it holds \"adapter_model.safetensors\""));
  EXPECT_EQ(wayfarer({"check", pipeline("gpt2, path: model/adapter_model.safetensors")}).code, 0);
  both_say(pipeline("gpt2, path: model/config.json"), 3, HasSubstr("not a safetensors file"));
  pipeline("gpt2, path: model");
  std::ofstream(model / "pytorch_model.bin") << "PK";
  both_say(p, 3, AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("pickle"), HasSubstr("safetensors.torch.save_file")));
  // What a forward pass lacks, but a probe of weights would not.
  fs::remove_all(model);
  copy_of("gpt2-odd");
  change(model / "config.json", "n_layer", 3);
  both_say(p, 3, AllOf(HasSubstr("tensors that a forward pass needs"), HasSubstr("h.2.ln_1.weight")));
}

TEST_F(checkpoints, a_run_tells_of_what_its_files_contradict) {
  auto const model = copy_of("t5-gated");
  change(model / "config.json", "tie_word_embeddings", true);
  change(model / "config.json", "logit_sharpness", 3);
  auto const p = pipeline("t5, path: model");
  outcome r = wayfarer({"check", p});
  EXPECT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, HasSubstr("warning: m: "));
  EXPECT_THAT(r.out, HasSubstr("nothing reads the key \"logit_sharpness\", which is 3"));
  r = wayfarer({"run", p, "--out", "o.h5"});
  EXPECT_EQ(r.code, 0) << r.out;
  for (auto const& said :
       std::vector<std::string>{r.out, wayfarer({"show", "o.h5"}).out, wayfarer({"model", "info", "t5", "--path", "model"}).out})
    EXPECT_THAT(said, AllOf(HasSubstr("logit_sharpness"), HasSubstr("has a head of its own")));
  auto const info = wf::parse_json(wayfarer({"model", "info", "t5", "--path", "model", "--json"}).out, "info");
  EXPECT_EQ(info.at("warnings").size(), 2u);
  EXPECT_THAT(wayfarer({"run", pipeline("gpt2, path: " + data + "gpt2-odd"), "--out", "o.h5"}).out, Not(HasSubstr("warning")));
}

TEST_F(checkpoints, generation_begins_and_ends_with_the_tokens_of_the_files) {
  auto const model = copy_of("t5-relu");
  auto const new_ids = [&](std::vector<std::string> const& more) {
    std::vector<std::string> words{"generate", "t5", "--path", "model", "--ids", "4,5,6", "--max-new-tokens", "6", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    outcome const r = wayfarer(words);
    EXPECT_EQ(r.code, 0) << r.out;
    std::vector<std::int64_t> ids;
    for (auto const& id : wf::parse_json(r.out, "generated").at(std::size_t{0}).at("new_ids").elements())
      ids.push_back(id.as_integer());
    return ids;
  };
  auto const from_0 = new_ids({"--no-stop", "--decoder-ids", "0"}), from_3 = new_ids({"--no-stop", "--decoder-ids", "3"});
  EXPECT_EQ(new_ids({"--no-stop"}), from_0);
  change(model / "config.json", "decoder_start_token_id", 3);
  EXPECT_EQ(new_ids({"--no-stop"}), from_3);
  std::ofstream(model / "generation_config.json")
      << R"({"decoder_start_token_id": 0, "eos_token_id": [)" << from_0[1] << ", 30]}";
  auto const first = static_cast<std::size_t>(std::find(from_0.begin(), from_0.end(), from_0[1]) - from_0.begin());
  auto const ended = new_ids({});
  auto const stop = std::min(first, static_cast<std::size_t>(std::find(from_0.begin(), from_0.end(), 30) - from_0.begin()));
  EXPECT_EQ(ended, std::vector<std::int64_t>(from_0.begin(), from_0.begin() + static_cast<std::ptrdiff_t>(stop) + 1));
  std::ofstream(model / "generation_config.json") << R"({"repetition_penalty": 1.3, "num_beams": 1, "min_length": 0})";
  outcome const told = wayfarer({"generate", "t5", "--path", "model", "--ids", "4,5,6"});
  EXPECT_EQ(told.code, 0);
  EXPECT_THAT(told.out, HasSubstr("repetition_penalty would change what is generated elsewhere and is not used here"));
  std::ofstream(model / "generation_config.json") << R"({"forced_bos_token_id": 4})";
  outcome const r = wayfarer({"generate", "t5", "--path", "model", "--ids", "4,5,6"});
  EXPECT_EQ(r.code, 2);
  EXPECT_THAT(r.out, AllOf(HasSubstr("forced_bos_token_id"), HasSubstr("generation_config.json")));
}

TEST_F(checkpoints, ids_without_a_token_are_shown_as_ids) {
  // Embeddings are padded to round sizes; a vocabulary may have gaps too, here the ids 4 and 6 to 28.
  auto const model = copy_of("gpt2-odd");
  std::ofstream(model / "vocab.json") << R"({"l": 0, "o": 1, "w": 2, "lo": 3, "<|endoftext|>": 5})";
  std::ofstream(model / "merges.txt") << "#version: 0.2\nl o\n";
  outcome const r = wayfarer({"generate", "gpt2", "--path", "model", "--prompt", "low", "--max-new-tokens", "8", "--temperature",
                              "9", "--no-stop", "--seed", "3"});
  EXPECT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, testing::ContainsRegex("low.*<[0-9]+>"));
  outcome const json = wayfarer({"generate", "gpt2", "--path", "model", "--ids", "0,4,28", "--max-new-tokens", "1", "--json"});
  EXPECT_EQ(json.code, 0) << json.out;
}

}  // namespace
