// What a sample of paths says of all paths: how alike they are, and how many likely ones there are.
//
// Pure functions; any thread. Sums run in a fixed order. A path is a sequence of tokens; natural logarithms.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <vector>

#include "probes/common/repetition.hpp"

namespace wayfarer::paths {

using path = std::vector<std::int32_t>;
constexpr std::size_t longest_gram = repetition::longest_gram;

/// How often each n-gram of a path occurs in it.
inline std::map<path, std::size_t> grams_of(path const& p, std::size_t n) {
  std::map<path, std::size_t> all;
  for (std::size_t i = 0; i + n <= p.size(); ++i)
    ++all[path(p.begin() + static_cast<std::ptrdiff_t>(i), p.begin() + static_cast<std::ptrdiff_t>(i + n))];
  return all;
}

/// Distinct n-grams of all paths together over all of them, for n = 1, 2, ...; NaN where there is none.
inline std::array<double, longest_gram> distinct_grams(std::span<path const> all) {
  std::array<double, longest_gram> out;
  for (std::size_t n = 1; n <= longest_gram; ++n) {
    std::map<path, std::size_t> together;
    double count = 0;
    for (auto const& p : all)
      for (auto const& [gram, times] : grams_of(p, n)) together[gram] += times, count += static_cast<double>(times);
    out[n - 1] = count > 0 ? static_cast<double>(together.size()) / count : std::numeric_limits<double>::quiet_NaN();
  }
  return out;
}

/// Mean BLEU-4 of each path with the others as references (Papineni et al. 2002; Zhu et al. 2018, self-BLEU): 1 if all paths are
/// the same. A precision of 0 counts as 0.1 of one n-gram (Chen and Cherry 2014, method 1). NaN for fewer than two paths that
/// have a token; n goes as far as the path has n-grams.
inline double self_bleu(std::span<path const> all) {
  std::size_t const paths = all.size();
  std::vector<double> log_precision(paths);
  std::vector<std::size_t> orders(paths);
  for (std::size_t n = 1; n <= longest_gram; ++n) {
    // The two largest counts of each n-gram in any path: the largest among the others is one of them.
    struct largest {
      std::size_t first = 0, second = 0, of = 0;
    };
    std::map<path, largest> most;
    std::vector<std::map<path, std::size_t>> own;
    for (std::size_t i = 0; i < paths; ++i) {
      own.push_back(grams_of(all[i], n));
      for (auto const& [gram, times] : own[i]) {
        auto& m = most[gram];
        if (times > m.first)
          m = {times, m.first, i};
        else
          m.second = std::max(m.second, times);
      }
    }
    for (std::size_t i = 0; i < paths; ++i) {
      if (all[i].size() < n) continue;
      double matched = 0;
      for (auto const& [gram, times] : own[i]) {
        auto const& m = most.at(gram);
        matched += static_cast<double>(std::min(times, m.of == i ? m.second : m.first));
      }
      double const count = static_cast<double>(all[i].size() - n + 1);
      log_precision[i] += std::log((matched > 0 ? matched : 0.1) / count);
      ++orders[i];
    }
  }
  double sum = 0, counted = 0;
  for (std::size_t i = 0; i < paths; ++i) {
    if (all[i].empty()) continue;
    std::size_t reference = 0, nearest = std::numeric_limits<std::size_t>::max();  // the reference of nearest length, the shorter
    for (std::size_t j = 0; j < paths; ++j) {
      if (j == i || all[j].empty()) continue;
      std::size_t const a = all[j].size(), b = all[i].size(), gap = a > b ? a - b : b - a;
      if (gap < nearest || (gap == nearest && a < reference)) reference = a, nearest = gap;
    }
    if (reference == 0) continue;
    double const ratio = static_cast<double>(reference) / static_cast<double>(all[i].size());
    sum += std::exp(log_precision[i] / static_cast<double>(orders[i]) + std::min(0.0, 1 - ratio)), ++counted;
  }
  return counted >= 2 ? sum / counted : std::numeric_limits<double>::quiet_NaN();
}

/// Log of the number of paths in a set, from paths drawn by their probability: mean of 1 / probability over the draws, 0 for
/// those outside. `surprise`: [path] minus log probability; `inside` says which are in the set. NaN if none is.
template <class Inside>
double log_size(std::span<double const> surprise, Inside const& inside) {
  double highest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (double const s : surprise)
    if (inside(s)) highest = std::max(highest, s);
  if (std::isinf(highest)) return std::numeric_limits<double>::quiet_NaN();
  for (double const s : surprise)
    if (inside(s)) sum += std::exp(s - highest);
  return highest + std::log(sum / static_cast<double>(surprise.size()));
}

/// The surprise up to which the likeliest paths hold a share `mass` of the draws.
inline double surprise_of_mass(std::vector<double> surprise, double mass) {
  std::sort(surprise.begin(), surprise.end());
  auto const wanted = static_cast<std::size_t>(std::ceil(mass * static_cast<double>(surprise.size())));
  return surprise[std::clamp<std::size_t>(wanted, 1, surprise.size()) - 1];
}

}  // namespace wayfarer::paths
