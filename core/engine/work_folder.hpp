// A folder that several processes, on one machine or many, fill together: `wayfarer run --work DIR`.
//
//     DIR/ab/UNIT          a finished piece of work, named by its key: immutable, whole or not there
//     DIR/claims/UNIT      a process is at it, by a symbolic link to its name: a lease, for as long as its file keeps changing
//     DIR/workers/ID       such a file, written anew every few seconds by a thread of its own
//     DIR/failed/UNIT      what went wrong with it, and where
//     DIR/stages/KEY       how many units a pass has, for `wayfarer status`, and how many blocks are one unit
//
// A lease only saves work: every process makes the same bytes of a unit, so two at one unit do no harm, and no lock can stay.
// Whether another process lives shows in its file's contents, by this process's own clock, never by another's clock or by file
// locks. All of it may be used from any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

namespace wayfarer::host {

/// Which of how many processes this is, from 1. One of one does everything.
struct worker_place {
  std::size_t index = 1, count = 1;
};

/// Names of units begin with 40 digits of a key, and are no paths.
bool is_unit_name(std::string_view) noexcept;
/// Where a unit of this name lies in the folder: in one of 256 folders, by the digest of its name.
std::filesystem::path unit_path(std::filesystem::path const& work, std::string const& unit);

class work_folder {
 public:
  /// Makes the folder unless it is there. Throws usage_error for something else under that name, resource_error if it can't be
  /// made or written.
  work_folder(std::filesystem::path, worker_place, double lease_seconds);
  ~work_folder();  ///< gives back what is claimed
  work_folder(work_folder const&) = delete;

  std::filesystem::path const& path() const noexcept { return path_; }
  std::filesystem::path path_of(std::string const& unit) const { return unit_path(path_, unit); }
  /// The same, and its folder is made.
  std::filesystem::path place_for(std::string const& unit) const;
  bool has(std::string const& unit) const;
  /// The units that are there, by one look at each of the folders.
  std::unordered_set<std::string> units() const;
  /// Whether it falls to this worker to begin with. The others may make it when they have nothing else to do.
  bool mine(std::string const& unit) const;

  /// A lease on a unit, given back when the object goes.
  class claim {
   public:
    claim(work_folder& of, std::string unit) : of_(&of), unit_(std::move(unit)) {}
    claim(claim&& from) noexcept : of_(std::exchange(from.of_, nullptr)), unit_(std::move(from.unit_)) {}
    claim& operator=(claim&&) = delete;
    ~claim() {
      if (of_) of_->give_back(unit_);
    }

   private:
    work_folder* of_;
    std::string unit_;
  };
  /// Nothing if a living process has it, or if the unit is there by now.
  std::optional<claim> try_claim(std::string const& unit);

  /// Whether another living process is at it, so that it is worth waiting for.
  bool is_busy(std::string const& unit);

  struct failure {
    std::string unit, text;
    int exit_code = 4;
    std::string pass{};   ///< the nodes it belongs to
    std::string items{};  ///< "0 to 63"; "" for what is no part of a pass
  };
  /// Says what went wrong with a unit. Each later process tries once more.
  void record_failure(std::string const& unit, std::string const& pass, std::string const& text, int exit_code);
  /// The first failure that another process met since this one began.
  std::optional<failure> new_failure() const;

  /// A pass of that many units, all of whose names begin with `key`.
  void announce(std::string const& key, std::string const& name, std::string const& what, std::size_t units) const;
  /// How many blocks of the pass of that key are one unit; 0 while no worker has decided it.
  std::size_t blocks_a_unit(std::string const& key) const;
  /// Decides it, unless another worker has. Returns what holds for all.
  std::size_t decide_blocks_a_unit(std::string const& key, std::size_t blocks) const;
  /// Shown by `status` beside this worker.
  void at_work_on(std::string const& what);
  /// Removes what the dead have left: half-written files, claims, files of workers. For the process that ends the work or finds
  /// it done.
  void tidy();

 private:
  using clock = std::chrono::steady_clock;
  struct seen {
    std::string contents;
    clock::time_point since;
  };
  void give_back(std::string const& unit) noexcept;
  bool is_fresh(std::string const& name, std::string const& text);
  bool is_alive(std::string const& worker);
  std::string beat_text();
  void beat() noexcept;

  std::filesystem::path path_;
  worker_place place_;
  std::chrono::duration<double> lease_;
  std::string id_, at_;
  std::size_t beats_ = 0, finished_ = 0;
  std::set<std::string> claimed_;
  std::set<std::string> old_failures_;
  std::map<std::string, seen> others_;
  mutable std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread beating_;
};

/// What `wayfarer status` and `clean` see of such a folder, from outside.
struct work_status {
  struct stage {
    std::string name, what;
    std::size_t units = 0, done = 0;
    double seconds = 0;  ///< from the first that was done to the last, by the folder's clock
  };
  struct worker {
    std::string id, at;
    std::size_t index = 0, count = 0, finished = 0;
    double silent = 0;   ///< seconds since its file changed, by the clocks of the folder and of this machine
    bool ended = false;  ///< known to be dead: it ran on this machine
  };
  std::vector<stage> stages;
  std::vector<worker> workers;
  std::vector<work_folder::failure> failures;
  std::size_t units = 0, claims = 0;
  std::uint64_t bytes = 0;           ///< of the units
  std::vector<std::string> results;  ///< SHA-256 of each that was written
};
/// Throws usage_error if that is no such folder.
work_status look_at_work(std::filesystem::path const& folder);
/// Removes all that workers keep in the folder, and the folder if nothing else is in it; what has another name stays. Throws
/// usage_error if it is no such folder.
void remove_work(std::filesystem::path const& folder);

}  // namespace wayfarer::host
