// Which of its possible input files a run has read: in this process, in others that share the run, or in earlier ones whose work
// it found in a store. Any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/provenance.hpp"
#include "engine/shared_work.hpp"
#include "engine/stored_pass.hpp"
#include "pipeline/plan.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

class input_log {
 public:
  /// `before`: the states of the files before anything was read of them. Must outlive the log.
  input_log(std::vector<possible_input> all, file_states const& before) : all_(std::move(all)), before_(before) {}
  input_log(input_log const&) = delete;

  std::vector<possible_input> const& all() const noexcept { return all_; }
  /// From here on other processes count too. `code`: what all of them run.
  void share(shared_work& work, std::string code) { work_ = &work, code_ = std::move(code); }
  /// Tells them which files this one has read, before what was made of these is there.
  void tell_others() const;
  /// `one` of `all`.
  bool was_read(possible_input const& one) const;
  /// A file that was there before and is not now, so that the keys are those of other files; "" if there is none.
  std::string missing_file() const;
  /// For an entry of a store that these nodes make. The log must outlive it. `changed` is called with a file that is not as it
  /// was before: what is made of it must not be kept under the key of the old one.
  store_hooks hooks_of(plan const&, std::vector<node_record> const&, std::set<std::size_t> const& nodes,
                       std::function<void(std::string const& path)> const& changed);

 private:
  std::string name_of(possible_input const&) const;
  bool is_unchanged(possible_input const&) const;

  std::vector<possible_input> all_;
  file_states const& before_;
  shared_work* work_ = nullptr;  // null: this process does everything
  std::string code_{};
  mutable std::mutex mutex_{};
  mutable std::set<std::size_t> told_{};    // of all_, those of which others know
  std::set<std::size_t> read_for_store_{};  // of all_, those that were read for what was found in the store
};

}  // namespace wayfarer::host
