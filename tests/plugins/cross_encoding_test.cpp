// The probe cross_encoding against plain forward passes over context and ending, and the metrics on its results against figures
// worked out here and against the published tables.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <oneapi/tbb/global_control.h>

#include <wayfarer/error.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>

#include "plain_gpt2.hpp"
#include "probes/common/choice_scoring.hpp"
#include "run_plugins.hpp"

namespace {

namespace wf = wayfarer;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using ids = std::vector<std::int32_t>;
using texts = std::vector<std::string>;
using settings = wf::test::values;

std::string const runs = WAYFARER_SOURCE_DIR "/runs/data/";

wf::model const& tiny(std::string const& plugin) {
  static std::map<std::string, std::unique_ptr<wf::model>> all;
  auto& m = all[plugin];
  if (!m) {
    m = wf::test::make<wf::model>(plugin, {{"path", runs + "tiny-" + plugin}});
    m->load();
  }
  return *m;
}

struct question {
  std::string context;
  texts endings;
  int gold = 0;
};

/// Questions given here.
struct listed final : wf::source {
  explicit listed(std::vector<question> all) : all_(std::move(all)) {
    info_.items = all_.size(), info_.has_texts = info_.has_choices = true;
  }
  wf::source_info const& info() const override { return info_; }
  wf::item_block read(wf::item_range r) const override {
    wf::item_block b;
    b.first = r.first, b.count = r.size();
    std::vector<std::int32_t> gold;
    for (std::size_t i = r.first; i < r.last; ++i) {
      b.texts.push_back(all_[i].context);
      b.choices.push_back(all_[i].endings);
      gold.push_back(all_[i].gold);
    }
    if (has_gold) b.truth["gold"] = wf::tensor::of(gold, {{"item", gold.size()}});
    return b;
  }
  std::vector<question> all_;
  wf::source_info info_;
  bool has_gold = true;
};

/// Texts of the tiny models' words: of different lengths, an empty ending and one of a single letter among them.
listed questions(std::size_t count = 9) {
  texts const words{"Then", " Anna", " and", " Ben", " went", " to", " Rome", ".", " gave", " a", " key", " Oslo"};
  std::vector<question> all;
  for (std::size_t i = 0; i < count; ++i) {
    wf::random_stream draw(5, "questions", i);
    auto const text = [&](std::uint32_t n) {
      std::string t;
      for (; n > 0; --n) t += words[draw.below(static_cast<std::uint32_t>(words.size()))];
      return t;
    };
    question q{text(1 + draw.below(7)), {}, static_cast<int>(draw.below(4))};
    for (int k = 0; k < 4; ++k) q.endings.push_back(" " + text(1 + draw.below(5)));
    if (i == 2) q.endings[1] = "", q.endings[2] = "n";
    all.push_back(q);
  }
  return listed(all);
}

wf::results observe(wf::model const& m, wf::source const& s, settings given = {}, std::size_t block = 4,
                    wf::dtype precision = wf::dtype::f32, std::vector<wf::hook_edit> edits = {}, std::size_t max_tokens = 0) {
  auto const p = wf::test::make_probe("cross_encoding", std::move(given));
  std::size_t const items = s.info().items;
  wf::probe_context const at(&m, &s, {0, items}, 0);
  wf::run_request request;
  request.precision = precision, request.edits = std::move(edits);
  std::unique_ptr<wf::accumulator> whole;
  for (std::size_t first = 0; first < items; first += block) {
    auto const some = s.read({first, std::min(items, first + block)});
    auto const tokens = m.encode(some, {max_tokens});
    wf::activations const nothing;
    auto part = std::make_unique<wf::accumulator>(some.count);
    p->shape(*part, at);
    p->observe(*part, wf::sample(some, tokens, nothing, 0, &request), at);
    if (whole)
      p->merge(*whole, *part);
    else
      whole = std::move(part);
  }
  wf::results out;
  p->finish(*whole, out, at);
  return out;
}

ids encode(wf::model const& m, std::string const& text, bool ends = false) {
  return m.text_tokenizer()->encode(text, {.special = true, .ends = ends}).ids;
}

/// log softmax of a row, straight from its definition.
double log_probability(std::vector<double> const& row, std::int32_t token) {
  double highest = -INFINITY, sum = 0;
  for (double const v : row) highest = std::max(highest, v);
  for (double const v : row) sum += std::exp(v - highest);
  return row[static_cast<std::size_t>(token)] - highest - std::log(sum);
}

struct plain_score {
  double sum = 0;
  bool greedy = true;
};

/// One forward pass over one context and one ending, all logits.
plain_score plain(wf::model const& m, std::string const& context, std::string const& ending, wf::dtype precision,
                  std::size_t cut = 0) {
  bool const decoder = m.info().family == wf::model_family::encoder_decoder;
  auto const tokens = encode(m, ending);
  auto read = encode(m, context, decoder);
  read.erase(read.begin(), read.begin() + static_cast<std::ptrdiff_t>(cut));
  ids line = decoder ? ids{0} : read;  // T5's decoder begins with token 0
  std::size_t const first = line.size() - 1;
  line.insert(line.end(), tokens.begin(), tokens.end());
  if (!tokens.empty()) line.pop_back();
  wf::batch b;
  if (decoder)
    b.tokens.push_back(read), b.decoder_tokens.push_back(line);
  else
    b.tokens.push_back(line);
  wf::run_request request;
  request.capture = m.info().hooks_for("logits");
  request.precision = precision;
  auto const logits = m.run(b, request).at("logits", 0);
  plain_score s;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    std::vector<double> row;
    for (std::size_t v = 0; v < logits.size(1); ++v) row.push_back(logits.get({first + t, v}));
    s.sum += log_probability(row, tokens[t]);
    s.greedy = s.greedy && std::max_element(row.begin(), row.end()) - row.begin() == tokens[t];
  }
  return s;
}

