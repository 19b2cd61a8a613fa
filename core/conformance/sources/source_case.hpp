// What the checks of a source share: the source, and some of its items. Each check_* holds the source to one rule and throws
// violation where it breaks it; source_steps lists them. Lives in the child process that checks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <wayfarer/source.hpp>

#include "conformance/steps.hpp"
#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {

struct source_case {
  std::shared_ptr<workbench> bench;
  std::shared_ptr<source const> subject;
  item_range some;  ///< of its items: a generator may have a billion

  std::size_t items() const { return subject->info().items; }
};

/// Reads, and throws violation where what it got is not what info() says.
item_block checked_read(source const&, item_range);
/// One digest an item, so that any cut can be compared.
std::vector<std::string> digests_of_items(source const&, item_range whole, std::size_t at_once);
/// Those of `some`, read at once.
std::vector<std::string> digests_of_items(source_case const&);

// reading.cpp
void check_matches_info(source_case const&, reporter&);
void check_reading_nothing(source_case const&, reporter&);
void check_pure_read(source_case const&, reporter&);
// source_instances.cpp
void check_reads_repeat(source_case const&, reporter&);
void check_instances_take_turns(source_case const&, reporter&);
void check_reading_on_threads(source_case const&, reporter&);
void check_source_info_is_stable(source_case const&, reporter&);

}  // namespace wayfarer::host::conformance
