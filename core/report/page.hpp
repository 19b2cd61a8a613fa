// The page's script, style and licences, bundled from core/report/page at build time. Constant data, any thread.
#pragma once

#include <string_view>

namespace wayfarer::host {

struct page_bundle {
  std::string_view script, style, licences;
};

/// Empty where the build found no esbuild or no d3: then everything but `wayfarer report` works.
page_bundle bundled_page() noexcept;

}  // namespace wayfarer::host
