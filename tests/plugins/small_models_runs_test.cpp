// What the runs expect of the models that come along must be missed by the same weights in random order.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <tuple>

#include <gtest/gtest.h>

#include "command.hpp"

using namespace wayfarer::test;

namespace {

std::string const runs = WAYFARER_SOURCE_DIR "/runs/";

/// Whether a line about this figure ends in NO.
bool missed(std::string const& printed, std::string const& figure) {
  std::istringstream in(printed);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(figure + ' ') && line.ends_with(" NO")) return true;
  return false;
}

struct small_models_runs : scratch {
  /// A copy of the model in which every tensor's float16 numbers have changed places.
  std::string shuffled(std::string const& name) const {
    auto const to = folder / name;
    if (std::filesystem::exists(to)) return to.string();
    std::filesystem::copy(runs + "data/" + name, to);
    std::string bytes = slurp(to / "model.safetensors");
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof header);
    std::mt19937_64 draw(1);
    std::string const offsets = "\"data_offsets\":", names = bytes.substr(8, header);
    std::size_t tensors = 0;
    for (auto at = names.find(offsets); at != names.npos; at = names.find(offsets, at + 1), ++tensors) {
      std::istringstream in(names.substr(at + offsets.size()));
      char bracket = 0, comma = 0;
      std::size_t from = 0, end = 0;
      in >> bracket >> from >> comma >> end;
      from += 8 + header, end += 8 + header;
      std::vector<std::uint16_t> numbers((end - from) / 2);
      std::memcpy(numbers.data(), bytes.data() + from, end - from);
      std::shuffle(numbers.begin(), numbers.end(), draw);
      std::memcpy(bytes.data() + from, numbers.data(), end - from);
    }
    EXPECT_GT(tensors, 20u) << name;
    std::ofstream(to / "model.safetensors", std::ios::binary) << bytes;
    return to.string();
  }
};

TEST_F(small_models_runs, miss_what_they_expect_without_what_was_learned) {
  using names = std::vector<std::string>;
  for (auto const& [run, models, figures] : {
           std::tuple("small-models", names{"gpt2=austen-gpt2", "llama=austen-llama"},
                      names{"gpt2_loss/loss", "llama_loss/loss"}),
           std::tuple("similarity-maps", names{"model=austen-llama"},
                      names{"maps/hook_embed/cosine", "maps/ln_final.hook_out/nearest_ids"}),
           std::tuple("attention-kernels", names{"gpt2=austen-gpt2", "llama=austen-llama"},
                      names{"gpt2_maps/uniform_divergence", "llama_maps/uniform_divergence"}),
           std::tuple("word-vectors", names{"gpt2=austen-gpt2", "llama=austen-llama"},
                      names{"rated_gpt2/spearman", "rated_llama/spearman", "analogies_gpt2/accuracy_add",
                            "analogies_gpt2/accuracy_mul", "analogies_llama/accuracy_add", "analogies_llama/accuracy_mul"}),
           std::tuple("co-occurrence", names{"gpt2=austen-gpt2", "llama=austen-llama"},
                      names{"gpt2_near/profile_embedding_cosine", "llama_near/profile_embedding_cosine",
                            "gpt2_near/pmi_embedding_cosine"}),
           std::tuple("walks", names{"model=tiny-shakespeare-gpt2"}, names{"forced/non_markov", "forced/history_dependence"}),
           std::tuple("topic-pretrained", names{"model=austen-llama"}, names{"similarity/cosine_difference"}),
           std::tuple("hellaswag-baseline", names{"gpt2=austen-gpt2"}, names{"loss/loss"}),
           std::tuple("hellaswag-similarity", names{"lm=austen-llama"}, names{"baseline/scores"}),
           std::tuple("hellaswag-generation", names{"lm=austen-gpt2"}, names{"baseline/scores"}),
           std::tuple("hellaswag-ablations", names{"lm=austen-gpt2"}, names{"baseline/scores"}),
           std::tuple("gpt2-logit-lens", names{"gpt2=tiny-gpt2"}, names{"lens/mean_next_log_probability"}),
           std::tuple("gpt2-patching", names{"gpt2=tiny-gpt2"}, names{"trace/corrupted_difference"}),
           std::tuple("gpt2-gradients", names{"gpt2=tiny-gpt2"}, names{"answer/scalar"}),
           std::tuple("gpt2-activations", names{"gpt2=tiny-gpt2"}, names{"loss/loss"}),
       }) {
    names words{"run", runs + run + ".yaml", "--out", (folder / "out.h5").string()};
    for (auto const& m : models) {
      auto const at = m.find('=');
      words.insert(words.end(), {"--set", m.substr(0, at) + ".path=" + shuffled(m.substr(at + 1))});
    }
    auto const r = run_wayfarer(words);
    for (auto const& line : figures) EXPECT_TRUE(missed(r.out, line)) << run << ": " << line << "\n" << r.out;
  }
}

}  // namespace
