"""Makes bert-small, roberta-small, albert-small, distilbert-small and electra-small, the goldens of the BERT tests, with reference_bert.py and Debian's python3-torch.

Each folder has a small random checkpoint of odd shape, whose weights bfloat16 and float16 both hold exactly, and golden.safetensors:
item i of a batch of mixed lengths as "i/ids", and every activation of the reference in float64 as "i/NAME".
"""
import json
import os

import torch
from reference_bert import ALBERT, BERT, DISTILBERT, HEADS, Bert
from write_safetensors import write

HERE = os.path.dirname(os.path.abspath(__file__))


def parts_of(kind, c):
    """Each layer's tensors, once."""
    if kind == "albert":
        return [f"encoder.albert_layer_groups.{g}.albert_layers.{i}." for g in range(c["num_hidden_groups"])
                for i in range(c["inner_group_num"])], ALBERT
    if kind == "distilbert":
        return [f"transformer.layer.{i}." for i in range(c["n_layers"])], DISTILBERT
    return [f"encoder.layer.{i}." for i in range(c["num_hidden_layers"])], BERT


def golden(name, seed, lengths, **c):
    g = torch.Generator().manual_seed(seed)
    grid = lambda x: ((x * 512).round() / 512).clamp(-0.484375, 0.484375)
    normal = lambda *shape, std=0.2: grid(torch.randn(*shape, generator=g) * std)
    near_one = lambda n: ((1 + 0.1 * torch.randn(n, generator=g)) * 64).round() / 64
    kind, prefix = c["model_type"], c["model_type"] + "."
    D, F, V = c.get("hidden_size", c.get("dim")), c.get("intermediate_size", c.get("hidden_dim")), c["vocab_size"]
    E = c.get("embedding_size", D)
    w = {}

    def affine(at, rows, columns):
        w[at + ".weight"], w[at + ".bias"] = normal(rows, columns), normal(rows)

    def norm(at, width, legacy=False):
        w[at + (".gamma" if legacy else ".weight")], w[at + (".beta" if legacy else ".bias")] = near_one(width), normal(width, std=0.1)

    legacy = kind == "bert"  # the first published BERT checkpoints call a norm's weights so
    e = prefix + "embeddings."
    w[e + "word_embeddings.weight"] = normal(V, E, std=0.15)
    w[e + "position_embeddings.weight"] = normal(c["max_position_embeddings"], E, std=0.1)
    if kind != "distilbert":
        w[e + "token_type_embeddings.weight"] = normal(c["type_vocab_size"], E, std=0.1)
    norm(e + "LayerNorm", E, legacy)
    if kind == "albert":
        affine(prefix + "encoder.embedding_hidden_mapping_in", D, E)
    elif E != D:
        affine(prefix + "embeddings_project", D, E)
    blocks, parts = parts_of(kind, c)
    for p in blocks:
        query, key, value, out, norm_1, up, down, norm_2 = (prefix + p + part for part in parts)
        for m in (query, key, value, out):
            affine(m, D, D)
        norm(norm_1, D, legacy)
        affine(up, F, D)
        affine(down, D, F)
        norm(norm_2, D, legacy)
    dense, ln, bias = HEADS[kind]
    affine(dense, E, D)
    norm(ln, E, legacy)
    w[bias] = normal(V)
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
    golden("bert-small", 1, (1, 9, 4), architectures=["BertForMaskedLM"], model_type="bert",
           vocab_size=29, hidden_size=10, num_hidden_layers=2, num_attention_heads=2, intermediate_size=13, hidden_act="gelu",
           max_position_embeddings=16, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=0)
    golden("roberta-small", 2, (6, 1, 11), architectures=["RobertaForMaskedLM"], model_type="roberta",
           vocab_size=23, hidden_size=9, num_hidden_layers=2, num_attention_heads=3, intermediate_size=14, hidden_act="gelu",
           max_position_embeddings=14, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1)
    # Three repetitions read two groups of two layers: 0 1 0 1 2 3.
    golden("albert-small", 3, (1, 9, 4), architectures=["AlbertForMaskedLM"], model_type="albert", vocab_size=19, embedding_size=7,
           hidden_size=10, num_hidden_layers=3, num_hidden_groups=2, inner_group_num=2, num_attention_heads=2, intermediate_size=11,
           hidden_act="gelu_new", max_position_embeddings=10, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=0)
    golden("distilbert-small", 4, (5, 1, 9), architectures=["DistilBertForMaskedLM"], model_type="distilbert", vocab_size=23, dim=9,
           n_layers=2, n_heads=3, hidden_dim=13, activation="gelu", max_position_embeddings=9, sinusoidal_pos_embds=False,
           tie_weights_=True, pad_token_id=0)
    golden("electra-small", 5, (3, 9, 1), architectures=["ElectraForMaskedLM"], model_type="electra", vocab_size=21, embedding_size=6,
           hidden_size=10, num_hidden_layers=2, num_attention_heads=5, intermediate_size=14, hidden_act="relu",
           max_position_embeddings=11, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=0)
