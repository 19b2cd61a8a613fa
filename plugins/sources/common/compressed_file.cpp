#include "compressed_file.hpp"

#include <bzlib.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

namespace wayfarer {

namespace {

constexpr std::size_t unpacked_block = std::size_t{1} << 18;

using sink = std::function<void(std::span<std::byte const>)>;

struct unpacker {
  unpacker(std::string const& path, sink const& out) : path_(path), out_(out) {}
  unpacker(unpacker const&) = delete;
  unpacker& operator=(unpacker const&) = delete;
  virtual ~unpacker() = default;
  virtual void feed(std::span<std::byte const>) = 0;
  virtual void finish() = 0;

 protected:
  [[noreturn]] void fail(std::string_view what, std::string_view advice = "fetch it again") const {
    throw data_error(path_ + ": byte " + std::to_string(offset_) + ": " + std::string(what) + "; " + std::string(advice));
  }

  std::string const& path_;
  sink const& out_;
  std::size_t offset_ = 0;  // of the next packed byte
};

class plain_bytes final : public unpacker {
 public:
  using unpacker::unpacker;
  void feed(std::span<std::byte const> in) override { out_(in); }
  void finish() override {}
};

class gzip_bytes final : public unpacker {
 public:
  gzip_bytes(std::string const& path, sink const& out) : unpacker(path, out), room_(unpacked_block) {
    if (inflateInit2(&z_, 15 + 16) != Z_OK) throw resource_error(path_ + ": no memory to unpack gzip");
  }
  ~gzip_bytes() override { inflateEnd(&z_); }

  void feed(std::span<std::byte const> in) override {
    while (!in.empty()) {
      if (between_) {
        // What tape and block devices leave behind; gunzip lets it pass too.
        if (in[0] == std::byte{0})
          padded_ = true;
        else if (padded_)
          fail("bytes after the end of the gzip data", "cut them off");
        if (padded_) {
          ++offset_, in = in.subspan(1);
          continue;
        }
        inflateReset(&z_);
        between_ = false;
      }
      z_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
      z_.avail_in = static_cast<uInt>(std::min<std::size_t>(in.size(), 1u << 30));
      z_.next_out = reinterpret_cast<Bytef*>(room_.data());
      z_.avail_out = static_cast<uInt>(room_.size());
      uInt const given = z_.avail_in;
      int const status = inflate(&z_, Z_NO_FLUSH);
      std::size_t const taken = given - z_.avail_in;
      offset_ += taken, in = in.subspan(taken);
      if (std::size_t const made = room_.size() - z_.avail_out) out_(std::span(room_).first(made));
      if (status == Z_STREAM_END)
        between_ = true;
      else if (status == Z_MEM_ERROR)
        throw resource_error(path_ + ": no memory to unpack gzip");
      else if (status != Z_OK && status != Z_BUF_ERROR)
        fail(std::string("corrupt gzip data: ") + (z_.msg ? z_.msg : "unknown reason"));
    }
    drain();
  }

  void finish() override {
    if (!between_) fail("the gzip data ends too early: the file is truncated");
  }

 private:
  // All input is taken, but a full room may have left output inside.
  void drain() {
    while (!between_ && z_.avail_out == 0) {
      z_.next_out = reinterpret_cast<Bytef*>(room_.data());
      z_.avail_out = static_cast<uInt>(room_.size());
      int const status = inflate(&z_, Z_NO_FLUSH);
      if (std::size_t const made = room_.size() - z_.avail_out) out_(std::span(room_).first(made));
      if (status == Z_STREAM_END)
        between_ = true;
      else if (status != Z_OK && status != Z_BUF_ERROR)
        fail(std::string("corrupt gzip data: ") + (z_.msg ? z_.msg : "unknown reason"));
    }
  }

  z_stream z_{};
  std::vector<std::byte> room_;
  bool between_ = false, padded_ = false;
};

class bzip2_bytes final : public unpacker {
 public:
  bzip2_bytes(std::string const& path, sink const& out) : unpacker(path, out), room_(unpacked_block) { open(); }
  ~bzip2_bytes() override { BZ2_bzDecompressEnd(&z_); }

