// Models without attention: every hook against the goldens of tests/data, what the goldens can see, and the promises that hold
// for any weights: runs that go on, batches, threads, edits of the state and of the weights between positions, texts of any
// length.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>

#include <wayfarer/pretrained.hpp>
#include <wayfarer/random.hpp>

#include "golden_models.hpp"
#include "store/sanitized.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::HasSubstr;
using token_list = std::vector<std::int32_t>;

/// A folder of tests/data and the plugin that reads it; `mixing`: the hook of its weights between positions, and what they weigh.
struct recurrent_case {
  std::string folder, plugin, mixing, weighed, sum;
  std::string own{};  ///< a weight that gives each channel's own number a way past the mixer
};
void PrintTo(recurrent_case const& c, std::ostream* to) {
  *to << c.folder;
}

std::vector<recurrent_case> cases() {
  std::string const head = "attn.hook_mixing", mean = "attn.hook_pattern", v = "attn.hook_v", wkv = "attn.hook_wkv";
  return {{"rwkv4-small", "rwkv", mean, v, wkv},
          {"rwkv5.1-small", "rwkv", head, v, wkv},
          {"rwkv5.2-small", "rwkv", head, v, wkv},
          {"rwkv6-small", "rwkv", head, v, wkv},
          {"rwkv7-small", "rwkv", head, v, wkv},
          {"mamba-small", "mamba", "ssm.hook_mixing", "ssm.hook_conv", "ssm.hook_y", "ssm.D"},
          {"falcon-mamba-small", "mamba", "ssm.hook_mixing", "ssm.hook_conv", "ssm.hook_y", "ssm.D"},
          {"mamba2-small", "mamba", "ssm.hook_mixing", "ssm.hook_conv", "ssm.hook_y", "ssm.D"},
          {"aft-full-small", "aft", mean, v, wkv},
          {"aft-simple-small", "aft", mean, v, wkv},
          {"aft-local-small", "aft", mean, v, wkv},
          {"aft-conv-small", "aft", mean, v, wkv}};
}

batch batch_of(std::vector<token_list> const& items) {
  batch b;
  for (auto const& ids : items) b.tokens.push_back(ids);
  return b;
}

token_list random_tokens(std::size_t n, std::size_t vocabulary, std::uint64_t seed) {
  random_stream draw(seed, "tokens");
  token_list ids(n);
  for (auto& id : ids) id = static_cast<std::int32_t>(draw.below(vocabulary));
  return ids;
}

token_list part(token_list const& ids, std::size_t from, std::size_t to) {
  return {ids.begin() + static_cast<std::ptrdiff_t>(from), ids.begin() + static_cast<std::ptrdiff_t>(to)};
}

class recurrent : public testing::TestWithParam<recurrent_case> {
 protected:
  std::unique_ptr<model> open() const { return open_model(GetParam().plugin, data_folder(GetParam().folder)); }
  golden want_{data_folder(GetParam().folder)};
};
INSTANTIATE_TEST_SUITE_P(all, recurrent, testing::ValuesIn(cases()), [](auto const& of) {
  std::string name = of.param.folder;
  for (auto& c : name)
    if (c == '.' || c == '-') c = '_';
  return name;
});

TEST_P(recurrent, gives_every_hook_of_the_golden) {
  auto const m = open();
  auto const items = want_.items();
  for (auto const& [precision, tolerance] : {std::pair(dtype::f64, 1e-6), std::pair(dtype::f32, 1e-5)}) {
    auto const got = run_hooks(*m, want_.make(items), {"*"}, precision);
    for (std::size_t const i : items) {
      std::size_t compared = 0;
      for (auto const& h : m->info().hooks) {
        ASSERT_TRUE(want_.has(i, h.name)) << h.name;
        tensor const expected = want_.at(i, h.name);
        EXPECT_EQ(got.at(h.name, i).count(), expected.count()) << h.name;
        EXPECT_LE(distance(got.at(h.name, i).clone().reshaped(expected.shape()), expected), tolerance)
            << h.name << " of item " << i;
        ++compared;
      }
      std::size_t recorded = 0;
      for (auto const& name : want_.hooks(i)) recorded += !name.starts_with("wrong/");
      EXPECT_EQ(compared, recorded);
    }
  }
}

