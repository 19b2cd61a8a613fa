#include <wayfarer/layers.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/backward.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/tape.hpp>

#include "common.hpp"
#include "norm_steps.hpp"
#include "products.hpp"

namespace wayfarer {

layer_kernels::number number_of(dtype t) {
  switch (t) {
    case dtype::f32:
      return layer_kernels::number::f32;
    case dtype::f64:
      return layer_kernels::number::f64;
    case dtype::f16:
      return layer_kernels::number::f16;
    case dtype::bf16:
      return layer_kernels::number::bf16;
    case dtype::i32:
    case dtype::i64:
    case dtype::u8:
      break;
  }
  throw plugin_error("weights are floating-point numbers, not " + std::string(name_of(t)));
}

template <class T>
T* scratch(std::size_t count, std::size_t slot) {
  struct piece {
    std::shared_ptr<void> memory;
    std::size_t bytes = 0;
  };
  thread_local piece pieces[4];
  auto& p = pieces[slot];
  if (p.bytes < count * sizeof(T)) {
    p.memory.reset();
    p.memory = pooled_memory(count * sizeof(T));
    p.bytes = count * sizeof(T);
  }
  return static_cast<T*>(p.memory.get());
}
template float* scratch<float>(std::size_t, std::size_t);
template double* scratch<double>(std::size_t, std::size_t);
template std::uint16_t* scratch<std::uint16_t>(std::size_t, std::size_t);

void check_precision(dtype precision) {
  if (precision == dtype::f32 || precision == dtype::f64) return;
  if (precision != dtype::bf16)
    throw usage_error("a forward pass computes in float32, float64 or bfloat16, not " + std::string(name_of(precision)));
  if (!layer_kernels::bf16()) throw usage_error("this processor has no bfloat16 products (AVX512_BF16); ask for float32");
}

namespace {

using layer_kernels::kernels;

void check_width(rows const& x, std::size_t width, char const* what) {
  if (x.width() != width)
    throw plugin_error(std::string(what) + " expects rows of " + std::to_string(width) + " numbers, not " +
                       std::to_string(x.width()));
}

}  // namespace

rows linear(rows const& x, linear_weights const& w) {
  rows y = linear_activated(x, w, layer_kernels::act::identity);
  if (tape* const on = tape::following("linear", {x.recorded()}, {&w.w, &w.b}))
    on->add("linear", {x.recorded()}, {&y}, [x = x.bare(), w](step_gradients& g) {
      rows dx = linear_backward(x, w, g.take(), {g.weight(w.w), g.weight(w.b)}, g.wanted());
      if (g.wanted()) g.add(0, std::move(dx));
    });
  return y;
}

namespace {

/// The matrix of which these are neighbouring outputs, if there is one.
std::optional<linear_weights> joined(std::array<linear_weights, 3> const& parts) {
  linear_weights all = parts[0];
  std::size_t const axis = all.in_first ? 1 : 0;
  dims shape = all.w.shape(), length = all.b.defined() ? all.b.shape() : dims{};
  for (std::size_t i = 1; i < parts.size(); ++i) {
    auto const &a = parts[i - 1], &b = parts[i];
    auto const follows = [&](tensor const& one, tensor const& next, std::ptrdiff_t step) {
      auto const apart = step * static_cast<std::ptrdiff_t>(a.out() * size_of(one.type()));
      return one.defined() && next.defined() && one.type() == next.type() && one.strides() == next.strides() &&
             static_cast<std::byte const*>(one.raw()) + apart == static_cast<std::byte const*>(next.raw());
    };
    if (a.in_first != b.in_first || a.in() != b.in() || a.b.defined() != b.b.defined()) return {};
    if (!follows(a.w, b.w, a.w.strides()[axis]) || (a.b.defined() && !follows(a.b, b.b, a.b.strides()[0]))) return {};
    shape[axis].size += b.out();
    if (all.b.defined()) length[0].size += b.out();
  }
  auto const view = [](tensor const& first, dims d) {
    return tensor::look(first.type(), first.raw(), std::move(d), std::make_shared<tensor>(first), first.strides());
  };
  all.w = view(all.w, shape);
  if (all.b.defined()) all.b = view(all.b, length);
  return all;
}

/// Whether the parts' gradients lie as the parts do: then one matrix holds them too.
bool lie_alike(step_gradients const& g, linear_weights const& all, std::array<linear_weights, 3> const& parts) {
  auto const alike = [&](tensor const& whole, auto const& part_of) {
    tensor const to = g.weight(whole);
    for (auto const& part : parts) {
      tensor const& one = part_of(part);
      tensor const own = g.weight(one);
      if (own.defined() != to.defined()) return false;
      if (!own.defined()) continue;
      auto const apart = (static_cast<std::byte const*>(one.raw()) - static_cast<std::byte const*>(whole.raw())) /
                         static_cast<std::ptrdiff_t>(size_of(whole.type()));
      auto const* const expected =
          static_cast<std::byte const*>(to.raw()) + apart * static_cast<std::ptrdiff_t>(size_of(to.type()));
      if (static_cast<std::byte const*>(own.raw()) != expected) return false;
    }
    return true;
  };
  return alike(all.w, [](linear_weights const& w) -> tensor const& { return w.w; }) &&
         (!all.b.defined() || alike(all.b, [](linear_weights const& w) -> tensor const& { return w.b; }));
}

void project_backward(step_gradients& g, rows const& x, std::array<linear_weights, 3> const& parts) {
  auto const one = [&](linear_weights const& w, rows const& dy) {
    rows dx = linear_backward(x, w, dy, {g.weight(w.w), g.weight(w.b)}, g.wanted());
    if (g.wanted()) g.add(0, std::move(dx));
  };
  if (auto const all = joined(parts); all && lie_alike(g, *all, parts))
    if (auto const dy = g.take_joined()) return one(*all, *dy);
  for (std::size_t i = 0; i < parts.size(); ++i) one(parts[i], g.take(i));
}

}  // namespace

std::array<rows, 3> project(rows const& x, linear_weights const& q, linear_weights const& k, linear_weights const& v) {
  auto const of = [&](linear_weights const& w) { return linear_activated(x, w, layer_kernels::act::identity); };
  std::array<rows, 3> made{of(q), of(k), of(v)};
  if (tape* const on = tape::following("project", {x.recorded()}, {&q.w, &q.b, &k.w, &k.b, &v.w, &v.b}))
    on->add("project", {x.recorded()}, {&made[0], &made[1], &made[2]},
            [x = x.bare(), parts = std::array{q, k, v}](step_gradients& g) { project_backward(g, x, parts); });
  return made;
}

rows linear_activated(rows const& x, linear_weights const& w, layer_kernels::act act) {
  check_width(x, w.in(), "linear");
  rows y = x.like(w.out());
  with_type(x.type(), [&]<class T>(T const*) {
    auto const bias = w.b.defined() ? numbers<T>(w.b, w.out()) : std::shared_ptr<T const>();
    product_job<T> const job{y.overwrite<T>(), y.width(), x.data<T>(), x.width(),  matrix_of(w.w, w.in_first),
                             x.count(),        w.out(),   x.width(),   bias.get(), act};
    if constexpr (sizeof(T) == 4)
      if (x.precision() == dtype::bf16) return multiply_bf16(job);
    multiply(job);
  });
  return y;
}

rows embed(ragged<std::int32_t> const& tokens, std::shared_ptr<row_packing const> const& of, tensor const& table, dtype precision,
           double scale, tape* record) {
  rows x(of, table.size(1), precision);
  auto const* const ids = tokens.values.data() + tokens.offsets.front();
  for (std::size_t item = 0; item < of->items(); ++item)
    for (std::size_t i = of->offsets[item]; i < of->offsets[item + 1]; ++i)
      if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= table.size(0))
        throw data_error("token " + std::to_string(ids[i]) + " at position " + std::to_string(i - of->offsets[item]) +
                         " of item " + std::to_string(item) + " is outside the vocabulary of " + std::to_string(table.size(0)));
  auto const type = number_of(table.type());
  auto const* const from = static_cast<std::byte const*>(table.raw());
  std::size_t const stride = static_cast<std::size_t>(table.strides()[0]) * size_of(table.type()), d = x.width();
  with_type(x.type(), [&]<class T>(T const*) {
    T* const out = x.overwrite<T>();
    in_row_chunks(x.count(), d, [&](std::size_t first, std::size_t n) {
      for (std::size_t i = first; i < first + n; ++i) {
        kernels<T>().convert(out + i * d, from + static_cast<std::size_t>(ids[i]) * stride, type, d);
        if (scale != 1) kernels<T>().scale(out + i * d, static_cast<T>(scale), d);
      }
    });
  });
  if (record) record->begin(x);
  if (record && record->wants(table))
    record->add("embed", {}, {&x},
                [tokens, table, scale](step_gradients& g) { embed_backward(tokens, g.take(), g.weight(table), scale); });
  return x;
}

