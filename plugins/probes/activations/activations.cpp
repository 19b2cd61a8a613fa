// Activations themselves, or their means: the starting point for every analysis that is not built in.
//
//     states: {probe: activations, model: gpt2, source: prompts, hooks: ["blocks.*.hook_resid_post"]}
//
// Every item is one row, padded with NaN to the longest. Means are summed in float64 and need no more memory than one activation
// of each hook, however many items there are.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/language.hpp"
#include "probes/common/position_choice.hpp"

namespace wf = wayfarer;
using namespace wayfarer::language;

namespace {

enum class keeping { all, mean, mean_per_position };

/// The number of the block that a hook is in: 3 of "blocks.3.hook_resid_post" and of "decoder.3.ln1.hook_out".
std::optional<std::int64_t> layer_of(std::string_view hook) {
  for (std::string_view const stack : {"blocks.", "encoder.", "decoder."}) {
    if (!hook.starts_with(stack)) continue;
    std::int64_t layer = 0;
    std::size_t at = stack.size();
    for (; at < hook.size() && hook[at] >= '0' && hook[at] <= '9' && layer < 1'000'000; ++at)
      layer = layer * 10 + (hook[at] - '0');
    if (at > stack.size() && at < hook.size() && hook[at] == '.') return layer;
  }
  return {};
}

}  // namespace

struct activations final : wf::probe, wf::plan_checker {
  explicit activations(wf::config const& c)
      : hooks_(c["hooks"].texts()),
        positions_(c["positions"].texts()),
        heads_(c["heads"].integers()),
        layers_(c["layers"].integers()) {
    if (auto const& keep = c["keep"].text(); keep != "all") keep_ = keep == "mean" ? keeping::mean : keeping::mean_per_position;
    if (keep_ == keeping::mean_per_position && !positions_.all())
      throw wf::usage_error("keep: mean_per_position has every position; leave `positions` out");
    if (auto const& storage = c["storage"].text(); storage != "float32")
      storage_ = storage == "float16" ? wf::dtype::f16 : wf::dtype::f64;
    gzip_ = c["gzip"];
  }

  wf::hook_set needs(wf::model_info const& model) const override {
    std::vector<wf::parameter_problem> wrong;
    for (std::size_t i = 0; i < heads_.size(); ++i)
      if (heads_[i] < 0 || static_cast<std::size_t>(heads_[i]) >= model.heads)
        wrong.push_back({"heads", i,
                         "'heads' names head " + std::to_string(heads_[i]) + ", but the model's heads are 0 to " +
                             std::to_string(model.heads - 1)});
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
    auto const found = model.hooks_for(hooks_);
    if (layers_.empty()) return found;
    std::vector<std::string> names;
    for (auto const& name : found.names())
      if (auto const layer = layer_of(name); !layer || std::find(layers_.begin(), layers_.end(), *layer) != layers_.end())
        names.push_back(name);
    if (names.empty()) throw wf::usage_error("none of the hooks is in one of the `layers`");
    return wf::hook_set(std::move(names));
  }

