// The tape: what layers record, what the way back gives, against central differences; and what it refuses.
#include <algorithm>
#include <cmath>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/rotary.hpp>
#include <wayfarer/tape.hpp>
#include <wayfarer/taps.hpp>

#include "gradient_checks.hpp"

namespace wayfarer::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

template <class Error, class F>
std::string message_of(F f) {
  try {
    f();
  } catch (Error const& e) {
    return e.what();
  }
  return "nothing was thrown";
}

/// The gradient of weighted(f(x), by) by x, on a tape, against differences; and that a pass without a tape gives the same bytes.
void expect_recorded(char const* what, rows x, std::function<rows(rows const&)> const& f, double tolerance = 1e-6) {
  rows const plain = f(x);
  rows const by = noise_rows(plain.shared_packing(), plain.width(), "by");
  tape on;
  rows begun = x;
  auto const seen = on.watch(begun);
  rows const y = f(begun);
  EXPECT_TRUE(std::equal(all(y).begin(), all(y).end(), all(plain).begin(), all(plain).end())) << what;
  EXPECT_GT(on.steps(), 0u) << what;
  on.seed(y.recorded(), by);
  on.back();
  EXPECT_EQ(on.steps(), 0u) << what;
  rows const dx = on.gradient(seen);
  expect_gradient(
      what, all(x), all(dx), [&] { return weighted(f(x), by); }, tolerance);
}

TEST(tape, every_layer_records_itself) {
  auto const of = pack({7, 1, 12});
  rows const x = noise_rows(of, 12, "x");
  linear_weights const w{noise({{"in", 12}, {"out", 5}}, "w"), noise({{"out", 5}}, "b")};
  linear_weights const turned{noise({{"out", 12}, {"in", 12}}, "w"), {}, false}, more{noise({{"in", 12}, {"out", 12}}, "w2")};
  norm_weights const norm{noise({{"d", 12}}, "nw"), noise({{"d", 12}}, "nb"), 1e-3};
  norm_weights const heads{noise({{"d", 4}}, "nw"), {}, 1e-3, true, 3};
  std::vector<std::size_t> const picked{8, 0, 8};
  rotary r;
  r.turned = 4, r.positions = 32;
  rows const angles = rotary_angles(r, of, dtype::f64);
  expect_recorded("linear", x, [&](rows const& v) { return linear(v, w); });
  expect_recorded("linear, turned", x, [&](rows const& v) { return linear(v, turned); });
  expect_recorded("layer norm", x, [&](rows const& v) { return layer_norm(v, norm, {}); });
  expect_recorded("rms norm of heads", x, [&](rows const& v) { return rms_norm(v, heads, {}); });
  expect_recorded("activation", x, [&](rows const& v) { return activate(v, activation::gelu_erf); });
  expect_recorded("scaled", x, [&](rows const& v) { return scaled(v, -1.5); });
  expect_recorded("capped", x, [&](rows const& v) { return capped(v, 0.7); });
  expect_recorded("columns", x, [&](rows const& v) { return columns(v, 3, picked); });
  expect_recorded("last rows", x, [&](rows const& v) { return v.last(); });
  expect_recorded("sum of a value with itself", x, [&](rows const& v) { return v + linear(v, turned) + v; });
  expect_recorded("rotation", x, [&](rows const& v) { return rotate(v, 3, angles, false); });
  expect_recorded("plain MLP", x, [&](rows const& v) {
    return mlp(v, {w, {noise({{"in", 5}, {"out", 12}}, "o")}, {}, activation::silu}, {});
  });
  expect_recorded("gated MLP", x, [&](rows const& v) { return mlp(v, {more, w, turned, activation::gelu_tanh}, {}); });
  expect_recorded("attention", x, [&](rows const& v) {
    attend_options how{3, 0.5, true};
    return attention(v, v, {turned, more, more, w}, how, {});
  });
  expect_recorded("attention, keys alone", x, [&](rows const& v) {
    attend_options const how{3, 0.5, true};
    return attend(noise_rows(of, 12, "q"), linear(v, more), noise_rows(of, 12, "v"), how, {});
  });
}

