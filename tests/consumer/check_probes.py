"""check_probes.py RESULT.h5 CHECKPOINT: what the three probes of probes.yaml found, against GPT-2 written out in numpy."""
import json, math, struct, sys
import h5py
import numpy as np

result, folder = sys.argv[1:]
config = json.load(open(folder + "/config.json"))
layers, heads, width = config["n_layer"], config["n_head"], config["n_embd"]
raw = open(folder + "/model.safetensors", "rb").read()
(length,) = struct.unpack("<Q", raw[:8])
w = {}
for name, e in json.loads(raw[8:8 + length]).items():
    if name == "__metadata__" or e["dtype"] != "F32":
        continue
    a, b = e["data_offsets"]
    w[name.removeprefix("transformer.")] = np.frombuffer(raw[8 + length + a:8 + length + b], "<f4").reshape(e["shape"]).astype(float)
prompts = [[int(x) for x in p.split()] for p in ("3 1 4 1 5 9 2 6", "2 7 1 8 2 8", "1 6 1 8")]


def norm(x, name):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + config["layer_norm_epsilon"]) * w[name + ".weight"] + w[name + ".bias"]


def run(tokens, without=None):
    """Residual states after each block, attention patterns, and the summed loss; `without`: (layer, head) whose z is zero."""
    n = len(tokens)
    x = w["wte.weight"][tokens] + w["wpe.weight"][:n]
    states, patterns = [], []
    for l in range(layers):
        qkv = norm(x, f"h.{l}.ln_1") @ w[f"h.{l}.attn.c_attn.weight"] + w[f"h.{l}.attn.c_attn.bias"]
        q, k, v = (t.reshape(n, heads, -1).transpose(1, 0, 2) for t in np.split(qkv, 3, -1))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(width // heads)
        scores = np.where(np.tril(np.ones((n, n), bool)), scores, -np.inf)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        z = p @ v
        if without and without[0] == l:
            z[without[1]] = 0
        x = x + z.transpose(1, 0, 2).reshape(n, width) @ w[f"h.{l}.attn.c_proj.weight"] + w[f"h.{l}.attn.c_proj.bias"]
        h = norm(x, f"h.{l}.ln_2") @ w[f"h.{l}.mlp.c_fc.weight"] + w[f"h.{l}.mlp.c_fc.bias"]
        h = 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h ** 3)))
        x = x + h @ w[f"h.{l}.mlp.c_proj.weight"] + w[f"h.{l}.mlp.c_proj.bias"]
        states.append(x)
        patterns.append(p)
    logits = norm(x, "ln_f") @ w.get("lm_head.weight", w["wte.weight"]).T
    logits = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) - logits.max(-1, keepdims=True)
    return states, patterns, -sum(logits[i, tokens[i + 1]] for i in range(n - 1))


def close(name, measured, expected, tolerance=2e-5):
    measured, expected = np.asarray(measured), np.asarray(expected)
    assert measured.shape == expected.shape, (name, measured.shape, expected.shape)
    worst = np.abs(measured - expected).max()
    print(f"{name}: largest difference {worst:.2g}")
    assert worst < tolerance, (name, measured, expected)


runs = [run(p) for p in prompts]
with h5py.File(result) as f:
    cosines = []
    for l in range(layers):
        units = [s[0][l] / np.linalg.norm(s[0][l], axis=-1, keepdims=True) for s in runs]
        pairs = [(a @ b.T).ravel() for i, a in enumerate(units) for j, b in enumerate(units) if i != j]
        cosines.append(np.concatenate(pairs).mean())
    close("anisotropy", f["cone/mean_cosine"], cosines)

    entropy, share = np.zeros((layers, heads)), np.zeros((layers, heads))
    queries = choosing = 0
    for _, patterns, _ in runs:
        n = patterns[0].shape[-1]
        queries, choosing = queries + n, choosing + n - 1
        for l, p in enumerate(patterns):
            e = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(-1)
            entropy[l] += e.sum(-1)
            share[l] += (e[:, 1:] / np.log(np.arange(2, n + 1))).sum(-1)
    close("entropy", f["looks/entropy"], entropy / queries)
    close("share of entropy", f["looks/share"], share / choosing)

    predictions = sum(len(p) - 1 for p in prompts)
    plain = sum(r[2] for r in runs) / predictions
    rise = [[sum(run(p, (l, h))[2] for p in prompts) / predictions - plain for h in range(heads)] for l in range(layers)]
    close("loss", f["worth/loss"][()], plain)
    close("rise without a head", f["worth/rise"], rise)
    assert np.abs(rise).max() > 1e-4  # an ablation that does nothing would not be seen otherwise
