#include <wayfarer/hooks.hpp>

#include <algorithm>
#include <numeric>

namespace wayfarer {

bool hook_set::has(std::string_view name) const noexcept {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

void hook_set::add(hook_set const& other) {
  for (auto const& n : other.names_)
    if (!has(n)) names_.push_back(n);
}

bool matches(std::string_view pattern, std::string_view name) noexcept {
  // Greedy with one point to go back to: linear in practice, never exponential.
  std::size_t p = 0, n = 0, star = std::string_view::npos, mark = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*')
      star = p++, mark = n;
    else if (p < pattern.size() && pattern[p] == name[n])
      ++p, ++n;
    else if (star != std::string_view::npos)
      p = star + 1, n = ++mark;
    else
      return false;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

namespace {

/// Edit distance with adjacent transpositions.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, row(b.size() + 1), next(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    next[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      next[j] = std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) next[j] = std::min(next[j], before[j - 2] + 1);
    }
    before = std::move(row);
    row = std::move(next);
    next.assign(b.size() + 1, 0);
  }
  return row.back();
}

}  // namespace

std::vector<std::string> near_names(std::string_view wanted, std::span<std::string const> known, std::size_t most) {
  std::vector<std::pair<std::size_t, std::string>> near;
  std::string_view const cut = wanted.substr(0, 128);
  for (auto const& name : known) {
    std::size_t d = distance(cut, std::string_view(name).substr(0, 128));
    // A word that the name begins or ends with is a likelier slip than its length suggests.
    if (cut.size() >= 3 && (name.starts_with(cut) || name.ends_with(cut))) d = std::min<std::size_t>(d, 2);
    if (d <= std::max<std::size_t>(2, wanted.size() / 3)) near.emplace_back(d, name);
  }
  std::stable_sort(near.begin(), near.end(), [](auto const& a, auto const& b) { return a.first < b.first; });
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(most, near.size()); ++i) names.push_back(near[i].second);
  return names;
}

std::string did_you_mean(std::string_view wanted, std::span<std::string const> known) {
  auto const near = near_names(wanted, known);
  return near.empty() ? std::string() : "; did you mean '" + near.front() + "'?";
}

}  // namespace wayfarer
