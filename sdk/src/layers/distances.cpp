#include "distances.hpp"

#include <algorithm>
#include <string>

#include <wayfarer/error.hpp>

#include "common.hpp"

namespace wayfarer {

void check_mixing(mixing_options const& how, std::size_t width, std::size_t keys) {
  std::size_t const of_values = how.kv_heads ? how.kv_heads : how.heads;
  if (how.heads == 0 || how.heads % of_values != 0 || width % of_values != 0)
    throw plugin_error("values of " + std::to_string(width) + " numbers do not fit " + std::to_string(how.heads) +
                       " heads, with " + std::to_string(of_values) + " of values");
  tensor const& table = how.by_distance;
  if (!table.defined()) {
    if (!how.softmax) throw plugin_error("weights that are not computed must be given, for each head and distance");
    return;
  }
  if (table.rank() != 2 || table.size(0) != how.heads)
    throw plugin_error("a table of distances is [head, distance], not " + describe(table.shape()));
  std::size_t const reach = how.window ? std::min(how.window, keys) : keys;
  if (reach > table.size(1))
    throw plugin_error("a table of " + std::to_string(table.size(1)) + " distances does not reach over " + std::to_string(reach) +
                       " keys");
}

tensor in_order_of_keys(tensor const& by_distance, dtype type) {
  tensor const table = by_distance.to(type);
  std::size_t const heads = table.size(0), n = table.size(1);
  tensor out(type, {{"head", heads}, {"key", n}});
  with_type(type, [&]<class T>(T const*) {
    auto const from = table.view<T const>();
    auto const to = out.view<T>();
    for (std::size_t h = 0; h < heads; ++h) std::reverse_copy(from.row(h).begin(), from.row(h).end(), to.row(h).begin());
  });
  return out;
}

}  // namespace wayfarer
