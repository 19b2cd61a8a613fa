// The parts of a BPE tokenizer.json and of SentencePiece's BPE models, each on a small file made here, with results worked out by
// hand. tests/plugins/tokenizer_vectors_test.cpp compares with what Hugging Face's library gives.
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/tokenizer.hpp>

#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer_files.hpp"

namespace wf = wayfarer;
using namespace std::string_literals;
using namespace wayfarer::tokenizer_files;

namespace {

std::string quoted(std::string const& text) {
  return to_json(wf::json_value(text));
}

std::string letters_of(std::string_view bytes) {
  std::string out;
  for (char const c : bytes) out += letter(static_cast<unsigned char>(c));
  return out;
}

/// tokenizer.json of a BPE: its parts as the file has them, and its vocabulary, in the order of the ids.
struct bpe_file {
  std::string normalizer = "null", pre_tokenizer = "null", post_processor = "null", decoder = "null", added = "[]", merges = "[]",
              model = "";  // further settings, each with a comma before it
  words vocabulary;

  files make() const {
    auto vocab = wf::json_value::object();
    std::int32_t next = 0;
    for (auto const& token : vocabulary) vocab.set(token, next++);
    return {{"tokenizer.json", R"({"added_tokens": )" + added + R"(, "normalizer": )" + normalizer + R"(, "pre_tokenizer": )" +
                                   pre_tokenizer + R"(, "post_processor": )" + post_processor + R"(, "decoder": )" + decoder +
                                   R"(, "model": {"type": "BPE", "vocab": )" + to_json(vocab) + R"(, "merges": )" + merges +
                                   model + "}}"}};
  }
};

/// How a pre-tokenizer cuts: the expected words are tokens that no merges need make, so that the text is these tokens if, and
/// only if, it was cut there. Words that come out otherwise are "?".
words cut(std::string const& pre_tokenizer, std::string const& text, words const& expected, bool bytes = false) {
  bpe_file f;
  f.pre_tokenizer = pre_tokenizer;
  f.model = R"(, "ignore_merges": true, "unk_token": "?", "fuse_unk": true)";
  std::set<std::string> tokens{"?"};
  for (auto const& w : expected) tokens.insert(bytes ? letters_of(w) : w);
  f.vocabulary.assign(tokens.begin(), tokens.end());
  return tokens_of(*open(f.make()), text);
}
std::string split(std::string const& kind, std::string const& pattern, std::string const& behavior, bool invert = false) {
  return R"({"type": "Split", "pattern": {")" + kind + R"(": )" + quoted(pattern) + R"(}, "behavior": ")" + behavior +
         R"(", "invert": )" + (invert ? "true}" : "false}");
}
/// By a regular expression, and then to bytes.
std::string published(std::string const& pattern) {
  return R"({"type": "Sequence", "pretokenizers": [)" + split("Regex", pattern, "Isolated") +
         R"(, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})";
}
words shown(words const& plain) {
  words all;
  for (auto const& w : plain) {
    all.emplace_back();
    for (char const c : w) all.back() += c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : std::string(1, c);
  }
  return all;
}
void expect_published(std::string const& pattern, std::string const& text, words const& expected) {
  EXPECT_EQ(cut(published(pattern), text, expected, true), shown(expected)) << pattern;
}

std::string const llama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

words normalized_by(std::string const& normalizer, std::string const& text, words vocabulary) {
  bpe_file f;
  f.normalizer = normalizer;
  f.vocabulary = std::move(vocabulary);
  f.vocabulary.push_back("?");
  f.model = R"(, "unk_token": "?")";
  return tokens_of(*open(f.make()), text);
}

std::string const all_bytes_json = [] {
  std::string all;
  constexpr char hex[] = "0123456789ABCDEF";
  for (unsigned b = 0; b < 256; ++b) all += "<0x"s + hex[b >> 4] + hex[b & 15] + "> ";
  return all;
}();
words byte_names() {
  words all;
  for (std::size_t at = 0; at < all_bytes_json.size(); at += 7) all.push_back(all_bytes_json.substr(at, 6));
  return all;
}

}  // namespace