rows embed_positions(std::shared_ptr<row_packing const> const& of, tensor const& table, dtype precision, std::size_t offset,
                     tape* record) {
  rows x(of, table.size(1), precision);
  auto const type = number_of(table.type());
  auto const* const from = static_cast<std::byte const*>(table.raw());
  std::size_t const stride = static_cast<std::size_t>(table.strides()[0]) * size_of(table.type()), d = x.width();
  for (std::size_t item = 0; item < of->items(); ++item) {
    std::size_t last = 0;
    if (of->length(item) &&
        (__builtin_add_overflow(of->first_position[item], offset + of->length(item), &last) || last > table.size(0)))
      throw data_error("item " + std::to_string(item) + " reaches position " +
                       std::to_string(of->first_position[item] + of->length(item) - 1) + ", but the model has only " +
                       std::to_string(table.size(0) - std::min(offset, table.size(0))) + " positions; cut it (max_tokens)");
  }
  with_type(x.type(), [&]<class T>(T const*) {
    T* const out = x.overwrite<T>();
    split(of->items(), x.count() * d, [&](std::size_t item) {
      for (std::size_t i = 0; i < of->length(item); ++i)
        kernels<T>().convert(out + (of->offsets[item] + i) * d, from + (of->first_position[item] + offset + i) * stride, type, d);
    });
  });
  if (record) record->begin(x);
  if (record && record->wants(table))
    record->add("embed positions", {}, {&x},
                [table, offset](step_gradients& g) { embed_positions_backward(g.take(), g.weight(table), offset); });
  return x;
}

