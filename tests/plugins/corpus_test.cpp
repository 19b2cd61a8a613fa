// The source `corpus` and what it reads with: every range of every file gives the items that lie there, however the file is
// packed.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <zstd.h>

#include <wayfarer/error.hpp>
#include <wayfarer/source.hpp>

#include "packed_text.hpp"
#include "pipelines/command.hpp"
#include "run_plugins.hpp"
#include "sources/common/compressed_file.hpp"

namespace wf = wayfarer;
using testing::HasSubstr;
using testing::ThrowsMessage;
using wf::test::gzip;
using texts = std::vector<std::string>;

namespace {

/// In frames of so many bytes.
std::string zstd(std::string const& text, std::size_t frame) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += frame) {
    std::string const part = text.substr(at, frame);
    std::string room(ZSTD_compressBound(part.size()), '\0');
    std::size_t const size = ZSTD_compress(room.data(), room.size(), part.data(), part.size(), 3);
    if (ZSTD_isError(size)) throw std::runtime_error("ZSTD_compress");
    out.append(room, 0, size);
  }
  return out;
}

struct corpus : wf::test::scratch {
  corpus() {
    std::filesystem::create_directory(folder / "shards");
    ::setenv("XDG_CACHE_HOME", (folder / "cache").c_str(), 1);
  }
  ~corpus() override { ::unsetenv("XDG_CACHE_HOME"); }

  std::string shards() const { return (folder / "shards").string(); }
  void put(std::string const& name, std::string const& bytes) const { std::ofstream(folder / "shards" / name) << bytes; }

  static std::unique_ptr<wf::source> open(std::string const& path, wf::test::values more = {}) {
    more["path"] = path;
    return wf::test::make_source("corpus", std::move(more));
  }

  static texts range(wf::source const& s, std::size_t first, std::size_t last) {
    auto const b = s.read({first, last});
    EXPECT_EQ(b.count, last - first);
    return b.texts;
  }

  /// Lines of different lengths, some blank, and what of them are items.
  static std::string lines_of(std::size_t count, std::uint64_t seed, texts& items, bool json) {
    std::mt19937_64 random(seed);
    std::string all;
    for (std::size_t i = 0; i < count; ++i) {
      if (random() % 7 == 0) all += random() % 2 ? "\n" : "  \r\n";
      std::string text = "item " + std::to_string(i) + " ";
      for (std::size_t n = random() % 90; n > 0; --n) text += static_cast<char>('a' + random() % 26);
      text += "\u00e9";
      items.push_back(text);
      all += json ? R"({"id": )" + std::to_string(i) + R"(, "text": ")" + text + "\"}\n" : text + (i % 3 ? "\n" : "\r\n");
    }
    return all;
  }
};

TEST_F(corpus, any_range_of_files_in_any_packing) {
  texts all;
  std::string const a = lines_of(3000, 1, all, true), b = lines_of(5000, 2, all, false), c = lines_of(4000, 3, all, true),
                    d = lines_of(3000, 4, all, false), e = lines_of(70, 5, all, true);
  put("0.jsonl", a);
  put("1.txt.gz", gzip(b, 1));
  put("2.jsonl.zst", zstd(c, 50000));
  put("3.txt.gz", gzip(d.substr(0, 90001)) + gzip(d.substr(90001)));
  put("4.jsonl.gz", gzip(e));
  put(".hidden", "not read");
  for (bool const again : {false, true}) {  // the second one finds what the first has kept
    EXPECT_EQ(!std::filesystem::exists(folder / "cache/wayfarer/corpus"), !again);
    auto const s = open(shards());
    ASSERT_EQ(s->info().items, all.size());
    EXPECT_EQ(range(*s, 0, all.size()), all);
    std::mt19937_64 random(9);
    for (int n = 0; n < 300; ++n) {
      std::size_t const first = random() % all.size(), last = std::min(all.size(), first + random() % 90);
      ASSERT_EQ(range(*s, first, last), texts(all.begin() + static_cast<long>(first), all.begin() + static_cast<long>(last)))
          << first << " to " << last;
    }
  }
  EXPECT_EQ(wf::test::count_files(folder / "cache/wayfarer/corpus"), 5u);
  EXPECT_EQ(open(shards(), {{"files", "*.txt.gz"}})->info().items, 8000u);
  EXPECT_EQ(range(*open(shards() + "/4.jsonl.gz", {{"before", "> "}}), 69, 70), texts{"> " + all.back()});
}

