// The verbs that look at models and help plugin authors: model, generate, new, doctor, completion, and --help of all of them.
#include <cmath>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/generate.hpp>
#include <wayfarer/json.hpp>

#include "command.hpp"
#include "pipeline/values.hpp"
#include "registry/registry.hpp"
#include "store/store.hpp"

namespace wf = wayfarer;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using wayfarer::test::outcome;
using wayfarer::test::run_wayfarer;
using wayfarer::test::slurp;

namespace {

std::string const data = WAYFARER_SOURCE_DIR "/tests/data/";

struct verbs : wayfarer::test::scratch {
  /// Bytes of a checkpoint, copied so that a test may spoil them.
  std::filesystem::path copy_of(char const* model) const {
    std::filesystem::copy(data + model, folder / model);
    return folder / model;
  }
  static wf::json_value json(std::string const& text) { return wf::parse_json(text, "output", wf::tokenizer_limits); }
};

/// A bundled model with defaults, on one of the small checkpoints, with its weights.
struct opened {
  opened(char const* plugin, std::string const& path) {
    wf::host::plugin const* const p = plugins.find(plugin);
    wf::config c;
    for (auto const& d : p->params())
      c.set(d.name, std::string_view(d.name) == "path" ? wf::param_value(path) : wf::host::default_of(d));
    model = p->create<wf::model>(c);
    model->load();
  }
  wf::host::registry plugins{{WAYFARER_PLUGIN_DIR}};
  std::unique_ptr<wf::model> model;
};

// ---- help and suggestions

TEST_F(verbs, every_verb_has_help_with_examples) {
  std::string const help = run_wayfarer({"--help"}).out;
  EXPECT_THAT(help, AllOf(HasSubstr("Examples:"), HasSubstr("Exit codes")));
  std::istringstream lines(help);
  std::size_t seen = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  ") || line.starts_with("  wayfarer")) continue;
    std::string const verb = line.substr(2, line.find(' ', 2) - 2);
    outcome const r = run_wayfarer({verb, "--help"});
    EXPECT_EQ(r.code, 0) << verb;
    EXPECT_THAT(r.out, AllOf(StartsWith("Usage: wayfarer " + verb), HasSubstr("Examples:\n  "))) << verb;
    EXPECT_EQ(run_wayfarer({"help", verb}).out, r.out);
    EXPECT_EQ(r.out.find('\033'), std::string::npos) << "no colours in a file";
    ++seen;
  }
  EXPECT_GE(seen, 11u);
}

TEST_F(verbs, near_names_are_offered) {
  EXPECT_THAT(run_wayfarer({"generat"}).out, HasSubstr("no verb 'generat'; did you mean 'generate'?"));
  EXPECT_THAT(run_wayfarer({"mine.yaml"}).out, HasSubstr("did you mean 'wayfarer run mine.yaml'?"));
  EXPECT_THAT(run_wayfarer({"generate", "gpt2", "--temprature", "1"}).out, HasSubstr("did you mean '--temperature'?"));
  EXPECT_THAT(run_wayfarer({"model", "inf", "gpt2"}).out, HasSubstr("did you mean 'info'?"));
  EXPECT_THAT(run_wayfarer({"model", "info", "gtp2", "--path", "."}).out,
              AllOf(HasSubstr("did you mean 'gpt2'?"), HasSubstr("plugins list")));
  EXPECT_THAT(run_wayfarer({"new", "prob", "mine"}).out, HasSubstr("did you mean 'probe'?"));
  auto const pipeline = file("p.yaml", "nodes:\n  a: {source: ldaa}\n  b: {source: lda, topcs: 3}\n");
  EXPECT_THAT(run_wayfarer({"check", pipeline}).out,
              AllOf(HasSubstr("did you mean 'lda'?"), HasSubstr("--plugin-path"), HasSubstr("plugins describe ID")));
}

// ---- model

