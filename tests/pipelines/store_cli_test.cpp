// Runs that keep blocks and activations for each other: what is found, what is not, and that it changes no byte of any result.
#include <csignal>

#include <sys/mount.h>
#include <sys/stat.h>

#include <gmock/gmock.h>

#include "pipelines/workers.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

namespace fs = std::filesystem;

namespace {

struct store_cli : shared_run {
  fs::path const store = folder / "store";

  /// Runs with the store, also its lines; the SHA-256 of the result.
  std::string with_store(pipeline const& p, std::vector<std::string> const& more = {},
                         std::function<void()> const& prepare = {}) {
    auto words = with(command(p, "r.h5"), {"--reproducible", "--store", store.string()});
    words.erase(std::find(words.begin(), words.end(), "--quiet"));
    fs::remove(folder / "r.h5");
    said = run_wayfarer(with(words, more), prepare);
    EXPECT_EQ(said.code, 0) << p.name << ": " << said.out;
    return sha("r.h5");
  }

  /// "found N blocks and activations of M hooks, left K blocks and activations of L hooks".
  struct tally {
    std::size_t blocks_found = 0, hooks_found = 0, blocks_left = 0, hooks_left = 0;
    bool operator==(tally const&) const = default;
  };
  tally counted() const {
    tally t;
    std::size_t const at = said.out.find(": found ");
    EXPECT_NE(at, std::string::npos) << said.out;
    if (at == std::string::npos) return t;
    std::size_t* const numbers[]{&t.blocks_found, &t.hooks_found, &t.blocks_left, &t.hooks_left};
    std::size_t from = at;
    for (auto* const n : numbers) {
      from = said.out.find_first_of("0123456789", from);
      *n = std::stoul(said.out.substr(from)), from = said.out.find(' ', from);
    }
    return t;
  }

  std::vector<fs::path> files(std::string const& kind) const {
    std::vector<fs::path> all;
    std::error_code gone;  // A run may be at work: what it removes meanwhile is not counted.
    for (fs::recursive_directory_iterator e(store, gone), end; e != end; e.increment(gone))
      if (e->is_regular_file(gone) && e->path().parent_path().string().ends_with(kind) &&
          std::isxdigit(static_cast<unsigned char>(e->path().filename().string().front())) != 0 &&
          e->path().filename() != "about")
        all.push_back(e->path());
    std::sort(all.begin(), all.end());
    return all;
  }

  /// What runs that have ended should not have left.
  std::vector<std::string> left_over() const {
    std::vector<std::string> names;
    for (char const* in : {"runs", "making", "removed"})
      for (auto const& e : fs::directory_iterator(store / in)) names.push_back(e.path().string());
    for (auto const& e : fs::recursive_directory_iterator(store))
      if (e.path().filename().string().starts_with("user-")) names.push_back(e.path().string());
    return names;
  }

  pipeline over_texts(std::string const& name, std::string const& probes, std::string const& top = "keep: activations\n",
                      std::string const& model = "{model: gpt2, path: " + data() + "/tiny-gpt2}",
                      std::string const& texts = "[one two, three four five, six, seven eight, nine]") const {
    return {name, file(name + ".yaml", top + "nodes:\n  t: {source: text, texts: " + texts + "}\n  m: " + model + "\n" + probes)};
  }

  /// The path of a library of this process.
  static fs::path loaded(std::string const& name) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);)
      if (line.ends_with("/" + name)) return line.substr(line.find('/'));
    return {};
  }

  outcome said;
};

std::string const states =
    "  states: {probe: activations, model: m, source: t, hooks: [\"blocks.*.hook_resid_post\"], block: 2}\n";

TEST_F(store_cli, a_second_run_takes_what_the_first_has_left_and_no_byte_changes) {
  for (auto const& p : pipelines()) {
    fs::remove_all(store);
    std::string const whole = reference(p);
    EXPECT_EQ(with_store(p), whole) << p.name;
    tally const first = counted();
    EXPECT_EQ(first.blocks_found, 0u);
    EXPECT_GT(first.blocks_left, 0u);
    EXPECT_EQ(first.hooks_left, 0u) << "nobody asked";
    for (char const* threads : {"1", "3"}) {
      EXPECT_EQ(with_store(p, {"--threads", threads}), whole) << p.name;
      EXPECT_EQ(counted(), (tally{first.blocks_left, 0, 0, 0})) << p.name;
    }
    EXPECT_EQ(left_over(), std::vector<std::string>());
    // Half of it.
    auto const all = files(".blocks");
    for (std::size_t i = 0; i < all.size(); i += 2) fs::remove(all[i]);
    EXPECT_EQ(with_store(p), whole) << p.name;
    EXPECT_EQ(counted().blocks_left + counted().blocks_found, first.blocks_left);
  }
}

