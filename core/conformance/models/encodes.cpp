#include <algorithm>

#include <wayfarer/tokenizer.hpp>

#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {
namespace {

void check_ids(model_info const& info, ragged<std::int32_t> const& lists, std::size_t most) {
  for (std::size_t i = 0; i < lists.size(); ++i) {
    if (lists[i].size() > most)
      throw violation("encodes", "cut to " + std::to_string(most) + " tokens, an item has " + std::to_string(lists[i].size()));
    for (auto const t : lists[i])
      if (t < 0 || static_cast<std::size_t>(t) >= info.vocabulary)
        throw violation("encodes", "the token " + std::to_string(t) + " is outside the vocabulary");
  }
}

}  // namespace

void check_encoding_of_items(model_case const& c, reporter&) {
  auto const& m = c.m();
  batch const& b = c.tokens();
  source const& from = *c.input.items;
  item_block const items = from.read({0, b.items()});
  batch const cut = m.encode(items, {2}), again = m.encode(items, {}), none = m.encode(from.read({0, 0}), {});
  if (digest_of(again) != digest_of(b)) throw violation("encodes", "the same items encoded twice differ");
  if (none.items() != 0) throw violation("encodes", "no items are encoded as " + std::to_string(none.items()));
  check_ids(m.info(), cut.tokens, 2);
  check_ids(m.info(), b.tokens, m.info().longest != 0 ? m.info().longest : 100000);
  check_ids(m.info(), b.decoder_tokens, 100000);
  for (std::size_t i = 0; i < b.tokens.size() && i < cut.tokens.size(); ++i) {
    batch const alone = m.encode(from.read({i, i + 1}), {});
    if (alone.items() != 1 || !std::equal(alone.tokens[0].begin(), alone.tokens[0].end(), b.tokens[i].begin(), b.tokens[i].end()))
      throw violation("encodes", "an item's tokens depend on the other items");
    for (auto const t : b.tokens[i]) m.token_text(t);
  }
}

void check_encoding_of_texts(model_case const& c, reporter&) {
  tokenizer const& words = *c.m().text_tokenizer();
  if (words.vocabulary() > c.m().info().vocabulary) throw violation("encodes", "the tokenizer has more tokens than the model");
  for (std::string const text : {"To kill two birds with one stone", "", " ", "a\nb\tc", "\xc3\xa9\xe2\x82\xac"}) {
    encoding const e = words.encode(text);
    if (e.spans.size() != e.ids.size()) throw violation("encodes", "spans and ids differ in number");
    for (std::size_t i = 0; i < e.ids.size(); ++i)
      if (e.ids[i] < 0 || static_cast<std::size_t>(e.ids[i]) >= words.vocabulary() || e.spans[i].begin > e.spans[i].end ||
          e.spans[i].end > text.size())
        throw violation("encodes", "a token or its place in the text is out of range");
    if (words.kind() == "byte_level_bpe" && words.decode(words.encode(text, {.ends = false}).ids) != text)
      throw violation("encodes", "a text that is encoded and decoded comes back changed");
  }
}

}  // namespace wayfarer::host::conformance
