#include "engine/shared_work.hpp"

#include <atomic>
#include <exception>
#include <optional>
#include <thread>
#include <utility>

#include <oneapi/tbb/parallel_pipeline.h>

#include "engine/failure.hpp"

namespace wayfarer::host {

shared_work::shared_work(run_options const& options, std::string const& code, std::string const& keys)
    : merges_only_(options.merge) {
  if (!options.local) {
    folder_ = std::make_unique<work_folder>(options.work, options.place, options.lease_seconds);
    return;
  }
  courier_ = std::make_unique<courier>();
  worker_place const place = courier_->place();
  if (place.index != options.place.index || place.count != options.place.count)
    throw resource_error(
        "MPI says that this is rank " + std::to_string(place.index - 1) + " of " + std::to_string(place.count) +
        ", and the environment another; was the program started by the mpirun of the MPI that it was built with?");
  // Ranks of one machine may be given the same folder.
  folder_ =
      std::make_unique<work_folder>(options.work / ("rank-" + std::to_string(place.index - 1)), place, options.lease_seconds);
  courier_->begin(*folder_, code, keys);
}

unit_round shared_work::make_missing(unit_work const& w, std::unordered_set<std::string> const& there) {
  std::vector<std::size_t> order, others;
  for (std::size_t i = 0; i < w.units.size(); ++i) {
    bool const mine = courier_ && w.of_merge ? leads() : folder_->mine(w.units[i]);
    // What every rank needs the first one sends, also if an earlier job left it there and the rank that it falls to knows that.
    if ((mine || (w.for_all && leads())) && there.count(w.units[i]) != 0) share(w.units[i]);
    if (there.count(w.units[i]) == 0) (mine ? order : others).push_back(i);
  }
  unit_round out;
  if (courier_) {
    // What the first one had when the job began need not be made again to be sent to it.
    std::erase_if(order, [&](std::size_t i) { return courier_->is_delivered(w.units[i]); });
    if (leads() || w.for_all)
      for (std::size_t const i : others) out.missing.push_back(w.units[i]);
  } else {
    order.insert(order.end(), others.begin(), others.end());
  }
  if (merges_only_ && !w.of_merge) {
    for (std::size_t const i : order) out.missing.push_back(w.units[i]);
    return out;
  }
  std::atomic<std::size_t> done{0};
  std::vector<std::optional<work_folder::claim>> held(w.units.size());
  std::size_t next = 0;
  auto const take = [&](tbb::flow_control& control) -> std::size_t {
    // What rank 0 ended without nobody needs.
    for (; next < order.size() && !has_ended(); ++next)
      if (auto claim = folder_->try_claim(w.units[order[next]])) {
        held[order[next]].emplace(std::move(*claim));
        return order[next++];
      }
    control.stop();
    return 0;
  };
  auto const work = [&](std::size_t i) {
    try {
      w.make(i);
    } catch (...) {
      record_lasting(w.units[i], w.pass);
      throw;
    }
    held[i].reset();
    share(w.units[i]);
    ++done;
  };
  tbb::parallel_pipeline(w.in_flight, tbb::make_filter<void, std::size_t>(tbb::filter_mode::serial_in_order, take) &
                                          tbb::make_filter<std::size_t, void>(tbb::filter_mode::parallel, work));
  out.units = done;
  for (std::size_t const i : order)
    if (!folder_->has(w.units[i])) out.missing.push_back(w.units[i]);
  return out;
}

void shared_work::share(std::string const& unit) {
  if (courier_) courier_->share(unit);
}

void shared_work::record_lasting(std::string const& unit, std::string const& pass) {
  if (auto const [code, text] = lasting_error(std::current_exception()); code != 0)
    folder_->record_failure(unit, pass, text, code);
}

void shared_work::require_no_failure() const {
  if (auto const failure = folder_->new_failure()) throw_as(failure->exit_code, failure->text + " (found by another worker)");
}

void shared_work::tell_group(std::string const& key, std::size_t blocks) {
  if (courier_ && leads()) courier_->decide(key, blocks);
}

void shared_work::wait(std::chrono::milliseconds at_most) {
  if (courier_)
    courier_->wait(at_most);
  else
    std::this_thread::sleep_for(at_most);
}

void shared_work::end() {
  if (courier_) courier_->end();
}

}  // namespace wayfarer::host
