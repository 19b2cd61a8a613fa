// Datasets as tables for people: whole ones in blocks of columns that fit the terminal, with labels and tokens beside the values,
// and a small picture above where the terminal can show it, as the dataset's view asks. Called by `show` in the child that reads
// the result.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "export/slice.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

/// A dataset, or a slice of it, under the name by which it was asked for.
struct shown_dataset {
  std::string name;
  dataset_slice slice;
  /// What colours the texts, one number each: probabilities, logits or scores beside the tokens of a lens. Empty: nothing does.
  std::vector<double> shades;
  std::string shaded_by;
  dataset const& d() const { return slice.part; }
};
/// Reads it, and what colours it if the terminal shows colours.
shown_dataset read_shown(result_reader const&, std::string name, dataset_name const&);

/// What the dataset's view says: "kind" or the text of an option; "" where it says none, or nothing that can be read.
std::string view_of(dataset const&, char const* what = "kind");
std::string shape_of(dataset const&);
std::string type_of(dataset const&);
/// One element as text; integers in full.
std::string cell_text(dataset const&, std::size_t i);
/// "least .. most" of what is finite, the number itself if there is one, "" of texts.
std::string range_of(dataset const&);

void print_heading(std::string const& text);
/// One dataset with all that is known of it: up to 20,000 values, or every one.
void print_dataset(shown_dataset const&, bool every_value);
/// A node's datasets, up to 2,000 values of each, or every one. Small ones over the same single dimension are columns of one
/// table, and single numbers are rows of one.
void print_datasets(std::vector<shown_dataset> const&, bool every_value);

}  // namespace wayfarer::host
