// The result file: the only code that touches HDF5.
//
// All of it runs on one thread at a time (one lock inside guards the library). A writer works on a temporary name beside the
// final one and renames it when the file is whole and on disk, so that the final name only ever holds a complete result. Layout:
// docs/file-format.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/results.hpp>

namespace wayfarer::host {

/// Call first in main: HDF5 must not run its own exit handler (it crashes after a full disk), print its errors, or load filters.
void initialise_store();

/// Version of the HDF5 library in use, "1.10.8".
std::string hdf5_version();

struct node_record {
  std::string name;  ///< "structure"
  std::string plugin, kind, plugin_version, build_id;
  std::string parameters;    ///< canonical JSON
  std::string key;           ///< SHA-256 over everything that determines the node's result
  double seconds = 0;        ///< written under /_run: it differs from run to run
  std::string summary = {};  ///< the node's finding in one line, as the run printed it; the writer takes it from the results
};

/// What a dataset is, without its values.
struct dataset_header {
  dims shape;
  bool text = false;
  dtype type = dtype::f64;  ///< of numbers
  std::string about, units, missing;
  std::string view;  ///< JSON, as the plugin asked to be looked at; "" if it didn't
};

/// Indices [first, last) of one axis.
struct index_range {
  std::size_t first = 0, last = 0;
  bool operator==(index_range const&) const = default;
};

struct input_file {
  std::string node, name, sha256;
  std::uint64_t bytes = 0;
};

struct run_record {
  std::string pipeline_text, plan_json;
  std::vector<std::pair<std::string, std::string>> versions;  ///< name, version
  std::vector<std::pair<std::string, std::string>>
      environment;  ///< processor, compiler, ...: nothing that names a person or host
  std::vector<input_file> inputs;
  std::vector<std::string> warnings;
  results expectations;       ///< columns, one row for each expectation
  bool reproducible = false;  ///< what follows, the environment and the nodes' seconds are left out of the file
  std::size_t threads = 1;
  std::string started, ended;  ///< UTC, ISO 8601
  std::uint64_t peak_memory = 0;
};

/// Values of a dataset that are no numbers, or none that are finite.
struct not_finite {
  std::string dataset;
  std::uint64_t nan = 0, infinite = 0, of = 0;
  std::string missing;  ///< what the dataset says of them
};

class result_writer {
 public:
  /// Opens a temporary file beside `path`. Throws resource_error, saying why and what to do, if that can't be done.
  result_writer(std::filesystem::path path, std::string_view title, std::uint64_t seed);
  ~result_writer();  ///< removes the temporary file unless committed
  result_writer(result_writer const&) = delete;

  /// Writes one node's datasets and says which of them hold values that are not finite. Throws resource_error (disk full),
  /// plugin_error (a dataset that breaks its own declaration).
  std::vector<not_finite> write(node_record const&, results const&);
  /// Writes /_run with each node's seconds, its key where that became another one since, and `complete`; closes, syncs, renames.
  void commit(run_record const&, std::vector<node_record> const& nodes);
  /// Datasets and bytes of the file, known after commit.
  std::size_t datasets() const noexcept;
  std::uint64_t bytes() const noexcept;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// A result file read back, for `show` and `compare`. The file may be hostile: see read_in_child.
class result_reader {
 public:
  /// data_error if it is no complete result of ours. With `any_hdf5`, a file that does not claim to be one is taken as well, and
  /// `read` reads any of its datasets.
  explicit result_reader(std::filesystem::path path, bool any_hdf5 = false);
  ~result_reader();
  /// Whether a file is a Wayfarer result, of any version, complete or not. A child reads it, see read_in_child.
  static bool is_result(std::filesystem::path const& path);
  result_reader(result_reader const&) = delete;
  std::string title() const;
  std::uint64_t seed() const;
  std::vector<std::string> nodes() const;  ///< in the order written
  node_record node(std::string_view name) const;
  /// Datasets of a node, or of the run for "_run", in the order written; names hold '/' where there are groups. Coordinates of
  /// dimensions are not among them.
  std::vector<std::string> datasets(std::string_view node) const;
  wayfarer::dataset read(std::string_view node, std::string_view dataset) const;
  /// Costs no values, however large the dataset is.
  dataset_header header(std::string_view node, std::string_view dataset) const;
  /// The coordinate of one dimension, texts or numbers; nothing where it has none. Costs no values of the dataset.
  std::optional<wayfarer::dataset> coordinate(std::string_view node, std::string_view dataset, std::size_t axis) const;
  /// Part of a dataset: one range for each axis. Coordinates are cut alike. Only that part is read.
  wayfarer::dataset read(std::string_view node, std::string_view dataset, std::vector<index_range> const& part) const;
  /// "node/dataset", or the path of any dataset of a file that is not a Wayfarer result.
  wayfarer::dataset read(std::string_view path) const;
  /// Text of one dataset below /_run, by name; "" if absent.
  std::string run_text(std::string_view name) const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// Whether a dataset below /_run ("threads", "environment/value") always differs between runs of one pipeline.
bool varies_between_runs(std::string_view run_dataset) noexcept;

/// Runs `body`, which reads these files, in a child process with bounded memory and time, since libhdf5 is known to crash on
/// crafted files. Returns what `body` returned; throws again here what it threw, with its type; throws data_error if the child
/// died. What the body prints goes out as usual. To be called while no other thread uses the store.
int read_in_child(std::vector<std::filesystem::path> const& files, std::function<int()> const& body);

/// The same for a body that makes a text, such as a page, and nothing else; the text is returned.
std::string make_text_in_child(std::vector<std::filesystem::path> const& files, std::function<std::string()> const& body);

/// The numbers of one dataset, "node/name" of a result file or any other of an HDF5 file, as float64, read by such a child.
/// Throws data_error for texts, for more than 1 GiB and for a file that can't be read. To be called while no other thread uses
/// the store.
tensor read_dataset_in_child(std::string const& file, std::string const& dataset);

}  // namespace wayfarer::host
