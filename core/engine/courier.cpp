#include "engine/courier.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/stopping.hpp>

#include "engine/provenance.hpp"

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

/// First byte of a message.
enum class kind : char { piece = 'p', decision = 'd', names = 'n', all_named = 'N', end = 'e', farewell = 'f' };

/// A file goes in pieces, of which one is on its way to each rank: smaller ones where there are many.
constexpr std::size_t most_piece_bytes = std::size_t{4} << 20, least_piece_bytes = std::size_t{1} << 16,
                      most_under_way = std::size_t{256} << 20;
/// Of names in one message.
constexpr std::size_t most_names = std::size_t{1} << 18;
constexpr std::chrono::microseconds shortest_pause{200};

std::string message_of(kind k, std::string_view body = {}) {
  return static_cast<char>(k) + std::string(body);
}

void put(std::string& to, std::uint64_t n) {
  to.append(reinterpret_cast<char const*>(&n), sizeof n);
}

std::uint64_t take(std::string_view& from) {
  std::uint64_t n = 0;
  if (from.size() < sizeof n) throw resource_error("a message from another rank is cut");
  std::memcpy(&n, from.data(), sizeof n);
  from.remove_prefix(sizeof n);
  return n;
}

/// Beside the plugins: lib/wayfarer in the build tree and when installed.
fs::path library_path() {
  std::error_code code;
  return fs::read_symlink("/proc/self/exe", code).parent_path().parent_path() / "lib/wayfarer/wayfarer_mpi.so";
}

std::unique_ptr<message_link> open_link() {
  fs::path const library = library_path();
  std::error_code none;
  if (!fs::exists(library, none))
    throw resource_error("--work-local needs " + library.string() +
                         ", which is built where MPI is (libopenmpi-dev); or give --work DIR, a folder that all processes see");
  void* const loaded = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!loaded) throw resource_error("MPI can't be loaded: " + std::string(::dlerror()));
  auto* const open = reinterpret_cast<open_link_function*>(::dlsym(loaded, open_link_name));
  std::unique_ptr<message_link> link(open ? open(build_id()) : nullptr);
  if (!link) throw resource_error(library.string() + ": is of another build than this program; build both again");
  return link;
}

/// What all ranks need.
bool is_for_all(std::string_view unit) noexcept {
  return unit.ends_with(".lengths") || unit.ends_with(".node");
}

}  // namespace

courier::courier() : thread_([this] { carry(); }) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return joined_ || failure_; });
  if (!failure_) return;
  lock.unlock();
  thread_.join();
  std::rethrow_exception(failure_);
}

