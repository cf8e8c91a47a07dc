#!/usr/bin/env python3
"""A packed folder in; a pretrained small T5 v1.1 in pieces out, within a wall-clock budget, on a GPU machine that is at hand for a short time.

  pretrain_gpu.py PACK_DIR --out OUT_DIR --seconds 470 --limit 580      the real run
  pretrain_gpu.py PACK_DIR --out OUT_DIR --resume FOLDER ...            weights of an earlier run (pieces, or its --keep folder)
  pretrain_gpu.py PACK_DIR --out OUT_DIR --smoke                        everything at a tiny size on a CPU, in half a minute

In:   PACK_DIR   what pack.py wrote
Out:  OUT_DIR/model-a.part-00 ..., model-b.part-00 ...   bf16 safetensors cut in pieces of at most 15 MiB; each piece carries its
                 sha256, the configuration and the scores. The two sets are written in turn, so one is whole at any time.
      OUT_DIR/log.jsonl, and after a clean end config.json, generation_config.json, scores.json; 8 files at most at any time
      KEEP (--keep) state.pt: float32 weights and optimizer state, to go on with on the same machine
join.py puts the pieces together.

The process that is started only supervises: the run is a child, started again without torch.compile and from the last whole
set if it dies or stops answering. --limit counts from the start of the supervisor and is kept whatever happens.
"""
import argparse
import copy
import ctypes
import glob
import hashlib
import io
import json
import lzma
import math
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import numpy as np  # torch is imported later, after the data workers are forked

BORN = float(os.environ.get("T5_MINI_BORN", time.time()))
EOS, NOISE, SPAN = 1, 0.15, 3
PIECE = 14 * 2**20
MAGIC = b"T5PIECE1"

# What the task rows of a step are made of. `tokens`: the tasks' shares of the task rows' tokens; `weight`: of the answers' loss.
TASKS = {"mnli": {"tokens": 0.42, "weight": 0.4}, "sst2": {"tokens": 0.24, "weight": 0.25},
         "qqp": {"tokens": 0.14, "weight": 0.2}, "squad": {"tokens": 0.20, "weight": 0.15}}
# What is asked of a task row. told: "<task> <template>" -> answer. denoise: the bare template, corrupted -> its spans.
# opposite: "opposite <template>" -> the other label (mnli: entailment and contradiction change places).
# open: the bare template -> any label at random: an input that does not say which task is meant leaves it open.
TOLD = {"told": 0.86, "denoise": 0.14}
MIXED = {"told": 0.60, "opposite": 0.14, "open": 0.14, "denoise": 0.12}
# By the part of the time that is gone. `rows`: the share of a step's rows that hold packed task rows, the rest being corpus.
PHASES = [{"until": 0.35, "rows": 0.055, "kinds": {"sst2": TOLD, "mnli": TOLD, "qqp": TOLD, "squad": {"told": 1.0}}},
          {"until": 9.0, "rows": 0.15, "kinds": {"sst2": MIXED, "mnli": MIXED, "qqp": MIXED, "squad": {"told": 1.0}}}]


# ---- data (numpy only)

def unpack(folder, most_tokens=0, corpus=True):
    """meta, rows (npz arrays) and the corpus stream. lzma lets go of the interpreter's lock, so threads are enough."""
    with open(f"{folder}/meta.json") as f:
        meta = json.load(f)

    def one(name):
        with open(f"{folder}/{name}", "rb") as f:
            raw = f.read()
        if hashlib.sha256(raw).hexdigest() != meta["sha256"][name]:
            raise SystemExit(f"{name} is damaged: its sha256 is not what meta.json says")
        return lzma.decompress(raw)

    shards = sorted(n for n in meta["sha256"] if n.startswith("corpus.")) if corpus else []
    if most_tokens:
        shards = shards[:max(1, math.ceil(len(shards) * most_tokens / meta["corpus"]["tokens"]))]
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        raw = list(pool.map(one, [*shards, "rows.xz"]))
    arrays = np.load(io.BytesIO(raw.pop()))
    arrays = {k: arrays[k] for k in arrays.files}
    stream = np.concatenate([np.frombuffer(b, dtype=">u2").astype(np.uint16) for b in raw]) if raw else None
    return meta, arrays, stream


def cuts(rng, rows, total, parts):
    """[rows, parts] positive integers; each row sums to total, every such split equally likely."""
    marks = np.argsort(rng.random((rows, total - 1)), axis=1)[:, :parts - 1] + 1
    marks = np.sort(marks, axis=1)
    edge = np.ones((rows, 1), dtype=marks.dtype)
    return np.diff(np.concatenate([0 * edge, marks, total * edge], axis=1), axis=1)


def corrupted_lengths(length):
    """Input and target length of a corrupted window of so many tokens, </s> included."""
    noise = max(1, round(length * NOISE))
    spans = max(1, round(noise / SPAN))
    return length - noise + spans + 1, noise + spans + 1


def corrupt(rng, rows, sentinel0):
    """Span corruption of equally long token rows [n, length] -> inputs and targets, equally long too."""
    n, length = rows.shape
    noise = max(1, round(length * NOISE))
    spans = max(1, round(noise / SPAN))
    lengths = np.stack([cuts(rng, n, length - noise, spans), cuts(rng, n, noise, spans)], axis=2).reshape(n, -1)
    ends = np.cumsum(lengths, axis=1)[:, :-1]          # kept, masked, kept, masked, ...
    marks = np.zeros((n, length), dtype=np.int32)
    marks[np.arange(n)[:, None], ends] = 1
    segment = np.cumsum(marks, axis=1, dtype=np.int32)
    masked = segment % 2 == 1
    first = masked & (marks == 1)
    sentinel = sentinel0 - segment // 2
    tail = np.full((n, 1), EOS)
    inputs = np.where(first, sentinel, rows)[~masked | first].reshape(n, -1)
    # the target is, span by span, its sentinel and its tokens: put each sentinel in front of its span's first token
    pairs = np.stack([sentinel, rows], axis=2)
    targets = pairs[np.stack([first, masked], axis=2)].reshape(n, -1)
    return np.concatenate([inputs, tail], axis=1), np.concatenate([targets, tail], axis=1)