TEST(pre_tokenizers, split_does_with_a_delimiter_what_its_behaviour_says) {
  std::string const text = "the-final--count";
  EXPECT_EQ(cut(split("String", "-", "Removed"), text, {"the", "final", "count"}), (words{"the", "final", "count"}));
  EXPECT_EQ(cut(split("String", "-", "Isolated"), text, {"the", "-", "final", "count"}),
            (words{"the", "-", "final", "-", "-", "count"}));
  EXPECT_EQ(cut(split("String", "-", "MergedWithPrevious"), text, {"the-", "final-", "-", "count"}),
            (words{"the-", "final-", "-", "count"}));
  EXPECT_EQ(cut(split("String", "-", "MergedWithNext"), text, {"the", "-final", "-", "-count"}),
            (words{"the", "-final", "-", "-count"}));
  EXPECT_EQ(cut(split("String", "-", "Contiguous"), text, {"the", "-", "final", "--", "count"}),
            (words{"the", "-", "final", "--", "count"}));
  // The other way round what lies between is the delimiter.
  EXPECT_EQ(cut(split("Regex", "[a-z]+", "Removed", true), text, {"the", "final", "count"}), (words{"the", "final", "count"}));
  EXPECT_EQ(cut(split("Regex", "[a-z]+", "MergedWithPrevious", true), text, {"the-", "final--", "count"}),
            (words{"the-", "final--", "count"}));
  EXPECT_EQ(cut(split("String", "-", "MergedWithNext"), "--", {"-"}), (words{"-", "-"}));
  // A match of nothing cuts where it stands.
  EXPECT_EQ(cut(split("Regex", "(?=[A-Z])", "Isolated"), "oneTwoThree", {"one", "Two", "Three"}), (words{"one", "Two", "Three"}));
}

TEST(pre_tokenizers, patterns_as_published) {
  expect_published(llama3, "I'LL say it's 12345 o\xc3\xa9!!\n\n  x \n\t y",
                   {"I", "'LL", " say", " it", "'s", " ", "123", "45", " o\xc3\xa9", "!!\n\n", " ", " x", " \n", "\t", " y"});
  // Qwen's digits stand alone.
  std::string qwen = llama3;
  qwen.replace(qwen.find("{1,3}"), 5, "");
  expect_published(qwen, "a12 b", {"a", "1", "2", " b"});
  // OpenAI's later one tells capitals apart.
  expect_published(
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      "camelCaseIt's ABCdef ABC's a/b", {"camel", "Case", "It's", " ABCdef", " ABC's", " a", "/b"});
  // Bloom's: a class within a class, as Oniguruma reads it.
  expect_published(" ?[^(\\s|[.,!?\xe2\x80\xa6\xe3\x80\x82])]+", "ab (cd). e|f", {"ab", " ", "(", "cd", ").", " e", "|", "f"});
  // DeepSeek's third version.
  expect_published(
      R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      "don't [x] + 1", {"don", "'t", " [", "x", "]", " +", " ", "1"});
}

TEST(pre_tokenizers, regular_expressions_are_read_as_oniguruma_reads_them) {
  auto const isolated = [](std::string const& pattern, std::string const& text, words const& expected) {
    EXPECT_EQ(cut(split("Regex", pattern, "Isolated"), text, expected), shown(expected)) << pattern;
  };
  isolated("[a-z&&[^aeiou]]+", "abcide", {"a", "bc", "i", "d", "e"});
  isolated("[^a-m&&[a-z]]+", "anbZ", {"a", "n", "b", "Z"});  // the set's complement is of the whole
  isolated("[\\S&&[^x]]", "xa", {"x", "a"});
  isolated("a{,2}b", "aaab", {"a", "aab"});
  isolated("(?:ab){1,2}+", "ababab", {"ababab"});  // no possessive interval
  isolated("\\h+", "xfaz", {"x", "fa", "z"});
  isolated("x$", "ax\nbx", {"a", "x", "\nb", "x"});
  isolated("(?m:a.b)", "a\nbc", {"a\nb", "c"});
  isolated("a.b", "a\nb", {"a\nb"});
  isolated("\\p{Han}+", "a\xe4\xb8\x80\xe3\x80\x85\xe3\x80\x81", {"a", "\xe4\xb8\x80\xe3\x80\x85", "\xe3\x80\x81"});
  isolated("[[:punct:]]", "a+b", {"a", "+", "b"});
  isolated("\\u0041|\\x42", "xAB", {"x", "A", "B"});
  isolated("(?i)b|c", "aBC", {"a", "B", "C"});
  isolated("\\bb", "ab b", {"ab ", "b"});
  isolated("\\s", "a\xe1\xa0\x8e\xe2\x80\xa8z", {"a\xe1\xa0\x8e", "\xe2\x80\xa8", "z"});  // U+180E is no space any more
  auto const says = [](std::string const& pattern, std::string const& what) {
    bpe_file f;
    f.pre_tokenizer = split("Regex", pattern, "Isolated");
    std::string const got = refusal(f.make());
    EXPECT_NE(got.find(what), std::string::npos) << "expected: " << what << "\ngot: " << got;
    EXPECT_NE(got.find("tokenizer.json: pre_tokenizer: pattern: Regex: "), std::string::npos) << got;
  };
  says("(a)\\1", "\"\\1\" is not supported");
  says("a\\K", "\"\\K\" is not supported");
  says("\\p{Klingon}", "is not supported: unknown property");
  says("(a", "a \"(\" without a \")\"");
  says("[a", "a \"[\" without a \"]\"");
  says("a)", "a \")\" without a \"(\"");
  says("*a", "nothing stands before it that could be repeated");
  says("(?~a)", "groups \"(?~\" are not supported");
  says("(?<=a+)b", "lookbehind assertion is not fixed length");
  says("a{2000}", "more than 1000 times");
  says(std::string(300, '(') + std::string(300, ')'), "groups are nested too deeply");
}

