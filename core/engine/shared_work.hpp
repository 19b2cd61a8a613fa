// What the workers of a run share: a folder of finished units, and who makes which of them.
//
// The folder is one that all workers see, or one of this process alone, from and to which a courier carries what others need.
// What the units are is the run's to know (worker.cpp). All of it may be called from any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "engine/courier.hpp"
#include "engine/engine.hpp"
#include "engine/work_folder.hpp"

namespace wayfarer::host {

/// What came of a round over units.
struct unit_round {
  std::size_t units = 0;               ///< made by this process
  std::vector<std::string> missing{};  ///< still, as others are at them
  bool merging = false;                ///< all blocks are there, and the missing ones are sums of them
};

/// Units that are one piece of a task's work, and how each is made.
struct unit_work {
  std::vector<std::string> units{};
  std::string pass{};  ///< for people
  std::size_t in_flight = 1;
  bool of_merge = false;  ///< by --merge too; where folders are apart, by the first process alone
  bool for_all = false;   ///< every process needs all of them
  std::function<void(std::size_t)> make{};
};

class shared_work {
 public:
  /// Opens the folder of these options, and where it is this process's alone joins the others, which must have the same digests
  /// of code and of the nodes' `keys`. Throws usage_error for a folder of something else, resource_error if it can't be made or
  /// MPI can't begin.
  shared_work(run_options const&, std::string const& code, std::string const& keys);

  work_folder& folder() noexcept { return *folder_; }
  work_folder const& folder() const noexcept { return *folder_; }
  /// Whether this worker may do what needs all units. Where all see one folder, each may.
  bool leads() const noexcept { return !courier_ || courier_->leads(); }

  /// Makes those of the units that are missing and that no other worker is at, this worker's own first. `there`: those that were
  /// in the folder a moment ago.
  unit_round make_missing(unit_work const&, std::unordered_set<std::string> const& there);
  /// Where folders are apart: sends a unit to those that need it.
  void share(std::string const& unit);
  /// Tells the others the exception in flight, if they would meet it as well.
  void record_lasting(std::string const& unit, std::string const& pass);
  /// Throws what another worker found to be wrong: this one would find it as well.
  void require_no_failure() const;

  /// Where folders are apart: how many blocks of the pass of that key are one unit, from the first worker to the others. 0 while
  /// that is not known.
  void tell_group(std::string const& key, std::size_t blocks);
  std::size_t told_group(std::string const& key) const { return courier_->decided(key); }

  /// Until something may have changed.
  void wait(std::chrono::milliseconds at_most);
  /// Where folders are apart: whether the first worker has told that all is done; and tells it, or waits for all to know.
  bool has_ended() const { return courier_ && courier_->has_ended(); }
  void end();

 private:
  bool merges_only_;
  std::unique_ptr<work_folder> folder_{};
  std::unique_ptr<courier> courier_{};  // null: all workers see the folder
};

}  // namespace wayfarer::host
