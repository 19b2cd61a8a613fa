// GPT-2: every activation against goldens made in double precision by the reference implementation (tests/data/make_goldens.py),
// independence of batch, threads and captures down to the byte, edits, continued runs, and files that must be refused.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <oneapi/tbb/global_control.h>

#include <wayfarer/error.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/weights.hpp>

#include "gpt2_fixtures.hpp"
#include "precisions.hpp"

namespace wayfarer::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string const test_data = std::string(WAYFARER_SOURCE_DIR) + "/tests/data/";

template <class Error, class F>
void expect_error(F f, ::testing::Matcher<std::string const&> what) {
  try {
    f();
    ADD_FAILURE() << "nothing was thrown";
  } catch (Error const& e) {
    EXPECT_THAT(std::string(e.what()), what);
  } catch (std::exception const& e) {
    ADD_FAILURE() << "another error: " << e.what();
  }
}

struct golden {
  explicit golden(std::string const& name)
      : folder(test_data + name), file(safetensors_file::open(folder + "/golden.safetensors")) {
    for (std::size_t i = 0; file.find(std::to_string(i) + "/tokens"); ++i) {
      auto const t = file.tensor(std::to_string(i) + "/tokens");
      auto const v = t.values<std::int32_t const>();
      items.emplace_back(v.begin(), v.end());
    }
  }
  tensor at(std::size_t item, std::string const& hook) const { return file.tensor(std::to_string(item) + "/" + hook); }
  std::string folder;
  safetensors_file file;
  std::vector<token_list> items;
};

void expect_same(activations const& a, std::size_t item_a, activations const& b, std::size_t item_b, model const& m,
                 hook_set const& hooks) {
  for (auto const& name : hooks.names())
    EXPECT_TRUE(same_bytes(a.at(name, item_a), b.at(name, item_b))) << name << " of item " << item_a << ", relative difference "
                                                                    << compare(a.at(name, item_a), b.at(name, item_b)).relative();
  static_cast<void>(m);
}

/// Larger than a tile in every direction, so that pieces, panels and pages all have rests.
struct middling {
  middling(std::size_t heads = 3, std::size_t d_head = 10, std::size_t positions = 150) {
    std::size_t const d = heads * d_head;
    auto weights = random_weights(2, d, 211, positions);
    write_checkpoint(folder, gpt2_config(2, heads, d, 211, positions), weights);
    m = open_gpt2(folder.path());
    random_stream draw(5, "tokens");
    for (std::size_t const n : {positions, std::size_t{1}, std::size_t{67}, std::size_t{0}, std::size_t{13}}) {
      items.emplace_back();
      for (std::size_t i = 0; i < n; ++i) items.back().push_back(static_cast<std::int32_t>(draw.below(211)));
    }
  }
  scratch_folder folder;
  std::unique_ptr<model> m;
  std::vector<token_list> items;
};

// ---- parity
// --------------------------------------------------------------------------------------------------------------------

struct gpt2_parity : ::testing::TestWithParam<char const*> {};

TEST_P(gpt2_parity, every_hook_agrees_with_the_reference_in_float64_and_float32) {
  golden const g(GetParam());
  ASSERT_EQ(g.items.size(), 3u);
  auto const m = open_gpt2(g.folder);
  for (auto const& [precision, most] : {std::pair{dtype::f64, 1e-12}, std::pair{dtype::f32, 1e-5}}) {
    auto const out = m->run(batch_of(g.items), everything(*m, precision));
    for (auto const& hook : m->info().hooks)
      for (std::size_t i = 0; i < g.items.size(); ++i) {
        auto const& got = out.at(hook.name, i);
        EXPECT_EQ(got.type(), precision);
        EXPECT_LE(compare(got, g.at(i, hook.name)).relative(), most) << hook.name << " of item " << i;
      }
  }
}

TEST_P(gpt2_parity, hooks_have_the_shapes_that_the_model_says) {
  golden const g(GetParam());
  auto const m = open_gpt2(g.folder);
  auto const out = m->run(batch_of(g.items), everything(*m));
  for (auto const& hook : m->info().hooks)
    for (std::size_t i = 0; i < g.items.size(); ++i) {
      std::size_t const n = g.items[i].size();
      dims want{{"pos", n}};
      want.insert(want.end(), hook.row.begin(), hook.row.end());
      if (hook.per_pair) want = {{"head", m->info().heads}, {"query", n}, {"key", n}};
      EXPECT_EQ(out.at(hook.name, i).shape(), want) << hook.name;
      EXPECT_FALSE(hook.about.empty());
    }
}

INSTANTIATE_TEST_SUITE_P(checkpoints, gpt2_parity, ::testing::Values("gpt2-odd", "gpt2-narrow"));

// ---- independence
// --------------------------------------------------------------------------------------------------------------

TEST(gpt2, the_other_items_of_a_batch_change_no_byte) {
  middling const x;
  for (auto const precision : precisions()) {
    auto const request = everything(*x.m, precision);
    auto const together = x.m->run(batch_of(x.items), request);
    for (std::size_t i = 0; i < x.items.size(); ++i) {
      auto const alone = x.m->run(batch_of({x.items[i]}), request);
      expect_same(together, i, alone, 0, *x.m, request.capture);
    }
  }
}

TEST(gpt2, capturing_more_changes_no_byte) {
  middling const x;
  auto const all = x.m->run(batch_of(x.items), everything(*x.m));
  for (auto const& hook : x.m->info().hooks) {
    auto const request = only(*x.m, hook.name);
    auto const one = x.m->run(batch_of(x.items), request);
    for (std::size_t i = 0; i < x.items.size(); ++i) expect_same(one, i, all, i, *x.m, request.capture);
    EXPECT_FALSE(one.has(hook.name == "logits" ? "hook_embed" : "logits"));
  }
}

TEST(gpt2, any_number_of_threads_gives_the_same_bytes) {
  middling const x(2, 24, 300);
  auto const request = everything(*x.m);
  std::unique_ptr<activations> first;
  for (std::size_t const threads : {1, 2, 4}) {
    tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
    auto out = std::make_unique<activations>(x.m->run(batch_of(x.items), request));
    if (!first) {
      first = std::move(out);
      continue;
    }
    for (std::size_t i = 0; i < x.items.size(); ++i) expect_same(*first, i, *out, i, *x.m, request.capture);
  }
}

TEST(gpt2, a_later_token_changes_nothing_before_it) {
  middling const x;
  auto changed = x.items;
  changed[0][100] = (changed[0][100] + 1) % 211;
  auto const request = everything(*x.m);
  auto const before = x.m->run(batch_of(x.items), request), after = x.m->run(batch_of(changed), request);
  for (auto const& hook : x.m->info().hooks) {
    auto const cut = [&](activations const& a) {
      auto const& t = a.at(hook.name, 0);
      return (hook.per_pair ? t.slice(1, 0, 100) : t.slice(0, 0, 100)).clone();
    };
    EXPECT_TRUE(same_bytes(cut(before), cut(after))) << hook.name;
  }
}

