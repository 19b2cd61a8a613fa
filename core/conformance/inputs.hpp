// Inputs for plugins: items generated from the seed, small files of every kind that a path parameter may need, and
// configurations.
//
// Everything is a pure function of the seed. Made in the child process that checks; files lie in a folder that the parent
// removes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/source.hpp>

#include "registry/registry.hpp"

namespace wayfarer::host::conformance {

/// Items held in memory.
class made_items final : public source {
 public:
  explicit made_items(item_block all, source_info info) : all_(std::move(all)), info_(std::move(info)) {}
  source_info const& info() const override { return info_; }
  item_block read(item_range) const override;

 private:
  item_block all_;
  source_info info_;
};

/// What the items hold.
enum class item_sort { words, tokens, texts, choices, pairs };
std::string_view name_of(item_sort) noexcept;

/// Documents of words with topics (10 topics of 10 words), token sequences within `vocabulary`, lines of plain text, or questions
/// with four answers. Lengths vary from `shortest` to `longest` tokens (words, bytes). Sequences come with decoder tokens. Pairs
/// are token sequences that are all `longest` tokens long, neighbours ending in different ones.
std::unique_ptr<source> make_items(item_sort, std::size_t count, std::size_t shortest, std::size_t longest,
                                   std::size_t vocabulary, std::uint64_t seed);

/// The words of generated texts, each of more than one letter.
std::vector<std::string> made_words();

/// Small files and folders, made when first asked for: documents, texts, vectors, questions, checkpoints.
class generated_files {
 public:
  generated_files(std::filesystem::path folder, std::uint64_t seed) : folder_(std::move(folder)), seed_(seed) {}
  /// All files, in the order in which they are tried for a required path.
  std::vector<std::filesystem::path> const& all();
  /// A random GPT-2, Llama, T5 or BERT of a few thousand weights in Hugging Face's layout. T5 has no tokenizer; Llama's is
  /// GPT-2's, and its heads share keys; BERT's knows made_words().
  std::filesystem::path gpt2();
  std::filesystem::path llama();
  std::filesystem::path neox();    ///< LayerNorm and biases, attention and MLP in parallel, half of each head turns
  std::filesystem::path gemma2();  ///< norms by 1 + weight before and behind both parts, caps, a window, heads that share keys
  std::filesystem::path t5();
  std::filesystem::path bert();

 private:
  std::filesystem::path folder_;
  std::uint64_t seed_;
  std::vector<std::filesystem::path> all_;
};

/// Values from --set, "param=value". Throws usage_error for an unknown parameter or a value that does not fit.
using given_values = std::map<std::string, param_value, std::less<>>;
given_values read_given(plugin const&, std::vector<std::string> const& settings);

/// The plugin's configuration: given values, defaults, and for required parameters the first value that the type allows. Required
/// paths are left empty.
config complete(plugin const&, given_values const&, std::uint64_t seed);
/// Names of required parameters of type path without a value.
std::vector<std::string> open_paths(plugin const&, given_values const&);

/// Values worth trying for a parameter: the ends of its range, choices, and some in between.
struct trial {
  std::string text;  ///< for people
  param_value value;
  bool extreme = false;  ///< may take long or need much memory
};
std::vector<trial> trials_of(param_descriptor const&, param_value const& now);
/// Values beyond the range, as they would be written in a pipeline.
std::vector<std::string> beyond_range(param_descriptor const&);

}  // namespace wayfarer::host::conformance
