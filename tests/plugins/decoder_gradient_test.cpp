// Gradients of every family of `decoder`, and of `gpt2`: by every hook against what small edits there do, and by every weight
// against the plain decoder in float64, whose weights can be changed; the same bytes for any number of threads and any batch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include <wayfarer/differentiable.hpp>

#include "decoder_families.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::HasSubstr;

using token_list = std::vector<std::int32_t>;

token_list draw_tokens(std::size_t n, std::size_t vocabulary, std::string const& what) {
  random_stream draw(4, what);
  token_list ids(n);
  for (auto& id : ids) id = static_cast<std::int32_t>(draw.below(static_cast<std::uint32_t>(vocabulary)));
  return ids;
}

/// Two texts, and what each token should predict; not all count.
struct task {
  batch items;
  token_loss loss;
  explicit task(plain_decoder const& p, std::vector<std::size_t> const& lengths = {13, 6}) {
    for (auto const n : lengths) {
      items.tokens.push_back(draw_tokens(n, p.V, "tokens " + std::to_string(n)));
      auto targets = draw_tokens(n, p.V, "targets " + std::to_string(n));
      targets[1] = -1;
      loss.targets.push_back(targets);
    }
    loss.weight = 0.7;
  }
};

/// The scalar of these logits, in plain loops.
double plain_loss(task const& t, std::size_t item, std::vector<double> const& logits) {
  auto const targets = t.loss.targets[item];
  std::size_t const v = logits.size() / targets.size();
  double loss = 0;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] < 0) continue;
    double sum = 0;
    for (std::size_t j = 0; j < v; ++j) sum += std::exp(logits[i * v + j]);
    loss += std::log(sum) - logits[i * v + static_cast<std::size_t>(targets[i])];
  }
  return t.loss.weight * loss;
}
double plain_loss(task const& t, plain_decoder const& p) {
  double loss = 0;
  for (std::size_t i = 0; i < t.items.items(); ++i) {
    auto const ids = t.items.tokens[i];
    loss += plain_loss(t, i, p.run({ids.begin(), ids.end()}).at("logits"));
  }
  return loss;
}
double loss_with(task const& t, model const& m, std::vector<hook_edit> edits) {
  auto const all = run_hooks(m, t.items, {"logits"}, dtype::f64, std::move(edits));
  double loss = 0;
  for (std::size_t i = 0; i < t.items.items(); ++i) loss += plain_loss(t, i, numbers(all.at("logits", i)));
  return loss;
}

differentiable_model const& with_gradients(model const& m) {
  return dynamic_cast<differentiable_model const&>(m);
}

gradient_request ask_for(task const& t, model const& m, std::string const& hooks, dtype precision = dtype::f64) {
  gradient_request ask;
  ask.forward.precision = precision;
  ask.loss = t.loss;
  if (!hooks.empty()) ask.of = m.info().hooks_for(hooks);
  return ask;
}

std::vector<double> direction(std::size_t n, std::string const& what) {
  random_stream draw(9, what);
  std::vector<double> d(n);
  for (auto& v : d) v = draw.normal();
  return d;
}

double product(std::vector<double> const& a, std::vector<double> const& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}
double size_of(std::vector<double> const& a) {
  return std::sqrt(product(a, a));
}

decoder_case case_of(std::string const& name) {
  for (auto& c : decoder_cases())
    if (c.name == name) return c;
  throw std::runtime_error("no family " + name);
}

std::vector<std::string> case_names() {
  std::vector<std::string> all;
  for (auto const& c : decoder_cases()) all.push_back(c.name);
  return all;
}

class decoder_gradient : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(all, decoder_gradient, testing::ValuesIn(case_names()), [](auto const& one) { return one.param; });

/// What the loss does when the hook of every item is moved along a random direction, against the gradient.
void expect_hook_gradient(task const& t, model const& m, hook_info const& hook, activations const& by_hook,
                          std::vector<hook_edit> const& others = {}) {
  double const h = 1e-6;
  std::vector<std::vector<double>> along;
  double expected = 0, scale = 0;
  for (std::size_t i = 0; i < t.items.items(); ++i) {
    auto const g = numbers(by_hook.at(hook.name, i));
    along.push_back(direction(g.size(), hook.name + std::to_string(i)));
    expected += product(g, along.back());
    scale += size_of(g) * size_of(along.back());
    for (double const one : g) ASSERT_TRUE(std::isfinite(one)) << hook.name;
  }
  auto const moved = [&](double by) {
    auto edits = others;
    edits.push_back({hook.name, [&along, by](edit_site const& at, tensor const& x) {
                       auto const v = x.values<double>();
                       for (std::size_t j = 0; j < v.size(); ++j)
                         if (std::isfinite(v[j])) v[j] += by * along[at.item][j];
                     }});
    return loss_with(t, m, std::move(edits));
  };
  EXPECT_NEAR((moved(h) - moved(-h)) / (2 * h), expected, 2e-7 * scale + 1e-8) << hook.name;
}

