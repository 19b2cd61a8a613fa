#include "pipeline/facts.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <type_traits>

#include "pipeline/values.hpp"

namespace wayfarer::host {
namespace {

std::string text_of(std::string const& s) {
  return s;
}
std::string text_of(bool b) {
  return b ? "true" : "false";
}
template <class Number>
std::string text_of(Number n) {
  std::array<char, 32> text{};
  auto const [end, error] = std::to_chars(text.data(), text.data() + text.size(), n);
  return {text.data(), end};
}

/// A value as it would stand in a pipeline file, so that it is checked like one.
yaml_value yaml_of(param_value const& v) {
  auto const scalar = [](auto const& x) {
    yaml_value one;
    one.kind = yaml_kind::scalar;
    one.text = text_of(x);
    one.quoted = std::is_same_v<std::remove_cvref_t<decltype(x)>, std::string>;
    return one;
  };
  return std::visit(
      [&](auto const& x) {
        using value = std::remove_cvref_t<decltype(x)>;
        if constexpr (std::is_arithmetic_v<value> || std::is_same_v<value, std::string>) {
          return scalar(x);
        } else {
          yaml_value list;
          list.kind = yaml_kind::list;
          for (auto const& one : x) list.items.push_back(scalar(one));
          return list;
        }
      },
      v.get());
}

std::string text_of(param_value const& v) {
  yaml_value const y = yaml_of(v);
  if (y.kind == yaml_kind::scalar) return y.text;
  std::string all;
  for (auto const& one : y.items) all += (all.empty() ? "" : ", ") + one.text;
  return "[" + all + "]";
}

bool holds(std::vector<stated_fact> const& all, param_value const& v) {
  return std::any_of(all.begin(), all.end(), [&](stated_fact const& f) { return f.value == v; });
}

bool is_swept(plan_node const& n, std::string_view name) {
  return std::any_of(n.sweep.begin(), n.sweep.end(), [&](swept_parameter const& s) { return s.name == name; });
}

/// One parameter bound to a fact, and what the wires of its node bring of it.
class binding {
 public:
  binding(plan& p, std::size_t i, param_descriptor const& d, std::span<known_facts const> known, std::vector<problem>& problems)
      : plan_(p), node_(p.nodes[i]), d_(d), problems_(problems) {
    for (auto const& w : node_.wires) {
      if (is_edit(w)) continue;
      if (auto const* all = stated_by(known[w.node])) brought_.push_back(*all);
    }
    // How words are masked is settled by those who learn from a source: who measures beside them means what one of them does.
    if (!brought_.empty() || node_.kind != plugin_kind::probe) return;
    std::vector<stated_fact> any;
    for (std::size_t const learner : learners())
      if (auto const* all = stated_by(known[learner]))
        for (auto const& f : *all)
          if (!holds(any, f.value)) any.push_back(f);
    if (!any.empty()) brought_.push_back(std::move(any));
  }

  void take() {
    if (brought_.empty() || !convert_all()) return;
    std::vector<stated_fact> agreed;
    for (auto const& f : brought_.front())
      if (std::all_of(brought_.begin(), brought_.end(), [&](auto const& all) { return holds(all, f.value); }))
        agreed.push_back(f);
    if (agreed.empty()) {
      complain(node_.at, inputs_disagree());
      return put(brought_.front().front().value);  // so that nodes that read this one report no further problem
    }
    if (is_swept(node_, d_.name)) {
      auto const s = std::find_if(node_.sweep.begin(), node_.sweep.end(), [&](auto const& one) { return one.name == d_.name; });
      for (auto const& v : s->values)
        if (!holds(agreed, v)) contradicted(v, agreed);
    } else if (node_.places.contains(d_.name)) {
      if (param_value const given = node_.parameters[d_.name]; !holds(agreed, given)) {
        contradicted(given, agreed);
        put(agreed.front().value);
      }
    } else if (agreed.size() == 1) {
      put(agreed.front().value);
    } else {
      complain(node_.at, "its inputs have several values of '" + name() + "' (" + list(agreed) + "); say which one is meant");
    }
  }

 private:
  std::vector<stated_fact> const* stated_by(known_facts const& from) const {
    auto const at = from.find(node_.what->fact_of(d_));
    return at == from.end() ? nullptr : &at->second;
  }