TEST_F(verbs, model_info_counts_parameters) {
  outcome const r = run_wayfarer({"model", "info", "gpt2", "--path", data + "gpt2-odd", "--json", "--values"});
  ASSERT_EQ(r.code, 0) << r.out;
  auto const info = json(r.out);
  auto const config = wf::parse_json(slurp(data + "gpt2-odd/config.json"), "config.json", wf::config_limits);
  std::int64_t const d = config.at("n_embd").as_integer(), layers = config.at("n_layer").as_integer(),
                     vocabulary = config.at("vocab_size").as_integer(), positions = config.at("n_positions").as_integer();
  // Two norms, attention and an MLP four times as wide in each block; the unembedding is the embedding.
  std::int64_t const block = 4 * d + (d * 3 * d + 3 * d) + (d * d + d) + (d * 4 * d + 4 * d) + (4 * d * d + d);
  EXPECT_EQ(info.at("layers").as_integer(), layers);
  EXPECT_EQ(info.at("heads").as_integer(), config.at("n_head").as_integer());
  EXPECT_EQ(info.at("vocabulary").as_integer(), vocabulary);
  EXPECT_EQ(info.at("parameters").as_integer(), vocabulary * d + positions * d + layers * block + 2 * d);
  EXPECT_EQ(info.at("dtype").as_string(), "float32");
  EXPECT_EQ(info.at("missing").size(), 0u);
  EXPECT_EQ(info.at("not_finite").size(), 0u);
  EXPECT_THAT(run_wayfarer({"model", "info", "gpt2", "--path", data + "gpt2-odd"}).out, HasSubstr("gpt2, decoder"));
}

TEST_F(verbs, model_info_finds_nan) {
  auto const path = copy_of("gpt2-odd");
  std::string bytes = slurp(path / "model.safetensors");
  for (std::size_t i = 0; i < 4; ++i) bytes[bytes.size() - 4 + i] = static_cast<char>(i < 2 ? 0 : i == 2 ? 0xc0 : 0x7f);
  std::ofstream(path / "model.safetensors", std::ios::binary) << bytes;
  auto const info = json(run_wayfarer({"model", "info", "gpt2", "--path", path, "--json", "--values"}).out);
  std::int64_t nan = 0;
  for (auto const& w : info.at("not_finite").elements()) nan += w.at("nan").as_integer();
  EXPECT_EQ(nan, 1);
}

TEST_F(verbs, model_hooks_and_weights) {
  outcome const hooks = run_wayfarer({"model", "hooks", "gpt2", "blocks.1.attn.*", "--path", data + "gpt2-odd"});
  EXPECT_THAT(hooks.out, AllOf(HasSubstr("blocks.1.attn.hook_pattern"), HasSubstr("[head 3, query, key]"),
                               HasSubstr("[pos, head 3, d_head 6]"), Not(HasSubstr("blocks.0"))));
  auto const all = json(run_wayfarer({"model", "hooks", "gpt2", "--path", data + "gpt2-odd", "--json"}).out);
  EXPECT_GT(all.size(), 20u);
  outcome const weights = run_wayfarer({"model", "weights", "gpt2", "blocks.0.attn.W_Q", "embed.*", "--path", data + "gpt2-odd"});
  EXPECT_THAT(weights.out, AllOf(HasSubstr("head 3 x d_model 18 x d_head 6"), HasSubstr("embed.W_E"), HasSubstr("float32")));
  EXPECT_THAT(run_wayfarer({"model", "weights", "gpt2", "blocks.0.attn.W_X", "--path", data + "gpt2-odd"}).out,
              HasSubstr("did you mean"));
  EXPECT_EQ(run_wayfarer({"model", "info", "gpt2"}).code, 2);
  EXPECT_EQ(run_wayfarer({"model", "info", "gpt2", "--path", folder}).code, 3);
}

// ---- generate

