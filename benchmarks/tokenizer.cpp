// Bytes of text per second for each kind of tokenizer, on one thread; an opened tokenizer serves any number of them.
//
// With WAYFARER_DATA set, the published tokenizers on wikitext-2; in any case a small one of each kind, made here, on made-up
// English.
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <benchmark/benchmark.h>

#include <wayfarer/file.hpp>
#include <wayfarer/tokenizer.hpp>

namespace {

namespace wf = wayfarer;
namespace fs = std::filesystem;

using links = std::vector<std::pair<std::string, std::string>>;

/// The tokenizer of a folder with these files, linked or written.
std::shared_ptr<wf::tokenizer const> open(links const& linked, links const& written = {}) {
  std::string name = (fs::temp_directory_path() / "wayfarer-bench-XXXXXX").string();
  fs::path const folder = mkdtemp(name.data());
  for (auto const& [to, from] : linked) fs::create_symlink(from, folder / to);
  for (auto const& [to, text] : written) wf::write_file_atomically((folder / to).string(), text);
  auto t = wf::open_tokenizer(folder.string());
  fs::remove_all(folder);
  return t;
}

/// Words of some frequency, with the commas and capitals of English.
std::string made_up_text(std::size_t bytes) {
  constexpr char const* words[] = {"the",         "of",     "and",        "movement",  "through", "embedding",
                                   "space",       "is",     "a",          "in",        "to",      "river",
                                   "stone",       "walked", "remembered", "seventeen", "1987",    "unlikely",
                                   "transformer", "light",  "measured",   "at",        "dawn"};
  std::mt19937 draw(1);
  std::string text;
  while (text.size() < bytes) {
    text += words[std::min(draw() % std::size(words), draw() % std::size(words))];
    text += draw() % 12 == 0 ? ", " : draw() % 20 == 0 ? ".\n" : " ";
  }
  return text;
}

void encode(benchmark::State& state, wf::tokenizer const& t, std::string const& text) {
  std::size_t tokens = 0;
  for (auto _ : state) {
    wf::encoding const e = t.encode(text);
    tokens = e.ids.size();
    benchmark::DoNotOptimize(e.ids.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
  state.counters["bytes_per_token"] = static_cast<double>(text.size()) / static_cast<double>(tokens);
}

void add(std::string const& name, std::shared_ptr<wf::tokenizer const> t, std::shared_ptr<std::string const> text) {
  benchmark::RegisterBenchmark(("encode/" + name).c_str(), [t, text](benchmark::State& s) {
    encode(s, *t, *text);
  })->Unit(benchmark::kMillisecond);
}

void add_opening(std::string const& name, std::function<std::shared_ptr<wf::tokenizer const>()> const& how) {
  benchmark::RegisterBenchmark(("open/" + name).c_str(), [how](benchmark::State& s) {
    for (auto _ : s) benchmark::DoNotOptimize(how());
  })->Unit(benchmark::kMillisecond);
}

}  // namespace

int main(int count, char** words) {
  auto const made_up = std::make_shared<std::string const>(made_up_text(1 << 20));
  // Every word of the text, whole and with a suffix: all that a longest match ever meets in English.
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (char c = 'a'; c <= 'z'; ++c) vocabulary += std::string(1, c) + "\n##" + c + "\n";
  for (char const* piece :
       {"the",  "of",    "and",     "move",  "##ment", "through", "em",       "##bed",     "##ding", "space",    "is",
        "in",   "to",    "river",   "stone", "walk",   "##ed",    "remember", "seventeen", "un",     "##likely", "transform",
        "##er", "light", "measure", "at",    "dawn",   "0",       "##1",      "19",        "##87",   ",",        "."})
    vocabulary += std::string(piece) + "\n";
  add("wordpiece, made up", open({}, {{"vocab.txt", vocabulary}}), made_up);

  if (char const* const root = std::getenv("WAYFARER_DATA")) {
    std::string const at = std::string(root) + "/";
    auto const wikitext =
        std::make_shared<std::string const>(wf::read_text(at + "wikitext-2/wiki.test.raw", std::size_t{1} << 30));
    links const gpt2 = {{"encoder.json", at + "tokenizer-gpt2/encoder.json"}, {"vocab.bpe", at + "tokenizer-gpt2/vocab.bpe"}};
    links const t5 = {{"tokenizer.json", at + "tokenizer-t5/tokenizer.json"}};
    links const model = {{"spiece.model", at + "tokenizer-t5/spiece.model"}};
    for (auto const& [name, files] :
         {std::pair("gpt2", gpt2), std::pair("t5 tokenizer.json", t5), std::pair("t5 spiece.model", model)}) {
      add(name, open(files), wikitext);
      add_opening(name, [files = files] { return open(files); });
    }
    // Each published pattern, with small vocabularies, whose words are many tokens; and two of today's whole.
    std::string const decoders = at + "tokenizers-decoders/";
    add("gpt-neox 20B", open({{"tokenizer.json", decoders + "20B_tokenizer.json"}}), wikitext);
    add("llama2 tokenizer.model", open({{"tokenizer.model", decoders + "llama2-tokenizer.model"}}), wikitext);
    for (char const* name : {"split_cl100k", "split_qwen2", "split_o200k", "split_qwen35", "split_deepseek", "falcon_seq",
                             "digits_bytelevel", "metaspace", "metaspace_pretok", "bytelevel_noregex"})
      add(name, open({{"tokenizer.json", decoders + "tiny_bpe_" + name + "_tokenizer.json"}}), wikitext);
    // No spaces: one piece of a million bytes.
    std::mt19937 draw(2);
    auto letters = std::make_shared<std::string>(1'000'000, 'a');
    for (auto& c : *letters) c = static_cast<char>('a' + draw() % 26);
    add("gpt2, 1 MB without spaces", open(gpt2), letters);
    add("llama2, 1 MB without spaces", open({{"tokenizer.model", decoders + "llama2-tokenizer.model"}}), letters);
  }
  benchmark::Initialize(&count, words);
  benchmark::RunSpecifiedBenchmarks();
}
