#!/bin/sh
# templates.sh PREFIX WORK COMPILER KIND...: what `wayfarer new` writes, built out of tree against an installed prefix by the commands
# that it prints, tested, and run.
set -eu
prefix=$1 work=$2 compiler=$3
shift 3
search_paths=$(dirname "$(readlink -f "$0")")/search_paths.sh
rm -rf "$work" && mkdir -p "$work" && cd "$work"
unset WAYFARER_PLUGIN_PATH
PATH=$prefix/bin:$PATH
export CXX="$compiler"
for kind in "$@"; do
  wayfarer new "$kind" "strange_$kind" > "$kind.txt"
  # The indented lines behind "Build it" are commands, and shall work as they stand.
  sed -n '/^Build it/,$s/^  //p' "$kind.txt" > "$kind.sh"
  [ "$(wc -l < "$kind.sh")" = 4 ]
  sh -eux "$kind.sh"
  wayfarer plugins describe "strange_$kind" --json --plugin-path "strange_$kind/build/plugins" | grep -q "\"kind\": \"$kind\""
  [ -s "strange_$kind.h5" ]
  # Nothing but the descriptor is exported.
  [ "$(nm -D --defined-only "strange_$kind/build/plugins/wayfarer_strange_$kind.so" | awk '{print $3}')" = wayfarer_plugin ]
  "$search_paths" "strange_$kind/build"
done
