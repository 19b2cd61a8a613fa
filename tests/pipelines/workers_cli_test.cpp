// Several real processes that share one run: the same bytes however they are started, killed, stopped or disturbed.
#include <csignal>
#include <random>

#include <sys/mount.h>
#include <sys/stat.h>

#include <gmock/gmock.h>

#include <wayfarer/instruction_set.hpp>
#include <wayfarer/stopping.hpp>

#include "pipelines/workers.hpp"
#include "store/store.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

namespace fs = std::filesystem;

namespace {

struct workers_cli : shared_run {
  fs::path log(std::size_t i) const { return folder / ("log-" + std::to_string(i)); }
  static bool installed(std::string const& program) {
    return std::system(("command -v " + program + " > /dev/null 2>&1").c_str()) == 0;
  }
  std::vector<fs::path> units(fs::path const& work, std::string const& ending) const {
    std::vector<fs::path> all;
    for (auto const& e : fs::recursive_directory_iterator(work))
      if (e.path().parent_path().filename().string().size() == 2 && e.path().string().ends_with(ending)) all.push_back(e.path());
    std::sort(all.begin(), all.end());
    return all;
  }
};

TEST_F(workers_cli, the_same_bytes_from_one_process_and_from_several) {
  for (auto const& p : pipelines()) {
    std::string const whole = reference(p);
    EXPECT_EQ(by_workers(p, 1, 2, p.name + "-1.h5"), whole) << p.name;
    EXPECT_EQ(by_workers(p, 3, 1, p.name + "-3.h5"), whole) << p.name;
    EXPECT_EQ(litter(folder / (p.name + "-3.h5.w")), std::vector<std::string>());
  }
}

TEST_F(workers_cli, a_reproducible_result_says_what_others_say_but_not_when) {
  auto const p = rows();
  reference(p);
  auto const r = run_wayfarer(command(p, "timed.h5"));
  ASSERT_EQ(r.code, 0) << r.out;
  auto const compared = run_wayfarer({"compare", out("timed.h5"), out("rows-reference.h5")});
  EXPECT_EQ(compared.code, 0) << compared.out;
  auto const shown = run_wayfarer({"show", out("rows-reference.h5")});
  EXPECT_EQ(shown.code, 0) << shown.out;
  EXPECT_THAT(shown.out, AllOf(HasSubstr("seed 0; file"), Not(HasSubstr("seconds"))));
  EXPECT_EQ(run_wayfarer({"report", out("rows-reference.h5"), "--out", out("r.html")}).code, 0);
}

TEST_F(workers_cli, processes_of_one_command_and_ranks_of_a_launcher_share_a_run) {
  auto const p = pipelines()[1];
  std::string const whole = reference(p);
  auto const forked = run_wayfarer(with(command(p, "forked.h5"), {"--processes", "3", "--threads", "1"}));
  EXPECT_EQ(forked.code, 0) << forked.out;
  EXPECT_EQ(sha("forked.h5"), whole);
  // Rank and size as mpirun and srun give them, without either.
  std::vector<pid_t> ranks;
  for (int i = 0; i < 2; ++i)
    ranks.push_back(start(with(command(p, "ranks.h5"), {"--threads", "1"}), log(i), [i] {
      if (i == 0) {
        ::setenv("OMPI_COMM_WORLD_RANK", "0", 1), ::setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
      } else {
        ::setenv("SLURM_PROCID", "1", 1), ::setenv("SLURM_STEP_NUM_TASKS", "2", 1);
      }
    }));
  for (std::size_t i = 0; i < 2; ++i) {
    auto const ended = finish(ranks[i], log(i));
    EXPECT_EQ(ended.code, 0) << ended.out;
  }
  EXPECT_EQ(sha("ranks.h5"), whole);
  EXPECT_TRUE(fs::exists(folder / "ranks.h5.work/wayfarer-work"));
}

TEST_F(workers_cli, mpirun_shares_a_run) {
  if (!installed("mpirun")) GTEST_SKIP() << "there is no mpirun here";
  auto const p = rows();
  std::string const whole = reference(p);
  std::string line = "timeout 120 mpirun -n 3 --oversubscribe " WAYFARER_BINARY;
  for (auto const& word : command(p, "mpi.h5")) line += " '" + word + "'";
  ASSERT_EQ(std::system((line + " --threads 1 > " + log(0).string() + " 2>&1").c_str()), 0) << slurp(log(0));
  EXPECT_EQ(sha("mpi.h5"), whole);
}

struct workers_apart : workers_cli {
  void SetUp() override {
    if (!installed("mpirun")) GTEST_SKIP() << "there is no mpirun here";
    if (!fs::exists(fs::path(WAYFARER_BINARY).parent_path() / "../lib/wayfarer/wayfarer_mpi.so"))
      GTEST_SKIP() << "this was built without MPI (libopenmpi-dev)";
  }
  /// A job whose ranks have a folder each, as on machines of their own. What mpirun returns. `prepare`: by the shell, before.
  int job(std::vector<std::string> const& words, std::size_t ranks, std::string const& prepare = "") const {
    // Open MPI leaves memory behind, of which the address sanitizer would speak.
    std::string line = "ASAN_OPTIONS=detect_leaks=0 timeout 120 mpirun -n " + std::to_string(ranks) + " --oversubscribe sh -c '" +
                       prepare + "exec \"$0\" \"$@\" --work-local \"" + out("local-") +
                       "$OMPI_COMM_WORLD_RANK\"' " WAYFARER_BINARY;
    for (auto const& word : words) line += " '" + word + "'";
    return std::system((line + " --threads 1 > " + log(0).string() + " 2>&1").c_str());
  }
  fs::path local(std::size_t rank) const { return folder / ("local-" + std::to_string(rank)) / ("rank-" + std::to_string(rank)); }
};

TEST_F(workers_apart, rows_come_by_messages_where_no_folder_is_common) {
  auto all = pipelines();
  all.push_back(sums(701));
  std::size_t sent = 0;
  for (auto const& p : all) {
    std::string const whole = reference(p);
    auto const again = [&](std::string const& when, std::size_t ranks = 3) {
      fs::remove(folder / "r.h5");
      ASSERT_EQ(job(command(p, "r.h5"), ranks), 0) << p.name << ", " << when << ": " << slurp(log(0));
      EXPECT_EQ(sha("r.h5"), whole) << p.name << ", " << when;
      for (std::size_t i = 0; i < ranks; ++i) EXPECT_EQ(litter(local(i)), std::vector<std::string>()) << p.name << ", " << when;
    };
    again("three ranks");
    std::size_t const blocks = units(local(0), ".block").size();
    // A rank that starts first may make all of a short pass.
    for (std::size_t i : {1u, 2u}) {
      std::size_t const own = units(local(i), ".block").size();
      EXPECT_LE(own, blocks);
      sent += own;
    }
    again("all is there");
    fs::remove_all(local(1));
    again("a rank has lost its folder");
    EXPECT_TRUE(!fs::exists(local(1)) || units(local(1), ".block").empty()) << "what rank 0 has is not made again";
    fs::remove_all(local(0));
    again("the first has lost its folder");
    again("two ranks", 2);
    for (std::size_t i = 0; i < 3; ++i) fs::remove_all(local(i));
  }
  EXPECT_GT(sent, 0u) << "rank 0 made every block of every pipeline";
}

TEST_F(workers_apart, ranks_that_lack_what_all_need_get_it_from_the_first) {
  // Which rank the lengths fall to depends on the build, so there are some pipelines.
  for (std::size_t const texts : {8u, 9u, 10u, 11u}) {
    auto const p = rows(texts);
    std::string const whole = reference(p);
    ASSERT_EQ(job(command(p, "r.h5"), 3), 0) << slurp(log(0));
    // As if the job had been killed in the middle: the first has the lengths and some of the blocks, the others have nothing.
    fs::remove(folder / "r.h5");
    for (char const* ending : {".node", ".result"})
      for (auto const& f : units(local(0), ending)) fs::remove(f);
    auto const blocks = units(local(0), ".block");
    for (std::size_t i = 0; i < blocks.size(); i += 2) fs::remove(blocks[i]);
    fs::remove_all(local(1)), fs::remove_all(local(2));
    EXPECT_EQ(job(command(p, "r.h5"), 3), 0) << texts << ": " << slurp(log(0));
    EXPECT_EQ(sha("r.h5"), whole) << texts;
    for (std::size_t i = 0; i < 3; ++i) fs::remove_all(local(i));
  }
}

TEST_F(workers_apart, a_first_rank_that_has_all_ends_while_others_are_at_work) {
  auto const p = rows(400);
  std::string const whole = reference(p);
  ASSERT_EQ(job(command(p, "r.h5"), 3), 0) << slurp(log(0));
  fs::remove(folder / "r.h5");
  // It has what the nodes left, and the others begin to make the blocks.
  for (auto const& f : units(local(0), ".block")) fs::remove(f);
  for (std::size_t const i : {1u, 2u}) fs::remove_all(local(i));
  EXPECT_EQ(job(command(p, "r.h5"), 3), 0) << slurp(log(0));
  EXPECT_EQ(sha("r.h5"), whole);
}

TEST_F(workers_apart, a_rank_that_would_make_other_bytes_ends_the_job) {
  auto const p = rows(4);
  if (wayfarer::best_instruction_set() != wayfarer::instruction_set::baseline) {
    EXPECT_NE(job(command(p, "r.h5"), 2, "test $OMPI_COMM_WORLD_RANK = 0 || export WAYFARER_ISA=baseline; "), 0);
    EXPECT_THAT(slurp(log(0)), HasSubstr("rank 1 runs another build than rank 0, with other libraries or on a processor"));
  }
  // The same program, other files.
  EXPECT_NE(job(command(p, "r.h5"), 2, "test $OMPI_COMM_WORLD_RANK = 0 || set -- \"$@\" --set t.texts=[a,b]; "), 0);
  EXPECT_THAT(slurp(log(0)), HasSubstr("rank 1 has another pipeline, or other input files, than rank 0"));
  EXPECT_FALSE(fs::exists(folder / "r.h5"));
}

TEST_F(workers_apart, an_error_of_one_rank_ends_the_job) {
  auto const bad = file("bad.yaml", "nodes:\n  t: {source: text, texts: [one two, three]}\n  m: {model: gpt2, path: " + data() +
                                        "/tiny-gpt2}\n  a: {probe: activations, model: m, source: t, hooks: [hook_embed], block: "
                                        "1}\n  b: {probe: activations, model: m, source: t, hooks: [hook_embed], edits: [{hook: "
                                        "hook_embed, add: {node: a/nothing}}]}\n");
  EXPECT_NE(job({"run", bad, "--out", out("r.h5"), "--quiet"}, 3), 0);
  EXPECT_THAT(slurp(log(0)), HasSubstr("has no dataset 'nothing'"));
  EXPECT_FALSE(fs::exists(folder / "r.h5"));
}

TEST_F(workers_cli, kills_at_any_time_cost_time_alone) {
  auto const p = rows(60);
  std::string const whole = reference(p);
  std::mt19937 random(5);
  std::vector<pid_t> children(3);
  auto const begin = [&](std::size_t i) {
    children[i] =
        start(with(command(p, "r.h5"), {"--work", out("w"), "--threads", "1", "--worker", std::to_string(i + 1) + "/3"}), log(i));
  };
  for (std::size_t i = 0; i < 3; ++i) begin(i);
  std::size_t kills = 0, last = 0;
  for (std::size_t n = 0; n < 30; ++n) {
    // Every second one soon after a worker began, which none outlives however fast the machine is.
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % (n % 2 == 0 ? 150 : 4)));
    std::size_t const i = n % 2 == 0 ? random() % 3 : last;
    ::kill(children[i], SIGKILL);
    kills += finish(children[i], log(i)).code == -SIGKILL;
    begin(i);
    last = i;
  }
  for (std::size_t i = 0; i < 3; ++i) {
    auto const ended = finish(children[i], log(i));
    EXPECT_EQ(ended.code, 0) << ended.out;
  }
  EXPECT_GT(kills, 5u) << "the others came after the end";
  EXPECT_EQ(sha("r.h5"), whole);
  // The next one finds nothing to do, and what the dead have left is swept by whoever writes.
  fs::remove(folder / "r.h5");
  EXPECT_EQ(run_wayfarer(with(command(p, "r.h5"), {"--work", out("w")})).code, 0);
  EXPECT_EQ(sha("r.h5"), whole);
  EXPECT_EQ(litter(folder / "w"), std::vector<std::string>());
}

