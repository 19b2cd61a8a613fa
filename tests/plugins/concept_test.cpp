// The concept-space probes against their definitions written out here in float64, on the tiny checkpoints that the runs use.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include <probes/common/composition.hpp>
#include <wayfarer/error.hpp>

#include "run_plugins.hpp"

namespace {

namespace wf = wayfarer;
namespace wc = wayfarer::concepts;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using settings = wf::test::values;
using row = std::vector<double>;
using matrix = std::vector<row>;
using texts = std::vector<std::string>;

// ---- questions -------------------------------------------------------------------------------------------------------------

struct question {
  std::vector<texts> examples;  ///< each question and answer; the last one the question alone
  texts answers;
  int gold = 0;
};

struct questions final : wf::source {
  explicit questions(std::vector<question> all) : all_(std::move(all)) {
    info_.items = all_.size(), info_.has_texts = info_.has_choices = true;
  }
  wf::source_info const& info() const override { return info_; }
  wf::item_block read(wf::item_range r) const override {
    wf::item_block b;
    b.first = r.first, b.count = r.size();
    std::vector<std::int32_t> gold;
    for (std::size_t i = r.first; i < r.last; ++i) {
      std::string text;
      texts segments;
      std::vector<std::int32_t> example;
      for (std::size_t e = 0; e < all_[i].examples.size(); ++e) {
        if (e > 0) text += "\n\n";
        for (auto const& s : all_[i].examples[e]) text += s, segments.push_back(s), example.push_back(static_cast<int>(e));
      }
      b.texts.push_back(text);
      if (in_pieces) b.segments.push_back(segments), b.segment_example.push_back(example);
      b.choices.push_back(all_[i].answers);
      gold.push_back(all_[i].gold);
    }
    if (says_gold) b.truth["gold"] = wf::tensor::of(gold, {{"item", gold.size()}});
    return b;
  }
  bool in_pieces = true, says_gold = true;

 private:
  std::vector<question> all_;
  wf::source_info info_;
};

texts const some_answers[] = {{" went home.", " ate a key", " sat.", " gave Ben a rose to keep"},
                              {" is in Rome", " is no map. It is a key", " ran", " sang a song."}};

/// Without examples, and with two that come again in other items.
questions few_shot(bool examples = true) {
  texts const first{"Anna went to Rome. Ben", " gave a key. To Anna."}, second{"Emma had a map.", " It was old"};
  std::vector<question> all;
  for (int i = 0; i < 5; ++i) {
    question q;
    if (examples) q.examples = i % 2 == 0 ? std::vector<texts>{first, second} : std::vector<texts>{second, first};
    q.examples.push_back({"Then Hugo went to Oslo. He saw a map." + std::string(static_cast<std::size_t>(i), 'a') + " He"});
    q.answers = some_answers[i % 2];
    q.gold = i % 4;
    all.push_back(q);
  }
  return questions(std::move(all));
}

// ---- models ----------------------------------------------------------------------------------------------------------------

std::shared_ptr<wf::model> open(std::string const& id) {
  std::shared_ptr<wf::model> m = wf::test::make<wf::model>(id, {{"path", WAYFARER_SOURCE_DIR "/runs/data/tiny-" + id}});
  m->load();
  return m;
}

/// A model that counts what it is run on.
struct counting final : wf::model {
  explicit counting(std::shared_ptr<wf::model> of) : of_(std::move(of)) {}
  wf::model_info const& info() const override { return of_->info(); }
  wf::batch encode(wf::item_block const& b, wf::encode_options const& o) const override { return of_->encode(b, o); }
  std::string token_text(std::int32_t t) const override { return of_->token_text(t); }
  wf::tokenizer const* text_tokenizer() const override { return of_->text_tokenizer(); }
  wf::activations run(wf::batch const& b, wf::run_request const& r) const override {
    ++passes, sequences += b.items();
    for (auto const& h : r.capture.names()) decoded = decoded || h.starts_with("decoder") || h == "logits";
    return of_->run(b, r);
  }
  wf::tensor weight(std::string_view name) const override { return of_->weight(name); }
  mutable std::atomic<std::size_t> passes{0}, sequences{0};
  mutable std::atomic<bool> decoded{false};

