#include "store/h5.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <new>
#include <string_view>
#include <vector>

#include <hdf5_hl.h>

#include "store/store.hpp"

namespace wayfarer::host {

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

void initialise_store() {
  // Once, and before anything else of HDF5: it would install its exit handler with the first call.
  static bool const done = [] {
    // Switched on there, HDF5's own locks get in the way of ours, which hold until the file has its name. Off is respected.
    if (char const* const wish = std::getenv("HDF5_USE_FILE_LOCKING"))
      if (std::string_view(wish) != "FALSE" && std::string_view(wish) != "0") ::unsetenv("HDF5_USE_FILE_LOCKING");
    H5dont_atexit();
    H5open();
    H5PLset_loading_state(0);
    return true;
  }();
  static_cast<void>(done);
}

namespace h5 {

namespace {

std::recursive_mutex& library_lock() {
  static std::recursive_mutex lock;
  return lock;
}

/// The innermost entry names the cause; the system's own words stand in it as "error message = '...'".
herr_t note_innermost(unsigned, H5E_error2_t const* entry, void* into) noexcept {
  auto& text = *static_cast<std::string*>(into);
  try {
    if (text.empty() && entry->desc) text = entry->desc;
  } catch (...) {  // out of memory: the message stays empty
  }
  return 0;
}

template <class Id>
Id check(Id result, std::string_view what) {
  if (result < 0) fail(what);
  return result;
}

properties make_properties(hid_t kind) {
  return properties(check(H5Pcreate(kind), "making a property list"));
}

/// Where HDF5 puts the texts that it reads: bounded, since crafted entries may all point to one long text.
struct text_arena {
  std::size_t room;
  std::vector<std::unique_ptr<char[]>> pieces;
  bool refused = false;

  static void* allocate(std::size_t bytes, void* self) noexcept {
    auto& arena = *static_cast<text_arena*>(self);
    try {
      if (bytes > arena.room) {
        arena.refused = true;
        return nullptr;
      }
      arena.room -= bytes;
      return arena.pieces.emplace_back(std::make_unique<char[]>(bytes)).get();
    } catch (std::bad_alloc const&) {
      arena.refused = true;
      return nullptr;
    }
  }
  static void free(void*, void*) noexcept {}
};

herr_t keep_first(hid_t, unsigned, hid_t scale, void* into) noexcept {
  // The iteration closes its handle afterwards; a second reference outlives that.
  H5Iinc_ref(scale);
  *static_cast<hid_t*>(into) = scale;
  return 1;
}

herr_t refuse_external(char const*, char const*, char const*, char const*, unsigned*, hid_t, void*) noexcept {
  return -1;
}

}  // namespace

session::session() : lock_(library_lock()) {
  initialise_store();
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

void fail(std::string_view what) {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, note_innermost, &reason);
  H5Eclear2(H5E_DEFAULT);
  constexpr std::string_view system = "error message = '";
  if (auto const at = reason.find(system); at != reason.npos) {
    auto const end = reason.find('\'', at + system.size());
    reason = reason.substr(at + system.size(), end == reason.npos ? end : end - at - system.size());
  }
  throw failure(std::string(what) + (reason.empty() ? "" : ": " + reason));
}

// ---- types and spaces ----

datatype type_of(dtype t) {
  hid_t from = H5T_IEEE_F32LE;
  switch (t) {
    case dtype::f32:
    case dtype::f16:
    case dtype::bf16:
      break;
    case dtype::f64:
      from = H5T_IEEE_F64LE;
      break;
    case dtype::i32:
      from = H5T_STD_I32LE;
      break;
    case dtype::i64:
      from = H5T_STD_I64LE;
      break;
    case dtype::u8:
      from = H5T_STD_U8LE;
      break;
  }
  datatype type(check(H5Tcopy(from), "copying a type"));
  if (t == dtype::f16 || t == dtype::bf16) {
    bool const half = t == dtype::f16;
    check(H5Tset_fields(type.get(), 15, half ? 10 : 7, half ? 5 : 8, 0, half ? 10 : 7), "making a 16-bit type");
    check(H5Tset_size(type.get(), 2), "making a 16-bit type");
    check(H5Tset_ebias(type.get(), half ? 15 : 127), "making a 16-bit type");
  }
  return type;
}

datatype unsigned_type() {
  return datatype(check(H5Tcopy(H5T_STD_U64LE), "copying a type"));
}

datatype text_type() {
  datatype type(check(H5Tcopy(H5T_C_S1), "copying a type"));
  check(H5Tset_size(type.get(), H5T_VARIABLE), "making a text type");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "making a text type");
  return type;
}

dataspace space_of(std::vector<hsize_t> const& sizes) {
  if (sizes.empty()) return dataspace(check(H5Screate(H5S_SCALAR), "making a space"));
  return dataspace(check(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), "making a space"));
}

