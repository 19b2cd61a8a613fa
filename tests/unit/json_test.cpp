// The JSON front end: strictness, limits, messages, and that what is written reads back equal.
#include <wayfarer/json.hpp>

#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <wayfarer/error.hpp>

namespace wf = wayfarer;
using wf::json_value;
using wf::parse_json;

namespace {

/// The message of the data_error that `f` throws.
template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (wf::data_error const& e) {
    return e.what();
  } catch (std::exception const& e) {
    ADD_FAILURE() << "not a data_error: " << e.what();
    return {};
  }
  ADD_FAILURE() << "accepted";
  return {};
}

std::string parse_refusal(std::string_view text, wf::json_limits limits = wf::config_limits) {
  return refusal([&] { parse_json(text, "config.json", limits); });
}

json_value config(std::string_view text) {
  return parse_json(text, "config.json");
}

}  // namespace

TEST(json, reads_every_kind) {
  json_value const v = config(R"( {"none": null, "yes": true, "int": -3, "big": 18446744073709551615, "x": 0.1,
                                   "s": "a\u00e9\ud83d\ude00\n", "list": [1, [2]], "object": {}} )");
  EXPECT_EQ(v.kind(), wf::json_kind::object);
  EXPECT_EQ(v.size(), 8u);
  EXPECT_TRUE(v.at("none").is_null());
  EXPECT_TRUE(v.at("yes").as_bool());
  EXPECT_EQ(v.at("int").as_integer(), -3);
  EXPECT_EQ(v.at("big").as_unsigned(), 18446744073709551615u);
  EXPECT_EQ(v.at("x").as_number(), 0.1);
  EXPECT_EQ(v.at("int").as_number(), -3.0);
  EXPECT_EQ(v.at("s").as_string(), "a\xc3\xa9\xf0\x9f\x98\x80\n");
  EXPECT_EQ(v.at("list").at(1).at(0).as_integer(), 2);
  EXPECT_EQ(v.at("object").size(), 0u);
  EXPECT_FALSE(v.find("absent"));
  EXPECT_TRUE(v.find("none"));
  EXPECT_FALSE(v.find_set("none"));
  EXPECT_EQ(v.find_set("int")->as_integer(-3, -3), -3);
}

TEST(json, keeps_the_order_of_members_and_finds_each) {
  json_value v;
  std::string expected;
  for (int i = 0; i < 300; ++i) {
    std::string const key = "k" + std::to_string(i * 7919 % 300);
    v.set(key, i);
    expected += key + " ";
  }
  json_value const back = config(to_json(v));
  EXPECT_EQ(back, v);
  std::string order;
  std::int64_t n = 0;
  for (auto const& [key, value] : back.members()) {
    order += key + " ";
    EXPECT_EQ(value.as_integer(), n++);
    EXPECT_EQ(back.at(key), value);
    EXPECT_EQ(v.at(key), value);
  }
  EXPECT_EQ(order, expected);
}

TEST(json, a_handle_keeps_its_document_alive) {
  json_value const v = config(R"({"a": {"b": ["long enough to be on the heap, whatever"]}})").at("a").at("b").at(0);
  EXPECT_EQ(v.as_string(), "long enough to be on the heap, whatever");
  std::size_t n = 0;
  for (json_value x : config("[1, 2, 3]").elements()) n += x.as_unsigned();
  EXPECT_EQ(n, 6u);
}

TEST(json, getters_name_the_file_and_the_path) {
  json_value const v = config(R"({"n_head": "x", "text": {"layers": [1, {"odd key\n": 2.5}]}, "huge": 18446744073709551615})");
  EXPECT_EQ(refusal([&] { v.at("n_head").as_integer(1, 1024); }),
            "config.json: n_head: expected an integer in 1..1024, got \"x\"");
  EXPECT_EQ(refusal([&] { v.at("n_layer"); }), "config.json: \"n_layer\" is missing");
  EXPECT_EQ(refusal([&] { v.at("text").at("layers").at(1).at("odd key\n").as_integer(); }),
            "config.json: text: layers[1][\"odd key\\x0a\"]: expected an integer, got 2.5");
  EXPECT_EQ(refusal([&] { v.at("text").at("layers").at(2); }), "config.json: text: layers: has no element 2, only 2");
  EXPECT_EQ(refusal([&] { v.at("text").at("layers").at("a"); }),
            "config.json: text: layers: expected an object, got an array of 2");
  EXPECT_EQ(refusal([&] { v.at(0); }), "config.json: expected an array, got an object of 3");
  EXPECT_EQ(refusal([&] { v.at("huge").as_integer(); }), "config.json: huge: expected an integer, got 18446744073709551615");
  EXPECT_EQ(refusal([&] { v.at("huge").as_unsigned(7); }),
            "config.json: huge: expected an integer in 0..7, got 18446744073709551615");
  EXPECT_EQ(refusal([&] { v.at("n_head").as_bool(); }), "config.json: n_head: expected true or false, got \"x\"");
  EXPECT_EQ(refusal([&] { v.at("text").as_string(); }), "config.json: text: expected a string, got an object of 1");
  EXPECT_EQ(refusal([&] { v.at("huge").as_number(0, 1); }),
            "config.json: huge: expected a number in 0..1, got 18446744073709551615");
  EXPECT_EQ(refusal([&] { v.at("text").at("layers").at(0).as_number(2); }),
            "config.json: text: layers[0]: expected a number of at least 2, got 1");
  EXPECT_EQ(refusal([&] { v.at("n_head").fail("no such activation"); }), "config.json: n_head: no such activation");
  EXPECT_EQ(refusal([&] { v.at("n_head").elements(); }), "config.json: n_head: expected an array, got \"x\"");
}

