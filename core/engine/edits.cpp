#include "engine/edits.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <optional>

#include <wayfarer/array_file.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>

#include "engine/spoiled.hpp"
#include "text/numbers.hpp"

namespace wayfarer::host {
namespace {

std::optional<std::size_t> head_axis(hook_info const& h) {
  return !h.row.empty() && h.row[0].name == "head" ? std::optional<std::size_t>(0) : std::nullopt;
}

/// Heads of a hook; 0 if it has none. The heads of a pattern are not in its row.
std::size_t heads_of(hook_info const& h, model_info const& m) {
  if (h.per_pair) return m.heads;
  auto const a = head_axis(h);
  return a ? h.row[*a].size : 0;
}

// ---- values ----

/// How a value meets an activation.
enum class reading {
  row,          // the hook's own row, the same at every position
  row_of_head,  // without the dimension "head": the same for each chosen head
  by_position,  // [pos, row...]: position p gets the value's p
  pattern       // [head, query, key]
};

std::optional<reading> reading_of(edit_spec const& e, hook_info const& h, dims const& value) {
  auto const fits = [&](std::size_t from, dims const& row) {
    return value.size() == from + row.size() &&
           std::equal(row.begin(), row.end(), value.begin() + static_cast<std::ptrdiff_t>(from),
                      [](dim const& a, dim const& b) { return a.size == b.size; });
  };
  if (h.per_pair) return value.size() == 3 ? std::optional(reading::pattern) : std::nullopt;
  if (fits(0, h.row)) return reading::row;
  if (auto const head = head_axis(h); head && !e.heads.empty()) {
    dims without = h.row;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(*head));
    if (fits(0, without)) return reading::row_of_head;
  }
  if (fits(1, h.row)) return reading::by_position;
  return std::nullopt;
}

std::string misfit(edit_spec const& e, hook_info const& h, tensor const& value) {
  std::string wanted = "query by key for each head";
  if (!h.per_pair) wanted = "[" + describe(h.row) + "], or that for each position";
  return "the value of the edit of '" + e.hook + "' is [" + describe(value.shape()) + "], which does not fit " + h.name +
         ": it takes " + wanted;
}

/// Why a value that fits may still mean two things; "" if it doesn't. One row is a direction to some and position 0 to others,
/// which are the same only where nothing else is edited.
std::string two_meanings(edit_spec const& e, hook_info const& h, tensor const& value) {
  if (reading_of(e, h, value.shape()) != reading::by_position || value.size(0) != 1) return "";
  if (e.positions.size() == 1 && e.positions[0] == 0) return "";
  return "the value of the edit of '" + e.hook + "' is [" + describe(value.shape()) + "], one row: save it as [" +
         describe(h.row) + "] if it is for every position, or give positions: [0]";
}

template <class T>
void combine(tensor_view<T> to, tensor_view<T const> from, bool adds, T scale) {
  if (to.rank() == 0) {
    to() = adds ? to() + scale * from() : from();
    return;
  }
  std::size_t const n = std::min(to.size(0), from.size(0));
  if (to.rank() > 1) {
    for (std::size_t i = 0; i < n; ++i) combine<T>(to[i], from[i], adds, scale);
  } else if (adds) {
    for (std::size_t i = 0; i < n; ++i) to(i) += scale * from(i);
  } else {
    for (std::size_t i = 0; i < n; ++i) to(i) = from(i);
  }
}

template <class T>
void clear(tensor_view<T> to) {
  if (to.rank() == 0) {
    to() = 0;
    return;
  }
  for (std::size_t i = 0; i < to.size(0); ++i) clear<T>(to[i]);
}

/// Writes a value (undefined: zeros) over the chosen part of an activation of one item.
template <class T>
class overwriting {
 public:
  overwriting(edit_spec const& e, hook_info const& h, tensor value, std::size_t first_position, tensor activation)
      : edit_(e),
        value_(std::move(value)),
        activation_(std::move(activation)),
        first_position_(first_position),
        per_pair_(h.per_pair),
        pos_axis_(h.per_pair ? 1 : 0),
        head_(h.per_pair ? std::optional<std::size_t>(0) : head_axis(h)),
        head_at_(head_ && !h.per_pair ? *head_ + 1 : 0),
        how_(value_.defined() ? reading_of(e, h, value_.shape()).value() : reading::row) {}

