// The safetensors reader against a hostile corpus, the writer against the reader, and folders of several files.
#include <wayfarer/safetensors.hpp>

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

namespace wf = wayfarer;
namespace fs = std::filesystem;

namespace {

using named_tensors = std::vector<std::pair<std::string, wf::tensor>>;

/// Length, header and data, as in a file.
std::string file_of(std::string_view header, std::string_view data = "") {
  std::uint64_t const n = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &n, 8);
  return out.append(header).append(data);
}

class safetensors_test : public testing::Test {
 protected:
  safetensors_test() {
    std::string pattern = (fs::temp_directory_path() / "wayfarer-st-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~safetensors_test() override { fs::remove_all(folder_); }

  std::string in_folder(std::string const& name) const { return (folder_ / name).string(); }
  std::string make(std::string const& name, std::string_view contents) const {
    std::ofstream(in_folder(name), std::ios::binary) << contents;
    return in_folder(name);
  }
  wf::safetensors_file open(std::string_view contents) const {
    return wf::safetensors_file::open(make("x.safetensors", contents));
  }

  /// The message of the data_error that `f` throws, which must name `file`.
  static std::string refusal(std::string const& file, std::function<void()> const& f) {
    try {
      f();
    } catch (wf::data_error const& e) {
      EXPECT_NE(std::string(e.what()).find(file), std::string::npos) << e.what();
      return e.what();
    } catch (std::exception const& e) {
      ADD_FAILURE() << "not a data_error: " << e.what();
      return {};
    }
    ADD_FAILURE() << "accepted";
    return {};
  }
  /// Refused with a message that says `why`.
  void refused(std::string_view contents, std::string_view why) const {
    std::string const what = refusal("x.safetensors", [&] { open(contents); });
    EXPECT_NE(what.find(why), std::string::npos) << what << "\n  doesn't say: " << why;
  }
  void header_refused(std::string_view header, std::string_view why, std::size_t data = 0) const {
    refused(file_of(header, std::string(data, '\0')), why);
  }

  fs::path folder_;
};

constexpr std::string_view small_header =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},)"
    R"("a":{"dtype":"I32","shape":[],"data_offsets":[0,4]}} )";

std::string small_file() {
  std::string data(12, '\0');
  std::int32_t const a = -7;
  float const b[] = {1.5f, -2.25f};
  std::memcpy(data.data(), &a, 4);
  std::memcpy(data.data() + 4, b, 8);
  return file_of(small_header, data);
}

}  // namespace

