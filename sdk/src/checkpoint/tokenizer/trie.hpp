// Which tokens begin at a place of a text: a trie over bytes, laid out so that its memory is a constant factor of the tokens'
// bytes. Built once, then immutable; any thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace wayfarer::tokenizing {

/// A walk takes time proportional to the longest token, so longer ones are refused by those who fill a trie.
inline constexpr std::size_t longest_token = 1024;

class byte_trie {
 public:
  using node = std::uint32_t;
  static constexpr node none = 0xffffffff;

  byte_trie() = default;
  /// Tokens must differ, have at least one byte, and may come in any order; the texts are not kept.
  explicit byte_trie(std::vector<std::pair<std::string_view, std::int32_t>> tokens);

  static constexpr node root() noexcept { return 0; }
  node step(node at, unsigned char byte) const noexcept {
    entry const& e = nodes_[at];
    if (e.dense != none) return dense_[e.dense + byte];
    // Few children: their labels lie side by side, as do the children.
    for (std::uint32_t i = 0; i < e.children; ++i)
      if (labels_[e.first + i] == byte) return e.first + i;
    return none;
  }
  /// The token that ends here, -1 if none does.
  std::int32_t token(node at) const noexcept { return nodes_[at].token; }

 private:
  static constexpr std::uint32_t few = 12;
  struct entry {
    std::uint32_t first = 0, children = 0, dense = none;
    std::int32_t token = -1;
  };
  std::vector<entry> nodes_{1};
  std::vector<unsigned char> labels_{0};  // by node: the byte that leads to it
  std::vector<node> dense_;               // 256 children for each node that has many
};

}  // namespace wayfarer::tokenizing
