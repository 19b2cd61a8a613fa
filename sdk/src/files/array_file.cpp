#include <wayfarer/array_file.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/result_file.hpp>
#include <wayfarer/safetensors.hpp>

namespace wayfarer {
namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t most_dimensions = 6;

/// The dictionary of the header: {'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }
class npy_header {
 public:
  npy_header(std::string const& path, std::string_view text, std::size_t offset) : path_(path), text_(text), offset_(offset) {}

  void parse() {
    expect('{');
    bool has_type = false, has_order = false, has_shape = false;
    while (peek() != '}') {
      std::string_view const key = quoted();
      expect(':');
      if (key == "descr" && !has_type) {
        if (peek() == '[') fail("the array holds records", "save one array of numbers with numpy.save");
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
      if (shape.size() > most_dimensions) fail("the array has more than 6 dimensions", "save a part of it");
      if (peek() != ')') expect(',');
    }
    ++at_;
  }

  std::string const& path_;
  std::string_view text_;
  std::size_t offset_, at_ = 0;
};

template <class T>
double number_at(std::byte const* p) noexcept {
  T v;
  std::memcpy(&v, p, sizeof v);
  return static_cast<double>(v);
}

using reader_of_number = double (*)(std::byte const*) noexcept;

struct npy_type {
  std::string_view name;
  std::size_t width;
  reader_of_number read;  ///< null: through a tensor of 16-bit floats
};

constexpr npy_type npy_types[] = {
    {"<f4", 4, &number_at<float>},         {"<f8", 8, &number_at<double>},        {"<f2", 2, nullptr},
    {"<i4", 4, &number_at<std::int32_t>},  {"<i8", 8, &number_at<std::int64_t>},  {"<i2", 2, &number_at<std::int16_t>},
    {"<u2", 2, &number_at<std::uint16_t>}, {"<u4", 4, &number_at<std::uint32_t>}, {"|i1", 1, &number_at<std::int8_t>},
    {"|u1", 1, &number_at<std::uint8_t>},
};

npy_type const* find_type(std::string_view name) noexcept {
  auto const at = std::find_if(std::begin(npy_types), std::end(npy_types), [&](npy_type const& t) { return t.name == name; });
  return at == std::end(npy_types) ? nullptr : at;
}

dims numbered(std::vector<std::size_t> const& sizes) {
  dims shape;
  for (std::size_t i = 0; i < sizes.size(); ++i) shape.push_back({std::to_string(i), sizes[i]});
  return shape;
}

/// "truth values (dtype bool, BOOL)": what two kinds of files say of them.
std::string no_numbers(std::string_view type) {
  return "truth values (dtype bool, " + in_quotes(type) +
         "), and numbers are read: float16, float32, float64 or integers; if 0 and 1 are meant, save x.astype(numpy.float32)";
}

/// Whether a tensor of the file is of truth values, which `safetensors_file` gives as bytes.
bool is_bool(std::string const& path, std::string const& name) {
  auto const file = mapped_file::open(path);
  std::string_view const all = file->text();
  std::uint64_t length = 0;
  std::memcpy(&length, all.data(), sizeof length);
  // Opened as safetensors before, so that the header is there and sound.
  return parse_json(all.substr(sizeof length, length), path).at(name).at("dtype").as_string() == "BOOL";
}

tensor from_safetensors(std::string const& path, std::string const& dataset) {
  auto const file = safetensors_file::open(path);
  auto const names = file.names();
  std::string name = dataset;
  for (foreign_tensor const& f : file.foreign())
    if (f.name == name || (name.empty() && names.empty()))
      throw data_error(path + ": tensor " + in_quotes(f.name) + " is " + f.type +
                       ", a type that is not read; save it as float32");
  if (name.empty()) {
    if (names.size() != 1)
      throw usage_error(path + ": holds " + std::to_string(names.size()) + " tensors; say which with 'dataset'");
    name = names.front();
  }
  if (!file.find(name))
    throw data_error(path + ": has no tensor " + in_quotes(name) + did_you_mean(name, names) +
                     (names.size() == 1 ? "; it has " + in_quotes(names.front()) : ""));
  if (file.find(name)->type == dtype::u8 && is_bool(path, name))
    throw data_error(path + ": tensor " + in_quotes(name) + " holds " + no_numbers("BOOL"));
  return file.tensor(name).to(dtype::f64);
}

}  // namespace

npy_file::npy_file(std::string const& path) : file_(mapped_file::open(path)) {
  auto const all = file_->text();
  auto fail = [&](std::size_t at, std::string const& what) {
    throw data_error(path + ": byte " + std::to_string(at) + ": " + what);
  };
  if (!all.starts_with(magic)) fail(0, "this is not a .npy file; write one with numpy.save");
  if (all.size() < 10) fail(all.size(), "the file ends within its header; fetch it again");
  auto const byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(all[i])); };
  std::size_t const major = byte(6), start = major == 1 ? 10 : 12;
  if (major < 1 || major > 3) fail(6, "version " + std::to_string(major) + " of the .npy format is not known");
  if (all.size() < start) fail(all.size(), "the file ends within its header; fetch it again");
  std::size_t length = byte(8) | byte(9) << 8;
  if (major > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > all.size() - start)
    fail(8, "the header claims " + std::to_string(length) + " bytes, more than the file has; fetch it again");
  npy_header h(path, all.substr(start, length), start);
  h.parse();

  auto const* const type = find_type(h.descr);
  if (h.descr == "|b1") fail(start, no_numbers(h.descr));
  if (!type)
    fail(start, "numbers of type " + in_quotes(h.descr) + "; save them little-endian, such as numpy.float32 or numpy.int32");
  type_ = h.descr, shape_ = h.shape, width_ = type->width, header_bytes_ = start + length;
  std::size_t bytes = width_;
  bool too_many = false;
  for (auto const n : shape_) too_many = __builtin_mul_overflow(bytes, n, &bytes) || too_many;
  if (too_many || bytes != all.size() - header_bytes_)
    fail(header_bytes_, std::string(shape_.empty() ? "a single number" : "the shape") +
                            " asks for another number of bytes than the " + std::to_string(all.size() - header_bytes_) +
                            " that follow the header; fetch the file again");
  data_ = file_->bytes().data() + header_bytes_;
}

