// Reads SentencePiece's .model files, which are protocol buffers: the few fields that matter, each bounded by the message that
// holds it. The library itself must not see files from strangers; version 0.1.97 crashes on crafted ones.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <set>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "bpe.hpp"
#include "folder.hpp"
#include "text.hpp"
#include "unigram.hpp"

namespace wayfarer::tokenizing {

namespace {

/// The fields of one message, in the order of the file.
class message {
 public:
  message(std::string_view bytes, std::size_t offset, std::string const& file) : bytes_(bytes), offset_(offset), file_(&file) {}

  /// Moves to the next field; false at the end.
  bool next() {
    if (at_ == bytes_.size()) return false;
    field_at_ = at_;
    std::uint64_t const key = varint();
    number_ = key >> 3;
    wire_ = static_cast<unsigned>(key & 7);
    if (number_ == 0 || number_ >= (std::uint64_t{1} << 29)) fail("field number " + std::to_string(number_) + " is out of range");
    switch (wire_) {
      case 0:
        value_ = varint();
        break;
      case 1:
        content_ = take(8);
        break;
      case 2:
        content_at_ = 0, content_ = take(varint());
        break;
      case 5:
        content_ = take(4);
        break;
      default:
        fail("field " + std::to_string(number_) + " has the unsupported wire type " + std::to_string(wire_));
    }
    return true;
  }
  std::uint64_t number() const noexcept { return number_; }
  std::string_view bytes() const { return expect(2, "bytes"), content_; }
  std::string_view text() const {
    expect(2, "text");
    if (!is_utf8(content_)) fail("the text of field " + std::to_string(number_) + " is not UTF-8");
    return content_;
  }
  message nested() const { return expect(2, "a message"), message(content_, offset_ + content_at_, *file_); }
  bool boolean() const { return expect(0, "a truth value"), value_ != 0; }
  std::int64_t integer() const { return expect(0, "an integer"), static_cast<std::int64_t>(value_); }
  float number32() const {
    expect(5, "a float");
    float x;
    std::memcpy(&x, content_.data(), 4);
    if (!std::isfinite(x)) fail("field " + std::to_string(number_) + " is not a finite number");
    return x;
  }
  [[noreturn]] void fail(std::string const& what) const {
    throw data_error(*file_ + ": byte " + std::to_string(offset_ + field_at_) + ": " + what);
  }

 private:
  void expect(unsigned wire, char const* what) const {
    if (wire_ != wire)
      fail("field " + std::to_string(number_) + " should be " + what + ", but has the wire type " + std::to_string(wire_));
  }
  std::uint64_t varint() {
    std::uint64_t x = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) fail("ends within a number");
      auto const byte = static_cast<unsigned char>(bytes_[at_++]);
      if (shift == 63 && byte > 1) break;
      x |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return x;
    }
    fail("a number is longer than 64 bits");
  }
  std::string_view take(std::uint64_t n) {
    if (n > bytes_.size() - at_)
      fail("field " + std::to_string(number_) + " is " + std::to_string(n) + " bytes long, but only " +
           std::to_string(bytes_.size() - at_) + " are left");
    content_at_ = at_;
    at_ += static_cast<std::size_t>(n);
    return bytes_.substr(content_at_, static_cast<std::size_t>(n));
  }

  std::string_view bytes_, content_;
  std::size_t offset_, at_ = 0, field_at_ = 0, content_at_ = 0;
  std::string const* file_;
  std::uint64_t number_ = 0, value_ = 0;
  unsigned wire_ = 0;
};

enum class piece_type { normal = 1, unknown = 2, control = 3, defined = 4, unused = 5, byte = 6 };

struct model_piece {
  std::string_view text;
  float score = 0;
  piece_type type = piece_type::normal;
};

struct model_file {
  std::vector<model_piece> pieces;
  std::int64_t model_type = 1;  // unigram
  bool white_space_suffix = false, byte_fallback = false;
  std::int64_t unk = 0, bos = 1, eos = 2, pad = -1;
  std::string_view character_map;
  bool dummy_prefix = true, squeeze_spaces = true, escape_spaces = true;
};

model_piece read_piece(message m) {
  model_piece p;
  while (m.next()) {
    if (m.number() == 1)
      p.text = m.text();
    else if (m.number() == 2)
      p.score = m.number32();
    else if (m.number() == 3) {
      auto const type = m.integer();
      if (type < 1 || type > 6) m.fail("a piece has the unknown type " + std::to_string(type));
      p.type = static_cast<piece_type>(type);
    }
  }
  if (p.text.empty()) m.fail("a piece has no text");
  if (p.text.size() > longest_token) m.fail("a piece is longer than " + std::to_string(longest_token) + " bytes");
  return p;
}

