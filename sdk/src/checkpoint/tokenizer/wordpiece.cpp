#include "wordpiece.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "folder.hpp"

namespace wayfarer::tokenizing {

namespace {

class wordpiece final : public base {
 public:
  wordpiece(setting s, wordpiece_rules r) : base(std::move(s)), rules_(std::move(r)) {}

  std::string_view kind() const noexcept override { return "wordpiece"; }

  std::string decode(std::span<std::int32_t const> ids) const override {
    std::string out;
    for (std::int32_t const id : ids) {
      check(id);
      std::string_view const bytes = tokens().bytes(id);
      bool const joined = goes_on(id) || (rules_.tidy && !bytes.empty() && std::string_view(".?!,").find(bytes[0]) != bytes.npos);
      if (!out.empty() && !joined) out += ' ';
      out.append(bytes);
    }
    return out;
  }

  std::string token_text(std::int32_t id) const override {
    std::string const text = base::token_text(id);
    return goes_on(id) ? rules_.prefix + text : text;
  }

  bool begins_word(std::int32_t id) const override {
    check(id);
    return !goes_on(id) && !added().find(id);
  }

  std::optional<std::int32_t> find(std::string_view bytes) const override {
    auto const id = tokens().find(bytes);
    return id < 0 ? std::nullopt : std::optional(id);
  }

 private:
  bool goes_on(std::int32_t id) const { return rules_.goes_on[static_cast<std::size_t>(id)]; }

  bool parts_at_spaces() const noexcept override { return true; }

  /// Cuts a normalised text that comes bit by bit, each bit whole characters.
  class cutter {
   public:
    cutter(wordpiece_rules const& rules, std::function<void()> const* give, encoding& out)
        : rules_(rules), give_(give), out_(out) {}

    void add(aligned_text const& t, std::size_t begin, std::size_t end) {
      std::string_view const all = std::string_view(t.text).substr(0, end);
      for (std::size_t i = begin; i < end;) {
        character const c = read_character(all, i);
        bool const space = class_of(c) == char_class::space, alone = !space && is_punctuation(c.value);
        if (space || alone) end_word();
        if (!space) put(t, i, c.length);
        if (alone) end_word();
        i += c.length;
      }
    }
    void end_word() {
      if (characters_ == 0) return;
      if (give_ && out_.ids.size() % 1024 == 0) (*give_)();
      if (characters_ > rules_.longest || !pieces()) {
        out_.ids.push_back(rules_.unknown);
        out_.spans.push_back({begin_, end_});
      }
      word_.clear();
      characters_ = 0;
    }

   private:
    /// Of a word that is too long to be cut, only where it stands is kept.
    void put(aligned_text const& t, std::size_t at, std::size_t length) {
      if (characters_ == 0) begin_ = t.from[at].begin;
      end_ = t.from[at + length - 1].end;
      if (++characters_ > rules_.longest) return;
      for (std::size_t i = at; i < at + length; ++i) word_.put(std::string_view(t.text).substr(i, 1), t.from[i]);
    }
    bool pieces() {
      std::size_t const before = out_.ids.size(), end = word_.text.size();
      for (std::size_t i = 0; i < end;) {
        byte_trie const& trie = i == 0 ? rules_.first : rules_.later;
        auto at = byte_trie::root();
        std::int32_t id = -1;
        std::size_t to = i;
        for (std::size_t k = i; k < end; ++k) {
          at = trie.step(at, static_cast<unsigned char>(word_.text[k]));
          if (at == byte_trie::none) break;
          if (trie.token(at) >= 0) id = trie.token(at), to = k + 1;
        }
        if (id < 0) {
          out_.ids.resize(before), out_.spans.resize(before);
          return false;
        }
        out_.ids.push_back(id);
        out_.spans.push_back({word_.from[i].begin, word_.from[to - 1].end});
        i = to;
      }
      return true;
    }

    wordpiece_rules const& rules_;
    std::function<void()> const* give_;
    encoding& out_;
    aligned_text word_;
    std::size_t characters_ = 0;
    std::uint32_t begin_ = 0, end_ = 0;
  };

  void cut(stretch const& s, encoding& out) const override {
    cutter c(rules_, s.give, out);
    bool const in_slices = all_local(steps());
    for (std::size_t at = s.begin; at < s.end;) {
      std::size_t const end = in_slices ? end_of_slice(s.text, at, s.end, slice_bytes) : s.end;
      aligned_text const text = normalized(align(s.text, at, end), steps());
      c.add(text, 0, text.text.size());
      at = end;
    }
    c.end_word();
  }
  static constexpr std::size_t slice_bytes = 1 << 14;

  void cut_normalized(aligned_text const& text, std::size_t begin, std::size_t to, std::function<void()> const* give,
                      encoding& out) const override {
    cutter c(rules_, give, out);
    c.add(text, begin, to);
    c.end_word();
  }

