"""Makes aft-full-small, -simple-, -local- and -conv-small, as make_goldens_rwkv.py makes RWKV's."""
from make_goldens_rwkv import golden
from reference_aft import Aft

import torch


def weights_of(c, seed):
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape, std=None, mean=0.0: ((mean + torch.randn(*shape, generator=g) * (std or 1.2 * shape[-1] ** -0.5)) * 256).round() / 256
    D, F, V, P = c["hidden_size"], c["intermediate_size"], c["vocab_size"], c["max_position_embeddings"]
    w = {"model.embed_tokens.weight": normal(V, D, std=1.0), "lm_head.weight": normal(V, D)}
    if c.get("position_embeddings", True):
        w["model.embed_positions.weight"] = normal(P, D, std=0.5)

    def norm(at):
        w[at + ".weight"], w[at + ".bias"] = normal(D, std=0.2, mean=1.0), normal(D, std=0.2)

    norm("model.norm")
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        norm(p + "input_layernorm"), norm(p + "post_attention_layernorm")
        for n in "qkvo":
            w[p + f"attn.{n}_proj.weight"] = normal(D, D)
        if c["aft_variant"] == "conv":
            w[p + "attn.position_bias"] = normal(c["num_heads"], c["local_window"], std=1.0)
        elif c.get("position_bias_rank"):
            for n in "uv":
                w[p + "attn.position_bias_" + n] = normal(P, c["position_bias_rank"], std=1.0)
        elif c["aft_variant"] != "simple":
            w[p + "attn.position_bias"] = normal(P, P, std=1.0)
        w[p + "mlp.c_fc.weight"], w[p + "mlp.c_fc.bias"] = normal(F, D), normal(F, std=0.3)
        w[p + "mlp.c_proj.weight"], w[p + "mlp.c_proj.bias"] = normal(D, F), normal(D, std=0.3)
    return w


if __name__ == "__main__":
    shape = dict(model_type="aft", vocab_size=19, num_hidden_layers=2, hidden_size=10, intermediate_size=13, max_position_embeddings=14,
                 layer_norm_eps=1e-5, hidden_act="gelu_new", tie_word_embeddings=False)
    for kind, seed, more, wrong in (
            ("full", 31, {}, ["no gate", "no bias", "query and key changed places"]),
            ("simple", 32, dict(position_embeddings=False), ["no gate"]),
            ("local", 33, dict(position_bias_rank=3, local_window=4),
             ["no gate", "no bias", "query and key changed places", "window too wide by one", "distant tokens unseen"]),
            ("conv", 34, dict(num_heads=2, local_window=3, position_embeddings=False),
             ["no gate", "no bias", "distance the other way round", "window too wide by one", "distant tokens unseen"])):
        c = dict(shape, aft_variant=kind, **more)
        golden(f"aft-{kind}-small", seed, c, weights_of(c, seed), Aft, wrong)
