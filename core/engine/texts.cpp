#include "engine/texts.hpp"

#include <algorithm>
#include <utility>

#include <wayfarer/findings.hpp>
#include <wayfarer/utf8.hpp>
#include <wayfarer/whole_texts.hpp>

#include "engine/edits.hpp"
#include "engine/failure.hpp"
#include "engine/node_problems.hpp"
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

namespace {

/// The parameter of a source that lists its items in the pipeline file, one element each; "" if they come from elsewhere.
std::string written_items(plan_node const& node, source_info const& info) {
  for (auto const& d : node.what->params())
    if (d.type == param_type::text_list && node.origins.contains(d.name) && node.parameters.has(d.name) &&
        node.parameters[d.name].texts().size() == info.items)
      return d.name;
  return {};
}

/// One pass over items, as `check` looks at it.
class pass_reader {
 public:
  pass_reader(plan const& p, std::vector<instance> const& all, task const& t, std::size_t data, std::size_t over,
              std::vector<problem>& problems)
      : plan_(p),
        all_(all),
        task_(t),
        data_(data),
        over_(over),
        problems_(problems),
        whole_(items_of(front(), from().info())),
        some_{whole_.first, std::min(whole_.last, whole_.first + looked_at)} {}

  /// Items that the model refuses are added to the problems, each where it stands.
  bool read(text_counts& counts) {
    std::size_t const before = problems_.size();
    for (std::size_t first = some_.first; first < some_.last && problems_.size() - before < most_told; first += looked_at_once) {
      item_range const r{first, std::min(some_.last, first + looked_at_once)};
      try {
        take(r, counts);
      } catch (error const& e) {
        refuse(r, e);
      }
    }
    return problems_.size() == before;
  }

  /// What positions of edits and of probes come to, now that lengths are known.
  std::vector<std::string> foresee() {
    std::vector<std::string> out;
    bool const known = some_ == whole_;
    for (std::size_t const i : task_.nodes) {
      plan_node const& node = plan_.nodes[i];
      if (!all_[i].asks_for_hooks()) continue;
      auto lines = foresee_edits(node, model_of().info(), all_[i].edit_values, some_, lengths_, known, problems_);
      if (out.empty()) out = std::move(lines);  // those that share a pass share their edits
      item_lengths longest;
      for (auto const& one : lengths_)
        longest.tokens = std::max(longest.tokens, one.tokens), longest.decoder = std::max(longest.decoder, one.decoder);
      node_problems wrong(node, &model_of(), problems_);
      auto const shape = [&](probe const& one) {
        accumulator fields(0);
        one.shape(fields, probe_context(&model_of(), &from(), whole_, 0, longest.tokens, longest.decoder));
      };
      if (!known) continue;
      for (std::size_t c = 0; c < node.combinations() && all_[i].probe; ++c)
        wrong.none_in(c, [&] { shape(*all_[i].at(c).probe); });
      for (auto const& rest : all_[i].remainders) wrong.none_in(rest.combination, rest.values, [&] { shape(*rest.probe); });
    }
    return out;
  }

  std::size_t size() const noexcept { return some_.size(); }
  std::string among() const { return some_ == whole_ ? "" : ", of the first " + format_count(some_.size()) + " items,"; }
  plan_node const& front() const { return plan_.nodes[task_.nodes.front()]; }
  source const& from() const { return *all_[data_].source; }
  model const& model_of() const { return *all_[over_].model; }

 private:
  static constexpr std::size_t most_told = 20;

  void take(item_range r, text_counts& counts) {
    item_block const block = with_place(plan_.nodes[data_].name, [&] { return from().read(r); });
    batch const tokens = with_place(plan_.nodes[over_].name, [&] { return model_of().encode(block, {front().max_tokens}); });
    counts.add(block, tokens);
    for (std::size_t i = 0; i < r.size(); ++i)
      lengths_.push_back({tokens.tokens[i].size(), tokens.decoder_tokens.empty() ? 0 : tokens.decoder_tokens[i].size()});
  }