TEST_F(store_cli, workers_and_processes_share_it_and_no_byte_changes) {
  for (auto const& p : {rows(40), pipelines()[1]}) {
    fs::remove_all(store);
    std::string const whole = reference(p);
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(with_store(p, {"--processes", "3", "--threads", "1", "--work", out("w" + std::to_string(round) + p.name)}), whole)
          << p.name;
      EXPECT_EQ(left_over(), std::vector<std::string>());
    }
    EXPECT_EQ(with_store(p), whole);
    EXPECT_GT(counted().blocks_found, 0u);
    EXPECT_EQ(counted().blocks_left, 0u);
  }
  auto const p = sums(1500);
  EXPECT_EQ(with_store(p, {"--work", out("many")}), reference(p));
  EXPECT_LT(files(".blocks").size(), 200u);
  EXPECT_EQ(with_store(p), reference(p));
  EXPECT_EQ(counted().blocks_found, 1500u);
  EXPECT_EQ(with_store(p, {"--resume"}), reference(p));
}

TEST_F(store_cli, other_probes_find_the_activations_that_were_kept) {
  auto const first = over_texts("first", states);
  EXPECT_EQ(with_store(first), reference(first));
  std::size_t const hooks = counted().hooks_left;
  EXPECT_EQ(hooks, 3 * (files(".outputs").size() / 3));
  EXPECT_GT(hooks, 0u);
  // Another probe, other probes beside it, and a pipeline that keeps nothing itself.
  auto const second =
      over_texts("second",
                 "  means: {probe: activations, model: m, source: t, hooks: [\"blocks.*.hook_resid_post\"], keep: "
                 "mean, block: 2}\n",
                 "");
  EXPECT_EQ(with_store(second), reference(second));
  EXPECT_EQ(counted(), (tally{0, hooks, 3, 0})) << said.out;
  // More hooks: those alone are made.
  auto const third =
      over_texts("third",
                 "  all: {probe: activations, model: m, source: t, hooks: [\"blocks.*.hook_resid_post\", hook_embed, "
                 "\"blocks.*.attn.hook_pattern\"], block: 2}\n  loss: {probe: language_loss, model: m, source: t, "
                 "block: 2}\n");
  EXPECT_EQ(with_store(third), reference(third));
  EXPECT_GE(counted().hooks_found, hooks);
  EXPECT_GT(counted().hooks_left, 0u);
  // By a setting, and by workers.
  pipeline set = over_texts("fourth", "  e: {probe: activations, model: m, source: t, hooks: [hook_embed], block: 1}\n", "");
  set.settings = {"keep=activations"};
  EXPECT_EQ(with_store(set, {"--processes", "2", "--work", out("w")}), reference(set));
  for (auto const& b : files(".blocks")) fs::remove(b);
  EXPECT_EQ(with_store(set), reference(set));
  EXPECT_EQ(counted(), (tally{0, 5, 5, 0})) << said.out;
}

