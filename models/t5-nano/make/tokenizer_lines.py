#!/usr/bin/env python3
"""A model folder in; 1,000 made-up lines with their token ids out, for a test of another tokenizer implementation.

  tokenizer_lines.py MODEL_DIR tokenizer-fixture.json

Out: {"lines": [{"text", "ids"}...]}; ids end with </s>. They are what the `tokenizers` library makes of tokenizer.json, and the
     script stops if transformers' AutoTokenizer does not agree on every line. No line is copied from a corpus or data set:
     they are random pieces of the vocabulary, numbers, punctuation, Unicode of many scripts, odd spacing and special tokens.
Left out on purpose: U+FEFF and U+0085, which JavaScript and Rust do not agree to call white space.
"""
import argparse
import json
import random
import unicodedata

from tokenizers import Tokenizer
from transformers import AutoTokenizer

SPACES = [" "] * 12 + ["  ", "   ", "\t", "\n", "\u00a0", "\u2003", "\u3000", " \t "]
PUNCTUATION = list(".,;:!?'\"()[]{}<>/\\|@#$%^&*-_=+~`") + ["...", "--", "<<", "''", "``", "</", "<extra", "▁", "_"]
BLOCKS = [(0xA1, 0x17F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x620, 0x64A), (0x900, 0x97F), (0x2010, 0x2027),
          (0x20A0, 0x20BF), (0x2190, 0x21FF), (0x3041, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xAD00), (0xFF01, 0xFF5E),
          (0x300, 0x320), (0x1F300, 0x1F64F), (0x1D400, 0x1D4FF)]


def letters(rng):
    low, high = rng.choice(BLOCKS)
    found = [chr(rng.randint(low, high)) for _ in range(rng.randint(1, 5))]
    return "".join(c for c in found if unicodedata.category(c) != "Cn" and not c.isspace())


def number(rng):
    return rng.choice([str(rng.randint(0, 10 ** rng.randint(1, 9))), f"{rng.uniform(-1e3, 1e3):.2f}", f"{rng.randint(1, 999):,}",
                       f"{rng.randint(1, 12)}/{rng.randint(1, 31)}/{rng.randint(1900, 2030)}", f"{rng.randint(0, 100)}%"])


def line(rng, pieces):
    kind = rng.random()
    out = [rng.choice(SPACES)] if rng.random() < 0.1 else []
    for _ in range(rng.randint(1, 24)):
        draw = rng.random()
        if draw < 0.6:
            word = "".join(rng.choice(pieces).replace("▁", "") for _ in range(rng.randint(1, 3)))
            word = rng.choice([word, word, word, word.capitalize(), word.upper()])
        elif draw < 0.7:
            word = number(rng)
        elif draw < 0.85 or kind < 0.5:
            word = rng.choice(PUNCTUATION)
        elif draw < 0.97:
            word = letters(rng)
        else:
            word = rng.choice(["<extra_id_0>", "<extra_id_99>", "<extra_id_100>", "</s>", "<pad>", "<unk>", "<s>"])
        out += [word, rng.choice(SPACES) if rng.random() < 0.85 else ""]
    text = "".join(out)
    return text if rng.random() < 0.1 else text.strip()


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("out")
    a.add_argument("--seed", type=int, default=0)
    args = a.parse_args()
    rng = random.Random(args.seed)
    tok = Tokenizer.from_file(f"{args.model}/tokenizer.json")
    auto = AutoTokenizer.from_pretrained(args.model)
    pieces = sorted(p for p, i in tok.get_vocab().items() if 3 <= i < 8092)
    texts = ["", " ", "\n", "  two  spaces ", "sst2 sentence: a fine day", "hypothesis: it rains premise: it pours"]
    while len(texts) < 1000:
        texts.append(line(rng, pieces))
    rows = [{"text": t, "ids": tok.encode(t).ids} for t in texts]
    for row in rows:
        other = auto(row["text"]).input_ids
        assert other == row["ids"], (row, other)
    with open(args.out, "w", encoding="utf8") as f:
        f.write('{"lines": [\n' + ",\n".join(json.dumps(r, ensure_ascii=True) for r in rows) + "\n]}\n")
    print(f"{len(rows)} lines, {sum(len(r['ids']) for r in rows)} ids; AutoTokenizer ({type(auto).__name__}) agrees on all")


if __name__ == "__main__":
    main()
