// gpt2_trained through its interface: against PyTorch's gradients and steps, training that learns, is the same for any number of
// threads and after an interruption, the checkpoint that it writes, and what it must refuse.
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <set>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <oneapi/tbb/global_control.h>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/run_files.hpp>
#include <wayfarer/safetensors.hpp>
#include <wayfarer/stopping.hpp>

#include "models/common/training/checkpoint.hpp"
#include "models/common/training/corpus.hpp"
#include "models/common/training/trainer.hpp"
#include "models/gpt2_trained/net.hpp"
#include "plugins/training_runs.hpp"

namespace wayfarer::test {
namespace {

using namespace gpt2_training;
using namespace language_training;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

trained train(values given, std::string const& text, std::string const& rest = "") {
  return test::train("gpt2_trained", std::move(given), text, rest);
}

// ---- PyTorch -----------------------------------------------------------------------------------------------------------------

TEST(gpt2_trained_golden, gradients_and_steps_are_those_of_pytorch) {
  auto const file = safetensors_file::open(std::string(WAYFARER_SOURCE_DIR) + "/tests/data/train.safetensors");
  for (std::string const name : {"tied", "untied"}) {
    gpt2_net<double> n({2, 2, 8, 20, 23, 11, name == "tied"});
    auto const put = [&](std::string const& part, auto const& check) {
      for (auto const& p : n.parameters()) {
        auto const t = file.tensor(name + "/" + part + "/" + p.name);
        ASSERT_EQ(t.count(), p.count) << p.name;
        check(p, t.values<double const>());
      }
    };
    put("start", [&](parameter const& p, std::span<double const> v) {
      std::copy(v.begin(), v.end(), n.values().begin() + static_cast<std::ptrdiff_t>(p.first));
    });
    auto const list = [&](char const* what) {
      auto const t = file.tensor(name + "/" + what);
      auto const v = t.values<std::int32_t const>();
      return std::vector<std::int32_t>(v.begin(), v.end());
    };
    auto const tokens = list("tokens"), targets = list("targets");
    auto const losses = file.tensor(name + "/losses");
    std::vector<double> m(n.values().size()), v(m.size());
    double const rates[] = {0.01, 0.02, 0.015};
    for (std::size_t step = 1; step <= 3; ++step) {
      EXPECT_NEAR(n.learn(tokens, targets, 11), losses.get({step - 1}), 1e-9);
      if (step == 1)
        put("gradient", [&](parameter const& p, std::span<double const> g) {
          for (std::size_t i = 0; i < p.count; ++i)
            ASSERT_NEAR(n.gradient()[p.first + i], g[i], 1e-9) << name << " " << p.name << " " << i;
        });
      double const norm = norm_of<double>(n.gradient());
      for (auto const& p : n.parameters())
        adamw_step<double>(n.values().subspan(p.first, p.count), n.gradient().subspan(p.first, p.count),
                           std::span(m).subspan(p.first, p.count), std::span(v).subspan(p.first, p.count), step, rates[step - 1],
                           0.5 / norm, {0.9, 0.95, 1e-8, p.decays ? 0.1 : 0});
    }
    put("after", [&](parameter const& p, std::span<double const> w) {
      for (std::size_t i = 0; i < p.count; ++i)
        ASSERT_NEAR(n.values()[p.first + i], w[i], 1e-7) << name << " " << p.name << " " << i;
    });
  }
}

// ---- training ----------------------------------------------------------------------------------------------------------------

values const small{{"d_model", std::int64_t{32}},
                   {"heads", std::int64_t{2}},
                   {"layers", std::int64_t{2}},
                   {"context", std::int64_t{48}},
                   {"train.updates", std::int64_t{60}},
                   {"train.batch", std::int64_t{4}},
                   {"train.learning_rate", 5e-3},
                   {"train.log_every", std::int64_t{7}},
                   {"train.held_out_every", std::int64_t{25}},
                   {"train.snapshots", std::vector<std::int64_t>{0, 20, 40}}};

TEST(gpt2_trained, learns_and_tells_how_far_it_is) {
  auto const t = train(with(small, {{"train.updates", std::int64_t{250}}}), story(), "Clara went home. Then Clara slept.\n");
  auto const losses = t.curves.at("loss").values().clone();
  EXPECT_NEAR(losses.get({0}), std::log(256), 0.1);
  EXPECT_LT(losses.get({losses.size(0) - 1}), 0.7);
  EXPECT_LT(t.curves.at("final_held_out_loss").scalar(), 0.9);
  // A byte is a character here.
  EXPECT_DOUBLE_EQ(t.curves.at("final_held_out_loss_per_character").scalar(), t.curves.at("final_held_out_loss").scalar());
  auto const at = t.curves.at("loss").coordinate_map().at("update");
  EXPECT_EQ(at.values<std::int64_t const>()[0], 1);
  EXPECT_EQ(at.values<std::int64_t const>()[1], 7);
  EXPECT_EQ(at.values<std::int64_t const>()[at.count() - 1], 250);
  ASSERT_EQ(t.states.size(), 4u);
  EXPECT_EQ(t.states[0].step, 0u);
  EXPECT_EQ(t.states[3].step, 250u);
  EXPECT_THAT(t.said.last, AllOf(HasSubstr("loss "), HasSubstr("held-out ")));
  EXPECT_FALSE(same_weights(*t.states[0].state, *t.states[1].state));
  // What it learned: whom the second sentence is about.
  auto const& m = *t.states[3].state;
  run_request request;
  request.capture = m.info().hooks_for("logits");
  item_block prompt;
  prompt.count = 1, prompt.texts = {"Ben went home. Then "};
  auto const all = m.run(m.encode(prompt, {}), request);
  auto const logits = all.at("logits", 0)[19].to(dtype::f32).clone();
  auto const v = logits.values<float const>();
  EXPECT_GT(v['B'], v['x'] + 3);
}

TEST(gpt2_trained, without_a_source_it_is_gpt2_as_it_starts) {
  auto const t = train(small, story());
  auto const m = make<model>("gpt2_trained", with(small, {}));
  m->load();
  EXPECT_TRUE(same_weights(*m, *t.states[0].state));
  auto const w = m->weight("blocks.0.attn.W_O").to(dtype::f64).clone();
  double sum = 0;
  for (double const x : w.values<double const>()) sum += x * x;
  EXPECT_NEAR(std::sqrt(sum / static_cast<double>(w.count())), 0.02 / 2, 0.001);  // over sqrt(2 layers)
}

TEST(gpt2_trained, has_the_same_bytes_for_any_number_of_threads) {
  std::vector<trained> all;
  for (std::size_t const n : {1, 2, 4}) {
    tbb::global_control const limit(tbb::global_control::max_allowed_parallelism, n);
    all.push_back(train(small, story(), "Ben went home."));
  }
  for (auto const& t : all) {
    ASSERT_EQ(t.states.size(), 4u);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(same_weights(*t.states[i].state, *all[0].states[i].state)) << i;
    auto const a = t.curves.at("loss").values(), b = all[0].curves.at("loss").values();
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0);
  }
}

TEST(gpt2_trained, goes_on_where_it_was_killed_with_the_same_bytes) {
  struct killed {};
  for (char const* const precision : {"f32", "f64"}) {
    folder here;
    auto const given = with(small, {{"train.precision", std::string(precision)}, {"train.save_as", std::string("f32")}});
    auto const whole = train(with(given, {{"train.save", here / "whole"}}), story(), "Ben went home.");
    auto const resumable =
        with(given, {{"train.state", here / "state"}, {"train.state_every", std::int64_t{9}}, {"train.save", here / "resumed"}});
    // Killed twice: between two states, and again later.
    for (std::size_t const after : {23, 50}) {
      auto const m = make<model>("gpt2_trained", resumable);
      auto const data = make_source("text", {{"texts", std::vector<std::string>{story()}}});
      auto const rest = make_source("text", {{"texts", std::vector<std::string>{"Ben went home."}}});
      struct killer final : progress {
        std::size_t after = 0;
        void at(std::size_t done, std::size_t, std::string_view) override {
          if (done == after) throw killed();
        }
        void warn(std::string_view) override {}
      } kill;
      kill.after = after;
      results none;
      EXPECT_THROW(dynamic_cast<trainable_model const&>(*m).train({*data, rest.get(), none, kill, [](snapshot) {}}), killed);
    }
    auto const resumed = train(resumable, story(), "Ben went home.");
    ASSERT_EQ(resumed.states.size(), whole.states.size());
    for (std::size_t i = 0; i < whole.states.size(); ++i) {
      EXPECT_EQ(resumed.states[i].step, whole.states[i].step);
      EXPECT_TRUE(same_weights(*resumed.states[i].state, *whole.states[i].state)) << i;
    }
    for (auto const& name : whole.curves.names()) {
      auto const a = whole.curves.at(name).values(), b = resumed.curves.at(name).values();
      ASSERT_EQ(a.bytes(), b.bytes()) << name;
      EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << name;
    }
    EXPECT_EQ(bytes_of(here / "whole/model.safetensors"), bytes_of(here / "resumed/model.safetensors"));
    EXPECT_EQ(bytes_of(here / "whole/config.json"), bytes_of(here / "resumed/config.json"));
    // Done already: nothing is left to learn, and the results are the same once more.
    auto const again = train(resumable, story(), "Ben went home.");
    EXPECT_TRUE(same_weights(*again.states.back().state, *whole.states.back().state));
    // Another training does not take it for its own.
    expect_error<usage_error>(
        [&] {
          train(with(resumable, {{"train.learning_rate", 1e-3}}), story(), "Ben went home.");
        },
        AllOf(HasSubstr("state.safetensors"), HasSubstr("another training")));
    expect_error<usage_error>([&] { train(resumable, story() + "x", "Ben went home."); }, HasSubstr("another training"));
  }
}

TEST(gpt2_trained, a_spoilt_state_is_refused) {
  folder here;
  auto const given = with(
      small, {{"train.state", here / "state"}, {"train.log_every", std::int64_t{0}}, {"train.held_out_every", std::int64_t{0}}});
  train(given, story());
  std::string const path = here / "state/state.safetensors";
  std::string const good = bytes_of(path);
  auto const put = [&](std::string const& text) { std::ofstream(path, std::ios::binary) << text; };
  put(good.substr(0, good.size() / 2));
  expect_error<data_error>([&] { train(given, story()); }, HasSubstr("state.safetensors"));
  put("");
  expect_error<data_error>([&] { train(given, story()); }, HasSubstr("state.safetensors"));
  write_safetensors(path, std::vector<std::pair<std::string, tensor>>{{"weights", tensor(dtype::f32, {{"n", 3}})}});
  expect_error<data_error>([&] { train(given, story()); }, HasSubstr("not a state of a training"));
  auto const stored = safetensors_file::view(std::as_bytes(std::span(good)), "good", nullptr);
  std::vector<std::pair<std::string, tensor>> parts;
  for (auto const& name : stored.names())
    parts.emplace_back(name, name == "m" ? tensor(dtype::f32, {{"n", 3}}) : stored.tensor(name).clone());
  write_safetensors(path, parts, stored.metadata());
  expect_error<data_error>([&] { train(given, story()); }, AllOf(HasSubstr("'m'"), HasSubstr("does not fit")));
  put(good);
  std::filesystem::remove(here / "state/snapshot-20.safetensors");
  expect_error<data_error>([&] { train(given, story()); }, HasSubstr("snapshot-20"));
}

TEST(gpt2_trained, damage_in_what_is_kept_is_found) {
  folder here;
  auto const given = with(small, {{"train.state", here / "state"}, {"train.snapshots", std::vector<std::int64_t>{0, 20}}});
  auto const whole = train(given, story());
  auto const damage = [&](std::string const& name, auto&& how) {
    std::string const path = here / ("state/" + name), good = bytes_of(path);
    std::ofstream(path, std::ios::binary) << how(good);
    return [path, good] { std::ofstream(path, std::ios::binary) << good; };
  };
  auto const one_bit = [](std::string bytes) {
    bytes[bytes.size() - 30] ^= 1;
    return bytes;
  };
  auto const without_checksum = [](std::string const& good) {
    auto const stored = safetensors_file::view(std::as_bytes(std::span(good)), "good", nullptr);
    std::vector<std::pair<std::string, tensor>> parts;
    for (auto const& name : stored.names()) parts.emplace_back(name, stored.tensor(name).clone());
    auto facts = stored.metadata();
    EXPECT_EQ(facts.erase("checksum"), 1u);
    folder there;
    write_safetensors(there / "old", parts, facts);
    return bytes_of(there / "old");
  };
  for (std::string const name : {"state.safetensors", "snapshot-20.safetensors"}) {
    std::function<void()> repair = damage(name, one_bit);
    expect_error<data_error>([&] { train(given, story()); },
                             AllOf(HasSubstr(name), HasSubstr("damaged"), HasSubstr("to train anew")));
    repair();
    repair = damage(name, without_checksum);
    expect_error<data_error>([&] { train(given, story()); },
                             AllOf(HasSubstr(name), HasSubstr("no checksum"), HasSubstr("to train anew")));
    repair();
  }
  // The start can be had again.
  std::string const path = here / "state/snapshot-0.safetensors", good = bytes_of(path);
  damage("snapshot-0.safetensors", one_bit);
  auto const again = train(given, story());
  ASSERT_EQ(again.states.size(), whole.states.size());
  for (std::size_t i = 0; i < whole.states.size(); ++i)
    EXPECT_TRUE(same_weights(*again.states[i].state, *whole.states[i].state)) << i;
  ASSERT_EQ(again.said.warnings.size(), 1u);
  EXPECT_THAT(again.said.warnings[0], AllOf(HasSubstr("snapshot-0"), HasSubstr("damaged"), HasSubstr("made again")));
  EXPECT_EQ(bytes_of(path), good);
}

TEST(gpt2_trained, a_snapshot_of_another_update_is_not_taken_for_this_one) {
  folder here;
  auto const given = with(small, {{"train.state", here / "state"}});
  auto const whole = train(given, story());
  std::string const state = here / "state/";
  auto const path_of = [&](int update) { return state + "snapshot-" + std::to_string(update) + ".safetensors"; };
  std::map<int, std::string> good;
  for (int const update : {0, 20, 40}) good[update] = bytes_of(path_of(update));
  ASSERT_FALSE(good[40].empty());
  auto const put = [&](int update, int of) { std::ofstream(path_of(update), std::ios::binary) << good[of]; };
  // The start can be had again.
  put(0, 20);
  auto const again = train(given, story());
  ASSERT_EQ(again.said.warnings.size(), 1u);
  EXPECT_THAT(again.said.warnings[0], AllOf(HasSubstr("snapshot-0"), HasSubstr("of update 20"), HasSubstr("made again")));
  ASSERT_EQ(again.states.size(), whole.states.size());
  for (std::size_t i = 0; i < whole.states.size(); ++i)
    EXPECT_TRUE(same_weights(*again.states[i].state, *whole.states[i].state)) << i;
  EXPECT_EQ(bytes_of(path_of(0)), good[0]);
  for (auto const& [update, other] : {std::pair{20, 0}, std::pair{40, 20}}) {
    put(update, other);
    expect_error<data_error>([&] { train(given, story()); },
                             AllOf(HasSubstr("snapshot-" + std::to_string(update)),
                                   HasSubstr("of update " + std::to_string(other)), HasSubstr("to train anew")));
    put(update, update);
  }
  // A snapshot is no state to resume from.
  std::filesystem::copy_file(path_of(40), state + "state.safetensors", std::filesystem::copy_options::overwrite_existing);
  expect_error<data_error>([&] { train(given, story()); }, HasSubstr("state.safetensors"));
}

TEST(gpt2_trained, a_stop_keeps_the_training_where_it_is) {
  auto given = with(small, {{"train.snapshots", std::vector<std::int64_t>{0, 20}}});
  auto const whole = train(given, story(), "Ben went home. Then Ben slept.");
  folder here;
  given["train.state"] = here / "state";
  // Asked at any moment: while an update is made, measured, or kept.
  struct asking final : progress {
    void at(std::size_t done, std::size_t, std::string_view) override {
      last = done;
      if (done == when) ask_to_stop(SIGINT);
    }
    void warn(std::string_view) override {}
    std::size_t when = 0, last = 0;
  };
  std::size_t reached = 0;
  for (std::size_t const when : {std::size_t{1}, std::size_t{13}, std::size_t{20}}) {
    auto const m = make<model>("gpt2_trained", given);
    auto const data = make_source("text", {{"texts", std::vector<std::string>{story()}}}),
               rest = make_source("text", {{"texts", std::vector<std::string>{"Ben went home. Then Ben slept."}}});
    results none;
    asking ask;
    ask.when = when;
    stoppable_work listening;
    EXPECT_THROW(dynamic_cast<trainable_model const&>(*m).train({*data, rest.get(), none, ask, [](snapshot) {}}), stopped);
    EXPECT_EQ(listening.end(), SIGINT);
    EXPECT_EQ(ask.last, when);
    auto const kept = safetensors_file::open(here / "state/state.safetensors");
    EXPECT_EQ(kept.tensor("counters").get({0}), static_cast<double>(when));
    reached = when;
  }
  EXPECT_EQ(reached, 20u);
  // Broken off between an update and what belongs to it.
  std::filesystem::remove(here / "state/snapshot-20.safetensors");
  auto const resumed = train(given, story(), "Ben went home. Then Ben slept.");
  ASSERT_EQ(resumed.states.size(), whole.states.size());
  for (std::size_t i = 0; i < whole.states.size(); ++i)
    EXPECT_TRUE(same_weights(*resumed.states[i].state, *whole.states[i].state)) << i;
  for (char const* name : {"loss", "held_out_loss", "gradient_norm"}) {
    auto const &a = resumed.curves.at(name).values(), &b = whole.curves.at(name).values();
    ASSERT_EQ(a.count(), b.count()) << name;
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << name;
  }
}

TEST(gpt2_trained, the_checkpoint_reads_back_to_the_same_logits) {
  for (bool const tied : {true, false})
    for (std::string const words : {"", "tiny-gpt2"}) {
      folder here;
      auto given = with(
          small,
          {{"tied", tied}, {"train.save", here / "out"}, {"train.save_as", std::string("f32")}, {"d_mlp", std::int64_t{50}}});
      if (!words.empty()) given["tokenizer"] = std::string(WAYFARER_SOURCE_DIR) + "/runs/data/" + words;
      auto const t = train(given, story());
      auto const& kept = *t.states.back().state;
      auto const read = make<model>("gpt2", {{"path", here / "out"}});
      read->load();
      EXPECT_TRUE(same_weights(kept, *read));
      EXPECT_EQ(kept.info().activation, read->info().activation);
      EXPECT_EQ(kept.info().longest, read->info().longest);
      item_block text;
      text.count = 1, text.texts = {"Anna went ho\n\xc3\xa9"};
      auto const a = kept.encode(text, {}), b = read->encode(text, {});
      EXPECT_EQ(a.tokens.values, b.tokens.values);
      run_request request;
      request.capture = kept.info().hooks_for("*");
      auto const x = kept.run(a, request), y = read->run(b, request);
      for (auto const& name : request.capture.names())
        EXPECT_EQ(std::memcmp(x.at(name, 0).raw(), y.at(name, 0).raw(), x.at(name, 0).bytes()), 0) << name;
      for (std::int32_t id = 0; id < 256; ++id) ASSERT_EQ(kept.token_text(id), read->token_text(id));
    }
}

TEST(gpt2_trained, a_checkpoint_is_saved_over_its_own_kind_only) {
  folder here;
  namespace fs = std::filesystem;
  std::string const out = here / "out", shipped = std::string(WAYFARER_SOURCE_DIR) + "/runs/data/tiny-gpt2";
  auto const plain = with(small, {{"train.save", out}}), shipped_words = with(plain, {{"tokenizer", shipped}});
  auto const put = [&](std::string const& name, std::string const& text = "{}") { std::ofstream(out + "/" + name) << text; };
  auto const names = [&] {
    std::set<std::string> all;
    for (auto const& e : fs::directory_iterator(out)) all.insert(e.path().filename().string());
    return all;
  };
  std::set<std::string> const own{"config.json", "merges.txt", "model.safetensors", "vocab.json", "wayfarer-save.json"};
  train(plain, story());
  EXPECT_EQ(names(), own);
  // Again, and with the files of another tokenizer: those before it go.
  train(plain, story());
  train(shipped_words, story());
  EXPECT_TRUE(open_tokenizer(out)->vocabulary() == open_tokenizer(shipped)->vocabulary());
  train(plain, story());
  EXPECT_EQ(names(), own);

  // What readers would take instead of ours, or beside it, is refused before anything is learned, and stays.
  put("package.json"), put("README.md");
  for (char const* foreign : {"tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json",
                              "added_tokens.json", "vocab.txt", "spiece.model", "pytorch_model.bin",
                              "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tf_model.h5"}) {
    put(foreign);
    auto const before = names();
    expect_error<usage_error>([&] { make<model>("gpt2_trained", plain); },
                              AllOf(HasSubstr("another model: " + std::string(foreign) + ";"), HasSubstr("train.overwrite")));
    EXPECT_EQ(names(), before);
    train(with(plain, {{"train.overwrite", true}}), story());
    EXPECT_FALSE(fs::exists(out + "/" + foreign)) << "it would contradict";
  }
  EXPECT_TRUE(fs::exists(out + "/package.json") && fs::exists(out + "/README.md"));

  // A whole model of somebody else's, and a list that names more than a save writes.
  fs::remove(out + "/wayfarer-save.json");
  expect_error<usage_error>([&] { make<model>("gpt2_trained", plain); },
                            HasSubstr("another model: config.json, merges.txt, model.safetensors, vocab.json;"));
  put("wayfarer-save.json",
      R"({"format": "gpt2_trained save 1", "files": ["../out/package.json", "package.json", "config.json"]})");
  train(with(plain, {{"train.overwrite", true}}), story());
  EXPECT_TRUE(fs::exists(out + "/package.json"));

  // A link gives way, and what it leads to stays.
  std::ofstream(here / "blob") << "precious";
  fs::remove(out + "/model.safetensors");
  fs::create_symlink(here / "blob", out + "/model.safetensors");
  expect_error<usage_error>([&] { make<model>("gpt2_trained", plain); }, HasSubstr("model.safetensors"));
  train(with(plain, {{"train.overwrite", true}}), story());
  EXPECT_EQ(bytes_of(here / "blob"), "precious");
  EXPECT_FALSE(fs::is_symlink(out + "/model.safetensors"));

  // What somebody changed after it was saved is theirs.
  std::ofstream(out + "/config.json", std::ios::app) << "\n";
  expect_error<usage_error>([&] { make<model>("gpt2_trained", plain); }, HasSubstr("changed after they were saved"));
  train(with(plain, {{"train.overwrite", true}}), story());

  std::ofstream(here / "file") << "x";
  expect_error<usage_error>(
      [&] {
        make<model>("gpt2_trained", with(plain, {{"train.save", here / "file"}}));
      },
      HasSubstr("is not a folder"));
  fs::create_directory_symlink(out, here / "link");
  provide_run_inputs({out});
  for (std::string const name : {"out", "link"}) {
    expect_error<usage_error>(
        [&] {
          make<model>("gpt2_trained", with(plain, {{"train.save", here / name}}));
        },
        HasSubstr("is read by this run"));
    expect_error<usage_error>(
        [&] {
          make<model>("gpt2_trained", with(small, {{"train.state", here / name}}));
        },
        HasSubstr("is read by this run"));
  }
  provide_run_inputs({});
}

TEST(gpt2_trained, a_state_takes_no_other_files_place) {
  folder here;
  auto const given = with(small, {{"train.state", here / "state"}, {"train.snapshots", std::vector<std::int64_t>{0, 20}}});
  std::filesystem::create_directory(here / "state");
  std::string const path = here / "state/snapshot-20.safetensors";
  std::ofstream(path) << "precious";
  expect_error<data_error>([&] { make<model>("gpt2_trained", given); },
                           HasSubstr("snapshot-20.safetensors: this is not a state"));
  EXPECT_EQ(bytes_of(path), "precious");
  std::filesystem::remove(path);
  train(given, story());
  std::filesystem::remove(here / "state/state.safetensors");
  expect_error<usage_error>(
      [&] {
        train(with(given, {{"train.learning_rate", 1e-3}}), story());
      },
      AllOf(HasSubstr("snapshot-0"), HasSubstr("another training")));
  train(given, story());
}

TEST(gpt2_trained, float16_is_the_nearest_and_what_does_not_fit_is_refused) {
  folder here;
  auto const t = train(with(small, {{"train.save", here / "out"}}), story());
  auto const read = make<model>("gpt2", {{"path", here / "out"}});
  read->load();
  auto const w = t.states.back().state->weight("blocks.1.mlp.W_in").to(dtype::f64).clone(),
             r = read->weight("blocks.1.mlp.W_in").to(dtype::f64).clone();
  for (std::size_t i = 0; i < w.count(); ++i)
    ASSERT_NEAR(w.values<double const>()[i], r.values<double const>()[i], 5e-4 * std::abs(w.values<double const>()[i]) + 3e-8);
  gpt2_net<float> n({1, 1, 4, 4, 5, 3});
  n.values()[0] = 1e6f;
  expect_error<usage_error>([&] { write_checkpoint({here / "large"}, config_of(n.shape()), n.copy(), nullptr, dtype::f16); },
                            AllOf(HasSubstr("wte.weight"), HasSubstr("f32")));
  n.values()[0] = std::numeric_limits<float>::quiet_NaN();
  expect_error<usage_error>([&] { write_checkpoint({here / "nan"}, config_of(n.shape()), n.copy(), nullptr, dtype::f16); },
                            HasSubstr("wte.weight"));
}

// ---- batches -----------------------------------------------------------------------------------------------------------------

TEST(gpt2_trained_corpus, windows_are_drawn_from_everywhere_and_depend_on_the_update_alone) {
  token_stream s;
  for (std::int32_t i = 0; i < 40; ++i) s.tokens.push_back(i);
  std::vector<int> seen(40);
  for (std::size_t update = 0; update < 200; ++update) {
    auto const b = draw_windows(s, 3, update, 2, 8);
    ASSERT_EQ(b.tokens.size(), 16u);
    for (std::size_t i = 0; i < 16; ++i) {
      ASSERT_EQ(b.targets[i], b.tokens[i] + 1);
      if (i % 8) {
        ASSERT_EQ(b.tokens[i], b.tokens[i - 1] + 1);
      }
      ++seen[static_cast<std::size_t>(b.targets[i])];
    }
    EXPECT_EQ(draw_windows(s, 3, update, 2, 8).tokens, b.tokens);
  }
  EXPECT_NE(draw_windows(s, 3, 0, 2, 8).tokens, draw_windows(s, 4, 0, 2, 8).tokens);
  EXPECT_EQ(seen[0], 0);
  for (std::size_t i = 1; i < 40; ++i) EXPECT_GT(seen[i], 0) << i;
  auto const one = draw_windows(s, 0, 0, 1, 39);
  EXPECT_EQ(one.tokens[0], 0);
  EXPECT_EQ(one.targets[38], 39);
}

TEST(gpt2_trained_corpus, items_are_joined_with_the_end_of_text_between) {
  auto const words = open_tokenizer(std::string(WAYFARER_SOURCE_DIR) + "/runs/data/tiny-gpt2");
  auto const texts = make_source("text", {{"texts", std::vector<std::string>{"Anna", "\xc3\xa9"}}});
  auto const s = read_stream(*texts, words.get(), words->vocabulary(), words->special().eos, "it");
  EXPECT_EQ(s.characters, 5u);
  std::vector<std::int32_t> expected = words->encode("Anna").ids;
  expected.push_back(368);
  for (auto const id : words->encode("\xc3\xa9").ids) expected.push_back(id);
  expected.push_back(368);
  EXPECT_EQ(s.tokens, expected);
  auto const tokens = make_source("tokens", {{"ids", std::vector<std::string>{"1 2 3", "4"}}});
  EXPECT_THAT(read_stream(*tokens, nullptr, 5, {}, "it").tokens, ElementsAre(1, 2, 3, 4));
  expect_error<data_error>([&] { read_stream(*tokens, nullptr, 4, {}, "it"); },
                           AllOf(HasSubstr("it: token 4 of item 1"), HasSubstr("vocabulary of 4")));
  expect_error<usage_error>([&] { read_stream(*texts, nullptr, 4, {}, "it"); }, HasSubstr("tokenizer"));
}

// ---- what must be refused ----------------------------------------------------------------------------------------------------

TEST(gpt2_trained_refuses, shapes_and_texts_that_do_not_fit) {
  expect_error<data_error>([] { train(small, "short"); }, AllOf(HasSubstr("5 tokens"), HasSubstr("context of 48")));
  expect_error<data_error>([] { train(small, ""); }, HasSubstr("0 tokens"));
  expect_error<data_error>([] { train(small, story(), "x"); }, HasSubstr("fewer than two"));
  expect_error<usage_error>(
      [] {
        make<model>("gpt2_trained", with(small, {{"heads", std::int64_t{3}}}));
      },
      HasSubstr("3 heads do not divide d_model 32"));
  expect_error<usage_error>(
      [] {
        make<model>("gpt2_trained", with(small, {{"layers", std::int64_t{1024}}, {"d_model", std::int64_t{65536}}}));
      },
      HasSubstr("billion"));
  expect_error<data_error>(
      [] {
        make<model>("gpt2_trained", with(small, {{"tokenizer", std::filesystem::temp_directory_path().string() + "/none"}}));
      },
      HasSubstr("none"));
  expect_error<usage_error>(
      [] {
        make<model>("gpt2_trained", with(small, {{"tokenizer", std::string(WAYFARER_SOURCE_DIR) + "/runs/data/tiny-gpt2"},
                                                 {"vocabulary", std::int64_t{300}}}));
      },
      HasSubstr("369"));
  expect_error<parameter_error>(
      [] {
        make<model>("gpt2_trained", with(small, {{"train.snapshots", std::vector<std::int64_t>{-1}}}));
      },
      HasSubstr("snapshots"));
  expect_error<usage_error>([] { train(with(small, {{"vocabulary", std::int64_t{100}}}), story()); }, HasSubstr("tokenizer"));
}

TEST(gpt2_trained_refuses, a_loss_that_is_no_number) {
  expect_error<usage_error>(
      [] {
        train(with(small, {{"train.learning_rate", 1e30}, {"train.clip", 0.0}}), story());
      },
      AllOf(HasSubstr("no longer finite at update"), HasSubstr("learning_rate")));
  gpt2_net<float> n({1, 1, 4, 4, 300, 3});
  n.start(0);
  n.values()[5] = std::numeric_limits<float>::quiet_NaN();
  token_stream s;
  s.tokens = {1, 2, 1, 2, 1, 2};
  training_plan plan;
  plan.updates = 2, plan.batch = 1, plan.context = 3, plan.rate = {1e-3, 0, 0, 2};
  expect_error<usage_error>([&] { language_training::train<float>(n, plan, s, nullptr, {}); },
                            HasSubstr("no longer finite at update 1"));
}

}  // namespace
}  // namespace wayfarer::test