  /// Positions, also where some of the hooks are wrong.
  void check_plan(wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    for (auto const& wanted : hooks_) {
      wf::hook_set found;
      try {
        found = model.hooks_for(wanted);
      } catch (wf::usage_error const&) {
        continue;  // needs() says so
      }
      for (auto const& name : found.names())
        positions_.check(model.find_hook(name)->along == wf::positions::decoder ? at.longest_decoder() : at.longest());
    }
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    for (auto const& k : kept(at)) {
      if (keep_ == keeping::all) {
        acc.define_rows(k.info->name, k.shape, storage_);
        acc.define(k.info->name + " not finite", {});
      } else {
        acc.define(k.info->name, k.shape);
        acc.define(k.info->name + " count", k.counts);
      }
    }
    if (keep_ != keeping::all) {
      acc.define("items", {});
      return;
    }
    acc.define_rows("length", {}, wf::dtype::i32);
    acc.define_rows("token_ids", {{"pos", at.longest()}}, wf::dtype::i32);
    if (at.longest_decoder() == 0) return;
    acc.define_rows("decoder_length", {}, wf::dtype::i32);
    acc.define_rows("decoder_token_ids", {{"decoder_pos", at.longest_decoder()}}, wf::dtype::i32);
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const all = kept(at);
    // Fields are looked up here, since the accumulator is for one thread.
    std::vector<wf::tensor> to, counts;
    for (auto const& k : all) {
      to.push_back(acc[k.info->name]);
      counts.push_back(acc[k.info->name + (keep_ == keeping::all ? " not finite" : " count")]);
    }
    wf::parallel_for(all.size(), [&](std::size_t h) {
      for (std::size_t i = 0; i < block.size(); ++i) {
        wf::tensor const x = chosen_heads(all[h], block[i][all[h].info->name]);
        if (keep_ == keeping::all)
          counts[h]() += static_cast<double>(put(all[h], x, to[h][i]));
        else
          add(all[h], x, to[h], counts[h]);
      }
    });
    if (keep_ != keeping::all) {
      acc["items"]() += static_cast<double>(block.size());
      return;
    }
    auto const put_tokens = [&](std::string const& prefix, auto const& tokens_of) {
      auto const length = acc[prefix + "length"].view<std::int32_t>();
      auto const ids = acc[prefix + "token_ids"].view<std::int32_t>();
      for (std::size_t i = 0; i < block.size(); ++i) {
        auto const tokens = tokens_of(block[i]);
        length(i) = static_cast<std::int32_t>(tokens.size());
        for (std::size_t p = 0; p < ids.size(1); ++p) ids(i, p) = p < tokens.size() ? tokens[p] : -1;
      }
    };
    put_tokens("", [](wf::sample_item const& item) { return item.tokens(); });
    if (at.longest_decoder() != 0) put_tokens("decoder_", [](wf::sample_item const& item) { return item.decoder_tokens(); });
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const all = kept(at);
    std::string odd;
    for (auto const& k : all) {
      std::string about = k.info->about.empty() ? k.info->name : k.info->about;
      wf::tensor values = acc[k.info->name];
      std::size_t bad = 0;
      if (keep_ == keeping::all) {
        bad = static_cast<std::size_t>(acc[k.info->name + " not finite"]());
        about += "; NaN where an item has no such position";
      } else {
        values = mean(values, acc[k.info->name + " count"], k.info->per_pair, bad);
        about = "mean over items" + std::string(keep_ == keeping::mean ? " and positions" : "") + ": " + about;
      }
      auto& set = out.add(k.info->name, values).about(about).view(view_of(k));
      set.compress(keep_ == keeping::all && gzip_);
      // Where the model itself gave such values, no reason holds for all of them, and the run warns.
      if (bad == 0)
        set.missing(keep_ == keeping::all ? k.info->per_pair ? "beyond the item's length, or a key that the query does not see"
                                                             : "beyond the item's length"
                                          : "no item has this position");
      else if (odd.empty())
        odd = "; " + wf::counted(bad, "value") + " within items at " + k.info->name + (bad == 1 ? " is" : " are") + " not finite";
      if (auto const where = positions_.coordinate(); where.defined() && keep_ == keeping::all)
        set.coordinate(k.shape[k.info->per_pair ? 1 : 0].name, where);
      if (!heads_.empty() && k.head_axis) set.coordinate("head", wf::tensor::of(heads_, {{"head", heads_.size()}}));
    }
    if (keep_ != keeping::all) {
      out.add("items", acc["items"]()).about("items in the means");
      summarise(out, all, static_cast<std::size_t>(acc["items"]()), odd);
      return;
    }
    auto const add_tokens = [&](std::string const& prefix, std::string const& of) {
      out.add(prefix + "length", acc[prefix + "length"]).units("token").about(of + " of each item").view("histogram");
      out.add(prefix + "token_ids", acc[prefix + "token_ids"])
          .about("ids of the " + of + "; -1 beyond an item's length")
          .view("table");
      add_token_texts(out, prefix + "tokens", acc[prefix + "token_ids"], at.model());
    };
    add_tokens("", "tokens");
    if (at.longest_decoder() != 0) add_tokens("decoder_", "decoder tokens");
    summarise(out, all, acc["length"].count(), odd);
  }

 private:
  /// What is kept of one hook.
  struct kept_hook {
    wf::hook_info const* info;
    wf::dims shape;                        ///< of one item's row, or of the sum
    wf::dims counts;                       ///< of the numbers that divide the sum
    std::optional<std::size_t> head_axis;  ///< of the captured tensor, where heads can be chosen
  };

  /// Pairs of positions as attention, a number for each token as tokens, vectors as maps.
  char const* view_of(kept_hook const& k) const {
    if (keep_ == keeping::mean) return k.shape.size() == 1 ? "histogram" : "heatmap";
    if (k.info->per_pair) return "attention";
    if (k.shape.size() > 1) return "heatmap";
    return keep_ == keeping::all ? "tokens" : "curve";
  }

