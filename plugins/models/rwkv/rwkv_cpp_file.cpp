#include "rwkv_cpp_file.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

#include <wayfarer/error.hpp>

namespace wayfarer::rwkv {
namespace {

constexpr std::uint32_t magic = 0x67676d66;
constexpr std::size_t header_bytes = 24, most_dims = 4, longest_name = 256;

std::string shape_text(std::vector<std::size_t> const& shape) {
  std::string out;
  for (auto const n : shape) out += (out.empty() ? "" : " x ") + std::to_string(n);
  return out;
}

/// Sizes of 1 say nothing: files and folders differ in them.
std::vector<std::size_t> squeezed(std::vector<std::size_t> shape) {
  std::erase(shape, std::size_t{1});
  return shape;
}
std::vector<std::size_t> sizes_of(dims const& shape) {
  std::vector<std::size_t> all;
  for (auto const& d : shape) all.push_back(d.size);
  return all;
}

/// How a part is called in such a file, behind "blocks.N." for a layer's; `row`: of a tensor that holds several; -1: it is its
/// own.
struct file_name {
  std::string name;
  int row = -1;
  bool turned = false;  ///< its last two dimensions are the other way round
};

file_name name_in_file(version v, std::string_view part) {
  constexpr std::pair<std::string_view, std::string_view> shared[] = {{"embed", "emb.weight"},
                                                                      {"embed_ln.w", "blocks.0.ln0.weight"},
                                                                      {"embed_ln.b", "blocks.0.ln0.bias"},
                                                                      {"ln1.w", "ln1.weight"},
                                                                      {"ln1.b", "ln1.bias"},
                                                                      {"ln2.w", "ln2.weight"},
                                                                      {"ln2.b", "ln2.bias"},
                                                                      {"k", "att.key.weight"},
                                                                      {"v", "att.value.weight"},
                                                                      {"r", "att.receptance.weight"},
                                                                      {"g", "att.gate.weight"},
                                                                      {"o", "att.output.weight"},
                                                                      {"ln_x.w", "att.ln_x.weight"},
                                                                      {"ln_x.b", "att.ln_x.bias"},
                                                                      {"up", "ffn.key.weight"},
                                                                      {"down", "ffn.value.weight"},
                                                                      {"mlp_r", "ffn.receptance.weight"},
                                                                      {"final.w", "ln_out.weight"},
                                                                      {"final.b", "ln_out.bias"},
                                                                      {"head", "head.weight"}};
  for (auto const& [short_name, name] : shared)
    if (short_name == part) return {std::string(name)};
  constexpr std::pair<std::string_view, std::string_view> seven[] = {
      {"decay_down", "att.w1"}, {"decay_up", "att.w2"},  {"decay", "att.w0"},      {"rate_down", "att.a1"},
      {"rate_up", "att.a2"},    {"rate", "att.a0"},      {"value_down", "att.v1"}, {"value_up", "att.v2"},
      {"value", "att.v0"},      {"gate_down", "att.g1"}, {"gate_up", "att.g2"},    {"k_k", "att.k_k"},
      {"k_a", "att.k_a"},       {"r_k", "att.r_k"},      {"mlp_mix_k", "ffn.x_k"}};
  if (v == version::v7) {
    for (auto const& [short_name, name] : seven)
      if (short_name == part) return {std::string(name)};
    return {"att.x_rwkvag", static_cast<int>(std::string_view("rwkvag").find(part.back()))};
  }
  if (v == version::v6) {
    if (part == "mix_down") return {"att.time_maa_w1", -1, true};
    if (part == "mix_up") return {"att.time_maa_w2", -1, true};
    if (part == "decay_down") return {"att.time_decay_w1", -1, true};
    if (part == "decay_up") return {"att.time_decay_w2", -1, true};
  }
  std::string const mix = v == version::v6 ? "time_maa_" : "time_mix_";
  if (part == "decay") return {"att.time_decay"};
  if (part == "bonus") return {v == version::v4 || v == version::v5_1 ? "att.time_first" : "att.time_faaaa"};
  if (part.starts_with("mlp_mix_")) return {"ffn." + mix + std::string(part.substr(8))};
  return {"att." + mix + std::string(part.substr(4))};
}

std::string full_name(part const& p, file_name const& n, std::size_t layer) {
  return p.of_layer ? "blocks." + std::to_string(layer) + "." + n.name : n.name;
}

}  // namespace

bool rwkv_cpp_file::is_one(std::string const& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  std::ifstream in(path, std::ios::binary);
  std::uint32_t first = 0;
  in.read(reinterpret_cast<char*>(&first), sizeof first);
  return in.gcount() == sizeof first && first == magic;
}

void rwkv_cpp_file::fail(std::string const& what) const {
  throw data_error(path_ + ": " + what);
}

rwkv_cpp_file::rwkv_cpp_file(std::string const& path) : path_(path), file_(mapped_file::open(path)) {
  if (file_->size() < header_bytes) fail("ends within the header of 24 bytes; the file is cut off");
  std::int32_t h[6];
  std::memcpy(h, file_->bytes().data(), sizeof h);
  if (static_cast<std::uint32_t>(h[0]) != magic) fail("does not begin with rwkv.cpp's magic number");
  if (h[1] != 100 && h[1] != 101) fail("is of version " + std::to_string(h[1]) + " of the format; this build reads 100 and 101");
  auto const size = [&](std::int32_t n, std::size_t most, char const* what) {
    if (n < 1 || static_cast<std::size_t>(n) > most)
      fail(std::string(what) + " in the header is " + std::to_string(n) + "; expected 1 to " + std::to_string(most));
    return static_cast<std::size_t>(n);
  };
  vocabulary_ = size(h[2], model_limits::vocabulary, "n_vocab"), d_model_ = size(h[3], model_limits::width, "n_embed");
  layers_ = size(h[4], model_limits::layers, "n_layer");
  for (std::size_t at = header_bytes; at < file_->size();) read_entry(at);
}

void rwkv_cpp_file::read_entry(std::size_t& at) {
  std::size_t const start = at;
  auto const where = [&] { return "the tensor at byte " + std::to_string(start); };
  auto const left = [&] { return file_->size() - at; };
  std::byte const* const bytes = file_->bytes().data();
  std::int32_t h[3];
  if (left() < sizeof h) fail(where() + " ends within its header; the file is cut off");
  std::memcpy(h, bytes + at, sizeof h);
  at += sizeof h;
  if (h[0] < 1 || static_cast<std::size_t>(h[0]) > most_dims)
    fail(where() + " has " + std::to_string(h[0]) + " dimensions; expected 1 to 4");
  if (h[1] < 1 || static_cast<std::size_t>(h[1]) > longest_name)
    fail(where() + " has a name of " + std::to_string(h[1]) + " bytes; expected 1 to 256");
  auto const rank = static_cast<std::size_t>(h[0]), name_bytes = static_cast<std::size_t>(h[1]);
  if (left() < rank * 4 + name_bytes) fail(where() + " ends within its header; the file is cut off");
  entry e;
  std::size_t count = 1;
  for (std::size_t i = 0; i < rank; ++i, at += 4) {
    std::int32_t n = 0;
    std::memcpy(&n, bytes + at, 4);
    if (n < 1 || __builtin_mul_overflow(count, static_cast<std::size_t>(n), &count) || count > (std::size_t{1} << 48))
      fail(where() + " has a dimension of " + std::to_string(n));
    e.shape.insert(e.shape.begin(), static_cast<std::size_t>(n));  // the file has the fastest first
  }
  std::string const name(reinterpret_cast<char const*>(bytes + at), name_bytes);
  at += name_bytes;
  std::string const what = "tensor " + in_quotes(name);
  constexpr std::string_view quantised[] = {"Q4_0", "Q4_1", "", "", "", "Q5_0", "Q5_1", "Q8_0"};
  if (h[2] != 0 && h[2] != 1) {
    auto const kind = h[2] >= 2 && h[2] < 10 ? quantised[h[2] - 2] : std::string_view();
    fail(what + " is of type " + (kind.empty() ? std::to_string(h[2]) : std::string(kind)) +
         "; this build reads FP32 (0) and FP16 (1): convert the checkpoint without quantising it");
  }
  e.type = h[2] == 0 ? dtype::f32 : dtype::f16, e.begin = at;
  if (left() / size_of(e.type) < count) fail(what + " (" + shape_text(e.shape) + ") ends beyond the file; the file is cut off");
  at += count * size_of(e.type);
  if (!entries_.emplace(name, std::move(e)).second) fail(what + " comes twice");
}

rwkv_cpp_file::entry const& rwkv_cpp_file::need(std::string const& name) const {
  auto const found = entries_.find(name);
  if (found == entries_.end()) fail("tensor " + in_quotes(name) + " is missing");
  return found->second;
}

tensor rwkv_cpp_file::read(std::string const& name) const {
  entry const& e = need(name);
  dims shape;
  for (std::size_t i = 0; i < e.shape.size(); ++i) shape.push_back({std::to_string(i), e.shape[i]});
  auto const* const data = file_->bytes().data() + e.begin;
  if (reinterpret_cast<std::uintptr_t>(data) % size_of(e.type) == 0) return tensor::look(e.type, data, shape, file_);
  auto const own = std::make_shared<std::vector<std::byte>>(data, data + element_count(shape) * size_of(e.type));
  return tensor::look(e.type, own->data(), shape, own);
}

spec rwkv_cpp_file::describe() const {
  spec s;
  s.layers = layers_, s.d_model = d_model_, s.vocabulary = vocabulary_;
  std::string const a = "blocks.0.att.";
  s.of = has(a + "x_rwkvag")      ? version::v7
         : has(a + "time_maa_x")  ? version::v6
         : has(a + "gate.weight") ? version::v5_2
         : has(a + "ln_x.weight") ? version::v5_1
                                  : version::v4;
  s.d_attn = need(a + "key.weight").shape.front();
  s.d_mlp = need("blocks.0.ffn.key.weight").shape.front();
  s.d_head = s.d_attn;
  auto const first_of = [&](char const* name) { return need(a + name).shape.front(); };
  if (s.of == version::v5_1) s.heads = squeezed(need(a + "time_decay").shape).empty() ? 1 : first_of("time_decay");
  if (s.of == version::v5_2 || s.of == version::v6) s.heads = first_of("time_faaaa");
  if (s.of == version::v7) s.heads = first_of("r_k");
  if (s.heads == 0 || s.d_attn % s.heads != 0)
    fail(std::to_string(s.heads) + " heads do not divide the " + std::to_string(s.d_attn) + " rows of " +
         in_quotes(a + "key.weight"));
  s.d_head = s.d_attn / s.heads;
  if (s.of != version::v4 && s.d_attn != s.d_model)
    fail("tensor " + in_quotes(a + "key.weight") + " has " + std::to_string(s.d_attn) + " rows, but n_embed is " +
         std::to_string(s.d_model));
  if (s.of == version::v6) {
    s.rank_mix = first_of("time_maa_w1") / 5, s.rank_decay = first_of("time_decay_w1");
    if (s.rank_mix == 0) fail("tensor " + in_quotes(a + "time_maa_w1") + " has fewer than 5 rows");
  }
  if (s.of == version::v7) {
    s.rank_decay = first_of("w1"), s.rank_rate = first_of("a1"), s.rank_gate = first_of("g1");
    s.rank_value = layers_ > 1 ? need("blocks.1.att.v1").shape.front() : 1;
  }
  s.group_epsilon = s.of == version::v6 || s.of == version::v7 ? 64e-5 : 1e-5;
  if (s.of == version::v4) s.decay = stored_as::negative;
  if (s.of == version::v5_1 || s.of == version::v5_2) s.decay = s.bonus = stored_as::value;
  return s;
}

std::map<std::string, tensor> rwkv_cpp_file::tensors(spec const& s) const {
  std::map<std::string, tensor> all;
  auto const put = [&](part const& p, std::size_t layer) {
    file_name const where = name_in_file(s.of, p.name);
    std::string const name = full_name(p, where, layer);
    if (!has(name)) return;  // told of as any missing tensor
    tensor t = read(name);
    std::vector<std::size_t> want = sizes_of(p.shape), is = entries_.at(name).shape;
    if (where.turned) std::swap(want[want.size() - 1], want[want.size() - 2]);
    if (where.row >= 0) want.insert(want.begin(), 6);
    if (squeezed(is) != squeezed(want))
      fail("tensor " + in_quotes(name) + " is " + shape_text(is) + ", but the file's sizes ask for " + shape_text(want));
    if (where.row >= 0) t = t[static_cast<std::size_t>(where.row)];
    dims shape;
    for (std::size_t i = where.row >= 0 ? 1 : 0; i < want.size(); ++i) shape.push_back({std::to_string(i), want[i]});
    t = t.reshaped(shape);
    all[stored_name(p, layer)] = where.turned ? t.transposed().clone() : t;
  };
  for (auto const& p : parts_of(s))
    for (std::size_t i = p.from_layer; i < (p.of_layer ? layers_ : 1); ++i) put(p, i);
  return all;
}

std::vector<std::string> rwkv_cpp_file::unread(spec const& s) const {
  std::set<std::string> known;
  for (auto const& p : parts_of(s))
    for (std::size_t i = 0; i < (p.of_layer ? layers_ : 1); ++i) known.insert(full_name(p, name_in_file(s.of, p.name), i));
  std::vector<std::string> out;
  for (auto const& [name, e] : entries_)
    if (!known.contains(name)) out.push_back(name);
  return out;
}

}  // namespace wayfarer::rwkv
