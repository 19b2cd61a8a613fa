#include "prefix_states.hpp"

#include <algorithm>
#include <string_view>

namespace wayfarer {
namespace {

/// All that the states of a batch depend on, besides the model.
std::vector<std::int64_t> key_of(batch const& items, dtype precision) {
  std::vector<std::int64_t> key{static_cast<std::int64_t>(precision)};
  for (std::size_t i = 0; i < items.items(); ++i) {
    auto const tokens = items.tokens[i];
    key.push_back(static_cast<std::int64_t>(tokens.size()));
    key.push_back(items.first_position.empty() ? 0 : static_cast<std::int64_t>(items.first_position.at(i)));
    key.insert(key.end(), tokens.begin(), tokens.end());
  }
  return key;
}

std::uint64_t hash_of(std::vector<std::int64_t> const& key) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (auto const n : key) hash = (hash ^ static_cast<std::uint64_t>(n)) * 0x100000001b3u;
  return hash;
}

std::size_t bytes_of(rows const& x) {
  return x.count() * x.width() * size_of(x.type());
}

}  // namespace

std::size_t untouched_blocks(taps& at, std::size_t layers) {
  for (std::string_view const hook : {"hook_embed", "hook_pos_embed"})
    if (at.wants(hook)) return 0;
  if (at.in("embed_ln").any()) return 0;
  std::size_t n = 0;
  while (n < layers && !at.block("blocks", n).any()) ++n;
  return n;
}

bool prefix_states::seen_often(std::uint64_t hash) {
  constexpr std::size_t remembered = 64;
  constexpr unsigned often = 3;
  auto const known = std::find_if(seen_.begin(), seen_.end(), [&](auto const& one) { return one.first == hash; });
  std::pair<std::uint64_t, unsigned> now{hash, 1};
  if (known != seen_.end()) {
    now.second = std::min(often, known->second + 1);
    seen_.erase(known);
  } else if (seen_.size() == remembered) {
    seen_.erase(seen_.begin());
  }
  seen_.push_back(now);
  return now.second == often;
}

prefix_states::pass prefix_states::open(batch const& items, dtype precision, std::size_t untouched) {
  pass now;
  // States that are given may be anything.
  if (untouched == 0 || items.embeddings.defined()) return now;
  now.key_ = key_of(items, precision);
  now.hash_ = hash_of(now.key_);
  now.untouched_ = untouched;
  std::lock_guard const lock(mutex_);
  if (seen_often(now.hash_)) now.of_ = this;
  auto const found =
      std::find_if(all_.begin(), all_.end(), [&](kept const& one) { return one.hash == now.hash_ && one.key == now.key_; });
  if (found == all_.end()) return now;
  all_.splice(all_.begin(), all_, found);
  for (std::size_t i = std::min(untouched, found->before.size() - 1); i > 0 && now.begin_ == 0; --i)
    if (found->before[i].width() != 0) now.begin_ = i, now.state_ = found->before[i];
  return now;
}

void prefix_states::pass::before(std::size_t block, rows const& x) {
  if (of_ && block > begin_ && block <= untouched_) of_->keep(*this, block, x);
}

void prefix_states::keep(pass const& by, std::size_t block, rows const& x) {
  std::size_t const more = bytes_of(x);
  if (more > most_bytes_) return;
  std::lock_guard const lock(mutex_);
  auto found =
      std::find_if(all_.begin(), all_.end(), [&](kept const& one) { return one.hash == by.hash_ && one.key == by.key_; });
  if (found == all_.end()) found = all_.insert(all_.begin(), {by.hash_, by.key_, {}, 0});
  if (found->before.size() <= block) found->before.resize(block + 1);
  if (found->before[block].width() != 0) return;
  found->before[block] = x;
  found->bytes += more, bytes_ += more;
  // The oldest batches go first, then this one's shallowest states.
  while (bytes_ > most_bytes_ && std::next(found) != all_.end()) bytes_ -= all_.back().bytes, all_.pop_back();
  for (std::size_t i = 0; bytes_ > most_bytes_ && i < block; ++i)
    if (auto& state = found->before[i]; state.width() != 0) {
      std::size_t const less = bytes_of(state);
      found->bytes -= less, bytes_ -= less, state = {};
    }
}

}  // namespace wayfarer
