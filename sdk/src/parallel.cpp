#include <wayfarer/parallel.hpp>

#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

namespace wayfarer {

void parallel_for(std::size_t n, std::function<void(std::size_t)> const& body) {
  tbb::parallel_for(std::size_t{0}, n, [&](std::size_t i) { body(i); });
}

std::size_t concurrency() noexcept {
  return static_cast<std::size_t>(tbb::this_task_arena::max_concurrency());
}

}  // namespace wayfarer
