"""Makes bart-small, the golden of the BART tests, with reference_bart.py and Debian's python3-torch.

The folder has a small random checkpoint of odd shape, whose weights bfloat16 and float16 both hold exactly, and golden.safetensors:
item i of a batch of mixed lengths as "i/ids" and "i/decoder_ids", and every activation of the reference in float64 as "i/NAME"
(decoder hooks of an item without decoder tokens are left out). Item 100: the decoder alone, on "100/states" that no encoder made.
"""
import json
import os

import torch
from reference_bart import OFFSET, Bart
from write_safetensors import write

HERE = os.path.dirname(os.path.abspath(__file__))


def golden(name, seed, lengths, **c):
    g = torch.Generator().manual_seed(seed)
    grid = lambda x: ((x * 512).round() / 512).clamp(-0.484375, 0.484375)
    normal = lambda *shape, std=0.2: grid(torch.randn(*shape, generator=g) * std)
    near_one = lambda n: ((1 + 0.1 * torch.randn(n, generator=g)) * 64).round() / 64
    D, V = c["d_model"], c["vocab_size"]
    w = {"model.shared.weight": normal(V, D, std=0.15), "final_logits_bias": normal(1, V)}

    def affine(at, rows, columns):
        w[at + ".weight"], w[at + ".bias"] = normal(rows, columns), normal(rows)

    def norm(at):
        w[at + ".weight"], w[at + ".bias"] = near_one(D), normal(D, std=0.1)

    for stack in ("encoder", "decoder"):
        p, F = f"model.{stack}.", c[stack + "_ffn_dim"]
        w[p + "embed_positions.weight"] = normal(c["max_position_embeddings"] + OFFSET, D)
        norm(p + "layernorm_embedding")
        for i in range(c[stack + "_layers"]):
            at = f"{p}layers.{i}."
            for kind in ("self_attn", "encoder_attn")[: 1 if stack == "encoder" else 2]:
                for m in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    affine(f"{at}{kind}.{m}", D, D)
                norm(at + kind + "_layer_norm")
            affine(at + "fc1", F, D)
            affine(at + "fc2", D, F)
            norm(at + "final_layer_norm")
    for k, v in w.items():
        assert torch.equal(v.bfloat16().float(), v) and torch.equal(v.half().float(), v), k
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(c, f, indent=1)
        f.write("\n")
    write(os.path.join(folder, "model.safetensors"), {k: v.bfloat16() for k, v in w.items()})
    wide, narrow = Bart(c, {k: v.double() for k, v in w.items()}), Bart(c, w)
    out, worst = {}, 0.0

    def compare(i, kept, other):
        nonlocal worst
        for k, v in kept.items():
            finite = torch.isfinite(v)
            worst = max(worst, float((other[k].double() - v)[finite].abs().max() / v[finite].abs().max()))
            out[f"{i}/{k}"] = v

    draw = lambda n: torch.randint(0, V, (n,), generator=g).tolist()
    for i, (n, m) in enumerate(lengths):
        ids, decoder_ids = draw(n), draw(m) if m else None
        out[f"{i}/ids"] = torch.tensor(ids, dtype=torch.int32)
        if m:
            out[f"{i}/decoder_ids"] = torch.tensor(decoder_ids, dtype=torch.int32)
        compare(i, wide(ids, decoder_ids), narrow(ids, decoder_ids))
    states, decoder_ids = torch.randn(4, D, generator=g), draw(5)
    out["100/ids"], out["100/decoder_ids"] = torch.zeros(4, dtype=torch.int32), torch.tensor(decoder_ids, dtype=torch.int32)
    out["100/states"] = states
    compare(100, wide(None, decoder_ids, states.double()), narrow(None, decoder_ids, states))
    write(os.path.join(folder, "golden.safetensors"), out)
    print(f"{name}: {len(out)} arrays; the reference in float32 is within {worst:.1e} of its float64 self")


with torch.no_grad():
    golden("bart-small", 6, ((5, 4), (9, 9), (1, 1), (4, 0)), architectures=["BartForConditionalGeneration"], model_type="bart",
           vocab_size=23, d_model=15, encoder_layers=1, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=3,
           encoder_ffn_dim=11, decoder_ffn_dim=11, max_position_embeddings=9, activation_function="gelu_new", scale_embedding=True,
           tie_word_embeddings=True, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2)
