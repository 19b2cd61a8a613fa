// How well a language model picks the right ending of a context: the baseline of the concept-space tests (arXiv 2308.10874).
//
//     baseline: {probe: cross_encoding, model: gpt2, source: questions}
//
// An ending's score is the sum of the log probabilities of its tokens after the context. Context and endings are tokenised
// separately: without special tokens for a decoder-only model; for an encoder-decoder, the context with the tokenizer's end and
// its endings without. A context is read once for all of its endings. If it does not fit with an ending, it is cut on the left
// for that ending, and counted.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/choice_scoring.hpp"
#include "probes/common/language.hpp"

namespace wf = wayfarer;
using namespace wayfarer::language;

namespace {

std::size_t characters(std::string_view text) noexcept {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// A context as one ending, or some, see it.
struct reading {
  std::size_t item = 0;
  std::vector<std::int32_t> tokens;
  std::vector<std::size_t> choices;  // numbers of those that follow
};

/// The index of the largest value, the lowest among equals.
template <class Value>
std::int32_t best_of(std::size_t n, Value&& value) {
  std::size_t best = 0;
  for (std::size_t k = 1; k < n; ++k)
    if (value(k) > value(best)) best = k;
  return static_cast<std::int32_t>(best);
}

}  // namespace

struct cross_encoding final : wf::probe {
  explicit cross_encoding(wf::config const& c) : window_(c["window"]) {}

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    stack_of(at.model().info());
    if (!at.data().info().has_texts || !at.data().info().has_choices)
      throw wf::usage_error("cross_encoding scores endings to choose from after a text; this source gives " +
                            std::string(at.data().info().has_texts ? "no endings" : "no texts") + ": use one such as hellaswag");
    auto const range = at.items();
    auto const first = at.data().read({range.first, std::min(range.first + 1, range.last)});
    std::size_t const n = first.choices.empty() ? 0 : first.choices[0].size();
    wf::dim const choice{"choice", n};
    acc.define_rows("scores", {choice});
    for (char const* const name : {"choice_tokens", "choice_characters", "choice_greedy", "choice_spaced"})
      acc.define_rows(name, {choice}, wf::dtype::i32);
    for (char const* const name : {"gold", "context_tokens", "cut"}) acc.define_rows(name, {}, wf::dtype::i32);
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const& m = at.model();
    auto const& items = block.items();
    std::size_t const n = acc["scores"].size(1);
    auto const found = items.truth.find("gold");
    if (found == items.truth.end() && items.count != 0)
      throw wf::usage_error("this source does not say which ending is right: it has no truth 'gold'");
    std::vector<token_lists> endings(items.count);
    std::vector<reading> readings;
    auto const count = acc["choice_tokens"].view<std::int32_t>(), length = acc["choice_characters"].view<std::int32_t>(),
               greedy = acc["choice_greedy"].view<std::int32_t>(), spaced = acc["choice_spaced"].view<std::int32_t>(),
               gold = acc["gold"].view<std::int32_t>(), context = acc["context_tokens"].view<std::int32_t>(),
               cut = acc["cut"].view<std::int32_t>();
    for (std::size_t i = 0; i < items.count; ++i) {
      auto const choices = items.choices[i];
      std::string const name = "item " + std::to_string(items.first + i);
      if (choices.size() != n)
        throw wf::data_error(name + " has " + std::to_string(choices.size()) + " endings, the first one has " +
                             std::to_string(n) + "; every item needs as many");
      for (auto const& c : choices) endings[i].push_back(tokens_of_choice(m, c));
      double const right = found->second.get({i});
      if (!(right >= 0 && right < static_cast<double>(n)))
        throw wf::data_error(name + ": the right ending is number " + std::to_string(static_cast<std::int64_t>(right)) + " of " +
                             std::to_string(n));
      gold(i) = static_cast<std::int32_t>(right);
      for (std::size_t k = 0; k < n; ++k) {
        count(i, k) = static_cast<std::int32_t>(endings[i][k].size());
        length(i, k) = static_cast<std::int32_t>(characters(choices[k]));
        spaced(i, k) = choices[k].starts_with(' ');
      }
      auto const tokens = context_tokens(m, items.texts[i], name);
      // The host's own cut takes the end of a context, which is what an ending follows.
      std::size_t const whole = m.info().longest == 0 ? tokens.size() : std::min(tokens.size(), m.info().longest);
      if (!items.texts[i].empty() && block.tokens().tokens[i].size() < whole)
        throw wf::usage_error(name + ": `max_tokens` cuts a context before its ending; use `window`, which cuts on the left");
      context(i) = static_cast<std::int32_t>(tokens.size());
      cut(i) = static_cast<std::int32_t>(read(m, i, tokens, endings[i], name, readings));
    }

