// What the host does around plugins, from the outside: edits, precision, swept parameters, rows beyond memory, files that are
// cut.
#include <sys/resource.h>

#include <cmath>
#include <cstring>
#include <optional>

#include <gmock/gmock.h>

#include <wayfarer/safetensors.hpp>
#include "command.hpp"
#include "store/sanitized.hpp"

#include "store/store.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;
namespace wf = wayfarer;

namespace {

// Two layers of everything, not trained: the seed's weights do.
constexpr char nodes[] = R"(title: Host
seed: 5
nodes:
  documents: {source: lda, documents: 12, length_min: 4, length_max: 8}
  learner: {model: topic_transformer, regime: R4, layers: 2, heads: 2, d_model: 8, embedding: trained, decoder: untied, attention: trained, value: trained, residual: true, attention_output: true, intermediate: true, output: true, layer_norm: true, positions: trained, init: normal, init_scale: 0.5}
  clean: {probe: toy_activations, model: learner, source: documents, hooks: "*"}
)";

struct host : scratch {
  std::string out(std::string const& name) const { return (folder / name).string(); }
  outcome wayfarer(std::vector<std::string> words) const {
    words.insert(words.end(), {"--plugin-path", WAYFARER_TEST_PLUGIN_DIR});
    return run_wayfarer(std::move(words));
  }
  /// Runs the nodes above with some more, into `name`.h5.
  outcome run(std::string const& name, std::string const& more, std::vector<std::string> options = {}) const {
    auto const pipeline = file(name + ".yaml", nodes + more);
    options.insert(options.begin(), {"run", pipeline.string(), "--out", out(name + ".h5"), "--quiet"});
    return wayfarer(std::move(options));
  }
  wf::tensor read(std::string const& name, std::string const& node, std::string const& dataset) const {
    return wf::host::result_reader(out(name + ".h5")).read(node, dataset).values().to(wf::dtype::f64);
  }
};

bool same(wf::tensor const& a, wf::tensor const& b) {
  wf::tensor const x = a.to(wf::dtype::f64), y = b.to(wf::dtype::f64);
  return x.count() == y.count() && std::memcmp(x.raw(), y.raw(), x.bytes()) == 0;
}

std::string edited(std::string const& node, std::string const& edits, std::string const& more = "") {
  return "  " + node + ": {probe: toy_activations, model: learner, source: documents, hooks: \"*\", edits: [" + edits + "]" +
         more + "}\n";
}

constexpr char z0[] = "blocks.0.attn.hook_z", out0[] = "blocks.0.hook_attn_out", post0[] = "blocks.0.hook_resid_post",
               post1[] = "blocks.1.hook_resid_post";

TEST_F(host, an_edit_changes_what_is_downstream_of_it_and_nothing_else) {
  auto const r =
      run("r", edited("zeroed", "{hook: blocks.0.attn.hook_z, heads: [1], positions: [-1], items: \"2:5\", set: zero}"));
  ASSERT_EQ(r.code, 0) << r.out;
  auto const length = read("r", "clean", "length");
  for (char const* upstream : {"hook_embed", "blocks.0.attn.hook_q", "blocks.0.attn.hook_v", "blocks.0.attn.hook_pattern"})
    EXPECT_TRUE(same(read("r", "clean", upstream), read("r", "zeroed", upstream))) << upstream;
  auto const before = read("r", "clean", z0), after = read("r", "zeroed", z0);  // [item, pos, head, d_head]
  for (std::size_t i = 0; i < after.size(0); ++i)
    for (std::size_t p = 0; p < after.size(1); ++p)
      for (std::size_t h = 0; h < 2; ++h) {
        bool const chosen = i >= 2 && i < 5 && p + 1 == static_cast<std::size_t>(length(i)) && h == 1;
        for (std::size_t d = 0; d < after.size(3); ++d)
          if (chosen) {
            EXPECT_EQ(after(i, p, h, d), 0);
          }
        EXPECT_EQ(same(after[i][p][h], before[i][p][h]), !chosen) << i << " " << p << " " << h;
      }
  auto const out_before = read("r", "clean", out0), out_after = read("r", "zeroed", out0);
  auto const last_before = read("r", "clean", post1), last_after = read("r", "zeroed", post1);
  auto const logits_before = read("r", "clean", "logits"), logits_after = read("r", "zeroed", "logits");
  for (std::size_t i = 0; i < 12; ++i) {
    bool const chosen = i >= 2 && i < 5;
    EXPECT_EQ(same(last_before[i], last_after[i]), !chosen) << i;
    EXPECT_EQ(same(logits_before[i], logits_after[i]), !chosen) << i;
    auto const last = static_cast<std::size_t>(length(i)) - 1;
    for (std::size_t p = 0; p <= last; ++p) EXPECT_EQ(same(out_before[i][p], out_after[i][p]), !chosen || p != last) << i << p;
  }
}

