// Reads byte-level vocabularies with their merges: a JSON object of tokens, and a text file with one merge a line.
#include <algorithm>
#include <map>

#include <wayfarer/error.hpp>

#include "byte_level.hpp"
#include "byte_level_files.hpp"
#include "folder.hpp"

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
    auto const bytes = bytes_of_byte_letters(letters);
    std::int32_t const id = bytes ? tokens_.find(*bytes) : -1;
    if (id < 0)
      refuse("merge " + std::to_string(rank_) + " " + std::string(what) + " " + in_quotes(letters) + ", which is no token");
    return id;
  };
  std::int32_t const a = token(left, "joins"), b = token(right, "joins");
  std::int32_t const both = token(std::string(left) + std::string(right), "makes");
  merges_.add(a, b, {rank_++, both});
}

namespace {

merge_table read_merges(std::string const& file, std::string_view text, vocabulary const& tokens) {
  merge_reader reader(tokens, static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1);
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

}  // namespace

std::shared_ptr<tokenizer const> read_vocab_and_merges(folder& from, std::string_view vocab_name, std::string_view merges_name) {
  json_value const vocab = from.json(vocab_name);
  std::string const merges = from.text(merges_name);
  bool const roberta = from.tokenizer_class() == "RobertaTokenizer" || from.model_type() == "roberta";

  setting s;
  std::vector<added_token> added = from.listed_tokens();
  auto const has_id = [&](std::int32_t id) {
    return std::any_of(added.begin(), added.end(), [&](added_token const& t) { return t.id == id; });
  };
  auto const add_named = [&](std::string_view text, bool strips_left = false) {
    auto const id = vocab.find(text);
    if (!id) return;
    auto const number = static_cast<std::int32_t>(id->as_integer(0, 0x7fffffff));
    if (!has_id(number)) added.push_back({number, std::string(text), true, strips_left, false});
  };
  for (char const* role : {"bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "cls_token", "sep_token"})
    if (auto const text = from.role(role)) add_named(*text, std::string_view(role) == "mask_token" && roberta);
  add_named("<|endoftext|>");
  if (roberta) {
    for (char const* text : {"<s>", "</s>", "<unk>", "<pad>"}) add_named(text);
    add_named("<mask>", true);
  }
  read_byte_letters(vocab, added, s.tokens);
  add_tokens(s, added, refusal_at(vocab));
  s.tokens.index();
  merge_table table = read_merges(from.path(merges_name), merges, s.tokens);

  byte_level_rules rules;
  if (auto const& config = from.tokenizer_config(); !config.is_null())
    if (auto const space = config.find_set("add_prefix_space")) rules.prefix_space = space->as_bool();
  assign_roles(s, from);
  if (roberta) {
    auto const bos = s.tokens.find("<s>"), eos = s.tokens.find("</s>");
    if (bos < 0 || eos < 0) vocab.fail("has no <s> and </s>, which RoBERTa puts around a text");
    s.before = {bos}, s.after = {eos};
    s.roles.cls = bos, s.roles.sep = eos;
  }
  if (s.roles.unk) rules.unknown = *s.roles.unk;
  return make_byte_level(std::move(s), std::move(table), rules);
}

}  // namespace wayfarer::tokenizing
