#include "engine/work_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <random>
#include <system_error>
#include <tuple>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/json.hpp>

#include "engine/small_files.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

constexpr char marker[] = "wayfarer-work";
constexpr char marker_text[] = "Work of wayfarer run --work: see 'wayfarer status', 'wayfarer clean'.\n";
constexpr std::array folders{"claims", "workers", "failed", "stages"};

bool is_unit_folder(std::string_view name) noexcept {
  return name.size() == 2 && is_hex(name);
}

/// Nothing else is ever removed.
bool is_unit(std::string_view name) noexcept {
  return is_unit_name(name);
}

/// Whom a claim names; "" for none.
std::string owner_of(fs::path const& claim) {
  std::error_code none;
  return fs::read_symlink(claim, none).string();
}

/// KEY-0-64.block: "0 to 63".
std::string items_of(std::string const& unit) {
  std::size_t first = 0, last = 0;
  char const* const end = unit.data() + unit.size();
  auto const one = std::from_chars(unit.data() + std::min<std::size_t>(unit.size(), 41), end, first);
  if (one.ec != std::errc() || one.ptr == end || *one.ptr != '-') return "";
  auto const two = std::from_chars(one.ptr + 1, end, last);
  return two.ec == std::errc() && last > first ? std::to_string(first) + " to " + std::to_string(last - 1) : "";
}

/// The folders of units: never links.
std::vector<std::string> unit_folders(fs::path const& work) {
  auto names = names_in(work);
  std::erase_if(names, [&](std::string const& name) {
    std::error_code none;
    return !is_unit_folder(name) || !fs::is_directory(fs::symlink_status(work / name, none));
  });
  return names;
}

void make_folder(fs::path const& folder) {
  std::error_code code;
  fs::create_directories(folder, code);
  auto const there = fs::status(folder).type();
  if (there != fs::file_type::directory && there != fs::file_type::not_found)
    throw usage_error(folder.string() + ": is not a folder, and work is kept in a folder of that name; name another with --work");
  if (code) throw resource_error(folder.string() + ": can't be made for the work: " + code.message());
}

void require_work_folder(fs::path const& folder) {
  std::error_code none;
  if (!fs::is_regular_file(folder / marker, none))
    throw usage_error(folder.string() +
                      ": is not a folder of 'wayfarer run --work'; give the folder that --work or --store named");
}

}  // namespace

bool is_unit_name(std::string_view name) noexcept {
  return name.size() > 41 && is_hex(name.substr(0, 40)) && (name[40] == '-' || name[40] == '.') && name.find('/') == name.npos;
}

fs::path unit_path(fs::path const& work, std::string const& unit) {
  return work / sha256_hex(unit).substr(0, 2) / unit;
}

work_folder::work_folder(fs::path path, worker_place place, double lease_seconds)
    : path_(std::move(path)), place_(place), lease_(lease_seconds), id_(new_process_name()) {
  std::error_code none;
  bool const known = fs::exists(path_ / marker, none);
  make_folder(path_);
  if (!known) {
    // Another worker may be making it at this moment: what is ours already is no stranger's.
    for (auto const& name : names_in(path_))
      if (name.find(marker) == name.npos && std::find(folders.begin(), folders.end(), name) == folders.end() &&
          !is_unit_folder(name) && !fs::exists(path_ / marker, none))
        throw usage_error(path_.string() + ": holds other files, such as " + printable(name) +
                          "; give --work a folder of its own, which is made if it is not there");
    write_file_atomically((path_ / marker).string(), std::string_view(marker_text));
  }
  for (auto const* name : folders) make_folder(path_ / name);
  for (auto const& name : names_in(path_ / "failed")) old_failures_.insert(name);
  // An error that says why it can't be written is worth more than a lease that nobody sees.
  write_file_atomically((path_ / "workers" / id_).string(), beat_text());
  beating_ = std::thread([this] {
    auto const pause = std::min(lease_ / 5, std::chrono::duration<double>(5));
    for (std::unique_lock lock(mutex_); !stop_.wait_for(lock, pause, [&] { return stopping_; });) {
      lock.unlock();
      beat();
      lock.lock();
    }
  });
}

