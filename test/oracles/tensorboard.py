#!/usr/bin/env python3
"""Scalars as TensorBoard's own writer stores them: the bytes that src/report/tensorboard.ts has to write, and the reader's answer.

  tensorboard.py write OUT             an event file with known scalars (test/fixtures/tensorboard/scalars.tfevents)
  tensorboard.py check RUN [RUN …]     run folders: what TensorBoard's EventAccumulator reads must be what metrics.jsonl says

tensorboard 2.21.0 (pip install tensorboard).
"""
import json
import math
import sys
from pathlib import Path

sys.path.pop(0)  # this file has the package's name
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.compat.proto.event_pb2 import Event  # noqa: E402
from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: E402
from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: E402

# tag, step, value, wall time: step 0, steps whose varint takes one, two and six bytes, text beyond ASCII, NaN, infinity, −0
SCALARS = [("train/loss", 0, 2.5, 1763722800.125), ("train/loss", 127, -0.0, 1763722801.0), ("é/√", 128, 1e-30, 1763722802.5),
           ("validation/accuracy", 300, math.nan, 1763722803.0), ("x", 2**40, math.inf, 1763722804.0), ("x", 2**40 + 1, 0.1, 1763722805.0)]


def write(out):
    with open(out, "wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=SCALARS[0][3], file_version="brain.Event:2").SerializeToString())
        for tag, step, value, time in SCALARS:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.write(Event(wall_time=time, step=step, summary=summary).SerializeToString())
        writer.flush()


def expected(run):
    """Tag → [(step, value)] as metrics.jsonl has them."""
    out = {}
    for line in (run / "metrics.jsonl").read_text("utf8").splitlines():
        e = json.loads(line)
        if e["kind"] == "step":
            found = {"train/loss": e["loss"], "train/learningRate": e["learningRate"], "train/gradientNorm": e["gradientNorm"],
                     "train/tokensPerSecond": e["tokens"] / e["seconds"]}
        elif e["kind"] == "eval":
            found = {"validation/loss": e["loss"], **{f"validation/{k}": v for k, v in e["scores"].items()}}
        else:
            continue
        for tag, value in found.items():
            out.setdefault(tag, []).append((e["step"], math.nan if value is None else value))
    return out


def check(run):
    board = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    want = expected(run)
    assert sorted(board.Tags()["scalars"]) == sorted(want), (board.Tags()["scalars"], sorted(want))
    points = 0
    for tag, values in want.items():
        got = [(s.step, s.value) for s in board.Scalars(tag)]
        assert [s for s, _ in got] == [s for s, _ in values], f"{run}: steps of {tag}"
        for (step, a), (_, b) in zip(got, values):
            assert (math.isnan(a) and math.isnan(b)) or abs(a - b) <= 1e-6 * abs(b), f"{run}: {tag} at {step}: {a} for {b}"
        points += len(values)
    print(f"{run}: {len(want)} tags, {points} points, as metrics.jsonl")


if sys.argv[1] == "write":
    write(sys.argv[2])
else:
    for name in sys.argv[2:]:
        check(Path(name))