TEST_P(decoder_gradient, by_every_hook_is_what_small_edits_do) {
  auto const c = case_of(GetParam());
  decoder_folder const f(c);
  auto const m = f.open();
  task const t(c.plain);
  auto const got = with_gradients(*m).differentiate(t.items, ask_for(t, *m, "*"));
  EXPECT_NEAR(got.loss * t.loss.weight, plain_loss(t, c.plain), 1e-9);
  EXPECT_EQ(got.count, 17u);
  double all = 0;
  for (auto const& hook : m->info().hooks) {
    expect_hook_gradient(t, *m, hook, got.by_hook);
    all += size_of(numbers(got.by_hook.at(hook.name, 0)));
  }
  EXPECT_GT(all, 1) << "the gradients are nothing";
}

/// The stored tensors of the loaded model, found in its mapped file by one that the model shows as it is: W_O of block 0.
std::map<std::string, tensor> stored_weights(std::string const& o, scratch_folder const& folder, model const& m) {
  auto const file = safetensors_file::open(folder.file("model.safetensors"));
  auto const* const seen = static_cast<std::byte const*>(m.weight("blocks.0.attn.W_O").raw());
  auto const* const here = static_cast<std::byte const*>(file.tensor(o).raw());
  std::map<std::string, tensor> all;
  for (auto const& name : file.names()) {
    tensor const t = file.tensor(name);
    all.emplace(name, tensor::look(t.type(), seen + (static_cast<std::byte const*>(t.raw()) - here), t.shape(), nullptr));
  }
  return all;
}

TEST_P(decoder_gradient, by_every_weight_is_what_the_plain_decoder_does) {
  auto const c = case_of(GetParam());
  decoder_folder const f(c);
  auto const m = f.open();
  task const t(c.plain);
  auto ask = ask_for(t, *m, "");
  std::string layer = c.layer;
  layer.replace(layer.find('#'), 1, "0");
  auto const stored = stored_weights(c.prefix + layer + c.names.at("o") + ".weight", f.folder, *m);
  std::map<std::string, tensor> by_weight;
  for (auto const& [name, w] : stored) {
    by_weight.emplace(name, tensor(dtype::f64, w.shape()));
    ask.weights.push_back({w, by_weight.at(name)});
  }
  with_gradients(*m).differentiate(t.items, ask);
  double const h = 1e-6;
  for (auto const& [key, values] : c.plain.w) {
    std::string const& part = key;
    // This part alone is moved.
    decoder_case along = c;
    for (auto& [name, v] : along.plain.w) std::fill(v.begin(), v.end(), 0.0);
    auto& d = along.plain.w.at(part) = direction(values.size(), part);
    for (auto& one : d) one = static_cast<float>(one);  // as laid_out gives it
    double expected = 0, scale = 0;
    for (auto const& [name, laid] : laid_out(along)) {
      auto const g = numbers(by_weight.at(name));
      std::vector<double> const way(laid.values.begin(), laid.values.end());
      expected += product(g, way), scale += size_of(g) * size_of(way);
    }
    auto const moved = [&](double by) {
      plain_decoder p = c.plain;
      auto& w = p.w.at(part);
      for (std::size_t i = 0; i < w.size(); ++i) w[i] += by * d[i];
      return plain_loss(t, p);
    };
    EXPECT_GT(scale, 0) << part << ": the gradient is nothing";
    EXPECT_NEAR((moved(h) - moved(-h)) / (2 * h), expected, 2e-7 * scale + 1e-7) << part;
  }
}