rows rows_from(tensor const& t, std::shared_ptr<row_packing const> const& of, std::size_t width, dtype precision,
               std::string_view what, tape* record) {
  if (t.rank() != 2 || t.size(0) != of->rows() || t.size(1) != width)
    throw plugin_error(std::string(what) + " must be [" + std::to_string(of->rows()) + ", " + std::to_string(width) + "], not " +
                       describe(t.shape()));
  rows x(of, width, precision);
  with_type(x.type(), [&]<class T>(T const*) {
    tensor const own = t.to(x.type());
    T* const out = x.overwrite<T>();
    if (x.count()) std::memcpy(out, own.values<T const>().data(), x.count() * width * sizeof(T));
  });
  if (record) record->begin(x);
  return x;
}

rows scaled(rows x, double by) {
  recorded_value const from = x.recorded();
  with_type(x.type(), [&]<class T>(T const*) {
    T* const p = x.own<T>();
    in_chunks(x.count() * x.width(),
              [&](std::size_t first, std::size_t n) { kernels<T>().scale(p + first, static_cast<T>(by), n); });
  });
  if (tape* const on = tape::following("scaled", {from}))
    on->add("scaled", {from}, {&x}, [by](step_gradients& g) { g.add(0, scaled(g.take(), by)); });
  return x;
}

rows capped(rows x, double limit) {
  recorded_value const from = x.recorded();
  with_type(x.type(), [&]<class T>(T const*) {
    T* const p = x.own<T>();
    in_chunks(x.count() * x.width(),
              [&](std::size_t first, std::size_t n) { kernels<T>().cap(p + first, static_cast<T>(limit), n); });
  });
  if (tape* const on = tape::following("capped", {from}))
    on->add("capped", {from}, {&x}, [y = x.bare(), limit](step_gradients& g) { g.add(0, cap_backward(y, limit, g.take())); });
  return x;
}

namespace {

/// Adds the runs of columns of dy to where they were taken from.
void add_columns(rows& to, rows const& dy, std::size_t width, std::vector<std::size_t> const& first) {
  with_type(to.type(), [&]<class T>(T const*) {
    T* const p = to.own<T>();
    in_row_chunks(dy.count(), dy.width(), [&](std::size_t row, std::size_t n) {
      for (std::size_t i = row; i < row + n; ++i)
        for (std::size_t j = 0; j < first.size(); ++j) {
          T* const at = p + i * to.width() + first[j];
          kernels<T>().add(at, at, dy.data<T>() + i * dy.width() + j * width, width);
        }
    });
  });
}

}  // namespace

