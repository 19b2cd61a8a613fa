#include "description.hpp"

#include <algorithm>
#include <span>

#include <wayfarer/error.hpp>

#include "folder.hpp"

namespace wayfarer::tokenizing {

namespace {

using names = std::span<std::string_view const>;

constexpr std::string_view role_names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                           "pad_token", "cls_token", "mask_token"};

/// Settings that change no ids: names, what is done to batches of ids, what is done when text is made of ids.
constexpr std::string_view harmless[] = {"_commit_hash",
                                         "_from_auto",
                                         "auto_map",
                                         "backend",
                                         "cache_dir",
                                         "chat_template",
                                         "clean_up_tokenization_spaces",
                                         "errors",
                                         "from_slow",
                                         "full_tokenizer_file",
                                         "init_inputs",
                                         "is_fast",
                                         "is_local",
                                         "local_files_only",
                                         "max_len",
                                         "max_length",
                                         "merges_file",
                                         "model_input_names",
                                         "model_max_length",
                                         "name_or_path",
                                         "pad_to_multiple_of",
                                         "pad_token_type_id",
                                         "padding",
                                         "padding_side",
                                         "processor_class",
                                         "return_attention_mask",
                                         "return_tensors",
                                         "return_token_type_ids",
                                         "slow_to_fast",
                                         "spaces_between_special_tokens",
                                         "special_tokens_map",
                                         "special_tokens_map_file",
                                         "stride",
                                         "tokenizer_file",
                                         "transformers_version",
                                         "trim_offsets",
                                         "truncation",
                                         "truncation_side",
                                         "truncation_strategy",
                                         "trust_remote_code",
                                         "use_default_system_prompt",
                                         "use_fast",
                                         "vocab_file",
                                         "bos_token_id",
                                         "cls_token_id",
                                         "eos_token_id",
                                         "mask_token_id",
                                         "pad_token_id",
                                         "sep_token_id",
                                         "unk_token_id",
                                         "response_schema",
                                         "verbose",
                                         "device_map"};
/// Settings that `describe` reads.
constexpr std::string_view read_here[] = {"add_bos_token",
                                          "add_eos_token",
                                          "add_prefix_space",
                                          "added_tokens_decoder",
                                          "additional_special_tokens",
                                          "clean_text",
                                          "do_basic_tokenize",
                                          "do_lower_case",
                                          "extra_ids",
                                          "extra_special_tokens",
                                          "legacy",
                                          "model_specific_special_tokens",
                                          "never_split",
                                          "sp_model_kwargs",
                                          "split_special_tokens",
                                          "strip_accents",
                                          "tokenize_chinese_chars",
                                          "tokenizer_class",
                                          "wordpieces_prefix"};
/// Settings of tokenizers that are not read here: not at their resting value they change ids.
constexpr std::string_view foreign[] = {"add_dummy_prefix",   "bpe_dropout",
                                        "do_clean_text",      "do_subword_tokenize",
                                        "do_word_tokenize",   "dropout",
                                        "jumanpp_kwargs",     "keep_accents",
                                        "language",           "language_codes",
                                        "mecab_kwargs",       "normalization",
                                        "normalize",          "offset",
                                        "predict_timestamps", "remove_space",
                                        "src_lang",           "subword_tokenizer_type",
                                        "sudachi_kwargs",     "task",
                                        "tgt_lang",           "tokenizer_type",
                                        "word_tokenizer_type"};

bool among(std::string_view name, names all) noexcept {
  return std::find(all.begin(), all.end(), name) != all.end();
}

/// null, false, and empty texts, lists and objects.
bool rests(json_value const& v) {
  switch (v.kind()) {
    case json_kind::null:
      return true;
    case json_kind::boolean:
      return !v.as_bool();
    case json_kind::string:
      return v.as_string().empty();
    case json_kind::array:
    case json_kind::object:
      return v.size() == 0;
    default:
      return false;
  }
}

constexpr std::string_view bpe_json[] = {"GPT2Tokenizer",      "RobertaTokenizer",   "BartTokenizer",    "BlenderbotTokenizer",
                                         "BloomTokenizer",     "CLIPTokenizer",      "CodeGenTokenizer", "CodeLlamaTokenizer",
                                         "CohereTokenizer",    "DebertaTokenizer",   "GPTNeoXTokenizer", "GemmaTokenizer",
                                         "InternLM2Tokenizer", "LEDTokenizer",       "LlamaTokenizer",   "LongformerTokenizer",
                                         "MvpTokenizer",       "OpenAIGPTTokenizer", "Qwen2Tokenizer",   "PreTrainedTokenizer",
                                         "TokenizersBackend"};
constexpr std::string_view byte_level_pair[] = {"GPT2Tokenizer", "RobertaTokenizer",    "BartTokenizer", "CodeGenTokenizer",
                                                "LEDTokenizer",  "LongformerTokenizer", "MvpTokenizer",  "PreTrainedTokenizer"};
constexpr std::string_view unigram_json[] = {
    "T5Tokenizer",         "MT5Tokenizer",       "AlbertTokenizer",  "BarthezTokenizer",    "BigBirdTokenizer",
    "CamembertTokenizer",  "DebertaV2Tokenizer", "FNetTokenizer",    "GemmaTokenizer",      "LlamaTokenizer",
    "PegasusTokenizer",    "ReformerTokenizer",  "RemBertTokenizer", "XLMRobertaTokenizer", "XLNetTokenizer",
    "PreTrainedTokenizer", "TokenizersBackend"};
constexpr std::string_view unigram_spiece[] = {"T5Tokenizer", "MT5Tokenizer", "LlamaTokenizer", "PreTrainedTokenizer"};
constexpr std::string_view bpe_spiece[] = {"LlamaTokenizer",      "CodeLlamaTokenizer", "GemmaTokenizer",
                                           "InternLMTokenizer",   "InternLM2Tokenizer", "BaichuanTokenizer",
                                           "PreTrainedTokenizer", "TokenizersBackend"};
constexpr std::string_view wordpiece_list[] = {"BertTokenizer",
                                               "ConvBertTokenizer",
                                               "DPRContextEncoderTokenizer",
                                               "DPRQuestionEncoderTokenizer",
                                               "DPRReaderTokenizer",
                                               "DistilBertTokenizer",
                                               "ElectraTokenizer",
                                               "LayoutLMTokenizer",
                                               "LxmertTokenizer",
                                               "MobileBertTokenizer",
                                               "RealmTokenizer",
                                               "RetriBertTokenizer",
                                               "SqueezeBertTokenizer",
                                               "PreTrainedTokenizer"};
constexpr std::string_view wordpiece_json[] = {"BertTokenizer",
                                               "ConvBertTokenizer",
                                               "DPRContextEncoderTokenizer",
                                               "DPRQuestionEncoderTokenizer",
                                               "DPRReaderTokenizer",
                                               "DistilBertTokenizer",
                                               "ElectraTokenizer",
                                               "FunnelTokenizer",
                                               "LayoutLMTokenizer",
                                               "LxmertTokenizer",
                                               "MPNetTokenizer",
                                               "MobileBertTokenizer",
                                               "RealmTokenizer",
                                               "RetriBertTokenizer",
                                               "SqueezeBertTokenizer",
                                               "PreTrainedTokenizer",
                                               "TokenizersBackend"};
constexpr std::string_view bytes_alone[] = {"ByT5Tokenizer"};

names classes_of(cutting how, vocabulary_files from) {
  switch (how) {
    case cutting::bpe:
      return from == vocabulary_files::tokenizer_json  ? names(bpe_json)
             : from == vocabulary_files::sentencepiece ? names(bpe_spiece)
                                                       : names(byte_level_pair);
    case cutting::unigram:
      return from == vocabulary_files::tokenizer_json ? names(unigram_json) : names(unigram_spiece);
    case cutting::wordpiece:
      return from == vocabulary_files::tokenizer_json ? names(wordpiece_json) : names(wordpiece_list);
    case cutting::bytes:
      break;
  }
  return bytes_alone;
}

std::string what_they_are(cutting how, vocabulary_files from) {
  switch (from) {
    case vocabulary_files::tokenizer_json:
      return how == cutting::bpe       ? "a tokenizer.json with BPE"
             : how == cutting::unigram ? "a tokenizer.json with Unigram"
                                       : "a tokenizer.json with WordPiece";
    case vocabulary_files::vocab_and_merges:
      return "vocab.json and merges.txt";
    case vocabulary_files::sentencepiece:
      return how == cutting::bpe ? "a SentencePiece model of the type BPE" : "a SentencePiece model of the type unigram";
    case vocabulary_files::vocab_text:
      return "vocab.txt";
    case vocabulary_files::none:
      break;
  }
  return "no vocabulary file";
}

/// A token written as a text, or as an object with its flags.
std::optional<added_token> token_of(json_value const& v) {
  if (v.kind() == json_kind::object) {
    auto t = read_added_token(v, -1);
    t.special = true;
    return t;
  }
  if (v.kind() == json_kind::string && !v.as_string().empty()) return added_token{-1, v.as_string()};
  // null or false where there is none.
  return std::nullopt;
}

void read_more(json_value const& list, std::vector<added_token>& to) {
  auto const add = [&](json_value const& v) {
    auto t = token_of(v);
    if (t && std::none_of(to.begin(), to.end(), [&](auto const& u) { return u.text == t->text; })) to.push_back(std::move(*t));
  };
  if (list.kind() == json_kind::object)
    for (auto const& [name, value] : list.members()) add(value);
  else
    for (json_value const v : list.elements()) add(v);
}

bool same_flags(added_token const& a, added_token const& b) noexcept {
  return a.special == b.special && a.strips_left == b.strips_left && a.strips_right == b.strips_right &&
         a.normalized == b.normalized && a.whole_word == b.whole_word;
}

void read_roles(description& d, json_value const& config, json_value const& map) {
  bool const config_wins = !config.is_null() && config.find_set("added_tokens_decoder").has_value();
  for (auto const name : role_names) {
    auto const at = [&](json_value const& file) { return file.is_null() ? std::nullopt : file.find_set(name); };
    auto const in_config = at(config), in_map = at(map);
    auto const a = in_config ? token_of(*in_config) : std::nullopt, b = in_map ? token_of(*in_map) : std::nullopt;
    auto const& first = config_wins ? a : b;
    auto const& second = config_wins ? b : a;
    if (!first && !second) continue;
    d.roles.emplace(name, first ? *first : *second);
    if (a && b && a->text != b->text)
      d.notes.push_back(std::string(name) + " is " + in_quotes(a->text) + " in tokenizer_config.json and " + in_quotes(b->text) +
                        " in special_tokens_map.json; " + in_quotes(first->text) + " is taken");
  }
}

void read_added(description& d, folder& from, json_value const& config) {
  if (!config.is_null())
    if (auto const listed = config.find_set("added_tokens_decoder")) {
      if (listed->kind() != json_kind::object) listed->fail("expected an object of tokens by their ids");
      for (auto const& [key, value] : listed->members()) {
        if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != key.npos)
          value.fail("expected an id as the name, got " + in_quotes(key));
        d.added.push_back(read_added_token(value, std::stoi(key)));
      }
    }
  if (!from.has("added_tokens.json")) return;
  for (auto const& [text, value] : from.json("added_tokens.json").members()) {
    auto const id = static_cast<std::int32_t>(value.as_integer(0, 0x7fffffff));
    bool known = false;
    for (auto const& t : d.added) {
      if (t.id == id && t.text != text)
        value.fail("the id " + std::to_string(id) + " is " + in_quotes(t.text) + " in tokenizer_config.json");
      if (t.id != id && t.text == text) value.fail("the token has the id " + std::to_string(t.id) + " in tokenizer_config.json");
      known = known || t.id == id;
    }
    if (known) continue;
    added_token t{id, text, false};
    t.normalized = true;
    std::string_view const wanted = text;
    auto const named = [&](added_token const& u) { return u.text == wanted; };
    if (std::any_of(d.more_special.begin(), d.more_special.end(), named) ||
        std::any_of(d.roles.begin(), d.roles.end(), [&](auto const& r) { return named(r.second); }))
      t.special = true, t.normalized = false;
    d.added.push_back(std::move(t));
  }
}

}  // namespace

