// Items generated from the seed.
#include <algorithm>

#include <wayfarer/random.hpp>

#include "conformance/inputs.hpp"
#include "conformance/inputs/texts.hpp"

namespace wayfarer::host::conformance {

std::string_view name_of(item_sort s) noexcept {
  switch (s) {
    case item_sort::words:
      return "documents of words";
    case item_sort::tokens:
      return "token sequences";
    case item_sort::texts:
      return "texts";
    case item_sort::choices:
      return "questions with answers to choose from";
    case item_sort::pairs:
      return "token sequences of one length";
  }
  return {};
}

namespace {

template <class T>
ragged<T> part_of(ragged<T> const& all, item_range r) {
  ragged<T> out;
  if (all.empty()) return out;
  for (std::size_t i = r.first; i < r.last; ++i) out.push_back(all[i]);
  return out;
}

}  // namespace

item_block made_items::read(item_range r) const {
  item_block b;
  b.first = r.first, b.count = r.size();
  b.words = part_of(all_.words, r);
  b.tokens = part_of(all_.tokens, r);
  b.decoder_tokens = part_of(all_.decoder_tokens, r);
  b.choices = part_of(all_.choices, r);
  b.segments = part_of(all_.segments, r);
  b.segment_example = part_of(all_.segment_example, r);
  if (!all_.texts.empty())
    b.texts.assign(all_.texts.begin() + static_cast<std::ptrdiff_t>(r.first),
                   all_.texts.begin() + static_cast<std::ptrdiff_t>(r.last));
  for (auto const& [name, values] : all_.truth) b.truth.emplace(name, values.slice(0, r.first, r.last).clone());
  return b;
}

namespace {

std::vector<std::int32_t> sequence(random_stream& draw, std::size_t length, std::size_t vocabulary) {
  std::vector<std::int32_t> list(length);
  for (auto& t : list) t = static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(vocabulary)));
  return list;
}

/// Two topics a document, as a topic model's would have.
void add_words(item_block& to, random_stream& draw, std::size_t length) {
  std::uint32_t const topics[2] = {draw.below(10), draw.below(10)};
  std::vector<std::int32_t> list(length);
  for (auto& w : list) w = static_cast<std::int32_t>(10 * topics[draw.below(2)] + draw.below(10));
  to.words.push_back(list);
}

void add_tokens(item_block& to, random_stream& draw, std::size_t length, std::size_t vocabulary) {
  to.tokens.push_back(sequence(draw, length, vocabulary));
  std::size_t const of_decoder = std::max<std::size_t>(std::min<std::size_t>(length, 1), length / 2);
  to.decoder_tokens.push_back(sequence(draw, of_decoder, vocabulary));
}

void add_pair(item_block& to, random_stream& draw, std::size_t length, std::size_t vocabulary, std::size_t ends_in) {
  for (auto* const lists : {&to.tokens, &to.decoder_tokens}) {
    auto list = sequence(draw, length, vocabulary);
    if (length > 0) list.back() = static_cast<std::int32_t>(ends_in);
    lists->push_back(list);
  }
}

void add_question(item_block& to, random_stream& draw, std::size_t length, std::vector<std::int32_t>& gold) {
  std::vector<std::string> const context{make_text(draw, length / 2)};
  to.texts.push_back(context[0]);
  to.segments.push_back(context);
  to.segment_example.push_back(std::vector<std::int32_t>{0});
  std::vector<std::string> answers;
  for (int a = 0; a < 4; ++a) answers.push_back(" " + make_text(draw, std::max<std::size_t>(1, length / 3)));
  to.choices.push_back(answers);
  gold.push_back(static_cast<std::int32_t>(draw.below(4)));
}

void describe_items(source_info& info, item_sort sort) {
  info.has_words = sort == item_sort::words, info.has_tokens = sort == item_sort::tokens || sort == item_sort::pairs;
  info.has_texts = sort == item_sort::texts || sort == item_sort::choices, info.has_choices = sort == item_sort::choices;
  if (!info.has_words) return;
  info.vocabulary = 100;
  std::vector<std::int32_t> topic(100);
  for (std::size_t w = 0; w < topic.size(); ++w) topic[w] = static_cast<std::int32_t>(w / 10);
  info.truth["topic_of_word"] = tensor::of(topic, {{"word", topic.size()}});
}

}  // namespace

std::unique_ptr<source> make_items(item_sort sort, std::size_t count, std::size_t shortest, std::size_t longest,
                                   std::size_t vocabulary, std::uint64_t seed) {
  item_block all;
  source_info info;
  all.count = info.items = count;
  std::vector<std::int32_t> gold;
  for (std::size_t i = 0; i < count; ++i) {
    random_stream draw(seed, "conformance items", i);
    std::size_t const drawn = shortest + draw.below(static_cast<std::uint32_t>(longest - shortest + 1));
    std::size_t const length = sort == item_sort::pairs ? longest : drawn;
    info.longest = std::max(info.longest, length);
    switch (sort) {
      case item_sort::words:
        add_words(all, draw, length);
        break;
      case item_sort::tokens:
        add_tokens(all, draw, length, vocabulary);
        break;
      case item_sort::texts:
        all.texts.push_back(make_text(draw, length));
        break;
      case item_sort::pairs:
        add_pair(all, draw, length, vocabulary, (2 + seed + i) % vocabulary);
        break;
      case item_sort::choices:
        add_question(all, draw, length, gold);
        break;
    }
  }
  describe_items(info, sort);
  if (info.has_choices) all.truth["gold"] = tensor::of(gold, {{"item", count}});
  return std::make_unique<made_items>(std::move(all), std::move(info));
}

}  // namespace wayfarer::host::conformance
