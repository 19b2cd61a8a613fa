#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

#include "cli/verbs.hpp"
#include "report/page.hpp"
#include "store/store.hpp"

namespace wayfarer::host {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

template <class Error, class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (Error const& e) {
    return e.what();
  } catch (std::exception const& e) {
    ADD_FAILURE() << "another error: " << e.what();
    return "";
  }
  ADD_FAILURE() << "no error";
  return "";
}

struct store : testing::Test {
  void SetUp() override {
    initialise_store();
    folder = fs::temp_directory_path() / ("wayfarer-store-" + std::to_string(::getpid()) + "-" +
                                          testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder);
    fs::create_directories(folder);
  }
  void TearDown() override { fs::remove_all(folder); }

  std::vector<std::string> files() const {
    std::vector<std::string> out;
    for (auto const& e : fs::directory_iterator(folder)) out.push_back(e.path().filename().string());
    std::sort(out.begin(), out.end());
    return out;
  }

  fs::path folder;
};

std::vector<double> ramp(std::size_t n, double from = 0, double step = 1) {
  std::vector<double> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = from + step * static_cast<double>(i);
  return out;
}

/// bfloat16 and half bits of 1, 2, -0.5.
tensor sixteen_bits(dtype type) {
  static std::uint16_t const bf16[] = {0x3f80, 0x4000, 0xbf00}, f16[] = {0x3c00, 0x4000, 0xb800};
  return tensor::look(type, type == dtype::bf16 ? bf16 : f16, {{"sample", 3}}, std::make_shared<int>(0));
}

/// One dataset of every sort that a plugin may leave behind.
results everything() {
  results r;
  r.add("value_blocks", tensor::of(ramp(9, -2.5, 0.75), {{"topic", 3}, {"topic", 3}}))
      .labels("topic", {"sport", "crime", "caf\xc3\xa9"})
      .about("mean attention value between topics")
      .units("nat");
  r.add("norm", tensor::of(ramp(4), {{"step", 4}}))
      .coordinate("step", tensor::of(std::vector<std::int64_t>{1, 10, 100, 1000}, {{"step", 4}}));
  r.add("loss", tensor::of(std::vector<float>{3.5f, 2.25f, 2.f, 1.875f}, {{"step", 4}})).units("nat").about("training loss");
  r.add("other_topics", tensor::of(ramp(6), {{"topic", 3}, {"head", 2}})).labels("topic", {"a", "b", "c"});
  r.add("rectangle", tensor::of(ramp(12), {{"topic", 3}, {"topic", 4}}));
  r.add("word", std::vector<std::string>{"the", "", "r\xc3\xa9sum\xc3\xa9"}).dims("word");
  r.add("count", tensor::of(std::vector<std::int32_t>{5, -6, 7}, {{"word", 3}}));
  r.add("blocks.0.attn/pattern", tensor::of(ramp(8), {{"query", 2}, {"key", 4}}));
  r.add("blocks.0.attn/found", tensor::of(std::vector<std::uint8_t>{0, 1, 1}, {{"word", 3}}));
  r.add("mean", 0.125).about("one number");
  r.add("bf16", sixteen_bits(dtype::bf16));
  r.add("f16", sixteen_bits(dtype::f16));
  r.add("big", tensor::of(std::vector<std::int64_t>{std::numeric_limits<std::int64_t>::min(), (std::int64_t{1} << 53) + 1},
                          {{"pair", 2}}));
  r.add("strange", tensor::of(std::vector<double>{std::nan(""), INFINITY, -INFINITY, -0.0}, {{"step", 4}}))
      .missing("no such pair, or a caf\xc3\xa9 that is shut")
      .view(R"({"kind": "curve", "x": "step", "log_y": true})");
  r.add("none", tensor(dtype::f64, {{"empty", 0}}));
  r.add("no_texts", std::vector<std::string>{}).dims("empty");
  r.add("tokens", {"the", " cat", "", "a", " dog", "\n"}, {{"item", 2}, {"pos", 3}}).labels("item", {"first", "second"});
  tensor const wide = tensor::of(ramp(6), {{"row", 2}, {"column", 3}});
  r.add("turned", wide.transposed());
  return r;
}

results one_table(double first) {
  results r;
  r.add("ratio", first);
  r.add("group", tensor::of(ramp(3, first), {{"topic", 3}}));
  return r;
}

node_record structure_node() {
  return {"structure", "topic_blocks", "probe", "1.2.3", "abc123", R"({"labels":"true"})", std::string(64, 'a'), 0.5};
}

run_record a_run() {
  run_record run;
  run.pipeline_text = "title: t\nnodes: {}\n";
  run.plan_json = "{}";
  run.versions = {{"wayfarer", "0.1.0"}, {"hdf5", "1.10.8"}};
  run.environment = {{"processor", "x86-64"}};
  run.inputs = {{"documents", "ap.dat", std::string(64, 'b'), 12345}};
  run.warnings = {"the attention never sharpened"};
  run.expectations.add("what", std::vector<std::string>{"contrast/ratio"}).dims("expectation");
  run.expectations.add("measured", tensor::of(std::vector<double>{1.75}, {{"expectation", 1}}));
  run.threads = 2;
  run.started = "2026-01-02T03:04:05Z";
  run.ended = "2026-01-02T03:04:06Z";
  run.peak_memory = 1 << 20;
  return run;
}

/// A whole result file; returns its writer's counts.
std::pair<std::size_t, std::uint64_t> write_sample(fs::path const& to, results const& r = everything(),
                                                   run_record const& run = a_run(), double ratio = 1.75) {
  result_writer w(to, "A title", ~std::uint64_t{0});
  auto const node = structure_node();
  w.write(node, r);
  node_record const contrast{"contrast", "group_contrast", "metric", "1.0.0", "abc123", "{}", std::string(64, 'c'), 0.25};
  w.write(contrast, one_table(ratio));
  w.commit(run, {node, contrast});
  return {w.datasets(), w.bytes()};
}

