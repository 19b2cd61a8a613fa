"""Makes language-model.safetensors, the goldens of the tests of language_model_trained, with Debian's python3-torch:

    /usr/bin/python3 make_goldens_language_model.py     writes beside itself, the same numbers every time

For a random decoder of each kind below, in float64: weights as they start (NAME/start/...), tokens and targets of five batches, the
mean loss before each update, the gradients of the first loss by autograd (NAME/gradient/...), and the weights after five steps of
torch.optim.AdamW (NAME/after/...), with warm-up, clipping by the global norm, and decay of matrices and tables alone. The forward pass
is written out here, with full matrices of weights between positions. Names of tensors are those of the checkpoint, without "model.".
tests/plugins/language_model_test.cpp has the same table of kinds.
"""
import math, os
import numpy as np
import torch
import torch.nn.functional as F
import write_safetensors

WIDTH, MLP, VOCABULARY, LENGTH, BATCH = 8, 12, 13, 11, 2
RATES, DECAY, BETAS, EPSILON, CLIP = [0.01, 0.02, 0.015, 0.01, 0.005], 0.1, (0.9, 0.95), 1e-8, 0.5
PLAIN = dict(layers=1, heads=2, kv_heads=2, position="learned", mixer="attention", window=0, norm="rms", gated=True, activation="silu", biases=False, tied=True)
KINDS = {
    "rotary": dict(layers=2, heads=4, kv_heads=2, position="rotary"),
    "learned": dict(layers=2, norm="layer", gated=False, activation="gelu_new", biases=True, tied=False),
    "alibi": dict(heads=4, kv_heads=1, position="alibi", activation="gelu"),
    "nowhere": dict(position="none", norm="layer", gated=False, activation="relu"),
    "mean": dict(mixer="mean", gated=False, activation="tanh", biases=True),
    "window": dict(layers=2, mixer="window", window=3, kv_heads=1, position="none"),
    "conv": dict(layers=2, mixer="conv", window=11, norm="layer", biases=True, tied=False),
    "conv_near": dict(mixer="conv", window=4, position="none", kv_heads=1),
    "position": dict(layers=2, mixer="position", position="none", gated=False, activation="relu2"),
    "position_shared": dict(mixer="position", heads=4, kv_heads=2, norm="layer", biases=True),
}
torch.set_default_dtype(torch.float64)


def start(k, g):
    rounded = lambda x: torch.tensor(np.float64(np.float32(x)))
    n = lambda *shape, sd=0.3, mean=0.0: rounded(mean + sd * g.standard_normal(shape))
    w = {"embed_tokens.weight": n(VOCABULARY, WIDTH)}
    if k["position"] == "learned":
        w["embed_positions.weight"] = n(LENGTH, WIDTH)

    def norm(name):
        w[name + ".weight"] = n(WIDTH, sd=0.2, mean=1.0)
        if k["norm"] == "layer" and k["biases"]:
            w[name + ".bias"] = n(WIDTH)

    keys = k["kv_heads"] * WIDTH // k["heads"]
    for i in range(k["layers"]):
        p = f"layers.{i}."

        def linear(name, into, out):
            w[p + name + ".weight"] = n(out, into)
            if k["biases"]:
                w[p + name + ".bias"] = n(out)

        norm(p + "input_layernorm")
        if k["mixer"] == "attention":
            linear("self_attn.q_proj", WIDTH, WIDTH)
            linear("self_attn.k_proj", WIDTH, keys)
        linear("self_attn.v_proj", WIDTH, keys)
        if k["mixer"] in ("conv", "position"):
            w[p + "self_attn.distance"] = n(k["heads"], k["window"] or LENGTH)
        linear("self_attn.o_proj", WIDTH, WIDTH)
        norm(p + "post_attention_layernorm")
        if k["gated"]:
            linear("mlp.gate_proj", WIDTH, MLP)
        linear("mlp.up_proj", WIDTH, MLP)
        linear("mlp.down_proj", MLP, WIDTH)
    norm("norm")
    if not k["tied"]:
        w["lm_head.weight"] = n(VOCABULARY, WIDTH)
    return {name: v.requires_grad_() for name, v in w.items()}


