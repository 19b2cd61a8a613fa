// Token ids as items: written in the pipeline file, or from a .npy or JSON file.
//
//     prompts: {source: tokens, ids: ["464 3290 318", "1, 2, 3"]}
//     corpus:  {source: tokens, path: train.npy, window: 1024}
//
// A .npy file stays mapped and is never copied as a whole; other ids are kept as 4 bytes each.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/result_file.hpp>
#include <wayfarer/source.hpp>

#include "npy.hpp"

namespace {

namespace wf = wayfarer;

constexpr std::int64_t highest_id = std::numeric_limits<std::int32_t>::max();
constexpr wf::json_limits id_limits{std::size_t{64} << 20, 4, 16'000'000};

/// "1 2 3", "1,2,3" or "1, 2, 3".
std::vector<std::int32_t> ids_of(std::string_view text, std::string const& where) {
  std::vector<std::int32_t> out;
  bool after_comma = false;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == ' ' || text[i] == '\t') {
      ++i;
    } else if (text[i] == ',') {
      if (after_comma || out.empty())
        throw wf::usage_error(where + ": a comma without a token id before it in " + wf::in_quotes(text));
      after_comma = true, ++i;
    } else {
      std::int32_t id = 0;
      auto const [end, error] = std::from_chars(text.data() + i, text.data() + text.size(), id);
      bool const whole = end == text.data() + text.size() || *end == ' ' || *end == ',' || *end == '\t';
      if (error != std::errc{} || id < 0 || !whole)
        throw wf::usage_error(where + ": " + wf::in_quotes(text) + " is not a list of token ids, such as \"464 3290 318\"");
      out.push_back(id);
      i = static_cast<std::size_t>(end - text.data());
      after_comma = false;
    }
  }
  if (after_comma) throw wf::usage_error(where + ": a comma without a token id behind it in " + wf::in_quotes(text));
  if (out.empty()) throw wf::usage_error(where + " is empty; every item needs a token id");
  return out;
}

/// Lists of ids, in memory or in a mapped file.
class id_lists {
 public:
  id_lists() = default;
  id_lists(std::vector<std::string> const& texts, std::string const& name) {
    std::vector<wf::parameter_problem> wrong;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      try {
        kept_.push_back(ids_of(texts[i], "list " + std::to_string(i) + " of '" + name + "'"));
      } catch (wf::usage_error const& e) {
        if (texts.size() == 1) throw;
        wrong.push_back({name, i, e.what()});
      }
    }
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
  }
  /// [[1, 2], [3]], or [1, 2] for one list.
  explicit id_lists(wf::json_value const& lists) {
    auto const take = [&](wf::json_value const& list) {
      if (list.size() == 0) list.fail("an empty list; every item needs a token id");
      for (auto const& v : list.elements()) kept_.values.push_back(static_cast<std::int32_t>(v.as_integer(0, highest_id)));
      kept_.offsets.push_back(kept_.values.size());
    };
    if (lists.kind() == wf::json_kind::array && lists.size() != 0 && lists.at(std::size_t{0}).kind() == wf::json_kind::integer)
      take(lists);
    else
      for (auto const& list : lists.elements()) take(list);
  }
  /// A dataset of a result file, [id] or [item, id], padded at the end of each row.
  id_lists(wf::tensor const& values, std::int64_t padding, std::string const& from) {
    if (values.rank() != 1 && values.rank() != 2)
      throw wf::data_error(from + " is " + wf::describe(values.shape()) + "; token ids are [id] or [item, id]");
    std::size_t const rows = values.rank() == 2 ? values.size(0) : 1, columns = values.shape().back().size;
    auto const all = values.values<double const>();
    for (std::size_t row = 0; row < rows; ++row) {
      std::size_t n = columns;
      while (n > 0 && all[row * columns + n - 1] == static_cast<double>(padding)) --n;
      std::string const where = from + ": row " + std::to_string(row);
      if (n == 0) throw wf::data_error(where + " holds no token id; every item needs one");
      for (std::size_t i = 0; i < n; ++i) {
        double const id = all[row * columns + i];
        if (!(id >= 0 && id <= static_cast<double>(highest_id)) || id != std::floor(id))
          throw wf::data_error(
              where + ", column " + std::to_string(i) +
              " holds no token id; ids are whole numbers from 0 on, and only the end of a row may be padded (`padding`)");
        kept_.values.push_back(static_cast<std::int32_t>(id));
      }
      kept_.offsets.push_back(kept_.values.size());
    }
  }
  id_lists(wf::npy_ids file, std::int64_t padding) : file_(std::move(file)), padding_(padding) {}

  std::size_t size() const noexcept { return file_ ? file_->rows() : kept_.size(); }
  /// Without the padding at its end.
  std::size_t length(std::size_t row) const noexcept {
    if (!file_) return kept_.offsets[row + 1] - kept_.offsets[row];
    std::size_t n = file_->columns();
    while (n > 0 && file_->at(row, n - 1) == padding_) --n;
    return n;
  }
  /// No list is longer.
  std::size_t longest() const noexcept {
    if (file_) return file_->columns();
    std::size_t n = 0;
    for (std::size_t i = 0; i < kept_.size(); ++i) n = std::max(n, kept_[i].size());
    return n;
  }
  /// Appends ids [first, last) of a row, as one list.
  void read(std::size_t row, std::size_t first, std::size_t last, wf::ragged<std::int32_t>& to) const {
    if (!file_) {
      to.push_back(kept_[row].subspan(first, last - first));
      return;
    }
    auto const where = [&](std::size_t column) {
      return file_->path() + ": row " + std::to_string(row) + (column < last ? ", column " + std::to_string(column) : "") + ": ";
    };
    if (first == last) throw wf::data_error(where(last) + "no token id; every item needs one");
    for (std::size_t i = first; i < last; ++i) {
      std::int64_t const id = file_->at(row, i);
      if (id < 0 || id > highest_id)
        throw wf::data_error(where(i) + std::to_string(id) +
                             " is not a token id; ids are 0 or more, and only the end of a row may be padded (`padding`)");
      to.values.push_back(static_cast<std::int32_t>(id));
    }
    to.offsets.push_back(to.values.size());
  }
  void check_unchanged() const {
    if (file_) file_->check_unchanged();
  }

 private:
  wf::ragged<std::int32_t> kept_;
  std::optional<wf::npy_ids> file_;
  std::int64_t padding_ = -1;
};