  /// Whether anything was written over.
  bool operator()() {
    std::size_t const length = activation_.size(pos_axis_);
    if (edit_.positions.empty())
      for (std::size_t row = 0; row < length; ++row) at_row(row);
    for (std::int64_t const p : edit_.positions) {
      std::int64_t const row = p < 0 ? static_cast<std::int64_t>(length) + p : p - static_cast<std::int64_t>(first_position_);
      if (row >= 0 && row < static_cast<std::int64_t>(length)) at_row(static_cast<std::size_t>(row));
    }
    return changed_;
  }

 private:
  void at_row(std::size_t row) {
    if (edit_.heads.empty()) {
      std::size_t const all = head_ ? activation_.size(head_at_) : 0;
      bool const by_head = per_pair_ && how_ == reading::pattern && value_.defined();
      at_heads(row, 0, by_head ? std::min(all, value_.size(0)) : all);
    } else {
      for (std::size_t const one : edit_.heads) at_heads(row, one, one + 1);
    }
  }

  void at_heads(std::size_t row, std::size_t from, std::size_t to) {
    std::size_t const position = first_position_ + row;
    tensor target = activation_.slice(pos_axis_, row, row + 1);
    if (head_) target = target.slice(head_at_, from, to);
    if (!value_.defined()) {
      changed_ = true;
      return clear<T>(target.view<T>());
    }
    tensor source = value_;
    switch (how_) {
      case reading::row:
      case reading::row_of_head:
        return with_row(std::move(target), from, to);
      case reading::by_position:
        if (position >= source.size(0)) return;
        source = source.slice(0, position, position + 1);
        if (head_) source = source.slice(head_at_, from, to);
        break;
      case reading::pattern:
        if (position >= source.size(1) || to > source.size(0)) return;
        source = source.slice(1, position, position + 1).slice(0, from, to);
        break;
    }
    put(target.view<T>(), source);
  }

  /// The value has no position; one head's row is read for each of them.
  void with_row(tensor target, std::size_t from, std::size_t to) {
    if (how_ == reading::row) return put(target.view<T>()[0], head_ ? value_.slice(*head_, from, to) : value_);
    for (std::size_t k = 0; k < to - from; ++k) put(target.slice(head_at_, k, k + 1)[0].template view<T>()[0], value_);
    changed_ = true;
  }

  void put(tensor_view<T> into, tensor const& source) {
    changed_ = true;
    combine<T>(into, source.view<T const>(), edit_.adds, static_cast<T>(edit_.scale));
  }

