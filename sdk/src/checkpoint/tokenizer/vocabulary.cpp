#include "vocabulary.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

namespace wayfarer::tokenizing {

namespace {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using wide = unsigned __int128;
  wide const product = static_cast<wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t make_seed() {
  std::random_device r;
  return (std::uint64_t{r()} << 32 | r()) | 1;
}

}  // namespace

std::uint64_t hash_bytes(char const* at, std::size_t n) noexcept {
  static std::uint64_t const seed = make_seed();
  std::uint64_t h = seed ^ n;
  std::uint64_t word;
  for (; n > 8; at += 8, n -= 8) {
    std::memcpy(&word, at, 8);
    h = mix(h ^ word, 0x9e3779b97f4a7c15);
  }
  word = 0;
  if (n >= 4) {
    std::uint32_t low, high;
    std::memcpy(&low, at, 4);
    std::memcpy(&high, at + n - 4, 4);
    word = std::uint64_t{high} << 32 | low;
  } else if (n > 0) {
    word = std::uint64_t{static_cast<unsigned char>(at[0])} | std::uint64_t{static_cast<unsigned char>(at[n / 2])} << 8 |
           std::uint64_t{static_cast<unsigned char>(at[n - 1])} << 16;
  }
  return mix(h ^ word, 0xd6e8feb86659fd93 ^ seed);
}

void vocabulary::add(std::int32_t id, std::string_view bytes, refusal const& refuse, bool hidden) {
  if (id < 0) refuse("token id " + std::to_string(id) + " is negative");
  auto const at = static_cast<std::size_t>(id);
  if (at >= limit_) refuse("token id " + std::to_string(id) + " is far beyond the number of tokens");
  if (arena_.size() + bytes.size() >= absent) refuse("the tokens are longer than 4 GiB together");
  if (at >= at_.size()) at_.resize(at + 1);
  if (at_[at].begin != absent) refuse("two tokens have the id " + std::to_string(id));
  at_[at] = {static_cast<std::uint32_t>(arena_.size()), static_cast<std::uint32_t>(bytes.size())};
  arena_.append(bytes);
  if (hidden) hidden_.push_back(id);
}

void vocabulary::index() {
  slots_.assign(std::bit_ceil(2 * at_.size() + 2), slot{});
  mask_ = slots_.size() - 1;
  std::sort(hidden_.begin(), hidden_.end());
  for (std::size_t i = 0; i < at_.size(); ++i) {
    auto const id = static_cast<std::int32_t>(i);
    if (!has(id) || std::binary_search(hidden_.begin(), hidden_.end(), id)) continue;
    std::string_view const b = bytes(id);
    std::uint64_t const h = hash_bytes(b.data(), b.size());
    if (find(b, h) >= 0) continue;
    std::size_t s = h & mask_;
    while (slots_[s].id >= 0) s = (s + 1) & mask_;
    slots_[s] = {id, static_cast<std::uint32_t>(h >> 32)};
  }
}

}  // namespace wayfarer::tokenizing