std::string bytes_of(fs::path const& p) {
  return read_text(p.string(), std::size_t{1} << 30);
}
void put(fs::path const& p, std::string const& bytes) {
  std::ofstream(p, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

void expect_equal(dataset const& a, dataset const& b) {
  ASSERT_EQ(a.is_text(), b.is_text());
  EXPECT_EQ(a.about(), b.about());
  EXPECT_EQ(a.units(), b.units());
  EXPECT_EQ(a.missing(), b.missing());
  EXPECT_EQ(a.view(), b.view());
  ASSERT_EQ(a.shape(), b.shape());
  if (a.is_text()) {
    EXPECT_EQ(a.texts(), b.texts());
    return;
  }
  ASSERT_EQ(a.values().type(), b.values().type());
  tensor const x = a.values().to(a.values().type()), y = b.values();
  EXPECT_TRUE(x.bytes() == 0 || std::memcmp(x.raw(), y.raw(), x.bytes()) == 0);
}

TEST_F(store, reads_back_what_was_written) {
  auto const file = folder / "r.h5";
  results const given = everything();
  auto const [datasets, bytes] = write_sample(file, given);
  EXPECT_EQ(datasets, given.names().size() + 2);
  EXPECT_EQ(bytes, fs::file_size(file));
  EXPECT_THAT(files(), ElementsAre("r.h5"));

  result_reader const r(file);
  EXPECT_EQ(r.title(), "A title");
  EXPECT_EQ(r.seed(), ~std::uint64_t{0});
  EXPECT_THAT(r.nodes(), ElementsAre("structure", "contrast"));
  auto const node = r.node("structure");
  EXPECT_EQ(node.plugin, "topic_blocks");
  EXPECT_EQ(node.kind, "probe");
  EXPECT_EQ(node.plugin_version, "1.2.3");
  EXPECT_EQ(node.build_id, "abc123");
  EXPECT_EQ(node.parameters, R"({"labels":"true"})");
  EXPECT_EQ(node.key, std::string(64, 'a'));
  EXPECT_EQ(node.seconds, 0.5);
  EXPECT_THAT(r.datasets("structure"), testing::UnorderedElementsAreArray(given.names()));
  for (auto const& name : given.names()) {
    SCOPED_TRACE(name);
    expect_equal(*given.find(name), r.read("structure", name));
  }

  EXPECT_EQ(r.run_text("pipeline"), "title: t\nnodes: {}\n");
  EXPECT_EQ(r.run_text("started"), "2026-01-02T03:04:05Z");
  EXPECT_EQ(r.run_text("nothing"), "");
  EXPECT_EQ(r.read("_run", "threads").scalar(), 2);
  EXPECT_THAT(r.read("_run", "versions/name").texts(), ElementsAre("wayfarer", "hdf5"));
  EXPECT_THAT(r.read("_run", "versions/value").texts(), ElementsAre("0.1.0", "1.10.8"));
  EXPECT_EQ(r.read("_run", "inputs/bytes").values().get({0}), 12345);
  EXPECT_THAT(r.read("_run", "warnings").texts(), ElementsAre("the attention never sharpened"));
  EXPECT_EQ(r.read("_run", "expectations/measured").values().get({0}), 1.75);
}

TEST_F(store, parts_and_headers_cost_no_more_than_they_show) {
  auto const file = folder / "r.h5";
  results r;
  std::vector<float> values(6 * 5);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  r.add("map", tensor::of(values, {{"row", 6}, {"column", 5}}))
      .labels("column", {"a", "b", "c", "d", "e"})
      .about("what")
      .units("nat");
  r.add("texts", {"p", "q", "r", "s", "t", "u"}, {{"row", 6}});
  r.add("square", tensor::of(std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9}, {{"topic", 3}, {"topic", 3}}))
      .labels("topic", {"x", "y", "z"});
  r.summarise("6 rows of nothing");
  write_sample(file, r);
  result_reader const in(file);
  EXPECT_EQ(in.node("structure").summary, "6 rows of nothing");
  EXPECT_EQ(in.node("contrast").summary, "");
  auto const header = in.header("structure", "map");
  EXPECT_EQ(header.shape, (dims{{"row", 6}, {"column", 5}}));
  EXPECT_EQ(header.type, dtype::f32);
  EXPECT_FALSE(header.text);
  EXPECT_EQ(header.about, "what");
  EXPECT_EQ(header.units, "nat");
  EXPECT_TRUE(in.header("structure", "texts").text);
  auto const part = in.read("structure", "map", {{2, 4}, {1, 4}});
  EXPECT_THAT(part.values().values<float const>(), ElementsAre(11, 12, 13, 16, 17, 18));
  EXPECT_THAT(*part.find_labels("column"), ElementsAre("b", "c", "d"));
  EXPECT_THAT(in.read("structure", "texts", {{4, 6}}).texts(), ElementsAre("t", "u"));
  EXPECT_EQ(in.read("structure", "map", {{3, 3}, {0, 5}}).values().count(), 0u);
  EXPECT_THAT(*in.read("structure", "square", {{0, 1}, {0, 2}}).find_labels("topic"), ElementsAre("x"));
  EXPECT_THAT(message_of<data_error>([&] {
                in.read("structure", "map", {{0, 7}, {0, 5}});
              }),
              HasSubstr("6 of 'row': 0:7 is outside"));
  EXPECT_THAT(message_of<data_error>([&] { in.read("structure", "map", {{0, 1}}); }), HasSubstr("has 2 dimensions, not 1"));
  EXPECT_THAT(message_of<data_error>([&] {
                in.read("structure", "square", {{0, 2}, {1, 3}});
              }),
              HasSubstr("choose the same range"));
  EXPECT_THAT(in.coordinate("structure", "square", 1)->texts(), ElementsAre("x", "y", "z"));
  EXPECT_FALSE(in.coordinate("structure", "map", 0));
  auto const one = in.read("structure", "square", {{0, 1}, {1, 2}});
  EXPECT_THAT(one.values().values<double const>(), ElementsAre(2));
  EXPECT_EQ(one.find_labels("topic"), nullptr) << "the label of one of two different topics";
}

TEST_F(store, datasets_share_coordinates_and_name_clashes_are_resolved) {
  auto const file = folder / "r.h5";
  write_sample(file);
  result_reader const r(file);
  EXPECT_THAT(*r.read("structure", "value_blocks").find_labels("topic"), ElementsAre("sport", "crime", "caf\xc3\xa9"));
  EXPECT_THAT(*r.read("structure", "other_topics").find_labels("topic"), ElementsAre("a", "b", "c"));
  // `loss` only names the dimension; `norm` gave its coordinate.
  auto const loss = r.read("structure", "loss");
  ASSERT_TRUE(loss.coordinate_map().contains("step"));
  EXPECT_EQ(loss.coordinate_map().find("step")->second.get({3}), 1000);
  // The dataset `word` is the coordinate of the dimension `word`.
  EXPECT_THAT(*r.read("structure", "count").find_labels("word"), ElementsAre("the", "", "r\xc3\xa9sum\xc3\xa9"));
  EXPECT_TRUE(r.read("structure", "other_topics").coordinate_map().empty());
}

TEST_F(store, long_parameters_and_long_texts_survive) {
  auto node = structure_node();
  node.parameters = "{\"list\":\"" + std::string(200'000, 'x') + "\"}";
  {
    result_writer w(folder / "r.h5", std::string(100'000, 't'), 1);
    w.write(node, one_table(1));
    w.commit(a_run(), {});
  }
  result_reader const r(folder / "r.h5");
  EXPECT_EQ(r.node("structure").parameters, node.parameters);
  EXPECT_EQ(r.title(), std::string(100'000, 't'));
  EXPECT_THAT(r.datasets("structure"), ElementsAre("ratio", "group"));
}

TEST_F(store, bytes_that_are_no_text_are_kept_visible) {
  results r;
  r.add("token", std::vector<std::string>{"\xe2\x82", std::string("a\0b", 3), "caf\xc3\xa9"}).dims("token");
  write_sample(folder / "r.h5", r);
  EXPECT_THAT(result_reader(folder / "r.h5").read("structure", "token").texts(),
              ElementsAre("\\xe2\\x82", "a\\x00b", "caf\xc3\xa9"));
}

TEST_F(store, chunked_datasets_survive) {
  // 24 MiB: beyond the size from which datasets are chunked, with a row count that leaves the last chunk part empty.
  std::vector<float> numbers(3 * 1021 * 2053);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i % 65537) * 0.5f;
  results r;
  r.add("large", tensor::of(numbers, {{"layer", 3}, {"row", 1021}, {"column", 2053}}));
  write_sample(folder / "a.h5", r);
  write_sample(folder / "b.h5", r);
  expect_equal(*r.find("large"), result_reader(folder / "a.h5").read("structure", "large"));
  EXPECT_TRUE(bytes_of(folder / "a.h5") == bytes_of(folder / "b.h5"));
}

TEST_F(store, compressed_and_strided_datasets_survive) {
  // Beyond what is written in one piece, with rows that don't fill chunks evenly.
  std::vector<float> numbers(std::size_t{1501} * 4003);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i % 1000);
  auto const whole = tensor::of(numbers, {{"item", 1501}, {"x", 4003}});
  results r;
  r.add("plain", whole);
  r.add("packed", whole).compress();
  r.add("part", whole.slice(1, 1, 4002));
  r.add("turned", whole.transposed()).compress();
  r.add("small", tensor::of(ramp(9), {{"row", 3}, {"column", 3}})).compress();
  r.add("scalar", 3.0).compress();
  r.add("none", tensor(dtype::f32, {{"empty", 0}})).compress();
  r.add("half", whole.to(dtype::f16)).compress();
  write_sample(folder / "r.h5", r);
  EXPECT_LT(fs::file_size(folder / "r.h5"), 3 * whole.bytes());
  result_reader const file(folder / "r.h5");
  for (auto const& name : r.names()) {
    SCOPED_TRACE(name);
    auto const back = file.read("structure", name).values();
    auto const wanted = r.at(name).values().to(r.at(name).values().type());
    ASSERT_EQ(describe(back.shape()), describe(wanted.shape()));
    ASSERT_EQ(back.type(), wanted.type());
    EXPECT_EQ(std::memcmp(back.raw(), wanted.raw(), wanted.bytes()), 0);
  }
  write_sample(folder / "again.h5", r);
  std::ifstream a(folder / "r.h5", std::ios::binary), b(folder / "again.h5", std::ios::binary);
  EXPECT_TRUE(std::equal(std::istreambuf_iterator<char>(a), {}, std::istreambuf_iterator<char>(b), {}));
}

TEST_F(store, same_results_give_the_same_bytes) {
  write_sample(folder / "a.h5");
  std::vector<std::string> dirt(1000, std::string(5000, '\xaa'));  // what malloc hands out next is not zero
  dirt.clear();
  write_sample(folder / "b.h5");
  EXPECT_TRUE(bytes_of(folder / "a.h5") == bytes_of(folder / "b.h5"));
}

TEST_F(store, runs_differ_in_nothing_but_the_run_record) {
  write_sample(folder / "a.h5");
  auto run = a_run();
  run.threads = 4;
  run.started = "2027-11-12T13:14:15Z";
  run.ended = "2027-11-12T13:14:16Z";
  run.peak_memory = 123456789;
  write_sample(folder / "b.h5", everything(), run);
  std::string const a = bytes_of(folder / "a.h5"), b = bytes_of(folder / "b.h5");
  ASSERT_EQ(a.size(), b.size());
  std::size_t differing = 0;
  for (std::size_t i = 0; i < a.size(); ++i) differing += a[i] != b[i];
  EXPECT_GT(differing, 0u);
  EXPECT_LE(differing, 2 * sizeof(std::int64_t) + 2 * run.started.size());
  EXPECT_EQ(compare_verb({(folder / "a.h5").string(), (folder / "b.h5").string()}), 0);
}

TEST_F(store, refuses_datasets_that_break_their_own_declaration) {
  auto const refused = [&](results const& r) {
    return message_of<plugin_error>([&] {
      result_writer w(folder / "r.h5", "", 0);
      w.write(structure_node(), r);
    });
  };
  results unnamed, both, under, undefined, slash;
  unnamed.add("x", tensor::of(ramp(2), {{"", 2}}));
  EXPECT_THAT(refused(unnamed), HasSubstr("structure/x: has a dimension without a name"));
  both.add("x", tensor::of(ramp(2), {{"d", 2}})).labels("d", {"a", "b"}).coordinate("d", tensor::of(ramp(2), {{"d", 2}}));
  EXPECT_THAT(refused(both), HasSubstr("labels and numbers"));
  under.add("x", 1.0);
  under.add("x/y", 2.0);
  EXPECT_THAT(refused(under), HasSubstr("structure/x: there are also datasets below that name"));
  undefined.add("x", tensor());
  EXPECT_THAT(refused(undefined), HasSubstr("has no values"));
  slash.add("x", tensor::of(ramp(2), {{"a/b", 2}}));
  EXPECT_THAT(refused(slash), HasSubstr("'a/b' can't be a dimension's name"));
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(store, nodes_are_written_once_and_only_under_sane_names) {
  auto const second = message_of<plugin_error>([&] {
    result_writer w(folder / "r.h5", "", 0);
    w.write(structure_node(), one_table(1));
    w.write(structure_node(), one_table(1));
  });
  EXPECT_THAT(second, HasSubstr("'structure' were written already"));
  for (std::string const name : {"", "_run", "a/b", ".."}) {
    auto node = structure_node();
    node.name = name;
    EXPECT_THAT(message_of<plugin_error>([&] { result_writer(folder / "r.h5", "", 0).write(node, one_table(1)); }),
                HasSubstr("can't be a node's name"));
  }
}

TEST_F(store, an_abandoned_writer_leaves_the_old_file) {
  write_sample(folder / "r.h5");
  std::string const before = bytes_of(folder / "r.h5");
  {
    result_writer w(folder / "r.h5", "new", 1);
    w.write(structure_node(), one_table(1));
    EXPECT_EQ(files().size(), 2u);
  }
  EXPECT_THAT(files(), ElementsAre("r.h5"));
  EXPECT_TRUE(bytes_of(folder / "r.h5") == before);
}

TEST_F(store, litter_of_dead_writers_is_swept_and_nothing_else) {
  pid_t const dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);
  put(folder / (".r.h5.tmp." + std::to_string(dead)), "half");
  put(folder / (".r.h5.tmp." + std::to_string(::getppid())), "of a process that lives");
  put(folder / (".s.h5.tmp." + std::to_string(dead)), "of another result");
  put(folder / ".r.h5.tmp.12x", "of nobody");
  // By its lock, whatever the number says: a process of that number may live elsewhere, or be dead.
  put(folder / (".r.h5.tmp." + std::to_string(::getppid()) + ".77"), "half, of a host with the same numbers");
  put(folder / (".s.h5.tmp." + std::to_string(dead) + ".77"), "of another result");
  result_writer const living(folder / "r.h5", "", 0);
  { result_writer const w(folder / "r.h5", "", 0); }
  auto left = files();
  auto const of_living = std::find_if(left.begin(), left.end(), [](std::string const& name) {
    return name.starts_with(".r.h5.tmp." + std::to_string(::getpid()) + ".");
  });
  ASSERT_NE(of_living, left.end());
  left.erase(of_living);
  EXPECT_THAT(left,
              testing::UnorderedElementsAre(".r.h5.tmp." + std::to_string(::getppid()), ".r.h5.tmp.12x",
                                            ".s.h5.tmp." + std::to_string(dead), ".s.h5.tmp." + std::to_string(dead) + ".77"));
}

TEST_F(store, says_why_a_place_can_not_be_written) {
  EXPECT_THAT(message_of<resource_error>([&] { result_writer(folder / "none" / "r.h5", "", 0); }), HasSubstr("no such folder"));
  EXPECT_THAT(message_of<resource_error>([&] { result_writer(folder, "", 0); }), HasSubstr("is a folder"));
  EXPECT_THAT(message_of<resource_error>([&] { result_writer("/proc/self/r.h5", "", 0); }), HasSubstr("can't write the result"));
}

TEST_F(store, two_writers_of_one_result_work_side_by_side) {
  result_writer first(folder / "r.h5", "first", 0), second(folder / "r.h5", "second", 0);
  for (auto* w : {&first, &second}) {
    w->write(structure_node(), one_table(1));
    w->commit(a_run(), {structure_node()});
    EXPECT_EQ(result_reader(folder / "r.h5").title(), w == &first ? "first" : "second");
  }
  EXPECT_THAT(files(), ElementsAre("r.h5"));
}

TEST_F(store, a_full_disk_ends_in_a_clear_error_and_no_file) {
  results r = everything();
  r.add("bulk", tensor(dtype::f64, {{"n", 300'000}}));
  std::uint64_t const whole = write_sample(folder / "old.h5", r).second;
  std::string const before = bytes_of(folder / "old.h5");
  // A file-size limit fails writes just as a full disk does, and works for everyone. It hits each phase: creating, metadata,
  // bulk values, and the flush while closing.
  for (std::uint64_t const room :
       {std::uint64_t{0}, std::uint64_t{600}, std::uint64_t{5'000}, std::uint64_t{40'000}, whole / 2, whole - 200, whole - 1}) {
    SCOPED_TRACE(room);
    pid_t const child = ::fork();
    if (child == 0) {
      std::signal(SIGXFSZ, SIG_IGN);
      rlimit const limit{room, RLIM_INFINITY};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      int code = 10;
      try {
        write_sample(folder / "old.h5", r);
      } catch (resource_error const& e) {
        code = std::strstr(e.what(), "can't write the result") ? 20 : 11;
      } catch (...) {
        code = 12;
      }
      if (code == 20 && std::distance(fs::directory_iterator(folder), fs::directory_iterator()) != 1) code = 13;
      rlimit const none{RLIM_INFINITY, RLIM_INFINITY};
      ::setrlimit(RLIMIT_FSIZE, &none);
      try {
        write_sample(folder / "after.h5", everything());
        if (result_reader(folder / "after.h5").nodes().size() != 2) code = 14;
        fs::remove(folder / "after.h5");
      } catch (std::exception const& e) {
        std::fprintf(stderr, "%s\n", e.what());
        code = 15;  // one failed file must not spoil the library
      }
      std::exit(code);  // with exit handlers: HDF5's own would crash now
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 20);
    EXPECT_THAT(files(), ElementsAre("old.h5"));
    EXPECT_TRUE(bytes_of(folder / "old.h5") == before);
  }
}

/// A child that replaces a result again and again, and says on a pipe how far it is. Its steps of one file, in order: the
/// temporary file is open, one node is in it, both are, the file is in place.
struct busy_writer {
  static constexpr int steps = 4;
  explicit busy_writer(fs::path const& file, double first_ratio) {
    if (::pipe(said) != 0 || ::pipe(let) != 0) std::abort();
    child = ::fork();
    if (child != 0) {
      ::close(said[1]), ::close(let[0]);
      return;
    }
    ::close(said[0]), ::close(let[1]);
    auto const say = [&] {
      char c = 0;
      if (::write(said[1], &c, 1) != 1 || ::read(let[0], &c, 1) != 1) ::_exit(1);
    };
    try {
      results const r = everything();
      for (double ratio = first_ratio;; ratio += 1000) {
        result_writer w(file, "A title", 0);
        say();
        auto const node = structure_node();
        w.write(node, r);
        say();
        node_record const contrast{"contrast", "group_contrast", "metric", "1.0.0", "abc123", "{}", std::string(64, 'c'), 0.25};
        w.write(contrast, one_table(ratio));
        say();
        w.commit(a_run(), {node, contrast});
        say();
      }
    } catch (std::exception const& e) {
      std::fprintf(stderr, "%s\n", e.what());
    }
    ::_exit(1);
  }
  ~busy_writer() {
    end();
    ::close(said[0]), ::close(let[1]);
  }

  bool reaches_next_step() {
    char c = 0;
    return ::read(said[0], &c, 1) == 1;
  }
  void go_on() {
    char const c = 0;
    if (::write(let[1], &c, 1) != 1) ADD_FAILURE() << "the writer is gone";
  }
  /// Kills it; how it ended.
  int end() {
    int status = 0;
    if (child != 0) {
      ::kill(child, SIGKILL);
      ::waitpid(std::exchange(child, 0), &status, 0);
    }
    return status;
  }

  int said[2]{}, let[2]{};
  pid_t child = 0;
};

TEST_F(store, killing_the_writer_never_leaves_half_a_file) {
  auto const file = folder / "r.h5";
  write_sample(file, everything(), a_run(), -1);
  // Killed while it waits at each step of its first two files, and while it works on from there.
  for (int point = 1; point <= 2 * busy_writer::steps; ++point)
    for (bool const at_work : {false, true}) {
      SCOPED_TRACE(point);
      busy_writer writer(file, 1e6 * point);
      for (int step = 1; step <= point; ++step) {
        ASSERT_TRUE(writer.reaches_next_step()) << "the writer failed by itself";
        if (step < point || at_work) writer.go_on();
      }
      ASSERT_TRUE(WIFSIGNALED(writer.end())) << "the writer failed by itself";
      int const done = point / busy_writer::steps, step = point % busy_writer::steps;
      if (!at_work) {
        EXPECT_EQ(files().size(), step == 0 ? 1u : 2u) << "a temporary file lies there until its result is in place";
      }
      result_reader const r(file);
      ASSERT_THAT(r.nodes(), ElementsAre("structure", "contrast"));
      for (auto const& name : r.datasets("structure")) r.read("structure", name);
      ASSERT_EQ(r.run_text("pipeline"), a_run().pipeline_text);
      double const ratio = r.read("contrast", "ratio").scalar();
      double const last = done > 0 ? 1e6 * point + 1000 * (done - 1) : -1, next = 1e6 * point + 1000 * done;
      if (at_work && step == busy_writer::steps - 1) {
        EXPECT_THAT(ratio, testing::AnyOf(last, next));
      } else {
        EXPECT_EQ(ratio, last);
      }
      write_sample(file, everything(), a_run(), -1);
      EXPECT_THAT(files(), ElementsAre("r.h5")) << "what killed writers left is swept";
    }
}

// ---- files that are not to be trusted ----

/// Reads all there is.
int walk(fs::path const& file) {
  result_reader const r(file);
  auto nodes = r.nodes();
  nodes.push_back("_run");
  for (auto const& node : nodes) {
    if (node != "_run") r.node(node);
    for (auto const& name : r.datasets(node)) r.read(node, name);
  }
  r.run_text("pipeline");
  r.title();
  return 0;
}

/// 0 if the file was read, 3 if it was refused; anything else fails the test.
int outcome(fs::path const& file) {
  try {
    return read_in_child({file}, [&] { return walk(file); });
  } catch (data_error const& e) {
    EXPECT_THAT(e.what(), HasSubstr(file.string()));
    return 3;
  }
}

TEST_F(store, truncated_files_are_refused) {
  write_sample(folder / "r.h5");
  std::string const whole = bytes_of(folder / "r.h5");
  for (std::size_t i = 0; i < 60; ++i) {
    std::size_t const length = i < 10 ? i * 7 : whole.size() * i / 61;
    put(folder / "t.h5", whole.substr(0, length));
    EXPECT_EQ(outcome(folder / "t.h5"), 3) << length;
  }
  put(folder / "t.h5", whole.substr(0, whole.size() - 1));
  EXPECT_EQ(outcome(folder / "t.h5"), 3);
}

TEST_F(store, mutated_files_are_read_or_refused_but_never_crash_the_reader) {
  write_sample(folder / "r.h5");
  std::string const whole = bytes_of(folder / "r.h5");
  // More of them, and others, for fuzzing.
  char const* const asked = std::getenv("WAYFARER_MUTATIONS");
  int const all = asked ? std::atoi(asked) : 300;
  std::minstd_rand random(static_cast<unsigned>(all - 289));
  std::size_t read = 0, refused = 0;
  for (int i = 0; i < all; ++i) {
    std::string bytes = whole;
    for (int k = 0; k <= i % 4; ++k) bytes[random() % bytes.size()] = static_cast<char>(random() % 256);
    put(folder / "m.h5", bytes);
    int const code = outcome(folder / "m.h5");
    read += code == 0, refused += code == 3;
  }
  EXPECT_EQ(read + refused, static_cast<std::size_t>(all));
  EXPECT_GT(read, 0u);
  EXPECT_GT(refused, 0u);
}

TEST_F(store, other_files_are_refused_with_their_name_and_reason) {
  put(folder / "t.h5", "no HDF5 at all");
  EXPECT_THAT(message_of<data_error>([&] { result_reader(folder / "t.h5"); }), HasSubstr("t.h5: is not a result file"));
  EXPECT_THAT(message_of<data_error>([&] { result_reader(folder / "none.h5"); }), HasSubstr("none.h5: No such file"));
  std::ofstream(folder / "walks.h5") << "x";
  for (auto const* const near : {"wlaks.h5", "walks"})
    EXPECT_THAT(message_of<data_error>([&] { result_reader(folder / near); }),
                HasSubstr("; did you mean '" + (folder / "walks.h5").string() + "'?"))
        << near;
  EXPECT_THAT(message_of<data_error>([&] { result_reader(folder / "attention.h5"); }),
              HasSubstr("; " + folder.string() + " holds t.h5, walks.h5"));
  EXPECT_THAT(message_of<data_error>([&] { result_reader(folder / "nowhere/r.h5"); }),
              HasSubstr("; the folder " + (folder / "nowhere").string() + " does not exist"));
  EXPECT_THAT(message_of<data_error>([&] { result_reader r(folder); }), HasSubstr("is not a regular file"));
  write_sample(folder / "r.h5");
  result_reader const r(folder / "r.h5");
  EXPECT_THAT(message_of<data_error>([&] { r.read("structure", "los"); }),
              HasSubstr("has no dataset 'los'; did you mean 'loss'?"));
  EXPECT_THAT(message_of<data_error>([&] { r.datasets("structur"); }),
              HasSubstr("has no node 'structur'; did you mean 'structure'?"));
  EXPECT_THAT(message_of<data_error>([&] { r.read("structure", "../contrast/ratio"); }), HasSubstr("has no dataset"));
}

TEST_F(store, a_dying_child_is_a_data_error) {
  auto const f = folder / "r.h5";
  EXPECT_EQ(read_in_child({f}, [] { return 1; }), 1);
  EXPECT_THAT(message_of<data_error>([&] {
                read_in_child({f}, []() -> int {
                  std::raise(SIGKILL);
                  return 0;
                });
              }),
              HasSubstr("r.h5: damaged or crafted"));
  EXPECT_THAT(message_of<data_error>([&] { read_in_child({f}, []() -> int { ::_exit(0); }); }), HasSubstr("without a word"));
  EXPECT_EQ(message_of<usage_error>([&] { read_in_child({f}, []() -> int { throw usage_error("as said there"); }); }),
            "as said there");
  EXPECT_EQ(message_of<resource_error>([&] { read_in_child({f}, []() -> int { throw resource_error("as said there"); }); }),
            "as said there");
}

int python(std::string const& script, std::vector<std::string> arguments) {
  pid_t const child = ::fork();
  if (child == 0) {
    std::string program = "/usr/bin/python3", path = std::string(WAYFARER_SOURCE_DIR) + script;
    std::vector<char*> words{program.data(), path.data()};
    for (auto& a : arguments) words.push_back(a.data());
    words.push_back(nullptr);
    ::execv(program.c_str(), words.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

TEST_F(store, h5py_and_xarray_open_a_result) {
  write_sample(folder / "r.h5");
  EXPECT_EQ(python("/tests/pipelines/readers_test.py", {(folder / "r.h5").string()}), 0);
}

TEST_F(store, crafted_files_reach_nothing_outside_themselves) {
  results r;
  r.add("secret", tensor::of(ramp(4), {{"n", 4}}));
  r.add("text", std::vector<std::string>{"a", "b"}).dims("m");
  write_sample(folder / "r.h5", r);
  ASSERT_EQ(python("/tests/unit/craft_results.py", {(folder / "r.h5").string(), folder.string()}), 0);
  std::map<std::string, std::string> const wanted = {
      {"external_storage.h5", "keeps its values in another file"},
      {"virtual.h5", "is a virtual dataset"},
      {"soft_link.h5", "is a soft or external link"},
      {"external_link.h5", "is a soft or external link"},
      {"external_link_node.h5", "is a soft or external link"},
      {"filtered.h5", "is filtered in another way"},
      {"checked.h5", "is filtered in another way"},
      {"bomb.h5", "more than the file's"},
      {"missing_chunks.h5", "holds fewer values than its shape says"},
      {"huge_shape.h5", "more than the file's"},
      {"never_written.h5", "holds fewer values than its shape says"},
      {"cycle.h5", "groups are nested too deep"},
      {"compound.h5", "holds"},
      {"fixed_text.h5", "in a form that wayfarer doesn't write"},
      {"wrong_scale.h5", "has another size than the dimension"},
      {"newer_version.h5", "use a newer one"},
      {"incomplete.h5", "is not complete"},
      {"foreign.h5", "not a Wayfarer result"},
      {"high_rank.h5", "more than 6 dimensions"},
  };
  for (auto const& [name, reason] : wanted) {
    SCOPED_TRACE(name);
    auto const file = folder / name;
    ASSERT_TRUE(fs::exists(file));
    EXPECT_THAT(message_of<data_error>([&] { read_in_child({file}, [&] { return walk(file); }); }),
                testing::AllOf(HasSubstr(name), HasSubstr(reason)));
  }
}

// ---- the verbs ----

/// What a verb prints, and its exit code. The reading child prints too, hence the capture of the descriptor.
std::pair<int, std::string> printed(int (*verb)(words const&), words const& arguments) {
  testing::internal::CaptureStdout();
  int code = -1;
  try {
    code = verb(arguments);
  } catch (error const& e) {
    code = e.exit_code();
  }
  std::fflush(stdout);
  return {code, testing::internal::GetCapturedStdout()};
}

TEST_F(store, show_prints_tables) {
  auto const file = (folder / "r.h5").string();
  results r = everything();
  r.add("large", tensor::of(ramp(6000, 1), {{"row", 100}, {"column", 60}}));
  r.add("escape", std::vector<std::string>{"\033[31mred\a"}).dims("text");
  write_sample(file, r);
  auto const [code, overview] = printed(show_verb, {file});
  EXPECT_EQ(code, 0);
  for (auto const* part : {"A title", "seed 18446744073709551615", "on 2 threads", "structure  probe   topic_blocks      1.2.3",
                           "contrast/ratio      1.75", "warning: the attention never sharpened", "-2.5 .. 3.5",
                           "mean attention value between topics"})
    EXPECT_THAT(overview, HasSubstr(part));
  auto const node = printed(show_verb, {file, "structure"}).second;
  EXPECT_THAT(node, HasSubstr("topic \\ topic  sport  crime  caf\xc3\xa9\nsport           -2.5  -1.75    -1\n"));
  EXPECT_THAT(node, HasSubstr("step  norm  loss (nat)  strange\n   1     0         3.5      nan\n"));
  EXPECT_THAT(node, HasSubstr("min 1  mean 3000.5  max 6000"));
  EXPECT_THAT(node, HasSubstr("\\x1b[31mred\\x07"));
  EXPECT_EQ(node.find('\033'), node.npos) << "a file must not command the terminal";
  auto const one = printed(show_verb, {file, "structure/blocks.0.attn/pattern"}).second;
  EXPECT_THAT(one, HasSubstr("query \\ key  0  1  2  3\n          0  0  1  2  3\n          1  4  5  6  7\n"));
  EXPECT_EQ(printed(show_verb, {file, "_run/pipeline"}).second, "title: t\nnodes: {}\n");
  EXPECT_EQ(printed(show_verb, {file, "structure/nothing"}).first, 3);
  EXPECT_EQ(printed(show_verb, {(folder / "none.h5").string()}).first, 3);
}

TEST_F(store, compare_names_what_differs) {
  auto const a = (folder / "a.h5").string(), b = (folder / "b.h5").string();
  auto const compared = [&](results const& x, results const& y, words more = {}, run_record const& run = a_run()) {
    write_sample(a, x);
    write_sample(b, y, run);
    words arguments{a, b};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return printed(compare_verb, arguments);
  };
  auto const says = [](int code, std::string const& text) { return testing::Pair(code, HasSubstr(text)); };
  results x, y;
  x.add("v", tensor::of(std::vector<double>{1, 2, std::nan(""), INFINITY}, {{"n", 4}}));
  y.add("v", tensor::of(std::vector<double>{1, 2.002, std::nan(""), INFINITY}, {{"n", 4}}));
  EXPECT_THAT(compared(x, x), says(0, "no difference"));
  EXPECT_THAT(compared(x, y),
              says(1, "structure/v  1 of 4 values differ, first at [1]; largest difference 0.002, relative 0.000999001"));
  EXPECT_THAT(compared(x, y, {"--rtol", "1e-3"}), says(0, "no difference"));
  EXPECT_THAT(compared(x, y, {"--atol", "0.0019"}), says(1, "1 of 4 values differ"));
  EXPECT_THAT(compared(x, y, {"--atol", "0.0021", "--all"}), says(0, "same within the tolerance; largest difference 0.002"));

  results shape, kind, type, units, missing, view, labels, other_labels, text, other_text, exact, other_exact, not_a_number;
  shape.add("v", tensor::of(ramp(3), {{"n", 3}}));
  kind.add("v", std::vector<std::string>{"a", "b", "c", "d"}).dims("n");
  type.add("v", tensor::of(std::vector<float>{1, 2, NAN, INFINITY}, {{"n", 4}}));
  units.add("v", tensor::of(std::vector<double>{1, 2, std::nan(""), INFINITY}, {{"n", 4}})).units("nat");
  missing.add("v", x.at("v")).missing("no such pair");
  view.add("v", x.at("v")).view_as_stored("{}");
  EXPECT_THAT(compared(x, missing), says(1, "missing values mean '' against 'no such pair'"));
  EXPECT_THAT(compared(x, view), says(1, "view '' against '{}'"));
  EXPECT_THAT(compared(x, shape), says(1, "shape n 4 against n 3"));
  EXPECT_THAT(compared(x, kind), says(1, "numbers against texts"));
  EXPECT_THAT(compared(x, type), says(1, "float64 against float32"));
  EXPECT_THAT(compared(x, units), says(1, "units '' against 'nat'"));
  labels.add("v", tensor::of(ramp(2), {{"n", 2}})).labels("n", {"a", "b"});
  other_labels.add("v", tensor::of(ramp(2), {{"n", 2}})).labels("n", {"a", "c"});
  EXPECT_THAT(compared(labels, other_labels), says(1, "(coordinate n)  text [1] 'b' against 'c'"));
  text.add("v", std::vector<std::string>{"a"}).dims("n");
  other_text.add("v", std::vector<std::string>{"b"}).dims("n");
  EXPECT_THAT(compared(text, other_text), says(1, "text [0] 'a' against 'b'"));
  exact.add("v", tensor::of(std::vector<std::int64_t>{std::int64_t{1} << 53}, {{"n", 1}}));
  other_exact.add("v", tensor::of(std::vector<std::int64_t>{(std::int64_t{1} << 53) + 1}, {{"n", 1}}));
  EXPECT_THAT(compared(exact, other_exact), says(1, "1 of 1 values differ"));
  not_a_number.add("v", tensor::of(std::vector<double>{1, 2, 0, INFINITY}, {{"n", 4}}));
  EXPECT_THAT(compared(x, not_a_number, {"--rtol", "1", "--atol", "1e9"}),
              says(1, "1 of 4 values differ, first at [2]; largest difference inf"));
  EXPECT_THAT(compared(x, everything()), says(1, "structure/v"));
  EXPECT_THAT(compared(everything(), x), says(1, "structure/loss                   dataset only in the first"));

  auto run = a_run();
  run.threads = 1, run.started = "later", run.peak_memory = 7;
  run.environment = {{"processor", "another"}, {"compiler", "too"}};
  EXPECT_THAT(compared(x, x, {}, run), says(0, "no difference"));
  run.pipeline_text += "#";
  EXPECT_THAT(compared(x, x, {}, run), says(1, "_run/pipeline"));
  EXPECT_EQ(printed(compare_verb, {a, (folder / "none.h5").string()}).first, 3);
  EXPECT_EQ(printed(compare_verb, {a, b, "--rtol", "-1"}).first, 2);
}

TEST_F(store, the_verbs_survive_damaged_files) {
  write_sample(folder / "r.h5");
  std::string const whole = bytes_of(folder / "r.h5");
  auto const good = (folder / "r.h5").string(), bad = (folder / "m.h5").string();
  std::minstd_rand random(5);
  std::map<int, int> codes;
  for (int i = 0; i < 60; ++i) {
    std::string bytes = whole;
    for (int k = 0; k < 8; ++k) bytes[random() % bytes.size()] ^= static_cast<char>(1 + random() % 255);
    if (i % 10 == 0) bytes.resize(random() % bytes.size());
    put(bad, bytes);
    ++codes[printed(show_verb, {bad}).first];
    ++codes[printed(show_verb, {bad, "structure"}).first];
    ++codes[printed(show_verb, {bad, "structure/loss[0:1]", "--json"}).first];
    ++codes[printed(compare_verb, {good, bad}).first];
    if (i % 6 == 0)
      for (char const* form : {"csv", "npy", "safetensors"})
        ++codes[printed(export_verb, {bad, "structure", "--to", form, (folder / form).string(), "--force"}).first];
    if (i % 6 == 0 && !bundled_page().script.empty())
      ++codes[printed(report_verb, {bad, "--out", (folder / "m.html").string()}).first];
  }
  for (auto const& [code, times] : codes) EXPECT_TRUE(code == 0 || code == 1 || code == 3) << code;
  EXPECT_GT(codes[3], 0);
}

TEST_F(store, datasets_of_other_programs_are_read_one_by_one) {
  std::string const file = WAYFARER_SOURCE_DIR "/tests/data/directions.h5";
  auto const values = [&](std::string const& dataset) {
    auto const t = read_dataset_in_child(file, dataset);
    auto const v = t.values<double>();
    return std::vector<double>(v.begin(), v.end());
  };
  std::vector<double> v, rounded, twice;
  for (int i = 0; i < 8; ++i) v.push_back(-1 + i * (2.0 / 7));
  auto const close = [](std::vector<double> const& x) { return testing::Pointwise(testing::DoubleNear(1e-7), x); };
  for (char const* name : {"v", "sae/v", "big_endian"}) EXPECT_THAT(values(name), close(v)) << name;
  EXPECT_THAT(values("integers"), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  auto both = v;
  for (double const x : v) both.push_back(2 * x);
  EXPECT_THAT(values("gzip"), close(both));
  auto const refused = [&](std::string const& name) {
    return message_of<data_error>([&] { read_dataset_in_child(file, name); });
  };
  EXPECT_THAT(refused("sea/v"), HasSubstr("did you mean 'sae/v'?"));
  EXPECT_THAT(refused("sae"), HasSubstr("has no dataset 'sae'"));
  EXPECT_THAT(refused("lzf"), HasSubstr("store it without compression, or with gzip"));
  EXPECT_THAT(refused("text"), HasSubstr("text"));
  EXPECT_THAT(refused("soft"), HasSubstr("soft or external link"));
  EXPECT_THAT(refused("outside"), HasSubstr("soft or external link"));
}

}  // namespace
}  // namespace wayfarer::host
