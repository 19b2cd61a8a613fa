#include "corpus.hpp"

#include <algorithm>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/stopping.hpp>

namespace wayfarer::language_training {

std::string token_stream::digest() const {
  return sha256().update(std::as_bytes(std::span(tokens))).hex();
}

namespace {

std::size_t characters_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

void require_window(token_stream const& data, std::size_t context) {
  if (data.tokens.size() <= context)
    throw data_error("train.source: the source gives " + std::to_string(data.tokens.size()) + " tokens, and a context of " +
                     std::to_string(context) + " needs more than that; choose a smaller `context`");
}

token_stream read_stream(source const& from, tokenizer const* words, std::size_t vocabulary, std::optional<std::int32_t> between,
                         std::string const& what, std::size_t enough) {
  constexpr std::size_t at_once = 64;
  token_stream out;
  auto const append = [&](std::span<std::int32_t const> ids, std::size_t item) {
    for (auto const id : ids)
      if (id < 0 || static_cast<std::size_t>(id) >= vocabulary)
        throw data_error(what + ": token " + std::to_string(id) + " of item " + std::to_string(item) +
                         " is outside the vocabulary of " + std::to_string(vocabulary) + "; set `vocabulary`");
    out.tokens.insert(out.tokens.end(), ids.begin(), ids.end());
    if (between && !ids.empty()) out.tokens.push_back(*between);
  };
  std::size_t const items = from.info().items;
  for (std::size_t first = 0; first < items && out.tokens.size() < enough; first += at_once) {
    stop_if_asked();
    item_block const block = from.read({first, std::min(items, first + at_once)});
    for (std::size_t i = 0; i < block.count && out.tokens.size() < enough; ++i) {
      if (!block.tokens.empty()) {
        append(block.tokens[i], first + i);
      } else if (!block.texts.empty()) {
        if (!words)
          throw usage_error(what +
                            ": a model of fewer than 256 tokens without a tokenizer reads no texts; name a tokenizer's folder");
        append(words->encode(block.texts[i]).ids, first + i);
        out.characters += characters_of(block.texts[i]);
      } else if (!block.words.empty()) {
        append(block.words[i], first + i);
      } else {
        throw usage_error(what + ": the source gives neither texts nor tokens nor words; use a source such as text or tokens");
      }
    }
  }
  return out;
}

token_batch draw_windows(token_stream const& from, std::uint64_t seed, std::size_t update, std::size_t count,
                         std::size_t length) {
  token_batch out;
  auto const starts = static_cast<double>(from.tokens.size() - length);
  for (std::size_t i = 0; i < count; ++i) {
    random_stream draw(seed, "windows", (std::uint64_t{update} << 24) + i);
    auto const at = static_cast<std::ptrdiff_t>(draw.uniform() * starts), end = at + static_cast<std::ptrdiff_t>(length);
    out.tokens.insert(out.tokens.end(), from.tokens.begin() + at, from.tokens.begin() + end);
    out.targets.insert(out.targets.end(), from.tokens.begin() + at + 1, from.tokens.begin() + end + 1);
  }
  return out;
}

token_batch take_windows(token_stream const& from, std::size_t first, std::size_t count, std::size_t length) {
  auto const at = from.tokens.begin() + static_cast<std::ptrdiff_t>(first * length);
  auto const n = static_cast<std::ptrdiff_t>(count * length);
  return {{at, at + n}, {at + 1, at + n + 1}};
}

namespace {

struct bytes final : tokenizer {
  std::string_view kind() const noexcept override { return "byte_level_bpe"; }
  encoding encode(std::string_view text, tokenize_options const&) const override {
    encoding out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      out.ids.push_back(static_cast<unsigned char>(text[i]));
      out.spans.push_back({i, i + 1});
    }
    return out;
  }
  std::string decode(std::span<std::int32_t const> ids) const override {
    std::string out;
    for (auto const id : ids) out += token_bytes(id);
    return out;
  }
  std::string token_text(std::int32_t id) const override {
    std::string const byte = token_bytes(id);
    if (byte[0] >= ' ' && byte[0] < 127) return byte;
    if (byte[0] == '\n') return "\\n";
    if (byte[0] == '\t') return "\\t";
    if (byte[0] == '\r') return "\\r";
    char const* const digits = "0123456789abcdef";
    return std::string("\\x") + digits[id / 16] + digits[id % 16];
  }
  std::string token_bytes(std::int32_t id) const override {
    if (id < 0 || id > 255) throw usage_error("token " + std::to_string(id) + " is not a byte");
    return {static_cast<char>(static_cast<unsigned char>(id))};
  }
  bool begins_word(std::int32_t id) const override { return id == ' '; }
  std::size_t vocabulary() const noexcept override { return 256; }
  std::optional<std::int32_t> find(std::string_view text) const override {
    if (text.size() != 1) return {};
    return static_cast<unsigned char>(text[0]);
  }
  special_tokens const& special() const noexcept override { return none_; }
  std::vector<std::string> const& files() const noexcept override { return no_files_; }

 private:
  special_tokens none_;
  std::vector<std::string> no_files_;
};

}  // namespace

tokenizer const& byte_tokenizer() {
  static bytes const one;
  return one;
}

}  // namespace wayfarer::language_training