  edit_spec const& edit_;
  tensor value_, activation_;
  std::size_t first_position_;
  bool per_pair_;
  std::size_t pos_axis_;
  std::optional<std::size_t> head_;
  std::size_t head_at_;
  reading how_;
  bool changed_ = false;
};

/// Whether anything of the activation was written over.
bool change(edit_spec const& e, hook_info const& h, tensor const& value, std::size_t first_position, tensor const& activation) {
  switch (activation.type()) {
    case dtype::f32:
      return overwriting<float>(e, h, value, first_position, activation)();
    case dtype::f64:
      return overwriting<double>(e, h, value, first_position, activation)();
    default:
      throw plugin_error(h.name + " is given to edits as " + std::string(name_of(activation.type())) +
                         "; edits take float32 and float64");
  }
}

/// Whether a value with positions of its own, read for all positions, has others than the item. A pass that goes on from an
/// earlier one sees the rest of the item only.
bool has_other_positions(edit_spec const& e, hook_info const& h, tensor const& value, std::size_t first_position,
                         tensor const& activation) {
  return value.defined() && e.positions.empty() && !h.per_pair && first_position == 0 &&
         reading_of(e, h, value.shape()) == reading::by_position && value.size(0) != activation.size(0);
}

std::string items_text(item_range const& r) {
  return std::to_string(r.first) + " to " + std::to_string(r.last - 1);
}

bool has_position(std::size_t length, std::int64_t p) noexcept {
  auto const n = static_cast<std::int64_t>(length);
  return p < 0 ? p >= -n : p < n;
}

std::string in_no_item(std::int64_t position, std::size_t longest) {
  return "no item has position " + std::to_string(position) + ": they have at most " + counted(longest, "token");
}

/// What an edit came to, or would come to.
struct edit_reach {
  std::uint64_t items = 0;             ///< it is for so many
  std::uint64_t seen = 0;              ///< so many of them came to its hook
  std::uint64_t applied = 0;           ///< so many of those have its positions
  std::uint64_t partly = 0;            ///< so many have other positions than its value
  std::size_t value_positions = 0;     ///< of its value
  std::vector<std::size_t> lacking{};  ///< items without its positions, where they are known
};

/// "item 3", "items 1, 4 and 7", "items 0 to 7 and 12 more": what they are, without filling the screen.
std::string names_of(std::vector<std::size_t> const& items) {
  constexpr std::size_t most = 8;
  std::string text = items.size() == 1 ? "item " : "items ";
  for (std::size_t i = 0; i < std::min(items.size(), most); ++i)
    text += (i == 0 ? "" : i + 1 == items.size() ? " and " : ", ") + std::to_string(items[i]);
  return items.size() > most ? text + " and " + format_count(items.size() - most) + " more" : text;
}

/// A line for each way in which edit `k` falls short. `foreseen`: by `check`, else by a run that has ended; `among`: which items
/// were looked at, if not all.
std::vector<std::string> shortcomings(std::size_t k, edit_spec const& e, edit_reach const& r, bool foreseen,
                                      std::string const& among = "") {
  std::vector<std::string> all;
  std::string text = "edit " + std::to_string(k) + " (" + e.hook;
  if (r.partly != 0)
    all.push_back(text + ") " + (foreseen ? "is" : "was") + " applied in part to " + counted(r.partly, "item") + among +
                  ": its value has " + counted(r.value_positions, "position") + ", and they have another number");
  bool const by_place = !e.positions.empty();
  if (r.items == 0 || r.applied == r.items || (r.applied != 0 && !by_place)) return all;
  for (std::size_t i = 0; i < e.positions.size(); ++i)
    text += (i == 0 ? (e.positions.size() == 1 ? ", position " : ", positions ") : ", ") + std::to_string(e.positions[i]);
  text += ") ";
  std::string const items = format_count(r.items) + (r.items == 1 ? " item" : " items") + among;
  std::string const never = foreseen ? "applies to none of " : "was never applied to any of ";
  if (r.seen == 0)
    text += never + items + ": no forward pass came to that hook";
  else if (r.applied == 0)
    text += never + items + (by_place ? ": none has such a position" : ": its value has no position that they have");
  else if (r.applied < r.seen)
    text += (foreseen ? "applies to " : "was applied to ") + format_count(r.applied) + " of " + items + ": " +
            (r.lacking.empty() ? "the others have" : names_of(r.lacking) + (r.lacking.size() == 1 ? " has" : " have")) +
            " no such position";
  else
    return all;  // the probe ran some items only
  all.push_back(std::move(text));
  return all;
}

item_range within(item_range const& a, item_range const& b) {
  item_range r{std::max(a.first, b.first), std::min(a.last, b.last)};
  r.last = std::max(r.first, r.last);
  return r;
}

}  // namespace

std::vector<tensor> read_edit_values(plan_node const& node, std::vector<problem>& problems) {
  std::vector<tensor> values;
  for (auto const& e : node.edits) {
    values.emplace_back();
    if (e.from != edit_spec::value_kind::file || e.file.empty()) continue;
    try {
      values.back() = read_array(e.file, e.dataset);
    } catch (error const& x) {
      problems.push_back({e.place_of("file"), x.what(), x.exit_code(), e.option});
    }
  }
  return values;
}

