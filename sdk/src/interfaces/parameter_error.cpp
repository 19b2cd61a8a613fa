#include <wayfarer/parameter_error.hpp>

namespace wayfarer {
namespace {

std::string joined(std::vector<parameter_problem> const& all) {
  std::string text;
  for (auto const& one : all) text += (text.empty() ? "" : "\n") + one.message;
  return text;
}

}  // namespace

parameter_error::parameter_error(std::vector<parameter_problem> all) : error(joined(all)), all_(std::move(all)) {}
parameter_error::~parameter_error() = default;
plan_checker::~plan_checker() = default;

}  // namespace wayfarer
