#include "report/cut.hpp"

#include <algorithm>
#include <cmath>

namespace wayfarer::host {

std::vector<std::size_t> part_that_fits(dims const& shape, std::size_t most) {
  std::vector<std::size_t> kept;
  for (dim const& d : shape) kept.push_back(d.size);
  most = std::max<std::size_t>(most, 1);
  auto const count = [&] {
    double n = 1;  // a crafted shape may overflow an integer
    for (std::size_t const k : kept) n *= static_cast<double>(k);
    return n;
  };
  while (!kept.empty() && count() > static_cast<double>(most)) {
    // All axes that are as long as the longest shrink together: both axes of a map stay equal.
    std::size_t const longest = *std::max_element(kept.begin(), kept.end());
    if (longest <= 1) break;
    std::size_t next = 1, together = 0;
    for (std::size_t const k : kept) {
      if (k == longest)
        ++together;
      else
        next = std::max(next, k);
    }
    double rest = 1;
    for (std::size_t const k : kept)
      if (k != longest) rest *= static_cast<double>(k);
    // A root may come out just above the whole number that it is, so step down where it does.
    auto fits = static_cast<std::size_t>(std::pow(static_cast<double>(most) / rest, 1.0 / static_cast<double>(together)) + 1e-9);
    fits = std::clamp<std::size_t>(fits, next, longest - 1);
    for (std::size_t& k : kept)
      if (k == longest) k = fits;
  }
  return kept;
}

}  // namespace wayfarer::host
