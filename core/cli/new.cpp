// wayfarer new: a complete project for the user's own plugin, made from the templates that are installed with the SDK.
#include <algorithm>
#include <iostream>
#include <map>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/version.hpp>

#include "cli/advised_error.hpp"
#include "cli/installed.hpp"
#include "cli/options.hpp"
#include "cli/planning.hpp"
#include "cli/verbs.hpp"
#include "registry/descriptor_check.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

std::vector<std::string> const kinds{"probe", "metric", "source", "model"};

/// Names of ours that C++ takes otherwise: the plugin's class is called as the plugin is.
std::vector<std::string> const reserved{
    "alignas",  "alignof", "and",      "asm",      "auto",     "bitand",  "bitor",     "bool",     "break",     "case",
    "catch",    "char",    "class",    "compl",    "concept",  "const",   "continue",  "decltype", "default",   "delete",
    "do",       "double",  "else",     "enum",     "explicit", "export",  "extern",    "false",    "float",     "for",
    "friend",   "goto",    "if",       "inline",   "int",      "long",    "main",      "mutable",  "namespace", "new",
    "noexcept", "not",     "nullptr",  "operator", "or",       "private", "protected", "public",   "register",  "requires",
    "return",   "short",   "signed",   "sizeof",   "static",   "std",     "struct",    "switch",   "template",  "testing",
    "this",     "throw",   "true",     "try",      "typedef",  "typeid",  "typename",  "union",    "unsigned",  "using",
    "virtual",  "void",    "volatile", "wayfarer", "wf",       "while",   "xor"};

/// " -DCMAKE_PREFIX_PATH=..." unless CMake looks there anyway.
std::string prefix_option() {
  fs::path const p = installed_prefix();
  return p == "/usr" || p == "/usr/local" ? "" : " -DCMAKE_PREFIX_PATH=" + shell_word(p.string());
}

std::string replaced(std::string text, std::map<std::string, std::string> const& words) {
  for (auto const& [from, to] : words)
    for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) text.replace(at, from.size(), to);
  return text;
}

void check_name(std::string const& kind, std::string const& name) {
  if (!is_plugin_id(name))
    throw usage_error("'" + printable(name) +
                      "' is not a plugin id; use lower-case letters, digits and '_', beginning with a letter, at most 64");
  if (std::find(reserved.begin(), reserved.end(), name) != reserved.end())
    throw usage_error("'" + name +
                      "' has a meaning in C++, and the plugin's class has the plugin's name; choose another name, such as '" +
                      name + "_" + kind + "'");
}

}  // namespace

int new_verb(words const& arguments) {
  verb_options o("new probe|metric|source|model NAME [OPTIONS]",
                 "Creates a project for your own plugin: commented C++ that compiles and runs, a unit test, a\n"
                 "pipeline that uses it, and a README. It needs nothing but the installed SDK.",
                 {"wayfarer new probe drift", "wayfarer new source news --dir ~/plugins/news"});
  o.positional("KIND");
  o.positional("NAME");
  o.named().add_options()("dir", boost::program_options::value<std::string>()->value_name("D"),
                          "the folder to write, default: NAME; it must be new or empty");
  if (!o.parse(arguments)) return 0;
  std::string const kind = o.required("KIND"), name = o.required("NAME");
  if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
    throw advised_error("'" + printable(kind) + "' is not a kind of plugin" + did_you_mean(kind, kinds),
                        {"the kinds are probe, metric, source and model: wayfarer new probe NAME"});
  check_name(kind, name);
  auto const known = registry().ids();
  if (std::find(known.begin(), known.end(), name) != known.end())
    throw usage_error("a plugin '" + name + "' exists already, and yours would hide it; choose another name");

  fs::path const from = installed_prefix() / "share/wayfarer/template" / kind;
  if (std::error_code code; !fs::is_directory(from, code))
    throw resource_error("the templates are not installed: " + from.string() +
                         " is missing; install the package wayfarer-dev, or Wayfarer itself with 'cmake --install'");
  fs::path const to = o.has("dir") ? o.place("dir", "the folder to write") : name;
  std::error_code code;
  if (fs::exists(fs::symlink_status(to, code)) && !(fs::is_directory(to, code) && fs::is_empty(to, code)))
    throw usage_error("'" + printable(to.string()) + "' exists already; name another folder with --dir");
  fs::create_directories(to, code);
  if (code) throw resource_error("can't make the folder " + printable(to.string()) + ": " + code.message());

  std::map<std::string, std::string> const replacements{{"my_" + kind, name},
                                                        {"@prefix_option@", prefix_option()},
                                                        {"@program@", shell_word(program_name())},
                                                        {"@major@", std::to_string(WAYFARER_SDK_MAJOR)},
                                                        {"@minor@", std::to_string(WAYFARER_SDK_MINOR)}};
  std::vector<std::string> written;
  for (auto const& entry : fs::directory_iterator(from)) {
    std::string const file = replaced(entry.path().filename().string(), replacements);
    write_file_atomically((to / file).string(), replaced(read_text(entry.path().string(), std::size_t{1} << 20), replacements));
    written.push_back(file);
  }
  std::sort(written.begin(), written.end());

  std::string const dir = shell_word(to.string()), run = shell_word(program_name());
  std::cout << printable(to.string()) << ": a working " << kind << " to start from\n";
  for (auto const& file : written) std::cout << "  " << file << "\n";
  std::cout << "\nBuild it, test it, run it:\n\n"
            << "  cmake -S " << dir << " -B " << dir << "/build" << prefix_option() << "\n"
            << "  cmake --build " << dir << "/build\n"
            << "  ctest --test-dir " << dir << "/build --output-on-failure\n"
            << "  " << run << " run " << dir << "/" << name << ".yaml --plugin-path " << dir << "/build/plugins\n";
  return 0;
}

}  // namespace wayfarer::host
