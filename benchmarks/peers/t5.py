"""Times a T5 forward pass against a plain PyTorch one on the same checkpoint, in turn, and prints the ratio.

    benchmarks/peers/t5.py BENCH_T5 REFMODELS [--rounds 5] [--threads 2]

REFMODELS is a folder with refmodels.py, whose T5 reads Hugging Face checkpoints; `make` of it makes the random T5-small that both
run. Ours is bench_t5 as built, through the plugin. Run with Debian's python3-torch (/usr/bin/python3).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bench")
parser.add_argument("refmodels")
for name, default in (("rounds", 5), ("threads", 2)):
    parser.add_argument("--" + name, type=int, default=default)
options = parser.parse_args()

import torch  # noqa: E402

sys.path.insert(0, options.refmodels)
import refmodels  # noqa: E402


def theirs(model, ids, decoder_ids):
    start = time.perf_counter()
    model(ids, decoder_ids)
    return time.perf_counter() - start


def ours(folder):
    command = [options.bench, "--model=" + folder, f"--threads={options.threads}", "--benchmark_filter=^encoder_and_decoder/512/128/",
               "--benchmark_format=json"]
    run = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["benchmarks"][0]
    return run["real_time"] / 1000, run["fraction"]


with tempfile.TemporaryDirectory() as folder, torch.no_grad():
    make = [sys.executable, os.path.join(options.refmodels, "refmodels.py"), "make", "t5", folder]
    make += "--layers 6 --width 512 --heads 8 --vocab 32128 --ff 2048".split()
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    torch.set_num_threads(options.threads)
    model, config = refmodels.load(folder)
    draw = torch.Generator().manual_seed(1)
    ids, decoder_ids = (torch.randint(0, config["vocab_size"], (1, n), generator=draw) for n in (512, 128))
    theirs(model, ids, decoder_ids)
    rounds = []
    for _ in range(options.rounds):
        reference = statistics.median(theirs(model, ids, decoder_ids) for _ in range(3))
        seconds, fraction = ours(folder)
        rounds.append((reference, seconds, fraction))
        print(f"PyTorch {1000 * reference:7.1f} ms   ours {1000 * seconds:7.1f} ms   ratio {reference / seconds:5.2f}   "
              f"of the multiply-add rate {fraction:.2f}", flush=True)
    print(f"median ratio {statistics.median(a / b for a, b, _ in rounds):.2f}, fraction {statistics.median(f for _, _, f in rounds):.2f}")