bool is_json(std::string const& path) {
  return path.ends_with(".json");
}

/// What the parameters `ids` and `path` (or their decoder's twins) say.
id_lists read_lists(wf::config const& c, std::string const& ids, std::string const& path, std::string const& dataset,
                    char const* json_key) {
  auto const& texts = c[ids].texts();
  std::string const& file = c[path].text();
  std::string const& name = c[dataset].text();
  std::int64_t const padding = c["padding"];
  if (!texts.empty() && !file.empty()) throw wf::usage_error("both '" + ids + "' and '" + path + "' are given; leave one out");
  bool const result = file.ends_with(".h5") || file.ends_with(".hdf5");
  if (!name.empty() && !result)
    throw wf::usage_error("'" + dataset + "' names values of a result file, and " +
                          (file.empty() ? "'" + path + "' is not given" : file + " is none") + "; leave it out");
  if (file.empty()) return {texts, ids};
  if (result) return {wf::read_result(file, name), padding, file + ": " + name};
  if (!is_json(file)) return {wf::npy_ids(file), padding};
  auto const whole = wf::read_json(file, id_limits);
  return id_lists(whole.kind() == wf::json_kind::object ? whole.at(json_key) : whole);
}

struct tokens final : wf::source {
  explicit tokens(wf::config const& c) : window_(c["window"]), stride_(c["stride"]) {
    lists_ = read_lists(c, "ids", "path", "dataset", "tokens");
    decoder_ = read_lists(c, "decoder_ids", "decoder_path", "decoder_dataset", "decoder_ids");
    // One JSON file may hold both.
    if (std::string const& path = c["path"].text(); decoder_.size() == 0 && is_json(path))
      if (auto const whole = wf::read_json(path, id_limits); whole.kind() == wf::json_kind::object)
        if (auto const found = whole.find("decoder_ids")) decoder_ = id_lists(*found);
    types_ = {c["token_types"].texts(), "token_types"};
    if (std::string const& path = c["path"].text(); types_.size() == 0 && is_json(path))
      if (auto const whole = wf::read_json(path, id_limits); whole.kind() == wf::json_kind::object)
        if (auto const found = whole.find("token_types")) types_ = id_lists(*found);
    if (types_.size() != 0) {
      if (types_.size() != lists_.size())
        throw wf::usage_error("there are " + std::to_string(lists_.size()) + " lists of ids but " +
                              std::to_string(types_.size()) + " of token types; give one for each item");
      for (std::size_t i = 0; i < lists_.size(); ++i)
        if (types_.length(i) != lists_.length(i))
          throw wf::usage_error("item " + std::to_string(i) + " has " + std::to_string(lists_.length(i)) + " ids but " +
                                std::to_string(types_.length(i)) + " token types; give one for each id");
      if (window_ != 0) throw wf::usage_error("items with token types can't be cut into windows; leave `window` out");
    }
    if (lists_.size() == 0) throw wf::usage_error("no token ids: give `ids`, or `path` of a .npy or .json file that holds some");
    if (decoder_.size() != 0 && decoder_.size() != lists_.size())
      throw wf::usage_error("there are " + std::to_string(lists_.size()) + " lists of ids but " +
                            std::to_string(decoder_.size()) + " of decoder ids; give one for each item");
    if (stride_ == 0) stride_ = window_;
    if (window_ == 0 && stride_ != 0) throw wf::usage_error("`stride` needs a `window`");
    if (window_ != 0 && decoder_.size() != 0)
      throw wf::usage_error("items with decoder ids can't be cut into windows; leave `window` out");
    info_.items = lists_.size();
    if (window_ != 0) {
      first_window_.push_back(0);
      for (std::size_t i = 0; i < lists_.size(); ++i)
        first_window_.push_back(first_window_.back() + windows_of(lists_.length(i)));
      info_.items = first_window_.back();
    }
    info_.longest = window_ != 0 ? std::min(window_, lists_.longest()) : lists_.longest();
    info_.has_tokens = true;
  }