tensor npy_file::values() const {
  tensor out(dtype::f64, numbered(shape_));
  auto const to = out.values<double>();
  if (auto const read = find_type(type_)->read) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = read(data_ + i * width_);
    return out;
  }
  tensor const half(dtype::f16, numbered(shape_));
  if (half.bytes() != 0) std::memcpy(const_cast<void*>(half.raw()), data_, half.bytes());
  return half.to(dtype::f64);
}

bool is_array_file(std::string_view path, std::string* why) {
  for (std::string_view const ending : {".npy", ".safetensors", ".h5", ".hdf5"})
    if (path.ends_with(ending)) return true;
  if (why != nullptr) {
    *why = "arrays are read from .npy, .safetensors, .h5 and .hdf5 files";
    if (path.ends_with(".npz")) *why += "; save the one array with numpy.save";
    for (std::string_view const ending : {".pt", ".pth", ".bin", ".pkl"})
      if (path.ends_with(ending)) *why += "; a pickle is never opened: save the tensor with numpy.save or safetensors";
  }
  return false;
}

tensor read_array(std::string const& path, std::string const& dataset) {
  std::string why;
  if (!is_array_file(path, &why)) throw usage_error(path + ": " + why);
  if (path.ends_with(".npy")) {
    if (!dataset.empty()) throw usage_error(path + ": a .npy file holds one array, without a name; leave 'dataset' out");
    return npy_file(path).values();
  }
  if (path.ends_with(".safetensors")) return from_safetensors(path, dataset);
  return read_result(path, dataset);
}

}  // namespace wayfarer
