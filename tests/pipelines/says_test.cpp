// What the program says while people find their way: first mistakes, what check knows before a run, progress, differences of
// results, findings.
#include <csignal>
#include <cstdlib>
#include <limits>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <wayfarer/json.hpp>
#include <wayfarer/safetensors.hpp>

#include "command.hpp"
#include "store/sanitized.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;
namespace wf = wayfarer;

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
  EXPECT_THAT(says_of("model: gpt2, hooks: hook_embed, logits"),
              HasSubstr("has no parameter 'logits'; if it is one of several values, write a list: [..., logits]"));
  EXPECT_THAT(says_of("model: gpt2, hooks: hook_resid_post"),
              HasSubstr("write 'blocks.*.hook_resid_post' for that of every layer"));
  EXPECT_THAT(says_of("model: gpt2, hooks: logits, precision: float64"), HasSubstr("write f64"));
  EXPECT_THAT(says_of("model: gpt2_trained, hooks: logits"),
              HasSubstr("that is a plugin, which needs a node of its own, such as gpt2_trained: {model: gpt2_trained}"));
  EXPECT_THAT(says_of("model: gpt2, hooks: logits, edits: [{hook: hook_embed, positions: last, set: zero}]"),
              HasSubstr("write -1"));
  EXPECT_THAT(check("  m: {model: models/gpt2}\n").out, HasSubstr("model: ID, path: models/gpt2"));
}

TEST_F(says, a_number_that_the_model_spoils_is_no_gap_of_its_item) {
  std::vector<float> v(32, 1);
  v[5] = std::numeric_limits<float>::quiet_NaN();
  std::pair<std::string, wf::tensor> const all[] = {{"v", wf::tensor::of(v, {{"d_model", v.size()}})}};
  wf::write_safetensors(out("v.safetensors"), all);
  std::pair<std::string, wf::tensor> const large[] = {{"v", wf::tensor::of(std::vector<float>(32, 1e6f), {{"d_model", 32}})}};
  wf::write_safetensors(out("large.safetensors"), large);
  std::string const words = "  s: {source: tokens, ids: [\"1 2 3\", \"4 5\"]}\n";
  auto const run = [&](std::string const& more) {
    auto const p = file("p.yaml", "nodes:\n" + std::string(gpt2) + words +
                                      "  a: {probe: activations, model: gpt2, source: s, hooks: [hook_embed]" + more + "}\n");
    return run_wayfarer({"run", p.string(), "--out", out("r.h5")});
  };
  auto const plain = run("");
  EXPECT_EQ(plain.code, 0);
  EXPECT_THAT(plain.out, AllOf(HasSubstr("32 of 192 values are NaN: beyond the item's length"), Not(HasSubstr("warning"))));
  std::string const edit = ", edits: [{hook: hook_embed, positions: [0], add: {file: v.safetensors}}]";
  for (std::string const keep : {"", ", positions: [0]", ", keep: mean_per_position", ", storage: float16"}) {
    auto const r = run(edit + keep);
    EXPECT_EQ(r.code, 0) << keep;
    EXPECT_THAT(r.out, AllOf(HasSubstr("warning: a: hook_embed: "), HasSubstr(" within items at hook_embed "),
                             Not(HasSubstr("beyond the item's length"))))
        << keep;
  }
  EXPECT_THAT(run(", edits: [{hook: hook_embed, positions: [0], add: {file: v.safetensors}, scale: 0}], positions: [-1]").out,
              Not(HasSubstr("warning: a: hook_embed")))
      << "only what is kept is told of";
  // Larger than float16 holds.
  EXPECT_THAT(run(", edits: [{hook: hook_embed, add: {file: large.safetensors}}], storage: float16").out,
              HasSubstr("160 values within items at hook_embed are not finite"));
}

