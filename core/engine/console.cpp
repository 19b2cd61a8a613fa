#include "engine/console.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <system_error>

#include <unistd.h>

#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace {

using std::chrono::milliseconds;

/// A run that is shorter says nothing on the way.
constexpr milliseconds before_first{700};
constexpr milliseconds between_on_terminal{100}, between_lines{10'000};
constexpr milliseconds look_every{100}, between_published{500};
constexpr std::size_t widest = 118;

}  // namespace

console::part::part(console& to, std::string name) : to_(to), name_(std::move(name)) {
  std::lock_guard const lock(to_.mutex_);
  to_.active_.push_back(this);
}

console::part::~part() {
  std::lock_guard const lock(to_.mutex_);
  std::erase(to_.active_, this);
  ++to_.finished_;
}

void console::part::at(std::size_t done, std::size_t total, std::string_view note) {
  // Work must not wait for the display: updates that come too often are dropped, except the last.
  std::unique_lock lock(to_.mutex_, std::defer_lock);
  if (done == total)
    lock.lock();
  else if (!lock.try_lock())
    return;
  // Threads may come here in another order than they counted.
  done_ = total == total_ && note == note_ ? std::max(done_, done) : done;
  total_ = total;
  note_ = note;
  to_.show_if_due();
}

void console::part::round(std::size_t i, std::size_t count, std::string name) {
  std::lock_guard const lock(to_.mutex_);
  round_ = i, rounds_ = std::max<std::size_t>(1, count), round_name_ = std::move(name);
  done_ = total_ = 0;
}

double console::part::share() const {
  double const of_round = total_ == 0 ? 0 : std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
  return (static_cast<double>(round_) + of_round) / static_cast<double>(rounds_);
}

console::console(bool quiet, bool warns)
    : quiet_(quiet), warns_(warns), terminal_(isatty(STDERR_FILENO) == 1), due_(clock::now() + before_first) {}

console::~console() {
  {
    std::lock_guard const lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (ticker_.joinable()) ticker_.join();
  clear();
}

void console::begin(std::size_t parts) {
  {
    std::lock_guard const lock(mutex_);
    parts_ = parts, begun_ = clock::now(), due_ = begun_ + before_first, publish_due_ = begun_;
  }
  if (quiet_ && !published_) return;
  try {
    ticker_ = std::thread([this] {
      std::unique_lock lock(mutex_);
      while (!stop_.wait_for(lock, look_every, [&] { return stopping_; })) {
        show_if_due();
        publish_if_due();
      }
    });
  } catch (std::system_error const&) {
    // No thread to be had: the parts' own reports show how far they are.
  }
}

void console::publish(std::filesystem::path const& result) {
  published_ = std::make_unique<progress_file>(result);
}

std::unique_ptr<console::part> console::start(std::string name) {
  return std::make_unique<part>(*this, std::move(name));
}

void console::clear() {
  if (shown_ == 0) return;
  std::fprintf(stderr, "\r%*s\r", static_cast<int>(shown_), "");
  shown_ = 0;
}

void console::line(std::string_view text) {
  std::lock_guard const lock(mutex_);
  if (quiet_) return;
  clear();
  std::fprintf(stderr, "%s\n", printable(text).c_str());
}

void console::warn(std::string_view node, std::string_view message) {
  std::lock_guard const lock(mutex_);
  std::string text = std::string(node) + ": " + std::string(message);
  if (recorded_) recorded_->insert(text);
  add_warning(std::move(text));
}

/// With the lock held.
void console::add_warning(std::string text) {
  // Two passes over the same texts have the same to say.
  if (std::find(warnings_.begin(), warnings_.end(), text) != warnings_.end()) return;
  warnings_.push_back(std::move(text));
  if (!warns_) return;
  clear();
  std::fprintf(stderr, "warning: %s\n", printable(warnings_.back()).c_str());
}

void console::take_warnings(std::vector<std::string> const& all) {
  std::lock_guard const lock(mutex_);
  for (auto const& text : all) add_warning(text);
}

void console::record_warnings(std::set<std::string>* into) {
  std::lock_guard const lock(mutex_);
  recorded_ = into;
}

void console::note(std::string_view text) {
  std::lock_guard const lock(mutex_);
  clear();
  std::fprintf(stderr, "%s\n", printable(text).c_str());
}

std::vector<std::string> console::warnings() const {
  std::lock_guard const lock(mutex_);
  return warnings_;
}

double console::done_of_run() const {
  double done = static_cast<double>(finished_);
  for (auto const* p : active_) done += p->share();
  return parts_ == 0 ? 0 : std::min(1.0, done / static_cast<double>(parts_));
}

/// "run 43 %, 2 of 5 parts done: states  448 of 1,000 items, 12 s left".
std::string console::text_of(part const& p, std::size_t more) const {
  std::string text = "run " + std::to_string(static_cast<int>(std::floor(100 * done_of_run()))) + " %, " +
                     std::to_string(finished_) + " of " + std::to_string(parts_) + " parts done: " + p.name_;
  if (!p.round_name_.empty()) text += " (" + p.round_name_ + ")";
  if (p.total_ != 0) text += "  " + format_count(p.done_) + " of " + format_count(p.total_);
  if (!p.note_.empty()) text += (p.total_ != 0 && p.note_ == "items" ? " " : ", ") + p.note_;
  double const elapsed = std::chrono::duration<double>(clock::now() - p.since_).count(), share = p.share();
  auto const seconds = [](double s) {
    auto const whole = static_cast<std::uint64_t>(s + 0.5);
    return whole < 90 ? std::to_string(whole) + " s" : std::to_string((whole + 30) / 60) + " min";
  };
  if (share > 0 && share < 1)
    text += ", " + seconds(elapsed * (1 - share) / share) + " left";
  else
    text += ", " + seconds(elapsed) + " so far";
  if (more != 0) text += "; " + std::to_string(more) + " more at work";
  return text;
}

/// With the lock held. Less often the longer the run is, so that the file stays small.
void console::publish_if_due() {
  auto const now = clock::now();
  if (!published_ || parts_ == 0 || now < publish_due_) return;
  publish_due_ = now + std::max<clock::duration>(between_published, (now - begun_) / 500);
  progress_state s;
  s.seconds = std::chrono::duration<double>(now - begun_).count(), s.share = done_of_run();
  s.finished = finished_, s.parts = parts_;
  for (auto const* p : active_)
    s.active.push_back(
        {p->round_name_.empty() ? p->name_ : p->name_ + " (" + p->round_name_ + ")", p->note_, p->done_, p->total_});
  published_->add(s);
}

/// With the lock held.
void console::show_if_due() {
  auto const now = clock::now();
  if (quiet_ || parts_ == 0 || active_.empty() || now < due_) return;
  due_ = now + (terminal_ ? between_on_terminal : between_lines);
  std::string text = printable(text_of(*active_.front(), active_.size() - 1));
  clear();
  if (terminal_) {
    if (text.size() > widest) text.resize(widest);
    std::fprintf(stderr, "%s", text.c_str());
    std::fflush(stderr);
    shown_ = text.size();
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
}

}  // namespace wayfarer::host
