#include "folder.hpp"

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
  bool const beside = name == "tokenizer_config.json" || name == "special_tokens_map.json" || name == "added_tokens.json";
  (beside ? beside_ : vocabulary_).push_back(path(name));
  return value;
}

std::string folder::text(std::string_view name) {
  auto text = read_text(path(name), limits.bytes);
  vocabulary_.push_back(path(name));
  return text;
}

std::vector<std::string> folder::files() const {
  auto all = vocabulary_;
  all.insert(all.end(), beside_.begin(), beside_.end());
  return all;
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

refusal refusal_at(std::string file, std::size_t line) {
  return refusal([file = std::move(file), line](std::string const& what) { throw data_error(located(file, line, 0, what)); });
}

added_token read_added_token(json_value const& value, std::int32_t id) {
  auto const flag = [&](std::string_view name, bool otherwise = false) {
    auto const set = value.find_set(name);
    return set ? set->as_bool() : otherwise;
  };
  bool const special = flag("special");
  return {id,
          value.at("content").as_string(),
          special,
          flag("lstrip"),
          flag("rstrip"),
          flag("normalized", !special),
          flag("single_word")};
}

void add_tokens(setting& s, std::vector<added_token> const& all, refusal const& refuse) {
  for (auto const& t : all) {
    if (!s.tokens.has(t.id))
      s.tokens.add(t.id, t.text, refuse);
    else if (s.tokens.bytes(t.id) != t.text)
      refuse("the added token " + in_quotes(t.text) + " has the id " + std::to_string(t.id) + ", which is " +
             in_quotes(s.tokens.bytes(t.id)) + " in the vocabulary");
  }
  s.added = added_tokens(all, s.steps, refuse);
}

std::shared_ptr<tokenizer const> open(std::string const& path) {
  folder from(path);
  description about = describe(from);
  if (about.is_class({"ByT5Tokenizer"})) return make_bytes(from, std::move(about));
  if (from.has("tokenizer.json")) return read_tokenizer_json(from, std::move(about));
  if (from.has("vocab.json") && from.has("merges.txt"))
    return read_vocab_and_merges(from, std::move(about), "vocab.json", "merges.txt");
  if (from.has("encoder.json") && from.has("vocab.bpe"))
    return read_vocab_and_merges(from, std::move(about), "encoder.json", "vocab.bpe");
  if (from.has("spiece.model")) return read_sentencepiece(from, std::move(about), "spiece.model");
  if (from.has("tokenizer.model")) return read_sentencepiece(from, std::move(about), "tokenizer.model");
  if (from.has("vocab.txt")) return read_vocab_text(from, std::move(about), "vocab.txt");
  constexpr std::string_view readable =
      "this build reads tokenizer.json, vocab.json with merges.txt, encoder.json with vocab.bpe, spiece.model, tokenizer.model, "
      "vocab.txt, and ByT5Tokenizer, which needs no file";
  for (char const* name : {"sentencepiece.bpe.model", "spm.model", "sentencepiece.model", "bpe.codes", "vocab.model",
                           "source.spm", "tokenizer.tiktoken", "qwen.tiktoken", "tekken.json"})
    if (from.has(name))
      throw unread_tokenizer(from.path(name) + ": tokenizers in such files are not read; " + std::string(readable));
  // Some classes need no files, and others' files are missing.
  if (!about.known_class()) about.require(cutting::bytes, vocabulary_files::none);
  return nullptr;
}

}  // namespace wayfarer::tokenizing

namespace wayfarer {

std::shared_ptr<tokenizer const> open_tokenizer(std::string const& path) {
  try {
    return tokenizing::open(path);
  } catch (tokenizing::unread_tokenizer const& e) {
    throw data_error(e.what());
  }
}

}  // namespace wayfarer