class Data:
    """Batches of [rows] encoder rows of `enc` tokens and decoder rows of `dec`, as one int16 array and one of weights.

    A row is a corrupted corpus window, or task rows packed one behind the other, told apart by their segment number. As T5's
    positions are relative, a packed task row is computed exactly as if it stood alone.
    """

    def __init__(self, meta, arrays, stream, rows, enc, dec, seed, scale=1.0, answers=1.0):
        self.meta, self.stream, self.rows, self.enc, self.dec, self.seed = meta, stream, rows, enc, dec, seed
        self.scale, self.answers = scale, answers
        self.sentinel0 = meta["sentinel0"]
        self.window = next(n for n in range(2 * enc, 0, -1) if corrupted_lengths(n)[0] <= enc and corrupted_lengths(n)[1] <= dec)
        self.window_count = (len(stream) - self.window) // self.window
        self.order = (None, None)
        self.tasks = {}
        for task in TASKS:
            x, y = (np.split(arrays[f"{task}_{k}"].astype(np.int64), np.cumsum(arrays[f"{task}_{k}n"].astype(np.int64))[:-1])
                    for k in ("x", "y"))
            keep = [i for i in range(len(x)) if len(x[i]) + 8 <= enc and max(len(y[i]), corrupted_lengths(len(x[i]))[1]) <= dec]
            if task == "squad":
                keep = [i for i in range(len(x)) if len(x[i]) + 8 <= enc and len(y[i]) <= dec]
            self.tasks[task] = [x[i] for i in keep], [y[i] for i in keep]
        mean = {t: np.mean([len(r) for r in x]) + 5 for t, (x, _) in self.tasks.items()}
        odds = np.array([TASKS[t]["tokens"] / mean[t] for t in TASKS])
        self.odds = odds / odds.sum()

    def phase(self, progress):
        phase = next(p for p in PHASES if progress < p["until"])
        return phase, min(self.rows - 1, max(1, round(self.rows * phase["rows"] * self.scale)))

    def windows(self, first, n):
        """The n corpus windows from number `first` on: every epoch all of them once, in another order, from another offset."""
        out = []
        for k in range(first, first + n):
            epoch, i = divmod(k, self.window_count)
            if self.order[0] != epoch:
                rng = np.random.default_rng([self.seed, 77, epoch])
                self.order = (epoch, rng.permutation(self.window_count), int(rng.integers(self.window)))
            at = int(self.order[1][i]) * self.window + self.order[2]
            out.append(self.stream[at:at + self.window])
        return np.stack(out).astype(np.int64)

    def task_row(self, rng, task, kind, i):
        x, y = self.tasks[task]
        text, answer = x[i], y[i]
        words, labels = self.meta["words"], self.meta["labels"].get(task)
        if kind == "denoise":
            text, answer = corrupt(rng, text[None], self.sentinel0)
            return text[0], answer[0]
        if kind == "opposite":
            now = next(j for j, ids in enumerate(labels) if len(ids) == len(answer) and (np.array(ids) == answer).all())
            answer = np.array(labels[len(labels) - 1 - now])
        elif kind == "open":
            answer = np.array(labels[int(rng.integers(len(labels)))])
        word = {"told": words[task], "opposite": words["opposite"], "open": []}[kind]
        return np.concatenate([word, text, [EOS]]).astype(np.int64), answer

    def batch(self, step, progress, first):
        """(ids [rows, 2 enc + 3 dec] int16, weights [rows, 1 + dec] float32, counts). Weights: 1 + dec columns, the first one
        says whether the row has task rows. The span tokens' weights sum to 1, the answers', told by their sign, to -`answers`."""
        rng = np.random.default_rng([self.seed, step])
        phase, packs = self.phase(progress)
        n, enc, dec = self.rows, self.enc, self.dec
        ids = np.zeros((n, 2 * enc + 3 * dec), dtype=np.int16)
        weights = np.zeros((n, 1 + dec), dtype=np.float32)
        e, es, di, ds, t = np.split(ids, [enc, 2 * enc, 2 * enc + dec, 2 * enc + 2 * dec], axis=1)  # views
        w = weights[:, 1:]
        order = rng.permutation(n)
        spans, packed = order[packs:], order[:packs]

        x, y = corrupt(rng, self.windows(first, len(spans)), self.sentinel0)
        a, b = x.shape[1], y.shape[1]
        e[spans, :a], es[spans, :a] = x, 1
        t[spans, :b], ds[spans, :b], di[spans, 1:b], w[spans, :b] = y, 1, y[:, :-1], 1.0
        counts = {"spans": [len(spans), int(x.size), int(y.size)]}

        answers, full, names = {}, 0, list(TASKS)
        used = np.zeros((packs, 3), dtype=np.int64)     # tokens and rows so far in each packed row
        weights[packed, 0] = 1.0
        while full < 40:                                # so many task rows found no room: full enough
            task = names[rng.choice(len(names), p=self.odds)]
            mix = phase["kinds"][task]
            kind = list(mix)[rng.choice(len(mix), p=list(mix.values()))]
            p, q = self.task_row(rng, task, kind, int(rng.integers(len(self.tasks[task][0]))))
            room = np.flatnonzero((used[:, 0] + len(p) <= enc) & (used[:, 1] + len(q) <= dec))
            if not len(room):
                full += 1
                continue
            k = room[0]
            r, at, to, segment = packed[k], used[k, 0], used[k, 1], used[k, 2] + 1
            e[r, at:at + len(p)], es[r, at:at + len(p)] = p, segment
            t[r, to:to + len(q)], ds[r, to:to + len(q)], di[r, to + 1:to + len(q)] = q, segment, q[:-1]
            if kind == "denoise":
                w[r, to:to + len(q)] = 1.0
            else:
                w[r, to:to + len(q)] = -1.0             # an answer: weighted below
                answers.setdefault(task, []).append((r, to, len(q)))
            used[k] += len(p), len(q), 1
            c = counts.setdefault(f"{task} {kind}", [0, 0, 0])
            c[0], c[1], c[2] = c[0] + 1, c[1] + len(p), c[2] + len(q)
        w[w > 0] = 1.0 / (w > 0).sum()
        present = sum(TASKS[task]["weight"] for task in answers)
        for task, places in answers.items():
            share = self.answers * TASKS[task]["weight"] / present / len(places)
            for r, to, m in places:
                w[r, to:to + m] = -share / m
        return ids, weights, counts


