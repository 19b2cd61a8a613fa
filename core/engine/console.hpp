// What a run tells people while it works: one line on a terminal that keeps changing, plain lines elsewhere, nothing when quiet.
//
// Written to standard error, so that standard output holds findings only. Called from any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/progress.hpp>

namespace wayfarer::host {

class console {
 public:
  /// Quiet: warnings only are kept, nothing is printed.
  explicit console(bool quiet);
  ~console();  ///< leaves the terminal on a fresh line

  /// A progress for one node, shown under its name. Lives as long as the console.
  std::unique_ptr<progress> node(std::string name);
  /// A line that stays: a node is done.
  void line(std::string_view text);
  void warn(std::string_view node, std::string_view message);
  /// "node: message", in the order in which they came.
  std::vector<std::string> warnings() const;

 private:
  class node_progress;
  void at(std::string const& node, std::size_t done, std::size_t total, std::string_view note,
          std::chrono::steady_clock::time_point since);
  void clear();
  std::chrono::steady_clock::duration pause() const noexcept;

  mutable std::mutex mutex_;
  bool quiet_, terminal_;
  std::size_t shown_ = 0;  // columns of the changing line
  std::vector<std::string> warnings_;
};

}  // namespace wayfarer::host