void read_trainer(message m, model_file& f) {
  while (m.next()) switch (m.number()) {
      case 3:
        f.model_type = m.integer();
        break;
      case 24:
        f.white_space_suffix = m.boolean();
        break;
      case 35:
        f.byte_fallback = m.boolean();
        break;
      // int32 fields; a negative one is written as 64 bits.
      case 40:
        f.unk = m.integer();
        break;
      case 41:
        f.bos = m.integer();
        break;
      case 42:
        f.eos = m.integer();
        break;
      case 43:
        f.pad = m.integer();
        break;
    }
}

void read_normalizer(message m, model_file& f) {
  while (m.next()) switch (m.number()) {
      case 2:
        f.character_map = m.bytes();
        break;
      case 3:
        f.dummy_prefix = m.boolean();
        break;
      case 4:
        f.squeeze_spaces = m.boolean();
        break;
      case 5:
        f.escape_spaces = m.boolean();
        break;
    }
}

model_file read_model(std::string_view bytes, std::string const& file) {
  model_file f;
  message m(bytes, 0, file);
  bool trainer = false, normalizer = false;
  while (m.next()) {
    if (m.number() == 1)
      f.pieces.push_back(read_piece(m.nested()));
    else if (m.number() == 2)
      read_trainer(m.nested(), f), trainer = true;
    else if (m.number() == 3)
      read_normalizer(m.nested(), f), normalizer = true;
  }
  if (f.pieces.empty()) throw data_error(file + ": has no pieces; is it a SentencePiece model?");
  // Written behind the pieces, so that a file that was cut between two pieces lacks them.
  if (!trainer || !normalizer)
    throw data_error(file + ": ends without the settings of its " + (trainer ? "normalizer" : "trainer") +
                     "; it is cut short, so fetch it again");
  char const* const types[] = {"", "unigram", "BPE", "word", "character"};
  if (f.model_type != 1 && f.model_type != 2)
    throw data_error(file + ": is a SentencePiece model of the type " +
                     (f.model_type >= 2 && f.model_type <= 4 ? types[f.model_type] : std::to_string(f.model_type)) +
                     "; unigram and BPE models are read");
  if (f.white_space_suffix) throw data_error(file + ": treats white space as a suffix, which is not supported");
  return f;
}

