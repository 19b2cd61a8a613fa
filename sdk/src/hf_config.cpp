#include <wayfarer/hf_config.hpp>

#include <algorithm>
#include <filesystem>

#include <wayfarer/error.hpp>

namespace wayfarer {

hf_config hf_config::open(std::string const& path, std::initializer_list<std::string_view> model_types) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  fs::path const at(path);
  if (!fs::exists(at, ignored))
    throw data_error(path + ": no such folder; give the folder of a checkpoint, with config.json and model.safetensors");
  fs::path const file = (fs::is_directory(at, ignored) ? at : at.parent_path()) / "config.json";
  if (!fs::exists(file, ignored))
    throw data_error(file.string() + ": no such file; a checkpoint folder holds config.json beside its weights");
  hf_config c(file.string(), read_json(file.string()));
  if (c.json_.kind() != json_kind::object) c.json_.fail("expected an object");
  c.model_type_ = c.required("model_type").as_string();
  if (std::find(model_types.begin(), model_types.end(), c.model_type_) == model_types.end()) {
    std::string wanted;
    for (auto const& t : model_types) wanted += (wanted.empty() ? "" : " or ") + in_quotes(t);
    c.json_.at("model_type").fail("expected " + wanted + ", got " + in_quotes(c.model_type_) + "; use the plugin of that model");
  }
  if (auto const map = c.json_.find_set("auto_map"))
    map->fail("this model brings its own code, which is never run; convert it to a plain " + c.model_type_ + " checkpoint");
  return c;
}

json_value hf_config::required(std::string_view key) const {
  auto const v = json_.find_set(key);
  if (!v) throw data_error(path_ + ": " + std::string(key) + " is missing");
  return *v;
}

std::size_t hf_config::size(std::string_view key, std::size_t most, std::optional<std::size_t> otherwise) const {
  if (otherwise && !json_.find_set(key)) return *otherwise;
  return static_cast<std::size_t>(required(key).as_integer(1, static_cast<std::int64_t>(most)));
}

double hf_config::number(std::string_view key, double least, double most, std::optional<double> otherwise) const {
  if (otherwise && !json_.find_set(key)) return *otherwise;
  return required(key).as_number(least, most);
}

bool hf_config::flag(std::string_view key, bool otherwise) const {
  auto const v = json_.find_set(key);
  return v ? v->as_bool() : otherwise;
}

std::string hf_config::text(std::string_view key, std::string_view otherwise) const {
  auto const v = json_.find_set(key);
  return v ? v->as_string() : std::string(otherwise);
}

}  // namespace wayfarer
