// What all verbs share: declaring options, --help, and complaining about a wrong command line in one voice.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <boost/program_options.hpp>

#include <wayfarer/json.hpp>

#include "cli/verbs.hpp"

namespace wayfarer::host {

/// Options of one verb. `usage` is the line after "Usage: wayfarer "; `examples` are whole command lines.
class verb_options {
 public:
  verb_options(std::string usage, std::string about, std::vector<std::string> examples);

  /// For `named().add_options()(...)`; --help is there already.
  boost::program_options::options_description& named() noexcept { return named_; }
  /// A positional argument, in order; `most` -1 takes all that follow.
  void positional(char const* name, int most = 1) {
    positional_.add(name, most);
    hidden_.add_options()(name, boost::program_options::value<std::vector<std::string>>());
  }
  /// Parses; prints help and returns false if that was asked for. Throws usage_error with a near name for an unknown option.
  bool parse(words const&);

  bool has(std::string const& name) const { return values_.count(name) > 0; }
  template <class T>
  T get(std::string const& name) const {
    return values_[name].as<T>();
  }
  /// A positional argument that must be there: usage_error says which one is missing.
  std::string required(std::string const& name) const;
  std::vector<std::string> all(std::string const& name) const;

 private:
  std::string usage_, about_;
  std::vector<std::string> examples_;
  boost::program_options::options_description named_, hidden_;
  boost::program_options::positional_options_description positional_;
  boost::program_options::variables_map values_;
};

/// "512M", "2G", "1073741824" in bytes. Throws usage_error.
std::uint64_t parse_size(std::string_view text);
/// 219136 -> "214 KiB".
std::string format_size(std::uint64_t bytes);
/// 1249883 -> "1,249,883".
std::string format_count(std::uint64_t n);
/// Whether standard output may carry colours: a terminal, and NO_COLOR not set.
bool colours();

/// Bytes of the character that begins `text`, which is UTF-8, if a terminal obeys it instead of showing it, else 0: control
/// characters, line separators, what turns the direction of writing, and tags, which nobody sees. For signal handlers too.
std::size_t hidden_bytes(std::string_view text) noexcept;
/// Text from a file, fit for one line of a terminal: control characters, what turns the direction of writing, and bytes that are
/// no UTF-8 become "\xNN".
std::string printable(std::string_view text);
/// The same for whole messages and texts: lines and tabs stay.
std::string printable_lines(std::string_view text);
/// JSON for a terminal: the same characters as "\uNNNN".
std::string printable_json(json_value const&, int indent = 0);
/// A number in at most six digits, for people.
std::string format_number(double);

/// Columns that a terminal gives to UTF-8 text, one for each character.
std::size_t columns_of(std::string_view text);
/// A table for people: columns aligned, numbers to the right. Cells are made printable.
std::string format_table(std::vector<std::string> const& header, std::vector<std::vector<std::string>> const& rows);

}  // namespace wayfarer::host
