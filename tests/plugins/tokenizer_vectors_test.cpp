// What the published tokenizers give, from the vectors of their own tests, where those and the tokenizers' files are at hand; and
// the hand-written scanner against GPT-2's pattern run by PCRE2.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unicode/uchar.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <wayfarer/file.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/tokenizer.hpp>

#include "text.hpp"

namespace wf = wayfarer;
namespace in = wayfarer::tokenizing;

namespace {

constexpr wf::json_limits limits{std::size_t{64} << 20, 32, 5'000'000};

/// A file under WAYFARER_DATA, "" if the variable is not set.
std::string data(std::string const& name) {
  char const* const root = std::getenv("WAYFARER_DATA");
  return root ? std::string(root) + "/" + name : std::string();
}

#define NEED_DATA() \
  if (!std::getenv("WAYFARER_DATA")) GTEST_SKIP() << "left out: WAYFARER_DATA is not set"

/// The tokenizer of a folder with one or two of the data files under the names that they have there.
std::shared_ptr<wf::tokenizer const> open(std::vector<std::pair<std::string, std::string>> const& links) {
  std::string name = (std::filesystem::temp_directory_path() / "wayfarer-vectors-XXXXXX").string();
  std::filesystem::path const folder = mkdtemp(name.data());
  for (auto const& [to, from] : links) std::filesystem::create_symlink(data(from), folder / to);
  auto t = wf::open_tokenizer(folder.string());
  std::filesystem::remove_all(folder);
  return t;
}

std::string printed(std::vector<std::int32_t> const& ids) {
  std::string all;
  for (auto const id : ids) all += std::to_string(id) + " ";
  return all;
}

std::vector<std::int32_t> ids_of(wf::json_value const& list) {
  std::vector<std::int32_t> all;
  for (wf::json_value const id : list.elements()) all.push_back(static_cast<std::int32_t>(id.as_integer()));
  return all;
}

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at + with.size()))
    text.replace(at, what.size(), with);
}

/// What Hugging Face does to a decoded text by default ("clean_up_tokenization_spaces").
std::string tidied(std::string text) {
  for (auto const& [what, with] : {std::pair(" .", "."), std::pair(" ?", "?"), std::pair(" !", "!"), std::pair(" ,", ","),
                                   std::pair(" ' ", "'"), std::pair(" n't", "n't"), std::pair(" 'm", "'m"),
                                   std::pair(" 's", "'s"), std::pair(" 've", "'ve"), std::pair(" 're", "'re")})
    replace_all(text, what, with);
  return text;
}

void same_ids(wf::tokenizer const& t, std::string const& text, std::vector<std::int32_t> const& expected,
              wf::tokenize_options const& o = {}) {
  EXPECT_EQ(printed(t.encode(text, o).ids), printed(expected)) << text;
}

/// Cases of the form {"text", "ids", "decoded"}; returns how many there were.
std::size_t check_cases(wf::tokenizer const& t, wf::json_value const& cases, bool ends, std::string_view text = "text") {
  for (wf::json_value const c : cases.elements()) {
    auto const expected = ids_of(c.find("ids") ? c.at("ids") : c.at("encoded").at("input_ids"));
    same_ids(t, c.at(text).as_string(), expected, {.ends = ends});
    for (char const* name : {"decoded", "decoded_with_special"})
      if (auto const decoded = c.find(name)) {
        std::string const ours = t.decode(expected);
        EXPECT_TRUE(ours == decoded->as_string() || tidied(ours) == decoded->as_string())
            << ours << " / " << decoded->as_string();
      }
  }
  return cases.size();
}

wf::json_value vectors(std::string const& name) {
  return wf::read_json(data("tokenizer-vectors/" + name), limits);
}

std::string const oracles = "models/tiny-random-oracles/tokenizers/";

}  // namespace

TEST(tokenizer_vectors, gpt2) {
  NEED_DATA();
  auto const t = wf::open_tokenizer(data("tokenizer-gpt2"));
  EXPECT_EQ(t->vocabulary(), 50257u);
  EXPECT_EQ(t->special().eos, 50256);
  EXPECT_EQ(check_cases(*t, vectors("transformers.js/gpt2.json").at("cases"), true), 26u);
  EXPECT_EQ(check_cases(*t, vectors("swift-transformers/tokenizer_tests_gpt2_t5.json").at("distilgpt2"), true, "input"), 18u);
  EXPECT_EQ(check_cases(*t, vectors("misc/tiktoken_and_hf_t5.json").at("gpt2").at("cases"), true), 19u);
  auto const passage = vectors("swift-transformers/gpt2_encoded_tokens.json");
  same_ids(*t, passage.at("text").as_string(), ids_of(passage.at("token_ids")));
  EXPECT_EQ(t->decode(ids_of(passage.at("token_ids"))), passage.at("decoded_text").as_string());
}