TEST(gpt2, last_logits_are_those_of_all_positions) {
  middling const x;
  auto request = only(*x.m, "logits");
  auto const all = x.m->run(batch_of(x.items), request);
  request.last_logits_only = true;
  auto const last = x.m->run(batch_of(x.items), request);
  for (std::size_t i = 0; i < x.items.size(); ++i) {
    std::size_t const n = x.items[i].size();
    auto const& got = last.at("logits", i);
    ASSERT_EQ(got.size(0), n ? 1u : 0u);
    if (n) {
      EXPECT_TRUE(same_bytes(got, all.at("logits", i).slice(0, n - 1, n).clone()));
    }
  }
}

TEST(gpt2, an_empty_batch_and_an_empty_request_give_nothing) {
  middling const x;
  EXPECT_EQ(x.m->run(batch_of(x.items), {}).bytes(), 0u);
  auto const none = x.m->run(batch_of({}), everything(*x.m));
  EXPECT_TRUE(none.has("logits"));
  EXPECT_EQ(none.bytes(), 0u);
}

// ---- starts
// --------------------------------------------------------------------------------------------------------------------

TEST(gpt2, starting_from_embeddings_is_starting_from_their_tokens) {
  middling const x;
  auto b = batch_of(x.items);
  auto const request = everything(*x.m);
  auto const looked_up = x.m->run(b, request);
  auto const table = x.m->weight("embed.W_E");
  std::vector<float> vectors;
  for (auto const token : b.tokens.values) {
    auto const row = table.view<float const>().row(static_cast<std::size_t>(token));
    vectors.insert(vectors.end(), row.begin(), row.end());
  }
  b.embeddings = tensor::of(vectors, {{"token", b.tokens.values.size()}, {"d_model", x.m->info().d_model}});
  std::fill(b.tokens.values.begin(), b.tokens.values.end(), -1);  // not read
  auto const given = x.m->run(b, request);
  for (std::size_t i = 0; i < x.items.size(); ++i) expect_same(looked_up, i, given, i, *x.m, request.capture);
  b.embeddings = tensor(dtype::f32, {{"token", 3}, {"d_model", x.m->info().d_model}});
  expect_error<plugin_error>([&] { x.m->run(b, request); }, HasSubstr("embeddings must be ["));
}

TEST(gpt2, first_positions_shift_the_position_table) {
  middling const x;
  auto b = batch_of({x.items[4], x.items[4]});
  b.first_position = {0, 7};
  auto const out = x.m->run(b, everything(*x.m));
  auto const table = x.m->weight("pos_embed.W_pos");
  EXPECT_TRUE(same_bytes(out.at("hook_pos_embed", 1), table.slice(0, 7, 20).clone()));
  EXPECT_TRUE(same_bytes(out.at("hook_embed", 0), out.at("hook_embed", 1)));
  EXPECT_GT(compare(out.at("logits", 0), out.at("logits", 1)).relative(), 1e-3);
  b.first_position = {0, 138};
  expect_error<data_error>([&] { x.m->run(b, everything(*x.m)); },
                           AllOf(HasSubstr("item 1 reaches position 150"), HasSubstr("only 150 positions")));
}

// ---- edits
// ---------------------------------------------------------------------------------------------------------------------

/// Where a hook stands in the pass: a hook depends on all of a lower number, but for the exceptions in `apart`.
int stage(std::string const& name) {
  static char const* const order[] = {
      "hook_resid_pre",    "ln1.hook_scale", "ln1.hook_normalized", "ln1.hook_out",   "attn.hook_q",    "attn.hook_attn_scores",
      "attn.hook_pattern", "attn.hook_z",    "hook_attn_out",       "hook_resid_mid", "ln2.hook_scale", "ln2.hook_normalized",
      "ln2.hook_out",      "mlp.hook_pre",   "mlp.hook_post",       "hook_mlp_out",   "hook_resid_post"};
  constexpr int per_block = 20;
  if (name == "hook_embed" || name == "hook_pos_embed") return 0;
  if (name == "logits") return 1000;
  if (name.starts_with("ln_final.")) return name.ends_with("scale") ? 900 : name.ends_with("normalized") ? 901 : 902;
  auto const dot = name.find('.', 7);
  int const layer = std::stoi(name.substr(7, dot - 7));
  auto rest = name.substr(dot + 1);
  if (rest == "attn.hook_k" || rest == "attn.hook_v") rest = "attn.hook_q";
  auto const at = std::find(std::begin(order), std::end(order), rest);
  return 1 + layer * per_block + static_cast<int>(at - std::begin(order));
}

bool downstream(std::string const& of, std::string const& hook) {
  if (stage(hook) <= stage(of)) return false;
  bool const scores = hook.ends_with("hook_attn_scores") || hook.ends_with("hook_pattern");
  return !(of.ends_with("attn.hook_v") && scores && stage(hook) < stage(of) + 3);  // values take no part in the pattern
}

TEST(gpt2, an_edit_changes_everything_downstream_and_nothing_upstream_nor_any_other_item) {
  middling const x(3, 6, 40);
  std::vector<token_list> const items{{x.items[0].begin(), x.items[0].begin() + 21}, x.items[4]};
  auto const request = everything(*x.m);
  auto const before = x.m->run(batch_of(items), request);
  for (auto const& edited : x.m->info().hooks) {
    auto with = request;
    with.edits.push_back({edited.name, [](edit_site const& site, tensor const& t) {
                            if (site.item != 0) return;
                            auto const v = t.values<float>();
                            for (std::size_t i = 0; i < v.size(); ++i) v[i] = v[i] * 1.5f + 0.1f * static_cast<float>(i % 3);
                          }});
    auto const after = x.m->run(batch_of(items), with);
    for (auto const& hook : x.m->info().hooks) {
      bool const same = same_bytes(before.at(hook.name, 0), after.at(hook.name, 0));
      bool const reached = hook.name == edited.name || downstream(edited.name, hook.name);
      EXPECT_NE(same, reached) << "editing " << edited.name << " and looking at " << hook.name;
      EXPECT_TRUE(same_bytes(before.at(hook.name, 1), after.at(hook.name, 1)))
          << edited.name << " reached another item's " << hook.name;
    }
    // What nobody looks at is changed all the same.
    auto blind = only(*x.m, "logits");
    blind.edits = with.edits;
    EXPECT_TRUE(same_bytes(x.m->run(batch_of(items), blind).at("logits", 0), after.at("logits", 0))) << edited.name;
  }
}

TEST(gpt2, an_edit_that_changes_nothing_changes_nothing) {
  middling const x(3, 6, 40);
  std::vector<token_list> const items{x.items[0], x.items[4], x.items[1]};
  auto const request = everything(*x.m);
  auto const before = x.m->run(batch_of(items), request);
  for (auto const& edited : x.m->info().hooks) {
    auto with = request;
    std::atomic<int> calls = 0;
    with.edits.push_back({edited.name, [&](edit_site const&, tensor const&) { ++calls; }});
    auto const after = x.m->run(batch_of(items), with);
    EXPECT_EQ(calls, 3) << edited.name;
    for (std::size_t i = 0; i < items.size(); ++i) expect_same(before, i, after, i, *x.m, request.capture);
  }
}