added_token const* description::role(std::string_view name) const {
  auto const at = roles.find(name);
  return at == roles.end() ? nullptr : &at->second;
}

bool description::is_class(std::initializer_list<std::string_view> all) const noexcept {
  return std::find(all.begin(), all.end(), tokenizer_class) != all.end();
}

void unread(json_value const& at, std::string const& why) {
  try {
    at.fail(why);
  } catch (data_error const& e) {
    throw unread_tokenizer(e.what());
  }
}

bool description::known_class() const noexcept {
  return tokenizer_class.empty() || among(tokenizer_class, bpe_json) || among(tokenizer_class, unigram_json) ||
         among(tokenizer_class, bpe_spiece) || among(tokenizer_class, wordpiece_json) || among(tokenizer_class, bytes_alone);
}

void description::require(cutting how, vocabulary_files from) const {
  names const all = classes_of(how, from);
  if (tokenizer_class.empty() || among(tokenizer_class, all)) {
    if (unfollowed) unread(unfollowed->first, unfollowed->second);
    return;
  }
  std::string list;
  for (auto const name : all) list += (list.empty() ? "" : ", ") + std::string(name);
  unread(class_at, in_quotes(class_at.as_string()) + " is not supported with " + what_they_are(how, from) +
                       "; this build reads there: " + list);
}