TEST_F(says, no_probe_calls_a_number_that_an_edit_spoiled_a_gap) {
  auto const direction = [&](std::string const& name, float all, float one) {
    std::vector<float> v(32, all);
    v[5] = one;
    std::pair<std::string, wf::tensor> const tensors[] = {{"v", wf::tensor::of(v, {{"d_model", v.size()}})}};
    wf::write_safetensors(out(name), tensors);
  };
  direction("nan.safetensors", 1, std::numeric_limits<float>::quiet_NaN());
  direction("huge.safetensors", 1e38f, -1e38f);
  direction("one.safetensors", 1, 2);
  std::string const words = "  s: {source: tokens, ids: [\"1 2 3\", \"4 5\"]}\n";
  auto const run = [&](std::string const& probe, std::string const& edit) {
    auto const p =
        file("p.yaml", "nodes:\n" + std::string(gpt2) + words + "  a: {" + probe + ", model: gpt2, source: s" + edit + "}\n");
    return run_wayfarer({"run", p.string(), "--out", out("r.h5"), "--force"});
  };
  std::pair<std::string, std::string> const probes[] = {
      {"probe: next_token_ratio, window: 2", "no item has a next token"},
      {"probe: logit_lens", "no next token"},
      {"probe: attention_examples", "beyond the item's length"},
      {"probe: encoding_walk", "beyond an item's length"},
      {"probe: language_loss, per_token: true", "not predicted, or beyond the item's length"},
      {"probe: language_loss, per_token: true, window: 2, stride: 1", "not predicted, or beyond the item's length"},
      {"probe: trajectory", "beyond the item's length"}};
  for (auto const& [probe, reason] : probes) {
    for (std::string const value :
         {"add: {file: nan.safetensors}", "set: {file: huge.safetensors}", "add: {file: one.safetensors}, scale: 1e300"}) {
      auto const r = run(probe, ", edits: [{hook: hook_embed, " + value + "}]");
      EXPECT_EQ(r.code, 0) << r.out;
      EXPECT_THAT(r.out,
                  AllOf(HasSubstr("warning: a: "), Not(HasSubstr("missing: ")), Not(HasSubstr(reason)),
                        HasSubstr("edit 0 (hook_embed) leaves values that are not finite, or beyond 1e18, in 2 of 2 items")))
          << probe << ", " << value;
      EXPECT_THAT(run_wayfarer({"show", out("r.h5"), "_run/warnings"}).out, HasSubstr("edit 0 (hook_embed)"));
    }
    // Without such an edit the reasons stand.
    auto const sound = run(probe, ", edits: [{hook: hook_embed, add: {file: one.safetensors}}]");
    EXPECT_THAT(sound.out, AllOf(HasSubstr("missing: a"), HasSubstr(reason), Not(HasSubstr("warning")))) << probe;
  }
  // Weights may do the same, and a metric reads it.
  std::filesystem::copy(WAYFARER_SOURCE_DIR "/runs/data/tiny-gpt2", folder / "odd");
  fs::path const weights = folder / "odd" / "model.safetensors";
  auto const whole = wf::safetensors_file::open(weights.string());
  std::vector<std::pair<std::string, wf::tensor>> all;
  for (auto const& name : whole.names()) {
    wf::tensor t = whole.tensor(name).to(wf::dtype::f32).clone();
    if (name.ends_with("h.1.mlp.c_proj.bias")) t.values<float>()[0] = std::numeric_limits<float>::infinity();
    all.emplace_back(name, std::move(t));
  }
  wf::write_safetensors(out("odd/new.safetensors"), all);
  fs::rename(folder / "odd" / "new.safetensors", weights);
  auto const p = file("w.yaml", "nodes:\n  m: {model: gpt2, path: odd}\n" + words +
                                    "  a: {probe: next_token_ratio, window: 2, model: m, source: s}\n");
  auto const r = run_wayfarer({"run", p.string(), "--out", out("w.h5")});
  EXPECT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out,
              AllOf(HasSubstr("warning: a: "), HasSubstr("values of blocks.1.hook_resid_post are not finite in 2 of 2 items"),
                    Not(HasSubstr("no item has a next token"))));
}

