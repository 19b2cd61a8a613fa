// Texts as items: written in the pipeline file, or a file cut by line, document or window. The model's tokenizer makes tokens of
// them.
//
//     prompts: {source: text, texts: ["The cat sat on the", "Paris is the capital of"]}
//     corpus:  {source: text, path: wiki.test.raw, split: document}
//     pairs:   {source: text, texts: ["Is it late? | It is."], pair_at: " | "}
//
// Windows here are of characters or bytes; windows of tokens, with every token in context, are made by the probe language_loss.
#include <optional>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/source.hpp>

#include "text_file.hpp"

namespace {

namespace wf = wayfarer;

wf::text_split split_of(std::string const& name) {
  if (name == "line") return wf::text_split::line;
  if (name == "document") return wf::text_split::document;
  return name == "whole" ? wf::text_split::whole : wf::text_split::window;
}

struct text final : wf::source {
  explicit text(wf::config const& c) : texts_(c["texts"].texts()), before_(c["before"].text()), pair_at_(c["pair_at"].text()) {
    std::string const& path = c["path"].text();
    if (texts_.empty() == path.empty())
      throw wf::usage_error(path.empty() ? "no text: give `texts`, or the `path` of a file"
                                         : "both 'texts' and 'path' are given; leave one out");
    if (!path.empty()) {
      wf::text_cut cut;
      cut.by = split_of(c["split"].text());
      cut.bytes = c["unit"].text() == "byte";
      cut.skip_empty = c["skip_empty"];
      cut.window = c["window"], cut.stride = c["stride"];
      if (cut.stride == 0) cut.stride = cut.window;
      file_.emplace(path, static_cast<std::size_t>(c["limit"].integer()) << 20, cut);
      if (file_->size() == 0) throw wf::data_error(path + ": no text in it");
    }
    info_.items = file_ ? file_->size() : texts_.size();
    if (file_) info_.notes = file_->notes();
    if (!pair_at_.empty()) check_pairs();
    info_.has_texts = true;
  }

  wf::source_info const& info() const override { return info_; }

  wf::item_block read(wf::item_range range) const override {
    if (file_) file_->check_unchanged();
    wf::item_block block;
    block.first = range.first, block.count = range.size();
    for (std::size_t i = range.first; i < range.last; ++i) {
      std::string_view first = text_of(i);
      if (!pair_at_.empty()) {
        std::size_t const at = middle(i);
        block.seconds.emplace_back(first.substr(at + pair_at_.size()));
        first = first.substr(0, at);
      }
      block.texts.push_back(before_);
      block.texts.back() += first;
    }
    return block;
  }

 private:
  /// Each text that is no pair, at its own place where it stands in the pipeline.
  void check_pairs() const {
    std::vector<wf::parameter_problem> wrong;
    for (std::size_t i = 0; i < info_.items; ++i) {
      try {
        middle(i);
      } catch (wf::data_error const& e) {
        if (file_ || info_.items == 1) throw;
        wrong.push_back({"texts", i, e.what()});
      }
    }
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
  }
  std::string_view text_of(std::size_t i) const noexcept { return file_ ? (*file_)[i] : std::string_view(texts_[i]); }
  /// Where the first text of a pair ends.
  std::size_t middle(std::size_t i) const {
    std::string_view const whole = text_of(i);
    std::size_t const at = whole.find(pair_at_);
    if (at == whole.npos || whole.find(pair_at_, at + pair_at_.size()) != whole.npos)
      throw wf::data_error("item " + std::to_string(i) + " has " + wf::in_quotes(pair_at_) +
                           (at == whole.npos ? " nowhere" : " more than once") +
                           ", but `pair_at` cuts each item into two texts there: " + wf::in_quotes(whole));
    return at;
  }

  std::vector<std::string> texts_;
  std::string before_, pair_at_;
  std::optional<wf::text_file> file_;
  wf::source_info info_;
};

}  // namespace

WAYFARER_SOURCE(text, "1.0.0",
                "Texts given in the pipeline file, or a file split by line, document or window; plain, .gz, .bz2 or .zst",
                wf::param("texts", wf::strings(""), "the text of each item"), wf::param::file("path", "", "file to split"),
                wf::param("split", "line", "an item is a line, a document (blank lines between), the whole file, or a window")
                    .one_of("line|document|whole|window"),
                wf::param("window", 1000, "length of a window; it never ends within a character").at_least(1),
                wf::param("stride", 0, "from one window's start to the next, 0: as `window`").at_least(0),
                wf::param("unit", "character", "what windows are counted in").one_of("character|byte"),
                wf::param("skip_empty", true, "leave out items of a file that hold nothing but white space"),
                wf::param("before", "", "put before every text, such as <|endoftext|>"),
                wf::param("pair_at", "",
                          "items are pairs of texts, cut at this, such as a tab; for models that read pairs (BERT)"),
                wf::param("limit", 256, "limit of a packed file's size when unpacked").in("MiB").between(1, 1 << 20));
