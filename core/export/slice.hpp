// Selects a part of a dataset: "lens/top_tokens[0,:,:,-1]", "maps/pattern[head=3,token=5:9,topic='sport']".
//
// An item stands for one dimension, by its place or by its name: an index (negative ones count from the end), a range whose end
// is not included, a label, or ':' for all of it. '...' stands for the dimensions between the items before and after it. What no
// item names is taken whole. A label is the text of a coordinate, or a token of the node's `tokens`; text in quotes is always a
// label. Only the part is read. Used by `show`, `export` and `compare`, in the child that reads the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/store.hpp"

namespace wayfarer::host {

struct slice_item {
  enum class form { all, index, range, label, rest };
  form what = form::all;
  std::string dimension;  ///< "": by its place
  std::optional<std::int64_t> first, last;
  std::string label;
  std::string text;  ///< as written, for messages
};

/// A node, one of its datasets, and a part of that.
struct dataset_name {
  std::string node;
  std::string dataset;  ///< "": all of the node
  std::vector<slice_item> items;
  bool sliced = false;
};
/// Throws usage_error that says where a slice is malformed.
dataset_name parse_dataset_name(std::string_view text);

/// A dimension that was removed by selecting one index.
struct taken_index {
  std::string dimension;
  std::size_t index = 0;
  std::string name;  ///< its label; "" if it has none
};

struct dataset_slice {
  dataset part;
  std::vector<taken_index> taken;
  /// For each dimension of the part the names of its indices: labels, numbers of a coordinate, or else the tokens that stand
  /// there. Empty where there are none.
  std::vector<std::vector<std::string>> names;
  std::vector<bool> tokens;        ///< whether the names of a dimension are such tokens
  std::vector<std::size_t> first;  ///< for each dimension of the part where it begins in the whole
};
/// Throws usage_error for an unknown dimension, with near names, and for what lies outside, with the extent.
dataset_slice read_slice(result_reader const&, dataset_name const&);

/// One element as text: numbers so that they read back equal, texts as they are.
std::string exact_text(dataset const&, std::size_t i);

}  // namespace wayfarer::host
