"""Writes {name: torch tensor} in the safetensors format, for the scripts that make goldens."""
import json
import struct

import torch

NAMES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32"}


def write(path, tensors):
    header, offset, parts = {}, 0, []
    # Larger elements first, so that every tensor is aligned.
    for name, x in sorted(tensors.items(), key=lambda e: -e[1].element_size()):
        x = x.contiguous()
        data = (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).numpy().tobytes()
        header[name] = {"dtype": NAMES[x.dtype], "shape": list(x.shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        parts.append(data)
    text = json.dumps({k: header[k] for k in tensors}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
