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

namespace {

void join(accumulator::field& f) {
  if (f.later.empty()) return;
  dims shape = f.values.shape();
  for (auto const& t : f.later) shape[0].size += t.size(0);
  tensor whole(f.values.type(), std::move(shape));
  auto* to = static_cast<std::byte*>(const_cast<void*>(whole.raw()));
  auto put = [&](tensor const& t) {
    if (t.bytes() != 0) std::memcpy(to, t.raw(), t.bytes());
    to += t.bytes();
  };
  put(f.values);
  for (auto const& t : f.later) put(t);
  f.values = std::move(whole);
  f.later.clear();
}

}  // namespace

tensor const& accumulator::operator[](std::string_view name) const {
  auto const at = fields_.find(name);
  if (at != fields_.end()) {
    join(at->second);
    return at->second.values;
  }
  std::vector<std::string> known;
  for (auto const& [k, v] : fields_) known.push_back(k);
  throw plugin_error("the accumulator has no field '" + std::string(name) + "'" + did_you_mean(name, known));
}

std::size_t accumulator::bytes() const noexcept {
  std::size_t n = 0;
  for (auto const& [name, f] : fields_) {
    n += f.values.bytes();
    for (auto const& t : f.later) n += t.bytes();
  }
  return n;
}

void accumulator::append(accumulator const& from) {
  for (auto& [name, mine] : fields_) {
    tensor const& theirs = from[name];
    if (mine.rows)
      mine.later.push_back(theirs);
    else
      add_into(mine.values, theirs);
  }
  items_ += from.items_;
}

}  // namespace wayfarer
