// language_model_trained: gradients of each kind of decoder against differences and PyTorch's, steps of training against
// PyTorch's, training through the interface, the checkpoint as `decoder` opens it, and what must be refused.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <oneapi/tbb/global_control.h>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/optimizer.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/safetensors.hpp>

#include "models/language_model_trained/shape.hpp"
#include "plugins/training_runs.hpp"

namespace wayfarer::test {
namespace {

using decoder_training::net_of;
using decoder_training::shape;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct kind {
  std::string name;
  shape of;
};

/// The table of make_goldens_language_model.py.
std::vector<kind> kinds() {
  shape plain;
  plain.layers = 1, plain.d_model = 8, plain.d_mlp = 12, plain.vocabulary = 13, plain.context = 11;
  std::vector<kind> all;
  auto const add = [&](std::string name, auto change) {
    shape s = plain;
    change(s);
    all.push_back({std::move(name), s});
  };
  add("rotary", [](shape& s) { s.layers = 2, s.heads = 4, s.position = "rotary"; });
  add("learned", [](shape& s) {
    s.layers = 2, s.norm = "layer", s.gated = false, s.activation = "gelu_new", s.biases = true, s.tied = false;
  });
  add("alibi", [](shape& s) { s.heads = 4, s.kv_heads = 1, s.position = "alibi", s.activation = "gelu"; });
  add("nowhere", [](shape& s) { s.position = "none", s.norm = "layer", s.gated = false, s.activation = "relu"; });
  add("mean", [](shape& s) { s.mixer = "mean", s.gated = false, s.activation = "tanh", s.biases = true; });
  add("window", [](shape& s) { s.layers = 2, s.mixer = "window", s.window = 3, s.kv_heads = 1, s.position = "none"; });
  add("conv", [](shape& s) { s.layers = 2, s.mixer = "conv", s.window = 11, s.norm = "layer", s.biases = true, s.tied = false; });
  add("conv_near", [](shape& s) { s.mixer = "conv", s.window = 4, s.position = "none", s.kv_heads = 1; });
  add("position",
      [](shape& s) { s.layers = 2, s.mixer = "position", s.position = "none", s.gated = false, s.activation = "relu2"; });
  add("position_shared", [](shape& s) { s.mixer = "position", s.heads = 4, s.norm = "layer", s.biases = true; });
  return all;
}

template <class T>
language_training::net<T> random_net(shape const& s) {
  auto n = net_of<T>(s);
  n.start(5, decoder_training::start_stream);
  // Norms and biases that are neither 1 nor 0, and weights that make attention choose.
  random_stream draw(3, "shift");
  for (auto const& p : n.parameters())
    for (std::size_t i = 0; i < p.count; ++i) n.values()[p.first + i] += static_cast<T>((p.decays ? 0.2 : 0.1) * draw.normal());
  return n;
}

struct sequences {
  std::vector<std::int32_t> tokens, targets;
  sequences(std::size_t count, std::size_t vocabulary, std::uint64_t seed = 0) {
    random_stream draw(seed, "tokens");
    auto const below = static_cast<std::uint32_t>(vocabulary);
    for (std::size_t i = 0; i < count; ++i) {
      tokens.push_back(static_cast<std::int32_t>(draw.below(below)));
      targets.push_back(static_cast<std::int32_t>(draw.below(below)));
    }
  }
};

// ---- gradients ---------------------------------------------------------------------------------------------------------------

/// The kind in another size: the same choices, random widths.
shape resized(shape s, std::uint64_t round) {
  random_stream draw(round, "shape");
  std::size_t const group = s.heads / s.kv_heads;
  s.kv_heads = 1 + draw.below(2), s.heads = s.kv_heads * group;
  s.d_model = s.heads * 2 * (1 + draw.below(4)), s.d_mlp = 1 + draw.below(30), s.layers = 1 + draw.below(2);
  s.vocabulary = 2 + draw.below(40), s.context = s.window + 3 + draw.below(70);
  return s;
}

void expect_gradients(std::string const& name, shape const& s, std::uint64_t round) {
  random_stream draw(round, "length");
  std::size_t const length = 2 + draw.below(static_cast<std::uint32_t>(s.context - 1)), count = 1 + draw.below(3);
  auto n = random_net<double>(s);
  sequences const x(length * count, s.vocabulary, round);
  double const loss = n.learn(x.tokens, x.targets, length), per = static_cast<double>(length * count);
  EXPECT_NEAR(loss, n.loss(x.tokens, x.targets, length) / per, 1e-12 * loss);
  std::vector<double> const g(n.gradient().begin(), n.gradient().end());
  for (auto const& p : n.parameters()) {
    auto const values = n.values().subspan(p.first, p.count);
    double largest = 0;
    for (std::size_t i = 0; i < p.count; ++i) largest = std::max(largest, std::abs(g[p.first + i]));
    bool const unused = p.name.ends_with("k_proj.bias");  // a softmax does not see what all its scores share
    if (!unused) {
      EXPECT_GT(largest, 0) << name << ": " << p.name << " has no gradient";
    }
    for (std::size_t i = 0; i < p.count; i += std::max<std::size_t>(1, p.count / 12)) {
      double const was = values[i], h = 1e-5;
      values[i] = was + h;
      double const up = n.loss(x.tokens, x.targets, length);
      values[i] = was - h;
      double const down = n.loss(x.tokens, x.targets, length);
      values[i] = was;
      ASSERT_NEAR(g[p.first + i], (up - down) / (2 * h) / per, 1e-8 + 1e-6 * largest)
          << name << ": " << p.name << " " << i << " in round " << round;
    }
  }
}

TEST(language_model_gradient, of_each_kind_in_several_sizes) {
  for (auto const& k : kinds()) {
    shape smooth = k.of;
    if (smooth.activation == "relu") smooth.activation = "gelu";  // a relu has no slope where it bends
    for (std::uint64_t round = 0; round < 4; ++round) expect_gradients(k.name, round ? resized(smooth, round) : smooth, round);
  }
}

TEST(language_model_gradient, float_agrees_with_double) {
  for (auto const& [name, of] : kinds()) {
    shape const s = resized(of, 9);
    auto exact = random_net<double>(s);
    auto rounded = net_of<float>(s);
    for (std::size_t i = 0; i < exact.values().size(); ++i) {
      rounded.values()[i] = static_cast<float>(exact.values()[i]);
      exact.values()[i] = static_cast<double>(rounded.values()[i]);
    }
    sequences const x(3 * s.context, s.vocabulary);
    double const a = exact.learn(x.tokens, x.targets, s.context), b = rounded.learn(x.tokens, x.targets, s.context);
    EXPECT_NEAR(a, b, 1e-5 * a) << name;
    double error = 0, size = 0;
    for (std::size_t i = 0; i < exact.gradient().size(); ++i) {
      error += std::pow(exact.gradient()[i] - static_cast<double>(rounded.gradient()[i]), 2);
      size += std::pow(exact.gradient()[i], 2);
    }
    EXPECT_LT(std::sqrt(error), 2e-5 * std::sqrt(size)) << name;
  }
}

TEST(language_model_gradient, the_same_bytes_for_any_number_of_threads) {
  for (auto const& [name, of] : kinds()) {
    shape s = of;
    s.d_model = 24 * s.heads, s.d_mlp = 150, s.vocabulary = 333, s.context = 130;
    sequences const x(5 * 130, s.vocabulary);
    std::vector<float> first;
    for (std::size_t const threads : {1, 2, 3}) {
      tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
      auto one = random_net<float>(s);
      one.learn(x.tokens, x.targets, 130);
      if (threads == 1) first.assign(one.gradient().begin(), one.gradient().end());
      EXPECT_EQ(std::memcmp(first.data(), one.gradient().data(), first.size() * sizeof(float)), 0) << name << ", " << threads;
    }
  }
}

// ---- PyTorch -----------------------------------------------------------------------------------------------------------------

/// One kind of the goldens, and a net that has their start.
struct golden {
  golden(safetensors_file const& f, kind const& k) : file(f), name(k.name), learner(net_of<double>(k.of)) {
    each("start", [&](auto const& p, std::span<double const> v) {
      std::copy(v.begin(), v.end(), learner.values().begin() + static_cast<std::ptrdiff_t>(p.first));
    });
  }
  void each(std::string const& part, auto const& check) {
    for (auto const& p : learner.parameters()) {
      auto const t = file.tensor(name + "/" + part + "/" + p.name);
      ASSERT_EQ(t.count(), p.count) << p.name;
      check(p, t.template values<double const>());
    }
  }
  std::vector<std::int32_t> numbers(char const* what, std::size_t step) const {
    auto const t = file.tensor(name + "/" + what)[step];
    auto const v = t.values<std::int32_t const>();
    return {v.begin(), v.end()};
  }
  safetensors_file const& file;
  std::string name;
  language_training::net<double> learner;
};

TEST(language_model_golden, gradients_and_training_are_those_of_pytorch) {
  auto const file = safetensors_file::open(std::string(WAYFARER_SOURCE_DIR) + "/tests/data/language-model.safetensors");
  double const rates[] = {0.01, 0.02, 0.015, 0.01, 0.005};
  for (auto const& k : kinds()) {
    golden of(file, k);
    auto& n = of.learner;
    std::size_t const length = k.of.context;
    auto const losses = file.tensor(k.name + "/losses");
    std::vector<double> m(n.values().size()), v(m.size());
    for (std::size_t step = 1; step <= 5; ++step) {
      double const loss = n.learn(of.numbers("tokens", step - 1), of.numbers("targets", step - 1), length);
      EXPECT_NEAR(loss, losses.get({step - 1}), step == 1 ? 1e-9 : 1e-7) << k.name << " step " << step;
      if (step == 1)
        of.each("gradient", [&](auto const& p, std::span<double const> g) {
          for (std::size_t i = 0; i < p.count; ++i)
            ASSERT_NEAR(n.gradient()[p.first + i], g[i], 1e-9) << k.name << " " << p.name << " " << i;
        });
      double const norm = norm_of<double>(n.gradient());
      for (auto const& p : n.parameters())
        adamw_step<double>(n.values().subspan(p.first, p.count), n.gradient().subspan(p.first, p.count),
                           std::span(m).subspan(p.first, p.count), std::span(v).subspan(p.first, p.count), step, rates[step - 1],
                           std::min(1.0, 0.5 / norm), {0.9, 0.95, 1e-8, p.decays ? 0.1 : 0});
    }
    of.each("after", [&](auto const& p, std::span<double const> w) {
      if (p.name.ends_with("k_proj.bias")) return;  // moved by nothing but rounding, which Adam makes large
      for (std::size_t i = 0; i < p.count; ++i)
        ASSERT_NEAR(n.values()[p.first + i], w[i], 1e-6) << k.name << " " << p.name << " " << i;
    });
  }
}

// ---- through the interface ---------------------------------------------------------------------------------------------------

values const small{{"d_model", std::int64_t{32}},
                   {"heads", std::int64_t{4}},
                   {"layers", std::int64_t{2}},
                   {"d_mlp", std::int64_t{64}},
                   {"context", std::int64_t{48}},
                   {"train.updates", std::int64_t{40}},
                   {"train.batch", std::int64_t{4}},
                   {"train.learning_rate", 5e-3},
                   {"train.log_every", std::int64_t{7}},
                   {"train.held_out_every", std::int64_t{25}},
                   {"train.snapshots", std::vector<std::int64_t>{0, 20}},
                   {"train.save_as", std::string("f32")}};

/// Each mixer, and the other choices of the shape along with them.
std::map<std::string, values> variants() {
  auto const text = [](char const* t) { return param_value::storage(std::string(t)); };
  return {{"rotary", {{"position", text("rotary")}, {"kv_heads", std::int64_t{2}}}},
          {"alibi", {{"position", text("alibi")}, {"norm", text("layer")}, {"biases", true}, {"tied", false}}},
          {"learned", {{"gated", false}, {"activation", text("gelu")}}},
          {"mean", {{"mixer", text("mean")}, {"norm", text("layer")}}},
          {"window", {{"mixer", text("window")}, {"window", std::int64_t{5}}, {"position", text("none")}}},
          {"conv", {{"mixer", text("conv")}, {"biases", true}}},
          {"conv_near", {{"mixer", text("conv")}, {"window", std::int64_t{7}}, {"kv_heads", std::int64_t{1}}}},
          {"position", {{"mixer", text("position")}, {"position", text("none")}}}};
}

trained train(values given, std::string const& text, std::string const& rest = "") {
  return test::train("language_model_trained", std::move(given), text, rest);
}

TEST(language_model_trained, each_kind_learns) {
  for (auto const& [name, more] : variants()) {
    auto const t = train(with(with(small, more), {{"train.updates", std::int64_t{200}}}), story(), "Clara went home. Then ");
    auto const losses = t.curves.at("loss").values().clone();
    EXPECT_NEAR(losses.get({0}), std::log(256), 0.1) << name;
    // Letters of a sentence are soon known; whom it is about takes a mixer that reaches back.
    EXPECT_LT(losses.get({losses.size(0) - 1}), 1.2) << name;
    EXPECT_LT(t.curves.at("final_held_out_loss").scalar(), 1.5) << name;
    ASSERT_EQ(t.states.size(), 3u) << name;
    EXPECT_EQ(t.states.back().step, 200u);
  }
}

TEST(language_model_trained, has_the_same_bytes_for_any_number_of_threads) {
  for (auto const& [name, more] : variants()) {
    std::vector<trained> all;
    for (std::size_t const n : {1, 2, 3}) {
      tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, n);
      all.push_back(train(with(small, more), story(), "Ben went home."));
      expect_same_curves(all.front().curves, all.back().curves);
      for (std::size_t i = 0; i < all[0].states.size(); ++i)
        EXPECT_TRUE(same_weights(*all.back().states[i].state, *all[0].states[i].state)) << name << " " << i;
    }
  }
}

TEST(language_model_trained, the_checkpoint_opens_as_a_decoder_with_the_same_bytes) {
  for (auto const& [name, more] : variants())
    for (std::string const words : {"", "tiny-gpt2"}) {
      folder here;
      auto given = with(with(small, more), {{"train.save", here / "out"}});
      if (!words.empty()) given["tokenizer"] = std::string(WAYFARER_SOURCE_DIR) + "/runs/data/" + words;
      auto const t = train(given, story());
      auto const& kept = *t.states.back().state;
      auto const read = make<model>("decoder", {{"path", here / "out"}});
      read->load();
      EXPECT_TRUE(same_weights(kept, *read)) << name;
      ASSERT_EQ(kept.info().hooks.size(), read->info().hooks.size()) << name;
      for (std::size_t i = 0; i < kept.info().hooks.size(); ++i)
        EXPECT_EQ(kept.info().hooks[i].about, read->info().hooks[i].about) << name;
      EXPECT_EQ(kept.info().activation, read->info().activation) << name;
      EXPECT_EQ(kept.info().longest, read->info().longest) << name;
      EXPECT_EQ(kept.info().norm_epsilon, read->info().norm_epsilon) << name;
      item_block text;
      text.count = 1, text.texts = {"Anna went ho\n\xc3\xa9"};
      auto const a = kept.encode(text, {}), b = read->encode(text, {});
      EXPECT_EQ(a.tokens.values, b.tokens.values) << name;
      run_request request;
      request.capture = kept.info().hooks_for("*");
      auto const x = kept.run(a, request), y = read->run(b, request);
      for (auto const& hook : request.capture.names())
        EXPECT_EQ(std::memcmp(x.at(hook, 0).raw(), y.at(hook, 0).raw(), x.at(hook, 0).bytes()), 0) << name << " " << hook;
    }
}

TEST(language_model_trained, goes_on_where_it_was_killed_with_the_same_bytes) {
  struct killed {};
  struct killer final : progress {
    void at(std::size_t done, std::size_t, std::string_view) override {
      if (done == 23) throw killed();
    }
    void warn(std::string_view) override {}
  };
  for (auto const& [name, more] : variants()) {
    folder here;
    auto const given = with(with(small, more), {{"train.precision", std::string(name == "conv" ? "f64" : "f32")}});
    auto const whole = train(with(given, {{"train.save", here / "whole"}}), story(), "Ben went home.");
    auto const resumable =
        with(given, {{"train.state", here / "state"}, {"train.state_every", std::int64_t{9}}, {"train.save", here / "resumed"}});
    auto const m = make<model>("language_model_trained", resumable);
    auto const data = make_source("text", {{"texts", std::vector<std::string>{story()}}});
    auto const rest = make_source("text", {{"texts", std::vector<std::string>{"Ben went home."}}});
    killer kill;
    results none;
    EXPECT_THROW(dynamic_cast<trainable_model const&>(*m).train({*data, rest.get(), none, kill, [](snapshot) {}}), killed);
    auto const resumed = train(resumable, story(), "Ben went home.");
    ASSERT_EQ(resumed.states.size(), whole.states.size()) << name;
    for (std::size_t i = 0; i < whole.states.size(); ++i)
      EXPECT_TRUE(same_weights(*resumed.states[i].state, *whole.states[i].state)) << name << " " << i;
    expect_same_curves(whole.curves, resumed.curves);
    for (std::string const file : {"/model.safetensors", "/config.json"})
      EXPECT_EQ(bytes_of(here / "whole" + file), bytes_of(here / "resumed" + file)) << name;
  }
}

TEST(language_model_trained, a_state_of_another_shape_is_refused) {
  folder here;
  auto const given = with(small, {{"train.state", here / "state"}});
  train(given, story());
  expect_error<usage_error>(
      [&] {
        train(with(given, {{"mixer", std::string("mean")}}), story());
      },
      HasSubstr("another training"));
  expect_error<usage_error>([&] { train(with(given, {{"seed", std::int64_t{1}}}), story()); }, HasSubstr("another training"));
  expect_error<usage_error>(
      [&] {
        test::train("gpt2_trained", {{"train.state", here / "state"}}, story());
      },
      HasSubstr("another training"));
}

TEST(language_model_trained, seeds_differ_and_a_seed_repeats) {
  auto const weights = [](std::int64_t seed) { return train(with(small, {{"seed", seed}}), story()); };
  auto const a = weights(1), b = weights(1), c = weights(2);
  EXPECT_TRUE(same_weights(*a.states.back().state, *b.states.back().state));
  EXPECT_FALSE(same_weights(*a.states.front().state, *c.states.front().state));
}

TEST(language_model_trained, the_shape_of_gpt2_computes_what_gpt2_trained_does) {
  folder here;
  values const same{{"d_model", std::int64_t{32}}, {"heads", std::int64_t{4}},         {"layers", std::int64_t{2}},
                    {"context", std::int64_t{16}}, {"train.updates", std::int64_t{1}}, {"train.save_as", std::string("f32")},
                    {"train.save", here / "gpt2"}};
  auto const gpt2 = test::train("gpt2_trained", same, story());
  // Its weights under our names, in a model whose matrices are turned.
  auto const stored = safetensors_file::open(here / "gpt2/model.safetensors");
  shape s;
  s.heads = s.kv_heads = 4, s.context = 16, s.norm = "layer", s.gated = false, s.activation = "gelu_new", s.biases = true;
  language_training::named_tensors weights;
  auto const take = [&](std::string const& to, std::string const& from) {
    weights.emplace_back(to, stored.tensor("transformer." + from).clone());
  };
  take("embed_tokens.weight", "wte.weight"), take("embed_positions.weight", "wpe.weight");
  for (std::string const i : {"0", "1"}) {
    std::string const ours = "layers." + i + ".", theirs = "h." + i + ".";
    for (auto const& [a, b] : {std::pair{"input_layernorm", "ln_1"}, std::pair{"post_attention_layernorm", "ln_2"}})
      for (std::string const part : {".weight", ".bias"}) take(ours + a + part, theirs + b + part);
    auto const linear = [&](std::string const& to, std::string const& from, std::size_t first, std::size_t end) {
      auto const w = stored.tensor("transformer." + theirs + from + ".weight"),
                 b = stored.tensor("transformer." + theirs + from + ".bias");
      weights.emplace_back(ours + to + ".weight", w.slice(1, first, end).transposed().clone());
      weights.emplace_back(ours + to + ".bias", b.slice(0, first, end).clone());
    };
    linear("self_attn.q_proj", "attn.c_attn", 0, 32), linear("self_attn.k_proj", "attn.c_attn", 32, 64);
    linear("self_attn.v_proj", "attn.c_attn", 64, 96), linear("self_attn.o_proj", "attn.c_proj", 0, 32);
    linear("mlp.up_proj", "mlp.c_fc", 0, 128), linear("mlp.down_proj", "mlp.c_proj", 0, 32);
  }
  for (std::string const part : {".weight", ".bias"}) take("norm" + part, "ln_f" + part);
  auto const ours = decoder_training::make_model(s, std::make_shared<language_training::vocabulary>("test", "", 0));
  ours->take(weights);
  item_block text;
  text.count = 1, text.texts = {"Anna went home."};
  run_request request;
  request.precision = dtype::f64, request.capture = ours->info().hooks_for("logits");
  auto const& theirs = *gpt2.states.back().state;
  tensor const x = ours->run(ours->encode(text, {}), request).at("logits", 0).to(dtype::f64),
               y = theirs.run(theirs.encode(text, {}), request).at("logits", 0).to(dtype::f64);
  for (std::size_t i = 0; i < 15; ++i)
    for (std::size_t j = 0; j < 256; ++j) ASSERT_NEAR(x.get({i, j}), y.get({i, j}), 1e-12);
}

// ---- what must be refused ----------------------------------------------------------------------------------------------------

TEST(language_model_trained_refuses, what_does_not_go_together) {
  auto const says = [](values more, ::testing::Matcher<std::string const&> what) {
    expect_error<usage_error>([&] { make<model>("language_model_trained", with(small, std::move(more))); }, what);
  };
  auto const text = [](char const* t) { return param_value::storage(std::string(t)); };
  says({{"heads", std::int64_t{5}}}, HasSubstr("5 heads do not divide d_model 32"));
  says({{"kv_heads", std::int64_t{3}}}, HasSubstr("3 kv_heads do not divide 4 heads"));
  says({{"position", text("rotary")}, {"heads", std::int64_t{32}}}, AllOf(HasSubstr("rotary"), HasSubstr("odd")));
  for (char const* const mixer : {"mean", "conv", "position"})
    for (char const* const position : {"rotary", "alibi"})
      says({{"mixer", text(mixer)}, {"position", text(position)}},
           AllOf(HasSubstr(std::string("position: ") + position), HasSubstr(std::string("mixer: ") + mixer)));
  says({{"mixer", text("window")}}, HasSubstr("mixer: window needs window"));
  for (char const* const mixer : {"attention", "mean", "position"})
    says({{"mixer", text(mixer)}, {"window", std::int64_t{4}}}, AllOf(HasSubstr("window is 4"), HasSubstr(mixer)));
  says({{"mixer", text("window")}, {"window", std::int64_t{49}}}, AllOf(HasSubstr("window of 49"), HasSubstr("context of 48")));
  says({{"layers", std::int64_t{1024}}, {"d_model", std::int64_t{65536}}}, HasSubstr("billion"));
  expect_error<data_error>([] { train(small, "short"); }, AllOf(HasSubstr("5 tokens"), HasSubstr("context of 48")));
  expect_error<data_error>([] { train(small, story(), "x"); }, AllOf(HasSubstr("train.held_out"), HasSubstr("fewer than two")));
  expect_error<usage_error>(
      [] {
        train(with(small, {{"train.learning_rate", 1e30}, {"train.clip", 0.0}}), story());
      },
      AllOf(HasSubstr("no longer finite at update"), HasSubstr("learning_rate")));
}

}  // namespace
}  // namespace wayfarer::test
