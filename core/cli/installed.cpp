#include "cli/installed.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <system_error>

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/runtime_symbol_info.hpp>

namespace wayfarer::host {
namespace fs = std::filesystem;

fs::path installed_prefix() {
  std::error_code code;
  fs::path const program = boost::dll::program_location(code);
  return code ? fs::path() : program.parent_path().parent_path();
}

std::string program_name() {
  fs::path const own = installed_prefix() / "bin/wayfarer";
  char const* const path = std::getenv("PATH");
  for (std::string_view rest = path ? path : ""; !rest.empty();) {
    std::size_t const colon = std::min(rest.find(':'), rest.size());
    std::error_code code;
    fs::path const found = fs::path(rest.substr(0, colon)) / "wayfarer";
    if (::access(found.c_str(), X_OK) == 0) return fs::equivalent(found, own, code) && !code ? "wayfarer" : own.string();
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return own.string();
}

std::string shell_word(std::string const& word) {
  bool const plain = std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("/._-+,=").find(c) != std::string_view::npos;
  });
  if (plain) return word;
  std::string out = "'";
  for (char const c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace wayfarer::host