// ---- writing ----

file create_file(std::string const& path) {
  auto const creation = make_properties(H5P_FILE_CREATE);
  check(H5Pset_obj_track_times(creation.get(), false), "switching time stamps off");
  check(H5Pset_link_creation_order(creation.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), "keeping link order");
  auto const access = make_properties(H5P_FILE_ACCESS);
  check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18), "choosing the file format");
  check(H5Pset_fclose_degree(access.get(), H5F_CLOSE_SEMI), "choosing how to close");
  check(H5Pset_file_locking(access.get(), false, true), "switching locks off");
  return file(check(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), "creating the file"));
}

group create_group(hid_t in, std::string const& name) {
  auto const creation = make_properties(H5P_GROUP_CREATE);
  check(H5Pset_obj_track_times(creation.get(), false), "switching time stamps off");
  check(H5Pset_link_creation_order(creation.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), "keeping link order");
  // Links and attributes stay in the header, where they take a tenth of what a heap and its indexes take.
  check(H5Pset_link_phase_change(creation.get(), 64, 48), "keeping links compact");
  check(H5Pset_attr_phase_change(creation.get(), 64, 48), "keeping attributes compact");
  return group(check(H5Gcreate2(in, name.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), "creating group " + name));
}

dataset create_dataset(hid_t in, std::string const& name, datatype const& type, dataspace const& space,
                       std::vector<hsize_t> const& chunk, bool compress) {
  auto const creation = make_properties(H5P_DATASET_CREATE);
  check(H5Pset_obj_track_times(creation.get(), false), "switching time stamps off");
  check(H5Pset_attr_phase_change(creation.get(), 64, 48), "keeping attributes compact");
  // Everything is written whole, so filling first would only cost time. Texts insist on it.
  if (class_of(type) != H5T_STRING) check(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER), "switching fill values off");
  if (!chunk.empty()) check(H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data()), "choosing chunks");
  // Level 1: higher ones take twice the time for a hundredth of the size.
  if (compress) {
    check(H5Pset_shuffle(creation.get()), "choosing compression");
    check(H5Pset_deflate(creation.get(), 1), "choosing compression");
  }
  return dataset(check(H5Dcreate2(in, name.c_str(), type.get(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                       "creating dataset " + name));
}

void write(dataset const& to, datatype const& memory_type, void const* values) {
  check(H5Dwrite(to.get(), memory_type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values), "writing");
}

void write_rows(dataset const& to, datatype const& memory_type, hsize_t first, hsize_t count, void const* values) {
  auto const space = dataset_space(to.get());
  auto counts = sizes(space);
  std::vector<hsize_t> start(counts.size(), 0);
  start[0] = first, counts[0] = count;
  check(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, counts.data(), nullptr), "choosing rows");
  check(H5Dwrite(to.get(), memory_type.get(), space_of(counts).get(), space.get(), H5P_DEFAULT, values), "writing");
}

void write_attribute(hid_t on, std::string const& name, datatype const& type, void const* value) {
  attribute a(check(H5Acreate2(on, name.c_str(), type.get(), space_of({}).get(), H5P_DEFAULT, H5P_DEFAULT),
                    "creating attribute " + name));
  check(H5Awrite(a.get(), type.get(), value), "writing attribute " + name);
  a.close();
}

void write_attribute(hid_t on, std::string const& name, std::string const& text) {
  char const* const p = text.c_str();
  write_attribute(on, name, text_type(), &p);
}

void rewrite_attribute(hid_t on, std::string const& name, datatype const& type, void const* value) {
  attribute a = open_attribute(on, name);
  check(H5Awrite(a.get(), type.get(), value), "writing attribute " + name);
  a.close();
}

void make_scale(dataset const& d, std::string const& name) {
  check(H5DSset_scale(d.get(), name.c_str()), "making dimension scale " + name);
}

void attach_scale(dataset const& to, dataset const& scale, unsigned axis) {
  check(H5DSattach_scale(to.get(), scale.get(), axis), "attaching a dimension scale");
}

void set_label(dataset const& d, unsigned axis, std::string const& label) {
  check(H5DSset_label(d.get(), axis, label.c_str()), "naming dimension " + label);
}

std::size_t open_objects(file const& f) {
  return static_cast<std::size_t>(check(H5Fget_obj_count(f.get(), H5F_OBJ_ALL | H5F_OBJ_LOCAL), "counting open objects"));
}

// ---- reading ----

file open_file(std::string const& path) {
  auto const access = make_properties(H5P_FILE_ACCESS);
  check(H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG), "choosing how to close");
  return file(check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), "opening"));
}

