#include "conformance/models/model_case.hpp"

#include <algorithm>
#include <cstdio>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>

namespace wayfarer::host::conformance {
namespace {

std::size_t length_along(batch const& b, positions where, std::size_t item) {
  return where == positions::decoder ? b.decoder_tokens[item].size() : b.tokens[item].size();
}

struct quiet final : progress {
  void at(std::size_t, std::size_t, std::string_view) override {}
  void warn(std::string_view) override {}
};

}  // namespace

model_input feed(model const& m, std::size_t shortest, std::size_t longest, std::size_t count, std::uint64_t seed) {
  std::string reason;
  std::size_t const most = m.info().longest != 0 ? std::min(longest, m.info().longest) : longest;
  for (auto const sort : {item_sort::words, item_sort::tokens, item_sort::texts}) {
    try {
      model_input f{make_items(sort, count, std::min(shortest, most), most, std::max<std::size_t>(1, m.info().vocabulary), seed),
                    std::string(name_of(sort)),
                    {}};
      f.tokens = m.encode(f.items->read({0, count}), {});
      if (f.tokens.items() == count) return f;
      reason = "encode gives " + std::to_string(f.tokens.items()) + " lists for " + std::to_string(count) + " items";
    } catch (std::exception const& e) {
      if (reason.empty()) reason = e.what();
    }
  }
  throw unmet_need("it encodes neither words nor tokens nor texts: " + reason);
}

hook_set all_hooks(model const& m) {
  std::vector<std::string> names;
  for (auto const& h : m.info().hooks) names.push_back(h.name);
  return hook_set(std::move(names));
}

hook_set hooks_behind_embedding(model const& m) {
  std::vector<std::string> const names = all_hooks(m).names();
  auto const embed = std::find(names.begin(), names.end(), "hook_embed");
  return embed == names.end() ? all_hooks(m) : hook_set(std::vector<std::string>(embed, names.end()));
}

std::size_t embedded_width(model_info const& info) {
  auto const* const hook = info.find_hook("hook_embed");
  return hook && hook->row.size() == 1 ? hook->row[0].size : info.d_model;
}

run_request asking(hook_set hooks) {
  run_request r;
  r.capture = std::move(hooks);
  return r;
}

batch items_of(batch const& all, std::vector<std::size_t> const& which) {
  batch out;
  for (std::size_t const i : which) {
    out.tokens.push_back(all.tokens[i]);
    if (!all.decoder_tokens.empty()) out.decoder_tokens.push_back(all.decoder_tokens[i]);
    if (!all.token_types.empty()) out.token_types.push_back(all.token_types[i]);
  }
  return out;
}

dims declared_shape(model_info const& info, hook_info const& h, batch const& b, std::size_t item) {
  if (h.per_pair)
    return {{"head", info.heads}, {"query", length_along(b, h.along, item)}, {"key", length_along(b, h.keys, item)}};
  dims d{{"pos", length_along(b, h.along, item)}};
  d.insert(d.end(), h.row.begin(), h.row.end());
  return d;
}

std::string digest_of_run(model const& m, batch const& b, hook_set const& hooks) {
  activations const all = m.run(b, asking(hooks));
  sha256 text;
  for (auto const& name : hooks.names())
    for (std::size_t i = 0; i < b.items(); ++i) text.update(digest_of(all.at(name, i)));
  return text.hex();
}

std::string digest_of_training(trainable_model const& m, std::uint64_t seed) {
  auto const data = make_items(item_sort::words, 80, 20, 30, 100, seed);
  results curves;
  quiet silent;
  std::string text;
  m.train({*data, data.get(), curves, silent, [&](snapshot s) {
             batch const b = s.state->encode(data->read({0, 2}), {});
             text += std::to_string(s.step) + digest_of_run(*s.state, b, all_hooks(*s.state));
           }});
  return sha256_hex(text + digest_of(curves));
}

comparison::~comparison() {
  if (worst_ > 0) {
    char number[32];
    std::snprintf(number, sizeof number, "%.1e", worst_);
    out_.note(rule_, how_ + ": equal to rounding only (" + number + " of the largest number, at " + where_ + ")");
  }
}

void comparison::operator()(std::string const& what, tensor const& a, tensor const& b) {
  if (same_bytes(a, b)) return;
  double const by = relative_distance(a, b);
  if (!(by <= model_rounding)) throw violation(rule_, how_ + ": " + what + " differs");
  if (by > worst_) worst_ = by, where_ = what;
}

}  // namespace wayfarer::host::conformance