TEST_F(corpus, a_packed_file_is_entered_near_the_item) {
  texts all;
  put("a.gz", gzip(lines_of(40000, 3, all, false), 1));
  std::string const path = shards() + "/a.gz";
  wf::packed_stream whole(path);
  whole.note_points(100000);
  std::string text(4000000, '\0');
  text.resize(whole.read(std::as_writable_bytes(std::span(text))));
  ASSERT_GT(whole.points().size(), 10u);
  for (auto const& p : whole.points()) {
    wf::packed_stream from(path, p);
    std::string rest(text.size(), '\0');
    rest.resize(from.read(std::as_writable_bytes(std::span(rest))));
    ASSERT_TRUE(rest == text.substr(p.unpacked)) << p.unpacked;
  }
  // A stream from the last point on reads only what is behind it: the packed bytes before it may be anything.
  auto const last = whole.points().back();
  ASSERT_GT(last.packed, 100000u);
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(20);
    file << std::string(last.packed - 40, 'x');
  }
  wf::packed_stream from(path, last);
  std::string rest(text.size(), '\0');
  rest.resize(from.read(std::as_writable_bytes(std::span(rest))));
  EXPECT_TRUE(rest == text.substr(last.unpacked));
}

TEST_F(corpus, documents_stand_between_blank_lines) {
  put("a.txt", "\xef\xbb\xbfone\ntwo\r\n\n \nthree\n\n\nfour");
  auto const s = open(shards() + "/a.txt", {{"split", "document"}});
  EXPECT_EQ(range(*s, 0, s->info().items), (texts{"one\ntwo", "three", "four"}));
  EXPECT_EQ(range(*open(shards()), 0, 1), texts{"one"});
}

TEST_F(corpus, what_is_wrong_is_told_with_file_and_item) {
  put("a.jsonl", "{\"text\": \"good\"}\n\n{\"body\": \"x\", \"n\": 3}\n");
  auto const s = open(shards());
  EXPECT_EQ(range(*s, 0, 1), texts{"good"});
  EXPECT_THAT(
      [&] {
        s->read({1, 2});
      },
      ThrowsMessage<wf::data_error>(
          HasSubstr("a.jsonl: item 1: has no field \"text\"; set `field` to one of its texts: \"body\"")));
  put("a.jsonl", "no json at all here\n");
  EXPECT_THAT([&] { s->read({0, 1}); }, ThrowsMessage<wf::data_error>(HasSubstr("has changed since it was opened")));
  EXPECT_THAT([&] { open(shards()); }, ThrowsMessage<wf::data_error>(HasSubstr("a.jsonl: item 0")));
  put("u.txt", std::string("\x3f\x04 \0\x40\x04\n\0", 8));
  EXPECT_THAT([&] { open(shards() + "/u.txt"); },
              ThrowsMessage<wf::data_error>(HasSubstr("u.txt: item 0, near byte 3: holds NUL, which no text does")));
  std::filesystem::remove(shards() + "/u.txt");
  put("b.txt", "caf\xe9\n");
  EXPECT_THAT(
      [&] {
        open(shards() + "/b.txt")->read({0, 1});
      },
      ThrowsMessage<wf::data_error>(HasSubstr("b.txt: item 0: this is not UTF-8: byte 3 is 0xe9")));
  EXPECT_THAT(
      [&] {
        open(shards(), {{"files", "*.zst"}});
      },
      ThrowsMessage<wf::data_error>(HasSubstr("no file in it is called '*.zst'; it has a.jsonl and others, set `files`")));
  put("c.zst", "not packed");
  EXPECT_THAT([&] { open(shards()); }, ThrowsMessage<wf::data_error>(HasSubstr("c.zst: this is not zstd data")));
  put("c.zst", zstd("some lines\nand more\n", 100).substr(0, 20));
  EXPECT_THAT([&] { open(shards()); }, ThrowsMessage<wf::data_error>(HasSubstr("the zstd data ends too early")));
  put("d.txt", std::string(3 << 20, 'x'));
  EXPECT_THAT(
      [&] {
        open(shards() + "/d.txt", {{"longest", std::int64_t{1}}});
      },
      ThrowsMessage<wf::data_error>(HasSubstr("d.txt: byte 0: a line of more than 1 MiB begins here")));
}

TEST_F(corpus, a_byte_order_mark_is_no_text_and_said) {
  put("a.txt", "\xef\xbb\xbfone\ntwo\n");
  for (bool const again : {false, true}) {  // the second one reads the kept index
    auto const s = open(shards());
    EXPECT_EQ(range(*s, 0, 2), (texts{"one", "two"})) << again;
    EXPECT_THAT(s->info().notes, testing::ElementsAre(HasSubstr("a.txt begins with a byte order mark"))) << again;
  }
}

TEST_F(corpus, a_damaged_index_is_made_again) {
  texts all;
  put("a.txt.gz", gzip(lines_of(2000, 7, all, false)));
  open(shards());
  auto const index = std::filesystem::directory_iterator(folder / "cache/wayfarer/corpus")->path();
  std::string const whole = wf::test::slurp(index);
  for (std::size_t n = 0; n < whole.size(); n += 1 + whole.size() / 40) {
    std::string bad = whole;
    bad[n] = static_cast<char>(bad[n] ^ 1);
    std::ofstream(index) << bad;
    ASSERT_EQ(range(*open(shards()), 1900, 2000), texts(all.end() - 100, all.end())) << n;
    ASSERT_TRUE(wf::test::slurp(index) == whole) << n;
  }
}

}  // namespace
