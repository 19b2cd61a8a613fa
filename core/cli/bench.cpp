// wayfarer bench: compares plugins of one kind on the same input, with Google Benchmark, and a run with an earlier one.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <system_error>

#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <unistd.h>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/run_files.hpp>
#include <wayfarer/version.hpp>

#include "bench/benchmarks.hpp"
#include "bench/limits.hpp"
#include "bench/ratios.hpp"
#include "cli/advised_error.hpp"
#include "cli/options.hpp"
#include "cli/outputs.hpp"
#include "cli/planning.hpp"
#include "conformance/inputs.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"

namespace wayfarer::host {
namespace {

namespace po = boost::program_options;
using namespace bench;

/// Passes everything on to the reporter that --benchmark_format asks for, and keeps the repetitions.
class keeper final : public benchmark::BenchmarkReporter {
 public:
  keeper() : shown_(benchmark::CreateDefaultDisplayReporter()) {}
  bool ReportContext(Context const& context) override {
    shown_->SetOutputStream(&GetOutputStream());
    shown_->SetErrorStream(&GetErrorStream());
    return shown_->ReportContext(context);
  }
  void ReportRuns(std::vector<Run> const& runs) override {
    for (auto const& r : runs) {
      failed_ = failed_ || r.error_occurred;
      if (r.run_type != Run::RT_Iteration || r.error_occurred || r.iterations == 0) continue;
      std::string const name = r.run_name.str();
      times_[name].push_back(r.real_accumulated_time / static_cast<double>(r.iterations));
      if (auto const at = r.counters.find("of_fma_limit"); at != r.counters.end()) fractions_[name].push_back(at->second.value);
    }
    shown_->ReportRuns(runs);
  }
  void Finalize() override { shown_->Finalize(); }

  measurements const& times() const noexcept { return times_; }
  /// Of the multiply-adds that the processor could do, of each repetition.
  measurements const& fractions() const noexcept { return fractions_; }
  bool failed() const noexcept { return failed_; }

