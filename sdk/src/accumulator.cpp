#include <wayfarer/accumulator.hpp>

#include <cstring>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>

namespace wayfarer {

void accumulator::define(std::string name, dims shape) {
  if (!fields_.emplace(name, field{tensor(dtype::f64, std::move(shape)), false}).second)
    throw plugin_error("the accumulator field '" + name + "' is defined twice");
}

void accumulator::define_rows(std::string name, dims row_shape, dtype type) {
  row_shape.insert(row_shape.begin(), {"item", items_});
  if (!fields_.emplace(name, field{tensor(type, std::move(row_shape)), true}).second)
    throw plugin_error("the accumulator field '" + name + "' is defined twice");
}

tensor const& accumulator::operator[](std::string_view name) const {
  auto const at = fields_.find(name);
  if (at != fields_.end()) return at->second.values;
  std::vector<std::string> known;
  for (auto const& [k, v] : fields_) known.push_back(k);
  throw plugin_error("the accumulator has no field '" + std::string(name) + "'" + did_you_mean(name, known));
}

std::size_t accumulator::bytes() const noexcept {
  std::size_t n = 0;
  for (auto const& [name, f] : fields_) n += f.values.bytes();
  return n;
}

void accumulator::append(accumulator const& from) {
  for (auto& [name, mine] : fields_) {
    tensor const& theirs = from[name];
    if (!mine.rows) {
      add_into(mine.values, theirs);
      continue;
    }
    dims shape = mine.values.shape();
    shape[0].size += theirs.size(0);
    tensor both(mine.values.type(), std::move(shape));
    auto* to = static_cast<std::byte*>(const_cast<void*>(both.raw()));
    if (mine.values.bytes() != 0) std::memcpy(to, mine.values.raw(), mine.values.bytes());
    if (theirs.bytes() != 0) std::memcpy(to + mine.values.bytes(), theirs.raw(), theirs.bytes());
    mine.values = std::move(both);
  }
  items_ += from.items_;
}

}  // namespace wayfarer
