"""Turns a checkpoint of llama2.c (version 0: seven int32, then float32) into a Hugging Face folder.

    convert_llama2c.py MODEL.bin FOLDER

The rows of the queries' and keys' matrices are for planes (2j, 2j + 1) there and for (j, j + d/2) here, so they change places. Needs only Python.
"""
import array
import json
import struct
import sys


def main():
    raw = open(sys.argv[1], "rb").read()
    width, hidden, layers, heads, kv_heads, vocabulary, positions = struct.unpack("<7i", raw[:28])
    tied, vocabulary = vocabulary > 0, abs(vocabulary)
    d_head = width // heads
    numbers, at = array.array("f", raw[28:]), 0
    if sys.byteorder != "little":
        numbers.byteswap()
    tensors = {}

    def take(count):
        nonlocal at
        at += count
        return numbers[at - count:at]

    def halves(matrix, n):
        out = array.array("f")
        for head in range(n):
            for half in range(2):
                for j in range(d_head // 2):
                    row = head * d_head + 2 * j + half
                    out += matrix[row * width:(row + 1) * width]
        return out

    kv = kv_heads * d_head
    tensors["model.embed_tokens.weight"] = ([vocabulary, width], take(vocabulary * width))
    parts = [("input_layernorm", [width]), ("self_attn.q_proj", [width, width]), ("self_attn.k_proj", [kv, width]), ("self_attn.v_proj", [kv, width]),
             ("self_attn.o_proj", [width, width]), ("post_attention_layernorm", [width]), ("mlp.gate_proj", [hidden, width]),
             ("mlp.down_proj", [width, hidden]), ("mlp.up_proj", [hidden, width])]
    for part, shape in parts:
        for layer in range(layers):
            values = take(shape[0] * (shape[1] if len(shape) > 1 else 1))
            if part in ("self_attn.q_proj", "self_attn.k_proj"):
                values = halves(values, shape[0] // d_head)
            tensors[f"model.layers.{layer}.{part}.weight"] = (shape, values)
    tensors["model.norm.weight"] = ([width], take(width))
    take(positions * d_head)  # cosines and sines, which follow from theta
    if not tied:
        tensors["lm_head.weight"] = ([vocabulary, width], take(vocabulary * width))
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary, "hidden_size": width, "intermediate_size": hidden,
              "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": positions,
              "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": 2}
    with open(sys.argv[2] + "/config.json", "w") as f:
        json.dump(config, f, indent=1)
    header, offset = {}, 0
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + 4 * len(values)]}
        offset += 4 * len(values)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[2] + "/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for shape, values in tensors.values():
            if sys.byteorder != "little":
                values.byteswap()
            f.write(values.tobytes())


main()
