// The sources `tokens` and `text`: what they read, what they refuse, and that a read depends on its range alone.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <wayfarer/error.hpp>
#include <wayfarer/source.hpp>

#include "npy.hpp"
#include "pipelines/command.hpp"
#include "run_plugins.hpp"
#include "text_file.hpp"

namespace wf = wayfarer;
using settings = wf::test::values;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using lists = std::vector<std::vector<std::int32_t>>;
using texts = std::vector<std::string>;

namespace {

lists of(wf::ragged<std::int32_t> const& r) {
  lists out;
  for (std::size_t i = 0; i < r.size(); ++i) out.emplace_back(r[i].begin(), r[i].end());
  return out;
}

/// All items, read in ranges of `block`.
lists tokens_of(wf::source const& s, std::size_t block = 2) {
  lists out;
  for (std::size_t first = 0; first < s.info().items; first += block) {
    auto const b = s.read({first, std::min(first + block, s.info().items)});
    EXPECT_EQ(b.first, first);
    EXPECT_EQ(b.tokens.size(), b.count);
    for (auto const& l : of(b.tokens)) out.push_back(l);
  }
  return out;
}
texts texts_of(wf::source const& s, std::size_t block = 2) {
  texts out;
  for (std::size_t first = 0; first < s.info().items; first += block) {
    auto const b = s.read({first, std::min(first + block, s.info().items)});
    for (auto const& t : b.texts) out.push_back(t);
  }
  return out;
}

template <class T>
std::string npy(std::vector<T> const& values, std::string const& shape, std::string const& type,
                std::string const& order = "False") {
  std::string header = "{'descr': '" + type + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
  header += std::string(63 - (10 + header.size()) % 64, ' ') + "\n";
  std::string out = "\x93NUMPY";
  out += '\1', out += '\0';
  out += static_cast<char>(header.size() & 0xff), out += static_cast<char>(header.size() >> 8);
  out += header;
  out.append(reinterpret_cast<char const*>(values.data()), values.size() * sizeof(T));
  return out;
}

struct language_sources : wf::test::scratch {
  std::string put(std::string const& name, std::string const& bytes) const {
    std::ofstream(folder / name, std::ios::binary) << bytes;
    return folder / name;
  }
  static std::unique_ptr<wf::source> tokens(settings s) { return wf::test::make_source("tokens", std::move(s)); }
  static std::unique_ptr<wf::source> text(settings s) { return wf::test::make_source("text", std::move(s)); }
};

}  // namespace

TEST_F(language_sources, ids_are_written_with_spaces_or_commas) {
  auto const s = tokens({{"ids", texts{"464 3290 318", "1,2, 3", " 7 "}}});
  EXPECT_EQ(tokens_of(*s), (lists{{464, 3290, 318}, {1, 2, 3}, {7}}));
  EXPECT_TRUE(s->info().has_tokens);
  EXPECT_EQ(s->info().longest, 3u);
  auto const both = tokens({{"ids", texts{"1 2", "3"}}, {"decoder_ids", texts{"0", "0 5 6"}}});
  EXPECT_EQ(of(both->read({0, 2}).decoder_tokens), (lists{{0}, {0, 5, 6}}));
  EXPECT_EQ(of(both->read({1, 2}).decoder_tokens), (lists{{0, 5, 6}}));
}

TEST_F(language_sources, what_is_no_list_of_ids_is_refused) {
  for (char const* bad : {"", "  ", "1 x", "-1", "1.5", "1,,2", ",1", "1,", "2147483648", "1;2"})
    EXPECT_THROW(tokens({{"ids", texts{bad}}}), wf::usage_error) << bad;
  EXPECT_THROW(tokens({}), wf::usage_error);
  EXPECT_THROW(tokens({{"ids", texts{"1"}}, {"decoder_ids", texts{"1", "2"}}}), wf::usage_error);
  EXPECT_THROW(tokens({{"ids", texts{"1"}}, {"path", put("a.json", "[[1]]")}}), wf::usage_error);
  EXPECT_THROW(tokens({{"ids", texts{"1"}}, {"stride", std::int64_t{2}}}), wf::usage_error);
}