 private:
  std::shared_ptr<wf::model> of_;
};

/// How probes are observed together.
struct feeding {
  std::size_t block = 2;
  bool shared = true;
  bool announced = true;
  std::vector<wf::hook_edit> edits{};
  wf::dtype precision = wf::dtype::f32;
};

/// As the host would: probes of one sweep, blocks in order.
std::vector<wf::results> observe(std::vector<std::shared_ptr<wf::probe>> const& probes, wf::model const& m, wf::source const& s,
                                 feeding const& how = {}) {
  std::size_t const items = s.info().items;
  wf::probe_context const at(&m, &s, {0, items}, 0);
  wf::shared_values of_sweep;
  if (how.shared && how.announced)
    for (auto const& p : probes) p->announce(of_sweep, at);
  std::vector<std::unique_ptr<wf::accumulator>> whole(probes.size());
  for (std::size_t first = 0; first < items; first += how.block) {
    auto const some = s.read({first, std::min(items, first + how.block)});
    auto const tokens = m.encode(some, {});
    wf::activations const nothing;
    wf::run_request request;
    request.edits = how.edits, request.precision = how.precision;
    wf::shared_values of_block;
    for (std::size_t p = 0; p < probes.size(); ++p) {
      auto part = std::make_unique<wf::accumulator>(some.count);
      probes[p]->shape(*part, at);
      wf::sample const seen(some, tokens, nothing, 7, &request, how.shared ? &of_block : nullptr,
                            how.shared ? &of_sweep : nullptr);
      probes[p]->observe(*part, seen, at);
      if (whole[p])
        probes[p]->merge(*whole[p], *part);
      else
        whole[p] = std::move(part);
    }
  }
  std::vector<wf::results> out(probes.size());
  for (std::size_t p = 0; p < probes.size(); ++p) probes[p]->finish(*whole[p], out[p], at);
  return out;
}

wf::results observe(std::string const& id, settings given, wf::model const& m, wf::source const& s, feeding const& how = {}) {
  return std::move(observe({wf::test::make_probe(id, std::move(given))}, m, s, how)[0]);
}

matrix scores_of(wf::results const& r) {
  auto const t = r.at("scores").values();
  matrix out(t.size(0), row(t.size(1)));
  for (std::size_t i = 0; i < out.size(); ++i)
    for (std::size_t k = 0; k < out[i].size(); ++k) out[i][k] = t.get({i, k});
  return out;
}

void expect_same_bytes(wf::results const& a, wf::results const& b, std::string const& what) {
  ASSERT_EQ(a.names(), b.names());
  for (auto const& name : a.names()) {
    auto const &x = a.at(name).values(), &y = b.at(name).values();
    ASSERT_EQ(x.bytes(), y.bytes()) << name << ", " << what;
    EXPECT_EQ(std::memcmp(x.raw(), y.raw(), x.bytes()), 0) << name << ", " << what;
  }
}

double difference(matrix const& a, matrix const& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t k = 0; k < a[i].size(); ++k)
      most = std::max(most, std::abs(a[i][k] - b.at(i).at(k)) / (1 + std::abs(b[i][k])));
  return most;
}

// ---- the definitions, written out -------------------------------------------------------------------------------------------

