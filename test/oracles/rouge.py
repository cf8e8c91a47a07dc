#!/usr/bin/env python3
"""Pairs of texts with the ROUGE scores of the Python package `rouge` 1.0 (github.com/pltrdy/rouge, commit 12ed0ade), as the FPT
code used it. The package is not kept here; `pip install rouge`, or put its two files on PYTHONPATH.

  rouge.py OUT.json
"""
import json
import random
import sys

sys.path.pop(0)  # this file has the package's name
from rouge import Rouge  # noqa: E402

WORDS = "the a river town old bridge was closed after heavy rain said police on Friday and people had to walk 3.5 miles U.S. home".split()


def text(rng):
    out = []
    for _ in range(rng.randint(1, 4)):
        out.append(" ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 12))))
    return rng.choice([". ", ".", " . ", ".\n"]).join(out) + rng.choice(["", ".", ". ", "..", "  "])


def main():
    rng = random.Random(0)
    pairs = [(text(rng), text(rng)) for _ in range(120)]
    pairs += [(t, t) for t in ("one", "a b c. d e f.", "w1 w2 w6 w7 w8. w1 w3 w8 w9 w5")]
    pairs += [("w1 w2 w6 w7 w8. w1 w3 w8 w9 w5", "w1 w2 w3 w4 w5"), ("x", "y"), ("a a a a", "a"), ("The", "the")]
    rows = []
    for hypothesis, reference in pairs:
        scores = Rouge().get_scores(hypothesis, reference)[0]
        rows.append({"hypothesis": hypothesis, "reference": reference,
                     **{f"rouge{k}": scores[f"rouge-{k.lower()}"]["f"] for k in ("1", "2", "L")}})
    with open(sys.argv[1], "w", encoding="utf8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")


main()