TEST_F(store_cli, what_a_forward_pass_depends_on_is_in_the_key) {
  auto const first = over_texts("first", states);
  with_store(first);
  tally const left = counted();
  auto const not_found = [&](pipeline const& p, std::vector<std::string> const& more = {},
                             std::function<void()> const& prepare = {}) {
    std::string const got = with_store(p, more, prepare);
    EXPECT_EQ(counted().hooks_found + counted().blocks_found, 0u) << said.out;
    auto words = with(with(command(p, "alone.h5"), {"--reproducible", "--force"}), more);
    EXPECT_EQ(run_wayfarer(words, prepare).code, 0);
    EXPECT_EQ(got, sha("alone.h5")) << said.out;
  };
  not_found(first, {"--set", "states.max_tokens=2"});
  not_found(first, {"--set", "states.precision=f64"});
  not_found(first, {"--set", "states.block=3"});
  not_found(over_texts("order", states, "", "{model: gpt2, path: " + data() + "/tiny-gpt2}",
                       "[three four five, one two, six, seven eight, nine]"));
  not_found(over_texts("other", states, "", "{model: gpt2, path: " + data() + "/tiny-gpt2, gelu: tanh}"));
  // Kernels of other instructions round otherwise: as a build of another kind.
  not_found(first, {}, [] { ::setenv("WAYFARER_ISA", "baseline", 1); });
  // Another maths library rounds otherwise: as one with a byte more.
  fs::path const library = loaded("libm.so.6");
  ASSERT_FALSE(library.empty());
  fs::create_directory(folder / "lib");
  fs::copy_file(library, folder / "lib/libm.so.6");
  std::ofstream(folder / "lib/libm.so.6", std::ios::app) << '\0';
  not_found(first, {}, [&] { ::setenv("LD_LIBRARY_PATH", (folder / "lib").c_str(), 1); });
  // Edited passes leave blocks and no activations, and find none of those without edits.
  auto const edited =
      over_texts("edited",
                 "  cut: {probe: activations, model: m, source: t, hooks: [\"blocks.*.hook_resid_post\"], block: 2, "
                 "edits: [{hook: blocks.0.attn.hook_z, heads: 1, set: zero}]}\n");
  not_found(edited);
  EXPECT_EQ(counted().hooks_left, 0u);
  EXPECT_EQ(with_store(edited), reference(edited));
  EXPECT_GT(counted().blocks_found, 0u);
  // Its own are still there.
  EXPECT_EQ(with_store(first), reference(first));
  EXPECT_EQ(counted(), (tally{left.blocks_left, 0, 0, 0}));
  // The same under other names of nodes, in another folder.
  fs::create_directory(folder / "elsewhere");
  fs::copy(data() + "/tiny-gpt2", folder / "elsewhere/copy", fs::copy_options::recursive);
  pipeline const renamed{"renamed", file("elsewhere/p.yaml",
                                         "nodes:\n  words: {source: text, texts: [one two, three four five, six, "
                                         "seven eight, nine]}\n  lm: {model: gpt2, path: copy}\n  a: {probe: "
                                         "activations, model: lm, source: words, hooks: "
                                         "[\"blocks.*.hook_resid_post\"], block: 2}\n")};
  EXPECT_EQ(with_store(renamed), reference(renamed));
  EXPECT_EQ(counted().blocks_found, left.blocks_left);
}

TEST_F(store_cli, a_result_names_the_files_that_were_read_for_what_was_found) {
  fs::create_directory(folder / "texts");
  for (char const* name : {"texts/a.jsonl", "texts/b.jsonl"}) file(name, "{\"text\": \"one two\"}\n{\"text\": \"three\"}\n");
  file("texts/readme.txt", "read by nobody");
  pipeline const p{"files",
                   file("files.yaml",
                        "nodes:\n  d: {source: corpus, path: texts, files: \"*.jsonl\", field: text}\n  m: {model: gpt2, "
                        "path: " +
                            data() +
                            "/tiny-gpt2}\n  a: {probe: activations, model: m, source: d, hooks: "
                            "[hook_embed], block: 1}\n")};
  std::string const whole = reference(p);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(with_store(p), whole);
    std::string const bytes = slurp(folder / "r.h5");
    for (char const* name : {"a.jsonl", "b.jsonl", "model.safetensors"}) EXPECT_NE(bytes.find(name), std::string::npos) << name;
    EXPECT_EQ(bytes.find("readme.txt"), std::string::npos);
  }
  EXPECT_EQ(counted().blocks_found, 4u);
}

TEST_F(store_cli, the_same_files_are_named_whoever_has_read_them) {
  // Two files, of which the second pass needs the first alone, and no index of them from an earlier run.
  fs::create_directory(folder / "texts");
  for (char const* name : {"texts/a.jsonl", "texts/b.jsonl"}) file(name, "{\"text\": \"one two\"}\n{\"text\": \"three\"}\n");
  std::string const top =
      "nodes:\n  d: {source: corpus, path: texts, files: \"*.jsonl\", field: text}\n  m: {model: gpt2, path: " + data() +
      "/tiny-gpt2}\n";
  std::string const begin = "  begin: {probe: activations, model: m, source: d, hooks: [hook_embed], items: 0:2, block: 1}\n",
                    all = "  all: {probe: activations, model: m, source: d, hooks: [hook_embed], block: 1}\n";
  pipeline const both{"both", file("both.yaml", top + begin + all)}, one{"one", file("one.yaml", top + begin)};
  auto const with_new_cache = [&] { ::setenv("XDG_CACHE_HOME", out("cache").c_str(), 1); };
  auto const alone = [&] {
    fs::remove(folder / "alone.h5");
    EXPECT_EQ(run_wayfarer(with(command(one, "alone.h5"), {"--reproducible"}), with_new_cache).code, 0);
    return sha("alone.h5");
  };
  std::string const first = alone();
  EXPECT_EQ(alone(), first) << "an index from an earlier run changes nothing";
  with_store(both, {}, with_new_cache);
  EXPECT_EQ(with_store(one, {}, with_new_cache), first) << "an earlier run has read more";
  EXPECT_EQ(counted().blocks_found, 2u) << said.out;
}

