// Activation patching: which activations carry the information for an answer? Of two texts of equal length, one (clean) has the
// answer and the other (corrupted) has another. For every layer and position, an activation of one text replaces that in the run
// of the other. The probe reports which share of the difference between two logits it restores. Meng et al. 2022; Wang et al.
// 2022.
//
//     trace: {probe: patching, model: gpt2, source: pairs, kinds: [resid_pre, z], answer: " Paris", against: " Rome"}
//
// restored = (patched - base) / (donor - base): 0 if nothing changes, 1 if the donor's whole difference is restored.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/probe.hpp>

#include "probes/common/answers.hpp"
#include "probes/common/language.hpp"
#include "probes/common/position_choice.hpp"

namespace wf = wayfarer;
using namespace wayfarer::language;

namespace {

constexpr std::size_t tokens_at_once = 2048;  // of a forward pass
constexpr double no_number = std::numeric_limits<double>::quiet_NaN();

/// Numbers of two items.
struct item_pair {
  std::size_t clean, corrupted;
};

item_pair pair_of(std::string const& text) {
  auto const fail = [&]() {
    throw wf::usage_error("'pairs' must hold two item numbers each, such as [\"0 1\", \"2 3\"], got " + wf::in_quotes(text));
  };
  item_pair p{};
  char const* const end = text.data() + text.size();
  auto const first = std::from_chars(text.data(), end, p.clean);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != ' ') fail();
  auto const second = std::from_chars(first.ptr + 1, end, p.corrupted);
  if (second.ec != std::errc{} || second.ptr != end || p.clean == p.corrupted) fail();
  return p;
}

/// An item's tokens, kept while its pair is worked on.
struct prompt {
  std::vector<std::int32_t> tokens, decoder_tokens, token_types;
  std::vector<std::int32_t> const& of(stack const& top) const { return top.decoder ? decoder_tokens : tokens; }
};

/// One run with an activation put in. `head` and `position` are none where all are.
struct patch {
  std::size_t layer;
  std::optional<std::size_t> position, head;
  std::size_t place;  ///< row of the results
};

}  // namespace

struct patching final : wf::probe, wf::plan_checker {
  explicit patching(wf::config const& c)
      : kinds_(c["kinds"].texts()),
        positions_(c["positions"].texts()),
        answer_(c, "answer"),
        against_(c, "against"),
        answer_position_({std::to_string(c["answer_position"].integer())}),
        each_position_(c["heads_at"].text() == "each_position"),
        into_clean_(c["into"].text() == "clean") {
    for (auto const& text : c["pairs"].texts()) pairs_.push_back(pair_of(text));
    std::set<std::size_t> seen;
    for (auto const& p : pairs_)
      if (!seen.insert(p.clean).second)
        throw wf::usage_error("'pairs' names item " + std::to_string(p.clean) +
                              " twice as a first item; repeat the item in the source");
    if (kinds_.empty()) throw wf::usage_error("'kinds' is empty; name some, such as [resid_pre]");
  }

  wf::hook_set needs(wf::model_info const& model) const override {
    hooks(model, stack_of(model));  // says so before any weight is read if the model lacks one
    return {};
  }

  /// Pairs of unequal length and answers of several tokens, as far as a tokenizer tells them.
  void check_plan(wf::probe_context const& at) const override {
    auto const all = pairs(at);
    std::vector<wf::parameter_problem> wrong;
    for (auto const* answers : {&answer_, &against_}) answers->check(all.size(), at.model(), wrong);
    bool const decoder = stack_of(at.model().info()).decoder;
    for (std::size_t n = 0; n < std::min(all.size(), most_checked) && !decoder; ++n) {
      auto const clean = length_of(all[n].clean, at), corrupted = length_of(all[n].corrupted, at);
      if (clean && corrupted && *clean != *corrupted)
        wrong.push_back({"pairs", pairs_.empty() ? 0 : n, unequal(all[n], *clean, *corrupted)});
    }
    if (!wrong.empty()) throw wf::parameter_error(std::move(wrong));
  }

  void shape(wf::accumulator& acc, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    stack const top = stack_of(model);
    positions_.check(top.longest(at));
    pairs(at);
    for (auto const& kind : kinds_) {
      wf::dims const shape = shape_of(kind, model, top, at);
      acc.define_rows(kind, shape);
      acc.define_rows(kind + " difference", shape);
    }
    for (auto const* name : {"clean", "corrupted"}) {
      acc.define_rows(name, {});
      acc.define_rows(std::string(name) + " tokens", {{top.pos(), top.longest(at)}}, wf::dtype::i32);
    }
    for (auto const* name : {"answer", "against"}) acc.define_rows(name, {}, wf::dtype::i32);
  }

