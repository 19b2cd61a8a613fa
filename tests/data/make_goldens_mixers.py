"""Makes mixers.safetensors, the goldens of our own family of decoders, with Debian's python3-torch:

    /usr/bin/python3 make_goldens_mixers.py     writes beside itself, the same numbers every time

For each mixer and rule of positions: config.json as bytes (NAME/config), weights under the names of a checkpoint
(NAME/weights/...), two texts and the tokens that should follow (NAME/tokens/I, NAME/targets/I), and in float64 the logits
(NAME/logits/I), the patterns of the last block (NAME/pattern/I), and autograd's gradients of the summed loss by each weight
(NAME/gradient/...). Written out in PyTorch from docs/decoder.md alone.
"""
import json
import math
import os

import torch
import torch.nn.functional as F
import write_safetensors

SIZES = dict(model_type="wayfarer_decoder", vocab_size=17, hidden_size=12, intermediate_size=15, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=4, max_position_embeddings=11)
LENGTHS = [11, 5]
MODELS = {
    "learned": dict(position="learned", norm="layer", activation="gelu_new", mixer="attention"),
    "rotary": dict(position="rotary", rope_theta=500.0, norm="rms", activation="silu", gated=True, mixer="attention", tie_word_embeddings=True),
    "alibi": dict(position="alibi", norm="layer", activation="relu", biases=False, mixer="attention"),
    "none": dict(position="none", norm="rms", activation="gelu", biases=True, mixer="attention"),
    "mean": dict(position="learned", norm="layer", activation="gelu", mixer="mean"),
    "window": dict(position="none", norm="rms", norm_eps=1e-3, activation="silu", gated=True, mixer="window", window=3),
    "conv": dict(position="none", norm="layer", activation="gelu_new", mixer="conv", window=4),
    "position": dict(position="learned", norm="rms", activation="relu", mixer="position", num_key_value_heads=4),
}
torch.set_default_dtype(torch.float64)


def weights_of(c, g):
    normal = lambda *shape, sd=None, mean=0.0: ((mean + torch.randn(*shape, generator=g) * (sd or 1.2 * shape[-1] ** -0.5)) * 256).round() / 256
    D, Fw, V, P, H, K, d = (c[k] for k in ("hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings",
                                           "num_attention_heads", "num_key_value_heads", "head_dim"))
    biased = c.get("biases", c["norm"] == "layer")
    w = {"model.embed_tokens.weight": normal(V, D, sd=1.0)}
    if c["position"] == "learned":
        w["model.embed_positions.weight"] = normal(P, D, sd=0.7)

    def norm(at):
        w[at + ".weight"] = normal(D, sd=0.2, mean=1.0)
        if biased and c["norm"] == "layer":
            w[at + ".bias"] = normal(D, sd=0.2)

    def linear(at, out, into):
        w[at + ".weight"] = normal(out, into)
        if biased:
            w[at + ".bias"] = normal(out, sd=0.3)

    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        norm(p + "input_layernorm"), norm(p + "post_attention_layernorm")
        if c["mixer"] == "attention":
            linear(p + "self_attn.q_proj", H * d, D), linear(p + "self_attn.k_proj", K * d, D)
        linear(p + "self_attn.v_proj", K * d, D), linear(p + "self_attn.o_proj", D, H * d)
        if c["mixer"] in ("conv", "position"):
            w[p + "self_attn.distance"] = normal(H, c["window"] if c["mixer"] == "conv" else P, sd=1.0)
        if c.get("gated", False):
            linear(p + "mlp.gate_proj", Fw, D)
        linear(p + "mlp.up_proj", Fw, D), linear(p + "mlp.down_proj", D, Fw)
    norm("model.norm")
    if not c.get("tie_word_embeddings", False):
        w["lm_head.weight"] = normal(V, D)
    return {k: v.requires_grad_() for k, v in w.items()}