TEST(gpt2, an_edit_at_a_position_leaves_the_positions_before_it) {
  middling const x;
  auto request = everything(*x.m);
  auto const before = x.m->run(batch_of(x.items), request);
  request.edits.push_back({"blocks.0.hook_resid_mid", [](edit_site const& site, tensor const& t) {
                             if (site.item == 0) t.view<float>()(90, 3) += 1;
                           }});
  auto const after = x.m->run(batch_of(x.items), request);
  auto const rows_of = [](activations const& a, std::size_t first, std::size_t last) {
    return a.at("logits", 0).slice(0, first, last).clone();
  };
  EXPECT_TRUE(same_bytes(rows_of(before, 0, 90), rows_of(after, 0, 90)));
  for (std::size_t i = 90; i < 150; ++i) EXPECT_FALSE(same_bytes(rows_of(before, i, i + 1), rows_of(after, i, i + 1))) << i;
}

TEST(gpt2, edits_of_one_hook_apply_in_their_order) {
  middling const x;
  auto request = only(*x.m, "blocks.1.mlp.hook_post");
  auto const set = [](float to) {
    return [to](edit_site const&, tensor const& t) {
      for (auto& v : t.values<float>()) v = v * 0 + to;
    };
  };
  request.edits.push_back({"blocks.1.mlp.hook_post", set(1)});
  request.edits.push_back({"blocks.1.mlp.hook_post", set(2)});
  auto const out = x.m->run(batch_of(x.items), request);
  for (auto const v : out.at("blocks.1.mlp.hook_post", 0).values<float const>()) ASSERT_EQ(v, 2);
}

TEST(gpt2, a_head_cut_out_of_the_pattern_is_cut_out_of_the_sum) {
  middling const x;
  auto request = everything(*x.m);
  request.edits.push_back({"blocks.0.attn.hook_pattern", [](edit_site const&, tensor const& t) {
                             for (auto& v : t[1].values<float>()) v = 0;
                           }});
  auto const out = x.m->run(batch_of(x.items), request);
  auto const z = out.at("blocks.0.attn.hook_z", 0).view<float const>();
  for (std::size_t p = 0; p < z.size(0); ++p)
    for (std::size_t c = 0; c < z.size(2); ++c) ASSERT_EQ(z(p, 1, c), 0);
  EXPECT_NE(z(5, 0, 0), 0);
}

// ---- going on
// ------------------------------------------------------------------------------------------------------------------

TEST(gpt2, a_run_that_goes_on_gives_the_bytes_of_one_that_read_everything) {
  middling const x;
  for (auto const precision : precisions()) {
    auto const request = everything(*x.m, precision);
    auto const whole = x.m->run(batch_of(x.items), request);
    // Pieces of uneven lengths, some of them empty, some of one token.
    std::vector<std::size_t> const cuts{0, 1, 2, 60, 64, 66, 129, 150};
    std::vector<std::size_t> read(x.items.size(), 0);
    std::unique_ptr<continued_run> run;
    for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
      std::vector<token_list> part;
      for (auto const& item : x.items)
        part.emplace_back(item.begin() + static_cast<std::ptrdiff_t>(std::min(cuts[c], item.size())),
                          item.begin() + static_cast<std::ptrdiff_t>(std::min(cuts[c + 1], item.size())));
      activations out;
      if (run)
        out = run->extend(batch_of(part), request);
      else
        run = x.m->begin(batch_of(part), request, &out);
      for (std::size_t i = 0; i < x.items.size(); ++i) {
        std::size_t const first = read[i], last = read[i] += part[i].size();
        EXPECT_EQ(run->length(i), last);
        for (auto const& hook : x.m->info().hooks) {
          auto const& all = whole.at(hook.name, i);
          auto const want =
              hook.per_pair ? all.slice(1, first, last).slice(2, 0, last).clone() : all.slice(0, first, last).clone();
          EXPECT_TRUE(same_bytes(out.at(hook.name, i), want))
              << hook.name << " of item " << i << " at " << first << ": " << compare(out.at(hook.name, i), want).relative();
        }
      }
    }
  }
}

TEST(gpt2, branches_share_what_is_common_and_part_after_it) {
  middling const x;
  auto const request = only(*x.m, "logits");
  token_list const common(x.items[0].begin(), x.items[0].begin() + 70), other = x.items[4];
  auto const run = x.m->begin(batch_of({common, other}), request, nullptr);
  std::vector<std::size_t> const picks{0, 1, 0};
  auto const branch = run->branch(picks);
  ASSERT_EQ(branch->items(), 3u);
  std::vector<token_list> const more{{1, 2}, {3}, {4, 5, 6}};
  auto const out = branch->extend(batch_of(more), request);
  auto const check = [&](activations const& got, std::size_t i, token_list whole, token_list const& added) {
    whole.insert(whole.end(), added.begin(), added.end());
    auto const all = x.m->run(batch_of({whole}), request).at("logits", 0);
    EXPECT_TRUE(same_bytes(got.at("logits", i), all.slice(0, whole.size() - added.size(), whole.size()).clone())) << i;
  };
  check(out, 0, common, more[0]);
  check(out, 1, other, more[1]);
  check(out, 2, common, more[2]);
  // The run that was branched from knows nothing of it.
  EXPECT_EQ(run->length(0), 70u);
  check(run->extend(batch_of({{9}, {8}}), request), 0, common, {9});
}

TEST(gpt2, an_extension_that_fails_leaves_the_run_as_it_was) {
  middling const x;
  auto const request = only(*x.m, "logits");
  auto const run = x.m->begin(batch_of({x.items[4]}), request, nullptr);
  auto broken = request;
  broken.edits.push_back({"blocks.1.hook_resid_mid", [](edit_site const&, tensor const&) { throw data_error("no"); }});
  EXPECT_THROW(run->extend(batch_of({{1, 2}}), broken), data_error);
  EXPECT_EQ(run->length(0), x.items[4].size());
  auto whole = x.items[4];
  whole.push_back(7);
  auto const got = run->extend(batch_of({{7}}), request);
  EXPECT_TRUE(same_bytes(got.at("logits", 0), x.m->run(batch_of({whole}), request).at("logits", 0).slice(0, 13, 14).clone()));
  EXPECT_THROW(run->extend(batch_of({{7}, {8}}), request), plugin_error);
}

TEST(gpt2, edits_of_a_run_that_goes_on_learn_their_position) {
  middling const x;
  auto request = only(*x.m, "logits");
  auto const run = x.m->begin(batch_of({x.items[4], x.items[1]}), request, nullptr);
  std::vector<std::size_t> positions(2);
  request.edits.push_back(
      {"blocks.0.hook_resid_pre", [&](edit_site const& site, tensor const&) { positions[site.item] = site.first_position; }});
  run->extend(batch_of({{1, 2}, {3}}), request);
  EXPECT_EQ(positions, (std::vector<std::size_t>{13, 1}));
}

// ---- parts of the pass
// ---------------------------------------------------------------------------------------------------------

TEST(gpt2, final_norm_and_unembed_are_those_of_the_pass) {
  middling const x;
  for (auto const precision : {dtype::f32, dtype::f64}) {
    auto const out = x.m->run(batch_of(x.items), everything(*x.m, precision));
    auto const normed = x.m->final_norm(out.at("blocks.1.hook_resid_post", 2));
    EXPECT_EQ(normed.type(), precision);
    EXPECT_EQ(normed.shape(), (dims{{"pos", 67}, {"d_model", 30}}));
    EXPECT_TRUE(same_bytes(normed, out.at("ln_final.hook_out", 2)));
    EXPECT_TRUE(same_bytes(x.m->unembed(normed), out.at("logits", 2)));
  }
}

