#include "text_file.hpp"

#include <algorithm>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/utf8.hpp>

#include "sources/common/compressed_file.hpp"

namespace wayfarer {
namespace {

constexpr std::size_t most_items = 100'000'000;  // 1.6 GB of places

bool is_space(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_blank(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), is_space);
}

/// Calls line(first, bytes) for each line, without "\n" or "\r\n" at its end.
template <class Line>
void for_each_line(std::string_view text, Line&& line) {
  for (std::size_t first = 0; first < text.size();) {
    std::size_t const end = std::min(text.find('\n', first), text.size());
    std::size_t const bytes = end - first;
    line(first, bytes != 0 && text[end - 1] == '\r' ? bytes - 1 : bytes);
    first = end + 1;
  }
}

}  // namespace

std::size_t character_length(std::string_view text, std::size_t at) noexcept {
  auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char const lead = byte(at);
  std::size_t const length = lead >= 0xf0 && lead < 0xf8 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 1;
  if (length == 1 || lead >= 0xf8 || at + length > text.size()) return 1;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(at + i) & 0xc0) != 0x80) return 1;
  return length;
}

text_file::text_file(std::string const& path, std::size_t max_bytes, text_cut const& how) : most_(most_items) {
  file_ = mapped_file::open(path);
  if (is_packed(file_->path())) {
    file_.reset();
    // Once without keeping anything, so that a file that is too large takes no memory, and one that is not takes its own size.
    std::size_t whole = 0;
    read_unpacked(path, max_bytes, [&](std::span<std::byte const> bytes) { whole += bytes.size(); });
    unpacked_.reserve(whole);
    read_unpacked(path, whole, [&](std::span<std::byte const> bytes) {
      unpacked_.append(reinterpret_cast<char const*>(bytes.data()), bytes.size());
    });
    text_ = unpacked_;
    // Their places may take as much as the text, not more: short lines pack well.
    most_ = std::min(most_items, max_bytes / sizeof(place));
  } else {
    text_ = file_->text();
  }
  text_ = text_of_file(text_, path, notes_);
  cut(how);
}

text_file::text_file(std::string text, text_cut const& how) : unpacked_(std::move(text)), text_(unpacked_), most_(most_items) {
  cut(how);
}

void text_file::cut(text_cut const& how) {
  auto const add = [&](std::size_t first, std::size_t bytes) {
    if (how.skip_empty && is_blank(text_.substr(first, bytes))) return;
    if (items_.size() == most_)
      throw usage_error("the text falls into more than " + std::to_string(most_) +
                        " items; make windows longer, or `stride` larger" + (most_ < most_items ? ", or raise `limit`" : ""));
    items_.push_back({first, bytes});
  };
  switch (how.by) {
    case text_split::whole:
      add(0, text_.size());
      return;
    case text_split::line:
      for_each_line(text_, add);
      return;
    case text_split::document: {
      // A document is what stands between blank lines; those themselves belong to none.
      std::size_t first = 0, end = 0;
      bool open = false;
      for_each_line(text_, [&](std::size_t at, std::size_t bytes) {
        if (is_blank(text_.substr(at, bytes))) {
          if (open) add(first, end - first);
          open = false;
          return;
        }
        if (!open) first = at;
        open = true, end = at + bytes;
      });
      if (open) add(first, end - first);
      return;
    }
    case text_split::window:
      break;
  }
  // `end` runs ahead of `first` by a window; both move over whole characters.
  auto const forward = [&](std::size_t at, std::size_t count) {
    std::size_t const from = at;
    while (at < text_.size() && count > 0) {
      std::size_t const n = character_length(text_, at);
      if (how.bytes && at != from && n > count) break;  // at least one character, else no more bytes than asked for
      count -= std::min(count, how.bytes ? n : 1);
      at += n;
    }
    return at;
  };
  for (std::size_t first = 0; first < text_.size();) {
    std::size_t const end = forward(first, how.window);
    add(first, end - first);
    if (end == text_.size()) return;
    first = forward(first, how.stride);
  }
}

}  // namespace wayfarer
