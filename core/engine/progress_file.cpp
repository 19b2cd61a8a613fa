#include "engine/progress_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "text/printable.hpp"

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

constexpr json_limits line_limits{std::size_t{1} << 20, 8, 20'000};
constexpr std::size_t most_bytes = std::size_t{64} << 20;
constexpr std::size_t most_active = 64, longest_text = 300;

fs::path folder_of(fs::path const& result) {
  return result.has_parent_path() ? result.parent_path() : fs::path(".");
}

/// As make_temporary_file knows it.
std::string own_name(fs::path const& result) {
  return (result.filename().string() + ".progress").substr(0, 200);
}

std::string short_text(std::string const& text) {
  return printable(text.size() > longest_text ? std::string_view(text).substr(0, longest_text) : std::string_view(text));
}

json_value to_value(progress_state const& s) {
  auto active = json_value::array();
  for (std::size_t i = 0; i < std::min(s.active.size(), most_active); ++i) {
    auto const& p = s.active[i];
    active.push_back(json_value::object({{"name", json_value(short_text(p.name))},
                                         {"note", json_value(short_text(p.note))},
                                         {"done", json_value(p.done)},
                                         {"total", json_value(p.total)}}));
  }
  return json_value::object({{"seconds", json_value(s.seconds)},
                             {"share", json_value(s.share)},
                             {"finished", json_value(s.finished)},
                             {"parts", json_value(s.parts)},
                             {"active", active}});
}

progress_state from_value(json_value const& v) {
  progress_state out;
  out.seconds = v.at("seconds").as_number(0), out.share = v.at("share").as_number(0, 1);
  out.finished = v.at("finished").as_unsigned(), out.parts = v.at("parts").as_unsigned();
  for (json_value const p : v.at("active").elements())
    out.active.push_back(
        {p.at("name").as_string(), p.at("note").as_string(), p.at("done").as_unsigned(), p.at("total").as_unsigned()});
  return out;
}

bool is_locked(fs::path const& file) {
  int const d = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (d < 0) return false;
  bool const free = ::flock(d, LOCK_SH | LOCK_NB) == 0;
  ::close(d);  // gives the lock back
  return !free;
}

}  // namespace

progress_file::progress_file(fs::path const& result) {
  try {
    remove_litter(folder_of(result).string(), [own = own_name(result)](std::string_view name) { return name == own; });
    file_ = make_temporary_file((folder_of(result) / own_name(result)).string());
  } catch (error const&) {
    // The result will meet the same trouble, and tell of it.
  }
}

progress_file::~progress_file() {
  if (file_.descriptor < 0) return;
  ::unlink(file_.name.c_str());
  ::close(file_.descriptor);
}

void progress_file::add(progress_state const& s) noexcept {
  if (file_.descriptor < 0) return;
  try {
    std::string const line = to_json(to_value(s)) + "\n";
    // One write: a reader sees whole lines, but for a full disk.
    if (::write(file_.descriptor, line.data(), line.size()) < 0) return;
  } catch (std::exception const&) {
    // A progress line that can't be written must not end the run.
  }
}

std::optional<seen_run> look_at_run(fs::path const& result) {
  fs::path found;
  bool running = false;
  fs::file_time_type latest{};
  std::error_code code;
  for (fs::directory_iterator at(folder_of(result), code), end; !code && at != end; at.increment(code)) {
    if (!at->path().filename().string().starts_with("." + own_name(result) + ".tmp.")) continue;
    if (std::error_code none; !fs::is_regular_file(at->symlink_status(none))) continue;
    bool const locked = is_locked(at->path());
    std::error_code gone;
    auto const changed = fs::last_write_time(at->path(), gone);
    if (gone || (!found.empty() && (running > locked || (running == locked && changed < latest)))) continue;
    found = at->path(), running = locked, latest = changed;
  }
  if (found.empty()) return std::nullopt;
  std::string text;
  try {
    text = read_text(found.string(), most_bytes);
  } catch (data_error const&) {
    if (std::error_code none; !fs::exists(found, none)) return std::nullopt;  // the run has just ended
    throw;
  }
  seen_run out;
  out.running = running;
  for (std::size_t from = 0, to; (to = text.find('\n', from)) != text.npos; from = to + 1)
    out.states.push_back(from_value(parse_json(std::string_view(text).substr(from, to - from), found.string(), line_limits)));
  return out;
}

}  // namespace wayfarer::host
