#include <wayfarer/tape.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/layers.hpp>

#include "common.hpp"

namespace wayfarer {

namespace {

/// The gradient of a value: columns [first, first + width) of a matrix, all of which may be those of several values.
struct summed {
  rows all{};
  std::size_t first = 0;
};

rows zeros(recorded_value const& shape) {
  rows out(shape.of, shape.width, shape.precision);
  with_type(out.type(), [&]<class T>(T const*) {
    T* const p = out.overwrite<T>();
    in_chunks(out.count() * out.width(), [&](std::size_t first, std::size_t n) { std::fill(p + first, p + first + n, T(0)); });
  });
  return out;
}

/// The columns by themselves.
rows plain(summed one, std::size_t width) {
  if (one.all.width() == width) return std::move(one.all);
  return columns(one.all, width, {&one.first, 1});
}

/// A tensor whose bytes are [begin, end), and where its gradient goes.
struct wanted_weight {
  tensor weight, gradient;
  bool read = false;

  bool holds(tensor const& t) const {
    auto const at = reinterpret_cast<std::uintptr_t>(t.raw()), from = reinterpret_cast<std::uintptr_t>(weight.raw());
    return t.type() == weight.type() && at >= from && at < from + weight.bytes();
  }
  tensor of(tensor const& t) const {
    auto const apart =
        static_cast<std::size_t>(static_cast<std::byte const*>(t.raw()) - static_cast<std::byte const*>(weight.raw())) /
        size_of(weight.type());
    auto* const to = static_cast<std::byte*>(const_cast<void*>(gradient.raw())) + apart * size_of(gradient.type());
    return tensor::lend(gradient.type(), to, t.shape(), std::make_shared<tensor>(gradient), t.strides());
  }
};

}  // namespace

struct tape::state {
  struct step {
    std::string layer;
    std::vector<recorded_value> read, made;
    way_back back;
  };
  struct value {
    recorded_value shape;
    summed gradient{};
    bool watched = false;
  };
  std::vector<wanted_weight> weights;
  std::vector<step> steps;
  std::vector<value> values;  // value i has the id i + 1
  bool walked = false;