  void feed(std::span<std::byte const> in) override {
    while (!in.empty()) {
      if (between_) {
        BZ2_bzDecompressEnd(&z_);
        open();
        between_ = false;
      }
      z_.next_in = reinterpret_cast<char*>(const_cast<std::byte*>(in.data()));
      z_.avail_in = static_cast<unsigned>(std::min<std::size_t>(in.size(), 1u << 30));
      unsigned const given = z_.avail_in;
      step();
      std::size_t const taken = given - z_.avail_in;
      offset_ += taken, in = in.subspan(taken);
    }
    z_.next_in = nullptr, z_.avail_in = 0;
    while (!between_ && z_.avail_out == 0) step();
  }

  void finish() override {
    if (!between_) fail("the bzip2 data ends too early: the file is truncated");
  }

 private:
  void open() {
    z_ = {};
    if (BZ2_bzDecompressInit(&z_, 0, 0) != BZ_OK) throw resource_error(path_ + ": no memory to unpack bzip2");
    z_.avail_out = 1;  // nothing is waiting inside
  }

  void step() {
    z_.next_out = reinterpret_cast<char*>(room_.data());
    z_.avail_out = static_cast<unsigned>(room_.size());
    int const status = BZ2_bzDecompress(&z_);
    if (std::size_t const made = room_.size() - z_.avail_out) out_(std::span(room_).first(made));
    switch (status) {
      case BZ_OK:
        return;
      case BZ_STREAM_END:
        between_ = true;
        return;
      case BZ_MEM_ERROR:
        throw resource_error(path_ + ": no memory to unpack bzip2");
      case BZ_DATA_ERROR_MAGIC:
        fail("no bzip2 data where some should begin");
      default:
        fail("corrupt bzip2 data");
    }
  }

  bz_stream z_{};
  std::vector<std::byte> room_;
  bool between_ = false;
};

bool starts_with(std::span<std::byte const> bytes, std::string_view with) {
  return bytes.size() >= with.size() && std::equal(with.begin(), with.end(), reinterpret_cast<char const*>(bytes.data()));
}

std::unique_ptr<unpacker> unpacker_for(std::string const& path, std::span<std::byte const> head, sink const& out) {
  // A plain text may well begin with "BZh"; what follows in a bzip2 file is 48 bits of pi, or of its square root if there is no
  // data.
  if (starts_with(head, "\x1f\x8b")) return std::make_unique<gzip_bytes>(path, out);
  if (starts_with(head, "BZh") && head.size() >= 10 &&
      (starts_with(head.subspan(4), "1AY&SY") || starts_with(head.subspan(4), "\x17rE8P\x90")))
    return std::make_unique<bzip2_bytes>(path, out);
  for (std::string_view const packed : {".gz", ".bz2"})
    if (path.ends_with(packed))
      throw data_error(path + ": this is not " + (packed == ".gz" ? "gzip" : "bzip2") + " data; rename or fetch it again");
  return std::make_unique<plain_bytes>(path, out);
}

}  // namespace

void read_unpacked(std::string const& path, std::size_t max_bytes, std::function<void(std::span<std::byte const>)> const& block) {
  std::size_t total = 0;
  sink const counted = [&](std::span<std::byte const> bytes) {
    if (bytes.size() > max_bytes - total)
      throw data_error(path + ": holds more than " + std::to_string(max_bytes) +
                       " bytes unpacked; raise `limit`, in MiB, if this is intended and there is enough memory");
    total += bytes.size();
    block(bytes);
  };
  std::unique_ptr<unpacker> unpack;
  // read_blocks gives whole blocks of a regular file, so the first holds the magic numbers.
  read_blocks(path, [&](std::span<std::byte const> bytes) {
    if (!unpack) unpack = unpacker_for(path, bytes, counted);
    unpack->feed(bytes);
  });
  if (!unpack) unpack = unpacker_for(path, {}, counted);
  unpack->finish();
}

}  // namespace wayfarer