  void observe(wf::accumulator& acc, wf::sample const& block, wf::probe_context const& at) const override {
    auto const all = pairs(at);
    for (std::size_t n = 0; n < all.size(); ++n) {
      std::size_t const first = block.items().first;
      if (all[n].clean < first || all[n].clean >= first + block.size()) continue;
      trace(acc, block, all[n].clean - first, all[n], n, all.size(), read(block, all[n].clean, at),
            read(block, all[n].corrupted, at), at);
    }
  }

  void finish(wf::accumulator const& acc, wf::results& out, wf::probe_context const& at) const override {
    auto const& model = at.model().info();
    stack const top = stack_of(model);
    auto const all = pairs(at);
    auto const gathered = [&](std::string const& field) {
      wf::tensor const& from = acc[field];
      wf::dims shape = from.shape();
      shape[0] = {"pair", all.size()};
      wf::tensor const to(from.type(), shape);
      for (std::size_t n = 0; n < all.size(); ++n) wf::copy_into(to[n], from[all[n].clean - at.items().first]);
      return to;
    };
    std::string const where = into_clean_ ? "the corrupted run's activation put into the clean run"
                                          : "the clean run's activation put into the corrupted run";
    for (auto const& kind : kinds_) {
      auto const restored = gathered(kind);
      auto const label = [&](wf::dataset& set) {
        set.missing("beyond the text's length, or the answers' logits don't differ between clean and corrupted");
        std::string const pos = positions_.dimension(top.pos());
        if (auto const chosen = positions_.coordinate(); chosen.defined())
          for (auto const& d : set.shape())
            if (d.name == pos) set.coordinate(pos, chosen);
      };
      label(out.add(kind, restored)
                .view("heatmap")
                .about("share of the logit difference that comes with " + kind + ": " + where + "; 0 nothing, 1 all"));
      auto& raw = out.add(kind + "_difference", gathered(kind + " difference"));
      label(raw.units("logit").view("heatmap").about("logit difference with " + where));
      raw.missing("beyond the text's length");
      label(out.add("mean_" + kind, mean_over_pairs(restored))
                .view("heatmap")
                .about("mean over pairs: share of the logit difference that comes with " + kind));
    }
    out.add("clean_difference", gathered("clean"))
        .units("logit")
        .about("logit of the answer less that of `against`, in the clean run")
        .view("histogram");
    out.add("corrupted_difference", gathered("corrupted"))
        .units("logit")
        .about("logit of the answer less that of `against`, in the corrupted run")
        .view("histogram");
    for (std::string const name : {"clean", "corrupted"}) {
      auto const ids = gathered(name + " tokens");
      out.add(name + "_ids", ids).about("token ids of the " + name + " text; -1 beyond its length").view("table");
      add_token_texts(out, name + "_tokens", ids, at.model());
    }
    for (std::string const name : {"answer", "against"}) {
      auto const ids = gathered(name);
      out.add(name + "_id", ids)
          .view("table")
          .about(name == "answer" ? "token whose logit counts for the clean text"
                                  : "token whose logit counts for the corrupted text");
      add_token_texts(out, name, ids, at.model());
    }
    out.summarise(finding(out, all.size(), top));
  }

 private:
  static constexpr std::size_t most_checked = 1000;  // pairs, before a run

  /// Tokens of an item before cutting, or nothing if only the model can tell.
  static std::optional<std::size_t> length_of(std::size_t item, wf::probe_context const& at) {
    auto const block = at.data().read({item, item + 1});
    auto const cut = [&](std::size_t n) { return at.longest() == 0 ? n : std::min(n, at.longest()); };
    if (!block.tokens.empty()) return cut(block.tokens[0].size());
    auto const* tokenizer = at.model().text_tokenizer();
    if (block.texts.empty() || tokenizer == nullptr) return {};
    return cut(tokenizer->encode(block.texts[0]).ids.size());
  }
  static std::string unequal(item_pair const& pair, std::size_t clean, std::size_t corrupted) {
    return "items " + std::to_string(pair.clean) + " and " + std::to_string(pair.corrupted) + " have " + std::to_string(clean) +
           " and " + std::to_string(corrupted) +
           " tokens; patching puts position p of one into position p of the other, so change the texts until both have as many";
  }

