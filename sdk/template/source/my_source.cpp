// my_source: walks on a ring of words. Each word is the one before, or the one after, its predecessor.
//
// A source is a finite set of items, and read(range) is a pure function of the range: any thread may ask for any items in any
// order, and gets the same ones. So each item has random numbers of its own, keyed by the seed and its index, and nothing is
// stored.
#include <cstdint>
#include <string>
#include <vector>

#include <wayfarer/random.hpp>
#include <wayfarer/source.hpp>

namespace wf = wayfarer;

struct my_source final : wf::source {
  // Parameters come checked and complete: names, types, ranges and defaults are those at the end of this file.
  explicit my_source(wf::config const& c) : words_(c["words"]), length_(c["length"]), forward_(c["forward"]), seed_(c.seed()) {
    info_.items = c["items"];
    info_.vocabulary = words_;
    info_.longest = length_;
    info_.has_words = true;
    for (std::uint32_t w = 0; w < words_; ++w) info_.words.push_back(std::to_string(w));
  }

  // Known before anything is read; a model asks for it to see whether it can read these items.
  wf::source_info const& info() const override { return info_; }

  wf::item_block read(wf::item_range range) const override {
    wf::item_block block;
    block.first = range.first;
    block.count = range.size();
    std::vector<std::int32_t> walk(length_);
    for (std::size_t item = range.first; item < range.last; ++item) {
      wf::random_stream draw(seed_, "my_source", item);
      std::uint32_t at = draw.below(words_);
      for (std::int32_t& word : walk) {
        word = static_cast<std::int32_t>(at);
        at = (at + (draw.uniform() < forward_ ? 1 : words_ - 1)) % words_;
      }
      block.words.push_back(walk);
    }
    return block;
  }

 private:
  std::uint32_t words_, length_;
  double forward_;
  std::uint64_t seed_;
  wf::source_info info_;
};

WAYFARER_SOURCE(my_source, "0.1.0", "Random walks on a ring of words", wf::param("items", 1000, "walks").between(0, 1e9),
                wf::param("length", 50, "length of each walk").in("words").between(1, 1 << 20),
                wf::param("words", 20, "words on the ring").between(1, 1 << 20),
                wf::param("forward", 0.5, "probability of a step forward").between(0, 1),
                wf::param("seed", 0, "seed of the walks; if it is not given, the pipeline's").at_least(0));
