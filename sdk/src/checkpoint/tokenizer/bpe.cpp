#include "bpe.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "text.hpp"

namespace wayfarer::tokenizing {

namespace {

/// Of longer texts some are one piece, with fewer tokens.
constexpr std::size_t most_reserved = std::size_t{1} << 22;
/// Texts shorter than this don't pay for a cache.
constexpr std::size_t worth_a_cache = 512;
constexpr std::size_t cache_slots = 4096;
/// Words up to this many bytes are looked for among tokens and those that were cut before.
constexpr std::size_t longest_whole = few_symbols;

class bpe : public base {
 public:
  bpe(setting s, merge_table merges, bpe_rules rules)
      : base(std::move(s)), merges_(std::move(merges)), rules_(std::move(rules)) {}

  std::optional<std::int32_t> find(std::string_view bytes) const override {
    auto const id = tokens().find(bytes);
    return id < 0 ? std::nullopt : std::optional(id);
  }
  bool begins_word(std::int32_t id) const override {
    check(id);
    auto const bytes = tokens().bytes(id);
    return bytes.size() > 1 && bytes[0] == ' ' && class_of(read_character(bytes, 1)) != char_class::space;
  }

 protected:
  /// Words that were cut before in the same call.
  struct known_word {
    static constexpr std::size_t most_bytes = 40, most_tokens = 16;
    std::uint64_t hash = 0;
    std::uint8_t length = 0, tokens = 0;
    std::array<char, most_bytes> text;
    std::array<std::uint8_t, most_tokens> ends;
    std::array<std::int32_t, most_tokens> ids;
  };
  struct state {
    encoding& out;
    std::function<void()> const* give;
    std::vector<known_word> cache;
    std::vector<symbol> symbols;
  };

  /// The token of exactly this word, -1 if there is none.
  virtual std::int32_t token_of(std::string_view word, std::uint64_t hash) const noexcept = 0;
  /// Symbols of bytes [begin, end) of a word, ends counted from the word's begin; see symbol_source.
  virtual void symbols_of(std::string_view word, std::size_t begin, std::size_t end, std::vector<symbol>& out) const = 0;
  /// Puts a token out, or what stands for it.
  virtual void put(symbol const& s, std::size_t begin, passage const& word, encoding& out) const {
    out.ids.push_back(s.id);
    out.spans.push_back(word.span(begin, s.end));
  }
  virtual bool windows() const noexcept { return true; }

  /// For each token: whether its text as a word is that token. Needs what derived classes hold.
  void find_whole_words(tokenizing::vocabulary const& words, std::int32_t below = 0x7fffffff) {
    whole_.resize(words.size());
    std::vector<symbol> symbols;
    for (std::size_t i = 0; i < whole_.size(); ++i) {
      auto const id = static_cast<std::int32_t>(i);
      if (!words.has(id) || id >= below || added().find(id)) continue;
      std::string_view const text = words.bytes(id);
      if (text.empty() || text.size() > longest_whole || words.find(text) != id) continue;
      if (!rules_.whole_words) {
        symbols.clear();
        try {
          symbols_of(text, 0, text.size(), symbols);
        } catch (usage_error const&) {  // of something there is no token
          continue;
        }
        merge(merges_, symbols);
        if (symbols.size() != 1 || symbols[0].id != id) continue;
      }
      whole_[i] = true;
    }
  }
  bool is_whole(std::int32_t id) const noexcept { return id >= 0 && whole_[static_cast<std::size_t>(id)]; }

  state start(std::size_t bytes, encoding& out, std::function<void()> const* give = nullptr) const {
    std::size_t const likely = std::min(bytes, most_reserved) / 4;
    out.ids.reserve(out.ids.size() + likely);
    out.spans.reserve(out.spans.size() + likely);
    std::size_t const slots = bytes < worth_a_cache ? 0 : std::min(cache_slots, std::bit_ceil(bytes / 16));
    return {out, give, std::vector<known_word>(slots), {}};
  }

  /// Lets what has been put out be taken away, unless what comes may be fused with it.
  void give(state& now) const {
    if (now.give && !(rules_.fuse_unknown && !now.out.ids.empty() && now.out.ids.back() == rules_.unknown)) (*now.give)();
  }

  void word(passage const& p, state& now) const {
    cut_word(p, now);
    give(now);
  }