double gelu_new(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double relu(double x) {
  return x > 0 ? x : 0;
}

row standardised(row x) {
  double mean = 0, variance = 0;
  for (double v : x) mean += v / static_cast<double>(x.size());
  for (double v : x) variance += (v - mean) * (v - mean) / static_cast<double>(x.size());
  for (double& v : x) v = (v - mean) / std::sqrt(variance + 1e-5);
  return x;
}

row normed(row x, std::string const& norm) {
  double const n = static_cast<double>(x.size());
  double square = 0, mean = 0, spread = 0;
  for (double v : x) square += v * v, mean += v / n;
  for (double v : x) spread += (v - mean) * (v - mean) / (n - 1);
  if (norm == "l2")
    for (double& v : x) v /= std::sqrt(square);
  if (norm == "var")
    for (double& v : x) v /= std::sqrt(spread);
  return norm == "z" || norm == "layer" ? standardised(x) : x;
}

/// Word aggregation by the author's names.
matrix pooled(matrix const& states, std::string word, std::function<double(double)> const& a) {
  matrix x = states;
  auto const takes = [&](std::string const& step) {
    if (!word.starts_with(step + "|")) return false;
    word.erase(0, step.size() + 1);
    return true;
  };
  auto const each = [&](std::function<double(double)> const& f) {
    for (auto& r : x)
      for (double& v : r) v = f(v);
  };
  if (takes("relu")) each(a);
  if (takes("-relu")) each([&](double v) { return -a(-v); });
  if (takes("relu+")) each([&](double v) { return v + a(v); });
  if (takes("-relu+")) each([&](double v) { return v - a(-v); });
  if (takes("zNorm"))
    for (auto& r : x) r = standardised(r);
  if (takes("zNorm+"))
    for (std::size_t t = 0; t < x.size(); ++t) {
      x[t] = standardised(x[t]);
      for (std::size_t j = 0; j < x[t].size(); ++j) x[t][j] += states[t][j];
    }
  if (word == "concat") return x;
  if (word == "last") return {x.back()};
  row out(x[0].size());
  double total = 0;
  for (std::size_t t = 0; t < x.size(); ++t) {
    double const weight = word == "w1mean" ? static_cast<double>(t) + 1 : 1;
    total += weight;
    for (std::size_t j = 0; j < out.size(); ++j) out[j] += weight * x[t][j];
  }
  for (double& v : out) v /= total;
  return {out};
}

row mean(matrix const& all) {
  row out(all[0].size());
  for (auto const& r : all)
    for (std::size_t j = 0; j < r.size(); ++j) out[j] += r[j] / static_cast<double>(all.size());
  return out;
}

struct setting {
  std::string scheme = "concat_all", word = "mean", segment = "mean", example = "mean", norm = "none", similarity = "dot",
              layer = "top";
  settings parameters() const {
    return {{"scheme", scheme}, {"word", word},   {"segment", segment},      {"example", example},
            {"norm", norm},     {"layer", layer}, {"similarity", similarity}};
  }
  std::string text() const {
    return scheme + " " + word + " " + segment + " " + example + " " + norm + " " + similarity + " " + layer;
  }
};

/// The definition of Test 2, one item at a time, each segment alone.
struct oracle {
  std::shared_ptr<wf::model> m;
  bool t5;

  matrix states(std::string const& text, std::string const& layer) const {
    auto const ids = m->text_tokenizer()->encode(text, {.special = true, .ends = true}).ids;
    matrix out;
    if (layer == "E" || layer == "OE") {
      auto const w = m->weight(layer == "E" ? "embed.W_E" : "unembed.W_U");
      for (auto const id : ids) {
        auto const t = static_cast<std::size_t>(id);
        out.emplace_back();
        for (std::size_t j = 0; j < m->info().d_model; ++j) out.back().push_back(layer == "E" ? w.get({t, j}) : w.get({j, t}));
      }
      return out;
    }
    std::string const hook = layer == "top"      ? (t5 ? "encoder_final_ln.hook_out" : "ln_final.hook_out")
                             : layer == "middle" ? (t5 ? "encoder.1.hook_resid_pre" : "blocks.1.hook_resid_pre")
                                                 : (t5 ? "encoder.0.hook_resid_pre" : "blocks.0.hook_resid_pre");
    wf::batch b;
    b.tokens.push_back(std::span<std::int32_t const>(ids));
    wf::run_request request;
    request.capture = m->info().hooks_for(hook);
    auto const x = m->run(b, request).at(hook, 0);
    for (std::size_t t = 0; t < x.size(0); ++t) {
      out.emplace_back();
      for (std::size_t j = 0; j < x.size(1); ++j) out.back().push_back(x.get({t, j}));
    }
    return out;
  }

  static std::vector<texts> cut(wf::item_block const& b, std::size_t i, std::string const& scheme) {
    if (scheme == "concat_all") return {{b.texts[i]}};
    std::vector<texts> examples;
    for (std::size_t s = 0; s < b.segments[i].size(); ++s) {
      auto const e = static_cast<std::size_t>(b.segment_example[i][s]);
      examples.resize(std::max(examples.size(), e + 1));
      examples[e].push_back(b.segments[i][s]);
    }
    if (scheme == "segment_each") return examples;
    std::vector<texts> out;
    if (scheme == "merge_all") out.emplace_back();
    for (auto const& e : examples) {
      if (scheme == "merge_all") out[0].insert(out[0].end(), e.begin(), e.end());
      if (scheme == "concat_each") out.push_back({std::accumulate(e.begin(), e.end(), std::string())});
      if (scheme == "sentences") {
        out.emplace_back();
        for (std::string rest : e)
          while (!rest.empty()) {
            auto const end = rest.find(". ");
            out.back().push_back(rest.substr(0, end == rest.npos ? end : end + 1));
            rest = end == rest.npos ? "" : rest.substr(end + 1);
          }
      }
    }
    return out;
  }

  matrix scores(wf::source const& s, setting const& how) const {
    auto const a = t5 ? relu : gelu_new;
    auto const norm = [&](row const& x) { return how.word.ends_with("last") ? x : normed(x, how.norm); };
    matrix out;
    auto const b = s.read({0, s.info().items});
    for (std::size_t i = 0; i < b.count; ++i) {
      matrix context;
      for (auto const& example : cut(b, i, how.scheme)) {
        matrix of_segments;
        for (auto const& segment : example) of_segments.push_back(norm(pooled(states(segment, how.layer), how.word, a)[0]));
        if (how.segment == "mean") of_segments = {normed(mean(of_segments), how.norm)};
        context.insert(context.end(), of_segments.begin(), of_segments.end());
      }
      if (how.example == "mean") context = {normed(mean(context), how.norm)};
      out.emplace_back();
      auto const dot = [](row const& x, row const& y) { return std::inner_product(x.begin(), x.end(), y.begin(), 0.0); };
      for (auto const& text : b.choices[i]) {
        row const y = norm(pooled(states(text, how.layer), how.word, a)[0]);
        matrix near = context;
        if (how.example == "soft_cluster") {
          row sum(y.size());
          double total = 0;
          for (auto const& c : context) total += std::exp(dot(y, c));
          for (auto const& c : context)
            for (std::size_t j = 0; j < y.size(); ++j) sum[j] += std::exp(dot(y, c)) / total * c[j];
          near = {normed(sum, how.norm)};
        }
        double best = -INFINITY;
        for (auto const& c : near)
          best = std::max(best, how.similarity == "dot" ? dot(c, y) : dot(c, y) / std::sqrt(dot(c, c) * dot(y, y)));
        out.back().push_back(best);
      }
    }
    return out;
  }
};

std::vector<setting> all_settings() {
  std::vector<setting> all;
  for (char const* scheme : {"concat_all", "concat_each", "segment_each", "sentences", "merge_all"})
    for (char const* norm : {"none", "l2", "layer", "z", "var"})
      for (char const* similarity : {"dot", "cosine"}) all.push_back({scheme, "mean", "mean", "mean", norm, similarity, "top"});
  for (char const* segment : {"none", "mean"})
    for (char const* example : {"none", "mean", "soft_cluster"})
      for (char const* word : {"w1mean", "last"}) all.push_back({"sentences", word, segment, example, "l2", "dot", "middle"});
  for (char const* step : {"relu|", "-relu|", "relu+|", "-relu+|"})
    for (char const* norm : {"", "zNorm|", "zNorm+|"})
      for (char const* word : {"mean", "w1mean", "last"})
        all.push_back({"segment_each", std::string(step) + norm + word, "mean", "none", "none", "dot", "0"});
  for (char const* layer : {"E", "OE", "0", "middle", "top"})
    all.push_back({"concat_each", "zNorm|mean", "none", "mean", "var", "cosine", layer});
  return all;
}

// ---- cutting ---------------------------------------------------------------------------------------------------------------

TEST(cutting, ends_sentences_at_full_stops_before_white_space) {
  struct example {
    std::string text;
    std::vector<std::string_view> sentences;
  };
  for (auto const& [text, sentences] :
       std::initializer_list<example>{{"", {}},
                                      {"One", {"One"}},
                                      {"One.", {"One."}},
                                      {"One. Two", {"One.", " Two"}},
                                      {" One. Two.", {" One.", " Two."}},
                                      {"One.Two", {"One.Two"}},
                                      {"1.5 m. wide", {"1.5 m.", " wide"}},
                                      {"Mr. B", {"Mr.", " B"}},
                                      {"So... then. ", {"So...", " then.", " "}},
                                      {"a.\n\nb.\tc", {"a.", "\n\nb.", "\tc"}},
                                      {"a.\u00a0b.\u2009c.\u3000d", {"a.", "\u00a0b.", "\u2009c.", "\u3000d"}},
                                      {"a.\u2019 b", {"a.\u2019 b"}},
                                      {". .", {".", " ."}},
                                      {"Why? No! Yes", {"Why? No! Yes"}}})
    EXPECT_EQ(wc::sentences_of(text), sentences) << text;
}

TEST(cutting, makes_the_pyramid_of_each_scheme) {
  questions const s({{{{"Anna sat. Ben", " ran. Far."}, {"", " end"}, {"Who? He. She"}}, {" a", " b"}, 0}});
  auto const b = s.read({0, 1});
  using c = wc::cutting;
  EXPECT_THAT(wc::cut(b, 0, c::concat_all), ElementsAre(texts{"Anna sat. Ben ran. Far.\n\n end\n\nWho? He. She"}));
  EXPECT_THAT(wc::cut(b, 0, c::concat_each), ElementsAre(texts{"Anna sat. Ben ran. Far."}, texts{" end"}, texts{"Who? He. She"}));
  EXPECT_THAT(wc::cut(b, 0, c::segment_each),
              ElementsAre(texts{"Anna sat. Ben", " ran. Far."}, texts{" end"}, texts{"Who? He. She"}));
  EXPECT_THAT(wc::cut(b, 0, c::sentences),
              ElementsAre(texts{"Anna sat.", " Ben", " ran.", " Far."}, texts{" end"}, texts{"Who? He.", " She"}));
  EXPECT_THAT(wc::cut(b, 0, c::merge_all), ElementsAre(texts{"Anna sat. Ben", " ran. Far.", " end", "Who? He. She"}));
  questions whole({{{{"One. Two"}}, {" a", " b"}, 0}});
  whole.in_pieces = false;
  auto const w = whole.read({0, 1});
  for (auto const how : {c::concat_each, c::segment_each, c::merge_all})
    EXPECT_THAT(wc::cut(w, 0, how), ElementsAre(texts{"One. Two"}));
  EXPECT_THAT(wc::cut(w, 0, c::sentences), ElementsAre(texts{"One.", " Two"}));
  auto odd = b;
  odd.segment_example = {};
  odd.segment_example.push_back(std::vector<std::int32_t>{0, 0});
  EXPECT_THROW(wc::cut(odd, 0, c::sentences), wf::data_error);
}

// ---- composing -------------------------------------------------------------------------------------------------------------

TEST(word_rules, are_their_definitions_for_every_prefix_and_pooling) {
  for (std::size_t const n : {1u, 2u, 7u}) {
    matrix states(n, row(5));
    wc::vectors given{5, {}};
    wf::random_stream draw(1, "states", n);
    for (auto& r : states) {
      for (double& v : r) v = 2 * draw.normal();
      given.push_back(r);
    }
    for (char const* step : {"", "relu|", "-relu|", "relu+|", "-relu+|"})
      for (char const* norm : {"", "zNorm|", "zNorm+|"})
        for (char const* word : {"mean", "w1mean", "last", "concat"})
          for (auto const& [kind, a] :
               {std::pair{wf::activation::relu, &relu}, std::pair{wf::activation::gelu_tanh, &gelu_new}}) {
            std::string const text = std::string(step) + norm + word;
            auto const made = wc::word_rule(text, "word")(given, kind);
            auto const wanted = pooled(states, text, a);
            ASSERT_EQ(made.count(), wanted.size()) << text;
            for (std::size_t t = 0; t < wanted.size(); ++t)
              for (std::size_t j = 0; j < 5; ++j) EXPECT_NEAR(made[t][j], wanted[t][j], 1e-12) << text << " of " << n;
          }
    if (n == 1) {
      EXPECT_EQ(wc::word_rule("w1mean", "word")(given, {}).values, wc::word_rule("mean", "word")(given, {}).values);
    }
  }
  for (char const* text :
       {"", "median", "mean|", "|mean", "relu", "zNorm|relu|mean", "relu|relu|mean", "Relu|mean", "relu|mean "})
    EXPECT_THAT([&] { wc::word_rule(text, "out_word"); }, ThrowsMessage<wf::usage_error>(HasSubstr("out_word"))) << text;
}

TEST(norms, are_their_definitions_and_leave_what_has_no_length) {
  row const x{1, -2, 0.5, 4};
  for (char const* name : {"none", "l2", "layer", "z", "var"}) {
    row mine = x;
    wc::normalise(mine, wc::norm_of(name));
    auto const wanted = normed(x, name);
    for (std::size_t j = 0; j < x.size(); ++j) EXPECT_NEAR(mine[j], wanted[j], 1e-14) << name;
  }
  row zero(4), flat(4, 3.0), one{5};
  wc::normalise(zero, wc::norm_rule::l2), wc::normalise(flat, wc::norm_rule::var), wc::normalise(one, wc::norm_rule::var);
  EXPECT_THAT(zero, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(flat, ElementsAre(3, 3, 3, 3));
  EXPECT_THAT(one, ElementsAre(5));
}

TEST(layers, are_counted_as_hidden_states_are) {
  auto const gpt2 = open("gpt2"), t5 = open("t5");
  auto const hook = [](wf::model const& m, std::string const& text) { return wc::layer_of(text, "layer", m.info()).hook; };
  for (auto const& [text, name] : {std::pair{"0", "blocks.0.hook_resid_pre"}, std::pair{"1", "blocks.1.hook_resid_pre"},
                                   std::pair{"2", "ln_final.hook_out"}, std::pair{"-1", "ln_final.hook_out"},
                                   std::pair{"-3", "blocks.0.hook_resid_pre"}, std::pair{"middle", "blocks.1.hook_resid_pre"}})
    EXPECT_EQ(hook(*gpt2, text), name) << text;
  EXPECT_EQ(hook(*t5, "top"), "encoder_final_ln.hook_out");
  EXPECT_EQ(hook(*t5, "1"), "encoder.1.hook_resid_pre");
  for (char const* text : {"3", "-4", "", "1x", " 1", "e", "99999999999999999999"})
    EXPECT_THAT([&] { hook(*gpt2, text); }, ThrowsMessage<wf::usage_error>(HasSubstr("layer"))) << text;
}

// ---- concept_similarity ----------------------------------------------------------------------------------------------------

TEST(concept_similarity, is_its_definition_for_every_setting_and_both_families) {
  auto const s = few_shot();
  for (char const* id : {"gpt2", "t5"}) {
    oracle const by_hand{open(id), std::string(id) == "t5"};
    auto const all = all_settings();
    std::vector<std::shared_ptr<wf::probe>> probes;
    for (auto const& one : all) probes.push_back(wf::test::make_probe("concept_similarity", one.parameters()));
    auto const made = observe(probes, *by_hand.m, s, {.block = 3});
    for (std::size_t p = 0; p < all.size(); ++p) {
      EXPECT_LT(difference(scores_of(made[p]), by_hand.scores(s, all[p])), 2e-5) << id << ": " << all[p].text();
      double hits = 0;
      auto const scores = scores_of(made[p]);
      for (std::size_t i = 0; i < scores.size(); ++i)
        hits += std::max_element(scores[i].begin(), scores[i].end()) - scores[i].begin() == static_cast<std::ptrdiff_t>(i % 4);
      double const accuracy = hits / 5;
      EXPECT_DOUBLE_EQ(made[p].at("acc").scalar(), accuracy);
      EXPECT_NEAR(made[p].at("acc_standard_error").scalar(), std::sqrt(accuracy * (1 - accuracy) / 4), 1e-12);
    }
  }
}

TEST(concept_similarity, counts_context_vectors) {
  auto const m = open("gpt2");
  auto const s = few_shot();
  auto const count = [&](setting const& how) {
    return observe("concept_similarity", how.parameters(), *m, s).at("context_vectors").values().get({0});
  };
  EXPECT_EQ(count({.scheme = "sentences", .segment = "none", .example = "none"}), 2 + 2 + 1 + 1 + 3);
  EXPECT_EQ(count({.scheme = "sentences", .segment = "mean", .example = "none"}), 3);
  EXPECT_EQ(count({.scheme = "merge_all", .segment = "mean", .example = "none"}), 1);
  EXPECT_EQ(count({.scheme = "sentences", .segment = "none", .example = "mean"}), 1);
  EXPECT_EQ(count({.scheme = "sentences", .segment = "none", .example = "soft_cluster"}), 1);
}

TEST(concept_similarity, takes_other_settings_for_answers) {
  auto const m = open("gpt2");
  auto const s = few_shot(false);
  oracle const by_hand{m, false};
  auto const made =
      scores_of(observe("concept_similarity", {{"layer", "0"}, {"out_layer", "OE"}, {"out_word", "relu|w1mean"}}, *m, s));
  auto const b = s.read({0, 5});
  matrix wanted;
  for (std::size_t i = 0; i < 5; ++i) {
    auto const c = pooled(by_hand.states(b.texts[i], "0"), "mean", gelu_new)[0];
    wanted.emplace_back();
    for (auto const& text : b.choices[i]) {
      auto const y = pooled(by_hand.states(text, "OE"), "relu|w1mean", gelu_new)[0];
      wanted.back().push_back(std::inner_product(c.begin(), c.end(), y.begin(), 0.0));
    }
  }
  EXPECT_LT(difference(made, wanted), 1e-5);
}

TEST(concept_similarity, does_not_tell_schemes_apart_without_examples) {
  auto const s = few_shot(false);
  for (char const* id : {"gpt2", "t5"}) {
    auto const m = open(id);
    auto const whole = observe("concept_similarity", {{"scheme", "concat_all"}}, *m, s);
    for (char const* scheme : {"concat_each", "segment_each", "merge_all"})
      expect_same_bytes(whole, observe("concept_similarity", {{"scheme", scheme}}, *m, s), scheme);
    EXPECT_GT(difference(scores_of(whole), scores_of(observe("concept_similarity", {{"scheme", "sentences"}}, *m, s))), 1e-3);
  }
}

TEST(concept_similarity, ranks_by_cosine_as_by_dot_where_vectors_have_length_one) {
  auto const s = few_shot();
  for (char const* id : {"gpt2", "t5"}) {
    auto const m = open(id);
    for (char const* scheme : {"concat_all", "sentences"}) {
      auto const dot = scores_of(observe("concept_similarity", {{"scheme", scheme}, {"norm", "l2"}}, *m, s)),
                 cosine = scores_of(
                     observe("concept_similarity", {{"scheme", scheme}, {"norm", "l2"}, {"similarity", "cosine"}}, *m, s));
      EXPECT_LT(difference(dot, cosine), 1e-12);
    }
  }
}

TEST(concept_similarity, runs_the_encoder_alone_and_every_segment_once) {
  auto const s = few_shot();
  counting const m(open("t5"));
  std::vector<std::shared_ptr<wf::probe>> probes;
  for (char const* norm : {"none", "l2", "z", "var"})
    for (char const* similarity : {"dot", "cosine"})
      for (char const* layer : {"top", "middle", "0"})
        for (char const* word : {"mean", "relu|mean"})
          probes.push_back(wf::test::make_probe(
              "concept_similarity", setting{"segment_each", word, "mean", "mean", norm, similarity, layer}.parameters()));
  ASSERT_EQ(probes.size(), 48u);
  observe(probes, m, s, {.block = 2});
  EXPECT_FALSE(m.decoded);
  // Two examples of two segments for all, five questions of their own; two lists of answers.
  EXPECT_EQ(m.sequences, 4u + 5 + 8);
  EXPECT_EQ(m.passes, 3u + 1) << "contexts in three blocks, answers in one: the others have been seen";
  // Table lookups need no model.
  counting const idle(open("gpt2"));
  observe("concept_similarity", {{"layer", "E"}, {"out_layer", "OE"}}, idle, s);
  EXPECT_EQ(idle.passes, 0u);
}

TEST(concept_similarity, has_the_same_bytes_however_it_is_shared_and_cut_into_blocks) {
  auto const s = few_shot();
  auto const all = all_settings();
  for (char const* id : {"gpt2", "t5"}) {
    auto const m = open(id);
    std::vector<wf::results> alone;
    for (auto const& one : all)
      alone.push_back(observe("concept_similarity", one.parameters(), *m, s, {.block = 1, .shared = false}));
    for (std::int64_t const cache : {0, 64})
      for (bool const announced : {false, true})
        for (std::size_t const block : {std::size_t{1}, std::size_t{2}, std::size_t{5}}) {
          std::vector<std::shared_ptr<wf::probe>> probes;
          for (auto const& one : all) {
            auto given = one.parameters();
            given["cache"] = cache;
            probes.push_back(wf::test::make_probe("concept_similarity", given));
          }
          auto const made = observe(probes, *m, s, {.block = block, .announced = announced});
          for (std::size_t p = 0; p < all.size(); ++p) expect_same_bytes(alone[p], made[p], all[p].text());
        }
  }
}

TEST(concept_similarity, cuts_long_segments_from_the_left_and_counts_them) {
  auto const m = open("gpt2");
  auto const s = few_shot(false);
  std::int64_t const most = 5;
  auto const out = observe("concept_similarity", {{"longest", most}, {"word", "mean"}, {"layer", "E"}}, *m, s);
  auto const b = s.read({0, 5});
  auto const w = m->weight("embed.W_E");
  auto const vector = [&](std::string const& text, std::size_t& lost) {
    auto ids = m->text_tokenizer()->encode(text).ids;
    for (; ids.size() > 5; ++lost) ids.erase(ids.begin());
    row x(m->info().d_model);
    for (auto const id : ids)
      for (std::size_t j = 0; j < x.size(); ++j)
        x[j] += w.get({static_cast<std::size_t>(id), j}) / static_cast<double>(ids.size());
    return x;
  };
  for (std::size_t i = 0; i < 5; ++i) {
    std::size_t lost = 0;
    auto const c = vector(b.texts[i], lost);
    for (std::size_t k = 0; k < 4; ++k) {
      auto const y = vector(b.choices[i][k], lost);
      EXPECT_NEAR(out.at("scores").values().get({i, k}), std::inner_product(c.begin(), c.end(), y.begin(), 0.0), 1e-6);
    }
    EXPECT_EQ(out.at("cut").values().get({i}), static_cast<double>(lost));
    EXPECT_GT(lost, 0u);
  }
  EXPECT_EQ(out.at("contexts_cut").scalar(), 5);
}

TEST(concept_similarity, keeps_edits_of_one_item_from_the_others) {
  auto const m = open("gpt2");
  question const q{{{"Anna went to Rome"}}, some_answers[0], 1};
  questions const twice({q, q});
  wf::hook_edit const edit{"blocks.0.hook_resid_mid", [](wf::edit_site const& at, wf::tensor const& x) {
                             if (at.item == 1)
                               for (float& v : x.values<float>()) v = -v;
                           }};
  auto const plain = scores_of(observe("concept_similarity", {}, *m, twice)),
             edited = scores_of(observe("concept_similarity", {}, *m, twice, {.edits = {edit}}));
  EXPECT_EQ(plain[0], plain[1]);
  EXPECT_EQ(edited[0], plain[0]);
  EXPECT_NE(edited[1], plain[1]);
}

// ---- concept_generation ----------------------------------------------------------------------------------------------------

TEST(concept_generation, is_cross_encoding_where_nothing_is_aggregated) {
  for (bool const examples : {false, true}) {
    auto const s = few_shot(examples);
    for (auto const& [id, layer] : {std::pair{"gpt2", "E"}, std::pair{"t5", "top"}}) {
      auto const m = open(id);
      auto const made = observe("concept_generation", {{"word", "concat"}, {"layer", layer}}, *m, s),
                 baseline = observe("cross_encoding", {}, *m, s);
      EXPECT_LT(difference(scores_of(made), scores_of(baseline)), 1e-6) << id;
      for (char const* name : {"acc", "acc_norm", "em"}) EXPECT_EQ(made.at(name).scalar(), baseline.at(name).scalar()) << name;
      if (std::string(id) == "gpt2" && examples) {
        EXPECT_GT(made.at("contexts_cut").scalar(), 0) << "cut alike";
      }
    }
  }
}

TEST(concept_generation, reads_the_vectors_in_place_of_the_context) {
  auto const s = few_shot();
  auto const b = s.read({0, s.info().items});
  for (char const* id : {"gpt2", "t5"}) {
    bool const t5 = std::string(id) == "t5";
    oracle const by_hand{open(id), t5};
    auto const& m = *by_hand.m;
    auto const out = observe("concept_generation",
                             {{"scheme", "sentences"}, {"word", "relu|mean"}, {"example", "none"}, {"norm", "l2"}}, m, s);
    for (std::size_t i = 0; i < b.count; ++i) {
      row all;
      std::size_t count = 0;
      for (auto const& example : oracle::cut(b, i, "sentences"))
        for (auto const& sentence : example) {
          auto const x = normed(pooled(by_hand.states(sentence, t5 ? "top" : "0"), "relu|mean", t5 ? relu : gelu_new)[0], "l2");
          all.insert(all.end(), x.begin(), x.end()), ++count;
        }
      EXPECT_EQ(out.at("context_vectors").values().get({i}), static_cast<double>(count));
      bool exact = true;
      for (std::size_t k = 0; k < 4; ++k) {
        // A pass over everything at once, and log softmax of its logits.
        auto const ids = m.text_tokenizer()->encode(b.choices[i][k], {.special = true, .ends = false}).ids;
        row given = all;
        std::vector<std::int32_t> tokens(count), decoder{0};
        std::size_t first = 0;
        wf::batch one;
        if (t5) {
          decoder.insert(decoder.end(), ids.begin(), ids.end() - 1);
          one.decoder_tokens.push_back(std::span<std::int32_t const>(decoder));
        } else {
          auto const w = m.weight("embed.W_E");
          first = count - 1;
          for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
            tokens.push_back(0);
            for (std::size_t j = 0; j < m.info().d_model; ++j) given.push_back(w.get({static_cast<std::size_t>(ids[t]), j}));
          }
        }
        one.tokens.push_back(std::span<std::int32_t const>(tokens));
        (t5 ? one.encoder_states : one.embeddings) =
            wf::tensor::of(given, {{"token", tokens.size()}, {"d_model", m.info().d_model}}).to(wf::dtype::f32);
        wf::run_request request;
        request.capture = m.info().hooks_for("logits");
        auto const z = m.run(one, request).at("logits", 0);
        double sum = 0;
        bool greedy = true;
        for (std::size_t t = 0; t < ids.size(); ++t) {
          double total = 0, most = -INFINITY;
          for (std::size_t v = 0; v < z.size(1); ++v)
            total += std::exp(z.get({first + t, v})), most = std::max(most, z.get({first + t, v}));
          double const own = z.get({first + t, static_cast<std::size_t>(ids[t])});
          sum += own - std::log(total), greedy = greedy && own == most;
        }
        EXPECT_NEAR(out.at("scores").values().get({i, k}), sum, 1e-4 * (1 + std::abs(sum))) << id;
        EXPECT_EQ(out.at("choice_tokens").values().get({i, k}), static_cast<double>(ids.size()));
        EXPECT_EQ(out.at("choice_characters").values().get({i, k}), static_cast<double>(b.choices[i][k].size()));
        if (static_cast<int>(k) == static_cast<int>(i % 4)) exact = greedy;
      }
      EXPECT_EQ(out.at("exact_match").values().get({i}), exact);
    }
    // The best sum, and the best sum per character.
    auto const scores = scores_of(out);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      row per = scores[i];
      for (std::size_t k = 0; k < per.size(); ++k) per[k] /= static_cast<double>(b.choices[i][k].size());
      auto const best = [](row const& x) { return static_cast<double>(std::max_element(x.begin(), x.end()) - x.begin()); };
      EXPECT_EQ(out.at("prediction").values().get({i}), best(scores[i]));
      EXPECT_EQ(out.at("prediction_norm").values().get({i}), best(per));
    }
  }
}

