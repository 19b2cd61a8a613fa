#include "conformance/probes/find_stage.hpp"

#include <algorithm>
#include <optional>

namespace wayfarer::host::conformance {
namespace {

constexpr std::size_t items_observed = 8;  // probes that keep whole maps take no more by default

stage stage_of(stage_request const& want, std::string const& id, std::shared_ptr<model> m, item_sort sort, std::uint64_t seed) {
  stage s;
  std::size_t most = want.longest;
  if (m && m->info().longest != 0) most = std::min(most, m->info().longest);
  if (want.wants_source)
    s.data = make_items(sort, want.items, std::min(want.shortest, most), most, m ? m->info().vocabulary : 100, seed);
  s.over = std::move(m), s.model_id = id;
  s.name = (s.data ? std::string(name_of(sort)) : std::string()) + (s.over ? (s.data ? " through " : "") + id : "");
  return s;
}

bool has_port(plugin const& p, port_kind kind, bool required_only) {
  for (auto const& d : p.ports())
    if (d.kind == kind && (!required_only || !d.optional)) return true;
  return false;
}

/// Whether the probe is tried with such a port wired, and whether with it open, in that order.
std::vector<bool> options(plugin const& p, port_kind k) {
  std::vector<bool> all;
  if (has_port(p, k, false)) all.push_back(true);
  if (!has_port(p, k, true)) all.push_back(false);
  return all;
}

/// Tries stages and wirings until the probe works.
class stage_search {
 public:
  explicit stage_search(workbench& bench)
      : bench_(bench),
        required_(results_ports(bench.subject, false)),
        optional_(results_ports(bench.subject, true)),
        results_(std::make_shared<std::vector<candidate> const>()) {
    if (!reads_results()) return;
    std::string without_training;
    results_ = std::make_shared<std::vector<candidate> const>(made_results(bench.plugins, bench.seed, without_training));
    if (!without_training.empty()) reasons_.push_back(without_training);
  }

  stage find() {
    for (bool const wants_model : options(bench_.subject, port_kind::model))
      for (bool const wants_source : options(bench_.subject, port_kind::source))
        for (auto& s : stages_for(bench_, {wants_model, wants_source, 5, 24, items_observed}, reasons_))
          if (wire(s)) return s;
    if (fallback_) {
      // Paths that must be given have been found already if the constructor is not what fails.
      if (bench_.base.values().empty()) bench_.base = complete(bench_.subject, bench_.given, bench_.seed);
      return *fallback_;
    }
    std::string all;
    for (auto const& r : reasons_) all += (all.empty() ? "" : "; ") + r;
    throw unmet_need("no model and items at hand suit it: " + all);
  }

 private:
  bool reads_results() const { return !required_.empty() || !optional_.empty(); }

  /// Wires the ports of the stage; false if the probe works with no wiring of those that it requires.
  bool wire(stage& s) {
    wiring wires;
    reason_.clear();
    auto const works = [&](wiring const& some) { return this->works(s, some, wires); };
    if (!try_wirings(required_, *results_, false, works)) {
      if (!reason_.empty()) reasons_.push_back(s.name + ": " + reason_);
      return false;
    }
    for (auto const& port : optional_)
      try_wirings({port}, *results_, false, [&](wiring const& one) {
        auto some = wires;
        some.push_back(one.front());
        return works(some);
      });
    if (!wires.empty()) s.fed = ", " + describe(wires);
    return true;
  }

  /// Measures with these wires. If that works, the stage and `wires` are set to them.
  bool works(stage& s, wiring const& some, wiring& wires) {
    stage wired = s;
    if (reads_results()) wired.results = results_, wired.inputs = std::make_shared<metric_input const>(wire_up(some));
    try {
      bench_.find_config([&](config const& c) {
        auto const what = bench_.make<probe>(c);
        rig(wired, *what, c.seed()).measure(*what);
      });
      s = wired, wires = some;
      return true;
    } catch (unmet_need const& u) {
      reason_ = u.what();
    } catch (std::exception const& e) {
      reason_ = e.what();
      if (!fallback_) fallback_ = wired;
    } catch (...) {
      if (!fallback_) fallback_ = wired;
    }
    return false;
  }

  workbench& bench_;
  std::vector<std::string> required_, optional_;  // results ports
  std::shared_ptr<std::vector<candidate> const> results_;
  std::vector<std::string> reasons_;
  std::string reason_;  // why the last wiring of a stage does not work
  std::optional<stage> fallback_;
};

}  // namespace

std::vector<stage> stages_for(workbench& bench, stage_request const& want, std::vector<std::string>& unavailable) {
  std::vector<stage> out;
  if (!want.wants_model) {
    if (!want.wants_source)
      out.push_back({"nothing", "", nullptr, nullptr});
    else
      for (auto const sort : {item_sort::words, item_sort::tokens, item_sort::texts, item_sort::choices})
        out.push_back(stage_of(want, "", nullptr, sort, bench.seed));
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
    if (!want.only_model.empty() && want.only_model != p.id) continue;
    std::string why;
    auto const m = make_model(bench, p.id, bench.seed, &why);
    if (!m) {
      unavailable.push_back(why);
      continue;
    }
    for (auto const sort : p.sorts) {
      out.push_back(stage_of(want, p.id, m, sort, bench.seed));
      if (!want.wants_source) break;
    }
  }
  return out;
}

stage find_stage(workbench& bench) {
  return stage_search(bench).find();
}

}  // namespace wayfarer::host::conformance
