#include "decoder_positions.hpp"

#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

namespace wayfarer::decoder {
namespace {

constexpr std::pair<std::string_view, rotary_scaling> kinds[] = {
    {"default", rotary_scaling::none},  {"linear", rotary_scaling::linear}, {"dynamic", rotary_scaling::dynamic},
    {"llama3", rotary_scaling::llama3}, {"yarn", rotary_scaling::yarn},     {"longrope", rotary_scaling::longrope},
    {"su", rotary_scaling::longrope}};

constexpr std::string_view known_keys =
    " rope_type type rope_theta partial_rotary_factor factor original_max_position_embeddings low_freq_factor high_freq_factor"
    " beta_fast beta_slow truncate attention_factor mscale mscale_all_dim short_factor long_factor finetuned ";

double number(json_value const& from, std::string_view key, double least, double most, double otherwise) {
  auto const v = from.find_set(key);
  return v ? v->as_number(least, most) : otherwise;
}

std::vector<float> factors(json_value const& from, std::string_view key, std::size_t count) {
  auto const list = from.at(key);
  if (list.size() != count)
    list.fail("has " + std::to_string(list.size()) + " factors, but " + std::to_string(count) + " planes of a head turn");
  std::vector<float> all;
  for (json_value const v : list.elements()) all.push_back(static_cast<float>(v.as_number(1e-6, 1e6)));
  return all;
}

/// One dictionary of rope_scaling or rope_parameters; `r` has theta, turned and positions.
void read_scaling(hf_config const& c, json_value const& from, rotary& r) {
  if (from.kind() != json_kind::object) from.fail("expected an object with rope_type, factor and what belongs to that type");
  for (auto const& [key, value] : from.members())
    if (!value.is_null() && known_keys.find(" " + key + " ") == std::string_view::npos)
      value.fail("is not known here; of a scaling of rotary positions this build reads" + std::string(known_keys));
  auto const type = from.find_set("rope_type") ? from.find_set("rope_type") : from.find_set("type");
  std::string const name = type ? type->as_string() : "default";
  bool found = false;
  for (auto const& [known, kind] : kinds)
    if (known == name) r.kind = kind, found = true;
  if (!found) type->fail("expected default, linear, dynamic, llama3, yarn or longrope, got " + in_quotes(name));
  if (r.kind == rotary_scaling::none) return;
  if (r.kind != rotary_scaling::longrope || from.find_set("factor")) r.factor = from.at("factor").as_number(1e-3, 1e6);
  auto const original = from.find_set("original_max_position_embeddings") ? from.find_set("original_max_position_embeddings")
                                                                          : c.find("original_max_position_embeddings");
  if (original) r.original = static_cast<std::size_t>(original->as_integer(2, model_limits::positions));
  if (r.kind == rotary_scaling::llama3) {
    from.at("original_max_position_embeddings");
    r.low = from.at("low_freq_factor").as_number(1e-6, 1e6), r.high = from.at("high_freq_factor").as_number(1e-6, 1e6);
    if (r.high <= r.low) from.at("high_freq_factor").fail("must be above low_freq_factor");
  }
  if (r.kind == rotary_scaling::dynamic && r.turned < 4)
    from.fail("dynamic scaling needs heads of which at least 4 numbers turn, not " + std::to_string(r.turned));
  r.fast = number(from, "beta_fast", 1e-3, 1e6, 32), r.slow = number(from, "beta_slow", 1e-3, 1e6, 1);
  if (r.slow >= r.fast) from.at("beta_slow").fail("must be below beta_fast");
  if (auto const v = from.find_set("truncate")) r.truncate = v->as_bool();
  if (auto const v = from.find_set("attention_factor")) r.amplitude = v->as_number(1e-6, 1e6);
  if (r.kind == rotary_scaling::yarn && !r.amplitude) {
    double const some = number(from, "mscale", 0, 1e6, 0), all = number(from, "mscale_all_dim", 0, 1e6, 0);
    auto const of = [&](double by) { return r.factor > 1 ? 0.1 * by * std::log(r.factor) + 1 : 1; };
    if (some > 0 && all > 0) r.amplitude = of(some) / of(all);
  }
  if (r.kind == rotary_scaling::longrope) {
    r.short_by = factors(from, "short_factor", r.turned / 2);
    r.long_by = factors(from, "long_factor", r.turned / 2);
  }
}

}  // namespace

void read_rotary(hf_config const& c, decoder_spec& s, rotary_defaults const& otherwise) {
  auto const now = c.find("rope_parameters"), before = c.find("rope_scaling");
  read_rotary(c, s, otherwise, now ? *now : before ? *before : json_value::object());
}

void read_rotary(hf_config const& c, decoder_spec& s, rotary_defaults const& otherwise, json_value const& from) {
  rotary r;
  r.pairs = otherwise.pairs, r.positions = s.positions;
  bool const inside = from.kind() == json_kind::object && !c.find("rope_theta") && from.find_set("rope_theta");
  r.theta = inside ? from.at("rope_theta").as_number(1.001, 1e15) : c.number("rope_theta", 1.001, 1e15, otherwise.theta);
  bool const part_inside = from.kind() == json_kind::object && from.find_set("partial_rotary_factor");
  double const part =
      part_inside ? from.at("partial_rotary_factor").as_number(0, 1) : c.number("partial_rotary_factor", 0, 1, otherwise.part);
  r.turned = static_cast<std::size_t>(static_cast<double>(s.d_head) * part);
  if (r.turned == 0 || r.turned % 2 != 0)
    c.json().fail("of each head of " + std::to_string(s.d_head) + " numbers " + std::to_string(r.turned) +
                  " would turn (partial_rotary_factor); an even number can, and at least 2");
  read_scaling(c, from, r);
  s.position = positions_kind::rotary;
  s.rotations = {r};
  for (auto& layer : s.each) layer.turns = true, layer.rotation = 0;
  // Beyond its positions a dynamic scaling begins to stretch.
  if (r.kind == rotary_scaling::dynamic)
    s.positions = static_cast<std::size_t>(static_cast<double>(s.positions) * std::max(r.factor, 1.0));
}

std::size_t read_window(hf_config const& c, std::size_t absent) {
  if (!c.json().find("sliding_window")) return absent;
  auto const given = c.find("sliding_window");
  return given ? static_cast<std::size_t>(given->as_integer(1, model_limits::positions)) : 0;
}

void set_windows(hf_config const& c, decoder_spec& s, std::size_t window, std::function<bool(std::size_t)> const& local) {
  auto const types = c.find("layer_types");
  if (!types) {
    for (std::size_t i = 0; i < s.layers; ++i) s.each[i].window = window && local(i) ? window : 0;
    return;
  }
  if (types->size() != s.layers)
    types->fail("has " + std::to_string(types->size()) + " entries for " + std::to_string(s.layers) + " layers");
  for (std::size_t i = 0; i < s.layers; ++i) {
    std::string const& kind = types->at(i).as_string();
    if (kind != "sliding_attention" && kind != "full_attention")
      types->at(i).fail("expected full_attention or sliding_attention, got " + in_quotes(kind));
    bool const slides = kind == "sliding_attention";
    if (slides && !window) types->at(i).fail("is a sliding layer, but there is no sliding_window");
    s.each[i].window = slides ? window : 0;
  }
}

}  // namespace wayfarer::decoder