TEST_F(workers_cli, a_worker_that_is_stopped_past_its_lease_does_no_harm) {
  auto const p = rows(60);
  std::string const whole = reference(p);
  auto const words = with(command(p, "r.h5"), {"--work", out("w"), "--threads", "1", "--lease", "0.5"});
  pid_t const first = start(with(words, {"--worker", "1/2"}), log(0));
  ASSERT_TRUE(wait_until(first, [&] { return count_files(folder / "w/claims") != 0; })) << slurp(log(0));
  ::kill(first, SIGSTOP);
  auto const second = run_wayfarer(with(words, {"--worker", "2/2"}));
  EXPECT_EQ(second.code, 0) << second.out;
  EXPECT_EQ(sha("r.h5"), whole);
  ::kill(first, SIGCONT);
  auto const ended = finish(first, log(0));
  EXPECT_EQ(ended.code, 0) << ended.out;
  EXPECT_EQ(sha("r.h5"), whole);
  EXPECT_EQ(litter(folder / "w"), std::vector<std::string>());
}

TEST_F(workers_cli, a_signal_to_all_processes_of_a_command_is_told_once) {
  auto const p = rows(200);
  for (int const signal : {SIGINT, SIGTERM}) {
    fs::remove_all(folder / "w");
    auto const words = with(command(p, "r.h5"), {"--processes", "2", "--work", out("w"), "--threads", "1"});
    pid_t const parent = start(words, log(0), [] { ::setpgid(0, 0); });
    ASSERT_TRUE(wait_until(parent, [&] { return count_files(folder / "w/claims") != 0; })) << slurp(log(0));
    ::kill(-parent, signal);
    auto const ended = finish(parent, log(0));
    EXPECT_EQ(ended.code, 128 + signal) << ended.out;
    std::string const line = "wayfarer: stopped by " + wayfarer::name_of_signal(signal) + "; no result is written, and " +
                             out("w") + " keeps the finished work";
    EXPECT_THAT(ended.out, HasSubstr(line));
    std::size_t lines = 0;
    for (std::size_t at = 0; (at = ended.out.find("wayfarer: ", at)) != std::string::npos; ++at) ++lines;
    EXPECT_EQ(lines, 1u) << ended.out;
    EXPECT_THAT(ended.out, Not(HasSubstr("worker ")));
  }
  // A process that alone is ended is named by the one that started it.
  std::string const whole = reference(p);
  fs::remove_all(folder / "w");
  pid_t const parent = start(with(command(p, "r.h5"), {"--processes", "2", "--work", out("w"), "--threads", "1"}), log(0));
  ASSERT_TRUE(wait_until(parent, [&] { return count_files(folder / "w/claims") != 0; })) << slurp(log(0));
  std::string const children = slurp("/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) + "/children");
  ::kill(static_cast<pid_t>(std::stol(children)), SIGTERM);
  auto const ended = finish(parent, log(0));
  EXPECT_EQ(ended.code, 0) << ended.out;
  EXPECT_THAT(ended.out, HasSubstr("worker 1 of 2 was ended by SIGTERM; what it was at is taken over by the others"));
  EXPECT_THAT(ended.out, Not(HasSubstr("stopped by")));
  EXPECT_EQ(sha("r.h5"), whole);
}

TEST_F(workers_cli, what_is_missing_or_damaged_is_made_again) {
  auto const p = rows();
  std::string const whole = reference(p);
  ASSERT_EQ(by_workers(p, 2, 1, "r.h5"), whole);
  fs::path const work = folder / "r.h5.w";
  auto const blocks = units(work, ".block"), lengths = units(work, ".lengths"), nodes = units(work, ".node");
  ASSERT_GE(blocks.size(), 18u);
  ASSERT_FALSE(lengths.empty());
  ASSERT_FALSE(nodes.empty());
  auto const flip = [](fs::path const& f) {
    std::string bytes = slurp(f);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
    std::ofstream(f, std::ios::binary) << bytes;
  };
  flip(blocks[0]), fs::resize_file(blocks[1], fs::file_size(blocks[1]) / 2), fs::remove(blocks[2]);
  flip(lengths[0]), flip(nodes[0]);
  for (std::size_t i = 1; i < nodes.size(); ++i) fs::remove(nodes[i]);
  auto const again = run_wayfarer(with(command(p, "again.h5"), {"--work", work.string()}));
  EXPECT_EQ(again.code, 0) << again.out;
  EXPECT_THAT(again.out, HasSubstr("damaged, and made again"));
  EXPECT_EQ(sha("again.h5"), whole) << "also its warnings are the same";
}

TEST_F(workers_cli, many_short_blocks_lie_in_few_files_and_their_sums_are_shared_too) {
  auto const p = sums(701);
  std::string const whole = reference(p);
  ASSERT_EQ(by_workers(p, 3, 1, "r.h5"), whole);
  fs::path const work = folder / "r.h5.w";
  EXPECT_EQ(units(work, ".block").size(), 88u);
  EXPECT_EQ(units(work, ".merged").size(), 3u);
  EXPECT_THAT(run_wayfarer({"status", work.string()}).out, AllOf(HasSubstr("files of 8 blocks"), HasSubstr("sums of blocks")));
  // A merge that stands alone makes what is missing of the sums, and what is damaged of all of it.
  auto const merged = units(work, ".merged"), files = units(work, ".block");
  auto const merge = [&](std::string const& damaged) {
    fs::remove(folder / "again.h5");
    for (auto const& node : units(work, ".node")) fs::remove(node);
    auto const again = run_wayfarer(with(command(p, "again.h5"), {"--work", work.string(), "--merge"}));
    EXPECT_EQ(again.code, 0) << again.out;
    EXPECT_THAT(again.out, damaged.empty() ? testing::Matcher<std::string>(Not(HasSubstr("damaged"))) : HasSubstr(damaged));
    EXPECT_EQ(sha("again.h5"), whole);
    EXPECT_EQ(units(work, ".merged"), merged);
  };
  fs::resize_file(merged[0], fs::file_size(merged[0]) / 2), fs::remove(merged[1]);
  merge(merged[0].filename().string() + ": damaged, and made again");
  std::string bytes = slurp(files[5]);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  std::ofstream(files[5], std::ios::binary) << bytes;
  for (auto const& one : merged) fs::remove(one);
  merge(files[5].filename().string() + ": damaged, and made again");
  EXPECT_EQ(units(work, ".block").size(), 89u) << "one block stands alone now";
  for (auto const& one : merged) fs::remove(one);
  merge("");
}

TEST_F(workers_cli, rows_of_blocks_that_lie_in_one_file_stay_in_their_order) {
  auto const p = rows(141);  // the last block of the pass with two texts a block has one
  EXPECT_EQ(by_workers(p, 1, 1, "r.h5"), reference(p));
  EXPECT_LT(units(folder / "r.h5.w", ".block").size(), 141u);
}

TEST_F(workers_cli, a_check_for_workers_makes_a_block_of_each_pass) {
  // Two passes over one model, of which the second needs all layers.
  auto const p = pipelines()[3];
  auto const r = run_wayfarer({"check", p.file, "--workers", "3"});
  EXPECT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, AllOf(HasSubstr("from one block of each pass, made here"), HasSubstr("memory a worker"), HasSubstr(" ms")));
  EXPECT_THAT(r.out, Not(HasSubstr("not known")));
  auto const trained = run_wayfarer({"check", pipelines()[1].file, "--workers", "3"});
  EXPECT_EQ(trained.code, 0) << trained.out;
  EXPECT_THAT(trained.out, HasSubstr("states: the time is not known, as no block could be made: 'small' must be trained first"));
}

