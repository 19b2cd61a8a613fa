// Any bytes as a pipeline's YAML: a bounded tree whose places lie in the text, or problems that say where.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "pipeline/yaml.hpp"

namespace host = wayfarer::host;

namespace {

std::size_t count(host::yaml_value const& v, std::size_t depth, std::size_t lines) {
  if (depth > host::max_yaml_depth || v.from.at.line > lines) std::abort();
  std::size_t n = 1;
  for (auto const& item : v.items) n += count(item, depth + 1, lines);
  for (auto const& entry : v.entries) {
    if (v.find(entry.key) != &entry) std::abort();  // keys differ
    n += count(entry.value, depth + 1, lines);
  }
  return n;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const text(reinterpret_cast<char const*>(data), size);
  std::size_t lines = 2;
  for (char const c : text) lines += c == '\n' || c == '\r';
  std::vector<host::problem> problems;
  host::yaml_value const tree = host::read_yaml(text, problems);
  if (count(tree, 0, lines) > host::max_yaml_values + 1) std::abort();
  for (auto const& p : problems)
    if (p.message.empty() || p.at.line > lines) std::abort();
  return 0;
}
