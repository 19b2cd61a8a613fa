// wayfarer status and clean: what is in the folder that the workers of a run fill together, or that runs keep for others.
#include <algorithm>
#include <cstdio>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>

#include "cli/options.hpp"
#include "engine/shared_store.hpp"
#include "engine/work_folder.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"
#include "text/times.hpp"

namespace wayfarer::host {
namespace fs = std::filesystem;

namespace {

/// "" where too little is done to tell.
std::string time_left(work_status::stage const& s) {
  if (s.done >= s.units || s.done < 2 || s.seconds <= 0) return "";
  return "about " + format_time(s.seconds / static_cast<double>(s.done - 1) * static_cast<double>(s.units - s.done));
}

/// Several runs may share a folder: the result of one is none of another's.
bool is_done(work_status const& w) {
  return !w.results.empty() && std::all_of(w.stages.begin(), w.stages.end(), [](auto const& s) { return s.done >= s.units; });
}

void print_stages(work_status const& w) {
  std::vector<std::vector<std::string>> rows;
  for (auto const& s : w.stages)
    rows.push_back({printable(s.name), printable(s.what), format_count(std::min(s.done, s.units)), format_count(s.units),
                    s.done >= s.units ? "done" : time_left(s)});
  if (!rows.empty()) std::printf("\n%s", format_table({"pass", "work", "done", "of", "time left"}, rows).c_str());
}

void print_workers(work_status const& w) {
  std::vector<std::vector<std::string>> rows;
  for (auto const& one : w.workers)
    rows.push_back({std::to_string(one.index) + "/" + std::to_string(one.count), printable(one.id), printable(one.at),
                    format_count(one.finished), one.ended ? "has ended" : format_time(one.silent) + " ago"});
  if (rows.empty())
    std::printf("\nno worker is at it\n");
  else
    std::printf("\n%s", format_table({"worker", "process", "at", "units made", "last sign"}, rows).c_str());
}

void print_failures(work_status const& w) {
  if (w.failures.empty()) return;
  std::vector<std::vector<std::string>> rows;
  for (auto const& f : w.failures) rows.push_back({printable(f.pass), f.items, std::to_string(f.exit_code), printable(f.text)});
  std::printf("\nfailed; a worker that starts tries each again:\n%s",
              format_table({"pass", "items", "exit code", "error"}, rows).c_str());
}

std::string entries_of(store_status const& s) {
  return format_count(s.entries.size()) + (s.entries.size() == 1 ? " entry" : " entries");
}

/// The entries of a store, the last used first.
int print_store(fs::path const& folder) {
  store_status const s = look_at_store(folder);
  std::printf("%s: a store with %s, %s of at most %s; %s\n", printable(folder.string()).c_str(), entries_of(s).c_str(),
              format_size(s.bytes).c_str(), format_size(s.limit).c_str(),
              s.runs == 0 ? "no run uses it" : (counted(s.runs, "run") + (s.runs == 1 ? " uses it" : " use it")).c_str());
  std::vector<std::vector<std::string>> rows;
  constexpr std::size_t most_rows = 40;
  for (auto const& e : s.entries) {
    if (rows.size() == most_rows) break;
    rows.push_back({e.kind == "outputs" ? "activations" : printable(e.kind), printable(e.about), format_count(e.files),
                    format_size(e.bytes), e.users != 0 ? "now" : format_time(e.unused) + " ago"});
  }
  if (!rows.empty()) std::printf("\n%s", format_table({"holds", "of", "files", "size", "last used"}, rows).c_str());
  if (s.entries.size() > most_rows) std::printf("and %zu more\n", s.entries.size() - most_rows);
  return 0;
}

int clean_store(fs::path const& folder, bool force) {
  store_status const s = look_at_store(folder);
  if (s.runs != 0 && !force)
    throw usage_error(folder.string() + ": " + counted(s.runs, "run") + " may be using it, by 'wayfarer status'; end " +
                      (s.runs == 1 ? "it" : "them") + " first, or give --force");
  remove_store(folder);
  std::error_code none;
  std::printf("%s: %s removed, %s%s\n", printable(folder.string()).c_str(), entries_of(s).c_str(), format_size(s.bytes).c_str(),
              fs::exists(folder, none) ? "; other files are in the folder, which stays" : "");
  return 0;
}

}  // namespace

int status_verb(words const& arguments) {
  verb_options o(
      "status DIR",
      "Shows how far a run is that several processes share: what is done and missing of each pass, who works on what,\n"
      "what failed. DIR is the folder of --work. Exit code 0 if all was made and the result written, 1 if not yet.\n"
      "Of a folder of --store it shows what is kept there, the last used first.",
      {"wayfarer status /shared/long", "wayfarer status /shared/store"});
  o.positional("DIR");
  if (!o.parse(arguments)) return 0;
  fs::path const folder = o.place("DIR", "the folder of --work or of --store");
  if (is_store(folder)) return print_store(folder);
  work_status const w = look_at_work(folder);
  std::printf("%s: %s, %s; %s\n", printable(folder.string()).c_str(), counted(w.units, "finished unit").c_str(),
              format_size(w.bytes).c_str(),
              w.results.empty() ? "the result is not written yet"
              : is_done(w)      ? "the result was written"
                                : "a result was written, and there is work of another run that is not done");
  for (auto const& sha : w.results) std::printf("result: SHA-256 %s\n", printable(sha).c_str());
  print_stages(w);
  print_workers(w);
  print_failures(w);
  return is_done(w) ? 0 : 1;
}

int clean_verb(words const& arguments) {
  verb_options o(
      "clean DIR [OPTIONS]",
      "Removes what a run with --work DIR has kept. The result file is no part of it and stays. A run that is not done\n"
      "begins anew afterwards. Of a folder of --store it removes all that is kept there.",
      {"wayfarer clean /shared/long", "wayfarer clean /shared/store"});
  o.positional("DIR");
  o.named().add_options()("force", "also while workers are at it, or before the result is written");
  if (!o.parse(arguments)) return 0;
  fs::path const folder = o.place("DIR", "the folder of --work or of --store");
  if (is_store(folder)) return clean_store(folder, o.has("force"));
  work_status const w = look_at_work(folder);
  std::size_t living = 0;
  for (auto const& one : w.workers) living += !one.ended;
  if (!o.has("force") && living != 0)
    throw usage_error(folder.string() + ": " + counted(living, "worker") +
                      " may be at work in it, by 'wayfarer status'; end them first, or give --force");
  if (!o.has("force") && w.results.empty() && w.units != 0)
    throw usage_error(folder.string() + ": no result was written from it yet; run the workers to the end, or give --force");
  if (!o.has("force") && w.units != 0 && !is_done(w))
    throw usage_error(folder.string() +
                      ": a result was written from it, but another run that uses it is not done, by 'wayfarer " +
                      "status'; run its workers to the end, or give --force");
  remove_work(folder);
  std::error_code none;
  bool const left = fs::exists(folder, none);
  std::printf("%s: %s removed, %s%s\n", printable(folder.string()).c_str(), counted(w.units, "unit").c_str(),
              format_size(w.bytes).c_str(),
              !left                        ? ""
              : fs::is_empty(folder, none) ? "; the empty folder stays"
                                           : "; other files are in the folder, which stays");
  return 0;
}

}  // namespace wayfarer::host
