#include "pipeline/reading.hpp"

#include <algorithm>
#include <system_error>

#include "pipeline/values.hpp"

namespace wayfarer::host {

namespace fs = std::filesystem;

void reading::complain(origin const& from, std::string message, int exit_code) {
  problems.push_back({from.at, std::move(message), exit_code, from.option});
}

void reading::complain(plan_node& n, origin const& from, std::string message, int exit_code) {
  n.sound = false;
  complain(from, std::move(message), exit_code);
}

std::string reading::resolve(fs::path const& path, bool from_command_line) const {
  if (path.is_absolute()) return path.lexically_normal().string();
  std::error_code ignored;
  auto const here = fs::current_path(ignored);
  auto const base = from_command_line ? here : (here / out.file).parent_path();
  return (base / path).lexically_normal().string();
}

std::optional<double> reading::number(yaml_entry const& k) {
  auto const r = number_of(k.value);
  if (!r)
    complain(k.value.kind == yaml_kind::null ? k.from : k.value.from,
             single_quoted(k.key) + " must be a number, got " + found(k.value));
  return r;
}

origin const& place_of(yaml_entry const& e) {
  return e.value.kind == yaml_kind::null ? e.from : e.value.from;
}

std::optional<std::int64_t> plain_integer(yaml_value const& v) {
  return v.kind == yaml_kind::scalar && !v.quoted ? integer_of(v.text) : std::nullopt;
}

std::optional<double> number_of(yaml_value const& v) {
  return v.kind == yaml_kind::scalar && !v.quoted ? real_of(v.text) : std::nullopt;
}

bool leaves_results(plan_node const& n) {
  return n.kind != plugin_kind::model || !n.what ||
         std::any_of(n.wires.begin(), n.wires.end(), [](wire const& w) { return w.kind == port_kind::source; });
}

}  // namespace wayfarer::host