    bool const decoder = stack_of(m.info()).decoder;
    wf::batch contexts;
    std::vector<token_lists> lists;
    for (auto const& r : readings) {
      contexts.tokens.push_back(r.tokens);
      if (decoder) contexts.decoder_tokens.push_back(block.tokens().decoder_tokens[r.item]);
      lists.emplace_back();
      for (auto const k : r.choices) lists.back().push_back(endings[r.item][k]);
    }
    auto const scores = score_choices(m, contexts, lists, [&](std::vector<std::size_t> rows) {
      for (auto& r : rows) r = readings[r].item;
      return block.request(std::move(rows));
    });
    for (std::size_t r = 0; r < readings.size(); ++r)
      for (std::size_t j = 0; j < readings[r].choices.size(); ++j) {
        std::size_t const i = readings[r].item, k = readings[r].choices[j];
        acc["scores"](i, k) = scores[r][j].log_probability;
        greedy(i, k) = scores[r][j].greedy;
      }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const scores = acc["scores"].view<double const>();
    auto const length = acc["choice_characters"].view<std::int32_t const>(),
               greedy = acc["choice_greedy"].view<std::int32_t const>(), spaced = acc["choice_spaced"].view<std::int32_t const>(),
               gold = acc["gold"].view<std::int32_t const>();
    std::size_t const items = scores.size(0), n = scores.size(1);
    if (items == 0) throw wf::usage_error("there is no item to score");
    // What is divided by: 1, characters, and characters but for the space before the ending.
    auto const predict = [&](char const* name, auto&& divisor, char const* about) {
      wf::tensor const values(wf::dtype::i32, {{"item", items}});
      for (std::size_t i = 0; i < items; ++i)
        values.view<std::int32_t>()(i) = best_of(n, [&](std::size_t k) { return scores(i, k) / divisor(i, k); });
      out.add(name, values).about(about).view("histogram");
      return values;
    };
    auto const at_least_one = [](std::int32_t v) { return static_cast<double>(std::max(v, 1)); };
    auto const plain = predict(
        "prediction", [](auto...) { return 1.0; }, "ending with the largest log probability, the first among equals");
    auto const norm = predict(
        "prediction_norm", [&](std::size_t i, std::size_t k) { return at_least_one(length(i, k)); },
        "ending with the largest log probability over its number of characters, the space before it included");
    auto const bare = predict(
        "prediction_norm_no_space", [&](std::size_t i, std::size_t k) { return at_least_one(length(i, k) - spaced(i, k)); },
        "ending with the largest log probability over its number of characters without the space before it");
    auto const rate = [&](std::string const& name, auto&& right, std::string const& about) {
      std::vector<double> hits(items);
      for (std::size_t i = 0; i < items; ++i) hits[i] = right(i) ? 1 : 0;
      auto const m = wf::moments_of(hits);
      out.add(name, m.mean).about(about);
      if (items > 1)
        out.add(name + "_standard_error", m.standard_error()).about("sample deviation of hit and miss over the root of N");
      return m.mean;
    };
    auto const equals_gold = [&](wf::tensor const& p) {
      return [&, values = p.view<std::int32_t const>()](std::size_t i) { return values(i) == gold(i); };
    };
    double const acc_plain = rate("acc", equals_gold(plain), "share of items whose prediction is right");
    double const acc_norm = rate("acc_norm", equals_gold(norm), "share of items whose prediction_norm is right");
    rate("acc_norm_no_space", equals_gold(bare),
         "share of items whose prediction_norm_no_space is right, as GPT-2's were published");
    wf::tensor const exact(wf::dtype::u8, {{"item", items}});
    for (std::size_t i = 0; i < items; ++i) exact.view<std::uint8_t>()(i) = greedy(i, static_cast<std::size_t>(gold(i))) != 0;
    rate(
        "em", [&](std::size_t i) { return exact.view<std::uint8_t const>()(i) != 0; },
        "share of items whose right ending is what greedy decoding would write");

