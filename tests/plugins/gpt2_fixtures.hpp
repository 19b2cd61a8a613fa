// What the tests of gpt2 share: the model made through its descriptor, batches, and small checkpoints written on the spot.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/descriptor.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/safetensors.hpp>

extern "C" wayfarer::plugin_descriptor const* wayfarer_plugin();

namespace wayfarer::test {

using token_list = std::vector<std::int32_t>;

inline std::unique_ptr<model> open_gpt2(std::string const& path, std::string const& gelu = "auto", bool load = true) {
  config c;
  c.set("path", param_value(path));
  c.set("gelu", param_value(gelu));
  auto* const made = dynamic_cast<model*>(wayfarer_plugin()->create(c));
  if (!made) throw std::logic_error("gpt2 is not a model");
  std::unique_ptr<model> m(made);
  if (load) m->load();
  return m;
}

inline batch batch_of(std::vector<token_list> const& items) {
  batch b;
  for (auto const& i : items) b.tokens.push_back(i);
  return b;
}

inline run_request everything(model const& m, dtype precision = dtype::f32) {
  run_request r;
  r.capture = m.info().hooks_for("*");
  r.precision = precision;
  return r;
}
inline run_request only(model const& m, std::string const& pattern, dtype precision = dtype::f32) {
  run_request r;
  r.capture = m.info().hooks_for(pattern);
  r.precision = precision;
  return r;
}

/// Largest magnitude and largest difference of two tensors of equal sizes; -infinity in both counts as equal.
struct distance {
  double largest = 0, difference = 0;
  double relative() const { return largest > 0 ? difference / largest : difference; }
};
inline distance compare(tensor const& a, tensor const& b) {
  distance d;
  if (a.count() != b.count() || a.rank() != b.rank()) throw std::logic_error("tensors of different sizes");
  for (std::size_t i = 0; i < a.rank(); ++i)
    if (a.size(i) != b.size(i)) throw std::logic_error(describe(a.shape()) + " against " + describe(b.shape()));
  auto const x = a.to(dtype::f64), y = b.to(dtype::f64);
  for (std::size_t i = 0; i < x.count(); ++i) {
    double const u = x.values<double const>()[i], v = y.values<double const>()[i];
    if (u == v) {
      if (std::abs(v) <= 1e300) d.largest = std::max(d.largest, std::abs(v));
      continue;
    }
    d.largest = std::max(d.largest, std::abs(v));
    double const e = std::abs(u - v);
    d.difference = std::max(d.difference, e == e ? e : 1e300);
  }
  return d;
}

inline bool same_bytes(tensor const& a, tensor const& b) {
  return a.bytes() == b.bytes() && a.type() == b.type() && a.contiguous() && b.contiguous() &&
         std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// A folder that goes when the object goes.
class scratch_folder {
 public:
  scratch_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "wayfarer-gpt2-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  scratch_folder(scratch_folder const&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string path() const { return path_.string(); }
  std::filesystem::path operator/(std::string const& name) const { return path_ / name; }
  void write(std::string const& name, std::string const& text) const { std::ofstream(path_ / name) << text; }

 private:
  std::filesystem::path path_;
};

using named_tensors = std::vector<std::pair<std::string, tensor>>;

/// Random tensors of a GPT-2 checkpoint in Hugging Face's names.
inline named_tensors random_weights(std::size_t layers, std::size_t d, std::size_t vocabulary, std::size_t positions,
                                    std::string const& prefix = "", std::uint64_t seed = 0) {
  named_tensors out;
  auto const add = [&](std::string const& name, std::vector<std::size_t> sizes, double mean, double sd) {
    dims shape;
    std::size_t n = 1;
    for (auto const s : sizes) shape.push_back({std::to_string(shape.size()), s}), n *= s;
    std::vector<float> v(n);
    random_stream draw(seed, name);
    for (auto& x : v) x = static_cast<float>(mean + sd * draw.normal());
    out.emplace_back(prefix + name, tensor::of(v, shape));
  };
  add("wte.weight", {vocabulary, d}, 0, 0.3);
  add("wpe.weight", {positions, d}, 0, 0.1);
  for (std::size_t i = 0; i < layers; ++i) {
    auto const p = "h." + std::to_string(i) + ".";
    for (char const* norm : {"ln_1", "ln_2"}) add(p + norm + ".weight", {d}, 1, 0.2), add(p + norm + ".bias", {d}, 0, 0.1);
    for (auto const& [name, in, out_size] : {std::tuple{"attn.c_attn", d, 3 * d}, std::tuple{"attn.c_proj", d, d},
                                             std::tuple{"mlp.c_fc", d, 4 * d}, std::tuple{"mlp.c_proj", 4 * d, d}}) {
      add(p + name + ".weight", {in, out_size}, 0, 0.25);
      add(p + name + ".bias", {out_size}, 0, 0.1);
    }
  }
  add("ln_f.weight", {d}, 1, 0.2), add("ln_f.bias", {d}, 0, 0.1);
  return out;
}

inline json_value gpt2_config(std::size_t layers, std::size_t heads, std::size_t d, std::size_t vocabulary,
                              std::size_t positions) {
  return json_value::object({{"model_type", "gpt2"},
                             {"n_layer", layers},
                             {"n_head", heads},
                             {"n_embd", d},
                             {"n_positions", positions},
                             {"vocab_size", vocabulary},
                             {"activation_function", "gelu_new"}});
}

inline void write_checkpoint(scratch_folder const& to, json_value const& c, named_tensors const& weights) {
  to.write("config.json", to_json(c, 1));
  write_safetensors((to / "model.safetensors").string(), weights);
}

/// The folder of files that can't be shipped, or "".
inline std::string data_folder() {
  char const* const data = std::getenv("WAYFARER_DATA");
  return data ? data : "";
}

}  // namespace wayfarer::test
