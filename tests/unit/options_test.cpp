#include "cli/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include <wayfarer/error.hpp>

#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"
#include "text/times.hpp"

namespace wayfarer::host {
namespace {

namespace po = boost::program_options;
using testing::ElementsAre;
using testing::HasSubstr;

template <class Action>
std::string usage_message(Action action) {
  try {
    action();
  } catch (usage_error const& e) {
    return e.what();
  }
  ADD_FAILURE() << "no usage_error";
  return "";
}

verb_options make() {
  verb_options o("run FILE [OPTIONS]", "Runs a pipeline.", {"wayfarer run a.yaml --threads 2"});
  o.named().add_options()("threads", po::value<std::size_t>()->default_value(0), "threads to use")(
      "out", po::value<std::string>(), "result file")("set", po::value<std::vector<std::string>>()->composing(), "an override")(
      "strict", "fail on a miss")("rtol", po::value<double>(), "tolerance");
  o.positional("FILE");
  return o;
}

TEST(options, are_parsed) {
  auto o = make();
  ASSERT_TRUE(o.parse({"a.yaml", "--threads", "2", "--out=r.h5", "--set", "a.b=1", "--set", "c.d=2", "--rtol", "-1.5"}));
  EXPECT_EQ(o.required("FILE"), "a.yaml");
  EXPECT_EQ(o.required("out"), "r.h5");
  EXPECT_EQ(o.get<std::size_t>("threads"), 2u);
  EXPECT_EQ(o.get<double>("rtol"), -1.5);
  EXPECT_THAT(o.all("set"), ElementsAre("a.b=1", "c.d=2"));
  EXPECT_FALSE(o.has("strict"));
  EXPECT_TRUE(o.all("nothing").empty());
}

TEST(options, many_positional_arguments) {
  verb_options o("x FILES...", "", {});
  o.positional("FILES", -1);
  ASSERT_TRUE(o.parse({"a", "b", "c"}));
  EXPECT_THAT(o.all("FILES"), ElementsAre("a", "b", "c"));
}

TEST(options, wrong_command_lines_are_told_in_one_voice) {
  auto const refused = [](words const& given) {
    return usage_message([&] {
      auto o = make();
      o.parse(given);
      o.required("FILE");
    });
  };
  EXPECT_EQ(refused({"a", "--thread", "2"}), "no option '--thread'; did you mean '--threads'?; see 'wayfarer run --help'");
  EXPECT_THAT(refused({"a", "--colour"}), HasSubstr("no option '--colour'"));
  EXPECT_EQ(refused({"a", "b"}), "too many arguments: only FILE expected; see 'wayfarer run --help'");
  EXPECT_EQ(refused({}), "FILE is missing: wayfarer run FILE [OPTIONS]; see 'wayfarer run --help'");
  EXPECT_THAT(refused({"a", "--threads", "two"}), HasSubstr("'two'"));
  EXPECT_EQ(refused({"a", "--threads", "-1"}), "--threads takes a number of at least 0, not '-1'; see 'wayfarer run --help'");
  EXPECT_EQ(refused({"a", "--threads=-1"}), "--threads takes a number of at least 0, not '-1'; see 'wayfarer run --help'");
  EXPECT_THAT(refused({"a", "--out"}), HasSubstr("--out"));
  EXPECT_THAT(refused({"a", "--out", "x", "--out", "y"}), HasSubstr("more than once"));
  EXPECT_THAT(refused({"a", "--strict=yes"}), HasSubstr("--strict"));
  auto o = make();
  ASSERT_TRUE(o.parse({"a"}));
  EXPECT_THAT(usage_message([&] { o.required("out"); }), HasSubstr("--out is missing"));
}

TEST(options, help_shows_usage_options_and_examples) {
  auto o = make();
  testing::internal::CaptureStdout();
  bool const go_on = o.parse({"--help", "--rtol", "1"});
  std::string const text = testing::internal::GetCapturedStdout();
  EXPECT_FALSE(go_on);
  EXPECT_THAT(text, testing::StartsWith("Usage: wayfarer run FILE [OPTIONS]\n\nRuns a pipeline.\n"));
  EXPECT_THAT(text, HasSubstr("--threads"));
  EXPECT_THAT(text, HasSubstr("\nExamples:\n  wayfarer run a.yaml --threads 2\n"));
}

TEST(options, sizes) {
  EXPECT_EQ(parse_size("1073741824"), std::uint64_t{1} << 30);
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("512M"), std::uint64_t{512} << 20);
  EXPECT_EQ(parse_size("2g"), std::uint64_t{2} << 30);
  EXPECT_EQ(parse_size("3KiB"), 3072u);
  EXPECT_EQ(parse_size("1TB"), std::uint64_t{1} << 40);
  EXPECT_EQ(parse_size("7B"), 7u);
  EXPECT_EQ(parse_size("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
  for (char const* bad :
       {"", "M", "-1", "1.5G", "1X", "1 G", "1Gi", "1GG", "18446744073709551616", "17179869184G", "0x10", "1\033["})
    EXPECT_THAT(usage_message([&] { parse_size(bad); }), HasSubstr("is not a size")) << bad;
  EXPECT_THAT(usage_message([] { parse_size("17179869184G"); }), HasSubstr("too large"));

  EXPECT_EQ(format_size(0), "0 bytes");
  EXPECT_EQ(format_size(1), "1 byte");
  EXPECT_EQ(format_size(1023), "1023 bytes");
  EXPECT_EQ(format_size(1024), "1 KiB");
  EXPECT_EQ(format_size(1536), "1.5 KiB");
  EXPECT_EQ(format_size(219136), "214 KiB");
  EXPECT_EQ(format_size(1048575), "1 MiB");
  EXPECT_EQ(format_size(std::uint64_t{24} << 30), "24 GiB");
  EXPECT_EQ(format_size(std::numeric_limits<std::uint64_t>::max()), "16 EiB");
}

TEST(options, counts_and_numbers) {
  EXPECT_EQ(format_time(0), "0 ms");
  EXPECT_EQ(format_time(0.00042), "0.42 ms");
  EXPECT_EQ(format_time(0.0042), "4.2 ms");
  EXPECT_EQ(format_time(0.0999), "100 ms");
  EXPECT_EQ(format_time(0.9996), "1 s");
  EXPECT_EQ(format_time(2.46), "2.5 s");
  EXPECT_EQ(format_time(89.6), "1 min");
  EXPECT_EQ(format_time(9000), "2.5 h");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1249883), "1,249,883");
  EXPECT_EQ(format_number(5.5799999), "5.58");
  EXPECT_EQ(format_number(1249883), "1249883");
  EXPECT_EQ(format_number(-0.0), "0");
  EXPECT_EQ(format_number(-std::nan("")), "nan");
  EXPECT_EQ(format_number(-INFINITY), "-inf");
  EXPECT_EQ(format_number(1.5e-9), "1.5e-09");
}

TEST(options, tables_align_text_left_and_numbers_right) {
  EXPECT_EQ(format_table({"node", "value"}, {{"caf\xc3\xa9", "1.5"}, {"a", "-10"}}),
            "node  value\ncaf\xc3\xa9    1.5\na       -10\n");
  EXPECT_EQ(format_table({"x", "y"}, {{"1", "no"}, {"10"}}), " x  y\n 1  no\n10\n");
  EXPECT_EQ(format_table({}, {{"a", "1"}, {"bb", "10"}}), "a    1\nbb  10\n");
  EXPECT_EQ(format_table({"date"}, {{"2026-01-02"}, {"-"}}), "      date\n2026-01-02\n         -\n");
  EXPECT_EQ(format_table({"only"}, {}), "only\n");
}

TEST(options, nothing_commands_the_terminal) {
  EXPECT_EQ(printable("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(printable("\033[31m\n\x7f"), "\\x1b[31m\\x0a\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\xc2\\x9b31m");
  EXPECT_EQ(printable("\xff\xc3\xa9"), "\\xff\\xc3\\xa9");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
  // What turns the direction of writing hides the end of a name from those who read it.
  EXPECT_EQ(printable("a\xe2\x80\xae"
                      "b"),
            "a\\xe2\\x80\\xaeb");
  EXPECT_EQ(printable("\xe2\x81\xa6 \xd8\x9c \xe2\x80\xa8 \xef\xbb\xbf"),
            "\\xe2\\x81\\xa6 \\xd8\\x9c \\xe2\\x80\\xa8 \\xef\\xbb\\xbf");
  // Joiners make letters and emoji.
  EXPECT_EQ(printable("\xe2\x80\x8d\xe2\x80\x93"), "\xe2\x80\x8d\xe2\x80\x93");
  EXPECT_EQ(printable_lines("a\n\tb\r\033[2J"), "a\n\tb\\x0d\\x1b[2J");
  auto const odd = json_value::object({{"a\033", "\x7f\xc2\x9b\xe2\x80\xae\xf3\xa0\x81\x81"}});
  EXPECT_EQ(printable_json(odd, 0), R"({"a\u001b":"\u007f\u009b\u202e\udb40\udc41"})");
  EXPECT_EQ(parse_json(printable_json(odd, 2), "text"), odd);
  EXPECT_EQ(format_table({}, {{"\033[31m"}}), "\\x1b[31m\n");
}

}  // namespace
}  // namespace wayfarer::host
