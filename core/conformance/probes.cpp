// The rules of a probe. A block is observed as in the host: items, one forward pass for exactly the hooks that the
// probe needs, a fresh accumulator, merges in block order.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include <wayfarer/error.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/random.hpp>

#include "conformance/guarded.hpp"
#include "conformance/wiring.hpp"
#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {
namespace {

constexpr std::size_t items_observed = 8;  // probes that keep whole maps take no more by default

/// A model and items that a probe is shown.
struct stage {
  std::string name;
  std::string model_id;
  std::shared_ptr<model> over;                                 ///< null where the probe has no model port or leaves it open
  std::shared_ptr<source const> data;                          ///< null likewise
  std::shared_ptr<metric_input const> inputs = {};             ///< of its results ports; null if it has none
  std::shared_ptr<std::vector<candidate> const> results = {};  ///< that `inputs` point into
  std::string fed = {};                                        ///< what results ports are wired to, for people
  hook_set every_hook() const {
    std::vector<std::string> names;
    for (auto const& h : over->info().hooks) names.push_back(h.name);
    return hook_set(names);
  }
};

struct block_data {
  item_block items;
  batch tokens;
  activations captured;
};

using transform = std::function<tensor(std::string const& hook, tensor const&)>;

/// The probe on its stage.
class rig {
 public:
  rig(stage s, probe const& what, std::uint64_t seed) : stage_(std::move(s)), seed_(seed) {
    if (stage_.over) hooks_ = what.needs(stage_.over->info());
    items_ = {0, stage_.data ? stage_.data->info().items : 0};
    if (stage_.over && stage_.data) {
      batch const all = stage_.over->encode(stage_.data->read(items_), {});
      for (std::size_t i = 0; i < all.tokens.size(); ++i) longest_ = std::max(longest_, all.tokens[i].size());
      for (std::size_t i = 0; i < all.decoder_tokens.size(); ++i)
        longest_decoder_ = std::max(longest_decoder_, all.decoder_tokens[i].size());
    }
  }

  hook_set const& hooks() const { return hooks_; }
  item_range items() const { return items_; }
  stage const& on() const { return stage_; }

  probe_context context(std::size_t step = 0) const {
    return {stage_.over.get(), stage_.data.get(), items_, step, longest_, longest_decoder_, stage_.inputs.get()};
  }

  block_data block(item_range r, transform const& change = {}, hook_set const* capture = nullptr) const {
    block_data b;
    b.items = stage_.data->read(r);
    if (!stage_.over) return b;
    b.tokens = stage_.over->encode(b.items, {});
    run_request request;
    request.capture = capture ? *capture : hooks_;
    if (request.capture.empty()) return b;
    b.captured = stage_.over->run(b.tokens, request);
    if (change) {
      activations other;
      for (auto const& name : request.capture.names()) {
        std::vector<tensor> per_item;
        for (std::size_t i = 0; i < b.items.count; ++i) per_item.push_back(change(name, b.captured.at(name, i)));
        other.put(name, std::move(per_item));
      }
      b.captured = std::move(other);
    }
    return b;
  }

  accumulator observe(probe const& what, block_data const& b, shared_values* of_block = nullptr,
                      shared_values* of_sweep = nullptr) const {
    accumulator sums(b.items.count);
    probe_context const at = context();
    what.shape(sums, at);
    what.observe(sums, sample(b.items, b.tokens, b.captured, seed_, nullptr, of_block, of_sweep), at);
    return sums;
  }

  /// Whether there is anything to observe.
  bool observes(probe const& what) const {
    if (!stage_.data) return false;
    accumulator none(0);
    what.shape(none, context());
    return !none.fields().empty();
  }

  /// Sizes of `blocks` blocks, as even as they get.
  std::vector<item_range> cut(std::size_t blocks) const {
    std::vector<item_range> out;
    std::size_t first = items_.first;
    for (std::size_t b = 0; b < blocks; ++b) {
      std::size_t const n = items_.size() / blocks + (b < items_.size() % blocks);
      out.push_back({first, first + n});
      first += n;
    }
    return out;
  }

