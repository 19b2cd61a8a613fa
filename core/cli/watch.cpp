// wayfarer watch: shows the progress of a run in another process, with curves of the numbers that its parts report.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>
#include <thread>

#include <wayfarer/error.hpp>

#include "cli/options.hpp"
#include "cli/terminal.hpp"
#include "engine/progress_file.hpp"
#include "store/store.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

std::string time_of(double seconds) {
  auto const s = static_cast<std::uint64_t>(seconds + 0.5);
  if (s < 90) return std::to_string(s) + " s";
  if (s < 5400) return std::to_string((s + 30) / 60) + " min";
  return std::to_string(s / 3600) + " h " + std::to_string(s % 3600 / 60) + " min";
}

/// The number that ends a note, as in "loss 3.371".
std::optional<double> number_in(std::string const& note) {
  std::size_t const at = note.rfind(' ');
  if (at == note.npos) return std::nullopt;
  char* end = nullptr;
  double const x = std::strtod(note.c_str() + at + 1, &end);
  if (end == note.c_str() + at + 1 || *end != '\0' || !std::isfinite(x)) return std::nullopt;
  return x;
}

/// What a part has said so far: its values in order.
std::vector<double> curve_of(seen_run const& run, progress_state::part const& now) {
  std::string const words = now.note.substr(0, now.note.rfind(' '));
  std::vector<double> out;
  for (auto const& s : run.states)
    for (auto const& p : s.active)
      if (p.name == now.name && p.note.substr(0, p.note.rfind(' ')) == words)
        if (auto const x = number_in(p.note)) out.push_back(*x);
  return out;
}

std::string picture_of(fs::path const& result, seen_run const& run) {
  auto const& now = run.states.back();
  std::string out = printable(result.filename().string()) + ": " + std::to_string(static_cast<int>(std::floor(100 * now.share))) +
                    " %, " + std::to_string(now.finished) + " of " + std::to_string(now.parts) + " parts done, " +
                    time_of(now.seconds) + " so far";
  if (now.share > 0.01) out += ", about " + time_of(now.seconds * (1 - now.share) / now.share) + " left";
  out += '\n';
  std::size_t const width = std::max<std::size_t>(terminal_columns(), 22);
  for (auto const& p : now.active) {
    std::string line = "  " + printable(p.name);
    if (p.total != 0) line += "  " + format_count(p.done) + " of " + format_count(p.total);
    if (!p.note.empty()) line += (p.total != 0 && p.note == "items" ? " " : ", ") + printable(p.note);
    auto const curve = curve_of(run, p);
    if (curve.size() > 1) line += " (" + format_number(curve.front()) + " at first)";
    out += line + "\n";
    if (curve.size() > 1 && pictures()) out += "  " + sparkline(curve, std::min<std::size_t>(width - 2, 60));
  }
  return out;
}

}  // namespace

int watch_verb(words const& arguments) {
  verb_options o(
      "watch OUT.h5 [OPTIONS]",
      "Shows the progress of the run that writes this result: the whole run, each active part, and the curve of a number\n"
      "that a part reports, such as a loss. Ends with the run: exit code 0 if the result is there, 3 if the run ended without "
      "one.",
      {"wayfarer watch values.h5", "wayfarer watch values.h5 --once"});
  o.positional("OUT.h5");
  o.named().add_options()("once", "print the progress once, and end")(
      "interval", po::value<double>()->default_value(1, "1")->value_name("S"), "seconds between updates");
  if (!o.parse(arguments)) return 0;
  fs::path const result = o.place("OUT.h5", "the result file that the run writes, such as my.h5");
  double const interval = o.get<double>("interval");
  if (!(interval >= 0.05 && interval <= 3600)) throw usage_error("--interval must be from 0.05 to 3600 seconds");

  bool const terminal = ::isatty(STDOUT_FILENO) == 1 && !o.has("once");
  std::size_t shown = 0, seen = 0;
  for (bool first = true;; first = false) {
    auto const run = look_at_run(result);
    if (run && !run->running)
      throw data_error(result.string() + ": the run that wrote it ended before its result was complete, after " +
                       (run->states.empty() ? "nothing" : time_of(run->states.back().seconds)) +
                       "; run it again, with --resume if it had that option");
    if (!run) {
      std::error_code none;
      if (fs::exists(result, none)) {
        if (!result_reader::is_result(result))
          throw data_error(result.string() + " is not a Wayfarer result, and no run writes it");
        std::cout << printable(result.string())
                  << (first ? ": is complete; no run writes it" : ": the run has ended, and the result is complete") << std::endl;
        return 0;
      }
      if (first)
        throw data_error("no run writes " + result.string() +
                         " here; name the file as --out of 'wayfarer run' did, or start the run");
      throw data_error(result.string() + ": the run has ended without a result");
    }
    if (!run->states.empty() && (terminal || run->states.size() != seen)) {
      seen = run->states.size();
      std::string const text = picture_of(result, *run);
      if (terminal && shown != 0) std::cout << "\033[" << shown << "A\033[J";
      std::cout << text << std::flush;
      shown = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
    }
    if (o.has("once")) return 0;
    std::this_thread::sleep_for(std::chrono::duration<double>(interval));
  }
}

}  // namespace wayfarer::host