TEST_F(verbs, generates_what_the_full_model_says) {
  for (auto const& [plugin, path, start] : {std::tuple{"gpt2", "gpt2-odd", 5}, std::tuple{"t5", "t5-relu", 0}}) {
    opened const m(plugin, data + path);
    bool const two = m.model->info().family == wf::model_family::encoder_decoder;
    std::vector<std::vector<std::int32_t>> const prompts{{3, 1, 4}, {1, 5, 9, 2}, {6}};
    for (double const temperature : {0.0, 1.0}) {
      wf::sampling how;
      how.max_new_tokens = 6, how.temperature = temperature, how.seed = 9, how.top_p = 0.9;
      auto const batch_of = [&, start = start](std::size_t i, std::vector<std::int32_t> const& fresh, wf::batch& b) {
        auto tokens = prompts[i];
        std::vector<std::int32_t> decoder{start};
        (two ? decoder : tokens).insert((two ? decoder : tokens).end(), fresh.begin(), fresh.end());
        b.tokens.push_back(tokens);
        if (two) b.decoder_tokens.push_back(decoder);
      };
      wf::batch b;
      for (std::size_t i = 0; i < prompts.size(); ++i) batch_of(i, {}, b);
      auto const out = wf::generate(*m.model, b, how);
      for (std::size_t i = 0; i < prompts.size(); ++i) {
        std::vector<std::int32_t> fresh;
        ASSERT_EQ(out[i].size(), 6u) << plugin;
        for (std::size_t step = 0; step < out[i].size(); ++step) {
          wf::batch whole;
          batch_of(i, fresh, whole);
          wf::run_request request;
          request.capture = wf::hook_set({"logits"});
          wf::tensor const logits = m.model->run(whole, request).at("logits", 0);
          fresh.push_back(wf::draw_token(logits.view<float const>().row(logits.size(0) - 1), how, i, step));
          ASSERT_EQ(fresh.back(), out[i][step])
              << plugin << " prompt " << i << " step " << step << " temperature " << temperature;
        }
      }
    }
  }
}

TEST_F(verbs, generate_prints_and_keeps) {
  auto const out = folder / "walk.h5";
  std::vector<std::string> const line{"generate",         "gpt2", "--path", data + "gpt2-odd", "--ids", "3,1,4", "--ids", "7",
                                      "--max-new-tokens", "5",    "--json"};
  outcome const plain = run_wayfarer(line);
  ASSERT_EQ(plain.code, 0) << plain.out;
  auto const all = json(plain.out);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all.at(1).at("new_ids").size(), 5u);
  EXPECT_EQ(all.at(0).at("ended").as_string(), "length");
  // The same alone as in company.
  auto const alone = json(
      run_wayfarer({"generate", "gpt2", "--path", data + "gpt2-odd", "--ids", "3,1,4", "--max-new-tokens", "5", "--json"}).out);
  EXPECT_EQ(wf::to_json(alone.at(0).at("new_ids")), wf::to_json(all.at(0).at("new_ids")));

  outcome const kept =
      run_wayfarer({"generate", "gpt2", "--path", data + "gpt2-odd", "--ids", "3,1,4", "--ids", "7", "--max-new-tokens", "5",
                    "--capture", "blocks.*.hook_resid_post", "blocks.0.attn.hook_pattern", "--out", out});
  ASSERT_EQ(kept.code, 0) << kept.out;
  EXPECT_THAT(kept.out, AllOf(HasSubstr("[0] "), HasSubstr("[1] ")));
  wf::host::initialise_store();
  wf::host::result_reader const r(out);
  // 3 tokens and 4 of the 5 new ones were read; the other item has 2 fewer.
  auto const state = r.read("generation", "blocks.1.hook_resid_post").values();
  EXPECT_EQ(wf::describe(state.shape()), "item 2 x pos 7 x d_model 18");
  EXPECT_TRUE(std::isfinite(state.get({0, 6, 0})));
  EXPECT_TRUE(std::isfinite(state.get({1, 4, 0})));
  EXPECT_TRUE(std::isnan(state.get({1, 5, 0})));
  auto const pattern = r.read("generation", "blocks.0.attn.hook_pattern").values();
  EXPECT_EQ(pattern.rank(), 4u);
  double sum = 0;
  for (std::size_t k = 0; k < 7; ++k) sum += pattern.get({0, 2, 6, k});
  EXPECT_NEAR(sum, 1, 1e-5);
  EXPECT_EQ(r.read("generation", "length").values().get({0}), 8);
}

