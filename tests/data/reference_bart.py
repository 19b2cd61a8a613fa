"""BART in plain PyTorch, written from the paper's description (Lewis et al. 2020: the transformer of Vaswani et al. 2017 with GELU and
learned positions, norms behind the sums) to check against.

Weight names and config keys are those of the Hugging Face checkpoints. Activations have the names of docs/hooks.md; one pair of
sequences at a time, [pos, ...], so that there is no padding to get wrong. Nothing here is shared with the C++ model.
"""
import math

import torch
from reference_bert import ACTIVATIONS

OFFSET = 2  # rows of a position table before that of position 0


class Bart:
    def __init__(self, config, weights):
        self.c = config
        self.w = {(k[6:] if k.startswith("model.") else k): v for k, v in weights.items()}
        self.act = ACTIVATIONS[config["activation_function"]]

    def affine(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def norm(self, keep, hook, x, name):
        mean = x.mean(-1, keepdim=True)
        keep[hook + "hook_scale"] = scale = torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + 1e-5)
        keep[hook + "hook_normalized"] = y = (x - mean) / scale
        keep[hook + "hook_out"] = out = y * self.w[name + ".weight"] + self.w[name + ".bias"]
        return out

    def attention(self, keep, hook, name, x, memory, heads, causal):
        size = x.shape[-1] // heads
        q, k, v = (self.affine(y, f"{name}.{m}_proj").reshape(len(y), heads, size) for y, m in ((x, "q"), (memory, "k"), (memory, "v")))
        keep[hook + "hook_q"], keep[hook + "hook_k"], keep[hook + "hook_v"] = q, k, v
        s = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(size)
        if causal:
            later = torch.ones(len(x), len(memory)).triu(1).bool()
            s = s.masked_fill(later, float("-inf"))
        keep[hook + "hook_attn_scores"] = s
        keep[hook + "hook_pattern"] = p = torch.softmax(s, -1)
        keep[hook + "hook_z"] = z = torch.einsum("hqk,khd->qhd", p, v)
        return self.affine(z.reshape(len(x), -1), name + ".out_proj")

    def stack(self, keep, name, ids, memory=None):
        c, w, n, decodes = self.c, self.w, len(ids), memory is not None
        front = "decoder." if decodes else ""
        scale = math.sqrt(c["d_model"]) if c["scale_embedding"] else 1.0
        keep[front + "hook_embed"] = a = w["shared.weight"][ids] * scale
        keep[front + "hook_pos_embed"] = b = w[name + ".embed_positions.weight"][[OFFSET + i for i in range(n)]]
        x = self.norm(keep, front + "embed_ln.", a + b, name + ".layernorm_embedding")
        for layer in range(c[name + "_layers"]):
            at, here = f"{name}.{layer}.", f"{name}.layers.{layer}."
            heads = c[name + "_attention_heads"]
            keep[at + "hook_resid_pre"] = x
            keep[at + "hook_attn_out"] = o = self.attention(keep, at + "attn.", here + "self_attn", x, x, heads, decodes)
            keep[at + "hook_resid_mid"] = x = x + o
            x = self.norm(keep, at + "ln1.", x, here + "self_attn_layer_norm")
            last = "ln2."
            if decodes:
                o = self.attention(keep, at + "cross_attn.", here + "encoder_attn", x, memory, heads, False)
                keep[at + "hook_cross_attn_out"] = o
                keep[at + "hook_resid_mid_cross"] = x = x + o
                x = self.norm(keep, at + "ln2.", x, here + "encoder_attn_layer_norm")
                last = "ln3."
            keep[at + "mlp.hook_pre"] = m = self.affine(x, here + "fc1")
            keep[at + "mlp.hook_post"] = m = self.act(m)
            keep[at + "hook_mlp_out"] = m = self.affine(m, here + "fc2")
            keep[at + "hook_resid_post"] = x = x + m
            x = self.norm(keep, at + last, x, here + "final_layer_norm")
        return x

    def __call__(self, ids, decoder_ids=None, states=None):
        """ids, decoder_ids: lists of ints; `states` take the place of the encoder's. Returns {hook: tensor}."""
        keep = {}
        memory = self.stack(keep, "encoder", ids) if states is None else states
        if decoder_ids is not None:
            x = self.stack(keep, "decoder", decoder_ids, memory)
            keep["logits"] = x @ self.w["shared.weight"].T + self.w["final_logits_bias"][0]
        return keep