TEST(json, an_integer_is_not_a_fraction_a_negative_or_a_text) {
  for (char const* text : {"1.0", "1e3", "\"1\"", "true", "null", "[]", "-1", "1025", "18446744073709551615"})
    refusal([&] { config(text).as_integer(0, 1024); });
  for (char const* text : {"-1", "1.5", "null"}) refusal([&] { config(text).as_unsigned(); });
}

TEST(json, says_where_it_is_wrong) {
  EXPECT_EQ(parse_refusal("{\n  \"a\": 1,\n  \"a\": 2\n}").substr(0, 28), "config.json:3:5: byte 16: du");
  EXPECT_NE(parse_refusal("{\n \"a\": tru\n}").find("config.json:2:10: byte 11: "), std::string::npos);
  EXPECT_NE(parse_refusal("[1, 2").find("config.json:1:6: byte 5: "), std::string::npos);
  EXPECT_EQ(parse_refusal("").substr(0, 25), "config.json:1:1: byte 0: ");
}

TEST(json, refuses_what_others_let_pass) {
  EXPECT_NE(parse_refusal(R"({"a": 1, "b": {"c": 1, "d": 2, "c": 3}})").find("duplicate key \"c\""), std::string::npos);
  EXPECT_NE(parse_refusal(R"({"a": 1, "\u0061": 2})").find("duplicate key \"a\""), std::string::npos);
  EXPECT_NE(parse_refusal("18446744073709551616").find("doesn't fit 64 bits"), std::string::npos);
  EXPECT_NE(parse_refusal("[-9223372036854775809]").find("doesn't fit 64 bits"), std::string::npos);
  EXPECT_NE(parse_refusal("\xef\xbb\xbf{}").find("byte order mark"), std::string::npos);
  for (std::string_view text :
       {"{} x",  "{}{}",  "[1,]",    "{\"a\":1,}", "{'a':1}", "[01]",        "[.5]",  "[1.]",    "[+1]", "NaN",    "[Infinity]",
        "1e400", "[1 2]", "// c\n1", "\"\x01\"",   "\"\\x\"", "\"\\ud800\"", "{1:2}", "{\"a\"}", "]",    "\"open", "-"})
    EXPECT_TRUE(parse_refusal(text).starts_with("config.json:1:") || text[0] == '/') << text;
  for (std::string_view text : {std::string_view("{}\0", 3), std::string_view("[1]\0[2]", 7), std::string_view("\"\0\"", 3)})
    EXPECT_NE(parse_refusal(text).find("NUL byte"), std::string::npos);
  parse_refusal(std::string_view());
}

