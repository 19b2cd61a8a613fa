// The rules edits_go_downstream and edits_keep_the_mask.
#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {

void check_edit_of_nothing(model_case const& c, reporter& out) {
  batch const& b = c.tokens();
  activations const all = c.m().run(b, asking(c.every));
  comparison same("edits_go_downstream", "with an edit that changes nothing", out);
  for (auto const& name : c.every.names()) {
    run_request r = asking(c.every);
    r.edits.push_back({name, [](edit_site const&, tensor const&) {}});
    activations const edited = c.m().run(b, r);
    for (auto const& other : c.every.names())
      for (std::size_t i = 0; i < b.items(); ++i)
        same("'" + other + "' when '" + name + "' is edited", all.at(other, i), edited.at(other, i));
  }
}

void check_edit_of_one_item(model_case const& c, reporter& out) {
  batch const& b = c.tokens();
  auto const& every = c.every;
  activations const all = c.m().run(b, asking(every));
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
    activations const edited = c.m().run(b, r);
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
}

void check_edit_of_embedding(model_case const& c, reporter&) {
  std::string const first = c.every.names().front();
  run_request r = asking(hook_set({c.last}));
  activations const all = c.m().run(c.tokens(), r);
  r.edits.push_back({first, [](edit_site const&, tensor const& x) {
                       float sign = 1;
                       for (auto& v : x.values<float>()) v += sign, sign = -sign * 0.75f;
                     }});
  if (same_bytes(all.at(c.last, 0), c.m().run(c.tokens(), r).at(c.last, 0)))
    throw violation("edits_go_downstream", "changing '" + first + "' changes nothing of '" + c.last + "'");
}

namespace {

/// Whether a hook runs over pairs of positions of the stack that predicts the next token.
bool over_causal_pairs(model_info const& i, hook_info const& h) {
  if (!h.per_pair || i.family == model_family::encoder) return false;
  bool const two = i.family == model_family::encoder_decoder;
  return !two || (h.along == positions::decoder && h.keys == positions::decoder);
}

ragged<std::int32_t> const& predicting(batch const& b, bool decodes) {
  return decodes ? b.decoder_tokens : b.tokens;
}

/// Another last token in every list of the stack that predicts.
batch with_other_ends(batch other, bool decodes) {
  auto& lists = decodes ? other.decoder_tokens : other.tokens;
  for (std::size_t i = 0; i < lists.size(); ++i)
    if (!lists[i].empty()) {
      auto& end = lists.values[lists.offsets[i + 1] - 1];
      end = end == 0 ? 1 : 0;
    }
  return other;
}

/// Everything that these hooks show is set to `to`: earlier logits must not see the last token.
void check_mask(model_case const& c, batch const& other, std::vector<std::string> const& hooks, float to) {
  run_request r = asking(hook_set({"logits"}));
  for (auto const& name : hooks)
    r.edits.push_back({name, [to](edit_site const&, tensor const& x) {
                         for (auto& v : x.values<float>()) v = to;
                       }});
  activations const one = c.m().run(c.tokens(), r), two = c.m().run(other, r);
  auto const& lists = predicting(other, c.decodes());
  for (std::size_t i = 0; i < lists.size(); ++i)
    if (std::size_t const n = lists[i].size();
        n > 1 && !same_bytes(one.at("logits", i).slice(0, 0, n - 1).clone(), two.at("logits", i).slice(0, 0, n - 1).clone()))
      throw violation("edits_keep_the_mask", "with '" + hooks.front() + (hooks.size() > 1 ? "' and others" : "'") + " set to " +
                                                 (to == 0 ? "0" : "1") +
                                                 ", a later token changes earlier logits; mask what an edit wrote again");
}

}  // namespace

void check_edits_keep_the_mask(model_case const& c, reporter&) {
  auto const& info = c.m().info();
  if (info.family == model_family::encoder || !info.find_hook("logits")) throw unmet_need("its logits are not of the next token");
  std::vector<std::string> pairs;
  for (auto const& h : info.hooks)
    if (over_causal_pairs(info, h)) pairs.push_back(h.name);
  if (pairs.empty()) throw unmet_need("there is no hook over pairs of positions");
  batch const other = with_other_ends(c.tokens(), c.decodes());
  std::vector<std::vector<std::string>> sets{pairs};
  for (auto const& name : pairs) sets.push_back({name});
  for (auto const& set : sets)
    for (float const to : {0.0f, 1.0f}) check_mask(c, other, set, to);
}

}  // namespace wayfarer::host::conformance
