// A folder that a tokenizer is read from: which of the usual files it has, and what its configuration files say about tokens with
// a role.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/json.hpp>

#include "base.hpp"

namespace wayfarer::tokenizing {

class folder {
 public:
  explicit folder(std::string path) : path_(std::move(path)) {}

  bool has(std::string_view name) const;
  std::string path(std::string_view name) const;
  /// The files read so far.
  std::vector<std::string> const& files() const noexcept { return files_; }
  json_value json(std::string_view name);
  std::string text(std::string_view name);

  /// tokenizer_config.json, special_tokens_map.json and config.json, each null if it is not there. Read once.
  json_value const& tokenizer_config();
  json_value const& special_tokens_map();
  json_value const& model_config();
  /// What the configuration says the tokenizer is: "T5Tokenizer" (without "Fast"), "" if it does not say.
  std::string tokenizer_class();
  /// config.json's model_type, "" if there is none.
  std::string model_type();
  /// The text of a token by its role ("bos_token", "mask_token" and so on), if the configuration names one.
  std::optional<std::string> role(std::string_view name);

  /// Added tokens of tokenizer_config.json's added_tokens_decoder and of added_tokens.json.
  std::vector<added_token> listed_tokens();

 private:
  json_value const& once(std::optional<json_value>& value, std::string_view name);
  std::string path_;
  std::vector<std::string> files_;
  std::optional<json_value> tokenizer_config_, special_tokens_map_, model_config_;
};

/// Calls fail on a value of the file, as a refusal.
inline refusal refusal_at(json_value const& where) {
  return refusal([where](std::string const& what) { where.fail(what); });
}
/// For files that are no JSON.
refusal refusal_at(std::string file, std::size_t line = 0);

/// An added token as Hugging Face writes it: {"content", "lstrip", "rstrip", "single_word", "special"}.
added_token read_added_token(json_value const&, std::int32_t id);

/// Adds tokens to the vocabulary and to those that are matched in the raw text. One that the vocabulary has already must be the
/// same there.
void add_tokens(setting&, std::vector<added_token> const&, refusal const&);

/// Fills in the roles: as the configuration says, and by the usual names of tokens that are matched in the raw text.
void assign_roles(setting&, folder&);

// One reader for each set of files.
std::shared_ptr<tokenizer const> read_tokenizer_json(folder&);
std::shared_ptr<tokenizer const> read_vocab_and_merges(folder&, std::string_view vocab, std::string_view merges);

}  // namespace wayfarer::tokenizing
