#include "corpus_file.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

namespace wayfarer {
namespace {

constexpr std::size_t block_bytes = std::size_t{1} << 18;
/// Unpacked bytes between the places where a packed file may be entered: each costs 32 KiB of memory.
constexpr std::uint64_t least_apart = std::uint64_t{64} << 10, most_apart = std::uint64_t{32} << 20;
constexpr std::size_t most_idle = 8;
constexpr std::string_view mark = "\xef\xbb\xbf";
constexpr std::string_view opening = "wayfarer corpus index 2\n";
constexpr std::size_t digest_bytes = 64;

bool is_blank(std::string_view text) noexcept {
  return text.find_first_not_of(" \t\r\v\f") == text.npos;
}

/// Lines of a stream, one at a time.
class lines {
 public:
  lines(packed_stream in, std::size_t most) : in_(std::move(in)), room_(block_bytes), offset_(in_.position()), most_(most) {}
  packed_stream& stream() { return in_; }
  /// The unpacked offset of the next line.
  std::uint64_t offset() const noexcept { return offset_; }

  /// The next line without its end, until the next call; false at the end of the file. Throws data_error for one that is too
  /// long.
  bool next(std::string_view& line, std::string const& path) {
    long_.clear();
    for (;;) {
      if (begin_ == end_) {
        begin_ = 0, end_ = in_.read(std::as_writable_bytes(std::span(room_)));
        if (end_ == 0) {
          line = long_;
          offset_ += long_.size();
          return !long_.empty();
        }
      }
      std::string_view const have(room_.data() + begin_, end_ - begin_);
      std::size_t const stop = have.find('\n');
      std::size_t const taken = std::min(stop, have.size());
      if (long_.size() + taken > most_)
        throw data_error(path + ": byte " + std::to_string(offset_) + ": a line of more than " + std::to_string(most_ >> 20) +
                         " MiB begins here; break it, or raise `longest`");
      begin_ += taken + (stop != have.npos ? 1 : 0);
      if (stop == have.npos) {
        long_ += have;
        continue;
      }
      if (long_.empty()) {
        line = have.substr(0, stop);
      } else {
        long_ += have.substr(0, stop);
        line = long_;
      }
      offset_ += line.size() + 1;
      if (line.ends_with('\r')) line.remove_suffix(1);
      return true;
    }
  }

