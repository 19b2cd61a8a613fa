"""BERT and RoBERTa encoders with their masked-language head in plain PyTorch, written from the papers' description to check against.

Weight names and config keys are those of the Hugging Face checkpoints. Activations have the names of docs/hooks.md; one sequence at
a time, [pos, ...], so that there is no padding to get wrong. Nothing here is shared with the C++ model.
"""
import math

import torch


class Bert:
    def __init__(self, config, weights):
        self.c = config
        self.roberta = config["model_type"] == "roberta"
        prefix = "roberta." if self.roberta else "bert."
        self.w = {(k[len(prefix):] if k.startswith(prefix) else k): v for k, v in weights.items()}

    def affine(self, x, name):
        y = x @ self.w[name + ".weight"].T
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    def norm(self, keep, hook, x, name):
        mean = x.mean(-1, keepdim=True)
        keep[hook + "hook_scale"] = scale = torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + self.c.get("layer_norm_eps", 1e-12))
        keep[hook + "hook_normalized"] = y = (x - mean) / scale
        keep[hook + "hook_out"] = out = y * self.w[name + ".weight"] + self.w[name + ".bias"]
        return out

    def gelu(self, x):
        return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))

    def __call__(self, ids):
        """ids: list of ints. Returns {hook: tensor}."""
        c, w, keep = self.c, self.w, {}
        n, heads = len(ids), c["num_attention_heads"]
        first = c.get("pad_token_id", 1) + 1 if self.roberta else 0
        keep["hook_embed"] = a = w["embeddings.word_embeddings.weight"][ids]
        keep["hook_pos_embed"] = b = w["embeddings.position_embeddings.weight"][[first + i for i in range(n)]]
        keep["hook_token_type_embed"] = t = w["embeddings.token_type_embeddings.weight"][[0] * n]
        x = self.norm(keep, "embed_ln.", a + b + t, "embeddings.LayerNorm")
        size = x.shape[-1] // heads
        for layer in range(c["num_hidden_layers"]):
            at, name = f"blocks.{layer}.", f"encoder.layer.{layer}."
            keep[at + "hook_resid_pre"] = x
            q, k, v = (self.affine(x, name + "attention.self." + m).reshape(n, heads, size) for m in ("query", "key", "value"))
            keep[at + "attn.hook_q"], keep[at + "attn.hook_k"], keep[at + "attn.hook_v"] = q, k, v
            keep[at + "attn.hook_attn_scores"] = s = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(size)
            keep[at + "attn.hook_pattern"] = p = torch.softmax(s, -1)
            keep[at + "attn.hook_z"] = z = torch.einsum("hqk,khd->qhd", p, v)
            keep[at + "hook_attn_out"] = o = self.affine(z.reshape(n, -1), name + "attention.output.dense")
            keep[at + "hook_resid_mid"] = x = x + o
            x = self.norm(keep, at + "ln1.", x, name + "attention.output.LayerNorm")
            keep[at + "mlp.hook_pre"] = m = self.affine(x, name + "intermediate.dense")
            keep[at + "mlp.hook_post"] = m = self.gelu(m)
            keep[at + "hook_mlp_out"] = m = self.affine(m, name + "output.dense")
            keep[at + "hook_resid_post"] = x = x + m
            x = self.norm(keep, at + "ln2.", x, name + "output.LayerNorm")
        dense, ln, bias = (("lm_head.dense", "lm_head.layer_norm", "lm_head.bias") if self.roberta else
                           ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"))
        keep["mlm_head.hook_pre"] = x = self.affine(x, dense)
        keep["mlm_head.hook_post"] = x = self.gelu(x)
        x = self.norm(keep, "mlm_head.ln.", x, ln)
        keep["logits"] = x @ w["embeddings.word_embeddings.weight"].T + w[bias]
        return keep
