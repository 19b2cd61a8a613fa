// What each attention head does with a word taken by itself: the words that it would attend to (W_QK), the words that it would
// predict having attended to it (W_VO), and the words that its biases favour whatever is there.
// Molina 2023 (Traveling Words, arXiv 2309.07315), sections 3.2 and 4.2; notes E3, E4 and E6.
//
//     lookup: {probe: head_lookup, model: gpt2, blocks: [0, 5, 11]}
//
// Words stand without context or position: their embedding goes through the block's own norm, as does every token that they are
// compared with. The vocabulary goes by in chunks and in thin factors, so memory does not grow with it.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>

#include "nouns.hpp"
#include "probes/common/language.hpp"
#include "probes/common/norm_folding.hpp"
#include "probes/common/shared_heads.hpp"
#include "probes/common/vocabulary.hpp"
#include "probes/common/vocabulary_reading.hpp"

namespace wf = wayfarer;
using wf::language::stack;

namespace {

/// The words that are looked up: those that the model knows as one token.
struct word_list {
  std::vector<std::string> texts, dropped;
  std::vector<std::int32_t> ids;
  std::string why_none;  ///< said where there is none
};

/// Weights of one block's attention, float64 unless said otherwise; with the norm folded in where that is asked for.
struct block_weights {
  wf::tensor q, k, v, o;              // [head, d_model, d_head], o: [head, d_head, d_model]
  wf::tensor b_q, b_k, b_v, b_o;      // [head, d_head], b_o: [d_model]; zeros where the model has none
  wf::tensor norm_weight, norm_bias;  // of the norm that attention reads through; undefined: 1 and 0
  wf::tensor read_weight, read_bias;  // those that tokens are read with: none where they are folded in
  double scale = 1;                   // of the layer's scores
};

/// Whether a token is this word, but for case, spaces around it and a plural's s.
bool same_word(std::string_view token, std::string_view word) {
  auto const bare = [](std::string_view s) {
    std::string out;
    for (char const c : s)
      if (c != ' ') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return out;
  };
  std::string const a = bare(token), b = bare(word);
  return a == b || a == b + "s" || a + "s" == b;
}

}  // namespace

struct head_lookup final : wf::probe {
  explicit head_lookup(wf::config const& c)
      : blocks_(c["blocks"].integers()),
        words_(c["words"].texts()),
        word_ids_(c["word_ids"].integers()),
        k_(c["k"]),
        leading_space_(c["leading_space"]),
        query_bias_(c["query_bias"]),
        fold_(c["fold"].text() == "norm"),
        keys_(c["keys"]),
        outputs_(c["outputs"]),
        biases_(c["biases"]),
        truncated_(c["truncated_norms"]) {
    if (!words_.empty() && !word_ids_.empty()) throw wf::usage_error("both 'words' and 'word_ids' are given; leave one out");
  }

  void finish(wf::accumulator const&, wf::results& out, wf::probe_context const& at) const override {
    auto const& model = at.model();
    auto const& info = model.info();
    stack const top = wf::language::stack_of(info);
    auto const blocks = chosen(info, top);
    std::vector<block_weights> weights;
    for (auto const b : blocks) {
      wf::reading::require_bilinear_scores(info, top.block(b, ""), "head_lookup");
      weights.push_back(read(model, top, b));
    }

    wf::tensor numbers(wf::dtype::i64, {{"block", blocks.size()}});
    for (std::size_t b = 0; b < blocks.size(); ++b) numbers.view<std::int64_t>()(b) = static_cast<std::int64_t>(blocks[b]);
    writer to{out, numbers, {}, {}};
    for (std::size_t h = 0; h < info.heads; ++h) to.updates.push_back("head " + std::to_string(h));
    to.updates.push_back("sum of heads");

    wf::tensor const embedding = embedding_of(model, out);
    auto const words = embedding.defined() ? known_words(model) : word_list{};
    if (embedding.defined() && words.ids.empty())
      out.add("word_readings", std::vector<std::string>{"left out: " + words.why_none}).dims("note").view("table");
    if (!words.dropped.empty())
      out.add("dropped", words.dropped)
          .dims("dropped_word")
          .about("words left out: the model does not know them as one token")
          .view("table");
    if (!words.ids.empty()) {
      to.words = words.texts;
      out.add("word_ids", wf::tensor::of(words.ids, {{"word", words.ids.size()}}))
          .labels("word", words.texts)
          .about("tokens that are looked up")
          .view("table");
    }
    if (embedding.defined()) {
      look_up_keys(model, info, embedding, weights, words, to);
      if (outputs_ && !words.ids.empty()) {
        std::string why;
        try {
          static_cast<void>(model.unembed(normed(model, rows_of(embedding, {words.ids[0]}))));
        } catch (wf::data_error const& e) {  // a checkpoint without all that a forward pass needs has no logits
          why = e.what();
        }
        if (why.empty())
          look_up_outputs(model, info, embedding, weights, words, to);
        else
          out.add("output_readings", std::vector<std::string>{"left out: " + why}).dims("note").view("table");
      }
    } else if (biases_) {
      add_directions(info, weights, to);
    }
    out.summarise(!embedding.defined() ? "no embedding to look words up in: bias directions alone"
                  : words.ids.empty()  ? "no words: " + words.why_none
                                       : finding(out, words.ids.size(), blocks, info.heads));
  }

