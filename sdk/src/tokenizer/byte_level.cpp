#include "byte_level.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <deque>
#include <functional>
#include <queue>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer::tokenizing {

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

namespace {

/// Pieces up to this many bytes are merged by looking through all pairs each time, longer ones by a queue of pairs.
constexpr std::size_t short_piece = 48;
/// Pieces longer than this are merged in windows of this many bytes; windows overlap by the second number.
constexpr std::size_t window_bytes = std::size_t{1} << 15, shared_bytes = std::size_t{1} << 10;
/// Of longer texts some are one piece, with fewer tokens.
constexpr std::size_t most_reserved = std::size_t{1} << 22;
/// Places at which two windows are tried to meet.
constexpr int tries_to_meet = 16;
/// Texts shorter than this don't pay for a cache.
constexpr std::size_t worth_a_cache = 512;
constexpr std::size_t cache_slots = 4096;

/// Pieces that were cut before in the same call: where in the text, and where in the output their tokens are.
struct seen {
  std::uint64_t hash = 0;
  std::size_t begin = 0, first_token = 0;
  std::uint32_t length = 0, tokens = 0;
};

class byte_level final : public base {
 public:
  byte_level(setting s, merge_table merges, byte_level_rules const& rules)
      : base(std::move(s)), merges_(std::move(merges)), rules_(rules) {
    for (unsigned b = 0; b < 256; ++b) {
      auto const byte = static_cast<char>(b);
      byte_tokens_[b] = tokens().find({&byte, 1});
    }
    whole_.resize(tokens().size());
    encoding scratch;
    for (std::size_t i = 0; i < whole_.size(); ++i) {
      auto const id = static_cast<std::int32_t>(i);
      if (!tokens().has(id) || added().find(id)) continue;
      std::string_view const bytes = tokens().bytes(id);
      if (bytes.empty() || bytes.size() > longest_whole || tokens().find(bytes) != id) continue;
      if (!rules_.whole_words && bytes.size() > 1) {
        bool complete = true;
        for (char const c : bytes) complete = complete && byte_tokens_[static_cast<unsigned char>(c)] >= 0;
        if (!complete) continue;
        scratch.ids.clear(), scratch.spans.clear();
        merge_short(bytes, 0, scratch);
        if (scratch.ids.size() != 1 || scratch.ids[0] != id) continue;
      }
      whole_[i] = true;
    }
  }

  std::string_view kind() const noexcept override { return "byte_level_bpe"; }

  std::string decode(std::span<std::int32_t const> ids) const override {
    std::string out;
    for (std::int32_t const id : ids) {
      check(id);
      out.append(tokens().bytes(id));
    }
    return out;
  }

  bool begins_word(std::int32_t id) const override {
    check(id);
    auto const bytes = tokens().bytes(id);
    return bytes.size() > 1 && bytes[0] == ' ' && class_of(read_character(bytes, 1)) != char_class::space;
  }

  std::optional<std::int32_t> find(std::string_view bytes) const override {
    auto const id = tokens().find(bytes);
    return id < 0 ? std::nullopt : std::optional(id);
  }

 private:
  static constexpr std::size_t longest_whole = short_piece;

  bool parts_at_spaces() const noexcept override { return rules_.split; }

  void cut(stretch const& s, encoding& out) const override {
    std::string_view const text = s.text.substr(s.begin, s.end - s.begin);
    std::size_t const likely = std::min(text.size(), most_reserved) / 4;
    out.ids.reserve(out.ids.size() + likely);
    out.spans.reserve(out.spans.size() + likely);
    std::vector<seen> cache(text.size() < worth_a_cache ? 0 : cache_slots);
    std::size_t at = 0;
    if (rules_.prefix_space && text[0] != ' ') {
      // As if the text began with a space, which then belongs to the first piece.
      std::string const with =
          ' ' + std::string(text.substr(0, rules_.split ? std::min(text.size(), longest_peek(text)) : text.size()));
      std::size_t const end = rules_.split ? end_of_piece(with, 0) : with.size();
      std::size_t const from = out.spans.size();
      piece(std::string_view(with).substr(0, end), s.begin, out);
      for (std::size_t i = from; i < out.spans.size(); ++i) {
        auto& span = out.spans[i];
        span = {std::max(span.begin, s.begin + 1) - 1, span.end - 1};
      }
      at = end - 1;
    }
    while (at < text.size()) {
      std::size_t const end = rules_.split ? end_of_piece(text, at) : text.size();
      std::string_view const now = text.substr(at, end - at);
      if (now.size() > longest_whole) {
        piece(now, s.begin + at, out, s.give);
        // What has been taken away is not where the cache says.
        if (s.give && now.size() > window_bytes) cache.assign(cache.size(), {});
      } else {
        std::uint64_t const hash = hash_bytes(now.data(), now.size());
        std::int32_t const whole = tokens().find(now, hash);
        if (whole >= 0 && whole_[static_cast<std::size_t>(whole)]) {
          out.ids.push_back(whole);
          out.spans.push_back({s.begin + at, s.begin + end});
        } else if (cache.empty()) {
          piece(now, s.begin + at, out);
        } else {
          seen& k = cache[hash >> 8 & (cache_slots - 1)];
          std::size_t const from = out.ids.size();
          if (k.hash == hash && k.tokens > 0 && text.substr(k.begin, k.length) == now) {
            for (std::size_t i = 0; i < k.tokens; ++i) {
              auto const span = out.spans[k.first_token + i];
              std::size_t const shift = at - k.begin;
              out.ids.push_back(out.ids[k.first_token + i]);
              out.spans.push_back({span.begin + shift, span.end + shift});
            }
          } else {
            piece(now, s.begin + at, out);
          }
          k = {hash, at, from, static_cast<std::uint32_t>(now.size()), static_cast<std::uint32_t>(out.ids.size() - from)};
        }
      }
      at = end;
    }
  }