TEST(gpt2, weights_are_views_under_the_common_names) {
  middling const x;
  auto const file = open_checkpoint(x.folder.path());
  auto const c_attn = file.tensor("h.1.attn.c_attn.weight"), c_proj = file.tensor("h.1.attn.c_proj.weight"),
             bias = file.tensor("h.1.attn.c_attn.bias");
  std::size_t const d = 30, dh = 10;
  char const* const names[] = {"Q", "K", "V"};
  for (std::size_t j = 0; j < 3; ++j) {
    auto const w = x.m->weight(std::string("blocks.1.attn.W_") + names[j]);
    EXPECT_EQ(w.shape(), (dims{{"head", 3}, {"d_model", d}, {"d_head", dh}}));
    EXPECT_EQ(w.get({2, 17, 4}), c_attn.get({17, j * d + 2 * dh + 4}));
    EXPECT_EQ(x.m->weight(std::string("blocks.1.attn.b_") + names[j]).get({2, 4}), bias.get({j * d + 2 * dh + 4}));
  }
  EXPECT_EQ(x.m->weight("blocks.1.attn.W_O").get({2, 4, 17}), c_proj.get({2 * dh + 4, 17}));
  EXPECT_EQ(x.m->weight("unembed.W_U").get({3, 100}), x.m->weight("embed.W_E").get({100, 3}));
  EXPECT_EQ(x.m->weight("unembed.b_U").get({100}), 0);
  std::set<std::string> seen;
  for (auto const& name : x.m->info().weights) {
    EXPECT_TRUE(seen.insert(name).second) << name;
    auto const first = x.m->weight(name), again = x.m->weight(name);
    EXPECT_GT(first.count(), 0u) << name;
    // b_U stands for what is not there.
    if (name != "unembed.b_U") {
      EXPECT_EQ(first.raw(), again.raw()) << name << " was copied";
    }
  }
  expect_error<usage_error>([&] { x.m->weight("blocks.1.attn.WQ"); }, HasSubstr("did you mean 'blocks.1.attn.W_"));
}

// ---- checkpoints
// ---------------------------------------------------------------------------------------------------------------

TEST(gpt2, names_may_carry_a_prefix_and_masks_of_the_usual_kind_are_ignored) {
  scratch_folder plain, prefixed;
  auto const c = gpt2_config(2, 2, 8, 11, 16);
  write_checkpoint(plain, c, random_weights(2, 8, 11, 16));
  auto weights = random_weights(2, 8, 11, 16, "transformer.");
  std::vector<float> mask(16 * 16, 0), hidden{-10000};
  for (std::size_t q = 0; q < 16; ++q) std::fill_n(mask.begin() + static_cast<std::ptrdiff_t>(q * 16), q + 1, 1.0F);
  weights.emplace_back("transformer.h.0.attn.bias", tensor::of(mask, {{"0", 1}, {"1", 1}, {"2", 16}, {"3", 16}}));
  weights.emplace_back("transformer.h.0.attn.masked_bias", tensor::of(hidden, {}));
  write_checkpoint(prefixed, c, [&] {
    // Random numbers are keyed by the plain names.
    auto same = random_weights(2, 8, 11, 16);
    for (std::size_t i = 0; i < same.size(); ++i) weights[i].second = same[i].second;
    return weights;
  }());
  auto const a = open_gpt2(plain.path()), b = open_gpt2(prefixed.path());
  auto const request = everything(*a);
  auto const tokens = batch_of({{1, 2, 3, 10, 0}});
  expect_same(a->run(tokens, request), 0, b->run(tokens, request), 0, *a, request.capture);
  auto const remarks_of = [](model const& m) { return dynamic_cast<pretrained const&>(m).remarks(); };
  EXPECT_THAT(remarks_of(*b), IsEmpty());

  // A mask that hides the first key, and one that hides too little, are said by name.
  scratch_folder odd;
  for (std::size_t q = 1; q < 16; ++q) mask[q * 16] = 0;
  weights[weights.size() - 2].second = tensor::of(mask, {{"0", 1}, {"1", 1}, {"2", 16}, {"3", 16}});
  weights.back().second = tensor::of(std::vector<float>{-10}, {});
  write_checkpoint(odd, c, weights);
  EXPECT_THAT(remarks_of(*open_gpt2(odd.path())),
              ElementsAre(HasSubstr("\"transformer.h.0.attn.bias\" is another mask than the causal one, which is used"),
                          HasSubstr("\"transformer.h.0.attn.masked_bias\" does not hide what it masks")));
}

TEST(gpt2, an_untied_head_with_and_without_bias_is_used) {
  auto c = gpt2_config(1, 2, 8, 11, 16);
  auto weights = random_weights(1, 8, 11, 16);
  auto const head = random_weights(1, 8, 11, 16, "", 99).front().second;
  weights.emplace_back("lm_head.weight", head);
  auto const tokens = batch_of({{1, 2, 3}});
  // The file decides: its own head counts whatever the configuration says of tying, which a remark tells.
  scratch_folder tied, untied, biased, headless;
  write_checkpoint(headless, c, random_weights(1, 8, 11, 16));
  write_checkpoint(tied, c, weights);
  c.set("tie_word_embeddings", false);
  write_checkpoint(untied, c, weights);
  std::vector<float> bias(11);
  for (std::size_t i = 0; i < 11; ++i) bias[i] = static_cast<float>(i);
  weights.emplace_back("lm_head.bias", tensor::of(bias, {{"0", 11}}));
  write_checkpoint(biased, c, weights);
  auto const logits = [&](scratch_folder const& f) {
    auto const m = open_gpt2(f.path());
    auto const out = m->run(tokens, everything(*m, dtype::f64));
    // Written out, from the tapped norm.
    auto const h = out.at("ln_final.hook_out", 0), w = m->weight("unembed.W_U"), b = m->weight("unembed.b_U");
    for (std::size_t p = 0; p < 3; ++p)
      for (std::size_t t = 0; t < 11; ++t) {
        double sum = b.get({t});
        for (std::size_t k = 0; k < 8; ++k) sum += h.get({p, k}) * w.get({k, t});
        EXPECT_NEAR(out.at("logits", 0).get({p, t}), sum, 1e-12);
      }
    return out.at("logits", 0);
  };
  auto const one = logits(headless), two = logits(untied), three = logits(biased);
  EXPECT_EQ(compare(logits(tied), two).relative(), 0);
  auto const remarks_of = [](scratch_folder const& f) { return dynamic_cast<pretrained const&>(*open_gpt2(f.path())).remarks(); };
  EXPECT_THAT(remarks_of(tied), ElementsAre(HasSubstr("\"lm_head.weight\", which is used")));
  EXPECT_THAT(remarks_of(untied), IsEmpty());
  EXPECT_THAT(remarks_of(headless), IsEmpty());
  EXPECT_EQ(open_gpt2(headless.path())->weight("unembed.W_U").get({3, 5}),
            open_gpt2(headless.path())->weight("embed.W_E").get({5, 3}));
  EXPECT_EQ(open_gpt2(untied.path())->weight("unembed.W_U").get({3, 5}), head.get({5, 3}));
  EXPECT_GT(compare(one, two).relative(), 0.01);
  for (std::size_t t = 0; t < 11; ++t) EXPECT_NEAR(three.get({1, t}) - two.get({1, t}), static_cast<double>(t), 1e-12);
  c.set("tie_word_embeddings", false);
  scratch_folder lacking;
  write_checkpoint(lacking, c, random_weights(1, 8, 11, 16));
  expect_error<data_error>([&] { open_gpt2(lacking.path())->run(tokens, {}); }, HasSubstr("1 tensors that a forward pass needs"));
}