  /// The activation that brings the largest share of the difference, in the mean over pairs.
  std::string finding(wf::results const& out, std::size_t pairs, stack const& top) const {
    std::string best;
    double most = -std::numeric_limits<double>::infinity();
    for (auto const& kind : kinds_) {
      wf::dataset const& mean = out.at("mean_" + kind);
      auto const v = mean.values().values<double const>();
      for (std::size_t i = 0; i < v.size(); ++i) {
        if (std::isnan(v[i]) || v[i] <= most) continue;
        most = v[i];
        best = kind;
        std::size_t rest = i;
        std::string where;
        for (std::size_t a = mean.shape().size(); a-- > 0;) {
          wf::dim const& d = mean.shape()[a];
          std::size_t const at = rest % d.size;
          rest /= d.size;
          auto const c = mean.coordinate_map().find(d.name);
          std::string const place = c == mean.coordinate_map().end() ? std::to_string(at) : wf::told(c->second.get({at}), 9);
          where = " " + (d.name == top.pos() ? std::string("position") : d.name) + " " + place + where;
        }
        best += where;
      }
    }
    std::string const n = wf::counted(pairs, "pair");
    if (best.empty()) return n + ": no share is a number";
    return best + " brings " + wf::told(most) + " of the logit difference" +
           (pairs == 1 ? std::string(", in 1 pair") : ", in the mean over " + n);
  }

  /// The kind's hook in each layer.
  std::map<std::string, std::vector<std::string>> hooks(wf::model_info const& m, stack const& top) const {
    std::map<std::string, std::vector<std::string>> all;
    for (auto const& kind : kinds_)
      for (std::size_t l = 0; l < top.layers; ++l) {
        auto const name = top.block(l, kind == "z" ? "attn.hook_z" : "hook_" + kind);
        all[kind].push_back(m.hooks_for(name).names().at(0));
      }
    return all;
  }

  wf::dims shape_of(std::string const& kind, wf::model_info const& m, stack const& top, wf::probe_context const& at) const {
    wf::dim const layer{"layer", top.layers}, head{"head", m.heads},
        pos{positions_.dimension(top.pos()), positions_.places(top.longest(at))};
    if (kind != "z") return {layer, pos};
    return each_position_ ? wf::dims{layer, pos, head} : wf::dims{layer, head};
  }

  std::vector<item_pair> pairs(wf::probe_context const& at) const {
    auto all = pairs_;
    auto const range = at.items();
    if (all.empty()) {
      if (range.size() % 2 != 0)
        throw wf::usage_error("patching reads pairs of items, a clean one and a corrupted one, but is given " +
                              std::to_string(range.size()) + "; give an even number or name the `pairs`");
      for (std::size_t i = range.first; i < range.last; i += 2) all.push_back({i, i + 1});
    }
    for (auto const& p : all)
      for (auto const i : {p.clean, p.corrupted})
        if (i < range.first || i >= range.last)
          throw wf::usage_error("'pairs' names item " + std::to_string(i) + ", but the items are " + std::to_string(range.first) +
                                " to " + std::to_string(range.last - 1));
    return all;
  }

  static prompt read(wf::sample const& block, std::size_t item, wf::probe_context const& at) {
    std::size_t const first = block.items().first;
    auto const take = [](wf::sample_item const& i) {
      return prompt{{i.tokens().begin(), i.tokens().end()},
                    {i.decoder_tokens().begin(), i.decoder_tokens().end()},
                    {i.token_types().begin(), i.token_types().end()}};
    };
    if (item >= first && item < first + block.size()) return take(block[item - first]);
    auto const other = at.data().read({item, item + 1});
    auto const tokens =
        at.model().encode(other, {at.model().info().family == wf::model_family::encoder_decoder ? 0 : at.longest()});
    wf::activations const none;
    return take(wf::sample(other, tokens, none, 0)[0]);
  }

  static void push(wf::batch& to, prompt const& p, stack const& top) {
    to.tokens.push_back(p.tokens);
    if (top.decoder) to.decoder_tokens.push_back(p.decoder_tokens);
    if (!p.token_types.empty()) to.token_types.push_back(p.token_types);
  }

  static void put_tokens(wf::tensor const& to, std::size_t row, std::span<std::int32_t const> tokens) {
    auto const ids = to.view<std::int32_t>();
    for (std::size_t i = 0; i < ids.size(1); ++i) ids(row, i) = i < tokens.size() ? tokens[i] : -1;
  }