TEST(concept_generation, has_the_same_bytes_however_it_is_shared_and_cut_into_blocks) {
  auto const s = few_shot();
  for (char const* id : {"gpt2", "t5"}) {
    auto const m = open(id);
    std::vector<settings> const all{{{"scheme", "sentences"}},
                                    {{"scheme", "segment_each"}, {"word", "-relu|mean"}, {"segment", "mean"}},
                                    {{"scheme", "concat_each"}, {"word", "concat"}},
                                    {{"scheme", "merge_all"}, {"example", "mean"}, {"norm", "var"}, {"layer", "E"}}};
    std::vector<std::shared_ptr<wf::probe>> probes;
    std::vector<wf::results> alone;
    for (auto const& one : all) {
      probes.push_back(wf::test::make_probe("concept_generation", one));
      alone.push_back(observe("concept_generation", one, *m, s, {.block = 1, .shared = false}));
    }
    for (std::size_t const block : {std::size_t{2}, std::size_t{5}}) {
      auto const made = observe(probes, *m, s, {.block = block});
      for (std::size_t p = 0; p < all.size(); ++p) expect_same_bytes(alone[p], made[p], std::to_string(p));
    }
  }
}

TEST(concept_probes, agree_in_float64) {
  auto const s = few_shot();
  for (char const* id : {"gpt2", "t5"})
    for (char const* probe : {"concept_similarity", "concept_generation"}) {
      auto const m = open(id);
      auto const single = scores_of(observe(probe, {{"scheme", "sentences"}}, *m, s)),
                 twice = scores_of(observe(probe, {{"scheme", "sentences"}}, *m, s, {.precision = wf::dtype::f64}));
      EXPECT_LT(difference(single, twice), 1e-4);
      EXPECT_NE(single, twice);
    }
}

