// The rules writes_results, states_its_finding, says_its_view and named_dimensions.
#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>

#include "conformance/workbench.hpp"
#include "store/store.hpp"

namespace wayfarer::host::conformance {

namespace {

void check_views(results const& r, reporter& out) {
  std::vector<std::string> silent;
  for (auto const& name : r.names()) {
    dataset const& d = *r.find(name);
    if (d.shape().empty()) continue;
    if (d.view().empty()) silent.push_back(name);
    try {
      dataset(d).view(d.view());  // once more, with the names that the dimensions have in the end
    } catch (plugin_error const& e) {
      out.broken("says_its_view", "'" + name + "': " + e.what() + "; call view() after dims()");
    }
  }
  if (silent.empty()) return;
  std::string const others = silent.size() == 1 ? " does" : " and " + counted(silent.size() - 1, "other dataset") + " do";
  out.broken("says_its_view",
             "'" + silent.front() + "'" + others + " not say how to look at it; add view(), such as view(\"curve\")");
}

}  // namespace

void check_results(workbench const& bench, results const& r, std::size_t items, reporter& out) {
  if (r.empty()) throw violation("writes_results", "no dataset was added: what was measured is lost");
  if (r.summary().empty() || r.summary().find('\n') != std::string::npos)
    out.broken("states_its_finding", r.summary().empty() ? "there is no summary; say what was found with results::summarise"
                                                         : "the summary has more than one line");
  check_views(r, out);
  std::map<std::string, std::size_t> sizes;
  for (auto const& name : r.names()) {
    dataset const& d = *r.find(name);
    auto const bad = [&](std::string const& what) { throw violation("named_dimensions", "'" + name + "' " + what); };
    if (!d.is_text() && !d.values().defined()) throw violation("writes_results", "'" + name + "' has no values");
    std::set<std::string> here;
    for (auto const& x : d.shape()) {
      if (x.name.empty()) bad("has a dimension without a name: " + describe(d.shape()));
      if (std::all_of(x.name.begin(), x.name.end(), [](char c) { return c >= '0' && c <= '9'; }))
        bad("has a dimension that is named by a number: " + describe(d.shape()) + "; name it with dims()");
      if (!here.insert(x.name).second) bad("has two dimensions of one name: " + describe(d.shape()));
      if (x.name == "item" && items != 0 && x.size != items)
        bad("has " + std::to_string(x.size) + " along 'item', but " + std::to_string(items) + " items were observed");
      auto const [known, fresh] = sizes.emplace(x.name, x.size);
      if (!fresh && known->second != x.size)
        out.note("named_dimensions", "'" + x.name + "' is " + std::to_string(known->second) + " long in one dataset and " +
                                         std::to_string(x.size) + " in '" + name + "'; give them two names");
    }
    for (auto const& [dimension, labels] : d.label_map())
      if (auto const at =
              std::find_if(d.shape().begin(), d.shape().end(), [&wanted = dimension](dim const& x) { return x.name == wanted; });
          at == d.shape().end() || at->size != labels.size())
        bad("has " + std::to_string(labels.size()) + " labels for '" + dimension + "', which it lacks or which is not that long");
    if (!d.is_text() && d.values().count() != 0) {
      auto const own = d.values().to(dtype::f64);
      auto const values = own.values<double const>();
      if (std::all_of(values.begin(), values.end(), [](double v) { return std::isnan(v); }))
        out.note("writes_results", "every number of '" + name + "' is NaN");
    }
    if (d.about().empty()) out.note("writes_results", "'" + name + "' does not say what it is; add about()");
  }
  std::filesystem::path const file = bench.folder / "result.h5";
  try {
    result_writer writer(file, "conformance", 0);
    writer.write({"node", std::string(bench.subject.id()), "", "", "", "{}", "", 0}, r);
    run_record run;
    run.pipeline_text = "", run.plan_json = "{}";
    writer.commit(run, {});
  } catch (plugin_error const& e) {
    throw violation("named_dimensions", std::string("can't be written to a result file: ") + e.what());
  }
  std::filesystem::remove(file);
}

}  // namespace wayfarer::host::conformance
