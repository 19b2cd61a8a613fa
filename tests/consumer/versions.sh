#!/bin/sh
# versions.sh PREFIX WORK SOURCE_DIR COMPILER: plugins that were built against another SDK. One minor version older: loads and runs.
# Newer by a minor or a major version: refused, with both versions and what to do.
set -eu
prefix=$1 work=$2 source=$3 compiler=$4
rm -rf "$work" && mkdir -p "$work"
unset WAYFARER_PLUGIN_PATH
number() { sed -n "s/^#define WAYFARER_SDK_$1 //p" "$prefix/include/wayfarer/version.hpp"; }
major=$(number MAJOR) minor=$(number MINOR)

# build NAME MAJOR MINOR: the template's metric as an SDK of that version would have built it.
build() {
  mkdir -p "$work/$1/plugins"
  cp -r "$prefix/include/wayfarer" "$work/$1/wayfarer"
  sed -i "s/^#define WAYFARER_SDK_MAJOR .*/#define WAYFARER_SDK_MAJOR $2/; s/^#define WAYFARER_SDK_MINOR .*/#define WAYFARER_SDK_MINOR $3/" "$work/$1/wayfarer/version.hpp"
  sed "s/my_metric/strange_metric/g" "$prefix/share/wayfarer/template/metric/my_metric.cpp" > "$work/$1/strange_metric.cpp"
  "$compiler" -std=c++20 -O1 -fPIC -shared -fvisibility=hidden -I "$work/$1" "$work/$1/strange_metric.cpp" \
    -o "$work/$1/plugins/wayfarer_strange_metric.so" -L "$prefix/lib" -lwayfarer_sdk
}
run() {
  sed "s/my_metric/strange_metric/g" "$prefix/share/wayfarer/template/metric/my_metric.yaml" > "$work/$1.yaml"
  "$prefix/bin/wayfarer" run "$work/$1.yaml" --strict --quiet --out "$work/$1.h5" --plugin-path "$work/$1/plugins" 2>&1
}
refused() {
  code=0
  run "$1" > "$work/$1.txt" || code=$?
  cat "$work/$1.txt"
  [ "$code" = 4 ]
  grep -q "SDK $2" "$work/$1.txt" && grep -q "SDK $major.$minor" "$work/$1.txt"
  [ ! -e "$work/$1.h5" ]
}

[ "$minor" -gt 0 ] || { echo "this is the first minor version of its major: there is no older one"; exit 77; }
build older "$major" $((minor - 1))
run older
[ -s "$work/older.h5" ]
build newer_minor "$major" $((minor + 1))
refused newer_minor "$major.$((minor + 1))"
build newer_major $((major + 1)) 0
refused newer_major "$((major + 1)).0"
