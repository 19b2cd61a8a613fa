// What workers share, inside one process: leases, filed results, and where a launcher says that a process stands.
#include <map>

#include <gmock/gmock.h>

#include <wayfarer/error.hpp>

#include "cli/workers.hpp"
#include "engine/filed.hpp"
#include "engine/work_folder.hpp"
#include "pipelines/command.hpp"

namespace fs = std::filesystem;
namespace wf = wayfarer;
using namespace wayfarer::host;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

namespace {

std::string const key(40, 'a');

struct work : wayfarer::test::scratch {
  std::string unit(int i) const { return key + "-" + std::to_string(i) + "-9.block"; }
};

TEST_F(work, a_lease_ends_with_the_claim_or_with_the_signs_of_its_owner) {
  work_folder a(folder / "w", {1, 2}, 0.4);
  auto const signs_of_a = fs::directory_iterator(folder / "w/workers")->path();
  work_folder b(folder / "w", {2, 2}, 0.4);
  auto held = a.try_claim(unit(1));
  ASSERT_TRUE(held);
  EXPECT_FALSE(a.try_claim(unit(1))) << "another thread of it";
  EXPECT_FALSE(b.try_claim(unit(1)));
  EXPECT_TRUE(b.is_busy(unit(1)));
  // As long as it lives, however long it takes: more than a lease, and until there is a new sign.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  for (auto const last = wayfarer::test::slurp(signs_of_a); wayfarer::test::slurp(signs_of_a) == last;)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_FALSE(b.try_claim(unit(1)));
  held.reset();
  EXPECT_FALSE(b.is_busy(unit(1)));
  EXPECT_TRUE(b.try_claim(unit(1)));
  // Of another machine, and silent: taken over after a lease, not before.
  std::ofstream(folder / "w/workers/far-1-00000000") << R"({"machine": "elsewhere", "pid": "1", "start": "1"})";
  fs::create_symlink("far-1-00000000", folder / "w/claims" / unit(2));
  EXPECT_FALSE(b.try_claim(unit(2)));
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  EXPECT_TRUE(b.try_claim(unit(2)));
  // Of one that has left nothing, and of one that points out of the folder.
  fs::create_symlink("gone-1-00000000", folder / "w/claims" / unit(3));
  fs::create_symlink("../../etc/passwd", folder / "w/claims" / unit(4));
  EXPECT_TRUE(b.try_claim(unit(3)));
  EXPECT_TRUE(b.try_claim(unit(4)));
}

TEST_F(work, what_is_there_is_not_claimed_and_shares_cover_everything) {
  work_folder a(folder / "w", {1, 3}, 9), b(folder / "w", {2, 3}, 9), c(folder / "w", {3, 3}, 9);
  std::ofstream(a.place_for(unit(1))) << "whole";
  EXPECT_FALSE(a.try_claim(unit(1)));
  EXPECT_TRUE(fs::is_empty(folder / "w/claims"));
  EXPECT_THAT(b.units(), UnorderedElementsAre(unit(1)));
  std::size_t of_first = 0;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(a.mine(unit(i)) + b.mine(unit(i)) + c.mine(unit(i)), 1);
    of_first += a.mine(unit(i));
  }
  EXPECT_GT(of_first, 60u);
  EXPECT_LT(of_first, 140u);
}

TEST_F(work, failures_are_told_to_those_that_run_and_tried_again_by_those_that_come) {
  work_folder a(folder / "w", {1, 2}, 9);
  EXPECT_FALSE(a.new_failure());
  work_folder(folder / "w", {2, 2}, 9).record_failure(unit(1), "states", "items 3: wrong", 3);
  ASSERT_TRUE(a.new_failure());
  EXPECT_EQ(a.new_failure()->text, "items 3: wrong");
  EXPECT_EQ(a.new_failure()->exit_code, 3);
  EXPECT_FALSE(work_folder(folder / "w", {2, 2}, 9).new_failure());
  auto const told = look_at_work(folder / "w").failures;
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].pass + ": " + told[0].items, "states: 1 to 8");
  // What somebody has made since did not fail.
  std::ofstream(a.place_for(unit(1))) << "whole";
  EXPECT_TRUE(look_at_work(folder / "w").failures.empty());
}

TEST_F(work, the_first_decides_how_many_blocks_are_a_unit) {
  work_folder a(folder / "w", {1, 2}, 9), b(folder / "w", {2, 2}, 9);
  EXPECT_EQ(a.blocks_a_unit(key), 0u);
  EXPECT_EQ(b.decide_blocks_a_unit(key, 16), 16u);
  EXPECT_EQ(a.decide_blocks_a_unit(key, 4), 16u);
  EXPECT_EQ(a.blocks_a_unit(key), 16u);
}

