// The tokens of a tokenizer: bytes by id, id by bytes. Built once while a file is read, then immutable; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>

#include "text.hpp"

namespace wayfarer::tokenizing {

/// Mixed so that a crafted file can't make all tokens collide: the seed differs from process to process.
std::uint64_t hash_bytes(char const* at, std::size_t n) noexcept;

/// Complains about a file: throws the data_error that names it and the place.
class refusal {
 public:
  explicit refusal(std::function<void(std::string const& what)> f) : throw_(std::move(f)) {}
  [[noreturn]] void operator()(std::string const& what) const {
    throw_(what);
    throw data_error(what);
  }

 private:
  std::function<void(std::string const&)> throw_;
};

class vocabulary {
 public:
  /// Adds a token. Ids may come in any order. Refuses an id that is taken, or beyond what `expect` allows. `find` passes over
  /// tokens that are hidden.
  void add(std::int32_t id, std::string_view bytes, refusal const&, bool hidden = false);
  /// How many tokens the file can hold: ids must be below about twice that, so that memory is bounded by the file.
  void expect(std::size_t tokens) noexcept { limit_ = 2 * tokens + 1024; }
  /// Makes `find` work; when two tokens have the same bytes it gives the lower id.
  void index();

  /// One beyond the highest id.
  std::size_t size() const noexcept { return at_.size(); }
  bool has(std::int32_t id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < at_.size() && at_[static_cast<std::size_t>(id)].begin != absent;
  }
  /// Valid as long as the vocabulary; `id` must be there.
  std::string_view bytes(std::int32_t id) const noexcept {
    auto const& p = at_[static_cast<std::size_t>(id)];
    return {arena_.data() + p.begin, p.length};
  }
  std::int32_t find(std::string_view bytes) const noexcept {
    return slots_.empty() ? -1 : find(bytes, hash_bytes(bytes.data(), bytes.size()));
  }
  std::int32_t find(std::string_view bytes, std::uint64_t hash) const noexcept {
    for (std::size_t s = hash & mask_;; s = (s + 1) & mask_) {
      slot const& k = slots_[s];
      if (k.id < 0) return -1;
      if (k.tag == static_cast<std::uint32_t>(hash >> 32) && this->bytes(k.id) == bytes) return k.id;
    }
  }

 private:
  static constexpr std::uint32_t absent = 0xffffffff;
  struct place {
    std::uint32_t begin = absent, length = 0;
  };
  struct slot {
    std::int32_t id = -1;
    std::uint32_t tag = 0;
  };
  std::string arena_;
  std::vector<std::int32_t> hidden_;
  std::vector<place> at_;
  std::vector<slot> slots_;
  std::size_t mask_ = 0, limit_ = 0;
};

}  // namespace wayfarer::tokenizing