TEST_F(workers_cli, merging_alone_makes_no_block) {
  auto const p = rows();
  std::string const whole = reference(p);
  auto const merge = with(command(p, "r.h5"), {"--work", out("w"), "--merge"});
  auto const none = run_wayfarer(merge);
  EXPECT_EQ(none.code, 3) << none.out;
  EXPECT_THAT(none.out, AllOf(HasSubstr("missing"), HasSubstr("run the workers again")));
  EXPECT_FALSE(fs::exists(folder / "r.h5"));
  ASSERT_EQ(run_wayfarer(with(command(p, "other.h5"), {"--work", out("w")})).code, 0);
  EXPECT_EQ(run_wayfarer(merge).code, 0);
  EXPECT_EQ(sha("r.h5"), whole);
}

TEST_F(workers_cli, status_tells_how_far_it_is_and_clean_removes_it) {
  auto const p = rows();
  auto const nothing = run_wayfarer({"status", folder.string()});
  EXPECT_EQ(nothing.code, 2);
  EXPECT_THAT(nothing.out, HasSubstr("is not a folder of 'wayfarer run --work'"));
  EXPECT_EQ(run_wayfarer({"clean", folder.string()}).code, 2);
  auto const words = with(command(p, "r.h5"), {"--work", out("w"), "--threads", "1"});
  pid_t const child = start(words, log(0));
  ASSERT_TRUE(wait_until(child, [&] { return count_files(folder / "w/claims") != 0; })) << slurp(log(0));
  ::kill(child, SIGSTOP);
  auto const half = run_wayfarer({"status", out("w")});
  EXPECT_EQ(half.code, 1) << half.out;
  EXPECT_THAT(half.out, AllOf(HasSubstr("the result is not written yet"), HasSubstr("1/1")));
  auto const refused = run_wayfarer({"clean", out("w")});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.out, HasSubstr("may be at work"));
  ::kill(child, SIGCONT);
  ASSERT_EQ(finish(child, log(0)).code, 0);
  auto const done = run_wayfarer({"status", out("w")});
  EXPECT_EQ(done.code, 0) << done.out;
  EXPECT_THAT(done.out, AllOf(HasSubstr("states"), HasSubstr("blocks"), HasSubstr("no worker is at it"), HasSubstr(sha("r.h5"))));
  file("w/mine.txt", "of somebody else");
  auto const cleaned = run_wayfarer({"clean", out("w")});
  EXPECT_EQ(cleaned.code, 0) << cleaned.out;
  EXPECT_EQ(count_files(folder / "w"), 1u) << "what is not ours stays";
  EXPECT_TRUE(fs::exists(folder / "r.h5"));
  auto const taken = run_wayfarer(words);
  EXPECT_EQ(taken.code, 2);
  EXPECT_THAT(taken.out, HasSubstr("holds other files, such as mine.txt"));
}

