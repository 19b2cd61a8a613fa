#include <wayfarer/text_table.hpp>

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

namespace wf = wayfarer;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

struct text_table_test : testing::Test {
  std::string write(std::string const& text) const {
    auto const path =
        std::filesystem::temp_directory_path() / ("text-table-" + std::to_string(::getpid()) + "-" +
                                                  std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    wf::write_file_atomically(path.string(), text);
    return path.string();
  }
};

TEST_F(text_table_test, columns_lie_between_tabs_or_commas_or_spaces) {
  wf::text_table const t(write("\xEF\xBB\xBF# a remark\n\none two  3\r\nNew York\t Paris \t7.5\nold, new ,,1\n  lonely  "));
  ASSERT_EQ(t.lines().size(), 4u);
  EXPECT_THAT(t.lines()[0].fields, ElementsAre("one", "two", "3"));
  EXPECT_THAT(t.lines()[1].fields, ElementsAre("New York", "Paris", "7.5"));
  EXPECT_THAT(t.lines()[2].fields, ElementsAre("old", "new", "", "1"));
  EXPECT_THAT(t.lines()[3].fields, ElementsAre("lonely"));
  EXPECT_EQ(t.lines()[0].number, 3u);
  EXPECT_EQ(t.lines()[3].number, 6u);
  EXPECT_THAT([&] { t.fail(t.lines()[1], "is odd"); }, ThrowsMessage<wf::data_error>(HasSubstr(": line 4: is odd")));
}

TEST_F(text_table_test, refuses_what_holds_nothing_or_is_no_text) {
  EXPECT_THAT([&] { wf::text_table(write("")); }, ThrowsMessage<wf::data_error>(HasSubstr("no line holds anything")));
  EXPECT_THROW(wf::text_table(write("# only this\n\n")), wf::data_error);
  EXPECT_THAT([&] { wf::text_table(write("caf\xE9 1\n")); }, ThrowsMessage<wf::data_error>(HasSubstr("UTF-8")));
  EXPECT_THROW(wf::text_table("/does/not/exist"), wf::data_error);
  EXPECT_THAT([&] { wf::text_table(write("\x1f\x8b\x08\xc3 1\n")); }, ThrowsMessage<wf::data_error>(HasSubstr("packed (gzip)")));
  EXPECT_THAT([&] { wf::text_table(write("BZh9\xe9 1\n")); }, ThrowsMessage<wf::data_error>(HasSubstr("bzcat")));
  EXPECT_EQ(wf::text_table(write("BZh 1\n")).lines().size(), 1u) << "a word";
}

TEST_F(text_table_test, numbers_are_whole_fields) {
  double v = 0;
  EXPECT_TRUE(wf::is_number("+1.5e1", &v));
  EXPECT_EQ(v, 15);
  EXPECT_TRUE(wf::is_number("nan", &v));
  EXPECT_TRUE(std::isnan(v));
  EXPECT_TRUE(wf::is_number("1e-400", &v)) << "too small is zero";
  EXPECT_EQ(v, 0);
  EXPECT_TRUE(wf::is_number("1e-310", &v));
  EXPECT_EQ(v, 1e-310);
  for (auto const* no : {"", "+", "1,5", "7.5x", " 1", "one", "1e999", "-1e999", "+-1", "1e-400x"})
    EXPECT_FALSE(wf::is_number(no)) << no;
}

}  // namespace
