// HellaSwag (Zellers et al. 2019): a context and four endings of which one is right, as the concept-space tests read it
// (arXiv 2308.10874, its code).
//
//     questions: {source: hellaswag, path: hellaswag_val.jsonl}
//     few_shot:  {source: hellaswag, path: hellaswag_val.jsonl, pool: hellaswag_train.jsonl, shots: 5}
//
// Items are in the file's order. The examples of a few-shot context are those of the published runs: one CPython generator
// shuffles the items and then draws examples for each in the shuffled order.
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/source.hpp>

#include "python_random.hpp"
#include "question_file.hpp"

namespace wf = wayfarer;

namespace {

constexpr std::size_t most_draws = std::size_t{1} << 27;  // 512 MB

wf::question_format format_of(std::string const& name) {
  if (name == "json") return wf::question_format::json;
  return name == "text" ? wf::question_format::text : wf::question_format::detect;
}

std::string ending(wf::question const& q, std::size_t k) {
  return " " + q.endings[k];
}

}  // namespace

struct hellaswag final : wf::source {
  explicit hellaswag(wf::config const& c) : shots_(c["shots"]), second_(c["second"].text() == "right") {
    std::string const &path = c["path"].text(), &pool = c["pool"].text();
    auto const seed = static_cast<std::uint64_t>(c["seed"].integer());
    auto const format = format_of(c["format"].text());
    std::size_t const most = static_cast<std::size_t>(c["limit"].integer()) << 20;
    if (shots_ > 0 && pool.empty())
      throw wf::usage_error("`shots` is " + std::to_string(shots_) +
                            ", but there is no `pool` to draw examples from; give hellaswag_train.jsonl");
    items_.emplace(path, format, most);
    if (shots_ > 0) {
      pool_.emplace(pool, format, most);
      if (pool_->size() < shots_)
        throw wf::data_error(pool + ": holds " + std::to_string(pool_->size()) + " items, but `shots` is " +
                             std::to_string(shots_) + "; take a larger pool");
      draw(seed);
    }
    info_.items = items_->size();
    info_.notes = items_->notes();
    if (pool_) info_.notes.insert(info_.notes.end(), pool_->notes().begin(), pool_->notes().end());
    info_.has_texts = info_.has_choices = true;
    bool const preprocessed = items_->preprocessed() || (pool_ && pool_->preprocessed());
    info_.truth["preprocessed"] = wf::tensor(preprocessed ? 1.0 : 0.0);
  }

  wf::source_info const& info() const override { return info_; }

  wf::item_block read(wf::item_range range) const override {
    items_->check_unchanged();
    if (pool_) pool_->check_unchanged();
    wf::item_block block;
    block.first = range.first, block.count = range.size();
    std::vector<std::int32_t> gold;
    for (std::size_t i = range.first; i < range.last; ++i) {
      auto const q = items_->read(i);
      std::string text;
      std::vector<std::string> segments, choices;
      std::vector<std::int32_t> example;
      for (std::size_t s = 0; s < shots_; ++s) {
        auto const shot = pool_->read(drawn_[i * shots_ + s]);
        segments.push_back(shot.query);
        segments.push_back(ending(shot, static_cast<std::size_t>(shot.gold)));
        example.insert(example.end(), 2, static_cast<std::int32_t>(s));
        text += segments[2 * s] + segments[2 * s + 1] + "\n\n";
      }
      segments.push_back(q.query);
      example.push_back(static_cast<std::int32_t>(shots_));
      for (std::size_t k = 0; k < q.endings.size(); ++k) choices.push_back(ending(q, k));
      block.texts.push_back(text + q.query);
      if (second_) block.seconds.push_back(q.endings[static_cast<std::size_t>(q.gold)]);
      block.segments.push_back(segments);
      block.segment_example.push_back(example);
      block.choices.push_back(choices);
      gold.push_back(q.gold);
    }
    block.truth["gold"] = wf::tensor::of(gold, {{"item", gold.size()}});
    return block;
  }

 private:
  /// Which items of the pool stand before each item: one generator for all, in the order into which it shuffled the items.
  void draw(std::uint64_t seed) {
    std::size_t const n = items_->size();
    if (n > most_draws / shots_)
      throw wf::usage_error(std::to_string(shots_) + " shots for " + std::to_string(n) + " items are more than " +
                            std::to_string(most_draws) + " draws; take fewer `shots`");
    wf::python_random random(seed);
    std::vector<std::uint32_t> order(n);
    std::iota(order.begin(), order.end(), 0u);
    random.shuffle(std::span(order));
    drawn_.resize(n * shots_);
    for (auto const i : order) {
      auto const shots = random.sample(static_cast<std::uint32_t>(pool_->size()), static_cast<std::uint32_t>(shots_));
      std::copy(shots.begin(), shots.end(), drawn_.begin() + static_cast<std::ptrdiff_t>(i * shots_));
    }
  }

  std::size_t shots_;
  bool second_;  // the right ending is the second text of a pair
  std::optional<wf::question_file> items_, pool_;
  std::vector<std::uint32_t> drawn_;  // [item, shot]
  wf::source_info info_;
};

WAYFARER_SOURCE(
    hellaswag, "1.0.0", "HellaSwag: contexts with four endings, of which one is right; optionally with examples before them",
    wf::param::file("path", "", "hellaswag_val.jsonl, or text of six lines an item; plain, .gz, .bz2 or .zst").required(),
    wf::param::file("pool", "", "file that examples are drawn from, such as hellaswag_train.jsonl"),
    wf::param("shots", 0, "examples before each context, each with its right ending").between(0, 1000),
    wf::param("seed", 42, "of the draw of examples, by CPython's generator").at_least(0),
    wf::param("format", "auto",
              "json: the original, which is cleaned here; text: context, number of the right ending, four endings, "
              "taken as they are")
        .one_of("auto|json|text"),
    wf::param("second", "none", "right: items are pairs of context and right ending, for models that read pairs (BERT)")
        .one_of("none|right"),
    wf::param("limit", 256, "limit of a packed file's size when unpacked").in("MiB").between(1, 1 << 20));