  void trace(wf::accumulator& acc, wf::sample const& block, std::size_t row, item_pair const& pair, std::size_t number,
             std::size_t count, prompt const& clean, prompt const& corrupted, wf::probe_context const& at) const {
    auto const& m = at.model();
    stack const top = stack_of(m.info());
    std::size_t const length = clean.of(top).size();
    if (length != corrupted.of(top).size() || length == 0) throw wf::usage_error(unequal(pair, length, corrupted.of(top).size()));
    auto const where = answer_position_.position(0, length);
    if (!where)
      throw wf::usage_error("`answer_position` lies outside item " + std::to_string(pair.clean) + ", which has " +
                            std::to_string(length) + " tokens");

    auto const by_kind = hooks(m.info(), top);
    wf::batch both;
    push(both, clean, top), push(both, corrupted, top);
    // The node's own precision and edits hold for every run; those of the pair's first item for both.
    auto request = block.request({row, row});
    request.capture = last_states(m.info(), top);
    for (auto const& [kind, names] : by_kind) request.capture.add(wf::hook_set(names));
    auto const captured = m.run(both, request);
    wf::tensor const logits = read_logits(m, top, captured, 2, *where);

    auto const best = [&](std::size_t run) { return likeliest(logits.view<double const>().row(run)); };
    std::int32_t const answer = answer_.empty() ? best(0) : answer_.token(number, count, m);
    std::int32_t const against = against_.empty() ? best(1) : against_.token(number, count, m);
    if (answer == against)
      throw wf::usage_error("items " + std::to_string(pair.clean) + " and " + std::to_string(pair.corrupted) + " both lead to " +
                            wf::in_quotes(m.token_text(answer)) +
                            ", so there is no difference to explain; name an `answer` and what it is `against`");
    auto const difference = [&](wf::tensor const& of, std::size_t run) {
      return of(run, static_cast<std::size_t>(answer)) - of(run, static_cast<std::size_t>(against));
    };
    double const of_clean = difference(logits, 0), of_corrupted = difference(logits, 1);
    acc["clean"](row) = of_clean, acc["corrupted"](row) = of_corrupted;
    acc["answer"].view<std::int32_t>()(row) = answer, acc["against"].view<std::int32_t>()(row) = against;
    put_tokens(acc["clean tokens"], row, clean.of(top)), put_tokens(acc["corrupted tokens"], row, corrupted.of(top));

    prompt const& base = into_clean_ ? clean : corrupted;
    std::size_t const donor = into_clean_ ? 1 : 0;
    double const base_difference = into_clean_ ? of_clean : of_corrupted,
                 donor_difference = into_clean_ ? of_corrupted : of_clean;
    for (auto const& [kind, names] : by_kind) {
      wf::tensor const restored = acc[kind][row], raw = acc[kind + " difference"][row];
      for (auto const* t : {&restored, &raw})
        for (double& v : t->values<double>()) v = no_number;
      std::size_t const each = restored.count() / top.layers;
      auto const in_layer = patches(kind, m.info(), length, positions_.places(top.longest(at)));
      std::size_t const most = std::max<std::size_t>(1, tokens_at_once / length);
      for (std::size_t l = 0; l < top.layers; ++l)
        for (std::size_t first = 0; first < in_layer.size(); first += most) {
          std::span<patch const> const some = std::span(in_layer).subspan(first, std::min(most, in_layer.size() - first));
          auto const patched = run(m, top, block, row, base, names[l], captured.at(names[l], donor), some, *where);
          for (std::size_t i = 0; i < some.size(); ++i) {
            double const now = difference(patched, i);
            raw.values<double>()[l * each + some[i].place] = now;
            restored.values<double>()[l * each + some[i].place] = (now - base_difference) / (donor_difference - base_difference);
          }
        }
    }
  }

  /// All patches of one kind within a layer.
  std::vector<patch> patches(std::string const& kind, wf::model_info const& m, std::size_t length, std::size_t places) const {
    std::vector<patch> all;
    if (kind == "z" && !each_position_) {
      for (std::size_t h = 0; h < m.heads; ++h) all.push_back({0, {}, h, h});
      return all;
    }
    for (std::size_t p = 0; p < places; ++p) {
      auto const position = positions_.position(p, length);
      if (!position) continue;
      if (kind != "z") {
        all.push_back({0, position, {}, p});
        continue;
      }
      for (std::size_t h = 0; h < m.heads; ++h) all.push_back({0, position, h, p * m.heads + h});
    }
    return all;
  }

