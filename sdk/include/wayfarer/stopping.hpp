// How long work ends early and in good order: because a signal asked for it, or because another part of the run has failed.
//
// A loop of your own that takes more than a moment calls `stop_if_asked` between its steps, where nothing is half done;
// `parallel_for` does so itself before each piece. What comes out is `stopped`: let it pass, or catch it to put away what the
// next run can resume from, and rethrow it. Any thread.
#pragma once

#include <string>

#include <wayfarer/error.hpp>
#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

/// Not an error. The program ends with 128 plus the signal's number, as shells count.
class WAYFARER_API stopped final : public error {
 public:
  /// By the signal that asked, if one did.
  stopped();
  stopped(std::string const& what, int signal) : error(what), signal_(signal) {}
  ~stopped() override;
  int exit_code() const noexcept override { return signal_ == 0 ? 5 : 128 + signal_; }

 private:
  template <class>
  friend struct layout_of;
  int signal_;
};

WAYFARER_API bool stop_asked() noexcept;
/// Throws `stopped` if the work shall end.
WAYFARER_API void stop_if_asked();

/// For work that must not stop halfway, such as an optimiser's step: while one lives, every `parallel_for` of this thread
/// finishes.
class WAYFARER_API undivided_work {
 public:
  undivided_work() noexcept;
  ~undivided_work();
  undivided_work(undivided_work const&) = delete;
  undivided_work& operator=(undivided_work const&) = delete;
  /// Whether this thread is at such work.
  static bool here() noexcept;
};

// ---- for the host ----

/// While one lives, work listens to `ask_to_stop`. One at a time.
class WAYFARER_API stoppable_work {
 public:
  stoppable_work() noexcept;
  ~stoppable_work() { end(); }
  stoppable_work(stoppable_work const&) = delete;
  stoppable_work& operator=(stoppable_work const&) = delete;
  /// No longer listens. The signal that asked meanwhile, 0 for none.
  int end() noexcept;
};

/// May be called in a signal handler; `signal` 0: a part of the run has failed. False if nothing listens.
WAYFARER_API bool ask_to_stop(int signal) noexcept;
/// 2 -> "SIGINT". May be called in a signal handler up to the copy.
WAYFARER_API std::string name_of_signal(int signal);

WAYFARER_LAYOUT(stopped, signal_);
WAYFARER_LAYOUT(undivided_work);
WAYFARER_LAYOUT(stoppable_work);

}  // namespace wayfarer
