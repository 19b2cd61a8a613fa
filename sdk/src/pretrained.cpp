#include <wayfarer/pretrained.hpp>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/layers.hpp>

namespace wayfarer {

tokenizer const* late_tokenizer::get() const {
  std::call_once(once_, [&] { opened_ = open_tokenizer(folder_); });
  return opened_.get();
}

ragged<std::int32_t> encode_items(item_block const& items, encode_options const& options, model_info const& info,
                                  tokenizer const* words) {
  std::size_t most = options.max_tokens ? options.max_tokens : SIZE_MAX;
  if (info.longest) most = std::min(most, info.longest);
  auto const cut = [&](std::span<std::int32_t const> ids) { return ids.first(std::min(most, ids.size())); };
  ragged<std::int32_t> out;
  for (std::size_t i = 0; i < items.count; ++i) {
    if (!items.tokens.empty()) {
      for (auto const token : items.tokens[i])
        if (token < 0 || static_cast<std::size_t>(token) >= info.vocabulary)
          throw data_error("token " + std::to_string(token) + " of item " + std::to_string(items.first + i) + " is outside " +
                           info.architecture + "'s vocabulary of " + std::to_string(info.vocabulary));
      out.push_back(cut(items.tokens[i]));
    } else if (items.texts.empty()) {
      throw usage_error(
          info.architecture +
          " reads texts or tokens, and this source gives neither; word numbers have no meaning for it: use a source "
          "of texts or tokens");
    } else if (!words) {
      throw usage_error(
          info.architecture +
          " can't read texts: there is no tokenizer beside the checkpoint; put its files into the folder (for GPT-2 "
          "vocab.json and merges.txt), or give tokens");
    } else {
      auto ids = words->encode(items.texts[i]).ids;
      if (ids.size() > most && most > 0) {
        std::int32_t const last = ids.back();
        auto const& s = words->special();
        if (last == s.eos || last == s.sep) ids[most - 1] = last;
      }
      out.push_back(cut(ids));
    }
  }
  return out;
}

std::string text_of_token(tokenizer const* words, std::int32_t token) {
  bool const known = words && token >= 0 && static_cast<std::size_t>(token) < words->vocabulary();
  return known ? words->token_text(token) : "<" + std::to_string(token) + ">";
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