/// The same numbers, rounded to 16 bits, as tensors of that type and in float32.
std::pair<tensor, tensor> rounded(tensor const& t, dtype type) {
  auto const v = t.values<float const>();
  auto bits = std::make_shared<std::vector<std::uint16_t>>();
  std::vector<float> wide;
  for (float const x : v) {
    std::uint32_t u;
    std::memcpy(&u, &x, sizeof u);
    if (type == dtype::bf16) {
      bits->push_back(static_cast<std::uint16_t>(u >> 16));
      u &= 0xffff0000u;
    } else {  // numbers of ordinary size only: sign, exponent, ten bits
      std::uint32_t const exponent = (u >> 23) & 0xff;
      bool const zero = exponent < 113;
      bits->push_back(static_cast<std::uint16_t>((u >> 16 & 0x8000u) | (zero ? 0 : (exponent - 112) << 10 | (u >> 13 & 0x3ffu))));
      u = zero ? u & 0x80000000u : u & 0xffffe000u;
    }
    float y;
    std::memcpy(&y, &u, sizeof y);
    wide.push_back(y);
  }
  return {tensor::look(type, bits->data(), t.shape(), bits), tensor::of(wide, t.shape())};
}

TEST(gpt2, sixteen_bit_weights_are_read_as_the_numbers_they_stand_for) {
  for (auto const type : {dtype::f16, dtype::bf16}) {
    scratch_folder narrow, wide;
    auto const c = gpt2_config(2, 3, 21, 37, 16);
    auto const weights = random_weights(2, 21, 37, 16);
    named_tensors small, large;
    for (auto const& [name, t] : weights) {
      auto [s, l] = rounded(t, type);
      small.emplace_back(name, s), large.emplace_back(name, l);
    }
    write_checkpoint(narrow, c, small);
    write_checkpoint(wide, c, large);
    auto const a = open_gpt2(narrow.path()), b = open_gpt2(wide.path());
    EXPECT_EQ(a->weight("blocks.1.attn.W_Q").type(), type);
    EXPECT_EQ(a->weight("blocks.1.attn.W_Q").get({2, 20, 6}), b->weight("blocks.1.attn.W_Q").get({2, 20, 6}));
    for (auto const precision : precisions()) {
      auto const request = everything(*a, precision);
      auto const tokens = batch_of({{1, 2, 3, 36, 0}, {4}});
      auto const x = a->run(tokens, request), y = b->run(tokens, request);
      for (std::size_t i = 0; i < 2; ++i) expect_same(x, i, y, i, *a, request.capture);
    }
  }
}

TEST(gpt2, a_sharded_checkpoint_is_one_checkpoint) {
  scratch_folder whole, parts;
  auto const c = gpt2_config(2, 2, 8, 11, 16);
  auto const weights = random_weights(2, 8, 11, 16);
  write_checkpoint(whole, c, weights);
  parts.write("config.json", to_json(c));
  named_tensors const first(weights.begin(), weights.begin() + 9), second(weights.begin() + 9, weights.end());
  write_safetensors((parts / "model-00001-of-00002.safetensors").string(), first);
  write_safetensors((parts / "model-00002-of-00002.safetensors").string(), second);
  auto map = json_value::object();
  for (auto const& [name, t] : first) map.set(name, "model-00001-of-00002.safetensors");
  for (auto const& [name, t] : second) map.set(name, "model-00002-of-00002.safetensors");
  parts.write("model.safetensors.index.json", to_json(json_value::object({{"weight_map", map}})));
  auto const a = open_gpt2(whole.path()), b = open_gpt2(parts.path());
  auto const request = everything(*a);
  expect_same(a->run(batch_of({{1, 2, 3}}), request), 0, b->run(batch_of({{1, 2, 3}}), request), 0, *a, request.capture);
}

TEST(gpt2, names_may_stand_behind_wrappers_and_what_nothing_reads_is_told) {
  auto const c = gpt2_config(2, 2, 8, 11, 16);
  scratch_folder plain;
  write_checkpoint(plain, c, random_weights(2, 8, 11, 16));
  auto const a = open_gpt2(plain.path());
  auto const request = everything(*a);
  auto const tokens = batch_of({{1, 2, 3, 10, 0}});
  auto const expected = a->run(tokens, request);
  auto const remarks_of = [](model const& m) { return dynamic_cast<pretrained const&>(m).remarks(); };
  auto const wrapped = [&](std::string const& prefix) {
    auto all = random_weights(2, 8, 11, 16);
    for (auto& [name, t] : all) name = prefix + name;
    return all;
  };
  for (std::string const prefix :
       {"_orig_mod.", "module.", "model.", "_orig_mod.transformer.", "module._orig_mod.transformer."}) {
    scratch_folder f;
    write_checkpoint(f, c, wrapped(prefix));
    auto const m = open_gpt2(f.path());
    expect_same(expected, 0, m->run(tokens, request), 0, *m, request.capture);
    EXPECT_THAT(remarks_of(*m), IsEmpty());
  }
  // Where a name comes twice, the prefix that all have counts, and the other is told.
  auto twice = wrapped("module.");
  twice.emplace_back("ln_f.weight", tensor(dtype::f32, {{"0", 8}}));
  twice.emplace_back("h.2.ln_1.weight", tensor(dtype::f32, {{"0", 8}}));
  twice.emplace_back("h.0.attn.bias", tensor::of(std::vector<float>{1}, {{"0", 1}, {"1", 1}}));
  scratch_folder f;
  write_checkpoint(f, c, twice);
  auto const m = open_gpt2(f.path());
  expect_same(expected, 0, m->run(tokens, request), 0, *m, request.capture);
  EXPECT_THAT(remarks_of(*m), ElementsAre(AllOf(HasSubstr("\"ln_f.weight\", \"h.2.ln_1.weight\""), HasSubstr("more layers"))));
  // A prefix that nobody knows, and names that are spelled otherwise.
  scratch_folder unknown;
  write_checkpoint(unknown, c, wrapped("net.gpt."));
  expect_error<data_error>([&] { open_gpt2(unknown.path())->run(tokens, request); },
                           HasSubstr("all of these names are there behind the prefix \"net.gpt.\""));
  auto slip = random_weights(2, 8, 11, 16);
  for (auto& [name, t] : slip)
    if (name == "h.1.mlp.c_fc.weight") name = "h.1.mlp.c_fc.weights";
  scratch_folder near;
  write_checkpoint(near, c, slip);
  expect_error<data_error>([&] { open_gpt2(near.path())->run(tokens, request); },
                           HasSubstr("near names that it has: \"h.1.mlp.c_fc.weights\" (h.1.mlp.c_fc.weight?)"));
}