rows columns(rows const& x, std::size_t width, std::span<std::size_t const> first) {
  rows out = x.like(width * first.size());
  for (auto const at : first)
    if (at + width > x.width())
      throw plugin_error("columns " + std::to_string(at) + " to " + std::to_string(at + width) + " of rows of " +
                         std::to_string(x.width()) + " numbers");
  with_type(x.type(), [&]<class T>(T const*) {
    T* const to = out.overwrite<T>();
    T const* const from = x.data<T>();
    in_row_chunks(x.count(), out.width(), [&](std::size_t row, std::size_t n) {
      for (std::size_t i = row; i < row + n; ++i)
        for (std::size_t j = 0; j < first.size(); ++j)
          std::memcpy(to + i * out.width() + j * width, from + i * x.width() + first[j], width * sizeof(T));
    });
  });
  if (tape* const on = tape::following("columns", {x.recorded()}))
    on->add("columns", {x.recorded()}, {&out},
            [width, first = std::vector<std::size_t>(first.begin(), first.end())](step_gradients& g) {
              rows const dy = g.take();
              add_columns(g.sum(0), dy, width, first);
            });
  return out;
}

// ---- norms -------------------------------------------------------------------------------------------------------------------

namespace {

/// The weight or bias of a norm: of one vector, or of all that lie side by side in a row.
template <class T>
struct norm_parameter {
  std::shared_ptr<T const> all;
  std::size_t apart = 0;  // from one vector's numbers to the next one's
  T const* of(std::size_t group) const { return all ? all.get() + group * apart : nullptr; }

  norm_parameter(tensor const& t, rows const& x, std::size_t groups, bool plus_one) {
    if (!t.defined()) return;
    std::size_t const d = x.width() / groups, n = t.rank() == 1 ? t.size(0) : 0;
    if (n != d && n != x.width())
      throw plugin_error("a norm expects rows of " + std::to_string(groups == 1 ? n : n * groups) + " numbers, not " +
                         std::to_string(x.width()));
    all = numbers<T>(t, n);
    apart = n == d ? 0 : d;
    if (!plus_one) return;
    auto own = std::make_shared<std::vector<T>>(all.get(), all.get() + n);
    for (auto& v : *own) v += T(1);
    all = {own, own->data()};
  }
};

rows norm(rows const& x, norm_weights const& weights, tap_scope const& at, bool centred) {
  rows out = x.like(x.width());
  std::size_t const groups = weights.groups;
  if (groups == 0 || x.width() % groups != 0)
    throw plugin_error("a norm of " + std::to_string(groups) + " parts does not fit rows of " + std::to_string(x.width()) +
                       " numbers");
  std::size_t const d = x.width() / groups, count = x.count() * groups;
  with_type(x.type(), [&]<class T>(T const*) {
    norm_parameter<T> const w(weights.w, x, groups, weights.plus_one), b(weights.b, x, groups, false);
    auto const& k = kernels<T>();
    if (!at.wants("hook_scale") && !at.wants("hook_normalized")) {
      T* const to = out.overwrite<T>();
      T const* const from = x.data<T>();
      in_row_chunks(count, d, [&](std::size_t first, std::size_t n) {
        for (std::size_t i = first; i < first + n; ++i) {
          T mean, scale;
          k.norm_scale(&mean, &scale, from + i * d, d, weights.epsilon, centred);
          k.norm_apply(to + i * d, from + i * d, mean, scale, d);
          k.affine(to + i * d, to + i * d, w.of(i % groups), b.of(i % groups), d);
        }
      });
      if (tape* const on = tape::following("norm", {x.recorded()}, {&weights.w, &weights.b}))
        on->add("norm", {x.recorded()}, {&out}, [x = x.bare(), weights, centred](step_gradients& g) {
          auto* const back = centred ? layer_norm_backward : rms_norm_backward;
          g.add(0, back(x, weights, g.take(), {g.weight(weights.w), g.weight(weights.b)}));
        });
      return;
    }
    // Step by step, so that each can be looked at and changed.
    rows scale = x.like(groups), means = x.like(groups), normalized = x.like(x.width());
    T const* const from = x.data<T>();
    T *const s = scale.overwrite<T>(), *const m = means.overwrite<T>();
    in_row_chunks(count, d, [&](std::size_t first, std::size_t n) {
      for (std::size_t i = first; i < first + n; ++i) k.norm_scale(m + i, s + i, from + i * d, d, weights.epsilon, centred);
    });
    add_scale_step(scale, x, weights, centred);
    scale = at("hook_scale", std::move(scale));
    T const* const tapped = scale.data<T>();
    T* const middle = normalized.overwrite<T>();
    in_row_chunks(count, d, [&](std::size_t first, std::size_t n) {
      for (std::size_t i = first; i < first + n; ++i) k.norm_apply(middle + i * d, from + i * d, m[i], tapped[i], d);
    });
    add_normalize_step(normalized, x, scale, means, centred);
    normalized = at("hook_normalized", std::move(normalized));
    T const* const before = normalized.data<T>();
    T* const to = out.overwrite<T>();
    in_row_chunks(count, d, [&](std::size_t first, std::size_t n) {
      for (std::size_t i = first; i < first + n; ++i) k.affine(to + i * d, before + i * d, w.of(i % groups), b.of(i % groups), d);
    });
    add_affine_step(out, normalized, weights);
  });
  return at("hook_out", std::move(out));
}

}  // namespace

