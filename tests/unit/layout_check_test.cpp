// The comparison of a plugin's lists of types with the host's, on lists made up here and on the SDK's own. Whole plugins are in
// tests/consumer/versions_test.py and tests/hostile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <wayfarer/layers.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/model.hpp>

#include "registry/layout_check.hpp"

namespace {

using namespace wayfarer;
using testing::HasSubstr;

type_layout const* sdk_layout(std::string_view name) {
  auto const all = sdk_layouts();
  auto const at = std::find_if(all.begin(), all.end(), [&](type_layout const* t) { return t->name == name; });
  return at == all.end() ? nullptr : *at;
}

member_layout member(std::string_view type, std::string_view name) {
  auto const* t = sdk_layout(type);
  if (t)
    for (std::uint32_t i = 0; i < t->count; ++i)
      if (t->members[i].name == name) return t->members[i];
  ADD_FAILURE() << type << " has no " << name;
  return {"", nullptr, 0, 0, 0, 0};
}

/// The place of a virtual function in its class's table, as the Itanium C++ ABI writes it on x86-64 and on 64-bit ARM.
std::size_t place(void const* function) {
  std::ptrdiff_t words[2];
  std::memcpy(words, function, sizeof words);
#ifdef __aarch64__
  EXPECT_EQ(words[1] % 2, 1);
  return static_cast<std::size_t>(words[0]) / sizeof(void*);
#else
  EXPECT_EQ(words[0] % 2, 1);
  return static_cast<std::size_t>(words[0] - 1) / sizeof(void*);
#endif
}

TEST(sdk_layouts, say_what_the_compiler_says) {
  auto const* info = sdk_layout("model_info");
  ASSERT_NE(info, nullptr);
  EXPECT_STREQ(info->header, "model.hpp");
  EXPECT_EQ(info->size, sizeof(model_info));
  EXPECT_EQ(info->alignment, alignof(model_info));
  model_info const one;
  auto const offset = [&](auto const& field) {
    return static_cast<std::size_t>(reinterpret_cast<char const*>(&field) - reinterpret_cast<char const*>(&one));
  };
  EXPECT_EQ(member("model_info", "vocabulary").offset, offset(one.vocabulary));
  EXPECT_EQ(member("model_info", "hooks").offset, offset(one.hooks));
  EXPECT_EQ(member("model_info", "hooks").size, sizeof one.hooks);
  EXPECT_EQ(member("model_info", "kv_heads").offset, offset(one.kv_heads));
  EXPECT_EQ(member("dtype", "bf16").offset, static_cast<std::uint32_t>(dtype::bf16));
  EXPECT_EQ(member("training", "data").size, sizeof(void*)) << "a reference";
}

TEST(sdk_layouts, know_the_places_of_virtual_functions) {
  // Two destructors come first.
  EXPECT_EQ(place(member("model", "info").function), 2u);
  EXPECT_EQ(place(member("model", "load").function), 3u);
  EXPECT_EQ(place(member("metric", "measure").function), 3u);
  EXPECT_EQ(place(sdk_layout("metric")->after), 4u);
  EXPECT_EQ(place(sdk_layout("plugin_base")->after), 2u);
  EXPECT_EQ(place(member("trainable_model", "train").function), place(sdk_layout("model")->after));
}

TEST(sdk_layouts, mark_types_and_signatures) {
  EXPECT_EQ(layouts::mark<std::size_t>, layouts::mark<unsigned long long>) << "alike where they have the same size";
  EXPECT_NE(layouts::mark<double>, layouts::mark<std::int64_t>);
  EXPECT_NE(layouts::mark<std::int64_t>, layouts::mark<std::uint64_t>);
  EXPECT_NE(layouts::mark<std::vector<double>>, layouts::mark<std::vector<float>>);
  EXPECT_NE(layouts::mark<tensor const*>, layouts::mark<tensor*>);
  using plain = void (model::*)(int);
  EXPECT_NE(layouts::mark<plain>, layouts::mark<void (model::*)(int) const>);
  EXPECT_NE(layouts::mark<plain>, layouts::mark<void (model::*)(int, int)>);
  EXPECT_NE(layouts::mark<plain>, layouts::mark<int (model::*)(int)>);
  EXPECT_NE(layouts::mark<void (model::*)(tensor)>, layouts::mark<void (model::*)(tensor const&)>);
}

struct two_fields {
  std::vector<member_layout> members{{"first", nullptr, 0, 8, 1, 0}, {"second", nullptr, 8, 8, 2, 0}};
  type_layout type() const {
    return {"made.hpp", "made", members.data(), nullptr, layout_kind::fields, static_cast<std::uint32_t>(members.size()), 16, 8};
  }
};

std::string difference(type_layout const& plugin, type_layout const& host) {
  type_layout const* const a[] = {&plugin};
  type_layout const* const b[] = {&host};
  auto const all = host::layout_differences(a, b);
  return all.empty() ? "" : all.front().type + " (" + all.front().header + "): " + all.front().what;
}

TEST(layout_differences, name_what_differs) {
  two_fields const host;
  two_fields plugin;
  EXPECT_EQ(difference(plugin.type(), host.type()), "");
  plugin.members.pop_back();
  EXPECT_EQ(difference(plugin.type(), host.type()), "made (made.hpp): it lacks the field 'second', which the host's SDK has");
  EXPECT_THAT(difference(host.type(), plugin.type()), HasSubstr("it has the field 'second', which the host's SDK lacks"));
  plugin = {};
  plugin.members[1].offset = 12;
  EXPECT_THAT(difference(plugin.type(), host.type()), HasSubstr("'second' is at byte 12 there, and at byte 8"));
  plugin = {};
  plugin.members[1].size = 4;
  EXPECT_THAT(difference(plugin.type(), host.type()), HasSubstr("'second' has 4 bytes there, and 8"));
  plugin = {};
  plugin.members[1].mark = 3;
  EXPECT_THAT(difference(plugin.type(), host.type()), HasSubstr("'second' has another type"));
  plugin = {};
  auto type = plugin.type();
  type.size = 24;
  EXPECT_THAT(difference(type, host.type()), HasSubstr("it has 24 bytes, aligned to 8, and 16"));
  type = plugin.type();
  type.name = "unknown";
  EXPECT_THAT(difference(type, host.type()), HasSubstr("the host's SDK has no such type"));
}

TEST(layout_differences, let_enumerators_be_added) {
  two_fields const host;
  two_fields plugin;
  plugin.members.pop_back();
  auto older = plugin.type(), newer = host.type();
  older.kind = newer.kind = layout_kind::enumerators;
  EXPECT_EQ(difference(older, newer), "");
  EXPECT_THAT(difference(newer, older), HasSubstr("it has the enumerator 'second'"));
}

TEST(layout_differences, come_in_the_order_of_the_lists_and_once) {
  two_fields const host;
  two_fields plugin;
  plugin.members.pop_back();
  auto const a = plugin.type(), same = host.type();
  auto b = plugin.type();
  b.name = "another";
  type_layout const* const mine[] = {&a, &b, &a};
  type_layout const* const theirs[] = {&same};
  auto const all = host::layout_differences(mine, theirs);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].type, "made");
  EXPECT_EQ(all[1].type, "another");
}

TEST(layout_differences, are_none_between_the_sdk_and_itself) {
  EXPECT_TRUE(host::layout_differences(sdk_layouts(), sdk_layouts()).empty());
}

}  // namespace
