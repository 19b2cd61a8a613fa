"""Cuts Jane Austen's six novels into the text that models learn and the text that is held out, train.txt.gz and held-out.txt.gz.

    apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb x
    /usr/bin/python3 make_text.py x/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb    # Python's standard library; seconds

The R package janeaustenr (Julia Silge, 1.0.0) has the novels as Project Gutenberg gives them. They appeared from 1811 to 1817 and are
public domain. Here a paragraph is one line, an empty line ends a chapter, headings and marks of emphasis are left out, and all is
ASCII. Every 20th chapter is held out. The same input gives the same bytes.
"""
import gzip, os, re, struct, sys, zlib

HERE = os.path.dirname(os.path.abspath(__file__))
HEADING = re.compile(r"(chapter|volume) [ivxlc0-9]+\.?|the end|finis", re.I)
FIRST_LINES = ["SENSE AND SENSIBILITY", "PRIDE AND PREJUDICE", "MANSFIELD PARK", "EMMA", "NORTHANGER ABBEY", "Persuasion"]


def character_vectors(data):
    """The objects of an R database of character vectors: length, a letter for the packing, packed serialisation."""
    while data:
        unpacker = zlib.decompressobj() if data[4:5] == b"x" else None
        if unpacker is None:
            sys.exit(f"expected zlib data, found {data[4:6]!r}: is this janeaustenr 1.0.0 as Debian packs it?")
        x, data = unpacker.decompress(data[4:]), unpacker.unused_data
        at = 18 + struct.unpack(">I", x[14:18])[0]  # the name of the encoding
        count, at, lines = struct.unpack(">I", x[at + 4:at + 8])[0], at + 8, []
        for _ in range(count):
            size = struct.unpack(">I", x[at + 4:at + 8])[0]
            lines.append(x[at + 8:at + 8 + size].decode())
            at += 8 + size
        yield lines


def chapters(lines):
    start = next(i for i, line in enumerate(lines) if HEADING.fullmatch(line.strip()))
    chapter, paragraph = [], []
    for line in [*lines[start:], "", "THE END"]:
        line = " ".join(line.encode("ascii", "ignore").decode().replace("_", "").replace("*", "").split())
        if line.startswith("A NOTE ON THE TEXT"):  # an editor's, behind the last chapter of Northanger Abbey
            line = "THE END"
        heading = HEADING.fullmatch(line)
        if line and not heading:
            paragraph.append(line)
            continue
        if paragraph:
            chapter.append(" ".join(paragraph))
            paragraph = []
        if heading and chapter:
            yield chapter
            chapter = []
        if line == "THE END":
            return


def main():
    with open(sys.argv[1], "rb") as f:
        novels = {lines[0]: lines for lines in character_vectors(f.read())}
    every = [c for first in FIRST_LINES for c in chapters(novels[first])]
    for name, kept in (("train", [c for i, c in enumerate(every) if i % 20 != 19]), ("held-out", every[19::20])):
        text = "\n\n".join("\n".join(c) for c in kept) + "\n"
        with open(os.path.join(HERE, name + ".txt.gz"), "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as packed:
            packed.write(text.encode())
        print(f"{name}: {len(kept)} chapters, {text.count(chr(10)) + 1} lines, {len(text)} characters")


if __name__ == "__main__":
    main()
