// Results as files for other programs: `wayfarer export`, and `show --csv`, `--json` and `--npy`.
//
// A form is a file format or what one other tool reads. It makes files of a node's datasets, in memory: the child that reads the
// result makes them, and the program writes them. One file of code for each form; to add one, write it and name it in the table
// of export.cpp.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/json.hpp>

#include "export/slice.hpp"

namespace wayfarer::host {

struct named_slice {
  std::string name;  ///< of the dataset: within its node for a node's files, "node/dataset" for one dataset
  dataset_slice slice;
};

struct export_node {
  std::string name;
  std::string title;   ///< of the run
  std::string result;  ///< name of the result file
  std::vector<named_slice> datasets;
  std::vector<named_slice> tokens;  ///< the texts among the node's datasets that name tokens, also those not exported
  bool chosen = false;              ///< the user named one dataset
};

struct export_file {
  std::string name, bytes;
};

struct export_form {
  char const* name;
  char const* about;
  /// Throws usage_error if no dataset of the node suits the form, and says what it needs.
  std::vector<export_file> (*files)(export_node const&);
  /// One dataset as one file; null where a form has none.
  std::string (*table)(named_slice const&);
};

std::span<export_form const> export_forms();
/// Throws usage_error, with near names and the reason for a form that is left out.
export_form const& find_export_form(std::string_view name);

// ---- the forms ----

std::vector<export_file> csv_files(export_node const&);
std::string csv_table(named_slice const&);
std::vector<export_file> json_files(export_node const&);
std::string json_table(named_slice const&);
std::vector<export_file> npy_files(export_node const&);
std::string npy_table(named_slice const&);
std::vector<export_file> safetensors_files(export_node const&);
std::vector<export_file> projector_files(export_node const&);
std::vector<export_file> bertviz_files(export_node const&);
std::vector<export_file> circuitsvis_files(export_node const&);
std::vector<export_file> neuronpedia_files(export_node const&);

// ---- what they share ----

/// The token texts whose dimensions are these; null if there are none.
named_slice const* tokens_over(export_node const&, dims const&);

/// A dataset's name as the name of a file: "blocks.0.attn/pattern" gives "blocks.0.attn__pattern".
std::string file_name_of(std::string_view dataset);
/// One file for each dataset, by `table`.
std::vector<export_file> one_file_each(export_node const&, std::string_view ending, std::string (*table)(named_slice const&));
/// Values as nested JSON lists; NaN and infinities, which JSON lacks, as null.
std::string json_values(dataset const&);

/// Attention of one item: what BertViz and CircuitsVis take.
struct attention_stack {
  std::string name;                 ///< "decoder", "encoder", "cross", or "" where a model has one stack
  std::vector<std::string> layers;  ///< names of the datasets or labels of the layers
  std::vector<std::vector<std::vector<std::vector<double>>>> weights;  ///< [layer][head][query][key]
  std::vector<std::string> queries, keys;                              ///< tokens
};
/// Throws usage_error if a node holds no attention patterns, holds them for several items and none was chosen, or lacks tokens.
std::vector<attention_stack> attention_of(export_node const&, std::string_view form);
json_value token_list(std::vector<std::string> const&);
json_value weight_lists(std::vector<std::vector<std::vector<double>>> const& layer);

}  // namespace wayfarer::host
