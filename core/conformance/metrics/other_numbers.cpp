// The rules steps_agree and odd_numbers: the same results with other numbers. Shapes and names stay, so those of the output must.
#include <functional>
#include <map>

#include "conformance/metrics/metric_case.hpp"

namespace wayfarer::host::conformance {
namespace {

using change = std::function<double(double value, std::size_t at)>;

dataset changed(dataset const& d, change const& to) {
  if (d.is_text()) return d;
  tensor const numbers = d.values().to(dtype::f64).clone();
  auto const values = numbers.values<double>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = to(values[i], i);
  dtype const type = d.values().type();
  dataset twin(type == dtype::f64 || type == dtype::f32 ? numbers.to(type) : d.values());
  for (auto const& [dimension, labels] : d.label_map()) twin.labels(dimension, labels);
  for (auto const& [dimension, at] : d.coordinate_map()) twin.coordinate(dimension, at);
  return twin;
}

/// Wires to changed copies, which live as long as this.
class rewired {
 public:
  rewired(wiring const& wires, change const& to) : wires_(wires) {
    std::map<candidate const*, std::shared_ptr<results>> done;
    for (auto& w : wires_) {
      auto& copy = done[w.from];
      if (!copy) {
        copy = std::make_shared<results>();
        for (auto const& name : w.from->all->names()) copy->add(name, changed(*w.from->all->find(name), to));
      }
      keep_.push_back(std::make_unique<candidate>(candidate{w.from->node, copy, w.from->over_steps}));
      w.from = keep_.back().get();
    }
  }
  wiring const& wires() const { return wires_; }

 private:
  wiring wires_;
  std::vector<std::unique_ptr<candidate>> keep_;
};

}  // namespace

void check_shapes_stay(metric_case const& c, reporter&) {
  rewired const other(c.wires, [](double v, std::size_t i) { return v * (1 + 1e-3 * static_cast<double>(i % 7)); });
  results r;
  if (!refusal_of([&] { r = measure(c.what(), other.wires()); }).empty()) return;
  std::string const name = first_difference(measure(c.what(), c.wires), r, false);
  if (!name.empty()) throw violation("steps_agree", "'" + name + "' is not always there, or changes its shape");
}

void check_every_number(metric_case const& c, double value) {
  rewired const other(c.wires, [value](double, std::size_t) { return value; });
  refusal_of([&] { measure(c.what(), other.wires()); });
}

}  // namespace wayfarer::host::conformance