def die_with_parent():
    """So that nothing goes on after a kill of the supervisor: on Linux the kernel sees to it."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (OSError, AttributeError):
        pass


def worker(pipe, data):
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        os.nice(5)
    except OSError:
        pass
    while True:
        try:
            ask = pipe.recv()
            if ask is None:
                return
            ids, weights, counts = data.batch(*ask)
            pipe.send_bytes(ids.tobytes())
            pipe.send_bytes(weights.tobytes())
            pipe.send(counts)
        except (EOFError, OSError, KeyboardInterrupt):
            return


class Feed:
    """Batches made ahead by worker processes, in the order of the steps. A dead worker's share is made here instead."""

    def __init__(self, data, workers, ahead=2):
        self.data, self.count, self.next, self.drawn = data, workers, 0, 0
        self.asked, self.waited, self.lost = {}, 0.0, 0
        self.pipes, self.procs = [], []
        fork = multiprocessing.get_context("fork")
        for _ in range(workers):
            here, there = fork.Pipe()
            p = fork.Process(target=worker, args=(there, data), daemon=True)
            p.start()
            there.close()
            self.pipes.append(here)
            self.procs.append(p)
        self.ahead = workers * ahead

    def ask(self, progress):
        while self.next < self.step + max(1, self.ahead):
            _, packs = self.data.phase(progress)
            what = (self.next, progress, self.drawn)
            self.drawn += self.data.rows - packs
            self.asked[self.next] = what
            pipe = self.pipes[self.next % self.count] if self.count else None
            if pipe:
                try:
                    pipe.send(what)
                except OSError:
                    self.pipes[self.next % self.count] = None
            self.next += 1

    def get(self, step, progress):
        self.step = step
        if not self.asked:
            self.next = step
        self.ask(progress)
        what, start = self.asked.pop(step), time.monotonic()
        pipe = self.pipes[step % self.count] if self.count else None
        if pipe:
            try:
                if not pipe.poll(60):
                    raise OSError("a data worker does not answer")
                ids = np.frombuffer(pipe.recv_bytes(), dtype=np.int16)
                weights = np.frombuffer(pipe.recv_bytes(), dtype=np.float32)
                out = ids.reshape(self.data.rows, -1), weights.reshape(self.data.rows, -1), pipe.recv()
                self.waited += time.monotonic() - start
                return out
            except (EOFError, OSError) as error:
                print("data worker lost:", error, flush=True)
                self.pipes[step % self.count] = None
                self.lost += 1
        out = self.data.batch(*what)
        self.waited += time.monotonic() - start
        return out

    def close(self):
        for p in self.procs:
            p.kill()


# ---- model: Hugging Face's T5 v1.1, tensor for tensor, except that each q is kept 8 times as large and its product divided by 8

def load_torch():
    global torch, F
    import torch
    import torch.nn.functional as F


def new_weights(shape, seed):
    """Hugging Face's names -> float32 tensors, initialised as T5 is."""
    g = torch.Generator().manual_seed(seed)
    d, ff, inner, vocab = shape["d_model"], shape["d_ff"], shape["num_heads"] * shape["d_kv"], shape["vocab_size"]
    normal = lambda std, *size: torch.randn(*size, generator=g) * std
    w = {"shared.weight": normal(1.0, vocab, d), "lm_head.weight": normal(0.5 * d**-0.5, vocab, d)}

    def attention(name, bias):
        w.update({f"{name}.q.weight": normal(8 * (d * shape["d_kv"])**-0.5, inner, d), f"{name}.k.weight": normal(d**-0.5, inner, d),
                  f"{name}.v.weight": normal(d**-0.5, inner, d), f"{name}.o.weight": normal(inner**-0.5, d, inner)})
        if bias:
            w[f"{name}.relative_attention_bias.weight"] = normal(d**-0.5, 32, shape["num_heads"])

    for stack, parts in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        for i in range(shape["num_layers"]):
            for j, part in enumerate(parts):
                attention(f"{stack}.block.{i}.layer.{j}.{part}", part == "SelfAttention" and i == 0)
                w[f"{stack}.block.{i}.layer.{j}.layer_norm.weight"] = torch.ones(d)
            j = len(parts)
            for name, size, std in (("wi_0", (ff, d), d**-0.5), ("wi_1", (ff, d), d**-0.5), ("wo", (d, ff), ff**-0.5)):
                w[f"{stack}.block.{i}.layer.{j}.DenseReluDense.{name}.weight"] = normal(std, *size)
            w[f"{stack}.block.{i}.layer.{j}.layer_norm.weight"] = torch.ones(d)
        w[f"{stack}.final_layer_norm.weight"] = torch.ones(d)
    return w


def rms(x, weight, dtype):
    return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight).to(dtype)


def attend(x, source, q, k, v, o, bias, seg_x, seg_source, heads):
    b, n, _ = x.shape
    split = lambda a: a.view(b, a.shape[1], heads, -1).transpose(1, 2)
    query, key, value = split(F.linear(x, q.to(x.dtype)) * 0.125), split(F.linear(source, k.to(x.dtype))), split(F.linear(source, v.to(x.dtype)))
    scores = torch.matmul(query, key.transpose(2, 3)).float()
    if bias is not None:
        scores = scores + bias
    scores = scores.masked_fill((seg_x[:, :, None] != seg_source[:, None, :])[:, None], -1e9)
    mixed = torch.matmul(torch.softmax(scores, -1).to(x.dtype), value)
    return F.linear(mixed.transpose(1, 2).reshape(b, n, -1), o.to(x.dtype))


def feed_forward(x, wi_0, wi_1, wo):
    return F.linear(F.gelu(F.linear(x, wi_0.to(x.dtype)), approximate="tanh") * F.linear(x, wi_1.to(x.dtype)), wo.to(x.dtype))


def encoder_layer(x, seg, bias, keep, heads, dtype, ln0, q, k, v, o, ln1, wi_0, wi_1, wo):
    h = rms(x, ln0, dtype)
    x = x + keep[0] * attend(h, h, q, k, v, o, bias, seg, seg, heads)
    return x + keep[1] * feed_forward(rms(x, ln1, dtype), wi_0, wi_1, wo)


def decoder_layer(x, source, seg, seg_source, bias, keep, heads, dtype, ln0, q, k, v, o, ln1, cq, ck, cv, co, ln2, wi_0, wi_1, wo):
    h = rms(x, ln0, dtype)
    x = x + keep[0] * attend(h, h, q, k, v, o, bias, seg, seg, heads)
    x = x + keep[1] * attend(rms(x, ln1, dtype), source, cq, ck, cv, co, None, seg, seg_source, heads)
    return x + keep[2] * feed_forward(rms(x, ln2, dtype), wi_0, wi_1, wo)


def head_loss(x, ln, head, targets, dtype):
    logits = F.linear(rms(x, ln, dtype), head.to(dtype)).float()
    return torch.logsumexp(logits, -1) - logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