bool same_bytes(wf::results const& a, wf::results const& b) {
  if (a.names() != b.names()) return false;
  for (auto const& name : a.names()) {
    auto const &x = a.at(name).values(), &y = b.at(name).values();
    if (x.type() != y.type() || x.count() != y.count() || std::memcmp(x.raw(), y.raw(), x.bytes()) != 0) return false;
  }
  return true;
}

// ---- against plain passes
// -------------------------------------------------------------------------------------------------------

struct cross_encoding : testing::TestWithParam<char const*> {
  wf::model const& model() const { return tiny(GetParam()); }
};

TEST_P(cross_encoding, scores_as_a_plain_pass_over_context_and_ending) {
  auto const s = questions();
  for (auto const precision : {wf::dtype::f32, wf::dtype::f64}) {
    auto const out = observe(model(), s, {}, 4, precision);
    double const near = precision == wf::dtype::f64 ? 1e-10 : 2e-4;
    int right = 0;
    for (std::size_t i = 0; i < s.all_.size(); ++i) {
      auto const& q = s.all_[i];
      std::vector<double> scores;
      for (std::size_t k = 0; k < 4; ++k) {
        auto const expected = plain(model(), q.context, q.endings[k], precision);
        scores.push_back(expected.sum);
        EXPECT_NEAR(out.at("scores").values().get({i, k}), expected.sum, near) << "item " << i << ", ending " << k;
        EXPECT_EQ(out.at("choice_tokens").values().get({i, k}), static_cast<double>(encode(model(), q.endings[k]).size()));
        if (static_cast<int>(k) == q.gold) {
          EXPECT_EQ(out.at("exact_match").values().get({i}), expected.greedy ? 1 : 0) << "item " << i;
        }
      }
      auto const best = std::max_element(scores.begin(), scores.end()) - scores.begin();
      EXPECT_EQ(out.at("prediction").values().get({i}), static_cast<double>(best));
      right += best == q.gold;
    }
    double const acc = right / 9.0;
    EXPECT_NEAR(out.at("acc").scalar(), acc, 1e-15);
    EXPECT_NEAR(out.at("acc_standard_error").scalar(), std::sqrt(acc * (1 - acc) / 8), 1e-15);
    EXPECT_EQ(out.at("contexts_cut").scalar(), 0);
  }
}