TEST_F(store_cli, nothing_is_left_of_a_model_that_is_changed_meanwhile) {
  fs::create_directory(folder / "m");
  for (auto const& e : fs::directory_iterator(data() + "/tiny-gpt2")) fs::copy_file(e.path(), folder / "m" / e.path().filename());
  std::string texts;
  for (int i = 0; i < 400; ++i) texts += (i == 0 ? "[" : ", ") + std::string("one two ") + std::string(1 + i % 9, 'a');
  auto const p =
      over_texts("changed",
                 "  states: {probe: activations, model: m, source: t, hooks: [\"blocks.*.hook_resid_post\"], keep: mean, "
                 "block: 1}\n",
                 "", "{model: gpt2, path: m}", texts + "]");
  std::string const whole = reference(p);
  auto const words = with(command(p, "c.h5"), {"--reproducible", "--threads", "1", "--store", store.string()});
  pid_t const child = start(words, folder / "log");
  // Nothing can be left before the pass has begun, and nothing is read of the model behind its end.
  ASSERT_TRUE(wait_until(child, [&] { return count_files(store / "runs") != 0; })) << slurp(folder / "log");
  ::kill(child, SIGSTOP);
  EXPECT_TRUE(files(".blocks").empty());
  // Somebody writes the same bytes again: they are others for all that the run knows.
  fs::path const weights = folder / "m/model.safetensors";
  std::string const bytes = slurp(weights);
  std::fstream(weights, std::ios::in | std::ios::out | std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ::kill(child, SIGCONT);
  auto const ended = finish(child, folder / "log");
  EXPECT_EQ(ended.code, 0) << ended.out;
  EXPECT_THAT(ended.out, HasSubstr("model.safetensors has changed since the run began; what this run makes is not kept there"));
  EXPECT_TRUE(files(".blocks").empty());
  EXPECT_EQ(sha("c.h5"), whole);
  // As it is now it may be kept.
  EXPECT_EQ(with_store(p), whole);
  EXPECT_EQ(counted().blocks_left, 400u);
}

TEST_F(store_cli, what_is_damaged_is_named_and_made_again) {
  auto const p = over_texts("p", states);
  std::string const whole = reference(p);
  with_store(p);
  for (std::string const kind : {".blocks", ".outputs"}) {
    auto const all = files(kind);
    ASSERT_GE(all.size(), 1u);
    for (bool const cut : {false, true}) {
      // So that activations are looked for, there are no blocks.
      if (kind == ".outputs")
        for (auto const& b : files(".blocks")) fs::remove(b);
      std::string bytes = slurp(all[0]);
      bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
      std::ofstream(all[0], std::ios::binary) << (cut ? bytes.substr(0, bytes.size() / 3) : bytes);
      EXPECT_EQ(with_store(p), whole) << said.out;
      EXPECT_THAT(said.out, HasSubstr(all[0].filename().string() + ": damaged, and made again"));
      EXPECT_EQ(with_store(p), whole);
      EXPECT_THAT(said.out, Not(HasSubstr("damaged")));
    }
  }
  // A file in the place of another, and one that is far too long.
  auto const outputs = files(".outputs");
  ASSERT_GE(outputs.size(), 3u);
  fs::copy_file(outputs[0], outputs[1], fs::copy_options::overwrite_existing);
  fs::resize_file(outputs[2], std::uintmax_t{1} << 40);
  for (auto const& b : files(".blocks")) fs::remove(b);
  EXPECT_EQ(with_store(p), whole);
  EXPECT_THAT(said.out, AllOf(HasSubstr(outputs[1].filename().string() + ": damaged"),
                              HasSubstr(outputs[2].filename().string() + ": damaged")));
}

TEST_F(store_cli, a_limit_holds_and_the_run_goes_on) {
  auto const p = over_texts("p", states);
  std::string const whole = reference(p);
  EXPECT_EQ(with_store(p, {"--store-limit", "3K"}), whole);
  EXPECT_THAT(said.out, HasSubstr("it is full"));
  auto const status = run_wayfarer({"status", store.string()});
  EXPECT_THAT(status.out, AllOf(HasSubstr("of at most 3 KiB"), HasSubstr("no run uses it"))) << status.out;
  // Runs of other texts push each other out, and each is whole.
  for (char const* texts : {"[a b, c]", "[d e, f]", "[g h, i]", "[j k, l]", "[m n, o]"}) {
    auto const one = over_texts("one", states, "keep: activations\n", "{model: gpt2, path: " + data() + "/tiny-gpt2}", texts);
    EXPECT_EQ(with_store(one, {"--store-limit", "12K"}), reference(one));
  }
  std::uintmax_t bytes = 0;
  for (auto const* kind : {".blocks", ".outputs"})
    for (auto const& f : files(kind)) bytes += fs::file_size(f);
  EXPECT_LE(bytes, 12u << 10);
  EXPECT_EQ(left_over(), std::vector<std::string>());
}

TEST_F(store_cli, trouble_with_the_store_is_said_once_and_the_run_goes_on) {
  auto const p = rows();
  std::string const whole = reference(p);
  fs::create_directory(folder / "disk");
  if (::mount("none", out("disk").c_str(), "tmpfs", 0, "size=64k") != 0) GTEST_SKIP() << "may not mount";
  auto const on_disk = [&] {
    auto const words = with(command(p, "r.h5"), {"--reproducible", "--store", out("disk/s")});
    said = run_wayfarer(words);
    EXPECT_EQ(said.code, 0) << said.out;
    EXPECT_EQ(sha("r.h5"), whole);
    std::size_t lines = 0;
    for (std::size_t at = 0; (at = said.out.find("store " + out("disk/s"), at)) != std::string::npos; ++at) ++lines;
    return lines;
  };
  // Quiet, so that what is wrong is all that is said.
  EXPECT_EQ(on_disk(), 1u) << said.out;
  EXPECT_THAT(said.out, HasSubstr("No space left on device; what this run makes is not kept there, and the run continues"));
  EXPECT_EQ(::mount("none", out("disk").c_str(), "tmpfs", MS_REMOUNT, "size=64m"), 0);
  EXPECT_EQ(on_disk(), 0u) << said.out;
  EXPECT_EQ(::mount("none", out("disk").c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, ""), 0);
  EXPECT_EQ(on_disk(), 1u) << said.out;
  EXPECT_THAT(said.out, HasSubstr("Read-only file system; what this run makes is not kept there"));
  ::umount2(out("disk").c_str(), MNT_DETACH);
  said = run_wayfarer(with(command(p, "r.h5"), {"--reproducible", "--store", "/proc/nowhere"}));
  EXPECT_EQ(said.code, 0) << said.out;
  EXPECT_THAT(said.out, HasSubstr("store /proc/nowhere: can't be made"));
  EXPECT_EQ(sha("r.h5"), whole);
}

TEST_F(store_cli, a_store_that_vanishes_ends_no_run) {
  auto const p = rows(120);
  std::string const whole = reference(p);
  auto const words = with(command(p, "r.h5"), {"--reproducible", "--threads", "1", "--store", store.string()});
  pid_t const child = start(words, folder / "log");
  ASSERT_TRUE(wait_until(child, [&] { return count_files(store / "making") != 0; })) << slurp(folder / "log");
  ::kill(child, SIGSTOP);
  fs::remove_all(store);
  ::kill(child, SIGCONT);
  auto const ended = finish(child, folder / "log");
  EXPECT_EQ(ended.code, 0) << ended.out;
  EXPECT_THAT(ended.out, HasSubstr("and the run continues"));
  EXPECT_EQ(sha("r.h5"), whole);
}

TEST_F(store_cli, runs_that_are_killed_leave_what_they_had_and_nothing_wrong) {
  auto const p = rows(240);
  std::string const whole = reference(p);
  auto const words = with(command(p, "k.h5"), {"--reproducible", "--threads", "1", "--store", store.string()});
  std::size_t kills = 0;
  for (std::size_t n = 0; n < 12; ++n) {
    pid_t const one = start(words, folder / "log-1"), two = start(words, folder / "log-2");
    // Every third soon after it began, which no run outlives; the others when they have kept something.
    if (n % 3 == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(n));
    else
      wait_until(one, [&, kept = files(".blocks").size()] { return files(".blocks").size() > kept; });
    ::kill(one, SIGKILL);
    kills += finish(one, folder / "log-1").code == -SIGKILL;
    wait_until(two, [&, kept = files(".blocks").size()] { return files(".blocks").size() > kept; });
    ::kill(two, n % 2 == 0 ? SIGKILL : SIGTERM);
    finish(two, folder / "log-2");
  }
  EXPECT_GE(kills, 4u);
  EXPECT_EQ(with_store(p), whole) << said.out;
  EXPECT_THAT(said.out, Not(HasSubstr("damaged")));
  EXPECT_EQ(left_over(), std::vector<std::string>()) << "also no marks of the dead";
  EXPECT_EQ(with_store(p), whole);
  EXPECT_EQ(counted().blocks_left, 0u);
}

TEST_F(store_cli, a_run_that_is_stopped_keeps_what_it_has_made) {
  auto const p = rows(400);
  auto const words = with(command(p, "r.h5"), {"--threads", "1", "--store", store.string()});
  pid_t const child = start(words, folder / "log");
  ASSERT_TRUE(wait_until(child, [&] { return !files(".blocks").empty(); })) << slurp(folder / "log");
  ::kill(child, SIGTERM);
  EXPECT_EQ(finish(child, folder / "log").code, 128 + SIGTERM);
  with_store(p);
  EXPECT_GT(counted().blocks_found, 0u);
  EXPECT_EQ(sha("r.h5"), reference(p));
}

TEST_F(store_cli, status_and_clean_know_a_store) {
  auto const p = over_texts("p", states);
  with_store(p);
  auto const status = run_wayfarer({"status", store.string()});
  EXPECT_EQ(status.code, 0) << status.out;
  EXPECT_THAT(status.out, AllOf(HasSubstr("a store with 2 entries"), HasSubstr("states (activations)"), HasSubstr("m over t"),
                                HasSubstr("activations"), HasSubstr("no run uses it")));
  std::ofstream(store / "runs/far-1-00000000") << R"({"machine": "elsewhere", "pid": "1", "start": "1"})";
  auto const refused = run_wayfarer({"clean", store.string()});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.out, HasSubstr("1 run may be using it"));
  auto const cleaned = run_wayfarer({"clean", store.string(), "--force"});
  EXPECT_EQ(cleaned.code, 0) << cleaned.out;
  EXPECT_THAT(cleaned.out, HasSubstr("2 entries removed"));
  EXPECT_FALSE(fs::exists(store));
}

