"""Makes hostile variants of a result file, each wrong in one way: craft_results.py RESULT.h5 FOLDER."""
import os
import shutil
import sys

import h5py
import numpy as np

result, folder = sys.argv[1:]


def variant(name):
    path = os.path.join(folder, name)
    shutil.copy(result, path)
    return h5py.File(path, "r+")


secret = os.path.join(folder, "secret.txt")
with open(secret, "w") as f:
    f.write("password" * 4)

with variant("external_storage.h5") as f:
    f["structure"].create_dataset("leak", shape=(4,), dtype="f8", external=[(secret, 0, 32)])
with variant("virtual.h5") as f:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f8")
    layout[:] = h5py.VirtualSource(result, "structure/secret", shape=(4,))
    f["structure"].create_virtual_dataset("leak", layout)
with variant("soft_link.h5") as f:
    f["structure"]["leak"] = h5py.SoftLink("/structure/secret")
with variant("external_link.h5") as f:
    f["structure"]["leak"] = h5py.ExternalLink(result, "/structure/secret")
with variant("external_link_node.h5") as f:
    f["leak"] = h5py.ExternalLink(result, "/structure")
with variant("filtered.h5") as f:
    f["structure"].create_dataset("packed", data=np.zeros(1000), compression="gzip")
with variant("checked.h5") as f:
    f["structure"].create_dataset("packed", data=np.zeros(1000), compression="gzip", shuffle=True, fletcher32=True)
with variant("bomb.h5") as f:
    f["structure"].create_dataset("packed", shape=(1 << 40,), dtype="f8", chunks=(1 << 20,), compression="gzip", shuffle=True)
with variant("missing_chunks.h5") as f:
    packed = f["structure"].create_dataset("packed", shape=(5000,), dtype="f8", chunks=(1000,), compression="gzip", shuffle=True)
    packed[:1000] = 1
with variant("huge_shape.h5") as f:
    f["structure"].create_dataset("huge", shape=(1 << 40,), dtype="f8", chunks=(1024,))
with variant("never_written.h5") as f:
    f["structure"].create_dataset("absent", shape=(100,), dtype="f8", chunks=(10,))
with variant("cycle.h5") as f:
    f["structure"]["again"] = f["structure"]
with variant("compound.h5") as f:
    f["structure"].create_dataset("table", data=np.zeros(3, dtype=[("a", "f4"), ("b", "i4")]))
    f["structure/table"].dims[0].label = "row"
with variant("fixed_text.h5") as f:
    f["structure"].create_dataset("fixed", data=np.array([b"abc", b"def"]))
    f["structure/fixed"].dims[0].label = "row"
with variant("wrong_scale.h5") as f:
    g = f["structure"]
    g.create_dataset("long", data=np.arange(9))
    g["long"].make_scale("long")
    g["long"].attrs["role"] = "coordinate"
    g["secret"].dims[0].detach_scale(g["n"])
    g["secret"].dims[0].attach_scale(g["long"])
with variant("newer_version.h5") as f:
    f.attrs["format_version"] = np.int32(2)
with variant("incomplete.h5") as f:
    f.attrs["complete"] = np.uint8(0)
with variant("high_rank.h5") as f:
    f["structure"].create_dataset("deep", data=np.zeros((1,) * 7))
with h5py.File(os.path.join(folder, "foreign.h5"), "w") as f:
    f["x"] = 1