TEST_F(verbs, generate_refuses_a_prompt_that_is_too_long_and_continues_the_others) {
  auto const out = folder / "some.h5";
  std::vector<std::string> const line{"generate", "gpt2", "--path", data + "gpt2-odd", "--max-new-tokens", "3"};
  auto const with = [&](std::vector<std::string> const& more) {
    auto words = line;
    words.insert(words.end(), more.begin(), more.end());
    return run_wayfarer(words);
  };
  std::string const twelve = "1,1,1,1,1,1,1,1,1,1,1,1", why = "prompt 1 has 12 tokens, and gpt2 reads at most 11; shorten it";
  outcome const r = with({"--ids", "3,1,4", "--ids", twelve, "--ids", "7", "--capture", "hook_embed", "--out", out});
  EXPECT_EQ(r.code, 2) << r.out;
  EXPECT_THAT(r.out, AllOf(HasSubstr("warning: " + why), HasSubstr("[0] "), HasSubstr("[2] "), Not(HasSubstr("[1] ")),
                           HasSubstr("wayfarer: 1 of 3 prompts was refused: " + why)));
  wf::host::initialise_store();
  wf::host::result_reader const kept(out);
  EXPECT_EQ(wf::describe(kept.read("generation", "hook_embed").values().shape()), "item 2 x pos 5 x d_model 18");
  auto const prompts = kept.read("generation", "prompt").values();
  EXPECT_EQ(prompts.get({0}), 0);
  EXPECT_EQ(prompts.get({1}), 2);
  EXPECT_THAT(kept.read("_run", "warnings").texts(), testing::Contains("generation: " + why));
  EXPECT_EQ(kept.read("generation", "token_id").values().get({1, 0}), 7);

  outcome const told = with({"--ids", twelve, "--ids", "7", "--json"});
  EXPECT_EQ(told.code, 2) << told.out;
  EXPECT_THAT(told.out, AllOf(HasSubstr("\"refused\": \"prompt 0 has 12 tokens"), HasSubstr("\"ended\": \"length\"")));
  outcome const none = with({"--ids", twelve, "--ids", twelve});
  EXPECT_EQ(none.code, 2) << none.out;
  EXPECT_THAT(none.out, AllOf(HasSubstr("wayfarer: prompt 0 has 12 tokens"), HasSubstr("wayfarer: prompt 1 has 12 tokens"),
                              Not(HasSubstr("[0]"))));
}

TEST_F(verbs, generate_replaces_results_only) {
  auto const model = copy_of("gpt2-odd");
  auto const generate = [&](std::filesystem::path const& out, std::vector<std::string> const& more = {}) {
    std::vector<std::string> words{
        "generate", "gpt2", "--path", model, "--ids", "1,2", "--max-new-tokens", "2", "--capture", "blocks.0.hook_resid_post",
        "--out",    out};
    words.insert(words.end(), more.begin(), more.end());
    return run_wayfarer(words);
  };
  auto const thesis = file("thesis.txt", "my thesis");
  auto const r = generate(thesis);
  EXPECT_EQ(r.code, 2);
  EXPECT_THAT(r.out, HasSubstr("--force"));
  EXPECT_EQ(slurp(thesis), "my thesis");
  std::string const weights = slurp(model / "model.safetensors");
  EXPECT_EQ(generate(model / "model.safetensors", {"--force"}).code, 2);
  EXPECT_EQ(slurp(model / "model.safetensors"), weights);
  EXPECT_EQ(generate(folder / "g-{seed}.h5", {"--seed", "5"}).code, 0);
  EXPECT_TRUE(std::filesystem::exists(folder / "g-5.h5"));
  EXPECT_THAT(generate(folder / "g-5.h5").out, HasSubstr("will be replaced"));
}

