#include "export/export.hpp"

#include <algorithm>
#include <set>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>

namespace wayfarer::host {

namespace {

constexpr export_form forms[] = {
    {"csv", "CSV, one line a value, one file a dataset", csv_files, csv_table},
    {"json", "JSON with dimensions and coordinates, one file a dataset", json_files, json_table},
    {"npy", "numpy's .npy, one file a dataset", npy_files, npy_table},
    {"safetensors", "one safetensors file of a node", safetensors_files, nullptr},
    {"embedding-projector", "TensorFlow's Embedding Projector: vectors, labels and config.json", projector_files, nullptr},
    {"bertviz", "attention of one text for BertViz's head_view and model_view", bertviz_files, nullptr},
    {"circuitsvis", "attention of one text for CircuitsVis, one file a layer", circuitsvis_files, nullptr},
    {"neuronpedia", "texts with a value for each token, as Neuronpedia's features have them", neuronpedia_files, nullptr},
};

}  // namespace

std::span<export_form const> export_forms() {
  return forms;
}

export_form const& find_export_form(std::string_view name) {
  std::vector<std::string> known;
  for (auto const& f : forms) {
    if (name == f.name) return f;
    known.emplace_back(f.name);
  }
  if (name == "parquet")
    throw usage_error(
        "--to parquet is left out: Debian 12 has no library that writes it (neither libarrow nor python3-pyarrow); export csv or "
        "npy and convert that, for example with pandas.DataFrame.to_parquet");
  std::string all;
  for (auto const& k : known) all += (all.empty() ? "" : ", ") + k;
  throw usage_error("--to " + std::string(name) + ": no such form" + did_you_mean(name, known) + "; there are " + all);
}

named_slice const* tokens_over(export_node const& n, dims const& shape) {
  for (auto const& s : n.tokens)
    if (s.slice.part.shape() == shape) return &s;
  return nullptr;
}

std::string file_name_of(std::string_view dataset) {
  std::string out;
  for (char const c : dataset) {
    bool const plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    constexpr char digits[] = "0123456789abcdef";
    auto const u = static_cast<unsigned char>(c);
    if (c == '/')
      out += "__";
    else if (plain)
      out += c;
    else
      out.append("%").append(1, digits[u >> 4]).append(1, digits[u & 15]);
  }
  // No hidden file, and neither of the two folders.
  return out.starts_with('.') ? "%2e" + out.substr(1) : out;
}

std::vector<export_file> one_file_each(export_node const& n, std::string_view ending, std::string (*table)(named_slice const&)) {
  std::vector<export_file> out;
  std::set<std::string> names;
  for (auto const& s : n.datasets) {
    std::string const name = file_name_of(s.name) + std::string(ending);
    if (!names.insert(name).second)
      throw usage_error(n.name + ": two datasets would be the file " + name + "; export one at a time, NODE/DATASET");
    out.push_back({name, table(s)});
  }
  return out;
}

}  // namespace wayfarer::host
