#include <wayfarer/accumulator.hpp>

#include <cstring>
#include <memory>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
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

/// One file for all fields: each has a region of its own, of the size that it will have in the end, and what is not yet written
/// of it takes no room on the disk.
struct accumulator::row_file {
  std::string folder;
  std::size_t rows = 0, most = 0;
  std::unique_ptr<scratch_file> file{};
  std::size_t next = 0;  // end of the regions given out
};

void accumulator::keep_rows_in(std::string folder, std::size_t rows, std::size_t most) {
  file_ = std::make_shared<row_file>(row_file{std::move(folder), rows, most});
  held_ = 0;
  for (auto const& [name, f] : fields_)
    if (f.rows) held_ += f.values.bytes();
}

void accumulator::move_rows(field& f) const {
  std::size_t const row = element_count({f.values.shape().begin() + 1, f.values.shape().end()}) * size_of(f.values.type());
  auto put = [&](tensor const& t) {
    tensor const whole = t.contiguous() ? t : t.clone();
    if (f.filed + whole.size(0) > file_->rows) throw plugin_error("the probe's merge makes more rows than there are items");
    file_->file->write_at(f.place + f.filed * row, {static_cast<std::byte const*>(whole.raw()), whole.bytes()});
    f.filed += whole.size(0);
  };
  if (f.filed == 0) {
    std::size_t region = 0;
    if (__builtin_mul_overflow(row, file_->rows, &region))
      throw resource_error("rows of " + describe(f.values.shape()) + " are too many");
    f.place = file_->next;
    file_->next += (region + scratch_file::alignment - 1) / scratch_file::alignment * scratch_file::alignment;
    put(f.values);
  }
  for (auto const& t : f.later) put(t);
  f.later.clear();
  dims shape = f.values.shape();
  shape[0].size = f.filed;
  auto memory = file_->file->map(f.place, f.filed * row);
  auto const* const bytes = memory.get();
  f.values = tensor::look(f.values.type(), bytes, std::move(shape), std::move(memory));
}

void accumulator::move_rows() const {
  if (!file_->file) file_->file = std::make_unique<scratch_file>(file_->folder);
  for (auto& [name, f] : fields_)
    if (f.rows) move_rows(f);
}

void accumulator::join(field& f) const {
  if (f.later.empty()) return;
  if (f.filed != 0) return move_rows(f);
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
    if (f.filed == 0) n += f.values.bytes();
    for (auto const& t : f.later) n += t.bytes();
  }
  return n;
}

void accumulator::append(accumulator const& from) {
  for (auto& [name, mine] : fields_) {
    tensor const& theirs = from[name];
    if (mine.rows)
      mine.later.push_back(theirs), held_ += theirs.bytes();
    else
      add_into(mine.values, theirs);
  }
  items_ += from.items_;
  if (file_ && held_ > file_->most) {
    move_rows();
    held_ = 0;
  }
}

}  // namespace wayfarer
