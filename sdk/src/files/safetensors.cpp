#include <wayfarer/safetensors.hpp>

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and is used in place");

namespace {

constexpr std::size_t max_header = 100'000'000, max_tensors = 1'000'000, max_rank = 16, max_name = 512, max_shards = 4096;
constexpr std::string_view metadata_key = "__metadata__";

struct type_name {
  std::string_view name;
  wayfarer::dtype type;
};
// What is written for a type is its first row.
constexpr std::array type_names = {type_name{"F32", dtype::f32},   type_name{"F64", dtype::f64}, type_name{"F16", dtype::f16},
                                   type_name{"BF16", dtype::bf16}, type_name{"I32", dtype::i32}, type_name{"I64", dtype::i64},
                                   type_name{"U8", dtype::u8},     type_name{"BOOL", dtype::u8}};

/// Types of the format that are not read, with the bits of an element.
struct foreign_type {
  std::string_view name;
  std::size_t bits;
};
constexpr std::array foreign_types = {foreign_type{"I8", 8},          foreign_type{"I16", 16},       foreign_type{"U16", 16},
                                      foreign_type{"U32", 32},        foreign_type{"U64", 64},       foreign_type{"C64", 64},
                                      foreign_type{"F8_E4M3", 8},     foreign_type{"F8_E5M2", 8},    foreign_type{"F8_E8M0", 8},
                                      foreign_type{"F4", 4},          foreign_type{"F6_E2M3", 6},    foreign_type{"F6_E3M2", 6},
                                      foreign_type{"F8_E4M3FNUZ", 8}, foreign_type{"F8_E5M2FNUZ", 8}};

bool legal_name(std::string_view name) {
  return !name.empty() && name.size() <= max_name &&
         std::none_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

/// What the file is if it isn't safetensors, for the commonest mix-ups. Asked only after a check has failed: a header of 640
/// bytes makes a legal file begin like a pickle.
std::string_view mistaken_for(std::string_view start) {
  auto const pickle = [&] { return start.size() >= 2 && start[0] == '\x80' && start[1] >= 0 && start[1] <= 5; };
  if (start.starts_with("PK\x03\x04") || pickle())
    return "is a pickle, which could run code when it is read; convert it with Python: safetensors.torch.save_file("
           "torch.load(FILE, weights_only=True), \"model.safetensors\")";
  if (start.starts_with("version https://git-lfs")) return "is a Git LFS pointer, not the file itself; get it with: git lfs pull";
  if (start.starts_with("\x89HDF\r\n")) return "is an HDF5 file, not a safetensors file";
  if (start.starts_with("GGUF")) return "is a GGUF file, not a safetensors file";
  return {};
}

/// Bits of a tensor, or nothing on overflow: of the sizes that are not 0, since strides are made from those alone.
std::optional<std::size_t> checked_bits(std::span<std::size_t const> shape, std::size_t element_bits) {
  std::ptrdiff_t bits = static_cast<std::ptrdiff_t>(element_bits);
  bool empty = false;
  for (std::size_t s : shape) {
    if (s == 0)
      empty = true;
    else if (__builtin_mul_overflow(bits, s, &bits))
      return std::nullopt;
  }
  return empty ? 0 : static_cast<std::size_t>(bits);
}

/// An entry as it stands in the header; `foreign` is the name of a type that is not read, else empty.
struct read_result {
  safetensors_entry entry;
  std::string foreign;
};

read_result read_entry(std::string const& name, json_value const& v, std::size_t data_bytes) {
  if (!legal_name(name)) v.fail("tensor names are 1 to 512 bytes long, without control characters");
  read_result out;
  safetensors_entry& entry = out.entry;
  entry.name = name;
  for (auto const& [key, value] : v.members())
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      value.fail("unknown field; a tensor has dtype, shape and data_offsets");

  json_value const type = v.at("dtype");
  auto const known = std::find_if(type_names.begin(), type_names.end(), [&](type_name t) { return t.name == type.as_string(); });
  std::size_t bits = 0;
  if (known != type_names.end()) {
    entry.type = known->type;
    bits = 8 * size_of(entry.type);
  } else {
    auto const other =
        std::find_if(foreign_types.begin(), foreign_types.end(), [&](foreign_type t) { return t.name == type.as_string(); });
    if (other == foreign_types.end())
      type.fail("type " + in_quotes(type.as_string()) + " is not supported; F64, F32, F16, BF16, I64, I32, U8 and BOOL are");
    out.foreign = other->name;
    bits = other->bits;
  }

  json_value const shape = v.at("shape");
  for (json_value size : shape.elements()) {
    if (entry.shape.size() == max_rank) shape.fail("more than " + std::to_string(max_rank) + " dimensions");
    entry.shape.push_back(size.as_unsigned(std::numeric_limits<std::int64_t>::max()));
  }

  json_value const offsets = v.at("data_offsets");
  if (offsets.kind() != json_kind::array || offsets.size() != 2) offsets.fail("expected [begin, end]");
  entry.begin = offsets.at(0).as_unsigned(data_bytes);
  entry.end = offsets.at(1).as_unsigned(data_bytes);
  if (entry.end < entry.begin) offsets.fail("end is before begin");

  auto const all = checked_bits(entry.shape, bits);
  if (!all) shape.fail("number of bytes overflows 64 bits");
  if (*all % 8 != 0) shape.fail("its elements do not fill whole bytes");
  if (*all / 8 != entry.end - entry.begin)
    v.fail("dtype and shape make " + std::to_string(*all / 8) + " bytes, data_offsets " +
           std::to_string(entry.end - entry.begin));
  return out;
}

std::map<std::string, std::string> read_metadata(json_value const& v) {
  std::map<std::string, std::string> out;
  for (auto const& [key, value] : v.members()) out.emplace(key, value.as_string());
  return out;
}

}  // namespace

// ---- one file ----

struct safetensors_file::contents {
  std::string path;
  std::shared_ptr<void const> keep;
  std::span<std::byte const> data;
  std::vector<safetensors_entry> entries;
  std::vector<foreign_tensor> foreign;
  std::unordered_map<std::string_view, std::size_t> by_name;  // views of the entries' names
  std::map<std::string, std::string> metadata;
};

namespace {

/// The header's text, with its bounds checked.
std::string_view header_of(std::string_view text, std::string const& path) {
  auto const refuse = [&](std::string const& why) {
    std::string_view const other = mistaken_for(text.substr(0, 64));
    throw data_error(path + ": " + (other.empty() ? "not a safetensors file: " + why : std::string(other)));
  };
  if (text.size() < 8) refuse("it has " + std::to_string(text.size()) + " bytes, the length of its header alone takes 8");
  std::uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  if (length > max_header)
    refuse("a header of " + std::to_string(length) + " bytes; at most " + std::to_string(max_header) + " are read");
  if (length > text.size() - 8)
    refuse("its header should have " + std::to_string(length) + " bytes, but only " + std::to_string(text.size() - 8) +
           " follow (truncated?)");
  std::string_view const header = text.substr(8, length);
  if (!header.starts_with('{')) refuse("its header doesn't begin with '{'");
  return header;
}

/// Every byte of the data belongs to exactly one tensor: nothing can hide between them or behind them. Returns where the last
/// one ends.
std::size_t end_of_tensors(std::vector<safetensors_entry const*> order, json_value const& root) {
  std::sort(order.begin(), order.end(),
            [](auto const* a, auto const* b) { return std::pair(a->begin, a->end) < std::pair(b->begin, b->end); });
  std::size_t reached = 0;
  for (safetensors_entry const* e : order) {
    if (e->begin != reached)
      root.at(e->name).fail("data begins at byte " + std::to_string(e->begin) + " of the data, where " + std::to_string(reached) +
                            (e->begin < reached ? " is next: overlaps another tensor" : " is next: leaves a hole"));
    reached = e->end;
  }
  return reached;
}

}  // namespace

safetensors_file safetensors_file::view(std::span<std::byte const> bytes, std::string name, std::shared_ptr<void const> keep) {
  auto c = std::make_shared<contents>();
  c->path = std::move(name);
  c->keep = std::move(keep);
  std::string_view const header = header_of({reinterpret_cast<char const*>(bytes.data()), bytes.size()}, c->path);
  std::size_t const begin = 8 + header.size();
  c->data = bytes.subspan(begin);

  // A tensor takes at least 50 bytes for 6 values, and 2 bytes more for a dimension.
  json_limits const limits{max_header, 3, 1024 + header.size() / 5};
  json_value const root = parse_json(header, c->path + " (header)", limits);
  if (root.size() > max_tensors + 1) root.fail("more than " + std::to_string(max_tensors) + " tensors");
  c->entries.reserve(root.size());
  std::vector<safetensors_entry> unread;
  for (auto const& [key, value] : root.members()) {
    if (key == metadata_key) {
      c->metadata = read_metadata(value);
      continue;
    }
    read_result one = read_entry(key, value, c->data.size());
    if (one.foreign.empty()) {
      c->entries.push_back(std::move(one.entry));
    } else {
      c->foreign.push_back({one.entry.name, std::move(one.foreign)});
      unread.push_back(std::move(one.entry));
    }
  }

  std::vector<safetensors_entry const*> all;
  for (safetensors_entry const& e : c->entries) all.push_back(&e);
  for (safetensors_entry const& e : unread) all.push_back(&e);
  if (std::size_t const reached = end_of_tensors(std::move(all), root); reached != c->data.size())
    throw data_error(c->path + ": " + std::to_string(c->data.size() - reached) +
                     " bytes follow the last tensor, which ends at byte " + std::to_string(begin + reached));

  for (std::size_t i = 0; i < c->entries.size(); ++i) c->by_name.emplace(c->entries[i].name, i);
  return safetensors_file(std::move(c));
}

safetensors_file safetensors_file::open(std::string const& path) {
  auto const file = mapped_file::open(path);
  safetensors_file result = view(file->bytes(), path, file);
  file->check_unchanged();
  return result;
}

std::string const& safetensors_file::path() const noexcept {
  return contents_->path;
}
std::span<safetensors_entry const> safetensors_file::entries() const noexcept {
  return contents_->entries;
}
std::span<foreign_tensor const> safetensors_file::foreign() const noexcept {
  return contents_->foreign;
}
std::map<std::string, std::string> const& safetensors_file::metadata() const noexcept {
  return contents_->metadata;
}

std::vector<std::string> safetensors_file::names() const {
  std::vector<std::string> out;
  for (safetensors_entry const& e : contents_->entries) out.push_back(e.name);
  return out;
}

safetensors_entry const* safetensors_file::find(std::string_view name) const noexcept {
  auto const found = contents_->by_name.find(name);
  return found == contents_->by_name.end() ? nullptr : &contents_->entries[found->second];
}

tensor safetensors_file::tensor(std::string_view name, std::vector<std::string> const& dim_names) const {
  safetensors_entry const* const e = find(name);
  auto const fail = [&](std::string const& why) { throw data_error(contents_->path + ": " + why); };
  if (!e) {
    for (foreign_tensor const& f : contents_->foreign)
      if (f.name == name) fail("tensor " + in_quotes(name) + " is of type " + f.type + ", which is not read");
    fail("no tensor " + in_quotes(name) + " among its " + std::to_string(contents_->entries.size()));
  }
  constexpr std::size_t most = tensor_view<float>::max_rank;
  if (e->shape.size() > most)
    fail(in_quotes(name) + " has " + std::to_string(e->shape.size()) + " dimensions; at most " + std::to_string(most) +
         " are supported");
  if (!dim_names.empty() && dim_names.size() != e->shape.size())
    fail(in_quotes(name) + " has " + std::to_string(e->shape.size()) + " dimensions, not " + std::to_string(dim_names.size()));

  dims d;
  for (std::size_t i = 0; i < e->shape.size(); ++i)
    d.push_back({dim_names.empty() ? std::to_string(i) : dim_names[i], e->shape[i]});

  std::span<std::byte const> const bytes = contents_->data.subspan(e->begin, e->end - e->begin);
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % size_of(e->type) == 0)
    return wayfarer::tensor::look(e->type, bytes.data(), std::move(d), contents_->keep);
  // Legal: the format aligns nothing but the header. operator new[] aligns for every type.
  std::shared_ptr<std::byte[]> const copy(new std::byte[std::max<std::size_t>(bytes.size(), 1)]);
  std::copy(bytes.begin(), bytes.end(), copy.get());
  return wayfarer::tensor::look(e->type, copy.get(), std::move(d), copy);
}

