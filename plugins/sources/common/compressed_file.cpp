#include "compressed_file.hpp"

#include <bzlib.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/run_files.hpp>

namespace wayfarer {
namespace {

constexpr std::size_t block_bytes = std::size_t{1} << 18;

/// The packed bytes, from any offset on.
class packed_input {
 public:
  packed_input(std::string path, std::uint64_t from) : path_(std::move(path)), offset_(from), room_(block_bytes) {
    // A pipe or device under a file's name must not hang the reader.
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor_ < 0) fail_to_read("can't open", errno);
    struct stat s {};
    int const code = ::fstat(descriptor_, &s) != 0 ? errno : S_ISDIR(s.st_mode) ? EISDIR : 0;
    if (code == 0 && S_ISREG(s.st_mode)) {
      note_read(path_);
      return;
    }
    ::close(descriptor_);
    if (code != 0) fail_to_read("can't read", code);
    throw data_error(path_ + ": not a regular file");
  }
  packed_input(packed_input const&) = delete;
  ~packed_input() { ::close(descriptor_); }

  std::string const& path() const noexcept { return path_; }
  /// Of the next byte.
  std::uint64_t offset() const noexcept { return offset_ - waiting_.size(); }
  /// The next bytes; none at the end of the file.
  std::span<std::byte const> next() {
    if (waiting_.empty()) {
      waiting_ = std::span(room_).first(read_at(offset_, room_));
      offset_ += waiting_.size();
    }
    return waiting_;
  }
  void take(std::size_t bytes) { waiting_ = waiting_.subspan(bytes); }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) const {
    for (;;) {
      ssize_t const n = ::pread(descriptor_, to.data(), to.size(), static_cast<off_t>(offset));
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) fail_to_read("can't read", errno);
    }
  }
  [[noreturn]] void fail(std::string_view what, std::string_view advice = "fetch it again") const {
    throw data_error(path_ + ": byte " + std::to_string(offset()) + ": " + std::string(what) + "; " + std::string(advice));
  }

 private:
  [[noreturn]] void fail_to_read(char const* what, int code) const {
    throw data_error(path_ + ": " + what + ": " + std::generic_category().message(code));
  }

  std::string path_;
  std::uint64_t offset_;  // of the next byte to read from the file
  std::vector<std::byte> room_;
  std::span<std::byte const> waiting_{};
  int descriptor_ = -1;
};

}  // namespace

struct packed_stream::decoder {
  explicit decoder(std::unique_ptr<packed_input> in, std::uint64_t position) : in_(std::move(in)), position_(position) {}
  decoder(decoder const&) = delete;
  virtual ~decoder() = default;

  std::size_t read(std::span<std::byte> to) {
    std::size_t done = 0;
    while (done < to.size()) {
      std::size_t const n = some(to.subspan(done));
      if (n == 0) break;
      done += n, position_ += n;
    }
    return done;
  }
  virtual bool plain() const { return false; }

  std::uint64_t position() const { return position_; }
  std::uint64_t apart_ = 0;  // 0: notes nothing
  std::vector<point> points_;

 protected:
  /// At least one byte; 0 at the end.
  virtual std::size_t some(std::span<std::byte> to) = 0;
  bool wants_point(std::uint64_t at) const {
    return apart_ != 0 && at >= (points_.empty() ? 0 : points_.back().unpacked) + apart_;
  }
  void note_member() {
    if (wants_point(position_)) points_.push_back({in_->offset(), position_, 0, {}});
  }

  std::unique_ptr<packed_input> in_;
  std::uint64_t position_;
};

namespace {

struct plain_bytes final : packed_stream::decoder {
  using decoder::decoder;
  bool plain() const override { return true; }
  std::size_t some(std::span<std::byte> to) override {
    auto const from = in_->next();
    std::size_t const n = std::min(from.size(), to.size());
    std::copy_n(from.begin(), n, to.begin());
    in_->take(n);
    return n;
  }
};

class gzip_bytes final : public packed_stream::decoder {
 public:
  gzip_bytes(std::unique_ptr<packed_input> in, packed_stream::point const& from) : decoder(std::move(in), from.unpacked) {
    raw_ = !from.window.empty(), between_ = !raw_;
    if (inflateInit2(&z_, raw_ ? -15 : 15 + 16) != Z_OK) throw resource_error(in_->path() + ": no memory to unpack gzip");
    if (!raw_) return;
    std::byte before{};
    if (from.bits != 0 && in_->read_at(from.packed - 1, std::span(&before, 1)) == 1)
      inflatePrime(&z_, from.bits, std::to_integer<int>(before) >> (8 - from.bits));
    inflateSetDictionary(&z_, reinterpret_cast<Bytef const*>(from.window.data()), static_cast<uInt>(from.window.size()));
  }
  ~gzip_bytes() override { inflateEnd(&z_); }

