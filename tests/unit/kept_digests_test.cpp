// Digests that are kept from run to run: never another file's, never one of earlier content.
#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <wayfarer/digest.hpp>
#include <wayfarer/file.hpp>

#include "engine/kept_digests.hpp"

namespace wayfarer::host {
namespace {

namespace fs = std::filesystem;

struct kept_digests : testing::Test {
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "wayfarer-digests-XXXXXX").string();
    folder = ::mkdtemp(name.data());
    file = folder / "weights";
    put(std::string(size, 'a'));
  }
  void TearDown() override { fs::remove_all(folder); }

  void put(std::string const& text) const { std::ofstream(file, std::ios::binary) << text; }
  std::string digest() const { return kept_digest(file, cache(), later); }
  fs::path cache() const { return folder / "cache" / "digests"; }
  std::size_t filed() const {
    std::error_code none;
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(cache(), none), fs::directory_iterator()));
  }
  fs::path place() const { return fs::directory_iterator(cache())->path(); }

  static constexpr std::size_t size = 1 << 20;
  fs::path folder, file;
  std::int64_t later = std::time(nullptr) + 60;
};

/// What is filed, with another digest and a right checksum.
std::string forged(std::string text, std::string const& digest) {
  constexpr std::size_t line = 65;
  text.replace(text.size() - 2 * line, line - 1, digest);
  text.resize(text.size() - line);
  return text + sha256_hex(text) + '\n';
}

TEST_F(kept_digests, are_read_from_the_cache_while_the_file_is_unchanged) {
  EXPECT_EQ(digest(), sha256_file(file));
  ASSERT_EQ(filed(), 1u);
  EXPECT_EQ(digest(), sha256_file(file));
  // The next answer comes from the cache: it is what stands there.
  std::string const other(64, 'e');
  write_file_atomically(place(), forged(read_text(place(), 1000), other));
  EXPECT_EQ(digest(), other);
}

TEST_F(kept_digests, follow_every_change_of_the_file) {
  std::string const first = digest();
  auto const times = fs::last_write_time(file);
  put(std::string(size, 'b'));
  fs::last_write_time(file, times);
  std::string const second = digest();
  EXPECT_NE(second, first) << "same size, same time of writing";
  EXPECT_EQ(second, sha256_file(file));
  fs::remove(file);
  put(std::string(size, 'c'));
  fs::last_write_time(file, times);
  EXPECT_EQ(digest(), sha256_file(file)) << "another file under this name";
  EXPECT_EQ(filed(), 1u);
}

TEST_F(kept_digests, are_made_anew_where_the_cache_is_damaged) {
  std::string const right = digest(), whole = read_text(place(), 1000);
  for (std::string const& text : {std::string(), whole.substr(1), whole.substr(0, whole.size() - 1), whole + "x",
                                  std::string(whole.size(), '\0'), std::string(whole.size(), 'f')}) {
    write_file_atomically(place(), text);
    EXPECT_EQ(digest(), right);
    EXPECT_EQ(read_text(place(), 1000), whole);
  }
  for (std::size_t i = 0; i < whole.size(); i += 7) {
    std::string text = whole;
    text[i] = static_cast<char>(text[i] ^ 1);
    write_file_atomically(place(), text);
    EXPECT_EQ(digest(), right) << i;
  }
}

TEST_F(kept_digests, are_not_kept_of_files_that_are_new_or_small_or_without_a_cache) {
  EXPECT_EQ(kept_digest(file, cache(), std::time(nullptr)), sha256_file(file));
  EXPECT_EQ(filed(), 0u) << "written just now";
  EXPECT_EQ(kept_digest(file, "", later), sha256_file(file));
  put("small");
  EXPECT_EQ(digest(), sha256_file(file));
  EXPECT_EQ(filed(), 0u);
  put(std::string(size, 'a'));
  std::ofstream(folder / "cache") << "a file where the cache should be";
  EXPECT_EQ(digest(), sha256_file(file));
}

TEST_F(kept_digests, of_two_files_are_two) {
  std::string const first = digest();
  file = folder / "others";
  put(std::string(size, 'b'));
  EXPECT_NE(digest(), first);
  EXPECT_EQ(filed(), 2u);
  file = folder / "weights";
  EXPECT_EQ(digest(), first);
}

}  // namespace
}  // namespace wayfarer::host
