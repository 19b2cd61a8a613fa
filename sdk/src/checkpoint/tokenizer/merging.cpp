#include "merging.hpp"

#include <algorithm>
#include <array>
#include <bit>

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
  constexpr unsigned bits_an_entry = 4;  // a power of two
  filter_.resize(std::max<std::size_t>(entries_.size() * bits_an_entry / 64, 1));
  filter_shift_ = 64 - static_cast<unsigned>(std::countr_zero(filter_.size() * 64));
  static char const salt[] = "merges";
  seed_ = hash_bytes(salt, sizeof salt);
}

void merge_table::add(std::int32_t left, std::int32_t right, merge value) {
  std::uint64_t const key = key_of(left, right);
  std::uint64_t const hash = hash_of(key), bit = hash >> filter_shift_;
  filter_[bit / 64] |= std::uint64_t{1} << bit % 64;
  std::size_t s = place(hash);
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

/// Each pair is a leaf with its rank and place; a node holds the lower of its two. The root is what to merge next, and a merge
/// changes three leaves. Nodes are set without branches, which take most of a queue's time: no guess of them comes true.
void merge(merge_table const& merges, std::vector<symbol>& symbols) {
  if (symbols.size() <= few_symbols) {
    symbols.resize(merge_few(merges, symbols.data(), symbols.size()));
    return;
  }
  // Text that the vocabulary has byte by byte merges nowhere, and there is much of it where there is any.
  auto const merges_with_next = [&](symbol const& a, symbol const& b) {
    return merges.find(a.id, b.id).rank != merge_table::none;
  };
  if (std::adjacent_find(symbols.begin(), symbols.end(), merges_with_next) == symbols.end()) return;
  struct part {
    symbol of;
    std::uint32_t previous, next;
    std::int32_t with_next;  // the token that the merge gives
  };
  constexpr std::uint32_t no_part = 0xffffffff;
  constexpr std::uint64_t no_pair = ~std::uint64_t{0};
  auto const n = static_cast<std::uint32_t>(symbols.size());
  std::size_t const leaves = std::bit_ceil(std::size_t{n});
  std::vector<part> all_parts(n);
  std::vector<std::uint64_t> all_nodes(2 * leaves, no_pair);
  // Plain pointers: checks of each index would take a third of the time.
  part* const parts = all_parts.data();
  std::uint64_t* const nodes = all_nodes.data();
  for (std::uint32_t i = 0; i < n; ++i) parts[i] = {symbols[i], i == 0 ? no_part : i - 1, i + 1 == n ? no_part : i + 1, -1};
  auto const pair_up = [&](std::uint32_t i) {
    merge_table::merge found;
    if (parts[i].next != no_part) found = merges.find(parts[i].of.id, parts[parts[i].next].of.id);
    parts[i].with_next = found.token;
    nodes[leaves + i] = found.rank == merge_table::none ? no_pair : std::uint64_t{found.rank} << 32 | i;
  };
  auto const set = [&](std::size_t node) { nodes[node] = std::min(nodes[2 * node], nodes[2 * node + 1]); };
  for (std::uint32_t i = 0; i < n; ++i) pair_up(i);
  for (std::size_t node = leaves - 1; node > 0; --node) set(node);
  while (nodes[1] != no_pair) {
    auto const i = static_cast<std::uint32_t>(nodes[1]);
    part& p = parts[i];
    std::uint32_t const gone = p.next, first = p.previous == no_part ? i : p.previous;
    p.of = {p.with_next, parts[gone].of.end};
    p.next = parts[gone].next;
    if (p.next != no_part) parts[p.next].previous = i;
    nodes[leaves + gone] = no_pair;
    pair_up(i);
    if (first != i) pair_up(first);
    std::size_t low = (leaves + first) / 2, middle = (leaves + i) / 2, high = (leaves + gone) / 2;
    for (; low != high; low /= 2, middle /= 2, high /= 2) set(low), set(middle), set(high);
    for (; low > 0; low /= 2) set(low);
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
