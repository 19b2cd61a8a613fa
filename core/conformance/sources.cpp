// The rules of a source: `read` is a pure function of the range, and agrees with info().
#include <algorithm>

#include <wayfarer/error.hpp>
#include <wayfarer/source.hpp>

#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {
namespace {

/// More is read of no source: a generator may have a billion items.
constexpr std::size_t most_items = 29;

item_block checked_read(source const& s, item_range r) {
  item_block b = s.read(r);
  std::string const asked = "asked for items " + std::to_string(r.first) + " to " + std::to_string(r.last);
  if (b.first != r.first || b.count != r.size())
    throw violation("matches_info", asked + ", it gave " + std::to_string(b.count) + " from " + std::to_string(b.first));
  source_info const& info = s.info();
  auto const column = [&](char const* name, bool promised, std::size_t lists) {
    if (r.size() != 0 && promised && lists == 0)
      throw violation("matches_info", std::string("info() promises ") + name + ", and there are none");
    if (lists != 0 && lists != b.count)
      throw violation("matches_info", asked + ", it gave " + std::to_string(lists) + " lists of " + name);
  };
  column("words", info.has_words, b.words.size());
  column("tokens", info.has_tokens, b.tokens.size());
  column("texts", info.has_texts, b.texts.size());
  column("choices", info.has_choices, b.choices.size());
  column("decoder tokens", false, b.decoder_tokens.size());
  for (std::size_t i = 0; i < b.words.size(); ++i) {
    for (auto const w : b.words[i])
      if (w < 0 || (info.vocabulary != 0 && static_cast<std::size_t>(w) >= info.vocabulary))
        throw violation("matches_info", "item " + std::to_string(r.first + i) + " has the word " + std::to_string(w) +
                                            ", outside the vocabulary of " + std::to_string(info.vocabulary));
    if (info.longest != 0 && b.words[i].size() > info.longest)
      throw violation("matches_info", "item " + std::to_string(r.first + i) + " has " + std::to_string(b.words[i].size()) +
                                          " words, and info() says at most " + std::to_string(info.longest));
  }
  for (auto const& [name, values] : b.truth)
    if (!values.defined() || values.rank() == 0 || values.shape()[0] != dim{"item", b.count})
      throw violation("matches_info", "the truth '" + name + "' is " + describe(values.shape()) +
                                          "; its first dimension must be item " + std::to_string(b.count));
  return b;
}

/// One digest an item, so that any cut can be compared.
std::vector<std::string> items_of(source const& s, item_range whole, std::size_t at_once) {
  std::vector<std::string> digests;
  for (std::size_t first = whole.first; first < whole.last; first += at_once) {
    item_range const r{first, std::min(first + at_once, whole.last)};
    item_block const b = checked_read(s, r);
    for (std::size_t i = 0; i < b.count; ++i) {
      item_block one;
      one.first = r.first + i, one.count = 1;
      if (!b.words.empty()) one.words.push_back(b.words[i]);
      if (!b.tokens.empty()) one.tokens.push_back(b.tokens[i]);
      if (!b.decoder_tokens.empty()) one.decoder_tokens.push_back(b.decoder_tokens[i]);
      if (!b.token_types.empty()) one.token_types.push_back(b.token_types[i]);
      if (!b.texts.empty()) one.texts.push_back(b.texts[i]);
      if (!b.seconds.empty()) one.seconds.push_back(b.seconds[i]);
      if (!b.choices.empty()) one.choices.push_back(b.choices[i]);
      for (auto const& [name, values] : b.truth) one.truth.emplace(name, values.slice(0, i, i + 1).clone());
      digests.push_back(digest_of(one));
    }
  }
  return digests;
}

std::string join(std::vector<std::string> const& all) {
  std::string text;
  for (auto const& one : all) text += one;
  return text;
}

}  // namespace

