// The rules empty_input, one_and_longest and, through models of other families, typed_errors.
#include <algorithm>

#include "conformance/probes/find_stage.hpp"
#include "conformance/probes/probe_case.hpp"

namespace wayfarer::host::conformance {
namespace {

struct lengths {
  std::size_t shortest, longest, items;
  char const *rule, *name;
};

/// What a new instance measures on another stage: why it refuses, "" if it does not.
std::string refusal_on(probe_case const& c, stage const& other, std::size_t blocks) {
  return refusal_of([&] {
    auto const fresh = c.bench->make<probe>();
    rig(other, *fresh, c.bench->base.seed()).measure(*fresh, blocks);
  });
}

void check_lengths(probe_case const& c, lengths const& l, reporter& out) {
  auto const& found = c.found();
  std::size_t const most = found.over && found.over->info().longest != 0 ? found.over->info().longest : 150;
  std::vector<std::string> unavailable;
  stage_request const want{found.over != nullptr,     true,    std::min(l.shortest, most),
                           std::min(l.longest, most), l.items, found.model_id};
  stage other;
  for (auto& s : stages_for(*c.bench, want, unavailable))
    if (s.name == found.name) other = s;
  other.inputs = found.inputs, other.results = found.results;
  try {
    // What the model itself refuses says nothing about the probe.
    rig(other, c.what(), c.bench->base.seed()).block({0, l.items});
  } catch (std::exception const& e) {
    throw unmet_need(std::string("the model does not take them: ") + e.what());
  }
  std::string const refusal = refusal_on(c, other, l.items);
  if (!refusal.empty()) out.note(l.rule, std::string(l.name) + " are refused: " + refusal);
}

/// The same items through a decoder of another family: each is measured, or refused with a reason.
void check_family(probe_case const& c, std::string const& kind, std::filesystem::path const& checkpoint, reporter& out) {
  stage other = c.found();
  std::string why;
  other.over = make_model(*c.bench, "decoder", c.seed(), &why, checkpoint);
  if (!other.over) throw unmet_need(why);
  std::string const refusal = refusal_on(c, other, 2);
  if (!refusal.empty()) out.note("typed_errors", kind + " is refused: " + refusal);
}

}  // namespace

void check_nothing_observed(probe_case const& c, reporter&) {
  auto const& found = c.found();
  refusal_of([&] { c.on->observe(c.what(), c.on->block({0, 0})); });
  refusal_of([&] {
    probe_context const none(found.over.get(), found.data.get(), {0, 0}, 0, 0, 0, found.inputs.get());
    accumulator sums(0);
    c.what().shape(sums, none);
    results r;
    c.what().finish(sums, r, none);
  });
}

void add_length_steps(std::vector<step>& steps, std::shared_ptr<probe_case const> const& on) {
  for (auto const& l :
       {lengths{0, 0, 4, "empty_input", "items without tokens"}, lengths{1, 1, 4, "one_and_longest", "items of one token"},
        lengths{100000, 100000, 2, "one_and_longest", "items as long as the model takes"}})
    steps.push_back({l.rule, l.name, [=](reporter& out) { check_lengths(*on, l, out); }});
}

void add_family_steps(std::vector<step>& steps, std::shared_ptr<probe_case const> const& on) {
  auto const& over = on->found().over;
  if (!over || over->info().family != model_family::decoder || !on->bench->plugins.find("decoder")) return;
  for (auto const& [name, file] : {std::pair{"a Llama", &generated_files::llama},
                                   {"a GPT-NeoX", &generated_files::neox},
                                   {"a Gemma 2", &generated_files::gemma2}})
    steps.push_back({"typed_errors", std::string("the same items through ") + name,
                     [on, kind = std::string(name), checkpoint = file](reporter& out) {
                       check_family(*on, kind, (on->bench->files.*checkpoint)(), out);
                     }});
}

}  // namespace wayfarer::host::conformance
