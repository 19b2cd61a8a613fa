"""Makes the tiny GPT-2 beside it: the checkpoint that runs/gpt2-*.yaml use when no other is given.

    /usr/bin/python3 runs/data/tiny-gpt2/make.py [FOLDER [STEPS]]     # Debian's python3-torch; under a minute on one core

Two layers, four heads, 32 wide, 64 positions. It is trained on stories made here, in the form of "indirect object identification"
(Wang et al. 2022):

    Then Anna and Ben went to Rome. Ben gave a key to Anna.

The last name is that of the two which was not said twice, so the model must keep track of who was named and how often: that is what
logit lens, attribution and activation patching are meant to find. The tokenizer is byte-level BPE with merges for these words, so
that any text can be read. Nothing is downloaded; the seed is fixed; weights are stored in float16.
"""
import json, math, os, random, re, struct, sys
from collections import Counter
import numpy as np
import torch
import torch.nn.functional as F

NAMES = "Anna Ben Clara David Emma Frank Greta Hugo Ida Jonas".split()
PLACES = "Rome Paris London Berlin Madrid Vienna Oslo Lisbon Athens Prague".split()
THINGS = "key book rose coin map".split()
ANSWER = 13  # the token that is the last name
LAYERS, HEADS, WIDTH, POSITIONS = 2, 4, 32, 64


def document(rng):
    a, b = rng.sample(NAMES, 2)
    giver, other = rng.choice([(a, b), (b, a)])
    return f"Then {a} and {b} went to {rng.choice(PLACES)}. {giver} gave a {rng.choice(THINGS)} to {other}."


def byte_letters():
    """GPT-2's printable stand-in for every byte."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    letters, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in letters:
            letters[b], extra = chr(256 + extra), extra + 1
    return letters


def words_of(text):
    return re.findall(r" ?[A-Za-z]+| ?[^\sA-Za-z]+|\s+", text)  # GPT-2's pattern on this corpus


def train_bpe(texts):
    letters = byte_letters()
    counts = Counter(w for t in texts for w in words_of(t))
    words = {w: [letters[b] for b in w.encode()] for w in counts}
    merges = []
    while True:
        pairs = Counter()
        for w, parts in words.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            return letters, merges, {w: p[0] for w, p in words.items()}
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for parts in words.values():
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = [best[0] + best[1]]
                i += 1


def parameters(vocabulary, g):
    n = lambda *s, std=0.02: (torch.randn(*s, generator=g) * std).requires_grad_()
    ones, zeros = lambda k: torch.ones(k, requires_grad=True), lambda k: torch.zeros(k, requires_grad=True)
    D = WIDTH
    w = {"wte.weight": n(vocabulary, D, std=0.1), "wpe.weight": n(POSITIONS, D, std=0.05)}
    for i in range(LAYERS):
        p = f"h.{i}."
        w |= {p + "ln_1.weight": ones(D), p + "ln_1.bias": zeros(D),
              p + "attn.c_attn.weight": n(D, 3 * D, std=0.1), p + "attn.c_attn.bias": zeros(3 * D),
              p + "attn.c_proj.weight": n(D, D, std=0.05), p + "attn.c_proj.bias": zeros(D),
              p + "ln_2.weight": ones(D), p + "ln_2.bias": zeros(D),
              p + "mlp.c_fc.weight": n(D, 4 * D, std=0.1), p + "mlp.c_fc.bias": zeros(4 * D),
              p + "mlp.c_proj.weight": n(4 * D, D, std=0.05), p + "mlp.c_proj.bias": zeros(D)}
    return w | {"ln_f.weight": ones(D), "ln_f.bias": zeros(D)}


def forward(w, ids):
    T, D = ids.shape[1], WIDTH
    norm = lambda x, n: F.layer_norm(x, (D,), w[n + ".weight"], w[n + ".bias"], 1e-5)
    x = w["wte.weight"][ids] + w["wpe.weight"][:T]
    mask = torch.full((T, T), float("-inf")).triu(1)
    for i in range(LAYERS):
        p = f"h.{i}."
        q, k, v = (norm(x, p + "ln_1") @ w[p + "attn.c_attn.weight"] + w[p + "attn.c_attn.bias"]).split(D, -1)
        q, k, v = (t.view(len(ids), T, HEADS, -1).transpose(1, 2) for t in (q, k, v))
        a = (q @ k.transpose(-1, -2) / math.sqrt(D // HEADS) + mask).softmax(-1)
        x = x + (a @ v).transpose(1, 2).reshape(x.shape) @ w[p + "attn.c_proj.weight"] + w[p + "attn.c_proj.bias"]
        h = F.gelu(norm(x, p + "ln_2") @ w[p + "mlp.c_fc.weight"] + w[p + "mlp.c_fc.bias"], approximate="tanh")
        x = x + h @ w[p + "mlp.c_proj.weight"] + w[p + "mlp.c_proj.bias"]
    return norm(x, "ln_f") @ w["wte.weight"].T


def save(folder, w, vocabulary, merges):
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH,
              "n_positions": POSITIONS, "n_ctx": POSITIONS, "vocab_size": len(vocabulary), "layer_norm_epsilon": 1e-5,
              "activation_function": "gelu_new", "bos_token_id": len(vocabulary) - 1, "eos_token_id": len(vocabulary) - 1}
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=1), f.write("\n")
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump(vocabulary, f, ensure_ascii=False), f.write("\n")
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    header, offset, blobs = {}, 0, []
    for name, t in w.items():
        a = t.detach().numpy().astype(np.float16)
        header[name] = {"dtype": "F16", "shape": list(a.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
        blobs.append(a.tobytes())
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    torch.manual_seed(0), torch.set_num_threads(1)
    rng = random.Random(0)
    letters, merges, token_of = train_bpe([document(rng) for _ in range(500)])
    tokens = [letters[b] for b in range(256)] + list(dict.fromkeys(a + b for a, b in merges)) + ["<|endoftext|>"]
    vocabulary = {t: i for i, t in enumerate(tokens)}
    ids = lambda text: [vocabulary[token_of[w]] for w in words_of(text)]
    w = parameters(len(tokens), torch.Generator().manual_seed(0))
    corpus = torch.tensor([ids(document(rng)) for _ in range(5000)])
    test, order = corpus[:500], torch.Generator().manual_seed(1)
    steps, rate = int(sys.argv[2]) if len(sys.argv) > 2 else 750, 5e-3
    importance = torch.ones(corpus.shape[1] - 1)
    importance[ANSWER - 1] = 10  # all else is chance or grammar
    optimizer = torch.optim.AdamW(w.values(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, step / 100) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        batch = corpus[torch.randint(500, len(corpus), (64,), generator=order)]
        each = F.cross_entropy(forward(w, batch[:, :-1]).transpose(1, 2), batch[:, 1:], reduction="none")
        loss = (each * importance).mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        if step % 250 == 0 or step == steps - 1:
            with torch.no_grad():
                right = (forward(w, test[:, :-1])[:, ANSWER - 1].argmax(-1) == test[:, ANSWER]).float().mean()
            print(f"step {step}: loss {loss.item():.4f}, last names right {right.item():.3f}", flush=True)
    save(folder, w, vocabulary, merges)


if __name__ == "__main__":
    main()
