#!/usr/bin/env python3
"""Times GPT-2 124M against a PyTorch script on the same checkpoint, in turn, and prints the ratios.

    benchmarks/gpt2_against_pytorch.py BENCH_TRANSFORMER REFERENCE [--rounds 3] [--threads 2] [--python PYTHON]

BENCH_TRANSFORMER is the benchmark program of that name. REFERENCE is a script with the commands `make gpt2 OUT` and
`time DIR --batch B --tokens T --threads N [--capture]`, the latter printing "median X s". Each round times theirs, then ours.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bench")
parser.add_argument("reference")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--python", default="/usr/bin/python3")
options = parser.parse_args()

CASES = [  # name, benchmark, theirs
    ("1 x 1,024, logits", "^forward/1/1024", "--batch 1 --tokens 1024"),
    ("8 x 128, logits", "^forward/8/128", "--batch 8 --tokens 128"),
    ("1 x 1,024, every residual state", "^capture/residual", "--batch 1 --tokens 1024 --capture"),
    ("1 x 1,024, every pattern", "^capture/patterns", "--batch 1 --tokens 1024 --capture"),
]


def theirs(folder, arguments):
    command = [options.python, options.reference, "time", folder, "--runs", "3", "--threads", str(options.threads), *arguments.split()]
    return float(re.search(r"median ([\d.]+) s", subprocess.run(command, check=True, capture_output=True, text=True).stdout)[1])


def ours(folder, which):
    command = [options.bench, f"--model={folder}", f"--threads={options.threads}", f"--benchmark_filter={which}", "--benchmark_format=json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["benchmarks"]
    return found[0]["real_time"] / 1e3


with tempfile.TemporaryDirectory() as folder:
    model = os.path.join(folder, "gpt2")
    subprocess.run([options.python, options.reference, "make", "gpt2", model], check=True, stdout=subprocess.DEVNULL)
    print(f"{'pass':34} {'ours, s':>9} {'PyTorch, s':>11} {'ratio':>7}")
    for name, which, arguments in CASES:
        pairs = [(theirs(model, arguments), ours(model, which)) for _ in range(options.rounds)]
        ratio = statistics.median(t / o for t, o in pairs)
        print(f"{name:34} {statistics.median(o for _, o in pairs):9.3f} {statistics.median(t for t, _ in pairs):11.3f} {ratio:7.2f}")