// ---- many files ----

struct checkpoint::contents {
  std::string path;
  std::vector<std::string> files;
  std::vector<safetensors_file> shards;
  std::vector<std::string> names;
  std::vector<foreign_tensor> foreign;
  std::unordered_map<std::string_view, std::size_t> shard_of;  // views of the shards' entries and foreign tensors
};

namespace {

bool exists(std::string const& path) {
  struct stat s {};
  return ::stat(path.c_str(), &s) == 0;
}

bool is_folder(std::string const& path) {
  struct stat s {};
  return ::stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode);
}

/// "; it holds adapter_model.safetensors: give that file as the path" where a folder has weights under another name.
std::string what_lies_in(std::string const& folder) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  std::vector<std::string> names;
  for (auto const& entry : fs::directory_iterator(folder, ignored))
    if (std::string name = entry.path().filename().string(); name.ends_with(".safetensors")) names.push_back(std::move(name));
  if (names.empty()) return {};
  std::sort(names.begin(), names.end());
  std::string all;
  for (std::size_t i = 0; i < names.size() && i < 4; ++i) all += (i ? ", " : "") + in_quotes(names[i]);
  return "; it holds " + all + (names.size() > 4 ? " and more" : "") + ": give such a file itself as the path";
}

bool plain_shard_name(std::string_view name) {
  return legal_name(name) && name.size() <= 255 && name[0] != '.' && name.find_first_of("/\\") == name.npos &&
         name.ends_with(".safetensors");
}

