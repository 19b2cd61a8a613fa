// Reads byte-level vocabularies with their merges: a JSON object of tokens, and a text file with one merge a line.
#include <algorithm>
#include <functional>
#include <map>

#include <wayfarer/error.hpp>

#include "bpe_files.hpp"
#include "folder.hpp"
#include "text.hpp"

namespace wayfarer::tokenizing {

void read_byte_letters(json_value const& vocab, std::vector<added_token> const& added, vocabulary& into) {
  into.expect(vocab.size() + added.size());
  std::map<std::int32_t, std::string const*> raw;
  for (auto const& t : added) raw.emplace(t.id, &t.text);
  for (auto const& [letters, value] : vocab.members()) {
    auto const id = static_cast<std::int32_t>(value.as_integer(0, 0x7fffffff));
    auto const refuse = refusal_at(value);
    // An added token stands for its own text, whatever letters that has.
    if (auto const at = raw.find(id); at != raw.end() && *at->second == letters)
      into.add(id, letters, refuse);
    else if (auto const bytes = bytes_of_byte_letters(letters))
      into.add(id, *bytes, refuse);
    else
      into.add(id, letters, refuse, true);
  }
}

void merge_reader::add(std::string_view left, std::string_view right, refusal const& refuse) {
  auto const token = [&](std::string_view letters, std::string_view what) {
    auto const bytes = byte_letters_ ? bytes_of_byte_letters(letters) : std::optional(std::string(letters));
    std::int32_t const id = bytes ? tokens_.find(*bytes) : -1;
    if (id < 0)
      refuse("merge " + std::to_string(rank_) + " " + std::string(what) + " " + in_quotes(letters) + ", which is not a token");
    return id;
  };
  std::int32_t const a = token(left, "joins"), b = token(right, "joins");
  std::string_view const more = right.starts_with(prefix_) ? right.substr(prefix_.size()) : right;
  std::int32_t const both = token(std::string(left) + std::string(more), "makes");
  merges_.add(a, b, {rank_++, both});
}

namespace {

merge_table read_merges(std::string const& file, std::string_view text, vocabulary const& tokens) {
  merge_reader reader(tokens, true, static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1);
  std::size_t line = 0;
  while (!text.empty()) {
    ++line;
    std::size_t const end = std::min(text.find('\n'), text.size());
    std::string_view now = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (now.ends_with('\r')) now.remove_suffix(1);
    if (now.empty() || now.starts_with("#version")) continue;
    std::size_t const space = now.find(' ');
    auto const refuse = refusal_at(file, line);
    if (space == 0 || space == now.npos || space + 1 == now.size() || now.find(' ', space + 1) != now.npos)
      refuse("expected two tokens with a space between, got " + in_quotes(now));
    reader.add(now.substr(0, space), now.substr(space + 1), refuse);
  }
  return reader.take();
}

using find_id = std::function<std::int32_t(std::string_view)>;  ///< -1: there is none

/// Whether <s> and </s> stand around a text.
bool is_roberta(description const& about) {
  return about.is_class({"RobertaTokenizer", "BartTokenizer", "LEDTokenizer", "LongformerTokenizer", "MvpTokenizer"}) ||
         (about.tokenizer_class.empty() && about.model_type == "roberta");
}

/// RoBERTa's tokens by their usual names, where no file names others.
void name_roberta_tokens(folder& from, description& about, find_id const& id_of) {
  for (auto const& [role, text] : {std::pair("bos_token", "<s>"), std::pair("eos_token", "</s>"), std::pair("unk_token", "<unk>"),
                                   std::pair("pad_token", "<pad>"), std::pair("cls_token", "<s>"), std::pair("sep_token", "</s>"),
                                   std::pair("mask_token", "<mask>")})
    if (id_of(text) >= 0) about.roles.try_emplace(role, added_token{-1, text});
  // Written as a bare text it takes the space before it along.
  auto const mask = about.roles.find("mask_token");
  if (mask == about.roles.end()) return;
  bool stated = false;
  for (auto const* file : {&from.tokenizer_config(), &from.special_tokens_map()})
    if (!file->is_null())
      if (auto const t = file->find_set("mask_token")) stated = stated || t->kind() == json_kind::object;
  if (!stated) mask->second.strips_left = true;
}

void read_ends(json_value const& vocab, description const& about, setting& s) {
  if (is_roberta(about)) {
    auto const token = [&](char const* role, char const* text) {
      auto const* const said = about.role(role);
      auto const id = s.tokens.find(said ? std::string_view(said->text) : text);
      if (id < 0) vocab.fail("has no <s> and </s>, which RoBERTa puts around a text");
      return id;
    };
    auto const cls = token("cls_token", "<s>"), sep = token("sep_token", "</s>");
    s.around.before = {cls}, s.around.after = {sep};
    s.around.both = ends::pair{{cls}, {sep, sep}, {sep}};
    s.roles.cls = cls, s.roles.sep = sep;
  } else if (about.add_bos && about.add_bos->as_bool()) {
    auto const* const said = about.role("bos_token");
    auto const bos = s.tokens.find(said ? std::string_view(said->text) : "<|endoftext|>");
    if (bos < 0) about.add_bos->fail("is true, but no bos_token is in the vocabulary");
    s.around.before = {bos};
    s.around.both = ends::pair{{bos}, {}, {}, 0, 0, 0, 1, 1};
  }
}

}  // namespace

std::shared_ptr<tokenizer const> read_vocab_and_merges(folder& from, description about, std::string_view vocab_name,
                                                       std::string_view merges_name) {
  about.require(cutting::bpe, vocabulary_files::vocab_and_merges);
  for (auto const* setting : {&about.lower_case, &about.accents, &about.extra_ids})
    about.refuse(*setting, "which byte-level BPE does not read");
  json_value const vocab = from.json(vocab_name);
  std::string const merges = from.text(merges_name);
  find_id const id_of = [&](std::string_view text) {
    auto const id = vocab.find(text);
    return id ? static_cast<std::int32_t>(id->as_integer(0, 0x7fffffff)) : -1;
  };
  if (is_roberta(about)) name_roberta_tokens(from, about, id_of);
  std::vector<added_token> added;
  add_described(added, about, id_of, refusal_at(vocab));
  if (auto const id = id_of("<|endoftext|>");
      id >= 0 && std::none_of(added.begin(), added.end(), [&](added_token const& t) { return t.id == id; }))
    added.push_back({id, "<|endoftext|>"});
  setting s;
  read_byte_letters(vocab, added, s.tokens);
  add_tokens(s, added, refusal_at(vocab));
  s.tokens.index();
  merge_table table = read_merges(from.path(merges_name), merges, s.tokens);

  bpe_rules rules;
  std::vector<pre_tokenizer> words;
  if (about.prefix_space && about.prefix_space->as_bool()) words.emplace_back(std::in_place_type<prefix_step>);
  words.emplace_back(std::in_place_type<gpt2_step>);
  rules.words = pre_tokenization(std::move(words));
  read_ends(vocab, about, s);
  finish(s, about, from);
  if (s.roles.unk) rules.unknown = *s.roles.unk;
  return make_byte_level(std::move(s), std::move(table), std::move(rules));
}

}  // namespace wayfarer::tokenizing