  std::size_t some(std::span<std::byte> to) override {
    for (;;) {
      auto in = in_->next();
      if (between_ && !next_member(in)) return 0;
      in = in_->next();
      z_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
      z_.avail_in = static_cast<uInt>(in.size());
      z_.next_out = reinterpret_cast<Bytef*>(to.data());
      z_.avail_out = static_cast<uInt>(std::min(to.size(), block_bytes));
      uInt const room = z_.avail_out;
      int const status = inflate(&z_, apart_ != 0 ? Z_BLOCK : Z_NO_FLUSH);
      in_->take(in.size() - z_.avail_in);
      std::size_t const made = room - z_.avail_out;
      if (status == Z_STREAM_END)
        end_member();
      else if (status == Z_MEM_ERROR)
        throw resource_error(in_->path() + ": no memory to unpack gzip");
      else if (status == Z_BUF_ERROR && in.empty())
        in_->fail("the gzip data ends too early: the file is truncated");
      else if (status != Z_OK && status != Z_BUF_ERROR)
        in_->fail(std::string("corrupt gzip data: ") + (z_.msg ? z_.msg : "unknown reason"));
      else
        note_block(made);
      if (made != 0) return made;
    }
  }

 private:
  /// Steps over what tape and block devices leave behind; gunzip lets it pass too.
  bool next_member(std::span<std::byte const> in) {
    while (!in.empty() && in[0] == std::byte{0} && begun_) {
      std::size_t const zeros = static_cast<std::size_t>(
          std::find_if(in.begin(), in.end(), [](std::byte b) { return b != std::byte{0}; }) - in.begin());
      in_->take(zeros);
      padded_ = true;
      in = in_->next();
    }
    if (in.empty()) return false;
    if (padded_) in_->fail("bytes after the end of the gzip data", "cut them off");
    note_member();
    inflateReset2(&z_, 15 + 16);
    between_ = false, begun_ = true;
    return true;
  }

  void end_member() {
    begun_ = true, between_ = true;
    if (!std::exchange(raw_, false)) return;
    // The checksum and length behind it: whoever found the point has checked them.
    for (std::size_t left = 8; left != 0;) {
      auto const in = in_->next();
      if (in.empty()) in_->fail("the gzip data ends too early: the file is truncated");
      std::size_t const n = std::min(left, in.size());
      in_->take(n);
      left -= n;
    }
  }

  void note_block(std::size_t made) {
    bool const at_end_of_block = (z_.data_type & 128) != 0 && (z_.data_type & 64) == 0;
    if (!at_end_of_block || !wants_point(position_ + made)) return;
    packed_stream::point p{in_->offset(), position_ + made, static_cast<std::uint8_t>(z_.data_type & 7),
                           std::string(1 << 15, '\0')};
    uInt size = static_cast<uInt>(p.window.size());
    if (inflateGetDictionary(&z_, reinterpret_cast<Bytef*>(p.window.data()), &size) != Z_OK || size == 0) return;
    p.window.resize(size);
    points_.push_back(std::move(p));
  }

  z_stream z_{};
  bool raw_ = false, between_ = true, begun_ = false, padded_ = false;
};

class bzip2_bytes final : public packed_stream::decoder {
 public:
  using decoder::decoder;
  ~bzip2_bytes() override { close(); }

  std::size_t some(std::span<std::byte> to) override {
    for (;;) {
      auto const in = in_->next();
      if (!open_) {
        if (in.empty()) return 0;
        note_member();
        z_ = {};
        if (BZ2_bzDecompressInit(&z_, 0, 0) != BZ_OK) throw resource_error(in_->path() + ": no memory to unpack bzip2");
        open_ = true;
      }
      z_.next_in = reinterpret_cast<char*>(const_cast<std::byte*>(in.data()));
      z_.avail_in = static_cast<unsigned>(in.size());
      z_.next_out = reinterpret_cast<char*>(to.data());
      z_.avail_out = static_cast<unsigned>(std::min(to.size(), block_bytes));
      unsigned const room = z_.avail_out;
      int const status = BZ2_bzDecompress(&z_);
      in_->take(in.size() - z_.avail_in);
      std::size_t const made = room - z_.avail_out;
      switch (status) {
        case BZ_OK:
          if (made == 0 && in.empty()) in_->fail("the bzip2 data ends too early: the file is truncated");
          break;
        case BZ_STREAM_END:
          close();
          break;
        case BZ_MEM_ERROR:
          throw resource_error(in_->path() + ": no memory to unpack bzip2");
        case BZ_DATA_ERROR_MAGIC:
          in_->fail("no bzip2 data where some should begin");
        default:
          in_->fail("corrupt bzip2 data");
      }
      if (made != 0) return made;
    }
  }