TEST(tape, gradients_of_weights_go_to_their_memory) {
  auto const of = pack({5, 4});
  rows const x = noise_rows(of, 6, "x");
  // Queries, keys and values side by side in one matrix, which is read again as a whole.
  tensor all_w = noise({{"in", 6}, {"out", 18}}, "w"), all_b = noise({{"out", 18}}, "b");
  auto const part = [&](std::size_t i) {
    return linear_weights{all_w.slice(1, 6 * i, 6 * i + 6), all_b.slice(0, 6 * i, 6 * i + 6)};
  };
  for (bool const apart : {false, true}) {
    auto const f = [&] {
      auto const made = project(x, part(0), part(apart ? 2 : 1), part(apart ? 1 : 2));
      return made;
    };
    attend_options const how{2, 0.6, true};
    rows const by = noise_rows(of, 18, "by"), by_z = noise_rows(of, 6, "z");
    tensor const dw(dtype::f64, all_w.shape()), db(dtype::f64, all_b.shape());
    tape on;
    on.want(all_w, dw), on.want(all_b, db);
    rows begun = x;
    on.begin(begun);
    auto const made = project(begun, part(0), part(apart ? 2 : 1), part(apart ? 1 : 2));
    rows const z = attend(made[0], made[1], made[2], how, {});
    rows const whole = linear(begun, {all_w, all_b});
    on.seed(z.recorded(), by_z), on.seed(whole.recorded(), by);
    on.back();
    auto const loss = [&] {
      auto const q = f();
      return weighted(attend(q[0], q[1], q[2], how, {}), by_z) + weighted(linear(x, {all_w, all_b}), by);
    };
    expect_gradient("w", all_w.values<double>(), dw.values<double const>(), loss);
    expect_gradient("b", all_b.values<double>(), db.values<double const>(), loss);
  }
}

TEST(tape, neighbouring_weights_may_have_gradients_apart) {
  auto const of = pack({5, 4});
  rows const x = noise_rows(of, 6, "x"), by = noise_rows(of, 6, "z");
  tensor all_w = noise({{"out", 18}, {"in", 6}}, "w");
  tensor const room(dtype::f64, {{"out", 36}, {"in", 6}});
  auto const part = [&](tensor const& t, std::size_t i) { return t.slice(0, 6 * i, 6 * i + 6); };
  auto const weights = [&](std::size_t i) { return linear_weights{part(all_w, i), {}, false}; };
  std::size_t const place[] = {2, 0, 1};
  attend_options const how{2, 0.6, true};
  tape on;
  for (std::size_t i = 0; i < 3; ++i) on.want(part(all_w, i), part(room, place[i]));
  rows begun = x;
  on.begin(begun);
  auto const made = project(begun, weights(0), weights(1), weights(2));
  rows const z = attend(made[0], made[1], made[2], how, {});
  on.seed(z.recorded(), by);
  on.back();
  auto const loss = [&] {
    auto const q = project(x, weights(0), weights(1), weights(2));
    return weighted(attend(q[0], q[1], q[2], how, {}), by);
  };
  for (std::size_t i = 0; i < 3; ++i)
    expect_gradient("w", all_w.values<double>().subspan(36 * i, 36), room.values<double const>().subspan(36 * place[i], 36),
                    loss);
  for (double const beyond : room.values<double const>().subspan(108)) ASSERT_EQ(beyond, 0);
}

