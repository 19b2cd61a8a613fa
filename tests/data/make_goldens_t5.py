"""Makes t5-relu, t5-gated and t5-buckets.json, the goldens of the T5 tests, with Debian's python3-torch:

    make_goldens_t5.py REFMODELS       # a folder with refmodels.py, plain PyTorch T5 for Hugging Face checkpoints

Each folder has a small random checkpoint of odd shape, whose weights bfloat16 and float16 both hold exactly (so that a test may
store them in any type and expect the same numbers), and golden.safetensors: item i of a batch of mixed lengths as
"i/ids", "i/decoder_ids" and every activation of the reference in float64 as "i/NAME" (decoder hooks of an item without decoder
tokens are left out). Items 100 and up: the decoder alone, on "i/states" that no encoder made.

t5-buckets.json: for some tables, the first distance of every run of equal buckets, for distances up to 20,000 to either side.
"""
import json
import os
import sys

import torch
from write_safetensors import write

sys.path.insert(0, sys.argv[1])
import refmodels  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def exact(x):
    """Rounded so that bfloat16 and float16 hold it."""
    x = x.bfloat16().half().float()
    assert torch.equal(x.bfloat16().float(), x)
    return x


def make(gated, seed, **config):
    g = torch.Generator().manual_seed(seed)
    # Multiples of 2^-9 below 0.5 and of 2^-6 below 4: few bits, so both 16-bit types hold them.
    def normal(*shape, std):
        x = torch.randn(*shape, generator=g) * std
        return exact((x * 64).round() / 64 if std >= 0.5 else ((x * 512).round() / 512).clamp(-0.484375, 0.484375))
    c = {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "layer_norm_epsilon": 1e-6,
         "feed_forward_proj": "gated-gelu" if gated else "relu", "tie_word_embeddings": not gated, "pad_token_id": 0,
         "eos_token_id": 1, "decoder_start_token_id": 0, **config}
    D, H, dk, ff, V = (c[k] for k in ("d_model", "num_heads", "d_kv", "d_ff", "vocab_size"))
    w = {"shared.weight": normal(V, D, std=1.0)}
    for stack, layers in (("encoder", c["num_layers"]), ("decoder", c.get("num_decoder_layers", c["num_layers"]))):
        for i in range(layers):
            parts = ["SelfAttention"] + (["EncDecAttention"] if stack == "decoder" else [])
            for j, kind in enumerate(parts):
                p = f"{stack}.block.{i}.layer.{j}."
                w[p + "layer_norm.weight"] = exact(1 + normal(D, std=0.1))
                for m, shape in (("q", (H * dk, D)), ("k", (H * dk, D)), ("v", (H * dk, D)), ("o", (D, H * dk))):
                    w[p + f"{kind}.{m}.weight"] = normal(*shape, std=0.2)
                if i == 0 and j == 0:
                    w[p + f"{kind}.relative_attention_bias.weight"] = normal(c["relative_attention_num_buckets"], H, std=0.7)
            p = f"{stack}.block.{i}.layer.{len(parts)}."
            w[p + "layer_norm.weight"] = exact(1 + normal(D, std=0.1))
            for m in (["wi_0", "wi_1"] if gated else ["wi"]):
                w[p + f"DenseReluDense.{m}.weight"] = normal(ff, D, std=0.3)
            w[p + "DenseReluDense.wo.weight"] = normal(D, ff, std=0.2)
        w[f"{stack}.final_layer_norm.weight"] = exact(1 + normal(D, std=0.1))
    if gated:
        w["lm_head.weight"] = normal(V, D, std=0.3)
    return c, w


def run(c, w, ids, decoder_ids, states=None):
    model = refmodels.T5(c, w)
    if states is None:
        keep, _ = model(torch.tensor([ids]), torch.tensor([decoder_ids]) if decoder_ids else None, capture=True)
    else:
        keep = refmodels.Capture(True)
        y = model.stack(keep, "decoder", torch.tensor([decoder_ids]), states[None])
        keep("logits", (y * c["d_model"] ** -0.5) @ w["shared.weight"].T if c["tie_word_embeddings"] else y @ w["lm_head.weight"].T)
    return {k: v[0].contiguous() for k, v in keep.items()}


def golden(name, c, w, batch):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(c, f, indent=1)
        f.write("\n")
    write(os.path.join(folder, "model.safetensors"), {k: v.bfloat16() for k, v in w.items()})
    wide = {k: v.double() for k, v in w.items()}
    out, worst = {}, 0.0
    for i, ids, decoder_ids in batch:
        states = None
        if i >= 100:
            g = torch.Generator().manual_seed(i)
            states = torch.randn(len(ids), c["d_model"], generator=g)
            out[f"{i}/states"] = states
        kept = run(c, wide, ids, decoder_ids, None if states is None else states.double())
        narrow = run(c, w, ids, decoder_ids, states)
        for k, v in kept.items():
            assert v.dtype == torch.float64
            finite = v.isfinite()
            worst = max(worst, float((narrow[k].double() - v)[finite].abs().max() / v[finite].abs().max()))
        out[f"{i}/ids"] = torch.tensor(ids, dtype=torch.int32)
        out[f"{i}/decoder_ids"] = torch.tensor(decoder_ids, dtype=torch.int32)
        out.update({f"{i}/{k}": v for k, v in kept.items()})
    write(os.path.join(folder, "golden.safetensors"), out)
    print(f"{name}: {len(out)} arrays; the reference in float32 is within {worst:.1e} of its float64 self")


def batch(vocabulary, lengths):
    g = torch.Generator().manual_seed(5)
    draw = lambda n: torch.randint(0, vocabulary, (n,), generator=g).tolist()
    return [(i, draw(a), draw(b)) for i, a, b in lengths]


def buckets():
    tables = []
    for n, far in ((32, 128), (8, 8), (32, 64), (64, 256), (20, 100), (128, 1000), (32, 20000)):
        for both in (True, False):
            rel = torch.arange(-20000, 20001)
            b = refmodels.t5_bucket(rel, both, n, far)
            first = [(int(rel[0]), int(b[0]))] + [(int(rel[i]), int(b[i])) for i in range(1, len(rel)) if b[i] != b[i - 1]]
            tables.append({"buckets": n, "max_distance": far, "bidirectional": both, "runs": first})
    with open(os.path.join(HERE, "t5-buckets.json"), "w") as f:
        f.write("[" + ",\n ".join(json.dumps(t, separators=(",", ":")) for t in tables) + "]\n")


with torch.no_grad():
    golden("t5-relu", *make(False, 1, num_layers=2, num_decoder_layers=3, num_heads=3, d_model=10, d_kv=5, d_ff=17, vocab_size=31,
                            relative_attention_num_buckets=32, relative_attention_max_distance=128),
           batch(31, [(0, 1, 4), (1, 19, 1), (2, 7, 0), (3, 6, 11), (100, 5, 7)]))
    # No num_decoder_layers, no relative_attention_max_distance: what Hugging Face then takes.
    golden("t5-gated", *make(True, 2, num_layers=2, num_heads=2, d_model=12, d_kv=3, d_ff=9, vocab_size=23,
                             relative_attention_num_buckets=8),
           batch(23, [(0, 13, 5), (1, 3, 9), (2, 1, 1), (100, 1, 3)]))
    buckets()