layer_kernels::act act_of(activation a) {
  switch (a) {
    case activation::relu:
      return layer_kernels::act::relu;
    case activation::gelu_tanh:
      return layer_kernels::act::gelu_tanh;
    case activation::gelu_erf:
      return layer_kernels::act::gelu_erf;
    case activation::silu:
      return layer_kernels::act::silu;
    case activation::tanh:
      return layer_kernels::act::tanh;
    case activation::gelu_quick:
      return layer_kernels::act::gelu_quick;
    case activation::relu_squared:
      return layer_kernels::act::relu_squared;
    case activation::identity:
      break;
  }
  return layer_kernels::act::identity;
}

rows layer_norm(rows const& x, norm_weights const& w, tap_scope const& at) {
  return norm(x, w, at, true);
}
rows rms_norm(rows const& x, norm_weights const& w, tap_scope const& at) {
  return norm(x, w, at, false);
}

// ---- MLP ---------------------------------------------------------------------------------------------------------------------

activation activation_of(std::string_view name) {
  if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh" || name == "gelu_accurate")
    return activation::gelu_tanh;
  if (name == "quick_gelu") return activation::gelu_quick;
  if (name == "relu2") return activation::relu_squared;
  if (name == "gelu" || name == "gelu_python") return activation::gelu_erf;
  if (name == "relu") return activation::relu;
  if (name == "silu" || name == "swish") return activation::silu;
  if (name == "tanh") return activation::tanh;
  if (name == "linear") return activation::identity;
  throw usage_error("the activation function '" + std::string(name) +
                    "' is not known; known are gelu_new, gelu_fast, gelu_pytorch_tanh, gelu_accurate, quick_gelu, gelu, "
                    "gelu_python, relu, relu2, "
                    "silu, swish, tanh, linear");
}

rows activate(rows x, activation a) {
  recorded_value const from = x.recorded();
  tape* const on = tape::following("activate", {from});
  rows const before = on ? x.bare() : rows();
  with_type(x.type(), [&]<class T>(T const*) {
    T* const p = x.own<T>();
    in_chunks(x.count() * x.width(), [&](std::size_t first, std::size_t n) { kernels<T>().activate(act_of(a), p + first, n); });
  });
  if (on) on->add("activate", {from}, {&x}, [before, a](step_gradients& g) { g.add(0, activate_backward(before, a, g.take())); });
  return x;
}

namespace {

/// x times `by`, number by number.
rows gated(rows x, rows const& by) {
  recorded_value const from = x.recorded();
  tape* const on = tape::following("gate", {from, by.recorded()});
  rows const before = on ? x.bare() : rows();
  with_type(x.type(), [&]<class T>(T const*) {
    T* const p = x.own<T>();
    in_chunks(x.count() * x.width(), [&](std::size_t i, std::size_t n) { kernels<T>().multiply(p + i, by.data<T>() + i, n); });
  });
  if (on)
    on->add("gate", {from, by.recorded()}, {&x}, [before, by = by.bare()](step_gradients& g) {
      rows dy = g.take();
      if (g.wanted(1)) g.add(1, gated(dy, before));
      if (g.wanted(0)) g.add(0, gated(std::move(dy), by));
    });
  return x;
}

}  // namespace

rows mlp(rows const& x, mlp_weights const& w, tap_scope const& at) {
  bool const is_gated = w.gate.w.defined();
  auto const& first = is_gated ? w.gate : w.in;
  bool const apart = at.wants("hook_pre") || tape::following("linear", {x.recorded()}, {&first.w, &first.b});
  rows post = apart ? activate(at("hook_pre", linear(x, first)), w.act) : linear_activated(x, first, act_of(w.act));
  if (is_gated) post = gated(std::move(post), at("hook_pre_linear", linear(x, w.in)));
  return linear(at("hook_post", std::move(post)), w.out);
}

}  // namespace wayfarer
