// The verbs of the command line, one file each. A verb gets the words after its name and returns the exit code; it throws the
// typed errors of <wayfarer/error.hpp>, which main prints. Main thread.
#pragma once

#include <string>
#include <vector>

namespace wayfarer::host {

using words = std::vector<std::string>;

int run_verb(words const&);
int check_verb(words const&);
int graph_verb(words const&);
int plugins_verb(words const&);
int bench_verb(words const&);
int show_verb(words const&);
int watch_verb(words const&);
int status_verb(words const&);
int clean_verb(words const&);
int submit_verb(words const&);
int init_verb(words const&);
int report_verb(words const&);
int export_verb(words const&);
int compare_verb(words const&);
int tokenize_verb(words const&);
int model_verb(words const&);
int generate_verb(words const&);
int new_verb(words const&);
int doctor_verb(words const&);
int completion_verb(words const&);

}  // namespace wayfarer::host
