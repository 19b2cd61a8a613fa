"""Draws the pictures of these pages from result files:

    /usr/bin/python3 docs/figures.py build/demo docs/images/topic-structure.png    # the README's, from the demo's folder
    /usr/bin/python3 docs/figures.py words.h5 docs/images/trajectory.png           # of runs/traveling-words-small.yaml

Needs python3-h5py and python3-matplotlib. Also an example of how little it takes to read a result.
"""
import os
import sys

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def topic_structure(folder, picture):
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


def trajectory(result, picture):
    file = h5py.File(result)
    path, words, walk = file["flat/points"][0], file["flat/also_points"][:], file["walk"]
    tokens = walk["tokens"].asstr()[0]
    at = len(tokens) - 2  # the word whose next is the last
    steps = path[2:, at, :2]
    likeliest = walk["top_tokens"].asstr()[0, :, at, 0]

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True, width_ratios=(1.4, 1))
    for p, token in enumerate(tokens):
        left.plot(*path[2:, p, :2].T, "-", color="0.8", linewidth=1)
        left.annotate(token.strip(), path[-1, p, :2], fontsize=8, color="0.5")
    left.scatter(*words[:, :2].T, s=2, color="C0", label="embeddings of all tokens")
    left.plot(*steps.T, "o-", color="C3", markersize=4, label='the path of "%s"' % tokens[at].strip())
    for state, point in enumerate(steps):
        left.annotate(str(state), point, xytext=(5, 5) if state % 2 == 0 else (3, -13), textcoords="offset points", fontsize=9, color="C3", weight="bold")
    told = ["embedding"] + ["after block %d: %s" % (i, t.strip() or repr(t)) for i, t in enumerate(likeliest[1:])]
    left.text(0.99, 0.98, "\n".join("%d  %s" % line for line in enumerate(told)), transform=left.transAxes, fontsize=8.5, va="top", ha="right", multialignment="left",
              linespacing=1.5, bbox={"facecolor": "white", "edgecolor": "0.8"})
    left.set_xlim(right=path[..., 0].max() + 0.42 * np.ptp(path[..., 0]))  # room for the list
    left.legend(loc="lower right", fontsize=8)
    left.set(title='"%s", and after each block the likeliest next word' % tokens[at].strip(), xlabel="first principal component",
             ylabel="second principal component")
    layers = range(walk["step_length"].shape[1])
    parts = walk["part_angle"][0, :, :, at]
    for q, name in enumerate(walk["part"].asstr()[:]):
        right.bar([l + 0.4 * q - 0.2 for l in layers], parts[:, q], 0.4, label=str(name))
    right.plot(layers, walk["step_angle"][0, :, at], "k_", markersize=22, label="the whole step")
    right.set(title="how far each block turns the vector", xlabel="block", ylabel="radian", xticks=list(layers))
    right.legend()
    figure.savefig(picture, dpi=80)


source, picture = sys.argv[1:]
(topic_structure if os.path.isdir(source) else trajectory)(source, picture)
