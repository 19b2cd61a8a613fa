// A run's progress, readable by other processes: `wayfarer watch`.
//
// A run appends a line of JSON about once a second to a file beside its result, ".NAME.progress.tmp.PID.RANDOM", holds a lock on
// it, and removes it when it ends. A file without a lock was left by a run that was killed; the next run of that name removes it.
// If the file can't be written, the run continues without it. One thread at a time.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <wayfarer/file.hpp>

namespace wayfarer::host {

struct progress_state {
  struct part {
    std::string name, note;
    std::size_t done = 0, total = 0;
  };
  double seconds = 0;                   ///< since the run began
  double share = 0;                     ///< of the whole run, 0 to 1
  std::size_t finished = 0, parts = 0;  ///< parts of the run
  std::vector<part> active;
};

class progress_file {
 public:
  explicit progress_file(std::filesystem::path const& result);
  ~progress_file();
  progress_file(progress_file const&) = delete;
  void add(progress_state const&) noexcept;

 private:
  temporary_file file_;
};

struct seen_run {
  bool running = false;
  std::vector<progress_state> states;  ///< in the order in which they were written
};
/// The progress so far of the run that writes this result; nothing if there is none. Throws data_error for a file that no run
/// wrote.
std::optional<seen_run> look_at_run(std::filesystem::path const& result);

}  // namespace wayfarer::host
