"""Makes the small things that runs need where no download is wanted: topic-texts.txt and two checkpoint folders.

    /usr/bin/python3 make_data.py     Debian's python3-numpy; writes beside itself, the same bytes every time

The texts are ours: words of four subjects, dealt out by chance between words that any subject has. The models are random, about
30 kB each, in the layout of Hugging Face checkpoints, with tokenizers made from our texts. None has learned anything. In tiny-bert
one thing is planted, so that there is something to measure: the embedding of a word of a subject is random plus a vector of the
subject, and head 0 of layer 0 compares embeddings as they are. tiny-t5's position bias falls with distance, each head at its own
rate, and favours or disfavours a position itself.
"""
import collections, json, os, re, struct
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
SUBJECTS = {
    "sea": "boat sail wind harbor anchor captain wave tide shore island fish net rope deck storm crew gull reef mast cargo".split(),
    "kitchen": "bread flour oven butter salt pepper soup onion knife pan spoon sugar dough cake plate recipe garlic stew kettle jam".split(),
    "court": "judge lawyer trial jury verdict witness crime prison appeal law guilty evidence police sentence clerk oath theft bail fine plea".split(),
    "sky": "star planet moon orbit telescope comet galaxy sun light gravity rocket crater eclipse dust ring mass lens dome night meteor".split(),
}
COMMON = "the a of and in to it was with on for that by they had one two then near after before all from over under again".split()


def texts(count=160):
    g = np.random.default_rng(1)
    lines = []
    for i in range(count):
        share = g.dirichlet([0.08] * len(SUBJECTS))
        words = []
        for _ in range(g.integers(24, 40)):
            subject = list(SUBJECTS.values())[g.choice(len(SUBJECTS), p=share)]
            words += [COMMON[g.integers(len(COMMON))], subject[min(19, int(20 * g.random() ** 1.5))]]
        lines.append(" ".join(words).capitalize() + ".")
    return lines


