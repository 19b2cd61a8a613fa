// How long work tells the user how far it is. Called from any thread; cheap enough for every update of a training loop.
#pragma once

#include <cstddef>
#include <string_view>

#include <wayfarer/layout.hpp>

namespace wayfarer {

struct progress {
  virtual ~progress() = default;
  /// `done` of `total` steps; `note` is a few words such as "loss 3.371".
  virtual void at(std::size_t done, std::size_t total, std::string_view note = {}) = 0;
  /// Something the user should know but that is no error; shown once and stored in the result file.
  virtual void warn(std::string_view message) = 0;
};

WAYFARER_INTERFACE_LAYOUT(progress, at, warn);

}  // namespace wayfarer
