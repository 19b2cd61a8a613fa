// The log probability of each of several endings after a context. Used by cross_encoding and concept_generation.
//
// A context, tokens or vectors, is read once for all of its endings. Endings of many contexts go through the model together.
// Logits are computed only for positions that predict a token of an ending. An ending's score depends only
// on its context and itself, not on the rest of the batch, and is the same for any number of threads. Plain functions, any
// thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/language.hpp"
#include "probes/common/vocabulary.hpp"

namespace wayfarer::language {

/// The endings of one context, each as tokens.
using token_lists = std::vector<std::vector<std::int32_t>>;

struct choice_score {
  double log_probability = 0;  ///< of its tokens together, given the context, in nats; 0 for an ending without tokens
  std::size_t tokens = 0;
  bool greedy = true;  ///< each of its tokens is the likeliest after what stands before it
};

/// What a pass is to do beside capturing: `rows` says which context each item of its batch belongs to. `sample::request` fits
/// where contexts are the block's items.
using request_of = std::function<run_request(std::vector<std::size_t> rows)>;

namespace detail {

constexpr std::size_t tokens_at_once = 1024;  // of contexts and endings in one pass; their keys and values are kept meanwhile

/// A token that is predicted from one state.
struct predicted {
  std::size_t context, choice;
  std::int32_t token;
  double log_probability = 0;
  bool best = false;
};

/// The states that predict something, gathered from a pass, and what they predict: those of row r are
/// targets[first[r] .. first[r + 1]), in the order in which the tokens follow each other.
struct predictions {
  std::vector<tensor> states;  // [d_model] each, views
  std::vector<std::size_t> first{0};
  std::vector<predicted> targets;

  void add_row(tensor state) {
    states.push_back(std::move(state));
    first.push_back(targets.size());
  }
};

inline void score(model const& m, predictions& all) {
  for (std::size_t row0 = 0; row0 < all.states.size(); row0 += vocabulary_rows) {
    std::size_t const n = std::min(vocabulary_rows, all.states.size() - row0), width = all.states[row0].count();
    tensor const gathered(all.states[row0].type(), {{"row", n}, {"d_model", width}});
    vocabulary_question question;
    question.likeliest = 1;
    std::vector<std::int32_t> tokens;
    for (std::size_t r = 0; r < n; ++r) {
      copy_into(gathered[r], all.states[row0 + r]);
      tokens.clear();
      for (std::size_t t = all.first[row0 + r]; t < all.first[row0 + r + 1]; ++t) tokens.push_back(all.targets[t].token);
      question.tokens.push_back(tokens);
    }
    auto const found = read_vocabulary(m, gathered, question);
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t t = all.first[row0 + r]; t < all.first[row0 + r + 1]; ++t) {
        auto& target = all.targets[t];
        target.log_probability = found[r].log_probability(found[r].logits[t - all.first[row0 + r]]);
        target.best = !found[r].likeliest.empty() && found[r].likeliest[0].token == target.token;
      }
  }
}

}  // namespace detail

/// Scores of each context's endings. `read` has read the contexts; `last[i]` holds the state of states_before_logits at the last
/// position of context i, [d_model]; an encoder-decoder's contexts end with what its decoder begins with. Throws data_error for a
/// token outside the vocabulary, and if a score is not a number.
inline std::vector<std::vector<choice_score>> score_choices(model const& m, continued_run const& read,
                                                            std::span<tensor const> last, std::span<token_lists const> choices,
                                                            request_of const& request) {
  if (last.size() != read.items() || choices.size() != read.items())
    throw plugin_error("a run of " + std::to_string(read.items()) + " contexts was given " + std::to_string(last.size()) +
                       " last states and " + std::to_string(choices.size()) + " lists of endings");
  bool const decoder = stack_of(m.info()).decoder;
  detail::predictions all;
  // A context's last position predicts the first token of each of its endings.
  std::vector<std::size_t> branches;
  std::vector<std::size_t> choice_of;
  batch more;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    for (std::size_t k = 0; k < choices[i].size(); ++k) {
      std::span<std::int32_t const> const tokens = choices[i][k];
      for (auto const t : tokens)
        if (t < 0 || static_cast<std::size_t>(t) >= m.info().vocabulary)
          throw data_error("token " + std::to_string(t) + " of an ending is outside " + m.info().architecture +
                           "'s vocabulary of " + std::to_string(m.info().vocabulary));
      if (tokens.empty()) continue;
      all.targets.push_back({i, k, tokens[0]});
      if (tokens.size() < 2) continue;  // the last token of an ending is only predicted
      branches.push_back(i), choice_of.push_back(k);
      (decoder ? more.decoder_tokens : more.tokens).push_back(tokens.first(tokens.size() - 1));
    }
    all.add_row(last[i]);
  }
  activations captured;
  if (!branches.empty()) {
    // An encoder-decoder's encoder reads nothing more.
    if (decoder) more.tokens.offsets.assign(branches.size() + 1, 0);
    auto ask = request(branches);
    ask.capture = states_before_logits(m.info());
    captured = read.branch(branches)->extend(more, ask);
    for (std::size_t b = 0; b < branches.size(); ++b) {
      auto const& tokens = choices[branches[b]][choice_of[b]];
      tensor const states = captured.at(ask.capture.names()[0], b);
      for (std::size_t t = 1; t < tokens.size(); ++t) {
        all.targets.push_back({branches[b], choice_of[b], tokens[t]});
        all.add_row(states[t - 1]);
      }
    }
  }
  detail::score(m, all);
  std::vector<std::vector<choice_score>> scores;
  for (auto const& c : choices) scores.emplace_back(c.size());
  for (auto const& t : all.targets) {
    auto& s = scores[t.context][t.choice];
    s.log_probability += t.log_probability, ++s.tokens;
    s.greedy = s.greedy && t.best;
  }
  for (auto const& context : scores)
    for (auto const& s : context)
      if (std::isnan(s.log_probability))
        throw data_error("the log probability of an ending is not a number; look for NaN in the model's weights");
  return scores;
}