TEST_F(verbs, results_name_only_files_that_were_read) {
  auto const model = copy_of("gpt2-odd");
  auto const pipeline = file("p.yaml", "nodes:\n  m: {model: gpt2, path: gpt2-odd}\n");
  auto const run = [&](std::string const& name) {
    auto const r = run_wayfarer({"run", pipeline, "--quiet", "--out", folder / name});
    EXPECT_EQ(r.code, 0) << r.out;
    return std::make_unique<wf::host::result_reader>(folder / name);
  };
  wf::host::initialise_store();
  auto const before = run("a.h5");
  EXPECT_THAT(before->read("_run", "inputs/name").texts(), testing::IsSupersetOf({"config.json", "model.safetensors"}));
  file("gpt2-odd/README.md", "not for the model");
  file("gpt2-odd/zebra.bin", "neither");
  auto const after = run("b.h5");
  EXPECT_EQ(after->read("_run", "inputs/name").texts(), before->read("_run", "inputs/name").texts());
  EXPECT_EQ(after->node("m").key, before->node("m").key);
  // What is read counts.
  std::ofstream(model / "config.json", std::ios::app) << "\n";
  EXPECT_NE(run("c.h5")->node("m").key, before->node("m").key);
}

TEST_F(verbs, generate_says_what_to_do) {
  auto const go = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", "gpt2", "--path", data + "gpt2-odd"});
    return run_wayfarer(more);
  };
  EXPECT_THAT(go({}).out, HasSubstr("give --prompt TEXT"));
  EXPECT_THAT(go({"--ids", "3,x"}).out, HasSubstr("--ids takes token ids from 0 to 28"));
  EXPECT_THAT(go({"--ids", "29"}).out, HasSubstr("from 0 to 28"));
  EXPECT_THAT(go({"--ids", "1,1,1,1,1,1,1,1,1,1,1,1"}).out, AllOf(HasSubstr("12 tokens"), HasSubstr("at most 11")));
  EXPECT_THAT(go({"--prompt", "Hello"}).out, AllOf(HasSubstr("no tokenizer"), HasSubstr("--ids")));
  EXPECT_THAT(go({"--ids", "1", "--temperature", "-1"}).out, HasSubstr("at least 0"));
  EXPECT_THAT(go({"--ids", "1", "--top-p", "0"}).out, HasSubstr("top_p must be above 0"));
  EXPECT_THAT(go({"--ids", "1", "--capture", "hook_embed"}).out, HasSubstr("give both, or neither"));
  EXPECT_THAT(go({"--ids", "1", "--capture", "hook_embd", "--out", folder / "x.h5"}).out,
              HasSubstr("did you mean 'hook_embed'?"));
  EXPECT_THAT(go({"--ids", "1", "--decoder-ids", "0"}).out, HasSubstr("is for encoder-decoders"));
  for (auto const& r : {go({}), go({"--ids", "3,x"}), go({"--ids", "1", "--top-p", "0"})}) EXPECT_EQ(r.code, 2);
}

TEST_F(verbs, generate_puts_before_a_prompt_what_the_template_does) {
  for (char const* name : {"config.json", "model.safetensors"})
    std::filesystem::copy_file(data + "gpt2-odd/" + name, folder / name);
  auto vocab = wf::json_value::object();
  vocab.set("a", 0).set("b", 1).set("<s>", 2).set("</s>", 3);
  auto const config = wf::parse_json(slurp(data + "gpt2-odd/config.json"), "config.json", wf::config_limits);
  for (std::int64_t id = 4; id < config.at("vocab_size").as_integer(); ++id) vocab.set("t" + std::to_string(id), id);
  file("tokenizer.json",
       R"({"added_tokens": [{"id": 2, "content": "<s>", "special": true}, {"id": 3, "content": "</s>", "special": true}],
           "pre_tokenizer": {"type": "ByteLevel"}, "model": {"type": "BPE", "merges": [], "vocab": )" +
           wf::to_json(vocab) +
           R"(}, "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
             {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
             "special_tokens": {"<s>": {"id": "<s>", "ids": [2]}, "</s>": {"id": "</s>", "ids": [3]}}}})");
  file("tokenizer_config.json", R"({"add_prefix_space": false})");
  outcome const r = run_wayfarer(
      {"generate", "gpt2", "--path", folder.string(), "--prompt", "ab", "--max-new-tokens", "1", "--no-stop", "--json"});
  ASSERT_EQ(r.code, 0) << r.out;
  // The begin, and no end.
  EXPECT_EQ(wf::to_json(json(r.out).at(0).at("ids")), "[2,0,1]");
}

