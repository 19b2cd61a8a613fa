// How well a model predicts a text: log probability of every token, loss, perplexity, and how often its best guess is right.
//
//     loss: {probe: language_loss, model: gpt2, source: corpus, stride: 512}
//
// Items may be longer than the model's context: a window slides over each, and every token but an item's first is scored once,
// with at least `window - stride` tokens before it where there are as many. Logits are made a few rows at a time and never kept.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/whole_texts.hpp>

#include "probes/common/language.hpp"
#include "probes/common/vocabulary.hpp"
#include "probes/common/whole_items.hpp"
#include "windows.hpp"

namespace wf = wayfarer;
using namespace wayfarer::language;

namespace {

constexpr std::size_t tokens_at_once = 2048;  // of a forward pass
constexpr double ln_2 = 0.693147180559945309417;

/// The bytes that tokens stand for.
struct text_size {
  double bytes = 0, characters = 0;

  void add(std::string_view text) {
    bytes += static_cast<double>(text.size());
    for (char const c : text) characters += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }
};

/// An item's tokens, all of them, with the text of each where it is known.
struct sequence {
  std::vector<std::int32_t> tokens;
  std::vector<text_size> sizes;  ///< as many as tokens, or none
};

/// What a forward pass says of one token.
struct score {
  double log_probability = 0;
  bool correct = false;
};

}  // namespace

struct language_loss final : wf::probe, wf::reads_whole_texts {
  explicit language_loss(wf::config const& c)
      : window_(c["window"]), stride_(c["stride"]), prepend_(c["prepend"]), per_token_(c["per_token"]) {
    if (window_ == 1) throw wf::usage_error("a `window` of 1 token predicts nothing; give at least 2");
    if (window_ != 0 && stride_ >= window_)
      throw wf::usage_error("`stride` must be below `window`: the first token of a window is not predicted");
  }

