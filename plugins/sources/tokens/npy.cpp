#include "npy.hpp"

#include <cstring>
#include <string_view>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer {
namespace {

constexpr std::string_view magic = "\x93NUMPY";

/// The dictionary of the header: {'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }
class header {
 public:
  header(std::string const& path, std::string_view text, std::size_t offset) : path_(path), text_(text), offset_(offset) {}

  void parse() {
    expect('{');
    bool has_type = false, has_order = false, has_shape = false;
    while (peek() != '}') {
      std::string_view const key = quoted();
      expect(':');
      if (key == "descr" && !has_type) {
        descr = quoted(), has_type = true;
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        if (word() != "False") fail("the array is in column order", "save it with numpy.ascontiguousarray");
      } else if (key == "shape" && !has_shape) {
        read_shape(), has_shape = true;
      } else {
        fail("unexpected or repeated key " + in_quotes(key));
      }
      if (peek() != '}') expect(',');
    }
    ++at_;
    skip();
    if (at_ != text_.size()) fail("bytes after the header's dictionary");
    if (!has_type || !has_order || !has_shape) fail("the header lacks one of descr, fortran_order and shape");
  }

  [[noreturn]] void fail(std::string_view what, std::string_view advice = "write it with numpy.save") const {
    throw data_error(path_ + ": byte " + std::to_string(offset_ + at_) + ": " + std::string(what) + "; " + std::string(advice));
  }

  std::string_view descr;
  std::vector<std::size_t> shape;

 private:
  void skip() noexcept {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  char peek() {
    skip();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  void expect(char c) {
    if (peek() != c) fail(std::string("expected '") + c + "' in the header");
    ++at_;
  }
  std::string_view quoted() {
    char const mark = peek();
    if (mark != '\'' && mark != '"') fail("expected a quoted word in the header");
    std::size_t const end = text_.find(mark, at_ + 1);
    if (end == text_.npos) fail("a quoted word has no end");
    auto const out = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return out;
  }
  std::string_view word() {
    skip();
    std::size_t const first = at_;
    while (at_ < text_.size() && ((text_[at_] >= 'a' && text_[at_] <= 'z') || (text_[at_] >= 'A' && text_[at_] <= 'Z'))) ++at_;
    return text_.substr(first, at_ - first);
  }
  void read_shape() {
    expect('(');
    while (peek() != ')') {
      std::size_t n = 0, digits = 0;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_, ++digits)
        if (__builtin_mul_overflow(n, std::size_t{10}, &n) ||
            __builtin_add_overflow(n, static_cast<std::size_t>(text_[at_] - '0'), &n))
          fail("a size is beyond 64 bits");
      if (digits == 0) fail("expected a size in the shape");
      shape.push_back(n);
      if (shape.size() > 2) fail("the array has more than 2 dimensions", "save ids as [id] or [item, id]");
      if (peek() != ')') expect(',');
    }
    ++at_;
    if (shape.empty()) fail("the array is a single number", "save ids as [id] or [item, id]");
  }

  std::string const& path_;
  std::string_view text_;
  std::size_t offset_, at_ = 0;
};

}  // namespace

npy_ids::npy_ids(std::string const& path) : file_(mapped_file::open(path)) {
  auto const all = file_->text();
  auto fail = [&](std::size_t at, std::string const& what) {
    throw data_error(path + ": byte " + std::to_string(at) + ": " + what);
  };
  if (!all.starts_with(magic)) fail(0, "this is no .npy file; write one with numpy.save, or name a JSON file *.json");
  if (all.size() < 10) fail(all.size(), "the file ends within its header; fetch it again");
  auto const byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(all[i])); };
  std::size_t const major = byte(6), start = major == 1 ? 10 : 12;
  if (major < 1 || major > 3) fail(6, "version " + std::to_string(major) + " of the .npy format is not known");
  if (all.size() < start) fail(all.size(), "the file ends within its header; fetch it again");
  std::size_t length = byte(8) | byte(9) << 8;
  if (major > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > all.size() - start)
    fail(8, "the header claims " + std::to_string(length) + " bytes, more than the file has; fetch it again");
  header h(path, all.substr(start, length), start);
  h.parse();

  if (h.descr == "<i4")
    width_ = 4;
  else if (h.descr == "<i8")
    width_ = 8;
  else if (h.descr == "<u2")
    width_ = 2;
  else
    fail(start, "ids of type " + in_quotes(h.descr) + "; save them as numpy.int32, numpy.int64 or numpy.uint16");
  rows_ = h.shape.size() == 1 ? 1 : h.shape[0];
  columns_ = h.shape.back();
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(rows_, columns_, &bytes) || __builtin_mul_overflow(bytes, width_, &bytes) ||
      bytes != all.size() - start - length)
    fail(start + length, "the shape asks for another number of bytes than the " + std::to_string(all.size() - start - length) +
                             " that follow the header; fetch the file again");
  data_ = file_->bytes().data() + start + length;
}

std::int64_t npy_ids::at(std::size_t row, std::size_t column) const noexcept {
  std::byte const* const p = data_ + (row * columns_ + column) * width_;
  if (width_ == 2) {
    std::uint16_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  if (width_ == 4) {
    std::int32_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  std::int64_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

}  // namespace wayfarer
