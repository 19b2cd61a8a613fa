// Shared by all verbs: declaring options, --help, and the errors of a wrong command line.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <boost/program_options.hpp>

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
  /// The name of a file or folder that an option gives. usage_error, saying `what` to name, if it is empty.
  std::string place(std::string const& name, std::string const& what) const;
  std::vector<std::string> places(std::string const& name, std::string const& what) const;

 private:
  std::string usage_, about_;
  std::vector<std::string> examples_;
  boost::program_options::options_description named_, hidden_;
  boost::program_options::positional_options_description positional_;
  boost::program_options::variables_map values_;
};

}  // namespace wayfarer::host