  /// How large the numbers of the first and of the last hook are, where there are any, and which values are `odd`.
  static void summarise(wf::results& out, std::vector<kept_hook> const& all, std::size_t items, std::string const& odd) {
    auto const size_of_numbers = [&](kept_hook const& k) {
      wf::tensor const wide = out.at(k.info->name).values().to(wf::dtype::f64);
      double squares = 0, n = 0;
      for (double const v : wide.values<double const>())
        if (!std::isnan(v)) squares += v * v, n += 1;
      return n == 0 ? std::string("no numbers at ") + k.info->name
                    : "root mean square " + wf::told(std::sqrt(squares / n)) + " at " + k.info->name;
    };
    std::string line = wf::counted(all.size(), "hook") + " of " + wf::counted(items, "item");
    if (!all.empty()) line += ": " + size_of_numbers(all.front());
    if (all.size() > 1) line += ", " + size_of_numbers(all.back());
    out.summarise(line + odd);
  }

  std::vector<kept_hook> kept(wf::probe_context const& at) const {
    auto const& model = at.model().info();
    auto const longest = [&](wf::positions along) {
      return along == wf::positions::decoder ? at.longest_decoder() : at.longest();
    };
    std::vector<kept_hook> all;
    auto const wanted = needs(model);
    for (auto const& name : wanted.names()) {
      kept_hook k{model.find_hook(name), {}, {}, {}};
      wf::dims row = k.info->row;
      for (std::size_t a = 0; a < row.size(); ++a)
        if (row[a].name == "head") {
          k.head_axis = k.info->per_pair ? a : a + 1;
          if (!heads_.empty()) row[a].size = heads_.size();
        }
      positions_.check(longest(k.info->along));
      std::size_t const places = positions_.places(longest(k.info->along));
      if (keep_ == keeping::mean) {
        k.shape = row;
      } else if (k.info->per_pair) {
        k.shape = row;
        k.shape.push_back({positions_.dimension("query"), places});
        k.shape.push_back({"key", longest(k.info->keys)});
        k.counts.assign(k.shape.end() - 2, k.shape.end());
      } else {
        k.shape.push_back({positions_.dimension(k.info->along == wf::positions::decoder ? "decoder_pos" : "pos"), places});
        k.counts = k.shape;
        k.shape.insert(k.shape.end(), row.begin(), row.end());
      }
      all.push_back(std::move(k));
    }
    return all;
  }

  wf::tensor chosen_heads(kept_hook const& k, wf::tensor const& x) const {
    if (heads_.empty() || !k.head_axis) return x;
    wf::dims shape = x.shape();
    shape[*k.head_axis].size = heads_.size();
    wf::tensor out(x.type(), shape);
    for (std::size_t i = 0; i < heads_.size(); ++i) {
      auto const head = static_cast<std::size_t>(heads_[i]);
      wf::copy_into(out.slice(*k.head_axis, i, i + 1), x.slice(*k.head_axis, head, head + 1));
    }
    return out;
  }

  /// Writes one item's activation to its row and NaN to the rest of it. How many of the activation's own values are not finite
  /// as they are stored, but for the masked scores of pairs.
  std::size_t put(kept_hook const& k, wf::tensor const& x, wf::tensor const& row) const {
    std::size_t const axis = k.info->per_pair ? k.info->row.size() : 0, length = x.size(axis);
    auto const keys = [&](wf::tensor const& t, std::size_t first, std::size_t last) {
      return k.info->per_pair ? t.slice(axis + 1, first, last) : t;
    };
    std::size_t const keys_here = k.info->per_pair ? x.size(axis + 1) : 0;
    if (k.info->per_pair) fill_nan(row.slice(axis + 1, keys_here, row.size(axis + 1)));
    if (positions_.all()) {
      wf::copy_into(keys(row.slice(axis, 0, length), 0, keys_here), x);
      fill_nan(row.slice(axis, length, row.size(axis)));
      return not_finite(x, k.info->per_pair);
    }
    std::size_t bad = 0;
    for (std::size_t place = 0; place < row.size(axis); ++place) {
      wf::tensor const to = row.slice(axis, place, place + 1);
      if (auto const p = positions_.position(place, length)) {
        wf::copy_into(keys(to, 0, keys_here), x.slice(axis, *p, *p + 1));
        bad += not_finite(x.slice(axis, *p, *p + 1), k.info->per_pair);
      } else {
        fill_nan(to);
      }
    }
    return bad;
  }

  static bool is_odd(double v, bool masked) noexcept {
    return !std::isfinite(v) && !(masked && v == -std::numeric_limits<double>::infinity());
  }

