#!/usr/bin/env python3
"""The log of pretrain_gpu.py in; the loss curve and the accuracies as one SVG picture out, drawn as t5-nano's. Needs no package.

  plot.py log.jsonl ../loss.svg
"""
import importlib.util
import os
import sys

# by its path: it has this file's name
nano = importlib.util.spec_from_file_location("nano_plot", os.path.join(os.path.dirname(__file__), "../../t5-nano/make/plot.py"))
plot = importlib.util.module_from_spec(nano)
nano.loader.exec_module(plot)


def main(log, picture):
    records = plot.records_of(log)
    start = next(r["at"] for r in records if r.get("event") == "training")
    at = lambda pick: [((r["at"] - start) / 60, pick(r)) for r in records if r["at"] >= start and pick(r) is not None]
    checkpoint = lambda pick: at(lambda r: pick(r) if r.get("event") == "checkpoint" else None)
    losses = {"held-out spans": checkpoint(lambda r: r["held140"]), "training spans": at(lambda r: r.get("span"))}
    scores = {}
    for task in ("sst2", "mnli"):
        for i, kind in enumerate((task, f"{task}, no prefix")):
            scores[kind] = checkpoint(lambda r: r[task][i])
    plot.draw(picture, "minutes of training on one H100", losses, scores)


if __name__ == "__main__":
    main(*sys.argv[1:])
