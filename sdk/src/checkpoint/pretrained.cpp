#include <wayfarer/pretrained.hpp>

#include <algorithm>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/utf8.hpp>

#include "tokenizer/folder.hpp"

namespace wayfarer {

pretrained::~pretrained() = default;

namespace {

/// Files that say how to generate, the first one first, each with its name.
using generation_files = std::vector<std::pair<std::string, json_value>>;

generation_files open_generation_files(hf_config const& c) {
  namespace fs = std::filesystem;
  std::string const beside = (fs::path(c.folder()) / "generation_config.json").string();
  std::error_code ignored;
  generation_files files;
  if (fs::exists(beside, ignored)) files.emplace_back(beside, read_json(beside));
  files.emplace_back(c.path(), c.json());
  for (auto const& [name, json] : files)
    if (json.kind() != json_kind::object) json.fail("expected an object");
  return files;
}

/// One id or a list of ids, from the first file that has the key. `strict`: another than a token's is an error.
std::vector<std::int32_t> ids_of(generation_files const& files, char const* key, std::size_t vocabulary, bool strict,
                                 std::vector<std::string>& remarks) {
  std::vector<std::int32_t> all;
  for (auto const& file : files) {
    auto const v = file.second.find_set(key);
    if (!v) continue;
    auto const take = [&](json_value const& one) {
      std::int64_t const id =
          strict ? one.as_integer(0, static_cast<std::int64_t>(vocabulary) - 1) : one.as_integer(-1, INT32_MAX);
      if (id >= static_cast<std::int64_t>(vocabulary))
        remarks.push_back(file.first + ": " + key + " " + std::to_string(id) + " is outside the vocabulary of " +
                          std::to_string(vocabulary) + ", so that it never comes");
      else if (id >= 0)
        all.push_back(static_cast<std::int32_t>(id));
    };
    if (v->kind() == json_kind::array)
      for (json_value const one : v->elements()) take(one);
    else
      take(*v);
    return all;
  }
  return all;
}

/// Settings that force or forbid tokens, "KEY in FILE".
std::vector<std::string> forced_by(generation_files const& files) {
  std::vector<std::string> all;
  for (auto const* key : {"forced_bos_token_id", "force_bos_token_to_be_generated", "forced_eos_token_id", "forced_decoder_ids",
                          "force_words_ids", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "sequence_bias"})
    for (auto const& [name, json] : files) {
      auto const v = json.find_set(key);
      if (!v) continue;
      bool const empty = ((v->kind() == json_kind::array || v->kind() == json_kind::object) && v->size() == 0) ||
                         (v->kind() == json_kind::boolean && !v->as_bool());
      if (!empty) all.push_back(std::string(key) + " in " + name);
      break;
    }
  return all;
}

/// Settings of generation_config.json that shape what is generated and are not used here, "a, b".
std::string unused_in(json_value const& generation) {
  // Each with the value that changes nothing.
  constexpr std::pair<char const*, double> shaping[] = {{"repetition_penalty", 1},
                                                        {"encoder_repetition_penalty", 1},
                                                        {"no_repeat_ngram_size", 0},
                                                        {"encoder_no_repeat_ngram_size", 0},
                                                        {"min_length", 0},
                                                        {"min_new_tokens", 0},
                                                        {"num_beams", 1},
                                                        {"length_penalty", 1},
                                                        {"typical_p", 1},
                                                        {"diversity_penalty", 0},
                                                        {"penalty_alpha", 0},
                                                        {"guidance_scale", 1}};
  std::string unused;
  for (auto const& [key, neutral] : shaping)
    if (auto const v = generation.find_set(key); v && v->as_number() != neutral)
      unused += (unused.empty() ? "" : ", ") + std::string(key);
  return unused;
}

}  // namespace

generation_tokens read_generation_tokens(hf_config const& c, std::size_t vocabulary) {
  auto const files = open_generation_files(c);
  generation_tokens out;
  auto const ids = [&](char const* key, bool strict) { return ids_of(files, key, vocabulary, strict, out.remarks); };
  auto const one = [&](char const* key) {
    auto const all = ids(key, false);
    return all.empty() ? std::nullopt : std::optional(all.front());
  };
  out.start = ids("decoder_start_token_id", true);
  if (out.start.size() > 1)
    throw data_error(c.folder() + ": decoder_start_token_id is a list of " + std::to_string(out.start.size()) +
                     " tokens, one for each item of some batch; give one token");
  out.stop = ids("eos_token_id", false);
  out.bos = one("bos_token_id");
  out.pad = one("pad_token_id");
  out.forced = forced_by(files);
  if (files.size() == 1) return out;
  if (std::string const unused = unused_in(files.front().second); !unused.empty())
    out.remarks.push_back(files.front().first + ": " + unused + " would change what is generated elsewhere and is not used here");
  return out;
}

generation_tokens generation_tokens_of(model const& m) {
  generation_tokens out;
  if (auto const* files = dynamic_cast<pretrained const*>(&m)) out = files->generation();
  bool const decodes = m.info().family == model_family::encoder_decoder;
  // As transformers: the files' own first token, by whichever key. What its tokenizer calls so may be another.
  if (decodes && out.start.empty() && out.bos) out.start.push_back(*out.bos);
  if (out.stop.empty() || !out.bos || (!out.pad && (decodes && out.start.empty()))) {
    if (auto const* words = m.text_tokenizer()) {
      auto const& s = words->special();
      if (out.stop.empty() && s.eos) out.stop.push_back(*s.eos);
      if (!out.bos) out.bos = s.bos;
      if (!out.pad) out.pad = s.pad;
    }
  }
  // T5's padding token is its first, and its published configurations name both.
  if (decodes && out.start.empty()) out.start.push_back(out.pad.value_or(0));
  return out;
}

void refuse_forced_tokens(model const& m) {
  auto const* files = dynamic_cast<pretrained const*>(&m);
  if (!files || files->generation().forced.empty()) return;
  std::string all;
  for (auto const& one : files->generation().forced) all += (all.empty() ? "" : ", ") + one;
  throw usage_error("generation here follows the model alone, and its files ask for tokens to be forced or forbidden: " + all +
                    "; remove that key to generate without it (a first token can be given with the prompt)");
}

void late_tokenizer::open() const {
  std::call_once(once_, [&] {
    try {
      opened_ = tokenizing::open(folder_);
    } catch (tokenizing::unread_tokenizer const& e) {
      unread_ = e.what();
    }
  });
}

tokenizer const* late_tokenizer::get() const {
  open();
  if (!unread_.empty()) throw data_error(unread_);
  return opened_.get();
}

void require_tokenizer(model_info const& info, tokenizer const* words) {
  if (words) return;
  throw usage_error(info.architecture +
                    " can't read texts: there is no tokenizer beside the checkpoint; put its files into the folder (for GPT-2 "
                    "vocab.json and merges.txt), or give tokens");
}

std::string late_tokenizer::text(std::int32_t token) const {
  open();
  return text_of_token(opened_.get(), token);
}

batch encode_items(item_block const& items, encode_options const& options, model_info const& info, tokenizer const* words) {
  std::size_t most = options.max_tokens ? options.max_tokens : SIZE_MAX;
  if (info.longest) most = std::min(most, info.longest);
  auto const cut = [&](std::span<std::int32_t const> ids) { return ids.first(std::min(most, ids.size())); };
  auto const place = [&](std::size_t i) { return "item " + std::to_string(items.first + i); };
  auto const check = [&](std::vector<std::int32_t> const& ids, std::size_t i) {
    for (auto const token : ids)
      if (token < 0 || static_cast<std::size_t>(token) >= info.vocabulary)
        throw data_error(place(i) + " has the token " + in_quotes(words->token_text(token)) + ", " + std::to_string(token) +
                         ", which is outside " + info.architecture + "'s vocabulary of " + std::to_string(info.vocabulary) +
                         ": the tokenizer knows tokens that the weights lack");
  };
  batch out;
  for (std::size_t i = 0; i < items.count; ++i) {
    if (!items.tokens.empty()) {
      for (auto const token : items.tokens[i])
        if (token < 0 || static_cast<std::size_t>(token) >= info.vocabulary)
          throw data_error("token " + std::to_string(token) + " of " + place(i) + " is outside " + info.architecture +
                           "'s vocabulary of " + std::to_string(info.vocabulary));
      out.uncut.push_back(items.tokens[i].size());
      out.tokens.push_back(cut(items.tokens[i]));
      if (items.token_types.empty()) continue;
      if (items.token_types[i].size() != items.tokens[i].size())
        throw data_error(place(i) + " has " + std::to_string(items.tokens[i].size()) + " tokens and " +
                         std::to_string(items.token_types[i].size()) + " token types; give one for each token");
      out.token_types.push_back(cut(items.token_types[i]));
    } else if (items.texts.empty()) {
      throw usage_error(
          info.architecture +
          " reads texts or tokens, and this source gives neither; word numbers have no meaning for it: use a source "
          "of texts or tokens");
    } else if (!items.seconds.empty()) {
      require_tokenizer(info, words);
      auto const* const pairs = dynamic_cast<pair_tokenizer const*>(words);
      if (!pairs) throw usage_error(info.architecture + " reads no pairs of texts; give single texts");
      require_utf8(items.texts[i], place(i));
      require_utf8(items.seconds[i], place(i) + ", its second text");
      auto const both = pairs->encode_pair(items.texts[i], items.seconds[i], most == SIZE_MAX ? 0 : most);
      check(both.ids, i);
      out.uncut.push_back(both.uncut);
      out.tokens.push_back(cut(both.ids));
      out.token_types.push_back(cut(both.types));
    } else {
      require_tokenizer(info, words);
      require_utf8(items.texts[i], place(i));
      auto ids = words->encode(items.texts[i]).ids;
      check(ids, i);
      out.uncut.push_back(ids.size());
      if (ids.size() > most && most > 0) {
        std::int32_t const last = ids.back();
        auto const& s = words->special();
        if (last == s.eos || last == s.sep) ids[most - 1] = last;
      }
      out.tokens.push_back(cut(ids));
    }
  }
  return out;
}

void refuse_token_types(item_block const& items, model_info const& info) {
  if (!items.token_types.empty())
    throw usage_error(info.architecture + " looks up no token types; leave `token_types` out, or use a BERT");
}

std::string text_of_token(tokenizer const* words, std::int32_t token) {
  return words && has_token(*words, token) ? words->token_text(token) : "<" + std::to_string(token) + ">";
}

tensor on_rows(tensor const& x, std::size_t width, std::string const& out, std::function<rows(rows const&)> const& layer) {
  if (x.rank() != 2 || x.size(1) != width || (x.type() != dtype::f32 && x.type() != dtype::f64))
    throw usage_error("expected states [row, " + std::to_string(width) + "] of float32 or float64, got " + describe(x.shape()) +
                      " of " + std::string(name_of(x.type())));
  auto one = std::make_shared<row_packing>();
  one->offsets = {0, x.size(0)};
  one->first_position = {0};
  rows const made = layer(rows_from(x, one, width, x.type(), "states"));
  return made.item(0, {{out, made.width()}}).named({x.shape()[0].name, out});
}

}  // namespace wayfarer
