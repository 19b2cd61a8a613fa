#include "cli/options.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iostream>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer::host {

namespace po = boost::program_options;

namespace {

std::string first_word(std::string const& usage) {
  return usage.substr(0, usage.find(' '));
}

std::string to_verb_help(std::string const& usage) {
  return "; see 'wayfarer " + first_word(usage) + " --help'";
}

bool is_unsigned(boost::any const& value) {
  return value.type() == typeid(unsigned) || value.type() == typeid(unsigned long) || value.type() == typeid(unsigned long long);
}

bool looks_numeric(std::string_view cell) {
  if (cell.empty() || cell == "nan" || cell == "inf" || cell == "-inf" || cell == "-") return true;
  std::size_t const start = cell.front() == '-' || cell.front() == '+';
  if (start == cell.size() || (cell[start] != '.' && (cell[start] < '0' || cell[start] > '9'))) return false;
  return cell.find_first_not_of("0123456789.,eE+-", start) == cell.npos;
}

}  // namespace

verb_options::verb_options(std::string usage, std::string about, std::vector<std::string> examples)
    : usage_(std::move(usage)), about_(std::move(about)), examples_(std::move(examples)), named_("Options", 100) {
  named_.add_options()("help,h", "show this help");
}

bool verb_options::parse(words const& given) {
  if (given.size() == 1 && given[0] == "--list-options") {  // for the shell's completion
    for (auto const& option : named_.options()) std::cout << "--" << option->long_name() << '\n';
    return false;
  }
  po::options_description all;
  all.add(named_).add(hidden_);
  // No guessing: a prefix that means one option today may mean another tomorrow.
  auto const style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  try {
    auto const parsed = po::command_line_parser(given).options(all).positional(positional_).style(style).run();
    po::store(parsed, values_);
    if (has("help")) {
      std::cout << "Usage: wayfarer " << usage_ << "\n\n" << about_ << "\n\n" << named_;
      if (!examples_.empty()) std::cout << (colours() ? "\n\033[1mExamples\033[0m:\n" : "\nExamples:\n");
      for (std::string const& e : examples_) std::cout << "  " << e << '\n';
      return false;
    }
    // The conversion to unsigned types takes "-1" for the largest number.
    for (auto const& option : parsed.options)
      for (std::string const& text : option.value)
        if (text.starts_with('-') && values_.count(option.string_key) && is_unsigned(values_[option.string_key].value()))
          throw usage_error("--" + option.string_key + " takes a number of at least 0, not '" + printable(text) + "'" +
                            to_verb_help(usage_));
    po::notify(values_);
  } catch (po::unknown_option const& e) {
    std::vector<std::string> known;
    for (auto const& option : named_.options()) known.push_back("--" + option->long_name());
    std::string const name = e.get_option_name();
    throw usage_error("no option '" + printable(name) + "'" + did_you_mean(name, known) + to_verb_help(usage_));
  } catch (po::too_many_positional_options_error const&) {
    std::string most;
    for (auto const& option : hidden_.options()) most += (most.empty() ? "" : ", ") + option->long_name();
    throw usage_error("too many arguments: " + (most.empty() ? std::string("none are") : "only " + most) + " expected" +
                      to_verb_help(usage_));
  } catch (po::error const& e) {
    throw usage_error(printable(e.what()) + to_verb_help(usage_));
  }
  return true;
}

std::vector<std::string> verb_options::all(std::string const& name) const {
  if (!has(name)) return {};
  auto const& value = values_[name].value();
  if (auto const* many = boost::any_cast<std::vector<std::string>>(&value)) return *many;
  return {boost::any_cast<std::string const&>(value)};
}

std::string verb_options::required(std::string const& name) const {
  auto const given = all(name);
  if (!given.empty()) return given.front();
  bool const option = named_.find_nothrow(name, false) != nullptr;
  throw usage_error((option ? "--" + name : name) + " is missing: wayfarer " + usage_ + to_verb_help(usage_));
}

std::uint64_t parse_size(std::string_view text) {
  auto const refuse = [&](std::string_view why) -> usage_error {
    return usage_error("'" + printable(text) + "' is no size: " + std::string(why) +
                       "; write bytes, or K, M, G, T after the number, as in 512M");
  };
  std::uint64_t number = 0;
  auto const [rest, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (bad == std::errc::result_out_of_range) throw refuse("too large");
  if (bad != std::errc{}) throw refuse("no whole number at its start");
  std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  unsigned shift = 0;
  if (!unit.empty()) {
    constexpr std::string_view letters = "KMGT";
    auto const at = letters.find(static_cast<char>(unit.front() & ~0x20));
    bool const plain_bytes = unit == "B" || unit == "b";
    std::string_view const after = unit.substr(1);
    if (!plain_bytes) {
      if (at == letters.npos || !(after.empty() || after == "B" || after == "b" || after == "iB")) throw refuse("unknown unit");
      shift = 10 * (static_cast<unsigned>(at) + 1);
    }
  }
  if (shift > 0 && number > (~std::uint64_t{0} >> shift)) throw refuse("too large");
  return number << shift;
}

std::string format_size(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
  constexpr std::array units = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  // Rounded to what is printed, so that 1048575 bytes are 1 MiB and not 1024 KiB.
  while (std::round(value) >= 1024 && unit + 1 < units.size()) value /= 1024, ++unit;
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), value < 9.95 ? "%.1f" : "%.0f", value);
  std::string number = text.data();
  if (number.ends_with(".0")) number.resize(number.size() - 2);
  return number + " " + units[unit];
}