TEST_F(verbs, generate_goes_on_from_text) {
  std::string const path = WAYFARER_SOURCE_DIR "/runs/data/tiny-gpt2", prompt = "Today Anna likes Rome. Ben likes";
  auto const go = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", "gpt2", "--path", path, "--max-new-tokens", "4"});
    return run_wayfarer(more);
  };
  outcome const r = go({"--prompt", prompt});
  EXPECT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, StartsWith(prompt + " "));
  // The same through JSON, and beside another prompt.
  auto const one = json(go({"--prompt", prompt, "--json"}).out).at(0);
  EXPECT_EQ(r.out, prompt + one.at("text").as_string() + "\n");
  EXPECT_THAT(go({"--prompt", "Emma", "--prompt", prompt}).out, HasSubstr("[1] " + r.out));
  std::vector<std::string> const warm{"--prompt", prompt, "--temperature", "3", "--seed", "3", "--json"};
  EXPECT_EQ(go(warm).out, go(warm).out);
  auto other = warm;
  other[5] = "4";
  EXPECT_NE(go(other).out, go(warm).out);
  // Standard input is a prompt too.
  std::ofstream(folder / "prompt") << prompt << '\n';
  std::string const line = std::string(WAYFARER_BINARY) + " generate gpt2 --max-new-tokens 4 --path " + path + " --prompt - < " +
                           (folder / "prompt").string() + " > " + (folder / "answer").string();
  EXPECT_EQ(std::system(line.c_str()), 0);
  EXPECT_EQ(slurp(folder / "answer"), r.out);
}

// ---- new, doctor, completion

TEST_F(verbs, new_writes_a_project_under_its_name) {
  for (std::string const kind : {"probe", "metric", "source", "model"}) {
    auto const to = folder / kind;
    outcome const r = run_wayfarer({"new", kind, "own_" + kind, "--dir", to});
    ASSERT_EQ(r.code, 0) << r.out;
    EXPECT_THAT(r.out, AllOf(HasSubstr("cmake -S "), HasSubstr("ctest --test-dir "), HasSubstr("run ")));
    for (auto const& name : {"CMakeLists.txt", "README.md"}) EXPECT_TRUE(std::filesystem::exists(to / name)) << kind << name;
    for (auto const& ending : {".cpp", "_test.cpp", ".yaml"})
      EXPECT_TRUE(std::filesystem::exists(to / ("own_" + kind + ending))) << kind;
    for (auto const& entry : std::filesystem::directory_iterator(to)) {
      std::string const text = slurp(entry);
      EXPECT_EQ(text.find("my_" + kind), std::string::npos) << entry;
      EXPECT_EQ(text.find("@p"), std::string::npos) << entry;
    }
  }
}

TEST_F(verbs, new_refuses_names_that_would_not_do) {
  auto const go = [&](std::string const& name) { return run_wayfarer({"new", "probe", name, "--dir", folder / "to"}); };
  for (char const* name : {"Upper", "1st", "a-b", "../up", "", "class", "wayfarer", "lda"}) {
    outcome const r = go(name);
    EXPECT_EQ(r.code, 2) << name << r.out;
    EXPECT_FALSE(std::filesystem::exists(folder / "to")) << name;
  }
  EXPECT_THAT(go("class").out, HasSubstr("class_probe"));
  EXPECT_EQ(go("fine").code, 0);
  EXPECT_THAT(go("other").out, HasSubstr("exists already"));
}

TEST_F(verbs, doctor_finds_what_is_broken) {
  outcome const well = run_wayfarer({"doctor"});
  EXPECT_EQ(well.code, 0) << well.out;
  EXPECT_THAT(well.out, AllOf(HasSubstr("onednn"), HasSubstr("hdf5"), HasSubstr("threadsafe"), HasSubstr("processors"),
                              HasSubstr("lda"), HasSubstr("no problems found")));
  std::ofstream(folder / "wayfarer_lda.so") << "no library";
  outcome const ill = run_wayfarer({"doctor", "--json", "--plugin-path", folder});
  EXPECT_EQ(ill.code, 4);
  auto const report = json(ill.out);
  EXPECT_EQ(report.at("problems").size(), 1u);
  EXPECT_THAT(report.at("notes").at(0).as_string(), HasSubstr("hidden by a plugin of the same name"));
}

