#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/run_files.hpp>

#include "store/h5.hpp"
#include "store/schema.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

namespace {

namespace fs = std::filesystem;

/// Only datasets beyond this are cut into chunks: below, one piece is read faster and wastes nothing.
constexpr std::size_t chunk_from = std::size_t{16} << 20;
constexpr std::size_t chunk_bytes = std::size_t{768} << 10;
/// Written at once of what is larger.
constexpr std::size_t piece_bytes = std::size_t{16} << 20;

std::string reason(int code) {
  return std::generic_category().message(code);
}

fs::path folder_of(fs::path const& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

bool is_dead(fs::path const& temporary, pid_t writer) {
  if (writer != ::getpid() && (::kill(writer, 0) == 0 || errno != ESRCH)) return false;
  int const d = ::open(temporary.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (d < 0) return false;
  bool const free = ::flock(d, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
  ::close(d);
  return free;
}

/// Removes what killed runs left behind under this result's temporary names.
void sweep_litter(fs::path const& file) {
  std::string const own = file.filename().string();
  remove_litter(folder_of(file).string(), [&](std::string_view name) { return name == std::string_view(own).substr(0, 200); });
  // Earlier versions called theirs ".NAME.tmp.PID", and HDF5 locked them.
  std::string const prefix = "." + own + ".tmp.";
  std::error_code ignored;
  for (fs::directory_iterator at(folder_of(file), ignored), end; at != end; at.increment(ignored)) {
    std::string const name = at->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    long writer = 0;
    auto const [rest, bad] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), writer);
    if (bad != std::errc{} || rest != name.data() + name.size() || writer <= 0) continue;
    if (is_dead(at->path(), static_cast<pid_t>(writer))) fs::remove(at->path(), ignored);
  }
}

/// HDF5 texts end at a NUL and readers expect UTF-8; a vocabulary may hold pieces of characters. Such bytes become "\xNN".
std::string storable(std::string const& text) {
  bool const utf8 = is_utf8(text);
  if (utf8 && text.find('\0') == text.npos) return text;
  std::string out;
  for (char const c : text) {
    auto const u = static_cast<unsigned char>(c);
    if (u != 0 && (u < 0x80 || utf8)) {
      out += c;
    } else {
      constexpr char digits[] = "0123456789abcdef";
      out.append("\\x").append(1, digits[u >> 4]).append(1, digits[u & 15]);
    }
  }
  return out;
}

/// At most `most` bytes, cut before a character.
std::string shortened(std::string const& text, std::size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  return text.substr(0, most) + "...";
}

void write_texts(hid_t in, std::string const& name, std::vector<std::string> const& texts, std::vector<hsize_t> const& sizes,
                 h5::dataset* keep) {
  std::vector<std::string> stored;
  std::vector<char const*> pointers;
  stored.reserve(texts.size());
  for (std::string const& t : texts) pointers.push_back(stored.emplace_back(storable(t)).c_str());
  auto const type = h5::text_type();
  auto d = h5::create_dataset(in, name, type, h5::space_of(sizes));
  if (!texts.empty()) h5::write(d, type, pointers.data());
  *keep = std::move(d);
}

void write_text(hid_t in, std::string const& name, std::string const& text) {
  std::string const stored = storable(text);
  char const* const p = stored.c_str();
  auto const type = h5::text_type();
  auto d = h5::create_dataset(in, name, type, h5::space_of({}));
  h5::write(d, type, &p);
  d.close();
}

/// Counts by their bits, half precision included: an exponent of ones alone, and a NaN where the mantissa is not zero.
template <class Bits>
void count_bits(void const* values, std::size_t count, Bits exponent, Bits mantissa, not_finite& to) {
  auto const* const v = static_cast<Bits const*>(values);
  std::uint64_t special = 0, nan = 0;
  for (std::size_t i = 0; i < count; ++i) {
    bool const s = (v[i] & exponent) == exponent;
    special += s;
    nan += s && (v[i] & mantissa) != 0;
  }
  to.nan += nan, to.infinite += special - nan;
}

void count_not_finite(tensor const& whole, not_finite& to) {
  switch (whole.type()) {
    case dtype::f64:
      return count_bits<std::uint64_t>(whole.raw(), whole.count(), 0x7ff0000000000000u, 0x000fffffffffffffu, to);
    case dtype::f32:
      return count_bits<std::uint32_t>(whole.raw(), whole.count(), 0x7f800000u, 0x007fffffu, to);
    case dtype::f16:
      return count_bits<std::uint16_t>(whole.raw(), whole.count(), 0x7c00u, 0x03ffu, to);
    case dtype::bf16:
      return count_bits<std::uint16_t>(whole.raw(), whole.count(), 0x7f80u, 0x007fu, to);
    default:
      return;
  }
}

/// What does not fit one chunk goes in piece by piece, so that values that lie in a file need not be in memory together.
h5::dataset write_numbers(hid_t in, std::string const& name, tensor const& values, bool compress = false,
                          not_finite* counts = nullptr) {
  std::vector<hsize_t> sizes;
  for (dim const& d : values.shape()) sizes.push_back(d.size);
  bool const large = values.bytes() > chunk_from;
  compress = compress && values.count() > 0 && !sizes.empty();
  std::vector<hsize_t> chunk;
  if (large || compress) {
    // Whole rows of the innermost dimensions, as many as fit a chunk.
    chunk.assign(sizes.size(), 1);
    std::size_t room = chunk_bytes / size_of(values.type());
    for (std::size_t a = sizes.size(); a-- > 0 && room > 0;) {
      chunk[a] = std::min<hsize_t>(sizes[a], room);
      room /= sizes[a];
    }
  }
  auto const type = h5::type_of(values.type());
  auto d = h5::create_dataset(in, name, type, h5::space_of(sizes), chunk, compress);
  if (values.count() == 0) return d;
  if (!large) {
    tensor const whole = values.to(values.type());
    if (counts) count_not_finite(whole, *counts);
    h5::write(d, type, whole.raw());
    return d;
  }
  std::size_t const rows = values.size(0), row_bytes = values.bytes() / rows;
  // Whole chunks, else one would be written twice.
  std::size_t const together = std::max<std::size_t>(1, piece_bytes / (row_bytes * chunk[0])) * chunk[0];
  for (std::size_t first = 0; first < rows; first += together) {
    tensor const piece = values.slice(0, first, std::min(rows, first + together));
    tensor const whole = piece.to(values.type());
    if (counts) count_not_finite(whole, *counts);
    h5::write_rows(d, type, first, whole.size(0), whole.raw());
    drop_pages({static_cast<std::byte const*>(whole.raw()), whole.bytes()});
  }
  return d;
}

void write_number(hid_t in, std::string const& name, std::uint64_t value) {
  std::int64_t const v = static_cast<std::int64_t>(value);
  write_numbers(in, name, tensor::of(std::span<std::int64_t const>(&v, 1), {{"value", 1}}).reshaped({})).close();
}

bool same_numbers(tensor const& a, tensor const& b) {
  if (a.type() != b.type() || a.count() != b.count()) return false;
  tensor const x = a.to(a.type()), y = b.to(b.type());
  return x.bytes() == 0 || std::memcmp(x.raw(), y.raw(), x.bytes()) == 0;
}

/// One dimension of a group of datasets: all that share name, size and coordinate share one HDF5 dimension scale.
struct scale {
  std::string name;
  std::size_t size = 0;
  std::vector<std::string> const* labels = nullptr;
  tensor const* numbers = nullptr;
  std::string own;   ///< the dataset that is its own coordinate, as `step` over the dimension `step`
  std::string link;  ///< its name in the file: the dimension's, or "topic_2" if that is taken
  h5::dataset written;

  bool fits(dim const& d) const { return name == d.name && size == d.size; }
};

/// Writes the datasets of one node (or of a part of /_run) with their dimension scales.
class group_writer {
 public:
  group_writer(hid_t group, results const& all, std::string const& where) : group_(group), all_(all), where_(where) {}

  std::size_t write() {
    check_names();
    plan_scales();
    for (scale& s : scales_)
      if (s.own.empty()) write_scale(s);
    // A dataset that is its own coordinate is attached to by others, so it comes first.
    for (scale& s : scales_)
      if (!s.own.empty()) s.written = write_dataset(s.own, &s);
    for (std::string const& name : all_.names()) {
      if (auto d = std::find_if(scales_.begin(), scales_.end(), [&](scale const& s) { return s.own == name; });
          d == scales_.end())
        write_dataset(name, nullptr).close();
    }
    for (scale& s : scales_) s.written.close();
    for (auto& [path, g] : groups_) g.close();
    return all_.names().size();
  }

  /// After `write`, in the order of the datasets.
  std::vector<not_finite> take_not_finite() {
    std::vector<not_finite> out;
    for (std::string const& name : all_.names())
      if (auto at = found_.find(name); at != found_.end()) out.push_back(std::move(at->second));
    return out;
  }

 private:
  [[noreturn]] void broken(std::string const& dataset, std::string const& what) const {
    throw plugin_error(where_ + "/" + dataset + ": " + what);
  }

  void check_names() {
    std::set<std::string, std::less<>> folders;
    for (std::string const& name : all_.names()) {
      for (std::size_t from = 0; from <= name.size();) {
        std::size_t const to = std::min(name.find('/', from), name.size());
        std::string const part = name.substr(from, to - from);
        if (part.empty() || part == "." || part == ".." || part == schema::long_parameters)
          broken(name, "'" + part + "' can't be part of a dataset's name");
        if (from == 0) taken_.insert(part);
        if (to < name.size()) folders.insert(name.substr(0, to));
        from = to + 1;
      }
      dataset const& d = *all_.find(name);
      if (!d.is_text() && !d.values().defined()) broken(name, "has no values");
      for (dim const& x : d.shape()) {
        if (x.name.empty()) broken(name, "has a dimension without a name: " + describe(d.shape()));
        if (x.name.find('/') != x.name.npos || x.name == "." || x.name == ".." || !is_utf8(x.name) ||
            x.name.find('\0') != x.name.npos)
          broken(name, "'" + storable(x.name) + "' can't be a dimension's name");
      }
      for (auto const& [dimension, labels] : d.label_map())
        if (d.coordinate_map().contains(dimension))
          broken(name, "dimension '" + dimension + "' has labels and numbers: only one can be its coordinate");
    }
    for (std::string const& name : all_.names())
      if (folders.contains(name)) broken(name, "there are also datasets below that name");
  }

  /// Explicit coordinates first, so that datasets which only name a dimension share the coordinate that another gave it.
  void plan_scales() {
    for (std::string const& name : all_.names()) {
      dataset const& d = *all_.find(name);
      if (d.shape().size() == 1 && d.shape()[0].name == name && d.label_map().empty() && d.coordinate_map().empty())
        scales_.push_back({name, d.shape()[0].size, nullptr, nullptr, name, name, {}});
    }
    for (bool const given : {true, false}) {
      for (std::string const& name : all_.names()) {
        for (std::size_t axis = 0; axis < all_.find(name)->shape().size(); ++axis) {
          dim const& x = all_.find(name)->shape()[axis];
          auto const [labels, numbers] = coordinate(name, axis);
          if (given != (labels || numbers) || find(name, axis)) continue;
          scales_.push_back({x.name, x.size, labels, numbers, "", "", {}});
        }
      }
    }
    for (scale& s : scales_) {
      if (!s.own.empty()) continue;
      s.link = s.name;
      for (int n = 2; !taken_.insert(s.link).second; ++n) s.link = s.name + "_" + std::to_string(n);
    }
  }

  std::pair<std::vector<std::string> const*, tensor const*> coordinate(std::string const& name, std::size_t axis) const {
    dataset const& d = *all_.find(name);
    dim const& x = d.shape()[axis];
    auto const* labels = d.find_labels(x.name);
    auto const at = d.coordinate_map().find(x.name);
    auto const* numbers = at == d.coordinate_map().end() ? nullptr : &at->second;
    // A dimension may occur twice with two sizes; a coordinate belongs to the one that it fits.
    if (labels && labels->size() != x.size) labels = nullptr;
    if (numbers && numbers->count() != x.size) numbers = nullptr;
    return {labels, numbers};
  }

  scale* find(std::string const& name, std::size_t axis) {
    dim const& x = all_.find(name)->shape()[axis];
    auto const [labels, numbers] = coordinate(name, axis);
    for (scale& s : scales_) {
      if (!s.fits(x)) continue;
      if (labels ? s.labels && *s.labels == *labels : numbers ? s.numbers && same_numbers(*s.numbers, *numbers) : true) return &s;
    }
    return nullptr;
  }

  void write_scale(scale& s) {
    bool const given = s.labels || s.numbers;
    if (s.labels) {
      write_texts(group_, s.link, *s.labels, {s.size}, &s.written);
    } else if (s.numbers) {
      s.written = write_numbers(group_, s.link, s.numbers->to(s.numbers->type()).reshaped({{s.name, s.size}}));
    } else {
      std::vector<std::int64_t> index(s.size);
      for (std::size_t i = 0; i < index.size(); ++i) index[i] = static_cast<std::int64_t>(i);
      s.written = write_numbers(group_, s.link, tensor::of(index, {{s.name, s.size}}));
    }
    h5::make_scale(s.written, s.link);
    h5::write_attribute(s.written.get(), schema::role, std::string(given ? schema::role_coordinate : schema::role_index));
  }

  hid_t folder(std::string const& path) {
    hid_t in = group_;
    for (std::size_t to = path.find('/'); to != path.npos; to = path.find('/', to + 1)) {
      std::string const here = path.substr(0, to);
      auto at = groups_.find(here);
      if (at == groups_.end()) at = groups_.emplace(here, h5::create_group(in, here.substr(here.rfind('/') + 1))).first;
      in = at->second.get();
    }
    return in;
  }

  h5::dataset write_counted(hid_t in, std::string const& name, std::string const& last, dataset const& d) {
    not_finite counts;
    auto out = write_numbers(in, last, d.values(), d.compressed(), &counts);
    if (counts.nan + counts.infinite != 0) {
      counts.dataset = name, counts.of = d.values().count(), counts.missing = d.missing();
      found_.emplace(name, std::move(counts));
    }
    return out;
  }

  h5::dataset write_dataset(std::string const& name, scale const* self) {
    dataset const& d = *all_.find(name);
    hid_t const in = folder(name);
    std::string const last = name.substr(name.rfind('/') + 1);
    h5::dataset out;
    std::vector<hsize_t> sizes;
    for (dim const& x : d.shape()) sizes.push_back(x.size);
    if (d.is_text())
      write_texts(in, last, d.texts(), sizes, &out);
    else
      out = write_counted(in, name, last, d);
    if (self) h5::make_scale(out, self->link);
    for (std::size_t axis = 0; axis < d.shape().size(); ++axis) {
      auto const a = static_cast<unsigned>(axis);
      if (!self) h5::attach_scale(out, find(name, axis)->written, a);
      h5::set_label(out, a, d.shape()[axis].name);
    }
    if (!d.units().empty()) h5::write_attribute(out.get(), "units", storable(d.units()));
    if (!d.missing().empty()) h5::write_attribute(out.get(), "missing", storable(d.missing()));
    if (!d.view().empty()) h5::write_attribute(out.get(), "view", storable(d.view()));
    if (!d.about().empty()) {
      h5::write_attribute(out.get(), "long_name", storable(d.about()));
      h5::write_attribute(out.get(), "description", storable(d.about()));
    }
    return out;
  }

  hid_t group_;
  results const& all_;
  std::string where_;
  std::set<std::string, std::less<>> taken_;
  std::vector<scale> scales_;
  std::map<std::string, h5::group, std::less<>> groups_;
  std::map<std::string, not_finite, std::less<>> found_;
};

/// Two or more columns of texts over the dimension whose labels are the first column.
void write_pairs(hid_t in, std::string const& name, std::vector<std::pair<std::string, std::string>> const& pairs) {
  std::vector<std::string> names, values;
  for (auto const& [n, v] : pairs) names.push_back(n), values.push_back(v);
  results columns;
  columns.add("name", std::move(names)).dims("name");
  columns.add("value", std::move(values)).dims("name");
  auto g = h5::create_group(in, name);
  group_writer(g.get(), columns, "_run/" + name).write();
  g.close();
}

void write_inputs(hid_t in, std::vector<input_file> const& files) {
  std::vector<std::string> node, name, sha256;
  std::vector<std::int64_t> bytes;
  for (input_file const& f : files) {
    node.push_back(f.node), name.push_back(f.name), sha256.push_back(f.sha256);
    bytes.push_back(static_cast<std::int64_t>(f.bytes));
  }
  results columns;
  columns.add("node", std::move(node)).dims("input");
  columns.add("name", std::move(name)).dims("input");
  columns.add("bytes", tensor::of(bytes, {{"input", bytes.size()}}));
  columns.add("sha256", std::move(sha256)).dims("input");
  auto g = h5::create_group(in, "inputs");
  group_writer(g.get(), columns, "_run/inputs").write();
  g.close();
}

/// What differs from run to run: last, and of fixed length where it can be, so that the rest keeps its place.
void write_varying(hid_t in, run_record const& run, std::vector<node_record> const& nodes) {
  write_number(in, "threads", run.threads);
  write_text(in, "started", run.started);
  write_text(in, "ended", run.ended);
  write_number(in, "peak_memory", run.peak_memory);
  std::vector<std::string> names;
  std::vector<double> times;
  for (node_record const& n : nodes) names.push_back(n.name), times.push_back(n.seconds);
  results timing;
  auto& t = timing.add("seconds", tensor::of(times, {{"node", times.size()}}));
  t.labels("node", std::move(names)).units("s").about("time each node took");
  group_writer(in, timing, "_run").write();
  write_pairs(in, "environment", run.environment);
}

}  // namespace

namespace {

/// A file whose closing failed leaves identifiers behind that point to freed memory; walking over all of them is then unsafe.
/// Guarded by the session.
bool close_failed = false;

}  // namespace

struct result_writer::state {
  fs::path path;
  temporary_file temporary;
  h5::file file;
  std::map<std::string, std::string, std::less<>> keys;  // of the nodes that were written
  std::size_t datasets = 0;
  std::uint64_t bytes = 0;
  bool broken = false, committed = false;

