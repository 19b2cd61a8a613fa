// Tokens that are bytes: what a model of 256 tokens without a tokenizer's files reads.
//
// The model makes one where its vocabulary has 256 tokens and its folder no tokenizer. Immutable; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/tokenizer.hpp>
#include <wayfarer/utf8.hpp>

namespace wayfarer::rwkv {

struct byte_tokenizer final : tokenizer {
  std::string_view kind() const noexcept override { return "bytes"; }
  encoding encode(std::string_view text, tokenize_options const&) const override {
    encoding e;
    for (std::size_t i = 0; i < text.size(); ++i) {
      e.ids.push_back(static_cast<unsigned char>(text[i]));
      e.spans.push_back({i, i + 1});
    }
    return e;
  }
  std::string decode(std::span<std::int32_t const> ids) const override {
    std::string out;
    for (auto const id : ids) out += token_bytes(id);
    return out;
  }
  std::string token_text(std::int32_t id) const override {
    unsigned char const c = byte(id);
    if (c == '\n') return "\\n";
    if (c == '\t') return "\\t";
    if (c >= 32 && c < 127) return std::string(1, static_cast<char>(c));
    constexpr char hex[] = "0123456789abcdef";
    return {'\\', 'x', hex[c >> 4], hex[c & 15]};
  }
  std::string token_bytes(std::int32_t id) const override { return std::string(1, static_cast<char>(byte(id))); }
  bool begins_word(std::int32_t id) const override { return byte(id) == ' '; }
  std::size_t vocabulary() const noexcept override { return 256; }
  std::optional<std::int32_t> find(std::string_view bytes) const override {
    if (bytes.size() != 1) return {};
    return static_cast<unsigned char>(bytes[0]);
  }
  special_tokens const& special() const noexcept override { return none_; }
  std::vector<std::string> const& files() const noexcept override { return files_; }

 private:
  static unsigned char byte(std::int32_t id) {
    if (id < 0 || id > 255) throw usage_error("the token " + std::to_string(id) + " is no byte, 0 to 255");
    return static_cast<unsigned char>(id);
  }
  special_tokens none_{};
  std::vector<std::string> files_{};
};

}  // namespace wayfarer::rwkv