  /// Logits at one position of a run for each patch, [patch, token].
  static wf::tensor run(wf::model const& m, stack const& top, wf::sample const& block, std::size_t row, prompt const& base,
                        std::string const& hook, wf::tensor const& donor, std::span<patch const> all, std::size_t where) {
    wf::batch batch;
    for (std::size_t i = 0; i < all.size(); ++i) push(batch, base, top);
    auto request = block.request(std::vector<std::size_t>(all.size(), row));
    request.capture = last_states(m.info(), top);
    request.edits.push_back({hook, [&](wf::edit_site const& site, wf::tensor const& x) {
                               patch const& p = all[site.item];
                               auto const chosen = [&](wf::tensor const& t) {
                                 wf::tensor part = p.position ? t.slice(0, *p.position, *p.position + 1) : t;
                                 return p.head ? part.slice(1, *p.head, *p.head + 1) : part;
                               };
                               wf::copy_into(chosen(x), chosen(donor));
                             }});
    return read_logits(m, top, m.run(batch, request), all.size(), where);
  }

  /// The hook from which logits are made.
  static wf::hook_set last_states(wf::model_info const& m, stack const& top) {
    return m.hooks_for(m.norm == wf::norm_kind::none ? top.block(top.layers - 1, "hook_resid_post")
                                                     : top.final_norm + "hook_out");
  }

  static wf::tensor read_logits(wf::model const& m, stack const& top, wf::activations const& captured, std::size_t runs,
                                std::size_t where) {
    auto const hook = last_states(m.info(), top).names().at(0);
    wf::tensor const& any = captured.at(hook, 0);
    wf::tensor const states(any.type(), {{"row", runs}, {"d_model", any.size(1)}});
    for (std::size_t r = 0; r < runs; ++r) wf::copy_into(states[r], captured.at(hook, r)[where]);
    return m.unembed(states).to(wf::dtype::f64);
  }

  /// [pair, ...] -> [...], leaving out pairs that have no such position.
  static wf::tensor mean_over_pairs(wf::tensor const& all) {
    wf::dims const shape(all.shape().begin() + 1, all.shape().end());
    wf::tensor const mean(wf::dtype::f64, shape);
    auto const to = mean.values<double>();
    auto const from = all.values<double const>();
    for (std::size_t j = 0; j < to.size(); ++j) {
      double sum = 0, count = 0;
      for (std::size_t n = 0; n < all.size(0); ++n)
        if (double const v = from[n * to.size() + j]; !std::isnan(v)) sum += v, count += 1;
      to[j] = sum / count;
    }
    return mean;
  }

  std::vector<std::string> kinds_;
  position_choice positions_;
  answer_list answer_, against_;
  position_choice answer_position_;
  bool each_position_, into_clean_;
  std::vector<item_pair> pairs_;
};

WAYFARER_PROBE(
    patching, "1.0.0", "How much of an answer each activation carries from one text to another", wf::port::model("model"),
    wf::port::source("source", "pairs of texts: a clean one, then a corrupted one of as many tokens"),
    wf::param("kinds", wf::strings("resid_pre"),
              "activations to put in: the residual stream before a block, what attention or MLP adds, or single heads (z)")
        .one_of("resid_pre|resid_mid|attn_out|mlp_out|z"),
    wf::param("pairs", wf::strings(""),
              "items that belong together, clean first, such as [\"0 1\", \"2 3\"]; empty: 0 and 1, 2 and 3, ..."),
    wf::param(
        "answer", wf::strings(""),
        "text of the clean text's answer token: one for all pairs, or one for each; empty: the clean run's likeliest token"),
    wf::param("answer_ids", wf::integers(""), "the same as token ids"),
    wf::param("against", wf::strings(""),
              "text of the corrupted text's answer token: one for all pairs, or one for each; empty: the corrupted run's "
              "likeliest token"),
    wf::param("against_ids", wf::integers(""), "the same as token ids"),
    wf::param("answer_position", -1, "position whose logits count, negative from the end"),
    wf::param("positions", wf::strings("all"), "positions to put activations in at: all, last, or numbers such as [0, -1]"),
    wf::param("heads_at", "all_positions", "put a head's z in at all positions together, or at each by itself")
        .one_of("all_positions|each_position"),
    wf::param("into", "corrupted",
              "the run that is changed: the clean text's activations into the corrupted run, or the other way round")
        .one_of("corrupted|clean"));
