// Adds the place of a failure to an exception, and keeps its type and exit code; tells failures to other processes.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/stopping.hpp>

namespace wayfarer::host {

/// Rethrows the current exception with "place: " before its message. A foreign exception becomes a plugin_error, and
/// std::bad_alloc a resource_error.
[[noreturn]] inline void rethrow_with_place(std::string const& place) {
  try {
    throw;
  } catch (usage_error const& e) {
    throw usage_error(place + ": " + e.what());
  } catch (parameter_error const& e) {
    throw usage_error(place + ": " + e.what());
  } catch (data_error const& e) {
    throw data_error(place + ": " + e.what());
  } catch (plugin_error const& e) {
    throw plugin_error(place + ": " + e.what());
  } catch (resource_error const& e) {
    throw resource_error(place + ": " + e.what());
  } catch (stopped const&) {
    throw;  // not an error, so without a place
  } catch (std::bad_alloc const&) {
    throw resource_error(place + ": memory ran out; use fewer --threads, a smaller block, or fewer hooks");
  } catch (std::exception const& e) {
    throw plugin_error(place + ": the plugin failed: " + e.what());
  } catch (...) {
    throw plugin_error(place + ": the plugin threw something that is not an exception");
  }
}

template <class Work>
auto with_place(std::string const& place, Work&& work) {
  try {
    return work();
  } catch (...) {
    rethrow_with_place(place);
  }
}

/// Keeps the exception in flight. A disk or memory that is full fails all the rest too, so the run ends at once.
void keep_failure(std::exception_ptr& into);
/// The exit code and text of an error that other processes would meet as well; 0 for others: a full disk, a signal.
std::pair<int, std::string> lasting_error(std::exception_ptr const&);
/// Throws such an error, which another process met.
[[noreturn]] void throw_as(int exit_code, std::string const& text);

}  // namespace wayfarer::host
