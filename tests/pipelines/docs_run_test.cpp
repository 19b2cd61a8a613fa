// Blocks of YAML in the README and the docs run; the training with fewer updates.
#include "docs_blocks.hpp"

using namespace wayfarer::test;

namespace {

TEST_F(docs, every_block_of_yaml_runs) {
  std::size_t number = 0;
  for (auto const& b : blocks_of_docs()) {
    if (own_plugin(b)) continue;
    std::vector<std::string> words{"run", file("block.yaml", b.text).string(), "--out",
                                   (folder / ("block-" + std::to_string(++number) + ".h5")).string()};
    if (b.text.find("model: gpt2_trained") != std::string::npos ||
        b.text.find("model: language_model_trained") != std::string::npos) {
      words.insert(words.end(), {"--set", "learner.train.updates=2", "--set", "learner.train.snapshots=[0, 1]"});
      if (b.text.find(" lens:") != std::string::npos) words.insert(words.end(), {"--set", "lens.items=1"});
    }
    auto const r = run_wayfarer(words);
    EXPECT_EQ(r.code, 0) << b.page << ":" << b.line << "\n" << r.out;
  }
}

}  // namespace
