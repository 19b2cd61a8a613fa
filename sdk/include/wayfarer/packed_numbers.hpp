// A list of numbers in little memory: small numbers take one byte, any number at most ten. Numbers are appended and read in
// order.
//
// Who makes it owns it; one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wayfarer {

class packed_numbers {
 public:
  void push_back(std::uint64_t number) {
    for (; number >= 128; number /= 128) put(static_cast<std::uint8_t>(number % 128 + 128));
    put(static_cast<std::uint8_t>(number));
    ++size_;
  }
  std::size_t size() const noexcept { return size_; }

  /// Reads from the front; lives no longer than the list, which must not grow meanwhile. At most size() numbers may be read.
  class reader {
   public:
    explicit reader(packed_numbers const& of) : chunks_(&of.chunks_) {}
    std::uint64_t next() noexcept {
      std::uint64_t number = 0;
      for (unsigned shift = 0;; shift += 7) {
        if (at_ == (*chunks_)[chunk_].size()) ++chunk_, at_ = 0;
        std::uint8_t const byte = (*chunks_)[chunk_][at_++];
        number |= std::uint64_t{byte} % 128 << shift;
        if (byte < 128) return number;
      }
    }

   private:
    std::vector<std::vector<std::uint8_t>> const* chunks_;
    std::size_t chunk_ = 0, at_ = 0;
  };

 private:
  // Chunks rather than one array, which would hold twice as much while it grows.
  static constexpr std::size_t chunk_bytes = std::size_t{1} << 16;
  void put(std::uint8_t byte) {
    if (chunks_.empty() || chunks_.back().size() == chunk_bytes) chunks_.emplace_back().reserve(chunk_bytes);
    chunks_.back().push_back(byte);
  }
  std::vector<std::vector<std::uint8_t>> chunks_;
  std::size_t size_ = 0;
};

}  // namespace wayfarer