std::string format_count(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string format_number(double x) {
  // printf writes -nan for some.
  if (std::isnan(x)) return "nan";
  std::array<char, 32> text;
  bool const whole = x == std::trunc(x) && std::abs(x) < 1e15;
  std::snprintf(text.data(), text.size(), whole ? "%.0f" : "%.6g", x == 0 ? 0.0 : x);
  return text.data();
}

bool colours() {
  // no-color.org: any value but the empty one switches colours off.
  char const* const no = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (no == nullptr || *no == '\0');
}

std::size_t hidden_bytes(std::string_view text) noexcept {
  auto const u = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  if (u(0) < 0x20 || u(0) == 0x7f) return 1;
  if (u(0) == 0xc2 && u(1) < 0xa0) return 2;
  if (u(0) == 0xd8 && u(1) == 0x9c) return 2;                                    // U+061C
  if (u(0) == 0xe2 && u(1) == 0x80 && (u(2) == 0x8e || u(2) == 0x8f)) return 3;  // U+200E, U+200F
  if (u(0) == 0xe2 && u(1) == 0x80 && u(2) >= 0xa8 && u(2) <= 0xae) return 3;    // U+2028 to U+202E
  if (u(0) == 0xe2 && u(1) == 0x81 && u(2) >= 0xa6 && u(2) <= 0xa9) return 3;    // U+2066 to U+2069
  if (u(0) == 0xef && u(1) == 0xbb && u(2) == 0xbf) return 3;                    // U+FEFF
  if (u(0) == 0xf3 && u(1) == 0xa0 && (u(2) == 0x80 || u(2) == 0x81)) return 4;  // U+E0000 to U+E007F
  return 0;
}

namespace {

std::string made_printable(std::string_view text, std::string_view kept) {
  bool const utf8 = is_utf8(text);
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    bool const foreign = !utf8 && static_cast<unsigned char>(text[i]) >= 0x80;
    std::size_t n = kept.find(text[i]) != kept.npos ? 0 : foreign ? 1 : hidden_bytes(text.substr(i));
    if (n == 0) out += text[i++];
    for (; n > 0; --n, ++i) {
      constexpr char digits[] = "0123456789abcdef";
      auto const u = static_cast<unsigned char>(text[i]);
      out.append("\\x").append(1, digits[u >> 4]).append(1, digits[u & 15]);
    }
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text) {
  return made_printable(text, "");
}

std::string printable_lines(std::string_view text) {
  return made_printable(text, "\n\t");
}

std::string printable_json(json_value const& value, int indent) {
  std::string out;
  std::string const text = to_json(value, indent);
  for (std::size_t i = 0; i < text.size();) {
    std::size_t const n = text[i] == '\n' ? 0 : hidden_bytes(std::string_view(text).substr(i));
    if (n == 0) {
      out += text[i++];
      continue;
    }
    // UTF-16, as JSON wants it.
    auto const u = [&](std::size_t k) { return static_cast<unsigned char>(text[i + k]); };
    unsigned const code = n == 1   ? u(0)
                          : n == 2 ? (u(0) & 31u) << 6 | (u(1) & 63u)
                          : n == 3 ? (u(0) & 15u) << 12 | (u(1) & 63u) << 6 | (u(2) & 63u)
                                   : (u(0) & 7u) << 18 | (u(1) & 63u) << 12 | (u(2) & 63u) << 6 | (u(3) & 63u);
    std::array<char, 16> escape;
    if (code < 0x10000)
      std::snprintf(escape.data(), escape.size(), "\\u%04x", code);
    else
      std::snprintf(escape.data(), escape.size(), "\\u%04x\\u%04x", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff));
    out += escape.data();
    i += n;
  }
  return out;
}

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string format_table(std::vector<std::string> const& header, std::vector<std::vector<std::string>> const& rows) {
  std::size_t columns = header.size();
  for (auto const& row : rows) columns = std::max(columns, row.size());
  std::vector<std::size_t> widths(columns, 0);
  std::vector<bool> numeric(columns, true);
  std::vector<std::vector<std::string>> lines;
  bool const titled = std::any_of(header.begin(), header.end(), [](std::string const& h) { return !h.empty(); });
  if (titled) lines.push_back(header);
  lines.insert(lines.end(), rows.begin(), rows.end());
  for (std::size_t r = 0; r < lines.size(); ++r) {
    lines[r].resize(columns);
    for (std::size_t c = 0; c < columns; ++c) {
      lines[r][c] = printable(lines[r][c]);
      widths[c] = std::max(widths[c], columns_of(lines[r][c]));
      if (r >= (titled ? 1 : 0) && !looks_numeric(lines[r][c])) numeric[c] = false;
    }
  }
  std::string out;
  for (auto const& line : lines) {
    std::string text;
    for (std::size_t c = 0; c < columns; ++c) {
      std::string const pad(widths[c] - columns_of(line[c]), ' ');
      text += (c ? "  " : "") + (numeric[c] ? pad + line[c] : line[c] + pad);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + '\n';
  }
  return out;
}

}  // namespace wayfarer::host
