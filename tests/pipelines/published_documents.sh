#!/bin/sh
# published_documents.sh WAYFARER RUNS: the topic experiments on the paper's own documents, which are not ours to ship.
set -eu
documents=${WAYFARER_DATA:-}/lda/icml2023-synthetic/topic10_word100_long
if [ ! -f "$documents.train.bz2" ]; then
  echo "left out: WAYFARER_DATA does not name a folder with lda/icml2023-synthetic"
  exit 77
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for run in topic-values topic-embeddings topic-attention topic-two-stage; do
  "$1" run "$2/$run.yaml" --strict --quiet --out "$out/$run.h5" \
    --set "documents.path=$documents.train.bz2" --set "development.path=$documents.dev.bz2"
done