def turned(x, theta):
    """x: [pos, head, d]. Angles, their cosines and sines are float32 numbers, as in released models."""
    T, _, d = x.shape
    angles = (torch.arange(T).float()[:, None] * (1 / (theta ** (torch.arange(0, d, 2) / d)).float())).double()
    cos, sin = angles.cos().float().double()[:, None], angles.sin().float().double()[:, None]
    a, b = x[..., : d // 2], x[..., d // 2:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def pattern_of(c, w, at, x, heads):
    """[head, query, key]"""
    T, H = len(x), c["num_attention_heads"]
    age = torch.arange(T)[:, None] - torch.arange(T)[None]
    seen = age >= 0
    if c["mixer"] in ("mean", "window"):
        seen = seen & (age < c.get("window", T))
        return (seen / seen.sum(-1, keepdim=True)).expand(H, T, T)
    if c["mixer"] == "conv":
        seen = seen & (age < c["window"])
        return torch.where(seen, w[at + "distance"][:, age.clamp(0, c["window"] - 1)], torch.zeros(()))
    if c["mixer"] == "position":
        return w[at + "distance"][:, age.clamp(min=0)].masked_fill(~seen, -math.inf).softmax(-1)
    q, k = heads("q_proj"), heads("k_proj")
    if c["position"] == "rotary":
        q, k = turned(q, c["rope_theta"]), turned(k, c["rope_theta"])
    k = k.repeat_interleave(H // k.shape[1], 1)
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(c["head_dim"])
    if c["position"] == "alibi":
        slopes = 2.0 ** (-8 * torch.arange(1, H + 1) / H)
        scores = scores - slopes[:, None, None] * age
    return scores.masked_fill(~seen, -math.inf).softmax(-1)


def logits_of(c, w, tokens):
    D = c["hidden_size"]
    eps, act = c.get("norm_eps", 1e-5), {"relu": F.relu, "silu": F.silu, "gelu": F.gelu, "gelu_new": lambda y: F.gelu(y, approximate="tanh")}[c["activation"]]
    linear = lambda y, at: F.linear(y, w[at + ".weight"], w.get(at + ".bias"))

    def norm(y, at):
        if c["norm"] == "layer":
            return F.layer_norm(y, (D,), w[at + ".weight"], w.get(at + ".bias"), eps)
        return y / (y.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w[at + ".weight"]

    x = w["model.embed_tokens.weight"][tokens]
    if c["position"] == "learned":
        x = x + w["model.embed_positions.weight"][: len(tokens)]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        read = norm(x, p + "input_layernorm")
        heads = lambda name: linear(read, p + "self_attn." + name).view(len(tokens), -1, c["head_dim"])
        pattern = pattern_of(c, w, p + "self_attn.", read, heads)
        v = heads("v_proj")
        v = v.repeat_interleave(c["num_attention_heads"] // v.shape[1], 1)
        x = x + linear(torch.einsum("hqk,khd->qhd", pattern, v).reshape(len(tokens), -1), p + "self_attn.o_proj")
        read = norm(x, p + "post_attention_layernorm")
        if c.get("gated", False):
            hidden = act(linear(read, p + "mlp.gate_proj")) * linear(read, p + "mlp.up_proj")
        else:
            hidden = act(linear(read, p + "mlp.up_proj"))
        x = x + linear(hidden, p + "mlp.down_proj")
    head = "model.embed_tokens" if c.get("tie_word_embeddings", False) else "lm_head"
    return F.linear(norm(x, "model.norm"), w[head + ".weight"]), pattern


def main():
    out = {}
    for seed, (name, choices) in enumerate(MODELS.items()):
        c, g = SIZES | choices, torch.Generator().manual_seed(seed)
        w, loss = weights_of(c, g), 0
        out[f"{name}/config"] = torch.tensor(list(json.dumps(c).encode()), dtype=torch.int32)
        for i, n in enumerate(LENGTHS):
            ids = torch.randint(c["vocab_size"], (n + 1,), generator=g)
            logits, pattern = logits_of(c, w, ids[:-1])
            loss = loss + F.cross_entropy(logits, ids[1:], reduction="sum")
            out |= {f"{name}/tokens/{i}": ids[:-1].int(), f"{name}/targets/{i}": ids[1:].int(), f"{name}/logits/{i}": logits.detach(),
                    f"{name}/pattern/{i}": pattern.detach()}
        loss.backward()
        for key, v in w.items():
            out |= {f"{name}/weights/{key}": v.detach().float(), f"{name}/gradient/{key}": v.grad}
    write_safetensors.write(os.path.join(os.path.dirname(os.path.abspath(__file__)), "mixers.safetensors"), out)


main()