TEST_F(host, edits_take_their_values_from_items_pairs_nodes_and_files) {
  std::string const hook = "{hook: blocks.0.hook_resid_post, ";
  auto const r =
      run("r", edited("from_item", hook + "set: {item: 3}}") +
                   edited("from_pair", hook + "items: 1:12, set: {pair: -1}}", ", block: 5") +
                   edited("pattern", "{hook: blocks.0.attn.hook_pattern, heads: 0, set: {item: 2}}") +
                   edited("from_node", hook + "positions: [0, 2], set: {node: clean/vector.blocks.0.hook_resid_post}}") +
                   edited("added", hook + "add: {node: clean/vector.blocks.0.hook_resid_post}, scale: -2.5}") +
                   edited("by_position", hook + "set: {node: clean/item.blocks.1.hook_resid_post}}") +
                   edited("head", "{hook: blocks.*.attn.hook_z, heads: 1, set: {node: clean/vector.blocks.1.attn.hook_z}}") +
                   edited("logits", "{hook: logits, positions: 0, set: zero}"));
  ASSERT_EQ(r.code, 0) << r.out;
  auto const clean = read("r", "clean", post0), length = read("r", "clean", "length");
  auto const tokens = [&](std::size_t i) { return static_cast<std::size_t>(length(i)); };
  auto const vector = clean[0][0];
  auto const item = read("r", "from_item", post0), pair = read("r", "from_pair", post0), node = read("r", "from_node", post0),
             added = read("r", "added", post0), position = read("r", "by_position", post0), last = read("r", "clean", post1);
  for (std::size_t i = 0; i < 12; ++i)
    for (std::size_t p = 0; p < tokens(i); ++p) {
      EXPECT_TRUE(same(item[i][p], clean[p < tokens(3) ? 3 : i][p])) << i << p;
      EXPECT_TRUE(same(pair[i][p], clean[i > 0 && p < tokens(i - 1) ? i - 1 : i][p])) << i << p;
      EXPECT_TRUE(same(node[i][p], p == 0 || p == 2 ? vector : clean[i][p])) << i << p;
      if (p < tokens(0)) {
        EXPECT_TRUE(same(position[i][p], last[0][p])) << i << p;
      }
      for (std::size_t d = 0; d < 8; ++d)
        EXPECT_NEAR(added(i, p, d), clean(i, p, d) - 2.5 * vector(d), 1e-5) << "an edit adds in the activation's own precision";
    }
  auto const pattern = read("r", "pattern", "blocks.0.attn.hook_pattern"),
             whole = read("r", "clean", "blocks.0.attn.hook_pattern");
  for (std::size_t q = 0; q < std::min(tokens(2), tokens(7)); ++q)
    for (std::size_t k = 0; k < std::min(tokens(2), tokens(7)); ++k) {
      EXPECT_EQ(pattern(7, 0, q, k), whole(2, 0, q, k));
      EXPECT_EQ(pattern(7, 1, q, k), whole(7, 1, q, k));
    }
  auto const z1 = read("r", "clean", "blocks.1.attn.hook_z");
  for (char const* name : {"blocks.0.attn.hook_z", "blocks.1.attn.hook_z"}) {
    auto const heads = read("r", "head", name);
    EXPECT_TRUE(same(heads[5][1][1], z1[0][0][1]));
    EXPECT_EQ(same(heads[5][1][0], read("r", "clean", name)[5][1][0]), std::string(name) == z0) << name;
  }
  auto const logits = read("r", "logits", "logits"), before = read("r", "clean", "logits");
  EXPECT_EQ(logits(4, 0, 3), 0);
  EXPECT_TRUE(same(logits[4][1], before[4][1]));

  // The same value from the file that holds it; the file's digest is part of what the result came from.
  auto const f = run(
      "f", edited("from_file", hook + "positions: [0, 2], set: {file: r.h5, dataset: /clean/vector.blocks.0.hook_resid_post}}"));
  ASSERT_EQ(f.code, 0) << f.out;
  EXPECT_TRUE(same(read("f", "from_file", post1), read("r", "from_node", post1)));
  EXPECT_EQ(wf::host::result_reader(out("f.h5")).read("_run", "inputs/name").texts().back(), "r.h5");
}