std::vector<link> links(hid_t in, std::size_t most) {
  H5G_info_t info{};
  check(H5Gget_info(in, &info), "reading a group");
  if (info.nlinks > most)
    throw failure("a group holds " + std::to_string(info.nlinks) + " links; at most " + std::to_string(most) + " are read");
  std::vector<link> out;
  // Files of other programs may not keep the order of creation.
  H5L_info_t first{};
  bool const ordered =
      info.nlinks != 0 && H5Lget_info_by_idx(in, ".", H5_INDEX_CRT_ORDER, H5_ITER_INC, 0, &first, H5P_DEFAULT) >= 0;
  auto const by = ordered ? H5_INDEX_CRT_ORDER : H5_INDEX_NAME;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    std::array<char, 512> name{};
    auto const length =
        check(H5Lget_name_by_idx(in, ".", by, H5_ITER_INC, i, name.data(), name.size(), H5P_DEFAULT), "reading a link");
    if (length == 0 || static_cast<std::size_t>(length) >= name.size()) throw failure("a link's name is empty or too long");
    H5L_info_t about{};
    check(H5Lget_info_by_idx(in, ".", by, H5_ITER_INC, i, &about, H5P_DEFAULT), "reading a link");
    out.push_back({name.data(), about.type == H5L_TYPE_HARD});
  }
  return out;
}

bool has_link(hid_t in, std::string const& name) {
  return check(H5Lexists(in, name.c_str(), H5P_DEFAULT), "looking for " + name) > 0;
}

link get_link(hid_t in, std::string const& name) {
  H5L_info_t about{};
  check(H5Lget_info(in, name.c_str(), &about, H5P_DEFAULT), "reading link " + name);
  return {name, about.type == H5L_TYPE_HARD};
}

object open_object(hid_t in, std::string const& name) {
  auto const access = make_properties(H5P_LINK_ACCESS);
  check(H5Pset_elink_cb(access.get(), refuse_external, nullptr), "refusing external links");
  return object(check(H5Oopen(in, name.c_str(), access.get()), "opening " + name));
}

bool is_group(hid_t id) {
  return H5Iget_type(id) == H5I_GROUP;
}
bool is_dataset(hid_t id) {
  return H5Iget_type(id) == H5I_DATASET;
}

bool has_attribute(hid_t on, std::string const& name) {
  return check(H5Aexists(on, name.c_str()), "looking for attribute " + name) > 0;
}

attribute open_attribute(hid_t on, std::string const& name) {
  return attribute(check(H5Aopen(on, name.c_str(), H5P_DEFAULT), "opening attribute " + name));
}

datatype attribute_type(attribute const& a) {
  return datatype(check(H5Aget_type(a.get()), "reading an attribute's type"));
}
dataspace attribute_space(attribute const& a) {
  return dataspace(check(H5Aget_space(a.get()), "reading an attribute's size"));
}
void read(attribute const& a, datatype const& memory_type, void* into) {
  check(H5Aread(a.get(), memory_type.get(), into), "reading an attribute");
}

datatype dataset_type(hid_t d) {
  return datatype(check(H5Dget_type(d), "reading a type"));
}
dataspace dataset_space(hid_t d) {
  return dataspace(check(H5Dget_space(d), "reading a shape"));
}
properties creation_properties(hid_t d) {
  return properties(check(H5Dget_create_plist(d), "reading a layout"));
}

std::vector<hsize_t> sizes(dataspace const& s) {
  int const rank = check(H5Sget_simple_extent_ndims(s.get()), "reading a rank");
  std::vector<hsize_t> out(static_cast<std::size_t>(rank));
  if (rank > 0) check(H5Sget_simple_extent_dims(s.get(), out.data(), nullptr), "reading a shape");
  return out;
}

bool is_simple(dataspace const& s) {
  auto const kind = H5Sget_simple_extent_type(s.get());
  return kind == H5S_SCALAR || kind == H5S_SIMPLE;
}

H5T_class_t class_of(datatype const& t) {
  return H5Tget_class(t.get());
}
std::size_t size_of(datatype const& t) {
  return H5Tget_size(t.get());
}
bool is_variable_text(datatype const& t) {
  return class_of(t) == H5T_STRING && check(H5Tis_variable_str(t.get()), "reading a type") > 0;
}
bool equal(datatype const& a, datatype const& b) {
  return check(H5Tequal(a.get(), b.get()), "comparing types") > 0;
}
H5D_layout_t layout(properties const& p) {
  return H5Pget_layout(p.get());
}
int external_files(properties const& p) {
  return check(H5Pget_external_count(p.get()), "reading a layout");
}
bool unfiltered(properties const& p) {
  return check(H5Pget_nfilters(p.get()), "reading a layout") == 0;
}

