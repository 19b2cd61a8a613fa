#include "unigram.hpp"

#include <algorithm>
#include <limits>

namespace wayfarer::tokenizing {

namespace {

/// A character without a piece costs this much more than the worst piece.
constexpr double unknown_penalty = 10;

struct piece {
  std::int32_t id = 0;
  std::uint32_t begin = 0, end = 0;  // in the normalised text
};

/// The best cut of `text`; neighbouring unknown characters are one piece. Sum is the type that sums of scores are kept in: ties
/// and nearly equal sums fall as they do in the library that keeps them so.
template <class Sum>
class lattice {
 public:
  /// `before` is the sum of what stands before the text; the answer is the sum at its end.
  Sum cut(std::string_view text, unigram_pieces const& p, std::vector<piece>& out, Sum before = 0) {
    auto const size = static_cast<std::uint32_t>(text.size());
    best_.assign(size + 1, {});
    best_[0].score = before;
    Sum const unknown = static_cast<Sum>(static_cast<Sum>(p.lowest) - static_cast<Sum>(unknown_penalty));
    for (std::uint32_t begin = 0; begin < size;) {
      Sum const here = best_[begin].score;
      std::uint32_t const one = begin + std::min<std::uint32_t>(read_character(text, begin).length, size - begin);
      bool single = false;
      auto at = byte_trie::root();
      for (std::uint32_t i = begin; i < size;) {
        at = p.trie.step(at, static_cast<unsigned char>(text[i]));
        if (at == byte_trie::none) break;
        ++i;
        std::int32_t const id = p.trie.token(at);
        if (id < 0) continue;
        double const score = p.defined[static_cast<std::size_t>(id)]
                                 ? static_cast<double>(static_cast<Sum>(i - begin) * static_cast<Sum>(p.highest)) - 0.1
                                 : p.scores[static_cast<std::size_t>(id)];
        offer(i, begin, id, score + here);
        single = single || i == one;
      }
      if (!single) offer(one, begin, p.unknown, static_cast<Sum>(unknown + here));
      begin = one;
    }
    std::size_t const from = out.size();
    for (std::uint32_t end = size; end > 0; end = best_[end].begin) {
      auto const& b = best_[end];
      if (b.id == p.unknown && out.size() > from && out.back().id == p.unknown)
        out.back().begin = b.begin;
      else
        out.push_back({b.id, b.begin, end});
    }
    std::reverse(out.begin() + static_cast<std::ptrdiff_t>(from), out.end());
    return best_[size].score;
  }

 private:
  struct node {
    std::int32_t id = -1;
    std::uint32_t begin = 0xffffffff;
    Sum score = 0;
  };
  // The library compares before it rounds to its own type.
  template <class Wide>
  void offer(std::uint32_t end, std::uint32_t begin, std::int32_t id, Wide score) {
    node& n = best_[end];
    if (n.begin == 0xffffffff || score > n.score) n = {id, begin, static_cast<Sum>(score)};
  }
  std::vector<node> best_;
};

class unigram : public base {
 public:
  unigram(setting s, unigram_pieces p, bool strip_first) : base(std::move(s)), pieces_(std::move(p)), strip_first_(strip_first) {}

  std::string_view kind() const noexcept override { return "unigram"; }

  std::string decode(std::span<std::int32_t const> ids) const override {
    std::string out;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      check(ids[i]);
      std::string_view bytes = tokens().bytes(ids[i]);
      // The space before the first word was put there, or was never told from one that was.
      if (strip_first_ && i == 0 && !added().find(ids[i]))
        while (bytes.starts_with(' ')) bytes.remove_prefix(1);
      out.append(bytes);
    }
    return out;
  }

  bool begins_word(std::int32_t id) const override {
    check(id);
    return tokens().bytes(id).starts_with(' ') && !added().find(id);
  }

  std::optional<std::int32_t> find(std::string_view bytes) const override {
    auto const id = tokens().find(bytes);
    return id < 0 ? std::nullopt : std::optional(id);
  }

 protected:
  unigram_pieces const& pieces() const noexcept { return pieces_; }

  void put(piece const& p, aligned_text const& t, std::uint32_t shift, encoding& out) const {
    std::size_t const begin = p.begin + shift, end = p.end + shift;
    if (p.id == pieces_.unknown && !pieces_.byte_tokens.empty()) {
      for (std::size_t i = begin; i < end; ++i) {
        out.ids.push_back(pieces_.byte_tokens[static_cast<unsigned char>(t.text[i])]);
        out.spans.push_back({t.from[i].begin, t.from[i].end});
      }
      return;
    }
    out.ids.push_back(p.id);
    out.spans.push_back({t.from[begin].begin, t.from[end - 1].end});
  }

