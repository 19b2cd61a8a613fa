// A million random byte strings through GPT-2's tokenizer and back.
#include <cstdlib>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include <wayfarer/tokenizer.hpp>

namespace wf = wayfarer;

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