TEST_F(says, check_says_what_a_run_would_refuse_of_items_positions_and_training) {
  std::string const data = WAYFARER_SOURCE_DIR "/runs/data/", plain = "  s: {source: tokens, ids: [[2, 3]]}\n",
                    probe = "  a: {probe: activations, model: m, source: s, hooks: [hook_embed]}\n";
  auto const model = [&](std::string const& plugin, std::string const& path, std::string const& more = "") {
    return "  m: {model: " + plugin + ", path: " + path + more + "}\n";
  };
  auto const refused = [&](std::string const& nodes, int code, std::string const& why) {
    for (char const* verb : {"check", "run"}) {
      std::vector<std::string> words = {verb, file("p.yaml", "nodes:\n" + nodes).string()};
      if (verb == std::string("run")) words.insert(words.end(), {"--out", out("r.h5")});
      auto const r = run_wayfarer(words);
      EXPECT_EQ(r.code, code) << verb << ": " << r.out;
      EXPECT_THAT(r.out, HasSubstr(why)) << verb;
      EXPECT_FALSE(fs::exists(out("r.h5"))) << why;
    }
  };
  std::string const gpt = model("gpt2", data + "tiny-gpt2"), bert = model("bert", data + "tiny-bert"),
                    t5 = model("t5", data + "tiny-t5");
  refused(gpt + "  s: {source: tokens, ids: [[2, 3], [2, 999999]]}\n" + probe, 3,
          "token 999999 of item 1 is outside gpt2's vocabulary of 369");
  refused(gpt + "  s: {source: tokens, ids: [[2, 3]], token_types: [[0, 0]]}\n" + probe, 2, "gpt2 looks up no token types");
  refused(bert + "  s: {source: tokens, ids: [[2, 3]], token_types: [[0, 7]]}\n" + probe, 3,
          "item 0 has the token type 7; this model has 2");
  // A token that was added to the tokenizer and not to the weights, and no tokenizer that says what [SEP] is.
  fs::copy(data + "tiny-bert", folder / "more"), fs::copy(data + "tiny-bert", folder / "bare");
  file("more/added_tokens.json", R"({"<zz>": 164})");
  fs::remove(folder / "bare" / "vocab.txt");
  refused(model("bert", "more") + "  s: {source: text, texts: [\"a\", \"a <zz> b\"]}\n" + probe, 3,
          "item 1 has the token \"<zz>\", 164, which is outside bert's vocabulary of 164");
  refused(model("bert", "bare", ", token_types: sep") + plain + probe, 2, "needs the id of [SEP]");
  refused(t5 + "  a: {probe: head_spectra, model: m}\n", 2, "head_spectra reads models of one stack");
  refused(t5 + "  s: {source: text, texts: [\"a b\"]}\n  a: {probe: language_loss, model: m, source: s}\n", 2,
          "give `decoder_ids`");
  for (std::string const one : {"activations, hooks: [hook_embed]", "logit_lens", "logit_attribution"})
    for (std::string const at : {"70", "-3"})
      refused(gpt + plain + "  a: {probe: " + one + ", model: m, source: s, positions: [" + at + "]}\n", 2,
              "no item has position " + at + ": they have at most 2 tokens");
  refused("  s: {source: tokens, ids: [[1, 2, x]]}\n", 2,
          "2:36: a list within 'ids' holds whole numbers, such as [1, 2], got 'x'");

  std::string const learns =
      "  m: {model: gpt2_trained, vocabulary: 8, context: 8, layers: 1, heads: 1, d_model: 8, d_mlp: 8, train: {source: s, "
      "updates: 2";
  refused("  s: {source: tokens, ids: [[1, 2, 3]]}\n" + learns + "}}\n", 3,
          "the source gives 3 tokens, and a context of 8 needs more");
  refused("  s: {source: tokens, ids: [[1, 2, 3, 4, 5, 6, 7, 1, 2, 3]]}\n" + learns + ", snapshots: [5]}}\n", 2,
          "train.snapshots names update 5, but the last one is train.updates, 2");
  std::string const documents = "  s: {source: lda, documents: 100}\n  m: {model: topic_transformer, train: {source: s, ";
  refused(documents + "updates: 2, snapshots: [0, 5]}}\n", 2,
          "train.snapshots names update 5, but the last one is 2, by train.updates");
  refused(documents + "epochs: 1, snapshots: [0, 500]}}\n", 2, ", by train.epochs");
}

// Whatever is wrong in a list or in a node is told in one look, each at its own place, by `check` and by `run`.
TEST_F(says, every_mistake_of_a_list_and_of_a_node_at_its_own_place) {
  auto const wrong = [&](std::string const& nodes, std::vector<std::string> const& lines, int code = 2) {
    for (char const* verb : {"check", "run"}) {
      auto const r = run_wayfarer({verb, file("p.yaml", "nodes:\n" + std::string(gpt2) + nodes).string(), "--out", out("r.h5")});
      EXPECT_EQ(r.code, code) << verb << ": " << r.out;
      for (auto const& line : lines) EXPECT_THAT(r.out, HasSubstr("p.yaml:" + line)) << verb;
      EXPECT_THAT(r.out, HasSubstr("\n" + std::to_string(lines.size()) + " errors; nothing was run")) << verb << ": " << r.out;
    }
  };
  wrong(R"(  s: {source: tokens, ids: [[2, 3],
    [2, 999999],
    [888888]]}
  a: {probe: activations, model: gpt2, source: s, hooks: [hook_embed,
    hook_embd,
    hook_embedd],
    heads: [0, 99,
    98], positions: [0,
    70,
    -9]}
)",
        {"4:5: a (activations): gpt2: token 999999 of item 1 is outside", "5:5: a (activations): gpt2: token 888888 of item 2 is",
         "7:5: a: ", "8:5: a: ", "9:16: a (activations): 'heads' names head 99", "10:5: a (activations): 'heads' names head 98",
         "11:5: a (activations): no item has position 70", "12:5: a (activations): no item has position -9"});
  wrong(R"(  s: {source: tokens, ids: [[2, 3]]}
  a: {probe: activations, model: gpt2, source: s, hooks: [logits, hook_embd], edits: [
    {hook: hook_embedd, set: zero},
    {hook: hook_embed, positions: [x, y], heads: 3, set: zero, colour: red},
    {hook: blocks.0.attn.hook_z, heads: [1, 50], set: {item: 7}}]}
)",
        {"4:67: a: ", "5:12: ", "6:36: 'positions' must be integers", "6:39: 'positions' must be integers",
         "6:64: an edit has no key 'colour'", "6:50: hook_embed has no heads to edit", "7:45: blocks.0.attn.hook_z has heads",
         "7:55: there is no item 7"});
  wrong(R"(  s: {source: tokens, ids: [[2, 3]]}
  a: {probe: activations, model: gpt2, source: s, hooks: [logits],
    sweep: {heads: [[99], [0], [98]]}}
)",
        {"5:21: a (activations): 'heads' names head 99", "5:32: a (activations): 'heads' names head 98"});
  wrong(R"(  s: {source: text, pair_at: "|", texts: ["a|b",
    ab, "a|b|c"]}
  t: {source: tokens, ids: [[1, 2, 3, 4, 5, 6, 7, 1, 2, 3]]}
  m: {model: gpt2_trained, vocabulary: 8, context: 8, layers: 1, heads: 1, d_model: 8, train: {source: t, updates: 2,
    snapshots: [0, 5,
    7]}}
  l: {probe: logit_lens, model: gpt2, source: t, positions: [first,
    2nd]}
)",
        {"4:5: s (text): item 1 has \"|\" nowhere", "4:9: s (text): item 2 has \"|\" more than once",
         "7:20: m (gpt2_trained): gpt2_trained: train.snapshots names update 5",
         "8:5: m (gpt2_trained): gpt2_trained: train.snapshots", "9:62: l (logit_lens): 'positions' must be",
         "10:5: l (logit_lens): 'positions' must be"});
}

