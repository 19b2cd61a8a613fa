// Adds where something went wrong to an error on its way out, keeping its type and so its exit code.
#pragma once

#include <new>
#include <string>
#include <string_view>

#include <wayfarer/error.hpp>
#include <wayfarer/stopping.hpp>

namespace wayfarer::host {

/// Rethrows the exception in flight with "place: " before its message. What is no error of ours becomes a plugin_error, and
/// memory that ran out a resource_error.
[[noreturn]] inline void rethrow_with_place(std::string const& place) {
  try {
    throw;
  } catch (usage_error const& e) {
    throw usage_error(place + ": " + e.what());
  } catch (data_error const& e) {
    throw data_error(place + ": " + e.what());
  } catch (plugin_error const& e) {
    throw plugin_error(place + ": " + e.what());
  } catch (resource_error const& e) {
    throw resource_error(place + ": " + e.what());
  } catch (stopped const&) {
    throw;  // nobody's fault, so without a place
  } catch (std::bad_alloc const&) {
    throw resource_error(place + ": memory ran out; use fewer --threads, a smaller block, or fewer hooks");
  } catch (std::exception const& e) {
    throw plugin_error(place + ": the plugin failed: " + e.what());
  } catch (...) {
    throw plugin_error(place + ": the plugin threw something that is no exception");
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

}  // namespace wayfarer::host
