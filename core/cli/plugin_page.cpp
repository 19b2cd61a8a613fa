#include "cli/plugin_page.hpp"

#include <cmath>
#include <variant>

#include "pipeline/values.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace {

std::string text_of(std::string const& s) {
  return s.empty() ? "\"\"" : s;
}
std::string text_of(bool b) {
  return b ? "true" : "false";
}
std::string text_of(std::int64_t i) {
  return std::to_string(i);
}
std::string text_of(double v) {
  return format_number(v);
}
template <class T>
std::string text_of(std::vector<T> const& all) {
  std::string out;
  for (auto const& one : all) out += (out.empty() ? "" : ", ") + text_of(one);
  return "[" + out + "]";
}

/// Fit for a cell of a table.
std::string cell(std::string_view text) {
  std::string out;
  for (char const c : printable(text)) {
    if (c == '|' || c == '\\' || c == '<') out += '\\';
    out += c;
  }
  return out;
}
std::string code(std::string_view text) {
  std::string safe;
  for (char const c : printable(text)) safe += c == '`' ? std::string("'") : c == '|' ? std::string("\\|") : std::string(1, c);
  return "`" + safe + "`";
}

std::string allowed(param_descriptor const& p) {
  std::string out;
  for (std::string_view rest = p.choices; !rest.empty();) {
    std::size_t const bar = std::min(rest.find('|'), rest.size());
    out += (out.empty() ? "" : ", ") + code(rest.substr(0, bar));
    rest.remove_prefix(std::min(bar + 1, rest.size()));
  }
  bool const low = !std::isinf(p.minimum), high = !std::isinf(p.maximum);
  if (low && high) return format_number(p.minimum) + " to " + format_number(p.maximum);
  if (low) return "at least " + format_number(p.minimum);
  if (high) return "at most " + format_number(p.maximum);
  return out;
}

}  // namespace

std::string plugin_page(plugin const& p) {
  std::string out = "# " + cell(p.id()) + "\n\n" + cell(p.summary()) + ".\n\nA " + std::string(name_of(p.kind())) + ", version " +
                    cell(p.version()) + ".\n";
  if (!p.ports().empty()) {
    out += "\n## Ports\n\n| port | takes | | what for |\n|---|---|---|---|\n";
    for (auto const& d : p.ports())
      out += "| " + code(d.name) + " | " + std::string(name_of(d.kind)) + " | " + (d.optional ? "optional" : "required") + " | " +
             cell(d.doc) + " |\n";
  }
  if (!p.params().empty()) {
    out += "\n## Parameters\n\n| parameter | type | default | allowed | what for |\n|---|---|---|---|---|\n";
    for (auto const& d : p.params()) {
      std::string const preset =
          (d.required ? "required" : code(std::visit([](auto const& v) { return text_of(v); }, default_of(d).get()))) +
          (p.fact_of(d).empty() ? "" : " (from the source)");
      std::string const unit = *d.unit ? ", in " + cell(d.unit) : "";
      out += "| " + code(d.name) + " | " + std::string(name_of(d.type)) + unit + " | " + preset + " | " + allowed(d) + " | " +
             cell(d.doc) + " |\n";
    }
  }
  if (auto const keys = host_key_table(p.kind(), p.ports()); !keys.empty()) {
    out +=
        "\n## Keys of the host\n\nTaken from every node of this kind; see docs/pipelines.md.\n\n"
        "| key | type | default | what for |\n|---|---|---|---|\n";
    for (auto const& k : keys)
      out += "| " + code(k.name) + " | " + std::string(k.type) + " | " + cell(k.preset) + " | " + cell(k.doc) + " |\n";
  }
  return out;
}

}  // namespace wayfarer::host