TEST(tokenizer_vectors, gpt2_gives_wikitext_back) {
  NEED_DATA();
  auto const t = wf::open_tokenizer(data("tokenizer-gpt2"));
  for (char const* name : {"wikitext-2/wiki.test.raw", "wikitext-2/valid.tokens.txt"}) {
    std::string const text = wf::read_text(data(name), std::size_t{1} << 30);
    wf::encoding const e = t->encode(text);
    EXPECT_TRUE(t->decode(e.ids) == text) << name;
    std::size_t at = 0;
    for (std::size_t i = 0; i < e.ids.size(); ++i) {
      ASSERT_EQ(e.spans[i].begin, at);
      at = e.spans[i].end;
    }
    EXPECT_EQ(at, text.size());
  }
}

TEST(tokenizer_vectors, byte_level_from_tokenizer_json) {
  NEED_DATA();
  auto const t = open({{"tokenizer.json", oracles + "tiny_bpe_bytelevel_tokenizer.json"}});
  for (wf::json_value const c : wf::read_json(data(oracles + "cases.json"), limits).at("byte_level").at("cases").elements())
    same_ids(*t, c.at("text").as_string(), ids_of(c.at("ids")));
}

TEST(tokenizer_vectors, t5_from_both_files) {
  NEED_DATA();
  auto const json =
      open({{"tokenizer.json", "tokenizer-t5/tokenizer.json"}, {"tokenizer_config.json", "tokenizer-t5/tokenizer_config.json"}});
  auto const model = open({{"spiece.model", "tokenizer-t5/spiece.model"}, {"config.json", "tokenizer-t5/config.json"}});
  for (auto const& t : {json, model}) {
    EXPECT_EQ(t->vocabulary(), 32100u);
    EXPECT_EQ(t->token_text(32099), "<extra_id_0>");
    EXPECT_EQ(check_cases(*t, vectors("transformers.js/t5-small.json").at("cases"), true), 29u);
    EXPECT_EQ(check_cases(*t, vectors("swift-transformers/tokenizer_tests_gpt2_t5.json").at("t5-base"), true, "input"), 18u);
    for (wf::json_value const c : vectors("misc/tiktoken_and_hf_t5.json").at("t5-base").at("cases").elements())
      same_ids(*t, c.at("text").as_string(), ids_of(c.at("ids")), {.ends = c.at("adds_eos").as_bool()});
    auto const passage = vectors("swift-transformers/t5_base_encoded.json");
    same_ids(*t, passage.at("text").as_string(), ids_of(passage.at("token_ids")));
  }
  std::string const text = wf::read_text(data("wikitext-2/wiki.test.raw"), std::size_t{1} << 30);
  std::size_t lines = 0, differ = 0;
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1, ++lines) {
    std::string_view const line = std::string_view(text).substr(at, text.find('\n', at) - at);
    differ += json->encode(line).ids != model->encode(line).ids;
  }
  // The two libraries differ in principle, in how they sum scores and where they cut first; on English text they agree.
  EXPECT_GT(lines, 2000u);
  EXPECT_EQ(differ, 0u);
}

TEST(tokenizer_vectors, sentencepiece_models) {
  NEED_DATA();
  auto const test_model = open({{"spiece.model", "tokenizer-vectors/sentencepiece/test_model.model"}});
  EXPECT_EQ(check_cases(*test_model, vectors("sentencepiece/test_model_vectors.json"), false), 4u);
  auto const cases = wf::read_json(data(oracles + "cases.json"), limits);
  auto const check = [&](char const* name, char const* to, char const* from, std::size_t expected) {
    auto const t = open({{to, oracles + from}});
    std::size_t n = 0;
    for (wf::json_value const c : cases.at(name).at("cases").elements()) {
      same_ids(*t, c.at("text").as_string(), ids_of(c.at("ids")), {.ends = false});
      std::string decoded = t->decode(ids_of(c.at("ids"))), theirs = c.at("decoded").as_string();
      // Unknown pieces read back as "<unk>" here, as nothing or as a sign of their own there.
      replace_all(decoded, "<unk>", "");
      replace_all(theirs, " \xe2\x81\x87 ", "");
      EXPECT_EQ(decoded, theirs);
      ++n;
    }
    EXPECT_EQ(n, expected);
  };
  check("unigram", "tokenizer.json", "tiny_unigram_tokenizer.json", 12);
  check("spm_model", "spiece.model", "tiny_spm.model", 11);
  check("spm_bytefallback", "spiece.model", "tiny_spm_bytefallback.model", 8);
}

