"""Per-word bounds of gensim's LdaModel on the Reuters and AP documents, for lda_fit to be held against.

    make_goldens.py DATA > gensim.tsv     DATA: the folder that WAYFARER_DATA names
    make_goldens.py time DATA             seconds that a pass over AP takes, one line a pass

Run with Debian's python3-gensim (4.2.0). Each setting is fitted from three seeds: their spread is what chance does. gensim
adds the type's epsilon (1e-7 in float32, its default, 2e-16 in float64) to every word's probability; words that no topic of the
moment holds are lost to it, and the bound falls with them: in float32 with small chunks, and with 100 topics in float64 too.
"""
import io, os, sys, tarfile, time
import numpy as np
from gensim.models import LdaModel


def lda_c(lines):
    return [[tuple(map(int, pair.split(":"))) for pair in line.split()[1:]] for line in lines if line.strip()]


def read(data, name):
    if name == "reuters":
        with open(os.path.join(data, "lda/reuters/reuters.ldac")) as f:
            return lda_c(f)
    with tarfile.open(os.path.join(data, "lda/ap/ap.tgz")) as t:
        return lda_c(io.TextIOWrapper(t.extractfile("ap/ap.dat")))


def fit(corpus, seed=0, **settings):
    words = 1 + max(w for d in corpus for w, _ in d)
    return LdaModel(corpus, id2word={w: str(w) for w in range(words)}, eval_every=None, random_state=seed, **settings)


SETTINGS = [  # corpus, topics, passes, chunksize, update_every, dtype
    ("reuters", 20, 1, 2000, 1, "float32"),
    ("reuters", 20, 20, 2000, 1, "float32"),
    ("reuters", 20, 20, 50, 1, "float32"),
    ("ap", 100, 1, 2000, 1, "float32"),
    ("reuters", 20, 1, 2000, 1, "float64"),
    ("reuters", 20, 20, 2000, 1, "float64"),
    ("reuters", 20, 20, 50, 1, "float64"),
    ("reuters", 20, 20, 100, 0, "float64"),
    ("ap", 20, 1, 2000, 1, "float64"),
    ("ap", 20, 5, 256, 1, "float64"),
    ("ap", 100, 1, 2000, 1, "float64"),
    ("ap", 100, 3, 256, 1, "float64"),
]


def main():
    if sys.argv[1] == "time":
        corpus = read(sys.argv[2], "ap")
        for passes in (1, 2, 3):
            t = time.perf_counter()
            fit(corpus, num_topics=100, passes=passes)
            print(passes, time.perf_counter() - t, flush=True)
        return
    print("corpus\ttopics\tpasses\tchunk_size\tupdate_every\tdtype\tbound_0\tbound_1\tbound_2")
    corpora = {}
    for name, topics, passes, chunk, every, dtype in SETTINGS:
        corpus = corpora.setdefault(name, read(sys.argv[1], name))
        bounds = []
        for seed in range(3):
            m = fit(corpus, seed, num_topics=topics, passes=passes, chunksize=chunk, update_every=every,
                    dtype=getattr(np, dtype))
            bounds.append(m.log_perplexity(corpus))
        print(name, topics, passes, chunk, every, dtype, *(f"{b:.5f}" for b in bounds), sep="\t", flush=True)


main()
