#!/bin/sh
# probes.sh PREFIX WORK SOURCE_DIR COMPILER: three probes from out of tree, built against an installed prefix, run on GPT-2, checked.
set -eu
prefix=$1 work=$2 source=$3
export CXX="$4"
rm -rf "$work" && mkdir -p "$work"
unset WAYFARER_PLUGIN_PATH
set --
for probe in anisotropy head_entropy head_ablation; do
  [ "$(wc -l < "$source/tests/consumer/$probe/$probe.cpp")" -le 120 ]
  cmake -S "$source/tests/consumer/$probe" -B "$work/$probe" -DCMAKE_PREFIX_PATH="$prefix"
  cmake --build "$work/$probe"
  ctest --test-dir "$work/$probe" --output-on-failure
  "$source/tests/consumer/search_paths.sh" "$work/$probe"
  set -- "$@" --plugin-path "$work/$probe/plugins"
done
# The page for newcomers shows the file that is built here.
awk '/^```cpp/ { on = 1; next } /^```/ { on = 0 } on' "$source/docs/write-a-probe.md" > "$work/shown.cpp"
diff "$source/tests/consumer/anisotropy/anisotropy.cpp" "$work/shown.cpp"
"$prefix/bin/wayfarer" run "$source/tests/consumer/probes.yaml" --out "$work/probes.h5" --quiet "$@"
/usr/bin/python3 "$source/tests/consumer/check_probes.py" "$work/probes.h5" "$source/tests/data/gpt2-odd"
"$prefix/bin/wayfarer" run "$source/tests/consumer/anisotropy/anisotropy.yaml" --strict --quiet --out "$work/cone.h5" --plugin-path "$work/anisotropy/plugins"