TEST(pre_tokenizers, long_runs_take_linear_time_and_hostile_patterns_end) {
  bpe_file f;
  f.pre_tokenizer = split("Regex", R"(\s+$)", "Isolated");
  f.vocabulary = {" ", "x"};
  // The square of a million would take an hour.
  EXPECT_EQ(open(f.make())->encode(std::string(1'000'000, ' ') + "x").ids.size(), 1'000'001u);
  f.pre_tokenizer = split("Regex", llama3, "Removed", true);
  EXPECT_EQ(open(f.make())->encode(std::string(2'000'000, ' ') + "x").ids.size(), 2'000'001u);
  f.pre_tokenizer = split("Regex", "(a+)+b", "Isolated");
  f.vocabulary = {"a", "b", "c"};
  auto const t = open(f.make());
  try {
    t->encode(std::string(60, 'a') + "cb");
    FAIL() << "a pattern that takes forever ended";
  } catch (wf::data_error const& e) {
    EXPECT_NE(std::string(e.what()).find("\"(a+)+b\" can't be followed on this text"), std::string::npos) << e.what();
  }
}

TEST(pre_tokenizers, cut_by_kinds_of_characters) {
  EXPECT_EQ(cut(R"({"type": "Digits", "individual_digits": true})", "ab12\xc2\xbd", {"ab", "1", "2", "\xc2\xbd"}),
            (words{"ab", "1", "2", "\xc2\xbd"}));
  EXPECT_EQ(cut(R"({"type": "Digits", "individual_digits": false})", "ab12c", {"ab", "12", "c"}), (words{"ab", "12", "c"}));
  EXPECT_EQ(cut(R"({"type": "Digits"})", "ab12c", {"ab", "12", "c"}), (words{"ab", "12", "c"}));
  EXPECT_EQ(cut(R"({"type": "Punctuation"})", "a+b..\xe3\x80\x82", {"a", "+", "b", ".", "\xe3\x80\x82"}),
            (words{"a", "+", "b", ".", ".", "\xe3\x80\x82"}));
  EXPECT_EQ(cut(R"({"type": "Punctuation", "behavior": "Contiguous"})", "a..b", {"a", "..", "b"}), (words{"a", "..", "b"}));
  EXPECT_EQ(cut(R"({"type": "Whitespace"})", "a_1 .. b", {"a_1", "..", "b"}), (words{"a_1", "..", "b"}));
  EXPECT_EQ(cut(R"({"type": "WhitespaceSplit"})", " a.\tb", {"a.", "b"}), (words{"a.", "b"}));
  EXPECT_EQ(cut(R"({"type": "BertPreTokenizer"})", "a.. b", {"a", ".", "b"}), (words{"a", ".", ".", "b"}));
  EXPECT_EQ(cut(R"({"type": "CharDelimiterSplit", "delimiter": "x"})", "axxb", {"a", "b"}), (words{"a", "b"}));
  EXPECT_EQ(cut(R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Sequence", "pretokenizers":
                [{"type": "Digits", "individual_digits": true}]}]})",
                "a1 b2", {"a", "1", "b", "2"}),
            (words{"a", "1", "b", "2"}));
}