  std::vector<block_data> blocks(std::size_t count, transform const& change = {}) const {
    std::vector<block_data> out;
    for (auto const& r : cut(count)) out.push_back(block(r, change));
    return out;
  }

  std::vector<accumulator> observe_all(probe const& what, std::vector<block_data> const& blocks) const {
    std::vector<accumulator> out;
    for (auto const& b : blocks) out.push_back(observe(what, b));
    return out;
  }

  /// As the host merges: the first is taken over, the rest are added in order.
  static accumulator fold(probe const& what, std::vector<accumulator> parts) {
    accumulator whole = std::move(parts.front());
    for (std::size_t i = 1; i < parts.size(); ++i) what.merge(whole, parts[i]);
    return whole;
  }

  results finish(probe const& what, accumulator const& sums, std::size_t step = 0) const {
    results r;
    what.finish(sums, r, context(step));
    return r;
  }

  /// The whole way in `count` blocks.
  results measure(probe const& what, std::size_t count = 2, transform const& change = {}, std::size_t step = 0) const {
    if (!observes(what)) {
      accumulator none(0);
      what.shape(none, context(step));
      return finish(what, none, step);
    }
    return finish(what, fold(what, observe_all(what, blocks(count, change))), step);
  }

 private:
  stage stage_;
  std::uint64_t seed_;
  hook_set hooks_;
  item_range items_;
  std::size_t longest_ = 0, longest_decoder_ = 0;
};

/// Instances with the same parameters, and with each of them changed, as combinations of a sweep are.
std::vector<std::unique_ptr<probe>> neighbours_of(workbench& bench) {
  std::vector<std::unique_ptr<probe>> all;
  all.push_back(bench.make<probe>());
  for (auto const& d : bench.subject.params())
    for (auto const& t : trials_of(d, bench.base[d.name])) {
      if (t.extreme) continue;
      config c = bench.base;
      c.set(d.name, t.value);
      try {
        all.push_back(bench.make<probe>(c));
      } catch (...) {  // refused; parameter_range looks at how
      }
    }
  return all;
}

/// Every number the same.
transform filled(double value) {
  return [value](std::string const&, tensor const& t) {
    tensor out(t.type(), t.shape());
    if (t.type() == dtype::f64)
      for (auto& v : out.values<double>()) v = value;
    else
      for (auto& v : out.values<float>()) v = static_cast<float>(value);
    return out;
  };
}

/// Whole numbers from 0 to 7, so that sums of them are exact.
transform whole_numbers(std::uint64_t seed) {
  return [seed](std::string const& hook, tensor const& t) {
    tensor out(dtype::f32, t.shape());
    random_stream draw(seed, hook, t.count());
    for (auto& v : out.values<float>()) v = static_cast<float>(draw.below(8));
    return out;
  };
}

/// What of the accumulators of single items is a sum: magnitudes, see compare().
accumulator magnitudes_of(rig const& r, probe const& what, std::vector<block_data> const& single_items) {
  accumulator total(0);
  probe_context const at = r.context();
  what.shape(total, at);
  for (auto const& b : single_items) {
    accumulator const one = r.observe(what, b);
    for (auto const& [name, field] : one.fields()) {
      if (field.rows || !total.fields().contains(name) || total[name].shape() != one[name].shape()) continue;
      auto const from = one[name].values<double const>();
      auto const to = total[name].values<double>();
      for (std::size_t i = 0; i < to.size(); ++i) to[i] += std::abs(from[i]);
    }
  }
  return total;
}

/// Equal to rounding, or what to say.
void require_same(char const* rule, difference const& d, std::string const& how, reporter& out) {
  if (d.worst <= rounding64) return;
  if (d.worst <= rounding32)
    out.note(rule, how + ": " + d.what + ", as far apart as sums in float32 are; add up in float64");
  else
    throw violation(rule, how + ": " + d.what);
}

/// The same items through decoders of other families: each is measured, or refused with a reason.
void add_family_steps(std::vector<step>& steps, std::shared_ptr<workbench> const& bench, stage const& found) {
  for (auto const& [name, make] : {std::pair{"a Llama", &generated_files::llama},
                                   {"a GPT-NeoX", &generated_files::neox},
                                   {"a Gemma 2", &generated_files::gemma2}}) {
    auto const file = make;
    std::string const kind = name;
    steps.push_back({"typed_errors", "the same items through " + kind, [=](reporter& out) {
                       stage other = found;
                       std::string why;
                       other.over = make_model(*bench, "decoder", bench->seed, &why, (bench->files.*file)());
                       if (!other.over) throw unmet_need(why);
                       std::string const refusal = refusal_of([&] {
                         auto const fresh = bench->make<probe>();
                         rig(other, *fresh, bench->base.seed()).measure(*fresh, 2);
                       });
                       if (!refusal.empty()) out.note("typed_errors", kind + " is refused: " + refusal);
                     }});
  }
}

std::vector<stage> stages_for(workbench& bench, bool wants_model, bool wants_source, std::size_t shortest, std::size_t longest,
                              std::size_t items, std::string const& only_model, std::vector<std::string>& unavailable) {
  std::vector<stage> out;
  auto const add = [&](std::string const& id, std::shared_ptr<model> m, item_sort sort) {
    stage s;
    std::size_t most = longest;
    if (m && m->info().longest != 0) most = std::min(most, m->info().longest);
    if (wants_source)
      s.data = make_items(sort, items, std::min(shortest, most), most, m ? m->info().vocabulary : 100, bench.seed);
    s.over = std::move(m), s.model_id = id;
    s.name = (s.data ? std::string(name_of(sort)) : std::string()) + (s.over ? (s.data ? " through " : "") + id : "");
    out.push_back(std::move(s));
  };
  if (!wants_model) {
    if (!wants_source)
      out.push_back({"nothing", "", nullptr, nullptr});
    else
      for (auto const sort : {item_sort::words, item_sort::tokens, item_sort::texts, item_sort::choices}) add("", nullptr, sort);
    return out;
  }
  struct pairing {
    char const* id;
    std::vector<item_sort> sorts;
  };
  std::vector<pairing> pairings{{"gpt2", {item_sort::tokens, item_sort::texts, item_sort::choices, item_sort::pairs}},
                                {"topic_transformer", {item_sort::words}},
                                {"t5", {item_sort::tokens, item_sort::texts, item_sort::choices, item_sort::pairs}},
                                {"bert", {item_sort::texts, item_sort::tokens}}};
  // What other nodes find about words is of use only to a model that has words for tokens.
  if (!results_ports(bench.subject, false).empty()) std::rotate(pairings.begin(), pairings.end() - 1, pairings.end());
  for (auto const& p : pairings) {
    if (!only_model.empty() && only_model != p.id) continue;
    std::string why;
    auto m = make_model(bench, p.id, bench.seed, &why);
    if (!m) {
      unavailable.push_back(why);
      continue;
    }
    for (auto const sort : p.sorts) {
      add(p.id, m, sort);
      if (!wants_source) break;
    }
  }
  return out;
}

bool has_port(plugin const& p, port_kind kind, bool required_only) {
  for (auto const& d : p.ports())
    if (d.kind == kind && (!required_only || !d.optional)) return true;
  return false;
}

/// A stage on which the probe works, and its configuration; where there is none, one on which it fails as a plugin should not.
stage find_stage(workbench& bench) {
  std::vector<std::string> reasons;
  std::optional<stage> fallback;
  config fallback_config;
  auto const options = [&](port_kind k) {
    std::vector<bool> all;
    if (has_port(bench.subject, k, false)) all.push_back(true);
    if (!has_port(bench.subject, k, true)) all.push_back(false);
    return all;
  };
  auto const required = results_ports(bench.subject, false), optional = results_ports(bench.subject, true);
  bool const wants_results = !required.empty() || !optional.empty();
  auto results = std::make_shared<std::vector<candidate> const>();
  if (wants_results) {
    std::string without_training;
    results = std::make_shared<std::vector<candidate> const>(made_results(bench.plugins, bench.seed, without_training));
    if (!without_training.empty()) reasons.push_back(without_training);
  }
  for (bool const wants_model : options(port_kind::model))
    for (bool const wants_source : options(port_kind::source))
      for (auto& s : stages_for(bench, wants_model, wants_source, 5, 24, items_observed, "", reasons)) {
        wiring wires;
        std::string reason;
        auto const works = [&](wiring const& some) {
          stage wired = s;
          if (wants_results) wired.results = results, wired.inputs = std::make_shared<metric_input const>(wire_up(some));
          try {
            bench.find_config([&](config const& c) {
              auto const what = bench.make<probe>(c);
              rig(wired, *what, c.seed()).measure(*what);
            });
            s = wired, wires = some;
            return true;
          } catch (unmet_need const& u) {
            reason = u.what();
          } catch (std::exception const& e) {
            reason = e.what();
            if (!fallback) fallback = wired;
          } catch (...) {
            if (!fallback) fallback = wired;
          }
          return false;
        };
        if (!try_wirings(required, *results, false, works)) {
          if (!reason.empty()) reasons.push_back(s.name + ": " + reason);
          continue;
        }
        for (auto const& port : optional)
          try_wirings({port}, *results, false, [&](wiring const& one) {
            auto some = wires;
            some.push_back(one.front());
            return works(some);
          });
        if (!wires.empty()) s.fed = ", " + describe(wires);
        return s;
      }
  if (fallback) {
    // Paths that must be given have been found already if the constructor is not what fails.
    if (bench.base.values().empty()) bench.base = complete(bench.subject, bench.given, bench.seed);
    return *fallback;
  }
  std::string all;
  for (auto const& r : reasons) all += (all.empty() ? "" : "; ") + r;
  throw unmet_need("no model and items at hand suit it: " + all);
}

}  // namespace

