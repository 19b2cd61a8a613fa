// Rows that outgrow memory, and the temporary file that they go to.
#include <wayfarer/accumulator.hpp>

#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/results.hpp>

namespace wf = wayfarer;
namespace fs = std::filesystem;

namespace {

struct rows : testing::Test {
  rows() {
    std::string pattern = (fs::temp_directory_path() / "wayfarer-rows-XXXXXX").string();
    folder = ::mkdtemp(pattern.data());
  }
  ~rows() override { fs::remove_all(folder); }

  static constexpr std::size_t block = 7, blocks = 40, width = 100;

  static void shape(wf::accumulator& a) {
    a.define("sum", {});
    a.define_rows("wide", {{"x", width}}, wf::dtype::f32);
    a.define_rows("half", {{"x", 3}}, wf::dtype::f16);
    a.define_rows("single", {});
  }
  static wf::accumulator observed(std::size_t first) {
    wf::accumulator a(block);
    shape(a);
    a["sum"]() = 1;
    auto const wide = a["wide"].view<float>();
    for (std::size_t i = 0; i < block; ++i) {
      for (std::size_t x = 0; x < width; ++x) wide(i, x) = static_cast<float>((first + i) * 1000 + x);
      wf::copy_into(a["half"][i], wf::tensor::of(std::vector<float>(3, static_cast<float>(first + i)), {{"x", 3}}));
      a["single"](i) = static_cast<double>(first + i);
    }
    return a;
  }
  /// All blocks merged, with at most `most` bytes of rows in memory.
  wf::accumulator merged(std::size_t most, bool look_in_between = false) const {
    wf::accumulator all(0);
    for (std::size_t b = 0; b < blocks; ++b) {
      if (b == 0) {
        all = observed(0);
        all.keep_rows_in(folder, block * blocks, most);
      } else {
        all.append(observed(b * block));
      }
      if (look_in_between && b % 3 == 0) {
        EXPECT_EQ(all["single"].size(0), (b + 1) * block);
        EXPECT_EQ(all["single"](b * block), static_cast<double>(b * block));
      }
    }
    return all;
  }
  static bool same(wf::tensor const& a, wf::tensor const& b) {
    return a.shape() == b.shape() && a.type() == b.type() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
  }

  std::string folder;
};

TEST_F(rows, in_a_file_are_the_same_as_in_memory) {
  auto const memory = merged(std::size_t{1} << 30);
  EXPECT_GT(memory.bytes(), blocks * block * width * 4);
  for (bool look : {false, true})
    for (std::size_t most : {0u, 1u, 5000u, 30000u}) {
      auto const filed = merged(most, look);
      EXPECT_LT(filed.bytes(), 40000u);
      EXPECT_EQ(filed.items(), block * blocks);
      EXPECT_EQ(filed["sum"](), blocks);
      for (char const* field : {"wide", "half", "single"}) EXPECT_TRUE(same(filed[field], memory[field])) << field << most;
      EXPECT_TRUE(fs::is_empty(folder)) << "the file has no name";
    }
}

TEST_F(rows, outlive_the_accumulator_in_the_results) {
  wf::results out;
  {
    auto const filed = merged(1000);
    out.add("wide", filed["wide"]);
    EXPECT_EQ(out.at("wide").values().raw(), filed["wide"].raw()) << "a view, not a copy";
  }
  wf::drop_pages({static_cast<std::byte const*>(out.at("wide").values().raw()), out.at("wide").values().bytes()});
  EXPECT_EQ(out.at("wide").values().get({100, 99}), 100099);
}

TEST_F(rows, that_a_merge_invents_are_refused) {
  auto all = observed(0);
  all.keep_rows_in(folder, block, 0);
  EXPECT_THROW(all.append(observed(block)), wf::plugin_error);
}

TEST_F(rows, on_a_full_disk_end_in_a_resource_error) {
  auto all = observed(0);
  all.keep_rows_in(folder, 2 * block, 0);
  auto const before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  rlimit const none{1000, limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &none);
  EXPECT_THROW(all.append(observed(block)), wf::resource_error);
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  auto nowhere = observed(0);
  nowhere.keep_rows_in(folder + "/nowhere", 2 * block, 0);
  EXPECT_THROW(nowhere.append(observed(block)), wf::resource_error);
}

TEST_F(rows, pages_are_dropped_from_files_only) {
  std::vector<double> const memory(100'000, 1.5);
  wf::drop_pages(std::as_bytes(std::span(memory)));
  EXPECT_EQ(memory[50'000], 1.5);
  wf::scratch_file file(folder);
  std::vector<std::byte> const bytes(300'000, std::byte{7});
  file.write_at(wf::scratch_file::alignment, bytes);
  auto const seen = file.map(wf::scratch_file::alignment, bytes.size());
  EXPECT_EQ(wf::find_mapping(seen.get() + 5).byte, wf::scratch_file::alignment + 5);
  EXPECT_EQ(wf::find_mapping(memory.data()).path, nullptr);
  wf::drop_pages({seen.get(), bytes.size()});
  EXPECT_EQ(seen.get()[299'999], std::byte{7});
}

}  // namespace
