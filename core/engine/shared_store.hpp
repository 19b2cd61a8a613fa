// A folder that keeps finished blocks and activations for later runs, of any pipeline on any machine: `wayfarer run --store DIR`.
//
//     DIR/ab/KEY.blocks/FIRST-LAST         an entry: blocks of one pass, of those items
//     DIR/ab/KEY.outputs/HOOK-FIRST-LAST   an entry: what one model makes of one source at a hook
//     DIR/ab/KEY.*/about, read-*, user-*   what it is; which input files were read for it; the runs that use it now
//     DIR/runs/ID                          a run that lives: written anew every minute by a thread of its own
//     DIR/making/ID-N, DIR/removed/ID-N    files on their way in, entries on their way out
//     DIR/limit                            bytes that the entries may take
//
// A file is made in `making` and renamed: it is whole or not there, and what readers check (a SHA-256 of it, with its entry's
// name) tells damage. Beyond the limit the entries that were used longest ago are removed, never one that a living run uses: an
// entry is renamed away first, and comes back if a run is in it by then. There are no locks, and no link is ever followed below
// DIR. What goes wrong is reported once, and the run continues without the store. All of it may be used from any thread.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <wayfarer/file.hpp>

namespace wayfarer::host {

/// What a store may take if no run has set a limit.
inline constexpr std::uint64_t default_store_limit = std::uint64_t{20} << 30;

class shared_store {
 public:
  /// `limit`: kept in the store for later runs; absent: what the store has, else `default_store_limit`. `tell` gets a line for
  /// people. Throws usage_error for a folder of something else; all other trouble goes to `tell`.
  shared_store(std::filesystem::path folder, std::optional<std::uint64_t> limit, std::function<void(std::string const&)> tell);
  ~shared_store();
  shared_store(shared_store const&) = delete;

  std::filesystem::path const& path() const noexcept { return path_; }

  class entry;
  class new_file;
  /// `name`: 40 digits of a key, and what kind it is. In use until the last pointer to it goes.
  std::shared_ptr<entry> open(std::string const& name, std::string const& about);

  /// For the last line of a run.
  struct counts {
    std::atomic<std::size_t> blocks_taken{0}, blocks_left{0}, outputs_taken{0}, outputs_left{0};
    std::atomic<std::uint64_t> bytes_left{0};
  };
  counts& tally() noexcept { return counts_; }
  /// False once writing has failed: nothing need be made ready for it.
  bool takes_more() const noexcept { return writes_; }
  /// From here on nothing more is left in it. The first reason is reported.
  void stop_writing(std::string const& why) noexcept;

 private:
  friend entry;
  friend new_file;
  void make_or_find();
  void tell_limit(std::optional<std::uint64_t> limit);
  void begin_run();
  void write_beat() noexcept;
  void tidy();
  void stop_reading(std::string const& what, int code) noexcept;
  bool admit(std::uint64_t bytes);
  bool leaves_space() const noexcept;
  void make_room(std::uint64_t wanted);
  bool remove(std::string const& folder, std::string const& name);
  std::string mark_of_use() const;
  std::string new_name() { return id_ + "-" + std::to_string(++made_); }

  std::filesystem::path path_;
  std::function<void(std::string const&)> tell_;
  std::string id_;
  open_descriptor root_, runs_, making_, removed_, beat_;
  std::uint64_t limit_ = default_store_limit;
  std::atomic<bool> reads_{false}, writes_{false};
  std::atomic<std::size_t> made_{0};
  counts counts_;
  std::mutex uses_mutex_;
  std::map<std::string, std::size_t> uses_;  // of entries by this run, each with one mark
  std::mutex room_mutex_;
  std::uint64_t total_ = 0, added_ = 0;  // bytes of all entries when last looked at; of this run's since
  bool looked_ = false;
  std::mutex told_mutex_;
  bool told_ = false;
  std::mutex beat_mutex_;
  std::size_t beats_ = 0;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread beating_;
};

/// What a key has in the store, used by this run for as long as the object lives.
class shared_store::entry {
 public:
  entry(shared_store& of, std::string name, std::string about);
  ~entry();
  entry(entry const&) = delete;

  std::string const& name() const noexcept { return name_; }
  std::filesystem::path path_of(std::string const& file) const;
  /// The files that were there when it was opened.
  std::vector<std::string> const& files() const noexcept { return files_; }

  /// A file of it; nothing if it is not there or can't be read.
  struct opened {
    open_descriptor file{};
    std::uint64_t size = 0;
    enum class got { all, too_few, nothing };
    /// Too few: it ends before. Nothing: it can't be read, which tells nothing of what is in it.
    got read(std::uint64_t at, std::span<char> into) const;
  };
  std::optional<opened> open(std::string const& file);
  /// Says so, and takes it away.
  void is_damaged(std::string const& file);

  /// Input files, by digests of 40 digits, that were read for what the entry holds by now; and one more.
  std::set<std::string> marks();
  void mark(std::string const& digest);

  shared_store& store() const noexcept { return store_; }

 private:
  friend new_file;
  bool use(bool make);
  bool mark_use(int folder);
  void take(open_descriptor);
  void see_marks(std::vector<std::string> const& names);
  void forget_the_dead(std::vector<std::string> const& names) const;
  bool change(std::string const& file, std::function<bool(int folder)> const& what);
  bool publish(std::string const& made, std::string const& as);

  shared_store& store_;
  std::string name_, about_;
  mutable std::mutex mutex_;
  open_descriptor folder_;
  std::vector<std::string> files_;
  std::set<std::string> marks_, damaged_;
  bool has_about_ = false, counts_ = false;
};

/// A file that is being made. One thread at a time. What can't be written is reported, and then all of it does nothing.
class shared_store::new_file {
 public:
  explicit new_file(shared_store& to);
  ~new_file();
  new_file(new_file const&) = delete;
  void write(std::string_view);
  std::uint64_t size() const noexcept { return size_; }
  /// Under this name, in the place of an older one. False if it can't be.
  bool publish(entry& in, std::string const& name);

 private:
  void flush();
  void fail(int code);
  shared_store& store_;
  std::string name_, waiting_{};
  open_descriptor file_;
  std::uint64_t size_ = 0;
};

/// What `wayfarer status` and `clean` see of a store, from outside.
struct store_status {
  struct entry {
    std::string kind, about;
    std::size_t files = 0;
    std::uint64_t bytes = 0;
    double unused = 0;      ///< seconds, by the clocks of the folder and of this machine
    std::size_t users = 0;  ///< living runs
  };
  std::vector<entry> entries{};  ///< the last used first
  std::size_t runs = 0;          ///< that live
  std::uint64_t bytes = 0, limit = 0;
};
bool is_store(std::filesystem::path const& folder);
/// Throws usage_error if it can't be looked at.
store_status look_at_store(std::filesystem::path const& folder);
/// Removes all that a store holds, and the folder if nothing else is in it.
void remove_store(std::filesystem::path const& folder);

}  // namespace wayfarer::host