TEST(pre_tokenizers, metaspace_puts_marks_by_its_scheme) {
  std::string const m = mark;
  auto const scheme = [](std::string const& more) { return R"({"type": "Metaspace", "replacement": "\u2581")" + more + "}"; };
  EXPECT_EQ(cut(scheme(""), "a  b", {m + "a", m, m + "b"}), (words{m + "a", m, m + "b"}));
  EXPECT_EQ(cut(scheme(R"(, "prepend_scheme": "never")"), "a b", {"a", m + "b"}), (words{"a", m + "b"}));
  EXPECT_EQ(cut(scheme(R"(, "split": false)"), "a b", {m + "a" + m + "b"}), (words{m + "a" + m + "b"}));
  EXPECT_EQ(cut(scheme(R"(, "add_prefix_space": false)"), "a", {"a"}), (words{"a"}));
  // "first" puts none behind an added token.
  bpe_file f;
  f.added = R"([{"id": 3, "content": "<x>", "special": true}])";
  f.model = R"(, "ignore_merges": true)";
  f.vocabulary = {m + "a", "a", m};
  f.pre_tokenizer = scheme(R"(, "prepend_scheme": "first")");
  EXPECT_EQ(open(f.make())->encode("a<x>a").ids, (ids{0, 3, 1}));
  f.pre_tokenizer = scheme(R"(, "prepend_scheme": "always")");
  EXPECT_EQ(open(f.make())->encode("a<x>a").ids, (ids{0, 3, 0}));
}

TEST(pre_tokenizers, byte_level_has_a_prefix_a_pattern_and_letters) {
  auto const with = [](char const* space, char const* regex) {
    return R"({"type": "ByteLevel", "trim_offsets": true, "add_prefix_space": )"s + space + R"(, "use_regex": )" + regex + "}";
  };
  EXPECT_EQ(cut(with("false", "true"), "a b", {"a", " b"}, true), (words{"a", " b"}));
  EXPECT_EQ(cut(with("true", "true"), "a b", {" a", " b"}, true), (words{" a", " b"}));
  EXPECT_EQ(cut(with("false", "false"), "a b", {"a b"}, true), (words{"a b"}));
  EXPECT_EQ(cut(with("true", "false"), "a b", {" a b"}, true), (words{" a b"}));
  // What stands behind it sees the letters: the second byte of U+00B2 is written as a digit.
  EXPECT_EQ(cut(R"({"type": "Sequence", "pretokenizers": [)" + with("false", "true") + R"(, {"type": "Digits"}]})", "a\xc2\xb2",
                {"a", "\xc2", "\xb2"}, true),
            (words{"a", "\\xc2", "\\xb2"}));
  // Falcon's: runs of digits are cut in threes.
  EXPECT_EQ(cut(R"({"type": "Sequence", "pretokenizers": [{"type": "Punctuation", "behavior": "Contiguous"}, )" +
                    with("false", "true") + R"(, {"type": "Digits", "individual_digits": false}, )" +
                    split("Regex", "[0-9][0-9][0-9]", "Isolated") + "]}",
                "a.. 12345b", {"a", "..", " ", "123", "45", "b"}, true),
            (words{"a", "..", " ", "123", "45", "b"}));
}