  /// The first window of an item is what the sweep reads anyway.
  wf::hook_set needs(wf::model_info const& model) const override {
    auto const last = last_states(model);
    return window_ == 0 && prepend_ < 0 ? last : wf::hook_set();
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    stack const top = stack_of(at.model().info());
    // A text is the encoder's, and the decoder then starts with one token and predicts nothing.
    if (auto const& given = at.data().info(); top.decoder && given.has_texts && !given.has_tokens && prepend_ < 0)
      throw wf::usage_error("language_loss scores the decoder's tokens, and " + at.model().info().architecture +
                            " puts texts into its encoder; give `decoder_ids` with a source of tokens");
    for (auto const* name : {"length", "predicted", "correct", "log_likelihood", "bytes", "characters"})
      acc.define_rows(name, {});
    if (!per_token_) return;
    wf::dim const pos{stack_of(at.model().info()).pos(), longest(at)};
    acc.define_rows("log_probability", {pos});
    acc.define_rows("token_ids", {pos}, wf::dtype::i32);
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    stack const top = stack_of(at.model().info());
    std::vector<sequence> items;
    std::vector<std::vector<score>> scores;
    std::vector<place> all;
    for (std::size_t i = 0; i < block.size(); ++i) {
      items.push_back(whole(block, i, at.model()));
      auto& tokens = items[i].tokens;
      if (prepend_ >= 0) tokens.insert(tokens.begin(), static_cast<std::int32_t>(prepend_));
      scores.emplace_back(tokens.size());
      // An encoder-decoder reads its whole input for every window, so the decoder's tokens are read at once.
      std::size_t const size = top.decoder ? std::max<std::size_t>(2, tokens.size()) : window_size(at.model().info());
      for (auto const& w : windows_over(tokens.size(), size, stride(size))) all.push_back({i, w});
    }
    std::vector<place> own;
    std::vector<prediction> known;
    for (auto const& p : all) {
      if (p.read.first == 0 && p.read.last == top.tokens(block[p.item]).size() && !needs(at.model().info()).empty())
        add_window(known, p.read, items[p.item].tokens, block[p.item][last_states(at.model().info()).names()[0]], scores[p.item]);
      else
        own.push_back(p);
    }
    put_scores(at.model(), known);
    for (std::size_t first = 0; first < own.size();) {
      std::size_t last = first, tokens = 0;
      do tokens += own[last].read.last - own[last].read.first, ++last;
      while (last < own.size() && tokens + own[last].read.last - own[last].read.first <= tokens_at_once);
      run(at.model(), top, block, items, std::span(own).subspan(first, last - first), scores);
      first = last;
    }

    std::size_t const ahead = prepend_ >= 0 ? 1 : 0;
    for (std::size_t i = 0; i < block.size(); ++i) {
      double sum = 0, correct = 0;
      text_size predicted;
      for (std::size_t t = 1; t < scores[i].size(); ++t) {
        sum += scores[i][t].log_probability;
        correct += scores[i][t].correct;
        if (!items[i].sizes.empty()) {
          predicted.bytes += items[i].sizes[t - ahead].bytes;
          predicted.characters += items[i].sizes[t - ahead].characters;
        }
      }
      std::size_t const length = items[i].tokens.size() - ahead;
      acc["length"](i) = static_cast<double>(length);
      acc["predicted"](i) = scores[i].empty() ? 0 : static_cast<double>(scores[i].size() - 1);
      acc["correct"](i) = correct;
      acc["log_likelihood"](i) = sum;
      acc["bytes"](i) = predicted.bytes;
      acc["characters"](i) = predicted.characters;
      if (!per_token_) continue;
      auto const logs = acc["log_probability"].view<double>();
      auto const ids = acc["token_ids"].view<std::int32_t>();
      for (std::size_t p = 0; p < ids.size(1); ++p) {
        bool const scored = p < length && p + ahead > 0;
        logs(i, p) = scored ? scores[i][p + ahead].log_probability : std::numeric_limits<double>::quiet_NaN();
        ids(i, p) = p < length ? items[i].tokens[p + ahead] : -1;
      }
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const total = [&](char const* name) {
      double sum = 0;
      for (double const v : acc[name].values<double const>()) sum += v;
      return sum;
    };
    double const predicted = total("predicted"), likelihood = total("log_likelihood"), bytes = total("bytes"),
                 characters = total("characters");
    if (predicted == 0) throw wf::usage_error("no item has two tokens, so nothing is predicted; see `prepend`");
    out.add("loss", -likelihood / predicted)
        .units("nat/token")
        .about("mean negative log probability of a token, over all that are predicted");
    out.add("perplexity", std::exp(-likelihood / predicted)).about("exponential of the loss");
    out.add("accuracy", total("correct") / predicted).about("share of tokens that are the model's likeliest");
    out.add("tokens_predicted", predicted).units("token");
    if (bytes > 0) {
      out.add("bits_per_byte", -likelihood / ln_2 / bytes).units("bit/byte").about("of the predicted tokens' text");
      out.add("bits_per_character", -likelihood / ln_2 / characters)
          .units("bit/character")
          .about("of the predicted tokens' text, by Unicode code point");
      out.add("perplexity_per_byte", std::exp(-likelihood / bytes)).about("of the predicted tokens' text");
      out.add("perplexity_per_character", std::exp(-likelihood / characters)).about("of the predicted tokens' text");
      out.add("bytes", acc["bytes"]).units("byte").about("of the predicted tokens of each item").view("histogram");
    }
    out.add("length", acc["length"]).units("token").about("tokens of each item").view("histogram");
    out.add("predicted", acc["predicted"]).units("token").about("tokens of each item that are predicted").view("histogram");
    out.add("correct", acc["correct"])
        .units("token")
        .about("predicted tokens of each item that are the model's likeliest")
        .view("histogram");
    out.add("log_likelihood", acc["log_likelihood"])
        .units("nat")
        .about("log probability of each item's predicted tokens together")
        .view("histogram");
    if (per_token_) {
      auto& each = out.add("log_probability", acc["log_probability"])
                       .units("nat")
                       .about("of each token, given those before it; NaN for what is not predicted and beyond an item's length")
                       .view("tokens");
      // Where the model itself gave such values, no reason holds for all of them, and the run warns.
      if (std::isfinite(likelihood)) each.missing("not predicted, or beyond the item's length");
      out.add("token_ids", acc["token_ids"]).about("ids of the tokens; -1 beyond an item's length").view("table");
      add_token_texts(out, "tokens", acc["token_ids"], at.model());
    }
    out.summarise("loss " + wf::told(-likelihood / predicted, 4) + " nat/token, perplexity " +
                  wf::told(std::exp(-likelihood / predicted), 4) + ", accuracy " + wf::told(total("correct") / predicted));
  }

 private:
  struct place {
    std::size_t item;
    window read;
  };

  std::size_t window_size(wf::model_info const& m) const {
    if (m.longest != 0 && window_ > m.longest)
      throw wf::usage_error("`window` is " + std::to_string(window_) + ", but the model reads at most " +
                            std::to_string(m.longest) + " tokens");
    if (window_ != 0) return window_;
    return m.longest != 0 ? std::max<std::size_t>(2, m.longest) : 1024;
  }
  std::size_t stride(std::size_t size) const {
    if (stride_ == 0) return std::max<std::size_t>(1, size / 2);
    return std::min(stride_, size - 1);
  }

  /// The item's tokens before the model's limit cut them. A cut that the pipeline asked for (`max_tokens`) stays.
  static sequence whole(wf::sample const& block, std::size_t i, wf::model const& m) {
    auto const item = block[i];
    stack const top = stack_of(m.info());
    auto const cut = top.tokens(item);
    sequence s{{cut.begin(), cut.end()}, {}};
    auto const& given = block.items();
    auto const* tokenizer = m.text_tokenizer();
    auto const is_longer = [&](std::span<std::int32_t const> all) { return cut_at_limit(cut, all, m.info().longest); };
    if (!top.decoder && !given.texts.empty() && tokenizer != nullptr) {
      auto const text = item.text();
      auto const all = tokenizer->encode(text);
      if (is_longer(all.ids)) s.tokens = all.ids;
      if (std::equal(s.tokens.begin(), s.tokens.end(), all.ids.begin(),
                     all.ids.begin() + static_cast<std::ptrdiff_t>(std::min(s.tokens.size(), all.ids.size()))))
        for (std::size_t t = 0; t < s.tokens.size(); ++t) {
          s.sizes.emplace_back();
          s.sizes.back().add(text.substr(all.spans[t].begin, all.spans[t].end - all.spans[t].begin));
        }
      return s;
    }
    if (!top.decoder && !given.tokens.empty())
      if (auto const all = given.tokens[i]; is_longer(all)) s.tokens.assign(all.begin(), all.end());
    if (tokenizer != nullptr && tokenizer->kind() == "byte_level_bpe")
      for (auto const t : s.tokens) {
        s.sizes.emplace_back();
        s.sizes.back().add(tokenizer->token_bytes(t));
      }
    return s;
  }

  /// Most tokens of any item, before cutting.
  std::size_t longest(wf::probe_context const& at) const {
    stack const top = stack_of(at.model().info());
    std::size_t const limit = at.model().info().longest;
    if (top.longest(at) < limit || limit == 0 || top.decoder) return top.longest(at);
    std::lock_guard const lock(mutex_);
    auto const known = longest_.find({&at.data(), at.items().first, at.items().last});
    if (known != longest_.end()) return known->second;
    std::size_t n = 0;
    constexpr std::size_t items_at_once = 64;
    for (std::size_t first = at.items().first; first < at.items().last; first += items_at_once) {
      auto const items = at.data().read({first, std::min(first + items_at_once, at.items().last)});
      auto const tokens = at.model().encode(items, {});
      wf::activations const none;
      wf::sample const block(items, tokens, none, 0);
      for (std::size_t i = 0; i < block.size(); ++i) n = std::max(n, whole(block, i, at.model()).tokens.size());
    }
    // The pipeline may have cut the items to the very limit of the model; then this is more than there will be, which costs room
    // only.
    return longest_[{&at.data(), at.items().first, at.items().last}] = n;
  }

  /// Reads some windows in one forward pass and scores their tokens.
  static void run(wf::model const& m, stack const& top, wf::sample const& block, std::vector<sequence> const& items,
                  std::span<place const> all, std::vector<std::vector<score>>& scores) {
    wf::batch batch;
    for (auto const& p : all) {
      std::span<std::int32_t const> const tokens = items[p.item].tokens;
      auto const read = tokens.subspan(p.read.first, p.read.last - p.read.first);
      if (top.decoder) {
        batch.tokens.push_back(block[p.item].tokens());
        batch.decoder_tokens.push_back(read);
      } else {
        batch.tokens.push_back(read);
      }
    }
    std::vector<std::size_t> rows;
    for (auto const& p : all) rows.push_back(p.item);
    auto request = block.request(std::move(rows));
    request.capture = last_states(m.info());
    auto const captured = m.run(batch, request);
    std::vector<prediction> made;
    for (std::size_t w = 0; w < all.size(); ++w)
      add_window(made, all[w].read, items[all[w].item].tokens, captured.at(request.capture.names()[0], w), scores[all[w].item]);
    put_scores(m, made);
  }

  /// The hook from which logits are made.
  static wf::hook_set last_states(wf::model_info const& m) {
    stack const top = stack_of(m);
    return m.hooks_for(m.norm == wf::norm_kind::none ? top.block(top.layers - 1, "hook_resid_post")
                                                     : top.final_norm + "hook_out");
  }

  /// A token that is predicted from a state, [d_model].
  struct prediction {
    wf::tensor state;
    std::int32_t token;
    score* to;
  };

  /// `states`: [pos, d_model], of the window's tokens.
  static void add_window(std::vector<prediction>& all, window const& read, std::vector<std::int32_t> const& tokens,
                         wf::tensor const& states, std::vector<score>& to) {
    for (std::size_t t = read.scored; t < read.last; ++t) all.push_back({states[t - 1 - read.first], tokens[t], &to[t]});
  }

  static void put_scores(wf::model const& m, std::span<prediction const> all) {
    for (std::size_t first = 0; first < all.size(); first += wf::vocabulary_rows) {
      auto const some = all.subspan(first, std::min(wf::vocabulary_rows, all.size() - first));
      wf::tensor const states(some[0].state.type(), {{"row", some.size()}, some[0].state.shape()[0]});
      wf::vocabulary_question question;
      question.likeliest = 1;
      for (std::size_t r = 0; r < some.size(); ++r) {
        wf::copy_into(states[r], some[r].state);
        question.tokens.push_back(std::span(&some[r].token, 1));
      }
      auto const found = read_vocabulary(m, states, question);
      for (std::size_t r = 0; r < some.size(); ++r)
        *some[r].to = {found[r].log_probability(found[r].logits[0]),
                       !found[r].likeliest.empty() && found[r].likeliest[0].token == some[r].token};
    }
  }

  std::size_t window_, stride_;
  std::int64_t prepend_;
  bool per_token_;
  mutable std::mutex mutex_;
  mutable std::map<std::tuple<wf::source const*, std::size_t, std::size_t>, std::size_t> longest_;
};

WAYFARER_PROBE(
    language_loss, "1.0.0", "Log probability of every token, perplexity and next-token accuracy, over texts of any length",
    wf::port::model("model"), wf::port::source("source"),
    wf::param("window", 0, "tokens that are read at once, 0: as many as the model can").in("token").at_least(0),
    wf::param("stride", 0, "from one window's start to the next, below `window`; 0: half a window").in("token").at_least(0),
    wf::param("prepend", -1, "token id put before every item, so that its first token is predicted too; -1: none").at_least(-1),
    wf::param("per_token", true, "keep the log probability of every token, and its text"));