TEST_P(decoder_gradient, is_the_same_alone_in_float_and_for_any_number_of_threads) {
  auto const c = case_of(GetParam());
  decoder_folder const f(c);
  auto const m = f.open();
  task const t(c.plain), first(c.plain, {13});
  for (auto const precision : {dtype::f64, dtype::f32}) {
    auto const run = [&](task const& of, std::string const& hooks, std::size_t threads) {
      tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, threads);
      return with_gradients(*m).differentiate(of.items, ask_for(of, *m, hooks, precision));
    };
    auto const whole = run(t, "*", 1), again = run(t, "*", 4), alone = run(first, "*", 2);
    auto const exact = with_gradients(*m).differentiate(t.items, ask_for(t, *m, "*"));
    EXPECT_EQ(whole.loss, again.loss);
    for (auto const& h : m->info().hooks) {
      for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_TRUE(same_bytes(whole.by_hook.at(h.name, i), again.by_hook.at(h.name, i))) << h.name;
        if (precision == dtype::f32) {
          EXPECT_LE(distance(whole.by_hook.at(h.name, i), exact.by_hook.at(h.name, i)), 2e-4) << h.name;
        }
      }
      EXPECT_TRUE(same_bytes(whole.by_hook.at(h.name, 0), alone.by_hook.at(h.name, 0))) << h.name;
    }
    // One hook alone: norms take their short way then.
    auto const one = run(t, "hook_embed", 2);
    EXPECT_LE(distance(one.by_hook.at("hook_embed", 0), whole.by_hook.at("hook_embed", 0)),
              precision == dtype::f64 ? 1e-11 : 1e-4);
  }
}

// ---- PyTorch ------------------------------------------------------------------------------------------------------------------

TEST(decoder_gradient_golden, of_every_mixer_and_rule_of_positions_are_those_of_pytorch) {
  auto const file = safetensors_file::open(data_folder("mixers.safetensors"));
  for (std::string const name : {"learned", "rotary", "alibi", "none", "mean", "window", "conv", "position"}) {
    std::string config;
    for (auto const byte : ids_of(file.tensor(name + "/config"))) config += static_cast<char>(byte);
    weights all;
    std::string const from = name + "/weights/";
    for (auto const& e : file.entries())
      if (e.name.starts_with(from)) {
        auto const v = numbers(file.tensor(e.name));
        all[e.name.substr(from.size())] = {e.shape, std::vector<float>(v.begin(), v.end())};
      }
    scratch_folder folder;
    write_folder(folder, config, all, "F32");
    auto const m = open_model("decoder", folder.path());
    batch items;
    gradient_request ask;
    ask.forward.precision = dtype::f64;
    ask.forward.capture = m->info().hooks_for(std::vector<std::string>{"logits", "blocks.1.attn.hook_pattern"});
    for (std::string const i : {"0", "1"}) {
      items.tokens.push_back(ids_of(file.tensor(name + "/tokens/" + i)));
      ask.loss.targets.push_back(ids_of(file.tensor(name + "/targets/" + i)));
    }
    auto const stored = stored_weights("model.layers.0.self_attn.o_proj.weight", folder, *m);
    ASSERT_EQ(stored.size(), all.size()) << name;
    for (auto const& [key, w] : stored) ask.weights.push_back({w, tensor(dtype::f64, w.shape())});
    auto const got = with_gradients(*m).differentiate(items, ask);
    for (std::size_t i = 0; i < 2; ++i) {
      std::string const at = std::to_string(i);
      EXPECT_LE(distance(got.captured.at("logits", i), file.tensor(name + "/logits/" + at)), 1e-9) << name;
      EXPECT_LE(distance(got.captured.at("blocks.1.attn.hook_pattern", i), file.tensor(name + "/pattern/" + at)), 1e-9) << name;
    }
    // Relative to the largest of all weights: a bias of keys that are not turned has none but rounding.
    std::size_t next = 0;
    double largest = 0, worst = 0;
    for (auto const& [key, w] : stored) {
      auto const mine = numbers(ask.weights[next++].gradient), theirs = numbers(file.tensor(name + "/gradient/" + key));
      ASSERT_EQ(mine.size(), theirs.size()) << name << " " << key;
      for (std::size_t i = 0; i < mine.size(); ++i)
        worst = std::max(worst, std::abs(mine[i] - theirs[i])), largest = std::max(largest, std::abs(theirs[i]));
    }
    EXPECT_LE(worst, 1e-8 * largest) << name;
  }
}

// ---- what a request may say --------------------------------------------------------------------------------------------------

struct opened {
  decoder_case c;
  decoder_folder f;
  std::unique_ptr<model> m;
  task t;
  explicit opened(std::string const& name) : c(case_of(name)), f(c), m(f.open()), t(c.plain) {}
};

