#include "conformance/inputs/texts.hpp"

#include "conformance/inputs.hpp"

namespace wayfarer::host::conformance {

std::string make_text(random_stream& draw, std::size_t length) {
  std::string text;
  while (text.size() < length) {
    if (!text.empty()) text += ' ';
    text += vocabulary_of_texts[draw.below(std::size(vocabulary_of_texts))];
  }
  text.resize(length);
  return text;
}

std::vector<std::string> made_words() {
  std::vector<std::string> words(std::begin(vocabulary_of_texts), std::end(vocabulary_of_texts));
  std::erase_if(words, [](std::string const& w) { return w.size() < 2; });
  return words;
}

}  // namespace wayfarer::host::conformance