/// A .npy file, of float32 unless `type` is another.
template <class T>
std::string npy(std::vector<T> const& values, std::string const& shape, std::string const& type = "<f4") {
  std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header += std::string(117 - header.size(), ' ') + "\n";
  std::string all("\x93NUMPY\x01\x00", 8);
  all += static_cast<char>(header.size()), all += '\0';
  return all + header + std::string(reinterpret_cast<char const*>(values.data()), values.size() * sizeof(T));
}

TEST_F(host, an_edit_takes_a_direction_that_was_found_elsewhere) {
  std::vector<float> const v{1, -2, 3, 0.5f, 0, 8, -1, 4};
  file("v.npy", npy(v, "(8,)"));
  file("rows.npy", npy(std::vector<float>(24, 2), "(3, 8)"));
  file("short.npy", npy(std::vector<float>{1, 2, 3}, "(3,)"));
  // Truth values are no direction, whichever file says so.
  file("flags.npy", npy(std::vector<char>{1, 0, 1, 1, 0, 0, 0, 1}, "(8,)", "|b1"));
  std::string const header = R"({"v":{"dtype":"BOOL","shape":[8],"data_offsets":[0,8]}})";
  file("flags.safetensors",
       std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + std::string("\1\0\1\1\0\0\0\1", 8));
  auto const direction = wf::tensor::of(v, {{"d_model", 8}});
  auto const other = wf::tensor::of(std::vector<float>(8, 1), {{"d_model", 8}});
  std::pair<std::string, wf::tensor> const one[] = {{"sae/v", direction}}, two[] = {{"sae/v", direction}, {"w", other}};
  wf::write_safetensors(out("one.safetensors"), one);
  wf::write_safetensors(out("two.safetensors"), two);
  std::string const hook = "{hook: blocks.0.hook_resid_post, scale: 4, add: {file: ";
  auto const r = run("r", edited("npy", hook + "v.npy}}") + edited("tensors", hook + "two.safetensors, dataset: sae/v}}") +
                              edited("only", hook + "one.safetensors}}") + edited("rows", hook + "rows.npy}}"));
  ASSERT_EQ(r.code, 0) << r.out;
  auto const clean = read("r", "clean", post0), length = read("r", "clean", "length");
  for (std::size_t i = 0; i < 12; ++i)
    for (std::size_t p = 0; p < static_cast<std::size_t>(length(i)); ++p)
      for (std::size_t d = 0; d < 8; ++d) {
        for (char const* node : {"npy", "tensors", "only"})
          EXPECT_EQ(read("r", node, post0)(i, p, d), double(float(clean(i, p, d)) + 4 * v[d])) << node;
        EXPECT_EQ(read("r", "rows", post0)(i, p, d), double(float(clean(i, p, d)) + (p < 3 ? 8 : 0)));
      }
  EXPECT_THAT(r.out, AllOf(HasSubstr("warning: rows: edit 0 ("), HasSubstr(") was applied in part to "),
                           HasSubstr(": its value has 3 positions, and they have another number")));
  // The file's bytes are part of what the result came from.
  auto const files = wf::host::result_reader(out("r.h5")).read("_run", "inputs/name").texts();
  EXPECT_THAT(files, testing::ElementsAre("v.npy", "two.safetensors", "one.safetensors", "rows.npy"));

  auto const bad =
      file("bad.yaml", nodes + edited("a", hook + "short.npy}}") + edited("b", hook + "two.safetensors}}") +
                           edited("c", hook + "two.safetensors, dataset: sea/v}}") + edited("d", hook + "none.npy}}") +
                           edited("e", hook + "v.pt}}") + edited("f", hook + "v.npz}}") +
                           edited("g", "{hook: hook_embed, add: v.npy}") + edited("h", hook + "r.h5}}") +
                           edited("i", hook + "flags.npy}}") + edited("j", hook + "flags.safetensors}}"));
  auto const c = wayfarer({"check", bad.string()});
  EXPECT_EQ(c.code, 2);
  EXPECT_THAT(c.out, AllOf(HasSubstr("[0 3], which does not fit blocks.0.hook_resid_post: it takes [d_model 8]"),
                           HasSubstr("holds 2 tensors; say which with 'dataset'"), HasSubstr("did you mean 'sae/v'?"),
                           HasSubstr("none.npy"), HasSubstr("a pickle is never opened"), HasSubstr("numpy.save")));
  EXPECT_THAT(c.out, AllOf(HasSubstr("write {file: v.npy}"), HasSubstr("'file' needs 'dataset'")));
  EXPECT_THAT(c.out, AllOf(HasSubstr("flags.npy: byte 10: truth values (dtype bool, \"|b1\"), and numbers are read: float16"),
                           HasSubstr("flags.safetensors: tensor \"v\" holds truth values (dtype bool, \"BOOL\")")));
}