TEST(gradient_request, may_begin_at_logits_instead_of_a_loss) {
  for (std::string const name : {"gemma2", "gpt2"}) {
    opened const o(name);
    auto ask = ask_for(o.t, *o.m, "blocks.*.hook_resid_post");
    auto const by_loss = with_gradients(*o.m).differentiate(o.t.items, ask);
    // The loss's gradient by logits is softmax less the target.
    auto const logits = run_hooks(*o.m, o.t.items, {"logits"}, dtype::f64);
    hook_gradient from{"logits", {}};
    for (std::size_t i = 0; i < 2; ++i) {
      auto g = logits.at("logits", i).clone();
      auto const targets = o.t.loss.targets[i];
      for (std::size_t r = 0; r < targets.size(); ++r) {
        auto const row = g.view<double>().row(r);
        double sum = 0;
        for (double& v : row) sum += v = std::exp(v);
        for (double& v : row) v *= targets[r] < 0 ? 0 : o.t.loss.weight / sum;
        if (targets[r] >= 0) row[static_cast<std::size_t>(targets[r])] -= o.t.loss.weight;
      }
      from.items.push_back(g);
    }
    ask.loss = {};
    ask.from = {from};
    auto const by_logits = with_gradients(*o.m).differentiate(o.t.items, ask);
    EXPECT_EQ(by_logits.count, 0u);
    // The sum of both is twice as much; the loss is then taken of the logits that are there.
    ask.loss = o.t.loss;
    ask.forward.capture = o.m->info().hooks_for("logits");
    auto const both = with_gradients(*o.m).differentiate(o.t.items, ask);
    EXPECT_TRUE(same_bytes(both.captured.at("logits", 0), logits.at("logits", 0)));
    EXPECT_NEAR(both.loss, by_loss.loss, 1e-10);
    for (auto const& h : ask.of.names())
      for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_LE(distance(by_logits.by_hook.at(h, i), by_loss.by_hook.at(h, i)), 1e-10) << h;
        auto const one = numbers(by_loss.by_hook.at(h, i)), two = numbers(both.by_hook.at(h, i));
        for (std::size_t j = 0; j < one.size(); ++j) ASSERT_NEAR(two[j], 2 * one[j], 1e-10) << h;
      }
  }
}

TEST(gradient_request, may_begin_at_the_last_logits_and_within_the_model) {
  opened const o("llama");
  gradient_request ask;
  ask.forward.precision = dtype::f64, ask.forward.last_logits_only = true;
  ask.of = o.m->info().hooks_for(std::vector<std::string>{"hook_embed", "blocks.1.attn.hook_pattern", "blocks.1.hook_mlp_out"});
  hook_gradient last{"logits", {}}, middle{"blocks.0.hook_resid_mid", {}};
  for (std::size_t i = 0; i < 2; ++i) {
    std::size_t const n = o.t.items.tokens[i].size();
    last.items.push_back(tensor::of(direction(o.c.plain.V, "last"), {{"pos", 1}, {"token", o.c.plain.V}}));
    middle.items.push_back(tensor::of(direction(n * o.c.plain.D, "mid"), {{"pos", n}, {"d_model", o.c.plain.D}}));
  }
  ask.from = {last, middle};
  auto const got = with_gradients(*o.m).differentiate(o.t.items, ask);
  // The scalar by itself, for edits at hook_embed.
  auto const scalar = [&](double by) {
    hook_edit const edit{"hook_embed", [by](edit_site const& at, tensor const& x) {
                           auto const v = x.values<double>();
                           auto const d = direction(v.size(), "embed" + std::to_string(at.item));
                           for (std::size_t j = 0; j < v.size(); ++j) v[j] += by * d[j];
                         }};
    auto const all = run_hooks(*o.m, o.t.items, {"logits", "blocks.0.hook_resid_mid"}, dtype::f64, {edit});
    double sum = 0;
    for (std::size_t i = 0; i < 2; ++i) {
      auto const logits = numbers(all.at("logits", i));
      sum += product({logits.end() - static_cast<std::ptrdiff_t>(o.c.plain.V), logits.end()}, numbers(last.items[i]));
      sum += product(numbers(all.at("blocks.0.hook_resid_mid", i)), numbers(middle.items[i]));
    }
    return sum;
  };
  double expected = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    auto const g = numbers(got.by_hook.at("hook_embed", i));
    expected += product(g, direction(g.size(), "embed" + std::to_string(i)));
  }
  EXPECT_NEAR((scalar(1e-6) - scalar(-1e-6)) / 2e-6, expected, 1e-5);
  // Only the last query reaches the last logits.
  auto const pattern = got.by_hook.at("blocks.1.attn.hook_pattern", 0);
  EXPECT_EQ(pattern.get({0, 3, 1}), 0);
  EXPECT_NE(pattern.get({0, 12, 1}), 0);
}

