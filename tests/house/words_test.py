"""words_test.py SOURCE_DIR: docs, help texts and messages avoid some phrases that readers found hard (CONTRIBUTING.md, "Write plainly").

Reads the prose of README.md, CONTRIBUTING.md and docs/*.md without code, the comments of runs/*.yaml, and the texts and header
comments of core/, sdk/ and plugins/. Prints each phrase with file, line and a better word, and fails if there is any.
"""
import glob
import os
import re
import sys

# A phrase, one text that has it, and what to write instead.
PHRASES = [
    (r"\b(go|goes|going|went) on\b", "the run goes on", "continue, resume or grow"),
    (r"\bwish(es|ed)?\b", "if wished", "if needed, optionally, request"),
    (r"\b(no|any|some)body\b", "that nobody knows", "name who: no plugin, another program, every user; or unknown, unused"),
    (r"\bwhoever\b", "whoever made it", "name who: the caller, the plugin, the reader"),
    (r"\bstand(s|ing)? in the way\b", "what stands in the way", "problem, limit"),
    (r"\bof (its|their) own kind\b", "a run of its own kind", "another kind, separate"),
    (r"\b(what )?one wants\b", "what one wants", "what you need"),
    (r"\b(is|are|was|were|be|been) told\b", "what is read by nothing is told", "reported, listed, known"),
    (r"\bcom(e|es|ing) to rest\b", "after everything has come to rest", "stop, end"),
    (r"\bas (it|they) stands?\b", "as it stands it runs", "by default, without changes"),
    (r"\b(hold|holds|held) (it |them |the result )?against\b", "held against the published counts", "compared with"),
    (r"\bcould not be had\b", "the text could not be had", "we had no access to"),
    (r"\bfor want of\b", "for want of the weights", "because ... is missing"),
    (r"\bmost (that|tokens|bytes|iterations|memory) (a|an|the|of|for|in)\b", "most tokens of a segment", "limit, maximum"),
    (r"(?<!here )\bis no (plugin|folder|file|text|token|result|list|size|layer)\b", "it is no folder", "is not a ..."),
    (r"\b[Mm]end(s|ed)?\b", "mend its range", "correct, fix"),
    (r"\bso that a part\b", "so that a part of the machine must do", "say what happens: use a quarter of RAM"),
]
RULES = [(re.compile(pattern), instead) for pattern, _, instead in PHRASES]
TEXT = re.compile(r'"((?:[^"\\\n]|\\.)*)"')


def prose_of_page(path):
    """Lines of Markdown without blocks and spans of code."""
    in_code = False
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.lstrip().startswith("```"):
                in_code = not in_code
            elif not in_code:
                yield number, re.sub(r"`[^`]*`", "", line)


def comments_of_run(path):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("#"):
                yield number, line[1:]


def texts_of_source(path):
    """Texts in quotes; of headers also comments."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            code, _, comment = ("", "", line) if line.lstrip().startswith("//") else line.partition("  // ")
            for text in TEXT.findall(code):
                if " " in text:
                    yield number, text
            if path.endswith(".hpp") and comment:
                yield number, re.sub(r"`[^`]*`", "", comment)


def everything(root):
    pages = ["README.md", "CONTRIBUTING.md", *sorted(glob.glob("docs/*.md", root_dir=root))]
    for name in pages:
        yield from ((name, *line) for line in prose_of_page(os.path.join(root, name)))
    for name in sorted(glob.glob("runs/*.yaml", root_dir=root)):
        yield from ((name, *line) for line in comments_of_run(os.path.join(root, name)))
    for folder in ("core", "sdk/include", "sdk/src", "plugins"):
        for name in sorted(glob.glob(folder + "/**/*", root_dir=root, recursive=True)):
            if name.endswith((".cpp", ".hpp", ".inc")):
                yield from ((name, *line) for line in texts_of_source(os.path.join(root, name)))


def rules_that_find_nothing():
    for pattern, example, instead in PHRASES:
        if not re.search(pattern, example) or re.search(pattern, instead):
            yield pattern


def main(root):
    wrong = [f"the rule {pattern} does not find its own example, or finds its replacement" for pattern in rules_that_find_nothing()]
    seen = 0
    for name, number, text in everything(root):
        seen += 1
        for rule, instead in RULES:
            if found := rule.search(text):
                wrong.append(f"{name}:{number}: \"{found.group(0)}\" in \"{text.strip()[:90]}\"; write: {instead}")
    print("\n".join([*wrong, f"{seen} lines and texts, {len(wrong)} to rewrite"]))
    return 1 if wrong or seen < 5000 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
