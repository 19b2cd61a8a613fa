// The rules parameter_range and parameter_is_used.
#include "conformance/workbench.hpp"
#include "pipeline/values.hpp"

namespace wayfarer::host::conformance {

namespace {

std::string parameter_key(std::string_view name, std::string_view value) {
  return "parameter/" + std::string(name) + "/" + std::string(value);
}

}  // namespace

void add_parameter_steps(std::vector<step>& steps, workbench& bench, std::function<std::string(config const&)> const& digest) {
  auto const outcome = [digest](config const& c) {
    std::string result;
    std::string const refusal = refusal_of([&] { result = digest(c); });
    return refusal.empty() ? result : "refused";
  };
  if (bench.subject.params().empty()) return;
  config const base = bench.base;
  steps.push_back(
      {"parameter_range", "its defaults", [=](reporter& out) { out.digest(parameter_key("", "default"), outcome(base)); }, true});
  for (auto const& d : bench.subject.params()) {
    std::string const name = d.name;
    bool const is_seed = name == "seed" && d.type == param_type::integer;
    for (auto const& t : trials_of(d, base[name])) {
      config c = base;
      c.set(name, t.value);
      if (is_seed) c.set_seed(static_cast<std::uint64_t>(t.value.integer()));
      steps.push_back({"parameter_range", name + " = " + t.text,
                       [=](reporter& out) { out.digest(parameter_key(name, t.text), outcome(c)); }, true});
    }
    // If the plugin never reads a parameter, it does not notice that the parameter is missing.
    steps.push_back({"parameter_is_used", name + " left out",
                     [=](reporter& out) {
                       auto values = base.values();
                       values.erase(name);
                       config without(std::move(values));
                       without.set_seed(is_seed ? base.seed() + 1 : base.seed());
                       std::string result = "missed";
                       try {
                         result = outcome(without);
                       } catch (...) {
                       }
                       out.digest(parameter_key(name, "left out"), result);
                     },
                     true});
    param_descriptor const* const descriptor = &d;
    steps.push_back({"parameter_range", name + " beyond its range", [descriptor, name](reporter&) {
                       for (auto const& text : beyond_range(*descriptor)) {
                         yaml_value v;
                         v.kind = yaml_kind::scalar, v.text = text;
                         std::vector<value_problem> wrong;
                         if (convert(*descriptor, v, wrong))
                           throw violation("parameter_range", name + " takes " + text + ", which its schema does not allow");
                       }
                     }});
  }
}

std::vector<finding> unused_parameters(plugin const& p, std::map<std::string, std::string> const& digests) {
  std::vector<finding> out;
  auto const usual = digests.find(parameter_key("", "default"));
  if (usual == digests.end()) return out;
  for (auto const& d : p.params()) {
    std::string const prefix = parameter_key(d.name, "");
    std::string tried;
    bool changes = false, missed = true, any = false;
    for (auto at = digests.lower_bound(prefix); at != digests.end() && at->first.starts_with(prefix); ++at) {
      std::string const value = at->first.substr(prefix.size());
      if (value == "left out") {
        missed = at->second != usual->second;
      } else {
        any = true;
        changes = changes || at->second != usual->second;
        if (tried.size() < 200) tried += (tried.empty() ? "" : ", ") + value;
      }
    }
    if (changes || !any) continue;
    std::string const name = d.name;
    if (!missed)
      out.push_back(
          {level::broken, "parameter_is_used", name,
           "'" + name + "' is never read and changes nothing (tried " + tried + "); use it or take it out of the schema"});
    else
      out.push_back({level::noted, "parameter_is_used", name, "'" + name + "' changed nothing here (tried " + tried + ")"});
  }
  return out;
}

}  // namespace wayfarer::host::conformance
