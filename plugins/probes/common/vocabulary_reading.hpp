// Directions of the embedding space read in the vocabulary: the tokens with the largest inner products, for many directions at
// once.
//
// Used by the probes of weights. The vocabulary goes by in chunks, so that nothing of its size times the model's width is ever
// held. Plain functions; any thread. Ties go to the lower id.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::reading {

/// What a norm does to rows x: [row, d_model], in float64 inside: layer norm or RMS norm with weight and bias [d_model]
/// (undefined: 1 and 0). The result is float32.
inline tensor normalized(tensor const& x, bool centred, double epsilon, tensor const& weight, tensor const& bias) {
  tensor const in = x.to(dtype::f32), w = weight.defined() ? weight.to(dtype::f64) : weight,
               b = bias.defined() ? bias.to(dtype::f64) : bias;
  tensor out(dtype::f32, x.shape());
  auto const from = in.view<float const>();
  auto const to = out.view<float>();
  std::size_t const d = from.size(1);
  for (std::size_t i = 0; i < from.size(0); ++i) {
    auto const row = from.row(i);
    double mean = 0, squares = 0;
    if (centred) {
      for (float const v : row) mean += static_cast<double>(v);
      mean /= static_cast<double>(d);
    }
    for (float const v : row) squares += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
    double const scale = 1 / std::sqrt(squares / static_cast<double>(d) + epsilon);
    for (std::size_t j = 0; j < d; ++j) {
      double y = (static_cast<double>(row[j]) - mean) * scale;
      if (w.defined()) y *= w.view<double const>()(j);
      if (b.defined()) y += b.view<double const>()(j);
      to(i, j) = static_cast<float>(y);
    }
  }
  return out;
}

/// The k best tokens of one direction, best first.
struct best_tokens {
  std::vector<std::pair<float, std::int32_t>> list;

  void add(std::span<float const> scores, std::int32_t first, std::size_t k) {
    for (std::int32_t const i : top_k(scores, k)) list.emplace_back(scores[static_cast<std::size_t>(i)], first + i);
  }
  void keep(std::size_t k) {
    std::sort(list.begin(), list.end(),
              [](auto const& a, auto const& b) { return a.first > b.first || (a.first == b.first && a.second < b.second); });
    if (list.size() > k) list.resize(k);
  }
};

/// For each direction the tokens of largest and, with the sign turned, of most negative inner product.
struct token_reading {
  std::vector<best_tokens> along, against;
};

/// directions: [direction, d_model], float32. `tokens(first, last)` gives the vectors of those tokens, [token, d_model], float32;
/// it is called from many threads, each chunk once.
inline token_reading read_tokens(tensor const& directions, std::size_t vocabulary, std::size_t k,
                                 std::function<tensor(std::size_t, std::size_t)> const& tokens) {
  constexpr std::size_t chunk = 1024;
  std::size_t const n = directions.size(0), chunks = (vocabulary + chunk - 1) / chunk;
  std::vector<token_reading> parts(chunks);
  parallel_for(chunks, [&](std::size_t c) {
    std::size_t const first = c * chunk, last = std::min(vocabulary, first + chunk);
    tensor const scores = matmul(directions, tokens(first, last).transposed());
    auto const rows = scores.view<float const>();
    std::vector<float> turned(last - first);
    parts[c].along.resize(n), parts[c].against.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      auto const row = rows.row(i);
      for (std::size_t j = 0; j < row.size(); ++j) turned[j] = -row[j];
      parts[c].along[i].add(row, static_cast<std::int32_t>(first), k);
      parts[c].against[i].add(turned, static_cast<std::int32_t>(first), k);
    }
  });
  token_reading all;
  all.along.resize(n), all.against.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    for (auto const& part : parts) {
      auto const join = [&](best_tokens& to, best_tokens const& from) {
        to.list.insert(to.list.end(), from.list.begin(), from.list.end());
        to.keep(k);
      };
      join(all.along[i], part.along[i]);
      join(all.against[i], part.against[i]);
    }
  }
  return all;
}

}  // namespace wayfarer::reading