  /// Models that learn from, or are held out, a source that this node reads; none if it reads a model itself.
  std::vector<std::size_t> learners() const {
    std::vector<std::size_t> all;
    for (auto const& w : node_.wires)
      if (w.kind == port_kind::model) return all;
    auto const read_here = [&](wire const& theirs) {
      return theirs.kind == port_kind::source && std::any_of(node_.wires.begin(), node_.wires.end(), [&](wire const& mine) {
               return mine.kind == port_kind::source && mine.node == theirs.node;
             });
    };
    for (std::size_t i = 0; i < plan_.nodes.size(); ++i)
      if (auto const& n = plan_.nodes[i]; n.kind == plugin_kind::model && std::any_of(n.wires.begin(), n.wires.end(), read_here))
        all.push_back(i);
    return all;
  }

  std::string name() const { return d_.name; }
  static std::string list(std::vector<stated_fact> const& all) {
    std::vector<std::string> words;
    for (auto const& f : all) words.push_back(text_of(f.value) + " in '" + f.by + "'");
    return enumerate_words(words);
  }

  /// As values of the parameter's type, so that they can be compared with what the user gave.
  bool convert_all() {
    for (auto& wire : brought_)
      for (auto& f : wire) {
        std::vector<value_problem> wrong;
        auto value = convert(d_, yaml_of(f.value), wrong);
        if (!value) {
          complain(node_.at, wrong.front().message + ", which '" + f.by + "' says of itself");
          return false;
        }
        f.value = std::move(*value);
      }
    return true;
  }

  std::string inputs_disagree() const {
    std::vector<stated_fact> all;
    for (auto const& wire : brought_)
      for (auto const& f : wire)
        if (!holds(all, f.value)) all.push_back(f);
    return "its inputs disagree on '" + name() + "': " + list(all) + "; give them the same";
  }

  void contradicted(param_value const& given, std::vector<stated_fact> const& agreed) {
    complain(node_.places.at(d_.name),
             "'" + name() + "' is " + text_of(given) + ", but " + list(agreed) +
                 (agreed.size() == 1 ? "; leave it out to follow '" + agreed.front().by + "', or change it there" : ""));
  }

  void complain(place at, std::string text) {
    problem out{at, node_.name + " (" + std::string(node_.what->id()) + "): " + std::move(text), 2};
    if (at.line == 0)  // from the command line; the last one counts
      for (auto const& [key, value] : plan_.overrides)
        if (key == node_.name + "." + d_.name || key == node_.name + ".sweep." + d_.name)
          out.option = "--set " + key + "=" + value;
    problems_.push_back(std::move(out));
  }

  void put(param_value const& v) {
    if (is_swept(node_, d_.name)) return;
    node_.parameters.set(d_.name, v);
    for (auto& c : node_.variants) c.set(d_.name, v);
  }

  plan& plan_;
  plan_node& node_;
  param_descriptor const& d_;
  std::vector<problem>& problems_;
  std::vector<std::vector<stated_fact>> brought_;  // one for each wire that brings the fact
};

}  // namespace

void take_facts(plan& p, std::size_t i, std::span<known_facts const> known, std::vector<problem>& problems) {
  for (auto const& d : p.nodes[i].what->params())
    if (!p.nodes[i].what->fact_of(d).empty()) binding(p, i, d, known, problems).take();
}

known_facts facts_of(plan const& p, std::size_t i, std::span<known_facts const> known, fact_map const& own) {
  plan_node const& n = p.nodes[i];
  known_facts out;
  for (auto const& w : n.wires) {
    if (is_edit(w)) continue;
    for (auto const& [name, all] : known[w.node])
      for (auto const& f : all)
        if (!holds(out[name], f.value)) out[name].push_back(f);
  }
  for (auto const& d : n.what->params()) {
    std::string const fact(n.what->fact_of(d));
    if (fact.empty() || is_swept(n, d.name) || !n.parameters.has(d.name)) continue;
    param_value const& value = n.parameters[d.name];
    // Who said it first is whom a message names.
    std::vector<stated_fact> chosen;
    for (auto const& f : out[fact])
      if (f.value == value) chosen.push_back(f);
    if (chosen.empty()) chosen.push_back({value, n.name});
    out[fact] = std::move(chosen);
  }
  for (auto const& [name, value] : own) out[name] = {{value, n.name}};
  return out;
}

}  // namespace wayfarer::host
