#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <system_error>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>

#include "store/h5.hpp"
#include "store/schema.hpp"
#include "store/store.hpp"
#include "text/near_files.hpp"

namespace wayfarer::host {

namespace {

/// Deflate makes at most this many bytes of one.
constexpr std::size_t most_deflated = 1032;
/// Far beyond any result of ours; a crafted file must not keep us busy for longer.
constexpr std::size_t most_links = 100'000, most_depth = 8, most_rank = 6;

}  // namespace

bool varies_between_runs(std::string_view name) noexcept {
  return std::any_of(std::begin(schema::varying), std::end(schema::varying), [&](std::string_view v) {
    return name.starts_with(v) && (name.size() == v.size() || name[v.size()] == '/');
  });
}

struct result_reader::state {
  std::filesystem::path path;
  std::uint64_t file_bytes = 0;
  h5::file file;
  bool foreign = false;  ///< no result of ours

  ~state() {
    h5::session const s;
    h5::file const closing(std::move(file));
  }

  [[noreturn]] void fail(std::string const& where, std::string const& what) const {
    throw data_error(path.string() + (where.empty() ? "" : ": " + where) + ": " + what);
  }

  /// Runs `step` with HDF5's failures turned into data errors that name the file and `where`.
  template <class Step>
  auto guarded(std::string const& where, Step step) const {
    h5::session const s;
    try {
      return step();
    } catch (h5::failure const& f) {
      fail(where, std::string(f.what()) + " (damaged?)");
    } catch (resource_error const& e) {
      fail(where, e.what());
    } catch (plugin_error const& e) {
      // Tensors and datasets blame a plugin for shapes that contradict each other; here it is the file.
      fail(where, e.what());
    }
  }

  /// Opens step by step, so that no link on the way leads out of the file.
  h5::object open(std::string_view below) const {
    h5::object at;
    hid_t in = file.get();
    std::string const all(below);
    for (std::size_t from = 0; from <= all.size();) {
      std::size_t const to = std::min(all.find('/', from), all.size());
      std::string const part = all.substr(from, to - from);
      if (part.empty() || part == "." || !(at ? h5::is_group(at.get()) : true) || !h5::has_link(in, part)) return {};
      if (!h5::get_link(in, part).hard) fail(all, "is a soft or external link, which no Wayfarer result has");
      at = h5::open_object(in, part);
      in = at.get();
      from = to + 1;
    }
    return at;
  }

  h5::object open_group(std::string_view name) const {
    auto g = open(name);
    if (!g || !h5::is_group(g.get())) fail("", "has no node '" + std::string(name) + "'" + did_you_mean(name, node_names()));
    return g;
  }

  std::vector<std::string> node_names() const {
    std::vector<std::string> out;
    for (h5::link const& l : h5::links(file.get(), most_links)) {
      if (!l.hard) fail(l.name, "is a soft or external link, which no Wayfarer result has");
      if (l.name != schema::run_group && h5::is_group(h5::open_object(file.get(), l.name).get())) out.push_back(l.name);
    }
    return out;
  }

  /// What HDF5 would allocate for reading, checked against the size of the file: each of its bytes gives at most `ratio`.
  std::size_t checked_count(std::vector<hsize_t> const& sizes, std::size_t each, std::size_t ratio,
                            std::string const& where) const {
    std::uint64_t count = 1;
    for (hsize_t const s : sizes)
      if (__builtin_mul_overflow(count, s, &count)) fail(where, "claims more values than fit any file");
    if (count / ratio > file_bytes / each)
      fail(where,
           "claims " + std::to_string(count) + " values, more than the file's " + std::to_string(file_bytes) + " bytes can hold");
    return count;
  }

  std::string text_attribute(hid_t on, std::string const& name, std::string const& where) const {
    if (!h5::has_attribute(on, name)) return "";
    auto const a = h5::open_attribute(on, name);
    auto const stored = h5::attribute_type(a);
    auto const space = h5::attribute_space(a);
    if (!h5::is_variable_text(stored) || !h5::is_simple(space) || !h5::sizes(space).empty())
      fail(where, "attribute '" + name + "' is not a text");
    return h5::read_text(a);
  }

  std::uint64_t number_attribute(hid_t on, std::string const& name, std::string const& where) const {
    if (!h5::has_attribute(on, name)) fail(where, "attribute '" + name + "' is missing");
    auto const a = h5::open_attribute(on, name);
    auto const space = h5::attribute_space(a);
    if (h5::class_of(h5::attribute_type(a)) != H5T_INTEGER || !h5::is_simple(space) || !h5::sizes(space).empty())
      fail(where, "attribute '" + name + "' is not an integer");
    std::uint64_t value = 0;
    h5::read(a, h5::unsigned_type(), &value);
    return value;
  }

