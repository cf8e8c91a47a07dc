#!/usr/bin/env python3
"""Corpus, task files and tokenizer in; one folder of compressed token ids out, small enough to copy to a GPU machine.

  pack.py CORPUS.jsonl.xz TASK_DIR TOKENIZER_DIR OUT_DIR [--budget-mib 48]

In:   CORPUS         {"text", "source"}, one document a line
      TASK_DIR       MNLI/, QQP/, SST-2/, SQuAD2.0/: their *train* files are the supervised rows; the validation files of all
                     folders are read only to drop training text that overlaps them, and for the evaluation rows
      TOKENIZER_DIR  tokenizer.json, tokenizer_config.json, special_tokens_map.json (models/t5-nano's)
Out:  OUT_DIR/corpus.00.xz ...   uint16 (big-endian) token stream, </s> after each document, in 16 pieces to unpack in parallel
      OUT_DIR/rows.xz            an npz: supervised rows, evaluation rows, the held-out documents' token stream
      OUT_DIR/meta.json          ids of the task words and answers, counts, sha256 of each file
      OUT_DIR/tokenizer*.json, special_tokens_map.json
Needs numpy and tokenizers. If the whole does not fit the budget, documents of the largest source are left out.
"""
import argparse
import glob
import hashlib
import io
import json
import lzma
import os
import random
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tokenizers import Tokenizer

SHARDS, EOS = 16, 1
LABELS = {"sst2": ["negative", "positive"], "mnli": ["entailment", "neutral", "contradiction"], "qqp": ["not_duplicate", "duplicate"]}
WORDS = ["sst2", "mnli", "qqp", "squad", "opposite"]
LONGEST = 250                       # of a task row's input, without its task word and </s>
GRAM, SHORT = 10, 5                 # words: corpus paragraphs are compared by 10-grams, task rows by 5-grams
XZ = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 3, "lp": 1, "pb": 1, "dict_size": 1 << 24}]
REST = "wikipedia_core"             # the source that gives way when the budget is short


def jsonl(path):
    with open(path, encoding="utf8") as f:
        return [json.loads(line) for line in f]


# ---- the supervised rows: (fields to compare, input without its task word, answer)

def mnli(path):
    for r in jsonl(path):
        yield (r["premise"], r["hypothesis"]), f"hypothesis: {r['hypothesis']} premise: {r['premise']}", r["label"]


def qqp(path):
    for r in jsonl(path):
        yield (r["question1"], r["question2"]), f"question1: {r['question1']} question2: {r['question2']}", LABELS["qqp"][int(r["label"])]


def sst2(path):
    for r in jsonl(path):
        yield (r["sentence"],), f"sentence: {r['sentence']}", LABELS["sst2"][int(r["label"])]


def squad(path):
    with open(path, encoding="utf8") as f:
        for article in json.load(f)["data"]:
            for p in article["paragraphs"]:
                for q in p["qas"]:
                    answer = q["answers"][0]["text"] if q.get("answers") else "no answer"
                    yield (q["question"], p["context"]), f"question: {q['question']} context: {p['context']}", answer


TRAIN = {"mnli": (mnli, ["MNLI/train.jsonl", "MNLI/train_extra_noperiods.jsonl"]), "qqp": (qqp, ["QQP/train.jsonl"]),
         "sst2": (sst2, ["SST-2/train.jsonl"]),
         "squad": (squad, ["SQuAD2.0/train-v2.0.first10articles.json", "SQuAD2.0/train-v1.1.extra34articles.json"])}
EVAL = {"mnli": (mnli, "MNLI/validation_matched.jsonl", 2000), "qqp": (qqp, "QQP/validation.jsonl", 2000),
        "sst2": (sst2, "SST-2/validation.jsonl", 2000)}
# Files whose texts must not be in any training text: all validation files, and whole tasks that are never trained on.
NEVER = ["*/validation*.jsonl", "SQuAD2.0/dev*.json", "RTE/*.jsonl", "CB/*.jsonl", "COPA/*.jsonl", "WiC/*.jsonl", "WSC/*.jsonl",
         "BoolQ/*.jsonl", "MultiRC/*.jsonl", "ReCoRD/*.jsonl"]


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from strings(v)


