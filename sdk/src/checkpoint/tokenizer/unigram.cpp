#include "unigram.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>

namespace wayfarer::tokenizing {

namespace {

/// A character without a piece costs this much more than the worst piece.
constexpr double unknown_penalty = 10;

/// The best cut of a text that comes bit by bit; neighbouring unknown characters are pieces of their own here. Sum is the type
/// that sums of scores are kept in: ties and nearly equal sums fall as they do in the library that keeps them so.
///
/// Held are the text that is not settled and, for each of its bytes, the length of the piece that ends there on the best way to
/// it; scores of the bytes that a piece can still reach. Where all ways meet, what lies before is settled.
template <class Sum>
class lattice {
 public:
  /// `before` is the sum of what stands before the text.
  void start(Sum before = 0) {
    text_.clear();
    back_.assign(1, 0);
    begin_ = dropped_ = 0;
    check_at_ = first_check;
    score(0) = before;
  }
  void add(std::string_view more) { text_.append(more); }
  std::size_t waiting() const noexcept { return text_.size() - begin_; }
  /// Of the whole text, once it is settled.
  Sum sum() const noexcept { return scores_[dropped_ & mask]; }

  /// Reads on, and calls `put(text, id)` for pieces that no later text can change; for all if the text is `whole`.
  template <class Put>
  void settle(unigram_pieces const& p, bool whole, Put&& put) {
    read(p, whole);
    std::size_t const to = whole ? text_.size() : begin_ < check_at_ ? 0 : where_ways_meet();
    // The way back becomes the way on, in its own place.
    std::uint16_t length = back_[to];
    for (std::size_t end = to; end > 0;) {
      end -= length;
      std::swap(length, back_[end]);
    }
    for (std::size_t at = 0; at < to;) {
      std::size_t const n = back_[at];
      auto node = byte_trie::root();
      for (std::size_t i = at; i < at + n && node != byte_trie::none; ++i)
        node = p.trie.step(node, static_cast<unsigned char>(text_[i]));
      std::int32_t const id = node == byte_trie::none ? -1 : p.trie.token(node);
      put(std::string_view(text_).substr(at, n), id < 0 ? p.unknown : id);
      at += n;
    }
    text_.erase(0, to);
    back_.erase(back_.begin(), back_.begin() + static_cast<std::ptrdiff_t>(to));
    begin_ -= to, dropped_ += to;
    // Ways that never meet are asked for ever more rarely.
    if (begin_ >= check_at_ || to > 0) check_at_ = std::max(first_check, 2 * begin_);
  }

 private:
  static constexpr std::size_t first_check = 1 << 14, mask = 2 * longest_token - 1;
  static_assert((longest_token & (longest_token - 1)) == 0);

  Sum& score(std::size_t at) noexcept { return scores_[(dropped_ + at) & mask]; }

  void read(unigram_pieces const& p, bool whole) {
    std::size_t const size = text_.size();
    back_.resize(size + 1);
    Sum const unknown = static_cast<Sum>(static_cast<Sum>(p.lowest) - static_cast<Sum>(unknown_penalty));
    while (begin_ < size && (whole || size - begin_ > longest_token)) {
      std::size_t const begin = begin_;
      Sum const here = score(begin);
      std::size_t const one = begin + std::min<std::size_t>(read_character(text_, begin).length, size - begin);
      bool single = false;
      auto at = byte_trie::root();
      for (std::size_t i = begin; i < size;) {
        at = p.trie.step(at, static_cast<unsigned char>(text_[i]));
        if (at == byte_trie::none) break;
        ++i;
        std::int32_t const id = p.trie.token(at);
        if (id < 0) continue;
        double const score = p.defined[static_cast<std::size_t>(id)]
                                 ? static_cast<double>(static_cast<Sum>(i - begin) * static_cast<Sum>(p.highest)) - 0.1
                                 : p.scores[static_cast<std::size_t>(id)];
        offer(i, begin, score + here);
        single = single || i == one;
      }
      if (!single) offer(one, begin, static_cast<Sum>(unknown + here));
      begin_ = one;
    }
  }

  // The library compares before it rounds to its own type.
  template <class Wide>
  void offer(std::size_t end, std::size_t begin, Wide sum) {
    if (back_[end] != 0 && !(sum > score(end))) return;
    back_[end] = static_cast<std::uint16_t>(end - begin);
    score(end) = static_cast<Sum>(sum);
  }