  std::size_t not_finite(wf::tensor const& x, bool masked) const {
    wf::tensor t = (x.contiguous() ? x : x.clone()).to(storage_);  // what is too large for it becomes infinite
    if (storage_ == wf::dtype::f16) t = t.to(wf::dtype::f32);
    auto const count = [masked](auto const& values) {
      std::size_t bad = 0;
      for (auto const v : values) bad += is_odd(static_cast<double>(v), masked) ? 1 : 0;
      return bad;
    };
    return t.type() == wf::dtype::f64 ? count(t.values<double const>()) : count(t.values<float const>());
  }

  static void fill_nan(wf::tensor const& to) {
    if (to.count() == 0) return;
    wf::tensor nan(wf::dtype::f32, to.shape());
    for (float& v : nan.values<float>()) v = std::numeric_limits<float>::quiet_NaN();
    wf::copy_into(to, nan);
  }

  /// Adds one item to the sum of its hook. Always in the order of items and positions.
  void add(kept_hook const& k, wf::tensor const& x, wf::tensor const& sum, wf::tensor const& count) const {
    wf::tensor const wide = x.to(wf::dtype::f64);
    auto const v = wide.values<double const>();
    auto const n = count.values<double>();
    auto const to = sum.values<double>();
    if (!k.info->per_pair) {
      std::size_t const length = x.size(0), each = length == 0 ? 0 : v.size() / length;
      std::size_t const places = positions_.all() ? length : positions_.places(0);
      for (std::size_t place = 0; place < places; ++place) {
        auto const p = positions_.position(place, length);
        if (!p) continue;
        std::size_t const at = keep_ == keeping::mean ? 0 : *p;
        for (std::size_t j = 0; j < each; ++j) to[at * each + j] += v[*p * each + j];
        n[at] += 1;
      }
      return;
    }
    std::size_t const rank = x.rank(), queries = x.size(rank - 2), keys = x.size(rank - 1), pairs = queries * keys;
    std::size_t const outer = pairs == 0 ? 0 : v.size() / pairs;
    std::size_t const places = positions_.all() ? queries : positions_.places(0);
    for (std::size_t place = 0; place < places; ++place) {
      auto const q = positions_.position(place, queries);
      if (!q) continue;
      for (std::size_t key = 0; key < keys; ++key) {
        std::size_t const width = keep_ == keeping::mean ? 1 : sum.size(rank - 1),
                          at = keep_ == keeping::mean ? 0 : *q * width + key;
        for (std::size_t o = 0; o < outer; ++o) to[o * (n.size()) + at] += v[o * pairs + *q * keys + key];
        n[at] += 1;
      }
    }
  }

  /// Sum over count, NaN where nothing was counted. `bad`: how many of the others are not finite, but for masked scores.
  static wf::tensor mean(wf::tensor const& sum, wf::tensor const& count, bool masked, std::size_t& bad) {
    wf::tensor const out(wf::dtype::f64, sum.shape());
    auto const s = sum.values<double const>(), n = count.values<double const>();
    auto const m = out.values<double>();
    bool const counts_last = count.rank() == 2;  // of pairs: [query, key], the last dimensions
    std::size_t const each = n.empty() ? 1 : s.size() / n.size();
    for (std::size_t i = 0; i < s.size(); ++i) {
      double const of = n[counts_last ? i % n.size() : i / each];
      m[i] = s[i] / of;
      if (of != 0 && is_odd(m[i], masked)) ++bad;
    }
    return out;
  }

  std::vector<std::string> hooks_;
  position_choice positions_;
  std::vector<std::int64_t> heads_, layers_;
  keeping keep_ = keeping::all;
  wf::dtype storage_ = wf::dtype::f32;
  bool gzip_ = false;
};

WAYFARER_PROBE(activations, "1.0.0", "Activations at chosen hooks, item by item or as means", wf::port::model("model"),
               wf::port::source("source"),
               wf::param("hooks", wf::strings("blocks.*.hook_resid_post"), "hooks to keep; * stands for any text"),
               wf::param("positions", wf::strings("all"),
                         "all, last, or numbers such as [0, -1], negative ones from an item's end; of attention: of queries"),
               wf::param("heads", wf::integers(""), "heads to keep of hooks that have heads; empty: all"),
               wf::param("layers", wf::integers(""), "layers to keep of hooks that are in a layer; empty: all"),
               wf::param("keep", "all", "every item, the mean over items and positions, or the mean over items at each position")
                   .one_of("all|mean|mean_per_position"),
               wf::param("storage", "float32",
                         "type of the numbers kept; float16 holds three digits, up to 65,504. Means are float64")
                   .one_of("float32|float16|float64"),
               wf::param("gzip", false, "compress the file; slow, see docs/file-format.md"));
