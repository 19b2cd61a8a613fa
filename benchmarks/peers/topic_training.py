"""Times topic training against a PyTorch script on the same files, in turn, and prints the ratios.

    benchmarks/peers/topic_training.py WAYFARER REFERENCE TRAIN DEV [--rounds 3]

REFERENCE is a script that takes TRAIN DEV --mode repo|paper --train-what v|kqv --updates N --threads 2 and ends with a line
"X updates/s in training alone". Ours counts everything that the model's node does, reading and masking the documents included.
"""
import argparse
import os
import re
import statistics
import subprocess
import tempfile

import h5py

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("wayfarer", "reference", "train", "dev"):
    parser.add_argument(name)
parser.add_argument("--rounds", type=int, default=3)
options = parser.parse_args()

PIPELINE = """
nodes:
  documents: {{source: lda, path: {train}}}
  learner: {{model: topic_transformer, {ours}, train: {{source: documents, updates: {updates}, held_out_every: 0, log_every: 1000}}}}
"""
CASES = [  # name, ours, updates of ours, theirs, updates of theirs
    ("R2, repo style", "regime: R2, style: repo", 50000, "--mode repo --train-what v", 30),
    ("R2, paper style", "regime: R2, style: paper", 50000, "--mode paper --train-what v", 40),
    ("R4, repo style", "regime: R4, style: repo", 10000, "--mode repo --train-what kqv --init 0.1", 25),
    ("R4, paper style", "regime: R4, style: paper", 10000, "--mode paper --train-what kqv --sgd --lr 30 --init 0.1", 30),
]


def ours_per_second(settings, updates, folder):
    pipeline, out = os.path.join(folder, "p.yaml"), os.path.join(folder, "r.h5")
    with open(pipeline, "w") as f:
        f.write(PIPELINE.format(train=os.path.abspath(options.train), ours=settings, updates=updates))
    subprocess.run([options.wayfarer, "run", pipeline, "--out", out, "--quiet", "--threads", "2"], check=True, stdout=subprocess.DEVNULL)
    with h5py.File(out) as f:
        seconds = f["_run/seconds"]
        return updates / seconds[list(f["_run/node"].asstr()[:]).index("learner")]


def theirs_per_second(arguments, updates):
    command = ["/usr/bin/python3", options.reference, options.train, options.dev, *arguments.split(), "--updates", str(updates), "--threads", "2"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"([\d.]+) updates/s", text).group(1))


with tempfile.TemporaryDirectory() as folder:
    print("%-16s %14s %14s %10s" % ("", "ours, 1/s", "PyTorch, 1/s", "ratio"))
    for name, settings, our_updates, arguments, their_updates in CASES:
        pairs = [(ours_per_second(settings, our_updates, folder), theirs_per_second(arguments, their_updates)) for _ in range(options.rounds)]
        ours, theirs = (statistics.median(p[i] for p in pairs) for i in (0, 1))
        ratio = statistics.median(a / b for a, b in pairs)
        print("%-16s %14.0f %14.2f %9.0fx" % (name, ours, theirs, ratio), flush=True)
