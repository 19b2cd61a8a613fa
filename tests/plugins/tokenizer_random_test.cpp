// A million random strings through each of three published tokenizers and back.
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>

#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <wayfarer/tokenizer.hpp>

#include "text.hpp"

namespace wf = wayfarer;
namespace in = wayfarer::tokenizing;

namespace {

std::shared_ptr<wf::tokenizer const> open_as(char const* name, std::string const& file) {
  std::string path = (std::filesystem::temp_directory_path() / "wayfarer-random-XXXXXX").string();
  std::filesystem::path const folder = mkdtemp(path.data());
  std::filesystem::create_symlink(file, folder / name);
  auto t = wf::open_tokenizer(folder.string());
  std::filesystem::remove_all(folder);
  return t;
}

/// Bytes, words, and characters of all planes, marks among them.
std::string random_text(std::mt19937_64& draw) {
  std::string text;
  for (std::size_t n = draw() % 24; n > 0; --n) switch (draw() % 4) {
      case 0: {
        // GPT-NeoX's vocabulary lacks the bytes that are in no UTF-8.
        auto const byte = static_cast<unsigned char>(draw());
        if (byte < 0xf5 && byte != 0xc0 && byte != 0xc1) text += static_cast<char>(byte);
        break;
      }
      case 1: {
        char32_t const c = static_cast<char32_t>(draw() % (draw() % 2 ? 0x800 : 0x110000));
        if (c < 0xd800 || c > 0xdfff) in::append_utf8(text, c);
        break;
      }
      default:
        text += std::string_view(" the's 12\n\t,Io")[draw() % 14];
    }
  return text;
}

/// As NFC, with bytes that are no UTF-8 kept.
std::string composed(std::string_view text) {
  UErrorCode code = U_ZERO_ERROR;
  UNormalizer2 const* const nfc = unorm2_getNFCInstance(&code);
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t const end = in::first_broken(text, at);
    std::u16string wide(text.size(), u'\0'), done(4 * text.size() + 4, u'\0');
    std::int32_t length = 0;
    u_strFromUTF8(wide.data(), static_cast<std::int32_t>(wide.size()), &length, text.data() + at,
                  static_cast<std::int32_t>(end - at), &code);
    length = unorm2_normalize(nfc, wide.data(), length, done.data(), static_cast<std::int32_t>(done.size()), &code);
    EXPECT_TRUE(U_SUCCESS(code));
    for (std::int32_t i = 0; i < length;) {
      UChar32 c;
      U16_NEXT(done.data(), i, length, c);
      in::append_utf8(out, static_cast<char32_t>(c));
    }
    if (end < text.size()) out += text[end];
    at = end + 1;
  }
  return out;
}

}  // namespace

TEST(tokenizer_random, a_million_byte_strings_come_back) {
  char const* const root = std::getenv("WAYFARER_DATA");
  if (!root) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  auto const t = wf::open_tokenizer(std::string(root) + "/tokenizer-gpt2");
  std::mt19937_64 draw(1);
  for (int i = 0; i < 1'000'000; ++i) {
    std::string text(draw() % 32, '\0');
    for (auto& c : text) c = static_cast<char>(draw());
    // Some of it text, so that merges and broken characters meet.
    if (i % 2 != 0)
      for (auto& c : text)
        if (draw() % 4 != 0) c = " the's 12\n\xc3\xa9"[draw() % 11];
    ASSERT_EQ(t->decode(t->encode(text, {.special = false}).ids), text);
  }
}

// GPT-NeoX's puts characters together first, and reads runs of spaces as tokens of their own.
TEST(tokenizer_random, gpt_neox_gives_texts_back_composed) {
  char const* const root = std::getenv("WAYFARER_DATA");
  if (!root) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  auto const t = open_as("tokenizer.json", std::string(root) + "/tokenizers-decoders/20B_tokenizer.json");
  std::mt19937_64 draw(2);
  for (int i = 1'000'000; i > 0; --i) {
    std::string const text = random_text(draw);
    ASSERT_EQ(t->decode(t->encode(text, {.special = false}).ids), composed(text)) << in::readable(text);
  }
}

// Llama 2's falls back to bytes; only the mark for spaces reads back as a space.
TEST(tokenizer_random, llama_gives_texts_back) {
  char const* const root = std::getenv("WAYFARER_DATA");
  if (!root) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  auto const t = open_as("tokenizer.model", std::string(root) + "/tokenizers-decoders/llama2-tokenizer.model");
  std::mt19937_64 draw(3);
  for (int i = 1'000'000; i > 0; --i) {
    std::string text = random_text(draw);
    auto const e = t->encode(text, {.special = false, .ends = false});
    std::size_t end = 0;
    for (auto const& s : e.spans) {
      ASSERT_LE(s.begin, s.end);
      ASSERT_GE(s.end, end);
      end = s.end;
    }
    ASSERT_EQ(end, text.size());
    for (std::size_t at = text.find("\xe2\x96\x81"); at != text.npos; at = text.find("\xe2\x96\x81")) text.replace(at, 3, " ");
    ASSERT_EQ(t->decode(e.ids), text) << in::readable(text);
  }
}
