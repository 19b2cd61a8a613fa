#include "conformance/workbench.hpp"

#include <new>

#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>

namespace wayfarer::host::conformance {
void workbench::find_config(std::function<void(config const&)> const& works) {
  auto const open = open_paths(subject, given);
  config const start = complete(subject, given, seed);
  std::vector<config> candidates;
  if (open.empty()) {
    candidates.push_back(start);
  } else {
    for (auto const& file : files.all()) {
      config c = start;
      for (auto const& name : open) c.set(name, param_value(file.string()));
      candidates.push_back(std::move(c));
    }
    // Two files of different kinds, such as a text and a list of words.
    if (open.size() == 2)
      for (auto const& one : files.all())
        for (auto const& two : files.all()) {
          config c = start;
          c.set(open[0], param_value(one.string())), c.set(open[1], param_value(two.string()));
          candidates.push_back(std::move(c));
        }
  }
  std::string first_reason;
  for (auto const& c : candidates) {
    try {
      works(c);
      base = c;
      return;
    } catch (usage_error const& e) {
      if (first_reason.empty()) first_reason = e.what();
    } catch (data_error const& e) {
      if (first_reason.empty()) first_reason = e.what();
    }
  }
  throw unmet_need("can't be made with its defaults and the inputs that are at hand (" + first_reason +
                   "); give what it needs with --set param=value");
}

std::string refusal_of(std::function<void()> const& work) {
  try {
    work();
  } catch (plugin_error const&) {
    throw;
  } catch (error const& e) {
    return e.what();
  } catch (std::bad_alloc const&) {
    return "memory ran out";
  }
  return {};
}

std::shared_ptr<model> make_model(workbench& bench, std::string const& id, std::uint64_t seed, std::string* why,
                                  std::filesystem::path const& folder) {
  auto const failed = [&](std::string reason) {
    if (why) *why = id + ": " + std::move(reason);
    return nullptr;
  };
  try {
    auto const* p = bench.plugins.find(id);
    if (!p || p->kind() != plugin_kind::model) return failed("there is no such model plugin");
    config c = complete(*p, {}, seed);
    for (auto const& name : open_paths(*p, {}))
      c.set(name, param_value((!folder.empty()   ? folder
                               : id == "t5"      ? bench.files.t5()
                               : id == "bert"    ? bench.files.bert()
                               : id == "decoder" ? bench.files.llama()
                                                 : bench.files.gpt2())
                                  .string()));
    std::shared_ptr<model> m = p->create<model>(c);
    m->load();
    return m;
  } catch (std::exception const& e) {
    return failed(e.what());
  }
}

}  // namespace wayfarer::host::conformance
