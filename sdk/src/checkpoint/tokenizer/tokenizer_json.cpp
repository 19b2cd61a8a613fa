// Hugging Face's tokenizer.json. A setting that we don't follow exactly is refused, with its place in the file.
#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include <wayfarer/error.hpp>

#include "bpe_files.hpp"
#include "folder.hpp"
#include "text.hpp"
#include "unigram.hpp"
#include "wordpiece.hpp"

namespace wayfarer::tokenizing {

namespace {

std::string type_of(json_value const& part) {
  return part.at("type").as_string();
}

/// Every setting in this file changes ids, so unknown ones are refused.
void expect_only(json_value const& part, std::initializer_list<std::string_view> known) {
  for (auto const& [name, value] : part.members())
    if (name != "type" && std::find(known.begin(), known.end(), name) == known.end())
      value.fail("this setting is not known here, and it may change tokens");
}

bool flag(json_value const& part, std::string_view name, bool otherwise) {
  auto const set = part.find_set(name);
  return set ? set->as_bool() : otherwise;
}

void add_parts(json_value const& part, std::string_view list, std::vector<json_value>& all) {
  if (type_of(part) != "Sequence") return all.push_back(part);
  expect_only(part, {list});
  for (json_value const one : part.at(list).elements()) add_parts(one, list, all);
}
/// The parts of a component that may be one, several in a Sequence, sequences among them, or null.
std::vector<json_value> parts_of(json_value const& whole, std::string_view name, std::string_view list) {
  std::vector<json_value> all;
  if (auto const part = whole.find_set(name)) add_parts(*part, list, all);
  return all;
}

constexpr std::string_view read_normalizers =
    "NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, Append, Nmt, ByteLevel, BertNormalizer, Precompiled";
constexpr std::string_view read_pre_tokenizers =
    "ByteLevel, Split, Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation, BertPreTokenizer, CharDelimiterSplit";
constexpr std::string_view read_processors = "ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing";
constexpr std::string_view read_decoders = "ByteLevel, Metaspace, WordPiece, BPEDecoder, Replace, ByteFallback, Fuse, Strip";

/// `what` is the file's own name for such a part, `readable` what of the kind is read here.
[[noreturn]] void unsupported(json_value const& part, std::string_view what, std::string_view readable) {
  part.fail(std::string(what) + " " + type_of(part) + ": this build reads " + std::string(readable) + ", and Sequence");
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

/// One text's template, or a pair's.
struct template_piece {
  int text = -1;  // 0 or 1: the text, else ids
  std::vector<std::int32_t> ids;
  std::int32_t type = 0;
};

std::vector<template_piece> read_template(json_value const& part, std::string_view name, setting const& s) {
  std::vector<template_piece> all;
  for (json_value const piece : part.at(name).elements()) {
    template_piece p;
    auto const type = [&](json_value const& v) {
      auto const id = v.find_set("type_id");
      return id ? static_cast<std::int32_t>(id->as_integer(0, 0xffff)) : 0;
    };
    if (auto const sequence = piece.find("Sequence")) {
      auto const id = sequence->find_set("id");
      p.text = id && id->as_string() == "B", p.type = type(*sequence);
    } else {
      json_value const special = piece.at("SpecialToken");
      p.type = type(special);
      json_value const ids = part.at("special_tokens").at(special.at("id").as_string()).at("ids");
      for (json_value const id : ids.elements()) p.ids.push_back(known_token(id, s, id.as_integer()));
    }
    all.push_back(std::move(p));
  }
  return all;
}

/// The rule for pairs of a template, if it is both texts once, in order, with one type of the tokens at each place.
std::optional<ends::pair> pair_of(std::vector<template_piece> const& all) {
  ends::pair rule;
  int texts = 0;
  std::vector<std::int32_t> types[3];
  for (auto const& p : all) {
    if (p.text >= 0) {
      if (p.text != texts) return std::nullopt;
      (texts++ == 0 ? rule.type_first : rule.type_second) = p.type;
      continue;
    }
    auto& to = texts == 0 ? rule.before : texts == 1 ? rule.between : rule.after;
    to.insert(to.end(), p.ids.begin(), p.ids.end());
    types[texts].insert(types[texts].end(), p.ids.size(), p.type);
  }
  if (texts != 2) return std::nullopt;
  std::int32_t* const to[] = {&rule.type_before, &rule.type_between, &rule.type_after};
  for (int k = 0; k < 3; ++k) {
    if (types[k].empty()) continue;
    if (std::any_of(types[k].begin(), types[k].end(), [&](auto t) { return t != types[k].front(); })) return std::nullopt;
    *to[k] = types[k].front();
  }
  return rule;
}

/// What comes before and after a text, and around two.
void read_ends(json_value const& whole, setting& s) {
  for (json_value const& part : parts_of(whole, "post_processor", "processors")) {
    std::string const type = type_of(part);
    if (type == "ByteLevel") {
      expect_only(part, {"add_prefix_space", "trim_offsets", "use_regex"});
      continue;
    }
    auto& around = s.around;
    if (!around.before.empty() || !around.after.empty()) part.fail("a second processor that adds tokens is not supported");
    if (type == "RobertaProcessing" || type == "BertProcessing") {
      expect_only(part, {"cls", "sep", "add_prefix_space", "trim_offsets"});
      auto const id = [&](char const* name) { return known_token(part, s, part.at(name).at(1).as_integer()); };
      around.before = {id("cls")}, around.after = {id("sep")};
      s.roles.cls = around.before[0], s.roles.sep = around.after[0];
      bool const roberta = type == "RobertaProcessing";
      around.both = ends::pair{around.before, around.after, around.after};
      if (roberta)
        around.both->between.push_back(around.after[0]);
      else
        around.both->type_second = around.both->type_after = 1;
    } else if (type == "TemplateProcessing") {
      expect_only(part, {"single", "pair", "special_tokens"});
      bool seen = false;
      for (auto const& piece : read_template(part, "single", s)) {
        if (piece.text < 0) {
          auto& to = seen ? around.after : around.before;
          to.insert(to.end(), piece.ids.begin(), piece.ids.end());
          continue;
        }
        if (seen) part.at("single").fail("a template that holds the text twice is not supported");
        seen = true;
      }
      if (!seen) part.fail("a template without the text is not supported");
      if (part.find_set("pair")) around.both = pair_of(read_template(part, "pair", s));
    } else {
      unsupported(part, "post_processor", read_processors);
    }
  }
}

/// The tokens of the file and of those beside it.
std::vector<added_token> all_added(json_value const& whole, description& about,
                                   std::function<std::int32_t(std::string_view)> id_of) {
  auto added = read_added(whole);
  add_described(added, about, std::move(id_of), refusal_at(whole.find("added_tokens").value_or(whole)));
  return added;
}
/// For vocabularies that are objects.
std::function<std::int32_t(std::string_view)> ids_of(json_value const& vocab) {
  return [vocab](std::string_view text) {
    auto const id = vocab.find(text);
    return id ? static_cast<std::int32_t>(id->as_integer(0, 0x7fffffff)) : -1;
  };
}

/// The bytes that base64 text stands for.
std::string from_base64(json_value const& where) {
  std::string const& text = where.as_string();
  std::string out;
  out.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  std::size_t n = text.size();
  if (n % 4 != 0) where.fail("is not a base64 text: its length is not a multiple of 4");
  if (n > 0 && text[n - 1] == '=') --n;
  if (n > 0 && text[n - 1] == '=') --n;
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < n; ++i) {
    std::size_t const digit = digits.find(text[i]);
    if (digit == digits.npos) where.fail("is not a base64 text at byte " + std::to_string(i));
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if (i % 4 != 0) out += static_cast<char>(bits >> (6 - 2 * (i % 4)) & 0xff);
  }
  return out;
}

std::string short_text(json_value const& where, std::string_view name) {
  std::string const& text = where.at(name).as_string();
  if (text.size() > longest_token) where.fail(std::string(name) + ": is longer than " + std::to_string(longest_token) + " bytes");
  return text;
}

/// Whether BertTokenizerFast reads the tokenizer; it rewrites the normaliser by tokenizer_config.json.
bool rewrites_normalizer(description const& about) noexcept {
  return !about.is_class({"PreTrainedTokenizer", "TokenizersBackend"});
}

/// BERT's normalisation as the file has it and the configuration rewrites it.
void add_bert_steps(json_value const& part, description const& about, std::vector<normalizer>& steps) {
  expect_only(part, {"clean_text", "handle_chinese_chars", "strip_accents", "lowercase"});
  bool lower = flag(part, "lowercase", true), chinese = flag(part, "handle_chinese_chars", true);
  auto accents = part.find_set("strip_accents");
  auto const follow = [&](std::optional<json_value> const& said, bool& value, char const* what) {
    if (!said) return;
    if (!rewrites_normalizer(about) && said->as_bool() != value)
      said->fail("is " + to_json(*said) + ", but tokenizer.json has " + what + " " + (value ? "true" : "false") + ", and " +
                 about.tokenizer_class + " does not read this setting; make them agree");
    value = said->as_bool();
  };
  follow(about.lower_case, lower, "lowercase");
  follow(about.chinese, chinese, "handle_chinese_chars");
  if (rewrites_normalizer(about) && (about.accents || about.lower_case))
    accents = about.accents && !about.accents->is_null() ? about.accents : std::nullopt;
  for (auto& step : bert_steps(flag(part, "clean_text", true), chinese, accents ? accents->as_bool() : lower, lower))
    steps.push_back(std::move(step));
}

/// {"String": "..."} or {"Regex": "..."}.
struct text_or_pattern {
  std::string text;
  std::shared_ptr<pattern const> matches;
};
text_or_pattern read_pattern(json_value const& part) {
  json_value const at = part.at("pattern");
  // Early files have the text alone.
  if (at.kind() == json_kind::string) return {at.as_string(), nullptr};
  expect_only(at, {"String", "Regex"});
  if (auto const regex = at.find("Regex")) return {"", std::make_shared<pattern const>(regex->as_string(), refusal_at(*regex))};
  std::string text = short_text(at, "String");
  if (text.empty()) at.fail("is empty");
  return {std::move(text), nullptr};
}

std::vector<normalizer> read_steps(json_value const& whole, description const& about) {
  std::vector<normalizer> steps;
  for (json_value const& part : parts_of(whole, "normalizer", "normalizers")) {
    std::string const type = type_of(part);
    if (type == "Precompiled") {
      expect_only(part, {"precompiled_charsmap"});
      auto const blob = part.find_set("precompiled_charsmap");
      if (!blob) continue;
      auto map = std::make_shared<character_map const>(from_base64(*blob), refusal_at(*blob));
      if (!map->empty()) steps.push_back(by_character_map(std::move(map)));
    } else if (type == "BertNormalizer") {
      add_bert_steps(part, about, steps);
    } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
      expect_only(part, {});
      steps.push_back(by_unicode_form(type == "NFC"    ? unicode_form::nfc
                                      : type == "NFD"  ? unicode_form::nfd
                                      : type == "NFKC" ? unicode_form::nfkc
                                                       : unicode_form::nfkd));
    } else if (type == "Lowercase") {
      expect_only(part, {});
      steps.push_back(lower_case());
    } else if (type == "StripAccents") {
      expect_only(part, {});
      steps.push_back(without_all_marks());
    } else if (type == "Nmt") {
      expect_only(part, {});
      steps.push_back(nmt());
    } else if (type == "ByteLevel") {
      expect_only(part, {});
      steps.push_back(as_byte_letters());
    } else if (type == "Strip") {
      expect_only(part, {"strip_left", "strip_right"});
      steps.push_back(stripped(flag(part, "strip_left", true), flag(part, "strip_right", true)));
    } else if (type == "Prepend") {
      expect_only(part, {"prepend"});
      steps.push_back(with_prefix(short_text(part, "prepend")));
    } else if (type == "Append") {
      expect_only(part, {"append"});
      steps.push_back(with_suffix(short_text(part, "append")));
    } else if (type == "Replace") {
      expect_only(part, {"pattern", "content"});
      auto what = read_pattern(part);
      std::string with = short_text(part, "content");
      if (what.matches)
        steps.push_back(replaced(std::move(what.matches), std::move(with)));
      else
        steps.push_back(replaced(std::move(what.text), std::move(with)));
    } else {
      unsupported(part, "normalizer", read_normalizers);
    }
  }
  return steps;
}

metaspace_rules::prefix read_prefix(json_value const& part) {
  using prefix = metaspace_rules::prefix;
  if (auto const mark = part.find_set("replacement"); mark && mark->as_string() != space_mark)
    mark->fail("only the mark U+2581 is supported");
  if (auto const scheme = part.find_set("prepend_scheme")) {
    std::string const& text = scheme->as_string();
    if (text == "always") return prefix::always;
    if (text == "first") return prefix::first;
    if (text == "never") return prefix::never;
    scheme->fail("expected always, first or never");
  }
  return flag(part, "add_prefix_space", true) ? prefix::always : prefix::never;
}

delimiter read_behavior(json_value const& part, std::string_view otherwise = "") {
  auto const said = part.find_set("behavior");
  if (!said && otherwise.empty()) part.fail("\"behavior\" is missing");
  std::string const name = said ? said->as_string() : std::string(otherwise);
  if (name == "Removed") return delimiter::removed;
  if (name == "Isolated") return delimiter::isolated;
  if (name == "MergedWithPrevious") return delimiter::merged_with_previous;
  if (name == "MergedWithNext") return delimiter::merged_with_next;
  if (name == "Contiguous") return delimiter::contiguous;
  said->fail("expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous, got " + in_quotes(name));
}

/// One character.
std::string read_mark(json_value const& part) {
  auto const said = part.find_set("replacement");
  if (!said) return std::string(space_mark);
  std::string const& mark = said->as_string();
  if (mark.empty() || read_character(mark, 0).length != mark.size()) said->fail("expected one character");
  return mark;
}

mark_step read_metaspace(json_value const& part) {
  expect_only(part, {"replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  mark_step m;
  m.mark = read_mark(part), m.split = flag(part, "split", true);
  using prefix = mark_step::prefix;
  m.prepend = flag(part, "add_prefix_space", true) ? prefix::always : prefix::never;
  if (auto const scheme = part.find_set("prepend_scheme")) {
    std::string const& text = scheme->as_string();
    if (text != "always" && text != "first" && text != "never") scheme->fail("expected always, first or never");
    m.prepend = text == "always" ? prefix::always : text == "first" ? prefix::first : prefix::never;
  }
  return m;
}

split_step of_kind(split_step::kind kind, delimiter what) {
  split_step s;
  s.of = kind, s.what = what;
  return s;
}

/// GPT-2's own pattern.
constexpr std::string_view gpt2_pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// `alone`: it is the file's only step.
void read_byte_level_step(json_value const& part, description const& about, bool alone, std::vector<pre_tokenizer>& words) {
  expect_only(part, {"add_prefix_space", "trim_offsets", "use_regex"});
  bool space = flag(part, "add_prefix_space", true);
  // Hugging Face rewrites the file's setting by tokenizer_config.json's, if it stands alone.
  if (about.prefix_space && alone) space = about.prefix_space->as_bool();
  if (space) words.emplace_back(std::in_place_type<prefix_step>);
  if (flag(part, "use_regex", true)) words.emplace_back(std::in_place_type<gpt2_step>);
  words.emplace_back(std::in_place_type<letters_step>);
}

pre_tokenizer read_split(json_value const& part) {
  expect_only(part, {"pattern", "behavior", "invert"});
  auto what = read_pattern(part);
  split_step s;
  s.how = what.matches ? split_step::looked_for::by_pattern : split_step::looked_for::by_text;
  s.what = read_behavior(part), s.inverted = flag(part, "invert", false);
  // It matches everywhere, so that nothing lies between.
  if (what.matches && what.matches->text() == gpt2_pattern && s.what == delimiter::isolated) return gpt2_step{};
  s.matches = std::move(what.matches), s.text = std::move(what.text);
  return s;
}

split_step read_character_split(json_value const& part) {
  expect_only(part, {"delimiter"});
  json_value const said = part.at("delimiter");
  std::string const& text = said.as_string();
  if (text.empty() || read_character(text, 0).length != text.size()) said.fail("expected one character");
  split_step s = of_kind(split_step::kind::character, delimiter::removed);
  s.character = read_character(text, 0).value;
  return s;
}

/// The steps of the file, where bytes become letters among them.
std::vector<pre_tokenizer> read_words(json_value const& whole, description const& about) {
  std::vector<pre_tokenizer> words;
  auto const parts = parts_of(whole, "pre_tokenizer", "pretokenizers");
  bool letters = false;
  for (json_value const& part : parts) {
    std::string const type = type_of(part);
    if (type == "ByteLevel") {
      if (letters) part.fail("pre_tokenizer ByteLevel: comes twice, which is not supported");
      letters = true;
      read_byte_level_step(part, about, parts.size() == 1, words);
    } else if (type == "Split") {
      words.push_back(read_split(part));
    } else if (type == "Digits") {
      expect_only(part, {"individual_digits"});
      words.push_back(of_kind(split_step::kind::number,
                              flag(part, "individual_digits", false) ? delimiter::isolated : delimiter::contiguous));
    } else if (type == "Punctuation") {
      expect_only(part, {"behavior"});
      words.push_back(of_kind(split_step::kind::punctuation, read_behavior(part, "Isolated")));
    } else if (type == "WhitespaceSplit") {
      expect_only(part, {});
      words.push_back(of_kind(split_step::kind::space, delimiter::removed));
    } else if (type == "BertPreTokenizer") {
      expect_only(part, {});
      words.push_back(of_kind(split_step::kind::space, delimiter::removed));
      words.push_back(of_kind(split_step::kind::punctuation, delimiter::isolated));
    } else if (type == "Whitespace") {
      expect_only(part, {});
      split_step s;
      s.how = split_step::looked_for::by_words, s.what = delimiter::removed, s.inverted = true;
      words.push_back(std::move(s));
    } else if (type == "CharDelimiterSplit") {
      words.push_back(read_character_split(part));
    } else if (type == "Metaspace") {
      if (letters) part.fail("pre_tokenizer Metaspace: is not supported behind ByteLevel");
      words.push_back(read_metaspace(part));
    } else {
      unsupported(part, "pre_tokenizer", read_pre_tokenizers);
    }
  }
  return words;
}

decoding read_decoding(json_value const& whole) {
  std::vector<decoder> steps;
  for (json_value const& part : parts_of(whole, "decoder", "decoders")) {
    std::string const type = type_of(part);
    if (type == "ByteLevel") {
      expect_only(part, {"add_prefix_space", "trim_offsets", "use_regex"});
      steps.push_back(decode_letters{});
    } else if (type == "Metaspace") {
      auto const m = read_metaspace(part);
      steps.push_back(decode_marks{m.mark, m.prepend != mark_step::prefix::never});
    } else if (type == "WordPiece") {
      expect_only(part, {"prefix", "cleanup"});
      steps.push_back(decode_wordpiece{part.find_set("prefix") ? short_text(part, "prefix") : "##", flag(part, "cleanup", true)});
    } else if (type == "BPEDecoder") {
      expect_only(part, {"suffix"});
      std::string suffix = part.find_set("suffix") ? short_text(part, "suffix") : "</w>";
      if (suffix.empty()) part.fail("suffix: is empty");
      steps.push_back(decode_suffix{std::move(suffix)});
    } else if (type == "Replace") {
      expect_only(part, {"pattern", "content"});
      auto what = read_pattern(part);
      steps.push_back(decode_replace{std::move(what.text), std::move(what.matches), short_text(part, "content")});
    } else if (type == "ByteFallback") {
      expect_only(part, {});
      steps.push_back(decode_bytes{});
    } else if (type == "Fuse") {
      expect_only(part, {});
      steps.push_back(decode_fuse{});
    } else if (type == "Strip") {
      expect_only(part, {"content", "start", "stop"});
      std::string content = short_text(part, "content");
      if (content.empty() || read_character(content, 0).length != content.size()) part.fail("content: expected one character");
      steps.push_back(
          decode_strip{std::move(content), part.at("start").as_unsigned(1'000'000), part.at("stop").as_unsigned(1'000'000)});
    } else {
      unsupported(part, "decoder", read_decoders);
    }
  }
  return decoding(std::move(steps));
}

/// Classes that add the first and last token of a text by their own settings, not by the file's template.
void follow_class(description const& about, setting& s) {
  bool const begins = about.is_class({"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer"});
  if (!begins && !about.is_class({"GPTNeoXTokenizer"})) return;
  bool const bos = about.add_bos ? about.add_bos->as_bool() : begins, eos = about.add_eos && about.add_eos->as_bool();
  auto const id_of = [&](char const* role, char const* usual) {
    auto const* const said = about.role(role);
    auto const id = s.tokens.find(said ? std::string_view(said->text) : usual);
    if (id < 0)
      about.class_at.fail("puts the " + std::string(role) + " around a text, and the vocabulary has none; name it in " +
                          "tokenizer_config.json, or say there that none is added");
    return id;
  };
  ends now;
  ends::pair both;
  if (bos) now.before = {id_of("bos_token", "<s>")};
  if (eos) now.after = {id_of("eos_token", "</s>")};
  both.before = now.before, both.after = now.after, both.between = now.after;
  both.between.insert(both.between.end(), now.before.begin(), now.before.end());
  both.type_between = eos ? 0 : 1, both.type_second = both.type_after = 1;
  now.both = std::move(both);
  s.around = std::move(now);
}

void read_merges(json_value const& model, merge_reader& reader) {
  for (json_value const m : model.at("merges").elements()) {
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
}

/// Vocabularies in characters: what each token stands for goes to the setting, its text to the rules.
void read_characters(json_value const& vocab, std::vector<added_token> const& added, setting& s, character_rules& rules) {
  s.tokens.expect(vocab.size() + added.size());
  rules.as_written.expect(vocab.size() + added.size());
  std::map<std::int32_t, std::string const*> apart;
  for (auto const& t : added) apart.emplace(t.id, &t.text);
  for (auto const& [text, value] : vocab.members()) {
    auto const id = static_cast<std::int32_t>(value.as_integer(0, 0x7fffffff));
    auto const refuse = refusal_at(value);
    if (text.size() > longest_token) refuse("the token is longer than " + std::to_string(longest_token) + " bytes");
    rules.as_written.add(id, text, refuse);
    bool const itself = apart.contains(id) && *apart.at(id) == text;
    // Bytes are found by the tokens that are nothing else.
    s.tokens.add(id, itself ? text : rules.back.alone(text), refuse, !itself && byte_of_token(text) >= 0);
  }
}

/// What both kinds of BPE read of the file.
struct bpe_parts {
  setting s{};
  bpe_rules rules{};
  character_rules more{};
  std::vector<pre_tokenizer> words{};
  bool fall_back = false;
  bool bytes = false;  ///< a token is bytes; otherwise it is characters, of the letters that bytes are written with, too
};

/// Byte-level BPE's own steps must fit: what turns bytes into letters comes last, or is turned back.
void check_byte_steps(json_value const& whole, bpe_parts& b) {
  auto const letters =
      std::find_if(b.words.begin(), b.words.end(), [](auto const& w) { return std::holds_alternative<letters_step>(w); });
  b.bytes = letters != b.words.end() && b.more.prefix.empty() && b.more.suffix.empty() && !b.fall_back;
  if (!b.bytes) return;
  if (letters + 1 == b.words.end())
    b.words.erase(letters);
  else
    std::get<letters_step>(*letters).back = true;
  auto const& back = b.more.back.steps();
  if (back.size() > 1 || (back.size() == 1 && !std::holds_alternative<decode_letters>(back[0])))
    whole.at("decoder").fail("decoder " + type_of(whole.at("decoder")) +
                             ": with byte-level BPE this build reads ByteLevel alone");
}

/// tokenizer_config.json may say whether a space comes before a text, and so do the steps.
void check_prefix_space(json_value const& whole, description const& about, std::vector<pre_tokenizer> const& words) {
  if (!about.prefix_space || !about.is_class({"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"})) return;
  bool puts = false;
  for (json_value const& part : parts_of(whole, "normalizer", "normalizers")) puts = puts || type_of(part) == "Prepend";
  for (auto const& w : words)
    if (auto const* m = std::get_if<mark_step>(&w)) puts = puts || m->prepend != mark_step::prefix::never;
  if (about.prefix_space->as_bool() != puts)
    about.prefix_space->fail("is " + to_json(*about.prefix_space) + ", but tokenizer.json puts " + (puts ? "a" : "no") +
                             " space before a text; make them agree");
}

bpe_parts read_bpe_parts(json_value const& whole, description const& about, json_value const& model) {
  expect_only(model, {"vocab", "merges", "continuing_subword_prefix", "end_of_word_suffix", "dropout", "byte_fallback",
                      "unk_token", "fuse_unk", "ignore_merges"});
  if (auto const dropout = model.find_set("dropout"); dropout && dropout->as_number() != 0)
    dropout->fail("dropout: cuts at random, which this build does not; set it to null");
  bpe_parts b;
  auto const affix = [&](char const* name) { return model.find_set(name) ? short_text(model, name) : std::string(); };
  b.more.prefix = affix("continuing_subword_prefix"), b.more.suffix = affix("end_of_word_suffix");
  b.s.steps = read_steps(whole, about);
  b.words = read_words(whole, about);
  b.more.back = read_decoding(whole);
  b.rules.whole_words = flag(model, "ignore_merges", false);
  b.rules.fuse_unknown = flag(model, "fuse_unk", false);
  b.fall_back = flag(model, "byte_fallback", false);
  check_byte_steps(whole, b);
  if (!b.bytes) check_prefix_space(whole, about, b.words);
  b.rules.words = pre_tokenization(std::move(b.words));
  return b;
}

std::shared_ptr<tokenizer const> read_bpe(folder& from, description about, json_value const& whole, json_value const& model) {
  about.require(cutting::bpe, vocabulary_files::tokenizer_json);
  for (auto const* setting : {&about.lower_case, &about.accents, &about.extra_ids})
    about.refuse(*setting, "which BPE does not read");
  bpe_parts b = read_bpe_parts(whole, about, model);
  json_value const vocab = model.at("vocab");
  auto const added = all_added(whole, about, ids_of(vocab));
  auto const refuse_added = refusal_at(whole.find("added_tokens").value_or(whole));
  if (b.bytes) {
    read_byte_letters(vocab, added, b.s.tokens);
  } else {
    read_characters(vocab, added, b.s, b.more);
    for (auto const& t : added)
      if (!b.more.as_written.has(t.id)) b.more.as_written.add(t.id, t.text, refuse_added, true);
  }
  add_tokens(b.s, added, refuse_added);
  b.s.tokens.index();
  if (!b.bytes) b.more.as_written.index();
  if (b.fall_back) {
    b.more.byte_tokens.assign(256, -1);
    constexpr char hex[] = "0123456789ABCDEF";
    for (unsigned c = 0; c < 256; ++c)
      b.more.byte_tokens[c] = b.more.as_written.find(std::string("<0x") + hex[c >> 4] + hex[c & 15] + ">");
  }
  vocabulary const& merged = b.bytes ? b.s.tokens : b.more.as_written;
  merge_reader reader(merged, b.bytes, model.at("merges").size(), b.more.prefix);
  read_merges(model, reader);
  if (auto const unknown = model.find_set("unk_token")) {
    b.rules.unknown = merged.find(unknown->as_string());
    if (b.rules.unknown < 0) unknown->fail("is not a token");
  }
  read_ends(whole, b.s);
  follow_class(about, b.s);
  finish(b.s, about, from);
  if (b.bytes) return make_byte_level(std::move(b.s), reader.take(), std::move(b.rules));
  return make_character_bpe(std::move(b.s), reader.take(), std::move(b.rules), std::move(b.more));
}

metaspace_rules read_unigram_words(json_value const& whole, description const& about) {
  metaspace_rules rules;
  bool marks = false;
  for (json_value const& part : parts_of(whole, "pre_tokenizer", "pretokenizers")) {
    std::string const type = type_of(part);
    if (type == "WhitespaceSplit" && !marks && !rules.split_at_white_space) {
      rules.split_at_white_space = true;
    } else if (type == "Metaspace" && !marks) {
      marks = true;
      expect_only(part, {"replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
      rules.prepend = read_prefix(part);
      if (about.prefix_space && about.prefix_space->as_bool() != (rules.prepend != metaspace_rules::prefix::never))
        about.prefix_space->fail("is " + to_json(*about.prefix_space) +
                                 ", but tokenizer.json's pre_tokenizer says otherwise; make them agree");
      rules.split = flag(part, "split", true);
    } else {
      unsupported(part, "with Unigram pre_tokenizer", "WhitespaceSplit, Metaspace");
    }
  }
  if (!marks) whole.fail("pre_tokenizer: Unigram is supported with the pre-tokenizer Metaspace alone");
  for (json_value const& part : parts_of(whole, "decoder", "decoders")) {
    if (type_of(part) != "Metaspace") unsupported(part, "with Unigram decoder", "Metaspace");
    read_prefix(part);
  }
  return rules;
}

/// The byte that "<0x1F>" stands for; -1 for other tokens. In capitals alone.
int byte_of_capitals(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  constexpr std::string_view hex = "0123456789ABCDEF";
  auto const high = hex.find(text[3]), low = hex.find(text[4]);
  return high < 16 && low < 16 ? static_cast<int>(high * 16 + low) : -1;
}

/// `apart`: ids of added tokens, which stand for their own text.
unigram_pieces read_unigram_pieces(json_value const& model, std::set<std::int32_t> const& apart, vocabulary& tokens) {
  json_value const vocab = model.at("vocab");
  std::size_t const n = vocab.size();
  if (n == 0) vocab.fail("is empty");
  unigram_pieces p;
  tokens.expect(n + apart.size());
  p.scores.resize(n), p.defined.resize(n), p.bytes.resize(n);
  p.lowest = std::numeric_limits<double>::max(), p.highest = std::numeric_limits<double>::lowest();
  p.unknown = static_cast<std::int32_t>(model.at("unk_id").as_integer(0, static_cast<std::int64_t>(n) - 1));
  bool const fall_back = flag(model, "byte_fallback", false);
  std::vector<std::int32_t> byte_tokens(256, -1);
  std::set<std::string_view> seen;
  std::vector<std::pair<std::string_view, std::int32_t>> words;
  for (std::size_t i = 0; i < n; ++i) {
    json_value const entry = vocab.at(i);
    auto const id = static_cast<std::int32_t>(i);
    auto const refuse = refusal_at(entry);
    if (entry.size() != 2) refuse("expected a token and its score");
    std::string const& text = entry.at(0).as_string();
    if (text.size() > longest_token) refuse("the token is longer than " + std::to_string(longest_token) + " bytes");
    if (!seen.insert(text).second) refuse("the token " + in_quotes(text) + " comes twice");
    double const score = entry.at(1).as_number();
    p.scores[i] = score;
    p.lowest = std::min(p.lowest, score);
    p.highest = std::max(p.highest, score);
    if (int const byte = fall_back ? byte_of_capitals(text) : -1; byte >= 0) {
      byte_tokens[static_cast<std::size_t>(byte)] = id;
      p.bytes[i] = true;
      char const c = static_cast<char>(byte);
      tokens.add(id, {&c, 1}, refuse, true);
      continue;
    }
    bool const whole_token = apart.contains(id) || id == p.unknown;
    tokens.add(id, whole_token ? text : with_spaces(text), refuse);
    if (!whole_token && !text.empty()) words.emplace_back(text, id);
  }
  // Hugging Face falls back only if all bytes are there.
  if (fall_back && std::find(byte_tokens.begin(), byte_tokens.end(), -1) == byte_tokens.end()) p.byte_tokens = byte_tokens;
  p.trie = byte_trie(std::move(words));
  return p;
}

std::shared_ptr<tokenizer const> read_unigram(folder& from, description about, json_value const& whole, json_value const& model) {
  about.require(cutting::unigram, vocabulary_files::tokenizer_json);
  for (auto const* setting : {&about.lower_case, &about.accents})
    about.refuse(*setting, "which Unigram does not read; the normalizer in tokenizer.json says it");
  expect_only(model, {"vocab", "unk_id", "byte_fallback"});
  setting s;
  s.steps = read_steps(whole, about);
  metaspace_rules const rules = read_unigram_words(whole, about);
  json_value const vocab = model.at("vocab");
  auto const added = all_added(whole, about, [&](std::string_view text) {
    for (std::size_t i = 0; i < vocab.size(); ++i)
      if (json_value const entry = vocab.at(i); entry.size() == 2 && entry.at(0).as_string() == text)
        return static_cast<std::int32_t>(i);
    return -1;
  });
  std::set<std::int32_t> apart;
  for (auto const& t : added) apart.insert(t.id);
  unigram_pieces p = read_unigram_pieces(model, apart, s.tokens);
  add_tokens(s, added, refusal_at(whole.find("added_tokens").value_or(whole)));
  s.tokens.index();
  if (about.extra_ids && about.is_class({"T5Tokenizer", "MT5Tokenizer"})) {
    auto const sentinels = about.extra_ids->as_unsigned(10'000);
    if (sentinels > 0 && s.tokens.find("<extra_id_" + std::to_string(sentinels - 1) + ">") < 0)
      about.extra_ids->fail("is " + std::to_string(sentinels) + ", but tokenizer.json has no <extra_id_" +
                            std::to_string(sentinels - 1) + ">; make them agree");
  } else {
    about.refuse(about.extra_ids, "which only T5's tokenizers read");
  }
  read_ends(whole, s);
  s.roles.unk = p.unknown;
  finish(s, about, from);
  return make_unigram(std::move(s), std::move(p), rules);
}

std::shared_ptr<tokenizer const> read_wordpiece(folder& from, description about, json_value const& whole,
                                                json_value const& model) {
  about.require(cutting::wordpiece, vocabulary_files::tokenizer_json);
  about.refuse(about.extra_ids, "which only T5's tokenizers read");
  expect_only(model, {"vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"});
  setting s;
  wordpiece_rules rules;
  s.steps = read_steps(whole, about);
  auto const parts = parts_of(whole, "pre_tokenizer", "pretokenizers");
  for (json_value const& part : parts)
    if (type_of(part) != "BertPreTokenizer") unsupported(part, "with WordPiece pre_tokenizer", "BertPreTokenizer");
  if (parts.size() != 1) whole.fail("pre_tokenizer: WordPiece is supported with the pre-tokenizer BertPreTokenizer alone");
  for (json_value const& part : parts_of(whole, "decoder", "decoders")) {
    if (type_of(part) != "WordPiece") unsupported(part, "with WordPiece decoder", "WordPiece");
    rules.tidy = flag(part, "cleanup", true);
  }
  if (auto const prefix = model.find_set("continuing_subword_prefix"))
    rules.prefix = short_text(model, "continuing_subword_prefix");
  if (rules.prefix.empty()) model.fail("continuing_subword_prefix: is empty, which is not supported");
  if (auto const longest = model.find_set("max_input_chars_per_word")) rules.longest = longest->as_unsigned(1'000'000);
  json_value const vocab = model.at("vocab");
  auto const added = all_added(whole, about, ids_of(vocab));
  std::vector<std::pair<std::string_view, std::int32_t>> pieces;
  for (auto const& [text, id] : vocab.members())
    pieces.emplace_back(text, static_cast<std::int32_t>(id.as_integer(0, 0x7fffffff)));
  // Before the ids are used as indices.
  for (auto const& [text, id] : pieces)
    if (static_cast<std::size_t>(id) >= 2 * (pieces.size() + added.size()) + 1024)
      vocab.at(text).fail("token id " + std::to_string(id) + " is far beyond the number of tokens");
  read_pieces(pieces, {}, s, rules, added, refusal_at(vocab));
  json_value const unknown = model.at("unk_token");
  rules.unknown = s.tokens.find(unknown.as_string());
  if (rules.unknown < 0) unknown.fail("is not a token");
  s.roles.unk = rules.unknown;
  read_ends(whole, s);
  finish(s, about, from);
  return make_wordpiece(std::move(s), std::move(rules));
}

}  // namespace

std::shared_ptr<tokenizer const> read_tokenizer_json(folder& from, description about) {
  json_value const whole = from.json("tokenizer.json");
  // Cutting and filling up are left to who makes batches, and nothing is cut at random.
  expect_only(whole, {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                      "decoder", "model"});
  json_value const model = whole.at("model");
  // Early files don't name the type.
  auto const named = model.find_set("type");
  std::string const type = named                     ? named->as_string()
                           : model.find("merges")    ? "BPE"
                           : model.find("unk_id")    ? "Unigram"
                           : model.find("unk_token") ? "WordPiece"
                                                     : "";
  if (type == "BPE") return read_bpe(from, std::move(about), whole, model);
  if (type == "Unigram") return read_unigram(from, std::move(about), whole, model);
  if (type == "WordPiece") return read_wordpiece(from, std::move(about), whole, model);
  if (!named) model.fail("\"type\" is missing");
  named->fail("the model " + in_quotes(type) + " is not supported; BPE, Unigram and WordPiece are");
}

}  // namespace wayfarer::tokenizing
