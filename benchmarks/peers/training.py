#!/usr/bin/env python3
"""Trains the same GPT-2 here and in PyTorch, in turn, and prints tokens a second, their ratio, and the losses.

    benchmarks/peers/training.py WAYFARER [--shape small|medium] [--updates 20] [--rounds 3] [--threads 2] [--full]

WAYFARER is the program; WAYFARER_PLUGIN_PATH must name its plugins if they are not beside it. Needs Debian's python3-torch and
python3-h5py. Same text (runs/data/tiny-shakespeare-gpt2), tokens, shape, start, batch, AdamW, warm-up, cosine and clipping; only
the random numbers differ. PyTorch's model is written with its fused functions (layer_norm, gelu, softmax, cross_entropy). A round
times theirs and then ours over the same number of updates; start-up is left out of both (ours: a run of so many updates less
one of one). --full trains both for --updates updates once and compares the losses on the held-out text, measured alike: windows end to end.
"""
import argparse
import gzip
import json
import math
import os
import re
import statistics
import subprocess
import tempfile
import time

import h5py
import numpy as np
import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("wayfarer")
parser.add_argument("--shape", choices=["small", "medium"], default="small")
parser.add_argument("--updates", type=int, default=20)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--full", action="store_true")
options = parser.parse_args()

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = os.path.join(HERE, "..", "..", "runs", "train-tiny-shakespeare.yaml")
DATA = os.path.join(HERE, "..", "..", "runs", "data", "tiny-shakespeare-gpt2")
LAYERS, HEADS, WIDTH, CONTEXT, BATCH = {"small": (4, 4, 128, 128, 32), "medium": (6, 8, 512, 256, 8)}[options.shape]
PEAK, WARM_UP, DECAY, BETAS, CLIP, LEAST = 2e-3, 100, 0.1, (0.9, 0.99), 1.0, 0.1
torch.set_num_threads(options.threads)


def tokens_of(name):
    """The tokenizer's merges, word by word."""
    with open(os.path.join(DATA, "vocab.json"), encoding="utf-8") as f:
        vocabulary = json.load(f)
    with open(os.path.join(DATA, "merges.txt"), encoding="utf-8") as f:
        ranks = {tuple(line.split()): i for i, line in enumerate(f.read().splitlines()[1:])}
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in keep}
    for b in range(256):
        letters.setdefault(b, chr(256 + sum(x not in keep for x in range(b))))
    word = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
    with gzip.open(os.path.join(DATA, name), "rt", encoding="utf-8", newline="") as f:
        text = f.read()
    known, out = {}, []
    for w in word.findall(text):
        if w not in known:
            parts = [letters[b] for b in w.encode()]
            while len(parts) > 1:
                rank, i = min((ranks.get(pair, math.inf), i) for i, pair in enumerate(zip(parts, parts[1:])))
                if rank == math.inf:
                    break
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            known[w] = [vocabulary[p] for p in parts]
        out += known[w]
    return torch.tensor(out + [vocabulary["<|endoftext|>"]]), len(text), len(vocabulary)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
        self.c_attn, self.c_proj = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.c_fc, self.mlp_proj = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)
        self.register_buffer("ahead", torch.ones(CONTEXT, CONTEXT).triu(1).bool(), persistent=False)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, HEADS, d // HEADS).transpose(1, 2) for y in self.c_attn(self.ln_1(x)).split(d, 2))
        scores = (q @ k.transpose(2, 3) / math.sqrt(d // HEADS)).masked_fill(self.ahead[:t, :t], -math.inf)
        x = x + self.c_proj((F.softmax(scores, 3) @ v).transpose(1, 2).reshape(b, t, d))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Model(torch.nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.wte, self.wpe = torch.nn.Embedding(vocabulary, WIDTH), torch.nn.Embedding(CONTEXT, WIDTH)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_f = torch.nn.LayerNorm(WIDTH)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                torch.nn.init.normal_(p, 0, 0.02 / (math.sqrt(2 * LAYERS) if "proj" in name else 1))
            elif "ln_" not in name:
                torch.nn.init.zeros_(p)

    def forward(self, tokens, targets, reduction="mean"):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy((self.ln_f(x) @ self.wte.weight.T).view(-1, self.wte.num_embeddings), targets.reshape(-1), reduction=reduction)


def rate(step, steps):
    if step <= WARM_UP:
        return PEAK * step / WARM_UP
    return PEAK * (LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, steps - WARM_UP))))


