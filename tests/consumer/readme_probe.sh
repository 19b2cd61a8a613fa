#!/bin/sh
# readme_probe.sh SOURCE_DIR BUILD_DIR COMPILER: builds the README's probe as the README says, and checks what it measures.
set -eu
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir "$out/plugins"
# The README shows this very file.
awk '/^```cpp/ { on = 1; next } /^```/ { on = 0 } on' "$1/README.md" > "$out/shown"
sed -n '/^struct attention_entropy/,$p' "$1/docs/examples/attention_entropy.cpp" | diff - "$out/shown"
"$3" -std=c++20 -O2 -fPIC -shared -I "$1/sdk/include" "$1/docs/examples/attention_entropy.cpp" \
  -o "$out/plugins/wayfarer_attention_entropy.so" -L "$2/lib" -lwayfarer_sdk
"$2/bin/wayfarer" plugins describe attention_entropy --plugin-path "$out/plugins"
"$2/bin/wayfarer" run "$1/docs/examples/attention_entropy.yaml" --plugin-path "$out/plugins" --out "$out/r.h5" --quiet
/usr/bin/python3 - "$out/r.h5" <<'PYTHON'
import math, sys, xarray
entropy = xarray.open_dataset(sys.argv[1], group="looks")["entropy"]
print(entropy)
start, end = float(entropy.sel(step=0)[0, 0]), float(entropy[-1, 0, 0])
# At the start attention is nearly uniform over 100 to 150 words; trained, it narrows to words of the same topic.
assert entropy.dims == ("step", "layer", "head") and entropy.attrs["units"] == "nat"
assert math.log(100) - 0.1 < start < math.log(150), start
assert end < start - 0.1, (start, end)
PYTHON
