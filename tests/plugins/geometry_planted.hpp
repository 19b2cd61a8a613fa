// A toy GPT-2 with structure planted in head 0 of block 0: eight words that are orthonormal and centred; W_Q = W_K spans them, so
// every word asks for itself; W_VO = s t^T reads word 3 and writes word 5.
#pragma once

#include <cmath>
#include <cstddef>
#include <memory>

#include "geometry_fixtures.hpp"

namespace wayfarer::test {

inline std::unique_ptr<toy> planted() {
  toy_sizes const s{.layers = 2, .d = 16, .heads = 2, .vocabulary = 8, .positions = 4};
  return std::make_unique<toy>(s, [s](weights& all) {
    // Gram-Schmidt from the ones vector on.
    std::vector<vec> basis{vec(s.d, 1 / std::sqrt(static_cast<double>(s.d)))};
    for (std::uint64_t i = 0; basis.size() < 9; ++i) {
      random_stream draw(3, "basis", i);
      vec v(s.d);
      for (double& x : v) x = draw.normal();
      for (auto const& b : basis) {
        double const along = inner(v, b);
        for (std::size_t j = 0; j < s.d; ++j) v[j] -= along * b[j];
      }
      double const norm = length(v);
      for (double& x : v) x /= norm;
      basis.push_back(v);
    }
    basis.erase(basis.begin());
    auto& words = all.at("wte.weight").values;
    auto& qkv = all.at("h.0.attn.c_attn.weight").values;
    auto& out = all.at("h.0.attn.c_proj.weight").values;
    for (std::size_t v = 0; v < 8; ++v)
      for (std::size_t j = 0; j < s.d; ++j) {
        auto const x = static_cast<float>(basis[v][j]);
        words[v * s.d + j] = x;
        qkv[j * 3 * s.d + v] = x;                                                           // W_Q of head 0, column v
        qkv[j * 3 * s.d + s.d + v] = x;                                                     // W_K
        qkv[j * 3 * s.d + 2 * s.d + v] = v == 0 ? 2 * static_cast<float>(basis[3][j]) : 0;  // W_V
        out[v * s.d + j] = v == 0 ? 3 * static_cast<float>(basis[5][j]) : 0;                // W_O
      }
    for (char const* name : {"h.0.ln_1.weight", "ln_f.weight"})
      for (float& x : all.at(name).values) x = 1;
    for (char const* name : {"h.0.ln_1.bias", "ln_f.bias", "h.0.attn.c_attn.bias", "h.0.attn.c_proj.bias"})
      for (float& x : all.at(name).values) x = 0;
  });
}

}  // namespace wayfarer::test