 private:
  void close() {
    if (std::exchange(open_, false)) BZ2_bzDecompressEnd(&z_);
  }
  bz_stream z_{};
  bool open_ = false;
};

class zstd_bytes final : public packed_stream::decoder {
 public:
  zstd_bytes(std::unique_ptr<packed_input> in, std::uint64_t position)
      : decoder(std::move(in), position), z_(ZSTD_createDStream()) {
    if (!z_) throw resource_error(in_->path() + ": no memory to unpack zstd");
  }
  ~zstd_bytes() override { ZSTD_freeDStream(z_); }

  std::size_t some(std::span<std::byte> to) override {
    for (;;) {
      auto const in = in_->next();
      if (between_) {
        if (in.empty()) return 0;
        note_member();
        between_ = false;
      }
      ZSTD_inBuffer from{in.data(), in.size(), 0};
      ZSTD_outBuffer out{to.data(), to.size(), 0};
      std::size_t const status = ZSTD_decompressStream(z_, &out, &from);
      in_->take(from.pos);
      if (ZSTD_isError(status)) in_->fail(std::string("corrupt zstd data: ") + ZSTD_getErrorName(status));
      if (status == 0) between_ = true;
      if (out.pos != 0) return out.pos;
      if (!between_ && in.empty()) in_->fail("the zstd data ends too early: the file is truncated");
    }
  }

 private:
  ZSTD_DStream* z_;
  bool between_ = true;
};

enum class packing { plain, gzip, bzip2, zstd };

packing packing_of(packed_input const& file) {
  std::array<std::byte, 10> room{};
  std::string_view const head(reinterpret_cast<char const*>(room.data()), file.read_at(0, room));
  if (head.starts_with("\x1f\x8b")) return packing::gzip;
  // A plain text may well begin with "BZh"; what follows in a bzip2 file is 48 bits of pi, or of its square root if there is no
  // data.
  if (head.starts_with("BZh") && (head.substr(4) == "1AY&SY" || head.substr(4) == "\x17rE8P\x90")) return packing::bzip2;
  bool const skippable = head.size() >= 4 && (head[0] & 0xf0) == 0x50 && head.substr(1, 3) == "\x2a\x4d\x18";
  if (head.starts_with("\x28\xb5\x2f\xfd") || skippable) return packing::zstd;
  for (auto const& [ending, name] : {std::pair{".gz", "gzip"}, std::pair{".bz2", "bzip2"}, std::pair{".zst", "zstd"}})
    if (file.path().ends_with(ending))
      throw data_error(file.path() + ": this is not " + name + " data; rename or fetch it again");
  return packing::plain;
}

}  // namespace

packed_stream::packed_stream(std::string path) : packed_stream(std::move(path), point()) {}

packed_stream::packed_stream(std::string path, point const& from) {
  auto in = std::make_unique<packed_input>(std::move(path), from.packed);
  switch (packing_of(*in)) {
    case packing::gzip:
      decoder_ = std::make_unique<gzip_bytes>(std::move(in), from);
      break;
    case packing::bzip2:
      decoder_ = std::make_unique<bzip2_bytes>(std::move(in), from.unpacked);
      break;
    case packing::zstd:
      decoder_ = std::make_unique<zstd_bytes>(std::move(in), from.unpacked);
      break;
    default:
      decoder_ = std::make_unique<plain_bytes>(std::move(in), from.unpacked);
  }
}

packed_stream::packed_stream(packed_stream&&) noexcept = default;
packed_stream& packed_stream::operator=(packed_stream&&) noexcept = default;
packed_stream::~packed_stream() = default;

std::size_t packed_stream::read(std::span<std::byte> to) {
  return decoder_->read(to);
}

std::uint64_t packed_stream::position() const noexcept {
  return decoder_->position();
}

void packed_stream::note_points(std::uint64_t apart) {
  decoder_->apart_ = apart;
}

std::vector<packed_stream::point> const& packed_stream::points() const noexcept {
  return decoder_->points_;
}

bool packed_stream::is_plain() const noexcept {
  return decoder_->plain();
}

bool is_packed(std::string const& path) {
  return !packed_stream(path).is_plain();
}

void read_unpacked(std::string const& path, std::size_t max_bytes, std::function<void(std::span<std::byte const>)> const& block) {
  packed_stream in(path);
  std::vector<std::byte> room(block_bytes);
  std::size_t total = 0;
  while (std::size_t const n = in.read(room)) {
    if (n > max_bytes - total)
      throw data_error(path + ": holds more than " + std::to_string(max_bytes) +
                       " bytes unpacked; raise `limit`, in MiB, if this is intended and there is enough memory");
    total += n;
    block(std::span(room).first(n));
  }
}

}  // namespace wayfarer
