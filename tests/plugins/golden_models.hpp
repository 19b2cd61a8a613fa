// Model plugins against what a reference computed: goldens of tests/data, comparison, checkpoints rewritten in other types.
#pragma once

#include <gtest/gtest.h>
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/safetensors.hpp>

#include "run_plugins.hpp"

namespace wayfarer::test {

inline std::string data_folder(std::string const& name) {
  return std::string(WAYFARER_SOURCE_DIR) + "/tests/data/" + name;
}

/// A folder that is gone at the end of the test.
class scratch_folder {
 public:
  scratch_folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "wayfarer-model-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  scratch_folder(scratch_folder const&) = delete;
  scratch_folder& operator=(scratch_folder const&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(std::string const& name) const { return path_ + "/" + name; }
  std::string const& path() const { return path_; }

 private:
  std::string path_;
};

/// A model of a folder, loaded.
inline std::unique_ptr<model> open_model(std::string const& id, std::string const& folder) {
  auto m = make<model>(id, {{"path", folder}});
  m->load();
  return m;
}

inline std::vector<std::int32_t> ids_of(tensor const& t) {
  auto const v = t.values<std::int32_t const>();
  return {v.begin(), v.end()};
}

/// golden.safetensors of a folder: activations of single items, "ITEM/HOOK".
class golden {
 public:
  explicit golden(std::string const& folder) : file_(safetensors_file::open(folder + "/golden.safetensors")) {
    for (auto const& e : file_.entries()) {
      auto const slash = e.name.find('/');
      hooks_[std::stoul(e.name.substr(0, slash))].insert(e.name.substr(slash + 1));
    }
    for (auto& [item, names] : hooks_)
      for (char const* input : {"ids", "decoder_ids", "states"}) names.erase(input);
  }
  std::vector<std::size_t> items() const {
    std::vector<std::size_t> all;
    for (auto const& [item, names] : hooks_) all.push_back(item);
    return all;
  }
  std::set<std::string> const& hooks(std::size_t item) const { return hooks_.at(item); }
  tensor at(std::size_t item, std::string const& name) const { return file_.tensor(std::to_string(item) + "/" + name); }
  bool has(std::size_t item, std::string const& name) const { return file_.find(std::to_string(item) + "/" + name) != nullptr; }
  /// These items as one batch; decoder tokens where the golden has them.
  batch make(std::vector<std::size_t> const& items) const {
    batch b;
    for (std::size_t i : items) {
      b.tokens.push_back(ids_of(at(i, "ids")));
      if (has(i, "decoder_ids")) b.decoder_tokens.push_back(ids_of(at(i, "decoder_ids")));
    }
    return b;
  }

 private:
  safetensors_file file_;
  std::map<std::size_t, std::set<std::string>> hooks_;
};

/// All elements in row-major order, as doubles.
inline std::vector<double> numbers(tensor const& t) {
  tensor const wide = t.to(dtype::f64);
  auto const v = wide.values<double const>();
  return {v.begin(), v.end()};
}

/// The largest difference, relative to the largest finite magnitude of `expected`. Infinities must stand at the same places.
inline double distance(tensor const& got, tensor const& expected) {
  if (got.rank() != expected.rank()) return INFINITY;
  for (std::size_t a = 0; a < got.rank(); ++a)
    if (got.size(a) != expected.size(a)) return INFINITY;
  auto const a = numbers(got), b = numbers(expected);
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isfinite(b[i]) != std::isfinite(a[i])) return INFINITY;
    if (!std::isfinite(b[i])) {
      if (a[i] != b[i]) return INFINITY;
      continue;
    }
    worst = std::max(worst, std::abs(a[i] - b[i])), largest = std::max(largest, std::abs(b[i]));
  }
  return worst == 0 ? 0 : worst / largest;
}

inline bool same_bytes(tensor const& a, tensor const& b) {
  if (a.type() != b.type() || a.count() != b.count()) return false;
  tensor const x = a.clone(), y = b.clone();
  return std::memcmp(x.raw(), y.raw(), x.bytes()) == 0;
}

/// Runs with every hook that reaches, under names that fit the patterns.
inline activations run_hooks(model const& m, batch const& b, std::vector<std::string> const& patterns,
                             dtype precision = dtype::f32, std::vector<hook_edit> edits = {}) {
  run_request request;
  request.capture = m.info().hooks_for(patterns);
  request.precision = precision;
  request.edits = std::move(edits);
  return m.run(b, request);
}