// No mistake hides another one of its node or of its list.
TEST_F(says, every_mistake_beside_those_that_hide_it) {
  auto const wrong = [&](std::string const& nodes, std::vector<std::string> const& lines) {
    for (char const* verb : {"check", "run"}) {
      auto const r = run_wayfarer({verb, file("p.yaml", "nodes:\n" + std::string(gpt2) + nodes).string(), "--out", out("r.h5")});
      EXPECT_EQ(r.code, 2) << verb << ": " << r.out;
      for (auto const& line : lines) EXPECT_THAT(r.out, HasSubstr("p.yaml:" + line)) << verb;
      EXPECT_THAT(r.out, HasSubstr("\n" + std::to_string(lines.size()) + " errors; nothing was run")) << verb << ": " << r.out;
    }
  };
  wrong(R"(  s: {source: tokens, ids: [[2, 3]]}
  a: {probe: attention_map, model: gpt2, source: s, layers: [0, 9, -2],
    heads: [5, -1]}
)",
        {"4:65: a (attention_map): there is no layer 9", "4:68: a (attention_map): 'layers' are counted from 0, got -2",
         "5:13: a (attention_map): there is no head 5", "5:16: a (attention_map): 'heads' are counted from 0, got -1"});
  // A value that can't be read, beside what can be judged of the others.
  wrong(R"(  s: {source: tokens, ids: [[2, 3]]}
  a: {probe: activations, model: gpt2, source: s, hooks: [logits, hook_embd],
    heads: [77, x, 0, 78], storage: f7, positions: [9, 0, here], edits: [
    {hook: hook_embed, positions: 7, set: zero}, {hook: blocks.0.attn.hook_z, heads: 50, positions: [8], set: zero}]}
)",
        {"4:67: a: ", "5:13: a (activations): 'heads' names head 77", "5:17: 'heads' must be a list",
         "5:23: a (activations): 'heads' names head 78", "5:37: 'storage' must be",
         "5:53: a (activations): no item has position 9", "5:59: a (activations): 'positions' must be",
         "6:35: no item has position 7", "6:86: blocks.0.attn.hook_z has heads", "6:102: no item has position 8"});
  // Texts, whose lengths are known once they are tokenized.
  wrong(R"(  s: {source: text, texts: ["Anna went"]}
  a: {probe: activations, model: gpt2, source: s, hooks: [hook_embd], positions: [40, 0], edits: [
    {hook: blocks.0.attn.hook_z, heads: 50, positions: [41], set: zero}]}
)",
        {"4:59: a: ", "4:83: a (activations): no item has position 40", "5:41: blocks.0.attn.hook_z has heads",
         "5:57: no item has position 41"});
  // Values of a sweep, each by itself.
  wrong(
      R"(  s: {source: tokens, ids: [[2, 3]]}
  a: {probe: logit_lens, model: gpt2, source: s, sweep: {positions: [[0], [7], [x], [last, 4]]}}
  b: {probe: activations, model: gpt2, source: s, hooks: [logits], sweep: {storage: [float32, float7], heads: [[0], [99]]}}
  c: {probe: logit_lens, model: gpt2, source: s, positions: [0, 9], sweep: {positions: [[0], [[a: 1]]]}}
)",
      {"4:75: a (logit_lens): no item has position 7", "4:80: a (logit_lens): 'positions' must be",
       "4:85: a (logit_lens): no item has position 4", "5:95: 'storage' must be", "5:117: b (activations): 'heads' names head 99",
       "6:65: c (logit_lens): no item has position 9", "6:77: 'positions' has a value and is swept",
       "6:96: a list within 'positions' holds whole numbers"});
  wrong("  a: {probe: norm_geometry, model: gpt2, sweep: {}}\n  b: {probe: head_spectra, model: gpt2, sweep: {blocks: []}}\n",
        {"3:49: 'sweep' is empty; name parameters in it", "4:57: 'sweep' has an empty list for 'blocks'"});
  std::string const llama = "  l: {model: decoder, path: " WAYFARER_SOURCE_DIR "/runs/data/austen-llama}\n";
  wrong(llama + "  r: {probe: head_spectra, model: l, distances: [0, 0, 5000, 256, -1, x, 255]}\n",
        {"4:53: r (head_spectra): 'distances' has 0 twice", "4:56: r (head_spectra): 'distances' holds 5000, but ",
         "4:62: r (head_spectra): 'distances' holds 256, but ", "4:67: r (head_spectra): 'distances' holds -1",
         "4:71: 'distances' must be a list"});
}

