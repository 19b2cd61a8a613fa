#include "engine/input_log.hpp"

#include <map>
#include <optional>
#include <string_view>

#include <wayfarer/digest.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/run_files.hpp>

namespace wayfarer::host {

std::string input_log::name_of(possible_input const& one) const {
  return sha256_hex(code_ + " read " + one.what.node + " " + one.in_key + " " + one.what.sha256).substr(0, 40) + ".read";
}

void input_log::tell_others() const {
  if (!work_) return;
  std::lock_guard const lock(mutex_);
  for (std::size_t i = 0; i < all_.size(); ++i) {
    if (told_.count(i) != 0 || !(wayfarer::was_read(all_[i].file) || read_for_store_.count(i) != 0)) continue;
    std::string const unit = name_of(all_[i]);
    if (!work_->folder().has(unit)) write_file_atomically(work_->folder().place_for(unit).string(), std::string_view("read\n"));
    work_->share(unit);
    told_.insert(i);
  }
}

bool input_log::was_read(possible_input const& one) const {
  if (wayfarer::was_read(one.file) || (work_ && work_->folder().has(name_of(one)))) return true;
  std::lock_guard const lock(mutex_);
  return read_for_store_.count(static_cast<std::size_t>(&one - all_.data())) != 0;
}

std::string input_log::missing_file() const {
  std::set<std::string> now;
  for (auto const& one : all_) now.insert(one.path);
  for (auto const& [path, state] : before_)
    if (now.count(path) == 0) return path;
  return "";
}

bool input_log::is_unchanged(possible_input const& one) const {
  auto const before = before_.find(one.path);
  return before != before_.end() && state_of(one.path) == before->second;
}

store_hooks input_log::hooks_of(plan const& p, std::vector<node_record> const& records, std::set<std::size_t> const& nodes,
                                std::function<void(std::string const&)> const& changed) {
  // What says in an entry that a file was read: it holds no name of a node and no path.
  std::map<std::string, std::size_t> marks;  // of all_
  std::vector<std::size_t> files;
  for (std::size_t i = 0; i < all_.size(); ++i)
    for (std::size_t const n : nodes) {
      possible_input const& one = all_[i];
      if (p.nodes[n].name != one.what.node) continue;
      marks.emplace(sha256_hex("read " + records[n].key + " " + one.in_key + " " + one.what.sha256).substr(0, 40), i);
      files.push_back(i);
    }
  store_hooks hooks;
  hooks.found = [this, marks](std::set<std::string> const& there) {
    std::lock_guard const lock(mutex_);
    for (auto const& [mark, i] : marks)
      if (there.count(mark) != 0) read_for_store_.insert(i);
  };
  hooks.read = [this, marks, files, changed]() -> std::optional<std::set<std::string>> {
    for (std::size_t const i : files)
      if (!is_unchanged(all_[i])) {
        changed(all_[i].path);
        return std::nullopt;
      }
    std::set<std::string> read;
    std::lock_guard const lock(mutex_);
    for (auto const& [mark, i] : marks)
      if (wayfarer::was_read(all_[i].file) || read_for_store_.count(i) != 0) read.insert(mark);
    return read;
  };
  return hooks;
}

}  // namespace wayfarer::host
