// wayfarer report: a result file as an HTML page.
#include <cstdio>
#include <fstream>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

#include "cli/options.hpp"
#include "cli/outputs.hpp"
#include "report/page.hpp"
#include "report/report.hpp"
#include "store/store.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

/// Whether a file may be replaced: it is a page of ours.
bool is_report(fs::path const& file) {
  std::string_view const mark = report_mark;
  std::string head(mark.size(), '\0');
  std::ifstream in(file, std::ios::binary);
  return in.read(head.data(), static_cast<std::streamsize>(head.size())) && head == mark;
}

/// Where the page goes, if a file may be written there.
output_place place_of(fs::path const& result, fs::path const& out, bool force) {
  output_rule rule;
  rule.option = "--out", rule.wanted = "a report", rule.force = "--force", rule.forced = force;
  rule.is_own = [](std::string const& file) { return is_report(file); };
  provide_run_inputs({result.string()});
  return check_output(out.string(), rule);
}

}  // namespace

int report_verb(words const& arguments) {
  verb_options o(
      "report RESULT.h5 [OPTIONS]",
      "Writes a result file as one HTML page: findings, expectations, maps, curves, tokens, and where every number came\n"
      "from. The page needs no network and no server; open it in a browser.",
      {"wayfarer report values.h5", "wayfarer report values.h5 --out values.html --node structure --node contrast",
       "wayfarer report large.h5 --max-size 100MB"});
  o.positional("RESULT.h5");
  o.named().add_options()("out", po::value<std::string>()->value_name("R.html"),
                          "the page; default: the result's name with .html, in this folder")(
      "node", po::value<std::vector<std::string>>()->value_name("N"), "take the datasets of this node only; may be repeated")(
      "max-size", po::value<std::string>()->default_value("20MB")->value_name("SIZE"),
      "largest page; larger datasets are cut, and the page says so")("force", "replace an existing file that is not a report");
  if (!o.parse(arguments)) return 0;
  if (bundled_page().script.empty())
    throw resource_error(
        "this wayfarer was built without the page that a report needs, because esbuild or d3 were missing; install them "
        "(apt-get install esbuild node-d3), configure and build again");
  fs::path const file = o.place("RESULT.h5", "the result file to read, such as my.h5");
  fs::path const out = o.has("out") ? fs::path(o.get<std::string>("out")) : file.stem().concat(".html");
  report_options options;
  options.file_name = file.filename().string();
  options.max_bytes = parse_size(o.get<std::string>("max-size"));
  if (o.has("node")) options.nodes = o.get<std::vector<std::string>>("node");
  output_place const to = place_of(file, out, o.has("force"));
  say_replaced(to);
  std::error_code none;
  if (auto const bytes = fs::file_size(file, none); !none) options.file_bytes = bytes;

  std::string const page = make_text_in_child({file}, [&] { return make_report(result_reader(file), options); });
  atomic_file whole(to.path);
  whole.write(page);
  whole.commit();
  std::printf("%s: %s; open it in a browser\n", printable(to.given).c_str(), format_size(page.size()).c_str());
  return 0;
}

}  // namespace wayfarer::host
