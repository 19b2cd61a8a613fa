// The pipeline reader: what a good file becomes, and that every mistake in a bad one is reported, at its place, with what to do.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/file.hpp>
#include <wayfarer/json.hpp>

#include "pipeline/plan.hpp"
#include "pipeline/values.hpp"
#include "pipeline/yaml.hpp"

namespace {

namespace fs = std::filesystem;
using namespace wayfarer;
using namespace wayfarer::host;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

fs::path const pipelines = fs::path(WAYFARER_SOURCE_DIR) / "tests/pipelines";

registry& toys() {
  static registry r({fs::path(WAYFARER_TEST_PLUGIN_DIR)});
  return r;
}

struct outcome {
  plan what;
  std::vector<problem> problems;
  // "4:22: message", as format_problems writes them after the file's name.
  std::vector<std::string> lines() const {
    std::vector<std::string> out;
    for (auto const& p : problems)
      out.push_back((p.option.empty() ? std::to_string(p.at.line) + ":" + std::to_string(p.at.column) : p.option) + ": " +
                    p.message);
    return out;
  }
  plan_node const& node(std::string_view name) const {
    for (auto const& n : what.nodes)
      if (n.name == name) return n;
    throw std::out_of_range("no node " + std::string(name));
  }
};

outcome read_text_as_plan(std::string text, std::vector<std::string> const& overrides = {}, fs::path const& file = "test.yaml") {
  outcome o;
  o.what = plan_of_text(file, std::move(text), overrides, toys(), o.problems);
  return o;
}
outcome read_file_as_plan(std::string const& name, std::vector<std::string> const& overrides = {}) {
  outcome o;
  o.what = read_plan(pipelines / name, overrides, toys(), o.problems);
  return o;
}
// A source with the given keys beside the plugin and the required one.
outcome read_source(std::string const& keys, std::vector<std::string> const& overrides = {}) {
  return read_text_as_plan("nodes:\n  documents: {source: toy_source, topics: 10" + (keys.empty() ? "" : ", " + keys) + "}\n",
                           overrides);
}

// ---- good files ----

TEST(pipeline, reads_every_key_of_a_good_file) {
  auto const o = read_file_as_plan("good/toy.yaml");
  ASSERT_THAT(o.lines(), IsEmpty());
  EXPECT_EQ(o.what.title, "Every key \xe2\x80\x94 once");
  EXPECT_EQ(o.what.seed, 7u);

  auto const& documents = o.node("documents");
  ASSERT_NE(documents.what, nullptr);
  EXPECT_EQ(documents.what->id(), "toy_source");
  EXPECT_EQ(documents.at.line, 14u);
  EXPECT_EQ(documents.at.column, 3u);
  auto const& c = documents.parameters;
  EXPECT_EQ(c["topics"].integer(), 10);
  EXPECT_EQ(c["documents"].integer(), 10000);
  EXPECT_EQ(c["alpha"].get(), param_value(1.0).get());
  EXPECT_TRUE(c["shuffle"].flag());
  EXPECT_EQ(c["name"].text(), "twelve");
  EXPECT_EQ(c["style"].text(), "paper");
  EXPECT_THAT(c["tags"].texts(), ElementsAre("blue"));
  EXPECT_THAT(c["steps"].integers(), ElementsAre(0, 1000));
  EXPECT_THAT(c["rates"].reals(), ElementsAre(0.5, 1.0));
  EXPECT_EQ(c["seed"].integer(), 7);
  EXPECT_EQ(c.seed(), 7u);

  auto const& learner = o.node("learner");
  EXPECT_EQ(learner.parameters["train.epochs"].integer(), 20);
  EXPECT_EQ(learner.parameters["train.rate"].real(), 0.01);
  ASSERT_NE(learner.find_wire("train.source"), nullptr);
  EXPECT_EQ(o.what.nodes[learner.find_wire("train.source")->node].name, "documents");
  EXPECT_EQ(learner.find_wire("train.held_out"), nullptr);

  auto const& structure = o.node("structure");
  EXPECT_EQ(structure.items, (item_range{10, 500}));
  EXPECT_EQ(structure.max_tokens, 100u);
  EXPECT_EQ(structure.block, 64u);
  EXPECT_EQ(structure.places.at("max_tokens").line, 11u);
  EXPECT_THAT(structure.parameters["hooks"].texts(), ElementsAre("blocks.*.hook_resid_post"));

  auto const* of = o.node("contrast").find_wire("of");
  ASSERT_NE(of, nullptr);
  EXPECT_EQ(o.what.nodes[of->node].name, "structure");
  EXPECT_EQ(of->dataset, "pairs");
  EXPECT_EQ(of->kind, port_kind::results);

  ASSERT_THAT(o.what.expectations, SizeIs(2));
  auto const& ratio = o.what.expectations[0];
  EXPECT_EQ(ratio.what, "contrast/ratio");
  EXPECT_EQ(o.what.nodes[ratio.node].name, "contrast");
  EXPECT_EQ(ratio.dataset, "ratio");
  EXPECT_EQ(ratio.at_least, 1.5);
  EXPECT_EQ(ratio.source, "arXiv 2303.04245");
  EXPECT_FALSE(ratio.recalled);
  auto const& pairs = o.what.expectations[1];
  EXPECT_EQ(pairs.near, 5.58);
  EXPECT_EQ(pairs.within, 0.1);
  EXPECT_THAT(pairs.select, ElementsAre(std::pair<std::string, double>("step", 1001)));
  EXPECT_TRUE(pairs.recalled);
  for (auto const& n : o.what.nodes) EXPECT_TRUE(n.sound) << n.name;
}

TEST(pipeline, nodes_follow_what_they_read_and_else_the_file) {
  std::vector<std::string> order;
  for (auto const& n : read_file_as_plan("good/toy.yaml").what.nodes) order.push_back(n.name);
  EXPECT_THAT(order, ElementsAre("documents", "learner", "structure", "contrast"));

  auto const o = read_text_as_plan(
      "nodes:\n  m1: {metric: toy_metric, of: p}\n  s3: {source: toy_source, topics: 1}\n  p: {probe: toy_probe, model: l, "
      "source: s1}\n"
      "  s2: {source: toy_source, topics: 1}\n  l: {model: toy_learner}\n  s1: {source: toy_source, topics: 1}\n");
  ASSERT_THAT(o.lines(), IsEmpty());
  order.clear();
  for (auto const& n : o.what.nodes) order.push_back(n.name);
  EXPECT_THAT(order, ElementsAre("s3", "s2", "l", "s1", "p", "m1"));
}

TEST(pipeline, groups_may_be_written_with_dots) {
  auto const o = read_text_as_plan(
      "nodes:\n  d: {source: toy_source, topics: 1}\n  l: {model: toy_learner, train.source: d, train: {epochs: 3}}\n");
  ASSERT_THAT(o.lines(), IsEmpty());
  EXPECT_EQ(o.node("l").parameters["train.epochs"].integer(), 3);
  EXPECT_NE(o.node("l").find_wire("train.source"), nullptr);
}

TEST(pipeline, numbers_may_be_written_as_people_write_them) {
  EXPECT_EQ(integer_of("10000"), 10000);
  EXPECT_EQ(integer_of("10_000"), 10000);
  EXPECT_EQ(integer_of("1e4"), 10000);
  EXPECT_EQ(integer_of("1.5e1"), 15);
  EXPECT_EQ(integer_of("-3"), -3);
  EXPECT_EQ(integer_of("+3"), 3);
  EXPECT_EQ(integer_of("9223372036854775807"), std::numeric_limits<std::int64_t>::max());
  for (auto const* bad : {"", "ten", "1.5", "_1", "1_", "1__0", "1 000", "0x10", "1e-1", "1e30", "9223372036854775808", "inf",
                          "nan", "-", "+", ".", "1e", "--1", "+-1"})
    EXPECT_EQ(integer_of(bad), std::nullopt) << bad;
  EXPECT_EQ(real_of("1e-3"), 1e-3);
  EXPECT_EQ(real_of(".5"), 0.5);
  EXPECT_EQ(real_of("1_000.25"), 1000.25);
  EXPECT_EQ(real_of("-2"), -2.0);
  for (auto const* bad : {"", "inf", ".inf", "-inf", "nan", ".nan", "1e999", "x", "1x", "1,5", "1_.5"})
    EXPECT_EQ(real_of(bad), std::nullopt) << bad;
  for (auto const* yes : {"true", "True", "YES", "on"}) EXPECT_EQ(boolean_of(yes), true) << yes;
  for (auto const* no : {"false", "No", "OFF"}) EXPECT_EQ(boolean_of(no), false) << no;
  EXPECT_EQ(boolean_of("1"), std::nullopt);
}

TEST(pipeline, a_node_has_its_own_seed_or_the_pipelines) {
  EXPECT_EQ(read_source("").node("documents").parameters["seed"].integer(), 0);
  auto const o = read_text_as_plan(
      "seed: 5\nnodes:\n  a: {source: toy_source, topics: 1}\n  b: {source: toy_source, topics: 1, seed: 9}\n  c: {model: "
      "toy_learner}\n");
  ASSERT_THAT(o.lines(), IsEmpty());
  EXPECT_EQ(o.node("a").parameters["seed"].integer(), 5);
  EXPECT_EQ(o.node("a").parameters.seed(), 5u);
  EXPECT_EQ(o.node("b").parameters["seed"].integer(), 9);
  EXPECT_EQ(o.node("b").parameters.seed(), 9u);
  EXPECT_FALSE(o.node("c").parameters.has("seed"));
  EXPECT_EQ(o.node("c").parameters.seed(), 5u);
  EXPECT_THAT(read_text_as_plan("seed: 2000000\nnodes:\n  a: {source: toy_source, topics: 1}\n").lines(),
              ElementsAre("1:7: 'a' gets the pipeline's seed, but its own must be an integer from 0 to 1000000, got 2000000; "
                          "give the node a seed"));
  EXPECT_THAT(read_text_as_plan("seed: -1\nnodes:\n  a: {source: toy_source, topics: 1}\n").lines(),
              ElementsAre("1:7: 'seed' must be an integer of at least 0, got '-1'"));
}

TEST(pipeline, paths_start_from_the_file_or_from_the_command_line) {
  auto const text = "nodes:\n  d: {source: toy_source, topics: 1, path: ../data/w.txt}\n";
  auto const given = read_text_as_plan(text, {}, "/somewhere/runs/a.yaml");
  ASSERT_THAT(given.lines(), IsEmpty());
  EXPECT_EQ(given.node("d").parameters["path"].text(), "/somewhere/data/w.txt");
  EXPECT_EQ(given.node("d").parameters["stop_words"].text(), "/somewhere/runs/stop.txt");
  auto const relative = read_text_as_plan(text, {}, "runs/a.yaml");
  EXPECT_EQ(relative.node("d").parameters["path"].text(), (fs::current_path() / "data/w.txt").string());
  auto const set = read_text_as_plan(text, {"d.path=w.txt"}, "/somewhere/runs/a.yaml");
  EXPECT_EQ(set.node("d").parameters["path"].text(), (fs::current_path() / "w.txt").string());
  auto const absolute = read_text_as_plan(text, {"d.path=/w.txt"}, "/somewhere/runs/a.yaml");
  EXPECT_EQ(absolute.node("d").parameters["path"].text(), "/w.txt");
  EXPECT_EQ(read_text_as_plan(text, {"d.path="}).node("d").parameters["path"].text(), "");

  // Elsewhere on another machine: same text.
  auto const elsewhere = read_text_as_plan(text, {}, "/home/of/another/a.yaml");
  EXPECT_EQ(canonical_json(given.what), canonical_json(elsewhere.what));
  EXPECT_EQ(canonical_json(given.node("d")), canonical_json(elsewhere.node("d")));
  EXPECT_NE(canonical_json(given.node("d").parameters), canonical_json(elsewhere.node("d").parameters));
  EXPECT_THAT(canonical_json(given.what), Not(HasSubstr("somewhere")));
}

TEST(pipeline, canonical_json_is_complete_and_does_not_depend_on_spelling) {
  auto const o = read_file_as_plan("good/toy.yaml");
  auto const j = parse_json(canonical_json(o.what), "plan");
  EXPECT_EQ(j.at("title").as_string(), o.what.title);
  EXPECT_EQ(j.at("seed").as_integer(), 7);
  auto const documents = j.at("nodes").at("documents");
  EXPECT_EQ(documents.at("plugin").as_string(), "toy_source");
  EXPECT_EQ(documents.at("kind").as_string(), "source");
  EXPECT_EQ(documents.at("parameters").size(), 12u);
  EXPECT_EQ(documents.at("parameters").at("documents").as_integer(), 10000);
  EXPECT_EQ(documents.at("parameters").at("path").as_string(), "data/words.txt");
  EXPECT_EQ(documents.at("parameters").at("stop_words").as_string(), "stop.txt");
  auto const structure = j.at("nodes").at("structure");
  EXPECT_EQ(structure.at("ports").at("model").as_string(), "learner");
  EXPECT_EQ(structure.at("items").as_string(), "10:500");
  EXPECT_EQ(structure.at("max_tokens").as_integer(), 100);
  EXPECT_EQ(structure.at("block").as_integer(), 64);
  EXPECT_EQ(j.at("nodes").at("contrast").at("ports").at("of").as_string(), "structure/pairs");
  EXPECT_EQ(j.at("expect").at(1).at("at").at("step").as_number(), 1001.0);

  auto const a = read_text_as_plan("nodes:\n  d: {source: toy_source, topics: 1e1, shuffle: yes, tags: red}\n");
  auto const b = read_text_as_plan(
      "nodes:\n  d:\n    tags: [red]\n    shuffle: true\n    topics: 10\n    source: toy_source\n    alpha: 0.1\n");
  ASSERT_THAT(a.lines(), IsEmpty());
  ASSERT_THAT(b.lines(), IsEmpty());
  EXPECT_EQ(canonical_json(a.what), canonical_json(b.what));
}

TEST(pipeline, dot_shows_nodes_kinds_and_ports) {
  auto const o = read_file_as_plan("good/toy.yaml");
  auto const dot = to_dot(o.what);
  EXPECT_THAT(dot, StartsWith("digraph pipeline {\n"));
  EXPECT_THAT(dot, EndsWith("}\n"));
  EXPECT_THAT(dot, HasSubstr("\"documents\" [shape=cylinder, label=\"documents\\nsource toy_source\"];"));
  EXPECT_THAT(dot, HasSubstr("\"learner\" [shape=box3d,"));
  EXPECT_THAT(dot, HasSubstr("\"structure\" [shape=ellipse,"));
  EXPECT_THAT(dot, HasSubstr("\"contrast\" [shape=hexagon,"));
  EXPECT_THAT(dot, HasSubstr("\"documents\" -> \"learner\" [label=\"train.source\"];"));
  EXPECT_THAT(dot, HasSubstr("\"structure\" -> \"contrast\" [label=\"of\\npairs\"];"));
  EXPECT_EQ(dot, to_dot(read_file_as_plan("good/toy.yaml").what));
  EXPECT_THAT(to_dot(read_text_as_plan("title: 'a \"b\" \\c'\nnodes:\n  l: {model: toy_learner}\n").what),
              HasSubstr(R"(label="a \"b\" \\c";)"));
}

// ---- mistakes ----

TEST(pipeline, every_mistake_is_a_message_at_its_place) {
  auto const o = read_file_as_plan("bad/eight_mistakes.yaml");
  EXPECT_THAT(
      o.lines(),
      ElementsAre(
          "4:35: toy_source has no parameter 'topcs'; did you mean 'topics'?",
          "5:68: 'train.epochs' must be an integer from 1 to 1000, got 'ten'",
          "5:85: 'attention' must be one of learned or uniform, got 'unifrom'; did you mean 'uniform'?",
          "6:22: no plugin 'toy_prob'; did you mean 'toy_probe'?", "7:37: 'model' needs a model, but 'documents' is a source",
          "8:37: 'model' names 'lerner', but there is no such node; did you mean 'learner'?",
          "8:71: 'items' must be a number of items such as 500, or a range such as 100:500 that holds at least one, got '5:2'",
          "9:3: 'contrast' lacks 'of', which toy_metric requires: the name of a probe or metric (node, or node/dataset, to "
          "measure)",
          "11:12: 'scale' must be a number, got 'large'",
          "13:3: expect names 'contrst', but there is no such node; did you mean 'contrast'?"));
  EXPECT_EQ(exit_code_of(o.problems), 2);
  auto const text = format_problems("bad.yaml", o.problems);
  EXPECT_THAT(text, StartsWith("bad.yaml:4:35: toy_source has no parameter 'topcs'; did you mean 'topics'?\nbad.yaml:5:68: "));
  EXPECT_THAT(text, EndsWith("?\n10 errors; nothing was run"));
  for (auto const& n : o.what.nodes) EXPECT_FALSE(n.sound) << n.name;
}

TEST(pipeline, the_first_fifty_problems_are_listed_and_all_are_counted) {
  std::string text = "nodes:\n";
  for (int i = 0; i < 53; ++i) text += "  n" + std::to_string(i) + ": {source: toy_source, topics: 0}\n";
  auto const listed = format_problems("x.yaml", read_text_as_plan(text).problems);
  EXPECT_EQ(std::count(listed.begin(), listed.end(), '\n'), 51);
  EXPECT_THAT(listed, HasSubstr("x.yaml:51:"));
  EXPECT_THAT(listed, Not(HasSubstr("x.yaml:52:")));
  EXPECT_THAT(listed, EndsWith("\n... and 3 more, not shown\n53 errors; nothing was run"));
}

TEST(pipeline, soundness_spreads_along_wires_only) {
  auto const o = read_text_as_plan(
      "nodes:\n  good: {source: toy_source, topics: 1}\n  bad: {source: toy_source, topics: 0}\n  l: {model: toy_learner}\n"
      "  p: {probe: toy_probe, model: l, source: good}\n  q: {probe: toy_probe, model: l, source: bad}\n  m: {metric: "
      "toy_metric, of: q}\n");
  EXPECT_THAT(o.lines(), ElementsAre("3:37: 'topics' must be an integer from 1 to 1000000, got '0'"));
  EXPECT_TRUE(o.node("good").sound);
  EXPECT_TRUE(o.node("p").sound);
  EXPECT_FALSE(o.node("bad").sound);
  EXPECT_FALSE(o.node("q").sound);
  EXPECT_FALSE(o.node("m").sound);
  EXPECT_EQ(format_problems("x.yaml", o.problems),
            "x.yaml:3:37: 'topics' must be an integer from 1 to 1000000, got '0'\n1 error; nothing was run");
}

struct mistake {
  std::string keys;
  std::vector<std::string> lines;
  friend void PrintTo(mistake const& m, std::ostream* out) { *out << m.keys; }
};

class wrong_value : public testing::TestWithParam<mistake> {};

TEST_P(wrong_value, is_reported_with_what_was_expected) {
  EXPECT_EQ(read_source(GetParam().keys).lines(), GetParam().lines);
}

INSTANTIATE_TEST_SUITE_P(
    pipeline, wrong_value,
    testing::Values(
        mistake{"documents: 0", {"2:58: 'documents' must be an integer of at least 1, got '0'"}},
        mistake{"documents: 1.5", {"2:58: 'documents' must be an integer of at least 1, got '1.5'"}},
        mistake{"documents: '5'", {"2:58: 'documents' must be an integer of at least 1, got '5'; leave the quotes out"}},
        mistake{"documents: [5]", {"2:58: 'documents' must be an integer of at least 1, got a list"}},
        mistake{"documents: {a: 1}", {"2:58: 'documents' must be an integer of at least 1, got a map"}},
        mistake{"documents: ", {"2:47: 'documents' must be an integer of at least 1, got nothing"}},
        mistake{"alpha: 101", {"2:54: 'alpha' must be a number from 0 to 100, got '101'"}},
        mistake{"alpha: .nan", {"2:54: 'alpha' must be a number from 0 to 100, got '.nan'"}},
        mistake{"shuffle: maybe", {"2:56: 'shuffle' must be true or false, got 'maybe'"}},
        mistake{"name: [a]", {"2:53: 'name' must be a text, got a list"}},
        mistake{"path: [a]", {"2:53: 'path' must be a path, got a list"}},
        mistake{"style: pape", {"2:54: 'style' must be one of paper, repo or none, got 'pape'; did you mean 'paper'?"}},
        mistake{"style: Wittgenstein", {"2:54: 'style' must be one of paper, repo or none, got 'Wittgenstein'"}},
        mistake{"tags: [red, gren]",
                {"2:59: 'tags' must be a list, each one of red, green or blue, got 'gren'; did you mean 'green'?"}},
        mistake{"steps: [1, x, 9999]",
                {"2:58: 'steps' must be a list, each an integer from 0 to 5000, got 'x'",
                 "2:61: 'steps' must be a list, each an integer from 0 to 5000, got '9999'"}},
        mistake{"steps: {a: 1}", {"2:54: 'steps' must be a list, each an integer from 0 to 5000, got a map"}},
        mistake{"rates: [[1]]", {"2:55: 'rates' must be a list, each a number, got a list"}},
        mistake{"seed: -1", {"2:53: 'seed' must be an integer from 0 to 1000000, got '-1'"}},
        mistake{"documets: 5", {"2:47: toy_source has no parameter 'documets'; did you mean 'documents'?"}},
        mistake{"zebra: 5", {"2:47: toy_source has no parameter 'zebra'"}},
        mistake{"items: 5", {"2:47: 'items' is for probes that read a source, and toy_source is none"}},
        mistake{"probe: toy_probe",
                {"2:3: 'documents' lacks 'model', which toy_probe requires: the name of a model (model to look into)",
                 "2:23: 'source' names 'toy_source', but there is no such node", "2:35: toy_probe has no parameter 'topics'"}},
        mistake{"metric: toy_metric",
                {"2:3: 'documents' lacks 'of', which toy_metric requires: the name of a probe or metric (node, or node/dataset, "
                 "to measure)",
                 "2:15: toy_metric has no port 'source', and 'metric' names the plugin of this node already",
                 "2:35: toy_metric has no parameter 'topics'"}}));

TEST(pipeline, unknown_plugins_and_kinds) {
  EXPECT_THAT(read_text_as_plan("nodes:\n  a: {model: toy_source, topics: 0}\n").lines(),
              ElementsAre("2:14: 'toy_source' is a source, not a model; write 'source: toy_source'",
                          "2:34: 'topics' must be an integer from 1 to 1000000, got '0'"));
  EXPECT_THAT(read_text_as_plan("nodes:\n  a: {source: ../toy_source}\n").lines(),
              ElementsAre(StartsWith("2:15: no plugin '../toy_source'")));
  EXPECT_THAT(read_text_as_plan("nodes:\n  a: {source: [x]}\n").lines(),
              ElementsAre("2:15: 'source' must be the id of a plugin, got a list"));
  EXPECT_THAT(read_text_as_plan("nodes:\n  a: {source: }\n").lines(),
              ElementsAre("2:7: 'source' must be the id of a plugin, got nothing"));
  EXPECT_THAT(
      read_text_as_plan("nodes:\n  a: {sorce: toy_source}\n").lines(),
      ElementsAre(
          "2:3: node 'a' names no plugin: it needs one of the keys source, model, probe and metric; 'sorce' is near, did you "
          "mean 'source'?"));
  EXPECT_THAT(read_text_as_plan("nodes:\n  network: {model: toy_learner}\n  p: {model: network}\n").lines(),
              ElementsAre("3:14: no plugin 'network'; that is a node of this file: a node that reads it has 'probe: ID' or "
                          "'metric: ID' as well"));
}

TEST(pipeline, missing_things) {
  EXPECT_THAT(read_text_as_plan("nodes:\n  a: {source: toy_source}\n").lines(),
              ElementsAre("2:3: 'a' lacks 'topics', which toy_source requires: number of topics (an integer from 1 to 1000000)"));
  EXPECT_THAT(read_text_as_plan("nodes:\n  p: {probe: toy_probe}\n").lines(),
              ElementsAre("2:3: 'p' lacks 'model', which toy_probe requires: the name of a model (model to look into)",
                          "2:3: 'p' lacks 'source', which toy_probe requires: the name of a source (items to read)"));
  // A slip of the pen is one mistake, not two.
  EXPECT_THAT(read_text_as_plan("nodes:\n  a: {source: toy_source, topic: 5}\n").lines(),
              ElementsAre("2:27: toy_source has no parameter 'topic'; did you mean 'topics'?"));
  EXPECT_THAT(read_text_as_plan("title: x\n").lines(), ElementsAre("1:1: no 'nodes': a pipeline needs at least one node"));
  EXPECT_THAT(read_text_as_plan("nodes: {}\n").lines(),
              ElementsAre("1:8: 'nodes' must be a map of at least one node, got an empty one"));
  EXPECT_THAT(read_text_as_plan("nodes:\n").lines(), ElementsAre("1:1: 'nodes' must be a map of at least one node, got nothing"));
  EXPECT_THAT(read_text_as_plan("nodes: [a]\n").lines(),
              ElementsAre("1:8: 'nodes' must be a map of at least one node, got a list"));
  EXPECT_THAT(read_text_as_plan("").lines(), ElementsAre("1:1: the file is empty; a pipeline has at least 'nodes:'"));
  EXPECT_THAT(read_text_as_plan("# nothing\n").lines(), ElementsAre("1:1: the file is empty; a pipeline has at least 'nodes:'"));
  EXPECT_THAT(read_text_as_plan("- a\n").lines(),
              ElementsAre("1:1: a pipeline is a map with the keys title, seed, keep, nodes and expect; got a list"));
}

TEST(pipeline, keys_and_names_that_are_wrong) {
  EXPECT_THAT(read_text_as_plan("titel: x\nnodes:\n  Big: {model: toy_learner}\n  b: toy_learner\n  c:\n").lines(),
              ElementsAre("1:1: a pipeline has no key 'titel'; did you mean 'title'?",
                          "3:3: node name 'Big' must be lower-case letters, digits and '_', beginning with a letter",
                          "4:6: node 'b' must be a map such as {source: ID, ...}, got 'toy_learner'",
                          "5:3: node 'c' must be a map such as {source: ID, ...}, got nothing"));
  EXPECT_THAT(
      read_text_as_plan("nodes:\n  l: {model: toy_learner, train: 5}\n").lines(),
      ElementsAre(
          "2:34: 'train' is a group with the keys epochs, rate, source and held_out; write train: {epochs: ...}, got '5'"));
  EXPECT_THAT(read_text_as_plan("nodes:\n  l: {model: toy_learner, train: {epoch: 5}, epochs: 3}\n").lines(),
              ElementsAre("2:35: toy_learner has no parameter 'train.epoch'; did you mean 'train.epochs'?",
                          "2:46: toy_learner has no parameter 'epochs'; did you mean 'train.epochs'?"));
}

TEST(pipeline, wires_that_do_not_fit) {
  std::string const nodes =
      "nodes:\n  s: {source: toy_source, topics: 1}\n  l: {model: toy_learner}\n  p: {probe: toy_probe, model: l, source: s}\n  "
      "m: ";
  auto const metric = [&](std::string const& of) {
    return read_text_as_plan(nodes + "{metric: toy_metric, of: " + of + "}\n").lines();
  };
  EXPECT_THAT(metric("p"), IsEmpty());
  EXPECT_THAT(metric("p/a/b"), IsEmpty());
  EXPECT_THAT(metric("s"),
              ElementsAre("5:31: 'of' needs results (of a probe, a metric or a trained model), but 's' is a source"));
  EXPECT_THAT(metric("l"), ElementsAre("5:31: 'of' needs results, but 'l' is a model that is not trained and so leaves none"));
  EXPECT_THAT(metric("p/"), ElementsAre("5:31: 'of' lacks a dataset after '/'; write 'p'"));
  EXPECT_THAT(metric("[p]"), ElementsAre("5:31: 'of' must name a probe or metric, got a list"));
  EXPECT_THAT(metric(""), ElementsAre("5:27: 'of' must name a probe or metric, got nothing"));
  EXPECT_THAT(read_text_as_plan(nodes + "{probe: toy_probe, model: l/x, source: s}\n").lines(),
              ElementsAre("5:32: 'model' needs a whole node; write 'l'"));
}

TEST(pipeline, cycles_are_named) {
  auto const o = read_file_as_plan("bad/cycle.yaml");
  EXPECT_THAT(o.lines(), ElementsAre("2:35: nodes read each other in a circle: first -> third -> second -> first",
                                     "5:35: 'alone' is wired to itself"));
  EXPECT_THAT(o.what.nodes, SizeIs(4));
  for (auto const& n : o.what.nodes) EXPECT_FALSE(n.sound) << n.name;
}

TEST(pipeline, duplicates_are_reported) {
  EXPECT_THAT(
      read_file_as_plan("bad/duplicates.yaml").lines(),
      ElementsAre("3:47: duplicate key 'topics', first given at line 3", "4:3: duplicate key 'documents', first given at line 3",
                  "5:1: duplicate key 'title', first given at line 1"));
  EXPECT_THAT(read_text_as_plan("nodes:\n  l: {model: toy_learner, train.epochs: 2, train: {epochs: 3}}\n").lines(),
              ElementsAre("2:52: duplicate key 'train.epochs'"));
}

TEST(pipeline, expectations_are_checked) {
  EXPECT_THAT(read_file_as_plan("bad/expectations.yaml").lines(),
              ElementsAre("7:3: expect names a scalar as node/dataset, got 'contrast'",
                          "8:3: expect needs results, but 'documents' is a source, which leaves none",
                          "9:3: expect needs results, but 'learner' is a model, which leaves none",
                          "10:3: nothing to compare 'contrast/ratio' with: give at_least, at_most, or near with within",
                          "11:16: 'near' needs 'within': how far from it is still right",
                          "12:3: nothing to compare 'contrast/b' with: give at_least, at_most, or near with within",
                          "12:16: 'within' belongs to 'near', which is not given",
                          "13:16: an expectation has no key 'at_leest'; did you mean 'at_least'?",
                          "13:39: 'at_least' must be a number, got 'big'", "14:39: no number is both at_least and at_most these",
                          "14:68: 'step' must be a number, got 'last'",
                          "15:15: 'contrast/e' must have a map with at_least, at_most or near (with within), got '5'"));
  auto const o = read_text_as_plan(
      "nodes:\n  l: {model: toy_learner}\n  s: {source: toy_source, topics: 1}\n  p: {probe: toy_probe, model: l, source: s}\n"
      "expect:\n  p/x: [{at_least: 1, at: {step: 1}}, {at_most: 2, at: {step: 9, layer: 0}}]\n");
  ASSERT_THAT(o.lines(), IsEmpty());
  ASSERT_THAT(o.what.expectations, SizeIs(2));
  EXPECT_EQ(o.what.expectations[1].at_most, 2.0);
  EXPECT_THAT(o.what.expectations[1].select, SizeIs(2));
}

TEST(pipeline, items_block_and_max_tokens) {
  auto const probe = [](std::string const& keys) {
    return read_text_as_plan(
        "nodes:\n  s: {source: toy_source, topics: 1}\n  l: {model: toy_learner}\n  p: {probe: toy_probe, model: l, source: s, " +
        keys + "}\n");
  };
  EXPECT_EQ(probe("items: 500").node("p").items, (item_range{0, 500}));
  EXPECT_EQ(probe("items: 1_0:2e1").node("p").items, (item_range{10, 20}));
  EXPECT_EQ(probe("pairs: 1").node("p").items, std::nullopt);
  EXPECT_EQ(probe("items: all").node("p").items, std::nullopt);
  EXPECT_EQ(probe("pairs: 1").node("p").block, 0u);
  for (auto const* bad : {"0", "-1", "5:5", ":5", "a:b", "1:2:3", "[1, 2]", "every"})
    EXPECT_THAT(probe("items: " + std::string(bad)).lines(), ElementsAre(StartsWith("4:53: 'items' must be a number of items")))
        << bad;
  EXPECT_THAT(probe("block: 0").lines(), ElementsAre("4:53: 'block' must be an integer of at least 1, got '0'"));
  EXPECT_THAT(probe("max_tokens: few").lines(), ElementsAre("4:58: 'max_tokens' must be an integer of at least 1, got 'few'"));
  EXPECT_THAT(probe("blok: 5").lines(), ElementsAre("4:46: toy_probe has no parameter 'blok'; did you mean 'block'?"));
}

// ---- --set ----

TEST(pipeline, set_replaces_and_adds) {
  auto const o =
      read_file_as_plan("good/toy.yaml", {"documents.topics=3", "documents.style=repo", "learner.train.epochs=5",
                                          "learner.train.rate=.5", "seed=11", "title=Other: title # all of it",
                                          "structure.items=0:20", "documents.steps=[5, 6]", "documents.tags=red",
                                          "contrast.of=structure/other", "documents.name=*any: 'text'", "documents.topics=4"});
  ASSERT_THAT(o.lines(), IsEmpty());
  EXPECT_EQ(o.node("documents").parameters["topics"].integer(), 4);
  EXPECT_EQ(o.node("documents").parameters["style"].text(), "repo");
  EXPECT_EQ(o.node("documents").parameters["name"].text(), "*any: 'text'");
  EXPECT_THAT(o.node("documents").parameters["steps"].integers(), ElementsAre(5, 6));
  EXPECT_EQ(o.node("learner").parameters["train.epochs"].integer(), 5);
  EXPECT_EQ(o.node("learner").parameters["train.rate"].real(), 0.5);
  EXPECT_EQ(o.what.seed, 11u);
  EXPECT_EQ(o.node("documents").parameters["seed"].integer(), 11);
  EXPECT_EQ(o.what.title, "Other: title # all of it");
  EXPECT_EQ(o.node("structure").items, (item_range{0, 20}));
  EXPECT_EQ(o.node("contrast").find_wire("of")->dataset, "other");
  EXPECT_THAT(o.what.overrides, SizeIs(12));
  EXPECT_EQ(o.what.overrides[5], (std::pair<std::string, std::string>("title", "Other: title # all of it")));
  // The text stays as it was given.
  EXPECT_EQ(o.what.text, read_text((pipelines / "good/toy.yaml").string(), 1 << 20));
}

TEST(pipeline, set_mends_a_mistake_and_makes_others) {
  EXPECT_THAT(read_source("documents: x", {"documents.documents=5"}).lines(), IsEmpty());
  EXPECT_THAT(
      read_source("", {"documents.topcs=5", "documnts.topics=5", "documents.topics=ten", "documents.steps=[1, 2",
                       "documents.steps=[1, x]", "topics=5", "sed=5", "documents.topics", "=5", ".a=5", "a.=5", "seed=x"})
          .lines(),
      ElementsAre(
          "--set documnts.topics=5: no node 'documnts'; did you mean 'documents'?",
          "--set documents.steps=[1, 2: at character 1 of the value: not YAML: end of sequence flow not found",
          "--set topics=5: 'topics' is neither a node's key nor seed, title or keep; write node.key=value",
          "--set sed=5: 'sed' is neither a node's key nor seed, title or keep; write node.key=value; did you mean 'seed'?",
          "--set documents.topics: write node.key=value, seed=NUMBER, title=TEXT or keep=activations",
          "--set =5: write node.key=value, seed=NUMBER, title=TEXT or keep=activations",
          "--set .a=5: write node.key=value, seed=NUMBER, title=TEXT or keep=activations",
          "--set a.=5: write node.key=value, seed=NUMBER, title=TEXT or keep=activations",
          "--set seed=x: 'seed' must be an integer of at least 0, got 'x'",
          "--set documents.topics=ten: 'topics' must be an integer from 1 to 1000000, got 'ten'",
          "--set documents.topcs=5: toy_source has no parameter 'topcs'; did you mean 'topics'?",
          "--set documents.steps=[1, x]: 'steps' must be a list, each an integer from 0 to 5000, got 'x'"));
  auto const o = read_source("zebra: 1", {"documents.topcs=5"});
  EXPECT_EQ(format_problems("a.yaml", o.problems),
            "a.yaml:2:47: toy_source has no parameter 'zebra'\n"
            "--set documents.topcs=5: toy_source has no parameter 'topcs'; did you mean 'topics'?\n2 errors; nothing was run");
}

// ---- plugins at fault ----

TEST(pipeline, plugins_that_cannot_be_used_end_in_their_own_exit_code) {
  auto const folder = fs::temp_directory_path() / ("wayfarer_pipeline_test_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  std::ofstream(folder / "wayfarer_toy_broken.so") << "not a library";
  registry r({folder, fs::path(WAYFARER_TEST_PLUGIN_DIR)});
  std::vector<problem> problems;
  plan_of_text("a.yaml", "nodes:\n  x: {source: toy_broken, any: 1}\n", {}, r, problems);
  ASSERT_THAT(problems, SizeIs(1));
  EXPECT_EQ(problems[0].at.line, 2u);
  EXPECT_EQ(problems[0].at.column, 15u);
  EXPECT_THAT(problems[0].message, HasSubstr("wayfarer_toy_broken.so"));
  EXPECT_EQ(exit_code_of(problems), 4);
  plan_of_text("a.yaml", "nodes:\n  x: {source: toy_broken}\n  y: {source: toy_source, topics: 0}\n", {}, r, problems);
  EXPECT_THAT(problems, SizeIs(3));
  EXPECT_EQ(exit_code_of(problems), 2);
  fs::remove_all(folder);

  auto const o = read_text_as_plan(
      "nodes:\n  l: {model: toy_learner}\n  s: {source: toy_source, topics: 1}\n"
      "  p: {probe: toy_probe, model: l, source: s}\n  x: {metric: toy_bad_default, of: p}\n");
  EXPECT_THAT(o.lines(),
              ElementsAre(testing::AllOf(StartsWith("5:15: "), HasSubstr("wayfarer_toy_bad_default.so"), HasSubstr("'steps'"))));
  EXPECT_EQ(exit_code_of(o.problems), 4);
  EXPECT_EQ(exit_code_of({}), 0);
}

// ---- strange bytes ----

TEST(pipeline, yaml_beyond_what_a_pipeline_needs_is_refused) {
  EXPECT_THAT(read_text_as_plan("nodes: &n\n  l: {model: toy_learner}\nexpect: *n\n").lines(),
              testing::Contains(
                  "3:9: aliases ('*name') are not used in pipelines; write the value out, in quotes if it begins with '*'"));
  EXPECT_THAT(read_text_as_plan("nodes:\n  l: !!map {model: toy_learner}\n").lines(),
              ElementsAre("2:6: tags ('!name') are not used in pipelines; leave it out"));
  EXPECT_THAT(read_text_as_plan("nodes:\n  l: {model: toy_learner, [a]: b}\n").lines(),
              ElementsAre("2:27: a key must be a word"));
  EXPECT_THAT(read_text_as_plan("nodes:\n  l: {model: toy_learner}\n---\na: b\n").lines(),
              ElementsAre("4:1: a second document; a pipeline file has one"));
  EXPECT_THAT(read_text_as_plan("nodes: {a: [\n").lines(), ElementsAre(StartsWith("2:1: not YAML: ")));
  EXPECT_THAT(read_text_as_plan(std::string("nodes:\n  a\0b: {}\n", 15)).lines(),
              ElementsAre("2:4: control character (byte 0); a pipeline is UTF-8 text"));
  EXPECT_THAT(read_text_as_plan("nodes:\n  \xc3\xa9\xff: {}\n").lines(),
              ElementsAre("2:4: not UTF-8; save the file in that encoding"));
  // Columns are characters, not bytes; a byte order mark and Windows line ends are no characters.
  EXPECT_THAT(read_text_as_plan("\xef\xbb\xbfnodes:\r\n  l: {model: toy_learner, attention: \xc3\xa9\xc3\xa9, x: 1}\r\n").lines(),
              ElementsAre("2:38: 'attention' must be one of learned or uniform, got '\xc3\xa9\xc3\xa9'",
                          "2:42: toy_learner has no parameter 'x'"));
}

TEST(pipeline, deep_and_wide_files_are_refused_quickly) {
  for (std::string const piece : {"[", "{", "- ", "? ", "{a: ", "[a,", "&a ", "!", "'", "\"", "a: ", "|", "a:\n "}) {
    std::string text;
    while (text.size() < max_pipeline_bytes / 4) text += piece;
    auto const start = std::chrono::steady_clock::now();
    EXPECT_THAT(read_text_as_plan(text).lines(), Not(IsEmpty())) << piece;
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << piece;
  }
  std::string depth(max_yaml_depth - 2, '['), end(max_yaml_depth - 2, ']');
  EXPECT_THAT(read_text_as_plan("nodes: {l: {model: toy_learner, x: 1}}\ntitle: " + depth + end + "\n").lines(), SizeIs(2));
  EXPECT_THAT(read_text_as_plan("title: " + depth + "[[[" + end + "]]]\n").lines(),
              ElementsAre("1:39: nested more than 32 deep"));
  std::string many = "title: [";
  for (std::size_t i = 0; i < max_yaml_values; ++i) many += "1,";
  EXPECT_THAT(read_text_as_plan(many + "]\n").lines(), ElementsAre(HasSubstr("more than 100000 values")));
  std::string keys;
  for (int i = 0; i < 40000; ++i) keys += "k" + std::to_string(i) + ": 1\n";
  EXPECT_THAT(read_text_as_plan(keys).lines(), SizeIs(40001));
}

TEST(pipeline, a_file_that_cannot_be_read_is_a_data_error) {
  std::vector<problem> problems;
  EXPECT_THROW(read_plan(pipelines / "no_such.yaml", {}, toys(), problems), data_error);
  EXPECT_THROW(read_plan(pipelines, {}, toys(), problems), data_error);
  auto const big = fs::temp_directory_path() / ("wayfarer_big_" + std::to_string(::getpid()) + ".yaml");
  std::ofstream(big) << std::string(max_pipeline_bytes + 1, '#');
  EXPECT_THROW(read_plan(big, {}, toys(), problems), data_error);
  fs::remove(big);
  EXPECT_THAT(problems, IsEmpty());
}

TEST(pipeline, truncated_and_damaged_files_never_crash) {
  auto const text = read_text((pipelines / "good/toy.yaml").string(), 1 << 20);
  std::size_t whole = 0;
  for (std::size_t n = 0; n <= text.size(); ++n) {
    auto const o = read_text_as_plan(text.substr(0, n));
    for (auto const& p : o.problems) EXPECT_FALSE(p.message.empty());
    if (o.problems.empty()) {
      ++whole;
      EXPECT_THAT(canonical_json(o.what), StartsWith("{"));
      EXPECT_THAT(to_dot(o.what), EndsWith("}\n"));
    } else {
      EXPECT_THAT(format_problems("x", o.problems), EndsWith("nothing was run"));
    }
  }
  // Cut within or just before expect, some prefixes are pipelines of their own; most are not.
  EXPECT_GE(whole, 1u);
  EXPECT_LT(whole, text.size() / 2);
  for (std::size_t n = 0; n < text.size(); ++n)
    for (char c : {'{', '}', '[', ']', ':', '"', '\'', '*', '&', '!', '|', '\n', '\t', '\0', '\xff', '9'}) {
      auto damaged = text;
      damaged[n] = c;
      auto const o = read_text_as_plan(std::move(damaged), {"documents.topics=5", "learner.train.epochs=2"});
      EXPECT_THAT(format_problems("x", o.problems), EndsWith("nothing was run"));
    }
}

}  // namespace
