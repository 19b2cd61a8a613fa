#include "engine/texts.hpp"

#include <algorithm>

#include <wayfarer/utf8.hpp>
#include <wayfarer/whole_texts.hpp>

#include "engine/failure.hpp"
#include "text/numbers.hpp"

namespace wayfarer::host {
namespace {

/// `check` looks at this many items of a pass.
constexpr std::size_t looked_at = 1000, looked_at_once = 50;

void raise(std::atomic<std::size_t>& most, std::size_t n) noexcept {
  for (std::size_t seen = most.load(); seen < n && !most.compare_exchange_weak(seen, n);) {
  }
}

}  // namespace

void text_counts::add_length(std::size_t length) noexcept {
  ++items_;
  raise(longest_, length);
  if (most_ != 0 && length > most_) ++cut_;
}

void text_counts::add_text(std::string_view text) noexcept {
  ++texts_;
  if (text.find_first_not_of(" \t\n\v\f\r") == text.npos) ++empty_;
}

void text_counts::add(item_block const& block, batch const& tokens) noexcept {
  for (std::size_t const length : tokens.uncut) add_length(length);
  if (!block.tokens.empty()) return;
  for (auto const& text : block.texts) add_text(text);
}

std::vector<std::int64_t> text_counts::numbers() const {
  std::vector<std::int64_t> all;
  for (auto const* n : {&items_, &texts_, &cut_, &empty_, &longest_}) all.push_back(static_cast<std::int64_t>(n->load()));
  return all;
}

void text_counts::add(std::span<std::int64_t const> numbers) noexcept {
  std::size_t i = 0;
  for (auto* n : {&items_, &texts_, &cut_, &empty_}) *n += static_cast<std::size_t>(numbers[i++]);
  raise(longest_, static_cast<std::size_t>(numbers[i]));
}

std::vector<std::string> text_counts::messages(std::string const& model, std::string const& among) const {
  std::vector<std::string> all;
  if (cut_ != 0)
    all.push_back(format_count(cut_) + " of " + format_count(items_) + (texts_ != 0 ? " texts" : " items") + among +
                  (cut_ == 1 ? " is" : " are") + " longer than the " + format_count(most_) + " tokens that " + model +
                  " reads; the rest is cut off. The longest has " + format_count(longest_));
  if (empty_ != 0)
    all.push_back(format_count(empty_) + " of " + format_count(texts_) + " texts" + among +
                  (empty_ == 1 ? " is empty or white space" : " are empty or white space"));
  return all;
}

std::size_t most_tokens(model_info const& m, std::size_t max_tokens) noexcept {
  return max_tokens != 0 && (m.longest == 0 || max_tokens <= m.longest) ? 0 : m.longest;
}

bool loses_cut_text(probe const& what, hook_set const& hooks) noexcept {
  return !hooks.empty() && !dynamic_cast<reads_whole_texts const*>(&what);
}

std::vector<std::string> notes_of(tokenizer const* t) {
  auto const* const noted = dynamic_cast<pair_tokenizer const*>(t);
  return noted ? noted->notes() : std::vector<std::string>{};
}

std::vector<file_remark> remarks_of(plan const& p, std::vector<instance> const& all, std::vector<problem>& problems) {
  std::vector<file_remark> out;
  auto const say = [&](std::size_t node, std::string text) {
    auto const same = [&](file_remark const& r) { return r.node == node && r.text == text; };
    if (std::none_of(out.begin(), out.end(), same)) out.push_back({node, std::move(text)});
  };
  for (std::size_t i = 0; i < p.nodes.size(); ++i)
    if (all[i].source)
      for (auto const& note : all[i].source->info().notes) say(i, note);
  for (auto const& t : tasks_of(p)) {
    plan_node const& front = p.nodes[t.nodes.front()];
    if (front.kind != plugin_kind::probe) continue;
    std::size_t data = p.nodes.size(), over = p.nodes.size();
    for (auto const& w : front.wires) {
      if (is_edit(w)) continue;
      if (w.kind == port_kind::source && w.port.find('.') == std::string::npos) data = w.node;
      if (w.kind == port_kind::model) over = w.node;
    }
    if (data == p.nodes.size() || over == p.nodes.size() || !all[data].source || !all[over].model) continue;
    source const& from = *all[data].source;
    model const& m = *all[over].model;
    if (!from.info().has_texts && !from.info().has_tokens) continue;
    try {
      tokenizer const* const cutter = from.info().has_tokens ? nullptr : m.text_tokenizer();
      for (auto const& note : notes_of(cutter)) say(over, note);
      item_range const whole = items_of(front, from.info());
      item_range const some{whole.first, std::min(whole.last, whole.first + looked_at)};
      if (some.size() == 0) continue;
      bool const captures = std::any_of(t.nodes.begin(), t.nodes.end(), [&](std::size_t i) {
        return all[i].probe && loses_cut_text(*all[i].probe, all[i].hooks);
      });
      text_counts counts(captures ? most_tokens(m.info(), front.max_tokens) : 0);
      for (std::size_t first = some.first; first < some.last; first += looked_at_once) {
        item_range const r{first, std::min(some.last, first + looked_at_once)};
        item_block const block = with_place(p.nodes[data].name, [&] { return from.read(r); });
        counts.add(block, with_place(p.nodes[over].name, [&] { return m.encode(block, {front.max_tokens}); }));
      }
      std::string const among = some == whole ? "" : ", of the first " + format_count(some.size()) + " items,";
      for (auto& text : counts.messages(p.nodes[over].name + " (" + m.info().architecture + ")", among))
        say(data, std::move(text));
    } catch (error const& e) {
      problems.push_back({front.at, front.name + " (" + std::string(front.what->id()) + "): " + e.what(), e.exit_code()});
    }
  }
  return out;
}

}  // namespace wayfarer::host