TEST_F(language_sources, npy_files_of_every_type_are_read) {
  EXPECT_EQ(tokens_of(*tokens({{"path", put("a.npy", npy<std::int32_t>({5, 6, 7}, "(3,)", "<i4"))}})), (lists{{5, 6, 7}}));
  EXPECT_EQ(tokens_of(*tokens({{"path", put("b.npy", npy<std::int64_t>({5, 6, 7, -1}, "(2, 2)", "<i8"))}})),
            (lists{{5, 6}, {7}}));
  EXPECT_EQ(tokens_of(*tokens({{"path", put("c.npy", npy<std::uint16_t>({65535, 0}, "(2, 1)", "<u2"))}})), (lists{{65535}, {0}}));
  EXPECT_EQ(tokens_of(*tokens({{"path", put("d.npy", npy<std::int32_t>({1, 50256, 50256, 2}, "(2, 2)", "<i4"))},
                               {"padding", std::int64_t{50256}}})),
            (lists{{1}, {50256, 2}}));
}

TEST_F(language_sources, windows_cover_every_id) {
  std::vector<std::uint16_t> ids(23);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::uint16_t>(i);
  auto const path = put("ids.npy", npy(ids, "(23,)", "<u2"));
  auto const s = tokens({{"path", path}, {"window", std::int64_t{8}}});
  EXPECT_EQ(tokens_of(*s), (lists{{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14, 15}, {16, 17, 18, 19, 20, 21, 22}}));
  for (std::int64_t window = 1; window < 26; ++window)
    for (std::int64_t stride = 1; stride <= window; ++stride) {
      auto const all = tokens_of(*tokens({{"path", path}, {"window", window}, {"stride", stride}}), 3);
      std::vector<bool> seen(23);
      for (std::size_t w = 0; w < all.size(); ++w) {
        EXPECT_EQ(all[w][0], static_cast<std::int32_t>(w) * stride);
        for (auto const id : all[w]) seen[static_cast<std::size_t>(id)] = true;
        EXPECT_TRUE(w + 1 == all.size() || all[w].size() == static_cast<std::size_t>(window));
      }
      EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 23) << window << " " << stride;
    }
  // Windows never run over the end of a list.
  auto const two = tokens({{"ids", texts{"1 2 3", "4 5"}}, {"window", std::int64_t{2}}});
  EXPECT_EQ(tokens_of(*two, 1), (lists{{1, 2}, {3}, {4, 5}}));
}

TEST_F(language_sources, json_holds_lists_or_both_sides) {
  EXPECT_EQ(tokens_of(*tokens({{"path", put("a.json", "[[1, 2], [3]]")}})), (lists{{1, 2}, {3}}));
  EXPECT_EQ(tokens_of(*tokens({{"path", put("b.json", "[1, 2]")}})), (lists{{1, 2}}));
  auto const s = tokens({{"path", put("c.json", R"({"tokens": [[1, 2], [3]], "decoder_ids": [[0], [0, 4]]})")}});
  EXPECT_EQ(of(s->read({0, 2}).tokens), (lists{{1, 2}, {3}}));
  EXPECT_EQ(of(s->read({0, 2}).decoder_tokens), (lists{{0}, {0, 4}}));
  for (char const* bad :
       {"[[1], []]", "[[1.5]]", "[[-1]]", "[[\"1\"]]", "{\"ids\": [[1]]}", "[[2147483648]]", "[[[1]]]", "[[1]", "3"})
    EXPECT_THROW(tokens({{"path", put("bad.json", bad)}}), wf::data_error) << bad;
}