 private:
  /// Undefined if the checkpoint has none that fits the states: the results say why.
  static wf::tensor embedding_of(wf::model const& model, wf::results& out) {
    try {
      wf::tensor const embedding = model.weight("embed.W_E");
      if (embedding.size(1) != model.info().d_model)
        throw wf::data_error("embeddings have " + std::to_string(embedding.size(1)) + " dimensions and states " +
                             std::to_string(model.info().d_model));
      return embedding;
    } catch (wf::data_error const& e) {
      out.add("token_readings", std::vector<std::string>{std::string("left out: ") + e.what()}).dims("note").view("table");
      return {};
    }
  }

  /// The head whose keys are most often the words themselves.
  static std::string finding(wf::results const& out, std::size_t words, std::vector<std::size_t> const& blocks,
                             std::size_t heads) {
    auto const* const identity = out.find("keys/identity");
    std::string const n = wf::counted(words, "word");
    if (identity == nullptr || identity->values().count() == 0) return n + " looked up";
    wf::tensor const wide = identity->values().to(wf::dtype::f64);
    auto const share = wide.values<double const>();
    auto const best = static_cast<std::size_t>(std::max_element(share.begin(), share.end()) - share.begin());
    return "head " + std::to_string(blocks[best / heads]) + "." + std::to_string(best % heads) +
           " looks for the word itself most: " + wf::told(100 * share[best]) + " % of " + n + " are in their own list";
  }

  /// Adds datasets with the labels of the dimensions that they have.
  struct writer {
    wf::results& out;
    wf::tensor numbers;
    std::vector<std::string> updates, words;

    wf::dataset& label(wf::dataset& set) const {
      for (auto const& d : std::vector<wf::dim>(set.shape())) {
        if (d.name == "block") set.coordinate("block", numbers);
        if (d.name == "update") set.labels("update", updates);
        if (d.name == "word") set.labels("word", words);
      }
      return set;
    }
    wf::dataset& put(std::string name, wf::tensor values, char const* view) const {
      return label(out.add(std::move(name), std::move(values))).view(view);
    }
    /// Ids, scores and texts of lists of tokens; `lists` in the order of the dimensions before "rank".
    void put_lists(std::string const& name, wf::dims shape, std::vector<wf::reading::best_tokens> const& lists, std::size_t k,
                   wf::model const& m, std::string const& about, std::string const& scores_about) const {
      shape.push_back({"rank", k});
      wf::tensor const ids(wf::dtype::i32, shape), scores(wf::dtype::f32, shape);
      std::vector<std::string> texts;
      for (std::size_t i = 0; i < lists.size(); ++i) {
        if (lists[i].list.size() < k)
          throw wf::data_error("the weights hold numbers that are not finite, so tokens can't be ranked for " + name);
        for (std::size_t r = 0; r < k; ++r) {
          auto const& [score, id] = lists[i].list[r];
          ids.values<std::int32_t>()[i * k + r] = id, scores.values<float>()[i * k + r] = score;
          texts.push_back(m.token_text(id));
        }
      }
      put(name + "_ids", ids, "table").about(about);
      put(name + "_scores", scores, "heatmap").about(scores_about);
      label(out.add(name + "_tokens", std::move(texts), shape)).view("lens").about("texts of " + name + "_ids");
    }
  };