TEST_P(cross_encoding, gives_the_same_bytes_for_any_block_and_number_of_threads) {
  auto const s = questions(23);
  auto const whole = observe(model(), s, {}, 23);
  for (std::size_t const block : {1, 2, 7}) EXPECT_TRUE(same_bytes(observe(model(), s, {}, block), whole)) << block;
  for (std::size_t const threads : {1, 3}) {
    tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
    EXPECT_TRUE(same_bytes(observe(model(), s, {}, 5), whole)) << threads;
  }
}

TEST_P(cross_encoding, hands_on_edits) {
  auto const s = questions(5);
  bool const decoder = model().info().family == wf::model_family::encoder_decoder;
  std::string const hook = decoder ? "decoder.0.hook_resid_post" : "blocks.0.hook_resid_post";
  // Item 3 alone is changed, at every position from 1 on, in its context and in its endings.
  wf::hook_edit const edit{hook, [](wf::edit_site const& site, wf::tensor const& x) {
                             if (site.item != 3) return;
                             auto const v = x.view<float>();
                             for (std::size_t p = 0; p < v.size(0); ++p)
                               if (p + site.first_position >= 1)
                                 for (std::size_t d = 0; d < v.size(1); ++d) v(p, d) = 1.0f + 0.1f * static_cast<float>(d);
                           }};
  auto const before = observe(model(), s, {}, 5), after = observe(model(), s, {}, 5, wf::dtype::f32, {edit});
  for (std::size_t i = 0; i < 5; ++i) {
    double difference = 0;
    for (std::size_t k = 0; k < 4; ++k)
      difference += std::abs(before.at("scores").values().get({i, k}) - after.at("scores").values().get({i, k}));
    EXPECT_EQ(difference > 0.01, i == 3) << "item " << i << ": " << difference;
  }
}

INSTANTIATE_TEST_SUITE_P(models, cross_encoding, testing::Values("gpt2", "t5"), [](auto const& p) { return p.param; });

TEST(cross_encoding_text, gpt2_written_out_in_plain_loops_agrees) {
  wf::test::plain_gpt2 const reference(runs + "tiny-gpt2");
  auto const s = questions(3);
  auto const out = observe(tiny("gpt2"), s, {}, 3, wf::dtype::f64);
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t k = 0; k < 4; ++k) {
      auto line = encode(tiny("gpt2"), s.all_[i].context);
      std::size_t const first = line.size() - 1;
      auto const tokens = encode(tiny("gpt2"), s.all_[i].endings[k]);
      line.insert(line.end(), tokens.begin(), tokens.end());
      auto const logits = reference.run(line).at("logits");
      double sum = 0;
      for (std::size_t t = 0; t < tokens.size(); ++t) {
        auto const row = logits.begin() + static_cast<std::ptrdiff_t>((first + t) * reference.vocabulary);
        sum += log_probability({row, row + static_cast<std::ptrdiff_t>(reference.vocabulary)}, tokens[t]);
      }
      EXPECT_NEAR(out.at("scores").values().get({i, k}), sum, 1e-9);
    }
}

TEST(cross_encoding_text, cuts_what_is_too_long_from_the_left_for_each_ending) {
  auto const& m = tiny("gpt2");
  std::string long_context;
  while (encode(m, long_context).size() < 90) long_context += " Anna went to Rome.";
  listed const s({{"Then Anna", {" went", " to Rome.", " gave a key to Ben", ""}, 0},
                  {long_context, {" went", " to Rome.", " gave a key to Ben", ""}, 1}});
  for (std::int64_t const window : {0, 20}) {
    auto const out = observe(m, s, {{"window", window}});
    std::size_t const limit = window == 0 ? 64 : 20, length = encode(m, long_context).size();
    std::size_t most = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      std::size_t const n = encode(m, s.all_[1].endings[k]).size(), room = limit - (n == 0 ? 0 : n - 1);
      most = std::max(most, length - room);
      EXPECT_NEAR(out.at("scores").values().get({1, k}),
                  plain(m, long_context, s.all_[1].endings[k], wf::dtype::f32, length - room).sum, 2e-4)
          << window << ", ending " << k;
    }
    EXPECT_EQ(out.at("contexts_cut").scalar(), 1);
    EXPECT_EQ(out.at("cut").values().get({0}), 0);
    EXPECT_EQ(out.at("cut").values().get({1}), static_cast<double>(most));
    EXPECT_EQ(out.at("context_tokens").values().get({1}), static_cast<double>(length));
  }
  // T5 has no limit of its own; a window cuts its encoder's text alone, which keeps its end.
  auto const& t5 = tiny("t5");
  auto const out = observe(t5, s, {{"window", std::int64_t{6}}});
  std::size_t const length = encode(t5, long_context, true).size();
  EXPECT_EQ(out.at("cut").values().get({1}), static_cast<double>(length - 6));
  EXPECT_NEAR(out.at("scores").values().get({1, 2}),
              plain(t5, long_context, " gave a key to Ben", wf::dtype::f32, length - 6).sum, 2e-4);
}

