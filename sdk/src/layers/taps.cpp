#include <wayfarer/taps.hpp>

#include <algorithm>
#include <cstdio>

#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>

namespace wayfarer {

taps::taps(model_info const& info, run_request const& request) {
  auto const known = [&](std::string const& name) {
    if (auto const* const hook = info.find_hook(name)) return hook;
    std::vector<std::string> names;
    for (auto const& h : info.hooks) names.push_back(h.name);
    throw usage_error(info.architecture + " has no hook '" + name + "'" + did_you_mean(name, names));
  };
  for (auto const& name : request.capture.names()) entries_.push_back({name, known(name), true, {}, false, {}});
  for (auto const& e : request.edits) entries_.push_back({e.hook, known(e.hook), false, {&e}, false, {}});
  // Stable: edits of one hook keep their order.
  std::stable_sort(entries_.begin(), entries_.end(), [](entry const& a, entry const& b) { return a.name < b.name; });
  std::vector<entry> merged;
  for (auto& e : entries_) {
    if (merged.empty() || merged.back().name != e.name) {
      merged.push_back(std::move(e));
      continue;
    }
    merged.back().capture |= e.capture;
    merged.back().edits.insert(merged.back().edits.end(), e.edits.begin(), e.edits.end());
  }
  entries_ = std::move(merged);
  left_ = static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(), [](entry const& e) { return e.capture; }));
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
    if (!e.capture) continue;
    if (!e.fired) throw plugin_error("hook '" + e.name + "' was asked for and not reached");
    out.put(e.name, std::move(e.kept));
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
    if (x.type() == dtype::f64)
      x.own<double>();
    else
      x.own<float>();
    parallel_for(x.packing().items(), [&](std::size_t item) {
      tensor const t = x.item(item, e.hook->row);
      for (auto const* const edit : e.edits) edit->change({item, x.packing().first_position[item]}, t);
    });
  }
  if (e.capture && !e.fired) {
    for (std::size_t item = 0; item < x.packing().items(); ++item) e.kept.push_back(x.item(item, e.hook->row));
    --of_->left_;
  }
  e.fired = true;
  return x;
}

pairs tap_scope::visit(std::string_view name, pairs x) const {
  std::size_t const i = find(name);
  if (i == last_) return x;
  auto& e = of_->entries_[i];
  if (!e.hook->per_pair) throw plugin_error("hook '" + e.name + "' is over pairs, unlike what the model says");
  if (!e.edits.empty()) {
    x.unshare();
    parallel_for(x.packing().items(), [&](std::size_t item) {
      tensor const t = x.item(item);
      for (auto const* const edit : e.edits) edit->change({item, x.packing().first_position[item]}, t);
    });
  }
  if (e.capture && !e.fired) {
    for (std::size_t item = 0; item < x.packing().items(); ++item) e.kept.push_back(x.item(item));
    --of_->left_;
  }
  e.fired = true;
  return x;
}

}  // namespace wayfarer
