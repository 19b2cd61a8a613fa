// wayfarer report: a result file as a page to look at.
#include <cstdio>
#include <fstream>
#include <iostream>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

#include "cli/options.hpp"
#include "report/page.hpp"
#include "report/report.hpp"
#include "store/store.hpp"

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

void check_target(fs::path const& result, fs::path const& out, bool force) {
  std::error_code none;
  if (out.empty() || out.filename().empty()) throw usage_error("--out: name a file for the page");
  auto const status = fs::status(out, none);
  if (!fs::exists(status)) {
    fs::path const folder = out.has_parent_path() ? out.parent_path() : fs::path(".");
    if (!fs::is_directory(folder, none)) throw usage_error("--out: no such folder: " + printable(folder.string()));
    return;
  }
  if (fs::equivalent(result, out, none)) throw usage_error("--out: is the result itself: " + printable(out.string()));
  if (!fs::is_regular_file(status)) throw usage_error("--out: is no regular file: " + printable(out.string()));
  if (!force && !is_report(out))
    throw usage_error("--out: is no report, so it is not replaced: " + printable(out.string()) +
                      "; choose another name, or add --force");
}

}  // namespace

int report_verb(words const& arguments) {
  verb_options o(
      "report RESULT.h5 [OPTIONS]",
      "Writes a result file as one HTML page to look at: findings, expectations, maps, curves, tokens, where all came\n"
      "from. The page needs no network and no server; open it in a browser.",
      {"wayfarer report values.h5", "wayfarer report values.h5 --out values.html --node structure --node contrast",
       "wayfarer report large.h5 --max-size 100MB"});
  o.positional("RESULT.h5");
  o.named().add_options()("out", po::value<std::string>()->value_name("R.html"),
                          "the page; default: the result's name with .html, in this folder")(
      "node", po::value<std::vector<std::string>>()->value_name("N"), "take the datasets of this node only; may be repeated")(
      "max-size", po::value<std::string>()->default_value("20MB")->value_name("SIZE"),
      "largest page; larger datasets are cut, and the page says so")("force", "replace an existing file that is no report");
  if (!o.parse(arguments)) return 0;
  if (bundled_page().script.empty())
    throw resource_error(
        "this wayfarer was built without the page that a report needs, because esbuild or d3 were missing; install them "
        "(apt-get install esbuild node-d3), configure and build again");
  fs::path const file = o.required("RESULT.h5");
  fs::path const out = o.has("out") ? fs::path(o.get<std::string>("out")) : file.stem().concat(".html");
  report_options options;
  options.file_name = file.filename().string();
  options.max_bytes = parse_size(o.get<std::string>("max-size"));
  if (o.has("node")) options.nodes = o.get<std::vector<std::string>>("node");
  check_target(file, out, o.has("force"));
  std::error_code none;
  if (auto const bytes = fs::file_size(file, none); !none) options.file_bytes = bytes;

  std::string const page = make_text_in_child({file}, [&] { return make_report(result_reader(file), options); });
  atomic_file whole(out.string());
  whole.write(page);
  whole.commit();
  std::printf("%s: %s; open it in a browser\n", printable(out.string()).c_str(), format_size(page.size()).c_str());
  return 0;
}

}  // namespace wayfarer::host
