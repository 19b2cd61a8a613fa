#!/usr/bin/env python3
"""make_analogies.py: writes austen-analogies.txt beside itself, in word2vec's format.

Pairs of words that are tokens of austen-gpt2 and austen-llama; each pair with each other pair of its section is a question.
"""
import os

SECTIONS = {
    "family": "man woman, husband wife, father mother, son daughter, brother sister, uncle aunt, he she, himself herself",
    "past": "walk walked, ask asked, look looked, talk talked, want wanted, hope hoped, return returned, believe believed, wish wished, call called, "
            "appear appeared, expect expected, add added, use used",
    "irregular-past": "know knew, give gave, see saw, come came, say said, go went, take took, make made, think thought, feel felt, tell told, "
                      "find found, have had, is was, are were, do did, can could, will would, shall should, may might",
    "present-participle": "walk walking, talk talking, go going, come coming, see seeing, say saying, give giving, take taking, make making, "
                          "look looking, hear hearing, think thinking, speak speaking, sit sitting, have having, do doing, be being, feel feeling",
    "plural": "day days, year years, month months, hour hours, eye eyes, friend friends, sister sisters, thing things, hand hands, word words, "
              "feeling feelings, lady ladies, thought thoughts, child children, man men",
}

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "austen-analogies.txt"), "w", encoding="utf-8") as file:
    for section, text in SECTIONS.items():
        pairs = [pair.strip() for pair in text.split(",")]
        file.write(f": {section}\n")
        for a in pairs:
            for b in pairs:
                if len({*a.split(), *b.split()}) == 4:
                    file.write(f"{a} {b}\n")
