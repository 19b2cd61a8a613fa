// Origins of bytes beside a plain list of them, for any order of additions.
#include "origins.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace {

using wayfarer::tokenizing::origin;
using wayfarer::tokenizing::origins;

TEST(tokenizer_origins, are_those_of_a_plain_list) {
  std::mt19937_64 random(3);
  auto const below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (int round = 0; round < 200; ++round) {
    origins packed, other;
    std::vector<origin> plain, of_other;
    std::size_t const steps = 1 + below(40);
    for (std::size_t step = 0; step < steps; ++step) {
      auto const at = static_cast<std::uint32_t>(below(50));
      std::size_t const n = below(150);
      switch (below(6)) {
        case 0:
          packed.add(n, {at, at + 3});
          plain.insert(plain.end(), n, {at, at + 3});
          break;
        case 1:
          packed.add(1, {at, at + 1});
          plain.push_back({at, at + 1});
          break;
        case 2:
          packed.add_themselves(n, at);
          for (std::uint32_t i = 0; i < n; ++i) plain.push_back({at + i, at + i + 1});
          break;
        case 3: {
          auto const length = static_cast<std::uint32_t>(2 + below(3));
          for (std::uint32_t i = 0; i < n; ++i) {
            origin const o{at + i * length, at + (i + 1) * length};
            packed.add(length, o);
            plain.insert(plain.end(), length, o);
          }
          break;
        }
        case 4: {
          std::size_t const first = below(plain.size() + 1), some = below(plain.size() - first + 1);
          other.add(packed, first, some);
          of_other.insert(of_other.end(), plain.begin() + static_cast<long>(first),
                          plain.begin() + static_cast<long>(first + some));
          break;
        }
        default: {
          std::size_t const gone = below(plain.size() + 1) / 4;
          packed.drop_front(gone);
          plain.erase(plain.begin(), plain.begin() + static_cast<long>(gone));
        }
      }
    }
    auto const same = [](origins const& a, std::vector<origin> const& b) {
      ASSERT_EQ(a.size(), b.size());
      for (std::size_t i = 0; i < b.size(); ++i) {
        ASSERT_EQ(a[i].begin, b[i].begin) << i;
        ASSERT_EQ(a[i].end, b[i].end) << i;
      }
    };
    same(packed, plain);
    same(other, of_other);
  }
}

}  // namespace
