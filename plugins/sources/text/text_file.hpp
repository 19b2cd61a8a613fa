// A text cut into items: by line, by document, by window, or not at all. The bytes are kept once and never copied as a whole; an
// item is a place in them.
//
// Made by the source's constructor on the host's main thread; immutable then, for any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/file.hpp>

namespace wayfarer {

enum class text_split { line, document, whole, window };

struct text_cut {
  text_split by = text_split::line;
  std::size_t window = 0, stride = 0;  ///< characters, or bytes
  bool bytes = false;                  ///< windows are counted in bytes; one never ends within a character all the same
  bool skip_empty = true;              ///< leave out items that hold nothing but white space
};

/// Length of the UTF-8 character that begins at `at` < text.size(); 1 for a byte that begins none.
std::size_t character_length(std::string_view text, std::size_t at) noexcept;

class text_file {
 public:
  /// A plain file is mapped; a gzip or bzip2 file is unpacked to at most `max_bytes` bytes of memory, and the
  /// places of its items take no more. Throws data_error, also for what is not UTF-8, and usage_error for too many items.
  text_file(std::string const& path, std::size_t max_bytes, text_cut const&);
  /// The same of a text in memory.
  text_file(std::string text, text_cut const&);
  text_file(text_file const&) = delete;  // items look into it
  text_file& operator=(text_file const&) = delete;

  /// What the user should know of the file.
  std::vector<std::string> const& notes() const noexcept { return notes_; }
  std::size_t size() const noexcept { return items_.size(); }
  std::string_view operator[](std::size_t i) const noexcept { return text_.substr(items_[i].first, items_[i].bytes); }
  /// Throws data_error if a mapped file is no longer what was opened.
  void check_unchanged() const {
    if (file_) file_->check_unchanged();
  }

 private:
  struct place {
    std::size_t first = 0, bytes = 0;
  };
  void cut(text_cut const&);

  std::shared_ptr<mapped_file const> file_;
  std::string unpacked_;
  std::string_view text_;
  std::size_t most_;  // items
  std::vector<std::string> notes_;
  std::vector<place> items_;
};

}  // namespace wayfarer
