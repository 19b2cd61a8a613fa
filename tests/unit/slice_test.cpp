// Slices against a result whose dimensions share a name, hold numbers as coordinates, or are empty; the rest is in tests/python.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>

#include "export/export.hpp"
#include "export/slice.hpp"
#include "store/store.hpp"

namespace fs = std::filesystem;
using namespace wayfarer;
using namespace wayfarer::host;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

namespace {

struct slices : testing::Test {
  slices() {
    initialise_store();
    std::string name = (fs::temp_directory_path() / "wayfarer-slices-XXXXXX").string();
    folder = mkdtemp(name.data());
    results r;
    r.add("square", tensor::of(std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9}, {{"topic", 3}, {"topic", 3}}))
        .labels("topic", {"x", "y", "7"});
    r.add("curve", tensor::of(std::vector<float>{0.1F, 0.2F, 0.3F}, {{"step", 3}}))
        .coordinate("step", tensor::of(std::vector<double>{0, 100, 2.5}, {{"step", 3}}))
        .about("a curve");
    r.add("none", tensor(dtype::f64, {{"row", 0}, {"column", 2}}));
    r.add("one", 4.5);
    r.add("pattern", tensor::of(std::vector<double>(2 * 3 * 3, 0.5), {{"head", 2}, {"query", 3}, {"key", 3}}));
    r.add("tokens", {"the", "cat", ""}, {{"pos", 3}});
    r.add("a/b", 1);
    result_writer w(folder / "r.h5", "t", 0);
    node_record const node{"n", "p", "probe", "1", "b", "{}", "k"};
    w.write(node, r);
    w.commit({}, {node});
    in = std::make_unique<result_reader>(folder / "r.h5");
  }
  ~slices() override { fs::remove_all(folder); }
  dataset_slice read(std::string const& text) const { return read_slice(*in, parse_dataset_name(text)); }
  template <class Error = usage_error>
  std::string complaint(std::string const& text) const {
    try {
      read(text);
    } catch (Error const& e) {
      return e.what();
    }
    return "";
  }
  static auto numbers(dataset_slice const& s) { return s.part.values().values<double const>(); }

  fs::path folder;
  std::unique_ptr<result_reader> in;
};

TEST_F(slices, two_dimensions_of_one_name_are_told_apart_by_place) {
  auto const one = read("n/square[0,1]");
  EXPECT_THAT(numbers(one), ElementsAre(2));
  ASSERT_EQ(one.taken.size(), 2u);
  EXPECT_EQ(one.taken[0].name, "x");
  EXPECT_EQ(one.taken[1].name, "y");
  auto const row = read("n/square['y',1:]");
  EXPECT_THAT(numbers(row), ElementsAre(5, 6));
  EXPECT_THAT(row.names[0], ElementsAre("y", "7"));
  auto const column = read("n/square[:2,x]");
  EXPECT_THAT(numbers(column), ElementsAre(1, 4));
  EXPECT_THAT(column.names[0], ElementsAre("x", "y"));
  EXPECT_THAT(complaint("n/square[topic=1]"), HasSubstr("there are two dimensions 'topic': choose by place"));
  EXPECT_THAT(complaint<data_error>("n/square[0:2,1:3]"), HasSubstr("choose the same range of both"));
}

TEST_F(slices, a_number_is_an_index_and_in_quotes_a_label) {
  EXPECT_THAT(numbers(read("n/square['7',2]")), ElementsAre(9));
  EXPECT_THAT(complaint("n/square[7,2]"), HasSubstr("index 7 is outside: dimension 'topic' has 3: 0 to 2"));
  auto const at = read("n/curve[step='100']");
  EXPECT_FLOAT_EQ(at.part.values().values<float const>()[0], 0.2F);
  EXPECT_EQ(at.part.about(), "a curve");
  EXPECT_THAT(read("n/curve[1:]").names[0], ElementsAre("100", "2.5"));
}

TEST_F(slices, empty_dimensions_and_single_numbers) {
  EXPECT_EQ(read("n/none[:,1]").part.shape(), (dims{{"row", 0}}));
  EXPECT_THAT(complaint("n/none[0]"), HasSubstr("index 0 is outside: dimension 'row' has 0"));
  EXPECT_THAT(numbers(read("n/one")), ElementsAre(4.5));
  EXPECT_THAT(complaint("n/one[0]"), HasSubstr("the slice has 1 items, and it is one value"));
  EXPECT_THAT(numbers(read("n/one[...]")), ElementsAre(4.5));
  EXPECT_THAT(complaint("n/square[...,0,0,0]"), HasSubstr("the slice has 3 items"));
  EXPECT_THAT(complaint("n/square[...,...]"), HasSubstr("'...' may stand once"));
}

TEST_F(slices, tokens_name_positions_and_are_told_as_such) {
  auto const s = read("n/pattern[1]");
  EXPECT_THAT(s.names[0], ElementsAre("the", "cat", ""));
  EXPECT_TRUE(s.tokens[0] && s.tokens[1]);
  EXPECT_EQ(read("n/pattern[0,query=cat,key='the']").taken[1].index, 1u);
  EXPECT_THAT(read("n/tokens").names[0], IsEmpty());
}

TEST_F(slices, names_of_files_are_plain_and_do_not_collide) {
  EXPECT_EQ(file_name_of("a/b"), "a__b");
  EXPECT_EQ(file_name_of("../x y"), "%2e.__x%20y");
  export_node n{"n", "", "r", {}, {}, false};
  n.datasets.push_back({"a/b", read("n/one")});
  n.datasets.push_back({"a__b", read("n/one")});
  EXPECT_THROW(csv_files(n), usage_error);
}

TEST_F(slices, csv_quotes_and_json_has_no_infinities) {
  dataset_slice s;
  s.part = dataset(std::vector<std::string>{"a,b", "c\"d", "e\nf"}, {{"n", 3}});
  s.names = {{"x", "y,", "z"}}, s.tokens = {false};
  EXPECT_EQ(csv_table({"t", s}), "n,t\nx,\"a,b\"\n\"y,\",\"c\"\"d\"\nz,\"e\nf\"\n");
  dataset const d(tensor::of(std::vector<double>{1, INFINITY, NAN, 1e21}, {{"n", 4}}));
  EXPECT_EQ(json_values(d), "[1,null,null,1e+21]");
}

}  // namespace
