"""Trains the two small language models that runs use when no other is given, and the tokenizer that both read.

    /usr/bin/python3 runs/data/train_small.py [tokenizer | gpt2 | llama [UPDATES]]

Without an argument it makes all three. Needs Debian's python3-torch, and libopenblas0 to be fast.

Reads austen/train.txt.gz. Writes austen-gpt2/ and austen-llama/ beside itself, Hugging Face folders with float16 weights. Prints the
loss on austen/held-out.txt.gz, which no step sees. Progress is saved every 20 updates in train_small.KIND.pt in the current
folder; the same command resumes there, and gives the same weights as a whole run. OMP_NUM_THREADS sets the threads.

Both models have 4 blocks of 4 heads, 128 wide, a context of 256, 2,048 tokens and a tied head. The GPT-2 has learned positions,
LayerNorms and GELU. The Llama has rotary positions, 2 key heads, RMS norms and SwiGLU. Half of the windows begin at a paragraph, the
others anywhere. Matrices learn by Muon, the rest by AdamW.
"""
import ctypes, gzip, json, math, os, struct, sys, time
import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "tiny-shakespeare-gpt2"))
from make_tokenizer import WORD, byte_letters, train as train_bpe  # noqa: E402

LAYERS, HEADS, KEY_HEADS, WIDTH, CONTEXT, TOKENS = 4, 4, 2, 128, 256, 2048
GPT2_INNER, LLAMA_INNER = 512, 352
STEPS, BATCH, WARM_UP = 2000, 8, 60
RATE, MUON_RATE, FLAT = 3e-3, 0.02, 0.6  # then the rate falls to 0, linearly
END = "<|endoftext|>"
FOLDERS = {"gpt2": "austen-gpt2", "llama": "austen-llama"}


def read(name):
    with gzip.open(os.path.join(HERE, "austen", name + ".txt.gz"), "rt", encoding="ascii") as f:
        return f.read()


# ---- tokenizer --------------------------------------------------------------------------------------------------------------
def write(folder, name, x, **how):
    with open(os.path.join(HERE, folder, name), "w", encoding="utf-8") as f:
        f.write(x if isinstance(x, str) else json.dumps(x, ensure_ascii=False, **how) + "\n")


def make_tokenizer():
    merges, letters = train_bpe(read("train"), TOKENS), byte_letters()
    show = lambda token: "".join(letters[b] for b in token)
    tokens = [letters[b] for b in range(256)] + [show(a + b) for a, b in merges] + [END]
    vocabulary, lines = {t: i for i, t in enumerate(tokens)}, [f"{show(a)} {show(b)}" for a, b in merges]
    assert len(vocabulary) == TOKENS
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end = {"id": TOKENS - 1, "content": END, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end], "normalizer": None, "pre_tokenizer": byte_level,
             "post_processor": None, "decoder": byte_level,
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                       "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocabulary, "merges": lines}}
    for folder in FOLDERS.values():
        os.makedirs(os.path.join(HERE, folder), exist_ok=True)
        write(folder, "tokenizer.json", whole, separators=(",", ":"))
        write(folder, "tokenizer_config.json", {"bos_token": END, "eos_token": END, "model_max_length": CONTEXT,
                                                "tokenizer_class": "PreTrainedTokenizerFast"}, indent=1)


def load_tokenizer():
    with open(os.path.join(HERE, "austen-gpt2", "tokenizer.json"), encoding="utf-8") as f:
        return json.load(f)["model"]


class encoder:
    def __init__(self):
        model = load_tokenizer()
        self.ids, self.known = model["vocab"], {}
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(model["merges"])}
        self.letters = byte_letters()

    def word(self, word):
        parts = [self.letters[b] for b in word.encode()]
        while len(parts) > 1:
            rank, i = min((self.rank.get(p, math.inf), i) for i, p in enumerate(zip(parts, parts[1:])))
            if rank == math.inf:
                break
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        return [self.ids[p] for p in parts]

    def text(self, text):
        out = []
        for w in WORD.findall(text):
            if w not in self.known:
                self.known[w] = self.word(w)
            out += self.known[w]
        return out

    def chapters(self, text):
        """Tokens with the end token between chapters, and where paragraphs begin."""
        tokens, starts = [], []
        for chapter in text.rstrip("\n").split("\n\n"):
            tokens.append(self.ids[END])
            for i, paragraph in enumerate(chapter.split("\n")):
                tokens += self.text("\n") if i else []
                starts.append(len(tokens))
                tokens += self.text(paragraph)
        return torch.tensor(tokens), torch.tensor(starts)