  void cut_word(passage const& p, state& now) const {
    std::string_view const text = p.text;
    if (text.size() > longest_whole) return long_word(p, now);
    std::uint64_t const hash = hash_bytes(text.data(), text.size());
    if (auto const id = token_of(text, hash); is_whole(id)) {
      now.out.ids.push_back(id);
      now.out.spans.push_back(p.span(0, text.size()));
      return;
    }
    known_word* k =
        now.cache.empty() || text.size() > known_word::most_bytes ? nullptr : &now.cache[hash >> 8 & (now.cache.size() - 1)];
    auto const put_all = [&](auto&& symbol_at, std::size_t n) {
      for (std::size_t i = 0, begin = 0; i < n; ++i) {
        symbol const s = symbol_at(i);
        put(s, begin, p, now.out);
        begin = s.end;
      }
    };
    if (k && k->hash == hash && k->length == text.size() && std::memcmp(k->text.data(), text.data(), text.size()) == 0)
      return put_all([&](std::size_t i) { return symbol{k->ids[i], k->ends[i]}; }, k->tokens);
    auto& symbols = now.symbols;
    symbols.clear();
    symbols_of(text, 0, text.size(), symbols);
    merge(merges_, symbols);
    put_all([&](std::size_t i) { return symbols[i]; }, symbols.size());
    if (!k || symbols.size() > known_word::most_tokens) return;
    k->hash = hash, k->length = static_cast<std::uint8_t>(text.size()), k->tokens = static_cast<std::uint8_t>(symbols.size());
    std::memcpy(k->text.data(), text.data(), text.size());
    for (std::size_t i = 0; i < symbols.size(); ++i)
      k->ids[i] = symbols[i].id, k->ends[i] = static_cast<std::uint8_t>(symbols[i].end);
  }

  void long_word(passage const& p, state& now) const {
    if (auto const id = rules_.whole_words ? token_of(p.text, hash_bytes(p.text.data(), p.text.size())) : -1;
        id >= 0 && !added().find(id)) {
      now.out.ids.push_back(id);
      now.out.spans.push_back(p.span(0, p.text.size()));
      return;
    }
    if (p.text.size() > window_bytes && windows()) {
      symbol_source const source = [&](std::size_t begin, std::size_t end, std::vector<symbol>& to) {
        symbols_of(p.text, begin, end, to);
      };
      if (auto const all = merge_in_windows(merges_, p.text.size(), source)) {
        packed_numbers::reader read(*all);
        std::size_t begin = 0;
        for (std::size_t n = all->size() / 2; n > 0; --n) {
          auto const id = static_cast<std::int32_t>(read.next());
          std::size_t const end = begin + read.next();
          put({id, static_cast<std::uint32_t>(end)}, begin, p, now.out);
          begin = end;
          give(now);
        }
        return;
      }
    }
    auto& symbols = now.symbols;
    symbols.clear();
    symbols_of(p.text, 0, p.text.size(), symbols);
    merge(merges_, symbols);
    std::size_t begin = 0;
    for (symbol const& s : symbols) {
      put(s, begin, p, now.out);
      begin = s.end;
    }
  }

  /// Appends the unknown token for bytes [begin, end), or lets the one before reach further.
  void unknown(std::string_view word, std::size_t begin, std::size_t end, bool& after_unknown, std::vector<symbol>& out) const {
    if (rules_.unknown < 0)
      throw usage_error("the vocabulary of " + files().front() + " has no token for " +
                        in_quotes(word.substr(begin, end - begin)) + ", at byte " + std::to_string(begin) + " of the word " +
                        in_quotes(word.substr(0, 100)) + ", and no unknown token");
    if (rules_.fuse_unknown && after_unknown)
      out.back().end = static_cast<std::uint32_t>(end);
    else
      out.push_back({rules_.unknown, static_cast<std::uint32_t>(end)});
    after_unknown = true;
  }

  void cut(stretch const& s, encoding& out) const override {
    std::string_view const text = s.text.substr(s.begin, s.end - s.begin);
    if (!untouched(text, steps())) {
      aligned_text const all = normalized(align(s.text, s.begin, s.end, broken_bytes::kept), steps());
      return cut_passage(passage(all), s.give, out);
    }
    cut_passage({text, nullptr, s.begin}, s.give, out);
  }
  void cut_normalized(aligned_text const& text, std::size_t begin, std::size_t end, std::function<void()> const* give,
                      encoding& out) const override {
    cut_passage(passage(text).part(begin, end), give, out);
  }
  virtual void cut_passage(passage const& p, std::function<void()> const* give, encoding& out) const {
    state now = start(p.text.size(), out, give);
    rules_.words.run(p, [&](passage const& w) { word(w, now); });
  }

