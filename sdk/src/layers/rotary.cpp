#include <wayfarer/rotary.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include <wayfarer/backward.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/tape.hpp>

#include "common.hpp"

namespace wayfarer {
namespace {

constexpr double turn = 2 * std::numbers::pi;

/// theta^(2j / turned), in float32.
std::vector<float> periods(double theta, std::size_t turned) {
  std::vector<float> all(turned / 2);
  for (std::size_t j = 0; j < all.size(); ++j) {
    float const power = static_cast<float>(2 * j) / static_cast<float>(turned);
    all[j] = static_cast<float>(std::pow(theta, static_cast<double>(power)));
  }
  return all;
}

}  // namespace

bool rotary::same(std::size_t length, std::size_t longer) const {
  if (kind == rotary_scaling::dynamic) return std::max(length, positions) == std::max(longer, positions);
  std::size_t const limit = original ? original : positions;
  return kind != rotary_scaling::longrope || (length > limit) == (longer > limit);
}

float rotary::scale() const {
  if (kind != rotary_scaling::yarn && kind != rotary_scaling::longrope) return 1;
  if (amplitude) return static_cast<float>(*amplitude);
  if (kind == rotary_scaling::yarn) return factor > 1 ? static_cast<float>(0.1 * std::log(factor) + 1) : 1.0f;
  auto const before = static_cast<double>(original ? original : positions);
  double const ratio = original && original != positions ? static_cast<double>(positions) / before : factor;
  return ratio > 1 ? static_cast<float>(std::sqrt(1 + std::log(ratio) / std::log(before))) : 1.0f;
}

std::vector<float> rotary::frequencies(std::size_t length) const {
  double base = theta;
  auto const wide = static_cast<double>(turned), reach = static_cast<double>(positions);
  if (kind == rotary_scaling::dynamic && length > positions)
    base *= std::pow(factor * static_cast<double>(length) / reach - (factor - 1), wide / (wide - 2));
  auto const period = periods(base, turned);
  std::size_t const n = period.size();
  std::vector<float> f(n);
  for (std::size_t j = 0; j < n; ++j) f[j] = 1.0f / period[j];
  auto const by = static_cast<float>(factor);
  auto const before = static_cast<double>(original ? original : positions);
  switch (kind) {
    case rotary_scaling::none:
    case rotary_scaling::dynamic:
      break;
    case rotary_scaling::linear:
      for (auto& v : f) v /= by;
      break;
    case rotary_scaling::llama3:
      for (auto& v : f) {
        float const turns = static_cast<float>(before) * v / static_cast<float>(turn);
        float const mix = std::clamp((turns - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f, 1.0f);
        v = (1 - mix) * v / by + mix * v;
      }
      break;
    case rotary_scaling::yarn: {
      auto const plane = [&](double turns) { return wide * std::log(before / (turns * turn)) / (2 * std::log(theta)); };
      double from = plane(fast), to = plane(slow);
      if (truncate) from = std::floor(from), to = std::ceil(to);
      from = std::max(from, 0.0), to = std::min(to, wide - 1);
      auto const span = static_cast<float>(to == from ? 0.001 : to - from);
      for (std::size_t j = 0; j < n; ++j) {
        float const ramp = std::clamp((static_cast<float>(j) - static_cast<float>(from)) / span, 0.0f, 1.0f);
        f[j] = f[j] / by * ramp + f[j] * (1 - ramp);
      }
      break;
    }
    case rotary_scaling::longrope: {
      auto const& stretch = length > (original ? original : positions) ? long_by : short_by;
      if (stretch.size() != n)
        throw plugin_error("longrope has " + std::to_string(stretch.size()) + " factors for " + std::to_string(n) + " planes");
      for (std::size_t j = 0; j < n; ++j) f[j] = 1.0f / (stretch[j] * period[j]);
      break;
    }
  }
  return f;
}

rows rotary_angles(rotary const& r, std::shared_ptr<row_packing const> const& of, dtype precision) {
  rows out(of, r.turned, precision);
  std::size_t const n = r.turned / 2;
  float const by = r.scale();
  // Items of one regime share their frequencies.
  std::vector<std::vector<float>> all;
  std::vector<std::size_t> which(of->items()), lengths;
  for (std::size_t i = 0; i < of->items(); ++i) {
    std::size_t const length = of->first_position[i] + of->length(i);
    std::size_t k = 0;
    while (k < lengths.size() && !r.same(std::min(length, lengths[k]), std::max(length, lengths[k]))) ++k;
    if (k == lengths.size()) lengths.push_back(length), all.push_back(r.frequencies(length));
    which[i] = k;
  }
  with_type(out.type(), [&]<class T>(T const*) {
    T* const to = out.overwrite<T>();
    for (std::size_t item = 0; item < of->items(); ++item) {
      auto const& f = all[which[item]];
      std::size_t const first = of->offsets[item], position = of->first_position[item];
      in_row_chunks(of->length(item), 16 * r.turned, [&](std::size_t begin, std::size_t count) {
        for (std::size_t i = begin; i < begin + count; ++i) {
          T* const row = to + (first + i) * r.turned;
          for (std::size_t j = 0; j < n; ++j) {
            float const angle = static_cast<float>(position + i) * f[j];
            row[j] = static_cast<T>(static_cast<float>(std::cos(static_cast<double>(angle))) * by);
            row[n + j] = static_cast<T>(static_cast<float>(std::sin(static_cast<double>(angle))) * by);
          }
        }
      });
    }
  });
  return out;
}

rows rotate(rows x, std::size_t heads, rows const& angles, bool pairs) {
  std::size_t const d = heads ? x.width() / heads : 0, turned = angles.width();
  if (heads == 0 || x.width() % heads != 0 || turned > d || turned % 2 != 0 || angles.count() != x.count() ||
      angles.type() != x.type())
    throw plugin_error("angles of " + std::to_string(turned) + " numbers do not turn rows of " + std::to_string(x.width()) +
                       " in " + std::to_string(heads) + " heads");
  recorded_value const from = x.recorded();
  with_type(x.type(), [&]<class T>(T const*) {
    T* const p = x.own<T>();
    T const* const a = angles.data<T>();
    in_row_chunks(x.count(), x.width(), [&](std::size_t first, std::size_t n) {
      for (std::size_t i = first; i < first + n; ++i)
        for (std::size_t h = 0; h < heads; ++h)
          layer_kernels::kernels<T>().rotate(p + i * x.width() + h * d, a + i * turned, a + i * turned + turned / 2, turned / 2,
                                             pairs);
    });
  });
  if (tape* const on = tape::following("rotate", {from}))
    on->add("rotate", {from}, {&x}, [heads, angles = angles.bare(), pairs](step_gradients& g) {
      g.add(0, rotate_backward(g.take(), heads, angles, pairs));
    });
  return x;
}

}  // namespace wayfarer
