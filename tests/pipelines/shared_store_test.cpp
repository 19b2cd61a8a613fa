// The folder that keeps blocks for other runs, inside one process: what is removed and what never is, damage, links, strangers.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include <gmock/gmock.h>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "engine/shared_store.hpp"
#include "engine/small_files.hpp"
#include "engine/stored_pass.hpp"
#include "pipelines/command.hpp"

namespace fs = std::filesystem;
namespace wf = wayfarer;
using namespace wayfarer::host;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

namespace {

struct shared : wayfarer::test::scratch {
  fs::path const at = folder / "s";
  std::vector<std::string> told;

  std::unique_ptr<shared_store> opened(std::optional<std::uint64_t> limit = {}) {
    return std::make_unique<shared_store>(at, limit, [this](std::string const& text) { told.push_back(text); });
  }
  static std::string name(char digit) { return std::string(40, digit) + ".blocks"; }
  fs::path place(char digit) const { return at / std::string(2, digit) / name(digit); }
  /// A file of so many bytes, by a use that is over.
  static bool put(shared_store& s, char digit, std::string const& file, std::size_t bytes) {
    auto const e = s.open(name(digit), "of a test");
    return put(*e, file, bytes);
  }
  static bool put(shared_store::entry& e, std::string const& file, std::size_t bytes) {
    shared_store::new_file out(e.store());
    out.write(std::string(bytes, 'x'));
    return out.publish(e, file);
  }
  void used(char digit, std::time_t when) const {
    timespec const times[]{{when, 0}, {when, 0}};
    ::utimensat(AT_FDCWD, place(digit).c_str(), times, 0);
  }
  /// A run of another machine, whose file changed so long ago.
  void far_run(std::string const& id, std::time_t silent) const {
    std::ofstream(at / "runs" / id) << R"({"machine": "elsewhere", "pid": "1", "start": "1"})";
    timespec const times[]{{std::time(nullptr) - silent, 0}, {std::time(nullptr) - silent, 0}};
    ::utimensat(AT_FDCWD, (at / "runs" / id).c_str(), times, 0);
  }
};

TEST_F(shared, what_was_used_longest_ago_goes_and_what_is_used_stays) {
  auto const s = opened(1000);
  for (char const d : {'a', 'b', 'c', 'd'}) ASSERT_TRUE(put(*s, d, "0-4", 240));
  std::time_t const now = std::time(nullptr);
  used('a', now - 400), used('b', now - 300), used('c', now - 200), used('d', now - 100);
  {
    auto const busy = s->open(name('a'), "");
    used('a', now - 400);
    EXPECT_TRUE(put(*s, 'e', "0-4", 100));
    EXPECT_TRUE(fs::exists(place('a') / "0-4"));
    EXPECT_FALSE(fs::exists(place('b'))) << "the oldest that nobody uses";
    EXPECT_TRUE(fs::exists(place('c')));
  }
  used('a', now - 400);
  ASSERT_TRUE(put(*s, 'f', "0-4", 240));
  EXPECT_FALSE(fs::exists(place('a')));
  EXPECT_TRUE(fs::exists(place('e') / "0-4"));
  EXPECT_THAT(told, IsEmpty());
  EXPECT_TRUE(fs::is_empty(at / "removed"));
  EXPECT_TRUE(fs::is_empty(at / "making"));
}

TEST_F(shared, a_use_by_a_living_run_of_any_machine_counts_and_one_by_the_dead_does_not) {
  auto const s = opened(1000);
  for (char const d : {'a', 'b', 'c'}) {
    ASSERT_TRUE(put(*s, d, "0-4", 300));
    std::ofstream(place(d) / ("user-far" + std::string(1, d) + "-1-00000000"));
  }
  far_run("fara-1-00000000", 5), far_run("farb-1-00000000", 3600);  // and of the third there is nothing
  std::time_t const now = std::time(nullptr);
  used('a', now - 400), used('b', now - 300), used('c', now - 200);
  EXPECT_TRUE(put(*s, 'd', "0-4", 300));
  EXPECT_TRUE(fs::exists(place('a') / "0-4"));
  EXPECT_FALSE(fs::exists(place('b')));
  // Nothing more may go: the rest of the run is not kept, and that is said once.
  auto const mine = s->open(name('d'), ""), other = s->open(name('c'), "");
  EXPECT_FALSE(put(*s, 'e', "0-4", 900));
  EXPECT_FALSE(put(*s, 'e', "0-4", 1));
  EXPECT_THAT(told, ElementsAre(HasSubstr("it is full: what living runs use")));
  EXPECT_FALSE(s->takes_more());
}

TEST_F(shared, an_entry_that_two_passes_use_is_used_until_both_end) {
  auto const s = opened(1000), other = opened(1000);
  ASSERT_TRUE(put(*s, 'a', "0-4", 300));
  auto const users = [&] {
    std::size_t n = 0;
    for (auto const& e : fs::directory_iterator(place('a'))) n += e.path().filename().string().starts_with("user-");
    return n;
  };
  auto one = s->open(name('a'), ""), two = s->open(name('a'), "");
  EXPECT_EQ(users(), 1u);
  two.reset();
  EXPECT_EQ(users(), 1u) << "the other pass still uses it";
  EXPECT_FALSE(put(*other, 'b', "0-4", 800));
  EXPECT_TRUE(one->open("0-4"));
  one.reset();
  EXPECT_EQ(users(), 0u);
  told.clear();
  EXPECT_TRUE(put(*opened(1000), 'b', "0-4", 800));
  EXPECT_FALSE(fs::exists(place('a')));
  EXPECT_THAT(told, IsEmpty());
}

TEST_F(shared, what_can_not_fit_takes_nothing_with_it) {
  for (std::size_t const bytes : {1500u, 850u}) {
    auto const s = opened(1000);
    for (char const d : {'a', 'b', 'c'})
      if (!fs::exists(place(d) / "0-4")) {
        ASSERT_TRUE(put(*s, d, "0-4", 200));
      }
    // More than the limit; and more than what the living leave of it.
    auto const busy = s->open(name('c'), "");
    EXPECT_FALSE(put(*s, 'd', "0-4", bytes)) << bytes;
    for (char const d : {'a', 'b', 'c'}) EXPECT_TRUE(fs::exists(place(d) / "0-4")) << d << ", " << bytes;
  }
  EXPECT_THAT(told, testing::Each(HasSubstr("it is full")));
}

TEST_F(shared, sizes_that_overflow_count_as_too_large) {
  // Other file systems have no files of 2^62 bytes.
  fs::create_directory(at);
  if (::mount("none", at.c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "may not mount";
  {
    auto const s = opened(1000);
    for (char const d : {'a', 'b', 'c', 'e'}) {
      EXPECT_TRUE(put(*s, d, "0-4", 10));
      EXPECT_EQ(::truncate((place(d) / "0-4").c_str(), off_t{1} << 62), 0);
    }
    EXPECT_TRUE(put(*opened(1000), 'd', "0-4", 10));
    EXPECT_EQ(look_at_store(at).bytes, 10u);
  }
  ::umount2(at.c_str(), MNT_DETACH);
}

TEST_F(shared, marks_of_runs_that_were_killed_go_and_others_stay) {
  auto const s = opened();
  ASSERT_TRUE(put(*s, 'a', "0-4", 10));
  far_run("far-1-00000000", 5);
  fs::path const living = place('a') / "user-far-1-00000000", dead = place('a') / "user-gone-1-00000000";
  for (auto const& mark : {living, dead}) std::ofstream(mark) << "";
  s->open(name('a'), "");
  EXPECT_TRUE(fs::exists(living));
  EXPECT_FALSE(fs::exists(dead));
}

TEST_F(shared, a_run_that_was_taken_for_dead_loses_one_file_and_goes_on) {
  auto const s = opened();
  auto const e = s->open(name('a'), "");
  {
    shared_store::new_file out(*s);
    out.write(std::string(1 << 19, 'x'));
    for (auto const& one : fs::directory_iterator(at / "making")) fs::remove(one);
    EXPECT_FALSE(out.publish(*e, "0-4"));
  }
  EXPECT_THAT(told, IsEmpty());
  EXPECT_TRUE(put(*e, "4-8", 10));
  EXPECT_TRUE(fs::exists(place('a') / "4-8"));
}

TEST_F(shared, a_file_that_can_not_be_read_counts_as_neither_whole_nor_damaged) {
  using opened_file = shared_store::entry::opened;
  char bytes[10];
  opened_file const folder_of{wayfarer::open_descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY)), 10};
  EXPECT_EQ(folder_of.read(0, bytes), opened_file::got::nothing);
  opened_file const file_of{wayfarer::open_descriptor(::open(file("f", "12345678901").c_str(), O_RDONLY)), 11};
  EXPECT_EQ(file_of.read(0, bytes), opened_file::got::all);
  EXPECT_EQ(file_of.read(5, bytes), opened_file::got::too_few);
}

TEST_F(shared, some_of_the_disk_stays_free_for_the_result) {
  fs::create_directory(at);
  if (::mount("none", at.c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "may not mount";
  {
    auto const s = opened();
    std::size_t kept = 0;
    for (int i = 0; i < 100 && s->takes_more(); ++i)
      kept += put(*s, 'a', std::to_string(i) + "-" + std::to_string(i + 1), 20'000);
    EXPECT_GT(kept, 40u);
    EXPECT_THAT(told, ElementsAre(HasSubstr("its disk is nearly full; what this run makes is not kept there")));
    EXPECT_GE(fs::space(at).available, (1u << 20) / 20 - 24'576);
    EXPECT_TRUE(fs::is_empty(at / "making"));
  }
  ::umount2(at.c_str(), MNT_DETACH);
}

TEST(processes, one_that_nobody_may_see_is_not_dead_and_one_that_nobody_waited_for_is) {
  auto facts = wf::json_value::object();
  add_process(facts);
  EXPECT_TRUE(is_of_this_machine(facts));
  EXPECT_FALSE(surely_dead(facts));
  // Ended, and its parent has not noticed.
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  pid_t const child = ::fork();
  if (child == 0) {
    auto own = wf::json_value::object();
    add_process(own);
    std::string const text = wf::to_json(own);
    ::_exit(::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
  std::string text(4096, '\0');
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::read(ends[0], text.data(), text.size()))));
  ::close(ends[0]), ::close(ends[1]);
  auto const of_child = wf::parse_json(text, "child");
  EXPECT_TRUE(surely_dead(of_child));
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(surely_dead(of_child));
  // As another user sees it, on a machine that hides others' processes.
  for (char const* hidden : {"hidepid=1", "hidepid=2"}) {
    pid_t const stranger = ::fork();
    if (stranger == 0) {
      if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
          ::mount("proc", "/proc", "proc", 0, hidden) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0)
        ::_exit(77);
      ::_exit(surely_dead(facts) ? 1 : surely_dead(of_child) ? 0 : 2);
    }
    int status = 0;
    ::waitpid(stranger, &status, 0);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "may not mount";
    EXPECT_EQ(WEXITSTATUS(status), 0) << hidden;
  }
}

TEST_F(shared, the_limit_is_kept_for_later_runs) {
  opened(123456);
  EXPECT_EQ(look_at_store(at).limit, 123456u);
  opened();
  EXPECT_EQ(look_at_store(at).limit, 123456u);
  opened(77);
  EXPECT_EQ(look_at_store(at).limit, 77u);
  std::ofstream(at / "limit") << "77 and more";
  EXPECT_EQ(look_at_store(at).limit, default_store_limit);
}

TEST_F(shared, what_the_dead_have_left_is_swept_and_what_the_living_make_is_not) {
  opened();
  fs::path const half = at / "making/gone-1-00000000-3", away = at / "removed/gone-1-00000000-4",
                 strange = at / "making/mine.txt";
  std::ofstream(half) << "half";
  std::ofstream(strange) << "of somebody";
  fs::create_directory(away);
  std::ofstream(away / "0-4") << "old";
  far_run("far-1-00000000", 5);
  std::ofstream(at / "making/far-1-00000000-3") << "being written";
  std::ofstream(at / "runs/gone-2-00000000") << R"({"machine": "elsewhere", "pid": "1", "start": "1"})";
  timespec const old[]{{1000, 0}, {1000, 0}};
  ::utimensat(AT_FDCWD, (at / "runs/gone-2-00000000").c_str(), old, 0);
  opened();
  EXPECT_FALSE(fs::exists(half));
  EXPECT_FALSE(fs::exists(away));
  EXPECT_FALSE(fs::exists(at / "runs/gone-2-00000000"));
  EXPECT_TRUE(fs::exists(strange));
  EXPECT_TRUE(fs::exists(at / "making/far-1-00000000-3"));
  EXPECT_EQ(look_at_store(at).runs, 1u);
}

TEST_F(shared, links_are_not_followed_and_strangers_files_stay) {
  auto const s = opened(1000);
  ASSERT_TRUE(put(*s, 'a', "0-4", 400));
  ASSERT_TRUE(put(*s, 'b', "0-4", 400));
  fs::create_directory(folder / "elsewhere");
  std::ofstream(folder / "elsewhere/0-4") << "precious";
  // An entry, a folder of entries and a file that are links.
  fs::create_directory(at / "cc");
  fs::create_directory_symlink(folder / "elsewhere", place('c'));
  fs::create_directory_symlink(folder / "elsewhere", at / "dd");
  fs::create_symlink(folder / "elsewhere/0-4", place('a') / "4-8");
  std::ofstream(place('a') / "notes.txt") << "of somebody";
  auto const entry = s->open(name('a'), "");
  EXPECT_FALSE(entry->open("4-8"));
  EXPECT_THAT(s->open(name('c'), "")->files(), IsEmpty());
  std::time_t const now = std::time(nullptr);
  EXPECT_TRUE(put(*s, 'e', "0-4", 150));
  used('a', now - 400);
  EXPECT_EQ(look_at_store(at).entries.size(), 3u);
  remove_store(at);
  EXPECT_EQ(wayfarer::test::slurp(folder / "elsewhere/0-4"), "precious");
  EXPECT_EQ(wayfarer::test::slurp(place('a') / "notes.txt"), "of somebody");
  EXPECT_FALSE(fs::exists(place('a') / "0-4"));
  EXPECT_FALSE(fs::exists(place('b')));
  // Where a link stands, nothing can be left, and the run hears of it.
  auto const again = opened();
  EXPECT_FALSE(put(*again, 'd', "0-4", 10));
  EXPECT_THAT(told, ElementsAre(HasSubstr("can't be made")));
  EXPECT_EQ(wayfarer::test::count_files(folder / "elsewhere"), 1u);
}

TEST_F(shared, an_entry_with_a_strangers_file_comes_back_to_its_place) {
  auto const s = opened(1000);
  ASSERT_TRUE(put(*s, 'a', "0-4", 600));
  std::ofstream(place('a') / "notes.txt") << "of somebody";
  used('a', std::time(nullptr) - 400);
  EXPECT_TRUE(put(*s, 'b', "0-4", 900) || !s->takes_more());
  EXPECT_EQ(wayfarer::test::slurp(place('a') / "notes.txt"), "of somebody");
  EXPECT_TRUE(fs::is_empty(at / "removed"));
}

TEST_F(shared, a_folder_of_something_else_is_refused) {
  fs::create_directory(at);
  std::ofstream(at / "thesis.tex") << "of somebody";
  EXPECT_THROW(opened(), wf::usage_error);
  fs::remove(at / "thesis.tex");
  std::ofstream(at / "wayfarer-work") << "";
  try {
    opened();
    FAIL();
  } catch (wf::usage_error const& e) {
    EXPECT_THAT(e.what(), HasSubstr("is a folder of --work"));
  }
  fs::remove_all(at);
  std::ofstream(at) << "a file";
  EXPECT_THROW(opened(), wf::usage_error);
  EXPECT_EQ(wayfarer::test::slurp(at), "a file");
  EXPECT_THAT(told, IsEmpty());
}

TEST_F(shared, two_stores_at_once_in_one_folder_lose_nothing_that_they_use) {
  // Each uses an entry, fills others far beyond the limit, and finds its own again.
  auto const work = [&](char digit, std::atomic<int>& lost) {
    shared_store s(at, 20'000, [](std::string const&) {});
    auto const mine = s.open(name(digit), "");
    if (!put(*mine, "0-4", 500)) ++lost;
    for (int i = 0; i < 200; ++i) {
      auto const e = s.open(std::string(39, digit) + "0123456789abcdef"[i % 16] + ".outputs", "");
      put(*e, "0123456789abcdef-0-" + std::to_string(i + 1), 1500);
      if (auto const file = mine->open("0-4"); !file || file->size != 500) ++lost;
    }
    if (!s.takes_more()) ++lost;
  };
  std::atomic<int> lost{0};
  std::thread one([&] { work('1', lost); }), two([&] { work('2', lost); });
  one.join(), two.join();
  EXPECT_EQ(lost, 0);
  EXPECT_TRUE(fs::is_empty(at / "removed"));
  EXPECT_TRUE(fs::is_empty(at / "making"));
  EXPECT_TRUE(fs::is_empty(at / "runs"));
  EXPECT_LE(look_at_store(at).bytes, 20'000u + 2 * 20'000 / 64 + 2 * 1500);
}

TEST_F(shared, an_entry_that_is_taken_away_while_it_is_used_is_made_anew) {
  auto const s = opened();
  auto const e = s->open(name('a'), "of a test");
  ASSERT_TRUE(put(*e, "0-4", 10));
  e->mark(std::string(40, 'b'));
  fs::remove_all(place('a'));
  EXPECT_FALSE(e->open("0-4"));
  EXPECT_TRUE(put(*e, "4-8", 10));
  EXPECT_TRUE(fs::exists(place('a') / "4-8"));
  EXPECT_TRUE(fs::exists(place('a') / ("read-" + std::string(40, 'b')))) << "what was read for it is said again";
  fs::remove_all(at);
  EXPECT_FALSE(put(*e, "8-12", 10));
  EXPECT_THAT(told, ElementsAre(HasSubstr("the run continues")));
}

struct blocks_of_a_pass : shared {
  template <class T>
  static void fill(wf::tensor const& t, double value) {
    std::fill_n(const_cast<T*>(static_cast<T const*>(t.raw())), t.count(), static_cast<T>(value));
  }
  static std::vector<wf::accumulator> sums(std::size_t items, double value) {
    std::vector<wf::accumulator> all;
    all.emplace_back(items).define("x", {{"d", 3}});
    fill<double>(all.back()["x"], value);
    all.emplace_back(items).define_rows("y", {{"d", 2}}, wf::dtype::f32);
    fill<float>(all.back()["y"], value);
    return all;
  }
  static double first(std::vector<wf::accumulator> const& s) { return s[0]["x"].view<double const>()(0); }
  static store_hooks no_hooks() {
    return {[](std::set<std::string> const&) {}, [] { return std::optional<std::set<std::string>>(std::in_place); }};
  }
  stored_blocks pass(shared_store& s) { return {s.open(name('a'), ""), {10, 31}, 4, no_hooks()}; }
};

TEST_F(blocks_of_a_pass, come_back_from_files_that_begin_anywhere) {
  auto const s = opened();
  {
    stored_blocks const to = pass(*s);
    stored_blocks::line one(to);
    one.add({10, 14}, sums(4, 1)), one.add({14, 18}, sums(4, 2));
    one.add({22, 26}, sums(4, 4));  // a gap
    one.add({26, 30}, sums(4, 5)), one.add({30, 31}, sums(1, 6));
  }
  EXPECT_TRUE(fs::exists(place('a') / "10-18"));
  EXPECT_TRUE(fs::exists(place('a') / "22-31"));
  // Names that can't be are passed over.
  for (char const* odd : {"11-15", "10-15", "0-4", "30-99999999999999999999", "14-14", "18-17"})
    std::ofstream(place('a') / odd) << "x";
  stored_blocks const from = pass(*s);
  auto const found = [&](wf::item_range r) {
    auto into = sums(r.size(), 0);
    return from.load(r, into) ? first(into) : -1;
  };
  EXPECT_EQ(found({10, 14}), 1);
  EXPECT_EQ(found({14, 18}), 2);
  EXPECT_EQ(found({18, 22}), -1);
  EXPECT_EQ(found({22, 26}), 4);
  EXPECT_EQ(found({26, 30}), 5);
  EXPECT_EQ(found({30, 31}), 6);
  EXPECT_THAT(told, IsEmpty());
}

TEST_F(blocks_of_a_pass, are_not_left_where_an_input_has_changed) {
  auto const s = opened();
  stored_blocks const to(s->open(name('a'), ""), {10, 31}, 4, {[](auto const&) {}, [] { return std::nullopt; }});
  {
    stored_blocks::line one(to);
    one.add({10, 14}, sums(4, 1));
  }
  EXPECT_FALSE(fs::exists(place('a') / "10-14"));
  EXPECT_TRUE(fs::is_empty(at / "making"));
}

TEST_F(blocks_of_a_pass, are_counted_with_what_was_read_for_those_that_came_later) {
  auto const s = opened();
  {
    stored_blocks const to = pass(*s);
    stored_blocks::line one(to);
    one.add({10, 14}, sums(4, 1));
  }
  std::set<std::string> found;
  stored_blocks const from(s->open(name('a'), ""), {10, 31}, 4,
                           {[&](auto const& there) { found = there; }, [] { return std::nullopt; }});
  // As if the list of names had been read before this one and after that of the blocks.
  std::string const digest(40, 'd');
  s->open(name('a'), "")->mark(digest);
  auto into = sums(4, 0);
  EXPECT_TRUE(from.load({10, 14}, into));
  EXPECT_THAT(found, ElementsAre(digest));
}

TEST_F(blocks_of_a_pass, damage_truncation_and_another_place_are_found_at_every_byte) {
  auto const s = opened();
  {
    stored_blocks const to = pass(*s);
    stored_blocks::line one(to);
    one.add({10, 14}, sums(4, 1)), one.add({14, 18}, sums(4, 2));
  }
  fs::path const file = place('a') / "10-18";
  std::string const whole = wayfarer::test::slurp(file);
  auto const both = [&] {
    stored_blocks const from = pass(*s);
    auto one = sums(4, 0), two = sums(4, 0);
    bool const a = from.load({10, 14}, one), b = from.load({14, 18}, two);
    EXPECT_EQ(first(one), a ? 1 : 0);
    EXPECT_EQ(first(two), b ? 2 : 0);
    return a && b;
  };
  auto const spoil = [&](std::string const& bytes) { std::ofstream(file, std::ios::binary) << bytes; };
  for (std::size_t i = 0; i < whole.size(); i += 3) {
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    told.clear(), spoil(bad);
    EXPECT_FALSE(both()) << i;
    EXPECT_THAT(told, ElementsAre(HasSubstr("10-18: damaged, and made again"))) << i;
    EXPECT_FALSE(fs::exists(file)) << "it is out of the way";
    told.clear(), spoil(whole.substr(0, i));
    EXPECT_FALSE(both()) << i;
    EXPECT_THAT(told, SizeIs(1)) << i;
  }
  spoil(whole);
  EXPECT_TRUE(both());
  // The same bytes under the name of other items are no block of those.
  fs::rename(file, place('a') / "18-26");
  stored_blocks const from = pass(*s);
  auto into = sums(4, 0);
  EXPECT_FALSE(from.load({18, 22}, into));
}

}  // namespace