TEST_F(verbs, bash_completes_verbs_options_and_plugins) {
  auto const script = file("completion.bash", run_wayfarer({"completion", "bash"}).out);
  auto const complete = [&](std::string const& words, int at) {
    auto const answers = folder / "answers";
    std::string const line = "PATH=" + std::filesystem::path(WAYFARER_BINARY).parent_path().string() + ":$PATH; source " +
                             script.string() + "; compopt() { :; }; COMP_WORDS=(" + words +
                             "); COMP_CWORD=" + std::to_string(at) + "; _wayfarer; printf '%s\\n' \"${COMPREPLY[@]}\"";
    auto const run = file("complete.sh", line);
    EXPECT_EQ(std::system(("bash " + run.string() + " > " + answers.string()).c_str()), 0);
    return slurp(answers);
  };
  EXPECT_THAT(complete("wayfarer ge", 1), StartsWith("generate\n"));
  EXPECT_THAT(complete("wayfarer generate --top", 2),
              AllOf(HasSubstr("--top-k\n"), HasSubstr("--top-p\n"), Not(HasSubstr("--seed"))));
  EXPECT_THAT(complete("wayfarer plugins describe ld", 3), HasSubstr("lda\n"));
  EXPECT_THAT(complete("wayfarer new m", 2), AllOf(HasSubstr("metric\n"), HasSubstr("model\n")));
  EXPECT_THAT(complete("wayfarer plugins ch", 2), StartsWith("check\n"));
  EXPECT_THAT(complete("wayfarer plugins check ld", 3), HasSubstr("lda\n"));
  EXPECT_THAT(complete("wayfarer plugins check --s", 3),
              AllOf(HasSubstr("--set\n"), HasSubstr("--seed\n"), HasSubstr("--strict\n")));
  file("wayfarer_mine.so", "");
  EXPECT_THAT(complete("wayfarer plugins check " + folder.string() + "/", 3),
              AllOf(HasSubstr("wayfarer_mine.so"), Not(HasSubstr("mine.yaml"))));
  EXPECT_THAT(complete("wayfarer bench m", 2), AllOf(HasSubstr("metrics\n"), HasSubstr("models\n")));
  EXPECT_THAT(complete("wayfarer bench models ''", 3), AllOf(HasSubstr("gpt2\n"), Not(HasSubstr("lda\n"))));
  EXPECT_THAT(complete("wayfarer bench probes lda_fit --source l", 5), AllOf(HasSubstr("lda\n"), Not(HasSubstr("lda_fit\n"))));
  EXPECT_THAT(complete("wayfarer bench models gpt2 --capture r", 5), StartsWith("residuals\n"));
  EXPECT_THAT(complete("wayfarer export r.h5 lens --to be", 5), StartsWith("bertviz\n"));
  EXPECT_THAT(complete("wayfarer export --", 2), AllOf(HasSubstr("--to\n"), HasSubstr("--item\n")));
  EXPECT_THAT(complete("wayfarer bench kernels --", 3),
              AllOf(HasSubstr("--against\n"), HasSubstr("--worse-than\n"), HasSubstr("--benchmark_repetitions=\n")));
  file("mine.yaml", ""), file("mine.txt", "");
  EXPECT_THAT(complete("wayfarer run " + folder.string() + "/mi", 2), AllOf(HasSubstr("mine.yaml"), Not(HasSubstr("mine.txt"))));
}

TEST_F(verbs, plugin_pages_hold_every_parameter) {
  outcome const page = run_wayfarer({"plugins", "describe", "lda", "--markdown"});
  EXPECT_EQ(page.code, 0);
  EXPECT_THAT(page.out, AllOf(StartsWith("# lda\n"), HasSubstr("| `topics` | integer |"), HasSubstr("| `path` | path |")));
}

}  // namespace