  value& of(recorded_value const& v) { return values[v.id - 1]; }
  wanted_weight* find(tensor const& t) {
    if (!t.defined()) return nullptr;
    auto const at = std::find_if(weights.begin(), weights.end(), [&](wanted_weight const& w) { return w.holds(t); });
    return at == weights.end() ? nullptr : &*at;
  }
};

tape::tape() : state_(std::make_unique<state>()) {}
tape::~tape() = default;

// ---- weights -----------------------------------------------------------------------------------------------------------------

void tape::want(tensor const& weight, tensor const& gradient) {
  if (!weight.defined() || !weight.contiguous() || !gradient.contiguous() || gradient.count() != weight.count() ||
      (gradient.type() != dtype::f32 && gradient.type() != dtype::f64))
    throw plugin_error("a gradient of " + describe(gradient.shape()) + " does not fit a weight of " + describe(weight.shape()) +
                       ": both must be contiguous and of as many numbers, and the gradient float32 or float64");
  state_->weights.push_back({weight, gradient});
}

bool tape::wants(tensor const& weight) {
  auto* const found = state_->find(weight);
  if (found) found->read = true;
  return found != nullptr;
}

tensor tape::weight_gradient(tensor const& weight) const {
  auto const* const found = state_->find(weight);
  return found ? found->of(weight) : tensor();
}

// ---- recording ---------------------------------------------------------------------------------------------------------------

tape* tape::following(std::string_view layer, std::initializer_list<recorded_value> read,
                      std::initializer_list<tensor const*> weights) {
  tape* on = nullptr;
  bool followed = false;
  for (auto const& v : read) {
    if (!v.on) continue;
    if (on && on != v.on) throw plugin_error(std::string(layer) + " reads rows of two tapes");
    on = v.on;
    if (v.id == rows::unknown)
      throw usage_error("'" + std::string(layer) +
                        "' reads what was made of recorded rows in a way that has no gradient yet: no gradient can be computed "
                        "behind it");
    followed |= v.id != 0;
  }
  if (on)
    for (auto const* const w : weights) followed |= on->wants(*w);
  return followed ? on : nullptr;
}

std::uint32_t tape::new_value(recorded_value const& shape) {
  if (shape.precision == dtype::bf16) throw usage_error("gradients are computed in float32 or float64, not in bfloat16");
  if (state_->values.size() + 1 >= rows::unknown) throw resource_error("a tape holds less than 2^32 - 1 values");
  state_->values.push_back({shape});
  auto const id = static_cast<std::uint32_t>(state_->values.size());
  state_->values.back().shape.id = id;
  return id;
}

void tape::add(std::string_view layer, std::vector<recorded_value> read, std::initializer_list<rows*> made, way_back back) {
  if (state_->walked) throw plugin_error("a tape that was walked records nothing more");
  state::step s{std::string(layer), std::move(read), {}, std::move(back)};
  for (rows* const x : made) {
    x->tape_ = this;
    x->value_ = new_value(x->recorded());
    s.made.push_back(x->recorded());
  }
  state_->steps.push_back(std::move(s));
}

void tape::begin(rows& x) {
  x.tape_ = this, x.value_ = 0;
}

void tape::cut(rows& x, recorded_value const& before, std::string why) {
  x.tape_ = this, x.value_ = 0;
  if (before.id == 0) return;
  add("edit", {before}, {&x}, [why = std::move(why)](step_gradients&) { throw usage_error(why); });
}

recorded_value tape::watch(rows& x) {
  if (x.value_ == rows::unknown) following("a gradient", {x.recorded()});
  if (x.value_ == 0) x.tape_ = this, x.value_ = new_value(x.recorded());
  state_->of(x.recorded()).watched = true;
  return x.recorded();
}

// ---- the way back ------------------------------------------------------------------------------------------------------------

namespace {

/// `whole`: all columns are the value's.
void add_to(summed& to, recorded_value const& shape, summed more, bool whole) {
  if (more.all.count() != shape.of->rows() || (whole && more.all.width() != shape.width) ||
      more.first + shape.width > more.all.width() || (more.all.type() == dtype::f64) != (shape.precision == dtype::f64))
    throw plugin_error("a gradient of " + std::to_string(more.all.count()) + " rows of " + std::to_string(more.all.width()) +
                       " numbers does not fit " + std::to_string(shape.of->rows()) + " rows of " + std::to_string(shape.width));
  if (!to.all.defined()) {
    to = std::move(more);
    return;
  }
  to = {plain(std::move(to), shape.width), 0};
  to.all += plain(std::move(more), shape.width);
}

}  // namespace

void tape::seed(recorded_value const& v, rows gradient) {
  if (v.id == rows::unknown) following("a gradient", {v});
  if (v.id == 0) return;  // nothing that is wanted lies before it
  add_to(state_->of(v).gradient, v, {gradient.bare(), 0}, true);
}

void tape::back() {
  for (auto const& w : state_->weights)
    if (!w.read)
      throw plugin_error("the gradient of a weight of " + describe(w.weight.shape()) +
                         " was asked for, which the pass does not read");
  state_->walked = true;
  while (!state_->steps.empty()) {
    state::step s = std::move(state_->steps.back());
    state_->steps.pop_back();
    bool const reached =
        std::any_of(s.made.begin(), s.made.end(), [&](recorded_value const& v) { return state_->of(v).gradient.all.defined(); });
    if (reached) {
      step_gradients now(*this, s.read, s.made);
      s.back(now);
    }
    for (auto const& v : s.made)
      if (auto& one = state_->of(v); !one.watched) one.gradient = {};
  }
}

rows tape::gradient(recorded_value const& v) const {
  if (v.id == 0 || v.id == rows::unknown || !state_->of(v).watched)
    throw plugin_error("a gradient was asked for that was not watched");
  auto const& one = state_->of(v).gradient;
  return one.all.defined() ? plain(one, v.width) : zeros(v);
}

std::size_t tape::steps() const noexcept {
  return state_->steps.size();
}

rows step_gradients::take(std::size_t made) {
  auto& one = on_.state_->of(made_[made]);
  if (!one.gradient.all.defined()) return zeros(made_[made]);
  return plain(one.watched ? one.gradient : std::exchange(one.gradient, {}), made_[made].width);
}

std::optional<rows> step_gradients::take_joined() {
  std::size_t at = 0;
  rows all;
  for (auto const& v : made_) {
    auto const& one = on_.state_->of(v).gradient;
    bool const same =
        one.all.defined() &&
        (!all.defined() || (one.all.recorded().of == all.recorded().of && one.all.data<std::byte>() == all.data<std::byte>()));
    if (!same || one.first != at) return {};
    all = one.all, at += v.width;
  }
  if (!all.defined() || at != all.width()) return {};
  for (auto const& v : made_)
    if (auto& one = on_.state_->of(v); !one.watched) one.gradient = {};
  return all;
}

bool step_gradients::wanted(std::size_t read) const {
  return read_[read].id != 0;
}

void step_gradients::add(std::size_t read, rows gradient) {
  if (wanted(read)) add_to(on_.state_->of(read_[read]).gradient, read_[read], {std::move(gradient), 0}, true);
}

void step_gradients::add_columns(std::size_t read, rows const& all, std::size_t first) {
  if (wanted(read)) add_to(on_.state_->of(read_[read]).gradient, read_[read], {all, first}, false);
}

rows& step_gradients::sum(std::size_t read) {
  auto& to = on_.state_->of(read_[read]).gradient;
  to = {to.all.defined() ? plain(std::move(to), read_[read].width) : zeros(read_[read]), 0};
  return to.all;
}

tensor step_gradients::weight(tensor const& weight) const {
  return on_.weight_gradient(weight);
}

}  // namespace wayfarer
