// Hugging Face's tokenizer.json. Whatever it asks for that we don't do exactly is refused, with the place in the file.
#include <wayfarer/error.hpp>

#include "byte_level_files.hpp"
#include "folder.hpp"

namespace wayfarer::tokenizing {

namespace {

std::string type_of(json_value const& part) {
  return part.at("type").as_string();
}

bool flag(json_value const& part, std::string_view name, bool otherwise) {
  auto const set = part.find_set(name);
  return set ? set->as_bool() : otherwise;
}

/// The parts of a component that may be one, several in a Sequence, or null.
std::vector<json_value> parts_of(json_value const& whole, std::string_view name, std::string_view list) {
  auto const part = whole.find_set(name);
  if (!part) return {};
  if (type_of(*part) != "Sequence") return {*part};
  std::vector<json_value> all;
  for (json_value one : part->at(list).elements()) {
    if (type_of(one) == "Sequence") one.fail("a sequence in a sequence is not supported");
    all.push_back(std::move(one));
  }
  return all;
}

[[noreturn]] void unsupported(json_value const& part, std::string_view what) {
  part.fail(std::string(what) + " " + in_quotes(type_of(part)) + " is not supported here");
}

std::vector<added_token> read_added(json_value const& whole) {
  std::vector<added_token> all;
  if (auto const list = whole.find_set("added_tokens"))
    for (json_value const t : list->elements())
      all.push_back(read_added_token(t, static_cast<std::int32_t>(t.at("id").as_integer(0, 0x7fffffff))));
  return all;
}

std::int32_t known_token(json_value const& where, setting const& s, std::int64_t id) {
  if (id < 0 || id > 0x7fffffff || !s.tokens.has(static_cast<std::int32_t>(id)))
    where.fail("no token has the id " + std::to_string(id));
  return static_cast<std::int32_t>(id);
}

/// What comes before and after a text.
void read_ends(json_value const& whole, setting& s) {
  for (json_value const& part : parts_of(whole, "post_processor", "processors")) {
    std::string const type = type_of(part);
    if (type == "ByteLevel") continue;
    if (!s.before.empty() || !s.after.empty()) part.fail("a second processor that adds tokens is not supported");
    if (type == "RobertaProcessing" || type == "BertProcessing") {
      auto const id = [&](char const* name) { return known_token(part, s, part.at(name).at(1).as_integer()); };
      s.before = {id("cls")}, s.after = {id("sep")};
      s.roles.cls = s.before[0], s.roles.sep = s.after[0];
    } else if (type == "TemplateProcessing") {
      bool seen = false;
      for (json_value const piece : part.at("single").elements()) {
        if (auto const sequence = piece.find("Sequence")) {
          if (seen) piece.fail("a template that holds the text twice is not supported");
          seen = true;
          continue;
        }
        json_value const ids = part.at("special_tokens").at(piece.at("SpecialToken").at("id").as_string()).at("ids");
        for (json_value const id : ids.elements()) (seen ? s.after : s.before).push_back(known_token(id, s, id.as_integer()));
      }
      if (!seen) part.fail("a template without the text is not supported");
    } else {
      unsupported(part, "post-processor");
    }
  }
}

std::shared_ptr<tokenizer const> read_bpe(folder& from, json_value const& whole, json_value const& model) {
  for (char const* name : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (auto const set = model.find_set(name); set && !set->as_string().empty()) set->fail("is not supported");
  if (auto const dropout = model.find_set("dropout"); dropout && dropout->as_number() != 0)
    dropout->fail("dropout is not supported");
  if (flag(model, "byte_fallback", false)) model.at("byte_fallback").fail("is not supported with BPE; only byte-level BPE is");
  if (auto const parts = parts_of(whole, "normalizer", "normalizers"); !parts.empty()) unsupported(parts[0], "normalizer");

  byte_level_rules rules;
  auto const parts = parts_of(whole, "pre_tokenizer", "pretokenizers");
  if (parts.size() != 1 || type_of(parts[0]) != "ByteLevel") {
    for (auto const& p : parts)
      if (type_of(p) != "ByteLevel") unsupported(p, "pre-tokenizer");
    whole.fail("pre_tokenizer: BPE is supported with the pre-tokenizer ByteLevel alone");
  }
  rules.prefix_space = flag(parts[0], "add_prefix_space", true);
  rules.split = flag(parts[0], "use_regex", true);
  rules.whole_words = flag(model, "ignore_merges", false);

  setting s;
  auto const added = read_added(whole);
  json_value const vocab = model.at("vocab");
  read_byte_letters(vocab, added, s.tokens);
  add_tokens(s, added, refusal_at(whole.find("added_tokens").value_or(whole)));
  s.tokens.index();

  json_value const merges = model.at("merges");
  merge_reader reader(s.tokens, merges.size());
  for (json_value const m : merges.elements()) {
    auto const refuse = refusal_at(m);
    if (m.kind() == json_kind::array) {
      if (m.size() != 2) refuse("expected two tokens");
      reader.add(m.at(0).as_string(), m.at(1).as_string(), refuse);
      continue;
    }
    std::string_view const both = m.as_string();
    std::size_t const space = both.find(' ');
    if (space == 0 || space == both.npos || both.find(' ', space + 1) != both.npos)
      refuse("expected two tokens with a space between");
    reader.add(both.substr(0, space), both.substr(space + 1), refuse);
  }
  if (auto const unknown = model.find_set("unk_token")) {
    rules.unknown = s.tokens.find(unknown->as_string());
    if (rules.unknown < 0) unknown->fail("is no token");
  }
  read_ends(whole, s);
  assign_roles(s, from);
  return make_byte_level(std::move(s), reader.take(), rules);
}

}  // namespace

std::shared_ptr<tokenizer const> read_tokenizer_json(folder& from) {
  json_value const whole = from.json("tokenizer.json");
  json_value const model = whole.at("model");
  // Early files don't name the type.
  auto const named = model.find_set("type");
  std::string const type = named ? named->as_string() : model.find("merges") ? "BPE" : "";
  if (type == "BPE") return read_bpe(from, whole, model);
  if (!named) model.fail("\"type\" is missing");
  named->fail("the model " + in_quotes(type) + " is not supported; BPE, Unigram and WordPiece are");
}

}  // namespace wayfarer::tokenizing