TEST(bpe_normalizers, do_what_their_names_say) {
  EXPECT_EQ(normalized_by(R"({"type": "NFC"})", "e\xcc\x81x", {"\xc3\xa9", "x"}), (words{"\xc3\xa9", "x"}));
  EXPECT_EQ(normalized_by(R"({"type": "NFD"})", "\xc3\xa9", {"e", "\xcc\x81"}), (words{"e", "\xcc\x81"}));
  EXPECT_EQ(normalized_by(R"({"type": "NFKC"})", "\xef\xac\x81", {"f", "i"}), (words{"f", "i"}));
  EXPECT_EQ(normalized_by(R"({"type": "NFKD"})", "\xef\xbc\xa1", {"A"}), (words{"A"}));
  EXPECT_EQ(normalized_by(R"({"type": "Lowercase"})", "A\xc3\x89", {"a", "\xc3\xa9"}), (words{"a", "\xc3\xa9"}));
  EXPECT_EQ(normalized_by(R"({"type": "Strip"})", " \ta b ", {"a", " ", "b"}), (words{"a", " ", "b"}));
  EXPECT_EQ(normalized_by(R"({"type": "Strip", "strip_left": false, "strip_right": true})", " a ", {"a", " "}),
            (words{" ", "a"}));
  // Marks of all kinds, those that take space among them.
  EXPECT_EQ(normalized_by(R"({"type": "StripAccents"})", "e\xcc\x81\xe0\xa4\xbe", {"e"}), (words{"e"}));
  EXPECT_EQ(normalized_by(R"({"type": "Replace", "pattern": {"String": "ab"}, "content": "c"})", "aabb", {"a", "b", "c"}),
            (words{"a", "c", "b"}));
  EXPECT_EQ(normalized_by(R"({"type": "Replace", "pattern": {"Regex": "[ab]+"}, "content": "c"})", "xaby", {"x", "y", "c"}),
            (words{"x", "c", "y"}));
  EXPECT_EQ(normalized_by(R"({"type": "Prepend", "prepend": "c"})", "x", {"x", "c"}), (words{"c", "x"}));
  EXPECT_EQ(normalized_by(R"({"type": "Append", "append": "c"})", "x", {"x", "c"}), (words{"x", "c"}));
  EXPECT_EQ(normalized_by(R"({"type": "Prepend", "prepend": "c"})", "", {"x", "c"}), words{});
  EXPECT_EQ(normalized_by(R"({"type": "Nmt"})", "a\x01\xe2\x80\x8b\x62", {"a", " ", "b"}), (words{"a", " ", "b"}));
  EXPECT_EQ(normalized_by(R"({"type": "ByteLevel"})", " \xc3\xa9", {letter(' '), letter(0xc3), letter(0xa9)}),
            (words{letter(' '), letter(0xc3), letter(0xa9)}));
  EXPECT_EQ(normalized_by(R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Sequence", "normalizers":
                             [{"type": "Prepend", "prepend": "c"}]}]})",
                          "X", {"x", "c"}),
            (words{"c", "x"}));
  // Spans are those of the text as it was.
  bpe_file f;
  f.normalizer = R"({"type": "NFC"})", f.vocabulary = {"\xc3\xa9", "x"};
  EXPECT_EQ(pieces_of_text(*open(f.make()), "xe\xcc\x81x"), (words{"x", "e\xcc\x81", "x"}));
}

TEST(bpe_model, merges_characters_by_rank_and_falls_back_to_bytes) {
  bpe_file f;
  f.vocabulary = byte_names();  // 0 to 255
  for (char const* token : {"<unk>", "a", "b", "c", "ab", "bc", "abc", "\xc3\xa9"}) f.vocabulary.push_back(token);
  f.merges = R"([["b", "c"], "a b", ["a", "bc"]])";
  f.model = R"(, "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true)";
  f.decoder = R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]})";
  auto const t = open(f.make());
  EXPECT_EQ(t->kind(), "bpe");
  EXPECT_EQ(t->encode("abc").ids, (ids{262}));  // bc first, then a bc
  EXPECT_EQ(t->encode("abab").ids, (ids{260, 260}));
  EXPECT_EQ(t->encode("a\xe2\x82\xac").ids, (ids{257, 0xe2, 0x82, 0xac}));
  EXPECT_EQ(t->encode("\xc3\xa9\xff").ids, (ids{263, 0xff}));
  EXPECT_EQ(t->decode(ids{257, 0xe2, 0x82, 0xac, 0xff}), "a\xe2\x82\xac\xff");
  EXPECT_EQ(t->find("\n"), 10);
  EXPECT_EQ(t->token_bytes(10), "\n");
  EXPECT_EQ(t->find("abc"), 262);
  // Not all bytes are there: those characters are unknown, and one token.
  f.vocabulary.erase(f.vocabulary.begin() + 0xac);
  EXPECT_EQ(open(f.make())->encode("\xe2\x82\xac\xe2\x82\xac\x61").ids, (ids{255, 256}));
  f.model = R"(, "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": false)";
  EXPECT_EQ(open(f.make())->encode("\xe2\x82\xac\xe2\x82\xac\x61").ids, (ids{255, 255, 256}));
  f.model = "";
  EXPECT_THROW(open(f.make())->encode("x"), wf::usage_error);
}

TEST(bpe_model, ignores_merges_where_it_is_told_to) {
  bpe_file f;
  f.vocabulary = {"a", "b", "c", "ab", "abc"};
  f.merges = R"(["a b"])";
  EXPECT_EQ(open(f.make())->encode("abc").ids, (ids{3, 2}));
  f.model = R"(, "ignore_merges": true)";
  EXPECT_EQ(open(f.make())->encode("abc").ids, (ids{4}));
}

