// What is longer than the terminal goes through a pager, as git and man do it. Main thread, of a verb that prints tables.
#pragma once

#include <cstddef>

#include <sys/types.h>

namespace wayfarer::host {

/// While this lives, what is printed goes to the pager: WAYFARER_PAGER, PAGER, or less, which ends by itself where all fits the
/// screen. Nothing changes if standard output is no terminal, or TERM is dumb, or the pager is "" or "cat", or there is none.
class pager {
 public:
  explicit pager(bool wanted);
  pager(pager const&) = delete;
  pager& operator=(pager const&) = delete;
  /// Waits until the reader has left the pager.
  ~pager();

  /// The exit code of a verb that ended with `code`: to leave a pager early is no mistake.
  int ended(int code) const noexcept;

  /// Columns of the terminal that a pager shows on; 0: there is no pager.
  static std::size_t columns() noexcept;

 private:
  pid_t child_ = 0;
  int terminal_ = -1;  ///< what standard output was
};

}  // namespace wayfarer::host
