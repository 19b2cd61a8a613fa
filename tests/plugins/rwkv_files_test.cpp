// Files of RWKVs: those of rwkv.cpp, trained and written here anew from the small folders; configurations and files that are
// refused, and what is said; the logits that others' programs gave where the data is (WAYFARER_DATA).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <wayfarer/pretrained.hpp>

#include "golden_models.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;
using testing::AllOf;
using testing::HasSubstr;

std::string const versions[] = {"rwkv4-small", "rwkv5.1-small", "rwkv5.2-small", "rwkv6-small", "rwkv7-small"};

// ---- a writer of rwkv.cpp's files
// ----------------------------------------------------------------------------------------------

struct entry {
  std::vector<std::size_t> shape;
  std::vector<float> values;
};

void put_int(std::string& to, std::size_t n) {
  auto const v = static_cast<std::int32_t>(n);
  to.append(reinterpret_cast<char const*>(&v), 4);
}

std::string file_of(std::map<std::string, entry> const& all, std::size_t vocabulary, std::size_t width, std::size_t layers,
                    bool half = false) {
  std::string out;
  for (std::size_t const n : {std::size_t{0x67676d66}, std::size_t{101}, vocabulary, width, layers, std::size_t{half}})
    put_int(out, n);
  for (auto const& [name, t] : all) {
    bool const as_half = half && t.shape.size() > 1 && name.find("time_") == std::string::npos;
    put_int(out, t.shape.size()), put_int(out, name.size()), put_int(out, as_half);
    for (std::size_t i = t.shape.size(); i-- > 0;) put_int(out, t.shape[i]);
    out += name;
    for (float const x : t.values) {
      auto const bits = half_bits(x);
      if (as_half)
        out.append(reinterpret_cast<char const*>(&bits), 2);
      else
        out.append(reinterpret_cast<char const*>(&x), 4);
    }
  }
  return out;
}

/// Rows and columns of the last two dimensions changed places, which `shape` then names.
std::vector<float> turned(stored const& t) {
  std::size_t const rows = t.shape[t.shape.size() - 2], columns = t.shape.back(), block = rows * columns;
  std::vector<float> out(t.values.size());
  for (std::size_t b = 0; b < t.values.size() / block; ++b)
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < columns; ++c) out[b * block + c * rows + r] = t.values[b * block + r * columns + c];
  return out;
}

std::string replaced(std::string s, std::string const& from, std::string const& to) {
  if (auto const at = s.find(from); at != std::string::npos) s.replace(at, from.size(), to);
  return s;
}

/// A small folder's weights as rwkv.cpp's converter writes them.
std::map<std::string, entry> as_rwkv_cpp(std::string const& folder) {
  std::map<std::string, entry> out;
  bool const one = folder.starts_with("rwkv5.1"), seven = folder.starts_with("rwkv7"), six = folder.starts_with("rwkv6"),
             four = folder.starts_with("rwkv4");
  for (auto const& [stored_name, t] : read_weights(data_folder(folder))) {
    std::string name = stored_name;
    entry e{t.shape, t.values};
    if (seven) {
      for (auto const& [from, to] : std::vector<std::pair<std::string, std::string>>{{"model.layers.", "blocks."},
                                                                                     {"model.embeddings", "emb"},
                                                                                     {"pre_norm", "ln0"},
                                                                                     {"attn_norm", "ln1"},
                                                                                     {"ffn_norm", "ln2"},
                                                                                     {"model.norm", "ln_out"},
                                                                                     {"lm_head", "head"},
                                                                                     {"attn.g_norm", "att.ln_x"},
                                                                                     {"attn.r_proj", "att.receptance"},
                                                                                     {"attn.k_proj", "att.key"},
                                                                                     {"attn.v_proj", "att.value"},
                                                                                     {"attn.o_proj", "att.output"},
                                                                                     {".attn.", ".att."}})
        name = replaced(name, from, to);
      for (char const* letter : {"w", "a", "v", "g"}) {
        std::string const at = std::string("att.") + letter;
        name = replaced(name, at + "_lora.lora.0.weight", at + "1"), name = replaced(name, at + "_lora.lora.2.weight", at + "2");
        name = replaced(name, at + "_lora.lora.2.bias", at + "0");
      }
      if (auto const at = name.find("att.x_"); at != std::string::npos) {
        std::size_t const row = std::string("rwkvag").find(name.back()), d = e.values.size();
        auto& all = out[name.substr(0, at) + "att.x_rwkvag"];
        all.shape = {6, 1, d}, all.values.resize(6 * d);
        std::copy(e.values.begin(), e.values.end(), all.values.begin() + static_cast<std::ptrdiff_t>(row * d));
        continue;
      }
    } else {
      for (auto const& [from, to] : std::vector<std::pair<std::string, std::string>>{{"rwkv.", ""},
                                                                                     {"embeddings", "emb"},
                                                                                     {"pre_ln", "ln0"},
                                                                                     {"attention.", "att."},
                                                                                     {"feed_forward.", "ffn."},
                                                                                     {"time_mix_key", "time_mix_k"},
                                                                                     {"time_mix_value", "time_mix_v"},
                                                                                     {"time_mix_receptance", "time_mix_r"},
                                                                                     {"time_mix_gate", "time_mix_g"}})
        name = replaced(name, from, to);
      bool const decay = name.ends_with("time_decay"), first = name.ends_with("time_first");
      if (six && (name.ends_with("_w1") || name.ends_with("_w2"))) {
        e.values = turned(t);
        std::swap(e.shape[e.shape.size() - 1], e.shape[e.shape.size() - 2]);
      } else if (name.find(".time_") != std::string::npos) {
        std::erase(e.shape, std::size_t{1});
        if (e.shape.empty()) e.shape = {1};
        if (!four && !six && (decay || first || name.ends_with("time_faaaa"))) e.shape.push_back(1);
      }
      for (auto& x : e.values) {
        if (decay && four) x = -std::exp(x);
        if (decay && !four && !six) x = std::exp(-std::exp(x));
        if (first && one) x = std::exp(x);
      }
    }
    out[name] = e;
  }
  return out;
}

