#include <wayfarer/taps.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>

#include "common.hpp"

namespace wayfarer {

taps::taps(model_info const& info, run_request const& request, tape* record, gradient_taps const& gradients) : on_(record) {
  auto const known = [&](std::string const& name) {
    if (auto const* const hook = info.find_hook(name)) return hook;
    std::vector<std::string> names;
    for (auto const& h : info.hooks) names.push_back(h.name);
    throw usage_error(info.architecture + " has no hook '" + name + "'" + did_you_mean(name, names));
  };
  if (!record && (!gradients.watched.empty() || !gradients.seeded.empty())) throw plugin_error("gradients of hooks need a tape");
  auto const add = [&](std::string const& name) -> entry& {
    entries_.push_back({name, known(name), false, {}, false, {}, false, false, false, {}, {}});
    return entries_.back();
  };
  for (auto const& name : request.capture.names()) add(name).capture = true;
  for (auto const& name : gradients.watched.names()) {
    entry& e = add(name);
    e.watched = true, e.gradient = std::make_shared<pairs>();
  }
  for (auto const& name : gradients.seeded.names()) add(name).seeded = true;
  for (auto const& e : request.edits) add(e.hook).edits.push_back(&e);
  // Stable: edits of one hook keep their order.
  std::stable_sort(entries_.begin(), entries_.end(), [](entry const& a, entry const& b) { return a.name < b.name; });
  std::vector<entry> merged;
  for (auto& e : entries_) {
    if (merged.empty() || merged.back().name != e.name) {
      merged.push_back(std::move(e));
      continue;
    }
    entry& into = merged.back();
    into.capture |= e.capture, into.watched |= e.watched, into.seeded |= e.seeded;
    if (e.gradient) into.gradient = std::move(e.gradient);
    into.edits.insert(into.edits.end(), e.edits.begin(), e.edits.end());
  }
  entries_ = std::move(merged);
  left_ = static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(), [](entry const& e) { return e.needed(); }));
  if (gradients.to_the_end) ++left_;
}

tap_scope taps::all() noexcept {
  tap_scope s;
  s.of_ = this;
  s.last_ = entries_.size();
  return s;
}

activations taps::take() {
  activations out;
  for (auto& e : entries_) {
    if (!e.needed()) continue;
    if (!e.fired) throw plugin_error("hook '" + e.name + "' was asked for and not reached");
    if (e.capture) out.put(e.name, std::move(e.kept));
  }
  return out;
}

namespace {

/// Tensors of items, one behind the other, as rows.
rows packed(recorded_value const& shape, std::string const& hook, std::vector<tensor> const& per_item) {
  if (per_item.size() != shape.of->items())
    throw plugin_error("a gradient at '" + hook + "' for " + std::to_string(per_item.size()) + " items, and not the batch's " +
                       std::to_string(shape.of->items()));
  rows out(shape.of, shape.width, shape.precision);
  with_type(out.type(), [&]<class T>(T const*) {
    T* to = out.overwrite<T>();
    for (std::size_t i = 0; i < per_item.size(); ++i) {
      std::size_t const n = shape.of->length(i) * shape.width;
      tensor const own = per_item[i].defined() ? per_item[i].to(out.type()) : tensor();
      if (own.count() != n)
        throw plugin_error("a gradient at '" + hook + "' for item " + std::to_string(i) + " is " + describe(own.shape()) +
                           ", and the hook has " + std::to_string(n) + " numbers there");
      if (n) std::memcpy(to, own.values<T const>().data(), n * sizeof(T));
      to += n;
    }
  });
  return out;
}

void clear(pairs& p) {
  with_type(p.type(), [&]<class T>(T const*) {
    auto const& of = p.packing();
    for (std::size_t i = 0; i < of.items(); ++i)
      if (std::size_t const n = p.heads() * of.length(i) * p.keys(i)) std::fill(p.head<T>(i, 0), p.head<T>(i, 0) + n, T(0));
  });
}

}  // namespace

void taps::seed(std::string_view hook, std::vector<tensor> const& per_item) {
  for (auto& e : entries_)
    if (e.name == hook && e.seeded && e.fired) return on_->seed(e.value, packed(e.value, e.name, per_item));
  throw plugin_error("no gradient can begin at hook '" + std::string(hook) + "', which was not asked for or not reached");
}

activations taps::gradients() {
  activations out;
  for (auto& e : entries_) {
    if (!e.watched) continue;
    if (e.hook->per_pair && !e.served) throw usage_error("hook '" + e.name + "' has no gradient yet");
    std::vector<tensor> per_item;
    if (e.hook->per_pair) {
      for (std::size_t i = 0; i < e.gradient->packing().items(); ++i) per_item.push_back(e.gradient->item(i));
    } else {
      rows const g = on_->gradient(e.value);
      for (std::size_t i = 0; i < g.packing().items(); ++i) per_item.push_back(g.item(i, e.hook->row));
    }
    out.put(e.name, std::move(per_item));
  }
  return out;
}

