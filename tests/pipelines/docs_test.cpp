// Blocks of YAML in the README and the docs have no problems.
#include "docs_blocks.hpp"

using namespace wayfarer::test;
using testing::HasSubstr;

namespace {

TEST_F(docs, every_block_of_yaml_is_a_pipeline_without_problems) {
  auto const blocks = blocks_of_docs();
  EXPECT_GE(blocks.size(), 9u);
  for (auto const& b : blocks) {
    auto const r = run_wayfarer({"check", file("block.yaml", b.text).string()});
    if (own_plugin(b)) {
      EXPECT_THAT(r.out, HasSubstr("1 error;")) << b.page << ":" << b.line;
      EXPECT_THAT(r.out, HasSubstr("no plugin 'anisotropy'")) << b.page << ":" << b.line;
    } else {
      EXPECT_EQ(r.code, 0) << b.page << ":" << b.line << "\n" << r.out;
    }
  }
}

}  // namespace
