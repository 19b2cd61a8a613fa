// A run shared by several processes: each makes what is missing in the work folder, and whoever finds everything there writes the
// result.
//
// A loop over the tasks in the order of the plan, one at a time, with all threads inside a task. It holds a lease only while it
// works and waits only when it holds none, so that processes can't wait for each other in a circle.
//
// Where each process has a folder of its own, it makes what falls to it and nothing else, and the first alone does what needs all
// of it: the others wait for what comes of that.
#include <algorithm>
#include <bit>
#include <chrono>

#include <wayfarer/digest.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/snapshot_state.hpp>
#include <wayfarer/stopping.hpp>

#include "engine/equal_steps.hpp"
#include "engine/filed.hpp"
#include "engine/run.hpp"
#include "engine/spoiled.hpp"
#include "text/numbers.hpp"

namespace wayfarer::host {

namespace {

/// Items whose lengths are one unit.
constexpr std::size_t measured_a_unit = std::size_t{1} << 14;
/// Blocks in one file take about so long, and there are at least so many files for each thread of all workers.
constexpr double seconds_a_unit = 4;
constexpr std::size_t units_a_thread = 16, least_worth_measuring = 4;
constexpr std::chrono::milliseconds shortest_wait{10}, longest_wait{500};

}  // namespace

/// The key of a piece of a task's work: 64 digits.
std::string run::unit_of(task const& t, std::string_view what) const {
  std::string facts = code_ + " " + std::string(what);
  for (std::size_t const i : t.nodes) facts += " " + records_[i].key;
  return sha256_hex(facts);
}

/// What a task leaves when it is done.
std::string run::name_of_node(task const& t) const {
  return unit_of(t, "node").substr(0, 40) + ".node";
}

std::string run::lengths_key(task const& t, std::size_t most) const {
  plan_node const& front = plan_.nodes[t.nodes.front()];
  wire const *over = wire_of(t.nodes.front(), port_kind::model), *from = wire_of(t.nodes.front(), port_kind::source);
  return sha256_hex(code_ + " lengths " + records_[over->node].key + " " + records_[from->node].key + " " +
                    std::to_string(front.max_tokens) + " " + std::to_string(most));
}

std::vector<item_range> run::measured_ranges(task const& t, source const& data) const {
  sweep_plan p;
  p.items = items_of(plan_.nodes[t.nodes.front()], data.info()), p.block = measured_a_unit;
  return blocks_of_pass(p);
}

namespace {

std::string name_of_lengths(std::string const& key, item_range r) {
  return key.substr(0, 40) + "-" + std::to_string(r.first) + "-" + std::to_string(r.last) + ".lengths";
}

/// What is filed of the lengths of some items.
struct filed_lengths {
  item_lengths longest;
  std::vector<std::int64_t> numbers;
};

std::optional<filed_lengths> read_lengths(std::filesystem::path const& place) {
  try {
    filed_reader in(place);
    filed_lengths out;
    out.longest.tokens = in.number(), out.longest.decoder = in.number();
    for (std::size_t i = 0; i < text_counts::count_of_numbers; ++i) out.numbers.push_back(static_cast<std::int64_t>(in.number()));
    return out;
  } catch (data_error const&) {
    return std::nullopt;
  }
}

}  // namespace

/// The lengths of some items, as they are filed; measured and filed if they are not there, or damaged.
item_lengths run::measure_range(task const& t, item_range r, std::size_t most, text_counts& texts) const {
  wire const *over = wire_of(t.nodes.front(), port_kind::model), *from = wire_of(t.nodes.front(), port_kind::source);
  auto const place = work_->folder().place_for(name_of_lengths(lengths_key(t, most), r));
  auto known = read_lengths(place);
  if (!known) {
    node_state const& learner = states_[over->node];
    wayfarer::model const* const m =
        learner.snapshots.empty() ? objects_[over->node].model.get() : learner.snapshots.front().get();
    sweep_plan p = plan_of_sweep(t, m, objects_[from->node].source.get());
    p.items = r;
    text_counts some(most);
    known = filed_lengths{longest_of(p, some), some.numbers()};
    inputs_->tell_others();
    filed_writer out(place);
    out.put(std::uint64_t{known->longest.tokens});
    out.put(std::uint64_t{known->longest.decoder});
    for (auto const n : known->numbers) out.put(static_cast<std::uint64_t>(n));
    out.commit();
  }
  texts.add(known->numbers);
  return known->longest;
}

unit_round run::make_lengths(task const& t, std::vector<member> const& members, step_input const& in,
                             std::unordered_set<std::string> const& there) {
  if (!reads_items(t, members, in.over, in.data)) return {};
  std::size_t const most = most_tokens_of(t, members, *in.over);
  auto const ranges = measured_ranges(t, *in.data);
  std::string const key = lengths_key(t, most);
  unit_work w{.pass = plan_.nodes[t.nodes.front()].name, .for_all = true};
  for (auto const r : ranges) w.units.push_back(name_of_lengths(key, r));
  w.make = [&](std::size_t i) {
    text_counts unused(most);
    measure_range(t, ranges[i], most, unused);
  };
  work_->folder().announce(key, w.pass, "lengths of items", w.units.size());
  return work_->make_missing(w, there);
}

/// The blocks of all steps of a task.
unit_round run::make_blocks(task const& t, console::part& report) {
  auto const members = members_of(t);
  auto const there = work_->folder().units();
  unit_round all;
  std::optional<item_lengths> longest;
  std::size_t const steps = steps_of(t);
  auto const first = equal_steps_of(t.nodes.front());
  std::size_t group = 0;  // blocks that are one unit; what serves one step serves the others
  for (std::size_t s = 0; s < steps; ++s) {
    if (s < first.size() && first[s] != s) continue;
    stop_if_asked();
    step_input const in = input_of_step(t, s);
    if (s == 0) {
      all = make_lengths(t, members, in, there);
      if (!all.missing.empty()) return all;
      longest = measure(t, members, in.over, in.data);
    }
    step_pass pass;
    prepare_pass(pass, t, members, in, longest.value_or(item_lengths{}));
    if (!pass.passes) continue;
    pass.plan.before_save = [this] { inputs_->tell_others(); };
    report.round(s, steps, in.name);
    block_maker const make(pass.plan, pass.watching, report);
    if (auto const measured = agree_on_units(t, pass, make, group); !measured.empty()) {
      all.missing.insert(all.missing.end(), measured.begin(), measured.end());
      return all;
    }
    group = pass.kept->groups().count;
    auto const ranges = pass.kept->groups().all();
    unit_work w{.pass = plan_.nodes[t.nodes.front()].name + (in.name.empty() ? "" : ", " + in.name),
                .in_flight = pass.plan.in_flight,
                .make = [&](std::size_t i) { make(ranges[i]); }};
    for (auto const r : ranges) w.units.push_back(pass.kept->unit_of(r));
    work_->folder().announce(w.units.front(), w.pass, group == 1 ? "blocks" : "files of " + counted(group, "block"),
                             w.units.size());
    unit_round some = work_->make_missing(w, there);
    all.units += some.units;
    if (some.missing.empty() && pass.merged && work_->leads())
      some = make_merges(pass, make, there, w.pass), all.units += some.units;
    if (!some.missing.empty()) all.merging = some.merging && (all.missing.empty() || all.merging);
    all.missing.insert(all.missing.end(), some.missing.begin(), some.missing.end());
  }
  return all;
}

/// How many blocks are one file: as many as take some seconds, so that files and leases cost little beside them. It is decided
/// once, by whoever has measured a block first. The units that others are measuring if it can't be told yet.
std::vector<std::string> run::agree_on_units(task const& t, step_pass& pass, block_maker const& make, std::size_t proposed) {
  std::string const& key = pass.kept->key();
  auto const group = [&](std::size_t n) {
    pass.kept->group({pass.plan.items, pass.plan.block, n});
    work_->tell_group(key, n);
  };
  if (!work_->leads()) {
    std::size_t const decided = work_->told_group(key);
    if (decided == 0) return {pass.kept->unit_of(pass.plan.items)};
    group(decided);
    return {};
  }
  if (std::size_t const decided = work_->folder().blocks_a_unit(key); decided != 0 || options_.merge) {
    group(std::max<std::size_t>(1, decided));
    return {};
  }
  auto const blocks = blocks_of_pass(pass.plan);
  std::size_t const most = std::min(fan_in, blocks.size() / (units_a_thread * options_.place.count * threads_));
  if (proposed == 0 && most < least_worth_measuring) proposed = 1;
  std::vector<std::string> busy;
  // Each begins elsewhere, so that what it has measured is likely its own.
  std::size_t const begin = (options_.place.index - 1) * blocks.size() / options_.place.count;
  for (std::size_t i = 0; i < blocks.size() && proposed == 0; ++i) {
    item_range const r = blocks[(begin + i) % blocks.size()];
    std::string const unit = pass.kept->unit_of(r);
    auto const claim = work_->folder().try_claim(unit);
    if (!claim) {
      busy.push_back(unit);
      continue;
    }
    try {
      double seconds = make.measure(r);
      // The first one may load and pack what the others find.
      if (seconds < seconds_a_unit / 8) seconds = std::min(seconds, make.measure(blocks[(begin + i + 1) % blocks.size()]));
      proposed = std::clamp<std::size_t>(static_cast<std::size_t>(seconds_a_unit / std::max(seconds, 1e-6)), 1, most);
    } catch (...) {
      // By the name of what will be there in the end: units may come to hold more than this block.
      work_->record_lasting(name_of_node(t), plan_.nodes[t.nodes.front()].name);
      throw;
    }
  }
  if (proposed == 0) return busy;
  group(work_->folder().decide_blocks_a_unit(key, std::bit_floor(proposed)));
  return {};
}

/// The sums of a long pass, level by level.
unit_round run::make_merges(step_pass const& pass, block_maker const& make, std::unordered_set<std::string> const& there,
                            std::string const& name) {
  unit_round all;
  all.merging = true;
  std::vector<std::vector<item_range>> levels;
  // A last part that has one part below is the same sum, under the same name.
  std::set<std::string> names;
  for (std::size_t l = 1; l <= merge_levels(pass.plan); ++l)
    for (auto const r : levels.emplace_back(parts_of_pass(pass.plan, l))) names.insert(pass.merged->unit_of(r));
  for (std::size_t l = 0; l < levels.size() && all.missing.empty(); ++l) {
    unit_work w{.pass = name, .in_flight = pass.plan.in_flight, .of_merge = true, .make = [&](std::size_t i) {
                  make.merge(levels[l][i], l + 1);
                }};
    for (auto const r : levels[l]) w.units.push_back(pass.merged->unit_of(r));
    if (l == 0) work_->folder().announce(w.units.front(), name, "sums of blocks", names.size());
    unit_round some = work_->make_missing(w, there);
    all.units += some.units, all.missing = std::move(some.missing);
  }
  return all;
}

/// Whether what a task leaves is kept as a file: not sources and checkpoints, which are files already.
bool run::is_filed(task const& t) const {
  std::size_t const i = t.nodes.front();
  switch (plan_.nodes[i].kind) {
    case plugin_kind::source:
      return false;
    case plugin_kind::model:
      return objects_[i].trains && dynamic_cast<snapshot_state const*>(objects_[i].model.get());
    default:
      return true;
  }
}

void run::file(task const& t, std::string const& unit, std::set<std::string> const& warnings) const {
  inputs_->tell_others();
  filed_writer out(work_->folder().place_for(unit));
  out.put(std::vector<std::string>(warnings.begin(), warnings.end()));
  for (std::size_t const i : t.nodes) put_state(out, states_[i], objects_[i].model.get());
  out.commit();
}

/// Reads what a task left; false, and the file is gone, if it is damaged.
bool run::restore(task const& t, std::string const& unit) {
  auto const place = work_->folder().path_of(unit);
  try {
    filed_reader in(place);
    auto const warnings = in.texts();
    std::vector<node_state> all;
    for (std::size_t const i : t.nodes) all.push_back(read_state(in, objects_[i].model.get()));
    for (std::size_t k = 0; k < all.size(); ++k) states_[t.nodes[k]] = std::move(all[k]);
    talk_.take_warnings(warnings);
    return true;
  } catch (resource_error const&) {
    throw;
  } catch (error const&) {
    std::error_code none;
    // The first rank sends it in any case, and may have done so just now.
    if (work_->leads() && std::filesystem::remove(place, none)) talk_.note(place.string() + ": damaged, and made again");
    return false;
  }
}

/// Does a task whose blocks are there, unless somebody else is at it.
run::state_of_task run::finish(task const& t, std::string const& unit) {
  if (!work_->leads()) return state_of_task::waiting;
  auto const claim = work_->folder().try_claim(unit);
  if (!claim) return state_of_task::waiting;
  std::set<std::string> warnings;
  talk_.record_warnings(&warnings);
  execute(t);
  talk_.record_warnings(nullptr);
  auto const& failure = states_[t.nodes.front()].failure;
  if (failure) {
    auto const [code, text] = lasting_error(failure);
    // A metric that fails leaves the others' results sound, and so is one more thing that is known.
    bool const known = code != 0 && plan_.nodes[t.nodes.front()].kind == plugin_kind::metric;
    if (!known && code != 0) work_->folder().record_failure(unit, plan_.nodes[t.nodes.front()].name, text, code);
    if (!known) std::rethrow_exception(failure);
  }
  file(t, unit, warnings);
  work_->share(unit);
  return state_of_task::done;
}

run::state_of_task run::advance(task const& t, console::part& report) {
  bool inputs_failed = false;
  for (std::size_t const i : t.nodes)
    for (auto const& w : plan_.nodes[i].wires)
      inputs_failed = inputs_failed || states_[w.node].failure || states_[w.node].skipped;
  if (!is_filed(t) || inputs_failed) {
    execute(t);
    if (auto const& failure = states_[t.nodes.front()].failure) std::rethrow_exception(failure);
    return state_of_task::done;
  }
  std::string const unit = name_of_node(t);
  if (work_->folder().has(unit) && restore(t, unit)) {
    work_->share(unit);  // an earlier run may have left it here alone
    return state_of_task::done;
  }
  work_->require_no_failure();
  if (plan_.nodes[t.nodes.front()].kind == plugin_kind::probe) {
    auto& awaited = awaited_[t.nodes.front()];
    if (!awaited.empty() &&
        std::all_of(awaited.begin(), awaited.end(), [&](std::string const& u) { return work_->folder().is_busy(u); }))
      return state_of_task::waiting;
    unit_round some = make_blocks(t, report);
    if (!some.missing.empty() && options_.merge && !some.merging)
      throw data_error(work_->folder().path().string() + ": " + counted(some.missing.size(), "unit") + " of '" +
                       plan_.nodes[t.nodes.front()].name +
                       "' missing, and --merge makes none: run the workers again, or without --merge");
    awaited = std::move(some.missing);
    if (!awaited.empty()) return some.units != 0 ? state_of_task::advanced : state_of_task::waiting;
  }
  return finish(t, unit);
}

void run::work_through(std::vector<task> const& tasks) {
  std::vector<bool> done(plan_.nodes.size(), false);
  std::map<std::size_t, std::unique_ptr<console::part>> reports;
  auto wait = shortest_wait;
  for (std::size_t left = tasks.size(); left > 0;) {
    bool advanced = false;
    for (auto const& t : tasks) {
      std::size_t const front = t.nodes.front();
      if (done[front]) continue;
      bool ready = true;
      for (std::size_t const i : t.nodes)
        for (auto const& w : plan_.nodes[i].wires) ready = ready && done[w.node];
      if (!ready) continue;
      stop_if_asked();
      work_->folder().at_work_on(plan_.nodes[front].name);
      auto& report = reports[front];
      if (!report) report = talk_.start(plan_.nodes[front].name);
      auto const came_to = advance(t, *report);
      advanced = advanced || came_to != state_of_task::waiting;
      if (came_to != state_of_task::done) continue;
      for (std::size_t const i : t.nodes) done[i] = true;
      report.reset();
      --left;
    }
    if (advanced) {
      wait = shortest_wait;
      continue;
    }
    work_->folder().at_work_on("waits for others");
    stop_if_asked();
    if (work_->has_ended()) break;
    work_->wait(wait);
    wait = std::min(2 * wait, longest_wait);
  }
  work_->folder().at_work_on("");
}

/// The result, if it is not there and nobody else writes it; nothing if it is there.
std::optional<run_outcome> run::write_unless_written(std::string const& started) {
  std::string facts = code_ + " result " + plan_.title + " " + sha256_hex(plan_.text) + " " + canonical_json(given_);
  for (auto const& r : records_) facts += " " + r.key;
  std::string const unit = sha256_hex(facts).substr(0, 40) + ".result";
  while (!work_->leads() && !work_->has_ended()) {
    stop_if_asked();
    work_->wait(longest_wait);
  }
  if (!work_->leads()) {
    work_->folder().tidy();
    return std::nullopt;
  }
  auto const is_there = [&] {
    try {
      auto const said = read_json(work_->folder().path_of(unit).string());
      return said.at("sha256").as_string() == sha256_file(options_.out);
    } catch (error const&) {
      return false;
    }
  };
  for (auto wait = shortest_wait; !is_there(); wait = std::min(2 * wait, longest_wait)) {
    stop_if_asked();
    if (auto const claim = work_->folder().try_claim(unit + ".writing")) {
      if (is_there()) break;
      std::error_code none;
      std::filesystem::remove(work_->folder().path_of(unit), none);
      result_.emplace(given_, plan_, options_, talk_);
      for (std::size_t i = 0; i < plan_.nodes.size(); ++i) result_->write(i, records_[i], states_[i]);
      run_outcome outcome = finish_result(started);
      auto const record =
          json_value::object({{"sha256", json_value(sha256_file(options_.out))}, {"bytes", json_value(outcome.bytes)}});
      write_file_atomically(work_->folder().place_for(unit).string(), std::string_view(to_json(record) + "\n"));
      work_->folder().tidy();
      return outcome;
    }
    work_->wait(wait);
  }
  // Once is enough: each look costs a shared file system some hundred operations.
  if (options_.merge || options_.place.index == 1) work_->folder().tidy();
  return std::nullopt;
}

run_outcome run::work(std::size_t threads) {
  threads_ = threads;
  std::string const started = utc_now();
  prepare();
  open_store();
  code_ = code_of_all();
  std::string keys;
  for (auto const& r : records_) keys += r.key + " ";
  work_ = std::make_unique<shared_work>(options_, code_, sha256_hex(keys));
  inputs_->share(*work_, code_);
  auto const tasks = tasks_of(plan_);
  // Of each task what is shared, and what one worker does.
  talk_.begin(2 * tasks.size());
  stoppable_work listening;
  std::optional<run_outcome> outcome;
  try {
    work_through(tasks);
    outcome = write_unless_written(started);
    work_->end();
  } catch (stopped const&) {
    throw_if_stopped(listening.end());
    throw;
  }
  throw_if_stopped(listening.end());
  tell_store();
  return outcome ? std::move(*outcome) : run_outcome{};
}

}  // namespace wayfarer::host