TEST_F(workers_cli, the_result_of_one_run_lets_nobody_clean_the_work_of_another) {
  auto const p = rows();
  ASSERT_EQ(run_wayfarer(with(command(p, "r.h5"), {"--work", out("w"), "--threads", "1"})).code, 0);
  EXPECT_EQ(run_wayfarer({"status", out("w")}).code, 0);
  auto const other =
      with(command(p, "s.h5"), {"--work", out("w"), "--threads", "1", "--set", "states.max_tokens=4", "--worker", "1/1"});
  pid_t const child = start(other, log(0));
  ASSERT_TRUE(wait_until(child, [&] { return count_files(folder / "w/claims") != 0; })) << slurp(log(0));
  ::kill(child, SIGTERM);
  finish(child, log(0));
  ASSERT_FALSE(fs::exists(folder / "s.h5"));
  auto const status = run_wayfarer({"status", out("w")});
  EXPECT_EQ(status.code, 1) << status.out;
  EXPECT_THAT(status.out, HasSubstr("work of another run that is not done"));
  auto const refused = run_wayfarer({"clean", out("w")});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.out, HasSubstr("another run that uses it is not done"));
  EXPECT_EQ(run_wayfarer(other).code, 0);
  EXPECT_EQ(run_wayfarer({"clean", out("w")}).code, 0);
  EXPECT_FALSE(fs::exists(folder / "w"));
}

