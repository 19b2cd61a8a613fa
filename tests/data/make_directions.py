"""Makes directions.h5, as another program would: h5py's defaults, no attribute of ours. Needs numpy and h5py."""
import os

import h5py
import numpy as np

v = np.linspace(-1, 1, 8)
with h5py.File(os.path.join(os.path.dirname(os.path.abspath(__file__)), "directions.h5"), "w") as f:
    f["sae/v"] = v.astype("f4")
    f["v"] = v
    f["integers"] = np.arange(8)
    f["big_endian"] = v.astype(">f8")
    f.create_dataset("gzip", data=np.stack([v, 2 * v]), compression="gzip")
    f.create_dataset("lzf", data=v, compression="lzf")
    f["text"] = "no numbers"
    f["soft"] = h5py.SoftLink("/v")
    f["outside"] = h5py.ExternalLink("other.h5", "/v")