 private:
  std::unique_ptr<benchmark::BenchmarkReporter> shown_;
  measurements times_, fractions_;
  bool failed_ = false;
};

/// "gpt2", or "small=gpt2" to measure a plugin under another name, or twice.
subject read_subject(registry& plugins, std::string const& word, plugin_kind kind, std::vector<std::string> const& settings,
                     std::uint64_t seed) {
  std::size_t const equals = word.find('=');
  std::string const name = word.substr(0, equals), id = equals == word.npos ? word : word.substr(equals + 1);
  plugin const* const found = plugins.find(id);
  if (!found)
    throw advised_error("no plugin '" + printable(id) + "'" + did_you_mean(id, plugins.ids()),
                        {"'wayfarer plugins list' lists all plugins"});
  if (found->kind() != kind)
    throw usage_error("'" + id + "' is a " + std::string(name_of(found->kind())) + ", not a " + std::string(name_of(kind)));
  std::vector<std::string> mine;
  for (auto const& s : settings)
    if (s.starts_with(name + ".")) mine.push_back(s.substr(name.size() + 1));
  auto const given = conformance::read_given(*found, mine);
  for (auto const& d : found->params())
    if (d.required && !given.contains(d.name))
      throw usage_error(id + " requires '" + d.name + "' (" + d.doc + "); give it with --set " + name + "." + d.name + "=VALUE");
  return {name, found, conformance::complete(*found, given, seed)};
}

std::vector<std::size_t> read_threads(std::string const& text) {
  std::vector<std::size_t> all;
  std::string_view rest = text;
  for (;;) {
    std::size_t const comma = rest.find(',');
    std::string const one(rest.substr(0, comma));
    char* end = nullptr;
    unsigned long const n = std::strtoul(one.c_str(), &end, 10);
    if (one.empty() || *end != '\0' || n < 1 || n > 1024 || one[0] == '-')
      throw usage_error("--threads takes numbers from 1 to 1024 such as 1,2,4, not '" + printable(text) + "'");
    all.push_back(n);
    if (comma == rest.npos) return all;
    rest.remove_prefix(comma + 1);
  }
}

std::vector<std::string> read_captures(std::string const& text) {
  std::vector<std::string> const known{"none", "logits", "residuals", "patterns", "all"};
  std::vector<std::string> all;
  for (std::string_view rest = text;;) {
    std::size_t const comma = rest.find(',');
    all.emplace_back(rest.substr(0, comma));
    if (std::find(known.begin(), known.end(), all.back()) == known.end())
      throw usage_error("--capture takes none, logits, residuals, patterns or all, not '" + printable(all.back()) + "'" +
                        did_you_mean(all.back(), known));
    if (comma == rest.npos) return all;
    rest.remove_prefix(comma + 1);
  }
}

/// What --benchmark_out or its variable in the environment says, the last of them.
std::optional<std::string> benchmark_out(words const& options) {
  constexpr std::string_view option = "--benchmark_out=";
  for (auto w = options.rbegin(); w != options.rend(); ++w)
    if (w->starts_with(option)) return w->substr(option.size());
  char const* const variable = std::getenv("BENCHMARK_OUT");
  return variable && *variable ? std::optional<std::string>(variable) : std::nullopt;
}

bool holds_measurements(std::string const& file) {
  try {
    return !read_measurements(file).empty();
  } catch (error const&) {
    return false;
  }
}

/// A file in memory that Google Benchmark can open by a name.
class kept_apart {
 public:
  kept_apart() : descriptor_(::memfd_create("wayfarer-bench", MFD_CLOEXEC)) {
    if (descriptor_ < 0)
      throw resource_error("can't make a file in memory for the measurements: " + std::generic_category().message(errno));
  }
  kept_apart(kept_apart const&) = delete;
  ~kept_apart() { ::close(descriptor_); }
  std::string name() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
  void write_to(std::string const& path) const {
    std::string const all = read_text(name(), std::size_t{1} << 30);
    if (!all.empty()) write_file_atomically(path, all);
  }