TEST_F(host, an_edit_that_never_applies_is_said_once_with_counts) {
  std::string const text = R"(nodes:
  items: {source: tokens, ids: ["1 2 3 4", "5 6 7", "8 9 10 11 12", "3 2 1"]}
  texts: {source: text, texts: ["ab", "abc", "abcd"]}
  learner: {model: gpt2, path: )" WAYFARER_SOURCE_DIR R"(/tests/data/gpt2-odd}
)";
  std::string const probe = ": {probe: toy_activations, model: learner, source: items, hooks: [logits], edits: [";
  // What check can know, it says.
  auto const bad = file("bad.yaml", text + "  a" + probe + "{hook: hook_embed, positions: [0, 5, 99, -6], set: zero}]}\n");
  auto const c = wayfarer({"check", bad.string()});
  EXPECT_EQ(c.code, 2);
  EXPECT_THAT(c.out, AllOf(HasSubstr("no item has position 5: they have at most 5 tokens"), HasSubstr("no item has position 99"),
                           HasSubstr("no item has position -6"), HasSubstr("3 errors")));
  // What only the items show is said at the end, and kept.
  auto const good =
      file("good.yaml", text + "  a" + probe +
                            "{hook: hook_embed, positions: [3], set: zero}, {hook: hook_embed, set: zero}], block: 1}\n" + "  b" +
                            probe + "{hook: blocks.1.hook_resid_post, items: 1:4, positions: -4, set: zero}]}\n" +
                            "  c: {probe: toy_activations, model: learner, source: items, max_tokens: 3, hooks: [hook_embed], " +
                            "edits: [{hook: logits, set: zero}]}\n");
  auto const r = wayfarer({"run", good.string(), "--out", out("good.h5")});
  ASSERT_EQ(r.code, 0) << r.out;
  auto kept = wf::host::result_reader(out("good.h5")).read("_run", "warnings").texts();
  // Of other things than edits a run warns too.
  std::erase_if(kept, [](std::string const& one) { return one.find(": edit ") == std::string::npos; });
  EXPECT_THAT(
      kept, testing::UnorderedElementsAre(
                "a: edit 0 (hook_embed, position 3) was applied to 2 of 4 items: the others have no such position",
                "b: edit 0 (blocks.1.hook_resid_post, position -4) was applied to 1 of 3 items: the others have no such position",
                "c: edit 0 (logits) was never applied to any of 4 items: no forward pass came to that hook"));
  for (auto const& one : kept) EXPECT_THAT(r.out, HasSubstr("warning: " + one));
}

