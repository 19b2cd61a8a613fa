// The run of walks through the real program: what it expects must be missed by a model that can't know what it is about.
#include <gmock/gmock.h>

#include "command.hpp"

using namespace wayfarer::test;
using testing::HasSubstr;

namespace {

std::string const runs = WAYFARER_SOURCE_DIR "/runs/";

struct walk_cli : scratch {
  /// The shipped run, with some of its text replaced.
  std::string run_with(std::string const& from, std::string const& to) const {
    std::string text = slurp(runs + "walks.yaml");
    for (auto const& [what, by] : {std::pair<std::string, std::string>{"data/", runs + "data/"}, {from, to}}) {
      EXPECT_NE(text.find(what), text.npos) << what;
      for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += by.size()) text.replace(at, what.size(), by);
    }
    return file("walks.yaml", text);
  }
};

TEST_F(walk_cli, history_is_missed_with_attention_switched_off) {
  std::string const forced = "preset: forced, ", out = (folder / "out.h5").string();
  auto const whole = run_wayfarer({"run", run_with(forced, forced), "--strict", "--quiet", "--out", out});
  EXPECT_EQ(whole.code, 0) << whole.out;
  auto const pipeline = run_with(forced, forced + "edits: [{hook: blocks.*.hook_attn_out, set: zero}], ");
  auto const off = run_wayfarer({"run", pipeline, "--strict", "--quiet", "--out", out});
  EXPECT_EQ(off.code, 1) << off.out;
  EXPECT_THAT(off.out, HasSubstr("forced/history_dependence"));
}

}  // namespace
