// Where a verb writes its result file: --out and --force, names that are made of the run's settings, and what may be replaced.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wayfarer/run_files.hpp>

#include "cli/options.hpp"
#include "pipeline/plan.hpp"

namespace wayfarer::host {

/// Name and value.
using settings = std::vector<std::pair<std::string, std::string>>;

/// The help text of --out in run and check.
inline constexpr char about_out[] =
    "the result file; {seed} and {node.key} stand for settings; default: the pipeline's name with .h5, in this folder";
/// --out and --force.
void add_result_options(verb_options&, char const* about);

/// "seed", and "node.key" of every parameter and host's key that has one value.
settings settings_of(plan const&);
/// `name` with each {setting} replaced by its value. A slash in a value is escaped: "a/b" gives "a%2Fb". {{ and }} are
/// braces. Throws usage_error, with near names, for an unknown setting.
std::string fill_in(std::string_view name, settings const&);

/// The place of --out, or of `otherwise` if --out is not given. Throws usage_error if it must not be written.
output_place result_place(verb_options const&, std::string const& otherwise, settings const&);
/// The result file of a pipeline: --out, or the pipeline's name with .h5 in this folder.
output_place result_place(verb_options const&, plan const&);
/// Reports two nodes that write to one place, since the later would replace the earlier one's file.
void check_outputs(plan const&, std::vector<problem>&);
/// The place of a file for another program. An existing file there can't be recognised as an earlier output, so only `forced`
/// replaces it.
output_place foreign_place(std::string const& path, std::string const& option, bool forced);
/// One line on standard error if a file is replaced, and one for each saved model that is.
void say_replaced(output_place const&);
void say_replaced(output_place const&, plan const&);

}  // namespace wayfarer::host
