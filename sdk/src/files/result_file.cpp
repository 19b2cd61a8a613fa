#include <wayfarer/result_file.hpp>

#include <utility>

#include <wayfarer/error.hpp>

namespace wayfarer {
namespace {

std::function<tensor(std::string const&, std::string const&)>& reader() {
  static std::function<tensor(std::string const&, std::string const&)> one;
  return one;
}

}  // namespace

tensor read_result(std::string const& file, std::string const& dataset) {
  std::string const name = dataset.substr(dataset.starts_with('/') ? 1 : 0);
  if (name.empty() || name.ends_with('/'))
    throw usage_error(file + ": name the dataset to read as NODE/DATASET, such as states/token_ids; 'wayfarer show " + file +
                      "' lists them");
  if (!reader()) throw resource_error(file + ": result files can only be read within the program wayfarer");
  return reader()(file, name);
}

void provide_result_reader(std::function<tensor(std::string const&, std::string const&)> one) {
  reader() = std::move(one);
}

}  // namespace wayfarer