TEST_F(safetensors_test, a_tensor_of_a_type_that_is_not_read_leaves_the_others_readable) {
  struct foreign {
    char const* type;
    std::size_t count, bytes;
  };
  for (auto const& [type, count, bytes] :
       {foreign{"I8", 4, 4}, foreign{"I16", 4, 8}, foreign{"U16", 2, 4}, foreign{"U32", 1, 4}, foreign{"U64", 1, 8},
        foreign{"C64", 1, 8}, foreign{"F8_E4M3", 4, 4}, foreign{"F8_E5M2", 4, 4}, foreign{"F8_E8M0", 4, 4}, foreign{"F4", 8, 4},
        foreign{"F6_E3M2", 16, 12}}) {
    std::string const end = std::to_string(bytes);
    std::string header = std::string(R"({"odd":{"dtype":")") + type + R"(","shape":[)" + std::to_string(count) +
                         R"(],"data_offsets":[0,)" + end + R"(]},"b":{"dtype":"F32","shape":[1],"data_offsets":[)" + end + "," +
                         std::to_string(bytes + 4) + "]}}";
    header.append((8 - header.size() % 8) % 8, ' ');
    std::string data(bytes + 4, '\0');
    float const b = 1.5f;
    std::memcpy(data.data() + bytes, &b, 4);
    std::string const path = make("x.safetensors", file_of(header, data));
    wf::checkpoint const c = wf::open_checkpoint(path);
    EXPECT_EQ(c.names(), std::vector<std::string>{"b"}) << type;
    EXPECT_EQ(c.tensor("b").view<float const>()(0), 1.5f) << type;
    ASSERT_EQ(c.foreign().size(), 1u) << type;
    EXPECT_EQ(c.foreign()[0].name, "odd");
    EXPECT_EQ(c.foreign()[0].type, type);
    EXPECT_EQ(c.find("odd"), nullptr);
    std::string const what = refusal(path, [&] { c.tensor("odd"); });
    EXPECT_NE(what.find("\"odd\" is of type " + std::string(type)), std::string::npos) << what;
  }
}

TEST_F(safetensors_test, reads_without_copying) {
  wf::safetensors_file const f = open(small_file());
  EXPECT_EQ(f.names(), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(f.metadata().at("format"), "pt");
  EXPECT_EQ(f.find("none"), nullptr);
  EXPECT_EQ(f.find("b")->shape, std::vector<std::size_t>{2});
  EXPECT_EQ(f.tensor("a").rank(), 0u);
  EXPECT_EQ(f.tensor("a").view<std::int32_t const>()(), -7);
  EXPECT_EQ(f.tensor("b", {"model"}).size("model"), 2u);
  EXPECT_EQ(f.tensor("b").shape()[0].name, "0");
  // Misaligned: the header has an odd length. A copy then, with equal numbers.
  ASSERT_NE(small_header.size() % 4, 0u);
  EXPECT_EQ(f.tensor("b").values<float const>()[1], -2.25f);
  EXPECT_NE(f.tensor("b").raw(), f.tensor("b").raw());

  std::string aligned(small_header);
  aligned.append(8 - aligned.size() % 8, ' ');
  wf::safetensors_file const g = open(file_of(aligned, small_file().substr(8 + small_header.size())));
  EXPECT_EQ(g.tensor("b").raw(), g.tensor("b").raw());
  EXPECT_EQ(g.tensor("b").values<float const>()[0], 1.5f);

  refusal("x.safetensors", [&] { f.tensor("c"); });
  refusal("x.safetensors", [&] { f.tensor("b", {"x", "y"}); });
}

TEST_F(safetensors_test, tensors_outlive_the_file_object_and_the_name) {
  wf::tensor t;
  {
    std::string const path = make("x.safetensors", small_file());
    t = wf::safetensors_file::open(path).tensor("b");
    fs::remove(path);
  }
  EXPECT_EQ(t.values<float const>()[0], 1.5f);
}

TEST_F(safetensors_test, every_truncation_and_any_extension_is_refused) {
  std::string const whole = small_file();
  open(whole);
  for (std::size_t n = 0; n < whole.size(); ++n) refused(whole.substr(0, n), "");
  refused(whole + '\0', "bytes follow the last tensor");
  refused(whole + whole, "bytes follow the last tensor");
}

TEST_F(safetensors_test, header_length) {
  std::string s = small_file();
  for (std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{s.size() - 7}, std::uint64_t{100'000'001},
                          std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    std::memcpy(s.data(), &n, 8);
    refused(s, "");
  }
  refused(file_of(" {}"), "doesn't begin with '{'");
  header_refused("{}x", "x");
  header_refused("{}{}", "");
  header_refused(std::string_view("{}\0", 3), "NUL byte");
  header_refused(std::string_view("{}\0hidden", 9), "NUL byte");
  header_refused("[]", "doesn't begin");
  header_refused("{", "");
  EXPECT_TRUE(open(file_of("{}")).names().empty());
  EXPECT_TRUE(open(file_of("{}      ")).names().empty());
  header_refused("{}", "4 bytes follow the last tensor", 4);
}

TEST_F(safetensors_test, entries) {
  header_refused(R"({"a":1})", "a: expected an object");
  header_refused(R"({"a":[]})", "a: expected an object");
  header_refused(R"({"a":{}})", "\"dtype\" is missing");
  header_refused(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "\"shape\" is missing", 4);
  header_refused(R"({"a":{"dtype":"F32","shape":[1]}})", "\"data_offsets\" is missing", 4);
  header_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":1}})", "a: extra: unknown field", 4);
  for (char const* type : {"I4", "F16x2", "f32", "", "FLOAT"})
    header_refused(std::string(R"({"a":{"dtype":")") + type + R"(","shape":[1],"data_offsets":[0,1]}})",
                   std::string("type \"") + type + "\" is not supported", 1);
  for (char const* type : {"I8", "F8_E5M2"})
    header_refused(std::string(R"({"a":{"dtype":")") + type + R"(","shape":[2],"data_offsets":[0,1]}})", "2 bytes", 1);
  header_refused(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", "whole bytes", 1);
  header_refused(R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", "expected a string", 4);
  for (char const* shape : {"1", "null", "{}", "\"1\""})
    header_refused(std::string(R"({"a":{"dtype":"U8","shape":)") + shape + R"(,"data_offsets":[0,1]}})",
                   "a: shape: expected an array", 1);
  for (char const* size : {"-1", "1.0", "1e0", "\"1\"", "null", "true", "9223372036854775808"})
    header_refused(std::string(R"({"a":{"dtype":"U8","shape":[)") + size + R"(],"data_offsets":[0,1]}})", "a: ", 1);
  header_refused(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", "nested more than 3 deep", 1);
  header_refused(R"({"a":{"dtype":"U8","shape":[18446744073709551617],"data_offsets":[0,1]}})", "doesn't fit 64 bits", 1);
  header_refused(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})",
                 "more than 16 dimensions", 1);
  // 2^32 * 2^32 and 2^62 * 4 are 0 in 64 bits; with a 0 in the shape, the strides would still overflow.
  header_refused(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "overflows");
  header_refused(R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", "overflows");
  header_refused(R"({"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})", "overflows");
  header_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "8 bytes, data_offsets 4", 4);
  header_refused(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,0]}})", "4 bytes, data_offsets 0");
}

