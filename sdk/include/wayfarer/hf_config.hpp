// config.json of a Hugging Face checkpoint, read with ranges: what every model plugin's constructor starts from.
//
// The file is a stranger's: each getter names the key, checks type and range, and throws data_error "config.json: n_head: ...".
// A key that is null counts as missing, as it does for Hugging Face. Immutable, cheap to copy, any thread.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <wayfarer/export.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer {

/// What sizes a configuration may claim before anything is allocated for them.
struct model_limits {
  static constexpr std::size_t layers = 1024, width = 65'536, mlp = 1'048'576, heads = 4096, vocabulary = 4'000'000,
                               positions = 16'777'216;
};

class WAYFARER_API hf_config {
 public:
  /// The config.json of a checkpoint's folder, or of the folder that a checkpoint file lies in. Its model_type must be one of
  /// these; "auto_map" (code that comes with a model) is refused, since nothing here would run it.
  static hf_config open(std::string const& path, std::initializer_list<std::string_view> model_types);

  std::string const& path() const noexcept { return path_; }  ///< of config.json
  json_value const& json() const noexcept { return json_; }
  std::string const& model_type() const { return model_type_; }

  /// A count in 1..most. A missing key is an error unless `otherwise` says what it stands for.
  std::size_t size(std::string_view key, std::size_t most, std::optional<std::size_t> otherwise = {}) const;
  double number(std::string_view key, double least, double most, std::optional<double> otherwise = {}) const;
  bool flag(std::string_view key, bool otherwise) const;
  std::string text(std::string_view key, std::string_view otherwise) const;

 private:
  hf_config(std::string path, json_value json) : path_(std::move(path)), json_(std::move(json)) {}
  json_value required(std::string_view key) const;

  std::string path_, model_type_;
  json_value json_;
};

}  // namespace wayfarer