/// The files that the index of a sharded checkpoint names, each once.
std::vector<std::string> shard_names_of(json_value const& weight_map) {
  std::vector<std::string> names;
  std::unordered_set<std::string_view> seen;
  for (auto const& [name, shard] : weight_map.members()) {
    std::string const& file = shard.as_string();
    if (!plain_shard_name(file))
      shard.fail("expected the name of a .safetensors file in the same folder, got " + in_quotes(file));
    if (!seen.insert(file).second) continue;
    if (names.size() == max_shards) weight_map.fail("more than " + std::to_string(max_shards) + " files");
    names.push_back(file);
  }
  return names;
}

/// A folder without weights: says what it has instead.
[[noreturn]] void refuse_folder(std::string const& path, std::string const& folder) {
  for (char const* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json", "model.ckpt", "consolidated.00.pth"})
    if (exists(folder + pickle)) throw data_error(folder + pickle + ": " + std::string(mistaken_for("PK\x03\x04")));
  for (auto const& [file, maker] : {std::pair{"tf_model.h5", "TensorFlow"}, std::pair{"flax_model.msgpack", "Flax"}})
    if (exists(folder + file))
      throw data_error(folder + file + ": is a file of " + maker +
                       "; convert it with transformers: from_pretrained, then save_pretrained(FOLDER)");
  throw data_error(path + ": no model.safetensors and no model.safetensors.index.json in this folder" + what_lies_in(path));
}

}  // namespace

