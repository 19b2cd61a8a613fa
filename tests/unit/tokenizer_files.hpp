// Small folders of a tokenizer's files, made by tests of tokenizers.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/tokenizer.hpp>

namespace wayfarer::tokenizer_files {

namespace wf = wayfarer;
using namespace std::string_literals;

using files = std::map<std::string, std::string>;
using ids = std::vector<std::int32_t>;

class scratch {
 public:
  explicit scratch(files const& all) {
    std::string name = (std::filesystem::temp_directory_path() / "wayfarer-tokenizer-XXXXXX").string();
    path_ = mkdtemp(name.data());
    for (auto const& [file, text] : all) write(file, text);
  }
  ~scratch() { std::filesystem::remove_all(path_); }
  void write(std::string const& name, std::string const& text) const { std::ofstream(path_ / name, std::ios::binary) << text; }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

inline std::shared_ptr<wf::tokenizer const> open(files const& all) {
  scratch const folder(all);
  return wf::open_tokenizer(folder.path());
}

inline std::string refusal(files const& all) {
  try {
    open(all);
  } catch (wf::data_error const& e) {
    return e.what();
  } catch (std::exception const& e) {
    return "not a data_error: "s + e.what();
  }
  return "accepted";
}

inline std::vector<std::string> tokens_of(wf::tokenizer const& t, std::string_view text, wf::tokenize_options const& o = {}) {
  std::vector<std::string> all;
  for (auto const id : t.encode(text, o).ids) all.push_back(t.token_text(id));
  return all;
}

inline std::vector<std::string> pieces_of_text(wf::tokenizer const& t, std::string_view text,
                                               wf::tokenize_options const& o = {}) {
  std::vector<std::string> all;
  for (auto const& s : t.encode(text, o).spans) all.emplace_back(text.substr(s.begin, s.end - s.begin));
  return all;
}

using words = std::vector<std::string>;

/// The letter that a byte-level vocabulary writes for a byte.
inline std::string letter(unsigned byte) {
  auto const itself = [](unsigned b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae; };
  unsigned c = byte;
  if (!itself(byte)) {
    c = 0x100;
    for (unsigned b = 0; b < byte; ++b) c += !itself(b);
  }
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
}

/// All bytes, these merges (in byte letters), and "<|endoftext|>".
inline files byte_level(std::vector<std::pair<std::string, std::string>> const& merges) {
  auto vocab = wf::json_value::object();
  std::int32_t next = 0;
  for (unsigned b = 0; b < 256; ++b) vocab.set(letter(b), next++);
  std::string lines = "#version: 0.2\n";
  for (auto const& [a, b] : merges) {
    if (!vocab.find(a + b)) vocab.set(a + b, next++);
    lines += a + " " + b + "\n";
  }
  vocab.set("<|endoftext|>", next);
  return {{"vocab.json", to_json(vocab)}, {"merges.txt", lines}};
}

inline files const low_newer = byte_level({{"l", "o"}, {"lo", "w"}, {letter(' '), "low"}, {"e", "r"}, {"'", "s"}});

// ---- SentencePiece's file format ----

inline std::string varint(std::uint64_t n) {
  std::string out;
  for (; n >= 0x80; n >>= 7) out += static_cast<char>(0x80 | (n & 0x7f));
  return out += static_cast<char>(n);
}
inline std::string bytes_field(unsigned number, std::string const& bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}
inline std::string varint_field(unsigned number, std::uint64_t n) {
  return varint(number << 3) + varint(n);
}
inline std::string float_field(unsigned number, float x) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &x, 4);
  return varint(number << 3 | 5) + bytes;
}
struct piece {
  std::string text;
  float score = 0;
  unsigned type = 1;
};
inline constexpr char const* mark = "\xe2\x96\x81";
inline std::string spiece(std::vector<piece> const& pieces, std::string const& trainer = "", std::string const& normalizer = "") {
  std::string out;
  for (auto const& p : pieces)
    out += bytes_field(1, bytes_field(1, p.text) + float_field(2, p.score) + (p.type == 1 ? "" : varint_field(3, p.type)));
  return out + bytes_field(2, trainer) + bytes_field(3, normalizer);
}

/// SentencePiece's double array for one key, so that a map can be made here: the bytes of `key` become `text`.
inline std::string character_map(std::string const& key, std::string const& text) {
  std::vector<std::uint32_t> units(256 * (key.size() + 2));
  std::uint32_t base = 256;
  units[0] = base << 10;
  for (std::size_t i = 0; i < key.size(); ++i) {
    auto const byte = static_cast<unsigned char>(key[i]);
    std::uint32_t const at = base ^ byte, next = static_cast<std::uint32_t>(256 * (i + 2));
    bool const last = i + 1 == key.size();
    // The offset is relative to the unit's own place.
    std::uint32_t const to = last ? next - 256 + 255 - (byte == 255) : next;
    units[at] = byte | (to ^ at) << 10 | (last ? 0x100u : 0u);
    if (last) units[to] = 0x80000000u;
    base = to;
  }
  std::string out(4 + units.size() * 4, '\0');
  auto const size = static_cast<std::uint32_t>(units.size() * 4);
  std::memcpy(out.data(), &size, 4);
  std::memcpy(out.data() + 4, units.data(), size);
  return out + text + '\0';
}

}  // namespace wayfarer::tokenizer_files
