// Directions of the embedding space read in the vocabulary: the tokens with the largest inner products, for many directions at
// once.
//
// Used by the probes of weights. The vocabulary is read in chunks, so that memory stays far below its size times the model's
// width. Plain functions; any thread. Ties go to the lower id.
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
  tensor const in = x.to(dtype::f32);
  std::size_t const rows = in.size(0), d = in.size(1);
  std::vector<double> w(d, 1.0), b(d, 0.0);
  auto const take = [](tensor const& t, std::vector<double>& to) {
    if (!t.defined()) return;
    tensor const wide = t.to(dtype::f64);
    auto const v = wide.values<double const>();
    to.assign(v.begin(), v.end());
  };
  take(weight, w), take(bias, b);
  tensor out(dtype::f32, in.shape());
  // Four running sums, added in a fixed order.
  auto const sum = [](std::span<float const> row, auto const& term) {
    double s[4] = {};
    std::size_t j = 0;
    for (; j + 4 <= row.size(); j += 4)
      for (std::size_t c = 0; c < 4; ++c) s[c] += term(static_cast<double>(row[j + c]));
    for (; j < row.size(); ++j) s[0] += term(static_cast<double>(row[j]));
    return (s[0] + s[1]) + (s[2] + s[3]);
  };
  for (std::size_t i = 0; i < rows; ++i) {
    auto const row = in.view<float const>().row(i);
    auto const to = out.view<float>().row(i);
    double const mean = centred ? sum(row, [](double v) { return v; }) / static_cast<double>(d) : 0;
    double const squares = sum(row, [&](double v) { return (v - mean) * (v - mean); });
    double const scale = 1 / std::sqrt(squares / static_cast<double>(d) + epsilon);
    for (std::size_t j = 0; j < d; ++j) to[j] = static_cast<float>((static_cast<double>(row[j]) - mean) * scale * w[j] + b[j]);
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

/// The k best tokens of many rows of scores, while the vocabulary goes by in chunks. `chunk(first, last, give)` makes the scores
/// of tokens [first, last) and hands them on, row by row: give(row, scores, turned), where `turned` asks for the most negative
/// ones. It is called from many threads, each chunk once.
template <class Chunk>
std::vector<best_tokens> read_chunks(std::size_t vocabulary, std::size_t rows, std::size_t k, Chunk const& chunk) {
  constexpr std::size_t tokens_at_once = 1024, chunks_at_once = 16;  // what is held: some chunks' lists, never all
  std::vector<best_tokens> all(rows);
  for (std::size_t start = 0; start < vocabulary; start += tokens_at_once * chunks_at_once) {
    std::size_t const count = std::min(chunks_at_once, (vocabulary - start + tokens_at_once - 1) / tokens_at_once);
    std::vector<std::vector<best_tokens>> parts(count, std::vector<best_tokens>(rows));
    parallel_for(count, [&](std::size_t c) {
      std::size_t const first = start + c * tokens_at_once, last = std::min(vocabulary, first + tokens_at_once);
      std::vector<float> turned;
      chunk(first, last, [&](std::size_t row, std::span<float const> scores, bool against) {
        if (against) {
          turned.assign(scores.begin(), scores.end());
          for (float& v : turned) v = -v;
          scores = turned;
        }
        parts[c][row].add(scores, static_cast<std::int32_t>(first), k);
      });
    });
    parallel_for(rows, [&](std::size_t row) {
      for (auto const& part : parts) all[row].list.insert(all[row].list.end(), part[row].list.begin(), part[row].list.end());
      all[row].keep(k);
    });
  }
  return all;
}

/// For each direction the tokens of largest and, with the sign turned, of most negative inner product.
struct token_reading {
  std::vector<best_tokens> along, against;
};

/// directions: [direction, d_model], float32. `tokens(first, last)` gives the vectors of those tokens, [token, d_model], float32;
/// it is called from many threads, each chunk once.
inline token_reading read_tokens(tensor const& directions, std::size_t vocabulary, std::size_t k,
                                 std::function<tensor(std::size_t, std::size_t)> const& tokens) {
  std::size_t const n = directions.size(0);
  auto all = read_chunks(vocabulary, 2 * n, k, [&](std::size_t first, std::size_t last, auto const& give) {
    tensor const scores = matmul(directions, tokens(first, last).transposed());
    for (std::size_t i = 0; i < n; ++i) {
      give(i, scores.view<float const>().row(i), false);
      give(n + i, scores.view<float const>().row(i), true);
    }
  });
  auto const middle = all.begin() + static_cast<std::ptrdiff_t>(n);
  return {{all.begin(), middle}, {middle, all.end()}};
}

}  // namespace wayfarer::reading
