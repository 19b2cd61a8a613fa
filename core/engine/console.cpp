#include "engine/console.hpp"

#include <atomic>
#include <cstdio>

#include <unistd.h>

#include "cli/options.hpp"

namespace wayfarer::host {

using clock = std::chrono::steady_clock;

class console::node_progress final : public progress {
 public:
  node_progress(console& to, std::string name)
      : to_(to), name_(std::move(name)), since_(clock::now()), next_(since_ + to.pause()) {}

  void at(std::size_t done, std::size_t total, std::string_view note) override {
    auto const now = clock::now();
    auto due = next_.load(std::memory_order_relaxed);
    if (now < due || !next_.compare_exchange_strong(due, now + to_.pause())) return;
    to_.at(name_, done, total, note, since_);
  }
  void warn(std::string_view message) override { to_.warn(name_, message); }

 private:
  console& to_;
  std::string name_;
  clock::time_point since_;
  std::atomic<clock::time_point> next_;
};

console::console(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

console::~console() {
  clear();
}

clock::duration console::pause() const noexcept {
  return terminal_ ? std::chrono::milliseconds(100) : std::chrono::seconds(10);
}

std::unique_ptr<progress> console::node(std::string name) {
  return std::make_unique<node_progress>(*this, std::move(name));
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
  std::fprintf(stderr, "%s\n", printable_lines(text).c_str());
}

void console::warn(std::string_view node, std::string_view message) {
  std::lock_guard const lock(mutex_);
  warnings_.push_back(std::string(node) + ": " + std::string(message));
  if (quiet_) return;
  clear();
  std::fprintf(stderr, "warning: %s\n", printable_lines(warnings_.back()).c_str());
}

std::vector<std::string> console::warnings() const {
  std::lock_guard const lock(mutex_);
  return warnings_;
}

void console::at(std::string const& node, std::size_t done, std::size_t total, std::string_view note, clock::time_point since) {
  std::lock_guard const lock(mutex_);
  if (quiet_) return;
  double const elapsed = std::chrono::duration<double>(clock::now() - since).count();
  std::string text = node + "  " + format_count(done) + " of " + format_count(total);
  if (!note.empty()) text += ", " + std::string(note);
  if (done > 0 && done < total) {
    auto const left = static_cast<std::uint64_t>(elapsed * static_cast<double>(total - done) / static_cast<double>(done) + 0.5);
    text += left < 90 ? ", " + std::to_string(left) + " s left" : ", " + std::to_string((left + 30) / 60) + " min left";
  }
  text = printable(text);
  clear();
  if (terminal_) {
    if (text.size() > 118) text.resize(118);
    std::fprintf(stderr, "%s", text.c_str());
    std::fflush(stderr);
    shown_ = text.size();
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
}

}  // namespace wayfarer::host