TEST(bpe_model, marks_what_goes_on_with_a_word_and_what_ends_one) {
  bpe_file f;
  f.pre_tokenizer = R"({"type": "WhitespaceSplit"})";
  f.vocabulary = {"a", "##b", "##c", "ab", "##bc"};
  f.merges = R"([["##b", "##c"], ["a", "##b"]])";
  f.model = R"(, "continuing_subword_prefix": "##")";
  f.decoder = R"({"type": "WordPiece", "prefix": "##", "cleanup": false})";
  auto const t = open(f.make());
  EXPECT_EQ(t->encode("abc ab a").ids, (ids{0, 4, 3, 0}));
  EXPECT_EQ(t->decode(ids{0, 4, 3, 0}), "abc ab a");
  f.vocabulary = {"a", "b", "a</w>", "b</w>", "ab</w>"};
  f.merges = R"([["a", "b</w>"]])";
  f.model = R"(, "end_of_word_suffix": "</w>")";
  f.decoder = R"({"type": "BPEDecoder", "suffix": "</w>"})";
  auto const u = open(f.make());
  EXPECT_EQ(u->encode("ab aab a").ids, (ids{4, 0, 4, 2}));
  EXPECT_EQ(u->decode(ids{4, 0, 4, 2}), "ab aab a");
  // CLIP's: both, with bytes.
  f.pre_tokenizer = R"({"type": "Sequence", "pretokenizers": [)" + split("Regex", "\\S+", "Removed", true) +
                    R"(, {"type": "ByteLevel", "add_prefix_space": false}]})";
  f.vocabulary.push_back(letters_of("\xc3")), f.vocabulary.push_back(letters_of("\xa9") + "</w>");
  EXPECT_EQ(open(f.make())->encode("ab \xc3\xa9").ids, (ids{4, 5, 6}));
}

