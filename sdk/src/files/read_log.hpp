// What the SDK's readers tell `was_read`. From any thread.
#pragma once

#include <wayfarer/run_files.hpp>

namespace wayfarer::read_log {

/// A file was opened to be read.
void note(file_identity const&);

/// While it lives, this thread reads for other reasons than the run's.
struct pause {
  pause() noexcept;
  pause(pause const&) = delete;
  ~pause();
};

}  // namespace wayfarer::read_log
