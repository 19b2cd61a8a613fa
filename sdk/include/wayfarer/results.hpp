// What a node leaves behind: named datasets with named dimensions, written to the result file as they are.
//
// A probe fills it in `finish`, a metric in `measure`, a trainable model in `train`:
//     out.add("mean_cosine", values).dims("layer").about("mean cosine between random tokens").view("curve");
// Owned by the host; used by one thread at a time. References returned by `add` live as long as the results.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

/// One dataset: numbers or strings, with what a reader needs to understand them.
class WAYFARER_API dataset {
 public:
  dataset() = default;
  explicit dataset(tensor values) : values_(std::move(values)) {}
  explicit dataset(std::vector<std::string> texts) : texts_(std::move(texts)), is_text_(true) {
    shape_ = {{"item", texts_.size()}};
  }
  /// Texts of more than one dimension, in row-major order. Throws plugin_error unless the sizes' product is their number.
  dataset(std::vector<std::string> texts, wayfarer::dims shape);

  /// Names of the dimensions, outermost first; as many as the values have.
  template <class... Name>
  dataset& dims(Name&&... names) {
    return rename({std::string(std::forward<Name>(names))...});
  }
  dataset& rename(std::vector<std::string> names);
  dataset& about(std::string text) { return about_ = std::move(text), *this; }
  dataset& units(std::string text) { return units_ = std::move(text), *this; }
  /// Coordinate of a dimension: one label or number for each index. Datasets of a node that share a dimension share its
  /// coordinate.
  dataset& labels(std::string_view dimension, std::vector<std::string> labels);
  dataset& coordinate(std::string_view dimension, tensor values);

  /// What a value that is not finite means here: "no such pair". The run warns of such values in a dataset that doesn't say it.
  dataset& missing(std::string why) { return missing_ = std::move(why), *this; }
  /// How to plot the dataset: a kind, "curve", or a JSON object with options, {"kind": "curve", "x": "step", "log_y": true}; ""
  /// for none. docs/report.md lists both. Comes after `dims`: throws plugin_error for a kind or an option that does not exist and
  /// for a dimension that the dataset has not.
  dataset& view(std::string how);
  /// The view of a stored dataset, as it is: the file may be of a later version, or the dataset a slice of the stored one.
  dataset& view_as_stored(std::string json) { return view_ = std::move(json), *this; }

  /// Asks for gzip (byte shuffle and deflate) in the file: half the size for patterns, a seventh off other activations, and
  /// some 40 MB/s to write. Of texts it is ignored.
  dataset& compress(bool on = true) { return compressed_ = on, *this; }

  bool is_text() const noexcept { return is_text_; }
  bool compressed() const noexcept { return compressed_; }
  tensor const& values() const noexcept { return values_; }
  std::vector<std::string> const& texts() const noexcept { return texts_; }
  wayfarer::dims const& shape() const noexcept { return is_text_ ? shape_ : values_.shape(); }
  std::string const& about() const noexcept { return about_; }
  std::string const& units() const noexcept { return units_; }
  std::string const& missing() const noexcept { return missing_; }
  /// JSON.
  std::string const& view() const noexcept { return view_; }
  std::map<std::string, std::vector<std::string>, std::less<>> const& label_map() const noexcept { return labels_; }
  std::map<std::string, tensor, std::less<>> const& coordinate_map() const noexcept { return coordinates_; }
  /// The labels of a dimension, or null.
  std::vector<std::string> const* find_labels(std::string_view dimension) const;
  /// The number of a scalar dataset. Throws plugin_error if it is not one.
  double scalar() const;

 private:
  template <class>
  friend struct layout_of;
  tensor values_;
  std::vector<std::string> texts_;
  wayfarer::dims shape_;
  bool is_text_ = false, compressed_ = false;
  std::string about_, units_, missing_, view_;
  std::map<std::string, std::vector<std::string>, std::less<>> labels_;
  std::map<std::string, tensor, std::less<>> coordinates_;
};

class WAYFARER_API results {
 public:
  /// A new dataset; names are [a-z0-9_.]+, '/' makes a group. Throws plugin_error for a name that is taken or malformed.
  dataset& add(std::string name, tensor values);
  dataset& add(std::string name, double value) { return add(std::move(name), tensor(value)); }
  dataset& add(std::string name, std::vector<std::string> texts);
  dataset& add(std::string name, std::vector<std::string> texts, dims shape);
  dataset& add(std::string name, dataset whole);

  dataset const* find(std::string_view name) const;
  /// The dataset of that name; throws plugin_error, with near names, if there is none.
  dataset const& at(std::string_view name) const;
  /// In the order in which they were added.
  std::vector<std::string> const& names() const noexcept { return order_; }
  bool empty() const noexcept { return order_.empty(); }
  /// One line for people, shown by the run: "5,000 updates, loss 3.371".
  void summarise(std::string line) { summary_ = std::move(line); }
  std::string const& summary() const noexcept { return summary_; }

 private:
  template <class>
  friend struct layout_of;
  std::vector<std::string> order_;
  std::map<std::string, std::unique_ptr<dataset>, std::less<>> all_;
  std::string summary_;
};

WAYFARER_LAYOUT(dataset, values_, texts_, shape_, is_text_, compressed_, about_, units_, missing_, view_, labels_, coordinates_);
WAYFARER_LAYOUT(results, order_, all_, summary_);

}  // namespace wayfarer
