// A result file as one self-contained HTML page: `wayfarer report`.
//
// The page holds the datasets as gzip and base64 in blocks that no browser executes, a manifest (JSON, packed alike) that says
// what they are, and the bundled script that draws them. Its content security policy forbids every request and every other
// script, so that whatever a hostile file holds is shown as text. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/store.hpp"

namespace wayfarer::host {

struct report_options {
  std::string file_name;  ///< as the page names the result, without a folder
  std::uint64_t file_bytes = 0;
  std::vector<std::string> nodes;  ///< whose datasets to take; empty: all
  std::uint64_t max_bytes = 20'000'000;
};

/// The page. Datasets that don't fit are cut, and the page says so. Throws usage_error for a node that isn't there and for a
/// limit that not even the page's frame fits, data_error for a damaged file.
std::string make_report(result_reader const&, report_options const&);

/// The first bytes of every page of ours, by which one is known.
inline constexpr char report_mark[] = "<!doctype html>\n<!-- wayfarer report";

}  // namespace wayfarer::host
