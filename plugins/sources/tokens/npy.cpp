#include "npy.hpp"

#include <cstring>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer {

npy_ids::npy_ids(std::string const& path) : file_(path) {
  auto const fail = [&](std::string const& what) {
    throw data_error(path + ": byte " + std::to_string(file_.header_bytes()) + ": " + what);
  };
  if (file_.type() != "<i4" && file_.type() != "<i8" && file_.type() != "<u2")
    fail("ids of type " + in_quotes(file_.type()) + "; save them as numpy.int32, numpy.int64 or numpy.uint16");
  auto const& shape = file_.shape();
  if (shape.empty()) fail("the array is a single number; save ids as [id] or [item, id]");
  if (shape.size() > 2) fail("the array has more than 2 dimensions; save ids as [id] or [item, id]");
  rows_ = shape.size() == 1 ? 1 : shape[0];
  columns_ = shape.back();
}

std::int64_t npy_ids::at(std::size_t row, std::size_t column) const noexcept {
  std::byte const* const p = file_.data() + (row * columns_ + column) * file_.width();
  if (file_.width() == 2) {
    std::uint16_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  if (file_.width() == 4) {
    std::int32_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  std::int64_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

}  // namespace wayfarer
