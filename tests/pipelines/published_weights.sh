#!/bin/sh
# published_weights.sh WAYFARER RUNS: what is known of GPT-2's attention heads and norms, on its own weights; and that the run which
# needs all of GPT-2 fits its sizes, on a checkpoint of its shape whose other weights are a hole in the file.
set -eu
weights=${WAYFARER_DATA:-}/gpt2-124m-attention
tokenizer=${WAYFARER_DATA:-}/tokenizer-gpt2
if [ ! -f "$weights/model.safetensors" ]; then
  echo "left out: WAYFARER_DATA does not name a folder with gpt2-124m-attention"
  exit 77
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$1" run "$2/gpt2-attention-geometry.yaml" --strict --quiet --out "$out/geometry.h5" --set "gpt2.path=$weights"

mkdir "$out/whole"
cp "$weights/config.json" "$out/whole/"
cp "$tokenizer/encoder.json" "$out/whole/vocab.json"
cp "$tokenizer/vocab.bpe" "$out/whole/merges.txt"
/usr/bin/python3 - "$out/whole/model.safetensors" <<'PYTHON'
import json, struct, sys
width, shapes = 768, {"wte.weight": [50257, 768], "wpe.weight": [1024, 768]}
for norm in ["ln_f"] + [f"h.{i}.ln_{n}" for i in range(12) for n in (1, 2)]:
    shapes |= {norm + ".weight": [width], norm + ".bias": [width]}
for i in range(12):
    for name, rows, columns in ("attn.c_attn", 768, 2304), ("attn.c_proj", 768, 768), ("mlp.c_fc", 768, 3072), ("mlp.c_proj", 3072, 768):
        shapes |= {f"h.{i}.{name}.weight": [rows, columns], f"h.{i}.{name}.bias": [columns]}
header, end = {}, 0
for name, shape in shapes.items():
    size = 4
    for extent in shape:
        size *= extent
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
    end += size
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[1], "wb") as out:
    out.write(struct.pack("<Q", len(text)) + text)
    out.truncate(8 + len(text) + end)
PYTHON
"$1" check "$2/traveling-words.yaml" --set "gpt2.path=$out/whole"