TEST_F(language_sources, malformed_npy_files_end_in_a_data_error_that_names_the_byte) {
  std::string const good = npy<std::int32_t>({5, 6, 7}, "(3,)", "<i4");
  for (std::size_t cut = 0; cut < good.size(); ++cut)
    EXPECT_THROW(wf::npy_ids(put("cut.npy", good.substr(0, cut))), wf::data_error) << cut;
  struct {
    char const *shape, *type, *order, *says;
  } const bad[] = {{"(3,)", "<f4", "False", "numpy.int32"},
                   {"(3,)", ">i4", "False", "numpy.int32"},
                   {"(3,)", "<i4", "True", "column order"},
                   {"(3, 1, 1)", "<i4", "False", "more than 2"},
                   {"()", "<i4", "False", "single number"},
                   {"(4,)", "<i4", "False", "byte"},
                   {"(2,)", "<i4", "False", "byte"},
                   {"(-3,)", "<i4", "False", "expected a size"},
                   {"(18446744073709551615, 2)", "<i4", "False", "shape"},
                   {"(99999999999999999999,)", "<i4", "False", "64 bits"},
                   {"(3,)', 'shape': (3,)", "<i4", "False", "byte"}};
  for (auto const& b : bad) {
    auto const path = put("bad.npy", npy<std::int32_t>({5, 6, 7}, b.shape, b.type, b.order));
    EXPECT_THAT([&] { wf::npy_ids{path}; },
                ThrowsMessage<wf::data_error>(testing::AllOf(HasSubstr("bad.npy"), HasSubstr(b.says))))
        << b.shape << b.type;
  }
  // An id that is none is found when it is read.
  auto const s = tokens({{"path", put("neg.npy", npy<std::int64_t>({5, -3, 7, std::int64_t{1} << 40}, "(2, 2)", "<i8"))}});
  EXPECT_THAT([&] { s->read({0, 1}); }, ThrowsMessage<wf::data_error>(HasSubstr("row 0, column 1: -3")));
  EXPECT_THAT([&] { s->read({1, 2}); }, ThrowsMessage<wf::data_error>(HasSubstr("row 1, column 1")));
  auto const empty = tokens({{"path", put("pad.npy", npy<std::int32_t>({1, -1, -1, -1}, "(2, 2)", "<i4"))}});
  EXPECT_THAT([&] { empty->read({0, 2}); }, ThrowsMessage<wf::data_error>(HasSubstr("row 1: no token id")));
}

TEST_F(language_sources, mutated_npy_headers_never_crash) {
  std::string const good = npy<std::int32_t>({5, 6, 7, 8}, "(2, 2)", "<i4");
  std::mt19937 draw(1);
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = good;
    for (int k = 0; k < 3; ++k) bytes[draw() % 80] = static_cast<char>(draw());
    try {
      wf::npy_ids const f(put("mutated.npy", bytes));
      EXPECT_LE(f.rows() * f.columns(), 8u);
    } catch (wf::data_error const&) {
    }
  }
}

TEST_F(language_sources, a_file_that_changes_while_mapped_is_a_data_error) {
  auto const path = put("ids.npy", npy<std::int32_t>({5, 6, 7}, "(3,)", "<i4"));
  auto const s = tokens({{"path", path}});
  auto const t = text({{"path", put("t.txt", "one\ntwo\n")}});
  std::filesystem::resize_file(path, 100);
  std::filesystem::resize_file(folder / "t.txt", 2);
  EXPECT_THROW(s->read({0, 1}), wf::data_error);
  EXPECT_THROW(t->read({0, 1}), wf::data_error);
}

TEST_F(language_sources, texts_are_split_by_line_document_or_not_at_all) {
  auto const path = put("t.txt", "one\r\ntwo\n\n \t\nthree\nfour");
  EXPECT_EQ(texts_of(*text({{"path", path}})), (texts{"one", "two", "three", "four"}));
  EXPECT_EQ(texts_of(*text({{"path", path}, {"skip_empty", false}})), (texts{"one", "two", "", " \t", "three", "four"}));
  EXPECT_EQ(texts_of(*text({{"path", path}, {"split", "document"}})), (texts{"one\r\ntwo", "three\nfour"}));
  EXPECT_EQ(texts_of(*text({{"path", path}, {"split", "whole"}})), (texts{"one\r\ntwo\n\n \t\nthree\nfour"}));
  EXPECT_EQ(texts_of(*text({{"texts", texts{"a", " b\n"}}, {"before", "<|endoftext|>"}})),
            (texts{"<|endoftext|>a", "<|endoftext|> b\n"}));
  EXPECT_THROW(text({}), wf::usage_error);
  EXPECT_THROW(text({{"path", path}, {"texts", texts{"a"}}}), wf::usage_error);
  EXPECT_THROW(text({{"path", put("blank.txt", "\n \n")}}), wf::data_error);
  EXPECT_THROW(text({{"path", (folder / "absent").string()}}), wf::data_error);
}