def write_safetensors(path, tensors):
    header, offset, parts = {}, 0, []
    for name, x in tensors.items():
        data = np.ascontiguousarray(x, dtype=np.float16).tobytes()
        header[name] = {"dtype": "F16", "shape": list(x.shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        parts.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def folder(name, config, tensors):
    path = os.path.join(HERE, name)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f, indent=1)
        f.write("\n")
    write_safetensors(os.path.join(path, "model.safetensors"), tensors)
    return path


# ---- SentencePiece unigram, as T5's -----------------------------------------------------------------------------------------
def varint(n):
    out = b""
    n &= (1 << 64) - 1
    while True:
        out += bytes([n & 127 | (128 if n > 127 else 0)])
        n >>= 7
        if n == 0:
            return out


def field(number, value):
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def sentencepiece(pieces):
    out = b""
    for text, score, kind in pieces:
        out += field(1, field(1, text.encode()) + field(2, float(score)) + field(3, kind))
    out += field(2, field(3, 1) + field(4, len(pieces)) + field(40, 2) + field(41, -1) + field(42, 1) + field(43, 0))
    return out + field(3, field(1, b"identity") + field(3, 1) + field(4, 1) + field(5, 1))


def main():
    lines = texts()
    with open(os.path.join(HERE, "topic-texts.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")
    with open(os.path.join(HERE, "prompt.txt")) as f:
        prompt = f.read()

    g = np.random.default_rng(3)
    n = lambda *shape, std=0.3: g.standard_normal(shape) * std
    counts = collections.Counter("\u2581" + x for x in re.findall(r"[A-Za-z]+", prompt))
    characters = sorted(set(prompt) - set(" ")) + ["\u2581"]
    pieces = [("<pad>", 0, 3), ("</s>", 0, 3), ("<unk>", 0, 2)]
    total = sum(counts.values())
    pieces += [(t, np.log(c / total) - 2, 1) for t, c in counts.most_common()]
    pieces += [(c, -9 - 0.01 * i, 1) for i, c in enumerate(characters) if c not in counts]
    D, L, H, K, F, V = 16, 2, 4, 6, 32, len(pieces)
    w = {"shared.weight": n(V, D, std=1)}
    for stack in ("encoder", "decoder"):
        for i in range(L):
            p, parts = f"{stack}.block.{i}.layer.", ["SelfAttention"] + (["EncDecAttention"] if stack == "decoder" else [])
            for j, kind in enumerate(parts):
                w[p + f"{j}.layer_norm.weight"] = 1 + n(D, std=0.1)
                for m, shape, std in (("q", (H * K, D), 0.12), ("k", (H * K, D), 0.25), ("v", (H * K, D), 0.25), ("o", (D, H * K), 0.25)):
                    w[p + f"{j}.{kind}.{m}.weight"] = n(*shape, std=std)
            if i == 0:
                # Bias by bucket: distance grows with the bucket; in the encoder the upper half is for keys ahead.
                half = 16 if stack == "encoder" else 32
                distance = np.arange(32) % half
                rate = np.array([0.0, 0.1, 0.3, 0.6])
                own = np.array([-2.0, 1.0, -1.0, 2.0])
                w[p + "0.SelfAttention.relative_attention_bias.weight"] = -np.outer(distance, rate) + np.outer(np.arange(32) == 0, own)
            j = len(parts)
            w[p + f"{j}.layer_norm.weight"] = 1 + n(D, std=0.1)
            w[p + f"{j}.DenseReluDense.wi.weight"] = n(F, D, std=0.25)
            w[p + f"{j}.DenseReluDense.wo.weight"] = n(D, F, std=0.2)
        w[f"{stack}.final_layer_norm.weight"] = 1 + n(D, std=0.1)
    path = folder("tiny-t5", {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "num_layers": L, "num_decoder_layers": L, "num_heads": H,
                              "d_model": D, "d_kv": K, "d_ff": F, "vocab_size": V, "relative_attention_num_buckets": 32,
                              "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6, "feed_forward_proj": "relu",
                              "tie_word_embeddings": True, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}, w)
    with open(os.path.join(path, "spiece.model"), "wb") as f:
        f.write(sentencepiece(pieces))
    with open(os.path.join(path, "tokenizer_config.json"), "w") as f:
        f.write('{"tokenizer_class": "T5Tokenizer", "extra_ids": 0}\n')

    g = np.random.default_rng(4)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *COMMON, *(x for s in SUBJECTS.values() for x in s)]
    vocabulary += [c for c in letters if c not in vocabulary] + ["##" + c for c in letters]
    D, L, H, F, P = 24, 2, 4, 48, 96
    embedding = n(len(vocabulary), D, std=0.5)
    for words in SUBJECTS.values():
        direction = n(D, std=1)
        direction *= 2 / np.linalg.norm(direction)
        for x in words:
            embedding[vocabulary.index(x)] += direction
    b = "bert.embeddings."
    w = {b + "word_embeddings.weight": embedding, b + "position_embeddings.weight": n(P, D, std=0.05), b + "token_type_embeddings.weight": n(2, D, std=0.05),
         b + "LayerNorm.weight": np.ones(D), b + "LayerNorm.bias": np.zeros(D)}
    for i in range(L):
        p = f"bert.encoder.layer.{i}."
        for m in ("query", "key", "value"):
            weight = n(D, D, std=0.2)
            if i == 0 and m in ("query", "key"):
                # Head 0 sees a quarter of a random rotation of its input, alike on both sides.
                rotation = np.random.default_rng(5)
                weight[:D // H] = 1.2 * np.linalg.qr(rotation.standard_normal((D, D)))[0][:D // H]
            w[p + f"attention.self.{m}.weight"], w[p + f"attention.self.{m}.bias"] = weight, np.zeros(D)
        w[p + "attention.output.dense.weight"], w[p + "attention.output.dense.bias"] = n(D, D, std=0.2), np.zeros(D)
        w[p + "attention.output.LayerNorm.weight"], w[p + "attention.output.LayerNorm.bias"] = np.ones(D), np.zeros(D)
        w[p + "intermediate.dense.weight"], w[p + "intermediate.dense.bias"] = n(F, D, std=0.2), np.zeros(F)
        w[p + "output.dense.weight"], w[p + "output.dense.bias"] = n(D, F, std=0.15), np.zeros(D)
        w[p + "output.LayerNorm.weight"], w[p + "output.LayerNorm.bias"] = np.ones(D), np.zeros(D)
    c = "cls.predictions."
    w.update({c + "transform.dense.weight": n(D, D, std=0.2), c + "transform.dense.bias": np.zeros(D), c + "transform.LayerNorm.weight": np.ones(D),
              c + "transform.LayerNorm.bias": np.zeros(D), c + "bias": np.zeros(len(vocabulary))})
    path = folder("tiny-bert", {"architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": len(vocabulary), "hidden_size": D,
                                "num_hidden_layers": L, "num_attention_heads": H, "intermediate_size": F, "hidden_act": "gelu",
                                "max_position_embeddings": P, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0}, w)
    with open(os.path.join(path, "vocab.txt"), "w") as f:
        f.write("\n".join(vocabulary) + "\n")
    with open(os.path.join(path, "tokenizer_config.json"), "w") as f:
        f.write('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}\n')


main()