  wf::source_info const& info() const override { return info_; }

  wf::item_block read(wf::item_range range) const override {
    lists_.check_unchanged();
    decoder_.check_unchanged();
    wf::item_block block;
    block.first = range.first, block.count = range.size();
    for (std::size_t i = range.first; i < range.last; ++i) {
      if (window_ == 0) {
        lists_.read(i, 0, lists_.length(i), block.tokens);
      } else {
        auto const row =
            static_cast<std::size_t>(std::upper_bound(first_window_.begin(), first_window_.end(), i) - first_window_.begin()) - 1;
        std::size_t const first = (i - first_window_[row]) * stride_;
        lists_.read(row, first, std::min(first + window_, lists_.length(row)), block.tokens);
      }
      if (types_.size() != 0) types_.read(i, 0, types_.length(i), block.token_types);
      if (decoder_.size() != 0) decoder_.read(i, 0, decoder_.length(i), block.decoder_tokens);
    }
    return block;
  }

 private:
  /// Windows start every `stride_` ids until one reaches the end.
  std::size_t windows_of(std::size_t length) const noexcept {
    if (length <= window_) return 1;
    return 1 + (length - window_ + stride_ - 1) / stride_;
  }

  id_lists lists_, decoder_, types_;
  std::size_t window_, stride_;
  std::vector<std::size_t> first_window_;  // [list + 1], number of each list's first item; empty without windows
  wf::source_info info_;
};

}  // namespace

WAYFARER_SOURCE(
    tokens, "1.0.0", "Token ids given in the pipeline file, or read from a .npy, JSON or result file",
    wf::param("ids", wf::strings(""), "token ids of each item, such as [\"464 3290 318\", \"1, 2, 3\"]"),
    wf::param::file("path", "",
                    ".npy ([id] or [item, id]; int32, int64 or uint16), or .json: [[1, 2], [3]] or {\"tokens\": [[1, 2]], "
                    "\"decoder_ids\": [[0, 5]]} (also \"token_types\"), or .h5: a result file, of which `dataset` names the ids"),
    wf::param("dataset", "", "of a result file: where the ids stand, such as states/token_ids"),
    wf::param("decoder_ids", wf::strings(""), "for encoder-decoder models: the decoder's ids of each item"),
    wf::param::file("decoder_path", "", "the same from a file, as `path`"),
    wf::param("decoder_dataset", "", "the same, as `dataset`"),
    wf::param("token_types", wf::strings(""),
              "for models that read pairs (BERT): the type of each id of each item, such as [\"0 0 0 1 1\"]"),
    wf::param("window", 0, "cut each list into items of at most this many ids, 0: one item a list").in("token").at_least(0),
    wf::param("stride", 0, "ids from one window's start to the next, 0: as `window`").in("token").at_least(0),
    wf::param("padding", -1, "number that fills up the rows of a .npy or result file, left out at the end of each"));