std::vector<step> probe_steps(std::shared_ptr<workbench> bench, reporter& start) {
  stage const found = find_stage(*bench);
  start.about("input", found.name + found.fed);
  std::shared_ptr<probe const> what = bench->make<probe>();
  auto const on = std::make_shared<rig>(found, *what, bench->base.seed());
  bool observing = false;
  try {
    observing = on->observes(*what);
  } catch (...) {
    observing = true;  // the steps below will say it with a name
  }
  std::vector<step> steps;
  std::uint64_t const seed = bench->seed;

  if (found.over)
    steps.push_back({"declared_hooks", "needs() twice, and against the model's hooks", [=](reporter&) {
                       auto const& info = found.over->info();
                       auto const asked = what->needs(info);
                       if (asked.names() != what->needs(info).names())
                         throw violation("declared_hooks", "needs() asks for other hooks the second time");
                       for (auto const& name : asked.names())
                         if (!info.find_hook(name))
                           throw violation("declared_hooks", "needs() asks for '" + name +
                                                                 "', which the model does not have; use model.hooks_for()");
                     }});
  steps.push_back({"writes_results", "observing everything in two blocks", [=](reporter& out) {
                     results const r = on->measure(*what);
                     check_results(*bench, r, observing ? on->items().size() : 0, out);
                   }});
  steps.push_back({"repeatable", "the same items again, in a second instance, in another process",
                   [=](reporter& out) {
                     std::string const first = digest_of(on->measure(*what));
                     if (digest_of(on->measure(*what)) != first)
                       throw violation("repeatable", "the same items observed twice by one instance give other results");
                     auto const other = bench->make<probe>();
                     if (digest_of(on->measure(*other)) != first)
                       throw violation("independent_instances", "a second instance with the same parameters gives other results");
                     out.digest("results", first);
                   },
                   false, true});

  if (observing) {
    if (found.over && !on->hooks().empty())
      steps.push_back({"declared_hooks", "with all of the model's hooks captured, as when probes share a pass", [=](reporter&) {
                         auto const every = found.every_hook();
                         block_data const few = on->block(on->items()), many = on->block(on->items(), {}, &every);
                         if (digest_of(on->observe(*what, few)) != digest_of(on->observe(*what, many)))
                           throw violation("declared_hooks", "hooks that needs() does not name change what is measured");
                       }});
    for (bool const exact : {false, true}) {
      std::string const kind = exact ? "activations that are whole numbers" : "activations";
      transform const change = exact ? whole_numbers(seed) : transform{};
      if (exact && on->hooks().empty()) break;
      steps.push_back({"split_invariance", kind + " in 1, 2, 7 and single-item blocks", [=](reporter& out) {
                         auto const single = on->blocks(on->items().size(), change);
                         accumulator const magnitudes = magnitudes_of(*on, *what, single);
                         accumulator const one = rig::fold(*what, on->observe_all(*what, on->blocks(1, change)));
                         for (std::size_t const n : {std::size_t{2}, std::size_t{7}, on->items().size()}) {
                           accumulator const many = rig::fold(*what, on->observe_all(*what, on->blocks(n, change)));
                           require_same("split_invariance", compare(one, many, magnitudes),
                                        "in one block, then in " + std::to_string(n), out);
                           std::string const shape = first_difference(on->finish(*what, one), on->finish(*what, many), false);
                           if (!shape.empty())
                             throw violation("split_invariance",
                                             "the shape of '" + shape + "' depends on how items are cut into blocks");
                         }
                       }});
      steps.push_back({"merge_order", kind + ", blocks merged from the left and from the right", [=](reporter& out) {
                         auto const single = on->blocks(on->items().size(), change);
                         accumulator const magnitudes = magnitudes_of(*on, *what, single);
                         auto const blocks = on->blocks(7, change);
                         accumulator const left = rig::fold(*what, on->observe_all(*what, blocks));
                         auto parts = on->observe_all(*what, blocks);
                         while (parts.size() > 1) {
                           what->merge(parts[parts.size() - 2], parts.back());
                           parts.pop_back();
                         }
                         require_same("merge_order", compare(left, parts.front(), magnitudes), "((a b) c), then (a (b c))", out);
                         // Nothing, before and after: what a process without work brings.
                         for (bool const before : {true, false}) {
                           auto const empty = [&] {
                             accumulator none(0);
                             what->shape(none, on->context());
                             return none;
                           };
                           auto with = on->observe_all(*what, blocks);
                           with.insert(before ? with.begin() : with.end(), empty());
                           require_same("merge_order", compare(left, rig::fold(*what, std::move(with)), magnitudes),
                                        std::string("an accumulator of no items merged ") + (before ? "first" : "last"), out);
                         }
                       }});
    }
    steps.push_back({"shared_values", "after instances with other parameters, which share values with it", [=](reporter&) {
                       // Other parameters may need other hooks.
                       hook_set const every = found.over && !on->hooks().empty() ? found.every_hook() : hook_set();
                       std::vector<block_data> blocks;
                       for (auto const& r : on->cut(2)) blocks.push_back(on->block(r, {}, every.empty() ? nullptr : &every));
                       std::vector<std::string> alone;
                       for (auto const& b : blocks) alone.push_back(digest_of(on->observe(*what, b)));
                       auto const quietly = [](auto const& work) {
                         try {
                           work();
                         } catch (...) {  // of the other instances; parameter_range looks at how
                         }
                       };
                       /// After these have observed each block before it.
                       auto const after = [&](std::span<std::unique_ptr<probe> const> others, bool announced) {
                         shared_values of_sweep;
                         if (announced) {
                           for (auto const& o : others) quietly([&] { o->announce(of_sweep, on->context()); });
                           what->announce(of_sweep, on->context());
                         }
                         for (std::size_t i = 0; i < blocks.size(); ++i) {
                           shared_values of_block;
                           for (auto const& o : others) quietly([&] { on->observe(*o, blocks[i], &of_block, &of_sweep); });
                           if (digest_of(on->observe(*what, blocks[i], &of_block, &of_sweep)) != alone[i])
                             throw violation("shared_values", "what other probes of a sweep have made changes what is measured");
                         }
                       };
                       auto const others = neighbours_of(*bench);
                       auto const until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
                       for (bool const announced : {false, true}) after(others, announced);
                       for (std::size_t i = 0; i < others.size() && std::chrono::steady_clock::now() < until; ++i)
                         after(std::span(others).subspan(i, 1), i % 2 != 0);
                     }});
    steps.push_back({"independent_instances", "another instance observing other items in between", [=](reporter&) {
                       auto const blocks = on->blocks(3);
                       auto const others = on->blocks(2, on->hooks().empty() ? transform{} : whole_numbers(seed + 1));
                       std::string const alone = digest_of(rig::fold(*what, on->observe_all(*what, blocks)));
                       auto const first = bench->make<probe>(), second = bench->make<probe>();
                       std::vector<accumulator> mine, theirs;
                       for (std::size_t i = 0; i < blocks.size(); ++i) {
                         mine.push_back(on->observe(*first, blocks[i]));
                         theirs.push_back(on->observe(*second, others[i % others.size()]));
                       }
                       rig::fold(*second, std::move(theirs));
                       if (digest_of(rig::fold(*first, std::move(mine))) != alone)
                         throw violation("independent_instances", "what a second instance observes changes the first one's sums");
                     }});
    steps.push_back({"many_threads", "blocks observed by four threads at once", [=](reporter&) {
                       auto const blocks = on->blocks(7);
                       std::vector<std::string> alone;
                       for (auto const& b : blocks) alone.push_back(digest_of(on->observe(*what, b)));
                       auto const until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
                       for (int round = 0; round < 400 && (round < 3 || std::chrono::steady_clock::now() < until); ++round)
                         on_threads(4, [&](std::size_t t) {
                           for (std::size_t k = 0; k < blocks.size(); ++k) {
                             std::size_t const i = (k + 2 * t) % blocks.size();
                             if (digest_of(on->observe(*what, blocks[i])) != alone[i])
                               throw violation("many_threads",
                                               "a block observed while other threads observe theirs gives other sums");
                           }
                         });
                     }});
    if (!on->hooks().empty()) {
      steps.push_back({"leaves_input_alone", "captures, items and tokens before and after", [=](reporter&) {
                         block_data const b = on->block(on->items());
                         auto const digest = [&] {
                           std::string text = digest_of(b.items) + digest_of(b.tokens);
                           for (auto const& name : on->hooks().names())
                             for (std::size_t i = 0; i < b.items.count; ++i) text += digest_of(b.captured.at(name, i));
                           return text;
                         };
                         std::string const before = digest();
                         on->observe(*what, b);
                         if (digest() != before)
                           throw violation("leaves_input_alone",
                                           "observe changes what it is shown, which other probes see after it");
                       }});
      for (auto const side : {guard_side::after, guard_side::before}) {
        std::string const where = side == guard_side::after ? "behind the last number" : "before the first number";
        steps.push_back({"within_bounds", "captures with a forbidden page " + where, [=](reporter&) {
                           auto const guard = [side](std::string const&, tensor const& t) { return guarded(t, side); };
                           for (std::size_t const n : {1, 3}) on->measure(*what, n, guard);
                         }});
      }
      for (auto const& [number, name] :
           {std::pair{std::nan(""), "NaN"}, std::pair{std::numeric_limits<double>::infinity(), "infinity"},
            std::pair{-std::numeric_limits<double>::infinity(), "minus infinity"}, std::pair{3.4e38, "the largest numbers"},
            std::pair{1e-45, "the smallest numbers"}, std::pair{0.0, "zeros"}}) {
        auto const value = number;
        steps.push_back({"odd_numbers", std::string("every activation ") + name, [=](reporter& out) {
                           std::string const refusal = refusal_of([&] { on->measure(*what, 2, filled(value)); });
                           if (!refusal.empty() && value == 0.0)
                             out.note("odd_numbers", "activations that are all zero are refused: " + refusal);
                         }});
      }
    }
    steps.push_back({"writes_results", "every field of the accumulator", [=](reporter& out) {
                       std::map<std::string, bool> written;
                       std::vector<transform> fills{{}};
                       if (!on->hooks().empty()) fills = {{}, whole_numbers(seed), filled(1), filled(-2)};
                       for (auto const& change : fills) {
                         accumulator const sums = rig::fold(*what, on->observe_all(*what, on->blocks(2, change)));
                         for (auto const& [name, field] : sums.fields()) {
                           auto const own = sums[name].to(dtype::f64);
                           auto const values = own.values<double const>();
                           written[name] =
                               written[name] || std::any_of(values.begin(), values.end(), [](double v) { return v != 0; });
                         }
                       }
                       for (auto const& [name, yes] : written)
                         if (!yes)
                           out.note("writes_results", "the field '" + name + "' is zero whatever is observed; is it written?");
                     }});
    steps.push_back({"empty_input", "a block of no items, and finishing without having observed any", [=](reporter&) {
                       refusal_of([&] { on->observe(*what, on->block({0, 0})); });
                       refusal_of([&] {
                         probe_context const none(found.over.get(), found.data.get(), {0, 0}, 0, 0, 0, found.inputs.get());
                         accumulator sums(0);
                         what->shape(sums, none);
                         results r;
                         what->finish(sums, r, none);
                       });
                     }});
    struct lengths {
      std::size_t shortest, longest, items;
      char const *rule, *name;
    };
    for (auto const& l :
         {lengths{0, 0, 4, "empty_input", "items without tokens"}, lengths{1, 1, 4, "one_and_longest", "items of one token"},
          lengths{100000, 100000, 2, "one_and_longest", "items as long as the model takes"}})
      steps.push_back({l.rule, l.name, [=](reporter& out) {
                         std::size_t const most =
                             found.over && found.over->info().longest != 0 ? found.over->info().longest : 150;
                         std::vector<std::string> unavailable;
                         stage other;
                         for (auto& s : stages_for(*bench, found.over != nullptr, true, std::min(l.shortest, most),
                                                   std::min(l.longest, most), l.items, found.model_id, unavailable))
                           if (s.name == found.name) other = s;
                         other.inputs = found.inputs, other.results = found.results;
                         try {
                           // What the model itself refuses says nothing about the probe.
                           rig(other, *what, bench->base.seed()).block({0, l.items});
                         } catch (std::exception const& e) {
                           throw unmet_need(std::string("the model does not take them: ") + e.what());
                         }
                         std::string const refusal = refusal_of([&] {
                           auto const fresh = bench->make<probe>();
                           rig(other, *fresh, bench->base.seed()).measure(*fresh, l.items);
                         });
                         if (!refusal.empty()) out.note(l.rule, std::string(l.name) + " are refused: " + refusal);
                       }});
  } else {
    steps.push_back({"many_threads", "four instances finishing at once", [=](reporter&) {
                       std::string const alone = digest_of(on->measure(*what));
                       std::vector<std::unique_ptr<probe>> instances;
                       for (int t = 0; t < 4; ++t) instances.push_back(bench->make<probe>());
                       on_threads(4, [&](std::size_t t) {
                         if (digest_of(on->measure(*instances[t])) != alone)
                           throw violation("many_threads", "results differ while other instances finish");
                       });
                     }});
  }
  if (found.over && found.over->info().family == model_family::decoder && bench->plugins.find("decoder"))
    add_family_steps(steps, bench, found);
  steps.push_back({"steps_agree", "another snapshot of the model, with other activations", [=](reporter&) {
                     results const now = on->measure(*what);
                     stage later = found;
                     if (found.over)
                       if (auto other = make_model(*bench, found.model_id, seed + 1)) later.over = other;
                     rig const then(later, *what, bench->base.seed());
                     results const r = then.measure(*what, 2, then.hooks().empty() ? transform{} : whole_numbers(seed), 7);
                     std::string const name = first_difference(now, r, false);
                     if (!name.empty())
                       throw violation("steps_agree", "'" + name + "' is not there at every step, or changes its shape");
                   }});
  add_parameter_steps(steps, *bench, [=](config const& c) {
    auto const made = bench->make<probe>(c);
    return digest_of(rig(found, *made, c.seed()).measure(*made));
  });
  return steps;
}

}  // namespace wayfarer::host::conformance
