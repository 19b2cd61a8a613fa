// wayfarer completion: completion at the Tab key. The script asks the program, so it is always up to date.
#include <algorithm>
#include <iostream>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>

#include "cli/options.hpp"
#include "cli/planning.hpp"
#include "cli/verbs.hpp"
#include "export/export.hpp"
#include "registry/registry.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace {

constexpr char bash[] = R"script(# Bash completion for wayfarer: verbs, options, plugin ids, pipeline and result files.
# Installed with the program; by hand: source <(wayfarer completion bash)

_wayfarer() {
  local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}
  local -a words=()
  COMPREPLY=()
  _wayfarer_files() { mapfile -t COMPREPLY < <(compgen -d -S / -- "$word"; [ -z "$1" ] || compgen -f -X "!$1" -- "$word"); compopt -o nospace -o filenames; }
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t words < <("$program" --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  .*/\1/p')
    mapfile -t COMPREPLY < <(compgen -W "${words[*]} --help --version" -- "$word")
    return
  fi
  case $before in
    --plugin-path | --path | --dir | --work | --work-local | --store) _wayfarer_files ''; return ;;
    --out | --against | --npy) _wayfarer_files '*'; return ;;
    --model | --source)
      mapfile -t words < <("$program" completion "${before#--}s" 2>/dev/null)
      mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$word")
      return ;;
  esac
  if [ "$verb $before" = 'export --to' ]; then
    mapfile -t words < <("$program" completion forms 2>/dev/null)
    mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$word")
    return
  fi
  if [ "$verb $before" = 'bench --capture' ]; then
    mapfile -t COMPREPLY < <(compgen -W 'none logits residuals patterns all' -- "$word")
    return
  fi
  if [[ $word == -* ]]; then
    mapfile -t words < <("$program" "$verb" --list-options 2>/dev/null)
    [ "$verb" != bench ] || words+=(--benchmark_filter= --benchmark_format=json --benchmark_min_time= --benchmark_out= --benchmark_repetitions=)
    mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$word")
    return
  fi
  case $verb in
    run | check | graph) _wayfarer_files '*.@(yaml|yml)'; return ;;
    status | clean) _wayfarer_files ''; return ;;
    show | report | export | watch | compare | merge) _wayfarer_files '*.h5'; return ;;
    plugins | model | new | bench | completion)
      if [ "$COMP_CWORD" -eq 2 ]; then
        case $verb in
          plugins) words=(list describe check) ;;
          model) words=(info hooks list weights) ;;
          new) words=(probe metric source model) ;;
          bench) words=(probes models sources metrics kernels) ;;
          completion) words=(bash) ;;
        esac
      elif [ "$verb ${COMP_WORDS[2]}" = 'plugins check' ] && [[ $word == */* ]]; then
        _wayfarer_files '*.so'
        return
      elif [ "$verb" = bench ]; then
        [ "${COMP_WORDS[2]}" = kernels ] || mapfile -t words < <("$program" completion "${COMP_WORDS[2]}" 2>/dev/null)
      elif [ "$verb" = plugins ]; then
        mapfile -t words < <("$program" completion ids 2>/dev/null)
      elif [ "$verb" = model ] && [ "$COMP_CWORD" -eq 3 ]; then
        mapfile -t words < <("$program" completion models 2>/dev/null)
      fi ;;
    generate | tokenize) [ "$COMP_CWORD" -eq 2 ] && mapfile -t words < <("$program" completion models 2>/dev/null) ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$word")
}
shopt -s extglob
complete -F _wayfarer wayfarer
)script";

}  // namespace

int completion_verb(words const& arguments) {
  verb_options o(
      "completion bash",
      "Prints a script that completes verbs, options, plugin ids and files at the Tab key. Packages install it.",
      {"source <(wayfarer completion bash)", "wayfarer completion bash > ~/.local/share/bash-completion/completions/wayfarer"});
  o.positional("WHAT");
  if (!o.parse(arguments)) return 0;
  std::string const what = o.required("WHAT");
  if (what == "bash") {
    std::cout << bash;
  } else if (what == "ids") {  // this and the following: what the script asks for
    for (auto const& id : registry().ids()) std::cout << id << '\n';
  } else if (what == "forms") {
    for (auto const& form : export_forms()) std::cout << form.name << '\n';
  } else if (what == "sources" || what == "models" || what == "probes" || what == "metrics") {
    registry plugins;
    for (auto const& id : plugins.ids()) {
      try {
        if (auto const* p = plugins.find(id); p && what == std::string(name_of(p->kind())) + "s") std::cout << id << '\n';
      } catch (plugin_error const&) {  // a broken plugin is not offered
      }
    }
  } else {
    throw usage_error("there is completion for bash only, not for '" + printable(what) + "'" +
                      did_you_mean(what, std::vector<std::string>{"bash"}));
  }
  return 0;
}

}  // namespace wayfarer::host
