"""Draws the README's picture from the demo's result files: /usr/bin/python3 docs/figures.py build/demo docs/images/topic-structure.png

Needs python3-h5py and python3-matplotlib. Also an example of how little it takes to read a result.
"""
import sys

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

folder, picture = sys.argv[1:]
values = h5py.File(folder + "/topic-values.h5")["structure"]
stages = h5py.File(folder + "/topic-two-stage.h5")["learner"]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), constrained_layout=True)
matrix = values["value"][-1, 4:, 4:]
image = left.imshow(matrix, cmap="RdBu_r", vmin=-5, vmax=5, interpolation="nearest")
left.set(title="$W^V$ after 5,000 updates: one block a topic", xlabel="word seen", ylabel="word scored")
figure.colorbar(image, ax=left, shrink=0.85)
for i, name in enumerate(stages["matrix"].asstr()[:]):
    right.plot(stages["update"][:], stages["norms"][:, i], label="$W^%s$" % name)
right.set(title="two stages: values first, then attention", xlabel="update", ylabel="Frobenius norm")
right.legend()
figure.savefig(picture, dpi=80)
