#include "engine/shared_store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <system_error>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "engine/small_files.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

constexpr char marker[] = "wayfarer-store";
constexpr std::string_view marker_text = "A store of wayfarer run --store: see 'wayfarer status', 'wayfarer clean'.\n";
constexpr std::array folders{"runs", "making", "removed"};
constexpr std::array<std::string_view, 2> kinds{".blocks", ".outputs"};
constexpr std::size_t key_digits = 40;
constexpr std::chrono::seconds beat_pause{60};
/// A run of another machine that is silent for so long counts as ended.
constexpr double longest_silence = 600;
/// Written at once.
constexpr std::size_t most_waiting = std::size_t{1} << 18;
/// Looked at anew after so many bytes of this run's: others add some, too.
constexpr std::uint64_t share_between_looks = 64;
/// Of the disk, a twentieth stays free for other things, such as the result; of a large one so many bytes.
constexpr std::uint64_t share_left_free = 20, most_left_free = std::uint64_t{1} << 30;

std::string reason(int code) {
  return std::generic_category().message(code);
}

int open_folder(int at, std::string const& name) {
  return ::openat(at, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/// -1, with errno, if it is not there and can't be made.
int made_folder(int at, std::string const& name) {
  if (int const d = open_folder(at, name); d >= 0 || errno != ENOENT) return d;
  if (::mkdirat(at, name.c_str(), 0777) != 0 && errno != EEXIST) return -1;
  return open_folder(at, name);
}

std::vector<std::string> names_at(int folder) {
  std::vector<std::string> names;
  // Anew, so that it has a place of its own in the list.
  int const again = open_folder(folder, ".");
  DIR* const all = again < 0 ? nullptr : ::fdopendir(again);
  if (!all) {
    if (again >= 0) ::close(again);
    return names;
  }
  while (dirent const* const one = ::readdir(all))
    if (std::string_view const name = one->d_name; name != "." && name != "..") names.emplace_back(name);
  ::closedir(all);
  return names;
}

std::optional<struct stat> stat_at(int folder, std::string const& name) {
  struct stat s {};
  if (::fstatat(folder, name.c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return s;
}

/// What strangers' files say of their sizes may be beyond all bounds.
std::uint64_t plus(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::uint64_t>::max() : sum;
}

/// False, with errno, if it can't be.
bool write_new_file(int folder, std::string const& name, std::string_view text) {
  open_descriptor const d(::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!d) return false;
  errno = 0;
  if (::write(d.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return true;
  int const code = errno == 0 ? ENOSPC : errno;
  ::unlinkat(folder, name.c_str(), 0);
  errno = code;
  return false;
}

bool is_digits(std::string_view text) noexcept {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

/// "0-64".
bool is_range(std::string_view text) noexcept {
  std::size_t const dash = text.find('-');
  return dash != text.npos && is_digits(text.substr(0, dash)) && is_digits(text.substr(dash + 1));
}

bool is_data(std::string_view name) noexcept {
  return is_range(name) || (name.size() > 17 && is_hex(name.substr(0, 16)) && name[16] == '-' && is_range(name.substr(17)));
}

/// HOST-PID-RANDOM, as `new_process_name` makes it.
bool is_run(std::string_view name) noexcept {
  std::size_t const last = name.rfind('-');
  if (last == name.npos || last == 0) return false;
  std::size_t const first = name.rfind('-', last - 1);
  return first != name.npos && first > 0 && is_process_name(name) && is_digits(name.substr(first + 1, last - first - 1)) &&
         name.size() - last == 9 && is_hex(name.substr(last + 1));
}

/// The run that made "ID-N"; "" for other names.
std::string maker_of(std::string_view name) {
  std::size_t const last = name.rfind('-');
  if (last == name.npos || !is_digits(name.substr(last + 1)) || !is_run(name.substr(0, last))) return "";
  return std::string(name.substr(0, last));
}

constexpr std::string_view user_prefix = "user-", read_prefix = "read-", about_name = "about";

bool is_user(std::string_view name) noexcept {
  return name.starts_with(user_prefix) && is_run(name.substr(user_prefix.size()));
}

bool is_mark(std::string_view name) noexcept {
  return name.size() == read_prefix.size() + key_digits && name.starts_with(read_prefix) &&
         is_hex(name.substr(read_prefix.size()));
}

/// Of an entry: nothing else is ever removed.
bool is_ours(std::string_view name) noexcept {
  return name == about_name || is_user(name) || is_mark(name) || is_data(name);
}

bool is_entry(std::string_view name) noexcept {
  return name.size() > key_digits && is_hex(name.substr(0, key_digits)) &&
         std::find(kinds.begin(), kinds.end(), name.substr(key_digits)) != kinds.end();
}

bool is_entry_folder(std::string_view name) noexcept {
  return name.size() == 2 && is_hex(name);
}

double seconds_between(timespec const& from, timespec const& to) noexcept {
  return static_cast<double>(to.tv_sec - from.tv_sec) + static_cast<double>(to.tv_nsec - from.tv_nsec) / 1e9;
}

/// Which runs live, each looked at once.
class living_runs {
 public:
  /// `now` by the clock of the file system, as far as that is known.
  living_runs(int runs, timespec now) : runs_(runs), now_(now) {}
  bool operator()(std::string const& run) {
    auto const [at, fresh] = known_.try_emplace(run, false);
    if (fresh) at->second = look(run);
    return at->second;
  }

 private:
  bool look(std::string const& run) const {
    auto const file = stat_at(runs_, run);
    if (!file) return false;
    auto const facts = small_json_of(small_text_at(runs_, run), run);
    if (facts && is_of_this_machine(*facts)) return !surely_dead(*facts);
    return seconds_between(file->st_mtim, now_) < longest_silence;
  }
  int runs_;
  timespec now_;
  std::map<std::string, bool> known_{};
};

struct seen_entry {
  std::string folder, name;
  std::uint64_t bytes = 0;
  std::size_t files = 0;
  timespec used{};
  std::vector<std::string> users{};
};

std::vector<seen_entry> entries_of(int root) {
  std::vector<seen_entry> all;
  for (auto const& folder : names_at(root)) {
    open_descriptor const in(is_entry_folder(folder) ? open_folder(root, folder) : -1);
    if (!in) continue;
    for (auto const& name : names_at(in.get())) {
      open_descriptor const one(is_entry(name) ? open_folder(in.get(), name) : -1);
      struct stat s {};
      if (!one || ::fstat(one.get(), &s) != 0) continue;
      // Files come and go with use, each at the time of this folder.
      seen_entry e{folder, name, 0, 0, s.st_mtim};
      for (auto const& file : names_at(one.get())) {
        if (is_user(file)) e.users.push_back(file.substr(user_prefix.size()));
        auto const of = is_data(file) ? stat_at(one.get(), file) : std::nullopt;
        if (of) ++e.files, e.bytes = plus(e.bytes, static_cast<std::uint64_t>(std::max<off_t>(0, of->st_size)));
      }
      all.push_back(std::move(e));
    }
  }
  return all;
}

void remove_files(int folder, bool (*which)(std::string_view) noexcept) {
  for (auto const& name : names_at(folder))
    if (which(name)) ::unlinkat(folder, name.c_str(), 0);
}

std::optional<std::uint64_t> limit_in(int root) {
  std::string const text = small_text_at(root, "limit");
  std::uint64_t bytes = 0;
  auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  return code == std::errc() && std::string_view(end, static_cast<std::size_t>(text.data() + text.size() - end)) == "\n"
             ? std::optional(bytes)
             : std::nullopt;
}

bool has_marker(int root) {
  auto const s = stat_at(root, marker);
  return s && S_ISREG(s->st_mode);
}

}  // namespace

shared_store::shared_store(fs::path folder, std::optional<std::uint64_t> limit, std::function<void(std::string const&)> tell)
    : path_(std::move(folder)), tell_(std::move(tell)), id_(new_process_name()) {
  make_or_find();
  if (!root_) return;
  reads_ = true;
  for (auto const& [name, at] : {std::pair("runs", &runs_), std::pair("making", &making_), std::pair("removed", &removed_)}) {
    *at = open_descriptor(made_folder(root_.get(), name));
    if (*at) continue;
    stop_writing(std::string(name) + " can't be made in it: " + reason(errno));
    return;
  }
  writes_ = true;
  begin_run();
  if (!writes_) return;
  tell_limit(limit);
  tidy();
}

/// Opens the folder, or makes it.
void shared_store::make_or_find() {
  std::error_code code;
  fs::create_directories(path_, code);
  root_ = open_descriptor(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root_ && errno == ENOTDIR)
    throw usage_error(path_.string() +
                      ": is not a folder, and results are kept in a folder of that name; name another with --store");
  if (!root_) {
    tell_("store " + path_.string() + ": can't be " + (code ? "made: " + code.message() : "opened: " + reason(errno)) +
          "; the run continues without it");
    return;
  }
  if (has_marker(root_.get())) return;
  std::string const advice = "; give --store a folder of its own, which is made if it is not there";
  if (stat_at(root_.get(), "wayfarer-work")) throw usage_error(path_.string() + ": is a folder of --work" + advice);
  // Another run may be making it at this moment: what is ours already is no stranger's.
  for (auto const& name : names_at(root_.get()))
    if (std::find(folders.begin(), folders.end(), name) == folders.end() && !is_entry_folder(name) && name != "limit" &&
        !has_marker(root_.get()))
      throw usage_error(path_.string() + ": holds other files, such as " + printable(name) + advice);
  if (write_new_file(root_.get(), marker, marker_text) || errno == EEXIST) return;
  tell_("store " + path_.string() + ": can't be made: " + reason(errno) + "; the run continues without it");
  root_ = open_descriptor();
}

/// What the user has said now holds for later runs; else what was said before.
void shared_store::tell_limit(std::optional<std::uint64_t> limit) {
  auto const known = limit_in(root_.get());
  limit_ = limit.value_or(known.value_or(default_store_limit));
  if (!limit || limit == known) return;
  std::string const name = new_name();
  if (!write_new_file(making_.get(), name, std::to_string(*limit) + "\n") ||
      ::renameat(making_.get(), name.c_str(), root_.get(), "limit") != 0)
    stop_writing("the limit can't be written in it: " + reason(errno));
}

void shared_store::begin_run() {
  // Whole from the beginning, so that what is left of a run that is killed tells whose it was. Until it is there another run may
  // take the file that is being made for one of the dead.
  bool made = false;
  for (int again = 0; again < 10 && !made; ++again) {
    auto state = json_value::object();
    add_process(state);
    std::string const name = new_name();
    if (!write_new_file(making_.get(), name, to_json(state) + "\n")) break;
    made = ::renameat(making_.get(), name.c_str(), runs_.get(), id_.c_str()) == 0;
    if (!made && errno != ENOENT) break;
  }
  if (made) beat_ = open_descriptor(::openat(runs_.get(), id_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!beat_) return stop_writing("runs/" + id_ + " can't be made in it: " + reason(errno));
  beating_ = std::thread([this] {
    for (std::unique_lock lock(beat_mutex_); !stop_.wait_for(lock, beat_pause, [&] { return stopping_; });) {
      lock.unlock();
      write_beat();
      lock.lock();
    }
  });
}

void shared_store::write_beat() noexcept {
  try {
    std::lock_guard const lock(beat_mutex_);
    auto state = json_value::object({{"beat", json_value(++beats_)}});
    add_process(state);
    std::string const text = to_json(state) + "\n";
    struct stat s {};
    if (::fstat(beat_.get(), &s) != 0 || s.st_nlink == 0) {
      // While this process was stopped, it may have been taken for dead. Other threads hold the descriptor, so its number stays.
      open_descriptor const anew(::openat(runs_.get(), id_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
      if (!anew || ::dup3(anew.get(), beat_.get(), O_CLOEXEC) < 0) return;
    }
    bool const whole = ::pwrite(beat_.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
    if (whole && ::ftruncate(beat_.get(), static_cast<off_t>(text.size())) != 0) (void)errno;
  } catch (std::exception const&) {
    // It may be taken for dead, and what it uses be removed: then that is made again.
  }
}

shared_store::~shared_store() {
  if (beating_.joinable()) {
    {
      std::lock_guard const lock(beat_mutex_);
      stopping_ = true;
    }
    stop_.notify_all();
    beating_.join();
  }
  if (beat_) ::unlinkat(runs_.get(), id_.c_str(), 0);
}

/// Removes what runs that have ended left half made, half removed, and of themselves.
void shared_store::tidy() {
  struct stat now {};
  if (::fstat(beat_.get(), &now) != 0) return;
  living_runs living(runs_.get(), now.st_mtim);
  for (auto const& name : names_at(making_.get()))
    if (std::string const by = maker_of(name); !by.empty() && !living(by)) ::unlinkat(making_.get(), name.c_str(), 0);
  for (auto const& name : names_at(removed_.get())) {
    std::string const by = maker_of(name);
    open_descriptor const folder(!by.empty() && !living(by) ? open_folder(removed_.get(), name) : -1);
    if (!folder) continue;
    remove_files(folder.get(), is_ours);
    ::unlinkat(removed_.get(), name.c_str(), AT_REMOVEDIR);
  }
  for (auto const& name : names_at(runs_.get()))
    if (is_run(name) && !living(name)) ::unlinkat(runs_.get(), name.c_str(), 0);
}

void shared_store::stop_writing(std::string const& why) noexcept {
  try {
    std::lock_guard const lock(told_mutex_);
    writes_ = false;
    if (!std::exchange(told_, true))
      tell_("store " + path_.string() + ": " + why + "; what this run makes is not kept there, and the run continues");
  } catch (std::exception const&) {
  }
}

void shared_store::stop_reading(std::string const& what, int code) noexcept {
  try {
    std::lock_guard const lock(told_mutex_);
    writes_ = false;
    if (!reads_.exchange(false)) return;
    told_ = true;
    tell_("store " + path_.string() + ": " + what + " can't be read: " + reason(code) + "; the run continues without it");
  } catch (std::exception const&) {
  }
}

std::shared_ptr<shared_store::entry> shared_store::open(std::string const& name, std::string const& about) {
  return std::make_shared<entry>(*this, name, about);
}

/// Whether there is room for so many bytes more; makes some if there is not.
bool shared_store::admit(std::uint64_t bytes) {
  std::lock_guard const lock(room_mutex_);
  if (!looked_ || added_ >= limit_ / share_between_looks || plus(total_, bytes) > limit_) make_room(bytes);
  if (plus(total_, bytes) > limit_) {
    stop_writing("it is full: what living runs use and the next " + format_size(bytes) + " are beyond its limit of " +
                 format_size(limit_) + " (--store-limit)");
    return false;
  }
  if (!leaves_space()) {
    stop_writing("its disk is nearly full");
    return false;
  }
  total_ += bytes, added_ += bytes;
  return true;
}

/// Whether what is on its way in leaves the disk some space.
bool shared_store::leaves_space() const noexcept {
  struct statvfs s {};
  if (::fstatvfs(root_.get(), &s) != 0 || s.f_blocks == 0 || s.f_frsize == 0) return true;
  return s.f_bavail >= std::min<std::uint64_t>(s.f_blocks / share_left_free, most_left_free / s.f_frsize);
}

void shared_store::make_room(std::uint64_t wanted) {
  write_beat();
  struct stat now {};
  if (::fstat(beat_.get(), &now) != 0) return;
  auto all = entries_of(root_.get());
  looked_ = true, total_ = 0, added_ = 0;
  for (auto const& e : all) total_ = plus(total_, e.bytes);
  if (plus(total_, wanted) <= limit_) return;
  living_runs living(runs_.get(), now.st_mtim);
  std::erase_if(all, [&](seen_entry const& e) { return std::any_of(e.users.begin(), e.users.end(), std::ref(living)); });
  std::uint64_t unused = 0;
  for (auto const& e : all) unused = plus(unused, e.bytes);
  // What can't be made to fit takes nothing with it.
  if (plus(total_ - std::min(total_, unused), wanted) > limit_) return;
  std::sort(all.begin(), all.end(), [](auto const& a, auto const& b) { return seconds_between(a.used, b.used) > 0; });
  // Some room more, so that not every file asks for it.
  std::uint64_t const goal = limit_ - limit_ / 10;
  for (auto const& e : all) {
    if (plus(total_, wanted) <= goal) break;
    if (remove(e.folder, e.name)) total_ -= std::min(total_, e.bytes);
  }
}

/// False if it stays, because a run has begun to use it, or because there is something in it that is not ours.
bool shared_store::remove(std::string const& folder, std::string const& name) {
  open_descriptor const in(open_folder(root_.get(), folder));
  std::string const away = new_name();
  if (!in || ::renameat(in.get(), name.c_str(), removed_.get(), away.c_str()) != 0) return errno == ENOENT;
  auto const put_back = [&] { return ::renameat(removed_.get(), away.c_str(), in.get(), name.c_str()) == 0; };
  open_descriptor const gone(open_folder(removed_.get(), away));
  if (!gone) return false;
  struct stat now {};
  if (::fstat(beat_.get(), &now) != 0) return !put_back();
  living_runs living(runs_.get(), now.st_mtim);
  bool used = false;
  for (auto const& file : names_at(gone.get())) used = used || (is_user(file) && living(file.substr(user_prefix.size())));
  // It can't come back where its user has made a new one by now, and need not.
  if (used && put_back()) return false;
  remove_files(gone.get(), is_ours);
  return ::unlinkat(removed_.get(), away.c_str(), AT_REMOVEDIR) == 0 || !put_back();
}

shared_store::entry::entry(shared_store& of, std::string name, std::string about)
    : store_(of), name_(std::move(name)), about_(std::move(about)) {
  if (store_.reads_) use(false);
}

shared_store::entry::~entry() {
  if (!counts_) return;
  std::lock_guard const lock(store_.uses_mutex_);
  auto const uses = store_.uses_.find(name_);
  if (--uses->second != 0) return;
  store_.uses_.erase(uses);
  if (folder_) ::unlinkat(folder_.get(), store_.mark_of_use().c_str(), 0);
}

fs::path shared_store::entry::path_of(std::string const& file) const {
  return store_.path_ / name_.substr(0, 2) / name_ / file;
}

/// Opens the folder, and marks it as used. Removers rename first and look for marks then: where the folder is still in its place
/// after it was marked, it stays. With the lock held, or by the constructor. False, with errno.
bool shared_store::entry::use(bool make) {
  folder_ = open_descriptor();
  for (int again = 0; again < 100; ++again) {
    open_descriptor const in(make ? made_folder(store_.root_.get(), name_.substr(0, 2))
                                  : open_folder(store_.root_.get(), name_.substr(0, 2)));
    open_descriptor one(!in ? -1 : make ? made_folder(in.get(), name_) : open_folder(in.get(), name_));
    if (!one && (!make || errno != ENOENT)) return false;
    if (!one) continue;
    // Who may not write there can use it all the same: what somebody removes is made again.
    if (!mark_use(one.get()) && make) return false;
    struct stat here {};
    auto const there = stat_at(in.get(), name_);
    bool const same = there && ::fstat(one.get(), &here) == 0 && here.st_dev == there->st_dev && here.st_ino == there->st_ino;
    if (!same) continue;
    take(std::move(one));
    return true;
  }
  errno = ENOENT;
  return false;
}

std::string shared_store::mark_of_use() const {
  return std::string(user_prefix) + id_;
}

/// Other entries of this run may have the name; the last of them takes the mark away. False, with errno, if it can't be made.
bool shared_store::entry::mark_use(int folder) {
  if (!store_.beat_) return false;
  std::lock_guard const lock(store_.uses_mutex_);
  if (!write_new_file(folder, store_.mark_of_use(), "") && errno != EEXIST) return false;
  if (!std::exchange(counts_, true)) ++store_.uses_[name_];
  return true;
}

void shared_store::entry::take(open_descriptor folder) {
  folder_ = std::move(folder);
  auto const names = names_at(folder_.get());
  files_.clear();
  std::copy_if(names.begin(), names.end(), std::back_inserter(files_), is_data);
  std::sort(files_.begin(), files_.end());
  has_about_ = std::find(names.begin(), names.end(), about_name) != names.end();
  std::set<std::string> const known = std::exchange(marks_, {});
  see_marks(names);
  // In a folder that takes the place of one that is gone.
  for (auto const& digest : known)
    if (marks_.insert(digest).second) write_new_file(folder_.get(), std::string(read_prefix) + digest, "");
  forget_the_dead(names);
}

void shared_store::entry::see_marks(std::vector<std::string> const& names) {
  for (auto const& name : names)
    if (is_mark(name)) marks_.insert(name.substr(read_prefix.size()));
}

/// Removes the marks of runs that were killed: else each would leave one for ever.
void shared_store::entry::forget_the_dead(std::vector<std::string> const& names) const {
  struct stat now {};
  if (!store_.beat_ || ::fstat(store_.beat_.get(), &now) != 0) return;
  living_runs living(store_.runs_.get(), now.st_mtim);
  for (auto const& name : names)
    if (is_user(name) && !living(name.substr(user_prefix.size()))) ::unlinkat(folder_.get(), name.c_str(), 0);
}

std::optional<shared_store::entry::opened> shared_store::entry::open(std::string const& file) {
  if (!store_.reads_) return std::nullopt;
  std::lock_guard const lock(mutex_);
  if (!folder_ || damaged_.count(file) != 0) return std::nullopt;
  opened out{open_descriptor(::openat(folder_.get(), file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY))};
  struct stat s {};
  if (!out.file || ::fstat(out.file.get(), &s) != 0) {
    // Somebody has removed it, or it is a link, which nobody follows here.
    if (errno != ENOENT && errno != ELOOP && errno != ESTALE) store_.stop_reading(path_of(file).string(), errno);
    return std::nullopt;
  }
  if (!S_ISREG(s.st_mode)) return std::nullopt;
  out.size = static_cast<std::uint64_t>(s.st_size);
  return out;
}

shared_store::entry::opened::got shared_store::entry::opened::read(std::uint64_t at, std::span<char> into) const {
  while (!into.empty()) {
    ssize_t const n = ::pread(file.get(), into.data(), std::min(into.size(), std::size_t{1} << 30), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n == 0 ? got::too_few : got::nothing;
    into = into.subspan(static_cast<std::size_t>(n)), at += static_cast<std::uint64_t>(n);
  }
  return got::all;
}

void shared_store::entry::is_damaged(std::string const& file) {
  {
    std::lock_guard const lock(mutex_);
    if (!damaged_.insert(file).second) return;
    if (folder_) ::unlinkat(folder_.get(), file.c_str(), 0);
  }
  store_.tell_(path_of(file).string() + ": damaged, and made again");
}

std::set<std::string> shared_store::entry::marks() {
  std::lock_guard const lock(mutex_);
  // Anew: a file's marks are made before it, but a list of names may have passed their places by then.
  if (folder_) see_marks(names_at(folder_.get()));
  return marks_;
}

/// Does something in the folder, which is made if it is not there. False, and told, if it can't be done.
bool shared_store::entry::change(std::string const& file, std::function<bool(int folder)> const& what) {
  for (int again = 0; again < 3; ++again) {
    if (!folder_ && !use(true)) break;
    if (what(folder_.get())) return true;
    // The folder was removed while this process was stopped, or taken for dead.
    if (errno != ENOENT) break;
    folder_ = open_descriptor();
  }
  store_.stop_writing(path_of(file).string() + " can't be made: " + reason(errno));
  return false;
}

void shared_store::entry::mark(std::string const& digest) {
  if (!store_.writes_) return;
  std::lock_guard const lock(mutex_);
  std::string const name = std::string(read_prefix) + digest;
  if (marks_.count(digest) == 0 && change(name, [&](int folder) { return write_new_file(folder, name, "") || errno == EEXIST; }))
    marks_.insert(digest);
}

/// Renames a file that was made to its place.
bool shared_store::entry::publish(std::string const& made, std::string const& as) {
  std::lock_guard const lock(mutex_);
  bool lost = false;
  bool const done = change(as, [&](int folder) {
    auto const about = json_value::object({{"about", json_value(printable(about_))}});
    if (!std::exchange(has_about_, true)) write_new_file(folder, std::string(about_name), to_json(about) + "\n");
    if (::renameat(store_.making_.get(), made.c_str(), folder, as.c_str()) == 0) return true;
    int const code = errno;
    // While this process was stopped, it may have been taken for dead, and what it was making be swept.
    struct stat s {};
    bool const is_there = ::fstat(store_.making_.get(), &s) == 0 && s.st_nlink != 0;
    lost = code == ENOENT && is_there && !stat_at(store_.making_.get(), made);
    errno = code;
    return lost;
  });
  if (!done || lost) return false;
  damaged_.erase(as);
  return true;
}

shared_store::new_file::new_file(shared_store& to) : store_(to), name_(to.new_name()) {
  if (!store_.writes_) return;
  file_ =
      open_descriptor(::openat(store_.making_.get(), name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!file_) fail(errno);
}

shared_store::new_file::~new_file() {
  if (file_) ::unlinkat(store_.making_.get(), name_.c_str(), 0);
}

void shared_store::new_file::fail(int code) {
  if (file_) ::unlinkat(store_.making_.get(), name_.c_str(), 0);
  file_ = open_descriptor();
  store_.stop_writing("can't be written: " + reason(code));
}

void shared_store::new_file::write(std::string_view bytes) {
  if (!file_) return;
  size_ += bytes.size();
  waiting_ += bytes;
  if (waiting_.size() >= most_waiting) flush();
}

void shared_store::new_file::flush() {
  std::string_view bytes = waiting_;
  while (file_ && !bytes.empty()) {
    ssize_t const n = ::write(file_.get(), bytes.data(), std::min(bytes.size(), std::size_t{1} << 30));
    if (n < 0 && errno != EINTR) fail(errno);
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  waiting_.clear();
}

bool shared_store::new_file::publish(entry& in, std::string const& name) {
  flush();
  if (!file_ || !store_.admit(size_)) return false;
  // A network file system may tell only now that the disk is full.
  int const d = ::dup(file_.get());
  if (d >= 0 && ::close(d) != 0 && errno != EINTR) {
    fail(errno);
    return false;
  }
  if (!in.publish(name_, name)) return false;
  file_ = open_descriptor();
  store_.counts_.bytes_left += size_;
  return true;
}

bool is_store(fs::path const& folder) {
  open_descriptor const root(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return root && has_marker(root.get());
}

store_status look_at_store(fs::path const& folder) {
  open_descriptor const root(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) throw usage_error(folder.string() + ": can't be looked at: " + reason(errno));
  open_descriptor const runs(open_folder(root.get(), "runs"));
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  living_runs living(runs.get(), now);
  store_status out;
  out.limit = limit_in(root.get()).value_or(default_store_limit);
  for (auto const& name : names_at(runs.get())) out.runs += is_run(name) && living(name);
  for (auto const& e : entries_of(root.get())) {
    open_descriptor const in(open_folder(root.get(), e.folder));
    open_descriptor const one(open_folder(in.get(), e.name));
    auto const about = small_json_of(small_text_at(one.get(), std::string(about_name)), e.name);
    store_status::entry seen{e.name.substr(key_digits + 1), about ? text_in(*about, "about") : "", e.files, e.bytes,
                             std::max(0.0, seconds_between(e.used, now))};
    seen.users =
        static_cast<std::size_t>(std::count_if(e.users.begin(), e.users.end(), [&](auto const& u) { return living(u); }));
    out.bytes += e.bytes;
    out.entries.push_back(std::move(seen));
  }
  std::stable_sort(out.entries.begin(), out.entries.end(), [](auto const& a, auto const& b) { return a.unused < b.unused; });
  return out;
}

void remove_store(fs::path const& folder) {
  open_descriptor const root(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) throw usage_error(folder.string() + ": can't be looked at: " + reason(errno));
  for (auto const& e : entries_of(root.get())) {
    open_descriptor const in(open_folder(root.get(), e.folder));
    open_descriptor const one(open_folder(in.get(), e.name));
    if (one) remove_files(one.get(), is_ours);
    ::unlinkat(in.get(), e.name.c_str(), AT_REMOVEDIR);
  }
  auto const is_made = [](std::string_view name) noexcept { return !maker_of(name).empty(); };
  open_descriptor const removed(open_folder(root.get(), "removed"));
  for (auto const& name : names_at(removed.get())) {
    open_descriptor const one(is_made(name) ? open_folder(removed.get(), name) : -1);
    if (!one) continue;
    remove_files(one.get(), is_ours);
    ::unlinkat(removed.get(), name.c_str(), AT_REMOVEDIR);
  }
  if (open_descriptor const making(open_folder(root.get(), "making")); making) remove_files(making.get(), is_made);
  if (open_descriptor const runs(open_folder(root.get(), "runs")); runs) remove_files(runs.get(), is_run);
  for (auto const& name : names_at(root.get()))
    if (is_entry_folder(name) || std::find(folders.begin(), folders.end(), name) != folders.end())
      ::unlinkat(root.get(), name.c_str(), AT_REMOVEDIR);
  ::unlinkat(root.get(), "limit", 0);
  ::unlinkat(root.get(), marker, 0);
  ::rmdir(folder.c_str());  // only if nothing else is in it
}

}  // namespace wayfarer::host