 private:
  int descriptor_;
};

std::string three_digits(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", v);
  return text;
}

/// Standard error holds findings here.
void check_errors_were_written() {
  if (!std::cerr.flush()) throw resource_error("can't write the ratios to standard error; redirect it");
}

/// Prints the ratios to standard error, so that JSON on standard output stays JSON. The exit code.
int report_ratios(measurements const& now, measurements const& before, std::string const& file, double worst_allowed) {
  auto const all = compare(now, before);
  if (all.empty()) throw usage_error(file + " holds none of these benchmarks; measure the same plugins with the same options");
  std::vector<std::vector<std::string>> rows;
  std::size_t worse = 0, uncertain = 0;
  for (auto const& c : all) {
    // Slower for certain: the whole interval is past the threshold.
    bool const is_worse = c.by.low > worst_allowed;
    worse += is_worse;
    uncertain += !c.by.certain;
    std::string const interval = c.by.certain ? three_digits(c.by.low) + " to " + three_digits(c.by.high) : "too few repetitions";
    rows.push_back({c.name, three_digits(c.by.value), interval, is_worse ? "worse" : c.by.high < 1 ? "better" : ""});
  }
  std::cerr << format_table({"benchmark", "time / before", "95 % interval", ""}, rows)
            << "ratio of medians; interval: percentile bootstrap over repetitions\n";
  if (uncertain != 0) std::cerr << "for intervals, measure both with --benchmark_repetitions=10\n";
  if (worse != 0) std::cerr << worse << " of " << all.size() << " slower by more than " << three_digits(worst_allowed) << "\n";
  check_errors_were_written();
  return worse != 0 ? 1 : 0;
}

/// Prints each benchmark's time over the first one's, and its fraction of the multiply-adds that the processor could do.
void report_against_first(keeper const& kept) {
  auto const interval = [](ratio const& r) {
    return r.certain ? three_digits(r.low) + " to " + three_digits(r.high) : std::string("too few repetitions");
  };
  std::vector<std::vector<std::string>> rows;
  std::vector<double> const one(3, 1.0);
  std::vector<double> const* first = nullptr;
  for (auto const& name : registered()) {  // what is reported comes in the order of chance
    auto const times = kept.times().find(name);
    if (times == kept.times().end()) continue;
    ratio const time = ratio_of(times->second, first ? *first : times->second);
    std::vector<std::string> row{name, three_digits(time.value), first ? interval(time) : "", "", ""};
    if (!first) first = &times->second;
    if (auto const at = kept.fractions().find(name); at != kept.fractions().end()) {
      ratio const fraction = ratio_of(at->second, one);
      row[3] = three_digits(fraction.value), row[4] = interval(fraction);
    }
    rows.push_back(std::move(row));
  }
  std::cerr << format_table({"benchmark", "time / first", "95 % interval", "of multiply-adds", "95 % interval"}, rows)
            << "ratios and fractions are of medians; interval: percentile bootstrap over repetitions\n";
  check_errors_were_written();
}

void add_bench_options(verb_options& o) {
  o.positional("WHAT");
  o.positional("ID", -1);
  o.named().add_options()("set", po::value<std::vector<std::string>>()->composing()->value_name("ID.PARAM=VALUE"),
                          "a parameter of a plugin; may be given more than once")(
      "plugin-path", po::value<std::vector<std::string>>()->composing()->value_name("DIR"),
      "look for plugins here first; may be given more than once")("model", po::value<std::string>()->value_name("ID"),
                                                                  "probes: the model that they look into")(
      "source", po::value<std::string>()->value_name("ID"), "probes: the source of the items")(
      "threads", po::value<std::string>()->default_value("1")->value_name("N,..."), "numbers of threads to measure with")(
      "items", po::value<std::size_t>()->default_value(64)->value_name("N"), "probes and sources: items to process in a round")(
      "block", po::value<std::size_t>()->default_value(16)->value_name("N"), "probes and sources: items in a block")(
      "tokens", po::value<std::size_t>()->default_value(1024)->value_name("N"), "models: tokens in an item")(
      "batch", po::value<std::size_t>()->default_value(1)->value_name("N"), "models: items in a run")(
      "decoder-tokens", po::value<std::size_t>()->default_value(0)->value_name("N"),
      "models: decoder tokens of an encoder-decoder; 0: as many as --tokens")(
      "capture", po::value<std::string>()->default_value("none")->value_name("WHAT,..."),
      "models: none (logits of the last position), logits (of all positions), or also residuals, patterns or all hooks")(
      "seed", po::value<std::uint64_t>()->default_value(0)->value_name("N"), "seed of tokens and of plugins that take one")(
      "force", "let --benchmark_out replace a file that is not from 'bench'")(
      "ratios", "print each time as a ratio to the first, with intervals; default: 10 repetitions, interleaved")(
      "against", po::value<std::string>()->value_name("FILE.json"), "compare with what --benchmark_out=FILE.json wrote earlier")(
      "worse-than", po::value<double>()->default_value(1.05)->value_name("RATIO"),
      "with --against: exit with 1 if a benchmark is slower than before by more than this factor, over its whole interval");
}

work_size read_size(verb_options const& o) {
  work_size size;
  size.threads = read_threads(o.get<std::string>("threads"));
  size.items = o.get<std::size_t>("items"), size.block = o.get<std::size_t>("block");
  size.tokens = o.get<std::size_t>("tokens"), size.batch = o.get<std::size_t>("batch");
  size.decoder_tokens = o.get<std::size_t>("decoder-tokens");
  size.captures = read_captures(o.get<std::string>("capture"));
  size.seed = o.get<std::uint64_t>("seed");
  if (size.items < 1 || size.block < 1 || size.tokens < 1 || size.batch < 1)
    throw usage_error("--items, --block, --tokens and --batch must be at least 1");
  if (size.items > 10'000'000 || size.tokens > 10'000'000 || size.decoder_tokens > 10'000'000 || size.batch > 100'000)
    throw usage_error("--items, --tokens or --batch is larger than can be measured");
  return size;
}

bool has_option(words const& all, std::string const& begin) {
  return std::any_of(all.begin(), all.end(), [&](auto const& w) { return w.starts_with(begin); });
}

/// Adds to Google Benchmark's options what ours need, unless it was given.
void add_defaults(verb_options const& o, words& theirs) {
  if ((o.has("against") || o.has("ratios")) && !has_option(theirs, "--benchmark_repetitions"))
    theirs.emplace_back("--benchmark_repetitions=10");
  // What slows the machine down for a while shall slow all of them down.
  if (o.has("ratios") && !has_option(theirs, "--benchmark_enable_random_interleaving"))
    theirs.emplace_back("--benchmark_enable_random_interleaving=true");
  if (!has_option(theirs, "--benchmark_counters_tabular")) theirs.emplace_back("--benchmark_counters_tabular=true");
}

/// The place of --benchmark_out. Throws usage_error if it must not be written.
std::optional<output_place> place_of_measurements(verb_options const& o, words const& theirs) {
  auto const given = benchmark_out(theirs);
  if (!given) return std::nullopt;
  output_rule rule;
  rule.option = "--benchmark_out", rule.wanted = "the output of an earlier bench", rule.force = "--force";
  rule.forced = o.has("force"), rule.is_own = &holds_measurements;
  provide_run_inputs(o.all("against"));
  output_place to = check_output(*given, rule);
  say_replaced(to);
  return to;
}

/// Plugins to measure, and what probes look into.
struct chosen_plugins {
  std::string what;
  std::vector<subject> subjects{};
  std::optional<subject> over{}, data{};
};

void check_words(std::string const& what, std::vector<std::string> const& ids) {
  std::vector<std::string> const kinds{"probes", "models", "sources", "metrics", "kernels"};
  if (std::find(kinds.begin(), kinds.end(), what) == kinds.end())
    throw usage_error("'bench' measures probes, models, sources, metrics or kernels, not '" + printable(what) + "'" +
                      did_you_mean(what, kinds));
  if (what == "kernels" ? !ids.empty() : ids.empty())
    throw usage_error(what == "kernels" ? "'bench kernels' takes no names"
                                        : "name the " + what + " to measure; 'wayfarer plugins list' lists all plugins");
}

chosen_plugins choose(verb_options const& o, registry& plugins, std::string const& what, std::uint64_t seed) {
  chosen_plugins out{what};
  plugin_kind const kind = what == "probes"    ? plugin_kind::probe
                           : what == "models"  ? plugin_kind::model
                           : what == "metrics" ? plugin_kind::metric
                                               : plugin_kind::source;
  auto const read = [&](std::string const& id, plugin_kind k) { return read_subject(plugins, id, k, o.all("set"), seed); };
  std::vector<std::string> known;
  for (auto const& id : o.all("ID")) known.push_back(out.subjects.emplace_back(read(id, kind)).name);
  if (what == "probes" && o.has("model"))
    known.push_back(out.over.emplace(read(o.get<std::string>("model"), plugin_kind::model)).name);
  if (what == "probes" && o.has("source"))
    known.push_back(out.data.emplace(read(o.get<std::string>("source"), plugin_kind::source)).name);
  for (auto const& s : o.all("set"))
    if (std::string const name = s.substr(0, s.find('.')); std::find(known.begin(), known.end(), name) == known.end())
      throw usage_error("--set " + printable(s) + ": '" + printable(name) + "' is not measured" + did_you_mean(name, known));
  return out;
}

/// Gives Google Benchmark its options, which must live until it has ended, and says what the machine can do.
void begin_measuring(words& theirs, std::vector<std::size_t> const& threads_of_each) {
  std::vector<char*> pointers;
  for (auto& w : theirs) pointers.push_back(w.data());
  int count = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  benchmark::Initialize(&count, pointers.data());
  if (count > 1)
    throw usage_error("Google Benchmark has no option '" + printable(pointers[1]) + "'; see 'wayfarer bench --help'");
  benchmark::AddCustomContext("wayfarer", WAYFARER_VERSION);
  for (std::size_t const threads : threads_of_each) {
    limits const& l = measured_limits(threads);
    std::string const of = " with " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
    benchmark::AddCustomContext("multiply-adds a second" + of, format_number(l.multiply_adds));
    benchmark::AddCustomContext("bytes read a second" + of, format_number(l.bandwidth));
  }
}

void add_benchmarks(chosen_plugins const& chosen, registry& plugins, work_size const& size) {
  if (chosen.what == "sources")
    add_sources(chosen.subjects, size);
  else if (chosen.what == "models")
    add_models(chosen.subjects, size);
  else if (chosen.what == "probes")
    add_probes(chosen.subjects, chosen.over ? &*chosen.over : nullptr, chosen.data ? &*chosen.data : nullptr, plugins, size);
  else if (chosen.what == "metrics")
    add_metrics(chosen.subjects, plugins, size);
  else
    add_kernels(size);
}

}  // namespace

int bench_verb(words const& arguments) {
  words ours, theirs{"wayfarer bench"};
  for (auto const& w : arguments) (w.starts_with("--benchmark_") ? theirs : ours).push_back(w);
  verb_options o(
      "bench probes|models|sources|metrics|kernels [ID...] [OPTIONS] [--benchmark_...]",
      "Measures plugins of one kind on the same input: time, items and tokens a second, bytes allocated, peak memory, and the\n"
      "fraction of what the processor can do, measured in the same run. Options that begin with --benchmark_ are Google\n"
      "Benchmark's; --benchmark_format=json gives its own output. An ID may be given a name, as in small=gpt2.\n"
      "Results ports get the inputs that 'plugins check' makes.",
      {"wayfarer bench sources lda documents --set documents.path=train.txt --threads 1,2",
       "wayfarer bench models gpt2 --set gpt2.path=DIR --tokens 1024 --capture logits,residuals --ratios",
       "wayfarer bench probes topic_attention --model topic_transformer --source lda --benchmark_out=before.json",
       "wayfarer bench metrics pca closed_form",
       "wayfarer bench kernels --benchmark_repetitions=10 --against before.json --worse-than 1.05"});
  add_bench_options(o);
  if (!o.parse(ours)) return 0;
  work_size const size = read_size(o);
  double const worst = o.get<double>("worse-than");
  if (!(worst > 0)) throw usage_error("--worse-than must be above 0");
  measurements before;
  // Complain before measuring for minutes.
  if (o.has("against")) before = read_measurements(o.place("against", "the output of an earlier bench"));
  add_defaults(o, theirs);
  auto const to = place_of_measurements(o, theirs);
  // Google Benchmark writes straight into its file; ours appears whole, and only where one may be.
  std::optional<kept_apart> apart;
  if (to) theirs.push_back("--benchmark_out=" + apart.emplace().name());
  std::string const what = o.required("WHAT");
  check_words(what, o.all("ID"));
  registry plugins = open_registry(o);
  chosen_plugins const chosen = choose(o, plugins, what, size.seed);
  begin_measuring(theirs, size.threads);
  add_benchmarks(chosen, plugins, size);

  keeper kept;
  benchmark::RunSpecifiedBenchmarks(&kept);
  benchmark::Shutdown();
  if (to) apart->write_to(to->path);
  if (kept.failed()) throw plugin_error("a benchmark failed; the output above says why");
  if (kept.times().empty()) throw usage_error("no benchmark fits --benchmark_filter");
  if (o.has("ratios")) report_against_first(kept);
  return o.has("against") ? report_ratios(kept.times(), before, o.get<std::string>("against"), worst) : 0;
}

}  // namespace wayfarer::host