TEST_F(host, edits_reach_gpt2) {
  auto const pipeline = file("gpt2.yaml", R"(nodes:
  items: {source: tokens, ids: ["1 2 3 4", "5 6 7", "8 9 10 11 12", "3 2 1"]}
  learner: {model: gpt2, path: )" WAYFARER_SOURCE_DIR R"(/tests/data/gpt2-odd}
  clean: {probe: toy_activations, model: learner, source: items, hooks: "*"}
  zeroed: {probe: toy_activations, model: learner, source: items, hooks: "*", edits: [{hook: blocks.0.attn.hook_z, heads: 1, positions: -1, set: zero}]}
  patched: {probe: toy_activations, model: learner, source: items, hooks: "*", items: 3, edits: [{hook: blocks.0.hook_resid_post, positions: 1, set: {pair: 1}}]}
  fine: {probe: toy_activations, model: learner, source: items, hooks: "*", precision: f64}
)");
  auto const r = wayfarer({"run", pipeline.string(), "--out", out("r.h5"), "--quiet"});
  ASSERT_EQ(r.code, 0) << r.out;
  for (char const* upstream : {"hook_embed", "blocks.0.hook_resid_pre", "blocks.0.attn.hook_v", "blocks.0.attn.hook_pattern"})
    EXPECT_TRUE(same(read("r", "clean", upstream), read("r", "zeroed", upstream))) << upstream;
  for (char const* downstream : {z0, out0, "blocks.0.mlp.hook_post", post0, "logits"})
    EXPECT_FALSE(same(read("r", "clean", downstream), read("r", "zeroed", downstream))) << downstream;
  auto const z = read("r", "zeroed", z0), clean = read("r", "clean", post0), patched = read("r", "patched", post0);
  auto const logits = read("r", "clean", "logits"), other = read("r", "patched", "logits"), fine = read("r", "fine", "logits");
  EXPECT_EQ(z(2, 4, 1, 0), 0);
  EXPECT_NE(z(2, 3, 1, 0), 0);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(same(patched[i][0], clean[i][0]) && same(patched[i][1], clean[i + 1][1]));
    EXPECT_TRUE(same(other[i][0], logits[i][0])) << "what comes before is not touched";
    EXPECT_FALSE(same(other[i][2], logits[i][2])) << "what comes after reads it";
  }
  EXPECT_FALSE(same(fine, logits));
  EXPECT_NEAR(fine(1, 2, 3), logits(1, 2, 3), 1e-5);
}

TEST_F(host, edited_results_have_the_same_bytes_for_any_number_of_threads_and_blocks) {
  std::string const more =
      edited("patched",
             "{hook: blocks.0.hook_resid_post, set: {pair: 1}, items: 0:11}, {hook: blocks.1.attn.hook_z, heads: [0], add: "
             "{node: clean/vector.blocks.1.attn.hook_z}, scale: 0.5}",
             ", block: 3");
  for (char const* threads : {"1", "2", "4"}) {
    auto const r = run(threads, more, {"--threads", threads});
    ASSERT_EQ(r.code, 0) << r.out;
    auto const c = run_wayfarer({"compare", out("1.h5"), out(std::string(threads) + ".h5")});
    EXPECT_EQ(c.code, 0) << c.out;
  }
  // Items don't depend on the block that they are in.
  ASSERT_EQ(run("blocks", more, {"--set", "patched.block=12"}).code, 0);
  EXPECT_TRUE(same(read("blocks", "patched", post1), read("1", "patched", post1)));
}

