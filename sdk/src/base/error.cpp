#include <wayfarer/error.hpp>

namespace wayfarer {

error::~error() = default;
usage_error::~usage_error() = default;
data_error::~data_error() = default;
plugin_error::~plugin_error() = default;
resource_error::~resource_error() = default;

std::string located(std::string_view file, std::size_t line, std::size_t column, std::string_view message) {
  std::string out(file);
  if (line != 0) out += ":" + std::to_string(line);
  if (line != 0 && column != 0) out += ":" + std::to_string(column);
  return out.append(": ").append(message);
}

}  // namespace wayfarer