# ---- models, under Hugging Face's names -------------------------------------------------------------------------------------
def random_weights(kind):
    g = torch.Generator().manual_seed(0)
    w, deep = {}, 0.02 / math.sqrt(2 * LAYERS)
    n = lambda *shape, std=0.02: torch.randn(*shape, generator=g) * std
    D = WIDTH
    if kind == "gpt2":
        w["wte.weight"], w["wpe.weight"] = n(TOKENS, D), n(CONTEXT, D)
        for i in range(LAYERS):
            p = f"h.{i}."
            for name, shape, std in (("attn.c_attn", (D, 3 * D), 0.02), ("attn.c_proj", (D, D), deep), ("mlp.c_fc", (D, GPT2_INNER), 0.02),
                                     ("mlp.c_proj", (GPT2_INNER, D), deep)):
                w[p + name + ".weight"], w[p + name + ".bias"] = n(*shape, std=std), torch.zeros(shape[1])
            for name in ("ln_1", "ln_2"):
                w[p + name + ".weight"], w[p + name + ".bias"] = torch.ones(D), torch.zeros(D)
        w["ln_f.weight"], w["ln_f.bias"] = torch.ones(D), torch.zeros(D)
    else:
        w["model.embed_tokens.weight"] = n(TOKENS, D)
        key = D // HEADS * KEY_HEADS
        for i in range(LAYERS):
            p = f"model.layers.{i}."
            for name, shape, std in (("self_attn.q_proj", (D, D), 0.02), ("self_attn.k_proj", (key, D), 0.02), ("self_attn.v_proj", (key, D), 0.02),
                                     ("self_attn.o_proj", (D, D), deep), ("mlp.gate_proj", (LLAMA_INNER, D), 0.02),
                                     ("mlp.up_proj", (LLAMA_INNER, D), 0.02), ("mlp.down_proj", (D, LLAMA_INNER), deep)):
                w[p + name + ".weight"] = n(*shape, std=std)
            w[p + "input_layernorm.weight"], w[p + "post_attention_layernorm.weight"] = torch.ones(D), torch.ones(D)
        w["model.norm.weight"] = torch.ones(D)
    return w


def attend(q, k, v, mask):
    B, H, T, K = q.shape
    q, k, v = (t.reshape(B * H, T, K) for t in (q * K ** -0.5, k, v))
    z = torch.bmm(torch.baddbmm(mask, q, k.transpose(1, 2)).softmax(-1), v)
    return z.view(B, H, T, K).transpose(1, 2).reshape(B, T, H * K)


def gpt2(w, ids, mask):
    B, T, D = *ids.shape, WIDTH
    norm = lambda x, n: F.layer_norm(x, (D,), w[n + ".weight"], w[n + ".bias"], 1e-5)
    linear = lambda x, n: torch.addmm(w[n + ".bias"], x.reshape(B * T, -1), w[n + ".weight"]).view(B, T, -1)
    x = w["wte.weight"][ids] + w["wpe.weight"][:T]
    for i in range(LAYERS):
        p = f"h.{i}."
        q, k, v = (t.view(B, T, HEADS, -1).transpose(1, 2) for t in linear(norm(x, p + "ln_1"), p + "attn.c_attn").split(D, -1))
        x = x + linear(attend(q, k, v, mask), p + "attn.c_proj")
        x = x + linear(F.gelu(linear(norm(x, p + "ln_2"), p + "mlp.c_fc"), approximate="tanh"), p + "mlp.c_proj")
    return norm(x, "ln_f") @ w["wte.weight"].T


def rotation(T):
    half = WIDTH // HEADS // 2
    angle = torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(half) / half)
    return angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)


