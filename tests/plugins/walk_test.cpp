// The probes of walks and maps on small random models, against the same figures worked out here from the models' own activations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parameter_error.hpp>

#include "probes/common/repetition.hpp"
#include "run_plugins.hpp"

namespace {

namespace wf = wayfarer;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using ids = std::vector<std::vector<std::int32_t>>;
using matrix = std::vector<std::vector<double>>;

struct listed final : wf::source {
  listed(ids tokens, ids decoder = {}) : tokens_(std::move(tokens)), decoder_(std::move(decoder)) {
    info_.items = tokens_.size(), info_.has_tokens = true;
  }
  wf::source_info const& info() const override { return info_; }
  wf::item_block read(wf::item_range r) const override {
    wf::item_block b;
    b.first = r.first, b.count = r.size();
    for (std::size_t i = r.first; i < r.last; ++i) {
      b.tokens.push_back(tokens_[i]);
      if (!decoder_.empty()) b.decoder_tokens.push_back(decoder_[i]);
    }
    return b;
  }
  ids tokens_, decoder_;
  wf::source_info info_;
};

std::unique_ptr<wf::model> open(std::string const& plugin, std::string const& folder) {
  auto m = wf::test::make<wf::model>(plugin, {{"path", std::string(WAYFARER_SOURCE_DIR "/tests/data/") + folder}});
  m->load();
  return m;
}

/// As the host would: blocks of `block` items, in order.
wf::results observe(std::string const& id, wf::model const& m, wf::source const& s, wf::test::values given = {},
                    std::size_t block = 1) {
  auto const p = wf::test::make_probe(id, std::move(given));
  std::size_t const items = s.info().items;
  auto const everything = m.encode(s.read({0, items}), {});
  std::size_t longest = 0, decoder = 0;
  for (std::size_t i = 0; i < items; ++i) {
    longest = std::max(longest, everything.tokens[i].size());
    if (!everything.decoder_tokens.empty()) decoder = std::max(decoder, everything.decoder_tokens[i].size());
  }
  wf::probe_context const at(&m, &s, {0, items}, 0, longest, decoder);
  std::unique_ptr<wf::accumulator> whole;
  for (std::size_t first = 0; first < items; first += block) {
    auto const some = s.read({first, std::min(items, first + block)});
    auto const tokens = m.encode(some, {});
    wf::run_request request;
    request.capture = p->needs(m.info());
    wf::activations captured;
    if (!request.capture.empty()) captured = m.run(tokens, request);
    auto part = std::make_unique<wf::accumulator>(some.count);
    p->shape(*part, at);
    p->observe(*part, wf::sample(some, tokens, captured, 7), at);
    if (whole)
      p->merge(*whole, *part);
    else
      whole = std::move(part);
  }
  wf::results out;
  p->finish(*whole, out, at);
  return out;
}

/// An activation of one item, [pos][everything else].
matrix rows_of(wf::model const& m, listed const& s, std::size_t item, std::string const& hook) {
  wf::run_request request;
  request.capture = m.info().hooks_for(hook);
  auto const t = m.run(m.encode(s.read({item, item + 1}), {}), request).at(hook, 0).to(wf::dtype::f64);
  std::size_t const width = t.count() / t.size(0);
  matrix out(t.size(0), std::vector<double>(width));
  auto const all = t.values<double const>();
  for (std::size_t p = 0; p < out.size(); ++p)
    for (std::size_t d = 0; d < width; ++d) out[p][d] = all[p * width + d];
  return out;
}
wf::tensor pairs_of(wf::model const& m, listed const& s, std::size_t item, std::string const& hook) {
  wf::run_request request;
  request.capture = m.info().hooks_for(hook);
  return m.run(m.encode(s.read({item, item + 1}), {}), request).at(hook, 0).to(wf::dtype::f64);
}

double dot(std::vector<double> const& a, std::vector<double> const& b) {
  double s = 0;
  for (std::size_t i = 0; i < a.size(); ++i) s += a[i] * b[i];
  return s;
}
double cosine(std::vector<double> const& a, std::vector<double> const& b) {
  return dot(a, b) / std::sqrt(dot(a, a) * dot(b, b));
}
std::vector<double> softmax(std::vector<double> z) {
  double top = -INFINITY, sum = 0;
  for (double x : z) top = std::max(top, x);
  for (double& x : z) sum += x = std::exp(x - top);
  for (double& x : z) x /= sum;
  return z;
}
double get(wf::results const& r, std::string const& name, std::initializer_list<std::size_t> at) {
  return r.at(name).values().get(at);
}

listed const short_texts({{3, 5, 3, 8, 1, 5, 3}, {2, 2, 4}});

// ---- edits and the mask ---------------------------------------------------------------------------------------------------

wf::run_request with_pairs_set_to(wf::model const& m, std::string const& pattern, double value) {
  wf::run_request r;
  r.precision = wf::dtype::f64;
  auto const hooks = m.info().hooks_for(pattern);
  for (auto const& name : hooks.names())
    r.edits.push_back({name, [value](wf::edit_site const&, wf::tensor const& x) {
                         for (double& v : x.values<double>()) v = value;
                       }});
  r.capture = wf::hook_set({"logits"});
  return r;
}

TEST(mask, is_not_lifted_by_an_edit_of_scores_or_weights) {
  auto const gpt2 = open("gpt2", "gpt2-odd"), t5 = open("t5", "t5-relu");
  for (auto const* const m : {gpt2.get(), t5.get()}) {
    bool const two = m == t5.get();
    auto const batch_of = [&](std::vector<std::int32_t> const& tokens) {
      wf::batch b;
      if (two) b.tokens.push_back(std::vector<std::int32_t>{4, 9, 1});
      (two ? b.decoder_tokens : b.tokens).push_back(tokens);
      return b;
    };
    std::string const all = two ? "decoder.*.attn." : "blocks.*.attn.";
    for (std::string const hook : {"hook_attn_scores", "hook_pattern"})
      for (double const value : {0.0, 1.0}) {
        auto const request = with_pairs_set_to(*m, all + hook, value);
        auto const one = m->run(batch_of({3, 5, 3, 8, 1}), request).at("logits", 0),
                   other = m->run(batch_of({3, 5, 3, 8, 7}), request).at("logits", 0);
        for (std::size_t p = 0; p < 4; ++p)
          for (std::size_t v = 0; v < m->info().vocabulary; ++v)
            ASSERT_EQ(one.get({p, v}), other.get({p, v})) << m->info().architecture << " " << hook << " " << value << " at " << p;

        // A run that goes on is masked alike.
        wf::activations begun;
        auto const run = m->begin(batch_of({3, 5}), request, &begun);
        auto more = batch_of({3, 8, 1});
        if (two) more.tokens.values.clear(), more.tokens.offsets = {0, 0};
        auto const rest = run->extend(more, request).at("logits", 0);
        for (std::size_t p = 0; p < 5; ++p)
          EXPECT_NEAR(p < 2 ? begun.at("logits", 0).get({p, 2}) : rest.get({p - 2, 2}), one.get({p, 2}), 1e-9) << hook << p;
      }
    // What is captured is what was used: equal weights of the keys that are seen, none of the others.
    auto request = with_pairs_set_to(*m, all + "hook_attn_scores", 0);
    std::string const block = two ? "decoder.1.attn." : "blocks.1.attn.";
    request.capture = wf::hook_set({block + "hook_attn_scores", block + "hook_pattern"});
    auto const got = m->run(batch_of({3, 5, 3, 8, 1}), request);
    for (std::size_t q = 0; q < 5; ++q)
      for (std::size_t k = 0; k < 5; ++k) {
        EXPECT_EQ(got.at(block + "hook_attn_scores", 0).get({1, q, k}), k <= q ? 0 : -INFINITY);
        EXPECT_DOUBLE_EQ(got.at(block + "hook_pattern", 0).get({1, q, k}), k <= q ? 1 / static_cast<double>(q + 1) : 0);
      }
  }
}

// ---- similarity_map ------------------------------------------------------------------------------------------------------

TEST(similarity_map, is_the_inner_products_of_all_positions) {
  auto const m = open("gpt2", "gpt2-odd");
  auto const out = observe("similarity_map", *m, short_texts,
                           {{"hooks", std::vector<std::string>{"hook_embed", "blocks.0.attn.hook_q", "ln_final.hook_out"}},
                            {"nearest", std::int64_t{3}}});
  for (std::string const hook : {"hook_embed", "blocks.0.attn.hook_q", "ln_final.hook_out"})
    for (std::size_t i = 0; i < 2; ++i) {
      auto const x = rows_of(*m, short_texts, i, hook);
      double own = 0, other = 0;
      for (std::size_t p = 0; p < x.size(); ++p) {
        EXPECT_NEAR(get(out, hook + "/norm", {i, p}), std::sqrt(dot(x[p], x[p])), 1e-5);
        for (std::size_t q = 0; q < x.size(); ++q) {
          EXPECT_NEAR(get(out, hook + "/dot", {i, p, q}), dot(x[p], x[q]), 1e-5);
          EXPECT_NEAR(get(out, hook + "/cosine", {i, p, q}), cosine(x[p], x[q]), 1e-5);
          (p == q ? own : other) += dot(x[p], x[q]);
        }
      }
      double const n = static_cast<double>(x.size());
      EXPECT_NEAR(get(out, hook + "/self_bias_dot", {i}), own / n - other / (n * (n - 1)), 1e-4);
      EXPECT_NEAR(get(out, hook + "/self_bias_dot_expected", {i}), own / n, 1e-4);
      EXPECT_NEAR(get(out, hook + "/self_bias_cosine_expected", {i}), 1, 1e-6);
    }
  EXPECT_TRUE(std::isnan(get(out, "hook_embed/dot", {1, 0, 3}))) << "beyond the second text";
  EXPECT_NEAR(get(out, "hook_embed/cosine", {0, 0, 2}), 1, 1e-6) << "a token and itself again";
  EXPECT_LT(get(out, "ln_final.hook_out/cosine", {0, 0, 2}), 1 - 1e-4) << "in another place it is another vector";
  EXPECT_EQ(get(out, "token_ids", {0, 3}), 8);
  EXPECT_EQ(get(out, "token_ids", {1, 3}), -1);
  EXPECT_EQ(out.find("blocks.0.attn.hook_q/nearest_ids"), nullptr) << "queries are not in the embedding's space";

  auto const table = m->weight("embed.W_E").to(wf::dtype::f64);
  auto const x = rows_of(*m, short_texts, 0, "ln_final.hook_out");
  std::vector<std::pair<double, std::size_t>> products;
  for (std::size_t t = 0; t < table.size(0); ++t) {
    double s = 0;
    for (std::size_t d = 0; d < table.size(1); ++d) s += table.get({t, d}) * x[4][d];
    products.emplace_back(-s, t);
  }
  std::sort(products.begin(), products.end());
  for (std::size_t r = 0; r < 3; ++r) {
    EXPECT_EQ(get(out, "ln_final.hook_out/nearest_ids", {0, 4, r}), static_cast<double>(products[r].second));
    EXPECT_NEAR(get(out, "ln_final.hook_out/nearest_products", {0, 4, r}), -products[r].first, 1e-5);
  }
}

TEST(similarity_map, counts_every_pair_in_one_bin) {
  auto const m = open("gpt2", "gpt2-odd");
  auto const out = observe("similarity_map", *m, short_texts, {{"bins", std::int64_t{10}}});
  auto const x = rows_of(*m, short_texts, 0, "hook_embed");
  std::vector<double> expected(10);
  double const low = get(out, "hook_embed/histogram_cosine_edges", {0, 0}),
               high = get(out, "hook_embed/histogram_cosine_edges", {0, 10});
  for (auto const& a : x)
    for (auto const& b : x)
      expected[std::min<std::size_t>(9, static_cast<std::size_t>((cosine(a, b) - low) / (high - low) * 10))] += 1.0 / 49;
  double sum = 0;
  for (std::size_t b = 0; b < 10; ++b) {
    sum += get(out, "hook_embed/histogram_cosine", {0, b});
    EXPECT_NEAR(get(out, "hook_embed/histogram_cosine", {0, b}), expected[b], 2.1 / 49) << "but for an entry on an edge";
  }
  EXPECT_NEAR(sum, 1, 1e-12);
  EXPECT_NEAR(high, 1, 1e-6);
}

TEST(similarity_map, refuses_what_is_no_vector) {
  auto const m = open("gpt2", "gpt2-odd");
  EXPECT_THAT(
      [&] {
        observe("similarity_map", *m, short_texts, {{"hooks", std::vector<std::string>{"blocks.0.attn.hook_pattern"}}});
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("attention_map")));
  EXPECT_THAT(
      [&] {
        observe("similarity_map", *m, short_texts, {{"most_items", std::int64_t{1}}});
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("items: 0:1")));
}

// ---- attention_map -------------------------------------------------------------------------------------------------------

TEST(attention_map, takes_attention_without_a_position_bias_apart) {
  auto const m = open("gpt2", "gpt2-odd");
  auto const out = observe("attention_map", *m, short_texts,
                           {{"layers", std::vector<std::int64_t>{1}}, {"heads", std::vector<std::int64_t>{2, 0}}});
  auto const weights = pairs_of(*m, short_texts, 0, "blocks.1.attn.hook_pattern"),
             scores = pairs_of(*m, short_texts, 0, "blocks.1.attn.hook_attn_scores");
  std::size_t const n = 7;
  for (std::size_t h = 0; h < 2; ++h) {
    std::size_t const head = h == 0 ? 2 : 0;
    double divergence = 0, self = 0;
    for (std::size_t q = 0; q < n; ++q) {
      double row = 0;
      for (std::size_t k = 0; k <= q; ++k) {
        double const w = weights.get({head, q, k});
        row += get(out, "weights", {0, 0, h, q, k});
        EXPECT_NEAR(get(out, "weights", {0, 0, h, q, k}), w, 1e-6);
        EXPECT_NEAR(get(out, "score", {0, 0, h, q, k}), scores.get({head, q, k}), 1e-5);
        EXPECT_EQ(get(out, "score", {0, 0, h, q, k}), get(out, "qk", {0, 0, h, q, k}));
        divergence += w * std::log(w * static_cast<double>(q + 1));
      }
      EXPECT_NEAR(row, 1, 1e-5);
      EXPECT_TRUE(q + 1 == n || std::isnan(get(out, "weights", {0, 0, h, q, q + 1}))) << "a key that comes later";
      if (q > 0) self += weights.get({head, q, q}) - 1 / static_cast<double>(q + 1);
    }
    EXPECT_NEAR(get(out, "uniform_divergence", {0, 0, h}), divergence / n, 1e-6);
    EXPECT_NEAR(get(out, "self_bias_attention", {0, 0, h}), self / (n - 1), 1e-6);
  }
  EXPECT_EQ(out.find("kernel"), nullptr);
  EXPECT_EQ(out.find("association_bias"), nullptr) << "no score of a GPT-2 is of position alone";

  auto const z = rows_of(*m, short_texts, 0, "logits");
  double bias = 0, repeat = 0, rank = 0;
  for (std::size_t t = 0; t < n; ++t) {
    auto const token = static_cast<std::size_t>(short_texts.tokens_[0][t]);
    double mean = 0, square = 0;
    for (double x : z[t]) mean += x / static_cast<double>(z[t].size());
    for (double x : z[t]) square += (x - mean) * (x - mean) / static_cast<double>(z[t].size() - 1);
    bias += (z[t][token] - mean) / std::sqrt(square) / n;
    repeat += softmax(z[t])[token] / n;
    for (double x : z[t]) rank += (x > z[t][token]) / static_cast<double>(n);
  }
  // Under no bias: what the tokens at the six other places have, place by place.
  double expected_bias = 0, expected_repeat = 0, expected_rank = 0;
  for (std::size_t t = 0; t < n; ++t) {
    double mean = 0, square = 0;
    for (double x : z[t]) mean += x / static_cast<double>(z[t].size());
    for (double x : z[t]) square += (x - mean) * (x - mean) / static_cast<double>(z[t].size() - 1);
    for (std::size_t s = 0; s < n; ++s) {
      if (s == t) continue;
      auto const token = static_cast<std::size_t>(short_texts.tokens_[0][s]);
      expected_bias += (z[t][token] - mean) / std::sqrt(square) / (n * (n - 1));
      expected_repeat += softmax(z[t])[token] / (n * (n - 1));
      for (double x : z[t]) expected_rank += (x > z[t][token]) / static_cast<double>(n * (n - 1));
    }
  }
  EXPECT_NEAR(get(out, "self_bias_output_expected", {0}), expected_bias, 1e-4);
  EXPECT_NEAR(get(out, "repeat_probability_expected", {0}), expected_repeat, 1e-6);
  EXPECT_NEAR(get(out, "repeat_rank_expected", {0}), expected_rank, 1e-9);
  auto const x = rows_of(*m, short_texts, 0, "blocks.1.hook_resid_pre");
  double squares = 0;
  for (auto const& row : x) squares += dot(row, row) / static_cast<double>(n);
  EXPECT_NEAR(get(out, "self_bias_similarity_expected", {0, 0}), squares, 1e-4);
  EXPECT_NEAR(get(out, "self_bias_output", {0}), bias, 1e-4);
  EXPECT_NEAR(get(out, "repeat_probability", {0}), repeat, 1e-6);
  EXPECT_NEAR(get(out, "repeat_rank", {0}), rank, 1e-9);
  EXPECT_THAT(
      [&] {
        observe("attention_map", *m, short_texts, {{"layers", std::vector<std::int64_t>{9}}});
      },
      ThrowsMessage<wf::parameter_error>(HasSubstr("there is no layer 9")));
  EXPECT_THAT(
      [&] {
        observe("attention_map", *m, short_texts, {{"stack", std::string("encoder")}});
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("one stack")));
}

ids long_tokens(std::size_t n, std::uint32_t vocabulary) {
  std::vector<std::int32_t> row;
  for (std::size_t i = 0; i < n; ++i) row.push_back(static_cast<std::int32_t>((i * 7 + i * i) % vocabulary));
  return {row};
}

TEST(attention_map, parts_t5s_scores_into_words_and_positions) {
  auto const m = open("t5", "t5-relu");
  listed const text(long_tokens(45, 31), long_tokens(40, 29));
  for (std::string const stack : {"encoder", "decoder"}) {
    auto const out = observe("attention_map", *m, text, {{"stack", stack}, {"layers", std::vector<std::int64_t>{1}}});
    EXPECT_LT(get(out, "bias_error", {0}), 1e-5) << "score = q.k + bias";
    auto const score = pairs_of(*m, text, 0, stack + ".1.attn.hook_attn_scores");
    auto const table = m->weight(stack + ".0.attn.position_bias").to(wf::dtype::f64);
    std::size_t const n = stack == "encoder" ? 45 : 40, row = stack == "encoder" ? 22 : 30;
    EXPECT_EQ(get(out, "rel_pos", {0, row}), 0);
    EXPECT_NEAR(get(out, "kernel", {0, 1, row}), table.get({0, 1}), 1e-6);
    EXPECT_NEAR(get(out, "kernel", {0, 2, row - 5}), table.get({5, 2}), 1e-6);
    double const ahead = get(out, "kernel", {0, 2, row + 5});
    EXPECT_TRUE(stack == "encoder" ? std::abs(ahead - table.get({21, 2})) < 1e-6 : std::isnan(ahead));
    EXPECT_NEAR(get(out, "score", {0, 0, 1, 12, 9}), score.get({1, 12, 9}), 1e-5);
    // Weights without the words are the softmax of the bias.
    double divergence = 0;
    auto const weights = pairs_of(*m, text, 0, stack + ".1.attn.hook_pattern");
    for (std::size_t q = 0; q < n; ++q) {
      std::vector<double> bias;
      for (std::size_t k = 0; k < (stack == "encoder" ? n : q + 1); ++k) bias.push_back(get(out, "bias", {0, 1, q, k}));
      auto const alone = softmax(bias);
      for (std::size_t k = 0; k < alone.size(); ++k)
        divergence += weights.get({1, q, k}) * std::log(weights.get({1, q, k}) / alone[k]);
    }
    EXPECT_NEAR(get(out, "association_bias", {0, 0, 1}), divergence / static_cast<double>(n), 1e-5);
    EXPECT_EQ(get(out, "self_bias_position_distances", {0}), stack == "encoder" ? 64 : 32);
    auto const flat = observe("attention_map", *m, listed({{7, 7, 7}}, {{7, 7, 7}}), {{"stack", stack}});
    EXPECT_GT(get(flat, "uniform_divergence", {0, 0, 1}), 0);
    EXPECT_EQ(get(flat, "self_bias_position_distances", {0}), stack == "encoder" ? 4 : 2);
  }
  auto const cross = observe("attention_map", *m, text, {{"stack", std::string("cross")}});
  EXPECT_EQ(wf::describe(cross.at("weights").shape()), "item 1 x layer 1 x head 3 x query 40 x key 45");
  EXPECT_EQ(cross.find("bias"), nullptr);
  EXPECT_EQ(cross.find("association_bias"), nullptr);
  EXPECT_GE(get(cross, "uniform_divergence", {0, 0, 1}), 0);
  auto const bert = open("bert", "bert-small");
  EXPECT_EQ(observe("attention_map", *bert, listed({{1, 5, 9, 2}})).find("association_bias"), nullptr);
}

// ---- position_kernel -----------------------------------------------------------------------------------------------------

TEST(position_kernel, is_the_bucket_table_by_distance) {
  auto const m = open("t5", "t5-relu");
  wf::results out;
  wf::test::make_probe("position_kernel", {{"distance", std::int64_t{140}}})
      ->finish(wf::accumulator(0), out, wf::probe_context(m.get(), nullptr, {}, 0));
  for (std::string const stack : {"encoder", "decoder"}) {
    auto const table = m->weight(stack + ".0.attn.position_bias").to(wf::dtype::f64);
    EXPECT_EQ(out.at(stack + "/toeplitz_error").scalar(), 0);
    for (std::size_t h = 0; h < 3; ++h) {
      // Distances at bucket edges, by hand from the definition: 32 buckets, distances from 128 on share the last.
      std::map<int, std::size_t> const buckets =
          stack == "encoder" ? std::map<int, std::size_t>{{0, 0},     {-7, 7}, {-8, 8}, {-12, 9}, {-128, 15},
                                                          {-140, 15}, {1, 17}, {8, 24}, {140, 31}}
                             : std::map<int, std::size_t>{{0, 0}, {-15, 15}, {-16, 16}, {-128, 31}, {-140, 31}};
      for (auto const& [d, bucket] : buckets)
        EXPECT_NEAR(get(out, stack + "/kernel", {h, static_cast<std::size_t>(d + 140)}), table.get({bucket, h}), 1e-6)
            << stack << " " << d;
      double mean = 0, n = 0;
      for (int d = -32; d <= (stack == "encoder" ? 32 : 0); ++d)
        if (d != 0) mean += get(out, stack + "/kernel", {h, static_cast<std::size_t>(d + 140)}), n += 1;
      EXPECT_NEAR(get(out, stack + "/self_bias_position", {h}), table.get({0, h}) - mean / n, 1e-6);
      EXPECT_EQ(out.at(stack + "/self_bias_position_distances").scalar(), n);
    }
  }
  auto const gpt2 = open("gpt2", "gpt2-odd");
  EXPECT_THAT(
      [&] {
        wf::test::make_probe("position_kernel")->finish(wf::accumulator(0), out, wf::probe_context(gpt2.get(), nullptr, {}, 0));
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("no position bias")));
}

// ---- encoding_walk -------------------------------------------------------------------------------------------------------

/// What of a GPT-2's attention at p other positions brought, by squared length: each source's w v W_O, summed here one by one.
double share_of_others(wf::model const& m, listed const& s, std::size_t layer, std::size_t p) {
  std::string const at = "blocks." + std::to_string(layer) + ".attn.";
  auto const pattern = pairs_of(m, s, 0, at + "hook_pattern"), v = pairs_of(m, s, 0, at + "hook_v");
  auto const w_o = m.weight(at + "W_O").to(wf::dtype::f64), b_o = m.weight(at + "b_O").to(wf::dtype::f64);
  std::vector<double> own(m.info().d_model), others(m.info().d_model);
  for (std::size_t d = 0; d < own.size(); ++d) {
    own[d] = b_o.get({d});
    for (std::size_t h = 0; h < m.info().heads; ++h)
      for (std::size_t j = 0; j < m.info().d_head; ++j)
        for (std::size_t key = 0; key < v.size(0); ++key)
          (key == p ? own : others)[d] += pattern.get({h, p, key}) * v.get({key, h, j}) * w_o.get({h, j, d});
  }
  return dot(others, others) / (dot(others, others) + dot(own, own));
}

TEST(encoding_walk, of_a_single_token_brings_nothing_from_others) {
  for (auto const& [plugin, folder] : {std::pair{"gpt2", "gpt2-odd"}, std::pair{"bert", "bert-small"}}) {
    auto const m = open(plugin, folder);
    auto const one = observe("encoding_walk", *m, listed(ids{{3}}), {{"ranks", false}});
    EXPECT_LT(one.at("mean_aggregation_share").scalar(), 1e-9) << plugin;
    EXPECT_GT(get(one, "step_length", {0, 0, 0}), 0) << "attention moves it all the same";
    auto const two = observe("encoding_walk", *m, listed(ids{{3, 5}}), {{"ranks", false}});
    EXPECT_GT(get(two, "aggregation_share", {0, 1}), 0.01) << plugin;
    EXPECT_LT(get(two, "aggregation_share", {0, 1}), 1);
  }
}

TEST(encoding_walk, measures_steps_between_residual_states) {
  auto const m = open("gpt2", "gpt2-odd");
  auto const out = observe("encoding_walk", *m, short_texts, {{"states", true}, {"nearest", std::int64_t{2}}}, 2);
  std::size_t const layers = m->info().layers;
  std::vector<matrix> h{rows_of(*m, short_texts, 0, "blocks.0.hook_resid_pre")};
  for (std::size_t l = 0; l < layers; ++l) {
    h.push_back(rows_of(*m, short_texts, 0, "blocks." + std::to_string(l) + ".hook_resid_mid"));
    h.push_back(rows_of(*m, short_texts, 0, "blocks." + std::to_string(l) + ".hook_resid_post"));
  }
  auto const minus = [](std::vector<double> a, std::vector<double> const& b) {
    for (std::size_t d = 0; d < a.size(); ++d) a[d] -= b[d];
    return a;
  };
  for (std::size_t p = 0; p < 7; ++p) {
    double total = 0, aggregated = 0;
    for (std::size_t s = 0; s + 1 < h.size(); ++s) {
      auto const step = minus(h[s + 1][p], h[s][p]);
      EXPECT_NEAR(get(out, "step_length", {0, s, p}), std::sqrt(dot(step, step)), 1e-5);
      total += dot(step, step);
      if (s % 2 == 0) {
        auto const share = share_of_others(*m, short_texts, s / 2, p);
        EXPECT_NEAR(get(out, "from_others", {0, s, p}), share, 1e-5);
        EXPECT_TRUE(p > 0 || share < 1e-9) << "nobody stands before the first";
        aggregated += share * dot(step, step);
      } else {
        EXPECT_EQ(get(out, "from_others", {0, s, p}), 0);
      }
      EXPECT_EQ(get(out, "kind", {s}), s % 2 == 0);
      if (s == 0) continue;
      EXPECT_NEAR(get(out, "angle", {0, s, p}), std::acos(cosine(step, minus(h[s][p], h[s - 1][p]))), 1e-4);
    }
    EXPECT_NEAR(get(out, "aggregation_share", {0, p}), aggregated / total, 1e-5);
    for (std::size_t s = 0; s < h.size(); ++s) {
      EXPECT_NEAR(get(out, "norm", {0, s, p}), std::sqrt(dot(h[s][p], h[s][p])), 1e-5);
      EXPECT_NEAR(get(out, "cosine_to_start", {0, s, p}), cosine(h[s][p], h[0][p]), 1e-5);
      EXPECT_NEAR(get(out, "cosine_to_end", {0, s, p}), cosine(h[s][p], h.back()[p]), 1e-5);
      EXPECT_NEAR(get(out, "states", {0, s, p, 1}), h[s][p][1], 1e-6);
    }
    auto const z = rows_of(*m, short_texts, 0, "logits")[p];
    EXPECT_EQ(get(out, "predicted_ids", {0, p}), static_cast<double>(std::max_element(z.begin(), z.end()) - z.begin()));
    EXPECT_EQ(get(out, "predicted_rank", {0, h.size() - 1, p}), 0);
  }
  EXPECT_TRUE(std::isnan(get(out, "step_length", {1, 0, 3})));
  EXPECT_TRUE(std::isnan(get(out, "mean_angle", {0})));
}

TEST(encoding_walk, self_bias_is_the_logit_of_the_own_token_less_the_mean_of_the_others) {
  auto const gpt2 = open("gpt2", "gpt2-odd"), t5 = open("t5", "t5-relu");
  listed const pairs({{4, 9, 1}}, {{3, 5, 3, 8, 1}});
  for (auto const* const m : {gpt2.get(), t5.get()}) {
    bool const two = m == t5.get();
    listed const& texts = two ? pairs : short_texts;
    auto const out = observe("encoding_walk", *m, texts, {{"ranks", false}, {"nearest", std::int64_t{0}}});
    std::string const blocks = two ? "decoder." : "blocks.";
    std::vector<std::string> hooks{blocks + "0.hook_resid_pre"};
    for (std::size_t l = 0; l < (two ? 3u : 2u); ++l)
      for (std::string const hook : {"hook_resid_mid", "hook_resid_mid_cross", "hook_resid_post"})
        if (m->info().find_hook(blocks + std::to_string(l) + "." + hook))
          hooks.push_back(blocks + std::to_string(l) + "." + hook);
    std::vector<std::vector<double>> mean(texts.tokens_.size(), std::vector<double>(hooks.size()));
    for (std::size_t i = 0; i < texts.tokens_.size(); ++i)
      for (std::size_t s = 0; s < hooks.size(); ++s) {
        auto const& tokens = two ? texts.decoder_[i] : texts.tokens_[i];
        wf::run_request request;
        request.capture = m->info().hooks_for(hooks[s]);
        auto const states = m->run(m->encode(texts.read({i, i + 1}), {}), request).at(hooks[s], 0);
        auto const logits = m->unembed(m->final_norm(states.to(wf::dtype::f64)));
        std::size_t const n = tokens.size();
        for (std::size_t p = 0; p < n; ++p) {
          std::vector<double> z;
          for (std::size_t v = 0; v < m->info().vocabulary; ++v) z.push_back(logits.get({p, v}));
          auto const law = softmax(z);
          double others = 0, probability = 0;
          for (std::size_t q = 0; q < n; ++q)
            if (q != p) {
              others += z[static_cast<std::size_t>(tokens[q])] / static_cast<double>(n - 1);
              probability += law[static_cast<std::size_t>(tokens[q])] / static_cast<double>(n - 1);
            }
          auto const own = static_cast<std::size_t>(tokens[p]);
          EXPECT_NEAR(get(out, "self_bias", {i, s, p}), z[own] - others, 1e-4) << hooks[s];
          EXPECT_NEAR(get(out, "repeat_probability", {i, s, p}), law[own], 1e-5);
          EXPECT_NEAR(get(out, "repeat_probability_expected", {i, s, p}), probability, 1e-5);
          mean[i][s] += (z[own] - others) / static_cast<double>(n);
        }
      }
    double total = 0, by_kind[2] = {};
    for (std::size_t s = 0; s < hooks.size(); ++s) {
      double all = 0;
      for (auto const& item : mean) all += item[s] / static_cast<double>(mean.size());
      EXPECT_NEAR(get(out, "mean_self_bias", {s}), all, 1e-4);
      if (s == 0) continue;
      double const change = get(out, "self_bias_change", {s - 1});
      total += change;
      by_kind[static_cast<std::size_t>(get(out, "kind", {s - 1}))] += change;
    }
    EXPECT_NEAR(total, get(out, "mean_self_bias", {hooks.size() - 1}) - get(out, "mean_self_bias", {0}), 1e-9);
    EXPECT_NEAR(out.at("self_bias_by_filters").scalar(), by_kind[0], 1e-9);
    EXPECT_NEAR(out.at("self_bias_by_aggregation").scalar(), by_kind[1], 1e-9);
    EXPECT_THAT(out.summary(), HasSubstr("self-bias "));
    if (!two)
      EXPECT_NEAR(get(out, "mean_self_bias_standard_error", {1}), std::abs(mean[0][1] - mean[1][1]) / 2, 1e-4);
    else
      EXPECT_TRUE(std::isnan(get(out, "mean_self_bias_standard_error", {1}))) << "one item has no error";
  }
}

TEST(encoding_walk, self_bias_of_one_token_or_of_one_token_all_over_is_none) {
  auto const m = open("gpt2", "gpt2-odd");
  auto const out = observe("encoding_walk", *m, listed(ids{{3}, {5, 5, 5, 5}}), {{"ranks", false}});
  EXPECT_TRUE(std::isnan(get(out, "self_bias", {0, 0, 0})));
  for (std::size_t s = 0; s < 5; ++s) {
    EXPECT_NEAR(get(out, "self_bias", {1, s, 2}), 0, 1e-5) << "its own token is that of the others";
    EXPECT_NEAR(get(out, "repeat_probability", {1, s, 2}), get(out, "repeat_probability_expected", {1, s, 2}), 1e-6);
    EXPECT_NEAR(get(out, "mean_self_bias", {s}), 0, 1e-5);
  }
}

TEST(encoding_walk, knows_where_norms_stand_on_the_path) {
  auto const bert = open("bert", "bert-small");
  auto const out = observe("encoding_walk", *bert, listed({{1, 5, 9, 2}}), {{"ranks", false}});
  EXPECT_THAT(out.at("kind").find_labels("step")[0], ::testing::ElementsAre("0 attention", "0 norm", "0 feed-forward", "0 norm",
                                                                            "1 attention", "1 norm", "1 feed-forward", "1 norm"));
  auto const t5 = open("t5", "t5-relu");
  listed const text({{3, 4, 5, 1}}, {{0, 7, 7}});
  auto const decoder = observe("encoding_walk", *t5, text);
  EXPECT_EQ(decoder.at("step_length").values().size("step"), 9u) << "three sub-layers in each of three blocks";
  EXPECT_EQ(get(decoder, "kind", {1}), 1) << "attention to the encoder aggregates";
  auto const encoder = observe("encoding_walk", *t5, text, {{"stack", std::string("encoder")}, {"nearest", std::int64_t{1}}});
  EXPECT_EQ(encoder.at("step_length").values().size("step"), 4u);
  // The last state through the encoder's final norm is what the model itself gives.
  auto const x = rows_of(*t5, text, 0, "encoder_final_ln.hook_out");
  auto const table = t5->weight("embed.W_E").to(wf::dtype::f64);
  double best = -INFINITY;
  std::size_t at = 0;
  for (std::size_t t = 0; t < table.size(0); ++t) {
    double s = 0;
    for (std::size_t d = 0; d < table.size(1); ++d) s += table.get({t, d}) * x[2][d];
    if (s > best) best = s, at = t;
  }
  EXPECT_EQ(get(encoder, "nearest_ids", {0, 4, 2, 0}), static_cast<double>(at));
}

// ---- repetition ----------------------------------------------------------------------------------------------------------

namespace rep = wf::repetition;

std::vector<std::int32_t> drawn(std::size_t n, std::uint32_t vocabulary, std::uint64_t item) {
  wf::random_stream draw(5, "uniform tokens", item);
  std::vector<std::int32_t> out(n);
  for (auto& t : out) t = static_cast<std::int32_t>(draw.below(vocabulary));
  return out;
}

TEST(repetition, of_a_cycle_is_its_length) {
  std::vector<std::int32_t> walk{9, 8, 7};  // a way in, then 3 1 4 1 5 round and round
  for (int i = 0; i < 22; ++i) walk.push_back(std::vector<std::int32_t>{3, 1, 4, 1, 5}[static_cast<std::size_t>(i % 5)]);
  auto const round = rep::cycle_of(walk);
  EXPECT_EQ(round.length, 5u);
  EXPECT_EQ(round.first, 3u);
  // Of n-grams the way in gives 3, the cycle 5, or 4 of one token.
  auto const share = rep::repeated_ngrams(walk);
  EXPECT_DOUBLE_EQ(share[0], 1 - 7.0 / 25);
  for (std::size_t n = 2; n <= 4; ++n) EXPECT_DOUBLE_EQ(share[n - 1], 1 - 8.0 / static_cast<double>(26 - n)) << n;
  EXPECT_EQ(rep::cycle_of(std::vector<std::int32_t>(7, 2)).length, 1u);
  EXPECT_EQ(rep::cycle_of(std::vector<std::int32_t>{1, 2, 2, 2}).length, 0u) << "three of a kind are no cycle yet";
  EXPECT_EQ(rep::cycle_of(std::vector<std::int32_t>{1, 2, 3, 4, 5, 6, 1, 2, 3, 4}).length, 0u) << "it did not come round twice";
  EXPECT_EQ(rep::cycle_of({}).length, 0u);
  EXPECT_TRUE(std::isnan(rep::repeated_ngrams(std::vector<std::int32_t>{1, 2})[2]));
}

TEST(repetition, of_independent_tokens_is_what_chance_gives) {
  // Of L independent uniform tokens of V, V (1 - (1 - 1/V)^L) are distinct on average; n-grams are words of V^n, but for
  // overlaps.
  constexpr std::size_t L = 60, walks = 150;
  for (std::uint32_t const V : {20u, 3u}) {
    std::array<double, rep::longest_gram> measured{}, shuffled{};
    double cycles = 0, by_chance = 0;
    for (std::size_t w = 0; w < walks; ++w) {
      auto const tokens = drawn(L, V, w);
      auto const share = rep::repeated_ngrams(tokens);
      wf::random_stream draw(1, "orders", w);
      auto const mixed = rep::in_random_order(tokens, draw);
      EXPECT_NEAR(mixed.repeated[0], share[0], 1e-12) << "order does not change which tokens there are";
      for (std::size_t n = 0; n < rep::longest_gram; ++n)
        measured[n] += share[n] / walks, shuffled[n] += mixed.repeated[n] / walks;
      cycles += static_cast<double>(rep::cycle_of(tokens).length != 0) / walks, by_chance += mixed.cycles / walks;
    }
    for (std::size_t n = 0; n < rep::longest_gram; ++n) {
      double const words = std::pow(V, n + 1), all = static_cast<double>(L - n);
      double const expected = 1 - words * (1 - std::pow(1 - 1 / words, all)) / all;
      EXPECT_NEAR(measured[n], expected, 0.02) << V << " " << n + 1;
      EXPECT_NEAR(shuffled[n], measured[n], 0.02) << V << " " << n + 1;
    }
    // The last 4 tokens are those p before them with 1 in V^4, for p = 1 to 4; longer cycles are rarer still.
    EXPECT_NEAR(by_chance, V == 3 ? 0.055 : 0, V == 3 ? 0.015 : 0.001);
    EXPECT_NEAR(cycles, by_chance, 0.04);
  }
  // A text is compared over windows as long as the walk: here each holds every token once.
  std::vector<std::int32_t> counting;
  for (int i = 0; i < 40; ++i) counting.push_back(i % 10);
  EXPECT_EQ(rep::repeated_in_windows(counting, 10)[0], 0);
  EXPECT_EQ(rep::repeated_in_windows(counting, 40)[0], 0.75);
}

TEST(repetition, of_others_is_their_mean_standing) {
  std::vector<float> const z{1, 3, 2, 2, NAN, 0};
  rep::counted const text(std::vector<std::int32_t>{3, 1, 3, 5});
  auto const one = [](std::size_t) { return 1.0; };
  // Ranks are 1: 0, 2: 1, 3: 2, 0: 3, 5: 4. Besides one 3 there are 1, 3 and 5.
  auto const got = rep::of_others(std::span<float const>(z), text, 3, one);
  EXPECT_DOUBLE_EQ(got.rank, (0 + 2 + 4) / 3.0);
  EXPECT_DOUBLE_EQ(got.logit, (3 + 2 + 0) / 3.0);
  EXPECT_DOUBLE_EQ(got.probability, 1);
  EXPECT_TRUE(std::isnan(rep::of_others(std::span<float const>(z), rep::counted(std::vector<std::int32_t>{3}), 3, one).rank));
}

// ---- decoding_walk -------------------------------------------------------------------------------------------------------

TEST(decoding_walk, measures_a_given_path) {
  auto const m = open("gpt2", "gpt2-odd");
  auto const out = observe("decoding_walk", *m, short_texts,
                           {{"preset", std::string("forced")},
                            {"prompt", std::int64_t{2}},
                            {"length", std::int64_t{5}},
                            {"contexts", true},
                            {"pairs", std::int64_t{10}}});
  auto const z = rows_of(*m, short_texts, 0, "logits"), c = rows_of(*m, short_texts, 0, "ln_final.hook_out");
  auto const& tokens = short_texts.tokens_[0];
  double path = 0;
  EXPECT_EQ(get(out, "length", {0}), 5);
  for (std::size_t s = 0; s < 5; ++s) {
    std::size_t const t = 1 + s;
    auto p = softmax(z[t]);
    auto const next = static_cast<std::size_t>(tokens[t + 1]);
    double entropy = 0, rank = 0, gap = 0;
    for (double x : p) entropy -= x * std::log(x), rank += x > p[next];
    for (std::size_t d = 0; d < c[t].size(); ++d) gap += (c[t + 1][d] - c[t][d]) * (c[t + 1][d] - c[t][d]);
    EXPECT_EQ(get(out, "next_ids", {0, s}), static_cast<double>(next));
    EXPECT_NEAR(get(out, "log_probability", {0, s}), std::log(p[next]), 1e-5);
    EXPECT_NEAR(get(out, "path_log_probability", {0, s}), path += std::log(p[next]), 1e-4);
    EXPECT_NEAR(get(out, "entropy", {0, s}), entropy, 1e-5);
    EXPECT_EQ(get(out, "rank", {0, s}), rank);
    EXPECT_NEAR(get(out, "distance", {0, s}), std::sqrt(gap), 1e-4);
    EXPECT_NEAR(get(out, "repeat_probability", {0, s}), p[static_cast<std::size_t>(tokens[t])], 1e-6);
    EXPECT_NEAR(get(out, "contexts", {0, s, 0}), c[t][0], 1e-5);
    std::sort(p.rbegin(), p.rend());
    double mass = 0, count = 0;
    for (double x : p) {
      mass += x, count += 1;
      if (mass >= 0.9) break;
    }
    EXPECT_NEAR(get(out, "top_p_count", {0, s}), count, 1);
  }
  EXPECT_EQ(get(out, "length", {1}), 1) << "the second text has one token beyond its prompt";
  EXPECT_EQ(get(out, "next_ids", {1, 1}), -1);

  // Token 3 stands at 0, 2 and 6, token 5 at 1 and 5: four pairs in all.
  auto const divergence = [&](std::size_t a, std::size_t b) {
    auto const p = softmax(z[a]), q = softmax(z[b]);
    double d = 0;
    for (std::size_t v = 0; v < p.size(); ++v) {
      double const mean = (p[v] + q[v]) / 2;
      d += 0.5 * p[v] * std::log(p[v] / mean) + 0.5 * q[v] * std::log(q[v] / mean);
    }
    return d;
  };
  std::vector<double> expected{divergence(0, 2), divergence(0, 6), divergence(2, 6), divergence(1, 5)}, got;
  for (std::size_t k = 0; k < 10; ++k)
    if (!std::isnan(get(out, "divergence_same", {0, k}))) got.push_back(get(out, "divergence_same", {0, k}));
  std::sort(expected.begin(), expected.end()), std::sort(got.begin(), got.end());
  ASSERT_EQ(got.size(), 4u);
  for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(got[k], expected[k], 1e-6);
}

double sum_of(wf::results const& r, std::string const& name) {
  double s = 0;
  for (double const x : r.at(name).values().to(wf::dtype::f64).values<double const>()) s += std::isnan(x) ? 0 : x;
  return s;
}

TEST(decoding_walk, sets_history_apart_from_the_last_token_and_its_position) {
  auto const m = open("gpt2", "gpt2-odd");
  wf::test::values const forced{{"preset", std::string("forced")}, {"length", std::int64_t{6}}, {"pairs", std::int64_t{10}}};
  auto const out = observe("decoding_walk", *m, short_texts, forced);
  // Each control by hand: a token alone at its position, and the text with attention's output zeroed.
  auto const divergence = [&](std::vector<double> const& a, std::vector<double> const& b) {
    auto const p = softmax(a), q = softmax(b);
    double d = 0;
    for (std::size_t v = 0; v < p.size(); ++v)
      d += 0.5 * p[v] * std::log(2 * p[v] / (p[v] + q[v])) + 0.5 * q[v] * std::log(2 * q[v] / (p[v] + q[v]));
    return d;
  };
  auto const row = [](wf::tensor const& t, std::size_t p) {
    std::vector<double> logits;
    for (std::size_t v = 0; v < t.size(1); ++v) logits.push_back(t.get({p, v}));
    return logits;
  };
  wf::run_request request;
  request.capture = wf::hook_set({"logits"});
  auto const& tokens = short_texts.tokens_[0];
  auto const alone = [&](std::size_t p) {
    wf::batch b;
    b.tokens.push_back(std::span(tokens).subspan(p, 1));
    b.first_position = {p};
    return row(m->run(b, request).at("logits", 0), 0);
  };
  auto cut = request;
  for (std::size_t l = 0; l < m->info().layers; ++l)
    cut.edits.push_back({"blocks." + std::to_string(l) + ".hook_attn_out", [](wf::edit_site const&, wf::tensor const& x) {
                           for (float& v : x.values<float>()) v = 0;
                         }});
  auto const off = m->run(m->encode(short_texts.read({0, 1}), {}), cut).at("logits", 0);
  // The pairs that end in 5: one, at 1 and 5.
  std::size_t k = 0;
  while (get(out, "pair_ids", {0, k}) != 5) ++k;
  EXPECT_NEAR(get(out, "divergence_last_token", {0, k}), divergence(alone(1), alone(5)), 1e-6);
  EXPECT_NEAR(get(out, "divergence_attention_off", {0, k}), divergence(row(off, 1), row(off, 5)), 1e-6);
  double const above = out.at("non_markov").scalar() -
                       std::max(out.at("non_markov_last_token").scalar(), out.at("non_markov_attention_off").scalar());
  EXPECT_NEAR(out.at("history_dependence").scalar(), above, 1e-9);

  // An encoder-decoder's decoder has no position for a token alone, so the control is 0.
  auto const t5 = open("t5", "t5-relu");
  auto const two = observe("decoding_walk", *t5, listed({{4, 9, 1}}, {{0, 7, 7, 3, 7}}), forced);
  EXPECT_EQ(two.at("non_markov_last_token").scalar(), 0);
  EXPECT_NEAR(two.at("non_markov_attention_off").scalar(), 0, 1e-9);
  EXPECT_GT(two.at("history_dependence").scalar(), 0);
}

TEST(decoding_walk, sampled_has_the_probability_under_the_law_that_it_was_drawn_from) {
  auto const m = open("gpt2", "gpt2-odd");
  listed const prompts({{3, 5}, {2}});
  auto const out =
      observe("decoding_walk", *m, prompts,
              {{"preset", std::string("sample")}, {"length", std::int64_t{5}}, {"temperature", 0.5}, {"top_p", 0.8}});
  for (std::size_t i = 0; i < 2; ++i) {
    auto text = prompts.tokens_[i];
    double path = 0;
    for (std::size_t s = 0; s < 5; ++s) {
      auto const z = rows_of(*m, listed(ids{text}), 0, "logits").back();
      auto sharper = z;
      for (double& x : sharper) x /= 0.5;
      auto const p = softmax(sharper);
      auto sorted = p;
      std::sort(sorted.rbegin(), sorted.rend());
      double mass = 0;
      for (double const x : sorted)
        if ((mass += x) >= 0.8) break;
      auto const token = static_cast<std::size_t>(get(out, "next_ids", {i, s}));
      EXPECT_NEAR(get(out, "drawn_log_probability", {i, s}), std::log(p[token] / mass), 1e-4);
      EXPECT_NEAR(get(out, "path_drawn_log_probability", {i, s}), path += std::log(p[token] / mass), 1e-3);
      EXPECT_NEAR(get(out, "log_probability", {i, s}), std::log(softmax(z)[token]), 1e-5);
      text.push_back(static_cast<std::int32_t>(token));
    }
  }
  EXPECT_NEAR(out.at("mean_drawn_log_probability").scalar(), sum_of(out, "drawn_log_probability") / 10, 1e-12);
  EXPECT_EQ(observe("decoding_walk", *m, prompts, {{"length", std::int64_t{2}}}).find("drawn_log_probability"), nullptr);
}

TEST(decoding_walk, ends_an_item_at_the_models_last_position) {
  auto const m = open("gpt2", "gpt2-odd");
  std::size_t const room = m->info().longest;
  auto const full = long_tokens(room, 29)[0];
  listed const prompts({full, {full.begin(), full.end() - 2}, {3, 5}});
  for (std::string const preset : {"greedy", "sample", "beam"}) {
    auto const out = observe("decoding_walk", *m, prompts, {{"preset", preset}, {"length", std::int64_t{5}}}, 2);
    for (auto const& [i, steps] : {std::pair{0u, 0}, std::pair{1u, 2}, std::pair{2u, 5}}) {
      EXPECT_EQ(get(out, "length", {i}), steps) << preset;
      EXPECT_EQ(get(out, "ended_by_context", {i}), steps < 5) << preset;
    }
    EXPECT_EQ(out.at("walks_ended_by_context").scalar(), 2);
    EXPECT_THAT(out.summary(), HasSubstr("2 walks ended at the model's last position"));
    EXPECT_TRUE(std::isnan(get(out, "repeated_ngrams", {0, 0})));
  }
}

TEST(decoding_walk, counts_what_comes_again) {
  auto const m = open("gpt2", "gpt2-odd");
  std::vector<std::int32_t> text{9};
  for (int i = 0; i < 3; ++i) text.insert(text.end(), {3, 1, 4});
  auto const out =
      observe("decoding_walk", *m, listed(ids{text}), {{"preset", std::string("forced")}, {"length", std::int64_t{9}}});
  EXPECT_EQ(get(out, "cycle_length", {0}), 3);
  EXPECT_EQ(get(out, "cycle_start", {0}), 0);
  EXPECT_EQ(out.at("cycles").scalar(), 1);
  EXPECT_DOUBLE_EQ(get(out, "repeated_ngrams", {0, 3}), 0.5);
  EXPECT_DOUBLE_EQ(get(out, "distinct_ngrams", {0, 3}), 0.5);
  EXPECT_DOUBLE_EQ(get(out, "mean_repeated_ngrams", {3}), 0.5);
  EXPECT_DOUBLE_EQ(get(out, "repeated_ngrams_expected", {0, 0}), 1 - 3.0 / 9);
  EXPECT_LT(get(out, "repeated_ngrams_expected", {0, 3}), 0.3) << "in random order fewer 4-grams come again";
  // The text's windows of 9 tokens begin at 0 and 1.
  EXPECT_DOUBLE_EQ(get(out, "repeated_ngrams_text", {0, 0}), (1 - 4.0 / 9 + 1 - 3.0 / 9) / 2);
  auto const z = rows_of(*m, listed(ids{text}), 0, "logits");
  auto const p = softmax(z[3]);
  EXPECT_NEAR(get(out, "repeat_probability_expected", {0, 3}), (p[9] + 3 * p[3] + 3 * p[1] + 2 * p[4]) / 9, 1e-6);
}

TEST(decoding_walk, goes_the_likeliest_way_or_finds_a_likelier_one) {
  auto const m = open("gpt2", "gpt2-odd");
  listed const prompts({{3, 5}, {2}, {7, 1, 4}});
  auto const walk = [&](std::string const& preset, std::int64_t beams = 10) {
    return observe("decoding_walk", *m, prompts,
                   {{"preset", preset}, {"length", std::int64_t{4}}, {"beams", beams}, {"pairs", std::int64_t{0}}}, 2);
  };
  auto const greedy = walk("greedy"), one = walk("beam", 1), ten = walk("beam"), sampled = walk("sample"), again = walk("sample");
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t s = 0; s < 4; ++s) {
      EXPECT_EQ(get(greedy, "rank", {i, s}), 0);
      EXPECT_EQ(get(one, "next_ids", {i, s}), get(greedy, "next_ids", {i, s})) << "one beam is greedy";
      EXPECT_EQ(get(sampled, "next_ids", {i, s}), get(again, "next_ids", {i, s}));
      EXPECT_LT(get(sampled, "rank", {i, s}), get(sampled, "top_p_count", {i, s}))
          << "drawn from the likeliest only, at a lower temperature";
    }
    EXPECT_GE(get(ten, "path_log_probability", {i, 3}), get(greedy, "path_log_probability", {i, 3}) - 1e-5);
  }
  auto const t5 = open("t5", "t5-relu");
  auto const out =
      observe("decoding_walk", *t5, listed({{4, 9, 1}}, {{0}}), {{"preset", std::string("beam")}, {"length", std::int64_t{3}}});
  EXPECT_EQ(get(out, "length", {0}), 3);
  auto const bert = open("bert", "bert-small");
  EXPECT_THAT(
      [&] {
        observe("decoding_walk", *bert, listed({{1, 5}}));
      },
      ThrowsMessage<wf::usage_error>(HasSubstr("predicts no next token")));
}

}  // namespace
