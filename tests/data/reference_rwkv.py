"""RWKV 4 to 7 written out position by position in PyTorch, for the goldens of the recurrent models' tests.

Hooks have Wayfarer's names; `wrong` breaks one ingredient, so that the tests can show that they would see it.
"""
import math

import torch

EPS = 1e-5


def layer_norm(keep, at, x, w, b, eps=EPS, groups=1):
    shape = x.shape
    x = x.view(*shape[:-1], groups, -1)
    x = x - x.mean(-1, keepdim=True)
    scale = keep(at + "hook_scale", (x.pow(2).mean(-1, keepdim=True) + eps).sqrt())
    x = keep(at + "hook_normalized", (x / scale).view(shape))
    return keep(at + "hook_out", x * w + b)


class Rwkv:
    def __init__(self, config, weights, wrong=None):
        self.c, self.w, self.wrong = config, {k: v.double() for k, v in weights.items()}, wrong
        kind = config["model_type"]
        self.v = {"rwkv": 4, "rwkv6": 6, "rwkv7": 7}.get(kind) or {"5_1": 5.1, "5_2": 5.2}[config.get("model_version", "5_2")]
        self.L, self.D = config["num_hidden_layers"], config["hidden_size"]
        self.N = config.get("head_size", config.get("head_dim", self.D))
        self.H = config.get("attention_hidden_size", self.D) // self.N if self.v != 4 else 1
        self.group_eps = {4: None, 5.1: 1e-5, 5.2: 1e-5, 6: 64e-5, 7: self.N * EPS}[self.v]
        if "head_size_divisor" in config:
            self.group_eps = 1e-5 * config["head_size_divisor"] ** 2
        if wrong == "group epsilon":
            self.group_eps = 1e-5 if self.v == 6 else 64e-5

    def shift(self, x):
        before = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
        return torch.zeros_like(x) if self.wrong == "no shift" else before

    def lerp(self, x, mu):
        mu = mu.view(-1)
        before = self.shift(x)
        if (self.v in (6, 7)) != (self.wrong == "mixture the other way round"):
            return x + (before - x) * mu
        return x * mu + before * (1 - mu)

    def __call__(self, ids):
        keep = Keep()
        seven = self.v == 7
        prefix = "model." if seven else "rwkv."
        w = lambda name: self.w[prefix + name]
        ln0 = "layers.0.pre_norm." if seven else "blocks.0.pre_ln."
        x = layer_norm(keep, "embed_ln.", w("embeddings.weight")[ids], w(ln0 + "weight"), w(ln0 + "bias"))
        keep("hook_embed", x)
        self.first = None
        for i in range(self.L):
            b = f"blocks.{i}."
            at = lambda name, i=i: w((f"layers.{i}." if seven else f"blocks.{i}.") + name)
            n1, n2 = ("attn_norm.", "ffn_norm.") if seven else ("ln1.", "ln2.")
            keep(b + "hook_resid_pre", x)
            h = layer_norm(keep, b + "ln1.", x, at(n1 + "weight"), at(n1 + "bias"))
            mix = {4: self.four, 5.1: self.five, 5.2: self.five, 6: self.five, 7: self.seven}[self.v]
            x = keep(b + "hook_resid_mid", x + keep(b + "hook_attn_out", mix(keep, b + "attn.", at, h)))
            h = layer_norm(keep, b + "ln2.", x, at(n2 + "weight"), at(n2 + "bias"))
            x = keep(b + "hook_resid_post", x + keep(b + "hook_mlp_out", self.mlp(keep, b + "mlp.", at, h)))
        end = "norm." if seven else "ln_out."
        x = layer_norm(keep, "ln_final.", x, w(end + "weight"), w(end + "bias"))
        keep("logits", x @ self.w["lm_head.weight" if seven else "head.weight"].T)
        return keep

    def mlp(self, keep, at, w, x):
        if self.v == 7:
            pre = keep(at + "hook_pre", self.lerp(x, w("ffn.x_k")) @ w("ffn.key.weight").T)
            return keep(at + "hook_post", pre.relu() ** 2) @ w("ffn.value.weight").T
        f = "feed_forward."
        key, receptance = ("time_maa_k", "time_maa_r") if self.v == 6 else ("time_mix_key", "time_mix_receptance")
        pre = keep(at + "hook_pre", self.lerp(x, w(f + key)) @ w(f + "key.weight").T)
        r = keep(at + "hook_receptance", torch.sigmoid(self.lerp(x, w(f + receptance)) @ w(f + "receptance.weight").T))
        return r * (keep(at + "hook_post", pre.relu() ** 2) @ w(f + "value.weight").T)

    def four(self, keep, at, w, x):
        a = "attention."
        k = keep(at + "hook_k", self.lerp(x, w(a + "time_mix_key")) @ w(a + "key.weight").T)
        v = keep(at + "hook_v", self.lerp(x, w(a + "time_mix_value")) @ w(a + "value.weight").T)
        r = keep(at + "hook_receptance", torch.sigmoid(self.lerp(x, w(a + "time_mix_receptance")) @ w(a + "receptance.weight").T))
        T, A = k.shape
        log_w = -torch.exp(w(a + "time_decay"))
        if self.wrong == "sign of the decay":
            log_w = -log_w
        u = w(a + "time_first") * (0 if self.wrong == "no bonus" else 1)
        keep(at + "hook_decay", log_w.exp().expand(T, A))
        age = (torch.arange(T)[:, None] - torch.arange(T)[None])[..., None].double()
        late = 0 if self.wrong == "decay before reading" else 1
        logit = torch.where(age == 0, u + k[None], (age - late) * log_w + k[None]).masked_fill(age < 0, -math.inf)
        weights = logit.softmax(1)                                    # [query, key, channel]
        # The state behind each token, over e^scale as the recurrence keeps it.
        num, den, top, states = torch.zeros(A).double(), torch.zeros(A).double(), torch.full((A,), -1e38).double(), []
        for t in range(T):
            m = torch.maximum(top + log_w, k[t])
            p, q = (top + log_w - m).exp(), (k[t] - m).exp()
            num, den, top = p * num + q * v[t], p * den + q, m
            states.append(torch.stack([num, den, top]))
        keep(at + "hook_state", torch.stack(states))
        keep(at + "hook_pattern", weights.mean(-1)[None])
        wkv = keep(at + "hook_wkv", (weights * v[None]).sum(1))
        return keep(at + "hook_z", r * wkv) @ w(a + "output.weight").T

    def heads(self, x):
        return x.view(-1, self.H, self.N)

    def five(self, keep, at, w, x):
        a, six = "attention.", self.v == 6
        dx = self.shift(x) - x
        if six:
            low = torch.tanh((x + dx * w(a + "time_maa_x").view(-1)) @ w(a + "time_maa_w1")).view(len(x), 5, -1)
            extra = torch.einsum("tir,ird->itd", low, w(a + "time_maa_w2"))
            if self.wrong == "mixtures by the token":
                extra = 0 * extra
            order = "wkvrg" if self.wrong != "order of the mixtures" else "kwvrg"
            mixed = {n: x + dx * (w(a + "time_maa_" + n).view(-1) + extra[i]) for i, n in enumerate(order)}
        else:
            mixed = {n: self.lerp(x, w(a + "time_mix_" + name)) for n, name in
                     (("k", "key"), ("v", "value"), ("r", "receptance")) + ((("g", "gate"),) if self.v == 5.2 else ())}
        r = mixed["r"] @ w(a + "receptance.weight").T
        if self.wrong == "squashed receptance":
            r = torch.sigmoid(r)
        keep(at + "hook_receptance", self.heads(r))
        T, A = r.shape
        u = 0 * w(a + "time_first") if self.wrong == "no bonus" and self.v == 5.1 else None
        if self.v == 5.1:
            u = torch.exp(w(a + "time_first")) if u is None else u
            u = u.view(self.H, 1).expand(self.H, self.N)
            if self.wrong == "bonus is no exponential":
                u = w(a + "time_first").view(self.H, 1).expand(self.H, self.N)
            decay = torch.exp(-torch.exp(w(a + "time_decay"))).view(self.H, 1).expand(T, self.H, self.N)
        else:
            u = w(a + "time_faaaa") * (0 if self.wrong == "no bonus" else 1)
            raw = w(a + "time_decay").view(-1)
            if six:
                raw = raw + torch.tanh(mixed["w"] @ w(a + "time_decay_w1")) @ w(a + "time_decay_w2") * (self.wrong != "decay by the token")
            decay = torch.exp(-torch.exp(raw)).view(-1, self.H, self.N).expand(T, self.H, self.N)
        keep(at + "hook_decay", decay)
        k = keep(at + "hook_k", self.heads(mixed["k"] @ w(a + "key.weight").T))
        v = keep(at + "hook_v", self.heads(mixed["v"] @ w(a + "value.weight").T))
        gate = 1
        if self.v != 5.1:
            gate = keep(at + "hook_gate", self.heads(torch.nn.functional.silu(mixed["g"] @ w(a + "gate.weight").T)))
        r = self.heads(r)
        S, states, y = torch.zeros(self.H, self.N, self.N).double(), [], []
        for t in range(T):
            kv = k[t][:, :, None] * v[t][:, None, :]
            held = decay[t][:, :, None] * S if self.wrong == "decay before reading" else S
            y.append(torch.einsum("hi,hij->hj", r[t], held + u[:, :, None] * kv))
            S = decay[t][:, :, None] * S + kv
            states.append(S)
        keep(at + "hook_state", torch.stack(states))
        M = torch.zeros(self.H, T, T).double()
        for t in range(T):
            through = torch.ones(self.H, self.N).double()
            M[:, t, t] = (r[t] * u * k[t]).sum(-1)
            for s in range(t - 1, -1, -1):
                M[:, t, s] = (r[t] * through * k[s]).sum(-1)
                through = through * decay[s]
        keep(at + "hook_mixing", M)
        y = keep(at + "hook_wkv", torch.stack(y))
        groups = 1 if self.wrong == "norm over all heads" else self.H
        z = layer_norm(keep, at + "ln_x.", y.reshape(T, A), w(a + "ln_x.weight"), w(a + "ln_x.bias"), self.group_eps, groups)
        return keep(at + "hook_z", self.heads(z) * gate).reshape(T, A) @ w(a + "output.weight").T

    def seven(self, keep, at, w, x):
        a = "attn."
        wrong, mixed = self.wrong, {n: self.lerp(x, w(a + "x_" + n)) for n in "rwkvag"}
        lora = lambda n, v, act=lambda z: z, bias=True: act(v @ w(a + n + "_lora.lora.0.weight").T) @ w(a + n + "_lora.lora.2.weight").T + \
            (w(a + n + "_lora.lora.2.bias") if bias else 0)
        r = keep(at + "hook_receptance", self.heads(mixed["r"] @ w(a + "r_proj.weight").T))
        decay = keep(at + "hook_decay", self.heads(torch.exp(-math.exp(-0.5) * torch.sigmoid(lora("w", mixed["w"], torch.tanh)))))
        rate = keep(at + "hook_rate", self.heads(torch.sigmoid(lora("a", mixed["a"]))))
        raw = mixed["k"] @ w(a + "k_proj.weight").T
        kk = self.heads(raw * w(a + "k_k"))
        if wrong != "removal of any length":
            kk = kk / kk.pow(2).sum(-1, keepdim=True).sqrt()
        keep(at + "hook_removal", kk)
        k = keep(at + "hook_k", self.heads(raw * (1 + (rate.reshape(raw.shape) - 1) * w(a + "k_a"))))
        v = mixed["v"] @ w(a + "v_proj.weight").T
        if self.first is None:
            self.first = v
        elif wrong != "no values of the first layer":
            v = v + (self.first - v) * torch.sigmoid(lora("v", mixed["v"]))
        v = keep(at + "hook_v", self.heads(v))
        gate = torch.sigmoid(mixed["g"] @ w(a + "g_lora.lora.0.weight").T) @ w(a + "g_lora.lora.2.weight").T
        keep(at + "hook_gate", self.heads(gate))
        T = len(x)
        sign = 1 if wrong == "sign of the removal" else -1
        S, states, y, through = torch.zeros(self.H, self.N, self.N).double(), [], [], []    # [head, value, key], as published
        for t in range(T):
            A = torch.diag_embed(decay[t]) + sign * kk[t][:, :, None] * (kk[t] * rate[t])[:, None, :]
            through.append(A)
            new = S @ A + v[t][:, :, None] * k[t][:, None, :]
            y.append(torch.einsum("hij,hj->hi", S if wrong == "read before the update" else new, r[t]))
            S = new
            states.append(S.transpose(-1, -2))
        keep(at + "hook_state", torch.stack(states))
        M = torch.zeros(self.H, T, T).double()
        for t in range(T):
            g = r[t]
            for s in range(t, -1, -1):
                M[:, t, s] = (g * k[s]).sum(-1)
                g = torch.einsum("hij,hj->hi", through[s], g)
        keep(at + "hook_mixing", M)
        y = keep(at + "hook_wkv", torch.stack(y)).reshape(T, -1)
        groups = 1 if wrong == "norm over all heads" else self.H
        z = layer_norm(keep, at + "ln_x.", y, w(a + "g_norm.weight"), w(a + "g_norm.bias"), self.group_eps, groups)
        bonus = keep(at + "hook_bonus", (r * k * w(a + "r_k")).sum(-1, keepdim=True) * v)
        if wrong == "no bonus":
            bonus = 0 * bonus
        z = keep(at + "hook_z", (self.heads(z) + bonus) * self.heads(gate))
        return z.reshape(T, -1) @ w(a + "o_proj.weight").T


class Keep(dict):
    def __call__(self, name, x):
        self[name] = x.contiguous()
        return x
