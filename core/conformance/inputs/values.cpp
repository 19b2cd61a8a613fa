// Values of parameters: given, by default, and worth trying.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include <wayfarer/error.hpp>

#include "conformance/inputs.hpp"
#include "pipeline/values.hpp"

namespace wayfarer::host::conformance {
namespace fs = std::filesystem;

given_values read_given(plugin const& p, std::vector<std::string> const& settings) {
  given_values out;
  for (auto const& s : settings) {
    std::size_t const equals = s.find('=');
    if (equals == s.npos || equals == 0) throw usage_error("--set takes PARAM=VALUE, not '" + s + "'");
    std::string const name = s.substr(0, equals);
    auto const* d = p.find_param(name);
    if (!d) {
      std::vector<std::string> known;
      for (auto const& one : p.params()) known.emplace_back(one.name);
      throw usage_error("--set " + s + ": " + std::string(p.id()) + " has no parameter '" + name + "'" +
                        did_you_mean(name, known));
    }
    std::vector<problem> wrong_yaml;
    std::vector<value_problem> wrong;
    auto const value = convert(*d, read_yaml("v: " + s.substr(equals + 1), wrong_yaml).entries.at(0).value, wrong);
    if (!wrong_yaml.empty()) throw usage_error("--set " + s + ": " + wrong_yaml.front().message);
    if (!value) throw usage_error("--set " + s + ": " + wrong.front().message);
    out.insert_or_assign(name, d->type == param_type::path && !value->text().empty()
                                   ? param_value(fs::absolute(value->text()).lexically_normal().string())
                                   : *value);
  }
  return out;
}

config complete(plugin const& p, given_values const& given, std::uint64_t seed) {
  config c;
  c.set_seed(seed);
  for (auto const& d : p.params()) {
    if (auto const at = given.find(d.name); at != given.end()) {
      c.set(d.name, at->second);
    } else if (!d.required) {
      c.set(d.name, default_of(d));
    } else {
      std::string const choices = d.choices;
      std::string const word = choices.empty() ? "stone" : choices.substr(0, choices.find('|'));
      double const number = std::clamp(1.0, d.minimum, d.maximum);
      switch (d.type) {
        case param_type::boolean:
          c.set(d.name, param_value(true));
          break;
        case param_type::integer:
          c.set(d.name, param_value(static_cast<std::int64_t>(number)));
          break;
        case param_type::real:
          c.set(d.name, param_value(number));
          break;
        case param_type::text:
          c.set(d.name, param_value(word));
          break;
        case param_type::path:
          c.set(d.name, param_value(std::string()));
          break;
        case param_type::text_list:
          c.set(d.name, param_value(std::vector<std::string>{word}));
          break;
        case param_type::integer_list:
          c.set(d.name, param_value(std::vector<std::int64_t>{static_cast<std::int64_t>(number)}));
          break;
        case param_type::real_list:
          c.set(d.name, param_value(std::vector<double>{number}));
          break;
      }
    }
  }
  if (auto const* d = p.find_param("seed"); d && d->type == param_type::integer && !given.contains("seed"))
    c.set("seed", param_value(static_cast<std::int64_t>(seed)));
  if (c.has("seed") && p.find_param("seed")->type == param_type::integer)
    c.set_seed(static_cast<std::uint64_t>(c["seed"].integer()));
  return c;
}

std::vector<std::string> open_paths(plugin const& p, given_values const& given) {
  std::vector<std::string> names;
  for (auto const& d : p.params())
    if (d.type == param_type::path && d.required && !given.contains(d.name)) names.emplace_back(d.name);
  return names;
}

namespace {

std::string number_text(double v) {
  char text[40];
  std::snprintf(text, sizeof text, v == std::trunc(v) && std::abs(v) < 1e15 ? "%.0f" : "%.9g", v);
  return text;
}

/// Integers that fit: a double beyond 2^53 is not the number that it was made from.
std::vector<double> numbers_to_try(param_descriptor const& d, double now, bool whole) {
  std::vector<double> all;
  bool const low = std::isfinite(d.minimum), high = std::isfinite(d.maximum);
  double const bottom = low ? d.minimum : -1000, top = high ? d.maximum : std::max(1000.0, 16 * std::abs(now));
  for (double v : {bottom, bottom + 1, now / 2, now - 1, now + 1, now * 2, now * 3, 0.0, 0.25, top}) {
    if (whole) v = std::trunc(v);
    if (v < d.minimum || v > d.maximum || v == now || !std::isfinite(v)) continue;
    if (std::find(all.begin(), all.end(), v) == all.end()) all.push_back(v);
  }
  return all;
}

}  // namespace

std::vector<trial> trials_of(param_descriptor const& d, param_value const& now) {
  std::vector<trial> all;
  std::vector<std::string> choices;
  for (std::string_view rest = d.choices; !rest.empty();) {
    std::size_t const bar = rest.find('|');
    choices.emplace_back(rest.substr(0, bar));
    rest.remove_prefix(bar == rest.npos ? rest.size() : bar + 1);
  }
  auto const far = [&](double v, double from) { return std::abs(v) > 64 * std::max(1.0, std::abs(from)); };
  switch (d.type) {
    case param_type::boolean:
      all.push_back({now.flag() ? "false" : "true", param_value(!now.flag())});
      break;
    case param_type::integer:
      for (double const v : numbers_to_try(d, now.real(), true))
        all.push_back({number_text(v), param_value(static_cast<std::int64_t>(v)), far(v, now.real())});
      break;
    case param_type::real:
      for (double const v : numbers_to_try(d, now.real(), false))
        all.push_back({number_text(v), param_value(v), far(v, now.real())});
      break;
    case param_type::text:
      if (choices.empty()) choices = {"", "other", "value", "0"};
      for (auto const& c : choices)
        if (c != now.text()) all.push_back({"'" + c + "'", param_value(c)});
      break;
    case param_type::path:
      for (std::string const v : {"", "/does/not/exist", "/dev/null", "/"})
        if (v != now.text()) all.push_back({"'" + v + "'", param_value(v)});
      break;
    case param_type::text_list:
      all.push_back({"[]", param_value(std::vector<std::string>{})});
      if (choices.empty()) choices = {"*", "other"};
      for (auto const& c : choices) all.push_back({"['" + c + "']", param_value(std::vector<std::string>{c})});
      break;
    case param_type::integer_list:
    case param_type::real_list: {
      bool const whole = d.type == param_type::integer_list;
      auto const add = [&](std::vector<double> const& numbers) {
        std::string text;
        for (double const v : numbers) text += (text.empty() ? "" : ", ") + number_text(v);
        if (whole)
          all.push_back({"[" + text + "]", param_value(std::vector<std::int64_t>(numbers.begin(), numbers.end()))});
        else
          all.push_back({"[" + text + "]", param_value(numbers)});
      };
      add({});
      auto const few = numbers_to_try(d, std::clamp(1.0, d.minimum, d.maximum), whole);
      for (double const v : few)
        if (!far(v, 1)) add({v});
      if (few.size() > 1) add({few[0], few[1]});
      break;
    }
  }
  std::erase_if(all, [&](trial const& t) { return t.value == now; });
  return all;
}

std::vector<std::string> beyond_range(param_descriptor const& d) {
  bool const number = d.type == param_type::integer || d.type == param_type::real;
  std::vector<std::string> all;
  if (number && std::isfinite(d.minimum)) all.push_back(number_text(d.minimum - 1));
  if (number && std::isfinite(d.maximum)) all.push_back(number_text(d.maximum + 1));
  if (number) all.push_back("ten");
  if (d.type == param_type::integer) all.push_back("9223372036854775808"), all.push_back("0.5");
  if (d.type == param_type::boolean) all.push_back("maybe");
  if (d.type == param_type::text && *d.choices) all.push_back("none of the choices");
  return all;
}

}  // namespace wayfarer::host::conformance
