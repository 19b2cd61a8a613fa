// Returns a child process's result on a file that may be hostile, through shared memory.
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/run_files.hpp>

#include "store/store.hpp"

namespace wayfarer::host {
namespace {

constexpr std::size_t most_bytes = std::size_t{1} << 30;

/// A piece of memory that a child process can write into.
class shared_piece {
 public:
  explicit shared_piece(std::string const& about) : descriptor_(::memfd_create("wayfarer-piece", MFD_CLOEXEC)) {
    if (descriptor_ < 0) throw resource_error("can't make room for " + about + ": " + std::generic_category().message(errno));
  }
  shared_piece(shared_piece const&) = delete;
  ~shared_piece() { ::close(descriptor_); }
  void put(void const* bytes, std::size_t size) const {
    auto const* at = static_cast<char const*>(bytes);
    for (std::size_t done = 0; done < size;) {
      ssize_t const n = ::write(descriptor_, at + done, size - done);
      if (n < 0 && errno != EINTR) throw resource_error("no memory for what was read: " + std::generic_category().message(errno));
      if (n > 0) done += static_cast<std::size_t>(n);
    }
  }
  std::string take() const {
    off_t const size = ::lseek(descriptor_, 0, SEEK_END);
    std::string all(size > 0 ? static_cast<std::size_t>(size) : 0, '\0');
    for (std::size_t done = 0; done < all.size();) {
      ssize_t const n = ::pread(descriptor_, all.data() + done, all.size() - done, static_cast<off_t>(done));
      if (n == 0 || (n < 0 && errno != EINTR)) throw resource_error("what was read can't be read back");
      if (n > 0) done += static_cast<std::size_t>(n);
    }
    return all;
  }

 private:
  int descriptor_;
};

}  // namespace

std::string make_text_in_child(std::vector<std::filesystem::path> const& files, std::function<std::string()> const& body) {
  shared_piece const piece(files.empty() ? "a text" : files[0].string());
  read_in_child(files, [&] {
    std::string const text = body();
    piece.put(text.data(), text.size());
    return 0;
  });
  return piece.take();
}

tensor read_dataset_in_child(std::string const& file, std::string const& dataset) {
  note_read(file);
  shared_piece const piece(file);
  read_in_child({file}, [&] {
    auto const found = result_reader(file, true).read(dataset);
    if (found.is_text()) throw data_error(file + ": " + dataset + ": holds texts, not numbers");
    tensor const values = found.values().to(dtype::f64);
    if (values.bytes() > most_bytes)
      throw data_error(file + ": " + dataset + ": is " + describe(values.shape()) + ", more than is read in one piece");
    std::vector<std::uint64_t> sizes{values.rank()};
    for (auto const& d : values.shape()) sizes.push_back(d.size);
    piece.put(sizes.data(), sizes.size() * sizeof sizes[0]);
    for (auto const& d : values.shape()) piece.put(d.name.c_str(), d.name.size() + 1);
    piece.put(values.raw(), values.bytes());
    return 0;
  });
  // The child read a file that may be crafted, so that what it says is checked like the file itself.
  std::string const all = piece.take();
  auto const bad = [&]() -> data_error { return data_error(file + ": " + dataset + ": could not be read"); };
  std::size_t at = 0;
  auto const number = [&] {
    std::uint64_t n = 0;
    if (all.size() - at < sizeof n) throw bad();
    std::memcpy(&n, all.data() + at, sizeof n);
    at += sizeof n;
    return n;
  };
  std::uint64_t const rank = number();
  if (rank > tensor_view<double>::max_rank) throw bad();
  dims shape(rank);
  for (auto& d : shape) d.size = number();
  for (auto& d : shape) {
    auto const end = all.find('\0', at);
    if (end == all.npos) throw bad();
    d.name = all.substr(at, end - at);
    at = end + 1;
  }
  std::size_t count = 1;
  for (auto const& d : shape)
    if (__builtin_mul_overflow(count, d.size, &count) || count > most_bytes) throw bad();
  if ((all.size() - at) != count * sizeof(double)) throw bad();
  tensor out(dtype::f64, shape);
  if (count != 0) std::memcpy(const_cast<void*>(out.raw()), all.data() + at, count * sizeof(double));
  return out;
}

}  // namespace wayfarer::host