/// The same from contexts that were not read yet: tokens or `embeddings`, or `encoder_states`; an encoder-decoder's batch has
/// the decoder's first tokens as well, at least one each. Reads as many contexts at once as some thousand tokens hold. Throws
/// usage_error for a context without a token.
inline std::vector<std::vector<choice_score>> score_choices(model const& m, batch const& contexts,
                                                            std::span<token_lists const> choices, request_of const& request) {
  std::size_t const items = contexts.items();
  if (choices.size() != items)
    throw plugin_error(std::to_string(items) + " contexts, but endings of " + std::to_string(choices.size()));
  bool const decoder = stack_of(m.info()).decoder;
  if (decoder && contexts.decoder_tokens.size() != items)
    throw plugin_error(std::to_string(items) + " contexts, but first tokens for the decoder of " +
                       std::to_string(contexts.decoder_tokens.size()));
  std::vector<std::size_t> cost;
  for (std::size_t i = 0; i < items; ++i) {
    std::size_t const own = contexts.tokens[i].size(), first = decoder ? contexts.decoder_tokens[i].size() : own;
    if (first == 0) throw usage_error("context " + std::to_string(i) + " has no token from which an ending could be predicted");
    cost.push_back(own + (decoder ? first : 0));
    for (auto const& c : choices[i]) cost.back() += c.size();
  }
  std::vector<std::vector<choice_score>> scores;
  for (std::size_t from = 0; from < items;) {
    std::size_t to = from, tokens = 0;
    do tokens += cost[to++];
    while (to < items && tokens + cost[to] <= detail::tokens_at_once);
    batch some;
    std::vector<std::size_t> rows;
    for (std::size_t i = from; i < to; ++i) {
      some.tokens.push_back(contexts.tokens[i]);
      if (decoder) some.decoder_tokens.push_back(contexts.decoder_tokens[i]);
      if (!contexts.first_position.empty()) some.first_position.push_back(contexts.first_position[i]);
      rows.push_back(i);
    }
    std::size_t const row0 = contexts.tokens.offsets[from] - contexts.tokens.offsets[0],
                      row1 = contexts.tokens.offsets[to] - contexts.tokens.offsets[0];
    if (contexts.embeddings.defined()) some.embeddings = contexts.embeddings.slice(0, row0, row1);
    if (contexts.encoder_states.defined()) some.encoder_states = contexts.encoder_states.slice(0, row0, row1);
    auto ask = request(rows);
    ask.capture = states_before_logits(m.info());
    activations captured;
    auto const run = m.begin(some, ask, &captured);
    std::vector<tensor> last;
    for (std::size_t i = 0; i < some.items(); ++i) {
      auto const& states = captured.at(ask.capture.names()[0], i);
      last.push_back(states[states.size(0) - 1]);
    }
    auto const made = score_choices(m, *run, last, choices.subspan(from, to - from), [&](std::vector<std::size_t> which) {
      for (auto& w : which) w += from;
      return request(std::move(which));
    });
    scores.insert(scores.end(), made.begin(), made.end());
    from = to;
  }
  return scores;
}

/// The tokens of an ending on its own, without what the tokenizer puts around a text. Throws usage_error if there is no
/// tokenizer.
inline std::vector<std::int32_t> tokens_of_choice(model const& m, std::string_view text) {
  auto const* const words = m.text_tokenizer();
  if (words == nullptr)
    throw usage_error(m.info().architecture +
                      " can't read endings: there is no tokenizer beside the checkpoint; put its files into the folder");
  return words->encode(text, {.special = true, .ends = false}).ids;
}

/// Says in the results whether the source took its text as others had cleaned it, where the source knows.
inline void add_text_note(results& out, source_info const& data) {
  auto const at = data.truth.find("preprocessed");
  if (at == data.truth.end()) return;
  out.add("preprocessed", at->second.clone())
      .about(
          "1: the text had been cleaned by others and was taken as it is, so that figures differ a little from those of the "
          "original text; 0: cleaned here")
      .view("histogram");
}

}  // namespace wayfarer::language