  /// The last place that the best ways to all places that may still matter have in common.
  std::size_t where_ways_meet() {
    std::vector<std::size_t> ends;  // a heap
    for (std::size_t i = begin_; i < back_.size() && i <= begin_ + longest_token; ++i)
      if (i == begin_ || back_[i] != 0) ends.push_back(i);
    std::make_heap(ends.begin(), ends.end());
    while (ends.size() > 1) {
      std::pop_heap(ends.begin(), ends.end());
      std::size_t const last = ends.back();
      if (ends.front() == last) {
        ends.pop_back();
        continue;
      }
      ends.back() = last - back_[last];
      std::push_heap(ends.begin(), ends.end());
    }
    return ends.front();
  }

  std::string text_;
  std::vector<std::uint16_t> back_;  // by end; 0: no way leads there yet
  std::size_t begin_ = 0, dropped_ = 0, check_at_ = first_check;
  std::array<Sum, mask + 1> scores_{};
};

/// Where the bytes of a text come from, first in, first out: two bytes for each that comes close behind the one before.
class origin_queue {
 public:
  void clear() {
    codes_.clear(), far_.clear();
    next_ = next_far_ = 0;
    last_in_ = last_out_ = 0;
  }
  void add(origin o) {
    std::uint32_t const ahead = o.begin - last_in_, length = o.end - o.begin;  // what goes back wraps around, and is far
    if (ahead < 255 && length < 256) {
      codes_.push_back(static_cast<std::uint16_t>(ahead << 8 | length));
    } else {
      codes_.push_back(is_far);
      far_.push_back(o);
    }
    last_in_ = o.begin;
  }
  origin take() {
    std::uint16_t const code = codes_[next_++];
    origin const o = code == is_far ? far_[next_far_++] : origin{last_out_ + (code >> 8), last_out_ + (code >> 8) + (code & 255)};
    last_out_ = o.begin;
    if (next_ == codes_.size()) {
      codes_.clear(), far_.clear();
      next_ = next_far_ = 0;
    }
    return o;
  }
  /// Gives room back, now and then.
  void compact() {
    if (next_ < 4096 || next_ < codes_.size() / 2) return;
    codes_.erase(codes_.begin(), codes_.begin() + static_cast<std::ptrdiff_t>(next_));
    far_.erase(far_.begin(), far_.begin() + static_cast<std::ptrdiff_t>(next_far_));
    next_ = next_far_ = 0;
  }

 private:
  static constexpr std::uint16_t is_far = 0xffff;
  std::vector<std::uint16_t> codes_;
  std::vector<origin> far_;
  std::size_t next_ = 0, next_far_ = 0;
  std::uint32_t last_in_ = 0, last_out_ = 0;
};

/// What is put out for pieces, with neighbouring unknown characters made one.
class piece_writer {
 public:
  piece_writer(unigram_pieces const& p, std::function<void()> const* give, encoding& out) : pieces_(p), give_(give), out_(out) {}

  bool falls_back(std::int32_t id) const noexcept { return id == pieces_.unknown && !pieces_.byte_tokens.empty(); }
  void byte(unsigned char b, origin o) { put(pieces_.byte_tokens[b], o.begin, o.end); }
  void piece(std::int32_t id, std::uint32_t begin, std::uint32_t end) {
    bool const unknown = id == pieces_.unknown;
    if (unknown && after_unknown_) {
      out_.spans.back().end = end;
      return;
    }
    put(id, begin, end);
    after_unknown_ = unknown;
  }
  /// The next piece is none of the same text.
  void apart() noexcept { after_unknown_ = false; }

