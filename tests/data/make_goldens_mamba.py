"""Makes mamba-small, mamba2-small and falcon-mamba-small, as make_goldens_rwkv.py makes RWKV's."""
from make_goldens_rwkv import golden
from reference_mamba import Mamba

import torch

WRONG = ["norm with a mean", "convolution the other way round", "sign of the decay", "read before the update", "no skip", "gate by sigmoid"]
OWN = {"mamba": ["gate first", "step without softplus"], "mamba2": ["step without limits", "groups in turns"],
       "falcon_mamba": ["gate first", "no norm of step, B and C"]}


def weights_of(c, seed):
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape, std=None, mean=0.0: ((mean + torch.randn(*shape, generator=g) * (std or 1.2 * shape[-1] ** -0.5)) * 256).round() / 256
    D, V, N, K, two = c["hidden_size"], c["vocab_size"], c["state_size"], c["conv_kernel"], c["model_type"] == "mamba2"
    H = c.get("num_heads", 0)
    I = H * c["head_dim"] if two else c["intermediate_size"]
    conv = I + 2 * c["n_groups"] * N if two else I
    w = {"backbone.embeddings.weight": normal(V, D, std=1.0), "backbone.norm_f.weight": normal(D, std=0.2, mean=1.0)}
    for i in range(c["num_hidden_layers"]):
        m = f"backbone.layers.{i}.mixer."
        w[f"backbone.layers.{i}.norm.weight"] = normal(D, std=0.2, mean=1.0)
        w[m + "in_proj.weight"], w[m + "out_proj.weight"] = normal(I + conv + H if two else 2 * I, D), normal(D, I)
        if c.get("use_bias"):
            w[m + "in_proj.bias"], w[m + "out_proj.bias"] = normal(w[m + "in_proj.weight"].shape[0], std=0.3), normal(D, std=0.3)
        w[m + "conv1d.weight"] = normal(conv, 1, K, std=0.5)
        if c.get("use_conv_bias", True):
            w[m + "conv1d.bias"] = normal(conv, std=0.3)
        if two:
            w[m + "A_log"], w[m + "D"], w[m + "dt_bias"] = normal(H, std=0.5), normal(H, std=0.5, mean=1.0), normal(H, std=1.0)
            w[m + "norm.weight"] = normal(I, std=0.2, mean=1.0)
        else:
            R = c["time_step_rank"]
            w[m + "A_log"], w[m + "D"] = normal(I, N, std=0.7), normal(I, std=0.5, mean=1.0)
            w[m + "x_proj.weight"], w[m + "dt_proj.weight"], w[m + "dt_proj.bias"] = normal(R + 2 * N, I), normal(I, R), normal(I, std=0.5)
    if not c["tie_word_embeddings"]:
        w["lm_head.weight"] = normal(V, D)
    return w


if __name__ == "__main__":
    shape = dict(vocab_size=19, num_hidden_layers=2, hidden_size=10, layer_norm_epsilon=1e-5, hidden_act="silu")
    one = dict(shape, intermediate_size=14, state_size=3, time_step_rank=2, conv_kernel=4)
    for name, seed, c in (
            ("mamba-small", 21, dict(one, model_type="mamba", use_bias=False, use_conv_bias=True, tie_word_embeddings=True)),
            ("falcon-mamba-small", 22, dict(one, model_type="falcon_mamba", conv_kernel=3, mixer_rms_eps=1e-6, use_bias=True, use_conv_bias=False,
                                            tie_word_embeddings=False)),
            ("mamba2-small", 23, dict(shape, model_type="mamba2", num_heads=4, head_dim=5, n_groups=2, state_size=3, conv_kernel=4, expand=2,
                                      time_step_limit=[0.2, 1.5], use_bias=False, use_conv_bias=True, tie_word_embeddings=False))):
        golden(name, seed, c, weights_of(c, seed), Mamba, WRONG + OWN[c["model_type"]])