  void walk(hid_t group, std::string const& prefix, std::size_t depth, std::vector<std::string>& out) const {
    if (depth > most_depth) fail(prefix, "groups are nested too deep");
    for (h5::link const& l : h5::links(group, most_links)) {
      std::string const name = prefix + l.name;
      if (!l.hard && foreign) continue;
      if (!l.hard) fail(name, "is a soft or external link, which no Wayfarer result has");
      if (out.size() >= most_links) fail(prefix, "holds too many datasets");
      auto const o = h5::open_object(group, l.name);
      if (h5::is_group(o.get()))
        walk(o.get(), name + "/", depth + 1, out);
      else if (!h5::is_dataset(o.get()) && foreign)
        continue;
      else if (!h5::is_dataset(o.get()))
        fail(name, "is neither a group nor a dataset");
      else if (name != schema::long_parameters && !h5::has_attribute(o.get(), schema::role))
        out.push_back(name);
    }
  }

  /// Refuses what would make HDF5 read other files, run filters, or allocate more than the file can fill.
  std::vector<hsize_t> check_layout(hid_t d, std::string const& where) const {
    auto const how = h5::creation_properties(d);
    auto const layout = h5::layout(how);
    if (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED && layout != H5D_COMPACT)
      fail(where, "is a virtual dataset, which may lead out of the file");
    if (layout == H5D_CONTIGUOUS && h5::external_files(how) != 0) fail(where, "keeps its values in another file");
    bool const compressed = layout == H5D_CHUNKED && (foreign ? h5::shuffled_or_deflated(how) : h5::shuffled_and_deflated(how));
    if (!compressed && !h5::unfiltered(how))
      fail(where, foreign ? "is filtered in a way that is not read here; store it without compression, or with gzip"
                          : "is filtered in another way than the results of wayfarer, which are as they are or shuffled and "
                            "deflated");
    auto const space = h5::dataset_space(d);
    if (!h5::is_simple(space)) fail(where, "has no shape");
    auto sizes = h5::sizes(space);
    if (sizes.size() > most_rank) fail(where, "has more than " + std::to_string(most_rank) + " dimensions");
    auto const type = h5::dataset_type(d);
    std::size_t const each = h5::size_of(type);
    if (each == 0 || each > 16) fail(where, "holds values of an unknown type");
    std::size_t const count = checked_count(sizes, each, compressed ? most_deflated : 1, where);
    // Values that were never written would be read as whatever the memory held.
    if (compressed ? !h5::all_chunks(d, how, sizes) : layout != H5D_COMPACT && h5::stored_bytes(d) < count * each)
      fail(where, "holds fewer values than its shape says");
    return sizes;
  }

  dtype type_of(hid_t d, std::string const& where) const {
    auto const stored = h5::dataset_type(d);
    auto const size = h5::size_of(stored);
    dtype type = dtype::i64;
    if (h5::class_of(stored) == H5T_FLOAT) {
      if (size == 8)
        type = dtype::f64;
      else if (size == 4)
        type = dtype::f32;
      else if (h5::equal(stored, h5::type_of(dtype::f16)))
        type = dtype::f16;
      else if (h5::equal(stored, h5::type_of(dtype::bf16)))
        type = dtype::bf16;
      else
        fail(where, "holds floating-point numbers of an unknown format");
    } else if (h5::class_of(stored) == H5T_INTEGER) {
      if (size == 4)
        type = dtype::i32;
      else if (size == 1)
        type = dtype::u8;
      else if (size != 8)
        fail(where, "holds integers of an unknown format");
    } else {
      fail(where, "holds neither numbers nor texts");
    }
    return type;
  }

  bool holds_texts(hid_t d, std::string const& where) const {
    auto const type = h5::dataset_type(d);
    if (h5::class_of(type) != H5T_STRING) return false;
    if (!h5::is_variable_text(type)) fail(where, "holds texts in a form that wayfarer doesn't write");
    return true;
  }

