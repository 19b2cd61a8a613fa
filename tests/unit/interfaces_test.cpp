// The small types that every plugin meets: hooks, parameters, results, accumulators.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/accumulator.hpp>
#include <wayfarer/config.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/results.hpp>

namespace wf = wayfarer;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

TEST(hooks, patterns_match_whole_names) {
  EXPECT_TRUE(wf::matches("blocks.*.hook_resid_post", "blocks.11.hook_resid_post"));
  EXPECT_FALSE(wf::matches("blocks.*.hook_resid_post", "blocks.11.hook_resid_pre"));
  EXPECT_TRUE(wf::matches("*", ""));
  EXPECT_FALSE(wf::matches("hook", "hooks"));
  EXPECT_FALSE(wf::matches(std::string(200, '*') + "x", std::string(5000, 'a')));  // returns at once
}

TEST(hooks, near_names_are_slips_not_strangers) {
  std::vector<std::string> const known{"topics", "documents", "words_per_topic", "seed"};
  EXPECT_EQ(wf::did_you_mean("topcs", known), "; did you mean 'topics'?");
  EXPECT_EQ(wf::did_you_mean("sede", known), "; did you mean 'seed'?");
  EXPECT_EQ(wf::did_you_mean("umap", known), "");
}

TEST(hooks, a_model_lists_its_hooks_in_its_own_order_and_names_near_ones) {
  wf::model_info info;
  info.architecture = "toy";
  info.hooks = {
      {"hook_embed", {}, false, ""}, {"blocks.0.hook_resid_post", {}, false, ""}, {"blocks.1.hook_resid_post", {}, false, ""}};
  EXPECT_THAT(info.hooks_for(std::vector<std::string>{"blocks.*", "hook_embed"}).names(),
              ElementsAre("hook_embed", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"));
  try {
    info.hooks_for(std::vector<std::string>{"hook_embd"});
    FAIL() << "an unknown hook must be refused";
  } catch (wf::usage_error const& e) {
    EXPECT_THAT(e.what(), HasSubstr("toy has no hook 'hook_embd'; did you mean 'hook_embed'?"));
  }
}

TEST(config, converts_numbers_and_refuses_what_the_schema_lacks) {
  wf::config c;
  c.set("pairs", wf::param_value(std::int64_t{1000}));
  c.set("hooks", wf::param_value(std::vector<std::string>{"a", "b"}));
  int const pairs{c["pairs"]};
  double const real{c["pairs"]};
  EXPECT_EQ(pairs, 1000);
  EXPECT_EQ(real, 1000.0);
  EXPECT_THAT(c["hooks"].texts(), ElementsAre("a", "b"));
  EXPECT_THROW(c["pairs"].text(), wf::plugin_error);
  EXPECT_THROW(c["pear"], wf::plugin_error);
}

TEST(results, names_are_checked_and_unique) {
  wf::results r;
  r.add("mean_cosine", wf::tensor(wf::dtype::f64, {{"x", 2}})).dims("layer").about("a mean").units("nats");
  EXPECT_EQ(r.at("mean_cosine").shape().front().name, "layer");
  EXPECT_THROW(r.add("mean_cosine", 1.0), wf::plugin_error);
  EXPECT_THROW(r.add("../up", 1.0), wf::plugin_error);
  EXPECT_THROW(r.add("/absolute", 1.0), wf::plugin_error);
  EXPECT_THROW(r.add("", 1.0), wf::plugin_error);
  EXPECT_THROW(r.at("mean_cosin"), wf::plugin_error);
}

TEST(results, a_view_is_a_kind_or_an_object_with_options) {
  wf::dataset d(wf::tensor(wf::dtype::f64, {{"layer", 2}, {"head", 3}}));
  for (std::string const kind : {"attention", "lens", "points", "tokens", "curve", "bars", "heatmap", "histogram", "table"})
    EXPECT_EQ(d.view(kind).view(), "{\"kind\":\"" + kind + "\"}");
  for (std::string const good :
       {R"({"kind":"curve","x":"layer","log_x":false,"log_y":true})", R"({"kind":"heatmap","rows":"head","columns":"layer"})",
        R"({"kind":"heatmap","colours":"diverging"})", R"({"kind":"points","along":""})", R"({"kind":"points","along":"layer"})"})
    EXPECT_EQ(d.view(good).view(), good);
  EXPECT_EQ(d.view(R"({ "kind" : "curve" })").view(), R"({"kind":"curve"})") << "the same view has the same bytes";
  EXPECT_EQ(d.view("").view(), "");
  EXPECT_EQ(d.view_as_stored("{\"kind\": \"of a later version\"}").view(), "{\"kind\": \"of a later version\"}");
  EXPECT_EQ(wf::dataset(wf::tensor(1.0)).view("curve").view(), R"({"kind":"curve"})") << "along snapshots";
}

TEST(results, a_view_that_cant_be_is_refused_with_near_names) {
  wf::dataset d(wf::tensor(wf::dtype::f64, {{"layer", 2}, {"head", 3}}));
  auto const refusal = [&](std::string const& how) {
    try {
      d.view(how);
    } catch (wf::plugin_error const& e) {
      return std::string(e.what());
    }
    return std::string("taken");
  };
  EXPECT_EQ(refusal("curv"), "there is no view of the kind \"curv\"; did you mean 'curve'?");
  EXPECT_THAT(refusal("[1]"), HasSubstr("the kinds are attention, lens, points"));
  EXPECT_EQ(refusal(R"({"kind": "heatmaps"})"), "there is no view of the kind \"heatmaps\"; did you mean 'heatmap'?");
  EXPECT_THAT(refusal("{"), HasSubstr("is a JSON object"));
  EXPECT_THAT(refusal(R"({"x": "layer"})"), HasSubstr("has no \"kind\""));
  EXPECT_THAT(refusal(R"({"kind": 3})"), HasSubstr("has no \"kind\""));
  EXPECT_EQ(refusal(R"({"kind": "curve", "logy": true})"), "view 'curve': no option \"logy\"; did you mean 'log_y'?");
  EXPECT_EQ(refusal(R"({"kind": "table", "x": "layer"})"), "view 'table': no option \"x\"; it has no options");
  EXPECT_EQ(refusal(R"({"kind": "curve", "x": "layers"})"),
            "view 'curve': option 'x' names the dimension \"layers\", which layer 2 x head 3 lacks; did you mean 'layer'?");
  EXPECT_EQ(refusal(R"({"kind": "curve", "x": 1})"), "view 'curve': option 'x' is a text, not 1");
  EXPECT_EQ(refusal(R"({"kind": "curve", "log_y": "yes"})"), "view 'curve': option 'log_y' is true or false, not \"yes\"");
  EXPECT_THAT(refusal(R"({"kind": "heatmap", "colours": "red"})"), HasSubstr("\"sequential\" or \"diverging\""));
  EXPECT_THAT(refusal(R"({"kind": "heatmap", "rows": "head", "columns": "head"})"), HasSubstr("are both \"head\""));
  EXPECT_THAT(refusal(R"({"kind": "heatmap", "rows": ""})"), HasSubstr("lacks"));
  EXPECT_EQ(d.view(), "") << "nothing was taken";
}

TEST(results, coordinates_must_fit) {
  wf::results r;
  auto& d = r.add("x", wf::tensor(wf::dtype::f64, {{"layer", 2}}));
  EXPECT_THROW(d.labels("layer", {"one"}), wf::plugin_error);
  EXPECT_THROW(d.labels("head", {"one", "two"}), wf::plugin_error);
  d.labels("layer", {"first", "second"});
  EXPECT_THAT(*d.find_labels("layer"), ElementsAre("first", "second"));
}

wf::accumulator block(std::initializer_list<double> rows, double sum) {
  wf::accumulator a(rows.size());
  a.define("sum", {});
  a.define_rows("row", {});
  a["sum"]() = sum;
  std::size_t i = 0;
  for (double v : rows) a["row"](i++) = v;
  return a;
}

TEST(accumulator, adds_sums_and_appends_rows_in_order) {
  auto a = block({1, 2}, 10);
  a.append(block({3}, 5));
  a.append(block({}, 0));
  a.append(block({4, 5}, 1));
  EXPECT_EQ(a["sum"](), 16);
  EXPECT_THAT(a["row"].values<double const>(), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(a.items(), 5u);
  EXPECT_THROW(a["rows"], wf::plugin_error);
}

TEST(metric_input, names_a_dataset_or_asks_for_one) {
  wf::results node;
  node.add("ratio", 2.0);
  wf::metric_input in;
  in.put("of", "contrast", &node, nullptr);
  EXPECT_EQ(in.at("of", "ratio").scalar(), 2.0);
  EXPECT_THROW(in.at("of"), wf::usage_error);
  try {
    in.at("of", "ration");
    FAIL();
  } catch (wf::usage_error const& e) {
    EXPECT_THAT(e.what(), HasSubstr("'contrast' has no dataset 'ration'; did you mean 'ratio'?"));
  }
}

}  // namespace
