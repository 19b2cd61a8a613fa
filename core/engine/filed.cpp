#include "engine/filed.hpp"

#include <cstring>
#include <span>
#include <utility>

#include <wayfarer/error.hpp>

namespace wayfarer::host {
namespace {

constexpr std::string_view opening = "wayfarer filed 1\n";
constexpr std::size_t digest_bytes = 64, alignment = 64;
/// Written at once: texts are many and short.
constexpr std::size_t most_waiting = std::size_t{1} << 20;
constexpr dtype types[] = {dtype::f32, dtype::f64, dtype::f16, dtype::bf16, dtype::i32, dtype::i64, dtype::u8};

}  // namespace

filed_writer::filed_writer(std::filesystem::path const& path)
    : file_(std::make_unique<atomic_file>(path.string())), to_([file = file_.get()](std::string_view b) { file->write(b); }) {
  digest_.update(path.filename().string());  // so that it counts under its own name alone
  bytes(opening);
}

filed_writer::filed_writer(std::function<void(std::string_view)> to, std::string_view salt) : to_(std::move(to)) {
  digest_.update(salt);
  bytes(opening);
}

void filed_writer::bytes(std::string_view what) {
  size_ += what.size();
  waiting_ += what;
  if (waiting_.size() >= most_waiting) flush();
}

void filed_writer::flush() {
  to_(waiting_);
  digest_.update(waiting_);
  waiting_.clear();
}

void filed_writer::put(std::uint64_t n) {
  bytes({reinterpret_cast<char const*>(&n), sizeof n});
}

void filed_writer::put(double x) {
  bytes({reinterpret_cast<char const*>(&x), sizeof x});
}

void filed_writer::put(std::string_view text) {
  put(std::uint64_t{text.size()});
  bytes(text);
}

void filed_writer::put(std::vector<std::string> const& texts) {
  put(std::uint64_t{texts.size()});
  for (auto const& t : texts) put(std::string_view(t));
}

void filed_writer::put(tensor const& t) {
  tensor const whole = t.defined() ? t.to(t.type()) : t;
  put(std::uint64_t{whole.defined()});
  if (!whole.defined()) return;
  put(std::string_view(name_of(whole.type())));
  put(std::uint64_t{whole.rank()});
  for (auto const& d : whole.shape()) {
    put(std::string_view(d.name));
    put(std::uint64_t{d.size});
  }
  // Numbers are read where they lie.
  bytes(std::string((alignment - size_ % alignment) % alignment, '\0'));
  std::string_view const all(static_cast<char const*>(whole.raw()), whole.bytes());
  for (std::size_t at = 0; at < all.size(); at += most_waiting) bytes(all.substr(at, most_waiting));
}

void filed_writer::put(results const& r) {
  put(std::string_view(r.summary()));
  put(std::uint64_t{r.names().size()});
  for (auto const& name : r.names()) {
    dataset const& d = r.at(name);
    put(std::string_view(name));
    put(std::uint64_t{d.is_text()});
    if (d.is_text()) {
      put(d.texts());
      put(std::uint64_t{d.shape().size()});
      for (auto const& one : d.shape()) {
        put(std::string_view(one.name));
        put(std::uint64_t{one.size});
      }
    } else {
      put(d.values());
    }
    put(std::uint64_t{d.compressed()});
    for (auto const* text : {&d.about(), &d.units(), &d.missing(), &d.view()}) put(std::string_view(*text));
    put(std::uint64_t{d.label_map().size()});
    for (auto const& [dimension, labels] : d.label_map()) {
      put(std::string_view(dimension));
      put(labels);
    }
    put(std::uint64_t{d.coordinate_map().size()});
    for (auto const& [dimension, numbers] : d.coordinate_map()) {
      put(std::string_view(dimension));
      put(numbers);
    }
  }
}

void filed_writer::commit() {
  flush();
  to_(digest_.hex());
  if (file_) file_->commit();
}

filed_reader::filed_reader(std::filesystem::path const& path) {
  auto file = mapped_file::open(path.string());
  std::string_view const bytes = file->text();
  *this = filed_reader(bytes, std::move(file), path.string(), path.filename().string());
}

filed_reader::filed_reader(std::string_view bytes, std::shared_ptr<void const> keep, std::string name, std::string_view salt)
    : bytes_(bytes), keep_(std::move(keep)), name_(std::move(name)) {
  if (bytes_.size() < opening.size() + digest_bytes || !bytes_.starts_with(opening)) fail();
  end_ = bytes_.size() - digest_bytes;
  if (sha256().update(salt).update(bytes_.substr(0, end_)).hex() != bytes_.substr(end_)) fail();
  at_ = opening.size();
}

void filed_reader::fail() const {
  throw data_error(name_ + ": is damaged, or no work of this version of wayfarer");
}

std::string_view filed_reader::take(std::size_t n) {
  if (n > end_ - at_) fail();
  return bytes_.substr(std::exchange(at_, at_ + n), n);
}

std::uint64_t filed_reader::number() {
  std::uint64_t n = 0;
  std::memcpy(&n, take(sizeof n).data(), sizeof n);
  return n;
}

double filed_reader::real() {
  double x = 0;
  std::memcpy(&x, take(sizeof x).data(), sizeof x);
  return x;
}

std::size_t filed_reader::count(std::size_t each) {
  auto const n = number();
  if (n > (end_ - at_) / each) fail();
  return n;
}

std::string filed_reader::text() {
  return std::string(take(count()));
}

std::vector<std::string> filed_reader::texts() {
  std::vector<std::string> all(count(sizeof(std::uint64_t)));
  for (auto& t : all) t = text();
  return all;
}

tensor filed_reader::values() {
  if (number() == 0) return {};
  std::string const type_name = text();
  dtype const* type = nullptr;
  for (auto const& t : types)
    if (name_of(t) == type_name) type = &t;
  std::size_t const rank = count(2 * sizeof(std::uint64_t));
  if (!type || rank > tensor_view<float>::max_rank) fail();
  dims shape(rank);
  std::size_t bytes = size_of(*type);
  bool empty = false;
  for (auto& d : shape) {
    d.name = text(), d.size = number();
    empty = empty || d.size == 0;
    if (d.size != 0 && __builtin_mul_overflow(bytes, d.size, &bytes)) fail();
  }
  if (empty) bytes = 0;
  take((alignment - at_ % alignment) % alignment);
  std::string_view const at = take(bytes);
  return bytes == 0 ? tensor(*type, std::move(shape)) : tensor::look(*type, at.data(), std::move(shape), keep_);
}

results filed_reader::node() {
  results out;
  out.summarise(text());
  std::size_t const datasets = count(sizeof(std::uint64_t));
  for (std::size_t i = 0; i < datasets; ++i) {
    std::string const name = text();
    dataset d;
    if (number() != 0) {
      auto all = texts();
      dims shape(count(2 * sizeof(std::uint64_t)));
      for (auto& one : shape) one.name = text(), one.size = number();
      d = dataset(std::move(all), std::move(shape));
    } else {
      d = dataset(values());
    }
    d.compress(number() != 0);
    d.about(text()), d.units(text()), d.missing(text()), d.view_as_stored(text());
    for (std::size_t n = count(sizeof(std::uint64_t)); n > 0; --n) {
      std::string const dimension = text();
      d.labels(dimension, texts());
    }
    for (std::size_t n = count(sizeof(std::uint64_t)); n > 0; --n) {
      std::string const dimension = text();
      d.coordinate(dimension, values());
    }
    out.add(name, std::move(d));
  }
  return out;
}

}  // namespace wayfarer::host