  std::vector<std::size_t> chosen(wf::model_info const& info, stack const& top) const {
    std::vector<std::size_t> all;
    std::vector<wf::parameter_problem> wrong;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      auto const from_end = blocks_[i] < 0 ? blocks_[i] + static_cast<std::int64_t>(top.layers) : blocks_[i];
      if (from_end < 0 || static_cast<std::size_t>(from_end) >= top.layers)
        wrong.push_back({"blocks", i,
                         "'blocks' names block " + std::to_string(blocks_[i]) + ", but " + info.architecture +
                             " has blocks 0 to " + std::to_string(top.layers - 1)});
      all.push_back(static_cast<std::size_t>(from_end));
    }
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
    if (!all.empty()) return all;
    for (std::size_t const b : {std::size_t{0}, (top.layers - 1) / 2, top.layers - 1})
      if (all.empty() || b > all.back()) all.push_back(b);
    return all;
  }

  block_weights read(wf::model const& m, stack const& top, std::size_t block) const {
    auto const& names = m.info().weights;
    auto const& info = m.info();
    auto const get = [&](std::string const& rest, wf::dims const& otherwise = {}) {
      std::string const name = top.block(block, rest);
      if (std::find(names.begin(), names.end(), name) != names.end()) {
        bool const of_keys = rest == "attn.b_K" || rest == "attn.b_V";
        return (of_keys ? wf::reading::for_each_head(m.weight(name), info.heads) : m.weight(name)).to(wf::dtype::f64);
      }
      return otherwise.empty() ? wf::tensor() : wf::tensor(wf::dtype::f64, otherwise);
    };
    wf::dims const per_head{{"head", info.heads}, {"d_head", info.d_head}};
    block_weights w{m.weight(top.block(block, "attn.W_Q")).to(wf::dtype::f64),
                    wf::reading::for_each_head(m.weight(top.block(block, "attn.W_K")), info.heads).to(wf::dtype::f64),
                    wf::reading::for_each_head(m.weight(top.block(block, "attn.W_V")), info.heads).to(wf::dtype::f64),
                    m.weight(top.block(block, "attn.W_O")).to(wf::dtype::f64),
                    get("attn.b_Q", per_head),
                    get("attn.b_K", per_head),
                    get("attn.b_V", per_head),
                    get("attn.b_O", {{"d_model", info.d_model}}),
                    get("ln1.w"),
                    get("ln1.b"),
                    {},
                    {},
                    info.attention_scale_of(block)};
    w.read_weight = w.norm_weight, w.read_bias = w.norm_bias;
    if (!fold_ || !w.norm_weight.defined()) return w;
    // LN(x) W + b = n(x) [Pi G W] + [beta W + b], for queries, keys and values alike; biases first, from the unfolded matrices.
    bool const centred = info.norm == wf::norm_kind::layer;
    for (auto* const pair : {&w.q, &w.k, &w.v}) {
      wf::tensor& bias = pair == &w.q ? w.b_q : pair == &w.k ? w.b_k : w.b_v;
      wf::tensor const all(wf::dtype::f64, pair->shape()), folded_bias = bias.clone();
      for (std::size_t h = 0; h < info.heads; ++h) {
        wf::tensor const one = (*pair)[h];
        wf::copy_into(all[h], wf::reading::folded(one, w.norm_weight, centred));
        if (!w.norm_bias.defined()) continue;
        for (std::size_t j = 0; j < info.d_head; ++j)
          for (std::size_t x = 0; x < info.d_model; ++x) folded_bias(h, j) += w.norm_bias(x) * one(x, j);
      }
      *pair = all, bias = folded_bias;
    }
    w.read_weight = w.read_bias = wf::tensor();
    return w;
  }

  word_list known_words(wf::model const& m) const {
    word_list words;
    std::size_t const V = m.info().vocabulary;
    for (auto const id : word_ids_) {
      if (id < 0 || static_cast<std::size_t>(id) >= V)
        throw wf::usage_error("'word_ids' names token " + std::to_string(id) + ", but the model's are 0 to " +
                              std::to_string(V - 1));
      words.ids.push_back(static_cast<std::int32_t>(id)), words.texts.push_back(m.token_text(words.ids.back()));
    }
    if (!word_ids_.empty()) return words;
    auto const* tokenizer = m.text_tokenizer();
    if (tokenizer == nullptr) {
      words.why_none = "the model has no tokenizer to look words up with; give 'word_ids'";
      if (!words_.empty()) throw wf::usage_error("'words': " + words.why_none);
      return words;
    }
    std::vector<std::string> wanted(words_.begin(), words_.end());
    if (wanted.empty()) wanted.assign(wf::lookup::common_nouns.begin(), wf::lookup::common_nouns.end());
    for (auto const& word : wanted) {
      auto const ids = tokenizer->encode((leading_space_ ? " " : "") + word, {.special = false, .ends = false}).ids;
      if (ids.size() != 1 || static_cast<std::size_t>(ids[0]) >= V) {
        words.dropped.push_back(word);
        continue;
      }
      words.texts.push_back(word), words.ids.push_back(ids[0]);
    }
    if (words.ids.empty()) {
      words.why_none = "the model knows none of the words as one token";
      if (!words_.empty())
        throw wf::usage_error("'words': " + words.why_none + ", such as " +
                              wf::in_quotes((leading_space_ ? " " : "") + wanted[0]) +
                              "; try leading_space: " + (leading_space_ ? "false" : "true"));
    }
    return words;
  }

  /// What attention reads of tokens [first, last): [token, d_model], float32.
  static wf::tensor reads(wf::tensor const& tokens, block_weights const& w, wf::model_info const& info) {
    if (info.norm == wf::norm_kind::none || !w.norm_weight.defined()) return tokens.to(wf::dtype::f32);
    return wf::reading::normalized(tokens, info.norm == wf::norm_kind::layer, info.norm_epsilon, w.read_weight, w.read_bias);
  }

  static wf::tensor rows_of(wf::tensor const& embedding, std::vector<std::int32_t> const& ids) {
    wf::tensor const out(wf::dtype::f32, {{"word", ids.size()}, {"d_model", embedding.size(1)}});
    for (std::size_t i = 0; i < ids.size(); ++i) wf::copy_into(out[i], embedding[static_cast<std::size_t>(ids[i])]);
    return out;
  }

  /// x W + b of one head, [word, d_head], float64.
  static wf::tensor through(wf::tensor const& x, wf::tensor const& w, wf::tensor const& b) {
    wf::tensor const y = wf::matmul(x.to(wf::dtype::f64), w);
    for (std::size_t i = 0; i < y.size(0); ++i)
      for (std::size_t j = 0; j < y.size(1); ++j) y(i, j) += b(j);
    return y;
  }

  /// E6: W_Q b_K and W_K b_Q of every head, [query then key][head][d_model], float32.
  static wf::tensor directions(wf::model_info const& info, block_weights const& w) {
    wf::tensor const out(wf::dtype::f32, {{"side", 2}, {"head", info.heads}, {"d_model", info.d_model}});
    auto const to = out.view<float>();
    for (std::size_t h = 0; h < info.heads; ++h)
      for (std::size_t x = 0; x < info.d_model; ++x) {
        double query = 0, key = 0;
        for (std::size_t j = 0; j < info.d_head; ++j) query += w.q(h, x, j) * w.b_k(h, j), key += w.k(h, x, j) * w.b_q(h, j);
        to(0, h, x) = static_cast<float>(query), to(1, h, x) = static_cast<float>(key);
      }
    return out;
  }

  void add_directions(wf::model_info const& info, std::vector<block_weights> const& weights, writer const& to) const {
    wf::dims const shape{{"block", weights.size()}, {"head", info.heads}, {"d_model", info.d_model}};
    wf::tensor const query(wf::dtype::f32, shape), key(wf::dtype::f32, shape);
    for (std::size_t b = 0; b < weights.size(); ++b) {
      wf::tensor const both = directions(info, weights[b]);
      wf::copy_into(query[b], both[0]), wf::copy_into(key[b], both[1]);
    }
    to.put("bias/query", query, "heatmap")
        .about("W_Q b_K: what the key bias adds to a query's scores; the same for all keys, so it never changes attention");
    to.put("bias/key", key, "heatmap").about("W_K b_Q: what the query bias favours in keys, for every query");
  }

  /// E3 and the tokens of E6.
  void look_up_keys(wf::model const& model, wf::model_info const& info, wf::tensor const& embedding,
                    std::vector<block_weights> const& weights, word_list const& words, writer const& to) const {
    std::size_t const B = weights.size(), H = info.heads, r = info.d_head, N = keys_ ? words.ids.size() : 0,
                      V = embedding.size(0), k = std::min(k_, V);
    std::vector<wf::reading::best_tokens> keys;           // [block, head, word]
    std::vector<wf::reading::best_tokens> leaning[2][2];  // [side][along, against]: [block, head]
    for (auto const& w : weights) {
      wf::tensor const asked = reads(rows_of(embedding, words.ids), w, info);
      wf::tensor const none(wf::dtype::f64, {{"d_head", r}});
      std::vector<wf::tensor> queries;
      for (std::size_t h = 0; h < H && N > 0; ++h)
        queries.push_back((through(asked, w.q[h], query_bias_ ? w.b_q[h] : none) * w.scale).to(wf::dtype::f32));
      wf::tensor const key_weights(wf::dtype::f32, {{"d_model", info.d_model}, {"key", H * r}});
      for (std::size_t h = 0; h < H; ++h) wf::copy_into(key_weights.slice(1, h * r, (h + 1) * r), w.k[h]);
      wf::tensor const bias = directions(info, w).reshaped({{"direction", 2 * H}, {"d_model", info.d_model}});
      auto const found = wf::reading::read_chunks(
          V, H * N + (biases_ ? 4 * H : 0), k, [&](std::size_t first, std::size_t last, auto const& give) {
            wf::tensor const tokens = reads(embedding.slice(0, first, last), w, info);
            if (N > 0) {
              wf::tensor const all = wf::matmul(tokens, key_weights);
              for (std::size_t h = 0; h < H; ++h) {
                wf::tensor const scores = wf::matmul(queries[h], all.slice(1, h * r, (h + 1) * r).transposed());
                for (std::size_t i = 0; i < N; ++i) give(h * N + i, scores.view<float const>().row(i), false);
              }
            }
            if (!biases_) return;
            wf::tensor const scores = wf::matmul(bias, tokens.transposed());
            for (std::size_t i = 0; i < 2 * H; ++i) {
              give(H * N + i, scores.view<float const>().row(i), false);
              give(H * N + 2 * H + i, scores.view<float const>().row(i), true);
            }
          });
      auto const from = [&](std::size_t i) { return found.begin() + static_cast<std::ptrdiff_t>(i); };
      keys.insert(keys.end(), from(0), from(H * N));
      for (std::size_t end = 0; end < 2 && biases_; ++end)
        for (std::size_t side = 0; side < 2; ++side) {
          std::size_t const first = H * N + (end * 2 + side) * H;
          leaning[side][end].insert(leaning[side][end].end(), from(first), from(first + H));
        }
    }
    if (N > 0) {
      to.put_lists("keys/top", {{"block", B}, {"head", H}, {"word", N}}, keys, k, model,
                   "tokens that a query of the word scores highest, by W_QK",
                   std::string("their scores, times the attention scale") + (query_bias_ ? "" : "; the query bias is left out") +
                       (fold_ ? "; the norm is folded into the weights" : ""));
      add_identity("keys/identity", {{"block", B}, {"head", H}}, keys, words, model, to);
    }
    if (!biases_) return;
    add_directions(info, weights, to);
    char const* const sides[] = {"query", "key"};
    char const* const ends[] = {"along", "against"};
    for (std::size_t side = 0; side < 2; ++side)
      for (std::size_t end = 0; end < 2; ++end)
        to.put_lists(std::string("bias/") + sides[side] + "_" + ends[end], {{"block", B}, {"head", H}}, leaning[side][end], k,
                     model,
                     std::string("tokens of largest inner product ") + (end == 0 ? "with" : "against") + " bias/" + sides[side],
                     end == 0 ? "their inner products" : "their inner products, the sign turned");
  }

  static wf::tensor normed(wf::model const& m, wf::tensor const& states) {
    return m.info().norm == wf::norm_kind::none ? states : m.final_norm(states);
  }

  /// E4.
  void look_up_outputs(wf::model const& model, wf::model_info const& info, wf::tensor const& embedding,
                       std::vector<block_weights> const& weights, word_list const& words, writer const& to) const {
    std::size_t const B = weights.size(), H = info.heads, N = words.ids.size(), d = info.d_model, V = embedding.size(0),
                      k = std::min(k_, V);
    wf::tensor const norms(wf::dtype::f32, {{"block", B}, {"update", H + 1}, {"word", N}});
    std::vector<wf::reading::best_tokens> lists(B * (H + 1) * N);
    wf::tensor const start = rows_of(embedding, words.ids);
    for (std::size_t b = 0; b < B; ++b) {
      auto const& w = weights[b];
      wf::tensor const read = reads(start, w, info);
      wf::tensor const states(wf::dtype::f32, {{"row", (H + 1) * N}, {"d_model", d}});
      wf::tensor const sum(wf::dtype::f64, {{"word", N}, {"d_model", d}});
      auto const place = [&](std::size_t update, wf::tensor const& u) {
        for (std::size_t i = 0; i < N; ++i) {
          auto const row = u.view<double const>().row(i);
          norms.view<float>()(b, update, i) = static_cast<float>(std::sqrt(wf::dot(row, row)));
          auto const state = states.view<float>().row(update * N + i);
          auto const word = start.view<float const>().row(i);
          for (std::size_t x = 0; x < d; ++x) state[x] = static_cast<float>(static_cast<double>(word[x]) + row[x] + w.b_o(x));
        }
      };
      for (std::size_t h = 0; h < H; ++h) {
        wf::tensor const u = wf::matmul(through(read, w.v[h], w.b_v[h]), w.o[h]);
        wf::add_into(sum, u.named({"word", "d_model"}));
        place(h, u);
      }
      place(H, sum);
      wf::vocabulary_question question;
      question.likeliest = k;
      auto const found = wf::language::read_vocabulary(model, normed(model, states), question);
      for (std::size_t i = 0; i < found.size(); ++i)
        for (auto const& [token, logit] : found[i].likeliest)
          lists[b * found.size() + i].list.emplace_back(static_cast<float>(logit), token);
    }
    to.put_lists("outputs/top", {{"block", B}, {"update", H + 1}, {"word", N}}, lists, k, model,
                 "likeliest tokens once a head, or all of them, have added what they read of the word itself to its embedding",
                 "their logits");
    add_identity("outputs/identity", {{"block", B}, {"update", H + 1}}, lists, words, model, to);
    to.put("outputs/norm", norms, "heatmap").about("length of what each head, or all of them, add, without the output bias");
    if (!truncated_) return;
    wf::tensor const whole(wf::dtype::i64, norms.shape());
    for (std::size_t i = 0; i < norms.count(); ++i)
      whole.values<std::int64_t>()[i] = static_cast<std::int64_t>(norms.values<float const>()[i]);
    to.put("outputs/truncated_norm", whole, "heatmap").about("the same cut to whole numbers, as the published code prints it");
  }

  static void add_identity(std::string const& name, wf::dims const& shape, std::vector<wf::reading::best_tokens> const& lists,
                           word_list const& words, wf::model const& m, writer const& to) {
    wf::tensor const share(wf::dtype::f64, shape);
    auto const values = share.values<double>();
    std::size_t const N = words.ids.size();
    for (std::size_t i = 0; i < values.size(); ++i)
      for (std::size_t n = 0; n < N; ++n) {
        auto const& list = lists[i * N + n].list;
        if (std::any_of(list.begin(), list.end(),
                        [&](auto const& t) { return same_word(m.token_text(t.second), words.texts[n]); }))
          values[i] += 1 / static_cast<double>(N);
      }
    to.put(name, share, "heatmap").about("share of the words that are in their own list, but for case, spaces and a plural's s");
  }

  std::vector<std::int64_t> blocks_;
  std::vector<std::string> words_;
  std::vector<std::int64_t> word_ids_;
  std::size_t k_;
  bool leading_space_, query_bias_, fold_, keys_, outputs_, biases_, truncated_;
};

WAYFARER_PROBE(
    head_lookup, "1.0.0", "The words that each head would attend to, and would predict, for single words",
    wf::port::model("model"),
    wf::param("blocks", wf::integers(""), "blocks to look at, negative from the end; none: the first, the middle and the last"),
    wf::param("words", wf::strings(), "words to look up, those that are one token; none: the paper's 100 common nouns"),
    wf::param("word_ids", wf::integers(""), "the same as token ids"),
    wf::param("k", 5, "tokens listed").in("token").between(1, 1000),
    wf::param("leading_space", true, "look words up as inside a text; false, as published: as its first word"),
    wf::param("query_bias", true, "let the query bias take part, as it does in the model; false, as published: leave it out"),
    wf::param("fold", "none", "norm: read words as points of the sphere and fold the norm into the weights and biases")
        .one_of("none|norm"),
    wf::param("keys", true, "what each head attends to"), wf::param("outputs", true, "what each head predicts"),
    wf::param("biases", true, "what the biases favour"),
    wf::param("truncated_norms", false, "lengths cut to whole numbers too, as published"));