TEST_F(language_sources, texts_are_utf8_without_a_byte_order_mark) {
  auto const marked = text({{"path", put("bom.txt", "\xef\xbb\xbfone\ntwo\n")}});
  EXPECT_EQ(texts_of(*marked), (texts{"one", "two"}));
  EXPECT_THAT(marked->info().notes, ElementsAre(HasSubstr("bom.txt begins with a byte order mark")));
  EXPECT_TRUE(text({{"path", put("plain.txt", "one\n")}})->info().notes.empty());
  using namespace std::string_literals;
  for (auto const& [bytes, what] : std::vector<std::pair<std::string, std::string>>{
           {"one\ncaf\xe9\n",
            "f:2: this is not UTF-8: byte 7 is 0xe9; if the file is Latin-1, convert it: iconv -f LATIN1 -t UTF-8"},
           {"\xff\xfeo\0n\0"s, "byte 0: this is UTF-16LE, not UTF-8; convert it: iconv -f UTF-16LE -t UTF-8"},
           {"\xfe\xff\0o\0n"s, "UTF-16BE"},
           {"\xff\xfe\0\0o\0\0\0"s, "UTF-32LE"},
           {"\0\0\xfe\xff\0\0\0o"s, "UTF-32BE"},
           {"o\0n\0e\0\n\0"s, "byte 1: this is UTF-16LE"},
           {"\x3f\x04\x40\x04 \0\x38\x04\n\0"s,
            "byte 5: is NUL, which no text holds; if this is UTF-16 without a byte order "
            "mark, convert it: iconv -f UTF-16LE"},
           {"\x04\x3f\x04\x40\0\n"s, "iconv -f UTF-16BE"},
           {"one\n\xed\xa0\x80", "byte 4 is 0xed"}})
    try {
      text({{"path", put("f", bytes)}});
      ADD_FAILURE() << "accepted: " << what;
    } catch (wf::data_error const& e) {
      EXPECT_THAT(e.what(), HasSubstr(what));
    }
}

TEST_F(language_sources, items_may_be_pairs) {
  auto const s =
      text({{"texts", texts{"Is it? | Yes.", "a | b"}}, {"pair_at", std::string(" | ")}, {"before", std::string("> ")}});
  auto const b = s->read({0, 2});
  EXPECT_EQ(b.texts, (texts{"> Is it?", "> a"}));
  EXPECT_EQ(b.seconds, (texts{"Yes.", "b"}));
  auto const tsv = text({{"path", put("pairs.tsv", "one\ttwo\nthree\tfour\n")}, {"pair_at", std::string("\t")}});
  EXPECT_EQ(tsv->read({1, 2}).seconds, texts{"four"});
  for (std::string const bad : {"a", "a | b | c"}) try {
      text({{"texts", texts{bad}}, {"pair_at", std::string(" | ")}});
      ADD_FAILURE() << "accepted: " << bad;
    } catch (wf::data_error const& e) {
      EXPECT_THAT(e.what(), HasSubstr("item 0 has \" | \""));
    }
  auto const typed = tokens({{"ids", texts{"2 5 3 6 3", "2 3"}}, {"token_types", texts{"0 0 0 1 1", "0, 0"}}});
  EXPECT_EQ(of(typed->read({0, 2}).token_types), (lists{{0, 0, 0, 1, 1}, {0, 0}}));
  auto const json = tokens({{"path", put("t.json", R"({"tokens": [[1, 2]], "token_types": [[0, 1]]})")}});
  EXPECT_EQ(of(json->read({0, 1}).token_types), (lists{{0, 1}}));
  for (auto const& bad : {texts{"0 0 0 1 1"}, texts{"0 0 0 1", "0 0"}})
    EXPECT_THROW(tokens({{"ids", texts{"2 5 3 6 3", "2 3"}}, {"token_types", bad}}), wf::usage_error);
}