TEST(gpt2, keys_that_contradict_or_that_nothing_reads_are_told) {
  auto const remarks_of = [](json_value const& c) {
    scratch_folder f;
    write_checkpoint(f, c, random_weights(2, 8, 11, 16));
    return dynamic_cast<pretrained const&>(*open_gpt2(f.path())).remarks();
  };
  auto const with = [](std::initializer_list<std::pair<char const*, json_value>> more) {
    auto c = gpt2_config(2, 2, 8, 11, 16);
    for (auto const& [key, value] : more) c.set(key, value);
    return c;
  };
  EXPECT_THAT(remarks_of(with({})), IsEmpty());
  EXPECT_THAT(remarks_of(with({{"n_ctx", 16}, {"resid_pdrop", 0.1}, {"hidden_size", 8}, {"pruned_heads", json_value::object()}})),
              IsEmpty());
  EXPECT_THAT(remarks_of(with({{"hidden_act", "relu"}})), ElementsAre(HasSubstr("\"hidden_act\", which is \"relu\"")));
  EXPECT_THAT(remarks_of(with({{"n_ctx", 4}})), ElementsAre(HasSubstr("n_positions is followed")));
  expect_error<data_error>(
      [&] {
        remarks_of(with({{"hidden_size", 12}}));
      },
      AllOf(HasSubstr("hidden_size"), HasSubstr("n_embd")));
  expect_error<data_error>([&] { remarks_of(with({{"rotary_dim", 4}})); }, HasSubstr("rotary_dim"));
  // Aliases serve alone.
  auto c = with({{"hidden_size", 8}, {"num_hidden_layers", 2}});
  c.set("n_embd", json_value()).set("n_layer", json_value());
  EXPECT_THAT(remarks_of(c), IsEmpty());
  // Without a model_type a gpt2 is what the plugin's name says.
  c = with({});
  c.set("model_type", json_value());
  EXPECT_THAT(remarks_of(c), ElementsAre(HasSubstr("read as \"gpt2\"")));
  c.set("architectures", json_value::array({"XLNetLMHeadModel"}));
  EXPECT_THAT(remarks_of(c), ElementsAre(AllOf(HasSubstr("read as \"gpt2\""), HasSubstr("names \"XLNetLMHeadModel\""))));
  c.set("architectures", json_value::array({"BertForMaskedLM"}));
  expect_error<data_error>([&] { remarks_of(c); }, AllOf(HasSubstr("\"bert\""), HasSubstr("'model: bert' reads it")));
}

TEST(gpt2, what_is_missing_is_named_and_the_rest_can_be_probed) {
  scratch_folder f;
  auto weights = random_weights(2, 8, 11, 16);
  std::erase_if(weights, [](auto const& w) { return w.first == "wte.weight" || w.first == "h.1.mlp.c_fc.weight"; });
  write_checkpoint(f, gpt2_config(2, 2, 8, 11, 16), weights);
  auto const m = open_gpt2(f.path());
  EXPECT_EQ(m->weight("blocks.0.mlp.W_in").size("d_mlp"), 32u);
  auto const names = HasSubstr(
      "lacks 2 tensors that a forward pass needs (its other weights can still be probed): wte.weight, "
      "h.1.mlp.c_fc.weight");
  expect_error<data_error>([&] { m->run(batch_of({{1}}), everything(*m)); }, names);
  expect_error<data_error>([&] { m->begin(batch_of({{1}}), {}, nullptr); }, names);
  expect_error<data_error>([&] { m->final_norm(tensor(dtype::f32, {{"pos", 1}, {"d_model", 8}})); }, names);
  expect_error<data_error>([&] { m->weight("embed.W_E"); }, AllOf(HasSubstr("'embed.W_E'"), HasSubstr("wte.weight")));
  expect_error<data_error>([&] { m->weight("unembed.W_U"); }, HasSubstr("wte.weight"));
  // A folder that was never loaded says so rather than crash.
  auto const cold = open_gpt2(f.path(), "auto", false);
  EXPECT_THROW(cold->weight("blocks.0.mlp.W_in"), plugin_error);
  EXPECT_THROW(cold->run(batch_of({{1}}), everything(*cold)), plugin_error);
}

TEST(gpt2, weights_that_are_no_numbers_are_reported_and_run_through) {
  scratch_folder f;
  auto weights = random_weights(2, 8, 11, 16);
  for (auto& [name, t] : weights)
    if (name == "h.1.mlp.c_fc.bias") {
      t = t.clone();
      t.view<float>()(3) = std::nanf("");
      t.view<float>()(4) = std::numeric_limits<float>::infinity();
    }
  write_checkpoint(f, gpt2_config(2, 2, 8, 11, 16), weights);
  auto const m = open_gpt2(f.path());
  auto const found = non_finite_weights(*m);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].name, "blocks.1.mlp.b_in");
  EXPECT_EQ(found[0].count, 2u);
  auto const out = m->run(batch_of({{1, 2, 3}}), everything(*m));
  EXPECT_TRUE(std::isnan(out.at("logits", 0).get({0, 0})));
  EXPECT_TRUE(std::isfinite(out.at("blocks.1.hook_resid_mid", 0).get({0, 0})));
}

TEST(gpt2, both_forms_of_gelu_can_be_asked_for) {
  golden const g("gpt2-odd");
  for (auto const& [wish, erf] : {std::pair{"auto", false}, std::pair{"tanh", false}, std::pair{"erf", true}}) {
    auto const m = open_gpt2(g.folder, wish);
    for (auto const& [precision, most] : {std::pair{dtype::f64, 1e-15}, std::pair{dtype::f32, 3e-7}}) {
      auto const out = m->run(batch_of(g.items), everything(*m, precision));
      auto const pre = out.at("blocks.0.mlp.hook_pre", 1).to(dtype::f64), post = out.at("blocks.0.mlp.hook_post", 1);
      for (std::size_t i = 0; i < pre.count(); ++i) {
        double const x = pre.values<double const>()[i];
        double const want = erf ? 0.5 * x * std::erfc(-x / std::sqrt(2.0))
                                : 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
        EXPECT_NEAR(post.to(dtype::f64).values<double const>()[i], want, most * std::max(1.0, std::abs(x)));
      }
    }
  }
}

TEST(gpt2, scores_scale_by_layer_where_the_configuration_says_so) {
  auto c = gpt2_config(2, 2, 8, 11, 16);
  c.set("scale_attn_by_inverse_layer_idx", true);
  scratch_folder f;
  write_checkpoint(f, c, random_weights(2, 8, 11, 16));
  auto const m = open_gpt2(f.path());
  auto const out = m->run(batch_of({{1, 2, 3}}), everything(*m, dtype::f64));
  for (std::size_t layer = 0; layer < 2; ++layer) {
    auto const b = "blocks." + std::to_string(layer) + ".attn.hook_";
    auto const q = out.at(b + "q", 0), k = out.at(b + "k", 0);
    double sum = 0;
    for (std::size_t i = 0; i < 4; ++i) sum += q.get({2, 1, i}) * k.get({0, 1, i});
    EXPECT_NEAR(out.at(b + "attn_scores", 0).get({1, 2, 0}), sum / 2 / static_cast<double>(layer + 1), 1e-12);
  }
}

// ---- what must be refused
// ------------------------------------------------------------------------------------------------------

TEST(gpt2_hostile, a_folder_that_is_not_there_is_named_as_it_was_given) {
  expect_error<data_error>([] { hf_config::open("no/such/folder", {"gpt2"}); }, HasSubstr("no/such/folder: no such folder"));
}