  /// A dataset without its coordinates. `names`: of dimensions; `part`: empty, or one range for each axis.
  wayfarer::dataset read_plain(hid_t d, std::string const& where, std::vector<std::string> const& names,
                               std::vector<index_range> const& part = {}) const {
    auto sizes = check_layout(d, where);
    h5::block block;
    for (std::size_t i = 0; i < part.size(); ++i) {
      block.start.push_back(part[i].first);
      block.count.push_back(part[i].last - part[i].first);
    }
    if (!part.empty()) sizes = block.count;
    dims shape;
    for (std::size_t i = 0; i < sizes.size(); ++i) shape.push_back({i < names.size() ? names[i] : "", sizes[i]});
    if (holds_texts(d, where)) {
      // check_layout has seen that the file is large enough for that many, so the product can't overflow.
      std::size_t count = 1;
      for (auto const size : sizes) count *= size;
      // Each text has its own place in the file, and a byte at its end in memory.
      auto texts = count == 0 ? std::vector<std::string>{} : h5::read_texts(d, count, file_bytes + count, block);
      return sizes.empty() ? wayfarer::dataset(std::move(texts)) : wayfarer::dataset(std::move(texts), std::move(shape));
    }
    tensor out(type_of(d, where), std::move(shape));
    if (out.count() > 0) h5::read(d, h5::type_of(out.type()), const_cast<void*>(out.raw()), block);
    return wayfarer::dataset(out);
  }

  h5::object open_dataset(std::string const& where) const {
    auto d = open(where);
    if ((!d || !h5::is_dataset(d.get())) && foreign) {
      std::vector<std::string> known;
      walk(file.get(), "", 0, known);
      fail("", "has no dataset '" + where + "'" + did_you_mean(where, known));
    }
    if (!d || !h5::is_dataset(d.get())) {
      auto const slash = where.find('/');
      if (slash == where.npos || slash == 0 || slash + 1 == where.size())
        throw usage_error(path.string() + ": name the dataset as NODE/DATASET, such as states/token_ids, not '" + where +
                          "'; 'wayfarer show " + path.string() + "' lists them");
      std::vector<std::string> known;
      if (auto const g = open(where.substr(0, slash)); g && h5::is_group(g.get()))
        walk(g.get(), "", 0, known);
      else
        fail("", "has no node '" + where.substr(0, slash) + "'" + did_you_mean(where.substr(0, slash), node_names()));
      std::string const wanted = slash == where.npos ? "" : where.substr(slash + 1);
      fail(where.substr(0, slash), "has no dataset '" + wanted + "'" + did_you_mean(wanted, known));
    }
    return d;
  }

  std::vector<std::string> names_of(hid_t d, std::size_t rank, std::string const& where) const {
    std::vector<std::string> names;
    for (unsigned axis = 0; axis < rank; ++axis) {
      names.push_back(foreign ? std::to_string(axis) : h5::get_label(d, axis));
      // A scale is the coordinate of the dimension that it is named after.
      if (names.back().empty() && h5::is_scale(d)) names.back() = where.substr(where.rfind('/') + 1);
      if (names.back().empty()) fail(where, "has a dimension without a name");
    }
    return names;
  }

  dataset_header header(std::string const& where) const {
    auto const d = open_dataset(where);
    auto const sizes = check_layout(d.get(), where);
    auto const names = names_of(d.get(), sizes.size(), where);
    dataset_header out;
    for (std::size_t i = 0; i < sizes.size(); ++i) out.shape.push_back({names[i], sizes[i]});
    out.text = holds_texts(d.get(), where);
    if (!out.text) out.type = type_of(d.get(), where);
    out.about = text_attribute(d.get(), "description", where);
    out.units = text_attribute(d.get(), "units", where);
    out.missing = text_attribute(d.get(), "missing", where);
    out.view = text_attribute(d.get(), "view", where);
    return out;
  }

  /// The coordinate of an axis, or a range of it; nothing if it has none.
  std::optional<wayfarer::dataset> coordinate(hid_t d, unsigned axis, hsize_t size, std::string const& name,
                                              std::string const& where, index_range const* part) const {
    auto const scale = h5::attached_scale(d, axis);
    if (!scale || !h5::is_dataset(scale.get()) || text_attribute(scale.get(), schema::role, where) == schema::role_index)
      return std::nullopt;
    std::string const about = where + ": coordinate of '" + name + "'";
    auto const whole = check_layout(scale.get(), about);
    if (whole.size() != 1 || whole[0] != size) fail(about, "has another size than the dimension");
    return read_plain(scale.get(), about, {name}, part ? std::vector<index_range>{*part} : std::vector<index_range>{});
  }

  /// Whether two dimensions of one name are cut to equally many, but other indices.
  static bool in_conflict(std::vector<std::string> const& names, std::vector<hsize_t> const& sizes,
                          std::vector<index_range> const& part, std::size_t a, std::size_t b) {
    return names[a] == names[b] && sizes[a] == sizes[b] && part[a] != part[b] &&
           part[a].last - part[a].first == part[b].last - part[b].first;
  }