def turned(x):
    """Rotary positions, first half of a head with its second; x is [batch, head, position, d]. Angles in float32, as everywhere."""
    d = x.shape[-1]
    inverse = (1.0 / 10000 ** (torch.arange(0, d, 2, dtype=torch.float32) / d)).float()
    angle = torch.arange(x.shape[2], dtype=torch.float32)[:, None] * inverse
    # torch's own cosine of a float32 may miss the nearest one by a unit in the last place.
    cos, sin = torch.cos(angle.double()).float().double(), torch.sin(angle.double()).float().double()
    a, b = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def mixing(k, w, p, h, heads):
    """Weights between positions, [batch, head, query, key]."""
    batch, length, _ = h.shape
    query, key = torch.arange(length)[:, None], torch.arange(length)[None]
    seen = (key <= query) & ((query - key < k["window"]) if k["window"] else True)
    if k["mixer"] in ("mean", "window"):
        return (seen / seen.sum(1, keepdim=True)).expand(batch, k["heads"], length, length)
    if k["mixer"] in ("conv", "position"):
        table = w[p + "self_attn.distance"]
        by_pair = table[:, (query - key).clamp(0, table.shape[1] - 1)]
        by_pair = by_pair.masked_fill(~seen, 0.0) if k["mixer"] == "conv" else by_pair.masked_fill(~seen, -math.inf).softmax(2)
        return by_pair.expand(batch, k["heads"], length, length)
    q, keys = heads("q", k["heads"]), heads("k", k["kv_heads"])
    if k["position"] == "rotary":
        q, keys = turned(q), turned(keys)
    scores = q @ keys.repeat_interleave(k["heads"] // k["kv_heads"], 1).transpose(2, 3) / math.sqrt(q.shape[-1])
    if k["position"] == "alibi":
        slopes = torch.tensor([2.0 ** (-8 * (i + 1) / k["heads"]) for i in range(k["heads"])])
        scores = scores + slopes[:, None, None] * key
    return scores.masked_fill(~seen, -math.inf).softmax(3)


ACTIVATIONS = {"silu": F.silu, "gelu": F.gelu, "gelu_new": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu, "relu2": lambda x: F.relu(x) ** 2, "tanh": torch.tanh}


def loss_of(k, w, tokens, targets):
    batch, length = tokens.shape
    d = WIDTH // k["heads"]
    x = w["embed_tokens.weight"][tokens]
    if k["position"] == "learned":
        x = x + w["embed_positions.weight"][:length]

    def norm(y, name):
        if k["norm"] == "layer":
            return F.layer_norm(y, (WIDTH,), w[name + ".weight"], w.get(name + ".bias"), 1e-5)
        return y / torch.sqrt((y**2).mean(-1, keepdim=True) + 1e-5) * w[name + ".weight"]

    for i in range(k["layers"]):
        p = f"layers.{i}."
        linear = lambda y, name: y @ w[p + name + ".weight"].T + (w[p + name + ".bias"] if k["biases"] else 0)
        h = norm(x, p + "input_layernorm")
        heads = lambda part, n: linear(h, f"self_attn.{part}_proj").view(batch, length, n, d).transpose(1, 2)
        v = heads("v", k["kv_heads"]).repeat_interleave(k["heads"] // k["kv_heads"], 1)
        z = (mixing(k, w, p, h, heads) @ v).transpose(1, 2).reshape(batch, length, WIDTH)
        x = x + linear(z, "self_attn.o_proj")
        h = norm(x, p + "post_attention_layernorm")
        act = ACTIVATIONS[k["activation"]]
        inner = act(linear(h, "mlp.gate_proj")) * linear(h, "mlp.up_proj") if k["gated"] else act(linear(h, "mlp.up_proj"))
        x = x + linear(inner, "mlp.down_proj")
    logits = norm(x, "norm") @ w["embed_tokens.weight" if k["tied"] else "lm_head.weight"].T
    return F.cross_entropy(logits.view(-1, VOCABULARY), targets.reshape(-1))


def train(name, k, g, out):
    w = start(k, g)
    ids = torch.tensor(g.integers(0, VOCABULARY, (len(RATES), BATCH, LENGTH + 1)))
    out[f"{name}/tokens"], out[f"{name}/targets"] = ids[:, :, :-1].numpy().astype(np.int32), ids[:, :, 1:].numpy().astype(np.int32)
    put = lambda part: out.update({f"{name}/{part}/{n}": v.detach().numpy().copy() for n, v in w.items()})
    put("start")
    optimizer = torch.optim.AdamW([{"params": [v for v in w.values() if v.dim() == 2], "weight_decay": DECAY},
                                   {"params": [v for v in w.values() if v.dim() == 1], "weight_decay": 0.0}], betas=BETAS, eps=EPSILON)
    losses = []
    for step, rate in enumerate(RATES):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = loss_of(k, w, ids[step, :, :-1], ids[step, :, 1:])
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            out.update({f"{name}/gradient/{n}": v.grad.numpy().copy() for n, v in w.items()})
        norm = torch.sqrt(sum((v.grad**2).sum() for v in w.values()))
        for v in w.values():
            v.grad.mul_(min(1.0, CLIP / norm.item()))
        optimizer.step()
    put("after")
    out[f"{name}/losses"] = np.array(losses)


def main():
    out = {}
    for seed, (name, more) in enumerate(KINDS.items()):
        train(name, PLAIN | more, np.random.default_rng(seed), out)
    here = os.path.dirname(os.path.abspath(__file__))
    write_safetensors.write(os.path.join(here, "language-model.safetensors"), {k: torch.from_numpy(np.ascontiguousarray(x)) for k, x in out.items()})


main()
