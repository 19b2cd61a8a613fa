#include "trie.hpp"

#include <algorithm>

namespace wayfarer::tokenizing {

byte_trie::byte_trie(std::vector<std::pair<std::string_view, std::int32_t>> tokens) {
  std::sort(tokens.begin(), tokens.end());
  // Breadth first, so that the children of a node are neighbours. A node is a range of tokens that share `depth` bytes.
  struct range {
    std::size_t from, to, depth;
  };
  std::vector<range> ranges{{0, tokens.size(), 0}};
  for (std::size_t n = 0; n < ranges.size(); ++n) {
    range const r = ranges[n];
    entry e;
    e.first = static_cast<std::uint32_t>(ranges.size());
    std::size_t i = r.from;
    if (i < r.to && tokens[i].first.size() == r.depth) e.token = tokens[i++].second;
    while (i < r.to) {
      auto const byte = static_cast<unsigned char>(tokens[i].first[r.depth]);
      std::size_t end = i + 1;
      while (end < r.to && static_cast<unsigned char>(tokens[end].first[r.depth]) == byte) ++end;
      ranges.push_back({i, end, r.depth + 1});
      labels_.push_back(byte);
      ++e.children;
      i = end;
    }
    if (e.children > few) {
      e.dense = static_cast<std::uint32_t>(dense_.size());
      dense_.resize(dense_.size() + 256, none);
      for (std::uint32_t k = 0; k < e.children; ++k) dense_[e.dense + labels_[e.first + k]] = e.first + k;
    }
    nodes_.resize(n + 1);
    nodes_[n] = e;
  }
}

}  // namespace wayfarer::tokenizing