  /// `part`: empty for all of it.
  wayfarer::dataset read(std::string const& where, std::vector<index_range> const& part = {}) const {
    auto const d = open_dataset(where);
    auto const sizes = check_layout(d.get(), where);
    auto const names = names_of(d.get(), sizes.size(), where);
    if (!part.empty()) {
      if (part.size() != sizes.size())
        fail(where, "has " + std::to_string(sizes.size()) + " dimensions, not " + std::to_string(part.size()));
      for (std::size_t a = 0; a < part.size(); ++a)
        if (part[a].first > part[a].last || part[a].last > sizes[a])
          fail(where, "has " + std::to_string(sizes[a]) + " of '" + names[a] + "': " + std::to_string(part[a].first) + ":" +
                          std::to_string(part[a].last) + " is outside");
      // Both would share the labels of one; single indices have none then.
      for (std::size_t a = 0; a < part.size(); ++a)
        for (std::size_t b = 0; b < a; ++b)
          if (in_conflict(names, sizes, part, a, b) && part[a].last - part[a].first != 1)
            fail(where, "has two dimensions '" + names[a] + "': choose the same range of both, or ranges of different lengths");
    }
    auto out = read_plain(d.get(), where, names, part);
    if (foreign) return out;
    out.about(text_attribute(d.get(), "description", where)).units(text_attribute(d.get(), "units", where));
    out.missing(text_attribute(d.get(), "missing", where)).view_as_stored(text_attribute(d.get(), "view", where));
    if (h5::is_scale(d.get())) return out;
    for (unsigned axis = 0; axis < sizes.size(); ++axis) {
      bool conflict = false;
      for (unsigned other = 0; other < part.size(); ++other) conflict = conflict || in_conflict(names, sizes, part, axis, other);
      if (conflict) continue;
      auto const found = coordinate(d.get(), axis, sizes[axis], names[axis], where, part.empty() ? nullptr : &part[axis]);
      if (!found) continue;
      wayfarer::dataset const& c = *found;
      // Of a dimension that occurs twice with two sizes, the first is the one that a dataset can give a coordinate.
      auto const first = std::find(names.begin(), names.end(), names[axis]) - names.begin();
      if (sizes[static_cast<std::size_t>(first)] != sizes[axis] ||
          out.shape()[static_cast<std::size_t>(first)].size != out.shape()[axis].size)
        continue;
      if (c.is_text())
        out.labels(names[axis], c.texts());
      else
        out.coordinate(names[axis], c.values());
    }
    return out;
  }
};

result_reader::result_reader(std::filesystem::path path, bool any_hdf5) : state_(std::make_unique<state>()) {
  state& s = *state_;
  s.path = std::move(path);
  struct stat status {};
  if (::stat(s.path.c_str(), &status) != 0) {
    int const code = errno;
    s.fail("", std::generic_category().message(code) +
                   (code == ENOENT ? near_files(s.path, {s.path.has_extension() ? s.path.extension().string() : ".h5"}) : ""));
  }
  if (!S_ISREG(status.st_mode)) s.fail("", "is not a regular file");
  s.file_bytes = static_cast<std::uint64_t>(status.st_size);
  h5::session const session;
  try {
    s.file = h5::open_file(s.path.string());
  } catch (h5::failure const& f) {
    s.fail("", std::string("is not a result file, or a damaged one: ") + f.what() +
                   "; name a file that 'wayfarer run' wrote, or make it again");
  }
  s.guarded("", [&] {
    hid_t const root = s.file.get();
    s.foreign = any_hdf5 && !h5::has_attribute(root, "format");
    if (s.foreign) return;
    if (!h5::has_attribute(root, "format") || s.text_attribute(root, "format", "") != schema::format)
      s.fail("", "is an HDF5 file, but not a Wayfarer result");
    auto const version = s.number_attribute(root, "format_version", "");
    if (version != schema::format_version)
      s.fail("", "has format version " + std::to_string(version) + "; this wayfarer reads version " +
                     std::to_string(schema::format_version) + (version > schema::format_version ? ": use a newer one" : ""));
    if (s.number_attribute(root, "complete", "") != 1) s.fail("", "is not complete: the run that wrote it did not finish");
  });
}

result_reader::~result_reader() = default;

bool result_reader::is_result(std::filesystem::path const& path) {
  std::array<char, 8> begin{};
  if (std::error_code none; !std::filesystem::is_regular_file(path, none)) return false;
  if (!std::ifstream(path, std::ios::binary).read(begin.data(), begin.size())) return false;
  if (std::string_view(begin.data(), begin.size()) != "\x89HDF\r\n\x1a\n") return false;
  try {
    return read_in_child({path}, [&] {
             state s;
             s.path = path, s.file_bytes = std::filesystem::file_size(path);
             h5::session const session;
             return s.guarded("", [&] {
               s.file = h5::open_file(path.string());
               return s.text_attribute(s.file.get(), "format", "") == schema::format ? 0 : 1;
             });
           }) == 0;
  } catch (data_error const&) {
    return false;
  }
}

std::string result_reader::title() const {
  return state_->guarded("title", [&] { return state_->text_attribute(state_->file.get(), "title", ""); });
}

std::uint64_t result_reader::seed() const {
  return state_->guarded("seed", [&] { return state_->number_attribute(state_->file.get(), "seed", ""); });
}

std::vector<std::string> result_reader::nodes() const {
  return state_->guarded("", [&] { return state_->node_names(); });
}

node_record result_reader::node(std::string_view name) const {
  std::string const where(name);
  return state_->guarded(where, [&] {
    state const& s = *state_;
    auto const g = s.open_group(name);
    auto const text = [&](char const* attribute) { return s.text_attribute(g.get(), attribute, where); };
    if (s.number_attribute(g.get(), "complete", where) != 1) s.fail(where, "is not complete");
    node_record out{
        where, text("plugin"), text("kind"), text("plugin_version"), text("build_id"), text("parameters"), text("key"),
        0,     text("summary")};
    if (h5::has_link(g.get(), schema::long_parameters)) {
      auto const whole =
          s.read_plain(s.open(where + "/" + schema::long_parameters).get(), where + "/" + schema::long_parameters, {});
      if (!whole.is_text() || whole.texts().size() != 1) s.fail(where, "its parameters are not a text");
      out.parameters = whole.texts()[0];
    }
    if (auto const o = s.open(std::string(schema::run_group) + "/seconds")) {
      auto const times = s.read(std::string(schema::run_group) + "/seconds");
      auto const* names = times.find_labels("node");
      if (names && !times.is_text() && times.values().type() == dtype::f64)
        if (auto const at = std::find(names->begin(), names->end(), where); at != names->end())
          out.seconds = times.values()(at - names->begin());
    }
    return out;
  });
}

std::vector<std::string> result_reader::datasets(std::string_view node) const {
  return state_->guarded(std::string(node), [&] {
    std::vector<std::string> out;
    state_->walk(state_->open_group(node).get(), "", 0, out);
    return out;
  });
}

wayfarer::dataset result_reader::read(std::string_view node, std::string_view dataset) const {
  return read(std::string(node) + "/" + std::string(dataset));
}

wayfarer::dataset result_reader::read(std::string_view path) const {
  std::string const where(path);
  return state_->guarded(where, [&] { return state_->read(where); });
}

wayfarer::dataset result_reader::read(std::string_view node, std::string_view dataset,
                                      std::vector<index_range> const& part) const {
  std::string const where = std::string(node) + "/" + std::string(dataset);
  return state_->guarded(where, [&] { return state_->read(where, part); });
}

dataset_header result_reader::header(std::string_view node, std::string_view dataset) const {
  std::string const where = std::string(node) + "/" + std::string(dataset);
  return state_->guarded(where, [&] { return state_->header(where); });
}

std::optional<wayfarer::dataset> result_reader::coordinate(std::string_view node, std::string_view dataset,
                                                           std::size_t axis) const {
  std::string const where = std::string(node) + "/" + std::string(dataset);
  return state_->guarded(where, [&]() -> std::optional<wayfarer::dataset> {
    auto const d = state_->open_dataset(where);
    auto const sizes = state_->check_layout(d.get(), where);
    if (axis >= sizes.size() || h5::is_scale(d.get())) return std::nullopt;
    return state_->coordinate(d.get(), static_cast<unsigned>(axis), sizes[axis],
                              state_->names_of(d.get(), sizes.size(), where)[axis], where, nullptr);
  });
}

std::string result_reader::run_text(std::string_view name) const {
  std::string const where = std::string(schema::run_group) + "/" + std::string(name);
  return state_->guarded(where, [&]() -> std::string {
    auto const d = state_->open(where);
    if (!d) return "";
    if (!h5::is_dataset(d.get())) state_->fail(where, "is not a text");
    auto const whole = state_->read_plain(d.get(), where, {});
    if (!whole.is_text() || whole.texts().size() != 1) state_->fail(where, "is not a text");
    return whole.texts()[0];
  });
}

}  // namespace wayfarer::host
