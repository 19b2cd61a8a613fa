#!/bin/sh
# published_weights.sh WAYFARER RUNS: what is known of GPT-2's attention heads and norms, on its own weights; and that the run which
# needs all of GPT-2 fits its sizes.
set -eu
weights=${WAYFARER_DATA:-}/gpt2-124m-attention
if [ ! -f "$weights/model.safetensors" ]; then
  echo "left out: WAYFARER_DATA does not name a folder with gpt2-124m-attention"
  exit 77
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$1" run "$2/gpt2-attention-geometry.yaml" --strict --quiet --out "$out/geometry.h5" --set "gpt2.path=$weights"
"$1" check "$2/traveling-words.yaml" --set "gpt2.path=$weights"
