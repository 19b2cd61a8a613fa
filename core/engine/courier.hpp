// Carries finished work between the folders of processes that see no common one: `mpirun wayfarer run --work-local DIR`.
//
// Each rank fills a folder of its own. What falls to a rank it makes and sends to rank 0, which writes the result; rank 0 sends
// the others what all need: what nodes left, lengths of items, and how many blocks are one unit. A thread of its own does all of
// it, some bytes at a time, as files lie on the disk. The functions may be called from any thread, and none waits long.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <vector>

#include <wayfarer/file.hpp>

#include "engine/message_link.hpp"
#include "engine/work_folder.hpp"

namespace wayfarer::host {

class courier {
 public:
  /// Loads the library and joins the job. Throws resource_error if there is none, or MPI can't begin.
  courier();
  /// Unless `end` was called, the job is left as it is: mpirun then ends all of it.
  ~courier();
  courier(courier const&) = delete;

  worker_place place() const noexcept { return {rank_ + 1, size_}; }
  bool leads() const noexcept { return rank_ == 0; }

  /// From here on work is carried to and from this folder. `code`, `run`: digests of what computes and of what is computed; units
  /// of other ranks count for nothing if they differ. Returns once it is known what rank 0 has. Throws if rank 0 is at something
  /// else.
  void begin(work_folder&, std::string const& code, std::string const& run);
  /// Sends a unit that is in this folder to whom it concerns: from rank 0 to all, else to rank 0. Each once.
  void share(std::string const& unit);
  /// Whether rank 0 had the unit when the job began.
  bool is_delivered(std::string const& unit) const { return delivered_.count(unit) != 0; }
  /// By rank 0: how many blocks of that pass are one unit. For the others: what it decided; 0 while that is not known.
  void decide(std::string const& key, std::size_t blocks);
  std::size_t decided(std::string const& key) const;

  /// Waits for something to come. Throws what went wrong with carrying.
  void wait(std::chrono::milliseconds at_most);
  /// Whether rank 0 has told that all is done.
  bool has_ended() const;
  /// All is done: by rank 0 once the result is written, by the others once `has_ended`. Waits for all.
  void end();

 private:
  struct parcel {
    std::shared_ptr<std::string const> message{};  ///< one may go to many; or, of a file:
    std::string unit{};
    std::size_t sent = 0, size = 0;
    std::shared_ptr<mapped_file const> file{};
  };
  struct arriving {
    std::string unit{};
    std::size_t have = 0, size = 0;
    std::unique_ptr<atomic_file> file{};  ///< null: it is there already
  };
  void carry() noexcept;
  void join_job();
  bool carry_some();
  bool send_some(std::size_t to);
  bool take_message();
  void take_piece(std::size_t from, std::string_view bytes);
  void take_names(std::string_view bytes);
  void arrived(std::size_t from, arriving&);
  void post_to_others(std::string message);
  void require_same(std::string_view said) const;
  void rethrow() const;

  std::unique_ptr<message_link> link_;
  work_folder* work_ = nullptr;
  std::size_t rank_ = 0, size_ = 1, piece_bytes_ = 0;
  std::string code_{}, run_{};
  std::unordered_set<std::string> delivered_{};

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // for those who wait
  std::condition_variable wake_;     // for the thread
  std::vector<std::deque<parcel>> out_;
  std::unordered_set<std::string> shared_;
  std::map<std::string, std::size_t> decided_;
  std::map<std::size_t, arriving> in_;  // by rank
  std::size_t arrivals_ = 0, seen_ = 0, farewells_ = 0;
  bool joined_ = false, begun_ = false, knows_ = false, ending_ = false, told_end_ = false, done_ = false, leaving_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace wayfarer::host