TEST(tape, a_table_that_is_also_the_head_gets_the_sum) {
  auto const of = pack({3});
  ragged<std::int32_t> tokens;
  tokens.push_back(std::vector<std::int32_t>{2, 0, 2});
  tensor const table = noise({{"token", 4}, {"d", 5}}, "table"), places = noise({{"pos", 8}, {"d", 5}}, "places");
  tensor const d_table(dtype::f64, table.shape()), d_places(dtype::f64, places.shape());
  rows const by = noise_rows(of, 4, "by");
  auto const f = [&](tape* on) {
    rows x = embed(tokens, of, table, dtype::f64, 3, on);
    x += embed_positions(of, places, dtype::f64, 2, on);
    return linear(x, {table, {}, false});
  };
  tape on;
  on.want(table, d_table), on.want(places, d_places);
  rows const y = f(&on);
  on.seed(y.recorded(), by);
  on.back();
  auto const loss = [&] { return weighted(f(nullptr), by); };
  expect_gradient("table", table.values<double>(), d_table.values<double const>(), loss);
  expect_gradient("places", places.values<double>(), d_places.values<double const>(), loss);
}

TEST(tape, keeps_nothing_that_nobody_asked_for) {
  auto const of = pack({4});
  linear_weights const w{noise({{"in", 3}, {"out", 3}}, "w")};
  tape on;
  rows x = noise_rows(of, 3, "x");
  on.begin(x);
  rows y = activate(linear(layer_norm(x, {}, {}), w), activation::silu);
  EXPECT_EQ(on.steps(), 0u);
  auto const seen = on.watch(y);  // from here on
  rows const z = linear(y, w);
  EXPECT_EQ(on.steps(), 1u);
  on.seed(z.recorded(), noise_rows(of, 3, "dz"));
  on.back();
  EXPECT_GT(std::abs(all(on.gradient(seen))[0]), 0);
}

TEST(tape, a_value_that_nothing_depends_on_has_the_gradient_0) {
  auto const of = pack({4});
  tape on;
  rows x = noise_rows(of, 3, "x");
  auto const seen = on.watch(x);
  rows const used = scaled(x, 2), unused = scaled(x, 3);
  rows watched = unused;
  auto const other = on.watch(watched);
  on.seed(used.recorded(), noise_rows(of, 3, "dz"));
  on.back();
  for (double const v : all(on.gradient(other))) EXPECT_EQ(v, 0);
  EXPECT_NE(all(on.gradient(seen))[0], 0);
}

TEST(tape, what_it_lost_sight_of_is_an_error) {
  auto const of = pack({4});
  linear_weights const w{noise({{"in", 3}, {"out", 3}}, "w")};
  auto const try_with = [&](std::function<rows(rows)> const& f) {
    return message_of<usage_error>([&] {
      tape on;
      rows x = noise_rows(of, 3, "x");
      on.watch(x);
      linear(f(x), w);
    });
  };
  auto const refused = AllOf(HasSubstr("'linear'"), HasSubstr("no gradient yet"));
  EXPECT_THAT(try_with([](rows x) {
                x.own<double>()[0] = 1;
                return x;
              }),
              refused);
  EXPECT_THAT(try_with([](rows x) {
                rows y = x.like(3);
                std::fill(y.overwrite<double>(), y.overwrite<double>() + 12, 1.0);
                return y;
              }),
              refused);
  EXPECT_EQ(try_with([](rows x) { return x.bare(); }), "nothing was thrown");
  // A weight that the pass does not read, a gradient of another shape, and two tapes.
  tape on, another;
  rows x = noise_rows(of, 3, "x"), y = x;
  on.watch(x), another.watch(y);
  EXPECT_THROW(x + y, plugin_error);
  EXPECT_THROW(on.want(w.w, tensor(dtype::f64, {{"n", 8}})), plugin_error);
  EXPECT_THROW(on.seed(x.recorded(), noise_rows(of, 4, "wide")), plugin_error);
  on.want(w.w, tensor(dtype::f64, w.w.shape()));
  EXPECT_THAT(message_of<plugin_error>([&] { on.back(); }), HasSubstr("does not read"));
  EXPECT_THROW(on.gradient({}), plugin_error);
  rows half(of, 3, dtype::bf16);
  EXPECT_THROW(on.watch(half), usage_error);
}

}  // namespace
}  // namespace wayfarer::test
