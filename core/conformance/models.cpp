// The rules of a model: hooks fire as declared, and an item's numbers depend only on the item, the weights and the
// edits.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/random.hpp>

#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {
namespace {

/// Rounding that float32 sums may differ by when they are made another way, relative to the largest number.
constexpr double rounding = 1e-4;

hook_set all_hooks(model const& m) {
  std::vector<std::string> names;
  for (auto const& h : m.info().hooks) names.push_back(h.name);
  return hook_set(std::move(names));
}

/// Of the vectors that a run may start from: those of `hook_embed`, which a model may bring to the width of its states later.
std::size_t embedded_width(model_info const& info) {
  auto const* const hook = info.find_hook("hook_embed");
  return hook && hook->row.size() == 1 ? hook->row[0].size : info.d_model;
}

/// Those that a run from given embeddings reaches: all but what stands before `hook_embed`, such as a norm of the embedding.
hook_set hooks_behind_embedding(model const& m) {
  std::vector<std::string> const names = all_hooks(m).names();
  auto const embed = std::find(names.begin(), names.end(), "hook_embed");
  return embed == names.end() ? all_hooks(m) : hook_set(std::vector<std::string>(embed, names.end()));
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

std::size_t length_along(batch const& b, positions where, std::size_t item) {
  return where == positions::decoder ? b.decoder_tokens[item].size() : b.tokens[item].size();
}

/// The shape that a hook declares for one item.
dims shape_of(model_info const& info, hook_info const& h, batch const& b, std::size_t item) {
  if (h.per_pair)
    return {{"head", info.heads}, {"query", length_along(b, h.along, item)}, {"key", length_along(b, h.keys, item)}};
  dims d{{"pos", length_along(b, h.along, item)}};
  d.insert(d.end(), h.row.begin(), h.row.end());
  return d;
}

/// Equal bytes, or equal to rounding with a note, or a violation.
class comparison {
 public:
  comparison(char const* rule, std::string how, reporter& out) : rule_(rule), how_(std::move(how)), out_(out) {}
  ~comparison() {
    if (worst_ > 0) {
      char number[32];
      std::snprintf(number, sizeof number, "%.1e", worst_);
      out_.note(rule_, how_ + ": equal to rounding only (" + number + " of the largest number, at " + where_ + ")");
    }
  }
  void operator()(std::string const& what, tensor const& a, tensor const& b) {
    if (same_bytes(a, b)) return;
    double const by = relative_distance(a, b);
    if (!(by <= rounding)) throw violation(rule_, how_ + ": " + what + " differs");
    if (by > worst_) worst_ = by, where_ = what;
  }

 private:
  char const* rule_;
  std::string how_;
  reporter& out_;
  double worst_ = 0;
  std::string where_;
};

/// Items that the model can encode, and their tokens.
struct fed {
  std::shared_ptr<source const> items;
  std::string name;
  batch tokens;
};

fed feed(model const& m, std::size_t shortest, std::size_t longest, std::size_t count, std::uint64_t seed) {
  std::string reason;
  std::size_t const most = m.info().longest != 0 ? std::min(longest, m.info().longest) : longest;
  for (auto const sort : {item_sort::words, item_sort::tokens, item_sort::texts}) {
    try {
      fed f{make_items(sort, count, std::min(shortest, most), most, std::max<std::size_t>(1, m.info().vocabulary), seed),
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

std::string digest_of_run(model const& m, batch const& b, hook_set const& hooks) {
  activations const all = m.run(b, asking(hooks));
  sha256 text;
  for (auto const& name : hooks.names())
    for (std::size_t i = 0; i < b.items(); ++i) text.update(digest_of(all.at(name, i)));
  return text.hex();
}

struct quiet final : progress {
  void at(std::size_t, std::size_t, std::string_view) override {}
  void warn(std::string_view) override {}
};

/// Digests of what training leaves: curves, and the logits of the last state.
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

/// Adds a vector to every row.
void add_to_rows(tensor const& m, tensor const& v, double factor = 1) {
  auto const at = m.view<double>();
  for (std::size_t i = 0; i < m.size(0); ++i)
    for (std::size_t j = 0; j < m.size(1); ++j) at(i, j) += factor * v.get({j});
}

/// Attention of one block out of W_QK = W_Q W_K^T and W_VO = W_V W_O, as in "Traveling Words", 1.2: what it adds to the residual
/// stream, [pos, d_model]. x: the block's normalised input [pos, d_model]. `key_bias` stands for the model's own.
tensor decomposed_attention(model const& m, std::size_t layer, tensor const& x, tensor const& key_bias,
                            tensor const* pattern = nullptr) {
  auto const weight = [&](char const* name) {
    return m.weight("blocks." + std::to_string(layer) + ".attn." + name).to(dtype::f64);
  };
  tensor const w_q = weight("W_Q"), w_k = weight("W_K"), w_v = weight("W_V"), w_o = weight("W_O"), b_q = weight("b_Q"),
               b_v = weight("b_V"), b_o = weight("b_O");
  std::size_t const n = x.size(0), d = x.size(1);
  tensor out(dtype::f64, {{"pos", n}, {"d_model", d}});
  add_to_rows(out, b_o);
  bool const causal = m.info().family == model_family::decoder;
  for (std::size_t h = 0; h < w_q.size(0); ++h) {
    std::size_t const shared = h / (w_q.size(0) / w_k.size(0));  // the head of keys and values
    tensor const qk = matmul(w_q[h], w_k[shared].transposed()), vo = matmul(w_v[shared], w_o[h]);
    auto const row = [](tensor const& v) { return v.clone().reshaped({{"one", 1}, {"d_head", v.count()}}); };
    tensor scores = matmul(matmul(x, qk.named({"d", "d2"})), x.transposed());                       // x_i W_QK x_j
    tensor const from_key = matmul(matmul(row(b_q[h]), w_k[shared].transposed()), x.transposed());  // b_Q W_K^T x_j
    tensor const from_query = matmul(matmul(x, w_q[h]), row(key_bias[shared]).transposed());        // x_i W_Q b_K
    double const constant = dot(b_q[h].clone().values<double const>(), key_bias[shared].clone().values<double const>());
    auto const s = scores.view<double>();
    for (std::size_t i = 0; i < n; ++i) {
      std::size_t const keys = causal ? i + 1 : n;
      double most = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::size_t j = 0; j < keys; ++j) {
        s(i, j) = (s(i, j) + from_key.get({0, j}) + from_query.get({i, 0}) + constant) * m.info().attention_scale_of(layer);
        most = std::max(most, s(i, j));
      }
      for (std::size_t j = 0; j < n; ++j) s(i, j) = j < keys ? std::exp(s(i, j) - most) : 0, sum += s(i, j);
      for (std::size_t j = 0; j < n; ++j) s(i, j) /= sum;
    }
    if (pattern) scores = (*pattern)[h].clone();
    add_into(out, matmul(matmul(scores, x), vo).named({"pos", "d_model"}));
    add_to_rows(out, matmul(row(b_v[shared]), w_o[h])[0]);
  }
  return out;
}

/// Whether a hook runs over pairs of positions of the stack that predicts the next token.
bool over_causal_pairs(model_info const& i, hook_info const& h) {
  if (!h.per_pair || i.family == model_family::encoder) return false;
  bool const two = i.family == model_family::encoder_decoder;
  return !two || (h.along == positions::decoder && h.keys == positions::decoder);
}

void check_info(model_info const& i) {
  auto const bad = [](std::string const& what) { throw violation("stable_info", "info(): " + what); };
  if (i.architecture.empty()) bad("architecture is empty");
  if (i.vocabulary == 0) bad("vocabulary is 0");
  if (i.d_model == 0) bad("d_model is 0");
  if (i.hooks.empty()) bad("there are no hooks");
  std::set<std::string> seen;
  for (auto const& h : i.hooks) {
    if (!seen.insert(h.name).second) bad("two hooks are called '" + h.name + "'");
    if (h.about.empty()) bad("the hook '" + h.name + "' does not say where it is computed");
    for (auto const& d : h.row)
      if (d.name.empty() || d.size == 0) bad("the hook '" + h.name + "' has a dimension without a name or size");
    for (auto const& d : h.row)
      if ((d.name == "d_model" && d.size != i.d_model) || (d.name == "head" && d.size != i.heads) ||
          (d.name == "d_head" && d.size != i.d_head) || (d.name == "d_mlp" && i.d_mlp != 0 && d.size != i.d_mlp) ||
          (d.name == "token" && d.size != i.vocabulary))
        bad("the hook '" + h.name + "' has " + d.name + " " + std::to_string(d.size) + ", unlike info() itself");
    if (i.family != model_family::encoder_decoder && (h.along == positions::decoder || h.keys == positions::decoder))
      bad("the hook '" + h.name + "' runs over a decoder's positions, and there is no decoder");
  }
  seen.clear();
  for (auto const& w : i.weights)
    if (!seen.insert(w).second) bad("two weights are called '" + w + "'");
}

}  // namespace

std::vector<step> model_steps(std::shared_ptr<workbench> bench, reporter& start) {
  bench->find_config([&](config const& c) {
    auto const m = bench->make<model>(c);
    m->load();
    if (m->info().hooks.empty()) return;
    fed const f = feed(*m, 3, 12, 2, bench->seed);
    m->run(f.tokens, asking(m->info().hooks_for(m->info().hooks.back().name)));
  });
  // Enough to see that training works, and little enough to do it once for every value of every parameter.
  if (auto const* updates = bench->subject.find_param("train.updates");
      updates && updates->type == param_type::integer && !bench->given.contains("train.updates"))
    bench->base.set("train.updates",
                    param_value(static_cast<std::int64_t>(std::clamp(30.0, updates->minimum, updates->maximum))));
  std::shared_ptr<model> const m = bench->make<model>();
  std::string const before = digest_of(m->info());
  m->load();
  fed const f = feed(*m, 3, 12, 4, bench->seed);
  start.about("input", f.name + " of " + std::to_string(f.tokens.tokens[0].size()) + " and more tokens, " +
                           std::to_string(m->info().hooks.size()) + " hooks");
  hook_set const every = all_hooks(*m);
  batch const& b = f.tokens;
  std::uint64_t const seed = bench->seed;
  std::vector<step> steps;
  std::string const last = m->info().hooks.empty() ? "" : m->info().hooks.back().name;

  steps.push_back({"stable_info", "info() before and after loading and running, and in a second instance", [=](reporter&) {
                     check_info(m->info());
                     if (digest_of(m->info()) != before) throw violation("stable_info", "info() changes when weights are loaded");
                     m->run(b, asking(every));
                     if (digest_of(m->info()) != before) throw violation("stable_info", "info() changes when the model runs");
                     if (digest_of(bench->make<model>()->info()) != before)
                       throw violation("stable_info", "two instances with the same parameters say different things");
                   }});
  steps.push_back({"hooks_fire", "capturing every hook", [=](reporter&) {
                     activations const all = m->run(b, asking(every));
                     for (auto const& h : m->info().hooks)
                       for (std::size_t i = 0; i < b.items(); ++i) {
                         if (!all.has(h.name)) throw violation("hooks_fire", "'" + h.name + "' was asked for and did not fire");
                         tensor const& t = all.at(h.name, i);
                         dims const want = shape_of(m->info(), h, b, i);
                         if (t.shape() != want)
                           throw violation("hooks_fire", "'" + h.name + "' is " + describe(t.shape()) +
                                                             " for an item for which it declares " + describe(want));
                         if (t.type() != dtype::f32)
                           throw violation("hooks_fire", "'" + h.name + "' is captured as " +
                                                             std::string(wayfarer::name_of(t.type())) + ", not f32");
                       }
                   }});
  steps.push_back({"capture_subset", "each hook alone, and none", [=](reporter& out) {
                     activations const all = m->run(b, asking(every));
                     comparison same("capture_subset", "asked for alone and with all others", out);
                     for (auto const& name : every.names()) {
                       activations const alone = m->run(b, asking(hook_set({name})));
                       for (std::size_t i = 0; i < b.items(); ++i) same("'" + name + "'", all.at(name, i), alone.at(name, i));
                       for (auto const& other : every.names())
                         if (other != name && alone.has(other))
                           throw violation("capture_subset",
                                           "'" + other + "' was captured, and only '" + name + "' was asked for");
                     }
                     m->run(b, {});
                   }});
  steps.push_back({"batch_composition", "items alone, in another order, and more than once", [=](reporter& out) {
                     activations const all = m->run(b, asking(every));
                     comparison same("batch_composition", "in another batch", out);
                     for (auto const& which : {std::vector<std::size_t>{0}, {3}, {3, 1, 0, 2}, {2, 2, 1}}) {
                       activations const other = m->run(items_of(b, which), asking(every));
                       for (std::size_t k = 0; k < which.size(); ++k)
                         for (auto const& name : every.names())
                           same("'" + name + "' of an item", all.at(name, which[k]), other.at(name, k));
                     }
                   }});
  steps.push_back({"repeatable", "running twice, in two instances, in another process with one thread",
                   [=](reporter& out) {
                     std::string const first = digest_of_run(*m, b, every);
                     if (digest_of_run(*m, b, every) != first)
                       throw violation("repeatable", "the same batch run twice gives other numbers");
                     auto const other = bench->make<model>();
                     other->load();
                     if (digest_of_run(*other, b, every) != first)
                       throw violation("independent_instances", "a second instance with the same parameters gives other numbers");
                     out.digest("run", first);
                     out.digest("tokens", digest_of(b));
                   },
                   false, true});
  steps.push_back({"many_threads", "running from four threads at once", [=](reporter&) {
                     std::string const alone = digest_of_run(*m, b, every);
                     for (int round = 0; round < 30; ++round)
                       on_threads(4, [&](std::size_t) {
                         if (digest_of_run(*m, b, every) != alone)
                           throw violation("many_threads", "numbers differ while other threads run the model");
                       });
                   }});
  steps.push_back({"edits_go_downstream", "an edit that changes nothing, at every hook", [=](reporter& out) {
                     activations const all = m->run(b, asking(every));
                     comparison same("edits_go_downstream", "with an edit that changes nothing", out);
                     for (auto const& name : every.names()) {
                       run_request r = asking(every);
                       r.edits.push_back({name, [](edit_site const&, tensor const&) {}});
                       activations const edited = m->run(b, r);
                       for (auto const& other : every.names())
                         for (std::size_t i = 0; i < b.items(); ++i)
                           same("'" + other + "' when '" + name + "' is edited", all.at(other, i), edited.at(other, i));
                     }
                   }});
  steps.push_back({"edits_go_downstream", "one item's values changed, at every hook", [=](reporter& out) {
                     activations const all = m->run(b, asking(every));
                     comparison same("edits_go_downstream", "of an item that was not edited, or before the edit", out);
                     for (std::size_t at = 0; at < every.size(); ++at) {
                       std::string const& name = every.names()[at];
                       if (all.at(name, 1).count() == 0) continue;
                       run_request r = asking(every);
                       std::vector<int> calls(b.items());
                       tensor written;
                       r.edits.push_back({name, [&](edit_site const& where, tensor const& x) {
                                            ++calls.at(where.item);
                                            if (where.item != 1) return;
                                            for (auto& v : x.values<float>()) v = v * 0.5f + 0.25f;
                                            written = x.clone();
                                          }});
                       activations const edited = m->run(b, r);
                       for (int const n : calls)
                         if (n != 1)
                           throw violation("edits_go_downstream",
                                           "the edit of '" + name + "' was called " + std::to_string(n) + " times for an item");
                       if (!same_bytes(written, edited.at(name, 1)))
                         throw violation("edits_go_downstream", "'" + name + "' is not captured as the edit left it");
                       for (std::size_t k = 0; k < every.size(); ++k)
                         for (std::size_t i = 0; i < b.items(); ++i)
                           if (i != 1 || k < at)
                             same("'" + every.names()[k] + "' when '" + name + "' is edited", all.at(every.names()[k], i),
                                  edited.at(every.names()[k], i));
                     }
                   }});
  steps.push_back({"edits_go_downstream", "the embedding of one item changed", [=](reporter&) {
                     std::string const first = every.names().front();
                     run_request r = asking(hook_set({last}));
                     activations const all = m->run(b, r);
                     r.edits.push_back({first, [](edit_site const&, tensor const& x) {
                                          float sign = 1;
                                          for (auto& v : x.values<float>()) v += sign, sign = -sign * 0.75f;
                                        }});
                     if (same_bytes(all.at(last, 0), m->run(b, r).at(last, 0)))
                       throw violation("edits_go_downstream", "changing '" + first + "' changes nothing of '" + last + "'");
                   }});
  steps.push_back({"edits_keep_the_mask", "scores and patterns set to 0 and to 1, at every hook over pairs and at all of them",
                   [=](reporter&) {
                     bool const decodes = m->info().family == model_family::encoder_decoder;
                     if (m->info().family == model_family::encoder || !m->info().find_hook("logits"))
                       throw unmet_need("its logits are not of the next token");
                     std::vector<std::string> pairs;
                     for (auto const& h : m->info().hooks)
                       if (over_causal_pairs(m->info(), h)) pairs.push_back(h.name);
                     if (pairs.empty()) throw unmet_need("there is no hook over pairs of positions");
                     batch other = b;
                     auto& lists = decodes ? other.decoder_tokens : other.tokens;
                     for (std::size_t i = 0; i < lists.size(); ++i)
                       if (!lists[i].empty()) {
                         auto& end = lists.values[lists.offsets[i + 1] - 1];
                         end = end == 0 ? 1 : 0;
                       }
                     std::vector<std::vector<std::string>> sets{pairs};
                     for (auto const& name : pairs) sets.push_back({name});
                     for (auto const& set : sets)
                       for (float const to : {0.0f, 1.0f}) {
                         run_request r = asking(hook_set({"logits"}));
                         for (auto const& name : set)
                           r.edits.push_back({name, [to](edit_site const&, tensor const& x) {
                                                for (auto& v : x.values<float>()) v = to;
                                              }});
                         activations const one = m->run(b, r), two = m->run(other, r);
                         for (std::size_t i = 0; i < lists.size(); ++i)
                           if (std::size_t const n = lists[i].size();
                               n > 1 && !same_bytes(one.at("logits", i).slice(0, 0, n - 1).clone(),
                                                    two.at("logits", i).slice(0, 0, n - 1).clone()))
                             throw violation("edits_keep_the_mask",
                                             "with '" + set.front() + (set.size() > 1 ? "' and others" : "'") + " set to " +
                                                 (to == 0 ? "0" : "1") +
                                                 ", a later token changes earlier logits; mask what an edit wrote again");
                       }
                   }});
  steps.push_back({"readable_weights", "every weight of info().weights", [=](reporter& out) {
                     if (m->info().weights.empty()) out.note("readable_weights", "info() lists no weights");
                     for (auto const& name : m->info().weights) {
                       tensor const w = m->weight(name);
                       if (!w.defined() || w.count() == 0) throw violation("readable_weights", "'" + name + "' is empty");
                       for (auto const& d : w.shape())
                         if (d.name.empty() || std::isdigit(static_cast<unsigned char>(d.name[0])))
                           throw violation("readable_weights",
                                           "'" + name + "' has a dimension without a name: " + describe(w.shape()));
                       if (!same_bytes(w, m->weight(name)))
                         throw violation("readable_weights", "'" + name + "' differs when read again");
                     }
                     try {
                       m->weight("no.such.weight");
                     } catch (usage_error const&) {
                       return;
                     }
                     throw violation("readable_weights", "a weight that does not exist is not a usage_error");
                   }});
  steps.push_back(
      {"encodes", "items cut to 2 tokens, and no items", [=](reporter&) {
         item_block const items = f.items->read({0, b.items()});
         batch const cut = m->encode(items, {2}), again = m->encode(items, {}), none = m->encode(f.items->read({0, 0}), {});
         if (digest_of(again) != digest_of(b)) throw violation("encodes", "the same items encoded twice differ");
         if (none.items() != 0) throw violation("encodes", "no items are encoded as " + std::to_string(none.items()));
         auto const check = [&](ragged<std::int32_t> const& lists, std::size_t most) {
           for (std::size_t i = 0; i < lists.size(); ++i) {
             if (lists[i].size() > most)
               throw violation("encodes",
                               "cut to " + std::to_string(most) + " tokens, an item has " + std::to_string(lists[i].size()));
             for (auto const t : lists[i])
               if (t < 0 || static_cast<std::size_t>(t) >= m->info().vocabulary)
                 throw violation("encodes", "the token " + std::to_string(t) + " is outside the vocabulary");
           }
         };
         check(cut.tokens, 2);
         check(b.tokens, m->info().longest != 0 ? m->info().longest : 100000);
         check(b.decoder_tokens, 100000);
         for (std::size_t i = 0; i < b.tokens.size() && i < cut.tokens.size(); ++i) {
           batch const alone = m->encode(f.items->read({i, i + 1}), {});
           if (alone.items() != 1 ||
               !std::equal(alone.tokens[0].begin(), alone.tokens[0].end(), b.tokens[i].begin(), b.tokens[i].end()))
             throw violation("encodes", "an item's tokens depend on the other items");
           for (auto const t : b.tokens[i]) m->token_text(t);
         }
       }});
  if (m->text_tokenizer())
    steps.push_back(
        {"encodes", "texts to tokens and back", [=](reporter&) {
           tokenizer const& words = *m->text_tokenizer();
           if (words.vocabulary() > m->info().vocabulary)
             throw violation("encodes", "the tokenizer has more tokens than the model");
           for (std::string const text : {"To kill two birds with one stone", "", " ", "a\nb\tc", "\xc3\xa9\xe2\x82\xac"}) {
             encoding const e = words.encode(text);
             if (e.spans.size() != e.ids.size()) throw violation("encodes", "spans and ids differ in number");
             for (std::size_t i = 0; i < e.ids.size(); ++i)
               if (e.ids[i] < 0 || static_cast<std::size_t>(e.ids[i]) >= words.vocabulary() ||
                   e.spans[i].begin > e.spans[i].end || e.spans[i].end > text.size())
                 throw violation("encodes", "a token or its place in the text is out of range");
             if (words.kind() == "byte_level_bpe" && words.decode(words.encode(text, {.ends = false}).ids) != text)
               throw violation("encodes", "a text that is encoded and decoded comes back changed");
           }
         }});
  steps.push_back(
      {"start_states", "starting from the embeddings that a run looked up", [=](reporter& out) {
         if (!m->info().find_hook("hook_embed")) throw unmet_need("there is no hook 'hook_embed'");
         activations const all = m->run(b, asking(every));
         batch from = b;
         from.embeddings = tensor(dtype::f32, {{"token", b.tokens.values.size()}, {"d_model", embedded_width(m->info())}});
         std::size_t row = 0;
         for (std::size_t i = 0; i < b.items(); ++i) {
           auto const rows = all.at("hook_embed", i).to(dtype::f32);
           auto const values = rows.values<float const>();
           std::copy(values.begin(), values.end(),
                     from.embeddings.values<float>().begin() + static_cast<std::ptrdiff_t>(row * embedded_width(m->info())));
           row += rows.size(0);
         }
         // The numbers of the tokens are not read then.
         std::fill(from.tokens.values.begin(), from.tokens.values.end(), 0);
         hook_set const behind = hooks_behind_embedding(*m);
         activations const again = m->run(from, asking(behind));
         comparison same("start_states", "starting from embeddings", out);
         for (auto const& name : behind.names())
           for (std::size_t i = 0; i < b.items(); ++i) same("'" + name + "'", all.at(name, i), again.at(name, i));
       }});
  steps.push_back(
      {"logits", "the last position alone, and the final norm and unembedding of the last residual state", [=](reporter& out) {
         if (!m->info().find_hook("logits")) throw unmet_need("there is no hook 'logits'");
         activations const all = m->run(b, asking(every));
         run_request r = asking(hook_set({"logits"}));
         r.last_logits_only = true;
         activations const ends = m->run(b, r);
         comparison same("logits", "asked for at the last position alone", out);
         for (std::size_t i = 0; i < b.items(); ++i) {
           tensor const& whole = all.at("logits", i);
           if (whole.size(0) != 0) same("'logits'", whole.slice(0, whole.size(0) - 1, whole.size(0)), ends.at("logits", i));
         }
         bool const decodes = m->info().family == model_family::encoder_decoder;
         std::string const name = decodes ? "decoder." + std::to_string(m->info().decoder_layers - 1) + ".hook_resid_post"
                                          : "blocks." + std::to_string(m->info().layers - 1) + ".hook_resid_post";
         // What an encoder's head reads is the architecture's own business: a norm may stand after its last residual state.
         if (m->info().family == model_family::encoder || !all.has(name)) return;
         tensor given;
         try {
           given = m->unembed(m->final_norm(all.at(name, 0)));
         } catch (usage_error const&) {
           return;
         }
         if (relative_distance(given, all.at("logits", 0)) > rounding)
           throw violation("logits", "unembed(final_norm(x)) of '" + name + "' is not 'logits'");
       }});
  steps.push_back(
      {"continued_run", "continued one token at a time, and in two branches", [=](reporter&) {
         bool const decodes = m->info().family == model_family::encoder_decoder;
         if (!m->info().find_hook("logits")) throw unmet_need("there is no hook 'logits'");
         auto const list = [&](batch& x) -> ragged<std::int32_t>& { return decodes ? x.decoder_tokens : x.tokens; };
         batch beginning = b, whole_input = b;
         auto const& full = list(whole_input);
         list(beginning) = {};
         for (std::size_t i = 0; i < full.size(); ++i)
           list(beginning).push_back(full[i].first(std::min<std::size_t>(1, full[i].size())));
         run_request const r = asking(hook_set({"logits"}));
         activations captured;
         std::unique_ptr<continued_run> run;
         try {
           run = m->begin(beginning, r, &captured);
         } catch (usage_error const& e) {
           throw unmet_need(e.what());
         }
         activations const whole = m->run(b, r);
         std::vector<std::size_t> read(full.size());
         auto const check = [&](activations const& got, std::vector<std::size_t> const& items,
                                std::vector<std::size_t> const& from) {
           for (std::size_t k = 0; k < items.size(); ++k) {
             tensor const& mine = got.at("logits", k);
             tensor const theirs = whole.at("logits", items[k]).slice(0, from[k], from[k] + mine.size(0)).clone();
             if (relative_distance(mine, theirs) > rounding)
               throw violation("continued_run", "logits of a continued run differ from those of one run over everything");
           }
         };
         std::vector<std::size_t> all_items(full.size()), zeros(full.size());
         std::iota(all_items.begin(), all_items.end(), std::size_t{0});
         check(captured, all_items, zeros);
         for (std::size_t i = 0; i < full.size(); ++i) read[i] = list(beginning)[i].size();
         auto other = run->branch(std::vector<std::size_t>{1, 0, 1});
         for (int turn = 0; turn < 3; ++turn) {
           batch more;
           std::vector<std::size_t> const from = read;
           for (std::size_t i = 0; i < full.size(); ++i) {
             std::size_t const n =
                 std::min<std::size_t>(full[i].size() - read[i], turn == 1 && i == 0 ? 0 : 1 + static_cast<std::size_t>(turn));
             list(more).push_back(full[i].subspan(read[i], n));
             if (decodes) more.tokens.push_back({});
             read[i] += n;
           }
           check(run->extend(more, r), all_items, from);
           for (std::size_t i = 0; i < full.size(); ++i)
             if (run->length(i) != read[i]) throw violation("continued_run", "length() is not what has been read");
         }
         batch more;
         std::vector<std::size_t> const items{1, 0, 1};
         for (std::size_t const i : items) {
           std::size_t const had = std::min<std::size_t>(1, full[i].size());
           list(more).push_back(full[i].subspan(had, std::min<std::size_t>(2, full[i].size() - had)));
           if (decodes) more.tokens.push_back({});
         }
         std::vector<std::size_t> from;
         for (std::size_t const i : items) from.push_back(std::min<std::size_t>(1, full[i].size()));
         check(other->extend(more, r), items, from);
       }});
  steps.push_back({"precision", "every hook in float64", [=](reporter&) {
                     run_request r = asking(every);
                     activations const single = m->run(b, r);
                     r.precision = dtype::f64;
                     activations const twice = m->run(b, r);
                     for (auto const& name : every.names())
                       for (std::size_t i = 0; i < b.items(); ++i) {
                         if (twice.at(name, i).type() != dtype::f64)
                           throw violation("precision", "'" + name + "' is captured as " +
                                                            std::string(wayfarer::name_of(twice.at(name, i).type())) +
                                                            " where float64 was asked for");
                         if (relative_distance(single.at(name, i), twice.at(name, i)) > 1e-3)
                           throw violation("precision", "'" + name + "' in float32 and in float64 are more than 0.1 % apart");
                       }
                   }});
  steps.push_back(
      {"attention_decomposition", "x + attention through W_QK and W_VO, with the key bias replaced too", [=](reporter&) {
         auto const& info = m->info();
         std::set<std::string> const known(info.weights.begin(), info.weights.end());
         for (char const* part : {"W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O"})
           if (!known.contains(std::string("blocks.0.attn.") + part))
             throw unmet_need(std::string("there is no weight blocks.0.attn.") + part);
         run_request r = asking(every);
         r.precision = dtype::f64;
         activations const all = m->run(b, r);
         for (std::size_t l = 0; l < info.layers; ++l) {
           std::string const block = "blocks." + std::to_string(l) + ".";
           // A block that norms after attention reads the residual state itself.
           std::string const input = info.find_hook(block + "ln1.hook_out") && info.family == model_family::decoder
                                         ? block + "ln1.hook_out"
                                         : block + "hook_resid_pre";
           if (!info.find_hook(block + "hook_attn_out") || !info.find_hook(input)) throw unmet_need("there is no hook " + input);
           if (info.find_hook(block + "ln1_post.hook_out"))
             throw unmet_need("a norm stands between the sum over heads and hook_attn_out");
           // Where queries and keys are turned, normed or biased by position, the scores are no function of W_QK alone.
           bool const by_position = info.find_hook(block + "attn.hook_rot_q") || info.find_hook(block + "attn.q_norm.hook_out") ||
                                    info.find_hook(block + "attn.hook_bias");
           if (by_position) {
             for (std::size_t i = 0; i < b.items(); ++i) {
               tensor const& pattern = all.at(block + "attn.hook_pattern", i);
               if (relative_distance(
                       decomposed_attention(*m, l, all.at(input, i), m->weight(block + "attn.b_K").to(dtype::f64), &pattern),
                       all.at(block + "hook_attn_out", i)) > 1e-6)
                 throw violation("attention_decomposition",
                                 "'" + block + "hook_attn_out' is not the sum over heads that the pattern, W_V and W_O give");
             }
             continue;
           }
           tensor const bias = m->weight(block + "attn.b_K").to(dtype::f64);
           tensor other(dtype::f64, bias.shape());
           random_stream draw(seed, "key bias", l);
           for (auto& v : other.values<double>()) v = draw.uniform();
           for (std::size_t i = 0; i < b.items(); ++i)
             for (auto const& key_bias : {bias, other})
               if (relative_distance(decomposed_attention(*m, l, all.at(input, i), key_bias),
                                     all.at(block + "hook_attn_out", i)) > 1e-6)
                 throw violation("attention_decomposition", "'" + block +
                                                                "hook_attn_out' is not the sum over heads that its weights give" +
                                                                (&key_bias == &bias ? "" : ", with another key bias"));
         }
       }});
  steps.push_back({"empty_input", "no items, and an item without tokens", [=](reporter&) {
                     activations const none = m->run(batch{}, asking(every));
                     for (auto const& name : every.names())
                       if (!none.has(name)) throw violation("empty_input", "'" + name + "' is missing when there are no items");
                     batch with_empty = items_of(b, {0});
                     with_empty.tokens.push_back({});
                     if (!b.decoder_tokens.empty()) with_empty.decoder_tokens.push_back({});
                     refusal_of([&] {
                       activations const all = m->run(with_empty, asking(every));
                       activations const alone = m->run(items_of(b, {0}), asking(every));
                       for (auto const& name : every.names())
                         if (relative_distance(all.at(name, 0), alone.at(name, 0)) > rounding)
                           throw violation("batch_composition", "an empty item in the batch changes '" + name + "' of another");
                     });
                   }});
  steps.push_back({"one_and_longest", "one token, the longest context, and more than that", [=](reporter& out) {
                     std::size_t const most = m->info().longest != 0 ? m->info().longest : 150;
                     for (std::size_t const n : {std::size_t{1}, most}) {
                       fed const some = feed(*m, n, n, 2, seed);
                       activations const all = m->run(some.tokens, asking(every));
                       for (auto const& h : m->info().hooks)
                         if (all.at(h.name, 0).shape() != shape_of(m->info(), h, some.tokens, 0))
                           throw violation("hooks_fire", "'" + h.name + "' is " + describe(all.at(h.name, 0).shape()) +
                                                             " for an item of " + std::to_string(n) + " tokens");
                     }
                     if (m->info().longest == 0) return;
                     batch longer;
                     std::vector<std::int32_t> const tokens(most + 1, 0);
                     longer.tokens.push_back(tokens);
                     if (!b.decoder_tokens.empty())
                       longer.decoder_tokens.push_back(std::span<std::int32_t const>(tokens).first(1));
                     if (refusal_of([&] { m->run(longer, asking(hook_set({last}))); }).empty())
                       throw violation("one_and_longest", "an item of " + std::to_string(most + 1) +
                                                              " tokens is run, and info() says at most " + std::to_string(most));
                   }});
  steps.push_back(
      {"odd_numbers", "tokens outside the vocabulary, and embeddings of NaN and infinity", [=](reporter&) {
         for (std::int32_t const t :
              {-1, static_cast<std::int32_t>(m->info().vocabulary), std::numeric_limits<std::int32_t>::max()}) {
           batch wild = items_of(b, {0});
           wild.tokens.values.back() = t;
           if (refusal_of([&] { m->run(wild, asking(hook_set({last}))); }).empty())
             throw violation("odd_numbers", "the token " + std::to_string(t) + ", which is outside the vocabulary, is run");
           refusal_of([&] { m->token_text(t); });
         }
         for (float const v : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 3e38f, 1e-45f}) {
           batch odd = b;
           odd.embeddings = tensor(dtype::f32, {{"token", b.tokens.values.size()}, {"d_model", embedded_width(m->info())}});
           for (auto& x : odd.embeddings.values<float>()) x = v;
           refusal_of([&] { m->run(odd, asking(hooks_behind_embedding(*m))); });
         }
       }});
  steps.push_back({"hooks_fire", "a hook that does not exist", [=](reporter&) {
                     try {
                       m->run(b, asking(hook_set({"no.such.hook"})));
                     } catch (error const&) {
                       return;
                     }
                     throw violation("hooks_fire", "a hook that does not exist was asked for, and nothing was said");
                   }});
  if (auto const* learner = dynamic_cast<trainable_model const*>(m.get())) {
    steps.push_back({"repeatable", "training twice, and in another process with one thread",
                     [=](reporter& out) {
                       auto const keep = m;
                       std::string const first = digest_of_training(*learner, seed);
                       if (digest_of_training(*learner, seed) != first)
                         throw violation("repeatable", "training twice gives other numbers");
                       out.digest("training", first);
                     },
                     false, true});
  }
  add_parameter_steps(steps, *bench, [=](config const& c) {
    auto const made = bench->make<model>(c);
    made->load();
    std::string text = digest_of(made->info());
    item_block const items = f.items->read({0, 2});
    text += digest_of_run(*made, made->encode(items, {}), all_hooks(*made));
    if (auto const* learner = dynamic_cast<trainable_model const*>(made.get())) text += digest_of_training(*learner, seed);
    return sha256_hex(text);
  });
  return steps;
}

}  // namespace wayfarer::host::conformance