/// What is thrown, or "nothing was thrown".
template <class Error, class Body>
std::string thrown(Body&& body) {
  try {
    body();
  } catch (Error const& e) {
    return e.what();
  } catch (std::exception const& e) {
    return std::string("another error: ") + e.what();
  }
  return "nothing was thrown";
}

/// `body` on this many threads.
template <class Body>
auto on_threads(int threads, Body&& body) {
  tbb::global_control const allow(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads));
  tbb::task_arena arena(threads);
  return arena.execute(body);
}

// ---- checkpoints, rewritten ----------------------------------------------------------------------------------------------

/// A tensor as it will stand in a file; numbers are float32 in memory.
struct stored {
  std::vector<std::size_t> shape;
  std::vector<float> values;
};
using weights = std::map<std::string, stored>;

inline weights read_weights(std::string const& folder) {
  weights all;
  auto const file = open_checkpoint(folder);
  for (auto const& name : file.names()) {
    auto const wide = numbers(file.tensor(name));
    all[name] = {file.find(name)->shape, std::vector<float>(wide.begin(), wide.end())};
  }
  return all;
}

inline std::uint16_t half_bits(float x) {
  // Only for numbers that float16 holds exactly.
  auto const bits = std::bit_cast<std::uint32_t>(x);
  auto const sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  int const exponent = static_cast<int>(bits >> 23 & 0xffu) - 127;
  std::uint32_t const fraction = bits & 0x7fffffu;
  if (x == 0) return sign;
  if (exponent >= -14) return static_cast<std::uint16_t>(sign | static_cast<unsigned>(exponent + 15) << 10 | fraction >> 13);
  return static_cast<std::uint16_t>(sign | (fraction | 0x800000u) >> (-1 - exponent));
}

/// One safetensors file of the type "F64", "F32", "F16" or "BF16".
inline void write_weights(std::string const& path, weights const& all, std::string const& type) {
  std::string header = "{", data;
  for (auto const& [name, t] : all) {
    std::size_t const begin = data.size();
    for (float const x : t.values) {
      auto const put = [&](auto bits) { data.append(reinterpret_cast<char const*>(&bits), sizeof bits); };
      if (type == "F64")
        put(static_cast<double>(x));
      else if (type == "F32")
        put(x);
      else if (type == "F16")
        put(half_bits(x));
      else
        put(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16));
    }
    std::string shape;
    for (std::size_t s : t.shape) shape += (shape.empty() ? "" : ",") + std::to_string(s);
    header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"" + type + "\",\"shape\":[" + shape +
              "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  std::uint64_t const length = header.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<char const*>(&length), sizeof length);
  out << header << data;
}

inline void write_text(std::string const& path, std::string const& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// config.json of the folder with some members replaced.
inline std::string config_with(std::string const& folder, std::map<std::string, json_value> const& changes,
                               std::set<std::string> const& without = {}) {
  json_value const config = read_json(folder + "/config.json");
  json_value out = json_value::object();
  for (auto const& [key, value] : config.members())
    if (!without.contains(key)) out.set(key, value);
  for (auto const& [key, value] : changes) out.set(key, value);
  return to_json(out, 1);
}

/// A folder made of a golden's, with configuration and weights changed by the caller.
inline void write_folder(scratch_folder const& to, std::string const& config, weights const& all, std::string const& type) {
  write_text(to.file("config.json"), config);
  write_weights(to.file("model.safetensors"), all, type);
}

/// The weights dealt to two files with an index.
inline void write_sharded(scratch_folder const& to, std::string const& config, weights const& all, std::string const& type) {
  write_text(to.file("config.json"), config);
  weights shards[2];
  auto map = json_value::object();
  std::size_t i = 0;
  for (auto const& [name, t] : all) {
    shards[i % 2][name] = t;
    map.set(name, "model-0000" + std::to_string(i % 2 + 1) + "-of-00002.safetensors");
    ++i;
  }
  for (std::size_t s = 0; s < 2; ++s)
    write_weights(to.file("model-0000" + std::to_string(s + 1) + "-of-00002.safetensors"), shards[s], type);
  write_text(to.file("model.safetensors.index.json"), to_json(json_value::object({{"weight_map", map}})));
}

}  // namespace wayfarer::test