// The same file is refused by both, wherever its texts stand.
TEST_F(says, what_check_refuses_of_texts_from_a_file_run_refuses_before_it_begins) {
  file("t.txt", "Anna went to Rome\nAnna\n");
  auto const p = file("p.yaml", "nodes:\n" + std::string(gpt2) + R"(  s: {source: text, path: t.txt}
  a: {probe: activations, model: gpt2, source: s, hooks: [logits], edits: [{hook: hook_embed, positions: [0, 60], set: zero}]}
  b: {probe: logit_lens, model: gpt2, source: s, positions: [0, 50, -40]}
)");
  for (char const* verb : {"check", "run"}) {
    auto const r = run_wayfarer({verb, p.string(), "--out", out("r.h5")});
    EXPECT_EQ(r.code, 2) << r.out;
    EXPECT_THAT(r.out,
                AllOf(HasSubstr("p.yaml:4:110: no item has position 60"), HasSubstr("p.yaml:5:65: b (logit_lens): no item"),
                      HasSubstr("p.yaml:5:69: b (logit_lens): no item"), HasSubstr("3 errors; nothing was run")));
    EXPECT_FALSE(fs::exists(out("r.h5")));
  }
}

TEST_F(says, json_alone_is_on_standard_output) {
  auto const err = out("err");
  std::vector<std::string> words{"generate", "gpt2",      "--path",           WAYFARER_SOURCE_DIR "/runs/data/tiny-gpt2",
                                 "--ids",    "1,2",       "--max-new-tokens", "2",
                                 "--json",   "--capture", "hook_embed",       "--out",
                                 out("g.h5")};
  auto const r = run_wayfarer(words, [&] { dup2(::open(err.c_str(), O_CREAT | O_WRONLY, 0600), 2); });
  EXPECT_EQ(r.code, 0) << r.out << slurp(err);
  EXPECT_NO_THROW(wf::parse_json(r.out, "what is printed")) << r.out;
  EXPECT_THAT(slurp(err), HasSubstr("g.h5: 6 datasets"));
}

TEST_F(says, an_empty_name_is_called_so) {
  for (char const* verb : {"run", "check", "graph", "show", "report"})
    EXPECT_THAT(run_wayfarer({verb, ""}).out, HasSubstr("'': the name is empty; name the ")) << verb;
  EXPECT_THAT(run_wayfarer({"compare", "", ""}).out, HasSubstr("A.h5 '': the name is empty"));
  EXPECT_THAT(check("  m: {model: gpt2, path: \"\"}\n").out, HasSubstr("p.yaml:2:26: 'path' is empty; give a path: "));
  auto const stop =
      run_wayfarer({"generate", "gpt2", "--path", WAYFARER_SOURCE_DIR "/runs/data/tiny-gpt2", "--ids", "1", "--stop", ""});
  EXPECT_EQ(stop.code, 2);
  EXPECT_THAT(stop.out, HasSubstr("--stop names no token"));
}