TEST_F(safetensors_test, names_and_metadata) {
  std::string const entry = R"(:{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  header_refused(R"({"a")" + entry + R"(,"a")" + entry + "}", "duplicate key \"a\"");
  header_refused(R"({"a")" + entry + R"(,"\u0061")" + entry + "}", "duplicate key \"a\"");
  header_refused(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", "duplicate key \"dtype\"");
  header_refused(R"({"__metadata__":{},"__metadata__":{}})", "duplicate key");
  header_refused(R"({"")" + entry + "}", "names are 1 to 512 bytes");
  header_refused(R"({"a\u0000b")" + entry + "}", "control");
  header_refused(R"({"a\nb")" + entry + "}", "control");
  header_refused("{\"" + std::string(513, 'n') + "\"" + entry + "}", "names are 1 to 512 bytes");
  header_refused("{\"\xff\"" + entry + "}", "UTF-8");
  open(file_of("{\"" + std::string(512, 'n') + "\"" + entry + "}"));
  open(file_of("{\"\xc3\xa9\"" + entry + "}"));
  header_refused(R"({"__metadata__":[]})", "expected an object");
  header_refused(R"({"__metadata__":{"a":1}})", "__metadata__: a: expected a string");
  header_refused(R"({"__metadata__":{"a":{}}})", "expected a string");
  header_refused(R"({"__metadata__":null})", "expected an object");
}

TEST_F(safetensors_test, offsets_leave_no_hole_and_no_overlap) {
  auto const two = [](char const* a, char const* b) {
    return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + a +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  open(file_of(two("[0,4]", "[4,8]"), std::string(8, '\0')));
  open(file_of(two("[4,8]", "[0,4]"), std::string(8, '\0')));
  header_refused(two("[0,4]", "[0,4]"), "overlaps", 4);
  header_refused(two("[0,4]", "[3,7]"), "overlaps", 7);
  header_refused(two("[0,4]", "[5,9]"), "hole", 9);
  header_refused(two("[1,5]", "[5,9]"), "hole", 9);
  header_refused(two("[0,4]", "[4,8]"), "expected an integer in 0..7", 7);
  header_refused(two("[0,4]", "[8,4]"), "end is before begin", 8);
  header_refused(two("[0,4]", "[-4,0]"), "expected an integer", 8);
  header_refused(two("[0,4]", "[4,18446744073709551615]"), "expected an integer", 8);
  header_refused(two("[0,4]", "[4]"), "expected [begin, end]", 8);
  header_refused(two("[0,4]", "[4,8,12]"), "expected [begin, end]", 8);
  header_refused(two("[0,4]", "{}"), "expected [begin, end]", 8);
  header_refused(two("[0,4]", "[4.0,8]"), "expected an integer", 8);
}

TEST_F(safetensors_test, empty_tensors_and_rank_zero_are_legal) {
  auto const f = open(
      file_of(R"({"e":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},"s":{"dtype":"U8","shape":[],"data_offsets":[0,1]},)"
              R"("f":{"dtype":"F64","shape":[3,0],"data_offsets":[1,1]},"g":{"dtype":"BOOL","shape":[1],"data_offsets":[1,2]},)"
              R"("h":{"dtype":"I64","shape":[0],"data_offsets":[1,1]},"i":{"dtype":"F16","shape":[0],"data_offsets":[2,2]}})",
              "\x05\x01"));
  EXPECT_EQ(f.tensor("e").count(), 0u);
  EXPECT_EQ(f.tensor("e").size(1), 5u);
  EXPECT_TRUE(f.tensor("e").defined());
  EXPECT_TRUE(f.tensor("f").defined());
  EXPECT_TRUE(f.tensor("i").defined());
  EXPECT_EQ(f.tensor("s").get({}), 5.0);
  EXPECT_EQ(f.tensor("g").type(), wf::dtype::u8);
  EXPECT_EQ(f.tensor("g").get({0}), 1.0);
  header_refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                 "overlaps", 4);
}

