#include "pipeline/values.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>

#include "registry/registry.hpp"

namespace wayfarer::host {
namespace {

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

// Text without a leading '+' and without '_' between digits; nothing if a '_' stands anywhere else.
std::optional<std::string> plain_number(std::string_view text) {
  auto const body = text.starts_with('-') || text.starts_with('+') ? text.substr(1) : text;
  // from_chars would take "inf" and "nan" too, and would not take '+'.
  if (text.starts_with('+')) text = body;
  if (body.empty() || !(is_digit(body[0]) || (body[0] == '.' && body.size() > 1 && is_digit(body[1])))) return {};
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() || !is_digit(text[i - 1]) || !is_digit(text[i + 1])) {
      return {};
    }
  }
  return out;
}

template <class Number>
std::optional<Number> whole(std::string const& text) {
  Number n{};
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  return n;
}

std::string number_text(double v) {
  char buffer[32];
  // Bounds are written in schemas as people write them: no exponent where digits do.
  auto const format = v == std::trunc(v) && std::abs(v) < 1e15 ? std::chars_format::fixed : std::chars_format::general;
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, v, format).ptr};
}

std::string bounds(param_descriptor const& p) {
  bool const low = std::isfinite(p.minimum), high = std::isfinite(p.maximum);
  if (low && high) return " from " + number_text(p.minimum) + " to " + number_text(p.maximum);
  if (low) return " of at least " + number_text(p.minimum);
  if (high) return " of at most " + number_text(p.maximum);
  return "";
}

std::vector<std::string> split(std::string_view text, std::string_view separators) {
  std::vector<std::string> parts;
  std::string part;
  for (char c : text) {
    if (separators.find(c) == std::string_view::npos) {
      part += c;
    } else {
      parts.push_back(std::move(part));
      part.clear();
    }
  }
  if (!text.empty()) parts.push_back(std::move(part));
  return parts;
}

std::vector<std::string> choices_of(param_descriptor const& p) {
  return split(p.choices, "|");
}

bool is_list(param_type t) noexcept {
  return t == param_type::text_list || t == param_type::integer_list || t == param_type::real_list;
}

param_type element_of(param_type t) noexcept {
  switch (t) {
    case param_type::text_list:
      return param_type::text;
    case param_type::integer_list:
      return param_type::integer;
    case param_type::real_list:
      return param_type::real;
    default:
      return t;
  }
}

std::string expected_one(param_descriptor const& p, param_type type) {
  switch (type) {
    case param_type::boolean:
      return "true or false";
    case param_type::integer:
      return "an integer" + bounds(p);
    case param_type::real:
      return "a number" + bounds(p);
    case param_type::path:
      return "a path";
    default:
      break;
  }
  auto const choices = choices_of(p);
  return choices.empty() ? "a text" : "one of " + enumerate_words(choices, " or ");
}

// Appends one scalar. If it does not fit, nothing is appended and `hint` may get more to say.
bool add_scalar(param_descriptor const& p, param_type type, yaml_value const& v, std::vector<param_value>& to,
                std::string& hint) {
  if (v.kind != yaml_kind::scalar) return false;
  bool const number_or_flag = type == param_type::boolean || type == param_type::integer || type == param_type::real;
  if (number_or_flag && v.quoted) {
    hint = "; leave the quotes out";
    return false;
  }
  auto const in_range = [&](double x) { return x >= p.minimum && x <= p.maximum; };
  if (type == param_type::boolean) {
    auto const b = boolean_of(v.text);
    if (b) to.emplace_back(*b);
    return b.has_value();
  }
  if (type == param_type::integer) {
    auto const i = integer_of(v.text);
    bool const good = i && in_range(static_cast<double>(*i));
    if (good) to.emplace_back(*i);
    return good;
  }
  if (type == param_type::real) {
    auto const r = real_of(v.text);
    bool const good = r && in_range(*r);
    if (good) to.emplace_back(*r);
    return good;
  }
  if (auto const choices = choices_of(p);
      !choices.empty() && std::find(choices.begin(), choices.end(), v.text) == choices.end()) {
    hint = did_you_mean(v.text, choices);
    return false;
  }
  to.emplace_back(v.text);
  return true;
}

template <class T>
param_value pack(std::vector<param_value> const& all) {
  std::vector<T> values;
  values.reserve(all.size());
  for (auto const& v : all) values.push_back(std::get<T>(v.get()));
  return param_value(std::move(values));
}

param_value pack(param_type type, std::vector<param_value> const& all) {
  if (type == param_type::integer_list) return pack<std::int64_t>(all);
  if (type == param_type::real_list) return pack<double>(all);
  return pack<std::string>(all);
}

[[noreturn]] void bad_default(param_descriptor const& p) {
  throw plugin_error("the default of its parameter '" + std::string(p.name) + "' is not " + expected(p) +
                     "; ask the plugin's author to correct the schema");
}

}  // namespace

std::optional<std::int64_t> integer_of(std::string_view text) {
  auto const plain = plain_number(text);
  if (!plain) return {};
  if (auto const i = whole<std::int64_t>(*plain)) return i;
  // "1e4": exact as a double up to 2^53.
  auto const r = whole<double>(*plain);
  if (!r || *r != std::trunc(*r) || std::abs(*r) > 9007199254740992.0) return {};
  return static_cast<std::int64_t>(*r);
}

