#include "conformance/guarded.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include <wayfarer/error.hpp>

namespace wayfarer::host::conformance {

tensor guarded(tensor const& t, guard_side side) {
  tensor const from = t.contiguous() ? t : t.clone();
  auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::size_t const room = (from.bytes() + page - 1) / page * page, whole = room + 2 * page;
  void* const base = ::mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) throw resource_error("no room for guard pages: " + std::generic_category().message(errno));
  std::shared_ptr<void const> keep(base, [whole](void const* p) { ::munmap(const_cast<void*>(p), whole); });
  auto* const first = static_cast<std::byte*>(base) + page;
  auto* const data = side == guard_side::after ? first + room - from.bytes() : first;
  if (room != 0) {
    ::mprotect(first, room, PROT_READ | PROT_WRITE);
    std::memcpy(data, from.raw(), from.bytes());
    ::mprotect(first, room, PROT_READ);
  }
  return tensor::look(from.type(), data, from.shape(), std::move(keep));
}

}  // namespace wayfarer::host::conformance