 private:
  void put(std::int32_t id, std::uint32_t begin, std::uint32_t end) {
    // What follows ends an unknown piece, so that all before is as it will be.
    if (give_ && out_.ids.size() % 1024 == 0) (*give_)();
    out_.ids.push_back(id);
    out_.spans.push_back({begin, end});
    after_unknown_ = false;
  }
  unigram_pieces const& pieces_;
  std::function<void()> const* give_;
  encoding& out_;
  bool after_unknown_ = false;
};

/// A lattice with the places of its text.
template <class Sum>
class placed_lattice {
 public:
  void start(Sum before = 0) {
    lattice_.start(before);
    from_.clear();
  }
  void add(std::string_view text, origins const& from) {
    lattice_.add(text);
    for (std::size_t i = 0; i < text.size(); ++i) from_.add(from[i]);
  }
  Sum sum() const noexcept { return lattice_.sum(); }
  /// See lattice::settle.
  void settle(unigram_pieces const& p, bool whole, piece_writer& out) {
    lattice_.settle(p, whole, [&](std::string_view text, std::int32_t id) {
      bool const bytes = out.falls_back(id);
      auto const first = from_.take();
      auto last = first;
      for (std::size_t i = 0; i < text.size(); ++i) {
        if (i > 0) last = from_.take();
        if (bytes) out.byte(static_cast<unsigned char>(text[i]), last);
      }
      if (!bytes) out.piece(id, first.begin, last.end);
    });
    from_.compact();
  }

 private:
  lattice<Sum> lattice_;
  origin_queue from_;
};

/// Bytes of a text between two looks at what is settled.
constexpr std::size_t bytes_at_once = 1 << 14;

class unigram : public base {
 public:
  unigram(setting s, unigram_pieces p, bool strip_first) : base(std::move(s)), pieces_(std::move(p)), strip_first_(strip_first) {}

  std::string_view kind() const noexcept override { return "unigram"; }

  std::string decode(std::span<std::int32_t const> ids) const override {
    std::string out;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      check(ids[i]);
      std::string_view bytes = tokens().bytes(ids[i]);
      // The space before the first word was put there, or can't be distinguished from one that was.
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

 private:
  unigram_pieces pieces_;
  bool strip_first_;
};

class sentencepiece_unigram final : public unigram {
 public:
  sentencepiece_unigram(setting s, unigram_pieces p, sentencepiece_rules r)
      : unigram(std::move(s), std::move(p), r.dummy_prefix), rules_(std::move(r)) {
    // Then every cut of a text has a border before each space.
    parts_ = rules_.rules().escape_spaces && tokens().find(" ") >= 0;
    for (std::size_t i = 0; parts_ && i < tokens().size(); ++i)
      if (auto const id = static_cast<std::int32_t>(i); tokens().has(id))
        parts_ = tokens().bytes(id).find(' ', 1) == std::string_view::npos;
  }

 private:
  bool parts_at_spaces() const noexcept override { return parts_; }

  void cut(stretch const& s, encoding& out) const override {
    placed_lattice<float> l;
    piece_writer to(pieces(), s.give, out);
    // Sums continue from part to part: as they grow they are rounded more coarsely, which may decide.
    l.start(s.goes_on && s.score ? static_cast<float>(*s.score) : 0.0f);
    rules_.normalise(s.text, s.begin, s.end, s.goes_on, [&](std::string_view text, origins const& from) {
      l.add(text, from);
      l.settle(pieces(), false, to);
    });
    l.settle(pieces(), true, to);
    if (s.score) *s.score = l.sum();
  }

  sentencepiece_text rules_;
  bool parts_ = false;
};

class metaspace_unigram final : public unigram {
 public:
  metaspace_unigram(setting s, unigram_pieces p, metaspace_rules r)
      : unigram(std::move(s), std::move(p), r.prepend != metaspace_rules::prefix::never), rules_(std::move(r)) {}

 private:
  /// Words that were cut before in the same call.
  struct seen {
    std::uint64_t hash = 0;
    std::string word;
    std::vector<std::pair<std::int32_t, std::uint32_t>> pieces;  // id and length
  };
  static constexpr std::size_t cache_slots = 8192, longest_cached = 64, worth_a_cache = 512;

  /// Cuts a normalised text that comes bit by bit, each bit whole characters.
  class cutter {
   public:
    cutter(metaspace_unigram const& of, std::size_t bytes, std::function<void()> const* give, encoding& out)
        : of_(of), out_(of.pieces(), give, out), cache_(bytes > worth_a_cache ? cache_slots : 0) {}