TEST_F(says, positions_that_texts_of_the_pipeline_lack_are_known_before_a_run) {
  std::string const words = "  s: {source: text, texts: [\"Anna went to Rome and\", \"Anna\", \"Anna went to\"]}\n";
  auto const with = [&](std::string const& edits, char const* verb) {
    auto const p =
        file("p.yaml", "nodes:\n" + std::string(gpt2) + words +
                           "  a: {probe: activations, model: gpt2, source: s, hooks: [logits], edits: [" + edits + "]}\n");
    return run_wayfarer({verb, p.string(), "--out", out("r.h5")});
  };
  for (char const* verb : {"check", "run"}) {
    auto const r =
        with("{hook: hook_embed, positions: [0, 40], set: zero}, {hook: hook_embed, items: 1:2, positions: 2, set: zero}", verb);
    EXPECT_EQ(r.code, 2) << r.out;
    EXPECT_THAT(r.out,
                AllOf(HasSubstr("no item has position 40: they have at most 6 tokens"),
                      HasSubstr("no item has position 2: they have at most 2 tokens"), HasSubstr("2 errors; nothing was run")));
  }
  std::string const some = "{hook: hook_embed, set: zero}, {hook: hook_embed, positions: 2, set: zero}";
  auto const c = with(some, "check"), r = with(some, "run");
  EXPECT_EQ(c.code, 0) << c.out;
  EXPECT_THAT(c.out,
              HasSubstr("warning: a: edit 1 (hook_embed, position 2) applies to 2 of 3 items: item 1 has no such position"));
  EXPECT_THAT(c.out, Not(HasSubstr("edit 0")));
  EXPECT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(
      r.out,
      HasSubstr("warning: a: edit 1 (hook_embed, position 2) was applied to 2 of 3 items: the others have no such position"));
  // Of a value with positions too.
  std::pair<std::string, wf::tensor> const two[] = {{"v", wf::tensor(wf::dtype::f32, {{"pos", 2}, {"d_model", 32}})}};
  wf::write_safetensors(out("two.safetensors"), two);
  EXPECT_THAT(
      with("{hook: hook_embed, set: {file: two.safetensors}}", "check").out,
      HasSubstr("edit 0 (hook_embed) is applied in part to 2 items: its value has 2 positions, and they have another number"));
  // Probes name positions as well.
  auto const lens = file("l.yaml", "nodes:\n" + std::string(gpt2) + words +
                                       "  a: {probe: logit_lens, model: gpt2, source: s, positions: [0, 50]}\n");
  EXPECT_THAT(run_wayfarer({"check", lens.string()}).out, HasSubstr("no item has position 50: they have at most 6 tokens"));
}

TEST_F(says, a_metric_that_fails_loses_nobody_elses_results) {
  std::string const nodes =
      "nodes:\n" + std::string(gpt2) +
      "  s: {source: tokens, ids: [[2, 3]]}\n  a: {probe: activations, model: gpt2, source: s, hooks: [hook_embed]}\n"
      "  c: {metric: group_contrast, of: a/nope}\n  d: {metric: group_contrast, of: a/neither}\n";
  auto const r = run_wayfarer({"run", file("p.yaml", nodes).string(), "--out", out("r.h5")});
  EXPECT_EQ(r.code, 2) << r.out;
  EXPECT_THAT(r.out, AllOf(HasSubstr("'a' has no dataset 'nope'"),
                           HasSubstr("warning: c: failed, and is left out of the result: "), HasSubstr("r.h5: 4 datasets")));
  EXPECT_THAT(r.out, HasSubstr("'a' has no dataset 'neither'")) << "each tells its own reason";
  EXPECT_EQ(run_wayfarer({"show", out("r.h5"), "a/hook_embed"}).code, 0);
  EXPECT_THAT(run_wayfarer({"show", out("r.h5"), "_run/warnings"}).out,
              AllOf(HasSubstr("c: failed"), HasSubstr("'a' has no dataset 'nope'"), HasSubstr("'a' has no dataset 'neither'")));
  EXPECT_NE(run_wayfarer({"show", out("r.h5"), "c"}).code, 0);
}

TEST_F(says, before_a_run_what_a_probe_without_items_needs) {
  auto const refused = [&](std::string const& words) {
    auto const r = check(gpt2 + ("  w: {probe: word_vectors" + words) + "}\n");
    EXPECT_NE(r.code, 0) << words;
    return r.out;
  };
  EXPECT_THAT(refused(""), HasSubstr("name a model, or a file of 'vectors'"));
  EXPECT_THAT(refused(", vectors: none.txt"), HasSubstr("none.txt"));
  file("some.txt", "a 1 2\n");
  EXPECT_THAT(refused(", vectors: some.txt, model: gpt2"), HasSubstr("leave out one of them"));
  EXPECT_THAT(refused(", vectors: some.txt, weight: embed.W_F"), HasSubstr("unembed.W_U"));
  EXPECT_EQ(check("  w: {probe: word_vectors, vectors: some.txt}\n").code, 0);
}

