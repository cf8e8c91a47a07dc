#!/usr/bin/env python3
"""A model folder and validation files in; label-ranking accuracy with the right task word and without any out (JSON).

  evaluate.py MODEL_DIR TASK_DIR [--data DATA_DIR] [--rows N] [--out scores.json]

Each label is scored by the summed log-probability of its tokens (</s> included) given the input; the best one is the answer.
"told": the template with its task word ("sst2 sentence: ..."); "untold": the same template without it ("sentence: ...").
With --data, also the held-out span-corruption loss on DATA_DIR/held.npy.
"""
import argparse
import json

import numpy as np
import torch

from prepare import SAME, SENTIMENT, VALIDATION, task_rows

LABELS = {"sst2": SENTIMENT, "mnli": ["entailment", "neutral", "contradiction"], "qqp": SAME}


def padded(rows, fill):
    width = max(map(len, rows))
    return torch.tensor([list(r) + [fill] * (width - len(r)) for r in rows])


@torch.no_grad()
def rank(model, inputs, labels, batch=64):
    """For each input (token ids) the index of the label (token ids) with the highest summed log-probability."""
    order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))
    best = [0] * len(inputs)
    n = len(labels)
    for at in range(0, len(order), batch):
        rows = order[at:at + batch]
        x = padded([inputs[i] for i in rows], 0)
        mask = (x != 0).long()
        states = model.encoder(input_ids=x, attention_mask=mask).last_hidden_state
        y = padded(labels, -100).repeat(len(rows), 1)
        logits = model(encoder_outputs=(states.repeat_interleave(n, 0),), attention_mask=mask.repeat_interleave(n, 0), labels=y).logits
        logp = torch.log_softmax(logits.float(), -1).gather(-1, y.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        scores = logp.masked_fill(y < 0, 0).sum(-1).view(len(rows), n)
        for i, b in zip(rows, scores.argmax(-1).tolist()):
            best[i] = b
    return best


def accuracies(model, encode, tasks, limit=None):
    """{task: {rows, told, untold, majority}} on the validation files, or on their first `limit` rows."""
    model.eval()
    found = {}
    for task, words in LABELS.items():
        rows = task_rows(tasks, {task: VALIDATION[task]})[task][:limit]
        gold = [words.index(label) for _, label in rows]
        labels = [encode(w) for w in words]
        score = lambda prefix: sum(
            a == b for a, b in zip(rank(model, [encode(prefix + text) for text, _ in rows], labels), gold)) / len(rows)
        found[task] = {"rows": len(rows), "told": score(task + " "), "untold": score(""),
                       "majority": max(map(gold.count, set(gold))) / len(rows)}
    return found


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("tasks")
    a.add_argument("--data")
    a.add_argument("--rows", type=int)
    a.add_argument("--out")
    args = a.parse_args()
    from transformers import AutoTokenizer, T5ForConditionalGeneration
    tok = AutoTokenizer.from_pretrained(args.model)
    model = T5ForConditionalGeneration.from_pretrained(args.model, dtype=torch.float32).eval()
    found = accuracies(model, lambda s: tok(s).input_ids, args.tasks, args.rows)
    if args.data:
        from pretrain import held_loss
        found["heldSpanLoss"] = held_loss(model, np.load(f"{args.data}/held.npy"), 512)
    text = json.dumps(found, indent=1)
    print(text)
    if args.out:
        with open(args.out, "w") as f:
            f.write(text + "\n")


if __name__ == "__main__":
    main()