void description::refuse(std::optional<json_value> const& setting, std::string_view why) const {
  if (setting && !rests(*setting)) unread(*setting, "is " + to_json(*setting) + ", " + std::string(why));
}

namespace {

void read_class(description& d, json_value const& config, json_value const& model) {
  for (auto const* file : {&config, &model}) {
    if (file->is_null()) continue;
    auto const name = file->find_set("tokenizer_class");
    if (!name) continue;
    d.tokenizer_class = name->as_string();
    if (d.tokenizer_class.ends_with("Fast")) d.tokenizer_class.resize(d.tokenizer_class.size() - 4);
    d.class_at = *name;
    break;
  }
  if (!model.is_null())
    if (auto const type = model.find_set("model_type")) d.model_type = type->as_string();
}

void read_special_lists(description& d, json_value const& config, json_value const& map) {
  for (auto const* file : {&config, &map}) {
    if (file->is_null()) continue;
    for (char const* name : {"additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"})
      if (auto const list = file->find_set(name)) read_more(*list, d.more_special);
  }
  if (map.is_null()) return;
  for (auto const& [name, value] : map.members())
    if (!among(name, role_names) && !among(name, read_here))
      if (auto t = token_of(value)) d.more_special.push_back(std::move(*t));
}

/// The first setting of tokenizer_config.json that changes tokens and is not followed; notes of those that nobody knows.
void find_unfollowed(description& d, json_value const& config, std::string const& path) {
  auto const unfollowed = [&](json_value const& at, std::string why) {
    if (!d.unfollowed) d.unfollowed.emplace(at, std::move(why));
  };
  if (auto const basic = config.find_set("do_basic_tokenize"); basic && !basic->as_bool())
    unfollowed(*basic, "is false, which leaves out the cutting at spaces and punctuation; this is not supported");
  if (auto const clean = config.find_set("clean_text"); clean && !clean->as_bool())
    unfollowed(*clean, "is false, which keeps control characters; this is not supported");
  if (auto const prefix = config.find_set("wordpieces_prefix"); prefix && prefix->as_string() != "##")
    unfollowed(*prefix, "only \"##\" is supported");
  if (auto const more = config.find_set("sp_model_kwargs"); more && !rests(*more))
    unfollowed(*more, "settings of SentencePiece's library change how texts are cut and are not supported");
  if (auto const never = config.find_set("never_split"))
    for (json_value const t : never->elements()) {
      std::string const& text = t.as_string();
      auto const named = [&](added_token const& u) { return u.text == text; };
      if (std::none_of(d.added.begin(), d.added.end(), named) &&
          std::none_of(d.more_special.begin(), d.more_special.end(), named) &&
          std::none_of(d.roles.begin(), d.roles.end(), [&](auto const& r) { return named(r.second); }))
        unfollowed(t,
                   in_quotes(text) + " is not a token that is matched as a whole; words that are never split are not supported");
    }
  for (auto const& [name, value] : config.members()) {
    if (among(name, harmless) || among(name, read_here) || among(name, role_names) || value.is_null()) continue;
    if (!among(name, foreign))
      d.notes.push_back(path + ": the setting " + in_quotes(name) +
                        " is not known here; if it changes tokens, it was not followed");
    else if (!rests(value))
      unfollowed(value, "belongs to a kind of tokenizer that this build does not read; it changes tokens");
  }
}

}  // namespace