std::string small_file(std::string const& folder, bool half = false) {
  auto const config = read_json(data_folder(folder) + "/config.json");
  return file_of(as_rwkv_cpp(folder), 19, static_cast<std::size_t>(config.at("hidden_size").as_integer()), 2, half);
}

batch one_text(std::vector<std::int32_t> const& ids) {
  batch b;
  b.tokens.push_back(ids);
  return b;
}

TEST(rwkv_cpp_file, gives_the_logits_of_the_folder_that_it_was_made_of) {
  for (auto const& folder : versions)
    for (bool const half : {false, true}) {
      scratch_folder to;
      write_text(to.file("model.bin"), small_file(folder, half));
      auto const m = open_model("rwkv", to.file("model.bin")), twin = open_model("rwkv", data_folder(folder));
      EXPECT_THAT(dynamic_cast<pretrained const&>(*m).remarks(), testing::IsEmpty()) << folder;
      EXPECT_EQ(m->info().weights, twin->info().weights);
      auto const b = one_text({3, 1, 4, 1, 5, 9, 2, 6});
      auto const got = run_hooks(*m, b, {"*"}, dtype::f64), want = run_hooks(*twin, b, {"*"}, dtype::f64);
      if (folder == "rwkv7-small") {  // its heads of 5 have an epsilon of their own, where the file's is that of heads of 64
        golden const small(data_folder(folder));
        auto const logits = run_hooks(*m, small.make({0}), {"logits"}, dtype::f64);
        EXPECT_LE(distance(logits.at("logits", 0), small.at(0, "wrong/group epsilon")), 1e-6);
        continue;
      }
      for (auto const& h : twin->info().hooks)
        EXPECT_LE(distance(got.at(h.name, 0), want.at(h.name, 0)), 1e-5) << folder << h.name;
    }
}

/// What opening a file of these bytes, and running it, says.
std::string says(std::string const& bytes) {
  scratch_folder to;
  write_text(to.file("model.bin"), bytes);
  try {
    auto const m = open_model("rwkv", to.file("model.bin"));
    run_hooks(*m, one_text({1, 2}), {"logits"});
  } catch (data_error const& e) {
    return e.what();
  } catch (std::exception const& e) {
    return std::string("another error: ") + e.what();
  }
  return "";
}

