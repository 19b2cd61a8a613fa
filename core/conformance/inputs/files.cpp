// Small files of every kind that a path parameter may need.
#include <wayfarer/file.hpp>
#include <wayfarer/random.hpp>

#include "conformance/inputs.hpp"
#include "conformance/inputs/checkpoints.hpp"
#include "conformance/inputs/texts.hpp"

namespace wayfarer::host::conformance {
namespace fs = std::filesystem;

fs::path generated_files::gpt2() {
  return write_checkpoint(folder_, gpt2_checkpoint(), seed_);
}
fs::path generated_files::llama() {
  return write_checkpoint(folder_, llama_checkpoint(), seed_);
}
fs::path generated_files::neox() {
  return write_checkpoint(folder_, neox_checkpoint(), seed_);
}
fs::path generated_files::gemma2() {
  return write_checkpoint(folder_, gemma2_checkpoint(), seed_);
}
fs::path generated_files::t5() {
  return write_checkpoint(folder_, t5_checkpoint(), seed_);
}
fs::path generated_files::bert() {
  return write_checkpoint(folder_, bert_checkpoint(), seed_);
}

std::vector<fs::path> const& generated_files::all() {
  if (!all_.empty()) return all_;
  fs::create_directories(folder_);
  auto const write = [&](char const* name, std::string const& text) {
    fs::path const file = folder_ / name;
    if (!fs::exists(file)) write_file_atomically(file.string(), text);
    all_.push_back(file);
  };
  random_stream draw(seed_, "conformance files");
  std::string documents, texts, pairs, analogies = ": one\n", questions, prompts;
  for (int i = 0; i < 24; ++i) {
    for (std::uint32_t n = 5 + draw.below(20); n > 0; --n) documents += std::to_string(draw.below(100)) + " ";
    documents += "END\n";
    texts += make_text(draw, 20 + draw.below(30)) + "\n";
    auto const word = [&] { return vocabulary_of_texts[draw.below(std::size(vocabulary_of_texts) - 1)]; };
    pairs += std::string(word()) + "\t" + word() + "\t" + std::to_string(draw.below(100) / 10.0) + "\n";
    analogies += std::string(word()) + " " + word() + " " + word() + " " + word() + "\n";
    questions += "Stones: " + make_text(draw, 30) + "\n" + std::to_string(draw.below(4)) + "\n";
    for (int a = 0; a < 4; ++a) questions += make_text(draw, 12) + "\n";
    prompts += make_text(draw, 24) + "\t" + word() + "\t" + word() + "\n";
  }
  // A model's folder first: a path that takes a folder refuses files at once, and the other way round.
  all_.push_back(llama());
  all_.push_back(gpt2());
  all_.push_back(t5());
  all_.push_back(bert());
  write("documents.train", documents);
  write("texts.txt", texts);
  write("pairs.txt", pairs);
  write("analogies.txt", analogies);
  write("questions.txt", questions);
  write("prompts.txt", prompts);
  write("words.txt", [] {
    std::string words;
    for (char const* w : vocabulary_of_texts) words += std::string(w) + "\n";
    return words;
  }());
  return all_;
}

}  // namespace wayfarer::host::conformance