TEST(cross_encoding_text, divides_by_characters_with_and_without_the_space) {
  listed const s({{"Then Anna", {" äö", " went", "x", ""}, 0}, {"Then", {" a", " b", " c", " d"}, 1}});
  auto const out = observe(tiny("gpt2"), s);
  auto const scores = out.at("scores").values();
  std::vector<double> const with{3, 5, 1, 1}, without{2, 4, 1, 1};  // at least 1
  auto const best = [&](std::vector<double> const& by) {
    std::size_t at = 0;
    for (std::size_t k = 1; k < 4; ++k)
      if (scores.get({0, k}) / by[k] > scores.get({0, at}) / by[at]) at = k;
    return static_cast<double>(at);
  };
  EXPECT_EQ(out.at("choice_characters").values().get({0, 0}), 3);
  EXPECT_EQ(out.at("prediction_norm").values().get({0}), best(with));
  EXPECT_EQ(out.at("prediction_norm_no_space").values().get({0}), best(without));
  EXPECT_EQ(scores.get({0, 3}), 0) << "nothing to predict";
}

TEST(cross_encoding_text, begins_with_the_end_of_text_where_there_is_no_context) {
  listed const s({{"", {" a", " b", " c", " d"}, 0}});
  auto const out = observe(tiny("gpt2"), s);
  EXPECT_NEAR(out.at("scores").values().get({0, 1}), plain(tiny("gpt2"), "<|endoftext|>", " b", wf::dtype::f32).sum, 2e-4);
}

TEST(cross_encoding_text, says_what_it_can_not_score) {
  auto const& m = tiny("gpt2");
  auto const texts_only = wf::test::make_source("text", {{"texts", texts{"a", "b"}}});
  EXPECT_THAT([&] { observe(m, *texts_only); }, ThrowsMessage<wf::usage_error>(HasSubstr("this source gives no endings")));
  EXPECT_THAT(
      [&] {
        observe(m, listed({{"a", {" b", " c", " d"}, 0}, {"a", {" b", " c"}, 0}}));
      },
      ThrowsMessage<wf::data_error>(HasSubstr("item 1 has 2 endings, the first one has 3")));
  EXPECT_THAT(
      [&] {
        observe(m, listed({{"a", {" b", " c", " d"}, 3}}));
      },
      ThrowsMessage<wf::data_error>(HasSubstr("item 0: the right ending is number 3 of 3")));
  listed without({{"a", {" b", " c", " d"}, 0}});
  without.has_gold = false;
  EXPECT_THAT([&] { observe(m, without); }, ThrowsMessage<wf::usage_error>(HasSubstr("'gold'")));
  std::string ending;
  while (encode(m, ending).size() < 70) ending += " Anna went to Rome.";
  EXPECT_THAT(
      [&] {
        observe(m, listed({{"a", {" b", ending}, 0}}));
      },
      ThrowsMessage<wf::data_error>(AllOf(HasSubstr("item 0"), HasSubstr("no room for its context"))));
  EXPECT_THAT(
      [&] {
        observe(m, listed({{"Then Anna and Ben went", {" b", " c"}, 0}}), {}, 4, wf::dtype::f32, {}, 3);
      },
      ThrowsMessage<wf::usage_error>(AllOf(HasSubstr("max_tokens"), HasSubstr("window"))));
  auto const bert = wf::test::make<wf::model>("bert", {{"path", runs + "tiny-bert"}});
  bert->load();
  EXPECT_THAT([&] { observe(*bert, questions(2)); }, ThrowsMessage<wf::usage_error>(HasSubstr("predicts no next token")));
}