  ~state() {
    h5::session const s;
    { h5::file const closing(std::move(file)); }
    if (temporary.descriptor < 0) return;
    if (!committed) {
      // After a full disk closing fails and HDF5 keeps its descriptor for good; an empty file frees the space at once.
      if (::ftruncate(temporary.descriptor, 0) != 0) {
      }
      ::unlink(temporary.name.c_str());
    }
    ::close(temporary.descriptor);
  }

  [[noreturn]] void failed(std::string const& what) {
    broken = close_failed = true;
    // HDF5 gives the system's words.
    bool const limited = what.find(reason(EFBIG)) != what.npos;
    throw resource_error(path.string() + ": can't write the result: " + what + "; " +
                         (limited ? "raise the limit of the size of files (ulimit -f)" : "free some space") +
                         " or choose another place with --out (nothing is left under that name by this run)");
  }

  /// Runs `step`; HDF5's failures become resource errors, and whatever fails makes the file unfit to be committed.
  template <class Step>
  void guarded(Step step) {
    if (broken || committed) throw resource_error(path.string() + ": an earlier failure left the result unwritable");
    h5::session const s;
    try {
      step();
    } catch (h5::failure const& f) {
      failed(f.what());
    } catch (...) {
      broken = true;
      throw;
    }
  }
};

result_writer::result_writer(fs::path path, std::string_view title, std::uint64_t seed) : state_(std::make_unique<state>()) {
  state& s = *state_;
  s.path = std::move(path);
  std::error_code code;
  if (s.path.filename().empty() || fs::is_directory(s.path, code))
    throw resource_error(s.path.string() + ": is a folder; name a file to write the result to");
  if (!fs::is_directory(folder_of(s.path), code))
    throw resource_error(folder_of(s.path).string() +
                         ": no such folder to write the result to; make it, or choose another place with --out");
  h5::session const session;
  sweep_litter(s.path);
  s.guarded([&] {
    // Made by ourselves, so that it is certain whose file a failure may remove.
    s.temporary = make_temporary_file(s.path.string());
    if (s.temporary.descriptor < 0) s.failed(reason(s.temporary.code));
    // What takes a private file's place is private from the start.
    if (fs::exists(s.path, code) && ::fchmod(s.temporary.descriptor, 0600) != 0) {
    }
    s.file = h5::create_file(s.temporary.name);
    hid_t const root = s.file.get();
    auto const flag = h5::type_of(dtype::u8);
    std::uint8_t const no = 0;
    h5::write_attribute(root, "format", std::string(schema::format));
    std::int32_t const version = schema::format_version;
    h5::write_attribute(root, "format_version", h5::type_of(dtype::i32), &version);
    h5::write_attribute(root, "title", storable(std::string(title)));
    // Readers get the seed's 64 bits unsigned, as it was given.
    h5::write_attribute(root, "seed", h5::unsigned_type(), &seed);
    h5::write_attribute(root, "complete", flag, &no);
  });
}

result_writer::~result_writer() = default;

std::vector<not_finite> result_writer::write(node_record const& node, results const& r) {
  state& s = *state_;
  std::vector<not_finite> found;
  s.guarded([&] {
    if (node.name.empty() || node.name.find('/') != node.name.npos || node.name[0] == '.' || node.name == schema::run_group)
      throw plugin_error("'" + node.name + "' can't be a node's name in a result file");
    if (!s.keys.emplace(node.name, node.key).second)
      throw plugin_error("the results of node '" + node.name + "' were written already");
    auto g = h5::create_group(s.file.get(), node.name);
    for (auto const& [name, text] : {std::pair{"plugin", &node.plugin},
                                     {"kind", &node.kind},
                                     {"plugin_version", &node.plugin_version},
                                     {"build_id", &node.build_id},
                                     {"key", &node.key}})
      h5::write_attribute(g.get(), name, storable(*text));
    if (node.parameters.size() <= schema::longest_attribute)
      h5::write_attribute(g.get(), "parameters", storable(node.parameters));
    else
      write_text(g.get(), schema::long_parameters, node.parameters);
    if (!r.summary().empty()) h5::write_attribute(g.get(), "summary", storable(shortened(r.summary(), schema::longest_summary)));
    group_writer datasets(g.get(), r, node.name);
    s.datasets += datasets.write();
    found = datasets.take_not_finite();
    // Last, so that only a node whose datasets are all there says so.
    std::uint8_t const yes = 1;
    h5::write_attribute(g.get(), "complete", h5::type_of(dtype::u8), &yes);
    g.close();
  });
  return found;
}

void result_writer::commit(run_record const& run, std::vector<node_record> const& nodes) {
  state& s = *state_;
  s.guarded([&] {
    for (node_record const& n : nodes)
      if (auto const at = s.keys.find(n.name); at != s.keys.end() && at->second != n.key) {
        auto g = h5::open_object(s.file.get(), n.name);
        char const* const key = n.key.c_str();
        h5::rewrite_attribute(g.get(), "key", h5::text_type(), &key);
        g.close();
      }
    auto g = h5::create_group(s.file.get(), schema::run_group);
    write_text(g.get(), "pipeline", run.pipeline_text);
    write_text(g.get(), "plan", run.plan_json);
    write_pairs(g.get(), "versions", run.versions);
    write_inputs(g.get(), run.inputs);
    results warnings;
    warnings.add("warnings", run.warnings).dims("warning");
    group_writer(g.get(), warnings, "_run").write();
    if (!run.expectations.empty()) {
      auto e = h5::create_group(g.get(), "expectations");
      group_writer(e.get(), run.expectations, "_run/expectations").write();
      e.close();
    }
    if (!run.reproducible) write_varying(g.get(), run, nodes);
    g.close();

    std::uint8_t const yes = 1;
    h5::rewrite_attribute(s.file.get(), "complete", h5::type_of(dtype::u8), &yes);
    // HDF5 would keep the file open for them and let closing succeed.
    if (std::size_t const open = close_failed ? 1 : h5::open_objects(s.file); open != 1)
      s.failed(std::to_string(open - 1) + " objects are still open (an error in wayfarer)");
    s.file.close();
    take_mode_of(s.path.string(), s.temporary.descriptor);
    if (::fsync(s.temporary.descriptor) != 0) s.failed(reason(errno));
    struct stat status {};
    if (::fstat(s.temporary.descriptor, &status) != 0) s.failed(reason(errno));
    if (!give_name(s.temporary, s.path.string())) s.failed(reason(errno));
    s.committed = true;
    ::close(std::exchange(s.temporary.descriptor, -1));
    s.bytes = static_cast<std::uint64_t>(status.st_size);
    // The new name itself must outlive a power cut; the file is whole and in place, so only an I/O error is worth a word.
    int const folder = ::open(folder_of(s.path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int const outcome = folder < 0 ? -1 : ::fsync(folder);
    int const code = errno;
    if (folder >= 0) ::close(folder);
    if (outcome != 0 && code == EIO)
      throw resource_error(s.path.string() + ": written, but its folder can't be synced: " + reason(code));
  });
}

std::size_t result_writer::datasets() const noexcept {
  return state_->datasets;
}
std::uint64_t result_writer::bytes() const noexcept {
  return state_->bytes;
}

}  // namespace wayfarer::host