 private:
  packed_stream in_;
  std::vector<char> room_;
  std::size_t begin_ = 0, end_ = 0;
  std::string long_;
  std::uint64_t offset_;
  std::size_t most_;
};

struct stat status_of(std::string const& path) {
  struct stat s {};
  if (::stat(path.c_str(), &s) != 0) throw data_error(path + ": can't examine: " + std::generic_category().message(errno));
  return s;
}

// ---- the index as a file ----

template <class T>
void put(std::string& to, T const& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  to.append(reinterpret_cast<char const*>(&value), sizeof value);
}

/// Reads back what was put; `whole` is false as soon as something does not fit.
class taker {
 public:
  explicit taker(std::string_view text) : text_(text) {}
  template <class T>
  T take() {
    T value{};
    auto const bytes = take_bytes(sizeof value);
    if (whole) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::string_view take_bytes(std::uint64_t n) {
    whole = whole && n <= text_.size();
    if (!whole) return {};
    auto const bytes = text_.substr(0, n);
    text_.remove_prefix(n);
    return bytes;
  }
  /// A count of things of at least so many bytes each.
  std::uint64_t count(std::size_t each) {
    auto const n = take<std::uint64_t>();
    whole = whole && n <= text_.size() / each;
    return whole ? n : 0;
  }
  bool ended() const { return whole && text_.empty(); }
  bool whole = true;

 private:
  std::string_view text_;
};

std::string as_text(corpus_index const& x) {
  std::string text(opening);
  for (auto const n : {x.size, x.modified_seconds, x.modified_nanoseconds, x.inode, x.items, x.longest}) put(text, n);
  put(text, static_cast<std::uint64_t>(x.plain)), put(text, static_cast<std::uint64_t>(x.marked));
  put(text, std::uint64_t{x.at.size()});
  for (auto const n : x.at) put(text, n);
  put(text, std::uint64_t{x.points.size()});
  for (auto const& p : x.points) {
    put(text, p.packed), put(text, p.unpacked), put(text, std::uint64_t{p.bits}), put(text, std::uint64_t{p.window.size()});
    text += p.window;
  }
  return text + sha256_hex(text);
}

bool from_text(std::string_view text, corpus_index& x) {
  if (!text.starts_with(opening) || text.size() < opening.size() + digest_bytes) return false;
  auto const body = text.substr(0, text.size() - digest_bytes);
  if (sha256_hex(body) != text.substr(body.size())) return false;
  taker from(body.substr(opening.size()));
  for (auto* const n : {&x.size, &x.modified_seconds, &x.modified_nanoseconds, &x.inode, &x.items, &x.longest})
    *n = from.take<std::uint64_t>();
  x.plain = from.take<std::uint64_t>() != 0;
  x.marked = from.take<std::uint64_t>() != 0;
  x.at.resize(from.count(sizeof(std::uint64_t)));
  for (auto& n : x.at) n = from.take<std::uint64_t>();
  x.points.resize(from.count(4 * sizeof(std::uint64_t)));
  for (auto& p : x.points) {
    p.packed = from.take<std::uint64_t>(), p.unpacked = from.take<std::uint64_t>();
    p.bits = static_cast<std::uint8_t>(from.take<std::uint64_t>() & 7);
    p.window = from.take_bytes(from.take<std::uint64_t>());
  }
  return from.ended() && x.at.size() == (x.items + corpus_index::stride - 1) / corpus_index::stride;
}

corpus_index identity(std::string const& path) {
  struct stat const s = status_of(path);
  corpus_index x;
  x.size = static_cast<std::uint64_t>(s.st_size), x.inode = static_cast<std::uint64_t>(s.st_ino);
  x.modified_seconds = static_cast<std::uint64_t>(s.st_mtim.tv_sec);
  x.modified_nanoseconds = static_cast<std::uint64_t>(s.st_mtim.tv_nsec);
  return x;
}

bool same_file(corpus_index const& a, corpus_index const& b) {
  return a.size == b.size && a.inode == b.inode && a.modified_seconds == b.modified_seconds &&
         a.modified_nanoseconds == b.modified_nanoseconds;
}

}  // namespace

/// Goes through the items from one of them on.
class corpus_file::cursor {
 public:
  /// `in` stands at the beginning of an item, `item`.
  cursor(corpus_file const& of, packed_stream in, std::size_t item)
      : of_(of), lines_(std::move(in), of.most_line_), item_(item) {}

  packed_stream& stream() { return lines_.stream(); }
  /// The number of the next item.
  std::size_t item() const noexcept { return item_; }
  /// Where the item that was read last begins.
  std::uint64_t began() const noexcept { return began_; }
  /// Whether a byte order mark has been left out.
  bool marked() const noexcept { return marked_; }

  /// The next item, until the next call; false at the end.
  bool next(std::string_view& text) {
    std::string_view line;
    document_.clear();
    bool open = false;
    for (;;) {
      std::uint64_t const at = lines_.offset();
      if (!lines_.next(line, of_.path_)) break;
      if (at == 0 && line.starts_with(mark)) line.remove_prefix(mark.size()), marked_ = true;
      if (is_blank(line)) {
        if (open) break;
        continue;
      }
      if (!open) began_ = at;
      open = true;
      if (of_.split_ == corpus_split::line) {
        text = line;
        ++item_;
        return true;
      }
      if (document_.size() + line.size() > of_.most_line_)
        throw data_error(of_.path_ + ": byte " + std::to_string(began_) + ": a document of more than " +
                         std::to_string(of_.most_line_ >> 20) + " MiB begins here; put a blank line into it, or raise `longest`");
      if (!document_.empty()) document_ += '\n';
      document_ += line;
    }
    if (!open) return false;
    text = document_;
    ++item_;
    return true;
  }