courier::~courier() {
  {
    std::lock_guard const lock(mutex_);
    leaving_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  // MPI that was not ended can't be taken down piece by piece.
  if (!done_) (void)link_.release();
}

void courier::rethrow() const {
  if (failure_) std::rethrow_exception(failure_);
}

void courier::join_job() {
  link_ = open_link();
  std::lock_guard const lock(mutex_);
  rank_ = link_->rank(), size_ = link_->size();
  piece_bytes_ = std::clamp(most_under_way / size_, least_piece_bytes, most_piece_bytes);
  out_.resize(size_);
  joined_ = true;
}

/// The thread.
void courier::carry() noexcept {
  try {
    join_job();
    changed_.notify_all();
    for (;;) {
      bool const moved = carry_some();
      std::unique_lock lock(mutex_);
      if (leaving_ || done_) break;
      if (!moved) wake_.wait_for(lock, shortest_pause);
    }
  } catch (error const&) {
    std::lock_guard const lock(mutex_);
    failure_ = std::current_exception();
  } catch (std::exception const& e) {
    std::lock_guard const lock(mutex_);
    failure_ = std::make_exception_ptr(resource_error(std::string("work can't be carried between the ranks: ") + e.what()));
  }
  changed_.notify_all();
}

bool courier::carry_some() {
  {
    std::lock_guard const lock(mutex_);
    if (!begun_) return false;
  }
  bool moved = false;
  for (std::size_t to = 0; to < size_; ++to) moved = send_some(to) || moved;
  while (take_message()) moved = true;
  std::unique_lock lock(mutex_);
  bool const idle = std::all_of(out_.begin(), out_.end(), [](auto const& q) { return q.empty(); });
  // Rank 0 leaves when all others have said that they do.
  if (!ending_ || !idle || (leads() && farewells_ + 1 < size_)) return moved;
  lock.unlock();
  if (!link_->all_sent()) return moved;
  link_->finish();
  lock.lock();
  done_ = true;
  return true;
}

/// One message to a rank, if the one before it has left.
bool courier::send_some(std::size_t to) {
  std::unique_lock lock(mutex_);
  if (out_[to].empty() || !link_->is_ready(to)) return false;
  // It stays where it is: others only add behind it.
  parcel& p = out_[to].front();
  lock.unlock();
  std::string bytes = p.message ? *p.message : std::string();
  if (!p.unit.empty()) {
    if (!p.file) p.file = mapped_file::open(work_->path_of(p.unit).string()), p.size = p.file->size();
    std::size_t const length = std::min(piece_bytes_, p.size - p.sent);
    bytes = message_of(kind::piece);
    put(bytes, p.unit.size()), put(bytes, p.sent), put(bytes, p.size);
    bytes += p.unit;
    bytes += p.file->text().substr(p.sent, length);
    p.sent += length;
  }
  bool const all = p.sent == p.size;
  link_->send(to, std::move(bytes));
  lock.lock();
  if (all) out_[to].pop_front();
  return true;
}

bool courier::take_message() {
  std::size_t from = 0;
  std::string bytes;
  if (!link_->receive(from, bytes)) return false;
  if (bytes.empty()) throw resource_error("an empty message came from rank " + std::to_string(from));
  std::string_view body = std::string_view(bytes).substr(1);
  switch (static_cast<kind>(bytes.front())) {
    case kind::piece:
      take_piece(from, body);
      return true;
    case kind::names:
      take_names(body);
      return true;
    case kind::decision: {
      std::lock_guard const lock(mutex_);
      std::size_t const blocks = take(body);
      decided_[std::string(body)] = blocks;
      ++arrivals_;
      break;
    }
    case kind::all_named: {
      require_same(body);
      std::lock_guard const lock(mutex_);
      knows_ = true;
      break;
    }
    case kind::end: {
      std::lock_guard const lock(mutex_);
      told_end_ = true;
      // What rank 0 did not wait for it does not need.
      for (auto& q : out_) q.clear();
      out_[0].push_back({std::make_shared<std::string const>(message_of(kind::farewell))});
      ++arrivals_;
      break;
    }
    case kind::farewell: {
      std::lock_guard const lock(mutex_);
      ++farewells_;
      break;
    }
    default:
      throw resource_error("a message of no known kind came from rank " + std::to_string(from) +
                           "; do all ranks run this program?");
  }
  changed_.notify_all();
  return true;
}

/// What rank 0 has said of itself, that it and this rank are at the same.
void courier::require_same(std::string_view said) const {
  std::string const of_this = "rank " + std::to_string(rank_) + " ";
  std::string_view const code = said.substr(0, said.find('\n'));
  if (code != code_)
    throw resource_error(
        of_this +
        "runs another build than rank 0, with other libraries or on a processor with other vector instructions, "
        "and would make other bytes: give all ranks the same program and plugins, and one WAYFARER_ISA, such as avx2");
  if (said.size() == code.size() || said.substr(code.size() + 1) != run_)
    throw resource_error(of_this + "has another pipeline, or other input files, than rank 0: give all ranks the same");
}

void courier::take_names(std::string_view bytes) {
  for (std::size_t at = 0, to; (to = bytes.find('\n', at)) != bytes.npos; at = to + 1)
    delivered_.emplace(bytes.substr(at, to - at));
}

void courier::take_piece(std::size_t from, std::string_view bytes) {
  std::size_t const name = take(bytes), at = take(bytes), size = take(bytes);
  if (name > bytes.size()) throw resource_error("a message from another rank is cut");
  std::string const unit(bytes.substr(0, name));
  bytes.remove_prefix(name);
  if (!is_unit_name(unit)) throw resource_error("rank " + std::to_string(from) + " sent what is no unit of work");
  arriving& one = in_[from];
  if (at == 0) {
    // What all need replaces what this rank has of it, which may be damaged.
    one = {unit, 0, size};
    if (is_for_all(unit) || !work_->has(unit)) one.file = std::make_unique<atomic_file>(work_->place_for(unit).string());
  }
  if (unit != one.unit || at != one.have || size != one.size || bytes.size() > size - at)
    throw resource_error("rank " + std::to_string(from) + " sent pieces of " + unit + " that do not fit");
  one.have += bytes.size();
  if (one.file) one.file->write(bytes);
  if (one.have == one.size) arrived(from, one);
}

/// All pieces of a file are there.
void courier::arrived(std::size_t from, arriving& one) {
  if (one.file) one.file->publish();
  one.file.reset();
  std::lock_guard const lock(mutex_);
  // What came from there is not sent back.
  if (shared_.insert(one.unit).second && leads() && is_for_all(one.unit))
    for (std::size_t to = 1; to < size_; ++to)
      if (to != from) out_[to].push_back({nullptr, one.unit});
  ++arrivals_;
  changed_.notify_all();
}

/// By rank 0, with the lock held.
void courier::post_to_others(std::string message) {
  auto const one = std::make_shared<std::string const>(std::move(message));
  for (std::size_t to = 1; to < size_; ++to) out_[to].push_back({one});
}

void courier::begin(work_folder& work, std::string const& code, std::string const& run) {
  std::unique_lock lock(mutex_);
  work_ = &work, code_ = code, run_ = run;
  if (leads()) {
    std::string names;
    for (auto const& unit : work.units()) {
      names += unit + "\n";
      if (names.size() >= most_names) post_to_others(message_of(kind::names, std::exchange(names, {})));
    }
    post_to_others(message_of(kind::names, names));
    post_to_others(message_of(kind::all_named, code + "\n" + run));
    knows_ = true;
  }
  begun_ = true;
  lock.unlock();
  wake_.notify_all();
  for (;;) {
    lock.lock();
    changed_.wait_for(lock, std::chrono::milliseconds(200), [&] { return knows_ || failure_; });
    bool const known = knows_;
    lock.unlock();
    rethrow();
    if (known) return;
    stop_if_asked();
  }
}

void courier::share(std::string const& unit) {
  if (!leads() && is_delivered(unit)) return;
  std::lock_guard const lock(mutex_);
  // Nobody waits for it behind this rank's farewell, and it would never leave.
  if (told_end_ || !shared_.insert(unit).second) return;
  for (std::size_t to = leads() ? 1 : 0; to < (leads() ? size_ : 1); ++to) out_[to].push_back({nullptr, unit});
  wake_.notify_all();
}

void courier::decide(std::string const& key, std::size_t blocks) {
  std::lock_guard const lock(mutex_);
  if (!decided_.emplace(key, blocks).second) return;
  std::string body;
  put(body, blocks);
  post_to_others(message_of(kind::decision, body + key));
  wake_.notify_all();
}

std::size_t courier::decided(std::string const& key) const {
  std::lock_guard const lock(mutex_);
  auto const at = decided_.find(key);
  return at == decided_.end() ? 0 : at->second;
}

void courier::wait(std::chrono::milliseconds at_most) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, at_most, [&] { return arrivals_ != seen_ || failure_; });
  seen_ = arrivals_;
  rethrow();
}

bool courier::has_ended() const {
  std::lock_guard const lock(mutex_);
  return told_end_;
}

void courier::end() {
  std::unique_lock lock(mutex_);
  if (leads()) post_to_others(message_of(kind::end));
  ending_ = true;
  wake_.notify_all();
  while (!done_ && !failure_) {
    changed_.wait_for(lock, std::chrono::milliseconds(200));
    stop_if_asked();
  }
  rethrow();
}

}  // namespace wayfarer::host