def never_texts(folder):
    """Every string in those files, once."""
    texts = {}
    for pattern in NEVER:
        for path in sorted(glob.glob(f"{folder}/{pattern}")):
            if path.endswith(".json"):
                with open(path, encoding="utf8") as f:
                    rows = json.load(f)["data"]
            else:
                rows = jsonl(path)
            for s in strings(rows):
                texts.setdefault(s)
    return list(texts)


# ---- overlap

word = re.compile(r"[a-z0-9]+").findall


class Grams:
    """n-grams of words of some texts, as 64-bit hashes; words that none of the texts has cannot match."""

    def __init__(self, texts, n):
        self.n, self.ids, found = n, {}, []
        rng = np.random.default_rng(5)
        self.mul = rng.integers(1, 2**63, size=n, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self.of = []
        for t in texts:
            for w in word(t.lower()):
                self.ids.setdefault(w, len(self.ids) + 1)
        self.scramble = rng.integers(1, 2**63, size=len(self.ids) + 1, dtype=np.uint64)
        self.scramble[0] = 0
        for i, t in enumerate(texts):
            h = self.hashes(t)
            found.append(h)
            self.of.append(np.full(len(h), i, dtype=np.int32))
        self.count = np.array([len(h) for h in found])
        flat, of = np.concatenate(found), np.concatenate(self.of)
        order = np.argsort(flat, kind="stable")
        self.keys, self.of = flat[order], of[order]

    def hashes(self, text):
        get = self.ids.get
        w = self.scramble[np.array([get(x, 0) for x in word(text.lower())], dtype=np.int64)]
        if len(w) < self.n:
            return np.zeros(0, dtype=np.uint64)
        m = len(w) - self.n + 1
        h = np.zeros(m, dtype=np.uint64)
        known = np.ones(m, dtype=bool)
        for k in range(self.n):
            part = w[k:k + m]
            h += part * self.mul[k]
            h ^= h >> np.uint64(29)
            known &= part != 0
        return np.where(known, h, 0)

    def any(self, text):
        h = self.hashes(text)
        at = np.searchsorted(self.keys, h).clip(max=len(self.keys) - 1)
        return bool(((self.keys[at] == h) & (h != 0)).any())

    def near(self, text):
        """Does the text share most of its grams, or most of theirs, with one of the texts?"""
        h = np.unique(self.hashes(text))
        lo, hi = np.searchsorted(self.keys, h), np.searchsorted(self.keys, h, side="right")
        hit = np.flatnonzero((hi > lo) & (h != 0))
        if not len(hit):
            return False
        who = np.concatenate([np.unique(self.of[lo[i]:hi[i]]) for i in hit])
        best, hits = np.unique(who, return_counts=True)
        theirs, ours = self.count[best], len(h)
        return bool(((hits >= np.maximum(3, 0.5 * np.minimum(theirs, ours))) | ((theirs <= 3) & (hits >= theirs))).any())


def key(text):
    return "".join(c for c in text.lower() if c.isalnum())


# ---- tokens

class Fast:
    """The tokenizer, word by word with a memory: it splits at white space, so a text's ids are its words' ids."""

    def __init__(self, path):
        self.tok = Tokenizer.from_file(path)
        self.seen = {}
        self.odd = re.compile("[\x1c-\x1f\x85\ufeff]|<extra_id_|</s>|<pad>|<unk>")  # where Python's split or the added tokens differ

    def stream(self, texts):
        words = set()
        for t in texts:
            words.update(t.split())
        new = [w for w in words if w not in self.seen]
        for i in range(0, len(new), 50000):
            part = new[i:i + 50000]
            for w, e in zip(part, self.tok.encode_batch(part, add_special_tokens=False)):
                self.seen[w] = e.ids
        seen, out = self.seen, []
        for t in texts:
            if self.odd.search(t):
                ids = self.tok.encode(t, add_special_tokens=False).ids
            else:
                ids = [i for w in t.split() for i in seen[w]]
            out.append(np.array(ids + [EOS], dtype=np.uint16))
        return out

    def rows(self, texts, eos):
        return [e.ids + [EOS] * eos for i in range(0, len(texts), 20000)
                for e in self.tok.encode_batch(texts[i:i + 20000], add_special_tokens=False)]


def flat(rows):
    return (np.array([i for r in rows for i in r], dtype=np.uint16), np.array([len(r) for r in rows], dtype=np.uint16))


def xz(raw):
    return lzma.compress(raw, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=XZ)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("corpus")
    a.add_argument("tasks")
    a.add_argument("tokenizer")
    a.add_argument("out")
    a.add_argument("--budget-mib", type=float, default=48, help="of the whole folder")
    a.add_argument("--docs", type=int, default=0, help="only so many documents: for a quick trial")
    args = a.parse_args()
    start = time.time()
    say = lambda *s: print(f"[{time.time() - start:5.0f} s]", *s, flush=True)
    os.makedirs(args.out, exist_ok=True)
    for old in glob.glob(f"{args.out}/corpus.*.xz"):
        os.remove(old)
    fast = Fast(f"{args.tokenizer}/tokenizer.json")
    meta = {"made": "pack.py", "eos": EOS, "sentinel0": fast.tok.token_to_id("<extra_id_0>"), "vocab": fast.tok.get_vocab_size(),
            "words": {w: fast.tok.encode(w, add_special_tokens=False).ids for w in WORDS},
            "labels": {t: [fast.tok.encode(w).ids for w in ls] for t, ls in LABELS.items()}}

    texts = never_texts(args.tasks)
    five, ten = Grams(texts, SHORT), Grams(texts, GRAM)
    say(f"{len(texts)} texts of validation files and untrained tasks")

    arrays, rows = {}, {}
    held_out = {t: {key(x) for _, x, _ in read(f"{args.tasks}/{name}")} for t, (read, name, _) in EVAL.items()}
    for task, (read, names) in TRAIN.items():
        kept, seen, c = [], set(), {"read": 0, "repeated": 0, "equal": 0, "near": 0, "long": 0}
        memo = {}
        for name in names:
            for fields, text, answer in read(f"{args.tasks}/{name}"):
                c["read"] += 1
                k = key(text) + answer
                if k in seen:
                    c["repeated"] += 1
                elif key(text) in held_out.get(task, ()):
                    c["equal"] += 1
                elif any(memo[f] if f in memo else memo.setdefault(f, five.near(f)) for f in fields):
                    c["near"] += 1
                else:
                    seen.add(k)
                    kept.append((text, answer))
        x, y = fast.rows([t for t, _ in kept], 0), fast.rows([w for _, w in kept], 1)
        both = [(p, q) for p, q in zip(x, y) if len(p) <= LONGEST and len(q) <= 40]
        c["long"] = len(kept) - len(both)
        c["kept"] = len(both)
        arrays[f"{task}_x"], arrays[f"{task}_xn"] = flat([p for p, _ in both])
        arrays[f"{task}_y"], arrays[f"{task}_yn"] = flat([q for _, q in both])
        c["inputTokens"], c["targetTokens"] = len(arrays[f"{task}_x"]), len(arrays[f"{task}_y"])
        rows[task] = c
        say(task, c)
    for task, (read, name, most) in EVAL.items():
        found = [(text, LABELS[task].index(answer)) for _, text, answer in read(f"{args.tasks}/{name}")][:most]
        arrays[f"eval_{task}_x"], arrays[f"eval_{task}_xn"] = flat(fast.rows([t for t, _ in found], 0))
        arrays[f"eval_{task}_y"] = np.array([g for _, g in found], dtype=np.uint8)
        rows[task]["evaluationRows"] = len(found)
    meta["rows"] = rows

    with lzma.open(args.corpus, "rt", encoding="utf8") as f:
        docs = [(d["text"], d["source"].split("/")[0].split(":")[0]) for d in map(json.loads, f)]
    random.Random(0).shuffle(docs)  # as models/t5-nano/make/prepare.py does: the same documents are held out
    held, docs = docs[::100], [d for i, d in enumerate(docs) if i % 100]
    if args.docs:
        docs = docs[:args.docs]
    dropped, clean, read = 0, [], 0
    for text, source in docs:
        read += len(text)
        parts = text.split("\n\n")
        good = [p for p in parts if not ten.any(p)]
        dropped += len(parts) - len(good)
        if good:
            clean.append(("\n\n".join(good), source))
    say(f"{len(docs)} documents, {read / 1e6:.1f} M characters; {dropped} paragraphs dropped for a shared 10-gram")
    arrays["held"] = np.concatenate(fast.stream([t for t, _ in held]))
    tokens = fast.stream([t for t, _ in clean])
    for i in range(0, len(clean), max(1, len(clean) // 50)):  # the memory gives what the tokenizer gives
        assert fast.tok.encode(clean[i][0], add_special_tokens=False).ids + [EOS] == tokens[i].tolist()
    all_tokens = sum(map(len, tokens))
    say(f"{all_tokens} tokens, {len(fast.seen)} distinct words")

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with open(f"{args.out}/rows.xz", "wb") as f:
        f.write(xz(buffer.getvalue()))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(f"{args.tokenizer}/{name}", args.out)
    used = sum(os.path.getsize(p) for p in glob.glob(f"{args.out}/*") if not p.endswith("meta.json")) + 20000
    room = args.budget_mib * 2**20 - used
    say(f"rows, held-out text and tokenizer: {used / 2**20:.2f} MiB; room for {room / 2**20:.2f} MiB of corpus")

    # The order of documents is random, so the first half of the shards tells how many bytes a token takes.
    def shards(lengths_of):
        cut = np.linspace(0, len(lengths_of), SHARDS + 1).astype(int)
        return [np.concatenate([tokens[i] for i in lengths_of[p:q]]).byteswap().tobytes() for p, q in zip(cut, cut[1:])]

    keep = list(range(len(clean)))
    packed, rate = None, 0.985  # bytes a token, at first
    with ThreadPoolExecutor(2) as pool:
        for attempt in range(4):
            allowed = room / rate
            rest = [i for i in range(len(clean)) if clean[i][1].startswith(REST)]
            total, drop = all_tokens, set()
            for i in reversed(rest):
                if total <= allowed:
                    break
                drop.add(i)
                total -= len(tokens[i])
            keep = [i for i in range(len(clean)) if i not in drop]
            packed = list(pool.map(xz, shards(keep)))
            size = sum(map(len, packed))
            say(f"{len(keep)} documents, {total} tokens -> {size / 2**20:.2f} MiB, {8 * size / total:.3f} bits a token")
            if size <= room and (not drop or size > 0.985 * room):
                break
            rate = size / total * 1.002
    assert size <= room
    for i, b in enumerate(packed):
        with open(f"{args.out}/corpus.{i:02d}.xz", "wb") as f:
            f.write(b)
    by_source = {}
    for i in keep:
        n = by_source.setdefault(clean[i][1], [0, 0, 0])
        n[0] += 1
        n[1] += len(clean[i][0])
        n[2] += len(tokens[i])
    meta["corpus"] = {
        "documents": len(keep), "tokens": total, "documentsLeftOut": len(clean) - len(keep), "tokensLeftOut": all_tokens - total,
        "paragraphsDroppedForOverlap": dropped, "heldOutDocuments": len(held), "heldOutTokens": len(arrays["held"]),
        "sources": {s: {"documents": n[0], "characters": n[1], "tokens": n[2]} for s, n in sorted(by_source.items())}}
    names = sorted(os.path.basename(p) for p in glob.glob(f"{args.out}/*") if not p.endswith("meta.json"))
    meta["sha256"] = {n: hashlib.sha256(open(f"{args.out}/{n}", "rb").read()).hexdigest() for n in names}
    with open(f"{args.out}/meta.json", "w") as f:
        json.dump(meta, f, indent=1)
    whole = sum(os.path.getsize(p) for p in glob.glob(f"{args.out}/*"))
    say(f"{args.out}: {whole / 2**20:.2f} MiB in {len(names) + 1} files")
    assert whole <= args.budget_mib * 2**20


if __name__ == "__main__":
    main()