  merge_table merges_;
  bpe_rules rules_;
  std::vector<bool> whole_;
};

class byte_level final : public bpe {
 public:
  byte_level(setting s, merge_table merges, bpe_rules rules) : bpe(std::move(s), std::move(merges), std::move(rules)) {
    for (unsigned b = 0; b < 256; ++b) {
      auto const byte = static_cast<char>(b);
      byte_tokens_[b] = tokens().find({&byte, 1});
    }
    find_whole_words(tokens());
    auto const& words = rules_.words.steps();
    std::size_t const n = words.size();
    prefix_space_ = n > 0 && std::holds_alternative<prefix_step>(words[0]);
    bool const by_gpt2 = n > 0 && std::holds_alternative<gpt2_step>(words[n - 1]);
    gpt2_ = by_gpt2 && n == 1u + prefix_space_;
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

 private:
  bool parts_at_spaces() const noexcept override { return gpt2_ && steps().empty(); }
  broken_bytes broken() const noexcept override { return broken_bytes::kept; }

  std::int32_t token_of(std::string_view word, std::uint64_t hash) const noexcept override { return tokens().find(word, hash); }

  void symbols_of(std::string_view word, std::size_t begin, std::size_t end, std::vector<symbol>& out) const override {
    bool after_unknown = false;
    for (std::size_t i = begin; i < end; ++i) {
      std::int32_t const id = byte_tokens_[static_cast<unsigned char>(word[i])];
      if (id < 0) {
        unknown(word, i, i + 1, after_unknown, out);
        continue;
      }
      out.push_back({id, static_cast<std::uint32_t>(i + 1)});
      after_unknown = false;
    }
  }

  /// Pieces that were cut before in the same call: where in the text, and where in the output their tokens are.
  struct seen {
    std::uint64_t hash = 0;
    std::size_t begin = 0, first_token = 0;
    std::uint32_t length = 0, tokens = 0;
  };

  void cut_passage(passage const& p, std::function<void()> const* give, encoding& out) const override {
    if (!gpt2_ || p.from) return bpe::cut_passage(p, give, out);
    cut_by_gpt2(p.text, p.begin, give, out);
  }

  /// The same as through the steps, without making passages of pieces: GPT-2's own way, twice as fast.
  void cut_by_gpt2(std::string_view text, std::size_t begin, std::function<void()> const* give, encoding& out) const {
    state now = start(0, out, give);
    std::size_t const likely = std::min(text.size(), most_reserved) / 4;
    out.ids.reserve(out.ids.size() + likely);
    out.spans.reserve(out.spans.size() + likely);
    std::vector<seen> cache(text.size() < worth_a_cache ? 0 : cache_slots);
    std::size_t at = prefix_space_ && text[0] != ' ' ? cut_first_piece(text, begin, give, now) : 0;
    while (at < text.size()) {
      std::size_t const end = end_of_piece(text, at);
      std::string_view const piece = text.substr(at, end - at);
      if (piece.size() > longest_whole) {
        long_word({piece, nullptr, begin + at}, now);
        // What has been taken away is not where the cache says.
        if (now.give && piece.size() > window_bytes) cache.assign(cache.size(), {});
      } else {
        std::uint64_t const hash = hash_bytes(piece.data(), piece.size());
        if (std::int32_t const whole = tokens().find(piece, hash); is_whole(whole)) {
          out.ids.push_back(whole);
          out.spans.push_back({begin + at, begin + end});
        } else if (cache.empty()) {
          merge_piece(piece, begin + at, now);
        } else {
          seen& k = cache[hash >> 8 & (cache_slots - 1)];
          std::size_t const from = out.ids.size();
          if (k.hash == hash && k.tokens > 0 && text.substr(k.begin, k.length) == piece) {
            for (std::size_t i = 0; i < k.tokens; ++i) {
              auto const span = out.spans[k.first_token + i];
              std::size_t const shift = at - k.begin;
              out.ids.push_back(out.ids[k.first_token + i]);
              out.spans.push_back({span.begin + shift, span.end + shift});
            }
          } else {
            merge_piece(piece, begin + at, now);
          }
          k = {hash, at, from, static_cast<std::uint32_t>(piece.size()), static_cast<std::uint32_t>(out.ids.size() - from)};
        }
      }
      if (now.give) {
        std::size_t const before = out.ids.size();
        this->give(now);
        if (out.ids.size() < before) cache.assign(cache.size(), {});
      }
      at = end;
    }
  }

  /// The first piece as if the text began with a space, which then belongs to it. Returns where it ends in the text.
  std::size_t cut_first_piece(std::string_view text, std::size_t begin, std::function<void()> const* give, state& now) const {
    encoding& out = now.out;
    std::string const with = ' ' + std::string(text.substr(0, std::min(text.size(), longest_peek(text))));
    std::size_t const end = end_of_piece(with, 0);
    // The piece is one byte longer than what stands there, and its first token begins where the text does.
    bool first = true;
    std::size_t const from = out.spans.size();
    auto const set_first = [&] {
      if (std::exchange(first, false)) out.spans[from].begin = begin;
    };
    std::function<void()> const set_and_give = [&] {
      set_first();
      (*give)();
    };
    if (give) now.give = &set_and_give;
    word({std::string_view(with).substr(0, end), nullptr, begin - 1}, now);
    set_first();
    now.give = give;
    return end - 1;
  }

  void merge_piece(std::string_view piece, std::size_t begin, state& now) const {
    now.symbols.clear();
    symbols_of(piece, 0, piece.size(), now.symbols);
    std::size_t const n = merge_few(merges_, now.symbols.data(), now.symbols.size());
    for (std::size_t i = 0, from = 0; i < n; from = now.symbols[i].end, ++i) {
      now.out.ids.push_back(now.symbols[i].id);
      now.out.spans.push_back({begin + from, begin + now.symbols[i].end});
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

  std::array<std::int32_t, 256> byte_tokens_{};
  bool prefix_space_ = false, gpt2_ = false;
};

class character_bpe final : public bpe {
 public:
  character_bpe(setting s, merge_table merges, bpe_rules rules, character_rules more)
      : bpe(std::move(s), std::move(merges), std::move(rules)), more_(std::move(more)) {
    auto const& words = more_.as_written;
    for (unsigned c = 0; c < ascii_tokens_.size(); ++c) {
      auto const byte = static_cast<char>(c);
      ascii_tokens_[c] = words.find({&byte, 1});
    }
    plain_ = more_.prefix.empty() && more_.suffix.empty();
    find_whole_words(words, more_.first_without_token);
    // No token reaches across the border before a mark that follows something else: then words end there.
    border_at_marks_ = plain_ && !rules_.whole_words && words.find(space_mark) >= 0;
    merges_.for_results([&](std::int32_t id) {
      std::string_view const text = words.bytes(id);
      for (std::size_t at = text.find(space_mark, 1); at != text.npos; at = text.find(space_mark, at + 1))
        border_at_marks_ = border_at_marks_ && text.substr(0, at).ends_with(space_mark);
    });
  }

  std::string_view kind() const noexcept override { return "bpe"; }

  std::optional<std::int32_t> find(std::string_view bytes) const override {
    auto const found = bpe::find(bytes);
    if (found || bytes.size() != 1 || more_.byte_tokens.empty()) return found;
    auto const id = more_.byte_tokens[static_cast<unsigned char>(bytes[0])];
    return id < 0 ? std::nullopt : std::optional(id);
  }

  std::string decode(std::span<std::int32_t const> ids) const override {
    std::vector<std::string> all;
    all.reserve(ids.size());
    for (std::int32_t const id : ids) {
      check(id);
      all.emplace_back(more_.as_written.bytes(id));
    }
    return more_.back.text(std::move(all));
  }

 private:
  broken_bytes broken() const noexcept override { return broken_bytes::kept; }
  bool windows() const noexcept override { return plain_; }

  std::int32_t token_of(std::string_view word, std::uint64_t hash) const noexcept override {
    return more_.as_written.find(word, hash);
  }

  void symbols_of(std::string_view word, std::size_t begin, std::size_t end, std::vector<symbol>& out) const override {
    bool after_unknown = false;
    std::string with;
    for (std::size_t i = begin; i < end;) {
      character const c = read_character(word, i);
      std::size_t const next = i + c.length;
      // The end of a window may be within a character, which then belongs to the next one.
      if (next > end) {
        if (i > begin) return;
        end = next;
      }
      std::string_view text = word.substr(i, c.length);
      std::int32_t id = -1;
      if (plain_) {
        id = c.value < 0x80 ? ascii_tokens_[c.value] : more_.as_written.find(text);
      } else {
        with = (i > 0 ? more_.prefix : std::string()) + std::string(text) + (next == word.size() ? more_.suffix : std::string());
        text = with;
        id = more_.as_written.find(text);
      }
      if (id >= 0) {
        out.push_back({id, static_cast<std::uint32_t>(next)});
        after_unknown = false;
      } else if (falls_back(text)) {
        for (std::size_t k = 0; k < text.size(); ++k)
          out.push_back(
              {more_.byte_tokens[static_cast<unsigned char>(text[k])], static_cast<std::uint32_t>(std::min(i + k + 1, next))});
        after_unknown = false;
      } else {
        unknown(word, i, next, after_unknown, out);
      }
      i = next;
    }
  }

  bool falls_back(std::string_view text) const noexcept {
    return !more_.byte_tokens.empty() &&
           std::all_of(text.begin(), text.end(), [&](char c) { return more_.byte_tokens[static_cast<unsigned char>(c)] >= 0; });
  }

  void put(symbol const& s, std::size_t begin, passage const& word, encoding& out) const override {
    bool const is_unknown = s.id == rules_.unknown || s.id >= more_.first_without_token;
    if (!is_unknown) return bpe::put(s, begin, word, out);
    // A character that merges with others may have met none of them.
    std::string_view const text = word.text.substr(begin, s.end - begin);
    if (s.id != rules_.unknown && falls_back(text)) {
      for (std::size_t k = 0; k < text.size(); ++k) {
        out.ids.push_back(more_.byte_tokens[static_cast<unsigned char>(text[k])]);
        out.spans.push_back(word.span(begin + k, begin + k + 1));
      }
    } else if (rules_.fuse_unknown && begin > 0 && !out.ids.empty() && out.ids.back() == rules_.unknown) {
      out.spans.back().end = word.span(begin, s.end).end;
    } else {
      out.ids.push_back(rules_.unknown);
      out.spans.push_back(word.span(begin, s.end));
    }
  }

  void cut(stretch const& s, encoding& out) const override {
    if (!more_.spaces) return bpe::cut(s, out);
    state now = start(s.end - s.begin, out, s.give);
    bool const by_words = border_at_marks_ && !more_.spaces->any_symbols();
    aligned_text all;
    more_.spaces->normalise(s.text, s.begin, s.end, s.goes_on, [&](std::string_view bit, origins const& from) {
      all.text.append(bit);
      all.from.add(from, 0, bit.size());
      if (!by_words) return;
      // What is before the last word is as it will be. Marks that came earlier begin the text that is left, and no word after it.
      std::string_view const text = all.text;
      std::size_t const searched = text.size() - std::min(text.size(), bit.size() + space_mark.size() - 1);
      std::size_t last = text.substr(searched).rfind(space_mark);
      if (last == text.npos) return;
      for (last += searched; last > searched && text.substr(0, last).ends_with(space_mark);) last -= space_mark.size();
      if (last <= searched) return;
      words_of(passage(all).part(0, last), now);
      all.text.erase(0, last);
      all.from.drop_front(last);
    });
    passage const whole(all);
    std::size_t from = 0;
    for (std::size_t i = 0; i < all.text.size() && more_.spaces->any_symbols();) {
      auto const [length, id] = more_.spaces->symbol_at_begin_of(whole.text.substr(i));
      if (length == 0) {
        i += read_character(whole.text, i).length;
        continue;
      }
      if (i > from) words_of(whole.part(from, i), now);
      out.ids.push_back(id);
      out.spans.push_back(whole.span(i, i + length));
      from = i += length;
    }
    if (from < all.text.size()) words_of(whole.part(from, all.text.size()), now);
  }

  void cut_passage(passage const& p, std::function<void()> const* give, encoding& out) const override {
    state now = start(p.text.size(), out, give);
    rules_.words.run(p, [&](passage const& w) { words_of(w, now); });
  }

  void words_of(passage const& p, state& now) const {
    if (!border_at_marks_) return word(p, now);
    std::string_view const text = p.text;
    for (std::size_t at = 0; at < text.size();) {
      std::size_t end = at;
      while (text.substr(end).starts_with(space_mark)) end += space_mark.size();
      end = std::min(text.find(space_mark, end), text.size());
      word(p.part(at, end), now);
      at = end;
    }
  }

  character_rules more_;
  std::array<std::int32_t, 128> ascii_tokens_{};
  bool plain_ = true, border_at_marks_ = false;
};

}  // namespace

std::shared_ptr<tokenizer const> make_byte_level(setting s, merge_table merges, bpe_rules rules) {
  return std::make_shared<byte_level const>(std::move(s), std::move(merges), std::move(rules));
}

std::shared_ptr<tokenizer const> make_character_bpe(setting s, merge_table merges, bpe_rules rules, character_rules more) {
  return std::make_shared<character_bpe const>(std::move(s), std::move(merges), std::move(rules), std::move(more));
}

}  // namespace wayfarer::tokenizing