TEST(cross_encoding_text, guesses_on_models_that_know_nothing) {
  auto const s = wf::test::make_source("hellaswag", {{"path", runs + "hellaswag/slice.txt"}});
  for (char const* const plugin : {"gpt2", "t5"}) {
    auto const out = observe(tiny(plugin), *s, {}, 30);
    double const error = std::sqrt(0.25 * 0.75 / 239);
    for (char const* const figure : {"acc", "acc_norm", "acc_norm_no_space"})
      EXPECT_NEAR(out.at(figure).scalar(), 0.25, 3 * error) << plugin << " " << figure;
    EXPECT_EQ(out.at("preprocessed").scalar(), 1);
  }
}

/// Contexts may be vectors in place of tokens: what concept_generation does.
TEST(choice_scoring, takes_vectors_for_contexts) {
  auto const request = [](std::vector<std::size_t>) { return wf::run_request{}; };
  auto const& gpt2 = tiny("gpt2");
  std::vector<wf::language::token_lists> const endings{{encode(gpt2, " went to Rome"), encode(gpt2, " gave")}, {{}, {3, 4, 5}}};
  wf::batch tokens;
  tokens.tokens.push_back(encode(gpt2, "Then Anna and Ben"));
  tokens.tokens.push_back(encode(gpt2, "Then"));
  wf::batch vectors = tokens;
  auto const table = gpt2.weight("embed.W_E");
  wf::tensor const looked_up(wf::dtype::f32, {{"token", tokens.tokens.values.size()}, {"d_model", table.size(1)}});
  for (std::size_t i = 0; i < tokens.tokens.values.size(); ++i)
    wf::copy_into(looked_up[i], table[static_cast<std::size_t>(tokens.tokens.values[i])]);
  vectors.embeddings = looked_up;
  for (auto& t : vectors.tokens.values) t = 0;
  auto const a = wf::language::score_choices(gpt2, tokens, endings, request),
             b = wf::language::score_choices(gpt2, vectors, endings, request);
  for (std::size_t i = 0; i < 2; ++i)
    for (std::size_t k = 0; k < 2; ++k) {
      EXPECT_DOUBLE_EQ(a[i][k].log_probability, b[i][k].log_probability);
      EXPECT_EQ(a[i][k].tokens, endings[i][k].size());
    }
  auto const& t5 = tiny("t5");
  wf::batch read;
  read.tokens.push_back(encode(t5, "Then Anna and Ben", true));
  read.tokens.push_back(encode(t5, "Then", true));
  for (int i = 0; i < 2; ++i) read.decoder_tokens.push_back(ids{0});
  wf::run_request states;
  states.capture = t5.info().hooks_for("encoder_final_ln.hook_out");
  auto const encoded = t5.run(read, states);
  wf::batch given = read;
  given.encoder_states = wf::tensor(wf::dtype::f32, {{"token", read.tokens.values.size()}, {"d_model", t5.info().d_model}});
  for (std::size_t i = 0, row = 0; i < 2; ++i)
    for (std::size_t p = 0; p < read.tokens[i].size(); ++p, ++row)
      wf::copy_into(given.encoder_states[row], encoded.at("encoder_final_ln.hook_out", i)[p]);
  std::vector<wf::language::token_lists> const t5_endings{{encode(t5, " went to Rome"), encode(t5, " gave")}, {{}, {3, 4, 5}}};
  auto const c = wf::language::score_choices(t5, read, t5_endings, request),
             d = wf::language::score_choices(t5, given, t5_endings, request);
  for (std::size_t i = 0; i < 2; ++i)
    for (std::size_t k = 0; k < 2; ++k) EXPECT_DOUBLE_EQ(c[i][k].log_probability, d[i][k].log_probability);
  EXPECT_THAT(
      [&] {
        wf::batch nothing;
        nothing.tokens.push_back(ids{});
        wf::language::score_choices(gpt2, nothing, std::vector<wf::language::token_lists>(1), request);
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("no token")));
  EXPECT_THAT(
      [&] {
        wf::batch one;
        one.tokens.push_back(ids{1});
        wf::language::score_choices(gpt2, one, std::vector<wf::language::token_lists>{{{1, 100000}}}, request);
      },
      ThrowsMessage<wf::data_error>(HasSubstr("token 100000")));
}