TEST_F(workers_cli, an_error_of_the_work_is_every_workers) {
  auto const bad = file("bad.yaml", "nodes:\n  t: {source: text, texts: [one two, three]}\n  m: {model: gpt2, path: " + data() +
                                        "/tiny-gpt2}\n  a: {probe: activations, model: m, source: t, hooks: [hook_embed]}\n  b: "
                                        "{probe: activations, model: m, source: t, hooks: [hook_embed], edits: [{hook: "
                                        "hook_embed, add: {node: a/nothing}}]}\n");
  for (char const* worker : {"1/2", "2/2"}) {
    auto const r = run_wayfarer({"run", bad, "--out", out("r.h5"), "--quiet", "--work", out("w"), "--worker", worker});
    EXPECT_EQ(r.code, 2) << r.out;
    EXPECT_THAT(r.out, HasSubstr("has no dataset 'nothing'"));
  }
  EXPECT_FALSE(fs::exists(folder / "r.h5"));
  EXPECT_EQ(litter(folder / "w"), std::vector<std::string>());
}

TEST_F(workers_cli, status_names_what_failed_and_its_items) {
  auto const p = file("bad.yaml", "nodes:\n  d: {source: corpus, path: " + out("texts") +
                                      ", files: \"*.jsonl\", field: text}\n"
                                      "  m: {model: gpt2, path: " +
                                      data() +
                                      "/tiny-gpt2}\n"
                                      "  a: {probe: activations, model: m, source: d, hooks: [hook_embed], block: 2}\n");
  fs::create_directory(folder / "texts");
  // Beyond the items that are looked at before the run.
  std::string lines;
  for (int i = 0; i < 1200; ++i) lines += "{\"text\": \"one\"}\n";
  file("texts/a.jsonl", lines + "{\"text\": 3}\n");
  auto const r = run_wayfarer({"run", p, "--out", out("r.h5"), "--quiet", "--work", out("w")});
  EXPECT_EQ(r.code, 3) << r.out;
  auto const status = run_wayfarer({"status", out("w")});
  EXPECT_EQ(status.code, 1);
  EXPECT_THAT(status.out, testing::ContainsRegex("failed; a worker that starts tries each again"));
  EXPECT_THAT(status.out, testing::ContainsRegex("a +[0-9]+ to [0-9]+ +3 +items"))
      << "the pass, the items of the unit, the exit code, the error";
}

