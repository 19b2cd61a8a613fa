// Three items of two, three and four words. No function is marked override: the test takes functions out of the interface.
#include <wayfarer/source.hpp>

namespace wf = wayfarer;

struct crossing_source final : wf::source {
  explicit crossing_source(wf::config const&) {
    info_.items = 3;
    info_.vocabulary = 7;
    info_.longest = 4;
    info_.has_words = true;
  }
  wf::source_info const& info() const { return info_; }
  wf::item_block read(wf::item_range range) const {
    wf::item_block block;
    block.first = range.first, block.count = range.size();
    for (std::size_t i = range.first; i < range.last; ++i) block.words.push_back(std::vector<std::int32_t>(i + 2, 1));
    return block;
  }
  wf::source_info info_;
};
WAYFARER_SOURCE(crossing_source, "1.0.0", "Three short items");