TEST_F(safetensors_test, rank_seven_is_told_but_not_made) {
  auto const f = open(file_of(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[0,1]}})", "x"));
  EXPECT_EQ(f.find("a")->shape.size(), 7u);
  EXPECT_NE(refusal("x.safetensors", [&] { f.tensor("a"); }).find("at most 6"), std::string::npos);
}

TEST_F(safetensors_test, deep_and_wide_headers_are_refused_soon) {
  std::string deep = "{\"a\":";
  deep.append(100'000, '[').append(100'000, ']').append("}");
  header_refused(deep, "nested more than 3 deep");
  deep.clear();
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  header_refused(deep, "nested more than 3 deep");
  std::string wide = R"({"a":{"dtype":"U8","shape":[0)";
  for (int i = 0; i < 1'000'000; ++i) wide += ",0";
  header_refused(wide + R"(],"data_offsets":[0,0]}})", "values");
}

TEST_F(safetensors_test, other_formats_are_recognised) {
  refused(std::string("PK\x03\x04\x14\0\0\0\x08\0", 10) + std::string(100, 'x'), "is a pickle");
  refused(std::string("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9", 9) + std::string(100, 'x'), "is a pickle");
  refused(std::string("\x80\x04\x95", 3), "is a pickle");
  refused("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull");
  refused(std::string("GGUF\x03\0\0\0", 8) + "xxxxxxxx", "GGUF");
  refused("\x89HDF\r\n\x1a\n........", "HDF5");
  refused("<html><body>404</body></html>", "not a safetensors file");
  refused("", "0 bytes");
  // A header of 640 bytes makes a legal file begin with 80 02, as pickles do.
  std::string header = "{}";
  header.append(640 - header.size(), ' ');
  open(file_of(header));
  make("pytorch_model.bin", "PK\x03\x04");
  EXPECT_NE(refusal("pytorch_model.bin", [&] { wf::open_checkpoint(folder_.string() + "/pytorch_model.bin"); }).find("convert"),
            std::string::npos);
  EXPECT_NE(refusal("pytorch_model.bin", [&] { wf::open_checkpoint(folder_.string()); }).find("convert"), std::string::npos);
}

TEST_F(safetensors_test, missing_files_are_named) {
  refusal("none.safetensors", [&] { wf::safetensors_file::open(in_folder("none.safetensors")); });
  refusal(folder_.string(), [&] { wf::safetensors_file::open(folder_.string()); });
  refusal(folder_.string(), [&] { wf::open_checkpoint(folder_.string()); });
  refusal("nowhere", [&] { wf::open_checkpoint(in_folder("nowhere")); });
}

TEST_F(safetensors_test, random_mutations_are_read_or_refused_never_worse) {
  std::string const whole = small_file();
  std::mt19937 random(3);
  std::size_t accepted = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string bad = whole;
    for (unsigned k = 0; k <= random() % 4; ++k) {
      std::size_t const at = random() % (bad.size() - 12);
      switch (random() % 4) {
        case 0:
          bad[at] = static_cast<char>(random() % 256);
          break;
        case 1:
          bad[at] = "0123456789[]{},:\"-"[random() % 18];
          break;
        case 2:
          bad.erase(8 + at % (bad.size() - 20), 1 + random() % 3);
          break;
        default:
          bad.insert(8 + at % (bad.size() - 20), bad.substr(at, random() % 12));
          break;
      }
      std::uint64_t const n = bad.size() - 20;
      if (random() % 8) std::memcpy(bad.data(), &n, 8);
    }
    auto const held = std::make_shared<std::string>(bad);
    try {
      auto const f = wf::safetensors_file::view(std::as_bytes(std::span(*held)), "mutant", held);
      for (auto const& name : f.names()) {
        wf::tensor const t = f.tensor(name);
        double sum = 0;
        for (std::size_t b = 0; b < t.bytes(); ++b) sum += static_cast<unsigned char const*>(t.raw())[b];
        EXPECT_GE(sum, 0);
      }
      ++accepted;
    } catch (wf::data_error const& e) {
      EXPECT_NE(std::string(e.what()).find("mutant"), std::string::npos) << e.what();
    }
  }
  EXPECT_GT(accepted, 0u);
}