 private:
  corpus_file const& of_;
  lines lines_;
  std::string document_;
  std::uint64_t began_ = 0;
  std::size_t item_;
  bool marked_ = false;
};

corpus_file::corpus_file(std::string path, corpus_split split, std::size_t most_line, std::string const& cache)
    : path_(std::move(path)), split_(split), most_line_(most_line) {
  index_ = identity(path_);
  std::string place;
  if (!cache.empty()) {
    std::error_code none;
    std::string const name =
        std::filesystem::weakly_canonical(path_, none).string() + (split == corpus_split::line ? " lines" : " documents");
    place = (std::filesystem::path(cache) / (sha256_hex(name).substr(0, 40) + ".index")).string();
    corpus_index kept;
    try {
      auto const file = mapped_file::open(place);
      if (from_text(file->text(), kept) && same_file(kept, index_) && kept.longest <= most_line) {
        index_ = std::move(kept);
        return;
      }
    } catch (data_error const&) {
      // Not there, or not readable.
    }
  }
  make_index();
  if (place.empty()) return;
  try {
    std::error_code none;
    std::filesystem::create_directories(cache, none);
    write_file_atomically(place, std::string_view(as_text(index_)));
  } catch (resource_error const&) {
    // The next run makes it again.
  }
}

corpus_file::~corpus_file() = default;

void corpus_file::make_index() {
  cursor at(*this, packed_stream(path_), 0);
  index_.plain = at.stream().is_plain();
  if (!index_.plain) at.stream().note_points(std::clamp(index_.size / 64, least_apart, most_apart));
  for (std::string_view text; at.next(text);) {
    if (index_.items++ % corpus_index::stride == 0) index_.at.push_back(at.began());
    index_.longest = std::max<std::uint64_t>(index_.longest, text.size());
    if (std::size_t const zero = text.find('\0'); zero != text.npos)
      throw data_error(path_ + ": item " + std::to_string(index_.items - 1) + ", near byte " + std::to_string(at.began() + zero) +
                       ": holds NUL, which no text does; if this is UTF-16, convert it (iconv -f UTF-16 -t UTF-8)");
  }
  index_.marked = at.marked();
  index_.points = at.stream().points();
}

std::unique_ptr<corpus_file::cursor> corpus_file::cursor_at(std::size_t item) const {
  std::size_t const noted = item / corpus_index::stride;
  {
    std::lock_guard const lock(mutex_);
    // One that stands a little before the item saves opening the file.
    auto best = idle_.end();
    for (auto i = idle_.begin(); i != idle_.end(); ++i)
      if ((*i)->item() <= item && (*i)->item() >= noted * corpus_index::stride &&
          (best == idle_.end() || (*i)->item() > (*best)->item()))
        best = i;
    if (best != idle_.end()) {
      auto found = std::move(*best);
      idle_.erase(best);
      return found;
    }
  }
  std::uint64_t const offset = index_.at[noted];
  packed_stream::point from;
  if (index_.plain) from = {offset, offset, 0, {}};
  for (auto const& p : index_.points)
    if (p.unpacked <= offset) from = p;
  packed_stream in(path_, from);
  std::vector<std::byte> room(std::min<std::uint64_t>(offset - from.unpacked, block_bytes));
  for (std::uint64_t left = offset - from.unpacked; left != 0;) {
    std::size_t const n = in.read(std::span(room).first(std::min<std::uint64_t>(left, room.size())));
    if (n == 0) break;
    left -= n;
  }
  return std::make_unique<cursor>(*this, std::move(in), noted * corpus_index::stride);
}

void corpus_file::give_back(std::unique_ptr<cursor> c) const {
  std::lock_guard const lock(mutex_);
  if (idle_.size() == most_idle) idle_.erase(idle_.begin());
  idle_.push_back(std::move(c));
}

void corpus_file::check_unchanged() const {
  if (!same_file(identity(path_), index_))
    throw data_error(path_ + ": has changed since it was opened; don't change files in use");
}

void corpus_file::read(std::size_t first, std::size_t last,
                       std::function<void(std::size_t, std::string_view)> const& item) const {
  if (first == last) return;
  check_unchanged();
  auto at = cursor_at(first);
  std::string_view text;
  while (at->item() < last) {
    std::size_t const number = at->item();
    if (!at->next(text)) throw data_error(path_ + ": has fewer items than when it was opened; don't change files in use");
    if (number >= first) item(number, text);
  }
  give_back(std::move(at));
}

}  // namespace wayfarer