 private:
  unigram_pieces pieces_;
  bool strip_first_;
};

class sentencepiece_unigram final : public unigram {
 public:
  sentencepiece_unigram(setting s, unigram_pieces p, sentencepiece_rules r)
      : unigram(std::move(s), std::move(p), r.dummy_prefix), rules_(std::move(r)) {
    // Then every cut of a text has a border before each space.
    parts_ = rules_.escape_spaces && tokens().find(" ") >= 0;
    for (std::size_t i = 0; parts_ && i < tokens().size(); ++i)
      if (auto const id = static_cast<std::int32_t>(i); tokens().has(id))
        parts_ = tokens().bytes(id).find(' ', 1) == std::string_view::npos;
  }

 private:
  bool parts_at_spaces() const noexcept override { return parts_; }

  void cut(stretch const& s, encoding& out) const override {
    aligned_text const text = normalise(s);
    lattice<float> l;
    std::vector<piece> cut;
    // Sums go on from part to part: as they grow they are rounded more coarsely, which may decide.
    float const sum = l.cut(text.text, pieces(), cut, s.goes_on && s.score ? static_cast<float>(*s.score) : 0.0f);
    if (s.score) *s.score = sum;
    for (piece const& p : cut) put(p, text, 0, out);
  }

  struct prefix {
    std::string_view text;
    std::size_t length;
  };
  prefix next(std::string_view text) const {
    auto at = byte_trie::root();
    std::size_t longest = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      at = rules_.defined.step(at, static_cast<unsigned char>(text[i]));
      if (at == byte_trie::none) break;
      if (rules_.defined.token(at) >= 0) longest = i + 1;
    }
    if (longest > 0) return {text.substr(0, longest), longest};
    if (auto const with = rules_.map->longest(text); with.length > 0) return {with.text, with.length};
    character const c = read_character(text, 0);
    return c.valid ? prefix{text.substr(0, c.length), c.length} : prefix{"\xef\xbf\xbd", 1};
  }

  aligned_text normalise(stretch const& s) const {
    aligned_text out;
    std::string_view const text = s.text.substr(0, s.end);
    std::size_t at = s.begin;
    out.text.reserve(s.end - s.begin + 3);
    out.from.reserve(s.end - s.begin + 3);
    std::string_view const space = rules_.escape_spaces ? space_mark : " ";
    if (rules_.squeeze_spaces && !s.goes_on)
      while (at < s.end) {
        prefix const p = next(text.substr(at));
        if (p.text != " ") break;
        at += p.length;
      }
    if (at == s.end) return out;
    // Behind an added token T5's later rule keeps a space that is there, and puts none.
    bool const put_prefix = rules_.prefix_once && s.begin != 0
                                ? text[s.begin] == ' ' || text.substr(s.begin).starts_with(space_mark)
                                : rules_.dummy_prefix;
    auto const origin = [](std::size_t begin, std::size_t end) {
      return aligned_text::origin{static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)};
    };
    if (put_prefix && !s.goes_on) out.put(space, origin(at, at));
    bool after_space = rules_.squeeze_spaces && !s.goes_on;
    while (at < s.end) {
      prefix const p = next(text.substr(at));
      std::string_view with = p.text;
      while (after_space && with.starts_with(' ')) with.remove_prefix(1);
      auto const from = origin(at, at + p.length);
      for (char const c : with) {
        if (c == ' ')
          out.put(space, from);
        else
          out.put({&c, 1}, from);
      }
      if (!with.empty()) after_space = with.ends_with(' ');
      if (!rules_.squeeze_spaces) after_space = false;
      at += p.length;
    }
    if (rules_.squeeze_spaces)
      while (out.text.ends_with(space)) {
        out.text.resize(out.text.size() - space.size());
        out.from.resize(out.text.size());
      }
    return out;
  }

  sentencepiece_rules rules_;
  bool parts_ = false;
};

class metaspace_unigram final : public unigram {
 public:
  metaspace_unigram(setting s, unigram_pieces p, metaspace_rules r)
      : unigram(std::move(s), std::move(p), r.prepend != metaspace_rules::prefix::never), rules_(std::move(r)) {}

