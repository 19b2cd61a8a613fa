#include "engine/small_files.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <random>
#include <system_error>

#include <wayfarer/error.hpp>

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

constexpr json_limits small_limits{longest_small_file, 4, 200};

/// Boot and space of process numbers.
std::string machine() {
  std::string text = small_text("/proc/sys/kernel/random/boot_id");
  text.resize(std::min(text.size(), text.find('\n')));
  std::error_code none;
  return text + " " + fs::read_symlink("/proc/self/ns/pid", none).string();
}

std::string stat_of(std::string const& pid) {
  return small_text("/proc/" + pid + "/stat");
}

/// When a process began, from its `stat`; "" for one that has ended and waits for its parent to notice.
std::string start_in(std::string const& text) {
  // The name, in brackets, may hold anything; the state comes after it, and the start is the 20th word.
  std::size_t at = text.rfind(')');
  if (at == text.npos || at + 2 >= text.size() || text[at + 2] == 'Z' || text[at + 2] == 'X') return "";
  for (int i = 0; i < 20 && at != text.npos; ++i) at = text.find(' ', at + 1);
  return at == text.npos ? "" : text.substr(at + 1, text.find(' ', at + 1) - at - 1);
}

}  // namespace

std::string small_text(fs::path const& file) {
  return small_text_at(AT_FDCWD, file.string());
}

std::string small_text_at(int folder, std::string const& name) {
  int const d = ::openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (d < 0) return "";
  std::string text(longest_small_file, '\0');
  ssize_t n = 0;
  do n = ::read(d, text.data(), text.size());
  while (n < 0 && errno == EINTR);
  ::close(d);
  text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return text;
}

std::optional<json_value> small_json(fs::path const& file) {
  return small_json_of(small_text(file), file.string());
}

std::optional<json_value> small_json_of(std::string const& text, std::string const& name) {
  if (text.empty()) return std::nullopt;
  try {
    return parse_json(text, name, small_limits);
  } catch (data_error const&) {
    return std::nullopt;
  }
}

std::string text_in(json_value const& v, std::string_view key) {
  auto const at = v.kind() == json_kind::object ? v.find(key) : std::nullopt;
  return at && at->kind() == json_kind::string ? at->as_string() : "";
}

std::size_t count_in(json_value const& v, std::string_view key) {
  auto const at = v.kind() == json_kind::object ? v.find(key) : std::nullopt;
  double const n = at && (at->kind() == json_kind::integer || at->kind() == json_kind::number) ? at->as_number() : 0;
  return n >= 0 && n < 1e15 ? static_cast<std::size_t>(n) : 0;
}

std::string new_process_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::string name;
  for (char const c : std::string_view(host.data()).substr(0, 40))
    name += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_';
  std::random_device random;
  char digits[9];
  std::snprintf(digits, sizeof digits, "%08x", random());
  return name + "-" + std::to_string(::getpid()) + "-" + digits;
}

bool is_process_name(std::string_view name) noexcept {
  return !name.empty() && name.front() != '.' && name.find('/') == name.npos;
}

void add_process(json_value& facts) {
  std::string const pid = std::to_string(::getpid());
  facts.set("pid", json_value(pid)).set("start", json_value(start_in(stat_of(pid)))).set("machine", json_value(machine()));
}

bool is_of_this_machine(json_value const& facts) {
  std::string const here = machine();
  // Where /proc can't be read all machines would be one.
  return !here.starts_with(' ') && text_in(facts, "machine") == here;
}

bool surely_dead(json_value const& facts) {
  if (!is_of_this_machine(facts)) return false;
  std::string const pid = text_in(facts, "pid");
  pid_t number = 0;
  auto const [end, code] = std::from_chars(pid.data(), pid.data() + pid.size(), number);
  if (code != std::errc() || end != pid.data() + pid.size() || number <= 0) return true;
  if (std::string const text = stat_of(pid); !text.empty()) return start_in(text) != text_in(facts, "start");
  // A machine of many users may show nobody another's processes (proc's hidepid): not to be seen is not to be dead.
  return ::kill(number, 0) != 0 && errno == ESRCH;
}

bool is_hex(std::string_view text) noexcept {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == text.npos;
}

std::vector<std::string> names_in(fs::path const& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator at(folder, code), end; !code && at != end; at.increment(code))
    names.push_back(at->path().filename().string());
  return names;
}

}  // namespace wayfarer::host