TEST_F(host, mistakes_in_edits_are_all_reported_with_their_places) {
  auto const pipeline = file(
      "bad.yaml",
      std::string(nodes) +
          R"(  a: {probe: toy_activations, model: learner, source: documents, edits: [{hook: blocks.0.atn.hook_z, set: zero}]}
  b: {probe: toy_activations, model: learner, source: documents, edits: [{hook: blocks.0.hook_mlp_out, heads: 0, set: zero}]}
  c: {probe: toy_activations, model: learner, source: documents, edits: [{hook: blocks.0.attn.hook_z, heads: [2], set: {item: 12}}]}
  d: {probe: toy_activations, model: learner, source: documents, edits: [{hook: hook_embed, set: {pair: 1}}]}
  e: {probe: toy_activations, model: learner, source: documents, edits: [{hook: hook_embed, items: 20:30, set: zero}]}
  f: {probe: toy_activations, model: learner, source: documents, edits: [{hook: hook_embed, set: {file: none.h5, dataset: a/b}}]}
)");
  auto const r = wayfarer({"check", pipeline.string()});
  EXPECT_THAT(r.out,
              AllOf(HasSubstr("bad.yaml:7:81: topic_transformer has no hook 'blocks.0.atn.hook_z'; did you mean"),
                    HasSubstr("bad.yaml:8:111: blocks.0.hook_mlp_out has no heads to edit"),
                    HasSubstr("bad.yaml:9:111: blocks.0.attn.hook_z has heads 0 to 1, not 2"),
                    HasSubstr("there is no item 12: the source has 12 items"), HasSubstr("not all have a pair 1 further on"),
                    HasSubstr("none of those observed"), HasSubstr("none.h5")));
  EXPECT_THAT(r.out, HasSubstr("7 errors; nothing was run"));

  auto const shape = file(
      "shape.yaml",
      std::string(nodes) +
          R"(  a: {probe: toy_activations, model: learner, source: documents, sett: 1, edits: [{hok: x, set: none, scale: 2}, {hook: h, set: {itm: 1}, add: {node: clean}}, {hook: h, set: {node: cleam/x}, positions: [1, 1]}, 3]}
  b: {probe: toy_activations, model: learner, source: documents, edits: {hook: x}, precision: f23}
  c: {probe: toy_rows, source: documents, edits: [{hook: x, set: zero}]}
  d: {source: lda, sweep: {documents: [1, 2]}}
)");
  auto const s = wayfarer({"check", shape.string()});
  EXPECT_EQ(s.code, 2);
  EXPECT_THAT(
      s.out, AllOf(HasSubstr("an edit has no key 'hok'; did you mean 'hook'?"), HasSubstr("an edit needs 'hook'"),
                   HasSubstr("'set' must be zero, {item: NUMBER}"), HasSubstr("'scale' belongs to 'add'"),
                   HasSubstr("'set' has no key 'itm'; did you mean 'item'?"), HasSubstr("an edit has 'set' or 'add', not both")));
  EXPECT_THAT(s.out, AllOf(HasSubstr("'node' must name one dataset"), HasSubstr("there is no such node; did you mean 'clean'?"),
                           HasSubstr("'positions' has 1 twice"), HasSubstr("an edit must be a map"),
                           HasSubstr("'edits' must be a list"), HasSubstr("'precision' must be f32, f64 or bf16, got 'f23'"),
                           HasSubstr("'edits' is for probes that run a model over a source"),
                           HasSubstr("'sweep' is for probes and metrics")));
  auto const misfit = run("misfit", edited("a", "{hook: blocks.0.attn.hook_z, set: {node: clean/length}}"));
  EXPECT_EQ(misfit.code, 2);
  EXPECT_THAT(misfit.out, AllOf(HasSubstr("a (toy_activations"), HasSubstr("is [item 12], which does not fit"),
                                HasSubstr("head 2 x d_head 4")));
}

TEST_F(host, precision_reaches_the_model) {
  auto const r = run("r", "  fine: {probe: toy_activations, model: learner, source: documents, hooks: \"*\", precision: f64}\n");
  ASSERT_EQ(r.code, 0) << r.out;
  auto const coarse = read("r", "clean", post1), fine = read("r", "fine", post1);
  EXPECT_FALSE(same(coarse, fine));
  auto const a = coarse.values<double const>(), b = fine.values<double const>();
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!std::isnan(a[i])) {
      ASSERT_NEAR(a[i], b[i], 1e-5);
    }
}