TEST(json, refuses_bad_utf8_and_shows_only_printable_text) {
  for (char const* bad :
       {"\xff", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\x80", "\xc3", "\xe2\x82"}) {
    EXPECT_FALSE(wf::is_utf8(bad));
    std::string const what = parse_refusal("[\"" + std::string(bad) + "\"]");
    EXPECT_TRUE(wf::is_utf8(what));
    for (char c : what) EXPECT_FALSE(static_cast<unsigned char>(c) < 0x20);
    refusal([&] { json_value(std::string(bad)); });
    refusal([&] { json_value::object().set(bad, 1); });
  }
  for (char const* good : {"", "a", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(wf::is_utf8(good));
  EXPECT_LT(parse_refusal("[\"" + std::string(500'000, 'x') + "\n\"]").size(), 500u);
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "\xe2\x82\xac";
  EXPECT_TRUE(wf::is_utf8(wf::in_quotes(many)));
  EXPECT_LT(wf::in_quotes(many).size(), 140u);
}

TEST(json, keeps_to_the_limits) {
  wf::json_limits const small{20, 3, 5};
  parse_json("[[[1]]]", "t", small);
  EXPECT_NE(parse_refusal("[[[[1]]]]", small).find("nested more than 3 deep"), std::string::npos);
  EXPECT_NE(parse_refusal("{\"a\":[{\"b\":[]}]}", small).find("nested more than 3 deep"), std::string::npos);
  parse_json("[1,2,3,4]", "t", small);
  EXPECT_NE(parse_refusal("[1,2,3,4,5]", small).find("more than 5 values"), std::string::npos);
  EXPECT_NE(parse_refusal("[               1    ]", small).find("at most 20"), std::string::npos);
  // Whatever the caller allows: the tree is walked by recursion.
  wf::json_limits const none{std::size_t{1} << 30, std::size_t{1} << 30, std::size_t{1} << 30};
  parse_refusal(std::string(100'000, '['), none);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  parse_refusal(deep, none);
  std::string const most = std::string(wf::max_json_depth, '[') + std::string(wf::max_json_depth, ']');
  json_value v = parse_json(most, "t", none);
  EXPECT_EQ(to_json(v), most);
  EXPECT_EQ(v, json_value(v));
  refusal([&] { json_value::array().push_back(v); });
  refusal([&] { json_value::object().set("a", v); });
}

TEST(json, values_behave_as_values) {
  json_value a = json_value::object({{"x", 1}, {"list", json_value::array({1, 2.5, "three", nullptr, true})}});
  json_value b = a;
  b.set("x", 2).set("y", "new");
  EXPECT_EQ(a.at("x").as_integer(), 1);
  EXPECT_EQ(b.at("x").as_integer(), 2);
  EXPECT_FALSE(a.find("y"));
  json_value list = a.at("list");
  list.push_back(6);
  EXPECT_EQ(list.size(), 6u);
  EXPECT_EQ(a.at("list").size(), 5u);
  a.set("self", a);
  EXPECT_EQ(to_json(a), R"({"x":1,"list":[1,2.5,"three",null,true],"self":{"x":1,"list":[1,2.5,"three",null,true]}})");
  a.set("list", a.at("list").at(1));
  EXPECT_EQ(a.at("list").as_number(), 2.5);
  refusal([&] { a.push_back(1); });
  refusal([&] { list.set("a", 1); });
  refusal([&] { json_value(1).set("a", 1); });
  json_value grown;
  grown.push_back(1).push_back(2u).push_back('a');
  EXPECT_EQ(to_json(grown), "[1,2,97]");
  EXPECT_NE(json_value(1), json_value(1.0));
  EXPECT_EQ(config(R"({"a":1,"b":2})"), config(R"({"b":2,"a":1})"));
  EXPECT_NE(config(R"({"a":1,"b":2})"), config(R"({"b":1,"a":2})"));
}

TEST(json, writes_canonically) {
  json_value const v = config(R"({"b": [1, {}], "a": {"z": [], "y": "\u0001\"\\/\t"}, "": -0.0})");
  EXPECT_EQ(to_json(v), R"({"b":[1,{}],"a":{"z":[],"y":"\u0001\"\\/\t"},"":-0.0})");
  EXPECT_EQ(to_json(v, 0, wf::json_order::sorted), R"({"":-0.0,"a":{"y":"\u0001\"\\/\t","z":[]},"b":[1,{}]})");
  EXPECT_EQ(to_json(config(R"({"b":[1,{}],"a":1})"), 2), "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": 1\n}");
  EXPECT_EQ(to_json(json_value()), "null");
  EXPECT_EQ(to_json(json_value(1.0)), "1.0");
  EXPECT_EQ(to_json(json_value(1e300)), "1e+300");
  EXPECT_EQ(to_json(json_value(0.1)), "0.1");
  EXPECT_EQ(to_json(json_value(std::numeric_limits<std::int64_t>::min())), "-9223372036854775808");
  EXPECT_EQ(to_json(json_value(std::numeric_limits<std::uint64_t>::max())), "18446744073709551615");
  refusal([] { json_value{std::numeric_limits<double>::infinity()}; });
  refusal([] { json_value{std::numeric_limits<double>::quiet_NaN()}; });
}

TEST(json, doubles_survive_the_round_trip) {
  std::mt19937_64 random(1);
  auto const check = [](double x) {
    double const back = config(to_json(json_value(x))).as_number();
    EXPECT_EQ(std::memcmp(&x, &back, sizeof x), 0) << x;
  };
  for (double x : {0.0, -0.0, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 1e15, 1e16, 123456789012345678.0})
    check(x);
  for (int i = 0; i < 20'000; ++i) {
    std::uint64_t const bits = random();
    double x;
    std::memcpy(&x, &bits, sizeof x);
    if (x - x == 0) check(x);
  }
}

TEST(json, mutilated_text_is_read_or_refused_never_worse) {
  std::string const text =
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "\u0120b": 1}, "merges": [["a", "b"], "c d"]}, "x": [1.5e3, -2, true]})";
  for (std::size_t n = 0; n < text.size(); ++n) parse_refusal(text.substr(0, n));
  std::mt19937 random(2);
  for (int i = 0; i < 20'000; ++i) {
    std::string bad = text;
    for (unsigned k = 0; k <= random() % 3; ++k) bad[random() % bad.size()] = static_cast<char>(random() % 256);
    try {
      json_value const v = config(bad);
      EXPECT_EQ(config(to_json(v)), v);
    } catch (wf::data_error const& e) {
      EXPECT_TRUE(wf::is_utf8(e.what()));
    }
  }
}