std::optional<double> real_of(std::string_view text) {
  auto const plain = plain_number(text);
  if (!plain) return {};
  auto const r = whole<double>(*plain);
  return r && std::isfinite(*r) ? r : std::nullopt;
}

std::optional<bool> boolean_of(std::string_view text) {
  std::string lower;
  for (char c : text) lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (lower == "true" || lower == "yes" || lower == "on") return true;
  if (lower == "false" || lower == "no" || lower == "off") return false;
  return {};
}

std::string found(yaml_value const& v) {
  switch (v.kind) {
    case yaml_kind::null:
      return "nothing";
    case yaml_kind::list:
      return "a list";
    case yaml_kind::map:
      return "a map";
    case yaml_kind::scalar:
      break;
  }
  return single_quoted(v.text);
}

std::string expected(param_descriptor const& p) {
  if (!is_list(p.type)) return expected_one(p, p.type);
  return "a list, each " + expected_one(p, element_of(p.type));
}

std::optional<param_value> convert(param_descriptor const& p, yaml_value const& v, std::vector<value_problem>& problems) {
  auto const say = [&](yaml_value const& at, std::string const& wanted, std::string const& hint) {
    problems.push_back({at.from, single_quoted(p.name) + " must be " + wanted + ", got " + found(at) + hint});
  };
  std::vector<param_value> all;
  if (!is_list(p.type)) {
    std::string hint;
    if (!add_scalar(p, p.type, v, all, hint)) {
      say(v, expected(p), hint);
      return {};
    }
    return std::move(all.front());
  }
  bool good = true;
  // [[1, 2], [3]] of whole numbers, where a list of texts such as ["1 2", "3"] is wanted.
  auto const as_text = [&](yaml_value const& list) -> std::optional<std::string> {
    std::string text;
    for (auto const& one : list.items) {
      if (one.kind != yaml_kind::scalar || one.quoted || !integer_of(one.text)) return {};
      text += (text.empty() ? "" : " ") + std::to_string(*integer_of(one.text));
    }
    return text.empty() ? std::nullopt : std::optional(text);
  };
  auto const add = [&](yaml_value const& one) {
    std::string hint;
    if (one.kind == yaml_kind::list && p.type == param_type::text_list && choices_of(p).empty())
      if (auto text = as_text(one)) return void(all.emplace_back(std::move(*text)));
    if (add_scalar(p, element_of(p.type), one, all, hint)) return;
    good = false;
    if (one.kind == yaml_kind::list && p.type == param_type::text_list && choices_of(p).empty() && !one.items.empty()) {
      for (auto const& inner : one.items)
        if (inner.kind != yaml_kind::scalar || inner.quoted || !integer_of(inner.text))
          return void(problems.push_back({inner.from, "a list within " + single_quoted(p.name) +
                                                          " holds whole numbers, such as [1, 2], got " + found(inner)}));
    }
    say(one, expected(p), hint);
  };
  if (v.kind == yaml_kind::list) {
    for (auto const& one : v.items) add(one);
  } else {
    add(v);  // a list of one may be written without brackets
  }
  if (!good) return {};
  return pack(p.type, all);
}

param_value default_of(param_descriptor const& p) {
  switch (p.type) {
    case param_type::boolean:
      return param_value(p.default_number != 0);
    case param_type::integer:
      if (!(std::abs(p.default_number) <= 9007199254740992.0)) bad_default(p);
      return param_value(static_cast<std::int64_t>(p.default_number));
    case param_type::real:
      if (!std::isfinite(p.default_number)) bad_default(p);
      return param_value(p.default_number);
    case param_type::text:
    case param_type::path:
      return param_value(std::string(p.default_text));
    case param_type::text_list:
      return param_value(split(p.default_text, "\x1f"));
    case param_type::integer_list:
    case param_type::real_list:
      break;
  }
  std::vector<param_value> all;
  for (auto const& part : split(p.default_text, "\x1f ,")) {
    if (part.empty()) continue;
    if (p.type == param_type::integer_list) {
      auto const i = integer_of(part);
      if (!i) bad_default(p);
      all.emplace_back(*i);
    } else {
      auto const r = real_of(part);
      if (!r) bad_default(p);
      all.emplace_back(*r);
    }
  }
  return pack(p.type, all);
}

std::vector<host_key> host_key_table(plugin_kind kind, std::span<port_descriptor const> ports) {
  static constexpr host_key all[] = {
      {"items", "range", "all", "items to read: 500 for the first 500, 100:500 for items 100 to 499"},
      {"max_tokens", "integer", "the model's limit", "tokens that every item is cut to, at least 1"},
      {"block", "integer", "some 4,000 tokens", "items that one forward pass takes, at least 1"},
      {"edits", "list", "none", "changes of activations during the forward pass: [{hook: blocks.0.hook_mlp_out, set: zero}]"},
      {"precision", "text", "f32", "of the forward pass: f32, f64 or bf16"},
      {"sweep", "map", "none", "values for some parameters, each combination run: {parameter: [first, second]}"},
  };
  std::vector<host_key> mine;
  for (auto const& name : host_keys_of(kind, ports))
    for (auto const& k : all)
      if (k.name == name) mine.push_back(k);
  return mine;
}

std::string enumerate_words(std::vector<std::string> const& words, std::string_view last) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? last : std::string_view(", ");
    out += words[i];
  }
  return out;
}

}  // namespace wayfarer::host
