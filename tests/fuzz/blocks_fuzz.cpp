// Any bytes as a file of finished blocks: taken only if it is byte for byte what was saved, and never read beyond its end. The
// first byte says whether the second block of a file of three is asked for, or the whole file.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/file.hpp>

#include "engine/blocks.hpp"
#include "scratch_folder.hpp"

namespace wf = wayfarer;
namespace host = wayfarer::host;

namespace {

std::vector<wf::accumulator> sums(double value) {
  std::vector<wf::accumulator> all;
  all.emplace_back(4);
  all[0].define("loss", {{"layer", 3}});
  wf::tensor t = all[0]["loss"];
  auto v = t.view<double>();
  for (std::size_t i = 0; i < 3; ++i) v(i) = value + static_cast<double>(i);
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  static wf::fuzz::scratch_folder const folder;
  host::block_store store(folder.path(), std::string(64, 'a'));
  host::block_store::grouping const three{{0, 12}, 4, 3};
  store.group(three);
  static std::string const whole = [&] {
    host::block_store::writer out(store, {0, 12});
    for (std::size_t i = 0; i < 3; ++i) out.add({4 * i, 4 * i + 4}, sums(static_cast<double>(i)));
    out.publish();
    return wf::read_text(store.path_of({0, 12}).string(), std::size_t{1} << 20);
  }();
  if (size == 0) return 0;
  std::string_view const bytes(reinterpret_cast<char const*>(data) + 1, size - 1);
  folder.write(store.path_of({0, 12}).filename().string(), bytes);
  std::size_t const i = data[0] % 3;
  auto into = sums(-1);
  auto const found = store.load({4 * i, 4 * i + 4}, into);
  std::size_t const each = whole.size() / 3;
  bool const same = bytes.size() >= each && bytes.find(std::string_view(whole).substr(i * each, each)) != std::string_view::npos;
  if (found == host::block_store::found::whole && !same) std::abort();
  if (bytes == whole && found != host::block_store::found::whole) std::abort();
  return 0;
}
