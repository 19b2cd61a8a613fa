#!/usr/bin/env python3
"""Makes the small GPT-2 checkpoints of the tests and, beside them, every activation in float64.

    make_goldens.py REFMODELS.py [OUT]

REFMODELS.py is the reference implementation in PyTorch; OUT is this script's folder unless given. Each gpt2-NAME/ gets
config.json and model.safetensors (float32, random) and golden.safetensors: for every sequence i of `sequences`, tensors
"i/HOOK" in float64, computed from the float32 weights in double precision, without the batch dimension. The tests compare
float64 runs with them within 1e-12 and float32 runs within 1e-5 of each hook's largest magnitude.
"""
import importlib.util, json, os, struct, sys
import numpy as np
import torch

# Odd on purpose: heads that are no power of two, odd vocabularies, one token, the full context, lengths in between.
MODELS = {
    "gpt2-odd": dict(layers=2, width=18, heads=3, vocab=29, positions=11, seed=1),
    "gpt2-narrow": dict(layers=1, width=35, heads=7, vocab=53, positions=7, seed=2),
}


def save(path, tensors):
    kinds = {np.dtype(np.float64): "F64", np.dtype(np.float32): "F32", np.dtype(np.int32): "I32"}
    header, offset = {}, 0
    for name, a in tensors.items():
        header[name] = {"dtype": kinds[a.dtype], "shape": list(a.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
    blob = json.dumps(header).encode()
    blob += b" " * (-len(blob) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(blob)) + blob)
        for a in tensors.values():
            f.write(np.ascontiguousarray(a).tobytes())


def main():
    spec = importlib.util.spec_from_file_location("refmodels", sys.argv[1])
    ref = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ref)
    out = sys.argv[2] if len(sys.argv) > 2 else os.path.dirname(os.path.abspath(__file__))
    for name, shape in MODELS.items():
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        cfg, weights = ref.make_gpt2(type("Shape", (), shape))
        # Weights large enough that attention is far from uniform and the norms have work to do.
        weights = {k: (w * 4 if w.ndim == 2 else w).astype(np.float32) for k, w in weights.items()}
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(cfg, f, indent=1)
        save(os.path.join(folder, "model.safetensors"), weights)
        model = ref.GPT2(cfg, {k: torch.from_numpy(w).double() for k, w in weights.items()})
        draw = np.random.default_rng(shape["seed"])
        golden = {}
        for i, length in enumerate((1, shape["positions"], shape["positions"] // 2)):
            ids = draw.integers(0, shape["vocab"], length).astype(np.int32)
            golden[f"{i}/tokens"] = ids
            with torch.no_grad():
                hooks, _ = model(torch.from_numpy(ids.astype(np.int64))[None], capture=True)
            for hook, x in hooks.items():
                golden[f"{i}/{hook}"] = x[0].numpy() if x.dim() > 2 and x.shape[0] == 1 else x.numpy()
        save(os.path.join(folder, "golden.safetensors"), golden)


main()