static std::vector<H5Z_filter_t> filters_of(properties const& p) {
  std::vector<H5Z_filter_t> all;
  int const count = check(H5Pget_nfilters(p.get()), "reading a layout");
  for (int i = 0; i < count; ++i) {
    std::array<unsigned, 8> values{};
    std::size_t size = values.size();
    unsigned flags = 0, config = 0;
    all.push_back(check(H5Pget_filter2(p.get(), static_cast<unsigned>(i), &flags, &size, values.data(), 0, nullptr, &config),
                        "reading a layout"));
  }
  return all;
}

bool shuffled_and_deflated(properties const& p) {
  return filters_of(p) == std::vector<H5Z_filter_t>{H5Z_FILTER_SHUFFLE, H5Z_FILTER_DEFLATE};
}

bool shuffled_or_deflated(properties const& p) {
  auto const all = filters_of(p);
  return !all.empty() &&
         std::all_of(all.begin(), all.end(), [](H5Z_filter_t f) { return f == H5Z_FILTER_SHUFFLE || f == H5Z_FILTER_DEFLATE; });
}

bool all_chunks(hid_t d, properties const& p, std::vector<hsize_t> const& whole) {
  std::vector<hsize_t> chunk(whole.size());
  if (check(H5Pget_chunk(p.get(), static_cast<int>(chunk.size()), chunk.data()), "reading a layout") !=
      static_cast<int>(chunk.size()))
    return false;
  hsize_t wanted = 1, found = 0;
  for (std::size_t a = 0; a < whole.size(); ++a) wanted *= (whole[a] + chunk[a] - 1) / chunk[a];  // no more than elements
  check(H5Dget_num_chunks(d, dataset_space(d).get(), &found), "counting chunks");
  return found == wanted;
}
hsize_t stored_bytes(hid_t d) {
  return H5Dget_storage_size(d);
}

namespace {

/// The spaces that H5Dread takes for a block, or H5S_ALL twice.
struct selection {
  dataspace in_file, in_memory;

  selection(hid_t d, block const& b) {
    if (b.count.empty()) return;
    in_file = dataset_space(d);
    in_memory = space_of(b.count);
    check(H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, b.start.data(), nullptr, b.count.data(), nullptr),
          "choosing a part");
  }
  hid_t file() const noexcept { return in_file ? in_file.get() : H5S_ALL; }
  hid_t memory() const noexcept { return in_memory ? in_memory.get() : H5S_ALL; }
};

}  // namespace

void read(hid_t d, datatype const& memory_type, void* into, block const& b) {
  selection const part(d, b);
  check(H5Dread(d, memory_type.get(), part.memory(), part.file(), H5P_DEFAULT, into), "reading");
}

std::vector<std::string> read_texts(hid_t d, std::size_t count, std::size_t most_bytes, block const& b) {
  selection const part(d, b);
  text_arena arena{most_bytes, {}};
  auto const transfer = make_properties(H5P_DATASET_XFER);
  check(H5Pset_vlen_mem_manager(transfer.get(), text_arena::allocate, &arena, text_arena::free, nullptr),
        "choosing memory for texts");
  std::vector<char*> texts(count);
  auto const type = text_type();
  if (H5Dread(d, type.get(), part.memory(), part.file(), transfer.get(), texts.data()) < 0) {
    if (arena.refused) throw failure("its texts take more memory than a file of that size may need");
    fail("reading texts");
  }
  std::vector<std::string> out;
  out.reserve(count);
  for (char const* t : texts) out.emplace_back(t ? t : "");
  return out;
}

std::string read_text(attribute const& a) {
  char* text = nullptr;
  auto const type = text_type();
  check(H5Aread(a.get(), type.get(), static_cast<void*>(&text)), "reading an attribute");
  std::unique_ptr<char, decltype([](char* p) { H5free_memory(p); })> const owned(text);
  return text ? text : "";
}

bool is_scale(hid_t d) {
  return check(H5DSis_scale(d), "looking for dimension scales") > 0;
}

std::string get_label(hid_t d, unsigned axis) {
  std::array<char, 512> text{};
  auto const length = check(H5DSget_label(d, axis, text.data(), text.size()), "reading a dimension's name");
  if (static_cast<std::size_t>(length) >= text.size()) throw failure("a dimension's name is too long");
  return text.data();
}

object attached_scale(hid_t d, unsigned axis) {
  if (H5DSget_num_scales(d, axis) <= 0) {
    H5Eclear2(H5E_DEFAULT);
    return {};
  }
  hid_t found = H5I_INVALID_HID;
  check(H5DSiterate_scales(d, axis, nullptr, keep_first, &found), "reading a dimension scale");
  return object(found);
}

}  // namespace h5
}  // namespace wayfarer::host
