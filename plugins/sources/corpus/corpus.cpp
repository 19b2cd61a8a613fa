// Texts from many files of any size: lines, documents, or a field of JSON lines, plain or packed. Only what is being read is in
// memory.
//
//     web: {source: corpus, path: shards, files: "*.jsonl.gz", field: text}
//
// Items are numbered through the files in the order of their names. The first run passes over each file once to count them; what
// it finds is kept in the cache folder.
#include <fnmatch.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/run_files.hpp>
#include <wayfarer/source.hpp>
#include <wayfarer/utf8.hpp>

#include "corpus_file.hpp"

namespace {

namespace wf = wayfarer;
namespace fs = std::filesystem;

/// The path itself, or the files of that folder whose names match, in the order of their names.
std::vector<std::string> files_of(std::string const& path, std::string const& pattern) {
  std::error_code code;
  if (!fs::is_directory(path, code)) return {path};
  std::vector<std::string> all, others;
  for (auto const& entry : fs::directory_iterator(path)) {
    std::string const name = entry.path().filename();
    if (!entry.is_regular_file(code) || name.front() == '.') continue;
    (::fnmatch(pattern.c_str(), name.c_str(), 0) == 0 ? all : others).push_back(entry.path());
  }
  std::sort(all.begin(), all.end()), std::sort(others.begin(), others.end());
  if (all.empty())
    throw wf::data_error(path + ": no file in it is called '" + pattern + "'" +
                         (others.empty() ? "; it has no files"
                                         : "; it has " + fs::path(others.front()).filename().string() +
                                               (others.size() > 1 ? " and others" : "") + ", set `files`"));
  return all;
}

bool holds_json(std::string name) {
  for (char const* packed : {".gz", ".bz2", ".zst"})
    if (name.ends_with(packed)) name.erase(name.rfind('.'));
  return name.ends_with(".jsonl") || name.ends_with(".ndjson") || name.ends_with(".json");
}

struct corpus final : wf::source {
  explicit corpus(wf::config const& c) : field_(c["field"].text()), before_(c["before"].text()) {
    bool const documents = c["split"].text() == "document";
    most_ = static_cast<std::size_t>(c["longest"].integer()) << 20;
    auto const names = files_of(c["path"].text(), c["files"].text());
    // The number of an item depends on every file before it, also where an index from an earlier run tells how many are in it.
    for (auto const& name : names) wf::note_read(name);
    std::string const cache = c["cache"] ? wf::cache_folder("corpus") : "";
    files_.resize(names.size());
    wf::parallel_for(names.size(), [&](std::size_t i) {
      auto const how = documents && !holds_json(names[i]) ? wf::corpus_split::document : wf::corpus_split::line;
      files_[i] = std::make_unique<wf::corpus_file>(names[i], how, most_, cache);
    });
    for (auto const& f : files_) {
      info_.items += f->index().items;
      if (f->index().items == 0) info_.notes.push_back(f->path() + ": no text in it");
      if (f->index().marked)
        info_.notes.push_back(f->path() + " begins with a byte order mark, which is no part of the text and was left out");
      ends_.push_back(info_.items);
    }
    if (info_.items == 0) throw wf::data_error(c["path"].text() + ": no text in it");
    info_.has_texts = true;
    read({0, 1});  // a wrong `field` is told before the run
  }

  wf::source_info const& info() const override { return info_; }

  wf::item_block read(wf::item_range range) const override {
    wf::item_block block;
    block.first = range.first, block.count = range.size();
    for (std::size_t at = range.first; at < range.last;) {
      std::size_t const i = static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), at) - ends_.begin());
      std::size_t const begin = i == 0 ? 0 : ends_[i - 1], last = std::min(range.last, ends_[i]);
      bool const json = holds_json(files_[i]->path());
      files_[i]->read(at - begin, last - begin, [&](std::size_t number, std::string_view text) {
        std::string const where = files_[i]->path() + ": item " + std::to_string(number);
        block.texts.push_back(before_);
        if (json)
          block.texts.back() += field_of(text, where);
        else
          wf::require_utf8(text, where), block.texts.back() += text;
      });
      at = last;
    }
    return block;
  }

 private:
  std::string field_of(std::string_view line, std::string const& where) const {
    wf::json_value const record = wf::parse_json(line, where, {most_, 64, 1'000'000, true});
    if (record.kind() == wf::json_kind::string && field_.empty()) return record.as_string();
    if (record.kind() != wf::json_kind::object)
      throw wf::data_error(where + ": is no JSON object; each line of a .jsonl file must be one");
    if (auto const found = record.find(field_)) return found->as_string();
    std::string has;
    for (auto const& [key, value] : record.members())
      if (value.kind() == wf::json_kind::string) has += (has.empty() ? "" : ", ") + wf::in_quotes(key);
    throw wf::data_error(where + ": has no field " + wf::in_quotes(field_) +
                         "; set `field` to one of its texts: " + (has.empty() ? "it has none" : has));
  }

  std::string field_, before_;
  std::size_t most_ = 0;
  std::vector<std::unique_ptr<wf::corpus_file>> files_;
  std::vector<std::size_t> ends_;  ///< the number of the first item behind each file
  wf::source_info info_;
};

}  // namespace

WAYFARER_SOURCE(
    corpus, "1.0.0",
    "Texts from many files of any size, read as they are needed: lines, documents or JSON lines; plain, .gz, .bz2 or .zst",
    wf::param::file("path", "", "a folder of files, or one file").required(),
    wf::param("files", "*", "which files of the folder, such as *.jsonl.gz"),
    wf::param("field", "text", "of JSON lines (.jsonl): the field that holds the text"),
    wf::param("split", "line", "of other files: an item is a line, or a document (blank lines between)").one_of("line|document"),
    wf::param("before", "", "put before every text, such as <|endoftext|>"),
    wf::param("longest", 64, "limit of a line's or document's size").in("MiB").between(1, 1 << 12),
    wf::param("cache", true, "keep what the first pass over a file finds in ~/.cache/wayfarer/corpus"));
