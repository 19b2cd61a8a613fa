// What every model must keep to: captures, edits that act downstream and nowhere else, items that don't touch each other.
#include <gtest/gtest.h>

#include <wayfarer/testing.hpp>

namespace wf = wayfarer;

namespace {

struct my_model_test : testing::Test {
  my_model_test() : model(wf::testing::make_plugin<wf::model>({{"width", std::int64_t{4}}}, 1)) { model->load(); }

  wf::activations run(std::vector<std::vector<std::int32_t>> const& items, std::vector<wf::hook_edit> edits = {}) const {
    wf::batch b;
    for (auto const& i : items) b.tokens.push_back(i);
    wf::run_request request;
    request.capture = model->info().hooks_for("*");
    request.edits = std::move(edits);
    return model->run(b, request);
  }

  std::unique_ptr<wf::model> model;
};

TEST_F(my_model_test, captures_every_hook_in_its_declared_shape) {
  auto const all = run({{1, 2, 3}});
  for (auto const& hook : model->info().hooks) {
    wf::tensor const& x = all.at(hook.name, 0);
    ASSERT_EQ(x.rank(), 1 + hook.row.size()) << hook.name;
    EXPECT_EQ(x.size(0), 3u);
    EXPECT_EQ(x.size(1), hook.row[0].size) << hook.name;
  }
}

TEST_F(my_model_test, an_item_does_not_depend_on_the_others) {
  auto const alone = run({{5, 6}}), among = run({{1, 2, 3}, {5, 6}});
  auto const a = alone.at("logits", 0).values<float const>(), b = among.at("logits", 1).values<float const>();
  EXPECT_TRUE(std::ranges::equal(a, b));
}

TEST_F(my_model_test, an_edit_changes_what_is_downstream_only) {
  auto const zero = [](wf::edit_site const&, wf::tensor const& x) { std::ranges::fill(x.values<float>(), 0.0f); };
  auto const edited = run({{1, 2}}, {{"blocks.0.hook_attn_out", zero}}), plain = run({{1, 2}});
  auto const values = [](wf::activations const& a, char const* hook) { return a.at(hook, 0).values<float const>(); };
  EXPECT_TRUE(std::ranges::equal(values(edited, "hook_embed"), values(plain, "hook_embed")));
  EXPECT_TRUE(std::ranges::equal(values(edited, "blocks.0.hook_resid_post"), values(plain, "hook_embed")));
  EXPECT_FALSE(std::ranges::equal(values(edited, "logits"), values(plain, "logits")));
}

TEST_F(my_model_test, names_the_weights_that_it_has) {
  for (auto const& name : model->info().weights) EXPECT_TRUE(model->weight(name).defined()) << name;
  EXPECT_THROW(model->weight("embed.W"), wf::usage_error);
}

}  // namespace