void check_edits(plan_node const& node, model_info const& m, source_info const& data, std::vector<tensor> const& values,
                 item_lengths longest, std::vector<problem>& problems) {
  item_range observed = node.items.value_or(item_range{0, data.items});
  observed = within(observed, {0, data.items});
  for (std::size_t k = 0; k < node.edits.size(); ++k) {
    edit_spec const& e = node.edits[k];
    auto const say = [&](place at, std::string text) { problems.push_back({at, std::move(text), 2, e.option}); };
    hook_set hooks;
    if (e.hook.empty()) continue;  // said where the file was read
    try {
      hooks = m.hooks_for(e.hook);
    } catch (usage_error const& x) {
      say(e.place_of("hook"), x.what());
      continue;
    }
    // A position that no item has in any of these hooks.
    std::vector<bool> reached(e.positions.size(), false);
    std::size_t most = 0;
    for (auto const& name : hooks.names()) {
      hook_info const& h = *m.find_hook(name);
      std::size_t const heads = heads_of(h, m);
      if (!e.heads.empty() && heads == 0) say(e.place_of("heads"), name + " has no heads to edit");
      for (std::size_t i = 0; i < e.heads.size() && heads != 0; ++i)
        if (e.heads[i] >= heads)
          say(e.place_of("heads", i),
              name + " has heads 0 to " + std::to_string(heads - 1) + ", not " + std::to_string(e.heads[i]));
      if (values[k].defined() && !reading_of(e, h, values[k].shape()))
        say(e.place_of(e.adds ? "add" : "set"), misfit(e, h, values[k]));
      else if (std::string const why = values[k].defined() ? two_meanings(e, h, values[k]) : ""; !why.empty())
        say(e.place_of(e.adds ? "add" : "set"), why);
      std::size_t const length = h.along == positions::tokens ? longest.tokens : longest.decoder;
      most = std::max(most, length);
      for (std::size_t i = 0; i < e.positions.size(); ++i)
        reached[i] = reached[i] || length == 0 || has_position(length, e.positions[i]);
    }
    for (std::size_t i = 0; i < e.positions.size(); ++i)
      if (!reached[i]) say(e.place_of("positions", i), in_no_item(e.positions[i], most));
    item_range const edited = within(e.items.value_or(observed), observed);
    if (e.items && edited.size() == 0)
      say(e.place_of("items"),
          "the edit's items " + items_text(*e.items) + " are none of those observed, " + items_text(observed));
    if (e.from == edit_spec::value_kind::item && static_cast<std::uint64_t>(e.number) >= data.items)
      say(e.place_of(e.adds ? "add" : "set"),
          "there is no item " + std::to_string(e.number) + ": the source has " + format_count(data.items) + " items");
    if (e.from == edit_spec::value_kind::pair && edited.size() != 0) {
      auto const last = static_cast<std::int64_t>(data.items);
      // Far pairs would overflow; no source is as long as half of what 64 bits count.
      bool const far = e.number > last || e.number < -last;
      auto const first_pair = far ? -1 : static_cast<std::int64_t>(edited.first) + e.number;
      auto const last_pair = far ? -1 : static_cast<std::int64_t>(edited.last) - 1 + e.number;
      if (first_pair < 0 || last_pair >= last)
        say(e.place_of(e.adds ? "add" : "set"), "of items " + items_text(edited) + " not all have a pair " +
                                                    std::to_string(e.number) + " further on: the source has items 0 to " +
                                                    std::to_string(last - 1) + "; choose others with the edit's 'items'");
    }
  }
}

namespace {

/// Whether an edit changes anything of an item's activation, as `overwriting` would.
bool reaches(edit_spec const& e, hook_info const& h, tensor const& value, std::size_t length) {
  auto const how = value.defined() ? reading_of(e, h, value.shape()) : std::nullopt;
  std::size_t const most = how == reading::by_position ? value.size(0) : how == reading::pattern ? value.size(1) : length;
  if (e.positions.empty()) return std::min(length, most) != 0;
  return std::any_of(e.positions.begin(), e.positions.end(), [&](std::int64_t p) {
    return has_position(length, p) && static_cast<std::size_t>(p < 0 ? static_cast<std::int64_t>(length) + p : p) < most;
  });
}

/// Whether one of the problems is at this place of the edit.
bool is_told_at(edit_spec const& e, place const& x, std::vector<problem> const& problems) {
  return std::any_of(problems.begin(), problems.end(),
                     [&](problem const& p) { return p.option == e.option && x.line == p.at.line && x.column == p.at.column; });
}

/// Whether one of the problems is in this edit.
bool is_told(edit_spec const& e, std::vector<problem> const& problems) {
  auto const at = [&](place const& x) { return is_told_at(e, x, problems); };
  return at(e.at) || std::any_of(e.places.begin(), e.places.end(),
                                 [&](auto const& of_key) { return std::any_of(of_key.second.begin(), of_key.second.end(), at); });
}

}  // namespace