TEST_F(workers_cli, words_that_make_no_worker_are_refused) {
  auto const p = rows(2);
  auto const refused = [&](std::vector<std::string> const& more, std::string const& why) {
    auto const r = run_wayfarer(with(command(p, "r.h5"), more));
    EXPECT_EQ(r.code, 2) << r.out;
    EXPECT_THAT(r.out, HasSubstr(why));
  };
  for (char const* wrong : {"0/2", "3/2", "1", "1/x", "/", "-1/2", "1/2/3"})
    refused({"--work", out("w"), "--worker", wrong}, "--worker takes I/N");
  refused({"--worker", "1/2"}, "needs --work DIR");
  refused({"--merge"}, "needs --work DIR");
  refused({"--work", out("w"), "--resume"}, "give one");
  for (auto const& more : std::vector<std::vector<std::string>>{{}, {"--worker", "1/2"}, {"--processes", "2"}})
    refused(with({"--work", ""}, more), "--work '': the name is empty; name the folder that the processes share");
  refused({"--work-local", out("w"), "--work", out("v")}, "leave --work out");
  refused({"--work-local", out("w"), "--processes", "2"}, "leave --processes out");
  refused({"--work-local", ""}, "--work-local '': the name is empty");
  refused({"--plugin-path", ""}, "--plugin-path '': the name is empty");
  for (char const* verb : {"status", "clean"})
    EXPECT_THAT(run_wayfarer({verb, ""}).out, HasSubstr("DIR '': the name is empty; name the folder of --work"));
  auto const submitted = run_wayfarer({"submit", p.file, "--out", out("r.h5"), "--work", "", "--dry-run"});
  EXPECT_EQ(submitted.code, 2);
  EXPECT_THAT(submitted.out, HasSubstr("--work '': the name is empty; name the folder that the processes share"));
  refused({"--processes", "0"}, "from 1 to 1024");
  refused({"--processes", "2", "--worker", "1/2", "--work", out("w")}, "leave --worker out");
  refused({"--work", out("w"), "--lease", "0"}, "--lease");
  file("plain", "a file");
  refused({"--work", out("plain")}, "is not a folder");
  EXPECT_FALSE(fs::exists(folder / "w"));
  auto const nowhere = run_wayfarer(with(command(p, "r.h5"), {"--work", "/proc/nowhere"}));
  EXPECT_EQ(nowhere.code, 5) << nowhere.out;
  EXPECT_THAT(nowhere.out, HasSubstr("/proc/nowhere: can't be made for the work"));
}

