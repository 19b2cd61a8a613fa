// Messages between the processes of one job: what `run --work-local` needs of MPI, so that only a library that is loaded for it
// links MPI (mpi/mpi_link.cpp).
//
// One thread makes it and calls everything. Nothing waits. Errors are std::runtime_error.
#pragma once

#include <cstddef>
#include <string>

namespace wayfarer::host {

struct message_link {
  virtual ~message_link() = default;
  virtual std::size_t rank() const noexcept = 0;
  virtual std::size_t size() const noexcept = 0;
  /// Whether a message to that rank can be taken: the one before it has left.
  virtual bool is_ready(std::size_t to) = 0;
  virtual void send(std::size_t to, std::string bytes) = 0;
  /// Whether all that was sent has left.
  virtual bool all_sent() = 0;
  /// A message that has come, if there is one. Those of one rank come in their order.
  virtual bool receive(std::size_t& from, std::string& bytes) = 0;
  /// Leaves the job: all processes have to, and waits for them.
  virtual void finish() = 0;
};

/// What the library exports under that name: a new link, or null for a host of another build.
using open_link_function = message_link*(char const* build_id);
inline constexpr char open_link_name[] = "wayfarer_open_link";

}  // namespace wayfarer::host