std::vector<std::string> foresee_edits(plan_node const& node, model_info const& m, std::vector<tensor> const& values,
                                       item_range looked_at, std::span<item_lengths const> lengths, bool all_items,
                                       std::vector<problem>& problems) {
  std::vector<std::string> out;
  for (std::size_t k = 0; k < node.edits.size(); ++k) {
    edit_spec const& e = node.edits[k];
    if (e.hook.empty() || is_told_at(e, e.place_of("hook"), problems)) continue;
    // Its positions are looked at all the same.
    bool const told = is_told(e, problems);
    item_range const mine = within(e.items.value_or(looked_at), looked_at);
    edit_reach r;
    std::vector<bool> found(e.positions.size(), false);
    std::size_t most = 0;
    auto const hooks = m.hooks_for(e.hook).names();
    if (values[k].defined() && values[k].rank() != 0) r.value_positions = values[k].size(0);
    for (std::size_t item = mine.first; item < mine.last; ++item) {
      bool applied = false, partly = false;
      for (auto const& name : hooks) {
        hook_info const& h = *m.find_hook(name);
        item_lengths const& one = lengths[item - looked_at.first];
        std::size_t const length = h.along == positions::tokens ? one.tokens : one.decoder;
        most = std::max(most, length);
        for (std::size_t i = 0; i < e.positions.size(); ++i) found[i] = found[i] || has_position(length, e.positions[i]);
        applied = applied || reaches(e, h, values[k], length);
        partly = partly || (values[k].defined() && e.positions.empty() && !h.per_pair && length != 0 &&
                            reading_of(e, h, values[k].shape()) == reading::by_position && values[k].size(0) != length);
      }
      ++r.items, ++r.seen, r.applied += applied, r.partly += applied && partly;
      if (!applied) r.lacking.push_back(item);
    }
    bool refused = false;
    for (std::size_t i = 0; i < e.positions.size() && all_items && r.items != 0; ++i) {
      if (found[i]) continue;
      refused = true;
      place const at = e.place_of("positions", i);
      if (!is_told_at(e, at, problems)) problems.push_back({at, in_no_item(e.positions[i], most), 2, e.option});
    }
    if (refused || told) continue;
    for (auto& line : shortcomings(k, e, r, true, all_items ? "" : " looked at")) out.push_back(std::move(line));
  }
  return out;
}

edit_set::edit_set(plan_node const& node, std::vector<tensor> values, model const& over, source const& data, item_range observed)
    : over_(&over), data_(&data), max_tokens_(node.max_tokens), precision_(node.precision), observed_(observed) {
  dtype const type = precision_ == dtype::f64 ? dtype::f64 : dtype::f32;
  std::map<std::int64_t, hook_set> of_items;
  for (std::size_t k = 0; k < node.edits.size(); ++k) {
    bound b{node.edits[k], {}};
    auto const hooks = over.info().hooks_for(b.what.hook);
    for (auto const& name : hooks.names()) b.hooks.push_back(*over.info().find_hook(name));
    if (values[k].defined()) {
      for (auto const& h : b.hooks)
        if (!reading_of(b.what, h, values[k].shape()))
          throw usage_error(misfit(b.what, h, values[k]));
        else if (std::string const why = two_meanings(b.what, h, values[k]); !why.empty())
          throw usage_error(why);
      b.value = values[k].to(type);
    }
    if (b.what.from == edit_spec::value_kind::item) of_items[b.what.number].add(hooks);
    edits_.push_back(std::move(b));
  }
  for (auto const& [item, hooks] : of_items) {
    auto const n = static_cast<std::size_t>(item);
    auto const seen = run_unedited({n, n + 1}, hooks);
    for (auto& b : edits_)
      if (b.what.from == edit_spec::value_kind::item && b.what.number == item) b.other = seen;
  }
}

std::shared_ptr<activations const> edit_set::run_unedited(item_range items, hook_set const& hooks) const {
  run_request request;
  request.capture = hooks;
  request.precision = precision_;
  return std::make_shared<activations const>(over_->run(over_->encode(data_->read(items), {max_tokens_}), request));
}

void edit_set::define_counts(accumulator& counts) const {
  counts.define("edited", {{"edit", edits_.size()}, {"what", 5}});
}

std::vector<std::string> edit_set::misses(tensor const& counts) const {
  std::vector<std::string> all;
  auto const n = counts.view<double const>();
  auto const number = [&](std::size_t k, std::size_t what) { return static_cast<std::uint64_t>(n(k, what)); };
  for (std::size_t k = 0; k < edits_.size(); ++k) {
    tensor const& value = edits_[k].value;
    edit_reach const r{number(k, 0), number(k, 1), number(k, 2), number(k, 4),
                       value.defined() && value.rank() != 0 ? value.size(0) : 0};
    for (auto& line : shortcomings(k, edits_[k].what, r, false)) all.push_back(std::move(line));
  }
  return all;
}

