"""Makes rwkv4-small to rwkv7-small, the goldens of the recurrent models' tests, with reference_rwkv.py and Debian's python3-torch.

Each folder has a random checkpoint of odd shape in the layout of Hugging Face's folders, and golden.safetensors: item i of a batch
as "i/ids", every activation of the reference (computed in float64) as "i/NAME", and of item 0 the logits with one ingredient
broken as "0/wrong/WHAT".
"""
import json
import os

import torch
from reference_rwkv import Rwkv
from write_safetensors import write

HERE = os.path.dirname(os.path.abspath(__file__))
WRONG = {
    4: ["no shift", "mixture the other way round", "sign of the decay", "no bonus", "decay before reading"],
    5.1: ["no shift", "mixture the other way round", "no bonus", "bonus is no exponential", "decay before reading", "squashed receptance",
          "norm over all heads", "group epsilon"],
    5.2: ["no shift", "mixture the other way round", "no bonus", "decay before reading", "squashed receptance", "norm over all heads",
          "group epsilon"],
    6: ["no shift", "no bonus", "decay before reading", "norm over all heads", "group epsilon", "mixtures by the token",
        "order of the mixtures", "decay by the token"],
    7: ["no shift", "mixture the other way round", "norm over all heads", "group epsilon", "removal of any length",
        "no values of the first layer", "sign of the removal", "read before the update", "no bonus"],
}


def weights_of(c, seed):
    g = torch.Generator().manual_seed(seed)
    grid = lambda x: (x * 256).round() / 256                      # exact in float16 and nearly so in bfloat16
    normal = lambda *shape, std=None, mean=0.0: grid(mean + torch.randn(*shape, generator=g) * (std or 1.2 * shape[-1] ** -0.5))
    D, F, V, L = c["hidden_size"], c["intermediate_size"], c["vocab_size"], c["num_hidden_layers"]
    kind = c["model_type"]
    A = c.get("attention_hidden_size", D)
    N = c.get("head_size", c.get("head_dim"))
    share = lambda *shape: grid(torch.rand(*shape, generator=g))
    w = {}

    def norm(at, width=D):
        w[at + ".weight"], w[at + ".bias"] = normal(width, std=0.2, mean=1.0), normal(width, std=0.2)

    if kind == "rwkv7":
        w["model.embeddings.weight"] = normal(V, D, std=1.0)
        norm("model.layers.0.pre_norm")
        for i in range(L):
            p = f"model.layers.{i}."
            norm(p + "attn_norm"), norm(p + "ffn_norm"), norm(p + "attn.g_norm")
            for n in "rwkvag":
                w[p + "attn.x_" + n] = share(1, 1, D)
            w[p + "attn.k_k"], w[p + "attn.k_a"] = normal(D, std=0.3, mean=0.8), normal(D, std=0.2, mean=1.0)
            w[p + "attn.r_k"] = normal(D // N, N, std=0.5)
            for n in "rkvo":
                w[p + f"attn.{n}_proj.weight"] = normal(D, D)
            for n, rank in (("w", c["decay_low_rank_dim"]), ("a", c["a_low_rank_dim"]), ("v", c["v_low_rank_dim"]), ("g", c["gate_low_rank_dim"])):
                if n == "v" and i == 0:
                    continue
                w[p + f"attn.{n}_lora.lora.0.weight"], w[p + f"attn.{n}_lora.lora.2.weight"] = normal(rank, D), normal(D, rank)
                if n != "g":
                    w[p + f"attn.{n}_lora.lora.2.bias"] = normal(D, std=1.0)
            w[p + "ffn.x_k"] = share(D)
            w[p + "ffn.key.weight"], w[p + "ffn.value.weight"] = normal(F, D), normal(D, F)
        norm("model.norm")
        w["lm_head.weight"] = normal(V, D)
        return w
    w["rwkv.embeddings.weight"] = normal(V, D, std=1.0)
    norm("rwkv.blocks.0.pre_ln")
    six, two = kind == "rwkv6", c.get("model_version", "5_2") == "5_2"
    for i in range(L):
        p = f"rwkv.blocks.{i}."
        a, f = p + "attention.", p + "feed_forward."
        norm(p + "ln1"), norm(p + "ln2")
        names = "xwkvrg" if six else ["key", "value", "receptance"] + (["gate"] if kind == "rwkv5" and two else [])
        for n in names:
            w[a + ("time_maa_" if six else "time_mix_") + n] = share(1, 1, D)
        if six:
            w[a + "time_maa_w1"], w[a + "time_maa_w2"] = normal(D, 160, std=0.2), normal(5, 32, D, std=0.1)
            w[a + "time_decay_w1"], w[a + "time_decay_w2"] = normal(D, 64, std=0.2), normal(64, A, std=0.1)
            w[a + "time_decay"] = normal(1, 1, A, std=1.0)
        if six or (kind == "rwkv5" and two):
            w[a + "time_faaaa"] = normal(A // N, N, std=0.7)
            if not six:
                w[a + "time_decay"] = normal(A // N, N, std=1.0)
        if kind == "rwkv" or not two:
            n = A if kind == "rwkv" else A // N
            w[a + "time_decay"], w[a + "time_first"] = normal(n, std=1.0, mean=-1.0), normal(n, std=0.7)
        for n in ["key", "value", "receptance"] + (["gate"] if six or (kind == "rwkv5" and two) else []):
            w[a + n + ".weight"] = normal(A, D)
        w[a + "output.weight"] = normal(D, A)
        if kind != "rwkv":
            norm(a + "ln_x", A)
        for n in "kr" if six else ("key", "receptance"):
            w[f + ("time_maa_" if six else "time_mix_") + n] = share(1, 1, D)
        w[f + "key.weight"], w[f + "receptance.weight"], w[f + "value.weight"] = normal(F, D), normal(D, D), normal(D, F)
    norm("rwkv.ln_out")
    w["head.weight"] = normal(V, D)
    return w


def golden(name, seed, c, w, reference, all_wrong):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(c, f, indent=1)
        f.write("\n")
    write(os.path.join(folder, "model.safetensors"), {k: v.float() for k, v in w.items()})
    g, out = torch.Generator().manual_seed(seed + 1), {}
    model = reference(c, w)
    for i, length in enumerate((11, 1, 6)):
        ids = torch.randint(0, c["vocab_size"], (length,), generator=g)
        out[f"{i}/ids"] = ids.int()
        out.update({f"{i}/{k}": v.float() for k, v in model(ids).items()})
        if i == 0:
            for wrong in all_wrong:
                out[f"0/wrong/{wrong}"] = reference(c, w, wrong)(ids)["logits"].float()
    write(os.path.join(folder, "golden.safetensors"), out)


if __name__ == "__main__":
    shape = dict(vocab_size=19, num_hidden_layers=2)
    five = dict(model_type="rwkv5", hidden_size=15, attention_hidden_size=15, head_size=5, intermediate_size=13, **shape)
    for version, seed, c in (
            (4, 11, dict(model_type="rwkv", hidden_size=10, attention_hidden_size=7, intermediate_size=13, **shape)),
            (5.1, 12, dict(model_version="5_1", **five)), (5.2, 13, dict(**five)), (6, 14, dict(five, model_type="rwkv6")),
            (7, 15, dict(model_type="rwkv7", hidden_size=15, head_dim=5, intermediate_size=13, decay_low_rank_dim=4, a_low_rank_dim=3,
                         v_low_rank_dim=2, gate_low_rank_dim=6, norm_eps=1e-5, **shape))):
        golden(f"rwkv{version}-small", seed, c, weights_of(c, seed), Rwkv, WRONG[version])