description describe(folder& from) {
  description d;
  json_value const &config = from.tokenizer_config(), &map = from.special_tokens_map(), &model = from.model_config();
  read_class(d, config, model);
  read_roles(d, config, map);
  read_special_lists(d, config, map);
  read_added(d, from, config);

  if (config.is_null()) return d;
  d.lower_case = config.find_set("do_lower_case"), d.chinese = config.find_set("tokenize_chinese_chars");
  d.accents = config.find("strip_accents"), d.prefix_space = config.find_set("add_prefix_space");
  d.extra_ids = config.find_set("extra_ids"), d.legacy = config.find_set("legacy");
  d.add_bos = config.find_set("add_bos_token"), d.add_eos = config.find_set("add_eos_token");
  if (auto const split = config.find_set("split_special_tokens")) d.special_as_text = split->as_bool();
  find_unfollowed(d, config, from.path("tokenizer_config.json"));
  return d;
}

void add_described(std::vector<added_token>& added, description& d, std::function<std::int32_t(std::string_view)> const& id_of,
                   refusal const& refuse) {
  std::map<std::int32_t, std::size_t> by_id;
  std::map<std::string, std::size_t, std::less<>> by_text;
  for (std::size_t i = 0; i < added.size(); ++i) by_id.emplace(added[i].id, i), by_text.emplace(added[i].text, i);
  auto const add = [&](added_token t, bool flags) {
    if (auto const at = by_id.find(t.id); at != by_id.end()) {
      added_token& old = added[at->second];
      if (old.text != t.text)
        refuse("the id " + std::to_string(t.id) + " is " + in_quotes(old.text) + ", but " + in_quotes(t.text) +
               " in the files beside it");
      if (flags && !same_flags(old, t)) old = std::move(t);
      return;
    }
    if (auto const at = by_text.find(t.text); at != by_text.end())
      refuse("the added token " + in_quotes(t.text) + " has the id " + std::to_string(added[at->second].id) + ", but " +
             std::to_string(t.id) + " in the files beside it");
    by_id.emplace(t.id, added.size()), by_text.emplace(t.text, added.size());
    added.push_back(std::move(t));
  };
  for (auto const& t : d.added) add(t, true);
  auto const by_name = [&](added_token t, std::string_view what) {
    if (by_text.contains(t.text)) return;
    t.id = id_of(t.text);
    if (t.id >= 0)
      add(std::move(t), false);
    else
      d.notes.push_back(std::string(what) + " " + in_quotes(t.text) + " is in no vocabulary of the tokenizer, so it has no id");
  };
  for (auto const& [name, t] : d.roles) by_name(t, name);
  for (auto const& t : d.more_special) by_name(t, "the special token");
}

void finish(setting& s, description const& d, folder const& from) {
  auto const assign = [&](std::optional<std::int32_t>& role, std::string_view name,
                          std::initializer_list<std::string_view> usual) {
    if (auto const* t = d.role(name)) {
      auto const id = s.tokens.find(t->text);
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
  s.special_as_text = d.special_as_text;
  auto const agrees = [&](std::optional<json_value> const& said, std::optional<std::int32_t> const& role,
                          std::vector<std::int32_t> const& there, char const* what) {
    if (!said) return;
    bool const wanted = said->as_bool(), found = role && std::find(there.begin(), there.end(), *role) != there.end();
    if (wanted != found)
      said->fail("is " + to_json(*said) + ", but the tokenizer's other files put " + (found ? "one " : "none ") + what +
                 " a text; make them agree");
  };
  agrees(d.add_bos, s.roles.bos, s.around.before, "before");
  agrees(d.add_eos, s.roles.eos, s.around.after, "behind");
  s.files = from.files();
  s.notes = d.notes;
}

}  // namespace wayfarer::tokenizing
