#include "merging.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <queue>

#include "vocabulary.hpp"

namespace wayfarer::tokenizing {

namespace {

/// Windows overlap by this many bytes, and are tried to meet at this many places.
constexpr std::size_t shared_bytes = std::size_t{1} << 9;
constexpr int tries_to_meet = 16;

}  // namespace

merge_table::merge_table(std::size_t expected) {
  entries_.resize(std::bit_ceil(2 * expected + 2));
  mask_ = entries_.size() - 1;
  shift_ = 64 - static_cast<unsigned>(std::countr_zero(entries_.size()));
  static char const salt[] = "merges";
  seed_ = hash_bytes(salt, sizeof salt);
}

void merge_table::add(std::int32_t left, std::int32_t right, merge value) {
  std::uint64_t const key = key_of(left, right);
  std::size_t s = place(key);
  while (entries_[s].key != empty && entries_[s].key != key) s = (s + 1) & mask_;
  entries_[s] = {key, value};
}

std::size_t merge_few(merge_table const& merges, symbol* symbols, std::size_t n) {
  struct part {
    symbol of;
    merge_table::merge with_next;
  };
  std::array<part, few_symbols> parts;
  for (std::size_t i = 0; i < n; ++i) parts[i] = {symbols[i], {}};
  for (std::size_t i = 0; i + 1 < n; ++i) parts[i].with_next = merges.find(parts[i].of.id, parts[i + 1].of.id);
  while (n > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < n; ++i)
      if (parts[i].with_next.rank < parts[best].with_next.rank) best = i;
    if (parts[best].with_next.rank == merge_table::none) break;
    parts[best].of = {parts[best].with_next.token, parts[best + 1].of.end};
    --n;
    for (std::size_t i = best + 1; i < n; ++i) parts[i] = parts[i + 1];
    parts[best].with_next = best + 1 < n ? merges.find(parts[best].of.id, parts[best + 1].of.id) : merge_table::merge{};
    if (best > 0) parts[best - 1].with_next = merges.find(parts[best - 1].of.id, parts[best].of.id);
  }
  for (std::size_t i = 0; i < n; ++i) symbols[i] = parts[i].of;
  return n;
}

/// A queue of pairs by rank, then place; pairs that a merge has changed meanwhile are passed over.
void merge(merge_table const& merges, std::vector<symbol>& symbols) {
  if (symbols.size() <= few_symbols) {
    symbols.resize(merge_few(merges, symbols.data(), symbols.size()));
    return;
  }
  struct part {
    symbol of;
    std::uint32_t previous, next;
    merge_table::merge with_next;
  };
  constexpr std::uint32_t no_part = 0xffffffff;
  auto const n = static_cast<std::uint32_t>(symbols.size());
  std::vector<part> parts(n);
  for (std::uint32_t i = 0; i < n; ++i) parts[i] = {symbols[i], i == 0 ? no_part : i - 1, i + 1 == n ? no_part : i + 1, {}};
  std::vector<std::uint64_t> start;
  start.reserve(n);
  auto const pair_up = [&](std::uint32_t i) {
    parts[i].with_next =
        parts[i].next == no_part ? merge_table::merge{} : merges.find(parts[i].of.id, parts[parts[i].next].of.id);
    return std::uint64_t{parts[i].with_next.rank} << 32 | i;
  };
  for (std::uint32_t i = 0; i < n; ++i) {
    std::uint64_t const key = pair_up(i);
    if (parts[i].with_next.rank != merge_table::none) start.push_back(key);
  }
  std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<>> queue(std::greater<>{}, std::move(start));
  while (!queue.empty()) {
    std::uint64_t const top = queue.top();
    queue.pop();
    auto const i = static_cast<std::uint32_t>(top);
    part& p = parts[i];
    if (p.with_next.rank == merge_table::none || p.with_next.rank != top >> 32) continue;
    part& gone = parts[p.next];
    p.of = {p.with_next.token, gone.of.end};
    p.next = gone.next;
    gone.with_next = {};
    if (p.next != no_part) parts[p.next].previous = i;
    for (std::uint32_t const k : {i, p.previous}) {
      if (k == no_part) continue;
      std::uint64_t const key = pair_up(k);
      if (parts[k].with_next.rank != merge_table::none) queue.push(key);
    }
  }
  symbols.clear();
  for (std::uint32_t i = 0; i != no_part; i = parts[i].next) symbols.push_back(parts[i].of);
}

/// Tokens side by side are what their text becomes as a whole if, and only if, each two neighbours alone become themselves again.
/// For pairs are merged by rank, then place, so that the first merge across the border of two tokens would happen without the
/// others too. Within a window neighbours do; where windows meet, the two that become neighbours are tried.
std::optional<packed_numbers> merge_in_windows(merge_table const& merges, std::size_t size, symbol_source const& symbols_of) {
  packed_numbers out;
  std::size_t ended = 0;
  auto const put = [&](symbol const& s) {
    out.push_back(static_cast<std::uint32_t>(s.id));
    out.push_back(s.end - ended);
    ended = s.end;
  };
  std::vector<symbol> now, next, two;
  symbols_of(0, window_bytes, now);
  merge(merges, now);
  std::size_t begin_of_now = 0;
  auto const begin_of = [&](std::size_t k) { return k == 0 ? begin_of_now : std::size_t{now[k - 1].end}; };
  while (!now.empty() && now.back().end < size) {
    std::size_t const end = now.back().end;
    std::size_t k = now.size();
    while (k > 1 && begin_of(k - 1) + shared_bytes > end) --k;
    bool met = false;
    std::size_t from = 0;
    for (int tries = 0; tries < tries_to_meet && k > 1 && !met; ++tries) {
      --k;
      from = begin_of(k);
      next.clear();
      symbols_of(from, std::min(from + window_bytes, size), next);
      merge(merges, next);
      two.clear();
      symbols_of(begin_of(k - 1), next.front().end, two);
      merge(merges, two);
      met = two.size() == 2 && two[0].id == now[k - 1].id && two[1].id == next[0].id && next.back().end > end;
    }
    if (!met) return std::nullopt;
    std::for_each(now.begin(), now.begin() + static_cast<std::ptrdiff_t>(k), put);
    std::swap(now, next);
    begin_of_now = from;
  }
  std::for_each(now.begin(), now.end(), put);
  return out;
}

}  // namespace wayfarer::tokenizing