/// How many sentinels T5 has beyond the model's pieces.
std::size_t sentinels_of(description const& about) {
  bool const t5 = about.tokenizer_class == "T5Tokenizer" || (about.tokenizer_class.empty() && about.model_type == "t5");
  return about.extra_ids ? about.extra_ids->as_unsigned(10'000) : t5 ? 100 : 0;
}

/// tiktoken's own files bear the name of SentencePiece's: lines of base64 text and a number.
bool is_tiktoken(std::string_view bytes) noexcept {
  std::string_view const line = bytes.substr(0, std::min(bytes.find('\n'), bytes.size()));
  std::size_t const space = line.find(' ');
  return space != line.npos && space > 0 && space + 1 < line.size() &&
         line.substr(0, space).find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") ==
             line.npos &&
         line.substr(space + 1).find_first_not_of("0123456789") == line.npos;
}

/// Whether texts begin with bos by default, as in LlamaTokenizer.
bool begins_with_bos(description const& about, model_file const& f) {
  if (about.tokenizer_class.empty()) return f.model_type == 2;
  return !about.is_class({"T5Tokenizer", "MT5Tokenizer"});
}

void read_roles_and_ends(description const& about, model_file const& f, std::int32_t unknown, setting& s) {
  auto const role = [&](std::optional<std::int32_t>& to, std::int64_t id) {
    if (id >= 0 && static_cast<std::uint64_t>(id) < f.pieces.size() &&
        f.pieces[static_cast<std::size_t>(id)].type == piece_type::control)
      to = static_cast<std::int32_t>(id);
  };
  role(s.roles.bos, f.bos), role(s.roles.eos, f.eos), role(s.roles.pad, f.pad);
  s.roles.unk = unknown;
  if (!begins_with_bos(about, f)) {
    if (auto const eos = s.roles.eos) {
      s.around.after = {*eos};
      s.around.both = ends::pair{{}, {*eos}, {*eos}};
    }
    return;
  }
  auto const token = [&](char const* name, std::optional<std::int32_t> otherwise, std::optional<json_value> const& said) {
    auto const* const t = about.role(name);
    auto const id = t ? s.tokens.find(t->text) : -1;
    if (id >= 0) return std::vector<std::int32_t>{id};
    if (!otherwise && said) said->fail("is true, but the tokenizer has no " + std::string(name));
    return otherwise ? std::vector<std::int32_t>{*otherwise} : std::vector<std::int32_t>();
  };
  bool const bos = !about.add_bos || about.add_bos->as_bool(), eos = about.add_eos && about.add_eos->as_bool();
  if (bos) s.around.before = token("bos_token", s.roles.bos, about.add_bos);
  if (eos) s.around.after = token("eos_token", s.roles.eos, about.add_eos);
  ends::pair both{s.around.before, s.around.after, s.around.after};
  both.between.insert(both.between.end(), s.around.before.begin(), s.around.before.end());
  both.type_between = eos ? 0 : 1, both.type_second = both.type_after = 1;
  s.around.both = std::move(both);
}

/// Merges by the score of what they make, and single characters that are no pieces and yet merge.
merge_table merges_of(model_file const& f, vocabulary& pieces, std::int32_t& next_id, refusal const& refuse) {
  // In BPE a piece of the user's is never made of others, and never joined with them.
  auto const merges = [](model_piece const& p) { return p.type == piece_type::normal || p.type == piece_type::unused; };
  std::map<std::string_view, std::int32_t> ids;
  std::vector<float> scores;
  for (std::size_t i = 0; i < f.pieces.size(); ++i)
    if (merges(f.pieces[i])) ids.emplace(f.pieces[i].text, static_cast<std::int32_t>(i)), scores.push_back(f.pieces[i].score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  merge_table table(4 * f.pieces.size());
  std::vector<std::string_view> characters;
  for (auto const& p : f.pieces) {
    if (!merges(p)) continue;
    for (std::size_t i = 0; i < p.text.size();) {
      std::size_t const length = read_character(p.text, i).length;
      characters.push_back(p.text.substr(i, length));
      i += length;
    }
  }
  for (auto const c : characters)
    if (!ids.contains(c)) {
      pieces.add(next_id, c, refuse);
      ids.emplace(c, next_id++);
    }
  for (std::size_t i = 0; i < f.pieces.size(); ++i) {
    auto const& p = f.pieces[i];
    if (!merges(p)) continue;
    auto const rank =
        static_cast<std::uint32_t>(std::lower_bound(scores.begin(), scores.end(), p.score, std::greater<>()) - scores.begin());
    for (std::size_t at = read_character(p.text, 0).length; at < p.text.size(); at += read_character(p.text, at).length) {
      auto const left = ids.find(p.text.substr(0, at)), right = ids.find(p.text.substr(at));
      if (left == ids.end() || right == ids.end()) continue;
      if (p.type == piece_type::unused)
        refuse("piece " + std::to_string(i) + ", " + in_quotes(p.text) +
               ", is unused and yet merges; such BPE models are not supported");
      table.add(left->second, right->second, {rank, static_cast<std::int32_t>(i)});
    }
  }
  return table;
}

/// What both kinds of models make of their pieces.
struct piece_list {
  piece_list(description const& about, refusal const& why) : refuse(why) {
    for (auto const& t : about.added) apart.insert(t.id);
  }
  void enter(std::string_view text, std::size_t i) {
    if (auto const [at, fresh] = seen.emplace(text, i); !fresh)
      refuse("pieces " + std::to_string(at->second) + " and " + std::to_string(i) + " are both " + in_quotes(text));
  }
  void enter_unknown(std::string_view text, std::int32_t id) {
    if (unknown >= 0)
      refuse("pieces " + std::to_string(unknown) + " and " + std::to_string(id) + " are both for what is unknown");
    unknown = id;
    added.push_back({id, std::string(text)});
  }
  std::string text_of(std::int32_t id, std::string_view piece) const {
    return apart.contains(id) ? std::string(piece) : with_spaces(piece);
  }
  /// Adds what other files describe. As in the library itself, no added token waits for the normalised text.
  void enter_described(description& about) {
    auto const id_of = [&](std::string_view text) {
      auto const at = seen.find(text);
      return at == seen.end() ? -1 : static_cast<std::int32_t>(at->second);
    };
    add_described(added, about, id_of, refuse);
    for (auto& t : added) t.normalized = false;
  }

  refusal const& refuse;
  std::map<std::string_view, std::size_t> seen{};
  std::set<std::int32_t> apart{};  ///< pieces that are added tokens, too, stand for their own text
  std::vector<std::pair<std::string_view, std::int32_t>> words{}, defined{};
  std::vector<added_token> added{};
  std::int32_t unknown = -1;
};

void require_all_bytes(std::vector<std::int32_t> const& byte_tokens, refusal const& refuse) {
  for (unsigned b = 0; b < 256; ++b)
    if (byte_tokens[b] < 0) refuse("falls back to bytes, but has no piece for byte " + std::to_string(b));
}

sentencepiece_rules rules_of(model_file const& f, description const& about, piece_list& pieces) {
  sentencepiece_rules rules;
  rules.defined = byte_trie(std::move(pieces.defined));
  rules.map = std::make_shared<character_map const>(std::string(f.character_map), pieces.refuse);
  rules.dummy_prefix = f.dummy_prefix, rules.squeeze_spaces = f.squeeze_spaces, rules.escape_spaces = f.escape_spaces;
  rules.prefix_once = about.legacy && !about.legacy->as_bool();
  return rules;
}

void read_bpe_pieces(model_file const& f, piece_list& pieces, vocabulary& tokens, character_rules& more) {
  refusal const& refuse = pieces.refuse;
  if (f.byte_fallback) more.byte_tokens.assign(256, -1);
  for (std::size_t i = 0; i < f.pieces.size(); ++i) {
    auto const& piece = f.pieces[i];
    auto const id = static_cast<std::int32_t>(i);
    pieces.enter(piece.text, i);
    bool const in_text = piece.type == piece_type::normal || piece.type == piece_type::unused;
    more.as_written.add(id, piece.text, refuse, !in_text);
    if (piece.type == piece_type::byte) {
      int const byte = byte_of_token(piece.text);
      if (byte < 0) refuse("piece " + std::to_string(i) + " is of the type byte, but is " + in_quotes(piece.text));
      if (f.byte_fallback) more.byte_tokens[static_cast<std::size_t>(byte)] = id;
      char const c = static_cast<char>(byte);
      tokens.add(id, {&c, 1}, refuse, true);
      continue;
    }
    if (piece.type == piece_type::defined) pieces.defined.emplace_back(piece.text, id);
    if (piece.type == piece_type::control) pieces.added.push_back({id, std::string(piece.text)});
    if (piece.type == piece_type::unknown) pieces.enter_unknown(piece.text, id);
    tokens.add(id, pieces.text_of(id, piece.text), refuse);
  }
  if (pieces.unknown < 0) refuse("has no piece for what is unknown");
  if (f.byte_fallback) require_all_bytes(more.byte_tokens, refuse);
}

std::shared_ptr<tokenizer const> read_bpe_model(folder& from, description about, model_file const& f, refusal const& refuse) {
  about.require(cutting::bpe, vocabulary_files::sentencepiece);
  about.refuse(about.extra_ids, "which only T5's tokenizers read");
  setting s;
  bpe_rules rules;
  character_rules more;
  std::size_t const n = f.pieces.size();
  s.tokens.expect(n + about.added.size());
  more.as_written.expect(2 * n + about.added.size());
  piece_list pieces(about, refuse);
  read_bpe_pieces(f, pieces, s.tokens, more);
  rules.unknown = pieces.unknown;
  pieces.enter_described(about);
  for (auto const& t : pieces.added)
    if (!more.as_written.has(t.id)) more.as_written.add(t.id, t.text, refuse, true);
  add_tokens(s, pieces.added, refuse);
  s.tokens.index();
  more.first_without_token = static_cast<std::int32_t>(more.as_written.size());
  std::int32_t next_id = more.first_without_token;
  merge_table merges = merges_of(f, more.as_written, next_id, refuse);
  more.as_written.index();

  sentencepiece_rules spaces = rules_of(f, about, pieces);
  // Then they come back.
  spaces.broken = f.byte_fallback ? broken_bytes::kept : broken_bytes::replaced;
  more.spaces.emplace(std::move(spaces));
  rules.fuse_unknown = true;
  std::size_t const strips = f.squeeze_spaces ? std::size_t{1} << 30 : f.dummy_prefix ? 1 : 0;
  more.back = decoding(
      {decode_replace{std::string(space_mark), nullptr, " "}, decode_bytes{}, decode_fuse{}, decode_strip{" ", strips, 0}});
  read_roles_and_ends(about, f, rules.unknown, s);
  finish(s, about, from);
  return make_character_bpe(std::move(s), std::move(merges), std::move(rules), std::move(more));
}

unigram_pieces read_unigram_pieces(model_file const& f, piece_list& pieces, vocabulary& tokens) {
  refusal const& refuse = pieces.refuse;
  unigram_pieces p;
  std::size_t const n = f.pieces.size();
  p.scores.resize(n), p.defined.resize(n), p.bytes.resize(n);
  p.lowest = std::numeric_limits<float>::max(), p.highest = std::numeric_limits<float>::min();
  std::vector<std::int32_t> byte_tokens(256, -1);
  for (std::size_t i = 0; i < n; ++i) {
    auto const& piece = f.pieces[i];
    auto const id = static_cast<std::int32_t>(i);
    pieces.enter(piece.text, i);
    p.scores[i] = piece.score;
    switch (piece.type) {
      case piece_type::normal:
        p.lowest = std::min<double>(p.lowest, piece.score);
        p.highest = std::max<double>(p.highest, piece.score);
        pieces.words.emplace_back(piece.text, id);
        break;
      case piece_type::defined:
        p.defined[i] = true;
        pieces.words.emplace_back(piece.text, id);
        pieces.defined.emplace_back(piece.text, id);
        break;
      case piece_type::unknown:
        pieces.enter_unknown(piece.text, id);
        break;
      case piece_type::control:
        pieces.added.push_back({id, std::string(piece.text)});
        break;
      case piece_type::byte: {
        unsigned byte = 0;
        if (piece.text.size() != 6 || std::sscanf(std::string(piece.text).c_str(), "<0x%2X>", &byte) != 1)
          refuse("piece " + std::to_string(i) + " is of the type byte, but is " + in_quotes(piece.text));
        byte_tokens[byte] = id;
        p.bytes[i] = true;
        char const c = static_cast<char>(byte);
        tokens.add(id, {&c, 1}, refuse, true);
        continue;
      }
      case piece_type::unused:
        break;
    }
    tokens.add(id, pieces.text_of(id, piece.text), refuse);
  }
  p.unknown = pieces.unknown;
  if (p.unknown < 0) refuse("has no piece for what is unknown");
  if (pieces.words.empty()) refuse("has no pieces for text");
  if (f.byte_fallback) {
    require_all_bytes(byte_tokens, refuse);
    p.byte_tokens = std::move(byte_tokens);
  }
  return p;
}

std::shared_ptr<tokenizer const> read_unigram_model(folder& from, description about, model_file const& f, refusal const& refuse) {
  about.require(cutting::unigram, vocabulary_files::sentencepiece);
  std::size_t const sentinels = sentinels_of(about), n = f.pieces.size();
  setting s;
  s.tokens.expect(n + sentinels + about.added.size());
  piece_list pieces(about, refuse);
  unigram_pieces p = read_unigram_pieces(f, pieces, s.tokens);
  // The highest id is <extra_id_0>, as the published checkpoints have it.
  bool const legacy = !about.legacy || about.legacy->as_bool();
  for (std::size_t k = 0; k < sentinels; ++k)
    pieces.added.push_back(
        {static_cast<std::int32_t>(n + k), "<extra_id_" + std::to_string(sentinels - 1 - k) + ">", true, !legacy, !legacy});
  pieces.enter_described(about);
  add_tokens(s, pieces.added, refuse);
  s.tokens.index();
  p.trie = byte_trie(std::move(pieces.words));
  sentencepiece_rules rules = rules_of(f, about, pieces);
  read_roles_and_ends(about, f, p.unknown, s);
  finish(s, about, from);
  return make_unigram(std::move(s), std::move(p), std::move(rules));
}

}  // namespace

std::shared_ptr<tokenizer const> read_sentencepiece(folder& from, description about, std::string_view name) {
  std::string const file = from.path(name);
  for (auto const* setting : {&about.lower_case, &about.accents})
    about.refuse(*setting, "which is not followed with a SentencePiece model");
  std::string const bytes = from.text(name);
  if (is_tiktoken(bytes))
    throw unread_tokenizer(
        file + ": is a vocabulary of tiktoken's, which this build does not read; put the model's tokenizer.json " + "beside it");
  model_file const f = read_model(bytes, file);
  if (about.prefix_space && about.prefix_space->as_bool() != f.dummy_prefix)
    unread(*about.prefix_space, "is " + to_json(*about.prefix_space) + ", but " + std::string(name) + " puts " +
                                    (f.dummy_prefix ? "a" : "no") + " space before a text; make them agree");
  auto const refuse = refusal_at(file);
  return f.model_type == 2 ? read_bpe_model(from, std::move(about), f, refuse)
                           : read_unigram_model(from, std::move(about), f, refuse);
}

}  // namespace wayfarer::tokenizing
