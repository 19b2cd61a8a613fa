// A trained model as a Hugging Face checkpoint's folder: config.json, model.safetensors, and the tokenizer's files.
//
// Called by the plugins that train and by tests, on one thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <wayfarer/json.hpp>
#include <wayfarer/tensor.hpp>
#include <wayfarer/tokenizer.hpp>

#include "net.hpp"

namespace wayfarer::language_training {

/// Where `train.save` writes. The folder keeps a list of the files that were written to it, wayfarer-save.json; what is on the
/// list may be replaced, and other files of a model only if `overwrite` says so: they would be read together with ours.
struct save_place {
  std::string folder;
  bool overwrite = false;
};

/// Throws usage_error if the checkpoint can't be written there: it holds files of another model, it is what the run reads, or it
/// is not a folder. Nothing is made or changed. `words`: null if the model reads no texts.
void check_save_place(save_place const&, tokenizer const* words);

/// Checks again, makes the folder and writes into it; each file appears whole, config.json last, and what would contradict them
/// goes. `config`: config.json but for the weights' type and the tokenizer's end of text, which are set here. `weights`: under
/// the names of the file. `type`: f16 or f32. Throws resource_error, and usage_error for weights beyond float16's range.
void write_checkpoint(save_place const&, json_value config, named_tensors const& weights, tokenizer const* words, dtype type);

/// Throws usage_error if `train.state` names no folder or one that the run reads, and data_error if the state would take the
/// place of files that no training wrote.
void check_state_folder(std::string const& folder, std::vector<std::size_t> const& snapshots);

}  // namespace wayfarer::language_training
