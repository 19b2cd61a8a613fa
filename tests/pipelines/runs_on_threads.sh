#!/bin/sh
# runs_on_threads.sh WAYFARER RUN.yaml WORK: on 1, 2 and 4 threads the run gives the same file, byte for byte but for the few that /_run
# says of the run itself: when, how long, with how many threads and in how much memory.
set -eu
wayfarer=$1 run=$2 work=$3
rm -rf "$work" && mkdir -p "$work"
unset WAYFARER_PLUGIN_PATH
for threads in 1 2 4; do
  "$wayfarer" run "$run" --strict --quiet --threads $threads --out "$work/$threads.h5"
done
for threads in 2 4; do
  "$wayfarer" compare "$work/1.h5" "$work/$threads.h5"
  [ "$(wc -c < "$work/1.h5")" = "$(wc -c < "$work/$threads.h5")" ]
  different=$(cmp -l "$work/1.h5" "$work/$threads.h5" | wc -l)
  echo "$threads threads: $different of $(wc -c < "$work/1.h5") bytes differ, all in /_run"
  [ "$different" -lt 400 ]
done
rm -r "$work"
