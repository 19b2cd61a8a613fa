// What all files beside a vocabulary say of a tokenizer, put together in one place and given to every reader:
// tokenizer_config.json, special_tokens_map.json, added_tokens.json and config.json. Settings that change ids and that no reader
// honours are refused here, by name; unknown ones become notes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/json.hpp>

#include "base.hpp"

namespace wayfarer::tokenizing {

/// The files with a vocabulary that a description is read for.
enum class vocabulary_files { tokenizer_json, vocab_and_merges, sentencepiece, vocab_text, none };

/// How tokens are cut, for the classes that fit.
enum class cutting { bpe, unigram, wordpiece, bytes };

struct description {
  std::string tokenizer_class;  ///< "T5Tokenizer", without "Fast"; "" if nothing says
  std::string model_type;       ///< of config.json; "" if nothing says
  json_value class_at;          ///< where the class is said; null if nowhere

  /// A token by its role ("bos_token"), as text and flags; `id` is not set.
  std::map<std::string, added_token, std::less<>> roles;
  /// Tokens with ids: of added_tokens_decoder, and those of added_tokens.json that it lacks.
  std::vector<added_token> added;
  /// additional_special_tokens and extra_special_tokens: without ids.
  std::vector<added_token> more_special;

  // Settings, absent where no file gives them.
  std::optional<json_value> lower_case, chinese, prefix_space, extra_ids, legacy;
  std::optional<json_value> accents;  ///< null as well as true and false
  std::optional<json_value> add_bos, add_eos;
  bool special_as_text = false;

  std::vector<std::string> notes;
  /// The first setting that is not followed here and changes ids, and why. Said after what is wrong with the class.
  std::optional<std::pair<json_value, std::string>> unfollowed;

  added_token const* role(std::string_view name) const;
  bool is_class(std::initializer_list<std::string_view>) const noexcept;
  /// Whether this build reads tokenizers of the class, or no class is said.
  bool known_class() const noexcept;
  /// Refuses the class if it does not cut like this, or does not come with these files, and settings that are not followed.
  void require(cutting, vocabulary_files) const;
  /// Refuses a setting that is not at rest (null, false, empty).
  void refuse(std::optional<json_value> const& setting, std::string_view why) const;
};

/// Throws an unread_tokenizer with the place of the value.
[[noreturn]] void unread(json_value const& at, std::string const& why);

class folder;
description describe(folder&);

/// Adds to `added` those of the description's tokens that have ids, those with a role and the other special ones, as far as the
/// vocabulary has them (`id_of` gives -1 for what it has not). What `added` has already keeps its id and gets the description's
/// flags. Contradictions are refused.
void add_described(std::vector<added_token>& added, description&, std::function<std::int32_t(std::string_view)> const& id_of,
                   refusal const&);

/// Fills in roles by the description, and by the usual names of tokens that are matched in the text; files and notes, too.
void finish(setting&, description const&, folder const&);

}  // namespace wayfarer::tokenizing