TEST_F(host, a_swept_node_gives_each_combination_its_place) {
  auto const r = run(
      "r",
      R"(  swept: {probe: toy_activations, model: learner, source: documents, items: 0:4, sweep: {factor: [1, -2, 0.5], half: [false, true]}}
  one: {probe: toy_activations, model: learner, source: documents, items: 0:4, factor: -2, half: true}
  mean: {metric: toy_metric, of: swept/length}
)");
  ASSERT_EQ(r.code, 0) << r.out;
  wf::host::result_reader const file(out("r.h5"));
  auto const d = file.read("swept", post0);
  EXPECT_EQ(wf::describe(d.shape()).substr(0, 31), "factor 3 x half 2 x item 4 x po");
  EXPECT_EQ(d.coordinate_map().at("factor").get({1}), -2);
  EXPECT_EQ(d.find_labels("half")->at(1), "true");
  EXPECT_TRUE(same(d.values()[1][1], file.read("one", post0).values()));
  EXPECT_FALSE(same(d.values()[1][0], d.values()[1][1]));
  EXPECT_THAT(file.node("swept").parameters, HasSubstr(R"("sweep":{"factor":[1.0,-2.0,0.5],"half":[false,true]})"));

  auto const set = run("set", "", {"--set", "clean.sweep.factor=[1, 2]", "--set", "clean.items=0:3"});
  ASSERT_EQ(set.code, 0) << set.out;
  EXPECT_EQ(wf::describe(wf::host::result_reader(out("set.h5")).read("clean", "length").shape()), "factor 2 x item 3");

  auto const bad = run(
      "bad",
      R"(  swept: {probe: toy_activations, model: learner, source: documents, factor: 1, sweep: {factor: [1, 2], haf: [true], half: 1}}
  empty: {probe: toy_activations, model: learner, source: documents, sweep: {factor: [], half: [yes, 7, true]}}
)");
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.out,
              AllOf(HasSubstr("'factor' has a value and is swept"),
                    HasSubstr("no parameter 'haf' to sweep; did you mean 'half'?"), HasSubstr("has an empty list for 'factor'"),
                    HasSubstr("'half' must be true or false, got '7'"), HasSubstr("takes the value 'true' twice")));
  auto const unlucky = run(
      "unlucky",
      "  swept: {probe: toy_activations, model: learner, source: documents, sweep: {factor: [1, 13], half: [false, true]}}\n");
  EXPECT_THAT(unlucky.out, HasSubstr("swept (toy_activations, factor=13, half=false): 13 is unlucky"));
  std::string many = "0";
  for (int i = 1; i < 1001; ++i) many += ", " + std::to_string(i / 20.0);
  EXPECT_THAT(
      run("many", "  swept: {probe: toy_activations, model: learner, source: documents, sweep: {factor: [" + many + "]}}\n").out,
      HasSubstr("more than 1000 combinations"));
}

TEST_F(host, a_sweep_runs_over_snapshots_too) {
  auto const r =
      run("r", R"(  trained: {model: topic_transformer, regime: R4, train: {source: documents, updates: 4, snapshots: [0, 2]}}
  swept: {probe: toy_activations, model: trained, source: documents, sweep: {factor: [1, 2]}}
)");
  ASSERT_EQ(r.code, 0) << r.out;
  auto const d = wf::host::result_reader(out("r.h5")).read("swept", "length");
  EXPECT_EQ(wf::describe(d.shape()), "step 3 x factor 2 x item 12");
}

TEST_F(host, check_predicts_the_size_of_rows) {
  auto const pipeline =
      file("p.yaml", std::string(nodes) + "  wide: {probe: toy_rows, source: documents, width: 1048576, items: 10}\n");
  auto const r = wayfarer({"check", pipeline.string()});
  EXPECT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, AllOf(HasSubstr("4 nodes"), HasSubstr("40 MiB"), HasSubstr("at most 10")));
}

TEST_F(host, rows_take_room_on_the_disk_and_not_in_memory) {
  // 384 MiB of rows: more than all the memory that the run may take.
  auto const pipeline = file("wide.yaml", R"(nodes:
  documents: {source: lda, documents: 1536, length_min: 2, length_max: 3}
  wide: {probe: toy_rows, source: documents, width: 65536, block: 16}
)");
  auto const r = wayfarer({"run", pipeline.string(), "--out", out("wide.h5"), "--quiet", "--threads", "2"});
  ASSERT_EQ(r.code, 0) << r.out;
  rusage use{};
  getrusage(RUSAGE_CHILDREN, &use);
#ifndef WAYFARER_SANITIZED
  EXPECT_LT(use.ru_maxrss, 220 * 1024) << "KiB";
#endif
  EXPECT_GT(fs::file_size(out("wide.h5")), std::uintmax_t{384} << 20);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 2);
  auto const row = wf::host::result_reader(out("wide.h5")).read("wide", "row").values();
  for (std::size_t i : {0u, 700u, 1535u}) EXPECT_EQ(row.get({i, 65535}), static_cast<double>(static_cast<float>(i * 7 + 65535)));
  // One budget for activations and rows of a block.
  auto const little = wayfarer({"run", pipeline.string(), "--out", out("l.h5"), "--quiet", "--memory-budget", "1M"});
  EXPECT_EQ(little.code, 5);
  EXPECT_THAT(little.out, AllOf(HasSubstr("memory budget"), HasSubstr("block: 4")));
}