work_folder::~work_folder() {
  {
    std::lock_guard const lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (beating_.joinable()) beating_.join();
  // Claims before the file that makes them valid.
  for (auto const& unit : std::set<std::string>(claimed_)) give_back(unit);
  ::unlink((path_ / "workers" / id_).c_str());
}

std::string work_folder::beat_text() {
  std::lock_guard const lock(mutex_);
  auto state = json_value::object(
      {{"worker", json_value(place_.index)}, {"of", json_value(place_.count)}, {"beat", json_value(++beats_)}});
  add_process(state);
  state.set("at", json_value(printable(at_))).set("finished", json_value(finished_));
  return to_json(state) + "\n";
}

void work_folder::beat() noexcept {
  try {
    std::string const text = beat_text();
    // In place, by one call; whoever reads it opens it anew. What a full disk cuts is renewed by the next.
    int const d = ::open((path_ / "workers" / id_).c_str(), O_WRONLY | O_CLOEXEC);
    if (d < 0) return;
    bool const whole = ::pwrite(d, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
    // What stands behind the end of a shorter text makes it no JSON, which counts as being written.
    if (whole && ::ftruncate(d, static_cast<off_t>(text.size())) != 0) (void)errno;
    ::close(d);
  } catch (std::exception const&) {
    // The lease may run out, and somebody else does the same work.
  }
}

fs::path work_folder::place_for(std::string const& unit) const {
  fs::path const place = path_of(unit);
  make_folder(place.parent_path());
  return place;
}

bool work_folder::has(std::string const& unit) const {
  std::error_code none;
  return fs::exists(path_of(unit), none);
}

std::unordered_set<std::string> work_folder::units() const {
  std::unordered_set<std::string> all;
  for (auto const& folder : unit_folders(path_))
    for (auto& name : names_in(path_ / folder))
      if (is_unit(name)) all.insert(std::move(name));
  return all;
}

bool work_folder::mine(std::string const& unit) const {
  return std::stoul(sha256_hex(unit).substr(2, 12), nullptr, 16) % place_.count + 1 == place_.index;
}

/// Whether a file of another process has changed within a lease, by this process's own clock.
bool work_folder::is_fresh(std::string const& name, std::string const& text) {
  auto const now = clock::now();
  std::lock_guard const lock(mutex_);
  seen& last = others_.try_emplace(name, seen{text, now}).first->second;
  if (last.contents != text) last = {text, now};
  return now - last.since <= lease_;
}

bool work_folder::is_alive(std::string const& worker) {
  fs::path const place = path_ / "workers" / worker;
  std::string const text = small_text(place);
  std::error_code none;
  if (text.empty() && !fs::exists(place, none)) return false;
  if (!is_fresh(worker, text)) return false;
  auto const said = small_json(place);
  return !said || !surely_dead(*said);
}

std::optional<work_folder::claim> work_folder::try_claim(std::string const& unit) {
  fs::path const place = path_ / "claims" / unit;
  for (int again = 2; again > 0; --again) {
    // A link comes with its text in one step, on every file system that has links, also over a network.
    if (::symlink(id_.c_str(), place.c_str()) == 0) {
      {
        std::lock_guard const lock(mutex_);
        claimed_.insert(unit);
      }
      claim held(*this, unit);
      if (has(unit)) return std::nullopt;
      return held;
    }
    if (errno != EEXIST) throw resource_error(place.string() + ": can't be made: " + std::generic_category().message(errno));
    if (is_busy(unit) || owner_of(place) == id_) return std::nullopt;
    ::unlink(place.c_str());
  }
  return std::nullopt;
}

bool work_folder::is_busy(std::string const& unit) {
  std::string const owner = owner_of(path_ / "claims" / unit);
  return owner != id_ && is_process_name(owner) && is_alive(owner);
}

void work_folder::give_back(std::string const& unit) noexcept {
  {
    std::lock_guard const lock(mutex_);
    claimed_.erase(unit);
    ++finished_;
  }
  fs::path const place = path_ / "claims" / unit;
  // Somebody may have taken it over while this process was stopped.
  if (owner_of(place) == id_) ::unlink(place.c_str());
}

void work_folder::record_failure(std::string const& unit, std::string const& pass, std::string const& text, int exit_code) {
  auto const record = json_value::object({{"pass", json_value(printable(pass))},
                                          {"text", json_value(printable(text.substr(0, 4000)))},
                                          {"code", json_value(exit_code)},
                                          {"worker", json_value(id_)}});
  try {
    write_file_atomically((path_ / "failed" / unit).string(), std::string_view(to_json(record) + "\n"));
  } catch (error const&) {
    // The error itself is told in any case.
  }
}

std::optional<work_folder::failure> work_folder::new_failure() const {
  for (auto const& name : names_in(path_ / "failed")) {
    if (!is_unit(name) || old_failures_.count(name) != 0 || has(name)) continue;
    if (auto const v = small_json(path_ / "failed" / name))
      return failure{name, text_in(*v, "text"), static_cast<int>(count_in(*v, "code"))};
  }
  return std::nullopt;
}

void work_folder::announce(std::string const& key, std::string const& name, std::string const& what, std::size_t units) const {
  fs::path const place = path_ / "stages" / (key.substr(0, 40) + ".stage");
  std::error_code none;
  if (fs::exists(place, none)) return;
  auto const stage = json_value::object(
      {{"name", json_value(printable(name))}, {"what", json_value(printable(what))}, {"units", json_value(units)}});
  write_file_atomically(place.string(), std::string_view(to_json(stage) + "\n"));
}

std::size_t work_folder::blocks_a_unit(std::string const& key) const {
  std::error_code none;
  std::string const text = fs::read_symlink(path_ / "stages" / (key.substr(0, 40) + ".blocks"), none).string();
  std::size_t blocks = 0;
  auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), blocks);
  return code == std::errc() && end == text.data() + text.size() ? blocks : 0;
}

