"""Cuts the text into what is learned and what is held out, and trains the tokenizer beside this file.

    /usr/bin/python3 make_tokenizer.py INPUT.txt [ENTRIES]     # Python's standard library; some seconds

INPUT.txt is "tinyshakespeare": 40,000 lines of Shakespeare, put together by Andrej Karpathy (github.com/karpathy/char-rnn,
data/tinyshakespeare/input.txt, 1,115,394 bytes, sha256 86c4e6aa9db7c042...). The first nine tenths of its characters become
train.txt.gz, the rest held-out.txt.gz. Byte-level BPE as GPT-2 has it, trained on train.txt alone: 256 bytes, merges of the most
frequent pair (the first in byte order among equals) until there are ENTRIES (2,048) less one, and <|endoftext|>. Writes vocab.json
and merges.txt. The same input gives the same bytes.
"""
import collections, gzip, json, os, re, sys

HERE = os.path.dirname(os.path.abspath(__file__))
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")  # GPT-2's, for ASCII


def byte_letters():
    """GPT-2's printable stand-in for every byte."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in letters:
            letters[b], extra = chr(256 + extra), extra + 1
    return letters


def train(text, entries):
    words = collections.Counter(WORD.findall(text))
    parts = [[bytes([b]) for b in w.encode()] for w in words]
    counts = list(words.values())
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, p in enumerate(parts):
        for pair in zip(p, p[1:]):
            pairs[pair] += counts[i]
            where[pair].add(i)
    merges = []
    while len(merges) < entries - 257:
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for i in where.pop(best):
            p = parts[i]
            for pair in zip(p, p[1:]):
                pairs[pair] -= counts[i]
            joined, j = [], 0
            while j < len(p):
                step = 2 if p[j:j + 2] == [*best] else 1
                joined.append(b"".join(p[j:j + step]))
                j += step
            parts[i] = joined
            for pair in zip(joined, joined[1:]):
                pairs[pair] += counts[i]
                where[pair].add(i)
        pairs = +pairs
    return merges


def write_packed(name, text):
    with open(os.path.join(HERE, name), "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as packed:
        packed.write(text.encode())


def main():
    with open(sys.argv[1], encoding="utf-8", newline="") as f:
        text = f.read()
    entries = int(sys.argv[2]) if len(sys.argv) > 2 else 2048
    cut = len(text) * 9 // 10
    write_packed("train.txt.gz", text[:cut])
    write_packed("held-out.txt.gz", text[cut:])
    merges = train(text[:cut], entries)
    letters = byte_letters()
    show = lambda token: "".join(letters[b] for b in token)
    tokens = [letters[b] for b in range(256)] + [show(a + b) for a, b in merges] + ["<|endoftext|>"]
    assert len(set(tokens)) == len(tokens)
    with open(os.path.join(HERE, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump({t: i for i, t in enumerate(tokens)}, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    with open(os.path.join(HERE, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{show(a)} {show(b)}\n" for a, b in merges))


if __name__ == "__main__":
    main()