std::string edit_set::spoils(tensor const& counts) const {
  auto const n = counts.view<double const>();
  for (std::size_t k = 0; k < edits_.size(); ++k)
    if (n(k, 3) != 0)
      return "edit " + std::to_string(k) + " (" + edits_[k].what.hook +
             ") leaves values that are not finite, or beyond 1e18, in " + format_count(static_cast<std::uint64_t>(n(k, 3))) +
             " of " + counted(static_cast<std::size_t>(n(k, 0)), "item");
  return "";
}

/// Which items of a block each edit came to, changed and spoiled; written from the block's threads, each item's flag alone.
struct edit_set::block_counts {
  block_counts(std::size_t edits, std::size_t n)
      : items(n), seen(edits * n), applied(edits * n), spoiled(edits * n), partly(edits * n) {}
  std::size_t items;
  std::vector<std::atomic<bool>> seen, applied, spoiled, partly;
};

void edit_set::count(block_counts const& block, item_range items, accumulator& counts) const {
  auto const to = counts["edited"].view<double>();
  for (std::size_t k = 0; k < edits_.size(); ++k) {
    to(k, 0) += static_cast<double>(within(edits_[k].what.items.value_or(items), items).size());
    for (std::size_t i = 0; i < block.items; ++i) {
      to(k, 1) += block.seen[k * block.items + i].load(std::memory_order_relaxed);
      to(k, 2) += block.applied[k * block.items + i].load(std::memory_order_relaxed);
      to(k, 3) += block.spoiled[k * block.items + i].load(std::memory_order_relaxed);
      to(k, 4) += block.partly[k * block.items + i].load(std::memory_order_relaxed);
    }
  }
}

std::vector<hook_edit> edit_set::for_block(item_range block, std::shared_ptr<block_counts>& counts) const {
  counts = std::make_shared<block_counts>(edits_.size(), block.size());
  // Every distance once, with all hooks that are wanted at it.
  struct pairs {
    item_range items;
    hook_set hooks;
    std::shared_ptr<activations const> seen{};
  };
  std::map<std::int64_t, pairs> at_distance;
  auto const edited = [&](bound const& b) { return within(b.what.items.value_or(block), block); };
  for (auto const& b : edits_) {
    if (b.what.from != edit_spec::value_kind::pair || edited(b).size() == 0) continue;
    auto& p = at_distance[b.what.number];
    auto const shift = static_cast<std::size_t>(b.what.number);  // wraps around for those before, and back
    item_range const mine{edited(b).first + shift, edited(b).last + shift};
    p.items = p.hooks.empty() ? mine : item_range{std::min(p.items.first, mine.first), std::max(p.items.last, mine.last)};
    std::vector<std::string> names;
    for (auto const& h : b.hooks) names.push_back(h.name);
    p.hooks.add(hook_set(std::move(names)));
  }
  for (auto& [distance, p] : at_distance) p.seen = run_unedited(p.items, p.hooks);

  std::vector<hook_edit> out;
  for (std::size_t k = 0; k < edits_.size(); ++k) {
    bound const& b = edits_[k];
    item_range const mine = edited(b);
    if (mine.size() == 0) continue;
    std::shared_ptr<activations const> others = b.other;
    std::size_t first_other = 0;
    if (b.what.from == edit_spec::value_kind::pair) {
      auto const& p = at_distance.at(b.what.number);
      others = p.seen;
      first_other = p.items.first - static_cast<std::size_t>(b.what.number);
    }
    for (auto const& h : b.hooks)
      out.push_back({h.name, [e = &b.what, h = &h, value = b.value, others, mine, block, first_other, counts, k](
                                 edit_site const& site, tensor const& activation) {
                       std::size_t const item = block.first + site.item;
                       if (item < mine.first || item >= mine.last) return;
                       tensor const v =
                           !others ? value : others->at(h->name, e->from == edit_spec::value_kind::pair ? item - first_other : 0);
                       std::size_t const flag = k * counts->items + site.item;
                       counts->seen[flag].store(true, std::memory_order_relaxed);
                       if (!change(*e, *h, v, site.first_position, activation)) return;
                       counts->applied[flag].store(true, std::memory_order_relaxed);
                       if (!others && has_other_positions(*e, *h, v, site.first_position, activation))
                         counts->partly[flag].store(true, std::memory_order_relaxed);
                       if (oddity_of(activation, h->per_pair).any()) counts->spoiled[flag].store(true, std::memory_order_relaxed);
                     }});
  }
  return out;
}

}  // namespace wayfarer::host
