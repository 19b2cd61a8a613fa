#include "conformance/workbench.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <exception>
#include <mutex>
#include <new>
#include <set>
#include <thread>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/model.hpp>

#include "pipeline/values.hpp"
#include "store/store.hpp"

namespace wayfarer::host::conformance {
namespace fs = std::filesystem;

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

namespace {

std::string parameter_key(std::string_view name, std::string_view value) {
  return "parameter/" + std::string(name) + "/" + std::string(value);
}

}  // namespace

void add_parameter_steps(std::vector<step>& steps, workbench& bench, std::function<std::string(config const&)> const& digest) {
  auto const outcome = [digest](config const& c) {
    std::string result;
    std::string const refusal = refusal_of([&] { result = digest(c); });
    return refusal.empty() ? result : "refused";
  };
  if (bench.subject.params().empty()) return;
  config const base = bench.base;
  steps.push_back(
      {"parameter_range", "its defaults", [=](reporter& out) { out.digest(parameter_key("", "default"), outcome(base)); }, true});
  for (auto const& d : bench.subject.params()) {
    std::string const name = d.name;
    bool const is_seed = name == "seed" && d.type == param_type::integer;
    for (auto const& t : trials_of(d, base[name])) {
      config c = base;
      c.set(name, t.value);
      if (is_seed) c.set_seed(static_cast<std::uint64_t>(t.value.integer()));
      steps.push_back({"parameter_range", name + " = " + t.text,
                       [=](reporter& out) { out.digest(parameter_key(name, t.text), outcome(c)); }, true});
    }
    // If the plugin never reads a parameter, it does not notice that the parameter is missing.
    steps.push_back({"parameter_is_used", name + " left out",
                     [=](reporter& out) {
                       auto values = base.values();
                       values.erase(name);
                       config without(std::move(values));
                       without.set_seed(is_seed ? base.seed() + 1 : base.seed());
                       std::string result = "missed";
                       try {
                         result = outcome(without);
                       } catch (...) {
                       }
                       out.digest(parameter_key(name, "left out"), result);
                     },
                     true});
    param_descriptor const* const descriptor = &d;
    steps.push_back({"parameter_range", name + " beyond its range", [descriptor, name](reporter&) {
                       for (auto const& text : beyond_range(*descriptor)) {
                         yaml_value v;
                         v.kind = yaml_kind::scalar, v.text = text;
                         std::vector<value_problem> wrong;
                         if (convert(*descriptor, v, wrong))
                           throw violation("parameter_range", name + " takes " + text + ", which its schema does not allow");
                       }
                     }});
  }
}

std::vector<finding> unused_parameters(plugin const& p, std::map<std::string, std::string> const& digests) {
  std::vector<finding> out;
  auto const usual = digests.find(parameter_key("", "default"));
  if (usual == digests.end()) return out;
  for (auto const& d : p.params()) {
    std::string const prefix = parameter_key(d.name, "");
    std::string tried;
    bool changes = false, missed = true, any = false;
    for (auto at = digests.lower_bound(prefix); at != digests.end() && at->first.starts_with(prefix); ++at) {
      std::string const value = at->first.substr(prefix.size());
      if (value == "left out") {
        missed = at->second != usual->second;
      } else {
        any = true;
        changes = changes || at->second != usual->second;
        if (tried.size() < 200) tried += (tried.empty() ? "" : ", ") + value;
      }
    }
    if (changes || !any) continue;
    std::string const name = d.name;
    if (!missed)
      out.push_back(
          {level::broken, "parameter_is_used", name,
           "'" + name + "' is never read and changes nothing (tried " + tried + "); use it or take it out of the schema"});
    else
      out.push_back({level::noted, "parameter_is_used", name, "'" + name + "' changed nothing here (tried " + tried + ")"});
  }
  return out;
}

void check_results(workbench const& bench, results const& r, std::size_t items, reporter& out) {
  if (r.empty()) throw violation("writes_results", "no dataset was added: what was measured is lost");
  if (r.summary().empty() || r.summary().find('\n') != std::string::npos)
    out.broken("states_its_finding", r.summary().empty() ? "there is no summary; say what was found with results::summarise"
                                                         : "the summary has more than one line");
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
  fs::path const file = bench.folder / "result.h5";
  try {
    result_writer writer(file, "conformance", 0);
    writer.write({"node", std::string(bench.subject.id()), "", "", "", "{}", "", 0}, r);
    run_record run;
    run.pipeline_text = "", run.plan_json = "{}";
    writer.commit(run, {});
  } catch (plugin_error const& e) {
    throw violation("named_dimensions", std::string("can't be written to a result file: ") + e.what());
  }
  fs::remove(file);
}

namespace {

/// While it lives, threads that let it are interrupted every 50 microseconds and give way, wherever they are: on a busy machine,
/// or on one core, two threads would otherwise hardly ever be inside the same function.
class interruptions {
 public:
  interruptions() {
    struct sigaction give_way {};
    left_ = 400;
    give_way.sa_handler = [](int) {
      if (left_.fetch_sub(1, std::memory_order_relaxed) > 0) ::sched_yield();
    };
    give_way.sa_flags = SA_RESTART;
    // It stays when this ends: the thread sanitizer holds signals back, so that one may still come then.
    ::sigaction(SIGALRM, &give_way, nullptr);
    mask(SIG_BLOCK);  // this thread only waits
    itimerval const often{{0, 50}, {0, 50}};
    ::setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~interruptions() {
    itimerval const never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    mask(SIG_UNBLOCK);
  }
  interruptions(interruptions const&) = delete;
  static void mask(int how) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGALRM);
    ::pthread_sigmask(how, &set, nullptr);
  }

 private:
  static inline std::atomic<int> left_{0};
};

}  // namespace

void on_threads(std::size_t threads, std::function<void(std::size_t)> const& work) {
  std::atomic<std::size_t> waiting{threads};
  std::exception_ptr first;
  std::mutex mutex;
  std::vector<std::thread> all;
  interruptions const often;
  for (std::size_t t = 0; t < threads; ++t)
    all.emplace_back([&, t] {
      interruptions::mask(SIG_UNBLOCK);
      --waiting;
      while (waiting.load() != 0) std::this_thread::yield();
      try {
        work(t);
      } catch (...) {
        std::lock_guard const lock(mutex);
        if (!first) first = std::current_exception();
      }
      interruptions::mask(SIG_BLOCK);
    });
  for (auto& t : all) t.join();
  if (first) std::rethrow_exception(first);
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
