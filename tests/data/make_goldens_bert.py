"""Makes bert-small and roberta-small, the goldens of the BERT tests, with reference_bert.py and Debian's python3-torch.

Each folder has a small random checkpoint of odd shape, whose weights bfloat16 and float16 both hold exactly, and golden.safetensors:
item i of a batch of mixed lengths as "i/ids", and every activation of the reference in float64 as "i/NAME".
"""
import json
import os

import torch
from reference_bert import Bert
from write_safetensors import write

HERE = os.path.dirname(os.path.abspath(__file__))


def golden(name, seed, prefix, head, lengths, **c):
    g = torch.Generator().manual_seed(seed)
    grid = lambda x: ((x * 512).round() / 512).clamp(-0.484375, 0.484375)
    normal = lambda *shape, std=0.2: grid(torch.randn(*shape, generator=g) * std)
    near_one = lambda n: ((1 + 0.1 * torch.randn(n, generator=g)) * 64).round() / 64
    D, F, V = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    w = {}

    def affine(at, rows, columns):
        w[at + ".weight"], w[at + ".bias"] = normal(rows, columns), normal(rows)

    def norm(at, legacy=False):
        w[at + (".gamma" if legacy else ".weight")], w[at + (".beta" if legacy else ".bias")] = near_one(D), normal(D, std=0.1)

    legacy = c["model_type"] == "bert"  # the first published BERT checkpoints call a norm's weights so
    e = prefix + "embeddings."
    w[e + "word_embeddings.weight"] = normal(V, D, std=0.15)
    w[e + "position_embeddings.weight"] = normal(c["max_position_embeddings"], D, std=0.1)
    w[e + "token_type_embeddings.weight"] = normal(c["type_vocab_size"], D, std=0.1)
    norm(e + "LayerNorm", legacy)
    for i in range(c["num_hidden_layers"]):
        p = prefix + f"encoder.layer.{i}."
        for m in ("query", "key", "value"):
            affine(p + "attention.self." + m, D, D)
        affine(p + "attention.output.dense", D, D)
        norm(p + "attention.output.LayerNorm", legacy)
        affine(p + "intermediate.dense", F, D)
        affine(p + "output.dense", D, F)
        norm(p + "output.LayerNorm", legacy)
    if head == "cls.predictions":
        affine("cls.predictions.transform.dense", D, D)
        norm("cls.predictions.transform.LayerNorm", legacy)
        w["cls.predictions.bias"] = normal(V)
    else:
        affine("lm_head.dense", D, D)
        norm("lm_head.layer_norm")
        w["lm_head.bias"] = normal(V)
    for k, v in w.items():
        assert torch.equal(v.bfloat16().float(), v) and torch.equal(v.half().float(), v), k
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(c, f, indent=1)
        f.write("\n")
    write(os.path.join(folder, "model.safetensors"), {k: v.bfloat16() for k, v in w.items()})
    w = {k.replace(".gamma", ".weight").replace(".beta", ".bias"): v for k, v in w.items()}
    wide, narrow = Bert(c, {k: v.double() for k, v in w.items()}), Bert(c, w)
    out, worst = {}, 0.0
    for i, n in enumerate(lengths):
        ids = torch.randint(0, V, (n,), generator=g).tolist()
        kept, other = wide(ids), narrow(ids)
        out[f"{i}/ids"] = torch.tensor(ids, dtype=torch.int32)
        for k, v in kept.items():
            worst = max(worst, float((other[k].double() - v).abs().max() / v.abs().max()))
            out[f"{i}/{k}"] = v
    write(os.path.join(folder, "golden.safetensors"), out)
    print(f"{name}: {len(out)} arrays; the reference in float32 is within {worst:.1e} of its float64 self")


with torch.no_grad():
    golden("bert-small", 1, "bert.", "cls.predictions", (1, 9, 4), architectures=["BertForMaskedLM"], model_type="bert",
           vocab_size=29, hidden_size=10, num_hidden_layers=2, num_attention_heads=2, intermediate_size=13, hidden_act="gelu",
           max_position_embeddings=16, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=0)
    golden("roberta-small", 2, "roberta.", "lm_head", (6, 1, 11), architectures=["RobertaForMaskedLM"], model_type="roberta",
           vocab_size=23, hidden_size=9, num_hidden_layers=2, num_attention_heads=3, intermediate_size=14, hidden_act="gelu",
           max_position_embeddings=14, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1)