checkpoint open_checkpoint(std::string const& path) {
  auto c = std::make_shared<checkpoint::contents>();
  c->path = path;
  std::string const folder = path + (path.ends_with('/') ? "" : "/"), index_path = folder + "model.safetensors.index.json";
  std::optional<json_value> weight_map;
  std::vector<std::string> shard_names;

  if (!is_folder(path)) {
    c->files.push_back(path);
  } else if (exists(folder + "model.safetensors")) {
    c->files.push_back(folder + "model.safetensors");
  } else if (exists(index_path)) {
    weight_map = read_json(index_path, {std::size_t{64} << 20, 16, 2'000'000}).at("weight_map");
    shard_names = shard_names_of(*weight_map);
    for (auto const& file : shard_names) c->files.push_back(folder + file);
  } else {
    refuse_folder(path, folder);
  }

  for (std::string const& file : c->files) c->shards.push_back(safetensors_file::open(file));
  for (std::size_t i = 0; i < c->shards.size(); ++i) {
    auto const enter = [&](std::string const& name) {
      if (auto const [at, fresh] = c->shard_of.emplace(name, i); !fresh)
        throw data_error(c->files[i] + ": tensor " + in_quotes(name) + " is also in " + c->files[at->second]);
      if (!weight_map) return;
      auto const listed = weight_map->find(name);
      if (!listed) throw data_error(c->files[i] + ": tensor " + in_quotes(name) + " is not in the index " + index_path);
      if (listed->as_string() != shard_names[i]) listed->fail("tensor is in " + in_quotes(shard_names[i]) + " instead");
    };
    for (safetensors_entry const& e : c->shards[i].entries()) {
      enter(e.name);
      if (!weight_map) c->names.push_back(e.name);
    }
    for (foreign_tensor const& f : c->shards[i].foreign()) {
      enter(f.name);
      c->foreign.push_back(f);
    }
  }
  if (weight_map) {
    for (auto const& [name, shard] : weight_map->members()) {
      auto const at = c->shard_of.find(name);
      if (at == c->shard_of.end()) shard.fail("no such tensor in " + in_quotes(shard.as_string()));
      if (c->shards[at->second].find(name)) c->names.push_back(name);
    }
    c->files.push_back(index_path);
  }
  return checkpoint(std::move(c));
}

std::string const& checkpoint::path() const noexcept {
  return contents_->path;
}
std::vector<std::string> const& checkpoint::files() const noexcept {
  return contents_->files;
}
std::vector<std::string> checkpoint::names() const {
  return contents_->names;
}
std::vector<foreign_tensor> const& checkpoint::foreign() const noexcept {
  return contents_->foreign;
}