std::vector<step> source_steps(std::shared_ptr<workbench> bench, reporter& start) {
  bench->find_config([&](config const& c) { bench->make<source>(c); });
  std::shared_ptr<source const> s = bench->make<source>();
  std::size_t const items = s->info().items;
  item_range const some{0, std::min(items, most_items)};
  start.about("input", std::to_string(some.size()) + " of " + std::to_string(items) + " items");
  std::vector<step> steps;
  auto const reference = [s, some] { return items_of(*s, some, std::max<std::size_t>(1, some.size())); };

  steps.push_back({"matches_info", "reading the first and the last items", [=](reporter& out) {
                     source_info const& info = s->info();
                     if (!info.has_words && !info.has_tokens && !info.has_texts)
                       throw violation("matches_info", "info() promises neither words nor tokens nor texts");
                     for (auto const& [name, values] : info.truth) {
                       if (!values.defined()) throw violation("matches_info", "the truth '" + name + "' has no values");
                       for (auto const& d : values.shape())
                         if (d.name == "word" && d.size != info.vocabulary)
                           throw violation("matches_info", "the truth '" + name + "' is " + describe(values.shape()) +
                                                               ", but there are " + std::to_string(info.vocabulary) + " words");
                     }
                     if (!info.words.empty() && info.words.size() != info.vocabulary)
                       throw violation("matches_info", std::to_string(info.words.size()) + " texts for a vocabulary of " +
                                                           std::to_string(info.vocabulary));
                     if (items == 0) out.note("matches_info", "there are no items");
                     checked_read(*s, some);
                     checked_read(*s, {items - std::min<std::size_t>(items, 3), items});
                   }});
  steps.push_back({"empty_input", "reading no items", [=](reporter&) {
                     for (std::size_t const at : {std::size_t{0}, items}) checked_read(*s, {at, at});
                   }});
  steps.push_back({"pure_read", "the items in blocks of 1, 2, 7 and all", [=](reporter&) {
                     auto const all = reference();
                     for (std::size_t const at_once : {1, 2, 7}) {
                       auto const again = items_of(*s, some, at_once);
                       for (std::size_t i = 0; i < all.size(); ++i)
                         if (again[i] != all[i])
                           throw violation("pure_read", "item " + std::to_string(i) + " differs when read in blocks of " +
                                                            std::to_string(at_once));
                     }
                     for (std::size_t i = all.size(); i-- > 0;)
                       if (items_of(*s, {i, i + 1}, 1)[0] != all[i])
                         throw violation("pure_read",
                                         "item " + std::to_string(i) + " differs when items are read in descending order");
                   }});
  steps.push_back({"repeatable", "reading twice, in two instances",
                   [=](reporter& out) {
                     auto const all = reference();
                     if (reference() != all) throw violation("repeatable", "the same range read twice gives other items");
                     out.digest("items", join(all));
                     out.digest("info", digest_of(s->info()));
                   },
                   false, true});
  steps.push_back({"independent_instances", "two instances taking turns", [=](reporter&) {
                     auto const all = reference();
                     auto const other = bench->make<source>();
                     if (digest_of(other->info()) != digest_of(s->info()))
                       throw violation("stable_info", "two instances with the same parameters say different things");
                     for (std::size_t i = 0; i < all.size(); ++i) {
                       other->read({all.size() - 1 - i, all.size() - i});
                       if (items_of(*s, {i, i + 1}, 1)[0] != all[i] || items_of(*other, {i, i + 1}, 1)[0] != all[i])
                         throw violation("independent_instances",
                                         "item " + std::to_string(i) + " differs while another instance is read");
                     }
                   }});
  steps.push_back({"many_threads", "reading from many threads at once", [=](reporter&) {
                     auto const all = reference();
                     for (int round = 0; round < 20; ++round)
                       on_threads(4, [&](std::size_t t) {
                         auto const mine = items_of(*s, some, 1 + t);
                         if (mine != all) throw violation("many_threads", "items differ when four threads read at once");
                       });
                   }});
  steps.push_back({"stable_info", "info() before and after reading", [=](reporter&) {
                     auto const fresh = bench->make<source>();
                     std::string const before = digest_of(fresh->info());
                     fresh->read(some);
                     if (digest_of(fresh->info()) != before) throw violation("stable_info", "info() changes when items are read");
                   }});
  add_parameter_steps(steps, *bench, [bench](config const& c) {
    auto const made = bench->make<source>(c);
    std::string text = digest_of(made->info());
    return text + digest_of(checked_read(*made, {0, std::min<std::size_t>(made->info().items, 5)}));
  });
  return steps;
}

}  // namespace wayfarer::host::conformance