std::size_t work_folder::decide_blocks_a_unit(std::string const& key, std::size_t blocks) const {
  fs::path const place = path_ / "stages" / (key.substr(0, 40) + ".blocks");
  // A link comes with its text, and only once: of those who decide at the same time, one does.
  if (::symlink(std::to_string(blocks).c_str(), place.c_str()) == 0) return blocks;
  if (errno != EEXIST) throw resource_error(place.string() + ": can't be made: " + std::generic_category().message(errno));
  // A network file system may show it late.
  for (int again = 0; again < 600; ++again) {
    if (std::size_t const decided = blocks_a_unit(key)) return decided;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  throw resource_error(place.string() + ": can't be read; remove it while no worker runs");
}

void work_folder::at_work_on(std::string const& what) {
  std::lock_guard const lock(mutex_);
  at_ = what;
}

void work_folder::tidy() {
  auto const ours = [](std::string_view name) { return is_unit(name); };
  remove_litter(path_.string(), [](std::string_view name) { return name == marker; });
  for (auto const& folder : unit_folders(path_)) remove_litter((path_ / folder).string(), ours);
  remove_litter((path_ / "failed").string(), ours);
  remove_litter((path_ / "stages").string(), ours);
  remove_litter((path_ / "workers").string(), [](std::string_view) { return true; });
  for (auto const& name : names_in(path_ / "claims")) {
    std::string const owner = owner_of(path_ / "claims" / name);
    if (is_unit(name) && owner != id_ && is_process_name(owner) && !is_alive(owner)) ::unlink((path_ / "claims" / name).c_str());
  }
  for (auto const& name : names_in(path_ / "workers"))
    if (name != id_ && is_process_name(name) && !is_alive(name)) ::unlink((path_ / "workers" / name).c_str());
  for (auto const& name : names_in(path_ / "failed"))
    if (has(name)) ::unlink((path_ / "failed" / name).c_str());
}

namespace {

/// Units of one key: how many, and when the first and the last of them came.
struct units_seen {
  std::size_t count = 0;
  double first = 0, last = 0;
};

using units_by_key = std::map<std::string, units_seen>;

void see_units(fs::path const& folder, units_by_key& by_key, work_status& out) {
  for (auto const& name : names_in(folder)) {
    if (!is_unit(name)) continue;
    struct stat status {};
    if (::stat((folder / name).c_str(), &status) != 0) continue;
    units_seen& seen = by_key[name.substr(0, 40)];
    double const at = static_cast<double>(status.st_mtim.tv_sec) + static_cast<double>(status.st_mtim.tv_nsec) / 1e9;
    seen.first = seen.count == 0 ? at : std::min(seen.first, at), seen.last = std::max(seen.last, at);
    ++seen.count, ++out.units, out.bytes += static_cast<std::uint64_t>(status.st_size);
    if (name.ends_with(".result"))
      if (auto const v = small_json(folder / name)) out.results.push_back(text_in(*v, "sha256"));
  }
}

std::optional<work_status::worker> see_worker(fs::path const& file) {
  auto const v = small_json(file);
  if (!v) return std::nullopt;
  work_status::worker w{file.filename().string(), text_in(*v, "at"), count_in(*v, "worker"), count_in(*v, "of"),
                        count_in(*v, "finished")};
  std::error_code gone;
  auto const changed = fs::last_write_time(file, gone);
  w.silent = gone ? 0 : std::max(0.0, std::chrono::duration<double>(fs::file_time_type::clock::now() - changed).count());
  w.ended = surely_dead(*v);
  return w;
}

}  // namespace

work_status look_at_work(fs::path const& folder) {
  require_work_folder(folder);
  work_status out;
  units_by_key by_key;
  std::error_code none;
  for (auto const& sub : unit_folders(folder)) see_units(folder / sub, by_key, out);
  for (auto const& name : names_in(folder / "stages"))
    if (auto const v = is_unit(name) ? small_json(folder / "stages" / name) : std::nullopt) {
      units_seen const& seen = by_key[name.substr(0, 40)];
      out.stages.push_back({text_in(*v, "name"), text_in(*v, "what"), count_in(*v, "units"), seen.count, seen.last - seen.first});
    }
  std::sort(out.stages.begin(), out.stages.end(),
            [](auto const& a, auto const& b) { return std::tie(a.name, a.what) < std::tie(b.name, b.what); });
  for (auto const& name : names_in(folder / "workers"))
    if (auto w = is_process_name(name) ? see_worker(folder / "workers" / name) : std::nullopt)
      out.workers.push_back(std::move(*w));
  std::sort(out.workers.begin(), out.workers.end(),
            [](auto const& a, auto const& b) { return std::tie(a.index, a.id) < std::tie(b.index, b.id); });
  for (auto const& name : names_in(folder / "failed"))
    if (auto const v =
            is_unit(name) && !fs::exists(unit_path(folder, name), none) ? small_json(folder / "failed" / name) : std::nullopt)
      out.failures.push_back(
          {name, text_in(*v, "text"), static_cast<int>(count_in(*v, "code")), text_in(*v, "pass"), items_of(name)});
  std::sort(out.failures.begin(), out.failures.end(),
            [](auto const& a, auto const& b) { return std::tie(a.pass, a.items, a.unit) < std::tie(b.pass, b.items, b.unit); });
  for (auto const& name : names_in(folder / "claims")) out.claims += is_unit(name);
  return out;
}

void remove_work(fs::path const& folder) {
  require_work_folder(folder);
  auto const remove_all = [](fs::path const& in, auto const& which) {
    remove_litter(in.string(), which);
    for (auto const& name : names_in(in))
      if (which(name)) ::unlink((in / name).c_str());
    ::rmdir(in.c_str());
  };
  auto const units = [](std::string_view name) { return is_unit(name); };
  for (auto const& sub : unit_folders(folder)) remove_all(folder / sub, units);
  for (auto const* name : {"claims", "failed", "stages"}) remove_all(folder / name, units);
  remove_all(folder / "workers", is_process_name);
  remove_litter(folder.string(), [](std::string_view name) { return name == marker; });
  ::unlink((folder / marker).c_str());
  ::rmdir(folder.c_str());  // only if nothing else is in it
}

}  // namespace wayfarer::host
