#!/usr/bin/env python3
"""Times a fit of 100 topics to the AP documents against gensim's, with the same settings, in turn, and prints the ratio.

    benchmarks/peers/lda_gensim.py BENCH_LDA_FIT DATA [--rounds 5] [--threads 2]

BENCH_LDA_FIT is the benchmark program of that name, DATA the folder with lda/ap/ap.tgz. Gensim's default settings on both sides
(chunks of 2,000 documents, 50 iterations, kappa 0.5, tau_0 1, float32), five passes, first topics and all. gensim's LdaModel uses the
threads in numpy's BLAS; LdaMulticore has but two chunks to share out here. Bounds are per word, over the whole corpus; theirs is
log_perplexity. Run with Debian's python3-gensim (/usr/bin/python3).
"""
import argparse
import io
import json
import logging
import os
import statistics
import subprocess
import tarfile
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bench")
parser.add_argument("data")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()

for library in ("OMP", "OPENBLAS"):  # before numpy is loaded
    os.environ[library + "_NUM_THREADS"] = str(options.threads)
from gensim.models import LdaModel  # noqa: E402

logging.disable(logging.WARNING)
TOPICS, PASSES = 100, 5


def read(lines):
    return [[tuple(map(int, pair.split(":"))) for pair in line.split()[1:]] for line in lines if line.strip()]


def theirs(corpus, words, seed):
    start = time.perf_counter()
    model = LdaModel(corpus, num_topics=TOPICS, passes=PASSES, id2word=words, eval_every=None, random_state=seed)
    return time.perf_counter() - start, model.log_perplexity(corpus)


def ours(file):
    command = [options.bench, f"--benchmark_filter=^a_fit/{TOPICS}/{PASSES}/{options.threads}/", "--benchmark_format=json"]
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"WAYFARER_AP": file}).stdout
    found = json.loads(run)["benchmarks"][0]
    return found["real_time"] / 1000, found["bound"]


with tempfile.TemporaryDirectory() as folder, tarfile.open(os.path.join(options.data, "lda/ap/ap.tgz")) as archive:
    text = archive.extractfile("ap/ap.dat").read()
    with open(os.path.join(folder, "ap.dat"), "wb") as file:
        file.write(text)
    corpus = read(io.StringIO(text.decode()))
    words = {w: str(w) for w in range(1 + max(w for d in corpus for w, _ in d))}
    rounds = []
    for seed in range(options.rounds):
        rounds.append((theirs(corpus, words, seed), ours(file.name)))
        (a, bound_a), (b, bound_b) = rounds[-1]
        print(f"gensim {a:6.2f} s, {bound_a:.4f} nat a word   ours {b:6.3f} s, {bound_b:.4f} nat   ratio {a / b:5.1f}", flush=True)
    print(f"median ratio {statistics.median(a[0] / b[0] for a, b in rounds):.1f}; a pass: "
          f"gensim {1000 * statistics.median(a[0] for a, _ in rounds) / PASSES:.0f} ms, "
          f"ours {1000 * statistics.median(b[0] for _, b in rounds) / PASSES:.0f} ms; median bound: "
          f"gensim {statistics.median(a[1] for a, _ in rounds):.4f}, ours {statistics.median(b[1] for _, b in rounds):.4f}")
