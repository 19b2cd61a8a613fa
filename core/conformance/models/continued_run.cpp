#include <algorithm>

#include <wayfarer/error.hpp>

#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {
namespace {

/// The lists that a continued run makes longer.
ragged<std::int32_t>& growing(batch& b, bool decodes) {
  return decodes ? b.decoder_tokens : b.tokens;
}

/// What one call of extend() reads: for each of its lists some tokens of an item, from some position.
class pieces {
 public:
  pieces(ragged<std::int32_t> const& full, bool decodes) : full_(full), decodes_(decodes) {}
  void add(std::size_t item, std::size_t from, std::size_t count) {
    growing(more_, decodes_).push_back(full_[item].subspan(from, count));
    if (decodes_) more_.tokens.push_back({});
    items_.push_back(item), from_.push_back(from);
  }
  batch const& tokens() const { return more_; }
  /// `whole`: logits of one run over everything.
  void require_same(activations const& got, activations const& whole) const {
    for (std::size_t k = 0; k < items_.size(); ++k) {
      tensor const& mine = got.at("logits", k);
      tensor const theirs = whole.at("logits", items_[k]).slice(0, from_[k], from_[k] + mine.size(0)).clone();
      if (relative_distance(mine, theirs) > model_rounding)
        throw violation("continued_run", "logits of a continued run differ from those of one run over everything");
    }
  }

 private:
  ragged<std::int32_t> const& full_;
  bool decodes_;
  batch more_;
  std::vector<std::size_t> items_, from_;
};

/// Two and more tokens of every item, in three turns; in one of them the first item gets none.
void extend_in_turns(continued_run& run, run_request const& r, ragged<std::int32_t> const& full, bool decodes,
                     activations const& whole) {
  std::vector<std::size_t> read(full.size());
  for (std::size_t i = 0; i < full.size(); ++i) read[i] = std::min<std::size_t>(1, full[i].size());
  for (int turn = 0; turn < 3; ++turn) {
    pieces more(full, decodes);
    for (std::size_t i = 0; i < full.size(); ++i) {
      std::size_t const n =
          std::min<std::size_t>(full[i].size() - read[i], turn == 1 && i == 0 ? 0 : 1 + static_cast<std::size_t>(turn));
      more.add(i, read[i], n);
      read[i] += n;
    }
    more.require_same(run.extend(more.tokens(), r), whole);
    for (std::size_t i = 0; i < full.size(); ++i)
      if (run.length(i) != read[i]) throw violation("continued_run", "length() is not what has been read");
  }
}

}  // namespace

void check_continued_run(model_case const& c, reporter&) {
  bool const decodes = c.decodes();
  if (!c.m().info().find_hook("logits")) throw unmet_need("there is no hook 'logits'");
  batch beginning = c.tokens(), whole_input = c.tokens();
  auto const& full = growing(whole_input, decodes);
  growing(beginning, decodes) = {};
  pieces first(full, decodes);
  for (std::size_t i = 0; i < full.size(); ++i) {
    std::size_t const n = std::min<std::size_t>(1, full[i].size());
    growing(beginning, decodes).push_back(full[i].first(n));
    first.add(i, 0, n);
  }
  run_request const r = asking(hook_set({"logits"}));
  activations captured;
  std::unique_ptr<continued_run> run;
  try {
    run = c.m().begin(beginning, r, &captured);
  } catch (usage_error const& e) {
    throw unmet_need(e.what());
  }
  activations const whole = c.m().run(c.tokens(), r);
  first.require_same(captured, whole);
  std::vector<std::size_t> const items{1, 0, 1};
  auto const other = run->branch(items);
  extend_in_turns(*run, r, full, decodes, whole);
  pieces more(full, decodes);
  for (std::size_t const i : items) {
    std::size_t const had = std::min<std::size_t>(1, full[i].size());
    more.add(i, had, std::min<std::size_t>(2, full[i].size() - had));
  }
  more.require_same(other->extend(more.tokens(), r), whole);
}

}  // namespace wayfarer::host::conformance
