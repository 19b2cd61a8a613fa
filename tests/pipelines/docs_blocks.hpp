// Every block of YAML in the README and the docs is a pipeline that runs when it is pasted into a file in the checkout's top
// folder.
//
// One rule for what is not there: blocks that name a plugin of the reader's own (`anisotropy`, which a page writes) are checked
// up to it.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "command.hpp"

namespace wayfarer::test {

namespace fs = std::filesystem;

struct yaml_block {
  std::string page;
  std::size_t line = 0;
  std::string text;
};

inline std::vector<yaml_block> blocks_of_docs() {
  fs::path const source = WAYFARER_SOURCE_DIR;
  std::vector<fs::path> pages{source / "README.md"};
  for (auto const& e : fs::directory_iterator(source / "docs"))
    if (e.path().extension() == ".md") pages.push_back(e.path());
  std::sort(pages.begin() + 1, pages.end());
  std::vector<yaml_block> all;
  for (auto const& page : pages) {
    std::ifstream in(page);
    std::size_t number = 0;
    bool inside = false;
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (!inside && line == "```yaml") {
        inside = true;
        all.push_back({fs::relative(page, source).string(), number, ""});
      } else if (inside && line == "```") {
        inside = false;
      } else if (inside) {
        all.back().text += line + "\n";
      }
    }
    EXPECT_FALSE(inside) << page << ": a block has no end";
  }
  return all;
}

struct docs : scratch {
  docs() {
    // As the checkout's top folder, without writing there.
    for (char const* name : {"runs", "tests"}) fs::create_directory_symlink(fs::path(WAYFARER_SOURCE_DIR) / name, folder / name);
  }
  static bool own_plugin(yaml_block const& b) { return b.text.find("anisotropy") != std::string::npos; }
};

}  // namespace wayfarer::test