TEST_F(language_sources, windows_of_text_respect_characters) {
  // 1, 2, 3 and 4 bytes, and a byte that is no text.
  std::string const s =
      "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xff"
      "b";
  EXPECT_EQ(wf::character_length(s, 0), 1u);
  EXPECT_EQ(wf::character_length(s, 1), 2u);
  EXPECT_EQ(wf::character_length(s, 3), 3u);
  EXPECT_EQ(wf::character_length(s, 6), 4u);
  EXPECT_EQ(wf::character_length(s, 10), 1u);
  EXPECT_EQ(wf::character_length(s, 7), 1u);
  EXPECT_EQ(wf::character_length("\xe2\x82", 0), 1u);
  // Of a file such a byte would be refused.
  auto const window = [&](std::size_t size, std::size_t stride, std::string_view unit) {
    wf::text_cut cut;
    cut.by = wf::text_split::window, cut.window = size, cut.stride = stride == 0 ? size : stride, cut.bytes = unit == "byte";
    wf::text_file const cut_text(s, cut);
    texts all;
    for (std::size_t i = 0; i < cut_text.size(); ++i) all.emplace_back(cut_text[i]);
    return all;
  };
  EXPECT_EQ(window(2, 0, "character"), (texts{"a\xc3\xa9", "\xe2\x82\xac\xf0\x9f\x98\x80",
                                              "\xff"
                                              "b"}));
  EXPECT_EQ(window(3, 2, "character"), (texts{"a\xc3\xa9\xe2\x82\xac", "\xe2\x82\xac\xf0\x9f\x98\x80\xff",
                                              "\xff"
                                              "b"}));
  // Of bytes: never within a character, never more than asked for unless one character is.
  EXPECT_EQ(window(5, 0, "byte"), (texts{"a\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80\xff", "b"}));
  EXPECT_EQ(window(1, 0, "byte"), (texts{"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xff", "b"}));
}

TEST_F(language_sources, windows_put_together_are_the_text) {
  std::mt19937 draw(3);
  for (int round = 0; round < 200; ++round) {
    std::string s;
    for (std::size_t i = 0; i < draw() % 60; ++i) s += static_cast<char>(draw() % 3 == 0 ? draw() : 'a' + draw() % 26);
    wf::text_cut cut;
    cut.by = wf::text_split::window, cut.skip_empty = false, cut.bytes = draw() % 2 == 0;
    cut.window = cut.stride = 1 + draw() % 9;
    wf::text_file const f(s, cut);
    std::string together;
    for (std::size_t i = 0; i < f.size(); ++i) together += f[i];
    EXPECT_EQ(together, s);
  }
}

TEST_F(language_sources, packed_files_are_unpacked_within_a_limit) {
  std::string const path = folder / "t.gz";
  gzFile const z = gzopen(path.c_str(), "wb");
  std::string const line = "a line of text\n";
  for (int i = 0; i < 100000; ++i) gzwrite(z, line.data(), static_cast<unsigned>(line.size()));
  gzclose(z);
  auto const s = text({{"path", path}});
  EXPECT_EQ(s->info().items, 100000u);
  EXPECT_THAT(s->read({99998, 100000}).texts, ElementsAre("a line of text", "a line of text"));
  EXPECT_THAT([&] { text({{"path", path}, {"limit", std::int64_t{1}}}); }, ThrowsMessage<wf::data_error>(HasSubstr("limit")));
  // Short lines: the text fits, the places of its items do not.
  std::string const many = folder / "many.gz", lines = [] {
    std::string text;
    for (int i = 0; i < 70000; ++i) text += "a\n";
    return text;
  }();
  gzFile const m = gzopen(many.c_str(), "wb");
  gzwrite(m, lines.data(), static_cast<unsigned>(lines.size()));
  gzclose(m);
  EXPECT_THAT(
      [&] {
        text({{"path", many}, {"limit", std::int64_t{1}}});
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("raise `limit`")));
  EXPECT_EQ(text({{"path", many}, {"limit", std::int64_t{2}}})->info().items, 70000u);
}
