// The typed errors of the whole project: what a plugin throws, and what the host turns into a message and an exit code.
//
// Say what is wrong, where (file, line, byte offset, item), and what to do about it. Throw from any thread; the host adds the
// node, the plugin and its library. Any other exception that leaves a plugin is reported as a plugin_error.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

class WAYFARER_API error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~error() override;
  virtual int exit_code() const noexcept = 0;
};

/// The pipeline file or the command line is wrong. Exit code 2.
class WAYFARER_API usage_error final : public error {
 public:
  using error::error;
  ~usage_error() override;
  int exit_code() const noexcept override { return 2; }
};

/// A file that was read is malformed or truncated, or does not fit what it is used for. Exit code 3.
class WAYFARER_API data_error final : public error {
 public:
  using error::error;
  ~data_error() override;
  int exit_code() const noexcept override { return 3; }
};

/// A plugin can't be loaded, or broke its contract. Exit code 4.
class WAYFARER_API plugin_error final : public error {
 public:
  using error::error;
  ~plugin_error() override;
  int exit_code() const noexcept override { return 4; }
};

/// Memory budget, disk or another resource ran out. Exit code 5.
class WAYFARER_API resource_error final : public error {
 public:
  using error::error;
  ~resource_error() override;
  int exit_code() const noexcept override { return 5; }
};

/// "file:line:column: message", leaving out what is 0.
WAYFARER_API std::string located(std::string_view file, std::size_t line, std::size_t column, std::string_view message);

WAYFARER_INTERFACE_LAYOUT(error, exit_code);
WAYFARER_LAYOUT(usage_error);
WAYFARER_LAYOUT(data_error);
WAYFARER_LAYOUT(plugin_error);
WAYFARER_LAYOUT(resource_error);

}  // namespace wayfarer
