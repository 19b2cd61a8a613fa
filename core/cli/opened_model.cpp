#include "cli/opened_model.hpp"
#include "cli/advised_error.hpp"

#include <array>
#include <iostream>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/utf8.hpp>

#include "pipeline/hub.hpp"
#include "pipeline/values.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;

void add_model_options(verb_options& o) {
  o.positional("PLUGIN");
  o.named().add_options()("path", po::value<std::string>()->value_name("DIR"),
                          "folder that the model is read from, or a name in Hugging Face's cache");
  o.named().add_options()("plugin-path", po::value<std::vector<std::string>>()->composing()->value_name("DIR"),
                          "look for plugins here first; may be given more than once");
}

std::unique_ptr<model> open_model(verb_options const& o, registry& plugins) {
  std::string const id = o.required("PLUGIN");
  plugin const* const found = plugins.find(id);
  if (!found)
    throw advised_error("no plugin '" + printable(id) + "'" + did_you_mean(id, plugins.ids()),
                        {"'wayfarer plugins list' lists all plugins"});
  if (found->kind() != plugin_kind::model)
    throw usage_error("'" + id + "' is a " + std::string(name_of(found->kind())) + ", not a model");
  config c;
  for (auto const& p : found->params()) {
    std::string_view const name = p.name;
    if (name == "path") {
      if (!o.has("path")) throw usage_error("--path DIR is missing: the folder that " + id + " reads");
      std::string const path = o.place("path", "the folder that " + id + " reads");
      c.set("path", param_value(model_folder(path, path)));
    } else if (p.required) {
      throw usage_error("'" + id + "' can't be opened by itself, only in a pipeline: it needs the parameter '" +
                        std::string(name) + "'");
    } else {
      c.set(std::string(name), default_of(p));
    }
  }
  if (o.has("path") && !found->find_param("path")) throw usage_error("'" + id + "' reads no folder; leave --path out");
  for (auto const& p : found->ports())
    if (!p.optional) throw usage_error("'" + id + "' can't be opened by itself, only in a pipeline");
  return found->create<model>(c);
}

std::string text_of_input() {
  std::string bytes;
  std::array<char, 1 << 16> some;
  while (std::cin.read(some.data(), some.size()) || std::cin.gcount() > 0)
    bytes.append(some.data(), static_cast<std::size_t>(std::cin.gcount()));
  std::vector<std::string> notes;
  std::string_view const text = text_of_file(bytes, "/dev/stdin", notes);
  bytes.erase(0, static_cast<std::size_t>(text.data() - bytes.data()));
  for (auto const& note : notes) std::cerr << "warning: " << note << '\n';
  return bytes;
}

}  // namespace wayfarer::host
