"""BERT and its kin with their masked-language heads in plain PyTorch, written from the papers' descriptions to check against: BERT,
RoBERTa, ALBERT (factorised embeddings, layers that share weights), DistilBERT (no token types), ELECTRA's generator (factorised
embeddings where the widths differ).

Weight names and config keys are those of the Hugging Face checkpoints. Activations have the names of docs/hooks.md; one sequence at
a time, [pos, ...], so that there is no padding to get wrong. Nothing here is shared with the C++ model.
"""
import math

import torch

# query, key, value, output of attention, its norm, both matrices of the MLP, its norm; then the head: matrix, norm, bias.
BERT = ("attention.self.query attention.self.key attention.self.value attention.output.dense attention.output.LayerNorm "
        "intermediate.dense output.dense output.LayerNorm").split()
ALBERT = "attention.query attention.key attention.value attention.dense attention.LayerNorm ffn ffn_output full_layer_layer_norm".split()
DISTILBERT = ("attention.q_lin attention.k_lin attention.v_lin attention.out_lin sa_layer_norm ffn.lin1 ffn.lin2 "
              "output_layer_norm").split()
HEADS = {
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
    "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    "albert": ("predictions.dense", "predictions.LayerNorm", "predictions.bias"),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
    "electra": ("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head.bias"),
}


def gelu(x):
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def gelu_tanh(x):
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {"gelu": gelu, "gelu_new": gelu_tanh, "relu": torch.relu}


class Bert:
    def __init__(self, config, weights):
        self.c, self.kind = config, config["model_type"]
        prefix = self.kind + "."
        self.w = {(k[len(prefix):] if k.startswith(prefix) else k): v for k, v in weights.items()}
        get = lambda *keys: next(config[k] for k in keys if k in config)
        self.layers, self.heads = get("num_hidden_layers", "n_layers"), get("num_attention_heads", "n_heads")
        self.act = ACTIVATIONS[get("hidden_act", "activation")]
        # RoBERTa's and ELECTRA's heads have GELU whatever the layers have.
        self.head_act = gelu if self.kind in ("roberta", "electra") else self.act
        self.epsilon = 1e-12 if self.kind == "distilbert" else config.get("layer_norm_eps", 1e-12)

    def affine(self, x, name):
        y = x @ self.w[name + ".weight"].T
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    def norm(self, keep, hook, x, name):
        mean = x.mean(-1, keepdim=True)
        keep[hook + "hook_scale"] = scale = torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + self.epsilon)
        keep[hook + "hook_normalized"] = y = (x - mean) / scale
        keep[hook + "hook_out"] = out = y * self.w[name + ".weight"] + self.w[name + ".bias"]
        return out

    def parts(self, layer):
        """Names of a layer's tensors."""
        if self.kind == "distilbert":
            return [f"transformer.layer.{layer}.{part}" for part in DISTILBERT]
        if self.kind != "albert":
            return [f"encoder.layer.{layer}.{part}" for part in BERT]
        # L repetitions, of which equal shares read one group; a group is `inner` layers that follow each other.
        inner, repetitions = self.c["inner_group_num"], self.c["num_hidden_layers"]
        group = (layer // inner) * self.c["num_hidden_groups"] // repetitions
        return [f"encoder.albert_layer_groups.{group}.albert_layers.{layer % inner}.{part}" for part in ALBERT]

    def embedding(self, keep, ids, types):
        w, n = self.w, len(ids)
        first = self.c.get("pad_token_id", 1) + 1 if self.kind == "roberta" else 0
        keep["hook_embed"] = x = w["embeddings.word_embeddings.weight"][ids]
        keep["hook_pos_embed"] = p = w["embeddings.position_embeddings.weight"][[first + i for i in range(n)]]
        x = x + p
        if self.kind != "distilbert":
            keep["hook_token_type_embed"] = t = w["embeddings.token_type_embeddings.weight"][types or [0] * n]
            x = x + t
        x = self.norm(keep, "embed_ln.", x, "embeddings.LayerNorm")
        for project in ("encoder.embedding_hidden_mapping_in", "embeddings_project"):
            if project + ".weight" in w:
                keep["hook_embed_projected"] = x = self.affine(x, project)
        return x

    def __call__(self, ids, types=None):
        """ids: list of ints. Returns {hook: tensor}."""
        w, keep = self.w, {}
        n, heads = len(ids), self.heads
        x = self.embedding(keep, ids, types)
        size = x.shape[-1] // heads
        for layer in range(self.layers * self.c.get("inner_group_num", 1)):
            at = f"blocks.{layer}."
            query, key, value, out, norm_1, up, down, norm_2 = self.parts(layer)
            keep[at + "hook_resid_pre"] = x
            q, k, v = (self.affine(x, m).reshape(n, heads, size) for m in (query, key, value))
            keep[at + "attn.hook_q"], keep[at + "attn.hook_k"], keep[at + "attn.hook_v"] = q, k, v
            keep[at + "attn.hook_attn_scores"] = s = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(size)
            keep[at + "attn.hook_pattern"] = p = torch.softmax(s, -1)
            keep[at + "attn.hook_z"] = z = torch.einsum("hqk,khd->qhd", p, v)
            keep[at + "hook_attn_out"] = o = self.affine(z.reshape(n, -1), out)
            keep[at + "hook_resid_mid"] = x = x + o
            x = self.norm(keep, at + "ln1.", x, norm_1)
            keep[at + "mlp.hook_pre"] = m = self.affine(x, up)
            keep[at + "mlp.hook_post"] = m = self.act(m)
            keep[at + "hook_mlp_out"] = m = self.affine(m, down)
            keep[at + "hook_resid_post"] = x = x + m
            x = self.norm(keep, at + "ln2.", x, norm_2)
        dense, ln, bias = HEADS[self.kind]
        keep["mlm_head.hook_pre"] = x = self.affine(x, dense)
        keep["mlm_head.hook_post"] = x = self.head_act(x)
        x = self.norm(keep, "mlm_head.ln.", x, ln)
        keep["logits"] = x @ w["embeddings.word_embeddings.weight"].T + w[bias]
        return keep
