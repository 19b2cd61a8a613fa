"""Attention-free transformers written out in PyTorch, for the goldens of the recurrent models' tests.

Hooks have Wayfarer's names; `wrong` breaks one ingredient, so that the tests can show that they would see it.
"""
import math

import torch
from reference_rwkv import Keep, layer_norm


class Aft:
    def __init__(self, config, weights, wrong=None):
        self.c, self.w, self.wrong = config, {k: v.double() for k, v in weights.items()}, wrong
        self.H = config.get("num_heads", 1)

    def __call__(self, ids):
        keep, w = Keep(), lambda name: self.w["model." + name]
        x = keep("hook_embed", w("embed_tokens.weight")[ids])
        if self.c.get("position_embeddings", True):
            x = x + keep("hook_pos_embed", w("embed_positions.weight")[:len(ids)])
        for i in range(self.c["num_hidden_layers"]):
            b, at = f"blocks.{i}.", lambda name, i=i: w(f"layers.{i}." + name)
            keep(b + "hook_resid_pre", x)
            h = layer_norm(keep, b + "ln1.", x, at("input_layernorm.weight"), at("input_layernorm.bias"))
            x = keep(b + "hook_resid_mid", x + keep(b + "hook_attn_out", self.mix(keep, b + "attn.", at, h)))
            h = layer_norm(keep, b + "ln2.", x, at("post_attention_layernorm.weight"), at("post_attention_layernorm.bias"))
            pre = keep(b + "mlp.hook_pre", h @ at("mlp.c_fc.weight").T + at("mlp.c_fc.bias"))
            post = keep(b + "mlp.hook_post", 0.5 * pre * (1 + torch.tanh(math.sqrt(2 / math.pi) * (pre + 0.044715 * pre ** 3))))
            x = keep(b + "hook_resid_post", x + keep(b + "hook_mlp_out", post @ at("mlp.c_proj.weight").T + at("mlp.c_proj.bias")))
        x = layer_norm(keep, "ln_final.", x, w("norm.weight"), w("norm.bias"))
        keep("logits", x @ self.w["lm_head.weight"].T)
        return keep

    def bias(self, w, T, age):
        """[head, query, key]; not masked."""
        kind, near = self.c["aft_variant"], self.c.get("local_window", 0)
        if self.wrong == "window too wide by one":
            near += 1
        if kind == "conv":
            table = w("attn.position_bias")
            table = torch.cat([table, table[:, -1:]], 1)             # only a window too wide reads the last column twice
            if self.wrong == "distance the other way round":
                table = table.flip(-1)
            out = torch.zeros(self.H, T, T).double()
            for t in range(T):
                for s in range(max(0, t - near + 1), t + 1):
                    out[:, t, s] = table[:, t - s]
            return out
        if self.c.get("position_bias_rank"):
            full = w("attn.position_bias_u")[:T] @ w("attn.position_bias_v")[:T].T
        else:
            full = w("attn.position_bias")[:T, :T]
        if self.wrong == "query and key changed places":
            full = full.T
        if kind == "local":
            full = full * (age.abs() < near)
        return full[None]

    def mix(self, keep, at, w, x):
        T, D = x.shape
        age = torch.arange(T)[:, None] - torch.arange(T)[None]
        split = lambda t: t.view(T, self.H, D // self.H)
        q, k, v = (x @ w(f"attn.{n}_proj.weight").T for n in "qkv")
        keep(at + "hook_q", split(q)), keep(at + "hook_k", split(k)), keep(at + "hook_v", split(v))
        gate = torch.ones_like(q) if self.wrong == "no gate" else torch.sigmoid(q)
        keep(at + "hook_gate", split(gate))
        kind = self.c["aft_variant"]
        bias = torch.zeros(1, T, T).double() if kind == "simple" else self.bias(w, T, age)
        if self.wrong == "no bias":
            bias = 0 * bias
        if kind != "simple":
            keep(at + "hook_position_bias", bias)
        per_channel = bias.repeat_interleave(D // bias.shape[0], 0).permute(1, 2, 0)
        logit = per_channel + k[None]
        if self.wrong == "distant tokens unseen":
            logit = logit.masked_fill((age >= self.c["local_window"])[..., None], -math.inf)
        weights = logit.masked_fill((age < 0)[..., None], -math.inf).softmax(1)
        if kind != "full":
            window, states = self.c.get("local_window", 0) if kind != "simple" else 0, []
            for t in range(T):
                behind = k[:t - window + 1] if t + 1 > window else k[:0]
                if not len(behind):
                    states.append(torch.stack([torch.zeros(D), torch.zeros(D), torch.full((D,), -1e38)]).double())
                    continue
                top = behind.max(0).values
                e = (behind - top).exp()
                states.append(torch.stack([(e * v[:len(behind)]).sum(0), e.sum(0), top]))
            keep(at + "hook_state", torch.stack(states))
        keep(at + "hook_pattern", weights.view(T, T, self.H, -1).mean(-1).permute(2, 0, 1))
        wkv = (weights * v[None]).sum(1)
        keep(at + "hook_wkv", split(wkv))
        return keep(at + "hook_z", split(gate * wkv)).reshape(T, D) @ w("attn.o_proj.weight").T