// What Hugging Face's library makes of texts through 17 kinds of files: each pre-tokenizer's published pattern, and three kinds
// of SentencePiece models.
TEST(tokenizer_vectors, all_kinds_of_todays_tokenizers) {
  NEED_DATA();
  auto const all = wf::read_json(data("tokenizers-decoders/hf_tokenizer_cases.json"), limits);
  std::size_t kinds = 0, cases = 0;
  for (auto const& [name, kind] : all.members()) {
    std::string const& file = kind.at("tokenizer").as_string();
    bool const here = std::filesystem::exists(data("tokenizers-decoders/" + file));
    std::string const at = (here ? "tokenizers-decoders/" : oracles) + file;
    if (!std::filesystem::exists(data(at))) continue;
    SCOPED_TRACE(name);
    auto const t = open(
        {{file.ends_with(".model") ? (name == "spm_bpe_model" ? "tokenizer.model" : "spiece.model") : "tokenizer.json", at}});
    ASSERT_TRUE(t);
    ++kinds;
    for (wf::json_value const c : kind.at("cases").elements()) {
      same_ids(*t, c.at("text").as_string(), ids_of(c.at("ids")), {.ends = false});
      auto const decoded = c.find("decoded");
      if (!decoded) continue;
      // Special tokens are left out there. Unknown pieces read back as "<unk>" here, as nothing or as a sign of their own there.
      auto inner = ids_of(c.at("ids"));
      std::erase_if(inner, [&](std::int32_t id) {
        std::string const text = t->token_text(id);
        return text == "<s>" || text == "</s>" || text == "<unk>" || text == "[UNK]" || text == "<|endoftext|>" ||
               text == "<|im_end|>";
      });
      std::string ours = t->decode(inner), theirs = decoded->as_string();
      replace_all(theirs, " \xe2\x81\x87 ", "");
      EXPECT_EQ(ours, theirs) << c.at("text").as_string();
      ++cases;
    }
  }
  EXPECT_EQ(kinds, 17u);
  EXPECT_EQ(cases, 272u);
}

TEST(tokenizer_pieces, are_those_of_gpt2s_pattern) {
  std::string_view const pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  int error = 0;
  PCRE2_SIZE where = 0;
  std::unique_ptr<pcre2_code, void (*)(pcre2_code*)> const code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error, &where, nullptr),
      pcre2_code_free);
  ASSERT_TRUE(code);
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> const match(pcre2_match_data_create(4, nullptr),
                                                                             pcre2_match_data_free);
  std::mt19937 draw(5);
  auto const random_character = [&]() -> char32_t {
    constexpr char32_t some[] = U" \n\t'sdtmrevla1\u00e9\u00a0\u2003\u3000\u0661\u00bd\u4f60\u0301\U0001F600_-.";
    for (;;) {
      char32_t const c = draw() % 4 != 0 ? some[draw() % (std::size(some) - 1)] : draw() % (draw() % 2 ? 0x3000 : 0x110000);
      // PCRE2 10.42 knows Unicode 14, and counts U+180E among the spaces, which it has not been since Unicode 6.3.
      UVersionInfo age;
      u_charAge(static_cast<UChar32>(c), age);
      if ((c < 0xd800 || c > 0xdfff) && c != 0x180e && age[0] <= 14) return c;
    }
  };
  std::size_t pieces = 0;
  for (int i = 0; i < 30000; ++i) {
    std::string text;
    for (std::size_t n = draw() % 30; n > 0; --n) in::append_utf8(text, random_character());
    for (std::size_t at = 0; at < text.size(); ++pieces) {
      int const found = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, PCRE2_NO_UTF_CHECK,
                                    match.get(), nullptr);
      ASSERT_GT(found, 0);
      PCRE2_SIZE const* const ends = pcre2_get_ovector_pointer(match.get());
      ASSERT_EQ(ends[0], at);
      ASSERT_EQ(in::end_of_piece(text, at), ends[1]) << in::readable(text) << " at " << at;
      at = ends[1];
    }
  }
  EXPECT_GT(pieces, 200'000u);
}