  /// Enough of a text to know where its first piece, read after a space, ends.
  static std::size_t longest_peek(std::string_view text) noexcept {
    // The piece is " ?" and a run of one class, or white space that ends at the next character that is none.
    std::size_t const first = end_of_piece(text, 0);
    std::size_t end = first;
    for (int more = 0; more < 2 && end < text.size(); ++more) end = end_of_piece(text, end);
    return end;
  }

  void piece(std::string_view bytes, std::size_t begin, encoding& out, std::function<void()> const* give = nullptr) const {
    for (char const c : bytes)
      if (byte_tokens_[static_cast<unsigned char>(c)] < 0) return with_unknown(bytes, begin, out);
    merge(bytes, begin, out, give);
  }

  void merge(std::string_view bytes, std::size_t begin, encoding& out, std::function<void()> const* give = nullptr) const {
    if (bytes.size() <= short_piece)
      merge_short(bytes, begin, out);
    else if (bytes.size() <= window_bytes || !merge_windows(bytes, begin, out, give))
      merge_long(bytes, begin, out);
  }

  /// What merging the whole would give, in little memory: tokens side by side are what their text becomes as a whole if, and only
  /// if, each two neighbours alone become themselves again. For pairs are merged by rank, then place, so that the first merge
  /// across the border of two tokens would happen without the others too. Within a window neighbours do; where windows meet, the
  /// two that become neighbours are tried. False, and nothing is put out, if windows do not meet.
  bool merge_windows(std::string_view bytes, std::size_t begin, encoding& out, std::function<void()> const* give) const {
    std::deque<std::int32_t> ids;  // their texts lie end to end, so the spans need not be kept
    encoding now, next, two;
    merge_long(bytes.substr(0, window_bytes), 0, now);
    for (std::size_t end = window_bytes; end < bytes.size();) {
      std::size_t k = now.ids.size();
      while (k > 1 && now.spans[k - 1].begin + shared_bytes > end) --k;
      bool met = false;
      for (int tries = 0; tries < tries_to_meet && k > 1 && !met; ++tries) {
        std::size_t const from = now.spans[--k].begin, left = now.spans[k - 1].begin;
        next.ids.clear(), next.spans.clear();
        merge_long(bytes.substr(from, window_bytes), from, next);
        two.ids.clear(), two.spans.clear();
        merge_long(bytes.substr(left, next.spans[0].end - left), left, two);
        met = two.ids.size() == 2 && two.ids[0] == now.ids[k - 1] && two.ids[1] == next.ids[0];
        if (met) end = from + window_bytes;
      }
      if (!met) return false;
      ids.insert(ids.end(), now.ids.begin(), now.ids.begin() + static_cast<std::ptrdiff_t>(k));
      std::swap(now, next);
    }
    ids.insert(ids.end(), now.ids.begin(), now.ids.end());
    for (std::int32_t const id : ids) {
      std::size_t const length = tokens().bytes(id).size();
      out.ids.push_back(id);
      out.spans.push_back({begin, begin + length});
      begin += length;
      if (give) (*give)();
    }
    return true;
  }

