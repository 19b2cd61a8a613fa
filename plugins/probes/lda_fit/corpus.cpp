#include "corpus.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>

namespace wayfarer::lda {

namespace {

constexpr std::size_t block_documents = 256;

/// The documents of one block with words numbered by the block itself.
struct part {
  std::vector<std::size_t> lengths;  ///< distinct words of each document
  std::vector<std::int32_t> words;
  std::vector<float> counts;
  std::vector<std::string> names;  ///< of the block's words
};

void put_bag(std::vector<std::int32_t>& numbers, part& to) {
  std::sort(numbers.begin(), numbers.end());
  std::size_t const before = to.words.size();
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t j = i;
    while (j < numbers.size() && numbers[j] == numbers[i]) ++j;
    to.words.push_back(numbers[i]);
    to.counts.push_back(static_cast<float>(j - i));
    i = j;
  }
  to.lengths.push_back(to.words.size() - before);
}

part bags_of_words(item_block const& items, std::size_t vocabulary) {
  part p;
  std::vector<std::int32_t> numbers;
  for (std::size_t d = 0; d < items.count; ++d) {
    auto const words = items.words[d];
    numbers.assign(words.begin(), words.end());
    for (auto const w : numbers)
      if (w < 0 || static_cast<std::size_t>(w) >= vocabulary)
        throw plugin_error("the source gives word " + std::to_string(w) + " of " + std::to_string(vocabulary));
    put_bag(numbers, p);
  }
  return p;
}

part bags_of_texts(item_block const& items, word_choice const& choice) {
  part p;
  std::unordered_map<std::string, std::int32_t> known;
  std::vector<std::int32_t> numbers;
  for (std::size_t d = 0; d < items.count; ++d) {
    numbers.clear();
    for (auto& word : words_of(items.texts[d], choice)) {
      auto const [at, added] = known.emplace(std::move(word), static_cast<std::int32_t>(p.names.size()));
      if (added) p.names.push_back(at->first);
      numbers.push_back(at->second);
    }
    put_bag(numbers, p);
  }
  return p;
}

/// Numbers in the corpus of the words of texts, -1 for those that are not kept.
std::unordered_map<std::string, std::int32_t> choose(std::vector<part> const& parts, std::size_t documents,
                                                     word_choice const& choice, std::vector<std::string>& names) {
  std::unordered_map<std::string, std::size_t> frequency;
  for (auto const& p : parts) {
    std::vector<std::size_t> in(p.names.size());
    for (auto const w : p.words) ++in[static_cast<std::size_t>(w)];
    for (std::size_t w = 0; w < in.size(); ++w) frequency[p.names[w]] += in[w];
  }
  std::vector<std::pair<std::size_t, std::string>> kept;
  double const most_documents = choice.max_share * static_cast<double>(documents);
  for (auto const& [word, in] : frequency)
    if (in >= choice.min_documents && static_cast<double>(in) <= most_documents) kept.emplace_back(in, word);
  std::sort(kept.begin(), kept.end(),
            [](auto const& a, auto const& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  if (kept.size() > choice.most) kept.resize(choice.most);
  std::unordered_map<std::string, std::int32_t> number;
  for (auto const& [in, word] : kept) {
    number.emplace(word, static_cast<std::int32_t>(names.size()));
    names.push_back(word);
  }
  return number;
}

bool is_punctuation(std::string_view at) noexcept {
  auto const byte = [&](std::size_t i) { return i < at.size() ? static_cast<unsigned char>(at[i]) : 0u; };
  return byte(0) == 0xC2 || (byte(0) == 0xE2 && (byte(1) == 0x80 || (byte(1) == 0x81 && byte(2) <= 0xAF)));
}

}  // namespace

std::vector<std::string> words_of(std::string_view text, word_choice const& choice) {
  std::vector<std::string> words;
  std::string word;
  std::size_t characters = 0;
  auto const end = [&] {
    if (characters >= choice.shortest && characters <= choice.longest) words.push_back(word);
    word.clear();
    characters = 0;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto const c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      auto const lower = static_cast<char>(c | 0x20);
      if (lower >= 'a' && lower <= 'z') {
        word += lower, ++characters;
      } else {
        end();
      }
    } else if (is_punctuation(text.substr(i))) {
      end();
      i += c == 0xC2 ? 1 : 2;
    } else {
      word += static_cast<char>(c);
      characters += (c & 0xC0) != 0x80;  // continuation bytes belong to the character before
    }
  }
  end();
  return words;
}

corpus read_corpus(source const& from, item_range range, word_choice const& choice) {
  auto const& info = from.info();
  if (!info.has_words && !info.has_texts)
    throw usage_error("lda_fit counts the words of documents, and the source has neither words nor texts");
  std::vector<part> parts((range.size() + block_documents - 1) / block_documents);
  parallel_for(parts.size(), [&](std::size_t b) {
    std::size_t const first = range.first + b * block_documents;
    auto const items = from.read({first, std::min(first + block_documents, range.last)});
    parts[b] = info.has_words ? bags_of_words(items, info.vocabulary) : bags_of_texts(items, choice);
  });

  corpus c;
  std::unordered_map<std::string, std::int32_t> number;
  if (info.has_words)
    c.names = info.words;
  else
    number = choose(parts, range.size(), choice, c.names);
  c.vocabulary = info.has_words ? info.vocabulary : c.names.size();
  std::vector<std::pair<std::int32_t, float>> bag;
  for (auto& p : parts) {
    std::vector<std::int32_t> to(p.names.size(), -1);
    for (std::size_t w = 0; w < to.size(); ++w)
      if (auto const found = number.find(p.names[w]); found != number.end()) to[w] = found->second;
    std::size_t at = 0;
    for (std::size_t const length : p.lengths) {
      bag.clear();
      for (std::size_t const last = at + length; at < last; ++at) {
        auto const w = info.has_words ? p.words[at] : to[static_cast<std::size_t>(p.words[at])];
        if (w >= 0) bag.emplace_back(w, p.counts[at]);
      }
      std::sort(bag.begin(), bag.end());
      for (auto const& [w, count] : bag) c.words.push_back(w), c.counts.push_back(count);
      c.offsets.push_back(c.words.size());
    }
    p = {};
  }
  if (c.words.empty())
    throw usage_error(info.has_words ? "the documents have no words"
                                     : "no word of the texts is in at least min_documents (" +
                                           std::to_string(choice.min_documents) + ") and at most a share of max_share of the " +
                                           std::to_string(range.size()) + " texts; lower min_documents or raise max_share");
  return c;
}

void weigh_by_rarity(corpus& c) {
  std::vector<double> in(c.vocabulary);
  for (auto const w : c.words) in[static_cast<std::size_t>(w)] += 1;
  corpus weighed;
  for (std::size_t d = 0; d < c.documents(); ++d) {
    std::size_t const first = weighed.words.size();
    double squares = 0;
    for (std::size_t i = c.offsets[d]; i < c.offsets[d + 1]; ++i) {
      double const weight =
          c.counts[i] * std::log2(static_cast<double>(c.documents()) / in[static_cast<std::size_t>(c.words[i])]);
      if (weight <= 0) continue;
      squares += weight * weight;
      weighed.words.push_back(c.words[i]), weighed.counts.push_back(static_cast<float>(weight));
    }
    for (std::size_t i = first; i < weighed.words.size(); ++i)
      weighed.counts[i] = static_cast<float>(weighed.counts[i] / std::sqrt(squares));
    weighed.offsets.push_back(weighed.words.size());
  }
  c.offsets = std::move(weighed.offsets), c.words = std::move(weighed.words), c.counts = std::move(weighed.counts);
}

}  // namespace wayfarer::lda