TEST_F(workers_cli, a_full_disk_and_a_read_only_one_are_errors_that_say_so) {
  fs::create_directory(folder / "disk");
  if (::mount("none", out("disk").c_str(), "tmpfs", 0, "size=96k") != 0) GTEST_SKIP() << "may not mount";
  auto const p = rows();
  auto const words = with(command(p, "r.h5"), {"--work", out("disk/w")});
  auto const full = run_wayfarer(words);
  EXPECT_EQ(full.code, 5) << full.out;
  EXPECT_THAT(full.out, HasSubstr("No space left on device"));
  EXPECT_FALSE(fs::exists(folder / "r.h5"));
  EXPECT_EQ(::mount("none", out("disk").c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=96k"), 0);
  auto const read_only = run_wayfarer(words);
  EXPECT_EQ(read_only.code, 5) << read_only.out;
  EXPECT_THAT(read_only.out, HasSubstr("Read-only file system"));
  // With more room the same command comes to its end.
  EXPECT_EQ(::mount("none", out("disk").c_str(), "tmpfs", MS_REMOUNT, "size=64m"), 0);
  EXPECT_EQ(run_wayfarer(words).code, 0);
  EXPECT_EQ(sha("r.h5"), reference(p));
  ::umount2(out("disk").c_str(), MNT_DETACH);
}

TEST_F(workers_cli, a_run_is_handed_to_slurm_as_an_array_with_a_merge) {
  auto const p = pipelines()[1];
  std::string const whole = reference(p);
  // In sbatch's place: runs the elements one after another, as Slurm would beside each other.
  auto const sbatch = file("sbatch", R"(#!/bin/sh
echo "$@" >> ")" + out("asked") + R"("
for word; do script=$word; done
count=$(sed -n 's/^#SBATCH --array=1-//p' "$script")
if [ -n "$count" ]; then
  for i in $(seq 1 $count); do SLURM_ARRAY_TASK_ID=$i SLURM_CPUS_PER_TASK=1 sh "$script" > /dev/null || exit 1; done
else
  sh "$script" > /dev/null || exit 1
fi
echo "4711;cluster"
)");
  fs::permissions(sbatch, fs::perms::owner_all);
  std::vector<std::string> words{"submit", p.file, "--out", out("r.h5"), "--array", "3", "--time", "1:00:00", "--lease", "90"};
  auto const r = run_wayfarer(words, [&] { ::setenv("PATH", (folder.string() + ":" + std::getenv("PATH")).c_str(), 1); });
  ASSERT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(r.out, HasSubstr("submitted: job 4711, 3 workers"));
  EXPECT_THAT(slurp(folder / "asked"), HasSubstr("--dependency=afterany:4711"));
  EXPECT_EQ(sha("r.h5"), whole);
  EXPECT_THAT(slurp(folder / "r.h5.workers.sbatch"), AllOf(HasSubstr("#SBATCH --time=1:00:00"), HasSubstr(" --lease 90")));
  words.insert(words.end(), {"--dry-run", "--partition", "a b"});
  EXPECT_THAT(run_wayfarer(words).out, HasSubstr("one word"));
}

}  // namespace
