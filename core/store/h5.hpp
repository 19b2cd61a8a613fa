// A thin layer over HDF5's C library: handles that close themselves, and one checked function for each call that the store uses.
//
// Only the store includes this. Every function throws `failure` with HDF5's own message. The caller holds a `session`: HDF5
// is one critical section, its high-level part (dimension scales) takes no lock, and error printing is switched off for each
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hdf5.h>

#include <wayfarer/tensor.hpp>

namespace wayfarer::host::h5 {

/// What HDF5 said; the writer makes a resource_error of it, the reader a data_error.
class failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The right to call HDF5. Nested sessions of one thread are allowed.
class session {
 public:
  session();

 private:
  std::unique_lock<std::recursive_mutex> lock_;
};

/// Throws `failure` "what: HDF5's reason" from the current error stack.
[[noreturn]] void fail(std::string_view what);

/// Owns one identifier. The destructor can't report a failed close, so call `close` after writing through a handle.
template <auto Close>
class handle {
 public:
  handle() = default;
  explicit handle(hid_t id) noexcept : id_(id) {}
  handle(handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  handle& operator=(handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~handle() {
    if (id_ >= 0) Close(id_);
  }
  hid_t get() const noexcept { return id_; }
  explicit operator bool() const noexcept { return id_ >= 0; }
  void close() {
    if (id_ >= 0 && Close(std::exchange(id_, H5I_INVALID_HID)) < 0) fail("closing");
  }

 private:
  hid_t id_ = H5I_INVALID_HID;
};

using file = handle<H5Fclose>;
using group = handle<H5Gclose>;
using dataset = handle<H5Dclose>;
using attribute = handle<H5Aclose>;
using datatype = handle<H5Tclose>;
using dataspace = handle<H5Sclose>;
using properties = handle<H5Pclose>;
using object = handle<H5Oclose>;

// ---- types and spaces ----

/// 16-bit numbers are stored as what they are: IEEE half, and bfloat16 as a float of 8 exponent and 7 fraction bits.
datatype type_of(dtype);
/// 64 bits without a sign, which no tensor holds.
datatype unsigned_type();
/// Variable-length UTF-8 text.
datatype text_type();
/// Rank 0 without sizes.
dataspace space_of(std::vector<hsize_t> const& sizes);

// ---- writing ----

/// Makes a file, in place of the one there, in the 1.8 format, without time stamps, and with links kept in the order of creation.
/// HDF5 takes no lock: the caller has one.
file create_file(std::string const& path);
group create_group(hid_t in, std::string const& name);
/// `chunk` empty: one contiguous piece. `compress`, of chunks only: byte shuffle and deflate.
dataset create_dataset(hid_t in, std::string const& name, datatype const&, dataspace const&,
                       std::vector<hsize_t> const& chunk = {}, bool compress = false);
/// Rows [first, first + count) of the first dimension.
void write_rows(dataset const&, datatype const& memory_type, hsize_t first, hsize_t count, void const* values);
void write(dataset const&, datatype const& memory_type, void const* values);
void write_attribute(hid_t on, std::string const& name, datatype const&, void const* value);
void write_attribute(hid_t on, std::string const& name, std::string const& text);
/// Writes the value of an attribute that is there already.
void rewrite_attribute(hid_t on, std::string const& name, datatype const&, void const* value);
void make_scale(dataset const&, std::string const& name);
void attach_scale(dataset const& to, dataset const& scale, unsigned axis);
void set_label(dataset const&, unsigned axis, std::string const& label);
/// Identifiers of the file that are open, the file's own included.
std::size_t open_objects(file const&);

// ---- reading ----

/// Opens for reading. Links that lead out of the file are not followed.
file open_file(std::string const& path);
struct link {
  std::string name;
  bool hard = false;
};
/// The links of a group in the order of creation, or by name where the file does not keep that order. Throws `failure` for more
/// than `most`.
std::vector<link> links(hid_t in, std::size_t most);
bool has_link(hid_t in, std::string const& name);
link get_link(hid_t in, std::string const& name);
object open_object(hid_t in, std::string const& name);
bool is_group(hid_t);
bool is_dataset(hid_t);

bool has_attribute(hid_t on, std::string const& name);
attribute open_attribute(hid_t on, std::string const& name);
datatype attribute_type(attribute const&);
dataspace attribute_space(attribute const&);
void read(attribute const&, datatype const& memory_type, void* into);
datatype dataset_type(hid_t);
dataspace dataset_space(hid_t);
properties creation_properties(hid_t);
std::vector<hsize_t> sizes(dataspace const&);
bool is_simple(dataspace const&);
H5T_class_t class_of(datatype const&);
std::size_t size_of(datatype const&);
bool is_variable_text(datatype const&);
bool equal(datatype const&, datatype const&);
H5D_layout_t layout(properties const&);
int external_files(properties const&);
/// Whether values are stored as they are.
bool unfiltered(properties const&);
/// Whether they go through byte shuffle and deflate, and nothing else.
bool shuffled_and_deflated(properties const&);
/// Whether they go through byte shuffle, deflate or both, and nothing else.
bool shuffled_or_deflated(properties const&);
/// Whether every chunk of the dataset was written.
bool all_chunks(hid_t, properties const&, std::vector<hsize_t> const& sizes);
hsize_t stored_bytes(hid_t);
/// A block of a dataset; `start` and `count` empty: all of it.
struct block {
  std::vector<hsize_t> start, count;
};
void read(hid_t from, datatype const& memory_type, void* into, block const& = {});
/// The variable-length texts of a dataset, or of a block of it, of `count` elements. Throws `failure` if they take more than
/// `most_bytes`.
std::vector<std::string> read_texts(hid_t from, std::size_t count, std::size_t most_bytes, block const& = {});
/// The text of a scalar attribute of variable-length text.
std::string read_text(attribute const&);

bool is_scale(hid_t);
std::string get_label(hid_t of, unsigned axis);
/// The first scale attached to an axis; empty if there is none.
object attached_scale(hid_t to, unsigned axis);

}  // namespace wayfarer::host::h5
