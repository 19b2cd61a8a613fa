#include "folder.hpp"

#include "unigram.hpp"
#include "wordpiece.hpp"

#include <algorithm>
#include <filesystem>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

namespace wayfarer::tokenizing {

namespace {

constexpr json_limits limits{tokenizer_limits.bytes, tokenizer_limits.depth, tokenizer_limits.values, true};

}  // namespace

std::string folder::path(std::string_view name) const {
  return (std::filesystem::path(path_) / name).string();
}

bool folder::has(std::string_view name) const {
  std::error_code ignored;
  return std::filesystem::exists(path(name), ignored);
}

json_value folder::json(std::string_view name) {
  auto value = read_json(path(name), limits);
  if (value.kind() != json_kind::object) value.fail("expected an object");
  files_.push_back(path(name));
  return value;
}

std::string folder::text(std::string_view name) {
  auto text = read_text(path(name), limits.bytes);
  files_.push_back(path(name));
  return text;
}

json_value const& folder::once(std::optional<json_value>& value, std::string_view name) {
  if (!value) value = has(name) ? json(name) : json_value();
  return *value;
}
json_value const& folder::tokenizer_config() {
  return once(tokenizer_config_, "tokenizer_config.json");
}
json_value const& folder::special_tokens_map() {
  return once(special_tokens_map_, "special_tokens_map.json");
}
json_value const& folder::model_config() {
  // Not one of the tokenizer's own files.
  if (!model_config_) model_config_ = has("config.json") ? read_json(path("config.json"), limits) : json_value();
  if (!model_config_->is_null() && model_config_->kind() != json_kind::object) model_config_->fail("expected an object");
  return *model_config_;
}

std::string folder::tokenizer_class() {
  for (auto const* file : {&tokenizer_config(), &model_config()}) {
    if (file->is_null()) continue;
    auto const name = file->find_set("tokenizer_class");
    if (!name) continue;
    std::string text = name->as_string();
    if (text.ends_with("Fast")) text.resize(text.size() - 4);
    return text;
  }
  return {};
}

std::string folder::model_type() {
  if (model_config().is_null()) return {};
  auto const type = model_config().find_set("model_type");
  return type ? type->as_string() : std::string();
}

std::optional<std::string> folder::role(std::string_view name) {
  for (auto const* file : {&special_tokens_map(), &tokenizer_config()}) {
    if (file->is_null()) continue;
    auto const token = file->find_set(name);
    if (!token) continue;
    if (token->kind() == json_kind::object) return token->at("content").as_string();
    // add_prefix_space's siblings may be false where a token is meant.
    if (token->kind() == json_kind::string) return token->as_string();
  }
  return std::nullopt;
}

std::vector<added_token> folder::listed_tokens() {
  std::vector<added_token> all;
  if (auto const& config = tokenizer_config(); !config.is_null()) {
    if (auto const listed = config.find_set("added_tokens_decoder"); listed && listed->kind() == json_kind::object) {
      for (auto const& [key, value] : listed->members()) {
        if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != key.npos)
          value.fail("expected an id as the name, got " + in_quotes(key));
        all.push_back(read_added_token(value, std::stoi(key)));
      }
    }
  }
  if (all.empty() && has("added_tokens.json")) {
    for (auto const& [text, value] : json("added_tokens.json").members())
      all.push_back({static_cast<std::int32_t>(value.as_integer(0, 0x7fffffff)), text});
  }
  return all;
}

refusal refusal_at(std::string file, std::size_t line) {
  return refusal([file = std::move(file), line](std::string const& what) { throw data_error(located(file, line, 0, what)); });
}

added_token read_added_token(json_value const& value, std::int32_t id) {
  auto const flag = [&](std::string_view name) {
    auto const set = value.find_set(name);
    return set && set->as_bool();
  };
  if (flag("single_word")) value.fail("added tokens that must be whole words (single_word) are not supported");
  return {id, value.at("content").as_string(), flag("special"), flag("lstrip"), flag("rstrip")};
}

void add_tokens(setting& s, std::vector<added_token> const& all, refusal const& refuse) {
  for (auto const& t : all) {
    if (!s.tokens.has(t.id))
      s.tokens.add(t.id, t.text, refuse);
    else if (s.tokens.bytes(t.id) != t.text)
      refuse("the added token " + in_quotes(t.text) + " has the id " + std::to_string(t.id) + ", which is " +
             in_quotes(s.tokens.bytes(t.id)) + " in the vocabulary");
  }
  s.added = added_tokens(all, refuse);
}

void assign_roles(setting& s, folder& from) {
  auto const assign = [&](std::optional<std::int32_t>& role, std::string_view name,
                          std::initializer_list<std::string_view> usual) {
    if (auto const text = from.role(name)) {
      auto const id = s.tokens.find(*text);
      if (id >= 0) role = id;
    }
    for (auto const text : usual) {
      if (role) return;
      auto const id = s.tokens.find(text);
      if (id >= 0 && s.added.find(id)) role = id;
    }
  };
  assign(s.roles.bos, "bos_token", {"<|endoftext|>", "<s>"});
  assign(s.roles.eos, "eos_token", {"<|endoftext|>", "</s>"});
  assign(s.roles.unk, "unk_token", {"<unk>", "[UNK]", "<|endoftext|>"});
  assign(s.roles.pad, "pad_token", {"<pad>", "[PAD]"});
  assign(s.roles.mask, "mask_token", {"<mask>", "[MASK]"});
  assign(s.roles.cls, "cls_token", {"[CLS]"});
  assign(s.roles.sep, "sep_token", {"[SEP]"});
  s.files = from.files();
}

}  // namespace wayfarer::tokenizing

namespace wayfarer {

std::shared_ptr<tokenizer const> open_tokenizer(std::string const& path) {
  tokenizing::folder from(path);
  if (from.has("tokenizer.json")) return tokenizing::read_tokenizer_json(from);
  if (from.has("vocab.json") && from.has("merges.txt"))
    return tokenizing::read_vocab_and_merges(from, "vocab.json", "merges.txt");
  if (from.has("encoder.json") && from.has("vocab.bpe"))
    return tokenizing::read_vocab_and_merges(from, "encoder.json", "vocab.bpe");
  if (from.has("spiece.model")) return tokenizing::read_sentencepiece(from, "spiece.model");
  if (from.has("vocab.txt")) return tokenizing::read_vocab_text(from, "vocab.txt");
  return nullptr;
}

}  // namespace wayfarer
