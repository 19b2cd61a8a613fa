#!/usr/bin/env python3
"""Times GPT-2 124M's passes against plain PyTorch on the same random checkpoint, in turn, and prints the ratios.

    benchmarks/peers/gpt2.py BUILD [--rounds 5] [--threads 2] [--only REGEX] [--onnx FOLDER]

BUILD is a build folder with benchmarks/ and bin/. With --onnx the passes are those of ONNX Runtime, on a graph that PyTorch exports; FOLDER
has onnxruntime-node (npm install --ignore-scripts onnxruntime-node). Needs Debian's python3-torch, python3-h5py and libopenblas0-pthread; run with
/usr/bin/python3. Each round times theirs, then ours; a ratio is the median of the rounds' ratios. First both must give the same logits.
The script prints which BLAS PyTorch has, and raises malloc's thresholds for it, since page faults are dear in virtual machines.
"""
import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 31), "MALLOC_TOP_PAD_": str(1 << 28)}
if any(os.environ.get(k) != v for k, v in MALLOC.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

LAYERS, HEADS, WIDTH, VOCABULARY, POSITIONS = 12, 12, 768, 50257, 1024
CASES = [  # name, benchmark, items, tokens
    ("1 x 1,024, all logits", "^forward/1/1024/", 1, 1024),
    ("8 x 128", "^forward/8/128/", 8, 128),
    ("32 x 32", "^forward/32/32/", 32, 32),
    ("1 x 128", "^forward/1/128/", 1, 128),
    ("1 x 64", "^forward/1/64/", 1, 64),
    ("1 x 16", "^forward/1/16/", 1, 16),
    ("1 x 1,024, every residual state", "^capture/residual", 1, 1024),
    ("1 x 1,024, every pattern", "^capture/patterns", 1, 1024),
    ("decoding, a token", "^decoding/1/", 1, 0),
    ("decoding, a step of 8", "^decoding/8/", 8, 0),
]


def write_checkpoint(folder):
    """A random GPT-2 in Hugging Face's layout."""
    draw = np.random.default_rng(0)
    shapes = {"wte.weight": (VOCABULARY, WIDTH), "wpe.weight": (POSITIONS, WIDTH), "ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    for i in range(LAYERS):
        for name, shape in (("attn.c_attn", (WIDTH, 3 * WIDTH)), ("attn.c_proj", (WIDTH, WIDTH)), ("mlp.c_fc", (WIDTH, 4 * WIDTH)),
                            ("mlp.c_proj", (4 * WIDTH, WIDTH))):
            shapes[f"h.{i}.{name}.weight"], shapes[f"h.{i}.{name}.bias"] = shape, shape[1:]
        for norm in ("ln_1", "ln_2"):
            shapes[f"h.{i}.{norm}.weight"] = shapes[f"h.{i}.{norm}.bias"] = (WIDTH,)
    tensors = {n: (np.float32(1) if ".ln_" in f".{n}" and n.endswith("weight") else np.float32(0)) +
               np.float32(0.02) * draw.standard_normal(s, dtype=np.float32) for n, s in shapes.items()}
    header, at = {}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for t in tensors.values():
            file.write(t.tobytes())
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump({"model_type": "gpt2", "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "n_positions": POSITIONS,
                   "vocab_size": VOCABULARY, "activation_function": "gelu_new", "bos_token_id": 0, "eos_token_id": 0}, file)
    return {n: torch.from_numpy(t) for n, t in tensors.items()}


class gpt2:
    """GPT-2 in PyTorch's fused functions. ids: [item, token]; `keep` collects the residual states and the patterns."""

    def __init__(self, weights):
        self.w = weights
        self.masks = {}

    def norm(self, x, name):
        return F.layer_norm(x, (WIDTH,), self.w[name + ".weight"], self.w[name + ".bias"], 1e-5)

    def linear(self, x, name):
        return torch.addmm(self.w[name + ".bias"], x.view(-1, x.shape[-1]), self.w[name + ".weight"]).view(*x.shape[:-1], -1)

    def attention(self, x, i, past, keep):
        items, n, _ = x.shape
        q, k, v = self.linear(x, f"h.{i}.attn.c_attn").view(items, n, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        if past is not None:
            if i in past:
                k, v = torch.cat([past[i][0], k], 2), torch.cat([past[i][1], v], 2)
            past[i] = (k, v)
        scores = (q * (1 / math.sqrt(WIDTH // HEADS))) @ k.transpose(-1, -2)
        if n > 1:
            if n not in self.masks:
                self.masks[n] = torch.triu(torch.full((n, n), float("-inf")), 1)
            scores += self.masks[n]
        pattern = torch.softmax(scores, -1)
        if keep is not None:
            keep.append(pattern)
        return self.linear((pattern @ v).transpose(1, 2).reshape(items, n, WIDTH), f"h.{i}.attn.c_proj")

    def __call__(self, ids, past=None, keep=None):
        first = past[0][0].shape[2] if past else 0
        x = self.w["wte.weight"][ids] + self.w["wpe.weight"][first:first + ids.shape[1]]
        for i in range(LAYERS):
            out = self.attention(self.norm(x, f"h.{i}.ln_1"), i, past, keep)
            mid = x + out
            up = self.linear(self.norm(mid, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")
            down = self.linear(0.5 * up * (1 + torch.tanh(0.7978845608028654 * (up + 0.044715 * up**3))) if not NEW_GELU
                               else F.gelu(up, approximate="tanh"), f"h.{i}.mlp.c_proj")
            if keep is not None:
                keep.extend((x, out, mid, down))
            x = mid + down
        x = self.norm(x, "ln_f")
        return x @ self.w["wte.weight"].T


try:
    F.gelu(torch.zeros(1), approximate="tanh")
    NEW_GELU = True
except TypeError:
    NEW_GELU = False


def check_logits(build, folder, model):
    """The largest difference of the logits of 16 tokens, over their standard deviation."""
    ids = [int(t) for t in np.random.default_rng(1).integers(0, VOCABULARY, 16)]
    with open(os.path.join(folder, "check.yaml"), "w", encoding="utf-8") as file:
        file.write(f"title: check\nnodes:\n  ids: {{source: tokens, ids: [\"{' '.join(map(str, ids))}\"]}}\n  lm: {{model: gpt2, path: {folder}}}\n"
                   "  states: {probe: activations, model: lm, source: ids, hooks: [logits]}\n")
    result = os.path.join(folder, "check.h5")
    subprocess.run([os.path.join(build, "bin/wayfarer"), "run", file.name, "--out", result, "--quiet"], check=True)
    with h5py.File(result) as h5:
        ours = h5["states/logits"][0]
    theirs = model(torch.tensor([ids]))[0].numpy()
    return np.abs(ours - theirs).max() / theirs.std()


def time_theirs(model, name, items, tokens):
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(0, VOCABULARY, (items, tokens or 128), generator=draw)
    past = {} if not tokens else None
    keep = "every" in name
    if past is not None:
        model(ids, past)
        ids = ids[:, :1]
    runs = []
    for _ in range(3 if tokens >= 1024 else 7 if tokens else 20):
        start = time.perf_counter()
        kept = [] if keep else None
        model(ids, past, kept)
        runs.append(time.perf_counter() - start)
    return statistics.median(runs)


def time_onnx(folder, modules, items, tokens, threads):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "onnx_session.mjs")
    command = ["node", script, os.path.join(folder, f"{tokens}.onnx"), *map(str, (items, tokens, VOCABULARY, threads, 3 if tokens >= 1024 else 7))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=modules).stdout) / 1e3


class exported(torch.nn.Module):
    """The same pass as a module, whose weights an ONNX file keeps as constants."""

    def __init__(self, model):
        super().__init__()
        self.pass_of = model

    def forward(self, ids):
        return self.pass_of(ids)


def export(model, folder, tokens):
    path = os.path.join(folder, f"{tokens}.onnx")
    if not os.path.exists(path):
        torch.onnx.export(exported(model), torch.zeros((1, tokens), dtype=torch.int64), path, input_names=["ids"], output_names=["logits"],
                          dynamic_axes={"ids": {0: "item"}}, opset_version=17)


def time_ours(build, folder, which, threads):
    command = [os.path.join(build, "benchmarks/bench_transformer"), f"--model={folder}", f"--threads={threads}",
               f"--benchmark_filter={which}", "--benchmark_format=json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["benchmarks"][0]
    return found["real_time"] / 1e3, found.get("of_peak", found.get("of_bandwidth", math.nan))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--onnx", default="")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    blas = re.findall(r"/\S*(?:blas|mkl)\S*", open("/proc/self/maps", encoding="utf-8").read())
    print(f"PyTorch {torch.__version__}, BLAS {sorted(set(blas))[0] if blas else 'unknown'}, {options.threads} threads, malloc thresholds raised")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        model = gpt2(write_checkpoint(folder))
        print(f"logits differ by {check_logits(options.build, folder, model):.1e} of their standard deviation at most")
        print(f"{'pass':34} {'ours, ms':>9} {'ONNX, ms' if options.onnx else 'PyTorch, ms':>12} {'ratio':>6}   of the limit")
        for name, which, items, tokens in CASES:
            if not re.search(options.only, name) or options.onnx and (not tokens or "every" in name):
                continue
            if options.onnx:
                export(model, folder, tokens)
            rounds = [(time_onnx(folder, options.onnx, items, tokens, options.threads) if options.onnx else time_theirs(model, name, items, tokens),
                       *time_ours(options.build, folder, which, options.threads)) for _ in range(options.rounds)]
            ratios = sorted(t / o for t, o, _ in rounds)
            print(f"{name:34} {1e3 * statistics.median(o for _, o, _ in rounds):9.1f} {1e3 * statistics.median(t for t, _, _ in rounds):12.1f} "
                  f"{statistics.median(ratios):6.2f}   {statistics.median(f for _, _, f in rounds):.2f}   ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                  flush=True)


if __name__ == "__main__":
    main()