  /// Item by item, as any of the block may be at fault.
  void refuse(item_range r, error const& whole) {
    std::string const list = written_items(plan_.nodes[data_], from().info());
    std::vector<std::pair<std::size_t, std::string>> wrong;
    for (std::size_t i = r.first; i < r.last; ++i) {
      text_counts none(0);
      try {
        take({i, i + 1}, none);
      } catch (error const& e) {
        wrong.emplace_back(i, e.what());
      }
    }
    // What is said of every item in the same words is no item's own fault.
    bool const of_all = std::all_of(wrong.begin(), wrong.end(), [&](auto const& one) { return one.second == whole.what(); });
    std::string const name = front().name + " (" + std::string(front().what->id()) + "): ";
    if (list.empty() || wrong.empty() || (of_all && wrong.size() > 1))
      return void(problems_.push_back({front().at, name + whole.what(), whole.exit_code()}));
    for (std::size_t k = 0; k < std::min(wrong.size(), most_told); ++k) {
      origin const at = plan_.nodes[data_].origin_of(list, wrong[k].first);
      problems_.push_back({at.at, name + wrong[k].second, whole.exit_code(), at.option});
    }
    if (wrong.size() > most_told)
      problems_.push_back({front().at, name + "and " + counted(wrong.size() - most_told, "more item") + " like it", 3});
  }

  plan const& plan_;
  std::vector<instance> const& all_;
  task const& task_;
  std::size_t data_, over_;
  std::vector<problem>& problems_;
  item_range whole_, some_;
  std::vector<item_lengths> lengths_;
};

}  // namespace

std::vector<file_remark> remarks_of(plan const& p, std::vector<instance> const& all, std::vector<problem>& problems) {
  std::vector<file_remark> out;
  auto const say = [&](std::size_t node, std::string text) {
    auto const same = [&](file_remark const& r) { return r.node == node && r.text == text; };
    if (std::none_of(out.begin(), out.end(), same)) out.push_back({node, std::move(text)});
  };
  for (std::size_t i = 0; i < p.nodes.size(); ++i)
    if (all[i].source)
      for (auto const& note : all[i].source->info().notes) say(i, note);
  auto const tasks = tasks_of(p);
  for (auto const& t : tasks) {
    plan_node const& front = p.nodes[t.nodes.front()];
    if (front.kind != plugin_kind::probe || !front.what) continue;
    std::size_t data = p.nodes.size(), over = p.nodes.size();
    for (auto const& w : front.wires) {
      if (is_edit(w)) continue;
      if (w.kind == port_kind::source && w.port.find('.') == std::string::npos) data = w.node;
      if (w.kind == port_kind::model) over = w.node;
    }
    if (data == p.nodes.size() || over == p.nodes.size() || !all[data].source || !all[over].model) continue;
    source_info const& info = all[data].source->info();
    model const& m = *all[over].model;
    if (!info.has_texts && !info.has_tokens) continue;
    try {
      tokenizer const* const cutter = info.has_tokens ? nullptr : m.text_tokenizer();
      for (auto const& note : notes_of(cutter)) say(over, note);
      pass_reader pass(p, all, t, data, over, problems);
      if (pass.size() == 0) continue;
      bool const captures = std::any_of(t.nodes.begin(), t.nodes.end(), [&](std::size_t i) {
        return all[i].probe && loses_cut_text(*all[i].probe, all[i].hooks);
      });
      text_counts counts(captures ? most_tokens(m.info(), front.max_tokens) : 0);
      bool const read = pass.read(counts);
      for (auto& text : counts.messages(p.nodes[over].name + " (" + m.info().architecture + ")", pass.among()))
        say(data, std::move(text));
      if (read)
        for (auto& text : pass.foresee()) say(t.nodes.front(), std::move(text));
    } catch (error const& e) {
      problems.push_back({front.at, front.name + " (" + std::string(front.what->id()) + "): " + e.what(), e.exit_code()});
    }
  }
  return out;
}

}  // namespace wayfarer::host
