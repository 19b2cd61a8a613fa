"""Mamba, Mamba 2 and Falcon-Mamba written out position by position in PyTorch, for the goldens of the recurrent models' tests.

Hooks have Wayfarer's names; `wrong` breaks one ingredient, so that the tests can show that they would see it.
"""
import math

import torch
import torch.nn.functional as F
from reference_rwkv import Keep


class Mamba:
    def __init__(self, config, weights, wrong=None):
        self.c, self.w, self.wrong = config, {k: v.double() for k, v in weights.items()}, wrong
        self.two, self.falcon = config["model_type"] == "mamba2", config["model_type"] == "falcon_mamba"
        self.L, self.N, self.eps = config["num_hidden_layers"], config["state_size"], config["layer_norm_epsilon"]

    def rms(self, keep, at, x, w):
        scale = keep(at + "hook_scale", (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())
        if self.wrong == "norm with a mean":
            x = x - x.mean(-1, keepdim=True)
        return keep(at + "hook_out", keep(at + "hook_normalized", x / scale) * w)

    def __call__(self, ids):
        keep, w = Keep(), lambda name: self.w["backbone." + name]
        x = keep("hook_embed", w("embeddings.weight")[ids])
        for i in range(self.L):
            b, p = f"blocks.{i}.", f"layers.{i}."
            keep(b + "hook_resid_pre", x)
            h = self.rms(keep, b + "ln1.", x, w(p + "norm.weight"))
            x = x + keep(b + "hook_ssm_out", self.mixer(keep, b + "ssm.", lambda n: w(p + "mixer." + n), h))
            keep(b + "hook_resid_post", x)
        x = self.rms(keep, "ln_final.", x, w("norm_f.weight"))
        head = self.w.get("lm_head.weight", self.w["backbone.embeddings.weight"])
        keep("logits", x @ head.T)
        return keep

    def linear(self, w, name, x):
        y = x @ w(name + ".weight").T
        try:
            return y + w(name + ".bias")
        except KeyError:
            return y

    def mixer(self, keep, at, w, h):
        T, N, wrong = len(h), self.N, self.wrong
        H, G = self.c.get("num_heads", 0), self.c.get("n_groups", 1)
        I = H * self.c["head_dim"] if self.two else self.c["intermediate_size"]
        all_ = self.linear(w, "in_proj", h)
        if self.two:
            z, x, dt = all_.split([I, I + 2 * G * N, H], -1)
        else:
            x, z = all_.chunk(2, -1)
        if wrong == "gate first" and not self.two:
            x, z = z, x
        keep(at + "hook_in", x), keep(at + "hook_gate", z)
        cw = w("conv1d.weight")[:, 0]                              # [channel, tap]
        if wrong == "convolution the other way round":
            cw = cw.flip(-1)
        padded = torch.cat([torch.zeros(cw.shape[1] - 1, x.shape[1]).double(), x])
        x = torch.stack([(padded[t:t + cw.shape[1]].T * cw).sum(-1) for t in range(T)]) + (self.w_or_zero(w, "conv1d.bias"))
        x = keep(at + "hook_conv", F.silu(x))
        A = -torch.exp(w("A_log"))
        if self.two:
            x, B, C = x.split([I, G * N, G * N], -1)
            low, high = self.c.get("time_step_limit", (0.0, math.inf))
            delta = F.softplus(dt + w("dt_bias"))
            if wrong != "step without limits":
                delta = delta.clamp(low, high)
            B, C = B.view(T, G, N), C.view(T, G, N)
            keep(at + "hook_delta", delta), keep(at + "hook_B", B), keep(at + "hook_C", C)
            spread = lambda t: t.repeat_interleave(H // G, 1).repeat_interleave(I // H, 1)
            if wrong == "groups in turns":
                spread = lambda t: t.repeat(1, H // G, 1).repeat_interleave(I // H, 1)
            per = lambda t: t.repeat_interleave(I // H, -1)
            delta, B, C, A, D = per(delta), spread(B), spread(C), per(A)[:, None].expand(I, N), per(w("D"))
        else:
            R = w("dt_proj.weight").shape[1]
            dt, B, C = (x @ w("x_proj.weight").T).split([R, N, N], -1)
            if self.falcon and wrong != "no norm of step, B and C":
                eps = self.c["mixer_rms_eps"]
                dt, B, C = (t / (t.pow(2).mean(-1, keepdim=True) + eps).sqrt() for t in (dt, B, C))
            delta = F.softplus(self.linear(w, "dt_proj", dt))
            keep(at + "hook_delta", delta), keep(at + "hook_B", B), keep(at + "hook_C", C)
            B, C, D = B[:, None].expand(T, I, N), C[:, None].expand(T, I, N), w("D")
        if wrong == "sign of the decay":
            A = -A
        if wrong == "step without softplus" and not self.two:
            delta = delta.expm1().log()
        state, states, y = torch.zeros(I, N).double(), [], []
        for t in range(T):
            before = state
            state = (delta[t][:, None] * A).exp() * state + delta[t][:, None] * B[t] * x[t][:, None]
            states.append(state)
            y.append(((before if wrong == "read before the update" else state) * C[t]).sum(-1))
        keep(at + "hook_state", torch.stack(states))
        M = torch.zeros(1, T, T).double()
        for t in range(T):
            for s in range(t + 1):
                decay = (delta[s + 1:t + 1].sum(0)[:, None] * A).exp()
                M[0, t, s] = (C[t] * decay * B[s]).sum(-1).mul(delta[s]).mean()
        keep(at + "hook_mixing", M)
        y = keep(at + "hook_y", torch.stack(y) + (0 if wrong == "no skip" else D * x))
        y = keep(at + "hook_z", y * (torch.sigmoid(z) if wrong == "gate by sigmoid" else F.silu(z)))
        if self.two:
            y = self.rms(keep, at + "norm.", y, w("norm.weight"))
        return self.linear(w, "out_proj", y)

    def w_or_zero(self, w, name):
        try:
            return w(name)
        except KeyError:
            return 0
