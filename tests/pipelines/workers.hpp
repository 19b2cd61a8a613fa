// Runs that several processes share, and four small pipelines for them: rows, trainings, walks, ablations.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/digest.hpp>

#include "pipelines/command.hpp"

namespace wayfarer::test {

struct shared_run : scratch {
  struct pipeline {
    std::string name, file;
    std::vector<std::string> settings{};
  };

  shared_run() {
    // Jobs of mpirun: ranks of this machine alone, without a look for networks, and when one has died the others do at once.
    for (auto const& [name, value] :
         std::initializer_list<std::pair<char const*, char const*>>{{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                                                                    {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                                                                    {"OMPI_MCA_plm", "isolated"},
                                                                    {"OMPI_MCA_pml", "ob1"},
                                                                    {"OMPI_MCA_btl", "self,vader"},
                                                                    {"OMPI_MCA_odls_base_sigkill_timeout", "0"}})
      ::setenv(name, value, 1);
  }

  std::string out(std::string const& name) const { return (folder / name).string(); }

  static std::string data() { return WAYFARER_SOURCE_DIR "/runs/data"; }

  /// So many texts, each a block of its own.
  pipeline rows(std::size_t texts = 12) const {
    std::string list;
    for (std::size_t i = 0; i < texts; ++i)
      list += (i == 0 ? "\"" : ", \"") + std::string("Then Anna and Ben went to Rome ") + std::string(i % 7 + 1, 'a') + "\"";
    return {"rows",
            file("rows.yaml", "nodes:\n  t: {source: text, texts: [" + list + "]}\n  m: {model: gpt2, path: " + data() +
                                  "/tiny-gpt2}\n  states: {probe: activations, model: m, source: t, hooks: "
                                  "[\"blocks.*.hook_resid_post\"], block: 1}\n  means: {probe: activations, model: m, source: t, "
                                  "hooks: [\"blocks.*.hook_resid_post\"], keep: mean, block: 1}\n  loss: {probe: language_loss, "
                                  "model: m, source: t, block: 2}\n")};
  }

  /// So many documents, each a block of its own, of which only sums are kept.
  pipeline sums(std::size_t documents) const {
    return {"sums", file("sums.yaml", "nodes:\n  d: {source: lda, documents: " + std::to_string(documents) +
                                          "}\n  counts: {probe: document_statistics, source: d, block: 1}\n")};
  }

  std::vector<pipeline> pipelines() const {
    auto const training = file("training.yaml", R"(nodes:
  documents: {source: lda, documents: 300}
  learner: {model: topic_transformer, regime: R2, train: {source: documents, updates: 12, snapshots: [1, 5]}}
  structure: {probe: topic_blocks, model: learner, source: documents}
  contrast: {metric: group_contrast, of: structure/value_blocks}
  t: {source: text, texts: [abcabcabcabcabcabc, bcabcabcabcabca, cabcabcab, abcabcabcabc, bcabc]}
  small: {model: gpt2_trained, layers: 1, d_model: 8, heads: 2, context: 8, train: {source: t, updates: 6, batch: 2, snapshots: [0, 3]}}
  states: {probe: activations, model: small, source: t, hooks: ["blocks.*.hook_resid_post"], block: 2}
)");
    auto const ablations = file("ablations.yaml", "nodes:\n  q: {source: hellaswag, path: " + data() +
                                                      "/hellaswag/slice.txt}\n  lm: {model: gpt2, path: " + data() +
                                                      R"(/tiny-gpt2}
  clean: {probe: activations, model: lm, source: q, items: 0:4, hooks: ["blocks.0.hook_resid_post"], keep: mean, block: 2}
  cut: {probe: activations, model: lm, source: q, items: 0:4, hooks: ["blocks.1.hook_resid_post"], keep: mean, block: 1, edits: [{hook: blocks.0.attn.hook_z, heads: 1, set: zero}]}
  similarity: {probe: concept_similarity, model: lm, source: q, items: 0:6, block: 2, sweep: {scheme: [concat_all, sentences], norm: [none, l2]}}
  baseline: {probe: cross_encoding, model: lm, source: q, items: 0:6, block: 2}
  normalized: {metric: normalized_accuracy, of: similarity, baseline: baseline}
)");
    return {rows(),
            {"training", training},
            {"walks",
             WAYFARER_SOURCE_DIR "/runs/walks.yaml",
             {"greedy.length=5", "sampled.length=5", "beam.length=4", "forced.length=6", "encoding.items=0:6", "forced.items=0:6",
              "greedy.items=0:3", "sampled.items=0:3", "beam.items=0:2", "encoding.block=2", "greedy.block=1", "forced.block=2"}},
            {"ablations", ablations}};
  }

  std::vector<std::string> command(pipeline const& p, std::string const& result) const {
    std::vector<std::string> words{"run", p.file, "--out", out(result), "--quiet"};
    for (auto const& s : p.settings) words.insert(words.end(), {"--set", s});
    return words;
  }

  static std::vector<std::string> with(std::vector<std::string> words, std::vector<std::string> const& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  std::string sha(std::string const& result) const { return sha256_hex(slurp(folder / result)); }

  /// What one process makes of it by itself.
  std::string reference(pipeline const& p) const {
    std::string const result = p.name + "-reference.h5";
    auto const r = run_wayfarer(with(command(p, result), {"--reproducible", "--threads", "1"}));
    EXPECT_EQ(r.code, 0) << p.name << ": " << r.out;
    return sha(result);
  }

  /// So many workers at once; all must end well. The result's SHA-256.
  std::string by_workers(pipeline const& p, std::size_t workers, std::size_t threads, std::string const& result) const {
    std::vector<pid_t> children;
    auto const log = [&](std::size_t i) { return folder / ("log-" + std::to_string(i)); };
    for (std::size_t i = 1; i <= workers; ++i)
      children.push_back(start(with(command(p, result), {"--work", out(result + ".w"), "--threads", std::to_string(threads),
                                                         "--worker", std::to_string(i) + "/" + std::to_string(workers)}),
                               log(i)));
    for (std::size_t i = 1; i <= workers; ++i) {
      auto const ended = finish(children[i - 1], log(i));
      EXPECT_EQ(ended.code, 0) << p.name << ", worker " << i << " of " << workers << ": " << ended.out;
    }
    return sha(result);
  }

  /// All files below a folder of work that are neither finished units nor its marker.
  std::vector<std::string> litter(std::filesystem::path const& work) const {
    std::vector<std::string> names;
    for (auto const& e : std::filesystem::recursive_directory_iterator(work)) {
      std::string const in = e.path().parent_path().filename(), name = e.path().filename();
      bool const kept = in.size() == 2 || in == "stages" || name == "wayfarer-work";
      if (!e.is_directory() && (!kept || name.front() == '.')) names.push_back(e.path().string());
    }
    return names;
  }
};

}  // namespace wayfarer::test