  wordpiece_rules rules_;
};

}  // namespace

std::vector<normalizer> bert_steps(bool clean, bool chinese, bool strip_accents, bool lower) {
  std::vector<normalizer> steps;
  if (clean) steps.push_back(cleaned());
  if (chinese) steps.push_back(chinese_apart());
  if (strip_accents) {
    steps.push_back(by_unicode_form(unicode_form::nfd));
    steps.push_back(without_marks());
  }
  if (lower) steps.push_back(lower_case());
  return steps;
}

void read_pieces(std::vector<std::pair<std::string_view, std::int32_t>> const& pieces,
                 std::vector<std::pair<std::string_view, std::int32_t>> const& unreachable, setting& s, wordpiece_rules& rules,
                 std::vector<added_token> const& added, refusal const& refuse) {
  s.tokens.expect(pieces.size() + unreachable.size() + added.size());
  std::set<std::int32_t> apart;
  for (auto const& t : added) apart.insert(t.id);
  std::set<std::string_view> starts;
  std::vector<std::pair<std::string_view, std::int32_t>> first, later;
  for (auto const& [text, id] : pieces) {
    if (text.size() > longest_token)
      refuse("the token with the id " + std::to_string(id) + " is longer than " + std::to_string(longest_token) + " bytes");
    if (!text.starts_with(rules.prefix)) starts.insert(text);
  }
  for (auto const& [text, id] : pieces) {
    bool const special = apart.contains(id);
    bool const goes_on = !special && text.starts_with(rules.prefix) && text.size() > rules.prefix.size();
    std::string_view const bytes = goes_on ? text.substr(rules.prefix.size()) : text;
    s.tokens.add(id, bytes, refuse, goes_on && starts.contains(bytes));
    if (rules.goes_on.size() <= static_cast<std::size_t>(id)) rules.goes_on.resize(static_cast<std::size_t>(id) + 1);
    rules.goes_on[static_cast<std::size_t>(id)] = goes_on;
    if (!special && !bytes.empty()) (goes_on ? later : first).emplace_back(bytes, id);
  }
  for (auto const& [text, id] : unreachable) s.tokens.add(id, text, refuse, true);
  add_tokens(s, added, refuse);
  s.tokens.index();
  rules.goes_on.resize(s.tokens.size());
  rules.first = byte_trie(std::move(first));
  rules.later = byte_trie(std::move(later));
}

std::shared_ptr<tokenizer const> make_wordpiece(setting s, wordpiece_rules r) {
  return std::make_shared<wordpiece const>(std::move(s), std::move(r));
}

// As BertTokenizer reads it: a token's id is the number of its line, and of equal lines the last one counts. The other lines of
// equal ones keep their ids, so that these can be read back, and are never made.
std::shared_ptr<tokenizer const> read_vocab_text(folder& from, description about, std::string_view name) {
  std::string const file = from.path(name);
  about.require(cutting::wordpiece, vocabulary_files::vocab_text);
  about.refuse(about.extra_ids, "which only T5's tokenizers read");
  std::string const text = from.text(name);
  std::vector<std::pair<std::string_view, std::int32_t>> pieces, double_lines;
  std::map<std::string_view, std::size_t> line_of;
  for (std::size_t at = 0, id = 0; at < text.size(); ++id) {
    // Python reads "\r\n" and a lone "\r" as ends of lines, too.
    std::size_t const end = std::min(text.find_first_of("\r\n", at), text.size());
    std::string_view const line = std::string_view(text).substr(at, end - at);
    auto const refuse = refusal_at(file, id + 1);
    if (!is_utf8(line)) refuse("the token is not UTF-8");
    if (line.size() > longest_token) refuse("the token is longer than " + std::to_string(longest_token) + " bytes");
    auto const [known, fresh] = line_of.try_emplace(line, pieces.size());
    if (fresh) {
      pieces.emplace_back(line, static_cast<std::int32_t>(id));
    } else {
      auto& before = pieces[known->second];
      double_lines.emplace_back(line, before.second);
      before.second = static_cast<std::int32_t>(id);
    }
    at = end + (text.compare(end, 2, "\r\n") == 0 ? 2 : 1);
  }
  if (!double_lines.empty())
    about.notes.push_back(file + ": " + std::to_string(double_lines.size()) +
                          " of its lines come again below, the first of them line " +
                          std::to_string(double_lines.front().second + 1) + ", " + in_quotes(double_lines.front().first) +
                          "; the last one of equal lines counts, as in BertTokenizer");

  for (auto const& [role, usual] :
       {std::pair("unk_token", "[UNK]"), std::pair("pad_token", "[PAD]"), std::pair("cls_token", "[CLS]"),
        std::pair("sep_token", "[SEP]"), std::pair("mask_token", "[MASK]")})
    if (line_of.contains(usual)) about.roles.try_emplace(role, added_token{-1, usual});
  std::vector<added_token> added;
  add_described(
      added, about,
      [&](std::string_view t) {
        auto const at = line_of.find(t);
        return at == line_of.end() ? -1 : pieces[at->second].second;
      },
      refusal_at(file));

  setting s;
  wordpiece_rules rules;
  bool const lower = about.lower_case ? about.lower_case->as_bool() : true;
  bool const chinese = about.chinese ? about.chinese->as_bool() : true;
  bool const accents = about.accents && !about.accents->is_null() ? about.accents->as_bool() : lower;
  s.steps = bert_steps(true, chinese, accents, lower);
  read_pieces(pieces, double_lines, s, rules, added, refusal_at(file));
  finish(s, about, from);
  if (!s.roles.unk) throw data_error(file + ": has no token for unknown words ([UNK])");
  if (!s.roles.cls || !s.roles.sep) throw data_error(file + ": lacks [CLS] or [SEP], which are put around a text");
  rules.unknown = *s.roles.unk;
  s.around.before = {*s.roles.cls}, s.around.after = {*s.roles.sep};
  s.around.both = ends::pair{s.around.before, s.around.after, s.around.after, 0, 0, 0, 1, 1};
  return make_wordpiece(std::move(s), std::move(rules));
}

}  // namespace wayfarer::tokenizing