std::size_t tap_scope::find(std::string_view name) const noexcept {
  for (std::size_t i = first_; i < last_; ++i)
    if (std::string_view(of_->entries_[i].name).substr(prefix_) == name) return i;
  return last_;
}

bool tap_scope::edits(std::string_view name) const noexcept {
  std::size_t const i = first_ == last_ ? last_ : find(name);
  return i != last_ && !of_->entries_[i].edits.empty();
}

std::string tap_scope::name_of(std::string_view name) const {
  std::size_t const i = first_ == last_ ? last_ : find(name);
  return i == last_ ? std::string(name) : of_->entries_[i].name;
}

tape* tap_scope::on_tape() const noexcept {
  return first_ == last_ ? nullptr : of_->on_;
}

std::shared_ptr<pairs> tap_scope::gradient_of_pairs(std::string_view name) const {
  std::size_t const i = first_ == last_ ? last_ : find(name);
  if (i == last_ || !of_->entries_[i].watched) return {};
  auto& e = of_->entries_[i];
  e.served = true;
  return e.gradient;
}

tap_scope tap_scope::in(std::string_view part) const noexcept {
  if (first_ == last_) return *this;
  tap_scope s = *this;
  auto const begins = [&](std::size_t i) {
    auto const rest = std::string_view(of_->entries_[i].name).substr(prefix_);
    return rest.size() > part.size() && rest.starts_with(part) && rest[part.size()] == '.';
  };
  while (s.first_ != s.last_ && !begins(s.first_)) ++s.first_;
  while (s.first_ != s.last_ && !begins(s.last_ - 1)) --s.last_;
  s.prefix_ += part.size() + 1;
  return s;
}

tap_scope tap_scope::block(std::string_view stack, std::size_t i) const noexcept {
  if (first_ == last_) return *this;
  char text[128];
  int const n =
      std::snprintf(text, sizeof text, "%.*s.%zu", static_cast<int>(std::min<std::size_t>(stack.size(), 64)), stack.data(), i);
  return in({text, static_cast<std::size_t>(n)});
}

rows tap_scope::visit(std::string_view name, rows x) const {
  std::size_t const i = find(name);
  if (i == last_) return x;
  auto& e = of_->entries_[i];
  std::size_t width = 1;
  for (auto const& d : e.hook->row) width *= d.size;
  if (e.hook->per_pair || width != x.width())
    throw plugin_error("hook '" + e.name + "' has rows of " + std::to_string(x.width()) + " numbers, not the " +
                       std::to_string(width) + " that the model says");
  if (!e.edits.empty()) {
    recorded_value const before = x.recorded();
    if (x.type() == dtype::f64)
      x.own<double>();
    else
      x.own<float>();
    parallel_for(x.packing().items(), [&](std::size_t item) {
      tensor const t = x.item(item, e.hook->row);
      for (auto const* const edit : e.edits) edit->change({item, x.packing().first_position[item]}, t);
    });
    if (of_->on_) of_->on_->cut(x, before, "a gradient would have to pass the edit of '" + e.name + "', and edits have none");
  }
  if (!e.fired) of_->take_note(e, x);
  e.fired = true;
  return x;
}

void taps::take_note(entry& e, rows& x) {
  if (e.capture)
    for (std::size_t item = 0; item < x.packing().items(); ++item) e.kept.push_back(x.item(item, e.hook->row));
  if (e.watched)
    e.value = on_->watch(x);
  else if (e.seeded)
    e.value = x.recorded();
  if (e.needed()) --left_;
}

pairs tap_scope::visit(std::string_view name, pairs x) const {
  std::size_t const i = find(name);
  if (i == last_) return x;
  auto& e = of_->entries_[i];
  if (!e.hook->per_pair) throw plugin_error("hook '" + e.name + "' is over pairs, unlike what the model says");
  if (e.seeded) throw usage_error("no gradient can begin at '" + e.name + "' yet: it is over pairs of positions");
  if (!e.edits.empty()) {
    x.unshare();
    parallel_for(x.packing().items(), [&](std::size_t item) {
      tensor const t = x.item(item);
      for (auto const* const edit : e.edits) edit->change({item, x.packing().first_position[item]}, t);
    });
  }
  if (!e.fired && e.needed()) {
    for (std::size_t item = 0; e.capture && item < x.packing().items(); ++item) e.kept.push_back(x.item(item));
    if (e.watched) clear(*e.gradient = x.like());
    --of_->left_;
  }
  e.fired = true;
  return x;
}

}  // namespace wayfarer