def llama(w, ids, mask):
    B, T, D = *ids.shape, WIDTH
    norm = lambda x, n: x * (x.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt() * w[n + ".weight"]
    cos, sin = rotation(T)

    def turn(x):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat((-b, a), -1) * sin

    x = w["model.embed_tokens.weight"][ids]
    for i in range(LAYERS):
        p, a = f"model.layers.{i}.", f"model.layers.{i}.self_attn."
        h = norm(x, p + "input_layernorm")
        q, k, v = (F.linear(h, w[a + n + "_proj.weight"]).view(B, T, heads, -1).transpose(1, 2)
                   for n, heads in (("q", HEADS), ("k", KEY_HEADS), ("v", KEY_HEADS)))
        k, v = (t.repeat_interleave(HEADS // KEY_HEADS, 1) for t in (turn(k), v))
        x = x + F.linear(attend(turn(q), k, v, mask), w[a + "o_proj.weight"])
        h, m = norm(x, p + "post_attention_layernorm"), p + "mlp."
        x = x + F.linear(F.silu(F.linear(h, w[m + "gate_proj.weight"])) * F.linear(h, w[m + "up_proj.weight"]), w[m + "down_proj.weight"])
    return norm(x, "model.norm") @ w["model.embed_tokens.weight"].T


FORWARD = {"gpt2": gpt2, "llama": llama}


# ---- training ---------------------------------------------------------------------------------------------------------------
def held_out_loss(kind, w, tokens):
    """Mean over windows that don't overlap, each read from its own first token."""
    count, mask, total = (len(tokens) - 1) // CONTEXT, causal(), 0.0
    x, y = tokens[:count * CONTEXT].view(count, -1), tokens[1:count * CONTEXT + 1].view(count, -1)
    with torch.no_grad():
        for i in range(0, count, 16):
            total += F.cross_entropy(FORWARD[kind](w, x[i:i + 16], mask).flatten(0, 1), y[i:i + 16].flatten(), reduction="sum").item()
    return total / (count * CONTEXT)


def causal():
    return torch.full((CONTEXT, CONTEXT), -math.inf).triu(1)


def muon(w, momentum, rate, outputs_first, parts):
    """One step along the nearest orthogonal matrix to the gradient (Keller Jordan 2024, "Muon"), for each part of a joined matrix."""
    momentum.mul_(0.95).add_(w.grad)
    for x, t in zip((w.grad + 0.95 * momentum).chunk(parts, 1), w.data.chunk(parts, 1)):
        x = x / (x.norm() + 1e-7)
        turned = x.shape[0] > x.shape[1]
        x = x.T if turned else x
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        x = x.T if turned else x
        outputs, inputs = x.shape if outputs_first else x.shape[::-1]
        t.mul_(1 - rate * 0.05).sub_(x, alpha=rate * max(1, outputs / inputs) ** 0.5)


def train(kind, tokens, starts, held_out, steps, stop):
    """The weights after `steps` updates; None if it saved and left at `stop` of them."""
    state, mask, starts = f"train_small.{kind}.pt", causal(), starts[starts < len(tokens) - CONTEXT - 1]
    w = {name: t.requires_grad_() for name, t in random_weights(kind).items()}
    inner = {name: torch.zeros_like(t) for name, t in w.items() if t.dim() > 1 and not name.endswith(("wte.weight", "wpe.weight", "embed_tokens.weight"))}
    optimizer = torch.optim.AdamW([t for name, t in w.items() if name not in inner], betas=(0.9, 0.98), weight_decay=0.01, foreach=True)
    first, spent = 0, 0.0
    if os.path.exists(state):
        saved = torch.load(state)
        if saved["steps"] != steps and saved["step"] > FLAT * min(steps, saved["steps"]):
            sys.exit(f"{state} belongs to a run of {saved['steps']} steps, this is one of {steps}: delete it to begin anew")
        first, spent, inner = saved["step"], saved["spent"], saved["inner"]
        for name, t in saved["weights"].items():
            w[name].data.copy_(t)
        optimizer.load_state_dict(saved["optimizer"])
    begun = time.process_time()
    for step in range(first, steps):
        rate = min(1, (step + 1) / WARM_UP, (1 - step / steps) / (1 - FLAT))
        g = torch.Generator().manual_seed(step)
        at = torch.stack((starts[torch.randint(len(starts), (BATCH // 2,), generator=g)],
                          torch.randint(len(tokens) - CONTEXT - 1, (BATCH // 2,), generator=g)))
        for t in w.values():  # those of Muon too, which the optimizer does not know
            t.grad = None
        loss = 0.0
        for half in at:  # two small passes are faster than a large one: more stays in the cache
            batch = tokens[half[:, None] + torch.arange(CONTEXT + 1)]
            part = F.cross_entropy(FORWARD[kind](w, batch[:, :-1], mask).flatten(0, 1), batch[:, 1:].flatten()) / 2
            part.backward()
            loss += part.item()
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate
        optimizer.step()
        with torch.no_grad():
            for name, momentum in inner.items():
                muon(w[name], momentum, MUON_RATE * rate, outputs_first=kind == "llama", parts=3 if "c_attn" in name else 1)
        done, seconds = step + 1, spent + time.process_time() - begun
        if done % 20 == 0 or done == stop:
            torch.save({"step": done, "steps": steps, "spent": seconds, "weights": w, "inner": inner, "optimizer": optimizer.state_dict()}, state + ".new")
            os.replace(state + ".new", state)
        if done % 50 == 0 or done == steps:
            extra = f", held out {held_out_loss(kind, w, held_out):.4f}" if done % 500 == 0 or done == steps else ""
            print(f"{kind} {done}/{steps}: loss {loss:.4f}{extra}, {seconds:.0f} s of processor time", flush=True)
        if done == stop:
            return None
    return {name: t.detach() for name, t in w.items()}


CONFIG = {
    "gpt2": {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "n_inner": GPT2_INNER,
             "n_positions": CONTEXT, "n_ctx": CONTEXT, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5},
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
              "num_key_value_heads": KEY_HEADS, "hidden_size": WIDTH, "intermediate_size": LLAMA_INNER, "max_position_embeddings": CONTEXT,
              "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "attention_bias": False, "mlp_bias": False},
}


def save(kind, w):
    write(FOLDERS[kind], "config.json", {**CONFIG[kind], "vocab_size": TOKENS, "tie_word_embeddings": True, "bos_token_id": TOKENS - 1,
                                         "eos_token_id": TOKENS - 1, "torch_dtype": "float16"}, indent=1)
    header, offset, blobs = {}, 0, []
    for name, t in w.items():
        a = t.numpy().astype(np.float16)
        header[name] = {"dtype": "F16", "shape": list(a.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
        blobs.append(a.tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(HERE, FOLDERS[kind], "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def keep_memory():
    """Freed blocks stay with the process: page faults would otherwise take half of the time."""
    libc = ctypes.CDLL(None)
    for option, bytes_ in ((-3, 1 << 30), (-1, 1 << 30), (-2, 1 << 26)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
        libc.mallopt(option, bytes_)


def main():
    keep_memory()
    kinds = sys.argv[1:2] or ["tokenizer", "gpt2", "llama"]
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else STEPS
    stop = int(sys.argv[3]) if len(sys.argv) > 3 else steps + 1
    if "tokenizer" in kinds:
        make_tokenizer()
    encode = encoder()
    (tokens, starts), (held_out, _) = encode.chapters(read("train")), encode.chapters(read("held-out"))
    print(f"{len(tokens)} tokens to learn, {len(held_out)} held out", flush=True)
    for kind in kinds:
        if kind == "tokenizer":
            continue
        w = train(kind, tokens, starts, held_out, steps, stop)
        if w is not None:
            save(kind, w)
            rounded = {name: t.half().float() for name, t in w.items()}
            print(f"{kind}: {sum(t.numel() for t in w.values())} parameters, held out {held_out_loss(kind, rounded, held_out):.4f} as saved in "
                  f"float16, random {held_out_loss(kind, random_weights(kind), held_out):.4f}", flush=True)


if __name__ == "__main__":
    main()
