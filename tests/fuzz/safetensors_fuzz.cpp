// Any bytes as a safetensors file: opened or refused with a data_error; what is opened can be read to its last element.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/safetensors.hpp>

namespace wf = wayfarer;

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  // A copy of exactly this size, so that the address sanitizer sees a step beyond it.
  auto const keep = std::make_shared<std::vector<std::byte>>(size);
  if (size > 0) std::memcpy(keep->data(), data, size);
  try {
    auto const file = wf::safetensors_file::view({keep->data(), size}, "fuzz.safetensors", keep);
    std::size_t sum = 0;
    for (auto const& e : file.entries()) {
      if (e.begin > e.end || e.end > size) std::abort();
      if (e.shape.size() > 6) continue;
      wf::tensor const t = file.tensor(e.name);
      auto const* bytes = static_cast<unsigned char const*>(t.raw());
      if (t.count() > 0) sum += bytes[0] + bytes[t.bytes() - 1];
    }
    if (sum == static_cast<std::size_t>(-1)) std::abort();
  } catch (wf::data_error const&) {
  }
  return 0;
}
