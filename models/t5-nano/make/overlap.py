#!/usr/bin/env python3
"""Training text and validation files in; how many validation texts share 10-grams of words with the training text, out.

  overlap.py CORPUS_DIR TASK_DIR [--out overlap.json]

A word is a run of lower-cased letters and digits. For each validation file: its distinct texts of 10 words or more, the share
with any 10-gram in the corpus or in the supervised training rows, and the share with more than half of their 10-grams there;
and, of all its distinct rows, how many equal a supervised training row as wholes (there must be none in the four trained tasks).
"""
import argparse
import json
import re

from prepare import VALIDATION, documents, jsonl, key, task_rows, train_rows

N = 10
WORD = re.compile(r"[a-z0-9]+")


def grams(text):
    words = WORD.findall(text.lower())
    return [hash(tuple(words[i:i + N])) for i in range(len(words) - N + 1)]


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from strings(v)


def validation(folder):
    """{file: distinct texts}: each text field of each validation row."""
    files = ["SST-2/validation", "MNLI/validation_matched", "QQP/validation", "RTE/validation", "CB/validation", "COPA/validation",
             "BoolQ/validation", "MultiRC/validation", "WiC/validation", "WSC/validation"]
    found = {f"{f}.jsonl": set().union(*(strings(r) for r in jsonl(f"{folder}/{f}.jsonl"))) for f in files}
    with open(f"{folder}/SQuAD2.0/dev-v2.0.json", encoding="utf8") as f:
        paragraphs = [p for article in json.load(f)["data"] for p in article["paragraphs"]]
    found["SQuAD2.0/dev-v2.0.json"] = {p["context"] for p in paragraphs} | {q["question"] for p in paragraphs for q in p["qas"]}
    return found


def main():
    a = argparse.ArgumentParser()
    a.add_argument("corpus")
    a.add_argument("tasks")
    a.add_argument("--out")
    args = a.parse_args()
    files = {name: [g for g in map(grams, texts) if g] for name, texts in validation(args.tasks).items()}
    wanted = {h for texts in files.values() for g in texts for h in g}
    kept, dropped = train_rows(args.tasks)
    seen = {"corpus": set(), "rows": set()}
    for doc in documents(args.corpus):
        seen["corpus"].update(h for h in grams(doc) if h in wanted)
    for rows in kept.values():
        for text, _ in rows:
            seen["rows"].update(h for h in grams(text) if h in wanted)
    train_keys = {key(text) for rows in kept.values() for text, _ in rows}
    same = {VALIDATION[t][0]: sum(key(text) in train_keys for text in {x for x, _ in rows})
            for t, rows in task_rows(args.tasks, VALIDATION).items()}
    report = {"n": N, "droppedRows": dropped, "files": {}}
    for name, texts in files.items():
        r = {"texts": len(texts)}
        for where, hashes in seen.items():
            shares = [sum(h in hashes for h in g) / len(g) for g in texts]
            r[where] = {"any": sum(s > 0 for s in shares), "majority": sum(s > 0.5 for s in shares)}
        if name in same:
            r["equalRows"] = same[name]
        report["files"][name] = r
        print(name, r, flush=True)
    if args.out:
        with open(args.out, "w") as f:
            json.dump(report, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