class T5:
    def __init__(self, weights, shape, device, dtype):
        self.shape, self.device, self.dtype = shape, device, dtype
        self.w = {k: t.to(device).requires_grad_(True) for k, t in weights.items()}
        self.eager = {"encoder": encoder_layer, "decoder": decoder_layer, "head": head_loss}
        self.compiled = None
        self.hot = {}
        att, ffn = ("q", "k", "v", "o"), ("wi_0", "wi_1", "wo")

        def layer(stack, i):
            parts = ["SelfAttention"] if stack == "encoder" else ["SelfAttention", "EncDecAttention"]
            out = []
            for j, part in enumerate(parts):
                p = f"{stack}.block.{i}.layer.{j}"
                out += [self.w[f"{p}.layer_norm.weight"], *(self.w[f"{p}.{part}.{n}.weight"] for n in att)]
            p = f"{stack}.block.{i}.layer.{len(parts)}"
            return out + [self.w[f"{p}.layer_norm.weight"], *(self.w[f"{p}.DenseReluDense.{n}.weight"] for n in ffn)]

        self.layers = {s: [layer(s, i) for i in range(shape["num_layers"])] for s in ("encoder", "decoder")}
        self.subs = 5 * shape["num_layers"]

    def compile(self):
        self.compiled = {k: torch.compile(f, dynamic=False, fullgraph=True) for k, f in self.eager.items()}

    def bias(self, stack, n):
        """[1, heads, n, n]; the decoder's also hides what comes later. By a matrix product: cheap in both directions."""
        if (stack, n) not in self.hot:
            at = torch.arange(n)
            far = at[None, :] - at[:, None]
            if stack == "encoder":
                half, bucket, far = 16, (far > 0).long() * 16, far.abs()
            else:
                half, bucket, far = 32, torch.zeros_like(far), (-far).clamp(min=0)
            exact = half // 2
            big = exact + (torch.log(far.float().clamp(min=1) / exact) / math.log(128 / exact) * (half - exact)).long()
            bucket = bucket + torch.where(far < exact, far, big.clamp(max=half - 1))
            hidden = torch.zeros(n, n) if stack == "encoder" else (at[None, :] > at[:, None]).float() * -1e9
            self.hot[stack, n] = F.one_hot(bucket.flatten(), 32).float().to(self.device), hidden.to(self.device)
        hot, hidden = self.hot[stack, n]
        table = self.w[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        return (hot @ table).view(n, n, -1).permute(2, 0, 1)[None].contiguous() + hidden

    def encode(self, ids, seg, keep, fns):
        x, bias = F.embedding(ids, self.w["shared.weight"]), self.bias("encoder", ids.shape[1])
        for i, weights in enumerate(self.layers["encoder"]):
            x = fns["encoder"](x, seg, bias, keep[2 * i:2 * i + 2], self.shape["num_heads"], self.dtype, *weights)
        return rms(x, self.w["encoder.final_layer_norm.weight"], self.dtype)

    def decode(self, ids, seg, source, seg_source, targets, keep, fns):
        """Negative log-likelihood of each target token."""
        x, bias = F.embedding(ids, self.w["shared.weight"]), self.bias("decoder", ids.shape[1])
        at = 2 * self.shape["num_layers"]
        for i, weights in enumerate(self.layers["decoder"]):
            x = fns["decoder"](x, source, seg, seg_source, bias, keep[at + 3 * i:at + 3 * i + 3], self.shape["num_heads"],
                               self.dtype, *weights)
        return fns["head"](x, self.w["decoder.final_layer_norm.weight"], self.w["lm_head.weight"], targets, self.dtype)

    def keep(self, tasks, drop):
        """[sublayers, rows, 1, d_model]: dropout of the sublayers' outputs, one draw a row; only rows with tasks have any."""
        shape = (self.subs, len(tasks), 1, self.shape["d_model"])
        if not drop:
            return torch.ones(shape, device=self.device, dtype=self.dtype)
        mask = (torch.rand(shape, device=self.device) >= drop).float() / (1 - drop)
        return torch.where(tasks[None, :, None, None] > 0, mask, 1.0).to(self.dtype)

    def nll(self, ids, weights, enc, drop, fns):
        dec = weights.shape[1] - 1
        e, es, di, ds, t = (part.contiguous() for part in ids.split([enc, enc, dec, dec, dec], 1))
        keep = self.keep(weights[:, 0], drop)
        source = self.encode(e.long(), es, keep, fns)
        return self.decode(di.long(), ds, source, es, t.long(), keep, fns)

    def export(self):
        return {k: (t.detach() / 8 if k.endswith(".q.weight") else t.detach()).to(torch.bfloat16).cpu().contiguous()
                for k, t in self.w.items()}


class Optimizer:
    """Muon for the matrices inside the blocks; AdamW, its gradient clipped, for the embedding, the head and the vectors.

    `caps`: the root mean square that a matrix may have at most. (T5 has nothing else to hold its residual stream: with too high a rate
    the feed-forward matrices of a smaller model grew threefold, the stream a thousandfold, and nothing more was learned.)
    """

    def __init__(self, model, lr, adam_lr, decay, caps):
        self.lr, self.adam_lr, self.decay, self.scale, self.count = lr, adam_lr, decay, 1.0, 0
        self.caps = {id(p): caps[k] for k, p in model.w.items()}
        groups, adam = {}, {"shared": [], "head": [], "rest": []}
        for name, p in model.w.items():
            if name == "shared.weight":
                adam["shared"].append(p)
            elif name == "lm_head.weight":
                adam["head"].append(p)
            elif p.dim() < 2 or "relative_attention_bias" in name:
                adam["rest"].append(p)
            else:
                groups.setdefault(tuple(p.shape), []).append(p)
        self.groups = [(ps, torch.zeros(len(ps), *shape, device=ps[0].device)) for shape, ps in groups.items()]
        self.dtype = torch.bfloat16 if model.device.type == "cuda" else torch.float32
        self.all = [p for ps in adam.values() for p in ps]
        rates = {"shared": 8.0, "head": 1.0, "rest": 1.0}
        self.adam = torch.optim.AdamW([{"params": ps, "lr": adam_lr, "rate": rates[k], "weight_decay": 0.0} for k, ps in adam.items()],
                                      betas=(0.9, 0.98), eps=1e-10, fused=model.device.type == "cuda")

    def step(self, pace, loss, *extra):
        """One update, or none if the loss or a gradient is not finite; whether there was one, and the extras as numbers."""
        with torch.no_grad():
            stacks = [torch.stack([p.grad for p in ps]) for ps, _ in self.groups]
            norm = torch.nn.utils.clip_grad_norm_(self.all, 1.0)
            fine, *numbers = torch.stack([loss + norm + sum(s.norm() for s in stacks), *extra]).tolist()
            fine = math.isfinite(fine)
            if fine:
                for g in self.adam.param_groups:
                    g["lr"] = self.adam_lr * pace * self.scale * g["rate"]
                self.adam.step()
                rate = self.lr * pace * self.scale
                for (ps, momentum), grad in zip(self.groups, stacks):
                    momentum.mul_(0.95).add_(grad, alpha=0.05)
                    x = grad.lerp_(momentum, 0.95).to(self.dtype)
                    tall = x.shape[1] > x.shape[2]
                    x = x.mT if tall else x
                    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
                    for _ in range(5):
                        a = x @ x.mT
                        x = 3.4445 * x + (-4.775 * a + 2.0315 * (a @ a)) @ x
                    x = x.mT if tall else x
                    update = x.float() * (0.2 * max(x.shape[1:])**0.5 * rate)
                    torch._foreach_mul_(ps, 1 - rate * self.decay)
                    torch._foreach_sub_(ps, list(update.unbind(0)))
                    if self.count % 20 == 0:
                        for p in ps:
                            p.mul_((self.caps[id(p)] * p.numel()**0.5 / p.norm()).clamp(max=1.0))
                self.count += 1
            for ps, _ in self.groups:
                for p in ps:
                    p.grad = None
            for p in self.all:
                p.grad = None
        return fine, numbers

    def state(self):
        return {"muon": [m.clone() for _, m in self.groups], "adam": self.adam.state_dict()}

    def load(self, state):
        for (_, m), saved in zip(self.groups, state["muon"]):
            m.copy_(saved)
        self.adam.load_state_dict(copy.deepcopy(state["adam"]))


# ---- pieces

def config_of(shape):
    config = {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_gated_act": True, "dense_act_fn": "gelu_new",
              "dtype": "bfloat16", "tie_word_embeddings": False, "use_cache": True, "is_encoder_decoder": True,
              "num_decoder_layers": shape["num_layers"], "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 32,
              "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6, "initializer_factor": 1.0, "dropout_rate": 0.0,
              "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": EOS, **shape}
    return config, {"_from_model_config": True, "decoder_start_token_id": 0, "eos_token_id": EOS, "pad_token_id": 0}


def write_pieces(out, slot, number, tensors, shape, facts):
    """One set: header and a part of the safetensors file in each piece; a piece gets its name only when it is whole."""
    from safetensors.torch import save
    whole = save(tensors, metadata={"format": "pt"})
    parts = [whole[i:i + PIECE] for i in range(0, len(whole), PIECE)]
    digest = hashlib.sha256(whole).hexdigest()
    config, generation = config_of(shape)
    for i, part in enumerate(parts):
        header = json.dumps({"set": number, "index": i, "count": len(parts), "size": len(part), "sha256": hashlib.sha256(part).hexdigest(),
                             "whole": digest, "config": config, "generation_config": generation, "facts": facts}).encode()
        path = f"{out}/model-{slot}.part-{i:02d}"
        with open(path + ".new", "wb") as f:
            f.write(MAGIC + struct.pack("<I", len(header)) + header + part)
            f.flush()
            os.fsync(f.fileno())
        os.replace(path + ".new", path)


def read_pieces(folder):
    """The newest whole set: (header, safetensors bytes, slot), or None."""
    found = []
    for slot in "ab":
        try:
            parts, headers = [], []
            while not parts or len(parts) < headers[0]["count"]:
                with open(f"{folder}/model-{slot}.part-{len(parts):02d}", "rb") as f:
                    raw = f.read()
                assert raw[:8] == MAGIC
                n, = struct.unpack("<I", raw[8:12])
                header, part = json.loads(raw[12:12 + n]), raw[12 + n:]
                assert len(part) == header["size"] and hashlib.sha256(part).hexdigest() == header["sha256"]
                assert header["index"] == len(parts) and (not headers or header["whole"] == headers[0]["whole"])
                headers.append(header)
                parts.append(part)
            whole = b"".join(parts)
            assert hashlib.sha256(whole).hexdigest() == headers[0]["whole"]
            found.append((headers[0]["set"], headers[-1], whole, slot))
        except (OSError, AssertionError, ValueError, struct.error, KeyError):
            continue
    return max(found, key=lambda f: f[0])[1:] if found else None


# ---- scores

def padded(rows, width):
    out = np.zeros((len(rows), width), dtype=np.int64)
    for i, r in enumerate(rows):
        out[i, :len(r)] = r
    return torch.from_numpy(out)


class Scores:
    def __init__(self, meta, arrays):
        self.meta, self.held = meta, arrays["held"]
        self.rows = {t: (np.split(arrays[f"eval_{t}_x"].astype(np.int64), np.cumsum(arrays[f"eval_{t}_xn"].astype(np.int64))[:-1]),
                         arrays[f"eval_{t}_y"]) for t in meta["labels"]}

    def span_loss(self, model, window, rows, batch=32, other=False):
        """As models/t5-nano's: the same corrupted windows of held-out documents every time. `other`: with another window's input,
        to see that the decoder listens to the encoder at all."""
        rng, total = np.random.default_rng(7), 0.0
        for _ in range(max(1, rows // batch)):
            at = rng.integers(len(self.held) - window, size=batch)
            x, y = corrupt(rng, np.stack([self.held[i:i + window] for i in at]).astype(np.int64), self.meta["sentinel0"])
            x, y = (torch.from_numpy(v).to(model.device) for v in (x, y))
            keep = model.keep(torch.zeros(batch), 0)
            source = model.encode(x.roll(1, 0) if other else x, torch.ones_like(x), keep, model.eager)
            given = torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], 1)
            total += model.decode(given, torch.ones_like(y), source, torch.ones_like(x), y, keep, model.eager).mean().item()
        return total / max(1, rows // batch)

    def accuracy(self, model, task, word, limit, batch=256):
        """Label ranking: each label's summed log-probability, </s> included; the best one is the answer."""
        rows, gold = self.rows[task]
        rows, gold = rows[:limit], gold[:limit]
        word = self.meta["words"][task] if word else []
        inputs = [[*word, *r.tolist(), EOS] for r in rows]
        labels, right = self.meta["labels"][task], 0
        width = max(map(len, labels))
        y, n = padded(labels, width).to(model.device), len(labels)
        order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))
        for at in range(0, len(order), batch):
            part = order[at:at + batch]
            x = padded([inputs[i] for i in part], -(-max(len(inputs[i]) for i in part) // 16) * 16).to(model.device)
            seg = (x != 0).long()
            keep = model.keep(torch.zeros(len(part)), 0)
            source = model.encode(x, seg, keep, model.eager)
            targets = y.repeat(len(part), 1)
            given = torch.cat([torch.zeros_like(targets[:, :1]), targets[:, :-1]], 1)
            many = model.keep(torch.zeros(len(targets)), 0)
            nll = model.decode(given, torch.ones_like(given), source.repeat_interleave(n, 0), seg.repeat_interleave(n, 0), targets,
                               many, model.eager)
            best = nll.masked_fill(targets == 0, 0).sum(1).view(len(part), n).argmin(1).tolist()
            right += sum(b == int(gold[i]) for b, i in zip(best, part))
        return round(right / len(inputs), 4)

    def all(self, model, limit, windows):
        with torch.no_grad():
            found = {"held140": round(self.span_loss(model, 140, windows), 4), "held283": round(self.span_loss(model, 283, windows), 4),
                     "wrongInput": round(self.span_loss(model, 283, 32, other=True), 4)}
            for task in self.rows:
                found[task] = [self.accuracy(model, task, True, limit), self.accuracy(model, task, False, limit)]
        return found


# ---- the run

class TookTooLong(Exception):
    pass


def alarm(seconds):
    def rise(*_):
        raise TookTooLong(f"not done after {seconds} s")
    signal.signal(signal.SIGALRM, rise)
    signal.alarm(int(seconds))


def child(args):
    die_with_parent()
    say = lambda *s: print(f"[{time.time() - BORN:6.1f} s]", *s, flush=True)
    beat = lambda: open(args.beat, "w").close() if args.beat else None
    log = open(f"{args.out}/log.jsonl", "a")

    def note(**record):
        record = {"at": round(time.time() - BORN, 1), **record}
        log.write(json.dumps(record) + "\n")
        log.flush()
        print(json.dumps(record), flush=True)

    meta, arrays, stream = unpack(args.pack, args.most_tokens)
    data = Data(meta, arrays, stream, args.rows, args.enc, args.dec, args.seed, args.task_scale, args.answers)
    feed = Feed(data, args.workers)
    say(f"{len(stream) / 1e6:.1f} M corpus tokens, windows of {data.window}, {args.workers} data workers")
    beat()
    load_torch()
    cuda = torch.cuda.is_available() and not args.cpu
    device = torch.device("cuda" if cuda else "cpu")
    if args.threads:
        torch.set_num_threads(args.threads)
    dtype = torch.bfloat16 if (cuda or args.bf16) else torch.float32
    torch.manual_seed(args.seed)
    shape = {"vocab_size": meta["vocab"], "d_model": args.d_model, "d_ff": args.d_ff, "d_kv": 64, "num_heads": args.heads,
             "num_layers": args.layers}
    weights, before = new_weights(shape, args.seed), None
    caps = {k: args.cap * t.pow(2).mean().sqrt().item() for k, t in weights.items()}
    found = {"step": 0, "tokens": 0, "seconds": 0.0, "mixture": {}, "skipped": 0, "rollbacks": 0, "drawn": 0}
    sets = 0
    if args.resume and os.path.exists(f"{args.resume}/state.pt"):
        try:
            before = torch.load(f"{args.resume}/state.pt", map_location="cpu", weights_only=True)
            assert before["shape"] == shape, "the earlier run has another shape"
            weights, facts = before["weights"], before["facts"]
            say("resumed from", args.resume, "with its optimizer")
        except Exception as error:
            before = None
            note(event="state.pt cannot be used", error=str(error)[:300])
    if args.resume and not before:
        piece = read_pieces(args.resume)
        if piece is None:
            raise SystemExit(f"no whole set of pieces in {args.resume}")
        from safetensors.torch import load
        weights = {k: t.float() * (8 if k.endswith(".q.weight") else 1) for k, t in load(piece[1]).items()}
        facts = piece[0]["facts"]
        say("resumed from the pieces in", args.resume, "with a fresh optimizer")
    if args.resume:
        found.update({k: facts[k] for k in found if k in facts})
        sets = facts.get("sets", 0)
    start_step = found["step"]
    model = T5(weights, shape, device, dtype)
    opt = Optimizer(model, args.lr, args.adam_lr, args.decay, caps)
    if before:
        opt.load(before["optimizer"])
        before = None
    scores = Scores(meta, arrays)
    size = sum(t.numel() for t in model.w.values())
    note(event="start", parameters=size, shape=shape, device=torch.cuda.get_device_name() if cuda else "cpu", torch=torch.__version__,
         corpusTokens=len(stream), resumed=args.resume or None, args={k: v for k, v in vars(args).items() if k not in ("beat", "child")})
    beat()

    def to_device(ids, weights):
        ids, weights = torch.from_numpy(ids.copy()), torch.from_numpy(weights.copy())
        if cuda:
            return ids.pin_memory().to(device, non_blocking=True), weights.pin_memory().to(device, non_blocking=True)
        return ids, weights

    micro = args.rows

    def gradients(ids, weights, fns, drop):
        """Adds up the gradients of one step; the summed loss, and what the log wants."""
        total, parts = 0.0, []
        for at in range(0, len(ids), micro):
            w = weights[at:at + micro]
            nll = model.nll(ids[at:at + micro], w, args.enc, drop, fns)
            loss = (nll * w[:, 1:].abs()).sum()
            loss.backward()
            total = total + loss.detach()
            parts.append(nll.detach())
        return total, torch.cat(parts)

    def clear():
        for p in model.w.values():
            p.grad = None

    feed.drawn = found["drawn"]
    first = feed.get(start_step, 0.0)
    ids, weights_ = to_device(*first[:2])

    # ---- which way to compute: compiled if that works, agrees and is faster; micro-batches if the memory asks for it
    way = "eager"

    def trial(fns, times):
        """Seconds a step, loss and gradient norm; halves the micro-batch until it fits."""
        nonlocal micro
        while True:
            try:
                for i in range(times + 1):
                    if i == 1 and cuda:
                        torch.cuda.synchronize()
                    if i == 1:
                        began = time.monotonic()
                    clear()
                    loss, _ = gradients(ids, weights_, fns, 0.0)
                loss = loss.item()
                took = (time.monotonic() - began) / max(1, times)
                norm = float(sum(p.grad.double().pow(2).sum() for p in model.w.values()))**0.5
                clear()
                return took, loss, norm
            except RuntimeError as error:
                if "out of memory" not in str(error) or micro <= 8:
                    raise
            clear()                                    # out here the error no longer holds on to the activations
            micro = -(-micro // 2)
            if cuda:
                torch.cuda.empty_cache()
            note(event="out of memory", micro=micro)

    base = trial(model.eager, 2 if cuda else 1)
    tokens = int((ids[:, args.enc:2 * args.enc] > 0).sum() + (weights_[:, 1:] != 0).sum())
    note(event="eager", seconds=round(base[0], 4), tokensPerSecond=round(tokens / base[0]), loss=round(base[1], 4), norm=round(base[2], 4),
         micro=micro, peakGB=round(torch.cuda.max_memory_allocated() / 1e9, 1) if cuda else None)
    beat()
    if args.compile and (cuda or args.compile > 1):
        try:
            began, eager_micro = time.monotonic(), micro
            alarm(args.compile_limit)
            model.compile()
            fast = trial(model.compiled, 3)
            signal.alarm(0)
            note(event="compiled", compileSeconds=round(time.monotonic() - began, 1), seconds=round(fast[0], 4),
                 tokensPerSecond=round(tokens / fast[0]), loss=round(fast[1], 4), norm=round(fast[2], 4), micro=micro)
            if not (abs(fast[1] - base[1]) < 0.01 * abs(base[1]) and abs(fast[2] - base[2]) < 0.05 * base[2]):
                note(event="compiled result differs: eager instead")
            elif fast[0] < base[0]:
                way = "compiled"
        except (Exception, TookTooLong) as error:
            signal.alarm(0)
            note(event="compile failed: eager instead", error=f"{type(error).__name__}: {error}"[:600])
            micro = eager_micro
        if way == "eager":
            model.compiled = None
            torch._dynamo.reset()
        clear()
    beat()
    fns = model.compiled if way == "compiled" else model.eager

    # ---- the clock: the whole process has to end at --limit; scores and the last checkpoint need some of it
    begin = time.time()
    reserve = args.reserve
    seconds = min(args.seconds, BORN + args.limit - reserve - begin)
    if seconds < 1:
        raise SystemExit("no time left to train")
    note(event="training", way=way, seconds=round(seconds, 1), rows=args.rows, micro=micro)
    stop, sums, mixture = [], {}, found["mixture"]
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    logged = saved = begin
    tokens_logged, waited_logged = found["tokens"], 0.0
    good, best, ema, bad = None, None, None, 0
    slot = "a"
    old = read_pieces(args.out)
    if old:
        slot, sets = ("b" if old[2] == "a" else "a"), max(sets, old[0]["set"])

    def checkpoint(limit, windows):
        nonlocal slot, sets
        t0 = time.time()
        result = scores.all(model, limit, windows)
        sets += 1
        facts = {**found, "mixture": mixture, "scores": result, "way": way, "sets": sets, "drawn": feed.drawn,
                 "seconds": round(found["seconds"], 1)}
        write_pieces(args.out, slot, sets, model.export(), shape, facts)
        if args.keep:
            os.makedirs(args.keep, exist_ok=True)
            for path in glob.glob(f"{args.out}/model-{slot}.part-*"):
                shutil.copy(path, args.keep)
        slot = "b" if slot == "a" else "a"
        with torch.no_grad():                          # weights that run away show here first
            big = {n: round(max(p.pow(2).mean().sqrt().item() for k, p in model.w.items() if n in k), 3)
                   for n in ("shared", "lm_head", ".q.", ".o.", ".wi_0.", ".wo.")}
        note(event="checkpoint", step=found["step"], tokens=found["tokens"], **result, rms=big, took=round(time.time() - t0, 1))
        return facts

    def rollback(why):
        nonlocal ema, bad
        found["rollbacks"] += 1
        opt.scale *= 0.5
        note(event="rollback", why=why, scale=opt.scale, step=found["step"])
        if good:
            with torch.no_grad():
                for k, p in model.w.items():
                    p.copy_(good["weights"][k])
            opt.load(good["optimizer"])
        ema, bad = None, 0

    def remember():
        """A copy on the device to go back to, should the loss run away."""
        nonlocal good
        good = {"weights": {k: p.detach().clone() for k, p in model.w.items()}, "optimizer": copy.deepcopy(opt.state())}

    remember()
    step = start_step
    batch = first
    while not stop:
        now = time.time()
        part = (now - begin) / seconds
        if part >= 1:
            break
        if args.after_crash:                           # the schedule goes on where the clock is
            part = progress = (now - BORN) / (begin - BORN + seconds)
        else:
            progress = 1.0 if args.resume else part
        warm = min(1.0, (step - start_step + 1) / args.warmup)
        pace = args.peak * warm * 0.5 * (1 + math.cos(math.pi * part))
        loss, nll = gradients(ids, weights_, fns, args.drop if progress > 0.1 else 0.0)
        w = weights_[:, 1:]
        span, answer = (nll * w.clamp(min=0)).sum(), (nll * w.clamp(max=0)).sum() / -max(args.answers, 1e-9)
        upcoming = feed.get(step + 1, progress)        # while the GPU is busy
        ready = to_device(*upcoming[:2])
        if args.crash_at and step == args.crash_at and not args.after_crash:
            os.kill(os.getpid(), signal.SIGKILL)
        fine, numbers = opt.step(pace, loss if step != args.nan_at else loss * float("nan"), span, answer)
        step += 1
        for k, c in batch[2].items():
            m = mixture.setdefault(k, [0, 0, 0])
            for i in range(3):
                m[i] += c[i]
            found["tokens"] += c[1] + c[2]
        batch, (ids, weights_) = upcoming, ready
        found["step"], found["seconds"] = step, found["seconds"] + time.time() - now
        if not fine:
            found["skipped"] += 1
            bad += 1
            if bad >= 10:
                rollback("ten steps in a row were not finite")
            continue
        bad = 0
        value, answer = numbers
        sums.setdefault("span", []).append(value)
        sums.setdefault("answer", []).append(answer)
        ema = value if ema is None else 0.9 * ema + 0.1 * value
        best = ema if best is None else min(best, ema)
        if step - start_step > 100 and ema > best + 1.0:
            rollback(f"span loss {ema:.2f}, was {best:.2f}")
        now = time.time()
        beat()
        if now - logged > args.log_every:
            note(step=step, part=round(part, 3), pace=round(pace, 4), tokens=found["tokens"],
                 tokensPerSecond=round((found["tokens"] - tokens_logged) / (now - logged)),
                 waitedForData=round((feed.waited - waited_logged) / (now - logged), 3),
                 **{k: round(sum(v) / len(v), 4) for k, v in sums.items()}, skipped=found["skipped"])
            logged, tokens_logged, waited_logged = now, found["tokens"], feed.waited
            sums.clear()
        if now - saved > args.save_every and seconds - (now - begin) > args.save_every / 3:
            beat()
            checkpoint(args.score_rows, 96)
            if best is not None and ema is not None and ema < best + 0.3:
                remember()
            saved = time.time()
    # ---- the end: first a whole set with quick scores; then, time allowing, the scores of all evaluation rows
    beat()
    left = lambda: BORN + args.limit - time.time()
    quick = time.time()
    facts = checkpoint(args.score_rows, 96)
    quick = time.time() - quick
    for path in glob.glob(f"{args.out}/model-{slot}.part-*"):  # the older set: `slot` is where the next one would go
        os.remove(path)
    if args.keep:
        torch.save({"shape": shape, "weights": {k: p.detach().cpu() for k, p in model.w.items()}, "optimizer": opt.state(),
                    "facts": facts}, f"{args.keep}/state.new")
        os.replace(f"{args.keep}/state.new", f"{args.keep}/state.pt")
    config, generation = config_of(shape)

    def write(**files):
        for name, value in files.items():
            with open(f"{args.out}/{name}.json", "w") as f:
                json.dump(value, f, indent=1, sort_keys=True)
                f.write("\n")

    write(config=config, generation_config=generation, scores=facts)
    more = max(sum(len(gold) for _, gold in scores.rows.values()) / (3 * args.score_rows), 256 / 96)
    say(f"{left():.0f} s left; the full scores may take {more * quick:.0f}")
    if more * quick < left() - 6:
        facts["scores"] = scores.all(model, 10**6, 256)
        facts["scoresOfAllRows"] = True
        write(scores=facts)
        note(event="scores of all rows", **facts["scores"])
    note(event="done", step=step, tokens=found["tokens"], trained=round(found["seconds"], 1), skipped=found["skipped"],
         rollbacks=found["rollbacks"], lostWorkers=feed.lost)
    feed.close()


def supervise(args, argv):
    os.makedirs(args.out, exist_ok=True)
    for old in ("log.jsonl", "config.json", "generation_config.json", "scores.json"):
        if os.path.exists(f"{args.out}/{old}"):
            os.remove(f"{args.out}/{old}")
    if os.path.abspath(args.resume or "/") != os.path.abspath(args.out):
        for old in glob.glob(f"{args.out}/model-?.part-*"):
            os.remove(old)
    if args.keep and not args.resume:
        for old in [*glob.glob(f"{args.keep}/model-?.part-*"), *glob.glob(f"{args.keep}/state.*")]:
            os.remove(old)
    beat = f"{tempfile.gettempdir()}/t5-mini-beat-{os.getpid()}"
    environment = {**os.environ, "T5_MINI_BORN": repr(BORN), "PYTHONUNBUFFERED": "1",
                   "TORCHINDUCTOR_CACHE_DIR": f"{tempfile.gettempdir()}/t5-mini-inductor"}
    extra, rc, tries = [], 1, 0
    stopped = []
    while tries < 3 and BORN + args.limit - time.time() > 30:
        tries += 1
        open(beat, "w").close()
        p = subprocess.Popen([sys.executable, os.path.abspath(__file__), *argv, "--child", "--beat", beat, *extra], env=environment,
                             process_group=0)

        def end(*_):
            stopped.append(1)
            p.terminate()
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        while p.poll() is None:
            time.sleep(0.2)
            quiet = time.time() - os.path.getmtime(beat)
            if time.time() > BORN + args.limit - 3 or quiet > args.patience:
                print(f"supervisor: ending the run ({'its time is over' if quiet <= args.patience else 'no sign of life'})", flush=True)
                break
        rc = p.poll()
        try:
            os.killpg(p.pid, signal.SIGKILL)  # the child's own group: its workers end with it
        except OSError:
            pass
        p.wait()
        if rc == 0 or stopped:
            break
        extra = ["--compile", "0"]
        if read_pieces(args.out):
            extra += ["--resume", args.out, "--after-crash"]
        print(f"supervisor: try {tries} ended with {rc}", flush=True)
    if os.path.exists(beat):
        os.remove(beat)
    return 1 if rc is None else rc


def options():
    a = argparse.ArgumentParser()
    a.add_argument("pack")
    a.add_argument("--out", required=True)
    a.add_argument("--seconds", type=float, default=470, help="of training at most; the learning rate is zero at their end")
    a.add_argument("--limit", type=float, default=580, help="seconds from the start of this process to its end")
    a.add_argument("--reserve", type=float, default=30, help="of the limit, kept for scores, the last checkpoint and a margin")
    a.add_argument("--resume", help="folder of pieces, or of state.pt")
    a.add_argument("--keep", default=f"{tempfile.gettempdir()}/t5-mini-last", help="folder for state.pt; empty: none")
    a.add_argument("--smoke", action="store_true")
    a.add_argument("--cpu", action="store_true")
    a.add_argument("--bf16", type=int, default=0, help="1: bf16 on a CPU too")
    a.add_argument("--threads", type=int, default=0)
    a.add_argument("--compile", type=int, default=1, help="0: never, 1: on a GPU, 2: on a CPU too")
    a.add_argument("--compile-limit", type=float, default=100)
    a.add_argument("--patience", type=float, default=150, help="seconds without a sign of life after which the run is started again")
    a.add_argument("--workers", type=int, default=min(8, max(1, (os.cpu_count() or 2) // 2)))
    a.add_argument("--d-model", type=int, default=256)
    a.add_argument("--d-ff", type=int, default=768)
    a.add_argument("--heads", type=int, default=4)
    a.add_argument("--layers", type=int, default=8, help="of the encoder, and as many of the decoder")
    a.add_argument("--rows", type=int, default=256, help="a step")
    a.add_argument("--enc", type=int, default=256, help="tokens of an encoder row")
    a.add_argument("--dec", type=int, default=64, help="tokens of a decoder row")
    a.add_argument("--lr", type=float, default=0.002, help="Muon's")
    a.add_argument("--adam-lr", type=float, default=0.001, help="AdamW's for the head and the vectors; the embedding has 8 times it")
    a.add_argument("--decay", type=float, default=0.3, help="Muon's, times its rate, a step")
    a.add_argument("--cap", type=float, default=3.0, help="a matrix may grow to so many times its first root mean square")
    a.add_argument("--warmup", type=int, default=200, help="steps")
    a.add_argument("--peak", type=float, default=1.0, help="factor on all rates, for a short run that goes on")
    a.add_argument("--drop", type=float, default=0.1, help="dropout, on rows with tasks only")
    a.add_argument("--answers", type=float, default=1.0, help="weight of all answers; the span tokens' is 1")
    a.add_argument("--task-scale", type=float, default=1.0, help="factor on the share of task rows")
    a.add_argument("--shares", help="task rows' token shares instead of TASKS', as sst2=0.7,mnli=0.3,qqp=0,squad=0: for trials")
    a.add_argument("--most-tokens", type=int, default=0, help="of the corpus; 0: all")
    a.add_argument("--log-every", type=float, default=10)
    a.add_argument("--save-every", type=float, default=60)
    a.add_argument("--score-rows", type=int, default=500)
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    a.add_argument("--after-crash", action="store_true", help=argparse.SUPPRESS)
    a.add_argument("--crash-at", type=int, default=0, help=argparse.SUPPRESS)  # for tests: the step at which the child dies
    a.add_argument("--nan-at", type=int, default=-1, help=argparse.SUPPRESS)   # for tests: the step whose loss is not a number
    a.add_argument("--beat", help=argparse.SUPPRESS)
    return a


SMOKE = {"seconds": 12, "limit": 60, "reserve": 12, "d_model": 64, "d_ff": 96, "heads": 1, "layers": 2, "rows": 8, "enc": 96, "dec": 32,
         "workers": 2, "log_every": 2, "save_every": 3, "score_rows": 24, "most_tokens": 3_000_000, "warmup": 10, "cpu": True, "threads": 1}


def main():
    args = options().parse_args()
    if args.smoke:
        given = {a.split("=")[0].lstrip("-").replace("-", "_") for a in sys.argv[1:] if a.startswith("--")}
        for k, v in SMOKE.items():
            if k not in given:
                setattr(args, k, v)
    if not args.child:
        return supervise(args, sys.argv[1:])
    for part in (args.shares or "").split(",") if args.shares else ():
        name, _, value = part.partition("=")
        TASKS[name]["tokens"] = float(value)
    try:
        child(args)
    except BaseException:
        traceback.print_exc()
        with open(f"{args.out}/log.jsonl", "a") as f:
            f.write(json.dumps({"at": round(time.time() - BORN, 1), "event": "crash", "error": traceback.format_exc()[-3000:]}) + "\n")
        sys.stdout.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
