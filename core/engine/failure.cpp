#include "engine/failure.hpp"

namespace wayfarer::host {

void keep_failure(std::exception_ptr& into) {
  into = std::current_exception();
  try {
    throw;
  } catch (resource_error const&) {
    ask_to_stop(0);
  } catch (...) {
  }
}

void throw_as(int exit_code, std::string const& text) {
  switch (exit_code) {
    case 2:
      throw usage_error(text);
    case 3:
      throw data_error(text);
    case 5:
      throw resource_error(text);
    default:
      throw plugin_error(text);
  }
}

std::pair<int, std::string> lasting_error(std::exception_ptr const& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (resource_error const&) {
    return {};
  } catch (stopped const&) {
    return {};
  } catch (error const& e) {
    return {e.exit_code(), e.what()};
  } catch (...) {
    return {};
  }
}

}  // namespace wayfarer::host