TEST_F(safetensors_test, writes_what_it_reads_back) {
  std::vector<double> const numbers{1, -2.5, 3e300, 0, 5, 6};
  named_tensors out;
  out.emplace_back("bytes", wf::tensor::of(std::vector<std::uint8_t>{1, 2, 255}, {{"x", 3}}));
  out.emplace_back("f64", wf::tensor::of(numbers, {{"row", 2}, {"col", 3}}));
  out.emplace_back("across", out.back().second.transposed());
  out.emplace_back("i64", wf::tensor::of(std::vector<std::int64_t>{-1, std::int64_t{1} << 62}, {{"x", 2}}));
  out.emplace_back("i32", wf::tensor::of(std::vector<std::int32_t>{-1}, {}));
  out.emplace_back("f32", wf::tensor::of(std::vector<float>{0.5f}, {{"x", 1}}));
  out.emplace_back("f16", wf::tensor(wf::dtype::f16, {{"x", 3}}));
  out.emplace_back("bf16", wf::tensor(wf::dtype::bf16, {{"x", 1}}));
  out.emplace_back("none \"quoted\" \xc3\xa9", wf::tensor(wf::dtype::f32, {{"x", 0}, {"y", 4}}));
  std::string const path = in_folder("out.safetensors");
  wf::write_safetensors(path, out, {{"format", "pt"}, {"note", "two\nlines"}});

  std::string const bytes = wf::read_text(path, 1 << 20);
  std::uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  auto const f = wf::safetensors_file::open(path);
  ASSERT_EQ(f.names().size(), out.size());
  EXPECT_EQ(f.metadata().at("note"), "two\nlines");
  for (std::size_t i = 0; i < out.size(); ++i) {
    auto const& [name, t] = out[i];
    EXPECT_EQ(f.names()[i], name);
    wf::tensor const back = f.tensor(name), again = f.tensor(name);
    EXPECT_EQ(back.raw(), again.raw()) << name << " is not aligned";
    EXPECT_EQ(back.type(), t.type());
    ASSERT_EQ(back.rank(), t.rank());
    for (std::size_t a = 0; a < t.rank(); ++a) EXPECT_EQ(back.size(a), t.size(a));
    wf::tensor const whole = t.clone();
    EXPECT_EQ(std::memcmp(back.raw(), whole.raw(), whole.bytes()), 0) << name;
  }
  EXPECT_EQ(f.tensor("across").get({2, 1}), 6.0);

  wf::write_safetensors(path, out, {{"format", "pt"}, {"note", "two\nlines"}});
  EXPECT_EQ(wf::read_text(path, 1 << 20), bytes);
  wf::write_safetensors(path, {});
  EXPECT_TRUE(wf::safetensors_file::open(path).names().empty());
}