TEST_F(says, what_a_file_of_numbers_can_mean) {
  std::string const words = "  s: {source: tokens, ids: [\"1 2 3\", \"4 5\"]}\n";
  std::pair<std::string, wf::tensor> const one[] = {
      {"v", wf::tensor::of(std::vector<float>(32, 1), {{"one", 1}, {"d_model", 32}})}};
  wf::write_safetensors(out("row.safetensors"), one);
  auto const edited = [&](std::string const& edit) {
    return check(gpt2 + words + "  a: {probe: activations, model: gpt2, source: s, hooks: [logits], edits: [{hook: hook_embed, " +
                 edit + "}]}\n");
  };
  // One row: a direction for every position, or the first position's values.
  EXPECT_THAT(edited("add: {file: row.safetensors}").out,
              HasSubstr("one row: save it as [d_model 32] if it is for every position, or give positions: [0]"));
  EXPECT_EQ(edited("add: {file: row.safetensors}").code, 2);
  EXPECT_EQ(edited("positions: [0], add: {file: row.safetensors}").code, 0);
  std::string const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n";
  file("v.npy", std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header + std::string(4, '\0'));
  EXPECT_THAT(edited("add: {file: v.npy, dataset: v}").out,
              HasSubstr("v.npy: a .npy file holds one array, without a name; leave 'dataset' out"));
  EXPECT_THAT(check("  s: {source: tokens, path: v.npy, dataset: v}\n").out,
              HasSubstr("'dataset' names values of a result file"));
  EXPECT_THAT(check("  s: {source: tokens, ids: [[1]], dataset: v}\n").out, HasSubstr("'path' is not given; leave it out"));
}

TEST_F(says, names_of_one_line_and_what_to_do) {
  std::string const two = "a\nwayfarer: all is well";
  for (auto const& words : {std::vector<std::string>{"show", two},
                            {"frob" + two},
                            {"run", two},
                            {"model", "info", two},
                            {"plugins", "describe", two}}) {
    auto const r = run_wayfarer(words);
    EXPECT_NE(r.code, 0);
    EXPECT_THAT(r.out, AllOf(HasSubstr("a\\x0awayfarer"), Not(HasSubstr("\nwayfarer: all")))) << words[0];
  }
  EXPECT_THAT(run_wayfarer({"frob"}).out, HasSubstr("no verb 'frob'\n'wayfarer --help' lists them"));
  EXPECT_THAT(run_wayfarer({"show", file("text", "no result").string()}).out, HasSubstr("name a file that 'wayfarer run' wrote"));
}

TEST_F(says, two_outputs_of_a_run_are_two_places) {
  std::string const learner =
                        ": {model: gpt2_trained, vocabulary: 8, context: 4, layers: 1, heads: 1, d_model: 8, d_mlp: 8, train: "
                        "{source: s, updates: 2, ",
                    words = "  s: {source: tokens, ids: [[1, 2, 3, 4, 5, 6]]}\n", saved = out("saved");
  auto const both = check(words + "  a" + learner + "save: " + saved + "}}\n  b" + learner + "state: " + saved + "/.}}\n");
  EXPECT_EQ(both.code, 2);
  EXPECT_THAT(both.out, HasSubstr("is where 'a' writes its train.save; give each its own path"));
  auto const p = file("p.yaml", "nodes:\n" + words + "  a" + learner + "save: " + saved + "}}\n");
  for (char const* verb : {"check", "run"})
    EXPECT_THAT(run_wayfarer({verb, p.string(), "--out", saved}).out,
                HasSubstr("is where 'a' writes its train.save; name another file"));
  EXPECT_FALSE(fs::exists(saved));
  // A result in the folder would take the place of the model's own files.
  for (std::string const key : {"save: ", "state: "}) {
    auto const q = file("q.yaml", "nodes:\n" + words + "  a" + learner + key + saved + "}}\n").string();
    fs::create_directories(saved + "/deeper");
    for (char const* name : {"/model.safetensors", "/state.safetensors", "/deeper/r.h5"}) {
      auto const r = run_wayfarer({"run", q, "--out", saved + name});
      EXPECT_EQ(r.code, 2) << r.out;
      EXPECT_THAT(r.out, AllOf(HasSubstr("is in the folder where 'a' writes its train."), HasSubstr("name a file outside")));
    }
    EXPECT_EQ(run_wayfarer({"run", q, "--out", saved + ".h5"}).code, 0);
    auto const again = run_wayfarer({"check", q, "--out", saved + "-2.h5"});
    EXPECT_EQ(again.out.find("a: " + saved + " holds a model already, which will be replaced") != again.out.npos, key == "save: ")
        << again.out;
    fs::remove_all(saved);
  }
}

TEST_F(says, what_standard_error_can_not_take_costs_no_result) {
  std::string const nodes = "nodes:\n" + std::string(gpt2) +
                            "  s: {source: tokens, ids: [\"1 2 3\", \"4 5\"]}\n  a: {probe: activations, model: gpt2, source: s, "
                            "hooks: [hook_embed]}\n";
  auto const r =
      run_wayfarer({"run", file("p.yaml", nodes).string(), "--out", out("r.h5")}, [] { dup2(::open("/dev/full", O_WRONLY), 2); });
  EXPECT_EQ(r.code, 0);
  EXPECT_EQ(run_wayfarer({"show", out("r.h5"), "a/hook_embed"}).code, 0);
}