 private:
  /// Words that were cut before in the same call, and their pieces in a common list.
  struct seen {
    std::uint64_t hash = 0;
    std::uint32_t begin = 0, length = 0, first = 0, pieces = 0;
  };
  struct state {
    aligned_text text;
    std::vector<seen> cache;
    std::vector<piece> known, once;
    lattice<double> cutter;
  };
  static constexpr std::size_t cache_slots = 8192, longest_cached = 64;

  void cut(stretch const& s, encoding& out) const override {
    aligned_text const text = normalized(align(s.text, s.begin, s.end), steps());
    cut_normalized(text, 0, text.text.size(), out);
  }

  void cut_normalized(aligned_text const& text, std::size_t begin, std::size_t to, encoding& out) const override {
    if (begin == to) return;
    std::string_view const all = std::string_view(text.text).substr(0, to);
    state now;
    now.text.text.reserve((to - begin) + (to - begin) / 4);
    now.text.from.reserve((to - begin) + (to - begin) / 4);
    if (to - begin > 512) now.cache.resize(cache_slots);
    bool const first = text.from[begin].begin == 0;
    if (!rules_.split_at_white_space) {
      word(text, begin, to, first, now, out);
      return;
    }
    for (std::size_t i = begin; i < to;) {
      std::size_t end = i;
      character c{};
      while (end < to) {
        c = read_character(all, end);
        if (class_of(c) == char_class::space) break;
        end += c.length;
      }
      if (end > i) word(text, i, end, first && i == begin, now, out);
      i = end < to ? end + c.length : end;
    }
  }

  /// text[begin, end): marks its spaces and cuts it before them.
  void word(aligned_text const& text, std::size_t begin, std::size_t end, bool first, state& now, encoding& out) const {
    if (begin == end) return;
    auto& marked = now.text;
    std::size_t const from = marked.text.size();
    std::string_view const all = text.text;
    using prefix = metaspace_rules::prefix;
    bool const prepend = rules_.prepend == prefix::always || (rules_.prepend == prefix::first && first);
    if (prepend && all[begin] != ' ' && !all.substr(begin, end - begin).starts_with(space_mark))
      marked.put(space_mark, {text.from[begin].begin, text.from[begin].begin});
    for (std::size_t i = begin; i < end; ++i) {
      if (all[i] == ' ')
        marked.put(space_mark, text.from[i]);
      else
        marked.put(all.substr(i, 1), text.from[i]);
    }
    if (!rules_.split) return pieces_of(from, marked.text.size(), now, out);
    for (std::size_t i = from; i < marked.text.size();) {
      std::size_t const next = std::min(marked.text.find(space_mark, i + 1), marked.text.size());
      pieces_of(i, next, now, out);
      i = next;
    }
  }

  void pieces_of(std::size_t begin, std::size_t end, state& now, encoding& out) const {
    std::string_view const word = std::string_view(now.text.text).substr(begin, end - begin);
    auto const shift = static_cast<std::uint32_t>(begin);
    if (now.cache.empty() || word.size() > longest_cached) {
      now.once.clear();
      now.cutter.cut(word, pieces(), now.once);
      for (piece const& p : now.once) put(p, now.text, shift, out);
      return;
    }
    std::uint64_t const hash = hash_bytes(word.data(), word.size());
    seen& k = now.cache[hash >> 8 & (cache_slots - 1)];
    if (k.hash != hash || k.length != word.size() || std::string_view(now.text.text).substr(k.begin, k.length) != word) {
      auto const first = static_cast<std::uint32_t>(now.known.size());
      now.cutter.cut(word, pieces(), now.known);
      k = {hash, shift, static_cast<std::uint32_t>(word.size()), first, static_cast<std::uint32_t>(now.known.size() - first)};
    }
    for (std::uint32_t i = 0; i < k.pieces; ++i) put(now.known[k.first + i], now.text, shift, out);
  }

  metaspace_rules rules_;
};

}  // namespace

std::string with_spaces(std::string_view piece) {
  std::string out;
  for (std::size_t i = 0; i < piece.size();) {
    if (piece.substr(i).starts_with(space_mark)) {
      out += ' ';
      i += space_mark.size();
    } else {
      out += piece[i++];
    }
  }
  return out;
}

std::shared_ptr<tokenizer const> make_unigram(setting s, unigram_pieces p, sentencepiece_rules r) {
  return std::make_shared<sentencepiece_unigram const>(std::move(s), std::move(p), std::move(r));
}

std::shared_ptr<tokenizer const> make_unigram(setting s, unigram_pieces p, metaspace_rules r) {
  return std::make_shared<metaspace_unigram const>(std::move(s), std::move(p), std::move(r));
}

}  // namespace wayfarer::tokenizing
