// What the tests of gpt2_trained and language_model_trained share: a text that is soon learned, a training as a pipeline does it,
// and a folder that goes away.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/model.hpp>
#include <wayfarer/random.hpp>

#include "plugins/run_plugins.hpp"

namespace wayfarer::test {

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

class folder {
 public:
  folder() {
    std::string name = (std::filesystem::temp_directory_path() / "wayfarer-train-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  folder(folder const&) = delete;
  ~folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(std::string const& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline std::string bytes_of(std::string const& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct silent final : progress {
  void at(std::size_t, std::size_t, std::string_view note) override { last = note; }
  void warn(std::string_view text) override { warnings.emplace_back(text); }
  std::string last;
  std::vector<std::string> warnings;
};

/// Sentences that are soon learned.
inline std::string story() {
  std::string text;
  random_stream draw(0, "story");
  char const* const names[] = {"Anna", "Ben", "Clara", "David"};
  for (int i = 0; i < 300; ++i) {
    char const* const who = names[draw.below(4)];
    text += std::string(who) + " went home. Then " + who + " slept.\n";
  }
  return text;
}

struct trained {
  results curves;
  std::vector<snapshot> states;
  silent said;
};
inline trained train(std::string const& plugin, values given, std::string const& text, std::string const& rest = "") {
  trained out;
  auto const m = make<model>(plugin, std::move(given));
  auto const data = make_source("text", {{"texts", std::vector<std::string>{text}}});
  auto const held_out = rest.empty() ? nullptr : make_source("text", {{"texts", std::vector<std::string>{rest}}});
  dynamic_cast<trainable_model const&>(*m).train(
      {*data, held_out.get(), out.curves, out.said, [&](snapshot s) { out.states.push_back(std::move(s)); }});
  return out;
}

inline bool same_weights(model const& a, model const& b) {
  for (auto const& name : a.info().weights) {
    auto const x = a.weight(name).clone(), y = b.weight(name).clone();
    if (x.bytes() != y.bytes() || std::memcmp(x.raw(), y.raw(), x.bytes()) != 0) return false;
  }
  return true;
}

inline values with(values base, values more) {
  for (auto& [name, v] : more) base[name] = std::move(v);
  return base;
}

/// The bytes of every dataset of both are the same.
inline void expect_same_curves(results const& a, results const& b) {
  ASSERT_EQ(a.names(), b.names());
  for (auto const& name : a.names()) {
    auto const x = a.at(name).values(), y = b.at(name).values();
    ASSERT_EQ(x.bytes(), y.bytes()) << name;
    EXPECT_EQ(std::memcmp(x.raw(), y.raw(), x.bytes()), 0) << name;
  }
}

}  // namespace wayfarer::test
