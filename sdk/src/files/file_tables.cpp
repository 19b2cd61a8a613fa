#include "file_tables.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include <wayfarer/file.hpp>

namespace wayfarer {

namespace file_tables {

namespace {

/// Slots in pieces that are linked and stay for good, so that readers need no lock.
template <class Slot, std::size_t Count>
class slots {
 public:
  Slot& take() {
    for (piece* p = &first_;; p = p->next.load()) {
      for (Slot& s : p->slots)
        if (bool no = false; s.taken.compare_exchange_strong(no, true)) return s;
      if (p->next.load()) continue;
      auto* more = new piece;
      if (piece* none = nullptr; !p->next.compare_exchange_strong(none, more)) delete more;  // somebody was faster
    }
  }
  /// The first slot of which `wanted` holds, or null.
  template <class Wanted>
  Slot* find(Wanted wanted) noexcept {
    for (piece* p = &first_; p; p = p->next.load())
      for (Slot& s : p->slots)
        if (wanted(s)) return &s;
    return nullptr;
  }

 private:
  struct piece {
    std::array<Slot, Count> slots;
    std::atomic<piece*> next{nullptr};
  };
  piece first_;
};

constinit slots<mapped_range, 256> mappings;
constinit slots<temporary, 8> temporaries;

}  // namespace

void note_mapping(std::byte const* first, std::size_t size, std::size_t offset, char const* path) {
  auto& s = mappings.take();
  s.path = path, s.offset = offset, s.size = size;
  s.first = first;
}

void forget_mapping(std::byte const* first) noexcept {
  if (auto* s = mappings.find([&](mapped_range const& m) { return m.first.load() == first; })) {
    s->first = nullptr;
    s->taken = false;
  }
}

temporary* note_temporary(std::string_view path) {
  auto& s = temporaries.take();
  std::size_t const n = std::min(path.size(), s.path.size() - 1);  // no longer path could have been opened
  std::copy_n(path.begin(), n, s.path.begin());
  s.path[n] = '\0';
  s.ready = true;
  return &s;
}

void forget_temporary(temporary* t) noexcept {
  t->ready = false;
  t->taken = false;
}

}  // namespace file_tables

mapping find_mapping(void const* address) noexcept {
  auto const at = reinterpret_cast<std::uintptr_t>(address);
  mapping found;
  file_tables::mappings.find([&](file_tables::mapped_range const& m) {
    auto const first = reinterpret_cast<std::uintptr_t>(m.first.load());
    if (first == 0 || at < first || at - first >= m.size.load()) return false;
    found = {m.path.load(), m.offset.load() + (at - first)};
    return true;
  });
  return found;
}

void drop_pages(std::span<std::byte const> bytes) noexcept {
  if (bytes.empty() || !find_mapping(bytes.data()).path) return;
  auto const page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto const first = reinterpret_cast<std::uintptr_t>(bytes.data());
  auto const from = (first + page - 1) / page * page, to = (first + bytes.size()) / page * page;
  // Shared or never written: nothing is lost but time. A failure means that the pages stay.
  if (from < to && ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED) != 0) return;
}

void remove_temporary_files() noexcept {
  file_tables::temporaries.find([](file_tables::temporary const& t) {
    if (t.ready.load()) ::unlink(t.path.data());
    return false;
  });
}

temporary_name::temporary_name(std::string const& path) : slot_(file_tables::note_temporary(path)) {}
temporary_name::temporary_name(temporary_name&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
temporary_name& temporary_name::operator=(temporary_name&& other) noexcept {
  std::swap(slot_, other.slot_);
  return *this;
}
temporary_name::~temporary_name() {
  if (slot_) file_tables::forget_temporary(static_cast<file_tables::temporary*>(slot_));
}

}  // namespace wayfarer