TEST(gpt2_hostile, configurations_that_make_no_sense_are_refused_by_name) {
  struct refused {
    char const* key;
    json_value value;
    char const* message;
  };
  for (auto const& r :
       {refused{"n_head", 0, "n_head"}, refused{"n_head", 3, "do not divide"}, refused{"n_head", 1'000'000, "n_head"},
        refused{"n_layer", 0, "n_layer"}, refused{"n_layer", 1'000'000'000, "n_layer"}, refused{"n_embd", -8, "n_embd"},
        refused{"n_embd", "8", "n_embd"}, refused{"n_embd", 8.5, "n_embd"},
        refused{"vocab_size", std::uint64_t{1} << 63, "vocab_size"},
        refused{"n_positions", std::uint64_t{1} << 40, "n_positions"}, refused{"n_inner", 0, "n_inner"},
        refused{"layer_norm_epsilon", -1, "layer_norm_epsilon"}, refused{"activation_function", "mish", "mish"},
        refused{"model_type", "llama", "llama"}, refused{"add_cross_attention", true, "add_cross_attention"},
        refused{"auto_map", json_value::object(), "brings its own code"}}) {
    auto c = gpt2_config(2, 2, 8, 11, 16);
    c.set(r.key, r.value);
    scratch_folder f;
    f.write("config.json", to_json(c));
    expect_error<data_error>([&] { open_gpt2(f.path()); }, AllOf(HasSubstr("config.json"), HasSubstr(r.message)));
  }
  for (auto const* key : {"n_head", "n_embd", "n_layer", "vocab_size"}) {
    std::string text = to_json(gpt2_config(2, 2, 8, 11, 16));
    scratch_folder f;
    f.write("config.json", text.replace(text.find(key), 2, "xx"));
    expect_error<data_error>([&] { open_gpt2(f.path()); }, AllOf(HasSubstr("config.json"), HasSubstr(key)));
  }
  scratch_folder empty;
  expect_error<data_error>([&] { open_gpt2(empty.path()); }, HasSubstr("config.json: no such file"));
  scratch_folder deep;
  deep.write("config.json", std::string(100'000, '[') + std::string(100'000, ']'));
  expect_error<data_error>([&] { open_gpt2(deep.path()); }, HasSubstr("config.json"));
  scratch_folder cut;
  cut.write("config.json", "{\"model_type\": \"gpt");
  expect_error<data_error>([&] { open_gpt2(cut.path()); }, HasSubstr("config.json"));
}

TEST(gpt2_hostile, tensors_of_other_shapes_and_types_are_refused_by_name) {
  auto const c = gpt2_config(2, 2, 8, 11, 16);
  auto const with = [&](std::string const& name, tensor const& t, char const* message) {
    scratch_folder f;
    auto weights = random_weights(2, 8, 11, 16);
    for (auto& w : weights)
      if (w.first == name) w.second = t;
    write_checkpoint(f, c, weights);
    expect_error<data_error>([&] { open_gpt2(f.path()); },
                             AllOf(HasSubstr(f.path()), HasSubstr("\"" + name + "\""), HasSubstr(message)));
  };
  with("wte.weight", tensor(dtype::f32, {{"0", 12}, {"1", 8}}), "12 x 8, but config.json asks for token 11 x d_model 8");
  with("wte.weight", tensor(dtype::f32, {{"0", 88}}), "is 88, but");
  with("h.0.attn.c_attn.weight", tensor(dtype::f32, {{"0", 24}, {"1", 8}}), "24 x 8");
  with("h.1.ln_1.bias", tensor(dtype::i32, {{"0", 8}}), "int32");
  with("ln_f.weight", tensor(dtype::f32, {}), "a scalar");
}

TEST(gpt2_hostile, a_request_for_what_is_not_there_is_refused) {
  middling const x;
  run_request r;
  r.capture = hook_set({"blocks.0.hook_resid_por"});
  expect_error<usage_error>([&] { x.m->run(batch_of(x.items), r); }, HasSubstr("did you mean 'blocks.0.hook_resid_p"));
  r = everything(*x.m);
  r.edits.push_back({"blocks.2.hook_resid_pre", [](edit_site const&, tensor const&) {}});
  expect_error<usage_error>([&] { x.m->run(batch_of(x.items), r); }, HasSubstr("no hook 'blocks.2.hook_resid_pre'"));
  r = everything(*x.m, dtype::f16);
  expect_error<usage_error>([&] { x.m->run(batch_of(x.items), r); }, HasSubstr("float16"));
  for (std::int32_t const token : {-1, 211, 2'000'000'000})
    expect_error<data_error>(
        [&] {
          x.m->run(batch_of({{1, token}}), everything(*x.m));
        },
        HasSubstr("at position 1 of item 0 is outside the vocabulary of 211"));
  expect_error<data_error>([&] { x.m->run(batch_of({token_list(151, 1)}), everything(*x.m)); }, HasSubstr("150 positions"));
}

// ---- items
// ---------------------------------------------------------------------------------------------------------------------

TEST(gpt2, items_are_encoded_from_tokens_and_cut) {
  middling const x;
  item_block block;
  block.first = 40, block.count = 2;
  block.tokens.push_back(token_list{5, 6, 7});
  block.tokens.push_back(token_list(200, 9));
  auto const whole = x.m->encode(block, {});
  EXPECT_EQ(whole.tokens[0].size(), 3u);
  EXPECT_EQ(whole.tokens[1].size(), 150u);
  EXPECT_EQ(x.m->encode(block, {2}).tokens[1].size(), 2u);
  block.tokens.values[1] = 211;
  expect_error<data_error>([&] { x.m->encode(block, {}); }, HasSubstr("token 211 of item 40"));
  block.tokens = {};
  block.words.push_back(token_list{1});
  expect_error<usage_error>([&] { x.m->encode(block, {}); }, HasSubstr("source of texts or tokens"));
  block.texts = {"a", "b"};
  expect_error<usage_error>([&] { x.m->encode(block, {}); }, HasSubstr("there is no tokenizer"));
  EXPECT_EQ(x.m->text_tokenizer(), nullptr);
  EXPECT_EQ(x.m->token_text(7), "<7>");
}

// ---- models that can't be shipped
// ----------------------------------------------------------------------------------------------

#define NEEDS_DATA() \
  if (data_folder().empty()) GTEST_SKIP() << "left out: WAYFARER_DATA is not set"

TEST(gpt2_published, the_trained_sorter_agrees_with_its_recorded_activations) {
  NEEDS_DATA();
  auto const folder = data_folder() + "/models/gpt-nano-sort";
  auto const m = open_gpt2(folder);
  auto const recorded = safetensors_file::open(folder + "/activations.safetensors");
  auto const idx = recorded.tensor("idx").values<float const>();
  std::vector<token_list> items(3);
  for (std::size_t i = 0; i < idx.size(); ++i) items[i / 11].push_back(static_cast<std::int32_t>(idx[i]));
  auto const out = m->run(batch_of(items), everything(*m));
  std::vector<std::pair<char const*, char const*>> const places{{"tok_emb", "hook_embed"},
                                                                {"x", "blocks.0.hook_resid_pre"},
                                                                {"ln1", "blocks.0.ln1.hook_out"},
                                                                {"att", "blocks.0.attn.hook_attn_scores"},
                                                                {"attSm", "blocks.0.attn.hook_pattern"},
                                                                {"yProj", "blocks.0.hook_attn_out"},
                                                                {"attnResid", "blocks.0.hook_resid_mid"},
                                                                {"ln2", "blocks.0.ln2.hook_out"},
                                                                {"fc", "blocks.0.mlp.hook_pre"},
                                                                {"gelu", "blocks.0.mlp.hook_post"},
                                                                {"mlp", "blocks.0.hook_mlp_out"},
                                                                {"mlpResid", "blocks.0.hook_resid_post"},
                                                                {"block0", "blocks.1.hook_resid_pre"},
                                                                {"block1", "blocks.2.hook_resid_pre"},
                                                                {"block2", "blocks.2.hook_resid_post"},
                                                                {"ln_f", "ln_final.hook_out"},
                                                                {"lm_head", "logits"}};
  for (auto const& [theirs, ours] : places)
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_LE(compare(out.at(ours, i), recorded.tensor(theirs)[i]).difference, 5e-6) << theirs;
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LE(compare(out.at("hook_pos_embed", i), recorded.tensor("pos_emb")[0]).difference, 5e-6);
    for (char const* name : {"q", "k", "v"}) {  // recorded head by head
      auto const t = recorded.tensor(name)[i], mine = out.at(std::string("blocks.0.attn.hook_") + name, i);
      for (std::size_t h = 0; h < 3; ++h)
        for (std::size_t p = 0; p < 11; ++p)
          for (std::size_t c = 0; c < 16; ++c) EXPECT_NEAR(mine.get({p, h, c}), t.get({h, p, c}), 5e-6);
    }
    auto const y = recorded.tensor("y")[i], z = out.at("blocks.0.attn.hook_z", i);
    for (std::size_t p = 0; p < 11; ++p)
      for (std::size_t c = 0; c < 48; ++c) EXPECT_NEAR(z.get({p, c / 16, c % 16}), y.get({p, c}), 5e-6);
  }
}

TEST(gpt2_published, the_trained_sorter_sorts_all_729_inputs) {
  NEEDS_DATA();
  auto const m = open_gpt2(data_folder() + "/models/gpt-nano-sort");
  std::vector<token_list> items(729);
  for (std::size_t i = 0; i < 729; ++i)
    for (std::size_t j = 0, n = i; j < 6; ++j, n /= 3) items[i].push_back(static_cast<std::int32_t>(n % 3));
  auto request = only(*m, "logits");
  request.last_logits_only = true;
  activations out;
  auto const run = m->begin(batch_of(items), request, &out);
  std::vector<token_list> sorted(729);
  for (int step = 0; step < 6; ++step) {
    std::vector<token_list> next(729);
    for (std::size_t i = 0; i < 729; ++i) {
      auto const v = out.at("logits", i).values<float const>();
      next[i] = {static_cast<std::int32_t>(std::max_element(v.begin(), v.end()) - v.begin())};
      sorted[i].push_back(next[i][0]);
    }
    if (step < 5) out = run->extend(batch_of(next), request);
  }
  for (std::size_t i = 0; i < 729; ++i) {
    auto want = items[i];
    std::sort(want.begin(), want.end());
    EXPECT_EQ(sorted[i], want) << i;
  }
}

TEST(gpt2_published, random_oracles_of_three_layouts_agree) {
  NEEDS_DATA();
  namespace fs = std::filesystem;
  fs::path const from = fs::path(data_folder()) / "models/tiny-random-oracles";
  for (std::string const name : {"tiny_gpt2", "tiny_distilgpt2", "tiny_cerebras_gpt"}) {
    scratch_folder f;
    auto const limits = json_limits{std::size_t{16} << 20, 16, 1'000'000};
    auto const oracle = read_json((from / (name + "_logits.json")).string(), limits);
    auto const vocabulary = static_cast<std::size_t>(oracle.at("logits").at(0).at(0).size());
    if (fs::exists(from / (name + "_config.json")))
      fs::copy_file(from / (name + "_config.json"), f / "config.json");
    else
      f.write("config.json", to_json(gpt2_config(2, 2, 8, vocabulary, 16)));
    fs::copy_file(from / (name + ".safetensors"), f / "model.safetensors");
    auto const m = open_gpt2(f.path());
    std::vector<token_list> items;
    for (auto const s : oracle.at("sequences").elements()) {
      items.emplace_back();
      for (auto const t : s.elements()) items.back().push_back(static_cast<std::int32_t>(t.as_integer()));
    }
    for (auto const& [precision, most] : {std::pair{dtype::f64, 1e-6}, std::pair{dtype::f32, 5e-6}}) {
      auto const out = m->run(batch_of(items), only(*m, "logits", precision));
      for (std::size_t i = 0; i < items.size(); ++i)
        for (std::size_t p = 0; p < items[i].size(); ++p)
          for (std::size_t t = 0; t < vocabulary; ++t)
            ASSERT_NEAR(out.at("logits", i).get({p, t}), oracle.at("logits").at(i).at(p).at(t).as_number(), most)
                << name << " item " << i << " position " << p;
    }
  }
}

TEST(gpt2_published, a_folder_from_save_pretrained_opens_and_reads_text) {
  NEEDS_DATA();
  auto const m = open_gpt2(data_folder() + "/models/hf-tiny-gpt2");
  EXPECT_EQ(m->info().d_model, 2u);
  ASSERT_NE(m->text_tokenizer(), nullptr);
  item_block block;
  block.count = 1;
  block.texts = {"a b"};
  auto const tokens = m->encode(block, {});
  EXPECT_GT(tokens.tokens[0].size(), 0u);
  auto const out = m->run(tokens, everything(*m));
  for (auto const v : out.at("logits", 0).values<float const>()) EXPECT_TRUE(std::isfinite(v));
}

/// Of the files below a folder that are mapped, as the kernel counts.
std::size_t mapped_kilobytes_in_memory(std::string const& folder) {
  std::ifstream maps("/proc/self/smaps");
  std::size_t all = 0;
  bool ours = false;
  for (std::string line; std::getline(maps, line);) {
    std::string const key = line.substr(0, line.find(' '));
    if (!key.ends_with(':')) ours = line.find("/" + folder + "/") != line.npos;
    if (ours && key == "Rss:") all += std::stoul(line.substr(4));
  }
  return all;
}

TEST(gpt2_published, the_true_attention_weights_can_be_probed_without_the_rest) {
  NEEDS_DATA();
  auto const m = open_gpt2(data_folder() + "/gpt2-124m-attention");
  auto const w = m->weight("blocks.4.attn.W_Q");
  double const first = w.get({11, 5, 7});
  EXPECT_FLOAT_EQ(static_cast<float>(first), 0.2349398f);
  // A page or two of 113 megabytes: nothing was read but what was asked for.
  EXPECT_GT(mapped_kilobytes_in_memory("gpt2-124m-attention"), 0u);
  EXPECT_LT(mapped_kilobytes_in_memory("gpt2-124m-attention"), 4096u);
  EXPECT_EQ(m->info().layers, 12u);
  expect_error<data_error>([&] { m->run(batch_of({{1}}), everything(*m)); },
                           AllOf(HasSubstr("lacks 25 tensors"), HasSubstr("wte.weight, h.0.mlp.c_fc.weight")));
}

}  // namespace
}  // namespace wayfarer::test
