#!/usr/bin/env python3
"""Corpus and task files in; tokenizer and token arrays for pretrain.py out.

  prepare.py CORPUS_DIR TASK_DIR OUT_DIR

In:   CORPUS_DIR/*.jsonl    {"text": ...}, one document a line
      TASK_DIR/             MNLI/, QQP/, SST-2/, SQuAD2.0/ : only their *train* files are used for training text;
                            the validation files are opened only to drop training rows that equal one of their rows
Out:  OUT_DIR/tokenizer.json, tokenizer_config.json, special_tokens_map.json   Unigram, T5's special tokens, 100 sentinels
      OUT_DIR/corpus.npy    uint16 token stream, </s> after each document
      OUT_DIR/held.npy      the same for documents held out of training (every 100th)
      OUT_DIR/pairs.npz     for each task: uint16 inputs (without the task word) and targets, flat, with offsets
      OUT_DIR/prepare.json  counts, for the model card
"""
import argparse
import glob
import json
import os
import random

import numpy as np
import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SPECIAL = ["<pad>", "</s>", "<unk>"]
SENTINELS = [f"<extra_id_{i}>" for i in range(100)]
SENTIMENT = ["negative", "positive"]
SAME = ["not_duplicate", "duplicate"]


def jsonl(path):
    with open(path, encoding="utf8") as f:
        for line in f:
            yield json.loads(line)


def documents(folder):
    for path in sorted(glob.glob(f"{folder}/*.jsonl")):
        for row in jsonl(path):
            yield row["text"]


def squad(path):
    with open(path, encoding="utf8") as f:
        articles = json.load(f)["data"]
    for article in articles:
        for p in article["paragraphs"]:
            for q in p["qas"]:
                answer = q["answers"][0]["text"] if q.get("answers") else "no answer"
                yield f"question: {q['question']} context: {p['context']}", answer


def mnli(path):
    for r in jsonl(path):
        yield f"hypothesis: {r['hypothesis']} premise: {r['premise']}", r["label"]


def qqp(path):
    for r in jsonl(path):
        yield f"question1: {r['question1']} question2: {r['question2']}", SAME[int(r["label"])]


def sst2(path):
    for r in jsonl(path):
        yield f"sentence: {r['sentence']}", SENTIMENT[int(r["label"])]


READERS = {"mnli": mnli, "qqp": qqp, "sst2": sst2, "squad": squad}
TRAIN = {
    "mnli": ["MNLI/train.jsonl", "MNLI/train_extra_noperiods.jsonl"],
    "qqp": ["QQP/train.jsonl"],
    "sst2": ["SST-2/train.jsonl"],
    "squad": ["SQuAD2.0/train-v2.0.first10articles.json", "SQuAD2.0/train-v1.1.extra34articles.json"],
}
VALIDATION = {
    "mnli": ["MNLI/validation_matched.jsonl"],
    "qqp": ["QQP/validation.jsonl"],
    "sst2": ["SST-2/validation.jsonl"],
    "squad": ["SQuAD2.0/dev-v2.0.json"],
}


def key(text):
    """A text as its lower-case letters and digits: what "the same row" means when rows are dropped."""
    return "".join(c for c in text.lower() if c.isalnum())


def task_rows(folder, files):
    return {task: [row for name in names for row in READERS[task](f"{folder}/{name}")] for task, names in files.items()}


def train_rows(folder):
    """The supervised rows by task, without those that equal a validation row; and how many were dropped."""
    seen = {task: {key(text) for text, _ in rows} for task, rows in task_rows(folder, VALIDATION).items()}
    kept, dropped = {}, {}
    for task, rows in task_rows(folder, TRAIN).items():
        kept[task] = [row for row in rows if key(row[0]) not in seen[task]]
        dropped[task] = len(rows) - len(kept[task])
    return kept, dropped