class Theirs:
    def __init__(self, stream, vocabulary):
        torch.manual_seed(0)
        self.stream, self.model, self.step = stream, Model(vocabulary), 0
        matrices = [p for p in self.model.parameters() if p.dim() == 2]
        vectors = [p for p in self.model.parameters() if p.dim() == 1]
        self.optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}], betas=BETAS)

    def train(self, updates, steps):
        for _ in range(updates):
            self.step += 1
            starts = torch.randint(len(self.stream) - CONTEXT, (BATCH,))
            windows = torch.stack([self.stream[i : i + CONTEXT + 1] for i in starts])
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.step, steps)
            self.optimizer.zero_grad(set_to_none=True)
            self.model(windows[:, :-1], windows[:, 1:]).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()

    def loss(self, stream):
        count = (len(stream) - 1) // CONTEXT
        tokens, targets = stream[: count * CONTEXT].view(count, CONTEXT), stream[1 : count * CONTEXT + 1].view(count, CONTEXT)
        with torch.no_grad():
            return sum(self.model(tokens[i : i + BATCH], targets[i : i + BATCH], "sum").item() for i in range(0, count, BATCH)) / (count * CONTEXT)


def ours(updates, folder, measure):
    """Seconds of the node, and its results."""
    out = os.path.join(folder, "out.h5")
    settings = {"layers": LAYERS, "heads": HEADS, "d_model": WIDTH, "context": CONTEXT, "train.batch": BATCH, "train.updates": updates,
                "train.held_out_every": updates if measure else 0, "train.save": os.path.join(folder, "model")}
    command = [options.wayfarer, "run", os.path.join(folder, "run.yaml"), "--threads", str(options.threads), "--out", out]
    with open(RUN) as f:
        text = f.read().split("\nexpect:")[0].replace("data/", os.path.abspath(os.path.dirname(DATA)) + "/")
    with open(os.path.join(folder, "run.yaml"), "w") as f:
        f.write(text)
    for key, value in settings.items():
        command += ["--set", f"learner.{key}={value}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with h5py.File(out) as f:
        node = f["learner"]
        seconds = dict(zip((name.decode() for name in f["_run/node"][...]), f["_run/seconds"][...]))["learner"]
        return float(seconds), {k: np.array(node[k]) for k in node if k.startswith("final_")}


train, _, vocabulary = tokens_of("train.txt.gz")
held_out, characters, _ = tokens_of("held-out.txt.gz")
n = BATCH * CONTEXT
print(f"{LAYERS} layers, {HEADS} heads, width {WIDTH}, context {CONTEXT}, {BATCH} windows a step, {options.threads} threads")
with tempfile.TemporaryDirectory() as folder:
    if options.full:
        seconds, results = ours(options.updates, folder, True)
        theirs = Theirs(train, vocabulary)
        begin = time.perf_counter()
        theirs.train(options.updates, options.updates)
        took = time.perf_counter() - begin
        mine, other = float(results["final_held_out_loss"]), theirs.loss(held_out)
        each = len(held_out) / characters
        print(f"{'':10} {'tokens':>12} {'seconds':>8} {'held-out loss a token':>22} {'a character':>12}")
        print(f"{'ours':10} {options.updates * n:12,} {seconds:8.1f} {mine:22.4f} {mine * each:12.4f}")
        print(f"{'PyTorch':10} {options.updates * n:12,} {took:8.1f} {other:22.4f} {other * each:12.4f}")
    else:
        theirs = Theirs(train, vocabulary)
        theirs.train(1, 1000)
        pairs = []
        for _ in range(options.rounds):
            begin = time.perf_counter()
            theirs.train(options.updates, 1000)
            their_rate = options.updates * n / (time.perf_counter() - begin)
            start = ours(1, folder, False)[0]
            our_rate = options.updates * n / (ours(options.updates + 1, folder, False)[0] - start)
            pairs.append((our_rate, their_rate))
        print(f"tokens a second: ours {statistics.median(a for a, _ in pairs):,.0f}, PyTorch {statistics.median(b for _, b in pairs):,.0f}, "
              f"ratio {statistics.median(a / b for a, b in pairs):.2f}")