TEST(concept_probes, say_what_is_wrong) {
  auto const gpt2 = open("gpt2");
  auto const good = few_shot(false);
  auto const similarity = [&](settings given, wf::source const& s) { observe("concept_similarity", std::move(given), *gpt2, s); };
  auto const generation = [&](settings given, wf::source const& s) { observe("concept_generation", std::move(given), *gpt2, s); };
  EXPECT_THAT([&] { similarity({{"layer", "7"}}, good); }, ThrowsMessage<wf::usage_error>(HasSubstr("2 blocks")));
  EXPECT_THAT([&] { similarity({{"out_layer", "up"}}, good); }, ThrowsMessage<wf::usage_error>(HasSubstr("out_layer")));
  EXPECT_THAT([&] { similarity({{"word", "concat"}}, good); }, ThrowsMessage<wf::usage_error>(HasSubstr("concat")));
  EXPECT_THAT(
      [&] {
        generation({{"word", "concat"}, {"segment", "mean"}}, good);
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("'segment'")));
  for (auto const& try_it : {std::function<void(settings, wf::source const&)>(similarity), {generation}}) {
    auto mute = few_shot(false);
    mute.says_gold = false;
    EXPECT_THAT([&] { try_it({}, mute); }, ThrowsMessage<wf::usage_error>(HasSubstr("gold")));
    questions const out_of_range({{{{"Anna"}}, some_answers[0], 4}});
    EXPECT_THAT([&] { try_it({}, out_of_range); }, ThrowsMessage<wf::data_error>(HasSubstr("item 0")));
    questions const three({{{{"Anna"}}, some_answers[0], 0}, {{{"Ben"}}, {" a", " b", " c"}, 0}});
    EXPECT_THAT([&] { try_it({}, three); }, ThrowsMessage<wf::data_error>(HasSubstr("item 1 has 3 answers")));
    questions const empty({{{{""}}, some_answers[0], 0}});
    EXPECT_THAT([&] { try_it({}, empty); }, ThrowsMessage<wf::data_error>(HasSubstr("empty context")));
    questions const nothing({{{{"Anna"}}, {" a", "", " c", " d"}, 0}});
    EXPECT_THAT([&] { try_it({}, nothing); }, ThrowsMessage<wf::data_error>(HasSubstr("without tokens")));
    auto const plain = wf::test::make_source("text", {{"texts", texts{"Anna"}}});
    EXPECT_THAT([&] { try_it({}, *plain); }, ThrowsMessage<wf::usage_error>(HasSubstr("no answers")));
  }
  questions const endless({{{{"Anna"}}, {" a", " b", " c", " " + std::string(500, 'x')}, 0}});
  EXPECT_THAT([&] { generation({}, endless); }, ThrowsMessage<wf::data_error>(HasSubstr("no room")));
  std::shared_ptr<wf::model> const bert =
      wf::test::make<wf::model>("bert", {{"path", WAYFARER_SOURCE_DIR "/runs/data/tiny-bert"}});
  bert->load();
  EXPECT_THAT([&] { observe("concept_generation", {}, *bert, good); },
              ThrowsMessage<wf::usage_error>(HasSubstr("predicts no next token")));
  EXPECT_EQ(scores_of(observe("concept_similarity", {}, *bert, good)).size(), 5u) << "an encoder has vectors too";
}

}  // namespace