TEST_F(safetensors_test, refuses_to_write_what_it_would_not_read) {
  wf::tensor const t(wf::dtype::f32, {{"x", 1}});
  std::string const path = in_folder("out.safetensors");
  for (named_tensors const& bad :
       {named_tensors{{"a", t}, {"a", t}}, named_tensors{{"", t}}, named_tensors{{"__metadata__", t}}, named_tensors{{"a\n", t}},
        named_tensors{{std::string(513, 'a'), t}}, named_tensors{{"\xff", t}}, named_tensors{{"a", wf::tensor()}}})
    refusal("out.safetensors", [&] { wf::write_safetensors(path, bad); });
  EXPECT_THROW(wf::write_safetensors(in_folder("missing/out.safetensors"), named_tensors{{"a", t}}), wf::resource_error);
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(safetensors_test, shards_are_one_checkpoint) {
  auto const t = [](float x) { return wf::tensor::of(std::vector<float>{x}, {{"x", 1}}); };
  wf::write_safetensors(in_folder("m-1.safetensors"), named_tensors{{"a", t(1)}, {"b", t(2)}}, {{"format", "pt"}});
  wf::write_safetensors(in_folder("m-2.safetensors"), named_tensors{{"c", t(3)}});
  auto const index = [&](std::string const& map) {
    make("model.safetensors.index.json", R"({"metadata":{"total_size":12},"weight_map":)" + map + "}");
  };
  index(R"({"c":"m-2.safetensors","a":"m-1.safetensors","b":"m-1.safetensors"})");
  wf::checkpoint const c = wf::open_checkpoint(folder_.string());
  EXPECT_EQ(c.names(), (std::vector<std::string>{"c", "a", "b"}));
  EXPECT_EQ(c.tensor("c").get({0}), 3.0);
  EXPECT_EQ(c.tensor("b", {"d"}).size("d"), 1u);
  EXPECT_EQ(c.find("a")->type, wf::dtype::f32);
  EXPECT_EQ(c.find("d"), nullptr);
  ASSERT_EQ(c.files().size(), 3u);
  EXPECT_TRUE(c.files()[2].ends_with("index.json"));
  refusal(folder_.string(), [&] { c.tensor("d"); });

  auto const refused_index = [&](std::string const& map, std::string const& why) {
    index(map);
    std::string const what = refusal(folder_.string(), [&] { wf::open_checkpoint(folder_.string()); });
    EXPECT_NE(what.find(why), std::string::npos) << what;
  };
  refused_index(R"({"a":"m-1.safetensors","b":"m-1.safetensors","c":"m-1.safetensors"})",
                "no such tensor in \"m-1.safetensors\"");
  refused_index(R"({"a":"m-1.safetensors","c":"m-2.safetensors"})", "is not in the index");
  refused_index(R"({"a":"m-1.safetensors","b":"m-2.safetensors","c":"m-2.safetensors"})",
                "tensor is in \"m-1.safetensors\" instead");
  refused_index(R"({"a":"m-1.safetensors","b":"m-1.safetensors","c":"m-2.safetensors","d":"m-2.safetensors"})",
                "d: no such tensor");
  refused_index(R"({"a":"m-1.safetensors","b":"m-1.safetensors","c":"m-3.safetensors"})", "No such file");
  refused_index(R"({"a":"m-1.safetensors","a":"m-2.safetensors"})", "duplicate key");
  for (char const* name : {"../m-1.safetensors", "/etc/passwd", "sub/m.safetensors", "..", "", ".hidden.safetensors", "m-1.bin",
                           "a\\\\b.safetensors", "m\\u0000.safetensors"})
    refused_index(std::string(R"({"a":")") + name + "\"}", "expected the name of a .safetensors file");
  refused_index("[]", "expected an object");
  refused_index(R"({"a":1})", "expected a string");
  make("model.safetensors.index.json", "{}");
  refusal("index.json", [&] { wf::open_checkpoint(folder_.string()); });

  wf::write_safetensors(in_folder("m-2.safetensors"), named_tensors{{"c", t(3)}, {"a", t(4)}});
  refused_index(R"({"a":"m-1.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"})", "is also in");

  // One whole file goes before the index, as in Hugging Face's own loader.
  wf::write_safetensors(in_folder("model.safetensors"), named_tensors{{"w", t(9)}});
  EXPECT_EQ(wf::open_checkpoint(folder_.string() + "/").names(), std::vector<std::string>{"w"});
  EXPECT_EQ(wf::open_checkpoint(in_folder("m-2.safetensors")).names().size(), 2u);
}

TEST_F(safetensors_test, files_of_others) {
  char const* const data = std::getenv("WAYFARER_DATA");
  if (!data) GTEST_SKIP() << "WAYFARER_DATA is not set";
  std::size_t files = 0;
  for (auto const& e : fs::recursive_directory_iterator(data)) {
    if (e.path().extension() != ".safetensors") continue;
    auto const f = wf::safetensors_file::open(e.path().string());
    for (auto const& entry : f.entries()) EXPECT_EQ(f.tensor(entry.name).bytes(), entry.end - entry.begin) << entry.name;
    ++files;
  }
  EXPECT_GT(files, 0u);
}
