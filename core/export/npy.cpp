// numpy's own format, version 1.0. Texts become "<U": as many UTF-32 characters as the longest has.
#include <algorithm>
#include <cstring>

#include <wayfarer/error.hpp>

#include "export/export.hpp"
#include "report/encode.hpp"

namespace wayfarer::host {

namespace {

std::u32string wide(std::string_view text) {
  std::u32string out;
  std::string const clean = clean_utf8(text);
  for (std::size_t i = 0; i < clean.size();) {
    auto const u = [&](std::size_t k) { return static_cast<char32_t>(static_cast<unsigned char>(clean[i + k])); };
    std::size_t const n = u(0) < 0x80 ? 1 : u(0) < 0xe0 ? 2 : u(0) < 0xf0 ? 3 : 4;
    out += n == 1   ? u(0)
           : n == 2 ? (u(0) & 31) << 6 | (u(1) & 63)
           : n == 3 ? (u(0) & 15) << 12 | (u(1) & 63) << 6 | (u(2) & 63)
                    : (u(0) & 7) << 18 | (u(1) & 63) << 12 | (u(2) & 63) << 6 | (u(3) & 63);
    i += n;
  }
  return out;
}

std::string type_of(dtype t) {
  switch (t) {
    case dtype::f64:
      return "<f8";
    case dtype::f16:
      return "<f2";
    case dtype::i32:
      return "<i4";
    case dtype::i64:
      return "<i8";
    case dtype::u8:
      return "|u1";
    default:
      return "<f4";  // bfloat16, which numpy lacks, widens without loss
  }
}

std::string bytes_of(std::string const& type, dims const& shape, std::string_view values) {
  std::string text = "{'descr': '" + type + "', 'fortran_order': False, 'shape': (";
  for (std::size_t a = 0; a < shape.size(); ++a)
    text += std::to_string(shape[a].size) + (shape.size() == 1 ? "," : a + 1 < shape.size() ? ", " : "");
  text += "), }";
  // Magic, version and length take 10 bytes; all of it a multiple of 64, as numpy has it.
  text.append(63 - (10 + text.size()) % 64, ' ');
  text += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(text.size() & 255);
  out += static_cast<char>(text.size() >> 8);
  return out.append(text).append(values);
}

}  // namespace

std::string npy_table(named_slice const& s) {
  dataset const& d = s.slice.part;
  if (!d.is_text()) {
    tensor const whole = d.values().type() == dtype::bf16 ? d.values().to(dtype::f32) : d.values().to(d.values().type());
    return bytes_of(type_of(whole.type()), d.shape(), {static_cast<char const*>(whole.raw()), whole.bytes()});
  }
  std::vector<std::u32string> texts;
  std::size_t longest = 1;
  for (auto const& t : d.texts()) longest = std::max(longest, texts.emplace_back(wide(t)).size());
  constexpr std::size_t most = std::size_t{1} << 30;
  if (longest > most / sizeof(char32_t) / std::max<std::size_t>(1, texts.size()))
    throw usage_error(
        s.name +
        ": as a .npy file these texts would take more than 1 GiB, since each takes what the longest does; use csv or json");
  std::string values(texts.size() * longest * sizeof(char32_t), '\0');
  for (std::size_t i = 0; i < texts.size(); ++i)
    std::memcpy(values.data() + i * longest * sizeof(char32_t), texts[i].data(), texts[i].size() * sizeof(char32_t));
  return bytes_of("<U" + std::to_string(longest), d.shape(), values);
}

std::vector<export_file> npy_files(export_node const& n) {
  return one_file_each(n, ".npy", npy_table);
}

}  // namespace wayfarer::host
