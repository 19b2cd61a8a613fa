#include "cli/options.hpp"

#include <algorithm>
#include <iostream>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>

#include "cli/terminal.hpp"
#include "text/printable.hpp"

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

std::vector<std::string> verb_options::places(std::string const& name, std::string const& what) const {
  auto const given = all(name);
  if (std::find(given.begin(), given.end(), "") != given.end())
    throw usage_error((named_.find_nothrow(name, false) ? "--" + name : name) + " '': the name is empty; name " + what);
  return given;
}

std::string verb_options::place(std::string const& name, std::string const& what) const {
  places(name, what);
  return required(name);
}

}  // namespace wayfarer::host