def train_tokenizer(texts, vocab):
    """Unigram as T5's: no normalizer, split at white space, '▁' in front of each word; the sentinels take the last 100 ids.

    There is no normalizer because transformers 5 rebuilds a T5 tokenizer without one: so every reader sees the same text.
    """
    tok = Tokenizer(models.Unigram())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")])
    trainer = trainers.UnigramTrainer(vocab_size=vocab - len(SENTINELS), special_tokens=SPECIAL, unk_token="<unk>",
                                      shrinking_factor=0.75, max_piece_length=16, show_progress=False)
    tok.train_from_iterator(texts, trainer)
    pieces = [tuple(p) for p in json.loads(tok.to_str())["model"]["vocab"]]
    assert [p for p, _ in pieces[:3]] == SPECIAL and len(pieces) == vocab - len(SENTINELS), len(pieces)
    tok.model = models.Unigram(pieces + [(s, 0.0) for s in reversed(SENTINELS)], 2, False)
    tok.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL + SENTINELS[::-1]])
    tok.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tok.token_to_id("</s>"))])
    return tok


def write_tokenizer(tok, out):
    tok.save(f"{out}/tokenizer.json")
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "additional_special_tokens": SENTINELS}
    with open(f"{out}/special_tokens_map.json", "w") as f:
        json.dump(names, f, indent=1)
    with open(f"{out}/tokenizer_config.json", "w") as f:
        json.dump({"tokenizer_class": "T5TokenizerFast", "model_max_length": 512, "extra_ids": 100,
                   "clean_up_tokenization_spaces": False, **names}, f, indent=1)


def encode_stream(tok, docs):
    eos = tok.token_to_id("</s>")
    parts = []
    for i in range(0, len(docs), 2000):
        for e in tok.encode_batch(docs[i:i + 2000], add_special_tokens=False):
            parts.append(np.array(e.ids + [eos], dtype=np.uint16))
    return np.concatenate(parts)


def flat(encodings):
    return (np.concatenate([np.array(e.ids, dtype=np.uint16) for e in encodings]),
            np.cumsum([0] + [len(e.ids) for e in encodings]))


def main():
    a = argparse.ArgumentParser()
    a.add_argument("corpus")
    a.add_argument("tasks")
    a.add_argument("out")
    a.add_argument("--vocab", type=int, default=8192, help="all ids, special tokens and sentinels included")
    a.add_argument("--tokenizer-docs", type=int, default=9000, help="documents (their first 3,000 characters) the tokenizer sees")
    a.add_argument("--seed", type=int, default=0)
    args = a.parse_args()
    os.makedirs(args.out, exist_ok=True)
    rng = random.Random(args.seed)
    docs = list(documents(args.corpus))
    rng.shuffle(docs)
    held, docs = docs[::100], [d for i, d in enumerate(docs) if i % 100]
    rows, dropped = train_rows(args.tasks)
    counts = {"seed": args.seed, "tokenizers": tokenizers.__version__, "documents": len(docs), "characters": sum(map(len, docs)),
              "heldDocuments": len(held), "rows": {t: len(r) for t, r in rows.items()}, "droppedRows": dropped}
    print(counts, flush=True)

    sample = [d[:3000] for d in docs[:args.tokenizer_docs]]
    for task, few in (("mnli", 4000), ("qqp", 4000), ("sst2", 20000), ("squad", 1000)):
        sample += [f"{task} {text}" for text, _ in rng.sample(rows[task], few)] 
    tok = train_tokenizer(sample, args.vocab)
    write_tokenizer(tok, args.out)
    print("tokenizer written", tok.encode("sst2 sentence: a charming journey").tokens, flush=True)

    arrays = {}
    for task, pairs in rows.items():
        arrays[f"{task}_x"], arrays[f"{task}_xo"] = flat(tok.encode_batch([x for x, _ in pairs], add_special_tokens=False))
        arrays[f"{task}_y"], arrays[f"{task}_yo"] = flat(tok.encode_batch([y for _, y in pairs]))
    np.savez(f"{args.out}/pairs.npz", **arrays)
    np.save(f"{args.out}/held.npy", encode_stream(tok, held))
    stream = encode_stream(tok, docs)
    np.save(f"{args.out}/corpus.npy", stream)
    counts |= {"corpusTokens": len(stream), "rowTokens": {t: len(arrays[f"{t}_x"]) for t in rows}}
    with open(f"{args.out}/prepare.json", "w") as f:
        json.dump(counts, f, indent=1)
    print(counts, flush=True)


if __name__ == "__main__":
    main()