TEST(gradient_request, passes_no_edit_but_begins_behind_one) {
  opened const o("qwen3");
  hook_edit const halve{"blocks.0.hook_resid_post", [](edit_site const&, tensor const& x) {
                          for (double& v : x.values<double>()) v *= 0.5;
                        }};
  auto ask = ask_for(o.t, *o.m, "blocks.1.*");
  ask.forward.edits = {halve};
  auto const got = with_gradients(*o.m).differentiate(o.t.items, ask);
  for (auto const& name : ask.of.names()) expect_hook_gradient(o.t, *o.m, *o.m->info().find_hook(name), got.by_hook, {halve});
  ask.of = o.m->info().hooks_for("blocks.0.hook_resid_post");  // after the edit
  EXPECT_NO_THROW(with_gradients(*o.m).differentiate(o.t.items, ask));
  ask.of = o.m->info().hooks_for("blocks.0.hook_resid_mid");
  EXPECT_THAT(thrown<usage_error>([&] { with_gradients(*o.m).differentiate(o.t.items, ask); }),
              HasSubstr("the edit of 'blocks.0.hook_resid_post'"));
  for (std::string const hook : {"attn.hook_pattern", "attn.hook_attn_scores"}) {
    ask.forward.edits = {{"blocks.1." + hook, [](edit_site const&, tensor const&) {}}};
    EXPECT_THAT(thrown<usage_error>([&] { with_gradients(*o.m).differentiate(o.t.items, ask); }),
                HasSubstr("'blocks.1." + hook + "' is edited"));
  }
}

TEST(gradient_request, that_does_not_fit_is_refused) {
  opened const o("llama");
  auto const& m = with_gradients(*o.m);
  auto const refused = [&]<class Error>(Error const*, auto const& spoil) {
    auto ask = ask_for(o.t, *o.m, "hook_embed");
    spoil(ask);
    return thrown<Error>([&] { m.differentiate(o.t.items, ask); });
  };
  plugin_error const* const caller = nullptr;
  usage_error const* const user = nullptr;
  EXPECT_THAT(refused(caller, [](auto& a) { a.loss = {}; }), HasSubstr("of no scalar"));
  EXPECT_THAT(refused(caller, [](auto& a) { a.loss.targets.values.pop_back(), --a.loss.targets.offsets.back(); }),
              HasSubstr("a target for each token"));
  EXPECT_THAT(refused(caller, [](auto& a) { a.forward.last_logits_only = true; }), HasSubstr("last_logits_only"));
  EXPECT_THAT(refused(user, [](auto& a) { a.forward.precision = dtype::bf16; }), HasSubstr("bfloat16"));
  EXPECT_THAT(refused(user, [](auto& a) { a.of = hook_set({"blocks.0.hook_rezid_pre"}); }), HasSubstr("hook_resid_pre"));
  EXPECT_THAT(refused(user, [](auto& a) { a.from = {{"blocks.0.attn.hook_pattern", {}}}; }), HasSubstr("over pairs"));
  EXPECT_THAT(refused(caller, [](auto& a) { a.from = {{"logits", {tensor(1.0), tensor(1.0)}}}; }), HasSubstr("numbers there"));
  EXPECT_THAT(refused(caller,
                      [](auto& a) {
                        a.weights = {{tensor(dtype::f32, {{"n", 3}}), tensor(dtype::f64, {{"n", 3}})}};
                      }),
              HasSubstr("does not read"));
}

TEST(gradient_request, gives_the_same_of_gpt2_and_of_the_decoder_that_opens_it) {
  opened const o("gpt2");
  auto const other = open_model("gpt2", o.f.folder.path());
  auto const a = with_gradients(*o.m).differentiate(o.t.items, ask_for(o.t, *o.m, "*")),
             b = with_gradients(*other).differentiate(o.t.items, ask_for(o.t, *other, "*"));
  EXPECT_NEAR(a.loss, b.loss, 1e-12);
  for (auto const& h : other->info().hooks)
    for (std::size_t i = 0; i < 2; ++i) EXPECT_LE(distance(a.by_hook.at(h.name, i), b.by_hook.at(h.name, i)), 1e-12) << h.name;
}

}  // namespace
