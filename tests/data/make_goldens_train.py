"""Makes train.safetensors, the goldens of the tests of gpt2_trained, with Debian's python3-torch:

    /usr/bin/python3 make_goldens_train.py     writes beside itself, the same numbers every time

For two random GPT-2s in float64, "tied" and "untied": weights as they start (NAME/start/...), one batch of tokens and targets, the
mean loss and its gradients by autograd (NAME/gradient/...), and the weights after three steps of torch.optim.AdamW on that batch,
with warm-up, clipping by the global norm, and decay of matrices alone (NAME/after/...). Names of tensors are Hugging Face's.
"""
import math, os
import numpy as np
import torch
import torch.nn.functional as F
import write_safetensors

LAYERS, HEADS, WIDTH, MLP, VOCABULARY, POSITIONS, BATCH = 2, 2, 8, 20, 23, 11, 3
RATES, DECAY, BETAS, EPSILON, CLIP = [0.01, 0.02, 0.015], 0.1, (0.9, 0.95), 1e-8, 0.5
torch.set_default_dtype(torch.float64)


def start(tied, g):
    n = lambda *shape, sd=0.3, mean=0.0: torch.tensor(mean + sd * g.standard_normal(shape))
    w = {"wte.weight": n(VOCABULARY, WIDTH), "wpe.weight": n(POSITIONS, WIDTH)}
    for i in range(LAYERS):
        p = f"h.{i}."
        for norm in ("ln_1", "ln_2"):
            w[p + norm + ".weight"], w[p + norm + ".bias"] = n(WIDTH, sd=0.2, mean=1.0), n(WIDTH)
        for name, a, b in (("attn.c_attn", WIDTH, 3 * WIDTH), ("attn.c_proj", WIDTH, WIDTH), ("mlp.c_fc", WIDTH, MLP), ("mlp.c_proj", MLP, WIDTH)):
            w[p + name + ".weight"], w[p + name + ".bias"] = n(a, b), n(b)
    w["ln_f.weight"], w["ln_f.bias"] = n(WIDTH, sd=0.2, mean=1.0), n(WIDTH)
    if not tied:
        w["lm_head.weight"] = n(VOCABULARY, WIDTH)
    return {k: v.requires_grad_() for k, v in w.items()}


def loss_of(w, tokens, targets, tied):
    x = w["wte.weight"][tokens] + w["wpe.weight"][: tokens.shape[1]]
    batch, length, _ = x.shape
    mask = torch.ones(length, length).tril() == 0
    heads = lambda y: y.view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)
    for i in range(LAYERS):
        p = f"h.{i}."
        norm = lambda y, name: F.layer_norm(y, (WIDTH,), w[p + name + ".weight"], w[p + name + ".bias"], 1e-5)
        linear = lambda y, name: y @ w[p + name + ".weight"] + w[p + name + ".bias"]
        q, k, v = (heads(y) for y in linear(norm(x, "ln_1"), "attn.c_attn").split(WIDTH, 2))
        scores = (q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS)).masked_fill(mask, -math.inf)
        z = (scores.softmax(3) @ v).transpose(1, 2).reshape(batch, length, WIDTH)
        x = x + linear(z, "attn.c_proj")
        x = x + linear(F.gelu(linear(norm(x, "ln_2"), "mlp.c_fc"), approximate="tanh"), "mlp.c_proj")
    x = F.layer_norm(x, (WIDTH,), w["ln_f.weight"], w["ln_f.bias"], 1e-5)
    logits = x @ w["wte.weight" if tied else "lm_head.weight"].T
    return F.cross_entropy(logits.view(-1, VOCABULARY), targets.reshape(-1))


def main():
    out = {}
    for name, tied in (("tied", True), ("untied", False)):
        g = np.random.default_rng(len(name))
        w = start(tied, g)
        ids = torch.tensor(g.integers(0, VOCABULARY, (BATCH, POSITIONS + 1)))
        tokens, targets = ids[:, :-1], ids[:, 1:]
        put = lambda part: out.update({f"{name}/{part}/{k}": v.detach().numpy().copy() for k, v in w.items()})
        put("start")
        out[f"{name}/tokens"], out[f"{name}/targets"] = tokens.numpy().astype(np.int32), targets.numpy().astype(np.int32)
        optimizer = torch.optim.AdamW([{"params": [v for v in w.values() if v.dim() == 2], "weight_decay": DECAY},
                                       {"params": [v for v in w.values() if v.dim() == 1], "weight_decay": 0.0}], betas=BETAS, eps=EPSILON)
        losses = []
        for step, rate in enumerate(RATES):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            loss = loss_of(w, tokens, targets, tied)
            loss.backward()
            losses.append(loss.item())
            if step == 0:
                out.update({f"{name}/gradient/{k}": v.grad.numpy().copy() for k, v in w.items()})
            norm = torch.sqrt(sum((v.grad**2).sum() for v in w.values()))
            assert norm > CLIP
            for v in w.values():
                v.grad.mul_(CLIP / norm)
            optimizer.step()
        put("after")
        out[f"{name}/losses"] = np.array(losses)
    here = os.path.dirname(os.path.abspath(__file__))
    write_safetensors.write(os.path.join(here, "train.safetensors"), {k: torch.from_numpy(np.array(x)) for k, x in out.items()})


main()
