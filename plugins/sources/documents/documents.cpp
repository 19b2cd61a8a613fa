// Documents read from a file: the reference format, lda-c, or plain text, each plain or packed with gzip or bzip2
// (document_file.hpp).
//
// The file is read once, by the constructor; documents are kept as 4 bytes a word and 8 a document.
#include <cstdint>
#include <string>
#include <vector>

#include <wayfarer/source.hpp>

#include "sources/common/document_file.hpp"

namespace {

namespace wf = wayfarer;

struct documents final : wf::source {
  explicit documents(wf::config const& c) {
    wf::document_limits limits;
    limits.bytes = static_cast<std::size_t>(c["limit"].integer()) << 20;
    std::string const& path = c["path"].text();
    std::string const& vocabulary = c["vocabulary"].text();
    std::vector<std::string> names;
    if (!vocabulary.empty()) names = wf::read_vocabulary(vocabulary, limits, info_.notes);
    table_ = wf::read_documents(path, wf::document_format_of(c["format"].text()), limits, std::move(names), vocabulary);

    info_.notes.insert(info_.notes.end(), table_.notes.begin(), table_.notes.end());
    info_.items = table_.documents.size();
    info_.vocabulary = table_.vocabulary;
    info_.longest = table_.longest;
    info_.has_words = true;
    info_.words = std::move(table_.names);
    info_.facts["vocabulary"] = wf::param_value(static_cast<std::int64_t>(info_.vocabulary));
    if (std::int64_t const v = c["words_per_topic"].integer(); v > 0) {
      info_.facts["words_per_topic"] = wf::param_value(v);
      // Without a list of the words there may be topics whose words don't occur.
      if (auto const n = static_cast<std::int64_t>(info_.vocabulary); !vocabulary.empty() && n % v == 0)
        info_.facts["topics"] = wf::param_value(n / v);
      std::vector<std::int32_t> topic(info_.vocabulary);
      for (std::size_t w = 0; w < topic.size(); ++w) topic[w] = static_cast<std::int32_t>(static_cast<std::int64_t>(w) / v);
      info_.truth["topic_of_word"] = wf::tensor::of(topic, {{"word", topic.size()}});
    }
  }

  wf::source_info const& info() const override { return info_; }
  wf::item_block read(wf::item_range range) const override { return wf::block_of(table_, range); }

 private:
  wf::document_table table_;
  wf::source_info info_;
};

}  // namespace

WAYFARER_SOURCE(
    documents, "1.0.0", "Documents read from a file: word numbers then END, lda-c, or plain text; plain, .gz, .bz2 or .zst",
    wf::param::file("path", "", "file with one document a line").required(),
    wf::param("format", "auto", "format of the file; auto looks at its first line").one_of("auto|reference|lda_c|text"),
    wf::param::file("vocabulary", "", "file with one word a line: the words' names, and for a text their numbers"),
    wf::param("words_per_topic", 0, "state the truth that word w belongs to topic w / words_per_topic; 0: no topic is known")
        .between(0, 1 << 24),
    wf::param("limit", 256, "limit of the file's size when unpacked, and of its size in memory").in("MiB").between(1, 1 << 20));