// ---- metrics
// --------------------------------------------------------------------------------------------------------------------

wf::results answers(std::vector<int> const& prediction, std::vector<int> const& gold) {
  wf::results r;
  r.add("prediction",
        wf::tensor::of(std::vector<std::int32_t>(prediction.begin(), prediction.end()), {{"item", prediction.size()}}));
  r.add("gold", wf::tensor::of(std::vector<std::int32_t>(gold.begin(), gold.end()), {{"item", gold.size()}}));
  return r;
}

/// `correct` of `items` right.
wf::results answers(std::size_t correct, std::size_t items = 10042) {
  std::vector<int> prediction(items, 1);
  std::fill_n(prediction.begin(), correct, 0);
  return answers(prediction, std::vector<int>(items, 0));
}

wf::results measure(std::string const& id, wf::results const& of, char const* port = nullptr, wf::results const* other = nullptr,
                    settings given = {}) {
  wf::metric_input in;
  in.put("of", "of", &of, nullptr);
  if (port) in.put(port, port, other, nullptr);
  wf::results out;
  wf::test::make<wf::metric>(id, std::move(given))->measure(in, out);
  return out;
}

TEST(accuracy, counts_what_is_right) {
  auto const out = measure("accuracy", answers({0, 1, 2, 3, 0}, {0, 1, 0, 3, 1}));
  EXPECT_DOUBLE_EQ(out.at("accuracy").scalar(), 0.6);
  EXPECT_EQ(out.at("correct").scalar(), 3);
  EXPECT_DOUBLE_EQ(out.at("standard_error").scalar(), std::sqrt(0.6 * 0.4 / 4));
  // From scores: the largest, the first among equals, and never what is no number.
  wf::results r;
  r.add("scores", wf::tensor::of(std::vector<double>{1, 3, 3, NAN, -1, -2, NAN, NAN, NAN}, {{"item", 3}, {"choice", 3}}));
  r.add("gold", wf::tensor::of(std::vector<std::int32_t>{1, 1, 0}, {{"item", 3}}));
  EXPECT_DOUBLE_EQ(measure("accuracy", r, nullptr, nullptr, {{"answers", std::string("scores")}}).at("accuracy").scalar(),
                   2.0 / 3);
}

TEST(accuracy, compares_two_over_the_same_items) {
  std::vector<int> gold(400, 1), a(400, 1), b(400, 1);
  for (std::size_t i = 0; i < 400; ++i) a[i] = i % 4 == 0 ? 0 : 1, b[i] = i % 8 < 3 ? 0 : 1;
  auto const one = answers(a, gold), other = answers(b, gold);
  auto const out = measure("accuracy", one, "against", &other);
  EXPECT_DOUBLE_EQ(out.at("accuracy_against").scalar(), 0.625);
  EXPECT_NEAR(out.at("difference").scalar(), 0.125, 1e-15);
  // Differences per item: 1 for i % 8 in {1, 2}, -1 for i % 8 == 4, else 0: variance 3/8 - 1/64 over 400 items.
  double const error = std::sqrt((3.0 / 8 - 1.0 / 64) / 400);
  EXPECT_NEAR(out.at("difference_standard_error").scalar(), error, 0.06 * error);
  EXPECT_NEAR(out.at("difference_low").scalar(), 0.125 - 1.96 * error, 0.3 * error);
  EXPECT_NEAR(out.at("difference_high").scalar(), 0.125 + 1.96 * error, 0.3 * error);
  for (std::size_t const threads : {1, 3}) {
    tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
    EXPECT_TRUE(same_bytes(measure("accuracy", one, "against", &other), out));
  }
  EXPECT_FALSE(same_bytes(measure("accuracy", one, "against", &other, {{"seed", std::int64_t{1}}}), out));
  EXPECT_EQ(measure("accuracy", one, "against", &one).at("difference_high").scalar(), 0);
  auto const few = answers(3, 7), elsewhere = answers(a, std::vector<int>(400, 0));
  EXPECT_THAT([&] { measure("accuracy", one, "against", &few); }, ThrowsMessage<wf::usage_error>(HasSubstr("7 against 400")));
  EXPECT_THAT([&] { measure("accuracy", one, "against", &elsewhere); },
              ThrowsMessage<wf::usage_error>(HasSubstr("other right answers")));
}