TEST_F(work, results_come_back_as_they_were_filed) {
  wf::results r;
  r.summarise("a finding");
  r.add("x/values", wf::tensor::of(std::vector<double>{1, 2, std::nan(""), 4, 5, 6}, {{"layer", 2}, {"token", 3}}))
      .labels("token", {"a", "\xff", ""})
      .coordinate("layer", wf::tensor::of(std::vector<std::int64_t>{3, 7}, {{"layer", 2}}))
      .about("what")
      .units("nat")
      .missing("none")
      .view(R"({"kind": "heatmap", "rows": "layer"})")
      .compress();
  r.add("texts", std::vector<std::string>{"one", "two"}, {{"row", 1}, {"column", 2}});
  r.add("nothing", wf::tensor(wf::dtype::u8, {{"item", 0}}));
  fs::path const place = folder / "r";
  filed_writer out(place);
  out.put(r);
  out.put(std::uint64_t{7});
  out.commit();
  filed_reader in(place);
  wf::results const back = in.node();
  EXPECT_EQ(in.number(), 7u);
  EXPECT_THROW(in.number(), wf::data_error) << "nothing is left";
  EXPECT_EQ(back.summary(), "a finding");
  EXPECT_EQ(back.names(), r.names());
  auto const& d = back.at("x/values");
  EXPECT_EQ(d.values().shape(), r.at("x/values").values().shape());
  EXPECT_EQ(std::memcmp(d.values().raw(), r.at("x/values").values().raw(), d.values().bytes()), 0);
  EXPECT_EQ(*d.find_labels("token"), (std::vector<std::string>{"a", "\xff", ""}));
  EXPECT_EQ(d.coordinate_map().at("layer").get({1}), 7);
  EXPECT_EQ(d.about() + d.units() + d.missing() + d.view(), "whatnatnone{\"kind\":\"heatmap\",\"rows\":\"layer\"}");
  EXPECT_TRUE(d.compressed());
  EXPECT_THAT(back.at("texts").texts(), ElementsAre("one", "two"));
  EXPECT_EQ(back.at("texts").shape(), r.at("texts").shape());
  EXPECT_EQ(back.at("nothing").values().count(), 0u);
  // Whatever happens to the file, it is an error and nothing else.
  fs::copy_file(place, folder / "another");
  EXPECT_THROW(filed_reader{folder / "another"}, wf::data_error);
  std::string const whole = wayfarer::test::slurp(place);
  for (std::size_t i = 0; i < whole.size(); i += 17) {
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    std::ofstream(place, std::ios::binary) << bad;
    EXPECT_THROW(filed_reader{place}, wf::data_error) << i;
    std::ofstream(place, std::ios::binary) << whole.substr(0, i);
    EXPECT_THROW(filed_reader{place}, wf::data_error) << i;
  }
}

TEST_F(work, counts_that_a_stranger_made_up_end_in_an_error) {
  for (std::uint64_t const huge : {std::uint64_t{100}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    filed_writer out(folder / "r");
    out.put(std::string_view("a summary"));
    out.put(huge);
    out.commit();
    EXPECT_THROW(filed_reader(folder / "r").node(), wf::data_error) << huge;
  }
}

std::optional<worker_place> launched(std::map<std::string, std::string> const& environment) {
  return place_from_launcher([&](char const* name) {
    auto const at = environment.find(name);
    return at == environment.end() ? nullptr : at->second.c_str();
  });
}

std::optional<worker_place> in_array(std::map<std::string, std::string> const& environment) {
  return place_from_array([&](char const* name) {
    auto const at = environment.find(name);
    return at == environment.end() ? nullptr : at->second.c_str();
  });
}

TEST(place, comes_from_what_the_launcher_sets) {
  EXPECT_FALSE(launched({}));
  EXPECT_FALSE(launched({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}})) << "a batch script, not a step of srun";
  EXPECT_FALSE(launched({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}})) << "alone";
  auto const mpi = launched({{"OMPI_COMM_WORLD_RANK", "2"}, {"OMPI_COMM_WORLD_SIZE", "3"}, {"SLURM_PROCID", "0"}});
  ASSERT_TRUE(mpi);
  EXPECT_EQ(mpi->index, 3u);
  EXPECT_EQ(mpi->count, 3u);
  auto const step = launched({{"PMIX_RANK", "1"}, {"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}});
  ASSERT_TRUE(step);
  EXPECT_EQ(step->index, 2u);
  EXPECT_THROW(launched({{"PMI_RANK", "4"}, {"PMI_SIZE", "3"}}), wf::usage_error);
  EXPECT_THROW(launched({{"PMI_RANK", "one"}, {"PMI_SIZE", "3"}}), wf::usage_error);
}

TEST(place, in_an_array_does_not_depend_on_its_first_index_and_step) {
  EXPECT_FALSE(in_array({}));
  auto const at = [](char const* id, char const* count, char const* first, char const* last) {
    auto const p = in_array({{"SLURM_ARRAY_TASK_ID", id},
                             {"SLURM_ARRAY_TASK_COUNT", count},
                             {"SLURM_ARRAY_TASK_MIN", first},
                             {"SLURM_ARRAY_TASK_MAX", last}});
    return std::pair(p->index, p->count);
  };
  EXPECT_EQ(at("0", "4", "0", "3"), std::pair(std::size_t{1}, std::size_t{4}));
  EXPECT_EQ(at("8", "4", "5", "8"), std::pair(std::size_t{4}, std::size_t{4}));
  EXPECT_EQ(at("20", "3", "10", "30"), std::pair(std::size_t{2}, std::size_t{3}));
  EXPECT_EQ(at("7", "1", "7", "7"), std::pair(std::size_t{1}, std::size_t{1}));
  EXPECT_EQ(at("99", "3", "1", "99").second, 3u) << "a list of indices";
}

}  // namespace
