// config.json of a Hugging Face checkpoint, read with ranges: what every model plugin's constructor starts from.
//
// The file is a stranger's: each getter names the key, checks type and range, and throws data_error "config.json: n_head: ...".
// A key that is null counts as missing, as it does for Hugging Face. What was asked for is remembered, so that `remarks` can name
// the keys that were not read. Cheap to copy, any thread.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

/// What sizes a configuration may claim before anything is allocated for them.
struct model_limits {
  static constexpr std::size_t layers = 1024, width = 65'536, mlp = 1'048'576, heads = 4096, vocabulary = 4'000'000,
                               positions = 16'777'216;
};

/// A model_type that this build reads, and the id of the plugin that does: the one list that advice is taken from.
struct readable_type {
  std::string_view model_type, plugin;
};
WAYFARER_API std::span<readable_type const> readable_types() noexcept;

class WAYFARER_API hf_config {
 public:
  /// The config.json of a checkpoint's folder, or of the folder that a checkpoint file lies in. Its model_type must be one of
  /// these. Where it has none, "architectures" and the names in the checkpoint say which of them it is, else it is the first;
  /// `remarks` tells. "auto_map" (code that comes with a model) is refused, since nothing here would run it, and so is a key that
  /// would change numbers in a way that no model here follows.
  static hf_config open(std::string const& path, std::initializer_list<std::string_view> model_types);
  /// The same for a plugin that reads many families by their own rules: it runs no code of "auto_map" and passes it over, and
  /// asks for the keys that change numbers before `refuse_unread` counts what is left of them. A missing model_type that nothing
  /// else tells is an error.
  static hf_config open_family(std::string const& path, std::span<std::string_view const> model_types);
  /// Throws data_error for a key that changes numbers in some family, is not at the value that changes nothing, and that was
  /// not read.
  void refuse_unread() const;

  std::string const& path() const noexcept { return path_; }  ///< of config.json
  std::string folder() const;                                 ///< that it lies in, and the tokenizer's files with it
  json_value const& json() const noexcept { return json_; }
  std::string const& model_type() const { return model_type_; }

  /// A count in 1..most. A missing key is an error unless `otherwise` says what it stands for.
  std::size_t size(std::string_view key, std::size_t most, std::optional<std::size_t> otherwise = {}) const;
  /// The same of a key that has other names: the first that is given counts, and those that are given must agree.
  std::size_t size(std::initializer_list<std::string_view> names, std::size_t most) const;
  double number(std::string_view key, double least, double most, std::optional<double> otherwise = {}) const;
  bool flag(std::string_view key, bool otherwise) const;
  std::string text(std::string_view key, std::string_view otherwise) const;
  /// Any value, or nothing where the key is missing or null.
  std::optional<json_value> find(std::string_view key) const;

  /// What a user should know, one sentence each: keys that were not read and are not known to be harmless, a missing
  /// model_type. Complete once the model has read what it needs.
  std::vector<std::string> remarks() const;

 private:
  template <class>
  friend struct layout_of;
  struct reading;
  hf_config(std::string path, json_value json);
  std::string type_without_key(std::string const& path, std::span<std::string_view const> among, bool guess) const;
  static hf_config open_one_of(std::string const& path, std::span<std::string_view const> model_types, bool guess);
  json_value required(std::string_view key) const;

  std::string path_, model_type_;
  json_value json_;
  std::shared_ptr<reading> reading_;
};

WAYFARER_LAYOUT(readable_type, model_type, plugin);
WAYFARER_LAYOUT(hf_config, path_, model_type_, json_, reading_);

}  // namespace wayfarer