safetensors_entry const* checkpoint::find(std::string_view name) const noexcept {
  auto const found = contents_->shard_of.find(name);
  return found == contents_->shard_of.end() ? nullptr : contents_->shards[found->second].find(name);
}

tensor checkpoint::tensor(std::string_view name, std::vector<std::string> const& dim_names) const {
  auto const found = contents_->shard_of.find(name);
  if (found == contents_->shard_of.end())
    throw data_error(contents_->path + ": no tensor " + in_quotes(name) + " among its " +
                     std::to_string(contents_->names.size()));
  return contents_->shards[found->second].tensor(name, dim_names);
}

std::map<std::string, std::string> const& checkpoint::metadata() const noexcept {
  static std::map<std::string, std::string> const none;
  return contents_->shards.empty() ? none : contents_->shards.front().metadata();
}

// ---- writing ----

namespace {

/// Gives a file's bytes to `put`, piece by piece, once all is found in order.
void put_safetensors(std::string const& path, std::span<std::pair<std::string, tensor> const> tensors,
                     std::map<std::string, std::string> const& metadata,
                     std::function<void(std::span<std::byte const>)> const& put) {
  auto const fail = [&](std::string const& why) { throw data_error(path + ": can't write: " + why); };
  if (tensors.size() > max_tensors) fail("more than " + std::to_string(max_tensors) + " tensors");

  // Larger elements first: each tensor then begins at a multiple of its element size.
  std::vector<std::size_t> layout(tensors.size()), begin(tensors.size());
  std::iota(layout.begin(), layout.end(), std::size_t{0});
  std::stable_sort(layout.begin(), layout.end(), [&](std::size_t a, std::size_t b) {
    return size_of(tensors[a].second.type()) > size_of(tensors[b].second.type());
  });
  std::size_t reached = 0;
  for (std::size_t i : layout) {
    begin[i] = reached;
    reached += tensors[i].second.bytes();
  }

  std::string header = "{";
  if (!metadata.empty()) {
    auto all = json_value::object();
    for (auto const& [key, value] : metadata) all.set(key, value);
    header += to_json(std::string_view(metadata_key)) + ":" + to_json(all);
  }
  std::unordered_set<std::string_view> seen;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    auto const& [name, t] = tensors[i];
    if (!legal_name(name) || !is_utf8(name) || name == metadata_key) fail(in_quotes(name) + " can't be the name of a tensor");
    if (!seen.insert(name).second) fail("two tensors are called " + in_quotes(name));
    if (!t.defined()) fail("tensor " + in_quotes(name) + " is empty: it was never given a shape");
    auto shape = json_value::array();
    for (dim const& d : t.shape()) shape.push_back(d.size);
    auto const type =
        std::find_if(type_names.begin(), type_names.end(), [type = t.type()](type_name n) { return n.type == type; });
    if (header.size() > 1) header += ',';
    header +=
        to_json(name) + ":" +
        to_json(json_value::object(
            {{"dtype", type->name}, {"shape", shape}, {"data_offsets", json_value::array({begin[i], begin[i] + t.bytes()})}}));
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  if (header.size() > max_header) fail("its header would have " + std::to_string(header.size()) + " bytes");

  std::uint64_t const length = header.size();
  put(std::as_bytes(std::span(&length, 1)));
  put(std::as_bytes(std::span(header)));
  for (std::size_t i : layout) {
    tensor const whole = tensors[i].second.contiguous() ? tensors[i].second : tensors[i].second.clone();
    put(std::span(static_cast<std::byte const*>(whole.raw()), whole.bytes()));
  }
}

}  // namespace

void write_safetensors(std::string const& path, std::span<std::pair<std::string, tensor> const> tensors,
                       std::map<std::string, std::string> const& metadata) {
  std::optional<atomic_file> file;
  put_safetensors(path, tensors, metadata, [&](std::span<std::byte const> bytes) {
    if (!file) file.emplace(path);
    file->write(bytes);
  });
  file->commit();
}

std::string safetensors_bytes(std::string const& name, std::span<std::pair<std::string, tensor> const> tensors,
                              std::map<std::string, std::string> const& metadata) {
  std::string out;
  put_safetensors(name, tensors, metadata, [&](std::span<std::byte const> bytes) {
    out.append(reinterpret_cast<char const*>(bytes.data()), bytes.size());
  });
  return out;
}

}  // namespace wayfarer
