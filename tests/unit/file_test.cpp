// Files and digests: what is refused and how it is said, and that a failed write leaves nothing behind.
#include <wayfarer/file.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "store/sanitized.hpp"

namespace wf = wayfarer;
namespace fs = std::filesystem;

namespace {

/// A lower soft limit on a resource of this process, until the end of the scope.
class lowered_limit {
 public:
  lowered_limit(__rlimit_resource what, rlim_t most) : what_(what) {
    EXPECT_EQ(::getrlimit(what_, &before_), 0);
    rlimit lower = before_;
    lower.rlim_cur = most;
    EXPECT_EQ(::setrlimit(what_, &lower), 0);
  }
  lowered_limit(lowered_limit const&) = delete;
  ~lowered_limit() { ::setrlimit(what_, &before_); }

 private:
  __rlimit_resource what_;
  rlimit before_{};
};

class file_test : public testing::Test {
 protected:
  file_test() {
    std::string pattern = (fs::temp_directory_path() / "wayfarer-file-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~file_test() override { fs::remove_all(folder_); }

  std::string in_folder(std::string const& name) const { return (folder_ / name).string(); }
  std::string make(std::string const& name, std::string_view contents) const {
    std::ofstream(in_folder(name), std::ios::binary) << contents;
    return in_folder(name);
  }
  std::set<std::string> listing() const {
    std::set<std::string> names;
    for (auto const& e : fs::directory_iterator(folder_)) names.insert(e.path().filename().string());
    return names;
  }

  /// What `f` throws as an Error: its message, which must name `path`.
  template <class Error, class F>
  static std::string refusal(std::string const& path, F&& f) {
    try {
      f();
    } catch (Error const& e) {
      EXPECT_NE(std::string(e.what()).find(path), std::string::npos) << e.what();
      return e.what();
    } catch (std::exception const& e) {
      ADD_FAILURE() << "another type: " << e.what();
      return {};
    }
    ADD_FAILURE() << "accepted";
    return {};
  }

  fs::path folder_;
};

}  // namespace

TEST_F(file_test, maps_files_and_empty_ones) {
  std::string const path = make("a", std::string(100'000, 'x') + "end");
  auto const file = wf::mapped_file::open(path);
  EXPECT_EQ(file->size(), 100'003u);
  EXPECT_EQ(file->text().substr(100'000), "end");
  EXPECT_EQ(file->bytes()[0], std::byte{'x'});
  EXPECT_EQ(file->path(), path);
  file->check_unchanged();
  wf::mapped_file const empty(make("b", ""));
  EXPECT_EQ(empty.size(), 0u);
  EXPECT_TRUE(empty.text().empty());
}

TEST_F(file_test, refuses_what_is_no_readable_file) {
  std::string const fifo = in_folder("fifo"), missing = in_folder("missing"), folder = folder_.string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  std::string const loop = in_folder("loop");
  fs::create_symlink("loop", loop);
  auto const each = [&](auto&& open) {
    EXPECT_NE(refusal<wf::data_error>(missing, [&] { open(missing); }).find("No such file or directory"), std::string::npos);
    EXPECT_NE(refusal<wf::data_error>(folder, [&] { open(folder); }).find("Is a directory"), std::string::npos);
    EXPECT_NE(refusal<wf::data_error>(fifo, [&] { open(fifo); }).find("not a regular file"), std::string::npos);
    refusal<wf::data_error>("/dev/zero", [&] { open("/dev/zero"); });
    refusal<wf::data_error>(loop, [&] { open(loop); });
    refusal<wf::data_error>("a", [&] { open(std::string("a\0b", 3)); });
    refusal<wf::data_error>("", [&] { open(""); });
  };
  each([](std::string const& path) { wf::mapped_file file(path); });
  each([](std::string const& path) { wf::read_text(path, 100); });
  each([](std::string const& path) { wf::sha256_file(path); });
  each([](std::string const& path) { wf::read_json(path); });
}

TEST_F(file_test, running_out_of_descriptors_is_a_resource_error) {
#ifdef WAYFARER_SANITIZED
  GTEST_SKIP() << "the sanitizer needs descriptors of its own";
#endif
  std::string const path = make("a", "x");
  refusal<wf::resource_error>(path, [&] {
    lowered_limit const none(RLIMIT_NOFILE, 0);
    wf::mapped_file file(path);
  });
  refusal<wf::resource_error>(path, [&] {
    lowered_limit const none(RLIMIT_NOFILE, 0);
    wf::write_file_atomically(path, "y");
  });
  EXPECT_EQ(wf::read_text(path, 1), "x");
}

TEST_F(file_test, notices_changes_under_a_mapping) {
  std::string const path = make("a", std::string(10'000, 'x'));
  wf::mapped_file const file(path);
  fs::resize_file(path, 5'000);
  EXPECT_NE(refusal<wf::data_error>(path, [&] { file.check_unchanged(); }).find("5000"), std::string::npos);
  wf::mapped_file const again(path);
  fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(2));
  refusal<wf::data_error>(path, [&] { again.check_unchanged(); });
  // Replacing a file by renaming, as atomic_file does, leaves those who have it mapped alone.
  wf::mapped_file const kept(path);
  wf::write_file_atomically(path, "new");
  EXPECT_EQ(kept.text()[4'999], 'x');
}

TEST_F(file_test, reads_texts_up_to_a_length) {
  std::string const path = make("a", std::string("a\0b", 3));
  EXPECT_EQ(wf::read_text(path, 3), std::string("a\0b", 3));
  EXPECT_NE(refusal<wf::data_error>(path, [&] { wf::read_text(path, 2); }).find("at most 2"), std::string::npos);
  EXPECT_EQ(wf::read_text(make("b", ""), 0), "");
  std::string const big = make("c", std::string(3'000'001, 'y'));
  EXPECT_EQ(wf::read_text(big, 3'000'001).size(), 3'000'001u);
  // Says that it is empty, and isn't.
  EXPECT_NE(wf::read_text("/proc/self/status", 1 << 20).find("Pid:"), std::string::npos);
  refusal<wf::data_error>("/proc/self/status", [] { wf::read_text("/proc/self/status", 10); });
}

TEST_F(file_test, writes_whole_files) {
  std::string const path = in_folder("out");
  wf::write_file_atomically(path, "first");
  EXPECT_EQ(wf::read_text(path, 100), "first");
  wf::write_file_atomically(path, "");
  EXPECT_EQ(wf::read_text(path, 100), "");
  std::string const long_name = in_folder(std::string(255, 'n'));
  wf::write_file_atomically(long_name, std::string(5'000'000, 'z'));
  EXPECT_EQ(fs::file_size(long_name), 5'000'000u);
  EXPECT_EQ(listing().size(), 2u);

  fs::path const before = fs::current_path();
  fs::current_path(folder_);
  wf::write_file_atomically("here", "no folder in the path");
  fs::current_path(before);
  EXPECT_TRUE(listing().contains("here"));
}

TEST_F(file_test, shows_nothing_before_commit_and_cleans_up_without) {
  std::string const path = in_folder("out");
  {
    wf::atomic_file file(path);
    file.write("half");
    EXPECT_FALSE(fs::exists(path));
    ASSERT_EQ(listing().size(), 1u);
    EXPECT_TRUE(listing().begin()->starts_with(".out.tmp." + std::to_string(::getpid()) + "."));
  }
  EXPECT_TRUE(listing().empty());
}

TEST_F(file_test, publishes_without_waiting_for_the_disk) {
  make("out", "old");
  wf::atomic_file file(in_folder("out"), wf::make_temporary_file(in_folder("out")));
  file.write("new");
  EXPECT_EQ(wf::read_text(in_folder("out"), 10), "old");
  file.publish();
  EXPECT_EQ(wf::read_text(in_folder("out"), 10), "new");
  EXPECT_EQ(listing(), std::set<std::string>{"out"});
  std::string const nowhere = in_folder("missing/out");
  EXPECT_NE(refusal<wf::resource_error>(nowhere, [&] { wf::atomic_file(nowhere, wf::make_temporary_file(nowhere)); })
                .find("No such file or directory"),
            std::string::npos);
}

TEST_F(file_test, a_file_that_has_just_got_its_name_can_be_read_by_those_who_lock_and_is_never_swept) {
  wf::temporary_file file = wf::make_temporary_file(in_folder("out"));
  ASSERT_GE(file.descriptor, 0);
  std::string const before = file.name;
  auto const lock = [&](std::string const& path, int how) {
    wf::open_descriptor const other(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_TRUE(other) << path;
    return ::flock(other.get(), how | LOCK_NB) == 0;
  };
  EXPECT_FALSE(lock(before, LOCK_SH));
  ASSERT_TRUE(wf::give_name(file, in_folder("out")));
  EXPECT_EQ(listing(), std::set<std::string>{"out"});
  EXPECT_TRUE(lock(in_folder("out"), LOCK_SH));
  EXPECT_FALSE(lock(in_folder("out"), LOCK_EX));
  EXPECT_FALSE(wf::give_name(file, in_folder("again"))) << "there is no temporary name any more";
  EXPECT_EQ(errno, ENOENT);
  ::close(file.descriptor);
}

TEST_F(file_test, what_dead_writers_left_is_removed_and_what_the_living_write_stays) {
  make(".a.tmp.1.2", "half");
  make(".a.tmp.1.2x", "no name of ours");
  make(".a.tmp.1", "no name of ours");
  make(".b.tmp.1.2", "of another file");
  make("a", "whole");
  fs::create_symlink(in_folder("a"), in_folder(".a.tmp.3.4"));
  fs::create_directory(in_folder(".a.tmp.5.6"));
  wf::atomic_file living(in_folder("a"));
  auto before = listing();
  ASSERT_EQ(before.size(), 8u);
  auto const all_of_a = [](std::string_view name) { return name == "a"; };
  wf::remove_litter(folder_, all_of_a);
  before.erase(".a.tmp.1.2");
  EXPECT_EQ(listing(), before);
  living.write("new");
  living.commit();
  EXPECT_EQ(wf::read_text(in_folder("a"), 10), "new");
  wf::remove_litter(in_folder("missing"), all_of_a);
}

TEST_F(file_test, failed_writes_are_resource_errors_and_leave_nothing) {
  std::string const nowhere = in_folder("missing/out");
  EXPECT_NE(
      refusal<wf::resource_error>(nowhere, [&] { wf::write_file_atomically(nowhere, "x"); }).find("No such file or directory"),
      std::string::npos);
  refusal<wf::resource_error>("/proc/wayfarer", [] { wf::write_file_atomically("/proc/wayfarer", "x"); });
  refusal<wf::resource_error>("", [] { wf::write_file_atomically("", "x"); });
  refusal<wf::resource_error>("/", [] { wf::write_file_atomically("/", "x"); });
  refusal<wf::resource_error>("a", [] { wf::write_file_atomically(std::string("a\0b", 3), "x"); });
  std::string const under_file = make("plain", "x") + "/out";
  refusal<wf::resource_error>(under_file, [&] { wf::write_file_atomically(under_file, "x"); });

  std::string const folder = in_folder("folder");
  fs::create_directory(folder);
  refusal<wf::resource_error>(folder, [&] { wf::write_file_atomically(folder, "x"); });
  EXPECT_EQ(listing(), (std::set<std::string>{"folder", "plain"}));
}

TEST_F(file_test, a_disk_that_fills_up_keeps_the_old_file) {
  std::string const path = make("out", "old");
  // A limit on file sizes stands in for a full disk: the first write is cut short, the next one fails.
  auto const handler = std::signal(SIGXFSZ, SIG_IGN);
  std::string const what = refusal<wf::resource_error>(path, [&] {
    lowered_limit const small(RLIMIT_FSIZE, 4096);
    wf::write_file_atomically(path, std::string(10'000, 'x'));
  });
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(what.find("File too large"), std::string::npos);
  EXPECT_EQ(listing(), std::set<std::string>{"out"});
  EXPECT_EQ(wf::read_text(path, 10), "old");
}

TEST_F(file_test, many_writers_of_one_name_leave_one_whole_file) {
  std::string const path = in_folder("out");
  {
    std::vector<std::jthread> writers;
    for (char c : {'a', 'b', 'c', 'd'})
      writers.emplace_back([&path, c] {
        for (int i = 0; i < 10; ++i) wf::write_file_atomically(path, std::string(50'000, c));
      });
  }
  std::string const text = wf::read_text(path, 100'000);
  EXPECT_EQ(text, std::string(50'000, text.at(0)));
  EXPECT_EQ(listing().size(), 1u);
}

TEST_F(file_test, sha256_of_known_texts) {
  EXPECT_EQ(wf::sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(wf::sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  std::string const million(1'000'000, 'a');
  std::string const expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
  EXPECT_EQ(wf::sha256_hex(million), expected);
  EXPECT_EQ(wf::sha256_file(make("m", million)), expected);
  EXPECT_EQ(wf::sha256_file(make("e", "")), wf::sha256_hex(""));

  wf::sha256 running;
  running.update("a");
  EXPECT_EQ(running.hex(), wf::sha256_hex("a"));
  running.update("b").update(std::as_bytes(std::span("c", 1)));
  EXPECT_EQ(running.hex(), wf::sha256_hex("abc"));
  wf::sha256 moved = std::move(running);
  EXPECT_EQ(moved.hex(), wf::sha256_hex("abc"));
}
