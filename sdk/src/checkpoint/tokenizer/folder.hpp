// A folder that a tokenizer is read from: which of the usual files it has, each read once.
#pragma once

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "base.hpp"
#include "description.hpp"

namespace wayfarer::tokenizing {

/// There is a tokenizer, but of a kind that this build does not read. Token ids can still be given to the model.
struct unread_tokenizer : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// As `open_tokenizer`, but lets an unread_tokenizer through.
std::shared_ptr<tokenizer const> open(std::string const& folder);

class folder {
 public:
  explicit folder(std::string path) : path_(std::move(path)) {}

  bool has(std::string_view name) const;
  std::string path(std::string_view name) const;
  /// The files read so far, those with the vocabulary first.
  std::vector<std::string> files() const;
  json_value json(std::string_view name);
  std::string text(std::string_view name);

  /// tokenizer_config.json, special_tokens_map.json and config.json, each null if it is not there. Read once.
  json_value const& tokenizer_config();
  json_value const& special_tokens_map();
  json_value const& model_config();

 private:
  json_value const& once(std::optional<json_value>& value, std::string_view name);
  std::string path_;
  std::vector<std::string> vocabulary_, beside_;
  std::optional<json_value> tokenizer_config_, special_tokens_map_, model_config_;
};

/// Calls fail on a value of the file, as a refusal.
inline refusal refusal_at(json_value const& where) {
  return refusal([where](std::string const& what) { where.fail(what); });
}
/// For files that are no JSON.
refusal refusal_at(std::string file, std::size_t line = 0);

/// An added token as Hugging Face writes it: {"content", "lstrip", "rstrip", "single_word", "special", "normalized"}.
added_token read_added_token(json_value const&, std::int32_t id);

/// Adds tokens to the vocabulary and to those that are matched in the text. One that the vocabulary has already must be the same
/// there. The setting's steps of normalisation are there already.
void add_tokens(setting&, std::vector<added_token> const&, refusal const&);

// One reader for each set of files.
std::shared_ptr<tokenizer const> read_tokenizer_json(folder&, description);
std::shared_ptr<tokenizer const> read_vocab_and_merges(folder&, description, std::string_view vocab, std::string_view merges);
std::shared_ptr<tokenizer const> read_sentencepiece(folder&, description, std::string_view name);
std::shared_ptr<tokenizer const> read_vocab_text(folder&, description, std::string_view name);
std::shared_ptr<tokenizer const> make_bytes(folder&, description);

}  // namespace wayfarer::tokenizing
