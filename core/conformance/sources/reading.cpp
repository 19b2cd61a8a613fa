// The rules matches_info, empty_input and pure_read.
#include <algorithm>

#include "conformance/sources/source_case.hpp"

namespace wayfarer::host::conformance {
namespace {

void check_columns(source_info const& info, item_block const& b, std::string const& asked) {
  auto const column = [&](char const* name, bool promised, std::size_t lists) {
    if (b.count != 0 && promised && lists == 0)
      throw violation("matches_info", std::string("info() promises ") + name + ", and there are none");
    if (lists != 0 && lists != b.count)
      throw violation("matches_info", asked + ", it gave " + std::to_string(lists) + " lists of " + name);
  };
  column("words", info.has_words, b.words.size());
  column("tokens", info.has_tokens, b.tokens.size());
  column("texts", info.has_texts, b.texts.size());
  column("choices", info.has_choices, b.choices.size());
  column("decoder tokens", false, b.decoder_tokens.size());
}

void check_words(source_info const& info, item_block const& b) {
  for (std::size_t i = 0; i < b.words.size(); ++i) {
    std::string const item = "item " + std::to_string(b.first + i) + " has ";
    for (auto const w : b.words[i])
      if (w < 0 || (info.vocabulary != 0 && static_cast<std::size_t>(w) >= info.vocabulary))
        throw violation("matches_info", item + "the word " + std::to_string(w) + ", outside the vocabulary of " +
                                            std::to_string(info.vocabulary));
    if (info.longest != 0 && b.words[i].size() > info.longest)
      throw violation("matches_info", item + std::to_string(b.words[i].size()) + " words, and info() says at most " +
                                          std::to_string(info.longest));
  }
}

/// Item i of a block, as a block of its own.
item_block item_of(item_block const& b, std::size_t i) {
  item_block one;
  one.first = b.first + i, one.count = 1;
  if (!b.words.empty()) one.words.push_back(b.words[i]);
  if (!b.tokens.empty()) one.tokens.push_back(b.tokens[i]);
  if (!b.decoder_tokens.empty()) one.decoder_tokens.push_back(b.decoder_tokens[i]);
  if (!b.token_types.empty()) one.token_types.push_back(b.token_types[i]);
  if (!b.texts.empty()) one.texts.push_back(b.texts[i]);
  if (!b.seconds.empty()) one.seconds.push_back(b.seconds[i]);
  if (!b.choices.empty()) one.choices.push_back(b.choices[i]);
  for (auto const& [name, values] : b.truth) one.truth.emplace(name, values.slice(0, i, i + 1).clone());
  return one;
}

void check_info(source_info const& info) {
  if (!info.has_words && !info.has_tokens && !info.has_texts)
    throw violation("matches_info", "info() promises neither words nor tokens nor texts");
  for (auto const& [name, values] : info.truth) {
    if (!values.defined()) throw violation("matches_info", "the truth '" + name + "' has no values");
    for (auto const& d : values.shape())
      if (d.name == "word" && d.size != info.vocabulary)
        throw violation("matches_info", "the truth '" + name + "' is " + describe(values.shape()) + ", but there are " +
                                            std::to_string(info.vocabulary) + " words");
  }
  if (!info.words.empty() && info.words.size() != info.vocabulary)
    throw violation("matches_info",
                    std::to_string(info.words.size()) + " texts for a vocabulary of " + std::to_string(info.vocabulary));
}

}  // namespace

item_block checked_read(source const& s, item_range r) {
  item_block b = s.read(r);
  std::string const asked = "asked for items " + std::to_string(r.first) + " to " + std::to_string(r.last);
  if (b.first != r.first || b.count != r.size())
    throw violation("matches_info", asked + ", it gave " + std::to_string(b.count) + " from " + std::to_string(b.first));
  check_columns(s.info(), b, asked);
  check_words(s.info(), b);
  for (auto const& [name, values] : b.truth)
    if (!values.defined() || values.rank() == 0 || values.shape()[0] != dim{"item", b.count})
      throw violation("matches_info", "the truth '" + name + "' is " + describe(values.shape()) +
                                          "; its first dimension must be item " + std::to_string(b.count));
  return b;
}

std::vector<std::string> digests_of_items(source const& s, item_range whole, std::size_t at_once) {
  std::vector<std::string> digests;
  for (std::size_t first = whole.first; first < whole.last; first += at_once) {
    item_block const b = checked_read(s, {first, std::min(first + at_once, whole.last)});
    for (std::size_t i = 0; i < b.count; ++i) digests.push_back(digest_of(item_of(b, i)));
  }
  return digests;
}

std::vector<std::string> digests_of_items(source_case const& c) {
  return digests_of_items(*c.subject, c.some, std::max<std::size_t>(1, c.some.size()));
}

void check_matches_info(source_case const& c, reporter& out) {
  check_info(c.subject->info());
  if (c.items() == 0) out.note("matches_info", "there are no items");
  checked_read(*c.subject, c.some);
  checked_read(*c.subject, {c.items() - std::min<std::size_t>(c.items(), 3), c.items()});
}

void check_reading_nothing(source_case const& c, reporter&) {
  for (std::size_t const at : {std::size_t{0}, c.items()}) checked_read(*c.subject, {at, at});
}

void check_pure_read(source_case const& c, reporter&) {
  auto const all = digests_of_items(c);
  for (std::size_t const at_once : {1, 2, 7}) {
    auto const again = digests_of_items(*c.subject, c.some, at_once);
    for (std::size_t i = 0; i < all.size(); ++i)
      if (again[i] != all[i])
        throw violation("pure_read", "item " + std::to_string(i) + " differs when read in blocks of " + std::to_string(at_once));
  }
  for (std::size_t i = all.size(); i-- > 0;)
    if (digests_of_items(*c.subject, {i, i + 1}, 1)[0] != all[i])
      throw violation("pure_read", "item " + std::to_string(i) + " differs when items are read in descending order");
}

}  // namespace wayfarer::host::conformance