TEST(normalized_accuracy, divides_by_the_baseline_and_shows_what_a_guess_would_score) {
  auto const own = answers(600, 1000), base = answers(800, 1000);
  auto const out = measure("normalized_accuracy", own, "baseline", &base);
  EXPECT_DOUBLE_EQ(out.at("normalized").scalar(), 0.75);
  EXPECT_DOUBLE_EQ(out.at("chance_normalized").scalar(), 0.3125);
  EXPECT_DOUBLE_EQ(out.at("above_chance").scalar(), 0.35 / 0.55);
  // Right where `own` is right, the baseline's other 200 are own's misses: (hit - 0.75 base hit) / 0.8.
  double const variance = (600 * 0.25 * 0.25 + 200 * 0.75 * 0.75) / 999 / 0.64;
  EXPECT_NEAR(out.at("normalized_standard_error").scalar(), std::sqrt(variance / 1000), 1e-12);
  EXPECT_DOUBLE_EQ(
      measure("normalized_accuracy", own, "baseline", &base, {{"choices", std::int64_t{2}}}).at("above_chance").scalar(),
      0.1 / 0.3);
  // A baseline that only guesses has no lead to keep a share of.
  for (int const right : {250, 100, 0}) {
    auto const guess = answers(right, 1000);
    auto const none = measure("normalized_accuracy", own, "baseline", &guess);
    EXPECT_TRUE(std::isnan(none.at("above_chance").scalar())) << right;
    EXPECT_THAT(none.at("above_chance").missing(), HasSubstr("no better than guessing"));
    EXPECT_EQ(std::isnan(none.at("normalized").scalar()), right == 0);
  }
  // Accuracies alone.
  wf::results a, b;
  a.add("acc", 0.3), b.add("acc", 0.4);
  auto const alone = measure("normalized_accuracy", a, "baseline", &b, {{"answers", std::string("acc")}});
  EXPECT_DOUBLE_EQ(alone.at("normalized").scalar(), 0.75);
  EXPECT_EQ(alone.find("normalized_standard_error"), nullptr);
}

std::vector<texts> table(std::string const& name) {
  std::ifstream in(runs + "hellaswag/" + name);
  std::vector<texts> rows;
  for (std::string line; std::getline(in, line);) {
    rows.emplace_back();
    std::istringstream cells(line);
    for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(cell);
  }
  rows.erase(rows.begin());
  return rows;
}

TEST(normalized_accuracy, gives_the_published_scores_of_the_published_counts) {
  auto const rows = table("published-encoder-decoder.csv");
  ASSERT_EQ(rows.size(), 36u);
  std::map<std::string, double> chance;
  double best = 0;
  for (auto const& r : rows) {
    auto const own = answers(std::stoul(r[6])), base = answers(std::stoul(r[7]));
    auto const out = measure("normalized_accuracy", own, "baseline", &base);
    EXPECT_NEAR(out.at("normalized").scalar(), std::stod(r[8]), 0.00051) << r[0] << " " << r[1] << " " << r[2] << " " << r[3];
    EXPECT_NEAR(measure("accuracy", own).at("standard_error").scalar(), 0.0047, 0.0004);
    if (r[2] == "0") chance[r[1]] = out.at("chance_normalized").scalar();
    if (r[0] == "similarity") best = std::max(best, out.at("normalized").scalar());
  }
  EXPECT_NEAR(best, 0.96, 0.0005) << "\"up to 96 %\"";
  EXPECT_NEAR(chance["flan-t5-large"], 0.64, 0.005);
  EXPECT_NEAR(chance["flan-t5-xl"], 0.53, 0.006);
  EXPECT_NEAR(chance["flan-t5-xxl"], 0.46, 0.005);
  EXPECT_EQ(table("published-decoder-only.csv").size(), 129u);
  for (auto const& r : table("published-early.csv"))
    EXPECT_NEAR(measure("accuracy", answers(std::stoul(r[4]))).at("accuracy").scalar(), std::stod(r[3]), 5.1e-7) << r[0] << r[1];
}

}  // namespace