  /// Bytes without a token stand apart: nothing merges with them.
  void with_unknown(std::string_view bytes, std::size_t begin, encoding& out) const {
    std::size_t from = 0;
    bool after_unknown = false;
    for (std::size_t i = 0; i <= bytes.size(); ++i) {
      bool const known = i < bytes.size() && byte_tokens_[static_cast<unsigned char>(bytes[i])] >= 0;
      if (known) continue;
      if (i > from) merge(bytes.substr(from, i - from), begin + from, out);
      if (i < bytes.size()) {
        if (rules_.unknown < 0)
          throw usage_error("the vocabulary of " + files().front() + " has no token for " + in_quotes(bytes.substr(i, 1)) +
                            ", at byte " + std::to_string(begin + i) + " of the text, and no unknown token");
        if (rules_.fuse_unknown && after_unknown && i == from) {
          out.spans.back().end = begin + i + 1;
        } else {
          out.ids.push_back(rules_.unknown);
          out.spans.push_back({begin + i, begin + i + 1});
        }
        after_unknown = true;
      }
      from = i + 1;
    }
  }

  void merge_short(std::string_view bytes, std::size_t begin, encoding& out) const {
    struct part {
      std::int32_t id;
      std::uint32_t end;
      merge_table::merge with_next;
    };
    std::array<part, short_piece> parts;
    std::size_t n = bytes.size();
    for (std::size_t i = 0; i < n; ++i)
      parts[i] = {byte_tokens_[static_cast<unsigned char>(bytes[i])], static_cast<std::uint32_t>(i + 1), {}};
    for (std::size_t i = 0; i + 1 < n; ++i) parts[i].with_next = merges_.find(parts[i].id, parts[i + 1].id);
    while (n > 1) {
      std::size_t best = 0;
      for (std::size_t i = 1; i + 1 < n; ++i)
        if (parts[i].with_next.rank < parts[best].with_next.rank) best = i;
      if (parts[best].with_next.rank == merge_table::none) break;
      parts[best].id = parts[best].with_next.token;
      parts[best].end = parts[best + 1].end;
      --n;
      for (std::size_t i = best + 1; i < n; ++i) parts[i] = parts[i + 1];
      parts[best].with_next = best + 1 < n ? merges_.find(parts[best].id, parts[best + 1].id) : merge_table::merge{};
      if (best > 0) parts[best - 1].with_next = merges_.find(parts[best - 1].id, parts[best].id);
    }
    for (std::size_t i = 0, from = 0; i < n; from = parts[i].end, ++i) {
      out.ids.push_back(parts[i].id);
      out.spans.push_back({begin + from, begin + parts[i].end});
    }
  }

  /// O(n log n): a queue of pairs by rank, then place; pairs that a merge has changed meanwhile are passed over.
  void merge_long(std::string_view bytes, std::size_t begin, encoding& out) const {
    struct part {
      std::int32_t id;
      std::uint32_t previous, next, end;
      merge_table::merge with_next;
    };
    constexpr std::uint32_t no_part = 0xffffffff;
    auto const n = static_cast<std::uint32_t>(bytes.size());
    std::vector<part> parts(n);
    for (std::uint32_t i = 0; i < n; ++i)
      parts[i] = {
          byte_tokens_[static_cast<unsigned char>(bytes[i])], i == 0 ? no_part : i - 1, i + 1 == n ? no_part : i + 1, i + 1, {}};
    std::vector<std::uint64_t> start;
    start.reserve(n);
    auto const pair_up = [&](std::uint32_t i) {
      parts[i].with_next = parts[i].next == no_part ? merge_table::merge{} : merges_.find(parts[i].id, parts[parts[i].next].id);
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
      p.id = p.with_next.token;
      p.end = gone.end;
      p.next = gone.next;
      gone.with_next = {};
      if (p.next != no_part) parts[p.next].previous = i;
      for (std::uint32_t const k : {i, p.previous}) {
        if (k == no_part) continue;
        std::uint64_t const key = pair_up(k);
        if (parts[k].with_next.rank != merge_table::none) queue.push(key);
      }
    }
    for (std::uint32_t i = 0, from = 0; i != no_part; from = parts[i].end, i = parts[i].next) {
      out.ids.push_back(parts[i].id);
      out.spans.push_back({begin + from, begin + parts[i].end});
    }
  }

  merge_table merges_;
  byte_level_rules rules_;
  std::array<std::int32_t, 256> byte_tokens_{};
  std::vector<bool> whole_;
};

}  // namespace

std::shared_ptr<tokenizer const> make_byte_level(setting s, merge_table merges, byte_level_rules const& rules) {
  return std::make_shared<byte_level const>(std::move(s), std::move(merges), rules);
}

}  // namespace wayfarer::tokenizing