    std::size_t const shortened = add_items(acc, out, exact);
    add_text_note(out, at.data().info());
    out.summarise(items == 0 ? "no items, so no accuracy"
                             : "acc " + wf::told(acc_plain, 4) + ", acc_norm " + wf::told(acc_norm, 4) + " of " +
                                   wf::counted(items, "item") + "; " + wf::counted(shortened, "context") + " cut");
  }

 private:
  /// What each item has. Returns how many contexts were cut.
  static std::size_t add_items(wf::accumulator const& acc, wf::results& out, wf::tensor const& exact) {
    constexpr char by_choice[] = R"({"kind": "heatmap", "rows": "item", "columns": "choice"})";
    out.add("scores", acc["scores"]).units("nat").about("log probability of each ending, given its context").view(by_choice);
    out.add("gold", acc["gold"]).about("the right ending").view("histogram");
    out.add("choice_tokens", acc["choice_tokens"]).units("token").about("tokens of each ending").view(by_choice);
    out.add("choice_characters", acc["choice_characters"])
        .units("character")
        .about("Unicode code points of each ending, the space before it included")
        .view(by_choice);
    out.add("exact_match", exact)
        .about("1: every token of the right ending is the likeliest after those before it")
        .view("histogram");
    out.add("context_tokens", acc["context_tokens"])
        .units("token")
        .about("tokens of each context, before cutting")
        .view("histogram");
    std::size_t shortened = 0;
    for (auto const n : acc["cut"].values<std::int32_t const>()) shortened += n != 0;
    out.add("cut", acc["cut"])
        .units("token")
        .about("maximum cut from the left of each context to make an ending fit")
        .view("histogram");
    out.add("contexts_cut", static_cast<double>(shortened)).units("item").about("contexts that did not fit");
    return shortened;
  }

  static std::vector<std::int32_t> context_tokens(wf::model const& m, std::string const& text, std::string const& name) {
    auto const* const words = m.text_tokenizer();
    wf::require_tokenizer(m.info(), words);
    auto tokens = (stack_of(m.info()).decoder ? words->encode(text) : wf::encode_prompt(*words, text)).ids;
    if (!tokens.empty()) return tokens;
    // Something must come before the first token that is predicted.
    auto const ends = wf::generation_tokens_of(m);
    auto const start = ends.bos || ends.stop.empty() ? ends.bos : ends.stop.front();
    if (!start) throw wf::data_error(name + " has an empty context, and the tokenizer has no token to begin with");
    return {*start};
  }

  /// Adds what is to be read for this item: its context, once, or once for each length that it is cut to. Returns how many
  /// tokens the longest cut takes off.
  std::size_t read(wf::model const& m, std::size_t item, std::vector<std::int32_t> const& tokens, token_lists const& endings,
                   std::string const& name, std::vector<reading>& to) const {
    std::size_t limit = m.info().longest;
    if (window_ != 0 && (limit == 0 || window_ < limit)) limit = window_;
    bool const decoder = stack_of(m.info()).decoder;
    std::map<std::size_t, std::vector<std::size_t>> by_cut;
    for (std::size_t k = 0; k < endings.size(); ++k) {
      // The last token of an ending is not read. An encoder-decoder reads the endings elsewhere.
      std::size_t const beside = decoder || endings[k].empty() ? 0 : endings[k].size() - 1;
      if (limit != 0 && beside >= limit)
        throw wf::data_error(name + ": an ending of " + std::to_string(endings[k].size()) +
                             " tokens leaves no room for its context: at most " + std::to_string(limit) + " are read");
      std::size_t const room = limit == 0 ? tokens.size() : limit - beside;
      by_cut[tokens.size() - std::min(tokens.size(), room)].push_back(k);
    }
    std::size_t most = 0;
    for (auto& [cut, choices] : by_cut) {
      to.push_back({item, {tokens.begin() + static_cast<std::ptrdiff_t>(cut), tokens.end()}, std::move(choices)});
      most = cut;
    }
    return most;
  }

  std::size_t window_;
};

WAYFARER_PROBE(cross_encoding, "1.0.0",
               "Which of several endings a language model finds likeliest after a context, and how often it is right",
               wf::port::model("model"), wf::port::source("source", "texts with endings to choose from, and which is right"),
               wf::param("window", 0,
                         "limit of tokens of context and ending together (encoder-decoders: of the context); longer contexts "
                         "are cut on the left; 0: the model's limit")
                   .in("token")
                   .at_least(0));
