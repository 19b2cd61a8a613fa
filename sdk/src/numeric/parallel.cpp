#include <wayfarer/parallel.hpp>

#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include <wayfarer/stopping.hpp>

namespace wayfarer {

void parallel_for(std::size_t n, std::function<void(std::size_t)> const& body) {
  tbb::task_group_context own;
  bool const may_stop = !undivided_work::here();
  tbb::parallel_for(
      std::size_t{0}, n,
      [&](std::size_t i) {
        if (may_stop) stop_if_asked();
        body(i);
      },
      own);
  // When something else has failed in the work that this loop is part of, TBB leaves pieces out and returns as if all were done.
  // This error is not shown: the first one is reported.
  if (own.is_group_execution_cancelled()) throw stopped();
}

std::size_t concurrency() noexcept {
  return static_cast<std::size_t>(tbb::this_task_arena::max_concurrency());
}

}  // namespace wayfarer
