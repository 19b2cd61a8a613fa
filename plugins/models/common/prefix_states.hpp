// States that several passes over the same tokens share: those before the first block that a request edits or captures.
//
// A sweep over edits passes the same items again and again: ablating each head, patching each block. What lies below the first
// block that a request asks for is the plain pass's, bit for bit. So a model keeps the residual stream before each block of the
// batches that came last with edits, and a pass begins at the deepest block that it may. A batch that comes three times is kept,
// so that a sweep over many texts keeps nothing. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <utility>
#include <vector>

#include <wayfarer/model.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/taps.hpp>

namespace wayfarer {

class prefix_states {
 public:
  /// One forward pass over the blocks; the prefix_states must outlive it.
  class pass {
   public:
    /// The block that the pass begins with; if it is not 0, `state` is the residual stream before it.
    std::size_t begin() const noexcept { return begin_; }
    rows take_state() noexcept { return std::move(state_); }
    /// The residual stream before a block, which is kept if that is worth it.
    void before(std::size_t block, rows const& x);

   private:
    friend class prefix_states;
    prefix_states* of_ = nullptr;  // null: keeps nothing
    std::uint64_t hash_ = 0;
    std::vector<std::int64_t> key_{};
    std::size_t begin_ = 0, untouched_ = 0;
    rows state_{};
  };

  /// At most so many bytes are kept, of the batches that came last.
  explicit prefix_states(std::size_t most_bytes = std::size_t{128} << 20) : most_bytes_(most_bytes) {}

  /// For a pass whose first `untouched` blocks, and all before them, have no hook that is asked for.
  pass open(batch const&, dtype precision, std::size_t untouched);

 private:
  struct kept {
    std::uint64_t hash;
    std::vector<std::int64_t> key;
    std::vector<rows> before;  // a block each; without rows where it is not known
    std::size_t bytes = 0;
  };
  bool seen_often(std::uint64_t hash);
  void keep(pass const&, std::size_t block, rows const& x);

  std::size_t most_bytes_, bytes_ = 0;
  std::mutex mutex_;
  std::list<kept> all_;                                     // the last one first
  std::vector<std::pair<std::uint64_t, unsigned>> seen_{};  // hashes of batches and how often they came, the last one at the end
};

/// How many of the first blocks, and what comes before them, have no hook that is asked for.
std::size_t untouched_blocks(taps&, std::size_t layers);

}  // namespace wayfarer