TEST(bpe_model, long_texts_without_words_take_linear_time) {
  bpe_file f;
  f.vocabulary = {"a", "aa", "aaaa", "\xc3\xa9", "?"};
  f.merges = R"(["a a", "aa aa"])";
  f.model = R"(, "unk_token": "?")";
  auto const t = open(f.make());
  auto const e = t->encode(std::string(1'000'000, 'a') + "\xc3\xa9");
  EXPECT_EQ(e.ids.size(), 250'001u);
  EXPECT_EQ(e.ids.back(), 3);
  EXPECT_EQ(e.spans.back(), (wf::token_span{1'000'000, 1'000'002}));
  // Characters of two bytes, so that windows end within one.
  std::string odd = "a";
  while (odd.size() < 200'000) odd += "\xc3\xa9";
  auto const two = t->encode(odd);
  EXPECT_EQ(two.ids.size(), 100'001u);
  EXPECT_EQ(std::count(two.ids.begin(), two.ids.end(), 3), 100'000);
}

TEST(bpe_decoders, stand_in_a_chain) {
  std::string const m = mark;
  auto const decoded = [&](std::string const& decoder, ids const& tokens) {
    bpe_file f;
    f.decoder = decoder;
    f.vocabulary = {m + "a", "b", m + m, letters_of("\xc3\xa9"), "<0xE2>", "<0x82>", "<0xAC>", "a</w>", "x"};
    return open(f.make())->decode(tokens);
  };
  auto const chain = [](std::string const& all) { return R"({"type": "Sequence", "decoders": [)" + all + "]}"; };
  EXPECT_EQ(decoded("null", {0, 1}), m + "a b");
  EXPECT_EQ(decoded(R"({"type": "Fuse"})", {0, 1}), m + "ab");
  EXPECT_EQ(decoded(R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"})", {0, 1, 0}), "ab a");
  EXPECT_EQ(decoded(R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never"})", {0, 1}), " ab");
  EXPECT_EQ(decoded(R"({"type": "ByteLevel"})", {3, 1}), "\xc3\xa9\x62");
  EXPECT_EQ(decoded(R"({"type": "BPEDecoder", "suffix": "</w>"})", {7, 7}), "a a");
  EXPECT_EQ(decoded(R"({"type": "Replace", "pattern": {"Regex": "[ab]"}, "content": "_"})", {1, 8}), "_x");
  EXPECT_EQ(decoded(chain(R"({"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0})"),
                    {2, 0, 4, 5, 6}),
            "  a\xe2\x82\xac");
  EXPECT_EQ(decoded(chain(R"({"type": "Fuse"}, {"type": "Strip", "content": "x", "start": 1, "stop": 2})"), {8, 8, 1, 8, 8, 8}),
            "xbx");
}

TEST(bpe_added_tokens, keep_their_flags) {
  bpe_file f;
  f.normalizer = R"({"type": "Lowercase"})";
  f.vocabulary = {"a", "b", " "};
  auto const with = [&](std::string const& flags, std::string const& text) {
    f.added = R"([{"id": 3, "content": "AB")" + flags + "}]";
    return open(f.make())->encode(text).ids;
  };
  EXPECT_EQ(with(R"(, "normalized": false)", "ABab"), (ids{3, 0, 1}));  // as the text stands
  EXPECT_EQ(with(R"(, "normalized": true)", "ABab"), (ids{3, 3}));      // as both are normalised
  EXPECT_EQ(with(R"(, "normalized": false, "lstrip": true)", "a AB b"), (ids{0, 3, 2, 1}));
  EXPECT_EQ(with(R"(, "normalized": false, "rstrip": true)", "a AB b"), (ids{0, 2, 3, 1}));
  EXPECT_EQ(with(R"(, "normalized": false, "single_word": true)", "ABa AB"), (ids{0, 1, 0, 2, 3}));
  f.added = R"([{"id": 3, "content": "AB", "special": true}])";
  EXPECT_EQ(open(f.make())->encode("AB", {.special = false}).ids, (ids{0, 1}));
}

TEST(bpe_ends, follow_the_template_or_the_class) {
  bpe_file f;
  f.vocabulary = {"a", "<s>", "</s>"};
  f.added = R"([{"id": 1, "content": "<s>", "special": true}, {"id": 2, "content": "</s>", "special": true}])";
  f.post_processor = R"({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}]})";
  auto const given = [&](std::string const& config) {
    auto all = f.make();
    if (!config.empty()) all["tokenizer_config.json"] = config;
    return open(all)->encode("a").ids;
  };
  EXPECT_EQ(given(""), (ids{1, 0}));
  EXPECT_EQ(given(R"({"tokenizer_class": "PreTrainedTokenizerFast"})"), (ids{1, 0}));
  EXPECT_EQ(given(R"({"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "add_bos_token": false})"), (ids{0}));
  EXPECT_EQ(given(R"({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "add_eos_token": true})"),
            (ids{1, 0, 2}));
  // What a model goes on from has no end.
  auto closed = f.make();
  closed["tokenizer_config.json"] =
      R"({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "add_eos_token": true})";
  EXPECT_EQ(wf::encode_prompt(*open(closed), "a<s>").ids, (ids{1, 0, 1}));
  f.post_processor = "null";
  EXPECT_EQ(given(R"({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>"})"), (ids{1, 0}));
  EXPECT_EQ(given(R"({"tokenizer_class": "GPTNeoXTokenizer"})"), (ids{0}));
  auto all = f.make();
  all["tokenizer_config.json"] = R"({"tokenizer_class": "LlamaTokenizer", "bos_token": "<none>"})";
  EXPECT_NE(refusal(all).find("puts the bos_token around a text, and the vocabulary has none"), std::string::npos)
      << refusal(all);
}

namespace {

std::string const bpe_trainer = varint_field(3, 2);
/// Scores are minus the rank of the merge that makes the piece.
std::vector<piece> const merging_pieces = {{"<unk>", 0, 2}, {"<s>", 0, 3},     {"</s>", 0, 3}, {"bc", -1},         {"ab", -2},
                                           {"abc", -3},     {mark + "a"s, -4}, {"a", -10},     {"b", -11},         {"c", -12},
                                           {mark, -13},     {"<sep>", 0, 4},   {"xy", -5},     {mark + "ab"s, -6}, {"y", -14}};
files model_of(std::vector<piece> const& pieces, std::string const& trainer = bpe_trainer, std::string const& normalizer = "") {
  return {{"tokenizer.model", spiece(pieces, trainer, normalizer)}};
}

}  // namespace

TEST(sentencepiece_bpe, merges_what_makes_the_best_piece_first) {
  std::string const as_is = varint_field(3, 0) + varint_field(4, 0);  // no space before a text, spaces as they are
  auto const t = open(model_of(merging_pieces, bpe_trainer, as_is));
  EXPECT_EQ(t->kind(), "bpe");
  EXPECT_EQ(t->encode("abc", {.ends = false}).ids, (ids{5}));        // bc, then a bc
  EXPECT_EQ(t->encode("ab ab", {.ends = false}).ids, (ids{4, 13}));  // ab is better than " a"
  EXPECT_EQ(t->encode(" ac", {.ends = false}).ids, (ids{6, 9}));
  EXPECT_EQ(t->encode("xy", {.ends = false}).ids, (ids{12}));  // x alone is no piece, and merges
  EXPECT_EQ(t->encode("xxy", {.ends = false}).ids, (ids{0, 12}));
  EXPECT_EQ(t->encode("zxz", {.ends = false}).ids, (ids{0}));  // unknown neighbours are one
  EXPECT_EQ(t->encode("ab<sep>c", {.ends = false}).ids, (ids{4, 11, 9}));
  EXPECT_EQ(t->encode("a<s>a", {.ends = false}).ids, (ids{7, 1, 7}));
  EXPECT_EQ(t->encode("a").ids, (ids{1, 7}));  // as LlamaTokenizer
  EXPECT_EQ(t->decode(ids{4, 13}), "ab ab");
  EXPECT_EQ(t->special().bos, 1);
  EXPECT_EQ(t->special().eos, 2);
  EXPECT_EQ(t->find(" a"), 6);
  auto const prefixed = open(model_of(merging_pieces, bpe_trainer, varint_field(4, 0)));
  EXPECT_EQ(prefixed->encode("ac a", {.ends = false}).ids, (ids{6, 9, 6}));
  EXPECT_EQ(prefixed->decode(ids{6, 9, 6}), "ac a");
  EXPECT_EQ(prefixed->decode(ids{10, 6}), " a");  // one space was put there, the other not
  auto const squeezed = open(model_of(merging_pieces));
  EXPECT_EQ(squeezed->encode("  a   a ", {.ends = false}).ids, (ids{6, 6}));
}

TEST(sentencepiece_bpe, falls_back_to_bytes) {
  auto pieces = merging_pieces;
  for (auto const& name : byte_names()) pieces.push_back({name, 0, 6});
  auto const t = open(model_of(pieces, bpe_trainer + varint_field(35, 1), varint_field(3, 0) + varint_field(4, 0)));
  EXPECT_EQ(t->encode("a\xc3\xa9", {.ends = false}).ids, (ids{7, 15 + 0xc3, 15 + 0xa9}));
  EXPECT_EQ(t->encode("x", {.ends = false}).ids, (ids{15 + 'x'}));
  EXPECT_EQ(t->encode("\xff", {.ends = false}).ids, (ids{15 + 0xff}));
  EXPECT_EQ(t->decode(ids{7, 15 + 0xc3, 15 + 0xa9}), "a\xc3\xa9");
  EXPECT_EQ(t->token_bytes(15 + 0xc3), "\xc3");
}

TEST(sentencepiece_bpe, follows_the_configuration) {
  auto all = model_of(merging_pieces);
  all["tokenizer_config.json"] = R"({"tokenizer_class": "LlamaTokenizer", "add_bos_token": false, "add_eos_token": true})";
  EXPECT_EQ(open(all)->encode("a").ids, (ids{6, 2}));
  all["tokenizer_config.json"] = R"({"tokenizer_class": "LlamaTokenizer", "legacy": false})";
  EXPECT_EQ(open(all)->encode("a</s>a").ids, (ids{1, 6, 2, 7}));  // no space behind an added token
  all["tokenizer_config.json"] = R"({"tokenizer_class": "T5Tokenizer"})";
  EXPECT_NE(refusal(all).find("\"T5Tokenizer\" is not supported with a SentencePiece model of the type BPE"), std::string::npos);
  all["tokenizer_config.json"] = R"({"tokenizer_class": "LlamaTokenizer", "add_prefix_space": false})";
  EXPECT_NE(refusal(all).find("tokenizer.model puts a space before a text; make them agree"), std::string::npos) << refusal(all);
}

TEST(sentencepiece_bpe, refuses_what_it_would_not_do_exactly) {
  auto const says = [](files const& all, std::string const& what) {
    std::string const got = refusal(all);
    EXPECT_NE(got.find(what), std::string::npos) << "expected: " << what << "\ngot: " << got;
  };
  auto pieces = merging_pieces;
  pieces[4].type = 5;
  says(model_of(pieces), "piece 4, \"ab\", is unused and yet merges");
  says(model_of(merging_pieces, bpe_trainer + varint_field(35, 1)), "falls back to bytes, but has no piece for byte 0");
  pieces = merging_pieces, pieces.push_back({"<0xZZ>", 0, 6});
  says(model_of(pieces), "is of the type byte, but is \"<0xZZ>\"");
  says(model_of({{"a", 0}}), "has no piece for what is unknown");
  says({{"tokenizer.model", "IQ== 0\nIg== 1\n"}}, "is a vocabulary of tiktoken's");
}