TEST_F(host, a_killed_run_goes_on_and_ends_with_the_same_bytes) {
  auto const pipeline =
      file("long.yaml", std::string(nodes) + "  wide: {probe: toy_rows, source: documents, width: 3000, block: 1}\n");
  auto const words = [&](std::string const& name) {
    return std::vector<std::string>{"run",           pipeline.string(),         "--out", out(name),       "--quiet",
                                    "--set",         "documents.documents=300", "--set", "clean.block=2", "--resume",
                                    "--plugin-path", WAYFARER_TEST_PLUGIN_DIR};
  };
  ASSERT_EQ(run_wayfarer(words("whole.h5")).code, 0);
  EXPECT_FALSE(fs::exists(out("whole.h5.blocks"))) << "blocks are not needed any more";
  std::size_t kept = 0;
  for (int i = 1; i <= 4; ++i) {
    pid_t const child = start(words("killed.h5"), folder / "log");
    // There are 450 blocks.
    ASSERT_TRUE(wait_until(child, [&] { return count_files(out("killed.h5.blocks")) >= kept + 20; })) << slurp(folder / "log");
    kill(child, SIGKILL);
    EXPECT_EQ(finish(child, folder / "log").code, -SIGKILL);
    auto const now = count_files(out("killed.h5.blocks"));
    EXPECT_GE(now, kept + 20) << "blocks are never lost";
    kept = now;
  }
  ASSERT_EQ(run_wayfarer(words("killed.h5")).code, 0);
  EXPECT_FALSE(fs::exists(out("killed.h5.blocks")));
  auto const a = slurp(out("whole.h5")), b = slurp(out("killed.h5"));
  ASSERT_EQ(a.size(), b.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) different += a[i] != b[i];
  EXPECT_LT(different, 400u) << "times and memory differ";
  EXPECT_EQ(run_wayfarer({"compare", out("whole.h5"), out("killed.h5")}).code, 0);
}

struct cut_file : host {
  /// Runs over a mapped file of 64 pages that is cut to one byte while it is read.
  outcome cut(std::string const& options) {
    auto const data = file("data.bin", std::string(64 * 4096, 'x'));
    auto const pipeline = file("cut.yaml", "nodes:\n  pages: {source: toy_mapped, path: data.bin" + options +
                                               "}\n  rows: {probe: toy_rows, source: pages, block: 1, width: 1}\n");
    pid_t const child = start(
        {"run", pipeline.string(), "--out", out("r.h5"), "--quiet", "--threads", "2", "--plugin-path", WAYFARER_TEST_PLUGIN_DIR},
        folder / "log");
    wait_until(child, [&] { return fs::exists(out("data.bin.reading")); });
    fs::resize_file(data, 1);
    std::ofstream(out("data.bin.cut")).put('\n');
    return finish(child, folder / "log");
  }
};

TEST_F(cut_file, is_a_data_error_that_names_file_and_byte) {
  auto const r = cut("");
  EXPECT_EQ(r.code, 3) << r.out;
  EXPECT_THAT(r.out, AllOf(HasSubstr("data error: " + out("data.bin") + " was cut while it was read, at byte "),
                           HasSubstr("start again")));
  EXPECT_FALSE(fs::exists(out("r.h5")));
  for (auto const& e : fs::directory_iterator(folder)) EXPECT_THAT(e.path().filename().string(), Not(HasSubstr(".tmp.")));
}

TEST_F(cut_file, that_nobody_knows_of_stays_a_bus_error) {
  auto const r = cut(", own_map: true");
#ifndef WAYFARER_SANITIZED
  EXPECT_EQ(r.code, -SIGBUS) << r.out;
#endif
  EXPECT_THAT(r.out, Not(HasSubstr("data error")));
  EXPECT_FALSE(fs::exists(out("r.h5")));
}

}  // namespace
