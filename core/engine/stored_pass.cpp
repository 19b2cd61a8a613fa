#include "engine/stored_pass.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <new>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>

#include "engine/blocks.hpp"
#include "engine/filed.hpp"
#include "engine/sweep.hpp"

namespace wayfarer::host {
namespace {

/// A file of blocks ends after so many of them, so many bytes, or so many seconds.
constexpr std::size_t most_blocks = fan_in;
constexpr std::uint64_t most_bytes = std::uint64_t{64} << 20;
constexpr double most_seconds = 4;
/// What a file of activations takes beside the numbers: names and sizes of each item's dimensions.
constexpr std::uint64_t about_a_file = 1024, about_an_item = 1024;
constexpr std::size_t alignment = 64;

using got_bytes = shared_store::entry::opened::got;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string text_of(item_range r) {
  return std::to_string(r.first) + "-" + std::to_string(r.last);
}

std::optional<item_range> range_of(std::string_view name) {
  item_range r{};
  char const* const end = name.data() + name.size();
  auto const one = std::from_chars(name.data(), end, r.first);
  if (one.ec != std::errc() || one.ptr == end || *one.ptr != '-') return std::nullopt;
  auto const two = std::from_chars(one.ptr + 1, end, r.last);
  return two.ec == std::errc() && two.ptr == end && r.last > r.first ? std::optional(r) : std::nullopt;
}

/// Whether a tensor is what the hook gives for item `i`, in type and sizes.
bool fits(tensor const& t, hook_info const& h, model_info const& m, batch const& b, std::size_t i, dtype type) {
  auto const length = [&](positions p) {
    return p == positions::tokens ? b.tokens[i].size() : b.decoder_tokens.empty() ? std::size_t(-1) : b.decoder_tokens[i].size();
  };
  if (!t.defined() || t.type() != type || !t.contiguous()) return false;
  if (h.per_pair)
    return t.rank() == 3 && t.size(std::size_t{0}) == m.heads && t.size(std::size_t{1}) == length(h.along) &&
           t.size(std::size_t{2}) == length(h.keys);
  if (t.rank() != h.row.size() + 1 || t.size(std::size_t{0}) != length(h.along)) return false;
  for (std::size_t d = 0; d < h.row.size(); ++d)
    if (t.size(d + 1) != h.row[d].size) return false;
  return true;
}

/// Bytes that the file of a hook's activations can't exceed.
std::uint64_t most_bytes_of(hook_info const& h, batch const& b, model_info const& m) {
  std::uint64_t bytes = about_a_file;
  for (std::size_t i = 0; i < b.items(); ++i) {
    std::uint64_t const longest = std::max(b.tokens[i].size(), b.decoder_tokens.empty() ? 0 : b.decoder_tokens[i].size());
    std::uint64_t n = longest * (h.per_pair ? longest * std::max<std::uint64_t>(1, m.heads) : 1) * sizeof(double);
    for (auto const& d : h.row) n *= d.size;
    bytes += n + about_an_item;
  }
  return bytes;
}

}  // namespace

stored_blocks::stored_blocks(std::shared_ptr<shared_store::entry> entry, item_range items, std::size_t block, store_hooks hooks)
    : entry_(std::move(entry)), items_(items), block_(block), hooks_(std::move(hooks)) {
  for (auto const& name : entry_->files()) {
    auto const r = range_of(name);
    if (!r || r->first < items_.first || r->last > items_.last || (r->first - items_.first) % block_ != 0 ||
        (r->last != items_.last && (r->last - items_.first) % block_ != 0))
      continue;
    names_.push_back(name), files_.push_back(*r);
  }
  if (files_.empty()) return;
  file_of_.resize((items_.size() + block_ - 1) / block_);
  for (std::size_t f = 0; f < files_.size(); ++f)
    for (std::size_t at = files_[f].first; at < files_[f].last; at += block_)
      file_of_[(at - items_.first) / block_] = static_cast<std::uint32_t>(f + 1);
}

std::string stored_blocks::salt(item_range r) const {
  return entry_->name() + " " + text_of(r) + "\n";
}

bool stored_blocks::load(item_range r, std::vector<accumulator>& sums) const {
  std::size_t const at = (r.first - items_.first) / block_;
  if (at >= file_of_.size() || file_of_[at] == 0) return false;
  std::size_t const f = file_of_[at] - 1;
  auto const file = entry_->open(names_[f]);
  if (!file) return false;
  std::size_t const size = bytes_of_block(sums);
  auto const begin = place_of_block(files_[f], r, block_, file->size, size);
  std::string bytes(begin ? size : 0, '\0');
  auto const got = begin ? file->read(*begin, bytes) : got_bytes::too_few;
  if (got == got_bytes::nothing) return false;
  if (got == got_bytes::too_few || !take_block(bytes, salt(r), sums)) {
    entry_->is_damaged(names_[f]);
    return false;
  }
  std::call_once(found_, [&] { hooks_.found(entry_->marks()); });
  ++entry_->store().tally().blocks_taken;
  return true;
}

void stored_blocks::line::add(item_range r, std::vector<accumulator> const& sums) {
  if (!to_.entry_->store().takes_more()) return;
  if (file_ && r.first != items_.last) end();
  if (!file_) {
    file_ = std::make_unique<shared_store::new_file>(to_.entry_->store());
    items_ = {r.first, r.first}, blocks_ = 0, begun_ = now();
  }
  put_block(sums, to_.salt(r), [&](std::string_view bytes) { file_->write(bytes); });
  items_.last = r.last, ++blocks_;
  if (blocks_ >= most_blocks || file_->size() >= most_bytes || now() - begun_ >= most_seconds) end();
}

void stored_blocks::line::end() noexcept {
  try {
    if (!file_) return;
    auto const read = to_.hooks_.read();
    if (read)
      for (auto const& mark : *read) to_.entry_->mark(mark);
    if (read && file_->publish(*to_.entry_, text_of(items_))) to_.entry_->store().tally().blocks_left += blocks_;
  } catch (std::exception const&) {
    // It is not there, then.
  }
  file_.reset();
}

stored_outputs::stored_outputs(std::shared_ptr<shared_store::entry> entry, bool keeps, store_hooks hooks)
    : entry_(std::move(entry)), keeps_(keeps), hooks_(std::move(hooks)), there_(entry_->files().begin(), entry_->files().end()) {}

activations stored_outputs::run(model const& over, batch const& tokens, run_request const& request, item_range items) const {
  dtype const type = request.precision == dtype::f64 ? dtype::f64 : dtype::f32;
  activations out;
  run_request missing = request;
  std::vector<std::string> to_make;
  auto const name_of = [&](std::string const& hook) { return sha256_hex(hook).substr(0, 16) + "-" + text_of(items); };
  for (auto const& hook : request.capture.names()) {
    auto const* const info = over.info().find_hook(hook);
    auto found = info && there_.count(name_of(hook)) != 0 ? load(over, *info, name_of(hook), tokens, type) : std::nullopt;
    if (found)
      out.put(hook, std::move(*found));
    else
      to_make.push_back(hook);
  }
  if (to_make.empty()) return out;
  missing.capture = hook_set(to_make);
  activations const made = over.run(tokens, missing);
  for (auto const& hook : to_make) {
    if (!made.has(hook)) continue;
    std::vector<tensor> values;
    for (std::size_t i = 0; i < tokens.items(); ++i) values.push_back(made.at(hook, i));
    auto const* const info = over.info().find_hook(hook);
    bool whole = info != nullptr;
    for (std::size_t i = 0; i < values.size(); ++i) whole = whole && fits(values[i], *info, over.info(), tokens, i, type);
    if (whole) save(hook, name_of(hook), values);
    out.put(hook, std::move(values));
  }
  return out;
}

std::optional<std::vector<tensor>> stored_outputs::load(model const& over, hook_info const& hook, std::string const& name,
                                                        batch const& tokens, dtype type) const {
  auto const file = entry_->open(name);
  if (!file) return std::nullopt;
  try {
    std::size_t const size = file->size;
    if (size > most_bytes_of(hook, tokens, over.info())) throw data_error("too long");
    std::shared_ptr<void> const memory(std::aligned_alloc(alignment, (size / alignment + 1) * alignment), &std::free);
    if (!memory) throw std::bad_alloc();
    std::span<char> const bytes(static_cast<char*>(memory.get()), size);
    auto const got = file->read(0, bytes);
    if (got == got_bytes::nothing) return std::nullopt;
    if (got == got_bytes::too_few) throw data_error("too short");
    filed_reader in({bytes.data(), size}, memory, name, entry_->name() + " " + name + "\n");
    if (in.text() != hook.name || in.count(sizeof(std::uint64_t)) != tokens.items()) in.fail();
    std::vector<tensor> values;
    for (std::size_t i = 0; i < tokens.items(); ++i)
      if (!fits(values.emplace_back(in.values()), hook, over.info(), tokens, i, type)) in.fail();
    std::call_once(found_, [&] { hooks_.found(entry_->marks()); });
    ++entry_->store().tally().outputs_taken;
    return values;
  } catch (data_error const&) {
    entry_->is_damaged(name);
    return std::nullopt;
  }
}

void stored_outputs::save(std::string const& hook, std::string const& name, std::vector<tensor> const& values) const {
  if (!keeps_ || !entry_->store().takes_more()) return;
  auto const read = hooks_.read();
  if (!read) return;
  for (auto const& mark : *read) entry_->mark(mark);
  shared_store::new_file file(entry_->store());
  filed_writer out([&](std::string_view bytes) { file.write(bytes); }, entry_->name() + " " + name + "\n");
  out.put(std::string_view(hook));
  out.put(std::uint64_t{values.size()});
  for (auto const& v : values) out.put(v);
  out.commit();
  if (file.publish(*entry_, name)) ++entry_->store().tally().outputs_left;
}

}  // namespace wayfarer::host
