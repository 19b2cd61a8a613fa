#!/usr/bin/env python3
"""Times a fit of 100 topics to the AP documents against gensim's, with the same settings, in turn, and prints the ratio.

    benchmarks/lda_against_gensim.py BENCH_LDA_FIT DATA [--rounds 5] [--threads 2]

BENCH_LDA_FIT is the benchmark program of that name, DATA the folder with lda/ap/ap.tgz. Gensim's default settings on both sides
(chunks of 2,000 documents, 50 iterations, kappa 0.5, tau_0 1, float32), five passes, first topics and all. gensim is timed twice: as
LdaModel, whose only threads are those of numpy's BLAS, and as LdaMulticore with a worker for each thread. Bounds are per word, over the
whole corpus; theirs is log_perplexity. Run with Debian's python3-gensim (/usr/bin/python3).
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
from gensim.models import LdaModel, LdaMulticore  # noqa: E402

logging.disable(logging.WARNING)
TOPICS, PASSES = 100, 5


def read(lines):
    return [[tuple(map(int, pair.split(":"))) for pair in line.split()[1:]] for line in lines if line.strip()]


def theirs(kind, corpus, words, seed, **more):
    start = time.perf_counter()
    model = kind(corpus, num_topics=TOPICS, passes=PASSES, id2word=words, eval_every=None, random_state=seed, **more)
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
        rounds.append((theirs(LdaModel, corpus, words, seed), theirs(LdaMulticore, corpus, words, seed, workers=options.threads),
                       ours(file.name)))
        (a, bound_a), (b, bound_b), (c, bound_c) = rounds[-1]
        print(f"LdaModel {a:6.2f} s ({bound_a:.3f} nat)   LdaMulticore {b:6.2f} s ({bound_b:.3f} nat)   ours {c:6.3f} s ({bound_c:.3f} nat)"
              f"   ratios {a / c:5.1f}, {b / c:5.1f}", flush=True)
    for name, which in (("LdaModel", 0), ("LdaMulticore", 1)):
        print(f"median ratio to {name}: {statistics.median(r[which][0] / r[2][0] for r in rounds):.1f}")
    print(f"a pass: ours {1000 * statistics.median(r[2][0] for r in rounds) / PASSES:.0f} ms, "
          f"LdaModel {1000 * statistics.median(r[0][0] for r in rounds) / PASSES:.0f} ms")
    print(f"median bound: ours {statistics.median(r[2][1] for r in rounds):.4f}, LdaModel {statistics.median(r[0][1] for r in rounds):.4f}")