TEST_P(recurrent, sees_every_wrong_ingredient) {
  auto const m = open();
  auto const got = run_hooks(*m, want_.make({0}), {"logits"}, dtype::f64);
  std::size_t broken = 0;
  for (auto const& name : want_.hooks(0)) {
    if (!name.starts_with("wrong/")) continue;
    EXPECT_GT(distance(got.at("logits", 0), want_.at(0, name)), 1e-4) << name;
    ++broken;
  }
  EXPECT_GE(broken, 1u);
}

TEST_P(recurrent, goes_on_with_the_bytes_of_a_whole_run) {
  auto const m = open();
  auto const ids = random_tokens(14, m->info().vocabulary, 4), other = random_tokens(5, m->info().vocabulary, 5);
  run_request request;
  for (auto const& h : m->info().hooks)
    if (!h.per_pair) request.capture.add(hook_set({h.name}));
  auto const whole = m->run(batch_of({ids}), request), whole_other = m->run(batch_of({other}), request);
  activations first;
  auto run = m->begin(batch_of({part(ids, 0, 3), other}), request, &first);
  auto const compare = [&](activations const& got, std::size_t item, activations const& all, std::size_t from, std::size_t to) {
    for (auto const& name : request.capture.names())
      EXPECT_TRUE(same_bytes(got.at(name, item), all.at(name, 0).slice(0, from, to).clone())) << name << " from " << from;
  };
  compare(first, 0, whole, 0, 3), compare(first, 1, whole_other, 0, 5);
  auto const branch = run->branch(std::vector<std::size_t>{0, 0});
  std::size_t at = 3;
  for (std::size_t const step : {1, 1, 4, 1}) {
    compare(run->extend(batch_of({part(ids, at, at + step), {}}), request), 0, whole, at, at + step);
    at += step;
    EXPECT_EQ(run->length(0), at);
    EXPECT_EQ(run->length(1), 5u);
  }
  compare(branch->extend(batch_of({part(ids, 3, 9), part(ids, 3, 5)}), request), 0, whole, 3, 9);
  compare(branch->extend(batch_of({{}, part(ids, 5, 14)}), request), 1, whole, 5, 14);
  // What fails leaves the run as it was.
  EXPECT_ANY_THROW(run->extend(batch_of({{999'999}, {}}), request));
  EXPECT_EQ(run->length(0), at);
  compare(run->extend(batch_of({part(ids, at, 14), {}}), request), 0, whole, at, 14);
}

TEST_P(recurrent, gives_the_same_bytes_for_any_batch_and_number_of_threads) {
  auto const m = open();
  auto const items = want_.items();
  auto const together = on_threads(1, [&] { return run_hooks(*m, want_.make(items), {"*"}); });
  auto const again = on_threads(3, [&] { return run_hooks(*m, want_.make(items), {"*"}); });
  for (std::size_t const i : items) {
    auto const alone = run_hooks(*m, want_.make({i}), {"*"});
    for (auto const& h : m->info().hooks) {
      EXPECT_TRUE(same_bytes(together.at(h.name, i), alone.at(h.name, 0))) << h.name << " of item " << i;
      EXPECT_TRUE(same_bytes(together.at(h.name, i), again.at(h.name, i))) << h.name << " of item " << i;
      // The state is carried in place where nobody looks at it.
      EXPECT_TRUE(same_bytes(run_hooks(*m, want_.make({i}), {h.name}).at(h.name, 0), alone.at(h.name, 0))) << h.name;
    }
  }
}

TEST_P(recurrent, has_sums_and_weights_that_fit_its_hooks) {
  auto const m = open();
  auto const out = run_hooks(*m, want_.make({0}), {"*"}, dtype::f64);
  std::string const last = "blocks." + std::to_string(m->info().layers - 1) + ".hook_resid_post";
  EXPECT_LE(distance(m->unembed(m->final_norm(out.at(last, 0))), out.at("logits", 0)), 1e-12);
  batch given = want_.make({0});
  given.embeddings = out.at("hook_embed", 0);
  EXPECT_TRUE(same_bytes(run_hooks(*m, given, {"logits"}, dtype::f64).at("logits", 0), out.at("logits", 0)));
  for (auto const& name : m->info().weights) EXPECT_NO_THROW(m->weight(name)) << name;
}

/// Twice the weights must give twice the sum: so weights times values are the mixer's output, in every channel.
TEST_P(recurrent, its_weights_between_positions_give_the_output_of_its_mixer) {
  auto const m = open();
  std::string const b = "blocks.1.", mixing = b + GetParam().mixing, sum = b + GetParam().sum;
  auto const before = run_hooks(*m, want_.make({0}), {"*"}, dtype::f64);
  std::vector<hook_edit> const twice{{mixing, [](edit_site const&, tensor const& t) {
                                        for (auto& v : t.values<double>()) v *= 2;
                                      }}};
  auto const after = run_hooks(*m, want_.make({0}), {"*"}, dtype::f64, twice);
  tensor doubled = before.at(sum, 0).clone();
  for (auto& v : doubled.values<double>()) v *= 2;
  if (!GetParam().own.empty()) {
    tensor const own = m->weight(b + GetParam().own), x = before.at(b + GetParam().weighed, 0);
    std::size_t const channels = doubled.size(1), each = channels / own.size(0);
    for (std::size_t t = 0; t < doubled.size(0); ++t)
      for (std::size_t c = 0; c < channels; ++c) doubled(t, c) -= own.get({c / each}) * x.get({t, c});
  }
  EXPECT_LE(distance(after.at(sum, 0), doubled), 1e-12);
  // No weight looks ahead; those of a distribution sum to 1.
  tensor const w = before.at(mixing, 0);
  for (std::size_t h = 0; h < w.size(0); ++h)
    for (std::size_t q = 0; q < w.size(1); ++q) {
      double total = 0;
      for (std::size_t k = 0; k < w.size(2); ++k) {
        EXPECT_TRUE(k <= q || w.get({h, q, k}) == 0);
        total += w.get({h, q, k});
      }
      EXPECT_TRUE(!mixing.ends_with("hook_pattern") || std::abs(total - 1) < 1e-12) << total;
    }
  if (!GetParam().own.empty()) return;  // what is weighed makes the weights too
  // An edge that is cut brings nothing: what stood at that position is not read by that query.
  std::vector<hook_edit> cut{{mixing, [](edit_site const&, tensor const& t) {
                                auto const v = t.view<double>();
                                for (std::size_t h = 0; h < t.size(0); ++h) v(h, 9, 4) = 0;
                              }}};
  auto const without = run_hooks(*m, want_.make({0}), {sum}, dtype::f64, cut);
  cut.push_back({b + GetParam().weighed, [](edit_site const&, tensor const& t) {
                   for (auto& v : t[4].values<double>()) v = 1e3;
                 }});
  auto const other = run_hooks(*m, want_.make({0}), {sum}, dtype::f64, cut);
  EXPECT_LE(distance(other.at(sum, 0)[9].clone(), without.at(sum, 0)[9].clone()), 1e-12);
  EXPECT_GT(distance(other.at(sum, 0)[8].clone(), without.at(sum, 0)[8].clone()), 1e-3);
}

TEST_P(recurrent, an_edited_state_goes_on_to_the_positions_behind) {
  auto const m = open();
  std::string state;
  for (auto const& h : m->info().hooks)
    if (h.name.starts_with("blocks.0.") && h.name.ends_with("hook_state")) state = h.name;
  if (state.empty()) GTEST_SKIP() << "it keeps no state of fixed size";
  auto const ids = random_tokens(10, m->info().vocabulary, 7);
  std::size_t const at = 4;
  auto const halve = [&](std::size_t position) {
    return std::vector<hook_edit>{{state, [position](edit_site const& site, tensor const& t) {
                                     if (position < site.first_position || position >= site.first_position + t.size(0)) return;
                                     auto const row = t[position - site.first_position];
                                     for (auto& v : row.values<float>()) v *= 0.5f;
                                   }}};
  };
  run_request request;
  for (auto const& h : m->info().hooks)
    if (!h.per_pair) request.capture.add(hook_set({h.name}));
  run_request edited = request;
  edited.edits = halve(at);
  auto const whole = m->run(batch_of({ids}), edited);
  auto run = m->begin(batch_of({part(ids, 0, at + 1)}), edited, nullptr);
  auto const rest = run->extend(batch_of({part(ids, at + 1, ids.size())}), request);
  for (auto const& name : request.capture.names())
    EXPECT_TRUE(same_bytes(rest.at(name, 0), whole.at(name, 0).slice(0, at + 1, ids.size()).clone())) << name;
  EXPECT_GT(distance(whole.at("logits", 0), m->run(batch_of({ids}), request).at("logits", 0)), 1e-4);
}

TEST_P(recurrent, every_edit_goes_downstream_and_nowhere_else) {
  auto const m = open();
  auto const before = run_hooks(*m, want_.make({0, 2}), {"*"}, dtype::f64);
  auto const& hooks = m->info().hooks;
  for (std::size_t k = 0; k < hooks.size(); ++k) {
    std::vector<hook_edit> const edit{{hooks[k].name, [](edit_site const& site, tensor const& t) {
                                         if (site.item == 0)
                                           for (auto& v : t.values<double>()) v = 0.5 * v + 0.25;
                                       }}};
    auto const after = run_hooks(*m, want_.make({0, 2}), {"*"}, dtype::f64, edit);
    for (std::size_t i = 0; i < k; ++i)
      EXPECT_TRUE(same_bytes(after.at(hooks[i].name, 0), before.at(hooks[i].name, 0)))
          << hooks[i].name << " by " << hooks[k].name;
    EXPECT_TRUE(same_bytes(after.at("logits", 1), before.at("logits", 1))) << hooks[k].name;
    EXPECT_FALSE(same_bytes(after.at("logits", 0), before.at("logits", 0))) << hooks[k].name;
  }
}

TEST_P(recurrent, takes_a_long_text_in_pieces_with_the_bytes_of_one_pass) {
  auto const m = open();
  std::size_t const most = m->info().longest;
  if (most != 0 && most < 5000) GTEST_SKIP() << "it reads " << most << " positions";
  auto const ids = random_tokens(5000, m->info().vocabulary, 8), other = random_tokens(900, m->info().vocabulary, 9);
  std::vector<std::string> const hooks{"blocks.1.hook_resid_post", "logits"};
  // An edit that changes nothing makes it one pass.
  std::vector<hook_edit> const none{{"hook_embed", [](edit_site const&, tensor const&) {}}};
  auto const pieces = run_hooks(*m, batch_of({ids, other}), hooks),
             whole = run_hooks(*m, batch_of({ids, other}), hooks, dtype::f32, none);
  for (auto const& h : hooks)
    for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(same_bytes(pieces.at(h, i), whole.at(h, i))) << h;
  run_request request;
  request.capture = m->info().hooks_for({"logits"}), request.last_logits_only = true;
  auto const last = m->run(batch_of({ids, other}), request);
  EXPECT_TRUE(same_bytes(last.at("logits", 0), whole.at("logits", 0).slice(0, 4999, 5000).clone()));
  EXPECT_TRUE(same_bytes(last.at("logits", 1), whole.at("logits", 1).slice(0, 899, 900).clone()));
}

TEST_P(recurrent, says_why_a_run_that_goes_on_has_no_weights_to_earlier_positions) {
  auto const m = open();
  std::string const hook = "blocks.0." + GetParam().mixing;
  run_request request;
  request.capture = m->info().hooks_for({hook});
  activations first;
  auto run = m->begin(batch_of({{1, 2, 3}}), request, &first);
  EXPECT_EQ(first.at(hook, 0).size(1), 3u);
  EXPECT_THAT(thrown<usage_error>([&] { run->extend(batch_of({{4}}), request); }), HasSubstr("in one run over the whole text"));
}

/// Peak of this process's memory, in bytes.
std::size_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoul(line.substr(6)) * 1024;
  return 0;
}

TEST(recurrent_memory, a_text_of_65536_tokens_takes_what_one_of_4096_takes) {
#ifdef WAYFARER_SANITIZED
  GTEST_SKIP() << "a sanitizer keeps freed memory";
#endif
  auto const m = open_model("rwkv", data_folder("rwkv5.2-small"));
  run_request request;
  request.capture = m->info().hooks_for({"logits"}), request.last_logits_only = true;
  m->run(batch_of({random_tokens(4096, m->info().vocabulary, 1)}), request);
  std::size_t const before = peak_memory();
  auto const ids = random_tokens(65'536, m->info().vocabulary, 2);
  auto const whole = m->run(batch_of({ids}), request);
  std::size_t const after = peak_memory();
  // One buffer of all rows would be 15 x 65,536 floats, 3.9 million bytes; the tokens themselves are 0.3 million, copied a few
  // times.
  EXPECT_LT(after - before, 3'000'000u);
  EXPECT_EQ(whole.at("logits", 0).size(0), 1u);
}

// ---- others' numbers ---------------------------------------------------------------------------------------------------------

std::string data_or_empty() {
  char const* const data = std::getenv("WAYFARER_DATA");
  return data ? data : "";
}

TEST(recurrent_published, random_models_give_the_logits_of_hugging_face) {
  if (data_or_empty().empty()) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  for (std::string const name : {"rwkv", "mamba"}) {
    std::string const from = data_or_empty() + "/models/family-oracles/tiny_" + name;
    scratch_folder folder;
    std::filesystem::copy(from + ".safetensors", folder.file("model.safetensors"));
    std::filesystem::copy(from + "_config.json", folder.file("config.json"));
    auto const m = open_model(name, folder.path());
    EXPECT_THAT(dynamic_cast<pretrained const&>(*m).remarks(), testing::IsEmpty());
    auto const expected = read_json(from + "_logits.json", {std::size_t{1} << 24, 16, 1'000'000});
    batch b;
    for (json_value const s : expected.at("sequences").elements()) {
      std::vector<std::int32_t> ids;
      for (json_value const id : s.elements()) ids.push_back(static_cast<std::int32_t>(id.as_integer()));
      b.tokens.push_back(ids);
    }
    for (auto const& [precision, tolerance] : {std::pair(dtype::f64, 1e-6), std::pair(dtype::f32, 1e-5)}) {
      auto const got = run_hooks(*m, b, {"logits"}, precision);
      double worst = 0, largest = 0;
      for (std::size_t i = 0; i < b.items(); ++i)
        for (std::size_t t = 0; t < b.tokens[i].size(); ++t)
          for (std::size_t v = 0; v < m->info().vocabulary; ++v) {
            double const want = expected.at("logits").at(i).at(t).at(v).as_number();
            worst = std::max(worst, std::abs(got.at("logits", i).get({t, v}) - want)),
            largest = std::max(largest, std::abs(want));
          }
      EXPECT_LE(worst, tolerance * largest);
    }
  }
}

}  // namespace