TEST_F(store_cli, options_and_variables_that_make_no_store_are_refused) {
  auto const p = rows(2);
  auto const refused = [&](std::vector<std::string> const& more, std::string const& why) {
    auto const r = run_wayfarer(with(command(p, "r.h5"), more));
    EXPECT_EQ(r.code, 2) << r.out;
    EXPECT_THAT(r.out, HasSubstr(why));
  };
  refused({"--store", ""}, "--store '': the name is empty");
  refused({"--store-limit", "5G"}, "--store-limit needs --store DIR");
  refused({"--store", store.string(), "--store-limit", "0"}, "at least 1 byte");
  refused({"--store", store.string(), "--store-limit", "many"}, "is not a size");
  refused({"--store", folder.string()}, "holds other files");
  refused({"--store", p.file}, "is not a folder");
  EXPECT_EQ(run_wayfarer(with(command(p, "w.h5"), {"--work", out("w")})).code, 0);
  refused({"--store", out("w")}, "is a folder of --work");
  EXPECT_FALSE(fs::exists(store));
  auto const set = run_wayfarer(command(p, "r.h5"),
                                [&] { ::setenv("WAYFARER_STORE", store.c_str(), 1), ::setenv("WAYFARER_STORE_LIMIT", "7M", 1); });
  EXPECT_EQ(set.code, 0) << set.out;
  EXPECT_THAT(run_wayfarer({"status", store.string()}).out, HasSubstr("of at most 7 MiB"));
  EXPECT_FALSE(files(".blocks").empty());
  auto const bad = over_texts("bad", states, "keep: activation\n");
  auto const r = run_wayfarer({"check", bad.file});
  EXPECT_EQ(r.code, 2);
  EXPECT_THAT(r.out, HasSubstr("1:7: 'keep' must be activations or nothing, got 'activation'; did you mean 'activations'?"));
  auto const none = run_wayfarer(command(over_texts("none", states), "n.h5"));
  EXPECT_EQ(none.code, 0) << none.out;
  EXPECT_THAT(none.out, HasSubstr("keeps nothing without a store"));
}

}  // namespace
