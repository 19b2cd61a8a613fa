#!/bin/sh
# own_decoder.sh PREFIX WORK SOURCE_DIR COMPILER: a decoder family from out of tree, built against an installed prefix, checked by its tests.
set -eu
prefix=$1 work=$2 source=$3
export CXX="$4"
rm -rf "$work" && mkdir -p "$work"
unset WAYFARER_PLUGIN_PATH
[ "$(grep -c . "$source/tests/consumer/own_decoder/own_decoder.cpp")" -le 40 ]
cmake -S "$source/tests/consumer/own_decoder" -B "$work" -DCMAKE_PREFIX_PATH="$prefix"
cmake --build "$work"
ctest --test-dir "$work" --output-on-failure
"$source/tests/consumer/search_paths.sh" "$work"
"$prefix/bin/wayfarer" plugins describe own_decoder --plugin-path "$work/plugins" > /dev/null
# The docs show the file that is built here.
awk '/^```cpp/ { on = 1; next } /^```/ { on = 0 } on' "$source/docs/decoder.md" > "$work/shown.cpp"
diff "$source/tests/consumer/own_decoder/own_decoder.cpp" "$work/shown.cpp"