TEST_F(says, a_packed_file_that_is_too_large_takes_no_memory) {
  // A gigabyte of one letter; the default limit is 256 MiB.
  std::string const make = "head -c 1000000000 /dev/zero | tr '\\0' a | gzip -1 > '" + out("bomb.gz") + "'";
  ASSERT_EQ(std::system(make.c_str()), 0);
  auto const r = check("  s: {source: text, path: bomb.gz}\n");
  EXPECT_EQ(r.code, 3);
  EXPECT_THAT(r.out, HasSubstr("bomb.gz: holds more than 268435456 bytes unpacked; raise `limit`"));
  rusage use{};
  getrusage(RUSAGE_CHILDREN, &use);
#ifndef WAYFARER_SANITIZED
  EXPECT_LT(use.ru_maxrss, 64 * 1024) << "KiB";
#endif
}

TEST_F(says, the_type_of_a_direction_that_is_not_read) {
  std::string const header = R"({"v":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}})";
  file("v.safetensors", std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + std::string(4, '\0'));
  for (std::string const name : {"", ", dataset: v"})
    EXPECT_THAT(check(gpt2 +
                      std::string("  s: {source: tokens, ids: [\"1 2\"]}\n  a: {probe: activations, model: gpt2, source: s, "
                                  "hooks: [logits], edits: [{hook: hook_embed, add: {file: v.safetensors") +
                      name + "}}]}\n")
                    .out,
                HasSubstr("v.safetensors: tensor \"v\" is F8_E4M3, a type that is not read; save it as float32"));
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

TEST_F(says, a_line_break_in_a_name_begins_no_line_of_a_message) {
  auto const r = check("  s: {source: text, path: \"a\\n0 errors\"}\n");
  EXPECT_EQ(r.code, 3);
  EXPECT_THAT(r.out, AllOf(HasSubstr("a\\x0a0 errors: can't open"), Not(HasSubstr("\n0 errors"))));
  EXPECT_THAT(check("  s: {source: text, texts: [a]}\n", {"--set", "s.x\ny=1"}).out, HasSubstr("--set s.x\\x0ay=1: "));
}

TEST_F(says, check_refuses_what_a_run_would) {
  std::string const texts = "  s: {source: text, texts: [\"Anna gave a key to Ben\", \"Ben gave a key\"]}\n";
  std::string const of = "model: gpt2, source: s";
  EXPECT_THAT(check(gpt2 + texts + "  a: {probe: patching, " + of + "}\n").out, HasSubstr("items 0 and 1 have"));
  auto const answers =
      check(gpt2 + texts + "  a: {probe: logit_attribution, " + of + ", answer: [\" Anna\", \" Annabella or Ben\"]}\n");
  EXPECT_EQ(answers.code, 2);
  EXPECT_THAT(answers.out, HasSubstr("is not a single token of the model"));
  auto const sweep =
      check(gpt2 + texts + "  a: {probe: activations, " + of + ", hooks: [hook_embed], sweep: {positions: [[all], [last]]}}\n");
  EXPECT_EQ(sweep.code, 2);
  EXPECT_THAT(sweep.out, HasSubstr("'sweep' changes the shape of 'hook_embed'"));
  EXPECT_EQ(check(gpt2 + texts + "  a: {probe: logit_lens, " + of + ", sweep: {positions: [[last], [0]]}}\n").code, 0);
  auto const none = check(gpt2 + texts + "  a: {probe: logit_lens, " + of + ", items: 2:9}\n");
  EXPECT_EQ(none.code, 2);
  EXPECT_THAT(none.out, HasSubstr("'items' 2:9 names none of the 2 items of its source"));
}

TEST_F(says, an_expectation_of_what_is_not_there_loses_no_result) {
  auto const p =
      file("p.yaml", "nodes:\n  f: {probe: layer_norm_figure}\nexpect:\n  f/nope: {at_least: 1}\n  f/none: {at_least: 1}\n");
  auto const r = run_wayfarer({"run", p, "--out", out("r.h5")});
  EXPECT_EQ(r.code, 2);
  std::string const place = "wayfarer: " + p.string();
  EXPECT_THAT(r.out, AllOf(HasSubstr(place + ":4:3: f has no dataset 'nope'"), HasSubstr(place + ":5:3: f has no dataset 'none'"),
                           HasSubstr("wayfarer: the result is written: " + out("r.h5"))));
  EXPECT_EQ(run_wayfarer({"show", out("r.h5"), "_run/node"}).code, 0);
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