TEST(rwkv_cpp_file, that_is_cut_off_or_damaged_is_refused_with_the_place) {
  std::string const whole = small_file("rwkv4-small");
  EXPECT_EQ(says(whole), "");
  for (std::size_t n = 4; n < whole.size(); n += n < 400 ? 1 : 97) {
    std::string const said = says(whole.substr(0, n));
    EXPECT_FALSE(said.empty()) << n;
    EXPECT_FALSE(said.starts_with("another error")) << n << said;
  }
  auto const with = [&](std::size_t at, std::int32_t value) {
    std::string bytes = whole;
    std::memcpy(bytes.data() + at, &value, 4);
    return says(bytes);
  };
  EXPECT_THAT(with(4, 99), AllOf(HasSubstr("version 99"), HasSubstr("100 and 101")));
  for (std::size_t const at : {8, 12, 16})
    for (std::int32_t const n : {0, -1, 0x7fffffff}) EXPECT_THAT(with(at, n), HasSubstr("in the header is")) << at;
  EXPECT_THAT(with(12, 11), HasSubstr("ask for"));
  EXPECT_THAT(with(16, 3), AllOf(HasSubstr("lacks 18 tensors"), HasSubstr("blocks.2.attention.key.weight")));
  EXPECT_THAT(with(24, 5), HasSubstr("dimensions"));
  EXPECT_THAT(with(28, 100'000), HasSubstr("name"));
  for (std::int32_t const n : {0, -1, 0x7fffffff}) EXPECT_FALSE(with(36, n).empty());
  EXPECT_THAT(with(32, 2), AllOf(HasSubstr("Q4_0"), HasSubstr("FP32 (0) and FP16 (1)")));
  EXPECT_THAT(with(32, 77), HasSubstr("type 77"));
  auto all = as_rwkv_cpp("rwkv4-small");
  std::string const twice = file_of({*all.begin()}, 19, 10, 2).substr(24);
  EXPECT_THAT(says(whole + twice), HasSubstr("comes twice"));
  all.erase("blocks.1.att.time_decay");
  EXPECT_THAT(says(file_of(all, 19, 10, 2)), HasSubstr("blocks.1.attention.time_decay"));
  all = as_rwkv_cpp("rwkv7-small");
  all["blocks.0.att.r_k"] = {{2, 7}, std::vector<float>(14)};
  EXPECT_THAT(says(file_of(all, 19, 15, 2)), HasSubstr("heads do not divide"));
}

TEST(rwkv_cpp_file, names_what_nothing_reads) {
  auto all = as_rwkv_cpp("rwkv5.2-small");
  all["blocks.0.att.sauce"] = {{1}, {1.0f}};
  scratch_folder to;
  write_text(to.file("model.bin"), file_of(all, 19, 15, 2));
  auto const m = open_model("rwkv", to.file("model.bin"));
  EXPECT_THAT(dynamic_cast<pretrained const&>(*m).remarks(), testing::ElementsAre(HasSubstr("blocks.0.att.sauce")));
}

// ---- configurations ----------------------------------------------------------------------------------------------------------

std::string folder_says(std::string const& of, std::map<std::string, json_value> const& changes,
                        std::set<std::string> const& without = {}) {
  scratch_folder to;
  write_text(to.file("config.json"), config_with(data_folder(of), changes, without));
  std::filesystem::copy(data_folder(of) + "/model.safetensors", to.file("model.safetensors"));
  try {
    open_model("rwkv", to.path());
  } catch (data_error const& e) {
    return e.what();
  } catch (std::exception const& e) {
    return std::string("another error: ") + e.what();
  }
  return "";
}

TEST(rwkv_config, a_key_out_of_range_is_an_error_that_names_it) {
  for (auto const& folder : versions)
    for (char const* key : {"vocab_size", "num_hidden_layers", "hidden_size", "intermediate_size"})
      for (json_value const& value : {json_value(0), json_value(-3), json_value(std::int64_t{1} << 40), json_value("many"),
                                      json_value(2.5), json_value::array({1})})
        EXPECT_THAT(folder_says(folder, {{key, value}}), HasSubstr(std::string("config.json: ") + key)) << to_json(value);
  EXPECT_THAT(folder_says("rwkv4-small", {{"attention_hidden_size", 0}}), HasSubstr("attention_hidden_size"));
  EXPECT_THAT(folder_says("rwkv4-small", {{"layer_norm_epsilon", -1.0}}), HasSubstr("layer_norm_epsilon"));
  EXPECT_THAT(folder_says("rwkv5.2-small", {{"head_size", 4}}), AllOf(HasSubstr("4"), HasSubstr("do not divide 15")));
  EXPECT_THAT(folder_says("rwkv5.2-small", {{"num_attention_heads", 4}}), HasSubstr("4 heads of 5"));
  EXPECT_THAT(folder_says("rwkv5.2-small", {{"attention_hidden_size", 30}}), HasSubstr("is not hidden_size"));
  EXPECT_THAT(folder_says("rwkv5.2-small", {{"model_version", "5_3"}}),
              AllOf(HasSubstr("5_3"), HasSubstr("\"5_1\" and \"5_2\"")));
  EXPECT_THAT(folder_says("rwkv6-small", {{"head_size_divisor", 0}}), HasSubstr("head_size_divisor"));
  EXPECT_THAT(folder_says("rwkv7-small", {{"hidden_act", "gelu"}}), AllOf(HasSubstr("gelu"), HasSubstr("sqrelu")));
  EXPECT_THAT(folder_says("rwkv7-small", {{"norm_first", false}}), HasSubstr("norm_first"));
  EXPECT_THAT(folder_says("rwkv7-small", {{"value_dim", json_value::array({15, 30})}}), HasSubstr("value_dim"));
  EXPECT_THAT(folder_says("rwkv7-small", {{"attn", json_value::object({{"layers", json_value::array({1})}})}}),
              HasSubstr("only null is"));
  EXPECT_THAT(folder_says("rwkv7-small", {{"a_low_rank_dim", 9}}), AllOf(HasSubstr("a_lora"), HasSubstr("9")));
  EXPECT_THAT(folder_says("rwkv4-small", {{"sliding_window", 8}}), AllOf(HasSubstr("sliding_window"), HasSubstr("8")));
  EXPECT_THAT(folder_says("rwkv4-small", {{"quantization_config", json_value::object({{"bits", 4}})}}),
              HasSubstr("quantization_config"));
  EXPECT_THAT(folder_says("rwkv4-small", {{"model_type", "rwkv9"}}), AllOf(HasSubstr("rwkv9"), HasSubstr("rwkv7")));
  // At home in released folders, and without effect here.
  EXPECT_EQ(folder_says("rwkv4-small", {{"context_length", 1024}, {"rescale_every", 6}, {"use_cache", true}}), "");
}

TEST(rwkv_config, group_norms_follow_head_size_divisor) {
  scratch_folder to;
  write_text(to.file("config.json"), config_with(data_folder("rwkv5.2-small"), {{"head_size_divisor", 8}}));
  std::filesystem::copy(data_folder("rwkv5.2-small") + "/model.safetensors", to.file("model.safetensors"));
  golden const want(data_folder("rwkv5.2-small"));
  auto const got = run_hooks(*open_model("rwkv", to.path()), want.make({0}), {"logits"}, dtype::f64);
  EXPECT_LE(distance(got.at("logits", 0), want.at(0, "wrong/group epsilon")), 1e-6);
}

// ---- others' numbers ---------------------------------------------------------------------------------------------------------

std::string data_or_empty() {
  char const* const data = std::getenv("WAYFARER_DATA");
  return data ? data : "";
}

TEST(rwkv_published, trained_files_give_the_logits_of_rwkv_cpp) {
  if (data_or_empty().empty()) GTEST_SKIP() << "left out: WAYFARER_DATA is not set";
  for (std::string const name : {"4v0-660K", "5v2-730K", "7v0-834K"}) {
    std::string const from = data_or_empty() + "/models/rwkv-tiny/";
    auto const m = open_model("rwkv", from + "tiny-rwkv-" + name + "-FP32.bin");
    EXPECT_THAT(dynamic_cast<pretrained const&>(*m).remarks(), testing::IsEmpty()) << name;
    std::ifstream file(from + "expected-logits-" + name + ".bin", std::ios::binary);
    std::vector<float> want(256);
    file.read(reinterpret_cast<char*>(want.data()), 1024);
    ASSERT_EQ(file.gcount(), 1024);
    // The bytes "in
    batch b = one_text({'"', 'i', 'n'});
    for (auto const precision : {dtype::f64, dtype::f32}) {
      auto const got = numbers(run_hooks(*m, b, {"logits"}, precision).at("logits", 0)[2].clone());
      double worst = 0, largest = 0;
      for (std::size_t i = 0; i < 256; ++i)
        worst = std::max(worst, std::abs(got[i] - static_cast<double>(want[i]))),
        largest = std::max(largest, std::abs(static_cast<double>(want[i])));
      EXPECT_LE(worst, 5e-6 * std::max(1.0, largest)) << name;
      RecordProperty("largest_difference_" + name, std::to_string(worst));
    }
    EXPECT_EQ(m->text_tokenizer()->kind(), "bytes");
  }
}

}  // namespace