    void add(aligned_text const& t, std::size_t begin, std::size_t end) {
      std::string_view const all = std::string_view(t.text).substr(0, end);
      auto const& rules = of_.rules_;
      using prefix = metaspace_rules::prefix;
      for (std::size_t i = begin; i < end;) {
        character const c = read_character(all, i);
        if (rules.split_at_white_space && class_of(c) == char_class::space) {
          end_word();
          at_first_ = false;
          i += c.length;
          continue;
        }
        std::string_view const as_it_is = all.substr(i, c.length);
        bool const space = as_it_is == " ", mark = space || as_it_is == space_mark;
        if (!in_word_) {
          // Only a word with which the text itself begins is the first.
          bool const first = at_first_ && t.from[i].begin == 0;
          in_word_ = true, at_first_ = false;
          if (!mark && (rules.prepend == prefix::always || (rules.prepend == prefix::first && first)))
            put(space_mark, {t.from[i].begin, t.from[i].begin});
        } else if (mark && rules.split) {
          end_part();
        }
        if (space)
          put(space_mark, t.from[i]);
        else
          for (std::size_t k = 0; k < c.length; ++k) put(as_it_is.substr(k, 1), t.from[i + k]);
        i += c.length;
        if (part_.text.size() >= bytes_at_once) pass_on(false);
      }
    }
    void end_word() {
      end_part();
      in_word_ = false;
    }

   private:
    void put(std::string_view text, origin o) { part_.put(text, o); }
    void pass_on(bool last) {
      if (!under_way_) lattice_.start();
      under_way_ = !last;
      lattice_.add(part_.text, part_.from);
      part_.clear();
      lattice_.settle(of_.pieces(), last, out_);
    }
    void end_part() {
      if (part_.text.empty() && !under_way_) return;
      std::string_view const word = part_.text;
      if (under_way_ || cache_.empty() || word.size() > longest_cached) {
        pass_on(true);
      } else {
        std::uint64_t const hash = hash_bytes(word.data(), word.size());
        seen& k = cache_[hash >> 8 & (cache_slots - 1)];
        if (k.hash != hash || k.word != word) {
          k.hash = hash, k.word = word;
          k.pieces.clear();
          words_.start();
          words_.add(word);
          words_.settle(of_.pieces(), true, [&](std::string_view text, std::int32_t id) {
            k.pieces.emplace_back(id, static_cast<std::uint32_t>(text.size()));
          });
        }
        std::size_t at = 0;
        for (auto const& [id, length] : k.pieces) {
          if (out_.falls_back(id))
            for (std::size_t i = at; i < at + length; ++i) out_.byte(static_cast<unsigned char>(word[i]), part_.from[i]);
          else
            out_.piece(id, part_.from[at].begin, part_.from[at + length - 1].end);
          at += length;
        }
        part_.clear();
      }
      out_.apart();
    }

    metaspace_unigram const& of_;
    piece_writer out_;
    std::vector<seen> cache_;
    aligned_text part_;  // of the word, not yet given to the lattice
    placed_lattice<double> lattice_;
    lattice<double> words_;
    bool in_word_ = false, at_first_ = true, under_way_ = false;
  };

  void cut(stretch const& s, encoding& out) const override {
    cutter c(*this, s.end - s.begin, s.give, out);
    bool const in_slices = all_local(steps());
    for (std::size_t at = s.begin; at < s.end;) {
      std::size_t const end = in_slices ? end_of_slice(s.text, at, s.end, bytes_at_once) : s.end;
      aligned_text const text = normalized(align(s.text, at, end), steps());
      c.add(text, 0, text.text.size());
      at = end;
    }
    c.end_word();
  }

  void cut_normalized(aligned_text const& text, std::size_t begin, std::size_t to, std::function<void()> const* give,
                      encoding& out) const override {
    cutter c(*this, to - begin, give, out);
    c.add(text, begin, to);
    c.end_word();
  }

  metaspace_rules rules_;
};

}  // namespace

std::shared_ptr<tokenizer const> make_unigram(setting s, unigram_pieces p, sentencepiece_rules r) {
  return std::make_shared<sentencepiece_unigram const>(std::move(s), std::move(p), std::move(r));
}

std::shared_ptr<tokenizer const> make_unigram(setting s, unigram_pieces p, metaspace_rules r) {
  return std::make_shared<metaspace_unigram const>(std::move(s), std::move(p), std::move(r));
}

}  // namespace wayfarer::tokenizing
