// A run's progress display: one changing line on a terminal, plain lines elsewhere, nothing when quiet.
//
// Writes to standard error, so that standard output has only findings. Called from any thread. A separate thread updates the
// display every second, even during a long block.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <wayfarer/progress.hpp>

#include "engine/progress_file.hpp"

namespace wayfarer::host {

class console {
 public:
  /// Quiet: warnings alone are printed, and not even they unless `warns`, as another process prints the same.
  explicit console(bool quiet, bool warns = true);
  ~console();  ///< leaves the terminal on a fresh line

  /// The run begins with this many parts: one for every node except sources, and one for each shared pass.
  void begin(std::size_t parts);

  /// Publishes the progress for `wayfarer watch`, also for a quiet run. Before `begin`.
  void publish(std::filesystem::path const& result);

  /// One active part. Its destructor ends the part.
  class part;
  /// A part, shown under its name. Must not outlive the console.
  std::unique_ptr<part> start(std::string name);
  /// A line that stays: a node is done.
  void line(std::string_view text);
  /// Each message is printed once.
  void warn(std::string_view node, std::string_view message);
  /// "node: message", in the order in which they came.
  std::vector<std::string> warnings() const;
  /// What was warned of by another process, to be among the warnings.
  void take_warnings(std::vector<std::string> const&);
  /// Until it is called with null, everything that is warned of goes into this set too, said before or not.
  void record_warnings(std::set<std::string>* into);
  /// A line about this process alone, which is no warning of the run's.
  void note(std::string_view text);

 private:
  using clock = std::chrono::steady_clock;
  void add_warning(std::string text);
  void show_if_due();
  void publish_if_due();
  std::string text_of(part const&, std::size_t more) const;
  double done_of_run() const;
  void clear();

  mutable std::mutex mutex_;
  bool quiet_, warns_, terminal_;
  std::size_t shown_ = 0;  // columns of the changing line
  std::vector<std::string> warnings_;
  std::set<std::string>* recorded_ = nullptr;
  std::size_t parts_ = 0, finished_ = 0;
  std::vector<part*> active_;  // in the order in which they began
  clock::time_point due_;
  std::unique_ptr<progress_file> published_;
  clock::time_point begun_, publish_due_;
  bool stopping_ = false;
  std::condition_variable stop_;
  std::thread ticker_;
};

class console::part final : public progress {
 public:
  part(console& to, std::string name);
  ~part() override;
  void at(std::size_t done, std::size_t total, std::string_view note) override;
  void warn(std::string_view message) override { to_.warn(name_, message); }
  /// The part is made of `count` rounds, such as the snapshots of a model, and this is number `i`, with a name or none.
  void round(std::size_t i, std::size_t count, std::string name);

 private:
  friend console;
  double share() const;

  console& to_;
  std::string name_, note_{}, round_name_{};
  std::size_t done_ = 0, total_ = 0, round_ = 0, rounds_ = 1;
  console::clock::time_point since_ = console::clock::now();
};

}  // namespace wayfarer::host
